"""Columns of air on a few hybrid levels, over flat and high ground."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from xatmo.vertical import HybridLevels

LEVELS = HybridLevels(
    np.array([0.0, 2e3, 6e3, 9e3, 1.1e4, 9e3, 5e3, 2e3, 500.0, 0.0]),
    np.array([0.0, 0.0, 0.03, 0.12, 0.28, 0.48, 0.69, 0.86, 0.955, 1.0]),
)
"""Nine levels, pressures above and terrain below."""


def columns(hours: int = 3, nlat: int = 6, nlon: int = 8, high: float = 75000.0) -> xr.Dataset:
    """Temperature on nine levels that is linear in the logarithm of pressure, with other numbers in each column.

    One column in each corner has high ground. ``t_surface`` and ``slope`` are what temperature is made of:
    ``t_surface + slope * ln(p / 1000 hPa)``.
    """
    rng = np.random.default_rng(3)
    shape = (hours, nlat, nlon)
    pressure = 95000 + 8000 * rng.random(shape)
    pressure[:, [0, 0, -1, -1], [0, -1, 0, -1]] = high
    base, slope = 280 + 15 * rng.random(shape), 40 + 20 * rng.random(shape)
    t = base[..., None] + slope[..., None] * np.log(LEVELS.pressure(pressure) / 1e5)
    dims = ("time", "latitude", "longitude")
    level = {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "units": "1", "positive": "down"}
    return xr.Dataset(
        {
            "t": ((*dims, "hybrid"), t, {"units": "K", "standard_name": "air_temperature", "long_name": "Temperature"}),
            "sp": (dims, pressure, {"units": "Pa", "standard_name": "surface_air_pressure"}),
            "t_surface": (dims, base, {"units": "K"}),
            "slope": (dims, slope, {"units": "K"}),
        },
        {
            "time": pd.date_range("2020-02-28T22", periods=hours, freq="h"),
            "latitude": ("latitude", 51.0 - 0.3 * np.arange(nlat), {"units": "degrees_north"}),
            "longitude": ("longitude", np.round(-2.1 + 0.3 * np.arange(nlon), 6), {"units": "degrees_east"}),
            "hybrid": ("hybrid", np.arange(1.0, LEVELS.n_levels + 1), level),
        },
    ).transpose("time", "hybrid", "latitude", "longitude")
