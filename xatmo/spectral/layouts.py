"""Coefficients in the layouts of other software: SHTOOLS/pyshtools, ducc0/healpy, and ECMWF's packed order.

Plain arrays in and out. Ours is X(n, m) on (degree, order), m >= 0: half the integral of P^2 over mu is 1, no
Condon-Shortley phase (`xatmo.spectral.to_spectral`). All layouts describe real fields.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import DimensionError
from xatmo.spectral._kernels import as_complex, as_float, square_coefficients
from xatmo.typing import Complexes, Floats

_ROOT_TWO = float(np.sqrt(2))
_ROOT_FOUR_PI = float(np.sqrt(4 * np.pi))


@lru_cache(maxsize=16)
def _triangle(lmax: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Degrees and orders of the m-major triangle: all degrees of order 0, then those of order 1, and so on."""
    order, degree = np.triu_indices(lmax + 1)
    return degree, order


def triangular_size(lmax: int) -> int:
    """Count the coefficients with 0 <= order <= degree <= lmax.

    Examples
    --------
    >>> triangular_size(639)  # ERA5's spectral fields hold twice as many real numbers
    205120
    """
    return (lmax + 1) * (lmax + 2) // 2


def _lmax_of(size: int) -> int:
    lmax = (int(np.sqrt(8 * size + 1)) - 3) // 2
    if size < 1 or triangular_size(lmax) != size:
        message = f"{size} coefficients came; wanted (lmax + 1) (lmax + 2) / 2 of them: 1, 3, 6, 10, ..."
        raise DimensionError(message)
    return lmax


def to_pyshtools(coefficients: Any) -> Floats:
    """Real cosine and sine coefficients as pyshtools holds them: 4-pi normalised, ``csphase=1``.

    ``C(n, 0) = Re X(n, 0)``, and for m > 0 ``C(n, m) = sqrt(2) Re X(n, m)``, ``S(n, m) = -sqrt(2) Im X(n, m)``.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)
        X on (degree, order).

    Returns
    -------
    array (..., 2, lmax + 1, lmax + 1)
        For ``pyshtools.SHCoeffs.from_array(c, normalization="4pi", csphase=1)``.

    Raises
    ------
    DimensionError
        If the last two axes are not equally long.

    Examples
    --------
    >>> to_pyshtools(np.array([[1, 0], [2, 3 + 4j]]))[:, 1]
    array([[ 2.        ,  4.24264069], [ 0.        , -5.65685425]])
    """
    array = np.tril(square_coefficients(coefficients))
    out = np.stack([array.real, -array.imag], axis=-3) * np.asarray(_ROOT_TWO, array.real.dtype)
    out[..., 0, :, 0] = array[..., 0].real
    out[..., 1, :, 0] = 0
    return out


def from_pyshtools(coefficients: Any) -> Complexes:
    """X on (degree, order) from pyshtools' real 4-pi coefficients with ``csphase=1``: inverse of `to_pyshtools`.

    Parameters
    ----------
    coefficients : array (..., 2, lmax + 1, lmax + 1)
        Cosine and sine part.

    Raises
    ------
    DimensionError
        If the last three axes are not (2, lmax + 1, lmax + 1).
    """
    array = as_float(coefficients)
    if array.ndim < 3 or array.shape[-3] != 2 or array.shape[-1] != array.shape[-2]:
        message = f"coefficients of shape {array.shape} came; wanted (..., 2, lmax + 1, lmax + 1)"
        raise DimensionError(message)
    out = (array[..., 0, :, :] - 1j * array[..., 1, :, :]) / np.asarray(_ROOT_TWO, array.dtype)
    out[..., 0] = array[..., 0, :, 0]
    return np.tril(out)


def to_triangular(coefficients: Any) -> Complexes:
    """Coefficients a(l, m) of ducc0 and healpy: ``(-1)^m sqrt(4 pi) X(l, m)``, all degrees of order 0 first.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)

    Returns
    -------
    array (..., (lmax + 1) (lmax + 2) / 2)

    Raises
    ------
    DimensionError
        If the last two axes are not equally long.

    Examples
    --------
    >>> to_triangular(np.array([[1, 0], [2, 3 + 4j]])) / np.sqrt(4 * np.pi)
    array([ 1.+0.j,  2.+0.j, -3.-4.j])
    """
    array = square_coefficients(coefficients)
    degree, order = _triangle(array.shape[-1] - 1)
    sign = np.where(order % 2, -_ROOT_FOUR_PI, _ROOT_FOUR_PI).astype(array.real.dtype)
    return np.asarray(array[..., degree, order] * sign)


def from_triangular(coefficients: Any) -> Complexes:
    """X on (degree, order) from ducc0's or healpy's a(l, m): inverse of `to_triangular`.

    Raises
    ------
    DimensionError
        If the number of coefficients belongs to no triangle.
    """
    array = as_complex(coefficients)
    lmax = _lmax_of(array.shape[-1])
    degree, order = _triangle(lmax)
    sign = np.where(order % 2, -1 / _ROOT_FOUR_PI, 1 / _ROOT_FOUR_PI).astype(array.real.dtype)
    out = np.zeros((*array.shape[:-1], lmax + 1, lmax + 1), dtype=array.dtype)
    out[..., degree, order] = array * sign
    return out


def to_ecmwf(coefficients: Any) -> Floats:
    """Pack as GRIB ``spectral_complex``: real and imaginary parts in turn, all degrees of order 0 first.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)

    Returns
    -------
    array (..., (lmax + 1) (lmax + 2))
        Real; X itself, since ours is ECMWF's convention.

    Examples
    --------
    >>> to_ecmwf(np.array([[1, 0], [2, 3 + 4j]]))
    array([1., 0., 2., 0., 3., 4.])
    """
    array = square_coefficients(coefficients)
    degree, order = _triangle(array.shape[-1] - 1)
    packed = np.ascontiguousarray(array[..., degree, order])
    return np.asarray(packed.view(packed.real.dtype))


def from_ecmwf(values: Any) -> Complexes:
    """X on (degree, order) from ECMWF's packed values: inverse of `to_ecmwf`.

    Parameters
    ----------
    values : array (..., (lmax + 1) (lmax + 2))
        The ``values`` axis that cfgrib and ARCO-ERA5 give for spectral fields.

    Raises
    ------
    DimensionError
        If the number of values belongs to no triangle.
    """
    array = np.ascontiguousarray(as_float(values))
    size = array.shape[-1]
    lmax = _lmax_of(size // 2 if size % 2 == 0 else 0)
    degree, order = _triangle(lmax)
    packed = array.view(np.complex64 if array.dtype == np.float32 else np.complex128)
    out = np.zeros((*array.shape[:-1], lmax + 1, lmax + 1), dtype=packed.dtype)
    out[..., degree, order] = packed
    return out
