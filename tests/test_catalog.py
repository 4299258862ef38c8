"""Catalogs: parameters are checked and give the data asked for, access is told before anything is tried."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo.catalog import Catalog, open_catalog, shipped_catalogs
from xatmo.errors import CatalogError, MissingDependencyError

YAML = """
metadata: {version: 1, description: local stores}
sources:
  years:
    description: one store a year
    driver: zarr
    parameters:
      year: {description: the year, type: int, default: 2018, allowed: [2018, 2019]}
      level: {description: pressure, type: float, default: 500, min: 1, max: 1000}
      daily: {description: daily means, type: bool, default: true}
    args: {urlpath: "{{ CATALOG_DIR }}/era5_{{ year }}.zarr", consolidated: true}
    metadata: {access: anonymous, licence: CC0, size: 1 kB, chunks: by day}
  files:
    description: one file a year
    driver: netcdf
    parameters:
      path: {description: the folder with the files, type: str}
    args: {urlpath: "{{ path }}/year_*.nc", engine: netcdf4, combine: by_coords, chunks: {}}
  reserved:
    driver: zarr
    parameters:
      until: {description: last times, type: str, default: final, allowed: [final, preliminary]}
    args: {urlpath: "{{ CATALOG_DIR }}/reserved.zarr", chunks: null}
    metadata:
      valid_time: {start: valid_time_start, stop: "{{ 'stop' if until == 'final' else 'stop_preliminary' }}"}
  gone:
    driver: zarr
    args: {urlpath: "{{ CATALOG_DIR }}/nothing.zarr"}
  cloud:
    driver: zarr
    args: {urlpath: "gs://bucket/store.zarr", storage_options: {token: anon}}
  paid:
    driver: zarr
    parameters:
      billing_project: {description: the project that pays, type: str}
    args: {urlpath: "gs://bucket/store.zarr", storage_options: {requester_pays: "{{ billing_project }}"}}
    metadata: {access: requester pays}
  closed:
    driver: opendap
    args: {urlpath: "https://data.example.org/dodsC/store", engine: netcdf4}
    metadata: {access: account, account: {host: data.example.org, register: https://example.org/join}}
  odd_driver: {driver: abacus, args: {urlpath: x}}
  odd_access: {driver: zarr, args: {urlpath: x}, metadata: {access: by post}}
  odd_type: {driver: zarr, args: {urlpath: x}, parameters: {p: {description: some, type: list}}}
  odd_template: {driver: zarr, args: {urlpath: "{{ nowhere }}/x.zarr"}}
"""


def field(year: int, days: int = 3) -> xr.Dataset:
    time = pd.date_range(f"{year}-01-01", periods=days)
    return xr.Dataset({"t2m": (("time", "latitude"), np.full((days, 2), float(year)), {"units": "K"})}, {"time": time})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "local.yaml").write_text(YAML)
    for year in (2018, 2019):
        field(year).chunk(time=1).to_zarr(folder / f"era5_{year}.zarr", zarr_format=2, consolidated=True)
        field(year).to_netcdf(folder / f"year_{year}.nc")
    attrs = {"valid_time_start": "2020-01-02", "stop": "2020-01-03", "stop_preliminary": "2020-01-05T00:00"}
    field(2020, 9).assign_attrs(attrs).to_zarr(folder / "reserved.zarr", zarr_format=2, consolidated=True)
    return folder


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    return open_catalog(folder / "local.yaml")


# ---------------------------------------------------------------------- opening
def test_two_parameters_give_two_datasets(catalog: Catalog) -> None:
    one, other = catalog.open("years", year=2018), catalog.open("years", year="2019")
    assert float(one.t2m.mean()) == 2018
    assert float(other.t2m.mean()) == 2019
    xr.testing.assert_identical(catalog.open("years").t2m, one.t2m)


def test_opening_is_lazy_and_says_what_it_did(catalog: Catalog, no_compute) -> None:
    with no_compute():
        ds = catalog.open("years", year=2019)
    assert ds.t2m.chunksizes["time"] == (1, 1, 1)
    assert "open_catalog(name='local', entry='years', year=2019)" in ds.attrs["history"]
    assert catalog.open("years", chunks={"time": 3}).t2m.chunksizes["time"] == (3,)
    assert catalog.open("years", chunks=None).t2m.chunks is None


def test_netcdf_files_join(catalog: Catalog, folder: Path) -> None:
    ds = catalog.open("files", path=folder)
    assert ds.sizes["time"] == 6
    assert ds.t2m.chunks is not None


def test_only_times_with_data(catalog: Catalog) -> None:
    assert catalog.open("reserved").time.dt.day.values.tolist() == [2, 3]
    assert catalog.open("reserved", until="preliminary").time.dt.day.values.tolist() == [2, 3, 4, 5]


def test_valid_time_without_its_attributes(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "local.yaml").write_text(YAML)
    field(2020).to_zarr(tmp_path / "reserved.zarr", zarr_format=2, consolidated=True)
    with pytest.raises(CatalogError, match="no attribute 'valid_time_start'"):
        open_catalog(tmp_path / "local.yaml").open("reserved")


def test_intake_reads_the_same_file(folder: Path) -> None:
    import intake

    source = intake.open_catalog(str(folder / "local.yaml"))._entries["years"].get(year=2019)
    assert float(source.to_dask().t2m.mean()) == 2019


# ---------------------------------------------------------------------- parameters
@pytest.mark.parametrize(
    ("entry", "parameters", "message"),
    [
        ("nothing", {}, r"no entry 'nothing' in the catalog 'local'; it has \['years', 'files'"),
        ("years", {"yaer": 2018}, r"has no parameter 'yaer'; it has \['daily', 'level', 'year'\]"),
        ("gone", {"year": 2018}, "has no parameter 'year'; it has none"),
        ("years", {"year": 2017}, "year=2017 came; wanted one of 2018, 2019"),
        ("years", {"year": "last"}, "year='last' came; wanted one of 2018, 2019"),
        ("years", {"year": 2018.5}, "year=2018.5 came"),
        ("years", {"year": True}, "year=True came"),
        ("years", {"level": 0}, "level=0 came; wanted float at least 1 and at most 1000"),
        ("years", {"level": 2000}, "level=2000 came"),
        ("years", {"daily": "often"}, "daily='often' came; wanted bool"),
        ("years", {"daily": 1}, "daily=1 came"),
        ("files", {"path": 3}, "path=3 came; wanted str"),
        ("files", {}, r"needs path=, the folder with the files; call open\('files', path=...\)"),
        ("gone", {}, "cannot be opened at .*nothing.zarr"),
        ("odd_driver", {}, "driver 'abacus', which Intake does not know"),
        ("odd_access", {}, "access 'by post'; wanted one of anonymous"),
        ("odd_type", {}, "type 'list'; wanted str, int, float or bool"),
        ("odd_template", {}, "cannot be filled in: 'nowhere' is undefined"),
    ],
)
def test_what_cannot_be(catalog: Catalog, entry: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(CatalogError, match=message) as caught:
        catalog.open(entry, **parameters)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_types_are_given_without_loss(catalog: Catalog) -> None:
    year = catalog.describe("years")["parameters"]["year"]
    assert year.check(np.int64(2018), entry="years") == 2018
    assert year.check(2018.0, entry="years") == 2018
    daily = catalog.describe("years")["parameters"]["daily"]
    assert daily.check("false", entry="years") is False
    assert daily.possible == "bool"


# ---------------------------------------------------------------------- access
@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("something was opened")

    monkeypatch.setattr("xatmo.catalog._open", refuse)


@pytest.mark.usefixtures("no_network")
def test_requester_pays_says_so_first(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"needs billing_project=, the project that pays: .*\(requester pays\)"):
        catalog.open("paid")
    assert catalog.resolve("paid", billing_project="mine").arguments["storage_options"] == {"requester_pays": "mine"}


@pytest.mark.usefixtures("no_network")
def test_account_is_looked_for_first(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wanted = "needs an account at data.example.org, .* register at https://example.org/join"
    with pytest.raises(CatalogError, match=wanted):
        catalog.open("closed")
    (tmp_path / "netrc").write_text("machine elsewhere.org login me password word\n")
    with pytest.raises(CatalogError, match=wanted):
        catalog.open("closed")


def test_account_that_is_there_lets_pass(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine data.example.org login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("xatmo.catalog._open", lambda entry, source, arguments: field(2018))
    assert "t2m" in catalog.open("closed")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "entry", "package"), [("era5", "arco", "gcsfs"), ("natl60", "enatl60", "s3fs")])
def test_missing_cloud_package(name: str, entry: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"needs the package '{package}'.*pip install 'xatmo\[cloud\]'"):
        open_catalog(name).open(entry)


# ---------------------------------------------------------------------- the catalogs that come with xatmo
@pytest.mark.parametrize("name", sorted(shipped_catalogs()))
def test_shipped_entries_are_complete(name: str) -> None:
    catalog = xatmo.open_catalog(name)
    assert catalog.description
    for entry in catalog.names:
        about = catalog.describe(entry)
        assert all(about[key] != "not stated" for key in ("licence", "chunks")), entry
        assert about["description"], entry
        assert about["size"], entry
        needed = {n: "somewhere" for n, p in about["parameters"].items() if p.default is None}
        assert all(p.description for p in about["parameters"].values()), entry
        source = catalog.resolve(entry, **needed)
        assert "{" not in source.url, entry
        assert " " not in source.url, entry
        assert about["access"] != "requester pays" or needed, entry


@pytest.mark.parametrize("name", sorted(shipped_catalogs()))
def test_intake_accepts_the_shipped_files(name: str) -> None:
    import intake

    assert list(intake.open_catalog(str(shipped_catalogs()[name]))) == open_catalog(name).names


def test_valid_times_beside_analysis_times(tmp_path: Path) -> None:
    """Stores made with cfgrib index by the analysis time; the valid time is a second coordinate of that dimension."""
    ds = field(2020, 9)
    times = ds.indexes["time"]
    ds = ds.assign_coords(
        time=("time", times, {"standard_name": "forecast_reference_time"}),
        valid_time=("time", times, {"standard_name": "time"}),
    )
    bounds = {"valid_time_start": "2020-01-02", "stop": "2020-01-03"}
    ds.assign_attrs(bounds).to_zarr(tmp_path / "reserved.zarr", zarr_format=2, consolidated=True)
    (tmp_path / "local.yaml").write_text(YAML)
    out = open_catalog(tmp_path / "local.yaml").open("reserved")
    assert list(out.indexes["time"]) == list(times[1:3])


def test_spectral_stores_of_era5() -> None:
    catalog = open_catalog("era5")
    bucket = "gs://gcp-public-data-arco-era5/co"
    assert catalog.resolve("arco_model_level_wind").url == f"{bucket}/model-level-wind.zarr-v2"
    surface = catalog.resolve("arco_single_level_surface", until="preliminary")
    assert surface.url == f"{bucket}/single-level-surface.zarr-v2"
    assert surface.valid_time == {"start": "valid_time_start", "stop": "valid_time_stop_era5t"}


def test_each_resolution_is_another_store() -> None:
    catalog = open_catalog("era5")
    allowed = catalog.describe("weatherbench2")["parameters"]["resolution"].allowed
    urls = {catalog.resolve("weatherbench2", resolution=r).url for r in allowed}
    assert len(urls) == 3
    assert "gs://weatherbench2/datasets/era5/1959-2023_01_10-6h-64x32_equiangular_conservative.zarr" in urls
    bounds = catalog.resolve("arco", until="preliminary").valid_time
    assert bounds == {"start": "valid_time_start", "stop": "valid_time_stop_era5t"}
    assert catalog.resolve("arco").arguments["chunks"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no catalog '.*bad.yaml'; wanted duacs, era5, glorys, llc4320, natl60, seas5 or the path"),
        ("sources: [", "cannot be read"),
        ("a: 1", "has no 'sources'"),
        ("sources: {x: {driver: zarr}}", "entry 'x' of .* lacks 'driver' or 'args: urlpath'"),
    ],
)
def test_files_that_are_no_catalogs(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(CatalogError, match=message):
        open_catalog(tmp_path / "bad.yaml")


def test_catalogs_beside_or_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel carries them inside, a clone beside; neither is a broken installation."""
    for inside in (True, False):
        root = tmp_path / str(inside)
        there = root / "xatmo" / "catalogs" if inside else root / "catalogs"
        there.mkdir(parents=True)
        (there / "era5.yaml").write_text("sources: {}")
        monkeypatch.setattr("xatmo.catalog.__file__", str(root / "xatmo" / "catalog.py"))
        assert shipped_catalogs() == {"era5": there / "era5.yaml"}
    monkeypatch.setattr("xatmo.catalog.__file__", str(tmp_path / "lost" / "catalog.py"))
    with pytest.raises(CatalogError, match="install xatmo again"):
        shipped_catalogs()


def test_repr_names_the_entries(catalog: Catalog) -> None:
    assert repr(catalog).startswith("<Catalog local: years, files")
