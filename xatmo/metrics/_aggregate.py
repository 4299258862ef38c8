"""Weighted sums: the step between a statistic at every point and a score. Sums over chunks add up exactly."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._pairs import axes_of, match

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
    if any(str(d) in ("lat", "latitude", "lon", "longitude") and d not in field.coords for d in dims):
        message = (
            f"{what}: area weights need latitude and longitude coordinates; {tuple(map(str, field.dims))} have none. "
            "Assign them, or pass weights=None"
        )
        raise CoordinateError(message)
    if sum(d not in field.coords for d in dims) >= 2 and any(field[c].ndim == 2 for c in field.coords):
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
    """Weighted sums of statistics and of the weights where the statistic is known."""

    total: Mapping[str, xr.DataArray]
    weight: Mapping[str, xr.DataArray]

    def means(self) -> dict[str, xr.DataArray]:
        """Weighted means; NaN where nothing was known."""
        return {name: self.total[name] / self.weight[name].where(self.weight[name] > 0) for name in self.total}

    def resampled(self, dim: Hashable, counts: xr.DataArray) -> Sums:
        """Add up along ``dim``, each entry as often as ``counts`` (``(resample, dim)``) says."""

        def add(part: xr.DataArray) -> xr.DataArray:
            if dim not in part.dims:
                return part * counts.sum([dim]) / counts.sizes[dim]
            drawn: xr.DataArray = xr.dot(in_one_chunk(part, dim), counts, dim=[dim])
            return drawn

        return Sums({n: add(s) for n, s in self.total.items()}, {n: add(w) for n, w in self.weight.items()})


def in_one_chunk(part: xr.DataArray, dim: Hashable) -> xr.DataArray:
    """Make one chunk along a dimension, for sums and scores: they are small. Coordinates stay as they are."""
    if part.chunks is None:
        return part
    return part.copy(data=part.data.rechunk({part.get_axis_num(dim): -1}))


def add_up(statistics: Mapping[str, xr.DataArray], dims: tuple[Hashable, ...], weights: xr.DataArray) -> Sums:
    """Weighted sums over ``dims``, in float64; NaN are left out together with their weights."""
    total, weight = {}, {}
    for name, statistic in statistics.items():
        over = [d for d in dims if d in statistic.dims]
        known = statistic.notnull()
        by = weights if set(weights.dims) <= set(statistic.dims) else xr.DataArray(1.0)
        total[name] = (statistic.where(known, 0.0) * by).sum(over, skipna=False, keep_attrs=False)
        weight[name] = (known * by).sum(over, skipna=False, keep_attrs=False)
    return Sums(total, weight)
