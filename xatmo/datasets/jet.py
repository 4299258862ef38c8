"""Where the jet blows, day by day: latitude and speed of the low-passed wind's maximum, as labels to be predicted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.typing import Floats, XarrayObject

_ROW_DEGREES: Final = 1.125  # rows are averaged up to this width: 8 rows of a grid of 1280
_YEAR_DAYS: Final = {"360_day": 360.0, "noleap": 365.0, "365_day": 365.0, "all_leap": 366.0, "366_day": 366.0}
_DAY: Final = np.timedelta64(1, "D")


def jet_latitude(
    obj: XarrayObject,
    *,
    u: Hashable | None = None,
    latitude: tuple[float, float] = (15.0, 75.0),
    longitude: tuple[float, float] | None = None,
    coarsen: int | None = None,
    window: int = 61,
    cutoff: str | pd.Timedelta = "10D",
    harmonics: int | None = 2,
    reference: slice | None = None,
) -> xr.Dataset:
    """Latitude and speed of the jet by day, and their departures from the seasonal cycle.

    The eastward wind is averaged over the day, over a few rows, the levels and the longitudes; low-passed in time by
    Lanczos' filter, ``w(k) = sin(2 pi k / T) / (pi k) * sinc(k / 31)`` for 61 days; and its maximum along the
    meridian is found between the rows by a parabola through the greatest value and its neighbours [1]_. The seasonal
    cycle is a mean and some harmonics of the year, fitted by least squares.

    Lazy where the wind is: the maxima are a small result of a large read. The low-passed days are those whose whole
    window lies within the data: with 61 days, thirty are lost at each end.

    Parameters
    ----------
    obj : Dataset or DataArray (time, [level,] lat, lon)
        Eastward wind, in even steps that divide a day, or daily. Days that are not whole, at the ends, are left out.
    u : str, optional
        Name of the wind in a Dataset; found by its standard name, or as ``"u"``, unless given.
    latitude : (float, float)
        Southern and northern limit. (-75, -15) finds the southern jet.
    longitude : (float, float), optional
        Western and eastern limit, across the date line if need be; (300, 360) is the North Atlantic. All of the data's
        unless given.
    coarsen : int, optional
        Rows that are averaged before, weighted by area. As many as make 1.125 degrees (8 of 1280 rows) unless given.
    window : int
        Days of the filter, odd.
    cutoff : str or timedelta
        Period at which the filter lets half of the amplitude pass.
    harmonics : int or None
        Of the seasonal cycle, beside its mean; None for no cycle and no departures.
    reference : slice, optional
        Times from which the cycle is fitted, such as ``slice("1979", "1998")``, the training years; all unless given.

    Returns
    -------
    Dataset (time)
        ``jet_latitude`` (degrees north), ``jet_speed`` (m s-1), and ``jet_latitude_anomaly`` and
        ``jet_speed_anomaly`` unless ``harmonics`` is None. Other dimensions, such as members, stay. NaN where the
        window holds a day without any wind.

    Raises
    ------
    VariableError
        If the wind is not found.
    CoordinateError
        If the times are uneven, or no row or column lies within the limits.
    DimensionError
        If there are fewer days than the window has.
    GridError
        If the wind does not lie on rows and columns.
    OptionError
        If a setting is out of range, or there is less than a year to fit a cycle to.

    References
    ----------
    .. [1] T. Woollings, A. Hannachi and B. Hoskins, 2010: Variability of the North Atlantic eddy-driven jet stream.
       Q. J. R. Meteorol. Soc. 136, 856-868.

    Examples
    --------
    >>> time, lat = pd.date_range("2000-01-01", periods=70), np.arange(10.0, 81.0, 2.0)
    >>> wind = 20 * np.exp(-(((lat - 47.3) / 15) ** 2))
    >>> da = xr.DataArray(np.tile(wind[None, :, None], (70, 1, 4)), name="u", dims=("time", "lat", "lon"),
    ...                   coords={"time": time, "lat": lat, "lon": [0.0, 90.0, 180.0, 270.0]})
    >>> jet = jet_latitude(da, harmonics=None)
    >>> jet.sizes["time"], round(float(jet["jet_latitude"][0]), 1)
    (10, 47.3)
    """
    period = pd.Timedelta(cutoff) / pd.Timedelta("1D")
    _check(latitude, longitude, coarsen, window, period, harmonics)
    profile, lat, time = _profile(_wind(obj, u), latitude, longitude, coarsen)
    daily = _daily(profile, time)
    if daily.sizes[time] < window:
        message = f"{daily.sizes[time]} whole days came; wanted at least {window}, as many as window="
        raise DimensionError(message)
    if daily.chunks is not None:
        daily = daily.chunk({time: -1, lat: -1})  # one number by row and day is little
    rows = daily[lat].values
    kept = daily.isel({time: slice(window // 2, daily.sizes[time] - window // 2)})
    weights = lanczos_weights(window, period)

    def kernel(values: Floats) -> tuple[Floats, Floats]:
        return maximum_by_parabola(low_pass(values, weights), rows)

    found = xr.apply_ufunc(
        kernel,
        daily.drop_vars([c for c in daily.coords if {time, lat} & set(daily[c].dims)]),
        input_core_dims=[[time, lat]],
        output_core_dims=[[time], [time]],
        exclude_dims={time},
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {time: kept.sizes[time]}},
        output_dtypes=[np.float64, np.float64],
    )
    coords = {c: kept[c] for c in kept.coords if set(kept[c].dims) <= {time} and kept[c].dims}
    where, speed = (da.assign_coords(coords) for da in found)
    out = {
        "jet_latitude": where.assign_attrs(long_name="latitude of the jet", units="degrees_north"),
        "jet_speed": speed.assign_attrs(long_name="speed of the jet", units="m s-1"),
    }
    if harmonics is not None:
        for name in list(out):
            attrs = {**out[name].attrs, "long_name": f"{out[name].attrs['long_name']}, departure from the season's"}
            attrs["units"] = attrs["units"].replace("degrees_north", "degree")
            out[f"{name}_anomaly"] = _departure(out[name], time, harmonics, reference).assign_attrs(attrs)
    ds = xr.Dataset(out).transpose(..., time)
    call = cf.describe_call("datasets.jet_latitude", latitude=latitude, longitude=longitude, window=window,
                            cutoff=str(cutoff), harmonics=harmonics)  # fmt: skip
    return cf.add_history(ds, call)


# ---------------------------------------------------------------------- numbers
def lanczos_weights(window: int, period: float) -> Floats:
    """Weights of Lanczos' low-pass filter, ``(window,)``, that sum to 1; ``period`` in steps passes by half.

    Examples
    --------
    >>> weights = lanczos_weights(61, 10.0)
    >>> response = lambda period: np.sum(weights * np.cos(2 * np.pi * np.arange(-30, 31) / period))
    >>> [round(float(response(period)), 2) for period in (5, 10, 20, 40)]
    [0.0, 0.5, 1.0, 1.0]
    """
    k = np.arange(-(window // 2), window // 2 + 1)
    weights = 2 / period * np.sinc(2 * k / period) * np.sinc(k / (window // 2 + 1))
    return np.asarray(weights / weights.sum())


def low_pass(values: Floats, weights: Floats) -> Floats:
    """Filter along the axis before the last, ``(..., time, lat)``; what lies half a window from an end is left out."""
    count = values.shape[-2] - weights.size + 1
    out = np.zeros((*values.shape[:-2], count, values.shape[-1]))
    for k, weight in enumerate(weights):
        out += weight * values[..., k : k + count, :]
    return out


def maximum_by_parabola(values: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Place and size of the maximum along the last axis, between the nodes.

    A parabola goes through the greatest value and its two neighbours; at an end the node itself is given. NaN where a
    value is missing.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 4.0])
    >>> maximum_by_parabola(5 - (x - 2.0) ** 2, x)
    (array(2.), array(5.))
    """
    bad = np.isnan(values).any(axis=-1)
    top = np.argmax(np.where(np.isnan(values), -np.inf, values), axis=-1)
    middle = np.clip(top, 1, rows.size - 2)

    def at(index: Any) -> Any:
        return np.take_along_axis(values, index[..., None], axis=-1)[..., 0]

    (x0, y0), (x1, y1), (x2, y2) = ((rows[middle + k], at(middle + k)) for k in (-1, 0, 1))
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = (right - left) / (x2 - x0)
    inside = (top == middle) & (bend < 0)
    bend = np.where(inside, bend, -1.0)
    place = (x0 + x1) / 2 - left / (2 * bend)
    size = y1 + (place - x1) * (left + bend * (place - x0))
    place, size = np.where(inside, place, rows[top]), np.where(inside, size, at(top))
    return np.where(bad, np.nan, place), np.where(bad, np.nan, size)


def _departure(da: xr.DataArray, time: Hashable, harmonics: int, reference: slice | None) -> xr.DataArray:
    calendar = da[time].dt.calendar
    length = _YEAR_DAYS.get(calendar, 365.25)
    angle = 2 * np.pi * (da[time].dt.dayofyear.values - 1) / length
    columns = [np.ones_like(angle)]
    columns += [f(k * angle) for k in range(1, harmonics + 1) for f in (np.cos, np.sin)]
    design = np.stack(columns, axis=1)
    fitted = np.ones(angle.size, bool)
    if reference is not None:
        numbers = xr.DataArray(np.arange(angle.size), {time: da[time]}, (time,))
        fitted = np.isin(np.arange(angle.size), numbers.sel({time: reference}).values)
    needed = 0.9 * length if harmonics else 1
    if fitted.sum() < needed:
        message = (
            f"{fitted.sum()} low-passed days came to fit {harmonics} harmonics of the year to; wanted {needed:.0f} or "
            "more: give a longer run or reference=, harmonics=0 for the mean alone, or None for no departures"
        )
        raise OptionError(message)

    def kernel(values: Floats) -> Floats:
        out = np.full(values.shape, np.nan)
        for index in np.ndindex(*values.shape[:-1]):
            known = fitted & np.isfinite(values[index])
            if known.any():
                found, *_ = np.linalg.lstsq(design[known], values[index][known], rcond=None)
                out[index] = values[index] - design @ found
        return out

    return cast(
        xr.DataArray,
        xr.apply_ufunc(
            kernel, da, input_core_dims=[[time]], output_core_dims=[[time]], dask="parallelized",
            output_dtypes=[np.float64],
        ),
    )  # fmt: skip


# ---------------------------------------------------------------------- labels
def _wind(obj: XarrayObject, u: Hashable | None) -> xr.DataArray:
    from xatmo.units import convert

    if isinstance(obj, xr.DataArray):
        da = obj
    else:
        named = [n for n, v in obj.data_vars.items() if v.attrs.get("standard_name") == "eastward_wind"]
        name = u if u is not None else named[0] if named else "u"
        if name not in obj.data_vars:
            message = f"no variable {name!r} in this Dataset; it has {sorted(map(str, obj.data_vars))}: give u="
            raise VariableError(message)
        da = obj[name]
    return convert(da, "m s-1") if "units" in da.attrs else da


def _profile(
    da: xr.DataArray, latitude: tuple[float, float], longitude: tuple[float, float] | None, coarsen: int | None
) -> tuple[xr.DataArray, Hashable, Hashable]:
    """Mean over longitudes and levels, in wider rows from south to north; names of its latitude and time."""
    from xatmo._labels import drop_cyclic

    axes = cf.horizontal(da)
    if da[axes.lat].ndim != 1 or axes.lat_dim == axes.lon_dim:
        message = f"the wind lies on {da[axes.lat].dims}; wanted rows of latitude and columns of longitude: regrid it"
        raise GridError(message)
    time = cf.time(da)
    da, _ = drop_cyclic(da, axes)
    grid = Grid.of(da)
    rows = np.flatnonzero((grid.latitude >= latitude[0]) & (grid.latitude <= latitude[1]))
    columns = np.arange(grid.nlon)
    if longitude is not None:
        width = longitude[1] - longitude[0]
        columns = np.flatnonzero((grid.longitude - longitude[0]) % 360 <= width)
    if rows.size < 3 or not columns.size:
        message = (
            f"{rows.size} rows lie within latitude={latitude} and {columns.size} columns within longitude={longitude}; "
            f"wanted three rows and one column or more of {grid!r}"
        )
        raise CoordinateError(message)
    levels = [n for n in cf._candidates(da, "vertical") if da[n].ndim == 1 and n in da.dims]
    part = da.isel({axes.lat_dim: rows, axes.lon_dim: columns}).mean([axes.lon_dim, *levels])
    part = part.drop_vars([c for c in part.coords if c not in (axes.lat, *part.dims)], errors="ignore")
    part = part.transpose(..., time, axes.lat_dim).astype(np.float64)
    spacing = abs(float(np.diff(grid.latitude).mean()))
    factor = max(int(_ROW_DEGREES / spacing + 1e-6), 1) if coarsen is None else coarsen
    areas = xr.DataArray(grid.areas[rows, 0], dims=[axes.lat_dim])
    whole = xr.DataArray(grid.latitude[rows], dims=[axes.lat_dim])
    along = {axes.lat_dim: factor}

    def summed(values: xr.DataArray) -> xr.DataArray:
        return values.coarsen(along, boundary="pad").sum()

    bare = part.drop_vars([axes.lat, axes.lat_dim], errors="ignore")
    known = summed(areas.where(bare.notnull(), 0.0))
    mean = (summed(bare * areas) / known.where(known > 0)).transpose(..., time, axes.lat_dim)
    mean = mean.assign_coords({axes.lat_dim: (summed(whole * areas) / summed(areas)).values})
    return mean.sortby(axes.lat_dim), axes.lat_dim, time


def _daily(da: xr.DataArray, time: Hashable) -> xr.DataArray:
    """Means of whole days."""
    moments = da[time].values
    steps = np.diff(moments)
    if moments.size < 2 or np.any(steps != steps[0]):
        uneven = "one time" if moments.size < 2 else f"steps from {steps.min()} to {steps.max()}"
        message = f"{uneven} came along {time!r}; wanted even steps: fill the gaps first, for instance .resample(...)"
        raise CoordinateError(message)
    step = pd.Timedelta(steps[0])
    day = pd.Timedelta("1D")
    if not pd.Timedelta(0) < step <= day or day % step != pd.Timedelta(0):
        message = f"the wind comes every {step}; wanted daily values, or several at even steps of a day"
        raise CoordinateError(message)
    if step == day:
        return da
    count = day // step
    of_day = da[time].dt.hour.values * 3600 + da[time].dt.minute.values * 60 + da[time].dt.second.values
    first = int(np.flatnonzero(of_day < step.total_seconds())[0]) if np.any(of_day < step.total_seconds()) else 0
    days = (moments.size - first) // count
    if days == 0:
        return da.isel({time: slice(0, 0)})
    whole = da.isel({time: slice(first, first + days * count)})
    stamps = whole[time].dt.floor("D").values[::count]
    means = (
        whole.drop_vars([time]).coarsen({time: count}).construct({time: (time, "_part")}).mean("_part", skipna=False)
    )
    return means.assign_coords({time: stamps})


# ---------------------------------------------------------------------- checks
def _check(
    latitude: tuple[float, float], longitude: Any, coarsen: int | None, window: int, period: float,
    harmonics: int | None,
) -> None:  # fmt: skip
    if not -90 <= latitude[0] < latitude[1] <= 90:
        message = f"latitude={latitude!r}; wanted (south, north) in degrees"
        raise OptionError(message)
    if longitude is not None and not 0 < longitude[1] - longitude[0] <= 360:
        message = f"longitude={longitude!r}; wanted (west, east) in degrees, east the greater, such as (300, 360)"
        raise OptionError(message)
    if coarsen is not None and coarsen < 1:
        message = f"coarsen={coarsen!r}; wanted a number of rows from 1"
        raise OptionError(message)
    if window < 3 or window % 2 == 0:
        message = f"window={window!r}; wanted an odd number of days from 3, such as 61"
        raise OptionError(message)
    if not period > 2:
        message = f"cutoff of {period:g} days; wanted more than two"
        raise OptionError(message)
    if harmonics is not None and not 0 <= harmonics <= 20:
        message = f"harmonics={harmonics!r}; wanted a whole number from 0, or None"
        raise OptionError(message)
