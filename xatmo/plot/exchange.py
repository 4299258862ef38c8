"""What two fields have in common by scale, and what a flow carries from scale to scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo.errors import DimensionError, OptionError
from xatmo.plot import _scales, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUANTITIES = ("coherence", "correlation")
_FLUXES = ("energy", "enstrophy")
_NAMES = {"energy": "kinetic energy", "enstrophy": "enstrophy"}
_WINDS = {"": (style.TRUTH, 2.2), "rotational": (style.COLOURS[0], 1.4), "divergent": (style.COLOURS[1], 1.4)}


def coherence(
    obj: xr.Dataset | Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    *,
    quantity: str = "coherence",
    threshold: float | None = 0.5,
    effective_resolution: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw coherence or correlation by scale, with wavelengths in km along the top.

    Parameters
    ----------
    obj : Dataset or mapping
        What `cross_spectrum` gave, or several of them by name. Other dimensions, such as time, are averaged over before
        the ratio is taken. Of one Dataset all pairs are drawn (total, rotational and divergent wind; every variable),
        of several the first pair of each.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    quantity : {"coherence", "correlation"}
    threshold : float, optional
        Level marked with a line; none if None.
    effective_resolution : float, optional
        Wavelength in metres, marked.
    title : str, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    OptionError
        If the quantity is unknown, there is nothing to draw, or scales differ (degree and wavenumber).
    DimensionError
        If a Dataset has no dimension of scales.

    Examples
    --------
    >>> degree = np.arange(1.0, 43)
    >>> names = {"cross": degree**-4, "power": degree**-3, "power_other": degree**-3}
    >>> ds = xr.Dataset({n: ("degree", x) for n, x in names.items()}, {"degree": degree})
    >>> coherence(ds).get_ylabel()
    'coherence'
    """
    if quantity not in _QUANTITIES:
        message = f"quantity={quantity!r} came; wanted one of {_QUANTITIES}"
        raise OptionError(message)
    given = {"": obj} if isinstance(obj, xr.Dataset) else dict(obj)
    lines: dict[str, xr.DataArray] = {}
    for name, ds in given.items():
        found = _ratios(ds, quantity)
        if isinstance(obj, xr.Dataset):
            lines = found
        elif found:
            lines[name] = next(iter(found.values()))
    if not lines:
        message = "coherence got no cross-spectrum; wanted what cross_spectrum gave, with cross, power and power_other"
        raise OptionError(message)
    ax, dim = _lines(lines, ax)
    low = min(float(np.nanmin(line.values, initial=0.0)) for line in lines.values())
    ax.set_ylim((0 if quantity == "coherence" or low > -0.05 else -1.03), 1.03)
    if quantity == "correlation":
        ax.axhline(0, color="0.6", lw=0.8, zorder=1)
    if threshold is not None:
        ax.axhline(threshold, color="0.45", lw=1.0, ls=(0, (5, 3)), zorder=1)
    marks = [] if effective_resolution is None else [(float(effective_resolution), "0.3")]
    first = next(iter(lines.values()))
    _scales.mark_wavelengths(ax, marks, dim, _scales.circle_of(first, dim), label="effective resolution")
    ax.set_ylabel(quantity, fontsize=style.LABEL)
    return _finish(ax, title)


def flux(
    obj: xr.Dataset | Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    *,
    quantity: str = "energy",
    transfer: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the flux of kinetic energy or enstrophy through each degree: positive to smaller scales.

    Parameters
    ----------
    obj : Dataset or mapping
        What `spectral_flux` gave, or several by name; or winds, whose flux is then computed. Other dimensions are
        averaged over.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    quantity : {"energy", "enstrophy"}
    transfer : bool
        Draw the transfer into each degree instead.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        Degrees on a logarithmic axis, the flux on a linear one, in a power of ten of its units.

    Raises
    ------
    OptionError
        If the quantity is unknown, or there is nothing to draw.
    VariableError
        If a Dataset holds neither fluxes nor a wind.

    Examples
    --------
    >>> degree = np.arange(1.0, 43)
    >>> ds = xr.Dataset({"energy_flux": ("degree", 2e-5 * np.sin(degree / 7), {"units": "m2 s-3"})}, {"degree": degree})
    >>> flux(ds).get_ylabel()
    'flux of kinetic energy (10⁻⁶ m² s⁻³)'
    """
    if quantity not in _FLUXES:
        message = f"quantity={quantity!r} came; wanted one of {_FLUXES}"
        raise OptionError(message)
    given = {"": obj} if isinstance(obj, xr.Dataset) else dict(obj)
    if not given:
        message = "flux got nothing to draw; wanted what spectral_flux gave, or a mapping of several by name"
        raise OptionError(message)
    variable = f"{quantity}_{'transfer' if transfer else 'flux'}"
    lines = {}
    for name, ds in given.items():
        if variable not in ds:
            from xatmo import spectral

            ds = spectral.spectral_flux(ds)
        line = ds[variable]
        dim = _scales.require_scale(line, what="flux")
        lines[name] = line.mean([d for d in line.dims if d != dim], keep_attrs=True)
    size = max(float(np.nanmax(np.abs(line.values[line[line.dims[0]].values > 0]))) for line in lines.values())
    power = 3 * int(np.floor(np.log10(size) / 3)) if size > 0 and np.isfinite(size) else 0
    first = next(iter(lines.values()))
    ax, _ = _lines({n: (line / 10.0**power).assign_attrs(line.attrs) for n, line in lines.items()}, ax)
    ax.axhline(0, color="0.3", lw=0.9, zorder=1)
    ax.margins(y=0.08)
    text = f"{'transfer' if transfer else 'flux'} of {_NAMES[quantity]}"
    units = style.pretty_units(first.attrs.get("units"))
    scale = style.pretty_units(f"x{power}").replace("x", "10") if power else ""
    shown = " ".join(part for part in (scale, units) if part)
    ax.set_ylabel(f"{text} ({shown})" if shown else text, fontsize=style.LABEL)
    return _finish(ax, title)


# ---------------------------------------------------------------------- pieces
def _ratios(ds: xr.Dataset, quantity: str) -> dict[str, xr.DataArray]:
    """Coherence or correlation of every pair of a Dataset, its cross-spectrum and powers averaged first."""
    found = {}
    for name in (str(n) for n in ds.data_vars if str(n) == "cross" or str(n).endswith("_cross")):
        prefix = name.removesuffix("cross")
        if f"{prefix}power" not in ds or f"{prefix}power_other" not in ds:
            continue
        dim = _scales.require_scale(ds[name], what="coherence")
        parts: dict[str, Any] = {}
        for part in ("cross", "quadrature", "power", "power_other"):
            if f"{prefix}{part}" in ds:
                da = ds[f"{prefix}{part}"]
                parts[part] = da.mean([d for d in da.dims if d != dim])
        both = (parts["power"] * parts["power_other"]).where(lambda x: x > 0)
        if quantity == "correlation":
            line = parts["cross"] / np.sqrt(both)
        else:
            line = (parts["cross"] ** 2 + parts.get("quadrature", 0.0) ** 2) / both
        found[prefix.removesuffix("_")] = line
    return found


def _lines(lines: Mapping[str, xr.DataArray], ax: Axes | None) -> tuple[Axes, str]:
    """Draw lines over one logarithmic axis of scales."""
    dims = {str(line.dims[0]) for line in lines.values() if line.dims}
    if len(dims) != 1:
        message = f"curves by {sorted(dims)} came; one plot shows one of them"
        raise OptionError(message) if dims else DimensionError(message)
    dim = dims.pop()
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    wind = set(lines) <= set(_WINDS) and len(lines) > 1
    colour = style.colours(list(lines))
    low, high = np.inf, -np.inf
    for name, line in lines.items():
        x = _scales.abscissa(line, dim)
        shown = _scales.shown(line, dim)
        low, high = min(low, x[shown].min()), max(high, x[shown].max())
        look = _WINDS[name] if wind else (colour[name], 1.7)
        label = "total" if wind and not name else name or None
        ax.plot(x[shown], np.asarray(line.values, dtype=float)[shown], color=look[0], lw=look[1], label=label)
    _scales.dress(ax, dim, low * 0.95, high * 1.05, _scales.circle_of(next(iter(lines.values())), dim))
    return ax, dim


def _finish(ax: Axes, title: str | None) -> Axes:
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=style.TICK, frameon=False)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax
