"""One training of a super-resolution: from labelled data and settings to a `Model`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xatmo.errors import GridError, OptionError
from xatmo.tasks import _run
from xatmo.tasks._run import RunOptions
from xatmo.tasks.pairs import _pairs
from xatmo.tasks.pairs._batches import PairBatches
from xatmo.tasks.superres import _constraint, _content, _objectives, _superres_networks, _vectors
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.grids import Grid
    from xatmo.model import Channel, Model
    from xatmo.normalize import Normalizer
    from xatmo.train import FitResult

DEFAULT_PATCH = 24
_DESCRIBED = ("loss", "loss_weights", "optimizer", "learning_rate", "weight_decay", "schedule", "normalization")


@dataclass(frozen=True)
class Data:
    """What came from the caller.

    Attributes
    ----------
    train : Dataset or DataArray
    validation, target, predictors, static
        See `SuperResolver.fit`.
    """

    train: XarrayObject
    validation: Any = None
    target: XarrayObject | None = None
    predictors: XarrayObject | None = None
    static: XarrayObject | None = None

    def pairs(self, config: Mapping[str, Any]) -> _pairs.Pairs:
        """Bring the training data into one form."""
        return self._made(config, self.train, self.target, "train")

    def held_out(self, config: Mapping[str, Any], first: _pairs.Pairs) -> _pairs.Pairs | None:
        """Bring the validation data into that of the training data."""
        given = self.validation
        if given is None:
            return None
        if self.target is None and not isinstance(given, tuple):
            coarse, fine = given, None
        elif self.target is not None and isinstance(given, tuple) and len(given) == 2:
            coarse, fine = given
        else:
            wanted = "with target= wanted a pair (coarse, fine), without it the fine fields"
            message = f"validation is {type(given).__name__}; {wanted}"
            raise OptionError(message)
        found = _pairs.like(self._made(config, coarse, fine, "validation"), first, what="validation")
        if config["localised"] and not _same_points(found.found.fine, first.found.fine):
            message = "validation lies on other points than train; with localised=True wanted the same grid"
            raise GridError(message)
        return found

    def _made(
        self, config: Mapping[str, Any], coarse: XarrayObject, fine: XarrayObject | None, what: str
    ) -> _pairs.Pairs:
        return _pairs.make(
            coarse, config["factor"], target=fine, predictors=self.predictors, static=self.static,
            covariates=config["covariates"], what=what,
        )  # fmt: skip


def train(
    name: str,
    config: dict[str, Any],
    module: torch.nn.Module | None,
    initial: Model | None,
    data: Data,
    options: RunOptions,
) -> Model:
    """Train, and give the model.

    Parameters
    ----------
    name : str
        Of the task.
    config : dict
        Its settings, resolved.
    module : torch.nn.Module, optional
        Of the caller's; None: a network of ours.
    initial : Model, optional
        Whose weights and normalizers to start from.
    data : Data
    options : RunOptions
    """
    import torch

    from xatmo.model import Channel

    pairs = data.pairs(config)
    size = _patch(config, options.patch_size, pairs)
    ins, outs = (tuple(Channel.of(a) for a in ds.data_vars.values()) for ds in (pairs.coarse, pairs.fine))
    if initial is not None:
        _superres_networks.require_same_channels(initial, ins, outs)
    inputs, outputs = _normalizers(config, pairs, initial)
    seed, devices = options.seed, options.devices
    n_static = _n_static(module, pairs)
    common: dict[str, Any] = {
        "batch_size": options.batch_size, "seed": seed, "valid": options.valid,
        "area": config["loss_weights"] == "area", "static": n_static > 0, "fixed": config["localised"],
        "time_window": config["time_window"],
    }  # fmt: skip
    source = PairBatches(pairs, size, inputs, outputs, **common)
    other = data.held_out(config, pairs)
    held_out = None if other is None else PairBatches(other, size, inputs, outputs, **common, training=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, network_config = _network(config, module, pairs, size, n_static)
        discriminator = None
        if config["adversarial"]:
            judged = _superres_networks.describe_discriminator(config, len(ins), len(outs), n_static=n_static)
            discriminator = _superres_networks.build_discriminator(judged)
    if initial is not None:
        _start(network, initial)
    constrained, network_config = _constraint.wrap(
        network, network_config, config["constraint"], ins, outs, inputs, outputs, factor=config["factor"],
        row_offset=pairs.found.row_offset,
    )  # fmt: skip
    # What DL4DS publishes was trained without a bound on the gradient.
    clip: dict[str, Any] = {"gradient_clip": 0.0} if config["compat"] == "dl4ds" and not config["diffusion"] else {}
    settings = options.settings(source.n_batches(devices), **clip)
    augmentation = _augmentation(config, pairs)
    objective = _objectives.make(
        # Of a diffusion model the parts are trained as they are, and what it draws is constrained.
        config, network if config["diffusion"] else constrained, _content.bind(config["loss"], outs, outputs),
        discriminator=discriminator, max_steps=settings.max_steps, devices=devices, augmentation=augmentation,
        seed=seed,
    )  # fmt: skip
    described = source.describe()
    identity: dict[str, Any] = {
        **config, **described, "augmentation": augmentation, "network": _superres_networks.identity(network),
        "statistics": _run.rounded(outputs, inputs),
    }  # fmt: skip
    result = options.run(objective, source, settings, validation=held_out, identity=identity, initial=initial)
    training: dict[str, Any] = {
        **described, **options.told(result, initial), "period": _pairs.period(pairs), "augmentation": augmentation,
        **{k: config[k] for k in _DESCRIBED},
    }  # fmt: skip
    if config["adversarial"] or config["diffusion"]:
        # Fewer than planned where max_time ended them.
        training["pretrain_steps"] = getattr(objective, "pretrain_steps", 0)
    made = {"task": name, "settings": dict(config), "network": network_config, "normalized": True,
            "training": training, "scores": _run.scores(result)}  # fmt: skip
    for key in ("constraint", "covariates"):
        if config[key]:
            made[key] = config[key]
    return _model(constrained, made, pairs, size, inputs, outputs, ins, outs, result, n_static)


# ---------------------------------------------------------------------- its parts
def _patch(
    config: Mapping[str, Any], given: int | Mapping[str, int] | None, pairs: _pairs.Pairs
) -> dict[Hashable, int]:
    size = _pairs.check_patch_size(given, pairs, DEFAULT_PATCH)
    if config["localised"]:
        whole = {d: pairs.whole_cells[d] for d in pairs.axes.dims}
        fine, used = pairs.found.fine, [n * pairs.found.factor for n in whole.values()]
        if [fine.nlat, fine.nlon] != used:
            message = (
                f"localised=True on {fine.nlat} x {fine.nlon} fine points, of which coarse cells by factor "
                f"{pairs.found.factor} hold {used[0]} x {used[1]} whole; wanted a grid of whole cells: leave rows or "
                f"columns out, for instance .isel({pairs.axes.lat_dim}=slice({used[0]}))"
            )
            raise GridError(message)
        if given is not None and size != whole:
            message = (
                f"patch_size={given!r} with localised=True, which has weights for every cell of the whole grid; leave "
                "patch_size out"
            )
            raise OptionError(message)
        return whole
    return size


def _same_points(a: Grid, b: Grid) -> bool:
    """Tell whether two grids are one, to a tenth of a step."""
    if a.shape != b.shape:
        return False
    apart = (np.abs(a.latitude - b.latitude), np.abs((a.longitude - b.longitude + 180) % 360 - 180))
    steps = (np.diff(axis) for axis in (b.latitude, b.longitude))
    return all(bool(d.max() < 0.1 * np.abs(s).min()) for d, s in zip(apart, steps, strict=True))


def _normalizers(
    config: Mapping[str, Any], pairs: _pairs.Pairs, initial: Model | None
) -> tuple[Normalizer, Normalizer]:
    """One normalizer for both where every output is an input, so that the baseline is right in its units."""
    from xatmo.normalize import Normalizer

    if initial is not None:
        if initial.normalizer is None or initial.output_normalizer is None:
            message = "initial has no normalizer: it takes physical units; wanted a task that was trained by fit"
            raise OptionError(message)
        if initial.normalizer.method != config["normalization"]:
            message = (
                f"normalization={config['normalization']!r} with initial, whose normalizer is kept and is "
                f"{initial.normalizer.method!r}; wanted the same"
            )
            raise OptionError(message)
        return initial.normalizer, initial.output_normalizer
    method = config["normalization"]
    inputs = Normalizer.fit(pairs.coarse, method=method)
    if all(n in pairs.coarse for n in pairs.fine.data_vars):
        return inputs, inputs
    return inputs, Normalizer.fit(pairs.fine, method=method)


def _n_static(module: torch.nn.Module | None, pairs: _pairs.Pairs) -> int:
    """Count the static fields on the fine grid that the network is given."""
    there = 0 if pairs.fine_static is None else len(pairs.fine_static.data_vars)
    if module is None:
        return there
    wanted = int(getattr(module, "n_static", 0))
    if wanted and wanted != there:
        message = f"the module takes {wanted} static fields, and {there} came on the fine grid; pass them as static="
        raise OptionError(message)
    return wanted


def _network(
    config: Mapping[str, Any],
    module: torch.nn.Module | None,
    pairs: _pairs.Pairs,
    size: Mapping[Hashable, int],
    n_static: int,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    ins, outs = ([str(n) for n in ds.data_vars] for ds in (pairs.coarse, pairs.fine))
    factor = config["factor"]
    if module is not None:
        frames = () if config["time_window"] is None else (config["time_window"],)
        sizes = (*frames, *(size[d] for d in pairs.axes.dims))
        _superres_networks.require_fitting(module, ins, outs, sizes, factor, n_static=n_static)
        return module, {"kind": "module"}
    shared = all(n in ins for n in outs)
    cells = pairs.whole_cells
    described = _superres_networks.describe(
        config, len(ins), tuple(ins.index(n) if shared else -1 for n in outs), n_static=n_static,
        shape=(cells[pairs.axes.lat_dim] * factor, cells[pairs.axes.lon_dim] * factor),
        row_offset=pairs.found.row_offset, column_offset=pairs.found.column_offset,
    )  # fmt: skip
    return _superres_networks.build(described), described.to_dict()


def _start(network: torch.nn.Module, initial: Model) -> None:
    """Start from a fitted model: the whole network, or of a diffusion model the mean that it is drawn around."""
    from xatmo.nn.superres.constraints import unconstrained

    part = getattr(network, "mean_network", network)
    theirs = hasattr(initial.network, "mean_network")
    _run.start_from(network if theirs or part is network else part, unconstrained(initial.network))


def _augmentation(config: Mapping[str, Any], pairs: _pairs.Pairs) -> Any:
    chosen = config["augmentation"]
    if config["localised"]:
        if chosen not in ("auto", "none"):
            message = f"augmentation={chosen!r} with localised=True, whose weights belong to places; wanted 'none'"
            raise OptionError(message)
        return "none"
    # Rows that start on a pole lie half a fine row north of where a flip puts them: baseline and cells then miss them.
    flips = pairs.found.row_offset == 0
    if chosen == "symmetries" and not flips:
        fine = pairs.found.fine
        message = (
            f"augmentation='symmetries' with {fine.nlat} rows that start on a pole: by factor {pairs.found.factor} "
            "they do not lie alike in coarse cells from north and south. Wanted 'mirror', which 'auto' takes"
        )
        raise OptionError(message)
    if chosen != "auto":
        return chosen
    if any(_vectors.turns(str(n), ds[n].attrs) for ds in (pairs.coarse, pairs.fine) for n in ds):
        return "none"
    return "symmetries" if flips else "mirror"


def _model(
    network: torch.nn.Module,
    config: dict[str, Any],
    pairs: _pairs.Pairs,
    size: Mapping[Hashable, int],
    inputs: Normalizer,
    outputs: Normalizer,
    ins: tuple[Channel, ...],
    outs: tuple[Channel, ...],
    result: FitResult,
    n_static: int,
) -> Model:
    from xatmo.model import Channel, Model

    found, axes = pairs.found, pairs.axes
    window = config["settings"]["time_window"]
    patch = {} if window is None else {"time": window}
    fine = pairs.fine_static if n_static else None
    return Model(
        network.eval(), config, ins, outs, inputs, outputs, pairs.static, found.factor,
        {**patch, "lat": size[axes.lat_dim], "lon": size[axes.lon_dim]},
        {"coarse": found.coarse.to_dict(), "fine": found.fine.to_dict(), "row_offset": found.row_offset,
         "column_offset": found.column_offset},
        result.history, () if fine is None else tuple(Channel.of(a) for a in fine.data_vars.values()), fine,
    )  # fmt: skip
