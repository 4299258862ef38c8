"""Priors with products of features: a bilinear unit on one scale, and on two."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.assimilation.priors.base import Prior, averaged, convolution, enlarged


class BilinearPrior(Prior):
    r"""One bilinear unit on averaged cells, interpolated back.

    .. math::
        h = W_2 * \max(W_1 * P x, 0), \qquad \Phi(x) = U\, W_3 * [\,A * h,\ (B * h)(C * h)\,]

    with :math:`P` means of ``scale`` by ``scale`` cells and :math:`U` bilinear interpolation; all frames are channels.
    Advection is a product of fields and their gradients, which is what the products stand for.

    Parameters
    ----------
    channels, frames : int
        Of the state.
    width : int
    scale : int
    padding : {"reflect", "zeros"}

    Notes
    -----
    Fablet et al. 2021, JAMES 13, e2021MS002572. Interpolation is between cell centres.

    Examples
    --------
    >>> prior = BilinearPrior(1, 5, 8)
    >>> prior.map(torch.randn(2, 1, 5, 7, 9)).shape
    torch.Size([2, 1, 5, 7, 9])
    """

    def __init__(self, channels: int, frames: int, width: int, scale: int = 2, padding: str = "reflect") -> None:
        super().__init__(channels)
        n = channels * frames
        self.scale = scale
        self.halo = scale * 5 - 1  # four layers of 3 x 3 averaged cells, and one for the interpolation
        self.first = convolution(n, width, 3, padding)
        self.second = convolution(width, width, 3, padding)
        # The three convolutions of the unit in one call.
        self.unit = convolution(width, 3 * width, 3, padding)
        self.last = convolution(2 * width, n, 3, padding)

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give the likely state near this one."""
        flat = x.flatten(1, 2)
        h = self.second(torch.relu(self.first(averaged(flat, self.scale))))
        a, b, c = self.unit(h).chunk(3, dim=1)
        made = self.last(torch.cat([a, b * c], dim=1))
        return torch.unflatten(enlarged(made, self.scale, flat), 1, x.shape[1:3])


class GennPrior(Prior):
    """Bilinear units without biases on the cells and on means of ``scale`` by ``scale`` of them, summed.

    Parameters
    ----------
    channels, frames : int
        Of the state.
    width : int
    scale : int
        Of the coarse branch.
    padding : {"reflect", "zeros"}

    Notes
    -----
    Fablet et al. 2021; Beauchamp et al. 2023, GMD 16, 2119. Without biases nothing is made of nothing: the map of
    zero is zero.

    Examples
    --------
    >>> prior = GennPrior(1, 3, 4)
    >>> prior.map(torch.zeros(1, 1, 3, 16, 16)).abs().max().item(), prior.halo
    (0.0, 23)
    """

    def __init__(self, channels: int, frames: int, width: int, scale: int = 4, padding: str = "reflect") -> None:
        super().__init__(channels)
        n = channels * frames
        self.scale = scale
        self.coarse, self.fine = _Unit(n, width, padding), _Unit(n, width, padding)
        self.up = nn.ConvTranspose2d(n, n, scale, stride=scale, bias=False)
        self.halo = max(5, scale * 6 - 1)

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give the likely state near this one."""
        flat = x.flatten(1, 2)
        rows, columns = flat.shape[-2:]
        coarse = self.up(self.coarse(averaged(flat, self.scale)))[..., :rows, :columns]
        return torch.unflatten(coarse + self.fine(flat), 1, x.shape[1:3])


class _Unit(nn.Module):
    def __init__(self, n: int, width: int, padding: str) -> None:
        super().__init__()
        self.first = convolution(n, 2 * width, 7, padding, bias=False)
        self.unit = convolution(2 * width, 3 * width, 3, padding, bias=False)
        self.last = convolution(2 * width, n, 3, padding, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, c = self.unit(torch.relu(self.first(x))).chunk(3, dim=1)
        made: torch.Tensor = self.last(torch.cat([a, b * c], dim=1))
        return made
