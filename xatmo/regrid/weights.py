"""Weights between the axes of two rectilinear grids, by method: a small sparse matrix for latitude, one for longitude.

What such weights are is in `xatmo.regrid.separable`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.regrid.second_order import second_order
from xatmo.regrid.separable import (
    CELL_METHODS,
    METHODS,
    AxisWeights,
    Edges,
    Ints,
    Weights,
    clean,
    overlaps,
    scaled,
    turns,
)
from xatmo.typing import Floats

__all__ = ["CELL_METHODS", "METHODS", "AxisWeights", "Edges", "Weights", "conservative", "weights_between"]

# Longitudes stored in float32 are off by up to this many degrees. A point so near a node is taken to lie on it, so that
# rounding gives no neighbour a weight (and its NaN a way in).
_ON_NODE = 2e-5
_TIE = 1e-7
# Cells that share less than this part of the smaller one's extent do not touch (min and max).
_TOUCH = 1e-3
# A grid goes on over the pole if its last row is at most this many row steps away from it (as in Grid's own rule).
_POLE_GAP = 1.25


@lru_cache(maxsize=16)
def weights_between(
    source: Grid,
    target: Grid,
    method: str,
    *,
    source_edges: Edges | None = None,
    target_edges: Edges | None = None,
    limiter: bool = False,
) -> Weights:
    """Weights from ``source`` to ``target``.

    Parameters
    ----------
    source, target : Grid
        Global or regional, rows in any direction, columns from any longitude.
    method : {"conservative", "conservative2", "bilinear", "bicubic", "nearest", "most_common", "min", "max"}
    source_edges, target_edges : Edges, optional
        Edges of the cells, where they do not lie midway between the points (methods of cells only).
    limiter : bool
        Limited slopes (``"conservative2"`` only), see `xatmo.regrid.second_order`.

    Returns
    -------
    Weights
        Kept for the next call with the same grids.

    Raises
    ------
    OptionError
        If the method is unknown.

    Examples
    --------
    >>> weights = weights_between(Grid.regular(721, 1440), Grid.regular(181, 360), "conservative")
    >>> weights.target_shape, float(weights.coverage.min())
    ((181, 360), 1.0)
    """
    if method in CELL_METHODS:
        before, after = source_edges or Edges.of(source), target_edges or Edges.of(target)
        if method == "conservative2":
            return second_order(before, after, periodic=source.periodic, limiter=limiter)
        found = conservative(before.latitude, before.longitude, after.latitude, after.longitude)
        if method in ("min", "max"):
            found = _touching(found, before, after)
        return replace(found, method=method)
    if method == "nearest":
        return _nearest(source, target)
    if method not in METHODS:
        message = f"method {method!r} came; wanted one of 'spectral', {', '.join(map(repr, METHODS))}"
        raise OptionError(message)
    return _interpolating(source, target, cubic=method == "bicubic")


# ---------------------------------------------------------------------- conservative
def conservative(
    source_lat: Floats, source_lon: Floats, target_lat: Floats, target_lon: Floats, *, periodic: bool = True
) -> Weights:
    """First-order conservative weights between cells given by their edges.

    The area of a cell on the sphere is the product of its extent in sin(latitude) and in longitude, so the overlap of
    two cells is the product of two overlaps, and a target value is the mean over the part of its cell that the source
    covers.

    Parameters
    ----------
    source_lat, target_lat : array (nlat + 1,)
        Edges in degrees, increasing or decreasing.
    source_lon, target_lon : array (nlon + 1,)
        Edges in degrees, increasing.
    periodic : bool
        Whether longitudes that differ by 360 are the same.

    Examples
    --------
    >>> halves = conservative(np.array([0.0, 10, 20]), np.array([0.0, 1, 2]), np.array([0.0, 10]), np.array([0.0, 2]))
    >>> halves.lat.matrix.toarray(), halves.lon.matrix.toarray()
    (array([[1., 0.]]), array([[0.5, 0.5]]))
    """
    lat = overlaps(np.sin(np.radians(source_lat)), np.sin(np.radians(target_lat))).weights
    lon = overlaps(source_lon, target_lon, turns(source_lon, target_lon, periodic=periodic)).weights
    return Weights("conservative", lat, lon)


def _touching(weights: Weights, source: Edges, target: Edges) -> Weights:
    """Leave out cells that share less than a sliver in degrees, which rounding of the coordinates brings about."""
    shifts = turns(source.longitude, target.longitude)
    pairs = ((source.latitude, target.latitude, None), (source.longitude, target.longitude, shifts))
    axes = []
    for axis, (before, after, moved) in zip((weights.lat, weights.lon), pairs, strict=True):
        shared = overlaps(before, after, moved)
        least = np.minimum(np.abs(np.diff(before))[shared.source], np.abs(np.diff(after))[shared.target])
        touch = shared.matrix((shared.length > _TOUCH * least).astype(float))
        matrix = clean(axis.matrix * (touch > 0))
        axes.append(AxisWeights(scaled(matrix, np.asarray(matrix.sum(axis=1))), axis.coverage))
    return replace(weights, lat=axes[0], lon=axes[1])


# ---------------------------------------------------------------------- nearest
def _nearest(source: Grid, target: Grid) -> Weights:
    rows = _pick(source.latitude, target.latitude, source.latitude_bounds, everywhere=source.is_global, upper=True)
    nodes, index = _around(source)
    wanted = _into(target.longitude, source.longitude_bounds[0])
    columns = _pick(nodes, wanted, source.longitude_bounds, everywhere=source.periodic, upper=False)
    matrix = sparse.csr_array(columns.matrix @ _selection(index, source.nlon))
    return Weights("nearest", rows, AxisWeights(matrix, columns.coverage))


def _pick(nodes: Floats, wanted: Floats, bounds: Floats, *, everywhere: bool, upper: bool) -> AxisWeights:
    """One weight of 1 in each row. A tie goes to the larger coordinate if ``upper``, else to the smaller."""
    order = np.argsort(nodes)
    middle = (nodes[order][:-1] + nodes[order][1:]) / 2
    if upper:
        index = np.searchsorted(middle, wanted + _TIE, side="right")
    else:
        index = np.searchsorted(middle, wanted - _TIE, side="left")
    inside = np.ones(wanted.size, dtype=bool)
    if not everywhere:
        inside = (wanted >= bounds.min() - _ON_NODE) & (wanted <= bounds.max() + _ON_NODE)
    at = np.flatnonzero(inside)
    shape = (wanted.size, nodes.size)
    matrix = sparse.csr_array((np.ones(at.size), (at, order[index[at]])), shape=shape)
    return AxisWeights(matrix, inside.astype(np.float64))


# ---------------------------------------------------------------------- bilinear and bicubic
def _interpolating(source: Grid, target: Grid, *, cubic: bool) -> Weights:
    nodes, row, far = _over_poles(source)
    whole = _stencil(nodes, target.latitude, cubic=cubic)
    here, there = _selection(row, source.nlat, ~far), _selection(row, source.nlat, far)
    lat = AxisWeights(clean(whole.matrix @ here), whole.coverage)
    lon = _longitudes(source, target.longitude, cubic=cubic)
    beyond = clean(whole.matrix @ there)
    if beyond.nnz == 0:
        return Weights("bicubic" if cubic else "bilinear", lat, lon)
    across = AxisWeights(beyond, whole.coverage), _longitudes(source, target.longitude + 180, cubic=cubic)
    return Weights("bicubic" if cubic else "bilinear", lat, lon, across)


def _longitudes(source: Grid, wanted: Floats, *, cubic: bool) -> AxisWeights:
    nodes, index = _around(source)
    whole = _stencil(nodes, _into(wanted, source.longitude[0]), cubic=cubic)
    return AxisWeights(clean(whole.matrix @ _selection(index, source.nlon)), whole.coverage)


def _around(source: Grid) -> tuple[Floats, Ints]:
    """Columns continued by two on either side where they go around, and the column that each stands for."""
    lon, n = source.longitude, source.nlon
    if not source.periodic:
        return lon, np.arange(n)
    index = np.arange(-2, n + 2)
    return lon[index % n] + 360.0 * (index // n), index % n


def _over_poles(source: Grid) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Rows continued by two beyond each pole that the grid reaches, the row each stands for, whether it is beyond."""
    lat, n = source.latitude, source.nlat
    index = np.arange(n)
    nodes, row, far = [lat], [index], [np.zeros(n, dtype=bool)]
    for pole in (90.0, -90.0) if source.periodic else ():
        order = np.argsort(np.abs(pole - lat))
        nearest = lat[order[0]]
        if abs(pole - nearest) >= _POLE_GAP * abs(lat[order[1]] - nearest):
            continue
        mirrored = [k for k in order[:3] if abs(pole - lat[k]) > 1e-9][:2]
        nodes.append(2 * pole - lat[mirrored])
        row.append(np.asarray(mirrored, dtype=np.intp))
        far.append(np.ones(len(mirrored), dtype=bool))
    return np.concatenate(nodes), np.concatenate(row), np.concatenate(far)


def _into(wanted: Floats, start: float) -> Floats:
    """Longitudes moved by whole turns into ``[start, start + 360)``, up to rounding of the coordinates."""
    return np.asarray((wanted - start + _ON_NODE) % 360 + start - _ON_NODE)


def _selection(index: Ints, size: int, keep: NDArray[np.bool_] | None = None) -> sparse.csr_array:
    value = np.ones(index.size) if keep is None else keep.astype(np.float64)
    return sparse.csr_array((value, (np.arange(index.size), index)), shape=(index.size, size))


def _stencil(nodes: Floats, wanted: Floats, *, cubic: bool) -> AxisWeights:
    """Linear or cubic Hermite weights of ``wanted`` among ``nodes``.

    The slopes of the cubic are those of the parabola through a node and its two neighbours (one-sided at an end). With
    equal steps this is the Catmull-Rom spline, also known as cubic convolution with a = -1/2 (Keys 1981,
    doi:10.1109/TASSP.1981.1163711); with any steps it is exact for parabolas.
    """
    order = np.argsort(nodes)
    x = nodes[order]
    n = x.size
    inside = (wanted >= x[0] - _ON_NODE) & (wanted <= x[-1] + _ON_NODE)
    at = np.flatnonzero(inside)
    point = np.clip(wanted[at], x[0], x[-1])
    left = np.clip(np.searchsorted(x, point, side="right") - 1, 0, n - 2)
    step = x[left + 1] - x[left]
    t = (point - x[left]) / step
    t = np.where(np.abs(t) * step < _ON_NODE, 0, np.where(np.abs(1 - t) * step < _ON_NODE, 1, t))
    entries = [(left, 1 - t), (left + 1, t)]
    if cubic and n > 2:
        entries = [(left, (1 + 2 * t) * (1 - t) ** 2), (left + 1, t**2 * (3 - 2 * t))]
        for node, factor in ((left, t * (1 - t) ** 2 * step), (left + 1, -(t**2) * (1 - t) * step)):
            entries += [(k, factor * slope) for k, slope in _slope(x, node)]
    rows = np.concatenate([at] * len(entries))
    columns = np.concatenate([order[k] for k, _ in entries])
    values = np.concatenate([value for _, value in entries])
    matrix = sparse.csr_array((values, (rows, columns)), shape=(wanted.size, n))
    return AxisWeights(clean(matrix), inside.astype(np.float64))


def _slope(x: Floats, node: Ints) -> list[tuple[Ints, Floats]]:
    """Differentiate, at nodes, the parabola through three neighbours: (index, weight) of each of the three."""
    first = np.clip(node - 1, 0, x.size - 3)
    a, b, c = x[first], x[first + 1], x[first + 2]
    at = x[node]
    return [
        (first, (2 * at - b - c) / ((a - b) * (a - c))),
        (first + 1, (2 * at - a - c) / ((b - a) * (b - c))),
        (first + 2, (2 * at - a - b) / ((c - a) * (c - b))),
    ]
