"""How distributions of values differ: Wasserstein distance, percentiles, histograms. Every sample at once, exactly."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import restore_order
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import Weights, add_up, resolve_weights
from xatmo.metrics._compare import gathered
from xatmo.metrics._metric import (
    Metric,
    Pair,
    evaluate,
    labelled,
    long_name_of,
    only_mean,
    score_units,
    themselves,
)
from xatmo.metrics._pairs import Dims, fields, match, reduced_dims
from xatmo.typing import Floats, T, XarrayObject

PERCENTILES = (2, 9, 25, 50, 75, 91, 98)
"""Percentiles by which distributions at a place are summed up: a box with whiskers at 9 and 91."""


# ---------------------------------------------------------------------- kernels
def wasserstein_distance(
    first: Floats, second: Floats, first_weights: Floats | None = None, second_weights: Floats | None = None
) -> Floats:
    r"""Wasserstein-1 distance of samples along the last axis, :math:`\int |F(x) - G(x)| dx` with their distributions.

    Parameters
    ----------
    first : array (..., n)
    second : array (..., m)
        NaN are not part of a sample.
    first_weights, second_weights : array (n,), (m,), optional
        None below 0; all alike unless given.

    Returns
    -------
    array (...)
        float64, NaN where a sample is empty or has no weight.

    Examples
    --------
    >>> wasserstein_distance(np.array([[0.0, 1.0, 3.0]]), np.array([[5.0, 6.0, 8.0]]))
    array([5.])
    >>> wasserstein_distance(np.array([0.0, 1.0]), np.array([0.0]), np.array([3.0, 1.0]))
    array(0.25)
    """
    first, second = (np.asarray(x, dtype=np.float64) for x in (first, second))
    plain = first_weights is None and second_weights is None and first.shape[-1] == second.shape[-1] > 0
    if plain and not (np.isnan(first).any() or np.isnan(second).any()):
        # As many values in both: the optimal transport moves the k-th smallest to the k-th smallest.
        return np.asarray(np.abs(np.sort(first, -1) - np.sort(second, -1)).mean(-1))
    lead = np.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    first = np.broadcast_to(first, (*lead, first.shape[-1]))
    second = np.broadcast_to(second, (*lead, second.shape[-1]))
    out: Floats = np.empty(lead)
    for index in np.ndindex(*lead):
        out[index] = _distance(*_sample(first[index], first_weights), *_sample(second[index], second_weights))
    return out


def _sample(values: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Sorted known values and the running sum of their weights, from 0 to 1."""
    known = ~np.isnan(values)
    by = np.ones(int(known.sum())) if weights is None else weights[known]
    order = np.argsort(values[known], kind="stable")
    running = np.concatenate([[0.0], np.cumsum(by[order])])
    with np.errstate(invalid="ignore"):
        return values[known][order], running / running[-1]


def _distance(a: Floats, cumulated_a: Floats, b: Floats, cumulated_b: Floats) -> float:
    if np.isnan(cumulated_a[-1]) or np.isnan(cumulated_b[-1]):
        return np.nan
    both = np.sort(np.concatenate([a, b]))
    gap = np.diff(both)
    f = cumulated_a[np.searchsorted(a, both[:-1], side="right")]
    g = cumulated_b[np.searchsorted(b, both[:-1], side="right")]
    return float((np.abs(f - g) * gap).sum())


def _joined(field: Any, dims: int) -> Floats:
    """Make one axis of the last ``dims`` ones."""
    return np.asarray(field).reshape(*field.shape[: field.ndim - dims], -1)


def _paired_distance(prediction: Any, target: Any, weights: Any, *, dims: int) -> Floats:
    missing = np.isnan(prediction) | np.isnan(target)
    both = [np.where(missing, np.nan, x) for x in (prediction, target)]
    by = None if np.ptp(weights) == 0 else np.broadcast_to(weights, both[0].shape[both[0].ndim - dims :]).ravel()
    return wasserstein_distance(_joined(both[0], dims), _joined(both[1], dims), by, by)


def _free_distance(prediction: Any, target: Any, ours: Any, theirs: Any, *, dims: tuple[int, int]) -> Floats:
    weights = [None if np.ptp(w) == 0 else np.asarray(w).ravel() for w in (ours, theirs)]
    return wasserstein_distance(_joined(prediction, dims[0]), _joined(target, dims[1]), *weights)


# ---------------------------------------------------------------------- Wasserstein
def _weights_over(field: xr.DataArray, dims: Sequence[Hashable], weights: xr.DataArray) -> xr.DataArray:
    """Weights on all of ``dims``, in this order."""
    extra = [d for d in weights.dims if d not in dims]
    if extra:
        message = f"wasserstein: weights vary along {extra[0]!r}, which is not in dim={tuple(dims)}; wanted those alone"
        raise DimensionError(message)
    return weights.broadcast_like(xr.DataArray(np.ones([field.sizes[d] for d in dims]), dims=dims)).transpose(*dims)


def _distances(pair: Pair) -> list[xr.DataArray]:
    dims = [d for d in pair.dims if d in pair.target.dims and d in pair.prediction.dims]
    if len(dims) != len(pair.dims):
        message = f"wasserstein: dim has {pair.dims}, of which both fields have {tuple(dims)}; wanted samples in both"
        raise DimensionError(message)
    found: xr.DataArray = xr.apply_ufunc(
        partial(_paired_distance, dims=len(dims)),
        gathered(pair.prediction, dims),
        gathered(pair.target, dims),
        _weights_over(pair.target, dims, pair.weights),
        input_core_dims=[dims, dims, dims],
        dask="parallelized",
        output_dtypes=[np.float64],
        join="override",
    )
    return [found]


WASSERSTEIN = Metric(
    "wasserstein",
    "Wasserstein-1 distance",
    ("distance",),
    themselves,
    only_mean,
    "same",
    fields=_distances,
    samples=True,
)


def wasserstein(
    prediction: T, target: XarrayObject, *, dim: Dims = "time", weights: Weights = "area", paired: bool = True
) -> T:
    r"""Wasserstein-1 distance between the distributions of prediction and target.

    .. math:: W_1 = \int |F(x) - G(x)| \, dx

    with the cumulative distributions F and G of the values along ``dim``: by how much, on average, values have to be
    moved to turn one distribution into the other. It asks whether the right values come as often as they should, not
    whether they come at the right time. Exact: of two samples of n equally weighted values it is the mean difference of
    the k-th smallest ones.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels.
    dim : str or sequence of str
        Dimensions along which values make up a sample; ``None``: all that the two share. Lazy fields may be in any
        chunks: each sample is gathered into one, and the other dimensions are cut so that blocks keep to Dask's
        ``array.chunk-size``. A sample over time and space together has to fit into memory.
    weights : "area", DataArray or None
        Of the values in a sample; see `rmse`. They differ only where ``dim`` has latitude.
    paired : bool
        Whether the two have the same labels along ``dim``, and a value that is missing in one is left out of both.
        Otherwise samples may be of different times and sizes.

    Returns
    -------
    Dataset or DataArray
        As the prediction came, without ``dim``; in the units of the target; lazy where the input is.

    Raises
    ------
    CoordinateError, DimensionError, UnitsError, VariableError, OptionError
        As in `rmse`.

    References
    ----------
    .. [1] C. Villani, 2003: Topics in optimal transportation, section 2.2.

    Examples
    --------
    >>> t = xr.DataArray([0.0, 1.0, 3.0], dims="time", attrs={"units": "K"})
    >>> wasserstein(t[::-1], t).item(), wasserstein(t + 2, t).item()
    (0.0, 2.0)
    """
    if paired:
        return evaluate(WASSERSTEIN, prediction, target, dim=dim, weights=weights)
    found = {
        name: _unpaired(first, second, dim, weights).rename(name)
        for name, first, second in fields(prediction, target, what="wasserstein")
    }
    shown = weights if not isinstance(weights, xr.DataArray) else "given"
    call = cf.describe_call("metrics.wasserstein", dim=dim, weights=shown, paired=False)
    if isinstance(prediction, xr.DataArray):
        (out,) = found.values()
        return cf.add_history(out, call)
    return cf.add_history(xr.Dataset(found), call)


def _unpaired(prediction: xr.DataArray, target: xr.DataArray, dim: Dims, weights: Weights) -> xr.DataArray:
    dims = reduced_dims(prediction, target, dim, what="wasserstein")
    lacking = [d for d in dims if d not in prediction.dims or d not in target.dims]
    if lacking:
        message = f"wasserstein: not both fields have {lacking[0]!r} ({prediction.dims}, {target.dims}); wanted samples"
        raise DimensionError(message)
    by = []
    for field in (prediction, target):
        found = resolve_weights(field, dims, weights, what="wasserstein")
        by.append(_weights_over(field, dims, found))
    # Under other names: the labels of the samples need not agree, those of what is kept do.
    other = {d: f"{d} of the target" for d in dims}
    bare = target.drop_vars([c for c in target.coords if set(target[c].dims) & set(dims)]).rename(other)
    first = prediction.drop_vars([c for c in prediction.coords if set(prediction[c].dims) & set(dims)])
    if set(first.dims) - set(dims) or set(bare.dims) - set(other.values()):
        ours, theirs, cyclic = match(first, bare, what="wasserstein")
    else:
        only = xr.DataArray(0.0, attrs=bare.attrs)
        ours, _, cyclic = match(first, only, what="wasserstein")
        theirs = bare
    found = xr.apply_ufunc(
        partial(_free_distance, dims=(len(dims), len(dims))),
        gathered(ours, dims),
        gathered(theirs, list(other.values())),
        by[0],
        by[1].drop_vars(list(by[1].coords)).rename(other),
        input_core_dims=[list(dims), list(other.values())] * 2,
        dask="parallelized",
        output_dtypes=[np.float64],
        join="override",
    )
    dtype = np.result_type(prediction.dtype, target.dtype)
    return labelled(
        found,
        prediction,
        cyclic,
        long_name=long_name_of("Wasserstein-1 distance", prediction),
        units=score_units(target.attrs.get("units"), "same"),
        dtype=dtype if dtype.kind == "f" else np.float64,
    )


# ---------------------------------------------------------------------- percentiles
def _quantiles(field: Any, weights: Any, *, dims: int, levels: tuple[float, ...]) -> Floats:
    values = _joined(field, dims).astype(np.float64)
    by = np.broadcast_to(weights, field.shape[field.ndim - dims :]).ravel()
    if np.ptp(by) == 0:
        missing = np.isnan(values)
        if not missing.any():
            return np.moveaxis(np.quantile(values, levels, axis=-1), 0, -1)
        by = np.ones_like(by)
        method = "linear"
    else:
        method = "inverted_cdf"
    out: Floats = np.full((*values.shape[:-1], len(levels)), np.nan)
    quantile: Any = np.quantile
    for index in np.ndindex(*values.shape[:-1]):
        known = ~np.isnan(values[index])
        if by[known].sum() > 0:
            options = {} if method == "linear" else {"weights": by[known]}
            out[index] = quantile(values[index][known], levels, method=method, **options)
    return out


def percentiles(obj: T, *, q: Sequence[float] = PERCENTILES, dim: Dims = "time", weights: Weights = "area") -> T:
    """Percentiles of values along ``dim``, at once for fields of any chunks.

    Parameters
    ----------
    obj : Dataset or DataArray
    q : sequence of float
        Between 0 and 100.
    dim : str, sequence of str or None
        As in `wasserstein`; None for all dimensions.
    weights : "area", DataArray or None
        As in `wasserstein`. Percentiles of equally weighted values are interpolated linearly, as NumPy does; those of
        others are values of the sample (``"inverted_cdf"``).

    Returns
    -------
    Dataset or DataArray
        With the last dimension ``percentile`` instead of ``dim``; missing values are left out.

    Raises
    ------
    OptionError
        If a percentile is not between 0 and 100.
    DimensionError
        If a dimension is not there.

    Examples
    --------
    >>> percentiles(xr.DataArray(np.arange(101.0), dims="time"), q=[9, 50]).values
    array([ 9., 50.])
    """
    levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
    if levels.ndim != 1 or not levels.size or not ((levels >= 0) & (levels <= 100)).all():
        message = f"q={q!r}; wanted percentiles between 0 and 100, such as {PERCENTILES}"
        raise OptionError(message)

    def one(field: xr.DataArray) -> xr.DataArray:
        dims = list(reduced_dims(field, field, dim, what="percentiles"))
        by = _weights_over(field, dims, resolve_weights(field, tuple(dims), weights, what="percentiles"))
        found: xr.DataArray = xr.apply_ufunc(
            partial(_quantiles, dims=len(dims), levels=tuple(levels / 100)),
            gathered(field, dims),
            by,
            input_core_dims=[dims, dims],
            output_core_dims=[["percentile"]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {"percentile": levels.size}},
            output_dtypes=[np.float64],
            join="override",
        )
        found = restore_order(found, field).assign_coords(percentile=("percentile", levels, {"units": "percent"}))
        found = found.astype(field.dtype if field.dtype.kind == "f" else np.float64).rename(field.name)
        found.attrs = {k: field.attrs[k] for k in ("units", "standard_name") if k in field.attrs}
        found.attrs["long_name"] = long_name_of("percentiles", field)
        return found

    return cf.add_history(_each(obj, one, dim), cf.describe_call("metrics.percentiles", q=levels.tolist(), dim=dim))


def _each(obj: T, function: Callable[[xr.DataArray], xr.DataArray], dim: Dims) -> T:
    """Apply a function to a DataArray, or to the numeric variables of a Dataset that have one of the dimensions."""
    if isinstance(obj, xr.DataArray):
        return function(obj)
    wanted = None if dim is None else {dim} if isinstance(dim, str) or not isinstance(dim, Sequence) else set(dim)
    skipped = cf.auxiliary(obj)
    done = {
        n: function(v)
        for n, v in obj.data_vars.items()
        if n not in skipped and v.dtype.kind in "fiub" and (wanted is None or wanted & set(v.dims))
    }
    if not done:
        message = f"no numeric variable with dimension {dim!r} came; variables have {dict(obj.sizes)}"
        raise DimensionError(message)
    return xr.Dataset(done, attrs=obj.attrs)


# ---------------------------------------------------------------------- histograms
def histogram(
    field: xr.DataArray, *, bins: int | Sequence[float] = 30, dim: Dims = None, weights: Weights = None
) -> xr.Dataset:
    """Count values in bins; one pass for given edges, two for a number of bins between the smallest and the largest.

    Parameters
    ----------
    field : DataArray
    bins : int or sequence of float
        How many, of equal width over the range of all values; or rising edges. A value on an edge belongs to the bin
        above, one on the last edge to the last bin.
    dim : str or sequence of str, optional
        Dimensions to count over; all unless given.
    weights : "area", DataArray or None
        What each value counts; 1 unless given.

    Returns
    -------
    Dataset
        ``count`` (..., bin), and the edges of the bins ``left`` and ``right`` (bin) in the units of the field. Lazy
        where the field is.

    Raises
    ------
    OptionError
        If bins are no number from 1 up, and no two or more rising edges.

    Examples
    --------
    >>> histogram(xr.DataArray([0.0, 1.0, 1.5, 2.0], dims="x"), bins=[0, 1, 2])["count"].values
    array([1., 3.])
    """
    dims = reduced_dims(field, field, dim, what="histogram")
    by = resolve_weights(field, dims, weights, what="histogram")
    given, low, high, number = _range(field, bins)

    def inside(values: Floats, low: Floats, high: Floats) -> Iterator[Floats]:
        for k in range(number):
            right = (
                values <= _edge(low, high, k + 1, given) if k == number - 1 else values < _edge(low, high, k + 1, given)
            )
            yield ((values >= _edge(low, high, k, given)) & right).astype(np.float64)

    names = [f"bin {k}" for k in range(number)]
    sums = add_up([field, low, high], names, inside, dims, by)
    count = xr.concat([sums.total[name] for name in names], dim="bin")
    count = count.transpose(*[d for d in field.dims if d in count.dims], "bin")
    count.attrs = {"long_name": long_name_of("count", field), "units": "1"}
    out = {"count": count}
    units = {k: field.attrs[k] for k in ("units",) if k in field.attrs}
    for name, first in (("left", 0), ("right", 1)):
        edge: xr.DataArray = xr.concat([_edge(low, high, k + first, given) + 0 * low for k in range(number)], dim="bin")
        out[name] = edge.assign_attrs(long_name=f"{name} edge", **units)
    return cf.add_history(xr.Dataset(out), cf.describe_call("metrics.histogram", dim=dim))


def _range(field: xr.DataArray, bins: Any) -> tuple[tuple[float, ...], xr.DataArray, xr.DataArray, int]:
    """Given edges if any, else the range of all values, lazily; and the number of bins."""
    wrong = f"bins={bins!r}; wanted how many, from 1 up, or rising edges"
    if np.ndim(bins) == 0:
        if not isinstance(bins, int | np.integer) or bins < 1:
            raise OptionError(wrong)
        low, high = (x.astype(np.float64).drop_vars(list(x.coords)) for x in (field.min(), field.max()))
        # A constant field gets a range of 1, its value at the left end.
        return (*([np.nan] * (int(bins) + 1)),), low, high.where(high > low, low + 1.0), int(bins)
    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise OptionError(wrong)
    return tuple(edges.tolist()), xr.DataArray(edges[0]), xr.DataArray(edges[-1]), edges.size - 1


def _edge(low: Any, high: Any, k: int, given: tuple[float, ...]) -> Any:
    n = len(given) - 1
    if np.isfinite(given[k]):
        return given[k]
    return low if k == 0 else high if k == n else low + (high - low) * (k / n)
