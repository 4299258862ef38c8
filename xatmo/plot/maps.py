"""Fields on latitude and longitude, or on a plane."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError
from xatmo.plot import _fields, _planes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        reduced Gaussian) fill all places that they are nearest to. Of fields without axes of latitude and longitude
        (images, radar on a projection), the last two dimensions other than times and members are rows and columns:
        drawn along their coordinates, or, without any or where these count cells, with the first row on top.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    cmap : str or Colormap, optional
        By default sequential, white at zero for precipitation, or diverging around zero for quantities with a sign
        (vorticity, wind components, anomalies, differences).
    vmin, vmax : float, optional
        Colour range in the units of ``da``.
    robust : bool
        Leave one percent at either end out of the colour range.
    colorbar : bool
        Whether to add one, with the units.
    title : str, optional
        By default the long name and the labels of dimensions of size 1.
    coastlines : bool
        Whether to draw coasts, if cartopy and its data are installed and there is latitude and longitude; otherwise
        nothing happens.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    DimensionError
        If there is a dimension to choose from.
    CoordinateError, GridError
        If neither latitude and longitude nor rows and columns can be found or used.

    Examples
    --------
    >>> import xatmo
    >>> grid = xatmo.Grid.regular(19, 36)
    >>> attrs = {"long_name": "temperature", "units": "K"}
    >>> da = xr.DataArray(np.zeros(grid.shape), grid.coords(), dims=("latitude", "longitude"), attrs=attrs)
    >>> map(da).get_title()
    'temperature'
    """
    field = _fields.plane(da, "map", anywhere=True)
    scale = style.colour_range([field], cmap=cmap, vmin=vmin, vmax=vmax, robust=robust)
    if ax is None:
        _, ax = plt.subplots(figsize=_fields.figure_size(field, 1), layout="constrained")
    mesh = _fields.draw(ax, field, scale, coastlines=coastlines)
    ax.set_title(title_of(da) if title is None else title, fontsize=style.TITLE)
    if colorbar:
        _fields.colorbar(mesh, [ax], scale, field)
    return ax


def maps(
    fields: Mapping[str, xr.DataArray],
    *,
    columns: int | None = None,
    groups: Mapping[str, Hashable] | None = None,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw several fields side by side, those in the same units (or of the same group) with one colour range.

    Parameters
    ----------
    fields : mapping
        Title of each panel to its field; grids may differ.
    columns : int, optional
        Panels in a row; at most two for wide fields and four for others, unless given.
    groups : mapping, optional
        Title of a panel to its group: panels of one group share a colour range. Those that are not named are grouped by
        their units, as all are by default.
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
    planes = {name: _fields.plane(da, f"maps, panel {name!r}", anywhere=True) for name, da in fields.items()}
    first = next(iter(planes.values()))
    group: dict[str, Hashable] = {n: style.pretty_units(da.attrs.get("units")) for n, da in planes.items()}
    group |= {name: ("group", of) for name, of in (groups or {}).items()}
    alike: dict[Hashable, list[xr.DataArray]] = {}
    for name, field in planes.items():
        alike.setdefault(group[name], []).append(field)
    scales = {
        of: style.colour_range(fields, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust) for of, fields in alike.items()
    }
    axes = _fields.panels(first, len(planes), columns)
    for ax, (name, field) in zip(axes, planes.items(), strict=True):
        scale = scales[group[name]]
        mesh = _fields.draw(ax, field, scale, coastlines=coastlines)
        ax.set_title(str(name), fontsize=style.TITLE)
        if len(scales) > 1:
            _fields.colorbar(mesh, [ax], scale, field)
    _planes.label_outer(axes)
    if len(scales) == 1:
        _fields.colorbar(mesh, list(axes), scale, first)
    if title is not None:
        axes[0].figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


# ---------------------------------------------------------------------- pieces
def title_of(da: xr.DataArray) -> str:
    """Write the name of a field and the labels of its dimensions of size 1."""
    known: set[Hashable] = set()
    if _planes.is_on_sphere(da):
        axes = cf.horizontal(da, rings=True)
        known = {axes.lat, axes.lon}
    else:
        known = {n for n, coord in da.coords.items() if "grid_mapping_name" in coord.attrs}
    parts = []
    for name, coord in da.coords.items():
        if coord.size == 1 and name not in known and (name in da.dims or coord.ndim == 0):
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
        return f"{name} {style.duration(value)}"
    shown = f"{value:g}" if coord.dtype.kind in "iuf" else str(value)
    units = style.pretty_units(coord.attrs.get("units"))
    return f"{name} {shown}{' ' + units if units else ''}"
