"""Gated attention from large kernels: a translator of maps that reaches far at little cost."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks.dropout import DropPath
from xatmo.nn.blocks.norm import make_norm
from xatmo.nn.blocks.style import LayerStyle


class GatedAttention(nn.Module):
    r"""Spatiotemporal attention gated by itself (gSTA).

    .. math::
        (f, g) = W_1 * (D_{7 \times 7, 3} * (D_{5 \times 5} * a)), \qquad y = x + W_2 * (\sigma(g) f)

    with :math:`a = \mathrm{act}(W_0 * x)`; :math:`W` are 1 x 1, :math:`D` act on each channel alone, the second with
    points 3 cells apart: together they reach 11 cells, as a kernel of 23 would (Tan et al. 2022, *SimVP: towards simple
    yet powerful spatiotemporal predictive learning*, arXiv:2211.12509; Guo et al. 2022, arXiv:2202.09741).

    Parameters
    ----------
    channels : int
    activation : nn.Module

    Examples
    --------
    >>> GatedAttention(4, nn.GELU())(torch.ones(1, 4, 6, 7)).shape
    torch.Size([1, 4, 6, 7])
    """

    halo = 11

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.activation = nn.Conv2d(channels, channels, 1), activation
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.split = nn.Conv2d(channels, 2 * channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        value, gate = self.split(self.far(self.near(self.activation(self.first(x))))).chunk(2, dim=1)
        out: torch.Tensor = x + self.last(torch.sigmoid(gate) * value)
        return out


class GatedBlock(nn.Module):
    """`GatedAttention`, then two layers in each cell with a 3 x 3 kernel on each channel between, both as corrections.

    Parameters
    ----------
    n_in, channels : int
        Channels in and out; where they differ a 1 x 1 convolution ends the block.
    expansion : int
        How many times wider the inside of the second part is.
    style : LayerStyle
        Its normalization is that of the channels of each cell unless it names another.
    drop_path : float
        Share of the samples for which a correction is left out in training.

    Examples
    --------
    >>> GatedBlock(8, 6)(torch.ones(1, 8, 9, 10)).shape
    torch.Size([1, 6, 9, 10])
    """

    halo = GatedAttention.halo + 1

    def __init__(
        self, n_in: int, channels: int, expansion: int = 8, style: LayerStyle | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        wide = expansion * n_in
        self.first_norm, self.second_norm = (make_norm(style.norm or "layer", n_in) for _ in range(2))
        self.attention = GatedAttention(n_in, style.make_activation())
        self.cells = nn.Sequential(
            nn.Conv2d(n_in, wide, 1), nn.Conv2d(wide, wide, 3, padding=1, groups=wide), style.make_activation(),
            style.make_dropout(), nn.Conv2d(wide, n_in, 1), style.make_dropout(),
        )  # fmt: skip
        # One by one these start small, so that a deep translator starts near to passing on what it was given.
        self.first_scale, self.second_scale = (nn.Parameter(torch.full((n_in, 1, 1), 0.01)) for _ in range(2))
        self.drop = DropPath(drop_path)
        self.change = nn.Identity() if n_in == channels else nn.Conv2d(n_in, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        x = x + self.drop(self.first_scale * self.attention(self.first_norm(x)))
        x = x + self.drop(self.second_scale * self.cells(self.second_norm(x)))
        out: torch.Tensor = self.change(x)
        return out
