"""Residual blocks between two convolutions, with one long skip."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import ResidualBlock


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
    """

    def __init__(self, n_inputs: int, channels: int, n_blocks: int) -> None:
        super().__init__()
        self.channels = channels
        self.halo = 2 + ResidualBlock.halo * n_blocks
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(n_blocks)))
        self.tail = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y = self.stem(x)
        out: torch.Tensor = y + self.tail(self.blocks(y))
        return out
