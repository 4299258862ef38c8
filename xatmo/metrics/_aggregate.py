"""Weighted sums: the step between a statistic at every point and a score. Sums over chunks add up exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import chunks_of
from xatmo.errors import CoordinateError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._pairs import axes_of, match, ring_grid
from xatmo.typing import Floats

Weights: TypeAlias = Literal["area"] | xr.DataArray | None


def resolve_weights(field: xr.DataArray, dims: tuple[Hashable, ...], weights: Any, *, what: str) -> xr.DataArray:
    """Weights by point, over some of the dimensions of ``field``; a scalar 1 where all points count alike.

    Parameters
    ----------
    field : DataArray
        On which the score is taken.
    dims : tuple of str
        Dimensions that are averaged over.
    weights : "area", DataArray or None
        Cell areas; the caller's own (NaN counts as 0); or equal ones.

    Raises
    ------
    OptionError
        If weights are of another kind, negative, or have dimensions that the field lacks.
    GridError
        If areas are wanted on a grid that is not a product of latitudes and longitudes.
    """
    if weights is None:
        return xr.DataArray(1.0)
    if isinstance(weights, xr.DataArray):
        extra = [d for d in weights.dims if d not in field.dims]
        if extra:
            message = f"{what}: weights have dimension {extra[0]!r}, which the fields ({field.dims}) lack"
            raise OptionError(message)
        if weights.chunks is None and bool((weights < 0).any()):
            message = f"{what}: weights go down to {float(weights.min()):g}; wanted none below 0"
            raise OptionError(message)
        if weights.dims:
            _, weights, _ = match(field, weights, what=f"weights of {what}", units=False)
        known: xr.DataArray = weights.fillna(0).astype(np.float64)
        return known
    if not isinstance(weights, str) or weights != "area":
        message = f"{what}: weights={weights!r}; wanted 'area', None or a DataArray"
        raise OptionError(message)
    return _areas(field, dims, what=what)


def _areas(field: xr.DataArray, dims: tuple[Hashable, ...], *, what: str) -> xr.DataArray:
    axes = axes_of(field)
    if axes is not None:
        reduced = [d for d in axes.dims if d in dims]
        if not reduced:
            return xr.DataArray(1.0)
        if min(field.sizes[d] for d in axes.dims) >= 2:
            areas = xr.DataArray(Grid.of(field).areas, dims=axes.dims)
            return areas / float(areas.mean())
        return _row_heights(field[axes.lat]) if axes.lat_dim in dims else xr.DataArray(1.0)
    for dim in dims:
        names = [n for n in field.coords if field[n].dims == (dim,)]
        latitude = [
            n for n in names if field[n].attrs.get("standard_name") == "latitude" or str(n) in ("lat", "latitude")
        ]
        if latitude and not _is_track(field, dim):
            return _row_heights(field[latitude[0]])
        rings = ring_grid(field, dim) if latitude else None
        if rings is not None:
            areas = xr.DataArray(rings.areas, dims=(dim,))
            return areas / float(areas.mean())
    if any(str(d) in ("lat", "latitude", "lon", "longitude") and d not in field.coords for d in dims):
        message = (
            f"{what}: area weights need latitude and longitude coordinates; {tuple(map(str, field.dims))} have none. "
            "Assign them, or pass weights=None"
        )
        raise CoordinateError(message)
    if sum(d not in field.coords for d in dims) >= 2 and any(
        field[c].ndim == 2 and set(field[c].dims) <= set(dims) for c in field.coords
    ):
        cf.horizontal(field)  # curvilinear: raises GridError, by name
    return xr.DataArray(1.0)


def _is_track(field: xr.DataArray, dim: Hashable) -> bool:
    """Tell whether longitude varies along ``dim`` too: points along a track have no cells."""
    names = [n for n in field.coords if field[n].dims == (dim,)]
    return any(field[n].attrs.get("standard_name") == "longitude" or str(n) in ("lon", "longitude") for n in names)


def _row_heights(latitude: xr.DataArray) -> xr.DataArray:
    if latitude.size < 2:
        return xr.DataArray(1.0)
    grid = Grid.from_latlon(latitude.values, [0.0, 90.0, 180.0, 270.0])
    heights = xr.DataArray(grid.areas[:, 0], dims=latitude.dims)
    return heights / float(heights.mean())


@dataclass(frozen=True)
class Sums:
    """Weighted sums of statistics, and of the weights of the points that were known."""

    total: Mapping[str, xr.DataArray]
    weight: xr.DataArray

    def means(self) -> dict[str, xr.DataArray]:
        """Weighted means; NaN where nothing was known."""
        weight = self.weight.where(self.weight > 0)
        return {name: total / weight for name, total in self.total.items()}

    def map(self, function: Callable[[xr.DataArray], xr.DataArray]) -> Sums:
        """Apply a linear function to all sums."""
        return Sums({name: function(total) for name, total in self.total.items()}, function(self.weight))

    def over(self, dims: Iterable[Hashable]) -> Sums:
        """Add up along more dimensions."""
        gone = list(dims)
        return self.map(lambda part: part.sum([d for d in gone if d in part.dims], skipna=False)) if gone else self


def in_one_chunk(part: xr.DataArray, dim: Hashable) -> xr.DataArray:
    """Make one chunk along a dimension, for sums and scores: they are small. Coordinates stay as they are."""
    if part.chunks is None:
        return part
    return part.copy(data=part.data.rechunk({part.get_axis_num(dim): -1}))


def joined(
    field: xr.DataArray | xr.Dataset, dim: Hashable, points: float, apart: Collection[Hashable] = ()
) -> tuple[int, ...]:
    """Sizes of chunks along a dimension when neighbours are put together, up to so many points of a block.

    Points are counted at one place of the dimensions ``apart``.

    Examples
    --------
    >>> field = xr.DataArray(np.zeros((10, 5)), dims=("time", "x")).chunk(time=2)
    >>> joined(field, "time", 20), joined(field, "time", 1)
    ((4, 4, 2), (2, 2, 2, 2, 2))
    """
    cut = chunks_of(field)
    each = math.prod(max(c) for d, c in cut.items() if d != dim and d not in apart)
    allowed = points / max(1, each)
    sizes: list[int] = []
    for size in cut[dim]:
        if sizes and sizes[-1] + size <= allowed:
            sizes[-1] += size
        else:
            sizes.append(size)
    return tuple(sizes)


def add_up(
    fields: Sequence[xr.DataArray],
    names: Sequence[str],
    statistics: Callable[..., Iterable[Floats]],
    dims: tuple[Hashable, ...],
    weights: xr.DataArray,
) -> Sums:
    """Weighted sums over ``dims`` of statistics of some fields, in float64, block by block.

    Parameters
    ----------
    fields : sequence of DataArray
        On the same labels; a dimension may be missing from some. Points at which any of them is NaN are left out,
        together with their weights.
    names : sequence of str
        Of the statistics.
    statistics : callable
        Arrays of the fields' values, broadcast against each other, to one array for each name, perhaps one by one.
    dims : tuple of str
        To add up over.
    weights : DataArray
        Dimensions that the fields lack altogether are not used: then all points count alike.
    """
    axes = list(dict.fromkeys(d for field in fields for d in field.dims))
    by = weights if set(weights.dims) <= set(axes) else xr.DataArray(1.0)
    parts = [*fields, by]
    layout = tuple(tuple(axes.index(d) for d in part.dims) for part in parts)
    over = tuple(k for k, d in enumerate(axes) if d in dims)
    kernel = partial(_block_sums, statistics=statistics, layout=layout, over=over, number=len(axes))
    if any(part.chunks is not None for part in parts):
        sums = _lazy_sums(kernel, parts, layout, over, len(axes), len(names) + 1)
    else:
        sums = kernel(*[part.to_numpy() for part in parts]).sum(axis=over)
    kept = [d for d in axes if d not in dims]
    coords = _kept_coordinates(fields, kept)
    columns = [xr.DataArray(sums[..., k], coords, kept) for k in range(len(names) + 1)]
    return Sums(dict(zip(names, columns[:-1], strict=True)), columns[-1])


def _kept_coordinates(fields: Sequence[xr.DataArray], kept: list[Hashable]) -> dict[Hashable, xr.DataArray]:
    coords: dict[Hashable, xr.DataArray] = {}
    for field in fields:
        coords |= {n: c for n, c in field.coords.items() if set(c.dims) <= set(kept) and n not in coords}
    return coords


def _block_sums(
    *blocks: Any,
    statistics: Callable[..., Iterable[Floats]],
    layout: tuple[tuple[int, ...], ...],
    over: tuple[int, ...],
    number: int,
) -> Floats:
    """Add up over one block; reduced axes keep length 1, and the statistics and the weight come last."""
    arrays = []
    for block, axes in zip(blocks, layout, strict=True):
        order = np.argsort(axes, kind="stable")
        shape = [1] * number
        for k in order:
            shape[axes[k]] = block.shape[k]
        arrays.append(np.transpose(block, order).reshape(shape))
    *fields, weight = arrays
    shape_of_all = np.broadcast_shapes(*[a.shape for a in arrays])
    known = None
    for a in fields:
        missing = np.isnan(a) if a.dtype.kind == "f" else np.zeros((1,) * number, dtype=bool)
        if missing.any():
            known = ~missing if known is None else known & ~missing
    values = statistics(*[a.astype(np.float64, copy=False) for a in fields])
    # One pass over the numbers, without an array of products.
    letters = "".join(chr(97 + k) for k in range(number))
    kept = "".join(c for k, c in enumerate(letters) if k not in over)
    rule = f"{letters},{letters}->{kept}"
    out = []
    for value in chain(values, (np.ones((1,) * number),)):
        if known is not None:
            value = np.where(known, value, 0.0)
        full = [np.broadcast_to(x, shape_of_all) for x in (value, weight)]
        out.append(np.einsum(rule, *full))
    shape = [1 if k in over else n for k, n in enumerate(shape_of_all)]
    return np.stack(out, axis=-1).reshape((*shape, len(out)))


def _lazy_sums(
    kernel: Callable[..., Floats],
    parts: Sequence[xr.DataArray],
    layout: tuple[tuple[int, ...], ...],
    over: tuple[int, ...],
    number: int,
    columns: int,
) -> Any:
    import dask.array

    blockwise: Any = dask.array.blockwise
    operands: list[Any] = []
    for part, axes in zip(parts, layout, strict=True):
        operands += [part.data, axes]
    # Where all of an axis lies in one block, the sum of the block is the sum: no more tasks.
    blocks = {k: n for part, axes in zip(parts, layout, strict=True) if part.chunks is not None
              for k, n in zip(axes, part.data.numblocks, strict=True) if n > 1}  # fmt: skip
    whole = tuple(k for k in over if k not in blocks)
    left = [k for k in range(number) if k not in whole]
    sums = blockwise(
        partial(_without, kernel=kernel, axes=whole),
        (*left, number),
        *operands,
        new_axes={number: columns},
        adjust_chunks={k: 1 for k in over if k not in whole},
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0,) * (len(left) + 1)),
    )
    apart = tuple(n for n, k in enumerate(left) if k in over)
    return sums.sum(axis=apart) if apart else sums


def _without(*blocks: Any, kernel: Callable[..., Floats], axes: tuple[int, ...]) -> Floats:
    return kernel(*blocks).squeeze(axis=axes)
