"""Pieces that all drawings of fields share: a plane of values, its cells, frame, coasts, colour bar and panels."""

from __future__ import annotations

import importlib
import textwrap
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.layout_engine import ConstrainedLayoutEngine

from xatmo import cf
from xatmo.errors import DimensionError
from xatmo.grids import Grid
from xatmo.optional import available
from xatmo.plot import _planes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats


_LOW = 3.6  # inches
_CHARACTERS = 13  # of a label in an inch


def plane(da: xr.DataArray, what: str, *, anywhere: bool = False) -> xr.DataArray:
    """Rows and columns of one field, computed; points on rings as a raster.

    ``anywhere``: fields without latitude and longitude will do.
    """
    dims = cf.across(da) if anywhere else cf.horizontal(da, rings=True).dims
    more = {str(d): n for d, n in da.sizes.items() if d not in dims and n > 1}
    if more:
        dim = next(iter(more))
        drawn = "latitude and longitude" if _planes.is_on_sphere(da) else f"the plane {tuple(map(str, dims))}"
        message = f"{what} draws {drawn}; there are also {more}. Choose, for instance da.isel({dim}=0)"
        raise DimensionError(message)
    flat = da.squeeze([d for d in da.dims if d not in dims]).transpose(*dims).compute()
    return _cells_of_rings(flat) if len(dims) == 1 else flat


def _cells_of_rings(field: xr.DataArray) -> xr.DataArray:
    """Points on rings as a fine regular raster, each cell of which has the value of the nearest point."""
    from xatmo import regrid

    rows = int(np.clip(4 * Grid.of(field).nlat, 360, 1080))
    return regrid.regrid(field, Grid.regular(rows, 2 * rows, poles=False), method="nearest")


def draw(ax: Axes, field: xr.DataArray, scale: Mapping[str, Any], *, coastlines: bool) -> Any:
    """Draw the cells of a field in a frame, and give the mesh."""
    if (cells := _planes.cells(field)) is not None:
        return _planes.draw(ax, field, cells, scale)
    grid = Grid.of(field)
    values = np.ma.masked_invalid(field.values[:, : grid.nlon])
    ax.set_facecolor(style.MISSING)
    mesh = ax.pcolormesh(
        grid.longitude_bounds, grid.latitude_bounds, values, cmap=scale["cmap"], vmin=scale["vmin"], vmax=scale["vmax"],
        rasterized=True,
    )  # fmt: skip
    frame(ax, grid)
    if coastlines:
        coasts(ax)
    return mesh


def frame(ax: Axes, grid: Grid) -> None:
    """Limits, true proportions in the middle, ticks in degrees."""
    west, east = grid.longitude_bounds[[0, -1]]
    south, north = sorted(grid.latitude_bounds[[0, -1]])
    frame_box(ax, west, east, south, north, whole=grid.is_global)


def frame_box(ax: Axes, west: float, east: float, south: float, north: float, *, whole: bool = False) -> None:
    """Set the same from limits; ``whole``: of the globe, where a degree is as long both ways."""
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    middle = 0.0 if whole else np.radians((south + north) / 2)
    ax.set_aspect(1 / max(np.cos(middle), 0.2))
    for axis, low, high, letters, most in (
        (ax.xaxis, west, east, ("E", "W"), 6), (ax.yaxis, south, north, ("N", "S"), 6)
    ):  # fmt: skip
        at = _ticks(low, high, most)
        shown = [(t + 180) % 360 - 180 if letters[0] == "E" and t != 180 else t for t in at]
        axis.set_ticks(at, [style.degrees(round(t, 6), *letters) for t in shown])
    ax.tick_params(labelsize=style.TICK)


def _ticks(low: float, high: float, most: int) -> Floats:
    steps = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 90])
    step = next((s for s in steps if (high - low) / s <= most), 90.0)
    return np.asarray(np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step)


def near(longitude: Floats, grid: Grid) -> Floats:
    """Longitudes turned by whole circles into the range that the grid draws."""
    west = grid.longitude_bounds[0]
    return np.asarray((longitude - west) % 360 + west)


def coasts(ax: Axes) -> None:
    """Draw coasts within the limits, if cartopy and its data are there."""
    if not available("cartopy"):
        return
    try:
        with warnings.catch_warnings():  # cartopy warns before it downloads
            warnings.simplefilter("ignore")
            feature = importlib.import_module("cartopy.feature").NaturalEarthFeature("physical", "coastline", "110m")
            lines = [
                np.asarray(line.coords) for shape in feature.geometries() for line in getattr(shape, "geoms", [shape])
            ]
    except Exception:  # no data and no network: a map without coasts is still a map
        return
    moved = [line[:, :2] + np.array([turn, 0]) for line in lines for turn in (-360, 0, 360)]
    limits = ax.get_xlim(), ax.get_ylim()
    ax.add_collection(LineCollection(moved, colors="0.15", linewidths=0.6), autolim=False)
    ax.set(xlim=limits[0], ylim=limits[1])


def colorbar(
    mesh: Any, axes: list[Any], scale: Mapping[str, Any], field: xr.DataArray, *, label: str | None = None
) -> None:
    """Add a colour bar with name and units beside axes."""
    shape = {"shrink": 0.9, "aspect": 25} if len(axes) == 1 else {"shrink": 0.8, "aspect": 30}
    if axes[0].figure.get_size_inches()[1] < _LOW:
        shape = {"shrink": 1.0, "aspect": 20}  # the label needs the height
    bar = axes[0].figure.colorbar(mesh, ax=axes, extend=scale["extend"], pad=0.02, **shape)
    text = style.with_units(style.name_of(field) if label is None else label, field.attrs.get("units"))
    bar.set_label(_wrapped(text, axes), fontsize=style.LABEL)
    bar.ax.tick_params(labelsize=style.TICK)


def _wrapped(text: str, axes: list[Any]) -> str:
    """Break a label into lines about as long as a colour bar beside these axes is high."""
    places = [place for ax in axes if (place := ax.get_subplotspec()) is not None]
    rows = places[0].get_gridspec().nrows if places else 1
    spanned = len({row for place in places for row in place.rowspan}) or 1
    height = axes[0].figure.get_size_inches()[1] * spanned / rows
    return textwrap.fill(text, max(16, int(0.8 * height * _CHARACTERS)), break_long_words=False)


def figure_size(field: xr.DataArray, columns: int, rows: int = 1) -> tuple[float, float]:
    """Figure size in inches."""
    if (cells := _planes.cells(field)) is not None:
        height, width = cells.proportions
    else:
        grid = Grid.of(field)
        height = float(np.ptp(grid.latitude_bounds))
        width = float(np.ptp(grid.longitude_bounds)) * (
            1.0 if grid.is_global else float(np.cos(np.radians(grid.latitude.mean())))
        )
    ratio = np.clip(height / width, 0.35, 1.6)
    each = 6.4 if columns == 1 else 12.5 / columns if columns > 2 else 5.6
    return each * columns + 0.8, (0.84 * each * ratio + 0.62) * rows


def panels(field: xr.DataArray, n: int, columns: int | None) -> np.ndarray[Any, Any]:
    """Axes for ``n`` maps of the shape of ``field``, in one figure."""
    if (cells := _planes.cells(field)) is not None:
        height, width = cells.proportions
    else:
        grid = Grid.of(field)
        height, width = (float(np.ptp(bounds)) for bounds in (grid.latitude_bounds, grid.longitude_bounds))
    wide = width > 1.4 * height
    columns = min(n, columns or (2 if wide or n == 4 else 4))
    rows = -(-n // columns)
    # A map keeps its shape and so does not fill its place: without room between rows, titles touch the labels above.
    layout = ConstrainedLayoutEngine(h_pad=0.09)
    _, axes = plt.subplots(rows, columns, figsize=figure_size(field, columns, rows), layout=layout, squeeze=False)
    for ax in axes.ravel()[n:]:
        ax.remove()
    made: np.ndarray[Any, Any] = axes.ravel()[:n]
    return made
