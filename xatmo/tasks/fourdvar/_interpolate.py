"""A trained mapping over labelled observations of any size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from xatmo import _labels, cf, units
from xatmo._stretches import in_words, usual_step
from xatmo.assimilation import observations
from xatmo.assimilation.tracks import is_track
from xatmo.errors import CoordinateError, OptionError
from xatmo.tasks.fourdvar import _data
from xatmo.tasks.fourdvar._data import Fields, Given, Several
from xatmo.tasks.fourdvar._packing import Channels, packed

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model
    from xatmo.tasks.base import Task
    from xatmo.tasks.fourdvar._background import Background

    ModelLike: TypeAlias = Task | Model | torch.nn.Module | str | Path

_STEP_TOLERANCE = 0.1


def interpolate(
    ds: xr.Dataset,
    obs: Several,
    mask: Several = None,
    *,
    model: ModelLike,
    background: Several = None,
    predictors: Several = None,
    domain: Given | None = None,
    lag: Given | None = None,
    uncertainty: bool = False,
    members: int | None = None,
    seed: int = 0,
    overlap: Mapping[Hashable, int] | None = None,
    patch_size: Mapping[Hashable, int] | None = None,
    window: str = "hann",
    batch_size: int | None = None,
    device: str = "auto",
) -> xr.Dataset:
    """Map sparse observations with a trained network, over any domain and record.

    The record is cut into windows that overlap in space and by half in time, each is solved by the network, and what
    they give is blended: see `xatmo.inference.predict`, which is what runs. A stretch of time that is shorter than the
    network's window is filled up with frames without observations; what lies before a gap of the times and what lies
    behind it do not meet. Where a window has no observation at all, the analysis is the background.

    Parameters
    ----------
    ds : Dataset
        Where names are looked up.
    obs : name, DataArray, or several
        Observations, gridded or along tracks, in the order of the training; other names than there serve.
    mask : name, DataArray, or several, optional
        False, zero or NaN where an observation is not to be used.
    model : FourDVarNet, Model, path or torch.nn.Module
        What was trained. A bare module takes packed inputs without NaN, in physical units.
    background : name, DataArray, or several, optional
        By default made as in training: scales that were estimated there serve here. Its unit is that of the
        observations or converts to that of the training.
    predictors : names, DataArrays or a Dataset, optional
        By default the variables of ``ds`` with the names of the training.
    domain : name or DataArray (lat, lon), optional
        Where there is water; NaN comes back elsewhere.
    lag : name or DataArray, optional
        Offsets of the true times of observations from the labels, for the background.
    uncertainty : bool
        Whether to give the standard error, as NAME ``_error``.
    members : int, optional
        Conditional draws, along ``member``.
    seed : int
        Of the members.
    overlap, patch_size, window, batch_size, device
        See `xatmo.inference.predict`; by default half of the window in time.

    Returns
    -------
    Dataset
        The analysis under the name of the (first) observations, in their units; lazy where they are.

    Raises
    ------
    VariableError, DimensionError, CoordinateError, UnitsError, OptionError
        If the inputs do not fit the network, or times are irregular.
    GridError
        If the grid's steps differ by more than a tenth from those of training.
    """
    from xatmo.tasks import as_model

    made = as_model(model)
    what = "the mapping"
    if not made.inputs:
        made = _bare(made, ds, obs, mask, predictors, domain)
    channels = _channels(made)
    fields = _data.gather(
        ds, obs, mask, predictors=_predictors(ds, predictors, channels), domain=domain, background=background, lag=lag,
        what=what,
    )  # fmt: skip
    if trained := made.grid.get("coarse"):
        from xatmo.grids import Grid

        _data.require_step(fields.grid, Grid.from_dict(trained), what)
    _require_time_step(fields, made)
    own = fields.obs
    fields = channels.chosen(fields, what=what)
    guesses = _backgrounds(made, channels, fields)
    call = cf.describe_call(
        "fourdvar_interp", model=made.config.get("task"), fingerprint=made.fingerprint,
        obs=[str(f.name) for f in own] if len(own) > 1 else str(own[0].name), mask=_names(mask),
        background=_names(background) or made.config.get("background", {}).get("kind"), domain=_names(domain),
        uncertainty=uncertainty or None, members=members, overlap=overlap, patch_size=patch_size, window=window,
    )  # fmt: skip
    if uncertainty or members is not None:
        message = "uncertainty=True and members= of a trained mapping are not available; leave them out"
        raise OptionError(message)
    options = {"patch_size": patch_size, "overlap": overlap, "window": window, "batch_size": batch_size,
               "device": device}  # fmt: skip
    analysis = solved(made, channels, fields, guesses, options)
    out = {}
    for k, channel in enumerate(made.outputs):
        first = next((f for f, o in zip(own, channels.observed, strict=True) if o == k), None)
        out.update(_labelled(analysis[channel.name], channel, fields, first, ds, obs, single=len(made.outputs) == 1))
    return cf.add_history(xr.Dataset(out, attrs=ds.attrs), call)


def solved(
    model: Model,
    channels: Channels,
    fields: Fields,
    backgrounds: Mapping[str, xr.DataArray],
    options: Mapping[str, Any],
) -> dict[str, xr.DataArray]:
    """Give the analyses by output, in its units; NaN outside of the domain. Dimensions are those of `Fields.dims`."""
    from xatmo import inference
    from xatmo.tasks.fourdvar._network import answering

    network = answering(model)
    asked = replace(model, network=network)
    frames = model.patch_size.get("time", 1)
    overlap = dict(options["overlap"] or {})
    if not {"time", fields.time_dim} & set(overlap):
        overlap["time"] = frames // 2
    whole = packed(fields, channels, backgrounds)
    parts = []
    for run in fields.runs:
        part, before = _filled_up(whole.isel({fields.time_dim: slice(*run)}), fields, frames)
        made = inference.predict(
            part, asked, patch_size={"time": frames, **_without_time(options["patch_size"], fields)}, overlap=overlap,
            window=options["window"], batch_size=options["batch_size"], device=options["device"], nan="keep",
        )  # fmt: skip
        parts.append(made.isel({fields.time_dim: slice(before, before + run[1] - run[0])}))
    out = {}
    for channel in model.outputs:
        pieces = [p[channel.name] for p in parts]
        field = pieces[0] if len(pieces) == 1 else xr.concat(
            pieces, fields.time_dim, coords="minimal", compat="override", join="override"
        )  # fmt: skip
        field = field.transpose(*fields.dims)
        water = fields.domain
        if fields.background:  # what is missing there is land, as the network takes it
            there = backgrounds[channel.name].notnull()
            there = there.all([fields.time_dim]) if fields.time_dim in there.dims else there
            water = there if water is None else water & there
        out[channel.name] = field if water is None else field.where(xr.DataArray(water.variable)).astype(field.dtype)
    return out


# ---------------------------------------------------------------------- what came
def _channels(model: Model) -> Channels:
    observed = model.config.get("observed")
    if observed is None:
        message = (
            f"the model is of the task {model.config.get('task')}, which does not map observations; wanted a "
            "FourDVarNet. For other networks there is .atmo.apply(model)"
        )
        raise OptionError(message)
    return Channels.of_model(model.inputs, model.outputs, observed)


def _bare(
    model: Model, ds: xr.Dataset, obs: Several, mask: Several, predictors: Several, domain: Given | None
) -> Model:
    """Describe a bare module: it takes what came, in physical units, and gives what the first sensor observes."""
    fields = _data.gather(ds, obs, mask, predictors=predictors, domain=domain, what="the mapping")
    config = getattr(model.network, "config", None)
    n_outputs = int(getattr(config, "n_outputs", 1))
    observed = tuple(getattr(config, "observed", None) or (0,) * len(fields.obs))
    channels = Channels.of(fields, observed, n_outputs)
    frames = int(getattr(config, "time_window", None) or getattr(model.network, "time_window", None) or
                 fields.sizes[fields.time_dim])  # fmt: skip
    return replace(
        model, inputs=channels.inputs, outputs=channels.outputs, patch_size={"time": frames},
        config={**model.config, "observed": list(observed), "background": {"kind": "zero", "of_outputs": []}},
    )  # fmt: skip


def _predictors(ds: xr.Dataset, given: Several, channels: Channels) -> list[Given] | None:
    if given is not None:
        return _data.listed(given, "predictors")
    from xatmo._channels import match

    offered = ds.drop_vars([n for n in ds.data_vars if not ds[n].dims])
    return [s.variable for s in match(offered, channels.predictors, what="the mapping")]


def _require_time_step(fields: Fields, model: Model) -> None:
    times = fields.times
    fields.runs  # noqa: B018 - raises where times are irregular
    step, trained = usual_step(times), model.config.get("training", {}).get("time_step")
    if step and trained and abs(step / trained - 1) > _STEP_TOLERANCE:
        message = (
            f"the frames of this record are {in_words(step)} apart, and {in_words(trained)} in the training of the "
            "network; wanted the same step. Select or resample, or train on such a record"
        )
        raise CoordinateError(message)


def _backgrounds(model: Model, channels: Channels, fields: Fields) -> dict[str, xr.DataArray]:
    """Take the backgrounds that came, or make them as in training."""
    if fields.background:
        return {c.name: f for c, f in zip(channels.outputs, fields.background, strict=True)}
    described = model.config.get("background", {})
    kind = described.get("kind", "zero")
    means = {
        c.name: 0.0 if model.normalizer is None else float(model.normalizer.scaling(c.name)[0])
        for c in channels.outputs
    }
    guess: tuple[Background | None, ...]
    if kept := described.get("of_outputs"):
        from xatmo.tasks.fourdvar._background import Background

        guess = tuple(None if b is None else Background(b["kind"], b["settings"]) for b in kept)
    elif kind == "zero":
        guess = (None,) * len(channels.outputs)
    else:
        message = (
            f"the network was trained with the background {kind!r} of the caller's; pass background= of the same kind"
        )
        raise OptionError(message)
    from xatmo.tasks.fourdvar._fit import backgrounds

    return backgrounds(guess, channels, fields, means)


# ---------------------------------------------------------------------- windows in time
def _filled_up(part: xr.Dataset, fields: Fields, frames: int) -> tuple[xr.Dataset, int]:
    """Add frames without observations around a stretch that is shorter than a window; tell how many before it."""
    dim = fields.time_dim
    lacking = frames - part.sizes[dim]
    if lacking <= 0:
        return part, 0
    before = lacking // 2
    n = part.sizes[dim]
    at = np.clip(np.arange(frames) - before, 0, n - 1)
    there = xr.DataArray((np.arange(frames) >= before) & (np.arange(frames) < before + n), dims=(dim,))
    longer = part.drop_vars([c for c in part.coords if dim in part[c].dims]).isel({dim: at})
    made = {}
    for name, field in longer.data_vars.items():
        seen = dim in field.dims and str(name).endswith("_mask")
        made[name] = field.where(there, 0) if seen else field
        made[name].attrs = field.attrs
    times = np.datetime64("2000-01-01", "ns") + np.arange(frames) * np.timedelta64(1, "D")
    return longer.assign(made).assign_coords({dim: (dim, times, {"standard_name": "time"})}), before


def _without_time(given: Mapping[Hashable, int] | None, fields: Fields) -> dict[Hashable, int]:
    found = dict(given or {})
    for key in ("time", fields.time_dim):
        if key in found:
            message = (
                f"patch_size={given!r} came; the network was made for its own number of frames: wanted 'lat' and 'lon'"
            )
            raise OptionError(message)
    return found


# ---------------------------------------------------------------------- labels
def _labelled(
    field: xr.DataArray,
    channel: Any,
    fields: Fields,
    observed: xr.DataArray | None,
    ds: xr.Dataset,
    obs: Several,
    *,
    single: bool,
) -> dict[Hashable, xr.DataArray]:
    """Give the analysis the name, attributes and units of what was observed."""
    name: Hashable = channel.name
    attrs = dict(channel.attrs)
    if channel.units is not None:
        attrs["units"] = channel.units
    field = field.assign_attrs(attrs)
    if observed is not None:
        if "units" in observed.attrs and channel.units is not None:
            field = units.convert(field, str(observed.attrs["units"]))
        attrs = _labels.true_attrs(observed)
        name = observed.name if single else name
    field = field.assign_coords({c: v for c, v in fields.template.coords.items() if set(v.dims) <= set(field.dims)})
    like = fields.template
    came = observations.pick(ds, _data.listed(obs, "obs")[0], "obs")
    if not is_track(came):
        like = came
        if fields.cyclic and came.sizes.get(fields.axes.lon_dim) == like.sizes[fields.axes.lon_dim]:
            field = _labels.restore_cyclic(field, came, fields.axes)
    field = _labels.restore_order(field, like)
    field.attrs = attrs
    return {name: _labels.changed_values(field.rename(name), like)}


def _names(given: Any) -> Any:
    if given is None:
        return None
    if isinstance(given, list | tuple):
        return [_names(g) for g in given]
    return (
        given.name
        if isinstance(given, xr.DataArray)
        else given
        if isinstance(given, str)
        else str(type(given).__name__)
    )
