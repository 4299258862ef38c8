"""What networks learn of 2 m temperature in minutes from a few days: errors by lead, with intervals.

A file with ``t2m`` every hour, for instance three weeks of ERA5: all days but the last four are learned from, those
four are forecast, 12 hours from 12, from every hour, with simple forecasts beside. Errors count all cells the same.
Intervals resample blocks of half a day of initial times: of four days of weather they say what they can. Times are
those of processors, so that a busy machine changes nothing::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast.py FILE.nc
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast.py FILE.nc --methods simvp --seeds 0 --steps 5  # it runs
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xatmo
from xatmo import metrics

TEST_DAYS, HOURS = 4, 12
WANTED = {"best network": 0.93, "convlstm": "below diurnal", "core-seconds of training": 480.0}
# Of a few weeks the levels and the mean day name the day and the place: changes of the last hours are what is shown.
CHANGES: dict[str, Any] = {"origin": "cell", "read_cycle": False}
COMMON: dict[str, Any] = {"scale": (0.6, 1.6), "augmentation": "symmetries", "learning_rate": 2e-3}
METHODS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "simvp": ({"network_settings": {"n_levels": 2, "norm": None, **CHANGES}}, {"max_steps": 90, "batch_size": 16}),
    "convlstm": (
        {"network_settings": {"factor": 2, "size": 5, **CHANGES}, "learning_rate": 1e-3},
        {"max_steps": 75, "batch_size": 8},
    ),
    "stacked_convlstm": (
        {"network_settings": {"channels": 32, "size": 3, "n_layers": 1, "norm": None, **CHANGES}},
        {"max_steps": 120, "batch_size": 8},
    ),
}  # fmt: skip
"""Settings beside the defaults, and how long to train."""
SIMPLE = {"persistence": HOURS, "yesterday": 24, "diurnal": HOURS}
"""Forecasts without a network, and the hours that they read."""


def errors(forecast: xr.Dataset, truth: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Root mean square error over all leads and by lead, with intervals."""
    block = {"dim": "init_time", "block": "12h", "kind": "moving", "n": 500}
    kwargs: dict[str, Any] = {"metrics": ["rmse"], "weights": None, "bootstrap": block}
    dims = [d for d in forecast.t2m.dims if d != "lead_time"]
    return metrics.verify(forecast, truth, **kwargs).compute(), metrics.verify(forecast, truth, dim=dims, **kwargs)


def row(name: str, every: xr.Dataset, by_lead: xr.Dataset) -> str:
    """One line of the table."""
    cells = [
        f"{float(by_lead.rmse[k]):.2f} ({float(by_lead.rmse_lower[k]):.2f}-{float(by_lead.rmse_upper[k]):.2f})"
        for k in range(by_lead.sizes["lead_time"])
    ]
    whole = f"{float(every.rmse):6.3f} ({float(every.rmse_lower):.3f}-{float(every.rmse_upper):.3f})"
    return f"{name:24s} {whole}   " + "  ".join(cells)


def main() -> None:
    """Train, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, help="instead of those of each method")
    parser.add_argument(
        "--held-out", type=int, help="days before the last four to score instead of these, to choose by"
    )
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of VideoForecaster, as JSON")
    chosen = parser.parse_args()
    with xr.open_dataset(chosen.file) as ds:
        field = ds[["t2m"]].load()
    if chosen.held_out:
        field = field.isel(time=slice(None, -24 * TEST_DAYS))
    days = chosen.held_out or TEST_DAYS
    train, test = field.isel(time=slice(None, -24 * days)), field.isel(time=slice(-24 * days, None))
    starts = test.time.values[HOURS - 1 : -HOURS]
    print(f"{len(starts)} starts; RMSE over leads 1-{HOURS} h, and at each lead, with 90 % intervals", flush=True)
    found: dict[str, list[float]] = {}
    for name, n_context in SIMPLE.items():
        task = xatmo.VideoForecaster(name, n_context, HOURS).fit(train, progress=False)
        # What reads more than half a day sees the end of the training days, as it would in use.
        made = field.atmo.forecast(task, init_time=starts)
        every, by_lead = errors(made, field)
        print(row(name, every, by_lead), flush=True)
    for name in chosen.methods:
        settings, length = METHODS[name]
        length = length | ({} if chosen.steps is None else {"max_steps": chosen.steps})
        for seed in chosen.seeds:
            task = xatmo.VideoForecaster(name, HOURS, HOURS, **COMMON | settings | chosen.settings)
            began = time.process_time()
            task.fit(train, **length, seed=seed, accelerator="cpu", progress=False)
            spent = time.process_time() - began
            every, by_lead = errors(test.atmo.forecast(task, init_time=starts, device="cpu"), field)
            print(row(f"{name}, seed {seed} ({spent:.0f} s)", every, by_lead), flush=True)
            found.setdefault(name, []).append(float(every.rmse))
    medians = {name: round(float(np.median(values)), 4) for name, values in found.items()}
    print(json.dumps({"median": medians, "wanted": WANTED}))


if __name__ == "__main__":
    main()
