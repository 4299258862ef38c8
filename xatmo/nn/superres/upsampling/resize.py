"""Resize, then convolve: no checkerboard can arise."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.superres.upsampling.base import Upsampling
from xatmo.nn.superres.upsampling.stages import cells_across


class ResizeUpsampling(Upsampling):
    """Convolve to few channels on the coarse grid, interpolate these bilinearly, convolve on the fine grid.

    Parameters
    ----------
    channels : int
        Coarse features.
    factor : int
    width : int
        Features on the fine grid.
    activation : str
        Before each convolution.

    Notes
    -----
    Odena et al. 2016, *Deconvolution and checkerboard artifacts* (doi:10.23915/distill.00003).

    Examples
    --------
    >>> ResizeUpsampling(8, 5)(torch.ones(1, 8, 3, 4)).shape
    torch.Size([1, 8, 15, 20])
    """

    def __init__(self, channels: int, factor: int, *, width: int = 8, activation: str = "gelu") -> None:
        super().__init__(channels, factor, width=width, activation=activation)
        self.narrow = nn.Conv2d(channels, 2 * width, 3, padding=1)
        self.convolution = nn.Conv2d(2 * width, width, 3, padding=1)

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        return 1 + 1 + cells_across(fine + 1, self.factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> ``(batch, width, lat * factor, lon * factor)``."""
        y = self.narrow(self.activation(x))
        y = nn.functional.interpolate(y, scale_factor=float(self.factor), mode="bilinear", align_corners=False)
        out: torch.Tensor = self.convolution(self.activation(y))
        return out
