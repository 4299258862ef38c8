"""Transposed convolution, in stages of prime factors."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.superres.upsampling.base import Upsampling
from xatmo.nn.superres.upsampling.stages import cells_across, prime_stages


class TransposedConvolution(nn.ConvTranspose2d):
    r"""Transposed convolution that makes exactly ``stride`` cells of each, all of them from as many cells.

    The kernel is twice as wide as an even stride and three times as wide as an odd one: every fine cell then lies under
    the same number of kernels, which is what avoids checkerboards (Odena et al. 2016), and the kernel lies symmetrical
    about its cell. It starts as bilinear interpolation of a random mix of channels.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int

    Examples
    --------
    >>> TransposedConvolution(2, 4, 3)(torch.ones(1, 2, 5, 6)).shape
    torch.Size([1, 4, 15, 18])
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        size = (3 if stride % 2 else 2) * stride
        super().__init__(n_in, n_out, size, stride=stride, padding=(size - stride) // 2)
        self.reach = 1  # coarse cells to each side of a fine cell's own
        distance = (torch.arange(size) - (size - 1) / 2).abs() / stride
        hat = (1 - distance).clamp_min(0)
        mix = torch.empty(n_in, n_out, 1, 1)
        nn.init.kaiming_normal_(mix, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            self.weight.copy_(mix * hat[:, None] * hat)
            if self.bias is not None:
                self.bias.zero_()


class DeconvolutionUpsampling(Upsampling):
    """One `TransposedConvolution` for each prime factor; widths halve from stage to stage down to the last.

    Parameters
    ----------
    channels : int
        Coarse features.
    factor : int
    width : int
        Features on the fine grid.
    activation : str
        Before each stage.

    Examples
    --------
    >>> DeconvolutionUpsampling(8, 6)(torch.ones(1, 8, 3, 4)).shape
    torch.Size([1, 8, 18, 24])
    """

    def __init__(self, channels: int, factor: int, *, width: int = 8, activation: str = "gelu") -> None:
        super().__init__(channels, factor, width=width, activation=activation)
        strides = prime_stages(factor) or (1,)
        widths = [max(width, channels // 2 ** (i + 1)) for i in range(len(strides))]
        widths[-1] = width
        self.stages = nn.ModuleList(
            TransposedConvolution(n_in, n_out, stride)
            for n_in, n_out, stride in zip([channels, *widths], widths, strides, strict=False)
        )
        self._strides = strides

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        for stride in reversed(self._strides):
            fine = 1 + cells_across(fine, stride)
        return fine

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> ``(batch, width, lat * factor, lon * factor)``."""
        for stage in self.stages:
            x = stage(self.activation(x))
        return x
