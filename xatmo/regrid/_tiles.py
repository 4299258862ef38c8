"""Apply block-diagonal weights chunk by chunk: no target needs points of two chunks, so none has to be joined."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from xatmo.regrid._appliers import applier
from xatmo.regrid.separable import AxisWeights, Weights

Ranges = tuple[tuple[int, int], ...]


def ranges(axis: AxisWeights, chunks: tuple[int, ...] | None) -> Ranges | None:
    """Targets that each chunk of the source serves alone; None if some target needs two chunks.

    Parameters
    ----------
    axis : AxisWeights
    chunks : tuple of int or None
        Sizes along the source; None is one chunk.
    """
    size = axis.shape[1]
    edges = np.cumsum([0, *(chunks or (size,))])
    pointer, indices = axis.matrix.indptr, axis.matrix.indices
    if (np.diff(pointer) == 0).any():
        return None
    first = np.searchsorted(edges, np.minimum.reduceat(indices, pointer[:-1]), side="right") - 1
    last = np.searchsorted(edges, np.maximum.reduceat(indices, pointer[:-1]), side="right") - 1
    if (first != last).any() or (np.diff(first) < 0).any():
        return None
    bounds = np.searchsorted(first, np.arange(edges.size))
    return tuple((int(a), int(b)) for a, b in pairwise(bounds))


def apply(field: xr.DataArray, weights: Weights, dims: tuple[Any, ...], dtype: Any, min_valid: float) -> xr.DataArray:
    """Regrid a field that is split along ``dims``; the result is split alike. The weights have to allow it."""
    import dask.array as da

    last = field.transpose(..., *dims)
    chunks = last.variable.chunksizes
    served = [ranges(axis, chunks.get(d)) for axis, d in zip((weights.lat, weights.lon), dims, strict=True)]
    sizes = [tuple(b - a for a, b in of or ()) for of in served]
    data: Any = last.data
    map_blocks: Any = da.map_blocks  # untyped
    out = map_blocks(
        _Tile(weights, (served[0] or (), served[1] or ()), np.dtype(dtype), min_valid), data,
        dtype=dtype, chunks=(*data.chunks[:-2], *sizes), meta=np.empty((0,) * data.ndim, dtype),
    )  # fmt: skip
    coords = {n: c for n, c in last.coords.items() if not set(c.dims) & set(dims)}
    return xr.DataArray(out, dims=last.dims, coords=coords, name=field.name, attrs=field.attrs)


@dataclass(frozen=True)
class _Tile:
    weights: Weights
    served: tuple[Ranges, Ranges]
    dtype: np.dtype[Any]
    min_valid: float

    def __call__(self, block: NDArray[Any], block_info: Any = None) -> NDArray[Any]:
        """Regrid one chunk with its own corner of both matrices."""
        where = block_info[0]
        parts = []
        for k, axis in enumerate((self.weights.lat, self.weights.lon)):
            at = block.ndim - 2 + k
            targets = slice(*self.served[k][where["chunk-location"][at]])
            sources = slice(*where["array-location"][at])
            matrix = sparse.csr_array(axis.matrix[targets][:, sources])
            matrix.sort_indices()
            parts.append(AxisWeights(matrix, axis.coverage[targets]))
        own = applier(Weights(self.weights.method, parts[0], parts[1]), self.dtype, self.min_valid)
        return own(block)
