"""A record of fields: its variables, its times, and the plane or the sphere that it lies on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf
from xatmo._stretches import Run, in_words, runs, usual_step
from xatmo.errors import CoordinateError, DimensionError, GridError, VariableError, XatmoError
from xatmo.grids import Grid
from xatmo.typing import XarrayObject

ROW, COLUMN = "plane_row", "plane_column"
"""Coordinates that fields without latitude and longitude get, in the place of those."""

_DEGREES = 0.01  # between neighbours on a plane, so that any size fits on the sphere
_TIMES = ("time", "t", "frame", "frames")
# Steps of one record may differ by this part, which rounding of times in files makes.
_UNEVEN = 0.01


@dataclass(frozen=True)
class Record:
    """Fields over time.

    Attributes
    ----------
    fields : Dataset
        All that came and lies on the grid, with one-dimensional latitude and longitude, without a repeated column.
    axes : Horizontal
    time_dim : hashable
    times : array (time,)
        datetime64, cftime or numbers.
    plane : bool
        Whether the fields have no latitude and longitude of their own: rows and columns stand in for them.
    own : mapping
        Coordinates of rows and columns that came, where they were taken away.
    whole : Dataset, optional
        With the repeated column, where there was one.
    """

    fields: xr.Dataset
    axes: cf.Horizontal
    time_dim: Hashable
    times: NDArray[Any]
    plane: bool
    own: Mapping[Hashable, Any]
    whole: xr.Dataset | None = None

    @property
    def core(self) -> tuple[Hashable, ...]:
        """Dimensions of a window."""
        return (self.time_dim, *self.axes.dims)

    @property
    def grid(self) -> Grid:
        """Horizontal grid."""
        return Grid.from_latlon(self.fields[self.axes.lat].values, self.fields[self.axes.lon].values)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """First frame and end of each stretch of time at regular steps."""
        return runs(self.times)

    @property
    def dated(self) -> bool:
        """Whether times are dates."""
        return self.times.dtype.kind in "MO"

    @cached_property
    def step(self) -> float | None:
        """Seconds between frames, or the difference of plain numbers; None of a single frame.

        Raises
        ------
        CoordinateError
            If steps are uneven within a stretch.
        """
        return even_step(self.times)

    def complete(self) -> list[Hashable]:
        """Variables of numbers with time and both horizontal dimensions."""
        return [n for n, v in self.fields.data_vars.items() if set(self.core) <= set(v.dims) and v.dtype.kind in "fiu"]

    def oriented(self) -> Record:
        """Give rows from north to south and, around the globe, columns eastward from 0 degrees."""
        grid, order = self.grid, cast("dict[Hashable, Any]", {})
        if not grid.north_to_south:
            order[self.axes.lat_dim] = slice(None, None, -1)
        if grid.periodic:
            first = int(np.argmin((grid.longitude + 1e-3 * 360 / grid.nlon) % 360))
            if first:
                order[self.axes.lon_dim] = np.roll(np.arange(grid.nlon), -first)
        return replace(self, fields=self.fields.isel(order)) if order else self


def record(obj: XarrayObject, *, what: str, name: str = "field") -> Record:
    """Find time and place of fields.

    Latitude and longitude are found by CF metadata. Fields that have none, or two-dimensional ones (projections,
    images), lie on a plane: the last two dimensions without time and members are rows and columns.

    Parameters
    ----------
    obj : Dataset or DataArray
    what : str
        What messages call it.
    name : str
        Of a DataArray without one.

    Raises
    ------
    VariableError
        If it is neither.
    DimensionError, CoordinateError, GridError
        If there is no time, or no grid.
    """
    ds = _dataset(obj, what, name)
    ds, time_dim, times = _timed(ds, what)
    own: dict[Hashable, Any] = {}
    plane = False
    try:
        axes = cf.horizontal(ds)
    except (CoordinateError, GridError) as error:
        ds, own = _on_plane(ds, time_dim, error)
        axes, plane = cf.horizontal(ds), True
    bare, cyclic = _labels.drop_cyclic(ds, axes)
    return Record(bare, axes, time_dim, times, plane, own, ds if cyclic else None)


def _dataset(obj: XarrayObject, what: str, name: str) -> xr.Dataset:
    came: object = obj
    if isinstance(came, xr.Dataset):
        return came
    if isinstance(came, xr.DataArray):
        return came.to_dataset(name=name if came.name is None else came.name)
    message = f"{what} is {type(came).__name__}; wanted a Dataset or DataArray: open a file with xarray.open_dataset"
    raise VariableError(message)


def _timed(ds: xr.Dataset, what: str) -> tuple[xr.Dataset, Hashable, NDArray[Any]]:
    try:
        found = cf.time(ds)
    except CoordinateError as error:
        named = [d for d in ds.dims if str(d).lower() in _TIMES and d not in ds.coords]
        if len(named) != 1:
            message = f"{what} has no axis of time among its dimensions {tuple(map(str, ds.dims))}: {error}"
            raise CoordinateError(message) from error
        found = named[0]
        ds = ds.assign_coords({found: np.arange(ds.sizes[found])})
    dim = ds[found].dims[0]
    values = ds[found].values
    if values.dtype.kind not in "MOmiuf" or (values.dtype.kind == "O" and not hasattr(values[0], "dayofwk")):
        message = f"{what}: the time coordinate {found!r} holds {values.dtype}; wanted dates or numbers"
        raise CoordinateError(message)
    if missing := int(ds[found].isnull().sum()):
        message = (
            f"{what}: {missing} of {values.size} times on {found!r} are missing; wanted a time for each frame. Leave "
            f"these frames out: ds.sel({dim}=ds[{found!r}].notnull())"
        )
        raise CoordinateError(message)
    return ds, dim, values


def _on_plane(ds: xr.Dataset, time_dim: Hashable, error: XatmoError) -> tuple[xr.Dataset, dict[Hashable, Any]]:
    """Give numbers of rows and columns in the place of latitude and longitude, where there is a plane."""
    fields = [v for v in ds.data_vars.values() if time_dim in v.dims and v.dtype.kind in "fiu"]
    planes = {cf.rows_and_columns(v, apart=(time_dim,)) for v in fields if v.ndim >= 3}
    found = planes.pop() if len(planes) == 1 else None
    if found is None:
        raise error
    row, column = found
    own = {n: c for n, c in ds.coords.items() if {row, column} & set(c.dims)}
    bare = ds.drop_vars(list(own))
    north = {"units": "degrees_north", "standard_name": "latitude"}
    east = {"units": "degrees_east", "standard_name": "longitude"}
    return bare.assign_coords(
        {ROW: (row, -_DEGREES * np.arange(bare.sizes[row]), north),
         COLUMN: (column, _DEGREES * np.arange(bare.sizes[column]), east)}
    ), own  # fmt: skip


def even_step(times: NDArray[Any]) -> float | None:
    """Seconds (or plain numbers) between frames.

    Raises
    ------
    CoordinateError
        If steps are uneven within a stretch.
    """
    step = usual_step(times) if times.dtype.kind in "mMO" else _number_step(times)
    if step is None:
        return None
    between = seconds_between(times[:-1], times[1:])
    for a, b in runs(times):
        steps = between[a : b - 1]
        if steps.size and np.abs(steps / step - 1).max() > _UNEVEN:
            low, high = ((in_words(float(s)) if times.dtype.kind in "mMO" else f"{s:g}")
                         for s in (steps.min(), steps.max()))  # fmt: skip
            message = (
                f"frames are {low} to {high} apart; forecasts by lead time need even steps. Resample first, for "
                "instance with .resample(time='1D').mean()"
            )
            raise CoordinateError(message)
    return step


def _number_step(times: NDArray[Any]) -> float | None:
    return float(np.quantile(np.diff(times), 0.5, method="lower")) if len(times) > 1 else None


def seconds_between(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Seconds from dates to others; the differences of plain numbers."""
    apart = b - a
    if apart.dtype.kind == "m":
        return np.asarray(apart / np.timedelta64(1, "s"), dtype=np.float64)
    if apart.dtype.kind == "O":
        return np.array([one.total_seconds() for one in apart], dtype=np.float64)
    return np.asarray(apart, dtype=np.float64)


def later(first: Any, step: float, numbers: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
    """Give times so many steps after the first one.

    Examples
    --------
    >>> later(np.datetime64("2000-01-01", "ns"), 3600.0, [0, 2])
    array(['2000-01-01T00:00:00.000000000', '2000-01-01T02:00:00.000000000'],
          dtype='datetime64[ns]')
    """
    numbers = np.asarray(numbers)
    if isinstance(first, np.datetime64 | np.timedelta64):
        return np.asarray(first + np.round(numbers * step * 1e9).astype(np.int64).astype("m8[ns]"))
    if hasattr(first, "dayofwk"):
        import datetime

        out = np.empty(numbers.shape, dtype=object)
        out[...] = [first + datetime.timedelta(seconds=float(n) * step) for n in numbers.ravel()]
        return out
    whole = float(step).is_integer() and float(first).is_integer()
    made = float(first) + numbers * step
    return np.asarray(np.rint(made).astype(np.int64) if whole else made)


def require_dims(names: Sequence[Hashable], fields: xr.Dataset, core: Sequence[Hashable], what: str) -> None:
    """Raise unless each variable has all of ``core``.

    Raises
    ------
    DimensionError
    """
    for n in names:
        if lacking := [d for d in core if d not in fields[n].dims]:
            message = (
                f"{what}: variable {n!r} has dimensions {fields[n].dims}; {lacking[0]!r} is missing. Fields without "
                "time are passed as static="
            )
            raise DimensionError(message)
