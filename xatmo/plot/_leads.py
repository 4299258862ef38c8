"""Forecasts among fields to be drawn: which they are, the truth beside them, and what a title says of a frame."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xatmo import metrics
from xatmo.errors import DimensionError
from xatmo.plot import style

_STANDARD = {"init_time": "forecast_reference_time", "lead_time": "forecast_period"}


def axes_of(da: xr.DataArray) -> tuple[Hashable, Hashable] | None:
    """Find the coordinates of start and lead of a forecast; None where it is none.

    Examples
    --------
    >>> one = xr.DataArray(0.0, {"init_time": np.datetime64("2020-01-01", "ns"), "lead_time": np.timedelta64(1, "h")})
    >>> axes_of(one), axes_of(one.drop_vars("init_time"))
    (('init_time', 'lead_time'), None)
    """
    found = [
        next((c for c in da.coords if c == name or da[c].attrs.get("standard_name") == standard), None)
        for name, standard in _STANDARD.items()
    ]
    start, lead = found
    dated = start is not None and lead is not None and da[start].dtype.kind == "M" and da[lead].dtype.kind == "m"
    return (start, lead) if dated and start is not None and lead is not None else None


def dimension(fields: Mapping[str, xr.DataArray]) -> Hashable:
    """Choose what to animate along where nothing is said: leads, else starts, of the first forecast; else time."""
    for da in fields.values():
        for axis in reversed(axes_of(da) or ()):
            if axis in da.dims:
                return axis
    return "time"


def laid(fields: Mapping[str, xr.DataArray], dim: Hashable) -> dict[str, xr.DataArray]:
    """Lay fields along time at the valid times of the forecast whose frames are drawn.

    Raises
    ------
    CoordinateError
        If a field lacks one of these times.
    DimensionError
        If the forecast has several starts and several leads.
    """
    ahead = next((da for da in fields.values() if (found := axes_of(da)) and dim in found and dim in da.dims), None)
    if ahead is None:
        return dict(fields)
    places = [d for d in ahead.dims if d in (axes_of(ahead) or ())]
    if len(places) > 1:
        other = next(d for d in places if d != dim)
        message = (
            f"a forecast with {other!r} of {ahead.sizes[other]} points came, to be animated along {dim!r}; choose one, "
            f"for instance forecast.isel({other}=0)"
        )
        raise DimensionError(message)
    line = ahead.isel({d: 0 for d in ahead.dims if d not in places}, drop=True)
    return {
        n: metrics.at_valid_times(da, line) if axes_of(da) is None and "time" in da.dims else da
        for n, da in fields.items()
    }


def title(da: xr.DataArray, dim: Hashable, index: int) -> str | None:
    """Write lead, valid time and start of a frame of a forecast; None where ``dim`` is no axis of one.

    Examples
    --------
    >>> axes = {"init_time": np.datetime64("2020-01-01T18", "ns"), "lead_time": np.array([1, 6], "m8[h]")}
    >>> title(xr.DataArray([0.0, 0.0], axes, ["lead_time"]), "lead_time", 1)
    'lead time 6 h: 2020-01-02 00:00, from 2020-01-01 18:00'
    """
    axes = axes_of(da)
    if axes is None or dim not in axes:
        return None
    one = da.isel({dim: index})
    start, lead = (one[a].values for a in axes)
    if start.ndim or lead.ndim:
        return None
    valid = start.astype("M8[ns]") + lead.astype("m8[ns]")
    return f"lead time {style.duration(lead)}: {_minute(valid)}, from {_minute(start)}"


def _minute(time: np.ndarray[Any, Any]) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")
