"""Covariances and distances."""

from __future__ import annotations

import numpy as np
import pytest

from xatmo.assimilation import SPDE, Diffusion, Gaussian, Matern
from xatmo.assimilation._analysis import earlier_neighbours
from xatmo.assimilation._kernels import distances, points
from xatmo.assimilation.covariance import make, radial_covariance
from xatmo.assimilation.likelihood import log_likelihood
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError


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


def test_log_likelihood_is_the_normal_density():
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 6))
    matrix, y = a @ a.T, rng.standard_normal(6)
    expected = multivariate_normal(cov=matrix + 0.25 * np.eye(6)).logpdf(y)
    assert log_likelihood(matrix, 0.25, y) == pytest.approx(expected)
    assert log_likelihood(-np.eye(6), 0.25, y) == -np.inf


def test_earlier_neighbours_are_earlier_and_near():
    places = np.random.default_rng(0).random((300, 3))
    found = earlier_neighbours(places, 10)
    assert (found < np.arange(300)[:, None]).all()
    assert (found[20:] >= 0).mean() > 0.98
    assert (found[0] == -1).all()
    for i in (50, 299):
        apart = np.linalg.norm(places[:i] - places[i], axis=1)
        assert set(np.argsort(apart)[:3]) <= set(found[i])
