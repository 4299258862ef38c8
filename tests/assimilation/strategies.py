"""Small observed fields."""

from __future__ import annotations

import numpy as np
import xarray as xr


def observed(values, *, lat=None, lon=None, start="2013-01-01", attrs=True):
    """A Dataset with ``ssh`` (time, lat, lon); one day, 0.2 degree apart unless given."""
    nt, ny, nx = values.shape
    lat = 33 + 0.2 * np.arange(ny) if lat is None else np.asarray(lat, float)
    lon = 295 + 0.2 * np.arange(nx) if lon is None else np.asarray(lon, float)
    time = np.datetime64(start, "ns") + np.arange(nt) * np.timedelta64(1, "D")
    ssh = xr.DataArray(values, dims=("time", "lat", "lon"), coords={"time": time, "lat": lat, "lon": lon}, name="ssh")
    if attrs:
        ssh.attrs = {"units": "m", "long_name": "sea level", "standard_name": "sea_surface_height"}
        ssh["lat"].attrs = {"units": "degrees_north", "standard_name": "latitude"}
        ssh["lon"].attrs = {"units": "degrees_east", "standard_name": "longitude"}
    return xr.Dataset({"ssh": ssh}, attrs={"title": "twin"})


def sparse(shape=(5, 7, 9), fraction=0.1, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    values[rng.random(shape) > fraction] = np.nan
    return observed(values, **kwargs)
