"""Static fields that a network reads: coarse ones beside the data, fine ones on the grid of its output."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xatmo import _channels, _labels, cf
from xatmo._axes import nearest, step_of
from xatmo.errors import DimensionError, GridError, MissingValueError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.typing import Floats, XarrayObject

if TYPE_CHECKING:
    from xatmo._channels import Channel
    from xatmo.normalize import Normalizer

# Points of two grids are the same when they are this near, in steps of the grid.
_SAME = 0.05


def beside(obj: xr.Dataset, stored: xr.Dataset, names: Sequence[Hashable]) -> xr.Dataset:
    """Add stored fields at the coordinates of ``obj``.

    Raises
    ------
    VariableError
        If they do not cover these coordinates.
    """
    have, want = cf.horizontal(stored), cf.horizontal(obj)
    rows, columns = _places(stored, obj[want.lat].values, obj[want.lon].values)
    if rows is None or columns is None:
        message = (
            f"the network reads the static fields {list(names)}, which it keeps for {_extent(stored)}; the data go "
            "beyond, or lie on other points. Add these variables to the Dataset, or put fields of this region in "
            "place: model.with_static(fine_dataset)"
        )
        raise VariableError(message)
    at = stored[list(names)].isel({have.lat_dim: rows, have.lon_dim: columns})
    fields = {n: ((want.lat_dim, want.lon_dim), at[n].transpose(*have.dims).data, at[n].attrs) for n in names}
    return obj.assign(fields)


def on_points(
    channels: Sequence[Channel],
    stored: xr.Dataset | None,
    normalizer: Normalizer | None,
    latitude: Floats,
    longitude: Floats,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Give normalized fine fields at the points of an output, ``(n_static, lat, lon)``.

    Parameters
    ----------
    channels : sequence of Channel
        What the network takes on the fine grid.
    stored : Dataset, optional
        Fields under their names, on the grid that the model keeps them for.
    normalizer : Normalizer, optional
        With statistics for their names.
    latitude, longitude : array (lat,), (lon,)

    Raises
    ------
    VariableError
        If there are none, or they do not cover these points.
    """
    names = [c.name for c in channels]
    if stored is None:
        message = (
            f"the network reads the fine static fields {names}, and the model has none; put them in place: "
            "model.with_static(fine_dataset)"
        )
        raise VariableError(message)
    axes = cf.horizontal(stored)
    rows, columns = _places(stored, latitude, longitude)
    if rows is None or columns is None:
        message = (
            f"the network reads the fine static fields {names}, which the model keeps for {_extent(stored)}; the "
            f"output is on {latitude.size} x {longitude.size} points, latitude {latitude.min():g} to "
            f"{latitude.max():g} and longitude {longitude[0]:g} to {longitude[-1]:g}, and goes beyond or lies on other "
            "points. Give the fields on the output's points: model.with_static(fine_dataset)"
        )
        raise VariableError(message)
    scalings = _channels.scalings(normalizer, channels, stored, ())
    made = []
    for name, scaling in zip(names, scalings, strict=True):
        values = stored[name].transpose(*axes.dims).values[np.ix_(rows, columns)].astype(np.float64)
        made.append(values if scaling is None else scaling.normalize(values, ()))
    return np.stack(made).astype(np.float32)


def in_place(
    obj: XarrayObject, fine: Sequence[Channel], coarse: Sequence[Channel], *, factor: int, grid: Mapping[str, Any]
) -> tuple[xr.Dataset | None, xr.Dataset | None]:
    """Make the coarse and the fine static fields of a model from fields of another region or grid.

    Parameters
    ----------
    obj : Dataset or DataArray
        The fields, on the fine grid; a model that reads coarse ones only takes these as they are, too.
    fine, coarse : sequence of Channel
        What the model reads on each grid.
    factor : int
        Fine cells per coarse cell.
    grid : mapping
        The training grids, ``coarse`` and ``fine``.

    Returns
    -------
    coarse, fine : Dataset or None

    Raises
    ------
    OptionError
        If the model reads no static fields.
    VariableError, UnitsError
        If one is missing, or its units do not fit.
    DimensionError
        If one has dimensions besides latitude and longitude.
    GridError
        If they are not on the fine grid.
    MissingValueError
        If a value is missing.
    """
    channels: list[Channel] = [*fine, *(c for c in coarse if c.name not in {f.name for f in fine})]
    if not channels:
        message = "with_static got fields, but this model reads no static fields; use it as it is"
        raise OptionError(message)
    given: object = obj
    if not isinstance(given, xr.Dataset | xr.DataArray):
        message = f"with_static got {type(given).__name__}; wanted a Dataset or DataArray on the fine grid"
        raise OptionError(message)
    ds = obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name=channels[0].name if obj.name is None else obj.name)
    axes = cf.horizontal(ds)
    ds, _ = _labels.drop_cyclic(ds, axes)
    if not Grid.of(ds).north_to_south:
        ds = ds.isel({axes.lat_dim: slice(None, None, -1)})
    fields = {}
    for channel, source in zip(channels, _channels.match(ds, channels, what="with_static"), strict=True):
        field = ds[source.variable]
        if set(field.dims) != set(axes.dims):
            message = f"static field {source.variable!r} has dimensions {field.dims}; wanted {axes.dims} only"
            raise DimensionError(message)
        values = field.transpose(*axes.dims).compute() * source.scale + source.offset
        if lost := int((~np.isfinite(values.values)).sum()):
            message = f"static field {source.variable!r} holds {lost} missing or infinite values; fill them first"
            raise MissingValueError(message)
        units = {} if channel.units is None else {"units": channel.units}
        fields[channel.name] = values.astype(field.dtype if field.dtype.kind == "f" else "float32").assign_attrs(
            {**channel.attrs, **units}
        )
    made = xr.Dataset(fields)
    made = made.drop_vars([n for n, c in made.coords.items() if n not in (axes.lat, axes.lon)])
    on_fine = made[[c.name for c in fine]] if fine else None
    if not coarse:
        _check_step(made, axes, grid, "fine")
        return None, on_fine
    parts = made[[c.name for c in coarse]]
    if not fine and _near(parts, axes, grid, "coarse"):
        return parts, None
    _check_step(parts, axes, grid, "fine")
    return _coarsened(parts, factor), on_fine


def _coarsened(fields: xr.Dataset, factor: int) -> xr.Dataset:
    from xatmo import regrid

    coarse: xr.Dataset = regrid.coarsen(fields, factor) if factor > 1 else fields
    for name in coarse.data_vars:
        coarse[name].attrs.update(fields[name].attrs)
    return coarse


def _near(fields: xr.Dataset, axes: cf.Horizontal, grid: Mapping[str, Any], which: str) -> bool:
    described = grid.get(which)
    if not described:
        return False
    return abs(step_of(fields[axes.lat].values) / step_of(Grid.from_dict(described).latitude) - 1) < _SAME


def _check_step(fields: xr.Dataset, axes: cf.Horizontal, grid: Mapping[str, Any], which: str) -> None:
    if grid.get(which) and not _near(fields, axes, grid, which):
        came, wanted = step_of(fields[axes.lat].values), step_of(Grid.from_dict(grid[which]).latitude)
        message = (
            f"with_static got fields {list(map(str, fields.data_vars))} with a latitude step of {came:.4g} degrees; "
            f"wanted the {wanted:.4g} degrees of the {which} grid that the model was trained on. Regrid them first"
        )
        raise GridError(message)


# ---------------------------------------------------------------------- places
def _places(stored: xr.Dataset, latitude: Floats, longitude: Floats) -> tuple[Any, Any]:
    """Rows and columns of stored fields for points; None where one lies elsewhere."""
    axes = cf.horizontal(stored)
    lat, lon = (stored[n].values.astype(np.float64) for n in (axes.lat, axes.lon))
    rows = nearest(lat, latitude, _SAME * step_of(lat))
    return rows, nearest(lon, longitude, _SAME * step_of(lon), period=360.0)


def _extent(stored: xr.Dataset) -> str:
    axes = cf.horizontal(stored)
    lat, lon = stored[axes.lat].values, stored[axes.lon].values
    return f"latitude {lat.min():g} to {lat.max():g} and longitude {lon[0]:g} to {lon[-1]:g}"
