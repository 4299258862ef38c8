"""Colours, units and degree labels, decided once."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Line colours that colour-blind readers can tell apart (Okabe and Ito, 2008)."""
TRUTH = "#000000"
MISSING = "0.88"
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
RAIN = LinearSegmentedColormap.from_list(
    "rain",
    [(0, "#ffffff"), (0.025, "#d3e3f3"), (0.15, "#8fc1de"), (0.3, "#4a98c9"), (0.45, "#2170b5"), (0.6, "#1d4792"),
     (0.75, "#3b2a80"), (0.9, "#4a1468"), (1, "#2d0a3c")],
)  # fmt: skip
"""Of precipitation: white where there is none, at once a little darker where there is some, and on to the most."""
LABEL, TITLE, TICK = 10, 11, 9
"""Font sizes in points."""

_SIGNED_WORDS = (
    "vorticity", "divergence", "anomaly", "tendency", "difference", "eastward", "northward", "upward", "streamfunction",
    "velocity_potential", "increment", "bias", "geostrophic", "correction",
)  # fmt: skip
_RAIN_WORDS = ("precipitation", "rainfall", "rain_rate", "snowfall")
_RAIN_NAMES = {"tp", "pr", "precip", "rain", "rain_rate"}
_DIFFERENCES = ("difference", "increment", "bias", "_minus_")
_SIGNED_NAMES = {"u", "v", "w", "ua", "va", "uo", "vo", "u10", "v10", "ugos", "vgos", "d", "psi", "chi", "sla", "ssha"}
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def pretty_units(units: object) -> str:
    """Write CF units for people.

    Examples
    --------
    >>> pretty_units("m s-1"), pretty_units("(m s**-1)2"), pretty_units("degC2"), pretty_units("1")
    ('m s⁻¹', '(m s⁻¹)²', '°C²', '')
    """
    text = str(units or "").strip()
    if text in ("1", "dimensionless"):
        return ""
    text = re.sub(r"\b(degC|degrees?_C|degree_?Celsius|[cC]elsius)(?![A-Za-z])", "°C", text)
    return re.sub(r"(?<=[A-Za-z)])(?:\*\*|\^)?(-?\d+)", lambda m: m.group(1).translate(_SUPERSCRIPT), text)


def name_of(da: xr.DataArray) -> str:
    """Name for a title: long_name, else the standard name, else the variable's name."""
    for key in ("long_name", "standard_name"):
        if da.attrs.get(key):
            return str(da.attrs[key]).replace("_", " ")
    return "" if da.name is None else str(da.name)


def with_units(text: str, units: object) -> str:
    """Write ``text (units)``, or what there is of it."""
    shown = pretty_units(units)
    return f"{text} ({shown})" if text and shown else text or shown


def is_signed(da: xr.DataArray, low: float, high: float) -> bool:
    """Tell whether zero is the natural middle of a field.

    Its name says so and its values lie on both sides; of differences the name is enough.
    """
    words = " ".join(str(da.attrs.get(k, "")) for k in ("standard_name", "long_name")).lower().replace(" ", "_")
    if any(w in words for w in _DIFFERENCES) and low < high:
        return True
    named = any(w in words for w in _SIGNED_WORDS) or str(da.name).lower() in _SIGNED_NAMES or "anomaly" in str(da.name)
    return named and low < 0 < high


def is_rain(da: xr.DataArray, low: float) -> bool:
    """Tell whether a field is an amount or a rate of precipitation, by its names and units; ``low``: its least value.

    Examples
    --------
    >>> is_rain(xr.DataArray(0.0, attrs={"standard_name": "rainfall_rate", "units": "mm h-1"}), 0.0)
    True
    >>> is_rain(xr.DataArray(0.0, attrs={"long_name": "probability of precipitation", "units": "1"}), 0.0)
    False
    """
    words = " ".join(str(da.attrs.get(k, "")) for k in ("standard_name", "long_name")).lower().replace(" ", "_")
    named = any(w in words for w in _RAIN_WORDS) or str(da.name).lower() in _RAIN_NAMES
    return named and low >= 0 and pretty_units(da.attrs.get("units")) not in ("", "%", "dBZ")


def colour_range(
    fields: Sequence[xr.DataArray], *, cmap: Any, vmin: float | None, vmax: float | None, robust: bool
) -> dict[str, Any]:
    """Choose one colour map and range for several fields.

    Signed fields get a diverging map with zero in its middle, precipitation one that is white at zero, others a
    sequential one. ``robust`` leaves out one percent at either end, and the colour bar shows an arrow where values go
    beyond it.
    """
    # A sample of large fields: percentiles need no more.
    flat = [v[np.isfinite(v)] for v in (np.asarray(f.values, dtype=float).ravel() for f in fields)]
    values = np.concatenate([v[:: max(1, v.size // 500_000)] for v in flat]) if flat else np.zeros(0)
    if values.size == 0:
        values = np.array([0.0, 1.0])
    low, high = np.percentile(values, [1, 99]) if robust else (values.min(), values.max())
    signed = any(is_signed(f, float(values.min()), float(values.max())) for f in fields)
    if signed and vmin is None and vmax is None:
        high = max(abs(low), abs(high))
        low = -high
    rain = bool(fields) and not signed and all(is_rain(f, float(values.min())) for f in fields)
    if rain and vmin is None:
        low = 0.0
    low, high = (float(low) if vmin is None else vmin), (float(high) if vmax is None else vmax)
    if not high > low:
        low, high = (0.0, 1.0) if rain and low == 0 else (low - 0.5, low + 0.5)
    beyond = bool(values.min() < low - 1e-9 * abs(low)), bool(values.max() > high + 1e-9 * abs(high))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    usual = DIVERGING if signed else RAIN if rain and low == 0 else SEQUENTIAL
    return {"cmap": cmap or usual, "vmin": low, "vmax": high, "extend": extend}


def duration(value: Any) -> str:
    """Write a timedelta64: 6 h, 0.5 h, 40 min.

    Examples
    --------
    >>> duration(np.timedelta64(36, "h")), duration(np.timedelta64(30, "m")), duration(np.timedelta64(100, "m"))
    ('36 h', '0.5 h', '100 min')
    """
    hours = value / np.timedelta64(1, "h")
    return f"{hours:g} h" if hours * 4 % 1 == 0 else f"{hours * 60:g} min"


def degrees(value: float, positive: str, negative: str) -> str:
    """Write 30°N, 60°W, 0°.

    Examples
    --------
    >>> degrees(-30, "N", "S"), degrees(0, "E", "W"), degrees(12.5, "E", "W")
    ('30°S', '0°', '12.5°E')
    """
    return f"{abs(value):g}°{positive if value > 0 else negative if value < 0 else ''}"


def colours(names: Sequence[Hashable]) -> Mapping[Hashable, str]:
    """Give each name a line colour; what is called truth, target or reference is black."""
    special = {n: TRUTH for n in names if str(n).lower() in ("truth", "target", "reference")}
    others = [n for n in names if n not in special]
    return {**special, **{n: COLOURS[i % (len(COLOURS) - 1)] for i, n in enumerate(others)}}


def named_lines(obj: xr.DataArray | xr.Dataset | Mapping[str, Any]) -> dict[str, xr.DataArray]:
    """Names to DataArrays, from one, from a Dataset (by variable) or from a mapping of names to either.

    Examples
    --------
    >>> one = xr.DataArray(1.0)
    >>> list(named_lines({"a": one, "b": xr.Dataset({"t": one})})), list(named_lines(xr.Dataset({"t": one, "u": one})))
    (['a', 'b'], ['t', 'u'])
    """
    if isinstance(obj, xr.DataArray):
        return {"": obj}
    if isinstance(obj, xr.Dataset):
        return {str(n): v for n, v in obj.data_vars.items()}
    made: dict[str, xr.DataArray] = {}
    for name, one in obj.items():
        inside = named_lines(one)
        made.update({str(name) if len(inside) == 1 else f"{name}, {n}": v for n, v in inside.items()})
    return made


def dates(ax: Axes) -> None:
    """Label a time axis with few, short dates."""
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def finish(ax: Axes, title: str | None, *, legend: bool = True, **where: Any) -> Axes:
    """Give axes their tick labels, grid, legend and title."""
    ax.tick_params(labelsize=TICK)
    ax.grid(True, color="0.9", lw=0.7)
    ax.set_axisbelow(True)
    if legend and ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=TICK, frameon=False, **where)
    if title is not None:
        ax.set_title(title, fontsize=TITLE)
    return ax
