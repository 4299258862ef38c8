"""Sparse factors of single steps, and what is said of matrices that have none."""

from __future__ import annotations

from typing import Any


def step_factor(matrix: Any) -> Any:
    """LU factors of a step M, ordered for its symmetric pattern: a third of the entries that columns alone would give.

    Pivots are taken from the diagonal unless they are a hundred times smaller than others: ``M = I + dt A``, where A
    dissipates.
    """
    import scipy.sparse.linalg as sla

    options = {"SymmetricMode": True}
    return sla.splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options=options)


def indefinite() -> str:
    return (
        "a matrix that is not positive definite came; wanted a precision: rounding does this where kappa is tiny "
        "against diffusion / spacing^2, so that a larger kappa or fewer powers (alpha) are needed"
    )
