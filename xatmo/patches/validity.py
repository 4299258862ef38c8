"""Which part of every window holds data: counted in one pass over the chunks, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.patches._schedule import Axis, Layout
from xatmo.patches.plan import Plan

Array = NDArray[Any]
Integers = NDArray[np.int64]
Cut = tuple[Integers, Integers, Integers]


def count_windows(
    layout: Layout,
    plan: Plan,
    *,
    threads: int = 1,
    test: Callable[[Array], Array] = np.isfinite,
) -> NDArray[np.float64]:
    """Fraction of the points of each window that pass a test, ``plan.shape``.

    Each chunk is read once; its points count for every window that reaches into it, through running sums along one
    dimension after another. Dimensions that the field lacks have length 1 in the result.

    Parameters
    ----------
    layout : Layout
        The field under the plan.
    plan : Plan
    threads : int
        Chunks that are read at a time.
    test : callable
        What makes a point valid: finite numbers, unless given.
    """
    present = [a for a, axis in enumerate(layout.axes) if axis is not None]
    axes = [axis for axis in layout.axes if axis is not None]
    tables = [_windows_by_chunk(axis, plan.starts[plan.dims[a]]) for a, axis in zip(present, axes, strict=True)]
    counts = np.zeros([n if a in present else 1 for a, n in enumerate(plan.shape)])

    def one(key: tuple[int, ...]) -> tuple[tuple[Integers, ...], Array]:
        block: Array = np.count_nonzero(test(layout.read(key)), axis=0)
        windows: list[Integers] = [np.zeros(1, dtype=np.int64)] * counts.ndim
        for a, c, table in zip(present, key, tables, strict=True):
            windows[a], block = _along(block, a, table[c])
        return np.ix_(*windows), block

    keys = [
        key
        for key in product(*(range(len(t)) for t in tables))
        if all(t[c][0].size for c, t in zip(key, tables, strict=True))
    ]
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for where, block in _bounded(pool, one, keys, 2 * threads):
            counts[where] += block
    points = layout.channels * math.prod(axis.length for axis in axes)
    return np.asarray(counts / points)


def _along(block: Array, axis: int, cut: Cut) -> tuple[Integers, Array]:
    """Sum over each window's part of a chunk along one dimension."""
    windows, low, high = cut
    running = np.cumsum(block, axis=axis, dtype=np.int64)
    running = np.concatenate([np.zeros_like(running.take([0], axis=axis)), running], axis=axis)
    parts = running.take(high, axis=axis) - running.take(low, axis=axis)
    first = np.flatnonzero(np.diff(windows, prepend=-1))  # a window that wraps may lie in one chunk twice
    return windows[first], np.add.reduceat(parts, first, axis=axis)


def _windows_by_chunk(axis: Axis, starts: Integers) -> list[Cut]:
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(axis.edges.size - 1)]
    for k, start in enumerate(starts.tolist()):
        for chunk, part, _ in axis.pieces(start):
            found[chunk].append((k, part.start, part.stop))
    table = [np.array(rows, dtype=np.int64).reshape(-1, 3) for rows in found]
    return [(rows[:, 0], rows[:, 1], rows[:, 2]) for rows in table]


def _bounded(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any], ahead: int
) -> Iterable[Any]:
    """Map in threads, in order, with no more than ``ahead`` results waiting."""
    waiting: list[Any] = []
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= max(ahead, 1):
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
