"""The arithmetic of normalization on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LOG_AMPLITUDE = 0.2
"""The a in sign(z) log(1 + a abs(z))."""


def forward(x: Array, center: Any, scale: Any, log_center: Any = None, log_scale: Any = None) -> Array:
    """Normalize: ``z = (x - center) / scale``; with the log step ``(sign(z) log1p(a |z|) - log_center) / log_scale``.

    Parameters
    ----------
    x : array
        float32 or float64; the result has the same type.
    center, scale, log_center, log_scale : array, broadcastable to ``x``
        float64. For float32 fields the centre is taken off in two float32 steps, so that nothing of it is lost.

    Examples
    --------
    >>> forward(np.array([1.0, 3.0]), 2.0, 0.5)
    array([-2.,  2.])
    """
    dtype = x.dtype
    coarse = np.asarray(center).astype(dtype)
    fine = (np.asarray(center, dtype=np.float64) - coarse).astype(dtype)
    z: Array = x - coarse
    z -= fine
    z /= np.asarray(scale).astype(dtype)
    if log_center is None or log_scale is None:
        return z
    w: Array = np.log1p(LOG_AMPLITUDE * np.abs(z), dtype=dtype)
    np.copysign(w, z, out=w)
    w -= np.asarray(log_center).astype(dtype)
    w /= np.asarray(log_scale).astype(dtype)
    return w


def backward(y: Array, center: Any, scale: Any, log_center: Any = None, log_scale: Any = None) -> Array:
    """Undo `forward`.

    Examples
    --------
    >>> backward(np.array([-2.0, 2.0]), 2.0, 0.5)
    array([1., 3.])
    """
    dtype = y.dtype
    z: Array
    if log_center is None or log_scale is None:
        z = y * np.asarray(scale).astype(dtype)
    else:
        w = y * np.asarray(log_scale).astype(dtype)
        w += np.asarray(log_center).astype(dtype)
        z = np.expm1(np.abs(w))
        z /= dtype.type(LOG_AMPLITUDE)
        np.copysign(z, w, out=z)
        z *= np.asarray(scale).astype(dtype)
    coarse = np.asarray(center).astype(dtype)
    z += (np.asarray(center, dtype=np.float64) - coarse).astype(dtype)
    z += coarse
    return z
