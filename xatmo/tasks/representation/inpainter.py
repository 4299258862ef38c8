"""Inpainter: features learned from filling holes, the usual alternative to telling lags."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import ConfigError, OptionError
from xatmo.tasks._own_module import refuse_of_network, require_module
from xatmo.tasks._run import RunOptions
from xatmo.tasks.base import Task
from xatmo.tasks.pairs import _pairs
from xatmo.tasks.representation import _holes, _lagged
from xatmo.tasks.representation._holes import HoledBatches
from xatmo.tasks.superres import _content
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch


DEFAULT_PATCH = 64
_OF_OUR_NETWORKS = ("hole", "encoder", "stem", "stage", "norm_momentum")


class Inpainter(Task):
    """Learn to fill a hole in the middle of a patch from what lies around it.

    An autoencoder with the encoder of `AtmoDist`: what it has to know is how a field looks, not how it evolves. Its
    features serve the same calls, ``ds.atmo.embed(model)`` and ``ds.atmo.distance(other, model)``; the comparison of
    both is that of S. Hoffmann and C. Lessig, Environmental Data Science 2 (2023). For them the loss was a distance in
    AtmoDist's features and a little of the mean squared error: ``loss="0.9 atmodist:PATH@stage3 + 0.1 mse"``.

    Parameters
    ----------
    hole : float
        Side of the hole as a part of the patch's.
    encoder, stem : str
        See `AtmoDist`.
    stage : int
        The decoder begins after this stage of the encoder, which has no later ones.
    norm_momentum : float
        See `AtmoDist`.
    loss : str or mapping
        See `xatmo.nn.losses.build`; of the whole patch, which outside of the hole is as it came.
    normalization : {"log1p", "standard", "robust", "minmax"}
    optimizer : {"adamw", "adam", "sgd"}
    learning_rate, weight_decay : float
    schedule : {"one-cycle", "cosine", "constant", "step"}
    gradient_clip : float
        Largest norm; 0 cuts nothing.

    Raises
    ------
    OptionError
        If a keyword has a value that is not available.

    Examples
    --------
    >>> import xatmo
    >>> ds = xatmo.datasets.barotropic(21, days=2, spin_up=2, output_every="6h", variables=["vo"])
    >>> task = Inpainter(encoder="tiny")
    >>> task = task.fit(ds, patch_size=16, batch_size=4, max_steps=2, accelerator="cpu", progress=False)
    >>> task.evaluate(ds)["vo"].dims, ds.atmo.embed(task).sizes["feature"]
    (('filler',), 1024)
    """

    name: ClassVar[str] = "Inpainter"

    def __init__(
        self,
        *,
        hole: float = 0.25,
        encoder: str = "small",
        stem: str = "auto",
        stage: int = 3,
        norm_momentum: float = 0.01,
        loss: str | Mapping[str, float] = "mse",
        normalization: str = "log1p",
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        schedule: str = "one-cycle",
        gradient_clip: float = 1.0,
    ) -> None:
        from xatmo.nn import losses
        from xatmo.tasks.representation.atmodist import NORMALIZATIONS
        from xatmo.train.settings import real

        super().__init__()
        if normalization not in NORMALIZATIONS:
            message = f"normalization={normalization!r} is not available; possible are {list(NORMALIZATIONS)}"
            raise OptionError(message)
        if isinstance(hole, bool) or not isinstance(hole, int | float) or not 0 < hole < 1:
            message = f"hole={hole!r}; wanted a part of the patch's side, above 0 and below 1"
            raise OptionError(message)
        self._config: dict[str, Any] = {
            "hole": float(hole), "encoder": encoder, "stem": stem, "stage": stage,
            "norm_momentum": real("norm_momentum", norm_momentum, positive=True),
            "loss": losses.build(loss).parts, "normalization": normalization, "optimizer": optimizer,
            "learning_rate": real("learning_rate", learning_rate, positive=True),
            "weight_decay": real("weight_decay", weight_decay), "schedule": schedule,
            "gradient_clip": real("gradient_clip", gradient_clip),
        }  # fmt: skip
        self._network_config(1, (64, 64))
        self._optimizer_settings()

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return dict(self._config)

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(cls, module: torch.nn.Module, **settings: Any) -> Self:
        """Make the task around a network of the caller's, to be trained by ``fit``.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, channel, lat, lon) -> (batch, channel, lat, lon)``; the hole is 0 in what it is given.
        **settings
            Those of `Inpainter` that concern training, and ``hole``.

        Raises
        ------
        OptionError
            If it is no module, or a setting describes a network of ours.
        """
        require_module(module)
        refuse_of_network(settings, set(_OF_OUR_NETWORKS) - {"hole"})
        task = cls(**settings)
        task._module = module
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        variables: Sequence[Hashable] | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        latitudes: tuple[float, float] = (-60.0, 60.0),
        n_patches: int = 8,
        validation: XarrayObject | None = None,
        batch_size: int = 32,
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

        Parameters
        ----------
        train : Dataset or DataArray (time, latitude, longitude)
            May be lazy, in any chunks; it is read as `AtmoDist.fit` reads it.
        variables, patch_size, latitudes, validation, memory
            See `AtmoDist.fit`.
        n_patches : int
            Patches for each time in an epoch.
        batch_size, epochs, max_steps, max_time, patience, accumulate, accelerator, devices, precision, seed, run_dir, \
resume, progress
            See `SuperResolver.fit`.

        Returns
        -------
        Inpainter
            This one, fitted.

        Raises
        ------
        DimensionError, VariableError, CoordinateError, MissingValueError, OptionError, ConfigError
            As `AtmoDist.fit`.
        """
        import torch

        from xatmo.model import Channel, Model
        from xatmo.normalize import Normalizer
        from xatmo.train import Supervised, whole

        ds = _pairs.as_dataset(train, "train")
        names = list(variables) if variables is not None else _lagged.timed(ds)
        data = _lagged.lagged_fields(ds, names, [(1.0, 0.0)] * len(names))
        patch = _lagged.check_patch(patch_size, data.grid, DEFAULT_PATCH)
        options = RunOptions.among(locals())
        seed = options.seed
        fields = xr.Dataset({str(f.name): f for f in data.fields})
        normalizer = Normalizer.fit(fields, method=self._config["normalization"])
        channels = tuple(Channel.of(f) for f in data.fields)
        shape = self._network_config(len(names), patch)
        common: dict[str, Any] = {
            "n_patches": whole("n_patches", n_patches), "batch_size": options.batch_size,
            "memory": options.memory, "hole": (shape.rows, shape.columns),
        }  # fmt: skip

        def source(of: _lagged.LaggedFields, **others: Any) -> HoledBatches:
            pairing = _holes.places(of, patch, _lagged.band(latitudes))
            return HoledBatches(of, pairing, data.names, normalizer, **common, **others)

        batches = source(data, seed=seed)
        held_out = None
        if validation is not None:
            other = _lagged.matching(_pairs.as_dataset(validation, "validation"), channels, "validation")
            held_out = source(other, seed=seed + 1, training=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, network_config = self._network(len(names), patch)
        settings = options.settings(batches.n_batches(options.devices), gradient_clip=self._config["gradient_clip"])
        objective = Supervised(
            network, _content.bind(self._config["loss"], channels, normalizer), optimizer=self._optimizer_settings(),
            seed=seed,
        )  # fmt: skip
        described = batches.describe()
        result = options.run(
            objective, batches, settings, validation=held_out,
            identity={**self._config, **described, "network": network_config},
        )  # fmt: skip
        training = {**described, "latitudes": list(_lagged.band(latitudes)), **options.told(result)}
        scores = {"loss": result.history[-1]["loss"]} if result.history else {}
        config = {"task": self.name, "settings": self.config, "network": network_config, "normalized": True,
                  "training": training, "scores": scores, "content_scale": {}}  # fmt: skip
        self._model = Model(
            network.eval(), config, channels, (), normalizer, None, None, 1, {"lat": patch[0], "lon": patch[1]},
            {"coarse": data.grid.to_dict()},
        )  # fmt: skip
        self._model.history = result.history
        return self

    # ------------------------------------------------------------------ scores
    def evaluate(
        self,
        ds: XarrayObject,
        *,
        n_patches: int = 4,
        latitudes: tuple[float, float] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        device: str = "auto",
    ) -> xr.Dataset:
        """Root-mean-square error in the hole, on patches drawn from ``ds``, the same for the same seed. This computes.

        Parameters
        ----------
        ds : Dataset or DataArray
            With the variables of the training, matched by name and converted, on any times and any grid.
        n_patches : int
            Patches at each time.
        latitudes : (float, float), optional
            Those of the training by default.
        batch_size, seed : int
        device : str

        Returns
        -------
        Dataset (filler)
            Each variable, in its units: the error of the ``"network"``; of a ``"smooth"`` surface, the solution of
            Laplace's equation in the hole; of the ``"mean"`` of the training.
        """
        total, n = np.zeros((len(_holes.FILLERS), len(self.model.inputs))), 0
        for truth, made in self._filled(ds, n_patches, latitudes, batch_size, seed, device):
            n += len(truth)
            total = total + np.stack([((filled - truth) ** 2).mean(axis=(2, 3)).sum(axis=0) for filled in made])
        rmse = np.sqrt(total / n)
        data = {}
        for k, channel in enumerate(self.model.inputs):
            attrs = {"long_name": "root-mean-square error in the hole"}
            data[channel.name] = ("filler", rmse[:, k], attrs | ({"units": channel.units} if channel.units else {}))
        out = xr.Dataset(data, {"filler": list(_holes.FILLERS)}, {"n_patches": n})
        return cf.add_history(out, cf.describe_call("Inpainter.evaluate", n_patches=n_patches, seed=seed))

    # ------------------------------------------------------------------ its parts
    def _filled(
        self,
        ds: XarrayObject,
        n_patches: int,
        latitudes: tuple[float, float] | None,
        batch_size: int,
        seed: int,
        device: str,
    ) -> Iterator[tuple[Any, list[Any]]]:
        """Give the truth in the hole, ``(batch, channel, row, column)`` in physical units, and what is put there."""
        from xatmo.train import whole

        model = self.model
        data = _lagged.matching(_pairs.as_dataset(ds, "evaluate"), model.inputs, "evaluate")
        patch = (model.patch_size["lat"], model.patch_size["lon"])
        band = _lagged.band(model.config["training"]["latitudes"] if latitudes is None else latitudes)
        if model.normalizer is None:  # pragma: no cover  (every fit makes one)
            message = "this model has no normalizer; train it with fit"
            raise ConfigError(message)
        shape = self._network_config(len(model.inputs), patch)
        source = HoledBatches(
            data, _holes.places(data, patch, band), [c.name for c in model.inputs], model.normalizer,
            hole=(shape.rows, shape.columns), n_patches=whole("n_patches", n_patches),
            batch_size=whole("batch_size", batch_size), seed=whole("seed", seed, 0), training=False,
        )  # fmt: skip
        yield from _holes.filled(model, source, device)

    def _network(self, n_inputs: int, patch: tuple[int, int]) -> tuple[torch.nn.Module, dict[str, Any]]:
        if self._module is not None:
            _holes.require_fitting(self._module, n_inputs, patch)
            return self._module, {"kind": "module"}
        from xatmo.nn.representation import Inpainting

        config = self._network_config(n_inputs, patch)
        return Inpainting(config), config.to_dict()

    def _network_config(self, n_inputs: int, patch: tuple[int, int]) -> Any:
        from xatmo.nn.representation import InpaintingConfig

        hole = tuple(max(round(self._config["hole"] * n), 1) for n in patch)
        rest = {name: self._config[name] for name in _OF_OUR_NETWORKS if name != "hole"}
        return InpaintingConfig(n_inputs, patch, (hole[0], hole[1]), **rest)

    def _optimizer_settings(self) -> Any:
        from xatmo.train import OptimizerSettings

        return OptimizerSettings(**{
            n: self._config[n] for n in ("optimizer", "learning_rate", "weight_decay", "schedule")
        })  # fmt: skip
