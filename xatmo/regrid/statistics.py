"""What is not linear: the most common value, the smallest and the largest in each target cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from xatmo.errors import OptionError
from xatmo.regrid.separable import AxisWeights, Weights

METHODS = ("most_common", "min", "max")

# Valid parts are sums of rounded weights. Areas that differ by less than this part of the target cell are equal:
# coordinates are rounded to float32.
_PART_ROUNDING = 1e-6
_TIE = 1e-6
# Up to so many classes there is one product for each; beyond, pieces are sorted, this many at a time.
_FEW_CLASSES = 64
_PIECES = 2_000_000

Array = NDArray[Any]


@dataclass(frozen=True)
class Statistic:
    """One number out of those in each target cell. A function of ``(..., nlat, nlon)`` arrays that pickles.

    Attributes
    ----------
    weights : Weights
        Of method ``"most_common"``, ``"min"`` or ``"max"``.
    dtype : dtype
        Of the result, see `result_dtype`.
    min_valid : float
        Least part of a target cell that has to be inside the source and valid.
    skipna : bool
        Whether missing values are left out; otherwise one makes the result missing.

    Notes
    -----
    ``"most_common"`` gives the value that fills the largest area of the target cell,
    ``argmax_v sum_kl A[i, k] B[j, l] (field[k, l] == v)`` with the overlaps ``A``, ``B`` of first-order conservative
    weights; among equal areas the smallest value (the first in alphabetical order for text). ``"min"`` and ``"max"``
    look at all source cells that share more than a thousandth of the smaller cell's extent, along each axis.
    """

    weights: Weights
    dtype: np.dtype[Any]
    min_valid: float = 0.5
    skipna: bool = True

    def __call__(self, fields: Array) -> Array:
        """Work out ``(..., nlat, nlon)``, field by field."""
        stack = fields.reshape(-1, *fields.shape[-2:])
        out = np.empty((stack.shape[0], *self.weights.target_shape), self.dtype)
        for field, result in zip(stack, out, strict=True):
            self._one(field, result)
        return out.reshape(*fields.shape[:-2], *out.shape[1:])

    def _one(self, field: Array, out: Array) -> None:
        missing = is_missing(field)
        if self.weights.method == "most_common":
            found = most_common(field, self.weights, None if missing is None else ~missing)
        else:
            found = extreme(field, self.weights)
        out[:] = found
        bare = self.weights.coverage < self._least
        if missing is not None:
            if self.skipna:
                valid = _product(self.weights, (~missing).astype(np.float64))
                bare |= valid * self.weights.coverage < self._least
            else:
                bare |= _product(self.weights, missing.astype(np.float64)) > 0
        if bare.any():
            out[bare] = missing_value(self.dtype)

    @property
    def _least(self) -> float:
        return max(self.min_valid - _PART_ROUNDING, _PART_ROUNDING)


def result_dtype(dtype: np.dtype[Any], weights: Weights, min_valid: float) -> np.dtype[Any]:
    """Dtype of the result: that of the field, unless whole numbers have to make room for NaN outside the source.

    Raises
    ------
    OptionError
        If the smallest or largest of text, objects or complex numbers is asked for.
    """
    if dtype.kind == "O" or (weights.method != "most_common" and dtype.kind not in "iufbmM"):
        message = (
            f"method {weights.method!r} came for a field of type {dtype}; wanted numbers"
            f"{' or text of fixed width: da.astype(str)' if weights.method == 'most_common' else ''}"
        )
        raise OptionError(message)
    gaps = bool((weights.coverage < max(min_valid - _PART_ROUNDING, _PART_ROUNDING)).any())
    return np.dtype(np.float64) if gaps and dtype.kind in "iub" else dtype


def missing_value(dtype: np.dtype[Any]) -> Any:
    """Give what stands for nothing: NaN, not-a-time, or an empty text."""
    return {"M": np.datetime64("NaT"), "m": np.timedelta64("NaT"), "U": "", "S": b""}.get(dtype.kind, np.nan)


def is_missing(field: Array) -> NDArray[np.bool_] | None:
    """Where a field is missing; None if nowhere."""
    kind = field.dtype.kind
    if kind in "fc":
        missing = np.isnan(field)
    elif kind in "mM":
        missing = np.isnat(field)
    elif kind in "US":
        missing = field == missing_value(field.dtype)
    else:
        return None
    return missing if missing.any() else None


# ---------------------------------------------------------------------- smallest, largest
def extreme(field: Array, weights: Weights) -> Array:
    """Smallest or largest valid value by target, ``(nlat, nlon)`` from ``(nlat, nlon)``; anything where there is none.

    Examples
    --------
    >>> from xatmo import Grid
    >>> from xatmo.regrid import weights_between
    >>> weights = weights_between(Grid.regular(6, 8, poles=False), Grid.regular(3, 4, poles=False), "max")
    >>> extreme(np.arange(48).reshape(6, 8), weights)[0]
    array([15, 11, 13, 15])
    """
    choose = np.fmin if weights.method == "min" else np.fmax
    return _reduce(_reduce(field, weights.lat, choose, 0), weights.lon, choose, 1)


def _reduce(field: Array, axis: AxisWeights, choose: Any, along: int) -> Array:
    matrix = axis.matrix
    filled = np.flatnonzero(np.diff(matrix.indptr))
    shape = (matrix.shape[0], field.shape[1]) if along == 0 else (field.shape[0], matrix.shape[0])
    out = np.zeros(shape, field.dtype)
    if filled.size:
        found = choose.reduceat(np.take(field, matrix.indices, axis=along), matrix.indptr[filled], axis=along)
        out[(filled,) if along == 0 else (slice(None), filled)] = found
    return out


# ---------------------------------------------------------------------- most common
def most_common(field: Array, weights: Weights, valid: NDArray[np.bool_] | None = None) -> Array:
    """Value with the largest area by target, ``(nlat, nlon)`` from ``(nlat, nlon)``; anything where there is none.

    Parameters
    ----------
    field : array (nlat, nlon)
        Of any type that can be sorted.
    weights : Weights
        First-order conservative ones.
    valid : bool array (nlat, nlon), optional
        Cells that count; all unless given.
    """
    classes, codes = np.unique(field if valid is None else field[valid], return_inverse=True)
    if classes.size == 0:
        return np.zeros(weights.target_shape, field.dtype)
    if valid is None:
        codes = codes.reshape(field.shape)
    else:
        whole = np.full(field.shape, -1)
        whole[valid] = codes
        codes = whole
    few = classes.size <= _FEW_CLASSES
    return np.asarray(classes[(_by_class if few else _by_pieces)(codes, weights, classes.size)])


def _by_class(codes: Array, weights: Weights, count: int) -> Array:
    """Add up the area of one class after the other; a later one has to be larger."""
    best = np.full(weights.target_shape, _TIE)
    winner = np.zeros(weights.target_shape, np.intp)
    for code in range(count):
        area = _product(weights, (codes == code).astype(np.float64))
        more = area > best + _TIE
        best[more], winner[more] = area[more], code
    return winner


def _by_pieces(codes: Array, weights: Weights, count: int) -> Array:
    """List every overlap of a source and a target cell, and add up those of one target and one class."""
    lat, lon = weights.lat.matrix, weights.lon.matrix
    winner = np.zeros(weights.target_shape, np.intp)
    column = np.repeat(np.arange(lon.shape[0]), np.diff(lon.indptr))
    band = max(1, _PIECES // max(1, lon.nnz * -(-lat.nnz // max(1, lat.shape[0]))))
    for start in range(0, lat.shape[0], band):
        rows = sparse.csr_array(lat[start : start + band])
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        code = codes[rows.indices][:, lon.indices]
        area = rows.data[:, None] * lon.data
        target = row[:, None] * lon.shape[0] + column
        there = code >= 0
        key, piece = np.unique(target[there] * count + code[there], return_inverse=True)
        total = np.round(np.bincount(piece, area[there]) / _TIE)
        place, kind = key // count, key % count
        order = np.lexsort((kind, -total, place))
        first = order[np.unique(place[order], return_index=True)[1]] if order.size else order
        winner[start : start + band].reshape(-1)[place[first]] = kind[first]
    return winner


def _product(weights: Weights, field: Array) -> Array:
    return np.asarray((weights.lon.matrix @ (weights.lat.matrix @ field).T).T)
