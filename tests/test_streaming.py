"""Zarr by regions: what is written, what survives a kill, what is refused, how much memory it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import Grid, _journal, spectral, streaming
from xatmo.errors import (
    ChunkError,
    ConfigError,
    CoordinateError,
    DimensionError,
    MissingValueError,
    OptionError,
    VariableError,
)

BY = {"time": "1MS", "level": 1}


def fields(seed: int = 0) -> xr.Dataset:
    """Two variables by day and level, one by day alone, and some that are in memory."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2001-01-20", "2001-04-02", name="time")
    shape = (len(times), 2, 3, 4)
    dims = ("time", "level", "y", "x")
    return xr.Dataset(
        {
            "u": (dims, rng.normal(size=shape).astype(np.float32), {"units": "m s-1"}),
            "v": (dims, rng.normal(size=shape)),
            "p": (("time", "y", "x"), rng.normal(size=(len(times), 3, 4))),
            "mask": (("y", "x"), np.arange(12).reshape(3, 4)),
        },
        {"time": times, "level": [500.0, 850.0], "valid_time": ("time", times + pd.Timedelta("6h"))},
        {"title": "generated"},
    )


def begun(path: Path) -> Path:
    """Folder of a store that is being written."""
    (folder,) = (path.parent / f".{path.name}.partial").glob("store*")
    return folder


def lazily(ds: xr.Dataset, **chunks: int) -> xr.Dataset:
    return ds.assign(
        {n: ds[n].chunk(chunks or {"time": 1, "level": 1}) for n in ("u", "v")} | {"p": ds.p.chunk(time=5)}
    )


def counted(ds: xr.Dataset, fail_at: int | None = None) -> tuple[xr.Dataset, list[int]]:
    """The same data from a source that counts, and fails at, what is read of ``u``: index of the time."""
    seen: list[int] = []
    values = ds.u.values

    def block(block_info: Any = None) -> np.ndarray:
        (first, _), (level, _) = block_info[None]["array-location"][:2]
        if fail_at is not None and first == fail_at:
            raise RuntimeError("power cut")
        seen.append(first)
        return values[first : first + 1, level : level + 1]

    chunks = ((1,) * len(ds.time), (1, 1), (3,), (4,))
    lazy = dask.array.map_blocks(block, chunks=chunks, dtype="f4", meta=np.empty((0,) * 4, "f4"))
    return ds[["u"]].assign(u=(ds.u.dims, lazy, ds.u.attrs)), seen


def files_of(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------------- what is written
@pytest.mark.parametrize("by", [BY, {"time": 7}, {"level": 1, "time": "10D"}, {"time": -1}, None])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_same_as_in_memory(by: Any, in_flight: int, tmp_path: Path) -> None:
    ds = fields()
    out = streaming.write_zarr(lazily(ds), tmp_path / "o.zarr", by=by, in_flight=in_flight)
    assert out == tmp_path / "o.zarr"
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]
    back = xr.open_zarr(out)  # warns, and so fails, unless it is consolidated
    assert back.u.chunks is not None
    xr.testing.assert_identical(back.compute(), ds)


def test_an_unchunked_file_and_lazy_coordinates(tmp_path: Path) -> None:
    ds = fields()
    ds.to_netcdf(tmp_path / "i.nc")
    with xr.open_dataset(tmp_path / "i.nc") as opened:
        streaming.write_zarr(opened, tmp_path / "a.zarr", by={"time": "1MS"})
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "a.zarr").compute(), ds)
    lazy = lazily(ds).assign_coords(valid_time=ds.valid_time.chunk(time=10))
    streaming.write_zarr(lazy, tmp_path / "b.zarr", by=BY)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "b.zarr").compute(), ds)


def test_chunks_and_encoding(tmp_path: Path) -> None:
    ds = lazily(fields(), time=10)
    streaming.write_zarr(
        ds,
        tmp_path / "o.zarr",
        by={"time": "1MS"},
        encoding={"v": {"dtype": "int16", "scale_factor": 0.001, "_FillValue": -32768}},
    )
    back = xr.open_zarr(tmp_path / "o.zarr")
    assert back.u.encoding["chunks"] == (1, 2, 3, 4)  # months begin after 12, 40 and 71 days
    np.testing.assert_allclose(back.v, fields().v, atol=5.1e-4)
    assert back.v.encoding["dtype"] == np.int16
    streaming.write_zarr(ds, tmp_path / "p.zarr", by={"time": 12}, chunks={"time": 4, "x": 2, "y": -1})
    assert xr.open_zarr(tmp_path / "p.zarr").u.encoding["chunks"] == (4, 2, 3, 2)


def test_a_function_by_region(tmp_path: Path, no_compute: Any) -> None:
    """The whole is never built: each region of the input goes through the function alone."""
    ds, sizes = fields(), []

    def function(block: xr.Dataset) -> xr.Dataset:
        sizes.append(dict(block.sizes))
        speed = np.hypot(block.u, block.v).mean("x").assign_attrs(units="m s-1")
        return xr.Dataset({"speed": speed, "area": ("y", [1.0, 2.0, 3.0]), "p": block.p * 2}, attrs={"by": "region"})

    streaming.write_zarr(lazily(ds), tmp_path / "o.zarr", by=BY, function=function)
    want = function(ds).drop_vars("valid_time").assign_coords(valid_time=ds.valid_time)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "o.zarr").compute(), want)
    assert max(s["time"] for s in sizes[:-1]) == 31
    assert {s["level"] for s in sizes[:-1]} == {1}


def test_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    ds = fields()
    streaming.write_zarr(lazily(ds), tmp_path / "o.zarr", by=BY, in_flight=4)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "o.zarr").compute(), ds)


def test_another_scheduler(tmp_path: Path, no_compute: Any) -> None:
    ds = fields()
    with no_compute():
        streaming.write_zarr(lazily(ds), tmp_path / "o.zarr", by=BY, scheduler="synchronous")
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "o.zarr").compute(), ds)


# ---------------------------------------------------------------------- what goes on
def test_a_failure_is_continued(tmp_path: Path) -> None:
    ds, path, notes = fields(), tmp_path / "o.zarr", []
    key = {"input": "here"}
    broken, seen = counted(ds, fail_at=45)  # in March
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key=key)
    assert not path.exists()
    assert {0, 12, 39} <= set(seen)
    whole, seen = counted(ds)
    streaming.write_zarr(whole, path, by=BY, key=key, note=notes.append)
    assert min(seen) == 40
    assert notes == [f"continuing {path}: 4 of 8 regions are there"]
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), ds.u)


def test_a_failure_leaves_the_old_result(tmp_path: Path) -> None:
    ds, path = fields(), tmp_path / "o.zarr"
    streaming.write_zarr(lazily(ds), path, by=BY)
    before = files_of(path)
    with pytest.raises(FileExistsError, match=r"o.zarr exists; pass overwrite=True to replace it once"):
        streaming.write_zarr(lazily(ds) * 2, path, by=BY)
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]
    broken, _ = counted(fields(1), fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, overwrite=True, key={})
    assert files_of(path) == before
    whole, seen = counted(fields(1))
    streaming.write_zarr(whole, path, by=BY, overwrite=True, key={})
    assert min(seen) == 40
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), fields(1).u)
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]


def test_another_input_is_refused(tmp_path: Path) -> None:
    ds, path = fields(), tmp_path / "o.zarr"
    broken, _ = counted(ds, fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key={"input": 1})
    whole, seen = counted(ds)
    shifted = whole.assign_coords(time=whole.indexes["time"] + pd.Timedelta("1h"))
    for other, options, what in [
        (whole, {"key": {"input": 2}}, "input"),
        (whole, {"key": {"input": 1}, "by": {"time": 10}}, "regions"),
        (whole, {"key": {"input": 1}, "chunks": {"x": 2}}, "chunks"),
        (whole, {"key": {"input": 1}, "encoding": {"u": {"dtype": "float64"}}}, "encoding"),
        (whole.astype(np.float64), {"key": {"input": 1}}, "variables"),
        (shifted, {"key": {"input": 1}}, "coordinates"),
    ]:
        with pytest.raises(ConfigError, match=rf"begun with another input or configuration \(not the same: {what}"):
            streaming.write_zarr(other, path, **{"by": BY, **options})
    assert seen == []
    streaming.write_zarr(whole, path, by={"time": 10}, key={"input": 2}, resume=False)
    assert min(seen) == 0
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), ds.u)


def test_the_names_of_arrays_are_the_key(tmp_path: Path) -> None:
    """Without a key, a store is told from another by what Dask calls it, which changes with the file."""
    fields().chunk(time=1).to_zarr(tmp_path / "i.zarr", zarr_format=2)
    opened = xr.open_zarr(tmp_path / "i.zarr")
    with pytest.raises(RuntimeError, match="no power"):
        streaming.write_zarr(opened, tmp_path / "o.zarr", by=BY, scheduler=fails)
    with pytest.raises(ConfigError, match="input"):
        streaming.write_zarr(opened + 1, tmp_path / "o.zarr", by=BY)
    streaming.write_zarr(xr.open_zarr(tmp_path / "i.zarr"), tmp_path / "o.zarr", by=BY)


def fails(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("no power")


def test_a_line_cut_short_and_leftovers(tmp_path: Path) -> None:
    ds, path = fields(), tmp_path / "o.zarr"
    broken, _ = counted(ds, fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key={})
    journal = tmp_path / ".o.zarr.partial" / "journal.jsonl"
    assert len(journal.read_text().splitlines()) == 5
    journal.write_text(journal.read_text() + '{"done": ["u time:40')
    (begun(path) / "u" / "c.0123.partial").write_bytes(b"half")
    streaming.write_zarr(counted(ds)[0], path, by=BY, key={})
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), ds.u)
    assert not list(path.rglob("*.partial"))


def test_killed_at_the_last_moment(tmp_path: Path) -> None:
    ds, path = fields(), tmp_path / "o.zarr"
    broken, _ = counted(ds, fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key={})
    traces = {p.name: p.read_bytes() for p in (tmp_path / ".o.zarr.partial").iterdir() if p.is_file()}
    streaming.write_zarr(counted(ds)[0], path, by=BY, key={})
    (tmp_path / ".o.zarr.partial").mkdir()
    for name, content in traces.items():
        (tmp_path / ".o.zarr.partial" / name).write_bytes(content)
    again, seen = counted(ds)
    assert streaming.write_zarr(again, path, by=BY, key={}) == path
    assert seen == []
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]


def test_killed_between_the_two_renamings(tmp_path: Path) -> None:
    """The old store stands under another name then; beginning something else anew gives it its own back."""
    path, partial = tmp_path / "o.zarr", tmp_path / ".o.zarr.partial"
    streaming.write_zarr(lazily(fields()), path, by=BY)
    before = files_of(path)
    broken, _ = counted(fields(1), fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, overwrite=True, key={})
    os.rename(path, partial / "replaced")
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, resume=False, key={})
    assert files_of(path) == before
    os.rename(path, partial / "replaced")
    streaming.write_zarr(counted(fields(1))[0], path, by=BY, key={})
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), fields(1).u)
    assert not partial.exists()


def test_the_old_store_stands_aside_until_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, aside = tmp_path / "o.zarr", tmp_path / ".o.zarr.partial" / "replaced"
    streaming.write_zarr(lazily(fields()), path, by=BY)
    before, rename = files_of(path), os.rename

    def cut(old: Any, new: Any) -> None:
        if Path(new) == path:
            raise RuntimeError("power cut")
        rename(old, new)

    monkeypatch.setattr(_journal.os, "rename", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(lazily(fields(1)), path, by=BY, overwrite=True, key={})
    assert files_of(aside) == before


def test_two_writers(tmp_path: Path) -> None:
    ds, path = fields(), tmp_path / "o.zarr"

    def function(block: xr.Dataset) -> xr.Dataset:
        if block.sizes["time"] > 1:
            streaming.write_zarr(lazily(ds), path, by=BY)
        return block

    with pytest.raises(ConfigError, match="another process is writing .*o.zarr; wait for it"):
        streaming.write_zarr(lazily(ds), path, by=BY, function=function, key={})


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(37, "no locks available")

    monkeypatch.setattr(_journal.fcntl, "flock", refuse)
    streaming.write_zarr(lazily(fields()), tmp_path / "o.zarr", by={"time": "1MS"})
    assert (tmp_path / "o.zarr").exists()


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"by": {"depth": 1}}, DimensionError, r"by=\{'depth': ...\} came, but there is no such dimension"),
        ({"by": {"level": 0}}, OptionError, "by={'level': 0} came; wanted how many indices make a region"),
        ({"by": {"level": "1MS"}}, OptionError, "by={'level': '1MS'} came, but 'level' has no times"),
        ({"by": {"time": "fortnight"}}, OptionError, "by={'time': 'fortnight'} came: .*; wanted for instance '1MS'"),
        ({"chunks": {"time": 5}}, ChunkError, r"chunks=\{'time': 5\} came, but regions begin at .* a divisor of 1"),
        ({"chunks": {"depth": 5}}, DimensionError, "chunks name 'depth', which no lazy variable has"),
        ({"in_flight": 0}, OptionError, "in_flight=0 came; wanted how many regions"),
        ({"function": lambda ds: ds.u}, OptionError, "function gave a DataArray; wanted a Dataset"),
        ({"function": lambda ds: ds.isel(time=[0, 0])}, DimensionError, "function changed the size of 'time'"),
        (
            {"function": lambda ds: ds.isel(x=slice(0, 1 if ds.sizes["time"] == 1 else 2))},
            DimensionError,
            "function gave 'u' with sizes .*'x': 2}; wanted .*'x': 1}",
        ),
        (
            {"function": lambda ds: ds.assign_coords(hour=("time", np.zeros(ds.sizes["time"])))},
            CoordinateError,
            "function made the coordinate 'hour'",
        ),
    ],
)
def test_refusals(options: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=message):
        streaming.write_zarr(lazily(fields()), tmp_path / "o.zarr", **{"by": BY, **options})
    assert not (tmp_path / "o.zarr").exists()


def test_refused_paths_and_times(tmp_path: Path) -> None:
    ds = lazily(fields())
    with pytest.raises(OptionError, match="gs://bucket/o.zarr came; wanted a path on a disk"):
        streaming.write_zarr(ds, "gs://bucket/o.zarr", by=BY)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        streaming.write_zarr(ds, tmp_path / "nowhere" / "o.zarr", by=BY)
    with pytest.raises(CoordinateError, match="times on 'time' do not increase throughout; sort them first"):
        streaming.write_zarr(ds.isel(time=slice(None, None, -1)), tmp_path / "o.zarr", by=BY)
    with pytest.raises(DimensionError, match="there is nothing to write"):
        streaming.write_zarr(ds.isel(time=[]), tmp_path / "o.zarr", by={"time": 1}, function=lambda x: x)


# ---------------------------------------------------------------------- coefficients
def coefficients(lmax: int = 10, times: int = 40) -> xr.Dataset:
    """Vorticity and divergence as ARCO-ERA5 has them, every two days, on two model levels."""
    rng = np.random.default_rng(lmax)
    shape = (times, 2, lmax + 1, lmax + 1)
    decay = 1e-5 / (1 + np.arange(lmax + 1.0))[:, None]
    made = {}
    for name, standard in (("vo", "atmosphere_relative_vorticity"), ("d", "divergence_of_wind")):
        values = np.tril(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * decay
        values[..., 0].imag = 0
        values[..., 0, :] = 0
        attrs = {"standard_name": standard, "units": "s**-1"}
        made[name] = (("time", "hybrid", "degree", "order"), values.astype(np.complex64), attrs)
    level = {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "units": "1", "positive": "down"}
    coords = {
        "time": (
            "time",
            pd.date_range("2001-01-01", periods=times, freq="2D"),
            {"standard_name": "forecast_reference_time"},
        ),
        "hybrid": ("hybrid", [70.0, 100.0], level),
    }
    return spectral.to_packed(xr.Dataset(made, coords))


@pytest.mark.parametrize("chunks", [{}, None])
def test_synthesis_from_a_store(chunks: Any, tmp_path: Path) -> None:
    ds, grid = coefficients(), Grid.driscoll_healy(22)
    ds.chunk(time=1, hybrid=1).to_zarr(tmp_path / "c.zarr", zarr_format=2)
    stored = xr.open_zarr(tmp_path / "c.zarr", chunks=chunks)
    streaming.synthesize(stored, tmp_path / "f.zarr", grid=grid)
    out = xr.open_zarr(tmp_path / "f.zarr")
    want = ds.atmo.to_grid(grid)
    assert out.vo.encoding["chunks"] == (1, 1, 22, 44)
    assert out.vo.dtype == np.float32
    assert out.vo.dims == ("time", "hybrid", "latitude", "longitude")
    xr.testing.assert_equal(out.compute(), want)
    assert out.vo.attrs == want.vo.attrs
    assert out.attrs["history"].endswith(want.attrs["history"].splitlines()[-1])
    streaming.synthesize(stored, tmp_path / "w.zarr", grid=grid, wind=True, levels=[100.0], lmax=8, chunks={"time": 1})
    wind = xr.open_zarr(tmp_path / "w.zarr")
    want = ds.sel(hybrid=[100.0]).atmo.to_spectral(lmax=8).atmo.wind(grid=grid)
    xr.testing.assert_allclose(wind.compute(), want, rtol=1e-5, atol=1e-6)
    streaming.synthesize(stored, tmp_path / "v.zarr", grid=grid, variables=["vo"], by={"time": 7})
    assert list(xr.open_zarr(tmp_path / "v.zarr").data_vars) == ["vo"]


def test_synthesis_refuses(tmp_path: Path) -> None:
    ds, grid = coefficients(), Grid.gaussian(12)
    with pytest.raises(VariableError, match=r"variable 'z' came; wanted .*coefficients.*There are \['d', 'vo'\]"):
        streaming.synthesize(ds, tmp_path / "f.zarr", grid=grid, variables=["vo", "z"])
    with pytest.raises(VariableError, match=r"a Dataset of \['u'\] came; wanted spherical-harmonic coefficients"):
        streaming.synthesize(fields()[["u"]], tmp_path / "f.zarr", grid=grid)
    with pytest.raises(CoordinateError, match="level 71 is not on 'hybrid', which runs from 70.0 to 100.0"):
        streaming.synthesize(ds, tmp_path / "f.zarr", grid=grid, levels=[70, 71])
    with pytest.raises(CoordinateError, match=r"levels=\[70\] came, but no vertical coordinate is among"):
        streaming.synthesize(ds.isel(hybrid=0), tmp_path / "f.zarr", grid=grid, levels=[70])
    bad = ds.copy(deep=True)
    bad.vo[3, 1, 20] = np.nan
    with pytest.raises(MissingValueError, match="to_grid met"):
        streaming.synthesize(bad, tmp_path / "f.zarr", grid=grid)
    assert not (tmp_path / "f.zarr").exists()


# Not ru_maxrss, which begins with the peak of the process that started this one.
RUN = """
import pathlib, sys, time, xarray as xr
from xatmo import Grid, _journal, streaming
import dask
source, target, nlat, chunks = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
most, add = int(sys.argv[5]) if len(sys.argv) > 5 else None, _journal.Journal.add
def add_and_wait(self, parts):
    add(self, parts)
    if most is not None and len(self.done) >= most:
        time.sleep(300)  # for the signal, if the one who sends it has been slow
_journal.Journal.add = add_and_wait
ds = xr.open_zarr(source, chunks={} if chunks == "dask" else None)
with dask.config.set(num_workers=2):
    streaming.synthesize(ds, target, grid=Grid.driscoll_healy(nlat), note=print)
status = pathlib.Path("/proc/self/status")
peak = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
print(int(peak[0].split()[1]) / 1024 if peak else -1)
"""


def run(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, words)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_killed_and_continued(tmp_path: Path) -> None:
    """SIGKILL at any moment: the same command goes on, and its result is the same to the bit."""
    coefficients(times=120).chunk(time=1, hybrid=1).to_zarr(tmp_path / "c.zarr", zarr_format=2)
    streaming.synthesize(xr.open_zarr(tmp_path / "c.zarr"), tmp_path / "want.zarr", grid=Grid.driscoll_healy(22))
    journal = tmp_path / ".o.zarr.partial" / "journal.jsonl"
    finished = [0]
    for goal, most in [(1, 6), (7, 13)]:
        process = run(tmp_path / "c.zarr", tmp_path / "o.zarr", 22, "dask", most)
        while process.poll() is None:
            lines = journal.read_text().count("\n") if journal.exists() else 0
            if lines > max(goal, finished[-1]):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "o.zarr").exists()
        finished.append(journal.read_text().count("\n"))
    assert 16 > finished[2] > finished[1] > 1
    process = run(tmp_path / "c.zarr", tmp_path / "o.zarr", 22, "dask")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert f"continuing {tmp_path / 'o.zarr'}: {finished[2] - 1} of 16 regions are there" in out
    assert files_of(tmp_path / "o.zarr") == files_of(tmp_path / "want.zarr")


def test_memory_is_bounded(tmp_path: Path) -> None:
    """T639 to 1280 x 2560: a few fields of 13 MB for each of two threads, however many there are to write."""
    ds = coefficients(lmax=639, times=1)
    path = tmp_path / "c.zarr"
    count = 24
    many = ds.isel(time=[0] * count, hybrid=[0]).assign_coords(
        time=pd.date_range("2001-01-30", periods=count, freq="6h")
    )
    many[["vo"]].chunk(time=1).to_zarr(path, zarr_format=2, encoding={"vo": {"chunks": (1, 1, 410240)}})
    process = run(path, tmp_path / "o.zarr", 1280, "numpy")
    out, _ = process.communicate()
    assert process.returncode == 0
    size = xr.open_zarr(tmp_path / "o.zarr").nbytes / 2**20
    assert size > 290
    peak = float(out.split()[-1])
    if peak < 0:
        pytest.skip("this system does not tell the peak of one process")
    assert peak < 600  # of which Python with its packages takes 150


def test_the_journal_is_plain(tmp_path: Path) -> None:
    broken, _ = counted(fields(), fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, tmp_path / "o.zarr", by=BY, key={"input": "x"})
    lines = (tmp_path / ".o.zarr.partial" / "journal.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["input"] == {"input": "x"}
    assert json.loads(lines[1]) == {"done": ["u time:0-12 level:0-1"]}
