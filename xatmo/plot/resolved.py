"""Scores of sea-level maps: which wavelengths and periods are right, where, and who is best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from xatmo.errors import OptionError, VariableError
from xatmo.metrics import altimetry
from xatmo.plot import _scales, style
from xatmo.plot.maps import maps

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LEVELS = np.linspace(0.0, 1.0, 11)
_COLUMNS = {
    "mu": "$\\mu$", "sigma": "$\\sigma$", "lambda_x": "$\\lambda_x$", "lambda_t": "$\\lambda_t$",
}  # fmt: skip
_PUBLISHED = "published)"


def psd_score(
    score: xr.DataArray | Mapping[str, xr.DataArray],
    *,
    level: float = 0.5,
    paths: Any = "first",
    columns: int | None = None,
    max_wavelength: float | None = None,
    max_period: float | None = None,
    title: str | None = None,
) -> np.ndarray[Any, Any]:
    r"""Draw spectral scores by wavelength and period, with the contour that tells which of them are resolved.

    Parameters
    ----------
    score : DataArray (freq_time, freq_lon), or mapping
        From `xatmo.metrics.altimetry.psd_score`, or names to several.
    level : float
        Of the contour; above it waves are resolved.
    paths : {"first", "all", "longest"}
        Pieces of the contour that give :math:`\lambda_x` and :math:`\lambda_t`: see
        `xatmo.metrics.altimetry.resolved_scales`. The others are drawn thin.
    columns : int, optional
        Panels in a row; three at most unless given.
    max_wavelength, max_period : float, optional
        Edges of the drawing, in the units of the score and days; all that the score has unless given.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        One for each score, both axes logarithmic. Dashed lines mark the shortest wavelength and the shortest period of
        the contour, each by itself.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    DimensionError, MissingValueError
        As in `xatmo.metrics.altimetry.contours`.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=20)["ssh"]
    >>> smooth = truth.rolling(longitude=9, center=True, min_periods=1).mean()
    >>> axes = psd_score({"smooth": altimetry.psd_score(smooth, truth)})
    >>> axes[0].get_xlabel(), axes[0].get_ylabel()
    ('zonal wavelength (degree)', 'period (day)')
    """
    named = {"": score} if isinstance(score, xr.DataArray) else dict(score)
    if not named:
        message = "psd_score got nothing to draw; wanted what metrics.altimetry.psd_score gives, or names to that"
        raise OptionError(message)
    found = {}
    for name, one in named.items():
        one = one.compute()
        found[name] = (
            one,
            altimetry.contours(one, level=level),
            altimetry.resolved_scales(one, level=level, paths=paths),
        )
    n = len(found)
    columns = min(n, columns or 3)
    rows = -(-n // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.0 * columns + 1.1, 3.9 * rows + 0.3), layout="constrained", squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    axes: np.ndarray[Any, Any] = grid.ravel()[:n]
    for ax in grid.ravel()[n:]:
        ax.remove()
    filled: Any = None
    for k, (ax, (name, (one, pieces, scales))) in enumerate(zip(axes, found.items(), strict=True)):
        x, y = np.asarray(one["wavelength"].values), np.asarray(one["period"].values)
        plane = np.asarray(one.transpose("freq_time", "freq_lon").values, np.float64)
        filled = ax.contourf(x, y, np.clip(plane, 0, 1), _LEVELS, cmap="YlGnBu")
        for piece in pieces:
            ax.plot(piece.values[:, 0], piece.values[:, 1], color="k", lw=1.0)
        for path in _chosen(pieces, paths):
            ax.plot(path[:, 0], path[:, 1], color="k", lw=2.2)
        _logarithmic(ax, x, y, max_wavelength, max_period)
        _mark(ax, scales, one)
        ax.set_title(name, fontsize=style.TITLE)
        if k // columns == rows - 1 or k + columns >= n:
            ax.set_xlabel(_name(one["wavelength"]), fontsize=style.LABEL)
            ax.tick_params(labelbottom=True)
        if k % columns == 0:
            ax.set_ylabel(_name(one["period"]), fontsize=style.LABEL)
    bar = figure.colorbar(filled, ax=list(axes), shrink=0.9, aspect=25, pad=0.02)
    bar.set_label("1 - power of the error / power of the truth", fontsize=style.LABEL)
    bar.ax.axhline(level, color="k", lw=2.2)
    bar.ax.tick_params(labelsize=style.TICK)
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def track_score(
    spectra: xr.Dataset | Mapping[str, xr.Dataset], *, level: float = 0.5, rule: Any = "challenge",
    title: str | None = None,
) -> np.ndarray[Any, Any]:  # fmt: skip
    r"""Draw spectra along a track that was kept out, and the score with the wavelength at which it falls to a level.

    Parameters
    ----------
    spectra : Dataset or mapping
        From `xatmo.metrics.altimetry.track_psd`, or names to several, of the same track.
    level : float
        Of the score.
    rule : {"challenge", "first"}
        How the wavelength is found: see `xatmo.metrics.altimetry.resolved_wavelength`.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        Power spectral density of the track (black), of each map and, dashed, of its error; and the score, 1 - power of
        the error over that of the track.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a Dataset is not of `xatmo.metrics.altimetry.track_psd`.

    Examples
    --------
    >>> waves = {"wavenumber": [0.002, 0.004, 0.008], "wavelength": ("wavenumber", [500.0, 250.0, 125.0])}
    >>> power = {n: ("wavenumber", v) for n, v in (("psd_ref", [9.0, 3, 1]), ("psd_map", [9.0, 2, 0.1]),
    ...                                             ("psd_error", [1.0, 1, 1]), ("score", [0.9, 0.67, 0.0]))}
    >>> axes = track_score({"OI": xr.Dataset(power, waves)})
    >>> axes[1].get_ylabel()
    'score'
    """
    named = {"": spectra} if isinstance(spectra, xr.Dataset) else dict(spectra)
    if not named:
        message = "track_score got nothing to draw; wanted what metrics.altimetry.track_psd gives, or names to that"
        raise OptionError(message)
    for name, ds in named.items():
        lacking = [n for n in ("psd_ref", "psd_map", "psd_error", "score", "wavelength") if n not in ds.variables]
        if lacking:
            message = (
                f"track_score{f' of {name!r}' if name else ''}: no {lacking}; wanted metrics.altimetry.track_psd's"
            )
            raise VariableError(message)
    _, axes = plt.subplots(1, 2, figsize=(10.4, 4.2), layout="constrained")
    made: np.ndarray[Any, Any] = axes
    colour = style.colours(list(named))
    first = next(iter(named.values()))
    waves = np.asarray(first["wavelength"].values, np.float64)
    made[0].plot(waves, first["psd_ref"], color=style.TRUTH, lw=1.8, label="track")
    for name, ds in named.items():
        text = f"{name}, " if name else ""
        made[0].plot(ds["wavelength"], ds["psd_map"], color=colour[name], lw=1.6, label=f"{text}map")
        made[0].plot(
            ds["wavelength"], ds["psd_error"], color=colour[name], lw=1.3, ls=(0, (4, 2)), label=f"{text}error"
        )
        crossing = float(altimetry.resolved_wavelength(ds, level=level, rule=rule))
        told = f"{crossing:.0f} km" if np.isfinite(crossing) else "none resolved"
        made[1].plot(ds["wavelength"], ds["score"], color=colour[name], lw=1.6, label=f"{text}{told}")
        if np.isfinite(crossing):
            made[1].plot([crossing, crossing], [-10, level], color=colour[name], lw=1.1, ls=":")
            made[1].plot([crossing], [level], "o", color=colour[name], ms=5)
    made[1].axhline(level, color="0.3", lw=1.0, ls=(0, (5, 3)))
    made[0].set_yscale("log")
    units = first["psd_ref"].attrs.get("units")
    made[0].set_ylabel(style.with_units("power spectral density", units), fontsize=style.LABEL)
    made[1].set_ylabel("score", fontsize=style.LABEL)
    made[1].set_ylim(-0.1, 1.05)
    for ax in made:
        ax.set_xscale("log")
        ax.set_xlim(waves.max(), waves.min())
        _plain(ax.xaxis, waves.min(), waves.max())
        ax.set_xlabel("wavelength along the track (km)", fontsize=style.LABEL)
        style.finish(ax, None, loc="lower left" if ax is made[0] else "upper right")
    if title is not None:
        made[0].figure.suptitle(title, fontsize=style.TITLE + 1)
    return made


def score_map(
    found: xr.Dataset | Mapping[str, xr.Dataset],
    quantity: str = "rmse",
    *,
    columns: int | None = None,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = True,
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw scores over time, cell by cell, of several maps with one colour range.

    Parameters
    ----------
    found : Dataset or mapping
        From `xatmo.metrics.altimetry.score_map`, or names to several.
    quantity : str
        ``"rmse"``, ``"bias"``, ``"score"`` or ``"explained_variance"``.
    columns, cmap, vmin, vmax, robust, coastlines
        As in `maps`.
    title : str, optional
        Of the figure; by default what is drawn.

    Returns
    -------
    array of Axes

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a Dataset lacks the quantity.
    """
    named = {"": found} if isinstance(found, xr.Dataset) else dict(found)
    if not named:
        message = "score_map got nothing to draw; wanted what metrics.altimetry.score_map gives, or names to that"
        raise OptionError(message)
    for name, ds in named.items():
        if quantity not in ds:
            message = (
                f"score_map{f' of {name!r}' if name else ''}: no {quantity!r} among {sorted(map(str, ds.data_vars))}; "
                "wanted one of these, or what metrics.altimetry.score_map gives"
            )
            raise VariableError(message)
    fields = {name: ds[quantity] for name, ds in named.items()}
    text = style.name_of(next(iter(fields.values()))) if title is None else title
    chosen = cmap or {"rmse": "magma", "bias": style.DIVERGING}.get(quantity)
    if quantity == "rmse" and vmin is None:
        vmin = 0.0
    return maps(
        fields, columns=columns, cmap=chosen, vmin=vmin, vmax=vmax, robust=robust, title=text, coastlines=coastlines
    )


def leaderboard(table: pd.DataFrame, *, title: str | None = None) -> np.ndarray[Any, Any]:
    r"""Draw a table of scores as bars, one panel for each column, the published rows pale.

    Parameters
    ----------
    table : DataFrame
        From `xatmo.metrics.altimetry.leaderboard`.
    title : str, optional
        Of the figure; by default the challenge, area and period.

    Returns
    -------
    array of Axes
        :math:`\mu` (the larger, the better), :math:`\sigma`, :math:`\lambda_x` and :math:`\lambda_t` (the smaller, the
        better), with the best number of each in bold. Columns without a number are left out.

    Raises
    ------
    OptionError
        If there is no row.
    VariableError
        If the table has none of the columns.

    Examples
    --------
    >>> import xatmo
    >>> axes = leaderboard(altimetry.published("osse2020a", "4 nadirs"))
    >>> axes[0].get_title(), [t.get_text() for t in axes[0].get_yticklabels()][0]
    ('$\\mu$', 'baseline OI (4 nadirs, published)')
    """
    columns = [c for c in _COLUMNS if c in table.columns and np.isfinite(table[c].to_numpy(np.float64)).any()]
    if not len(table):
        message = "the table has no row; wanted some, as metrics.altimetry.leaderboard gives them"
        raise OptionError(message)
    if not columns:
        message = f"the table has columns {list(map(str, table.columns))}; wanted numbers in some of {list(_COLUMNS)}"
        raise VariableError(message)
    n = len(table)
    longest = max(len(str(name)) for name in table.index)
    width = 2.3 * len(columns) + 0.075 * longest + 0.4
    figure, grid = plt.subplots(
        1, len(columns), figsize=(width, 0.32 * n + 1.1), layout="constrained", sharey=True, squeeze=False
    )
    axes: np.ndarray[Any, Any] = grid.ravel()
    own = [not str(name).endswith(_PUBLISHED) for name in table.index]
    units = {"lambda_x": table.attrs.get("lambda_x units", ""), "lambda_t": table.attrs.get("lambda_t units", "day")}
    for ax, column in zip(axes, columns, strict=True):
        values = table[column].to_numpy(np.float64)
        known = np.isfinite(values)
        best = float(values[known].max() if column == "mu" else values[known].min())
        digits = 3 if column in ("mu", "sigma") else 2
        for i, value in enumerate(values):
            paint = style.COLOURS[0] if own[i] else "0.72"
            ax.barh(i, value if known[i] else 0.0, color=paint, height=0.72)
            text = f"{value:.{digits}f}" if known[i] else "none" if np.isinf(value) else ""
            bold = known[i] and round(value, digits) == round(best, digits)
            ax.annotate(
                text, (max(value, 0.0) if known[i] else 0.0, i), xytext=(3, 0), textcoords="offset points", va="center",
                fontsize=style.TICK, fontweight="bold" if bold else "normal",
            )  # fmt: skip
        top = float(np.max(values[known], initial=0.0)) or 1.0
        ax.set_xlim(min(0.0, float(values[known].min())), 1.42 * top)
        ax.set_ylim(n - 0.5, -0.5)
        name = _COLUMNS[column]
        ax.set_title(style.with_units(name, units.get(column)) if units.get(column) else name, fontsize=style.TITLE)
        ax.set_xlabel("more is better" if column == "mu" else "less is better", fontsize=style.TICK, color="0.35")
        ax.tick_params(labelsize=style.TICK, left=False)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(range(n), [str(name) for name in table.index])
    if title is None:
        parts = [str(table.attrs[k]) for k in ("challenge", "area", "period") if isinstance(table.attrs.get(k), str)]
        title = ", ".join(dict.fromkeys(parts)) or None
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


# ---------------------------------------------------------------------- pieces
def _chosen(pieces: list[xr.DataArray], paths: str) -> list[Any]:
    """Pieces that count, as `resolved_scales` takes them."""
    values = [piece.values for piece in pieces]
    if not values:
        return []
    return {"first": values[:1], "all": values, "longest": [max(values, key=len)]}[paths]


def _mark(ax: Axes, scales: xr.Dataset, score: xr.DataArray) -> None:
    """Draw the shortest wavelength and period, and tell their numbers."""
    lines = []
    for name, draw in (("lambda_x", ax.axvline), ("lambda_t", ax.axhline)):
        value = float(scales[name])
        if np.isfinite(value):
            draw(value, color="k", lw=1.1, ls=(0, (4, 3)))
        unit = scales[name].attrs.get("units", "")
        told = f"{value:.2f} {unit}" if np.isfinite(value) and value < 1e4 else f"{value:.3g} {unit}"
        lines.append(f"{_COLUMNS[name]} = {told}" if np.isfinite(value) else f"{_COLUMNS[name]}: none")
    if score.attrs.get("direction", "westward") != "westward":
        lines.append(str(score.attrs["direction"]))
    ax.annotate(
        "\n".join(lines), (0.97, 0.05), xycoords="axes fraction", ha="right", va="bottom", fontsize=style.TICK,
        bbox={"boxstyle": "round,pad=0.35", "fc": "white", "ec": "0.6", "alpha": 0.9},
    )  # fmt: skip


def _logarithmic(ax: Axes, x: Any, y: Any, most_x: float | None, most_y: float | None) -> None:
    """Long waves and periods at the left and the top, in plain numbers."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    right, top = (float(np.max(v) if m is None else min(m, np.max(v))) for v, m in ((x, most_x), (y, most_y)))
    ax.set_xlim(right, float(np.min(x)))
    ax.set_ylim(float(np.min(y)), top)
    _plain(ax.xaxis, float(np.min(x)), right)
    _plain(ax.yaxis, float(np.min(y)), top)
    ax.tick_params(labelsize=style.TICK)


def _plain(axis: Any, low: float, high: float) -> None:
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = [s * 10.0**p for p in powers for s in (1, 2, 5) if low * 0.999 <= s * 10.0**p <= high * 1.001]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(FixedLocator([]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _scales.plain_number(value)))
    axis.set_minor_formatter(NullFormatter())


def _name(axis: xr.DataArray) -> str:
    return style.with_units(style.name_of(axis), axis.attrs.get("units"))
