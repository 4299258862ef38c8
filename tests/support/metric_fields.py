"""Fields for tests of metrics: small, on the globe or a box, with ensembles."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xatmo import Grid


def globe(
    seed: int = 0, *, n: int = 12, nlat: int = 13, nlon: int = 24, name: str = "t", units: str = "K"
) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    grid = Grid.regular(nlat, nlon)
    time = np.datetime64("2020-01-01", "ns") + np.arange(n) * np.timedelta64(1, "D")
    coords = {"time": time, **grid.coords()}
    attrs = {"units": units, "long_name": "temperature"}
    values = rng.normal(size=(n, nlat, nlon))
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), name=name, attrs=attrs)


def pair(seed: int = 0, **options: int) -> tuple[xr.DataArray, xr.DataArray]:
    t = globe(seed, **options)
    return (0.8 * t + 0.4 * globe(seed + 100, **options) + 0.1).assign_attrs(t.attrs).rename(t.name), t


def ensemble(seed: int = 0, members: int = 5, **options: int) -> tuple[xr.DataArray, xr.DataArray]:
    t = globe(seed, **options)
    rng = np.random.default_rng(seed + 7)
    p = t + xr.DataArray(rng.normal(size=(members, *t.shape)), dims=("member", *t.dims))
    return p.transpose(*t.dims, "member").assign_attrs(t.attrs).rename(t.name), t


def box(seed: int = 0, *, n: int = 4, nlat: int = 16, nlon: int = 20) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    coords = {
        "time": np.arange(n),
        "lat": ("lat", 40 + 0.5 * np.arange(nlat), {"units": "degrees_north"}),
        "lon": ("lon", -5 + 0.5 * np.arange(nlon), {"units": "degrees_east"}),
    }
    return xr.DataArray(
        rng.normal(size=(n, nlat, nlon)), coords, ("time", "lat", "lon"), name="t", attrs={"units": "K"}
    )


def moved(field: xr.DataArray) -> xr.DataArray:
    """The same field, rows northward, longitudes from -180, and the first column repeated at the end."""
    field = field.isel(latitude=slice(None, None, -1)).roll(longitude=field.sizes["longitude"] // 2, roll_coords=True)
    lon = field.longitude
    field = field.assign_coords(longitude=((lon + 180) % 360 - 180).assign_attrs(lon.attrs))
    last = field.isel(longitude=[0])
    last = last.assign_coords(longitude=(last.longitude + 360).assign_attrs(lon.attrs))
    return xr.concat([field, last], dim="longitude")
