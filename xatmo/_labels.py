"""What every labelled method shares: Dataset or DataArray, core dimensions whole, cyclic columns, dimension order."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import ChunkError, MissingValueError
from xatmo.grids import repeats_first_column, unwrap_longitude
from xatmo.typing import T

# Encodings that describe stored values; false once values change. Chunks and the list of coordinates are false once the
# shape changes.
_PACKING = ("scale_factor", "add_offset", "dtype", "_Unsigned")
_FILL = ("_FillValue", "missing_value")
_STORED_CHUNKS = ("chunks", "chunksizes", "preferred_chunks", "shards", "original_shape", "contiguous", "coordinates")

# What says where the points lay: false off that grid. cfgrib writes the rest of a GRIB message's geometry.
_GEOMETRY = re.compile(
    r"cell_measures|GRIB_(gridType|gridDefinitionDescription|numberOfPoints|pl|N|Nx|Ny|Ni|Nj|[ij](Direction|Scans|Points)\w*"
    r"|(latitude|longitude)Of\w+)"
)


def map_fields(
    obj: T,
    function: Callable[[xr.DataArray], xr.DataArray],
    *,
    dims: Iterable[Hashable],
    what: str,
    kinds: str = "fiubc",
) -> T:
    """Apply ``function`` to a DataArray, or to each variable of a Dataset that has ``dims``.

    ``kinds`` are the types that qualify, as in ``dtype.kind``. Variables that lack the dimensions pass through
    untouched; if none qualifies, `DimensionError` is raised. Attributes of a Dataset are kept. Name and dimension order
    of the result are those that ``function`` gives.
    """
    dims = tuple(dims)
    if isinstance(obj, xr.DataArray):
        cf.variables_with(obj.to_dataset(name="field"), dims, what=what, kinds=kinds)
        return function(obj).rename(obj.name)
    names = cf.variables_with(obj, dims, what=what, kinds=kinds)
    done = {name: function(obj[name]).rename(name) for name in names}
    if all(_same_axes(obj, a, dims) for a in done.values()):
        return obj.assign({name: done[name] for name in names})
    # The grid changed: nothing on the old axes may stay beside the new ones.
    kept = {n: obj[n] for n in obj.data_vars if n not in done and not set(dims) & set(obj[n].dims)}
    ordered = {n: done[n] if n in done else kept[n] for n in obj.data_vars if n in done or n in kept}
    return xr.Dataset(ordered, attrs=obj.attrs)


def _same_axes(before: xr.Dataset, after: xr.DataArray, dims: tuple[Hashable, ...]) -> bool:
    return all(d in after.dims and after.sizes[d] == before.sizes[d] for d in dims) and all(
        d not in before.coords or (d in after.coords and after[d].equals(before[d])) for d in dims
    )


def require_whole(da: xr.DataArray, dims: Iterable[Hashable], *, what: str) -> None:
    """Raise unless each of ``dims`` is one chunk.

    Raises
    ------
    ChunkError
        Quoting the ``.chunk`` call that mends it. Nothing is ever rechunked silently.
    """
    chunks = cf.chunks_of(da)
    split = [d for d in dims if len(chunks.get(d, ())) > 1]
    if split:
        call = ", ".join(f"{d!r}: -1" for d in split)
        came = ", ".join(f"{d!r} in {len(chunks[d])} chunks" for d in split)
        message = f"{what} needs {' and '.join(map(repr, dims))} whole, but {came} came; call .chunk({{{call}}}) first"
        raise ChunkError(message)


def restore_order(result: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Put dimensions back into the order of ``like``; new ones stay last."""
    order = [d for d in like.dims if d in result.dims]
    order += [d for d in result.dims if d not in order]
    return result if order == list(result.dims) else result.transpose(*order)


def drop_cyclic(obj: T, axes: cf.Horizontal) -> tuple[T, bool]:
    """Drop a last column that repeats the first, 360 degrees on; tell whether there was one."""
    if axes.rings:  # no columns
        return obj, False
    if repeats_first_column(unwrap_longitude(obj[axes.lon].values)):
        return obj.isel({axes.lon_dim: slice(0, -1)}), True
    return obj, False


def restore_cyclic(result: xr.DataArray, original: xr.DataArray, axes: cf.Horizontal) -> xr.DataArray:
    """Repeat the first column at the end, with the original's longitudes: the inverse of `drop_cyclic`."""
    columns = [*range(result.sizes[axes.lon_dim]), 0]
    out = result.isel({axes.lon_dim: columns})
    if axes.lon_dim in cf.chunks_of(out):  # one more column must not mean one more chunk
        out = out.chunk({axes.lon_dim: -1})
    return out.assign_coords({axes.lon: original[axes.lon]})


def on_same_grid(
    da: xr.DataArray, function: Callable[[xr.DataArray], xr.DataArray], axes: cf.Horizontal
) -> xr.DataArray:
    """Apply ``function`` without a repeated cyclic column; give dimension order and cyclic column back."""
    bare, cyclic = drop_cyclic(da, axes)
    out = function(bare)
    if cyclic:
        out = restore_cyclic(out, da, axes)
    return restore_order(out, da)


def require_finite(block: np.ndarray[Any, Any], *, what: str, name: Hashable = None) -> None:
    """Raise where a block of numbers holds a NaN or infinity. For use inside kernels, so at compute time.

    Raises
    ------
    MissingValueError
        Counting the bad values.
    """
    # A sum is finite unless some value is not (or an overflow made it so, which the second look settles).
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(block.sum()):
            return
    bad = int(block.size - np.isfinite(block).sum())
    if bad:
        of = f" of variable {name!r}" if name is not None else ""
        message = (
            f"{what} met {bad} missing or infinite values{of} in a block of {block.shape}; a global transform would "
            "spread them everywhere. Fill them first, for instance ds.interpolate_na('longitude') or ds.fillna(0)"
        )
        raise MissingValueError(message)


def true_attrs(da: xr.DataArray, *, off_grid: bool = False) -> dict[str, Any]:
    """Attributes that stay true of a field whose values change and, with ``off_grid``, that leaves its grid."""
    kept = {str(k): v for k, v in da.attrs.items() if k not in cf.RANGES}
    return {k: v for k, v in kept.items() if not _GEOMETRY.fullmatch(k)} if off_grid else kept


def changed_values(da: xr.DataArray, like: xr.DataArray, *, reshaped: bool = False) -> xr.DataArray:
    """Carry over the encoding of ``like`` that stays true when values (and perhaps shape) change."""
    drop = _PACKING + (_STORED_CHUNKS if reshaped else ())
    # The fill value of packed integers is one of theirs, and no number of the field.
    if da.dtype.kind != "f" or np.dtype(like.encoding.get("dtype", da.dtype)).kind != "f":
        drop += _FILL
    out = da.copy(deep=False)
    out.encoding = {k: v for k, v in like.encoding.items() if k not in drop}
    return out
