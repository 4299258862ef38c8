"""What networks learn of moving digits in minutes: ten frames of 32 x 32 from ten, of digits that no training had.

The rows of ``xatmo benchmark moving-digits``, as it trains them, against what is wanted of them: squared error summed
over the pixels of a frame. Times are those of processors, so that a busy machine changes nothing. Finished rows are
read back from the folder::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_digits.py FOLDER
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_digits.py FOLDER --digits 1 --rows simvp --steps 5  # it runs
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from xatmo import benchmarks

NETWORKS = ("simvp", "convlstm", "stacked_convlstm", "vae", "savp")
WANTED: dict[str, dict[int, float]] = {"simvp": {1: 17.0, 2: 36.0}, "convlstm": {2: 42.0}}
PART_OF_MEAN, CORE_SECONDS = 0.8, 480.0
"""Of the error of the constant mean frame, below which each network has to come, in so much training."""


def bar(name: str, n_digits: int, mean: float) -> float:
    """Error that is wanted of a network."""
    return min(WANTED.get(name, {}).get(n_digits, np.inf), PART_OF_MEAN * mean)


def main() -> None:
    """Train, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digits", nargs="+", type=int, choices=(1, 2), default=(1, 2))
    parser.add_argument("--rows", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--steps", type=int, help="instead of those of each row")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,))
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    for seed, n_digits in itertools.product(chosen.seeds, chosen.digits):
        options = benchmarks.Options(max_steps=chosen.steps, seed=seed, accelerator="cpu", progress=False)
        table, case = benchmarks.moving_digits(
            chosen.folder / f"digits_{n_digits}_seed_{seed}", rows=["mean", "last", *chosen.rows],
            options=options, n_digits=n_digits,
        )  # fmt: skip
        print(benchmarks.video_form(table, case).to_string(index=False), flush=True)
        own = table.set_index("name")
        for name in chosen.rows:
            wanted, got = bar(name, n_digits, own.loc["mean", "mse"]), own.loc[name, "mse"]
            spent = own.loc[name, "core_seconds"]
            found[f"{name}, {n_digits}, seed {seed}"] = {
                "mse": round(float(got), 2), "wanted": round(float(wanted), 2), "core_seconds": round(float(spent)),
                "reached": bool(got <= wanted and spent <= CORE_SECONDS),
            }  # fmt: skip
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
