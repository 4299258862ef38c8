"""Named boxes and periods of the sea-level data challenges, and the choice of what lies in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, OptionError

AREAS: dict[str, dict[str, tuple[float, float]]] = {
    "gulf_stream": {"latitude": (33.0, 43.0), "longitude": (-65.0, -55.0)},
    "osmosis": {"latitude": (45.0, 55.0), "longitude": (-19.5, -11.5)},
    "north_atlantic": {"latitude": (27.0, 65.0), "longitude": (-79.0, 7.0)},
}
"""South and north, west and east edge in degrees: the box of both challenges, and two of NATL60's others."""

PERIODS: dict[str, tuple[str, str]] = {
    "osse2020a": ("2012-10-22", "2012-12-02"),
    "ose2021a": ("2017-01-01", "2017-12-31"),
}
"""First and last day that the challenges score."""

Area: TypeAlias = str | Mapping[str, tuple[float, float]] | None
Period: TypeAlias = str | slice | tuple[Any, Any] | None


def box_of(area: Area) -> tuple[float, float, float, float] | None:
    """Give (south, north, west, width) of a named or given box; None for everywhere.

    Raises
    ------
    OptionError
        If the name is unknown, or the box is none.

    Examples
    --------
    >>> box_of("gulf_stream")
    (33.0, 43.0, -65.0, 10.0)
    """
    if area is None:
        return None
    box: Any = AREAS.get(area) if isinstance(area, str) else area
    try:
        south, north = map(float, box["latitude"])
        west, east = map(float, box["longitude"])
    except (TypeError, KeyError, ValueError) as error:
        message = (
            f"area={area!r}; wanted one of {sorted(AREAS)}, or "
            "{'latitude': (south, north), 'longitude': (west, east)} in degrees"
        )
        raise OptionError(message) from error
    width = (east - west) % 360 or 360.0
    if not (-90 <= south < north <= 90 and np.isfinite(width)):
        message = f"area={area!r}; wanted south below north, from -90 to 90, and numbers for west and east"
        raise OptionError(message)
    return south, north, west, width


def days_of(period: Period) -> tuple[Any, Any]:
    """Give the first and the last moment of a named or given period; both None for always.

    Raises
    ------
    OptionError
        If the name is unknown, or the ends are no times.

    Examples
    --------
    >>> first, last = days_of("osse2020a")
    >>> str(first)[:16], str(last)[:16]
    ('2012-10-22T00:00', '2012-12-02T23:59')
    """
    if period is None:
        return None, None
    ends: Any = PERIODS.get(period) if isinstance(period, str) else period
    if isinstance(ends, slice):
        ends = ends.start, ends.stop
    try:
        first, last = ends
        # A bare day ends at midnight after it.
        begin = None if first is None else pd.Period(first, freq=None if isinstance(first, str) else "ns").start_time
        end = None if last is None else pd.Period(last, freq=None if isinstance(last, str) else "ns").end_time
    except (TypeError, ValueError) as error:
        message = f"period={period!r}; wanted one of {sorted(PERIODS)}, or (first, last) day"
        raise OptionError(message) from error
    return begin and begin.to_datetime64(), end and end.to_datetime64()


def moments(obj: xr.DataArray | xr.Dataset, *, what: str) -> tuple[Any, Any]:
    """Name and values of the time coordinate.

    Raises
    ------
    CoordinateError
        If times are not datetime64 along an axis of their own, in order.
    """
    name = cf.time(obj)
    values = obj[name].values
    if values.dtype.kind != "M" or obj[name].ndim != 1:
        message = f"{what}: times {name!r} are {values.dtype} with dimensions {obj[name].dims}; wanted datetime64"
        raise CoordinateError(message)
    if np.isnat(values).any() or (np.diff(values) < np.timedelta64(0)).any():
        message = f"{what}: times {name!r} are missing or go back; sort them: obj.sortby({name!r})"
        raise CoordinateError(message)
    return name, values


def inside(longitude: Any, latitude: Any, box: tuple[float, float, float, float], border: float = 0.0) -> Any:
    """Which points lie in a box, and further than ``border`` degrees from its edge."""
    south, north, west, width = box
    east_of = (np.asarray(longitude, np.float64) - west + 1e-6) % 360 - 1e-6
    rows = (latitude >= south + border - 1e-6) & (latitude <= north - border + 1e-6)
    margin = border if width < 360 else 0.0
    return rows & (east_of >= margin - 1e-6) & (east_of <= width - margin + 1e-6)


def select(field: xr.DataArray, area: Area, period: Period, *, what: str) -> xr.DataArray:
    """Take what a field has in an area and a period, lazily.

    Raises
    ------
    CoordinateError
        If nothing is left.
    """
    time, values = moments(field, what=what)
    axes = cf.horizontal(field)
    box = box_of(area)
    chosen: dict[Any, Any] = {}
    if box is not None:
        lat, lon = field[axes.lat].values, field[axes.lon].values
        south, _, west, _ = box
        chosen[axes.lat_dim] = np.flatnonzero(inside(np.full(lat.shape, west), lat, box))
        columns = np.flatnonzero(inside(lon, np.full(lon.shape, south), box))
        chosen[axes.lon_dim] = columns[np.argsort((lon[columns] - west + 1e-6) % 360, kind="stable")]
    first, last = days_of(period)
    keep = np.ones(values.shape, bool)
    if first is not None:
        keep &= values >= first
    if last is not None:
        keep &= values <= last
    if not keep.all():
        chosen[field[time].dims[0]] = np.flatnonzero(keep)
    out = field.isel(chosen)
    if not out.size:
        message = (
            f"{what} has nothing in area={area!r}, period={period!r}: it has latitudes "
            f"{_range(field[axes.lat])}, longitudes {_range(field[axes.lon])}, times {_range(field[time])}"
        )
        raise CoordinateError(message)
    return out


def covers(field: xr.DataArray, area: Area, period: Period, *, what: str) -> None:
    """See that a field reaches all edges of an area, and both ends of a period.

    Its outermost nodes may lie inside by one step of its own grid, as the centres of cells do.

    Raises
    ------
    CoordinateError
        If it ends before: says on which side.

    Examples
    --------
    >>> import xatmo
    >>> covers(xatmo.datasets.sea_level(days=3)["ssh"], "osmosis", None, what="the map")
    Traceback (most recent call last):
    xatmo.errors.CoordinateError: the map has latitudes 33.1 to 42.9; wanted 45 to 55, the edges of area='osmosis'
    """
    axes = cf.horizontal(field)
    box = box_of(area)
    if box is not None:
        south, north, west, width = box
        lat = np.asarray(field[axes.lat].values, np.float64)
        step = float(np.abs(np.diff(lat)).max()) + 1e-6 if lat.size > 1 else 1e-6
        if lat.min() > south + step or lat.max() < north - step:
            message = (
                f"{what} has latitudes {lat.min():g} to {lat.max():g}; wanted {south:g} to {north:g}, the edges of "
                f"area={area!r}"
            )
            raise CoordinateError(message)
        lon = np.asarray(field[axes.lon].values, np.float64)
        east = np.sort((lon - west - width / 2 + 180) % 360 - 180)
        inner = float(np.abs(np.diff(np.sort(lon))).max()) + 1e-6 if lon.size > 1 else 1e-6
        if width < 360 and (east[0] > inner - width / 2 or east[-1] < width / 2 - inner):
            message = (
                f"{what} has longitudes {lon.min():g} to {lon.max():g}; wanted {west:g} to {west + width:g}, the edges "
                f"of area={area!r}"
            )
            raise CoordinateError(message)
    first, last = days_of(period)
    if first is not None and last is not None:
        _, values = moments(field, what=what)
        have, wanted = ([str(x.astype("datetime64[D]")) for x in pair] for pair in (values[[0, -1]], (first, last)))
        if have[0] > wanted[0] or have[1] < wanted[1]:  # as text, dates sort alike
            message = (
                f"{what} goes from {have[0]} to {have[1]}; wanted {wanted[0]} to {wanted[1]}, all days of "
                f"period={period!r}"
            )
            raise CoordinateError(message)


def _range(axis: xr.DataArray) -> str:
    return f"{axis.values.min()} to {axis.values.max()}" if axis.size else "none"
