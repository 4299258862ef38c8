"""What members of forecasts are worth after minutes of training on a few days of hourly 2 m temperature.

A file with ``t2m`` every hour: all days but the last four are learned from, those four are forecast, 12 hours from 12,
from every hour. The fair continuous ranked probability score of the members stands beside the absolute errors of the
last departure from the mean day, which is what a forecast without members would have to beat, and of the mean of the
members. Spread over error is near 1 where members spread as much as their mean errs::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast_members.py FILE.nc
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast_members.py FILE.nc --methods vae --steps 20  # it runs
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
import xarray as xr

import xatmo

TEST_DAYS, HOURS = 4, 12
COMMON: dict[str, Any] = {"scale": (0.6, 1.6), "loss": "mae"}
METHODS: dict[str, dict[str, Any]] = {
    "vae": {"objective_settings": {"members": 100.0}, "network_settings": {"widths": [24, 48, 64]}},
    "vae, no score of members": {"architecture": "vae", "network_settings": {"widths": [24, 48, 64]}},
    "savp": {
        "objective_settings": {"members": 100.0, "channels": 4, "features": 1.0},
        "network_settings": {"channels": 8, "posterior_widths": [16, 32, 64], "context_frames": False},
        "optimizer_settings": {"betas": (0.5, 0.999)},
    },
    "savp, no discriminators": {
        "architecture": "savp",
        "objective_settings": {"members": 100.0, "adversarial": False},
        "network_settings": {"channels": 8, "posterior_widths": [16, 32, 64], "context_frames": False},
    },
}

STEPS = {"vae": (120, 10), "vae, no score of members": (120, 10), "savp": (40, 4), "savp, no discriminators": (60, 4)}
"""Steps, and windows of each: minutes of one processor."""


def scores(forecast: xr.DataArray, truth: xr.DataArray) -> dict[str, float]:
    """Fair CRPS and absolute error of the mean, in the units of the field, and spread over error."""
    at = xr.DataArray(forecast.valid_time.values, dims=("init_time", "lead_time"))
    wanted = truth.sel(time=at).transpose("init_time", "lead_time", ...).values.astype("float64")
    if "member" not in forecast.dims:
        error = forecast.transpose("init_time", "lead_time", ...).values - wanted
        return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
    members = forecast.transpose("member", "init_time", "lead_time", ...).values.astype("float64")
    n, mean = len(members), members.mean(axis=0)
    ordered = np.sort(members, axis=0)
    rank = (2 * np.arange(1, n + 1) - n - 1).reshape(-1, *[1] * wanted.ndim)
    crps = np.abs(members - wanted).mean(axis=0) - (rank * ordered).sum(axis=0) / (n * (n - 1))
    rmse = np.sqrt(((mean - wanted) ** 2).mean())
    spread = np.sqrt(members.var(axis=0, ddof=1).mean() * (n + 1) / n)
    return {
        "crps": float(crps.mean()), "mae": float(np.abs(mean - wanted).mean()), "rmse": float(rmse),
        "spread_over_error": float(spread / rmse),
    }  # fmt: skip


def main() -> None:
    """Train, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--methods", nargs="*", default=["vae", "savp"], choices=list(METHODS))
    parser.add_argument("--steps", type=int, help="of training, instead of those of the method")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--settings", default="{}", help="JSON: settings of VideoForecaster beside those of the method")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    field = xr.open_dataset(arguments.file)[["t2m"]].load()
    first = field.time.values[-1] - np.timedelta64(24 * TEST_DAYS - 1, "h")
    train, test = field.sel(time=field.time < first), field.sel(time=field.time >= first)
    simple = xatmo.VideoForecaster("diurnal", HOURS, HOURS).fit(train, progress=False)
    starts = test.time.values[HOURS - 1 : -HOURS]
    print(
        "diurnal persistence", scores(test.atmo.forecast(simple, init_time=starts).t2m, test.t2m), len(starts), "starts"
    )
    for name in arguments.methods:
        settings = {**COMMON, "architecture": name, **METHODS[name], **json.loads(arguments.settings)}
        task = xatmo.VideoForecaster(n_context=HOURS, n_future=HOURS, **settings)
        began = time.process_time()
        task.fit(
            train, batch_size=STEPS[name][1], max_steps=arguments.steps or STEPS[name][0], seed=arguments.seed,
            progress=False, accelerator="cpu",
        )  # fmt: skip
        took = time.process_time() - began
        members = test.atmo.forecast(task, init_time=starts, members=arguments.members, device="cpu").t2m
        found = {"seed": arguments.seed, "steps": int(task.history.step.iloc[-1]), "core_seconds": round(took)}
        print(name, {**found, **scores(members, test.t2m)}, flush=True)
        print(" ", {k: round(float(v), 4) for k, v in task.history.iloc[-1].items()}, flush=True)


if __name__ == "__main__":
    main()
