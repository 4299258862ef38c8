"""Trees of hourly GRIB files: exact round trips, regions in any convention, and files that are broken."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xatmo.datasets import diurnal_temperature, open_ambs_tree, write_ambs_tree
from xatmo.errors import (
    CatalogError,
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)

eccodes = pytest.importorskip("eccodes")


@pytest.fixture(scope="module")
def weather() -> xr.Dataset:
    """Thirty hours across the end of February, of a year that has a 29th."""
    return diurnal_temperature("2020-02-28T20", periods=30, nlat=10, nlon=14, south_west=(49.5, -2.1))


@pytest.fixture(scope="module")
def written(weather: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    write_ambs_tree(weather, folder)
    return folder


@pytest.fixture
def tree(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may harm."""
    return Path(shutil.copytree(written, tmp_path / "tree"))


def precision(da: xr.DataArray, bits: int = 16) -> float:
    """Half a step of simple packing, 2^E no less than range / (2^bits - 1), and the rounding of float32."""
    range_ = float((da.max(["latitude", "longitude"]) - da.min(["latitude", "longitude"])).max())
    return float(0.5 * 2 ** np.ceil(np.log2(range_ / (2**bits - 1))) + np.spacing(np.float32(abs(da).max())))


# ---------------------------------------------------------------------- round trip
def test_round_trip(weather: xr.Dataset, written: Path, no_compute) -> None:
    names = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
    assert len(names) == 60
    assert names[:2] == ["2020/02/2020022820_ml.grb", "2020/02/2020022820_sf.grb"]
    assert names[-1] == "2020/03/2020030101_sf.grb"
    with no_compute():
        ds = open_ambs_tree(written, chunks=12)
    assert set(ds) == {"t2m", "tcc", "t850"}
    assert ds.t2m.chunksizes["time"] == (12, 12, 6)
    for name in ("time", "latitude", "longitude"):
        np.testing.assert_array_equal(ds[name], weather[name])
    for name, da in ds.data_vars.items():
        assert da.dtype == np.float32
        assert {k: da.attrs[k] for k in ("units", "standard_name")} == {
            k: weather[name].attrs[k] for k in ("units", "standard_name")
        }
        np.testing.assert_allclose(da.values, weather[name].values, rtol=0, atol=precision(weather[name]))
    assert ds.t850.attrs["pressure_level"] == "850 hPa"


def test_bits(weather: xr.Dataset, tmp_path: Path) -> None:
    one = weather.isel(time=[0])
    for bits in (8, 16):
        write_ambs_tree(one, tmp_path, bits=bits)
        got = open_ambs_tree(tmp_path).t850.values
        error = np.abs(got - one.t850.values).max()
        assert precision(one.t850, bits) / 8 < error <= precision(one.t850, bits)


def test_cfgrib_reads_the_same(written: Path) -> None:
    path = written / "2020/02/2020022900_ml.grb"
    theirs = xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""})
    ours = open_ambs_tree(written, variables=["t850"]).t850.sel(time="2020-02-29T00")
    np.testing.assert_array_equal(theirs.t, ours)
    assert float(theirs.isobaricInhPa) == 850
    assert theirs.valid_time.values == np.datetime64("2020-02-29T00")


def test_rows_from_the_south(weather: xr.Dataset, tmp_path: Path) -> None:
    turned = weather.isel(time=[0], latitude=slice(None, None, -1))
    write_ambs_tree(turned, tmp_path)
    ds = open_ambs_tree(tmp_path)
    np.testing.assert_array_equal(ds.latitude, turned.latitude)
    np.testing.assert_allclose(ds.t850, turned.t850, atol=precision(turned.t850))


def open_files() -> list[str]:
    """Names of what this process has open, where the system tells."""
    folder, found = Path("/proc/self/fd"), []
    for number in os.listdir(folder) if folder.exists() else []:
        with suppress(OSError):  # closed meanwhile, by another thread
            found.append(os.readlink(folder / number))
    return found


def test_no_file_stays_open(written: Path) -> None:
    ds = open_ambs_tree(written).load()
    assert ds.sizes["time"] == 30
    assert not [name for name in open_files() if name.startswith(str(written))]
    assert not [path for path in written.rglob("*") if path.is_file() and path.suffix != ".grb"]


# ---------------------------------------------------------------------- selections
@pytest.mark.parametrize("latitude", [(50.1, 51.3), (51.3, 50.1)])
@pytest.mark.parametrize("longitude", [(-1.2, 0.9), (358.8, 360.9)])
def test_box_across_the_seam(weather: xr.Dataset, written: Path, latitude, longitude) -> None:
    """The answer has the convention of the question, whatever that of the files."""
    ds = open_ambs_tree(written, region={"latitude": latitude, "longitude": longitude}, variables=["t850"])
    wanted = weather.t850.sel(latitude=slice(51.3, 50.1), longitude=slice(-1.2, 0.9))
    np.testing.assert_allclose(ds.longitude, wanted.longitude + (360 if longitude[0] > 0 else 0), atol=1e-9)
    np.testing.assert_array_equal(ds.latitude, wanted.latitude)
    np.testing.assert_allclose(ds.t850, wanted, atol=precision(weather.t850))


def test_nearest_points(weather: xr.Dataset, written: Path) -> None:
    point = open_ambs_tree(written, region={"latitude": 50.0, "longitude": 359.5}, variables=["2t"])
    assert point.t2m.dims == ("time",)
    assert (float(point.latitude), float(point.longitude)) == (pytest.approx(50.1), pytest.approx(359.4))
    np.testing.assert_allclose(point.t2m, weather.t2m.sel(latitude=50.1, longitude=-0.6, method="nearest"), atol=2e-3)
    coarse = open_ambs_tree(written, region={"latitude": [52.2, 51.6, 51.0], "longitude": np.arange(-2.1, 1, 0.6)})
    wanted = weather.sel(latitude=[52.2, 51.6, 51.0], longitude=coarse.longitude, method="nearest")
    np.testing.assert_allclose(coarse.t850, wanted.t850, atol=2e-3)
    np.testing.assert_allclose(coarse.longitude, np.arange(-2.1, 1, 0.6), atol=1e-9)


def test_whole_globe_from_any_meridian(tmp_path: Path) -> None:
    globe = diurnal_temperature("2020-01-01", periods=1, nlat=5, nlon=36, spacing=10.0, south_west=(30.0, 0.0))
    write_ambs_tree(globe, tmp_path)
    from_west = open_ambs_tree(tmp_path, region={"longitude": (-180, 180)})
    assert from_west.sizes["longitude"] == 36
    np.testing.assert_allclose(from_west.longitude, np.arange(-180, 180, 10))
    np.testing.assert_array_equal(from_west.t2m.roll(longitude=18).values, open_ambs_tree(tmp_path).t2m.values)


def test_variables_in_the_order_asked_for(written: Path) -> None:
    ds = open_ambs_tree(written, variables=("t850", "tcc", "2t"))
    assert list(ds) == ["t850", "tcc", "t2m"]
    assert list(open_ambs_tree(written, variables=["t_850"])) == ["t850"]


# ---------------------------------------------------------------------- hours that are missing
def test_missing_hours(tree: Path, weather: xr.Dataset) -> None:
    for stamp in ("02/2020022903", "02/2020022904"):
        (tree / f"2020/{stamp}_sf.grb").unlink()
    told = r"2020-02 lacks 2 of 28 _sf files \(2020-02-29T03, 2020-02-29T04\)"
    with pytest.raises(CatalogError, match=told):
        open_ambs_tree(tree)
    skipped = open_ambs_tree(tree, missing="skip")
    assert skipped.sizes["time"] == 28
    assert "lacks 2 of 28" in skipped.attrs["missing_hours"]
    assert np.diff(skipped.time).max() == np.timedelta64(3, "h")
    filled = open_ambs_tree(tree, missing="nan").compute()
    assert filled.t2m.isnull().all(["latitude", "longitude"]).sum() == 2
    assert not filled.t850.isnull().any()
    np.testing.assert_allclose(filled.t2m.dropna("time"), weather.t2m.sel(time=skipped.time), atol=2e-3)
    assert open_ambs_tree(tree, variables=["t850"]).sizes["time"] == 30  # the others are all there


def test_incomplete_months(written: Path) -> None:
    with pytest.raises(CatalogError, match=r"2020-02 lacks 668 of 696 _sf files \(2020-02-01T00, .*, \.\.\.\)"):
        open_ambs_tree(written, years=2020, months=2)
    with pytest.raises(CatalogError, match="2020-04 has no _sf file"):
        open_ambs_tree(written, years=2020, months=[3, 4])
    march = open_ambs_tree(written, years=[2020], months=[3], missing="skip")
    assert march.time.dt.month.values.tolist() == [3, 3]


def test_corrupt_files_are_named(tree: Path) -> None:
    broken = tree / "2020/02/2020022905_sf.grb"
    broken.write_bytes(broken.read_bytes()[:-30])
    ds = open_ambs_tree(tree, chunks=6)
    assert ds.t2m.isel(time=0).load().notnull().all()  # other chunks do not read it
    with pytest.raises(CatalogError, match="2020022905_sf.grb is corrupt after 1 good messages"):
        ds.t2m.load()
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(CatalogError, match="2020022905_sf.grb holds no GRIB message"):
        open_ambs_tree(tree).t2m.load()
    broken.write_bytes(b"")
    with pytest.raises(CatalogError, match="2020022905_sf.grb is empty"):
        open_ambs_tree(tree)


def test_files_in_the_wrong_place(tree: Path) -> None:
    february = tree / "2020/02"
    shutil.copy(february / "2020022905_sf.grb", february / "2020022906_sf.grb")
    with pytest.raises(
        CatalogError, match="2020022906_sf.grb: t2m is of 2020-02-29T05:00; wanted the time in the name"
    ):
        open_ambs_tree(tree).t2m.load()
    (february / "2020022905_sf.grb").rename(tree / "2020/03/2020022905_sf.grb")
    with pytest.raises(CatalogError, match="lies in the folder of another month"):
        open_ambs_tree(tree)


def test_other_grids_and_fields(tree: Path, weather: xr.Dataset, tmp_path: Path) -> None:
    shifted = weather.isel(time=[5]).assign_coords(longitude=weather.longitude + 0.3)
    write_ambs_tree(shifted, tmp_path / "other")
    name = "2020/02/2020022901"
    shutil.copy(tmp_path / "other" / f"{name}_sf.grb", tree / f"{name}_sf.grb")
    with pytest.raises(GridError, match="2020022901_sf.grb: t2m lies on another grid"):
        open_ambs_tree(tree).t2m.load()
    write_ambs_tree(weather[["tcc"]].isel(time=[5]), tree)
    with pytest.raises(VariableError, match="2020022901_sf.grb lacks t2m"):
        open_ambs_tree(tree).t2m.load()
    write_ambs_tree(shifted[["t850"]].assign_coords(time=weather.time[[0]]), tree)
    with pytest.raises(GridError, match="_sf and _ml files lie on two grids"):
        open_ambs_tree(tree)


# ---------------------------------------------------------------------- what cannot be
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"missing": "ignore"}, OptionError, "missing='ignore' came; wanted 'raise', 'skip' or 'nan'"),
        ({"chunks": 0}, OptionError, "chunks=0 came"),
        ({"years": 2020, "months": 13}, OptionError, "months=13 came; wanted numbers from 1 to 12"),
        ({"months": 2}, OptionError, "months=2 came without years"),
        ({"years": []}, OptionError, r"years=\[\] came"),
        ({"years": 2019}, CatalogError, "no file of 2019-01 to 2019-12 under"),
        ({"variables": []}, OptionError, r"variables=\[\] came"),
        ({"variables": ["sst"]}, VariableError, r"'sst' is in no file of .*; wanted one of t2m, tcc, t850"),
        ({"region": {"lat": 50.0}}, OptionError, r"region with \['lat'\] came"),
        (
            {"region": {"latitude": 60.0}},
            CoordinateError,
            "latitude 60.0 came; the files' points run from 49.5 to 52.2",
        ),
        ({"region": {"longitude": (20, 30)}}, CoordinateError, r"longitude \[20.0, 30.0\] came"),
    ],
)
def test_wrong_options(written: Path, options, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        open_ambs_tree(written, **options)


def test_no_tree(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no folder at"):
        open_ambs_tree(tmp_path / "nothing")
    with pytest.raises(CatalogError, match=r"no file under .*; wanted YEAR/MONTH"):
        open_ambs_tree(tmp_path)


def test_no_hour_in_common(tree: Path) -> None:
    for path in (tree / "2020/02").glob("*_sf.grb"):
        path.unlink()
    for path in (tree / "2020/03").glob("*_ml.grb"):
        path.unlink()
    with pytest.raises(CatalogError, match="no hour has files of all kinds"):
        open_ambs_tree(tree, missing="skip")


def test_fields_on_other_points(tree: Path) -> None:
    for path in (tree / "2020").rglob("*_ml.grb"):
        handle = eccodes.codes_grib_new_from_samples("reduced_gg_ml_grib1")
        path.write_bytes(eccodes.codes_get_message(handle))
        eccodes.codes_release(handle)
    with pytest.raises(VariableError, match="holds no field on rows and columns of .*, but t on hybrid"):
        open_ambs_tree(tree)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda ds: ds[["lsm", "z"]].assign_coords(time=ds.time), VariableError, "none with 'time'"),
        (lambda ds: ds.rename(t2m="t2max"), VariableError, "'t2max' is no field that can be written"),
        (lambda ds: ds.assign(t2m=ds.t2m.assign_attrs(units="degC")), UnitsError, "'t2m' has units 'degC'; wanted 'K'"),
        (lambda ds: ds.assign(t2m=ds.t2m.expand_dims(number=2)), DimensionError, "'t2m' has dimensions"),
        (
            lambda ds: ds.assign(t2m=ds.t2m.where(ds.lsm > 0.5)),
            MissingValueError,
            "'t2m' holds NaN or infinity at 2020",
        ),
        (
            lambda ds: ds.isel(latitude=[0, 1, 3]),
            CoordinateError,
            "latitude .* came; wanted two or more, evenly spaced",
        ),
        (lambda ds: ds.assign_coords(longitude=ds.longitude + 1e-4), CoordinateError, "thousandths of a degree"),
        (lambda ds: ds.assign_coords(time=ds.time + np.timedelta64(5, "m")), CoordinateError, "wanted whole hours"),
    ],
)
def test_what_cannot_bewritten(weather: xr.Dataset, tmp_path: Path, change, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        write_ambs_tree(change(weather.isel(time=[0])), tmp_path)


def test_bits_out_of_range(weather: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="bits=0 came; wanted 1 to 24"):
        write_ambs_tree(weather, tmp_path, bits=0)
