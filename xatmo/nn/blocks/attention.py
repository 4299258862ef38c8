"""Channel attention: feature maps are weighted by what the surroundings hold on average."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.errors import OptionError


class ChannelAttention(nn.Module):
    r"""Squeeze and excite: :math:`x \cdot \sigma(W_2\,\mathrm{relu}(W_1 \bar x + b_1) + b_2)`.

    Hu et al. 2018, arXiv:1709.01507. The mean :math:`\bar x` is over the whole window, or over the
    ``(2 reach + 1)**2`` cells around each cell (those of them that exist). With the local mean the result at a cell
    does not depend on how large the window is, so that tiles of a large field agree.

    Parameters
    ----------
    channels : int
    reduction : int
        The inner width is ``channels // reduction``, at least 1.
    reach : int, optional
        Cells to each side that count in the mean; None: the whole window.

    Examples
    --------
    >>> x = torch.randn(2, 8, 5, 7)
    >>> ChannelAttention(8)(x).shape, ChannelAttention(8, reach=2).halo
    (torch.Size([2, 8, 5, 7]), 2)
    """

    def __init__(self, channels: int, *, reduction: int = 4, reach: int | None = None) -> None:
        super().__init__()
        if reach is not None and reach < 0:
            message = f"reach={reach}; wanted a number of cells, or None for the whole window"
            raise OptionError(message)
        inner = max(1, channels // reduction)
        self.reach = reach
        self.halo = 0 if reach is None else reach
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    @property
    def local(self) -> bool:
        """Whether nothing beyond ``halo`` counts."""
        return self.reach is not None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        mean = x.mean((-2, -1), keepdim=True) if self.reach is None else local_mean(x, self.reach)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))


def local_mean(x: torch.Tensor, reach: int) -> torch.Tensor:
    """Mean over the ``2 * reach + 1`` cells around each along both of the last axes, of those that exist.

    Examples
    --------
    >>> local_mean(torch.tensor([[[[0.0, 2.0, 4.0]]]]), 1).tolist()
    [[[[1.0, 2.0, 3.0]]]]
    """
    size = 2 * reach + 1
    # One axis after the other: 2 n additions instead of n**2. At an edge the counts factor as well, so it is exact.
    rows = nn.functional.avg_pool2d(x, (size, 1), 1, (reach, 0), count_include_pad=False)
    return nn.functional.avg_pool2d(rows, (1, size), 1, (0, reach), count_include_pad=False)
