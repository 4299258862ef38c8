"""Observations as points: where they are, when they were made, and which of them belong to a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, OptionError
from xatmo.plot import _fields

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.grids import Grid
    from xatmo.typing import Floats


@dataclass(frozen=True)
class Points:
    """Observations that are known, computed.

    Attributes
    ----------
    latitude, longitude, value : array (n,)
    time : array of datetime64 (n,), optional
    attrs : dict
        Of the field that is observed.
    """

    latitude: Floats
    longitude: Floats
    value: Floats
    time: Any
    attrs: dict[str, Any]

    def near(self, when: Any, within: Any) -> Points:
        """Those at most ``within`` away from ``when``; all where they have no times."""
        if self.time is None or when is None:
            return self
        return self.chosen(np.abs(self.time - when) <= within)

    def chosen(self, keep: Any) -> Points:
        """Give some of them."""
        time = None if self.time is None else self.time[keep]
        return Points(self.latitude[keep], self.longitude[keep], self.value[keep], time, self.attrs)

    def as_field(self, name: Any) -> xr.DataArray:
        """Give the values as a DataArray, to choose a colour range from."""
        return xr.DataArray(self.value, dims="point", name=name, attrs=self.attrs)


def is_track(da: xr.DataArray) -> bool:
    """Tell whether latitude and longitude lie along one dimension that is no grid's."""
    if da.squeeze().ndim > 1:
        return False
    try:
        axes = cf.horizontal(da)
    except ValueError:  # CoordinateError or GridError: rows and columns are not there
        return _along(da, "latitude") is not None and _along(da, "longitude") is not None
    return axes.lat_dim == axes.lon_dim


def points_of(obs: xr.DataArray, what: str) -> Points:
    """Find observations along a track, or in the cells of a map that are not missing.

    Raises
    ------
    CoordinateError
        If a track has no latitude or longitude.
    DimensionError
        If a map has a dimension to choose from.
    """
    if is_track(obs):
        flat = obs.squeeze().compute()
        lat, lon = (_along(flat, name) for name in ("latitude", "longitude"))
        if lat is None or lon is None:
            message = f"{what}: the track has coordinates {sorted(map(str, flat.coords))}; wanted latitude, longitude"
            raise CoordinateError(message)
        times = [n for n in flat.coords if flat[n].dtype.kind == "M" and flat[n].dims == flat.dims]
        north, east = (np.asarray(flat[n].values, np.float64) for n in (lat, lon))
        time = np.asarray(flat[times[0]].values) if times else None
    else:
        field = _fields.plane(obs, what)
        axes = cf.horizontal(field)
        flat = field.rename(None).stack(_point=axes.dims, create_index=False)
        north, east = (np.asarray(flat[n].values, np.float64) for n in (axes.lat, axes.lon))
        time = None
    found = Points(north, east, np.asarray(flat.values, np.float64), time, dict(obs.attrs))
    return found.chosen(np.isfinite(found.value))


def _along(da: xr.DataArray, kind: str) -> Any:
    """Name of the coordinate along the one dimension."""
    line = da.squeeze()
    names = [n for n in line.coords if line[n].attrs.get("standard_name") == kind] or [
        n for n in (kind, kind[:3]) if n in line.coords
    ]
    return names[0] if names and line[names[0]].dims == line.dims and line.ndim == 1 else None


def half_width(within: Any, times: Any = None) -> Any:
    """Give half of a step of time: what is given, of the steps of some times, or half a day.

    Raises
    ------
    OptionError
        If what is given is no positive time.
    """
    if within is None:
        step = np.diff(times) if times is not None and len(times) > 1 else np.array([np.timedelta64(1, "D")])
        return np.asarray(np.median(step.astype("timedelta64[ns]")) / 2, "timedelta64[ns]")[()]
    try:
        found = pd.Timedelta(within)
    except (ValueError, TypeError):
        found = pd.Timedelta(0)
    if not found > pd.Timedelta(0):
        message = f"within={within!r}; wanted a positive time, such as '12h'"
        raise OptionError(message)
    return found.to_timedelta64()


def size_of(count: int) -> float:
    """Area of a marker in points squared: the more there are, the smaller."""
    return float(np.clip(3e3 / max(count, 1), 3, 30))


def scatter(ax: Axes, points: Points, grid: Grid, scale: dict[str, Any], **more: Any) -> Any:
    """Draw observations in the colours of their values."""
    order = {k: scale[k] for k in ("cmap", "vmin", "vmax")}
    settings = {"s": size_of(points.value.size), "linewidths": 0, **order, **more}
    return ax.scatter(_fields.near(points.longitude, grid), points.latitude, c=points.value, **settings)
