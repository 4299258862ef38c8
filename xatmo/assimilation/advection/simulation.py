"""Fields drawn from an advection-diffusion prior: step by step, or from a factor of its precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.advection._factors import factor_of_grid
from xatmo.assimilation.advection.prior import AdvectionDiffusion
from xatmo.errors import OptionError

Array = NDArray[np.float64]


def simulate(
    prior: AdvectionDiffusion,
    rng: np.random.Generator | int | None = None,
    *,
    members: int = 1,
    first: Array | None = None,
) -> Array:
    """Draw fields by stepping: the first time from its covariance, then ``x(t) = M^-1 (x(t - 1) + noise)``.

    Parameters
    ----------
    prior : AdvectionDiffusion
    rng : numpy.random.Generator or seed
    members : int
    first : array (row, column) or (members, row, column), optional
        Where to start from instead; then there is no spin-up.

    Returns
    -------
    array (members, n_time, row, column)

    Raises
    ------
    OptionError
        If ``members`` is not positive, or ``first`` has another shape.

    Examples
    --------
    >>> prior = AdvectionDiffusion.on_plane((4, 6, 8), (1.0, 1.0, 1.0), kappa=0.5, velocity=(0.1, 0.0))
    >>> simulate(prior, 0, members=2).shape
    (2, 4, 6, 8)
    """
    if members < 1:
        message = f"members={members!r} came; wanted at least 1"
        raise OptionError(message)
    rng = np.random.default_rng(rng)
    n = prior.n_cell
    if first is None:
        state, start = prior.first_factor.sample(rng.standard_normal((n, members))), 0
    else:
        if np.shape(first)[-2:] != prior.cells.shape or np.shape(first)[:-2] not in ((), (members,)):
            message = f"first of shape {np.shape(first)} came; wanted {prior.cells.shape}, or with members before"
            raise OptionError(message)
        state = np.broadcast_to(np.asarray(first, dtype=np.float64).reshape(-1, n).T, (n, members))
        start = prior.spin_up
    out = [state]
    for k in range(start + 1, prior.steps):
        noise = np.sqrt(prior.noise_of(k))[:, None] * rng.standard_normal((n, members))
        state = prior.step_factors[k - 1].solve(state + noise)
        out.append(state)
    return np.stack(out[prior.spin_up - start :]).transpose(2, 0, 1).reshape(members, *prior.shape)


def sample(prior: AdvectionDiffusion, rng: np.random.Generator | int | None = None, *, members: int = 1) -> Array:
    """Draw fields with the sparse Cholesky factor of the whole precision: all times at once.

    Parameters
    ----------
    prior : AdvectionDiffusion
    rng : numpy.random.Generator or seed
    members : int

    Returns
    -------
    array (members, n_time, row, column)

    Raises
    ------
    OptionError
        If ``members`` is not positive.
    """
    if members < 1:
        message = f"members={members!r} came; wanted at least 1"
        raise OptionError(message)
    rng = np.random.default_rng(rng)
    white = rng.standard_normal((prior.steps * prior.n_cell, members))
    fields = factor_of_grid(prior).sample(white).T.reshape(members, prior.steps, *prior.cells.shape)
    return fields[:, prior.spin_up :]
