"""The ducc0 engine at scattered points: a fine grid, and from there non-uniform Fourier sums to a stated accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

from xatmo.spectral import _threads
from xatmo.spectral._ducc import _ROOT, _flat
from xatmo.typing import Complexes, Floats

_ACCURACY = {np.dtype(np.complex64): 2e-6, np.dtype(np.complex128): 1e-12}
"""Relative to the largest values; near the best that ducc0 offers."""


def at_points(parts: tuple[Complexes, ...], latitude: Floats, longitude: Floats) -> tuple[Floats, ...]:
    """See `xatmo.spectral._scattered.synthesis`."""
    (coefficients,) = parts
    flat, layout = _flat(coefficients)
    return (_evaluate(flat[:, None], 0, latitude, longitude, layout)[:, 0] * _root(coefficients),)


def at_points_vector(parts: tuple[Complexes, ...], latitude: Floats, longitude: Floats) -> tuple[Floats, ...]:
    """See `xatmo.spectral._scattered.synthesis_vector`."""
    fields, degrees = parts[0].shape[:2]
    if degrees == 1:
        zero = np.zeros((fields, latitude.size), parts[0].real.dtype)
        return zero, zero.copy()
    (rotational, layout), (divergent, _) = (_flat(np.ascontiguousarray(x)) for x in parts)
    out = _evaluate(np.stack([divergent, rotational], axis=1), 1, latitude, longitude, layout)
    return -out[:, 1] * _root(parts[0]), out[:, 0] * _root(parts[0])


def _root(coefficients: Complexes) -> Any:
    return np.asarray(_ROOT, coefficients.real.dtype)


def _evaluate(
    flat: Complexes, spin: int, latitude: Floats, longitude: Floats, layout: dict[str, Any]
) -> np.ndarray[Any, Any]:
    """Fields or southward and eastward components, (fields, components, points), up to factors; see `_ducc`."""
    import ducc0

    out = np.zeros((*flat.shape[:2], latitude.size), flat.real.dtype)
    if not out.size:
        return out
    place = np.empty((latitude.size, 2))
    place[:, 0] = np.clip(np.radians(90 - latitude), 0, np.pi)
    place[:, 1] = np.radians(longitude + 180) % (2 * np.pi)
    with _threads.share() as threads:
        for field, result in zip(flat, out, strict=True):
            result[...] = ducc0.sht.synthesis_general(
                alm=field, spin=spin, loc=place, epsilon=_ACCURACY[flat.dtype], nthreads=threads, **layout
            )
    return out
