"""Scales from several windows: what was drawn is found again, windows are drawn well, ends of ranges are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Deviations, Gaussian, Matern
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.covariance.pooled import Seen, at_bounds, draw_windows, estimate_pooled, pooled_mean
from xatmo.assimilation.dense import _kernels
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


def along_tracks(number, true, cells=64, days=15, seed=0):
    """Windows seen along two slanted lines a day, with land in a corner, drawn from the exact covariance."""
    rng, out, degrees = np.random.default_rng(seed), [], 0.1 * (np.arange(cells) - cells / 2)
    for _ in range(number):
        row, day = np.tile(np.arange(cells), 2 * days), np.repeat(np.arange(days), 2 * cells)
        first, lean = rng.uniform(-0.5, 1.5, 2 * days) * cells, rng.choice([-1, 1], 2 * days) * 0.4
        column = np.rint(np.repeat(first, cells) + np.repeat(lean, cells) * row).astype(int)
        water = (column >= 0) & (column < cells) & ((row > cells / 4) | (column > cells / 4))
        lat, lon, time = degrees[row[water]], degrees[column[water]], DAY * day[water].astype(float)
        at = Frame("sphere", (0.0, 0.0), drift=true.drift).place(lat, lon, time)
        matrix = Matern(true.length_scale, true.time_scale, true.signal_std)(
            _kernels.distances(at, at), time[:, None] - time
        ) + true.noise_std**2 * np.eye(time.size)
        values = np.linalg.cholesky(matrix) @ rng.standard_normal(time.size)
        out.append(Seen(lat, lon, time, values, (7e5, (days - 1) * DAY), (1.1e4, DAY)))
    return out


def test_estimates_along_tracks_are_those_drawn_whatever_the_draw():
    true = Scales(1e5, 10 * DAY, 0.05, 1.0, (0.0, 0.0), (0.0, 0.0))
    found = [estimate_pooled(along_tracks(3, true, seed=seed), Scales(), targets=1000) for seed in range(2)]
    for one in found:
        assert one.length_scale == pytest.approx(1e5, rel=0.2)
        assert one.time_scale == pytest.approx(10 * DAY, rel=0.3)
        assert one.signal_std == pytest.approx(1.0, rel=0.15)
        assert one.noise_std == pytest.approx(0.05, abs=0.03)
    moving = replace(true, drift=(-0.08, 0.03))
    drift = estimate_pooled(along_tracks(2, moving), replace(true, drift=None), targets=800).drift
    np.testing.assert_allclose(drift, moving.drift, atol=0.03)


def centred(number, time_scale, days=48, places=24):
    """Fields at some places less their best means over the period, seen now and then with noise."""
    rng, out, when = np.random.default_rng(1), [], DAY * np.arange(days)
    for _ in range(number):
        lat, lon = rng.uniform(-1.5, 1.5, (2, places))
        at = _kernels.points(lat, lon, "sphere")
        covariance = Matern(1e5, time_scale)
        space = np.linalg.cholesky(covariance.space(_kernels.distances(at, at)) + 1e-9 * np.eye(places))
        time = np.linalg.cholesky(covariance.time(when[:, None] - when))
        field = time @ rng.standard_normal((days, places)) @ space.T
        weight = np.linalg.solve(time @ time.T, np.ones(days))
        field += 0.1 * rng.standard_normal(field.shape) - weight @ field / weight.sum()
        t, x = np.nonzero(rng.random(field.shape) < 0.4)
        out.append(Seen(lat[x], lon[x], when[t], field[t, x], (3e5, when[-1]), (1e4, DAY)))
    return out


def test_of_deviations_from_a_mean_the_scales_of_the_whole_are_found():
    seen = centred(10, 20 * DAY)
    blind = estimate_pooled(seen, Scales(), targets=800)
    assert blind.time_scale < 12 * DAY
    assert blind.signal_std < 0.8
    found = estimate_pooled(seen, Scales(), targets=2000, period=48 * DAY)
    assert found.time_scale == pytest.approx(20 * DAY, rel=0.35)
    assert found.signal_std == pytest.approx(1.0, rel=0.2)
    assert found.length_scale == pytest.approx(1e5, rel=0.2)


def test_covariance_of_deviations():
    time, distance = np.arange(0.0, 60.5, 0.5), np.zeros(())
    for whole in (Matern(1.0, 10.0, 2.0), Gaussian(1.0, 10.0, 2.0)):
        matrix = whole(distance, time[:, None] - time)
        least = 1 / np.linalg.solve(matrix + 4e-6 * np.eye(time.size), np.ones(time.size)).sum()
        left = Deviations(whole, 60.0)
        np.testing.assert_allclose(left(distance, time[:, None] - time), matrix - least, atol=0.02)
        assert left.signal_std**2 == pytest.approx(float(left(distance, np.zeros(()))))
        assert np.linalg.eigvalsh(left(distance, time[:, None] - time)).min() > -0.01
    lost = 1 - Deviations(Matern(1.0, 10.0), 60.0).signal_std ** 2
    assert lost == pytest.approx(20 / 80, rel=0.02)  # 2 T / (P + 2 T)


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


def test_windows_do_not_overlap():
    field = record(sample=1, time=45, lat=48, lon=96)
    seen = draw_windows(field, n_frames=15, n_windows=24)
    assert len(seen) == 24  # three times, two rows and four columns of boxes
    where = np.concatenate([np.stack([w.time, w.latitude, w.longitude]) for w in seen], axis=1)
    assert np.unique(where, axis=1).shape[1] == where.shape[1] == int(field.notnull().sum())
    land = field.where(field["lon"] > 380)  # boxes without water are passed over, and there are no others for them
    sea = draw_windows(land, n_frames=15, n_windows=24)
    assert 6 <= len(sea) < 24
    assert min(w.values.size for w in sea) > 100


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
