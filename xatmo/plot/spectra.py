"""Energy and power by scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError
from xatmo.plot import style
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

SCALES = ("degree", "wavenumber", "zonal_wavenumber")
_AXIS = {
    "degree": "spherical harmonic degree",
    "wavenumber": "wavenumber (cycles per km)",
    "zonal_wavenumber": "zonal wavenumber",
}
_PARTS = ("energy", "rotational", "divergent")
_SLOPE_NAMES = {-5 / 3: "-5/3"}


def spectrum(
    obj: XarrayObject,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    slopes: Sequence[float] = (),
    effective_resolution: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one spectrum.

    Parameters
    ----------
    obj : Dataset or DataArray
        What `energy_spectrum` gave, or fields, whose spectrum is then computed. Other dimensions are averaged over. Of
        a Dataset every variable is drawn.
    ax, slopes, title
        As in `spectra`.
    label : str, optional
        In the legend.
    effective_resolution : float, optional
        Wavelength in metres, marked.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    DimensionError
        If ``obj`` is neither a spectrum nor a field that has one.

    Examples
    --------
    >>> degree = np.arange(1.0, 43)
    >>> s = xr.DataArray(degree**-3, {"degree": degree}, dims="degree", attrs={"units": "m2 s-2"})
    >>> spectrum(s, slopes=(-3,)).get_ylabel()
    'power (m² s⁻²)'
    """
    found = _spectrum_of(obj)
    if isinstance(found, xr.Dataset):
        lines = {str(n): found[n] for n in found.data_vars}
        if label is not None:
            lines = {label if len(lines) == 1 else f"{label}, {name}": v for name, v in lines.items()}
    else:
        lines = {label or "": found}
    resolution = {} if effective_resolution is None else {next(iter(lines)): effective_resolution}
    return spectra(lines, ax, slopes=slopes, effective_resolution=resolution, title=title)


def spectra(
    spectra: Mapping[str, XarrayObject],
    ax: Axes | None = None,
    *,
    slopes: Sequence[float] = (),
    effective_resolution: Mapping[str, float] | float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw spectra together, log-log, with wavelengths in km along the top.

    Parameters
    ----------
    spectra : mapping
        Name to what `energy_spectrum` gave, or to a field, whose spectrum is then computed. Of the Dataset of a wind
        the total energy is drawn. Other dimensions are averaged over. The mean (degree or wavenumber 0) has no place on
        a logarithmic axis and is left out.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    slopes : sequence of float
        Power laws to draw for comparison, such as ``(-3, -5/3)``; they pass a little above the first spectrum.
    effective_resolution : mapping or float, optional
        Wavelength in metres by name, marked in the colour of its line; or one wavelength for all.
    title : str, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    OptionError
        If there is no spectrum, or they lie on different axes (degree and wavenumber).
    DimensionError
        If one is neither a spectrum nor a field that has one.
    """
    if not spectra:
        message = "spectra got nothing to draw; wanted a mapping such as {'truth': spectrum, 'prediction': other}"
        raise OptionError(message)
    lines = {name: _line(obj) for name, obj in spectra.items()}
    dims = {str(line.dims[0]) for line in lines.values()}
    if len(dims) > 1:
        message = f"spectra by {sorted(dims)} came; one plot shows one of them"
        raise OptionError(message)
    dim = dims.pop()
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    colour = style.colours(list(lines))
    drawn: dict[str, tuple[Floats, Floats]] = {}
    for name, line in lines.items():
        x = _abscissa(line, dim)
        y = np.asarray(line.values, dtype=float)
        shown = (x > 0) & (y > 0)
        drawn[name] = x[shown], y[shown]
        ax.plot(*drawn[name], color=colour[name], lw=1.7 if colour[name] != style.TRUTH else 2.0, label=name or None)
    ax.set(xscale="log", yscale="log")
    first = next(iter(lines.values()))
    _limits(ax, list(drawn.values()))
    for i, slope in enumerate(slopes):
        _slope(ax, *next(iter(drawn.values())), slope, dim, i)
    _mark(ax, effective_resolution, dim, colour)
    ax.set_xlabel(_AXIS[dim], fontsize=style.LABEL)
    ax.set_ylabel(style.with_units(_quantity(first), first.attrs.get("units")), fontsize=style.LABEL)
    ax.tick_params(labelsize=style.TICK)
    ax.grid(True, which="major", color="0.9", lw=0.7)
    if dim != "zonal_wavenumber":
        top = ax.secondary_xaxis("top", functions=(_to_km(dim), _from_km(dim)))
        top.set_xlabel("wavelength (km)", fontsize=style.LABEL)
        top.tick_params(labelsize=style.TICK)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=style.TICK, frameon=False)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax


# ---------------------------------------------------------------------- pieces
def _is_spectrum(obj: XarrayObject) -> bool:
    return any(s in obj.dims for s in SCALES)


def _spectrum_of(obj: XarrayObject) -> XarrayObject:
    if _is_spectrum(obj):
        return obj
    from xatmo import spectral

    try:
        if isinstance(obj, xr.Dataset):
            return spectral.energy_spectrum(obj)
        return spectral.energy_spectrum(obj)
    except DimensionError as error:
        message = (
            f"a spectrum has a dimension among {SCALES}; this has {tuple(obj.dims)} and is no field either: {error}"
        )
        raise DimensionError(message) from error


def _line(obj: XarrayObject) -> xr.DataArray:
    found = _spectrum_of(obj)
    if isinstance(found, xr.Dataset):
        found = found["energy"] if "energy" in found else found[next(iter(found.data_vars))]
    dim = next(d for d in SCALES if d in found.dims)
    others = [d for d in found.dims if d != dim]
    return found.mean(others, keep_attrs=True) if others else found


def _abscissa(line: xr.DataArray, dim: str) -> Floats:
    x = np.asarray(line[dim].values, dtype=float)
    return x * 1e3 if dim == "wavenumber" else x


def _quantity(line: xr.DataArray) -> str:
    if line.name in _PARTS or "energy" in str(line.attrs.get("long_name", "")):
        return "kinetic energy"
    return "power"


def _to_km(dim: str) -> Any:
    circumference = 2 * np.pi * EARTH_RADIUS / 1e3

    def by_degree(n: Any) -> Any:
        n = np.maximum(n, 1e-6)
        return circumference / np.sqrt(n * (n + 1))

    def by_wavenumber(k: Any) -> Any:
        return 1 / np.maximum(k, 1e-12)

    return by_degree if dim == "degree" else by_wavenumber


def _from_km(dim: str) -> Any:
    circumference = 2 * np.pi * EARTH_RADIUS / 1e3

    def to_degree(km: Any) -> Any:
        return np.sqrt(0.25 + (circumference / np.maximum(km, 1e-9)) ** 2) - 0.5

    def to_wavenumber(km: Any) -> Any:
        return 1 / np.maximum(km, 1e-12)

    return to_degree if dim == "degree" else to_wavenumber


def _limits(ax: Axes, drawn: Sequence[tuple[Floats, Floats]]) -> None:
    """Eight decades at most: a truncated field's rounding noise must not squeeze everything else."""
    filled = [(x, y) for x, y in drawn if x.size]
    if not filled:
        return
    low, high = min(x.min() for x, _ in filled), max(x.max() for x, _ in filled)
    top = max(y.max() for _, y in filled)
    bottom = max(min(y.min() for _, y in filled), top * 1e-8)
    ax.set_xlim(low * 0.95, high * 1.05)
    ax.set_ylim(bottom / 2, top * 4)


def _slope(ax: Axes, x: Floats, y: Floats, slope: float, dim: str, index: int) -> None:
    if x.size < 4:
        return
    # A straight piece over the middle of the axis, above the spectrum wherever it is drawn.
    low, high = np.exp(np.interp([0.35, 0.8], [0, 1], np.log([x[0], x[-1]])))
    along = np.geomspace(low, high, 20)
    line = along**slope
    near = np.exp(np.interp(np.log(along), np.log(x), np.log(y)))
    line = line * np.max(near / line) * (1.6 + 1.2 * index)
    ax.plot(along, line, color="0.45", lw=1.0, ls=(0, (5, 3)), zorder=1)
    symbol = "n" if dim == "degree" else "k"
    exponent = next((name for value, name in _SLOPE_NAMES.items() if np.isclose(value, slope)), f"{slope:g}")
    ax.annotate(
        f"${symbol}^{{{exponent}}}$", (along[-1], line[-1]), xytext=(4, 0), textcoords="offset points",
        fontsize=style.TICK, color="0.35", va="center",
    )  # fmt: skip


def _mark(ax: Axes, resolution: Mapping[str, float] | float | None, dim: str, colour: Mapping[Hashable, str]) -> None:
    if resolution is None or dim == "zonal_wavenumber":
        return
    named = resolution if isinstance(resolution, Mapping) else {"": resolution}
    found = [(name, float(metres)) for name, metres in named.items() if np.isfinite(float(metres))]
    if found:
        ax.plot([], [], color="0.3", lw=1.0, ls=":", label="effective resolution")
    for i, (name, metres) in enumerate(found):
        at = float(_from_km(dim)(metres / 1e3))
        ax.axvline(at, color=colour.get(name, "0.3"), lw=1.0, ls=":")
        ax.annotate(
            f"{metres / 1e3:,.0f} km", (at, 0.03 + 0.055 * (i % 4)), xycoords=("data", "axes fraction"), xytext=(-3, 0),
            textcoords="offset points", ha="right", fontsize=style.TICK, color=colour.get(name, "0.3"),
        )  # fmt: skip
