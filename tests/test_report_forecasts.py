"""Reports of forecasts: scores, tests and figures of any number of runs, on times that all of them have."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import metrics, plot
from xatmo.cli import main
from xatmo.errors import CoordinateError, OptionError, UnitsError
from xatmo.report import _runs, compare

STEPS = 3  # lead times


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few dots, which are quick to write."""
    monkeypatch.setattr("xatmo.report._figures._DPI", 30)


def weather(days: int = 12) -> xr.DataArray:
    """An AR(1) process in time on a small grid, every 6 hours, with a daily cycle."""
    rng = np.random.default_rng(0)
    time = pd.date_range("2019-06-01", periods=4 * days, freq="6h")
    noise = rng.normal(size=(time.size, 8, 10))
    for k in range(1, time.size):
        noise[k] = 0.8 * noise[k - 1] + 0.6 * noise[k]
    cycle = 3 * np.cos(2 * np.pi * (time.hour.to_numpy() - 12) / 24)
    coords = {"time": time, "latitude": np.linspace(55, 41, 8), "longitude": np.linspace(0.0, 18.0, 10)}
    values = (280 + cycle[:, None, None] + noise).astype("f4")
    attrs = {"units": "K", "long_name": "2 m temperature"}
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), "t2m", attrs)


def forecast(truth: xr.DataArray, method: str) -> xr.DataArray:
    """The last frame, the frame of a day before, or the truth with noise that grows with the lead."""
    rng = np.random.default_rng(1)
    n = truth.sizes["time"] - 4 - STEPS
    at = np.arange(4, 4 + n)
    leads = np.arange(1, STEPS + 1)
    back = {"persistence": 0 * leads, "yesterday": leads - 4, "good": leads}[method]
    values = truth.values[at[:, None] + back]
    if method == "good":
        values = values + 0.2 * leads[:, None, None] * rng.normal(size=values.shape)
    coords = {
        "init_time": truth["time"].values[at], "lead_time": pd.to_timedelta(6 * leads, "h"),
        "latitude": truth["latitude"], "longitude": truth["longitude"],
    }  # fmt: skip
    made = xr.DataArray(values.astype("f4"), coords, list(coords), truth.name, truth.attrs)
    return made.assign_coords(valid_time=made["init_time"] + made["lead_time"])


def three() -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    truth = weather()
    return {name: forecast(truth, name) for name in ("good", "yesterday", "persistence")}, truth


def test_scores_are_those_of_verify_and_tests_those_of_compare_models() -> None:
    runs, truth = three()
    blocks = {"block": "2D", "n": 100}
    found = compare(runs, truth, bootstrap=blocks, reference="yesterday", figures=False)
    at = found.scores.set_index(["run", "score"])
    whole = {"dim": "init_time", **blocks}
    for name, one in runs.items():
        expected = metrics.verify(one, truth, metrics=["rmse", "correlation"],
                                  dim=["init_time", "lead_time", "latitude", "longitude"], bootstrap=whole)  # fmt: skip
        for score in ("rmse", "correlation"):
            got = at.loc[(name, score)]
            assert got["value"] == pytest.approx(expected[score].item(), rel=1e-5)
            assert got["lower"] == pytest.approx(expected[f"{score}_lower"].item(), rel=1e-5)
    tested = metrics.compare_models(
        runs, truth, metric="rmse", dim=["init_time", "latitude", "longitude"], reference="yesterday", bootstrap=whole
    )
    lead = found.by_lead.set_index(["run", "score", "lead_hours"]).loc[("good", "rmse", 12.0)]
    one = tested.sel(compared="good").isel(lead_time=1)
    assert lead["difference"] == pytest.approx(one["difference"].item(), rel=1e-5)
    assert lead["p_adjusted"] == pytest.approx(one["p_adjusted"].item())
    assert np.isnan(at.loc[("yesterday", "rmse"), "p_value"])
    assert "better</small>" in found.html
    assert "worse</small>" in found.html
    assert "<small>reference</small>" in found.html


def test_a_run_has_one_colour_in_scores_and_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[Any]] = []
    usual = plot.scores

    def scores(*given: Any, **options: Any) -> Any:
        axes = usual(*given, **options)
        named = [[line for line in ax.lines if not str(line.get_label()).startswith("_")] for ax in axes]
        drawn.append([{str(line.get_label()): line.get_color() for line in lines} for lines in named])
        return axes

    monkeypatch.setattr(plot, "scores", scores)
    runs, truth = three()
    compare(runs, truth, metrics=["rmse"], bootstrap={"block": "2D", "n": 10}, reference="yesterday")
    first, second = (panels[0] for panels in drawn)
    assert first == second
    assert list(first) == ["good", "yesterday", "persistence"]


@pytest.mark.slow
def test_the_page_holds_all_figures_and_fetches_nothing(tmp_path: Path) -> None:
    runs, truth = three()
    rng = np.random.default_rng(2)
    members = xr.concat([runs["good"] + 0.5 * rng.normal(size=runs["good"].shape) for _ in range(3)], "member")
    runs["members"] = members.assign_attrs(truth.attrs).chunk(init_time=10)
    history = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    found = compare(
        runs, truth, metrics=["rmse", "bias"], bootstrap={"block": "2D", "n": 20}, html=tmp_path / "page.html",
        climatology=metrics.climatology(truth, by=("hour",)), training={"good": history, "members": {"layers": 3}},
    )  # fmt: skip
    assert found.notes == []
    for title in (
        "Scores against lead time", "Difference from members", "The best case", "The median case: differences",
        "The worst case", "Spectra by lead time", "Daily cycle", "Ranks of the truth among the members",
        "Spread and error by lead time", "Losses of good",
        "Conditional quantiles of good: truth given forecast", "Conditional quantiles of members: forecast given truth",
    ):  # fmt: skip
        assert f"<h3>{title}</h3>" in found.html, title
    assert "url(" not in found.html
    assert 'src="http' not in found.html
    at = found.scores.set_index(["run", "score"])["value"]
    assert {"rmse", "bias", "acc", "crps"} == set(found.scores["score"])
    # One forecast is an ensemble of one: its CRPS is its mean absolute error.
    dims = ["init_time", "lead_time", "latitude", "longitude"]
    assert at["good", "crps"] == pytest.approx(metrics.mae(runs["good"], truth, dim=dims).item(), rel=1e-5)
    # The mean of noisy members errs less than one of them.
    assert at["members", "rmse"] < np.hypot(at["good", "rmse"], 0.5)
    paths = found.save_tables(tmp_path / "tables")
    assert [p.name for p in paths] == ["scores.csv", "settings.csv", "scores_by_lead.csv"]


def test_runs_are_compared_on_the_times_rows_and_units_that_they_share() -> None:
    runs, truth = three()
    late = runs["yesterday"].isel(init_time=slice(5, None), latitude=slice(None, None, -1))
    celsius = (runs["persistence"] - 273.15).assign_attrs(truth.attrs | {"units": "degC"})
    short = truth.isel(time=slice(0, -2))
    found = compare({"good": runs["good"], "late": late, "celsius": celsius}, short, metrics=["rmse"], figures=False)
    assert [note for note in found.notes if "init_times" in note] == [
        "t2m: only the 36 init_times that all runs have are compared; left out: 5 of good, 5 of celsius"
    ]
    assert any("the truth lacks valid times of 2 of 36 initial times" in note for note in found.notes)
    there = slice(5, -2)
    at = found.scores.set_index("run")["value"]
    dims = ["init_time", "lead_time", "latitude", "longitude"]
    for name, same in (("late", "yesterday"), ("celsius", "persistence")):
        expected = metrics.rmse(runs[same].isel(init_time=there), truth, dim=dims).item()
        assert at[name] == pytest.approx(expected, rel=1e-4)


def test_variables_that_only_some_runs_have_are_told() -> None:
    truth = weather()
    both = xr.Dataset({"t2m": truth, "u": truth.assign_attrs(units="m s-1", long_name="wind")})
    good, more = forecast(truth, "good"), forecast(truth, "persistence")
    runs = {"one": good, "two": xr.Dataset({"t2m": more, "u": more.assign_attrs(units="m s-1")})}
    found = compare(runs, both, figures=False)
    assert set(found.scores["variable"]) == {"t2m"}
    assert found.notes[0] == "u: not in one, and so compared of none"
    assert "<li>u: not in one, and so compared of none</li>" in found.html


def test_names_that_look_like_formulas_or_are_long_are_drawn() -> None:
    """What is a formula to Matplotlib and cannot be read as one stays as it is; long names run over no other panel."""
    from matplotlib.text import Text

    from xatmo.report import _figures

    truth = weather()
    long = "convlstm_batch64_rate0.001_dropout0.2_seed3_context12_future24_second"
    axes = plot.maps({"truth": truth[0], long: truth[1], r"$\frac$": truth[2]}, columns=3)
    figure = axes[0].figure
    _figures.encoded(axes)
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert r"$\frac$" in texts
    assert long not in texts
    title = next(ax.title for ax in axes if ax.get_title().replace("\n", "") == long)
    assert title.get_window_extent().width <= 1.1 * title.axes.get_window_extent().width
    line = xr.DataArray([1.0, 2.0], {"lead_time": pd.to_timedelta([6, 12], "h")}, ["lead_time"])
    axes = plot.scores({name: xr.Dataset({"rmse": line}) for name in (long, "b", "c", "d")})
    figure = axes.ravel()[0].figure
    _figures.encoded(axes)
    assert any("\n" in text.get_text() for legend in figure.legends for text in legend.get_texts())


def test_blocks_follow_the_leads_and_the_length_of_the_record() -> None:
    from xatmo.report import _forecast_measures, _forecasts

    truth = weather(days=14)
    aligned = _forecasts.align({"a": forecast(truth, "good")}, truth)
    assert _forecast_measures.resampling(aligned, "auto") == ({"dim": "init_time", "block": "1D", "n": 1000}, "")
    assert _forecast_measures.resampling(aligned, {"block": 3}) == ({"dim": "init_time", "block": 3}, "")
    few = weather(days=3)
    aligned = _forecasts.align({"a": forecast(few, "good")}, few)
    assert aligned.truth.sizes["init_time"] < 6
    words = "make fewer than two blocks of 1D"
    none, why = _forecast_measures.resampling(aligned, "auto")
    assert (none, words in why) == (None, True)
    found = compare({"a": forecast(few, "good")}, few, metrics=["rmse"], figures=False)
    assert found.scores["lower"].isna().all()
    assert any(words in note for note in found.notes)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders of runs as the workflow leaves them, the truth, and a climatology."""
    runs, truth = three()
    for name, one in runs.items():
        folder = tmp_path / name
        folder.mkdir()
        one.drop_vars("valid_time").to_dataset().to_zarr(folder / "forecasts.zarr", consolidated=False)
        (folder / "run.json").write_text(json.dumps({"settings": {"method": name}, "versions": {"xatmo": "0.1"}}))
    (tmp_path / "good" / "model").mkdir()
    pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]}).to_csv(tmp_path / "good" / "model" / "history.csv", index=False)
    truth.to_dataset().to_netcdf(tmp_path / "truth.nc")
    metrics.climatology(truth, by=("hour",)).to_dataset(name="t2m").to_netcdf(tmp_path / "climatology.nc")
    return tmp_path


def test_folders_of_runs_from_the_command_line(folders: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    words = [str(folders / n) for n in ("good", "yesterday", "persistence")]
    words += ["--target", folders / "truth.nc", "--html", folders / "page.html", "--bootstrap", "init_time:2D"]
    words += ["--reference", "persistence", "--climatology", folders / "climatology.nc", "--metrics", "rmse"]
    words += ["--tables", folders / "tables", "--no-figures"]
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    assert (stopped.value.code or 0) == 0, err
    assert "*: differs from persistence by more than chance" in out
    assert "90 % intervals from 1000 resamples of 5 blocks of 2D of init_time" in out
    assert len(re.findall(r"\d to\s", out)) >= 6  # the interval of each score
    table = pd.read_csv(folders / "tables" / "scores.csv")
    assert set(table["score"]) == {"rmse", "acc"}
    assert set(table["run"]) == {"good", "yesterday", "persistence"}
    page = (folders / "page.html").read_text()
    assert "settings.method" in page
    history = _runs.resolve("good", folders / "good", coarse=None).history
    assert history is not None
    assert history["loss"].tolist() == [2.0, 1.0]
    assert "resamples of blocks of 2D along init_time" in page


def test_a_training_that_has_not_come_far_stands_beside_runs(folders: Path, tmp_path: Path, capsys: Any) -> None:
    """It is no reference, and neither an empty history nor a record that was cut off ends in a traceback."""
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "history.csv").write_text("")
    (begun / "run.json").write_text('{"max_steps": 5}')
    assert compare({"begun": begun}).settings.loc["max_steps", "begun"] == 5
    shutil.copytree(folders / "persistence" / "forecasts.zarr", folders / "good" / "baselines" / "persistence.zarr")
    page = tmp_path / "page.html"
    words = [str(folders / "good"), str(begun), "--target", str(folders / "truth.nc"), "--html", str(page)]
    with pytest.raises(SystemExit) as stop:
        main(["compare", *words, "--no-figures"])
    assert stop.value.code == 0, capsys.readouterr().err
    (begun / "run.json").write_text('{"max_steps": 5')
    with pytest.raises(OptionError, match=r"run 'begun': .*run.json is no whole JSON"):
        compare({"begun": begun})


def test_settings_of_a_run_and_of_its_model_stand_beside_each_other(folders: Path) -> None:
    for name, seed in (("good", 1), ("yesterday", 2)):
        record = {"settings": {"method": name}, "seed": seed, "seeds": 2, "began": "today", "data": {"seed": 7}}
        (folders / name / "run.json").write_text(json.dumps(record))
        (folders / name / "model").mkdir(exist_ok=True)
        (folders / name / "model" / "run.json").write_text(json.dumps({"seed": 3, "data": "here"}))
        (folders / name / "model" / "history.csv").write_text("step,loss\n1,2.0\n")
    good, other = (_runs.resolve(name, folders / name, coarse=None) for name in ("good", "yesterday"))
    assert good.settings == {"run.settings.method": "good", "run.seed": 1, "run.seeds": 2, "run.data.seed": 7,
                             "seed": 3, "data": "here"}  # fmt: skip
    assert _runs.differing([good, other]) == {"run.settings.method": ["good", "yesterday"], "run.seed": [1, 2]}
    (folders / "persistence" / "history.csv").write_text("step,loss\n1,2.0\n")
    alone = _runs.resolve("persistence", folders / "persistence", coarse=None)
    assert set(alone.settings) == {"run.settings.method", "run.versions.xatmo"}
    assert alone.history is not None


def test_why_there_is_no_acc() -> None:
    """Each cause by its name, and no cause where there is a correlation."""
    runs, truth = three()
    usual = metrics.climatology(truth, by=("hour",))
    runs["usual"] = metrics.climatology_at(usual, runs["good"]).transpose(*runs["good"].dims).assign_attrs(truth.attrs)
    options: dict[str, Any] = {"metrics": ["rmse"], "bootstrap": None, "figures": False}

    def told(climatology: Any, target: Any = truth) -> list[str]:
        return [note for note in compare(runs, target, climatology=climatology, **options).notes if "acc" in note]

    without = "a forecast of the climatology itself has no anomalies to correlate"
    assert told(usual) == [f"t2m: acc of usual: {without}"]
    unknown = "no point is known to the runs, the truth and the climatology together"
    assert told(usual * np.nan) == [f"t2m: acc of {name}: {unknown}" for name in runs]
    still = truth.copy(data=np.full(truth.shape, 280, "f4"))
    at_rest = "the truth is the climatology itself, so that it has no anomalies to correlate"
    assert told(metrics.climatology(still, by=("hour",)), still) == [f"t2m: acc of {name}: {at_rest}" for name in runs]
    assert told(usual.to_dataset(name="other")) == ["t2m: acc: the climatology has no 't2m'"]


def test_what_cannot_be_compared_says_so() -> None:
    runs, truth = three()
    good = runs["good"]
    with pytest.raises(OptionError, match=r"\['plain'\] have no init_time and lead_time, which the other runs have"):
        compare({"good": good, "plain": truth}, truth)
    with pytest.raises(OptionError, match=r"reference='best' is no run with forecasts; wanted one of \['good'\]"):
        compare({"good": good}, truth, reference="best")
    far = good.assign_coords(init_time=good["init_time"] + np.timedelta64(900, "D")).drop_vars("valid_time")
    with pytest.raises(CoordinateError, match="the runs have no init_time in common"):
        compare({"good": good, "far": far}, truth)
    with pytest.raises(CoordinateError, match="the truth has no valid time of the forecasts"):
        compare({"far": far}, truth)
    with pytest.raises(CoordinateError, match="cut lies on other labels of 'longitude' than the first run"):
        compare({"good": good, "cut": good.isel(longitude=slice(2, None))}, truth)


def test_whose_units_are_wrong_and_names_without_a_legend() -> None:
    truth = weather()
    good = forecast(truth, "good")
    with pytest.raises(UnitsError, match=r"^run 'two': units 'm' came, 'K' wanted"):
        compare({"one": good, "two": good.assign_attrs(units="m")}, truth)
    with pytest.raises(OptionError, match="a run is called '_two'; with an underscore first"):
        compare({"one": good, "_two": good}, truth)


def test_no_more_than_some_initial_times_are_in_memory(no_compute: Callable[[], Any]) -> None:
    """A record of the size of a year is cut for Dask, and nothing is read while the work is laid out."""
    import dask.array

    from xatmo.report import _forecast_measures, _forecasts

    time = pd.date_range("2019-01-01", periods=8760, freq="h")
    leads = pd.to_timedelta(np.arange(1, 13), "h")
    coords = {"latitude": np.linspace(54.9, 38.4, 56), "longitude": np.linspace(0, 27.3, 92)}
    shape = (8736, 12, 56, 92)
    data = dask.array.zeros(shape, chunks=(364, 12, 56, 92), dtype="f4")
    made = xr.DataArray(
        data, {"init_time": time[:8736], "lead_time": leads, **coords}, ("init_time", "lead_time", *coords), "t2m"
    )
    truth = xr.DataArray(
        dask.array.zeros((8760, 56, 92), chunks=(730, 56, 92), dtype="f4"), {"time": time, **coords},
        ("time", *coords), "t2m",
    )  # fmt: skip
    with no_compute():
        aligned = _forecasts.align({"a": made, "b": made + 1}, truth)
        sums = _forecast_measures._sums(aligned, {"rmse": "rmse", "gradient_ratio": "gradient_ratio"}, None)
    assert aligned.truth.chunks is not None
    assert max(c[0] for c in [aligned.truth.chunks[0]]) * 12 * 56 * 92 * 4 < 2**27
    # One task for each chunk reads all runs; what it leaves are sums by initial time and lead.
    assert sums.values.chunks[0] == aligned.truth.chunks[0]
    assert sums.values.nbytes < 2**24


def test_small_chunks_are_read_some_at_a_time(tmp_path: Path) -> None:
    """Tasks do not grow with the initial times of a store that has a chunk for each of them."""
    from xatmo.cli.files import open_fields
    from xatmo.report import _forecasts

    runs, truth = three()
    ds = runs["good"].drop_vars("valid_time").to_dataset()
    ds.chunk(init_time=1).to_zarr(tmp_path / "good.zarr", consolidated=False)
    assert open_fields(tmp_path / "good.zarr")["t2m"].data.numblocks[0] == ds.sizes["init_time"]
    opened = _runs.resolve("good", tmp_path / "good.zarr", coarse=None).prediction
    assert opened is not None
    assert opened["t2m"].data.numblocks[0] == 1
    # Reading follows nothing: of tasks behind a common first one, Dask's threads would do all before any other.
    assert len(opened["t2m"].__dask_graph__()) == opened["t2m"].data.npartitions
    assert len(open_fields(tmp_path / "good.zarr")["t2m"].__dask_graph__()) == ds.sizes["init_time"] + 1
    xr.testing.assert_identical(opened["t2m"].compute(), ds["t2m"])
    aligned = _forecasts.align({"good": runs["good"].chunk(init_time=1)}, truth)
    assert aligned.forecasts["good"].data.numblocks[0] == 1
    large = runs["good"].isel(latitude=[0] * 500, longitude=[0] * 400).chunk(init_time=1)  # 2.4 MB each
    assert _forecasts._joined(large)[:2] == (1, 1)
    few = large.isel(latitude=slice(200))
    assert _forecasts._joined(few) == (4,) * (few.sizes["init_time"] // 4) + (1,)


def test_sequences_of_images_are_compared_without_latitude() -> None:
    rng = np.random.default_rng(0)
    dims = ("sequence", "lead_time", "y", "x")
    truth = xr.DataArray(rng.random((8, 2, 9, 9)), {"lead_time": [1, 2]}, dims, "digits")
    runs = {n: truth + size * rng.normal(size=truth.shape) for n, size in (("good", 0.1), ("poor", 0.3))}
    found = compare(runs, truth, bootstrap={"n": 20}, figures=False)
    at = found.scores.set_index(["run", "score"])
    assert at.loc[("good", "rmse"), "value"] == pytest.approx(metrics.rmse(runs["good"], truth).item(), rel=1e-9)
    rough = metrics.gradient_ratio(runs["poor"], truth, image_dims=("y", "x")).item()
    assert at.loc[("poor", "gradient_ratio"), "value"] == pytest.approx(rough, rel=1e-9)
    assert at.loc[("good", "rmse"), "lower"] < at.loc[("good", "rmse"), "value"]
    assert "rough, though Student" in found.html  # eight blocks


def test_cases_of_images_are_drawn_in_rows_and_columns() -> None:
    dims = ("sequence", "lead_time", "y", "x")
    truth = xr.DataArray(np.random.default_rng(0).random((3, 2, 9, 9)), {"lead_time": [1, 2]}, dims, "digits")
    error = xr.DataArray([0.2, 0.1, 0.3], dims="sequence")
    found = compare({"run": truth + error}, truth, metrics=["rmse"], bootstrap=None)
    for case, start, size in (("smallest", 1, 0.1), ("median", 0, 0.2), ("largest", 2, 0.3)):
        assert f"Initial time {start}, lead time 2: the {case} error over all lead times, {size}" in found.html
    assert "The best case: differences" in found.html
    assert not [note for note in found.notes if "case" in note]


def test_longitudes_from_minus_180_are_those_from_0() -> None:
    runs, truth = three()
    west = runs["good"].assign_coords(longitude=(runs["good"]["longitude"] + 180) % 360 - 180 - 360)
    found = compare({"good": runs["good"], "west": west}, truth, metrics=["rmse"], bootstrap=None, figures=False)
    assert found.scores["value"].nunique() == 1


def test_members_are_scored_as_members_where_that_is_asked_for() -> None:
    runs, truth = three()
    members = xr.concat([runs["good"] - 1, runs["good"] + 1], "member").assign_attrs(truth.attrs)
    scores = ["crps", "spread_skill"]
    found = compare({"members": members, "good": runs["good"]}, truth, metrics=scores, bootstrap=None, figures=False)
    at = found.scores.set_index(["run", "score"])["value"]
    dims = ["init_time", "lead_time", "latitude", "longitude"]
    crps = metrics.crps(members, truth, dim=dims, estimator="ensemble").item()
    assert at["members", "crps"] == pytest.approx(crps, rel=1e-5)
    assert ("good", "spread_skill") not in at.index
