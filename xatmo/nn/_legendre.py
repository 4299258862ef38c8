"""Associated Legendre functions and exact meridional quadrature, in float64 NumPy: what `sphere` puts into tensors.

Functions of order m are normalised so that half the integral of their square over mu = cos(colatitude) is 1, without
the Condon-Shortley phase.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# P(m, m) near a pole is far below the smallest float64, yet grows back to order 1 with the degree. Such values carry a
# power of 2**-SCALE until they are worth storing.
_SCALE = 800


def sectoral(sine: Array, lmax: int) -> tuple[Array, NDArray[np.int64]]:
    """P(m, m) for every order as mantissa and binary exponent, ``(lmax + 1, nlat)`` each: free of underflow.

    Examples
    --------
    >>> mantissa, exponent = sectoral(np.array([0.5]), 2)
    >>> np.ldexp(mantissa, exponent)[:, 0]  # 1, sqrt(3 / 2) sin, sqrt(15 / 8) sin^2
    array([1.        , 0.61237244, 0.3423266 ])
    """
    mantissa = np.empty((lmax + 1, sine.size))
    exponent = np.zeros((lmax + 1, sine.size), dtype=np.int64)
    mantissa[0] = 1
    for m in range(1, lmax + 1):
        part, shift = np.frexp(mantissa[m - 1] * (sine * np.sqrt((2 * m + 1) / (2 * m))))
        mantissa[m], exponent[m] = part, exponent[m - 1] + shift
    return mantissa, exponent


@dataclass(frozen=True)
class Block:
    """Functions of some orders, all even or all odd, where they are not negligible.

    Attributes
    ----------
    orders : slice
        Of step 2.
    rows : slice
        Those that matter: towards the poles, functions of high order fall below all rounding.
    even, odd : array (orders, k, rows)
        P(n, order) for degrees ``n = orders.start + 2 k`` and ``n = orders.start + 2 k + 1``; zero where n < order.
    """

    orders: slice
    rows: slice
    even: Array
    odd: Array


def blocks(cosine: Array, sine: Array, lmax: int, width: int, *, negligible: float = 0.0) -> Iterator[Block]:
    """Tables in blocks of ``width`` orders, in float64.

    What does not exceed ``negligible`` is zero, and rows where all of a block is are left out. Numbers like 1e-40 would
    do no good and much harm: arithmetic with float32's subnormals is many times slower.

    Parameters
    ----------
    cosine, sine : array (nlat,)
        Of the colatitude.
    lmax : int
        Highest degree.
    width : int
        Orders in a block.
    negligible : float
        Absolute value, to be compared with functions whose mean square is 1.
    """
    mantissa, exponent = sectoral(sine, lmax)
    for parity in (0, 1):
        for first in range(parity, lmax + 1, 2 * width):
            orders = slice(first, min(first + 2 * width, lmax + 1), 2)
            m = np.arange(orders.start, orders.stop, 2)[:, None]
            even, odd = _block(cosine, m, lmax, mantissa[orders], exponent[orders])
            for table in (even, odd):
                table[np.abs(table) <= negligible] = 0
            (kept,) = np.nonzero(even.any(axis=(0, 1)) | odd.any(axis=(0, 1)))
            rows = slice(int(kept[0]), int(kept[-1]) + 1) if kept.size else slice(0, 1)
            yield Block(orders, rows, even[..., rows], odd[..., rows])


def _block(cosine: Array, m: Any, lmax: int, mantissa: Array, exponent: NDArray[np.int64]) -> tuple[Array, Array]:
    count = lmax - int(m[0, 0]) + 1
    tables = np.zeros((m.size, (count + 1) // 2, cosine.size)), np.zeros((m.size, count // 2, cosine.size))
    place = (m[:, 0] - m[0, 0]) // 2
    scale = np.where(mantissa == 0, 0, np.maximum(0, -(exponent // _SCALE) - 1))
    current = np.ldexp(mantissa, exponent + _SCALE * scale)
    previous = np.zeros_like(current)
    scaled = bool(scale.any())
    for j in range(count):
        n = m + j
        if j:
            a = np.sqrt((4.0 * n * n - 1) / (n * n - m * m))
            b = np.sqrt((2.0 * n + 1) * ((n - 1) ** 2 - m * m) / ((2.0 * n - 3) * (n * n - m * m))) if j > 1 else 0.0
            previous, current = current, a * (cosine * current) - b * previous
        kept = int(np.count_nonzero(n <= lmax))
        if scaled:
            grown = (scale > 0) & (np.abs(current) > 1.0)
            if grown.any():
                shift = np.where(grown, 2.0**-_SCALE, 1.0)
                previous, current, scale = previous * shift, current * shift, scale - grown
                scaled = bool(scale.any())
        values = np.where(scale[:kept] > 0, 0.0, current[:kept]) if scaled else current[:kept]
        tables[j % 2][np.arange(kept), place[:kept] + j // 2] = values
    return tables


# ---------------------------------------------------------------------- quadrature
def is_clenshaw_curtis(colatitude: Array) -> bool:
    """Tell whether rows lie at equal steps from pole to pole."""
    return bool(np.allclose(colatitude, np.linspace(0, np.pi, colatitude.size), rtol=0, atol=1e-9))


def is_fejer(colatitude: Array) -> bool:
    """Tell whether rows lie at equal steps, the outer ones half a step from the poles."""
    nodes = (np.arange(colatitude.size) + 0.5) * np.pi / colatitude.size
    return bool(np.allclose(colatitude, nodes, rtol=0, atol=1e-9))


def exact_rule(n: int, *, poles: bool) -> tuple[Array, Array]:
    """Quadrature matrices on equally spaced rows, ``(n, n)`` each, for even and for odd orders.

    A field's zonal wave is a cosine series in colatitude for even orders and a sine series for odd ones, and so is an
    associated Legendre function. With C the values-to-series transform, half the integral of the product of two series
    over mu is ``C^T G C``, where G holds the integrals of two cosines (or sines) and sin(colatitude). This is exact up
    to degree n - 2 with poles and n - 1 without, twice what a weight for each row achieves.

    Parameters
    ----------
    n : int
        Rows.
    poles : bool
        Rows on the poles (Clenshaw-Curtis), or half a step away (Fejer's first rule).

    Examples
    --------
    >>> even, odd = exact_rule(5, poles=True)
    >>> mu = np.cos(np.linspace(0, np.pi, 5))
    >>> np.round(even @ np.ones(5) @ mu**2, 6)  # half the integral of mu^2
    np.float64(0.333333)
    """
    (cosine, sine), k = series(n, poles=poles), np.arange(n)
    difference, total = _moment(k[:, None] - k), _moment(k[:, None] + k)
    even = cosine.T @ (difference + total) @ cosine / 4
    if not poles:
        total = _moment(k[:, None] + k + 2)
    return even, sine.T @ (difference - total) @ sine / 4


def series(n: int, *, poles: bool) -> tuple[Array, Array]:
    """Matrices from values on equally spaced rows to cosine and to sine series in colatitude, ``(n, n)`` each.

    Term k is that of ``cos(k t)``; of the sines it is ``sin(k t)`` with poles and ``sin((k + 1) t)`` without. With
    poles, the first and the last sine, zero on all rows, get none.

    Examples
    --------
    >>> cosine, sine = series(4, poles=False)
    >>> np.abs(np.round(cosine @ np.cos(2 * np.pi * (np.arange(4) + 0.5) / 4), 12))
    array([0., 0., 1., 0.])
    """
    k = np.arange(n)
    if poles:
        steps, ends = n - 1, np.ones(n)
        ends[[0, -1]] = 0.5
        # Exact reduction of the angle, which n^2 multiples of pi would lose digits of.
        angle = np.pi * (np.outer(k, k) % (2 * steps)) / steps
        cosine = 2 / steps * (ends[:, None] * np.cos(angle) * ends)
        sine = 2 / steps * np.sin(angle)
        sine[:, [0, -1]] = 0
        sine[[0, -1]] = 0
        return cosine, sine
    half = 2 * k + 1
    cosine = 2 / n * np.cos(np.pi * (np.outer(k, half) % (4 * n)) / (2 * n))
    cosine[0] /= 2
    sine = 2 / n * np.sin(np.pi * (np.outer(k + 1, half) % (4 * n)) / (2 * n))
    sine[-1] /= 2
    return cosine, sine


def _moment(j: NDArray[np.integer[Any]]) -> Array:
    """Integral of cos(j t) sin(t) from 0 to pi."""
    safe = np.where(np.abs(j) % 2 == 0, j, 0).astype(np.float64)
    return np.where(np.abs(j) % 2 == 0, 2 / (1 - safe**2), 0.0)


def fold(weights: Array) -> tuple[Array, Array]:
    """Fold a quadrature at the equator, for sums and for differences of the two hemispheres.

    Parameters
    ----------
    weights : array (..., n, n) or (n,)
        Matrix, or weight by row; symmetric about the equator.

    Returns
    -------
    even, odd : array
        ``(h, h)`` or ``(h,)`` with ``h = (n + 1) // 2``; they act on north + south and on north - south.
    """
    n = weights.shape[0]
    half = (n + 1) // 2
    twice = np.full(half, 2.0)
    if n % 2:
        twice[-1] = 1
    if weights.ndim == 1:
        return weights[:half] * twice / 2, weights[:half] * twice / 2
    near, far = weights[:half, :half], weights[:half, ::-1][:, :half].copy()
    odd = twice[:, None] * (near - far) / 2
    if n % 2:
        far[:, -1] = 0  # the equator is its own mirror image
    return twice[:, None] * (near + far) / 2, odd
