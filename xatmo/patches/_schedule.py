"""In which order windows are drawn, and which chunks they need: shuffled by chunk, in bounded memory.

Windows are gathered into *blocks*, those that start in the same chunk (or a few neighbouring chunks, where windows
straddle their borders). Blocks are shuffled; consecutive blocks whose chunks fit the memory make a *pool*; windows are
shuffled inside their pool. Every chunk is read about once in an epoch, and everything follows from (seed, epoch).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.patches._buffers import Buffers
from xatmo.patches._sources import Source
from xatmo.patches.plan import Plan

Array = NDArray[Any]
Integers = NDArray[np.int64]
Key = tuple[int, tuple[int, ...]]
Piece = tuple[int, slice, slice]

_TOLERATED_REREADING = 1.15


class _Pieces(dict[int, tuple[Piece, ...]]):
    """Pieces of windows by their start, worked out when they are first asked for."""

    def __init__(self, cut: Callable[[int], Iterator[Piece]]) -> None:
        super().__init__()
        self._cut = cut

    def __missing__(self, start: int) -> tuple[Piece, ...]:
        found = self[start] = tuple(self._cut(start))
        return found


class Axis:
    """One dimension of one field: which parts of which chunks a window takes."""

    def __init__(self, edges: Sequence[int], factor: int, length: int) -> None:
        self.edges = np.asarray(edges, dtype=np.int64)
        self.factor = factor
        self.length = length * factor
        self.known = _Pieces(self._cut)

    def pieces(self, start: int) -> tuple[Piece, ...]:
        """Chunk, part of the chunk, and part of the window; past the end a window continues at index 0."""
        return self.known[start]

    def _cut(self, start: int) -> Iterator[Piece]:
        at, done, n = start * self.factor, 0, int(self.edges[-1])
        while done < self.length:
            chunk = int(np.searchsorted(self.edges, at, side="right")) - 1
            low, high = int(self.edges[chunk]), int(self.edges[chunk + 1])
            take = min(high - at, self.length - done)
            yield chunk, slice(at - low, at - low + take), slice(done, done + take)
            at, done = (at + take) % n, done + take

    def home(self, starts: Integers) -> Integers:
        """Chunk in which each window starts."""
        return np.searchsorted(self.edges, starts * self.factor, side="right") - 1

    def touched(self, first: Integers, length: Integers, units: Integers) -> tuple[Integers, Integers]:
        """Pairs (unit, chunk), sorted and each once: which chunks the intervals of a unit reach into.

        Intervals are in points of the plan; an end beyond the size continues at 0.
        """
        n, low, high = int(self.edges[-1]), first * self.factor, (first + length) * self.factor
        wraps = high > n
        low = np.concatenate([low, np.zeros(int(wraps.sum()), dtype=np.int64)])
        end = np.concatenate([np.minimum(high, n), np.minimum(high[wraps] - n, n)])
        begin, last = (np.searchsorted(self.edges, at, side="right") - 1 for at in (low, end - 1))
        number = last - begin + 1
        chunk = np.repeat(begin - np.cumsum(number) + number, number) + np.arange(number.sum())
        unit = np.repeat(np.concatenate([units, units[wraps]]), number)
        pairs = np.unique(unit * self.edges.size + chunk)
        return pairs // self.edges.size, pairs % self.edges.size

    def points(self, chunk: int) -> int:
        """Points of a chunk along the dimension."""
        return int(self.edges[chunk + 1] - self.edges[chunk])


class Layout:
    """One field under a plan: its chunks, and how to copy windows out of them.

    Dimensions of the field that the plan lacks are kept whole and become channels, in front.
    """

    def __init__(self, source: Source, plan: Plan, factors: dict[Hashable, int]) -> None:
        self.source, self.plan, self.factors = source, plan, factors
        edges = dict(zip(source.dims, source.edges, strict=True))
        self.axes = tuple(
            Axis(edges[d], factors.get(d, 1), plan.patch_size[d]) if d in edges else None for d in plan.sizes
        )
        self._shared = tuple(d for d in plan.sizes if d in edges)
        self._extra = tuple(d for d in source.dims if d not in plan.sizes)
        self._order = tuple(source.dims.index(d) for d in self._extra + self._shared)
        sizes = dict(zip(source.dims, source.shape, strict=True))
        self.channels = math.prod(sizes[d] for d in self._extra)
        self._sizes = sizes
        self.patch_shape = tuple(plan.patch_size[d] * factors.get(d, 1) for d in plan.sizes)

    @property
    def present(self) -> tuple[bool, ...]:
        """Which of the plan's dimensions the field has."""
        return tuple(axis is not None for axis in self.axes)

    def in_pieces(self) -> Layout:
        """Give the same field with an array in memory cut into small chunks, for passes that make copies."""
        return Layout(self.source.in_pieces(), self.plan, self.factors) if self.source.in_memory else self

    def box(self, key: tuple[int, ...]) -> tuple[slice, ...]:
        """Slices of a chunk in the field's own order of dimensions."""
        at = {d: slice(0, self._sizes[d]) for d in self._extra}
        axes = [axis for axis in self.axes if axis is not None]
        for d, c, axis in zip(self._shared, key, axes, strict=True):
            at[d] = slice(int(axis.edges[c]), int(axis.edges[c + 1]))
        return tuple(at[d] for d in self.source.dims)

    def nbytes(self, key: tuple[int, ...]) -> int:
        """Memory that a chunk takes once it is read."""
        if self.source.in_memory:
            return 0
        axes = [axis for axis in self.axes if axis is not None]
        return 4 * self.channels * math.prod(axis.points(c) for c, axis in zip(key, axes, strict=True))

    def read(self, key: tuple[int, ...], buffers: Buffers | None = None) -> Array:
        """Read a chunk as ``(channels, *plan's dimensions)``, with length 1 along those that the field lacks."""
        block = self.source.read(self.box(key), buffers).transpose(self._order)
        sizes = iter(block.shape[len(self._extra) :])
        return block.reshape(self.channels, *(next(sizes) if there else 1 for there in self.present))

    def copy(self, out: Array, starts: list[list[int]], chunks: dict[Key, Array], number: int) -> None:
        """Copy windows into ``out (windows, channels, *patch)``."""
        whole = slice(None)
        there = [a for a, axis in enumerate(self.axes) if axis is not None]
        known = [axis.known for axis in self.axes if axis is not None]
        index = [whole] * (1 + len(self.axes))
        for target, start in zip(out, starts, strict=True):
            cuts = [pieces[start[a]] for pieces, a in zip(known, there, strict=True)]
            if sum(map(len, cuts)) == len(cuts):  # the window lies in one chunk, as most do
                for a, ((_, part, _),) in zip(there, cuts, strict=True):
                    index[1 + a] = part
                target[...] = chunks[number, tuple([cut[0][0] for cut in cuts])][tuple(index)]
                continue
            for parts in product(*cuts):
                where = index.copy()
                for a, (_, part, into) in zip(there, parts, strict=True):
                    index[1 + a], where[1 + a] = part, into
                target[tuple(where)] = chunks[number, tuple([part[0] for part in parts])][tuple(index)]


@dataclass(frozen=True)
class Pool:
    """Windows that are drawn together, in the order in which they are drawn, and the chunks that they need."""

    windows: Integers
    starts: Integers
    keys: frozenset[Key] = field(repr=False)


class Schedule:
    """Order of the windows of a plan over several fields.

    Parameters
    ----------
    plan : Plan
    layouts : sequence of Layout
    shuffle : bool
        Whether windows are drawn at random or in the plan's order.
    seed : int
    pool_bytes : int
        Memory for the chunks of one pool. A block that needs more makes a pool of its own.
    keep : array (windows,) of bool, optional
        Windows that are drawn at all.
    wander : bool
        Whether windows are moved at random around their place, by up to half their distance.
    """

    def __init__(
        self,
        plan: Plan,
        layouts: Sequence[Layout],
        *,
        shuffle: bool,
        seed: int,
        pool_bytes: int,
        keep: NDArray[np.bool_] | None = None,
        wander: bool = False,
    ) -> None:
        self.plan, self.layouts = plan, list(layouts)
        self.shuffle, self.seed, self.pool_bytes, self.wander = shuffle, seed, pool_bytes, wander
        self.keep = None if keep is None or bool(keep.all()) else keep
        self._units = self._shuffled_units() if shuffle else self._ordered_units()
        self._members = [_members(units) for units in self._units]
        self._touched: dict[tuple[int, int], list[list[int]]] = {}

    # ------------------------------------------------------------------ size
    @cached_property
    def counts(self) -> Integers:
        """Windows of each block that are drawn, ``(blocks,)``."""
        sizes = [np.array([m.size for m in members], dtype=np.int64) for members in self._members]
        counts = np.ones(1, dtype=np.int64)
        for one in sizes:
            counts = (counts[:, None] * one).ravel()
        if self.keep is None:
            return counts
        block = np.zeros(self.plan.shape, dtype=np.int64)
        for axis, (units, members) in enumerate(zip(self._units, self._members, strict=True)):
            shape = [1] * block.ndim
            shape[axis] = -1
            block = block * len(members) + units.reshape(shape)
        return np.bincount(block.ravel()[self.keep], minlength=counts.size)

    @cached_property
    def total(self) -> int:
        """Windows drawn in an epoch, by all ranks."""
        return int(self.counts.sum())

    def total_bytes(self) -> int:
        """Memory that all chunks of all fields would take."""
        found = 0
        for layout in self.layouts:
            found += 0 if layout.source.in_memory else 4 * math.prod(layout.source.shape)
        return found

    # ------------------------------------------------------------------ pools
    def pools(self, epoch: int, rank: int = 0, world_size: int = 1) -> Iterator[Pool]:
        """Give the pools of one epoch for one rank.

        Ranks share no window and leave none out; their shares differ by one at most.
        """
        counts = self.counts
        order = self._rng(epoch, 0).permutation(counts.size) if self.shuffle else np.arange(counts.size)
        after = np.cumsum(counts[order])
        first, last = share(self.total, rank, world_size)
        gathered: list[Integers] = []
        number, keys, used = 0, set[Key](), 0
        begin = int(np.searchsorted(after, first, side="right"))
        for position in range(begin, order.size):
            block, end = int(order[position]), int(after[position])
            start = end - int(counts[block])
            if start >= last:
                break
            if start == end:
                continue
            needed = self._keys(block)
            more = sum(self.layouts[f].nbytes(key) for f, key in needed - keys)
            if gathered and used + more > self.pool_bytes:
                yield self._pool(gathered, keys, epoch, rank, number)
                number, gathered, keys, used = number + 1, [], set(), 0
                more = sum(self.layouts[f].nbytes(key) for f, key in needed)
            windows = self._windows(block, epoch)[max(first - start, 0) : last - start]
            gathered.append(windows)
            keys |= needed
            used += more
        if gathered:
            yield self._pool(gathered, keys, epoch, rank, number)

    def _pool(self, gathered: list[Integers], keys: set[Key], epoch: int, rank: int, number: int) -> Pool:
        windows = np.concatenate(gathered)
        rng = self._rng(epoch, 2, rank, number)
        if self.shuffle:
            windows = rng.permutation(windows)
        starts = self.plan.starts_of(windows)
        if self.wander:
            starts = self._moved(starts, rng)
        return Pool(windows, starts, frozenset(keys))

    def _windows(self, block: int, epoch: int) -> Integers:
        """Numbers of a block's windows, in the order that ranks cut into shares."""
        at = np.unravel_index(block, [len(m) for m in self._members])
        along = [members[int(u)] for members, u in zip(self._members, at, strict=True)]
        windows = np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), self.plan.shape).ravel().astype(np.int64)
        if self.keep is not None:
            windows = windows[self.keep[windows]]
        return self._rng(epoch, 1, block).permutation(windows) if self.shuffle else windows

    def _keys(self, block: int) -> set[Key]:
        at = np.unravel_index(block, [len(m) for m in self._members])
        found: set[Key] = set()
        for f, layout in enumerate(self.layouts):
            along = [self._chunks(f, a, int(u)) for a, u in enumerate(at) if layout.axes[a] is not None]
            found.update((f, key) for key in product(*along))
        return found

    def _chunks(self, layout: int, axis: int, unit: int) -> list[int]:
        """Chunks of a field that a unit of windows along a dimension needs."""
        known = self._touched.get((layout, axis))
        one = self.layouts[layout].axes[axis]
        if known is None and one is not None:
            units, chunks = one.touched(*self._reach(axis), self._units[axis])
            known = [c.tolist() for c in np.split(chunks, np.flatnonzero(np.diff(units)) + 1)]
            self._touched[layout, axis] = known
        return known[unit] if known is not None else []

    # ------------------------------------------------------------------ wandering windows
    def _room(self, axis: int) -> tuple[int, int]:
        """Points that windows may move back and forth along a dimension."""
        d = self.plan.dims[axis]
        stride = self.plan.patch_size[d] - self.plan.overlap[d]
        if not self.wander:
            return 0, 0
        return stride // 2, (stride - 1) // 2

    def _reach(self, axis: int) -> tuple[Integers, Integers]:
        """First point and length of the interval in which every window along a dimension stays."""
        d, (back, forth) = self.plan.dims[axis], self._room(axis)
        n, first = self.plan.sizes[d], self.plan.starts[d] - back
        last = self.plan.starts[d] + forth + self.plan.patch_size[d]
        if d in self.plan.periodic:
            return first % n, np.minimum(last - first, n)
        return np.maximum(first, 0), np.minimum(last, n) - np.maximum(first, 0)

    def _inside(self, d: Hashable, starts: Integers) -> Integers:
        n, length = self.plan.sizes[d], self.plan.patch_size[d]
        return starts % n if d in self.plan.periodic else np.clip(starts, 0, n - length)

    def _moved(self, starts: Integers, rng: np.random.Generator) -> Integers:
        out = starts.copy()
        for axis, d in enumerate(self.plan.sizes):
            back, forth = self._room(axis)
            out[:, axis] = self._inside(d, starts[:, axis] + rng.integers(-back, forth, len(starts), endpoint=True))
        return out

    # ------------------------------------------------------------------ blocks
    def _ordered_units(self) -> list[Integers]:
        """Make runs of windows in the plan's order: single windows along the first dimensions, all along the others."""
        shape = self.plan.shape
        for depth in range(len(shape) + 1):
            units = [np.arange(n) if a < depth else np.zeros(n, dtype=np.int64) for a, n in enumerate(shape)]
            if self._cost(units)[1] <= self.pool_bytes:
                break
        return units

    def _shuffled_units(self) -> list[Integers]:
        """Windows by the chunk in which they start; several chunks together while that saves reading chunks again."""
        lead = max(self.layouts, key=_weight)
        home = [
            np.zeros(n, dtype=np.int64) if axis is None else axis.home(self.plan.starts[d])
            for (d, n), axis in zip(zip(self.plan.sizes, self.plan.shape, strict=True), lead.axes, strict=True)
        ]
        together = [1] * len(home)
        units = [_dense(h) for h in home]
        cost = self._cost(units)[0]
        while cost > _TOLERATED_REREADING:
            options = []
            for a, m in enumerate(together):
                wider = [*units[:a], _dense(home[a] // (2 * m)), *units[a + 1 :]]
                now, most = self._cost(wider)
                if now < cost - 1e-9 and most <= self.pool_bytes / 4:
                    options.append((now, a, wider))
            if not options:
                break
            cost, a, units = min(options, key=lambda option: option[0])
            together[a] *= 2
        return units

    def _cost(self, units: list[Integers]) -> tuple[float, int]:
        """How often chunks are read on average, and the memory of the largest block."""
        read, once, largest = 0.0, 0.0, 0
        for layout in self.layouts:
            if layout.source.in_memory:
                continue
            per = []
            for a, axis in enumerate(layout.axes):
                if axis is None:
                    continue
                unit, chunk = axis.touched(*self._reach(a), units[a])
                points = np.diff(axis.edges)
                each = np.bincount(unit, weights=points[chunk])
                per.append((each.sum(), points[np.unique(chunk)].sum(), int(each.max())))
            scale = 4 * layout.channels
            read += scale * math.prod(float(p[0]) for p in per)
            once += scale * math.prod(float(p[1]) for p in per)
            largest += scale * math.prod(p[2] for p in per)
        return (read / once if once else 1.0), largest

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


def share(total: int, rank: int, world_size: int) -> tuple[int, int]:
    """First and last (exclusive) of ``total`` windows that belong to a rank.

    Examples
    --------
    >>> [share(10, rank, 3) for rank in range(3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    return total * rank // world_size, total * (rank + 1) // world_size


def batch_sizes(total: int, rank: int, world_size: int, batch_size: int, *, drop_last: bool) -> Integers:
    """Sizes of a rank's batches: the same number of batches on every rank, and no window lost unless asked for.

    Examples
    --------
    >>> batch_sizes(10, 0, 1, 4, drop_last=False)
    array([4, 4, 2])
    >>> [batch_sizes(9, rank, 2, 4, drop_last=False).tolist() for rank in range(2)]
    [[2, 2], [4, 1]]
    """
    first, last = share(total, rank, world_size)
    mine = last - first
    if drop_last:
        return np.full(total // world_size // batch_size, batch_size, dtype=np.int64)
    most = math.ceil(total / world_size)
    number = math.ceil(most / batch_size)
    if math.ceil(mine / batch_size) < number:  # others need one more: make ours smaller, so that all ranks keep step
        edges = np.arange(number + 1, dtype=np.int64) * mine // number
        return edges[1:] - edges[:-1]
    sizes = np.full(number, batch_size, dtype=np.int64)
    if number:
        sizes[-1] = mine - batch_size * (number - 1)
    return sizes


def _members(units: Integers) -> list[Integers]:
    """Windows along one dimension, by unit."""
    order = np.argsort(units, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(units[order])) + 1)


def _dense(units: Integers) -> Integers:
    """Renumber units without gaps."""
    return np.unique(units, return_inverse=True)[1].astype(np.int64)


def _weight(layout: Layout) -> float:
    """Bytes of a field, if it has to be read; fields in memory do not matter."""
    return 0.0 if layout.source.in_memory else 4.0 * math.prod(layout.source.shape)
