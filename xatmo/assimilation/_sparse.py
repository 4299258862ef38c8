"""Sparse Cholesky factors, from SciPy's LU without pivoting, which keeps the symmetry."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import OptionError

Array = NDArray[np.float64]


class Factor:
    """Factor of a sparse symmetric positive definite matrix, ``P Q P^T = L D L^T``.

    Parameters
    ----------
    matrix : sparse array (n, n)

    Raises
    ------
    OptionError
        If the matrix is not positive definite.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> factor = Factor(sp.csc_array([[2.0, 1.0], [1.0, 2.0]]))
    >>> factor.solve(np.array([3.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    def __init__(self, matrix: Any) -> None:
        import scipy.sparse.linalg as sla

        options = {"SymmetricMode": True}
        try:
            self._lu = sla.splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        except RuntimeError:  # exactly singular
            raise OptionError(_indefinite()) from None
        self._upper = self._lu.U.tocsr()
        self._diagonal = self._upper.diagonal()
        if not (np.array_equal(self._lu.perm_r, self._lu.perm_c) and (self._diagonal > 0).all()):
            raise OptionError(_indefinite())

    def solve(self, right: Array) -> Array:
        """``Q^-1 right`` for (n,) or (n, columns)."""
        return cast(Array, self._lu.solve(right))

    def log_determinant(self) -> float:
        """Logarithm of the determinant."""
        return float(np.log(self._diagonal).sum())

    def sample(self, white: Array) -> Array:
        """Turn white noise (n,) or (n, columns) into fields with covariance ``Q^-1``."""
        from scipy.sparse.linalg import spsolve_triangular

        root = np.sqrt(self._diagonal)
        scaled = white * (root if white.ndim == 1 else root[:, None])
        found = spsolve_triangular(self._upper, scaled, lower=False)
        return cast(Array, found[self._lu.perm_r])


def _indefinite() -> str:
    return (
        "a matrix that is not positive definite came; wanted a precision: rounding does this where kappa is tiny "
        "against diffusion / spacing^2, so that a larger kappa or fewer powers (alpha) are needed"
    )
