"""Bring coarse fields of another product onto the blocks of a fine grid, so that fine fields belong to them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf
from xatmo._axes import nearest, step_of
from xatmo.errors import CoordinateError, OptionError
from xatmo.grids import Grid
from xatmo.regrid import _places, fields
from xatmo.regrid.coarse import Coarsening, _flipped, _remembering, coarsening
from xatmo.typing import Floats, T, XarrayObject

BlockMethod = Literal["auto", "conservative", "conservative2", "bilinear", "bicubic", "nearest"]
_METHODS = ("auto", "conservative", "conservative2", "bilinear", "bicubic", "nearest")
# Points lie on the centres of blocks when they are this near, in steps.
_SAME = 0.02
# Blocks this many times wider than the cells of the input are means of them.
_WIDER = 1.5


def onto_blocks(obj: T, fine: Grid | XarrayObject, factor: int, *, method: BlockMethod | str = "auto") -> T:
    """Coarse fields of any product, on the coarse grid that belongs to a fine one, with the fine grid remembered.

    What `coarsen` is to the fine product itself, this is to another one, such as a seasonal forecast beside a
    reanalysis: the result has its points, lies on its cells, and returns to ``fine`` when it is super-resolved. Where
    the fields lie on the blocks already, they are only selected.

    Parameters
    ----------
    obj : Dataset or DataArray
        With latitude and longitude, each in one chunk; any other dimensions. It may cover more than ``fine``, in
        another longitude range and direction of rows.
    fine : Grid, Dataset or DataArray
    factor : int
        Fine cells per block, along latitude and along longitude; see `coarsening`.
    method : {"auto", "conservative", "conservative2", "bilinear", "bicubic", "nearest"}
        How to go there, as in `regrid`. ``"auto"``: ``"conservative"`` where blocks are at least one and a half times
        as wide as the cells of ``obj``, else ``"bilinear"``.

    Returns
    -------
    Dataset or DataArray
        On the same dimensions, rows in the same direction. At the border of a region, up to half a cell beyond the
        outermost points, fields go on as they are there.

    Raises
    ------
    OptionError
        If the method or the factor is not possible.
    CoordinateError
        If ``obj`` does not cover ``fine``.
    ChunkError
        If latitude or longitude is split into chunks.

    Examples
    --------
    >>> import xatmo
    >>> one_degree = Grid.regular(180, 360, poles=False)  # points at half degrees, as C3S's seasonal forecasts
    >>> coords = {**one_degree.coords(), "longitude": np.arange(0.5, 360)}
    >>> t = xr.DataArray(np.ones((180, 360), "float32"), coords, dims=("latitude", "longitude"))
    >>> out = onto_blocks(t, Grid.regular(721, 1440), 4)
    >>> out.longitude.values[:2], xatmo.regrid.fine_grid(out) == Grid.regular(721, 1440)
    (array([0.375, 1.375]), True)
    """
    if method not in _METHODS:
        message = f"method {method!r} came; wanted one of {', '.join(map(repr, _METHODS))}"
        raise OptionError(message)
    found = coarsening(fine if isinstance(fine, Grid) else Grid.of(fine), factor)
    axes = cf.horizontal(obj)
    bare, _ = _labels.drop_cyclic(obj, axes)
    here = Grid.of(bare)
    place = _places.grid_place(found.coarse if here.north_to_south else _flipped(found.coarse), axes)
    wanted = place.coords
    at = points(bare, found.coarse)
    chosen = method
    if at is not None:
        rows, columns = at
        chosen = "none"
        out = bare.isel({axes.lat_dim: rows if here.north_to_south else rows[::-1], axes.lon_dim: columns})
    else:
        if not covers(here, found):
            message = (
                f"fields cover latitude {_span(here.latitude_bounds)} and longitude {_span(here.longitude_bounds)}, "
                f"the blocks of the fine grid {_span(found.latitude_edges)} and {_span(found.longitude_edges)}. Select "
                "the same area, or a larger one, from the coarse fields"
            )
            raise CoordinateError(message)
        if method == "auto":
            chosen = "conservative" if ratio(here, found) * _WIDER <= 1 else "bilinear"
        target: Any = xr.Dataset(coords=dict(wanted))
        source = bare if chosen.startswith("conservative") else _rimmed(bare, axes, here)
        out = fields.regrid(source, target, method=chosen)  # type: ignore[arg-type]
    remembered = {name: _remembering(coord, found) for name, coord in wanted.items()}
    out = out.drop_vars([c for c in out.coords if c not in remembered and set(out[c].dims) & set(axes.dims)])
    out = out.assign_coords(remembered)
    out.attrs = {k: v for k, v in out.attrs.items() if k != "history"}
    if "history" in obj.attrs:
        out.attrs["history"] = obj.attrs["history"]
    return cf.add_history(out, cf.describe_call("onto_blocks", factor=found.factor, method=chosen))


def points(obj: XarrayObject, coarse: Grid) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Rows and columns of an object that are the points of a coarse grid; None where it has other points."""
    axes = cf.horizontal(obj)
    rows = nearest(obj[axes.lat].values, coarse.latitude, _SAME * step_of(coarse.latitude))
    limit = _SAME * step_of(coarse.longitude)
    columns = nearest(obj[axes.lon].values, coarse.longitude, limit, period=360.0)
    return None if rows is None or columns is None else (rows, columns)


def ratio(here: Grid, found: Coarsening) -> float:
    """Width of the cells of a grid over that of the blocks, the larger of both axes."""
    pairs = ((here.latitude, found.coarse.latitude), (here.longitude, found.coarse.longitude))
    return max(step_of(a) / step_of(b) for a, b in pairs)


def covers(here: Grid, found: Coarsening) -> bool:
    """Whether the centres of all blocks lie in cells of a grid."""
    south, north = np.sort(here.latitude_bounds[[0, -1]])
    lat = found.coarse.latitude
    slack = 1e-6
    if lat.min() < south - slack or lat.max() > north + slack:
        return False
    if here.periodic:
        return True
    west, east = here.longitude_bounds[[0, -1]]
    beyond = (found.coarse.longitude - west + slack) % 360 - slack
    return bool((beyond <= east - west + slack).all())


def _rimmed(obj: T, axes: cf.Horizontal, here: Grid) -> T:
    """Repeat the outermost rows and columns of a region at the edges of their cells, where interpolation ends."""
    edges: dict[Hashable, Floats] = {} if here.is_global else {axes.lat: here.latitude_bounds}
    if not here.periodic:
        edges[axes.lon] = here.longitude_bounds
    for name, bound in edges.items():
        dim, values = obj[name].dims[0], obj[name].values.astype(np.float64)
        # A row on a pole has no half cell beyond it.
        whole = np.concatenate([bound[:1], values, bound[-1:]])
        apart = np.append(True, np.abs(np.diff(whole)) > 1e-9)
        apart[[0, 1]] = apart[1], True
        index, new = np.clip(np.flatnonzero(apart) - 1, 0, values.size - 1), whole[apart]
        obj = obj.isel({dim: index}).assign_coords({name: (dim, new, obj[name].attrs)})
        if dim in obj.chunksizes:
            obj = obj.chunk({dim: -1})
    return obj


def _span(axis: Floats) -> str:
    return f"{axis[0]:g} to {axis[-1]:g}"
