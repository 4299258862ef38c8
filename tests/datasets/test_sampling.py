from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.datasets import grid_tracks, nadir_tracks, observe
from xatmo.errors import CoordinateError, DimensionError, OptionError


def linear_truth(grid: Grid, days: int = 6) -> xr.DataArray:
    """A field that is linear in time and latitude, so that linear interpolation is exact."""
    time = np.datetime64("2013-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
    coords = {"time": time, **grid.coords()}
    values = np.arange(days)[:, None, None] + 0.1 * grid.latitude[:, None] + np.zeros(grid.nlon)
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), name="ssh", attrs={"units": "m"})


@pytest.fixture
def box() -> Grid:
    return Grid.from_latlon(np.arange(33.0, 43.01, 0.25), np.arange(-65.0, -54.9, 0.25))


@pytest.fixture
def tracks(box):
    return nadir_tracks(["jason", "saral"], start="2013-01-01", days=5, region=box, sampling="2s")


def test_linear_fields_are_seen_exactly(box, tracks):
    truth = linear_truth(box) - 0.3 * xr.DataArray(box.longitude, dims="longitude")
    obs = observe(truth.rename("ssh"), tracks)
    days = (obs["time"] - np.datetime64("2013-01-01")) / np.timedelta64(1, "D")
    expected = days + 0.1 * obs["latitude"] - 0.3 * obs["longitude"]
    np.testing.assert_allclose(obs, expected.values, rtol=1e-12)
    assert obs.dims == ("time",)
    assert "mission" in obs.coords
    # points in the outer half of border cells lie outside the rows and columns
    assert 0.8 * tracks.sizes["time"] < obs.sizes["time"] < tracks.sizes["time"]


def test_truth_in_any_order(box, tracks):
    truth = linear_truth(box)
    truth = (truth + np.sin(truth.longitude)).rename("ssh").assign_attrs(units="m")
    expected = observe(truth, tracks)
    flipped = truth.isel(latitude=slice(None, None, -1)).transpose("longitude", "time", "latitude")
    east = truth.assign_coords(longitude=truth.longitude + 360)
    for other in (flipped, east, truth.rename(latitude="nav_lat", longitude="nav_lon")):
        np.testing.assert_allclose(observe(other, tracks), expected, rtol=1e-12)
    assert expected.attrs["units"] == "m"
    assert expected.name == "ssh"


def test_longitude_goes_around():
    grid = Grid.regular(37, 72)
    truth = xr.DataArray(np.cos(np.radians(grid.longitude)) + np.zeros((37, 1)), grid.coords(),
                         ("latitude", "longitude"))  # fmt: skip
    tracks = nadir_tracks("jason", start="2013-01-01", days=0.3)
    obs = observe(truth, tracks)
    assert obs.sizes["time"] == tracks.sizes["time"]
    np.testing.assert_allclose(obs, np.cos(np.radians(obs["longitude"])), atol=1e-3)
    cyclic = xr.concat([truth, truth.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude", join="outer")
    np.testing.assert_array_equal(observe(cyclic, tracks), obs)
    west = truth.assign_coords(longitude=(truth.longitude + 180) % 360 - 180).sortby("longitude")
    np.testing.assert_allclose(observe(west, tracks), obs, atol=1e-12)


def test_gaps_stay_gaps(box, tracks):
    truth = linear_truth(box)
    land = truth.where(truth.longitude < -60)
    obs = observe(land, tracks)
    at = obs["longitude"] + 360 * (obs["longitude"] < -180)
    np.testing.assert_array_equal(np.isnan(obs.values), (at > -60.25).values)
    np.testing.assert_array_equal(obs.values[at <= -60.25], observe(truth, tracks).values[at <= -60.25])


def test_points_on_nodes_take_the_node():
    grid = Grid.from_latlon([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    truth = xr.DataArray([[1.0, 2, np.nan], [4, 5, np.nan], [np.nan] * 3], grid.coords(), ("latitude", "longitude"))
    points = xr.Dataset(coords={"latitude": ("n", [0.0, 1.0, 1.0, 2.0]), "longitude": ("n", [1.0, 0.0, 1.0, 2.0])})
    np.testing.assert_array_equal(observe(truth, points), [2, 4, 5, np.nan])


def test_noise(box, tracks):
    truth = 0 * linear_truth(box)
    first, same, other = (observe(truth, tracks, noise_std=0.02, seed=s) for s in (0, 0, 1))
    xr.testing.assert_identical(first, same)
    assert float(first.std()) == pytest.approx(0.02, rel=0.05)
    assert abs(float(xr.corr(first, other))) < 0.1
    each = observe(truth, tracks, noise_std={"jason": 0.0, "saral": 0.5})
    assert float(abs(each[each["mission"].values == 0]).max()) == 0
    assert float(each[each["mission"].values == 1].std()) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 2, "latitude": 7, "longitude": 11}])
def test_lazy_for_any_chunks(box, tracks, chunks, no_compute):
    truth = linear_truth(box).astype("float32").expand_dims(member=2).to_dataset()
    whole = observe(truth, tracks, noise_std=0.1)
    like = linear_truth(box)
    with no_compute():
        lazy = observe(truth.chunk(chunks), tracks, noise_std=0.1)
        gridded = grid_tracks(lazy, like)
    assert lazy["ssh"].chunks is not None
    assert gridded["ssh"].chunks is not None
    assert lazy["ssh"].dtype == np.float32
    assert lazy["ssh"].dims == ("member", "time")
    xr.testing.assert_allclose(lazy, whole)
    xr.testing.assert_allclose(gridded, grid_tracks(whole, like))
    assert gridded["ssh"].dims == ("member", "time", "latitude", "longitude")


def test_binning_by_hand(box, tracks):
    obs = observe(linear_truth(box), tracks, noise_std=1.0)
    for like in (linear_truth(box), linear_truth(box).isel(latitude=slice(None, None, -1)).isel(time=slice(1, 4))):
        out = grid_tracks(obs, like)
        total, count = np.zeros(like.shape), np.zeros(like.shape, int)
        for value, t, y, x in zip(obs.values, obs["time"].values, obs["latitude"].values, obs["longitude"].values,
                                  strict=True):  # fmt: skip
            k = np.argmin(abs(like["time"].values - t))
            if abs(like["time"].values[k] - t) > np.timedelta64(12, "h"):
                continue
            j, i = np.argmin(abs(like["latitude"].values - y)), np.argmin(abs(like["longitude"].values - x))
            total[k, j, i] += value
            count[k, j, i] += 1
        np.testing.assert_array_equal(out["ssh_count"], count)
        expected = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        np.testing.assert_allclose(out["ssh"], expected)
        xr.testing.assert_identical(out["latitude"], like["latitude"])
        xr.testing.assert_identical(out["time"], like["time"])
    assert out["ssh"].attrs["units"] == "m"
    assert out["ssh"].dims == ("time", "latitude", "longitude")


def test_bare_tracks_are_counted_and_missing_samples_are_not(box, tracks):
    like = linear_truth(box)
    count = grid_tracks(tracks, like)["count"]
    assert int(count.sum()) == tracks.sizes["time"]
    assert int(grid_tracks(tracks, like.isel(time=0))["count"].sum()) == tracks.sizes["time"]
    obs = observe(like, tracks)
    holes = grid_tracks(obs.where(obs["mission"] == 0), like)
    assert int(holes["ssh_count"].sum()) == int((obs["mission"] == 0).sum())


def test_grids_that_go_around():
    grid = Grid.regular(19, 36)
    tracks = nadir_tracks("jason", start="2013-01-01", days=2, sampling="20s")
    like = xr.Dataset(coords=grid.coords())
    count = grid_tracks(tracks, like)["count"]
    assert int(count.sum()) == tracks.sizes["time"]
    assert int(count.sel(longitude=0).sum()) > 0


def test_clear_errors(box, tracks):
    truth = linear_truth(box)
    with pytest.raises(CoordinateError, match="none of the .* points lies within the truth"):
        observe(truth.assign_coords(time=truth.time + np.timedelta64(900, "D")), tracks)
    with pytest.raises(DimensionError, match="wanted one, with time, latitude and longitude"):
        observe(truth, truth)
    with pytest.raises(DimensionError, match="observe needs a field with dimensions"):
        observe(truth.isel(latitude=0, drop=True).to_dataset().assign_coords(truth.coords), tracks)
    with pytest.raises(OptionError, match="wanted no number below 0"):
        observe(truth, tracks, noise_std=-1)
    with pytest.raises(OptionError, match=r"wanted a number for each mission of the tracks: \['jason', 'saral'\]"):
        observe(truth, tracks, noise_std={"jason": 1.0})
    with pytest.raises(CoordinateError, match="wanted one with standard_name 'longitude'"):
        observe(truth, tracks.drop_vars("longitude"))
    with pytest.raises(CoordinateError, match="wanted a latitude along the track"):
        grid_tracks(tracks.drop_vars("latitude"), truth)
    with pytest.raises(DimensionError, match="no numeric variable lies along 'time'"):
        grid_tracks(tracks.assign(a=("x", [1.0])), truth)
