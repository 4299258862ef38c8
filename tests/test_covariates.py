"""Covariates are functions of time and place: closed forms, any calendar, lazy, the same for any layout of the data."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo.covariates import COVARIATES, add_covariates, covariate_channels
from xatmo.errors import CoordinateError, OptionError


def fields(times: object, *, lat: object = (60.0, 0.0, -30.0), lon: object = (0.0, 90.0, 180.0, 270.0)) -> xr.Dataset:
    lat, lon, times = np.asarray(lat), np.asarray(lon), np.asarray(times)
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), np.zeros((times.size, lat.size, lon.size), "f4"), {"units": "K"})},
        {
            "time": times,
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
        },
    )


def daily(start: str, n: int, calendar: str = "standard", freq: str = "D") -> np.ndarray:
    return np.asarray(xr.date_range(start, periods=n, freq=freq, calendar=calendar, use_cftime=calendar != "standard"))


@pytest.mark.parametrize(
    ("calendar", "year", "days"), [("standard", 2000, 366), ("noleap", 2000, 365), ("360_day", 2000, 360)]
)
def test_a_year_is_one_turn_in_every_calendar(calendar: str, year: int, days: int) -> None:
    ds = add_covariates(fields(daily(f"{year}-01-01", days + 1, calendar)), "day_of_year")
    sine, cosine = (ds[f"day_of_year_{p}"].isel(latitude=0, longitude=0).values.astype(float) for p in ("sin", "cos"))
    angle = np.unwrap(np.arctan2(sine, cosine))
    np.testing.assert_allclose(angle, 2 * np.pi * np.arange(days + 1) / days, atol=1e-5)
    assert abs(cosine.mean()) < 0.01


def test_months_and_seasons() -> None:
    ds = add_covariates(fields(daily("2001-01-15", 12, freq="MS")), ["month", "season"]).isel(latitude=0, longitude=0)
    months = ds.time.dt.month.values
    np.testing.assert_allclose(ds.month_sin, np.sin(2 * np.pi * (months - 0.5) / 12), atol=1e-6)
    seasons = np.stack([ds[f"season_{s}"].values for s in ("djf", "mam", "jja", "son")])
    assert (seasons.sum(axis=0) == 1).all()
    assert sorted(months[seasons[0] == 1].tolist()) == [1, 2, 12]
    assert sorted(months[seasons[2] == 1].tolist()) == [6, 7, 8]


def test_the_hour_is_that_of_the_sun() -> None:
    """Noon at 90 degrees east is 6 UTC, and a column has the same angle however its longitude is written."""
    ds = add_covariates(fields(daily("2001-03-01", 24, freq="h")), "hour").isel(latitude=0)
    cosine = ds.hour_cos.sel(longitude=90.0)
    assert int(cosine.values.argmin()) == 6
    west = add_covariates(fields(daily("2001-03-01", 24, freq="h"), lon=[-90.0, 0.0]), "hour").isel(latitude=0)
    np.testing.assert_allclose(west.hour_sin.sel(longitude=-90.0), ds.hour_sin.sel(longitude=270.0), atol=1e-6)


def test_the_sun_stands_where_it_does() -> None:
    """Solstices, equinox, polar night, and the mean over a day against the integral over hour angles."""
    noon = lambda day: fields(daily(day, 24, freq="h"), lat=[70.0, 23.44, 0.0, -23.44])  # noqa: E731
    june = add_covariates(noon("2001-06-21"), "cos_zenith").cos_zenith.isel(longitude=0)
    assert float(june.sel(latitude=23.44).max()) == pytest.approx(1.0, abs=2e-3)
    assert float(june.sel(latitude=70.0).min()) > 0
    december = add_covariates(noon("2001-12-21"), "cos_zenith").cos_zenith.isel(longitude=0)
    assert float(december.sel(latitude=70.0).max()) < 0
    equinox = add_covariates(noon("2001-03-20"), "cos_zenith").cos_zenith.isel(longitude=0)
    assert float(equinox.sel(latitude=0.0).max()) == pytest.approx(1.0, abs=2e-3)
    declination = np.radians(23.44)
    expected = np.sin(np.radians(70.0)) * np.sin(declination)
    assert float(june.sel(latitude=70.0).mean()) == pytest.approx(expected, abs=3e-3)


def test_places() -> None:
    ds = add_covariates(fields(daily("2001-01-01", 2)), ["latitude", "longitude"])
    assert ds.latitude_sin.dims == ("latitude", "longitude")
    np.testing.assert_allclose(ds.latitude_sin[:, 0], np.sin(np.radians([60, 0, -30])), atol=1e-6)
    np.testing.assert_allclose(ds.longitude_cos[0], [1, 0, -1, 0], atol=1e-6)
    assert ds.longitude_cos.attrs == {"units": "1", "long_name": "cosine of longitude"}
    assert ds.longitude_cos.dtype == np.float32


def test_lazy_fields_get_lazy_covariates_with_the_same_numbers(no_compute) -> None:
    ds = fields(daily("2001-01-01", 6, freq="6h"))
    eager = add_covariates(ds, COVARIATES)
    assert eager.hour_sin.values.base is not None or not eager.hour_sin.values.flags.owndata
    with no_compute():
        lazy = add_covariates(ds.chunk(time=4, latitude=2), COVARIATES)
    for name in covariate_channels(COVARIATES):
        assert lazy[name].chunks is not None
        np.testing.assert_allclose(lazy[name].values, eager[name].values, atol=1e-6)
    assert lazy.hour_sin.chunksizes == lazy.t2m.chunksizes


def test_views_take_no_memory() -> None:
    ds = add_covariates(fields(daily("2001-01-01", 50)), "day_of_year")
    assert 0 in ds.day_of_year_sin.values.strides


def test_forecasts_have_those_of_their_valid_times() -> None:
    start, lead = daily("2001-01-01", 2, freq="MS"), np.array([0, 24], "m8[h]").astype("m8[ns]")
    series = add_covariates(fields(daily("2001-01-01", 40)), "day_of_year")
    ds = fields(start).rename(time="init_time").expand_dims(lead_time=lead)
    out = add_covariates(ds, "day_of_year").day_of_year_sin
    assert set(out.dims) == {"init_time", "lead_time", "latitude", "longitude"}
    for i, day in ((0, "2001-01-02"), (1, "2001-02-02")):
        wanted = series.day_of_year_sin.sel(time=day)
        np.testing.assert_array_equal(out.isel(init_time=i, lead_time=1), wanted)
    single = add_covariates(series[["t2m"]].isel(time=3), "day_of_year").day_of_year_sin
    np.testing.assert_array_equal(single, series.day_of_year_sin.isel(time=3))


def test_leads_in_months_and_in_numbers() -> None:
    start = daily("2001-11-01", 1)
    ds = fields(start).rename(time="forecast_reference_time").expand_dims(forecastMonth=[1, 2, 3])
    out = add_covariates(ds, "season")
    jja = out.isel(forecast_reference_time=0, latitude=0, longitude=0)
    assert jja.season_son.values.tolist() == [1, 0, 0]
    assert jja.season_djf.values.tolist() == [0, 1, 1]
    cft = fields(daily("2001-02-29", 1, "360_day")).rename(time="init_time")
    steps = cft.expand_dims(step=[0, 48]).assign_coords(step=("step", [0, 48], {"units": "hours"}))
    months = add_covariates(steps, "month").month_sin.isel(init_time=0, latitude=0, longitude=0)
    np.testing.assert_allclose(months, np.sin(2 * np.pi * (np.array([2, 3]) - 0.5) / 12), atol=1e-6)
    bad = steps.assign_coords(step=("step", [0, 48], {"units": "furlongs"}))
    with pytest.raises(CoordinateError, match=r"the lead 'step' is of int64 in units 'furlongs'; wanted timedelta64"):
        add_covariates(bad, "month")


def test_the_callers_own_stay() -> None:
    ds = fields(daily("2001-01-01", 2))
    own = ds.assign(latitude_sin=ds.t2m[0] * 0 + 7)
    out = add_covariates(own, ["latitude"])
    assert float(out.latitude_sin.max()) == 7
    assert "latitude_cos" in out
    assert add_covariates(out, "latitude") is out


def test_refusals() -> None:
    ds = fields(daily("2001-01-01", 2))
    with pytest.raises(OptionError, match="covariate 'tide' came; wanted some of 'day_of_year', 'month'"):
        add_covariates(ds, ["tide"])
    with pytest.raises(CoordinateError, match=r"the covariates \['hour'\] are functions of time"):
        add_covariates(ds.drop_vars("time"), ["hour"])
    numbers = ds.assign_coords(time=("time", [0.0, 1.0], {"standard_name": "time"}))
    with pytest.raises(CoordinateError, match="holds float64; wanted dates"):
        add_covariates(numbers, ["hour"])
