"""Priors made of networks: a U-Net, several priors of which each place takes its share, a map that is repeated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from xatmo.nn.assimilation.priors.base import Prior, convolution
from xatmo.nn.superres.backbones.unet import UNetBackbone


class UNetPrior(Prior):
    """A U-Net with all frames as channels.

    Parameters
    ----------
    channels, frames : int
        Of the state.
    width : int
    n_levels : int
        Times that the grid is halved.

    Examples
    --------
    >>> prior = UNetPrior(1, 3, 4)
    >>> prior.map(torch.randn(1, 1, 3, 9, 10)).shape, prior.scale
    (torch.Size([1, 1, 3, 9, 10]), 4)
    """

    def __init__(self, channels: int, frames: int, width: int, n_levels: int = 2) -> None:
        super().__init__(channels)
        self.body = UNetBackbone(channels * frames, width, n_levels)
        self.last = nn.Conv2d(width, channels * frames, 1)
        self.halo, self.scale = self.body.halo, 2**n_levels

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give the likely state near this one."""
        made: torch.Tensor = self.last(self.body(x.flatten(1, 2)))
        return torch.unflatten(made, 1, x.shape[1:3])


class MultiPrior(Prior):
    r"""Several priors, each with its share: :math:`\Phi(x) = \sum_i s_i(x) \Phi_i(x)`, :math:`\sum s_i = 1`.

    The shares are a softmax of two convolutions of the state's own local mean, size and gradient, so that one kind of
    water is recognised wherever it is, and a prior trained in one sea serves another.

    Parameters
    ----------
    priors : sequence of Prior
        With maps, of the same state.
    width : int
        Features of the shares.

    Examples
    --------
    >>> from xatmo.nn.assimilation.priors import BilinearPrior
    >>> prior = MultiPrior([BilinearPrior(1, 3, 4), BilinearPrior(1, 3, 4)])
    >>> shares = prior.shares(torch.randn(1, 1, 3, 16, 16))
    >>> shares.shape, bool(torch.allclose(shares.sum(1), torch.ones(())))
    (torch.Size([1, 2, 16, 16]), True)
    """

    def __init__(self, priors: Sequence[Prior], width: int = 16, padding: str = "reflect") -> None:
        super().__init__(priors[0].n_residuals)
        self.priors = nn.ModuleList(priors)
        self.first = convolution(3, width, 5, padding)
        self.last = nn.Conv2d(width, len(priors), 1)
        self.halo = max(*(p.halo for p in priors), 5)
        self.scale = max(p.scale for p in priors)

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """Give the part of each prior ``(batch, n, lat, lon)``."""
        flat = x.flatten(1, 2)
        east = nn.functional.pad(flat.diff(dim=-1), (0, 1))
        north = nn.functional.pad(flat.diff(dim=-2), (0, 0, 0, 1))
        slope = east.square() + north.square()
        told = torch.stack([flat.mean(1), flat.square().mean(1), slope.mean(1)], dim=1)
        smooth = nn.functional.avg_pool2d(told, 5, 1, 2, count_include_pad=False)
        return torch.softmax(self.last(torch.relu(self.first(smooth))), dim=1)

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give the likely state near this one."""
        shares = self.shares(x)[:, :, None, None]
        return torch.stack([p.map(x) * shares[:, i] for i, p in enumerate(self.priors)]).sum(0)  # type: ignore[operator]


class FixedPointPrior(Prior):
    r"""A map repeated, :math:`\Phi^n`: likely states are what repeating it leads to.

    Parameters
    ----------
    prior : Prior
        With a map.
    n : int

    Examples
    --------
    >>> from xatmo.nn.assimilation.priors import ModulePrior
    >>> half = nn.Conv3d(1, 1, 1, bias=False)
    >>> _ = nn.init.constant_(half.weight, 0.5)
    >>> FixedPointPrior(ModulePrior(half, 1), 3).map(torch.ones(1, 1, 1, 1, 1)).item()
    0.125
    """

    def __init__(self, prior: Prior, n: int = 2) -> None:
        super().__init__(prior.n_residuals)
        self.prior, self.n = prior, n
        self.halo, self.scale = n * prior.halo, prior.scale

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give the likely state near this one."""
        for _ in range(self.n):
            x = self.prior.map(x)
        return x
