"""Maps written in the layout that the data challenges exchange."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, UnitsError
from xatmo.metrics.altimetry.areas import Area, Period, moments, select
from xatmo.metrics.altimetry.gridded import only_field
from xatmo.metrics.altimetry.records import known_challenge
from xatmo.typing import XarrayObject
from xatmo.units import convert

_LAYOUT: dict[str, dict[str, Any]] = {
    "osse2020a": {"name": "gssh", "west": -180.0, "since": "days since 2012-10-01"},
    "ose2021a": {"name": "ssh", "west": 0.0, "since": "days since 1900-01-01"},
}


def as_product(
    mapped: XarrayObject,
    *,
    challenge: str = "osse2020a",
    area: Area = None,
    period: Period = None,
    method: str | None = None,
) -> xr.Dataset:
    """Lay a map out as a product of a challenge.

    Parameters
    ----------
    mapped : Dataset or DataArray (time, latitude, longitude)
        Sea surface height in units of length; of a Dataset, its one field.
    challenge : {"osse2020a", "ose2021a"}
        Whose layout: variable ``gssh`` and longitudes from -180, or ``ssh`` and longitudes from 0.
    area, period : optional
        What to keep: see `leaderboard`.
    method : str, optional
        Name, for the title.

    Returns
    -------
    Dataset (time, lat, lon)
        Rows northward, columns eastward, in m, one map a day; lazy where the map is.

    Raises
    ------
    CoordinateError
        If times are not one a day, or nothing lies in the area and period.
    UnitsError
        If the field has no units of length.
    OptionError
        If the challenge, the area or the period is unknown.

    Examples
    --------
    >>> import xatmo
    >>> made = as_product(xatmo.datasets.sea_level(days=3), challenge="ose2021a")
    >>> list(made.data_vars), made["ssh"].dims, float(made["lon"].min())
    (['ssh'], ('time', 'lat', 'lon'), 295.1)
    """
    layout = _LAYOUT[known_challenge(challenge)]
    field = select(only_field(mapped, what="the map"), area, period, what="the map")
    if "units" not in field.attrs:
        message = f"the map {field.name!r} has no units; wanted a length, as 'm'. Set da.attrs['units']"
        raise UnitsError(message)
    field = convert(field, "m")
    _, values = moments(field, what="the map")
    if values.size > 1 and (np.diff(values) != np.timedelta64(1, "D")).any():
        steps = np.unique(np.diff(values) / np.timedelta64(1, "D"))[:3]
        message = f"the map's times are {steps.tolist()} days apart; wanted one map a day, as the challenge has"
        raise CoordinateError(message)
    axes = cf.horizontal(field)
    west = layout["west"]
    lat = np.asarray(field[axes.lat].values, np.float64)
    lon = (np.asarray(field[axes.lon].values, np.float64) - west) % 360 + west
    lat_order, lon_order = np.argsort(lat, kind="stable"), np.argsort(lon, kind="stable")
    data = field.variable.isel({axes.lat_dim: lat_order, axes.lon_dim: lon_order}).data
    attrs = {"standard_name": "sea_surface_height_above_geoid", "long_name": "sea surface height", "units": "m"}
    out = xr.Dataset(
        {layout["name"]: (("time", "lat", "lon"), data, attrs)},
        {
            "time": ("time", values, {"standard_name": "time", "axis": "T"}),
            "lat": ("lat", lat[lat_order], {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("lon", lon[lon_order], {"standard_name": "longitude", "units": "degrees_east"}),
        },
        {"Conventions": "CF-1.11", "title": f"{method or 'map'} of sea surface height, {challenge}"},
    )
    return cf.add_history(out, cf.describe_call("metrics.altimetry.as_product", challenge=challenge, method=method))


def write_product(
    mapped: XarrayObject,
    path: str | os.PathLike[str],
    *,
    challenge: str = "osse2020a",
    area: Area = None,
    period: Period = None,
    method: str | None = None,
) -> Path:
    """Write a map as a challenge's NetCDF file. Computes lazy maps.

    Parameters
    ----------
    mapped, challenge, area, period, method
        See `as_product`.
    path : str or path
        Of the file, which is overwritten.

    Returns
    -------
    Path

    Raises
    ------
    CoordinateError, UnitsError, OptionError
        See `as_product`.

    Examples
    --------
    >>> import tempfile, xatmo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_product(xatmo.datasets.sea_level(days=3), f"{folder}/map.nc", method="truth")
    ...     with xr.open_dataset(file) as ds:
    ...         dict(ds.sizes), ds["gssh"].attrs["units"]
    ({'time': 3, 'lat': 50, 'lon': 50}, 'm')
    """
    made = as_product(mapped, challenge=challenge, area=area, period=period, method=method)
    layout = _LAYOUT[challenge]
    encoding: dict[str, dict[str, Any]] = {
        layout["name"]: {"zlib": True, "complevel": 4, "dtype": "float32", "_FillValue": np.float32(9.96921e36)},
        "time": {"units": layout["since"], "calendar": "standard", "dtype": "float64", "_FillValue": None},
        "lat": {"_FillValue": None},
        "lon": {"_FillValue": None},
    }
    file = Path(path)
    made.to_netcdf(file, encoding=encoding)
    return file
