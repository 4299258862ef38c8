"""All combinations of DL4DS, at the level of the task: each is trained, applied, saved and loaded, on a rectangle."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.tasks import SuperResolver

TRAINED = (False, True)  # adversarially
WINDOWS = (None, 2)
BACKBONES = ("plain", "residual", "dense")
UPSAMPLINGS = ("interpolation", "subpixel", "resize", "deconvolution")
FACTORS = (2, 3, 4, 5, 8)
STATIC = (False, True)
COMBINATIONS = tuple(itertools.product(TRAINED, WINDOWS, BACKBONES, UPSAMPLINGS))

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


def combined(adversarial: bool, window: int | None, backbone: str, upsampling: str, factor: int) -> SuperResolver:
    settings: dict[str, Any] = {"adversarial": True, "discriminator": JUDGE} if adversarial else {}
    return SuperResolver(
        factor, backbone=backbone, upsampling=upsampling, time_window=window, **TINY, **settings
    )  # fmt: skip


def chosen(i: int) -> tuple[int, bool]:
    """Factor and static fields of combination number ``i``."""
    return FACTORS[i % 5], i // 5 % 2 == 1


def test_every_choice_meets_every_factor_with_and_without_static_fields() -> None:
    rows = [(*combination, *chosen(i)) for i, combination in enumerate(COMBINATIONS)]
    assert len(rows) == 48
    for axis, values in enumerate((TRAINED, WINDOWS, BACKBONES, UPSAMPLINGS)):
        assert {(row[axis], row[4]) for row in rows} == set(itertools.product(values, FACTORS))
        assert {(row[axis], row[5]) for row in rows} == set(itertools.product(values, STATIC))
    assert {row[4:] for row in rows} == set(itertools.product(FACTORS, STATIC))


@pytest.mark.parametrize("i", range(48), ids=lambda i: "-".join(map(str, (*COMBINATIONS[i], *chosen(i)))))
def test_all_48(i: int, tmp_path: Path) -> None:
    factor, static = chosen(i)
    whole_way(combined(*COMBINATIONS[i], factor), factor, tmp_path, static=static)


@pytest.mark.slow
@pytest.mark.parametrize("static", STATIC)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "-".join(map(str, c)))
def test_all_48_at_every_factor(combination: Any, factor: int, static: bool, tmp_path: Path) -> None:
    whole_way(combined(*combination, factor), factor, tmp_path, static=static)
