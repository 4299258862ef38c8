"""Whether runs mean the same truth, and which simple forecasts a page of runs takes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import workflow
from xatmo.cli import comparing


def fields() -> xr.Dataset:
    time = pd.date_range("2001-01-01", periods=6)
    values = np.arange(24.0).reshape(6, 2, 2)
    coords = {"time": time, "latitude": [1.0, 0.0], "longitude": [0.0, 1.0]}
    return xr.Dataset({"t": (("time", "latitude", "longitude"), values, {"units": "K"})}, coords)


def test_truths_that_differ_are_told() -> None:
    ds = fields()
    assert workflow.disagreements(ds, ds.copy()) == []
    assert workflow.disagreements(ds, ds.assign(tcc=ds.t)) == []
    warmer = ds.copy(deep=True)
    warmer["t"][2, 0, 0] += 3
    assert workflow.disagreements(ds, warmer) == ["t differs by up to 3"]
    moved = ds.assign_coords(latitude=[2.0, 1.0])
    assert workflow.disagreements(ds, moved) == ["t lies on another grid, {'time': 6, 'latitude': 2, 'longitude': 2}"]
    assert workflow.disagreements(ds, ds.rename(t="q")) == ["it has ['q'], not ['t']"]
    assert workflow.disagreements(ds, ds.isel(time=[0, 1, 5])) == [
        "it has 3 times from 2001-01-01T00 to 2001-01-06T00, not 6"
    ]


def test_simple_forecasts_of_runs_are_found_once(tmp_path: Path) -> None:
    named = {name: tmp_path / name for name in ("a", "diurnal")}
    for folder in named.values():
        for kind in ("persistence", "diurnal"):
            (folder / "baselines" / f"{kind}.zarr").mkdir(parents=True)
        (folder / "run.json").write_text("{}")
    assert comparing._simple_forecasts(named) == {"persistence": tmp_path / "a" / "baselines" / "persistence.zarr"}
    assert list(comparing._simple_forecasts({"a": named["a"]})) == ["persistence", "diurnal"]
    assert comparing._simple_forecasts({"b": tmp_path}) == {}
    assert comparing._reference(["a"], ["persistence", "diurnal"]) == "diurnal"
    assert comparing._reference(["a", "b"], ["persistence"]) == "b"
    assert comparing._reference(["a"], []) is None
