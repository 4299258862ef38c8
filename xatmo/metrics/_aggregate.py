"""Weighted sums: the step between a statistic at every point and a score. Sums over chunks add up exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.cf import chunks_of
from xatmo.errors import CoordinateError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._pairs import axes_of, match, ring_grid
from xatmo.typing import Floats

Weights: TypeAlias = Literal["area"] | xr.DataArray | None
_BRANCHES = 16  # sums of chunks that one task adds up: they are small


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

        def one(part: xr.DataArray) -> xr.DataArray:
            there = [d for d in gone if d in part.dims]
            return part.sum(there, skipna=False) if there else part

        return self.map(one)


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


@dataclass(frozen=True)
class Summand:
    """Statistics of some fields, to be added up.

    Attributes
    ----------
    fields : sequence of DataArray
        On the same labels; a dimension may be missing from some. Points at which any of them is NaN are left out,
        together with their weights.
    names : sequence of str
        Of the statistics.
    statistics : callable
        Arrays of the fields' values, broadcast against each other, to one array for each name, perhaps one by one.
    """

    fields: Sequence[xr.DataArray]
    names: Sequence[str]
    statistics: Callable[..., Iterable[Floats]]


def add_up(
    fields: Sequence[xr.DataArray],
    names: Sequence[str],
    statistics: Callable[..., Iterable[Floats]],
    dims: tuple[Hashable, ...],
    weights: xr.DataArray,
) -> Sums:
    """Weighted sums over ``dims`` of statistics of some fields, in float64, block by block: see `Summand`.

    Parameters
    ----------
    fields, names, statistics
        As in `Summand`.
    dims : tuple of str
        To add up over.
    weights : DataArray
        Dimensions that the fields lack altogether are not used: then all points count alike.
    """
    (sums,) = add_up_together([Summand(fields, names, statistics)], dims, weights)
    return sums


def add_up_together(
    summands: Sequence[Summand], dims: tuple[Hashable, ...], weights: xr.DataArray, *, whole: Hashable | None = None
) -> list[Sums]:
    """Add up several things in one pass: one task for each chunk, and one tree of sums.

    Parameters
    ----------
    summands : sequence of Summand
        All with the same dimensions.
    dims, weights
        As in `add_up`.
    whole : str, optional
        Dimension of the sums that is needed in one chunk.
    """
    fields = list({id(field): field for one in summands for field in one.fields}.values())
    places = {id(field): k for k, field in enumerate(fields)}
    axes = list(dict.fromkeys(d for field in fields for d in field.dims))
    by = weights if set(weights.dims) <= set(axes) else xr.DataArray(1.0)
    parts = [*fields, by]
    # What several scores are made of is added up once.
    jobs = {(one.statistics, tuple(places[id(f)] for f in one.fields)): len(one.names) + 1 for one in summands}
    ends = dict(zip(jobs, accumulate(jobs.values()), strict=True))
    layout = tuple(tuple(axes.index(d) for d in part.dims) for part in parts)
    over = tuple(k for k, d in enumerate(axes) if d in dims)
    kernel = partial(_block_sums, jobs=tuple(jobs), layout=layout, over=over, number=len(axes))
    if any(part.chunks is not None for part in parts):
        values = _lazy_sums(kernel, parts, layout, over, len(axes), sum(jobs.values()))
    else:
        values = kernel(*[part.to_numpy() for part in parts]).sum(axis=over)
    kept = [d for d in axes if d not in dims]
    if whole in kept:
        values = in_one_chunk(xr.DataArray(values, dims=(*kept, "_column")), whole).data
    found = []
    for one in summands:
        job = (one.statistics, tuple(places[id(f)] for f in one.fields))
        coords = _kept_coordinates(one.fields, kept)
        columns = [xr.DataArray(_column(values, k), coords, kept) for k in range(ends[job] - jobs[job], ends[job])]
        found.append(Sums(dict(zip(one.names, columns[:-1], strict=True)), columns[-1]))
    return found


def _kept_coordinates(fields: Sequence[xr.DataArray], kept: list[Hashable]) -> dict[Hashable, xr.DataArray]:
    coords: dict[Hashable, xr.DataArray] = {}
    for field in fields:
        coords |= {n: c for n, c in field.coords.items() if set(c.dims) <= set(kept) and n not in coords}
    return coords


def _block_sums(
    *blocks: Any,
    jobs: tuple[tuple[Callable[..., Iterable[Floats]], tuple[int, ...]], ...],
    layout: tuple[tuple[int, ...], ...],
    over: tuple[int, ...],
    number: int,
) -> Floats:
    """Add up over one block; reduced axes keep length 1, and the statistics and weights of all jobs come last."""
    arrays = []
    for block, axes in zip(blocks, layout, strict=True):
        order = np.argsort(axes, kind="stable")
        shape = [1] * number
        for k in order:
            shape[axes[k]] = block.shape[k]
        arrays.append(np.transpose(block, order).reshape(shape))
    *fields, weight = arrays
    shape_of_all = np.broadcast_shapes(*[a.shape for a in arrays])
    missing = [np.isnan(a) if a.dtype.kind == "f" else np.zeros((1,) * number, dtype=bool) for a in fields]
    gaps = [m if m.any() else None for m in missing]
    fields = [a.astype(np.float64, copy=False) for a in fields]
    # One pass over the numbers, without an array of products.
    letters = "".join(chr(97 + k) for k in range(number))
    kept = "".join(c for k, c in enumerate(letters) if k not in over)
    rule = f"{letters},{letters}->{kept}"
    out = []
    for statistics, at in jobs:
        unknown = None
        for gap in (gaps[k] for k in at):
            if gap is not None:
                unknown = gap if unknown is None else unknown | gap
        for value in chain(statistics(*[fields[k] for k in at]), (np.ones((1,) * number),)):
            some = value if unknown is None else np.where(unknown, 0.0, value)
            full = [np.broadcast_to(x, shape_of_all) for x in (some, weight)]
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
    return sums.sum(axis=apart, split_every=_BRANCHES) if apart else sums


def _column(values: Any, k: int) -> Any:
    """Take one of the last axis, in a way that Dask joins with what is done to it next."""
    if isinstance(values, np.ndarray):
        return values[..., k]
    import dask.array

    blockwise: Any = dask.array.blockwise
    axes = tuple(range(values.ndim))
    meta = np.empty((0,) * (values.ndim - 1))
    return blockwise(_last, axes[:-1], values, axes, k=k, concatenate=True, dtype=np.float64, meta=meta)


def _last(block: Floats, k: int) -> Floats:
    return np.asarray(block[..., k])


def _without(*blocks: Any, kernel: Callable[..., Floats], axes: tuple[int, ...]) -> Floats:
    return kernel(*blocks).squeeze(axis=axes)
