"""Coefficients of an advection-diffusion prior: closed forms, checks, and the matrices of one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xatmo.assimilation.stencils import OFFSETS
from xatmo.errors import MissingValueError, OptionError

Array = NDArray[np.float64]

MOST_DENSE = 5000
"""Most cells for which matrices (cell, cell) are made."""
_DOUBLINGS = 40


def anisotropic(gamma: ArrayLike, beta: ArrayLike, east: ArrayLike, north: ArrayLike) -> tuple[Array, Array, Array]:
    """Diffusion tensor ``gamma I + beta v v^T``: faster along a vector v.

    Parameters
    ----------
    gamma, beta : array_like
        Positive; not negative.
    east, north : array_like
        Components of v.

    Returns
    -------
    H11, H12, H22 : arrays

    Examples
    --------
    >>> [h.item() for h in anisotropic(1.0, 25.0, 0.0, 1.0)]
    [1.0, 0.0, 26.0]
    """
    g, b, x, y = (np.asarray(a, dtype=np.float64) for a in (gamma, beta, east, north))
    return g + b * x * x, b * x * y, g + b * y * y


def stationary_std(
    kappa: ArrayLike, tau: ArrayLike, diffusion: Sequence[ArrayLike], alpha: int = 4, time_step: float = 0.0
) -> Array:
    """Give the standard deviation of the stationary field on the whole plane, without advection.

    Of the continuous equation the variance is ``tau^2 / (8 pi sqrt(det H) (p - 1) kappa^(2 p - 2))``, p = alpha/2; its
    correlation in space is Matern of smoothness p - 1 in ``kappa sqrt(d^T H^-1 d)``. Implicit Euler steps give less,
    by the factor ``(p - 1)`` times the integral over u > 1 of ``2 u^-p / (2 + dt kappa^(2 p) u^p)``. Cells of finite
    size and closed edges give more: see `AdvectionDiffusion.variance`.

    Parameters
    ----------
    kappa, tau : array_like
    diffusion : three array_like
        H11, H12, H22.
    alpha : int
        Even, at least 4.
    time_step : float
        Of implicit Euler steps; 0 for the continuous equation.

    Raises
    ------
    OptionError
        If ``alpha`` is another number.

    Examples
    --------
    >>> stationary_std(1 / 3, 1.0, (1.0, 0.0, 1.0)).item()
    0.5984
    >>> stationary_std(1 / 3, 1.0, (1.0, 0.0, 1.0), time_step=1.0).item()
    0.5622
    """
    require_alpha(alpha)
    h11, h12, h22 = (np.asarray(h, dtype=np.float64) for h in diffusion)
    p = alpha // 2
    k = np.asarray(kappa, dtype=np.float64)
    root = 8 * np.pi * np.sqrt(h11 * h22 - h12**2) * (p - 1) * k ** (2 * p - 2)
    return np.asarray(np.asarray(tau) * np.sqrt(_kept_by_steps(time_step * k**alpha, p) / root))


def _kept_by_steps(rate: Array, p: int) -> Array:
    """Part of the variance that implicit Euler steps keep; with v = u^(1 - p) the integral is one over (0, 1)."""
    node, weight = np.polynomial.legendre.leggauss(48)
    v = ((node + 1) / 2) ** 2  # denser where scales are small
    each = weight * np.sqrt(v)
    return np.asarray(sum(w * 2 / (2 + rate * x ** (-p / (p - 1))) for w, x in zip(each, v, strict=True)))


def stationary_covariance(step: Any, noise: Array) -> Array:
    """Solve ``M P M^T = P + N`` for the covariance P, by doubling.

    Parameters
    ----------
    step : sparse array (cell, cell)
        M.
    noise : array (cell,)
        Diagonal of N.

    Raises
    ------
    OptionError
        If there are too many cells, or the steps amplify some pattern, so that there is no stationary field.
    """
    import scipy.sparse.linalg as sla

    require_dense(len(noise))
    power = sla.splu(step).solve(np.eye(len(noise)))
    covariance = (power * noise) @ power.T
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_DOUBLINGS):
            added = power @ covariance @ power.T
            covariance = covariance + added
            if not np.isfinite(added).all():
                break
            if np.abs(added).max() <= 1e-15 * np.abs(covariance).max():
                return np.asarray((covariance + covariance.T) / 2)
            power = power @ power
    message = (
        "steps came that amplify some waves, so that no stationary field exists; wanted a slower velocity for this "
        "kappa and diffusion, or pass transport='outside', or scheme='upwind'"
    )
    raise OptionError(message)


def require_dense(n_cell: int) -> None:
    """Refuse dense matrices that are too large."""
    if n_cell > MOST_DENSE:
        message = (
            f"{n_cell} cells came where dense matrices are made; wanted at most {MOST_DENSE}: select a smaller box, or "
            "pass initial='symmetric' with some steps of spin_up, and take the error from members"
        )
        raise OptionError(message)


def matrix(weights: Array) -> Any:
    import scipy.sparse as sp

    n_row, n_column = weights.shape[1:]
    index = np.arange(n_row * n_column).reshape(n_row, n_column)
    to = np.stack([np.roll(index, (-i, -j), (0, 1)) for i, j in OFFSETS])
    own = np.broadcast_to(index, to.shape)
    keep = weights.ravel() != 0
    entries = weights.ravel()[keep], (own.ravel()[keep], to.ravel()[keep])
    return sp.coo_array(entries, shape=(index.size, index.size)).tocsr()


def require_alpha(alpha: int) -> None:
    if alpha % 2 or alpha < 4:
        message = (
            f"alpha={alpha!r} came; wanted an even number, at least 4 (white noise drives the equation, so that the "
            "variance would be infinite below)"
        )
        raise OptionError(message)


def coefficient(name: str, value: Any, shape: tuple[int, int, int], *, positive: bool) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        message = f"{name} came with NaN or infinity; wanted finite numbers everywhere: fill land first"
        raise MissingValueError(message)
    if positive and not (array > 0).all():
        message = f"{name} down to {float(array.min())!r} came; wanted positive numbers"
        raise OptionError(message)
    try:
        full = np.broadcast_to(array, (shape[0] if array.ndim == 3 and len(array) > 1 else 1, *shape[1:]))
    except ValueError:
        message = f"{name} of shape {array.shape} came; wanted a number, or an array of {shape[1:]} or {shape}"
        raise OptionError(message) from None
    return full
