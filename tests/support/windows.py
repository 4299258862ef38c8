"""Fields in which every value tells where it lies, to see which windows were cut from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xatmo.patches import Plan

SIZES = {"time": 12, "lat": 20, "lon": 36}


def counting(dtype: str = "float32", **sizes: int) -> xr.DataArray:
    """A field in which every value tells where it lies."""
    shape = {**SIZES, **sizes}
    values = np.arange(np.prod(list(shape.values())), dtype=dtype).reshape(tuple(shape.values()))
    return xr.DataArray(values, dims=tuple(shape), name="x")


def cut(values: np.ndarray[Any, Any], p: Plan, i: int, factor: int = 1) -> np.ndarray[Any, Any]:
    index = [
        np.arange(s * factor, (s + p.patch_size[d]) * factor) % (p.sizes[d] * factor) for d, s in p.start(i).items()
    ]
    return values[np.ix_(*index)]


def firsts(batches: Any) -> list[float]:
    """First value of every window: with counting fields, which window it is."""
    return [float(window.reshape(-1)[0]) for batch in batches for window in batch]
