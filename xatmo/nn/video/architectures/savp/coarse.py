"""Coarser frames to work on, and back: what is finer comes from a simple forecast."""

from __future__ import annotations

import torch
from torch.nn import functional

from xatmo.nn.video.margins import enlarge


def coarsened(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Give means over blocks of cells; beyond the edges the last rows and columns go on.

    Parameters
    ----------
    x : Tensor (batch, channel, time, lat, lon) or (batch, channel, lat, lon)
    factor : int
        Cells of a block along each axis.

    Examples
    --------
    >>> coarsened(torch.arange(3.0).reshape(1, 1, 1, 3), 2).flatten().tolist()
    [0.5, 2.0]
    """
    if factor == 1:
        return x
    flat = functional.avg_pool2d(enlarge(x.flatten(1, -3), factor), factor)
    return flat.reshape(*x.shape[:-2], *flat.shape[-2:])


def refined(made: torch.Tensor, coarse: torch.Tensor, fine: torch.Tensor, factor: int) -> torch.Tensor:
    """Add to fine fields, by bilinear interpolation, what coarse ones differ from their means.

    Parameters
    ----------
    made : Tensor (batch, channel, time, rows, columns)
    coarse : Tensor (batch, channel, time, rows, columns)
        Means of the fine fields.
    fine : Tensor (batch, channel, time, lat, lon)
    factor : int

    Examples
    --------
    >>> fine = torch.arange(3.0).reshape(1, 1, 1, 1, 3)
    >>> coarse = coarsened(fine, 2)
    >>> refined(coarse + 1, coarse, fine, 2).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    if factor == 1:
        return made
    change = functional.interpolate((made - coarse).flatten(1, 2), scale_factor=factor, mode="bilinear")
    change = change[..., : fine.shape[-2], : fine.shape[-1]]
    return fine + torch.unflatten(change, 1, made.shape[1:3])
