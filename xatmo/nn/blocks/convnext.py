"""ConvNeXt block: a wide depthwise convolution, then two layers in each cell."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks.norm import make_norm
from xatmo.nn.blocks.style import LayerStyle


class ConvNeXtBlock(nn.Module):
    """``x + scale * conv1(act(conv1(norm(depthwise7(x)))))``, with four times the channels inside.

    Liu et al. 2022, *A ConvNet for the 2020s*, arXiv:2201.03545. The scale by channel starts at 0.1, as Touvron et al.
    2021 (arXiv:2103.17239) advise for shallow networks.

    Parameters
    ----------
    channels : int
    style : LayerStyle
        Its normalization is that of the channels of each cell unless it names another.

    Examples
    --------
    >>> ConvNeXtBlock(8)(torch.ones(1, 8, 9, 10)).shape
    torch.Size([1, 8, 9, 10])
    """

    def __init__(self, channels: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.halo = 3 + style.attention_halo
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = make_norm(style.norm or "layer", channels)
        self.widen = nn.Conv2d(channels, 4 * channels, 1)
        self.activation, self.dropout = style.make_activation(), style.make_dropout()
        self.narrow = nn.Conv2d(4 * channels, channels, 1)
        self.attention = style.make_attention(channels)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        y = self.dropout(self.activation(self.widen(self.norm(self.depthwise(x)))))
        out: torch.Tensor = x + self.scale * self.attention(self.narrow(y))
        return out
