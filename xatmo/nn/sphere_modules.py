"""Spherical-harmonic transforms as modules with one input and one output, to be put between layers.

Examples
--------
A spherical convolution, diagonal in degree, between two grids:

>>> coarse = SphericalHarmonics.gaussian(8, 16, lmax=7)
>>> fine = SphericalHarmonics.gaussian(16, 32, lmax=7)
>>> network = nn.Sequential(Analysis(coarse), ScaleDegrees(3, 7), Synthesis(fine))
>>> network(torch.randn(2, 3, 8, 16)).shape
torch.Size([2, 3, 16, 32])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xatmo.errors import DimensionError
from xatmo.nn.sphere import SphericalHarmonics


class _OfTransform(nn.Module):
    def __init__(self, transform: SphericalHarmonics) -> None:
        super().__init__()
        self.transform = transform


class Analysis(_OfTransform):
    """Fields (..., nlat, nlon) to coefficients (..., degree, order): `SphericalHarmonics.analysis`.

    Parameters
    ----------
    transform : SphericalHarmonics
        Modules can share one.
    """

    def forward(self, field: Tensor) -> Tensor:
        """Complex coefficients."""
        return self.transform.analysis(field)


class Synthesis(_OfTransform):
    """Coefficients (..., degree, order) to fields (..., nlat, nlon): `SphericalHarmonics.synthesis`.

    Parameters
    ----------
    transform : SphericalHarmonics
    """

    def forward(self, coefficients: Tensor) -> Tensor:
        """Field values."""
        return self.transform.synthesis(coefficients)


class VectorAnalysis(_OfTransform):
    """Vectors (..., 2, nlat, nlon), u and v, to (..., 2, degree, order), rotational and divergent.

    Parameters
    ----------
    transform : SphericalHarmonics

    Raises
    ------
    DimensionError
        On use, if the third axis from the end is not of size 2.

    Examples
    --------
    >>> transform = SphericalHarmonics.gaussian(8, 16, lmax=7)
    >>> wind = torch.randn(5, 2, 8, 16)
    >>> smooth = nn.Sequential(VectorAnalysis(transform), VectorSynthesis(transform))
    >>> smooth(wind).shape
    torch.Size([5, 2, 8, 16])
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """Complex coefficients."""
        return torch.stack(self.transform.analysis_vector(*_pair(vectors)), -3)


class VectorSynthesis(_OfTransform):
    """Rotational and divergent coefficients (..., 2, degree, order) to vectors (..., 2, nlat, nlon).

    Parameters
    ----------
    transform : SphericalHarmonics

    Raises
    ------
    DimensionError
        On use, if the third axis from the end is not of size 2.
    """

    def forward(self, coefficients: Tensor) -> Tensor:
        """Eastward and northward component."""
        return torch.stack(self.transform.synthesis_vector(*_pair(coefficients)), -3)


class ScaleDegrees(nn.Module):
    """Learned factors by channel and degree: what a rotation-invariant filter does to coefficients.

    Parameters
    ----------
    channels : int
    lmax : int
        Highest degree. Factors start at 1.
    """

    def __init__(self, channels: int, lmax: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(channels, lmax + 1))

    def forward(self, coefficients: Tensor) -> Tensor:
        """Coefficients (..., channel, degree, order), scaled."""
        return coefficients * self.factors[..., None]


def _pair(both: Tensor) -> tuple[Tensor, Tensor]:
    if both.ndim < 3 or both.shape[-3] != 2:
        message = f"a tensor of shape {tuple(both.shape)} came; wanted (..., 2, a, b), two components before two axes"
        raise DimensionError(message)
    return both[..., 0, :, :], both[..., 1, :, :]
