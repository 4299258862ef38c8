"""One variational problem: its observations, its cost, and the gradient of the cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from xatmo.nn.assimilation.costs import ObservationCost, PriorCost
from xatmo.nn.assimilation.observations import Observations
from xatmo.nn.assimilation.operators import ObservationOperator, Residuals
from xatmo.nn.assimilation.priors import Prior
from xatmo.nn.assimilation.state import StateLayout


class Terms(NamedTuple):
    """The two parts of a cost, or of its gradient."""

    observation: torch.Tensor
    prior: torch.Tensor

    @property
    def sum(self) -> torch.Tensor:
        """Both together."""
        return self.observation + self.prior


@dataclass
class Problem:
    """What a solver is given.

    Attributes
    ----------
    layout : StateLayout
    operator : ObservationOperator
    observation_cost : ObservationCost
    prior : Prior
    prior_cost : PriorCost
    obs : Observations
        Inside of the domain.
    background : Tensor (batch, n_outputs, time, lat, lon)
        0 outside of the domain.
    domain : Tensor (batch, 1, 1, lat, lon), optional
        Bool.
    extra, extra_mask : Tensor (batch, n_extra, time, lat, lon), optional
    """

    layout: StateLayout
    operator: ObservationOperator
    observation_cost: ObservationCost
    prior: Prior
    prior_cost: PriorCost
    obs: Observations
    background: torch.Tensor
    domain: torch.Tensor | None = None
    extra: torch.Tensor | None = None
    extra_mask: torch.Tensor | None = None
    _numbers: Terms | None = field(default=None, repr=False)

    @property
    def numbers(self) -> Terms:
        """Observations and cells of each sample, at least 1, ``(batch,)``."""
        if self._numbers is None:
            cells = self.background[:, 0].numel() // len(self.background)
            wet = self.background.new_full((len(self.background),), float(cells))
            if self.domain is not None:
                wet = (self.domain.flatten(1).sum(1) * self.background.shape[2]).to(wet.dtype).expand(len(wet))
            self._numbers = Terms(self.obs.count.to(wet.dtype).clamp_min(1), wet.clamp_min(1))
        return self._numbers

    def residuals(self, x: torch.Tensor) -> Residuals:
        """Give what the state misses of the observations, and of the background where it has a copy."""
        fields = self.layout.observed(x, self.background)
        errors = self.layout.errors(x) if self.layout.n_errors else None
        found: Residuals = self.operator(fields, self.obs, errors, self.extra, self.extra_mask)
        if self.domain is not None:
            nothing = self.background.new_zeros(())
            found = {name: torch.where(self.domain, r, nothing) for name, r in found.items()}
        moved = self.layout.moved_background(x)
        return found if moved is None else {**found, "background": moved - self.background}

    def cost(self, x: torch.Tensor) -> Terms:
        """Give the two parts of the cost of each sample ``(batch,)``."""
        prior = self.prior_cost(self.prior(x, self.domain)) + self.prior.normalisation(x, self.domain)
        return Terms(self.observation_cost(self.residuals(x)), prior)

    def mean_cost(self, x: torch.Tensor) -> torch.Tensor:
        """Give the cost per observation plus that of the prior per cell, the mean of the samples."""
        cost, numbers = self.cost(x), self.numbers
        return (cost.observation / numbers.observation + cost.prior / numbers.prior).mean()

    def innovation(self, x: torch.Tensor) -> torch.Tensor:
        """Give observation minus state, 0 where nothing is observed ``(batch, n_observations, time, lat, lon)``."""
        return -self.residuals(x)["value"]

    def gradient(self, x: torch.Tensor, *, differentiable: bool) -> Terms:
        """Give the gradient of the cost, by its parts, like ``x``.

        Parameters
        ----------
        x : Tensor (batch, channels, time, lat, lon)
        differentiable : bool
            Whether the gradient itself is to be differentiated, as training does.
        """
        with torch.enable_grad():
            z = x if differentiable and x.requires_grad else x.detach().requires_grad_()
            misfits, likely = self.residuals(z), self.prior(z, self.domain)
            # What the squares pull with, so that nothing has to be summed up and taken apart again.
            pulls = [*self.observation_cost.slopes(misfits).values()], [self.prior_cost.slope(likely)]
            pulled = [*misfits.values()], [likely]
            beside = self.prior.normalisation(z, self.domain)
            if beside.requires_grad:
                pulled[1].append(beside)
                pulls[1].append(torch.ones_like(beside))
            parts = [
                torch.autograd.grad(of, z, by, create_graph=differentiable, materialize_grads=True)[0]
                for of, by in zip(pulled, pulls, strict=True)
            ]
        return Terms(*(self.inside(p if differentiable else p.detach()) for p in parts))

    def size(self, gradient: Terms) -> torch.Tensor:
        """Give how large a gradient is, in each sample ``(batch, 1, 1, 1, 1)``.

        Root of the mean square of the observations' part over observations plus that of the prior's over cells: neither
        a larger patch nor more observations of the same kind change it.
        """
        parts = [g.detach().square().flatten(1).sum(1) / n for g, n in zip(gradient, self.numbers, strict=True)]
        return torch.stack(parts).sum(0).sqrt().clamp_min(1e-12)[:, None, None, None, None]

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        """Give ``x`` with 0 outside of the domain."""
        return x if self.domain is None else torch.where(self.domain, x, x.new_zeros(()))
