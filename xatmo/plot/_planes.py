"""Planes without latitude and longitude: cells along x and y of a projection, or the rows and columns of an image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from xatmo import cf
from xatmo.errors import CoordinateError, GridError
from xatmo.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

_METRES = ("m", "metre", "metres", "meter", "meters")
_FAR = 10_000.0  # m from which on an axis is drawn in km
_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """One side of a plane.

    Attributes
    ----------
    edges : array (n + 1,)
        Of cells, in their order.
    name, units : str
        Of the label.
    counted : bool
        Whether they count cells, for want of coordinates or by these.
    """

    edges: Floats
    name: str
    units: str
    counted: bool

    @property
    def label(self) -> str:
        """Name with units."""
        return style.with_units(self.name, self.units)

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper end."""
        return float(self.edges.min()), float(self.edges.max())

    @property
    def length(self) -> float:
        """From end to end."""
        return float(np.ptp(self.edges))


@dataclass(frozen=True)
class Cells:
    """Cells of a plane: along ``y`` the rows, along ``x`` the columns."""

    y: Axis
    x: Axis

    @property
    def aspect(self) -> float:
        """Length of one unit of y on paper, in units of x: one, or square cells where the two cannot be compared."""
        if self.y.units == self.x.units:
            return 1.0
        return (self.x.length / (self.x.edges.size - 1)) / (self.y.length / (self.y.edges.size - 1))

    @property
    def proportions(self) -> tuple[float, float]:
        """Height and width on paper, in one unit."""
        return self.y.length * self.aspect, self.x.length


def is_on_sphere(da: xr.DataArray) -> bool:
    """Tell whether there are axes of latitude and longitude."""
    try:
        cf.horizontal(da, rings=True)
    except (CoordinateError, GridError):
        return False
    return True


def cells(field: xr.DataArray) -> Cells | None:
    """Find the cells of a field (row, column); None where it has latitude and longitude, or no plane.

    Examples
    --------
    >>> axes = {"y": ("y", [2e4, 1e4], {"units": "m"}), "x": ("x", [0.0, 1e4, 2e4], {"units": "m"})}
    >>> found = cells(xr.DataArray(np.zeros((2, 3)), axes, ("y", "x")))
    >>> found.y.label, found.y.edges, found.aspect
    ('y (km)', array([25., 15.,  5.]), 1.0)
    """
    if field.ndim != 2 or is_on_sphere(field) or cf.rows_and_columns(field) != field.dims:
        return None
    y, x = (_axis(field, dim) for dim in field.dims)
    if y.units in _METRES and x.units in _METRES:
        far = max(y.length, x.length) >= _FAR
        y, x = (Axis(a.edges / (1000 if far else 1), a.name, "km" if far else "m", a.counted) for a in (y, x))
    return Cells(y, x)


def draw(ax: Axes, field: xr.DataArray, found: Cells, scale: Mapping[str, Any]) -> Any:
    """Draw the cells of a plane in their true proportions, and give the mesh."""
    ax.set_facecolor(style.MISSING)
    mesh = ax.pcolormesh(
        found.x.edges, found.y.edges, np.ma.masked_invalid(field.values), cmap=scale["cmap"], vmin=scale["vmin"],
        vmax=scale["vmax"], rasterized=True,
    )  # fmt: skip
    ax.set_xlim(*found.x.limits)
    low, high = found.y.limits
    ax.set_ylim(*((high, low) if found.y.counted else (low, high)))  # the first row of an image is on top
    ax.set_aspect(found.aspect)
    for axis, one in ((ax.xaxis, found.x), (ax.yaxis, found.y)):
        axis.set_major_locator(MaxNLocator(_TICKS, integer=one.counted, steps=[1, 2, 5, 10]))
        axis.set_label_text(one.label, fontsize=style.LABEL)
    ax.tick_params(labelsize=style.TICK)
    return mesh


def label_outer(axes: np.ndarray[Any, Any]) -> None:
    """Leave labels of axes at the left and below alone, where all panels have the same."""
    places = {ax: ax.get_subplotspec() for ax in axes}
    if len({(ax.get_xlabel(), ax.get_ylabel()) for ax in axes}) > 1:
        return
    lowest: dict[int, int] = {}
    for place in places.values():
        lowest[place.colspan.start] = max(place.rowspan.start, lowest.get(place.colspan.start, 0))
    for ax, place in places.items():
        if place.colspan.start > 0:
            ax.set_ylabel("")
        if place.rowspan.start < lowest[place.colspan.start]:
            ax.set_xlabel("")


# ---------------------------------------------------------------------- pieces
def _axis(field: xr.DataArray, dim: Hashable) -> Axis:
    if dim in field.coords and (edges := _edges(field[dim].values)) is not None:
        attrs = field[dim].attrs
        units = str(attrs.get("units") or "1")
        counted = units == "1" and bool((np.diff(edges) == 1).all()) and edges[0] % 1 == 0.5
        return Axis(edges, str(attrs.get("long_name") or dim), "" if units == "1" else units, counted)
    return Axis(np.arange(field.sizes[dim] + 1) - 0.5, str(dim), "cells", counted=True)


def _edges(values: Any) -> Floats | None:
    """Halfway between points; None where these are no numbers in order."""
    if values.dtype.kind not in "iuf":
        return None
    at = values.astype(np.float64)
    step = np.diff(at)
    if not np.isfinite(at).all() or not ((step > 0).all() or (step < 0).all()):
        return None
    return np.concatenate([[at[0] - step[0] / 2], at[:-1] + step / 2, [at[-1] + step[-1] / 2]])
