"""A user's copy of the Moving MNIST test set, read piece by piece."""

from __future__ import annotations

from os import PathLike
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.datasets._frames import label_frames
from xatmo.errors import DimensionError, OptionError

_FRAMES: Final = 20
_SIZE: Final = 64


def open_moving_mnist(path: str | PathLike[str], *, chunks: int = 100) -> xr.DataArray:
    """Open ``mnist_test_seq.npy``, the fixed test set of Moving MNIST, lazily.

    The file holds ``(20, 10000, 64, 64)`` bytes, frames first. It is mapped into memory: a computation reads the
    sequences that it needs.

    Parameters
    ----------
    path : path
        The file; any number of sequences is taken.
    chunks : int
        Sequences to a Dask chunk.

    Returns
    -------
    DataArray (sequence, time, y, x)
        Brightness from 0 to 1, float32, named ``frames``: the layout of `moving_digits`.

    Raises
    ------
    OptionError
        If the file cannot be read as an array of NumPy, or ``chunks`` is less than 1.
    DimensionError
        If its shape or type is another.

    Examples
    --------
    >>> import tempfile
    >>> file = tempfile.NamedTemporaryFile(suffix=".npy")
    >>> np.save(file, np.full((20, 3, 64, 64), 255, np.uint8)); file.flush()
    >>> frames = open_moving_mnist(file.name)
    >>> frames.shape, float(frames[2, 0, 0, 0])
    ((3, 20, 64, 64), 1.0)
    """
    import dask.array as da

    if chunks < 1:
        message = f"chunks={chunks} came; wanted 1 sequence or more"
        raise OptionError(message)
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"{path} cannot be read as a .npy file ({' '.join(str(error).split())})"
        raise OptionError(message) from error
    if not isinstance(stored, np.ndarray):
        message = f"{path} is an archive of several arrays; wanted the .npy file of one"
        raise OptionError(message)
    if stored.ndim != 4 or stored.shape[0] != _FRAMES or stored.shape[2:] != (_SIZE, _SIZE) or not stored.shape[1]:
        message = (
            f"{path} holds an array of shape {stored.shape}; wanted ({_FRAMES}, sequences, {_SIZE}, {_SIZE}), "
            "frames first, as mnist_test_seq.npy"
        )
        raise DimensionError(message)
    if stored.dtype != np.uint8:
        message = f"{path} holds {stored.dtype}; wanted uint8, 0 to 255, as mnist_test_seq.npy"
        raise DimensionError(message)
    from_array: Any = da.from_array
    frames = from_array(stored, chunks=(_FRAMES, chunks, _SIZE, _SIZE), name=False)
    scaled = frames.transpose(1, 0, 2, 3).astype(np.float32) / np.float32(255)
    out = label_frames(scaled, long_name="brightness of moving digits")
    return cf.add_history(out, cf.describe_call("datasets.open_moving_mnist", path=str(path)))
