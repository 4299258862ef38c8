"""What networks learn of five days of generated rain in minutes: an hour of 64 x 64 cells from an hour.

The rows of ``xatmo benchmark rain``, as it trains them, with several seeds. Each seed has a record of its own, of other
weather, so that errors are told as parts of that of the last frame under the best Gaussian filter, which networks have
to beat. Settings are chosen on records of other seeds than those of the table (0, 1 and 2). Times are those of
processors, so that a busy machine changes nothing. Finished rows are read back from the folder::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_rain.py FOLDER
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_rain.py FOLDER --seeds 100 --rows simvp  # to choose by
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_rain.py FOLDER --seeds 100 --rows simvp --steps 5  # it runs
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xatmo import benchmarks

NETWORKS = ("convlstm", "stacked_convlstm", "simvp", "savp", "vae")
WANTED, CORE_SECONDS = 1.0, 480.0
"""Of the error of the blurred last frame, below which each network has to come, in so much training."""


def summary(found: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Median and range over seeds of (squared error, that of the blurred frame, core-seconds)."""
    errors, blurred, spent = np.array(found).T
    parts = errors / blurred
    return {
        "mse": errors.round(2).tolist(), "over blurred": parts.round(3).tolist(),
        "median over blurred": round(float(np.median(parts)), 3), "core_seconds": spent.round().tolist(),
        "reached": bool(parts.max() < WANTED and spent.max() <= CORE_SECONDS),
    }  # fmt: skip


def main() -> None:
    """Train, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, help="instead of those of each row")
    chosen = parser.parse_args()
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in chosen.rows}
    for seed in chosen.seeds:
        options = benchmarks.Options(max_steps=chosen.steps, seed=seed, accelerator="cpu", progress=False)
        table, case = benchmarks.rain(
            chosen.folder / f"rain_seed_{seed}", rows=["last", "blurred", *chosen.rows], options=options
        )
        print(f"seed {seed}\n{benchmarks.video_form(table, case).to_string(index=False)}", flush=True)
        own = table.set_index("name")
        for name, made in found.items():
            made.append((own.loc[name, "mse"], own.loc["blurred", "mse"], own.loc[name, "core_seconds"]))
    print(json.dumps({name: summary(made) for name, made in found.items()}, indent=1))


if __name__ == "__main__":
    main()
