"""Sub-pixel convolution: many channels on the coarse grid become few on the fine one."""

from __future__ import annotations

import torch
from torch import nn


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


class SubpixelUpsampling(nn.Module):
    """Convolve to ``width * factor**2`` channels, shuffle them to the fine grid, convolve to the outputs.

    The width is small (``reduced``): nearly all multiplications stay on the coarse grid. One stage serves any factor.

    Parameters
    ----------
    channels : int
        Coarse features.
    n_outputs : int
        Fine fields.
    factor : int
    reduced : int, optional
        Features on the fine grid; at least the number of outputs.

    Notes
    -----
    Shi et al. 2016, arXiv:1609.05158, with the start of `icnr_`.
    """

    def __init__(self, channels: int, n_outputs: int, factor: int, *, reduced: int = 8) -> None:
        super().__init__()
        reduced = max(reduced, 2 * n_outputs)
        self.factor = factor
        self.halo = 1 + -(-1 // factor)  # the fine convolution reaches into the next coarse cell
        self.expand = nn.Conv2d(channels, reduced * factor**2, 3, padding=1)
        self.project = nn.Conv2d(reduced, n_outputs, 3, padding=1)
        icnr_(self.expand.weight, factor)
        nn.init.zeros_(self.project.weight)
        for conv in (self.expand, self.project):
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> ``(batch, n_outputs, lat * factor, lon * factor)``."""
        fine = nn.functional.pixel_shuffle(self.expand(nn.functional.gelu(x)), self.factor)
        out: torch.Tensor = self.project(nn.functional.gelu(fine))
        return out
