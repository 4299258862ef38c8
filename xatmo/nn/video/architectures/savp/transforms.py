"""How the next frame is made from the last one by moving it: kernels for all cells, for each cell, or displacements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.video.architectures.savp.layers import head

FLOOR = 1e-12
"""Least weight of a kernel, so that its sum is never zero."""


def mirrored(x: torch.Tensor, width: int) -> torch.Tensor:
    """Continue maps beyond their edges as their mirror images, the outermost cells twice.

    Examples
    --------
    >>> mirrored(torch.tensor([[1.0, 2.0, 3.0]]), 1)[1].tolist()
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """
    for dim in (-2, -1):
        n = x.shape[dim]
        at = torch.arange(-width, n + width, device=x.device) % (2 * n)
        x = x.index_select(dim, torch.minimum(at, 2 * n - 1 - at))
    return x


def normalized(raw: torch.Tensor, size: int, dim: int) -> torch.Tensor:
    """Make kernels from what a layer gave, ``size**2`` weights along ``dim``: near the identity, positive, of sum 1.

    Examples
    --------
    >>> normalized(torch.zeros(1, 9), 3, 1)[0].tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    centre = torch.zeros(size**2, device=raw.device)
    centre[size**2 // 2] = 1
    shape = [1] * raw.ndim
    shape[dim] = size**2
    weights = torch.relu(raw.float() + centre.reshape(shape) - FLOOR) + FLOOR
    return weights / weights.sum(dim, keepdim=True)


def convolved(image: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Blur and shift maps, each sample with kernels of its own.

    Parameters
    ----------
    image : Tensor (batch, n, lat, lon)
    kernels : Tensor (batch, n_kernels, size, size)
        The same for all channels and cells.

    Returns
    -------
    Tensor (batch, n_kernels, n, lat, lon)

    Examples
    --------
    >>> east = torch.zeros(1, 1, 3, 3)
    >>> east[0, 0, 1, 0] = 1  # what lies to the west comes here
    >>> convolved(torch.tensor([[[[1.0, 2.0, 3.0]]]]), east).flatten().tolist()
    [1.0, 1.0, 2.0]
    """
    batch, n_kernels, size = kernels.shape[:3]
    padded = mirrored(image, size // 2).transpose(0, 1)
    out = functional.conv2d(padded, kernels.reshape(-1, 1, size, size).to(image.dtype), groups=batch)
    return torch.unflatten(out, 1, (batch, n_kernels)).permute(1, 2, 0, 3, 4)


def gathered(image: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Weigh the neighbours of each cell with kernels of its own.

    Parameters
    ----------
    image : Tensor (batch, n, lat, lon)
    kernels : Tensor (batch, n_kernels, size**2, lat, lon)

    Returns
    -------
    Tensor (batch, n_kernels, n, lat, lon)
    """
    size = math.isqrt(kernels.shape[2])
    around = functional.unfold(mirrored(image, size // 2), size)
    around = around.reshape(*image.shape[:2], size**2, *image.shape[2:])
    return torch.einsum("bcshw,bkshw->bkchw", around, kernels.to(image.dtype))


def warped(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Fetch each cell from where it came, with bilinear interpolation; from outside the nearest value of the edge.

    Parameters
    ----------
    image : Tensor (batch, n, lat, lon)
    flow : Tensor (batch, n_flows, 2, lat, lon)
        Cells southward (along the rows) and eastward (along the columns) to where the value is taken from.

    Returns
    -------
    Tensor (batch, n_flows, n, lat, lon)

    Examples
    --------
    >>> flow = torch.zeros(1, 1, 2, 1, 3)
    >>> flow[:, :, 1] = 0.5
    >>> warped(torch.tensor([[[[1.0, 2.0, 3.0]]]]), flow).flatten().tolist()
    [1.5, 2.5, 3.0]
    """
    n_rows, n_columns = image.shape[-2:]
    flow = flow.float()
    rows = (torch.arange(n_rows, device=flow.device)[:, None] + flow[:, :, 0]).clamp(0, n_rows - 1)
    columns = (torch.arange(n_columns, device=flow.device) + flow[:, :, 1]).clamp(0, n_columns - 1)
    top, left = rows.detach().floor().long(), columns.detach().floor().long()
    down, right = (rows - top)[:, :, None], (columns - left)[:, :, None]
    flat = image.flatten(2)[:, None].expand(-1, flow.shape[1], -1, -1)

    def at(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        index = (row.clamp(max=n_rows - 1) * n_columns + column.clamp(max=n_columns - 1)).flatten(2)[:, :, None]
        found = flat.gather(3, index.expand(-1, -1, image.shape[1], -1))
        return torch.unflatten(found, 3, (n_rows, n_columns))

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return (above * (1 - down) + below * down).to(image.dtype)


class SharedKernels(nn.Module):
    """Kernels for all cells (*CDNA*), from the coarsest features: their mean, or all of them on a grid of given size.

    Parameters
    ----------
    n_deep : int
        Channels of the coarsest features.
    n, size : int
        Kernels, and their width.
    deep_grid : (int, int), optional
        Rows and columns of the coarsest features. Given: a dense layer of every one of them, as published, whose
        weights belong to that grid. None: of their means, for any grid.

    Examples
    --------
    >>> layer = SharedKernels(64, 4, 5, deep_grid=(23, 14))
    >>> sum(p.numel() for p in layer.parameters())
    2060900
    """

    def __init__(self, n_deep: int, n: int, size: int, *, deep_grid: Sequence[int] | None = None) -> None:
        super().__init__()
        self.n, self.size, self.deep_grid = n, size, None if deep_grid is None else tuple(deep_grid)
        cells = 1 if self.deep_grid is None else math.prod(self.deep_grid)
        self.dense = nn.Linear(n_deep * cells, n * size**2)

    def forward(self, image: torch.Tensor, deep: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Give ``(batch, n, channel, lat, lon)``."""
        if self.deep_grid is None:
            seen = deep.mean((-2, -1))
        elif self.deep_grid == tuple(deep.shape[-2:]):
            seen = deep.flatten(1)
        else:
            message = (
                f"features on {tuple(deep.shape[-2:])} cells came to kernels made for {self.deep_grid}; wanted fields "
                "of the size in 'grid', or kernels='pooled'"
            )
            raise DimensionError(message)
        raw = torch.unflatten(self.dense(seen), 1, (self.n, self.size**2))
        return convolved(image, torch.unflatten(normalized(raw, self.size, 2), 2, (self.size, self.size)))


class OwnKernels(nn.Module):
    """Kernels for each cell (*DNA*), from the finest features.

    Parameters
    ----------
    n_fine, n, size : int
    """

    def __init__(self, n_fine: int, n: int, size: int) -> None:
        super().__init__()
        self.n, self.size = n, size
        self.layers = head(n_fine, n_fine, n * size**2)

    def forward(self, image: torch.Tensor, deep: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Give ``(batch, n, channel, lat, lon)``."""
        raw = torch.unflatten(self.layers(fine), 1, (self.n, self.size**2))
        return gathered(image, normalized(raw, self.size, 2))


class Flow(nn.Module):
    """Displacements of each cell, from the finest features.

    Parameters
    ----------
    n_fine, n : int
    """

    def __init__(self, n_fine: int, n: int) -> None:
        super().__init__()
        self.n = n
        self.layers = head(n_fine, n_fine, 2 * n)

    def forward(self, image: torch.Tensor, deep: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Give ``(batch, n, channel, lat, lon)``."""
        return warped(image, torch.unflatten(self.layers(fine), 1, (self.n, 2)))


def make(
    kind: str, n_deep: int, n_fine: int, n: int, size: int, *, deep_grid: Sequence[int] | None = None
) -> nn.Module:
    """Make a transform: ``"cdna"``, ``"dna"`` or ``"flow"``.

    Raises
    ------
    OptionError
        If it is unknown, or kernels have no middle.
    """
    if size % 2 == 0:
        message = f"kernel_size={size}; wanted an odd number of cells"
        raise OptionError(message)
    if kind == "cdna":
        return SharedKernels(n_deep, n, size, deep_grid=deep_grid)
    if kind == "dna":
        return OwnKernels(n_fine, n, size)
    if kind == "flow":
        return Flow(n_fine, n)
    message = f"transform={kind!r}; wanted one of ['cdna', 'dna', 'flow']"
    raise OptionError(message)
