"""Optimal interpolation of plain arrays, all observations at once or in local windows.

Windows of successive analysis times have most of their observations in common. These are eliminated first, once for
some times together; what is left of each window, a Schur complement, is small. The result is that of each window alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.covariance.noise import Errors
from xatmo.assimilation.dense import _kernels
from xatmo.assimilation.dense._kernels import distances, factorise, points
from xatmo.assimilation.dense._skeleton import Axes, Ints, explained_on
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_BLOCK = 2_000_000
_TOGETHER = 0.25  # of a window: how far the times of windows that are solved together are apart


@dataclass(frozen=True)
class Targets:
    """Times, rows and columns at which an analysis is wanted, as the covariance sees them.

    Attributes
    ----------
    covariance : Gaussian or Matern
    metric : str or Frame
    times, rows, columns : arrays
        Seconds and degrees.
    """

    covariance: Gaussian | Matern
    metric: str | Frame
    times: Array
    rows: Array
    columns: Array

    @property
    def moving(self) -> bool:
        """Whether a place is seen elsewhere at another time."""
        return isinstance(self.metric, Frame) and self.metric.drift != (0.0, 0.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of times, rows and columns."""
        return self.times.size, self.rows.size, self.columns.size

    def place(self, latitude: Array, longitude: Array, time: Array | float) -> Array:
        """Coordinates of points whose distances the covariance takes."""
        if isinstance(self.metric, Frame):
            return self.metric.place(latitude, longitude, time)
        return points(latitude, longitude, self.metric)

    def cross(self, where: Array, when: Array, axes: Axes) -> Array:
        """Covariances ``(n, n_time, n_lat, n_lon)`` of observations with some of the nodes."""
        t, r, c = axes
        north, east = (a.ravel() for a in np.meshgrid(self.rows[r], self.columns[c], indexing="ij"))
        in_time = self.covariance.time(self.times[t] - when[:, None])
        seen = self.times[t] if self.moving else np.zeros(1)
        in_space = [self.covariance.space(distances(where, self.place(north, east, time))) for time in seen]
        out = in_time[:, :, None] * np.stack(in_space, axis=1)
        out *= self.covariance.signal_std**2
        return cast(Array, out.reshape(len(when), t.size, r.size, c.size))

    def mean(self, where: Array, when: Array, weights: Array) -> Array:
        """Sum of covariances with observations times weights, ``(n_time, n_lat, n_lon)``."""
        n_time, n_row, n_column = self.shape
        out = np.empty((n_time, n_row, n_column))
        loaded = self.covariance.time(self.times[:, None] - when) * (weights * self.covariance.signal_std**2)
        block = max(_BLOCK // (max(when.size, 1) * n_column), 1)
        groups = [slice(t, t + 1) for t in range(n_time)] if self.moving else [slice(None)]
        for start in range(0, n_row, block):
            rows = self.rows[start : start + block]
            north, east = (a.ravel() for a in np.meshgrid(rows, self.columns, indexing="ij"))
            for t in groups:
                at = self.place(north, east, float(self.times[t][0]))
                made = loaded[t] @ self.covariance.space(distances(where, at))
                out[t, start : start + block] = made.reshape(-1, rows.size, n_column)
        return out


@dataclass(frozen=True)
class Factor:
    """Cholesky factor of a matrix in two parts: ``[[lower, 0], [beside.T, own]]``.

    Attributes
    ----------
    lower : array (n_common, n_common)
    beside : array (n_common, n_own)
    own : array (n_own, n_own)
    """

    lower: Array
    beside: Array
    own: Array

    def solve(self, right: Array) -> Array:
        """Product of its inverse and an array ``(n, k)``."""
        n = len(self.lower)
        head = _forward(self.lower, right[:n])
        if not self.own.size:
            return head
        tail = right[n:] - self.beside.T @ head if n else right[n:]
        return np.concatenate([head, _forward(self.own, tail)])

    def weights(self, values: Array) -> Array:
        """Product of the inverse of the matrix and values ``(n,)``."""
        n = len(self.lower)
        half = self.solve(values[:, None].copy())[:, 0]
        tail = _backward(self.own, half[n:])
        return np.concatenate([_backward(self.lower, half[:n] - self.beside @ tail), tail])


def _forward(lower: Array, right: Array) -> Array:
    if not lower.size:
        return right
    return cast(Array, solve_triangular(lower, right, lower=True, overwrite_b=True, check_finite=False))


def _backward(lower: Array, right: Array) -> Array:
    if not lower.size:
        return right
    return cast(Array, solve_triangular(lower, right, lower=True, trans="T", check_finite=False))


def interpolate_windows(
    covariance: Gaussian | Matern,
    obs: tuple[Array, Array, Array, Array],
    errors: float | Errors,
    nodes: tuple[Array, Array, Array],
    window: dict[str, float],
    metric: str | Frame,
    *,
    uncertainty: bool,
    tolerance: float = 0.0,
) -> tuple[Array, Array]:
    """Analyse in local windows: ``k^T (K + R)^-1 y`` and its standard deviation.

    Parameters
    ----------
    covariance
        A function of distance times one of lag.
    obs : latitudes, longitudes, times, values (n,)
    errors : float or Errors
        Standard deviation of errors that are independent, or what is known of them.
    nodes : times (n_time,), latitudes (n_lat,), longitudes (n_lon,)
    window : dict
        Whole widths: ``time`` in seconds, around each analysis time; ``lat`` and ``lon`` in degrees: the nodes are
        taken in tiles of at most half this size, and every observation within half a width of a tile is used.
    metric : str or Frame
        See `xatmo.assimilation.dense._kernels.points`; or the frame in which distances are taken.
    uncertainty : bool
    tolerance : float
        Largest error of covariances in the variances of large grids, in ``signal_std`` squared; with 0, none but
        rounding.

    Returns
    -------
    mean, std : arrays (n_time, n_lat, n_lon)
        ``std`` is NaN unless ``uncertainty``.
    """
    lat, lon, when, values = obs
    times, rows, columns = nodes
    mean = np.zeros((times.size, rows.size, columns.size))
    std = np.full_like(mean, covariance.signal_std if uncertainty else np.nan)
    known = errors if isinstance(errors, Errors) else Errors(np.full(values.size, errors**2))
    where = Targets(covariance, metric, times, rows, columns).place(lat, lon, when)
    for r in _tiles(rows, window.get("lat")):
        near_lat = _within(lat, rows[r], window.get("lat"), around=False)
        for c in _tiles(columns, window.get("lon")):
            used = near_lat & _within(lon, columns[c], window.get("lon"), around=True)
            for t, chosen, factor in _factors(covariance, where, when, known, used, times, window.get("time")):
                target = Targets(covariance, metric, times[t], rows[r], columns[c])
                there, then = where[chosen], when[chosen]
                mean[np.ix_(t, r, c)] = target.mean(there, then, factor.weights(values[chosen]))
                if uncertainty:
                    std[np.ix_(t, r, c)] = _deviation(target, there, then, factor, tolerance)
    return mean, std


def _deviation(target: Targets, where: Array, when: Array, factor: Factor, tolerance: float) -> Array:
    signal = target.covariance.signal_std**2

    def cross(some: Ints | slice, axes: Axes) -> Array:
        return target.cross(where[some], when[some], axes)

    axes = cast(Axes, tuple(np.arange(n) for n in target.shape))
    left = signal - explained_on(factor.solve, cross, axes, when.size, tolerance * signal)
    return np.sqrt(np.maximum(left, 0))


def _factors(
    covariance: Gaussian | Matern, where: Array, when: Array, errors: Errors, used: Bools, times: Array,
    width: float | None,
) -> Iterator[tuple[Ints, Ints, Factor]]:  # fmt: skip
    """Give times, the observations that they use, and the factor of their matrix."""
    if width is None:
        chosen = np.flatnonzero(used)
        if chosen.size:
            factor = factorise(_matrix(covariance, where, when, errors, chosen))
            yield np.arange(times.size), chosen, Factor(factor, np.zeros((chosen.size, 0)), np.zeros((0, 0)))
        return
    half = width / 2 * (1 + 1e-9)
    for group in _groups(times, when[used], half):
        near = used & (np.abs(when - times[group][:, None]) <= half)
        every, some = near.all(axis=0), near.any(axis=0)
        common, rest = np.flatnonzero(every), np.flatnonzero(some & ~every)
        if not some.any():
            continue
        n = common.size
        matrix = _matrix(covariance, where, when, errors, np.concatenate([common, rest]))
        lower = factorise(matrix[:n, :n].copy()) if n else np.zeros((0, 0))
        beside = _forward(lower, matrix[:n, n:].copy())
        remaining = matrix[n:, n:] - beside.T @ beside
        del matrix
        for t, here in zip(group, near[:, rest], strict=True):
            own = np.flatnonzero(here)
            if n + own.size:
                part = factorise(remaining[np.ix_(own, own)]) if own.size else np.zeros((0, 0))
                yield np.array([t]), np.concatenate([common, rest[own]]), Factor(lower, beside[:, own], part)


def _groups(times: Array, when: Array, half: float) -> Iterator[Ints]:
    """Cut times into those whose windows are solved together."""
    order = np.argsort(times, kind="stable")
    start = 0
    while start < order.size:
        stop = start + int(np.searchsorted(times[order[start:]], times[order[start]] + 2 * half * _TOGETHER, "right"))
        first, last = times[order[start]] - half, times[order[stop - 1]] + half
        if ((when >= first) & (when <= last)).sum() > _kernels.MOST_AT_ONCE:
            stop = start + 1
        yield order[start:stop]
        start = stop


def _matrix(covariance: Gaussian | Matern, where: Array, when: Array, errors: Errors, chosen: Ints) -> Array:
    n = chosen.size
    if n > _kernels.MOST_AT_ONCE:
        message = (
            f"{n} observations at once came; at most {_kernels.MOST_AT_ONCE} fit a dense system. Use local windows, "
            "for instance window={'time': '28D'}, or fourdvar_interp"
        )
        raise OptionError(message)
    at, then = where[chosen], when[chosen]
    matrix = covariance(distances(at, at), then[:, None] - then)
    errors.take(chosen).add_to(matrix, then)
    return matrix


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
