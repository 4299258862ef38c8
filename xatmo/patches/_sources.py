"""Read the stored chunks of a field as plain arrays: Zarr, netCDF, Dask or NumPy behind one small class.

A field that was opened lazily is read chunk by chunk from its store, also when it came as a Dask array that does
nothing but read: the scheduler then has no part in it. Any other Dask array is computed chunk by chunk.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from copy import copy
from itertools import accumulate
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.patches._buffers import Buffers
from xatmo.patches._dask import DaskChunks
from xatmo.patches._zarr import LocalZarr, local_zarr

Array = NDArray[Any]

# Stores without chunks of their own are read in pieces of about this size.
_PIECE_BYTES = 4 << 20


class Source:
    """A field as a grid of chunks that any thread may read.

    Attributes
    ----------
    dims : tuple
        Dimensions, in the field's order.
    edges : tuple of tuple of int
        First index of every chunk along each dimension, and the size: ``(0, 256, 512)`` is two chunks.
    in_memory : bool
        Whether reading costs nothing: the field is a NumPy array.
    """

    def __init__(self, da: xr.DataArray) -> None:
        self.name = da.name
        self.dims: tuple[Hashable, ...] = da.dims
        self.shape: tuple[int, ...] = da.shape
        self.dtype = da.dtype
        self._array: Any  # something that slices and np.asarray turn into numbers
        self.in_memory = bool(getattr(da.variable, "_in_memory", False))
        chunks: Sequence[Sequence[int]]
        if self.in_memory:
            self._array = da.values
            chunks = tuple((n,) for n in da.shape)
        elif da.chunks is None:
            self._array, chunks = _opened(_Lazy(da.variable), da.variable._data, da.variable)
        else:
            stored = stored_array(da.data)
            if stored is not None:
                self._array, chunks = _opened(stored, stored, da.variable)
            else:
                self._array, chunks = DaskChunks(da.data), da.chunks
        self.edges = tuple(tuple(accumulate(c, initial=0)) for c in chunks)

    @property
    def direct(self) -> bool:
        """Whether chunks are read without a Dask scheduler."""
        return not isinstance(self._array, DaskChunks)

    def in_pieces(self) -> Source:
        """Give the same field, an array in memory, as chunks of a few megabytes."""
        other = copy(self)
        other.edges = tuple(tuple(accumulate(c, initial=0)) for c in _pieces(self.shape, self.dtype.itemsize))
        return other

    def read(self, box: tuple[slice, ...], buffers: Buffers | None = None) -> Array:
        """Read a box, given as one slice per dimension. Floats wider than float32, and integers, become float32.

        Arrays in memory come back as views in their own type.
        """
        if self.in_memory:
            return np.asarray(self._array[box])
        direct = isinstance(self._array, LocalZarr)
        block = self._array.read(box, buffers) if direct else np.asarray(self._array[box])
        if block.dtype.kind in "fiub" and block.dtype != np.float32:
            block = block.astype(np.float32)
        return block


class _Lazy:
    """A variable of a lazily opened file: slicing reads that part, and only that part, decoded."""

    def __init__(self, variable: xr.Variable) -> None:
        self._variable = variable

    def __getitem__(self, box: tuple[slice, ...]) -> Array:
        return np.asarray(self._variable[box].values)


def stored_array(array: Any) -> Any:
    """Find what a Dask array reads from, if reading is all that it does; None otherwise.

    Only objects of xarray's backends count, because they hold the locks that their files need.
    """
    layers = getattr(getattr(array, "dask", None), "layers", None)
    if layers is None or len(layers) != 2 or array.name not in layers:
        return None
    origin = layers.get(f"original-{array.name}")
    if origin is None or len(origin) != 1:
        return None
    (found,) = dict(origin).values()
    found = getattr(found, "value", found)  # newer graphs wrap data in a node
    ours = type(found).__module__.startswith("xarray.") and getattr(found, "shape", None) == array.shape
    return found if ours else None


def _opened(reader: Any, array: Any, variable: xr.Variable) -> tuple[Any, tuple[tuple[int, ...], ...]]:
    """Find the quickest reader of a lazily opened variable, and its chunks as they lie in the file.

    ``array`` is the innermost of xarray's wrappers that is known; what cannot be told from them costs speed only.
    """
    first: list[int] | None = [0] * variable.ndim
    decoded = False
    while getattr(array, "array", None) is not None:
        key = getattr(getattr(array, "key", None), "tuple", None)
        if key is not None and first is not None:
            plain = len(key) == variable.ndim and all(isinstance(k, slice) and k.step in (None, 1) for k in key)
            first = [f + (k.start or 0) for f, k in zip(first, key, strict=True)] if plain else None
        decoded |= hasattr(array, "func")
        array = array.array
    direct = local_zarr(array) if first is not None and not decoded and array.dtype == variable.dtype else None
    if direct is not None and first is not None:
        return direct.part(first), _cut(variable.shape, direct.chunks, first)
    encoding = variable.encoding
    stored = encoding.get("shards") or encoding.get("chunks") or encoding.get("chunksizes")
    if isinstance(stored, (tuple, list)) and len(stored) == variable.ndim:
        return reader, _cut(variable.shape, stored, first or [0] * variable.ndim)
    return reader, _pieces(variable.shape, max(variable.dtype.itemsize, 1))


def _cut(shape: tuple[int, ...], stored: Sequence[int], first: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Chunk lengths of a part of a chunked array that begins at ``first``."""
    found = []
    for n, c, o in zip(shape, stored, first, strict=True):
        head = min(n, int(c) - o % int(c))
        whole, tail = divmod(n - head, int(c))
        found.append((head, *(int(c),) * whole, *((tail,) if tail else ())))
    return tuple(found)


def _pieces(shape: tuple[int, ...], itemsize: int) -> tuple[tuple[int, ...], ...]:
    """Cut an array without chunks along its leading dimensions into pieces of a few megabytes."""
    found: list[tuple[int, ...]] = []
    wanted = _PIECE_BYTES // itemsize
    for axis, n in enumerate(shape):
        inner = math.prod(shape[axis + 1 :])
        length = max(1, min(n, wanted // max(inner, 1)))
        rest = n % length
        found.append((length,) * (n // length) + ((rest,) if rest else ()))
        if length > 1 or inner <= wanted:
            found += [(m,) for m in shape[axis + 1 :]]
            break
    return tuple(found)
