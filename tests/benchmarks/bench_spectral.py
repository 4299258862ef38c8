"""Spherical harmonics against bare ducc0, at T719 on 721 x 1440 points, float32.

Run alone: ``python tests/benchmarks/bench_spectral.py``.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
from timing import Row, in_turn

import xatmo  # noqa: F401  (registers .atmo)
from xatmo import Grid
from xatmo.spectral import _kernels

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _winds(grid: Grid, lmax: int) -> xr.Dataset:
    rng = np.random.default_rng(0)
    slope = (1 + np.arange(lmax + 1.0)[:, None]) ** -1.5

    def part() -> Any:
        shape = (lmax + 1, lmax + 1)
        out = np.tril(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * slope
        out[:, 0].imag = 0
        out[0] = 0
        return out.astype(np.complex64)

    names = {"u": "eastward_wind", "v": "northward_wind"}
    dims = ("latitude", "longitude")
    pair = zip(names.items(), _kernels.synthesis_vector(part(), part(), grid), strict=True)
    return xr.Dataset({n: (dims, x, {"standard_name": s, "units": "m s-1"}) for (n, s), x in pair}, grid.coords())


def rows(quick: bool = False) -> list[Row]:
    """Measure ours and the peer's in turn; nothing where ducc0 is not installed."""
    if find_spec("ducc0") is None:
        return []
    import ducc0

    grid = Grid.regular(181, 360) if quick else Grid.regular(721, 1440)
    lmax, repeats = grid.lmax, 5 if quick else 15
    ds = _winds(grid, lmax)
    field = ds["u"]
    plain, pair = field.values[None], np.stack([-ds["v"].values, ds["u"].values])
    name = f"T{lmax}, {grid.nlat} x {grid.nlon}, float32"
    options = {"lmax": lmax, "geometry": "CC", "nthreads": THREADS}
    out = []

    def bare_round_trip() -> Any:
        alm = ducc0.sht.analysis_2d(map=plain, spin=0, **options)
        return ducc0.sht.synthesis_2d(alm=alm, spin=0, ntheta=grid.nlat, nphi=grid.nlon, **options)

    ours, peer = in_turn(lambda: field.atmo.to_spectral().atmo.to_grid(grid), bare_round_trip, repeats=repeats)
    wanted = "" if quick else "<= 1.15"
    out.append(Row(f"round trip through the accessor, {name}", 1e3 * ours, 1e3 * peer, "bare ducc0", wanted=wanted))

    ours, peer = in_turn(
        lambda: ds.atmo.energy_spectrum(),
        lambda: ducc0.sht.analysis_2d(map=pair, spin=1, **options),
        repeats=repeats,
    )
    out.append(
        Row(f"kinetic-energy spectrum of (u, v), {name}", 1e3 * ours, 1e3 * peer, "bare ducc0 spin 1", wanted=wanted)
    )

    other = ds["v"].assign_attrs(field.attrs)
    both = plain, other.values[None]
    ours, peer = in_turn(
        lambda: field.atmo.cross_spectrum(other),
        lambda: [ducc0.sht.analysis_2d(map=x, spin=0, **options) for x in both],
        repeats=repeats,
    )
    out.append(Row(f"cross-spectrum of two fields, {name}", 1e3 * ours, 1e3 * peer, "two analyses by bare ducc0"))
    from xatmo.nn.sphere import SphericalHarmonics

    transform = SphericalHarmonics.regular(grid.nlat, grid.nlon, lmax)
    for count, bound in ((1, ""), (4, "")) if quick else ((1, ""), (8, ""), (32, "<= 1.5")):
        out.append(_torch_row(transform, grid, plain, count, options, bound))
    return out


def _torch_row(transform: Any, grid: Grid, plain: Any, count: int, options: dict[str, Any], wanted: str) -> Row:
    import ducc0
    import torch

    fields = np.repeat(plain, count, axis=0)
    tensor = torch.from_numpy(fields)

    def ours() -> Any:
        with torch.inference_mode():
            return transform.synthesis(transform.analysis(tensor))

    def peer() -> None:
        for one in fields:
            alm = ducc0.sht.analysis_2d(map=one[None], spin=0, **options)
            ducc0.sht.synthesis_2d(alm=alm, spin=0, ntheta=grid.nlat, nphi=grid.nlon, **options)

    what = "1 field" if count == 1 else f"{count} fields"
    name = f"torch engine, {what}, T{options['lmax']} ({transform.table_bytes / 1e9:.2f} GB of tables)"
    seconds = in_turn(ours, peer, repeats=5)
    return Row(name, 1e3 * seconds[0], 1e3 * seconds[1], "bare ducc0", wanted=wanted)


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(
            f"{row.work}: {row.ours:.1f} {row.unit}, {row.peer_name} {row.peer:.1f}, ratio {row.ratio:.2f} {row.wanted}"
        )
