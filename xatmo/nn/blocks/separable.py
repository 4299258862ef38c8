"""Depthwise-separable convolution: each channel alone in space, then all channels in each cell."""

from __future__ import annotations

import torch
from torch import nn


class SeparableConvolution(nn.Module):
    """A depthwise ``size x size`` and a 1 x 1 convolution (Chollet 2017, *Xception*, arXiv:1610.02357).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    size : int
        Odd width of the depthwise kernel; zeros beyond the edge.
    bias : bool
        Of the 1 x 1 convolution; the depthwise one has none, which that of the second would take up.

    Examples
    --------
    >>> conv = SeparableConvolution(16, 32)
    >>> conv(torch.ones(1, 16, 4, 6)).shape, sum(p.numel() for p in conv.parameters())
    (torch.Size([1, 32, 4, 6]), 688)
    """

    def __init__(self, n_in: int, n_out: int, size: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        self.halo = size // 2
        self.depthwise = nn.Conv2d(n_in, n_in, size, padding=size // 2, groups=n_in, bias=False)
        self.pointwise = nn.Conv2d(n_in, n_out, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, n_out, lat, lon)``."""
        y: torch.Tensor = self.pointwise(self.depthwise(x))
        return y
