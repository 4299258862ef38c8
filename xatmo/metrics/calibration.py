"""Whether an ensemble's probabilities come true: rank histograms and reliability."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import Sums, Weights, add_up
from xatmo.metrics._compare import Compared, compare
from xatmo.metrics._members import member_dim, rank_of
from xatmo.metrics._pairs import Dims
from xatmo.metrics.probabilistic import event_probability, exceeds, over_members, thresholds_of
from xatmo.typing import Floats, XarrayObject


def _members(pair: Compared) -> Hashable:
    member = member_dim(pair.prediction, what=pair.what)
    if member in pair.target.dims:
        message = f"{pair.what}: the target has {member!r} too; wanted members in the prediction alone"
        raise DimensionError(message)
    return member


def _by_category(category: xr.DataArray, number: int, dims: tuple[Hashable, ...], by: xr.DataArray) -> Sums:
    """Weighted sums of points that fall into each of some categories, named by number."""

    def inside(values: Floats) -> Iterator[Floats]:
        for k in range(number):
            yield (values == k).astype(np.float64)

    return add_up([category], [str(k) for k in range(number)], inside, dims, by)


# ---------------------------------------------------------------------- ranks
def rank_histogram(
    prediction: XarrayObject, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area", seed: int = 0
) -> xr.Dataset:
    r"""How often the truth takes each rank among the members of an ensemble.

    Flat where the truth is as one more member; U-shaped where the ensemble is too narrow, humped where it is too wide,
    sloped where it is biased. Where members equal the truth (no rain), its rank is drawn at random among them, by a
    chance that depends on the seed and the point's labels alone: the same for any chunks and order of rows.

    Parameters
    ----------
    prediction : Dataset or DataArray
        With members: see `crps`.
    target : Dataset or DataArray
        On the same labels, without members.
    dim : str or sequence of str, optional
        Dimensions to count over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`.
    seed : int

    Returns
    -------
    Dataset
        By ``rank``, 0 (below all members) to M: ``count``, and ``frequency``, the weighted part of all, 1 in sum.
        ``chi_square``, :math:`\sum_k (n_k - n / (M + 1))^2 / (n / (M + 1))` of the counts, and ``p_value``, the
        probability of one at least as large where all ranks are equally likely and points independent. Neighbours and
        successive hours are not: thin them first, or take it as a lower bound. With ``VARIABLE_`` before each name
        where several variables are compared. Lazy where the input is.

    Raises
    ------
    DimensionError
        If there are no members, or the target has them too.
    CoordinateError, UnitsError, VariableError, OptionError
        As in `rmse`.

    References
    ----------
    .. [1] T. Hamill, 2001: Interpretation of rank histograms for verifying ensemble forecasts. Mon. Wea. Rev. 129,
       550-560.

    Examples
    --------
    >>> p = xr.DataArray([[0.0, 2.0], [4.0, 5.0], [1.0, 3.0]], dims=("time", "member"))
    >>> found = rank_histogram(p, xr.DataArray([1.0, 6.0, 2.0], dims="time"))
    >>> found["count"].values, found["chi_square"].item()
    (array([0., 2., 1.]), 2.0)
    """

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _rank_histogram(pair, dim, weights, seed)

    call = cf.describe_call("rank_histogram", dim=dim, seed=seed)
    return compare(prediction, target, one, what="rank_histogram", call=call)


def _rank_histogram(pair: Compared, dim: Dims, weights: Weights, seed: int) -> dict[str, xr.DataArray]:
    member = _members(pair)
    dims = tuple(d for d in pair.dims(dim) if d != member)
    positions = [_position(pair, d) for d in pair.prediction.dims if d != member]
    ranks = over_members(partial(rank_of, seed=seed), pair.prediction, pair.target, *positions, member=member)
    number = pair.prediction.sizes[member] + 1
    plain = _by_category(ranks, number, dims, xr.DataArray(1.0))
    means = _by_category(ranks, number, dims, pair.weights(dims, weights)).means()
    axis = xr.Variable("rank", np.arange(number), {"long_name": "members below the truth", "units": "1"})
    count, frequency = (
        xr.concat([found[str(k)] for k in range(number)], dim="rank").assign_coords(rank=axis).transpose(..., "rank")
        for found in (plain.total, means)
    )
    total = count.sum("rank")
    expected = (total / number).where(total > 0)
    chi_square = ((count - expected) ** 2 / expected).sum("rank", skipna=False)
    p_value = xr.apply_ufunc(
        partial(_survival, degrees=number - 1), chi_square, dask="parallelized", output_dtypes=[np.float64]
    )
    long = "rank of the target among the members"
    return {
        "count": pair.label(count, f"count of the {long}", "1", dtype=np.float64),
        "frequency": pair.label(frequency, f"frequency of the {long}", "1", dtype=np.float64),
        "chi_square": pair.label(chi_square, "chi-square statistic of uniform ranks", "1", dtype=np.float64),
        "p_value": pair.label(p_value, "probability of as large a chi-square by chance", "1", dtype=np.float64),
    }


def _survival(statistic: Any, *, degrees: int) -> Floats:
    from scipy.stats import chi2

    return np.asarray(chi2.sf(statistic, degrees), dtype=np.float64)


def _position(pair: Compared, dim: Hashable) -> xr.DataArray:
    """Where each label comes along a dimension once labels are sorted: not a matter of the order they came in."""
    size = pair.prediction.sizes[dim]
    labels: Any = np.arange(size)
    axes = pair.horizontal
    name = axes.lat if axes and dim == axes.lat_dim else axes.lon if axes and dim == axes.lon_dim else dim
    if name in pair.prediction.coords and pair.prediction[name].dims == (dim,):
        labels = np.asarray(pair.prediction[name].values)
        if axes is not None and dim == axes.lon_dim:
            labels = np.round(labels.astype(np.float64), 6) % 360
    order = np.empty(size, dtype=np.int64)
    order[np.argsort(labels, kind="stable")] = np.arange(size)
    return xr.DataArray(order, dims=(dim,))


# ---------------------------------------------------------------------- reliability
def reliability(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    threshold: float,
    dim: Dims = None,
    weights: Weights = "area",
    bins: int | None = None,
) -> xr.Dataset:
    r"""How often a threshold is reached, by the probability that an ensemble gave to it; and the Brier score's parts.

    .. math:: \overline{(p - o)^2} = \sum_k w_k (p_k - \bar o_k)^2 - \sum_k w_k (\bar o_k - \bar o)^2
              + \bar o (1 - \bar o)

    reliability, resolution and uncertainty, exact where each bin holds one probability, as it does unless ``bins`` is
    given.

    Parameters
    ----------
    prediction : Dataset or DataArray
        With members: see `crps`. The probability is the part of them at or above the threshold.
    target : Dataset or DataArray
        On the same labels, without members.
    threshold : float
        In the units of the target.
    dim : str or sequence of str, optional
        Dimensions to count over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`.
    bins : int, optional
        Of equal width, from 0 to 1; each of the M + 1 possible probabilities has its own unless given.

    Returns
    -------
    Dataset
        By ``bin``: ``forecast_probability`` (mean of those in the bin), ``observed_frequency``, ``weight`` (part of
        all); and ``reliability``, ``resolution``, ``uncertainty``. With ``VARIABLE_`` before each name where several
        variables are compared. Lazy where the input is.

    Raises
    ------
    OptionError
        If the threshold is no number, or ``bins`` no whole number from 1 up.
    DimensionError
        If there are no members, or the target has them too.
    CoordinateError, UnitsError, VariableError
        As in `rmse`.

    References
    ----------
    .. [1] A. Murphy, 1973: A new vector partition of the probability score. J. Appl. Meteorol. 12, 595-600.

    Examples
    --------
    >>> p = xr.DataArray([[0.0, 2.0], [4.0, 5.0], [1.0, 3.0]], dims=("time", "member"))
    >>> found = reliability(p, xr.DataArray([1.0, 6.0, 2.0], dims="time"), threshold=1.5)
    >>> found["forecast_probability"].values, found["observed_frequency"].values
    (array([nan, 0.5, 1. ]), array([nan, 0.5, 1. ]))
    """
    level = thresholds_of(threshold, None, what="reliability")
    if level.ndim:
        message = f"reliability: threshold={threshold!r}; wanted one number, in the units of the target"
        raise OptionError(message)
    if bins is not None and (isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1):
        message = f"reliability: bins={bins!r}; wanted how many, from 1 up, or None"
        raise OptionError(message)

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _reliability(pair, level, dim, weights, bins)

    call = cf.describe_call("reliability", threshold=float(level), dim=dim, bins=bins)
    return compare(prediction, target, one, what="reliability", call=call)


def _reliability(
    pair: Compared, level: xr.DataArray, dim: Dims, weights: Weights, bins: int | None
) -> dict[str, xr.DataArray]:
    member = _members(pair)
    dims = tuple(d for d in pair.dims(dim) if d != member)
    members = pair.prediction.sizes[member]
    number = members + 1 if bins is None else bins
    probability = over_members(event_probability, pair.prediction, level, member=member)

    def inside(p: Floats, t: Floats) -> Iterator[Floats]:
        place = np.rint(p * members) if bins is None else np.minimum(np.floor(p * number), number - 1)
        for k in range(number):
            here = (place == k).astype(np.float64)
            yield here
            yield here * p
            yield here * t

    names = [f"{part} {k}" for k in range(number) for part in ("weight", "forecast", "observed")]
    came: xr.DataArray = xr.apply_ufunc(
        exceeds, pair.target, level.item(), dask="parallelized", output_dtypes=[np.float64]
    )
    means = add_up([probability, came], names, inside, dims, pair.weights(dims, weights)).means()
    weight, forecast, observed = (
        xr.concat([means[f"{part} {k}"] for k in range(number)], dim="bin").transpose(..., "bin")
        for part in ("weight", "forecast", "observed")
    )
    some = weight.where(weight > 0)
    forecast, frequency = forecast / some, observed / some
    base = observed.sum("bin", skipna=False)
    parts = {
        "reliability": (weight * ((forecast - frequency) ** 2).fillna(0)).sum("bin", skipna=False),
        "resolution": (weight * ((frequency - base) ** 2).fillna(0)).sum("bin", skipna=False),
        "uncertainty": base * (1 - base),
    }
    out = {
        "forecast_probability": pair.label(forecast, "mean forecast probability", "1", dtype=np.float64),
        "observed_frequency": pair.label(frequency, "observed frequency", "1", dtype=np.float64),
        "weight": pair.label(weight, "part of all points", "1", dtype=np.float64),
    }
    return out | {n: pair.label(x, f"{n} of the Brier score", "1", dtype=np.float64) for n, x in parts.items()}
