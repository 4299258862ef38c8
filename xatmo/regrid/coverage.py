"""How much of each target cell is covered by valid source."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import xarray as xr

from xatmo import _labels, cf
from xatmo.grids import Grid
from xatmo.regrid import _places, fields, masks
from xatmo.regrid.bounds import cell_edges
from xatmo.regrid.weights import weights_between
from xatmo.typing import T, XarrayObject


@overload
def coverage(obj: Grid, target: Grid | XarrayObject, *, mask: Any = ...) -> xr.DataArray: ...
@overload
def coverage(obj: T, target: Grid | XarrayObject, *, mask: Any = ...) -> T: ...
def coverage(obj: Any, target: Grid | XarrayObject, *, mask: Any = None) -> Any:
    """Part of each target cell's area that lies inside the source and is valid there.

    ``coverage[i, j] = sum_kl A[i, k] B[j, l] valid[k, l]``, with the overlaps of cells ``A`` in sin(latitude) and ``B``
    in longitude as parts of the target cell. It is what `regrid` compares with ``min_valid``. With it,
    ``sum(out * coverage * area)`` over conservatively regridded fields (``min_valid=0``) is the integral over the valid
    source, if the target covers it; and ``out * coverage`` is the mean over the whole cell with nothing elsewhere
    (``destarea`` where others call the mean over the valid part ``fracarea``).

    Parameters
    ----------
    obj : Grid, Dataset or DataArray
        A field is valid where it is not NaN; a Grid everywhere.
    target : Grid, Dataset or DataArray
    mask : DataArray, array (nlat, nlon) or str, optional
        Source points that count, as in `regrid`.

    Returns
    -------
    DataArray or Dataset
        Between 0 and 1, on the target; float32 for float32 fields, otherwise float64. Lazy if the fields are.

    Raises
    ------
    DimensionError, CoordinateError, ChunkError, GridError, OptionError
        As `regrid`.

    Examples
    --------
    >>> box = Grid.from_latlon([5.0, 15.0], [5.0, 15.0])  # 0 to 20 degrees both ways
    >>> coverage(box, Grid.from_latlon([10.0, 30.0], [10.0, 30.0])).round(3).values
    array([[1., 0.], [0., 0.]])
    """
    if isinstance(obj, Grid):
        obj = xr.DataArray(np.ones(obj.shape), coords=obj.coords(), dims=("latitude", "longitude"), name="coverage")
    axes = cf.horizontal(obj)
    bare, _ = _labels.drop_cyclic(obj, axes)
    place = _places.place_of(target, axes)
    weights = weights_between(
        Grid.of(bare), place.grid, "conservative", source_edges=cell_edges(obj, axes), target_edges=place.edges
    )
    inside = xr.DataArray(weights.coverage, dims=place.axes.dims)
    if place.cyclic is not None:
        inside = inside.isel({place.axes.lon_dim: [*range(place.grid.nlon), 0]})

    def valid(da: xr.DataArray) -> xr.DataArray:
        return da.notnull().astype(np.float32 if da.dtype == np.float32 else np.float64)

    def one(da: xr.DataArray) -> xr.DataArray:
        found = fields.regrid(da, target, method="conservative", min_valid=0)
        out = found.fillna(0) * inside.astype(da.dtype)
        out = out.where(out < 1 - 16 * np.finfo(da.dtype).eps, 1)  # whole cells, to rounding
        attrs = {"units": "1", "long_name": "part of the cell covered by valid source"}
        return out.transpose(*found.dims).assign_attrs(attrs)

    mask = masks.resolve(mask, obj, what="mask")
    points = masks.valid_points(mask, obj, axes, what="mask")
    if points is not None and points.sizes[axes.lon_dim] != obj.sizes[axes.lon_dim]:
        obj = bare
    out = _labels.map_fields(
        obj, lambda da: one(masks.masked(valid(da), points, what="mask").fillna(0)), dims=axes.dims, what="coverage"
    )
    return cf.add_history(out, cf.describe_call("coverage", target=place.grid))
