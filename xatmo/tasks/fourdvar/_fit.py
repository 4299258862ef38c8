"""One training of a learned variational mapping: from labelled data and settings to a `Model`."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from xatmo._stretches import usual_step
from xatmo.errors import OptionError, VariableError
from xatmo.tasks import _run
from xatmo.tasks._run import RunOptions
from xatmo.tasks.fourdvar import _data, _network, _settings
from xatmo.tasks.fourdvar._batches import Drawing, WindowBatches
from xatmo.tasks.fourdvar._data import Fields, Given, Several
from xatmo.tasks.fourdvar._packing import Channels, Scaling, normalizer
from xatmo.tasks.fourdvar._redraw import Made, noise_of
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model
    from xatmo.normalize import Normalizer
    from xatmo.tasks.fourdvar._background import Background

DEFAULT_PATCH = 64
# Fields of whole records up to this size are computed once and kept; larger ones stay lazy.
_KEPT_BYTES = 1 << 30
_DESCRIBED = ("loss", "optimizer", "learning_rate", "weight_decay", "schedule", "time_weight", "border", "augmentation")


@dataclass(frozen=True)
class Data:
    """What came from the caller: see `FourDVarNet.fit`."""

    train: XarrayObject
    obs: Several
    mask: Several = None
    target: Several = None
    predictors: Several = None
    domain: Given | None = None
    background: Several = None
    lag: Given | None = None
    validation: XarrayObject | None = None
    static: Several = None

    def fields(self) -> Fields:
        """Bring the training data into one form."""
        return _data.oriented(self._gathered(self.train, "train", dict(self._roles)))

    def held_out(self) -> Fields | None:
        """Bring the validation data, where the same names are looked up, into that form."""
        if self.validation is None:
            return None
        ds = _data.dataset(self.validation, "validation")
        roles = {role: self._names(role, given, ds) for role, given in self._roles.items()}
        return _data.oriented(self._gathered(ds, "validation", roles))

    @property
    def _roles(self) -> dict[str, Any]:
        roles = ("obs", "mask", "target", "predictors", "domain", "background", "lag")
        return {role: getattr(self, role) for role in roles}

    @property
    def constant(self) -> list[xr.DataArray]:
        """Static fields, which the model keeps."""
        ds = _data.dataset(self.train, "train")
        return _data.static(ds, self.static)

    def _gathered(self, ds: XarrayObject, what: str, roles: Mapping[str, Any]) -> Fields:
        others = {k: v for k, v in roles.items() if k not in ("obs", "mask", "predictors")}
        predictors = [*_data.listed(roles["predictors"], "predictors"), *self.constant]
        return _data.gather(ds, roles["obs"], roles["mask"], predictors=predictors, **others, what=what)

    @staticmethod
    def _names(role: str, given: Any, ds: xr.Dataset) -> Any:
        """Give the names of what was given for training, to be found in the validation data."""
        several = isinstance(given, list | tuple | xr.Dataset)
        names = [g.name if isinstance(g, xr.DataArray) else g for g in _data.listed(given, role)]
        missing = [n for n in names if n is None or n not in ds]
        if missing:
            message = (
                f"validation lacks {missing} for {role}=; it has {sorted(map(str, ds.variables))}. Give it the names "
                "of train"
            )
            raise VariableError(message)
        return names if several else (names[0] if names else None)


def train(
    name: str,
    config: dict[str, Any],
    parts: Mapping[str, torch.nn.Module],
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
    parts : mapping
        Modules of the caller's in the place of the network's prior, operator or solver.
    module : torch.nn.Module, optional
        Of the caller's, in the place of the whole network.
    initial : Model, optional
        Whose weights, statistics and background to start from.
    data : Data
    options : RunOptions
    """
    import torch

    from xatmo.model import Model

    fields, complete = _data.with_water(data.fields())
    mode = _mode(config, fields)
    described = _settings.network(
        {**config, "objective": mode}, n_observations=len(fields.obs), n_extra=len(fields.predictors),
        n_outputs=len(fields.target),
    )  # fmt: skip
    if described.n_observations != len(fields.obs):
        message = (
            f"network_settings speaks of {described.n_observations} sensors in observed= or calibrated=, and "
            f"{len(fields.obs)} came for obs=; wanted as many"
        )
        raise OptionError(message)
    channels = Channels.of(fields, described.observed, described.n_outputs)
    fields = channels.converted(fields)
    statistics = _statistics(initial, channels, fields)
    scaling = Scaling(statistics)
    seed, devices = options.seed, options.devices
    size = _patch(options.patch_size, fields, config["time_window"])
    began = time.perf_counter()
    guess = _guesses(config, channels, fields, data, initial, seed)
    drawing, notes = _drawing(config, fields, channels, scaling, guess, mode=mode, complete=complete)
    common: dict[str, Any] = {
        "batch_size": options.batch_size,
        "seed": seed,
        "drawing": drawing,
        "memory": options.memory,
    }
    source = WindowBatches(
        fields, channels, statistics, size, _made(guess, channels, fields, drawing, scaling), **common
    )
    held_out = None
    given = data.held_out()
    if given is not None:
        other = channels.chosen(_data.with_water(given)[0], what="validation")
        _data.require_step(other.grid, fields.grid, "validation")
        _data.require_time_step(other, usual_step(fields.times), "validation")
        across = [min(n, other.sizes[o]) for n, o in zip(size.values(), other.core, strict=True)]
        fitting = dict(zip(other.core, [config["time_window"], *across[1:]], strict=True))
        held_out = WindowBatches(
            other, channels, statistics, fitting, _made(guess, channels, other, drawing, scaling), **common,
            training=False,
        )  # fmt: skip
    prepared = time.perf_counter() - began
    if options.progress and guess:
        from rich import print as show

        show(f"scales and backgrounds of the record, before training: {prepared:.0f} s")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, trained, network_config = _network.make(
            described, parts, module, tuple(size.values()), len(channels.inputs), len(channels.outputs)
        )
    if initial is not None:
        _run.start_from(network, initial.network)
    settings = options.settings(source.n_batches(devices))
    shown = "supervised" if drawing.held_back else mode  # what is held back is then the target of a batch
    objective = _settings.objective(config, trained, mode=shown, devices=devices, seed=seed)
    about = source.describe()
    for note in (*notes, *about.get("notes", ())):
        logging.getLogger(__name__).info(note)
    identity: dict[str, Any] = {
        **config,
        **about,
        "objective": mode,
        "network": network_config,
        "statistics": _run.rounded(statistics),
    }
    result = options.run(objective, source, settings, validation=held_out, identity=identity, initial=initial)
    scores = _run.scores(result)
    if held_out is not None and module is None and mode != "variational":
        told = _or_background(objective, held_out, options, scores)
        if told:
            network_config["keeps_background"] = True
            notes = [*notes, told]
    times = fields.times
    training: dict[str, Any] = {
        **about, "notes": [*notes, *about.get("notes", ())], "objective": mode, "time_step": usual_step(times),
        "period": f"{str(times.min())[:16]} to {str(times.max())[:16]}, {len(times)} times",
        **options.told(result, initial), "seconds_before": round(prepared, 1), **{k: config[k] for k in _DESCRIBED},
    }  # fmt: skip
    made = {
        "task": name, "settings": dict(config), "network": network_config, "normalized": True,
        "observed": list(channels.observed), "background": _described(config, guess), "training": training,
        "scores": scores,
    }  # fmt: skip
    patch = {k: size[d] for k, d in zip(("time", "lat", "lon"), fields.core, strict=True)}
    return Model(
        network.eval(), made, channels.inputs, channels.outputs, statistics, statistics, _static(fields, data), 1,
        patch, {"coarse": fields.grid.to_dict()}, result.history,
    )  # fmt: skip


# ---------------------------------------------------------------------- its parts
def _or_background(objective: Any, held_out: WindowBatches, options: RunOptions, scores: dict[str, float]) -> str:
    """Let the network keep its background where the validation data say that it is no better; say so then."""
    import dataclasses

    import torch

    from xatmo.train import beside_background

    on_gpu = options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    network, background = beside_background(objective, held_out, device="cuda" if on_gpu else "cpu")
    scores |= {"validation_loss_of_analysis": network, "validation_loss_of_background": background}
    if network < background:
        return ""
    objective.network.config = dataclasses.replace(objective.network.config, keeps_background=True)
    note = (
        f"training did not improve on the background: validation loss {network:.4g} beside {background:.4g}; the task "
        "gives the background. Train for longer, with a lower learning_rate, or on more data"
    )
    logging.getLogger(__name__).warning(note)
    return note


def _static(fields: Fields, data: Data) -> xr.Dataset | None:
    names = {f.name for f in data.constant}
    kept = {f.name: f.compute() for f in fields.predictors if f.name in names}
    return xr.Dataset(kept).reset_coords(drop=True) if kept else None


def _mode(config: Mapping[str, Any], fields: Fields) -> str:
    """Choose the objective, and see that the data are those it needs."""
    mode = config["objective"] or ("supervised" if fields.target else "held_back")
    if mode == "supervised" and not fields.target:
        message = "objective='supervised' without a target; pass target=, or leave objective out"
        raise OptionError(message)
    if mode != "supervised" and fields.target:
        message = f"objective={mode!r} with target=, which it does not look at; leave one of them out"
        raise OptionError(message)
    return str(mode)


def _statistics(initial: Model | None, channels: Channels, fields: Fields) -> Normalizer:
    if initial is None:
        return normalizer(fields, channels)
    for what, theirs, ours in (
        ("reads", initial.inputs, channels.inputs),
        ("writes", initial.outputs, channels.outputs),
    ):
        have, want = ([(c.name, c.units) for c in group] for group in (theirs, ours))
        if have != want:
            message = f"initial {what} {have}; the data here have {want}. Wanted the same names and units in this order"
            raise OptionError(message)
    if initial.normalizer is None:
        message = "initial has no normalizer: it takes physical units; wanted a task that was trained by fit"
        raise OptionError(message)
    return initial.normalizer


def _patch(given: int | Mapping[str, int] | None, fields: Fields, frames: int) -> dict[Hashable, int]:
    """Frames and cells of a window, by dimension."""
    time, lat, lon = fields.core
    sizes = fields.sizes
    names: dict[Any, Hashable] = {"lat": lat, "lon": lon, lat: lat, lon: lon}
    wanted: Mapping[Any, Any] = {}
    if given is not None:
        wanted = given if isinstance(given, Mapping) else {"lat": given, "lon": given}
    found = {d: min(DEFAULT_PATCH, sizes[d]) for d in (lat, lon)}
    for key, n in wanted.items():
        if key not in names:
            message = f"patch_size has {key!r}; wanted cells for 'lat' and 'lon' (time_window= says the frames)"
            raise OptionError(message)
        if isinstance(n, bool) or not isinstance(n, int) or not 2 <= n <= sizes[names[key]]:
            message = (
                f"patch_size {n!r} along {key!r}; wanted a whole number of cells from 2 to the "
                f"{sizes[names[key]]} that there are"
            )
            raise OptionError(message)
        found[names[key]] = n
    return {time: frames, **found}


def _guesses(
    config: Mapping[str, Any], channels: Channels, fields: Fields, data: Data, initial: Model | None, seed: int
) -> tuple[Background | None, ...]:
    """Say for each output how its background is made from observations; nothing where they do not tell it."""
    kind = config["background"]
    if data.background is not None or kind not in ("oi", "linear"):
        if config["oi"]:
            message = f"oi={config['oi']!r} came with background={kind!r}; wanted background='oi', or no oi="
            raise OptionError(message)
        return ()
    from xatmo.tasks.fourdvar._background import Background

    kept = [] if initial is None else initial.config.get("background", {}).get("of_outputs", [])
    if kept and all(b is None or b["kind"] == kind for b in kept):
        return tuple(None if b is None else Background(b["kind"], b["settings"]) for b in kept)
    found: list[Background | None] = []
    for k, seen in enumerate(channels.merged(fields)):
        if seen is None:
            found.append(None)
            continue
        name = channels.outputs[k].name
        ds = seen.rename(name).to_dataset()
        ds = ds if fields.domain is None else ds.where(fields.domain)
        found.append(Background.fit(
            kind, ds, name, lag=fields.lag, time_window=config["time_window"], oi=config["oi"], seed=seed
        ))  # fmt: skip
    return tuple(found)


def _made(
    guess: tuple[Background | None, ...], channels: Channels, fields: Fields, drawing: Drawing, scaling: Scaling
) -> Made:  # fmt: skip
    """Make the backgrounds of a record, and keep them where they are small."""
    if fields.background:
        return Made(tuple(_kept(f) for f in fields.background))
    if not guess:
        return Made()
    if drawing.held_back:  # each sample has its own
        return Made((), guess)
    means = {c.name: scaling.mean(c.name) for c in channels.outputs}
    return Made(tuple(_kept(f) for f in backgrounds(guess, channels, fields, means).values()), guess)


def backgrounds(
    guess: tuple[Background | None, ...], channels: Channels, fields: Fields, means: Mapping[str, float]
) -> dict[str, xr.DataArray]:
    """Give the background of a record, by output and in its units: lazy where the observations are.

    It is the mean of the training where nothing observes an output, or a sample has no observation.
    """
    made: dict[str, xr.DataArray] = {}
    for background, seen, channel in zip(guess, channels.merged(fields), channels.outputs, strict=True):
        if background is None or seen is None:
            like = fields.obs[0]
            made[channel.name] = xr.zeros_like(like).rename(channel.name) + means[channel.name]
            continue
        name = channel.name
        found = background.make(seen.rename(name).to_dataset(), name, lag=fields.lag)[name]
        made[name] = found.fillna(means[name]).transpose(*fields.dims)
    return made


def _kept(field: xr.DataArray) -> xr.DataArray:
    return field.astype("float32").compute() if field.nbytes <= _KEPT_BYTES else field


def _drawing(
    config: Mapping[str, Any], fields: Fields, channels: Channels, scaling: Scaling,
    guess: tuple[Background | None, ...], *, mode: str, complete: bool,
) -> tuple[Drawing, list[str]]:  # fmt: skip
    """Say how samples are observed, and why not otherwise."""
    if mode == "held_back":
        return Drawing(held_back=config["held_back"] if guess else 0.0), []
    if mode != "supervised" or not config["redraw"]:
        return Drawing(), []
    reason = None
    if not complete:
        reason = "the target is not complete"
    elif fields.background:
        reason = "the background came as it is, and cannot be made anew"
    if reason is not None:
        return Drawing(), [f"redraw={config['redraw']:g} left out: {reason}"]
    noise = config["noise_std"]
    if noise is None:
        noises = noise_of(fields, channels, scaling)
    else:
        noises = tuple(float(noise) / scaling.std(c.name) for c in channels.obs)
    return Drawing(config["redraw"], noises), []


def _described(config: Mapping[str, Any], guess: tuple[Background | None, ...]) -> dict[str, Any]:
    kept = [None if b is None else {"kind": b.kind, "settings": _settings.plain(b.settings)} for b in guess]
    return {"kind": config["background"], "of_outputs": kept}
