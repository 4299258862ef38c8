"""A small experiment, step by step, for tests of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo import workflow

N_DAYS = 59
TRAIN, TEST = ["2001-01-01", "2001-02-14"], ["2001-02-15", "2001-02-28"]
SPLITS = {"train": {"dates": TRAIN}, "test": {"dates": TEST}}


def archive(seed: int = 0) -> xr.Dataset:
    """Six-hourly fields with a daily cycle, and land."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2001-01-01", periods=4 * N_DAYS, freq="6h")
    day = 5 * np.sin(2 * np.pi * np.arange(time.size) / 4)[:, None, None]
    shape = (time.size, 8, 10)
    coords = {
        "time": time,
        "latitude": ("latitude", 57.0 - np.arange(8), {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(350.0, 360.0), {"units": "degrees_east"}),
    }
    dims = ("time", "latitude", "longitude")
    smooth = np.cumsum(rng.normal(size=shape), axis=0) * 0.2
    return xr.Dataset(
        {
            "2t": (dims, (280 + day + smooth).astype("f4"), {"units": "K", "standard_name": "air_temperature"}),
            "tcc": (dims, rng.random(shape).astype("f4"), {"units": "1"}),
            "lsm": (dims[1:], (np.arange(80).reshape(8, 10) % 2).astype("f4"), {"units": "1"}),
        },
        coords,
    )


def forecaster(**settings: Any) -> xatmo.VideoForecaster:
    network = {"channels": 4} if settings.get("architecture", "convlstm") == "convlstm" else None
    return xatmo.VideoForecaster(**{"n_context": 4, "n_future": 4, "network_settings": network, **settings})


def extract(files: Path, name: str = "data.zarr", **more: Any) -> workflow.Extracted:
    region = {"sw_corner": [50, -9], "nx": 8, "ny": 8}
    given = {"region": region, "variables": ["2t", "tcc", "lsm"], **more}
    return workflow.extract(str(files / "a_*.nc"), files / name, progress=False, **given)


def prepare(files: Path, name: str = "prepared", **more: Any) -> workflow.Preprocessed:
    given = {"splits": SPLITS, "n_context": 4, "n_future": 4, "climatology": "hour", **more}
    return workflow.preprocess(files / "data.zarr", files / name, **given)


def interrupted_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: int, error: type[BaseException]):
    """Let a function work so often, and fail then."""
    real, count = getattr(owner, name), [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] > calls:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return count


def simple_model(files: Path) -> Path:
    workflow.train(
        forecaster(architecture="diurnal"), files / "prepared", files / "run" / "model", variables=["2t", "tcc"],
        target="2t",
    )  # fmt: skip
    return files / "run" / "model"


def assert_same_bytes(first: Path, second: Path) -> None:
    chunks = {p.relative_to(first) for p in first.rglob("*") if p.is_file() and p.parent.name != first.name}
    assert {p.relative_to(second) for p in second.rglob("*") if p.is_file() and p.parent.name != second.name} == chunks
    for name in chunks:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
