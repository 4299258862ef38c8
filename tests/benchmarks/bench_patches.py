"""Shuffled training samples from a compressed Zarr store, against xbatcher and against decoding alone; and planning."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from timing import Row

from xatmo.patches import patches, plan

SIZES = {"time": 200, "lat": 512, "lon": 1024}
CHUNKS = (8, 256, 256)
WORK = {
    "64 x 64": ({"time": 1, "lat": 64, "lon": 64}, ">= 150", ">= 0.6"),
    "128 x 128 x 8": ({"time": 8, "lat": 128, "lon": 128}, ">= 8", ">= 0.85"),
}


def make_store(folder: str, times: int) -> Path:
    """Write smooth waves and noise, 419 MB as float32 with 200 times, with the default compressor (zstd)."""
    y, x = np.mgrid[: SIZES["lat"], : SIZES["lon"]]
    waves = np.sin(x / 40) * np.cos(y / 30)
    noise = np.random.default_rng(0).standard_normal((times, *waves.shape), dtype=np.float32)
    field = xr.DataArray((waves + 0.1 * noise).astype(np.float32), dims=tuple(SIZES), name="t")
    path = Path(folder) / "fields.zarr"
    encoding = {"t": {"chunks": CHUNKS}}
    field.to_dataset().to_zarr(path, encoding=encoding, zarr_format=3, consolidated=False)
    return path


@contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rate(batches: Any, seconds: float) -> float:
    """Samples per second, over a whole epoch or ``seconds``, whichever ends first."""
    start, samples = time.perf_counter(), 0
    for batch in batches:
        samples += len(batch)
        if time.perf_counter() - start > seconds:
            break
    return samples / (time.perf_counter() - start)


def decode_all(path: Path) -> None:
    """Read every chunk in 4 threads, and do nothing with it."""
    array = zarr.open_array(path / "t", mode="r")
    chunks = product(*(range(0, n, c) for n, c in zip(array.shape, CHUNKS, strict=True)))

    def read(start: tuple[int, ...]) -> int:
        return array[tuple(slice(s, s + c) for s, c in zip(start, CHUNKS, strict=True))].nbytes

    with ThreadPoolExecutor(4) as threads:
        sum(threads.map(read, list(chunks)))


def rows(quick: bool = False) -> list[Row]:
    """Rates of ours, of the documented xbatcher pipeline, and of decoding alone, in turn; and the time to plan."""
    found = []
    try:
        from xbatcher import BatchGenerator
        from xbatcher.loaders.torch import MapDataset
    except ImportError:
        BatchGenerator = None
    times = 80 if quick else SIZES["time"]
    with tempfile.TemporaryDirectory() as folder, quietly():
        path = make_store(folder, times)
        fields = xr.open_zarr(path, chunks={}, consolidated=False).t  # the documented way to open, with Dask
        for name, (size, over_xbatcher, of_limit) in WORK.items():
            cut = patches(fields, size)
            loader = cut.loader(batch_size=32, num_workers=4, memory=128 << 20)
            ours, limit, theirs = [], [], []
            for _ in range(3 if quick else 7):
                ours.append(rate(loader, 30))
                start = time.perf_counter()
                decode_all(path)
                limit.append(len(cut) / (time.perf_counter() - start))
                if BatchGenerator is not None:
                    documented = torch.utils.data.DataLoader(
                        MapDataset(BatchGenerator(fields, input_dims=size, preload_batch=False)),
                        batch_size=32, shuffle=True,
                    )  # fmt: skip
                    theirs.append(rate(documented, 0.7 if quick else 3))
            mine = statistics.median(ours)
            if theirs:
                peer = statistics.median(theirs)
                found.append(Row(f"shuffled {name} from zstd Zarr", mine, peer, "xbatcher", "samples/s", over_xbatcher))
            bound = statistics.median(limit)
            found.append(
                Row(f"shuffled {name} from zstd Zarr", mine, bound, "decode, 4 threads", "samples/s", of_limit)
            )

    def planning() -> float:
        start = time.perf_counter()
        p = plan({"time": 8760, "lat": 721, "lon": 1440}, {"time": 1, "lat": 48, "lon": 96}, periodic=["lon"])
        assert len(p.starts_array()) == len(p) == 8760 * 16 * 15
        return time.perf_counter() - start

    planned = 1e3 * statistics.median(planning() for _ in range(7))
    found.append(Row("plan 2.1 million windows and list them", planned, 100.0, "bound", "ms", "<= 1"))
    return found


if __name__ == "__main__":
    import sys

    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.work}: {row.ours:.4g} {row.unit}, {row.peer_name} {row.peer:.4g}, ratio {row.ratio:.3g}", end=" ")
        print(f"(wanted {row.wanted}: {'met' if row.met else 'NOT met'})")
