"""What a variational network learns of maps of real sea level in seven weeks: scored on another week.

Daily maps of the sea level of a region (such as of the Mediterranean, 1/8 degree), seen along the tracks of Jason and
Sentinel-3 with noise. The first seven weeks are learned from. The last week is mapped from the tracks of the last
fifteen days and compared with the maps, beside optimal interpolation with scales of maximum likelihood from the tracks
of the seven weeks. Errors are of deviations from the mean of the seven weeks, which all methods are told. Times are
those of processors::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_mediterranean.py FILE.nc
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_mediterranean.py FILE.nc --steps 4  # it runs
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import xatmo
from xatmo import cf
from xatmo.datasets import nadir_tracks, observe
from xatmo.tasks.fourdvar._background import Background

MISSIONS = ("jason", "sentinel-3a", "sentinel-3b")
NOISE = 0.02
"""Standard deviation of the noise of one second of an altimeter, in metres."""
LEARNED, WINDOW, SCORED = 49, 15, 7
"""Days."""
BOX = 16
"""Cells of the boxes whose errors are drawn again for intervals."""


def seen(truth: xr.DataArray) -> xr.DataArray:
    """Observe maps along tracks: on their cells, NaN where nothing was seen."""
    when = truth[cf.time(truth)].values
    days = float((when[-1] - when[0]) / np.timedelta64(1, "D"))
    tracks = nadir_tracks(MISSIONS, start=when[0], days=days, region=truth)
    return observe(truth, tracks, NOISE, layout="challenge", like=truth)["ssh_obs"]


def squares(made: xr.DataArray, truth: xr.DataArray) -> NDArray[np.float64]:
    """Sums of squared errors and numbers of cells of each box: (2, box)."""
    axes = cf.horizontal(truth)
    error = ((made - truth) ** 2).transpose(..., *axes.dims).isel({cf.time(truth): slice(-SCORED, None)})
    boxes: Any = error.coarsen({d: BOX for d in axes.dims}, boundary="pad")
    both = [boxes.sum(), boxes.count()]
    return np.stack([b.sum(cf.time(truth)).values.ravel() for b in both]).astype(float)


def error(of_boxes: NDArray[np.float64]) -> float:
    """Root mean square error."""
    return float(np.sqrt(of_boxes[0].sum() / of_boxes[1].sum()))


def interval(one: NDArray[np.float64], other: NDArray[np.float64], draws: int = 2000) -> str:
    """Ratio of errors with the middle 90 percent of what other draws of the boxes would give."""
    wet = one[1] > 0
    one, other = one[:, wet], other[:, wet]
    picked = np.random.default_rng(0).integers(one.shape[1], size=(draws, one.shape[1]))
    ratios = [error(one[:, p]) / error(other[:, p]) for p in picked]
    low, high = np.quantile(ratios, [0.05, 0.95])
    return f"{error(one) / error(other):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--variable", help="by default the first")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--patch-size", type=int, default=64, help="cells, each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of FourDVarNet, as JSON")
    chosen = parser.parse_args()
    with xr.open_dataset(chosen.file) as ds:
        field = ds[chosen.variable or next(iter(ds.data_vars))].load()
    when = cf.time(field)
    ssh = (field - field.isel({when: slice(0, LEARNED)}).mean(when)).rename("ssh").assign_attrs(units="m")
    # Shelves that fall dry, or begin to be mapped: land throughout.
    ssh = ssh.where(ssh.notnull().all(when))
    record = ssh.to_dataset().assign(track=seen(ssh))
    train, test = record.isel({when: slice(0, LEARNED)}), record.isel({when: slice(-WINDOW, None)})
    water = test.ssh.notnull().all(when)
    found = {"zero": squares(xr.zeros_like(test.ssh), test.ssh)}
    for covariance, drift in (("matern", None), ("matern", "estimate")):
        start = time.process_time()
        how = Background.fit("oi", train, "track", oi={"covariance": covariance, "drift": drift})
        name = "OI, Matern" if drift is None else "OI, Matern, drift"
        found[name] = squares(how.make(test, "track", domain=water)["track"], test.ssh)
        spent = time.process_time() - start
        print(
            f"{name}: {1e3 * error(found[name]):.2f} mm, {spent:.1f} core-seconds", json.dumps(how.settings), flush=True
        )
    start = time.process_time()
    task = xatmo.FourDVarNet(**chosen.settings)
    task.fit(
        train, obs="track", target="ssh", patch_size=chosen.patch_size, batch_size=1, max_steps=chosen.steps,
        accelerator="cpu", seed=chosen.seed, progress=False,
    )  # fmt: skip
    training = time.process_time() - start
    made = test.atmo.fourdvar_interp("track", model=task, domain=water)["track"]
    found["FourDVarNet"] = squares(made, test.ssh)
    print(f"FourDVarNet: {1e3 * error(found['FourDVarNet']):.2f} mm, {training:.0f} core-seconds of training")
    print(f"no change from the mean: {1e3 * error(found['zero']):.2f} mm")
    for name in ("OI, Matern", "OI, Matern, drift"):
        print(f"over {name}: {interval(found['FourDVarNet'], found[name])}")


if __name__ == "__main__":
    main()
