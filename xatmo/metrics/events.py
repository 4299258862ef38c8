"""Whether events are forecast where and when they come: scores of the contingency table of a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from xatmo.metrics._aggregate import Weights
from xatmo.metrics._documents import document
from xatmo.metrics._metric import Means, Metric, Pair, evaluate
from xatmo.metrics._pairs import Dims
from xatmo.metrics.probabilistic import exceeds, thresholds_of
from xatmo.typing import Floats, T, XarrayObject

_CELLS = ("hits", "misses", "false_alarms")


def _events(what: str) -> Callable[[Pair], list[xr.DataArray]]:
    def fields(pair: Pair) -> list[xr.DataArray]:
        levels = thresholds_of(pair.options.get("threshold"), pair.target.attrs.get("units"), what=what)
        found = []
        for field in (pair.prediction, pair.target):
            event: xr.DataArray = xr.apply_ufunc(
                exceeds, field, levels, dask="parallelized", output_dtypes=[np.float64], join="override"
            )
            found.append(event)
        return found

    return fields


def _table(p: Floats, t: Floats) -> tuple[Floats, ...]:
    return p * t, (1 - p) * t, p * (1 - t)


def _over(top: xr.DataArray, bottom: xr.DataArray) -> xr.DataArray:
    return top / bottom.where(bottom > 0)


def _pod(m: Means, _: Pair) -> xr.DataArray:
    return _over(m["hits"], m["hits"] + m["misses"])


def _far(m: Means, _: Pair) -> xr.DataArray:
    return _over(m["false_alarms"], m["hits"] + m["false_alarms"])


def _csi(m: Means, _: Pair) -> xr.DataArray:
    return _over(m["hits"], m["hits"] + m["misses"] + m["false_alarms"])


def _frequency_bias(m: Means, _: Pair) -> xr.DataArray:
    return _over(m["hits"] + m["false_alarms"], m["hits"] + m["misses"])


POD, FAR, CSI, FREQUENCY_BIAS = (
    Metric(name, long_name, _CELLS, _table, score, "1", fields=_events(name), stated={"threshold": None})
    for name, long_name, score in (
        ("pod", "probability of detection", _pod),
        ("far", "false alarm ratio", _far),
        ("csi", "critical success index", _csi),
        ("frequency_bias", "frequency bias", _frequency_bias),
    )
)


def pod(
    prediction: T, target: XarrayObject, *, threshold: float | Sequence[float], dim: Dims = None,
    weights: Weights = "area",
) -> T:  # fmt: skip
    """Probability of detection: hits over hits and misses, of events at or above a threshold; NaN without events.

    Examples
    --------
    >>> p, t = xr.DataArray([2.0, 0.0, 3.0, 3.0], dims="x"), xr.DataArray([2.0, 2.0, 2.0, 0.0], dims="x")
    >>> round(pod(p, t, threshold=1).item(), 4)
    0.6667
    """
    return evaluate(POD, prediction, target, dim=dim, weights=weights, options={"threshold": threshold})


def far(
    prediction: T, target: XarrayObject, *, threshold: float | Sequence[float], dim: Dims = None,
    weights: Weights = "area",
) -> T:  # fmt: skip
    """Give the false alarm ratio: false alarms over all alarms, of events at or above a threshold; NaN without alarms.

    Examples
    --------
    >>> p, t = xr.DataArray([2.0, 0.0, 3.0, 3.0], dims="x"), xr.DataArray([2.0, 2.0, 2.0, 0.0], dims="x")
    >>> round(far(p, t, threshold=1).item(), 4)
    0.3333
    """
    return evaluate(FAR, prediction, target, dim=dim, weights=weights, options={"threshold": threshold})


def csi(
    prediction: T, target: XarrayObject, *, threshold: float | Sequence[float], dim: Dims = None,
    weights: Weights = "area",
) -> T:  # fmt: skip
    """Critical success index (threat score): hits over hits, misses and false alarms; NaN without any.

    Examples
    --------
    >>> p, t = xr.DataArray([2.0, 0.0, 3.0, 3.0], dims="x"), xr.DataArray([2.0, 2.0, 2.0, 0.0], dims="x")
    >>> csi(p, t, threshold=1).item()
    0.5
    """
    return evaluate(CSI, prediction, target, dim=dim, weights=weights, options={"threshold": threshold})


def frequency_bias(
    prediction: T, target: XarrayObject, *, threshold: float | Sequence[float], dim: Dims = None,
    weights: Weights = "area",
) -> T:  # fmt: skip
    """Frequency bias: alarms over events, above 1 where events are forecast too often; NaN without events.

    Examples
    --------
    >>> p, t = xr.DataArray([2.0, 0.0, 3.0, 3.0], dims="x"), xr.DataArray([2.0, 2.0, 2.0, 0.0], dims="x")
    >>> frequency_bias(p, t, threshold=1).item()
    1.0
    """
    return evaluate(FREQUENCY_BIAS, prediction, target, dim=dim, weights=weights, options={"threshold": threshold})


_THRESHOLD = """
    threshold : float or sequence of float
        In the units of the target; several make a dimension ``threshold``. Events are values at or above it."""
document(pod, far, csi, frequency_bias, extra=_THRESHOLD)
