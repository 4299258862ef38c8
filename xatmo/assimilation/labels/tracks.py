"""Observations along a track: told from gridded ones, and averaged over the cells of a grid."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.errors import CoordinateError
from xatmo.grids import unwrap_longitude


def is_track(field: xr.DataArray) -> bool:
    """Tell whether observations lie along one dimension that carries latitude and longitude."""
    if field.ndim != 1:
        return False
    found = [cf._candidates(field, kind) for kind in ("latitude", "longitude")]
    return all(any(field[n].dims == field.dims for n in names) for names in found)


def bin_track(track: xr.DataArray, grid: xr.Dataset) -> xr.DataArray:
    """Average along-track observations over the cells and times of a grid; NaN where none fell.

    Parameters
    ----------
    track : DataArray (n,)
        With coordinates time, latitude and longitude on its dimension.
    grid : Dataset
        With the target's latitude, longitude and, unless it has none, time. Every observation goes to the nearest
        node; those more than half a step outside are left out. To a grid of one time, all of them go.

    Raises
    ------
    CoordinateError
        If the track lacks times that the grid has, or coordinates are not finite.
    """
    dim = track.dims[0]
    target = grid.drop_dims([dim]) if _is_the_tracks_own(dim, track, grid) else grid
    axes = cf.horizontal(target)
    lat, lon = target[axes.lat], target[axes.lon]
    names = [n for n in cf._candidates(target, "time") if target[n].ndim == 1]
    found = {kind: [n for n in cf._candidates(track, kind) if track[n].dims == track.dims] for kind in _TRACK_KINDS}
    coords: dict[Hashable, Any] = {axes.lat: lat.variable, axes.lon: lon.variable}
    dims: tuple[Hashable, ...] = axes.dims
    time = None
    if names:
        if not found["time"]:
            message = f"the track {track.name!r} has no time coordinate on {dim!r}; the grid has times {names[0]!r}"
            raise CoordinateError(message)
        time = target[names[0]]
        dims = (time.dims[0], *dims)
        coords[names[0]] = time.variable
    else:
        found.pop("time")
    # On a name of its own: the track's dimension may be called "time", as the grid's is.
    along = [xr.DataArray(a.variable.data, dims="_track") for a in (track, *(track[k[0]] for k in found.values()))]
    along = [a if a.chunks is None else a.chunk({"_track": -1}) for a in along]
    shape = tuple(target.sizes[d] for d in dims)
    when = None if time is None else _as_seconds(time.values)
    bins = _Bins(lat.values, np.asarray(unwrap_longitude(lon.values)), when)
    out = xr.apply_ufunc(
        bins, *along, input_core_dims=[["_track"]] * len(along),
        output_core_dims=[list(dims)], dask="parallelized", output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": dict(zip(dims, shape, strict=True))},
    )  # fmt: skip
    return cast(xr.DataArray, out.assign_coords(coords).rename(track.name).assign_attrs(track.attrs))


def require_on_grid(tracks: Sequence[xr.DataArray], binned: Sequence[xr.DataArray], *, others: bool = False) -> None:
    """See that observations along tracks fell on the grid: of those in memory, for others are not read here.

    Parameters
    ----------
    tracks, binned : sequences of DataArray
        Before and after `bin_track`.
    others : bool
        Whether there are other observations beside these tracks.

    Raises
    ------
    CoordinateError
        If none of all observations did. Where some tracks have none there and others do, a warning says so.
    """
    known = [(t, b) for t, b in zip(tracks, binned, strict=True) if t.chunks is None and b.chunks is None]
    outside = [(t, b) for t, b in known if t.notnull().any() and not b.notnull().any()]
    said = [_where(t, b) for t, b in outside]
    if said and len(outside) == len(tracks) and not others:
        message = (
            f"no observation lies on the grid: {'; '.join(said)}. Wanted some within half a step of it, in space and "
            "time; look at signs and units of the coordinates, or take another grid or period"
        )
        raise CoordinateError(message)
    for one in said:
        logging.getLogger(__name__).warning("no observation of this track lies on the grid: %s", one)


def _where(track: xr.DataArray, grid: xr.DataArray) -> str:
    """Say between which coordinates a track lies, and its grid."""
    spans = []
    for kind in _TRACK_KINDS:
        ends = []
        for field in (track, grid):
            names = [n for n in cf._candidates(field, kind) if field[n].ndim == 1]
            if names:
                values = field[names[0]].values
                low, high = values.min(), values.max()
                ends.append(f"{str(low)[:10]} to {str(high)[:10]}" if kind == "time" else f"{low:.4g} to {high:.4g}")
        if len(ends) == 2:
            spans.append(f"{kind} {ends[0]} on {ends[1]}")
    return f"{track.name!r} has {', '.join(spans)}"


def _is_the_tracks_own(dim: Hashable, track: xr.DataArray, grid: xr.Dataset) -> bool:
    """Tell whether the Dataset's dimension is the one that the track lies along, not a gridded one of the same name."""
    if dim not in grid.dims or grid.sizes[dim] != track.sizes[dim]:
        return False
    if dim in grid.coords and dim in track.coords and not grid[dim].equals(track[dim]):
        return False
    return not any(dim in v.dims and v.ndim > 1 for v in grid.data_vars.values())


_TRACK_KINDS = ("latitude", "longitude", "time")


@dataclass(frozen=True)
class _Bins:
    """Cell means of a track's values; a class, so that it pickles to workers."""

    latitude: Any
    longitude: Any
    time: Any

    def __call__(self, values: Any, latitude: Any, longitude: Any, time: Any = None) -> Any:
        for name, along in (("latitude", latitude), ("longitude", longitude)):
            if not np.isfinite(along).all():
                message = f"{name} along the track holds values that are not finite; drop those observations first"
                raise CoordinateError(message)
        axis = self.longitude
        east = (longitude - axis[0] + 180) % 360 - 180 + axis[0]
        east = np.where(east < axis[0] - (axis[1] - axis[0]) / 2, east + 360, east)
        places = [_nearest(self.latitude, latitude), _nearest(axis, east)]
        shape: tuple[int, ...] = (len(self.latitude), len(axis))
        if self.time is not None:
            places.insert(0, _nearest(self.time, _as_seconds(time)))
            shape = (len(self.time), *shape)
        good = np.logical_and.reduce([p >= 0 for p in places]) & np.isfinite(values)
        flat = np.ravel_multi_index([p[good] for p in places], shape)
        size = int(np.prod(shape))
        count = np.bincount(flat, minlength=size)
        total = np.bincount(flat, weights=np.asarray(values, dtype=np.float64)[good], minlength=size)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(shape)


def _as_seconds(time: Any) -> Any:
    return np.asarray(time).astype("datetime64[ns]").astype(np.int64) / 1e9


def _nearest(axis: Any, values: Any) -> NDArray[np.intp]:
    """Index of the nearest node, -1 beyond half a step outside."""
    axis = np.asarray(axis, dtype=np.float64)
    order = np.argsort(axis)
    up = axis[order]
    if up.size == 1:
        return np.zeros(np.shape(values), dtype=np.intp)
    edges = np.concatenate([[1.5 * up[0] - 0.5 * up[1]], (up[1:] + up[:-1]) / 2, [1.5 * up[-1] - 0.5 * up[-2]]])
    place = np.searchsorted(edges, values, side="right") - 1
    good = (place >= 0) & (place < up.size)
    return np.where(good, order[np.clip(place, 0, up.size - 1)], -1)
