"""The prior: its matrices, its closed forms, its samples."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from xatmo.assimilation import SPDE, Diffusion
from xatmo.assimilation.covariance.matern import evolution_scale, matern, matern_scale
from xatmo.errors import CoordinateError, OptionError

PRIORS = {
    "plane": lambda: SPDE.on_plane(
        (4, 5, 6), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, signal_std=0.7, padding=(1, 2)
    ),
    "substeps": lambda: SPDE.on_plane(
        (3, 4, 5), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, padding=(1, 2), substeps=2
    ),
    "alpha": lambda: SPDE.on_plane(
        (3, 4, 5), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, padding=(0, 2), alpha=6
    ),
    "sphere": lambda: SPDE.on_sphere(
        np.linspace(43, 34, 5), 0.5, 6, 3, 1.0, length_scale=1e5, time_scale=4.0, padding=(1, 3)
    ),
    "uneven": lambda: SPDE.on_sphere(
        np.array([30.0, 30.5, 31.5, 32.0]), 0.5, 6, 3, 1.0, length_scale=1e5, time_scale=4.0, padding=(2, 3)
    ),
    "globe": lambda: SPDE.on_sphere(
        np.linspace(90, -90, 9), 45.0, 8, 3, 1.0, length_scale=3e6, time_scale=4.0, periodic=True
    ),
    "uniform": lambda: SPDE.on_plane(
        (4, 5, 6), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, padding=(1, 2), memory="uniform"
    ),
    "uniform, one time": lambda: SPDE.on_plane(
        (1, 5, 6), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, padding=(1, 2), memory="uniform"
    ),
    "one time": lambda: SPDE.on_plane((1, 5, 6), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, padding=(1, 1)),
}


@pytest.fixture(params=PRIORS, name="prior")
def _prior(request):
    return PRIORS[request.param]()


def dense_covariance(prior):
    """Q^-1 at the nodes without padding, from the sparse matrix alone."""
    full = np.linalg.inv(prior.precision().toarray())
    steps = (prior.n_time - 1) * prior.substeps + 1
    index = np.arange(len(full)).reshape(steps, *prior.padded_shape[1:])
    index = index[:: prior.substeps, prior.rows, prior.columns].ravel()
    return full[np.ix_(index, index)]


def test_precision_is_symmetric_positive_definite_and_sparse(prior):
    q = prior.precision()
    dense = q.toarray()
    assert np.array_equal(dense, dense.T)
    assert np.linalg.eigvalsh(dense).min() > 0
    a = prior.alpha
    assert np.diff(q.indptr).max() <= (2 * a**2 + 2 * a + 1) + 2 * (a**2 // 2 + a + 1)  # two stencils in time


def test_variance_is_the_signal_everywhere(prior):
    assert np.allclose(np.diag(np.linalg.inv(prior.precision().toarray())), prior.signal_std**2, rtol=1e-9)


def test_spectral_covariance_is_the_inverse_of_the_precision(prior):
    expected = dense_covariance(prior)
    t, r, c = (a.ravel() for a in np.indices(prior.shape))
    assert np.allclose(prior.covariance((t[:, None], r[:, None], c[:, None]), (t, r, c)), expected, atol=1e-9)
    field = np.random.default_rng(0).standard_normal(prior.shape)
    assert np.allclose(prior.apply_covariance(field).ravel(), expected @ field.ravel(), atol=1e-8)


def test_log_determinant(prior):
    assert prior.log_determinant() == pytest.approx(np.linalg.slogdet(prior.precision().toarray())[1], rel=1e-10)


def test_samples_have_the_covariance(prior):
    rng = np.random.default_rng(0)
    drawn = np.stack([prior.sample(rng).ravel() for _ in range(3000)])
    expected = dense_covariance(prior)
    error = np.abs(drawn.T @ drawn / len(drawn) - expected).max()
    assert error < 6 * prior.signal_std**2 / np.sqrt(len(drawn))
    assert prior.sample(1).shape == prior.shape
    assert prior.sample(1, padded=True).shape == prior.padded_shape
    assert np.array_equal(prior.sample(3), prior.sample(3))


def test_precision_is_the_recursion_of_implicit_steps():
    """Independent check: build the joint precision from M and the noise alone, with the Lyapunov start iterated."""
    prior = SPDE.on_plane((3, 4, 5), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0, padding=(0, 0))
    base = prior.operator().toarray()
    step = np.eye(20) + prior.time_step * prior.damping * base @ base
    inverse = np.linalg.inv(step)
    stationary = np.zeros((20, 20))
    for _ in range(3000):
        stationary = inverse @ (stationary + np.eye(20)) @ inverse.T
    joint = np.block([[stationary @ np.linalg.matrix_power(inverse, abs(i - j)).T for j in range(3)] for i in range(3)])
    scale = 1 / np.sqrt(np.diag(joint))
    assert np.allclose(joint * scale[:, None] * scale, np.linalg.inv(prior.precision().toarray()), atol=1e-10)


def test_operator_is_second_order_accurate():
    """On the sphere, kappa^2 A - kappa^2 against the Laplacian of a spherical harmonic: n (n + 1) / a^2."""
    errors = []
    for n in (24, 48):
        lat = 90 - (np.arange(n) + 0.5) * 180 / n
        prior = SPDE.on_sphere(
            lat, 180 / n, 2 * n, 1, 1.0, length_scale=2e6, time_scale=1.0, periodic=True, padding=(0, 0)
        )
        phi, lam = np.meshgrid(np.radians(lat), np.radians(np.arange(2 * n) * 180 / n), indexing="ij")
        harmonic = np.cos(phi) * np.sin(phi) * np.cos(lam)  # degree 2, order 1
        rows = slice(None, None, 1 if prior.padded_shape[1] == n and lat[0] < lat[-1] else -1)
        field = harmonic[rows]
        out = (prior.operator() @ field.ravel()).reshape(field.shape)
        laplacian = (out - field) * prior.kappa**2 * 6371229.0**2
        inside = slice(n // 6, -n // 6)
        errors.append(np.abs(laplacian - 6 * field)[inside].max())
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.05


def test_spatial_covariance_tends_to_matern():
    prior = SPDE.on_plane((1, 81, 81), (1e-4, 1.0, 1.0), length_scale=10.0, time_scale=10.0, padding=(10, 60))
    here = np.array(0), np.array(40), np.array(40)
    apart = np.arange(0, 25, 4)
    got = prior.covariance(here, (np.zeros(7, int), np.full(7, 40), 40 - apart))
    assert np.allclose(got, matern(prior.kappa * apart, 1.0), atol=0.02)
    across = prior.covariance(here, (np.zeros(7, int), 40 - apart, np.full(7, 40)))
    assert np.allclose(got, across, atol=0.01)


def test_scales_are_where_the_correlation_is_one_over_e():
    assert matern_scale(0.5) == pytest.approx(1)
    assert matern(matern_scale(1.0), 1.0) == pytest.approx(np.exp(-1))
    many = np.linspace(0, 30, 200_001)
    assert np.abs(matern(many, 1.0)[::400] - matern(many[::400], 1.0)).max() < 1e-7
    prior = SPDE.on_plane((9, 61, 61), (1.0, 1.0, 1.0), length_scale=8.0, time_scale=8.0, padding=(10, 50), substeps=64)
    here = np.array(0), np.array(30), np.array(30)
    assert prior.covariance(here, (np.array(0), np.array(30), np.array(38))) == pytest.approx(np.exp(-1), abs=0.02)
    assert prior.covariance(here, (np.array(8), np.array(30), np.array(30))) == pytest.approx(np.exp(-1), abs=0.02)


def test_evolution_scale_has_a_closed_form_for_alpha_4():
    from scipy.special import erfc

    s = evolution_scale(4)
    assert np.exp(-s) - np.sqrt(np.pi * s) * erfc(np.sqrt(s)) == pytest.approx(np.exp(-1))


def test_radial_covariance_agrees_with_the_grid():
    prior = SPDE.on_plane((6, 61, 61), (1.0, 1.0, 1.0), length_scale=8.0, time_scale=6.0, padding=(12, 60))
    radial = Diffusion(8.0, 6.0, time_step=1.0)
    here = np.array(0), np.array(30), np.array(30)
    for lag in (0, 1, 5):
        other = np.full(6, lag), np.full(6, 30), 30 + 3 * np.arange(6)
        assert np.allclose(prior.covariance(here, other), radial(3.0 * np.arange(6), np.array(lag)), atol=0.01)


def test_uniform_memory_is_separable():
    prior = SPDE.on_plane(
        (9, 41, 41), (1.0, 1.0, 1.0), length_scale=8.0, time_scale=4.0, padding=(20, 60), memory="uniform"
    )
    here = np.array(0), np.array(20), np.array(20)
    apart = 4 * np.arange(5)
    now = prior.covariance(here, (np.zeros(5, int), np.full(5, 20), 20 - apart))
    later = prior.covariance(here, (np.full(5, 4), np.full(5, 20), 20 - apart))
    assert np.allclose(later, now * np.exp(-1))
    assert np.allclose(now, matern(prior.kappa * apart, 1.0), atol=0.02)


def test_padding_keeps_the_boundary_away():
    wide = SPDE.on_plane((1, 20, 20), (1.0, 1.0, 1.0), length_scale=5.0, time_scale=4.0, padding=(40, 80))
    chosen = SPDE.on_plane((1, 20, 20), (1.0, 1.0, 1.0), length_scale=5.0, time_scale=4.0)
    t, r, c = (a.ravel() for a in np.indices((1, 20, 20)))
    pairs = (t[:, None], r[:, None], c[:, None]), (t, r, c)
    assert np.abs(wide.covariance(*pairs) - chosen.covariance(*pairs)).max() < 0.01


def test_pickles_and_stays_small():
    prior = PRIORS["sphere"]()
    assert np.allclose(pickle.loads(pickle.dumps(prior)).sample(0), prior.sample(0))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"length_scale": -1.0}, "length_scale=-1.0 came; wanted a positive number"),
        ({"signal_std": np.nan}, "signal_std=nan came"),
        ({"alpha": 2}, "alpha=2 came; wanted an even number, at least 4"),
        ({"alpha": 5}, "alpha=5 came"),
        ({"substeps": 0}, "substeps=0"),
        ({"memory": "short"}, "memory='short' came; wanted 'diffusive' or 'uniform'"),
        ({"padding": (-1, 2)}, "padding=.* not negative"),
    ],
)
def test_refuses_impossible_options(change, text):
    options = {"length_scale": 2.0, "time_scale": 3.0, **change}
    with pytest.raises(OptionError, match=text):
        SPDE.on_plane((2, 3, 4), (1.0, 1.0, 1.0), **options)


def test_refuses_too_few_rows_and_too_large_tables():
    with pytest.raises(CoordinateError, match="wanted at least 2"):
        SPDE.on_sphere(np.array([1.0]), 1.0, 4, 1, 1.0, length_scale=1e5, time_scale=1.0)
    prior = SPDE.on_plane((400, 100, 120), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=3.0)
    with pytest.raises(OptionError, match="table of covariances .* is too large"):
        _ = prior.covariance_table
