"""Harmonic sums at scattered points of plain arrays, which may differ from field to field."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from xatmo.spectral import _kernels
from xatmo.typing import Complexes, Floats, SpectralEngine

Kernel = Callable[[tuple[Complexes, ...], Floats, Floats], tuple[Floats, ...]]
"""From coefficients (fields, degree, order) and points in degrees (points,) to values (fields, points)."""


def synthesis(coefficients: Any, latitude: Any, longitude: Any, engine: SpectralEngine | None = None) -> Floats:
    """Values of a scalar field at points.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)
        Axes (degree, order).
    latitude, longitude : array (...)
        Degrees. Their axes are matched with the leading axes of the coefficients from the last one backwards, as NumPy
        broadcasts: axes of length 1 of the coefficients are those of the points, axes of length 1 of the points those
        of the fields, and along axes that both have, every field has points of its own.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    array (...)
        NaN where a coordinate is NaN. float32 from complex64.

    Examples
    --------
    >>> synthesis(np.array([[1, 0], [2, 0]], complex), [90.0, 0.0, np.nan], [0.0, 10.0, 0.0])  # 1 + 2 sqrt(3) sin(lat)
    array([4.46410162, 1. , nan])
    """
    array = _kernels.square_coefficients(coefficients)
    if _kernels.choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc_points

        kernel: Kernel = _ducc_points.at_points
    else:
        from xatmo.spectral import _torch

        kernel = _torch.at_points
    return _everywhere(kernel, (array,), latitude, longitude)[0]


def synthesis_vector(
    rotational: Any, divergent: Any, latitude: Any, longitude: Any, engine: SpectralEngine | None = None
) -> tuple[Floats, Floats]:
    """Eastward and northward component at points, from rotational and divergent coefficients; see `synthesis`."""
    parts = tuple(_kernels.square_coefficients(x) for x in (rotational, divergent))
    if _kernels.choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc_points

        kernel: Kernel = _ducc_points.at_points_vector
    else:
        from xatmo.spectral import _torch

        kernel = _torch.at_points_vector
    u, v = _everywhere(kernel, parts, latitude, longitude)
    return u, v


def _everywhere(kernel: Kernel, parts: tuple[Complexes, ...], latitude: Any, longitude: Any) -> tuple[Floats, ...]:
    """Call the kernel with all fields that share their points at once."""
    lat, lon = np.broadcast_arrays(np.asarray(latitude, np.float64), np.asarray(longitude, np.float64))
    lead = np.broadcast_shapes(parts[0].shape[:-2], lat.shape)
    parts = tuple(x.reshape((1,) * (len(lead) + 2 - x.ndim) + x.shape) for x in parts)
    lat, lon = (x.reshape((1,) * (len(lead) - x.ndim) + x.shape) for x in (lat, lon))
    out = tuple(np.empty(lead, x.real.dtype) for x in parts)
    both = [n > 1 and m > 1 for n, m in zip(parts[0].shape, lat.shape, strict=False)]
    steps = (range(n) if split else (None,) for n, split in zip(lead, both, strict=True))
    for index in product(*steps):
        here = tuple(slice(None) if i is None else slice(i, i + 1) for i in index)
        some = tuple(x[here] for x in parts)
        values = _fill(kernel, some, lat[here], lon[here])
        for result, value in zip(out, values, strict=True):
            result[here] = value
    return out


def _fill(kernel: Kernel, parts: tuple[Complexes, ...], lat: Floats, lon: Floats) -> list[Floats]:
    """All fields at all points of one set, with the axes of both in their places; NaN at points that are nowhere."""
    fields, points = parts[0].shape[:-2], lat.shape
    known = (np.isfinite(lat) & np.isfinite(lon)).ravel()
    flat = tuple(x.reshape(-1, *x.shape[-2:]) for x in parts)
    values = kernel(flat, lat.ravel()[known], lon.ravel()[known])
    out = []
    for value in values:
        full = np.full((value.shape[0], known.size), np.nan, value.dtype)
        full[:, known] = value
        # Of the two axes in each place, one has length 1.
        order = [axis for i in range(len(fields)) for axis in (i, len(fields) + i)]
        full = full.reshape((*fields, *points)).transpose(order)
        out.append(full.reshape([n * m for n, m in zip(fields, points, strict=True)]))
    return out
