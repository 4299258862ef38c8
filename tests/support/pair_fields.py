"""Small fields to be paired: noise on a global grid, and static fields beside it."""

from __future__ import annotations

import numpy as np
import xarray as xr

import xatmo

NLAT, NLON = 12, 16


def fields(n_time: int = 6, *, nlat: int = NLAT, nlon: int = NLON, seed: int = 0) -> xr.Dataset:
    grid = xatmo.Grid.regular(nlat, nlon, poles=False)
    values = np.random.default_rng(seed).standard_normal((n_time, nlat, nlon)).astype("f4")
    time = np.datetime64("2001-01-30", "ns") + np.arange(n_time) * np.timedelta64(1, "D")
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), 280 + values, {"units": "K"})}, {**grid.coords(), "time": time}
    )


def statics(ds: xr.Dataset) -> xr.Dataset:
    rng = np.random.default_rng(1)
    shape = (ds.sizes["latitude"], ds.sizes["longitude"])
    coords = {n: ds[n] for n in ("latitude", "longitude")}
    dims = ("latitude", "longitude")
    return xr.Dataset(
        {"z": (dims, rng.random(shape).astype("f4"), {"units": "m"}), "lsm": (dims, rng.random(shape).astype("f4"))},
        coords,
    )
