"""What super-resolution learns of one fine field in five minutes on two cores: errors, and power at small scales.

Any field with latitude and longitude, for instance gusts of ERA5 at 0.25 degree. Networks see the western three
quarters of the longitudes; the rest is for scores. Times are those of processors, so that a busy machine changes
nothing::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_superres.py FILE.nc
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_superres.py FILE.nc --methods adversarial --steps 50  # it runs
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import xatmo
from xatmo import cf

FACTOR = 4
BANDS = (2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 16.0)
"""Bounds of the bands of wavelength, in steps of the fine grid."""
WANTED = {"error": 0.91, "power": 1.5, "core_seconds": 600.0}
METHODS: dict[str, tuple[dict[str, Any], int]] = {
    "recommended": ({}, 800),
    "adversarial": ({"adversarial": True, "loss": "mae + 0.05 spectral_power"}, 900),
    "diffusion": (
        {
            "diffusion": True,
            "pretrain": 350,
            "learning_rate": (1e-3, 2e-3),
            "average": 0.995,
            "diffusion_settings": {"channels": 24},
        },
        1200,
    ),
}
"""Settings beside the defaults, and steps of training: within the bound of time."""


def halves(field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Part that is learned from, and the eastern quarter; whole coarse cells in both."""
    axes = cf.horizontal(field)
    rows, columns = (field.sizes[d] - field.sizes[d] % FACTOR for d in axes.dims)
    first = (3 * columns // 4) // FACTOR * FACTOR
    whole = field.isel({axes.lat_dim: slice(0, rows)})
    return whole.isel({axes.lon_dim: slice(0, first)}), whole.isel({axes.lon_dim: slice(first, columns)})


def power(prediction: xr.DataArray, target: xr.DataArray) -> dict[str, float]:
    """Power along rows and columns between 60 degrees south and north, over that of the target, by band.

    Each row (column) is tapered by a Hann window. The larger deviation from 1 of both directions counts.
    """
    axes = cf.horizontal(target)
    inner = (abs(target[axes.lat]) <= 60).values
    found = {}
    for low, high in itertools.pairwise(BANDS):
        ratios = []
        for axis in (-1, -2):
            spectra = []
            for da in (prediction, target):
                values = da.isel({axes.lat_dim: inner}).transpose(..., *axes.dims).values.astype(float)
                values = np.moveaxis(values, axis, -1)
                n = values.shape[-1]
                taper = np.hanning(n + 2)[1:-1]
                waves = np.fft.rfft((values - values.mean(-1, keepdims=True)) * taper, axis=-1)
                spectra.append((np.abs(waves) ** 2).reshape(-1, waves.shape[-1]).mean(0))
            number = np.arange(spectra[0].size)
            band = (number >= n / high) & (number <= n / low)
            ratios.append(float(spectra[0][band].sum() / spectra[1][band].sum()))
        found[f"{low:g} to {high:g} steps"] = max(ratios, key=lambda r: abs(np.log(r)))
    return found


def scores(prediction: xr.DataArray, target: xr.DataArray, bicubic: xr.DataArray) -> dict[str, Any]:
    """Root mean square error over that of bicubic interpolation, of the first member where there are several."""
    one = prediction.isel(member=0) if "member" in prediction.dims else prediction
    error, usual = (float(np.sqrt(((f - target) ** 2).mean())) for f in (one, bicubic))
    found: dict[str, Any] = {"error": error, "error over bicubic": error / usual, "power": power(one, target)}
    if "member" in prediction.dims:
        found["error of the mean of members"] = float(np.sqrt(((prediction.mean("member") - target) ** 2).mean()))
        found["crps"] = float(xatmo.metrics.crps(prediction, target))
    return found


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--variable", help="by default the first")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--steps", type=int, help="instead of those of each method")
    parser.add_argument("--members", type=int, default=4, help="of diffusion")
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of SuperResolver, as JSON")
    parser.add_argument("--save", type=Path, help="folder for the trained models")
    chosen = parser.parse_args()
    with xr.open_dataset(chosen.file) as ds:
        field = ds[chosen.variable or next(iter(ds.data_vars))].load()
    train, test = halves(field)
    coarse = test.atmo.coarsen(FACTOR)
    # That of torch, whose sharper kernel suits means over cells: its error is 3 % below that of Catmull and Rom's.
    bicubic = coarse.atmo.superresolve(torch.nn.Upsample(scale_factor=FACTOR, mode="bicubic"))
    print(json.dumps({"bicubic": scores(bicubic, test, bicubic)}, indent=1), flush=True)
    for name in chosen.methods:
        settings, steps = METHODS[name]
        task = xatmo.SuperResolver(FACTOR, **settings | chosen.settings)
        start = time.process_time()
        task.fit(train, max_steps=chosen.steps or steps, accelerator="cpu", progress=False)
        found: dict[str, Any] = {"core-seconds of training": round(time.process_time() - start, 1)}
        if chosen.save is not None:
            task.save(chosen.save / name)
        start = time.process_time()
        made = coarse.atmo.superresolve(task, members=chosen.members if name == "diffusion" else None)
        found["core-seconds of inference"] = round(time.process_time() - start, 1)
        print(json.dumps({name: found | scores(made, test, bicubic)}, indent=1), flush=True)
    print(json.dumps({"wanted": WANTED}))


if __name__ == "__main__":
    main()
