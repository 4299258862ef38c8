"""Covariates: fields that follow from the time and the place alone, as channels beside the data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xatmo import _valid_times, cf
from xatmo.errors import CoordinateError, OptionError

_SEASONS = {"djf": (12, 1, 2), "mam": (3, 4, 5), "jja": (6, 7, 8), "son": (9, 10, 11)}


@dataclass(frozen=True)
class _Where:
    """What covariates are functions of: small arrays that broadcast to the fields, lazy where the fields are.

    Attributes
    ----------
    year : DataArray
        Part of the year that has gone, 0 to 1. Like ``day`` and ``month`` nought where no time is needed.
    day : DataArray
        Part of the day that has gone in UTC, 0 to 1.
    month : DataArray
        1 to 12.
    latitude, longitude : DataArray
        Radians.
    """

    year: xr.DataArray
    day: xr.DataArray
    month: xr.DataArray
    latitude: xr.DataArray
    longitude: xr.DataArray


def _circle(part: Any) -> list[Any]:
    angle = 2 * np.pi * part
    return [np.sin(angle), np.cos(angle)]


def _zenith(w: _Where) -> list[Any]:
    """Cosine of the Sun's zenith angle, with declination and equation of time after Spencer (1971)."""
    a = 2 * np.pi * w.year
    declination = (
        0.006918 - 0.399912 * np.cos(a) + 0.070257 * np.sin(a) - 0.006758 * np.cos(2 * a) + 0.000907 * np.sin(2 * a)
        - 0.002697 * np.cos(3 * a) + 0.00148 * np.sin(3 * a)
    )  # fmt: skip
    equation = (
        0.000075 + 0.001868 * np.cos(a) - 0.032077 * np.sin(a) - 0.014615 * np.cos(2 * a) - 0.04089 * np.sin(2 * a)
    )
    hour_angle = 2 * np.pi * w.day - np.pi + equation + w.longitude
    return [np.sin(w.latitude) * np.sin(declination) + np.cos(w.latitude) * np.cos(declination) * np.cos(hour_angle)]


@dataclass(frozen=True)
class _Covariate:
    channels: tuple[str, ...]
    meaning: tuple[str, ...]
    timed: bool
    values: Callable[[Any], list[Any]]


def _pair(name: str, what: str, timed: bool, part: Callable[[Any], Any]) -> _Covariate:
    return _Covariate(
        (f"{name}_sin", f"{name}_cos"), (f"sine of {what}", f"cosine of {what}"), timed, lambda w: _circle(part(w))
    )


_TABLE: dict[str, _Covariate] = {
    "day_of_year": _pair("day_of_year", "the angle of the day in the year", True, lambda w: w.year),
    "month": _pair("month", "the angle of the month in the year", True, lambda w: (w.month - 0.5) / 12),
    "season": _Covariate(
        tuple(f"season_{s}" for s in _SEASONS), tuple(f"1 in the season {s.upper()}, else 0" for s in _SEASONS), True,
        lambda w: [w.month.isin(months) for months in _SEASONS.values()],
    ),
    "hour": _pair(
        "hour", "the angle of the hour in the mean solar day", True, lambda w: w.day + w.longitude / (2 * np.pi)
    ),
    "latitude": _Covariate(
        ("latitude_sin", "latitude_cos"), ("sine of latitude", "cosine of latitude"), False,
        lambda w: [np.sin(w.latitude), np.cos(w.latitude)],
    ),
    "longitude": _Covariate(
        ("longitude_sin", "longitude_cos"), ("sine of longitude", "cosine of longitude"), False,
        lambda w: [np.sin(w.longitude), np.cos(w.longitude)],
    ),
    "cos_zenith": _Covariate(("cos_zenith",), ("cosine of the solar zenith angle",), True, _zenith),
}  # fmt: skip
COVARIATES: tuple[str, ...] = tuple(_TABLE)
"""Names that `add_covariates` knows."""


def check_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Give the names of covariates as a tuple, each once.

    Raises
    ------
    OptionError
        If one is unknown.

    Examples
    --------
    >>> check_names("hour"), check_names(["hour", "latitude", "hour"])
    (('hour',), ('hour', 'latitude'))
    """
    several: object = names
    if not isinstance(several, Iterable):
        message = f"covariates={several!r} came; wanted a name, or a sequence of names"
        raise OptionError(message)
    given = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    if unknown := [n for n in given if n not in _TABLE]:
        message = f"covariate {unknown[0]!r} came; wanted some of {', '.join(map(repr, _TABLE))}"
        raise OptionError(message)
    return given


def covariate_channels(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names of the variables that `add_covariates` makes, in order.

    Examples
    --------
    >>> covariate_channels(["day_of_year", "latitude"])
    ('day_of_year_sin', 'day_of_year_cos', 'latitude_sin', 'latitude_cos')
    """
    return tuple(channel for name in check_names(names) for channel in _TABLE[name].channels)


def add_covariates(ds: xr.Dataset, names: str | Sequence[str]) -> xr.Dataset:
    """Put functions of time and place beside fields, on their points, as variables that a network can read.

    ======================  ============================================================================================
    ``"day_of_year"``       ``day_of_year_sin``, ``_cos``: angle 2 pi (part of the year gone), time of day included
    ``"month"``             ``month_sin``, ``_cos``: angle 2 pi (month - 1/2) / 12, the same all through a month
    ``"season"``            ``season_djf``, ``_mam``, ``_jja``, ``_son``: 1 in that season, else 0
    ``"hour"``              ``hour_sin``, ``_cos``: angle of mean local solar time, 2 pi (UTC / 24 h + longitude / 360)
    ``"latitude"``          ``latitude_sin``, ``_cos``
    ``"longitude"``         ``longitude_sin``, ``_cos``: no seam at 0 or 180 degrees
    ``"cos_zenith"``        cosine of the solar zenith angle at that moment, negative at night [1]_
    ======================  ============================================================================================

    The year is that of the calendar: 360, 365 or 366 days. ``"season"`` jumps from one day to the next;
    ``"day_of_year"`` is the smooth one. ``"hour"`` and ``"cos_zenith"`` follow the stamp of a field, also where it
    stands for a mean over a day.

    Parameters
    ----------
    ds : Dataset
        With latitude and longitude; with time for those that need it: a time axis, one time, or the starts and leads of
        forecasts (their valid times count). Any CF calendar.
    names : str or sequence of str
        Among `COVARIATES`.

    Returns
    -------
    Dataset
        float32 variables without unit, over time and place, or place alone for latitude and longitude. Lazy, in the
        chunks of ``ds``, where that is; else views that take no memory of the size of the fields. A variable of that
        name that ``ds`` has already stays.

    Raises
    ------
    OptionError
        If a name is unknown.
    CoordinateError
        If one needs a time that is missing.

    References
    ----------
    .. [1] Spencer, J. W., 1971: Fourier series representation of the position of the Sun. Search, 2, 172.

    Examples
    --------
    >>> time = np.array(["2001-01-01T00", "2001-07-02T12"], "M8[ns]")
    >>> ds = xr.Dataset({"t": (("time", "latitude", "longitude"), np.zeros((2, 2, 2)))},
    ...                 {"time": time, "latitude": [10.0, 0.0], "longitude": [0.0, 90.0]})
    >>> out = add_covariates(ds, ["day_of_year", "hour"])
    >>> out["day_of_year_cos"].isel(latitude=0, longitude=0).values.round(3), out["hour_cos"][0, 0].values.round(3)
    (array([ 1., -1.], dtype=float32), array([1., 0.], dtype=float32))
    """
    wanted = [n for n in check_names(names) if not set(_TABLE[n].channels) <= set(ds.data_vars)]
    if not wanted:
        return ds
    axes = cf.horizontal(ds)
    chunks = _chunks(ds)
    where = _where(ds, axes, chunks, timed=[n for n in wanted if _TABLE[n].timed])
    zeros = where.latitude * 0 + where.longitude * 0
    made: dict[Hashable, xr.DataArray] = {}
    for name in wanted:
        entry = _TABLE[name]
        for channel, meaning, values in zip(entry.channels, entry.meaning, entry.values(where), strict=True):
            if channel in ds.data_vars:
                continue
            values = values.astype(np.float32)
            # A sum in the chunks of the fields where those have any; else a view.
            full = values + zeros.astype(np.float32) if chunks else values.broadcast_like(zeros)
            order = [*(d for d in full.dims if d not in axes.dims), *axes.dims]
            made[channel] = full.transpose(*order).assign_attrs(units="1", long_name=meaning)
    return ds.assign({n: v.variable for n, v in made.items()})


def _where(ds: xr.Dataset, axes: cf.Horizontal, chunks: dict[Hashable, Any], *, timed: list[str]) -> _Where:
    def laid(values: Any, dims: Sequence[Hashable]) -> xr.DataArray:
        out = xr.DataArray(values, dims=tuple(dims))
        return out.chunk({d: chunks.get(d, -1) for d in dims}) if chunks and dims else out

    lat, lon = (np.radians(ds[n].values.astype(np.float64)) for n in (axes.lat, axes.lon))
    place = laid(lat, (axes.lat_dim,)), laid(lon, (axes.lon_dim,))
    if not timed:
        none = xr.DataArray(0.0)
        return _Where(none, none, none, *place)
    try:
        times = _valid_times.find(ds).times
    except CoordinateError as error:
        message = f"the covariates {timed} are functions of time: {error}"
        raise CoordinateError(message) from error
    clock = times.dt
    day = (clock.hour + clock.minute / 60 + clock.second / 3600) / 24
    year = (clock.dayofyear - 1 + day) / clock.days_in_year
    year, day, month = (laid(np.asarray(a.values, dtype=np.float64), times.dims) for a in (year, day, clock.month))
    return _Where(year, day, month, *place)


def _chunks(ds: xr.Dataset) -> dict[Hashable, Any]:
    """Chunks of the first lazy field along each dimension; empty where none is lazy."""
    found: dict[Hashable, Any] = {}
    for field in ds.data_vars.values():
        if field.chunks is not None:
            for d, sizes in zip(field.dims, field.chunks, strict=True):
                found.setdefault(d, sizes)
    return found
