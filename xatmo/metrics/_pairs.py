"""Bring a prediction and its target onto the same labels and units, or say what differs. Nothing is computed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo._labels import drop_cyclic
from xatmo.climatology import GROUPS, climatology_at
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, UnitsError, VariableError
from xatmo.grids import Grid, coordinate_values
from xatmo.metrics.forecasts import at_valid_times, is_forecast_of
from xatmo.rings import RingGrid
from xatmo.typing import XarrayObject
from xatmo.units import convert

Dims = Hashable | Sequence[Hashable] | None
_PAIR = ("prediction", "target")

# Labels that differ by less than this part of the spacing are the same: float32 files against float64 ones.
_SAME_LABEL = 1e-3


def axes_of(obj: XarrayObject) -> cf.Horizontal | None:
    """Horizontal axes of an object, or None where it has none that are a product of latitudes and longitudes."""
    try:
        return cf.horizontal(obj)
    except (CoordinateError, GridError):
        return None


def ring_grid(obj: XarrayObject, dim: Hashable) -> RingGrid | None:
    """Grid of points that lie on rings along ``dim`` (reduced Gaussian, HEALPix); None for tracks and stations."""
    try:
        axes = cf.horizontal(obj, rings=True)
        if axes.dims != (dim,):
            return None
        some = coordinate_values(obj.coords.variables[axes.lat])[:4096]
        if 3 * np.unique(some).size > some.size:  # hardly any two points share their latitude
            return None
        grid = Grid.on(obj, axes)
    except (CoordinateError, GridError):
        return None
    return grid if isinstance(grid, RingGrid) else None


def _same_points(
    prediction: xr.DataArray, target: xr.DataArray, *, what: str, words: tuple[str, str] = _PAIR
) -> xr.DataArray:
    """Bring a target on rings into the prediction's order of points and under its dimension's name."""
    here, there = (
        next(((d, grid) for d in obj.dims if (grid := ring_grid(obj, d)) is not None), None)
        for obj in (prediction, target)
    )
    if here is None or there is None:
        return target
    (dim, ours), (other, theirs) = here, there
    order = ours.positions_in(theirs)
    if order is None:
        message = (
            f"{what}: the {words[0]} lies on {ours!r}, the {words[1]} on {theirs!r}; wanted one grid: regrid one of "
            "them"
        )
        raise CoordinateError(message)
    if not np.array_equal(order, np.arange(order.size)):
        target = target.isel({other: order})
    return target.rename({other: dim}) if other != dim else target


def fields(
    prediction: XarrayObject, target: XarrayObject, *, what: str
) -> Iterator[tuple[Hashable, xr.DataArray, Any]]:
    """Pair variables by name: ``(name, prediction, target)``; one pair named as the prediction for DataArrays.

    Raises
    ------
    VariableError
        If the two have no numeric variable in common.
    OptionError
        If the target is neither a Dataset nor a DataArray.
    """
    other: Any = target
    if not isinstance(other, xr.DataArray | xr.Dataset):
        message = f"{what} got a {type(target).__name__} as target; wanted a Dataset or DataArray"
        raise OptionError(message)
    if isinstance(prediction, xr.DataArray) and isinstance(target, xr.DataArray):
        yield prediction.name, prediction, target
        return
    if isinstance(prediction, xr.DataArray):
        yield prediction.name, prediction, only(target, prediction.name, what=what, of="target")
        return
    if isinstance(target, xr.DataArray):
        chosen = only(prediction, target.name, what=what, of="prediction")
        yield chosen.name, chosen, target
        return
    others = cf.auxiliary(prediction)
    names = [
        n
        for n, v in prediction.data_vars.items()
        if n in target.data_vars and v.dtype.kind in "fiub" and n not in others
    ]
    if not names:
        message = (
            f"{what} pairs variables by name, but the prediction has {sorted(map(str, prediction.data_vars))} and the "
            f"target {sorted(map(str, target.data_vars))}; rename one: ds.rename({{'OLD': 'NEW'}})"
        )
        raise VariableError(message)
    for name in names:
        yield name, prediction[name], target[name]


def only(obj: XarrayObject, name: Hashable, *, what: str, of: str) -> xr.DataArray:
    """Give the variable of a name, or the only one there is."""
    if isinstance(obj, xr.DataArray):
        return obj
    if name in obj.data_vars:
        return obj[name]
    if len(obj.data_vars) == 1:
        return next(iter(obj.data_vars.values()))
    message = (
        f"{what} got a DataArray named {name!r} and a {of} Dataset with {sorted(map(str, obj.data_vars))}; "
        "pick the variable: ds['NAME']"
    )
    raise VariableError(message)


def match(
    prediction: xr.DataArray, target: xr.DataArray, *, what: str, units: bool = True, words: tuple[str, str] = _PAIR
) -> tuple[xr.DataArray, xr.DataArray, bool]:
    """Give the prediction and the target on the prediction's labels, in the target's units.

    Rows, columns and other labels are matched by value, in whichever order and longitude range they come. A repeated
    cyclic column is dropped from both. A target along time is laid at the valid times of forecasts. In errors the two
    are called by ``words``.

    Returns
    -------
    prediction, target : DataArray
    cyclic : bool
        Whether a repeated column was dropped from the prediction.

    Raises
    ------
    CoordinateError
        If labels differ: scores never join inner.
    DimensionError
        If the two share no dimension, though both have some.
    UnitsError
        If units cannot be converted, or only one of the two has any.
    """
    if is_forecast_of(prediction, target):
        target = at_valid_times(target, prediction)
    if units:
        prediction = _same_units(prediction, target, what=what, words=words)
    ours, theirs = axes_of(prediction), axes_of(target)
    cyclic = False
    if ours is not None and prediction.sizes[ours.lon_dim] > 2:
        prediction, cyclic = drop_cyclic(prediction, ours)
    if theirs is not None and target.sizes[theirs.lon_dim] > 2:
        target, _ = drop_cyclic(target, theirs)
    if ours is not None and theirs is not None and ours != theirs:
        names = {
            theirs.lat: ours.lat, theirs.lon: ours.lon, theirs.lat_dim: ours.lat_dim, theirs.lon_dim: ours.lon_dim
        }  # fmt: skip
        target = target.rename({old: new for old, new in names.items() if old != new})
    if ours is None and theirs is None:
        target = _same_points(prediction, target, what=what, words=words)
    shared = [d for d in prediction.dims if d in target.dims]
    if not shared and prediction.dims and target.dims:
        message = (
            f"{what}: the {words[0]} has dimensions {prediction.dims}, the {words[1]} {target.dims}; wanted some in "
            "common"
        )
        raise DimensionError(message)
    for dim in shared:
        period = 360.0 if ours is not None and dim == ours.lon_dim else None
        name = ours.lon if period and ours is not None else ours.lat if ours and dim == ours.lat_dim else dim
        target = _reorder(prediction, target, dim, name, period=period, what=what, words=words)
    # Auxiliary coordinates of the target would be compared value by value in arithmetic, which may compute them.
    target = target.drop_vars([c for c in target.coords if c not in target.indexes or c not in target.dims])
    return prediction, target, cyclic


def _same_units(
    prediction: xr.DataArray, target: xr.DataArray, *, what: str, words: tuple[str, str] = _PAIR
) -> xr.DataArray:
    ours, theirs = prediction.attrs.get("units"), target.attrs.get("units")
    if ours is None and theirs is None:
        return prediction
    if ours is None or theirs is None:
        lacks, has = words if ours is None else words[::-1]
        message = (
            f"{what}: the {has} {target.name!r} has units {theirs if ours is None else ours!r}, the {lacks} has none; "
            f"wanted both or neither. Set attrs['units'] of the {lacks}"
        )
        raise UnitsError(message)
    return convert(prediction, str(theirs))


def _labels(obj: xr.DataArray, dim: Hashable, name: Hashable) -> pd.Index | None:
    if name in obj.coords and obj[name].dims == (dim,):
        labels: pd.Index = pd.Index(obj[name].values)
        return labels
    return obj.indexes.get(dim)


def _reorder(
    prediction: xr.DataArray, target: xr.DataArray, dim: Hashable, name: Hashable, *, period: float | None, what: str,
    words: tuple[str, str] = _PAIR,
) -> xr.DataArray:  # fmt: skip
    ours, theirs = _labels(prediction, dim, name), _labels(target, dim, name)
    if prediction.sizes[dim] != target.sizes[dim]:
        message = (
            f"{what}: {dim!r} has {prediction.sizes[dim]} points in the {words[0]}{_extent(ours)} and "
            f"{target.sizes[dim]} in the {words[1]}{_extent(theirs)}; wanted the same labels. Select them, regrid, or "
            f"align on purpose: xr.align({', '.join(words)}, join='inner')"
        )
        raise CoordinateError(message)
    if ours is None or theirs is None or ours.equals(theirs):
        return _take_labels(prediction, target, dim)
    order = _positions(ours, theirs, period)
    if order is None or (order < 0).any():
        missing = ours[order < 0] if order is not None else ours
        message = (
            f"{what}: {len(missing)} of {len(ours)} labels of {dim!r} in the {words[0]}{_extent(ours)} are not in the "
            f"{words[1]}{_extent(theirs)}, the first is {missing[0]}; wanted the same labels. Select them, regrid, or "
            f"align on purpose: xr.align({', '.join(words)}, join='inner')"
        )
        raise CoordinateError(message)
    if not np.array_equal(order, np.arange(order.size)):
        target = target.isel({dim: order})
    return _take_labels(prediction, target, dim)


def _take_labels(prediction: xr.DataArray, target: xr.DataArray, dim: Hashable) -> xr.DataArray:
    if dim in prediction.indexes:
        return target.assign_coords({dim: prediction.indexes[dim]})
    return target.drop_vars([dim]) if dim in target.indexes else target


def _positions(ours: pd.Index, theirs: pd.Index, period: float | None) -> Any:
    """Position in ``theirs`` of each label of ``ours``, -1 where there is none; None if labels repeat."""
    numeric = ours.dtype.kind in "fiu" and theirs.dtype.kind in "fiu"
    if not numeric:
        return theirs.get_indexer(ours) if theirs.is_unique and ours.is_unique else None
    mine, other = ours.to_numpy(np.float64), theirs.to_numpy(np.float64)
    # Steps around the circle do not depend on where it was cut; the median is that of an ordinary step.
    step = np.median(np.abs(np.diff(np.sort(other)))) if other.size > 1 else 1.0
    if period is not None:
        # Cut half a step below a label of ours, so that rounding never puts one label on both sides.
        start = mine.min() - step / 2
        mine, other = (start + (x - start) % period for x in (mine, other))
    rank = np.argsort(other)
    found = np.clip(np.searchsorted(other[rank], mine - step / 2), 0, other.size - 1)
    order = rank[found]
    bad = np.abs(other[order] - mine) > _SAME_LABEL * step
    repeated = np.unique(order[~bad]).size < (~bad).sum()
    return None if repeated else np.where(bad, -1, order)


def _extent(labels: pd.Index | None) -> str:
    return "" if labels is None or not len(labels) else f" ({labels[0]} to {labels[-1]})"


def reduced_dims(prediction: xr.DataArray, target: xr.DataArray, dim: Dims, *, what: str) -> tuple[Hashable, ...]:
    """Dimensions that a score averages over: those asked for, or all that the two share.

    Raises
    ------
    DimensionError
        If neither has a dimension that was asked for.
    """
    if dim is None:
        return tuple(d for d in prediction.dims if d in target.dims)
    wanted = (dim,) if isinstance(dim, str) or not isinstance(dim, Sequence) else tuple(dim)
    missing = [d for d in wanted if d not in prediction.dims and d not in target.dims]
    if missing:
        message = f"{what}: dim has {missing[0]!r}, but the fields have {prediction.dims}; wanted some of these"
        raise DimensionError(message)
    return wanted


def climatology_for(
    climatology: XarrayObject, prediction: xr.DataArray, target: xr.DataArray, *, what: str
) -> xr.DataArray:
    """Lay a climatology on the prediction's labels: by day of year, month, season or hour where it has these.

    Raises
    ------
    CoordinateError
        If labels differ, or a time of the prediction has no entry.
    """
    field = only(climatology, target.name, what="the climatology", of="climatology")
    if any(group in field.dims and group not in prediction.dims for group in GROUPS):
        field = climatology_at(field, prediction)
        field = field.drop_vars([c for c in field.coords if c not in field.dims])
    if set(field.dims) & set(target.dims):
        field, _, _ = match(field, target, what=what, words=("climatology", "target"))
    _, onto, _ = match(prediction, field, what=what, units=False, words=("prediction", "climatology"))
    return onto
