"""Axes of scales: degree or wavenumber along the bottom, wavelengths along the top, both logarithmic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError
from xatmo.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats, XarrayObject

SCALES = ("degree", "wavenumber", "zonal_wavenumber")
NAMES = {
    "degree": "spherical harmonic degree",
    "wavenumber": "wavenumber (cycles per km)",
    "zonal_wavenumber": "zonal wavenumber",
}
_EARTH_KM = 2 * np.pi * EARTH_RADIUS / 1e3
_MANY_DECADES = 3.3  # beyond them, only powers of ten are labelled


def scale_of(obj: XarrayObject) -> str | None:
    """Name of the dimension of scales that an object has, or None."""
    return next((s for s in SCALES if s in obj.dims), None)


def require_scale(obj: XarrayObject, *, what: str) -> str:
    """Give the dimension of scales.

    Raises
    ------
    DimensionError
        If there is none.
    """
    dim = scale_of(obj)
    if dim is None:
        message = f"{what} wants a dimension among {SCALES}; {tuple(map(str, obj.dims))} came"
        raise DimensionError(message)
    return dim


def abscissa(line: xr.DataArray, dim: str) -> Floats:
    """Values along the bottom: degrees as they are, wavenumbers in cycles per km."""
    x = np.asarray(line[dim].values, dtype=float)
    return x * 1e3 if dim == "wavenumber" else x


def shown(line: xr.DataArray, dim: str) -> Any:
    """Which points to draw: not the mean, and of boxes only whole rings."""
    x = np.asarray(line[dim].values, dtype=float)
    return (x > 0) & (x <= line[dim].attrs.get("whole_rings_to", np.inf))


def circle_of(line: xr.DataArray, dim: str) -> float | None:
    """Length in km of what a spectrum goes around: the Earth, one latitude, or None where that is not known."""
    if dim != "zonal_wavenumber":
        return _EARTH_KM
    if "wavelength" not in line.coords or line["wavelength"].dims != (dim,):
        return None
    with np.errstate(invalid="ignore"):
        length = np.asarray(line["wavelength"].values * line[dim].values, dtype=float) / 1e3
    found = length[np.isfinite(length) & (length > 0)]
    return float(found[0]) if found.size else None


def to_km(dim: str, circle: float = _EARTH_KM) -> Callable[[Any], Any]:
    """Give the function from the bottom axis to wavelengths in km."""

    def by_degree(n: Any) -> Any:
        n = np.maximum(n, 1e-6)
        return circle / np.sqrt(n * (n + 1))

    def by_wavenumber(k: Any) -> Any:
        return (1 if dim == "wavenumber" else circle) / np.maximum(k, 1e-12)

    return by_degree if dim == "degree" else by_wavenumber


def from_km(dim: str, circle: float = _EARTH_KM) -> Callable[[Any], Any]:
    """Give the function from wavelengths in km to the bottom axis."""

    def to_degree(km: Any) -> Any:
        return np.sqrt(0.25 + (circle / np.maximum(km, 1e-9)) ** 2) - 0.5

    def to_wavenumber(km: Any) -> Any:
        return (1 if dim == "wavenumber" else circle) / np.maximum(km, 1e-12)

    return to_degree if dim == "degree" else to_wavenumber


def dress(ax: Axes, dim: str, low: float, high: float, circle: float | None) -> None:
    """Make the bottom axis logarithmic and plain to read, and put wavelengths on top where they are known."""
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel(NAMES[dim], fontsize=style.LABEL)
    _plain(ax.xaxis, low, high)
    ax.tick_params(labelsize=style.TICK)
    ax.grid(True, which="major", color="0.9", lw=0.7)
    ax.set_axisbelow(True)
    if circle is None:
        return
    forward, back = to_km(dim, circle), from_km(dim, circle)
    top = ax.secondary_xaxis("top", functions=(forward, back))
    top.set_xlabel("wavelength (km)", fontsize=style.LABEL)
    top.tick_params(labelsize=style.TICK)
    _plain(top.xaxis, *sorted((float(forward(low)), float(forward(high)))))


def _plain(axis: Any, low: float, high: float) -> None:
    """Label 1, 2 and 5 times powers of ten in plain numbers; where there are many decades, the powers alone."""
    decades = np.log10(high / low)
    subs = (1.0,) if decades > _MANY_DECADES else (1.0, 2.0, 5.0)
    first, last = np.floor(np.log10(low)), np.ceil(np.log10(high))
    ticks = [s * 10.0**p for p in np.arange(first, last + 1) for s in subs if low <= s * 10.0**p <= high]
    if len(ticks) < 2:  # less than an octave or so: let the locator choose
        axis.set_major_locator(LogLocator(subs=list(range(1, 10))))
    else:
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(LogLocator(subs=list(range(2, 10)), numticks=99))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    axis.set_minor_formatter(NullFormatter())


def plain_number(value: float) -> str:
    """Write 10,000, 200, 0.05.

    Examples
    --------
    >>> plain_number(20000.000001), plain_number(0.05), plain_number(1e-5)
    ('20,000', '0.05', '1e-05')
    """
    return f"{value:,.0f}" if value >= 0.999 and abs(value - round(value)) < 1e-3 * value else f"{value:g}"


def mark_wavelengths(
    ax: Axes, marks: Sequence[tuple[float, str]], dim: str, circle: float | None, *, label: str | None
) -> None:
    """Draw dotted lines at wavelengths in metres, given with their colours, with their numbers at the foot."""
    found = [(metres, colour) for metres, colour in marks if np.isfinite(metres)]
    if circle is None or not found:
        return
    if label is not None:
        ax.plot([], [], color="0.3", lw=1.0, ls=":", label=label)
    for i, (metres, colour) in enumerate(found):
        at = float(from_km(dim, circle)(metres / 1e3))
        ax.axvline(at, color=colour, lw=1.0, ls=":")
        ax.annotate(
            f"{metres / 1e3:,.0f} km", (at, 0.03 + 0.055 * (i % 4)), xycoords=("data", "axes fraction"), xytext=(-3, 0),
            textcoords="offset points", ha="right", fontsize=style.TICK, color=colour,
        )  # fmt: skip
