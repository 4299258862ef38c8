"""Every entry of every catalog that comes with xatmo: addresses for all values, opened on stores of the same layout."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from xatmo import cli
from xatmo.catalog import Catalog, open_catalog, shipped_catalogs
from xatmo.errors import CatalogError, MissingDependencyError

ENTRIES = [(name, entry) for name in sorted(shipped_catalogs()) for entry in open_catalog(name).names]


def needed(catalog: Catalog, entry: str) -> dict[str, str]:
    return {n: "somewhere" for n, p in catalog.describe(entry)["parameters"].items() if p.default is None}


# ---------------------------------------------------------------------- addresses
@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_every_value_gives_an_address(name: str, entry: str) -> None:
    catalog = open_catalog(name)
    about = catalog.describe(entry)
    free = {n: p.allowed for n, p in about["parameters"].items() if p.allowed}
    for values in itertools.product(*free.values()):
        source = catalog.resolve(entry, **needed(catalog, entry), **dict(zip(free, values, strict=True)))
        assert not set("{} \n") & set(source.url), source.url
        assert "None" not in source.url
        assert source.driver in ("zarr", "netcdf", "opendap")
    assert about["access"] in ("anonymous", "requester pays", "account")


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_two_values_of_a_parameter_are_two_sources(name: str, entry: str) -> None:
    """Whatever a parameter changes, it changes what is opened: no value is silently the default."""
    catalog = open_catalog(name)
    base = needed(catalog, entry)
    for parameter, about in catalog.describe(entry)["parameters"].items():
        first = about.default or "somewhere"
        values = about.allowed or (first, first + ("more" if about.type == "str" else 1))
        sources = [catalog.resolve(entry, **{**base, parameter: value}) for value in values]
        told = [repr((s.url, s.arguments, s.valid_time)) for s in sources]
        assert len(set(told)) == len(values) > 1, parameter


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_values_that_are_not_allowed(name: str, entry: str) -> None:
    catalog = open_catalog(name)
    for parameter, about in catalog.describe(entry)["parameters"].items():
        wrong = -1 if about.type == "int" else "no such value"
        if about.allowed or about.minimum is not None:
            with pytest.raises(CatalogError, match=f"{parameter}="):
                catalog.resolve(entry, **{**needed(catalog, entry), parameter: wrong})


def test_months_end_on_their_last_day() -> None:
    resolve = open_catalog("era5").resolve
    for year, month in ((2019, 2), (2020, 2), (2000, 2), (2100, 2), (2021, 4), (2021, 12)):
        last = pd.Period(f"{year}-{month:02d}").days_in_month
        url = resolve("ncar_surface", year=year, month=month, variable="tcc").url
        stamp = f"{year}{month:02d}"
        assert url.endswith(f"e5.oper.an.sfc/{stamp}/e5.oper.an.sfc.128_164_tcc.ll025sc.{stamp}0100_{stamp}{last}23.nc")
    url = resolve("ncar_pressure_levels", variable="u", year=1941, month=6, day=9).url
    assert url == "s3://nsf-ncar-era5/e5.oper.an.pl/194106/e5.oper.an.pl.128_131_u.ll025uv.1941060900_1941060923.nc"
    halves = {
        (5, 1): "2020050106_2020051606", (5, 2): "2020051606_2020060106", (12, 2): "2020121606_2021010106",
    }  # fmt: skip
    for (month, half), period in halves.items():
        assert resolve("ncar_accumulations", year=2020, month=month, half=half).url.endswith(f"ll025sc.{period}.nc")


@pytest.mark.parametrize("name", sorted(shipped_catalogs()))
def test_the_command_prints_every_entry(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["catalog", name])
    assert not stopped.value.code
    printed = capsys.readouterr().out
    for entry in open_catalog(name).names:
        assert entry in printed


def test_https_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "aiohttp", None)
    with pytest.raises(MissingDependencyError, match="needs the package 'aiohttp'"):
        open_catalog("natl60").open("oceanbench")


# ---------------------------------------------------------------------- stores of the same layout
@pytest.fixture
def memory(tmp_path: Path):
    """Catalogs whose clouds are in memory, and the file system that holds them."""
    fs = fsspec.filesystem("memory")

    def of(name: str) -> Catalog:
        content = shipped_catalogs()[name].read_text()
        for cloud in ("gs://", "s3://", "https://s3."):
            content = content.replace(f"urlpath: {cloud}", "urlpath: memory://").replace(f"  {cloud}", "  memory://")
        entries = yaml.safe_load(content)
        for entry in entries["sources"].values():
            entry["args"].pop("storage_options", None)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(entries))
        return Catalog(tmp_path / f"{name}.yaml")

    yield of
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def fields(value: float, *, start: str = "2020-01-01", n: int = 3, name: str = "t") -> xr.Dataset:
    time = pd.date_range(start, periods=n)
    data = np.full((n, 2, 4), value, np.float32)
    return xr.Dataset(
        {name: (("time", "latitude", "longitude"), data, {"units": "K"})},
        {"time": time, "latitude": [1.0, 0.0], "longitude": [0.0, 1.0, 2.0, 3.0]},
    )


def netcdf(ds: xr.Dataset) -> bytes:
    file = io.BytesIO()
    ds.to_netcdf(file, engine="h5netcdf")
    return file.getvalue()


def test_ncar_files(memory) -> None:
    catalog = memory("era5")
    fs = fsspec.filesystem("memory")
    for value, variable in enumerate(("2t", "tcc")):
        path = catalog.resolve("ncar_surface", variable=variable, year=2020, month=2).url
        assert path.endswith("2020020100_2020022923.nc")
        fs.pipe(path, netcdf(fields(value, start="2020-02-01")))
    for value, variable in enumerate(("2t", "tcc")):
        ds = catalog.open("ncar_surface", variable=variable, year=2020, month=2)
        assert ds.t.chunks is not None
        assert float(ds.t.mean()) == value
    with pytest.raises(CatalogError, match="entry 'ncar_surface' cannot be opened at memory://nsf-ncar-era5"):
        catalog.open("ncar_surface", year=2021)


def test_oceanbench_files(memory) -> None:
    catalog = memory("natl60")
    for value, part in enumerate(("ssh", "nadir", "cryosat2")):
        fsspec.filesystem("memory").pipe(catalog.resolve("oceanbench", part=part).url, netcdf(fields(value)))
    assert [float(catalog.open("oceanbench", part=p).t.mean()) for p in ("ssh", "nadir", "cryosat2")] == [0, 1, 2]


@pytest.mark.parametrize("entry", ["arco_model_level_moisture", "arco_single_level_reanalysis"])
def test_arco_stores_on_rings(memory, entry: str) -> None:
    catalog = memory("era5")
    time = pd.date_range("2020-01-01", periods=6, freq="1D")
    ds = xr.Dataset({"q": (("time", "values"), np.ones((6, 9), np.float32))}, {"time": time})
    ds.attrs = {
        "valid_time_start": "2020-01-02",
        "valid_time_stop": "2020-01-03",
        "valid_time_stop_era5t": "2020-01-05",
    }
    ds.to_zarr(catalog.resolve(entry).url, zarr_format=2, consolidated=True)
    final, preliminary = (catalog.open(entry, until=u) for u in ("final", "preliminary"))
    assert final.q.chunks is None
    assert final.time.dt.day.values.tolist() == [2, 3]
    assert preliminary.time.dt.day.values.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "entry", "parameter", "values"),
    [
        ("llc4320", "surface", "variable", ("ssh", "sst")),
        ("duacs", "tracks_pangeo", "mission", ("c2", "j3")),
        ("natl60", "enatl60_ssh", "billing_project", ("mine",)),
    ],
)
def test_stores_that_requesters_pay_for(memory, name: str, entry: str, parameter: str, values) -> None:
    catalog = memory(name)
    for value, given in enumerate(values):
        options = {"billing_project": "mine", parameter: given}
        fields(value).chunk(time=1).to_zarr(catalog.resolve(entry, **options).url, zarr_format=2, consolidated=True)
    for value, given in enumerate(values):
        ds = catalog.open(entry, **{"billing_project": "mine", parameter: given})
        assert ds.t.chunksizes["time"] == (1, 1, 1)
        assert float(ds.t.mean()) == value
    with pytest.raises(CatalogError, match="needs billing_project="):
        catalog.open(entry)


@pytest.mark.parametrize(
    ("name", "entry", "file", "options"),
    [
        ("glorys", "daily", "mercator_{}.nc", {}),
        ("glorys", "monthly", "2020/0{}/mercator.nc", {"files": "*/*/*.nc"}),
        ("duacs", "maps", "dt_global_{}.nc", {}),
        ("era5", "cds_single_levels", "era5_{}.nc", {}),
        ("era5", "cds_pressure_levels_monthly", "era5_{}.nc", {"files": "era5_*.nc"}),
        ("natl60", "challenge_2023a", "maps/map_{}.nc", {"part": "maps"}),
    ],
)
def test_copies(tmp_path: Path, name: str, entry: str, file: str, options: dict[str, str]) -> None:
    for month in (1, 2):
        path = tmp_path / file.format(month)
        path.parent.mkdir(parents=True, exist_ok=True)
        fields(month, start=f"2020-0{month}-01").to_netcdf(path)
    ds = open_catalog(name).open(entry, path=tmp_path, **options)
    assert ds.t.chunks is not None
    assert ds.t.mean(["latitude", "longitude"]).values.tolist() == [1, 1, 1, 2, 2, 2]


def test_copies_in_grib(tmp_path: Path) -> None:
    pytest.importorskip("eccodes")
    from xatmo import datasets

    weather = datasets.diurnal_temperature("2020-01-01", periods=1, nlat=4, nlon=5)[["t850"]]
    datasets.write_ambs_tree(weather, tmp_path)
    ds = open_catalog("era5").open("cds_complete", path=tmp_path, files="2020/01/*_ml.grb")
    np.testing.assert_allclose(ds.t, weather.t850[0], atol=1e-3)
