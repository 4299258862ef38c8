from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.datasets import open_atmodist
from xatmo.errors import DimensionError, MissingDependencyError, OptionError

h5py = pytest.importorskip("h5py")
hdf5plugin = pytest.importorskip("hdf5plugin")

ROWS = 8
YEARS = {1979: 12, 1980: 20, 1982: 16}  # fields in each file


def values(year: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(year)
    return (1e-5 * rng.normal(size=(2, count, ROWS, 2 * ROWS))).astype(np.float32)


def write_layout(
    folder: Path, years: dict[int, int] | None = None, filters: Any = None, name: str = "era5_{}.h5"
) -> Path:
    """A tiny copy of the layout: blosc-compressed files by year, and a virtual dataset over them."""
    years = YEARS if years is None else years
    filters = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE) if filters is None else filters
    layout = h5py.VirtualLayout((2, sum(years.values()), ROWS, 2 * ROWS), np.float32)
    first = 0
    for year, count in years.items():
        with h5py.File(folder / name.format(year), "w") as file:
            file.create_dataset("data", data=values(year, count), chunks=(1, 1, ROWS, 2 * ROWS), **filters)
        layout[:, first : first + count] = h5py.VirtualSource(name.format(year), "data", (2, count, ROWS, 2 * ROWS))
        first += count
    with h5py.File(folder / "all.h5", "w") as file:
        file.create_virtual_dataset("data", layout, fillvalue=0)
    return folder / "all.h5"


def expected_times() -> np.ndarray:
    return np.concatenate([pd.date_range(f"{y}-01-01", periods=n, freq="3h").values for y, n in YEARS.items()])


def test_virtual_file_opens_lazily_with_labels(tmp_path, no_compute):
    path = write_layout(tmp_path)
    with no_compute():
        ds = open_atmodist(path)
    assert list(ds) == ["d", "vo"]
    assert ds["d"].dims == ("time", "latitude", "longitude")
    assert ds["d"].attrs["standard_name"] == "divergence_of_wind"
    assert ds["vo"].attrs["units"] == "s-1"
    assert ds["vo"].chunks[0] == (8, 8, 8, 8, 8, 8)
    assert ds["vo"].dtype == np.float32
    assert Grid.of(ds) == Grid.driscoll_healy(ROWS)
    np.testing.assert_array_equal(ds["time"], expected_times())
    whole = np.concatenate([values(y, n) for y, n in YEARS.items()], axis=1)
    np.testing.assert_array_equal(ds["d"], whole[0])
    np.testing.assert_array_equal(ds["vo"], whole[1])
    assert ds.attrs["history"].endswith("open_atmodist(path=['all.h5'], step='3h')")
    np.testing.assert_array_equal(ds["vo"].sel(time="1980-01-02T03", longitude=slice(180, None)), whole[1, 21, :, 8:])


@pytest.mark.parametrize("plugin", ["Blosc", "Blosc2", "Zstd", "LZ4", "Bitshuffle"])
def test_filters(tmp_path, plugin):
    path = write_layout(tmp_path, filters=getattr(hdf5plugin, plugin)())
    assert float(open_atmodist(path)["d"].std()) == pytest.approx(1e-5, rel=0.1)


def test_without_dask_it_is_lazy_too(tmp_path):
    ds = open_atmodist(write_layout(tmp_path), chunks=None)
    assert ds["d"].chunks is None
    assert not ds["d"].variable._in_memory
    part = ds["d"].isel(time=[30, 2, 2], latitude=slice(None, None, -2))
    whole = np.concatenate([values(y, n) for y, n in YEARS.items()], axis=1)
    np.testing.assert_array_equal(part, whole[0][[30, 2, 2]][:, ::-2])
    assert not ds["vo"].variable._in_memory


def test_years_by_themselves_and_strung_together(tmp_path):
    path = write_layout(tmp_path)
    one = open_atmodist(tmp_path / "era5_1980.h5")
    np.testing.assert_array_equal(one["time"], pd.date_range("1980-01-01", periods=20, freq="3h"))
    np.testing.assert_array_equal(one["vo"], values(1980, 20)[1])
    several = open_atmodist([tmp_path / f"era5_{y}.h5" for y in YEARS], chunks={"time": 4})
    xr.testing.assert_equal(several, open_atmodist(path))
    assert set(several["d"].chunks[0]) == {4}
    with pytest.raises(OptionError, match="overlap or go back at 1979-01-01.*wanted files in order"):
        open_atmodist([tmp_path / "era5_1980.h5", tmp_path / "era5_1979.h5"])


def test_start_step_channels_and_grid(tmp_path):
    path = write_layout(tmp_path)
    ds = open_atmodist(
        path, start="2000-06-01", step="6h", channels=("vo", "rain"), grid=Grid.regular(8, 16, poles=False)
    )
    np.testing.assert_array_equal(ds["time"], pd.date_range("2000-06-01", periods=48, freq="6h"))
    assert list(ds) == ["vo", "rain"]
    assert ds["rain"].attrs == {}
    assert Grid.of(ds).kind == Grid.regular(8, 16, poles=False).kind


def test_processes_read_it(tmp_path):
    ds = open_atmodist(write_layout(tmp_path), chunks={"time": 16})
    with dask.config.set(scheduler="processes", num_workers=1):
        np.testing.assert_array_equal(ds["d"].sel(time="1979"), values(1979, 12)[0])


def test_chunks_keep_their_names_until_the_file_changes(tmp_path):
    path = write_layout(tmp_path)
    assert (
        open_atmodist(path)["d"].data.name == open_atmodist(path)["d"].data.name != open_atmodist(path)["vo"].data.name
    )


def test_channels_in_files_of_their_own(tmp_path):
    layout = h5py.VirtualLayout((2, 12, ROWS, 2 * ROWS), np.float32)
    for channel, name in enumerate(("div_1979.h5", "vort_1979.h5")):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = values(1979, 12)[channel]
        layout[channel] = h5py.VirtualSource(name, "data", (12, ROWS, 2 * ROWS))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    np.testing.assert_array_equal(open_atmodist(tmp_path / "all.h5")["vo"], values(1979, 12)[1])


def test_missing_files_are_told_instead_of_zeros(tmp_path):
    path = write_layout(tmp_path)
    (tmp_path / "era5_1980.h5").unlink()
    with h5py.File(path) as file:
        assert np.all(file["data"][:, 15] == 0)  # what HDF5 does
    with pytest.raises(OptionError, match="1 of its 3 files are missing: era5_1980.h5; put them"):
        open_atmodist(path)


def test_files_elsewhere_are_found_by_the_prefix(tmp_path, monkeypatch):
    path = write_layout(tmp_path)
    (tmp_path / "years").mkdir()
    for year in YEARS:
        (tmp_path / f"era5_{year}.h5").rename(tmp_path / "years" / f"era5_{year}.h5")
    with pytest.raises(OptionError, match="3 of its 3 files are missing: era5_1979.h5 and others"):
        open_atmodist(path)
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(tmp_path / "years"))
    open_atmodist(path)


def test_times_without_data_are_told(tmp_path):
    write_layout(tmp_path)
    layout = h5py.VirtualLayout((2, 20, ROWS, 2 * ROWS), np.float32)
    layout[:, :12] = h5py.VirtualSource("era5_1979.h5", "data", (2, 12, ROWS, 2 * ROWS))
    with h5py.File(tmp_path / "gap.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    with pytest.raises(OptionError, match=r"fill the times \[\(0, 12\)\] of 20; wanted all, once"):
        open_atmodist(tmp_path / "gap.h5")


def test_clear_errors(tmp_path):
    path = write_layout(tmp_path)
    with pytest.raises(OptionError, match="no file at .*none.h5; wanted an HDF5 file"):
        open_atmodist(tmp_path / "none.h5")
    with pytest.raises(OptionError, match="wanted one path or more and a positive step"):
        open_atmodist([])
    with pytest.raises(OptionError, match="wanted one path or more and a positive step"):
        open_atmodist(path, step="0h")
    with pytest.raises(OptionError, match="came with 2 paths; wanted one path"):
        open_atmodist([path, path], start="2000-01-01")
    with pytest.raises(OptionError, match=r"has no array 'fields'; it has \['data'\]: name one with dataset="):
        open_atmodist(path, dataset="fields")
    with pytest.raises(DimensionError, match=r"has the shape \(2, 48, 8, 16\); wanted \(1, times"):
        open_atmodist(path, channels=["vo"])
    with pytest.raises(DimensionError, match=r"has \(8, 16\) rows and columns; <Grid gaussian 16 x 32"):
        open_atmodist(path, grid=Grid.gaussian(16))
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(OptionError, match=r"text.h5 cannot be read as HDF5"):
        open_atmodist(tmp_path / "text.h5")
    with pytest.raises(OptionError, match="12 fields in 'era5_1979.h5', every 60 days.*reach into the next year"):
        open_atmodist(tmp_path / "era5_1979.h5", step="60D")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fields{:.0s}a.h5", "no year stands in the name of 'fieldsa.h5'"),
        ("from_1950_to_{}.h5", r"several years, \['1950', '1979'\], stand in the name"),
    ],
)
def test_a_year_in_every_name(tmp_path, name, message):
    (tmp_path / "x").mkdir()
    shown = name.replace("{:.0s}", "").format(1979)
    with h5py.File(tmp_path / shown, "w") as file:
        file["data"] = values(1979, 4)
    with pytest.raises(OptionError, match=message):
        open_atmodist(tmp_path / shown)
    assert open_atmodist(tmp_path / shown, start="1979-01-01").sizes["time"] == 4


def test_years_out_of_order(tmp_path):
    path = write_layout(tmp_path, {1980: 4, 1979: 4})
    with pytest.raises(OptionError, match="do not follow each other; give start="):
        open_atmodist(path)


@pytest.mark.parametrize("module", ["h5py", "hdf5plugin"])
def test_missing_packages_are_told(tmp_path, monkeypatch, module):
    path = write_layout(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"opening .*all.h5 needs the package '{module}'.*xatmo\[hdf5\]"):
        open_atmodist(path)
