"""SuperResolver: fine fields from coarse ones, learned."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import xarray as xr

from xatmo import cf
from xatmo.errors import ConfigError, OptionError
from xatmo.tasks import _content, _pairs
from xatmo.tasks._batches import PairBatches
from xatmo.tasks.base import Task
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Channel, Model
    from xatmo.normalize import Normalizer

DEFAULT_PATCH = 24
_OF_OUR_NETWORKS = ("backbone", "upsampling", "channels", "n_blocks", "baseline")


class SuperResolver(Task):
    """Learn to refine coarse fields by a whole factor.

    The network corrects an interpolated field: a backbone works on the coarse grid, and one upsampling brings its
    result to the fine grid (`xatmo.nn.superres`). It is fully convolutional: any number of variables, any size, any
    rectangle.

    Parameters
    ----------
    factor : int
        Fine cells per coarse cell, along latitude and along longitude; at least 2.
    backbone : {"residual"}
        What works on the coarse grid.
    upsampling : {"subpixel"}
        What leads to the fine grid.
    adversarial : {False}
        Whether a second network judges the first.
    time_window : {None}
        Number of time steps that the network sees at once.
    loss : str or mapping
        ``"mae"``, ``"mse"``, ``"gradient"``, ``"spectral_power"``, ``"spectral_coherence"``, ``"spectral_weighted"``,
        ``"spectral_adjusted"``; several joined with ``+``, with factors (``"mae + 0.1 spectral_power"``), or a mapping
        from these to weights. ``"atmodist:PATH"`` is the distance in the features of a saved `AtmoDist`, of its last
        layer unless another is named (``"atmodist:PATH@stage3"``). Spectral and learned losses need patches without
        missing cells: see `xatmo.nn.spectral_losses`.
    loss_weights : {None, "area"}
        How cells count in the loss: all alike, or by their area on the sphere, as in scores.
    constraint : {None}
        What ties the mean over a coarse cell to the input.
    channels : int
        Width of the backbone.
    n_blocks : int
        Blocks of the backbone.
    baseline : {"bicubic", "bilinear"}
        The interpolation that the network corrects.
    normalization : {"standard", "minmax", "robust", "log1p"}
        See `xatmo.Normalizer.fit`.
    augmentation : {"auto", "none", "mirror", "symmetries"}
        Symmetries drawn at random while training: east-west mirror, or all flips and transposes of a patch. They fit
        scalars. ``"auto"``: ``"symmetries"`` unless a variable is a component of a vector, else ``"none"``.
    optimizer : {"adamw", "adam", "sgd"}
        What updates the weights.
    learning_rate : float
        Highest learning rate.
    weight_decay : float
        Of ``adamw`` and ``sgd``.
    schedule : {"one-cycle", "cosine", "constant"}
        Course of the learning rate.
    scale_learning_rate : bool
        Whether to multiply the learning rate by the number of devices.

    Raises
    ------
    OptionError
        If a keyword has a value that is not available; the message lists those that are.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xatmo
    >>> grid = xatmo.Grid.regular(36, 72, poles=False)
    >>> rng = np.random.default_rng(0)
    >>> fine = xr.DataArray(rng.standard_normal((2, 36, 72), dtype="float32"), name="t2m", attrs={"units": "K"},
    ...                     dims=("time", "latitude", "longitude"), coords=grid.coords())
    >>> task = SuperResolver(factor=2, channels=8, n_blocks=1)
    >>> task = task.fit(fine, max_steps=2, patch_size=8, accelerator="cpu", progress=False)
    >>> task.history["step"].tolist()
    [1, 2]
    >>> task.model.inputs[0].name, task.model.factor
    ('t2m', 2)
    """

    name: ClassVar[str] = "SuperResolver"

    def __init__(
        self,
        factor: int,
        *,
        backbone: str = "residual",
        upsampling: str = "subpixel",
        adversarial: bool = False,
        time_window: int | None = None,
        loss: str | Mapping[str, float] = "mae",
        loss_weights: str | None = None,
        constraint: str | None = None,
        channels: int = 48,
        n_blocks: int = 4,
        baseline: str = "bicubic",
        normalization: str = "standard",
        augmentation: str = "auto",
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        schedule: str = "one-cycle",
        scale_learning_rate: bool = False,
    ) -> None:
        from xatmo.train import whole

        super().__init__()
        factor, channels, n_blocks = (
            whole("factor", factor, 2),
            whole("channels", channels),
            whole("n_blocks", n_blocks, 0),
        )
        for name, value, only in (
            ("adversarial", adversarial, False), ("time_window", time_window, None), ("constraint", constraint, None),
        ):  # fmt: skip
            if value is not only:
                message = f"{name}={value!r} is not available; possible are {[only]}"
                raise OptionError(message)
        normalizations = ("standard", "minmax", "robust", "log1p")
        augmentations = ("auto", "none", "mirror", "symmetries")
        for name, value, known in (
            ("normalization", normalization, normalizations), ("augmentation", augmentation, augmentations),
            ("loss_weights", loss_weights, (None, "area")),
        ):  # fmt: skip
            if value not in known:
                message = f"{name}={value!r} is not available; possible are {list(known)}"
                raise OptionError(message)
        self._config: dict[str, Any] = {
            "factor": factor, "backbone": backbone, "upsampling": upsampling, "adversarial": adversarial,
            "time_window": time_window, "loss": dict(loss) if isinstance(loss, Mapping) else loss,
            "loss_weights": loss_weights, "constraint": constraint, "channels": channels, "n_blocks": n_blocks,
            "baseline": baseline, "normalization": normalization, "augmentation": augmentation, "optimizer": optimizer,
            "learning_rate": learning_rate, "weight_decay": weight_decay, "schedule": schedule,
            "scale_learning_rate": scale_learning_rate,
        }  # fmt: skip
        self._module: torch.nn.Module | None = None
        self._check()

    def _check(self) -> None:
        """Let those who use a setting check it, now rather than after the data are read."""
        from xatmo.nn import losses

        parts = losses.build(self._config["loss"]).parts
        if isinstance(self._config["loss"], dict):
            self._config["loss"] = parts
        self._network_config(1, (0,))
        settings = self._optimizer_settings(1)
        rates = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
        # As plain numbers, which files can hold.
        self._config |= {**rates, "scale_learning_rate": bool(self._config["scale_learning_rate"])}

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return dict(self._config)

    def __repr__(self) -> str:
        text = super().__repr__()
        if self._module is None:
            return text
        for name in _OF_OUR_NETWORKS:
            text = text.replace(f" {name}={self._config[name]!r},", "")
        return text.replace(f"<{self.name} ", f"<{self.name} module={type(self._module).__name__}, ")

    @property
    def factor(self) -> int:
        """Fine cells per coarse cell."""
        return int(self._config["factor"])

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(  # type: ignore[override]
        cls,
        module: torch.nn.Module,
        *,
        factor: int,
        inputs: Sequence[str | Channel] | None = None,
        outputs: Sequence[str | Channel] | None = None,
        normalizer: Normalizer | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        **settings: Any,
    ) -> Self:
        """Make the task around a network of the caller's: labels, tiling, training and saving are the same.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, channel_in, lat, lon) -> (batch, channel_out, lat * factor, lon * factor)``, rows north to south.
            ``fit`` trains it, with the number of channels that the data have.
        factor : int
        inputs, outputs : sequence of str or Channel, optional
            Names of the variables, if the module is trained already and shall be used as it is. ``outputs`` are the
            inputs unless given.
        normalizer : Normalizer, optional
            Of a trained module. None: it takes physical units.
        patch_size : int or mapping, optional
            Coarse cells of a patch, for a trained module.
        **settings
            Those of `SuperResolver` that concern training: ``loss``, ``optimizer``, ``learning_rate`` ...

        Examples
        --------
        >>> import torch
        >>> net = torch.nn.Upsample(scale_factor=2)
        >>> SuperResolver.from_module(net, factor=2, inputs=["t2m"]).model.outputs[0].name
        't2m'
        """
        import torch

        from xatmo.model import Channel, Model

        given: object = module
        if not isinstance(given, torch.nn.Module):
            message = f"module is {type(module).__name__}; wanted a torch.nn.Module"
            raise OptionError(message)
        if foreign := sorted(set(settings) & set(_OF_OUR_NETWORKS)):
            message = f"{foreign} describe a network of ours; with a module of your own leave them out"
            raise OptionError(message)
        task = cls(factor, **settings)
        task._module = module
        if inputs is not None:
            ins, outs = (
                tuple(Channel(c) if isinstance(c, str) else c for c in ([names] if isinstance(names, str) else names))
                for names in (inputs, inputs if outputs is None else outputs)
            )
            if patch_size is None or isinstance(patch_size, Mapping):
                size = dict(patch_size or {})
            else:
                size = dict.fromkeys(("lat", "lon"), patch_size)
            config = {"task": cls.name, "settings": task.config, "network": {"kind": "module"},
                      "normalized": normalizer is not None}  # fmt: skip
            task._model = Model(
                module,
                config,
                ins,
                outs,
                normalizer,
                normalizer,
                None,
                factor,
                {str(k): int(v) for k, v in size.items()},
            )
        return task

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Make the fitted task that belongs to a model."""
        try:
            task = cls(**model.config["settings"])
        except (KeyError, TypeError) as error:
            message = f"this model has settings that SuperResolver does not know ({error})"
            raise ConfigError(message) from error
        task._model = model
        if model.config["network"].get("kind") == "module":
            task._module = model.network
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        validation: XarrayObject | tuple[XarrayObject, XarrayObject] | None = None,
        target: XarrayObject | None = None,
        predictors: XarrayObject | None = None,
        static: XarrayObject | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        batch_size: int = 16,
        epochs: int = 40,
        max_steps: int | None = None,
        max_time: str | None = None,
        patience: int | None = 10,
        valid: float | None = None,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str | None = None,
        seed: int = 0,
        run_dir: str | Path | None = None,
        resume: bool = True,
        progress: bool = True,
    ) -> Self:
        """Train. This reads the data and computes: statistics first, then the coarse fields, then batch after batch.

        Parameters
        ----------
        train : Dataset or DataArray
            Fine fields; the coarse ones are made from them by `xatmo.regrid.coarsen`. With ``target``: the coarse
            fields. May be lazy, with latitude and longitude in one chunk; coarse fields up to 1 GiB are kept in memory.
            Patches are drawn chunk by chunk, so the chunks take part in deciding their order.
        validation : Dataset or DataArray, or a pair of them, optional
            Like ``train``; with ``target`` the pair (coarse, fine). The weights with the lowest validation loss are
            kept. Without it nothing is held out, and the last weights are kept.
        target : Dataset or DataArray, optional
            Fine fields that belong to ``train``: the same area and times, ``factor`` times as many points.
        predictors : Dataset or DataArray, optional
            More variables for the network to read, on the coarse or the fine grid (then coarsened), for the points and
            times of ``train`` (and of ``validation``).
        static : Dataset or DataArray, optional
            The same without time: orography, land-sea mask. They are saved with the model.
        patch_size : int or mapping, optional
            Training patch in coarse cells: a number, or ``{"lat": 24, "lon": 32}``. Default 24, or what there is.
        batch_size : int
            Patches per step and device.
        epochs : int
            Times that the data are seen, as patches that overlap by half.
        max_steps : int, optional
            Optimiser steps; wins over ``epochs``.
        max_time : str, optional
            Budget, ``"HH:MM:SS"``. Training ends with it, the learning rate too.
        patience : int, optional
            Validations without improvement after which training stops; None never stops early.
        valid : float, optional
            Least fraction of numbers in a patch. Missing inputs then stand at their mean, missing targets do not count.
            None: a missing value is an error.
        accelerator : {"auto", "cpu", "gpu", "cuda", "mps"}
            Where to train.
        devices : int
            Number of devices; more than one trains in as many processes, which a script has to start under
            ``if __name__ == "__main__":``.
        precision : {None, "32-true", "bf16-mixed", "16-mixed"}
            None: bfloat16 where the device is made for it, else float32.
        seed : int
            Decides weights at the start, order and augmentation.
        run_dir : str or Path, optional
            Where checkpoints and history go, so that an interrupted run can go on.
        resume : bool
            Go on with the run in ``run_dir``. False: start anew.
        progress : bool
            Show a progress bar.

        Returns
        -------
        SuperResolver
            This one, fitted.

        Raises
        ------
        GridError, CoordinateError, DimensionError, VariableError
            If the data do not fit together.
        MissingValueError
            If a value is missing and ``valid`` is None.
        OptionError
            If a keyword has an impossible value.
        ConfigError
            If ``run_dir`` holds a run with other settings.
        """
        import torch

        from xatmo.model import Channel
        from xatmo.train import Supervised, TrainSettings, whole
        from xatmo.train import fit as run

        pairs = _pairs.make(train, self.factor, target=target, predictors=predictors, static=static)
        size = _pairs.check_patch_size(patch_size, pairs, DEFAULT_PATCH)
        inputs, outputs = self._normalizers(pairs)
        seed, devices = whole("seed", seed, 0), whole("devices", devices)
        common: dict[str, Any] = {
            "batch_size": whole("batch_size", batch_size), "seed": seed, "valid": valid,
            "area": self._config["loss_weights"] == "area",
        }  # fmt: skip
        source = PairBatches(pairs, size, inputs, outputs, **common)
        held_out = None
        if validation is not None:
            other = self._validation_pairs(validation, target, predictors, static)
            other = _pairs.like(other, pairs, what="validation")
            held_out = PairBatches(other, size, inputs, outputs, **common, training=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, network_config = self._network(pairs, size)
        steps = whole("epochs", epochs) * source.n_batches(devices) if max_steps is None else max_steps
        settings = TrainSettings(
            steps, accelerator=accelerator, devices=devices, precision=precision, seed=seed, max_time=max_time,
            patience=patience,
        )  # fmt: skip
        augmentation = self._augmentation(pairs)
        loss = _content.bind(self._config["loss"], [Channel.of(a) for a in pairs.fine.data_vars.values()], outputs)
        objective = Supervised(
            network, loss, optimizer=self._optimizer_settings(devices), augmentation=augmentation,
            seed=seed,
        )  # fmt: skip
        described = source.describe()
        result = run(
            objective, source, settings, validation=held_out, run_dir=run_dir, resume=resume, progress=progress,
            identity={
                **self._config, **described, "augmentation": augmentation, "network": _network_identity(network),
                "statistics": {**_rounded(outputs), **_rounded(inputs)},
            },
        )  # fmt: skip
        training = {
            **described, "period": _pairs.period(pairs),
            "steps": result.steps, "seconds": round(result.seconds, 1), "precision": result.precision,
            "seed": seed, "devices": devices, "augmentation": augmentation,
            **{k: self._config[k] for k in ("loss", "loss_weights", "optimizer", "learning_rate", "weight_decay",
                                            "schedule", "normalization")},
        }  # fmt: skip
        scores = {"training_loss": result.history[-1]["loss"]} if result.history else {}
        if result.best_validation_loss is not None:
            scores["validation_loss"] = result.best_validation_loss
        config = {"task": self.name, "settings": self.config, "network": network_config, "normalized": True,
                  "training": training, "scores": scores}  # fmt: skip
        self._model = self._made(network, config, pairs, size, inputs, outputs)
        self._model.history = result.history
        return self

    # ------------------------------------------------------------------ its parts
    def _validation_pairs(
        self,
        validation: Any,
        target: XarrayObject | None,
        predictors: XarrayObject | None,
        static: XarrayObject | None,
    ) -> _pairs.Pairs:
        if target is None and not isinstance(validation, tuple):
            coarse, fine = validation, None
        elif target is not None and isinstance(validation, tuple) and len(validation) == 2:
            coarse, fine = validation
        else:
            wanted = "with target= wanted a pair (coarse, fine), without it the fine fields"
            message = f"validation is {type(validation).__name__}; {wanted}"
            raise OptionError(message)
        return _pairs.make(coarse, self.factor, target=fine, predictors=predictors, static=static, what="validation")

    def _normalizers(self, pairs: _pairs.Pairs) -> tuple[Normalizer, Normalizer]:
        """One normalizer for both where every output is an input, so that the baseline is right in its units."""
        from xatmo.normalize import Normalizer

        method = self._config["normalization"]
        inputs = Normalizer.fit(pairs.coarse, method=method)
        if all(n in pairs.coarse for n in pairs.fine.data_vars):
            return inputs, inputs
        return inputs, Normalizer.fit(pairs.fine, method=method)

    def _network(self, pairs: _pairs.Pairs, size: Mapping[Hashable, int]) -> tuple[torch.nn.Module, dict[str, Any]]:
        if self._module is not None:
            _require_fitting(self._module, pairs, size)
            return self._module, {"kind": "module"}
        from xatmo.nn.superres import SuperResolution

        ins, outs = list(pairs.coarse.data_vars), list(pairs.fine.data_vars)
        shared = all(n in ins for n in outs)
        baseline = tuple(ins.index(n) if shared else -1 for n in outs)
        config = self._network_config(
            len(ins), baseline, row_offset=pairs.found.row_offset, column_offset=pairs.found.column_offset
        )
        return SuperResolution(config), config.to_dict()

    def _network_config(self, n_inputs: int, baseline: tuple[int, ...], **offsets: Any) -> Any:
        from xatmo.nn.superres import SuperResolutionConfig

        names = ("factor", "backbone", "upsampling", "channels", "n_blocks", "baseline")
        return SuperResolutionConfig(
            n_inputs=n_inputs, n_outputs=len(baseline), baseline_channels=baseline, **offsets,
            **{k: self._config[k] for k in names},
        )  # fmt: skip

    def _optimizer_settings(self, devices: int) -> Any:
        from xatmo.train import OptimizerSettings

        rate = self._config["learning_rate"]
        if self._config["scale_learning_rate"]:
            rate = float(rate) * devices
        return OptimizerSettings(
            self._config["optimizer"], rate, self._config["weight_decay"], self._config["schedule"]
        )

    def _augmentation(self, pairs: _pairs.Pairs) -> Any:
        chosen = self._config["augmentation"]
        if chosen != "auto":
            return chosen
        return "none" if any(_is_vector(ds[n]) for ds in (pairs.coarse, pairs.fine) for n in ds) else "symmetries"

    def _made(
        self,
        network: torch.nn.Module,
        config: dict[str, Any],
        pairs: _pairs.Pairs,
        size: dict[Hashable, int],
        inputs: Normalizer,
        outputs: Normalizer,
    ) -> Model:
        from xatmo.model import Channel, Model

        found, axes = pairs.found, pairs.axes
        return Model(
            network.eval(), config,
            tuple(Channel.of(a) for a in pairs.coarse.data_vars.values()),
            tuple(Channel.of(a) for a in pairs.fine.data_vars.values()),
            inputs, outputs, pairs.static, self.factor,
            {"lat": size[axes.lat_dim], "lon": size[axes.lon_dim]},
            {"coarse": found.coarse.to_dict(), "fine": found.fine.to_dict(), "row_offset": found.row_offset,
             "column_offset": found.column_offset},
        )  # fmt: skip


def _require_fitting(module: torch.nn.Module, pairs: _pairs.Pairs, size: Mapping[Hashable, int]) -> None:
    """Raise unless a module of the caller's makes fine patches of coarse ones, by one look at zeros."""
    import torch

    factor, ins, outs = pairs.found.factor, list(pairs.coarse.data_vars), list(pairs.fine.data_vars)
    rows, columns = (size[d] for d in pairs.axes.dims)
    tensors = [*module.parameters(), *module.buffers()]
    zeros = torch.zeros(1, len(ins), rows, columns, device=tensors[0].device if tensors else "cpu")
    training = module.training
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(zeros).shape)
    except Exception as error:  # a caller's module may raise anything
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"the module cannot read {len(ins)} channels {ins} on {rows} x {columns} cells: {first}"
        raise OptionError(message) from error
    finally:
        module.train(training)
    wanted = (1, len(outs), rows * factor, columns * factor)
    if shape != wanted:
        message = f"the module turned {tuple(zeros.shape)} into {shape}; wanted {wanted} for {outs} and factor {factor}"
        raise OptionError(message)


def _network_identity(network: torch.nn.Module) -> str:
    return f"{type(network).__name__} with {sum(p.numel() for p in network.parameters())} parameters"


def _rounded(normalizer: Normalizer) -> dict[str, list[float]]:
    """Statistics that tell data from others, and do not depend on the order in which they were summed."""
    return {n: [float(f"{float(a):.5g}") for a in normalizer.scaling(n)] for n in normalizer.names}


def _is_vector(da: xr.DataArray) -> bool:
    """Whether a field looks like a component of a vector."""
    standard = str(da.attrs.get("standard_name", ""))
    if any(word in standard for word in ("eastward", "northward", "x_wind", "y_wind", "x_velocity", "y_velocity")):
        return True
    return any(da.name in pair for pair in cf.WIND_NAMES)
