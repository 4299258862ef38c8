r"""Random numbers that are functions of a place: the same for any window, tile or batch in which the place is seen.

A counter-based generator has no state: number :math:`i` is a hash of :math:`i`. Here the counter is put together from
keys of rows, columns, frames, members and a seed. Each key is a well-mixed number of its own, they are joined by
exclusive or, and the finalizer of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195) makes the result
random. Two windows that overlap thus see the same noise, without any of it being stored or sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(x: Keys) -> Keys:
    """Give well-mixed 64-bit numbers, different ones for different ones: the finalizer of SplitMix64.

    Examples
    --------
    >>> [hex(int(k)) for k in mix(np.array([1, 2], np.uint64))]
    ['0x5692161d100b05e5', '0xdbd238973a2b148a']
    """
    x = x ^ (x >> np.uint64(30))
    x *= _FIRST
    x ^= x >> np.uint64(27)
    x *= _SECOND
    x ^= x >> np.uint64(31)
    return x


def keys(numbers: NDArray[Any], kind: int) -> Keys:
    """Give a key for each whole number; ``kind`` tells those of rows from those of columns and so on."""
    start = mix(np.array([kind + 1], np.uint64) * _GOLDEN)
    return mix(np.asarray(numbers, dtype=np.int64).astype(np.uint64) * _GOLDEN + start)


def join(first: Keys, *others: Keys) -> Keys:
    """Give one key for several, where their order counts.

    Examples
    --------
    >>> a, b = keys(np.arange(2), 0)
    >>> bool(join(a, b) == join(b, a))
    False
    """
    out = np.asarray(first, dtype=np.uint64).copy().reshape(np.shape(first))
    for other in others:
        out = mix(np.atleast_1d(out) * _GOLDEN + other).reshape(np.broadcast_shapes(np.shape(out), np.shape(other)))
    return out


@dataclass(frozen=True, eq=False)
class Positions:
    """Keys of all places of an output.

    Attributes
    ----------
    extras : tuple of array
        For each dimension that is looped over, the keys of its points, in file order.
    axes : tuple of array
        For each patched dimension, the keys of its output points, in canonical order, padding included.
    """

    extras: tuple[Keys, ...]
    axes: tuple[Keys, ...]

    def frame(self, at: Sequence[int]) -> Keys:
        """Key of one point of the dimensions that are looped over."""
        return join(np.zeros((), np.uint64), *(k[i] for k, i in zip(self.extras, at, strict=True)))


NOWHERE = Positions((), ())
"""For what draws nothing."""


def sample_key(seed: int, member: int, frame: Keys) -> Keys:
    """Key of one member and one frame."""
    return join(keys(np.array(seed), 101), keys(np.array(member), 102), frame)


def normal(sample: Keys, axes: Sequence[Keys], out: NDArray[Any]) -> None:
    r"""Fill ``out`` with standard normal numbers.

    Box and Muller (1958): :math:`z = \sqrt{-2 \ln u_1} \cos 2 \pi u_2`, and with the sine another one, where
    :math:`u_1` and :math:`u_2` are the halves of a 64-bit hash.

    Parameters
    ----------
    sample : uint64
        See `sample_key`.
    axes : sequence of array
        Keys along each axis of a channel: [time,] latitude, longitude.
    out : array (channel, [time,] lat, lon)
        Of floating point.

    Examples
    --------
    >>> rows, columns = keys(np.arange(200), 0), keys(np.arange(300), 1)
    >>> out = np.empty((2, 200, 300), "float32")
    >>> normal(sample_key(0, 0, np.uint64(0)), (rows, columns), out)
    >>> part = np.empty((2, 20, 30), "float32")
    >>> normal(sample_key(0, 0, np.uint64(0)), (rows[50:70], columns[9:39]), part)
    >>> bool((part == out[:, 50:70, 9:39]).all()), bool(abs(out.mean()) < 0.01), bool(abs(out.std() - 1) < 0.01)
    (True, True, True)
    """
    place = axes[0]
    for along in axes[1:]:
        place = place[..., None] ^ along
    for c in range(0, out.shape[0], 2):
        hashed = mix(place ^ join(sample, keys(np.array(c // 2), 103)))
        # In single precision: 24 bits of each half, the radius from the whole of one.
        radius = (hashed >> np.uint64(32)).astype(np.float32)
        radius += np.float32(0.5)
        radius *= np.float32(2.0**-32)
        np.minimum(radius, np.float32(1 - 2.0**-24), out=radius)
        np.log(radius, out=radius)
        radius *= np.float32(-2)
        np.sqrt(radius, out=radius)
        angle = (hashed & np.uint64(0xFFFFFFFF)).astype(np.float32)
        angle *= np.float32(2 * np.pi * 2.0**-32)
        np.multiply(radius, np.cos(angle), out=out[c], casting="same_kind")
        if c + 1 < out.shape[0]:
            np.multiply(radius, np.sin(angle), out=out[c + 1], casting="same_kind")
