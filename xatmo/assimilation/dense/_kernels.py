"""Optimal interpolation of plain arrays: dense covariances, all observations at once or in local windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.covariance.noise import Errors
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError

Array = NDArray[np.float64]

MOST_AT_ONCE = 20_000
"""Observations that one dense system may hold (3.2 GB)."""
_BLOCK = 2_000_000
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


def interpolate(
    covariance: Gaussian | Matern,
    obs: tuple[Array, Array, Array],
    errors: float | Errors,
    nodes: tuple[Array, Array],
    *,
    uncertainty: bool,
) -> tuple[Array, Array]:
    """Analyse all observations at once: k^T (K + R)^-1 y and its standard deviation.

    Parameters
    ----------
    covariance
        A function of distance times one of lag.
    obs : points (n, 2 or 3), times (n,), values (n,)
    errors : float or Errors
        Standard deviation of errors that are independent, or what is known of them.
    nodes : points (m, 2 or 3) or (n_time, m, 2 or 3), times (n_time,)
        The analysis is made on their product; with points for each time, these are seen from a moving frame.

    Returns
    -------
    mean, std : arrays (n_time, m)
        ``std`` is NaN unless ``uncertainty``.
    """
    where, when, values = obs
    at, times = nodes
    n, m, n_time = values.size, at.shape[-2], times.size
    mean, std = np.zeros((n_time, m)), np.full((n_time, m), covariance.signal_std if uncertainty else np.nan)
    if n == 0:
        return mean, std
    if n > MOST_AT_ONCE:
        message = (
            f"{n} observations at once came; at most {MOST_AT_ONCE} fit a dense system. Use local windows, for "
            "instance window={'time': '28D'}, or fourdvar_interp"
        )
        raise OptionError(message)
    matrix = covariance(distances(where, where), when[:, None] - when)
    (Errors(np.full(n, errors**2)) if not isinstance(errors, Errors) else errors).add_to(matrix, when)
    factor = factorise(matrix)
    half = solve_triangular(factor, values, lower=True, check_finite=False)
    weights = solve_triangular(factor, half, lower=True, trans="T", check_finite=False)
    in_time = covariance.time(times[:, None] - when)
    block = max(_BLOCK // n, 1)
    moving = at.ndim == 3
    for start in range(0, m, block):
        part = slice(start, start + block)
        for group in [[t] for t in range(n_time)] if moving else [[*range(n_time)]]:
            here = at[group[0], part] if moving else at[part]
            in_space = covariance.signal_std**2 * covariance.space(distances(where, here))
            mean[group, part] = (in_time[group] * weights) @ in_space
            if not uncertainty:
                continue
            for t in group:
                solved = solve_triangular(
                    factor, in_time[t][:, None] * in_space, lower=True, overwrite_b=True, check_finite=False
                )
                left = covariance.signal_std**2 - np.einsum("ij,ij->j", solved, solved)
                std[t, part] = np.sqrt(np.maximum(left, 0))
    return mean, std


def interpolate_windows(
    covariance: Gaussian | Matern,
    obs: tuple[Array, Array, Array, Array],
    errors: float | Errors,
    nodes: tuple[Array, Array, Array],
    window: dict[str, float],
    metric: str | Frame,
    *,
    uncertainty: bool,
) -> tuple[Array, Array]:
    """Analyse in local windows.

    Parameters
    ----------
    covariance, errors, uncertainty
        See `interpolate`.
    obs : latitudes, longitudes, times, values (n,)
    nodes : times (n_time,), latitudes (n_lat,), longitudes (n_lon,)
    window : dict
        Whole widths: ``time`` in seconds, around each analysis time; ``lat`` and ``lon`` in degrees: the nodes are
        taken in tiles of at most half this size, and every observation within half a width of a tile is used.
    metric : str or Frame
        See `points`; or the frame in which distances are taken.

    Returns
    -------
    mean, std : arrays (n_time, n_lat, n_lon)
    """
    lat, lon, when, values = obs
    times, rows, columns = nodes
    mean = np.zeros((times.size, rows.size, columns.size))
    std = np.full_like(mean, np.nan)
    known = errors if isinstance(errors, Errors) else Errors(np.full(values.size, errors**2))
    frame = metric if isinstance(metric, Frame) else None
    where = frame.place(lat, lon, when) if frame is not None else points(lat, lon, str(metric))
    groups = [np.array([t]) for t in range(times.size)] if "time" in window else [np.arange(times.size)]
    for t in groups:
        near_time = (
            np.abs(when - times[t[0]]) <= window["time"] / 2 * (1 + 1e-9)
            if "time" in window
            else np.ones(when.size, bool)
        )
        for r in _tiles(rows, window.get("lat")):
            near_lat = near_time & _within(lat, rows[r], window.get("lat"), around=False)
            for c in _tiles(columns, window.get("lon")):
                used = near_lat & _within(lon, columns[c], window.get("lon"), around=True)
                north, east = (a.ravel() for a in np.meshgrid(rows[r], columns[c], indexing="ij"))
                if frame is None:
                    at = points(north, east, str(metric))
                elif frame.drift == (0.0, 0.0):
                    at = frame.place(north, east, 0.0)
                else:
                    at = np.stack([frame.place(north, east, time) for time in times[t]])
                one = interpolate(
                    covariance, (where[used], when[used], values[used]), known.take(used), (at, times[t]),
                    uncertainty=uncertainty,
                )  # fmt: skip
                mean[np.ix_(t, r, c)], std[np.ix_(t, r, c)] = (a.reshape(t.size, r.size, c.size) for a in one)
    return mean, std


def _tiles(axis: Array, width: float | None) -> Iterator[NDArray[np.intp]]:
    index = np.arange(axis.size)
    if width is None:
        yield index
        return
    tile = np.floor((axis - axis.min()) / (width / 2)).astype(int)
    for number in np.unique(tile):
        yield index[tile == number]


def _within(values: Array, tile: Array, width: float | None, *, around: bool) -> Any:
    if width is None:
        return np.ones(values.size, dtype=bool)
    middle, half = (tile.min() + tile.max()) / 2, (tile.max() - tile.min()) / 2
    off = np.abs(values - middle)
    if around:
        off = np.abs((values - middle + 180) % 360 - 180)
    return off <= half + width / 2 + 1e-9
