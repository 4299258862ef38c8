"""Tasks, seconds and memory for one chunk of an archive: ``python tests/benchmarks/scaling.py``.

What ``docs/scaling.md`` multiplies by the size of the archive. Each call runs in a process of its own, on one thread,
so that the peak of its memory can be read.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import dask
import dask.array
import numpy as np
import torch
import xarray as xr

import xatmo
from xatmo.typing import XarrayObject

ERA5, SSH = "ERA5, 37 levels", "sea level, 1/12 degree"
NAMES = {"t": ("air_temperature", "K"), "u": ("eastward_wind", "m s-1"), "v": ("northward_wind", "m s-1")}


def archive(kind: str, times: int) -> xr.Dataset:
    """Lazy fields, one time and all levels a chunk, made where they are needed: no disk is measured."""
    if kind == ERA5:
        grid, levels = xatmo.Grid.regular(721, 1440), {"level": np.arange(37)}
        names = NAMES
    else:
        grid, levels = xatmo.Grid.regular(2161, 4320), {}
        names = {"ssh": ("sea_surface_height_above_geoid", "m")}
    shape = (times, *map(len, levels.values()), *grid.shape)
    dims = ("time", *levels, "latitude", "longitude")
    hours = np.datetime64("2000-01-01", "ns") + np.arange(times) * np.timedelta64(1, "h")
    fields = {}
    for value, (name, (standard_name, units)) in enumerate(names.items()):
        data = dask.array.full(shape, float(value), chunks=(1, *shape[1:]), dtype="float32")
        fields[name] = (dims, data, {"standard_name": standard_name, "units": units})
    return xr.Dataset(fields, {"time": hours, **levels, **grid.coords()})


def superresolve(ds: xr.Dataset) -> XarrayObject:
    """From the grid four times coarser, as input, to this one, with the recommended network."""
    from xatmo.nn.superres.network import SuperResolution, SuperResolutionConfig

    torch.manual_seed(0)  # the same weights, hence the same graph, on every call
    network = SuperResolution(SuperResolutionConfig(factor=4))
    coarse = ds["t"].isel(level=slice(0, 2), latitude=slice(0, 180), longitude=slice(0, 360))
    grid = xatmo.Grid.regular(180, 360, poles=False)
    return coarse.assign_coords(grid.coords()).atmo.superresolve(network)


def scores(ds: xr.Dataset) -> XarrayObject:
    target = (ds["t"] + 1).assign_attrs(ds["t"].attrs)
    return ds["t"].atmo.verify(target, metrics=["rmse", "bias"], dim=["time", "latitude", "longitude"])


QUARTER = xatmo.Grid.regular(721, 1440)
CALLS: dict[tuple[str, str], Callable[[xr.Dataset], XarrayObject]] = {
    (ERA5, "coarsen by 4"): lambda ds: ds["t"].atmo.coarsen(4),
    (ERA5, "regrid to 1 degree, conservative"): lambda ds: ds["t"].atmo.regrid(
        xatmo.Grid.regular(181, 360), method="conservative"
    ),
    (ERA5, "regrid to 1 degree, spectral"): lambda ds: ds["t"].atmo.regrid(xatmo.Grid.regular(181, 360)),
    (ERA5, "truncate to T106"): lambda ds: ds["t"].atmo.truncate(106),
    (ERA5, "vorticity and divergence"): lambda ds: ds[["u", "v"]].atmo.vorticity_divergence(),
    (ERA5, "kinetic-energy spectrum"): lambda ds: ds[["u", "v"]].atmo.energy_spectrum(),
    (ERA5, "rmse and bias by level"): scores,
    (SSH, "coarsen by 3"): lambda ds: ds["ssh"].atmo.coarsen(3),
    (SSH, "regrid to 1/4 degree, conservative"): lambda ds: ds["ssh"].atmo.regrid(QUARTER, method="conservative"),
    (SSH, "power spectrum"): lambda ds: ds["ssh"].atmo.energy_spectrum(),
    (ERA5, "super-resolve 180 x 360 by 4, 2 levels"): superresolve,
}


def one(key: tuple[str, str]) -> None:
    """Print tasks per chunk, seconds to build the graph of 1000 chunks, seconds per chunk, and peak memory."""
    call = CALLS[key]
    torch.set_num_threads(1)
    start = time.perf_counter()
    graph = call(archive(key[0], 1000))
    tasks = len(dask.optimize(graph)[0].__dask_graph__()) / 1000
    built = time.perf_counter() - start
    with dask.config.set(scheduler="synchronous"):
        call(archive(key[0], 1)).compute()
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            call(archive(key[0], 1)).compute()
            taken.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {key[0]} | {key[1]} | {tasks:.1f} | {built:.1f} | {sorted(taken)[1]:.2f} | {peak:.1f} |", flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        one(list(CALLS)[int(sys.argv[1])])
        return
    print("| archive | call | tasks a chunk | graph of 1000 chunks (s) | a chunk on one core (s) | peak memory (GiB) |")
    print("|---|---|---|---|---|---|", flush=True)
    for index in range(len(CALLS)):
        subprocess.run([sys.executable, __file__, str(index)], check=True)


if __name__ == "__main__":
    main()
