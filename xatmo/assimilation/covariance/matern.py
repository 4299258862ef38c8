"""Matern correlation, and where correlations fall to 1/e."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@lru_cache(maxsize=16)
def matern_scale(nu: float) -> float:
    """Distance in units of 1/kappa at which the Matern correlation of smoothness ``nu`` is 1/e.

    Examples
    --------
    >>> matern_scale(0.5), matern_scale(1.0)
    (1.000, 1.658)
    """
    from scipy.optimize import brentq

    return float(brentq(lambda x: float(matern(np.array(x), nu)) - np.exp(-1), 1e-3, 50))


def matern(x: Any, nu: float) -> Any:
    """Matern correlation x^nu K_nu(x) 2^(1-nu) / Gamma(nu), 1 at x = 0; many values are read off a table, to 1e-8."""
    x = np.asarray(x, dtype=np.float64)
    if nu == 0.5:
        return np.exp(-x)
    if nu == 1.5:
        return (1 + x) * np.exp(-x)
    if nu == 2.5:
        return (1 + x + x**2 / 3) * np.exp(-x)
    if x.size < 2 * _TABLE:
        return _matern(x, nu)
    table = _matern_table(nu)
    place = np.minimum(np.sqrt(x * ((_TABLE - 1) ** 2 / _FAR)), _TABLE - 1.001)
    below = place.astype(np.intp)
    place -= below
    return table[below] * (1 - place) + table[below + 1] * place


_TABLE, _FAR = 1 << 15, 40.0


def _matern(x: Array, nu: float) -> Array:
    from scipy.special import gamma, k1, kv

    safe = np.maximum(x, 1e-12)
    value = safe * k1(safe) if nu == 1 else 2 ** (1 - nu) / gamma(nu) * safe**nu * kv(nu, safe)
    return np.where(x < 1e-8, 1.0, value)


@lru_cache(maxsize=4)
def _matern_table(nu: float) -> Array:
    return np.asarray(_matern(_FAR * np.linspace(0, 1, _TABLE) ** 2, nu))


@lru_cache(maxsize=16)
def evolution_scale(alpha: int) -> float:
    """Time in units of theta at which the correlation at one point is 1/e, in the continuous equation on the plane.

    With u = 1 + k^2 / kappa^2 the correlation is the integral of u^(-p) exp(-s u^p), p = alpha/2, over u > 1,
    divided by its value 1/(p - 1) at s = 0.

    Examples
    --------
    >>> evolution_scale(4)
    0.2340
    """
    from scipy.integrate import quad
    from scipy.optimize import brentq

    p = alpha // 2

    def excess(s: float) -> float:
        # v = u^(1-p) turns the integral into one over (0, 1)
        value = quad(lambda v: np.exp(-s * v ** (-p / (p - 1))) if v > 0 else 0.0, 0, 1, epsabs=1e-12)[0]
        return float(value - np.exp(-1))

    return float(brentq(excess, 1e-4, 2))
