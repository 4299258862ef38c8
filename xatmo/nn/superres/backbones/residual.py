"""Residual blocks between two convolutions, with one long skip."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import LayerStyle, ResidualBlock


class ResidualBackbone(nn.Module):
    """``y = stem(x); y + tail(blocks(y))`` (Lim et al. 2017, *EDSR*, arXiv:1707.02921: no batch normalization).

    Parameters
    ----------
    n_inputs : int
        Input channels.
    channels : int
        Features of every layer.
    n_blocks : int
        Residual blocks.
    style : LayerStyle

    Examples
    --------
    >>> ResidualBackbone(2, 8, 3)(torch.ones(1, 2, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.channels = channels
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        blocks = [ResidualBlock(channels, style) for _ in range(n_blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.tail = style.convolution(channels, channels, bias=True)
        self.halo = 2 + sum(block.halo for block in blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y = self.stem(x)
        out: torch.Tensor = y + self.tail(self.blocks(y))
        return out
