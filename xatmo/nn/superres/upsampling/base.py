"""What an upsampling promises."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import make_activation


class Upsampling(nn.Module):
    """Coarse features to fine ones.

    Parameters
    ----------
    channels : int
        Coarse features.
    factor : int
    width : int
        Features on the fine grid.
    activation : str
        Before each convolution.
    """

    def __init__(self, channels: int, factor: int, *, width: int = 8, activation: str = "gelu") -> None:
        super().__init__()
        self.factor, self.channels = factor, width
        self.activation = make_activation(activation)

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> ``(batch, width, lat * factor, lon * factor)``."""
        raise NotImplementedError
