"""Pairs of two products: other grids, longitude ranges, calendars, stamps; hindcasts with starts, leads, members."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.errors import CoordinateError, DimensionError, GridError, UnitsError, VariableError
from xatmo.tasks.pairs import _pairs

DAY = np.timedelta64(1, "D")


def axis(values: Any, name: str) -> tuple[str, Any, dict[str, str]]:
    return name, np.asarray(values), {"units": {"latitude": "degrees_north", "longitude": "degrees_east"}[name]}


def days(start: str, n: int, calendar: str = "standard", freq: str = "D") -> np.ndarray:
    return np.asarray(xr.date_range(start, periods=n, freq=freq, calendar=calendar, use_cftime=calendar != "standard"))


def reanalysis(times: Any, *, lat: Any = None, lon: Any = None) -> xr.Dataset:
    """Regional, 1 degree, north to south; the value tells the number of the time, and varies little in place."""
    lat = np.arange(60.0, 44.0, -1.0) if lat is None else np.asarray(lat)
    lon = np.arange(0.0, 20.0) if lon is None else np.asarray(lon)
    number = np.arange(len(times))[:, None, None]
    values = number + 0.01 * np.sin(np.radians(lat))[:, None] + 0.01 * np.cos(np.radians(lon))
    coords = {"time": times, "latitude": axis(lat, "latitude"), "longitude": axis(lon, "longitude")}
    return xr.Dataset({"t2m": (("time", "latitude", "longitude"), values.astype("f4"), {"units": "K"})}, coords)


def coarse_series(times: Any, step: float = 4.0, shift: float = 0.0) -> xr.Dataset:
    """Global, from the south, -180 to 180, on other points than the blocks of the reanalysis."""
    lat, lon = np.arange(-90 + step / 2 + shift, 90, step), np.arange(-180 + shift, 180, step)
    return reanalysis(times, lat=lat, lon=lon)


def hindcast(n_starts: int = 2, n_leads: int = 5, n_members: int = 2, freq: str = "MS") -> xr.Dataset:
    """In C3S's layout; the value tells member, start and lead."""
    one = coarse_series(days("2001-01-01", 1))
    start = days("2001-01-01", n_starts, freq=freq)
    lead = (np.arange(1, n_leads + 1) * 24).astype("m8[h]").astype("m8[ns]")
    base = one["t2m"].isel(time=0, drop=True)
    values = (
        base
        + xr.DataArray(1000.0 * np.arange(n_members), dims="number")
        + xr.DataArray(100.0 * np.arange(n_starts), dims="forecast_reference_time")
        + xr.DataArray(np.arange(1.0, n_leads + 1), dims="forecast_period")
    )
    values = values.transpose("number", "forecast_reference_time", "forecast_period", "latitude", "longitude")
    ds = values.astype("f4").to_dataset(name="t2m").assign_coords(
        number=np.arange(n_members),
        forecast_reference_time=("forecast_reference_time", start, {"standard_name": "forecast_reference_time"}),
        forecast_period=("forecast_period", lead, {"standard_name": "forecast_period"}),
    )  # fmt: skip
    ds["t2m"].attrs = {"units": "K"}
    return ds


# ---------------------------------------------------------------------- grids
def test_coarse_fields_go_onto_the_blocks_of_the_target() -> None:
    times = days("2001-01-01", 3)
    fine = reanalysis(times)
    pairs = _pairs.make(coarse_series(times), 4, target=fine)
    expected = fine.atmo.coarsen(4)["t2m"]
    assert pairs.coarse["t2m"].shape == expected.shape
    np.testing.assert_allclose(pairs.coarse["longitude"], expected["longitude"])
    np.testing.assert_allclose(pairs.coarse["latitude"], expected["latitude"])
    np.testing.assert_allclose(pairs.coarse["t2m"], expected, atol=1e-3)  # both are means of the same smooth field
    assert xatmo.regrid.fine_grid(pairs.coarse) == xatmo.Grid.of(fine)


def test_coarse_fields_on_the_blocks_are_selected_not_changed() -> None:
    times = days("2001-01-01", 2)
    fine = reanalysis(times)
    coarse = fine.atmo.coarsen(4)
    wide = reanalysis(times, lat=np.arange(86.5, -90, -4), lon=np.arange(-178.5, 180, 4))
    pairs = _pairs.make(wide, 4, target=fine)
    assert "onto_blocks(factor=4, method='none')" in pairs.coarse.attrs["history"]
    np.testing.assert_allclose(pairs.coarse["t2m"], coarse["t2m"], atol=1e-3)
    exact = _pairs.make(coarse, 4, target=fine)
    xr.testing.assert_identical(exact.coarse["t2m"], coarse["t2m"])


def test_layouts_of_both_make_no_difference(no_compute: Callable[..., Any]) -> None:
    times = days("2001-01-01", 4)
    fine, coarse = reanalysis(times), coarse_series(times)
    wanted = _pairs.make(coarse, 4, target=fine)
    east = coarse.assign_coords(longitude=coarse.longitude % 360).sortby("longitude")
    north = coarse.isel(latitude=slice(None, None, -1))
    cyclic = xr.concat([east, east.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude")
    for other in (east, north, cyclic):
        np.testing.assert_allclose(_pairs.make(other, 4, target=fine).coarse["t2m"], wanted.coarse["t2m"], atol=1e-5)
    south = fine.isel(latitude=slice(None, None, -1))
    found = _pairs.make(coarse, 4, target=south)
    np.testing.assert_array_equal(found.fine["t2m"], wanted.fine["t2m"])
    with no_compute():
        lazy = _pairs.make(coarse.chunk(time=1), 4, target=fine.chunk(time=2))
    assert lazy.coarse["t2m"].chunks is not None
    np.testing.assert_allclose(lazy.coarse["t2m"], wanted.coarse["t2m"], atol=1e-5)


def test_regional_coarse_fields_reach_half_a_cell_beyond_their_points() -> None:
    times = days("2001-01-01", 2)
    fine = reanalysis(times)
    region = coarse_series(times).sel(latitude=slice(44, 60), longitude=slice(0, 20))
    pairs = _pairs.make(region, 4, target=fine)
    assert np.isfinite(pairs.coarse["t2m"]).all()
    np.testing.assert_allclose(pairs.coarse["t2m"], fine.atmo.coarsen(4)["t2m"], atol=2e-3)


def test_steps_that_are_not_the_factor_apart() -> None:
    times = days("2001-01-01", 2)
    fine = reanalysis(times)
    with pytest.raises(GridError, match=r"train has 90 x 180 points and target 16 x 20.*wanted factor 4"):
        _pairs.make(coarse_series(times, 2.0), 4, target=fine)
    finer = _pairs.make(coarse_series(times, 2.0), 4, target=fine, regrid_inputs="conservative")
    np.testing.assert_allclose(finer.coarse["t2m"], fine.atmo.coarsen(4)["t2m"], atol=1e-3)
    with pytest.raises(GridError, match="wanted factor 4"):
        _pairs.make(coarse_series(times), 4, target=fine, regrid_inputs=None)
    with pytest.raises(CoordinateError, match="do not cover the same area"):
        _pairs.make(coarse_series(times).sel(latitude=slice(50, 90)), 4, target=fine)


def test_units_of_the_target_hold() -> None:
    times = days("2001-01-01", 2)
    coarse = coarse_series(times)
    celsius = coarse.assign(t2m=coarse["t2m"].assign_attrs(units="degC"))
    pairs = _pairs.make(celsius, 4, target=reanalysis(times))
    assert float(pairs.coarse["t2m"].mean()) == pytest.approx(float(coarse["t2m"].mean()) + 273.15, abs=0.1)
    with pytest.raises(UnitsError, match="'m' came, 'K' wanted"):
        _pairs.make(coarse.assign(t2m=coarse["t2m"].assign_attrs(units="m")), 4, target=reanalysis(times))


# ---------------------------------------------------------------------- times and calendars
def test_daily_means_stamped_at_noon_belong_to_their_day() -> None:
    coarse, fine = days("2001-01-03", 4) + np.timedelta64(12, "h"), days("2001-01-01", 10)
    pairs = _pairs.make(coarse_series(coarse), 4, target=reanalysis(fine))
    np.testing.assert_allclose(pairs.fine["t2m"].mean(("latitude", "longitude")), [2, 3, 4, 5], atol=0.05)
    np.testing.assert_array_equal(pairs.fine["time"], coarse)
    assert pairs.notes == ()


@pytest.mark.parametrize("stamp", ["start", "middle", "end"])
def test_monthly_means_belong_to_their_month(stamp: str) -> None:
    fine = days("2001-01-01", 8, freq="MS")
    moved = {"start": fine, "middle": fine + np.timedelta64(14, "D"), "end": days("2001-01-31", 8, freq="ME")}[stamp]
    pairs = _pairs.make(coarse_series(moved[2:5]), 4, target=reanalysis(fine[2:5] if stamp == "start" else fine))
    first = 0 if stamp == "start" else 2
    np.testing.assert_allclose(pairs.fine["t2m"].mean(("latitude", "longitude")), first + np.arange(3), atol=0.05)


def test_calendars_meet_by_date_and_tell_what_falls_out(caplog: pytest.LogCaptureFixture) -> None:
    fine = days("2000-02-26", 8)  # with 29 February
    noleap = days("2000-02-26", 7, "noleap")
    with caplog.at_level(logging.WARNING):
        pairs = _pairs.make(coarse_series(noleap), 4, target=reanalysis(fine))
    np.testing.assert_allclose(pairs.fine["t2m"].mean(("latitude", "longitude")), [0, 1, 2, 4, 5, 6, 7], atol=0.05)
    assert pairs.notes == ("1 of 8 times of target have no partner in the coarse fields, left out: 2000-02-29",)
    assert pairs.notes[0] in caplog.text
    thirties = days("2001-02-27", 5, "360_day")  # 30 February is no date elsewhere
    pairs = _pairs.make(coarse_series(thirties), 4, target=reanalysis(days("2001-02-27", 5)))
    assert pairs.notes == ("2 of 5 times of train have no partner in target, left out: 2001-02-29, 2001-02-30",)
    assert pairs.coarse.sizes["time"] == 3
    assert pairs.runs == ((0, 2), (2, 3))  # the gap that they leave
    covered = _pairs.make(coarse_series(thirties), 4, target=reanalysis(days("2001-02-27", 5)), covariates=["month"])
    assert np.isfinite(covered.coarse["month_sin"]).all()


def test_bounds_tell_the_day_of_a_mean() -> None:
    """Stamped at its end, with CF bounds, the mean of a day belongs to the day before the stamp."""
    ends = days("2001-01-02", 4)
    coarse = coarse_series(ends)
    coarse["time"].attrs["bounds"] = "time_bnds"
    coarse["time_bnds"] = (("time", "bnds"), np.stack([ends - DAY, ends], axis=1))
    fine = reanalysis(days("2001-01-01", 6) + np.timedelta64(6, "h"))
    pairs = _pairs.make(coarse, 4, target=fine)
    np.testing.assert_allclose(pairs.fine["t2m"].mean(("latitude", "longitude")), [0, 1, 2, 3], atol=0.05)
    statistic = coarse_series(ends)
    statistic["t2m"].attrs["GRIB_stepType"] = "max"
    pairs = _pairs.make(statistic, 4, target=fine)
    np.testing.assert_allclose(pairs.fine["t2m"].mean(("latitude", "longitude")), [0, 1, 2, 3], atol=0.05)


def test_times_that_do_not_fit() -> None:
    fine = reanalysis(days("2001-01-01", 5))
    noon = np.timedelta64(12, "h")
    with pytest.raises(CoordinateError, match=r"no time of train is one of target: train is valid 1990-05-01T12:00"):
        _pairs.make(coarse_series(days("1990-05-01", 3) + noon), 4, target=fine)
    with pytest.raises(CoordinateError, match=r"train is monthly and target daily; wanted the same: average"):
        _pairs.make(coarse_series(days("2000-06-15", 9, freq="MS") + noon), 4, target=fine)
    repeated = days("2001-01-01", 5)[[0, 1, 1, 2, 3]] + noon
    with pytest.raises(CoordinateError, match="train has several times in one day: 2001-01-02T12"):
        _pairs.make(coarse_series(repeated), 4, target=fine)
    with pytest.raises(CoordinateError, match="target has several times in one day: 2001-01-02"):
        _pairs.make(coarse_series(days("2001-01-01", 3) + noon), 4, target=fine.isel(time=[0, 1, 1, 2, 3, 4]))
    with pytest.raises(DimensionError, match="target has starts .* wanted one series of times"):
        _pairs.make(coarse_series(days("2001-01-02", 3)), 4, target=hindcast().isel(number=0, drop=True))


# ---------------------------------------------------------------------- hindcasts
def check_hindcast(pairs: _pairs.Pairs, n_leads: int, *, first: int = 0) -> None:
    """Every frame of every member stands beside the day on which it is valid."""
    fine = pairs.fine["t2m"].mean(("latitude", "longitude")).values
    number = np.concatenate([first + np.arange(1, n_leads + 1), first + 31 + np.arange(1, n_leads + 1)])
    np.testing.assert_allclose(fine, number, atol=0.05)
    coarse = pairs.coarse["t2m"].mean(("latitude", "longitude")).transpose("number", "time").values
    lead = np.tile(np.arange(1, n_leads + 1), 2) + np.repeat([0, 100], n_leads)
    np.testing.assert_allclose(coarse, lead + 1000 * np.arange(coarse.shape[0])[:, None], atol=0.1)


def test_hindcasts_become_one_series_of_valid_times(no_compute: Callable[..., Any]) -> None:
    fine = reanalysis(days("2001-01-01", 60))
    ds = hindcast()
    pairs = _pairs.make(ds, 4, target=fine)
    check_hindcast(pairs, 5)
    assert pairs.breaks == (5,)
    assert pairs.runs == ((0, 5), (5, 10))
    assert pairs.sizes == {"time": 10, "number": 2, "latitude": 4, "longitude": 5}
    assert "number" not in pairs.fine.dims
    assert pairs.coarse["lead_time"].values[6] == 2 * DAY
    assert pairs.coarse["init_time"].values[6] == np.datetime64("2001-02-01")
    with no_compute():
        lazy = _pairs.make(ds.chunk(forecast_reference_time=1, forecast_period=2), 4, target=fine.chunk(time=7))
    assert lazy.coarse["t2m"].chunks is not None
    assert lazy.fine["t2m"].chunks is not None
    check_hindcast(lazy, 5)


def test_forecasts_that_follow_each_other_without_a_gap_are_apart() -> None:
    """The next start is one day after the last lead of the one before: no window may join them."""
    ds = hindcast(n_starts=3, n_leads=4, freq="4D")
    pairs = _pairs.make(ds, 4, target=reanalysis(days("2001-01-01", 30)))
    assert (np.diff(pairs.coarse["time"].values) == DAY).all()
    assert pairs.runs == ((0, 4), (4, 8), (8, 12))


def layouts() -> dict[str, xr.Dataset]:
    """The same hindcast as other archives and readers lay it out."""
    ds = hindcast()
    valid = ds["forecast_reference_time"] + ds["forecast_period"]
    cfgrib = ds.rename(forecast_reference_time="time", forecast_period="step")
    cfgrib["time"].attrs = {"standard_name": "time", "long_name": "initial time of forecast"}
    cfgrib = cfgrib.assign_coords(
        valid_time=(("step", "time"), valid.transpose("forecast_period", ...).values, {"standard_name": "time"})
    )
    hours = (ds["forecast_period"].values / np.timedelta64(1, "h")).astype(int)
    return {
        "c3s": ds,
        "cfgrib": cfgrib.transpose("step", "time", "number", ...),
        "hours": ds.assign_coords(forecast_period=("forecast_period", hours, {"units": "hours"})),
        "xatmo": ds.rename(forecast_reference_time="init_time", forecast_period="lead_time"),
        "weatherbench": ds.rename(forecast_reference_time="time", forecast_period="prediction_timedelta").assign_coords(
            time=("time", ds["forecast_reference_time"].values)
        ),
    }


@pytest.mark.parametrize("layout", list(layouts()))
def test_hindcasts_of_other_archives(layout: str) -> None:
    fine = reanalysis(days("2001-01-01", 60))
    fine = fine.rename(time="valid_time").assign_coords(valid_time=("valid_time", fine.time.values,
                                                                    {"standard_name": "time"}))  # fmt: skip
    check_hindcast(_pairs.make(layouts()[layout], 4, target=fine), 5)


def test_monthly_forecasts_count_months() -> None:
    """GRIB stamps the mean of January at the end of January; the number of the month says what it is."""
    ds = hindcast(n_leads=3).rename(forecast_period="forecastMonth").assign_coords(forecastMonth=[1, 2, 3])
    ends = np.array(["2001-02-01", "2001-03-01", "2001-04-01"], "M8[ns]")
    ds = ds.assign_coords(valid_time=(("forecast_reference_time", "forecastMonth"),
                                      np.stack([ends, ends + 31 * DAY]), {"standard_name": "time"}))  # fmt: skip
    pairs = _pairs.make(ds, 4, target=reanalysis(days("2000-12-01", 12, freq="MS") + 14 * DAY))
    months = pairs.coarse["time"].dt.month.values
    assert months.tolist() == [1, 2, 3, 2, 3, 4]
    number = pairs.fine["t2m"].mean(("latitude", "longitude")).values
    np.testing.assert_allclose(np.diff(number), [1, 1, -1, 1, 1], atol=0.05)


def test_what_lies_beyond_the_target_falls_out() -> None:
    pairs = _pairs.make(hindcast(n_leads=5), 4, target=reanalysis(days("2001-01-01", 35)))
    assert pairs.notes == ("2 of 10 times of train have no partner in target, left out: 2001-02-05, 2001-02-06",)
    assert pairs.runs == ((0, 5), (5, 8))
    with pytest.raises(CoordinateError, match=r"no time of train is one of target: train is valid 2001-01-02"):
        _pairs.make(hindcast(), 4, target=reanalysis(days("1999-01-01", 9)))


def test_sub_daily_forecasts_meet_the_hours_of_the_target() -> None:
    ds = hindcast()
    steps = (np.arange(1, 6) * 6).astype("m8[h]").astype("m8[ns]")
    pairs = _pairs.make(
        ds.assign_coords(forecast_period=steps), 4, target=reanalysis(days("2001-01-01", 1000, freq="h"))
    )
    number = pairs.fine["t2m"].mean(("latitude", "longitude")).values
    np.testing.assert_allclose(number[:5], [6, 12, 18, 24, 30], atol=0.05)
    with pytest.raises(CoordinateError, match="train is sub-daily and target daily"):
        _pairs.make(ds.assign_coords(forecast_period=steps), 4, target=reanalysis(days("2001-01-01", 60)))


def test_predictors_of_the_same_product_go_the_same_way() -> None:
    fine = reanalysis(days("2001-01-01", 60))
    ds = hindcast()
    other = (ds["t2m"] * 2).rename("msl").assign_attrs(units="Pa")
    pairs = _pairs.make(ds, 4, target=fine, predictors=other.mean("number"), covariates=["day_of_year"])
    assert list(pairs.coarse.data_vars) == ["t2m", "msl", "day_of_year_sin", "day_of_year_cos"]
    assert pairs.coarse["msl"].dims == ("time", "latitude", "longitude")
    np.testing.assert_allclose(pairs.coarse["msl"], 2 * pairs.coarse["t2m"].mean("number"), rtol=1e-4)
    with pytest.raises(VariableError, match=r"variables \['t2m'\] come twice"):
        _pairs.make(ds, 4, target=fine, predictors=ds)


def test_a_network_trains_on_every_member(tmp_path: Any) -> None:
    fine = reanalysis(days("2001-01-01", 60))
    static = fine["t2m"].isel(time=0, drop=True).rename("z").assign_attrs(units="m")
    task = xatmo.SuperResolver(factor=4, backbone="residual", channels=4, n_blocks=1)
    task.fit(hindcast(), target=fine, static=static, max_steps=2, patch_size=4, accelerator="cpu", progress=False)
    forecast = xatmo.regrid.onto_blocks(hindcast(n_members=3), fine, 4)
    out = forecast.atmo.superresolve(task)["t2m"]
    assert out.sizes == {
        "number": 3,
        "forecast_reference_time": 2,
        "forecast_period": 5,
        "latitude": 16,
        "longitude": 20,
    }
    np.testing.assert_allclose(out["longitude"], fine["longitude"])
