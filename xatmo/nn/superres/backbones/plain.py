"""Convolutions one after another."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import ConvolutionBlock, LayerStyle


class PlainBackbone(nn.Module):
    """A convolution, then blocks of two convolutions, without skips.

    Parameters
    ----------
    n_inputs : int
        Input channels.
    channels : int
        Features of every layer.
    n_blocks : int
        Blocks.
    style : LayerStyle

    Examples
    --------
    >>> PlainBackbone(2, 8, 3)(torch.ones(1, 2, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.channels = channels
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        self.activation = style.make_activation()
        blocks = [ConvolutionBlock(channels, channels, style) for _ in range(n_blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.halo = 1 + sum(block.halo for block in blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y: torch.Tensor = self.blocks(self.activation(self.stem(x)))
        return y
