"""Equally spaced rows with a row on one pole only (Driscoll-Healy): the missing row follows from the others.

Around a meridian and back along the opposite one, a zonal mean is an even function with 2 n values, n rows apart from
the missing one, whose wave of length two rows has to vanish if the degree is below n. That fixes the missing value. The
same holds for the wave number 1 of a vector's components, the only one that a smooth vector has at a pole.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xatmo.grids import Grid
from xatmo.typing import Floats


@lru_cache(maxsize=32)
def completed(grid: Grid) -> Grid:
    """Give the grid with rows on both poles, in the same row order.

    Examples
    --------
    >>> completed(Grid.driscoll_healy(18)) == Grid.regular(19, 36)
    True
    """
    rows = Grid.regular(grid.nlat + 1, 4).latitude
    return Grid("regular", rows if grid.north_to_south else rows[::-1], grid.longitude)


def _missing_last(grid: Grid) -> bool:
    return (grid.missing_pole == "south") == grid.north_to_south


@lru_cache(maxsize=32)
def _signs(n: int) -> Floats:
    """Factors of the rows, counted from the pole that is there, in the value on the other pole."""
    factors = 2 * (-1.0) ** (np.arange(n) + n + 1)
    factors[0] /= 2
    return np.asarray(factors)


def pole_row(field: Floats, grid: Grid, wave: int = 0) -> Floats:
    """Values on the missing pole, ``(..., nlon)``: a constant for ``wave=0`` (scalars), wave number 1 for ``wave=1``.

    Examples
    --------
    >>> grid = Grid.driscoll_healy(18)
    >>> mu = np.sin(np.radians(grid.latitude))[:, None] * np.ones(36)
    >>> pole_row(mu**3, grid)[:2]
    array([-1., -1.])
    """
    factors = _signs(grid.nlat)
    if not _missing_last(grid):
        factors = factors[::-1]
    row = np.einsum("...ji,j->...i", field, factors)
    if wave == 0:
        return np.broadcast_to(row.mean(axis=-1, keepdims=True), row.shape)
    angle = 2 * np.pi * np.arange(grid.nlon) / grid.nlon
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(2 / grid.nlon * ((row @ cosine)[..., None] * cosine + (row @ sine)[..., None] * sine))


def complete(field: Floats, grid: Grid, wave: int = 0) -> Floats:
    """Add the missing row to a field, ``(..., nlat + 1, nlon)``; see `pole_row`."""
    out = np.empty((*field.shape[:-2], grid.nlat + 1, grid.nlon), field.dtype)
    last = _missing_last(grid)
    inner, outer = (slice(0, -1), -1) if last else (slice(1, None), 0)
    out[..., inner, :] = field
    out[..., outer, :] = pole_row(field, grid, wave)
    return out


def cut(field: Floats, grid: Grid) -> Floats:
    """Drop the row that the grid lacks."""
    return field[..., :-1, :] if _missing_last(grid) else field[..., 1:, :]
