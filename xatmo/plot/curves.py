"""Scores, as bars and lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from xatmo.errors import OptionError
from xatmo.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_FEW = 3  # names that have room in a panel


def scores(
    scores: xr.Dataset | Mapping[str, xr.Dataset], *, columns: int | None = None, title: str | None = None
) -> np.ndarray[Any, Any]:
    """Draw scores, one panel each: bars for single numbers, lines along a dimension.

    Parameters
    ----------
    scores : Dataset or mapping
        What `verify` gave, or that by name, to compare. Bounds (``rmse_lower``, ``rmse_upper``) become error bars or
        bands.
    columns : int, optional
        Panels in a row; at most four unless given.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        One for each score, in order.

    Raises
    ------
    OptionError
        If there is nothing to draw, or a score has two dimensions and more.
    """
    named = dict(scores) if isinstance(scores, Mapping) and not isinstance(scores, xr.Dataset) else {"": scores}
    metrics = list(dict.fromkeys(str(m) for ds in named.values() for m in ds.data_vars if not _is_bound(ds, str(m))))
    if not metrics:
        message = "scores got nothing to draw; wanted the Dataset that .atmo.verify gives, or several by name"
        raise OptionError(message)
    for name, ds in named.items():
        for metric in metrics:
            if metric in ds and ds[metric].ndim > 1:
                message = (
                    f"score {metric!r}{f' of {name!r}' if name else ''} has dimensions {ds[metric].dims}; "
                    "scores draws numbers and lines. Average or choose first"
                )
                raise OptionError(message)
    columns = min(len(metrics), columns or 4)
    rows = -(-len(metrics) // columns)
    bars = all(ds[m].ndim == 0 for ds in named.values() for m in metrics if m in ds)
    height = max(1.5, 0.42 * len(named) + 0.95) if bars else 3.0
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(4.2, 3.1 * columns), height * rows),
        layout="constrained",
        squeeze=False,
        sharey=bars,
    )
    axes: np.ndarray[Any, Any] = grid.ravel()[: len(metrics)]
    for ax in grid.ravel()[len(metrics) :]:
        ax.remove()
    colour = style.colours(list(named))
    beside = not bars and len(named) > _FEW
    for ax, metric in zip(axes, metrics, strict=True):
        have = {n: ds for n, ds in named.items() if metric in ds}
        _panel(ax, metric, have, colour, legend=ax is axes[0] and not bars and not beside)
    if beside:  # within a panel so many names would lie on the lines
        lines, names = axes[0].get_legend_handles_labels()
        figure.legend(
            lines, names, loc="outside upper center", ncols=min(len(names), 2 * columns), fontsize=style.TICK,
            frameon=False,
        )  # fmt: skip
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def _is_bound(ds: xr.Dataset, name: str) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in ds for end in ("_lower", "_upper"))


def _panel(ax: Axes, metric: str, have: Mapping[str, xr.Dataset], colour: Mapping[Any, str], *, legend: bool) -> None:
    first = next(iter(have.values()))[metric]
    unit, units = _unit(metric, first)
    quantity = style.with_units(_shown(metric), units)
    ax.tick_params(labelsize=style.TICK)
    if first.ndim == 0:
        _bars(ax, metric, have, colour)
        ax.set_xlabel(quantity, fontsize=style.LABEL)
        return
    dim = first.dims[0]
    for name, ds in have.items():
        line = ds[metric]
        x = line[dim].values if dim in line.coords else np.arange(line.sizes[dim])
        if np.asarray(x).dtype.kind == "m":
            x = np.asarray(x).astype("timedelta64[s]").astype(float) / 3600
        ax.plot(x, line.values / unit, color=colour[name], lw=1.6, label=name or None)
        if f"{metric}_lower" in ds and f"{metric}_upper" in ds:
            low, high = (ds[f"{metric}_{end}"].values / unit for end in ("lower", "upper"))
            ax.fill_between(x, low, high, color=colour[name], alpha=0.2, lw=0)
    bottom, top = ax.get_ylim()
    bottom = min(0.0, bottom)
    ax.set_ylim(bottom, top + 0.08 * (top - bottom))
    if dim in first.coords and first[dim].dtype.kind == "M":
        locator = AutoDateLocator(minticks=3, maxticks=5)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    hours = dim in first.coords and first[dim].dtype.kind == "m"
    along = "h" if hours else first[dim].attrs.get("units") if dim in first.coords else None
    if hours:
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 6, 10], integer=True))
    ax.set_xlabel(style.with_units(str(dim).replace("_", " "), along), fontsize=style.LABEL)
    ax.set_ylabel(quantity, fontsize=style.LABEL)
    ax.grid(True, color="0.9", lw=0.7)
    if legend and any(have):
        ax.legend(fontsize=style.TICK, frameon=False)


def _bars(ax: Axes, metric: str, have: Mapping[str, xr.Dataset], colour: Mapping[Any, str]) -> None:
    unit, _ = _unit(metric, next(iter(have.values()))[metric])
    for i, (name, ds) in enumerate(have.items()):
        value = float(ds[metric]) / unit
        ax.barh(i, value if np.isfinite(value) else 0.0, color=colour[name], height=0.62)
        end = value if np.isfinite(value) else 0.0
        if f"{metric}_lower" in ds and f"{metric}_upper" in ds:
            bounds = [float(ds[f"{metric}_{side}"]) / unit for side in ("lower", "upper")]
            ax.plot(bounds, [i, i], color="0.2", lw=1.4)
            end = min(end, *bounds) if value < 0 else max(end, *bounds)
        ax.annotate(
            f"{value:.4g}", (end, i), xytext=(-4 if value < 0 else 4, 0), textcoords="offset points", va="center",
            ha="right" if value < 0 else "left", fontsize=style.TICK,
        )  # fmt: skip
    ax.set_yticks(range(len(have)), list(have))
    ax.set_ylim(len(have) - 0.5, -0.5)  # the first on top
    ax.margins(x=0.65 if ax.get_xlim()[0] < 0 else 0.4)  # room for the numbers
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.axvline(0, color="0.3", lw=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def _unit(metric: str, score: xr.DataArray) -> tuple[float, str | None]:
    """Kilometres for lengths that are hundreds of them."""
    units = score.attrs.get("units")
    return (1e3, "km") if units == "m" and "resolution" in metric else (1.0, units)


def _shown(metric: str) -> str:
    return {
        "rmse": "RMSE",
        "mae": "MAE",
        "mse": "MSE",
        "psnr": "PSNR",
        "ssim": "SSIM",
        "acc": "ACC",
        "crps": "CRPS",
    }.get(metric, metric.replace("_", " "))
