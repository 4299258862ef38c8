"""Forecasts by start and lead against a truth along time: at valid times, and at the right hour of the climatology."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from forecast_fields import LEADS, forecast_of, loop, record

from xatmo import metrics
from xatmo.errors import CoordinateError, DimensionError, OptionError


def test_truth_at_valid_times():
    truth = record()
    forecast = forecast_of(truth)
    found = metrics.at_valid_times(truth, forecast)
    assert found.dims == forecast.dims
    np.testing.assert_array_equal(found, loop(truth, forecast))
    np.testing.assert_array_equal(found.valid_time, forecast.valid_time)
    assert found.attrs == truth.attrs
    one = metrics.at_valid_times(truth, forecast.isel(init_time=3))
    np.testing.assert_array_equal(one, found.isel(init_time=3))
    without = metrics.at_valid_times(truth, forecast.drop_vars("valid_time"))
    np.testing.assert_array_equal(without, found)
    shuffled = truth.isel(time=np.random.default_rng(0).permutation(truth.sizes["time"]))
    np.testing.assert_array_equal(metrics.at_valid_times(shuffled, forecast), found)
    both = metrics.at_valid_times(truth.to_dataset().assign(lsm=truth[0].drop_vars("time")), forecast)
    np.testing.assert_array_equal(both["t2m"], found)
    assert both["lsm"].dims == ("lat", "lon")


@pytest.mark.parametrize("chunks", [{"time": 7}, {"time": 1, "lat": 2}, {"time": -1}, {"time": 24, "lon": 4}])
@pytest.mark.parametrize("pieces", [None, {"init_time": 3}, {"init_time": 1, "lead_time": 2}])
def test_truth_is_laid_lazily(chunks, pieces, no_compute):
    truth = record()
    forecast = forecast_of(truth)
    with no_compute():
        lazy = metrics.at_valid_times(truth.chunk(chunks), forecast if pieces is None else forecast.chunk(pieces))
        gaps = metrics.at_valid_times(truth[:30].chunk(chunks), forecast, missing="nan")
    np.testing.assert_array_equal(lazy.compute(), loop(truth, forecast))
    np.testing.assert_array_equal(gaps.compute(), metrics.at_valid_times(truth[:30], forecast, missing="nan"))
    assert gaps.isnull().any()
    # A chunk of starts with its leads is no larger than a chunk of the truth, or holds a single start.
    starts = lazy.chunks[0]
    assert max(starts) <= (3 if pieces else max(1, truth.chunk(chunks).chunks[0][0] // LEADS))


def test_other_calendars():
    truth = record().convert_calendar("noleap", use_cftime=True)
    forecast = forecast_of(record()).convert_calendar("noleap", dim="init_time", use_cftime=True)
    found = metrics.at_valid_times(truth, forecast.drop_vars("valid_time"))
    np.testing.assert_array_equal(found, loop(record(), forecast_of(record())))
    other = forecast.drop_vars("valid_time").convert_calendar("360_day", dim="init_time", align_on="date")
    with pytest.raises(CoordinateError, match="has no field at 32 of 32 valid times"):
        metrics.at_valid_times(truth, other)


@pytest.mark.parametrize("name", ["rmse", "mse", "mae", "bias", "correlation", "psnr", "ssim", "wasserstein", "nrmse"])
def test_scores_take_a_truth_along_time(name, no_compute):
    truth = record()
    forecast = forecast_of(truth)
    if name == "ssim":
        truth, forecast = (x.interp(lat=np.linspace(50, 42, 9), lon=np.linspace(0, 10, 9)) for x in (truth, forecast))
        for x in (truth, forecast):
            x.lat.attrs["units"], x.lon.attrs["units"] = "degrees_north", "degrees_east"
            x.attrs["units"] = "K"
    score = getattr(metrics, name)
    dim = [d for d in forecast.dims if d != "lead_time"]
    direct = score(forecast, truth, dim=dim)
    assert direct.dims == ("lead_time",)
    np.testing.assert_allclose(direct, score(forecast, loop(truth, forecast), dim=dim), rtol=1e-12)
    with no_compute():
        lazy = score(forecast.chunk(init_time=3), truth.chunk(time=10), dim=dim)
    np.testing.assert_allclose(lazy, direct, rtol=1e-10)
    assert np.all(np.diff(direct) > 0) == (name in ("rmse", "mse", "mae", "nrmse", "wasserstein"))


@pytest.mark.parametrize("name", ["acc", "skill"])
def test_climatology_is_that_of_the_valid_hour(name):
    truth = record()
    forecast = forecast_of(truth)
    clim = metrics.climatology(
        record(480, seed=9).assign_coords(time=pd.date_range("2019-01-25T12", periods=480, freq="1h"))
    )
    base = xr.zeros_like(forecast)
    for i, j in np.ndindex(forecast.shape[:2]):
        when = pd.Timestamp(forecast.valid_time.values[i, j])
        base[i, j] = clim.sel(month=when.month, hour=when.hour).values
    direct = getattr(metrics, name)(forecast, truth, climatology=clim, dim=["init_time", "lat", "lon"], weights=None)
    p, t, c = forecast.values, loop(truth, forecast).values, base.values
    if name == "acc":
        expected = ((p - c) * (t - c)).sum((0, 2, 3)) / np.sqrt(
            ((p - c) ** 2).sum((0, 2, 3)) * ((t - c) ** 2).sum((0, 2, 3))
        )
    else:
        expected = 1 - ((p - t) ** 2).sum((0, 2, 3)) / ((c - t) ** 2).sum((0, 2, 3))
    np.testing.assert_allclose(direct, expected, rtol=1e-10)
    # One hour beside, and the score is another.
    late = forecast.assign_coords(valid_time=forecast.valid_time + np.timedelta64(1, "h"))
    moved = metrics.climatology_at(clim, late.valid_time)
    wrong = getattr(metrics, name)(forecast, truth, climatology=moved, dim=["init_time", "lat", "lon"], weights=None)
    assert (abs(wrong - direct) > 1e-3).all()


def test_a_plain_climatology_and_one_by_hour():
    truth = record()
    forecast = forecast_of(truth)
    mean = truth.mean("time").assign_attrs(truth.attrs)
    hours = metrics.climatology(truth, by="hour")
    for base in (mean, hours, xr.Dataset({"t2m": hours})):
        found = metrics.acc(forecast, truth, climatology=base, dim=["init_time", "lat", "lon"])
        assert found.dims == ("lead_time",)
    scores = metrics.verify(
        forecast, truth, metrics=["rmse", "acc", "skill"], dim=["init_time", "lat", "lon"], climatology=hours
    )
    np.testing.assert_array_equal(scores["acc"], found)


def test_what_the_truth_lacks_is_said():
    truth = record(40)
    forecast = forecast_of(record())
    with pytest.raises(
        CoordinateError,
        match=r"has no field at 14 of 80 valid times, such as 2020-02-01T04:00:00; 16 of 20 starts have",
    ):
        metrics.rmse(forecast, truth)
    laid = metrics.at_valid_times(truth, forecast, missing="nan")
    assert int(laid.isnull().any(["lat", "lon"]).sum()) == 14
    assert np.isfinite(metrics.rmse(forecast, laid, dim=["init_time", "lat", "lon"])).all()
    with pytest.raises(CoordinateError, match="more than once; wanted each time once"):
        metrics.at_valid_times(xr.concat([truth, truth[:1]], "time"), forecast)
    with pytest.raises(OptionError, match="missing='drop'"):
        metrics.at_valid_times(truth, forecast, missing="drop")
    with pytest.raises(DimensionError, match="wanted a forecast along init_time or lead_time, and a truth along time"):
        metrics.at_valid_times(truth.expand_dims(init_time=2), forecast)
    with pytest.raises(CoordinateError, match="holds int64 values; wanted dates"):
        metrics.at_valid_times(truth.assign_coords(time=("time", np.arange(40), {"standard_name": "time"})), forecast)


def test_no_starts_have_no_fields():
    """What is chosen may be nothing: then nothing is laid, from one chunk or from several."""
    truth = record()
    forecast = forecast_of(truth)
    for chunks in ({"time": 7}, {"time": -1}):
        for none in (forecast[:0], forecast.chunk(init_time=3)[:0]):
            laid = metrics.at_valid_times(truth.chunk(chunks), none).compute()
            assert laid.shape == none.shape
