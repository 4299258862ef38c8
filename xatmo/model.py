"""Model: a network with what is needed to use it on labelled data: names, units, normalizer, factor, grid."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import xarray as xr
from torch import nn

from xatmo import _statics
from xatmo._channels import Channel
from xatmo._model_card import card
from xatmo.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from xatmo.normalize import Normalizer
    from xatmo.typing import XarrayObject

__all__ = ["Channel", "Model"]

FORMAT = "xatmo-model"
VERSION = 1
CONFIG, WEIGHTS, NORMALIZER, OUTPUT_NORMALIZER, STATIC, FINE_STATIC, CYCLE, HISTORY, README = (
    "config.json", "model.safetensors", "normalizer.nc", "output_normalizer.nc", "static.nc", "fine_static.nc",
    "cycle.nc", "history.json", "README.md",
)  # fmt: skip

# Kind of network, as config["network"]["kind"] names it -> "module:function" that builds it from config["network"].
BUILDERS: dict[str, str | None] = {
    "superresolver": "xatmo.nn.superres:build",
    "srgan": "xatmo.nn.superres.srgan:build",
    "diffusion": "xatmo.nn.diffusion:build",
    "fourdvar": "xatmo.nn.assimilation:build",
    "representation": "xatmo.nn.representation:build",
    "inpainting": "xatmo.nn.representation:build_inpainting",
    "video": "xatmo.nn.video:build",
    "module": None,
}


class Fitted(Protocol):
    """What holds a model, as a fitted task does."""

    @property
    def model(self) -> Model:
        """Network, names, normalizer and grid."""


@dataclass
class Model:
    """A network and all that belongs to it.

    Attributes
    ----------
    network : torch.nn.Module
        ``(batch, channel_in, *patch) -> (batch, channel_out, *patch * factor)``, normalized in and out; rows run from
        north to south. Its attribute ``halo``, where there is one, is the number of input cells at an edge that it
        needs for a full view.
    config : dict
        What JSON can hold: ``network`` (what builds the network; ``kind`` names the builder), ``task``, ``training``,
        ``scores``.
    inputs, outputs : tuple of Channel
        In channel order. Static channels are the last of the inputs.
    normalizer : Normalizer, optional
        Of the inputs, by name. None: the network takes physical units.
    output_normalizer : Normalizer, optional
        Of the outputs, by name; often the same object.
    static : Dataset, optional
        Fields without time that the network reads, coarse, on the training grid. `complete` puts them beside data.
    factor : int
        Fine cells per coarse cell, along latitude and along longitude.
    patch_size : dict
        Training patch in coarse cells, under keys among ``time``, ``lat``, ``lon``.
    grid : dict
        Training grid: ``coarse`` and ``fine`` (`Grid.to_dict`), ``row_offset``, ``column_offset``.
    history : list of dict
        Rows of the training history.
    fine : tuple of Channel
        Static fields that the network takes on the fine grid, beside its inputs, in order. They are normalized with the
        statistics that ``normalizer`` has for their names.
    fine_static : Dataset, optional
        These fields, on the training grid, rows north to south.
    cycle : Dataset, optional
        Climatology of what a forecasting network reads, by hour or by month and hour, on the training grid.
    """

    network: nn.Module
    config: dict[str, Any]
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    normalizer: Normalizer | None = None
    output_normalizer: Normalizer | None = None
    static: xr.Dataset | None = None
    factor: int = 1
    patch_size: dict[str, int] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    fine: tuple[Channel, ...] = ()
    fine_static: xr.Dataset | None = None
    cycle: xr.Dataset | None = None

    @classmethod
    def of(cls, model: Fitted | Model | nn.Module | str | Path | object) -> Model:
        """Resolve what callers may pass as a model: a fitted task, a path, a `Model`, or a bare network.

        A bare network comes back without channels and without a normalizer.

        Raises
        ------
        NotFittedError
            If a task was not fitted.
        CheckpointError
            If a path cannot be loaded.
        OptionError
            If it is none of these.
        """
        if isinstance(model, Model):
            return model
        if isinstance(model, str | Path):
            return cls.load(model)
        if isinstance(model, nn.Module):
            return cls(model, {"task": type(model).__name__, "network": {"kind": "module"}}, (), ())
        fitted = getattr(model, "model", None)
        if isinstance(fitted, Model):
            return fitted
        message = (
            f"model is {type(model).__name__}; wanted a fitted task, the path of a saved one, or a torch.nn.Module"
        )
        raise OptionError(message)

    # ------------------------------------------------------------------ what the network tells about itself
    @property
    def halo(self) -> int:
        """Input cells at an edge that the network needs for a full view; 0 where it does not tell."""
        return int(getattr(self.network, "halo", 0) or 0)

    @property
    def local(self) -> bool:
        """Whether nothing beyond ``halo`` counts. A network with attention over its whole window says no."""
        return bool(getattr(self.network, "local", True))

    @property
    def past(self) -> int | None:
        """Frames before each that count in what the network makes of it; None where it looks both ways, or is silent.

        Networks of ours with a time window look at the whole of it; SRGAN makes each frame by itself.
        """
        told: Any = getattr(self.network, "past", None)
        if told is not None or "time" not in self.patch_size:
            return None if told is None else int(told)
        kind = self.config.get("network", {}).get("kind")
        whole = self.patch_size["time"] - 1
        return {"superresolver": whole, "diffusion": whole, "srgan": 0}.get(str(kind))

    @property
    def alignment(self) -> int:
        """Input cells: windows agree only where they begin a multiple of it apart, since the network pools cells."""
        told: Any = getattr(self.network, "alignment", None)
        if told is not None:
            return int(told)
        levels: list[Any] = [m.n_levels for m in self.network.modules() if hasattr(m, "n_levels")]
        step = 1 << int(max(levels, default=0))  # on the fine grid
        return step // math.gcd(step, self.factor)

    @property
    def localised(self) -> bool:
        """Whether the network has weights for each point of one grid, so that it serves that grid only."""
        return bool(getattr(getattr(self.network, "config", None), "localised", False))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any weight, name, unit, statistic, static field or setting."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        for part in (self.normalizer, self.output_normalizer):
            if part is not None:
                digest.update(part.method.encode())
                _digest_fields(digest, part.to_dataset())
        for fields in (self.static, self.fine_static, self.cycle):
            if fields is not None:
                _digest_fields(digest, fields)
        described = {k: v for k, v in self._described().items() if k != "config"}
        described["network"] = self.config.get("network")
        digest.update(json.dumps(described, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    # ------------------------------------------------------------------ static fields
    def complete(self, obj: xr.Dataset) -> xr.Dataset:
        """Add what the network reads and ``obj`` lacks: covariates of time and place, and coarse static fields.

        Parameters
        ----------
        obj : Dataset
            Coarse fields. A field of its own goes before the stored one.

        Raises
        ------
        VariableError
            If the stored static fields do not cover the coordinates of ``obj``.
        """
        if covariates := self.config.get("covariates"):
            from xatmo.covariates import add_covariates

            obj = add_covariates(obj, covariates)
        if self.static is None:
            return obj
        missing = [c.name for c in self.inputs if c.name in self.static and c.name not in obj]
        if not missing:
            return obj
        return _statics.beside(obj, self.static, missing)

    def with_static(self, fine: XarrayObject) -> Model:
        """Give a model with static fields of another region or grid in place of its own.

        Parameters
        ----------
        fine : Dataset or DataArray
            Every static field that the network reads, on the fine grid of the output, under its name or standard name,
            in units that convert. Coarse channels are made from them by `xatmo.regrid.coarsen`.

        Returns
        -------
        Model
            With the same network; this one stays as it is.

        Raises
        ------
        OptionError
            If the model reads no static fields.
        VariableError, UnitsError, DimensionError, GridError, MissingValueError
            If a field is missing, or cannot serve.

        Examples
        --------
        >>> from xatmo.grids import Grid
        >>> grid = Grid.regular(8, 16, poles=False)
        >>> land = xr.DataArray(np.eye(8, 16), grid.coords(), dims=("latitude", "longitude"), name="land")
        >>> model = Model(nn.Upsample(scale_factor=2), {}, (), (), factor=2, fine=(Channel("land"),))
        >>> model.with_static(land).fine_static["land"].shape
        (8, 16)
        """
        stored = set() if self.static is None else set(map(str, self.static.data_vars))
        coarse = [c for c in self.inputs if c.name in stored]
        static, fine_static = _statics.in_place(fine, self.fine, coarse, factor=self.factor, grid=self.grid)
        return replace(self, static=static, fine_static=fine_static)

    # ------------------------------------------------------------------ disk
    def _described(self) -> dict[str, Any]:
        return {
            "inputs": [asdict(c) for c in self.inputs],
            "outputs": [asdict(c) for c in self.outputs],
            "factor": self.factor,
            "patch_size": self.patch_size,
            "grid": self.grid,
            "config": self.config,
            # Only where there are any: models that were saved without keep their fingerprint.
            **({"fine": [asdict(c) for c in self.fine]} if self.fine else {}),
        }

    def save(self, path: str | Path) -> None:
        """Write a directory: ``config.json``, ``model.safetensors``, ``normalizer.nc``, ``README.md``.

        The directory appears whole or not at all: it is written beside its place and then renamed, and a directory that
        was there before stays until then.

        Raises
        ------
        CheckpointError
            If ``path`` exists and is not a saved model, which is never overwritten.
        """
        import safetensors.torch

        from xatmo import __version__

        path = Path(path)
        if path.exists() and not (path / CONFIG).is_file() and (path.is_file() or any(path.iterdir())):
            message = f"{str(path)!r} exists and is not a saved model; it is left alone. Save under another name"
            raise CheckpointError(message)
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.absolute().parent))
        try:
            head = {"format": FORMAT, "version": VERSION, "xatmo": __version__, "fingerprint": self.fingerprint}
            shared = self.output_normalizer is self.normalizer
            state = {**head, "shared_normalizer": shared, **self._described()}
            (place / CONFIG).write_text(json.dumps(state, indent=1))
            weights = {k: v.detach().cpu().contiguous().clone() for k, v in self.network.state_dict().items()}
            safetensors.torch.save_file(weights, place / WEIGHTS)
            if self.normalizer is not None:
                self.normalizer.save(place / NORMALIZER)
            if self.output_normalizer is not None and not shared:
                self.output_normalizer.save(place / OUTPUT_NORMALIZER)
            if self.static is not None:
                self.static.to_netcdf(place / STATIC)
            if self.fine_static is not None:
                self.fine_static.to_netcdf(place / FINE_STATIC)
            if self.cycle is not None:
                self.cycle.to_netcdf(place / CYCLE)
            n_parameters = sum(p.numel() for p in self.network.parameters())
            embeds = hasattr(self.network, "encoder")
            (place / README).write_text(card(state, name=path.name, n_parameters=n_parameters, embeds=embeds))
            if self.history:
                (place / HISTORY).write_text(json.dumps(self.history))
            place.chmod(0o755)
            _swap(place, path)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @classmethod
    def load(cls, path: str | Path, *, module: nn.Module | None = None) -> Model:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or Path
            The directory.
        module : torch.nn.Module, optional
            The network, for a model that was made from a module of the caller's; gets the saved weights.

        Raises
        ------
        CheckpointError
            If the directory is missing, truncated or foreign, if a module is needed and not given, or if its weights
            do not fit.
        """
        import safetensors.torch

        from xatmo.normalize import Normalizer

        path = Path(path)
        state = _read_config(path)
        config = state["config"]
        network = _network(config, module, path)
        try:
            weights = safetensors.torch.load_file(path / WEIGHTS)
        except Exception as error:  # a missing file, a header cut short, foreign bytes: many types
            message = f"{str(path / WEIGHTS)!r} cannot be read ({_first_line(error)}); save the model again"
            raise CheckpointError(message) from error
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            message = f"the weights in {str(path)!r} do not fit the network: {' '.join(str(error).split())[:300]}"
            raise CheckpointError(message) from error
        try:
            normalizer = Normalizer.load(path / NORMALIZER) if (path / NORMALIZER).exists() else None
            own = path / OUTPUT_NORMALIZER
            output = normalizer if state["shared_normalizer"] else Normalizer.load(own) if own.exists() else None
            static, fine_static, cycle = (
                xr.load_dataset(path / n) if (path / n).exists() else None for n in (STATIC, FINE_STATIC, CYCLE)
            )
            history = json.loads((path / HISTORY).read_text()) if (path / HISTORY).exists() else []
        except Exception as error:  # netCDF libraries raise many types
            message = (
                f"{NORMALIZER}, {STATIC}, {FINE_STATIC} or {CYCLE} in {str(path)!r} cannot be read "
                f"({_first_line(error)}); save the model again"
            )
            raise CheckpointError(message) from error
        if normalizer is None and config.get("normalized", False):
            message = f"{str(path)!r} has no {NORMALIZER}, which its network needs; copy the whole directory"
            raise CheckpointError(message)
        model = cls(
            network.eval(), config, tuple(Channel(**c) for c in state["inputs"]),
            tuple(Channel(**c) for c in state["outputs"]), normalizer, output, static,
            int(state["factor"]), dict(state["patch_size"]), dict(state["grid"]), history,
            tuple(Channel(**c) for c in state.get("fine", ())), fine_static, cycle,
        )  # fmt: skip
        if model.fingerprint != state["fingerprint"]:
            message = (
                f"{str(path)!r} was changed after it was saved: its files give the fingerprint {model.fingerprint}, "
                f"config.json says {state['fingerprint']}"
            )
            raise CheckpointError(message)
        return model


def _digest_fields(digest: Any, ds: xr.Dataset) -> None:
    for name in sorted(map(str, ds.variables)):
        values = ds[name].values
        if values.dtype.kind in "fiub":
            digest.update(f"{name} {values.shape}".encode() + values.astype(np.float64).tobytes())


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        found = "it is a file" if path.exists() else "nothing is there"
        message = f"no saved model at {str(path)!r}: {found}; wanted the directory that .save(path) wrote"
        raise CheckpointError(message)
    if not (path / CONFIG).is_file():
        message = f"{str(path)!r} is not a saved model: it holds no {CONFIG}"
        raise CheckpointError(message)
    try:
        state = json.loads((path / CONFIG).read_text())
    except ValueError as error:
        message = f"{str(path / CONFIG)!r} is truncated or not JSON ({_first_line(error)}); save the model again"
        raise CheckpointError(message) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        message = f"{str(path / CONFIG)!r} was not written by xatmo; wanted format {FORMAT!r}"
        raise CheckpointError(message)
    if state["version"] > VERSION:
        message = f"{str(path)!r} was saved by a newer xatmo ({state.get('xatmo')}); upgrade xatmo to load it"
        raise CheckpointError(message)
    wanted = {"config", "inputs", "outputs", "factor", "patch_size", "grid", "fingerprint", "shared_normalizer"}
    if lacking := sorted(wanted - set(state)):
        message = f"{str(path / CONFIG)!r} is incomplete: it lacks {lacking}; save the model again"
        raise CheckpointError(message)
    return state


def _network(config: dict[str, Any], module: nn.Module | None, path: Path) -> nn.Module:
    kind = config.get("network", {}).get("kind", "module")
    if config.get("network", {}).get("own_parts"):
        from xatmo.nn import assimilation

        return assimilation.build(config["network"], module=module)
    if kind == "video" and config["network"].get("architecture") == "module":
        from xatmo.nn import video

        if module is not None:
            return video.build(config["network"], module=module)
        kind = "module"
    if module is not None:
        return _constrained(module, config)
    builder = BUILDERS.get(kind)
    if builder is None:
        what = "was made from a module of your own" if kind == "module" else f"holds a network of unknown kind {kind!r}"
        message = f"the model in {str(path)!r} {what}; pass the network: xatmo.load(path, module=net)"
        raise CheckpointError(message)
    where, function = builder.split(":")
    settings = {k: v for k, v in config["network"].items() if k != "constraint"}
    built = getattr(importlib.import_module(where), function)(settings)
    if not isinstance(built, nn.Module):  # pragma: no cover  (a builder that breaks its contract)
        message = f"{builder} gave {type(built).__name__}, not a network"
        raise CheckpointError(message)
    return _constrained(built, config)


def _constrained(network: nn.Module, config: Mapping[str, Any]) -> nn.Module:
    """Wrap a network as its configuration says, unless it is wrapped."""
    settings = config.get("network", {}).get("constraint")
    if settings is None:
        return network
    from xatmo.nn.superres.constraints import Constrained

    return network if isinstance(network, Constrained) else Constrained.wrap(network, settings)


def _swap(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; what was there goes only when the new one stands."""
    if not path.exists():
        os.replace(new, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.absolute().parent))
    os.replace(path, old)  # rename onto an empty directory
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
