"""Errors in proportion to the target, and correlation of ranks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo.errors import OptionError
from xatmo.metrics._aggregate import Weights
from xatmo.metrics._compare import gathered
from xatmo.metrics._documents import document
from xatmo.metrics._metric import Means, Metric, Pair, evaluate
from xatmo.metrics._pairs import Dims
from xatmo.metrics.pointwise import CORRELATION, _variance, target_range
from xatmo.typing import Floats, T, XarrayObject

Scale = Literal["std", "mean", "range"]


def _size(m: Means, pair: Pair, default: str, *, what: str) -> xr.DataArray:
    """Give what errors are measured by; NaN where it is 0."""
    by = pair.options.get("by", default)
    if by == "std":
        return _variance(m["tt"], m["t"]) ** 0.5
    if by == "mean":
        mean = abs(m["t"])
        return mean.where(mean > 0)
    if by == "range":
        return target_range(pair)
    message = f"{what}: by={by!r}; wanted 'std', 'mean' or 'range', of the target"
    raise OptionError(message)


def _squares(p: Floats, t: Floats) -> tuple[Floats, ...]:
    return (p - t) ** 2, t, t * t


def _errors(p: Floats, t: Floats) -> tuple[Floats, ...]:
    return p - t, t, t * t


def _nrmse(m: Means, pair: Pair) -> xr.DataArray:
    return m["e"] ** 0.5 / _size(m, pair, "std", what="nrmse")


def _normalized_bias(m: Means, pair: Pair) -> xr.DataArray:
    return m["e"] / _size(m, pair, "mean", what="normalized_bias")


NRMSE = Metric(
    "nrmse", "normalized root mean square error", ("e", "t", "tt"), _squares, _nrmse, "1", stated={"by": "std"}
)
NORMALIZED_BIAS = Metric(
    "normalized_bias", "normalized mean error", ("e", "t", "tt"), _errors, _normalized_bias, "1", stated={"by": "mean"}
)


def nrmse(prediction: T, target: XarrayObject, *, by: Scale = "std", dim: Dims = None, weights: Weights = "area") -> T:
    """Root mean square error over the target's standard deviation (or mean, or range), a number and no percentage.

    Examples
    --------
    >>> t = xr.DataArray([1.0, 3.0], dims="x")
    >>> nrmse(t + 2, t).item(), nrmse(t + 2, t, by="mean").item()
    (2.0, 1.0)
    """
    return evaluate(NRMSE, prediction, target, dim=dim, weights=weights, options={"by": by})


def normalized_bias(
    prediction: T, target: XarrayObject, *, by: Scale = "mean", dim: Dims = None, weights: Weights = "area"
) -> T:
    """Mean error over the size of the target's mean (or its standard deviation, or range): positive where too high.

    Mean over mean, never a mean of ratios, so that zeros in the target do no harm.

    Examples
    --------
    >>> t = xr.DataArray([0.0, 4.0], dims="x")
    >>> normalized_bias(1.5 * t, t).item(), normalized_bias(t - 1, t, by="std").item()
    (0.5, -0.5)
    """
    return evaluate(NORMALIZED_BIAS, prediction, target, dim=dim, weights=weights, options={"by": by})


# ---------------------------------------------------------------------- ranks
def _ranks_block(first: Any, second: Any, *, dims: int) -> Floats:
    """Ranks from 1 of values among those known in both, ties sharing their mean, on a new last axis."""
    from scipy.stats import rankdata

    missing = np.isnan(first) | np.isnan(second)
    out = []
    for values in (first, second):
        flat = np.where(missing, np.nan, values).reshape(*values.shape[: values.ndim - dims], -1)
        out.append(rankdata(flat, axis=-1, nan_policy="omit").reshape(values.shape))
    return np.stack(out, axis=-1)


def _ranks(pair: Pair) -> list[xr.DataArray]:
    dims = [d for d in pair.dims if d in pair.prediction.dims and d in pair.target.dims]
    found: xr.DataArray = xr.apply_ufunc(
        _ranks_block,
        *[gathered(x.astype(np.float64), dims) for x in (pair.prediction, pair.target)],
        kwargs={"dims": len(dims)},
        input_core_dims=[dims, dims],
        output_core_dims=[[*dims, "_which"]],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"_which": 2}},
        output_dtypes=[np.float64],
        join="override",
    )
    return [found.isel(_which=0), found.isel(_which=1)]


SPEARMAN = Metric(
    "spearman", "rank correlation", CORRELATION.means, CORRELATION.statistics, CORRELATION.score, "1", fields=_ranks
)


def spearman(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Spearman's rank correlation: the (weighted) Pearson correlation of ranks; equal values share their mean rank.

    All values along ``dim`` are ranked together: lazy fields may be in any chunks, each sample is gathered into one.

    Examples
    --------
    >>> x = xr.DataArray([1.0, 2.0, 3.0, 9.0], dims="x")
    >>> spearman(x**3, x).item(), spearman(-x, x).item()
    (1.0, -1.0)
    """
    return evaluate(SPEARMAN, prediction, target, dim=dim, weights=weights)


_BY = """
    by : {"std", "mean", "range"}
        Of the target over ``dim``: its standard deviation, the absolute value of its mean, or its largest minus its
        smallest value."""
document(nrmse, normalized_bias, extra=_BY)
document(spearman)
