"""A residual block without normalization."""

from __future__ import annotations

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """``x + conv(gelu(conv(x)))``, 3 x 3, same number of channels, no normalization, no activation after the sum.

    The second convolution starts at zero, so that a deep stack starts as the identity and needs no normalization to
    train (Zhang et al. 2019, *Fixup initialization*, arXiv:1901.09321).

    Parameters
    ----------
    channels : int

    Examples
    --------
    >>> x = torch.ones(1, 4, 5, 6)
    >>> bool((ResidualBlock(4)(x) == x).all())
    True
    """

    halo = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        y: torch.Tensor = self.second(nn.functional.gelu(self.first(x)))
        return x + y
