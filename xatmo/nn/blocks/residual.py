"""A residual block, by default without normalization."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks.style import LayerStyle, start_at_zero


class ResidualBlock(nn.Module):
    """``x + conv(gelu(conv(x)))``, 3 x 3, same number of channels, no activation after the sum.

    The branch starts at zero, so that a deep stack starts as the identity and needs no normalization to train (Zhang et
    al. 2019, *Fixup initialization*, arXiv:1901.09321). With a normalization the branch is convolution, normalization,
    activation, dropout, convolution, normalization, and attention; the scale of its last normalization starts at zero.

    Parameters
    ----------
    channels : int
    style : LayerStyle

    Examples
    --------
    >>> x = torch.ones(1, 4, 5, 6)
    >>> bool((ResidualBlock(4)(x) == x).all())
    True
    """

    def __init__(self, channels: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.halo = 2 + style.attention_halo
        self.first = style.convolution(channels, channels)
        self.second = style.convolution(channels, channels)
        self.first_norm, self.second_norm = style.make_norm(channels), style.make_norm(channels)
        self.activation, self.dropout = style.make_activation(), style.make_dropout()
        self.attention = style.make_attention(channels)
        start_at_zero(self.second, self.second_norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        y = self.dropout(self.activation(self.first_norm(self.first(x))))
        out: torch.Tensor = x + self.attention(self.second_norm(self.second(y)))
        return out
