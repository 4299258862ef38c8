"""What a tile reads, on its way to a network: pieces put together, converted, normalized. NumPy only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xatmo import _tiles
from xatmo.errors import MissingValueError

Array = NDArray[Any]
Range = tuple[int, int]
Place = tuple[slice, ...]
Pieces = Sequence[tuple[Array, Place]]
"""Blocks of one variable and where they go in its region, in the variable's own dimension order."""


class Scaling(Protocol):
    """Elementwise normalization of one variable; arrays have the extra dimensions first, then the patched ones."""

    def normalize(self, x: Array, ranges: Sequence[Range]) -> Array:
        """Give network units; ``ranges`` say which part of the extra dimensions ``x`` is."""

    def denormalize(self, x: Array, ranges: Sequence[Range]) -> Array:
        """Give physical units."""


@dataclass(frozen=True, eq=False)
class Input:
    """One variable: its dimensions as positions among (extra dimensions, patched dimensions), and its conversions.

    Attributes
    ----------
    name : str
    positions : tuple of int
    unit_scale, unit_offset : float
    scaling : Scaling, optional
    frames : Frames, optional
        Of a record of which each point along one of the extra dimensions sees several frames, as channels one after
        another. None: the variable is one channel.
    along : int
        That dimension; -1: none, and all channels are the same.
    """

    name: str
    positions: tuple[int, ...]
    unit_scale: float = 1.0
    unit_offset: float = 0.0
    scaling: Scaling | None = None
    frames: _tiles.Frames | None = None
    along: int = -1

    @property
    def count(self) -> int:
        """Channels."""
        return 1 if self.frames is None else self.frames.count


@dataclass(frozen=True, eq=False)
class Laid:
    """Normalized values of some channels under a tile.

    Attributes
    ----------
    channels : slice
        Where they go among the network's.
    values : array (channel, *extras, *region), or (frame, *extras, *region) without the dimension of the frames
        Dimensions may have one point for all.
    along : int, optional
        The dimension of the frames, among the extra ones.
    first : array (item,), optional
        For each point of it where its frames begin. None: no frames.
    """

    channels: slice
    values: Array
    along: int = -1
    first: NDArray[np.int64] | None = None

    def seen(self, point: Sequence[int], cut: Sequence[slice]) -> Array:
        """Give what a window sees at one point of the extra dimensions, ``(channel, *window)``, or one for all."""
        at: tuple[Any, ...] = (slice(None), *point, *cut)
        if self.first is None:
            return np.asarray(self.values[at])
        others = [k for p, k in enumerate(point) if p != self.along]
        others = [k if n > 1 else 0 for k, n in zip(others, self.values.shape[1:], strict=False)]
        low = int(self.first[point[self.along]]) if self.along >= 0 else 0
        high = low + self.channels.stop - self.channels.start if self.along >= 0 else 1
        at = (slice(low, high), *others, *cut)
        return np.asarray(self.values[at])


def laid(
    inputs: Sequence[Input], extras: Sequence[Range], tiles: Sequence[_tiles.AxisTile], pieces: Sequence[Pieces], *,
    dtype: str, nan: str,
) -> tuple[list[Laid], Array | None]:  # fmt: skip
    """Give normalized channels on the padded region of a tile, and what is missing, ``(*extras, *region)``.

    Parameters
    ----------
    inputs : sequence of Input
    extras : sequence of (int, int)
        Ranges of the extra dimensions.
    tiles : sequence of AxisTile
    pieces : sequence
        For each input the blocks under the tile and its halo.
    dtype : str
        Of the network.
    nan : {"raise", "mask", "keep"}

    Raises
    ------
    MissingValueError
        With ``nan="raise"``.
    """
    out: list[Laid] = []
    missing: Array | None = None
    n_channels = 0
    given = zip(inputs, pieces, strict=True)
    for together, group in itertools.groupby(given, key=lambda pair: pair[0].frames is None):
        parts = list(group)
        stack: Array | None = None
        for n, (channel, blocks) in enumerate(parts):
            values, lost = _normalized(channel, extras, tiles, blocks, nan)
            if lost is not None:
                missing = lost if missing is None else missing | lost
            if together:  # one array, so that all go to the network in one move
                if stack is None:
                    region = [t.region.size + t.pad for t in tiles]
                    stack = np.empty((len(parts), *(b - a for a, b in extras), *region), dtype)
                inside: tuple[Any, ...] = (n, ..., *(slice(t.region.size) for t in tiles))
                stack[inside] = values
            else:
                channels = slice(n_channels, n_channels + channel.count)
                out.append(_of_frames(channel, channels, values.astype(dtype, copy=False), extras, tiles))
                n_channels = channels.stop
        if stack is not None:
            for k, tile in enumerate(tiles):
                _tiles.repeat_edge(stack, 1 + len(extras) + k, tile.pad)
            out.append(Laid(slice(n_channels, n_channels + len(parts)), stack))
            n_channels += len(parts)
    return out, missing


def _of_frames(
    channel: Input, channels: slice, values: Array, extras: Sequence[Range], tiles: Sequence[_tiles.AxisTile]
) -> Laid:
    """Lay the frames of a record first."""
    if any(tile.pad for tile in tiles):
        values = np.pad(values, [(0, 0)] * len(extras) + [(0, tile.pad) for tile in tiles], mode="edge")
    if channel.frames is None or channel.along < 0:
        return Laid(channels, values[None], -1, np.zeros(0, np.int64))
    first = channel.frames.places(*extras[channel.along])
    return Laid(channels, np.moveaxis(values, channel.along, 0), channel.along, first)


def _normalized(
    channel: Input, extras: Sequence[Range], tiles: Sequence[_tiles.AxisTile], blocks: Pieces, nan: str
) -> tuple[Array, Array | None]:
    """Give one variable in network units, ``(*extras, *region)``, and where it is missing at the points."""
    first = len(extras)
    lengths = [b - a for a, b in extras] + [t.region.size for t in tiles]
    if channel.frames is not None and channel.along >= 0:
        lengths[channel.along] = sum(b - a for a, b in channel.frames.runs(*extras[channel.along]))
    values = np.empty([lengths[p] for p in channel.positions], dtype=np.result_type(blocks[0][0].dtype, np.float32))
    backwards = [p >= first and tiles[p - first].axis.flipped for p in channel.positions]
    reverse = tuple(slice(None, None, -1) if b else slice(None) for b in backwards)
    for block, place in blocks:
        values[place] = block[reverse]
    lost = _missing(values, channel.name, nan)
    values *= values.dtype.type(channel.unit_scale)
    values += values.dtype.type(channel.unit_offset)
    order = np.argsort(channel.positions)
    absent = tuple(p for p in range(len(lengths)) if p not in channel.positions)
    full = np.expand_dims(values.transpose(order), absent)
    if channel.scaling is not None:
        if any(p < first for p in absent):  # statistics may vary along a dimension that this variable lacks
            full = np.broadcast_to(full, [*lengths[:first], *full.shape[first:]])
        full = channel.scaling.normalize(full, extras)
    if lost is None:
        return full, None
    at = np.expand_dims(lost.transpose(order), absent)
    full[np.broadcast_to(at, full.shape)] = 0
    return full, _among_frames(channel, at, extras)


def _among_frames(channel: Input, lost: Array, extras: Sequence[Range]) -> Array:
    """Tell for each point that sees frames whether any of them is missing."""
    if channel.frames is None or channel.along < 0:
        return lost
    by_frame = np.moveaxis(lost, channel.along, 0)
    firsts = channel.frames.places(*extras[channel.along])
    seen = np.stack([by_frame[k : k + channel.count].any(axis=0) for k in firsts])
    return np.moveaxis(seen, 0, channel.along)


def _missing(values: Array, name: str, nan: str) -> Array | None:
    if nan == "keep" or all_finite(values):
        return None
    lost: Array = ~np.isfinite(values)
    if nan == "raise":
        message = (
            f"variable {name!r} holds {int(lost.sum())} missing or infinite values in a block of {values.shape}; "
            "the network would spread them. Fill them first, or pass nan='mask', which counts them as the mean and "
            "masks the output there"
        )
        raise MissingValueError(message)
    return lost


def all_finite(values: Array) -> bool:
    """Tell whether there is no NaN or infinity: one sum in nearly every case."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float64))) or bool(np.isfinite(values).all())
