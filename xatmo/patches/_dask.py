"""Compute single chunks of a Dask array quickly: its graph is optimised once, and each chunk takes its part of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Arrays of more chunks than these are left to Dask, which need not write out the whole graph.
_LARGEST_GRAPH = 20_000


class DaskChunks:
    """Chunks of a Dask array, computed by the scheduler that the caller has set, else in the calling thread.

    Nothing is optimised or computed before the first chunk is read.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._graph: dict[Any, Any] | None = None
        self._name: str = array.name
        self._lock = threading.Lock()
        self._edges = [np.cumsum([0, *c]) for c in array.chunks]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_graph": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __getitem__(self, box: tuple[slice, ...]) -> Array:
        """Compute the chunks that make up a box; the box ends where chunks end."""
        blocks = [
            range(int(np.searchsorted(e, s.start)), int(np.searchsorted(e, s.stop)))
            for e, s in zip(self._edges, box, strict=True)
        ]
        done = self._compute(list(product(*blocks)))
        if len(done) == 1:
            return done[0]
        out = np.empty([s.stop - s.start for s in box], dtype=self._array.dtype)
        for index, block in zip(product(*blocks), done, strict=True):
            begin = [int(e[i]) - s.start for e, i, s in zip(self._edges, index, box, strict=True)]
            out[tuple(slice(b, b + n) for b, n in zip(begin, block.shape, strict=True))] = block
        return out

    def _compute(self, blocks: Sequence[tuple[int, ...]]) -> list[Array]:
        from dask.base import compute, get_scheduler, optimize
        from dask.local import get_sync
        from dask.optimization import cull

        if self._array.npartitions > _LARGEST_GRAPH:
            scheduler = None if get_scheduler() is not None else "synchronous"  # type: ignore[no-untyped-call]
            lazy = [self._array.blocks[index] for index in blocks]
            return [np.asarray(a) for a in compute(*lazy, scheduler=scheduler)]  # type: ignore[no-untyped-call]
        with self._lock:
            if self._graph is None:
                (array,) = optimize(self._array)  # type: ignore[no-untyped-call]
                self._graph, self._name = dict(array.__dask_graph__()), array.name
        keys = [(self._name, *index) for index in blocks]
        part, _ = cull(self._graph, keys)  # type: ignore[no-untyped-call]
        get: Any = get_scheduler() or get_sync  # type: ignore[no-untyped-call]
        return [np.asarray(a) for a in get(part, keys)]
