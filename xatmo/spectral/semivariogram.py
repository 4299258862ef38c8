"""Semivariograms: how much fields differ between points, by great-circle distance."""

from __future__ import annotations

import math
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
from xatmo.spectral import _boxes, _fields, _kernels, _pairs
from xatmo.spectral._fields import Source
from xatmo.spectral.spectrum import squared_units
from xatmo.typing import Floats, T, XarrayObject

DISTANCE = "distance"
WHAT = "semivariogram"
_CHOSEN = 30


def semivariogram(obj: T, *, distances: Any = None, n_pairs: int = 200_000, seed: int = 0) -> T:
    r"""Estimate the semivariogram of fields: half the mean squared difference between points a distance d apart.

    .. math:: \gamma(d) = \tfrac12 \, \overline{(z(x) - z(y))^2}, \qquad |x - y| = d

    On the sphere the mean over all pairs is tied to the power spectrum :math:`S_n` of `energy_spectrum` by
    :math:`\gamma(d) = \sum_n S_n (1 - P_n(\cos(d / a)))` with the Legendre polynomials :math:`P_n`. Far apart, where
    points know nothing of each other, it is the variance.

    The mean is taken over random pairs, drawn once from the grid alone: every place counts by its area, every direction
    alike, every distance has the same number of pairs, and all times, levels and variables have the same ones, so that
    their semivariograms can be compared. Points are nodes of the grid. For each distance those pairs are taken that
    are so far apart to within half a step of the grid, and a straight line through them is read at the distance.
    Nodes have neighbours in few directions: below a step of the grid, and for fields that differ more along one
    direction than another (a component of the wind) at the first few steps too, the mean over directions is not quite
    that of the sphere.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global or regional grid (latitude and longitude whole, one Dask chunk each), on rings, or along a
        track (latitude and longitude on one dimension, whole). Along a track, near and far points are paired equally
        often; where it crosses itself, points near in space may be far in time.
    distances : array-like or int, optional
        Distances in metres. Or the largest number of them, 30 by default: means of ranges side by side, in equal ratios
        but none narrower than the grid's step, from half a step to half the Earth's circumference, half the diagonal
        of a box, or half the size of a track.
    n_pairs : int
        Pairs of all distances together.
    seed : int
        The same seed gives the same pairs.

    Returns
    -------
    Dataset or DataArray
        In the square of the field's units on ``distance`` (metres: as given, or the mean over the pairs of a range),
        with the coordinate ``n_pairs`` and the standard error of the mean over pairs: coordinate ``standard_error`` of
        a DataArray, variable ``NAME_standard_error`` of a Dataset. It tells how well the pairs stand for all pairs of
        this field. Pairs with a missing value are left out; a distance without any other is NaN. Default ranges
        that no two nodes are apart do not appear.

    Raises
    ------
    OptionError
        If ``distances`` are no distances on the Earth, no two nodes are so far apart, or there are fewer than two pairs
        for each.
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
    >>> found = semivariogram(da, distances=[1e6, 2e6, 5e6, 10e6])
    >>> exact = (1 - np.cos(found.distance / 6371229)) / 3
    >>> bool(abs(found - exact).max() < 0.01)
    True
    """
    where, dims = _places(obj)
    given = None if _is_number(distances) else _distances(distances)
    ranges = _pairs.default_ranges(where, _number(distances)) if given is None else _pairs.ranges_about(where, given)
    rule = (where, ranges, _count(n_pairs, len(ranges)), seed)
    pairs = _pairs.draw(*rule)
    empty = pairs.counts == 0
    if empty.all() or (empty.any() and given is not None):
        low, high = ranges[int(np.argmax(empty))]
        message = (
            f"no two points of {_name(where)} are between {low / 1e3:g} and {high / 1e3:g} km apart; "
            "give other distances in metres, or none"
        )
        raise OptionError(message)
    shown = pairs.select(~empty)
    metres = shown.distance if given is None else given
    coords = {
        DISTANCE: xr.Variable(DISTANCE, metres, {"long_name": "great-circle distance", "units": "m"}),
        "n_pairs": xr.Variable(DISTANCE, shown.counts, {"long_name": "number of pairs", "units": "1"}),
    }
    call = cf.describe_call(WHAT, distances=distances if given is None else given.tolist(), n_pairs=n_pairs, seed=seed)
    alone = isinstance(obj, xr.DataArray)
    errors: dict[Hashable, xr.DataArray] = {}

    def one(da: xr.DataArray) -> xr.DataArray:
        field = da
        if isinstance(where, Grid):
            field = _boxes.bare(da, Source.of(da), what=WHAT)
        _fields.require_real(field, what=WHAT)
        sizes: dict[Hashable, int] = {DISTANCE: shown.counts.size}
        block = partial(_block, rule=rule, metres=tuple(metres), core=len(dims))
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
def _block(field: Any, *, rule: Any, metres: tuple[float, ...], core: int) -> tuple[Floats, Floats]:
    pairs = _pairs.draw(*rule)
    found = pairs.counts > 0
    pairs, width = pairs.select(found), np.ptp(rule[1], axis=1)[found]
    field = _kernels.as_float(field)
    lead = field.ndim - core
    flat = field.reshape(*field.shape[:lead], math.prod(field.shape[lead:]))
    starts = np.concatenate([[0], np.cumsum(pairs.counts)[:-1]])
    # How much farther apart than the distance that they stand for, which keeps the sums exact.
    off = pairs.apart - np.repeat(metres, pairs.counts)
    gamma: Floats = np.empty((*flat.shape[:-1], pairs.counts.size))
    error = np.empty_like(gamma)
    for index in np.ndindex(*flat.shape[:-1]):
        row = flat[index].astype(np.float64, copy=False)
        gamma[index], error[index] = _at_distance(row, pairs, off, starts, width)
    return gamma.astype(field.dtype, copy=False), error.astype(field.dtype, copy=False)


def _at_distance(row: Floats, pairs: _pairs.Pairs, off: Floats, starts: Any, width: Floats) -> tuple[Floats, Floats]:
    """Half the squared differences at ``off = 0`` by a straight line through those of each distance, and its error."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        half = (row[pairs.first] - row[pairs.second]) ** 2 / 2
        seen = np.isfinite(half)
        half, x = np.where(seen, half, 0), np.where(seen, off, 0)
        known = np.where(seen, off, np.nan)
        n = np.add.reduceat(seen, starts, dtype=np.int64)
        mean, middle = (np.add.reduceat(z, starts) / n for z in (half, x))
        spread, wide, both = (np.add.reduceat(z, starts) / n for z in (half**2, x**2, x * half))
        spread, wide, both = spread - mean**2, wide - middle**2, both - mean * middle
        # Never beyond the pairs, and level where they are nearly all as far apart: what differs then is the direction.
        low, high = np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)
        reach = np.clip(0, low, high) - middle
        slope = np.where(wide > (0.1 * width) ** 2, both / wide, 0)
        rest = np.maximum(spread - slope * both, 0) * (1 + reach**2 / np.where(wide > 0, wide, np.inf))
        return np.maximum(mean + slope * reach, 0), np.sqrt(rest / (n - 1))


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
    return _boxes.in_order(source.grid), tuple(source.axes.dims)


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


def _number(distances: Any) -> int:
    """How many distances to choose."""
    try:
        count = _CHOSEN if distances is None else operator.index(distances)
    except TypeError:
        count = 0
    if count < 1:
        message = f"distances={distances!r} came; wanted a list of distances in metres, or how many to choose"
        raise OptionError(message)
    return count


def _distances(distances: Any) -> Floats:
    """Distances that came, checked."""
    try:
        metres = np.asarray(distances, dtype=np.float64)
    except (TypeError, ValueError):
        metres = np.zeros(0)
    most = np.pi * EARTH_RADIUS
    if not (metres.ndim == 1 and metres.size and (metres >= 0).all() and (metres <= 1.002 * most).all()):
        message = (
            f"distances={distances!r} came; wanted a list of distances in metres, from 0 to {most:.4g} (half the "
            "Earth's circumference)"
        )
        raise OptionError(message)
    return metres


def _count(n_pairs: Any, distances: int) -> int:
    try:
        count = operator.index(n_pairs)
    except TypeError:
        count = 0
    if count < 2 * distances:
        message = f"n_pairs={n_pairs!r} came for {distances} distances; wanted a whole number, 2 for each or more"
        raise OptionError(message)
    return count


def _name(where: Grid | _pairs.Points) -> str:
    return repr(where) if isinstance(where, Grid) else f"{where.latitude.size} points"


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
