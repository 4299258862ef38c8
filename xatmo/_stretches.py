"""Stretches of time at regular steps: what a network that sees several frames at once may take for one record."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import CoordinateError

Run = tuple[int, int]

# A step this many times the median is a gap; one this small says that the steps are not regular. Months lie between.
_GAP, _SHORT = 1.5, 0.6


def runs(times: NDArray[Any], breaks: Collection[int] = ()) -> tuple[Run, ...]:
    """First frame and end of each stretch of time at regular steps.

    A stretch ends where the step is more than one and a half times the median one, and before each of ``breaks``.

    Parameters
    ----------
    times : array (time,)
        datetime64 or cftime.
    breaks : collection of int
        Frames with which another series begins (the next forecast), whatever their times.

    Raises
    ------
    CoordinateError
        If times do not increase within a stretch, or steps are much shorter than the median one.

    Examples
    --------
    >>> runs(np.array(["2000-01-01", "2000-01-02", "2000-01-03", "2000-02-01", "2000-02-02"], "M8[D]"))
    ((0, 3), (3, 5))
    >>> runs(np.array(["2000-01-01", "2000-01-02", "2000-01-01", "2000-01-02"], "M8[D]"), breaks=[2])
    ((0, 2), (2, 4))
    """
    n = len(times)
    if n < 2:
        return ((0, n),)
    steps = _seconds(times)
    inside = np.ones(n - 1, dtype=bool)
    inside[[b - 1 for b in breaks if 0 < b < n]] = False
    if not inside.any():
        return tuple((i, i + 1) for i in range(n))
    usual = float(np.quantile(steps[inside], 0.5, method="lower"))  # one of two steps, not their mean
    bad = inside & (steps < _SHORT * usual) if usual > 0 else inside & (steps <= 0)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        what = "time does not increase" if steps[at] <= 0 else "times are irregular"
        message = (
            f"{what}: {times[at]} is followed by {times[at + 1]}, and the usual step is {in_words(usual)}; windows "
            "over time need regular steps. Sort by time, leave repeated times out, or resample first"
        )
        raise CoordinateError(message)
    ends = [int(i) + 1 for i in np.flatnonzero(~inside | (steps > _GAP * usual))]
    return tuple(zip([0, *ends], [*ends, n], strict=True))


def usual_step(times: NDArray[Any], breaks: Collection[int] = ()) -> float | None:
    """Give the median step in seconds, not counting those at ``breaks``; None where there is none, or no time.

    Examples
    --------
    >>> usual_step(np.array(["2000-01-01", "2000-01-02", "2000-01-03", "2000-02-01"], "M8[D]"))
    86400.0
    """
    inside = [i for i in range(len(times) - 1) if i + 1 not in breaks]
    timed = times.dtype.kind in "mMO"
    return float(np.quantile(_seconds(times)[inside], 0.5, method="lower")) if inside and timed else None


def _seconds(times: NDArray[Any]) -> NDArray[np.float64]:
    """Give the steps in seconds, of plain numbers as they are."""
    steps = np.diff(times)
    if steps.dtype.kind in "iuf":
        return np.asarray(steps, dtype=np.float64)
    if steps.dtype.kind == "m":
        return np.asarray(steps / np.timedelta64(1, "s"), dtype=np.float64)
    return np.array([s.total_seconds() for s in steps], dtype=np.float64)


def in_words(seconds: float) -> str:
    """Tell a span of time.

    Examples
    --------
    >>> in_words(21600), in_words(86400), in_words(90)
    ('6 hours', '1 day', '1.5 minutes')
    """
    for size, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (0.0, "second")):
        if seconds >= size:
            number = seconds / size if size else seconds
            return f"{number:g} {unit}" + ("" if number == 1 else "s")
    return f"{seconds:g} seconds"
