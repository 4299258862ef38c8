"""Windows along time: as many frames as a network sees at once, all at regular steps, none across a gap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xatmo._stretches import Run, runs
from xatmo.errors import OptionError

__all__ = ["Run", "lost", "runs", "starts"]


def starts(found: Sequence[Run], length: int, stride: int) -> NDArray[np.int64]:
    """First frames of the windows of ``length`` frames in every stretch; the last one shifts inward.

    Every frame of a stretch that is long enough lies in a window.

    Raises
    ------
    OptionError
        If no stretch has as many frames.

    Examples
    --------
    >>> starts([(0, 7), (7, 9), (9, 12)], 3, 3)
    array([0, 3, 4, 9])
    """
    firsts: list[int] = []
    for a, b in found:
        if b - a >= length:
            firsts += [*range(a, b - length, stride), b - length]
    if not firsts:
        longest = max((b - a for a, b in found), default=0)
        message = (
            f"time_window={length} came; the longest stretch of regular steps has {longest} frames "
            f"({len(found)} stretches in all). Wanted at most {longest}, or data without gaps"
        )
        raise OptionError(message)
    return np.unique(np.asarray(firsts, dtype=np.int64))


def lost(found: Sequence[Run], length: int) -> int:
    """Frames in stretches that are too short for a window.

    Examples
    --------
    >>> lost([(0, 7), (7, 9), (9, 12)], 3)
    2
    """
    return sum(b - a for a, b in found if b - a < length)
