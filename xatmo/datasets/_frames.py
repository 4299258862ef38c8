"""Labels of independent sequences of frames: the axes that learned forecasts look for, where nothing is on a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

_START = np.datetime64("2000-01-01", "ns")
_STEP = np.timedelta64(1, "s").astype("timedelta64[ns]")


def label_frames(values: Any, *, first: int = 0, long_name: str) -> xr.DataArray:
    """Label ``(sequence, time, y, x)``: numbers of sequences and of pixels, and frames one second apart.

    The second stands for one frame: with times, a forecast of digits has lead and valid times as any other.
    """
    n, n_frames, height, width = values.shape
    coords = {
        "sequence": ("sequence", np.arange(first, first + n), {"long_name": "number of the sequence"}),
        "time": (
            "time", _START + np.arange(n_frames) * _STEP,
            {"standard_name": "time", "axis": "T", "long_name": "one second a frame"},
        ),
        "y": ("y", np.arange(height, dtype=np.float64), {"units": "1", "axis": "Y", "long_name": "row, from the top"}),
        "x": ("x", np.arange(width, dtype=np.float64), {"units": "1", "axis": "X", "long_name": "column"}),
    }  # fmt: skip
    attrs = {"units": "1", "long_name": long_name, "valid_range": [0.0, 1.0]}
    return xr.DataArray(values, coords, ("sequence", "time", "y", "x"), name="frames", attrs=attrs)
