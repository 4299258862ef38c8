"""Boxes taken as planes: regional grids, and fields on the x and y of a map projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.cf import chunks_of
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, UnitsError
from xatmo.grids import Grid
from xatmo.spectral import _fields
from xatmo.spectral._fields import Source
from xatmo.spectral._planar import Box
from xatmo.typing import Floats, XarrayObject
from xatmo.units import conversion


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane with x and y in metres, and where they lie on an object's dimensions: a `Source` without latitudes."""

    axes: cf.Horizontal
    y: Floats
    x: Floats  # increasing
    eastward: bool  # whether the columns come in this order

    @classmethod
    def of(cls, obj: XarrayObject) -> Plane | None:
        """Find x and y by their CF names, or by theirs, in units of length; None if there are none."""
        y, x = _axis(obj, "y"), _axis(obj, "x")
        if y is None or x is None:
            return None
        axes = cf.Horizontal(y.name, x.name, y.dims[0], x.dims[0])
        eastward = x.values[-1] >= x.values[0]
        return cls(axes, _metres(y), _metres(x)[:: 1 if eastward else -1], eastward)


Region = Source | Plane


def _axis(obj: XarrayObject, letter: str) -> xr.DataArray | None:
    for name in obj.dims:
        if name in obj.coords and obj.coords[name].dims == (name,):
            attrs = obj[name].attrs
            told = (
                attrs.get("standard_name") == f"projection_{letter}_coordinate" or attrs.get("axis") == letter.upper()
            )
            if (told or str(name).lower() == letter) and _is_length(str(attrs.get("units", ""))):
                return obj[name]
    return None


def _is_length(units: str) -> bool:
    try:
        conversion(units, "m")
    except UnitsError:
        return False
    return units not in ("", "1")


def _metres(axis: xr.DataArray) -> Floats:
    return np.asarray(axis.values, dtype=np.float64) * conversion(str(axis.attrs["units"]), "m")[0]


def region(obj: XarrayObject, *, plane: bool) -> Region:
    """Find the grid of an object; with ``plane``, x and y will do where there are no axes of latitude and longitude."""
    try:
        return Source.of(obj)
    except (CoordinateError, GridError):
        found = Plane.of(obj) if plane else None
        if found is None:
            raise
        return found


def in_order(grid: Grid) -> Grid:
    """Give the grid with its columns from west to east, as `bare` gives fields."""
    west = _west(grid)
    if not west:
        return grid
    longitude = np.roll(grid.longitude, -west)
    return Grid.from_latlon(grid.latitude, np.where(longitude < longitude[0], longitude + 360, longitude))


def is_global(where: Region) -> bool:
    """Tell whether it is a grid of the whole sphere."""
    return isinstance(where, Source) and where.grid.is_global


def bare(da: xr.DataArray, where: Region, *, what: str) -> xr.DataArray:
    """Field without a repeated column, from west to east, checked to be real."""
    columns = where.axes.lon_dim
    if isinstance(where, Plane):
        _fields.require_real(da, what=what)
        return da if where.eastward else da.isel({columns: slice(None, None, -1)})
    field = _fields.bare(da, where, what=what)
    west = _west(where.grid)
    if west and columns in field.dims:
        whole = chunks_of(field).get(columns)
        field = field.isel({columns: [*range(west, where.grid.nlon), *range(west)]})
        if whole is not None and len(whole) == 1:  # columns in another order must not mean more chunks
            field = field.chunk({columns: -1})
    return field


def _west(grid: Grid) -> int:
    """Column at the west of a box: not the first if the box lies across the first longitude and is in order of them."""
    if len(grid.shape) == 1 or grid.periodic:
        return 0
    gaps = np.diff(grid.longitude, append=grid.longitude[0] + 360)
    return (int(gaps.argmax()) + 1) % grid.nlon


def box_of(where: Region, *, what: str) -> Box:
    """Box of a regional grid, taken as a plane at its mean latitude; or of a plane.

    Raises
    ------
    GridError
        If the grid is global, its steps are unequal, or it has fewer than 4 x 4 points.
    """
    if is_global(where):
        message = (
            f"{what} treats a box as a plane; {_name(where)} is global. Use kind='spherical', or select a box first"
        )
        raise GridError(message)
    places = _places(where)
    if min(x.size for x in places) < 4:
        message = f"{what} needs a box of at least 4 x 4 points; {places[0].size} x {places[1].size} came"
        raise GridError(message)
    names, units = (("y", "x"), "m") if isinstance(where, Plane) else (("latitude", "longitude"), "degrees")
    steps = [np.diff(x) for x in places]
    for name, step in zip(names, steps, strict=True):
        if not np.max(np.abs(step - step.mean())) <= 0.05 * abs(step.mean()):
            message = (
                f"{what} needs equal steps; {name} steps go from {np.abs(step).min():g} to {np.abs(step).max():g} "
                f"{units}. Regrid to a regular box first, method='bilinear'"
            )
            raise GridError(message)
    # Where rows run southward the step is negative, which matters for the rotational part alone.
    dy, dx = (float(step.mean()) for step in steps)
    if isinstance(where, Source):
        dy, dx = EARTH_RADIUS * np.radians(dy), EARTH_RADIUS * np.radians(dx) * np.cos(np.radians(places[0].mean()))
    return Box(places[0].size, places[1].size, float(dy), float(dx))


def rows_reversed(ours: Region, theirs: Region, *, what: str) -> bool:
    """Check that two boxes have the same points, and tell whether the rows of the second run the other way.

    Raises
    ------
    GridError
        If they have not.
    """
    first, second = _places(ours), _places(theirs)
    if isinstance(ours, Plane) == isinstance(theirs, Plane) and [a.shape for a in first] == [a.shape for a in second]:
        step = [np.abs(np.diff(a)).mean() for a in first]
        shift = second[1] - first[1]
        if isinstance(ours, Source):
            shift = (shift + 180) % 360 - 180
        for reverse in (False, True):
            rows = second[0][::-1] if reverse else second[0]
            if np.abs(rows - first[0]).max() < 1e-3 * step[0] and np.abs(shift).max() < 1e-3 * step[1]:
                return reverse
    message = (
        f"{what} of boxes needs both on the same points; {_name(ours)} and {_name(theirs)} came. Bring one onto the "
        "other first: other.atmo.regrid(obj, method='bilinear')"
    )
    raise GridError(message)


def _places(where: Region) -> tuple[Floats, Floats]:
    if isinstance(where, Plane):
        return where.y, where.x
    grid = in_order(where.grid)
    return grid.latitude, grid.longitude


def _name(where: Region) -> str:
    return f"<plane {where.y.size} x {where.x.size}>" if isinstance(where, Plane) else repr(where.grid)
