"""Apply separable weights to plain arrays, ``(..., nlat, nlon)`` in, ``(..., nlat, nlon)`` out.

Each matrix has its weights near a diagonal. Cut into blocks of a few targets, it becomes a row of small dense products
over contiguous ranges of the source, which BLAS does at the speed of memory.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import sparse

from xatmo.regrid import _compiled
from xatmo.regrid.separable import CELL_METHODS, Weights

Array = NDArray[Any]

# BLAS spreads a product over its own threads from about 2^18 multiplications on (OpenBLAS). Fields are already shared
# out among our threads, or Dask's, so blocks stay below that.
_PRODUCT = 250_000
_BLOCK_LAT, _BLOCK_LON = 32, 1024
# Fields are worked on a few at a time, so that the array between the two products stays in the cache.
_BETWEEN_BYTES = 4_400_000
# Valid parts of cells are sums of rounded weights.
_PART_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Neighbouring blocks of one shape whose sources go on by equal steps: one call of NumPy does them all.

    Where threads share the fields out, each call waits for the interpreter's lock, so there should be few. Between
    grids whose steps are in a whole ratio, nearly all blocks come together.
    """

    targets: slice
    sources: slice | NDArray[np.intp] | None  # None: nothing is covered
    dense: Array  # (blocks, targets, sources)
    step: int = 1

    def joined(self, block: _Blocks) -> _Blocks | None:
        """Append one more block, if it fits."""
        here, there = self.sources, block.sources
        count, *shape = self.dense.shape
        if not isinstance(here, slice) or not isinstance(there, slice) or list(block.dense.shape[1:]) != shape:
            return None
        step = there.start - (here.stop - shape[1])
        if step < 1 or (count > 1 and step != self.step):
            return None
        targets, sources = slice(self.targets.start, block.targets.stop), slice(here.start, there.stop)
        return _Blocks(targets, sources, np.concatenate([self.dense, block.dense]), step)

    def windows(self, fields: Array, axis: int) -> Array:
        """Cut ``axis`` of ``(n, nlat, nlon)`` into the sources of each block: ``(n, blocks, other axis, sources)``."""
        if not isinstance(self.sources, slice):
            return np.asarray(np.moveaxis(np.take(fields, cast(Any, self.sources), axis), axis, -1)[:, None])
        before: Any = (slice(None),) * axis
        view = sliding_window_view(fields[(*before, self.sources)], self.dense.shape[2], axis=axis)
        return np.moveaxis(view[(*before, slice(None, None, self.step))], axis, 1)


def _blocks(matrix: sparse.csr_array, dtype: np.dtype[Any], other: int, most: int) -> list[_Blocks]:
    """Cut a matrix into dense blocks whose size times ``other`` stays small."""
    limit = max(1, min(most, _PRODUCT // max(other, 1)))
    n, size = matrix.shape
    pointer, indices = matrix.indptr, matrix.indices
    first, last = np.full(n, size), np.full(n, -1)
    filled = np.flatnonzero(np.diff(pointer))
    first[filled] = np.minimum.reduceat(indices, pointer[filled]) if filled.size else 0
    last[filled] = np.maximum.reduceat(indices, pointer[filled]) if filled.size else 0
    # Rows whose columns go around the end of the axis stand alone.
    around = last - first > np.maximum(size // 2, 4 * np.diff(pointer))
    blocks: list[_Blocks] = []
    start = 0
    while start < n:
        low, high, stop = int(first[start]), int(last[start]), start + 1
        while stop < n and not around[start] and not around[stop]:
            wider = min(low, int(first[stop])), max(high, int(last[stop]))
            if (stop + 1 - start) * (wider[1] - wider[0] + 1) > limit:
                break
            (low, high), stop = wider, stop + 1
        block = _block(matrix, start, stop, low, high, dtype, alone=bool(around[start]))
        longer = blocks[-1].joined(block) if blocks else None
        blocks[-1:] = [longer] if longer else [*blocks[-1:], block]
        start = stop
    return blocks


def _block(
    matrix: sparse.csr_array, start: int, stop: int, low: int, high: int, dtype: np.dtype[Any], *, alone: bool
) -> _Blocks:
    inside = slice(int(matrix.indptr[start]), int(matrix.indptr[stop]))
    columns, data = matrix.indices[inside], matrix.data[inside]
    if columns.size == 0:
        return _Blocks(slice(start, stop), None, np.zeros((1, stop - start, 0), dtype))
    if alone:
        return _Blocks(slice(start, stop), columns.astype(np.intp), np.ascontiguousarray(data[None, None], dtype=dtype))
    rows = np.repeat(np.arange(stop - start), np.diff(matrix.indptr[start : stop + 1]))
    dense = np.zeros((1, stop - start, high - low + 1), dtype)
    dense[0, rows, columns - low] = data
    return _Blocks(slice(start, stop), slice(low, high + 1), dense)


class Product:
    """``lat @ field @ lon.T`` for many fields, in the cheaper order.

    Parameters
    ----------
    lat, lon : sparse array (n_target, n_source)
    dtype : float32 or float64
        Of the fields and of the result.
    """

    def __init__(self, lat: sparse.csr_array, lon: sparse.csr_array, dtype: np.dtype[Any]) -> None:
        self.lat, self.lon, self.dtype = lat, lon, dtype
        (self.rows, self.source_rows), (self.columns, self.source_columns) = lat.shape, lon.shape
        # Weighted sums of whole rows stream through memory; sums along a row take about twice as long for each weight.
        lat_first = lat.nnz * self.source_columns + 2 * lon.nnz * self.rows
        lon_first = 2 * lon.nnz * self.source_rows + lat.nnz * self.columns
        self.lat_first = lat_first <= lon_first
        across_lat = self.source_columns if self.lat_first else self.columns
        across_lon = self.rows if self.lat_first else self.source_rows
        self._lat = _blocks(lat, dtype, across_lat, _BLOCK_LAT)
        along_lon = _blocks(lon, dtype, across_lon, _BLOCK_LON)
        self._lon = [(some, np.ascontiguousarray(np.swapaxes(some.dense, -1, -2))) for some in along_lon]

    @property
    def between(self) -> tuple[int, int]:
        """Shape of a field between the two products."""
        return (self.rows, self.source_columns) if self.lat_first else (self.source_rows, self.columns)

    def __call__(self, fields: Array, out: Array, middle: Array | None = None) -> None:
        """Work out ``(n, nlat, nlon)`` from ``(n, nlat, nlon)``; a zero weight times an infinity is a NaN here.

        ``middle`` is room for the fields between the two products, ``(n or more, *between)``.
        """
        if middle is None:
            middle = np.empty((fields.shape[0], *self.between), self.dtype)
        middle = middle[: fields.shape[0]]
        if self.lat_first:
            self._along_lat(fields, middle)
            self._along_lon(middle, out)
        else:
            self._along_lon(fields, middle)
            self._along_lat(middle, out)

    def exact(self, fields: Array, out: Array) -> None:
        """Do the same product, slower, with stored weights only, so that an infinity reaches only its own targets."""
        lat, lon = self.lat.astype(self.dtype), self.lon.astype(self.dtype)
        for field, result in zip(fields, out, strict=True):
            result[:] = (lon @ (lat @ field).T).T

    def _along_lat(self, fields: Array, out: Array) -> None:
        n, _, width = out.shape
        for some in self._lat:
            part = out[:, some.targets]
            if some.sources is None:
                part[:] = 0
            else:
                sources = np.swapaxes(some.windows(fields, 1), -1, -2)
                np.matmul(some.dense, sources, out=part.reshape(n, len(some.dense), -1, width))

    def _along_lon(self, fields: Array, out: Array) -> None:
        n, height, _ = out.shape
        for some, weights in self._lon:
            part = out[:, :, some.targets]
            if some.sources is None:
                part[:] = 0
            else:
                targets = np.swapaxes(part.reshape(n, height, len(some.dense), -1), 1, 2)
                np.matmul(some.windows(fields, 2), weights, out=targets)


class Applier:
    """Weights made ready for fields of one dtype. Pickles as the weights alone; see `prepared`."""

    _gaps_in_one_pass = True  # whether missing values only leave weights out

    def __init__(
        self, weights: Weights, dtype: np.dtype[Any], *, min_valid: float = 0.5, sign: float = 1.0, skipna: bool = True
    ) -> None:
        self.weights, self.dtype, self.min_valid, self.sign = weights, np.dtype(dtype), min_valid, sign
        self.skipna = skipna

    def __reduce__(self) -> tuple[Any, ...]:
        return prepared, (type(self), self.weights, self.dtype, self.min_valid, self.sign, self.skipna)

    def __call__(self, fields: Array, *, threads: int = 1) -> Array:
        """Regrid ``(..., nlat, nlon)`` on ``threads`` threads, shared out by field."""
        lead = fields.shape[:-2]
        stack = fields.reshape(-1, *fields.shape[-2:])
        out = np.empty((stack.shape[0], *self.weights.target_shape), self.dtype)
        if stack.size >= _compiled.LEAST_VALUES and _compiled.kernels() is not None and self._stencils is not None:
            self._all_compiled(stack, out, threads, self._stencils)
        elif stack.shape[0]:
            self._all(stack, out, threads)
        return out.reshape(*lead, *self.weights.target_shape)

    def _all(self, stack: Array, out: Array, threads: int) -> None:
        shape = self._product.between
        few = max(1, min(-(-stack.shape[0] // threads), _BETWEEN_BYTES // (shape[0] * shape[1] * self.dtype.itemsize)))
        parts = [slice(start, start + few) for start in range(0, stack.shape[0], few)]

        room = threading.local()  # fresh memory costs more than the products do

        def work(part: slice) -> None:
            if not hasattr(room, "middle"):
                room.middle = np.empty((few, *shape), self.dtype)
            # NaN and infinity are looked at here, so NumPy need not warn of them. (The state is kept by thread.)
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                self._part(np.ascontiguousarray(stack[part], dtype=self.dtype), out[part], room.middle)

        _share_out(work, parts, threads)

    # ------------------------------------------------------------------ compiled, see `_compiled`
    def _all_compiled(self, stack: Array, out: Array, threads: int, stencils: _compiled.Stencils) -> None:
        count, height = out.shape[:2]
        # Where there are fewer fields than threads, these share out the rows.
        alone = self._beyond is None and self._gaps_in_one_pass
        bands = min(2 * threads, height) if alone and count < threads else 1
        edges = np.linspace(0, height, bands + 1).astype(int)
        if bands > 1:
            stack = np.ascontiguousarray(stack, dtype=self.dtype)
        parts = [(k, slice(int(a), int(b))) for k in range(count) for a, b in itertools.pairwise(edges)]

        def work(part: tuple[int, slice]) -> None:
            k, rows = part
            field = np.ascontiguousarray(stack[k : k + 1], dtype=self.dtype)
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                self._part_compiled(field, out[k : k + 1], rows, stencils)

        _share_out(work, parts, threads)
        if self._outside is not None:
            out[:, self._outside] = np.nan

    def _part_compiled(self, field: Array, out: Array, rows: slice, stencils: _compiled.Stencils) -> None:
        _compiled.apply(stencils, field, out, rows)
        if self._beyond is not None:
            self._add_beyond(field, out)
        if np.isfinite(out[:, rows].sum()):
            return
        part = np.empty(out.shape, self.dtype)
        means = self._divides
        alone = self._beyond is None and self._gaps_in_one_pass
        if alone:
            _compiled.apply_to_valid(stencils, field, out, part, rows, valid=means)
        if not alone or not np.isfinite(out[:, rows].sum()):  # an infinity, or points across a pole
            whole = out if rows == slice(0, out.shape[1]) else np.empty_like(out)
            self._with_gaps(field, whole)
            out[:, rows] = whole[:, rows]
        elif means:
            self._divide(out[:, rows], part[:, rows], self.weights.coverage[rows])
        else:
            np.copyto(out[:, rows], np.nan, where=part[:, rows] > 0)

    @cached_property
    def _stencils(self) -> _compiled.Stencils | None:
        return _compiled.stencils(self.weights.lat.matrix, self.weights.lon.matrix, self.dtype)

    # ------------------------------------------------------------------ products, made on first use in each process
    @cached_property
    def _product(self) -> Product:
        return Product(self.weights.lat.matrix, self.weights.lon.matrix, self.dtype)

    @cached_property
    def _reach(self) -> Product:
        """Absolute weights: positive exactly where a source point counts."""
        return Product(abs(self.weights.lat.matrix), abs(self.weights.lon.matrix), self.dtype)

    @cached_property
    def _beyond(self) -> tuple[NDArray[np.intp], Product, Product] | None:
        """Rows that look across a pole, and the product that serves them, with its reach."""
        if self.weights.across is None:
            return None
        lat, lon = (a.matrix for a in self.weights.across)
        rows = np.flatnonzero(np.diff(lat.indptr)).astype(np.intp)
        few = lat[rows]
        return rows, Product(few, lon, self.dtype), Product(abs(few), abs(lon), self.dtype)

    @cached_property
    def _outside(self) -> Array | None:
        """Target points without enough source under them; None where all have."""
        covered = self.weights.coverage
        outside = np.asarray(covered < self._least)
        return outside if outside.any() else None

    @property
    def _least(self) -> float:
        if self.weights.method not in CELL_METHODS:
            return 0.5
        return max(self.min_valid - _PART_ROUNDING, _PART_ROUNDING)

    # ------------------------------------------------------------------ one part
    def _part(self, fields: Array, out: Array, middle: Array) -> None:
        self._linear(fields, out, middle)
        # Every NaN or infinity of the source reaches the smaller side of the two, if only as 0 * NaN.
        if not np.isfinite((out if out.size < fields.size else fields).sum()):
            self._with_gaps(fields, out)
        if self._outside is not None:
            out[:, self._outside] = np.nan

    def _linear(self, fields: Array, out: Array, middle: Array | None = None, *, exact: bool = False) -> None:
        if exact:
            self._product.exact(fields, out)
        else:
            self._product(fields, out, middle)
        if self._beyond is not None:
            self._add_beyond(fields, out, exact=exact)

    def _add_beyond(self, fields: Array, out: Array, *, exact: bool = False) -> None:
        rows, product, _ = cast(Any, self._beyond)
        extra = np.empty((fields.shape[0], rows.size, out.shape[-1]), self.dtype)
        (product.exact if exact else product)(fields, extra)
        out[:, rows] += self.dtype.type(self.sign) * extra

    def _with_gaps(self, fields: Array, out: Array) -> None:
        missing = np.isnan(fields)
        if not missing.any():
            self._linear(fields, out, exact=True)
            return
        filled = np.where(missing, self.dtype.type(0), fields)
        self._linear(filled, out, exact=not np.isfinite(filled.sum()))
        if (missing == missing[0]).all():  # one land mask for all fields, most often
            missing = missing[:1]
        if self._divides:
            valid = np.empty((missing.shape[0], *out.shape[1:]), self.dtype)
            self._product((~missing).astype(self.dtype), valid)
            self._divide(out, valid, self.weights.coverage)
        else:
            np.copyto(out, np.nan, where=self._touched(missing, out.shape[1:]))

    @property
    def _divides(self) -> bool:
        """Whether a target is the mean over what is valid of its cell, or NaN if anything is missing."""
        return self.weights.method == "conservative" and self.skipna

    def _divide(self, out: Array, valid: Array, coverage: Array) -> None:
        # Whole cells stay as they are: else a gap in one field would round the others that are worked on with it.
        np.divide(out, valid, out=out, where=valid < 1 - 16 * np.finfo(self.dtype).eps)
        np.copyto(out, np.nan, where=valid * coverage < self._least)

    def _touched(self, missing: Array, shape: tuple[int, ...]) -> Array:
        """Targets for which a missing point counts."""
        reach = np.empty((missing.shape[0], *shape), self.dtype)
        gaps = missing.astype(self.dtype)
        self._reach(gaps, reach)
        if self._beyond is not None:
            rows, _, product = self._beyond
            extra = np.empty((missing.shape[0], rows.size, shape[-1]), self.dtype)
            product(gaps, extra)
            reach[:, rows] += extra
        return np.asarray(reach > 0)


_READY: OrderedDict[tuple[Any, ...], Applier] = OrderedDict()
_READY_LOCK = threading.Lock()
_MOST_READY = 16


def _share_out(work: Callable[[Any], None], parts: Sequence[Any], threads: int) -> None:
    if threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            list(pool.map(work, parts))


def prepared(kind: type[Applier], weights: Weights, dtype: Any, min_valid: float, sign: float, skipna: bool) -> Applier:
    """Get an applier of this kind; each process prepares it once, however many chunks come."""
    key = (kind, weights.fingerprint, np.dtype(dtype).str, min_valid, sign, skipna)
    with _READY_LOCK:
        if key not in _READY:
            _READY[key] = kind(weights, np.dtype(dtype), min_valid=min_valid, sign=sign, skipna=skipna)
        _READY.move_to_end(key)
        while len(_READY) > _MOST_READY:
            _READY.popitem(last=False)
        return _READY[key]


def take_nearest(fields: Array, weights: Weights, dtype: np.dtype[Any]) -> Array:
    """Pick values, ``(..., nlat, nlon)``, without touching them; NaN outside the source."""
    rows, columns = weights.lat.nearest_index, weights.lon.nearest_index
    out = np.take(np.take(fields, rows, axis=-2), columns, axis=-1).astype(dtype, copy=False)
    outside = weights.coverage < 0.5
    if outside.any():
        out[..., outside] = np.nan
    return out


def thread_count() -> int:
    """Threads for arrays in memory: the CPUs this process may use, or ``OMP_NUM_THREADS`` where that is smaller."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(cpus, int(asked))) if asked.isdigit() and int(asked) else max(1, cpus)
