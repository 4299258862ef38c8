"""Rows on the poles for fields that lack them."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, on_same_grid, true_attrs
from xatmo.errors import GridError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._fields import Source
from xatmo.spectral._vectors import map_with_winds
from xatmo.typing import Floats, T

# A row is missing if the outermost one lies about a whole step from the pole. From half a step (0.77 of one on a
# Gaussian grid) its cells reach the pole.
_LEAST_GAP = 0.85


# ---------------------------------------------------------------------- blocks
def _with_rows(field: Floats, ends: dict[int, Floats]) -> Floats:
    """Put rows before the first (key 0) and after the last (key -1)."""
    parts = [ends[0][..., None, :]] if 0 in ends else []
    parts.append(field)
    if -1 in ends:
        parts.append(ends[-1][..., None, :])
    return np.concatenate(parts, axis=-2)


def _scalar(field: Any, *, ends: tuple[int, ...]) -> Floats:
    field = _kernels.as_float(field)
    rows = {}
    for end in ends:
        ring = field[..., end, :]
        known = ~np.isnan(ring)
        count = known.sum(axis=-1, keepdims=True)
        total = np.where(known, ring, 0).sum(axis=-1, keepdims=True, dtype=np.float64)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        rows[end] = np.broadcast_to(mean.astype(field.dtype), ring.shape)
    return _with_rows(field, rows)


def _wave_one(field: Any, *, ends: tuple[int, ...], longitude: Floats) -> Floats:
    """One component without the other: the part of its nearest ring with wave number 1."""
    field = _kernels.as_float(field)
    cosine, sine = np.cos(longitude), np.sin(longitude)
    rows = {}
    for end in ends:
        ring = field[..., end, :].astype(np.float64)
        a, b = ((ring * wave).mean(axis=-1, keepdims=True) for wave in (cosine, sine))
        rows[end] = (2 * (a * cosine + b * sine)).astype(field.dtype)
    return _with_rows(field, rows)


def _wind(u: Any, v: Any, *, ends: tuple[int, ...], longitude: Floats, north: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean vector of the nearest ring in the plane that touches the pole, taken apart again at each longitude."""
    u, v = _kernels.as_float(u), _kernels.as_float(v)
    dtype = np.result_type(u, v)
    cosine, sine = np.cos(longitude), np.sin(longitude)
    rows: tuple[dict[int, Floats], dict[int, Floats]] = ({}, {})
    for end in ends:
        # Towards the pole: minus the direction of the longitude at the north pole, plus it at the south pole.
        sign = -1.0 if end in north else 1.0
        east, poleward = u[..., end, :].astype(np.float64), sign * v[..., end, :].astype(np.float64)
        x = (poleward * cosine - east * sine).mean(axis=-1, keepdims=True)
        y = (poleward * sine + east * cosine).mean(axis=-1, keepdims=True)
        rows[0][end] = (y * cosine - x * sine).astype(dtype)
        rows[1][end] = (sign * (x * cosine + y * sine)).astype(dtype)
    return _with_rows(u.astype(dtype, copy=False), rows[0]), _with_rows(v.astype(dtype, copy=False), rows[1])


# ---------------------------------------------------------------------- labelled
def _missing(grid: Grid) -> tuple[int, ...]:
    """Tell at which ends of the rows, 0 or -1, the row on the pole is missing."""
    lat = grid.latitude
    gaps = {0: (90 - abs(lat[0])) / abs(lat[1] - lat[0]), -1: (90 - abs(lat[-1])) / abs(lat[-1] - lat[-2])}
    return tuple(end for end, gap in gaps.items() if gap > _LEAST_GAP)


def _is_component(da: xr.DataArray) -> bool:
    words = str(da.attrs.get("standard_name", "")).split("_")
    return "eastward" in words or "northward" in words


def fill_poles(obj: T) -> T:
    """Add the rows on the poles that a global grid lacks.

    A scalar gets the mean of the row nearest to the pole. A CF wind pair in a Dataset gets the mean of that row's
    vectors in the plane that touches the pole, with components ``u = y cos(lon) - x sin(lon)`` and
    ``v = -+(x cos(lon) + y sin(lon))`` (minus at the north pole): wave number 1, the only one that a smooth vector has
    there. An eastward or northward component without its partner gets its own part of that wave number.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid whose outermost rows lie a step from one pole or both (kinds ``"driscoll_healy"`` and
        ``"rectilinear"``), latitude and longitude whole.

    Returns
    -------
    Dataset or DataArray
        With one or two rows more, in the same order. float32 stays float32, integers become float64. With both poles
        there already, the object as it came.

    Raises
    ------
    GridError
        If the grid is regional, or its outer rows lie half a step from the poles, so that none is missing.
    ChunkError
        If latitude or longitude is split into chunks.

    Notes
    -----
    Missing values in the nearest row are left out of the mean of a scalar; a wind gets NaN on the pole from a row with
    NaN. `to_spectral` needs no rows to be filled: it works out a single missing one from all the others.

    Examples
    --------
    >>> grid = Grid.from_latlon(np.arange(90, -90, -10), np.arange(0, 360, 10))
    >>> field = xr.DataArray(np.ones(grid.shape), grid.coords(), ("latitude", "longitude"))
    >>> fill_poles(field).atmo.grid
    <Grid regular 19 x 36, lat 90 to -90, lon 0 to 350, lmax 17>
    """
    axes = cf.horizontal(obj)
    source = Source(axes, Grid.of(obj))
    grid = source.grid
    grid.require_global("fill_poles")
    if grid.poles:
        return obj
    ends = _missing(grid)
    if not ends:
        message = (
            f"fill_poles came upon {grid!r}, whose outer rows lie half a step from the poles: none is missing there. "
            "For rows on the poles go to another grid: .atmo.regrid(xatmo.Grid.regular(...))"
        )
        raise GridError(message)
    longitude = np.radians(grid.longitude)
    north = (0,) if grid.north_to_south else (-1,)
    output = {axes.lat_dim: grid.nlat + len(ends), axes.lon_dim: grid.nlon}
    latitude = _latitude(obj[axes.lat], ends)

    def finish(out: xr.DataArray, field: xr.DataArray) -> xr.DataArray:
        kept = {n: c for n, c in field.coords.items() if set(c.dims) == {axes.lon_dim}}
        return out.assign_coords({axes.lat: latitude, **kept})

    def done(out: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
        whole = on_same_grid(da, partial(finish, out), axes)
        whole.attrs = true_attrs(da)
        return changed_values(whole, da, reshaped=True)

    def run(function: Any, fields: tuple[xr.DataArray, ...], **options: Any) -> list[xr.DataArray]:
        bare = [_fields.bare(x, source, what="fill_poles") for x in fields]
        types = [_fields.float_type(*bare)] * len(bare)
        block = partial(function, ends=ends, **options)
        outputs = [output] * len(bare)
        out = _fields.apply(block, bare, axes.dims, outputs=outputs, dtypes=types, what="fill_poles")
        return [done(filled, da) for filled, da in zip(out, fields, strict=True)]

    def scalar(da: xr.DataArray) -> xr.DataArray:
        if _is_component(da):
            return run(_wave_one, (da,), longitude=longitude)[0]
        return run(_scalar, (da,))[0]

    def wind(u: xr.DataArray, v: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        first, second = run(_wind, (u, v), longitude=longitude, north=north)
        return first, second

    return cf.add_history(map_with_winds(obj, scalar, wind, dims=axes.dims, what="fill_poles"), "fill_poles()")


def _latitude(old: xr.DataArray, ends: tuple[int, ...]) -> xr.Variable:
    """Latitudes with the poles, in the same type, under the same attributes (but those of bounds, which are gone)."""
    values = old.values
    poles: dict[int, list[Any]] = {end: [np.copysign(90, values[end])] if end in ends else [] for end in (0, -1)}
    attrs: dict[Hashable, Any] = {k: v for k, v in old.attrs.items() if k not in ("bounds", *cf.RANGES)}
    joined = np.concatenate([poles[0], values, poles[-1]])
    return xr.Variable(old.dims, joined.astype(values.dtype if values.dtype.kind == "f" else np.float64), attrs)
