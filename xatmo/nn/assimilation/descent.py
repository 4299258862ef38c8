r"""The best change of the state along two directions: the gradient, spread by the prior, and the last change.

Of a quadratic cost, steps of it alone are those of preconditioned conjugate gradients; learned changes in between do
no harm. It is safe whatever the eigenvalues of the cost are: no step size has to be guessed.
"""

from __future__ import annotations

import torch

from xatmo.nn.assimilation.priors.spde import SPDEPrior
from xatmo.nn.assimilation.problem import Problem

_PARALLEL = 1e-4  # what is left of the last change's square, below which it says nothing new


def best_change(problem: Problem, x: torch.Tensor, gradient: torch.Tensor, last: torch.Tensor | None) -> torch.Tensor:
    """Give the change of the fields that brings the cost down the most, like ``x``; 0 in other channels.

    Parameters
    ----------
    problem : Problem
        With an `SPDEPrior`.
    x : Tensor (batch, channels, time, lat, lon)
    gradient : Tensor, like ``x``
        Of the cost.
    last : Tensor, like ``x``, optional
        The last change of the state.
    """
    prior = problem.prior
    assert isinstance(prior, SPDEPrior)  # FourDVarNetwork refuses others
    there = torch.zeros_like(x[:1])
    there[:, prior.fields] = 1
    if problem.layout.groups > 1:
        there[:, : problem.layout.n_outputs] = 1  # the copy of the background moves too
    g = gradient * there
    first = problem.inside(-prior.spread(g))
    curved = _images(problem, x, first)
    slope, bend = _dot(g, first), _product(problem, curved, curved)
    along = -slope / bend.clamp_min(torch.finfo(bend.dtype).tiny)
    change = along * first
    if last is None:
        return change
    last = last * there
    other = _images(problem, x, last)
    mixed, own = _product(problem, curved, other), _product(problem, other, other)
    part = mixed / bend.clamp_min(torch.finfo(bend.dtype).tiny)
    left = own - part * mixed
    new = left > _PARALLEL * own
    size = -(_dot(g, last) - part * slope) / torch.where(new, left, torch.ones_like(left))
    return change + torch.where(new, size, torch.zeros_like(size)) * (last - part * first)


def _images(problem: Problem, x: torch.Tensor, change: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Give what a change of the state changes of all residuals, to first order."""
    here, there = problem.residuals(x), problem.residuals(x + change)
    n = problem.layout.n_coefficients
    # The equation is linear in fields: those of the change, with the coefficients of the state.
    moved = torch.cat([change[:, : change.shape[1] - n], x[:, x.shape[1] - n :]], dim=1)
    return {name: there[name] - here[name] for name in here}, problem.prior(moved, problem.domain)


def _product(
    problem: Problem,
    a: tuple[dict[str, torch.Tensor], torch.Tensor],
    b: tuple[dict[str, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Product of two changes by the Hessian ``(batch, 1, 1, 1, 1)``."""
    cost = problem.observation_cost
    parts = [_dot(r * cost.weights[name]()[:, None, None, None], b[0][name]) for name, r in a[0].items()]
    parts.append(_dot(a[1] * problem.prior_cost.weights()[:, None, None, None], b[1]))
    return torch.stack(parts).sum(0)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum((1, 2, 3, 4), keepdim=True)
