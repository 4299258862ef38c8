"""An archive on levels of a model, as ERA5 is: extracted at a pressure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from model_levels import LEVELS, columns
from typer.testing import CliRunner

from xatmo.cli import app
from xatmo.datasets import write_ambs_tree
from xatmo.vertical import to_pressure

pytest.importorskip("eccodes")


def test_extract_at_a_pressure(tmp_path: Path) -> None:
    air = columns(hours=30, nlat=4, nlon=5)
    t2m = air.t_surface.assign_attrs(units="K", standard_name="air_temperature")
    tcc = (air.slope / 100).assign_attrs(units="1", standard_name="cloud_area_fraction")
    write_ambs_tree(air[["t", "sp"]].assign(t2m=t2m, tcc=tcc), tmp_path / "archive", bits=24, coefficients=LEVELS)
    settings = {
        "input": str(tmp_path / "archive"), "variables": ["2t", "tcc", "t@850"], "output": str(tmp_path / "made.zarr"),
        "region": {"sw_corner": [50.1, -1.8], "nx": 3, "ny": 2},
    }  # fmt: skip
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({"extract": settings}))
    done = CliRunner().invoke(app, ["extract", str(tmp_path / "e.yaml")])
    assert done.exit_code == 0, done.output
    ds = xr.open_zarr(tmp_path / "made.zarr")
    assert sorted(ds.data_vars) == ["2t", "t850", "tcc"]
    assert dict(ds.sizes) == {"time": 30, "latitude": 2, "longitude": 3}
    here = {"latitude": [50.4, 50.1], "longitude": [-1.8, -1.5, -1.2]}
    exact = to_pressure(air[["t", "sp"]], 850, coefficients=LEVELS).t.sel(here, method="nearest")
    np.testing.assert_allclose(ds.t850.transpose(*exact.dims).sel(here, method="nearest"), exact, rtol=2e-6)
    assert ds.t850.attrs["units"] == "K"
