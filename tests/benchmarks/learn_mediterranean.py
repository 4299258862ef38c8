"""What a variational network learns of maps of real sea level in seven weeks: scored on another week.

Daily maps of the sea level of a region (such as of the Mediterranean, 1/8 degree), seen along the tracks of Jason and
Sentinel-3 with noise. Seven weeks are for learning: the network trains on the first five and is stopped by the other
two, and where it does no better there than its background, that is what is taken. The last week is mapped from the
tracks of the last fifteen days and compared with the maps, beside optimal interpolation with scales of maximum
likelihood from the tracks of the seven weeks. Errors are of deviations from the mean of the seven weeks, which all
methods are told. Times are those of processors::

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
"""Days. The last window of those that are learned from stops the training."""
SETTINGS: dict[str, Any] = {
    "error": False, "redraw": 0.7, "learning_rate": 5e-4, "network_settings": {"step_size": 0.02}
}  # fmt: skip
"""Of the network: weeks of maps are few, so that it begins close to its background and moves slowly."""
INTERPOLATIONS: dict[str, dict[str, Any]] = {
    "OI, Matern, as if of the whole signal": {"drift": None},
    "the same with a drift": {"drift": "estimate"},
    "OI, Matern, of anomalies": {"anomalies": True},
}
"""Keywords of their scales. The last is the background of the network."""
BOX = 16
"""Cells of the boxes whose errors are drawn again for intervals."""


def seen(truth: xr.DataArray) -> xr.DataArray:
    """Observe maps along tracks: on their cells, NaN where nothing was seen."""
    when = truth[cf.time(truth)].values
    days = float((when[-1] - when[0]) / np.timedelta64(1, "D"))
    tracks = nadir_tracks(MISSIONS, start=when[0], days=days, region=truth)
    return observe(truth, tracks, NOISE, layout="challenge", like=truth)["ssh_obs"]


def squares(made: xr.DataArray, truth: xr.DataArray, days: int = SCORED) -> NDArray[np.float64]:
    """Sums of squared errors of the last days, and numbers of cells, of each box: (2, box)."""
    axes = cf.horizontal(truth)
    error = ((made - truth) ** 2).transpose(..., *axes.dims).isel({cf.time(truth): slice(-days, None)})
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
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--max-time", help="HH:MM:SS, by the clock, that the training takes at most")
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
    first, held_out = train.isel({when: slice(0, -WINDOW)}), train.isel({when: slice(-WINDOW, None)})
    water = test.ssh.notnull().all(when)
    found = {"zero": squares(xr.zeros_like(test.ssh), test.ssh)}
    print(f"no change from the mean: {1e3 * error(found['zero']):.2f} mm")
    for name, oi in INTERPOLATIONS.items():
        start = time.process_time()
        how = Background.fit("oi", train, "track", oi=oi)
        found[name] = squares(how.make(test, "track", domain=water)["track"], test.ssh)
        spent = time.process_time() - start
        print(
            f"{name}: {1e3 * error(found[name]):.2f} mm, {spent:.1f} core-seconds", json.dumps(how.settings), flush=True
        )
    # Tracks of all weeks told the scales, and these the background of the network.
    scales = {k: how.settings[k] for k in ("length_scale", "noise_std", "signal_std")}
    scales |= {"time_scale": f"{how.settings['time_scale']:.0f}s", "anomalies": True}
    start = time.process_time()
    task = xatmo.FourDVarNet(**{"oi": scales} | SETTINGS | chosen.settings)
    task.fit(
        first, obs="track", target="ssh", validation=held_out, patch_size=chosen.patch_size, batch_size=1,
        max_steps=chosen.steps, max_time=chosen.max_time, accelerator="cpu", seed=chosen.seed, progress=False,
    )  # fmt: skip
    training = time.process_time() - start
    print(f"{training:.0f} core-seconds of training, {task.model.config['training']['steps']} steps")
    for row in task.model.history:
        if row.get("validation_loss") is not None:
            print({k: row[k] for k in ("step", "loss", "validation_loss")})

    def both(part: xr.Dataset, days: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mapped = part.atmo.fourdvar_interp("track", model=task, domain=water)["track"]
        guess = how.make(part, "track", domain=water)["track"]
        return squares(mapped, part.ssh, days), squares(guess, part.ssh, days)

    told = both(held_out, WINDOW)
    better = error(told[0]) < error(told[1])
    print(f"weeks that stop it: {interval(*told)} of its background's error; {'it' if better else 'that'} is taken")
    network, background = both(test, SCORED)
    print(f"FourDVarNet: {1e3 * error(network):.2f} mm; its background: {1e3 * error(background):.2f} mm")
    taken = network if better else background
    for name in INTERPOLATIONS:
        print(f"what is taken over {name}: {interval(taken, found[name])}")


if __name__ == "__main__":
    main()
