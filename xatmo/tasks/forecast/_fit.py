"""Training of a forecaster: data, statistics, cycle, network, objective and run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from xatmo.errors import OptionError
from xatmo.normalize import Normalizer
from xatmo.tasks import _run
from xatmo.tasks._run import RunOptions
from xatmo.tasks.forecast import _cycle, _data, _module, _settings
from xatmo.tasks.forecast._batches import WindowBatches

if TYPE_CHECKING:
    import torch

    from xatmo.model import Channel, Model
    from xatmo.nn.video import PackedVideo, VideoConfig

DEFAULT_PATCH = 128
"""Cells a side of a training window; smaller domains are seen whole."""

_WRAP = 8
"""Columns of the other end that networks see beyond each end of all longitudes."""

_DESCRIBED = ("weight_decay", "normalization", "augmentation")


def train(
    name: str,
    config: dict[str, Any],
    module: torch.nn.Module | None,
    initial: Model | None,
    data: _data.Data,
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
        Whose weights, statistics and cycle to start from.
    data : Data
    options : RunOptions
    """
    from xatmo.model import Channel, Model

    found = data.gathered()
    record, step = found.whole, found.whole.step
    baseline = _settings.baseline(_as_begun(config, initial), step, len(record.times), dated=record.dated)
    channels = tuple(Channel.of(record.fields[n]) for n in found.names)
    static = () if found.static is None else tuple(Channel.of(v) for v in found.static.data_vars.values())
    if initial is not None:
        _data.require_same_units((*channels, *static), initial.inputs)
    cycle = _learned(baseline, found, initial)
    described = _described(config, found, baseline, step, len(static), own=module is not None)
    cells = _data.check_patch(options.patch_size, record, DEFAULT_PATCH)
    if not record.plane and record.grid.periodic and cells[record.axes.lon_dim] == record.grid.nlon:
        described = _around(described, record.grid.nlon)
    across = (cells[record.axes.lat_dim], cells[record.axes.lon_dim])
    simple = described.architecture in _settings.SIMPLE
    statistics = None if simple else _statistics(config, found, initial)
    network = _network(described, module, across, options.seed)
    if initial is not None:
        _start(network, initial)
    training: dict[str, Any] = {
        "state": [str(n) for n in found.names], "targets": [str(n) for n in found.names[: found.n_out]],
        "n_context": described.n_context, "n_future": described.n_future, "baseline": baseline, "time_step": step,
        "period": found.period, "plane": record.plane,
    }  # fmt: skip
    history: list[dict[str, Any]] = []
    scores: dict[str, float] = {}
    if statistics is not None:
        told, history, scores = _trained(
            config, network, found, data, channels, cycle, statistics, cells, options, initial
        )
        training |= told
    made = {
        "task": name, "settings": dict(config), "network": described.to_dict(), "normalized": statistics is not None,
        "training": training, "scores": scores,
    }  # fmt: skip
    patch = dict(zip(("lat", "lon"), across, strict=True))
    return Model(
        network.eval(), made, (*channels, *static), channels[: found.n_out], statistics, statistics, found.static, 1,
        patch, {"coarse": record.grid.to_dict()}, history, cycle=cycle,
    )  # fmt: skip


def _trained(
    config: dict[str, Any], network: PackedVideo, found: _data.Gathered, data: _data.Data,
    channels: tuple[Channel, ...], cycle: xr.Dataset | None, statistics: Normalizer, cells: dict[Hashable, int],
    options: RunOptions, initial: Model | None,
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, float]]:  # fmt: skip
    """Train the network; give what to tell of it, its history and its scores."""
    import torch

    inner, devices, seed = network.network, options.devices, options.seed
    common: dict[str, Any] = {
        "batch_size": options.batch_size,
        "seed": seed,
        "valid": options.valid,
        "memory": options.memory,
    }
    frames = inner.config.n_context, inner.config.n_future
    source = WindowBatches(found.fields(cycle, config["covariates"]), statistics, *frames, cells, **common)
    held_out = None
    other = data.held_out(found, channels)
    if other is not None:
        sizes = zip(cells.values(), other.whole.axes.dims, strict=True)
        fitting = {d: min(n, other.whole.fields.sizes[d]) for n, d in sizes}
        held_out = WindowBatches(
            other.fields(cycle, config["covariates"]), statistics, *frames, fitting, **common, training=False
        )
    settings = options.settings(source.n_batches(devices))
    with torch.random.fork_rng(devices=[]):  # of discriminators
        torch.manual_seed(seed)
        objective = _settings.objective(
            config, inner, max_steps=settings.max_steps, cycle=cycle is not None, devices=devices, seed=seed
        )
    about = source.describe()
    identity: dict[str, Any] = {
        **config,
        **about,
        "network": inner.config.to_dict(),
        "statistics": _run.rounded(statistics),
        "data": found.identity(),
        "validation_data": None if other is None else other.identity(),
    }
    result = options.run(objective, source, settings, validation=held_out, identity=identity, initial=initial)
    told: dict[str, Any] = {
        **about, **options.told(result, initial), **{k: config[k] for k in _DESCRIBED},
        "loss": _settings.loss(config), "objective": type(objective).__name__,
        **{k: getattr(objective.optimizer_settings, k) for k in ("optimizer", "learning_rate", "schedule")},
    }  # fmt: skip
    return told, result.history, _run.scores(result)


# ---------------------------------------------------------------------- its parts
def _as_begun(config: Mapping[str, Any], initial: Model | None) -> Mapping[str, Any]:
    """Let "auto" be the simple forecast that the weights to start from correct."""
    if initial is None or config["baseline"] != "auto":
        return config
    return {**config, "baseline": initial.config.get("training", {}).get("baseline", "auto")}


def _learned(baseline: str, found: _data.Gathered, initial: Model | None) -> xr.Dataset | None:
    """Give the cycle that the simple forecast needs."""
    if baseline not in _cycle.BY:
        return None
    if initial is not None and initial.cycle is not None:
        return initial.cycle
    whole = found.whole
    state = found.state.assign_coords({whole.time_dim: (whole.time_dim, whole.times)})
    return _cycle.learn(state, baseline, whole.time_dim, whole.axes.dims)


def _described(
    config: Mapping[str, Any], found: _data.Gathered, baseline: str, step: float | None, n_static: int, *, own: bool
) -> VideoConfig:
    from xatmo.covariates import covariate_channels
    from xatmo.nn.video import VideoConfig

    simple = config["architecture"] in _settings.SIMPLE
    settings = dict(config["network_settings"] or {})
    a_day = 24
    if found.whole.dated and step and step <= 86400 and _settings.divides_day(step):
        a_day = round(86400 / step)
    n_context = config["n_context"]
    if simple and baseline == "yesterday":
        n_context = max(n_context, a_day)
    return VideoConfig(
        "module" if own else config["architecture"], n_out=found.n_out, n_state=len(found.names), n_context=n_context,
        n_future=config["n_future"], n_known=0 if simple else len(covariate_channels(config["covariates"])),
        n_static=0 if simple else n_static, cycle=baseline in _cycle.BY, baseline="none" if simple else baseline,
        steps_per_day=a_day, settings=settings,
    )  # fmt: skip


def _around(described: VideoConfig, n_lon: int) -> VideoConfig:
    """Let a network that sees all longitudes look over the end of them, where it can and nothing else is said."""
    from xatmo.nn.video.architectures import takes

    if "wrap" in described.settings or not takes(described.architecture, "wrap"):
        return described
    return replace(described, settings={**described.settings, "wrap": min(_WRAP, n_lon)})


def _statistics(config: Mapping[str, Any], found: _data.Gathered, initial: Model | None) -> Normalizer:
    if initial is not None:
        if initial.normalizer is None:
            message = "initial has no normalizer: it takes physical units; wanted a task that was trained by fit"
            raise OptionError(message)
        return initial.normalizer
    fields = found.state
    if found.static is not None:
        fields = fields.assign({n: v.variable for n, v in found.static.data_vars.items()})
    return Normalizer.fit(fields, method=config["normalization"])


def _network(described: VideoConfig, module: torch.nn.Module | None, cells: tuple[int, int], seed: int) -> PackedVideo:
    import torch

    from xatmo.nn.video import PackedVideo, VideoNetwork
    from xatmo.nn.video.foreign import Foreign

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if module is None:
            return PackedVideo(VideoNetwork(described))
        _module.require_fitting(module, described, cells)
        return PackedVideo(VideoNetwork(described, Foreign(described, module)))


def _start(network: torch.nn.Module, initial: Model) -> None:
    """Take the weights of a fitted model."""
    try:
        network.load_state_dict(initial.network.state_dict())
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        message = f"the weights of initial do not fit the network: {first}. Wanted the same settings of the network"
        raise OptionError(message) from error
