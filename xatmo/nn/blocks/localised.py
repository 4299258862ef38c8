"""Localised layer: every cell of one fixed grid has its own weights."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError


class LocalisedLayer(nn.Module):
    r"""Unshared 1 x 1 convolution, :math:`y_{kij} = \sum_c w_{kcij} x_{cij} + b_{kij}`.

    What a coarse field says about a place may differ from place to place; this layer can learn it, and in return serves
    one grid only. It starts as the identity (of the first channels) everywhere.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    shape : (int, int)
        Rows and columns of the grid.

    Raises
    ------
    OptionError
        If the shape is not two positive whole numbers.
    DimensionError
        If fields of another size come.

    Examples
    --------
    >>> layer = LocalisedLayer(2, 2, (4, 6))
    >>> x = torch.randn(3, 2, 4, 6)
    >>> bool(torch.equal(layer(x), x)), sum(p.numel() for p in layer.parameters())
    (True, 144)
    """

    halo = 0

    def __init__(self, n_in: int, n_out: int, shape: tuple[int, int]) -> None:
        super().__init__()
        if len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            message = f"shape={shape!r}; wanted the numbers of rows and columns of the grid, both positive"
            raise OptionError(message)
        self.shape = (shape[0], shape[1])
        self.weight = nn.Parameter(torch.eye(n_out, n_in)[..., None, None].repeat(1, 1, *shape))
        self.bias = nn.Parameter(torch.zeros(n_out, *shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, *shape)`` -> ``(batch, n_out, *shape)``."""
        if tuple(x.shape[-2:]) != self.shape:
            message = (
                f"a localised layer of {self.shape[0]} x {self.shape[1]} cells got {x.shape[-2]} x {x.shape[-1]}; it "
                "has weights for each cell of its own grid: give that whole grid, or build without localised"
            )
            raise DimensionError(message)
        return (self.weight * x[:, None]).sum(2) + self.bias
