"""AtmoDist: features, and a distance, learned from telling how far two fields lie apart in time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import xarray as xr

from xatmo.errors import OptionError
from xatmo.tasks import _run
from xatmo.tasks._own_module import refuse_of_network, require_module
from xatmo.tasks._run import RunOptions
from xatmo.tasks.pairs import _pairs
from xatmo.tasks.representation import _lag_scores, _lagged
from xatmo.tasks.representation._lagged import LaggedBatches, LaggedFields
from xatmo.tasks.representation._scored import ScoredByLag
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from xatmo.model import Channel, Model
    from xatmo.normalize import Normalizer

DEFAULT_PATCH = 64
NORMALIZATIONS = ("standard", "minmax", "robust", "log1p")
_OF_OUR_NETWORKS = ("encoder", "stem", "head", "head_channels", "dropout", "norm_momentum")


class AtmoDist(ScoredByLag):
    r"""Learn to tell how many steps of time lie between two patches of the same place.

    One encoder maps both patches to features, a head names the lag (`xatmo.nn.representation`). What the encoder has to
    know for that, how a flow evolves, makes its features a measure of how different two states are:
    ``ds.atmo.distance(other, model)``, and a loss for other networks, ``loss="atmodist:PATH"``. S. Hoffmann and C.
    Lessig, AtmoDist: self-supervised representation learning for atmospheric dynamics, Environmental Data Science 2
    (2023).

    Parameters
    ----------
    max_lag : int
        Lags to tell apart, in steps: 1 to ``max_lag``.
    encoder : {"small", "tiny", "resnet18", "resnet50"}
        ``"small"`` is that of AtmoDist: 24 basic blocks, 16 to 128 channels. ``"tiny"`` has 4 of them: several times as
        quick, for small patches, few data, or minutes on a processor.
    stem : {"auto", "pooled", "strided", "plain"}
        First layers; ``"auto"`` leaves at least four cells of the last map: see `RepresentationConfig`.
    head : {"pyramid", "differences", "stacked"}
        What compares the features of both patches. ``"stacked"`` is that of AtmoDist, the last maps side by side; with
        ``"differences"`` of them beside, or with the maps of every stage compared, lags are learned several times
        sooner. See `RepresentationConfig`.
    head_channels : int
    dropout : float
        Before the last layer.
    norm_momentum : float
        Part of a batch in the running statistics of the batch normalization.
    normalization : {"log1p", "standard", "robust", "minmax"}
        ``"log1p"`` is AtmoDist's, for fields with rare large values, as vorticity: see `xatmo.Normalizer`.
    label_smoothing : float
        Part of the label that is spread over all lags.
    label_spread : float
        Width, in lags, over which neighbouring lags count as nearly right. 0: they do not.
    optimizer : {"adamw", "adam", "sgd"}
    learning_rate : float
    weight_decay : float
        Of kernels.
    schedule : {"one-cycle", "cosine", "constant", "step", "plateau"}
    momentum : float
        Of ``sgd``.
    plateau_patience : int
    plateau_delta, lowest_rate : float
        Of ``"plateau"``: see `xatmo.train.OptimizerSettings`.
    clip : {"global", "variable"}
        Whether the gradient is cut as a whole or variable by variable.
    gradient_clip : float
        Largest norm; 0 cuts nothing.
    scale_learning_rate : bool
        Whether to multiply the learning rate by the number of devices.

    Raises
    ------
    OptionError
        If a keyword has a value that is not available.

    Notes
    -----
    The published training is ``AtmoDist(23, head="stacked", optimizer="sgd", learning_rate=0.1, schedule="plateau",
    plateau_delta=0.04, lowest_rate=1e-5, weight_decay=2e-4, clip="variable", gradient_clip=5.0)`` with
    ``fit(ds, variables=["d", "vo"], patch_size=160, lag_step="3h", n_patches=20, batch_size=128, epochs=60,
    warmup_subset=256000, warmup_epochs=20)``.

    Examples
    --------
    >>> import xatmo
    >>> ds = xatmo.datasets.barotropic(21, days=4, spin_up=2, output_every="3h", variables=["vo"])
    >>> task = AtmoDist(4)
    >>> task = task.fit(ds, patch_size=16, batch_size=8, max_steps=2, accelerator="cpu", progress=False)
    >>> scores = task.evaluate(ds)
    >>> dict(scores.sizes), 0 <= float(scores.top1) <= 1
    ({'lag': 4, 'predicted_lag': 4}, True)
    """

    name: ClassVar[str] = "AtmoDist"

    def __init__(
        self,
        max_lag: int,
        *,
        encoder: str = "small",
        stem: str = "auto",
        head: str = "pyramid",
        head_channels: int = 128,
        dropout: float = 0.0,
        norm_momentum: float = 0.01,
        normalization: str = "log1p",
        label_smoothing: float = 0.0,
        label_spread: float = 0.0,
        optimizer: str = "adamw",
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        schedule: str = "one-cycle",
        momentum: float = 0.9,
        plateau_patience: int = 8,
        plateau_delta: float = 0.0,
        lowest_rate: float = 0.0,
        clip: str = "global",
        gradient_clip: float = 1.0,
        scale_learning_rate: bool = False,
    ) -> None:
        from xatmo.train import whole
        from xatmo.train.representation import CLIPS
        from xatmo.train.settings import real

        super().__init__()
        for option, value, known in (("normalization", normalization, NORMALIZATIONS), ("clip", clip, CLIPS)):
            if value not in known:
                message = f"{option}={value!r} is not available; possible are {list(known)}"
                raise OptionError(message)
        self._config: dict[str, Any] = {
            "max_lag": whole("max_lag", max_lag, 2), "encoder": encoder, "stem": stem,
            "head": head, "head_channels": whole("head_channels", head_channels), "dropout": real("dropout", dropout),
            "norm_momentum": real("norm_momentum", norm_momentum, positive=True), "normalization": normalization,
            "label_smoothing": label_smoothing, "label_spread": real("label_spread", label_spread),
            "optimizer": optimizer, "learning_rate": real("learning_rate", learning_rate, positive=True),
            "weight_decay": real("weight_decay", weight_decay), "schedule": schedule, "momentum": momentum,
            "plateau_patience": plateau_patience, "plateau_delta": real("plateau_delta", plateau_delta),
            "lowest_rate": real("lowest_rate", lowest_rate), "clip": clip,
            "gradient_clip": real("gradient_clip", gradient_clip), "scale_learning_rate": bool(scale_learning_rate),
        }  # fmt: skip
        # Let those who use a setting check it, now rather than after the data are read.
        self._network_config(1, (64, 64))
        self._optimizer_settings(1)
        self._labels()

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return dict(self._config)

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(cls, module: torch.nn.Module, *, max_lag: int, **settings: Any) -> Self:  # type: ignore[override]
        """Make the task around a network of the caller's, to be trained by ``fit``.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, 2, channel, lat, lon) -> (batch, max_lag)``. For ``.atmo.embed`` it has an attribute ``encoder``
            with ``features(x, layer)``, ``layers``, ``require(layer)`` and ``n_inputs``, as `Encoder`.
        max_lag : int
        **settings
            Those of `AtmoDist` that concern training.

        Raises
        ------
        OptionError
            If it is no module, or a setting describes a network of ours.
        """
        require_module(module)
        refuse_of_network(settings, set(_OF_OUR_NETWORKS))
        task = cls(max_lag, **settings)
        task._module = module
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        variables: Sequence[Hashable] | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        lag_step: int | str | pd.Timedelta = 1,
        latitudes: tuple[float, float] = (-60.0, 60.0),
        n_patches: int = 8,
        validation: XarrayObject | None = None,
        warmup_subset: int | None = None,
        warmup_epochs: int = 20,
        keep: str | int = "best",
        save_epochs: bool = False,
        batch_size: int = 64,
        epochs: int = 20,
        max_steps: int | None = None,
        max_time: str | None = None,
        patience: int | None = None,
        memory: int = 512 << 20,
        accumulate: int = 1,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str | None = None,
        seed: int = 0,
        run_dir: str | Path | None = None,
        resume: bool = True,
        progress: bool = True,
    ) -> Self:
        """Train. This reads the data and computes: statistics first, then batch after batch.

        Each time with the largest lag after it, over even steps, is the earlier one of ``n_patches`` pairs per epoch:
        at random places with their centre in ``latitudes``, wrapping around a global grid, at random lags.

        Parameters
        ----------
        train : Dataset or DataArray (time, latitude, longitude)
            May be lazy, in any chunks: blocks of it are read, shuffled, in bounded memory, without a copy on disk.
        variables : sequence of str, optional
            Which to read; by default all that have time, latitude and longitude.
        patch_size : int or mapping, optional
            Cells: a number, or ``{"lat": 96, "lon": 160}``. Default 64, or what there is.
        lag_step : int or str
            Step of the lag: a number of times, or a duration such as ``"3h"``.
        latitudes : (float, float)
            Degrees between which patches are centred.
        n_patches : int
            Pairs for each time in an epoch.
        validation : Dataset or DataArray, optional
            Like ``train``, from other times; the same pairs in every epoch.
        warmup_subset : int, optional
            A first phase sees only so many pairs, always the same; it helps deep networks to start.
        warmup_epochs : int
            How often it sees them. These steps come before ``epochs``, and count in ``max_steps``.
        keep : {"best", "last"} or int
            Weights that are kept: of the lowest validation loss, where there is validation; the last ones; or those
            after this epoch, counted from 1. A run with ``save_epochs`` in a ``run_dir``, once finished, may be asked
            again for another epoch, without training.
        save_epochs : bool
            Whether to keep the weights of every epoch in ``run_dir``, for `evaluate_epochs` and `use_epoch`.
        batch_size : int
            Pairs per step and device.
        epochs : int
        max_steps : int, optional
            Optimiser steps; wins over ``epochs``.
        max_time : str, optional
            Budget, ``"HH:MM:SS"``.
        patience : int, optional
            Validations without improvement after which training stops.
        memory : int
            Bytes of data held at a time. Data that fit into half of it are read once.
        accumulate, accelerator, devices, precision, seed, run_dir, resume, progress
            See `SuperResolver.fit`.

        Returns
        -------
        AtmoDist
            This one, fitted.

        Raises
        ------
        DimensionError, VariableError, CoordinateError
            If the data do not have what pairs need.
        MissingValueError
            If a value is missing.
        OptionError
            If a keyword has an impossible value.
        ConfigError
            If ``run_dir`` holds a run with other settings.
        """
        import torch

        if save_epochs and run_dir is None:
            message = "save_epochs=True came without run_dir; wanted the directory that shall keep the weights"
            raise OptionError(message)
        from xatmo.model import Channel
        from xatmo.normalize import Normalizer
        from xatmo.train import whole
        from xatmo.train.representation import Representation

        ds = _pairs.as_dataset(train, "train")
        names = list(variables) if variables is not None else _lagged.timed(ds)
        data = _lagged.lagged_fields(ds, names, [(1.0, 0.0)] * len(names))
        patch = _lagged.check_patch(patch_size, data.grid, DEFAULT_PATCH)
        step = data.steps_of(lag_step)
        options = RunOptions.among(locals())
        seed = options.seed
        pairing = data.pairing(patch, self.max_lag, step, _lagged.band(latitudes))
        fields = xr.Dataset({str(f.name): f for f in data.fields})
        normalizer = Normalizer.fit(fields, method=self._config["normalization"])
        common: dict[str, Any] = {
            "n_patches": whole("n_patches", n_patches), "batch_size": options.batch_size,
            "memory": options.memory,
        }  # fmt: skip
        warmup = None if warmup_subset is None else (whole("warmup_subset", warmup_subset),
                                                     whole("warmup_epochs", warmup_epochs))  # fmt: skip
        source = LaggedBatches(data, pairing, data.names, normalizer, **common, seed=seed, warmup=warmup)
        channels = tuple(Channel.of(f) for f in data.fields)
        held_out = None
        if validation is not None:
            other = _lagged.matching(_pairs.as_dataset(validation, "validation"), channels, "validation")
            wanted = other.pairing(patch, self.max_lag, other.steps_of(step * data.step), _lagged.band(latitudes))
            held_out = LaggedBatches(
                other, wanted, data.names, normalizer, **common, seed=seed + 1, training=False
            )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, network_config = self._network(len(names), patch)
        first, per_epoch = (
            math.ceil(n(options.devices) / options.accumulate) for n in (source.warmup_steps, source.n_batches)
        )
        settings = options.settings(
            per_epoch * options.accumulate, before=first, gradient_clip=self._config["gradient_clip"]
        )
        described = {**source.describe(), "warmup": None if warmup is None else list(warmup)}
        with tempfile.TemporaryDirectory(prefix="xatmo-") as scratch:
            saves = save_epochs or isinstance(keep, int)
            folder = (Path(scratch) if run_dir is None else Path(run_dir) / "epochs") if saves else None
            objective = Representation(
                network, optimizer=self._optimizer_settings(options.devices), labels=self._labels(),
                clip=self._config["clip"], warmup_steps=first, snapshots=folder, steps_per_epoch=per_epoch, keep=keep,
            )  # fmt: skip
            result = options.run(
                objective, source, settings, validation=held_out,
                identity={
                    **self._config, **described, "network": network_config, "statistics": _run.rounded(normalizer)
                },
            )  # fmt: skip
        training = {
            **described, "step_seconds": step * data.step, "latitudes": list(_lagged.band(latitudes)), "keep": keep,
            **options.told(result),
        }  # fmt: skip
        scores = {k: result.history[-1][k] for k in ("loss", "top1", "top3")} if result.history else {}
        if result.best_validation_loss is not None:
            scores["validation_loss"] = result.best_validation_loss
        config = {"task": self.name, "settings": self.config, "network": network_config, "normalized": True,
                  "training": training, "scores": scores, "content_scale": {}}  # fmt: skip
        self._model = self._made(network, config, channels, normalizer, data, patch)
        self._model.history = result.history
        self._run_dir = None if run_dir is None else Path(run_dir)
        _lag_scores.calibrate(self._model, source if held_out is None else held_out, self._seconds, accelerator)
        return self

    # ------------------------------------------------------------------ its parts
    def _network(self, n_inputs: int, patch: tuple[int, int]) -> tuple[torch.nn.Module, dict[str, Any]]:
        if self._module is not None:
            _lagged.require_fitting(self._module, n_inputs, patch, self.max_lag)
            return self._module, {"kind": "module"}
        from xatmo.nn.representation import PairClassifier

        config = self._network_config(n_inputs, patch)
        return PairClassifier(config), config.to_dict()

    def _network_config(self, n_inputs: int, patch: tuple[int, int]) -> Any:
        from xatmo.nn.representation import RepresentationConfig

        return RepresentationConfig(
            n_inputs, self.max_lag, patch, **{name: self._config[name] for name in _OF_OUR_NETWORKS}
        )

    def _optimizer_settings(self, devices: int) -> Any:
        from xatmo.train import OptimizerSettings

        names = ("optimizer", "weight_decay", "schedule", "momentum", "plateau_patience", "plateau_delta",
                 "lowest_rate")  # fmt: skip
        rate = self._config["learning_rate"] * (devices if self._config["scale_learning_rate"] else 1)
        return OptimizerSettings(learning_rate=rate, **{n: self._config[n] for n in names})

    def _labels(self) -> Any:
        from xatmo.train.representation import LabelSmoothing

        return LabelSmoothing(self._config["label_smoothing"], self._config["label_spread"])

    def _made(
        self,
        network: torch.nn.Module,
        config: dict[str, Any],
        channels: tuple[Channel, ...],
        normalizer: Normalizer,
        data: LaggedFields,
        patch: tuple[int, int],
    ) -> Model:
        from xatmo.model import Model

        return Model(
            network.eval(), config, channels, (), normalizer, None, None, 1, {"lat": patch[0], "lon": patch[1]},
            {"coarse": data.grid.to_dict()},
        )  # fmt: skip
