"""Dense analyses: windows solved together are those of each alone; variances from a skeleton are the exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.covariance.noise import Errors, TrackError
from xatmo.assimilation.dense import _skeleton, _windows
from xatmo.errors import OptionError

DAY = 86400.0
SIGNAL, NOISE = 0.7, 0.2


def observed(n: int, days: int, width: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    lat, lon = 35 + width * rng.random(n), 300 + width * rng.random(n)
    return lat, lon, DAY * rng.integers(0, days, n) + 3600 * rng.random(n), rng.standard_normal(n)


def dense(kernel, obs, errors, nodes, half):
    """Time by time, with an inverse."""
    lat, lon, when, values = obs
    north, east = (a.ravel() for a in np.meshgrid(nodes[1], nodes[2], indexing="ij"))
    mean, std = [], []
    for time in nodes[0]:
        near = np.abs(when - time) <= half
        here, then = np.stack([lat, lon], 1)[near], when[near]
        at = np.stack([north, east], 1)
        matrix = kernel(np.linalg.norm(here[:, None] - here, axis=-1), then[:, None] - then)
        errors.take(near).add_to(matrix, then)
        cross = kernel(np.linalg.norm(here[:, None] - at, axis=-1), then[:, None] - time)
        gain = cross.T @ np.linalg.inv(matrix)
        mean.append(gain @ values[near])
        std.append(np.sqrt(SIGNAL**2 - np.einsum("ij,ji->i", gain, cross)))
    shape = len(nodes[0]), len(nodes[1]), len(nodes[2])
    return np.reshape(mean, shape), np.reshape(std, shape)


@pytest.mark.parametrize("kernel", [Gaussian(1.0, 7 * DAY, SIGNAL), Matern(1.0, 7 * DAY, SIGNAL)])
@pytest.mark.parametrize("days", [np.arange(30.0), np.array([4.0, 29, 3, 2, 11, 12, 28.5]), np.array([60.0, 61, 5])])
def test_windows_solved_together_are_those_of_each(kernel, days):
    obs = observed(260, 30, 5)
    passes = np.random.default_rng(1).integers(0, 25, 260)
    errors = Errors(np.full(260, NOISE**2), TrackError(0.1, DAY), passes)
    nodes = DAY * days, 35 + np.arange(4.0), 300 + np.arange(3.0)
    together = [g.size for g in _windows._groups(nodes[0], obs[2], 14 * DAY)]
    assert max(together) > 1
    assert sum(together) == days.size
    found = _windows.interpolate_windows(
        kernel, obs, errors, nodes, {"time": 28 * DAY}, "degrees", uncertainty=True
    )  # fmt: skip
    for one, other in zip(found, dense(kernel, obs, errors, nodes, 14 * DAY), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_windows_too_large_together_are_solved_one_by_one(monkeypatch):
    obs = observed(200, 20, 5)
    nodes = DAY * np.arange(20.0), np.array([35.0, 36]), np.array([300.0, 301])
    kernel = Gaussian(1.0, 7 * DAY, SIGNAL)
    args = kernel, obs, NOISE, nodes, {"time": 8 * DAY}, "degrees"
    expected = _windows.interpolate_windows(*args, uncertainty=True)
    monkeypatch.setattr(_windows._kernels, "MOST_AT_ONCE", 120)
    assert {g.size for g in _windows._groups(nodes[0], obs[2], 4 * DAY)} == {3, 2}
    monkeypatch.setattr(_windows._kernels, "MOST_AT_ONCE", 100)
    assert 1 in {g.size for g in _windows._groups(nodes[0], obs[2], 4 * DAY)}
    for one, other in zip(_windows.interpolate_windows(*args, uncertainty=True), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    with pytest.raises(OptionError, match="observations at once came; at most 100 fit a dense system"):
        _windows.interpolate_windows(*args[:4], {}, "degrees", uncertainty=False)


@pytest.fixture
def counted(monkeypatch):
    """Every solve looks for a skeleton; gives how many nodes each skeleton had."""
    used = []
    squares = _skeleton._squares

    def spy(solved, maps):
        used.append(int(np.prod(solved.shape[1:])))
        return squares(solved, maps)

    monkeypatch.setattr(_skeleton, "_squares", spy)
    monkeypatch.setattr(_skeleton, "WORTH", 0.0)
    return used


DEGREE = 111_200.0
SEEN = {
    "degrees": ("degrees", 1.0),
    "sphere": ("sphere", DEGREE),
    "moving": (Frame("sphere", (37.0, 302.0), (0.2, -0.1), (0.1, 0.05)), DEGREE),
}


@pytest.mark.parametrize("seen", SEEN)
def test_variances_from_a_skeleton_are_the_exact_ones(seen, counted):
    metric, length = SEEN[seen]
    obs = observed(300, 12, 4)
    nodes = DAY * np.arange(12.0), 35 + np.arange(0, 4, 0.125), 300 + np.arange(0, 4, 0.125)
    kernel = Gaussian(length, 7 * DAY, SIGNAL)
    exact = _windows.interpolate_windows(kernel, obs, NOISE, nodes, {}, metric, uncertainty=True)
    assert not counted  # tolerance is 0
    found = _windows.interpolate_windows(kernel, obs, NOISE, nodes, {}, metric, uncertainty=True, tolerance=1e-7)
    assert sum(counted) < exact[0].size / 2
    np.testing.assert_array_equal(found[0], exact[0])
    assert 0 < np.abs(found[1] - exact[1]).max() < 1e-6
    assert np.ptp(exact[1]) > 0.1


def test_skeletons_too_large_for_memory_are_divided(counted, monkeypatch):
    obs = observed(200, 6, 4)
    nodes = DAY * np.arange(6.0), 35 + np.arange(0, 4, 0.1), 300 + np.arange(0, 4, 0.1)
    args = Gaussian(2.0, 7 * DAY, SIGNAL), obs, NOISE, nodes, {}, "degrees"
    exact = _windows.interpolate_windows(*args, uncertainty=True)[1]
    monkeypatch.setattr(_skeleton, "_LARGEST", 100_000)
    monkeypatch.setattr(_skeleton, "_BLOCK", 10_000)
    found = _windows.interpolate_windows(*args, uncertainty=True, tolerance=1e-7)[1]
    assert len(counted) > 1
    assert max(counted) * 200 <= 100_000
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_what_is_not_smooth_is_solved_node_by_node(counted):
    obs = observed(150, 8, 4)
    nodes = DAY * np.arange(8.0), 35 + np.arange(0, 4, 0.4), 300 + np.arange(0, 4, 0.4)
    args = Matern(1.0, 7 * DAY, SIGNAL), obs, NOISE, nodes, {}, "degrees"
    exact = _windows.interpolate_windows(*args, uncertainty=True)[1]
    np.testing.assert_allclose(_windows.interpolate_windows(*args, uncertainty=True, tolerance=1e-7)[1], exact)
    assert not counted


def test_a_skeleton_that_misses_an_observation_is_not_used(counted):
    at = np.linspace(0, 1, 400)

    def cross(some, axes):
        place = np.add.outer(np.add.outer(axes[0] / 10, axes[1] / 20), axes[2] / 20)
        out = np.exp(-((at[some][:, None, None, None] - place) ** 2))
        # One observation that the sample leaves out sees an edge.
        return out + 0.5 * (at[some] == at[1])[:, None, None, None] * (place > 0.6)

    axes = np.arange(5), np.arange(20), np.arange(20)
    sampled = np.unique(np.linspace(0, 399, 160).astype(int))
    assert 1 not in sampled
    whole = cross(slice(None), axes)
    found = _skeleton.explained_on(lambda a: a, cross, axes, 400, 1e-8)
    assert not counted
    np.testing.assert_allclose(found, (whole**2).sum(axis=0), rtol=1e-12)
