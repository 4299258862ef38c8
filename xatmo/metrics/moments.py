"""Mean, standard deviation, skewness and kurtosis of prediction and target, in one pass."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError
from xatmo.metrics import _central
from xatmo.metrics._aggregate import Weights, add_up
from xatmo.metrics._compare import Compared, compare
from xatmo.metrics._pairs import Dims
from xatmo.typing import Floats, XarrayObject

_NAMES = ("mean", "std", "skewness", "kurtosis")
_LONG = {"mean": "mean", "std": "standard deviation", "skewness": "skewness", "kurtosis": "excess kurtosis"}
# A variance below this part of the mean square is rounding: the field is constant, and has no shape.
_CONSTANT = 1e-24


def moments(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    dim: Dims = "time",
    order: int = 4,
    weights: Weights = "area",
) -> xr.Dataset:
    r"""Compute the moments of prediction and target along ``dim``, and how they differ.

    Moments of blocks are taken about the block's own mean, in float64, and put together with it [1]_: exact for any
    chunking, also of fields that hardly vary about a large mean, in one pass over the data. Points missing in either
    are left out of both.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels.
    dim : str, sequence of str or None
        Dimensions along which values make up a sample; None for all that the two share.
    order : {1, 2, 3, 4}
        Highest moment: mean, standard deviation, skewness, excess kurtosis.
    weights : "area", DataArray or None
        As in `rmse`; they matter where ``dim`` has latitude, and in the two sums.

    Returns
    -------
    Dataset
        ``prediction_mean``, ``target_mean`` and ``mean_difference`` (prediction - target), the same for ``std`` (of
        the sample: divided by n), ``skewness`` (:math:`\overline{x'^3} / \sigma^3`) and ``kurtosis``
        (:math:`\overline{x'^4} / \sigma^4 - 3`; NaN of constants). Where latitude and longitude are left, also
        ``mean_difference_sum_of_squares``, the plain sum over the points of the map, and
        ``mean_difference_rms``, the area-weighted root mean square. With ``VARIABLE_`` before each name where several
        variables are compared. Lazy where the input is.

    Raises
    ------
    OptionError
        If ``order`` is not 1 to 4.
    CoordinateError, DimensionError, UnitsError, VariableError
        As in `rmse`.

    References
    ----------
    .. [1] P. Pebay, 2008: Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
       statistical moments. Sandia Report SAND2008-6212.

    Examples
    --------
    >>> t = xr.DataArray([1.0, 2.0, 6.0], dims="time", attrs={"units": "K"})
    >>> found = moments(2 * t + 1, t)
    >>> found.target_mean.item(), found.mean_difference.item(), found.std_difference.item()
    (3.0, 4.0, 2.16024690)
    >>> found.target_skewness.item() == found.prediction_skewness.item()
    True
    """
    if order not in (1, 2, 3, 4):
        message = f"order={order!r}; wanted 1 (mean) to 4 (mean, standard deviation, skewness, kurtosis)"
        raise OptionError(message)

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _moments(pair, dim, order, weights)

    call = cf.describe_call("moments", dim=dim, order=order)
    return compare(prediction, target, one, what="moments", call=call)


def _moments(pair: Compared, dim: Dims, order: int, weights: Weights) -> dict[str, xr.DataArray]:
    dims = pair.dims(dim)
    by = pair.weights(dims, weights)
    both = [
        _shape(central_moments(field, other, dims, by), order)
        for field, other in ((pair.prediction, pair.target), (pair.target, pair.prediction))
    ]
    out: dict[str, xr.DataArray] = {}
    units: dict[str, Any] = {"mean": "same", "std": "same", "skewness": "1", "kurtosis": "1"}
    for name, first, second in zip(_NAMES, *both, strict=False):
        long = _LONG[name]
        out[f"prediction_{name}"] = pair.label(first, f"{long} of the prediction", units[name])
        out[f"target_{name}"] = pair.label(second, f"{long} of the target", units[name])
        what = f"difference of the {long}, prediction - target,"
        out[f"{name}_difference"] = pair.label(first - second, what, units[name])
    out |= _sums(pair, both[0][0] - both[1][0], weights)
    return out


def _sums(pair: Compared, difference: xr.DataArray, weights: Weights) -> dict[str, xr.DataArray]:
    axes = pair.horizontal
    if axes is None or not set(axes.dims) <= set(difference.dims):
        return {}
    by = pair.weights(axes.dims, weights)
    plain = add_up([difference], ["sum"], _square, axes.dims, xr.DataArray(1.0))
    mean = add_up([difference], ["mean"], _square, axes.dims, by).means()["mean"]
    return {
        "mean_difference_sum_of_squares": pair.label(
            plain.total["sum"], "sum over the map of squared differences of the mean", "squared"
        ),
        "mean_difference_rms": pair.label(mean**0.5, "root mean square difference of the mean"),
    }


def _square(x: Floats) -> tuple[Floats]:
    return (x**2,)


def _shape(parts: xr.DataArray, order: int) -> list[xr.DataArray]:
    """Mean, standard deviation, skewness and excess kurtosis from sums of powers."""
    w, mean, m2, m3, m4 = (parts.isel(moment=k) for k in range(_central.PARTS))
    known = w > 0
    mean = mean.where(known)
    w = w.where(known)
    variance = m2 / w
    spread = variance.where(variance > _CONSTANT * mean**2)
    found = [mean, variance**0.5, m3 / w / spread**1.5, m4 / w / spread**2 - 3]
    return found[:order]


def central_moments(
    field: xr.DataArray, other: xr.DataArray, dims: tuple[Hashable, ...], weights: xr.DataArray
) -> xr.DataArray:
    """Weight, mean and sums of powers of departures, on a last dimension ``moment``, of a field where another is known.

    Parameters
    ----------
    field, other : DataArray
        On the same labels.
    dims : tuple of str
        That are reduced.
    weights : DataArray
    """
    axes = list(field.dims)
    if not set(other.dims) <= set(axes):
        field, other = xr.broadcast(field, other)
        axes = list(field.dims)
    by = weights if set(weights.dims) <= set(axes) else xr.DataArray(1.0)
    over = tuple(k for k, d in enumerate(axes) if d in dims)
    layout = [tuple(axes.index(d) for d in v.dims) for v in (other, by)]
    kernel = partial(_block, layout=tuple(layout), over=over, number=len(axes))
    kept = [d for d in axes if d not in dims]
    if any(v.chunks is not None for v in (field, other, by)):
        import dask.array

        blockwise: Any = dask.array.blockwise
        parts = blockwise(
            kernel, (*range(len(axes)), len(axes)), field.data, tuple(range(len(axes))), other.data, layout[0], by.data,
            layout[1], new_axes={len(axes): _central.PARTS}, adjust_chunks=dict.fromkeys(over, 1), dtype=np.float64,
            meta=np.empty((0,) * (len(axes) + 1)),
        )  # fmt: skip
        reduction: Any = dask.array.reduction
        if over:
            parts = reduction(
                parts, chunk=_as_it_is, combine=_central.merge, aggregate=_central.merge, axis=over, dtype=np.float64,
                meta=np.empty((0,) * (len(kept) + 1)), split_every=2,
            )  # fmt: skip
    else:
        parts = kernel(field.to_numpy(), np.asarray(other.data), np.asarray(by.data))
        parts = np.squeeze(parts, axis=over)
    coords = {n: c for n, c in field.coords.items() if set(c.dims) <= set(kept)}
    return xr.DataArray(parts, coords, [*kept, "moment"])


def _as_it_is(parts: Any, axis: Any, keepdims: bool) -> Any:
    return parts


def _block(
    field: Any, other: Any, weights: Any, *, layout: tuple[tuple[int, ...], ...], over: tuple[int, ...], number: int
) -> Floats:
    placed = []
    for array, axes in zip((other, weights), layout, strict=True):
        order = np.argsort(axes, kind="stable")
        shape = [1] * number
        for k in order:
            shape[axes[k]] = array.shape[k]
        placed.append(np.transpose(array, order).reshape(shape))
    other, by = placed
    missing = np.isnan(other) if other.dtype.kind == "f" else np.zeros((1,) * number, dtype=bool)
    if missing.any():
        by = np.where(missing, 0.0, by)
    return _central.of_block(field, by, over)
