"""Peak memory of regridding a Zarr store, twice the length after once: ``python tests/benchmarks/scaling_store.py``.

Writes hourly fields of 721 x 1440 (float32, 4 hours a chunk), regrids them lazily to 1 degree and writes Zarr, each in
a process of its own so that the peak of its memory can be read. What ``docs/scaling.md`` multiplies by a year. An
option gives the shorter length in hours: ``--hours 48``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import dask.array
import numpy as np
import xarray as xr

import xatmo

CHUNK = 4  # hours
METHODS = ("conservative", "spectral")
SOURCE, TARGET = xatmo.Grid.regular(721, 1440), xatmo.Grid.regular(181, 360)


def write(path: Path, hours: int) -> None:
    """Write a store of ``hours`` fields, all different and as incompressible as real ones, chunk by chunk."""
    times = np.datetime64("2001-01-01", "ns") + np.arange(hours) * np.timedelta64(1, "h")
    data = dask.array.zeros((hours, *SOURCE.shape), chunks=(CHUNK, *SOURCE.shape), dtype="float32")

    def chunk(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        start = block_info[0]["array-location"][0][0] if block_info else 0
        noise = np.random.default_rng(start).standard_normal(block.shape, dtype=np.float32)
        return noise + np.float32(280)

    attrs = {"standard_name": "air_temperature", "units": "K"}
    field = (("time", "latitude", "longitude"), data.map_blocks(chunk, dtype="float32"), attrs)
    xr.Dataset({"t": field}, {"time": times, **SOURCE.coords()}).to_zarr(path, mode="w", consolidated=False)


def regrid(store: str, out: str, method: str) -> None:
    """Open, regrid, write; print what it took as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ds = xr.open_zarr(store, consolidated=False)
    start = time.perf_counter()
    lazy = ds.atmo.regrid(TARGET, method=method)
    writing = lazy.to_zarr(out, mode="w", consolidated=False, compute=False)
    built, tasks = time.perf_counter() - start, len(dask.optimize(writing)[0].__dask_graph__())
    start = time.perf_counter()
    writing.compute()
    took = {
        "hours": ds.sizes["time"], "tasks": tasks, "graph_s": built, "seconds": time.perf_counter() - start,
        "before_mib": before / 1024, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    print(json.dumps(took))


def measure(hours: int) -> list[dict]:
    """Measure both methods at ``hours`` and twice as many."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for length in (hours, 2 * hours):
            store = Path(folder) / f"hourly_{length}.zarr"
            subprocess.run([sys.executable, __file__, "--write", str(store), str(length)], check=True)
            for method in METHODS:
                call = [sys.executable, __file__, "--regrid", str(store), str(Path(folder) / "out.zarr"), method]
                printed = subprocess.run(call, check=True, capture_output=True, text=True).stdout
                rows.append({"method": method, **json.loads(printed.splitlines()[-1])})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=48)
    parser.add_argument("--write", nargs=2, metavar=("STORE", "HOURS"))
    parser.add_argument("--regrid", nargs=3, metavar=("STORE", "OUT", "METHOD"))
    chosen = parser.parse_args()
    if chosen.write:
        write(Path(chosen.write[0]), int(chosen.write[1]))
        return
    if chosen.regrid:
        regrid(*chosen.regrid)
        return
    print("| method | hours | tasks a chunk | graph (s) | a field (s) | peak memory (MiB) | above the libraries |")
    print("|---|---|---|---|---|---|---|")
    for row in measure(chosen.hours):
        chunks = -(-row["hours"] // CHUNK)
        print(
            f"| {row['method']} | {row['hours']} | {row['tasks'] / chunks:.1f} | {row['graph_s']:.2f} | "
            f"{row['seconds'] / row['hours']:.4f} | {row['peak_mib']:.0f} | {row['peak_mib'] - row['before_mib']:.0f} |"
        )


if __name__ == "__main__":
    main()
