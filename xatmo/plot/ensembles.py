"""Members: where the truth ranks among them, how their spread compares with the error, and what they look like."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError
from xatmo.plot import _leads, maps, style
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANK = "rank"
_MEMBERS = ("member", "members", "realization", "ensemble", "number", "ens")
_SPREAD, _ERROR = ("spread",), ("error", "rmse", "skill")


def rank_histogram(
    ranks: XarrayObject | Mapping[str, XarrayObject], ax: Axes | None = None, *, title: str | None = None
) -> Axes:
    """Draw how often the truth has each rank among the members: bars of one ensemble, outlines of several.

    Parameters
    ----------
    ranks : Dataset, DataArray or mapping
        What `xatmo.metrics.rank_histogram` gave: ``frequency`` or ``count`` along ``rank``, one more than there are
        members; or names to that. Other dimensions are added up.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        Frequencies over that of even ranks, so that 1 is what a reliable ensemble has at every rank, whatever its size.
        A valley in the middle tells of too little spread, a hill of too much, a slope of a bias.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    DimensionError
        If there is no dimension ``rank``.

    Examples
    --------
    >>> ranks = xr.DataArray([30, 20, 20, 30], {"rank": range(4)}, dims="rank")
    >>> ax = rank_histogram(ranks)
    >>> [float(bar.get_height()) for bar in ax.patches]
    [1.2, 0.8, 0.8, 1.2]
    """
    lines = _ranks(ranks)
    if not lines:
        message = "rank_histogram got nothing to draw; wanted what metrics.rank_histogram gives, or names to that"
        raise OptionError(message)
    for name, line in lines.items():
        if RANK not in line.dims:
            message = f"ranks{f' of {name!r}' if name else ''} have dimensions {line.dims}; wanted {RANK!r} among them"
            raise DimensionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(6.0, 3.8), layout="constrained")
    colour = style.colours(list(lines))
    sizes = {line.sizes[RANK] for line in lines.values()}
    for name, line in lines.items():
        counts = line.sum([d for d in line.dims if d != RANK]).values.astype(float)
        n = counts.size
        level = counts * n / max(counts.sum(), 1e-300)
        edges = np.arange(n + 1) - 0.5 if len(sizes) == 1 else np.linspace(0, 1, n + 1)
        if len(lines) == 1:
            ax.bar((edges[1:] + edges[:-1]) / 2, level, width=0.9 * np.diff(edges), color=style.COLOURS[0], label=name)
        else:
            ax.stairs(level, edges, color=colour[name], lw=1.8, label=name, baseline=None)
    ax.axhline(1, color=style.TRUTH, lw=1.1, ls=(0, (5, 3)))
    ax.margins(x=0.01)
    ax.set_ylim(0, max(1.6, 1.05 * ax.get_ylim()[1]))
    members = next(iter(sizes)) - 1
    along = f"rank of the truth among {members} members" if len(sizes) == 1 else "rank of the truth / number of ranks"
    ax.set_xlabel(along, fontsize=style.LABEL)
    ax.set_ylabel("frequency / even frequency", fontsize=style.LABEL)
    return style.finish(ax, title, legend=len(lines) > 1 or any(lines))


def spread_skill(
    scores: xr.Dataset | Mapping[str, xr.Dataset], ax: Axes | None = None, *, title: str | None = None
) -> Axes:
    """Draw the spread of members beside the error of their mean.

    Parameters
    ----------
    scores : Dataset or mapping
        What `xatmo.metrics.spread_skill` gave: ``spread`` and the root-mean-square error of the mean (``rmse``,
        ``error`` or ``skill``), as numbers or along one dimension; or names to that. Along time or lead time both are
        lines, spreads dashed. Otherwise (bins of the spread, or single numbers) error stands over spread, and points on
        the diagonal are reliable; above it the spread is too small.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    OptionError
        If there is nothing to draw, or there is no spread or no error.
    DimensionError
        If they have two dimensions and more.

    Examples
    --------
    >>> two = xr.Dataset({"spread": ("bin", [0.5, 1.0]), "rmse": ("bin", [0.7, 1.1])})
    >>> spread_skill(two).get_xlabel()
    'spread of the members'
    """
    named = {"": scores} if isinstance(scores, xr.Dataset) else dict(scores)
    if not named:
        message = "spread_skill got nothing to draw; wanted what metrics.spread_skill gives, or names to that"
        raise OptionError(message)
    pairs = {name: _spread_and_error(ds, name) for name, ds in named.items()}
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    colour = style.colours(list(pairs))
    first = next(iter(pairs.values()))[0]
    units = first.attrs.get("units")
    along = first.dims[0] if first.ndim else None
    in_time = along is not None and along in first.coords and first[along].dtype.kind in "mM"
    if in_time:
        for name, (spread, error) in pairs.items():
            x = first[along].values
            x = x / np.timedelta64(1, "h") if x.dtype.kind == "m" else x
            text = f"{name}, " if name else ""
            ax.plot(x, error.values, color=colour[name], lw=1.6, label=f"{text}error of the mean")
            ax.plot(x, spread.values, color=colour[name], lw=1.6, ls=(0, (4, 2)), label=f"{text}spread")
        ax.set_ylim(0, None)
        hours = first[along].dtype.kind == "m"
        ax.set_xlabel(style.with_units(str(along).replace("_", " "), "h" if hours else None), fontsize=style.LABEL)
        ax.set_ylabel(style.with_units("error, spread", units), fontsize=style.LABEL)
        if not hours:
            style.dates(ax)
        return style.finish(ax, title, legend=True)
    top = 0.0
    for name, (spread, error) in pairs.items():
        x, y = np.atleast_1d(spread.values).astype(float), np.atleast_1d(error.values).astype(float)
        ax.plot(x, y, "o-" if x.size > 1 else "o", color=colour[name], lw=1.4, ms=5, label=name or None)
        top = max(top, *x[np.isfinite(x)], *y[np.isfinite(y)], 0.0)
    top = 1.08 * top or 1.0
    ax.plot([0, top], [0, top], color=style.TRUTH, lw=1.1, ls=(0, (5, 3)), zorder=1)
    ax.annotate("reliable", (0.9 * top, 0.9 * top), xytext=(6, -4), textcoords="offset points", rotation=45,
                rotation_mode="anchor", va="top", ha="right", fontsize=style.TICK, color="0.3")  # fmt: skip
    ax.set(xlim=(0, top), ylim=(0, top))
    ax.set_aspect("equal")
    ax.set_xlabel(style.with_units("spread of the members", units), fontsize=style.LABEL)
    ax.set_ylabel(style.with_units("error of their mean (RMS)", units).replace(") (", ", "), fontsize=style.LABEL)
    return style.finish(ax, title, legend=any(named))


def members(
    prediction: xr.DataArray,
    truth: xr.DataArray | None = None,
    ax: Axes | None = None,
    *,
    n: int = 3,
    title: str | None = None,
    coastlines: bool = True,
) -> Axes | np.ndarray[Any, Any]:
    """Draw members: lines along one dimension, or maps beside their mean and spread.

    Parameters
    ----------
    prediction : DataArray
        With ``member`` (or ``realization``, ``number``), and either one more dimension or latitude and longitude.
    truth : DataArray, optional
        The same without ``member``; beside lines of a forecast also along time.
    ax : Axes, optional
        Where to draw lines; a new figure unless given.
    n : int
        Members to draw as maps.
    title : str, optional
    coastlines : bool
        As in `map`.

    Returns
    -------
    Axes, or array of Axes
        Lines: every member thin, their mean thick, the central 80 % shaded, the truth black. Maps: truth, mean, spread
        (standard deviation, with a range of its own), and the first ``n`` members.

    Raises
    ------
    DimensionError
        If there is no dimension ``member``, or there are too many others.

    Examples
    --------
    >>> da = xr.DataArray(np.arange(12.0).reshape(3, 4), dims=("member", "time"), name="t2m", attrs={"units": "K"})
    >>> members(da, da.mean("member")).get_ylabel()
    't2m (K)'
    """
    member = member_dim(prediction)
    if member is None:
        message = f"members draws the dimension 'member'; {prediction.dims} came. Ask a model for them with members="
        raise DimensionError(message)
    field = prediction.squeeze([d for d in prediction.dims if d != member and prediction.sizes[d] == 1])
    others = [d for d in field.dims if d != member]
    if len(others) == 1 and not _is_field(field):
        if truth is not None:
            truth = _leads.laid({"members": field, "truth": truth}, others[0])["truth"]
        return _spaghetti(field, truth, member, others[0], ax, title)
    mean, spread = field.mean([member], keep_attrs=True), field.std([member], ddof=1, keep_attrs=True)
    spread = spread.assign_attrs(long_name="spread", standard_name="")
    panels = ({} if truth is None else {"truth": truth.squeeze()}) | {"mean of the members": mean}
    panels |= {f"member {field[member].values[i] if member in field.coords else i}": field.isel({member: i})
               for i in range(min(n, field.sizes[member]))}  # fmt: skip
    return maps.maps(
        panels | {"spread of the members": spread},
        groups={"spread of the members": "spread"},
        title=title,
        coastlines=coastlines,
    )


def _spaghetti(
    field: xr.DataArray,
    truth: xr.DataArray | None,
    member: Hashable,
    along: Hashable,
    ax: Axes | None,
    title: str | None,
) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
    values = np.asarray(field.transpose(along, member).values, dtype=float)
    x: Any = field[along].values if along in field.coords else np.arange(field.sizes[along])
    hours = x.dtype.kind == "m"
    x = x / np.timedelta64(1, "h") if hours else x
    low, high = np.nanquantile(values, [0.1, 0.9], axis=1)
    paint = style.COLOURS[0]
    ax.fill_between(x, low, high, color=paint, alpha=0.18, lw=0, label="central 80 %")
    ax.plot(x, values, color=paint, lw=0.6, alpha=max(0.2, min(0.7, 8 / values.shape[1])))
    ax.plot(x, np.nanmean(values, axis=1), color=paint, lw=2.2, label=f"mean of {values.shape[1]} members")
    if truth is not None:
        ax.plot(x, truth.squeeze().values, color=style.TRUTH, lw=1.5, label="truth")
    if x.dtype.kind == "M":
        style.dates(ax)
    units = "h" if hours else field[along].attrs.get("units") if along in field.coords else None
    ax.set_xlabel(style.with_units(str(along).replace("_", " "), units), fontsize=style.LABEL)
    ax.set_ylabel(style.with_units(style.name_of(field), field.attrs.get("units")), fontsize=style.LABEL)
    return style.finish(ax, title, legend=True)


# ---------------------------------------------------------------------- pieces
def member_dim(da: xr.DataArray) -> Hashable | None:
    """Dimension of the members: by its standard name ``realization``, or by a usual name; None if there is none."""
    told = [d for d in da.dims if d in da.coords and da[d].attrs.get("standard_name") == "realization"]
    return next(iter([*told, *(d for name in _MEMBERS for d in da.dims if str(d).lower() == name)]), None)


def _is_field(da: xr.DataArray) -> bool:
    try:
        cf.horizontal(da, rings=True)
    except (CoordinateError, GridError):
        return False
    return True


def _ranks(obj: XarrayObject | Mapping[str, XarrayObject]) -> dict[str, xr.DataArray]:
    """Frequencies by name; of a Dataset with several variables all of them."""
    if isinstance(obj, xr.DataArray):
        return {"": obj}
    if isinstance(obj, xr.Dataset):
        along = [str(n) for n, v in obj.data_vars.items() if RANK in v.dims]
        found = [n for n in along if n.endswith("frequency")] or along
        return {n.removesuffix("frequency").rstrip("_") if len(found) > 1 else "": obj[n] for n in found}
    made: dict[str, xr.DataArray] = {}
    for name, one in obj.items():
        inside = _ranks(one)
        made.update({name if len(inside) == 1 else f"{name}, {n}": v for n, v in inside.items()})
    return made


def _spread_and_error(ds: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    found = []
    for words in (_SPREAD, _ERROR):
        names = [n for n in ds.data_vars if str(n) in words] or [
            n for n in ds.data_vars if any(w in str(n) for w in words) and "ratio" not in str(n)
            and str(n) not in _SPREAD
        ]  # fmt: skip
        if not names:
            message = (
                f"spread_skill{f' of {name!r}' if name else ''} got {sorted(map(str, ds.data_vars))}; wanted a spread "
                "and an error of the mean, as metrics.spread_skill gives them"
            )
            raise OptionError(message)
        found.append(ds[names[0]])
    if found[0].ndim > 1:
        message = f"spread and error have dimensions {found[0].dims}; wanted one at most. Average or choose first"
        raise DimensionError(message)
    return found[0], found[1]
