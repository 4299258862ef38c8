"""Scores region by region: boxes, masks, or a map of regions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xatmo._labels import drop_cyclic
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.metrics._aggregate import resolve_weights
from xatmo.metrics._pairs import axes_of, match
from xatmo.typing import XarrayObject

Box = Mapping[Hashable, Any]
Regions = Mapping[str, "Box | xr.DataArray"] | xr.DataArray | str


def masks_of(field: xr.DataArray, regions: Regions) -> dict[str, xr.DataArray]:
    """Make a mask on a field's points for each region.

    Parameters
    ----------
    field : DataArray
    regions : mapping, DataArray or str
        As in `verify`.

    Returns
    -------
    dict of str to DataArray
        True inside.

    Raises
    ------
    OptionError
        If a region is of another kind, or holds no point.
    CoordinateError, DimensionError
        If a coordinate is not there, or a mask lies on other points.

    Examples
    --------
    >>> field = xr.DataArray([1.0, 2.0, 3.0], {"lat": [30.0, 40.0, 50.0]}, ["lat"])
    >>> masks_of(field, {"north": {"lat": (35, 90)}})["north"].values
    array([False,  True,  True])
    """
    if isinstance(regions, str):
        if regions not in field.coords:
            message = f"regions={regions!r}: no such coordinate among {sorted(map(str, field.coords))}"
            raise CoordinateError(message)
        regions = field[regions].reset_coords(drop=True)
    if isinstance(regions, xr.DataArray):
        made = _of_labels(regions)
    elif isinstance(regions, Mapping) and regions:
        made = {}
        for name, one in regions.items():
            if isinstance(one, xr.DataArray):
                made[str(name)] = one.astype(bool)
            elif isinstance(one, Mapping) and one:
                made[str(name)] = _of_box(field, one, str(name))
            else:
                message = f"region {name!r} is {one!r}; wanted a mask, or {{'latitude': (south, north), ...}}"
                raise OptionError(message)
    else:
        message = f"regions={regions!r}; wanted names to boxes or masks, a map of regions, or the name of a coordinate"
        raise OptionError(message)
    for name, mask in made.items():
        wrong = [d for d in mask.dims if d not in field.dims]
        if wrong:
            message = f"region {name!r} lies on {mask.dims}, the fields on {field.dims}; wanted a mask on their points"
            raise DimensionError(message)
        if mask.chunks is None and not bool(mask.any()):
            message = f"region {name!r} holds no point of the fields; wanted one at least"
            raise OptionError(message)
    return made


def _of_labels(labels: xr.DataArray) -> dict[str, xr.DataArray]:
    if labels.chunks is not None:
        message = f"regions {labels.name!r} are lazy, and their labels unknown; load them first: regions.load()"
        raise OptionError(message)
    known = labels.values[labels.notnull().values]
    meanings = str(labels.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(np.asarray(labels.attrs.get("flag_values", [])))
    words = dict(zip(values.tolist(), meanings, strict=False)) if len(values) == len(meanings) else {}
    return {str(words.get(v, v)): labels == v for v in np.unique(known).tolist()}


def _of_box(field: xr.DataArray, box: Box, name: str) -> xr.DataArray:
    axes = axes_of(field)
    inside = xr.DataArray(True)
    for key, bounds in box.items():
        alias = {} if axes is None else {"latitude": axes.lat, "lat": axes.lat, "longitude": axes.lon, "lon": axes.lon}
        coord = key if key in field.coords else alias.get(str(key))
        if coord is None or coord not in field.coords:
            message = f"region {name!r}: no coordinate {key!r} among {sorted(map(str, field.coords))}"
            raise CoordinateError(message)
        ends = (bounds.start, bounds.stop) if isinstance(bounds, slice) else tuple(np.ravel(bounds).tolist())
        if len(ends) != 2:
            message = f"region {name!r}: {key!r} is {bounds!r}; wanted two bounds"
            raise OptionError(message)
        values = field[coord].reset_coords(drop=True)
        low, high = float(ends[0]), float(ends[1])
        if axes is not None and coord == axes.lon:
            # From west to east: (350, 10) and (-10, 10) are the same 20 degrees.
            span = (high - low) % 360 or 360.0 * (high != low)
            inside = inside & ((values - low) % 360 <= span)
        else:
            inside = inside & (values >= min(low, high)) & (values <= max(low, high))
    return inside


def by_region(
    score: Callable[[Any], xr.Dataset], prediction: XarrayObject, regions: Regions, weights: Any
) -> xr.Dataset:
    """Score region by region with weights that are 0 outside, and join the scores along ``region``."""
    field = prediction if isinstance(prediction, xr.DataArray) else _first_field(prediction)
    axes = axes_of(field)
    if axes is not None:
        field = drop_cyclic(field, axes)[0]
    made = masks_of(field, regions)
    whole = tuple(field.dims)
    by = resolve_weights(field, whole, weights, what="regions")
    parts = []
    for mask in made.values():
        onto = match(field, mask, what="regions", units=False)[1] if mask.dims else mask
        parts.append(score(by * onto.astype(np.float64)))
    names = xr.DataArray(list(made), dims="region", name="region", attrs={"long_name": "region"})
    return xr.concat(parts, dim=names, combine_attrs="override")


def _first_field(ds: xr.Dataset) -> xr.DataArray:
    """Find the variable with most dimensions, on whose points regions are."""
    numbers = [v for v in ds.data_vars.values() if v.dtype.kind in "fiub"]
    if not numbers:
        message = f"regions need fields; {sorted(map(str, ds.data_vars))} came"
        raise OptionError(message)
    return max(numbers, key=lambda v: v.ndim)
