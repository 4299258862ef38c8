"""Initial times of forecasts: which a record has, and which were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pandas.errors import InvalidIndexError

from xatmo._stretches import Run
from xatmo.errors import CoordinateError, DimensionError, OptionError

Ints = NDArray[np.int64]


def possible(runs: Sequence[Run], n_context: int) -> Ints:
    """Frames with a whole context at even steps before them, themselves included.

    Examples
    --------
    >>> possible([(0, 4), (4, 5), (5, 8)], 3)
    array([2, 3, 7])
    """
    found = [np.arange(a + n_context - 1, b) for a, b in runs if b - a >= n_context]
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, dtype=np.int64)


def chosen(asked: Any, times: NDArray[Any], runs: Sequence[Run], n_context: int) -> Ints:
    """Frames of the initial times that were asked for, in that order.

    Parameters
    ----------
    asked : label, slice, sequence of labels, DataArray, or None
        As `xarray.DataArray.sel` takes labels; None: every possible one, and a slice those possible within.

    Raises
    ------
    CoordinateError
        If one is not in the record, or has no whole context.
    DimensionError
        If the record is shorter than a context.
    OptionError
        If it is no label of a time.
    """
    there = possible(runs, n_context)
    if not there.size:
        longest = max((b - a for a, b in runs), default=0)
        message = (
            f"the forecaster reads {n_context} frames in a row, and the longest stretch at even steps of this record "
            f"has {longest} (of {len(times)} in all); wanted a longer record, or one without gaps"
        )
        raise DimensionError(message)
    if asked is None:
        return there
    index = xr.DataArray(np.arange(len(times)), {"time": times}, ["time"]).get_index("time")
    if isinstance(asked, slice):
        inside = np.arange(len(times))[_slice(asked, index)]
        found = inside[np.isin(inside, there)]
        if not found.size:
            message = (
                f"init_time={asked} holds no possible initial time; there are {_span(times, there)}: each needs "
                f"{n_context} frames up to it"
            )
            raise CoordinateError(message)
        return found.astype(np.int64)
    labels = _labels(asked)
    at = [_at(label, index, times) for label in labels]
    unknown = [_shown(label) for label, k in zip(labels, at, strict=True) if k is None]
    positions = np.concatenate([np.atleast_1d(k) for k in at if k is not None] or [np.empty(0, dtype=np.int64)])
    short = [_shown(times[k]) for k in positions[~np.isin(positions, there)]]
    if unknown or short:
        what = "not in the record" if unknown else f"without {n_context} frames at even steps up to it"
        names = unknown or short
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        message = (
            f"init_time {', '.join(names[:5])}{more}: {what}. Possible are {there.size} of {len(times)} times, "
            f"{_span(times, there)}"
        )
        raise CoordinateError(message)
    if not positions.size:
        message = f"init_time={asked!r} holds nothing; wanted at least one time, or None for every possible one"
        raise OptionError(message)
    return positions.astype(np.int64)


def _labels(asked: Any) -> list[Any]:
    if isinstance(asked, xr.DataArray | np.ndarray):
        return list(np.atleast_1d(np.asarray(asked)).ravel())
    if hasattr(asked, "values") and not callable(asked.values):  # an index of pandas
        return list(np.atleast_1d(asked.values).ravel())
    return list(asked) if isinstance(asked, list | tuple | range) else [asked]


def _at(label: Any, index: Any, times: NDArray[Any]) -> Ints | None:
    """Positions of a label: one, or those that a word such as a day means; None where there is none."""
    try:
        found = index.get_loc(label)
    except (KeyError, ValueError, TypeError, InvalidIndexError):
        return None
    if isinstance(found, slice):
        found = np.arange(len(times))[found]
    elif isinstance(found, np.ndarray) and found.dtype == bool:
        found = np.flatnonzero(found)
    return np.atleast_1d(np.asarray(found, dtype=np.int64))


def _slice(asked: slice, index: Any) -> slice:
    try:
        made: slice = index.slice_indexer(asked.start, asked.stop, asked.step)
    except (KeyError, ValueError, TypeError) as error:
        message = f"init_time={asked} came; wanted a slice of times, such as slice('2019-03-01', '2019-03-05'): {error}"
        raise OptionError(message) from error
    return made


def _shown(value: Any) -> str:
    return str(value)[:19] if isinstance(value, np.datetime64) else str(value)


def _span(times: NDArray[Any], there: Ints) -> str:
    return f"from {_shown(times[there[0]])} to {_shown(times[there[-1]])}"


def stretched(frames: Ints, runs: Sequence[Run]) -> list[Ints]:
    """Parts of initial frames, in order, each within one stretch of time.

    Examples
    --------
    >>> [part.tolist() for part in stretched(np.array([1, 2, 3, 7]), [(0, 4), (4, 5), (5, 9)])]
    [[1, 2, 3], [7]]
    """
    parts = [frames[(frames >= a) & (frames < b)] for a, b in runs]
    return [part for part in parts if part.size]


def step_of(frames: Ints) -> int | None:
    """Distance of frames where it is always the same, so that a slice takes them.

    Examples
    --------
    >>> step_of(np.array([3, 5, 7])), step_of(np.array([3])), step_of(np.array([3, 4, 7]))
    (2, 1, None)
    """
    apart = np.diff(frames)
    if not apart.size:
        return 1
    return int(apart[0]) if (apart == apart[0]).all() else None
