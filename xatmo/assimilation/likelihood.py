"""Scales of a covariance by maximum likelihood from the observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance import Covariance
from xatmo.errors import MissingValueError

Array = NDArray[np.float64]

BLOCK = 350
"""Observations in one block: neighbours, all of their covariances kept."""
BLOCKS = 4
"""Blocks around centres spread evenly over the period."""
_EVALUATIONS = 160


@dataclass(frozen=True)
class Scales:
    """What a covariance and the noise need; None where it is to be estimated."""

    length_scale: float | None = None
    time_scale: float | None = None
    noise_std: float | None = None
    signal_std: float | None = None

    def missing(self) -> tuple[str, ...]:
        """Names of the scales that are None."""
        return tuple(k for k, v in vars(self).items() if v is None)


def log_likelihood(covariance: Array, noise_variance: float, values: Array) -> float:
    """Gaussian log-likelihood of ``values`` with a covariance matrix and white noise; -inf if it is not definite."""
    from scipy.linalg import cholesky, solve_triangular

    n = values.size
    matrix = covariance + noise_variance * np.eye(n)
    try:
        factor = cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return -np.inf
    half = solve_triangular(factor, values, lower=True, check_finite=False)
    return float(-0.5 * half @ half - np.log(np.diag(factor)).sum() - 0.5 * n * np.log(2 * np.pi))


def estimate(
    make: Callable[[float, float, float], Covariance],
    distance: Callable[[NDArray[np.intp], NDArray[np.intp]], Array],
    time: Array,
    values: Array,
    given: Scales,
    *,
    extent: tuple[float, float],
    spacing: tuple[float, float],
) -> Scales:
    """Find the scales that are missing.

    The product of the likelihoods of `BLOCKS` blocks, each the `BLOCK` observations nearest to a centre in space and
    time (of all observations, where there are few), is maximised by a simplex in the logarithms of the scales, from a
    fixed start: the same answer for the same data, at a cost that does not grow with them.

    Parameters
    ----------
    make : callable
        Gives the covariance of a length scale, a time scale and a signal's standard deviation.
    distance : callable
        Distances (n, m) between observations given by indices.
    time, values : arrays (n_obs,)
        Seconds; deviations from the background.
    given : Scales
    extent : (length, time)
        The largest scales worth considering: those of the box and the period.
    spacing : (length, time)
        The smallest: those of the grid.

    Raises
    ------
    MissingValueError
        If there are fewer than 10 observations.
    """
    from scipy.optimize import minimize

    names = given.missing()
    if not names:
        return given
    if values.size < 10:
        message = (
            f"{values.size} observations came; wanted at least 10 to estimate {', '.join(names)} by maximum "
            "likelihood. Give these scales as keywords"
        )
        raise MissingValueError(message)
    if values.size <= BLOCK * BLOCKS // 2:
        blocks = [np.arange(values.size)]
    else:
        centres = np.argsort(time, kind="stable")[(2 * np.arange(BLOCKS) + 1) * values.size // (2 * BLOCKS)]
        blocks = []
        for centre in centres:
            apart = distance(centre[None], np.arange(values.size))[0] / extent[0]
            apart = np.maximum(apart, np.abs(time - time[centre]) / max(extent[1], 1e-9))
            blocks.append(np.sort(np.argsort(apart, kind="stable")[:BLOCK]))
    prepared = [(distance(b, b), time[b][:, None] - time[b], values[b]) for b in blocks]
    total = float(np.sqrt(np.mean(values**2))) or 1.0
    bounds = {
        "length_scale": (spacing[0] / 2, 2 * extent[0]),
        "time_scale": (spacing[1] / 4, 4 * extent[1]),
        "noise_std": (1e-3 * total, 2 * total),
        "signal_std": (0.05 * total, 20 * total),
    }
    start = {
        "length_scale": np.clip(extent[0] / 8, 2 * spacing[0], extent[0]),
        "time_scale": np.clip(extent[1] / 6, 2 * spacing[1], max(extent[1], 2 * spacing[1])),
        "noise_std": 0.2 * total,
        "signal_std": total,
    }

    def unpack(x: Array) -> dict[str, float]:
        found = {k: v for k, v in vars(given).items() if v is not None}
        for name, value in zip(names, x, strict=True):
            low, high = np.log(bounds[name])
            found[name] = float(np.exp(np.clip(value, low, high)))
        return found

    def cost(x: Array) -> float:
        s = unpack(x)
        covariance = make(s["length_scale"], s["time_scale"], s["signal_std"])
        out = 0.0
        for apart, lag, y in prepared:
            out -= log_likelihood(covariance(apart, lag), s["noise_std"] ** 2, y)
        outside = sum(
            max(np.log(bounds[n][0]) - v, v - np.log(bounds[n][1]), 0.0) for n, v in zip(names, x, strict=True)
        )
        return float(out + 1e3 * outside)

    x0 = np.log([start[n] for n in names])
    simplex = np.vstack([x0, x0 + 0.6 * np.eye(len(names))])
    found = minimize(
        cost, x0, method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": _EVALUATIONS, "xatol": 5e-3, "fatol": 1e-2},
    )  # fmt: skip
    return Scales(**unpack(found.x))
