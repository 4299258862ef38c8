"""Super-observations: means of neighbours that a swath, or an image, sees at one time.

Neighbours in a swath share most of their errors, and what a grid does not resolve. A likelihood of errors that are each
their own takes these for a sea of short scales and memory. Means of boxes that are small beside the length scale have
fewer errors in common: they tell the scales. A map needs the observations themselves, for the means are smoother.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.constants import EARTH_RADIUS

Array = NDArray[np.float64]
Box = tuple[int, int]

NARROW = 1 / 3
"""Width of a box, in length scales."""
FIRST: Box = 2, 2
"""Cells of a box, as long as no length scale is known."""
_MANY = 1000  # observations of a window, below which all are taken as they are
CROWDED = 4.5
"""Observations in boxes of 3 x 3 cells, as `beside` says: a track has at most 3 there, a swath 6 and more."""


def mean_of_boxes(values: NDArray[Any], box: Box) -> NDArray[Any]:
    """Put the mean of the observations of each frame in a box of cells at the cell in their middle.

    Parameters
    ----------
    values : array (..., lat, lon)
        NaN where there is no observation.
    box : (rows, columns)
        Cells of a box; boxes begin at the first row and column.

    Returns
    -------
    array (..., lat, lon)
        NaN at all other cells.

    Examples
    --------
    >>> mean_of_boxes(np.array([[1.0, 3.0, np.nan, 7.0], [2.0, np.nan, np.nan, np.nan]]), (2, 2))
    array([[ 2., nan, nan,  7.],
           [nan, nan, nan, nan]])
    """
    if box == (1, 1):
        return values
    at = np.nonzero(np.isfinite(values))
    if not at[0].size:
        return values
    *frame, row, column = at
    across = -(-values.shape[-1] // box[1])
    boxes = -(-values.shape[-2] // box[0]) * across
    number = (row // box[0]) * across + column // box[1]
    if frame:
        number = number + boxes * np.ravel_multi_index(tuple(frame), values.shape[:-2])
    # One row for each box that has observations.
    _, place = np.unique(number, return_inverse=True)
    place = place.reshape(-1)
    count = np.bincount(place)
    first = np.zeros(count.size, dtype=np.intp)
    first[place[::-1]] = np.arange(place.size)[::-1]
    mean = np.bincount(place, values[at].astype(np.float64)) / count
    # Half a cell goes down, wherever a box begins.
    middle = [np.ceil(np.bincount(place, axis) / count - 0.5).astype(np.intp) for axis in (row, column)]
    out = np.full(values.shape, np.nan, dtype=values.dtype)
    out[(*(f[first] for f in frame), *middle)] = mean
    return out


def cells(length: float, latitude: Array, longitude: Array, metric: str) -> Box:
    """Give the rows and columns of a box of a length, rounded, at least 1; columns by the widest of them.

    Examples
    --------
    >>> cells(60e3, np.arange(32, 44.1, 0.25), np.arange(0, 9.1, 0.25), "sphere")
    (2, 3)
    """
    unit, narrow = 1.0, 1.0
    if metric == "sphere":
        unit = float(np.radians(EARTH_RADIUS))
        narrow = float(np.cos(np.radians(np.abs(latitude).min())))
    steps = [abs(float(a[-1] - a[0])) / max(a.size - 1, 1) * unit for a in (latitude, longitude)]
    steps[1] *= max(narrow, 1e-3)
    rows, columns = (max(round(length / s), 1) if s else 1 for s in steps)
    return rows, columns


def beside(seen: NDArray[np.bool_]) -> float:
    """Give how many observations of a frame are in the box of 3 x 3 cells of an observation, in the mean.

    Parameters
    ----------
    seen : bool array (frame, lat, lon)

    Examples
    --------
    >>> swath, track = np.zeros((4, 21, 21), bool), np.eye(21, dtype=bool)[None]
    >>> swath[:, :, 3:9] = True
    >>> beside(swath), beside(track)
    (9.0, 3.0)
    """
    frames, rows, columns = seen.shape
    whole = np.zeros((frames, -(-rows // 3) * 3, -(-columns // 3) * 3), dtype=bool)
    whole[:, :rows, :columns] = seen
    count = whole.reshape(frames, whole.shape[1] // 3, 3, -1, 3).sum(axis=(2, 4))
    return float((count**2).sum() / max(int(count.sum()), 1))


def crowded(number: Iterable[int], together: Iterable[float]) -> bool:
    """Tell whether observations stand side by side and are many, given their number in each window and `beside`.

    Examples
    --------
    >>> crowded([5000, 3000], [6.0, 5.0]), crowded([500, 300], [6.0, 5.0]), crowded([5000, 3000], [2.0, 2.5])
    (True, False, False)
    """
    each, near = np.asarray([*number]), np.asarray([*together])
    if not each.size or not each.sum():
        return False
    return bool(each.mean() > _MANY and float(each @ near) > CROWDED * float(each.sum()))
