"""Layers that halve and double maps."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.blocks.norm import make_norm

SILU_GAIN: Final = 1.676
"""Factor that brings SiLU of standard normal numbers back to a mean square of 1."""


class StridedLayer(nn.Module):
    """Convolution of 3 x 3, normalization of the channels, activation; it halves maps, keeps or doubles them.

    Parameters
    ----------
    n_in, channels : int
        Channels in and out.
    stride : {1, 2, -2}
        2 halves maps (odd sizes upwards), -2 doubles them by pixel shuffle (Shi et al. 2016, arXiv:1609.05158).
    norm : {"layer", "batch", None}

    Raises
    ------
    OptionError
        If the stride is another.

    Examples
    --------
    >>> x = torch.ones(1, 3, 4, 6)
    >>> [tuple(StridedLayer(3, 8, stride)(x).shape) for stride in (1, 2, -2)]
    [(1, 8, 4, 6), (1, 8, 2, 3), (1, 8, 8, 12)]
    """

    def __init__(self, n_in: int, channels: int, stride: int = 1, norm: str | None = "layer") -> None:
        super().__init__()
        if stride not in (1, 2, -2):
            message = f"stride={stride!r}; wanted 1, 2 to halve maps, or -2 to double them"
            raise OptionError(message)
        up = stride == -2
        self.convolution = nn.Conv2d(n_in, channels * (4 if up else 1), 3, stride=max(1, stride), padding=1)
        self.shuffle = nn.PixelShuffle(2) if up else nn.Identity()
        self.norm, self.activation = make_norm(norm, channels), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, channels, ...)``."""
        out: torch.Tensor = self.activation(self.norm(self.shuffle(self.convolution(x))))
        return out

    def keep_strength(self, gain: float = 1.0) -> None:
        """Start with weights that pass features on as strong as they came, times a gain: for layers without norm.

        Torch's own start takes two thirds of the strength away in each layer, so that nothing of the input is left
        behind ten of them (He et al. 2015, arXiv:1502.01852).

        Examples
        --------
        >>> _ = torch.manual_seed(0)
        >>> layer = StridedLayer(64, 64, norm=None)
        >>> layer.keep_strength()
        >>> round(layer(torch.randn(8, 64, 16, 16)).square().mean().sqrt().item(), 1)
        1.0
        """
        weight, bias = self.convolution.weight, self.convolution.bias
        nn.init.normal_(weight, std=gain * SILU_GAIN * weight[0].numel() ** -0.5)
        if bias is not None:
            nn.init.zeros_(bias)


def halving(n_levels: int) -> list[int]:
    """Give the strides of an encoder that halves maps so often; those of a decoder are the same backwards, negative.

    Examples
    --------
    >>> halving(0), halving(2)
    ([1], [1, 2, 1, 2])
    """
    return [1, 2] * n_levels or [1]


def doubling(n_levels: int) -> list[int]:
    """Give the strides of the decoder that takes back `halving`.

    Examples
    --------
    >>> doubling(1)
    [-2, 1]
    """
    return [-stride if stride > 1 else 1 for stride in reversed(halving(n_levels))]
