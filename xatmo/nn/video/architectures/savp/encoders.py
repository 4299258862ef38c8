"""What two frames tell about the latent variables of the step between them."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.video.architectures.savp.layers import InstanceNorm
from xatmo.nn.video.latent import Gaussian


class PairEncoder(nn.Module):
    """A normal distribution of latent variables from two frames: strided convolutions, and the mean over the cells.

    Parameters
    ----------
    n_in : int
        Channels of both frames together.
    n_latent : int
    widths : sequence of int
        Of the convolutions, each of which halves the resolution.

    Examples
    --------
    >>> found = PairEncoder(2, 8)(torch.randn(3, 2, 32, 40))
    >>> found.mean.shape, found.log_variance.shape
    (torch.Size([3, 8]), torch.Size([3, 8]))
    """

    def __init__(self, n_in: int, n_latent: int, widths: tuple[int, ...] = (64, 128, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k, (a, b) in enumerate(zip((n_in, *widths[:-1]), widths, strict=True)):
            layers.append(nn.Conv2d(a, b, 4, stride=2, padding=1))
            if k:
                layers.append(InstanceNorm(b))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(widths[-1], 2 * n_latent)

    def forward(self, pairs: torch.Tensor) -> Gaussian:
        """``(batch, n_in, lat, lon)``, at least 16 cells along each axis."""
        return Gaussian.of(self.dense(self.layers(pairs).mean((-2, -1))))
