"""What members of forecasts are worth after minutes of training on a few days of hourly 2 m temperature.

A file with ``t2m`` every hour, for instance three weeks of ERA5: all days but the last four are learned from, those
four are forecast, 12 hours from 12, from every hour. The fair continuous ranked probability score (CRPS) of the members
stands beside the absolute error of the last departure from the mean day, which is what a forecast without members has
for a CRPS, and has to be below it; and the absolute error of the answer that each network gives without drawing. SimVP
draws by dropout of whole maps of features. Spread over error is near 1 where members spread as much as their mean errs.
Intervals resample blocks of half a day of initial times: of four days of weather they say what they can. Settings are
chosen with ``--held-out``, which never looks at the last four days. Times are those of processors::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast_members.py FILE.nc
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast_members.py FILE.nc --held-out 4 --seeds 0  # to choose by
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_forecast_members.py FILE.nc --seeds 0 --steps 5  # it runs
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import xatmo
from xatmo import metrics

TEST_DAYS, HOURS = 4, 12
WANTED = {"crps": "below the absolute error of diurnal", "core-seconds of training": 480.0}
# Of a few weeks the levels and the mean day name the day and the place: changes of the last hours are what is shown.
CHANGES: dict[str, Any] = {"origin": "cell", "read_cycle": False}
COMMON: dict[str, Any] = {"augmentation": "symmetries"}
METHODS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "vae": ({"network_settings": {"widths": [24, 48, 64], **CHANGES}}, {"max_steps": 120, "batch_size": 10}),
    "savp": (
        {
            "network_settings": {"preset": "small", **CHANGES}, "learning_rate": 2e-3,
            "objective_settings": {"channels": 4, "features": 1.0, "clip": 5, "pretrain": 0.7},
        },
        {"max_steps": 90, "batch_size": 4},
    ),
    "simvp": (
        {
            "network_settings": {"n_levels": 2, "norm": None, "dropout": 0.5, "mc_dropout": True, **CHANGES},
            "learning_rate": 2e-3,
        },
        {"max_steps": 90, "batch_size": 16},
    ),
}  # fmt: skip
"""Settings beside the defaults, and how long to train."""


def scores(forecast: xr.Dataset, truth: xr.Dataset) -> dict[str, Any]:
    """CRPS, of members, or absolute error; of members spread over error and their mean's errors. With intervals."""
    drawn = "member" in forecast.dims
    block = {"dim": "init_time", "block": "12h", "kind": "moving", "n": 500}
    kwargs: dict[str, Any] = {"weights": None, "bootstrap": block}
    mean = forecast.mean("member") if drawn else forecast
    found = metrics.verify(mean, truth, metrics=["mae", "rmse"], **kwargs).compute()
    names = {"mae": "mae_of_mean" if drawn else "mae", "rmse": "rmse"}
    if drawn:
        found = found.merge(metrics.verify(forecast, truth, metrics=["crps", "spread_skill"], **kwargs).compute())
        names = {"crps": "crps", "spread_skill": "spread_over_error", **names}
    out: dict[str, Any] = {}
    for name, shown in names.items():
        value, *ends = (round(float(found[f"{name}{end}"]), 3) for end in ("", "_lower", "_upper"))
        out |= {shown: value, f"{shown}_interval": ends}
    return out


def main() -> None:
    """Train, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS), choices=tuple(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, help="instead of those of each method")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="hours between initial times")
    parser.add_argument(
        "--held-out", type=int, help="days before the last four to score instead of these, to choose by"
    )
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of VideoForecaster, as JSON")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with xr.open_dataset(chosen.file) as ds:
        field = ds[["t2m"]].load()
    if chosen.held_out:
        field = field.isel(time=slice(None, -24 * TEST_DAYS))
    days = chosen.held_out or TEST_DAYS
    train, test = field.isel(time=slice(None, -24 * days)), field.isel(time=slice(-24 * days, None))
    starts = test.time.values[HOURS - 1 : -HOURS : chosen.every]
    simple = xatmo.VideoForecaster("diurnal", HOURS, HOURS).fit(train, progress=False)
    bound = scores(test.atmo.forecast(simple, init_time=starts), test)
    print(f"{len(starts)} starts, {chosen.members} members; leads 1-{HOURS} h, K; 90 % intervals", flush=True)
    print("diurnal", json.dumps(bound), flush=True)
    medians: dict[str, float] = {}
    for name in chosen.methods:
        settings, length = METHODS[name]
        length = length | ({} if chosen.steps is None else {"max_steps": chosen.steps})
        found = []
        for seed in chosen.seeds:
            task = xatmo.VideoForecaster(name, HOURS, HOURS, **COMMON | settings | chosen.settings)
            began = time.process_time()
            task.fit(train, **length, seed=seed, accelerator="cpu", progress=False)
            spent = round(time.process_time() - began)
            made = test.atmo.forecast(task, init_time=starts, members=chosen.members, device="cpu")
            one = test.atmo.forecast(task, init_time=starts, device="cpu")
            score = scores(made, test) | {"mae_of_single": scores(one, test)["mae"]}
            found.append(score["crps"])
            print(name, json.dumps({"seed": seed, "core_seconds": spent, **score}), flush=True)
        medians[name] = float(np.median(found))
    print(json.dumps({"median CRPS": medians, "diurnal's absolute error": bound["mae"], "wanted": WANTED}))


if __name__ == "__main__":
    main()
