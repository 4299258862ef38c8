"""Nodes and weights on the meridian, in float64 NumPy: worked out here once, for grids, transforms and networks alike.

Every rule integrates over mu = sin(latitude); weights are normalised to sum to 1, so a weighted sum is an area mean.
Colatitudes run from the north pole to the south pole, in radians.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _frozen(*arrays: Array) -> tuple[Array, ...]:
    """Make cached arrays read-only, so that no caller can spoil them for the next."""
    for array in arrays:
        array.flags.writeable = False
    return arrays


@lru_cache(maxsize=32)
def gauss_legendre(n: int) -> tuple[Array, Array]:
    """Gauss-Legendre colatitudes and weights: exact for polynomials in mu up to degree 2n - 1.

    Newton's method on the Legendre recurrence, from Tricomi's asymptotic roots; all roots at once.

    Examples
    --------
    >>> colatitude, weights = gauss_legendre(2)
    >>> np.cos(colatitude), weights
    (array([ 0.57735027, -0.57735027]), array([0.5, 0.5]))
    """
    k = np.arange(1, n + 1)
    theta = np.pi * (4 * k - 1) / (4 * n + 2)
    mu = (1 - (n - 1) / (8 * n**3)) * np.cos(theta)
    derivative = np.ones(n)
    for _ in range(100):
        previous, current = np.ones(n), mu.copy()
        for degree in range(2, n + 1):
            previous, current = current, ((2 * degree - 1) * mu * current - (degree - 1) * previous) / degree
        derivative = n * (previous - mu * current) / (1 - mu**2)
        step = current / derivative
        mu = mu - step
        if np.max(np.abs(step)) < 1e-15:
            break
    mu = (mu - mu[::-1]) / 2  # exactly antisymmetric
    weights = 1 / ((1 - mu**2) * derivative**2)
    weights = (weights + weights[::-1]) / 2
    colatitude, weights = _frozen(np.arccos(mu), weights / weights.sum())
    return colatitude, weights


@lru_cache(maxsize=32)
def clenshaw_curtis(n: int) -> tuple[Array, Array]:
    """Equally spaced colatitudes with both poles, and their weights: exact up to degree n - 1 in mu.

    Examples
    --------
    >>> colatitude, weights = clenshaw_curtis(3)
    >>> weights
    array([0.16666667, 0.66666667, 0.16666667])
    """
    colatitude = np.pi * np.arange(n) / (n - 1)
    colatitude[-1] = np.pi
    weights = _cosine_weights(colatitude, n)
    weights[[0, -1]] /= 2
    weights = weights / weights.sum()
    colatitude, weights = _frozen(colatitude, weights)
    return colatitude, weights


@lru_cache(maxsize=32)
def fejer1(n: int) -> tuple[Array, Array]:
    """Equally spaced colatitudes half a step away from the poles, and their weights: exact up to degree n - 1.

    Examples
    --------
    >>> colatitude, weights = fejer1(2)
    >>> np.degrees(colatitude), weights
    (array([ 45., 135.]), array([0.5, 0.5]))
    """
    colatitude = np.pi * (np.arange(n) + 0.5) / n
    weights = _cosine_weights(colatitude, n + 1)
    colatitude, weights = _frozen(colatitude, weights / weights.sum())
    return colatitude, weights


@lru_cache(maxsize=32)
def driscoll_healy(n: int) -> tuple[Array, Array]:
    """Equally spaced colatitudes from the north pole to one step before the south pole, and their weights.

    The weights of Driscoll and Healy, ``2 / n sin(t) sum_k sin((2 k + 1) t) / (2 k + 1)`` for k < n / 2: exact up to
    degree n - 1 for even n (n - 2 for odd n). The row on the pole has the weight 0.

    Examples
    --------
    >>> colatitude, weights = driscoll_healy(4)
    >>> np.degrees(colatitude), weights
    (array([  0.,  45.,  90., 135.]), array([0.        , 0.33333333, 0.33333333, 0.33333333]))
    """
    colatitude = np.pi * np.arange(n) / n
    k = 2 * np.arange(n // 2) + 1
    weights = np.sin(colatitude) * (np.sin(np.outer(colatitude, k)) @ (1 / k))
    colatitude, weights = _frozen(colatitude, weights / weights.sum())
    return colatitude, weights


def _cosine_weights(colatitude: Array, n: int) -> Array:
    """Integrate the interpolating cosine series term by term, up to a factor: 1 - sum 2 cos(2 k t) / (4 k^2 - 1)."""
    top = (n - 1) // 2
    k = np.arange(1, top + 1)
    factor = 2.0 / (4.0 * k**2 - 1)
    if 2 * top == n - 1:  # the highest cosine counts half
        factor[-1] /= 2
    return np.asarray(1 - np.cos(2 * np.outer(colatitude, k)) @ factor)


def legendre_values(mu: Array, degree: int) -> Array:
    """Legendre polynomials with unit mean square, ``(degree + 1, n)``: sqrt(2 k + 1) P_k(mu)."""
    values = np.empty((degree + 1, mu.size))
    values[0] = 1
    if degree:
        values[1] = mu
    for k in range(2, degree + 1):
        values[k] = ((2 * k - 1) * mu * values[k - 1] - (k - 1) * values[k - 2]) / k
    return values * np.sqrt(2 * np.arange(degree + 1) + 1)[:, None]


def interpolatory(colatitude: Array, areas: Array) -> tuple[Array, int]:
    """Find positive weights for arbitrary nodes, exact to the highest degree that such weights reach.

    Among all weights that integrate every polynomial up to the degree exactly, those nearest to the cell areas are
    taken (least squares weighted by the areas). The degree is lowered until none is negative.

    Parameters
    ----------
    colatitude : array (n,)
        Nodes in radians.
    areas : array (n,)
        Fraction of the sphere that belongs to each node; sums to 1.

    Returns
    -------
    weights : array (n,)
        Sum to 1.
    degree : int
        Highest degree integrated exactly (to 1e-12).
    """
    mu, root = np.cos(colatitude), np.sqrt(areas)
    values = legendre_values(mu, mu.size - 1)

    def attempt(degree: int) -> Array | None:
        basis = values[: degree + 1]
        target = np.zeros(degree + 1)
        target[0] = 1
        correction = np.linalg.lstsq(basis * root, target - basis @ areas, rcond=None)[0]
        weights = areas + root * correction
        exact = np.max(np.abs(basis @ weights - target)) < 1e-12
        return weights if exact and weights.min() > -1e-15 else None

    low, high = 0, mu.size - 1
    best = attempt(high)
    if best is not None:
        return best / best.sum(), high
    best = np.asarray(areas / areas.sum())
    while high - low > 1:
        middle = (low + high) // 2
        weights = attempt(middle)
        if weights is None:
            high = middle
        else:
            low, best = middle, weights
    return best, low
