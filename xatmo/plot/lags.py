"""What a representation network knows of the lag between two states: confusion, accuracy, and distance by lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.plot import maps, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

LAG, PREDICTED = "lag", "predicted_lag"
_FEW = 13  # up to so many lags have their numbers in the cells
_SHOWN = {"top1": "likeliest lag is right", "top3": "right lag among three", "mae": "mean absolute error (steps)"}


def confusion(
    scores: xr.Dataset | xr.DataArray, ax: Axes | None = None, *, cmap: Any = None, title: str | None = None
) -> Axes:
    """Draw which lag a network tells for each true lag, as shares of the pairs of the true lag.

    Parameters
    ----------
    scores : Dataset or DataArray
        What ``AtmoDist.evaluate`` gave, or its ``confusion``: dimensions ``lag`` (true) and ``predicted_lag``. Counts
        are divided by the number of pairs of each true lag, so that rows sum to 1.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    cmap : str or Colormap, optional
    title : str, optional

    Returns
    -------
    matplotlib Axes
        True lags from top to bottom, predicted ones from left to right, in hours where their duration is known.

    Raises
    ------
    VariableError
        If a Dataset has no ``confusion``.
    DimensionError
        If the dimensions are others.

    Examples
    --------
    >>> table = xr.DataArray([[8, 2], [1, 3]], dims=("lag", "predicted_lag"))
    >>> ax = confusion(table)
    >>> ax.images[0].get_array().tolist()
    [[0.8, 0.2], [0.25, 0.75]]
    """
    table = _taken(scores, "confusion")
    if set(table.dims) != {LAG, PREDICTED}:
        message = f"confusion has dimensions {table.dims}; wanted {LAG!r} and {PREDICTED!r}"
        raise DimensionError(message)
    table = table.transpose(LAG, PREDICTED)
    counts = table.values.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / np.nansum(counts, axis=1, keepdims=True)
    n = share.shape[0]
    if ax is None:
        side = float(np.clip(0.42 * n + 1.4, 4.2, 8.0))
        _, ax = plt.subplots(figsize=(side + 0.9, side), layout="constrained")
    ax.set_facecolor(style.MISSING)
    image = ax.imshow(np.ma.masked_invalid(share), cmap=cmap or style.SEQUENTIAL, vmin=0, vmax=1, origin="upper")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, shrink=0.85, aspect=25)
    bar.set_label("share of the pairs of a true lag", fontsize=style.LABEL)
    bar.ax.tick_params(labelsize=style.TICK)
    if n <= _FEW:
        for (i, j), value in np.ndenumerate(share):
            if np.isfinite(value) and value >= 0.005:
                ax.text(j, i, f"{value:.2f}".lstrip("0") if value < 0.995 else "1", ha="center", va="center",
                        fontsize=style.TICK - 1, color="black" if value > 0.55 else "white")  # fmt: skip
    x, label = _abscissa(table)
    step = max(1, -(-n // _FEW))
    at = np.arange(step - 1 if step > 1 else 0, n, step)
    names = [f"{v:g}" for v in x[at]]
    ax.set_xticks(at, names)
    ax.set_yticks(at, names)
    ax.set_xlabel(f"predicted {label}", fontsize=style.LABEL)
    ax.set_ylabel(f"true {label}", fontsize=style.LABEL)
    ax.tick_params(labelsize=style.TICK)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax


def accuracy_by_lag(
    scores: xr.Dataset | Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    *,
    metrics: Sequence[str] = ("top1", "top3"),
    title: str | None = None,
) -> Axes:
    """Draw how often a network tells the lag, lag by lag.

    Parameters
    ----------
    scores : Dataset or mapping
        What ``AtmoDist.evaluate`` gave, or names of models to that.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    metrics : sequence of str
        Which of the scores by lag to draw; each has its own line style.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        Chance for the first metric, one over the number of lags, is dotted.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a score by lag is missing.

    Examples
    --------
    >>> scores = xr.Dataset({"top1_by_lag": ("lag", [0.9, 0.6])}, {"lag": [1, 2]})
    >>> accuracy_by_lag(scores, metrics=["top1"]).get_xlabel()
    'lag (steps)'
    """
    named = {"": scores} if isinstance(scores, xr.Dataset) else dict(scores)
    if not named or not metrics:
        message = "accuracy_by_lag got nothing to draw; wanted what AtmoDist.evaluate gives, or names to that"
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    several = len(named) > 1
    colour = style.colours(list(named) if several else list(metrics))
    styles = ("-", (0, (4, 2)), ":", (0, (4, 1, 1, 1)))
    most = 0
    for name, ds in named.items():
        for i, metric in enumerate(metrics):
            line = _taken(ds, f"{metric}_by_lag")
            x, label = _abscissa(line)
            most = max(most, line.sizes[LAG])
            shown = _SHOWN.get(metric, metric.replace("_", " "))
            ax.plot(x, line.values, color=colour[name if several else metric], ls=styles[i % 4], lw=1.6, marker="o",
                    ms=3.2, label=", ".join(t for t in (name, shown) if t))  # fmt: skip
    shares = all(m.startswith("top") for m in metrics)
    if shares:
        ax.axhline(1 / most, color="0.4", lw=1.0, ls=":", label=f"chance, 1/{most}")
    ax.set_ylim(0, 1.02 if shares else None)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel(label, fontsize=style.LABEL)
    ax.set_ylabel("share of pairs" if shares else "score", fontsize=style.LABEL)
    return style.finish(ax, title)


def accuracy_map(
    scores: xr.Dataset,
    *,
    variables: Sequence[str] = ("accuracy", "near", "entropy"),
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw where on the globe a network tells the lag.

    Parameters
    ----------
    scores : Dataset
        What ``AtmoDist.accuracy_map`` gave: shares ``accuracy`` and ``near``, which have one range from 0 to 1, and
        ``entropy`` in nats, which has its own.
    variables : sequence of str
        Which of them.
    title : str, optional
        By default the lag.
    coastlines : bool
        As in `map`.

    Returns
    -------
    array of Axes

    Raises
    ------
    VariableError
        If one of ``variables`` is missing.
    """
    shown = {"accuracy": "right", "near": "at most one step wrong", "entropy": "entropy (nats)"}
    panels = {shown.get(n, n): _taken(scores, n) for n in variables}
    shares = {shown[n]: "share" for n in ("accuracy", "near") if n in variables}
    panels |= {n: panels[n].assign_attrs(long_name="share of pairs", units="") for n in shares}
    groups = {n: shares.get(n, n) for n in panels}
    if title is None and LAG in scores.coords and scores[LAG].ndim == 0:
        title = f"pairs at a lag of {int(scores[LAG])} steps"
    return maps.maps(panels, groups=groups, title=title, coastlines=coastlines)


def distance_by_lag(
    distances: xr.Dataset | Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    *,
    others: Sequence[str] = (),
    bands: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw the learned distance against the lag, beside the mean squared difference of the fields.

    Parameters
    ----------
    distances : Dataset or mapping
        What ``AtmoDist.metric_by_lag`` gave: ``scaled_content`` (or ``content``) and ``l2``; or names of models to
        that, whose squared difference is then drawn once.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    others : sequence of str
        More of its variables (``"l1"``, ``"psnr"``, ``"ssim"``), scaled to meet ``l2`` at the largest lag.
    bands : bool
        Whether to shade one standard deviation over pairs on either side.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        A distance that goes on growing where the squared difference is level tells lags apart that the latter cannot.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a distance is missing.

    Examples
    --------
    >>> by = xr.Dataset({n: ("lag", [0.1, 0.4]) for n in ("scaled_content", "l2")}, {"lag": [1, 2]})
    >>> distance_by_lag(by).get_ylabel()
    'distance (variances of the fields)'
    """
    named = {"": distances} if isinstance(distances, xr.Dataset) else dict(distances)
    if not named:
        message = "distance_by_lag got nothing to draw; wanted what AtmoDist.metric_by_lag gives, or names to that"
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    first = next(iter(named.values()))
    squared = _taken(first, "l2")
    x, label = _abscissa(squared)
    _band(ax, x, squared, first.get("l2_std"), style.TRUTH, "mean squared difference", bands=bands)
    colour = style.colours([*named, *others])
    for name, ds in named.items():
        content = _taken(ds, "scaled_content" if "scaled_content" in ds else "content")
        spread = ds.get("content_std")
        if spread is not None and "scaled_content" in ds:
            spread = spread * float(ds.attrs.get("scale", (content / ds["content"]).mean() if "content" in ds else 1))
        text = f"learned distance{f', {name}' if name else ''}"
        _band(ax, _abscissa(content)[0], content, spread, colour[name], text, bands=bands)
    for other in others:
        line = _taken(first, other)
        ax.plot(x, line.values * float(squared[-1] / line[-1]), color=colour[other], lw=1.2, ls=(0, (4, 2)),
                label=f"{other.upper()}, scaled")  # fmt: skip
    ax.set_ylim(0, None)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel(label, fontsize=style.LABEL)
    ax.set_ylabel("distance (variances of the fields)", fontsize=style.LABEL)
    return style.finish(ax, title)


def embedding(
    features: xr.DataArray,
    ax: Axes | None = None,
    *,
    dim: str = "feature",
    colour: xr.DataArray | None = None,
    title: str | None = None,
) -> Axes:
    """Draw embeddings as points on their first two principal components.

    Parameters
    ----------
    features : DataArray
        What ``.atmo.embed`` gave, with a dimension of features; all others are points. Points with a missing value are
        left out.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    dim : str
        The dimension of features.
    colour : DataArray, optional
        A value for each point, on some of the other dimensions, such as ``features.time.dt.month``.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        With the share of the variance on each axis.

    Raises
    ------
    DimensionError
        If there is no dimension ``dim``, or too few features or points.
    """
    if dim not in features.dims or features.sizes[dim] < 2 or features.size // max(features.sizes[dim], 1) < 3:
        message = (
            f"embedding got dimensions {dict(features.sizes)}; wanted {dim!r} with two features at least, and three "
            "points or more. Name it: dim="
        )
        raise DimensionError(message)
    others = [d for d in features.dims if d != dim]
    values = features.transpose(*others, dim).values.reshape(-1, features.sizes[dim]).astype(float)
    whole = np.isfinite(values).all(axis=1)
    centred = values[whole] - values[whole].mean(axis=0)
    _, scale, directions = np.linalg.svd(centred, full_matrices=False)
    points, share = centred @ directions[:2].T, scale**2 / max(float((scale**2).sum()), 1e-300)
    if ax is None:
        _, ax = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    look: dict[str, Any] = {"s": float(np.clip(4e3 / len(points), 4, 30)), "linewidths": 0, "alpha": 0.8}
    if colour is None:
        ax.scatter(points[:, 0], points[:, 1], color=style.COLOURS[0], **look)
    else:
        shades = colour.broadcast_like(features.isel({dim: 0}, drop=True)).transpose(*others).values.ravel()[whole]
        drawn = ax.scatter(points[:, 0], points[:, 1], c=shades.astype(float), cmap=style.SEQUENTIAL, **look)
        bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02)
        bar.set_label(style.with_units(style.name_of(colour), colour.attrs.get("units")), fontsize=style.LABEL)
        bar.ax.tick_params(labelsize=style.TICK)
    ax.set_xlabel(f"first component ({share[0]:.0%} of the variance)", fontsize=style.LABEL)
    ax.set_ylabel(f"second component ({share[1]:.0%})", fontsize=style.LABEL)
    return style.finish(ax, title)


# ---------------------------------------------------------------------- pieces
def _taken(scores: xr.Dataset | xr.DataArray, name: str) -> xr.DataArray:
    if isinstance(scores, xr.DataArray):
        return scores
    if name not in scores:
        message = f"wanted a variable {name!r}; this Dataset has {sorted(map(str, scores.data_vars))}"
        raise VariableError(message)
    return scores[name]


def _abscissa(line: xr.DataArray) -> tuple[Floats, str]:
    """Lags in hours where their duration is known, else in steps."""
    if "lag_time" in line.coords and line["lag_time"].dims == (LAG,):
        hours = line["lag_time"].values / np.timedelta64(1, "h")
        return np.asarray(hours, dtype=float), "lag (h)"
    steps = line[LAG].values if LAG in line.coords else np.arange(1, line.sizes[LAG] + 1)
    return np.asarray(steps, dtype=float), "lag (steps)"


def _band(
    ax: Axes, x: Floats, line: xr.DataArray, spread: xr.DataArray | None, paint: str, label: str, *, bands: bool
) -> None:
    y = np.asarray(line.values, dtype=float)
    ax.plot(x, y, color=paint, lw=1.7, marker="o", ms=3.2, label=label)
    if bands and spread is not None:
        ax.fill_between(x, np.maximum(y - spread.values, 0), y + spread.values, color=paint, alpha=0.15, lw=0)
