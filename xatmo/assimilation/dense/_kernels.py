"""Places, distances, and dense symmetric systems."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky

from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError

Array = NDArray[np.float64]

MOST_AT_ONCE = 20_000
"""Observations that one dense system may hold (3.2 GB)."""
_SMALL = 64  # the largest matrices whose product OpenBLAS leaves to one thread


def factorise(matrix: Array) -> Array:
    """Lower Cholesky factor; the matrix is overwritten.

    Raises
    ------
    OptionError
        If rounding makes the matrix indefinite.
    """
    try:
        return cast(Array, cholesky(matrix, lower=True, overwrite_a=True, check_finite=False))
    except np.linalg.LinAlgError as error:
        raise OptionError(_indefinite(len(matrix))) from error


def explained(matrix: Array, cross: Array) -> Array:
    """Diagonal of ``cross.T @ inv(matrix) @ cross``, for some hundred observations.

    Elimination by blocks of `_SMALL`: BLAS keeps products so small to one thread. In the many short calls of local
    windows its threads would spend their time waiting for one another, by far the most of it on a busy machine; alone,
    this is as fast as LAPACK.

    Parameters
    ----------
    matrix : array (n, n)
        Symmetric positive definite.
    cross : array (n, m)

    Returns
    -------
    array (m,)

    Raises
    ------
    OptionError
        If rounding makes the matrix indefinite.
    """
    n, m = cross.shape
    n_row, n_cross = -(-n // _SMALL), -(-m // _SMALL)
    full = np.zeros((n_row * _SMALL, (n_row + n_cross) * _SMALL))
    full[:n, :n] = matrix
    full[np.arange(n, len(full)), np.arange(n, len(full))] = 1
    full[:n, len(full) : len(full) + m] = cross
    block = full.reshape(n_row, _SMALL, n_row + n_cross, _SMALL).swapaxes(1, 2)
    out = np.zeros((n_cross, _SMALL))
    for j in range(n_row):
        try:
            inverse = np.linalg.inv(np.linalg.cholesky(block[j, j]))
        except np.linalg.LinAlgError as error:
            raise OptionError(_indefinite(n)) from error
        solved = inverse @ block[j, j + 1 :]
        rest = n_row - j - 1
        for i in range(rest):  # upper triangle only
            block[j + 1 + i, j + 1 + i :] -= solved[i].T @ solved[i:]
        out += np.einsum("cij,cij->cj", solved[rest:], solved[rest:])
    return cast(Array, out.ravel()[:m])


def _indefinite(n: int) -> str:
    return (
        f"the covariance of {n} observations is not positive definite to rounding: noise_std is too small beside "
        "signal_std. Give a larger noise_std"
    )


def points(latitude: Array, longitude: Array, metric: str) -> Array:
    """Coordinates whose Euclidean distance is the metric's: metres through the sphere, or degrees on the plane."""
    if metric == "degrees":
        return np.stack([latitude, longitude], axis=-1)
    lat, lon = np.radians(latitude), np.radians(longitude)
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    return EARTH_RADIUS * unit


def distances(one: Array, other: Array) -> Array:
    """Distances between two sets of points, ``(n, m)``; degrees (two columns) go the shorter way around."""
    if one.shape[1] == 2:
        north = one[:, None, 0] - other[:, 0]
        east = np.abs(one[:, None, 1] - other[:, 1]) % 360
        return cast(Array, np.hypot(north, np.minimum(east, 360 - east)))
    from scipy.spatial.distance import cdist

    return cast(Array, cdist(one, other))


def pair_distances(one: Array, other: Array) -> Array:
    """Distances between points at the same place of two arrays (..., 2 or 3); degrees go the shorter way around."""
    gap = one - other
    if gap.shape[-1] == 2:
        east = np.abs(gap[..., 1]) % 360
        gap[..., 1] = np.minimum(east, 360 - east)
    return cast(Array, np.sqrt(np.einsum("...k,...k->...", gap, gap)))
