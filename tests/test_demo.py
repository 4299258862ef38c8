"""The demonstration: runs on generated and on own fields, small, and leaves what it promises."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo import demo
from xatmo.demo import superresolution
from xatmo.demo.settings import QUICK
from xatmo.errors import DimensionError, MissingValueError

TINY = replace(
    QUICK,
    truncation=21,
    days=8,
    spin_up=2,
    nlat=48,
    channels=4,
    n_blocks=1,
    patch=6,
    max_steps=3,
    sea_days=4,
    sea_step=0.5,
)


def own(nlat: int = 48, nlon: int = 96, times: int = 0, **coords: object) -> xr.DataArray:
    grid = xatmo.Grid.regular(nlat, nlon, poles=False)
    values = np.random.default_rng(0).normal(size=(max(times, 1), nlat, nlon)).astype(np.float32)
    at = {"time": pd.date_range("2001-01-01", periods=max(times, 1)), **grid.coords(), **coords}
    da = xr.DataArray(values, at, ("time", "latitude", "longitude"), "gust", {"units": "m s-1", "long_name": "gust"})
    return da.assign_coords(coords)


@pytest.mark.slow
def test_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "QUICK", TINY)
    files = demo.run(tmp_path / "out", quick=True)
    out = capsys.readouterr().out
    for name in ("maps", "spectra", "interpolation"):
        assert files[name].stat().st_size > 10_000
        assert files[name].name in out
    scores = json.loads(files["scores"].read_text())
    assert list(scores["superresolution"]) == ["coarse (nearest)", "bicubic", "super-resolved"]
    analysis = scores["interpolation"]["variational (SPDE)"]
    assert analysis["RMSE (m)"] < scores["interpolation"]["mean of the observations"]["RMSE (m)"]
    assert xatmo.load(files["model"]).model.factor == 4
    assert "relative vorticity, 4 times finer," in out


def test_splits_hold_out_what_is_scored() -> None:
    train, context, kept, where = superresolution._split(own(times=20), TINY)
    assert train.time.max() < context.time.min() - np.timedelta64(1, "D")
    assert context.isel(kept).shape == context.shape
    assert where == "on times not trained on"
    train, context, kept, where = superresolution._split(own(40, 136), TINY)
    test = context.isel(kept)
    assert (train.sizes["longitude"], test.sizes["longitude"], context.sizes["longitude"]) == (104, 32, 136)
    assert not set(train.longitude.values) & set(test.longitude.values)
    assert where.startswith("between 275.294 and")
    with pytest.raises(DimensionError, match="wanted at least 32 rows and 128 columns"):
        superresolution._split(own(24, 48), TINY)


def test_box_is_scored_away_from_its_edges() -> None:
    box = own(40, 136).isel(latitude=slice(3, 38), longitude=slice(0, 130))
    _, context, kept, _ = superresolution._split(box, TINY)
    test = context.isel(kept)
    assert context.shape == (1, 32, 128)
    assert test.shape == (1, 24, 28)
    assert np.isfinite(context.atmo.coarsen(4).atmo.regrid(context, method="bicubic").isel(kept)).all()


@pytest.mark.slow
def test_own_field(tmp_path: Path) -> None:
    outcome = superresolution.run(replace(TINY, max_steps=2), own(65, 128), tmp_path, lambda what: nullcontext())
    assert outcome.title.startswith("gust, 4 times finer,\nbetween 270 and")
    assert all(np.isfinite(row["rmse"]) for row in outcome.scores.values())


def test_missing_values_are_refused(tmp_path: Path) -> None:
    broken = own(times=12)
    broken[0, 3, 3] = np.nan
    with pytest.raises(
        MissingValueError, match="the field has 1 missing values; the demonstration needs a field without"
    ):
        demo.run(tmp_path, quick=True, field=broken)
