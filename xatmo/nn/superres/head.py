"""From fine features, and fields that are known on the fine grid, to the outputs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from xatmo.nn.blocks import ConvolutionBlock, LayerStyle, LocalisedLayer, start_at_zero

LOCAL_CHANNELS = 2


class FineHead(nn.Module):
    """An activation and a convolution to the outputs, which starts at zero.

    With static fields or a localised layer, their maps are put beside the features, and a convolution mixes them first.

    Parameters
    ----------
    channels, n_outputs : int
        Fine features, and fields that come out.
    n_static : int
        Fields on the fine grid that do not change in time, such as orography.
    shape : (int, int), optional
        Rows and columns of the fine grid, for a localised layer; None: no such layer.
    style : LayerStyle

    Examples
    --------
    >>> head = FineHead(8, 2, n_static=1)
    >>> head(torch.ones(3, 8, 6, 4), head.encode(torch.ones(3, 1, 6, 4))).shape, head.halo
    (torch.Size([3, 2, 6, 4]), 2)
    """

    def __init__(
        self,
        channels: int,
        n_outputs: int,
        *,
        n_static: int = 0,
        shape: tuple[int, int] | None = None,
        style: LayerStyle | None = None,
    ) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.activation = style.make_activation()
        self.static: nn.Module | None = None
        self.narrow: nn.Module | None = None
        self.local: nn.Module | None = None
        self.mix: nn.Module | None = None
        n_beside = 0
        if n_static:
            # Fields that are given, not drawn: dropout and attention belong to what is made of the weather.
            self.static = ConvolutionBlock(n_static, channels, replace(style, attention=False, dropout=0.0))
            n_beside += channels
        if shape is not None:
            self.narrow = nn.Conv2d(channels, LOCAL_CHANNELS, 1)
            self.local = LocalisedLayer(LOCAL_CHANNELS, LOCAL_CHANNELS, shape)
            n_beside += LOCAL_CHANNELS
        if n_beside:
            self.mix = nn.Conv2d(channels + n_beside, channels, 3, padding=1)
        self.project = nn.Conv2d(channels, n_outputs, 3, padding=1)
        start_at_zero(self.project)
        self.halo = 1 if self.mix is None else 2
        """Fine cells of the features at an edge that it needs."""
        self.static_halo = self.halo + 2 if n_static else 0
        """The same of the static fields."""

    def encode(self, static: torch.Tensor) -> torch.Tensor:
        """Features of static fields, ``(batch, n_static, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        if self.static is None:
            return static
        made: torch.Tensor = self.static(static)
        return made

    def forward(self, x: torch.Tensor, static: torch.Tensor | None = None) -> torch.Tensor:
        """Fine features and those of the static fields -> ``(batch, n_outputs, lat, lon)``."""
        x = self.activation(x)
        if self.mix is not None:
            parts = [x]
            if static is not None:
                parts.append(static)
            if self.narrow is not None and self.local is not None:
                parts.append(self.local(self.narrow(x)))
            x = self.activation(self.mix(torch.cat(parts, dim=1)))
        out: torch.Tensor = self.project(x)
        return out
