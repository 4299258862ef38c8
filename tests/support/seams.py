"""Whether the borders of windows show in a field."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def roughness(values: np.ndarray, axis: int, *, around: bool) -> np.ndarray:
    """Mean size of the jump between neighbours, less what the slopes on both sides explain, for each pair of them.

    The jump from ``y[j]`` to ``y[j + 1]`` minus the mean of the steps before and after it: half of the third
    difference. Number ``j`` of the result belongs to the border between ``j - 1`` and ``j``; the mean is over all else.
    Where the axis does not go around, the first and the last two borders are NaN.
    """
    y = np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1).reshape(-1, values.shape[axis])
    before, here, after, beyond = (np.roll(y, shift, axis=-1) for shift in (2, 1, 0, -1))
    jump = abs((after - here) - ((here - before) + (beyond - after)) / 2).mean(axis=0)
    if not around:
        jump[[0, 1, -1]] = np.nan
    return jump


def seam_score(values: np.ndarray, axis: int, borders: Iterable[int], *, step: int = 1, around: bool = False) -> float:
    """By how many standard errors the field is rougher at ``borders`` than elsewhere.

    Parameters
    ----------
    values : array
        In a homogeneous field this is about standard normal if the borders do not show.
    axis : int
    borders : iterable of int
        Points before which a window begins or ends to count.
    step : int
        Refined fields repeat their texture in every coarse cell: borders are compared with those at the same place in
        other cells, ``step`` points apart.
    around : bool
        Whether the last point is a neighbour of the first.
    """
    jump = roughness(values, axis, around=around)
    n = jump.size
    at = np.zeros(n, dtype=bool)
    at[np.array(sorted({b % n for b in borders}))] = True
    comparable = np.isfinite(jump) & np.isin(np.arange(n) % step, np.unique(np.flatnonzero(at) % step))
    here, elsewhere = jump[at & comparable], jump[~at & comparable]
    error = elsewhere.std(ddof=1) * np.sqrt(1 / here.size + 1 / elsewhere.size)
    return float((here.mean() - elsewhere.mean()) / error)
