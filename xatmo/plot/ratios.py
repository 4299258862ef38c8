"""Power that a prediction has, over that of the truth, by scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from xatmo.errors import OptionError
from xatmo.plot import _scales, style
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def power_ratio(
    ratio: XarrayObject | Mapping[str, XarrayObject],
    ax: Axes | None = None,
    *,
    factor: float = 1.5,
    title: str | None = None,
) -> Axes:
    """Draw the power of predictions over that of the truth, by degree or wavenumber, with wavelengths along the top.

    Parameters
    ----------
    ratio : Dataset, DataArray or mapping
        What `xatmo.metrics.power_ratio` gave, or names to that; of a Dataset every variable is drawn. Other dimensions
        are averaged over as logarithms.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    factor : float
        Lines stand at 1, at ``factor`` and at ``1 / factor``; the band between these is shaded.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        With a logarithmic vertical axis, on which half and double are equally far from 1.

    Raises
    ------
    OptionError
        If there is nothing to draw, the axes differ, or ``factor`` is not above 1.
    DimensionError
        If there is no dimension of scales.

    Examples
    --------
    >>> import xarray as xr
    >>> n = np.arange(64)
    >>> smooth = xr.DataArray(np.exp(-((n / 40) ** 2)), {"degree": n}, dims="degree")
    >>> power_ratio({"bicubic": smooth}).get_ylabel()
    'power / power of the truth'
    """
    if not factor > 1:
        message = f"factor={factor!r}; wanted a number above 1, such as 1.5"
        raise OptionError(message)
    lines = style.named_lines(ratio)
    if not lines:
        message = "power_ratio got nothing to draw; wanted what metrics.power_ratio gives, or a mapping of names to it"
        raise OptionError(message)
    dims = {_scales.require_scale(line, what="power_ratio") for line in lines.values()}
    if len(dims) > 1:
        message = f"ratios by {sorted(dims)} came; one plot shows one of them"
        raise OptionError(message)
    dim = dims.pop()
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    colour = style.colours(list(lines))
    ax.axhspan(1 / factor, factor, color="0.94", lw=0, zorder=0)
    ax.axhline(1, color=style.TRUTH, lw=1.2, zorder=1)
    for level in (1 / factor, factor):
        ax.axhline(level, color="0.45", lw=0.9, ls=(0, (5, 3)), zorder=1)
    low, high, bottom, top = np.inf, 0.0, 1 / factor, factor
    for name, line in lines.items():
        # The mean of logarithms: half of the power in one place and double in another is no bias.
        with np.errstate(divide="ignore", invalid="ignore"):
            logs: Any = np.log(line.where(line > 0).astype(float))
        y = np.asarray(np.exp(logs.mean([d for d in line.dims if d != dim])).values)
        x = _scales.abscissa(line, dim)
        seen = np.asarray(_scales.shown(line, dim)) & np.isfinite(y)
        if not seen.any():
            continue
        ax.plot(x[seen], y[seen], color=colour[name], lw=1.6, label=name or None)
        low, high = min(low, x[seen].min()), max(high, x[seen].max())
        bottom, top = min(bottom, y[seen].min()), max(top, y[seen].max())
    circles = {_scales.circle_of(line, dim) for line in lines.values()}
    ax.set_yscale("log")
    # Three decades down at most: what has no power at all would squeeze everything else.
    ax.set_ylim(max(bottom, 1e-3) / 1.25, min(top, 1e3) * 1.25)
    if high > 0:
        _scales.dress(ax, dim, low * 0.95, high * 1.05, circles.pop() if len(circles) == 1 else None)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    for level, text, side in ((factor, f"{factor:g}", "bottom"), (1 / factor, f"1/{factor:g}", "top")):
        at: Any = {"xycoords": ("axes fraction", "data"), "xytext": (2, 2 if side == "bottom" else -2)}
        ax.annotate(text, (0.005, level), textcoords="offset points", va=side, fontsize=style.TICK, color="0.3", **at)
    ax.set_ylabel("power / power of the truth", fontsize=style.LABEL)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=style.TICK, frameon=False, loc="lower left", bbox_to_anchor=(0.06, 0.0))
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax
