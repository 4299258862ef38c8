"""Change fine values so that their means over coarse cells are given ones: plain arrays, in float64.

Columns belong to one coarse cell each. Rows may lie in two, where coarse edges cut them: what a cell still lacks or has
too much after those rows are decided goes to the rows that are its own, so that the means hold exactly, whatever the
neighbours do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from xatmo.regrid.separable import Weights

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

KINDS = ("additive", "multiplicative", "softmax")

EMPTY = 1e-6
"""A pattern whose mean is below this part of the value that it shall have counts as no pattern."""

# Overlaps below this part of a cell are rounding.
_SLIVER = 1e-9
# exp() of more is not needed: the rest of the cell is nothing beside it.
_MOST = 500.0
# Numbers that are worked on at once, so that temporary arrays stay small.
_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Cells:
    """Which coarse cells a rectangle of fine ones lies in, and with what area.

    Attributes
    ----------
    upper : int array (nlat,)
        Coarse row of each fine row; the first of the two where it lies in two.
    area : array (nlat,)
        Extent of the fine row inside that coarse row.
    shared : int array (n_shared,)
        Fine rows that lie in the next coarse row, too.
    below : array (n_shared,)
        Extent of these inside the next coarse row.
    own : bool array (nlat,)
        Whether a fine row lies in one coarse row only.
    block, width : array (nlon,)
        Coarse column of each fine column, and its extent.
    shape : (int, int)
        Coarse rows and columns.
    """

    upper: Ints
    area: Floats
    shared: Ints
    below: Floats
    own: NDArray[np.bool_]
    block: Ints
    width: Floats
    shape: tuple[int, int]

    @classmethod
    def of(cls, weights: Weights, height: Floats, width: Floats) -> Self:
        """Read them from the weights of a coarsening and the extents of its coarse rows and columns."""
        return cls._of_matrices(
            sparse.csr_array(weights.lat.matrix.multiply(height[:, None])),
            sparse.csr_array(weights.lon.matrix.multiply(width[:, None])),
        )

    @classmethod
    def _of_matrices(cls, lat: sparse.csr_array, lon: sparse.csr_array) -> Self:
        upper, area, shared, below = _memberships(lat)
        block, extent, twice, _ = _memberships(lon)
        if twice.size:  # coarsening() never cuts columns
            raise AssertionError(twice)
        own = np.ones(upper.size, dtype=bool)
        own[shared] = False
        return cls(upper, area, shared, below, own, block, extent, (lat.shape[0], lon.shape[0]))

    def around(self, rows: slice, columns: slice) -> tuple[Cells, slice, slice, slice, slice]:
        """Find what decides a rectangle of fine cells.

        Returns
        -------
        cells : Cells
            Of a larger rectangle, which has every coarse cell that counts, whole.
        fine_rows, fine_columns, coarse_rows, coarse_columns : slice
            Where this larger rectangle lies.
        """
        n_rows = self.shape[0]
        lower = self.upper.copy()
        lower[self.shared] += 1
        first, last = int(self.upper[rows][0]), int(lower[rows][-1])
        if self.shared.size:  # what neighbours have decides the rows between
            first, last = max(0, first - 1), min(n_rows - 1, last + 1)
        inside = np.flatnonzero((lower >= first) & (self.upper <= last))
        fine_rows = slice(int(inside[0]), int(inside[-1]) + 1)
        left, right = int(self.block[columns][0]), int(self.block[columns][-1])
        across = np.flatnonzero((self.block >= left) & (self.block <= right))
        fine_columns = slice(int(across[0]), int(across[-1]) + 1)
        upper, area = self.upper[fine_rows] - first, self.area[fine_rows].copy()
        at = np.flatnonzero((self.shared >= fine_rows.start) & (self.shared < fine_rows.stop))
        shared, below = self.shared[at] - fine_rows.start, self.below[at]
        # Of a row that is shared with a cell outside, the part inside counts.
        out = upper[shared] < 0
        area[shared[out]] = below[out]
        upper[shared[out]] = 0
        keep = ~out & (upper[shared] < last - first)
        cells = Cells(
            upper, area, shared[keep], below[keep], self.own[fine_rows], self.block[fine_columns] - left,
            self.width[fine_columns], (last - first + 1, right - left + 1),
        )  # fmt: skip
        return cells, fine_rows, fine_columns, slice(first, last + 1), slice(left, right + 1)

    # ------------------------------------------------------------------ sums
    def across(self, values: Array) -> Floats:
        """Integrate along longitude, ``(..., nlat, nlon) -> (..., nlat, J)``."""
        starts = np.flatnonzero(np.diff(self.block, prepend=-1))
        return np.asarray(np.add.reduceat(values * self.width, starts, axis=-1))

    def down(self, strips: Floats, below: Floats | None, rows: NDArray[np.bool_] | None = None) -> Floats:
        """Integrate along latitude, ``(..., nlat, J) -> (..., I, J)``.

        ``below`` are the strips of the shared rows as the lower cell sees them, ``(..., n_shared, J)``; None: leave
        them out. ``rows`` are those that count for the upper cell.
        """
        area = self.area if rows is None else np.where(rows, self.area, 0.0)
        starts = np.flatnonzero(np.diff(self.upper, prepend=-1))
        out = np.asarray(np.add.reduceat(strips * area[:, None], starts, axis=-2))
        if below is not None and self.shared.size:
            out[..., self.upper[self.shared] + 1, :] += below * self.below[:, None]
        return out

    def spread(self, values: Array, rows: Ints | None = None) -> Array:
        """Give every fine cell the value of its (upper) coarse cell; of some rows only, where told."""
        upper = self.upper if rows is None else rows
        return self.along(values[..., upper, :])

    def along(self, strips: Array) -> Array:
        """Give every fine column the value of its coarse one, ``(..., nlat, J) -> (..., nlat, nlon)``."""
        return np.repeat(strips, np.bincount(self.block), axis=-1)


def _memberships(matrix: sparse.csr_array) -> tuple[Ints, Floats, Ints, Floats]:
    """First target of each source with its weight, the sources that have a second one, and its weight."""
    entries = matrix.tocoo()
    size = matrix.shape[1]
    most = np.zeros(size)
    np.maximum.at(most, entries.col, entries.data)
    real = entries.data > _SLIVER * most[entries.col]
    target, source, weight = entries.row[real], entries.col[real], entries.data[real]
    order = np.lexsort((target, source))
    target, source, weight = target[order], source[order], weight[order]
    begins = np.flatnonzero(np.diff(source, prepend=-1))
    second = begins + 1
    second = second[(second < source.size)]
    second = second[source[second] == source[second - 1]]
    return (
        target[begins].astype(np.intp), weight[begins], source[second].astype(np.intp), weight[second],
    )  # fmt: skip


# ---------------------------------------------------------------------- the constraints
def constrain(
    fine: Array, coarse: Array, cells: Cells, kind: str, *, cut: tuple[slice, slice] = (slice(None), slice(None))
) -> Array:
    """Constrain fine values.

    Parameters
    ----------
    fine : array (..., nlat, nlon)
        NaN where missing; these stay, and count in no mean.
    coarse : array (..., I, J)
        Means to have; leading dimensions broadcast to those of ``fine``. NaN: no constraint.
    cells : Cells
    kind : {"additive", "multiplicative", "softmax"}
    cut : (slice, slice)
        Rows and columns wanted.

    Returns
    -------
    array (..., nlat, nlon)
        The part wanted, of the type of ``fine``; float64 for integers.
    """
    dtype = fine.dtype if fine.dtype.kind == "f" else np.dtype(np.float64)
    shape = fine.shape
    flat = fine.reshape(-1, *shape[-2:])
    given = np.broadcast_to(coarse, (*shape[:-2], *cells.shape)).reshape(-1, *cells.shape)
    out = np.empty(flat[(..., *cut)].shape, dtype)
    step = max(1, _AT_ONCE // max(1, flat[:1].size))
    for start in range(0, flat.shape[0], step):
        at = slice(start, start + step)
        y, x = flat[at].astype(np.float64), given[at].astype(np.float64)
        lost = np.isnan(y)
        valid = None if not lost.any() else ~lost
        if valid is not None:
            y[lost] = 0.0
        made = _additive(y, x, cells, valid) if kind == "additive" else _scaled(y, x, cells, valid, kind)
        if valid is not None:
            made[lost] = np.nan
        out[at] = made[(..., *cut)]
    return out.reshape(*shape[:-2], *out.shape[1:])


def _areas(cells: Cells, valid: Array | None) -> tuple[Floats, Floats, Floats]:
    """Areas that count: of strips ``(..., nlat, J)``, of cells ``(..., I, J)``, of the rows that are theirs alone."""
    strips = cells.across(np.ones((1, 1, cells.block.size)) if valid is None else valid)
    if valid is None:
        strips = np.broadcast_to(strips, (1, cells.upper.size, strips.shape[-1]))
    return strips, cells.down(strips, strips[..., cells.shared, :]), cells.down(strips, None, cells.own)


def _additive(y: Floats, x: Floats, cells: Cells, valid: Array | None) -> Floats:
    strips, area, own_area = _areas(cells, valid)
    sums = cells.across(y)
    total = cells.down(sums, sums[..., cells.shared, :])
    bound = np.isfinite(x) & (own_area > 0)
    lack = np.where(bound, x - total / np.where(area > 0, area, 1.0), 0.0)
    if not cells.shared.size:
        return y + cells.spread(lack)
    above = cells.upper[cells.shared]
    upper, lower = cells.area[cells.shared, None], cells.below[:, None]
    between = (upper * lack[..., above, :] + lower * lack[..., above + 1, :]) / (upper + lower)
    taken = _of_shared(cells, strips[..., cells.shared, :] * between)
    rest = np.where(bound, (area * lack - taken) / np.where(bound, own_area, 1.0), 0.0)
    rows = rest[..., cells.upper, :]
    rows[..., cells.shared, :] = between
    return np.asarray(y + cells.along(rows))


def _of_shared(cells: Cells, strips: Floats) -> Floats:
    """Integrate the shared rows alone over the cells that they lie in."""
    out = np.zeros((*strips.shape[:-2], *cells.shape))
    above = cells.upper[cells.shared]
    out[..., above, :] += strips * cells.area[cells.shared, None]
    out[..., above + 1, :] += strips * cells.below[:, None]
    return out


def _scaled(y: Floats, x: Floats, cells: Cells, valid: Array | None, kind: str) -> Floats:
    """Scale a non-negative pattern in each cell; values take the sign of the coarse one."""
    _, area, own_area = _areas(cells, valid)
    bound = np.isfinite(x) & (own_area > 0)
    sign = np.where(x < 0, -1.0, 1.0)
    size = np.where(bound, np.abs(x), 0.0)
    own, shared = cells.own, cells.shared
    above = cells.upper[shared]
    between: Floats | None = None
    if kind == "softmax":
        unit = np.where(size > 0, x, 1.0)
        highest = _highest(
            _ratio(y, cells.spread(unit)), cells, own[:, None] if valid is None else valid & own[:, None]
        )

        def pattern_of(rows: Floats, at: Ints) -> Floats:
            steps = _ratio(rows, cells.spread(unit, at)) - cells.spread(highest, at)
            return np.asarray(np.exp(np.minimum(steps, _MOST)) * cells.spread(size, at))
    else:

        def pattern_of(rows: Floats, at: Ints) -> Floats:
            return np.asarray(np.maximum(rows * cells.spread(sign, at), 0.0))

    pattern = pattern_of(y, cells.upper)
    if valid is not None:
        pattern *= valid
    sums = cells.across(pattern)
    alone = cells.down(sums, None, own)
    budget = area * size
    if shared.size:
        below = pattern_of(y[..., shared, :], above + 1)
        if valid is not None:
            below *= valid[..., shared, :]
        total = cells.down(sums, cells.across(below))
        empty = total <= EMPTY * budget
        scale = np.where(empty, 0.0, budget / np.where(empty, 1.0, total))
        flat = np.where(empty, size, 0.0)
        # What each of the two cells would put into the rows between them.
        wishes = (
            pattern[..., shared, :] * cells.spread(scale, above) + cells.spread(flat, above),
            below * cells.spread(scale, above + 1) + cells.spread(flat, above + 1),
        )
        here, there = cells.spread(bound, above), cells.spread(bound, above + 1)
        signs = cells.spread(sign, above), cells.spread(sign, above + 1)
        row = y[..., shared, :]
        # A cell that is not bound takes its rows as they are.
        upper_wish = np.where(here, wishes[0], np.maximum(row * signs[1], 0.0))
        lower_wish = np.where(there, wishes[1], np.maximum(row * signs[0], 0.0))
        alike = (signs[0] == signs[1]) | ~here | ~there
        # Their mean, but so little that half of what is due to a cell's own rows is left to them.
        part = 1 - np.where(empty, own_area / np.where(area > 0, area, 1.0), alone / np.where(empty, 1.0, total))
        most = np.where(bound, (1 + part) / (2 * np.maximum(part, EMPTY)), 1 / EMPTY)
        weight = cells.area[shared, None] / (cells.area[shared, None] + cells.below[:, None])
        put = weight * upper_wish + (1 - weight) * lower_wish
        put = np.minimum(put, upper_wish * cells.spread(most, above))
        put = np.minimum(put, lower_wish * cells.spread(most, above + 1))
        put = np.where(alike, put, 0.0)
        if valid is not None:
            put *= valid[..., shared, :]
        budget = np.maximum(budget - _of_shared(cells, cells.across(put)), 0.0)
        between = np.where(here | there, put * np.where(here, signs[0], signs[1]), row)
    empty = alone <= EMPTY * budget
    scale = np.where(empty, 0.0, budget / np.where(empty, 1.0, alone)) * sign
    flat = np.where(empty, budget / np.where(own_area > 0, own_area, 1.0), 0.0) * sign
    out = pattern * cells.spread(scale)
    if flat.any():
        out += cells.spread(flat)
    if not bound.all():
        out = np.where(cells.spread(bound), out, y)
    if between is not None:
        out[..., shared, :] = between
    return np.asarray(out)


def _ratio(y: Floats, unit: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(y / unit, -1e300, 1e300))


def _highest(steps: Floats, cells: Cells, count: Array) -> Floats:
    """Highest value in the part of each cell that counts, ``(..., I, J)``; 0 where nothing does."""
    starts = np.flatnonzero(np.diff(cells.block, prepend=-1)), np.flatnonzero(np.diff(cells.upper, prepend=-1))
    inside = np.where(count, steps, -np.inf)
    strips = np.maximum.reduceat(inside, starts[0], axis=-1)
    found = np.maximum.reduceat(strips, starts[1], axis=-2)
    return np.asarray(np.where(np.isfinite(found), found, 0.0))
