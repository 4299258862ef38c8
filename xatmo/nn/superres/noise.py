"""Noise that a generator reads beside its inputs, so that it can give more than one answer."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.errors import DimensionError


def n_channels(n_noise: int, factor: int, *, fine: bool) -> int:
    """Count the channels that noise takes: as many as there are fields on the fine grid, else ``factor**2`` for each.

    Examples
    --------
    >>> n_channels(2, 4, fine=False), n_channels(2, 4, fine=True)
    (32, 2)
    """
    return n_noise if fine else n_noise * factor**2


def noise_like(x: torch.Tensor, n_noise: int, factor: int, noise: torch.Tensor | None) -> torch.Tensor:
    """Check the noise that came, or draw it from torch's default generator.

    Parameters
    ----------
    x : Tensor (batch, channel, [time,] lat, lon)
        The coarse input that it goes with.
    n_noise, factor : int
    noise : Tensor (batch, n_noise, [time,] lat * factor, lon * factor), optional
        Standard normal numbers.

    Raises
    ------
    DimensionError
        If it has another shape.

    Examples
    --------
    >>> noise_like(torch.zeros(2, 1, 4, 6), 3, 2, None).shape
    torch.Size([2, 3, 8, 12])
    """
    wanted = (x.shape[0], n_noise, *x.shape[2:-2], x.shape[-2] * factor, x.shape[-1] * factor)
    if noise is None:
        return torch.randn(wanted, dtype=x.dtype, device=x.device)
    if tuple(noise.shape) != wanted:
        message = f"noise is {tuple(noise.shape)}; wanted {wanted}: (batch, n_noise, [time,] lat, lon) on the fine grid"
        raise DimensionError(message)
    return noise.to(x.dtype)


def to_coarse(maps: torch.Tensor, factor: int) -> torch.Tensor:
    """Bring fine maps to the coarse grid without loss: the ``factor**2`` numbers of a cell become its channels.

    ``(batch, n, lat * factor, lon * factor)`` -> ``(batch, n * factor**2, lat, lon)``. A fine point belongs to one
    coarse cell wherever a window begins, so windows that overlap see the same noise.

    Examples
    --------
    >>> to_coarse(torch.arange(8.0).reshape(1, 1, 2, 4), 2)[0, :, 0].tolist()
    [[0.0, 2.0], [1.0, 3.0], [4.0, 6.0], [5.0, 7.0]]
    """
    return nn.functional.pixel_unshuffle(maps, factor)
