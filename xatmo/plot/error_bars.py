"""Error bars: beside the truth along a line, and against the errors that were made."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.plot import _points, ensembles, style
from xatmo.plot.maps import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

_ENDING = "_error"


def section(
    made: xr.Dataset | Mapping[str, xr.Dataset],
    truth: xr.DataArray | None = None,
    obs: xr.DataArray | None = None,
    ax: Axes | None = None,
    *,
    variable: Hashable | None = None,
    title: str | None = None,
) -> Axes:
    """Draw analyses with bands of one and two error bars along a row, a column, a time series or a track.

    Parameters
    ----------
    made : Dataset, or mapping
        A field NAME and its standard deviation NAME ``_error`` with one dimension left, as
        ``made.sel(latitude=38, time="2012-10-25", method="nearest")``, or what `xatmo.datasets.observe` samples of them
        along a track; or names to several of these, of which the bands are of one error bar. Without errors, lines.
    truth : DataArray, optional
        Along the same dimension.
    obs : DataArray, optional
        Along the same dimension, NaN where nothing was seen: drawn as points.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    variable : str, optional
        NAME, if there are several.
    title : str, optional
        By default the labels of what was chosen.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If it is not clear which field is meant.
    DimensionError
        If not one dimension is left.

    Examples
    --------
    >>> line = {"longitude": ("longitude", np.arange(5.0), {"units": "degrees_east"})}
    >>> ds = xr.Dataset({"ssh": ("longitude", np.zeros(5), {"units": "m"})}, line)
    >>> ax = section(ds.assign(ssh_error=abs(ds["ssh"]) + 0.1), truth=ds["ssh"])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('longitude', 'ssh (m)')
    """
    named = {"": made} if isinstance(made, xr.Dataset) else dict(made)
    if not named:
        message = "section got nothing to draw; wanted a Dataset with NAME and NAME_error, or names to several"
        raise OptionError(message)
    pairs = {n: _line_and_bar(ds, variable, n) for n, ds in named.items()}
    first = next(iter(pairs.values()))[0]
    (dim,) = first.dims
    if ax is None:
        _, ax = plt.subplots(figsize=(8.4, 3.8), layout="constrained")
    paints = style.colours(list(pairs))
    for name, (line, bar) in pairs.items():
        x, along = _abscissa(line, dim)
        y = np.asarray(line.values, np.float64)
        order = np.argsort(x, kind="stable")
        for k in (2, 1) if len(pairs) == 1 else (1,):
            if bar is not None:
                half = k * np.asarray(bar.values, np.float64)
                text = "one error bar" if k == 1 else "two error bars"
                ax.fill_between(
                    x[order], (y - half)[order], (y + half)[order], color=paints[name], alpha=0.3 if k == 1 else 0.15,
                    lw=0, label=text if len(pairs) == 1 else None,
                )  # fmt: skip
        ax.plot(x[order], y[order], color=paints[name], lw=1.7, label=name or "analysis")
    if truth is not None:
        line = _along(truth, dim, "truth")
        x, _ = _abscissa(line, dim)
        order = np.argsort(x, kind="stable")
        ax.plot(x[order], line.values[order], color=style.TRUTH, lw=1.3, ls=(0, (5, 2)), label="truth")
    if obs is not None:
        line = _along(obs, dim, "observations")
        there = bool(np.isfinite(np.asarray(line.values, np.float64)).any())
        label_of = "observations" if there else None
        ax.plot(_abscissa(line, dim)[0], line.values, ".", color="k", ms=5, label=label_of)
    _label_axis(ax, first, dim, along)
    ax.set_ylabel(style.with_units(style.name_of(first), first.attrs.get("units")), fontsize=style.LABEL)
    if title is None:
        single = [_place(n, c) for n, c in first.coords.items() if c.ndim == 0 and c.dtype.kind in "Mif"]
        title = ", ".join(single)
    style.finish(ax, title, legend=False)
    ax.margins(x=0)
    beside: Any = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    ax.legend(fontsize=style.TICK, frameon=False, **beside)
    return ax


def calibration(found: xr.Dataset | Mapping[str, xr.Dataset], *, title: str | None = None) -> np.ndarray[Any, Any]:
    """Draw whether error bars are as long as errors: standardised errors, and errors by the length of the bars.

    Parameters
    ----------
    found : Dataset or mapping
        What `xatmo.metrics.error_calibration` gave over all dimensions, or names to that.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        Densities of errors in units of the bars, beside the Gaussian of variance 1 that calibrated bars have where
        errors are Gaussian; and the root mean square error over the error bar: points above the diagonal tell of bars
        that are too short. Points are the larger, the more of the cells they stand for.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a Dataset is not of `xatmo.metrics.error_calibration`.
    DimensionError
        If it is over some of the dimensions only.

    Examples
    --------
    >>> import xatmo
    >>> draw = np.random.default_rng(0).normal(size=900)
    >>> truth = xr.DataArray(draw, dims="time", name="ssh")
    >>> made = xr.Dataset({"ssh": 0 * truth, "ssh_error": 0 * truth + np.linspace(0.5, 1.5, 900)})
    >>> axes = calibration(xatmo.metrics.error_calibration(made, truth))
    >>> [ax.get_xlabel() for ax in axes]
    ['error / error bar', 'error bar']
    """
    named = {"": found} if isinstance(found, xr.Dataset) else dict(found)
    if not named:
        message = "calibration got nothing to draw; wanted what metrics.error_calibration gives, or names to that"
        raise OptionError(message)
    wanted = ("rms", "density", "spread", "error", "weight")
    for name, ds in named.items():
        lacking = [n for n in wanted if n not in ds]
        if lacking:
            message = f"calibration{f' of {name!r}' if name else ''}: no {lacking}; wanted metrics.error_calibration's"
            raise VariableError(message)
        if ds["rms"].ndim:
            message = f"calibration: scores over {ds['rms'].dims}; wanted one number. Average over all dimensions"
            raise DimensionError(message)
    _, axes = plt.subplots(1, 2, figsize=(9.6, 4.1), layout="constrained")
    made: np.ndarray[Any, Any] = axes
    colour = style.colours(list(named))
    z = np.linspace(-5, 5, 201)
    made[0].plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=style.TRUTH, lw=1.1, ls=(0, (5, 3)),
                 label="Gaussian")  # fmt: skip
    for name, ds in named.items():
        told = f"rms {float(ds['rms']):.2f}"
        half = float(ds["z"][1] - ds["z"][0]) / 2
        edges = np.append(ds["z"].values - half, ds["z"].values[-1] + half)
        made[0].stairs(ds["density"].values, edges, color=colour[name], lw=1.6, fill=len(named) == 1,
                       alpha=0.6 if len(named) == 1 else 1.0, label=f"{name}, {told}" if name else told)  # fmt: skip
    made[0].set_xlabel("error / error bar", fontsize=style.LABEL)
    made[0].set_ylabel("density", fontsize=style.LABEL)
    made[0].set_xlim(-5, 5)
    made[0].set_ylim(0, 1.22 * made[0].get_ylim()[1])
    style.finish(made[0], None, ncols=1 if len(named) > 1 else 2, loc="upper left")
    _by_length(made[1], named, colour)
    if title is not None:
        made[0].figure.suptitle(title, fontsize=style.TITLE + 1)
    return made


# ---------------------------------------------------------------------- pieces
def _by_length(ax: Axes, named: Mapping[str, xr.Dataset], colour: Mapping[Any, str]) -> None:
    ensembles.spread_skill(named if any(named) else named[""], ax)
    for (name, ds), line in zip(named.items(), list(ax.lines), strict=False):
        line.set(marker="", lw=1.0)
        part = np.asarray(ds["weight"].values, np.float64)
        x, y = (np.asarray(ds[n].values, np.float64) for n in ("spread", "error"))
        ax.scatter(x, y, s=8 + 260 * part, color=colour[name], zorder=3, alpha=0.8, linewidths=0)
    units = next(iter(named.values()))["spread"].attrs.get("units")
    ax.set_xlabel(style.with_units("error bar", units), fontsize=style.LABEL)
    ax.set_ylabel(style.with_units("root mean square error", units), fontsize=style.LABEL)


def _line_and_bar(ds: xr.Dataset, variable: Hashable | None, name: str) -> tuple[xr.DataArray, xr.DataArray | None]:
    names = [n for n in ds.data_vars if f"{n}{_ENDING}" in ds] if variable is None else [variable]
    if not names and len(ds.data_vars) == 1:
        names = list(ds.data_vars)
    if len(names) != 1 or names[0] not in ds:
        message = (
            f"section{f' of {name!r}' if name else ''}: the Dataset has {sorted(map(str, ds.data_vars))}; wanted a "
            f"field NAME with NAME{_ENDING}. Name one with variable="
        )
        raise VariableError(message)
    line = ds[names[0]].squeeze()
    if line.ndim != 1:
        message = (
            f"section{f' of {name!r}' if name else ''} has dimensions {dict(line.sizes)}; wanted one. Choose, for "
            "instance ds.sel(latitude=38, time='2012-10-25', method='nearest')"
        )
        raise DimensionError(message)
    bar = ds[f"{names[0]}{_ENDING}"].squeeze().compute() if f"{names[0]}{_ENDING}" in ds else None
    return line.compute(), bar


def _along(da: xr.DataArray, dim: Hashable, what: str) -> xr.DataArray:
    line = da.squeeze()
    if line.dims != (dim,):
        message = f"section: the {what} have dimensions {da.dims}; wanted {dim!r}, as the analysis has"
        raise DimensionError(message)
    return line.compute()


def _abscissa(line: xr.DataArray, dim: Hashable) -> tuple[Any, str]:
    """Kilometres along a track, or the coordinate."""
    if _points.is_track(line):
        points = _points.points_of(xr.zeros_like(line).fillna(0.0), "section")
        return _kilometres(points.latitude, points.longitude), "distance along the track (km)"
    if dim not in line.coords:
        return np.arange(line.size), str(dim)
    return np.asarray(line[dim].values), str(dim)


def _kilometres(lat: Floats, lon: Floats) -> Floats:
    """Distance from the first point along great circles from point to point."""
    phi, lam = np.radians(lat), np.radians(lon)
    half = np.sin(np.diff(phi) / 2) ** 2 + np.cos(phi[1:]) * np.cos(phi[:-1]) * np.sin(np.diff(lam) / 2) ** 2
    steps = 2 * np.arcsin(np.sqrt(np.clip(half, 0, 1))) * EARTH_RADIUS / 1e3
    return np.concatenate([[0.0], np.cumsum(steps)])


def _label_axis(ax: Axes, line: xr.DataArray, dim: Hashable, along: str) -> None:
    ax.set_xlabel(along, fontsize=style.LABEL)
    if dim not in line.coords or along.startswith("distance"):
        return
    if line[dim].dtype.kind == "M":
        style.dates(ax)
        return
    units = str(line[dim].attrs.get("units", ""))
    letters = {"longitude": ("E", "W"), "latitude": ("N", "S")}.get(_kind(line[dim], dim))
    if letters is not None:
        ax.xaxis.set_major_formatter(lambda value, _: style.degrees(round((value + 180) % 360 - 180, 6), *letters))
    elif units:
        ax.set_xlabel(style.with_units(along, units), fontsize=style.LABEL)


def _place(name: Hashable, coord: xr.DataArray) -> str:
    """Write a coordinate for the title: 38.1°N."""
    letters = {"longitude": ("E", "W"), "latitude": ("N", "S")}.get(_kind(coord, name))
    if letters is None:
        return label(name, coord)
    value = float(coord)
    return style.degrees(round((value + 180) % 360 - 180 if letters[0] == "E" else value, 2), *letters)


def _kind(coord: xr.DataArray, dim: Hashable) -> str:
    attrs = coord.attrs
    names = {"degrees_east": "longitude", "degrees_north": "latitude", "lon": "longitude", "lat": "latitude"}
    found = attrs.get("standard_name") or names.get(str(attrs.get("units"))) or names.get(str(dim)) or dim
    return str(found)
