from __future__ import annotations

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from metric_fields import box, globe, pair
from skimage.restoration import denoise_tv_chambolle

from xatmo import Grid, metrics
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import ChunkError, CoordinateError, DimensionError, OptionError


def sphere(function, nlat: int = 91, nlon: int = 180) -> xr.DataArray:
    grid = Grid.regular(nlat, nlon)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    return xr.DataArray(function(lat, lon), grid.coords(), ("latitude", "longitude"), attrs={"units": "K"})


def test_total_variation_of_known_fields():
    # |grad| of sin(lat) is cos(lat) / a; of cos(lat) cos(lon), the same field turned by 90 degrees.
    expected = np.pi / 4 / EARTH_RADIUS
    for function in (
        lambda lat, lon: np.sin(lat) + 0 * lon,
        lambda lat, lon: np.cos(lat) * np.cos(lon),
    ):
        found = metrics.total_variation(sphere(function))
        assert found.item() == pytest.approx(expected, rel=2e-3)
        assert found.attrs["units"] == "K m-1"
    coarse = metrics.total_variation(sphere(lambda lat, lon: np.cos(lat) * np.cos(lon), 46, 90))
    assert coarse.item() == pytest.approx(expected, rel=1e-2)


def test_total_variation_in_cells_of_a_slope_and_of_a_checkerboard():
    t = box()
    slope = (
        3.0 * xr.DataArray(np.arange(16), dims="lat") + 4.0 * xr.DataArray(np.arange(20), dims="lon") + 0 * t
    ).transpose(*t.dims)
    found = metrics.total_variation(slope.assign_attrs(t.attrs), spacing="cells", weights=None)
    np.testing.assert_allclose(found, 5.0, rtol=1e-12)
    assert found.dims == ("time",)
    assert found.attrs["units"] == "K"
    board = slope.copy(data=np.broadcast_to((-1.0) ** np.add.outer(np.arange(16), np.arange(20)), slope.shape))
    np.testing.assert_allclose(metrics.total_variation(board, spacing="cells"), np.sqrt(8), rtol=1e-12)


def test_denoising_lowers_it():
    t = box(n=1)
    smooth = t.copy(data=denoise_tv_chambolle(t.values[0], weight=0.5)[None])
    assert metrics.total_variation(smooth).item() < 0.7 * metrics.total_variation(t).item()


def test_poles_and_gaps():
    t = sphere(lambda lat, lon: np.cos(lat) * np.cos(lon), 19, 36)
    odd = t.copy()
    odd[0] = np.random.default_rng(0).normal(size=36)  # what a pole's points should not be: different
    assert np.isfinite(metrics.total_variation(odd)).all()
    gap = metrics.total_variation(t.where(t > -0.9))
    assert np.isfinite(gap)


def test_errors_by_time():
    p, t = pair(n=9)
    found = metrics.temporal_error(p, t, window="3D")
    np.testing.assert_allclose(found.mse, metrics.mse(p, t, dim=["latitude", "longitude"]), rtol=1e-12)
    rough = metrics.total_variation(p) - metrics.total_variation(t)
    np.testing.assert_allclose(found.total_variation_difference, rough, rtol=1e-9)
    smooth = pd.Series(found.mse.values).rolling(3, center=True).mean()
    np.testing.assert_allclose(found.mse_running, smooth, rtol=1e-12)
    assert found.mse_running.attrs["window_in_steps"] == 3
    assert found.mse.attrs["units"] == "K2"
    assert found.total_variation_difference.attrs["units"] == "K m-1"
    assert list(metrics.temporal_error(p, t, window=None)) == ["mse", "total_variation_difference"]


def test_even_windows_take_the_nearest_odd_number_of_steps_in_any_calendar():
    p, t = pair(n=9)
    times = xr.date_range("2000-02-26", periods=9, freq="12h", calendar="360_day", use_cftime=True)
    assert isinstance(times[0], cftime.datetime)
    p, t = p.assign_coords(time=times), t.assign_coords(time=times)
    found = metrics.temporal_error(p, t, window="2D")
    assert found.mse_running.attrs["window_in_steps"] in (3, 5)
    assert found.mse_running.notnull().sum() == 9 - found.mse_running.attrs["window_in_steps"] + 1
    one = metrics.temporal_error(p, t, window="1h")
    xr.testing.assert_equal(one.mse_running.drop_attrs(), one.mse.drop_attrs())


def test_what_is_missing_in_the_target_does_not_make_it_smoother():
    p, t = pair(n=2)
    found = metrics.temporal_error(p, t.where(t < 1), window=None)
    again = metrics.temporal_error(p.where(t < 1), t.where(t < 1), window=None)
    xr.testing.assert_allclose(found, again)


def test_refusals():
    p, t = pair(n=6)
    with pytest.raises(OptionError, match="spacing='metres'; wanted 'sphere'"):
        metrics.total_variation(t, spacing="metres")
    with pytest.raises(DimensionError, match="total_variation averages over latitude and longitude"):
        metrics.total_variation(t, dim="time")
    with pytest.raises(ChunkError, match="total_variation needs 'latitude' and 'longitude' whole"):
        metrics.total_variation(t.chunk(latitude=4))
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        metrics.total_variation(xr.DataArray(np.zeros((3, 3)), dims=("a", "b")), dim=["a", "b"])
    with pytest.raises(DimensionError, match="dim=.* holds 'time'; leave it out"):
        metrics.temporal_error(p, t, dim=["time", "latitude", "longitude"])
    with pytest.raises(OptionError, match="window='soon'; wanted a span of time"):
        metrics.temporal_error(p, t, window="soon")
    with pytest.raises(OptionError, match="window='30D' makes 31 steps of 24 hours, of 6"):
        metrics.temporal_error(p, t)
    uneven = [0, 1, 2, 3, 5]
    with pytest.raises(CoordinateError, match="needs even steps of rising time"):
        metrics.temporal_error(p.isel(time=uneven), t.isel(time=uneven), window="2D")
    with pytest.raises(CoordinateError, match="1 time came"):
        metrics.temporal_error(p.isel(time=[0]), t.isel(time=[0]))
    numbers = {"time": ("time", np.arange(6), {"standard_name": "time"})}
    with pytest.raises(CoordinateError, match="'time' holds int64 values"):
        metrics.temporal_error(p.assign_coords(numbers), t.assign_coords(numbers))
    narrow = globe(n=2)
    with pytest.raises(CoordinateError):
        metrics.total_variation(narrow.isel(longitude=0))
