"""Coarse fields where a network expects them: moved along the meridian by a part of a cell."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

_REACH = 2  # cells on either side that the cubic kernel sees


def move_rows(ds: xr.Dataset, dim: Hashable, by: float) -> xr.Dataset:
    """Sample fields ``by`` cells further along a dimension, lazily where they are lazy.

    Cubic convolution of third order (Keys 1981, doi:10.1109/TASSP.1981.1163711). Beyond an edge the outermost value is
    repeated. Where a value that the kernel needs is missing, the value in its own place serves.

    Parameters
    ----------
    ds : Dataset
    dim : hashable
    by : float
        Within half a cell; positive towards the end of the dimension.

    Examples
    --------
    >>> ds = xr.Dataset({"a": ("lat", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])})
    >>> move_rows(ds, "lat", 0.125)["a"].values[1:-2]
    array([1.125, 2.125, 3.125])
    """
    weights = _weights(by)
    return ds.map(lambda da: _moved(da, dim, weights) if dim in da.dims else da, keep_attrs=True)


def _weights(by: float) -> NDArray[np.float64]:
    """Weights of the cells from ``-_REACH`` to ``_REACH``."""
    d = np.abs(np.arange(-_REACH, _REACH + 1) - by)
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _moved(da: xr.DataArray, dim: Hashable, weights: NDArray[np.float64]) -> xr.DataArray:
    axis = da.get_axis_num(dim)
    if da.chunks is None:
        edges = [(_REACH, _REACH) if k == axis else (0, 0) for k in range(da.ndim)]
        return da.copy(data=_sampled(np.pad(da.values, edges, mode="edge"), axis, weights))
    import dask.array

    made = cast(Any, dask.array).map_overlap(
        _in_place, da.data, axis=axis, weights=weights, depth={axis: _REACH}, boundary={axis: "nearest"},
        dtype=da.dtype if da.dtype.kind == "f" else np.float64, meta=np.empty((0,) * da.ndim, da.dtype),
    )  # fmt: skip
    return da.copy(data=made)


def _in_place(values: NDArray[Any], axis: int, weights: NDArray[np.float64]) -> NDArray[Any]:
    """Sample and keep the shape; what stands on either side is cut off afterwards."""
    edges = [(_REACH, _REACH) if k == axis else (0, 0) for k in range(values.ndim)]
    return np.pad(_sampled(values, axis, weights), edges)


def _sampled(values: NDArray[Any], axis: int, weights: NDArray[np.float64]) -> NDArray[Any]:
    """Give the weighted sums, without the cells on either side."""
    values = np.moveaxis(values, axis, -1)
    n = values.shape[-1] - 2 * _REACH
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    own = values[..., _REACH : _REACH + n]
    out = np.zeros(own.shape, dtype)
    for k, weight in enumerate(weights.astype(dtype)):
        if weight:
            out += weight * values[..., k : k + n]
    lost = ~np.isfinite(out)
    if lost.any():
        out[lost] = own[lost]
    return np.moveaxis(out, -1, axis)
