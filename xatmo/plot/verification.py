"""Forecasts against the truth: scores by lead, joint distributions, the mean day, skill from case to case."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.plot import style
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEADS = ("lead_time", "forecast_period", "step", "prediction_timedelta", "lead")
_DASHES = ("-", "--", ":", "-.")
_SHORT = {
    "rmse": "RMSE",
    "mae": "MAE",
    "mse": "MSE",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "acc": "ACC",
    "crps": "CRPS",
    "fss": "FSS",
}


def score_by_lead(
    scores: xr.Dataset | Mapping[str, xr.Dataset],
    metrics: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    zero: bool | None = None,
    title: str | None = None,
) -> np.ndarray[Any, Any]:
    """Draw scores against lead time, one panel each, any number of models, with bands where there are bounds.

    Parameters
    ----------
    scores : Dataset or mapping
        What `xatmo.metrics.verify` gave with all dimensions averaged but the lead; or names of models to that.
        ``rmse_lower`` and ``rmse_upper`` make a band.
    metrics : sequence of str, optional
        Which scores; all that there are unless given.
    columns : int, optional
        Panels in a row; at most three unless given.
    zero : bool, optional
        Whether the axis of scores begins at 0; unless given where it would be near to it.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        One for each score, in order.

    Raises
    ------
    OptionError
        If there is nothing to draw, or a score is unknown.
    DimensionError
        If a score has no lead, or has another dimension.

    Examples
    --------
    >>> lead = np.arange(1, 4).astype("m8[h]").astype("m8[ns]")
    >>> one = xr.Dataset({"rmse": ("lead_time", [1.0, 1.5, 1.8], {"units": "K"})}, {"lead_time": lead})
    >>> score_by_lead({"persistence": one})[0].get_xlabel()
    'lead time (h)'
    """
    named = {"": scores} if isinstance(scores, xr.Dataset) else dict(scores)
    have = list(dict.fromkeys(str(n) for ds in named.values() for n in ds.data_vars if not _is_bound(ds, str(n))))
    wanted = have if metrics is None else list(metrics)
    if not wanted or not set(wanted) <= set(have):
        message = (
            f"score_by_lead: scores {wanted} of {have}; wanted what metrics.verify gives, by lead, or names to that"
        )
        raise OptionError(message)
    columns = min(len(wanted), columns or 3)
    rows = -(-len(wanted) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(max(5.2, 3.7 * columns), 3.1 * rows + 0.35), layout="constrained", squeeze=False
    )
    axes: np.ndarray[Any, Any] = grid.ravel()[: len(wanted)]
    for ax in grid.ravel()[len(wanted) :]:
        ax.remove()
    colour = style.colours(list(named))
    several = len(named) > len(style.COLOURS) - 1
    for ax, metric in zip(axes, wanted, strict=True):
        units = None
        for i, (name, ds) in enumerate(named.items()):
            if metric not in ds:
                continue
            line = ds[metric]
            x = _hours(line, metric)
            dash = _DASHES[i // (len(style.COLOURS) - 1) % len(_DASHES)] if several else "-"
            ax.plot(x, line.values, color=colour[name], lw=1.8, ls=dash, marker="o", ms=3, label=name or None)
            if f"{metric}_lower" in ds and f"{metric}_upper" in ds:
                low, high = (ds[f"{metric}_{side}"].values for side in ("lower", "upper"))
                ax.fill_between(x, low, high, color=colour[name], alpha=0.17, lw=0)
            units = line.attrs.get("units", units)
        low, high = ax.get_ylim()
        near = 0 < low < 0.45 * high
        if zero or (zero is None and near):
            ax.set_ylim(0, high)
        if low < 0 < high:
            ax.axhline(0, color="0.3", lw=0.9)
        ax.set_xlabel("lead time (h)", fontsize=style.LABEL)
        ax.set_ylabel(style.with_units(_shown(metric), units), fontsize=style.LABEL)
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 3, 6, 10], integer=True))
        style.finish(ax, None, legend=False)
    _legend(figure, axes[0])
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def conditional_quantiles(
    quantiles: xr.Dataset,
    *,
    leads: Sequence[int] | None = None,
    columns: int | None = None,
    title: str | None = None,
) -> np.ndarray[Any, Any]:
    """Draw conditional quantiles, a panel for each lead, with the marginal distribution beneath.

    Parameters
    ----------
    quantiles : Dataset
        What `xatmo.metrics.conditional_quantiles` gave of one variable, along ``bin`` and ``quantile`` and at most one
        other dimension (the lead).
    leads : sequence of int, optional
        Which of the leads, as positions; all unless given, at most 24.
    columns : int, optional
        Panels in a row; at most four unless given.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes (lead, 2)
        Quantiles over the middle of bins, and frequencies. The dashed diagonal is where both are equal; bins of less
        than 10 values are drawn pale.

    Raises
    ------
    VariableError
        If there are no quantiles.
    DimensionError
        If there is more than one other dimension, or more than 24 panels are asked for.

    Examples
    --------
    >>> from xatmo import metrics
    >>> f = xr.DataArray(np.arange(100.0), dims="x", attrs={"units": "K"})
    >>> axes = conditional_quantiles(metrics.conditional_quantiles(f, f, bins=4))
    >>> axes.shape, axes[0, 1].get_xlabel()
    ((1, 2), 'forecast (K)')
    """
    for name in ("quantiles", "frequency", "left", "right"):
        if name not in quantiles:
            message = (
                f"no {name!r}; there are {sorted(map(str, quantiles.data_vars))}. Wanted what "
                "metrics.conditional_quantiles gives of one variable"
            )
            raise VariableError(message)
    field = quantiles["quantiles"]
    others = [d for d in field.dims if d not in ("bin", "quantile")]
    if len(others) > 1:
        message = f"quantiles have dimensions {field.dims}; wanted bin, quantile and one more. Average or choose first"
        raise DimensionError(message)
    positions = [0] if not others else list(range(field.sizes[others[0]])) if leads is None else list(leads)
    if len(positions) > 24:
        message = f"conditional_quantiles draws {len(positions)} panels; wanted 24 at most: leads=[0, 5, 11]"
        raise DimensionError(message)
    columns = min(len(positions), columns or 4)
    rows = -(-len(positions) // columns)
    heights = [3.0, 1.0] * rows
    figure, grid = plt.subplots(
        2 * rows, columns, figsize=(max(4.4, 2.7 * columns), 3.5 * rows + 0.5), layout="constrained", squeeze=False,
        height_ratios=heights, sharex=True,
    )  # fmt: skip
    axes: np.ndarray[Any, Any] = np.empty((len(positions), 2), dtype=object)
    by = str(quantiles.attrs.get("conditioned_on", "forecast"))
    other = "target" if by == "forecast" else "forecast"
    units = field.attrs.get("units")
    left, right = quantiles["left"].values, quantiles["right"].values
    for k in range(rows * columns):
        upper, lower = grid[2 * (k // columns), k % columns], grid[2 * (k // columns) + 1, k % columns]
        if k >= len(positions):
            upper.set_visible(False)
            lower.set_visible(False)
            continue
        axes[k] = upper, lower
        ds = quantiles if not others else quantiles.isel({others[0]: positions[k]})
        _panel(upper, lower, ds, (left + right) / 2, right - left)
        if others:
            upper.set_title(_lead_text(ds, others[0], positions[k]), fontsize=style.LABEL)
        if k % columns == 0:
            upper.set_ylabel(style.with_units(other, units), fontsize=style.LABEL)
            lower.set_ylabel("share (%)", fontsize=style.LABEL)
        for ax in (upper, lower):
            ax.tick_params(labelleft=k % columns == 0)
        if k + columns >= len(positions):
            lower.set_xlabel(style.with_units(by, units), fontsize=style.LABEL)
            lower.tick_params(labelbottom=True)
    low, high = (f([f(ax.get_ylim()) for ax in axes[:, 0]]) for f in (min, max))
    top = max(ax.get_ylim()[1] for ax in axes[:, 1])
    for upper, lower in axes:
        upper.set_ylim(low, high)
        lower.set_ylim(0, top)
    _legend(figure, axes[0, 0])
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def diurnal_cycle(errors: xr.Dataset | Mapping[str, xr.Dataset], *, title: str | None = None) -> np.ndarray[Any, Any]:
    """Draw mean days of predictions and of the truth, and their errors by hour.

    Parameters
    ----------
    errors : Dataset or mapping
        What `xatmo.metrics.diurnal_error` gave of one variable, by ``hour`` alone; or names of models to that. The
        truth is that of the first.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        Mean days; root mean square errors of the mean day by hour. Lines go on to hour 24, which is hour 0.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a variable is missing.
    DimensionError
        If there are other dimensions than ``hour``.

    Examples
    --------
    >>> hour = {"hour": np.arange(0, 24, 6)}
    >>> names = ("prediction_cycle", "target_cycle", "rmse")
    >>> one = xr.Dataset({n: ("hour", np.ones(4), {"units": "K"}) for n in names}, hour)
    >>> [ax.get_ylabel() for ax in diurnal_cycle(one)]
    ['mean day (K)', 'RMSE of the mean day (K)']
    """
    named = {"prediction": errors} if isinstance(errors, xr.Dataset) else dict(errors)
    if not named:
        message = "diurnal_cycle got nothing to draw; wanted what metrics.diurnal_error gives, or names to that"
        raise OptionError(message)
    for name, ds in named.items():
        for variable in ("prediction_cycle", "target_cycle", "rmse"):
            if variable not in ds:
                message = f"no {variable!r} of {name!r}; there are {sorted(map(str, ds.data_vars))}"
                raise VariableError(message)
            if ds[variable].dims != ("hour",):
                message = f"{variable!r} of {name!r} has dimensions {ds[variable].dims}; wanted hour alone"
                raise DimensionError(message)
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.5), layout="constrained")
    colour = style.colours([*named, "truth"])
    first = next(iter(named.values()))
    axes[0].plot(*_whole_day(first["target_cycle"]), color=style.TRUTH, lw=2.2, label="truth")
    for name, ds in named.items():
        late = ds.get("phase_error")
        text = f"{name}, {round(float(late), 1) + 0.0:+.1f} h" if late is not None and late.ndim == 0 else name
        axes[0].plot(*_whole_day(ds["prediction_cycle"]), color=colour[name], lw=1.7, label=text)
        axes[1].plot(*_whole_day(ds["rmse"]), color=colour[name], lw=1.7)
    for ax, variable, what in ((axes[0], "target_cycle", "mean day"), (axes[1], "rmse", "RMSE of the mean day")):
        ax.set_xlim(0, 24)
        ax.set_xticks(range(0, 25, 3))
        ax.set_xlabel("hour (UTC)", fontsize=style.LABEL)
        ax.set_ylabel(style.with_units(what, first[variable].attrs.get("units")), fontsize=style.LABEL)
        style.finish(ax, None, legend=False)
    axes[1].set_ylim(bottom=0)
    _legend(figure, axes[0])
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    made: np.ndarray[Any, Any] = axes
    return made


def skill_boxes(
    skills: Mapping[str, XarrayObject] | XarrayObject,
    ax: Axes | None = None,
    *,
    leads: Sequence[int] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw how skill varies from case to case: boxes by lead, side by side for several models.

    Parameters
    ----------
    skills : DataArray, Dataset or mapping
        Scores along the lead and any other dimensions (starts, resamples), which make up the boxes: of
        `xatmo.metrics.skill_score` with ``dim`` latitude and longitude, say. A Dataset of several variables, or names
        of models to one each.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    leads : sequence of int, optional
        Which of the leads, as positions; all unless given.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        Boxes from the lower to the upper quartile with the median, whiskers from 5 % to 95 %, means as points.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    DimensionError
        If a score has no lead, or nothing along it.

    Examples
    --------
    >>> lead = np.arange(1, 4).astype("m8[h]").astype("m8[ns]")
    >>> drawn = np.random.default_rng(0).normal(0.5, 0.1, (20, 3))
    >>> skill = xr.DataArray(drawn, {"lead_time": lead}, ("init_time", "lead_time"))
    >>> skill_boxes({"network": skill}).get_xlabel()
    'lead time (h)'
    """
    named = style.named_lines(skills)
    if not named:
        message = "skill_boxes got nothing to draw; wanted skill by start and lead, or names to that"
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(8.6, 3.8), layout="constrained")
    colour = style.colours(list(named))
    width = 0.8 / len(named)
    ticks: dict[int, str] = {}
    for i, (name, skill) in enumerate(named.items()):
        lead = next((d for d in skill.dims if str(d) in _LEADS), None)
        if lead is None or skill.ndim < 2:
            message = (
                f"skill_boxes{f' of {name!r}' if name else ''}: dimensions {skill.dims}; wanted a lead and one more"
            )
            raise DimensionError(message)
        some = skill if leads is None else skill.isel({lead: list(leads)})
        values = some.transpose(lead, ...).values.reshape(some.sizes[lead], -1)
        at = np.arange(len(values)) + (i - (len(named) - 1) / 2) * width
        look = {"color": colour[name], "lw": 1.2}
        boxes = ax.boxplot(
            [v[np.isfinite(v)] for v in values], positions=at, widths=0.82 * width, whis=(5, 95), showfliers=False,
            showmeans=True, patch_artist=True, manage_ticks=False, whiskerprops=look, capprops=look,
            medianprops={"color": "0.1", "lw": 1.4}, boxprops={"facecolor": colour[name], "alpha": 0.55, "lw": 0},
            meanprops={"marker": "o", "ms": 3, "mfc": "white", "mec": "0.1", "mew": 0.7},
        )  # fmt: skip
        if name:
            boxes["boxes"][0].set_label(name)
        hours = _hours(some.isel({d: 0 for d in some.dims if d != lead}), name)
        ticks |= {k: f"{h:g}" for k, h in enumerate(hours)}
    ax.axhline(0, color="0.3", lw=0.9)
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set_xlabel("lead time (h)", fontsize=style.LABEL)
    ax.set_ylabel("skill score", fontsize=style.LABEL)
    style.finish(ax, title, legend=False)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=style.TICK, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    return ax


def reliability(
    reliability: xr.Dataset | Mapping[str, xr.Dataset], ax: Axes | None = None, *, title: str | None = None
) -> Axes:
    """Draw how often an event came, by the probability that was given to it.

    Parameters
    ----------
    reliability : Dataset or mapping
        What `xatmo.metrics.reliability` gave of one variable, along ``bin`` alone; or names of ensembles to that.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        Points whose size is the share of cases; on the dashed diagonal probabilities come true. The dotted line is how
        often the event came at all.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If there are no probabilities or frequencies.
    DimensionError
        If there are other dimensions than ``bin``.

    Examples
    --------
    >>> columns = {"forecast_probability": [0.0, 0.5], "observed_frequency": [0.1, 0.5], "weight": [0.6, 0.4]}
    >>> ax = reliability(xr.Dataset({n: ("bin", v) for n, v in columns.items()}))
    >>> ax.get_ylabel()
    'observed frequency'
    """
    named = {"": reliability} if isinstance(reliability, xr.Dataset) else dict(reliability)
    if not named:
        message = "reliability got nothing to draw; wanted what metrics.reliability gives, or names to that"
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    ax.plot([0, 1], [0, 1], color=style.TRUTH, lw=1.1, ls=(0, (5, 3)), zorder=1)
    colour = style.colours(list(named))
    for name, ds in named.items():
        for variable in ("forecast_probability", "observed_frequency", "weight"):
            if variable not in ds:
                message = (
                    f"no {variable!r}{f' of {name!r}' if name else ''}; there are {sorted(map(str, ds.data_vars))}"
                )
                raise VariableError(message)
            if ds[variable].dims != ("bin",):
                message = f"{variable!r} has dimensions {ds[variable].dims}; wanted bin alone. Average or choose first"
                raise DimensionError(message)
        p, o, w = (ds[v].values for v in ("forecast_probability", "observed_frequency", "weight"))
        ax.plot(p, o, color=colour[name], lw=1.4)
        ax.scatter(p, o, s=12 + 400 * w, color=colour[name], alpha=0.75, lw=0, label=name or None, zorder=3)
        base = float(np.nansum(o * w) / np.nansum(w[np.isfinite(o)]))
        ax.axhline(base, color=colour[name], lw=0.9, ls=":")
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    ax.set_aspect("equal")
    ax.set_xlabel("forecast probability", fontsize=style.LABEL)
    ax.set_ylabel("observed frequency", fontsize=style.LABEL)
    style.finish(ax, title, legend=False)
    if any(named):
        handles = [Line2D([], [], color=colour[n], marker="o", lw=1.4, label=n) for n in named]
        ax.legend(handles=handles, fontsize=style.TICK, frameon=False, loc="upper left")
    return ax


# ---------------------------------------------------------------------- pieces
def _panel(upper: Axes, lower: Axes, ds: xr.Dataset, middle: Any, width: Any) -> None:
    """Draw quantiles and, beneath, the marginal distribution."""
    levels = ds["quantile"].values if "quantile" in ds.coords else np.arange(ds.sizes["quantile"])
    values = ds["quantiles"].transpose("bin", "quantile").values
    few = ds["count"].values < 10 if "count" in ds else np.zeros(middle.size, dtype=bool)
    paint = style.COLOURS[0]
    order = np.argsort(levels)
    for k, column in enumerate(order):
        centre = len(order) % 2 and k == len(order) // 2
        text = "median" if centre and levels[column] == 0.5 else f"{100 * levels[column]:g} %"
        look: dict[str, Any] = {"color": paint, "lw": 2.2 if centre else 1.2, "ls": "-" if centre else (0, (4, 2))}
        upper.plot(middle, values[:, column], alpha=0.3, **look)
        upper.plot(middle, np.where(few, np.nan, values[:, column]), label=text, **look)
    if len(order) > 1:
        upper.fill_between(middle, values[:, order[0]], values[:, order[-1]], where=~few, color=paint, alpha=0.13, lw=0)
    some = np.isfinite(values).any(1)
    ends = [middle[some].min(), middle[some].max()] if some.any() else [middle[0], middle[-1]]
    upper.plot(ends, ends, color=style.TRUTH, lw=1.0, ls=(0, (5, 3)), label="equal")
    lower.bar(middle, 100 * ds["frequency"].values, width=0.92 * width, color="0.55")
    for ax in (upper, lower):
        style.finish(ax, None, legend=False)
    lower.yaxis.set_major_locator(MaxNLocator(2))


def _whole_day(line: xr.DataArray) -> tuple[Any, Any]:
    """Go on to hour 24."""
    hour, values = line["hour"].values.astype(float), line.values
    return np.append(hour, 24 + hour[0]), np.append(values, values[0])


def _hours(line: xr.DataArray, what: str) -> Any:
    """Lead of a score in hours."""
    if line.ndim != 1 or str(line.dims[0]) not in _LEADS:
        message = f"{what!r} has dimensions {line.dims}; wanted the lead alone, one of {_LEADS}"
        raise DimensionError(message)
    lead = line.dims[0]
    x: Any = line[lead].values if lead in line.coords else np.arange(line.sizes[lead])
    return x / np.timedelta64(1, "h") if x.dtype.kind == "m" else x


def _lead_text(ds: xr.Dataset, dim: Hashable, position: int) -> str:
    if dim not in ds.coords:
        return f"{dim} {position}"
    value = ds[dim].values
    if value.dtype.kind == "m":
        return f"lead {value / np.timedelta64(1, 'h'):g} h"
    return f"{str(dim).replace('_', ' ')} {value}"


def _is_bound(ds: xr.Dataset, name: str) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in ds for end in ("_lower", "_upper"))


def _shown(metric: str) -> str:
    return " ".join(_SHORT.get(word, word) for word in metric.split("_"))


def _legend(figure: Any, ax: Axes) -> None:
    """Put one legend under all panels, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        wide = 0.55 + 0.085 * max(len(text) for text in labels)
        columns = max(1, min(len(labels), int(figure.get_size_inches()[0] / wide)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=style.TICK, frameon=False)
