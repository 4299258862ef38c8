from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.datasets import jet_latitude
from xatmo.datasets.jet import lanczos_weights, low_pass, maximum_by_parabola
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, VariableError

GRID = Grid.regular(91, 24)


def wind(where, speed=20.0, *, freq="1D", start="2000-01-01", grid=GRID, width=12.0, levels=None) -> xr.Dataset:
    """A Gaussian jet whose latitude is given by time."""
    where = np.asarray(where, dtype=float)
    speed = np.broadcast_to(speed, where.shape)
    time = pd.date_range(start, periods=where.size, freq=freq)
    u = speed[:, None] * np.exp(-(((grid.latitude[None, :] - where[:, None]) / width) ** 2))
    lon = np.radians(grid.longitude)
    values = u[:, :, None] + 5 * np.cos(3 * lon)[None, None, :]  # waves do not matter for the mean
    dims = ("time", "latitude", "longitude")
    da = xr.DataArray(values.astype(np.float32), {"time": time, **grid.coords()}, dims,
                      attrs={"units": "m s-1", "standard_name": "eastward_wind"})  # fmt: skip
    if levels is not None:
        level = xr.DataArray(levels, dims="level", name="level", attrs={"units": "hPa", "axis": "Z"})
        da = xr.concat([0.5 * da, 1.5 * da], level).assign_attrs(da.attrs)
    return da.to_dataset(name="wind")


def test_steady_jet_is_found_between_the_rows():
    jet = jet_latitude(wind(np.full(100, 47.3)), harmonics=None, coarsen=1)
    assert dict(jet.sizes) == {"time": 40}
    np.testing.assert_array_equal(jet["time"], pd.date_range("2000-01-31", periods=40))
    np.testing.assert_allclose(jet["jet_latitude"], 47.3, atol=0.02)
    np.testing.assert_allclose(jet["jet_speed"], 20, rtol=1e-3)
    assert jet["jet_latitude"].attrs["units"] == "degrees_north"
    assert list(jet) == ["jet_latitude", "jet_speed"]
    assert "jet_latitude" in jet.attrs["history"]


def test_slow_shifts_are_kept_and_fast_ones_taken_out():
    days = np.arange(400)
    for period, kept in ((60, 1.0), (10, 0.5), (4, 0.0)):
        jet = jet_latitude(wind(45 + 2 * np.cos(2 * np.pi * days / period)), harmonics=None)
        expected = 45 + 2 * kept * np.cos(2 * np.pi * days[30:-30] / period)
        np.testing.assert_allclose(jet["jet_latitude"], expected, atol=0.12)


def test_the_seasonal_cycle_is_taken_out():
    days = np.arange(4 * 365)
    angle = 2 * np.pi * days / 365.25
    season = 45 + 5 * np.cos(angle) + 2 * np.sin(2 * angle)
    slow = 1.5 * np.sin(2 * np.pi * days / 47)
    ds = wind(season + slow, 20 + 3 * np.sin(angle), start="2001-01-01")
    jet = jet_latitude(ds)
    np.testing.assert_allclose(jet["jet_latitude_anomaly"], slow[30:-30], atol=0.12)
    np.testing.assert_allclose(jet["jet_speed_anomaly"], 0, atol=0.05)
    assert jet["jet_latitude_anomaly"].attrs["units"] == "degree"
    assert abs(float(jet["jet_latitude_anomaly"].mean())) < 1e-10
    mean = jet_latitude(ds, harmonics=0)["jet_latitude_anomaly"]
    np.testing.assert_allclose(mean, jet["jet_latitude"] - jet["jet_latitude"].mean(), atol=1e-10)
    # fitted to the training years only, what comes after does not leak into them
    later = ds.copy()
    later["wind"] = ds["wind"].where(ds["time"] < np.datetime64("2004-02-15"), ds["wind"] * 2)
    years = slice("2001", "2003")
    one, other = (
        jet_latitude(x, reference=years)["jet_speed_anomaly"].sel(time=slice("2001", "2003")) for x in (ds, later)
    )
    np.testing.assert_array_equal(one, other)


def test_three_hourly_winds_are_averaged_by_whole_days():
    hours = np.arange(0, 24 * 80, 3)
    where = 45 + 0.01 * hours / 24
    ds = wind(where, 20 + 8 * np.cos(2 * np.pi * hours / 24), freq="3h")
    jet = jet_latitude(ds, harmonics=None)
    assert jet.sizes["time"] == 20
    np.testing.assert_array_equal(jet["time"], pd.date_range("2000-01-31", periods=20))
    np.testing.assert_allclose(jet["jet_speed"], 20, rtol=5e-3)
    cut = jet_latitude(ds.isel(time=slice(3, -2)), harmonics=None)  # two days are no longer whole
    np.testing.assert_array_equal(cut["time"], pd.date_range("2000-02-01", periods=18))
    np.testing.assert_allclose(cut["jet_latitude"], jet["jet_latitude"].sel(time=cut["time"]), atol=1e-5)


def test_levels_are_averaged_and_other_dimensions_stay():
    ds = wind(np.full(70, 40.0), levels=[850.0, 700.0])
    jet = jet_latitude(ds, harmonics=None)
    assert jet["jet_speed"].dims == ("time",)
    np.testing.assert_allclose(jet["jet_speed"], 20, rtol=5e-3)
    members = xr.concat([wind(np.full(70, x)) for x in (35.0, 55.0)], "member")
    jet = jet_latitude(members, harmonics=0)
    assert jet["jet_latitude"].dims == ("member", "time")
    np.testing.assert_allclose(jet["jet_latitude"].isel(time=0), [35, 55], atol=0.1)
    np.testing.assert_allclose(jet["jet_latitude_anomaly"], 0, atol=1e-6)


def test_any_orientation_and_a_sector():
    ds = wind(np.full(70, 50.0))
    away = ds.copy()
    away["wind"] = ds["wind"] * xr.where((ds["longitude"] >= 300) | (ds["longitude"] == 0), 1.0, -3.0)
    away["wind"].attrs = ds["wind"].attrs
    sector = {"longitude": (300, 360), "harmonics": None}
    jet = jet_latitude(away, **sector)
    np.testing.assert_allclose(jet["jet_latitude"], 50, atol=0.1)
    turned = away.isel(latitude=slice(None, None, -1)).assign_coords(longitude=(away["longitude"] + 180) % 360 - 180)
    turned = turned.sortby("longitude")
    for longitude in ((300, 360), (-60, 0)):
        other = jet_latitude(turned, longitude=longitude, harmonics=None)
        np.testing.assert_allclose(other["jet_latitude"], jet["jet_latitude"], atol=1e-5)
    south = ds.assign_coords(latitude=-ds["latitude"].values)
    other = jet_latitude(south, latitude=(-75, -15), harmonics=None)
    np.testing.assert_allclose(other["jet_latitude"], -50, atol=0.1)


def test_rows_are_coarsened_by_area():
    fine = Grid.driscoll_healy(320, 4)  # rows of 0.5625 degrees: two make 1.125
    ds = wind(np.full(61, 44.4), grid=fine)
    jet = jet_latitude(ds, harmonics=None)
    np.testing.assert_allclose(jet["jet_latitude"], 44.4, atol=0.02)
    np.testing.assert_allclose(jet["jet_latitude"], jet_latitude(ds, harmonics=None, coarsen=2)["jet_latitude"])
    assert float(jet_latitude(ds, harmonics=None, coarsen=8)["jet_speed"][0]) < float(jet["jet_speed"][0])


def test_lazy_and_the_same_for_any_chunks(no_compute):
    days = np.arange(500)
    ds = wind(45 + 5 * np.sin(days / 20))
    whole = jet_latitude(ds)
    for chunks in ({"time": 100}, {"time": 37, "latitude": 30, "longitude": 7}):
        with no_compute():
            lazy = jet_latitude(ds.chunk(chunks))
        assert all(lazy[n].chunks is not None for n in lazy)
        xr.testing.assert_allclose(lazy.compute(), whole, atol=1e-4)


def test_missing_values_do_not_spread_further_than_the_window():
    ds = wind(np.full(200, 45.0))
    ds["wind"][100] = np.nan
    ds["wind"][10:, :, 3] = np.nan  # one column missing is made up for by the others
    jet = jet_latitude(ds, harmonics=None)
    missing = jet["time"].values[np.isnan(jet["jet_latitude"].values)]
    np.testing.assert_array_equal(missing, ds["time"].values[70:131])


def test_filter_and_parabola():
    weights = lanczos_weights(61, 10.0)
    assert weights.size == 61
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1])
    x = np.random.default_rng(0).normal(size=(2, 100, 3))
    expected = np.apply_along_axis(np.convolve, 1, x, weights, "valid")
    np.testing.assert_allclose(low_pass(x, weights), expected, atol=1e-14)
    rows = np.array([10.0, 12.0, 15.0, 20.0])
    y = np.stack([4 - (rows - 13.1) ** 2, rows, -rows, [1, np.nan, 2, 1]])
    place, size = maximum_by_parabola(y, rows)
    np.testing.assert_allclose(place, [13.1, 20, 10, np.nan])
    np.testing.assert_allclose(size, [4, 20, -10, np.nan])
    np.testing.assert_allclose(maximum_by_parabola(np.ones((1, 4)), rows)[1], 1)


def test_cftime_calendars():
    ds = wind(45 + np.zeros(800)).isel(time=slice(0, 720))
    ds = ds.assign_coords(time=xr.date_range("2001-01-01", periods=720, calendar="360_day", use_cftime=True))
    jet = jet_latitude(ds)
    np.testing.assert_allclose(jet["jet_latitude_anomaly"], 0, atol=1e-8)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"latitude": (60, 30)}, OptionError, r"latitude=\(60, 30\); wanted \(south, north\)"),
        ({"longitude": (10, 10)}, OptionError, r"longitude=\(10, 10\); wanted \(west, east\)"),
        ({"coarsen": 0}, OptionError, "coarsen=0; wanted a number of rows"),
        ({"window": 60}, OptionError, "window=60; wanted an odd number"),
        ({"cutoff": "1D"}, OptionError, "cutoff of 1 days; wanted more than two"),
        ({"harmonics": -1}, OptionError, "harmonics=-1; wanted a whole number"),
        ({}, OptionError, "10 low-passed days came to fit 2 harmonics.*wanted 329 or more"),
        ({"window": 71}, DimensionError, "70 whole days came; wanted at least 71"),
        ({"latitude": (20.5, 21.5)}, CoordinateError, "0 rows lie within"),
        ({"u": "ua"}, VariableError, r"no variable 'ua' in this Dataset; it has \['wind'\]: give u="),
    ],
)
def test_clear_errors(settings, error, message):
    with pytest.raises(error, match=message):
        jet_latitude(wind(np.full(70, 45.0)), **settings)


def test_times_are_checked():
    ds = wind(np.full(70, 45.0))
    with pytest.raises(CoordinateError, match="wanted even steps"):
        jet_latitude(ds.isel(time=[*range(30), *range(31, 70)]))
    with pytest.raises(CoordinateError, match="one time came"):
        jet_latitude(ds.isel(time=[0]))
    with pytest.raises(CoordinateError, match="every 7 days.*wanted daily values"):
        jet_latitude(wind(np.full(70, 45.0), freq="7D"))
    with pytest.raises(DimensionError, match="0 whole days"):
        jet_latitude(wind(np.full(4, 45.0), freq="3h"))


def test_curvilinear_winds_are_refused():
    lat, lon = np.meshgrid(np.linspace(20, 70, 6), np.linspace(0, 50, 6), indexing="ij")
    coords = {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon), "time": pd.date_range("2000-01-01", periods=70)}
    with pytest.raises(GridError, match="wanted rows of latitude and columns of longitude|curvilinear"):
        jet_latitude(xr.DataArray(np.ones((70, 6, 6)), coords, ("time", "y", "x")))
