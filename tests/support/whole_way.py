"""A super-resolution task on small regional fields, from training to the loaded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xatmo
from xatmo.tasks import SuperResolver

TINY: dict[str, Any] = {"channels": 2, "n_blocks": 1}
JUDGE: dict[str, Any] = {"kind": "conditional", "channels": 2, "n_blocks": 1, "dense": 2}
QUICK: dict[str, Any] = {
    "max_steps": 2, "patch_size": {"lat": 3, "lon": 4}, "batch_size": 1, "accelerator": "cpu", "progress": False,
    "precision": "32-true",
}  # fmt: skip


def regional(factor: int, rows: int = 4, columns: int = 5, n_time: int = 3) -> tuple[xr.DataArray, xr.DataArray]:
    """Fine fields of a region, and its orography."""
    lat = 50 - (np.arange(rows * factor) + 0.5) * 2 / factor
    lon = 5 + (np.arange(columns * factor) + 0.5) * 2 / factor
    time = np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(6, "h")
    coords = {
        "time": ("time", time, {"standard_name": "time"}),
        "latitude": ("latitude", lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("longitude", lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    phase = np.radians(lat)[:, None] * 9 + np.radians(lon) * 7
    values = 280 + np.sin(phase + np.arange(n_time)[:, None, None]) * 5
    field = xr.DataArray(
        values.astype("float32"), coords, ("time", "latitude", "longitude"), name="t2m", attrs={"units": "K"}
    )
    land = xr.DataArray(np.cos(3 * phase).astype("float32"), field[0].coords, field.dims[1:], name="z")
    return field, land.drop_vars("time").assign_attrs(units="m")


def whole_way(task: SuperResolver, factor: int, folder: Path, *, static: bool = False, **fit: Any) -> SuperResolver:
    """Train, apply, save, load: the same fields come out, on the grid of the fine ones."""
    fine, land = regional(factor)
    task.fit(fine, static=land if static else None, **{**QUICK, **fit})
    assert task.history["step"].tolist() == [1, 2]
    assert np.isfinite(task.history["loss"]).all()
    assert len(task.model.fine) == int(static)
    coarse = fine.atmo.coarsen(factor)
    out = coarse.atmo.superresolve(task)
    assert out.sizes == fine.sizes
    assert bool(np.isfinite(out).all())
    np.testing.assert_allclose(out.latitude, fine.latitude)
    task.save(folder / "m")
    again = xatmo.load(folder / "m")
    assert isinstance(again, SuperResolver)
    assert again.config == task.config
    xr.testing.assert_identical(coarse.atmo.superresolve(again), out)
    return again
