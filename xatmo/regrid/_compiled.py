"""Separable weights in one pass over the source, compiled by Numba where it is installed (extra ``fast``).

For each target row the weighted source rows are summed into one row, which stays in the first-level cache, and that row
is summed along longitude. The source is read once and nothing between is written, so the speed is that of memory: about
half the time of the products in `xatmo.regrid._kernels`, which serve everywhere else. Both give the same numbers to
rounding, not to the bit.

Importing Numba takes about 0.3 s, compiling one kind of number about 1 s once per machine (kept on disk, beside this
file or in Numba's own folder), loading what was compiled some 0.05 s once per process. So only blocks of at least
`LEAST_VALUES` values come here: whether they do depends on the block alone, never on what ran before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[Any]

LEAST_VALUES = 1 << 22
"""Source values from which a block is worth it: four fields of 721 x 1440."""

# Taps per target along longitude, at most so many times the weights that are not zero.
_MOST_PADDING = 2
# Numbers of taps for which the loop along longitude is written out: 3 times as fast as one over the taps.
_UNROLLED = (2, 4, 5, 8)


@dataclass(frozen=True, eq=False)
class Stencils:
    """Weights of both axes as the compiled loops take them.

    Attributes
    ----------
    pointer, index : int array (n_rows + 1,), (nnz,)
        Latitude as CSR.
    weight, reach : array (nnz,)
        Its weights, and their absolute values.
    first : int array (n_columns,)
        First source column of each target, counted from ``low``; columns go on around the end of the axis.
    taps, tap_reach : array (n_columns, k)
        Weights of the ``k`` columns from there, and their absolute values.
    low, high : int
        Source columns that count.
    """

    pointer: Array
    index: Array
    weight: Array
    reach: Array
    first: Array
    taps: Array
    tap_reach: Array
    low: int
    high: int


def stencils(lat: sparse.csr_array, lon: sparse.csr_array, dtype: np.dtype[Any]) -> Stencils | None:
    """Prepare weights; None where the columns that a target uses lie too far apart."""
    size = lon.shape[1]
    counts = np.diff(lon.indptr)
    width = int(counts.max(initial=0))
    first, longest = np.zeros(lon.shape[0], np.int64), 1
    for j in np.flatnonzero(counts):
        columns = np.sort(lon.indices[lon.indptr[j] : lon.indptr[j + 1]]).astype(np.int64)
        gaps = np.diff(np.append(columns, columns[0] + size))
        widest = int(np.argmax(gaps))  # the columns begin after the widest gap of the circle
        first[j] = columns[(widest + 1) % columns.size]
        longest = max(longest, size - int(gaps[widest]) + 1)
    if longest > _MOST_PADDING * width + 2 or longest > size:
        return None
    if _UNROLLED[-2] < longest <= _UNROLLED[-1] <= size:
        longest = _UNROLLED[-1]
    inside = np.minimum(first, size - longest)  # no need to go around only because others take more columns
    wraps = (lon.indices < np.repeat(first, counts)).nonzero()[0]
    around = np.zeros(first.size, bool)
    around[np.repeat(np.arange(first.size), counts)[wraps]] = True
    first = np.where(around, first, inside)
    taps = np.zeros((first.size, longest), dtype)
    at = np.repeat(np.arange(first.size), counts)
    taps[at, (lon.indices - first[at]) % size] = lon.data
    low, high = (0, size) if around.any() else (int(first.min()), int(first.max()) + longest)
    weight = lat.data.astype(dtype)
    return Stencils(
        lat.indptr.astype(np.int64), lat.indices.astype(np.int64), weight, np.abs(weight), first - low, taps,
        np.abs(taps), low, high,
    )  # fmt: skip


def apply(stencil: Stencils, fields: Array, out: Array, rows: slice) -> None:
    """Work out some rows of ``(n, nlat, nlon)``; a zero weight times an infinity may be a NaN here."""
    s = stencil
    found = kernels()
    if found is not None:
        found.values(
            fields, out, s.pointer, s.index, s.weight, s.first, s.taps, s.low, s.high, rows.start, rows.stop
        )  # fmt: skip


def apply_to_valid(stencil: Stencils, fields: Array, out: Array, part: Array, rows: slice, *, valid: bool) -> None:
    """Do the same with zero for NaN; ``part`` gets the sums of absolute weights of the valid or missing points."""
    s = stencil
    found = kernels()
    if found is not None:
        found.valid_values(
            fields, out, part, s.pointer, s.index, s.weight, s.reach, s.first, s.taps, s.tap_reach, s.low, s.high,
            rows.start, rows.stop, valid,
        )  # fmt: skip


class Kernels(NamedTuple):
    """The two loops, compiled on their first call for each kind of number."""

    values: Callable[..., None]
    valid_values: Callable[..., None]


@functools.cache
def kernels() -> Kernels | None:
    """Compiled loops; None without Numba, or with its compiler switched off."""
    try:
        import numba
    except ImportError:  # not installed, or too old for this NumPy
        return None
    compiler: Any = numba  # typed in some versions only
    if compiler.config.DISABLE_JIT:
        return None
    # NaN and infinity are told apart afterwards, so nothing may be assumed of them.
    options = {"nogil": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "boundscheck": False}
    try:
        return Kernels(*(compiler.njit(cache=True, **options)(loop) for loop in (_values, _valid_values)))
    except RuntimeError:  # no folder to keep them in
        return Kernels(*(compiler.njit(**options)(loop) for loop in (_values, _valid_values)))


# ---------------------------------------------------------------------- the loops, in the Python that Numba compiles
def _values(
    fields: Any, out: Any, pointer: Any, index: Any, weight: Any, first: Any, taps: Any, low: int, high: int,
    row_start: int, row_stop: int,
) -> None:  # fmt: skip
    size, k, columns = high - low, taps.shape[1], out.shape[2]
    row = np.zeros(size + k, fields.dtype)
    for n in range(fields.shape[0]):
        source = fields[n]
        for i in range(row_start, row_stop):
            p, count = pointer[i], pointer[i + 1] - pointer[i]
            # Sums of some rows at once: each read of the row between costs as much as one of the source.
            if count == 5:
                a = source[index[p]][low:high]
                b = source[index[p + 1]][low:high]
                c = source[index[p + 2]][low:high]
                d = source[index[p + 3]][low:high]
                e = source[index[p + 4]][low:high]
                wa, wb, wc, wd, we = weight[p], weight[p + 1], weight[p + 2], weight[p + 3], weight[p + 4]
                for x in range(size):
                    row[x] = wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x] + we * e[x]
                p += 5
            elif count >= 4:
                a = source[index[p]][low:high]
                b = source[index[p + 1]][low:high]
                c = source[index[p + 2]][low:high]
                d = source[index[p + 3]][low:high]
                wa, wb, wc, wd = weight[p], weight[p + 1], weight[p + 2], weight[p + 3]
                for x in range(size):
                    row[x] = wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x]
                p += 4
            elif count >= 2:
                a, b = source[index[p]][low:high], source[index[p + 1]][low:high]
                wa, wb = weight[p], weight[p + 1]
                for x in range(size):
                    row[x] = wa * a[x] + wb * b[x]
                p += 2
            else:
                for x in range(size):
                    row[x] = 0
            while p + 2 <= pointer[i + 1]:
                a = source[index[p]][low:high]
                b = source[index[p + 1]][low:high]
                wa, wb = weight[p], weight[p + 1]
                for x in range(size):
                    row[x] += wa * a[x] + wb * b[x]
                p += 2
            while p < pointer[i + 1]:
                a, wa = source[index[p]][low:high], weight[p]
                for x in range(size):
                    row[x] += wa * a[x]
                p += 1
            for x in range(k):
                row[size + x] = row[x]
            result = out[n, i]
            if k == 5:
                for j in range(columns):
                    x = first[j]
                    result[j] = (
                        taps[j, 0] * row[x] + taps[j, 1] * row[x + 1] + taps[j, 2] * row[x + 2]
                        + taps[j, 3] * row[x + 3] + taps[j, 4] * row[x + 4]
                    )  # fmt: skip
            elif k == 4:
                for j in range(columns):
                    x = first[j]
                    result[j] = (
                        taps[j, 0] * row[x] + taps[j, 1] * row[x + 1] + taps[j, 2] * row[x + 2]
                        + taps[j, 3] * row[x + 3]
                    )  # fmt: skip
            elif k == 8:
                for j in range(columns):
                    x = first[j]
                    result[j] = (
                        taps[j, 0] * row[x] + taps[j, 1] * row[x + 1] + taps[j, 2] * row[x + 2]
                        + taps[j, 3] * row[x + 3] + taps[j, 4] * row[x + 4] + taps[j, 5] * row[x + 5]
                        + taps[j, 6] * row[x + 6] + taps[j, 7] * row[x + 7]
                    )  # fmt: skip
            elif k == 2:
                for j in range(columns):
                    x = first[j]
                    result[j] = taps[j, 0] * row[x] + taps[j, 1] * row[x + 1]
            else:
                for j in range(columns):
                    x = first[j]
                    total = taps[j, 0] * row[x]
                    for q in range(1, k):
                        total += taps[j, q] * row[x + q]
                    result[j] = total


def _valid_values(
    fields: Any, out: Any, part: Any, pointer: Any, index: Any, weight: Any, reach: Any, first: Any, taps: Any,
    tap_reach: Any, low: int, high: int, row_start: int, row_stop: int, valid: bool,
) -> None:  # fmt: skip
    size, k = high - low, taps.shape[1]
    row, share = np.zeros(size + k, fields.dtype), np.zeros(size + k, fields.dtype)
    for n in range(fields.shape[0]):
        source = fields[n]
        for i in range(row_start, row_stop):
            row[:size] = 0
            share[:size] = 0
            for p in range(pointer[i], pointer[i + 1]):
                a, wa, ra = source[index[p]][low:high], weight[p], reach[p]
                for x in range(size):
                    there = a[x] == a[x]
                    row[x] += wa * a[x] if there else 0
                    share[x] += ra if there == valid else 0
            for x in range(k):
                row[size + x], share[size + x] = row[x], share[x]
            for j in range(out.shape[2]):
                x = first[j]
                total, touched = taps[j, 0] * row[x], tap_reach[j, 0] * share[x]
                for q in range(1, k):
                    total += taps[j, q] * row[x + q]
                    touched += tap_reach[j, q] * share[x + q]
                out[n, i, j], part[n, i, j] = total, touched
