from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.datasets import grid_tracks, nadir_tracks, observe, sea_level
from xatmo.errors import OptionError

LONG = {"longitude": (-75.0, -45.0), "latitude": (33.0, 43.0), "step": 0.1}


def slope(ssh: xr.DataArray, first: float, last: float) -> float:
    """Of the spectrum along rows, between two wavelengths in km."""
    values = ssh.values.astype(float)
    values = (values - values.mean(-1, keepdims=True)) * np.hanning(values.shape[-1])
    spacing = float(ssh.longitude[1] - ssh.longitude[0]) * 111.2 * np.cos(np.radians(38))
    k = np.fft.rfftfreq(values.shape[-1], spacing)
    power = (abs(np.fft.rfft(values)) ** 2).mean((0, 1))
    band = (k > 1 / first) & (k < 1 / last)
    return float(np.polyfit(np.log(k[band]), np.log(power[band]), 1)[0])


def test_labels():
    ds = sea_level(days=3)
    assert ds["ssh"].dims == ("time", "latitude", "longitude")
    assert ds["ssh"].dtype == np.float32
    assert ds["ssh"].attrs["standard_name"] == "sea_surface_height_above_geoid"
    assert ds["latitude"].values[[0, -1]].tolist() == [33.1, 42.9]
    assert ds["longitude"].values[[0, -1]].tolist() == [-64.9, -55.1]
    assert np.diff(ds["time"].values).tolist() == [86400 * 10**9] * 2
    assert Grid.of(ds).kind == "regional"
    assert ds.attrs["history"].startswith("xatmo")


def test_flat_then_steep():
    gaussian = sea_level(**LONG, days=60, output_every="6D", stirring=0)["ssh"]
    assert slope(gaussian, 250, 70) == pytest.approx(-4.5 * 0.94, abs=0.25)  # of (1 + (k/k0)^2)^(-4.5/2) itself: -4.2
    assert slope(gaussian, 2000, 700) > -1.5
    stirred = sea_level(**LONG, days=60, output_every="6D")["ssh"]
    assert -4.2 < slope(stirred, 250, 70) < -3
    assert slope(stirred, 2000, 700) > -1.5
    for ssh in (gaussian, stirred):
        assert float(ssh.std()) == pytest.approx(0.3, rel=0.15)


def test_gaussian_waves_have_the_same_spread_at_any_time_between_maps():
    often, seldom = (
        sea_level(days=200, output_every=e, stirring=0, length_scale=150e3, memory="5D")["ssh"] for e in ("1D", "10D")
    )
    assert float(often.std()) == pytest.approx(float(seldom.std()), rel=0.1)
    lag = xr.corr(often.shift(time=10), often)
    assert float(lag) == pytest.approx(float(xr.corr(seldom.shift(time=1), seldom)), abs=0.1)


def test_drifts_west_at_its_speed():
    ssh = sea_level(days=40, stirring=0, memory="1000D", drift=0.1, length_scale=2000e3, slope=8)["ssh"]
    moved = 0.1 * 8 * 86400 / (111.2e3 * np.cos(np.radians(38)))  # degrees in 8 days, for long waves
    later = ssh.isel(time=8)
    shifted = ssh.isel(time=0).interp(longitude=ssh.longitude + moved)
    still = ssh.isel(time=0)
    assert float(xr.corr(shifted, later)) > 0.97
    assert float(xr.corr(shifted, later)) > float(xr.corr(still, later))


def test_forgets_over_its_memory():
    ssh = sea_level(days=300, stirring=0, drift=0.0, memory="10D", length_scale=300e3, slope=20)["ssh"]
    correlation = [float((ssh * ssh.shift(time=k)).mean() / (ssh**2).mean()) for k in (2, 5, 10)]
    # long waves for the most part, forgotten a little faster than the longest
    for value, days in zip(correlation, (2, 5, 10), strict=True):
        assert np.exp(-1.4 * days / 10) - 0.1 < value < np.exp(-days / 10) + 0.1


def test_stirring_makes_small_scales_depend_on_the_flow():
    def kurtosis(ssh):
        x = ssh.differentiate("longitude").differentiate("latitude")
        return float((x**4).mean() / (x**2).mean() ** 2)

    still, stirred = (sea_level(**LONG, days=60, output_every="10D", stirring=s)["ssh"] for s in (0.0, 1.0))
    assert kurtosis(still.astype(float)) < 3.5
    assert kurtosis(stirred.astype(float)) > 3.7


def test_seeds_and_row_order():
    first, same, other = (sea_level(days=2, seed=s)["ssh"] for s in (0, 0, 1))
    xr.testing.assert_identical(first, same)
    assert abs(float(xr.corr(first, other))) < 0.5
    down = Grid.from_latlon(first.latitude.values[::-1], first.longitude.values)
    flipped = sea_level(days=2, grid=down)["ssh"]
    np.testing.assert_array_equal(flipped.isel(latitude=slice(None, None, -1)), first)


def test_land():
    ds = sea_level(days=2, land=0.3)
    dry = np.isnan(ds["ssh"].values)
    assert (dry[0] == dry[1]).all()
    assert 0.15 < dry.mean() < 0.45
    assert not dry[..., -1].any()
    mask = xr.DataArray(dry[0], {d: ds[d] for d in ("latitude", "longitude")}, ("latitude", "longitude"))
    np.testing.assert_array_equal(np.isnan(sea_level(days=1, land=mask.T)["ssh"].values[0]), dry[0])


def test_an_observing_system_over_it():
    truth = sea_level(days=10, land=0.2)["ssh"]
    tracks = nadir_tracks(["jason", "saral"], start="2012-10-01", days=10, region=truth)
    obs = observe(truth, tracks, noise_std=0.02)
    gridded = grid_tracks(obs, truth)
    assert 0.002 < float(gridded["ssh"].notnull().mean()) < 0.1
    assert gridded["ssh"].attrs["standard_name"] == truth.attrs["standard_name"]
    seen = gridded["ssh"].notnull() & truth.notnull()
    error = (gridded["ssh"] - truth).where(seen)
    assert float(error.std()) < 0.1 * float(truth.std()) + 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latitude": (43, 33)}, r"wanted \(south, north\)"),
        ({"latitude": (0, 60), "step": 1.0}, "at most 40 degrees of latitude"),
        ({"grid": Grid.from_latlon([30, 31, 33, 40], [0, 1, 2])}, "wanted an evenly spaced box"),
        ({"std": -1}, "wanted positive numbers"),
        ({"slope": 1}, "a slope above 1"),
        ({"land": 1.5}, "from 0 to below 1, or a mask"),
        ({"land": xr.DataArray(np.zeros((2, 2)), {"lat": [0, 1], "lon": [0, 1]}, ("lat", "lon"))}, "land mask has"),
    ],
)
def test_clear_errors(settings, message):
    with pytest.raises(OptionError, match=message):
        sea_level(**{"days": 1} | settings)
