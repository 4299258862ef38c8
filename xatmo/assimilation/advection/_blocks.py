"""Cholesky factors of block-tridiagonal precisions, time by time, by dense blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from xatmo.assimilation.advection._dissection import cholesky, mirrored

Array = NDArray[np.float64]


class BlockFactor:
    """Factor of a matrix whose blocks couple neighbouring times only: a Kalman filter in the form of information.

    With blocks ``Q(k, k)`` and sparse ``Q(k + 1, k)``, what remains of a time when those before are eliminated is
    ``D(k) = Q(k, k) - Q(k, k - 1) D(k - 1)^-1 Q(k, k - 1)^T``. One dense inverse a time: the work grows with the number
    of times, not with its cube, which pays for long records of small grids.

    Parameters
    ----------
    own, below : lists of sparse arrays (cell, cell)
        ``Q(k, k)`` and ``Q(k + 1, k)``.

    Raises
    ------
    OptionError
        If the matrix is not positive definite.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> two, one = sp.csc_array([[2.0]]), sp.csc_array([[1.0]])
    >>> BlockFactor([two, two], [one]).solve(np.array([3.0, 3.0])).round(12).tolist()
    [1.0, 1.0]
    """

    def __init__(self, own: list[Any], below: list[Any]) -> None:
        self._below = [b.tocsr() for b in below]
        self._inverses: list[Array] = []
        self._log = 0.0
        for k, block in enumerate(own):
            dense = np.asfortranarray(block.toarray())
            if k:
                dense -= self._around(k - 1, self._inverses[-1])
            factor = cholesky(dense)
            self._log += 2 * float(np.log(np.diagonal(factor)).sum())
            self._inverses.append(mirrored(lapack.dpotri(factor, lower=1, overwrite_c=1)[0]))

    def _around(self, k: int, dense: Array) -> Array:
        """``Q(k + 1, k) dense Q(k + 1, k)^T``."""
        half = self._below[k] @ dense
        return np.asarray(self._below[k] @ np.ascontiguousarray(half.T))

    def log_determinant(self) -> float:
        """Logarithm of the determinant."""
        return self._log

    def solve(self, right: Array) -> Array:
        """``Q^-1 right`` for (n,) or (n, columns)."""
        steps = len(self._inverses)
        parts = list(np.array(right, dtype=np.float64).reshape(steps, -1, *np.shape(right)[1:]))
        for k, below in enumerate(self._below):
            parts[k] = self._inverses[k] @ parts[k]
            parts[k + 1] = parts[k + 1] - below @ parts[k]
        parts[-1] = self._inverses[-1] @ parts[-1]
        for k in range(steps - 2, -1, -1):
            parts[k] = parts[k] - self._inverses[k] @ (self._below[k].T @ parts[k + 1])
        return np.concatenate(parts)

    def inverse_diagonal(self) -> Array:
        """Diagonal (n,) of the inverse, exact, by the smoother backward in time."""
        covariance = self._inverses[-1]
        out = [np.diagonal(covariance)]
        for k in range(len(self._below) - 1, -1, -1):
            inverse, below = self._inverses[k], self._below[k].T.tocsr()
            middle = below @ np.ascontiguousarray((below @ covariance).T)
            covariance = inverse + inverse @ middle @ inverse
            out.append(np.diagonal(covariance).copy())
        return np.concatenate(out[::-1])
