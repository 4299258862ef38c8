"""Exact analysis of observations on the nodes of an `SPDE`, in the space of the observations.

The minimum of ||(y - H x) / sigma||^2 + x^T Q x is x = C H^T w with (H C H^T + sigma^2) w = y and C = Q^-1. Products
with C are fast (modes), so nothing of the size of the grid is ever factorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from xatmo.assimilation.dense._kernels import explained, factorise
from xatmo.assimilation.spde.prior import SPDE, Index
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_EVERYWHERE = (slice(None), slice(None), slice(None))

DENSE = 3000
"""Observations up to which the system is factorised; above, it is solved by preconditioned conjugate gradients."""
EXACT_WORK = 1e11
"""Multiplications (observations squared times nodes) up to which posterior variances are computed exactly."""
TOLERANCE = 1e-9
"""Preconditioned residual, relative, at which conjugate gradients stop."""
_NEIGHBOURS = 40
_TILE = (4, 10, 10)
_REACH_LENGTH, _REACH_TIME = 3.0, 4.0
_MOST_NEAR = 500
_TABLE_BYTES = 2e9
_MOST_STEPS = 2000

HOW_ERRORS = (
    f"posterior standard deviation: exact up to {DENSE} observations if their number squared times the nodes is at "
    f"most {EXACT_WORK:g}; above, an upper bound from the nearest {_MOST_NEAR} observations of each tile, or, on large "
    "grids, from 64 conditional samples (sampling error 9 percent)"
)


@dataclass(frozen=True)
class Analysis:
    """What came out, and how."""

    mean: Array
    std: Array | None
    method: str
    iterations: int = 0
    error_method: str = ""


def analyse(
    prior: SPDE, index: Index, values: Array, noise_std: float | Array, *, uncertainty: bool, members: int = 64,
    wanted: tuple[slice, slice, slice] = _EVERYWHERE,
) -> Analysis:  # fmt: skip
    """Find the minimum of the cost, and the posterior standard deviation.

    Parameters
    ----------
    prior : SPDE
    index : (time, row, column) of every observation
    values : array (n_obs,)
        Deviations from the background.
    noise_std : float or array (n_obs,)
    uncertainty : bool
    members : int
        Conditional samples, where nothing better can be afforded.
    wanted : (times, rows, columns)
        Slices of the nodes at which the standard deviation is wanted; it is NaN elsewhere.
    """
    n = values.size
    if n == 0:
        std = np.full(prior.shape, prior.signal_std) if uncertainty else None
        return Analysis(np.zeros(prior.shape), std, "background", error_method="prior")
    variance = np.broadcast_to(np.asarray(noise_std, dtype=np.float64) ** 2, (n,)).copy()
    table = has_table(prior)
    if n <= DENSE and table:
        factor = factorise(_observed(prior, index, variance))
        half = solve_triangular(factor, values, lower=True, check_finite=False)
        weights = solve_triangular(factor, half, lower=True, trans="T", check_finite=False)
        mean, how, iterations = prior.apply_covariance(_scatter(prior, index, weights)), "direct", 0
    else:
        solver = _Conjugate(prior, index, variance)
        weights, iterations = solver.solve(values[None])
        mean = prior.apply_covariance(_scatter(prior, index, weights[0]))
        how = f"conjugate gradients, relative residual {TOLERANCE:g}"
    if not uncertainty:
        return Analysis(mean, None, how, iterations)
    box = cast(Box, tuple(s.indices(size)[:2] for s, size in zip(wanted, prior.shape, strict=True)))
    if n <= DENSE and table and n**2 * float(np.prod(np.diff(box))) <= EXACT_WORK:
        return Analysis(mean, _exact_std(prior, index, factor, box), how, iterations, "exact")
    if table:
        std = _local_std(prior, index, variance, box)
        note = (
            f"from the nearest {_MOST_NEAR} observations within {_REACH_LENGTH:g} length scales and {_REACH_TIME:g} "
            "time scales of each tile: an upper bound of the exact one"
        )
        return Analysis(mean, std, how, iterations, note)
    std = _sampled_std(prior, index, variance, members)
    note = f"from {members} conditional samples: sampling error {100 / np.sqrt(2 * members):.0f} percent"
    return Analysis(mean, std, how, iterations, note)


def has_table(prior: SPDE) -> bool:
    """Tell whether the table of all covariances is small enough to be made."""
    lags, n_row, apart = prior.table_shape
    return 8 * lags * n_row**2 * apart <= _TABLE_BYTES


def _scatter(prior: SPDE, index: Index, weights: Array) -> Array:
    """H^T: weights of the observations at their nodes; several at one node add up."""
    field = np.zeros(prior.shape)
    np.add.at(field, index, weights)
    return field


def _observed(prior: SPDE, index: Index, variance: Array) -> Array:
    """H C H^T + R, in blocks of rows."""
    n = variance.size
    out = np.empty((n, n))
    for start in range(0, n, 512):
        rows = slice(start, start + 512)
        here = cast(Index, tuple(i[rows, None] for i in index))
        out[rows] = prior.covariance(here, index)
    out[np.arange(n), np.arange(n)] += variance
    return out


def _exact_std(prior: SPDE, index: Index, factor: Array, box: Box) -> Array:
    times, (r0, r1), (c0, c1) = box
    row, column = (a.ravel() for a in np.mgrid[r0:r1, c0:c1])
    there = cast(Index, tuple(i[:, None] for i in index))
    out = np.full(prior.shape, np.nan)
    for t in range(*times):
        to_nodes = prior.covariance(there, (np.full(row.size, t), row, column))
        half = solve_triangular(factor, to_nodes, lower=True, overwrite_b=True, check_finite=False)
        left = prior.signal_std**2 - np.einsum("ij,ij->j", half, half)
        out[t, r0:r1, c0:c1] = np.sqrt(np.maximum(left, 0)).reshape(r1 - r0, c1 - c0)
    return out


def _local_std(prior: SPDE, index: Index, variance: Array, box: Box) -> Array:
    """Posterior standard deviation tile by tile, from the observations near each tile."""
    n_column = prior.shape[2]
    (first_time, n_time), (first_row, n_row), (first_column, last_column) = box
    height, width = prior.height[prior.rows] / prior.length_scale, prior.width[prior.rows] / prior.length_scale
    north = np.cumsum(height) - height / 2
    step = prior.time_step / prior.time_scale
    around = prior.n_column == n_column
    out = np.full(prior.shape, np.nan)
    order = np.argsort(index[0], kind="stable")
    time, row, column = (i[order] for i in index)
    noise = variance[order]
    for t0 in range(first_time, n_time, _TILE[0]):
        t1 = min(t0 + _TILE[0], n_time)
        first, last = np.searchsorted(time, [t0 - _REACH_TIME / step, t1 + _REACH_TIME / step])
        near = slice(int(first), int(last))
        late = _beyond(time[near], t0, t1) * step
        for r0 in range(first_row, n_row, _TILE[1]):
            r1 = min(r0 + _TILE[1], n_row)
            apart = np.maximum(np.maximum(north[r0] - north[row[near]], north[row[near]] - north[r1 - 1]), 0)
            narrow = float(width[r0:r1].min())
            for c0 in range(first_column, last_column, _TILE[2]):
                c1 = min(c0 + _TILE[2], last_column)
                beside = _beyond(column[near], c0, c1)
                if around:
                    beside = np.minimum(beside, _beyond(column[near] + n_column, c0, c1))
                    beside = np.minimum(beside, _beyond(column[near] - n_column, c0, c1))
                away = np.hypot(apart, beside * narrow)
                used = np.flatnonzero(away <= _REACH_LENGTH)
                if used.size > _MOST_NEAR:
                    rank = np.hypot(away[used], late[used])
                    used = np.sort(used[np.argpartition(rank, _MOST_NEAR)[:_MOST_NEAR]])
                used += near.start
                out[t0:t1, r0:r1, c0:c1] = _tile_std(
                    prior, (time[used], row[used], column[used]), noise[used], (t0, t1, r0, r1, c0, c1)
                )
    return out


def _beyond(position: NDArray[np.intp], start: int, stop: int) -> Array:
    """How far positions lie outside start .. stop - 1."""
    return np.maximum(np.maximum(start - position, position - (stop - 1)), 0).astype(np.float64)


def _tile_std(prior: SPDE, index: Index, noise: Array, box: tuple[int, int, int, int, int, int]) -> Array:
    t0, t1, r0, r1, c0, c1 = box
    shape = t1 - t0, r1 - r0, c1 - c0
    if noise.size == 0:
        return np.full(shape, prior.signal_std)
    nodes = cast(Index, tuple(a.ravel() + first for a, first in zip(np.indices(shape), (t0, r0, c0), strict=True)))
    there = cast(Index, tuple(i[:, None] for i in index))
    left = prior.signal_std**2 - explained(_observed(prior, index, noise), prior.covariance(there, nodes))
    return cast(Array, np.sqrt(np.maximum(left, 0)).reshape(shape))


def _sampled_std(prior: SPDE, index: Index, variance: Array, members: int) -> Array:
    """Posterior standard deviation from prior samples minus their own reconstructions from simulated observations."""
    rng = np.random.default_rng(0)
    solver = _Conjugate(prior, index, variance)
    square = np.zeros(prior.shape)
    for _ in range(members):
        drawn = prior.sample(rng)
        seen = drawn[index] + np.sqrt(variance) * rng.standard_normal(variance.size)
        weights, _ = solver.solve(seen[None])
        square += (drawn - prior.apply_covariance(_scatter(prior, index, weights[0]))) ** 2
    return np.asarray(np.sqrt(square / members))


class _Conjugate:
    """Conjugate gradients for (H C H^T + R) w = y; products by modes, preconditioned by a sparse inverse factor.

    The preconditioner is B^T D^-1 B, where each row of B regresses one observation on its nearest predecessors in a
    random order: the inverse of a covariance that agrees with the true one within these neighbourhoods.
    """

    def __init__(self, prior: SPDE, index: Index, variance: Array) -> None:
        self.prior, self.index, self.variance = prior, index, variance
        self.factor = inverse_factor(prior, index, variance)

    def multiply(self, weights: Array) -> Array:
        field = self.prior.apply_covariance(_scatter(self.prior, self.index, weights))
        return field[self.index] + self.variance * weights

    def solve(self, values: Array, limit: int | None = None) -> tuple[Array, int]:
        """Solve for each row of ``values``."""
        out, most = np.empty_like(values), 0
        limit = _MOST_STEPS if limit is None else limit
        for i, y in enumerate(values):
            x, r = np.zeros_like(y), y.copy()
            z = self.factor.T @ (self.factor @ r)
            p, rz = z, float(r @ z)
            stop = rz * TOLERANCE**2
            count = 0
            while rz > stop and count < limit:
                q = self.multiply(p)
                step = rz / float(p @ q)
                x, r = x + step * p, r - step * q
                z = self.factor.T @ (self.factor @ r)
                rz, old = float(r @ z), rz
                p = z + (rz / old) * p
                count += 1
            if rz > stop:
                message = (
                    f"conjugate gradients did not converge in {limit} steps for {y.size} observations; "
                    "noise_std is too small for the signal: give a larger one"
                )
                raise OptionError(message)
            out[i], most = x, max(most, count)
        return out, most


def inverse_factor(prior: SPDE, index: Index, variance: Array) -> Any:
    """Sparse F with F^T F close to (H C H^T + R)^-1."""
    import scipy.sparse as sp

    from xatmo.assimilation.covariance.functions import radial_covariance

    n = variance.size
    radial = radial_covariance(prior)
    width, height = prior.width[prior.rows], prior.height[prior.rows]
    north = np.cumsum(height) - height / 2
    n_columns = prior.n_column if prior.n_column == prior.shape[2] else None
    points = np.stack([
        index[0] * prior.time_step / (2 * prior.time_scale),
        north[index[1]] / prior.length_scale,
        index[2] * width[index[1]] / prior.length_scale,
    ], axis=1)  # fmt: skip

    exact = has_table(prior)

    def covariance(one: NDArray[np.intp], other: NDArray[np.intp]) -> Array:
        if exact:
            pair = [cast(Index, tuple(i[k] for i in index)) for k in (one, other)]
            return prior.covariance(*pair) + np.where(one == other, variance[one], 0)
        apart = np.abs(index[2][one] - index[2][other])
        if n_columns:
            apart = np.minimum(apart, n_columns - apart)
        east = apart * (width[index[1][one]] + width[index[1][other]]) / 2
        distance = np.hypot(east, north[index[1][one]] - north[index[1][other]])
        lag = np.asarray((index[0][one] - index[0][other]) * prior.time_step, dtype=np.float64)
        return radial(distance, lag) + np.where(one == other, variance[one] + 1e-3 * prior.signal_std**2, 0)

    order = np.random.default_rng(0).permutation(n)
    neighbours = earlier_neighbours(points[order], _NEIGHBOURS)
    rows, columns, entries = [], [], []
    for start in range(0, n, 2048):
        block = neighbours[start : start + 2048]
        place = np.arange(start, start + len(block))
        known = block >= 0
        local = np.concatenate([np.where(known, block, place[:, None]), place[:, None]], axis=1)
        matrix = covariance(order[local][:, :, None], order[local][:, None, :])
        missing = np.concatenate([~known, np.zeros((len(block), 1), bool)], axis=1)
        matrix[missing[:, :, None] | missing[:, None, :]] = 0
        matrix[missing[:, :, None] & missing[:, None, :] & np.eye(local.shape[1], dtype=bool)] = 1
        unit = np.zeros((len(block), local.shape[1], 1))
        unit[:, -1] = 1
        solved = np.linalg.solve(matrix, unit)[..., 0]
        bad = ~(np.isfinite(solved).all(axis=1) & (solved[:, -1] > 0))  # indefinite to rounding: no neighbours
        solved[bad] = 0
        solved[bad, -1] = 1 / matrix[bad, -1, -1]
        solved /= np.sqrt(solved[:, -1:])
        keep = ~missing
        rows.append(np.broadcast_to(place[:, None], local.shape)[keep])
        columns.append(order[local][keep])
        entries.append(solved[keep])
    return sp.csr_array((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))


def earlier_neighbours(points: Array, count: int) -> NDArray[np.intp]:
    """Nearest points with a lower index, ``(n, count)``; -1 where there are fewer."""
    from scipy.spatial import cKDTree

    n = len(points)
    out = np.full((n, count), -1, dtype=np.intp)
    stop = n
    while stop > 1:
        start = stop // 2 if stop > count else 1
        tree = cKDTree(points[:stop])
        asked = min(3 * count, stop)
        found = tree.query(points[start:stop], k=asked)[1].reshape(stop - start, asked)
        here = np.arange(start, stop)[:, None]
        rank = np.where(found < here, np.arange(asked), asked + 1)
        best = np.argsort(rank, axis=1, kind="stable")[:, :count]
        chosen = np.take_along_axis(found, best, axis=1)
        valid = np.take_along_axis(rank, best, axis=1) <= asked
        out[start:stop, : chosen.shape[1]] = np.where(valid, chosen, -1)
        stop = start
    return out
