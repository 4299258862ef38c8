"""Energy and power by scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

from xatmo.errors import DimensionError, OptionError
from xatmo.plot import _scales, style
from xatmo.plot._scales import SCALES
from xatmo.plot.exchange import flux
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

_PARTS = {"energy": (style.TRUTH, 2.2), "rotational": (style.COLOURS[0], 1.4), "divergent": (style.COLOURS[1], 1.4)}
_FIT = style.COLOURS[3]
_NO_POWER = ("correlation", "coherence", "phase", "quadrature")  # of cross-spectra


def spectrum(
    obj: XarrayObject,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    slopes: Sequence[float] = (),
    fit: xr.Dataset | None = None,
    effective_resolution: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one spectrum: lines, or for zonal spectra that still have their latitudes, a picture by latitude.

    Parameters
    ----------
    obj : Dataset or DataArray
        What `energy_spectrum` gave, or fields, whose spectrum is then computed. Other dimensions are averaged over. Of
        a Dataset every variable is drawn (of zonal spectra by latitude, one; of cross-spectra the powers and the
        positive part of the cross-spectrum, for the rest see `coherence`). What `spectral_flux` gave is drawn by
        `flux`.
    ax, slopes, title
        As in `spectra`.
    label : str, optional
        In the legend.
    fit : Dataset, optional
        What `fit_slope` gave for this spectrum, drawn over its range.
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
    dim = _scales.require_scale(found, what="spectrum")
    if dim == "zonal_wavenumber" and _latitude(found) is not None:
        return _by_latitude(found, ax, title)
    lines: dict[str, XarrayObject]
    if isinstance(found, xr.Dataset):
        if "energy_flux" in found:
            return flux(found, ax, title=title)
        found = found.drop_vars([n for n in found.data_vars if str(n).endswith(_NO_POWER)])
        lines = {str(n): found[n] for n, v in found.data_vars.items() if dim in v.dims and v.dtype.kind == "f"}
        if label is not None:
            lines = {label if len(lines) == 1 else f"{label}, {name}": v for name, v in lines.items()}
    else:
        lines = {label or "": found}
    first = next(iter(lines))
    resolution = {} if effective_resolution is None else {first: effective_resolution}
    fits = {} if fit is None else {first: fit}
    return spectra(lines, ax, slopes=slopes, fits=fits, effective_resolution=resolution, title=title)


def spectra(
    spectra: Mapping[str, XarrayObject],
    ax: Axes | None = None,
    *,
    slopes: Sequence[float] = (),
    fits: Mapping[str, xr.Dataset] | None = None,
    effective_resolution: Mapping[str, float] | float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw spectra together, log-log, with wavelengths in km along the top.

    Parameters
    ----------
    spectra : mapping
        Name to what `energy_spectrum` gave, or to a field, whose spectrum is then computed. Of the Dataset of a wind
        the total energy is drawn. Other dimensions are averaged over, latitudes by their cosine. The mean (degree or
        wavenumber 0) has no place on a logarithmic axis and is left out, as are rings of boxes that are not whole.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    slopes : sequence of float
        Power laws to draw for comparison, such as ``(-3, -5/3)``; they pass a little above the first spectrum.
    fits : mapping, optional
        Name to what `fit_slope` gave for that spectrum: drawn over its range, with the exponent in the legend.
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
    colour = dict(style.colours(list(lines)))
    colour.update({n: c for n, (c, _) in _PARTS.items() if n in lines})
    drawn: dict[str, tuple[Floats, Floats]] = {}
    for name, line in lines.items():
        x = _scales.abscissa(line, dim)
        y = np.asarray(line.values, dtype=float)
        shown = _scales.shown(line, dim) & (y > 0)
        drawn[name] = x[shown], y[shown]
        width = _PARTS[name][1] if name in _PARTS else 1.7 if colour[name] != style.TRUTH else 2.0
        ax.plot(*drawn[name], color=colour[name], lw=width, label=name or None)
    ax.set(xscale="log", yscale="log")
    first = next(iter(lines.values()))
    circles = {_scales.circle_of(line, dim) for line in lines.values()}
    circle = circles.pop() if len(circles) == 1 else None  # two latitudes have no common wavelengths
    low, high = _limits(ax, list(drawn.values()), room=bool(slopes))
    _slopes(ax, list(drawn.values()), slopes, dim)
    for name, fit in (fits or {}).items():
        _fit(ax, fit, name, dim)
    named = effective_resolution if isinstance(effective_resolution, Mapping) else {"": effective_resolution}
    marks = [(float(metres), colour.get(name, "0.3")) for name, metres in named.items() if metres is not None]
    _scales.mark_wavelengths(ax, marks, dim, circle, label="effective resolution")
    _scales.dress(ax, dim, low, high, circle)
    ax.set_ylabel(style.with_units(_quantity(first), first.attrs.get("units")), fontsize=style.LABEL)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=style.TICK, frameon=False)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax


# ---------------------------------------------------------------------- pieces
def _spectrum_of(obj: XarrayObject) -> XarrayObject:
    if _scales.scale_of(obj) is not None and "order" not in obj.dims:
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
    dim = _scales.require_scale(found, what="spectra")
    latitude = _latitude(found) if dim == "zonal_wavenumber" else None
    if latitude is not None:
        weights = np.cos(np.radians(latitude.values.astype(float))).clip(0)
        found = found.weighted(xr.DataArray(weights, {latitude.dims[0]: latitude.values}, latitude.dims)).mean(
            latitude.dims, keep_attrs=True
        )
    others = [d for d in found.dims if d != dim]
    return found.mean(others, keep_attrs=True) if others else found


def _latitude(obj: XarrayObject) -> xr.DataArray | None:
    """Latitudes that are a dimension of an object, or None."""
    for name in obj.dims:
        if name in obj.coords:
            attrs = obj[name].attrs
            told = attrs.get("standard_name") == "latitude" or str(attrs.get("units", "")).startswith("degrees_n")
            if told or str(name) in ("lat", "latitude"):
                return obj[name]
    return None


def _by_latitude(obj: XarrayObject, ax: Axes | None, title: str | None) -> Axes:
    """Power by zonal wavenumber and latitude, with the lines along which the wavelength is the same."""
    if isinstance(obj, xr.Dataset):
        names = [n for n, v in obj.data_vars.items() if "zonal_wavenumber" in v.dims]
        if len(names) != 1:
            message = f"one zonal spectrum by latitude makes one picture; {sorted(map(str, names))} came. Choose one"
            raise OptionError(message)
        obj = obj[names[0]]
    latitude = _latitude(obj)
    assert latitude is not None
    others = [d for d in obj.dims if d not in ("zonal_wavenumber", *latitude.dims)]
    picture = obj.mean(others, keep_attrs=True).transpose(*latitude.dims, "zonal_wavenumber").sortby(latitude.dims[0])
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    number = np.asarray(picture["zonal_wavenumber"].values, dtype=float)
    use = number > 0
    number, power = number[use], np.asarray(picture.values, dtype=float)[:, use]
    degrees = np.asarray(picture[latitude.dims[0]].values, dtype=float)
    top = np.nanpercentile(power, 99.9) if np.isfinite(power).any() else 1.0
    norm = LogNorm(max(np.nanpercentile(power, 2), top * 1e-8, 1e-300), max(top, 2e-300))
    edges = np.append(np.sqrt(number[:-1] * number[1:]), number[-1] + 0.5)
    edges = np.insert(edges, 0, number[0] ** 2 / edges[0])
    middle = (degrees[1:] + degrees[:-1]) / 2
    rows = np.concatenate([[2 * degrees[0] - middle[0]], middle, [2 * degrees[-1] - middle[-1]]]).clip(-90, 90)
    shown = np.ma.masked_invalid(np.maximum(power, 1e-300))  # none at all is below the range, not missing
    mesh = ax.pcolormesh(edges, rows, shown, norm=norm, cmap=style.SEQUENTIAL, rasterized=True)
    bar = ax.figure.colorbar(mesh, ax=ax, extend="min", pad=0.02)
    bar.set_label(style.with_units(_quantity(picture), picture.attrs.get("units")), fontsize=style.LABEL)
    bar.ax.tick_params(labelsize=style.TICK)
    _scales.dress(ax, "zonal_wavenumber", number[0], number[-1], None)
    ax.grid(False)
    _wavelength_lines(ax, rows, number[-1])
    ax.set_ylim(rows[0], rows[-1])
    ax.set_ylabel("latitude", fontsize=style.LABEL)
    if rows[0] == -90 and rows[-1] == 90:
        ax.set_yticks(range(-90, 91, 30))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.degrees(value, "N", "S")))
    ax.set_title(title if title is not None else style.name_of(picture), fontsize=style.TITLE)
    return ax


def _wavelength_lines(ax: Axes, rows: Floats, last: float) -> None:
    """Draw where the wavelength along the latitude circle is 10,000, 1,000 ... km."""
    latitude = np.linspace(rows[0], rows[-1], 181)
    whole = _scales.to_km("zonal_wavenumber")
    # The label stands at the equator, or as near to it as there is room.
    middle = float(np.clip(0, *np.interp([0.15, 0.85], [0, 1], [rows[0], rows[-1]])))
    place = int(np.abs(latitude - middle).argmin())
    for km in (10000, 3000, 1000, 300, 100):
        number = whole(km) * np.cos(np.radians(latitude))
        if not 1.3 < number[place] < last / 1.05:
            continue
        edge = [withStroke(linewidth=2.2, foreground="0.15", alpha=0.6)]
        ax.plot(number, latitude, color="white", lw=0.9, ls=(0, (4, 3)), path_effects=edge)
        ax.annotate(
            f"{km:,} km", (number[place], latitude[place]), xytext=(3, 0), textcoords="offset points", rotation=90,
            ha="left", va="center", color="white", fontsize=style.TICK, path_effects=edge,
        )  # fmt: skip


def _quantity(line: xr.DataArray) -> str:
    if line.name in _PARTS or "energy" in str(line.attrs.get("long_name", "")):
        return "kinetic energy"
    return "power"


def _limits(ax: Axes, drawn: Sequence[tuple[Floats, Floats]], *, room: bool) -> tuple[float, float]:
    """Eight decades at most: a truncated field's rounding noise must not squeeze everything else."""
    filled = [(x, y) for x, y in drawn if x.size]
    if not filled:
        return 0.9, 10.0
    low, high = min(x.min() for x, _ in filled), max(x.max() for x, _ in filled)
    top = max(y.max() for _, y in filled)
    bottom = max(min(y.min() for _, y in filled), top * 1e-8)
    ax.set_ylim(bottom / 2, top * (10 if room else 4))
    return float(low * 0.95), float(high * 1.05)


# ---------------------------------------------------------------------- power laws
def _slopes(ax: Axes, drawn: Sequence[tuple[Floats, Floats]], slopes: Sequence[float], dim: str) -> None:
    """Draw straight pieces over the middle of the axis, above all spectra and with their labels apart."""
    drawn = [(x, y) for x, y in drawn if x.size >= 4]
    if not drawn or not slopes:
        return
    first, last = min(x[0] for x, _ in drawn), max(x[-1] for x, _ in drawn)
    low, high = np.exp(np.interp([0.3, 0.8], [0, 1], np.log([first, last])))
    along = np.geomspace(low, high, 60)
    bottom, top = ax.get_ylim()
    apart = (top / bottom) ** 0.055  # about the height of a label
    inside = [np.interp(np.log(along), np.log(x), np.log(y), left=-np.inf, right=-np.inf) for x, y in drawn]
    above = np.exp(np.max(inside, axis=0))
    lines = {slope: along**slope * np.max(above / along**slope) * 1.8 for slope in slopes}
    end = 0.0
    for slope in sorted(lines, key=lambda s: float(lines[s][-1])):
        line = lines[slope]
        line = line * max(1.0, end * apart / line[-1])
        end = float(line[-1])
        seen = line < top
        ax.plot(along[seen], line[seen], color="0.45", lw=1.0, ls=(0, (5, 3)), zorder=1)
        ax.annotate(
            f"${_symbol(dim)}^{{{_exponent(slope)}}}$", (along[-1], end), xytext=(4, 0), textcoords="offset points",
            fontsize=style.LABEL, color="0.35", va="center",
        )  # fmt: skip


def _symbol(dim: str) -> str:
    return "n" if dim == "degree" else "k"


def _exponent(slope: float) -> str:
    """Write an exponent: whole, a simple fraction, or with decimals.

    Examples
    --------
    >>> _exponent(-3), _exponent(-11 / 3), _exponent(-2.34)
    ('-3', '-11/3', '-2.34')
    """
    near = Fraction(float(slope)).limit_denominator(4)
    return str(near) if abs(float(near) - slope) < 1e-6 else f"{slope:.3g}"


def _fit(ax: Axes, fit: xr.Dataset, name: str, dim: str) -> None:
    """Draw a fitted power law over its range, with its exponent in the legend."""
    prefix = f"{name}_" if f"{name}_slope" in fit else ""
    if f"{prefix}slope" not in fit:
        message = f"a fit has a slope and an amplitude, as fit_slope gives them; {sorted(map(str, fit.data_vars))} came"
        raise OptionError(message)
    slope, amplitude, error = (fit[f"{prefix}{n}"] for n in ("slope", "amplitude", "stderr"))
    if slope.ndim:
        message = (
            f"the fit has dimensions {dict(slope.sizes)}; one line shows one slope. Average the spectrum before the "
            "fit, or choose: fit.isel(...)"
        )
        raise OptionError(message)
    x = np.geomspace(float(fit["low"]), float(fit["high"]), 30)
    factor = 1e3 if dim == "wavenumber" else 1.0
    p = float(slope)
    text = f"fit, slope {p:.2f} ± {float(error):.2f}".replace("-", "−")
    ax.plot(x * factor, float(amplitude) * x**p, color=_FIT, lw=1.8, zorder=5, label=text)
