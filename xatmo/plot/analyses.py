"""Sparse observations and what is made of them: panels, and tracks over a map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.plot import _fields, _points, style
from xatmo.plot.maps import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.plot._points import Points

Fields = xr.DataArray | Mapping[str, xr.DataArray]
_MISSION = "mission"
_EDGE: dict[str, Any] = {"edgecolors": "0.1", "linewidths": 0.15}


def interpolation(
    obs: xr.DataArray,
    analysis: Fields,
    error: Fields | None = None,
    truth: xr.DataArray | None = None,
    *,
    difference: bool = False,
    within: Any = None,
    columns: int | None = None,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw sparse observations, one analysis or several, their error bars, and the truth where it is known.

    Parameters
    ----------
    obs : DataArray
        Gridded with missing values, where there is no observation; or along a track, with latitude and longitude as
        coordinates. Of a track with times those near the time of the analysis are drawn.
    analysis, error : DataArray, or mapping
        Fields, or names of analyses to fields: ``{"OI": oi["ssh"], "4DVarNet": made["ssh"]}``.
    truth : DataArray, optional
        Observations, analyses and truth share one colour range; errors (standard deviations) have another.
    difference : bool
        Whether to draw each analysis minus the truth, too, with a range of their own.
    within : timedelta or str, optional
        How far in time observations along a track may be; half a day unless given.
    columns : int, optional
        Panels in a row.
    cmap, vmin, vmax, robust, coastlines
        As in `map`, for the shared range.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        Observations, analyses, errors, truth and differences, as many as were given.

    Raises
    ------
    OptionError
        If there is no analysis, differences are wanted without a truth, or ``within`` is no positive time.
    DimensionError, CoordinateError, GridError
        As in `map`.

    Examples
    --------
    >>> grid = Grid.from_latlon(np.arange(30.0, 36), np.arange(9.0))
    >>> sea = xr.DataArray(np.zeros(grid.shape), grid.coords(), ("latitude", "longitude"), "ssh", {"units": "m"})
    >>> axes = interpolation(sea.where(sea.longitude == 3), {"OI": sea, "mean": sea + 0.1}, truth=sea)
    >>> [ax.get_title() for ax in axes]
    ['observations (6)', 'OI', 'mean', 'truth']
    """
    fields = {"analysis": analysis} if isinstance(analysis, xr.DataArray) else dict(analysis)
    if not fields or (difference and truth is None):
        message = (
            f"interpolation got {len(fields)} analyses, truth={'none' if truth is None else 'given'}, "
            f"difference={difference!r}; wanted an analysis, and a truth to take differences from"
        )
        raise OptionError(message)
    planes = {n: _fields.plane(da, f"interpolation, {n}") for n, da in fields.items()}
    first = next(iter(planes.values()))
    bars = {"": error} if isinstance(error, xr.DataArray) else dict(error or {})
    spreads = {n: _with_units(_fields.plane(da, f"interpolation, error {n}"), first) for n, da in bars.items()}
    known = None if truth is None else _fields.plane(truth, "interpolation, truth")
    points = _points.points_of(obs, "interpolation, observations")
    points = points.near(_time_of(next(iter(fields.values()))), _points.half_width(within))

    shared = [points.as_field(obs.name), *planes.values(), *([] if known is None else [known])]
    scale = style.colour_range([_named(s, first) for s in shared], cmap=cmap, vmin=vmin, vmax=vmax, robust=robust)
    panels: list[tuple[str, xr.DataArray | None, dict[str, Any], str | None]] = [
        (f"observations ({points.value.size:,})", None, scale, None)
    ]
    panels += [(name, plane, scale, None) for name, plane in planes.items()]
    if spreads:
        own = style.colour_range(list(spreads.values()), cmap="magma", vmin=0.0, vmax=None, robust=robust)
        names = [f"error of {name}" if name else "error of the analysis" for name in spreads]
        panels += [(n, da, own, "standard deviation") for n, da in zip(names, spreads.values(), strict=True)]
    if known is not None:
        panels.append(("truth", known, scale, None))
    if known is not None and difference:
        away = {n: _minus(plane, known, n) for n, plane in planes.items()}
        own = style.colour_range(list(away.values()), cmap=None, vmin=None, vmax=None, robust=True)
        panels += [(f"{n} - truth", da, own, "difference") for n, da in away.items()]

    axes = _fields.panels(first, len(panels), columns or (None if len(panels) <= 4 else 3))
    grid = Grid.of(first)
    for ax, (name, field, colours, label) in zip(axes, panels, strict=True):
        if field is None:
            _fields.frame(ax, grid)
            ax.set_facecolor(style.MISSING)
            mesh = _points.scatter(ax, points, grid, colours)
            if coastlines:
                _fields.coasts(ax)
        else:
            mesh = _fields.draw(ax, field, colours, coastlines=coastlines)
        ax.set_title(name, fontsize=style.TITLE)
        _fields.colorbar(mesh, [ax], colours, first if field is None else _named(field, first), label=label)
    if title is not None:
        axes[0].figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def tracks(
    obs: xr.DataArray,
    field: xr.DataArray | None = None,
    ax: Axes | None = None,
    *,
    within: Any = None,
    colour: str = "value",
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    title: str | None = None,
    coastlines: bool = True,
) -> Axes:
    """Draw observations along tracks, over the map that was made of them or alone.

    Parameters
    ----------
    obs : DataArray
        Along a track, with latitude and longitude as coordinates; or gridded with missing values.
    field : DataArray, optional
        A map under them, on one colour range with the values. Of tracks with times those near its time are drawn.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    within : timedelta or str, optional
        How far in time observations may be; half a day unless given.
    colour : {"value", "mission", "black"}
        What colours tell: values, which altimeter it was (a CF flag ``mission`` along the track), or nothing.
    cmap, vmin, vmax, robust, coastlines
        As in `map`.
    title : str, optional
        By default the name and the number of observations.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    OptionError
        If ``colour`` is unknown, or ``within`` is no positive time.
    VariableError
        If missions are wanted and the track does not tell them.
    CoordinateError, DimensionError, GridError
        As in `map`.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=3)["ssh"]
    >>> paths = xatmo.datasets.nadir_tracks(["jason", "saral"], start="2012-10-01", days=2, region=truth)
    >>> ax = tracks(xatmo.datasets.observe(truth, paths), colour="mission")
    >>> [t.get_text() for t in ax.get_legend().get_texts()]
    ['jason', 'saral']
    """
    if colour not in ("value", "mission", "black"):
        message = f"colour={colour!r}; wanted 'value', 'mission' or 'black'"
        raise OptionError(message)
    half = _points.half_width(within)
    when = None if field is None else _time_of(field)
    points = _points.points_of(obs, "tracks")
    chosen = points.near(when, half)
    plane = None if field is None else _fields.plane(field, "tracks")
    shared = [points.as_field(obs.name) if plane is None else chosen.as_field(obs.name)]
    shared += [] if plane is None else [plane]
    scale = style.colour_range(
        [_named(s, obs if plane is None else plane) for s in shared], cmap=cmap, vmin=vmin, vmax=vmax, robust=robust
    )
    if ax is None:
        size = (7.2, 4.8) if plane is None else _fields.figure_size(plane, 1)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    if plane is not None:
        mesh = _fields.draw(ax, plane, scale, coastlines=coastlines)
        grid = Grid.of(plane)
    else:
        grid = _frame_around(ax, chosen)
        if coastlines:
            _fields.coasts(ax)
    if colour == "value":
        over = {} if plane is None else {"s": 4 * _points.size_of(chosen.value.size), **_EDGE}
        seen = _points.scatter(ax, chosen, grid, scale, **over)
        mesh = seen if plane is None else mesh
    else:
        _in_groups(ax, obs, points, when, half, grid, colour)
    if plane is not None or colour == "value":
        _fields.colorbar(mesh, [ax], scale, obs if plane is None else plane)
    name = style.name_of(obs) if field is None else title_of(field)
    ax.set_title(f"{name}\n{chosen.value.size:,} observations" if title is None else title, fontsize=style.TITLE)
    return ax


# ---------------------------------------------------------------------- pieces
def _in_groups(
    ax: Axes, obs: xr.DataArray, points: Points, when: Any, half: Any, grid: Grid | None, colour: str
) -> None:
    """Draw points in one colour for each mission, with a legend; or all of them black."""
    size = 2 * _points.size_of(points.near(when, half).value.size)
    if colour == "black":
        some = points.near(when, half)
        ax.scatter(_longitude(some, grid), some.latitude, s=size, color="k", linewidths=0)
        return
    if _MISSION not in obs.coords or "flag_meanings" not in obs[_MISSION].attrs:
        message = (
            f"tracks, colour='mission': the track has coordinates {sorted(map(str, obs.coords))}; wanted a CF flag "
            f"{_MISSION!r} along it, as nadir_tracks gives it"
        )
        raise VariableError(message)
    flag = obs[_MISSION]
    known = np.isfinite(np.asarray(obs.squeeze().values, np.float64))
    which = np.asarray(flag.values)[known]
    for i, (value, name) in enumerate(zip(flag.attrs["flag_values"], flag.attrs["flag_meanings"].split(), strict=True)):
        some = points.chosen(which == value).near(when, half)
        if some.value.size:
            paint = style.COLOURS[i % len(style.COLOURS)]
            ax.scatter(_longitude(some, grid), some.latitude, s=size, color=paint, linewidths=0, label=name)
    below: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.07)}
    ax.legend(fontsize=style.TICK, frameon=False, markerscale=2, ncols=4, **below)


def _longitude(points: Points, grid: Grid | None) -> Any:
    return points.longitude if grid is None else _fields.near(points.longitude, grid)


def _frame_around(ax: Axes, points: Points) -> Any:
    """Frame of what the points span, and a grid that only says where longitudes begin."""
    if not points.value.size:
        _fields.frame_box(ax, -180, 180, -90, 90, whole=True)
        return Grid.regular(2, 4, poles=False)
    west, east = float(points.longitude.min()), float(points.longitude.max())
    south, north = float(points.latitude.min()), float(points.latitude.max())
    room = 0.03 * max(east - west, north - south, 1.0)
    west, east, south, north = west - room, east + room, max(south - room, -90), min(north + room, 90)
    whole = east - west > 350
    _fields.frame_box(ax, west, east, south, north, whole=whole)
    step = (east - west) / 4
    return Grid.from_latlon([(south + north) / 2 - 1, (south + north) / 2 + 1], west + step * (np.arange(4) + 0.5))


def _time_of(field: xr.DataArray) -> Any:
    """Give the single time of a map, or None."""
    times = [c for c in field.coords.values() if c.dtype.kind == "M" and c.size == 1]
    return times[0].values.reshape(-1)[0] if len(times) == 1 else None


def _named(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Give a field without a name or units those of another one."""
    new = {k: v for k, v in like.attrs.items() if k in ("long_name", "standard_name", "units") and k not in field.attrs}
    return field if field.attrs.get("long_name") else field.assign_attrs(new)


def _with_units(spread: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    if spread.attrs.get("units"):
        return spread
    return spread.assign_attrs(units=like.attrs.get("units", ""))


def _minus(field: xr.DataArray, truth: xr.DataArray, name: str) -> xr.DataArray:
    """Difference on the same points; signed, whatever the quantity."""
    from xatmo import cf

    ours, theirs = cf.horizontal(field), cf.horizontal(truth)
    if field.shape != truth.shape:
        message = (
            f"interpolation, {name!r} has {field.shape} points, the truth {truth.shape}; wanted the same for a "
            "difference: regrid one, da.atmo.regrid(other)"
        )
        raise DimensionError(message)
    values = truth.rename({theirs.lat: ours.lat, theirs.lon: ours.lon} if theirs.dims != ours.dims else {})
    values = values.drop_vars([c for c in values.coords if c not in values.indexes])
    west = float(field[ours.lon].min()) - 1e-4
    values = values.assign_coords({ours.lon: (values[ours.lon] - west) % 360 + west})
    away = (field - values.reindex_like(field, method="nearest", tolerance=1e-3)).transpose(*field.dims)
    return away.rename("difference").assign_attrs(long_name="difference", units=field.attrs.get("units", ""))
