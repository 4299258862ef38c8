"""Modules of any make around packed inputs: a caller's module to be trained, and any network to be asked."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.network import FourDVarNetwork, Given, Solution
from xatmo.nn.assimilation.observations import Observations


class ForeignNetwork(nn.Module):
    """A module of the caller's with what the training of variational networks asks for.

    Parameters
    ----------
    module : torch.nn.Module
        ``(batch, n_inputs, time, lat, lon) -> (batch, n_outputs, time, lat, lon)``, of packed inputs without NaN: see
        `xatmo.nn.assimilation.FourDVarNetwork.pack`.
    config : FourDVarConfig
        Its numbers of channels count.

    Examples
    --------
    >>> net = ForeignNetwork(nn.Conv3d(4, 1, 1), FourDVarConfig(time_window=2))
    >>> net(torch.zeros(1, 4, 2, 3, 3)).shape
    torch.Size([1, 1, 2, 3, 3])
    """

    def __init__(self, module: nn.Module, config: FourDVarConfig) -> None:
        super().__init__()
        self.module, self.config = module, config
        self.n_inputs = config.n_inputs

    def unpack(self, x: torch.Tensor) -> Given:
        """Take a packed input apart."""
        return FourDVarNetwork.unpack(cast(Any, self), x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give what the module makes of a packed input, NaN outside of the domain."""
        given = self.unpack(x)
        return self.solve(given.obs, given.background, given.domain, given.extra).analysis

    def solve(
        self,
        obs: Observations,
        background: torch.Tensor,
        domain: torch.Tensor,
        extra: torch.Tensor | None = None,
    ) -> Solution:
        """Give the module's answer as the one iterate."""
        like = obs.values
        water = domain.to(like.dtype).expand(len(like), 1, *like.shape[2:])
        parts = [like, obs.mask.to(like.dtype), background, water]
        if extra is not None:
            parts.append(torch.nan_to_num(extra, nan=0.0))
        made: torch.Tensor = self.module(torch.cat(parts, dim=1))
        analysis = torch.where(domain, made, made.new_full((), torch.nan))
        return Solution(analysis, (made,), made, cast(Any, _NoProblem()))


class _NoProblem:
    """A module of the caller's poses none."""

    def __getattr__(self, name: str) -> Any:
        message = (
            "the loss has the terms 'prior' or 'variational', and a module of your own has no variational cost; "
            "wanted the terms 'value', 'gradient' or 'coarse'"
        )
        raise OptionError(message)


class Answering(nn.Module):
    """A network that answers everywhere with a finite number, for windows that are laid side by side.

    Outside of the domain, and where a window has no observation at all, that is the background. A standard error is 1
    outside of the domain.

    Parameters
    ----------
    network : torch.nn.Module
        Of packed inputs.
    n_observations, n_outputs : int
    told : bool
        Whether to give the standard errors that the network has behind its outputs.

    Examples
    --------
    >>> net = Answering(nn.Conv3d(4, 1, 1), 1, 1)
    >>> float(net(torch.full((1, 4, 2, 3, 3), torch.nan)).detach().abs().max())
    0.0
    """

    stochastic = False
    factor = 1
    n_static = 0
    local = True

    def __init__(self, network: nn.Module, n_observations: int, n_outputs: int, *, told: bool = False) -> None:
        super().__init__()
        self.network, self.told = network, told
        self.n_observations, self.n_outputs = n_observations, n_outputs
        self.halo = int(getattr(network, "halo", 0))
        self.alignment = int(getattr(network, "alignment", 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the analysis of a packed input, in which what is missing is NaN."""
        n, m = self.n_observations, self.n_outputs
        mask = (x[:, n : 2 * n] > 0.5) & x[:, :n].isfinite()
        background = x[:, 2 * n : 2 * n + m]
        water = (x[:, 2 * n + m : 2 * n + m + 1] > 0.5) & background.isfinite()
        background = torch.nan_to_num(background, nan=0.0)
        made = self.network(x if isinstance(self.network, FourDVarNetwork) else torch.nan_to_num(x, nan=0.0))
        seen = mask.flatten(1).any(dim=1).reshape(-1, 1, 1, 1, 1)
        analysis = torch.where(seen & water, made[:, :m], background.to(made.dtype))
        if not self.told:
            return analysis
        return torch.cat([analysis, torch.where(water, made[:, m:], made.new_ones(()))], dim=1)
