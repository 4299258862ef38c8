"""What a task that tells lags is scored by: tables, maps, curves over lag, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import xarray as xr

from xatmo.errors import ConfigError, OptionError
from xatmo.tasks.base import Task
from xatmo.tasks.pairs import _pairs
from xatmo.tasks.representation import _epochs, _lag_scores, _lagged
from xatmo.tasks.representation._lagged import LaggedBatches
from xatmo.typing import XarrayObject


class ScoredByLag(Task):
    """A task whose network names the lag between two patches."""

    def __init__(self) -> None:
        super().__init__()
        self._run_dir: Path | None = None

    @property
    def max_lag(self) -> int:
        """Lags that are told apart."""
        return int(self.config["max_lag"])

    def evaluate(
        self,
        ds: XarrayObject,
        *,
        n_patches: int = 8,
        latitudes: tuple[float, float] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        control: bool = False,
        device: str = "auto",
    ) -> xr.Dataset:
        """Score on pairs drawn from ``ds``, the same for the same seed. This computes.

        Parameters
        ----------
        ds : Dataset or DataArray
            With the variables of the training, matched by name and converted, on any times and any grid.
        n_patches : int
            Pairs at each time.
        latitudes : (float, float), optional
            Degrees between which patches are centred; those of the training by default.
        batch_size, seed : int
        control : bool
            Score against shuffled lags instead: what comes out is chance.
        device : str

        Returns
        -------
        Dataset
            ``top1``, ``top3`` (fraction of pairs whose lag is the likeliest, or among three), ``mae`` (mean absolute
            error of the likeliest lag, in steps), ``cross_entropy``; the same by ``lag`` as ``top1_by_lag`` ...;
            ``confusion (lag, predicted_lag)``, each row normalized by the true lag; ``n_pairs``. Coordinate
            ``lag_time`` is the duration.
        """
        source = self._source(
            ds, "evaluate", n_patches=n_patches, latitudes=latitudes, batch_size=batch_size, seed=seed, control=control
        )
        return _lag_scores.evaluate(self.model, source, self._seconds, device=device)

    def evaluate_epochs(
        self,
        ds: XarrayObject,
        *,
        epochs: Sequence[int] | None = None,
        run_dir: str | Path | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Score the weights of every epoch that a run kept (``save_epochs``), on the same pairs. This computes.

        Parameters
        ----------
        ds : Dataset or DataArray
        epochs : sequence of int, optional
            All that were kept, by default.
        run_dir : str or Path, optional
            The run's; that of ``fit`` by default.
        **options
            Those of `evaluate`.

        Returns
        -------
        Dataset (epoch, ...)
            What `evaluate` gives; ``use_epoch`` takes the one that is chosen.

        Raises
        ------
        OptionError
            If no such epoch was kept.
        """
        files = _epochs.kept(self._run_dir if run_dir is None else run_dir)
        chosen = {n: _epochs.choose(files, n) for n in (sorted(files) if epochs is None else epochs)}
        found = []
        for n, path in chosen.items():
            other = type(self).of_model(_epochs.model_of(self.model, path, n))
            found.append(other.evaluate(ds, **options))
        epoch = xr.DataArray(list(chosen), dims="epoch", name="epoch", attrs={"long_name": "epoch of the training"})
        return xr.concat(found, dim=epoch, coords="minimal", compat="equals", combine_attrs="drop_conflicts")

    def use_epoch(self, epoch: int, ds: XarrayObject | None = None, *, run_dir: str | Path | None = None) -> Self:
        """Take the weights of an epoch that the run kept; save the task afterwards.

        Parameters
        ----------
        epoch : int
            Counted from 1.
        ds : Dataset or DataArray, optional
            Where the scale of the last layer is found anew. Without it the model has none until `metric_by_lag`.
        run_dir : str or Path, optional
            The run's; that of ``fit`` by default.

        Returns
        -------
        ScoredByLag
            This one.

        Raises
        ------
        OptionError
            If that epoch was not kept.
        CheckpointError
            If its weights belong to another network.
        """
        path = _epochs.choose(_epochs.kept(self._run_dir if run_dir is None else run_dir), epoch)
        self._model = _epochs.model_of(self.model, path, epoch)
        if ds is not None:
            self.metric_by_lag(ds)
        return self

    def accuracy_map(
        self,
        ds: XarrayObject,
        *,
        lag: int,
        stride: int | None = None,
        n_times: int | None = None,
        latitudes: tuple[float, float] = (-90.0, 90.0),
        batch_size: int = 64,
        device: str = "auto",
    ) -> xr.Dataset:
        """Map of the scores at one lag: a window slides over the globe. This computes.

        Parameters
        ----------
        ds : Dataset or DataArray
            Select a season for the map of a season.
        lag : int
            In steps, 1 to ``max_lag``.
        stride : int, optional
            Cells from one window to the next; an eighth of a patch by default.
        n_times : int, optional
            Evenly spread times to look at; all by default.
        latitudes : (float, float)
        batch_size : int
        device : str

        Returns
        -------
        Dataset (latitude, longitude)
            ``accuracy``, ``near`` (at most one step wrong) and ``entropy`` (nats), at the centres of the windows.
        """
        from xatmo.train import whole

        if whole("lag", lag) > self.max_lag:
            message = f"lag={lag}; wanted 1 to {self.max_lag} steps"
            raise OptionError(message)
        stride = max(1, min(self.model.patch_size.values()) // 8) if stride is None else whole("stride", stride)
        n_times = None if n_times is None else whole("n_times", n_times)
        source = self._source(ds, "accuracy_map", n_patches=1, latitudes=latitudes, batch_size=batch_size, seed=0)
        return _lag_scores.accuracy_map(self.model, source, int(lag), stride, n_times, device=device)

    def metric_by_lag(
        self,
        ds: XarrayObject,
        *,
        layer: str | None = None,
        n_pairs: int = 4096,
        latitudes: tuple[float, float] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        device: str = "auto",
    ) -> xr.Dataset:
        r"""How the distance in features grows with lag, beside distances between the fields themselves. This computes.

        The scale :math:`\alpha` brings ``content`` nearest to ``l2``, by least squares over the upper half of the lags.
        It is kept with the model, for this layer, and used by ``.atmo.distance`` and ``loss="atmodist:PATH"``; save
        the task afterwards.

        Parameters
        ----------
        ds : Dataset or DataArray
        layer : str, optional
            Of the encoder; the last by default.
        n_pairs : int
            Least number of pairs.
        latitudes, batch_size, seed, device
            See `evaluate`.

        Returns
        -------
        Dataset (lag)
            Mean and standard deviation (``_std``) of ``content``, ``l1``, ``l2``, ``psnr`` (50 - PSNR) and ``ssim``
            ((1 - SSIM) / 2); fields in standard deviations, without the logarithm of ``"log1p"``. ``scaled_content``
            is ``content`` times the attribute ``scale``.
        """
        from xatmo.train import whole

        source = self._source(ds, "metric_by_lag", n_patches=8, latitudes=latitudes, batch_size=batch_size, seed=seed)
        return _lag_scores.scaled_metric(
            self.model, source, layer, self._seconds, whole("n_pairs", n_pairs), device=device
        )

    # ------------------------------------------------------------------ its parts
    @property
    def _seconds(self) -> float:
        return float(self.model.config["training"]["step_seconds"])

    def _source(
        self,
        ds: XarrayObject,
        what: str,
        *,
        n_patches: int,
        latitudes: tuple[float, float] | None,
        batch_size: int,
        seed: int,
        control: bool = False,
    ) -> LaggedBatches:
        from xatmo.train import whole

        model = self.model
        data = _lagged.matching(_pairs.as_dataset(ds, what), model.inputs, what)
        band = _lagged.band(model.config["training"]["latitudes"] if latitudes is None else latitudes)
        patch = (model.patch_size["lat"], model.patch_size["lon"])
        pairing = data.pairing(patch, self.max_lag, data.steps_of(self._seconds), band)
        if model.normalizer is None:  # pragma: no cover  (every fit makes one)
            message = "this model has no normalizer; train it with fit"
            raise ConfigError(message)
        return LaggedBatches(
            data, pairing, [c.name for c in model.inputs], model.normalizer, n_patches=whole("n_patches", n_patches),
            batch_size=whole("batch_size", batch_size), seed=whole("seed", seed, 0), training=False, control=control,
        )  # fmt: skip
