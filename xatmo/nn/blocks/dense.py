"""Dense connections: every layer reads what all layers before it made."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks.style import LayerStyle


class DenseLayer(nn.Module):
    """Add ``growth`` channels to those that come: ``concat(x, conv3(act(norm(conv1(act(norm(x)))))))``.

    The activation stands before each convolution (Huang et al. 2017, *DenseNet*, arXiv:1608.06993): what is
    concatenated is linear, and every reader applies its own normalization.

    Parameters
    ----------
    n_in, growth : int
        Channels that come, and channels that are added.
    bottleneck : int, optional
        Channels between the 1 x 1 and the 3 x 3 convolution; by default ``2 * growth``.
    style : LayerStyle

    Examples
    --------
    >>> DenseLayer(8, 4)(torch.ones(1, 8, 5, 6)).shape
    torch.Size([1, 12, 5, 6])
    """

    def __init__(
        self, n_in: int, growth: int, *, bottleneck: int | None = None, style: LayerStyle | None = None
    ) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        inner = 2 * growth if bottleneck is None else bottleneck
        self.channels = n_in + growth
        self.halo = 1 + style.attention_halo
        self.first_norm, self.second_norm = style.make_norm(n_in), style.make_norm(inner)
        self.activation, self.dropout = style.make_activation(), style.make_dropout()
        self.narrow = nn.Conv2d(n_in, inner, 1, bias=style.norm is None)
        self.convolution = style.convolution(inner, growth, bias=True)  # no normalization follows
        self.attention = style.make_attention(growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, n_in + growth, lat, lon)``."""
        y = self.narrow(self.activation(self.first_norm(x)))
        y = self.convolution(self.dropout(self.activation(self.second_norm(y))))
        return torch.cat([x, self.attention(y)], dim=1)


class Transition(nn.Module):
    """Change the number of channels: normalization, activation, 1 x 1 convolution.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    style : LayerStyle

    Examples
    --------
    >>> Transition(12, 6)(torch.ones(1, 12, 5, 6)).shape
    torch.Size([1, 6, 5, 6])
    """

    halo = 0

    def __init__(self, n_in: int, n_out: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.norm, self.activation = style.make_norm(n_in), style.make_activation()
        self.convolution = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, n_out, lat, lon)``."""
        y: torch.Tensor = self.convolution(self.activation(self.norm(x)))
        return y
