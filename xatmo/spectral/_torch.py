"""The torch engine of `xatmo.nn.sphere` for arrays, with its tables kept between calls in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from xatmo.grids import Grid
from xatmo.rings import RingGrid
from xatmo.typing import Complexes, Floats

if TYPE_CHECKING:
    from xatmo.nn.sphere import SphericalHarmonics

TABLE_MEMORY = 2_000_000_000
"""Bytes of tables that are kept; the least recently used go first (the one in use always stays)."""

_lock = threading.Lock()
_kept: OrderedDict[tuple[Grid, int, str], SphericalHarmonics] = OrderedDict()


def transform(grid: Grid, lmax: int, dtype: str) -> SphericalHarmonics:
    """Give the transform for a grid, degree and precision (``"float32"`` or ``"float64"``), from memory if it is there.

    Examples
    --------
    >>> transform(Grid.gaussian(8), 7, "float64") is transform(Grid.gaussian(8), 7, "float64")
    True
    """
    import torch

    from xatmo.nn.sphere import SphericalHarmonics

    key = (grid, lmax, dtype)
    with _lock:  # also so that two threads never build the same tables at once
        if key not in _kept and isinstance(grid, RingGrid):
            # Rings of full length, that hold every order: see _rings.
            longitude = 2 * np.pi * np.arange(2 * lmax + 4) / (2 * lmax + 4)
            _kept[key] = SphericalHarmonics(
                grid.colatitude, longitude, lmax, weights=grid.weights, dtype=getattr(torch, dtype)
            )
        elif key not in _kept:
            known = grid.kind == "regular" or not grid.is_global
            # Columns of a global grid are equally spaced; those in files are rounded.
            step = 2 * np.pi / grid.nlon
            first = np.radians(grid.longitude[0])
            longitude = first + step * np.arange(grid.nlon) if grid.is_global else np.radians(grid.longitude)
            weights = None if known else grid.weights
            _kept[key] = SphericalHarmonics(
                grid.colatitude, longitude, lmax, weights=weights, dtype=getattr(torch, dtype)
            )
        _kept.move_to_end(key)
        while len(_kept) > 1 and sum(t.table_bytes for t in _kept.values()) > TABLE_MEMORY:
            _kept.popitem(last=False)
        return _kept[key]


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    import torch

    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _coefficients(array: Complexes) -> Any:
    """Tensor of axes (degree, order) without copying what lies in memory order by order."""
    if array.flags.c_contiguous:
        return _tensor(array)
    return _tensor(np.swapaxes(array, -1, -2)).mT


def analysis(field: Floats, grid: Grid, lmax: int) -> Complexes:
    """See `xatmo.spectral._kernels.analysis`."""
    import torch

    if not field.size:  # FFT libraries refuse to do nothing
        return np.zeros((*field.shape[:-2], lmax + 1, lmax + 1), np.result_type(field, np.complex64))
    with torch.inference_mode():
        out: Complexes = transform(grid, lmax, str(field.dtype)).analysis(_tensor(field)).numpy()
    return out


def synthesis(coefficients: Complexes, grid: Grid) -> Floats:
    """See `xatmo.spectral._kernels.synthesis`."""
    import torch

    if not coefficients.size:
        return np.zeros((*coefficients.shape[:-2], *grid.shape), coefficients.real.dtype)
    with torch.inference_mode():
        engine = transform(grid, coefficients.shape[-1] - 1, str(coefficients.real.dtype))
        out: Floats = engine.synthesis(_coefficients(coefficients)).numpy()
    return out


def analysis_vector(u: Floats, v: Floats, grid: Grid, lmax: int) -> tuple[Complexes, Complexes]:
    """See `xatmo.spectral._kernels.analysis_vector`."""
    import torch

    if not u.size:
        return analysis(u, grid, lmax), analysis(v, grid, lmax)
    with torch.inference_mode():
        rotational, divergent = transform(grid, lmax, str(u.dtype)).analysis_vector(_tensor(u), _tensor(v))
    return rotational.numpy(), divergent.numpy()


def synthesis_vector(rotational: Complexes, divergent: Complexes, grid: Grid) -> tuple[Floats, Floats]:
    """See `xatmo.spectral._kernels.synthesis_vector`."""
    import torch

    if not rotational.size:
        return synthesis(rotational, grid), synthesis(divergent, grid)
    with torch.inference_mode():
        engine = transform(grid, rotational.shape[-1] - 1, str(rotational.real.dtype))
        u, v = engine.synthesis_vector(_coefficients(rotational), _coefficients(divergent))
    return u.numpy(), v.numpy()


def at_points(parts: tuple[Complexes, ...], latitude: Floats, longitude: Floats) -> tuple[Floats, ...]:
    """See `xatmo.spectral._scattered.synthesis`."""
    import torch

    (coefficients,) = parts
    if not coefficients.size or not latitude.size:
        return (np.zeros((coefficients.shape[0], latitude.size), coefficients.real.dtype),)
    with torch.inference_mode():
        out = _companion(coefficients).at_points(_coefficients(coefficients), *_place(latitude, longitude))
    return (out.numpy(),)


def at_points_vector(parts: tuple[Complexes, ...], latitude: Floats, longitude: Floats) -> tuple[Floats, ...]:
    """See `xatmo.spectral._scattered.synthesis_vector`."""
    import torch

    if not parts[0].size or not latitude.size:
        zero = np.zeros((parts[0].shape[0], latitude.size), parts[0].real.dtype)
        return zero, zero.copy()
    with torch.inference_mode():
        rotational, divergent = (_coefficients(x) for x in parts)
        u, v = _companion(parts[0]).at_points_vector(rotational, divergent, *_place(latitude, longitude))
    return u.numpy(), v.numpy()


def _companion(coefficients: Complexes) -> SphericalHarmonics:
    """Give a transform on equally spaced rows, from which values at points follow: one that is there, or a new one."""
    lmax, dtype = coefficients.shape[-1] - 1, str(coefficients.real.dtype)
    with _lock:
        for (_, degree, precision), known in _kept.items():
            if (degree, precision) == (lmax, dtype) and known.equal_rows(lmax):
                return known
    return transform(Grid.regular(max(lmax + 1, 3), 4, poles=False), lmax, dtype)


def _place(latitude: Floats, longitude: Floats) -> tuple[Any, Any]:
    return _tensor(np.clip(np.radians(90 - latitude), 0, np.pi)), _tensor(np.radians(longitude))
