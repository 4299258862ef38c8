"""T639 coefficients as ARCO-ERA5 stores them: unpacked, and made into fields from Zarr to Zarr, against bare loops."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from timing import Row, in_turn

from xatmo import Grid, streaming
from xatmo.spectral import layouts, packed


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes few fields on a small grid, which shows that it runs, not how fast."""
    count, lmax, nlat, repeats = (2, 63, 128, 1) if quick else (48, 639, 1280, 3)
    rng = np.random.default_rng(0)
    shape = (count, lmax + 1, lmax + 1)
    coefficients = np.tril(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    coefficients[..., 0].imag = 0
    values = layouts.to_ecmwf(coefficients)
    da = xr.DataArray(values, dims=("time", "values"), name="vo", attrs={"GRIB_gridType": "sh"})
    order, degree = np.triu_indices(lmax + 1)

    def by_index(array: np.ndarray) -> np.ndarray:
        out = np.zeros((*array.shape[:-1], lmax + 1, lmax + 1), np.complex64)
        out[..., degree, order] = array.view(np.complex64)
        return out

    mine, theirs = in_turn(lambda: packed.unpacked(da), lambda: by_index(values), repeats=repeats)
    table = [
        Row(f"unpack T{lmax} values, {count} fields", 1e3 * mine, 1e3 * theirs, "NumPy, fancy indexing", wanted="<= 1")
    ]
    if find_spec("ducc0") is None:
        return table
    import ducc0

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sign = (np.where(order % 2, -1, 1) * np.sqrt(4 * np.pi)).astype(np.float32)
    grid = Grid.driscoll_healy(nlat)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "coefficients.zarr"
        da.to_dataset().chunk(time=1).to_zarr(source, zarr_format=2)
        opened = xr.open_zarr(source, chunks=None)

        def ours() -> None:
            streaming.synthesize(opened, Path(folder) / "ours.zarr", grid=grid, by={"time": -1}, overwrite=True)

        def loop() -> None:
            """One field for each core at a time: read, reorder, sum with one thread, write."""
            read = zarr.open_group(source, mode="r")["vo"]
            size = (count, *grid.shape)
            write = zarr.create_array(
                Path(folder) / "loop.zarr", shape=size, chunks=(1, *grid.shape), dtype="f4", overwrite=True
            )

            def one(i: int) -> None:
                alm = read[i].view(np.complex64) * sign
                rows = nlat + 1  # Driscoll and Healy's rows are Clenshaw and Curtis's but for the last
                field = ducc0.sht.synthesis_2d(
                    alm=alm[None], spin=0, lmax=lmax, geometry="CC", ntheta=rows, nphi=2 * nlat, nthreads=1
                )
                write[i] = field[0, :-1]

            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(one, range(count)))

        mine, theirs = in_turn(ours, loop, repeats=repeats)
        first = xr.open_zarr(Path(folder) / "ours.zarr").vo[-1].values
        second = zarr.open_array(Path(folder) / "loop.zarr")[-1]
        assert np.abs(first - second).max() < 1e-4 * np.abs(second).max()
    what = f"T{lmax} to {nlat} x {2 * nlat}, Zarr to Zarr, for each field"
    each = 1e3 / count
    table.append(Row(what, each * mine, each * theirs, "ducc0 in a loop over threads", wanted="<= 1.25"))
    return table
