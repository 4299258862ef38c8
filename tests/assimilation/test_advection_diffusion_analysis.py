"""Simulation, analysis, calibration and likelihood with the advection-diffusion prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import multivariate_normal

from xatmo.assimilation import (
    AdvectionDiffusion,
    SparsePosterior,
    estimate,
    log_density,
    log_likelihood,
    sample,
    simulate,
)
from xatmo.assimilation.advection import _dual
from xatmo.errors import MissingValueError, OptionError

CONSTANT = {"kappa": 0.6, "diffusion": (2.0, 0.5, 1.0)}
PRIORS = {
    "diffusion": {},
    "moving": {"velocity": (0.1, -0.05)},
    "spin-up": {"velocity": (0.1, -0.05), "initial": "symmetric", "spin_up": 2},
    "varying": {"velocity": (np.linspace(0, 1, 3)[:, None, None] * np.ones((3, 5, 6)), -0.5), "transport": "outside"},
}


@pytest.fixture(params=PRIORS, name="prior")
def _prior(request):
    return AdvectionDiffusion.on_plane((3, 5, 6), (1.0, 1.0, 1.0), **CONSTANT, **PRIORS[request.param])


def covariance_of(prior):
    dense = np.linalg.inv(prior.precision().toarray())
    start = prior.spin_up * prior.n_cell
    return dense[start:, start:]


def case(prior, seed=0):
    rng = np.random.default_rng(seed)
    seen = rng.random(prior.shape) < 0.3
    return seen, rng.standard_normal(seen.sum())


def dense_analysis(prior, operator, values, noise):
    c = covariance_of(prior)
    cross = c @ operator.T
    gain = cross @ np.linalg.inv(operator @ cross + np.diag(noise))
    return gain @ values, np.diag(c - gain @ cross.T)


# ---------------------------------------------------------------------- simulation
@pytest.mark.parametrize("draw", [simulate, sample])
def test_samples_have_the_covariance_of_the_precision(prior, draw):
    n = 20_000
    fields = draw(prior, 0, members=n).reshape(n, -1)
    expected = covariance_of(prior)
    std = np.sqrt(np.diag(expected))
    error = (fields.T @ fields / n - expected) / np.outer(std, std)
    assert np.abs(error).max() < 6 * np.sqrt(2 / n)


def test_simulation_starts_where_it_is_told_and_repeats_with_a_seed(prior):
    first = np.arange(30.0).reshape(5, 6)
    out = simulate(prior, 1, members=2, first=first)
    assert np.array_equal(out[:, 0], np.stack([first, first]))
    assert np.array_equal(out, simulate(prior, 1, members=2, first=first))
    for call in (simulate, sample):
        with pytest.raises(OptionError, match="members=0 came"):
            call(prior, 0, members=0)
    with pytest.raises(OptionError, match="first of shape"):
        simulate(prior, 0, first=first.T)


# ---------------------------------------------------------------------- analysis
@pytest.mark.parametrize("method", ["direct", "cg"])
def test_analysis_equals_the_dense_solution(prior, method):
    seen, values = case(prior)
    noise = np.linspace(0.01, 0.1, values.size)
    operator = np.eye(seen.size)[seen.ravel()]
    mean, variance = dense_analysis(prior, operator, values, noise)
    posterior = SparsePosterior.of(prior, seen, noise_variance=noise, method=method)
    np.testing.assert_allclose(posterior.mean(values).ravel(), mean, atol=1e-8)
    np.testing.assert_allclose(posterior.variance().ravel(), variance, rtol=1e-8)


def test_observations_may_combine_nodes_and_times(prior):
    rng = np.random.default_rng(2)
    operator = sp.random_array((7, np.prod(prior.shape)), density=0.05, rng=rng)
    values = rng.standard_normal(7)
    mean, variance = dense_analysis(prior, operator.toarray(), values, np.full(7, 0.1))
    posterior = SparsePosterior.of(prior, operator, noise_variance=0.1)
    np.testing.assert_allclose(posterior.mean(values).ravel(), mean, atol=1e-8)
    np.testing.assert_allclose(posterior.variance().ravel(), variance, rtol=1e-8)


def test_members_have_the_posterior_mean_and_variance(prior):
    seen, values = case(prior)
    posterior = SparsePosterior.of(prior, seen, noise_variance=0.05)
    n = 4000
    drawn = posterior.members(values, 0, members=n)
    std = np.sqrt(posterior.variance())
    assert (np.abs(drawn.mean(0) - posterior.mean(values)) / std).max() < 5 / np.sqrt(n)
    assert np.abs(drawn.var(0) / std**2 - 1).max() < 5 * np.sqrt(2 / n)
    few = replace(posterior, method="cg").members(values, 0, members=2)
    np.testing.assert_allclose(few, posterior.members(values, 0, members=2), atol=1e-7)


def test_posterior_is_calibrated_on_simulated_truth(prior):
    rng = np.random.default_rng(3)
    seen, _ = case(prior)
    posterior = SparsePosterior.of(prior, seen, noise_variance=0.05)
    truths = simulate(prior, rng, members=400)
    std = np.sqrt(posterior.variance())
    standard = [(posterior.mean(t[seen] + np.sqrt(0.05) * rng.standard_normal(seen.sum())) - t) / std for t in truths]
    assert abs(np.mean(np.square(standard)) - 1) < 0.05
    assert abs(np.mean(standard)) < 0.05


def test_wrong_observations_are_told(prior, monkeypatch):
    seen, values = case(prior)
    with pytest.raises(OptionError, match="method='best'"):
        SparsePosterior.of(prior, seen, noise_variance=1.0, method="best")
    with pytest.raises(OptionError, match=r"wanted a mask \(bool\)"):
        SparsePosterior.of(prior, seen[0], noise_variance=1.0)
    with pytest.raises(OptionError, match="operator of 4 columns"):
        SparsePosterior.of(prior, sp.csr_array(np.ones((2, 4))), noise_variance=1.0)
    with pytest.raises(OptionError, match="variances of shape"):
        SparsePosterior.of(prior, seen, noise_variance=np.ones(2))
    with pytest.raises(OptionError, match="not positive"):
        SparsePosterior.of(prior, seen, noise_variance=0.0)
    posterior = SparsePosterior.of(prior, seen, noise_variance=1.0)
    with pytest.raises(OptionError, match="values of shape"):
        posterior.mean(values[1:])
    with pytest.raises(MissingValueError, match="NaN or infinity"):
        posterior.mean(np.full(values.shape, np.nan))
    monkeypatch.setattr(_dual, "MOST_ITERATIONS", 1)
    with pytest.raises(OptionError, match="conjugate gradients did not reach"):
        replace(posterior, method="cg").mean(values)


# ---------------------------------------------------------------------- likelihood
def test_likelihoods_equal_the_dense_ones(prior):
    seen, values = case(prior)
    c = covariance_of(prior)
    near = c[np.ix_(seen.ravel(), seen.ravel())] + 0.1 * np.eye(values.size)
    posterior = SparsePosterior.of(prior, seen, noise_variance=0.1)
    assert np.isclose(log_likelihood(posterior, values), multivariate_normal(cov=near).logpdf(values), rtol=1e-9)
    field = simulate(prior, 0)[0]
    if prior.spin_up:
        with pytest.raises(OptionError, match="spin_up=2 came"):
            log_density(prior, field)
    else:
        assert np.isclose(log_density(prior, field), multivariate_normal(cov=c).logpdf(field.ravel()), rtol=1e-9)


def test_maximum_likelihood_finds_the_parameters():
    shape = (6, 9, 10)

    def make(p):
        return AdvectionDiffusion.on_plane(
            shape,
            (1.0, 1.0, 1.0),
            kappa=p["kappa"],
            diffusion=(0.4, 0, 0.4),
            tau=p["tau"],
            velocity=(p["east"], 0.0),
            scheme="centred",
            transport="outside",
            initial="symmetric",
        )

    truth = {"kappa": 0.6, "tau": 1.0, "east": 0.8}
    field = simulate(make(truth), 5)[0]
    seen = np.random.default_rng(1).random(shape) < 0.7
    y = field[seen] + 0.1 * np.random.default_rng(2).standard_normal(seen.sum())
    found = estimate(make, {"kappa": 1.0, "tau": 0.5}, y, seen, noise_variance=0.01, signed={"east": 0.0})
    for name, value in truth.items():
        error = found.error[name] * (1 if name == "east" else value)
        assert 0 < error < 0.4
        assert abs(found.parameters[name] - value) < 3.5 * error
    true = log_likelihood(SparsePosterior.of(make(truth), seen, noise_variance=0.01), y)
    assert found.log_likelihood >= true
    assert found.n_evaluations > 1


def test_noise_is_estimated_and_bounds_hold():
    shape = (3, 8, 8)

    def make(p):
        return AdvectionDiffusion.on_plane(shape, (1.0, 1.0, 1.0), kappa=0.5, signal_std=p["std"])

    field = simulate(make({"std": 2.0}), 0)[0]
    seen = np.ones(shape, dtype=bool)
    y = (field + 0.3 * np.random.default_rng(0).standard_normal(shape))[seen]
    found = estimate(make, {"std": 1.0, "noise_variance": 1.0}, y, seen)
    assert 0.05 < found.parameters["noise_variance"] < 0.16
    held = estimate(make, {"std": 1.0}, y, seen, noise_variance=0.09, bounds={"std": (0.5, 1.2)})
    assert np.isclose(held.parameters["std"], 1.2)


def test_wrong_estimates_are_told(prior):
    seen, y = case(prior)
    with pytest.raises(OptionError, match="no parameter came"):
        estimate(lambda p: prior, {}, y, seen, noise_variance=1.0)
    with pytest.raises(OptionError, match="both or neither"):
        estimate(lambda p: prior, {"a": 1.0}, y, seen)
    with pytest.raises(OptionError, match=r"start\['a'\]=-1"):
        estimate(lambda p: prior, {"a": -1.0}, y, seen, noise_variance=1.0)
