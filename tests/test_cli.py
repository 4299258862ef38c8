"""The command line: what it prints, what it refuses, what it writes, and what it continues."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo.cli import files, main
from xatmo.errors import ConfigError, MissingDependencyError, OptionError, VariableError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; give exit status, standard output, standard error."""

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


def fields(times: int = 6, nlat: int = 19, nlon: int = 36, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    coords = {"time": pd.date_range("2001-01-01", periods=times), **xatmo.Grid.regular(nlat, nlon).coords()}
    values = rng.normal(size=(times, nlat, nlon)).astype(np.float32)
    return xr.Dataset({"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})}, coords)


# ---------------------------------------------------------------------- words
def test_version_and_help(run: Run) -> None:
    assert run("--version") == (0, f"xatmo {xatmo.__version__}\n", "")
    status, out, _ = run()
    assert status == 0
    for command in ("demo", "config", "train", "apply", "evaluate", "catalog"):
        assert command in out
    assert "compare" not in out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["fly"], 2, "No such command 'fly'"),
        (["apply", "only"], 2, "Missing argument"),
        (["catalog", "era6"], 1, "no catalog 'era6'; wanted era5, natl60 or the path of a .yaml file"),
        (["catalog", "era5", "arcos"], 1, "no entry 'arcos' in the catalog 'era5'"),
        (["evaluate", "no.nc", "such.nc"], 1, "no such file or folder: no.nc"),
        (["demo", "--input", "no.nc"], 1, "no such file or folder: no.nc"),
        (["config", "telepathy"], 1, "no task 'telepathy'; there is SuperResolver"),
        (["train", "SuperResolver", "no.yaml"], 1, "no such file or folder: no.yaml"),
        (["apply", "no-model", "no.nc", "out.zarr"], 1, "no-model"),
    ],
)
def test_bad_input_is_one_line(run: Run, words: list[str], status: int, message: str) -> None:
    got, _, err = run(*words)
    assert got == status
    assert err.startswith("xatmo: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_debug_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        main(["evaluate", str(tmp_path / "a.nc"), "b.nc", "--debug"])


def test_unexpected_errors_name_their_kind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("xatmo.cli.tables.catalog", fail)
    assert run("catalog") == (1, "", "xatmo: ZeroDivisionError: one two (--debug shows where)\n")


def test_interruption_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xatmo.cli.tables.catalog", stop)
    status, _, err = run("catalog")
    assert status == 130
    assert "the same command continues" in err


def test_catalog_lists_and_describes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert "natl60" in run("catalog")[1]
    assert "challenge_2020a_reference" in run("catalog", "natl60")[1]
    out = run("catalog", "natl60", "natl60_ssh")[1]
    assert "requester pays" in out
    assert "has to be given" in out
    assert 'xatmo.open_catalog("natl60").open("natl60_ssh", billing_project=...)' in out


# ---------------------------------------------------------------------- reading
def test_reads_netcdf_and_zarr_lazily(tmp_path: Path) -> None:
    ds = fields()
    ds.to_netcdf(tmp_path / "f.nc")
    ds.to_zarr(tmp_path / "f.zarr", consolidated=False)
    for name in ("f.nc", "f.zarr"):
        opened = files.open_fields(tmp_path / name)
        assert opened.t2m.chunks is not None
        xr.testing.assert_equal(opened, ds)


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f.nc").write_text("not netCDF at all")
    (tmp_path / "f.zarr").mkdir()
    (tmp_path / "f.grib").write_text("GRIB")
    with pytest.raises(OSError, match="f.nc cannot be read as netCDF"):
        files.open_fields(tmp_path / "f.nc")
    with pytest.raises(OSError, match="f.zarr cannot be read as Zarr"):
        files.open_fields(tmp_path / "f.zarr")
    monkeypatch.setitem(sys.modules, "cfgrib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'xatmo\[grib\]'"):
        files.open_fields(tmp_path / "f.grib")


def test_one_variable(tmp_path: Path) -> None:
    ds = fields().assign(u10=lambda d: 2 * d.t2m)
    assert files.one_variable(ds[["t2m"]], None, tmp_path).name == "t2m"
    assert files.one_variable(ds, "u10", tmp_path).name == "u10"
    with pytest.raises(VariableError, match="has several fields, .*; name one with --variable"):
        files.one_variable(ds, None, tmp_path)
    with pytest.raises(VariableError, match=r"no variable 'v10' in .*; it has \['t2m', 'u10'\]"):
        files.one_variable(ds, "v10", tmp_path)


def test_pieces_are_small_and_keep_stored_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = fields(times=12).expand_dims(level=[500.0, 850.0], axis=1)
    monkeypatch.setattr(files, "_PIECE_BYTES", 4 * 19 * 36 * 6)
    assert files.in_pieces(ds).chunksizes["time"] == (3, 3, 3, 3)
    assert files.in_pieces(ds).chunksizes["level"] == (2,)
    assert files.in_pieces(ds.chunk(time=1)).chunksizes["time"] == (1,) * 12


# ---------------------------------------------------------------------- writing
KEY = {"model": "abc"}


def test_zarr_by_region(tmp_path: Path) -> None:
    ds = fields().chunk(time=4, latitude=10).assign(mask=xr.zeros_like(fields().t2m[0]))
    files.write(ds, tmp_path / "o.zarr", key=KEY)
    back = xr.open_zarr(tmp_path / "o.zarr")
    xr.testing.assert_identical(back.load(), ds.compute())
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]
    with pytest.raises(FileExistsError, match="o.zarr exists; pass --overwrite"):
        files.write(ds, tmp_path / "o.zarr", key=KEY)
    files.write(ds * 2, tmp_path / "o.zarr", key=KEY, overwrite=True)
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "o.zarr"), ds * 2)


def interrupted(ds: xr.Dataset, at: int) -> tuple[xr.Dataset, list[int]]:
    """The same fields, whose computation fails at one time, and a list of the times that were computed."""
    seen: list[int] = []

    def block(values: np.ndarray, block_info: dict) -> np.ndarray:
        first = block_info[0]["array-location"][0][0]
        if first == at:
            raise RuntimeError("power cut")
        seen.append(first)
        return values

    lazy = dask.array.from_array(ds.t2m.values, chunks=(1, -1, -1)).map_blocks(
        block, dtype="f4", meta=np.empty((0, 0, 0), "f4")
    )
    return ds.assign(t2m=(ds.t2m.dims, lazy, ds.t2m.attrs)), seen


def test_interrupted_zarr_is_continued(tmp_path: Path) -> None:
    ds, path, notes = fields(), tmp_path / "o.zarr", []
    broken, seen = interrupted(ds, at=3)
    with pytest.raises(RuntimeError, match="power cut"):
        files.write(broken, path, key=KEY)
    assert seen == [0, 1, 2]
    with pytest.raises(ConfigError, match="was begun with another model or input"):
        files.write(broken, path, key={"model": "other"})
    whole, seen = interrupted(ds, at=-1)
    files.write(whole, path, key=KEY, note=notes.append)
    assert seen == [3, 4, 5]
    assert notes == [f"continuing {path}: 3 of 6 regions are there"]
    xr.testing.assert_identical(xr.open_zarr(path).load(), ds)


def test_netcdf_appears_whole(tmp_path: Path) -> None:
    ds, path = fields(), tmp_path / "o.nc"
    broken, _ = interrupted(ds, at=2)
    with pytest.raises(RuntimeError, match="power cut"):
        files.write(broken, path, key=KEY)
    assert list(tmp_path.iterdir()) == []
    files.write(ds.chunk(time=1), path, key=KEY)
    xr.testing.assert_identical(xr.load_dataset(path), ds)
    with pytest.raises(FileExistsError, match="o.nc exists"):
        files.write(ds, path, key=KEY)


def test_unknown_formats_and_folders(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"wanted a name that ends in .zarr or .nc"):
        files.write(fields(), tmp_path / "o.txt", key=KEY)
    with pytest.raises(OptionError, match=r"wanted a name that ends in .csv or .nc"):
        files.write_scores(fields(), tmp_path / "o.txt")
    with pytest.raises(FileNotFoundError):
        files.write(fields(), tmp_path / "nowhere" / "o.nc", key=KEY)


def test_identity_changes_with_the_input(tmp_path: Path) -> None:
    fields().to_netcdf(tmp_path / "f.nc")
    before = files.identity(tmp_path / "f.nc")
    assert json.loads(json.dumps(before)) == before == files.identity(tmp_path / "f.nc")
    fields(times=7).to_netcdf(tmp_path / "f.nc")
    assert files.identity(tmp_path / "f.nc") != before
