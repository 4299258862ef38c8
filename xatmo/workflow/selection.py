"""Part of an archive: a region, variables with levels, years, months, hours."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, OptionError, VariableError
from xatmo.workflow import model_levels
from xatmo.workflow.model_levels import Asked

Numbers = int | str | Sequence[int | str]
"""One number, a list of numbers, or a range such as ``"2008to2017"``; these may be mixed."""

_LEVELS: Final = ("isobaricInhPa", "pressure_level", "level", "plev", "hybrid", "model_level", "height")
# Short names of GRIB, which netCDF does not allow to begin with a number, and what they are called there.
_SHORT: Final = {"2t": "t2m", "2d": "d2m", "10u": "u10", "10v": "v10", "100u": "u100", "100v": "v100"}
_REGION: Final = "wanted latitude and longitude, two numbers each, or sw_corner (latitude, longitude), nx and ny"
_OF_A_YEAR: Final = {"month": (1, 12), "hour": (0, 23)}
_DEGREES: Final = 1e-4  # coordinates in float32 are this exact


# ---------------------------------------------------------------------- variables
def take_variables(ds: xr.Dataset, wanted: Sequence[str] | Mapping[str, str] | None) -> xr.Dataset:
    """Take variables, on levels where that is asked.

    Parameters
    ----------
    ds : Dataset
    wanted : sequence of str or mapping, optional
        Names in the archive or in GRIB (``"2t"``), with a level as ``"t@850"``, which is named ``t850``, or
        ``"t@ml96"`` where levels are those of a model (see `at_pressures`, too); or a mapping from new names to these.
        All as they are unless given.

    Raises
    ------
    VariableError
        If there is no such variable.
    CoordinateError
        If a level is asked for that is not there, or none is and there are several.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("level", [250.0, 280.0])}, {"level": ("level", [500, 850], {"units": "hPa"})})
    >>> take_variables(ds, ["t@850"]).t850.item()
    280.0
    """
    if wanted is None:
        return ds
    found = {new: _variable(ds, text) for new, text in new_names(wanted).items()}
    return xr.Dataset({new: da.rename(new) for new, da in found.items()}, attrs=ds.attrs)


def names_in(wanted: Any) -> Sequence[str] | Mapping[str, str] | None:
    """Read names of variables: one, several, or a mapping to them.

    Raises
    ------
    OptionError
        If they are none.

    Examples
    --------
    >>> names_in("t@850"), names_in({"t2m": "2t"})
    (['t@850'], {'t2m': '2t'})
    """
    found: Sequence[str] | Mapping[str, str] | None = [wanted] if isinstance(wanted, str) else wanted
    given: Any = found.values() if isinstance(found, Mapping) else found
    if given is None or (isinstance(given, Iterable) and all(isinstance(name, str) for name in given)):
        return found
    message = f"variables: {wanted!r} came; wanted names, as [2t, t@850], or a mapping from new names to these"
    raise OptionError(message)


def at_pressures(ds: xr.Dataset, wanted: Sequence[str] | Mapping[str, str] | None) -> dict[str, tuple[Hashable, float]]:
    """Find what is asked for at a pressure and lies on levels of a model.

    Parameters
    ----------
    ds : Dataset
    wanted : sequence of str or mapping, optional
        See `take_variables`.

    Returns
    -------
    mapping
        New name to the variable's and the pressure in hPa.

    Raises
    ------
    OptionError
        If a number may be either a pressure or a level.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("hybrid", [280.0, 281.0])}, {"hybrid": [100, 101]})
    >>> at_pressures(ds, ["t@850", "t@ml101"])
    {'t850': ('t', 850.0)}
    """
    found: dict[str, tuple[Hashable, float]] = {}
    for new, text in new_names(wanted).items():
        name, at, _ = text.partition("@")
        da = _named(ds, name)
        dim = model_levels.dimension(da) if da is not None and at else None
        if da is None or dim is None:
            continue
        asked = Asked.read(text)
        if asked.is_number:
            continue
        if not asked.is_pressure and dim in da.coords and asked.level in da[dim].values:
            message = (
                f"variable {text!r} came, and {name!r} lies on levels of a model, of which one has this number; wanted "
                f"{name}@ml{asked.level:g} for that level, or {name}@{asked.level:g}hPa for the pressure"
            )
            raise OptionError(message)
        found[new] = (da.name, asked.level)
    return found


def new_names(wanted: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Give what is asked for by its new name.

    Examples
    --------
    >>> new_names(["t@850hPa", "2t"])
    {'t850': 't@850hPa', '2t': '2t'}
    """
    wanted = names_in(wanted)
    if isinstance(wanted, Mapping):
        return {str(new): str(text) for new, text in wanted.items()}
    return {model_levels.short(text): text for text in wanted or ()}


def _variable(ds: xr.Dataset, text: str) -> xr.DataArray:
    name, _, level = text.partition("@")
    da = _named(ds, name)
    if da is None and level:
        da, level = _named(ds, model_levels.short(text)), ""  # taken from its level already
    if da is None:
        message = f"variable {text!r} is not in the input; it has {sorted(map(str, ds.data_vars))}"
        raise VariableError(message)
    dim = next((d for d in da.dims if _is_level(da, d)), model_levels.dimension(da))
    if level:
        return _on_level(da, dim, text)
    if dim is not None:
        if da.sizes[dim] > 1:
            values = [f"{v / _scale(da, dim):g}" for v in da[dim].values[:12]]
            example = f"{name}@850" if dim == model_levels.dimension(da) else f"{name}@{values[0]}"
            message = f"variable {text!r} has {da.sizes[dim]} levels, {', '.join(values)}; name one, as {example}"
            raise CoordinateError(message)
        da = da.isel({dim: 0}, drop=True)
    return da.drop_vars([c for c in da.coords if not da[c].dims])


def _named(ds: xr.Dataset, name: str) -> xr.DataArray | None:
    other = next((b if name == a else a for a, b in _SHORT.items() if name in (a, b)), name)
    for known in (name, other):
        if known in ds.data_vars:
            return ds[known]
    for attribute in ("GRIB_shortName", "GRIB_cfVarName", "standard_name"):
        found = [da for da in ds.data_vars.values() if da.attrs.get(attribute) == name]
        if len(found) == 1:
            return found[0]
    return None


def _is_level(da: xr.DataArray, name: Hashable) -> bool:
    if name not in da.coords:
        return False
    attrs = da[name].attrs
    return name in _LEVELS or attrs.get("axis") == "Z" or "positive" in attrs


def _on_level(da: xr.DataArray, dim: Hashable | None, text: str) -> xr.DataArray:
    asked = Asked.read(text)
    name = dim if dim is not None else next((c for c in da.coords if _is_level(da, c)), None)
    if name is None:
        message = f"variable {text!r} came, but {da.name!r} has no levels; leave the @ and what follows out"
        raise CoordinateError(message)
    of_model = model_levels.dimension(da if dim is not None else da.expand_dims(name)) == name
    if asked.is_number is not of_model:
        kind, wanted = ("levels of the model", "the number of one, as t@ml96") if of_model else ("pressures", "t@850")
        message = f"variable {text!r} came, but {da.name!r} lies on {kind}, {name!r}; wanted {wanted}"
        raise CoordinateError(message)
    values = np.atleast_1d(da[name].values).astype(np.float64)
    scale = _scale(da, name)
    at = np.flatnonzero(np.isclose(values, asked.level * scale))
    if at.size != 1:
        shown = ", ".join(f"{v / scale:g}" for v in values[:20])
        message = f"variable {text!r}: there is no level {asked.level:g}; there are {shown}"
        raise CoordinateError(message)
    da = da if dim is None else da.isel({dim: int(at[0])})
    scalars = [c for c in da.coords if not da[c].dims]
    return da.drop_vars(scalars).assign_attrs(level=asked.level)


def _scale(da: xr.DataArray, level: Hashable) -> float:
    """Levels are asked for in hPa."""
    return 100.0 if da[level].attrs.get("units") == "Pa" else 1.0


# ---------------------------------------------------------------------- region
def take_region(ds: xr.Dataset, region: Mapping[str, Any] | None) -> xr.Dataset:
    """Cut a box out of fields on a regular grid.

    Parameters
    ----------
    ds : Dataset
        Latitude may run either way, longitude from -180 or from 0.
    region : mapping, optional
        ``{"latitude": [38.4, 54.9], "longitude": [0, 27.3]}``, both ends included, longitude eastward from the first to
        the second; or ``{"sw_corner": [38.4, 0.0], "nx": 92, "ny": 56}``, latitude first, with that many grid points to
        the east and to the north. Either convention serves: -10 and 350 are the same. All unless given.

    Returns
    -------
    Dataset
        Latitude runs as it did; longitude increases from the western end, in the convention of ``region``.

    Raises
    ------
    OptionError
        If ``region`` is neither.
    CoordinateError
        If nothing of it is there, or it reaches beyond the data.

    Examples
    --------
    >>> longitude = ("longitude", np.arange(0, 360, 10), {"units": "degrees_east"})
    >>> latitude = ("latitude", np.arange(80, -81, -10), {"units": "degrees_north"})
    >>> ds = xr.Dataset(coords={"latitude": latitude, "longitude": longitude})
    >>> take_region(ds, {"latitude": [30, 50], "longitude": [-10, 20]}).longitude.values
    array([-10.,   0.,  10.,  20.])
    >>> take_region(ds, {"sw_corner": [30, 350], "nx": 3, "ny": 2}).latitude.values
    array([40, 30])
    """
    if region is None:
        return ds
    given: Any = region  # a file may hold anything
    if not isinstance(given, Mapping):
        message = f"region {given!r} came; {_REGION}"
        raise OptionError(message)
    axes = cf.horizontal(ds)
    latitude = ds[axes.lat].values.astype(np.float64)
    longitude = ds[axes.lon].values.astype(np.float64)
    if set(region) == {"latitude", "longitude"}:
        south, north = sorted(_pair(region, "latitude"))
        west, east = _pair(region, "longitude")
        rows = np.flatnonzero((latitude >= south - _DEGREES) & (latitude <= north + _DEGREES))
        width = east - west if east >= west else (east - west) % 360
        from_west = _eastward(longitude, west)
        columns = np.flatnonzero(from_west <= min(width, 360 - 2 * _DEGREES) + _DEGREES)
    elif set(region) == {"sw_corner", "nx", "ny"}:
        south, west = _pair(region, "sw_corner")
        rows = _from(latitude, south, region["ny"], "ny", "latitude", "south")
        from_west = _eastward(longitude, west)
        columns = _from(from_west, 0.0, region["nx"], "nx", "longitude", "west", around=west)
    else:
        message = f"region {dict(region)} came; {_REGION}"
        raise OptionError(message)
    if not rows.size or not columns.size:
        message = (
            f"nothing lies in {dict(region)}; the data have latitudes {latitude.min():g} to {latitude.max():g} and "
            f"longitudes {longitude.min():g} to {longitude.max():g}"
        )
        raise CoordinateError(message)
    columns = columns[np.argsort(from_west[columns])]
    out = ds.isel({axes.lat_dim: np.sort(rows), axes.lon_dim: columns})
    values = west + from_west[columns]
    exact = longitude[columns] + np.round((values - longitude[columns]) / 360) * 360
    kept = out[axes.lon].astype(np.float64).copy(data=exact)
    return out.assign_coords({axes.lon: kept.assign_attrs(ds[axes.lon].attrs)})


def _eastward(longitude: Any, west: float) -> Any:
    """Degrees to the east of ``west``, from 0; a point that rounding has put just west of it is at 0."""
    return (longitude - west + _DEGREES) % 360 - _DEGREES


def _from(values: Any, start: float, count: Any, key: str, axis: str, end: str, around: float = 0.0) -> Any:
    """Positions of the ``count`` points from ``start`` on, increasing in ``values``."""
    if isinstance(count, bool) or not isinstance(count, int):
        message = f"region: {key} is {count!r}; wanted a number of points"
        raise OptionError(message)
    order = np.argsort(values)
    step = float(np.median(np.diff(values[order]))) if values.size > 1 else 1.0
    first = int(np.argmin(np.abs(values[order] - start)))
    if abs(values[order[first]] - start) > 0.5 * step + _DEGREES:
        message = (
            f"sw_corner: no grid point lies within half a step of {end} end {start + around:g}; {axis} runs from "
            f"{values.min() + around:g} to {values.max() + around:g}"
        )
        raise CoordinateError(message)
    if count < 1 or first + count > values.size:
        message = (
            f"{key}={count} came; from the corner on, there are {values.size - first} points along {axis}. Wanted 1 to "
            f"{values.size - first}"
        )
        raise CoordinateError(message)
    return order[first : first + count]


def _pair(region: Mapping[str, Any], key: str) -> tuple[float, float]:
    value = region[key]
    try:
        first, second = (float(v) for v in value)
    except (TypeError, ValueError) as error:
        message = f"region: {key} is {value!r}; wanted two numbers"
        raise OptionError(message) from error
    if not (math.isfinite(first) and math.isfinite(second)):
        message = f"region: {key} is {value!r}; wanted two finite numbers"
        raise OptionError(message)
    return first, second


# ---------------------------------------------------------------------- times
def numbers(value: Numbers | None, what: str) -> list[int] | None:
    """Whole numbers from one, a list, or a range in words, both ends included.

    Raises
    ------
    OptionError
        If it is nothing of the kind.

    Examples
    --------
    >>> numbers("2008to2010", "years"), numbers([1, "6to8"], "months"), numbers(2019, "years")
    ([2008, 2009, 2010], [1, 6, 7, 8], [2019])
    """
    if value is None:
        return None
    found: set[int] = set()
    for part in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
        match = re.fullmatch(r"\s*(\d+)(?:\s*(?:to|-)\s*(\d+))?\s*", str(part))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if isinstance(part, bool) or last < first:
            message = f"{what}: {part!r} came; wanted a number, a list of numbers, or a range as 2008to2017"
            raise OptionError(message)
        found.update(range(first, last + 1))
    return sorted(found)


def is_in(
    times: xr.DataArray,
    *,
    years: Numbers | None = None,
    months: Numbers | None = None,
    hours: Numbers | None = None,
    dates: Sequence[Any] | None = None,
) -> Any:
    """Tell which times are in the years, months, hours and dates that are given.

    Parameters
    ----------
    times : DataArray (time,)
    years, months, hours : int, list or range in words, optional
    dates : pair of str, or list of pairs, optional
        First and last; a day, month or year stands for all of it, as in ``["2008-03", "2008-05-15"]``.

    Returns
    -------
    array of bool (time,)

    Raises
    ------
    OptionError
        If they cannot be understood.

    Examples
    --------
    >>> times = xr.DataArray(pd.date_range("2008-01-31", periods=3), dims="time", name="time")
    >>> is_in(times, months=2), is_in(times, dates=["2008-01", "2008-02-01"])
    (array([False,  True,  True]), array([ True,  True, False]))
    """
    chosen = np.ones(times.size, dtype=bool)
    for name, wanted in (("year", years), ("month", months), ("hour", hours)):
        listed = numbers(wanted, f"{name}s")
        least, most = _OF_A_YEAR.get(name, (1, 9999))
        if listed is not None and not all(least <= number <= most for number in listed):
            message = f"{name}s: {wanted!r} came; wanted numbers from {least} to {most}"
            raise OptionError(message)
        if listed is not None:
            chosen &= np.isin(getattr(times.dt, name).values, listed)
    if dates is None:
        return chosen
    given: Any = dates  # a file may hold anything
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        message = f"dates: {given!r} came; wanted [first, last], or a list of such pairs, as [2008-03, 2008-05-15]"
        raise OptionError(message)
    pairs = [dates] if len(dates) == 2 and not isinstance(dates[0], Sequence | Mapping) else dates
    if len(dates) == 2 and isinstance(dates[0], str):
        pairs = [dates]
    within = np.zeros(times.size, dtype=bool)
    index: Any = times.to_index()
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2:
            message = f"dates: {pair!r} came; wanted [first, last], or a list of such pairs"
            raise OptionError(message)
        try:
            place = index.slice_indexer(*(str(end) for end in pair))
        except (ValueError, KeyError, TypeError) as error:
            message = f"dates: {list(pair)} came: {' '.join(str(error).split())}; wanted dates as 2008-03-31"
            raise OptionError(message) from error
        if place.start >= place.stop and pd.Period(str(pair[0])).start_time > pd.Period(str(pair[1])).end_time:
            message = f"dates: {list(pair)} came, of which the last is before the first; wanted [first, last]"
            raise OptionError(message)
        within[place] = True
    return chosen & within


def missing_times(times: xr.DataArray, step: Any, **chosen: Any) -> pd.DatetimeIndex:
    """Find times that were asked for and are not there: in the years if these are named, else between first and last.

    Parameters
    ----------
    times : DataArray (time,)
        What is there, of those that are chosen.
    step : timedelta64
        Between times of the archive.
    **chosen
        See `is_in`.

    Returns
    -------
    DatetimeIndex

    Examples
    --------
    >>> there = pd.DatetimeIndex(["2008-01-01T00", "2008-01-01T01", "2008-01-01T03"])
    >>> missing_times(xr.DataArray(there, dims="time", name="time"), np.timedelta64(1, "h"))
    DatetimeIndex(['2008-01-01 02:00:00'], dtype='datetime64[...]', freq=None)
    """
    index = pd.DatetimeIndex(times.values)
    first, last = index[0], index[-1]
    years = numbers(chosen.get("years"), "years")
    if years is not None and chosen.get("dates") is None:
        offset = (first - first.normalize()) % pd.Timedelta(step)
        first = min(first, pd.Timestamp(years[0], 1, 1) + offset)
        last = max(last, pd.Timestamp(years[-1] + 1, 1, 1) + offset - pd.Timedelta(step))
    whole = xr.DataArray(pd.date_range(first, last, freq=pd.Timedelta(step)), dims="time", name="time")
    wanted = pd.DatetimeIndex(whole.values[is_in(whole, **chosen)])
    return wanted.difference(index)


def in_ranges(times: pd.DatetimeIndex, step: Any) -> list[list[str]]:
    """Give consecutive times as first and last.

    Examples
    --------
    >>> in_ranges(pd.DatetimeIndex(["2008-01-01T00", "2008-01-01T01", "2008-01-02"]), np.timedelta64(1, "h"))
    [['2008-01-01T00:00', '2008-01-01T01:00'], ['2008-01-02T00:00', '2008-01-02T00:00']]
    """
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times.values) > np.timedelta64(pd.Timedelta(step))) + 1
    return [
        [str(np.datetime_as_string(part[0], "m")), str(np.datetime_as_string(part[-1], "m"))]
        for part in np.split(times.values, breaks)
    ]
