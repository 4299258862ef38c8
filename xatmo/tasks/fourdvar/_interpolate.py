"""A trained mapping over labelled observations of any size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import xarray as xr

from xatmo import cf
from xatmo.assimilation.labels import observations
from xatmo.errors import OptionError
from xatmo.tasks.base import Task, as_model
from xatmo.tasks.fourdvar import _data
from xatmo.tasks.fourdvar._answer import Like, labelled
from xatmo.tasks.fourdvar._data import Given, Several
from xatmo.tasks.fourdvar._packing import Channels
from xatmo.tasks.fourdvar._solve import Solver

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model

    ModelLike: TypeAlias = Task | Model | torch.nn.Module | str | Path


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
        By default the variables of ``ds`` with the names of the training, and the static fields that the model keeps.
    domain : name or DataArray (lat, lon), optional
        Where there is water; NaN comes back elsewhere.
    lag : name or DataArray, optional
        Offsets of the true times of observations from the labels, for the background.
    uncertainty : bool
        Whether to give the standard error, as NAME ``_error``: what the network learned to say, where it was trained
        with ``error=True`` on targets; otherwise the spread of members, with its sampling error among the attributes.
    members : int, optional
        Give so many members instead of the analysis, along ``member``: possible truths, by conditional simulation with
        the covariance of the background (`xatmo.assimilation.draws.members`). More members leave the
        earlier as they were.
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
    made = as_model(model)
    what = "the mapping"
    if not made.inputs:
        made = _bare(made, ds, obs, mask, predictors, domain)
    channels = _channels(made)
    if predictors is None:
        ds = made.complete(ds)
    fields = _data.gather(
        ds, obs, mask, predictors=_predictors(ds, predictors, channels), domain=domain, background=background, lag=lag,
        what=what,
    )  # fmt: skip
    if trained := made.grid.get("coarse"):
        from xatmo.grids import Grid

        _data.require_step(fields.grid, Grid.from_dict(trained), what)
    _data.require_time_step(fields, made.config.get("training", {}).get("time_step"), what)
    own = fields.obs
    fields = channels.chosen(fields, what=what)
    call = cf.describe_call(
        "fourdvar_interp", model=made.config.get("task"), fingerprint=made.fingerprint,
        obs=[str(f.name) for f in own] if len(own) > 1 else str(own[0].name), mask=_names(mask),
        background=_names(background) or made.config.get("background", {}).get("kind"), domain=_names(domain),
        uncertainty=uncertainty or None, members=members, overlap=overlap, patch_size=patch_size, window=window,
    )  # fmt: skip
    solver = Solver(made, channels, {
        "patch_size": patch_size, "overlap": overlap, "window": window, "batch_size": batch_size, "device": device
    })  # fmt: skip
    found = solver.found(fields, uncertainty=uncertainty, members=members, seed=seed)
    out: dict[Hashable, xr.DataArray] = {}
    for k, channel in enumerate(made.outputs):
        first = next((f for f, o in zip(own, channels.observed, strict=True) if o == k), None)
        single = len(made.outputs) == 1
        like = Like(fields, first, observations.pick(ds, _data.listed(obs, "obs")[0], "obs"))
        out.update(labelled(found, channel, like, single=single))
    return cf.add_history(xr.Dataset(out, attrs=ds.attrs), call)


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
