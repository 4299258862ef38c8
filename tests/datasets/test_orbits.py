from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.datasets import MISSIONS, Orbit, nadir_tracks
from xatmo.errors import OptionError


def kilometres(lat1, lon1, lat2, lon2) -> np.ndarray:
    lat1, lon1, lat2, lon2 = (np.radians(x) for x in (lat1, lon1, lat2, lon2))
    half = np.sin((lat1 - lat2) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon1 - lon2) / 2) ** 2
    return 6371 * 2 * np.arcsin(np.sqrt(half))


@pytest.mark.parametrize("orbit", MISSIONS.values(), ids=MISSIONS.keys())
def test_tracks_repeat_after_a_cycle(orbit):
    seconds = np.linspace(0, 86400, 500)
    first = orbit.position(seconds)
    again = orbit.position(seconds + orbit.cycle_days * 86400)
    assert kilometres(*first, *again).max() < 1e-3
    half = orbit.position(seconds + orbit.cycle_days * 43200)
    assert np.median(kilometres(*first, *half)) > 100


@pytest.mark.parametrize("orbit", MISSIONS.values(), ids=MISSIONS.keys())
def test_geometry(orbit):
    step = 1.0
    seconds = np.arange(0, 6 * orbit.period, step)
    latitude, longitude = orbit.position(seconds)
    geocentric = np.degrees(np.arctan((1 - 0.00669437999014) * np.tan(np.radians(latitude))))
    tilt = min(orbit.inclination, 180 - orbit.inclination)
    assert abs(geocentric).max() == pytest.approx(tilt, abs=1e-3)
    assert (longitude >= 0).all()
    assert (longitude < 360).all()
    speed = kilometres(geocentric[1:], longitude[1:], geocentric[:-1], longitude[:-1]) / step
    assert 5.5 < speed.min() < speed.max() < 7.6
    # nodes drift westward by Q/r turns per revolution
    nodes = orbit.position(np.arange(orbit.revolutions) * orbit.period)[1]
    gap = np.diff(np.sort(nodes))
    np.testing.assert_allclose(gap, 360 / orbit.revolutions, rtol=1e-6)


def test_periods_are_those_of_the_missions():
    periods = {"jason": 6745.7, "sentinel-3a": 6059.2, "saral": 6035.9, "swot": 6173.6, "swot-calval": 6131.3}
    for name, seconds in periods.items():
        assert MISSIONS[name].period == pytest.approx(seconds, abs=0.1)


def test_sentinel_3a_and_3b_interleave():
    nodes = [MISSIONS[n].position(np.arange(385) * MISSIONS[n].period)[1] for n in ("sentinel-3a", "sentinel-3b")]
    gap = np.diff(np.sort(np.concatenate(nodes)))
    assert gap.min() == pytest.approx(180 / 385, rel=0.05)


def test_follows_a_real_sentinel_3b_pass(shared_data):
    ds = xr.open_dataset(shared_data("sentinel3b_sral_l2_1hz_pass_2025-11-09.nc"))
    latitude, longitude = ds["lat_01"].values, ds["lon_01"].values
    seconds = (ds["time_01"].values - ds["time_01"].values[0]) / np.timedelta64(1, "s")
    # southward over the equator: half a revolution after the node
    when, where = (float(np.interp(0.0, latitude[::-1], x[::-1])) for x in (seconds, longitude))
    orbit = replace(MISSIONS["sentinel-3b"], node_longitude=where - 180 + 180 * 27 / 385)
    error = kilometres(*orbit.position(seconds - when + orbit.period / 2), latitude, longitude)
    assert np.median(error) < 0.35
    assert error.max() < 2
    tracks = nadir_tracks("sentinel-3b", start=ds["time_01"].values[0], days=600 / 86400)
    error = kilometres(tracks["latitude"].values, tracks["longitude"].values, latitude, longitude)
    assert np.median(error) < 0.5
    assert (tracks["pass_number"] == 234).all()
    assert not tracks["ascending"].any()


def test_follows_the_swot_ephemeris_for_a_cycle(shared_data):
    ds = xr.open_dataset(shared_data("swot_science_orbit_ephemeris_21day.nc"))
    orbit = MISSIONS["swot"]
    seconds = ds["t"].values.astype(float) + orbit.period / 2  # starts southward over the equator
    error = kilometres(*orbit.position(seconds), ds["lat"].values, ds["lon"].values)
    assert np.median(error) < 14
    assert error.max() < 28


def test_tracks_are_labelled():
    tracks = nadir_tracks(["jason", "swot"], start="2013-01-01", days=1, sampling="10s")
    assert tracks.sizes["time"] == 2 * 8640
    assert (np.diff(tracks["time"].values) >= np.timedelta64(0)).all()
    assert tracks["mission"].attrs["flag_meanings"] == "jason swot"
    assert set(tracks.coords) == {"time", "latitude", "longitude", "mission", "cycle", "pass_number", "ascending"}
    one = tracks.isel(time=np.flatnonzero(tracks["mission"] == 0))
    north = np.diff(one["latitude"].values) > 0
    same = np.diff(one["pass_number"].values) == 0
    np.testing.assert_array_equal(north[same], one["ascending"].values[1:][same])
    assert (one["ascending"] == (one["pass_number"] % 2 == 1)).all()
    assert one["pass_number"].max() <= 254
    assert tracks.attrs["history"].startswith("xatmo")


def test_region_keeps_its_own_points():
    everywhere = nadir_tracks("saral", start="2013-01-01", days=5)
    box = {"latitude": (33, 43), "longitude": (-65, -55)}
    inside = nadir_tracks("saral", start="2013-01-01", days=5, region=box)
    west = (everywhere["longitude"] + 180) % 360 - 180
    latitude = everywhere["latitude"]
    wanted = (latitude >= 33) & (latitude <= 43) & (west >= -65) & (west <= -55)
    np.testing.assert_array_equal(inside["time"], everywhere["time"][wanted.values])
    np.testing.assert_allclose(inside["longitude"], west[wanted.values])
    grid = Grid.from_latlon(np.arange(33.1, 43, 0.2), np.arange(-64.9, -55, 0.2))
    xr.testing.assert_allclose(nadir_tracks("saral", start="2013-01-01", days=5, region=grid), inside)
    across = nadir_tracks("saral", start="2013-01-01", days=5, region={"latitude": (-10, 10), "longitude": (170, -170)})
    assert across["longitude"].min() >= 170
    assert across["longitude"].max() <= 190
    assert across.sizes["time"] > 100
    whole = nadir_tracks("saral", start="2013-01-01", days=1, region=Grid.regular(19, 36))
    assert whole.sizes["time"] == 86400


def test_nodes_can_be_given():
    tracks = nadir_tracks("jason", start="2013-01-01", days=0.1, node_longitude=12.0, node_time="2013-01-01")
    assert tracks["latitude"][0].item() == pytest.approx(0, abs=1e-9)
    assert tracks["longitude"][0].item() == pytest.approx(12.0)
    own = Orbit("own", 10, 1, 0.7, 50.0)
    assert abs(nadir_tracks(own, start="2013-01-01", days=1)["latitude"]).max() < 50.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mission": "jason-9"}, "unknown mission 'jason-9'; wanted one of"),
        ({"days": 0}, "wanted positive times"),
        ({"mission": ["jason", "saral"], "node_longitude": 3.0}, "wanted one mission"),
        ({"mission": []}, "wanted one mission"),
        ({"region": {"latitude": (33, 43)}}, r"wanted {'latitude': \(south, north\)"),
        ({"region": {"latitude": (43, 33), "longitude": (0, 10)}}, "wanted {'latitude'"),
    ],
)
def test_clear_errors(settings, message):
    with pytest.raises(OptionError, match=message):
        nadir_tracks(**{"mission": "jason", "start": "2013-01-01", "days": 1} | settings)
