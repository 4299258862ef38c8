"""Forecasts and scores of a run: what they leave, what they refuse, and that interruptions change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from experiment import (
    archive,
    assert_same_bytes,
    forecaster,
    interrupted_after,
    prepare,
)

import xatmo
from xatmo import workflow
from xatmo.errors import ConfigError, CoordinateError, OptionError
from xatmo.workflow import evaluation


def test_a_file_for_each_initial_time_of_minutes_too(tmp_path: Path) -> None:
    for step, names in (
        ("12h", ["forecast_20190301_00.nc", "forecast_20190301_12.nc"]),
        ("5min", ["forecast_20190301_0000.nc", "forecast_20190301_0005.nc"]),
        ("30s", ["forecast_20190301_000000.nc", "forecast_20190301_000030.nc"]),
    ):
        times = pd.date_range("2019-03-01", periods=2, freq=step)
        ds = xr.Dataset({"rain": ("init_time", [1.0, 2.0])}, {"init_time": times})
        evaluation._each_initial_time(ds, tmp_path / step)
        assert sorted(p.name for p in (tmp_path / step).iterdir()) == names
        assert xr.load_dataset(tmp_path / step / names[1]).rain.item() == 2.0


def post(files: Path, name: str = "run", **more: Any) -> workflow.Postprocessed:
    given = {"bootstrap": {"block": 4, "n": 20}, "figures": False, "every": 3, **more}
    return workflow.postprocess(
        files / "run" / "model", files / "prepared", files / name, progress=False, device="cpu", **given
    )


def test_forecasts_and_scores_of_a_run(modelled: Path) -> None:
    made = post(modelled, netcdf=True, baselines=["persistence", "yesterday", "diurnal"])
    assert sorted(p.name for p in made.path.iterdir()) == [
        "baselines", "forecasts.zarr", "model", "model.train.json", "netcdf", "run.json", "scores.json", "scores.nc",
    ]  # fmt: skip
    forecast = xr.open_zarr(made.path / "forecasts.zarr")
    truth = workflow.open_prepared(modelled / "prepared").part("test")
    assert list(forecast) == ["2t"]
    assert forecast.init_time.values[0] == truth.time.values[3]  # the context of four frames
    assert forecast.valid_time.values.max() <= truth.time.values[-1]
    at = xatmo.metrics.at_valid_times(truth["2t"], forecast["2t"])
    error = (forecast["2t"] - at).compute()
    weights = np.cos(np.deg2rad(error.latitude))
    expected = np.sqrt((error**2).weighted(weights).mean(["init_time", "latitude", "longitude"]))
    found = made.scores.rmse.sel(forecast="model")
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # areas of cells rather than cosines
    np.testing.assert_allclose(found, made.scores.rmse.sel(forecast="diurnal"), rtol=1e-5)
    assert (made.scores.rmse_lower <= made.scores.rmse).all()
    assert (made.scores.rmse <= made.scores.rmse_upper).all()
    # Four frames are a day: what persists is what yesterday had, at the last lead.
    persisted = made.scores.rmse.sel(forecast="persistence").isel(lead_time=-1)
    assert float(persisted) == pytest.approx(float(made.scores.rmse.sel(forecast="yesterday").isel(lead_time=-1)))
    told = json.loads((made.path / "scores.json").read_text())
    assert told["lead_hours"] == [6.0, 12.0, 18.0, 24.0]
    whole = np.sqrt((error**2).weighted(weights).mean())
    for name, wanted in {"all_leads": whole, "by_lead": expected}.items():
        scored = told["model"]["rmse"]
        np.testing.assert_allclose(scored[name], wanted, rtol=1e-3)
        assert np.all(np.less_equal(scored[f"{name}_lower"], scored[name]))
        assert np.all(np.less_equal(scored[name], scored[f"{name}_upper"]))
    assert told["intervals"] == made.scores.attrs["intervals"]
    assert "from 20 resamples of" in told["intervals"]
    assert "blocks of 4 points of init_time" in told["intervals"]
    one = sorted((made.path / "netcdf").iterdir())
    assert len(one) == forecast.sizes["init_time"]
    xr.testing.assert_equal(xr.load_dataset(one[0]), forecast.isel(init_time=0).load())
    record = json.loads((made.path / "run.json").read_text())
    assert record["model"] == xatmo.load(made.path / "model").model.fingerprint
    assert record["settings"]["every"] == 3
    assert post(modelled, netcdf=True, baselines=["persistence", "yesterday", "diurnal"]).already


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (xatmo._journal.Journal, "add", 1),
        pytest.param(evaluation, "write_text", 0, marks=pytest.mark.slow),
        pytest.param(evaluation, "replace", 1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_postprocessing_goes_on(
    modelled: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: int
) -> None:
    monkeypatch.setattr(evaluation, "REGION_BYTES", 20_000)  # several regions
    baselines = {"baselines": ["persistence"]}
    whole = post(modelled, "whole", **baselines)
    with monkeypatch.context() as patch:
        interrupted_after(patch, owner, name, calls, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            post(modelled, **baselines)
    assert not (modelled / "run" / "run.json").exists()
    if owner is not evaluation or name != "replace":  # then all is there, and only has to take its place
        with pytest.raises(ConfigError, match="was begun with other settings: every was 3 and is 5"):
            post(modelled, every=5, **baselines)
    again = post(modelled, **baselines)
    assert_same_bytes(whole.path / "forecasts.zarr", again.path / "forecasts.zarr")
    assert_same_bytes(whole.path / "baselines", again.path / "baselines")
    xr.testing.assert_identical(whole.scores, again.scores)
    assert not (again.path / ".postprocess.partial").exists()


def test_a_failed_replacement_leaves_the_run_as_it_was(modelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = post(modelled, baselines=[])
    with pytest.raises(ConfigError, match="was made with other settings: every was 3 and is 5.*--overwrite"):
        post(modelled, baselines=[], every=5)
    with monkeypatch.context() as patch:
        interrupted_after(patch, evaluation, "write_text", 0, OSError)
        with pytest.raises(OSError, match="^$"):
            post(modelled, baselines=[], every=5, overwrite=True)
    assert post(modelled, baselines=[]).already
    after = post(modelled, baselines=[], every=5, overwrite=True)
    assert after.scores.lead_time.size == before.scores.lead_time.size
    assert xr.open_zarr(after.path / "forecasts.zarr").sizes["init_time"] == 10


def test_a_month_that_was_not_learned_has_the_mean_day(modelled: Path) -> None:
    splits = {"train": {"months": 1}, "test": {"months": 2}}
    prepare(modelled, overwrite=True, splits=splits, climatology=["month", "hour"])
    lines: list[str] = []
    made = post(modelled, metrics=["rmse", "acc"], baselines=["climatology"], note=lines.append)
    said = "the training part has nothing of month 2; its mean day is taken instead"
    assert {f"acc: {said}", f"climatology: {said}"} <= set(lines)
    record = json.loads((made.path / "run.json").read_text())
    assert record["remarks"] == {"acc": said, "climatology": said}
    assert record["left_out"] == {}
    ds = xr.open_zarr(modelled / "data.zarr")["2t"].load()
    day = ds.sel(time=ds.time.dt.month == 1).groupby("time.hour").mean()
    found = xr.open_zarr(made.path / "baselines" / "climatology.zarr")["2t"]
    forecast = xr.open_zarr(made.path / "forecasts.zarr")["2t"]
    assert found.dims == forecast.dims
    assert found.attrs == forecast.attrs
    usual = day.sel(hour=forecast.valid_time.dt.hour).transpose(*forecast.dims).drop_vars("hour")
    np.testing.assert_allclose(found, usual, atol=1e-3)
    dims = ["init_time", "latitude", "longitude"]
    by_hour = xatmo.metrics.verify(
        forecast.to_dataset(), ds.to_dataset(), metrics=["acc"], dim=dims,
        climatology=xatmo.metrics.climatology(ds.sel(time=ds.time.dt.month == 1), by="hour").to_dataset(),
    )  # fmt: skip
    np.testing.assert_allclose(made.scores["acc"].sel(forecast="model"), np.ravel(by_hour["acc"]), rtol=1e-5)


def test_months_are_put_together_by_their_numbers_of_times() -> None:
    ds = archive()[["2t", "tcc"]].isel(time=slice(0, 150))
    learned = xatmo.metrics.climatology(ds)
    later = ds.time + np.timedelta64(90, "D")
    day, said = workflow.covering(learned, later)
    xr.testing.assert_allclose(
        day.drop_attrs(), xatmo.metrics.climatology(ds, by="hour").drop_vars("count").drop_attrs(), rtol=1e-6
    )
    assert said is not None
    assert "month 4, 5" in said
    assert workflow.covering(learned, ds.time) == (learned, None)
    with pytest.raises(CoordinateError, match="no hour for hour 3"):
        workflow.covering(learned, later + np.timedelta64(3, "h"))
    with pytest.raises(CoordinateError, match="no month"):
        workflow.covering(xatmo.metrics.climatology(ds, by="month"), later)


def test_what_cannot_be_forecast_is_left_out_and_recorded(files: Path) -> None:
    ds = archive()[["2t"]]
    hours = np.where(ds.time.dt.month == 1, 0, 6)  # at 0 and 12, and later at 6 and 18
    ds.isel(time=np.flatnonzero(ds.time.dt.hour % 12 == hours)).to_netcdf(files / "shifted.nc")
    splits = {"train": {"months": 1}, "test": {"months": 2}}
    workflow.preprocess(files / "shifted.nc", files / "prepared", splits=splits, n_context=4, n_future=4)
    workflow.train(forecaster(architecture="persistence"), files / "prepared", files / "run" / "model", target="2t")
    lines: list[str] = []
    made = post(files, metrics=["rmse"], baselines=["persistence", "climatology"], note=lines.append)
    assert list(made.scores.forecast.values) == ["model", "persistence"]
    record = json.loads((made.path / "run.json").read_text())
    assert list(record["left_out"]) == ["climatology"]
    assert "no hour for hour 6" in record["left_out"]["climatology"]
    assert f"left out: climatology, {record['left_out']['climatology']}" in lines


def test_what_cannot_be_forecast_is_refused(modelled: Path) -> None:
    prepare(modelled, overwrite=True, climatology=None)
    with pytest.raises(OptionError, match="metric 'acc' needs a climatology; prepare the data with"):
        post(modelled, "other", metrics=["acc"])
    prepare(modelled, overwrite=True, climatology="month", splits={"train": {"months": 1}, "test": {"months": 2}})
    with pytest.raises(OptionError, match="metric 'acc' needs a climatology of every time .* climatology: \\[hour\\]"):
        post(modelled, "other", metrics=["acc"])
    for more, error, message in (
        ({"baselines": ["magic"]}, OptionError, "baseline 'magic' came; wanted some of persistence"),
        ({"every": 0}, OptionError, "every=0 came; wanted 1 or more"),
        ({"metrics": ["rsme"]}, OptionError, "rsme"),
        ({"hours": 5}, ConfigError, "test of .* has no stretch of 4 and 4 frames with an initial time at hours 5"),
    ):
        with pytest.raises(error, match=message):
            post(modelled, "other2", **{"metrics": ["rmse"], **more})
    assert not (modelled / "other2").exists()


@pytest.mark.slow
def test_figures_are_drawn(modelled: Path) -> None:
    made = post(modelled, figures=True, baselines=["persistence"])
    names = sorted(p.name for p in (made.path / "figures").iterdir())
    assert names == ["2t_conditional_quantiles.png", "2t_examples.png", "scores_by_lead.png"]


def test_scores_as_ambs_has_them(modelled: Path) -> None:
    prepare(modelled, overwrite=True, climatology=["month", "hour"])
    found = post(modelled, baselines=[], metrics=["mse", "texture"], compat="ambs").scores
    names = [f"{m}{over}" for m in ("mse", "texture") for over in ("", "_all_leads")]
    assert set(found) == {f"{n}{end}" for n in names for end in ("", "_lower", "_upper")}
    assert found.mse_lower.attrs["definition"] == "AMBS: unweighted"
    truth = workflow.truth_of(modelled / "run")
    forecast = xr.open_zarr(modelled / "run" / "forecasts.zarr")["2t"]
    error = forecast - xatmo.metrics.at_valid_times(truth[0]["2t"], forecast)
    unweighted = (error**2).mean(["init_time", "latitude", "longitude"])
    np.testing.assert_allclose(found.mse.sel(forecast="model"), unweighted, rtol=1e-5)
    with pytest.raises(OptionError, match=r"compat='ambs' with metrics=\['rmse'\]; wanted some of \('mse', "):
        post(modelled, "b", baselines=[], metrics=["rmse"], compat="ambs")
    with pytest.raises(OptionError, match="compat='savp' came; wanted 'ambs'"):
        post(modelled, "c", baselines=[], metrics=["mse"], compat="savp")


def test_one_score_and_one_baseline_may_be_words(modelled: Path) -> None:
    made = post(modelled, metrics="rmse", baselines="persistence", every=30)
    assert made.scores.forecast.values.tolist() == ["model", "persistence"]
    assert "rmse" in made.scores or "2t_rmse" in made.scores
    assert post(modelled, metrics=["rmse"], baselines=["persistence"], every=30).already


def test_members_that_cannot_be_drawn_are_refused_before_anything_is_written(modelled: Path) -> None:
    with pytest.raises(OptionError, match="members=3 came, but .* gives one answer to one input"):
        post(modelled, "fresh", members=3)
    assert not (modelled / "fresh").exists()


def test_what_is_opened_without_chunks_is_forecast_lazily(modelled: Path) -> None:
    """As entries of a catalog are."""
    prepared = workflow.open_prepared(modelled / "prepared")
    whole = prepared.part("test")
    cut = evaluation._in_chunks(whole.compute())
    assert all(da.chunks is not None for da in cut.data_vars.values())
    assert evaluation._in_chunks(whole) is whole
