"""What a solver is: from the gradient of the cost, and a memory, to a change of the state."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import nn

from xatmo.nn.assimilation.problem import Problem

Memory: TypeAlias = "tuple[torch.Tensor, ...]"


class Moment(NamedTuple):
    """Where the iteration stands.

    Attributes
    ----------
    problem : Problem
    x : Tensor (batch, channels, time, lat, lon)
    gradient : Tensor, optional
        Of the cost at ``x``, of the sums. None where the solver does not need it.
    scale : Tensor (batch, 1, 1, 1, 1)
        By which learned parts divide it.
    step, n_steps : int
        Number of the step in its cascade, from 0, and steps of a cascade.
    """

    problem: Problem
    x: torch.Tensor
    gradient: torch.Tensor
    scale: torch.Tensor
    step: int
    n_steps: int


class Solver(nn.Module):
    """Base of solvers.

    Attributes
    ----------
    halo : int
        Cells around that one change sees, beside what the gradient sees.
    scale : int
        Cells that are averaged together, counted from the edge of a patch.
    needs_gradient : bool
    """

    halo = 0
    scale = 1
    needs_gradient = True

    def forward(self, moment: Moment, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Give the change of the state, and what is to be remembered; the memory is empty before the first step."""
        raise NotImplementedError


class StepSizes(nn.Module):
    """A positive factor on the gradient for each step.

    Parameters
    ----------
    n_steps : int
    first : float
    learn : bool

    Examples
    --------
    >>> round(StepSizes(3, 0.2)(7).item(), 3)
    0.2
    """

    log: torch.Tensor

    def __init__(self, n_steps: int, first: float, *, learn: bool = True) -> None:
        super().__init__()
        log = torch.full((n_steps,), float(first)).log()
        if learn:
            self.log = nn.Parameter(log)
        else:
            self.register_buffer("log", log)

    def forward(self, step: int) -> torch.Tensor:
        """Of one step; beyond the last one that of the last."""
        return self.log[min(step, len(self.log) - 1)].exp()
