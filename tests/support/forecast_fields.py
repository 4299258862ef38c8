"""Hours of temperature on a box, and forecasts of them by start and lead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

LEADS = 4


def record(hours: int = 60, seed: int = 0) -> xr.DataArray:
    """Hours of a box with a daily cycle."""
    time = pd.date_range("2020-01-30T12", periods=hours, freq="1h")
    rng = np.random.default_rng(seed)
    cycle = 4 * np.cos(2 * np.pi * (time.hour.to_numpy() - 15) / 24)
    values = 280 + cycle[:, None, None] + rng.normal(size=(hours, 5, 6))
    coords = {
        "time": time,
        "lat": ("lat", 50.0 - 2 * np.arange(5), {"units": "degrees_north"}),
        "lon": ("lon", 2.0 * np.arange(6), {"units": "degrees_east"}),
    }
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name="t2m", attrs={"units": "K"})


def forecast_of(truth: xr.DataArray, n: int = 20, every: int = 2, seed: int = 1) -> xr.DataArray:
    """Truth of later hours and an error that grows with the lead."""
    rng = np.random.default_rng(seed)
    starts = truth.time.values[5 : 5 + n * every : every]
    at = (5 + every * np.arange(n))[:, None] + np.arange(1, LEADS + 1)
    values = truth.values[at] + 0.3 * np.arange(1, LEADS + 1)[:, None, None] * rng.normal(size=(n, LEADS, 5, 6))
    lead = np.arange(1, LEADS + 1).astype("m8[h]").astype("m8[ns]")
    coords = {"init_time": starts, "lead_time": lead, "lat": truth.lat, "lon": truth.lon}
    out = xr.DataArray(values, coords, ("init_time", "lead_time", "lat", "lon"), name="t2m", attrs={"units": "K"})
    return out.assign_coords(valid_time=out.init_time + out.lead_time)


def loop(truth: xr.DataArray, forecast: xr.DataArray) -> xr.DataArray:
    """Truth at valid times, one by one."""
    out = forecast.copy(data=np.full(forecast.shape, np.nan))
    for i, first in enumerate(forecast.init_time.values):
        for j, ahead in enumerate(forecast.lead_time.values):
            out[i, j] = truth.sel(time=first + ahead).values
    return out
