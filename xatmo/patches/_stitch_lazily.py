"""Stitch a Dask array of patches without computing it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import DimensionError
from xatmo.patches.plan import Plan
from xatmo.patches.stitch import blending_weights, floating, stitch

Array = NDArray[Any]


def stitch_lazily(arrays: Any, over: Plan, window: str, factor: Mapping[Hashable, int]) -> Any:
    """Stitch lazily: a slab for every window along the first dimension, a block between one start and the next."""
    from dask.array import concatenate, from_delayed
    from dask.delayed import delayed

    if arrays.shape[0] != len(over):
        message = f"{arrays.shape[0]} patches came; the plan has {len(over)} windows"
        raise DimensionError(message)
    d, *rest = over.sizes
    scale, n, length, each = factor[d], over.sizes[d], over.patch_size[d], len(over) // over.shape[0]
    inner = Plan(
        {**over.sizes, d: length}, over.patch_size, over.overlap, over.periodic - {d},
        {**over.starts, d: np.zeros(1, dtype=np.int64)},
    )  # fmt: skip
    slab = delayed(stitch, pure=False)
    slabs = [slab(arrays[k * each : (k + 1) * each], inner, window=window, factor=factor) for k in range(over.shape[0])]
    weights = blending_weights(over, window, factor)[d]
    leading = arrays.shape[1 : arrays.ndim - len(over.sizes)]
    inside = tuple(over.sizes[r] * factor[r] for r in rest)
    dtype = floating(arrays.dtype)
    edges = np.unique(np.concatenate([[0, n], over.starts[d]]))
    blocks = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        windows = over.windows_covering(d, low, high).tolist()
        parts = []
        for k in windows:
            # on a periodic dimension one window may hold an interval's points in two runs
            at = np.arange(low, high) - int(over.starts[d][k])
            at = at % n if d in over.periodic else at
            parts.append(((at[:, None] * scale + np.arange(scale)).ravel(), (at >= 0) & (at < length)))
        block = delayed(_blend, pure=False)(
            [slabs[k] for k in windows], [weights[k] for k in windows], parts, len(leading), scale, dtype
        )
        shape = (*leading, (high - low) * scale, *inside)
        blocks.append(from_delayed(block, shape=shape, dtype=dtype))  # type: ignore[no-untyped-call]
    return concatenate(blocks, axis=len(leading))  # type: ignore[no-untyped-call]


def _blend(
    slabs: list[Array],
    weights: list[Array],
    parts: list[tuple[Array, Array]],
    axis: int,
    scale: int,
    dtype: np.dtype[Any],
) -> Array:
    """Add up the parts of slabs that lie in one interval of the first dimension."""
    out: Array | None = None
    for slab, weight, (at, there) in zip(slabs, weights, parts, strict=True):
        fine = np.repeat(there, scale)
        taken = slab.take(np.where(fine, at, 0), axis=axis)
        shape = (-1, *[1] * (slab.ndim - axis - 1))
        real = np.empty(0, dtype=dtype).real.dtype
        row = np.where(fine, weight[np.where(fine, at, 0)], 0).astype(real).reshape(shape)
        term = np.where(fine.reshape(shape), taken * row, 0)  # a NaN outside the window does not count
        out = term if out is None else out + term
    return np.asarray(out, dtype=dtype)
