"""When a field is valid: from its time axis, or from the start and the lead of a forecast, in any CF calendar."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError
from xatmo.typing import XarrayObject

# Names under which archives store them, where no standard name says what they are.
_STARTS = ("forecast_reference_time", "init_time", "initialization_time", "reference_time", "reftime", "init")
_LEADS = ("forecast_period", "lead_time", "step", "prediction_timedelta", "leadtime", "lead")
MONTHS = ("forecastmonth", "forecast_month", "leadtime_month", "fcmonth")
_MEMBERS = ("number", "member", "realization", "realisation", "ensemble", "ensemble_member")
_SECONDS = {"second": 1, "s": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "h": 3600, "day": 86400, "d": 86400}


@dataclass(frozen=True)
class Valid:
    """Valid times of an object.

    Attributes
    ----------
    times : DataArray
        datetime64 or cftime, over none, one or two dimensions (start and lead), without coordinates.
    start, lead : str or None
        Names of the coordinates of a forecast's start and lead, where there are.
    """

    times: xr.DataArray
    start: Hashable | None = None
    lead: Hashable | None = None


def find(obj: XarrayObject) -> Valid:
    """Find the valid times of fields.

    Those of forecasts come from their start (CF's ``forecast_reference_time``) and their lead (``forecast_period``, or
    a number of calendar months, 1 being the month of the start), or are stored. A lead in months goes before a stored
    valid time, because GRIB files put that at the end of the month.

    Raises
    ------
    CoordinateError
        If there are none, or the unit of the lead is unknown.

    Examples
    --------
    >>> start = np.array(["2000-01-01", "2000-02-01"], "M8[ns]")
    >>> ds = xr.Dataset(coords={"init_time": start, "lead_time": np.array([0, 24], "m8[h]").astype("m8[ns]")})
    >>> find(ds).times.values.astype("M8[D]")
    array([['2000-01-01', '2000-01-02'],
           ['2000-02-01', '2000-02-02']], dtype='datetime64[D]')
    """
    lead = _named(obj, _LEADS, "forecast_period")
    months = next((c for c in obj.coords if str(c).lower() in MONTHS), None)
    start = _named(obj, _STARTS, "forecast_reference_time")
    stored = [
        c for c in obj.coords
        if c != start and (c == "valid_time" or obj[c].attrs.get("standard_name") == "time") and is_time(obj[c])
    ]  # fmt: skip
    if start is None and (lead is not None or months is not None):
        # Archives that call the start "time" may give it the standard name of valid times, too.
        named = [c for c in ("time", *stored) if c in obj.coords and c != "valid_time" and is_time(obj[c])]
        own = named[0] if named else None
        if own is not None and (months is not None or lead in obj.dims):
            start, stored = own, [c for c in stored if c != own]
    if start is not None and months is not None and is_time(obj[start]):
        return Valid(_months_later(_bare(obj[start]), _bare(obj[months])), start, months)
    # Valid times of many files opened together are lazy; the axes that they follow from are not.
    both = start is not None and lead is not None and is_time(obj[start]) and obj[lead].dtype.kind == "m"
    if stored and not (both and all(obj[c].chunks is not None for c in stored)):
        widest = max(stored, key=lambda c: (obj[c].ndim, c == "valid_time"))
        times = _bare(obj[widest])
        if times.ndim == 2 and start is not None:
            first = [d for d in obj[start].dims if d in times.dims]
            times = times.transpose(*first, ...)
        return Valid(times, start, lead)
    if start is not None and lead is not None and is_time(obj[start]):
        return Valid(_later(_bare(obj[start]), obj[lead]), start, lead)
    single = [c for c in obj.coords if obj[c].ndim == 0 and is_time(obj[c])]
    name = single[0] if len(single) == 1 else cf.time(obj)
    if not is_time(obj[name]):
        message = (
            f"the time coordinate {name!r} holds {obj[name].dtype}; wanted dates. Open the file with "
            "decode_times=True, or decode it with xarray.decode_cf"
        )
        raise CoordinateError(message)
    return Valid(_bare(obj[name]))


def frames(obj: XarrayObject) -> xr.DataArray:
    """Find the axis along which fields follow each other in time, as one-dimensional times (or what numbers it).

    Of forecasts with several starts it is that of the lead, with the times of the first one.

    Raises
    ------
    CoordinateError
        If there is no time.
    DimensionError
        If there is one time without an axis.

    Examples
    --------
    >>> start = np.array(["2000-01-01", "2000-02-01"], "M8[ns]")
    >>> ds = xr.Dataset(coords={"init_time": start, "lead_time": np.array([0, 24], "m8[h]").astype("m8[ns]")})
    >>> frames(ds).dims, frames(ds).values.astype("M8[D]")
    (('lead_time',), array(['2000-01-01', '2000-01-02'], dtype='datetime64[D]'))
    """
    try:
        valid = find(obj)
    except CoordinateError:
        valid = Valid(obj[cf.time(obj)])  # numbers, in order
    times, lead = valid.times, valid.lead
    if not times.ndim and (axes := [d for d in obj.dims if d in obj.coords and is_time(obj[d])]):
        times = _bare(obj[cf.time(obj) if len(axes) > 1 else axes[0]])  # the one time is another: when it was made, say
    if times.ndim == 1:
        return times
    if times.ndim == 2 and lead is not None and len(along := [d for d in obj[lead].dims if d in times.dims]) == 1:
        return times.isel({d: 0 for d in times.dims if d not in along}, drop=True)
    message = (
        f"fields one after another in time were wanted; the time here has dimensions {times.dims}. Give it an axis, "
        "for instance with .expand_dims('time')"
    )
    raise DimensionError(message)


def is_time(coord: xr.DataArray) -> bool:
    """Tell whether a coordinate holds dates, of datetime64 or of cftime.

    Examples
    --------
    >>> is_time(xr.DataArray(np.array(["2000-01-01"], "M8[ns]"))), is_time(xr.DataArray([1.0]))
    (True, False)
    """
    if coord.dtype.kind == "M":
        return True
    return coord.dtype.kind == "O" and coord.size > 0 and hasattr(coord.values.flat[0], "dayofwk")


def member_dims(obj: XarrayObject, dims: Iterable[Hashable]) -> list[Hashable]:
    """Dimensions of ensemble members, by standard name or by usual names.

    Examples
    --------
    >>> member_dims(xr.DataArray(np.zeros((2, 3)), dims=("number", "time")), ("number", "time"))
    ['number']
    """
    return [
        d for d in dims
        if str(d).lower() in _MEMBERS or (d in obj.coords and obj[d].attrs.get("standard_name") == "realization")
    ]  # fmt: skip


def _named(obj: XarrayObject, names: tuple[str, ...], standard: str) -> Hashable | None:
    told = [c for c in obj.coords if obj[c].attrs.get("standard_name") == standard and obj[c].ndim <= 1]
    if told:  # an axis rather than what lies along it
        return next((c for c in told if c in obj.dims), told[0])
    return next((n for n in names if n in obj.coords and obj[n].ndim <= 1), None)


def _bare(coord: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(coord.values, dims=coord.dims)


def _later(start: xr.DataArray, lead: xr.DataArray) -> xr.DataArray:
    """Add a lead, a timedelta or a number with units."""
    if lead.dtype.kind == "m":
        seconds = _bare(lead).astype("m8[ns]").astype(np.int64) / 1e9
    else:
        unit = str(lead.attrs.get("units", "")).split(" ")[0].lower()
        size = _SECONDS.get(unit) or _SECONDS.get(unit.removesuffix("s"))
        if size is None or lead.dtype.kind not in "iuf":
            message = (
                f"the lead {lead.name!r} is of {lead.dtype} in units {lead.attrs.get('units')!r}; wanted "
                "timedelta64, or numbers in seconds, minutes, hours or days"
            )
            raise CoordinateError(message)
        seconds = _bare(lead).astype(np.float64) * size
    if start.dtype.kind == "M":
        return start + (seconds * 1e9).round().astype(np.int64).astype("m8[ns]")
    return _each(start, seconds, lambda first, s: first + datetime.timedelta(seconds=float(s)))


def _months_later(start: xr.DataArray, months: xr.DataArray) -> xr.DataArray:
    """Go to the first day of the month of a lead in months: 1 is the month of the start."""

    def one(first: Any, number: Any) -> Any:
        years, month = divmod(first.month - 1 + int(number) - 1, 12)
        return first.replace(year=first.year + years, month=month + 1, day=1)

    if start.dtype.kind != "M":
        return _each(start, months, one)
    first, number = xr.broadcast(start, months)
    whole = first.values.astype("M8[M]") + (number.values.astype(np.int64) - 1)
    return xr.DataArray(whole.astype("M8[ns]"), dims=first.dims)


def _each(start: xr.DataArray, lead: xr.DataArray, one: Callable[[Any, Any], Any]) -> xr.DataArray:
    """Combine dates of cftime with leads, one by one."""
    first, number = xr.broadcast(start, lead)
    out = np.empty(first.size, dtype=object)
    out[:] = [one(a, b) for a, b in zip(first.values.flat, number.values.flat, strict=True)]
    return xr.DataArray(out.reshape(first.shape), dims=first.dims)
