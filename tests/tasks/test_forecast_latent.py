"""Forecasters with latent variables: trained, saved, asked for members lazily and in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo

SETTINGS: dict[str, dict[str, Any]] = {
    "vae": {"network_settings": {"widths": [6, 6], "n_blocks": 1}, "loss": "crps"},
    "savp": {
        "network_settings": {"channels": 4, "posterior_widths": [4, 4, 8], "encoder": [[4, 1]], "decoder": [[4, 0]]},
        "objective_settings": {"channels": 2, "members": 1.0},
    },
}


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    time = np.datetime64("2019-03-01", "ns") + np.arange(96) * np.timedelta64(1, "h")
    noise = np.random.default_rng(0).standard_normal((96, 8, 10)).cumsum(0)
    day = 5 * np.sin(2 * np.pi * np.arange(96) / 24)[:, None, None]
    lat, lon = 54 - 0.25 * np.arange(8), 0.25 * np.arange(10)
    field = (("time", "lat", "lon"), (280 + day + 0.3 * noise).astype("float32"), {"units": "K"})
    return xr.Dataset({"t2m": field}, coords={"time": time, "lat": lat, "lon": lon})


@pytest.mark.parametrize("name", ["vae", "savp"])
def test_members(ds: xr.Dataset, name: str, tmp_path: Path) -> None:
    task = xatmo.VideoForecaster(name, n_context=3, n_future=4, **SETTINGS[name])
    task.fit(ds, max_steps=2, batch_size=2, accelerator="cpu", progress=False, seed=1)
    starts = ds.time.values[[40, 47, 60]]
    made = ds.atmo.forecast(task, init_time=starts, members=3, seed=5).t2m
    assert made.sizes["member"] == 3
    assert float(made.std("member").min()) > 0
    # Of Dask, in other chunks, other members, other initial times, and from disk: the same draws.
    lazy = ds.chunk(time=11, lat=3).atmo.forecast(task, init_time=starts, members=3, seed=5).t2m
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy.transpose(*made.dims).values, made.values, rtol=1e-5)
    task.save(tmp_path / "task")
    loaded = xatmo.load(tmp_path / "task")
    few = ds.atmo.forecast(loaded, init_time=starts[1:], members=2, seed=5).t2m
    np.testing.assert_allclose(few.values, made.isel(init_time=[1, 2], member=[0, 1]).values, rtol=1e-5)
    # What comes after the initial time changes nothing.
    other = ds.copy(deep=True)
    other.t2m[61:] += 100
    again = other.atmo.forecast(task, init_time=starts, members=3, seed=5).t2m
    np.testing.assert_array_equal(again.values, made.values)
    mean = ds.atmo.forecast(task, init_time=starts).t2m
    np.testing.assert_array_equal(mean.values, ds.atmo.forecast(task, init_time=starts).t2m.values)
    windows = ds.atmo.forecast(task, init_time=starts[:1], members=2, patch_size={"lat": 6, "lon": 7}).t2m
    assert bool(np.isfinite(windows).all())
