"""Trees of GRIB files on levels of a model: written with coefficients, read at pressures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from model_levels import LEVELS, columns

from xatmo.datasets import open_ambs_tree, write_ambs_tree
from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.vertical import to_pressure

eccodes = pytest.importorskip("eccodes")


@pytest.fixture(scope="module")
def air() -> xr.Dataset:
    ds = columns(hours=4)
    t2m = ds.t_surface.assign_attrs(units="K", standard_name="air_temperature")
    return ds[["t", "sp"]].assign(t2m=t2m, u=(0.1 * ds.t).assign_attrs(units="m s-1", standard_name="eastward_wind"))


@pytest.fixture(scope="module")
def tree(air: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    write_ambs_tree(air, folder, bits=24, coefficients=LEVELS)
    return folder


def test_temperature_at_a_pressure(air: xr.Dataset, tree: Path, no_compute) -> None:
    with no_compute():
        ds = open_ambs_tree(tree, variables=["2t", "t850", "u700", "t500"], chunks=3)
    assert list(ds) == ["t2m", "t850", "u700", "t500"]
    exact = to_pressure(air, [850, 700, 500], coefficients=LEVELS)
    for name, field in (("t850", exact.t), ("u700", exact.u), ("t500", exact.t)):
        wanted = field.sel(pressure_level=float(name[1:]))
        # Coefficients are in float32 (of GRIB), fields in steps of 2^-24 of their range.
        np.testing.assert_allclose(ds[name], wanted, rtol=2e-6, err_msg=name)
    assert ds.t850.dtype == np.float32
    assert ds.t850.attrs["pressure_level"] == "850 hPa"
    assert (ds.t850.attrs["units"], ds.t850.attrs["standard_name"]) == ("K", "air_temperature")
    assert ds.t850.chunks[0] == (3, 1)
    high = air.sp < 8e4
    assert bool(high.any())
    assert float((ds.t850 - air.t.isel(hybrid=-1)).where(high).min()) > 1  # below the ground it is warmer


def test_only_levels_that_can_matter_are_read(air: xr.Dataset, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo.datasets import _grib_levels

    asked = []

    def spy(path, wanted, *args):
        asked.append([w.name for w in wanted])
        return original(path, wanted, *args)

    original = _grib_levels.read
    monkeypatch.setattr(_grib_levels, "read", spy)
    open_ambs_tree(tree, variables=["t850"]).isel(time=[0]).load()
    assert asked[0] == [f"t@{k}" for k in (6, 7, 8, 9)]
    assert asked[1] == ["sp"]


def test_a_region_and_a_missing_hour(air: xr.Dataset, tree: Path, tmp_path: Path) -> None:
    region = {"latitude": [49.6, 50.4], "longitude": [-1.8, -0.9]}
    ds = open_ambs_tree(tree, variables=["t850"], region=region)
    whole = open_ambs_tree(tree, variables=["t850"])
    xr.testing.assert_equal(ds.t850, whole.t850.sel(latitude=slice(50.4, 49.6), longitude=slice(-1.85, -0.85)))
    write_ambs_tree(air, tmp_path, coefficients=LEVELS)
    (tmp_path / "2020/02/2020022823_sf.grb").unlink()  # its surface pressure is needed
    gappy = open_ambs_tree(tmp_path, variables=["t850"], missing="skip")
    assert gappy.time.dt.hour.values.tolist() == [22, 0, 1]


def test_the_logarithm_of_surface_pressure(air: xr.Dataset, tree: Path, tmp_path: Path) -> None:
    log = np.log(air.sp).assign_attrs(units="1")
    write_ambs_tree(air[["t"]].assign(lnsp=log), tmp_path, bits=24, coefficients=LEVELS)
    assert not list(tmp_path.rglob("*_sf.grb"))
    found = open_ambs_tree(tmp_path, variables=["t850"]).t850
    np.testing.assert_allclose(found, open_ambs_tree(tree, variables=["t850"]).t850, rtol=1e-6)


def test_edition_2(air: xr.Dataset, tree: Path, tmp_path: Path) -> None:
    write_ambs_tree(air[["t", "sp"]].isel(time=[0]), tmp_path, bits=24, coefficients=LEVELS)
    for path in tmp_path.rglob("*.grb"):
        converted = b""
        with path.open("rb") as file:
            while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
                eccodes.codes_set(handle, "edition", 2)
                converted += eccodes.codes_get_message(handle)
                eccodes.codes_release(handle)
        path.write_bytes(converted)
    found = open_ambs_tree(tmp_path, variables=["t850"]).t850
    np.testing.assert_allclose(found, open_ambs_tree(tree, variables=["t850"]).t850.isel(time=[0]), rtol=1e-6)


def test_levels_as_a_request_would_choose_them(air: xr.Dataset, tree: Path, tmp_path: Path) -> None:
    """Low ground, and the levels around 850 hPa alone; with others, a clear refusal."""
    low = air[["t", "sp"]].isel(longitude=slice(1, -1))
    write_ambs_tree(low.sel(hybrid=[8, 6, 7]), tmp_path / "some", bits=24, coefficients=LEVELS)
    found = open_ambs_tree(tmp_path / "some", variables=["t850"]).t850
    whole = open_ambs_tree(tree, variables=["t850"]).t850.sel(longitude=found.longitude)
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    write_ambs_tree(low.sel(hybrid=[3, 4, 5]), tmp_path / "others", coefficients=LEVELS)
    with pytest.raises(CoordinateError, match=r"_ml.grb: t850: 850 hPa lies outside the levels in 36 of 36 columns"):
        open_ambs_tree(tmp_path / "others", variables=["t850"]).load()


def test_fields_on_levels_are_named(tree: Path) -> None:
    assert set(open_ambs_tree(tree)) == {"t2m", "sp"}
    with pytest.raises(VariableError, match=r"'q850' is in no file of .*; wanted one of .*t at any pressure, as t850"):
        open_ambs_tree(tree, variables=["q850"])
    with pytest.raises(VariableError, match=r"'t' is in no file of .*; wanted one of .*t at any pressure, as t850"):
        open_ambs_tree(tree, variables=["t"])


def test_without_surface_pressure(air: xr.Dataset, tmp_path: Path) -> None:
    write_ambs_tree(air[["t"]], tmp_path, coefficients=LEVELS)
    with pytest.raises(VariableError, match="t on hybrid levels alone; name what is wanted, such as 't850'"):
        open_ambs_tree(tmp_path)
    with pytest.raises(VariableError, match="no file a surface pressure; wanted sp in _sf or lnsp in _ml files"):
        open_ambs_tree(tmp_path, variables=["t850"])


def test_without_coefficients(tmp_path: Path) -> None:
    path = tmp_path / "2020/02/2020022822_ml.grb"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for short, level in (("t", 1), ("t", 2), ("lnsp", 1)):
            handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib1")
            keys = {"typeOfLevel": "hybrid", "level": level, "shortName": short, "dataDate": 20200228, "dataTime": 2200}
            for key, value in keys.items():
                eccodes.codes_set(handle, key, value)
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)
    with pytest.raises(VariableError, match=r"has hybrid levels without coefficients \(pv\); wanted them"):
        open_ambs_tree(tmp_path, variables=["t850"])


def test_one_level_is_too_few(air: xr.Dataset, tmp_path: Path) -> None:
    write_ambs_tree(air[["t", "sp"]].sel(hybrid=[7]), tmp_path, coefficients=LEVELS)
    with pytest.raises(VariableError, match="has t on hybrid level 7 alone; wanted two levels or more around"):
        open_ambs_tree(tmp_path, variables=["t850"])


def test_what_cannot_be_written(air: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'t' is of a model's levels; wanted coefficients="):
        write_ambs_tree(air, tmp_path)
    with pytest.raises(CoordinateError, match="levels 101 to 109 came; wanted whole numbers from 1"):
        write_ambs_tree(air.assign_coords(hybrid=air.hybrid + 100), tmp_path, coefficients=LEVELS)
    with pytest.raises(DimensionError, match="'hybrid' for levels of a model"):
        write_ambs_tree(air.rename(hybrid="level"), tmp_path, coefficients=LEVELS)
