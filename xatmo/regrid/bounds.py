"""Edges of cells from CF bounds, where a file gives them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from xatmo import _labels, cf
from xatmo.grids import Grid
from xatmo.regrid.separable import Edges
from xatmo.typing import Floats

# Neighbouring cells share an edge, and edges lie midway between points, if they do so to this part of a step.
_SAME = 1e-3


def cell_edges(obj: Any, axes: cf.Horizontal) -> Edges | None:
    """Edges of an object's cells by CF bounds; None if it has none, or they say what the points say.

    Bounds are the variables that the attribute ``bounds`` of latitude and longitude names, of shape ``(n, 2)``. They
    count if they are consistent: every cell holds its point and begins where the one before ends. Other bounds are
    ignored: then edges lie midway between points, and those of a global grid end at the poles.

    Parameters
    ----------
    obj : Dataset or DataArray
        The bounds are among its variables or coordinates.
    axes : Horizontal

    Returns
    -------
    Edges or None
        Without the cell of a repeated cyclic column.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"lat_bnds": (("lat", "nv"), [[0, 4], [4, 10.0]])}, coords={
    ...     "lat": ("lat", [2.0, 6.0], {"units": "degrees_north", "bounds": "lat_bnds"}),
    ...     "lon": ("lon", [0.0, 1.0, 2.0], {"units": "degrees_east"})})
    >>> cell_edges(ds, cf.horizontal(ds)).latitude
    array([ 0., 4., 10.])
    """
    bare, _ = _labels.drop_cyclic(obj, axes)
    grid = Grid.from_latlon(bare[axes.lat].values, bare[axes.lon].values)
    lat = _edges(_bounds(bare, axes.lat, axes.lat_dim), grid.latitude, around=False)
    lon = _edges(_bounds(bare, axes.lon, axes.lon_dim), grid.longitude, around=grid.periodic)
    usual = Edges.of(grid)
    if lat is None or _same(lat, usual.latitude):
        lat = usual.latitude
    if lon is None or _same(lon, usual.longitude):
        lon = usual.longitude
    return None if lat is usual.latitude and lon is usual.longitude else Edges(lat, lon)


def _bounds(obj: Any, name: Hashable, dim: Hashable) -> Floats | None:
    coord = obj[name]
    known: Any = obj.variables if hasattr(obj, "variables") else obj.coords
    told = coord.attrs.get("bounds", coord.encoding.get("bounds"))
    if told is None or told not in known:
        return None
    bounds = known[told]
    if bounds.ndim != 2 or dim not in bounds.dims or bounds.shape[1 - bounds.dims.index(dim)] != 2:
        return None
    return np.asarray(bounds.transpose(dim, ...).values, dtype=np.float64)


def _edges(bounds: Floats | None, points: Floats, *, around: bool) -> Floats | None:
    """Join the two edges of every cell; None if they do not fit together."""
    if bounds is None or not np.isfinite(bounds).all():
        return None
    step = float(np.abs(np.diff(points)).min())
    up = points[-1] > points[0]
    if np.abs(bounds - points[:, None]).max() > 180:  # written in another range of longitude
        bounds = points[:, None] + (bounds - points[:, None] + 180) % 360 - 180
    low, high = np.sort(bounds, axis=1).T
    if not up:
        low, high = high, low
    inside = np.minimum(low, high) - _SAME * step <= points, points <= np.maximum(low, high) + _SAME * step
    if not (inside[0].all() and inside[1].all()) or np.abs(high[:-1] - low[1:]).max() > _SAME * step:
        return None
    edges = np.append(low, high[-1])
    if around:
        if abs(edges[-1] - edges[0] - 360) > _SAME * step:
            return None
        edges[-1] = edges[0] + 360
    return edges if (np.diff(edges) > 0).all() or (np.diff(edges) < 0).all() else None


def _same(edges: Floats, usual: Floats) -> bool:
    return bool(np.abs(edges - usual).max() < _SAME * float(np.abs(np.diff(usual)).min()))
