"""Recurrent backbones: every frame of a time window is seen with the frames before it."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import LayerStyle, RecurrentBlock, Transition, start_at_zero


class _Recurrent(nn.Module):
    """Recurrent blocks over a sequence of ``n_frames`` frames at most, which ``halo`` counts on.

    Parameters
    ----------
    n_inputs : int
        Input channels.
    channels : int
        Features of every layer.
    n_blocks : int
        `RecurrentBlock` after the first convolution.
    style : LayerStyle
    n_frames : int
        Length of the longest sequence.
    """

    growing = False

    def __init__(
        self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None, *, n_frames: int = 4
    ) -> None:
        super().__init__()
        self.style = LayerStyle() if style is None else style
        self.channels = channels
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        widths = [channels * (1 + i) if self.growing else channels for i in range(n_blocks)]
        self.blocks = nn.ModuleList(RecurrentBlock(width, channels, self.style) for width in widths)
        # A change can wait in the state of the widest kernel, and move with each frame.
        waiting = (n_frames - 1) * RecurrentBlock.state_halo if n_blocks else 0
        self.halo = 1 + n_blocks * (3 + self.style.attention_halo) + waiting

    def _each(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Put each map of a sequence through a layer of maps."""
        y: torch.Tensor = layer(x.flatten(0, 1))
        return torch.unflatten(y, 0, x.shape[:2])


class RecurrentPlain(_Recurrent):
    """A convolution of each frame, then recurrent blocks one after another.

    Examples
    --------
    >>> net = RecurrentPlain(2, 4, 1, n_frames=3)
    >>> net(torch.ones(3, 1, 2, 5, 6)).shape, net.halo
    (torch.Size([3, 1, 4, 5, 6]), 8)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(time, batch, n_inputs, lat, lon)`` -> ``(time, batch, channels, lat, lon)``."""
        y = self._each(self.stem, x)
        for block in self.blocks:
            y = block(y)
        return y


class RecurrentResidual(_Recurrent):
    """Each block adds to what came, through a 1 x 1 convolution that starts at zero.

    Examples
    --------
    >>> RecurrentResidual(2, 4, 1)(torch.ones(3, 1, 2, 5, 6)).shape
    torch.Size([3, 1, 4, 5, 6])
    """

    def __init__(
        self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None, *, n_frames: int = 4
    ) -> None:
        super().__init__(n_inputs, channels, n_blocks, style, n_frames=n_frames)
        self.additions = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(n_blocks))
        for addition in self.additions:
            start_at_zero(addition)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(time, batch, n_inputs, lat, lon)`` -> ``(time, batch, channels, lat, lon)``."""
        y = self._each(self.stem, x)
        for block, addition in zip(self.blocks, self.additions, strict=True):
            y = y + self._each(addition, block(y))
        return y


class RecurrentDense(_Recurrent):
    """Each block reads what all blocks before it made; a transition leads back to the width.

    Examples
    --------
    >>> RecurrentDense(2, 4, 2)(torch.ones(3, 1, 2, 5, 6)).shape
    torch.Size([3, 1, 4, 5, 6])
    """

    growing = True

    def __init__(
        self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None, *, n_frames: int = 4
    ) -> None:
        super().__init__(n_inputs, channels, n_blocks, style, n_frames=n_frames)
        self.transition = Transition(channels * (1 + n_blocks), channels, self.style)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(time, batch, n_inputs, lat, lon)`` -> ``(time, batch, channels, lat, lon)``."""
        y = self._each(self.stem, x)
        for block in self.blocks:
            maps = torch.cat([y.flatten(0, 1), block(y).flatten(0, 1)], dim=1)  # 4 axes, to stay channels last
            y = torch.unflatten(maps, 0, x.shape[:2])
        return self._each(self.transition, y)
