"""Sub-pixel convolution: many channels on the coarse grid become few on the fine one."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.superres.upsampling.base import Upsampling
from xatmo.nn.superres.upsampling.stages import cells_across


def icnr_(weight: torch.Tensor, factor: int) -> torch.Tensor:
    """Fill the kernels of a sub-pixel convolution so that the ``factor**2`` sub-cells of a cell start equal.

    The shuffled output is then the nearest-neighbour upsampling of an ordinary convolution, without checkerboard
    (Aitken et al. 2017, arXiv:1707.02937).

    Parameters
    ----------
    weight : Tensor (channels * factor**2, channels_in, height, width)
    factor : int

    Examples
    --------
    >>> w = icnr_(torch.empty(8, 3, 1, 1), 2)
    >>> bool((w[0] == w[3]).all()), bool((w[3] == w[4]).all())
    (True, False)
    """
    kernel = torch.empty(weight.shape[0] // factor**2, *weight.shape[1:])
    nn.init.kaiming_normal_(kernel, nonlinearity="relu")
    with torch.no_grad():
        return weight.copy_(kernel.repeat_interleave(factor**2, dim=0))


class SubpixelUpsampling(Upsampling):
    """Convolve to ``width * factor**2`` channels and shuffle them to the fine grid, in one stage for any factor.

    The width is small: nearly all multiplications stay on the coarse grid.

    Parameters
    ----------
    channels : int
        Coarse features.
    factor : int
    width : int
        Features on the fine grid.
    activation : str
        Of what comes.

    Notes
    -----
    Shi et al. 2016, arXiv:1609.05158, with the start of `icnr_`.

    Examples
    --------
    >>> SubpixelUpsampling(8, 5)(torch.ones(1, 8, 3, 4)).shape
    torch.Size([1, 8, 15, 20])
    """

    def __init__(self, channels: int, factor: int, *, width: int = 8, activation: str = "gelu") -> None:
        super().__init__(channels, factor, width=width, activation=activation)
        self.expand = nn.Conv2d(channels, width * factor**2, 3, padding=1)
        icnr_(self.expand.weight, factor)
        if self.expand.bias is not None:
            nn.init.zeros_(self.expand.bias)

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        return 1 + cells_across(fine, self.factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> ``(batch, width, lat * factor, lon * factor)``."""
        return nn.functional.pixel_shuffle(self.expand(self.activation(x)), self.factor)
