"""Power by zonal wavenumber and frequency, and the background of Wheeler and Kiladis."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields, require_finite
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._fields import Source
from xatmo.spectral._space_time import DETRENDS, YEAR, SpaceTime, segment_starts
from xatmo.spectral.spectrum import squared_units
from xatmo.typing import Floats, T, XarrayObject

SYMMETRIES = ("symmetric", "antisymmetric")
FREQUENCY, ZONAL, WAVENUMBER, SYMMETRY = "frequency", "zonal_wavenumber", "wavenumber", "symmetry"
WHAT = "wavenumber_frequency"

_LATITUDE, _LONGITUDE = ("lat", "latitude"), ("lon", "longitude")
_BAND = (-15.0, 15.0)
_ROUNDING = 5e-3  # degrees, by which the rows of real files miss the mirror image of each other
_SECONDS_PER_DAY = 86400.0
_TIME_UNITS = {"days": 1.0, "hours": 1 / 24, "minutes": 1 / 1440, "seconds": 1 / _SECONDS_PER_DAY}


# ---------------------------------------------------------------------- axes
@dataclass(frozen=True)
class _Axes:
    """Where time, longitude and perhaps latitude lie, without a repeated column."""

    time: Hashable
    days: Floats
    source: Source | None  # without a latitude dimension there is none
    lon_dim: Hashable
    grid: Grid
    latitude: Floats  # NaN where there is none

    @classmethod
    def of(cls, obj: XarrayObject) -> _Axes:
        name = cf.time(obj)
        days = _days(obj[name])
        try:
            source = Source.of(obj)
        except CoordinateError:
            lon = _longitude(obj)
            if lon is None or any(c.ndim and _is(c, n, "latitude", _LATITUDE) for n, c in obj.coords.items()):
                raise
            grid = Grid.from_latlon([-1, 1], obj[lon].values)  # a grid needs rows; its columns alone are looked at
            return cls(obj[name].dims[0], days, None, obj[lon].dims[0], grid, np.array([_one_latitude(obj)]))
        if len(source.axes.dims) != 2:
            message = f"{WHAT} needs rows of equally many points; {source.grid!r} came. Regrid to a regular grid first"
            raise GridError(message)
        return cls(obj[name].dims[0], days, source, source.axes.lon_dim, source.grid, source.grid.latitude)

    @property
    def core(self) -> tuple[Hashable, Hashable]:
        return self.time, self.lon_dim

    @property
    def step(self) -> float:
        return float((self.days[-1] - self.days[0]) / (self.days.size - 1))

    def bare(self, da: xr.DataArray) -> xr.DataArray:
        _fields.require_real(da, what=WHAT)
        return da.isel({self.lon_dim: slice(0, self.grid.nlon)})


def _longitude(obj: XarrayObject) -> Hashable | None:
    """Longitude of a Hovmoeller diagram, which has no latitude dimension."""
    names = [n for n, c in obj.coords.items() if c.ndim == 1 and _is(c, n, "longitude", _LONGITUDE)]
    return names[0] if len(names) == 1 else None


def _one_latitude(obj: XarrayObject) -> float:
    found = [float(c) for n, c in obj.coords.items() if c.ndim == 0 and _is(c, n, "latitude", _LATITUDE)]
    return found[0] if len(found) == 1 else np.nan


def _is(coord: xr.DataArray, name: Hashable, kind: str, names: Sequence[str]) -> bool:
    return coord.attrs.get("standard_name") == kind or name in names


def _days(time: xr.DataArray) -> Floats:
    """Give times in days from the first, checked to be equally spaced."""
    values = time.values
    if values.size < 2:
        message = f"{WHAT} needs a series; {time.name!r} has {values.size} time"
        raise CoordinateError(message)
    if values.dtype.kind in "Mm":
        days = (values - values[0]) / np.timedelta64(1, "s") / _SECONDS_PER_DAY
    elif values.dtype.kind == "O" and hasattr(values[0], "calendar"):  # cftime
        days = np.array([(v - values[0]).total_seconds() for v in values]) / _SECONDS_PER_DAY
    else:
        unit = str(time.attrs.get("units", "")).split(" since ")[0].strip().lower()
        factor = _TIME_UNITS.get(unit if unit.endswith("s") else unit + "s")
        if factor is None:
            message = (
                f"{time.name!r} holds {values.dtype} without units of time ({unit!r}); wanted dates, or numbers with "
                f"units among {tuple(_TIME_UNITS)}"
            )
            raise CoordinateError(message)
        days = (values - values[0]).astype(np.float64) * factor
    steps = np.diff(days)
    middle = float(np.median(steps))
    if not (middle > 0 and np.all(np.abs(steps - middle) < 0.01 * middle)):
        at = int(np.argmax(np.abs(steps - middle)))
        message = (
            f"{WHAT} needs equal steps of time; they are {middle:g} days, but {steps[at]:g} from {values[at]} to "
            f"{values[at + 1]}. Bring the series onto equal steps first, for instance ds.resample or ds.interp"
        )
        raise CoordinateError(message)
    return np.asarray(days)


def _times(value: Any, step: float, name: str) -> int:
    """Give a length of time as a number of steps."""
    if isinstance(value, str | np.timedelta64) or hasattr(value, "total_seconds"):
        import pandas as pd

        try:
            days = float(pd.Timedelta(value) / pd.Timedelta(days=1))
        except ValueError:
            message = f"{name}={value!r} came; wanted a length such as '96D', or a number of times"
            raise OptionError(message) from None
        count = round(days / step)
        if abs(count * step - days) > 0.01 * step:
            message = (
                f"{name}={value!r} is {days / step:g} steps of {step:g} days; wanted a whole number of them, "
                f"for instance {name}={count} times"
            )
            raise OptionError(message)
        return count
    try:
        return operator.index(value)
    except TypeError:
        message = f"{name}={value!r} came; wanted a length such as '96D', or a number of times"
        raise OptionError(message) from None


def _space_time(
    axes: _Axes, window: Any, overlap: Any, taper: float, detrend: str | None, annual_cycle: int
) -> SpaceTime:
    count, step = axes.days.size, axes.step
    length = count if window is None else _times(window, step, "window")
    if not 4 <= length <= count:
        message = (
            f"window={window!r} came, {length} times; wanted from 4 to the {count} of the series "
            f"({count * step:g} days)"
        )
        raise OptionError(message)
    if window is None and overlap is not None:
        message = f"overlap={overlap!r} came without window; wanted both, for instance window='96D', overlap='65D'"
        raise OptionError(message)
    shared = length // 2 if overlap is None else _times(overlap, step, "overlap")
    if not 0 <= shared < length:
        message = f"overlap={overlap!r} came, {shared} times; wanted from 0 to less than the window's {length}"
        raise OptionError(message)
    if not 0 <= taper <= 1:
        message = f"taper={taper!r} came; wanted the tapered part of a segment, from 0 (none) to 1 (Hann window)"
        raise OptionError(message)
    if detrend not in DETRENDS:
        message = f"detrend={detrend!r} came; wanted one of {DETRENDS}"
        raise OptionError(message)
    if annual_cycle < 0 or annual_cycle != int(annual_cycle) or (annual_cycle and count * step < YEAR - step / 2):
        message = (
            f"annual_cycle={annual_cycle!r} came for {count * step:g} days; wanted the number of harmonics of the year "
            "to remove, 0 for a series of less than a year"
        )
        raise OptionError(message)
    spacing = np.diff(axes.grid.longitude)
    if np.max(np.abs(spacing - spacing.mean())) > 0.05 * spacing.mean():
        message = (
            f"{WHAT} needs equal steps of longitude; they go from {spacing.min():g} to {spacing.max():g} degrees. "
            "Regrid first, method='bilinear'"
        )
        raise GridError(message)
    starts = segment_starts(count, length, shared)
    return SpaceTime(axes.grid.nlon, length, step, starts, float(taper), detrend, int(annual_cycle), axes.grid.periodic)


# ---------------------------------------------------------------------- latitude
@dataclass(frozen=True)
class _Rows:
    """Rows of a band with their areas; those of the northern half with their mirror images, if that is wanted."""

    index: list[int]
    weights: Floats
    mirrored: list[int]

    @classmethod
    def of(cls, axes: _Axes, latitudes: Any, *, mirror: bool) -> _Rows:
        if axes.source is None:
            message = f"{WHAT} got no latitude dimension; wanted one with latitudes= or symmetry="
            raise DimensionError(message)
        south, north = _band(latitudes)
        lat = axes.grid.latitude
        inside = np.flatnonzero((lat >= south - _ROUNDING) & (lat <= north + _ROUNDING))
        if not inside.size:
            message = f"latitudes=({south:g}, {north:g}) holds no row of {axes.grid!r}"
            raise OptionError(message)
        areas = axes.grid.areas.sum(axis=1)
        if not mirror:
            return cls(inside.tolist(), areas[inside] / areas[inside].sum(), [])
        if np.max(np.abs(lat[inside] + lat[inside][::-1])) > _ROUNDING:
            message = (
                f"symmetry= needs rows that mirror each other about the equator; those between {south:g} and "
                f"{north:g} run from {lat[inside].min():g} to {lat[inside].max():g}, steps of about "
                f"{np.ptp(lat[inside]) / max(inside.size - 1, 1):g}. Take latitudes=(-x, x), or regrid first, for "
                "instance to Grid.regular(181, 360)"
            )
            raise GridError(message)
        half = inside[lat[inside] > -_ROUNDING]
        image = (inside[0] + inside[-1]) - half
        weights = np.where(half == image, 1, 2) * (areas[half] + areas[image]) / 2
        return cls(half.tolist(), weights / weights.sum(), image.tolist())


def _band(latitudes: Any) -> tuple[float, float]:
    try:
        first, second = (float(x) for x in latitudes)
    except (TypeError, ValueError):
        message = f"latitudes={latitudes!r} came; wanted (south, north) in degrees, such as (-15, 15)"
        raise OptionError(message) from None
    return min(first, second), max(first, second)


# ---------------------------------------------------------------------- labelled
def _block(field: Any, *, rule: SpaceTime, name: Any) -> Floats:
    field = _kernels.as_float(field)
    require_finite(field, what=WHAT, name=name)
    return rule.power(field).astype(field.dtype, copy=False)


def wavenumber_frequency(
    obj: T,
    *,
    symmetry: str | None = None,
    latitudes: tuple[float, float] | None = None,
    window: Any = None,
    overlap: Any = None,
    taper: float = 0.1,
    detrend: str | None = "linear",
    annual_cycle: int = 0,
) -> T:
    r"""Compute the power of series of fields by zonal wavenumber and frequency.

    Each row of latitude of each segment of time is detrended, tapered and written as a sum of waves

    .. math:: f(\lambda, t) = \sum_{k} \sum_{\omega \ge 0} \mathrm{Re}\, A_{k\omega}\, e^{i (k \lambda - \omega t)},

    so that waves with k > 0 travel east and those with k < 0 west. Power is the mean square of each wave, averaged
    over segments. It sums over all wavenumbers and frequencies to the mean square of the detrended field, weighted with
    the squared taper: to the variance in time, up to sampling.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields with equally spaced times and longitudes, both whole (one Dask chunk each). Latitude may be chunked, or
        missing (a Hovmoeller diagram).
    symmetry : {"symmetric", "antisymmetric", "both"}, optional
        Take the part of the fields that is symmetric about the equator, ``(f(lat) + f(-lat)) / 2``, or antisymmetric,
        ``(f(lat) - f(-lat)) / 2``, as Wheeler and Kiladis [1]_ do; their powers add up to that of the whole. Rows have
        to mirror each other about the equator.
    latitudes : (float, float), optional
        South and north end of a band over which power is averaged by area; 15 degrees south to 15 north with
        ``symmetry``. Without both, the latitudes stay.
    window : str, timedelta or int, optional
        Length of the segments, such as ``"96D"``, or a number of times; the whole series by default. Frequencies are
        multiples of one cycle per window.
    overlap : str, timedelta or int, optional
        What a segment shares with the next; half by default ([1]_: 65 of 96 days). The last one is shifted back to
        end with the series.
    taper : float
        Part of a segment under a cosine bell, both ends together (Tukey window): 0 is none.
    detrend : {"linear", "mean", None}
        What is removed from each segment at each point, by least squares.
    annual_cycle : int
        Harmonics of the year that are removed from the whole series at each point first ([1]_: 3).

    Returns
    -------
    Dataset or DataArray
        Power in the square of the field's units on ``frequency`` (cycles per day, from 0; coordinate ``period`` in
        days) and ``zonal_wavenumber`` (signed), and on ``symmetry`` for ``"both"``. In a box, whose rows are no whole
        circles, a Hann window is applied along longitude too, and the axis is ``wavenumber`` in cycles per metre at the
        mean latitude of the rows used, with ``wavelength``. At the shortest wave of an even number of longitudes
        both directions are one; its power is divided between both ends of the axis.

    Raises
    ------
    OptionError
        If an option is unknown, or lengths of time do not fit the series.
    CoordinateError
        If times are not equally spaced, or no coordinate tells them.
    GridError
        If rows do not mirror each other about the equator, points lie on rings of unequal size, or longitudes are not
        equally spaced.
    DimensionError
        If there is no latitude to average over.
    ChunkError
        If time or longitude is split into chunks.
    MissingValueError
        At compute time, if a value is NaN or infinite.

    See Also
    --------
    wk_background : the smooth background, and power over it.
    equatorial_wave : where the free waves lie.

    References
    ----------
    .. [1] M. Wheeler and G. N. Kiladis, 1999: Convectively coupled equatorial waves: analysis of clouds and
       temperature in the wavenumber-frequency domain. J. Atmos. Sci. 56, 374-399.

    Examples
    --------
    A wave that travels once around the Earth in 10 days, three crests on the circle:

    >>> time, lon = np.arange(40.0), np.arange(36) * 10.0
    >>> wave = 2 * np.cos(np.radians(lon) * 3 - 2 * np.pi * 3 * time[:, None] / 10)
    >>> da = xr.DataArray(wave, {"time": ("time", time, {"units": "days"}), "longitude": lon}, ("time", "longitude"))
    >>> power = wavenumber_frequency(da, taper=0)
    >>> peak = power.where(power == power.max(), drop=True)
    >>> peak.zonal_wavenumber.item(), peak.frequency.item(), power.sum().item()
    (3, 0.3, 2.0)
    """
    if symmetry is not None and symmetry not in (*SYMMETRIES, "both"):
        message = f"symmetry={symmetry!r} came; wanted 'symmetric', 'antisymmetric', 'both' or None"
        raise OptionError(message)
    axes = _Axes.of(obj)
    rule = _space_time(axes, window, overlap, taper, detrend, annual_cycle)
    rows = None
    if symmetry is not None:
        rows = _Rows.of(axes, _BAND if latitudes is None else latitudes, mirror=True)
    elif latitudes is not None:
        rows = _Rows.of(axes, latitudes, mirror=False)
    new = _new_coords(rule, axes, rows)
    call = cf.describe_call(
        WHAT, symmetry=symmetry, latitudes=latitudes, window=window, overlap=overlap, taper=taper, detrend=detrend,
        annual_cycle=annual_cycle or None,
    )  # fmt: skip

    def power(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
        block = partial(_block, rule=rule, name=like.name)
        sizes: dict[Hashable, int] = {FREQUENCY: rule.frequency.size, new.wave: rule.number.size}
        types = [_fields.float_type(field)]
        return _fields.apply(block, [field], axes.core, outputs=[sizes], dtypes=types, what=WHAT)[0]

    def one(da: xr.DataArray) -> xr.DataArray:
        field = axes.bare(da)
        if rows is None:
            out = power(field, da)
        else:
            lat_dim = cast(Source, axes.source).axes.lat_dim
            if lat_dim not in field.dims:
                message = f"variable {da.name!r} has no {lat_dim!r} to average over; leave out latitudes= and symmetry="
                raise DimensionError(message)
            out = _averaged([power(f, da) for f in _folded(field, lat_dim, rows, symmetry)], lat_dim, rows, symmetry)
        out = out.assign_coords(new.coords)
        out = out.transpose(*[d for d in out.dims if d not in new.last], *[d for d in new.last if d in out.dims])
        out.attrs = _attrs(da, rule)
        return changed_values(out, da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=axes.core, what=WHAT), call)


def _folded(field: xr.DataArray, lat_dim: Hashable, rows: _Rows, symmetry: str | None) -> list[xr.DataArray]:
    """Rows of the band; or the symmetric and antisymmetric parts on its northern half."""
    if symmetry is None:
        return [field.isel({lat_dim: rows.index})]
    dropped = [n for n, c in field.coords.items() if lat_dim in c.dims]
    north, south = (field.isel({lat_dim: i}).drop_vars(dropped) for i in (rows.index, rows.mirrored))
    if field.dtype.kind in "iub":
        north, south = north.astype(np.float64), south.astype(np.float64)
    parts = {"symmetric": (north + south) / 2, "antisymmetric": (north - south) / 2}
    return [parts[s] for s in SYMMETRIES if symmetry in (s, "both")]


def _averaged(parts: list[xr.DataArray], lat_dim: Any, rows: _Rows, symmetry: str | None) -> xr.DataArray:
    weights = xr.DataArray(rows.weights, dims=lat_dim)
    means = [(part * weights.astype(part.dtype)).sum(lat_dim) for part in parts]
    if symmetry != "both":
        return means[0]
    text = {"long_name": "part of the field about the equator"}
    return xr.concat(means, xr.DataArray(np.array(SYMMETRIES, dtype=object), dims=SYMMETRY, name=SYMMETRY, attrs=text))


@dataclass(frozen=True)
class _NewCoords:
    wave: str
    coords: Mapping[str, xr.Variable]

    @property
    def last(self) -> tuple[str, str, str]:
        return SYMMETRY, FREQUENCY, self.wave


def _new_coords(rule: SpaceTime, axes: _Axes, rows: _Rows | None) -> _NewCoords:
    frequency = rule.frequency
    with np.errstate(divide="ignore"):
        period = 1 / frequency
    made = {
        FREQUENCY: xr.Variable(FREQUENCY, frequency, {"long_name": "frequency, cycles per day", "units": "d-1"}),
        "period": xr.Variable(FREQUENCY, period, {"long_name": "period", "units": "d"}),
    }
    if rule.periodic:
        text = {"long_name": "zonal wavenumber, waves around the latitude circle, positive eastward", "units": "1"}
        return _NewCoords(ZONAL, {**made, ZONAL: xr.Variable(ZONAL, rule.number, text)})
    middle = float(np.mean(axes.latitude if rows is None else axes.latitude[rows.index + rows.mirrored]))
    if not np.isfinite(middle):
        message = (
            "a box's wavenumber in cycles per metre needs to know its latitude; there is none. Give the rows' mean: "
            "da.assign_coords(latitude=...)"
        )
        raise CoordinateError(message)
    spacing = np.radians(np.diff(axes.grid.longitude).mean()) * EARTH_RADIUS * np.cos(np.radians(middle))
    number = rule.number / (rule.nlon * spacing)
    with np.errstate(divide="ignore"):
        length = 1 / np.abs(number)
    about: dict[str, Any] = {
        "long_name": "zonal wavenumber, cycles per metre, positive eastward", "units": "m-1", "mean_latitude": middle
    }  # fmt: skip
    wave = xr.Variable(WAVENUMBER, number, about)
    lengths = xr.Variable(WAVENUMBER, length, {"long_name": "zonal wavelength", "units": "m"})
    return _NewCoords(WAVENUMBER, {**made, WAVENUMBER: wave, "wavelength": lengths})


def _attrs(da: xr.DataArray, rule: SpaceTime) -> dict[str, Any]:
    attrs: dict[str, Any] = {k: da.attrs[k] for k in ("cell_methods", "history") if k in da.attrs}
    name = da.attrs.get("long_name", da.attrs.get("standard_name", da.name))
    attrs["long_name"] = "wavenumber-frequency power" + (f" of {name}" if name is not None else "")
    if "units" in da.attrs:
        attrs["units"] = squared_units(str(da.attrs["units"]))
    return {**attrs, "segments": len(rule.starts)}
