"""Scores of float32 fields against the `scores` package, on NumPy and on Dask."""

from __future__ import annotations

import importlib.util

import dask
import numpy as np
import xarray as xr
from timing import Row, in_turn

from xatmo import Grid, metrics


def rows(quick: bool = False) -> list[Row]:
    if importlib.util.find_spec("scores") is None:
        return []
    from scores.continuous import rmse

    grid = Grid.regular(181, 360) if quick else Grid.regular(361, 720)
    rng = np.random.default_rng(0)
    coords = {"time": np.arange(40), **grid.coords()}
    values = rng.normal(size=(40, *grid.shape)).astype(np.float32)
    target = xr.DataArray(values, coords, ("time", "latitude", "longitude"))
    prediction = target + 0.1
    areas = xr.DataArray(grid.areas, {d: target[d] for d in target.dims[1:]}, target.dims[1:])
    out = []
    for kind, chunks in (("NumPy", None), ("Dask", {"time": 4})):
        pair = [x if chunks is None else x.chunk(chunks) for x in (prediction, target)]
        with dask.config.set(scheduler="threads"):
            ours, peer = in_turn(
                lambda pair=pair: metrics.rmse(*pair).compute(),
                lambda pair=pair: rmse(*pair, weights=areas).compute(),
                repeats=3 if quick else 7,
            )
        work = f"area-weighted rmse, 40 x {grid.nlat} x {grid.nlon} float32, {kind}"
        out.append(Row(work, ours * 1e3, peer * 1e3, "scores", wanted="<= 1.5"))
    return out
