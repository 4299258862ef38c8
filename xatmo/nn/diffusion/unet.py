"""The denoiser's network: a U-Net between the fine and the coarse grid that is told the level of noise."""

from __future__ import annotations

import math

import torch
from torch import nn

from xatmo.nn.blocks import ChannelLayerNorm
from xatmo.nn.superres.upsampling.stages import cells_across, prime_stages
from xatmo.nn.superres.upsampling.subpixel import icnr_

WIDEST = 4
"""Times the channels of the fine grid that a coarser level has at the most."""


class NoiseLevel(nn.Module):
    """Features of the level of noise: sines and cosines, then two layers.

    Parameters
    ----------
    channels : int
        Features that come out.
    n_waves : int
        Sines, and as many cosines, with wavelengths from 16 down in powers of 2.

    Examples
    --------
    >>> NoiseLevel(12)(torch.zeros(3)).shape
    torch.Size([3, 12])
    """

    waves: torch.Tensor

    def __init__(self, channels: int, n_waves: int = 8) -> None:
        super().__init__()
        self.register_buffer("waves", math.tau * 2.0 ** torch.arange(-4, n_waves - 4), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * n_waves, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """``(batch,)`` -> ``(batch, channels)``."""
        angles = noise.float()[:, None] * self.waves
        out: torch.Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return out


class NoisyBlock(nn.Module):
    """``x + conv(silu((1 + a) * norm(conv(silu(norm(x)))) + b))``, where ``a`` and ``b`` come from the level of noise.

    Normalization is over the channels of each cell: what it gives does not depend on the size of the window, so windows
    of a large field agree. The branch starts at zero.

    Parameters
    ----------
    channels : int
    n_level : int
        Features of the level of noise.

    Examples
    --------
    >>> x = torch.randn(2, 8, 5, 6)
    >>> bool((NoisyBlock(8, 4)(x, torch.zeros(2, 4)) == x).all())
    True
    """

    halo = 2

    def __init__(self, channels: int, n_level: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = ChannelLayerNorm(channels), ChannelLayerNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(n_level, 2 * channels)
        self.activation = nn.SiLU()
        for tensor in (self.second.weight, self.second.bias, self.modulation.weight, self.modulation.bias):
            if tensor is not None:
                nn.init.zeros_(tensor)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` and ``(batch, n_level)`` -> the shape of the first."""
        scale, shift = self.modulation(level)[..., None, None].chunk(2, dim=1)
        y = self.second_norm(self.first(self.activation(self.first_norm(x))))
        out: torch.Tensor = x + self.second(self.activation(y * (1 + scale) + shift))
        return out


class DenoiserUNet(nn.Module):
    """A U-Net with one level for each prime factor of ``factor``: its lowest level is the coarse grid.

    So any number of coarse cells fits, and where a window begins, on whole coarse cells, makes no difference. There is
    no attention, nor anything else that sees a whole window.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels.
    factor : int
        Fine cells per coarse cell.
    channels, n_blocks, n_coarse_blocks : int
        See `DiffusionConfig`.

    Attributes
    ----------
    halo : int
        Coarse cells around an output that one evaluation reads.

    Examples
    --------
    >>> net = DenoiserUNet(3, 1, 4, channels=8, n_blocks=1, n_coarse_blocks=2)
    >>> net(torch.randn(2, 3, 12, 20), torch.zeros(2)).shape, net.halo
    (torch.Size([2, 1, 12, 20]), 8)
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, factor: int, *, channels: int, n_blocks: int, n_coarse_blocks: int
    ) -> None:
        super().__init__()
        strides = prime_stages(factor)
        widths = [channels * min(2**level, WIDEST) for level in range(len(strides) + 1)]
        n_level = 4 * channels
        self.level = NoiseLevel(n_level)
        self.stem = nn.Conv2d(n_inputs, channels, 3, padding=1)
        self.before, self.after = nn.ModuleList(), nn.ModuleList()
        self.narrow, self.widen = nn.ModuleList(), nn.ModuleList()
        for stride, fine, coarse in zip(strides, widths, widths[1:], strict=False):
            self.before.append(_blocks(n_blocks, fine, n_level))
            self.narrow.append(nn.Conv2d(fine, coarse, stride, stride=stride))
            expand = nn.Conv2d(coarse, fine * stride**2, 1)
            icnr_(expand.weight, stride)
            self.widen.append(nn.Sequential(expand, nn.PixelShuffle(stride)))
            self.after.append(_blocks(n_blocks, fine, n_level))
        self.middle = _blocks(n_coarse_blocks, widths[-1], n_level)
        self.norm, self.activation = ChannelLayerNorm(channels), nn.SiLU()
        self.head = nn.Conv2d(channels, n_outputs, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        # One way through all levels; down and up again, the cells of a level are wider than those above.
        fine, size = 1, 1  # stem or head
        for stride in strides:
            fine, size = fine + size * NoisyBlock.halo * n_blocks, size * stride
        lowest = NoisyBlock.halo * n_coarse_blocks
        self.halo = lowest + 2 * cells_across(fine, factor) if factor > 1 else lowest + 2 * fine

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` and ``(batch,)`` -> ``(batch, n_outputs, lat, lon)``."""
        level = self.level(noise)
        x = self.stem(x)
        kept = []
        for blocks, narrow in zip(self.before, self.narrow, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, level)
            kept.append(x)
            x = narrow(x)
        for block in self.middle:
            x = block(x, level)
        for blocks, widen, skip in zip(reversed(self.after), reversed(self.widen), reversed(kept), strict=True):
            x = skip + widen(x)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, level)
        out: torch.Tensor = self.head(self.activation(self.norm(x)))
        return out


def _blocks(n: int, channels: int, n_level: int) -> nn.ModuleList:
    return nn.ModuleList(NoisyBlock(channels, n_level) for _ in range(n))
