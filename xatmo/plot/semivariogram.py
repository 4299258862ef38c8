"""Semivariograms: differences between points by distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from xatmo.errors import DimensionError, OptionError
from xatmo.plot import style
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

_ERROR = "standard_error"


def semivariogram(
    obj: XarrayObject | Mapping[str, XarrayObject],
    ax: Axes | None = None,
    *,
    label: str | None = None,
    slopes: Sequence[float] = (),
    yscale: str = "log",
    errors: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw semivariograms together, by distance in km on a logarithmic axis, with their standard errors.

    Parameters
    ----------
    obj : Dataset, DataArray or mapping
        What `xatmo.spectral.semivariogram` gave, or fields, whose semivariogram is then computed; or a mapping of names
        to these. Of a Dataset every variable is drawn. Other dimensions are averaged over.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    label : str, optional
        In the legend, of a DataArray.
    slopes : sequence of float
        Power laws to draw for comparison, such as ``(2/3, 2)``.
    yscale : {"log", "linear"}
    errors : bool
        Whether to shade two standard errors on either side.
    title : str, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    OptionError
        If there is nothing to draw, ``yscale`` is unknown, or the units of the lines differ.
    DimensionError
        If ``obj`` is neither a semivariogram nor a field that has one.

    Examples
    --------
    >>> distance = np.geomspace(5e4, 1e7, 12)
    >>> one = xr.DataArray(distance ** (2 / 3), {"distance": distance}, dims="distance", attrs={"units": "K2"})
    >>> semivariogram({"ERA5": one, "made": 0.8 * one}, slopes=(2 / 3,)).get_ylabel()
    'semivariogram (K²)'
    """
    if yscale not in ("log", "linear"):
        message = f"yscale={yscale!r} came; wanted 'log' or 'linear'"
        raise OptionError(message)
    lines = _lines(obj, label)
    units = {str(line.attrs.get("units", "")) for line, _ in lines.values()}
    if not lines or len(units) > 1:
        came = f"lines in {sorted(units)}" if lines else "nothing"
        message = (
            f"semivariogram got {came}; wanted lines in the same units, such as {{'truth': da, 'prediction': other}}"
        )
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    colour = style.colours(list(lines))
    drawn: list[tuple[Floats, Floats]] = []
    for name, (line, spread) in lines.items():
        x, y = np.asarray(line["distance"].values, dtype=float) / 1e3, np.asarray(line.values, dtype=float)
        seen = np.isfinite(y) & ((y > 0) | (yscale == "linear"))
        drawn.append((x[seen], y[seen]))
        dots: dict[str, Any] = {"marker": "o", "ms": 3.2} if seen.sum() < 60 else {}
        ax.plot(*drawn[-1], color=colour[name], lw=1.6, label=name or None, **dots)
        if errors and spread is not None:
            low, high = (y[seen] + sign * 2 * np.asarray(spread.values, dtype=float)[seen] for sign in (-1, 1))
            floor = y[seen] * 1e-3 if yscale == "log" else -np.inf
            ax.fill_between(x[seen], np.maximum(low, floor), high, color=colour[name], alpha=0.2, lw=0)
    _dress(ax, drawn, yscale)
    for i, slope in enumerate(slopes):
        _slope(ax, drawn[0], slope, i)
    ax.set_xlabel("distance (km)", fontsize=style.LABEL)
    ax.set_ylabel(style.with_units("semivariogram", units.pop()), fontsize=style.LABEL)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=style.TICK, frameon=False, loc="lower right" if yscale == "log" else "best")
    text = _title(lines) if title is None else title
    if text:
        ax.set_title(text, fontsize=style.TITLE)
    return ax


# ---------------------------------------------------------------------- pieces
def _lines(
    obj: XarrayObject | Mapping[str, XarrayObject], label: str | None
) -> dict[str, tuple[xr.DataArray, xr.DataArray | None]]:
    if isinstance(obj, xr.DataArray):
        found: Any = _found(obj)
        return {label or "": _pair(found, found.coords.get(_ERROR))}
    if isinstance(obj, xr.Dataset):
        return _of_dataset(obj)
    made: dict[str, tuple[xr.DataArray, xr.DataArray | None]] = {}
    for name, one in obj.items():
        inside = _lines(one, None)
        made.update({name if len(inside) == 1 else f"{name}, {n}": pair for n, pair in inside.items()})
    return made


def _of_dataset(ds: xr.Dataset) -> dict[str, tuple[xr.DataArray, xr.DataArray | None]]:
    found: Any = _found(ds)
    names = [n for n, v in found.data_vars.items() if "distance" in v.dims and not str(n).endswith(f"_{_ERROR}")]
    return {str(n): _pair(found[n], found.get(f"{n}_{_ERROR}", found[n].coords.get(_ERROR))) for n in names}


def _found(obj: XarrayObject) -> XarrayObject:
    if "distance" in obj.dims:
        return obj
    from xatmo import spectral

    try:
        return spectral.semivariogram(obj)  # type: ignore[type-var]
    except DimensionError as error:
        message = f"a semivariogram has a dimension 'distance'; this has {tuple(obj.dims)} and is no field: {error}"
        raise DimensionError(message) from error


def _pair(line: xr.DataArray, error: xr.DataArray | None) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Means over other dimensions; the errors of fields with the same pairs are taken as the same."""
    others = [d for d in line.dims if d != "distance"]
    return line.mean(others, keep_attrs=True), None if error is None else error.mean(
        [d for d in error.dims if d != "distance"]
    )


def _title(lines: Mapping[str, tuple[xr.DataArray, xr.DataArray | None]]) -> str:
    names = {style.name_of(line).removeprefix("semivariogram of ") for line, _ in lines.values()}
    return names.pop() if len(names) == 1 else ""


def _dress(ax: Axes, drawn: Sequence[tuple[Floats, Floats]], yscale: str) -> None:
    """Make the axes: plain kilometres along the bottom."""
    ax.set_xscale("log")
    ax.set_yscale(yscale)
    filled = [(x, y) for x, y in drawn if x.size]
    if filled:
        low, high = min(x.min() for x, _ in filled), max(x.max() for x, _ in filled)
        ax.set_xlim(low * 0.9, high * 1.1)
        decades = np.log10(high / low)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3.2 else (1.0,)))
        bottom, top = min(y.min() for _, y in filled), max(y.max() for _, y in filled)
        if yscale == "linear":
            ax.set_ylim(bottom=0)
        elif bottom > 0:  # bands that reach down to zero have no place on a logarithmic axis
            ax.set_ylim(bottom / 1.7, top * 1.7)
            if top / bottom < 30:
                ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    if yscale == "log":
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(labelsize=style.TICK)
    ax.grid(True, which="major", color="0.9", lw=0.7)
    ax.set_axisbelow(True)


def _slope(ax: Axes, line: tuple[Floats, Floats], slope: float, index: int) -> None:
    """Draw a power law over the left half of the axis, above the line wherever it is drawn."""
    x, y = line
    if x.size < 4:
        return
    end = np.exp(np.interp(0.5, [0, 1], np.log([x[0], x[-1]])))
    along = np.geomspace(x[0], end, 20)
    law = along**slope
    near = np.interp(np.log(along), np.log(x), y)
    law = law * np.max(near / law) * (1.5 + 1.0 * index)
    limits = ax.get_ylim()
    inside = (law >= limits[0]) & (law <= limits[1]) & (law < 6 * (1 + index) * near)
    if not inside.any():
        return
    ax.plot(along[inside], law[inside], color="0.45", lw=1.0, ls=(0, (5, 3)), zorder=1)
    fraction = Fraction(slope).limit_denominator(12)
    exponent = str(fraction) if abs(float(fraction) - slope) < 1e-6 else f"{slope:g}"
    ax.annotate(
        f"$d^{{{exponent}}}$", (along[inside][-1], law[inside][-1]), xytext=(4, 0), textcoords="offset points",
        fontsize=style.TICK, color="0.35", va="center",
    )  # fmt: skip
