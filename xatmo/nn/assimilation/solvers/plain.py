"""Solvers without networks: along the gradient, and the fixed point of a map."""

from __future__ import annotations

import torch

from xatmo.nn.assimilation.priors import Prior
from xatmo.nn.assimilation.solvers.base import Memory, Moment, Solver, StepSizes


class GradientSolver(Solver):
    r"""Steps along the gradient, :math:`x \leftarrow x - a_k \nabla J(x)`.

    Of a quadratic cost it comes to the minimum where :math:`a_k` is below 2 divided by the largest eigenvalue.

    Parameters
    ----------
    n_steps : int
    step_size : float
        First guess of all :math:`a_k`.
    learn : bool
    """

    def __init__(self, n_steps: int, step_size: float, *, learn: bool = True) -> None:
        super().__init__()
        self.sizes = StepSizes(n_steps, step_size, learn=learn)

    def forward(self, moment: Moment, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Give the change."""
        return -self.sizes(moment.step) * moment.gradient, ()


class FixedPointSolver(Solver):
    r"""Observations where there are some, the prior's map elsewhere: :math:`x \leftarrow m\,y + (1 - m)\,\Phi(x)`.

    It takes the observations for exact, and reads them with the identity. Where several variables observe one
    field, the mean of them counts; errors of observations are taken off.

    Parameters
    ----------
    prior : Prior
        With a map.

    Notes
    -----
    Beauchamp et al. 2020, Remote Sensing 12, 3806 (DinAE).
    """

    needs_gradient = False

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.halo, self.scale = prior.halo, prior.scale

    def forward(self, moment: Moment, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Give the change."""
        problem, x = moment.problem, moment.x
        layout, n = problem.layout, problem.layout.n_outputs
        made = problem.prior.map(x)
        mask = problem.obs.mask.to(x.dtype)
        # What is still missing at the observations, once the map has been applied.
        missing = problem.innovation(made)
        parts = list(torch.split(made, 1, dim=1))
        first = layout.fields.start if layout.groups < 3 else n
        for output in range(n):
            seen = [i for i, variable in enumerate(problem.operator.observed) if variable == output]
            if seen:
                number = mask[:, seen].sum(1, keepdim=True)
                parts[first + output] = parts[first + output] + (
                    missing[:, seen].sum(1, keepdim=True) / number.clamp_min(1)
                )
        return problem.inside(torch.cat(parts, dim=1)) - x, ()
