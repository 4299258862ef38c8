"""DL4DS's blocks, where they differ from ours."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import LayerStyle, make_norm
from xatmo.nn.blocks.dropout import DropPath


class ReducedTransition(nn.Module):
    """1 x 1 convolution, then activation; with batch normalization: normalization, activation, convolution.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    style : LayerStyle
    """

    halo = 0

    def __init__(self, n_in: int, n_out: int, style: LayerStyle) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(n_in) if style.norm == "batch" else None
        self.convolution = nn.Conv2d(n_in, n_out, 1)
        self.activation = style.make_activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, n_out, lat, lon)``."""
        if self.norm is not None:
            x = self.convolution(self.activation(self.norm(x)))
        else:
            x = self.activation(self.convolution(x))
        return x


class PostActivatedResidualBlock(nn.Module):
    """Convolution, activation, convolution, the skip, and an activation of the sum.

    Parameters
    ----------
    n_in, channels : int
        Channels in and out.
    style : LayerStyle
        Dropout stands before each convolution, normalization after it.
    projection : bool
        Whether a 1 x 1 convolution stands in the skip.
    """

    def __init__(self, n_in: int, channels: int, style: LayerStyle, *, projection: bool) -> None:
        super().__init__()
        self.halo = 2 + style.attention_halo
        self.first, self.second = style.convolution(n_in, channels), style.convolution(channels, channels)
        self.first_norm, self.second_norm = style.make_norm(channels), style.make_norm(channels)
        self.dropout, self.activation = style.make_dropout(), style.make_activation()
        self.attention = style.make_attention(channels)
        self.skip = nn.Conv2d(n_in, channels, 1) if projection else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y = self.activation(self.first_norm(self.first(self.dropout(x))))
        y = self.attention(self.second_norm(self.second(self.dropout(y))))
        out: torch.Tensor = self.activation(y + self.skip(x))
        return out


class HalvedDenseBlock(nn.Module):
    """1 x 1 convolution to ``4 * growth``, normalization, activation, 3 x 3 convolution, concatenation, half of it.

    Parameters
    ----------
    n_in, growth : int
        Channels in, and those that the block adds.
    style : LayerStyle
    """

    def __init__(self, n_in: int, growth: int, style: LayerStyle) -> None:
        super().__init__()
        self.channels = max(1, (n_in + growth) // 2)
        self.halo = 1 + style.attention_halo
        self.narrow = nn.Conv2d(n_in, 4 * growth, 1, bias=style.norm is None)
        self.norm, self.activation = style.make_norm(4 * growth), style.make_activation()
        self.dropout = style.make_dropout()
        self.convolution = style.convolution(4 * growth, growth)
        self.attention = style.make_attention(growth)
        self.transition = ReducedTransition(n_in + growth, self.channels, style)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, (n_in + growth) // 2, lat, lon)``."""
        y = self.convolution(self.dropout(self.activation(self.norm(self.narrow(x)))))
        out: torch.Tensor = self.transition(torch.cat([x, self.attention(y)], dim=1))
        return out


class UnscaledConvNeXtBlock(nn.Module):
    """A ConvNeXt block without scale by channel, whose branch is dropped as a whole.

    Parameters
    ----------
    channels : int
    style : LayerStyle
    """

    def __init__(self, channels: int, style: LayerStyle) -> None:
        super().__init__()
        self.halo = 3
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = make_norm("layer", channels)
        self.widen, self.narrow = nn.Conv2d(channels, 4 * channels, 1), nn.Conv2d(4 * channels, channels, 1)
        self.activation = style.make_activation()
        self.drop_path = DropPath(style.dropout, mc=style.mc_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        y = self.narrow(self.activation(self.widen(self.norm(self.depthwise(x)))))
        out: torch.Tensor = x + self.drop_path(y)
        return out
