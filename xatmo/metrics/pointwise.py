"""Scores that compare point by point: errors, bias, correlation, signal-to-noise, skill.

Every score averages with weights first and takes roots and ratios last, so that scores of chunked data are exact.
A point that is missing (NaN) in the prediction or in the target is left out, together with its weight; a score over no
point at all is NaN.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from xatmo.errors import OptionError
from xatmo.metrics._aggregate import Weights
from xatmo.metrics._documents import document
from xatmo.metrics._metric import Means, Metric, Pair, evaluate, only_mean
from xatmo.metrics._pairs import Dims
from xatmo.typing import Floats, T, XarrayObject

# A variance below this part of the mean square is rounding: the field is constant.
_CONSTANT = 1e-13
# Anomalies of fewer steps of floating-point numbers than this, of the size of the climatology, are rounding.
_ROUNDED = 4

Arrays = tuple[Floats, ...]


def _squared_error(p: Floats, t: Floats) -> Arrays:
    error = p - t
    return (np.square(error, out=error),)


def _absolute_error(p: Floats, t: Floats) -> Arrays:
    return (abs(p - t),)


def _error(p: Floats, t: Floats) -> Arrays:
    return (p - t,)


def _moments(p: Floats, t: Floats) -> Arrays:
    """First and second moments of both fields."""
    return p, t, p * p, t * t, p * t


def _anomaly_moments(p: Floats, t: Floats, climatology: Floats) -> Arrays:
    """First and second moments of the anomalies, and the mean square of what they are anomalies from."""
    return *_moments(p - climatology, t - climatology), climatology * climatology


_MOMENTS = ("p", "t", "pp", "tt", "pt")


def _error_and_spread(p: Floats, t: Floats, climatology: Floats | None = None) -> Arrays:
    away = t if climatology is None else t - climatology
    return (p - t) ** 2, away, away**2


def _root(means: Means, _: Pair) -> xr.DataArray:
    (mean,) = means.values()
    return _sqrt(mean)


def _sqrt(field: xr.DataArray) -> xr.DataArray:
    return field**0.5


def _variance(square: xr.DataArray, mean: xr.DataArray) -> xr.DataArray:
    """Variance from moments; NaN where it is nothing but rounding."""
    variance = square - mean**2
    return variance.where(variance > _CONSTANT * square)


def _correlation(m: Means, _: Pair) -> xr.DataArray:
    spread = _variance(m["pp"], m["p"]) * _variance(m["tt"], m["t"])
    return (m["pt"] - m["p"] * m["t"]) / _sqrt(spread)


def _std_ratio(m: Means, _: Pair) -> xr.DataArray:
    variance = (m["pp"] - m["p"] ** 2).clip(min=0)
    return _sqrt(variance / _variance(m["tt"], m["t"]))


def _anomaly_correlation(m: Means, pair: Pair) -> xr.DataArray:
    """NaN where there are no anomalies but those of rounding: of a forecast that is the climatology, say."""
    floats = [f.dtype for f in pair.fields() if f.dtype.kind == "f"]
    least = (_ROUNDED * max((float(np.finfo(d).eps) for d in floats), default=0.0)) ** 2 * m["cc"]
    pp, tt, pt = m["pp"], m["tt"], m["pt"]
    if pair.options.get("centred", False):
        pp, tt, pt = _variance(pp, m["p"]), _variance(tt, m["t"]), pt - m["p"] * m["t"]
    return pt / _sqrt(pp.where(pp > least) * tt.where(tt > least))


def _skill(m: Means, pair: Pair) -> xr.DataArray:
    reference = _variance(m["tt"], m["t"]) if pair.climatology is None else m["tt"]
    return 1 - m["error"] / reference.where(reference > 0)


def target_range(pair: Pair, *, also: Sequence[Hashable] = ()) -> xr.DataArray:
    """Range of values: the number given, or that of the target (largest minus smallest) over ``dim`` and ``also``.

    Raises
    ------
    OptionError
        If the number is not positive, or another word than "target" came.
    """
    given = pair.options.get("data_range", "target")
    if isinstance(given, str):
        if given != "target":
            message = f"data_range={given!r}; wanted 'target' or a number in the units of the field"
            raise OptionError(message)
        known = pair.target.where(pair.prediction.notnull())
        over = [d for d in known.dims if d in pair.dims or d in also]
        span = known.max(over) - known.min(over)
        return span.where(span > 0)
    if not float(given) > 0:
        message = f"data_range={given!r}; wanted a number above 0, in the units of the field"
        raise OptionError(message)
    return xr.DataArray(float(given))


def _psnr(m: Means, pair: Pair) -> xr.DataArray:
    # An error of zero is an infinite ratio; 0/0 is no ratio.
    peak = target_range(pair)
    ratio = peak**2 / m["e"].where(m["e"] > 0)
    out: xr.DataArray = 10 * xr.apply_ufunc(
        np.log10, ratio.where((m["e"] != 0) | peak.isnull(), np.inf), dask="allowed"
    )
    return out


MSE = Metric("mse", "mean square error", ("e",), _squared_error, only_mean, "squared")
RMSE = Metric("rmse", "root mean square error", ("e",), _squared_error, _root)
MAE = Metric("mae", "mean absolute error", ("e",), _absolute_error, only_mean)
BIAS = Metric("bias", "mean error", ("e",), _error, only_mean)
CORRELATION = Metric("correlation", "correlation", _MOMENTS, _moments, _correlation, "1")
STD_RATIO = Metric(
    "std_ratio", "ratio of standard deviations, prediction to target,", _MOMENTS, _moments, _std_ratio, "1"
)
ACC = Metric(
    "acc", "anomaly correlation", (*_MOMENTS, "cc"), _anomaly_moments, _anomaly_correlation, "1",
    climatology="required", stated={"centred": False},
)  # fmt: skip
SKILL = Metric(
    "skill", "mean-square skill", ("error", "t", "tt"), _error_and_spread, _skill, "1", climatology="optional"
)
PSNR = Metric(
    "psnr", "peak signal-to-noise ratio", ("e",), _squared_error, _psnr, "dB", stated={"data_range": "target"}
)


def mse(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Mean square error: mean of (p - t)^2.

    Examples
    --------
    >>> p, t = xr.DataArray([1.0, 2.0, 4.0], dims="x"), xr.DataArray([1.0, 2.0, 3.0], dims="x")
    >>> mse(p, t).item()
    0.3333333
    """
    return evaluate(MSE, prediction, target, dim=dim, weights=weights)


def rmse(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Root mean square error: sqrt(mean of (p - t)^2), the root after the mean.

    Examples
    --------
    >>> t = xr.DataArray([[0.0] * 4] * 3, dims=("lat", "lon"),
    ...                  coords={"lat": [60.0, 0.0, -60.0], "lon": [0.0, 90, 180, 270]})
    >>> p = t + xr.DataArray([2.0, 0.0, 0.0], dims="lat")
    >>> rmse(p, t).item(), rmse(p, t, weights=None).item()
    (1.0, 1.1547)
    """
    return evaluate(RMSE, prediction, target, dim=dim, weights=weights)


def mae(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Mean absolute error: mean of abs(p - t).

    Examples
    --------
    >>> mae(xr.DataArray([1.0, 5.0], dims="x"), xr.DataArray([2.0, 2.0], dims="x")).item()
    2.0
    """
    return evaluate(MAE, prediction, target, dim=dim, weights=weights)


def bias(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Mean error: mean of p - t, positive where the prediction is too high.

    Examples
    --------
    >>> bias(xr.DataArray([1.0, 5.0], dims="x"), xr.DataArray([2.0, 2.0], dims="x")).item()
    1.0
    """
    return evaluate(BIAS, prediction, target, dim=dim, weights=weights)


def correlation(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Pearson correlation: weighted covariance over the product of weighted standard deviations; NaN if either is 0.

    Examples
    --------
    >>> x = xr.DataArray([1.0, 2.0, 3.0], dims="x")
    >>> correlation(-2 * x + 1, x).item()
    -1.0
    """
    return evaluate(CORRELATION, prediction, target, dim=dim, weights=weights)


def std_ratio(prediction: T, target: XarrayObject, *, dim: Dims = None, weights: Weights = "area") -> T:
    """Weighted standard deviation of the prediction over that of the target: below 1 for smoothed predictions.

    Examples
    --------
    >>> x = xr.DataArray([1.0, 2.0, 3.0], dims="x")
    >>> std_ratio(x / 2, x).item()
    0.5
    """
    return evaluate(STD_RATIO, prediction, target, dim=dim, weights=weights)


def acc(
    prediction: T,
    target: XarrayObject,
    *,
    climatology: XarrayObject,
    centred: bool = False,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    """Anomaly correlation: sum(p' t') / sqrt(sum(p'^2) sum(t'^2)) with anomalies from the climatology.

    Uncentred unless told otherwise, as WMO's and WeatherBench's: a forecast that is everywhere too warm loses. Centred,
    the means of both anomalies over ``dim`` are taken off before (the correlation of anomalies), and it does not. NaN
    for the climatology itself as a forecast: it has no anomalies, or none but rounding.

    Examples
    --------
    >>> p, t = xr.DataArray([11.0, 9.0], dims="x"), xr.DataArray([12.0, 8.0], dims="x")
    >>> c = xr.DataArray([10.0, 10.0], dims="x")
    >>> acc(p, t, climatology=c).item(), acc(p + 5, t, climatology=c, centred=True).item()
    (1.0, 1.0)
    """
    options = {"centred": bool(centred)} if centred else None
    return evaluate(ACC, prediction, target, dim=dim, weights=weights, climatology=climatology, options=options)


def skill(
    prediction: T,
    target: XarrayObject,
    *,
    climatology: XarrayObject | None = None,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    """Mean-square skill: 1 - mean((p - t)^2) / mean((c - t)^2); 1 is perfect, 0 is no better than the reference.

    The reference c is the climatology, or, without one, the mean of the target itself over ``dim``.

    Examples
    --------
    >>> p, t = xr.DataArray([1.0, 2.0, 4.0], dims="x"), xr.DataArray([1.0, 2.0, 3.0], dims="x")
    >>> skill(p, t).item()
    0.5
    """
    return evaluate(SKILL, prediction, target, dim=dim, weights=weights, climatology=climatology)


def psnr(
    prediction: T,
    target: XarrayObject,
    *,
    data_range: float | str = "target",
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    """Peak signal-to-noise ratio in dB: 20 log10(range) - 10 log10(mean of (p - t)^2); infinite for a perfect field.

    Examples
    --------
    >>> p, t = xr.DataArray([0.0, 11.0], dims="x"), xr.DataArray([0.0, 10.0], dims="x")
    >>> psnr(p, t).item(), psnr(p, t, data_range=100.0).item()
    (23.0103, 43.0103)
    """
    return evaluate(PSNR, prediction, target, dim=dim, weights=weights, options={"data_range": data_range})


_CLIMATOLOGY = """
    climatology : Dataset or DataArray
        On the target's grid; where it has the dimension ``dayofyear``, ``month``, ``season`` or ``hour``, as
        `xatmo.metrics.climatology` gives it, the entry for each (valid) time of the prediction is taken."""
_CENTRED = """
    centred : bool
        Whether to take off the means of the anomalies."""
_RANGE = """
    data_range : float or "target"
        Peak value, in the units of the field; or the largest minus the smallest value of the target over ``dim``. AMBS
        publishes that of 1 K."""


document(mse, rmse, mae, bias, correlation, std_ratio)
document(acc, extra=_CLIMATOLOGY + _CENTRED)
document(skill, extra=_CLIMATOLOGY)
document(psnr, extra=_RANGE)
