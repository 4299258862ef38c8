"""Reports: runs of every kind on one page, whose numbers are those of verify, and which needs nothing else."""

from __future__ import annotations

import re
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo.errors import CoordinateError, OptionError, VariableError
from xatmo.report import compare


def truth(times: int = 6, nlat: int = 8) -> xr.DataArray:
    grid = xatmo.Grid.regular(nlat, 2 * nlat, poles=False)
    coords = {"time": pd.date_range("2001-01-01", periods=times), **grid.coords()}
    values = np.random.default_rng(0).normal(size=(times, *grid.shape)).astype("f4")
    attrs = {"units": "K", "long_name": "2 m temperature"}
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), "t2m", attrs)


def shifted(da: xr.DataArray, by: float) -> xr.DataArray:
    return (da + by).assign_attrs(da.attrs)


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few dots, which are quick to write."""
    monkeypatch.setattr("xatmo.report._figures._DPI", 30)


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a page would fetch, its anchors and its tables."""

    void = ("meta", "link", "img", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.sources += [given[k] for k in ("src", "href") if given.get(k)]
        self.links |= {v[1:] for v in [given.get("href") or ""] if v.startswith("#")}
        self.ids |= {given["id"]} if given.get("id") else set()
        if tag == "img":
            assert given.get("alt")
        if tag == "tr":
            self.rows.append([])
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.rows and data.strip() and any(t in self.open for t in ("td", "th")):
            self.rows[-1].append(data.strip())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    task = xatmo.SuperResolver(factor=2, channels=4, n_blocks=0)
    task.fit(truth(), validation=truth(2), max_steps=3, patch_size=4, batch_size=2, accelerator="cpu", progress=False,
             run_dir=folder / "run")  # fmt: skip
    task.save(folder / "model")
    return folder


def runs_of(trained: Path, folder: Path) -> tuple[dict[str, Any], xr.DataArray, xr.DataArray]:
    """A saved model, a file, and a training under way; the truth; coarse fields."""
    fine = truth()
    shifted(fine, 1).to_netcdf(folder / "warm.nc")
    runs = {"model": trained / "model", "warm <b>": folder / "warm.nc", "run": trained / "run"}
    return runs, fine, fine.atmo.coarsen(2).chunk(time=3)


def test_scores_of_predictions_models_and_baselines_are_those_of_verify(trained: Path, tmp_path: Path) -> None:
    runs, fine, coarse = runs_of(trained, tmp_path)
    said: list[str] = []

    @contextmanager
    def step(text: str) -> Any:
        said.append(text)
        yield

    found = compare(runs, fine, coarse=coarse, html=tmp_path / "page.html", step=step, figures=False)
    assert "t2m: model" in said
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert page.links <= page.ids
    assert "warm <b>" not in found.html  # names are text
    direct = coarse.atmo.superresolve(trained / "model").atmo.verify(fine, metrics=["rmse", "ssim"])
    by = found.scores.set_index(["run", "score"])
    np.testing.assert_allclose(by.loc[("model", "rmse"), "value"], direct.rmse, rtol=1e-5)
    np.testing.assert_allclose(by.loc[("model", "ssim"), "value"], direct.ssim, rtol=1e-5)
    warm = by.loc[("warm <b>", "bias")]
    assert warm["value"] == pytest.approx(1, abs=1e-5)
    assert warm["lower"] <= warm["value"] + 1e-6
    assert warm["units"] == "K"
    assert set(found.scores["run"]) == {"model", "warm <b>", "bicubic"}
    assert list(found.settings.columns) == ["model", "run"]
    assert found.settings.loc["settings.channels", "model"] == 4
    paths = found.save_tables(tmp_path / "tables")
    back = pd.read_csv(paths[0])
    np.testing.assert_allclose(back["value"], found.scores["value"])
    assert "setting" in pd.read_csv(paths[1]).columns


@pytest.mark.slow
def test_the_page_holds_all_figures_and_fetches_nothing(trained: Path, tmp_path: Path) -> None:
    runs, fine, coarse = runs_of(trained, tmp_path)
    found = compare(runs, fine, coarse=coarse)
    assert found.notes == []
    page = Page(found.html)
    assert [s for s in page.sources if not s.startswith(("data:", "#"))] == []
    assert "url(" not in found.html
    for title in ("Maps", "Differences", "Spectra", "Power ratio", "Mean in time", "Error in time", "Values at places",
                  "Better or worse at places", "Learning curves", "Losses of model"):  # fmt: skip
        assert f"<h3>{title}</h3>" in found.html, title


def test_the_best_of_each_score_is_marked_and_ensembles_are_scored_as_such() -> None:
    fine = truth(times=6, nlat=8)
    rng = np.random.default_rng(1)
    members = xr.concat([shifted(fine, 0.0) + rng.normal(size=fine.shape) for _ in range(3)], "number")
    members.attrs = fine.attrs
    found = compare(
        {"members": members, "warm": shifted(fine, 3)}, fine, metrics=["rmse", "std_ratio"], cities=False,
        bootstrap={"dim": "time", "block": 2, "n": 20}, time="2001-01-02",
    )  # fmt: skip
    scores = found.scores.set_index(["run", "score"])["value"]
    assert scores[("warm", "rmse")] == pytest.approx(3, rel=1e-5)
    assert np.isfinite(scores[("members", "crps")])
    best = re.findall(r'class="best">([^<]*)', found.html)
    assert best == [f"{scores[('members', 'rmse')]:.4g}", f"{scores[('warm', 'std_ratio')]:.4g}"]
    assert "Ranks of the truth among the members" in found.html
    assert "2001-01-02" in found.html
    assert [s for s in Page(found.html).sources if not s.startswith(("data:", "#"))] == []
    assert "resamples of blocks of 2 along time" in found.html


def test_what_cannot_be_drawn_is_told_and_the_rest_is_there() -> None:
    fine = truth(times=4, nlat=8).where(lambda da: da.latitude > -60)
    found = compare({"warm": shifted(fine, 1)}, fine, metrics=["bias"], cities={"Here": (10.0, 20.0)}, bootstrap=None)
    assert found.scores["value"].tolist() == [pytest.approx(1, abs=1e-5)]
    assert any("spectrum" in note for note in found.notes)
    assert "Maps" in found.html
    assert "Not computed or drawn" in found.html


def test_the_baseline_of_a_region_reaches_its_rim() -> None:
    fine = truth(times=2, nlat=24).sel(latitude=slice(70, 10), longitude=slice(0, 120))
    coarse = fine.atmo.coarsen(2)
    names = ["rmse", "effective_resolution"]
    found = compare({"warm": shifted(fine, 1)}, fine, coarse=coarse, metrics=names, cities=False, bootstrap=None)
    scores = found.scores.set_index(["run", "score"])["value"]
    filled = coarse.atmo.regrid(fine, method="bicubic").fillna(coarse.atmo.regrid(fine, method="nearest"))
    assert scores["bicubic", "rmse"] == pytest.approx(float(xatmo.metrics.rmse(filled, fine)), rel=1e-5)
    assert np.isfinite(scores["bicubic", "effective_resolution"])


def test_scores_that_cannot_be_computed_are_told_and_the_others_are_there() -> None:
    fine = truth(times=2, nlat=8)
    gaps = fine.where(fine.latitude > -60).chunk(time=1)  # found out while computing
    names = ["rmse", "effective_resolution"]
    found = compare({"gaps": gaps, "warm": shifted(fine, 1)}, fine, metrics=names, cities=False, bootstrap=None)
    assert sorted(zip(found.scores["run"], found.scores["score"], strict=True)) == [
        ("gaps", "rmse"), ("warm", "effective_resolution"), ("warm", "rmse"),
    ]  # fmt: skip
    assert any(
        note.startswith("t2m: gaps, effective_resolution: ") or "effective_resolution" in note for note in found.notes
    )


def test_predictions_are_computed_once_and_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = truth(times=6, nlat=8)
    seen: list[int] = []

    def block(values: np.ndarray, block_info: dict) -> np.ndarray:
        seen.append(block_info[0]["array-location"][0][0])
        return values

    data = fine.chunk(time=2).data.map_blocks(block, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    lazy = shifted(fine, 1).copy(data=data)
    with dask.config.set(scheduler="synchronous"):
        compare({"lazy": lazy}, fine, metrics=["rmse", "bias"], cities=False)
    assert sorted(seen) == [0, 2, 4]


def test_trainings_alone_are_compared_by_their_settings(trained: Path) -> None:
    history = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    other = xatmo.load(trained / "model")
    found = compare({"run": trained / "run", "task": other}, training={"task": history})
    assert "Learning curves" in found.html
    assert "What differs" in found.html
    assert found.scores.empty
    compare({"p": truth()}, truth(), metrics=["bias"], training={"p": {"layers": 3}}, figures=False)


def test_scores_that_are_no_sums_have_bounds_too() -> None:
    fine = truth(6, 8)

    def farthest(prediction: xr.DataArray, target: xr.DataArray, dim: Any = None) -> xr.DataArray:
        return abs(prediction - target).max(dim)

    found = compare({"warm": shifted(fine, 2)}, fine, metrics=["rmse", farthest], figures=False,
                    bootstrap={"dim": "time", "n": 20}).scores  # fmt: skip
    assert found["score"].tolist() == ["rmse", "farthest"]
    np.testing.assert_allclose(found["value"], 2, rtol=1e-5)
    np.testing.assert_allclose(found[["lower", "upper"]], 2, rtol=1e-5)


def test_points_on_rings_are_compared() -> None:
    grid = xatmo.Grid.healpix(4)
    values = np.random.default_rng(0).normal(size=(2, grid.npoints))
    da = xr.DataArray(values, grid.coords(), ("time", grid.dim), "t", {"units": "K"})
    found = compare({"warm": shifted(da, 1)}, da, metrics=["rmse"], figures=False)
    assert found.scores["value"].tolist() == [pytest.approx(1)]


def test_images_and_radar_are_compared_without_latitude(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = xr.DataArray(rng.random((4, 24, 24)), dims=("time", "y", "x"), name="rain")
    runs = {"rough": image + 0.1 * rng.normal(size=image.shape), "wet": image + 0.5}
    found = compare(runs, image, html=tmp_path / "page.html")
    at = found.scores.set_index(["run", "score"])["value"]
    assert at["wet", "rmse"] == pytest.approx(0.5)
    values = (runs["rough"] - image).values
    assert at["rough", "rmse"] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)  # all cells count alike
    assert at["rough", "ssim"] == pytest.approx(
        xatmo.metrics.ssim(runs["rough"], image, image_dims=("y", "x")).item(), rel=1e-9
    )
    assert "effective_resolution" not in set(found.scores["score"])
    assert any("the spacing of 'y' and 'x' is not known" in note for note in found.notes)
    assert "<h3>Maps</h3>" in found.html
    assert "<h3>Spectra</h3>" not in found.html
    assert ">. Run minus" not in found.html

    km = {d: (d, np.arange(24.0), {"units": "km"}) for d in ("y", "x")}
    radar = image.assign_coords(km).chunk(time=2, x=12)
    spaced = compare({n: da.assign_coords(km) for n, da in runs.items()}, radar, coarse=radar, metrics=["rmse"])
    assert "<h3>Spectra</h3>" in spaced.html
    assert any(note.startswith("bicubic: without latitude") for note in spaced.notes)
    assert not any("spacing" in note for note in spaced.notes)


def test_images_are_compared_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xatmo.cli import main

    image = xr.DataArray(np.random.default_rng(0).random((4, 9, 9)), dims=("frame", "y", "x"), name="digits")
    image.to_netcdf(tmp_path / "truth.nc")
    (image + 0.25).to_netcdf(tmp_path / "light.nc")
    words = [tmp_path / "light.nc", "--target", tmp_path / "truth.nc", "--html", tmp_path / "page.html"]
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, words), "--metrics", "rmse", "--no-figures"])
    assert stopped.value.code == 0
    assert "0.25" in capsys.readouterr().out


def test_two_variables_have_a_section_each() -> None:
    ds = xr.Dataset({"a": truth(2, 8).rename("a"), "b": truth(2, 8).rename("b") * 2, "n": 3.0})
    found = compare({"same": ds}, ds, metrics=["rmse"], figures=False)
    assert "<img" not in found.html
    assert found.scores["variable"].tolist() == ["a", "b"]
    assert compare({"same": ds}, ds, metrics=["rmse"], variables=["b"], cities=False).scores["variable"].tolist() == [
        "b"
    ]
    with pytest.raises(VariableError, match="variable 'n' is not in the target and all predictions"):
        compare({"same": ds}, ds, variables=["n"])


def test_what_cannot_be_compared_says_so(trained: Path, tmp_path: Path) -> None:
    fine = truth(2, 8)
    with pytest.raises(OptionError, match="compare got no runs"):
        compare({}, fine)
    with pytest.raises(OptionError, match="cannot write a page to page.txt; wanted a name that ends in .html"):
        compare({"a": fine}, fine, html="page.txt")
    with pytest.raises(FileNotFoundError):
        compare({"a": fine}, fine, html=tmp_path / "nowhere" / "page.html")
    with pytest.raises(OptionError, match=r"training names \['b'\], which are no runs; the runs are \['a'\]"):
        compare({"a": fine}, fine, training={"b": trained})
    with pytest.raises(OptionError, match="a run is called 'truth', which is the name of target="):
        compare({"truth": fine}, fine)
    with pytest.raises(CoordinateError, match="time=7 is not there; wanted one of 2 positions or labels from 2001-01"):
        compare({"a": fine}, fine, time=7)
    with pytest.raises(OptionError, match="there is nothing to compare: no prediction with a target"):
        compare({"a": fine})
    with pytest.raises(VariableError, match="no variable is in the target, .* and in all predictions"):
        compare({"a": xr.Dataset({"x": fine})}, fine)
    with pytest.raises(CoordinateError, match=r"run 'a': .*'time' has 1 points in the prediction"):
        compare({"a": fine[:1]}, fine)
    with pytest.raises(OptionError, match="run 'a': no training at .*; wanted a saved model"):
        compare({"a": fine}, fine, training={"a": tmp_path / "nothing"})
