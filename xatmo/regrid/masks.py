"""Masks of the source and of the target, and how much of each target cell is covered."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.regrid._geometry import Site, _same_axes, reordered, site_of
from xatmo.regrid.statistics import missing_value
from xatmo.typing import T, XarrayObject


def resolve(mask: Any, obj: Any, *, what: str) -> Any:
    """Look a mask up by name; give anything else back as it is.

    Raises
    ------
    VariableError
        If there is no such variable.
    """
    if mask is None or isinstance(mask, xr.DataArray | np.ndarray):
        return mask
    if not isinstance(mask, str):
        message = f"{what} is a {type(mask).__name__}; wanted a DataArray, an array, or the name of a variable"
        raise OptionError(message)
    known: list[Any] = []
    if isinstance(obj, xr.Dataset | xr.DataArray):
        known = list(obj.variables if isinstance(obj, xr.Dataset) else obj.coords)
    if mask not in known:
        message = f"{what}={mask!r} came, which is none of the variables {sorted(map(str, known))}; give a DataArray"
        raise VariableError(message)
    return obj[mask]


def valid_points(mask: Any, like: XarrayObject, axes: cf.Horizontal, *, what: str) -> xr.DataArray | None:
    """Bring a mask to the points of a grid: True where it is neither 0 nor NaN.

    Parameters
    ----------
    mask : DataArray, array (nlat, nlon) or None
        Rows and columns in any order if it has coordinates, otherwise in that of the grid. It may have more dimensions.
    like : Dataset or DataArray
        On the grid.
    axes : Horizontal
        Of the grid.
    what : str
        Name of the keyword, for messages.

    Returns
    -------
    DataArray or None
        On the dimensions of the grid, without coordinates along them and without a repeated cyclic column.

    Raises
    ------
    DimensionError
        If the sizes are others.
    CoordinateError
        If the points are others.
    """
    if mask is None:
        return None
    bare, _ = _labels.drop_cyclic(xr.Dataset(coords={n: like[n] for n in (axes.lat, axes.lon)}), axes)
    sizes = {
        d: like.sizes[d] if d in like.sizes else like[n].size
        for n, d in zip((axes.lat, axes.lon), axes.dims, strict=True)
    }
    if not isinstance(mask, xr.DataArray):
        if mask.ndim != 2:
            message = f"{what} has shape {mask.shape}; wanted {tuple(sizes.values())}, or a DataArray with dimensions"
            raise DimensionError(message)
        mask = xr.DataArray(mask, dims=axes.dims)
    own = _axes(mask)
    if own is not None:
        mask, _ = _labels.drop_cyclic(mask, own)
        turned = _order(Grid.of(bare), Grid.of(mask), own)
        if turned is None:
            message = f"{what} lies on {Grid.of(mask)!r}, the fields on {Grid.of(bare)!r}; wanted the same points"
            raise CoordinateError(message)
        mask = mask.isel(turned) if turned else mask
        gone = [n for n, c in mask.coords.items() if set(c.dims) & set(own.dims)]
        mask = mask.drop_vars(gone).rename({a: b for a, b in zip(own.dims, axes.dims, strict=True) if a != b})
    elif not set(axes.dims) <= set(mask.dims):
        message = f"{what} has dimensions {mask.dims}; wanted {axes.dims}, or latitude and longitude coordinates"
        raise DimensionError(message)
    else:
        mask = mask.drop_vars([n for n, c in mask.coords.items() if set(c.dims) & set(axes.dims)])
        if mask.sizes[axes.lon_dim] == sizes[axes.lon_dim] == bare.sizes[axes.lon_dim] + 1:
            mask = mask.isel({axes.lon_dim: slice(0, -1)})
    came = tuple(mask.sizes[d] for d in axes.dims)
    wanted = tuple(bare.sizes[d] for d in axes.dims)
    if came != wanted:
        message = (
            f"{what} has {came[0]} x {came[1]} points, the fields {wanted[0]} x {wanted[1]}; wanted the same points"
        )
        raise DimensionError(message)
    return cast(xr.DataArray, (mask != 0) & mask.notnull())


def _axes(mask: xr.DataArray) -> cf.Horizontal | None:
    try:
        return cf.horizontal(mask)
    except CoordinateError:
        return None


def _order(grid: Grid, own: Grid, axes: cf.Horizontal) -> dict[Hashable, Any] | None:
    return _same_axes(grid, own, axes.dims)


def masked(field: xr.DataArray, valid: xr.DataArray | None, *, what: str) -> xr.DataArray:
    """Make a field missing where a mask is False. Whole numbers become float64.

    Raises
    ------
    DimensionError
        If the mask has a dimension that the field lacks.
    CoordinateError
        If it has other coordinates along one that both have.
    """
    if valid is None:
        return field
    for dim in valid.dims:
        if dim not in field.dims:
            message = (
                f"{what} has dimension {dim!r}, which variable {field.name!r} {field.dims} lacks; select one: "
                f"{what}.isel({dim}=0)"
            )
            raise DimensionError(message)
        if dim in valid.indexes and dim in field.indexes and not valid.indexes[dim].equals(field.indexes[dim]):
            message = f"{what} has other values of {dim!r} than variable {field.name!r}; wanted the same"
            raise CoordinateError(message)
        if valid.sizes[dim] != field.sizes[dim]:
            message = f"{what} has {valid.sizes[dim]} values of {dim!r}, variable {field.name!r} {field.sizes[dim]}"
            raise DimensionError(message)
    bare = valid.reset_coords(drop=True)
    if field.dtype.kind in "US":
        return field.where(bare, missing_value(field.dtype))
    if field.dtype.kind in "iub":
        field = field.astype(np.float64)
    return field.where(bare)


# ---------------------------------------------------------------------- grids of any kind
def on_points(mask: Any, site: Site, what: str) -> NDArray[np.bool_] | None:
    """Bring a mask to the points of a grid of any kind, in its order, as an array.

    Parameters
    ----------
    mask : DataArray, array or None
        An array of the grid's shape, or an object on its points or dimensions.
    site : Site
    what : str
        Name of the keyword, for messages.

    Raises
    ------
    DimensionError, CoordinateError
        If it has other points or more dimensions.
    """
    if mask is None:
        return None
    if isinstance(mask, xr.DataArray):
        mask, dims = _aligned(mask, site, what)
        if set(mask.dims) != set(dims):
            message = (
                f"{what} has dimensions {mask.dims}; wanted {tuple(dims)}. Where it varies with more than the place, "
                "mask the fields: ds.where(mask)"
            )
            raise DimensionError(message)
        mask = mask.transpose(*dims).values
    values = np.asarray(mask)
    if values.shape != site.shape:
        message = f"{what} has shape {values.shape}; wanted {site.shape}, one value to each point of the grid"
        raise DimensionError(message)
    return np.asarray(np.nan_to_num(values) != 0)


def _aligned(mask: xr.DataArray, site: Site, what: str) -> tuple[xr.DataArray, tuple[Hashable, ...]]:
    """Put a mask into the order of a grid's points, and tell its horizontal dimensions.

    Raises
    ------
    CoordinateError, GridError
        If it lies on other points.
    """
    try:
        own = site_of(mask)
    except (CoordinateError, GridError):
        if all(cf._candidates(mask, kind) for kind in ("latitude", "longitude")):
            raise
        for dim in (d for d in site.dims if d in mask.indexes and d in site.coords):
            here, there = (o.coords[dim].values for o in (site, mask))
            if here.shape == there.shape and not np.allclose(here, there, rtol=1e-6, atol=1e-9):
                message = f"{what} has other values of {dim!r} than the grid; wanted the same points"
                raise CoordinateError(message) from None
        return mask, site.dims
    if site.grid is None and own.shape != site.shape:
        return mask, site.dims
    ordered, own = reordered(mask, site, what=what)
    return ordered, own.dims


def masked_in_time(obj: T, mask: Any) -> tuple[T, Any]:
    """Apply a mask that varies with more than the place to the fields; give any other back.

    Raises
    ------
    DimensionError, CoordinateError
        If the mask lies on other points, or has dimensions that the fields lack.
    """
    site = site_of(obj)
    if not isinstance(mask, xr.DataArray) or mask.ndim <= len(site.dims):
        return obj, mask
    if site.cyclic is not None and site.axes is not None:
        obj, _ = _labels.drop_cyclic(obj, site.axes)
    ordered, dims = _aligned(mask, site, "mask")
    valid = ((ordered != 0) & ordered.notnull()).rename({a: b for a, b in zip(dims, site.dims, strict=True) if a != b})
    valid = valid.drop_vars([n for n, c in valid.coords.items() if set(c.dims) & set(site.dims)])
    return _labels.map_fields(obj, lambda da: masked(da, valid, what="mask"), dims=site.dims, what="regrid"), None
