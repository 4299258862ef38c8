"""A small sea: waves that travel, seen along tracks; for tests of mappings that are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

SMALL: dict[str, Any] = {"prior_channels": 4, "solver_channels": 4}
QUICK: dict[str, Any] = {
    "batch_size": 2, "patch_size": 16, "accelerator": "cpu", "progress": False, "precision": "32-true",
}  # fmt: skip


def sea(n_time: int = 8, rows: int = 16, columns: int = 20, *, seed: int = 0, part: float = 0.1) -> xr.Dataset:
    """Complete fields ``ssh``, and scattered observations ``seen`` of them without error, in m; rows north to south."""
    t, y, x = np.meshgrid(np.arange(n_time), np.arange(rows), np.arange(columns), indexing="ij")
    values = np.sin(2 * np.pi * (x - 0.7 * t) / 11) * np.cos(2 * np.pi * y / 13 + 0.2 * t)
    values += 0.5 * np.sin(2 * np.pi * (x + y + 0.4 * t) / 17)
    coords = {
        "time": np.datetime64("2012-10-01", "ns") + np.arange(n_time) * np.timedelta64(1, "D"),
        "lat": ("lat", 43 - 0.2 * np.arange(rows), {"units": "degrees_north"}),
        "lon": ("lon", -60 + 0.2 * np.arange(columns), {"units": "degrees_east"}),
    }
    about = {"units": "m", "standard_name": "sea_surface_height_above_geoid"}
    ds = xr.Dataset({"ssh": (("time", "lat", "lon"), values.astype("f4"), about)}, coords)
    there = np.random.default_rng(seed).random(values.shape) < part
    return ds.assign(seen=ds.ssh.where(xr.DataArray(there, dims=ds.ssh.dims)).assign_attrs(about))


def globe(n_time: int = 5) -> xr.Dataset:
    """The same over the whole globe at 10 degrees, with land, two sensors in two units, and another field."""
    lat, lon = np.linspace(85, -85, 18), np.arange(0, 360, 10.0)
    t, y, x = np.meshgrid(np.arange(n_time), np.radians(lat), np.radians(lon), indexing="ij")
    values = 2 + np.sin(3 * x - 0.3 * t) * np.cos(y)
    ds = sea(n_time, 18, 36).ssh.copy(data=values.astype("f4")).assign_coords(
        lat=("lat", lat, {"units": "degrees_north"}), lon=("lon", lon, {"units": "degrees_east"})
    ).to_dataset()  # fmt: skip
    water = ~((abs(ds.lat) < 20) & (ds.lon > 100) & (ds.lon < 150))
    ds["water"] = water
    ds["ssh"] = ds.ssh.where(water)
    random = np.random.default_rng(1)
    one, two = (xr.DataArray(random.random(values.shape) < p, dims=ds.ssh.dims) for p in (0.1, 0.05))
    ds["nadir"] = ds.ssh.where(one).assign_attrs(units="m")
    ds["swath"] = (100 * ds.ssh).where(two).assign_attrs(units="cm")
    ds["sst"] = (280 + 3 * ds.ssh.isel(time=0, drop=True)).drop_attrs(deep=False).assign_attrs(units="K")
    return ds


def track_of(field: xr.DataArray) -> xr.DataArray:
    """The numbers of a field one after another along ``n``, with their places as coordinates."""
    along = field.stack(n=field.dims).dropna("n").reset_index("n")
    return along.reset_coords(drop=True).assign_coords({c: ("n", along[c].values) for c in ("time", "lat", "lon")})
