"""Where a tile of a patched output takes its input from, and how overlapping windows add up in it. NumPy only.

A field has *file* order, as the caller stored it, and *canonical* order: rows from north to south, columns of a global
grid from the first meridian at or east of 0 degrees. Windows are laid in canonical cells, so that neither the place
where a file starts nor its chunks decide what a network sees. A *tile* is a range of output points in file order. It
evaluates every window that touches it and keeps its own part, with weights that are normalized over the whole axis;
so each output point is the same sum, in the same order, for any tiling.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Segment = tuple[slice, slice]
"""A range of one axis, and the equally long range of another that it is copied to."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One patched dimension.

    Attributes
    ----------
    cells : int
        Input cells.
    points : int
        Output points. At least one per cell; ``cells * factor`` unless the output grid has some more or fewer.
    factor : int
        Output points per input cell.
    starts : array (n_windows,)
        First canonical input cell of each window, increasing.
    patch : int
        Length of a window in input cells.
    weights : array (patch * factor,)
        Strictly positive blending weights.
    periodic : bool
        Whether windows wrap around.
    flipped : bool
        Whether the file runs against canonical order.
    shift : int
        On a periodic axis: canonical cell ``c`` is cell ``(c + shift) % cells`` of the file.
    margin : int
        Output points at either end of a window that see less than others do. At a border of the field no window sees
        more: there they count in full.
    causal : bool
        For time, where frames are seen with those before them: each output is that of the first window which holds it,
        since that one saw the longest past of it. ``weights`` then do not matter.
    """

    cells: int
    points: int
    factor: int
    starts: Ints
    patch: int
    weights: NDArray[np.float64]
    periodic: bool = False
    flipped: bool = False
    shift: int = 0
    margin: int = 0
    causal: bool = False

    @cached_property
    def padded(self) -> int:
        """Canonical cells that windows are laid on: edge cells are repeated where output points go beyond the input."""
        return padded_cells(self.cells, self.points, self.factor, periodic=self.periodic)

    @cached_property
    def total(self) -> NDArray[np.float64]:
        """Sum of all windows' weights at every canonical output point, ``(padded * factor,)``."""
        n = self.padded * self.factor
        at = (self.starts[:, None] * self.factor + np.arange(self.patch * self.factor)) % n
        weights = np.concatenate([self._before_division(k) for k in range(self.starts.size)])
        return np.asarray(np.bincount(at.ravel(), weights, minlength=n), dtype=np.float64)

    def first_own(self, window: int) -> int:
        """Output point of a window, counted within it, from which on no earlier window holds the same."""
        if not self.causal or window == 0:
            return 0
        return int(self.starts[window - 1] + self.patch - self.starts[window]) * self.factor

    def _before_division(self, window: int) -> NDArray[np.float64]:
        if self.causal:
            return (np.arange(self.weights.size) >= self.first_own(window)).astype(np.float64)
        if self.periodic or not self.margin:
            return self.weights
        weights, start = self.weights.copy(), int(self.starts[window])
        if start == 0:
            weights[: self.margin] = 1.0
        if start + self.patch == self.padded:
            weights[-self.margin :] = 1.0
        return weights

    def window_weights(self, window: int) -> NDArray[np.float64]:
        """Weights of one window, divided by the sum over all windows; all of them add up to 1 at every point."""
        at = np.arange(self.weights.size) + self.starts[window] * self.factor
        return np.asarray(self._before_division(window) / self.total[at % self.total.size])

    def cells_in_file(self, canonical: Ints) -> Ints:
        """File index of canonical cells below ``cells``."""
        if self.flipped:
            return self.cells - 1 - canonical
        return (canonical + self.shift) % self.cells if self.shift else canonical

    def tile(self, low: int, high: int) -> AxisTile:
        """Make the tile of output points ``[low, high)``, in file order."""
        return AxisTile(self, low, high)


def padded_cells(cells: int, points: int, factor: int, *, periodic: bool) -> int:
    """Cells needed so that ``points`` output points lie inside; a periodic axis is never padded.

    Examples
    --------
    >>> padded_cells(180, 721, 4, periodic=False), padded_cells(181, 721, 4, periodic=False)
    (181, 181)
    """
    return cells if periodic else max(cells, -(-points // factor))


@dataclass(frozen=True, eq=False)
class AxisTile:
    """What one axis contributes to a tile: which windows, which input cells, and what goes where."""

    axis: Axis
    low: int
    high: int

    @cached_property
    def points(self) -> Ints:
        """Canonical output points of the tile, in file order."""
        at, axis = np.arange(self.low, self.high), self.axis
        if axis.flipped:
            return axis.points - 1 - at
        n = axis.padded * axis.factor
        return (at - axis.shift * axis.factor) % n if axis.shift else at

    @cached_property
    def windows(self) -> Ints:
        """Indices of the windows that touch the tile, increasing."""
        axis, n = self.axis, self.axis.padded * self.axis.factor
        if axis.causal:
            ends = (axis.starts + axis.patch) * axis.factor  # of what each one answers
            first, last = np.searchsorted(ends, [self.low, self.high - 1], side="right")
            return np.arange(first, last + 1, dtype=np.int64)
        turns = range(-(axis.patch // axis.padded) - 1, 2) if axis.periodic else range(1)
        found = []
        for low, high in _runs(np.sort(self.points)):
            for turn in turns:
                # start * factor < high' and (start + patch) * factor > low', for the range moved by whole turns
                first = np.searchsorted(axis.starts, (low - turn * n) / axis.factor - axis.patch, side="right")
                last = np.searchsorted(axis.starts, (high - turn * n) / axis.factor, side="left")
                found.append(np.arange(first, last))
        return np.unique(np.concatenate(found)).astype(np.int64)

    @cached_property
    def region(self) -> Ints:
        """Canonical input cells that the windows read, increasing, without repeated edge cells."""
        axis = self.axis
        at = (axis.starts[self.windows][:, None] + np.arange(axis.patch)).ravel()
        return np.unique(at % axis.cells if axis.periodic else np.minimum(at, axis.cells - 1))

    @cached_property
    def pad(self) -> int:
        """How often the last cell of the region is repeated."""
        axis = self.axis
        last = int(axis.starts[self.windows[-1]]) + axis.patch
        return 0 if axis.periodic else max(0, last - axis.cells)

    def sources(self, chunks: Sequence[int]) -> list[tuple[int, slice, slice]]:
        """Chunks to read: index, the slice inside it, and where it goes in the region (backwards if flipped)."""
        region = self.region
        order = np.argsort(self.axis.cells_in_file(region), kind="stable")
        in_file, place = self.axis.cells_in_file(region)[order], order.astype(np.int64)
        edges = np.concatenate([[0], np.cumsum(chunks)])
        chunk = np.searchsorted(edges, in_file, side="right") - 1
        step = -1 if self.axis.flipped else 1
        breaks = (np.diff(in_file) != 1) | (np.diff(place) != step) | (np.diff(chunk) != 0)
        found = []
        for part in np.split(np.arange(in_file.size), np.flatnonzero(breaks) + 1):
            c = int(chunk[part[0]])
            inside = slice(int(in_file[part[0]] - edges[c]), int(in_file[part[-1]] - edges[c]) + 1)
            low, high = sorted((int(place[part[0]]), int(place[part[-1]])))
            found.append((c, inside, slice(low, high + 1)))
        return found

    def inputs(self, window: int) -> list[Segment]:
        """Ranges of the window (input cells) and of the padded region that hold its values."""
        axis = self.axis
        at = axis.starts[window] + np.arange(axis.patch)
        if axis.periodic:
            return _segments(np.searchsorted(self.region, at % axis.cells))
        inside = np.searchsorted(self.region, np.minimum(at, axis.cells - 1))
        return _segments(inside + np.maximum(at - (axis.cells - 1), 0))

    def outputs(self, window: int) -> list[Segment]:
        """Ranges of the window (output points) and of the tile, in canonical order, that it adds to."""
        axis, n = self.axis, self.axis.padded * self.axis.factor
        points = np.sort(self.points)
        at = (axis.starts[window] * axis.factor + np.arange(axis.patch * axis.factor)) % n
        found = np.minimum(np.searchsorted(points, at), points.size - 1)
        place = np.where(points[found] == at, found, -2)
        place[: axis.first_own(window)] = -2
        return _segments(place)

    def fine(self, window: int) -> list[Segment]:
        """Ranges of the window and of the whole canonical axis, in output points, padding included."""
        axis = self.axis
        at = axis.starts[window] * axis.factor + np.arange(axis.patch * axis.factor)
        return _segments(at % (axis.padded * axis.factor))

    @cached_property
    def to_file(self) -> slice | Ints:
        """Index that takes the tile from canonical to file order."""
        if self.axis.flipped:
            return slice(None, None, -1)
        points = self.points
        if points.size < 2 or (np.diff(points) > 0).all():
            return slice(None)
        return np.argsort(np.argsort(points))


def _runs(sorted_points: Ints) -> list[tuple[int, int]]:
    parts = np.split(sorted_points, np.flatnonzero(np.diff(sorted_points) != 1) + 1)
    return [(int(p[0]), int(p[-1]) + 1) for p in parts if p.size]


def _segments(place: Ints) -> list[Segment]:
    """Find runs in which positions increase by one; -2 stands for nowhere."""
    breaks = np.flatnonzero(np.diff(place) != 1) + 1
    starts, stops = np.concatenate([[0], breaks]), np.concatenate([breaks, [place.size]])
    return [
        (slice(int(a), int(b)), slice(int(place[a]), int(place[a]) + int(b - a)))
        for a, b in zip(starts, stops, strict=True)
        if place[a] >= 0
    ]


def split(bounds: Sequence[int], axis: Axis, *, most: int) -> list[int]:
    """Join neighbouring chunks while their windows would mostly be evaluated twice.

    Parameters
    ----------
    bounds : sequence of int
        Chunk edges in output points, from 0 to ``axis.points``.
    axis : Axis
        Windows that reach over an edge are evaluated on both sides of it.
    most : int
        Output points that a tile may hold along this axis.

    Returns
    -------
    list of int
        Some of the edges: tiles of at least eight windows, as far as ``most`` allows.
    """
    stride = int(axis.starts[1] - axis.starts[0]) if axis.starts.size > 1 else axis.patch
    # With a window for each frame, none is evaluated twice.
    wanted = 1 if axis.causal and stride == 1 else min(8 * max(stride, 1) * axis.factor, most)
    kept = [bounds[0]]
    for edge, following in itertools.pairwise(bounds[1:]):
        if edge - kept[-1] >= wanted or following - kept[-1] > most:
            kept.append(edge)
    return [*kept, bounds[-1]]


def overlapping(chunks: Sequence[int], low: int, high: int) -> list[tuple[int, slice, slice]]:
    """Find the chunks under a range: number, what to cut out of each, and where it goes in the range.

    Examples
    --------
    >>> overlapping((3, 3, 4), 2, 5)
    [(0, slice(2, 3, None), slice(0, 1, None)), (1, slice(0, 2, None), slice(1, 3, None))]
    """
    ends = _ends(tuple(chunks))
    found = []
    for c in range(bisect.bisect_right(ends, low), len(ends)):
        start = ends[c] - chunks[c]
        if start >= high:
            break
        a, b = max(low, start), min(high, ends[c])
        if a < b:
            found.append((c, slice(a - start, b - start), slice(a - low, b - low)))
    return found


@lru_cache(maxsize=64)
def _ends(chunks: tuple[int, ...]) -> list[int]:
    return list(itertools.accumulate(chunks))


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a record that each item of another dimension sees: some in a row.

    Attributes
    ----------
    starts : array (item,)
        First frame of each item, not decreasing.
    count : int
        How many each sees.
    """

    starts: Ints
    count: int

    def runs(self, low: int, high: int) -> list[tuple[int, int]]:
        """Give the frames that items ``[low, high)`` see together, each once, as ranges.

        Examples
        --------
        >>> Frames(np.array([0, 1, 2, 9]), 3).runs(1, 4)
        [(1, 5), (9, 12)]
        """
        starts = self.starts[low:high]
        breaks = np.flatnonzero(np.diff(starts) > self.count) + 1
        return [(int(part[0]), int(part[-1]) + self.count) for part in np.split(starts, breaks)]

    def places(self, low: int, high: int) -> Ints:
        """Give where each item's first frame lies among those of `runs`.

        Examples
        --------
        >>> Frames(np.array([0, 1, 2, 9]), 3).places(1, 4)
        array([0, 1, 4])
        """
        starts = self.starts[low:high]
        skipped = np.maximum(np.diff(starts, prepend=starts[0]) - self.count, 0)
        return np.asarray(starts - starts[0] - np.cumsum(skipped), dtype=np.int64)

    def sources(self, chunks: Sequence[int], low: int, high: int) -> list[tuple[int, slice, slice]]:
        """Find the chunks under what the items see, as `overlapping` does for a range."""
        found, before = [], 0
        for a, b in self.runs(low, high):
            for chunk, cut, place in overlapping(chunks, a, b):
                found.append((chunk, cut, slice(place.start + before, place.stop + before)))
            before += b - a
        return found


def repeat_edge(region: NDArray[Any], dim: int, pad: int) -> None:
    """Fill the last ``pad`` cells of a dimension with the cell before them."""
    if pad:
        moved = np.moveaxis(region, dim, -1)
        moved[..., -pad:] = moved[..., -pad - 1 : -pad]
