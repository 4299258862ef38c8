"""Standard error of an analysis: a small network beside the solver, which the analysis does not feel."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.observations import Observations
from xatmo.nn.assimilation.priors.base import enlarged
from xatmo.nn.blocks import start_at_zero
from xatmo.nn.superres.backbones.unet import UNetBackbone

FIRST, REACH = -1.5, 5.0
"""Logarithm of the standard error before training, in normalized units, and how far from it training may go."""


class ErrorHead(nn.Module):
    r"""The logarithm of the standard error of every output at every cell and frame.

    .. math::
        \log \sigma = c + L \tanh\frac{U\, W * N(r) + F * m}{L}, \qquad c = -1.5, \quad L = 5

    from what was read at cells twice as wide: the analysis' increment, its last change, the innovation left, masks m,
    background and domain, all frames at once, so that a cell sees when it was observed before and after. What is read
    is detached: training the head changes nothing else.

    Parameters
    ----------
    config : FourDVarConfig
        Its numbers of channels and levels count; the width is half that of the solver.

    Attributes
    ----------
    halo : int
        Cells around that it sees.
    scale : int
        Cells that are averaged together, counted from the edge of a patch.

    Examples
    --------
    >>> config = FourDVarConfig(time_window=2, solver_channels=8, n_levels=1)
    >>> head, x = ErrorHead(config), torch.zeros(1, 1, 2, 6, 7)
    >>> head(x, x, x, Observations.of(x), None).exp().mean().item()  # before it has learned
    0.2231301...
    """

    def __init__(self, config: FourDVarConfig) -> None:
        super().__init__()
        frames = config.time_window
        n_out, n_seen = config.n_outputs * frames, config.n_observations * frames
        width = max(config.solver_channels // 2, 8)
        levels = min(config.n_levels, 2)
        self.observed = config.observed or ()
        self.n_outputs = config.n_outputs
        self.read = nn.Conv2d(3 * n_out + 2 * n_seen + 1, width, 2, stride=2)
        self.body = UNetBackbone(width, width, levels)
        self.write = nn.Conv2d(width, n_out, 1)
        # An observed cell knows more than those beside it.
        self.at_observations = nn.Conv2d(n_seen, n_out, 3, padding=1, bias=False)
        start_at_zero(self.write)
        nn.init.zeros_(self.at_observations.weight)
        self.halo, self.scale = 2 * (self.body.halo + 1) + 1, 2 ** (levels + 1)

    def forward(
        self,
        analysis: torch.Tensor,
        change: torch.Tensor,
        background: torch.Tensor,
        obs: Observations,
        domain: torch.Tensor | None,
    ) -> torch.Tensor:
        """Give the logarithm.

        Parameters
        ----------
        analysis, change, background : Tensor (batch, n_outputs, time, lat, lon)
            The last iterate, what it is beside the one before, and the first guess; finite.
        obs : Observations
        domain : Tensor (batch, 1, 1, lat, lon), optional
            Bool.

        Returns
        -------
        Tensor (batch, n_outputs, time, lat, lon)
        """
        analysis, change, background = (x.detach() for x in (analysis, change, background))
        mask = obs.mask.to(analysis.dtype)
        missed = torch.where(obs.mask, obs.values - analysis[:, list(self.observed)], mask.new_zeros(()))
        parts = [analysis - background, change, background, missed, mask]
        given = [p.flatten(1, 2) for p in parts]
        rows, columns = analysis.shape[-2:]
        if domain is None:
            given.append(torch.ones_like(given[0][:, :1]))
        else:
            given.append(domain[:, 0].to(analysis.dtype).expand(len(analysis), -1, -1, -1))
        whole = nn.functional.pad(torch.cat(given, dim=1), (0, columns % 2, 0, rows % 2))
        seen = self.body(self.read(whole.contiguous(memory_format=torch.channels_last)))
        made = enlarged(self.write(seen), 2, analysis) + self.at_observations(given[4])
        made = torch.unflatten(made.float(), 1, analysis.shape[1:3])
        return FIRST + REACH * torch.tanh(made / REACH)


def gaussian_error(log_std: torch.Tensor, error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    r"""Mean of :math:`\log\sigma + e^2 / 2\sigma^2`, the negative logarithm of a normal density but for a constant.

    Its minimum is where :math:`\sigma^2` is the mean square of the errors.

    Parameters
    ----------
    log_std, error : Tensor
        Of one shape; errors where the truth is missing are not finite and do not count.
    weight : Tensor
        Broadcasts.

    Examples
    --------
    >>> error, one = torch.tensor([3.0, -3.0, float("nan")]), torch.ones(1)
    >>> costs = [gaussian_error(torch.full((3,), s).log(), error, one) for s in (2.9, 3.0, 3.1)]
    >>> bool(costs[1] < costs[0]), bool(costs[1] < costs[2])
    (True, True)
    """
    there = error.isfinite()
    square = torch.where(there, error.detach(), error.new_zeros(())).float().square()
    cost = log_std + 0.5 * square * torch.exp(-2 * log_std)
    weight = (there * weight).expand_as(cost)
    return (cost * weight).sum() / weight.sum().clamp_min(torch.finfo(cost.dtype).tiny)
