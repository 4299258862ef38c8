"""What is usual at an hour (and month): learned on the training times, kept by the model, laid at any times."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _statics, cf
from xatmo.climatology import COUNT, climatology, climatology_at
from xatmo.errors import CoordinateError, GridError

BY: dict[str, tuple[str, ...]] = {"diurnal": ("hour",), "climatology": ("month", "hour")}
"""Groups of times by the simple forecast that needs them."""


def learn(state: xr.Dataset, baseline: str, time_dim: Hashable, kept: tuple[Hashable, ...]) -> xr.Dataset:
    """Mean of each variable by hour, or by month and hour. This reads the data.

    Parameters
    ----------
    state : Dataset
        Over the training times.
    baseline : str
        A key of `BY`.
    time_dim : hashable
    kept : tuple of hashable
        Dimensions that the cycle has; over others without labels (independent samples) it is the mean.
    """
    others = {d for d in state.dims if d not in (time_dim, *kept) and d not in state.coords}
    made = climatology(state, by=BY[baseline], dim=time_dim)
    made = made.mean(sorted(others, key=str), keep_attrs=True) if others else made
    made = made.compute().astype(np.float32)
    keep = {*made.dims, COUNT} | {n for n in made.coords if made[n].dims and set(made[n].dims) <= set(kept)}
    plain = made.drop_vars([n for n in made.coords if n not in keep])
    for field in plain.data_vars.values():
        field.attrs = {k: v for k, v in field.attrs.items() if k == "units"}
    plain.attrs = {}
    return plain


def on_points(cycle: xr.Dataset, fields: xr.Dataset, axes: cf.Horizontal) -> xr.Dataset:
    """Give the cycle on the points of ``fields``, with their dimensions.

    Raises
    ------
    GridError
        If these go beyond the region of the training, or lie on other points.
    """
    have = cf.horizontal(cycle)
    lat, lon = fields[axes.lat].values, fields[axes.lon].values
    rows, columns = _statics._places(cycle, lat, lon)
    if rows is None or columns is None:
        message = (
            f"the model keeps the cycle of the hours for {_statics._extent(cycle)}; the data have latitude "
            f"{lat.min():g} to {lat.max():g} and longitude {lon[0]:g} to {lon[-1]:g}, and go beyond or lie on other "
            "points. Train on this region, or without a cycle: baseline='persistence'"
        )
        raise GridError(message)
    at = _labelled(cycle, fields).isel({have.lat_dim: rows, have.lon_dim: columns})
    at = at.drop_vars([n for n in (have.lat, have.lon) if n in at.coords])
    return at.rename({a: b for a, b in zip(have.dims, axes.dims, strict=True) if a != b})


def _labelled(cycle: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """Select levels and the like, of which each has a cycle of its own."""
    groups = {g for by in BY.values() for g in by}
    for dim in [d for d in cycle.dims if d not in (*cf.horizontal(cycle).dims, *groups) and d in cycle.coords]:
        if dim not in fields.coords or not set(fields[dim].values.tolist()) <= set(cycle[dim].values.tolist()):
            came = "none" if dim not in fields.coords else ", ".join(map(str, fields[dim].values[:5]))
            message = (
                f"the model keeps a cycle for each {dim!r}, {', '.join(map(str, cycle[dim].values[:5]))} ..., and the "
                f"data have {came}; wanted some of those. Independent samples carry no labels: obj.drop_vars({dim!r}) "
                "before training gives them one cycle"
            )
            raise CoordinateError(message)
        cycle = cycle.sel({dim: fields[dim].values})
    return cycle


def at_times(
    cycle: xr.Dataset, times: NDArray[Any], time_dim: Hashable, chunks: Mapping[Hashable, Any] | None
) -> xr.Dataset:
    """Give the cycle at times, along ``time_dim`` and without coordinates; lazy with ``chunks``.

    Raises
    ------
    CoordinateError
        If the training had no such hour, or month.
    """
    dims = xr.DataArray(times, dims=(time_dim,))
    along = None if chunks is None else {time_dim: chunks.get(time_dim, -1)}
    try:
        made = climatology_at(cycle, dims, chunks=along)
    except CoordinateError as error:
        found = str(error).partition(": ")[0].removeprefix("the climatology ")  # its remedies are for fields at hand
        other = ", or take 'diurnal', which asks for the hour alone" if "month" in cycle.dims else ""
        message = f"the model's cycle has no entry for a time of the forecast: it {found}; train on such times{other}"
        raise CoordinateError(message) from error
    made = made.drop_vars(list(made.coords))
    if chunks is not None:
        made = made.chunk({d: c for d, c in chunks.items() if d in made.dims and d != time_dim})
    return made
