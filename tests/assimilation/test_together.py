"""Super-observations: means of boxes, where they are made, and what they do to scales and backgrounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Matern
from xatmo.assimilation.covariance.together import beside, cells, crowded, mean_of_boxes
from xatmo.assimilation.dense import gridded
from xatmo.assimilation.draws.features import Features
from xatmo.tasks.fourdvar._background import Background

DAY = 86400.0
SHAPE = 40, 36, 36
STEP = 0.25
SIGNAL, LENGTH, TIME = 0.25, 150e3, 9 * DAY


def swath_days(shape=SHAPE, seed=0):
    """Where a swath of eight columns, and a track, are each day."""
    seen = np.zeros(shape, dtype=bool)
    rng = np.random.default_rng(seed)
    for day in range(shape[0]):
        first = int(rng.integers(0, shape[2] - 8))
        lean = np.rint(np.arange(shape[1]) * rng.uniform(-0.3, 0.3)).astype(int)
        for row in range(shape[1]):
            columns = np.clip(first + lean[row] + np.arange(8), 0, shape[2] - 1)
            seen[day, row, columns] = True
    return seen


@pytest.fixture(scope="module")
def sea():
    """A field with a known covariance, seen by a swath whose errors roll: half their variance leans across it."""
    time, lat, lon = DAY * np.arange(SHAPE[0]), 35 + STEP * np.arange(SHAPE[1]), STEP * np.arange(SHAPE[2])
    covariance = Matern(LENGTH, TIME, SIGNAL)
    truth = Features.draw(covariance, Frame("sphere", (39.0, 4.0)), seed=3)(time, lat, lon)
    seen, rng = swath_days(), np.random.default_rng(5)
    roll = np.zeros(SHAPE)
    for day in range(SHAPE[0]):
        along = np.convolve(rng.standard_normal(SHAPE[1] + 12), np.ones(12) / np.sqrt(12), "same")[: SHAPE[1]]
        for row in range(SHAPE[1]):
            columns = np.flatnonzero(seen[day, row])
            roll[day, row, columns] = 0.04 * along[row] * np.linspace(-1.7, 1.7, columns.size)
    noisy = truth + roll + 0.03 * rng.standard_normal(SHAPE)
    coords = {"time": pd.date_range("2013-01-01", periods=SHAPE[0]), "lat": lat, "lon": lon}
    dims = ("time", "lat", "lon")
    return xr.Dataset({"truth": (dims, truth), "obs": (dims, np.where(seen, noisy, np.nan))}, coords)


# ---------------------------------------------------------------------- boxes
@pytest.mark.parametrize("box", [(2, 2), (3, 2), (1, 4), (5, 5)])
def test_boxes_hold_the_mean_of_their_observations_and_nothing_else(box):
    rng = np.random.default_rng(0)
    values = np.where(rng.random((2, 3, 7, 8)) < 0.4, rng.standard_normal((2, 3, 7, 8)), np.nan)
    made = mean_of_boxes(values, box)
    for frame, one in zip(values.reshape(-1, 7, 8), made.reshape(-1, 7, 8), strict=True):
        for row in range(0, 7, box[0]):
            for column in range(0, 8, box[1]):
                part = np.s_[row : row + box[0], column : column + box[1]]
                inside, out = frame[part], one[part]
                where = np.argwhere(np.isfinite(inside))
                assert np.isfinite(out).sum() == (1 if where.size else 0)
                if where.size:
                    np.testing.assert_allclose(np.nansum(out), np.nanmean(inside))
                    middle = np.argwhere(np.isfinite(out))[0]
                    assert (np.abs(middle - where.mean(axis=0)) <= 0.5 + 1e-9).all()
    assert mean_of_boxes(values, (1, 1)) is values


def test_nothing_observed_stays_so():
    assert np.isnan(mean_of_boxes(np.full((2, 4, 4), np.nan), (2, 2))).all()


def test_only_many_neighbours_count_as_crowded():
    swath, track = swath_days(), np.eye(36, dtype=bool)[None].repeat(60, axis=0)
    assert beside(swath) > 5
    assert beside(track) <= 3
    assert crowded([int(swath.sum())], [beside(swath)])
    assert not crowded([int(track.sum())], [beside(track)])
    assert not crowded([], [])
    assert not crowded([0], [0.0])
    lat, lon = np.arange(50, 60.1, 0.5), np.arange(0, 5.1, 0.5)
    assert cells(120e3, lat, lon, "sphere") == (2, 3)
    assert cells(1.0, lat, lon, "degrees") == (2, 2)
    assert cells(1.0, lat[:1], lon, "sphere") == (1, 1)


# ---------------------------------------------------------------------- backgrounds
def test_scales_of_a_swath_are_those_of_the_sea_and_not_of_its_errors(sea):
    found = Background.fit("oi", sea, "obs", time_window=15, oi={"drift": None}).settings
    assert found["together"] == pytest.approx(found["length_scale"] / 3, rel=0.35)
    assert 0.6 * TIME < found["time_scale"] < 1.7 * TIME
    assert 0.75 * LENGTH < found["length_scale"] < 1.35 * LENGTH


def test_swaths_in_tiles_are_mapped_as_at_once(sea, monkeypatch):
    """Windows of a swath are cut into small tiles, with little loss; records are as windows."""
    some = sea.isel(time=slice(0, 11))
    made = Background.fit("oi", sea, "obs", time_window=15, oi={"drift": None})
    place = some.lat.values, some.lon.values, DAY * np.arange(11)
    tiled = made.of_window(some["obs"].values, None, *place)
    np.testing.assert_allclose(made.make(some, "obs")["obs"], tiled, atol=2e-3)
    monkeypatch.setattr(gridded, "MOST", 4000)
    whole = made.of_window(some["obs"].values, None, *place)
    assert np.abs(whole - tiled).max() > 0
    errors = [np.sqrt(np.mean((m - some["truth"].values) ** 2)) for m in (tiled, whole)]
    assert errors[0] < 1.02 * errors[1]


def test_tracks_are_taken_one_by_one(sea):
    seen = np.zeros(SHAPE, dtype=bool)
    seen[:, np.arange(36), np.arange(36)] = True
    tracks = sea.assign(obs=sea["truth"].where(xr.DataArray(seen, dims=sea["truth"].dims)))
    assert "together" not in Background.fit("oi", tracks, "obs", oi={"drift": None}).settings


def test_true_times_of_boxes(sea):
    """A field seen half a day late is that field, half a day earlier."""
    made = Background.fit("oi", sea, "obs", time_window=15, oi={"drift": (0.1, 0.0)})
    some = sea.isel(time=slice(0, 5))
    late = xr.full_like(some["obs"], 12.0).assign_attrs(units="hours")
    moved = some.assign_coords(time=some["time"] + np.timedelta64(12, "h"))
    like = some.reindex(time=pd.date_range("2013-01-01", periods=11, freq="12h"))
    both = made.make(some, "obs", lag=late)["obs"]
    onto = like.assign(obs=moved["obs"].reindex(time=like["time"]))
    expected = made.make(onto, "obs")["obs"].sel(time=some["time"])
    assert float(np.abs(both - expected).max()) < 0.02
    assert float(np.abs(made.make(some, "obs")["obs"] - expected).max()) > 0.03
    window = made.of_window(
        some["obs"].values,
        None,
        some.lat.values,
        some.lon.values,
        DAY * np.arange(5),
        late=np.full((5, 36, 36), 43200.0),
    )
    np.testing.assert_allclose(window, both, atol=2e-3)


# ---------------------------------------------------------------------- true times by tables
def test_true_times_on_fine_steps_are_exact():
    setting = gridded.Setting(Matern(1.1, 3 * DAY, 1.3), 0.2, "degrees", (0.2, -0.1), (-0.2 / DAY, 0.1 / DAY))
    rng = np.random.default_rng(0)
    shape = (5, 7, 8)
    values, observed = rng.standard_normal(shape), rng.random(shape) < 0.2
    nodes = DAY * np.arange(5), 38 + 0.25 * np.arange(7), 5 + 0.25 * np.arange(8)
    late = rng.integers(-4, 5, shape) * DAY / 8
    table = gridded.interpolate(setting, values, observed, nodes, late=late, uncertainty=True)
    pairs = gridded._by_pairs(setting, values, observed, nodes, late, True)
    np.testing.assert_allclose(table[0], pairs[0], atol=5e-5)
    np.testing.assert_allclose(table[1], pairs[1], atol=5e-4)
    far = np.where(observed, 9 * DAY, np.nan)  # longer than the window: by pairs
    off = gridded.interpolate(setting, values, observed, nodes, late=far)[0]
    np.testing.assert_allclose(off, gridded._by_pairs(setting, values, observed, nodes, far, False)[0], atol=1e-9)
    one = gridded.interpolate(setting, values[:1], observed[:1], (nodes[0][:1], *nodes[1:]), late=late[:1])[0]
    assert np.isfinite(one).all()
