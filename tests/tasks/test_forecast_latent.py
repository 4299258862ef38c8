"""Forecasters that draw: trained, saved, asked for members lazily and in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import metrics
from xatmo.tasks.forecast import _settings

SETTINGS: dict[str, dict[str, Any]] = {
    "vae": {"network_settings": {"widths": [6, 6], "n_blocks": 1}, "loss": "crps"},
    "savp": {
        "network_settings": {"channels": 4, "posterior_widths": [4, 4, 8], "encoder": [[4, 1]], "decoder": [[4, 0]]},
        "objective_settings": {"channels": 2, "members": 1.0},
    },
    "simvp": {
        "network_settings": {
            "channels": 8, "hidden": 8, "n_blocks": 1, "joint": False, "dropout": 0.5, "mc_dropout": True,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    time = np.datetime64("2019-03-01", "ns") + np.arange(96) * np.timedelta64(1, "h")
    noise = np.random.default_rng(0).standard_normal((96, 8, 10)).cumsum(0)
    day = 5 * np.sin(2 * np.pi * np.arange(96) / 24)[:, None, None]
    lat, lon = 54 - 0.25 * np.arange(8), 0.25 * np.arange(10)
    field = (("time", "lat", "lon"), (280 + day + 0.3 * noise).astype("float32"), {"units": "K"})
    return xr.Dataset({"t2m": field}, coords={"time": time, "lat": lat, "lon": lon})


@pytest.mark.parametrize("name", ["vae", "savp", "simvp"])
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


def test_the_usual_loss() -> None:
    """What draws is scored by its members unless another loss is named."""
    dropout = {"dropout": 0.2, "mc_dropout": True}
    for name, settings, given, usual in (
        ("simvp", None, None, "mse"), ("simvp", dropout, None, "crps"), ("convlstm", dropout, None, "crps"),
        ("simvp", {"dropout": 0.2}, None, "mse"), ("convlstm", dropout, "mae", "mae"), ("vae", None, None, "mae"),
    ):  # fmt: skip
        task = xatmo.VideoForecaster(name, 3, 2, network_settings=settings, loss=given)
        assert _settings.loss(task.config) == usual


@pytest.mark.slow
def test_dropout_learns_how_far_members_spread() -> None:
    """Of random walks the best answer is the last frame; its error grows with the lead, and so do members."""
    rng, n = np.random.default_rng(1), 480
    time = np.datetime64("2019-03-01", "ns") + np.arange(n) * np.timedelta64(1, "h")
    walk = 280 + rng.standard_normal((n, 6, 8)).cumsum(0)
    field = (("time", "lat", "lon"), walk.astype("float32"), {"units": "K"})
    ds = xr.Dataset({"t2m": field}, coords={"time": time, "lat": 54.0 - np.arange(6), "lon": np.arange(8.0)})
    settings = {"channels": 32, "hidden": 32, "n_blocks": 1, "norm": None, "dropout": 0.5, "mc_dropout": True}
    task = xatmo.VideoForecaster("simvp", 3, 4, baseline="persistence", network_settings=settings, learning_rate=5e-3)
    train, test = ds.isel(time=slice(400)), ds.isel(time=slice(400, None))
    task.fit(train, max_steps=120, batch_size=16, accelerator="cpu", progress=False)
    starts = test.time.values[2:-4]
    made, one = (test.atmo.forecast(task, init_time=starts, members=m).t2m for m in (16, None))
    assert float(metrics.crps(made, test.t2m)) < 0.85 * float(metrics.mae(one, test.t2m))
    assert 0.5 < float(metrics.spread_skill(made, test.t2m)["ratio"]) < 1.3
    by_lead = made.std("member").mean(["init_time", "lat", "lon"])
    assert bool((by_lead.diff("lead_time") > 0).all())
