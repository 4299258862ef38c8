"""Semivariograms: how much fields differ between points, by great-circle distance."""

from __future__ import annotations

import operator
from collections.abc import Hashable
from functools import partial
from typing import Any, cast

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, OptionError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels, _pairs
from xatmo.spectral._fields import Source
from xatmo.spectral.spectrum import squared_units
from xatmo.typing import Floats, T, XarrayObject

DISTANCE = "distance"
WHAT = "semivariogram"
_RANGES = 30


def semivariogram(obj: T, *, distances: Any = None, n_pairs: int = 200_000, seed: int = 0) -> T:
    r"""Estimate the semivariogram of fields: half the mean squared difference between points a distance d apart.

    .. math:: \gamma(d) = \tfrac12 \, \overline{(z(x) - z(y))^2}, \qquad |x - y| = d

    On the sphere the mean over all pairs is tied to the power spectrum :math:`S_n` of `energy_spectrum` by
    :math:`\gamma(d) = \sum_n S_n (1 - P_n(\cos(d / a)))` with the Legendre polynomials :math:`P_n`. Far apart, where
    points know nothing of each other, it is the variance.

    The mean is taken over random pairs, drawn once from the grid alone: every place counts by its area, every direction
    alike, every range of distances has the same number of pairs, and all times, levels and variables have the same
    ones, so that their semivariograms can be compared. A point belongs to the node of its cell, and a pair to the
    distance between its nodes, not to the distance asked for. Nodes have neighbours in few directions: over ranges
    narrower than a step of the grid, and for fields that differ more along one direction than another (a component of
    the wind) at the first few steps too, the mean over directions is not quite that of the sphere.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global or regional grid (latitude and longitude whole, one Dask chunk each), on rings, or along a
        track (latitude and longitude on one dimension, whole). Along a track, near and far points are paired equally
        often; where it crosses itself, points near in space may be far in time.
    distances : array-like or int, optional
        Edges of the ranges of distance in metres, increasing; or the largest number of ranges, 30 by default, in equal
        ratios but none narrower than the grid's step: from half a step to half the Earth's circumference, half the
        diagonal of a box, or half the size of a track.
    n_pairs : int
        Pairs in all ranges together.
    seed : int
        The same seed gives the same pairs.

    Returns
    -------
    Dataset or DataArray
        In the square of the field's units on ``distance`` (metres: the mean over the pairs of a range), with the
        coordinate ``n_pairs`` and the standard error of the mean over pairs: coordinate ``standard_error`` of a
        DataArray, variable ``NAME_standard_error`` of a Dataset. It tells how well the pairs stand for all pairs of
        this field. Pairs with a missing value are left out; a range without any other is NaN. Ranges of the default
        distances that no two nodes are apart do not appear.

    Raises
    ------
    OptionError
        If ``distances`` are no increasing edges, no two nodes lie within one of them, or there are fewer pairs than
        ranges.
    GridError, CoordinateError
        If latitude and longitude cannot be found or used.
    ChunkError
        If latitude or longitude is split into chunks.
    DimensionError
        If a field is complex.

    Notes
    -----
    Divide by the variance of a common truth to compare with semivariograms that are given as fractions of it. Distances
    that are only nominal (the nearest cell to a point 25 km off, on a grid of 25 km) give other curves at their short
    end.

    References
    ----------
    .. [1] N. Cressie, 1993: Statistics for spatial data, section 2.4.

    Examples
    --------
    Of the sine of latitude, P(1) = 1/3, the semivariogram is (1 - cos d) / 3:

    >>> grid = Grid.regular(91, 180)
    >>> sine = np.sin(np.radians(grid.latitude))[:, None] * np.ones(grid.nlon)
    >>> da = xr.DataArray(sine, grid.coords(), ("latitude", "longitude"))
    >>> found = semivariogram(da, distances=np.linspace(0.5e6, 20e6, 40))
    >>> exact = (1 - np.cos(found.distance / 6371229)) / 3
    >>> bool(abs(found - exact).max() < 0.05)
    True
    """
    where, dims = _places(obj)
    edges = _edges(where, distances)
    count = _count(n_pairs, len(edges) - 1)
    rule = (where, edges, count, seed)
    pairs = _pairs.draw(*rule)
    empty = pairs.counts == 0
    if empty.all() or (empty.any() and not _is_number(distances)):
        at = int(np.argmax(empty))
        message = (
            f"no two points of {_name(where)} are between {edges[at] / 1e3:g} and {edges[at + 1] / 1e3:g} km apart; "
            "give other edges in metres, or none"
        )
        raise OptionError(message)
    shown = pairs.select(~empty)
    coords = {
        DISTANCE: xr.Variable(DISTANCE, shown.distance, {"long_name": "great-circle distance", "units": "m"}),
        "n_pairs": xr.Variable(DISTANCE, shown.counts, {"long_name": "number of pairs", "units": "1"}),
    }
    call = cf.describe_call(WHAT, distances=_described(distances), n_pairs=n_pairs, seed=seed)
    alone = isinstance(obj, xr.DataArray)
    errors: dict[Hashable, xr.DataArray] = {}

    def one(da: xr.DataArray) -> xr.DataArray:
        field = da
        if isinstance(where, Grid):
            field = _fields.bare(da, Source.of(da), what=WHAT)
        _fields.require_real(field, what=WHAT)
        sizes: dict[Hashable, int] = {DISTANCE: shown.counts.size}
        block = partial(_block, rule=rule, core=len(dims))
        types = [_fields.float_type(field)] * 2
        out = _fields.apply(block, [field], dims, outputs=[sizes, sizes], dtypes=types, what=WHAT)
        gamma, error = (x.assign_coords(coords) for x in out)
        gamma.attrs, error.attrs = _attrs(da, "semivariogram"), _attrs(da, "standard error of the semivariogram")
        errors[da.name] = error
        if alone:
            gamma = gamma.assign_coords(standard_error=error)
        return changed_values(gamma, da, reshaped=True)

    result: Any = cf.add_history(map_fields(obj, one, dims=dims, what=WHAT), call)
    return cast(T, result if alone else _beside(result, errors))


# ---------------------------------------------------------------------- blocks
def _block(field: Any, *, rule: Any, core: int) -> tuple[Floats, Floats]:
    pairs = _pairs.draw(*rule)
    pairs = pairs.select(pairs.counts > 0)
    field = _kernels.as_float(field)
    flat = field.reshape(*field.shape[: field.ndim - core], -1)
    starts = np.concatenate([[0], np.cumsum(pairs.counts)[:-1]])
    gamma: Floats = np.empty((*flat.shape[:-1], pairs.counts.size))
    error = np.empty_like(gamma)
    for index in np.ndindex(*flat.shape[:-1]):
        row = flat[index].astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            half = (row[pairs.first] - row[pairs.second]) ** 2 / 2
            seen = np.isfinite(half)
            half = np.where(seen, half, 0)
            n = np.add.reduceat(seen, starts, dtype=np.int64)
            mean = np.add.reduceat(half, starts) / n
            spread = np.add.reduceat(half**2, starts) / n - mean**2
            gamma[index] = mean
            error[index] = np.sqrt(np.maximum(spread, 0) / (n - 1))
    return gamma.astype(field.dtype, copy=False), error.astype(field.dtype, copy=False)


# ---------------------------------------------------------------------- what came
def _places(obj: XarrayObject) -> tuple[Grid | _pairs.Points, tuple[Hashable, ...]]:
    """Find the grid, or the points of a track, and the dimensions they lie on."""
    try:
        source = Source.of(obj)
    except (GridError, CoordinateError):
        found = _track(obj)
        if found is None:
            raise
        return found
    return source.grid, tuple(source.axes.dims)


def _track(obj: XarrayObject) -> tuple[_pairs.Points, tuple[Hashable, ...]] | None:
    lat, lon = (obj[cf._one(obj, kind)] for kind in ("latitude", "longitude"))
    if lat.ndim != 1 or lat.dims != lon.dims:
        return None
    where = _pairs.Points(*(np.asarray(x.values, dtype=np.float64) for x in (lat, lon)))
    known = np.isfinite(where.latitude) & np.isfinite(where.longitude)
    if known.sum() < 3 or np.abs(where.latitude[known]).max() > 90:
        message = f"{WHAT} needs 3 points or more with latitudes between -90 and 90; {int(known.sum())} came"
        raise CoordinateError(message)
    return where, lat.dims


def _is_number(distances: Any) -> bool:
    return distances is None or (np.ndim(distances) == 0 and not isinstance(distances, str))


def _edges(where: Grid | _pairs.Points, distances: Any) -> tuple[float, ...]:
    if _is_number(distances):
        try:
            ranges = _RANGES if distances is None else operator.index(distances)
        except TypeError:
            ranges = 0
        if ranges < 1:
            message = f"distances={distances!r} came; wanted edges in metres, or a number of ranges"
            raise OptionError(message)
        return _pairs.default_edges(where, ranges)
    try:
        edges = np.asarray(distances, dtype=np.float64)
    except (TypeError, ValueError):
        edges = np.zeros(0)
    most = np.pi * EARTH_RADIUS
    good = edges.ndim == 1 and edges.size > 1 and np.isfinite(edges).all()
    if not (good and (np.diff(edges) > 0).all() and edges[0] >= 0 and edges[-2] < most):
        message = (
            f"distances={distances!r} came; wanted increasing edges in metres, 2 or more, from 0 to "
            f"{most:.4g} (half the Earth's circumference)"
        )
        raise OptionError(message)
    return tuple(float(x) for x in np.minimum(edges, most))


def _count(n_pairs: Any, ranges: int) -> int:
    try:
        count = operator.index(n_pairs)
    except TypeError:
        count = 0
    if count < 2 * ranges:
        message = f"n_pairs={n_pairs!r} came for {ranges} ranges of distance; wanted a whole number, 2 for each or more"
        raise OptionError(message)
    return count


def _name(where: Grid | _pairs.Points) -> str:
    return repr(where) if isinstance(where, Grid) else f"{where.latitude.size} points"


def _described(distances: Any) -> Any:
    return distances if _is_number(distances) else [float(x) for x in np.asarray(distances)]


# ---------------------------------------------------------------------- results
def _attrs(da: xr.DataArray, what: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {k: da.attrs[k] for k in ("cell_methods", "history") if k in da.attrs}
    name = da.attrs.get("long_name", da.attrs.get("standard_name", da.name))
    attrs["long_name"] = what + (f" of {name}" if name is not None else "")
    if "units" in da.attrs:
        attrs["units"] = squared_units(str(da.attrs["units"]))
    return attrs


def _beside(result: xr.Dataset, errors: dict[Hashable, xr.DataArray]) -> xr.Dataset:
    """Put the standard error of each variable next to it."""
    ordered: dict[Hashable, xr.DataArray] = {}
    for name, variable in result.data_vars.items():
        ordered[name] = variable
        if name in errors:
            beside = f"{name}_standard_error"
            ordered[name] = variable.assign_attrs(ancillary_variables=beside)
            ordered[beside] = errors[name]
    return xr.Dataset(ordered, attrs=result.attrs)
