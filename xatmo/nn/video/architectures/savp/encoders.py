"""What two frames tell about the latent variables of the step between them."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.video.architectures.savp.layers import InstanceNorm
from xatmo.nn.video.latent import Gaussian

_SLOPE = 0.2
_START = 0.3  # of distributions, near the standard normal one at first


class PairEncoder(nn.Module):
    """A normal distribution of latent variables from two frames: strided convolutions, and the mean over the cells.

    The mean of a map that was normalized over its cells tells nothing of how strong it was: what differs between the
    frames everywhere, or by a factor, does not come through a normalization. Without it the first weights let each
    layer pass on as much as came.

    Parameters
    ----------
    n_in : int
        Channels of both frames together.
    n_latent : int
    widths : sequence of int
        Of the convolutions, each of which halves the resolution.
    norm : {"instance", None}
        After all convolutions but the first.

    Examples
    --------
    >>> found = PairEncoder(2, 8)(torch.randn(3, 2, 32, 40))
    >>> found.mean.shape, found.log_variance.shape
    (torch.Size([3, 8]), torch.Size([3, 8]))
    """

    def __init__(
        self, n_in: int, n_latent: int, widths: tuple[int, ...] = (64, 128, 256), norm: str | None = "instance"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k, (a, b) in enumerate(zip((n_in, *widths[:-1]), widths, strict=True)):
            layers.append(nn.Conv2d(a, b, 4, stride=2, padding=1))
            if k and norm == "instance":
                layers.append(InstanceNorm(b))
            layers.append(nn.LeakyReLU(_SLOPE))
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(widths[-1], 2 * n_latent)
        self.normalized = norm is not None

    def start(self) -> None:
        """Let what was read reach the distribution."""
        if self.normalized:
            return
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
        nn.init.normal_(self.dense.weight, std=_START * self.dense.in_features**-0.5)

    def forward(self, pairs: torch.Tensor) -> Gaussian:
        """``(batch, n_in, lat, lon)``, at least 16 cells along each axis."""
        return Gaussian.of(self.dense(self.layers(pairs).mean((-2, -1))))
