"""Archives on levels of a model, as ERA5 is: extracted at pressures, whatever kind of archive it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from model_levels import LEVELS, columns
from typer.testing import CliRunner

from xatmo.cli import app
from xatmo.datasets import write_ambs_tree
from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.vertical import HybridLevels, to_pressure
from xatmo.workflow import extract
from xatmo.workflow.extraction import find_extracted
from xatmo.workflow.model_levels import Columns
from xatmo.workflow.selection import at_pressures
from xatmo.workflow.sources import open_source

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


# ---------------------------------------------------------------------- other sources, against the tree
REGION = {"sw_corner": [50.1, -1.8], "nx": 3, "ny": 2}
CATALOG = """
metadata: {version: 1, description: levels of a model}
sources:
  levels:
    driver: zarr
    args: {urlpath: "{{ CATALOG_DIR }}/levels.zarr", chunks: null, consolidated: false}
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One archive as GRIB tree, netCDF, Zarr and catalog; ``tree.zarr`` is what the tree gives."""
    pytest.importorskip("cfgrib")
    folder = tmp_path_factory.mktemp("levels")
    air = columns(hours=26, nlat=4, nlon=5)
    t2m = air.t_surface.assign_attrs(units="K", standard_name="air_temperature")
    write_ambs_tree(air[["t", "sp"]].assign(t2m=t2m), folder / "tree", bits=24, coefficients=LEVELS)
    extract(folder / "tree", folder / "tree.zarr", variables=["2t", "t@850", "t@500"], region=REGION, progress=False)
    ds = open_source([folder / "tree/*/*/*_ml.grb", folder / "tree/*/*/*_sf.grb"])[0].load()
    assert ds.t.attrs["GRIB_pv"].shape == (2 * LEVELS.half_a.size,)
    ds.to_netcdf(folder / "levels.nc")
    ds.to_zarr(folder / "levels.zarr", encoding={"t": {"chunks": (1, 3, 4, 5)}}, consolidated=False)
    ds[["t", "t2m"]].isel(latitude=slice(None, None, -1)).to_netcdf(folder / "without.nc")
    (folder / "catalog.yaml").write_text(CATALOG)
    return folder


def extracted(source: object, made: Path, **settings: object) -> xr.Dataset:
    extract(source, made, variables=["2t", "t@850", "t@500"], region=REGION, progress=False, **settings)
    return xr.open_zarr(made).load()


@pytest.mark.parametrize("kind", ["files", "levels.nc", "levels.zarr", "catalog", "elsewhere"])
def test_other_sources_as_the_tree(archives: Path, tmp_path: Path, kind: str) -> None:
    source: object = archives / kind
    settings = {}
    if kind == "files":
        source = [archives / "tree/*/*/*_ml.grb", archives / "tree/*/*/*_sf.grb"]
    elif kind == "catalog":
        source = {"catalog": str(archives / "catalog.yaml"), "entry": "levels"}
    elif kind == "elsewhere":  # rows run the other way there, and the pressure is of more times
        source, settings = archives / "without.nc", {"surface_pressure": archives / "levels.zarr", "hours": "3to20"}
    found = extracted(source, tmp_path / "made.zarr", **settings)
    tree = xr.open_zarr(archives / "tree.zarr").load()
    assert list(found.data_vars) == ["2t", "t500", "t850"]
    for name in ("2t", "t500", "t850"):
        exact = tree[name].sel(time=found.time)
        exact = exact.sel(latitude=found.latitude, longitude=found.longitude, method="nearest", tolerance=1e-4)
        np.testing.assert_array_equal(found[name].transpose(*exact.dims), exact)
    assert found.time.size == (18 if kind == "elsewhere" else 26)
    assert found.t850.attrs["units"] == "K"
    assert found.t850.attrs["level"] == 850
    assert "GRIB_pv" not in found.t850.attrs


def test_a_level_called_level_and_the_logarithm(archives: Path, tmp_path: Path) -> None:
    """As ECMWF's netCDF has them: no coefficients, lnsp beside."""
    ds = xr.open_dataset(archives / "levels.nc").rename(hybrid="level").load()
    ds["lnsp"] = np.log(ds.sp.astype(np.float64)).drop_attrs()
    ds["level"].attrs = {"long_name": "model_level_number", "units": "1"}
    ds["t"].attrs = {"units": "K", "standard_name": "air_temperature"}
    ds.drop_vars("sp").to_netcdf(tmp_path / "levels.nc")
    pair = [LEVELS.half_a.tolist(), LEVELS.half_b.tolist()]
    found = extracted(tmp_path / "levels.nc", tmp_path / "made.zarr", coefficients=pair)
    np.testing.assert_allclose(found.t850, xr.open_zarr(archives / "tree.zarr").t850, rtol=1e-6)


def test_from_the_command_line_with_era5s_levels(tmp_path: Path) -> None:
    numbers = np.arange(98, 138)
    surface = 9.5e4 + 8e3 * np.random.default_rng(0).random((24, 2, 3))
    pressure = np.moveaxis(HybridLevels.of("L137").pressure(surface, numbers), -1, 1)
    dims = ("time", "latitude", "longitude")
    ds = xr.Dataset(
        {
            "t": (("time", "hybrid", *dims[1:]), 250 + 60 * np.log(pressure / 5e4), {"units": "K"}),
            "sp": (dims, surface, {"units": "Pa"}),
        },
        {
            "time": pd.date_range("2020-01-01", periods=24, freq="h"),
            "hybrid": numbers,
            "latitude": ("latitude", [50.25, 50.0], {"units": "degrees_north"}),
            "longitude": ("longitude", [0.0, 0.25, 0.5], {"units": "degrees_east"}),
        },
    )
    ds.to_netcdf(tmp_path / "levels.nc")
    settings = {
        "input": str(tmp_path / "levels.nc"), "variables": {"warm": "t@850", "lowest": "t@ml137"},
        "output": str(tmp_path / "{name}.zarr"), "coefficients": "L137",
    }  # fmt: skip
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({"extract": settings}))
    done = CliRunner().invoke(app, ["extract", str(tmp_path / "e.yaml")])
    assert done.exit_code == 0, done.output
    found = xr.open_zarr(find_extracted(settings["output"], settings))
    np.testing.assert_allclose(found.warm, 250 + 60 * np.log(850 / 500), rtol=1e-12)
    np.testing.assert_array_equal(found.lowest, ds.t.sel(hybrid=137))


def test_nothing_is_computed_or_taken_that_is_not_wanted(no_compute) -> None:
    air = columns(hours=6).chunk(time=2, hybrid=4)
    fields = at_pressures(air, ["t@850"])
    with no_compute():
        part = Columns.of(air, fields, elsewhere=False)
        found = part.at_pressures(part.ds.isel(latitude=[1], time=slice(2, 4)), None, LEVELS)
    assert dict(found.t850.sizes) == {"time": 2, "latitude": 1, "longitude": 8}
    assert found.t850.chunks is not None
    exact = to_pressure(air[["t", "sp"]].compute(), 850, coefficients=LEVELS).t.isel(latitude=[1], time=slice(2, 4))
    np.testing.assert_array_equal(found.t850, exact)


def test_heights_end_at_the_ground() -> None:
    air = columns(hours=1).rename(t="z")
    air["z"].attrs = {"units": "m2 s-2", "standard_name": "geopotential"}
    part = Columns.of(air, at_pressures(air, ["z@850"]), elsewhere=False)
    found = part.at_pressures(part.ds, None, LEVELS).z850
    lowest = LEVELS.pressure(air.sp.values, [LEVELS.n_levels])[..., 0]
    np.testing.assert_array_equal(found.isnull(), lowest < 85000)
    assert found.isnull().any()
    assert found.notnull().any()


@pytest.mark.parametrize(
    ("file", "variable", "settings", "kind", "message"),
    [
        ("without.nc", "t@850", {}, VariableError, "'t' lies on levels of the model .hybrid., and the input has no"),
        ("levels.nc", "t@5", {}, OptionError, "one has this number; wanted t@ml5 .* or t@5hPa for the pressure"),
        ("levels.nc", "t@ml55", {}, CoordinateError, "'t@ml55': there is no level 55; there are 1, 2"),
        ("levels.nc", "t", {}, CoordinateError, "'t' has 9 levels, 1, 2, .*; name one, as t@850"),
        ("levels.nc", "t@ml", {}, OptionError, "wanted a number after the @, as in t@850 .hPa., or t@ml96"),
        ("levels.nc", "2t", {"coefficients": "L137"}, OptionError, "no variable on levels of a model is asked for"),
        ("levels.nc", "t@850", {"coefficients": "L60"}, OptionError, "levels 'L60' came; known by name is 'L137'"),
        ("levels.nc", "t@850", {"coefficients": [1, 2, 3]}, OptionError, "coefficients came that are neither a pair"),
        ("without.nc", "t@850", {"surface_pressure": "without.nc"}, VariableError, "wanted sp or lnsp among them"),
        ("without.nc", "t@850", {"surface_pressure": "short.nc"}, CoordinateError, "surface_pressure has no 2020-"),
        ("without.nc", "t@850", {"surface_pressure": "none.nc"}, FileNotFoundError, "no such file"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(archives: Path, tmp_path: Path, file, variable, settings, kind, message) -> None:
    if "surface_pressure" in settings:
        settings = {"surface_pressure": archives / settings["surface_pressure"]}
    short = archives / "short.nc"
    if not short.exists():
        xr.open_dataset(archives / "levels.nc")[["sp"]].isel(time=slice(0, 12)).to_netcdf(short)
    with pytest.raises(kind, match=message) as caught:
        extract(archives / file, tmp_path / "x.zarr", variables=[variable], region=REGION, progress=False, **settings)
    assert "\n" not in str(caught.value)


def test_no_coefficients(tmp_path: Path) -> None:
    columns(hours=2)[["t", "sp"]].to_netcdf(tmp_path / "levels.nc")
    with pytest.raises(
        VariableError, match=r"no coefficients of 'hybrid' are in the input.*coefficients: L137 for ERA5"
    ):
        extract(tmp_path / "levels.nc", tmp_path / "x.zarr", variables=["t@850"], progress=False)


def test_levels_of_two_models() -> None:
    air = columns(hours=1)
    two = air[["t", "sp"]].assign(u=air.t.rename(hybrid="model_level").rename("u"))
    with pytest.raises(DimensionError, match="model levels along 'hybrid', 'model_level'; wanted one"):
        Columns.of(two, at_pressures(two, ["t@850", "u@850"]), elsewhere=False)
