"""Random numbers of dropout as functions of the place, so that windows of one field draw alike where they overlap."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_state = threading.local()


def _mix(x: Words) -> Words:
    """Give well-mixed 32-bit words: an integer hash of Wellons's with low bias (github.com/skeeto/hash-prospector)."""
    x = x ^ (x >> np.uint32(16))
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


@dataclass(eq=False)
class Places:
    """Where the windows of a batch lie, and which draw each of them is.

    Attributes
    ----------
    samples : array (frames, batch)
        A key for each map: of seed, member and frame.
    starts : array (batch, 2)
        First row and column of each window, in cells.
    patch : (int, int)
        Rows and columns of a window, in cells.
    turn : (int, int)
        Cells after which rows and columns come again.
    """

    samples: Words
    starts: NDArray[np.int64]
    patch: tuple[int, int]
    turn: tuple[int, int]
    _layers: int = field(default=0, init=False)

    def words(self, maps: int, channels: int, size: tuple[int, int] | None) -> Words:
        """Random words of the next layer.

        Parameters
        ----------
        maps : int
            Batch, or frames times batch with the frames of one time together.
        channels : int
        size : (int, int), optional
            Rows and columns; None: one word for each map and channel, wherever the window lies.

        Returns
        -------
        array (maps, rows, columns, channels)
        """
        self._layers += 1
        batch = self.samples.shape[1]
        samples = (self.samples if maps != batch else self.samples[:1]).reshape(-1)
        layer = _mix(np.arange(1, channels + 1, dtype=np.uint32) + np.uint32(0x9E3779B9 * self._layers & 0xFFFFFFFF))
        drawn = _mix(samples[:, None] ^ layer)[:, None, None]
        if size is None:
            return drawn
        rows, columns = (self._along(axis, n) for axis, n in enumerate(size))
        place = rows[:, :, None] ^ columns[:, None, :]
        place = np.broadcast_to(place, (maps // batch, *place.shape)).reshape(maps, *size, 1)
        return _mix(place ^ drawn)

    def _along(self, axis: int, n: int) -> Words:
        """Keys of the rows or columns of maps with ``n`` of them, which may be finer or coarser than cells."""
        patch = self.patch[axis]
        finer, wider = (n // patch, 1) if n >= patch else (1, max(1, round(patch / n)))
        first, turn = self.starts[:, axis] * finer // wider, max(1, self.turn[axis] * finer // wider)
        at = (first[:, None] + np.arange(n)) % turn
        return _mix(at.astype(np.uint32) + np.uint32(0x85EBCA6B * (axis + 1) & 0xFFFFFFFF))


@contextmanager
def placed(places: Places) -> Iterator[None]:
    """Let every dropout draw by place, in this thread."""
    before = getattr(_state, "places", None)
    _state.places = places
    try:
        yield
    finally:
        _state.places = before


def _drawn(x: torch.Tensor, shape: tuple[int, ...], second: int = 0) -> torch.Tensor | None:
    """Give words as numbers from 0 to 1 for ``shape``, or None where nobody said where the windows lie."""
    places: Places | None = getattr(_state, "places", None)
    if places is None:
        return None
    size = None if shape[-2:] == (1, 1) and x.shape[-2:] != (1, 1) else (shape[-2], shape[-1])
    words = places.words(shape[0], shape[1], size)
    if second:
        words = np.stack([words, _mix(words ^ np.uint32(0xC2B2AE35))])
    numbers: Any = words.astype(np.float32)
    numbers *= np.float32(2.0**-32)
    return torch.from_numpy(numbers).movedim(-1, -3).to(x.device)


def uniform(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw numbers from 0 to 1 for maps ``x``: from torch's default generator, or by place within `placed`.

    Examples
    --------
    >>> x = torch.zeros(1, 3, 4, 6)
    >>> whole = Places(np.array([[7]], np.uint32), np.array([[0, 0]]), (4, 6), (4, 6))
    >>> part = Places(np.array([[7]], np.uint32), np.array([[1, 2]]), (2, 3), (4, 6))
    >>> with placed(whole):
    ...     a = uniform(x, (1, 3, 4, 6))
    >>> with placed(part):
    ...     b = uniform(x[..., :2, :3], (1, 3, 2, 3))
    >>> bool(torch.equal(a[..., 1:3, 2:5], b))
    True
    """
    drawn = _drawn(x, shape)
    return torch.rand(shape, device=x.device) if drawn is None else drawn


def normal(x: torch.Tensor) -> torch.Tensor:
    """Draw standard normal numbers for each value of maps ``x``, as `uniform` does."""
    drawn = _drawn(x, tuple(x.shape), second=1)
    if drawn is None:
        return torch.randn_like(x)
    radius = (-2 * torch.log(drawn[0].clamp(min=2.0**-32, max=1 - 2.0**-24))).sqrt_()
    return (radius * torch.cos(2 * torch.pi * drawn[1])).to(x.dtype)


def is_placed() -> bool:
    """Tell whether draws are by place, in this thread."""
    return getattr(_state, "places", None) is not None
