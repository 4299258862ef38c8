"""Statistics of fields of any size: every chunk is reduced where it lies, and the few numbers are merged in a tree."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.errors import ChunkError, MissingValueError
from xatmo.normalize._scaling import LOG_AMPLITUDE

Array = NDArray[Any]
Plan = Mapping[Hashable, tuple[xr.DataArray, Sequence[Hashable]]]
"""Fields with the dimensions to reduce."""

MOMENTS = np.dtype([("count", "f8"), ("mean", "f8"), ("m2", "f8"), ("low", "f8"), ("high", "f8")])
# Blocks of this many values are reduced in one go, so that float64 copies of a large chunk never exist.
_SLAB = 2_000_000
_FAN_IN = 16
_BINS = 2048
_PASSES = 8
QUANTILE_TOLERANCE = 1e-6
"""Quantiles are this near, in interquartile ranges."""
_MOST_HISTOGRAMS = 256


# ---------------------------------------------------------------------- count, mean, variance, extremes
def moments(x: Array, axis: Sequence[int]) -> Array:
    """Count, mean, sum of squared deviations, minimum and maximum over axes (kept with size 1), NaN left out.

    Returns
    -------
    array of `MOMENTS`
        Accumulated in float64, squares about the mean of each slab.
    """
    axis = tuple(axis)
    if x.size > _SLAB:
        along = int(np.argmax(x.shape))
        if x.shape[along] > 1:
            half = x.shape[along] // 2
            halves = (slice(0, half), slice(half, None))
            both = np.concatenate([moments(x[(slice(None),) * along + (h,)], axis) for h in halves], axis=along)
            return merge(both, (along,)) if along in axis else both
    values = x.astype(np.float64)
    missing = np.isnan(values)
    out = np.empty([1 if i in axis else n for i, n in enumerate(x.shape)], MOMENTS)
    count = np.asarray(x.size / max(out.size, 1) - missing.sum(axis=axis, keepdims=True), dtype=np.float64)
    gaps = bool(missing.any())
    out["low"] = np.fmin.reduce(values, axis=axis, keepdims=True, initial=np.inf)
    out["high"] = np.fmax.reduce(values, axis=axis, keepdims=True, initial=-np.inf)
    if gaps:
        values[missing] = 0
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are reported by whoever reads the result
        mean = values.sum(axis=axis, keepdims=True) / np.maximum(count, 1)
        values -= mean
        if gaps:
            values[missing] = 0
        rest = values.sum(axis=axis, keepdims=True)
        np.multiply(values, values, out=values)
        out["m2"] = values.sum(axis=axis, keepdims=True) - rest**2 / np.maximum(count, 1)
    out["count"], out["mean"] = count, mean
    return out


def merge(parts: Array, axis: Sequence[int]) -> Array:
    """Merge `MOMENTS` along axes (kept with size 1); Chan, Golub and LeVeque (1979).

    ``m2 = sum m2_i + sum n_i (mean_i - mean)^2``
    """
    axis = tuple(axis)
    out = np.empty([1 if i in axis else n for i, n in enumerate(parts.shape)], MOMENTS)
    count = parts["count"].sum(axis=axis, keepdims=True)
    some = np.maximum(count, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        # Means are merged relative to one of them, which loses nothing when they are large and alike.
        origin = np.where(parts["count"] > 0, parts["mean"], np.nan)
        origin = np.fmax.reduce(origin, axis=axis, keepdims=True, initial=-np.inf)
        origin = np.where(np.isfinite(origin), origin, 0)
        shift = np.where(parts["count"] > 0, parts["mean"] - origin, 0)
        off = (parts["count"] * shift).sum(axis=axis, keepdims=True) / some
        between = parts["count"] * (shift - off) ** 2
        out["m2"] = (parts["m2"] + between).sum(axis=axis, keepdims=True)
    out["count"], out["mean"] = count, origin + off
    out["low"] = parts["low"].min(axis=axis, keepdims=True)
    out["high"] = parts["high"].max(axis=axis, keepdims=True)
    return out


def _chunk(x: Array, axis: Any, keepdims: bool) -> Array:
    return moments(x, (axis,) if isinstance(axis, int) else axis)


def _combine(parts: Array, axis: Any, keepdims: bool) -> Array:
    return merge(parts, (axis,) if isinstance(axis, int) else axis)


def _aggregate(parts: Array, axis: Any, keepdims: bool) -> Array:
    merged = _combine(parts, axis, keepdims)
    return merged if keepdims else np.squeeze(merged, axis=axis)


def _reduce(field: xr.DataArray, axis: tuple[int, ...]) -> Any:
    if field.chunks is None:
        return np.squeeze(moments(np.asarray(field.values), axis), axis=axis)
    import dask.array as da

    left = field.ndim - len(axis)
    reduction: Any = da.reduction  # untyped
    return reduction(
        field.data, chunk=_chunk, combine=_combine, aggregate=_aggregate, axis=axis, dtype=MOMENTS, concatenate=True,
        split_every=_FAN_IN, meta=np.empty((0,) * left, MOMENTS),
    )  # fmt: skip


def field_moments(plan: Plan) -> dict[Hashable, xr.DataArray]:
    """Moments of many fields, all in one pass over the data.

    Raises
    ------
    MissingValueError
        If a field (or a part of it that has statistics of its own) holds only NaN, or an infinity.
    """
    lazy = []
    for field, dims in plan.values():
        lazy.append(_reduce(field, tuple(field.get_axis_num(d) for d in dims)))
    done = _compute(lazy)
    found = {}
    for (name, (field, dims)), values in zip(plan.items(), done, strict=True):
        rest = [d for d in field.dims if d not in dims]
        coords = {d: field[d] for d in rest if d in field.coords}
        own = {d: (d, c.values, c.attrs) for d, c in coords.items()}
        result = xr.DataArray(np.asarray(values), dims=rest, coords=own)
        _check(name, result)
        found[name] = result
    return found


def part(found: xr.DataArray, statistic: str) -> xr.DataArray:
    """One number out of `MOMENTS`, or ``"std"``."""
    if statistic == "std":
        with np.errstate(invalid="ignore"):
            values = np.sqrt(np.maximum(found.values["m2"], 0) / found.values["count"])
    else:
        values = found.values[statistic]
    return found.copy(data=np.asarray(values, dtype=np.float64))


def _check(name: Hashable, found: xr.DataArray) -> None:
    empty = np.asarray(found.values["count"] == 0)
    if empty.any():
        where = "" if empty.ndim == 0 else f" in {int(empty.sum())} of {empty.size} places along {found.dims}"
        message = (
            f"variable {name!r} holds only missing values{where}; wanted some numbers to take statistics of: "
            "drop it, or fit on a part that has data"
        )
        raise MissingValueError(message)
    if not (np.isfinite(found.values["low"]) & np.isfinite(found.values["high"])).all():
        message = (
            f"variable {name!r} holds infinite values; wanted numbers or NaN. Mask them first, for instance "
            "ds.where(numpy.isfinite(ds))"
        )
        raise MissingValueError(message)


# ---------------------------------------------------------------------- the logarithm's second step
def log_field(field: xr.DataArray, center: xr.DataArray, scale: xr.DataArray) -> xr.DataArray:
    """``sign(z) log1p(a abs(z))`` of the standardized field, lazily, in float64."""
    z = (field.astype(np.float64) - center) / scale
    logged: xr.DataArray = np.sign(z) * np.log1p(LOG_AMPLITUDE * np.abs(z))  # type: ignore[assignment]
    return logged.transpose(*field.dims)


# ---------------------------------------------------------------------- quantiles
def field_quantiles(
    plan: Plan, found: Mapping[Hashable, xr.DataArray], levels: Sequence[float]
) -> dict[Hashable, Array]:
    """Quantiles by counting: histograms, refined around each wanted value until its bracket is narrow enough.

    Each pass reads the data once and keeps `_BINS` counts per value wanted, whatever the size of the data. Counts do
    not depend on the chunks. The result is within `QUANTILE_TOLERANCE` interquartile ranges of NumPy's (linear
    interpolation between order statistics), after 2 passes most often.

    Returns
    -------
    dict of arrays (len(levels), *rest)
    """
    searches: list[tuple[Any, _Search]] = []
    shapes = {}
    for name, (field, dims) in plan.items():
        rest = [d for d in field.dims if d not in dims]
        shape = tuple(field.sizes[d] for d in rest)
        shapes[name] = shape
        if int(np.prod(shape)) > _MOST_HISTOGRAMS:
            continue
        for index in np.ndindex(*shape):
            sub = field.isel(dict(zip(rest, index, strict=True)))
            numbers = found[name].values[index]
            searches.append(
                (sub.data, _Search(float(numbers["low"]), float(numbers["high"]), int(numbers["count"]), levels))
            )
    for _ in range(_PASSES):
        active = [(data, search) for data, search in searches if not search.done]
        if not active:
            break
        counted = _compute([_tree(data, partial(count_all, brackets=search.brackets)) for data, search in active])
        for (_, search), counts in zip(active, counted, strict=True):
            search.narrow(counts)
    values = iter([search.values for _, search in searches])
    out = {}
    for name, (field, dims) in plan.items():
        shape = shapes[name]
        if int(np.prod(shape)) > _MOST_HISTOGRAMS:
            out[name] = _whole_quantiles(name, field, dims, levels)
        else:
            stacked = np.asarray([next(values) for _ in np.ndindex(*shape)])
            out[name] = np.moveaxis(stacked.reshape(*shape, len(levels)), -1, 0)
    return out


Counts = Mapping[tuple[float, float], tuple[Array, float, float]]
"""By bracket: how many values each bin holds, the least and the largest value."""


class _Search:
    """Brackets around the order statistics from which some quantiles of one field are interpolated."""

    def __init__(self, low: float, high: float, count: int, levels: Sequence[float]) -> None:
        position = np.asarray(levels) * (count - 1)
        self.below = np.floor(position).astype(np.int64)
        self.above = np.minimum(self.below + 1, count - 1)
        self.part = position - self.below
        # For each rank: where it lies, and how many values lie below that.
        ranks = np.unique(np.concatenate([self.below, self.above]))
        self.found: dict[int, tuple[float, float, int]] = {int(r): (low, high, 0) for r in ranks}

    @property
    def brackets(self) -> list[tuple[float, float]]:
        return sorted({(low, high) for low, high, _ in self.found.values() if high > low})

    @property
    def values(self) -> Array:
        middle = {rank: (low + high) / 2 for rank, (low, high, _) in self.found.items()}
        first = np.array([middle[int(r)] for r in self.below])
        second = np.array([middle[int(r)] for r in self.above])
        return np.asarray(first + self.part * (second - first))

    @property
    def done(self) -> bool:
        values = self.values
        spread = float(values.max() - values.min())
        width = max(high - low for low, high, _ in self.found.values())
        size = max(max(abs(low), abs(high)) for low, high, _ in self.found.values())
        return width <= max(0.5 * QUANTILE_TOLERANCE * spread, 4 * np.finfo(np.float64).eps * size)

    def narrow(self, counts: Counts) -> None:
        for rank, (low, high, before) in self.found.items():
            if high <= low:
                continue
            inside, least, most = counts[low, high]
            total = before + np.cumsum(inside)
            at = int(np.searchsorted(total, rank, side="right"))
            edges = np.linspace(low, high, _BINS + 1)
            start = before if at == 0 else int(total[at - 1])
            # No value of the bracket lies outside the least and the largest in it: ties are found exactly.
            narrower = max(float(edges[at]), least), min(float(edges[at + 1]), most)
            # Floats between the edges may have run out: then the two edges are neighbours.
            self.found[rank] = (*narrower, start) if narrower != (low, high) else (low, low, before)


def count_all(x: Array, brackets: Sequence[tuple[float, float]]) -> Counts:
    """Histogram, least and largest of the values inside each bracket."""
    out = {}
    for low, high in brackets:
        total, least, most = np.zeros(_BINS, np.int64), np.inf, -np.inf
        flat = np.ravel(x)
        edges: Any = np.linspace(low, high, _BINS + 1) if _tight(low, high) else _BINS
        for start in range(0, flat.size, _SLAB):
            slab = flat[start : start + _SLAB]
            inside = slab[(slab >= low) & (slab <= high)].astype(np.float64)
            if inside.size:
                total += np.histogram(inside, bins=edges, range=(low, high))[0]
                least, most = min(least, float(inside.min())), max(most, float(inside.max()))
        out[low, high] = total, least, most
    return out


def _tight(low: float, high: float) -> bool:
    """Tell whether a bracket is so narrow that NumPy refuses to cut it into equal bins."""
    return high - low < 1e-9 * max(abs(low), abs(high))


def _add(parts: Sequence[Counts]) -> Counts:
    keys = parts[0]
    return {
        k: (np.sum([p[k][0] for p in parts], axis=0), min(p[k][1] for p in parts), max(p[k][2] for p in parts))
        for k in keys
    }


def _tree(data: Any, function: Callable[[Array], Any]) -> Any:
    """Apply ``function`` to every chunk, and add the results `_FAN_IN` at a time."""
    if isinstance(data, np.ndarray):
        return function(data)
    from dask.delayed import delayed as untyped

    delayed: Any = untyped
    parts = [delayed(function)(block) for block in data.to_delayed().ravel()]
    while len(parts) > 1:
        parts = [delayed(_add)(parts[i : i + _FAN_IN]) for i in range(0, len(parts), _FAN_IN)]
    return parts[0]


def _compute(values: Sequence[Any]) -> Sequence[Any]:
    from dask import base

    compute: Any = base.compute  # untyped
    done: Sequence[Any] = compute(*values, traverse=False)
    return done


def _whole_quantiles(name: Hashable, field: xr.DataArray, dims: Sequence[Hashable], levels: Sequence[float]) -> Array:
    """Exact quantiles for statistics of very many places, for which every chunk has to hold whole series."""
    split = [d for d in dims if len(field.variable.chunksizes.get(d, ())) > 1]
    if split:
        call = ", ".join(f"{d!r}: -1" for d in split)
        message = (
            f"robust statistics of variable {name!r} for more than {_MOST_HISTOGRAMS} places need "
            f"{' and '.join(map(repr, dims))} whole; call .chunk({{{call}}}) first"
        )
        raise ChunkError(message)
    found = field.astype(np.float64).quantile(list(levels), dim=list(dims), skipna=True)
    return np.asarray(found.transpose("quantile", ...).values)
