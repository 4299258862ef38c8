"""Analysis in the space of the observations, without any large factor: conjugate gradients for many right sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import OptionError

Array = NDArray[np.float64]

MOST_ITERATIONS = 5000


def conjugate(multiply: Callable[[Array], Array], right: Array, precondition: Any, tolerance: float) -> Array:
    """Solve ``A x = b`` for each column of ``right`` (n, columns); A symmetric positive definite.

    Columns are solved side by side, so that what `multiply` has to set up, or to read, serves all of them.

    Parameters
    ----------
    multiply : callable
        From (n, columns) to A times it.
    right : array (n, columns)
    precondition : sparse array (n, n)
        F with F^T F close to the inverse of A.
    tolerance : float
        Norm of the preconditioned residual by that of the right side.

    Raises
    ------
    OptionError
        If 5000 iterations do not suffice.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> matrix = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> conjugate(lambda w: matrix @ w, np.array([[3.0], [3.0]]), sp.eye_array(2), 1e-12).round(9).tolist()
    [[1.0], [1.0]]
    """
    out = np.zeros_like(right)
    active = np.flatnonzero((right != 0).any(axis=0))
    x, r = out[:, active], right[:, active].copy()
    z = precondition.T @ (precondition @ r)
    p, rz = z.copy(), np.einsum("ij,ij->j", r, z)
    stop = rz * tolerance**2
    for _ in range(MOST_ITERATIONS):
        if active.size == 0:
            return out
        q = multiply(p)
        step = rz / np.einsum("ij,ij->j", p, q)
        x += step * p
        r -= step * q
        z = precondition.T @ (precondition @ r)
        rz, old = np.einsum("ij,ij->j", r, z), rz
        p = z + (rz / old) * p
        done = rz <= stop
        if done.any():
            out[:, active[done]] = x[:, done]
            active, (x, r, p, rz, stop) = active[~done], [a[..., ~done] for a in (x, r, p, rz, stop)]
    if active.size == 0:
        return out
    message = (
        f"{len(right)} observations came with which conjugate gradients did not reach {tolerance:g} in "
        f"{MOST_ITERATIONS} iterations; wanted a larger noise_variance, or pass method='direct'"
    )
    raise OptionError(message)
