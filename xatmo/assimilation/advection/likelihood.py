"""Parameters of an advection-diffusion prior by maximum likelihood, from sparse noisy observations or whole fields.

With the posterior mean x of observations y = H x + e (n of them), without ever forming a covariance::

    -2 log p(y) = n log(2 pi) + log det R + log det(Q + H^T R^-1 H) - log det Q + y^T R^-1 (y - H x)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.advection.prior import AdvectionDiffusion
from xatmo.assimilation.advection.sparse_analysis import SparsePosterior
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Make = Callable[[Mapping[str, float]], AdvectionDiffusion]

NOISE = "noise_variance"
"""Name of the variance of the noise among the parameters."""
_HESSIAN_STEP = 2e-2
_REFUSED = 1e10  # minus log likelihood where no prior exists


def log_density(prior: AdvectionDiffusion, field: Any) -> float:
    """Logarithm of the prior's density at a whole field.

    Parameters
    ----------
    prior : AdvectionDiffusion
        Without spin-up.
    field : array (n_time, row, column)

    Raises
    ------
    OptionError
        If the field has another shape, or there is a spin-up, whose nodes no field tells.
    """
    x = np.asarray(field, dtype=np.float64)
    if x.shape != prior.shape or prior.spin_up:
        message = (
            f"a field of shape {x.shape} and spin_up={prior.spin_up} came; wanted {prior.shape} and no spin-up: take "
            "log_likelihood with observations otherwise"
        )
        raise OptionError(message)
    states = x.reshape(prior.n_time, -1)
    square = states[0] @ (prior.first_precision @ states[0])
    for k in range(1, prior.n_time):
        innovation = prior.step_of(k) @ states[k] - states[k - 1]
        square += (innovation**2 / prior.noise_of(k)).sum()
    return float(prior.log_determinant() - square - x.size * np.log(2 * np.pi)) / 2


def log_likelihood(posterior: SparsePosterior, values: Any) -> float:
    """Logarithm of the density of observations.

    Parameters
    ----------
    posterior : SparsePosterior
    values : array (observation,)
        Anomalies from the mean of the prior.

    Examples
    --------
    >>> prior = AdvectionDiffusion.on_plane((2, 4, 4), (1.0, 1.0, 1.0), kappa=0.5)
    >>> seen = np.arange(32).reshape(prior.shape) % 5 == 0
    >>> posterior = SparsePosterior.of(prior, seen, noise_variance=0.1)
    >>> values = np.linspace(-1, 1, seen.sum())
    >>> covariance = np.linalg.inv(prior.precision().toarray())[np.ix_(seen.ravel(), seen.ravel())]
    >>> from scipy.stats import multivariate_normal
    >>> dense = multivariate_normal(cov=covariance + 0.1 * np.eye(7)).logpdf(values)
    >>> bool(np.isclose(log_likelihood(posterior, values), dense))
    True
    """
    y = np.asarray(values, dtype=np.float64)
    noise = posterior.noise_variance
    misfit = y - posterior.observe @ posterior.mean_all(values)
    twice = y.size * np.log(2 * np.pi) + np.log(noise).sum() + (y * misfit / noise).sum()
    return -float(twice + posterior.factor.log_determinant() - posterior.prior.log_determinant()) / 2


@dataclass(frozen=True)
class Estimate:
    """Parameters of maximum likelihood.

    Attributes
    ----------
    parameters : dict
    error : dict
        Standard errors from the observed information; of the logarithm where the parameter is positive by
        construction. NaN where the likelihood does not tell the parameter.
    log_likelihood : float
    n_evaluations : int
    prior : AdvectionDiffusion
        With these parameters.
    """

    parameters: dict[str, float]
    error: dict[str, float]
    log_likelihood: float
    n_evaluations: int
    prior: AdvectionDiffusion


def estimate(
    make: Make,
    start: Mapping[str, float],
    values: Any,
    where: Any,
    *,
    noise_variance: Any = None,
    signed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    most_iterations: int = 100,
) -> Estimate:
    """Find the parameters with which the observations are most likely.

    Parameters
    ----------
    make : callable
        From a mapping of parameters to a prior: constants, or the few numbers that its fields are made of.
    start : mapping
        First guess of each positive parameter; sought on a logarithmic scale. With ``noise_variance`` among them that
        of the noise is estimated too.
    values : array (observation,)
    where : array of bool, or sparse array
        See `SparsePosterior.of`.
    noise_variance : float or array, optional
        Known variance of the noise.
    signed : mapping, optional
        First guess of parameters of either sign, such as velocities; sought on a linear scale. Make priors of
        velocities with ``scheme="centred"``: the likelihood has a kink at 0 otherwise, where the search stops.
    bounds : mapping, optional
        Lowest and highest value of a parameter; by default a factor of 1000 either way for positive ones.
    most_iterations : int

    Returns
    -------
    Estimate

    Raises
    ------
    OptionError
        If there is no parameter, a guess is not positive, the noise is neither given nor sought (or both), or no prior
        can be made of the first guess.

    Examples
    --------
    >>> from xatmo.assimilation.advection.simulation import simulate
    >>> def make(p):
    ...     return AdvectionDiffusion.on_plane((2, 9, 9), (1.0, 1.0, 1.0), kappa=0.5, signal_std=p["std"])
    >>> truth = simulate(make({"std": 3.0}), 0)[0]
    >>> seen = np.ones(truth.shape, dtype=bool)
    >>> found = estimate(make, {"std": 1.0}, truth[seen], seen, noise_variance=0.01)
    >>> 2 < found.parameters["std"] < 4
    True
    """
    from scipy.optimize import minimize

    names, linear = list(start), dict(signed or {})
    if not names and not linear:
        message = "no parameter came; wanted a first guess of at least one in start or signed"
        raise OptionError(message)
    for name in names:
        if not (np.isfinite(start[name]) and start[name] > 0):
            message = f"start[{name!r}]={start[name]!r} came; wanted a positive number, or pass it in signed"
            raise OptionError(message)
    if (noise_variance is None) != (NOISE in start):
        message = "noise_variance came both or neither as known and in start; wanted exactly one of them"
        raise OptionError(message)
    limits = dict(bounds or {})
    box = [np.log(limits.get(k, (start[k] / 1e3, start[k] * 1e3))) for k in names]
    box += [np.asarray(limits.get(k, (-np.inf, np.inf))) for k in linear]
    guess = np.array([*(np.log(start[k]) for k in names), *linear.values()])

    def parameters(at: Array) -> dict[str, float]:
        return {k: float(np.exp(v)) for k, v in zip(names, at, strict=False)} | {
            k: float(v) for k, v in zip(linear, at[len(names) :], strict=True)
        }

    template: list[SparsePosterior] = []

    def evaluate(at: Array) -> float:
        found = parameters(at)
        noise = noise_variance if noise_variance is not None else found[NOISE]
        prior = make(found)
        if not template:
            template.append(SparsePosterior.of(prior, where, noise_variance=noise))
        spread = np.broadcast_to(np.asarray(noise, dtype=np.float64), template[0].noise_variance.shape)
        return -log_likelihood(SparsePosterior(prior, template[0].observe, spread), values)

    evaluate(guess)  # what is wrong with the input shows here, in its own words
    count = 1

    def guarded(at: Array) -> float:
        nonlocal count
        count += 1
        try:
            value = evaluate(at)
        except OptionError:  # no stationary field there
            return _REFUSED
        return value if np.isfinite(value) else _REFUSED

    options = {"maxiter": most_iterations, "eps": 1e-4, "ftol": 1e-9}
    result = minimize(guarded, guess, method="L-BFGS-B", bounds=[tuple(b) for b in box], options=options)
    best = np.asarray(result.x)
    error = _errors(guarded, best)
    found = parameters(best)
    return Estimate(
        found, dict(zip([*names, *linear], error.tolist(), strict=True)), -float(result.fun), count, make(found)
    )


def _errors(cost: Callable[[Array], float], best: Array) -> Array:
    """Square roots of the diagonal of the inverse second derivatives."""
    n, h = best.size, _HESSIAN_STEP
    shift = np.eye(n) * h
    hessian = np.empty((n, n))
    here = cost(best)
    for i in range(n):
        hessian[i, i] = (cost(best + shift[i]) - 2 * here + cost(best - shift[i])) / h**2
        for j in range(i):
            mixed = [cost(best + a * shift[i] + b * shift[j]) * a * b for a in (1, -1) for b in (1, -1)]
            hessian[i, j] = hessian[j, i] = sum(mixed) / (4 * h**2)
    try:
        variance = np.diag(np.linalg.inv(hessian))
    except np.linalg.LinAlgError:
        return np.full(n, np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(np.where(variance > 0, variance, np.nan)))
