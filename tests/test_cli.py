"""The command line: what it prints, what it refuses, what it writes, and what it continues."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import xatmo
from xatmo.cli import configuration, files, main
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
    for command in ("demo", "config", "train", "apply", "evaluate", "compare", "catalog"):
        assert command in out


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "xatmo", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"xatmo {xatmo.__version__}\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["fly"], 2, "No such command 'fly'"),
        (["apply", "only"], 2, "Missing argument"),
        (["catalog", "era6"], 1, "no catalog 'era6'; wanted duacs, era5, glorys, llc4320, natl60, seas5 or the path"),
        (["catalog", "era5", "arcos"], 1, "no entry 'arcos' in the catalog 'era5'"),
        (["evaluate", "no.nc", "such.nc"], 1, "no such file or folder: no.nc"),
        (["demo", "--input", "no.nc"], 1, "no such file or folder: no.nc"),
        (["config", "telepathy"], 1, "no task 'telepathy'; there is AtmoDist, "),
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


def test_a_scheduler_that_ends_it_is_told_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for status, said in ((143, "xatmo: ended by SIGTERM; the same command continues where it stopped\n"), (7, "")):

        def stop(*_: object, status: int = status) -> None:
            raise SystemExit(status)

        monkeypatch.setattr("xatmo.cli.tables.catalog", stop)
        assert run("catalog") == (status, "", said)


def test_files_that_are_none_say_so_without_a_list_of_engines(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_text("text")
    (tmp_path / "b.nc").touch()
    with pytest.raises(OSError, match="a.nc cannot be read as netCDF: the file is cut off, or of another kind$"):
        files.open_fields(tmp_path / "a.nc")
    with pytest.raises(OSError, match="b.nc cannot be read as netCDF: the file is empty$"):
        files.open_fields(tmp_path / "b.nc")


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
    assert files.one_variable(ds[["t2m"]].assign(t2m_error=ds["t2m"]), None, tmp_path).name == "t2m"
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


def test_what_is_stored_as_one_chunk_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of a compressed chunk costs decompressing all of it; of fields that lie in a row it does not."""
    ds = fields(times=12)
    monkeypatch.setattr(files, "_PIECE_BYTES", 4 * 19 * 36 * 3)
    ds.to_netcdf(tmp_path / "row.nc")
    ds.to_netcdf(tmp_path / "chunk.nc", encoding={"t2m": {"zlib": True, "chunksizes": ds.t2m.shape}})
    ds.chunk().to_zarr(tmp_path / "chunk.zarr", consolidated=False)
    found = {p.name: files.open_fields(p).t2m.chunks[0] for p in tmp_path.iterdir()}
    assert found == {"row.nc": (3, 3, 3, 3), "chunk.nc": (12,), "chunk.zarr": (12,)}


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
    with pytest.raises(ConfigError, match=r"was begun with another input or configuration .*--overwrite"):
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


# ---------------------------------------------------------------------- configurations
def test_config_shows_every_setting(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("config", "superresolver")
    assert status == 0
    read = yaml.safe_load(out)
    assert list(read) == ["data", "task", "training", "output"]
    import inspect

    init, fit = (set(inspect.signature(f).parameters) for f in (xatmo.SuperResolver, xatmo.SuperResolver.fit))
    assert set(read["task"]) == init
    shown = set(read["training"]) | set(read["data"])
    assert shown | {"self", "train"} == fit | {"input", "variables", "select", "self"}
    assert read["task"]["backbone"] == "residual"
    assert read["training"]["batch_size"] == 16
    for section in ("data", "task", "training"):  # each with its meaning above it
        lines = out.split(f"\n{section}:")[1].split("\n\n")[0].splitlines()
        assert all(before.startswith("  # ") for before, at in pairwise(lines) if at[2:3].isalpha()), section
    assert run("config", "superresolver", "--output", tmp_path / "c.yaml")[0] == 0
    assert (tmp_path / "c.yaml").read_text() == out
    assert "exists" in run("config", "superresolver", "--output", tmp_path / "c.yaml")[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "holds list; wanted a mapping"),
        ("data: [", "is not YAML"),
        ("dta: {}", "has 'dta', which it does not know; did you mean 'data'?"),
        ("data: 3", "data is int; wanted a mapping"),
        ("data: {input: x}", "task.factor has to be given"),
        ("task: {factor: 2}", "data.input has to be given"),
        (
            "data: {input: x}\ntask: {factor: 2, chanels: 3}",
            "has 'chanels', which it does not know; did you mean 'channels'?",
        ),
        ("data: {input: x}\ntask: {factor: 2, zzz: 3}", "has 'zzz', which it does not know; it knows factor"),
        ("data: {input: no.nc}\ntask: {factor: 2}", "no such file or folder: no.nc"),
        ("data: {input: {entry: arco}}\ntask: {factor: 2}", "wanted a file, or a mapping with 'catalog' and 'entry'"),
        ("data: {input: FILE, variables: [q]}\ntask: {factor: 2}", r"data.variables names 'q'; the input has ['t2m']"),
        ("data: {input: FILE, select: 3}\ntask: {factor: 2}", "data.select is 3; wanted a mapping"),
        ("data: {input: FILE, select: {depth: 3}}\ntask: {factor: 2}", "data.select: depth=3 cannot be selected"),
        (
            "data: {input: FILE, select: {latitude: [91, 95]}}\ntask: {factor: 2}",
            f"nothing lies between 91 and 95 along latitude, which has {fields().latitude.values[0]} to",
        ),
        ("data: {input: FILE}\ntask: {factor: 0}", "factor=0; wanted a whole number"),
    ],
)
def test_bad_configurations(run: Run, tmp_path: Path, content: str, message: str) -> None:
    fields().to_netcdf(tmp_path / "f.nc")
    (tmp_path / "c.yaml").write_text(content.replace("FILE", str(tmp_path / "f.nc")))
    status, _, err = run("train", "SuperResolver", tmp_path / "c.yaml")
    assert status == 1
    assert message in err
    assert err.count("\n") == 1


def test_places_that_docstrings_name_are_followed() -> None:
    text = configuration.template("FourDVarNet")
    assert "Budget, " in text
    assert "See SuperResolver" not in text
    assert ":math:" not in text


def test_numbers_times_and_dates_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "data: {input: x, select: {time: [2001-01-01, 2001-12-31]}}\n"
        "task: {factor: 2, learning_rate: 1e-3, weight_decay: 0, loss: {mae: 1., mse: .5}}\n"
        "training: {max_time: 00:05:00, epochs: +3, progress: false, precision: 32-true, run_dir: null}\n"
    )
    wanted = configuration.read("superresolver", tmp_path / "c.yaml")
    assert wanted.data["select"] == {"time": ["2001-01-01", "2001-12-31"]}
    assert dict(wanted.settings) == {
        "factor": 2, "learning_rate": 0.001, "weight_decay": 0, "loss": {"mae": 1.0, "mse": 0.5},
    }  # fmt: skip
    assert dict(wanted.fit) == {
        "max_time": "00:05:00", "epochs": 3, "progress": False, "precision": "32-true", "run_dir": None,
    }  # fmt: skip


def test_the_printed_configuration_trains_and_continues(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xatmo.train import Supervised

    fields(nlat=18).assign_coords(xatmo.Grid.regular(18, 36, poles=False).coords()).to_netcdf(tmp_path / "f.nc")
    text = run("config", "superresolver")[1]
    changed = {"input": tmp_path / "f.nc", "factor": 3, "channels": 4, "max_steps": 6, "accelerator": "cpu",
               "select": "{latitude: [-90, 90]}", "output": tmp_path / "model"}  # fmt: skip
    for key, value in changed.items():
        text, n = re.subn(rf"^( *){key}: .*$", rf"\g<1>{key}: {value}", text, flags=re.M)
        assert n == 1, key
    (tmp_path / "c.yaml").write_text(text)
    step = Supervised.training_step

    def interrupted(self: Supervised, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Supervised, "training_step", interrupted)
    status, _, err = run("train", "superresolver", tmp_path / "c.yaml")
    assert status == 130
    assert "the same command continues" in err
    assert (tmp_path / "model.run" / "last.ckpt").exists()
    monkeypatch.undo()
    assert run("train", "superresolver", tmp_path / "c.yaml")[0] == 0
    assert xatmo.load(tmp_path / "model").history["step"].tolist() == [1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------------- train, apply, evaluate
@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fine file, a coarse file and a model trained from a configuration."""
    folder = tmp_path_factory.mktemp("trained")
    fine = fields(times=8, nlat=18)
    grid = xatmo.Grid.regular(18, 36, poles=False)
    fine = fine.assign_coords(grid.coords())
    fine.to_netcdf(folder / "fine.nc")
    fine.atmo.coarsen(3).to_netcdf(folder / "coarse.nc")
    content = f"""
data:
  input: {folder / "fine.nc"}
  variables: [t2m]
  select: {{time: ['2001-01-01', '2001-01-05']}}
  validation: {{time: ['2001-01-07', '2001-01-08']}}
task: {{factor: 3, channels: 4, n_blocks: 1}}
training: {{max_steps: 3, patch_size: 4, batch_size: 2, accelerator: cpu, progress: false}}
output: {folder / "model"}
"""
    (folder / "c.yaml").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "superresolver", str(folder / "c.yaml")])
    assert stopped.value.code == 0
    return folder


def test_train_saves_what_apply_reads(run: Run, trained: Path) -> None:
    assert {"config.json", "model.safetensors", "normalizer.nc"} <= {p.name for p in (trained / "model").iterdir()}
    assert xatmo.load(trained / "model").history["step"].iloc[-1] == 3
    status, out, err = run("apply", trained / "model", trained / "coarse.nc", trained / "made.zarr")
    assert (status, err) == (0, "")
    assert "wrote" in out
    made = xr.open_zarr(trained / "made.zarr")
    assert dict(made.sizes) == {"time": 8, "latitude": 18, "longitude": 36}
    assert made.t2m.attrs["units"] == "K"
    direct = xr.open_dataset(trained / "coarse.nc").atmo.superresolve(trained / "model")
    np.testing.assert_allclose(made.t2m.values, direct.t2m.values, rtol=0, atol=1e-5)
    assert run("apply", trained / "model", trained / "coarse.nc", trained / "made.zarr")[0] == 1


def test_apply_renames_the_one_variable(run: Run, trained: Path) -> None:
    xr.open_dataset(trained / "coarse.nc").rename(t2m="tas").to_netcdf(trained / "renamed.nc")
    words = ["apply", trained / "model", trained / "renamed.nc", trained / "renamed_out.nc"]
    status, _, err = run(*words)
    assert status == 1
    assert "t2m" in err
    assert run(*words, "--variable", "tas")[0] == 0
    assert "t2m" in xr.open_dataset(trained / "renamed_out.nc")


def test_apply_draws_members_and_masks_gaps(run: Run, trained: Path) -> None:
    coarse = xr.open_dataset(trained / "coarse.nc").load()
    words = ["apply", trained / "model", trained / "coarse.nc", trained / "members.nc"]
    status, _, err = run(*words, "--members", "2")
    assert status == 1
    assert "members=2 came, but SuperResolution gives one answer to one input" in " ".join(err.split())
    task = xatmo.SuperResolver(3, channels=4, n_blocks=1, dropout=0.3, mc_dropout=True)
    task.fit(xr.open_dataset(trained / "fine.nc")["t2m"], max_steps=6, patch_size=4, progress=False)
    task.save(trained / "drawing")
    words[1] = trained / "drawing"
    assert run(*words, "--members", "2", "--seed", "3")[0] == 0
    made = xr.open_dataset(trained / "members.nc")
    assert made.sizes["member"] == 2
    assert float(made.t2m.std("member").mean()) > 0
    np.testing.assert_allclose(made.t2m, coarse.atmo.superresolve(task, members=2, seed=3).t2m, atol=1e-4)

    coarse.where(coarse.latitude < 60).assign_attrs(coarse.attrs).to_netcdf(trained / "gaps.nc")
    words[2:] = [trained / "gaps.nc", trained / "gaps_out.nc"]
    status, _, err = run(*words)
    assert (status, "missing" in err) == (1, True)
    assert run(*words, "--nan", "mask")[0] == 0
    masked = xr.open_dataset(trained / "gaps_out.nc").t2m
    assert bool(masked.sel(latitude=slice(90, 60)).isnull().all())
    assert bool(masked.sel(latitude=slice(50, -90)).notnull().all())


def test_evaluate_prints_and_writes_scores(run: Run, trained: Path) -> None:
    fine = xr.open_dataset(trained / "fine.nc")
    (fine + 0.5).assign_attrs(fine.attrs).assign(t2m=(fine.t2m + 0.5).assign_attrs(units="K")).to_netcdf(
        trained / "p.nc"
    )
    pair = trained / "p.nc", trained / "fine.nc"
    status, out, _ = run("evaluate", *pair, "--metrics", "rmse,bias", "--output", trained / "scores.csv")
    assert status == 0
    assert out.count("0.5 (0.5 to 0.5)") == 2  # with intervals, without being asked
    assert "90 % intervals from 1000 resamples of 8 blocks of 1D of time" in out
    assert "rmse" in (trained / "scores.csv").read_text()
    status, out, _ = run("evaluate", *pair, "--metrics", "rmse", "--dim", "latitude,longitude", "--variable", "t2m")
    assert out.count("0.5") == 8
    assert "no intervals: time is kept, and nothing else is there to draw from" in out
    bounded = "--metrics", "rmse,correlation", "--bootstrap", "time:2"
    status, out, _ = run("evaluate", *pair, *bounded, "--output", trained / "bounded.csv")
    assert status == 0
    assert "0.5 (0.5 to 0.5)" in out
    assert "blocks of 2 points of time" in out
    assert {"rmse_lower", "correlation_upper"} <= set(pd.read_csv(trained / "bounded.csv").columns)
    status, out, _ = run("evaluate", *pair, "--metrics", "rmse", "--output", trained / "chosen.nc")
    written = xr.load_dataset(trained / "chosen.nc")
    assert {"rmse_lower", "rmse_upper"} <= set(written)
    assert written.attrs["intervals"] in out
    status, out, _ = run("evaluate", *pair, "--metrics", "rmse", "--bootstrap", "none")
    assert "0.5" in out
    assert "(" not in out
    assert "names no dimension; wanted auto, none, DIM or DIM:BLOCK" in run("evaluate", *pair, "--bootstrap", ":3")[2]
    status, _, err = run("evaluate", *pair, "--metrics", "beauty")
    assert status == 1
    assert "unknown metric 'beauty'" in err
    assert run("evaluate", *pair, "--output", trained / "scores.nc")[0] == 0
    assert float(xr.open_dataset(trained / "scores.nc").bias) == pytest.approx(0.5)
