"""Maps of any size for networks that halve them: rows and columns are added, and taken away from the result."""

from __future__ import annotations

import torch
from torch.nn import functional

from xatmo.errors import DimensionError


def enlarge(x: torch.Tensor, factor: int, wrap: int = 0) -> torch.Tensor:
    """Bring the last two axes to multiples of ``factor`` by repeating the last row and column.

    Parameters
    ----------
    x : Tensor (batch, channel, lat, lon)
    factor : int
    wrap : int
        Columns of the other end that are laid at each end before, where longitudes go around.

    Raises
    ------
    DimensionError
        If there are fewer columns than are laid around.

    Examples
    --------
    >>> enlarge(torch.arange(3.0).reshape(1, 1, 1, 3), 2, wrap=1)[0, 0].tolist()
    [[2.0, 0.0, 1.0, 2.0, 0.0, 0.0], [2.0, 0.0, 1.0, 2.0, 0.0, 0.0]]
    """
    if wrap > x.shape[-1]:
        message = f"wrap={wrap} and {x.shape[-1]} columns; wanted at least as many columns, or a smaller wrap"
        raise DimensionError(message)
    if wrap:
        x = functional.pad(x, (wrap, wrap, 0, 0), mode="circular")
    missing = [-n % factor for n in x.shape[-2:]]
    return functional.pad(x, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else x


def reduced(x: torch.Tensor, lat: int, lon: int, wrap: int = 0) -> torch.Tensor:
    """Take away what `enlarge` added to maps of this size.

    Examples
    --------
    >>> x = torch.randn(1, 1, 5, 7)
    >>> bool(torch.equal(reduced(enlarge(x, 4, wrap=2), 5, 7, wrap=2), x))
    True
    """
    return x[..., :lat, wrap : wrap + lon]
