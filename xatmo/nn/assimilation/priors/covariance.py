r"""The covariance of an equation, nearly: what makes the gradient of its cost a change of the state.

The precision of `SPDEPrior` has eigenvalues over eight powers of ten, and steps along its gradient get nowhere. Its
inverse is nearly

.. math::
    C = B B^T, \qquad B w = \sum_k F_k * (s_k w),

white noise :math:`w`, shared out with :math:`\sum_k s_k = 1` to regions of like coefficients, each of which has the
stationary covariance :math:`F_k F_k^T` of its mean coefficients: a product of Fourier transforms, smooth
whatever the shares are. With one region it is the exact covariance of constant coefficients, far from edges.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from xatmo.assimilation.stencils._kernels import OFFSETS
from xatmo.nn.assimilation.priors.equation import POSITIVE, Coefficients, Equation

N_REGIONS = 4
MARGIN = 12
"""Cells around, which take the shares mirrored: noise from beyond the edge."""
_SOFT = 0.5  # in standard deviations of the coefficients: shares fall off as a Gaussian


class LocalCovariance:
    """The covariance, for one shape of window.

    Parameters
    ----------
    equation : Equation
    coefficients : Coefficients
        Their first guess, where they are estimated.
    shape : (time, lat, lon)
    device, dtype
        Of the tensors that it is applied to.

    Notes
    -----
    Process convolutions: Higdon 1998, Environ. Ecol. Stat. 5, 173.

    Examples
    --------
    >>> still = Equation(1.0, 1.0, 1.0, power=2, upwind=True, inside=True, moves=False)
    >>> one, none = torch.ones(1, 1, 1, 1, 1).double(), torch.zeros(1, 1, 1, 1, 1).double()
    >>> given = Coefficients(one / 3, one, one, none, none, none, none)
    >>> spread = LocalCovariance(still, given, (3, 16, 16), torch.device("cpu"), torch.float32)
    >>> bool(spread(torch.ones(1, 1, 3, 16, 16)).min() > 0)
    True
    """

    def __init__(
        self,
        equation: Equation,
        coefficients: Coefficients,
        shape: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        frames, rows, columns = shape
        self.margin = tuple(min(MARGIN, n - 1) for n in (rows, columns))
        self.grid = tuple(n + 2 * m for n, m in zip((rows, columns), self.margin, strict=True))
        with torch.no_grad():
            means, shares = regions(coefficients, (rows, columns))
            root = _roots(equation, means, frames, self.grid)
        down, across = self.margin
        wide = torch.nn.functional.pad(shares, (across, across, down, down), mode="reflect")
        self.shares = wide.to(device, dtype)
        self.root = root.to(device, torch.promote_types(dtype, torch.complex64))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, n, time, lat, lon)``."""
        down, across = self.margin
        wide = torch.nn.functional.pad(x, (across, across, down, down))
        spectrum = torch.fft.rfft2(wide)
        there = torch.einsum("kstyx,bntyx->bnksyx", self.root, spectrum)
        noise = (torch.fft.irfft2(there, s=self.grid) * self.shares).sum(2, keepdim=True)
        back = torch.einsum("kstyx,bnktyx->bnsyx", self.root, torch.fft.rfft2(noise * self.shares))
        made: torch.Tensor = torch.fft.irfft2(back, s=self.grid)
        return made[..., down : down + x.shape[-2], across : across + x.shape[-1]]


def regions(coefficients: Coefficients, shape: tuple[int, int]) -> tuple[Coefficients, torch.Tensor]:
    """Share cells out to regions of like coefficients.

    Returns
    -------
    means : Coefficients (region, 1, 1, 1, 1)
        Geometric means of what is positive.
    shares : Tensor (region, 1, lat, lon)
        With sum 1.
    """
    names = coefficients._fields
    logs = [c.log() if n in POSITIVE else c for n, c in zip(names, coefficients, strict=True)]
    flat = torch.stack([v.mean((0, 1, 2)).expand(shape).flatten() for v in logs], dim=1)
    middle, spread = flat.mean(0), flat.std(0, unbiased=False)
    spread = torch.where(spread > 1e-9, spread, torch.ones_like(spread))
    features = ((flat - middle) / spread).cpu().numpy()
    distinct = min(N_REGIONS, len(np.unique(features.round(6), axis=0)))
    centres = features.mean(0, keepdims=True)
    if distinct > 1:
        centres, of = kmeans2(features, distinct, minit="++", seed=0, missing="warn")
        centres = centres[np.unique(of)]
    apart = np.square(features[:, None] - centres).sum(-1)
    weight = np.exp((apart.min(1, keepdims=True) - apart) / (2 * _SOFT**2))
    weight /= weight.sum(1, keepdims=True)
    shares = torch.from_numpy(weight.T.copy()).reshape(len(centres), 1, *shape)
    found = torch.from_numpy(centres) * spread.cpu() + middle.cpu()
    columns = [found[:, i].reshape(-1, 1, 1, 1, 1) for i in range(len(names))]
    return type(coefficients)(*(c.exp() if n in POSITIVE else c for n, c in zip(names, columns, strict=True))), shares


def _roots(equation: Equation, means: Coefficients, frames: int, grid: tuple[int, ...]) -> torch.Tensor:
    """Give the Hermitian roots of the stationary covariances ``(region, time, time, lat, wave)``."""
    like = torch.zeros(1, 1, 1, 3, 3, dtype=torch.float64)
    rows = 2 * math.pi * torch.fft.fftfreq(grid[0], dtype=torch.float64)
    columns = 2 * math.pi * torch.fft.rfftfreq(grid[1], dtype=torch.float64)
    phase = [rows[:, None] * down + columns * across for down, across in OFFSETS]
    waves = torch.stack([torch.polar(torch.ones_like(p), p) for p in phase])

    def symbol(weights: torch.Tensor) -> torch.Tensor:
        """Of the cell in the middle, which has all neighbours ``(region, lat, wave)``."""
        return torch.einsum("ok,oyx->kyx", weights[:, :, 0, 0, 1, 1].to(waves.dtype), waves)

    still = symbol(equation.weights(means, like, moving=False))
    moving = symbol(equation.weights(means, like)) if equation.moves else still
    first = still.real.clamp_min(1e-12) ** equation.power
    rate = moving**equation.power if equation.inside else still**equation.power + (moving - still)
    step = 1 + equation.dt * rate
    noise = (abs(equation.dx * equation.dy) / equation.dt / means.tau.square()).reshape(-1, 1, 1)
    precision = torch.zeros(*step.shape, frames, frames, dtype=step.dtype)
    precision[..., 0, 0] = noise * (2 * equation.dt * first + (equation.dt * first).square())
    for t in range(1, frames):
        precision[..., t - 1, t - 1] += noise
        precision[..., t, t] += noise * step.abs().square()
        precision[..., t, t - 1] = -noise * step.conj()
        precision[..., t - 1, t] = -noise * step
    values, vectors = torch.linalg.eigh(precision)
    root = (vectors * values.clamp_min(1e-12).rsqrt()[..., None, :]) @ vectors.mH
    ordered: torch.Tensor = root.permute(0, 3, 4, 1, 2).contiguous()
    return ordered
