"""``xatmo compare``: what it writes and prints, and what it refuses in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo.cli import comparing, main
from xatmo.errors import OptionError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; give exit status, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "120")

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["compare", *map(str, words)])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truth, coarse fields, two predictions and a saved model."""
    path = tmp_path_factory.mktemp("compared")
    grid = xatmo.Grid.regular(12, 24, poles=False)
    coords = {"time": pd.date_range("2001-01-01", periods=6), **grid.coords()}
    values = np.random.default_rng(0).normal(size=(6, *grid.shape)).astype("f4")
    fine = xr.Dataset({"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})}, coords)
    fine.to_netcdf(path / "fine.nc")
    fine.atmo.coarsen(2).to_netcdf(path / "coarse.nc")
    for name, by in (("warm", 1.0), ("hot", 2.0)):
        made = fine.assign(t2m=(fine.t2m + by).assign_attrs(units="K"))
        made.to_zarr(path / f"{name}.zarr", consolidated=False)
    (path / "other").mkdir()
    fine.to_netcdf(path / "other" / "warm.nc")
    task = xatmo.SuperResolver(factor=2, channels=4, n_blocks=0)
    task.fit(fine, max_steps=2, patch_size=4, batch_size=2, accelerator="cpu", progress=False).save(path / "model")
    return path


def test_compare_writes_page_and_tables_and_prints_scores(run: Run, folder: Path) -> None:
    html, tables = folder / "page.html", folder / "tables"
    words = [folder / "warm.zarr", f"cooked={folder / 'hot.zarr'}", folder / "model", "--target", folder / "fine.nc",
             "--coarse", folder / "coarse.nc", "--html", html, "--metrics", "rmse,bias", "--no-bounds",
             "--no-figures",
             "--tables", tables, "--time", "2001-01-03"]  # fmt: skip
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    wrote = [f"wrote {path}" for path in (html, tables / "scores.csv", tables / "settings.csv")]
    for text in ("t2m: warm", "cooked", "model", "bicubic", "rmse (K)", *wrote):
        assert text in out
    scores = pd.read_csv(tables / "scores.csv").set_index(["run", "score"])["value"]
    assert scores[("warm", "bias")] == pytest.approx(1, abs=1e-4)
    assert scores[("cooked", "rmse")] == pytest.approx(2, abs=1e-4)
    assert "<h3>Scores</h3>" in html.read_text(encoding="utf-8")
    status, _, err = run(*words)
    assert status == 1
    assert "page.html exists; pass --overwrite to replace it" in err


def test_trainings_alone_need_no_target(run: Run, folder: Path) -> None:
    status, out, _ = run(folder / "model", "--html", folder / "training.html", "--no-figures")
    assert status == 0
    assert "wrote" in out
    assert "settings.channels" in (folder / "training.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["{f}/warm.zarr"], 2, "Missing option '--html'"),
        (["--html", "{f}/a.html"], 2, "Missing argument 'RUN...'"),
        (["{f}/none.nc", "--html", "{f}/a.html"], 1, "no such file or folder"),
        (
            ["{f}/model", "--target", "{f}/fine.nc", "--html", "{f}/a.html"],
            1,
            "is a saved model; give the coarse fields",
        ),
        (["{f}/warm.zarr", "--target", "{f}/fine.nc", "--html", "{f}/a.txt"], 1, "wanted a name that ends in .html"),
        (
            ["{f}/warm.zarr", "--target", "{f}/fine.nc", "--html", "{f}/a.html", "--time", "noon"],
            1,
            "time='noon' is not there; wanted one of 6 positions or labels from 2001-01-01",
        ),
        (
            ["{f}/warm.zarr", "--target", "{f}/fine.nc", "--html", "{f}/a.html", "--metrics", "beauty"],
            1,
            "unknown metric",
        ),
        (["a={f}/warm.zarr", "a={f}/hot.zarr", "--html", "{f}/a.html"], 1, "two runs are called 'a'"),
        (["{f}/warm.zarr", "--target", "{f}/coarse.nc", "--html", "{f}/a.html", "--no-figures"], 1, "run 'warm': "),
    ],
)
def test_bad_input_is_one_line(run: Run, folder: Path, words: list[str], status: int, message: str) -> None:
    found, _, err = run(*[word.replace("{f}", str(folder)) for word in words])
    assert found == status
    assert message in err
    assert err.count("\n") == 1
    assert not (folder / "a.html").exists()


def test_names_are_as_short_as_tells_runs_apart(folder: Path) -> None:
    words = tuple(str(folder / name) for name in ("warm.zarr", "other/warm.nc", "hot.zarr"))
    assert list(comparing.named_runs(words)) == [f"{folder.name}/warm", "other/warm", "hot"]
    with pytest.raises(OptionError, match="name them: NAME=PATH"):
        comparing.named_runs((words[2], words[2]))
