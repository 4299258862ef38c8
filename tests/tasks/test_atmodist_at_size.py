"""AtmoDist at size: in two processes, from a store larger than its memory, and what it learns of a flow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.tasks import AtmoDist

QUICK: dict[str, Any] = {"max_steps": 2, "patch_size": 8, "batch_size": 4, "accelerator": "cpu", "progress": False}
QUICK["precision"] = "32-true"


def waves(n_time: int = 24, *, nlat: int = 18, nlon: int = 36, seed: int = 0) -> xr.Dataset:
    """Two fields of waves that move east, three-hourly."""
    grid = xatmo.Grid.regular(nlat, nlon, poles=False)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    rng = np.random.default_rng(seed)
    t = np.arange(n_time)[:, None, None]
    total = np.zeros((n_time, nlat, nlon))
    for k in range(1, 7):
        total += np.cos(k * (lon - 0.1 * t) + rng.uniform(0, 6) + lat * rng.integers(-3, 4)) / k
    times = np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(3, "h")
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {
            "vo": (dims, (1e-5 * total).astype("float32"), {"units": "s-1"}),
            "d": (dims, (2e-6 * total**3).astype("float32"), {"units": "s-1"}),
        },
        coords={**grid.coords(), "time": times},
    )


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path) -> None:
    """Each has its share of the pairs; both end with the same weights, which the run leaves."""
    task = AtmoDist(3, encoder="tiny", head_channels=8)
    options = {**QUICK, "max_steps": 6, "devices": 2, "run_dir": tmp_path, "save_epochs": True, "epochs": 1}
    task.fit(waves(), **options, n_patches=1)
    assert task.model.config["training"]["devices"] == 2
    assert task.history.step.max() == 6
    assert np.isfinite(task.history.loss).all()
    again = AtmoDist(3, encoder="tiny", head_channels=8).fit(waves(), **options, n_patches=1)  # finished: only read
    assert again.model.fingerprint == task.model.fingerprint
    assert task.evaluate_epochs(waves(), device="cpu").sizes["epoch"] == 3  # 21 pairs: two steps of 2 x 4
    one = AtmoDist(3, encoder="tiny", head_channels=8).fit(waves(), **{**QUICK, "max_steps": 6}, n_patches=1)
    assert one.model.fingerprint != task.model.fingerprint


_STREAM = """
import resource, sys
import numpy as np, xarray as xr, torch
from xatmo.normalize import Normalizer
from xatmo.tasks.representation import _lagged
ds = xr.open_zarr(sys.argv[1], consolidated=False)
data = _lagged.lagged_fields(ds, ["vo"], [(1.0, 0.0)])
plain = Normalizer.from_statistics(mean={"vo": 0.0}, std={"vo": 1.0})
source = _lagged.LaggedBatches(
    data, data.pairing((32, 32), 8, 1, (-60, 60)), ["vo"], plain, n_patches=4, batch_size=64, seed=0,
    memory=int(sys.argv[2]),
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pairs = sum(len(label) for _, label in source.batches(0))
print(pairs, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_streaming_from_zarr_stays_within_its_memory(tmp_path: Path) -> None:
    """210 MB on disk, 32 MB allowed: what a pass adds to the process is that, and a chunk in each reading thread."""
    grid = xatmo.Grid.regular(128, 256, poles=False)
    time = np.datetime64("2020-01-01", "ns") + np.arange(1600) * np.timedelta64(3, "h")
    rng = np.random.default_rng(0)
    for first in range(0, 1600, 100):
        values = rng.standard_normal((100, 128, 256), dtype=np.float32)
        part = xr.Dataset({"vo": (("time", "latitude", "longitude"), values)}, {**grid.coords()})
        part = part.assign_coords(time=time[first : first + 100])
        kind: dict[str, Any] = {"append_dim": "time"} if first else {"encoding": {"vo": {"chunks": (50, 64, 64)}}}
        part.to_zarr(tmp_path / "s.zarr", consolidated=False, **kind)
    done = subprocess.run(
        [sys.executable, "-c", _STREAM, str(tmp_path / "s.zarr"), str(32 << 20)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    pairs, added = map(int, done.stdout.split())
    assert pairs == (1600 - 8) * 4 // 64 * 64
    assert added < 100e6


@pytest.mark.slow
def test_lags_of_a_flow_are_learned_beyond_what_pixels_tell() -> None:
    """As in the benchmark `learn_atmodist`, smaller: T31, lags of 6 to 24 h, a minute of a core."""
    flow = xatmo.datasets.barotropic(31, days=120, spin_up=15, output_every="6h", variables=["vo"])
    train, test = flow.isel(time=slice(0, 370)), flow.isel(time=slice(390, None))
    task = AtmoDist(4, encoder="tiny")
    task.fit(train, patch_size=16, lag_step="6h", max_steps=400, accelerator="cpu", progress=False)
    scores = task.evaluate(test, n_patches=24, device="cpu")
    by_pixels = task.metric_by_lag(test, n_pairs=2000, device="cpu")
    # Lags told from the mean squared difference alone, by the nearest mean of a lag.
    source = task._source(test, "x", n_patches=24, latitudes=None, batch_size=64, seed=0)
    right, n = 0, 0
    for pair, label in source.batches(0):
        error = ((pair[:, 0] - pair[:, 1]) ** 2).mean((1, 2, 3)) / pair.var((1, 2, 3, 4))
        limits = by_pixels.l2.values / by_pixels.l2.values[-1] * float(error[label == 3].mean())
        right += int((np.abs(error.numpy()[:, None] - limits).argmin(1) == label.numpy()).sum())
        n += len(label)
    assert float(scores.top1) > 0.75
    assert float(scores.top1) > right / n + 0.08
    assert abs(float(task.evaluate(test, control=True, n_patches=24, device="cpu").top1) - 0.25) < 0.05
