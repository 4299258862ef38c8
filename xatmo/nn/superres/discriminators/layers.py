"""Layers of discriminators: with the size of their weights limited on request, and strided by any factor."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.superres.upsampling.stages import prime_stages


class SpectralNorm(nn.Module):
    r"""Power iteration for the largest singular value :math:`\sigma` of a weight, one step at each use in training.

    Miyato et al. 2018, arXiv:1802.05957: with weights divided by it, a layer lengthens no vector that it sees, and the
    discriminator stays smooth. Unlike torch's parametrizations, it can be pickled and copied.

    Parameters
    ----------
    weight : Tensor (out, ...)
        Its shape decides the sizes; ``steps`` iterations at the start bring the estimate near.
    steps : int

    Examples
    --------
    >>> weight = torch.diag(torch.tensor([3.0, 1.0]))
    >>> norm = SpectralNorm(weight, steps=50)
    >>> round(norm(weight)[0, 0].item(), 3)
    1.0
    """

    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, weight: torch.Tensor, *, steps: int = 15) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", nn.functional.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("right", nn.functional.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(steps):
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: torch.Tensor) -> None:
        self.right.copy_(nn.functional.normalize(matrix.T @ self.left, dim=0))
        self.left.copy_(nn.functional.normalize(matrix @ self.right, dim=0))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """``weight / sigma``; the gradient flows through both."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.float().flatten(1)
            if self.training:
                self._iterate(matrix)
            # Copies: a later iteration must not change what the gradient of this one needs.
            sigma = self.left.clone() @ (matrix @ self.right.clone())
            out: torch.Tensor = weight / sigma
            return out


class Convolution(nn.Conv2d):
    """A convolution, on request with `SpectralNorm`."""

    def __init__(
        self, n_in: int, n_out: int, size: int, *, stride: int = 1, padding: int | None = None, spectral: bool = False
    ) -> None:
        super().__init__(n_in, n_out, size, stride=stride, padding=size // 2 if padding is None else padding)
        nn.init.kaiming_normal_(self.weight, a=0.2)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.norm = SpectralNorm(self.weight) if spectral else nn.Identity()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` -> ``(batch, n_out, lat / stride, lon / stride)``."""
        out: torch.Tensor = self._conv_forward(input, self.norm(self.weight), self.bias)
        return out


class Dense(nn.Linear):
    """A dense layer, on request with `SpectralNorm`."""

    def __init__(self, n_in: int, n_out: int, *, spectral: bool = False) -> None:
        super().__init__(n_in, n_out)
        self.norm = SpectralNorm(self.weight) if spectral else nn.Identity()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in)`` -> ``(batch, n_out)``."""
        return nn.functional.linear(input, self.norm(self.weight), self.bias)


def coarsening(channels: int, factor: int, *, spectral: bool = False) -> nn.Sequential:
    """Strided convolutions from the fine to the coarse grid, one for each prime factor.

    Kernels are ``r + 2`` wide for a stride of ``r``: each coarse cell sees its own fine cells and one more at each
    side, and ``n * r`` cells become exactly ``n``.

    Examples
    --------
    >>> coarsening(4, 10)(torch.ones(1, 4, 30, 50)).shape
    torch.Size([1, 4, 3, 5])
    """
    layers: list[nn.Module] = []
    for r in prime_stages(factor):
        layers += [Convolution(channels, channels, r + 2, stride=r, padding=1, spectral=spectral), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


def frames_first(x: torch.Tensor) -> torch.Tensor:
    """``(batch, channel, time, lat, lon)`` -> ``(time, batch, channel, lat, lon)``."""
    return x.permute(2, 0, 1, 3, 4)
