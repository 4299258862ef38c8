"""The time step of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from xatmo.errors import OptionError


def time_step_of(given: Any, every: float, truncation: int, radius: float, *, courant: float, wind: float) -> float:
    """Give the step in seconds: a whole part of ``every``, no longer than is stable unless it was given.

    Raises
    ------
    OptionError
        If a given step does not divide ``every``.
    """
    if given is None:
        longest = courant * radius / (truncation * wind)
        return float(every / np.ceil(every / longest))
    step = pd.Timedelta(given).total_seconds()
    if not 0 < step <= every or abs(every / step - round(every / step)) > 1e-9:
        message = f"time_step={given!r} does not divide output_every ({every:g} s); wanted a whole number of steps"
        raise OptionError(message)
    return float(step)
