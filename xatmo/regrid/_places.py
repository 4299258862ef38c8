"""Where regridded fields are put: the target's grid, names and coordinates, and what is taken over from a field."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xatmo import _labels, cf
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.regrid import engines
from xatmo.regrid.bounds import cell_edges
from xatmo.regrid.separable import Edges
from xatmo.typing import XarrayObject

_CELL_METHODS = {
    "conservative": "mean", "conservative2": "mean", "most_common": "mode", "min": "minimum", "max": "maximum",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A target grid with the names and coordinates that the result gets."""

    grid: Grid
    axes: cf.Horizontal
    coords: dict[Hashable, xr.DataArray]
    cyclic: xr.DataArray | None  # the target's own longitudes, if the last repeats the first
    edges: Edges | None = None  # of its cells, by CF bounds

    @property
    def skeleton(self) -> xr.Dataset:
        """Coordinates alone."""
        return xr.Dataset(coords=self.coords)


def place_of(target: Any, axes: cf.Horizontal) -> Place:
    """Take the place that a Grid or an xarray object describes.

    Raises
    ------
    OptionError
        If it is something else.
    """
    if isinstance(target, Grid):
        return grid_place(target, axes)
    if not isinstance(target, (xr.Dataset, xr.DataArray)):
        message = f"target is a {type(target).__name__}; wanted a Grid, or a Dataset or DataArray with coordinates"
        raise OptionError(message)
    there = cf.horizontal(target)
    whole = {name: _bare(target[name]) for name in (there.lat, there.lon)}
    column, cyclic = _labels.drop_cyclic(whole[there.lon], there)
    grid = Grid.from_latlon(whole[there.lat].values, column.values)
    coords = {there.lat: whole[there.lat], there.lon: column}
    return Place(grid, there, coords, whole[there.lon] if cyclic else None, cell_edges(target, there))


def _bare(coord: xr.DataArray) -> xr.DataArray:
    """Drop other coordinates, and the name of bounds that do not come along."""
    attrs = {k: v for k, v in coord.attrs.items() if k != "bounds"}
    return xr.DataArray(
        coord.values, coords={coord.name: (coord.dims, coord.values, attrs)}, dims=coord.dims, attrs=attrs
    )


def grid_place(grid: Grid, axes: cf.Horizontal) -> Place:
    """Put a grid under the names of an object's own axes."""
    lat, lon = grid.coords(lat="lat", lon="lon").values()
    coords: dict[Hashable, xr.DataArray] = {
        axes.lat: xr.DataArray(lat.values, dims=(axes.lat_dim,), attrs=lat.attrs),
        axes.lon: xr.DataArray(lon.values, dims=(axes.lon_dim,), attrs=lon.attrs),
    }
    return Place(grid, axes, coords, None)


# ---------------------------------------------------------------------- one field
def check_names(da: xr.DataArray, new: Collection[Hashable], old: Collection[Hashable]) -> None:
    """Raise if a dimension of the target already means something else in this field than its horizontal ones.

    Raises
    ------
    DimensionError
        Naming it.
    """
    taken = [d for d in new if d in da.dims and d not in old]
    if taken:
        message = (
            f"the target calls a horizontal dimension {taken[0]!r}, which is another dimension of variable {da.name!r} "
            f"{da.dims}; rename one of them"
        )
        raise DimensionError(message)


def finish(out: xr.DataArray, da: xr.DataArray, job: engines.Job, place: Place) -> xr.DataArray:
    """Give a result its coordinates, attributes, encoding, order, and the target's cyclic column."""
    stale = [n for n in out.coords if set(out[n].dims) & set(job.target_dims) or n in place.coords]
    out = out.drop_vars(stale).assign_coords(place.coords)
    order = [dict(zip(job.source_dims, job.target_dims, strict=True)).get(d, d) for d in da.dims]
    out = out.transpose(*order)
    attrs: dict[str, Any] = _labels.true_attrs(da, off_grid=True)
    if job.method in _CELL_METHODS:
        before, now = str(attrs.get("cell_methods", "")), f"area: {_CELL_METHODS[job.method]}"
        attrs["cell_methods"] = before if now in before else f"{before} {now}".strip()
    out.attrs = attrs
    if place.cyclic is not None:
        out = _labels.restore_cyclic(out, place.cyclic, place.axes)
    return _labels.changed_values(out, da, reshaped=True)


# ---------------------------------------------------------------------- vectors
def vectors_of(obj: XarrayObject) -> set[Hashable]:
    """Names of the wind pair of a Dataset; empty without one."""
    pair = cf.wind_pair(obj, required=False) if isinstance(obj, xr.Dataset) else None
    return set(pair or ())


def is_component(da: xr.DataArray) -> bool:
    """Tell whether a field is an eastward or northward component, whose unit vector turns at the poles."""
    words = str(da.attrs.get("standard_name", "")).split("_")
    return "eastward" in words or "northward" in words
