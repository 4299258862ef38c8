"""Coefficients in the layouts of other software: SHTOOLS/pyshtools, ducc0/healpy, and ECMWF's packed order.

Plain arrays in and out; `xatmo.spectral.to_layout` and `from_layout` do the same for labelled ones. Ours is X(n, m) on
(degree, order), m >= 0: half the integral of P^2 over mu is 1, no Condon-Shortley phase (`xatmo.spectral.to_spectral`).
All layouts describe real fields.

Where ``norm`` and ``csphase`` are keywords they mean what they mean in pyshtools. The integral of the squared harmonics
over the sphere is 4 pi for ``"4pi"``, 1 for ``"ortho"``, 4 pi / (2 n + 1) for ``"schmidt"``; ``"unnorm"`` takes the
Legendre functions as they are defined. ``csphase=-1`` multiplies the harmonics by (-1)^m (Condon-Shortley).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import DimensionError, OptionError
from xatmo.spectral._kernels import as_complex, as_float, square_coefficients
from xatmo.typing import Complexes, Floats

NORMS: Final = ("4pi", "ortho", "schmidt", "unnorm")
_UNNORM_LMAX: Final = 85  # (n + m)! is a float64 up to here, and this is where pyshtools stops
_ROOT_TWO = float(np.sqrt(2))
_ROOT_FOUR_PI = float(np.sqrt(4 * np.pi))


def triangular_size(lmax: int) -> int:
    """Count the coefficients with 0 <= order <= degree <= lmax.

    Examples
    --------
    >>> triangular_size(639)  # ERA5's spectral fields hold twice as many real numbers
    205120
    """
    return (lmax + 1) * (lmax + 2) // 2


def triangular_lmax(size: int) -> int:
    """Highest degree of a triangle of ``size`` coefficients: inverse of `triangular_size`.

    Raises
    ------
    DimensionError
        If no triangle has that many.

    Examples
    --------
    >>> triangular_lmax(205120)
    639
    """
    lmax = (int(np.sqrt(8 * size + 1)) - 3) // 2
    if size < 1 or triangular_size(lmax) != size:
        message = f"{size} coefficients came; wanted (lmax + 1) (lmax + 2) / 2 of them: 1, 3, 6, 10, ..."
        raise DimensionError(message)
    return lmax


# ---------------------------------------------------------------------- the m-major triangle
def _gather(square: Complexes) -> Complexes:
    """All degrees of order 0, then those of order 1, and so on: (..., triangle) from (..., degree, order)."""
    lmax = square.shape[-1] - 1
    by_order = np.swapaxes(square, -1, -2)  # in memory the order is the slower axis, as a rule
    out = np.empty((*square.shape[:-2], triangular_size(lmax)), square.dtype)
    start = 0
    for order in range(lmax + 1):
        stop = start + lmax + 1 - order
        out[..., start:stop] = by_order[..., order, order:]
        start = stop
    return out


def _spread(triangle: Complexes, lmax: int | None = None) -> Complexes:
    """Give (..., degree, order), zero where order > degree, up to ``lmax``: inverse of `_gather`."""
    stored = triangular_lmax(triangle.shape[-1])
    top = stored if lmax is None else lmax
    by_order = np.zeros((*triangle.shape[:-1], top + 1, top + 1), triangle.dtype)
    start = 0
    for order in range(top + 1):
        by_order[..., order, order:] = triangle[..., start : start + top + 1 - order]
        start += stored + 1 - order
    return np.swapaxes(by_order, -1, -2)


# ---------------------------------------------------------------------- norms
@lru_cache(maxsize=16)
def _factor(lmax: int, norm: str, csphase: int, real: bool) -> NDArray[np.float64]:
    """Give what turns our coefficients into those of a norm and phase, (degree, order)."""
    if norm not in NORMS:
        message = f"norm={norm!r} came; wanted one of {NORMS}"
        raise OptionError(message)
    if csphase not in (1, -1):
        message = f"csphase={csphase!r} came; wanted 1 (no Condon-Shortley phase) or -1 (with it)"
        raise OptionError(message)
    degree, order = np.arange(lmax + 1.0)[:, None], np.arange(lmax + 1)
    factor = np.ones((lmax + 1, lmax + 1))
    if norm == "ortho":
        factor *= _ROOT_FOUR_PI
    elif norm == "schmidt":
        factor *= np.sqrt(2 * degree + 1)
    elif norm == "unnorm":
        if lmax > _UNNORM_LMAX:
            message = f"norm='unnorm' came with lmax={lmax}; wanted lmax <= {_UNNORM_LMAX}: its numbers overflow above"
            raise OptionError(message)
        ratio = np.zeros((lmax + 1, lmax + 1))  # (n - m)! / (n + m)!
        for n in range(lmax + 1):
            ratio[n, : n + 1] = 1 / np.cumprod([1.0, *((n + m) * (n - m + 1.0) for m in range(1, n + 1))])
        twice = np.where(order > 0, 2, 1) if real else 1  # real harmonics hold both signs of the order
        factor = np.sqrt(twice * (2 * degree + 1) * ratio)
    if csphase == -1:
        factor = factor * np.where(order % 2, -1, 1)
    factor.flags.writeable = False
    return factor


def _inverse(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1, factor, out=np.zeros_like(factor), where=factor != 0)


def to_norm(coefficients: Any, *, norm: str = "4pi", csphase: int = 1) -> Complexes:
    """Complex coefficients of the same field for harmonics with another norm or phase.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)
        X on (degree, order).
    norm : {"4pi", "ortho", "schmidt", "unnorm"}
        Of the harmonics, as in pyshtools (see the module).
    csphase : {1, -1}
        -1 with the Condon-Shortley phase.

    Returns
    -------
    array (..., lmax + 1, lmax + 1)

    Raises
    ------
    DimensionError
        If the last two axes are not equally long.
    OptionError
        If norm or phase are unknown, or ``"unnorm"`` comes with ``lmax`` above 85.

    Examples
    --------
    >>> to_norm(np.array([[1, 0], [2, 3 + 4j]]), norm="schmidt", csphase=-1) / np.sqrt([[1], [3]])
    array([[ 1.+0.j, -0.+0.j], [ 2.+0.j, -3.-4.j]])
    """
    array = square_coefficients(coefficients)
    return np.asarray(array * _factor(array.shape[-1] - 1, norm, csphase, False).astype(array.real.dtype))


def from_norm(coefficients: Any, *, norm: str = "4pi", csphase: int = 1) -> Complexes:
    """X on (degree, order) from complex coefficients with another norm or phase: inverse of `to_norm`."""
    array = square_coefficients(coefficients)
    factor = _inverse(_factor(array.shape[-1] - 1, norm, csphase, False))
    return np.asarray(array * factor.astype(array.real.dtype))


# ---------------------------------------------------------------------- SHTOOLS, pyshtools
def to_pyshtools(coefficients: Any, *, norm: str = "4pi", csphase: int = 1) -> Floats:
    """Real cosine and sine coefficients as pyshtools holds them.

    With the default norm, ``C(n, 0) = Re X(n, 0)``, and for m > 0 ``C(n, m) = sqrt(2) Re X(n, m)``,
    ``S(n, m) = -sqrt(2) Im X(n, m)``.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)
        X on (degree, order).
    norm, csphase
        As in `to_norm`.

    Returns
    -------
    array (..., 2, lmax + 1, lmax + 1)
        For ``pyshtools.SHCoeffs.from_array(c, normalization=norm, csphase=csphase)``.

    Raises
    ------
    DimensionError
        If the last two axes are not equally long.
    OptionError
        As in `to_norm`.

    Examples
    --------
    >>> to_pyshtools(np.array([[1, 0], [2, 3 + 4j]]))[:, 1]
    array([[ 2.        ,  4.24264069], [ 0.        , -5.65685425]])
    """
    array = np.tril(square_coefficients(coefficients))
    out = np.stack([array.real, -array.imag], axis=-3) * np.asarray(_ROOT_TWO, array.real.dtype)
    out[..., 0, :, 0] = array[..., 0].real
    out[..., 1, :, 0] = 0
    if (norm, csphase) != ("4pi", 1):
        out *= _factor(array.shape[-1] - 1, norm, csphase, True).astype(out.dtype)
    return out


def from_pyshtools(coefficients: Any, *, norm: str = "4pi", csphase: int = 1) -> Complexes:
    """X on (degree, order) from pyshtools' real coefficients: inverse of `to_pyshtools`.

    Parameters
    ----------
    coefficients : array (..., 2, lmax + 1, lmax + 1)
        Cosine and sine part.
    norm, csphase
        As in `to_norm`: what ``clm.normalization`` and ``clm.csphase`` say.

    Raises
    ------
    DimensionError
        If the last three axes are not (2, lmax + 1, lmax + 1).
    OptionError
        As in `to_norm`.
    """
    array = as_float(coefficients)
    if array.ndim < 3 or array.shape[-3] != 2 or array.shape[-1] != array.shape[-2]:
        message = f"coefficients of shape {array.shape} came; wanted (..., 2, lmax + 1, lmax + 1)"
        raise DimensionError(message)
    if (norm, csphase) != ("4pi", 1):
        array = array * _inverse(_factor(array.shape[-1] - 1, norm, csphase, True)).astype(array.dtype)
    out = (array[..., 0, :, :] - 1j * array[..., 1, :, :]) / np.asarray(_ROOT_TWO, array.dtype)
    out[..., 0] = array[..., 0, :, 0]
    return np.tril(out)


def from_table(table: Any, *, norm: str = "4pi", csphase: int = 1) -> Complexes:
    """X on (degree, order) from rows of degree, order, cosine and sine coefficient: SHTOOLS' text files.

    Parameters
    ----------
    table : array (rows, 4) or more columns
        What `numpy.loadtxt` gives. Rows may come in any order; those that are missing are zero. Columns after the
        fourth (errors) are not read.
    norm, csphase
        As in `to_norm`.

    Returns
    -------
    array (lmax + 1, lmax + 1)

    Raises
    ------
    DimensionError
        If there are fewer than four columns.
    OptionError
        If a degree or order is no whole number, or an order exceeds its degree.

    Examples
    --------
    >>> from_table([[0, 0, 5.0, 0], [1, 0, 2.0, 0], [1, 1, np.sqrt(2), 0]])
    array([[5.+0.j, 0.+0.j], [2.+0.j, 1.+0.j]])
    """
    rows = np.atleast_2d(np.asarray(table, dtype=np.float64))
    if rows.ndim != 2 or rows.shape[1] < 4:
        message = f"a table of shape {rows.shape} came; wanted columns degree, order, cosine, sine"
        raise DimensionError(message)
    degree, order = (rows[:, i].astype(np.intp) for i in (0, 1))
    wrong = (degree != rows[:, 0]) | (order != rows[:, 1]) | (order > degree) | (order < 0)
    if wrong.any():
        message = f"row {int(np.argmax(wrong))} is {rows[np.argmax(wrong)]}; wanted whole numbers 0 <= order <= degree"
        raise OptionError(message)
    parts = np.zeros((2, degree.max() + 1, degree.max() + 1))
    parts[:, degree, order] = rows[:, 2:4].T
    return from_pyshtools(parts, norm=norm, csphase=csphase)


# ---------------------------------------------------------------------- ducc0, healpy
@lru_cache(maxsize=16)
def _healpy_factor(lmax: int) -> NDArray[np.float64]:
    """Give ``(-1)^m sqrt(4 pi)`` on the triangle."""
    order = np.repeat(np.arange(lmax + 1), np.arange(lmax + 1, 0, -1))
    return np.where(order % 2, -_ROOT_FOUR_PI, _ROOT_FOUR_PI)


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
    array = _gather(square_coefficients(coefficients))
    return np.asarray(array * _healpy_factor(triangular_lmax(array.shape[-1])).astype(array.real.dtype))


def from_triangular(coefficients: Any) -> Complexes:
    """X on (degree, order) from ducc0's or healpy's a(l, m): inverse of `to_triangular`.

    Raises
    ------
    DimensionError
        If the number of coefficients belongs to no triangle.
    """
    array = as_complex(coefficients)
    return _spread(array / _healpy_factor(triangular_lmax(array.shape[-1])).astype(array.real.dtype))


# ---------------------------------------------------------------------- ECMWF, GRIB
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
    packed = _gather(square_coefficients(coefficients))
    return np.asarray(packed.view(packed.real.dtype))


def from_ecmwf(values: Any, *, lmax: int | None = None) -> Complexes:
    """X on (degree, order) from ECMWF's packed values: inverse of `to_ecmwf`.

    Parameters
    ----------
    values : array (..., (lmax + 1) (lmax + 2))
        The ``values`` axis that cfgrib and ARCO-ERA5 give for spectral fields.
    lmax : int, optional
        Highest degree to keep; all by default.

    Raises
    ------
    DimensionError
        If the number of values belongs to no triangle.
    """
    array = np.ascontiguousarray(as_float(values))
    size = array.shape[-1]
    stored = triangular_lmax(size // 2 if size % 2 == 0 else 0)
    packed: Complexes = array.view(np.complex64 if array.dtype == np.float32 else np.complex128)
    return _spread(packed, None if lmax is None else min(lmax, stored))
