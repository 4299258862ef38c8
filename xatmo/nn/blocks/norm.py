"""Normalizations of feature maps: over the batch, or over the channels of each cell."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from xatmo.errors import OptionError


class ChannelLayerNorm(nn.Module):
    r"""Layer normalization over the channels of each cell, channels first.

    With the mean and the variance over channels :math:`y_c = \gamma_c (x_c - \bar x) / \sqrt{s^2 + \epsilon} + \beta_c`
    (Ba et al. 2016, arXiv:1607.06450). Each cell is normalized alone, so the result does not depend on what lies
    around it: windows of a large field agree where they overlap.

    Parameters
    ----------
    channels : int
    eps : float
        Added to the variance.

    Examples
    --------
    >>> y = ChannelLayerNorm(8)(torch.randn(2, 8, 3, 5))
    >>> y.shape, bool(y.mean(1).abs().max() < 1e-5)
    (torch.Size([2, 8, 3, 5]), True)
    """

    halo = 0

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        last = x.permute(0, 2, 3, 1)  # contiguous where x lies channels last
        return nn.functional.layer_norm(last, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "layer": ChannelLayerNorm}


def make_norm(name: str | None, channels: int) -> nn.Module:
    """Make a normalization of ``channels`` feature maps; None makes none.

    Raises
    ------
    OptionError
        If the name is unknown.

    Examples
    --------
    >>> make_norm("layer", 4), make_norm(None, 4)
    (ChannelLayerNorm(), Identity())
    """
    if name is None:
        return nn.Identity()
    if name not in NORMS:
        message = f"norm={name!r} is not available; possible are {sorted(NORMS)} or None"
        raise OptionError(message)
    return NORMS[name](channels)
