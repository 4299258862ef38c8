"""``xatmo synthesize``: coefficients to fields from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import Grid, spectral
from xatmo.cli import main
from xatmo.cli.grids import grid_of
from xatmo.errors import OptionError

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


@pytest.fixture
def stored(tmp_path: Path) -> xr.Dataset:
    """Vorticity and divergence of two levels through two months, packed, in ``c.zarr``."""
    rng = np.random.default_rng(0)
    shape = (8, 2, 11, 11)
    made = {}
    for name in ("vo", "d"):
        values = np.tril(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * 1e-5
        values[..., 0].imag = 0
        values[..., 0, :] = 0
        made[name] = (("time", "hybrid", "degree", "order"), values.astype(np.complex64), {"units": "s**-1"})
    times = pd.date_range("2001-01-20", periods=8, freq="4D")
    ds = spectral.to_packed(xr.Dataset(made, {"time": times, "hybrid": [70.0, 100.0]}))
    ds.chunk(time=1, hybrid=1).to_zarr(tmp_path / "c.zarr", zarr_format=2)
    return ds


def test_fields_month_by_month(run: Run, stored: xr.Dataset, tmp_path: Path) -> None:
    status, out, err = run("synthesize", tmp_path / "c.zarr", tmp_path / "f.zarr", "--grid", "dh22")
    assert (status, err) == (0, "")
    assert "2 variables with 8 time, 2 hybrid, 132 values to <Grid driscoll_healy 22 x 44" in out
    assert out.endswith(f"wrote {tmp_path / 'f.zarr'}\n")
    fields = xr.open_zarr(tmp_path / "f.zarr")
    xr.testing.assert_equal(fields.compute(), stored.atmo.to_grid(Grid.driscoll_healy(22)))
    status, _, err = run("synthesize", tmp_path / "c.zarr", tmp_path / "f.zarr", "--grid", "dh22")
    assert (status, err) == (1, f"xatmo: {tmp_path / 'f.zarr'} exists; pass --overwrite to replace it\n")
    words = ("--grid", "f6", "--wind", "--levels", "100", "--by-day", "--lmax", 8, "--overwrite")
    selection = ("--start", "2001-01-24", "--stop", "2001-02", "--every", 2)
    assert run("synthesize", tmp_path / "c.zarr", tmp_path / "f.zarr", *words, *selection)[0] == 0
    wind = xr.open_zarr(tmp_path / "f.zarr").compute()
    some = stored.sel(time=slice("2001-01-24", "2001-02-28"), hybrid=[100.0]).isel(time=slice(None, None, 2))
    want = some.atmo.to_spectral(lmax=8).atmo.wind(grid=Grid.gaussian(12))
    xr.testing.assert_allclose(wind, want, rtol=1e-5, atol=1e-6)


def test_interrupted_and_continued(
    run: Run, stored: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xatmo import _journal

    add, count = _journal.Journal.add, []

    def stop(self: Any, parts: Any) -> None:
        add(self, parts)
        count.append(parts)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_journal.Journal, "add", stop)
    command = ("synthesize", tmp_path / "c.zarr", tmp_path / "f.zarr", "--grid", "dh22", "--variables", "vo")
    status, _, err = run(*command)
    assert (status, err) == (130, "xatmo: interrupted; the same command continues where it stopped\n")
    assert not (tmp_path / "f.zarr").exists()
    status, _, err = run(*command, "--lmax", 5)
    assert status == 1
    assert "was begun with another input or configuration (not the same: input)" in err
    status, out, _ = run(*command)
    assert status == 0
    assert f"continuing {tmp_path / 'f.zarr'}: 2 of 4 regions are there" in out
    xr.testing.assert_equal(
        xr.open_zarr(tmp_path / "f.zarr").vo.compute(), stored.vo.atmo.to_grid(Grid.driscoll_healy(22))
    )


def test_a_grib_message(run: Run, tmp_path: Path) -> None:
    eccodes = pytest.importorskip("eccodes")
    pytest.importorskip("cfgrib")
    handle = eccodes.codes_grib_new_from_samples("sh_pl_grib2")
    with open(tmp_path / "t.grib2", "wb") as file:
        eccodes.codes_write(handle, file)
    eccodes.codes_release(handle)
    assert run("synthesize", tmp_path / "t.grib2", tmp_path / "t.zarr", "--grid", "37x72")[0] == 0
    field = xr.open_zarr(tmp_path / "t.zarr").t
    assert float((field.mean("longitude") * Grid.regular(37, 72).weights).sum()) == pytest.approx(288.23, abs=5e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no.zarr", "f.zarr"], "no such file or folder: no.zarr"),
        (["c.zarr", "f.nc"], "f.nc came; wanted a name that ends in .zarr"),
        (["c.zarr", "f.zarr", "--grid", "moon"], "--grid moon names no grid; wanted dh1280"),
        (["c.zarr", "f.zarr", "--variables", "q"], "variable 'q' came; wanted spherical-harmonic coefficients"),
        (["c.zarr", "f.zarr", "--levels", "low"], "--levels low came; wanted numbers joined by commas"),
        (["c.zarr", "f.zarr", "--levels", "3"], "level 3.0 is not on 'hybrid', which runs from 70.0 to 100.0"),
        (["c.zarr", "f.zarr", "--start", "2002"], "no time from 2002 to None; c.zarr has times from 2001-01-20"),
        (["c.zarr", "f.zarr", "--start", "monday"], "--start monday --stop None: "),
        (["c.zarr", "f.zarr", "--every", "0"], "--every 0 came; wanted 1 or more"),
        (["c.zarr", "f.zarr", "--lmax", "11"], "lmax=11 came, but the coefficients end at degree 10"),
        (["flat.nc", "f.zarr", "--every", "2"], "times were chosen, but flat.nc has no dimension of times"),
        (["flat.nc", "f.zarr"], "a Dataset of ['a'] came; wanted spherical-harmonic coefficients"),
        (["era5:nothing", "f.zarr"], "no entry 'nothing' in the catalog 'era5'"),
    ],
)
def test_one_line_errors(
    words: list[str], message: str, run: Run, stored: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    xr.Dataset({"a": ("x", [1.0, 2.0])}).to_netcdf("flat.nc")
    status, _, err = run("synthesize", *words)
    assert status == 1
    assert err.startswith("xatmo: ")
    assert err.count("\n") == 1
    assert message in err
    assert not Path("f.zarr").exists()


def test_an_entry_of_a_catalog(run: Run, stored: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(
        "sources:\n  wind:\n    driver: zarr\n    args: {urlpath: '{{ CATALOG_DIR }}/c.zarr', chunks: null}\n"
    )
    assert run("synthesize", "own.yaml:wind", "f.zarr", "--grid", "dh22", "--variables", "d")[0] == 0
    xr.testing.assert_equal(xr.open_zarr("f.zarr").d.compute(), stored.d.atmo.to_grid(Grid.driscoll_healy(22)))


def test_help_names_it(run: Run) -> None:
    assert "synthesize" in run("--help")[1]


def test_grids_by_name(tmp_path: Path) -> None:
    assert grid_of("DH1280") == Grid.driscoll_healy(1280)
    assert grid_of("f48") == Grid.gaussian(96)
    assert grid_of("19x36") == grid_of("10") == Grid.regular(19, 36)
    assert grid_of("2.5").shape == (73, 144)
    assert grid_of("healpix4").npoints == 192
    assert grid_of("O32") == Grid.reduced_gaussian("O32")
    xr.Dataset(coords=Grid.gaussian(8).coords()).assign(a=0).to_netcdf(tmp_path / "g.nc")
    assert grid_of(str(tmp_path / "g.nc")) == Grid.gaussian(8)
    for text in ("0", "0.7", "80", "dh"):
        with pytest.raises(OptionError, match=f"--grid {text} names no grid"):
            grid_of(text)
