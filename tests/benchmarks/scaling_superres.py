"""Peak memory of super-resolving a Zarr store: ``python tests/benchmarks/scaling_superres.py --gigabytes 3``.

Writes hourly coarse fields, refines them lazily by 2 and writes Zarr by regions (`xatmo.streaming.write_zarr`), each in
a process of its own so that the peak of its memory can be read. The fields compress well, so that little disk is
needed; in memory they are as large as any. ``--channels 0`` only repeats cells, for stores of many gigabytes.
``--members`` and ``--time-window`` draw members and see frames with those before them; ``--threads`` is the number of
Dask's threads.
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
from typing import Any

import dask
import dask.array
import numpy as np
import torch
import xarray as xr

import xatmo
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.streaming import write_zarr

FACTOR = 2
CHUNK = 24  # hours
GRID = xatmo.Grid.regular(360, 720, poles=False)


def write(path: Path, hours: int) -> None:
    """Write a store of ``hours`` coarse fields, all different, chunk by chunk."""
    times = np.datetime64("2001-01-01", "ns") + np.arange(hours) * np.timedelta64(1, "h")
    shape = np.cos(np.radians(GRID.latitude))[:, None] * np.cos(np.radians(GRID.longitude))
    wave = np.round(shape * 64).astype(np.float32) / 64  # few different numbers: it compresses

    def chunk(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        start = block_info[0]["array-location"][0][0] if block_info else 0
        return wave + np.float32(280) + np.arange(start, start + len(block), dtype=np.float32)[:, None, None] / 64

    data = dask.array.zeros((hours, *GRID.shape), chunks=(CHUNK, *GRID.shape), dtype="float32")
    field = (("time", "latitude", "longitude"), data.map_blocks(chunk, dtype="float32"), {"units": "K"})
    xr.Dataset({"t": field}, {"time": times, **GRID.coords()}).to_zarr(path, mode="w", consolidated=False)


def model(time_window: int | None, members: int | None, channels: int) -> Model:
    """A network with random weights; memory does not mind what they are."""
    torch.manual_seed(0)
    channel, patch = (Channel("t", "K"),), {"lat": 96, "lon": 96}
    if not channels:
        return Model(torch.nn.Upsample(scale_factor=FACTOR), {}, channel, channel, factor=FACTOR, patch_size=patch)
    config = SuperResolutionConfig(
        FACTOR, channels=channels, n_blocks=0, time_window=time_window, n_noise=1 if members else 0, baseline="bilinear"
    )
    if time_window:
        patch["time"] = time_window
    return Model(
        SuperResolution(config).eval(), {"network": config.to_dict()}, channel, channel, factor=FACTOR, patch_size=patch
    )


def refine(store: str, out: str, *, members: int | None, time_window: int | None, threads: int, channels: int) -> None:
    """Open, refine, write; print what it took as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ds = xr.open_zarr(store, consolidated=False)
    start = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=threads):
        fine = ds.atmo.superresolve(model(time_window, members, channels), members=members)
        built = time.perf_counter() - start
        tasks = len(fine.t.__dask_graph__())
        write_zarr(fine, out, progress=False, in_flight=threads)
    took = {
        "hours": ds.sizes["time"], "input_gb": ds.t.nbytes / 1e9, "output_gb": fine.t.nbytes / 1e9, "tasks": tasks,
        "graph_s": built, "seconds": time.perf_counter() - start, "before_gb": before / 2**20,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "cpu_s": time.process_time(), "last": float(xr.open_zarr(out).t[..., -1, -1, -1].max()),
    }  # fmt: skip
    print(json.dumps(took))


def measure(hours: int, folder: str, **options: int | None) -> dict[str, float]:
    """Measure one length."""
    store, out = Path(folder) / f"coarse_{hours}.zarr", Path(folder) / "fine.zarr"
    if not store.exists():
        subprocess.run([sys.executable, __file__, "--write", str(store), str(hours)], check=True)
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in options.items() if v is not None]
    call = [sys.executable, __file__, "--refine", str(store), str(out), *flags]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    subprocess.run(["rm", "-rf", str(out)], check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of coarse input")
    parser.add_argument("--members", type=int)
    parser.add_argument("--time-window", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels", type=int, default=4, help="of the network; 0: only repeat cells")
    parser.add_argument("--write", nargs=2, metavar=("STORE", "HOURS"))
    parser.add_argument("--refine", nargs=2, metavar=("STORE", "OUT"))
    chosen = parser.parse_args()
    options = {n: getattr(chosen, n) for n in ("members", "time_window", "threads", "channels")}
    if chosen.write:
        write(Path(chosen.write[0]), int(chosen.write[1]))
    elif chosen.refine:
        refine(*chosen.refine, **options)
    else:
        hours = max(CHUNK, round(chosen.gigabytes * 1e9 / (4 * GRID.nlat * GRID.nlon)))
        with tempfile.TemporaryDirectory() as folder:
            took = measure(hours, folder, **options)
        print(
            f"{took['input_gb']:.1f} GB in, {took['output_gb']:.1f} GB out, {took['tasks']:.0f} tasks, graph "
            f"{took['graph_s']:.1f} s, {took['cpu_s']:.0f} CPU s, peak memory {took['peak_gb']:.2f} GB, of it "
            f"{took['before_gb']:.2f} GB libraries"
        )


if __name__ == "__main__":
    main()
