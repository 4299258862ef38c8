from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import datasets
from xatmo.datasets import SWOT_NOISE, Noise, nadir_tracks, observe, sea_level, swath_errors, swot_swath
from xatmo.datasets.swot import _series
from xatmo.errors import DimensionError, OptionError

BOX = {"latitude": (33, 43), "longitude": (-65, -55)}


def kilometres(lat1, lon1, lat2, lon2):
    lat1, lon1, lat2, lon2 = (np.radians(x) for x in (lat1, lon1, lat2, lon2))
    half = np.sin((lat1 - lat2) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon1 - lon2) / 2) ** 2
    return 6371.229 * 2 * np.arcsin(np.sqrt(half))


@pytest.fixture(scope="module")
def swath():
    return swot_swath(start="2012-10-01", days=6, region=BOX)


def test_swath_lies_beside_the_track(swath):
    wide = {"latitude": (32, 44), "longitude": (-67, -53)}
    below = nadir_tracks("swot", start="2012-10-01", days=6, region=wide)
    at = dict(zip(below["time"].values, range(below.sizes["time"]), strict=True))
    place = np.array([at[t] for t in swath["time"].values])
    lat, lon = below["latitude"].values[place], below["longitude"].values[place]
    apart = kilometres(lat, lon, swath["latitude"].values, swath["longitude"].values)
    np.testing.assert_allclose(apart, np.abs(swath["across"].values) / 1e3, atol=1e-3)
    # no point of the track is nearer than the one that it was taken from
    far = swath.isel(point=slice(None, None, 997))
    for one in range(far.sizes["point"]):
        soon = np.abs(below["time"].values - far["time"].values[one]) < np.timedelta64(200, "s")
        near = kilometres(below["latitude"].values[soon], below["longitude"].values[soon], *(
            far[n].values[one] for n in ("latitude", "longitude")))  # fmt: skip
        assert near.min() == pytest.approx(abs(far["across"].values[one]) / 1e3, abs=0.1)


def test_right_of_a_northward_track_is_east(swath):
    for north in (True, False):
        # a row that is whole: the same pass, one time
        row = swath.isel(point=np.flatnonzero(swath["ascending"].values == north))
        moment = row["time"].values[row.sizes["point"] // 2]
        row = row.isel(point=np.flatnonzero(row["time"].values == moment)).sortby("across")
        assert (np.diff(row["longitude"].values) > 0).all() == north
    assert set(np.unique(np.abs(swath["across"]))) == {0.0, *np.arange(10e3, 60.1e3, 5e3)}
    np.testing.assert_array_equal(swath["flag"] == 1, swath["across"] != 0)


def test_points_fill_their_region(swath):
    assert swath["latitude"].min() >= 33
    assert swath["longitude"].max() <= -55
    whole = swot_swath(start="2012-10-01", days=1)
    west = (whole["longitude"].values + 180) % 360 - 180
    lat = whole["latitude"].values
    inside = (lat >= 33) & (lat <= 43) & (west >= -65) & (west <= -55)
    assert inside.sum() == (swath["time"] < np.datetime64("2012-10-02")).sum()
    bare = swot_swath(start="2012-10-01", days=1, region=BOX, nadir=False)
    assert (bare["flag"] == 1).all()


def test_follows_the_real_orbit(shared_data):
    real = xr.open_dataset(shared_data("swot_science_orbit_ephemeris_21day.nc"))
    orbit = datasets.MISSIONS["swot"]
    start = np.datetime64(orbit.node_time, "ns") + np.timedelta64(int(orbit.period / 2 * 1e9), "ns")
    near = swot_swath(start=start, days=0.9, sampling="30s", inner=10e3, outer=60e3)
    index = np.rint((near["time"].values - start) / np.timedelta64(30, "s")).astype(int)
    apart = kilometres(
        real["lat"].values[index], real["lon"].values[index], near["latitude"].values, near["longitude"].values
    )
    assert np.median(np.abs(apart - np.abs(near["across"].values) / 1e3)) < 14
    assert (np.abs(apart - np.abs(near["across"].values) / 1e3)).max() < 28


def test_errors_have_their_forms(swath):
    errors = swath_errors(swath, Noise(roll=1e-7, phase=1e-3, timing=1e-10, correlated=0.02))
    across = swath["across"].values
    assert all((errors[n].values[across == 0] == 0).all() for n in ("roll", "phase", "timing"))
    _, row = np.unique(swath["time"].values, return_inverse=True)
    for name, by_side, power in (("roll", False, 1), ("phase", True, 1), ("timing", True, 0), ("correlated", False, 0)):
        used = across != 0
        ratio = errors[name].values[used] / across[used] ** power
        group = (2 * row + (across > 0) * by_side)[used]
        spread = [np.ptp(ratio[group == g]) for g in np.unique(group)[::20]]
        assert max(spread) < 1e-12 * np.abs(ratio).max() + 1e-18


def test_errors_have_their_sizes_and_memory():
    rng = np.random.default_rng(0)
    link = np.full(200_000, 50.0)
    drawn = _series(rng, link, 500.0, 1)[:, 0]
    assert drawn.var() == pytest.approx(1, abs=0.05)
    for lag in (1, 5, 10):
        expected = np.exp(-50 * lag / 500)
        assert np.mean(drawn[lag:] * drawn[:-lag]) == pytest.approx(expected, abs=0.05)
    apart = _series(rng, np.full(2000, np.inf), 500.0, 1)[:, 0]
    assert abs(np.mean(apart[1:] * apart[:-1])) < 0.1


def test_samples_with_the_errors_of_each_sensor(swath):
    truth = sea_level(step=0.5, days=8, start="2012-09-30", stirring=0.0)["ssh"]
    clean = observe(truth, swath)
    noisy = observe(truth, swath, Noise(nadir=0.05, swath=0.01), seed=3)
    error = (noisy - clean).values
    flag = clean["flag"].values
    assert error[flag == 1].std() == pytest.approx(0.01, rel=0.05)
    assert error[flag == 0].std() == pytest.approx(0.05, rel=0.1)
    shared = observe(truth, swath, Noise(correlated=0.1), seed=3)
    assert abs(shared - clean).max() > 0.05
    assert "_point" not in noisy.coords
    assert noisy.identical(observe(truth, swath, Noise(nadir=0.05, swath=0.01), seed=3))
    both = observe(truth.to_dataset(), swath, SWOT_NOISE)
    assert set(both.data_vars) == {"ssh"}


def test_maps_in_the_challenges_layout(swath):
    truth = sea_level(step=0.5, days=8, start="2012-09-30", output_every="6h", land=0.2)["ssh"]
    maps = observe(truth, swath, Noise(nadir=0.05, swath=0.01), layout="challenge")
    assert maps.sizes["time"] == 8
    assert set(maps.data_vars) == {"ssh_obs", "ssh_mod", "lag", "flag", "track", "noise_std", "mask"}
    seen = np.isfinite(maps["ssh_obs"].values)
    assert 0.01 < seen.mean() < 0.5
    np.testing.assert_array_equal(maps["mask"], truth.isel(time=0).notnull())
    for name in ("ssh_mod", "lag", "noise_std"):
        np.testing.assert_array_equal(np.isfinite(maps[name]), seen)
    np.testing.assert_array_equal(maps["flag"].values >= 0, seen)
    assert abs(maps["lag"]).max() <= 12
    # the true time tells the truth: interpolated there, the field is what was seen without errors
    error = ((maps["ssh_obs"] - maps["ssh_mod"]) / maps["noise_std"]).values[seen]
    assert error.std() == pytest.approx(1, abs=0.15)
    lazy = observe(truth.chunk(time=4), swath, Noise(nadir=0.05, swath=0.01), layout="challenge")
    assert lazy["ssh_obs"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), maps)
    coarse = observe(truth, swath, 0.01, layout="challenge", like=sea_level(step=1.0, days=6)["ssh"])
    assert coarse.sizes["latitude"] == 10


def test_lag_is_the_true_time():
    truth = xr.DataArray(
        np.arange(6.0)[:, None, None] + np.zeros((6, 5, 5)), dims=("time", "lat", "lon"), name="ssh",
        coords={"time": np.arange("2013-01-01", "2013-01-07", dtype="M8[D]").astype("M8[ns]"),
                "lat": np.arange(5.0), "lon": np.arange(5.0)},
    )  # fmt: skip
    points = xr.Dataset(coords={
        "time": ("n", np.array(["2013-01-02T06", "2013-01-03T18", "2013-01-03T18"], "M8[ns]")),
        "latitude": ("n", [1.0, 2.0, 2.0]), "longitude": ("n", [1.0, 3.0, 3.1]),
        "pass_number": ("n", [3, 4, 4]), "flag": ("n", [0, 1, 1]),
    })  # fmt: skip
    maps = observe(truth, points, layout="challenge")
    assert maps["lag"].values[1, 1, 1] == pytest.approx(6)
    assert maps["lag"].values[3, 2, 3] == pytest.approx(-6)
    day = np.arange(6)[:, None, None] + maps["lag"] / 24
    np.testing.assert_allclose(maps["ssh_mod"], day)
    assert maps["flag"].values[3, 2, 3] == 1
    assert maps["track"].values[3, 2, 3] == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t, s: swot_swath(start="2012-10-01", days=1, inner=5.0, outer=1.0), OptionError, "wanted 0 <= inner"),
        (lambda t, s: Noise(nadir=-1.0), OptionError, "wanted no number below 0"),
        (lambda t, s: observe(t, s, 0.1, noise_std=0.1), OptionError, "wanted one of them"),
        (lambda t, s: observe(t, s, layout="table"), OptionError, "layout='table' came"),
        (
            lambda t, s: observe(xr.Dataset({"a": t, "b": t}), s, layout="challenge"),
            DimensionError,
            "wanted one for layout='challenge'",
        ),
    ],
)
def test_clear_errors(call, error, message, swath):
    truth = sea_level(step=1.0, days=8, stirring=0.0)["ssh"]
    with pytest.raises(error, match=message):
        call(truth, swath)


def test_maps_are_ready_for_interpolation():
    # a field that changes within the day: true times help
    truth = sea_level(step=0.5, days=6, start="2012-10-01", output_every="6h", memory="4D", stirring=0.0)["ssh"]
    swath = swot_swath(start="2012-10-01", days=5.5, region=BOX)
    maps = observe(truth, swath, Noise(nadir=0.02, swath=0.02, correlated=0.05, memory=5e6), layout="challenge")
    out = maps.atmo.optimal_interp(
        "ssh_obs", lag="lag", noise_std="noise_std", track_error=(0.05, "700s"), passes="track", domain="mask",
        covariance="matern", length_scale=120e3, time_scale="4D", signal_std=0.3, uncertainty=True,
    )  # fmt: skip
    daily = truth.resample(time="1D").mean().values
    error = out["ssh_obs"].values - daily
    assert np.sqrt(np.mean(error**2)) < 0.85 * daily.std()
    assert np.isfinite(out["ssh_obs_error"]).all()
