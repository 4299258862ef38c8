"""Pairs of windows at one place and two times: which are drawn, in which order, and what has to be read for them.

Every pair follows from (seed, epoch). Pairs are gathered into *blocks*, by anchor time and place, whose data fit into
part of the memory; blocks are shuffled; consecutive blocks make a *pool*; pairs are shuffled inside their pool. The
chunks under a block are read once for all of its pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.patches._ahead import Ahead
from xatmo.patches._schedule import batch_sizes, share
from xatmo.patches._sources import Source

Array = NDArray[Any]
Integers = NDArray[np.int64]
Block = tuple[int, int, int]
Interval = tuple[int, int]

_MOST_BLOCKS = 1 << 12  # along one dimension


@dataclass(frozen=True)
class Pairing:
    """What pairs may be drawn.

    Attributes
    ----------
    sizes : (int, int, int)
        Times, rows and columns of the fields.
    patch : (int, int)
        Rows and columns of a window.
    max_lag, lag_step : int
        Lags are 1 to ``max_lag``, in units of ``lag_step`` times; 0 where the lag is always 0.
    anchors : array of int
        Times of first windows: the time of the largest lag after each is there.
    rows : (int, int)
        First rows of windows: from the first of these to before the second.
    periodic : bool
        Whether windows go on at column 0 beyond the last one.
    """

    sizes: tuple[int, int, int]
    patch: tuple[int, int]
    max_lag: int
    lag_step: int
    anchors: Integers
    rows: Interval
    periodic: bool

    @property
    def columns(self) -> int:
        """Number of first columns that windows may have."""
        return self.sizes[2] if self.periodic else self.sizes[2] - self.patch[1] + 1

    @property
    def reach(self) -> tuple[int, int, int]:
        """Points that a pair needs beyond its first, along time, rows and columns."""
        return self.max_lag * self.lag_step, self.patch[0] - 1, self.patch[1] - 1

    def draw(self, rng: np.random.Generator, n: int) -> Integers:
        """Draw ``n`` pairs at each anchor: ``(n * anchors, 4)`` of anchor, lag, first row, first column.

        Lags, rows and columns are uniform and independent.

        Examples
        --------
        >>> pairing = Pairing((5, 8, 9), (4, 4), 3, 1, np.arange(2), (0, 5), True)
        >>> pairs = pairing.draw(np.random.default_rng(0), 100)
        >>> pairs.min(axis=0), pairs.max(axis=0)
        (array([0, 1, 0, 0]), array([1, 3, 4, 8]))
        """
        anchors = np.repeat(self.anchors, n)
        lag = rng.integers(min(1, self.max_lag), self.max_lag, anchors.size, endpoint=True)
        row = rng.integers(*self.rows, anchors.size)
        column = rng.integers(0, self.columns, anchors.size)
        return np.stack([anchors, lag, row, column], axis=1)


class LaggedWindows:
    """Reads pairs of windows of several fields.

    Fields that are in memory, or fit into half of ``memory``, make one block: they are read once and kept, and pairs
    are drawn from all of them at random.

    Parameters
    ----------
    fields : sequence of DataArray (time, lat, lon), in any order of dimensions
    dims : (Hashable, Hashable, Hashable)
        Their dimensions: time, rows, columns.
    pairing : Pairing
    memory : int
        Bytes of blocks held at a time: half for those that pairs are drawn from, half for those read ahead. One block
        in each is held, whatever the limit.
    threads : int
        Pieces read at a time.

    Examples
    --------
    >>> da = xr.DataArray(np.arange(5 * 8 * 9.0).reshape(5, 8, 9), dims=("time", "lat", "lon"))
    >>> pairing = Pairing((5, 8, 9), (4, 4), 3, 1, np.arange(2), (0, 5), True)
    >>> windows = LaggedWindows([da], da.dims, pairing)
    >>> pairs = pairing.draw(np.random.default_rng(0), 3)
    >>> [(x.shape, p.shape) for x, p in windows.batches(pairs, [4, 2], seed=(0, 0))]
    [((4, 2, 1, 4, 4), (4, 4)), ((2, 2, 1, 4, 4), (2, 4))]
    """

    def __init__(
        self,
        fields: Sequence[xr.DataArray],
        dims: Sequence[Any],
        pairing: Pairing,
        *,
        memory: int = 512 << 20,
        threads: int = 2,
    ) -> None:
        self.pairing, self.memory, self.threads = pairing, memory, threads
        self.sources = [Source(da) for da in fields]
        self._orders = [tuple(s.dims.index(d) for d in dims) for s in self.sources]
        self._edges = [
            [s.edges[k] for k in order] for s, order in zip(self.sources, self._orders, strict=True)
        ]  # of each field, along time, rows, columns
        self._read = [k for k, s in enumerate(self.sources) if not s.in_memory]
        everything = 4 * len(self._read) * math.prod(pairing.sizes)
        self.resident = everything <= memory // 2
        self._kept: list[Array] | None = None
        spans = self._spans()
        self._cuts = [np.array(s) for s in ([(a, b)] for a, b in spans)] if self.resident else self._blocks(spans)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind."""
        return {**self.__dict__, "_kept": None}

    # ------------------------------------------------------------------ blocks
    def _spans(self) -> tuple[Interval, Interval, Interval]:
        """First and last (exclusive) anchor, row and column of windows."""
        p = self.pairing
        return (int(p.anchors.min()), int(p.anchors.max()) + 1), p.rows, (0, p.columns)

    def _blocks(self, spans: Sequence[Interval]) -> list[Integers]:
        """Cut each dimension so that a block fits a quarter of the memory, and little is read twice."""
        options = [self._ways(axis, span) for axis, span in enumerate(spans)]
        room = self.memory // 4
        scale = 4 * len(self._read)
        ranked = []
        for ways in product(*options):
            largest = scale * math.prod(most for _, most, _ in ways)
            ranked.append((largest > room, largest if largest > room else 0, math.prod(c for _, _, c in ways), ways))
        best = min(ranked, key=lambda way: way[:3])
        return [edges for edges, _, _ in best[3]]

    def _ways(self, axis: int, span: Interval) -> list[tuple[Integers, int, float]]:
        """Ways to cut a dimension: edges of the blocks, points of the largest, and how much is read in all."""
        edges = np.array(self._edges[self._read[0]][axis])
        reach, found = self.pairing.reach[axis], []
        n = 1
        while n <= min(span[1] - span[0], _MOST_BLOCKS):
            ideal = np.linspace(*span, n + 1).round().astype(np.int64)
            if n > 1:  # at the borders of chunks, where there are any nearby
                inner = edges[np.abs(edges[None, :] - ideal[1:-1, None]).argmin(axis=1)]
                near = np.abs(inner - ideal[1:-1]) < (span[1] - span[0]) / (2 * n)
                ideal[1:-1] = np.where(near, inner, ideal[1:-1])
            cuts = np.unique(np.clip(ideal, *span))
            stops = np.minimum(cuts[1:] + reach, 2 * self.pairing.sizes[axis])
            begin = edges[np.searchsorted(edges, cuts[:-1], side="right") - 1]
            last = edges[np.minimum(np.searchsorted(edges, stops - 1, side="right"), edges.size - 1)]
            read = float((np.maximum(last, stops) - begin).sum())
            found.append((np.stack([cuts[:-1], cuts[1:]], axis=1), int((stops - cuts[:-1]).max()), read))
            n *= 2
        return found

    def _block_of(self, pairs: Integers) -> Integers:
        """Give the number of the block of each pair."""
        at = [
            np.searchsorted(cuts[:, 0], pairs[:, column], side="right") - 1
            for cuts, column in zip(self._cuts, (0, 2, 3), strict=True)
        ]
        return np.ravel_multi_index(at, [len(c) for c in self._cuts]).astype(np.int64)

    # ------------------------------------------------------------------ order
    def order(self, pairs: Integers, seed: Sequence[int], *, shuffle: bool = True) -> tuple[Integers, Integers]:
        """Give pairs in the order of their blocks, shuffled, and the blocks' numbers."""
        block = self._block_of(pairs)
        if not shuffle:
            order = np.argsort(block, kind="stable")
        else:
            rng = np.random.default_rng(list(seed))
            places = rng.permutation(math.prod(len(c) for c in self._cuts))
            order = np.lexsort((rng.permutation(len(pairs)), places[block]))
        return pairs[order], block[order]

    def batches(
        self,
        pairs: Integers,
        sizes: Sequence[int],
        *,
        seed: Sequence[int],
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ) -> Iterator[tuple[Array, Integers]]:
        """Read pairs, batch by batch, a little ahead of their use.

        Parameters
        ----------
        pairs : array (pairs, 4)
        sizes : sequence of int
            Pairs in each batch of this rank.
        seed : sequence of int
            Of the order.
        start : int
            Batches to leave out: nothing is read for them.
        rank, world_size : int
            Which share of the pairs to deliver.
        shuffle : bool

        Yields
        ------
        windows : array (batch, 2, field, row, column)
            float32, in physical units, as it was stored.
        pairs : array (batch, 4)
        """
        ahead = Ahead(self._batches(pairs, list(sizes), tuple(seed), start, rank, world_size, shuffle), 2)
        try:
            yield from ahead
        finally:
            ahead.close()

    def _batches(
        self,
        pairs: Integers,
        sizes: list[int],
        seed: tuple[int, ...],
        start: int,
        rank: int,
        world_size: int,
        shuffle: bool,
    ) -> Iterator[tuple[Array, Integers]]:
        first, last = share(len(pairs), rank, world_size)
        ordered, block = (a[first:last] for a in self.order(pairs, seed, shuffle=shuffle))
        done = sum(sizes[:start])
        waiting: list[tuple[Array, Integers]] = []
        number = start
        with ThreadPoolExecutor(self.threads, thread_name_prefix="xatmo-read") as readers:
            try:
                for windows, chosen in self._pooled(ordered, block, seed, done, readers, shuffle):
                    at = 0
                    while at < len(chosen) and number < len(sizes):
                        have = sum(len(p) for _, p in waiting)
                        take = min(sizes[number] - have, len(chosen) - at)
                        waiting.append((windows(chosen[at : at + take]), chosen[at : at + take]))
                        at += take
                        if have + take == sizes[number]:
                            parts = list(zip(*waiting, strict=True))
                            yield (
                                parts[0][0] if len(waiting) == 1 else np.concatenate(parts[0]),
                                np.concatenate(parts[1]),
                            )
                            number, waiting = number + 1, []
            finally:
                readers.shutdown(cancel_futures=True)

    def _pooled(
        self,
        pairs: Integers,
        block: Integers,
        seed: tuple[int, ...],
        done: int,
        readers: ThreadPoolExecutor,
        shuffle: bool,
    ) -> Iterator[tuple[Any, Integers]]:
        """Give, pool by pool, what cuts windows and the pairs to cut."""
        if self.resident:
            yield self._cutter({0: self._everything(readers)}), pairs[done:]
            return
        # A pool's blocks are asked for while the pool before it is used.
        asked: tuple[dict[int, list[Array]], list[Future[None]], Integers] | None = None
        for number, (begin, end, numbers) in enumerate(self._pools(block)):
            if end <= done:
                continue
            chosen = pairs[begin:end]
            if shuffle:
                chosen = chosen[np.random.default_rng([*seed, number, begin]).permutation(len(chosen))]
            now = (*self._ask(numbers, readers), chosen[max(done - begin, 0) :])
            if asked is not None:
                yield self._ready(asked)
            asked = now
        if asked is not None:
            yield self._ready(asked)

    def _ready(self, asked: tuple[dict[int, list[Array]], list[Future[None]], Integers]) -> tuple[Any, Integers]:
        regions, futures, chosen = asked
        for future in futures:
            future.result()
        return self._cutter(regions), chosen

    def _pools(self, block: Integers) -> Iterator[tuple[int, int, list[int]]]:
        """Cut into runs of pairs whose blocks fit half of the memory: first, last (exclusive), the blocks' numbers."""
        borders = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1, [block.size]]) if block.size else [0]
        begin, used, numbers = 0, 0, list[int]()
        for low, high in pairwise(borders):
            number = int(block[low])
            size = 4 * len(self._read) * math.prod(b - a for a, b in self._bounds(number))
            if numbers and used + size > self.memory // 2:
                yield begin, int(low), numbers
                begin, used, numbers = int(low), 0, []
            numbers.append(number)
            used += size
            if high == block.size:
                yield begin, int(high), numbers

    def _bounds(self, number: int) -> list[Interval]:
        """Give the first and last (exclusive) point of a block's data along each axis; columns may go past the end."""
        at = np.unravel_index(number, [len(c) for c in self._cuts])
        found = []
        for axis, (k, cuts, reach) in enumerate(zip(at, self._cuts, self.pairing.reach, strict=True)):
            begin, stop = int(cuts[k][0]), int(cuts[k][1]) + reach
            found.append((begin, stop if axis == 2 else min(stop, self.pairing.sizes[axis])))
        return found

    # ------------------------------------------------------------------ reading
    def _ask(self, numbers: Sequence[int], readers: ThreadPoolExecutor) -> tuple[dict[int, list[Array]], list[Any]]:
        """Have the regions of blocks read."""
        regions: dict[int, list[Array]] = {}
        futures = []
        for number in numbers:
            bounds = self._bounds(number)
            regions[number] = []
            for k, source in enumerate(self.sources):
                if source.in_memory:
                    regions[number].append(self._whole(k))
                    continue
                out = np.empty([b - a for a, b in bounds], np.float32)
                regions[number].append(out)
                futures += [readers.submit(self._copy, k, piece, out) for piece in self._pieces(k, bounds)]
        return regions, futures

    def _everything(self, readers: ThreadPoolExecutor) -> list[Array]:
        if self._kept is None:
            bounds = [(0, n) for n in self.pairing.sizes]
            arrays, futures = [], []
            for k, source in enumerate(self.sources):
                if source.in_memory:
                    arrays.append(self._whole(k))
                    continue
                out = np.empty(self.pairing.sizes, np.float32)
                arrays.append(out)
                futures += [readers.submit(self._copy, k, piece, out) for piece in self._pieces(k, bounds)]
            for future in futures:
                future.result()
            self._kept = arrays
        return self._kept

    def _whole(self, k: int) -> Array:
        source = self.sources[k]
        return source.read(tuple(slice(0, n) for n in source.shape)).transpose(self._orders[k])

    def _pieces(self, k: int, bounds: Sequence[Interval]) -> Iterator[list[tuple[slice, slice, slice]]]:
        """Parts of a region, each from one chunk: along every axis the chunk, the part of it, and where it goes."""
        along = []
        for axis, (begin, stop) in enumerate(bounds):
            edges, n = np.array(self._edges[k][axis]), self.pairing.sizes[axis]
            cuts, at = [], begin
            while at < stop:
                inside = at % n
                number = int(np.searchsorted(edges, inside, side="right"))
                low, high = int(edges[number - 1]), int(edges[number])
                take = min(high - inside, stop - at)
                part, into = slice(inside - low, inside - low + take), slice(at - begin, at - begin + take)
                cuts.append((slice(low, high), part, into))
                at += take
            along.append(cuts)
        yield from (list(parts) for parts in product(*along))

    def _copy(self, k: int, piece: list[tuple[slice, slice, slice]], out: Array) -> None:
        source, order = self.sources[k], self._orders[k]
        box = [slice(0)] * 3
        for position, (chunk, part, _) in zip(order, piece, strict=True):
            # Files give any part of a chunk; Dask computes whole ones.
            box[position] = slice(chunk.start + part.start, chunk.start + part.stop) if source.direct else chunk
        block = source.read(tuple(box)).transpose(order)
        if not source.direct:
            block = block[tuple(part for _, part, _ in piece)]
        out[tuple(into for _, _, into in piece)] = block

    def _cutter(self, regions: dict[int, list[Array]]) -> Any:
        """Make what copies the windows of pairs out of regions."""
        height, width = self.pairing.patch
        whole = {k for k, s in enumerate(self.sources) if s.in_memory or self.resident}
        origin = {number: [a for a, _ in self._bounds(number)] for number in regions}

        def cut(pairs: Integers) -> Array:
            out = np.empty((len(pairs), 2, len(self.sources), height, width), np.float32)
            numbers = self._block_of(pairs)
            for target, number, (anchor, lag, row, column) in zip(out, numbers, pairs.tolist(), strict=True):
                begin = origin[int(number)]
                for k, array in enumerate(regions[int(number)]):
                    t0, r0, c0 = (0, 0, 0) if k in whole else begin
                    rows = slice(row - r0, row - r0 + height)
                    first, rest = column - c0, max(column - c0 + width - array.shape[2], 0)
                    for when, time in enumerate((anchor, anchor + lag * self.pairing.lag_step)):
                        into = target[when, k]
                        into[:, : width - rest] = array[time - t0, rows, first : first + width - rest]
                        if rest:  # around the Earth
                            into[:, width - rest :] = array[time - t0, rows, :rest]
            return out

        return cut


def sizes_of(n_pairs: int, batch_size: int, rank: int, world_size: int, *, drop_last: bool) -> list[int]:
    """Sizes of a rank's batches, the same number on every rank; a smaller last one is left out if there are others.

    Examples
    --------
    >>> sizes_of(10, 4, 0, 1, drop_last=True), sizes_of(3, 4, 0, 1, drop_last=True)
    ([4, 4], [3])
    """
    drop = drop_last and n_pairs // world_size >= batch_size
    return [int(n) for n in batch_sizes(n_pairs, rank, world_size, batch_size, drop_last=drop)]
