"""Two convolutions, each with normalization and activation."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks.style import LayerStyle


class ConvolutionBlock(nn.Module):
    """Twice: dropout, 3 x 3 convolution, normalization, activation; then attention.

    Parameters
    ----------
    n_in, channels : int
        Channels in and out.
    style : LayerStyle

    Examples
    --------
    >>> ConvolutionBlock(2, 4)(torch.ones(1, 2, 5, 6)).shape
    torch.Size([1, 4, 5, 6])
    """

    def __init__(self, n_in: int, channels: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.halo = 2 + style.attention_halo
        layers: list[nn.Module] = []
        for n in (n_in, channels):
            layers += [style.make_dropout(), style.convolution(n, channels)]
            layers += [style.make_norm(channels), style.make_activation()]
        layers.append(style.make_attention(channels))
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y: torch.Tensor = self.layers(x)
        return y
