"""Exact factors of precisions on (time, row, column): whichever of two orders of elimination is less work."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.advection._blocks import BlockFactor
from xatmo.assimilation.advection._dissection import Dissection, FrontFactor, dissect
from xatmo.errors import OptionError

Array = NDArray[np.float64]
ExactFactor: TypeAlias = FrontFactor | BlockFactor

MOST_BYTES = 6e9
"""Largest factor that is made."""
_BLOCKS_SLOWER = 1.5  # work of dense blocks, in that of fronts: inverses instead of factors


def factor_of_one(matrix: Any, shape: tuple[int, int], reach: int | None, periodic: tuple[bool, bool]) -> FrontFactor:
    """Factor a symmetric positive definite matrix on the cells of one time; a dense one without ``reach``.

    Raises
    ------
    OptionError
        If the matrix is not positive definite.
    """
    plan = dissect((1, *shape), max(shape) if reach is None else reach, periodic)
    return FrontFactor(plan, plan.scatter(matrix))


def factor_of_grid(prior: Any) -> FrontFactor:
    """Factor the precision of a prior by fronts, from which samples come.

    Raises
    ------
    OptionError
        See `factorise`.
    """
    shape = (prior.steps, *prior.cells.shape)
    plan = dissect(shape, max(shape[1:]) if prior.reach is None else prior.reach, prior.cells.periodic)
    _require_memory(8 * plan.entries, prior)
    return FrontFactor(plan, _entries(prior, plan))


def factorise(prior: Any, information: Any = None) -> ExactFactor:
    """Factor the precision of a prior, and of observations where there are some.

    Parameters
    ----------
    prior : AdvectionDiffusion
    information : sparse array (node, node), optional
        ``H^T R^-1 H``.

    Raises
    ------
    OptionError
        If the factor would be too large, or the precision is not positive definite.
    """
    times, n, shape = prior.steps, prior.n_cell, (prior.steps, *prior.cells.shape)
    local = True
    reach = prior.reach
    if information is not None:
        local, spread = _spread(information, shape, prior.cells.periodic)
        reach = None if reach is None else max(reach, spread)
    plan = dissect(shape, max(shape[1:]) if reach is None else reach, prior.cells.periodic)
    block_work = times * float(n) ** 3 / 2 * _BLOCKS_SLOWER if local else np.inf
    fronts = plan.work <= block_work
    needed = 8 * (plan.entries if fronts else times * float(n) ** 2)
    if needed > MOST_BYTES and local:  # what is more work may be smaller
        fronts = not fronts
        needed = 8 * (plan.entries if fronts else times * float(n) ** 2)
    _require_memory(needed, prior)
    if fronts:
        parts = [_entries(prior, plan)] + ([] if information is None else [plan.scatter(information)])
        return FrontFactor(plan, *parts)
    own, below = prior.blocks()
    if information is not None:
        added = information.tocsr()
        own = [b + added[k * n : (k + 1) * n, k * n : (k + 1) * n] for k, b in enumerate(own)]
    return BlockFactor(own, below)


def _require_memory(needed: float, prior: Any) -> None:
    if needed > MOST_BYTES:
        message = (
            f"{prior.steps} times of {prior.n_cell} cells came, whose exact factor takes {needed / 1e9:.1f} GB; wanted "
            f"at most {MOST_BYTES / 1e9:g}: take a shorter window, or pass method='cg' and take the error from members"
        )
        raise OptionError(message)


def _entries(prior: Any, plan: Dissection) -> Any:
    """Entries of the prior's precision, sorted once for all observations."""
    known: dict[int, Any] = prior.__dict__.setdefault("_sorted_entries", {})
    if plan.reach not in known:
        known[plan.reach] = plan.scatter(prior.precision())
    return known[plan.reach]


def _spread(matrix: Any, shape: tuple[int, int, int], periodic: tuple[bool, bool]) -> tuple[bool, int]:
    """Whether a matrix joins no two times; and across how many rows and columns it joins nodes at most."""
    entries = matrix.tocoo()
    one, other = (np.unravel_index(i, shape) for i in (entries.row, entries.col))
    far = 0
    for a, b, size, around in zip(one[1:], other[1:], shape[1:], periodic, strict=True):
        apart = np.abs(a - b)
        apart = np.minimum(apart, size - apart) if around else apart
        far = max(far, int(apart.max(initial=0)))
    return bool((one[0] == other[0]).all()), far
