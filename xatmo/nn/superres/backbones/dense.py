"""Dense connections from every layer to all that follow."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import DenseLayer, LayerStyle, Transition


class DenseBackbone(nn.Module):
    """A convolution, dense layers that each add half the width, and a transition back to the width.

    Parameters
    ----------
    n_inputs : int
        Input channels.
    channels : int
        Features that come out, and twice the growth of a layer.
    n_blocks : int
        Dense layers.
    style : LayerStyle

    Notes
    -----
    Huang et al. 2017, *DenseNet*, arXiv:1608.06993; for super-resolution Tong et al. 2017
    (doi:10.1109/ICCV.2017.514).

    Examples
    --------
    >>> DenseBackbone(2, 8, 3)(torch.ones(1, 2, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.channels, growth = channels, max(1, channels // 2)
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        layers = [DenseLayer(channels + i * growth, growth, style=style) for i in range(n_blocks)]
        self.layers = nn.Sequential(*layers)
        self.transition = Transition(channels + n_blocks * growth, channels, style)
        self.halo = 1 + sum(layer.halo for layer in layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        y: torch.Tensor = self.transition(self.layers(self.stem(x)))
        return y
