"""What a variational network learns of sea level that is stirred: filaments, which no covariance tells.

`xatmo.datasets.sea_level` draws a record, seen along the tracks of altimeters with noise. The network is trained on its
first eleven months (and on other records, which have nothing to do with it), and the last 60 days are mapped, beside
linear interpolation and optimal interpolations, and scored as the mapping challenges do. Times are those of
processors::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_stirred.py
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_stirred.py --records 1 --days 120 --steps 4  # it runs
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import xarray as xr

import xatmo
from xatmo.datasets import nadir_tracks, observe, sea_level, swot_swath
from xatmo.metrics.altimetry import leaderboard
from xatmo.tasks.fourdvar._background import Background

BOX = {"latitude": (33.0, 42.6), "longitude": (-65.0, -55.4), "step": 0.15}
START = "2012-10-01"
NOISE = 0.025
"""Standard deviation of the noise of one second of an altimeter, in metres."""
SCORED, EDGE, BORDER = 60, 7, 0.75
"""Days that are scored, those at both ends that are mapped but not scored, degrees at the edges that are not either."""
SETTINGS: dict[str, Any] = {"error": False, "redraw": 0.0}


def record(days: int, seed: int, missions: list[str], *, swot: bool) -> xr.Dataset:
    """Draw sea level and what is seen of it, NaN elsewhere."""
    ds = sea_level(**BOX, start=START, days=days, std=0.3, seed=seed)
    seen = observe(ds.ssh, nadir_tracks(missions, start=START, days=days, region=ds), NOISE, seed=seed,
                   layout="challenge", like=ds).ssh_obs  # fmt: skip
    if swot:
        swath = swot_swath(start=START, days=days, region=ds)
        wide = observe(ds.ssh, swath, NOISE, seed=seed + 1, layout="challenge", like=ds).ssh_obs
        seen = seen.fillna(wide)
    return ds.assign(track=seen.transpose(*ds.ssh.dims).astype("float32").assign_attrs(units="m"))


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missions", nargs="+", default=["jason", "saral"])
    parser.add_argument("--swot", action="store_true", help="with the wide swath, too")
    parser.add_argument("--records", type=int, default=3, help="that are trained on")
    parser.add_argument("--days", type=int, default=410, help="of a record")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of FourDVarNet, as JSON")
    chosen = parser.parse_args()
    seeds = [100 * chosen.seed + k for k in range(chosen.records)]
    start = time.process_time()
    drawn = [record(chosen.days, seed, chosen.missions, swot=chosen.swot) for seed in seeds]
    drawing = time.process_time() - start
    learned = slice(0, chosen.days - SCORED - 2 * EDGE)
    train = xr.concat([ds.isel(time=learned) for ds in drawn], "record")
    test = drawn[0].isel(time=slice(-SCORED - 2 * EDGE, None))
    print(
        f"{100 * float(test.track.notnull().mean()):.1f} % observed; {drawing:.0f} core-seconds of drawing", flush=True
    )
    maps: dict[str, xr.DataArray] = {}
    spent: dict[str, float] = {}

    def make(name: str, background: Background, before: float) -> None:
        maps[name] = background.make(test, "track")["track"].compute()
        spent[name] = time.process_time() - before

    make("linear", Background("linear"), time.process_time())
    for name, oi in (
        ("OI, Gaussian", {"covariance": "gaussian", "drift": None}),
        ("OI, Matern", {"drift": None}),
        ("OI, Matern, drift", {}),
    ):
        start = time.process_time()
        make(name, Background.fit("oi", train, "track", oi=oi), start)
    start = time.process_time()
    task = xatmo.FourDVarNet(**SETTINGS | chosen.settings)
    task.fit(
        train, obs="track", target="ssh", batch_size=chosen.batch_size, max_steps=chosen.steps, accelerator="cpu",
        seed=chosen.seed, progress=False,
    )  # fmt: skip
    spent["FourDVarNet"] = time.process_time() - start
    maps["FourDVarNet"] = test.atmo.fourdvar_interp("track", model=task)["track"].compute()
    lat, lon = test.latitude.values, test.longitude.values
    area = {
        "latitude": (lat.min() + BORDER, lat.max() - BORDER), "longitude": (lon.min() + BORDER, lon.max() - BORDER),
    }  # fmt: skip
    truth = test.ssh.astype(float)
    table = leaderboard(maps, truth, area=area, period=(test.time.values[EDGE], test.time.values[-EDGE - 1]))
    inside = {"latitude": slice(5, -5), "longitude": slice(5, -5), "time": slice(EDGE, -EDGE)}
    errors = {n: np.sqrt(((m - truth) ** 2).isel(inside).mean().item()) for n, m in maps.items()}
    print(table.assign(rmse=errors, core_seconds=spent).round(3).to_string())


if __name__ == "__main__":
    main()
