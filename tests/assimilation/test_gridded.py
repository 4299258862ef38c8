"""Analyses of regular windows by tables and transforms against dense formulas; tiles, poles, uneven steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.dense import _kernels, gridded
from xatmo.assimilation.dense.gridded import Setting, interpolate
from xatmo.assimilation.draws.features import Features

DAY = 86400.0
PLANE = Setting(Matern(1.1, 3 * DAY, 1.3), 0.2, "degrees", (0.2, -0.1), (-0.2 / DAY, 0.1 / DAY))


def window(shape=(5, 9, 11), fraction=0.15, seed=0, south=38.0, step=0.25):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    nodes = DAY * np.arange(shape[0]), south + step * np.arange(shape[1]), 5 + step * np.arange(shape[2])
    return values, rng.random(shape) < fraction, nodes


def drawn(setting, shape, *, fraction, south=38.0):
    """A window whose values are those of a field with the covariance, with noise."""
    _, observed, nodes = window(shape, fraction, south=south)
    field = Features.draw(setting.covariance, Frame(setting.metric, (south, 5.0), setting.shape, setting.drift))(*nodes)
    noise = np.random.default_rng(1).standard_normal(shape)
    return field + setting.noise_std * noise, observed, nodes


def dense(setting, values, observed, nodes):
    """Textbook conditioning, one entry of the matrices after the other in the frame of the middle."""
    middle = [float(a.min() + a.max()) / 2 for a in nodes[1:]]
    frame = Frame(setting.metric, (middle[0], middle[1]), setting.shape, setting.drift)
    time, lat, lon = (a.ravel() for a in np.meshgrid(*nodes, indexing="ij"))
    at = frame.place(lat, lon, time)
    covariance = setting.covariance(_kernels.distances(at, at), time[:, None] - time)
    seen = np.flatnonzero(observed.ravel())
    system = covariance[np.ix_(seen, seen)] + setting.noise_std**2 * np.eye(seen.size)
    gain = covariance[:, seen] @ np.linalg.inv(system)
    variance = setting.covariance.signal_std**2 - np.einsum("ij,ij->i", gain, covariance[:, seen])
    return (gain @ values.ravel()[seen]).reshape(values.shape), np.sqrt(variance).reshape(values.shape)


@pytest.mark.parametrize(
    "covariance", [PLANE.covariance, Gaussian(1.1, 3 * DAY, 1.3), Matern(1.1, 3 * DAY, 1.3, nu=2.5)]
)
def test_planes_are_exact_with_drift_and_anisotropy(covariance):
    setting = replace(PLANE, covariance=covariance)
    given = window()
    mean, std = interpolate(setting, *given, uncertainty=True)
    exact, error = dense(setting, *given)
    np.testing.assert_allclose(mean, exact, atol=2e-5)
    np.testing.assert_allclose(std, error, atol=2e-4)
    assert interpolate(setting, *given)[1] is None


@pytest.mark.parametrize("turned", [(slice(None), slice(None, None, -1), slice(None)),
                                    (slice(None, None, -1), slice(None), slice(None, None, -1))])  # fmt: skip
def test_any_order_of_the_axes_is_the_same(turned):
    values, observed, nodes = window()
    mean, _ = interpolate(PLANE, values, observed, nodes)
    axes = tuple(a[s] for a, s in zip(nodes, turned, strict=True))
    other, _ = interpolate(PLANE, values[turned], observed[turned], axes)
    np.testing.assert_allclose(other, mean[turned], atol=2e-5)


@pytest.mark.parametrize("south", [-3.0, 38.0])
def test_a_window_of_the_sphere_is_nearly_flat(south):
    setting = Setting(Matern(1e5, 3 * DAY, 1.0), 0.1, "sphere", (0.0, 0.0), (-0.1, 0.05))
    given = drawn(setting, (5, 16, 16), fraction=0.15, south=south)
    mean, std = interpolate(setting, *given, uncertainty=True)
    exact, error = dense(setting, *given)
    rounded = 2e-3 if south < 0 else 1e-2
    assert np.sqrt(np.mean((mean - exact) ** 2)) < rounded * exact.std()
    assert np.sqrt(np.mean((std - error) ** 2)) < rounded * error.mean()


@pytest.mark.parametrize("case", ["poles", "uneven"])
def test_what_is_not_flat_or_not_regular_is_taken_by_pairs(case):
    setting = Setting(Matern(2e5, 3 * DAY, 1.0), 0.1, "sphere", (0.0, 0.0), (-0.1, 0.05))
    values, observed, nodes = window((3, 6, 8), south=84.0 if case == "poles" else 10.0, step=1.0)
    if case == "uneven":
        nodes = (nodes[0], nodes[1] + np.linspace(0, 1, 6) ** 2, nodes[2])
    mean, std = interpolate(setting, values, observed, nodes, uncertainty=True)
    exact, error = dense(setting, values, observed, nodes)
    np.testing.assert_allclose(mean, exact, atol=1e-7)
    np.testing.assert_allclose(std, error, atol=1e-7)


def test_tiles_blend_into_the_whole(monkeypatch):
    setting = Setting(Matern(0.6, 3 * DAY, 1.0), 0.1, "degrees")
    given = drawn(setting, (4, 36, 44), fraction=0.1)
    whole, error = interpolate(setting, *given, uncertainty=True)
    monkeypatch.setattr(gridded, "MOST", 250)
    assert len(gridded._tiles(setting, given[1], given[2], flat=True)) >= 4
    mean, std = interpolate(setting, *given, uncertainty=True)
    assert np.sqrt(np.mean((mean - whole) ** 2)) < 0.05 * error.mean()  # its square counts: 0.25 percent
    assert np.abs(std - error).max() < 0.06
    assert np.sqrt(np.mean((std - error) ** 2)) < 0.01


def test_a_high_band_is_cut_until_it_is_flat():
    setting = Setting(Matern(1e5, 3 * DAY, 1.0), 0.1)
    values, observed, nodes = drawn(setting, (2, 60, 12), fraction=0.05, south=55.0)
    tiles = gridded._tiles(setting, observed, nodes, flat=True)
    assert len(tiles) > 2
    assert all(gridded._flat(setting, nodes[1][rows]) for rows, _ in tiles)
    covered = np.zeros(60, bool)
    for rows, columns in tiles:
        covered[rows] = True
        assert columns == slice(0, 12)
    assert covered.all()
    mean, _ = interpolate(setting, values, observed, nodes)
    exact, error = dense(setting, values, observed, nodes)
    assert np.sqrt(np.mean((mean - exact) ** 2)) < 0.1 * error.mean()


def test_without_observations_there_is_the_background():
    values, observed, nodes = window()
    mean, std = interpolate(PLANE, values, np.zeros_like(observed), nodes, uncertainty=True)
    assert (mean == 0).all()
    assert (std == 1.3).all()
    few = np.zeros_like(observed)
    few[0, 0, 0] = True
    mean, _ = interpolate(PLANE, values, few, nodes)
    assert mean[0, 0, 0] == pytest.approx(values[0, 0, 0] * 1.3**2 / (1.3**2 + 0.2**2), rel=1e-5)
