"""Derivatives of spherical harmonics as combinations of harmonics of the neighbouring orders."""

from __future__ import annotations

import torch
from torch import Tensor


def vector_factors(lmax: int, device: torch.device) -> tuple[Tensor, ...]:
    """Factors, (order, degree), of the functions of order m -+ 1 in dP / dlat and in m P / cos(lat), in float64.

    Both are divided by s = sqrt(n (n + 1)):
    ``dP(n, m) / dlat = (-a P(n, m - 1) + b P(n, m + 1)) / 2``,
    ``m P(n, m) / cos(lat) = c (d P(n - 1, m - 1) + e P(n - 1, m + 1)) / 2`` with
    ``a^2 = (n + m)(n - m + 1)``, ``b^2 = (n - m)(n + m + 1)``, ``c^2 = (2 n + 1) / (2 n - 1)``,
    ``d^2 = (n + m)(n + m - 1)``, ``e^2 = (n - m)(n - m - 1)``; the latter two factors are for degrees 1 and up.
    """
    n = torch.arange(lmax + 1, dtype=torch.float64, device=device)
    m = n[:, None]
    s = torch.sqrt(n * (n + 1)).clamp(min=1)
    inside = m <= n

    def root(square: Tensor) -> Tensor:
        return torch.where(inside, square, 0.0).clamp(min=0).sqrt() / (2 * s)

    slope_above = -root((n + m) * (n - m + 1))
    slope_below = root((n - m) * (n + m + 1))
    slope_above[0] = 0
    slope_below[0] *= 2  # order -1 is minus order 1
    ratio = torch.sqrt((2 * n + 1) / (2 * n - 1).clamp(min=1))
    ratio_above = ratio * root((n + m) * (n + m - 1))
    ratio_below = ratio * root((n - m) * (n - m - 1))
    ratio_above[0] = ratio_below[0] = 0
    return slope_above, slope_below, ratio_above[:, 1:], ratio_below[:, 1:]
