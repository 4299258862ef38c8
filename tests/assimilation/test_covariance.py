"""Covariances and distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from xatmo.assimilation import SPDE, Diffusion, Gaussian, Matern
from xatmo.assimilation.covariance.functions import make, radial_covariance
from xatmo.assimilation.covariance.likelihood import Conditionals, Scales, _Search, neighbours
from xatmo.assimilation.dense._kernels import distances, explained, pair_distances, points
from xatmo.assimilation.spde._analysis import earlier_neighbours
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError

DAY = 86400.0


@pytest.mark.parametrize("kind", [Gaussian, Matern])
def test_correlation_is_one_over_e_at_the_scales(kind):
    covariance = kind(2.0, 5.0, 3.0)
    assert covariance(np.array(0.0), np.array(0.0)) == pytest.approx(9)
    assert covariance(np.array(2.0), np.array(0.0)) == pytest.approx(9 / np.e)
    assert covariance(np.array(0.0), np.array(5.0)) == pytest.approx(9 / np.e)


def test_matern_of_half_integer_smoothness_is_elementary():
    x = np.linspace(0, 4, 9)
    for nu in (0.5, 1.5, 2.5):
        assert np.allclose(Matern(1.0, 1.0, nu=nu).space(x), Matern(1.0, 1.0, nu=nu + 1e-9).space(x), atol=1e-6)


def test_diffusion_forgets_small_scales_first():
    covariance = Diffusion(1.0, 5.0, substeps=32)
    lag = np.array([0.0, 5.0])
    near, far = (covariance(np.full(2, d), lag) for d in (0.0, 2.0))
    assert near[1] / near[0] < far[1] / far[0]
    assert covariance(np.array([100.0]), np.array([0.0])) == pytest.approx(0, abs=1e-3)


def test_names_and_memories():
    with pytest.raises(OptionError, match=r"covariance='round' came; wanted one of \['gaussian', 'matern', 'spde'\]"):
        make("round")
    options = {"length_scale": 2.0, "time_scale": 3.0}
    kinds = {"diffusive": Diffusion, "uniform": Matern}
    for memory, kind in kinds.items():
        prior = SPDE.on_plane((2, 3, 4), (1.0, 1.0, 1.0), **options, memory=memory)
        assert isinstance(radial_covariance(prior), kind)


def test_distances():
    quarter = points(np.array([0.0, 90.0]), np.array([10.0, 200.0]), "sphere")
    assert distances(quarter, quarter)[0, 1] == pytest.approx(np.sqrt(2) * EARTH_RADIUS)
    plane = points(np.array([10.0, 14.0]), np.array([359.0, 2.0]), "degrees")
    assert distances(plane, plane)[0, 1] == pytest.approx(5.0)


@pytest.fixture
def scattered():
    """Observations of a Matern field with noise: places in metres, seconds, values."""
    rng = np.random.default_rng(3)
    where, when = rng.random((60, 3)) * 4e5, np.sort(rng.integers(0, 10, 60)) * DAY
    matrix = Matern(1e5, 4 * DAY, 2.0)(distances(where, where), np.abs(when[:, None] - when)) + 0.25 * np.eye(60)
    return where, when, np.linalg.cholesky(matrix) @ rng.standard_normal(60), matrix


def conditionals(where, when, y, count, growth=1.0):
    near = neighbours(np.column_stack([where / 1e5, when / DAY]), np.arange(len(y)), count, growth)

    def distance(one, other):
        return pair_distances(where[one], where[other])

    return Conditionals.of(distance, when, y, np.arange(len(y)), near)


def test_conditional_densities_of_all_neighbours_multiply_to_the_likelihood(scattered):
    where, when, y, matrix = scattered
    data = conditionals(where, when, y, len(y) - 1)
    expected = multivariate_normal(cov=matrix).logpdf(y)
    assert -data.solve(Matern(1e5, 4 * DAY, 2.0), 0.25).cost == pytest.approx(expected)
    few = conditionals(where, when, y, 20, 1.25)
    assert -few.solve(Matern(1e5, 4 * DAY, 2.0), 0.25).cost == pytest.approx(expected, abs=2)

    def no_covariance(distance, lag):
        return 4 + 0 * distance + 1

    no_covariance.signal_std = 2.0
    assert data.solve(no_covariance, 0.25) is None


def test_gradient_and_information_of_the_likelihood(scattered):
    where, when, y, _ = scattered
    data = conditionals(where, when, y, 12)
    names = ("length_scale", "time_scale", "noise_std", "signal_std")
    search = _Search(lambda *s: Matern(*s), Scales(), names, np.log(np.array([[1e3, 1e7]] * 4)))
    x = np.log([8e4, 3 * DAY, 0.7, 1.5])
    gradient, information = search.scoring(data, x, search.solve(data, x))
    for k in range(4):
        h = 1e-4 * np.eye(4)[k]
        assert gradient[k] == pytest.approx((search.cost(data, x + h) - search.cost(data, x - h)) / 2e-4, abs=0.03)
    assert (np.linalg.eigvalsh(information) > 0).all()


def test_neighbours_come_before():
    places = np.random.default_rng(0).random((200, 3))
    rank = np.array([0, 1, 50, 199])
    found = neighbours(places, rank, 5)
    assert (found < rank[:, None]).all()
    assert (found[0] == -1).all()
    assert found[1].tolist() == [0, -1, -1, -1, -1]
    exact = neighbours(places, rank, 5, growth=1.0)
    assert set(exact[3]) == set(np.argsort(np.linalg.norm(places[:199] - places[199], axis=1))[:5])


def test_explained_variance_is_that_of_a_dense_solve():
    rng = np.random.default_rng(0)
    for n, m in ((1, 3), (64, 64), (150, 70)):
        root = rng.standard_normal((n, n))
        matrix, cross = root @ root.T + np.eye(n), rng.standard_normal((n, m))
        assert np.allclose(explained(matrix, cross), np.einsum("ij,ij->j", cross, np.linalg.solve(matrix, cross)))
    with pytest.raises(OptionError, match="covariance of 3 observations is not positive definite to rounding"):
        explained(-np.eye(3), np.ones((3, 2)))


def test_earlier_neighbours_are_earlier_and_near():
    places = np.random.default_rng(0).random((300, 3))
    found = earlier_neighbours(places, 10)
    assert (found < np.arange(300)[:, None]).all()
    assert (found[20:] >= 0).mean() > 0.98
    assert (found[0] == -1).all()
    for i in (50, 299):
        apart = np.linalg.norm(places[:i] - places[i], axis=1)
        assert set(np.argsort(apart)[:3]) <= set(found[i])
