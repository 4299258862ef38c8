"""Climatologies against plain loops over times, and their values at the right hour of any time."""

from __future__ import annotations

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo.climatology import climatology, climatology_at
from xatmo.errors import CoordinateError, DimensionError, OptionError


def series(days: int = 70, step: str = "1h", start: str = "2019-12-15", seed: int = 0) -> xr.DataArray:
    time = pd.date_range(start, periods=int(pd.Timedelta(days=days) / pd.Timedelta(step)), freq=step)
    values = np.random.default_rng(seed).normal(280, 5, (time.size, 2, 3)).astype("float32")
    coords = {"time": time, "lat": [50.0, 49.0], "lon": [0.0, 1.0, 2.0]}
    attrs = {"units": "K", "long_name": "temperature", "valid_min": 0.0}
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name="t2m", attrs=attrs)


def test_by_month_and_hour_is_a_loop_over_times():
    field = series()
    field[40:400, 0, 1] = np.nan
    found = climatology(field)
    assert found.dims == ("month", "hour", "lat", "lon")
    assert found.month.values.tolist() == [1, 2, 12]
    times = pd.DatetimeIndex(field.time)
    for i, month in enumerate(found.month.values):
        for h in range(24):
            inside = (times.month == month) & (times.hour == h)
            expected = np.nanmean(field.values[inside].astype(np.float64), axis=0)
            np.testing.assert_allclose(found.values[i, h], expected, rtol=1e-6)
            assert found["count"].values[i, h] == inside.sum()
    assert found.dtype == np.float32
    assert found.attrs["units"] == "K"
    assert found.attrs["cell_methods"] == "time: mean"
    assert "valid_min" not in found.attrs
    assert "climatology(by=['month', 'hour']" in found.attrs["history"]


@pytest.mark.parametrize("chunks", [{"time": 24}, {"time": 100, "lon": 2}, {"time": 7, "lat": 1}])
@pytest.mark.parametrize("by", [("month", "hour"), ("hour",), ("dayofyear", "hour")])
def test_lazy_and_the_same_for_any_chunks(by, chunks, no_compute):
    field = series(days=20)
    field[3, 1, 1] = np.nan
    smoothing = 3 if "dayofyear" in by else None
    whole = climatology(field.to_dataset(), by=by, smoothing=smoothing)
    with no_compute():
        lazy = climatology(field.chunk(chunks).to_dataset(), by=by, smoothing=smoothing)
        at = climatology_at(lazy, field.time[:30], missing="nan")
    assert lazy["t2m"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), whole, rtol=1e-6)
    xr.testing.assert_allclose(at.compute(), climatology_at(whole, field.time[:30], missing="nan"), rtol=1e-6)


def test_one_pass_keeps_only_the_times_of_a_chunk():
    """A year of hours in daily chunks: each part has the 24 hours of one day, not all 288 of the climatology."""
    import xatmo.climatology as room

    field = series(days=2)
    parts = room._parts_of(field.values[:24], np.arange(24) + 24 * 11)
    assert parts[1].shape == (24, 2, 3)


def test_smoothing_pools_all_values_in_the_window_around_the_new_year():
    field = series(days=20, start="2020-12-20", step="6h")
    found = climatology(field, by=("dayofyear", "hour"), smoothing=5)
    times = pd.DatetimeIndex(field.time)
    for day in (366, 1, 8):
        apart = np.abs(times.day_of_year.to_numpy() - day)
        inside = (np.minimum(apart, 366 - apart) <= 2) & (times.hour == 6)
        expected = field.values[inside].astype(np.float64).mean(0)
        np.testing.assert_allclose(found.sel(dayofyear=day, hour=6), expected, rtol=1e-6)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "proleptic_gregorian"])
def test_any_calendar(calendar):
    time = xr.date_range("2001-02-20", periods=20 * 24, freq="1h", calendar=calendar, use_cftime=True)
    assert isinstance(time[0], cftime.datetime)
    field = xr.DataArray(np.arange(time.size, dtype=float), {"time": time}, ["time"])
    found = climatology(field)
    expected = [field.values[[k for k, t in enumerate(time) if t.month == 3 and t.hour == h]].mean() for h in range(24)]
    np.testing.assert_allclose(found.sel(month=3), expected)
    np.testing.assert_allclose(climatology_at(found, field.time[-5:]), expected[-5:])


def test_one_hour_off_is_seen():
    """The cycle of hours is that of the frames: laid one hour beside, it is not."""
    field = series(days=3)
    hour = field.time.dt.hour
    clim = climatology(hour.astype(float).rename("h"), by="hour")
    np.testing.assert_array_equal(climatology_at(clim, field), hour)
    later = climatology_at(clim, field.time + np.timedelta64(1, "h"))
    np.testing.assert_array_equal(later, (hour + 1) % 24)


def test_steps_below_an_hour_and_times_off_by_rounding():
    field = series(days=2, step="15min")
    found = climatology(field, by="hour")
    assert found.hour.values[:5].tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(found.sel(hour=6.75), field.values[[27, 27 + 96]].astype(float).mean(0), rtol=1e-6)
    near = field.isel(time=slice(None, None, 4))
    near = near.assign_coords(time=near.time - np.timedelta64(1, "ms"))
    assert climatology(near, by="hour").hour.values.tolist() == list(range(24))
    quarter = climatology_at(found, np.array(["2030-01-01T06:45"], "M8[ns]"))
    np.testing.assert_array_equal(quarter[0], found.sel(hour=6.75))


def test_valid_times_of_forecasts(no_compute):
    clim = climatology(series())
    start = pd.date_range("2020-01-30", periods=3, freq="5h")
    lead = pd.timedelta_range("1h", periods=12, freq="1h")
    forecast = xr.DataArray(
        np.zeros((3, 12, 2, 3)),
        {"init_time": start, "lead_time": lead, "lat": clim.lat, "lon": clim.lon},
        ("init_time", "lead_time", "lat", "lon"),
    )
    found = climatology_at(clim, forecast)
    assert found.dims == forecast.dims
    for i, first in enumerate(start):
        for j, ahead in enumerate(lead):
            when = first + ahead
            assert found.valid_time.values[i, j] == when.to_datetime64()
            np.testing.assert_array_equal(found[i, j], clim.sel(month=when.month, hour=when.hour))
    with no_compute():
        lazy = climatology_at(clim, forecast.chunk(init_time=1))
        by_name = climatology_at(clim, found.valid_time, chunks={"init_time": 1})
    assert lazy.chunks[0] == (1, 1, 1)
    xr.testing.assert_equal(lazy.compute(), found)
    np.testing.assert_array_equal(by_name, found)


def test_fields_without_time_and_scalars_of_time():
    ds = series(days=40).to_dataset().assign(lsm=(("lat", "lon"), np.ones((2, 3))))
    clim = climatology(ds)
    assert clim["lsm"].dims == ("lat", "lon")
    at = climatology_at(clim, ds.time[5])
    assert at["t2m"].dims == ("lat", "lon")
    np.testing.assert_array_equal(at["t2m"], clim["t2m"].sel(month=12, hour=5))
    np.testing.assert_array_equal(at["lsm"], ds["lsm"])


def test_what_is_missing_is_nan_and_said():
    field = series(days=40, start="2020-01-01")
    field = field.sel(time=~((field.time.dt.month == 2) & (field.time.dt.hour == 3)))
    clim = climatology(field)
    assert clim["count"].sel(month=2, hour=3) == 0
    assert clim.sel(month=2, hour=3).isnull().all()
    assert clim.drop_sel(month=2).notnull().all()
    ask = np.array(["2020-02-05T03"], "M8[ns]")
    with pytest.raises(CoordinateError, match="made from no time of month 2, hour 3; wanted an entry for every time"):
        climatology_at(clim, ask)
    assert climatology_at(clim, ask, missing="nan").isnull().all()
    np.testing.assert_array_equal(climatology_at(clim, ask, missing="nearest")[0], clim.sel(month=1, hour=3))
    july = np.array(["2020-12-05T04"], "M8[ns]")
    with pytest.raises(
        CoordinateError, match=r"no month for month 12, hour 4; its month goes from 1 to 2 \(2 of them\)"
    ):
        climatology_at(clim, july)
    np.testing.assert_array_equal(climatology_at(clim, july, missing="nearest")[0], clim.sel(month=1, hour=4))


def test_seasons():
    field = series(days=100)
    clim = climatology(field, by="season")
    winter = field.sel(time=field.time.dt.season == "DJF").astype(float).mean("time")
    np.testing.assert_allclose(climatology_at(clim, field.time[0]), winter, rtol=1e-6)


def test_clear_errors():
    field = series(days=2)
    with pytest.raises(OptionError, match="wanted 'hour', one of 'month', 'dayofyear' and 'season'"):
        climatology(field, by=("month", "dayofyear"))
    with pytest.raises(OptionError, match="wanted an odd number of days, and 'dayofyear' in by"):
        climatology(field, smoothing=3)
    with pytest.raises(OptionError, match="smoothing=4"):
        climatology(field, by="dayofyear", smoothing=4)
    with pytest.raises(DimensionError, match=r"dimensions with dates are \('time',\); name one of them: dim="):
        climatology(field, dim="init_time")
    with pytest.raises(CoordinateError, match="'time' holds int64 values; wanted dates"):
        climatology(field.assign_coords(time=np.arange(48)))
    with pytest.raises(CoordinateError, match="1 of 48 times are missing"):
        climatology(field.assign_coords(time=[np.datetime64("NaT"), *field.time.values[1:]]))
    clim = climatology(field)
    with pytest.raises(OptionError, match="missing='zero'; wanted 'raise', 'nan' or 'nearest'"):
        climatology_at(clim, field.time, missing="zero")
    with pytest.raises(DimensionError, match="wanted some of"):
        climatology_at(field, field.time)
    with pytest.raises(DimensionError, match="the climatology and the times both have 'lat'"):
        climatology_at(clim, xr.DataArray(field.time.values[:2], dims="lat"))
    with pytest.raises(CoordinateError, match="wanted dates"):
        climatology_at(clim, xr.DataArray([1.0], dims="time"))
    with pytest.raises(DimensionError, match=r"times of shape \(2, 24\) came without names"):
        climatology_at(clim, field.time.values.reshape(2, 24))
    with pytest.raises(CoordinateError, match="no labels on 'hour'"):
        climatology_at(clim.drop_vars("hour"), field.time)
