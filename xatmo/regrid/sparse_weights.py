"""Weights between any two sets of points: one sparse matrix over flattened sources and targets, applied lazily."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from xatmo.errors import ChunkError, DimensionError, OptionError
from xatmo.regrid.separable import Weights
from xatmo.typing import Floats

Array = NDArray[Any]
Shape = tuple[int, ...]

# Valid parts of cells are sums of rounded weights.
_PART_ROUNDING = 1e-6
# Methods whose targets stand for a mean over a cell; only these are divided by the part that is valid.
MEANS = ("conservative", "conservative2")


@dataclass(frozen=True, eq=False)
class SparseWeights:
    """All that is needed to take fields from one set of points to another, independent of any field.

    A target value is ``out[i] = sum_k matrix[i, k] field[k]`` over flattened points.

    Attributes
    ----------
    matrix : sparse array (n_target, n_source)
        Float64 CSR without stored zeros. Rows of means sum to 1 wherever anything is covered.
    source_shape, target_shape : tuple of int
        Shapes whose last dimension varies fastest in the flattened points.
    method : str
        ``"conservative"``, ``"bilinear"``, ``"nearest"`` and so on. Means (`MEANS`) are divided by the valid part of
        their weights; all others become NaN where a missing point has a weight.
    coverage : array (n_target,)
        Part of each target cell, or for the point methods 1 or 0, that the source covers (``frac_b`` in files).
    across : sparse array (n_target, n_source) or None
        What points beyond a pole contribute, with the sign that `signed` gives it: -1 for vector components.
    source_fraction, source_area, target_area : array or None
        ``frac_a`` and the areas in square radians, where they are known.
    source_mask, target_mask : array of bool or None
        Points that count, where masks are known; False never takes part.

    Examples
    --------
    >>> halves = SparseWeights(sparse.csr_array([[0.5, 0.5, 0]]), (3,), (1,), "conservative")
    >>> halves.apply(np.array([1.0, 3, 100]))
    array([2.])
    """

    matrix: sparse.csr_array
    source_shape: Shape
    target_shape: Shape
    method: str
    coverage: Floats = field(default_factory=lambda: np.zeros(0))
    across: sparse.csr_array | None = None
    source_fraction: Floats | None = None
    source_area: Floats | None = None
    target_area: Floats | None = None
    source_mask: NDArray[np.bool_] | None = None
    target_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        rows, columns = self.matrix.shape
        wanted = int(np.prod(self.target_shape)), int(np.prod(self.source_shape))
        if (rows, columns) != wanted:
            message = (
                f"weights of {rows} targets and {columns} sources came; the shapes {self.target_shape} and "
                f"{self.source_shape} have {wanted[0]} and {wanted[1]} points"
            )
            raise DimensionError(message)
        if self.coverage.size != rows:
            object.__setattr__(self, "coverage", (np.diff(self.matrix.indptr) > 0).astype(np.float64))

    # ------------------------------------------------------------------ made from others
    @classmethod
    def from_links(
        cls, rows: Array, columns: Array, values: Array, *, source_shape: Shape, target_shape: Shape, **rest: Any
    ) -> SparseWeights:
        """Collect links, ``(n_links,)`` each, with points counted from 0; several of one pair add up.

        Raises
        ------
        DimensionError
            If a link points outside the grids.
        """
        n, m = int(np.prod(target_shape)), int(np.prod(source_shape))
        for name, index, size in (("target", rows, n), ("source", columns, m)):
            if index.size and (int(index.min()) < 0 or int(index.max()) >= size):
                message = (
                    f"weights name {name} point {int(index.max()) + 1}, counted from 1 (the least is "
                    f"{int(index.min()) + 1}); the {name} grid has {size} points"
                )
                raise DimensionError(message)
        matrix = sparse.csr_array((np.asarray(values, dtype=np.float64), (rows, columns)), shape=(n, m))
        return cls(clean(matrix), source_shape, target_shape, **rest)

    @classmethod
    def of(
        cls, weights: Weights, *, source_area: Floats | None = None, target_area: Floats | None = None
    ) -> SparseWeights:
        """Multiply out separable weights.

        Examples
        --------
        >>> from xatmo import Grid
        >>> from xatmo.regrid import weights_between
        >>> separable = weights_between(Grid.regular(9, 16), Grid.regular(4, 8, poles=False), "conservative")
        >>> SparseWeights.of(separable).matrix.shape
        (32, 144)
        """
        matrix = clean(sparse.kron(weights.lat.matrix, weights.lon.matrix, format="csr"))
        across = None
        if weights.across is not None:
            across = clean(sparse.kron(*(a.matrix for a in weights.across), format="csr"))
        return cls(
            matrix, weights.source_shape, weights.target_shape, weights.method, weights.coverage.ravel(), across,
            source_area=source_area, target_area=target_area,
        )  # fmt: skip

    def signed(self, sign: float = 1.0) -> SparseWeights:
        """Add what lies beyond the poles, with this sign, to the matrix."""
        return self if self.across is None else self._signed[0 if sign > 0 else 1]

    @cached_property
    def _signed(self) -> tuple[SparseWeights, SparseWeights]:
        plus, minus = (clean(self.matrix + sign * cast(Any, self.across)) for sign in (1, -1))
        return replace(self, matrix=plus, across=None), replace(self, matrix=minus, across=None)

    def masked(self, source: Array | None = None, target: Array | None = None) -> SparseWeights:
        """Weights without the source points and targets at which these masks (of the grids' shapes) are False.

        Means are scaled again to sum to 1, and their coverage shrinks; other targets that lose a weight are uncovered.
        """
        out = self
        if source is not None:
            keep = np.asarray(source, dtype=bool).ravel()
            out = replace(out, source_mask=keep)
            kept = clean(self.matrix @ sparse.diags_array(keep.astype(np.float64), format="csr"))
            before, after = (np.asarray(m.sum(axis=1)) for m in (self.matrix, kept))
            if self.method in MEANS:
                part = np.divide(after, before, out=np.zeros_like(after), where=before != 0)
                out = replace(out, matrix=scaled_rows(kept), coverage=self.coverage * part)
            else:
                lost = np.diff(kept.indptr) < np.diff(self.matrix.indptr)
                across = self.across
                if across is not None:
                    fewer = clean(across @ sparse.diags_array(keep.astype(np.float64), format="csr"))
                    lost |= np.diff(fewer.indptr) < np.diff(across.indptr)
                    across = without_rows(across, lost)
                out = replace(
                    out, matrix=without_rows(kept, lost), across=across, coverage=np.where(lost, 0, self.coverage)
                )
        if target is not None:
            keep = np.asarray(target, dtype=bool).ravel()
            out = replace(
                out, matrix=without_rows(out.matrix, ~keep), coverage=np.where(keep, out.coverage, 0),
                across=None if out.across is None else without_rows(out.across, ~keep), target_mask=keep,
            )  # fmt: skip
        return out

    # ------------------------------------------------------------------ facts
    @property
    def n_source(self) -> int:
        """Number of source points."""
        return int(self.matrix.shape[1])

    @property
    def n_target(self) -> int:
        """Number of target points."""
        return int(self.matrix.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of the matrix."""
        return int(self.matrix.data.nbytes + self.matrix.indices.nbytes + self.matrix.indptr.nbytes)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every number that takes part in an application."""
        digest = hashlib.sha256(f"{self.method} {self.source_shape} {self.target_shape}".encode())
        for matrix in (self.matrix, self.across):
            for part in () if matrix is None else (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(np.ascontiguousarray(self.coverage).tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}  # what is derived is made again

    def __repr__(self) -> str:
        return f"<SparseWeights {self.method} {self.source_shape} -> {self.target_shape}, {self.matrix.nnz} weights>"

    # ------------------------------------------------------------------ use on plain arrays
    def apply(
        self,
        fields: Array,
        *,
        min_valid: float = 0.5,
        skipna: bool = True,
        sign: float = 1.0,
        threads: int = 1,
        dtype: Any = None,
    ) -> Array:
        """Regrid ``(..., *source_shape)`` to ``(..., *target_shape)``.

        Parameters
        ----------
        fields : array
        min_valid : float
            For means: least part of a cell that has to be inside the source and valid; else NaN.
        skipna : bool
            Whether means leave missing points out. If not, one missing point makes each cell that it touches NaN.
        sign : float
            -1 for components of vectors, at points reached over a pole.
        threads : int
        dtype : float type, optional
            Of the result: float32 for float32 fields, otherwise float64, unless given.
        """
        if fields.dtype.kind == "c":
            parts = (self.apply(p, min_valid=min_valid, skipna=skipna, sign=sign, threads=threads)
                     for p in (fields.real, fields.imag))  # fmt: skip
            real, imaginary = parts
            return np.asarray(real + 1j * imaginary)
        kind = np.dtype(np.float32 if fields.dtype.kind == "f" and fields.dtype.itemsize <= 4 else np.float64)
        kind = kind if dtype is None else np.dtype(dtype)
        lead = fields.shape[: fields.ndim - len(self.source_shape)]
        stack = fields.reshape(-1, self.n_source)
        out = np.empty((stack.shape[0], self.n_target), kind)
        weights = self.signed(sign)
        few = max(1, -(-stack.shape[0] // threads))
        parts_of = [slice(start, start + few) for start in range(0, stack.shape[0], few)]

        def work(part: slice) -> None:
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                weights._part(stack[part], out[part], min_valid, skipna)

        if len(parts_of) <= 1:
            for part in parts_of:
                work(part)
        else:
            weights._as(kind if kind.kind == "f" else np.dtype(np.float64))  # once, not by every thread
            with ThreadPoolExecutor(len(parts_of)) as pool:
                list(pool.map(work, parts_of))
        return out.reshape(*lead, *self.target_shape)

    def _part(self, fields: Array, out: Array, min_valid: float, skipna: bool) -> None:
        if self.method == "most_common":
            out[:] = [_largest_share(self.matrix, one) for one in fields]
        elif self.method == "nearest":
            # Picked, not multiplied: any number stays what it was.
            out[:] = fields[:, self._nearest]
        else:
            self._sums(fields, out, min_valid, skipna)
        bare = self._uncovered(min_valid)
        if bare is not None:
            out[:, bare] = np.nan

    def _sums(self, fields: Array, out: Array, min_valid: float, skipna: bool) -> None:
        matrix = self._as(out.dtype)
        last: tuple[Array, Array] | None = None  # one land mask for all fields, most often
        for one, result in zip(fields, out, strict=True):
            values = np.ascontiguousarray(one, dtype=out.dtype)
            result[:] = matrix @ values
            if np.isfinite(result.sum()):
                continue
            missing = np.isnan(values)
            # A NaN has reached exactly those targets for which it has a weight. Only means leave it out.
            if not (self.method in MEANS and skipna and not self._overshoots and missing.any()):
                continue
            if last is None or not np.array_equal(missing, last[0]):
                last = missing, matrix @ (~missing).astype(out.dtype)
            result[:] = matrix @ np.where(missing, out.dtype.type(0), values)
            np.divide(result, last[1], out=result, where=last[1] < 1 - 16 * np.finfo(out.dtype).eps)
            np.copyto(result, np.nan, where=last[1] * self.coverage < self._least(min_valid))

    def _least(self, min_valid: float) -> float:
        return max(min_valid - _PART_ROUNDING, _PART_ROUNDING) if self.method in MEANS else 0.5

    def _uncovered(self, min_valid: float) -> NDArray[np.bool_] | None:
        bare = (self.coverage < self._least(min_valid)) | self._empty
        return bare if bare.any() else None

    @cached_property
    def _empty(self) -> NDArray[np.bool_]:
        return np.asarray(np.diff(self.matrix.indptr) == 0)

    @cached_property
    def _overshoots(self) -> bool:
        """Whether there are negative weights: then the valid part of the weights says nothing."""
        return bool(self.matrix.nnz and self.matrix.data.min() < 0)

    @cached_property
    def _nearest(self) -> NDArray[np.intp]:
        index = np.zeros(self.n_target, dtype=np.intp)
        filled = np.flatnonzero(~self._empty)
        index[filled] = self.matrix.indices[self.matrix.indptr[filled]]
        return index

    def _as(self, dtype: np.dtype[Any]) -> sparse.csr_array:
        """Get the matrix in a dtype; each process makes it once."""
        made = self.__dict__.setdefault("_made", {})
        if dtype.str not in made:
            made[dtype.str] = self.matrix.astype(dtype)
        return cast(sparse.csr_array, made[dtype.str])

    # ------------------------------------------------------------------ use on labelled arrays
    def regrid(
        self,
        da: xr.DataArray,
        dims: Sequence[Hashable],
        target_dims: Sequence[Hashable],
        *,
        min_valid: float = 0.5,
        skipna: bool = True,
        sign: float = 1.0,
        threads: int = 1,
    ) -> xr.DataArray:
        """Regrid one field, lazily if it is lazy, without coordinates on the new dimensions, which come last.

        Under Dask the weights are one key of the graph, so that each worker gets them once.

        Raises
        ------
        DimensionError
            If the field does not have the shape of the source.
        ChunkError
            If a source dimension is split into chunks.
        """
        sizes = tuple(da.sizes[d] for d in dims)
        if sizes != self.source_shape:
            shown = dict(zip(map(str, dims), sizes, strict=True))
            message = f"variable {da.name!r} has {shown} points; these weights are for {self.source_shape}"
            raise DimensionError(message)
        last = da.transpose(..., *dims)
        out_dims = [d for d in last.dims if d not in dims] + list(target_dims)
        coords = {n: c for n, c in da.coords.items() if not set(c.dims) & set(dims)}
        dtype = self._result_dtype(da.dtype, min_valid)
        kernel = _Kernel(min_valid, skipna, sign, dtype)
        if da.chunks is None:
            data = kernel(last.values, self, threads)
        else:
            split = [d for d in dims if len(last.variable.chunksizes[d]) > 1]
            if split:
                call = ", ".join(f"{d!r}: -1" for d in split)
                message = f"the weights need {tuple(dims)} whole; call .chunk({{{call}}}) first"
                raise ChunkError(message)
            data = self._lazily(last.data, kernel)
        return xr.DataArray(data, dims=out_dims, coords=coords, name=da.name, attrs=da.attrs)

    def _result_dtype(self, dtype: np.dtype[Any], min_valid: float) -> np.dtype[Any]:
        if self.method in ("nearest", "most_common") and self._uncovered(min_valid) is None:
            return dtype
        if dtype.kind == "c":
            return np.dtype(np.complex64 if dtype.itemsize <= 8 else np.complex128)
        return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)

    def _lazily(self, data: Any, kernel: _Kernel) -> Any:
        import dask.array as da
        from dask.delayed import delayed

        name = f"weights-{self.fingerprint[:24]}"
        from_delayed: Any = da.from_delayed  # untyped
        one = from_delayed(delayed(self, name=name, traverse=False), shape=(), dtype=object, name=f"{name}-0")
        lead = data.ndim - len(self.source_shape)
        index = tuple(range(data.ndim))
        new = tuple(range(data.ndim, data.ndim + len(self.target_shape)))
        blockwise: Any = da.blockwise  # untyped
        return blockwise(
            kernel, index[:lead] + new, data, index, one, (), dtype=kernel.dtype, concatenate=True,
            new_axes=dict(zip(new, self.target_shape, strict=True)),
            meta=np.empty((0,) * (lead + len(new)), kernel.dtype),
            name=f"regrid-{self.fingerprint[:8]}-{data.name}-{kernel.token}", align_arrays=False,
        )  # fmt: skip


@dataclass(frozen=True)
class _Kernel:
    min_valid: float
    skipna: bool
    sign: float
    dtype: np.dtype[Any]

    @property
    def token(self) -> str:
        return f"{self.min_valid:g}-{int(self.skipna)}-{self.sign:g}-{self.dtype.str[1:]}"

    def __call__(self, block: Array, weights: Any, threads: int = 1) -> Array:
        if not isinstance(weights, SparseWeights):  # Dask may wrap what it does not know into an array
            weights = weights.item()
        if self.dtype.kind == "c":
            options: dict[str, Any] = {}
        else:
            options = {"dtype": self.dtype}
        out = weights.apply(
            block, min_valid=self.min_valid, skipna=self.skipna, sign=self.sign, threads=threads, **options
        )
        return np.asarray(out.astype(self.dtype, copy=False))


def threads_for(da: xr.DataArray, threads: int | None) -> int:
    """Threads for one field: off the main thread, and under Dask, someone else already runs things side by side."""
    from xatmo.regrid._kernels import thread_count

    if da.chunks is not None:
        return 1
    return threads or (thread_count() if threading.current_thread() is threading.main_thread() else 1)


# ---------------------------------------------------------------------- matrices
def clean(matrix: Any) -> sparse.csr_array:
    """CSR with sorted indices, summed duplicates, no stored zeros, and short indices where they suffice."""
    out = sparse.csr_array(matrix)
    out.sum_duplicates()
    out.eliminate_zeros()
    out.sort_indices()
    if max(out.nnz, *out.shape) < 2**31 and out.indices.dtype != np.int32:
        parts = out.data, out.indices.astype(np.int32), out.indptr.astype(np.int32)
        out = sparse.csr_array(parts, shape=out.shape)
    return out


def scaled_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Divide each row by its sum, twice, so that the sums are 1 to the last bit or two; empty rows stay empty."""
    for _ in range(2):
        sums = np.asarray(matrix.sum(axis=1))
        sums[sums == 0] = 1
        data = matrix.data / np.repeat(sums, np.diff(matrix.indptr))
        matrix = sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    return matrix


def without_rows(matrix: sparse.csr_array, drop: NDArray[np.bool_]) -> sparse.csr_array:
    """Empty these rows."""
    return clean(sparse.diags_array((~drop).astype(np.float64), format="csr") @ matrix)


def row_products(first: sparse.csr_array, second: sparse.csr_array) -> sparse.csr_array:
    """Kronecker product row by row: ``out[i] = kron(first[i], second[i])``.

    Examples
    --------
    >>> row_products(sparse.csr_array([[1.0, 2]]), sparse.csr_array([[0, 3.0]])).toarray()
    array([[0., 3., 0., 6.]])
    """
    n, m = first.shape[0], second.shape[1]
    a, b = np.diff(first.indptr), np.diff(second.indptr)
    count = a * b
    row = np.repeat(np.arange(n), count)
    inner = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    i = first.indptr[:-1][row] + inner // b[row]
    k = second.indptr[:-1][row] + inner % b[row]
    columns = first.indices[i].astype(np.int64) * m + second.indices[k]
    shape = (n, first.shape[1] * m)
    return clean(sparse.csr_array((first.data[i] * second.data[k], (row, columns)), shape=shape))


def _largest_share(matrix: sparse.csr_array, field: Array) -> Array:
    """Find, for each target, the value that has the largest sum of weights (the smaller value of two equals)."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    values = field[matrix.indices]
    valid = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
    rows, values, weights = rows[valid], values[valid], matrix.data[valid]
    out = np.full(matrix.shape[0], np.nan if field.dtype.kind == "f" else 0, dtype=field.dtype)
    if rows.size == 0:
        return out
    order = np.lexsort((values, rows))
    rows, values, weights = rows[order], values[order], weights[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(rows) != 0) | (values[1:] != values[:-1])])
    shares = np.add.reduceat(weights, starts)
    best = np.lexsort((-starts, shares, rows[starts]))  # within a target: by share, then by value downwards
    last = np.flatnonzero(np.r_[np.diff(rows[starts][best]) != 0, True])
    chosen = starts[best[last]]
    out[rows[chosen]] = values[chosen]
    return out


def check_part(min_valid: Any) -> None:
    """Raise unless this is a part of one.

    Raises
    ------
    OptionError
        Saying so.
    """
    if not isinstance(min_valid, int | float | np.number) or not 0 <= min_valid <= 1:
        message = f"min_valid={min_valid!r} came; wanted a part of a cell's area, between 0 and 1"
        raise OptionError(message)
