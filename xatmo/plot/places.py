"""Distributions at places: boxes, densities, where the places are, and which model does better at how many."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.patches import Patch

from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.plot import _fields, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

_PLACES = ("city", "place", "station", "point")
_LEVELS = (9, 25, 50, 75, 91)
_VERDICTS = {"better": "#56B4E9", "equal": "#DDDDDD", "worse": "#E69F00"}
_MOST = 30


def cities(
    fields: Mapping[str, xr.DataArray] | xr.DataArray,
    ax: Axes | None = None,
    *,
    kind: str = "box",
    places: Sequence[Any] | None = None,
    columns: int | None = None,
    title: str | None = None,
) -> Axes | np.ndarray[Any, Any]:
    """Draw the values at places: boxes, densities, or a map of where the places are.

    Parameters
    ----------
    fields : DataArray or mapping
        What `xatmo.metrics.cities` selects of a field: a dimension of places (``city``, ``place``, ``station``,
        ``point``), all others make up the sample; or names of fields to that. What is called truth, target or reference
        is black.
    ax : Axes, optional
        Where to draw boxes or the map; a new figure unless given.
    kind : {"box", "density", "map"}
        ``"box"``: for each place the quartiles and the median, with whiskers from the 9th to the 91st percentile.
        ``"density"``: one panel for each place, with a histogram of the first field and Gaussian kernel densities
        (bandwidth by Scott's rule) of all. ``"map"``: the places by longitude and latitude, with names.
    places : sequence, optional
        Labels or positions of places to draw. By default all for the map, the first 12 for boxes and 6 for densities.
    columns : int, optional
        Panels in a row, of densities; three unless given.
    title : str, optional

    Returns
    -------
    Axes, or array of Axes
        An array for densities.

    Raises
    ------
    OptionError
        If there is nothing to draw, or ``kind`` is unknown.
    DimensionError
        If there is no dimension of places.
    VariableError
        If a place is not there, or has no latitude and longitude for the map.

    Examples
    --------
    >>> coords = {"city": ["Lima", "Oslo"], "latitude": ("city", [-12.0, 60.0]), "longitude": ("city", [-77.0, 11.0])}
    >>> t = xr.DataArray(np.random.default_rng(0).normal(size=(40, 2)), coords, ("time", "city"), "t", {"units": "K"})
    >>> ax = cities({"truth": t, "model": t + 1})
    >>> [label.get_text() for label in ax.get_xticklabels()], ax.get_ylabel()
    (['Lima', 'Oslo'], 't (K)')
    """
    named = {"": fields} if isinstance(fields, xr.DataArray) else {str(n): da for n, da in fields.items()}
    if not named or kind not in ("box", "density", "map"):
        message = f"cities got {len(named)} fields and kind={kind!r}; wanted some, and 'box', 'density' or 'map'"
        raise OptionError(message)
    first = next(iter(named.values()))
    dim = _dim_of_places(first)
    names = _names(first, dim)
    which = _chosen(names, places, {"box": 12, "density": 6, "map": len(names)}[kind])
    if kind == "map":
        return _map(first, dim, names, which, ax, title)
    samples = {n: _samples(da, dim, which) for n, da in named.items()}
    quantity = style.with_units(style.name_of(first), first.attrs.get("units"))
    labels = [names[i] for i in which]
    if kind == "density":
        return _densities(samples, labels, quantity, columns or 3, title)
    return _boxes(samples, labels, quantity, ax, title)


def city_table(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Draw at how many places a model does better, as well, or worse than another, as a coloured table.

    Parameters
    ----------
    table : DataFrame
        What `xatmo.metrics.city_table` gave: columns ``better``, ``equal`` and ``worse``, counts; one row for each
        comparison. Where the index names ``model`` and ``reference``, each pair is drawn once.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        Bars of the three shares with the counts inside: blue for better, grey for equal, orange for worse.

    Raises
    ------
    VariableError
        If one of the three columns is missing.
    OptionError
        If there is no row.

    Examples
    --------
    >>> import pandas as pd
    >>> ax = city_table(pd.DataFrame({"better": [90], "equal": [40], "worse": [20]}, index=["super-resolved"]))
    >>> [t.get_text() for t in ax.texts]
    ['90', '40', '20']
    """
    missing = [c for c in _VERDICTS if c not in table.columns]
    if missing:
        message = f"the table has columns {list(map(str, table.columns))}; wanted {list(_VERDICTS)}"
        raise VariableError(message)
    if not len(table):
        message = "the table has no row; wanted one for each comparison, as metrics.city_table gives it"
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 0.42 * len(_rows(table)) + 1.1), layout="constrained")
    labels = _rows(table)
    table = table.iloc[list(labels)]
    for i, (_, row) in enumerate(table.iterrows()):
        total = max(float(sum(row[c] for c in _VERDICTS)), 1e-300)
        left = 0.0
        for verdict, paint in _VERDICTS.items():
            count = float(row[verdict])
            ax.barh(i, count / total, left=left, color=paint, height=0.82, edgecolor="white", lw=1.0)
            if count > 0:
                ax.text(left + count / total / 2, i, f"{count:g}", ha="center", va="center", fontsize=style.LABEL)
            left += count / total
    ax.set_yticks(range(len(table)), list(labels.values()))
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xticks([])
    ax.tick_params(labelsize=style.TICK, length=0)
    ax.spines[:].set_visible(False)
    handles = [Patch(color=paint, label=verdict) for verdict, paint in _VERDICTS.items()]
    below: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0)}
    ax.legend(handles=handles, ncols=3, fontsize=style.TICK, frameon=False, **below)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax


# ---------------------------------------------------------------------- kinds
def _boxes(
    samples: Mapping[str, list[Floats]], labels: Sequence[str], quantity: str, ax: Axes | None, title: str | None
) -> Axes:
    if ax is None:
        width = float(np.clip(0.28 * len(labels) * len(samples) + 2.0, 5.0, 13.0))
        _, ax = plt.subplots(figsize=(width, 4.2), layout="constrained")
    colour = style.colours(list(samples))
    room = 0.8 / len(samples)
    for k, (name, values) in enumerate(samples.items()):
        boxes: list[dict[str, Any]] = []
        for sample in values:
            low, q1, middle, q3, high = np.percentile(sample, _LEVELS) if sample.size else [np.nan] * 5
            boxes.append({"whislo": low, "q1": q1, "med": middle, "q3": q3, "whishi": high, "fliers": []})
        paint = colour[name]
        line = {"color": paint, "lw": 1.2}
        ax.bxp(
            boxes, positions=np.arange(len(labels)) + (k - (len(samples) - 1) / 2) * room, widths=0.8 * room,
            showfliers=False, patch_artist=True, boxprops={"facecolor": paint, "alpha": 0.55, "edgecolor": paint},
            medianprops={"color": "white", "lw": 1.6}, whiskerprops=line, capprops=line, manage_ticks=False,
        )  # fmt: skip
    turned: dict[str, Any] = {} if len(labels) <= 5 else {"rotation": 40, "ha": "right"}
    ax.set_xticks(range(len(labels)), labels, **turned)
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.set_ylabel(quantity, fontsize=style.LABEL)
    handles = [Patch(color=colour[n], alpha=0.7, label=n) for n in samples if n]
    style.finish(ax, title, legend=False)
    ax.grid(False, axis="x")
    if handles:
        ax.legend(handles=handles, fontsize=style.TICK, frameon=False, ncols=len(handles), loc="lower right",
                  bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)  # fmt: skip
    return ax


def _densities(
    samples: Mapping[str, list[Floats]], labels: Sequence[str], quantity: str, columns: int, title: str | None
) -> np.ndarray[Any, Any]:
    columns = min(columns, len(labels))
    rows = -(-len(labels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.3 * columns + 0.4, 2.4 * rows + 0.5), layout="constrained",
                                squeeze=False)  # fmt: skip
    axes: np.ndarray[Any, Any] = grid.ravel()[: len(labels)]
    for ax in grid.ravel()[len(labels) :]:
        ax.remove()
    colour = style.colours(list(samples))
    for i, (ax, label) in enumerate(zip(axes, labels, strict=True)):
        every = np.concatenate([values[i] for values in samples.values()])
        if not every.size:
            ax.set_title(label, fontsize=style.TITLE)
            continue
        low, high = np.percentile(every, [0.2, 99.8])
        room = 0.08 * (high - low) or 0.5
        x = np.linspace(low - room, high + room, 160)
        base = next(iter(samples.values()))[i]
        ax.hist(base, bins=24, range=(x[0], x[-1]), density=True, color="0.85", zorder=0)
        for name, values in samples.items():
            ax.plot(x, _density(values[i], x), color=colour[name], lw=1.6, label=name or None)
        ax.set_title(label, fontsize=style.TITLE)
        style.finish(ax, None, legend=False)
        ax.set_yticks([])
        ax.set_ylim(0, None)
        if i // columns == (len(labels) - 1 - i % columns) // columns:
            ax.set_xlabel(quantity, fontsize=style.LABEL)
    if any(samples):
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=style.TICK,
                      frameon=False)  # fmt: skip
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    return axes


def _map(
    da: xr.DataArray, dim: Hashable, names: Sequence[str], which: Sequence[int], ax: Axes | None, title: str | None
) -> Axes:
    where = []
    for options in (("latitude", "lat"), ("longitude", "lon")):
        found = next((o for o in options if o in da.coords and da[o].dims == (dim,)), None)
        if found is None:
            message = f"places along {dim!r} have no {options[0]}; wanted a coordinate, as metrics.cities gives it"
            raise VariableError(message)
        where.append(np.asarray(da[found].values, dtype=float)[list(which)])
    lat, lon = where[0], (where[1] + 180) % 360 - 180
    if ax is None:
        _, ax = plt.subplots(figsize=(8.4, 4.4), layout="constrained")
    if np.ptp(lon) > 60 or np.ptp(lat) > 40:
        _fields.frame_box(ax, -180, 180, -90, 90, whole=True)
    else:
        around = max(1.0, 0.15 * float(max(np.ptp(lon), np.ptp(lat))))
        _fields.frame_box(ax, lon.min() - around, lon.max() + around, lat.min() - around, lat.max() + around)
    _fields.coasts(ax)
    ax.scatter(lon, lat, s=22, color=style.COLOURS[0], edgecolor="white", lw=0.6, zorder=3)
    if len(which) <= _MOST:
        for x, y, i in zip(lon, lat, which, strict=True):
            ax.annotate(names[i], (x, y), xytext=(3, 3), textcoords="offset points", fontsize=style.TICK - 2)
    style.finish(ax, f"{len(which)} places" if title is None else title, legend=False)
    return ax


# ---------------------------------------------------------------------- pieces
def _dim_of_places(da: xr.DataArray) -> Hashable:
    for dim in da.dims:
        if str(dim) in _PLACES or any(n in da.coords and da[n].dims == (dim,) for n in ("city", "place", "station")):
            return dim
    message = f"cities draws values at places, along one of {_PLACES}; {da.dims} came. Select them: metrics.cities(da)"
    raise DimensionError(message)


def _names(da: xr.DataArray, dim: Hashable) -> list[str]:
    for name in (dim, "city", "name", "place", "station"):
        if name in da.coords and da[name].dims == (dim,):
            return [str(v) for v in da[name].values]
    return [str(i) for i in range(da.sizes[dim])]


def _chosen(names: Sequence[str], places: Sequence[Any] | None, most: int) -> list[int]:
    if places is None:
        return list(range(min(most, len(names))))
    found = []
    for place in places:
        if isinstance(place, int | np.integer) and -len(names) <= place < len(names):
            found.append(int(place) % len(names))
        elif str(place) in names:
            found.append(names.index(str(place)))
        else:
            message = f"no place {place!r}; there are {len(names)}: {', '.join(names[:12])}{' ...' * (len(names) > 12)}"
            raise VariableError(message)
    return found


def _samples(da: xr.DataArray, dim: Hashable, which: Sequence[int]) -> list[Floats]:
    table = da.isel({dim: list(which)})
    others = [d for d in table.dims if d != dim]
    values = table.transpose(dim, *others).values.reshape(len(which), -1).astype(float)
    return [row[np.isfinite(row)] for row in values]


def _density(sample: Floats, x: Floats) -> Floats:
    """Gaussian kernel density, bandwidth by Scott's rule; nothing where all values are the same.

    Values are counted in bins much narrower than the kernel first, so that long samples cost no more than short ones.
    """
    spread = float(np.std(sample, ddof=1)) if sample.size > 1 else 0.0
    if not spread > 0:
        return np.full(x.shape, np.nan)
    width = spread * sample.size ** (-1 / 5)
    count, edges = np.histogram(sample, bins=int(np.clip(20 * np.ptp(sample) / width, 50, 4000)))
    away = (x[:, None] - (edges[1:] + edges[:-1]) / 2) / width
    return np.asarray(np.exp(-0.5 * away**2) @ count / (sample.size * width * np.sqrt(2 * np.pi)))


def _rows(table: pd.DataFrame) -> dict[int, str]:
    """Rows to draw and what to call them; the mirror image of a comparison says nothing new."""
    names: list[Any] = list(table.index.names)
    if "model" not in names or "reference" not in names:
        return {i: ", ".join(map(str, x if isinstance(x, tuple) else (x,))) for i, x in enumerate(table.index)}
    rest = [n for n in names if n not in ("model", "reference") and table.index.get_level_values(n).nunique() > 1]
    seen: set[Any] = set()
    found: dict[int, str] = {}
    for i, index in enumerate(table.index):
        at = dict(zip(names, index, strict=True))
        pair = at.pop("model"), at.pop("reference")
        key = (frozenset(pair), *at.values())
        if key not in seen:
            seen.add(key)
            found[i] = ": ".join([*(str(at[n]) for n in rest), " against ".join(map(str, pair))])
    return found
