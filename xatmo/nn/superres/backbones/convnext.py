"""ConvNeXt blocks between a convolution and a normalization."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import ConvNeXtBlock, LayerStyle, make_norm


class ConvNeXtBackbone(nn.Module):
    """``y = stem(x); y + norm(blocks(y))``: wide kernels at the price of narrow ones.

    Parameters
    ----------
    n_inputs : int
        Input channels.
    channels : int
        Features of every layer.
    n_blocks : int
        Blocks, with 7 x 7 kernels each.
    style : LayerStyle

    Examples
    --------
    >>> ConvNeXtBackbone(2, 8, 3)(torch.ones(1, 2, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.channels = channels
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        blocks = [ConvNeXtBlock(channels, style) for _ in range(n_blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = make_norm(style.norm or "layer", channels)
        self.halo = 1 + sum(block.halo for block in blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y = self.stem(x)
        out: torch.Tensor = y + self.norm(self.blocks(y))
        return out
