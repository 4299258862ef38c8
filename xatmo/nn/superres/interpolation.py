"""The interpolated baseline: fine nodes from coarse cells, exactly where the coarsening put them."""

from __future__ import annotations

import math

import torch
from torch import nn

from xatmo.errors import OptionError


def keys_cubic(distance: float, a: float = -0.75) -> float:
    """Cubic convolution kernel (Keys 1981, doi:10.1109/TASSP.1981.1163711).

    ``a = -1/2`` is third-order accurate for point values. Coarse cells are means, which are smoother; the sharper
    ``a = -3/4`` gives back a part of what the mean took away.

    Examples
    --------
    >>> keys_cubic(0.0), keys_cubic(0.5), keys_cubic(1.5), keys_cubic(2.5)
    (1.0, 0.59375, -0.09375, 0.0)
    """
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def _linear(distance: float) -> float:
    return max(0.0, 1.0 - abs(distance))


KERNELS = {"bicubic": (keys_cubic, 2), "bilinear": (_linear, 1)}


class Interpolation(nn.Module):
    r"""Separable interpolation from coarse cells to fine nodes, in float32 whatever the autocast.

    Fine node :math:`k` of an axis lies at :math:`(k + 1/2 + o)/f - 1/2` in coarse cells, where :math:`f` is the factor
    and :math:`o` the offset of the coarsening in sub-cells. Beyond an edge the outermost cell is repeated.

    Parameters
    ----------
    factor : int
    kind : {"bicubic", "bilinear"}
    row_offset, column_offset : float
        Where fine node 0 lies relative to the centre of the first of the ``factor`` sub-cells of coarse cell 0, in
        sub-cells: 0 for block means, -0.5 for rows that start on the pole.

    Examples
    --------
    Bilinear interpolation reproduces a linear field, away from the edges:

    >>> x = torch.arange(8.0).expand(1, 1, 8, 8)
    >>> fine = Interpolation(2, "bilinear")(x)
    >>> fine.shape, fine[0, 0, 8, 6:10].tolist()
    (torch.Size([1, 1, 16, 16]), [2.75, 3.25, 3.75, 4.25])
    """

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(
        self, factor: int, kind: str = "bicubic", *, row_offset: float = 0.0, column_offset: float = 0.0
    ) -> None:
        super().__init__()
        if kind not in KERNELS:
            message = f"baseline={kind!r}; possible are {sorted(KERNELS)}"
            raise OptionError(message)
        self.factor, self.kind = factor, kind
        # Not weights: worked out from the configuration, so not saved.
        self.register_buffer("rows", _taps(factor, kind, row_offset), persistent=False)
        self.register_buffer("columns", _taps(factor, kind, column_offset), persistent=False)
        self.halo = max(self.rows.shape[1], self.columns.shape[1]) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channel, lat, lon)`` -> ``(batch, channel, lat * factor, lon * factor)``."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return _along(_along(x, self.columns, -1), self.rows, -2)


def _taps(factor: int, kind: str, offset: float) -> torch.Tensor:
    """Weights ``(factor, taps)`` of the cells around a coarse cell, for each of its sub-cells; rows sum to 1."""
    kernel, reach = KERNELS[kind]
    places = [(r + 0.5 + offset) / factor - 0.5 for r in range(factor)]
    most = max(max(math.floor(p) + reach, -(math.floor(p) - reach + 1)) for p in places)
    cells = range(-most, most + 1)
    return torch.tensor([[kernel(p - c) for c in cells] for p in places], dtype=torch.float64).float()


def _along(x: torch.Tensor, taps: torch.Tensor, dim: int) -> torch.Tensor:
    reach, n = taps.shape[1] // 2, x.shape[dim]
    cells = torch.arange(-reach, n + reach, device=x.device).clamp_(0, n - 1)
    around = x.index_select(dim, cells).unfold(dim, taps.shape[1], 1)  # (..., n, ..., taps)
    fine = around @ taps.T  # (..., factor)
    if dim == -1:
        return fine.flatten(-2)
    return fine.transpose(-1, -2).flatten(-3, -2)
