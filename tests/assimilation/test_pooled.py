"""Scales from several windows: what was drawn is found again, windows are drawn well, ends of ranges are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Matern
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.covariance.pooled import Seen, at_bounds, draw_windows, estimate_pooled, pooled_mean
from xatmo.assimilation.draws.features import Features, white_noise
from xatmo.errors import MissingValueError

DAY = 86400.0
TRUE = Scales(1.2e5, 6 * DAY, 0.05, 0.7, (0.0, 0.0), (-0.12, 0.04))


def windows(number, n=400, mean=0.0, drift=TRUE.drift, seed=0):
    frame = Frame("sphere", (40.0, 10.0), drift=drift)
    rng, out = np.random.default_rng(seed), []
    for k in range(number):
        draw = Features.draw(Matern(TRUE.length_scale, TRUE.time_scale, TRUE.signal_std), frame, member=k + 100 * seed)
        lat, lon = rng.uniform(37, 43, n), rng.uniform(7, 13, n)
        time = DAY * rng.integers(0, 15, n).astype(float)
        values = mean + draw.at(time, lat, lon) + TRUE.noise_std * white_noise(time, lat, lon, member=k)
        out.append(Seen(lat, lon, time, values, (6.7e5, 14 * DAY), (1e4, DAY)))
    return out


def test_scales_and_drift_are_found_again():
    found = estimate_pooled(windows(5, 200), Scales(drift=None))
    assert found.length_scale == pytest.approx(TRUE.length_scale, rel=0.2)
    assert found.time_scale == pytest.approx(TRUE.time_scale, rel=0.3)
    assert found.signal_std == pytest.approx(TRUE.signal_std, rel=0.15)
    assert found.noise_std < 0.2  # few observations are near enough to tell more
    np.testing.assert_allclose(found.drift, TRUE.drift, atol=0.03)
    given = estimate_pooled(windows(2, 50), Scales(1e5, None, 0.05, 0.7))
    assert (given.length_scale, given.noise_std, given.drift) == (1e5, 0.05, (0.0, 0.0))


def test_a_drift_that_the_observations_do_not_tell_is_zero():
    given = Scales(TRUE.length_scale, TRUE.time_scale, None, TRUE.signal_std, drift=None)
    for seed in range(2):
        still = windows(2, 120, drift=(0.0, 0.0), seed=seed)
        found = estimate_pooled(still, given)
        assert found.drift == (0.0, 0.0)
        # What is left is what is found where none is looked for.
        known = estimate_pooled(still, replace(given, drift=(0.0, 0.0)))
        assert found.noise_std == pytest.approx(known.noise_std, rel=0.05, abs=0.02)
    few = replace(given, length_scale=1e3, noise_std=0.05)  # nothing missing but the drift, which nothing tells
    assert estimate_pooled(windows(1, 40), few).drift == (0.0, 0.0)


def test_the_mean_weighs_windows_by_what_they_know():
    seen = windows(12, n=150, mean=2.0)
    mean, error = pooled_mean(seen, TRUE)
    assert abs(mean - 2.0) < 3 * error
    assert error < 0.7 / np.sqrt(12)
    few = Seen(
        *(a[:3] for a in (seen[0].latitude, seen[0].longitude, seen[0].time, seen[0].values)), *((1.0, 1.0),) * 2
    )
    assert pooled_mean([few], TRUE)[1] > pooled_mean(seen[:1], TRUE)[1]


def test_too_few_observations_are_refused():
    with pytest.raises(MissingValueError, match="9 observations came; wanted at least 10"):
        estimate_pooled(windows(3, n=3), Scales())
    with pytest.raises(MissingValueError, match="0 observations came"):
        estimate_pooled([], Scales())


def test_ends_of_the_range_are_told():
    extent, spacing = (1e6, 15 * DAY), (1e4, DAY)
    assert at_bounds(TRUE, extent, spacing) == ()
    assert at_bounds(Scales(5e3, 60 * DAY, 0.1, 1.0), extent, spacing) == ("length_scale", "time_scale")


def record(**sizes):
    shape = {"sample": 3, "time": 40, "lat": 30, "lon": 40, **sizes}
    rng = np.random.default_rng(0)
    values = np.where(rng.random(tuple(shape.values())) < 0.1, rng.standard_normal(tuple(shape.values())), np.nan)
    return xr.DataArray(values, dims=tuple(shape), coords={
        "time": np.datetime64("2013-01-01", "ns") + np.arange(shape["time"]) * np.timedelta64(1, "D"),
        "lat": 30 + 0.5 * np.arange(shape["lat"]), "lon": 350 + 0.5 * np.arange(shape["lon"]),
    })  # fmt: skip


def test_windows_are_spread_and_drawn_once():
    seen = draw_windows(record(), n_frames=10, n_windows=12)
    assert len(seen) == 12
    assert len({w.values.tobytes() for w in seen}) == 12
    for window in seen:
        assert np.ptp(window.latitude) < 12.5
        assert np.ptp(window.longitude) < 12.5
        assert np.ptp(window.time) <= 9 * DAY
        assert window.values.size > 100
    spread = {float(w.time.min() // DAY) for w in seen}
    assert min(spread) <= 1
    assert max(spread) >= 29
    assert len(draw_windows(record(sample=2, time=10), n_frames=10, n_windows=12)) == 2  # there are no more
    again = draw_windows(record(), n_frames=10, n_windows=12)
    assert all((a.values == b.values).all() for a, b in zip(seen, again, strict=True))


def test_only_the_windows_are_read_and_true_times_count():
    import dask.array

    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return record(sample=1).values[0][:5]

    chunks = ((5,) * 80, (30,), (40,))
    lazy = dask.array.map_blocks(block, chunks=chunks, dtype=float, meta=np.empty((0, 0, 0)))
    times = np.datetime64("2013-01-01", "ns") + np.arange(400) * np.timedelta64(1, "D")
    like = record(sample=1, time=1).isel(sample=0, time=0, drop=True)
    field = xr.DataArray(
        lazy, dims=("time", "lat", "lon"), coords={"time": times, "lat": like["lat"], "lon": like["lon"]}
    )
    lag = xr.full_like(field, 6.0).assign_attrs(units="hours")
    bare = draw_windows(field, n_frames=10, n_windows=4)
    assert 0 < len(set(read)) <= 12
    late = draw_windows(field, lag, n_frames=10, n_windows=4)
    np.testing.assert_allclose(late[1].time - bare[1].time, 6 * 3600.0)
