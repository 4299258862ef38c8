r"""Finite volumes for ``kappa^2 + m . grad - div(H grad)`` on rows of cells, with cross terms and closed faces.

Diffusion comes from an energy, so that it is symmetric and non-negative for every positive definite H. At each corner
of the cells four right-angled triangles meet, each with one difference along its row and one across the rows; each
adds a quarter of ``(g_x, g_y) H (g_x, g_y)^T``. For constant H on squares this is the usual five-point operator and
``-H12 / (2 dx dy)`` for the neighbours north-east and south-west, ``+H12 / (2 dx dy)`` for the two others. Where one
difference of a triangle would cross a closed face (coast, edge of the domain), no flux through that face leaves
``det(H) / H22`` (or ``/ H11``) for the other one.

Advection is the sum over open faces of outward transport times (neighbour - cell) / 2; upwind adds half the absolute
transport times (cell - neighbour). Constants are in the kernel of both terms.

Only arithmetic, ``abs`` and ``roll`` are used: ``xp`` is NumPy, or torch for tensors, whose gradients then flow to the
coefficients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1))
"""(row, column) of the neighbour that each weight of a stencil multiplies; rows go north, columns east."""


class Pairs(NamedTuple):
    """Couplings of a cell with four neighbours; each symmetric, negative for plain diffusion."""

    east: Any
    north: Any
    north_east: Any
    """Of the cell with the one beyond its north-east corner."""
    north_west: Any
    """Of the cell east of this one with the one north of this one: across the same corner."""


def _east(x: Any, xp: Any) -> Any:
    return xp.roll(x, -1, -1)


def _north(x: Any, xp: Any) -> Any:
    return xp.roll(x, -1, -2)


def _west(x: Any, xp: Any) -> Any:
    return xp.roll(x, 1, -1)


def _south(x: Any, xp: Any) -> Any:
    return xp.roll(x, 1, -2)


def diffusion_pairs(
    h11: Any, h12: Any, h22: Any, along: Any, across: Any, open_east: Any, open_north: Any, *, xp: Any = np
) -> Pairs:
    """Couplings of ``-div(H grad)``, times the areas of the cells.

    Parameters
    ----------
    h11, h12, h22 : array (..., row, column)
        Diffusion tensor in the cells: east-east, east-north, north-north, m2 per unit of time.
    along : array (row, 1)
        sqrt(height / width) of the cells.
    across : array (row, 1)
        sqrt(width / distance) at the face between a row and the next one.
    open_east, open_north : array (row, column)
        1 where the face to the east (to the north) of a cell is open, else 0. Beyond the last row (column) comes the
        first: open there means periodic.
    xp : module
        NumPy or torch.

    Returns
    -------
    Pairs of arrays (..., row, column)

    Examples
    --------
    >>> one = np.ones((3, 3))
    >>> pairs = diffusion_pairs(2 * one, 0.5 * one, one, one[:, :1], one[:, :1], one, one)
    >>> [p[1, 1].item() for p in pairs]
    [-2.0, -1.0, -0.25, 0.25]
    """
    tensor = (h11, h12, h22)
    sw, se = tensor, tuple(_east(h, xp) for h in tensor)
    nw = tuple(_north(h, xp) for h in tensor)
    ne = tuple(_north(h, xp) for h in se)
    south, north = open_east, _north(open_east, xp)  # the four edges that meet at the north-east corner of a cell
    west, east = open_north, _east(open_north, xp)
    below, above = along, _north(along, xp)

    def triangle(corner: Any, beside: Any, over: Any, x_open: Any, y_open: Any, s_x: Any) -> tuple[Any, Any, Any]:
        """Quarter of H in one triangle: its right-angled cell, that in the same row, that in the other row."""
        both = x_open * y_open
        full = tuple((c + b + o) / 3 for c, b, o in zip(corner, beside, over, strict=True))
        in_row = tuple((c + b) / 2 for c, b in zip(corner, beside, strict=True))
        in_column = tuple((c + o) / 2 for c, o in zip(corner, over, strict=True))
        alone_x = in_row[0] - in_row[1] * in_row[1] / in_row[2]
        alone_y = in_column[2] - in_column[1] * in_column[1] / in_column[0]
        a = s_x * s_x / 4 * (both * full[0] + x_open * (1 - y_open) * alone_x)
        b = across * across / 4 * (both * full[2] + y_open * (1 - x_open) * alone_y)
        return a, b, s_x * across / 4 * both * full[1]

    a1, b1, c1 = triangle(sw, se, nw, south, west, below)
    a2, b2, c2 = triangle(se, sw, ne, south, east, below)
    a3, b3, c3 = triangle(nw, ne, sw, north, west, above)
    a4, b4, c4 = triangle(ne, nw, se, north, east, above)
    lower, upper = c2 - c1 - a1 - a2, c3 - c4 - a3 - a4  # of the edges south and north of the corner
    left, right = c3 - c1 - b1 - b3, c2 - c4 - b2 - b4
    return Pairs(lower + _south(upper, xp), left + _west(right, xp), -c2 - c3, c1 + c4)


def stencil(
    kappa: Any,
    diffusion: tuple[Any, Any, Any],
    velocity: tuple[Any, Any] | None,
    geometry: Any,
    *,
    upwind: bool = True,
    xp: Any = np,
) -> Any:
    """Weights of ``kappa^2 + m . grad - div(H grad)``.

    Parameters
    ----------
    kappa : array (..., row, column)
        Its square is a rate when H is m2 per unit of time.
    diffusion : three arrays (..., row, column)
        H11, H12, H22.
    velocity : two arrays (..., row, column), optional
        Eastward and northward, m per unit of time.
    geometry : object
        With ``width``, ``height``, ``face_width``, ``gap`` (row, 1) in m, and ``open_east``, ``open_north``
        (row, column): see `diffusion_pairs`.
    upwind : bool
        First-order upwind advection; otherwise centred.
    xp : module
        NumPy or torch.

    Returns
    -------
    array (9, ..., row, column)
        In the order of `OFFSETS`.
    """
    along = (geometry.height / geometry.width) ** 0.5
    across = (geometry.face_width / geometry.gap) ** 0.5
    pairs = diffusion_pairs(*diffusion, along, across, geometry.open_east, geometry.open_north, xp=xp)
    e, n = pairs.east, pairs.north
    w, s = _west(e, xp), _south(n, xp)
    if velocity is not None:
        u = geometry.open_east * geometry.height * (velocity[0] + _east(velocity[0], xp)) / 4  # half the transport
        v = geometry.open_north * geometry.face_width * (velocity[1] + _north(velocity[1], xp)) / 4
        u_w, v_s = _west(u, xp), _south(v, xp)
        e, w, n, s = e + u, w - u_w, n + v, s - v_s
        if upwind:
            e, w, n, s = e - abs(u), w - abs(u_w), n - abs(v), s - abs(v_s)
    ne, sw = pairs.north_east, _south(_west(pairs.north_east, xp), xp)
    nw, se = _west(pairs.north_west, xp), _south(pairs.north_west, xp)
    area = geometry.width * geometry.height
    own = kappa * kappa * area - (e + w + n + s + ne + nw + se + sw)
    return xp.stack([x / area for x in (sw, s, se, w, own, e, nw, n, ne)])


def apply_stencil(weights: Any, field: Any, *, xp: Any = np) -> Any:
    """Multiply a field by the operator whose stencil is given.

    Parameters
    ----------
    weights : array (9, ..., row, column)
    field : array (..., row, column)
    xp : module
        NumPy or torch.

    Returns
    -------
    array (..., row, column)
    """
    total = 0
    for weight, (row, column) in zip(weights, OFFSETS, strict=True):
        total = total + weight * xp.roll(field, (-row, -column), (-2, -1))
    return total
