"""Nested dissection: Cholesky factors of precisions on (time, row, column), by dense blocks.

A matrix whose entries join nodes at most w rows and w columns apart falls apart when w rows (or columns) are taken out.
Both halves are cut likewise, down to small boxes; boxes are eliminated first, then what parted them. All times of a
cell are kept together. Each box or cut is one dense *front*, so that the work is that of BLAS: about
``7 (w T n)^3`` multiplications on n x n cells with T times, against ``(T n^2)^3 / 6`` of a dense matrix.

After George (1973), "Nested dissection of a regular finite element mesh", and Duff and Reid (1983) for the fronts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from xatmo.assimilation.advection._sparse import indefinite
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Box: TypeAlias = tuple[int, int, int, int]
Run: TypeAlias = tuple[slice, slice, bool]

_PANEL = 512  # LAPACK's own Cholesky is slower than products of halves above


@dataclass
class Front:
    """One dense step of the elimination; nodes are counted in the order of elimination.

    Attributes
    ----------
    start, stop : int
        Nodes eliminated here.
    border : array of int
        Nodes eliminated later with which they are joined, ascending.
    children : list of int
        Fronts whose remainders are added here.
    runs : list of (slice of the border, slice in the parent, whether among the parent's own)
        Where the border lies in the parent's front.
    """

    start: int
    stop: int
    border: Ints
    children: list[int] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Nodes eliminated here, and of the border."""
        return self.stop - self.start, self.border.size


class Dissection:
    """Order of elimination on a grid.

    Parameters
    ----------
    shape : (time, row, column)
    reach : int
        Rows and columns across which entries join nodes, at most.
    periodic : (rows, columns)

    Attributes
    ----------
    order : array (node,) of int
        Nodes in C order of (time, row, column), as they are eliminated.
    fronts : list of Front
        Children before parents.

    Examples
    --------
    >>> plan = Dissection((2, 20, 30), 1, (False, False))
    >>> sorted(plan.order.tolist()) == list(range(1200))
    True
    """

    def __init__(self, shape: tuple[int, int, int], reach: int, periodic: tuple[bool, bool]) -> None:
        self.shape, self.reach, self.periodic = shape, max(reach, 1), periodic
        self._cells: list[Ints] = []
        self._boxes: list[Box] = []  # all that is eliminated by then, to find the borders
        self._count = 0
        children = self._cut((0, shape[1], 0, shape[2]), periodic)
        n_time, n_cell = shape[0], shape[1] * shape[2]
        cells = np.concatenate(self._cells)
        self.order: Ints = (np.arange(n_time) * n_cell + cells[:, None]).ravel()
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(self.order.size)
        position = np.empty(n_cell, dtype=np.intp)
        position[cells] = np.arange(n_cell)
        self.fronts: list[Front] = []
        stop = 0
        for own, box in zip(self._cells, self._boxes, strict=True):
            start, stop = stop, stop + own.size
            later = position[self._around(box)]
            border = np.sort(later[later >= stop])
            nodes = (border[:, None] * n_time + np.arange(n_time)).ravel()
            self.fronts.append(Front(start * n_time, stop * n_time, nodes))
        self.root = len(self.fronts) - 1
        self._link(children)

    def _cut(self, box: Box, periodic: tuple[bool, bool]) -> list[tuple[int, list[Any]]]:
        """Order the cells of a box; give the tree of its fronts as (front, children)."""
        r0, r1, c0, c1 = box
        w, high, wide = self.reach, r1 - r0, c1 - c0
        if high <= 0 or wide <= 0:
            return []
        whole = box
        if periodic[1] and wide > 3 * w:  # a ring is cut open first
            below = self._cut((r0, r1, c0 + w, c1), (periodic[0], False))
            return self._add((r0, r1, c0, c0 + w), whole, below)
        if periodic[0] and high > 3 * w:
            below = self._cut((r0 + w, r1, c0, c1), (False, periodic[1]))
            return self._add((r0, r0 + w, c0, c1), whole, below)
        across = [0 if around else size for size, around in zip((high, wide), periodic, strict=True)]
        if max(across) <= 2 * w + 2:  # small; or a ring too narrow to be cut
            return self._add(box, whole, [])
        if across[0] >= across[1]:
            middle = r0 + (high - w) // 2
            parts: list[Box] = [(r0, middle, c0, c1), (middle + w, r1, c0, c1)]
            cut: Box = (middle, middle + w, c0, c1)
        else:
            middle = c0 + (wide - w) // 2
            parts = [(r0, r1, c0, middle), (r0, r1, middle + w, c1)]
            cut = (r0, r1, middle, middle + w)
        below = [tree for part in parts for tree in self._cut(part, periodic)]
        return self._add(cut, whole, below)

    def _add(self, own: Box, whole: Box, below: list[Any]) -> list[tuple[int, list[Any]]]:
        r0, r1, c0, c1 = own
        index = np.arange(self.shape[1] * self.shape[2]).reshape(self.shape[1:])[r0:r1, c0:c1]
        along = index if r1 - r0 >= c1 - c0 else index.T  # what lies beside a part of a cut is one run
        self._cells.append(along.ravel())
        self._boxes.append(whole)
        self._count += 1
        return [(self._count - 1, below)]

    def _around(self, box: Box) -> Ints:
        """Cells within reach of a box, itself included."""
        axes = []
        for low, high, size, around in zip(box[::2], box[1::2], self.shape[1:], self.periodic, strict=True):
            line = np.arange(low - self.reach, high + self.reach)
            axes.append(np.unique(line % size) if around else line[(line >= 0) & (line < size)])
        return cast(Ints, (axes[0][:, None] * self.shape[2] + axes[1]).ravel())

    def _link(self, trees: Sequence[tuple[int, list[Any]]]) -> None:
        for parent, below in trees:
            front = self.fronts[parent]
            own = front.stop - front.start
            for child, _ in below:
                front.children.append(child)
                node = self.fronts[child].border
                here = node < front.stop
                at = np.where(here, node - front.start, own + np.searchsorted(front.border, node))
                breaks = np.flatnonzero((np.diff(at) != 1) | (np.diff(here.astype(int)) != 0)) + 1
                for part in np.split(np.arange(node.size), breaks):
                    first = int(at[part[0]]) - (0 if here[part[0]] else own)
                    source = slice(int(part[0]), int(part[-1]) + 1)
                    self.fronts[child].runs.append((source, slice(first, first + part.size), bool(here[part[0]])))
            self._link(below)

    def scatter(self, matrix: Any) -> list[tuple[Ints, Array, Ints, Array]]:
        """Sort the lower triangle of a sparse symmetric matrix by fronts: places and entries, own and border.

        Raises
        ------
        OptionError
            If an entry joins nodes beyond reach.
        """
        entries = matrix.tocoo()
        row, column = self.place[entries.row], self.place[entries.col]
        low = row >= column
        row, column, data = row[low], column[low], entries.data[low]
        sort = np.argsort(column, kind="stable")
        row, column, data = row[sort], column[sort], data[sort]
        bounds = np.searchsorted(column, [f.start for f in self.fronts] + [self.order.size])
        out = []
        for front, first, last in zip(self.fronts, bounds[:-1], bounds[1:], strict=True):
            r, c, d = row[first:last], column[first:last] - front.start, data[first:last]
            n_own, n_border = front.size
            own = r < front.stop
            beyond = np.searchsorted(front.border, r[~own])
            if beyond.size and (beyond.max() >= n_border or (front.border[beyond] != r[~own]).any()):
                message = (
                    f"an entry beyond a reach of {self.reach} cells came; wanted none: dissect with a larger reach"
                )
                raise OptionError(message)
            out.append((r[own] - front.start + n_own * c[own], d[own], beyond + n_border * c[~own], d[~own]))
        return out

    @property
    def work(self) -> float:
        """Multiplications of a factorisation."""
        sizes = np.array([f.size for f in self.fronts], dtype=np.float64)
        s, b = sizes.T
        return float((s**3 / 6 + s**2 * b / 2 + s * b**2 / 2).sum())

    @property
    def entries(self) -> float:
        """Entries of a factor."""
        sizes = np.array([f.size for f in self.fronts], dtype=np.float64)
        return float((sizes[:, 0] ** 2 + sizes.prod(axis=1)).sum())


@lru_cache(maxsize=8)
def dissect(shape: tuple[int, int, int], reach: int, periodic: tuple[bool, bool]) -> Dissection:
    """Give the order of elimination on a grid, made once."""
    return Dissection(shape, reach, periodic)


class FrontFactor:
    """Cholesky factor of a symmetric positive definite matrix on a grid.

    Parameters
    ----------
    plan : Dissection
    parts : lists of entries
        Of `Dissection.scatter`; the matrix is their sum.

    Raises
    ------
    OptionError
        If the matrix is not positive definite.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> matrix = sp.csc_array([[2.0, 1.0], [1.0, 2.0]])
    >>> plan = dissect((1, 1, 2), 1, (False, False))
    >>> FrontFactor(plan, plan.scatter(matrix)).solve(np.array([3.0, 3.0])).round(12).tolist()
    [1.0, 1.0]
    """

    def __init__(self, plan: Dissection, *parts: list[tuple[Ints, Array, Ints, Array]]) -> None:
        self.plan = plan
        self._own: list[Array] = []
        self._below: list[Array] = []
        rest: dict[int, Array] = {}
        spare = _Spare()
        for k, front in enumerate(plan.fronts):
            n_own, n_border = front.size
            own, below = np.zeros(n_own * n_own), np.zeros(n_border * n_own)
            for part in parts:
                own[part[k][0]] += part[k][1]
                below[part[k][2]] += part[k][3]
            own, below = own.reshape((n_own, n_own), order="F"), below.reshape((n_border, n_own), order="F")
            remain = spare.zeros(n_border)
            for child in front.children:
                left = rest.pop(child)
                _add_lower(own, below, remain, plan.fronts[child].runs, left)
                spare.give(left)
            own = cholesky(own)
            if n_border:
                below = blas.dtrsm(1.0, own, below, side=1, lower=1, trans_a=1, overwrite_b=1)
                rest[k] = blas.dsyrk(-1.0, below, beta=1.0, c=remain, lower=1, overwrite_c=1)
            self._own.append(own)
            self._below.append(below)

    def log_determinant(self) -> float:
        """Logarithm of the determinant."""
        return 2 * float(sum(np.log(np.diagonal(own)).sum() for own in self._own))

    def solve(self, right: Array) -> Array:
        """``Q^-1 right`` for (n,) or (n, columns)."""
        x = self._sorted(right)
        for front, own, below in zip(self.plan.fronts, self._own, self._below, strict=True):
            part = blas.dtrsm(1.0, own, x[front.start : front.stop], lower=1)
            x[front.start : front.stop] = part
            if front.border.size:
                x[front.border] -= below @ part
        return self._backward(x).reshape(np.shape(right))

    def sample(self, white: Array) -> Array:
        """Turn white noise (n,) or (n, columns) into fields with covariance ``Q^-1``."""
        return self._backward(self._sorted(white)).reshape(np.shape(white))

    def _sorted(self, right: Array) -> Array:
        two = np.asarray(right, dtype=np.float64).reshape(len(right), -1)
        return two[self.plan.order]

    def _backward(self, x: Array) -> Array:
        for front, own, below in zip(
            reversed(self.plan.fronts), reversed(self._own), reversed(self._below), strict=True
        ):
            part = x[front.start : front.stop]
            if front.border.size:
                part = part - below.T @ x[front.border]
            x[front.start : front.stop] = blas.dtrsm(1.0, own, part, lower=1, trans_a=1)
        return x[self.plan.place]

    def inverse_diagonal(self) -> Array:
        """Diagonal (n,) of the inverse, exact, from the last front to the first.

        With G = L21 L11^-1 of a front and the inverse on its border known, the inverse on its own nodes is
        ``(L11 L11^T)^-1 + G^T inverse G``, and ``-inverse G`` between both: about three times the work of the factor.
        """
        out = np.empty(self.plan.order.size)
        known: dict[int, Array] = {self.plan.root: np.zeros((0, 0))}
        for k in range(self.plan.root, -1, -1):
            front = self.plan.fronts[k]
            own = self._own[k]
            around = known.pop(k)
            gain = blas.dtrsm(1.0, own, self._below[k], side=1, lower=1) if around.size else self._below[k]
            between = blas.dsymm(-1.0, around, gain, lower=1) if around.size else gain
            if not front.children:
                root = lapack.dtrtri(own, lower=1)[0]
                inner = np.einsum("ij,ij->j", np.tril(root), root)
                out[front.start : front.stop] = inner - np.einsum("ij,ij->j", gain, between)
                continue
            inverse = mirrored(lapack.dpotri(own, lower=1)[0])
            if around.size:
                inverse -= gain.T @ between
            out[front.start : front.stop] = np.diagonal(inverse)
            for child in front.children:
                known[child] = _taken(inverse, between, around, self.plan.fronts[child].runs)
        return out[self.plan.place]


class _Spare:
    """Square arrays used again: fresh memory costs more time than the arithmetic done in it."""

    def __init__(self) -> None:
        self._free: list[Array] = []

    def zeros(self, n: int) -> Array:
        """(n, n) of zeros, columns contiguous."""
        fitting = [i for i, a in enumerate(self._free) if a.size >= n * n]
        if not fitting:
            return np.zeros((n, n), order="F")
        flat = self._free.pop(min(fitting, key=lambda i: self._free[i].size))[: n * n]
        flat[:] = 0
        return flat.reshape((n, n), order="F")

    def give(self, used: Array) -> None:
        """Take back an array that nobody reads any more."""
        whole = used if used.base is None else used.base
        self._free.append(cast(Array, whole.reshape(-1, order="F")))


def _add_lower(own: Array, below: Array, remain: Array, runs: list[Run], rest: Array) -> None:
    """Add the lower triangle of what a child leaves; its border lies in the parent in ascending order."""
    for i, (row, to_row, row_own) in enumerate(runs):
        for column, to_column, column_own in runs[: i + 1]:
            target = own if row_own else below if column_own else remain
            target[to_row, to_column] += rest[row, column]


def _taken(own: Array, below: Array, remain: Array, runs: list[Run]) -> Array:
    """Lower triangle of the parent's inverse on the border of a child."""
    size = runs[-1][0].stop if runs else 0
    out = np.zeros((size, size), order="F")
    for i, (row, from_row, row_own) in enumerate(runs):
        for column, from_column, column_own in runs[: i + 1]:
            source = own if row_own else below if column_own else remain
            out[row, column] = source[from_row, from_column]
    return out


def mirrored(lower: Array) -> Array:
    full = np.tril(lower)
    full += np.tril(lower, -1).T
    return np.asfortranarray(full)


def cholesky(matrix: Array) -> Array:
    """Lower Cholesky factor, of the lower triangle; what is above stays undefined."""
    n = len(matrix)
    if n <= _PANEL:
        out, info = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if info:
            raise OptionError(indefinite())
        return cast(Array, out)
    half = n // 2
    first = cholesky(np.asfortranarray(matrix[:half, :half]))
    below = blas.dtrsm(1.0, first, np.asfortranarray(matrix[half:, :half]), side=1, lower=1, trans_a=1, overwrite_b=1)
    last = blas.dsyrk(-1.0, below, beta=1.0, c=np.asfortranarray(matrix[half:, half:]), lower=1, overwrite_c=1)
    matrix[:half, :half], matrix[half:, :half], matrix[half:, half:] = first, below, cholesky(last)
    return matrix
