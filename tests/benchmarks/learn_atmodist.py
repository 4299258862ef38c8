"""What AtmoDist learns in four minutes on two cores: lags of 3 to 24 hours between patches of 32 x 32.

Generates barotropic flow at T63, trains on the first four fifths of the time, and scores on the last, after a gap:
the network, the same network against shuffled lags, the best predictor of the lag from the mean squared difference of
the two patches over their variance, and the network on simulations that it never saw. Times are those of processors,
so that a busy machine changes nothing::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_atmodist.py
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_atmodist.py --days 40 --steps 100   # that it runs
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import xarray as xr

import xatmo
from xatmo.datasets._vorticity import Forcing
from xatmo.patches.lagged import sizes_of
from xatmo.tasks.representation._lag_scores import table
from xatmo.tasks.representation._lagged import ORDER, lagged_fields

LAGS, PATCH, STEP = 8, 32, "3h"
WANTED = {"top1": 0.72, "mae": 0.30, "above_pixels": 0.20, "elsewhere": 0.50, "core_seconds": 480.0}


def split(ds: xr.Dataset, gap_days: float = 5.0) -> tuple[xr.Dataset, xr.Dataset]:
    """Cut off the last fifth of the time, and a gap before it."""
    n = ds.sizes["time"]
    first, gap = round(0.8 * n), round(gap_days * 8)
    return ds.isel(time=slice(0, first - gap)), ds.isel(time=slice(first, None))


def pixels(ds: xr.Dataset, n_patches: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean squared difference of both patches, alone and over their variance, and the lag's class, pair by pair."""
    from xatmo.patches.lagged import LaggedWindows

    data = lagged_fields(ds, ["vo"], [(1.0, 0.0)])
    pairing = data.pairing((PATCH, PATCH), LAGS, 1, (-60.0, 60.0))
    windows = LaggedWindows(data.fields, data.dims, pairing)
    pairs = pairing.draw(np.random.default_rng(seed), n_patches)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    sizes = sizes_of(len(pairs), 512, 0, 1, drop_last=False)
    for w, which in windows.batches(pairs, sizes, seed=(seed, ORDER), shuffle=False):
        a, b = w[:, 0].astype(float), w[:, 1].astype(float)
        error = ((a - b) ** 2).mean((1, 2, 3))
        variance = (a.var((1, 2, 3)) + b.var((1, 2, 3))) / 2
        found.append((error, error / variance, which[:, 1] - 1))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # type: ignore[return-value]


def best_of_one_number(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> xr.Dataset:
    """Score the likeliest lag given one number, by how often each lag came in narrow bins of it in training."""
    edges = np.quantile(train[0], np.linspace(0, 1, 201)[1:-1])
    joint = np.zeros((200, LAGS))
    np.add.at(joint, (np.searchsorted(edges, train[0]), train[1]), 1.0)
    smooth = np.stack([np.convolve(column, np.ones(5), "same") for column in joint.T], axis=1)
    chance = smooth / smooth.sum(axis=1, keepdims=True)
    return table(chance[np.searchsorted(edges, test[0])], test[1], 10800.0)


def short(scores: xr.Dataset) -> dict[str, float]:
    """The numbers that count."""
    return {name: round(float(scores[name]), 3) for name in ("top1", "top3", "mae", "cross_entropy")}


def main() -> None:
    """Run it all and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=284.0)
    parser.add_argument("--steps", type=int, default=1450)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", default="{}", help="JSON: settings of AtmoDist beside the recipe's")
    parser.add_argument("--save", help="where to save the task")
    given = parser.parse_args()

    began = time.process_time()
    run: dict[str, Any] = {"output_every": STEP, "variables": ["vo"]}
    flow = xatmo.datasets.barotropic(63, days=given.days, seed=0, **run)
    train, test = split(flow)
    out: dict[str, Any] = {"generation_core_seconds": round(time.process_time() - began, 1)}

    task = xatmo.AtmoDist(LAGS, **{"encoder": "tiny", **json.loads(given.options)})
    began = time.process_time()
    task.fit(
        train, patch_size=PATCH, lag_step=STEP, batch_size=64, max_steps=given.steps, seed=given.seed,
        accelerator="cpu", progress=False,
    )  # fmt: skip
    out["training_core_seconds"] = round(time.process_time() - began, 1)
    out["steps"] = given.steps
    if given.save:
        task.save(given.save)

    n = max(1, round(6000 / test.sizes["time"]))
    out["last_fifth"] = short(task.evaluate(test, n_patches=n, device="cpu"))
    out["shuffled_lags"] = short(task.evaluate(test, n_patches=n, control=True, device="cpu"))
    theirs, ours = pixels(train, 20, seed=1), pixels(test, n, seed=0)
    for name, k in (("pixel_mse", 0), ("pixel_mse_over_variance", 1)):
        out[name] = short(best_of_one_number((theirs[k], theirs[2]), (ours[k], ours[2])))
    others = {"other_seed": {"seed": 7}, "other_stirring": {"seed": 8, "forcing": Forcing((10, 20), 1e-4, 21600.0)}}
    for name, settings in others.items():
        other = xatmo.datasets.barotropic(63, days=min(40.0, given.days), **settings, **run)
        out[name] = short(task.evaluate(other, n_patches=10, device="cpu"))
    met = {
        "top1": out["last_fifth"]["top1"] >= WANTED["top1"], "mae": out["last_fifth"]["mae"] <= WANTED["mae"],
        "above_pixels": out["last_fifth"]["top1"] - out["pixel_mse_over_variance"]["top1"] >= WANTED["above_pixels"],
        "elsewhere": min(out[name]["top1"] for name in others) >= WANTED["elsewhere"],
        "core_seconds": out["training_core_seconds"] <= WANTED["core_seconds"],
    }  # fmt: skip
    print(json.dumps({**out, "met": met}, indent=1))


if __name__ == "__main__":
    main()
