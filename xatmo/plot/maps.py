"""Fields on latitude and longitude."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.layout_engine import ConstrainedLayoutEngine

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.optional import available
from xatmo.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats


def map(
    da: xr.DataArray,
    ax: Axes | None = None,
    *,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    colorbar: bool = True,
    title: str | None = None,
    coastlines: bool = True,
) -> Axes:
    """Draw one field, cell by cell, with its true edges.

    Parameters
    ----------
    da : DataArray
        With latitude and longitude; every other dimension of size 1. Missing cells are grey. Points on rings (HEALPix,
        reduced Gaussian) fill all places that they are nearest to.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    cmap : str or Colormap, optional
        By default sequential, or diverging around zero for quantities with a sign (vorticity, wind components,
        anomalies, differences).
    vmin, vmax : float, optional
        Colour range in the units of ``da``.
    robust : bool
        Leave one percent at either end out of the colour range.
    colorbar : bool
        Whether to add one, with the units.
    title : str, optional
        By default the long name and the labels of dimensions of size 1.
    coastlines : bool
        Whether to draw coasts, if cartopy and its data are installed; otherwise nothing happens.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    DimensionError
        If there is a dimension to choose from.
    CoordinateError, GridError
        If latitude and longitude cannot be found or used.

    Examples
    --------
    >>> grid = Grid.regular(19, 36)
    >>> attrs = {"long_name": "temperature", "units": "K"}
    >>> da = xr.DataArray(np.zeros(grid.shape), grid.coords(), dims=("latitude", "longitude"), attrs=attrs)
    >>> map(da).get_title()
    'temperature'
    """
    field = _plane(da, "map")
    scale = style.colour_range([field], cmap=cmap, vmin=vmin, vmax=vmax, robust=robust)
    if ax is None:
        _, ax = plt.subplots(figsize=_size(field, 1), layout="constrained")
    mesh = _draw(ax, field, scale, coastlines=coastlines)
    ax.set_title(_title(da) if title is None else title, fontsize=style.TITLE)
    if colorbar:
        _colorbar(mesh, [ax], scale, field)
    return ax


def maps(
    fields: Mapping[str, xr.DataArray],
    *,
    columns: int | None = None,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw several fields side by side, those in the same units with one colour range.

    Parameters
    ----------
    fields : mapping
        Title of each panel to its field; grids may differ.
    columns : int, optional
        Panels in a row; at most two for wide fields and four for others, unless given.
    cmap, vmin, vmax, robust, coastlines
        As in `map`.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        One for each field, in order.

    Raises
    ------
    OptionError
        If there is no field.
    DimensionError, CoordinateError, GridError
        As in `map`.
    """
    if not fields:
        message = "maps got no fields; wanted a mapping such as {'truth': da, 'prediction': other}"
        raise OptionError(message)
    planes = {name: _plane(da, f"maps, panel {name!r}") for name, da in fields.items()}
    first = next(iter(planes.values()))
    alike: dict[str, list[xr.DataArray]] = {}
    for field in planes.values():
        alike.setdefault(style.pretty_units(field.attrs.get("units")), []).append(field)
    scales = {
        units: style.colour_range(fields, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust)
        for units, fields in alike.items()
    }
    axes = _panels(first, len(planes), columns)
    for ax, (name, field) in zip(axes, planes.items(), strict=True):
        scale = scales[style.pretty_units(field.attrs.get("units"))]
        mesh = _draw(ax, field, scale, coastlines=coastlines)
        ax.set_title(str(name), fontsize=style.TITLE)
        if len(scales) > 1:
            _colorbar(mesh, [ax], scale, field)
    if len(scales) == 1:
        _colorbar(mesh, list(axes), scale, first)
    if title is not None:
        axes[0].figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def interpolation(
    obs: xr.DataArray,
    analysis: xr.DataArray,
    error: xr.DataArray | None = None,
    truth: xr.DataArray | None = None,
    *,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw sparse observations, the analysis, its error bars, and the truth where it is known.

    Parameters
    ----------
    obs : DataArray
        Gridded with missing values, where there is no observation; or along a track, with latitude and longitude as
        coordinates.
    analysis, error, truth : DataArray
        Fields. Observations, analysis and truth share one colour range; the error (standard deviation) has its own.
    cmap, vmin, vmax, robust, coastlines
        As in `map`, for the shared range.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        As many as were given, in the order of the arguments.

    Raises
    ------
    DimensionError, CoordinateError, GridError
        As in `map`.
    """
    plane = _plane(analysis, "interpolation, analysis")
    points = _points(obs)
    shared = [points[2], plane, *([] if truth is None else [_plane(truth, "interpolation, truth")])]
    shared = [s if s.attrs.get("long_name") else s.assign_attrs(analysis.attrs) for s in shared]
    scale = style.colour_range(shared, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust)
    axes = _panels(plane, 2 + (error is not None) + (truth is not None), None)
    grid = Grid.of(plane)
    remaining = iter(axes)
    ax = next(remaining)
    _frame(ax, grid)
    ax.set_facecolor(style.MISSING)
    lat, lon, values = points
    area = np.clip(6e4 / max(values.size, 1) / 20, 3, 30)
    order = {k: scale[k] for k in ("cmap", "vmin", "vmax")}
    ax.scatter(_near(lon.values, grid), lat.values, c=values.values, s=area, linewidths=0, **order)
    ax.set_title(f"observations ({values.size:,})", fontsize=style.TITLE)
    mesh = _draw(next(remaining), plane, scale, coastlines=coastlines)
    axes[1].set_title("analysis", fontsize=style.TITLE)
    _colorbar(mesh, [ax], scale, plane)
    _colorbar(mesh, [axes[1]], scale, plane)
    if error is not None:
        at, spread = next(remaining), _plane(error, "interpolation, error")
        if not spread.attrs.get("units"):
            spread = spread.assign_attrs(units=plane.attrs.get("units", ""))
        own = style.colour_range([spread], cmap="magma", vmin=0.0, vmax=None, robust=robust)
        at.set_title("error of the analysis", fontsize=style.TITLE)
        _colorbar(_draw(at, spread, own, coastlines=coastlines), [at], own, spread, label="standard deviation")
    if truth is not None:
        at = next(remaining)
        _colorbar(_draw(at, shared[-1], scale, coastlines=coastlines), [at], scale, plane)
        at.set_title("truth", fontsize=style.TITLE)
    if title is not None:
        ax.figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


# ---------------------------------------------------------------------- what the drawings share
def _plane(da: xr.DataArray, what: str) -> xr.DataArray:
    axes = cf.horizontal(da, rings=True)
    more = {str(d): n for d, n in da.sizes.items() if d not in axes.dims and n > 1}
    if more:
        dim = next(iter(more))
        message = f"{what} draws latitude and longitude; there are also {more}. Choose, for instance da.isel({dim}=0)"
        raise DimensionError(message)
    plane = da.squeeze([d for d in da.dims if d not in axes.dims]).transpose(*axes.dims).compute()
    return _cells_of_rings(plane) if axes.rings else plane


def _cells_of_rings(field: xr.DataArray) -> xr.DataArray:
    """Points on rings as a fine regular raster, each cell of which has the value of the nearest point."""
    from xatmo import regrid

    rows = int(np.clip(4 * Grid.of(field).nlat, 360, 1080))
    return regrid.regrid(field, Grid.regular(rows, 2 * rows, poles=False), method="nearest")


def _points(obs: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Latitude, longitude and value of every observation."""
    if obs.squeeze().ndim == 1 and {"lat", "latitude"} & set(obs.coords):
        lat = obs["latitude" if "latitude" in obs.coords else "lat"]
        lon = obs["longitude" if "longitude" in obs.coords else "lon"]
        flat = obs.squeeze()
    else:
        field = _plane(obs, "interpolation, observations")
        axes = cf.horizontal(field)
        flat = field.rename(None).stack(_point=axes.dims, create_index=False)
        lat, lon = flat[axes.lat], flat[axes.lon]
    seen = np.isfinite(np.asarray(flat.values, dtype=float))
    return lat[seen], lon[seen], flat[seen]


def _draw(ax: Axes, field: xr.DataArray, scale: Mapping[str, Any], *, coastlines: bool) -> Any:
    grid = Grid.of(field)
    values = np.ma.masked_invalid(field.values[:, : grid.nlon])
    ax.set_facecolor(style.MISSING)
    mesh = ax.pcolormesh(
        grid.longitude_bounds, grid.latitude_bounds, values, cmap=scale["cmap"], vmin=scale["vmin"], vmax=scale["vmax"],
        rasterized=True,
    )  # fmt: skip
    _frame(ax, grid)
    if coastlines:
        _coasts(ax, grid)
    return mesh


def _frame(ax: Axes, grid: Grid) -> None:
    """Limits, true proportions in the middle, ticks in degrees."""
    west, east = grid.longitude_bounds[[0, -1]]
    south, north = sorted(grid.latitude_bounds[[0, -1]])
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    middle = 0.0 if grid.is_global else np.radians((south + north) / 2)
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


def _near(longitude: Floats, grid: Grid) -> Floats:
    """Longitudes turned by whole circles into the range that the grid draws."""
    west = grid.longitude_bounds[0]
    return np.asarray((longitude - west) % 360 + west)


def _coasts(ax: Axes, grid: Grid) -> None:
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


def _colorbar(
    mesh: Any, axes: list[Any], scale: Mapping[str, Any], field: xr.DataArray, *, label: str | None = None
) -> None:
    shape = {"shrink": 0.9, "aspect": 25} if len(axes) == 1 else {"shrink": 0.8, "aspect": 30}
    bar = axes[0].figure.colorbar(mesh, ax=axes, extend=scale["extend"], pad=0.02, **shape)
    bar.set_label(
        style.with_units(style.name_of(field) if label is None else label, field.attrs.get("units")),
        fontsize=style.LABEL,
    )
    bar.ax.tick_params(labelsize=style.TICK)


def _title(da: xr.DataArray) -> str:
    axes = cf.horizontal(da, rings=True)
    parts = []
    for name, coord in da.coords.items():
        if coord.size == 1 and name not in (axes.lat, axes.lon) and (name in da.dims or coord.ndim == 0):
            parts.append(label(name, coord))
    text = style.name_of(da)
    return f"{text}\n{', '.join(parts)}" if parts else text


def label(name: Hashable, coord: xr.DataArray) -> str:
    """Write one coordinate value for a title: ``2017-10-18 12:00``, ``level 500 hPa``."""
    value = coord.values.reshape(-1)[0]
    if coord.dtype.kind == "M":
        text = np.datetime_as_string(value, unit="m").replace("T", " ")
        return str(text.removesuffix(" 00:00"))
    if coord.dtype.kind == "m":
        return f"{name} {value / np.timedelta64(1, 'h'):g} h"
    shown = f"{value:g}" if coord.dtype.kind in "iuf" else str(value)
    units = style.pretty_units(coord.attrs.get("units"))
    return f"{name} {shown}{' ' + units if units else ''}"


def _size(field: xr.DataArray, columns: int, rows: int = 1) -> tuple[float, float]:
    """Figure size in inches."""
    grid = Grid.of(field)
    height = float(np.ptp(grid.latitude_bounds))
    width = float(np.ptp(grid.longitude_bounds)) * (
        1.0 if grid.is_global else float(np.cos(np.radians(grid.latitude.mean())))
    )
    ratio = np.clip(height / width, 0.35, 1.6)
    each = 6.4 if columns == 1 else 12.5 / columns if columns > 2 else 5.6
    return each * columns + 0.8, (0.84 * each * ratio + 0.62) * rows


def _panels(field: xr.DataArray, n: int, columns: int | None) -> np.ndarray[Any, Any]:
    grid = Grid.of(field)
    wide = np.ptp(grid.longitude_bounds) > 1.4 * np.ptp(grid.latitude_bounds)
    columns = min(n, columns or (2 if wide or n == 4 else 4))
    rows = -(-n // columns)
    # A map keeps its shape and so does not fill its place: without room between rows, titles touch the labels above.
    layout = ConstrainedLayoutEngine(h_pad=0.09)
    _, axes = plt.subplots(rows, columns, figsize=_size(field, columns, rows), layout=layout, squeeze=False)
    for ax in axes.ravel()[n:]:
        ax.remove()
    made: np.ndarray[Any, Any] = axes.ravel()[:n]
    return made
