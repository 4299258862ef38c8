"""Central moments that add up: of blocks, and of parts that were reduced apart. Plain arrays, float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from xatmo.typing import Floats

# What is kept of every sample: weight, mean, and the sums of the second to fourth powers of departures from it.
PARTS = 5
# Numbers that are worked on at once: some copies in float64 of so many are small beside a chunk.
_AT_ONCE = 2**21


def of_block(values: Any, weights: Any, axes: tuple[int, ...]) -> Floats:
    r"""Weight, mean and :math:`\sum w (x - \bar x)^k` for k = 2, 3, 4 of one block.

    Parameters
    ----------
    values : array
        NaN are left out.
    weights : array
        Broadcasts against the values.
    axes : tuple of int
        That are reduced.

    Returns
    -------
    array (..., 5)
        The axes of the values, 1 long where reduced, and these numbers.

    Examples
    --------
    >>> of_block(np.array([1.0, 2.0, 6.0]), np.ones(3), (0,))
    array([[ 3.,  3., 14., 18., 98.]])
    """
    values = np.asarray(values)
    if values.size > _AT_ONCE:
        return _of_halves(values, np.broadcast_to(weights, values.shape), axes)
    values = values.astype(np.float64, copy=False)
    missing = np.isnan(values)
    by = np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape)
    if missing.any():
        by, values = np.where(missing, 0.0, by), np.where(missing, 0.0, values)

    def total(*factors: Any) -> Floats:
        return np.asarray(np.einsum(rule, *factors).reshape(shape))

    letters = "".join(chr(97 + k) for k in range(values.ndim))
    kept = "".join(c for k, c in enumerate(letters) if k not in axes)
    rule = f"{letters},{letters}->{kept}"
    shape = [1 if k in axes else n for k, n in enumerate(values.shape)]
    weight = np.broadcast_to(by.sum(axes, keepdims=True), shape)
    # Two passes over a block in memory: departures of a nearly constant field keep their digits.
    mean = total(by, values) / np.where(weight > 0, weight, 1.0)
    away = values - mean
    square = away * away
    weighed = by * square
    powers = [weighed.sum(axes, keepdims=True), total(weighed, away), total(weighed, square)]
    return np.stack([weight, mean, *powers], axis=-1)


def _of_halves(values: Any, weights: Any, axes: tuple[int, ...]) -> Floats:
    axis = int(np.argmax(values.shape))
    middle = values.shape[axis] // 2
    cuts = [(slice(None),) * axis + (part,) for part in (slice(0, middle), slice(middle, None))]
    halves = [of_block(values[cut], weights[cut], axes) for cut in cuts]
    both = np.concatenate(halves, axis=axis)
    return merge(both, (axis,)) if axis in axes else both


def merge(parts: Any, axis: tuple[int, ...] | None = None, keepdims: bool = True) -> Floats:
    r"""Put moments of parts together, as if they had been taken of the whole.

    With :math:`d_i` the distance of a part's mean from that of all:
    :math:`M_2 = \sum M_{2,i} + w_i d_i^2`, :math:`M_3 = \sum M_{3,i} + 3 d_i M_{2,i} + w_i d_i^3`,
    :math:`M_4 = \sum M_{4,i} + 4 d_i M_{3,i} + 6 d_i^2 M_{2,i} + w_i d_i^4`.

    Parameters
    ----------
    parts : array (..., 5)
        As `of_block` gives them.
    axis : tuple of int
        Along which parts lie.
    keepdims : bool

    References
    ----------
    .. [1] P. Pebay, 2008: Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
       statistical moments. Sandia Report SAND2008-6212.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 6.0, 7.0])
    >>> halves = np.stack([of_block(x[:2], np.ones(2), (0,)), of_block(x[2:], np.ones(2), (0,))])
    >>> bool(np.allclose(merge(halves, (0, 1)), of_block(x, np.ones(4), (0,))))
    True
    """
    parts = np.asarray(parts)
    axis = tuple(range(parts.ndim - 1)) if axis is None else tuple(np.atleast_1d(axis))
    w, mean, m2, m3, m4 = (parts[..., k] for k in range(PARTS))
    weight = w.sum(axis, keepdims=True)
    safe = np.where(weight > 0, weight, 1.0)
    whole = (w * mean).sum(axis, keepdims=True) / safe
    d = mean - whole
    out = [
        weight,
        whole,
        (m2 + w * d * d).sum(axis, keepdims=True),
        (m3 + d * (3 * m2 + w * d * d)).sum(axis, keepdims=True),
        (m4 + d * (4 * m3 + d * (6 * m2 + w * d * d))).sum(axis, keepdims=True),
    ]
    stacked: Floats = np.stack(out, axis=-1)
    return stacked if keepdims else np.squeeze(stacked, axis=axis)
