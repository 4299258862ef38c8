"""Handwritten digits that move and bounce: the classic test of learned forecasts, generated without a download."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Literal, cast

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.datasets._frames import label_frames
from xatmo.errors import OptionError
from xatmo.typing import Floats

_SIDE: Final = 8  # pixels of a digit as stored
_SHARE_OF_TRAINING: Final = 0.8
_SPEED: Final = 3.6 / 64  # sides of the frame a step, as in Moving MNIST
_BATCH: Final = 64  # sequences drawn at a time
_SPLITS: Final = {"train": 0, "test": 1}

Split = Literal["train", "test"]
Overlap = Literal["maximum", "add"]


def moving_digits(
    n: int,
    *,
    n_frames: int = 20,
    size: int = 64,
    n_digits: int = 2,
    seed: int = 0,
    split: Split = "train",
    first: int = 0,
    overlap: Overlap = "maximum",
    digit_size: float | None = None,
    speed: float | None = None,
    chunks: int | None = None,
) -> xr.DataArray:
    """Draw sequences in the manner of Moving MNIST from the 8 x 8 digits that come with scikit-learn.

    Each digit starts anywhere, moves straight with the same speed as all others and bounces off the walls. Its
    position is not rounded to pixels: every frame evaluates the digit, interpolated by the cubic filter of Mitchell and
    Netravali (1988), at the centres of the pixels.

    Sequence ``i`` of a split and a seed is always the same, however many are asked for. The splits share neither
    digits (the last fifth of the 1797 images, most of them by other writers, is for tests) nor paths.

    With the settings by default, ``size=32`` and 10 frames forecast from 10, the squared error summed over a frame is
    36.9 (one digit) and 52.8 (two) for the constant mean frame, and 62.9 and 90.4 for the last frame.

    Parameters
    ----------
    n : int
        Sequences.
    n_frames : int
        Frames of each.
    size : int
        Rows and columns of a frame: 32 and 64 are usual.
    n_digits : int
        Digits in each sequence.
    seed : int
        Of the choice of digits, starts and directions.
    split : {"train", "test"}
        Which digits and paths.
    first : int
        Number of the first sequence: ``first=100`` continues ``n=100``, for data made as training goes.
    overlap : {"maximum", "add"}
        What is seen where digits overlap: the brighter, as in Moving MNIST, or their sum up to 1.
    digit_size : float, optional
        Side of a digit in pixels; half the frame unless given.
    speed : float, optional
        Pixels a frame; unless given 3.6 of a frame of 64, as in Moving MNIST, and in proportion.
    chunks : int, optional
        Sequences to a Dask chunk, drawn when computed; NumPy, at once, unless given.

    Returns
    -------
    DataArray (sequence, time, y, x)
        Brightness from 0 to 1, float32, named ``frames``. Times are one second a frame.

    Raises
    ------
    OptionError
        If a setting is out of range.

    References
    ----------
    Srivastava, Mansimov and Salakhutdinov (2015): Unsupervised learning of video representations using LSTMs.
    Mitchell and Netravali (1988): Reconstruction filters in computer graphics.

    Examples
    --------
    >>> frames = moving_digits(3, n_frames=4, size=32)
    >>> frames.dims, frames.shape, str(frames.dtype)
    (('sequence', 'time', 'y', 'x'), (3, 4, 32, 32), 'float32')
    >>> bool((moving_digits(1, n_frames=4, size=32, first=2)[0] == frames[2]).all())
    True
    """
    digit_size = size / 2 if digit_size is None else digit_size
    speed = _SPEED * size if speed is None else speed
    _check(n, n_frames, size, n_digits, first, chunks, split=split, overlap=overlap)
    if not 2 <= digit_size < size:
        message = f"digit_size {digit_size:g} came; wanted at least 2 pixels and less than the frame of {size}"
        raise OptionError(message)
    if not 0 <= speed < np.inf:
        message = f"speed {speed:g} came; wanted pixels a frame, zero or more"
        raise OptionError(message)
    settings = {
        "n_frames": n_frames, "size": size, "n_digits": n_digits, "seed": seed, "split": split,
        "overlap": overlap, "digit_size": float(digit_size), "speed": float(speed),
    }  # fmt: skip
    values: Any
    if chunks is None:
        values = _draw(first, n, settings)
    else:
        import dask.array as da

        lengths = [min(chunks, n - at) for at in range(0, n, chunks)]
        map_blocks: Any = da.map_blocks
        values = map_blocks(
            _draw_block, chunks=(tuple(lengths), (n_frames,), (size,), (size,)), dtype=np.float32, first=first,
            settings=settings, meta=np.empty((0, 0, 0, 0), np.float32),
        )  # fmt: skip
    call = cf.describe_call("datasets.moving_digits", n=n, first=first or None, **settings)
    return cf.add_history(label_frames(values, first=first, long_name="brightness of moving digits"), call)


def _check(
    n: int, n_frames: int, size: int, n_digits: int, first: int, chunks: int | None, *, split: str, overlap: str
) -> None:
    for name, value, least in (
        ("n", n, 1), ("n_frames", n_frames, 1), ("size", size, _SIDE), ("n_digits", n_digits, 1), ("first", first, 0),
        ("chunks", 1 if chunks is None else chunks, 1),
    ):  # fmt: skip
        if value < least:
            message = f"{name}={value} came; wanted {least} or more"
            raise OptionError(message)
    for name, given, allowed in (("split", split, tuple(_SPLITS)), ("overlap", overlap, ("maximum", "add"))):
        if given not in allowed:
            message = f"{name} {given!r} came; wanted {' or '.join(map(repr, allowed))}"
            raise OptionError(message)


# ---------------------------------------------------------------------- drawing
def _draw_block(block_info: Any, first: int, settings: dict[str, Any]) -> Floats:
    start, stop = block_info[None]["array-location"][0]
    return _draw(first + start, stop - start, settings)


def _draw(first: int, n: int, settings: dict[str, Any]) -> Floats:
    size, n_frames = settings["size"], settings["n_frames"]
    out = np.empty((n, n_frames, size, size), np.float32)
    for at in range(0, n, _BATCH):
        indices = range(first + at, first + min(at + _BATCH, n))
        out[at : at + len(indices)] = _draw_batch(indices, **settings)
    return out


def _draw_batch(
    indices: range, *, n_frames: int, size: int, n_digits: int, seed: int, split: str, overlap: str,
    digit_size: float, speed: float,
) -> Floats:  # fmt: skip
    """Frames ``(sequence, frame, row, column)``, each sequence from its own random numbers."""
    images = _images(split)
    which = np.empty((len(indices), n_digits), np.intp)
    start, heading = np.empty((len(indices), n_digits, 2)), np.empty((len(indices), n_digits))
    for i, index in enumerate(indices):
        rng = np.random.default_rng([seed, _SPLITS[split], index])
        which[i] = rng.integers(len(images), size=n_digits)
        start[i] = rng.uniform(0, size - digit_size, (n_digits, 2))
        heading[i] = rng.uniform(0, 2 * np.pi, n_digits)
    velocity = speed * np.stack([np.sin(heading), np.cos(heading)], -1)
    straight = start[:, None] + np.arange(n_frames)[:, None, None] * velocity[:, None]
    corner = _reflect(straight, size - digit_size)  # (sequence, frame, digit, 2)
    out = np.zeros((len(indices), n_frames, size, size), np.float32)
    for k in range(n_digits):
        rows, columns = (_interpolation(corner[:, :, k, axis], size, digit_size) for axis in (0, 1))
        seen = rows @ images[which[:, None, k]] @ np.swapaxes(columns, -1, -2)
        np.clip(seen, 0, 1, out=seen)
        if overlap == "maximum":
            np.maximum(out, seen, out=out)
        else:
            np.minimum(out + seen, 1, out=out)
    return out


def _reflect(position: Floats, room: float) -> Floats:
    """Fold a straight path into ``[0, room]``, as mirrors at both ends do."""
    folded = np.mod(position, 2 * room)
    return np.asarray(np.where(folded > room, 2 * room - folded, folded))


def _interpolation(corner: Floats, size: int, digit_size: float) -> Floats:
    """Weights ``(..., size, 8)`` of a digit's pixels at the pixels of a frame, along one axis.

    Pixel centres are at half numbers; ``corner`` is where the digit begins, in pixels of the frame.
    """
    at = (np.arange(size) + 0.5 - corner[..., None]) * (_SIDE / digit_size) - 0.5
    distance = np.abs(at[..., None] - np.arange(_SIDE, dtype=np.float64))
    near = (7 * distance**3 - 12 * distance**2 + 16 / 3) / 6
    far = (-7 / 3 * distance**3 + 12 * distance**2 - 20 * distance + 32 / 3) / 6
    weight = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return weight.astype(np.float32)


@lru_cache(maxsize=2)
def _images(split: str) -> Floats:
    """Give the split's digits ``(digit, 8, 8)`` from 0 to 1; they are stored writer by writer."""
    from sklearn.datasets import load_digits

    images = np.asarray(load_digits().images, dtype=np.float32) / 16
    border = round(_SHARE_OF_TRAINING * len(images))
    return cast(Floats, images[:border] if split == "train" else images[border:])
