"""Structural losses: one minus the structural similarity of prediction and target, at one or at several scales.

Windows are Gaussian, 11 x 11 cells, with a standard deviation of 1.5 cells. Where a window leaves the field or holds
missing targets, what is left of it counts with weights that sum to 1, so every target counts, in fields of any size.
"""

from __future__ import annotations

import torch
from torch import nn

WINDOW, SIGMA = 11, 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363)
"""Of the scales of `ms_dssim`, from fine to coarse: the first four of Wang et al. 2003 (DL4DS takes these four)."""
LEAST_CELLS = 4
"""Cells that a scale has to have along either axis."""


def dssim(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    r"""Structural dissimilarity, :math:`(1 - \overline{\mathrm{SSIM}})/2`, from 0 to 1.

    .. math::
        \mathrm{SSIM} = \frac{(2 \mu_p \mu_t + C_1)(2 \sigma_{pt} + C_2)}
        {(\mu_p^2 + \mu_t^2 + C_1)(\sigma_p^2 + \sigma_t^2 + C_2)}, \qquad C_1 = (0.01 L)^2,\ C_2 = (0.03 L)^2

    Wang et al. 2004, doi:10.1109/TIP.2003.819861, of each channel and frame. L is the range of the targets in the
    batch, and their least value is the origin: the first factor needs values that are not negative.

    Examples
    --------
    >>> x = torch.rand(1, 1, 16, 16)
    >>> dssim(x, x).item(), bool(dssim(1 - x, x) > dssim(x + 0.1, x))
    (0.0, True)
    """
    maps = _Maps.of(prediction, target, weight)
    luminance, contrast = maps.factors()
    return ((1 - maps.mean(luminance * contrast)) / 2).mul(maps.share()).sum()


def ms_dssim(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    r"""Structural dissimilarity over several scales, :math:`(1 - \text{MS-SSIM})/2`, from 0 to 1.

    .. math:: \text{MS-SSIM} = \overline{\mathrm{SSIM}}_M^{w_M} \prod_{j < M} \overline{c}_j^{w_j}

    c is the second factor of SSIM, and scale j is the mean over 2 x 2 cells of the one before. Wang et al. 2003,
    doi:10.1109/ACSSC.2003.1292216, with `SCALE_WEIGHTS`, of which small fields use fewer; those used sum to 1.

    Examples
    --------
    >>> x = torch.rand(1, 1, 32, 32)
    >>> round(ms_dssim(x, x).item(), 6), bool(ms_dssim(1 - x, x) > 0.4)
    (0.0, True)
    """
    maps = _Maps.of(prediction, target, weight)
    share = maps.share()
    n = 1
    while n < len(SCALE_WEIGHTS) and min(target.shape[-2:]) >> n >= LEAST_CELLS:
        n += 1
    total, similarity = sum(SCALE_WEIGHTS[:n]), torch.ones_like(share)
    for j, exponent in enumerate(SCALE_WEIGHTS[:n]):
        luminance, contrast = maps.factors()
        value = maps.mean(luminance * contrast if j == n - 1 else contrast)
        # A power of a negative number is none, and the slope at 0 has no end.
        similarity = similarity * value.clamp_min(1e-4) ** (exponent / total)
        if j < n - 1:
            maps = maps.coarser()
    return ((1 - similarity) / 2).mul(share).sum()


class _Maps:
    """Fields ``(image, 1, lat, lon)``, zero where the target is missing, and the weights of their cells."""

    def __init__(
        self, prediction: torch.Tensor, target: torch.Tensor, there: torch.Tensor, weight: torch.Tensor, spread: float
    ) -> None:
        self.prediction, self.target, self.there, self.weight = prediction, target, there, weight
        self.spread = spread

    @classmethod
    def of(cls, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> _Maps:
        there = target.isfinite()
        known = target.float()[there]
        least = known.min() if known.numel() else target.new_zeros(()).float()
        spread = float(known.max() - least) if known.numel() else 1.0
        zero = torch.zeros((), device=target.device)
        ours, theirs = (torch.where(there, field.float() - least, zero) for field in (prediction, target))
        cells = there.float() if weight is None else there * weight.float()
        rows, columns = target.shape[-2:]
        shape = (-1, 1, rows, columns)
        p, t, known_there, counted = (
            m.expand(target.shape).reshape(shape) for m in (ours, theirs, there.float(), cells)
        )
        return cls(p, t, known_there, counted, spread if spread > 0 else 1.0)

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Luminance, and contrast with structure, at every cell."""
        p, t = self.prediction, self.target
        with torch.autocast(p.device.type, enabled=False):
            means = _blur(torch.cat([p, t, p * p, t * t, p * t], dim=1))
            covered = _blur(self.there)
            mean_p, mean_t, square_p, square_t, product = torch.split(means / covered.clamp_min(1e-6), 1, dim=1)
        c1, c2 = (0.01 * self.spread) ** 2, (0.03 * self.spread) ** 2
        both = mean_p * mean_t
        luminance = (2 * both + c1) / (mean_p.square() + mean_t.square() + c1)
        variances = (square_p - mean_p.square()).clamp_min(0) + (square_t - mean_t.square()).clamp_min(0)
        return luminance, (2 * (product - both) + c2) / (variances + c2)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Weighted mean over the cells of each image, ``(image,)``."""
        total = self.weight.flatten(1).sum(dim=1)
        return (values * self.weight).flatten(1).sum(dim=1) / total.clamp_min(torch.finfo(total.dtype).tiny)

    def share(self) -> torch.Tensor:
        """Weight of each image in the batch, ``(image,)``; those without targets have none."""
        total = self.weight.flatten(1).sum(dim=1)
        return total / total.sum().clamp_min(torch.finfo(total.dtype).tiny)

    def coarser(self) -> _Maps:
        """Means over 2 x 2 cells, of those that are there."""
        there, weight = (nn.functional.avg_pool2d(m, 2) for m in (self.there, self.weight))
        p, t = (nn.functional.avg_pool2d(m, 2) / there.clamp_min(0.25) for m in (self.prediction, self.target))
        return _Maps(p, t, (there > 0).float(), weight, self.spread)


def _blur(maps: torch.Tensor) -> torch.Tensor:
    """Gaussian sums along both axes; nothing lies beyond an edge."""
    offsets = torch.arange(WINDOW, dtype=torch.float32, device=maps.device) - WINDOW // 2
    taps = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    taps = (taps / taps.sum()).expand(maps.shape[1], 1, 1, WINDOW)
    across = nn.functional.conv2d(maps, taps, padding=(0, WINDOW // 2), groups=maps.shape[1])
    return nn.functional.conv2d(across, taps.transpose(-1, -2), padding=(WINDOW // 2, 0), groups=maps.shape[1])
