"""U-Net: the field at several resolutions, each halved from the one before, and back."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import ConvolutionBlock, LayerStyle

MOST_CHANNELS = 256


class UNetBackbone(nn.Module):
    """Convolution blocks at ``n_blocks + 1`` resolutions, with skips between equal ones.

    Each level has twice the channels of the one above, at most `MOST_CHANNELS`. It works on the fine grid, after
    interpolation: there its levels see both the small scales and the large ones.

    Parameters
    ----------
    n_inputs : int
        Input channels.
    channels : int
        Features of the first level, and of the output.
    n_blocks : int
        Times that the grid is halved.
    style : LayerStyle

    Notes
    -----
    Ronneberger et al. 2015, arXiv:1505.04597. Any rectangle: rows and columns are filled up with zeros to a multiple of
    ``2**n_blocks`` and cut off again. Which cells are pooled together depends on where a window begins, so two windows
    agree only where they begin a multiple of ``2**n_blocks`` cells apart; ``halo`` holds for each.

    Examples
    --------
    >>> net = UNetBackbone(2, 8, 2)
    >>> net(torch.ones(1, 2, 5, 7)).shape, net.halo
    (torch.Size([1, 8, 5, 7]), 29)
    """

    def __init__(self, n_inputs: int, channels: int, n_blocks: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.channels, self.n_levels = channels, n_blocks
        most = max(MOST_CHANNELS, channels)
        widths = [min(channels * 2**level, most) for level in range(n_blocks + 1)]
        self.down = nn.ModuleList(
            ConvolutionBlock(n, width, style) for n, width in zip([n_inputs, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            ConvolutionBlock(widths[level] + widths[level + 1], widths[level], style) for level in range(n_blocks)
        )
        self.halo = _reach(n_blocks, 2 + style.attention_halo)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, channels, lat, lon)``."""
        rows, columns = x.shape[-2:]
        step = 2**self.n_levels
        if rows % step or columns % step:
            x = nn.functional.pad(x, (0, -columns % step, 0, -rows % step))
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        x = kept.pop()
        for block, skip in zip(reversed(self.up), reversed(kept), strict=True):
            wide = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, wide], dim=1))
        return x[..., :rows, :columns]


def _reach(n_levels: int, block: int) -> int:
    """Cells around an output that count, for the worst place of the output within a pooled cell."""

    def span(level: int, low: int, high: int) -> tuple[int, int]:
        if level < n_levels:
            low, high = low - block, high + block  # of the way up
            below = span(level + 1, low // 2 - 1, high // 2 + 1)  # bilinear
            low, high = min(low, 2 * below[0]), max(high, 2 * below[1] + 1)
        return low - block, high + block

    spans = [(place, *span(0, place, place)) for place in range(2**n_levels)]
    return max(max(place - low, high - place) for place, low, high in spans)
