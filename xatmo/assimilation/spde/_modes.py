"""Modes of the operator of an `SPDE`: waves along longitude, eigenvectors of a tridiagonal matrix along latitude."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Modes(NamedTuple):
    """Eigenvectors and the first-order recursion of each mode."""

    vectors: Array  # (wavenumber, row, mode)
    decay: Array  # (wavenumber, mode): coefficient from one time to the next
    variance: Array  # (wavenumber, mode): stationary, for unit noise
    scale: Array  # (row,): standardised row vector to field, so that the variance is signal_std ** 2
    n_column: int

    def analyse(self, field: Array, rows: slice) -> NDArray[np.complex128]:
        """(time, row, column) to (time, wavenumber, mode); rows outside ``rows`` are zero."""
        spectrum = np.fft.rfft(field, n=self.n_column, axis=-1, norm="ortho").transpose(2, 0, 1)
        return _real_matmul(spectrum, self.vectors[:, rows])

    def synthesise(self, coefficients: NDArray[np.complex128], rows: slice) -> Array:
        """Give the field of coefficients, on some rows."""
        spectrum = _real_matmul(coefficients, self.vectors[:, rows].transpose(0, 2, 1)).transpose(1, 2, 0)
        return np.fft.irfft(spectrum, n=self.n_column, axis=-1, norm="ortho")


def multiplicity(n_column: int) -> Array:
    """How many real waves each wavenumber of ``n_column`` points stands for, ``(n_column // 2 + 1,)``.

    Examples
    --------
    >>> multiplicity(4), multiplicity(5)
    (array([1., 2., 1.]), array([1., 2., 2.]))
    """
    count = np.full(n_column // 2 + 1, 2.0)
    count[0] = 1
    if n_column % 2 == 0:
        count[-1] = 1
    return count


def eigen(width: Array, height: Array, face_width: Array, gap: Array, n: int, kappa: float) -> tuple[Array, Array]:
    """Eigenvalues (wavenumber, mode) of the operator and its eigenvectors (wavenumber, row, mode)."""
    from scipy.linalg import eigh_tridiagonal

    ring = 2 - 2 * np.cos(2 * np.pi * np.arange(n // 2 + 1) / n)
    root = np.sqrt(width * height)
    rows = rows_stiffness(face_width, gap)
    beside = rows.diagonal(1) / (root[1:] * root[:-1]) / kappa**2
    own = (ring[:, None] * (height / width) + rows.diagonal()) / root**2 / kappa**2
    found = [eigh_tridiagonal(d, beside, check_finite=False) for d in own]  # unlike eigh, no BLAS threads
    return 1 + np.maximum([f[0] for f in found], 0), np.stack([f[1] for f in found])


def rows_stiffness(face_width: Array, gap: Array) -> Any:
    """Tridiagonal matrix of the fluxes between rows, closed at both ends, per column."""
    import scipy.sparse as sp

    flux = face_width / gap
    diagonal = np.zeros(flux.size + 1)
    diagonal[:-1] += flux
    diagonal[1:] += flux
    return sp.diags([-flux, diagonal, -flux], [-1, 0, 1])


def _real_matmul(one: NDArray[np.complex128], other: Array) -> NDArray[np.complex128]:
    """Multiply complex stacks by real ones without making the real ones complex."""
    out = np.empty((*one.shape[:-1], other.shape[-1]), dtype=np.complex128)
    out.real = one.real @ other
    out.imag = one.imag @ other
    return out
