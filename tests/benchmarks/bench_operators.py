"""Operators and values at points against the same transforms by bare ducc0, at T719 on 721 x 1440 points, float32.

Run alone: ``python tests/benchmarks/bench_operators.py``.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
from bench_spectral import THREADS, _winds
from timing import Row, in_turn

from xatmo import Grid


def rows(quick: bool = False) -> list[Row]:
    """Measure ours and the peer's in turn; nothing where ducc0 is not installed."""
    if find_spec("ducc0") is None:
        return []
    import ducc0

    grid = Grid.regular(181, 360) if quick else Grid.regular(721, 1440)
    lmax, repeats = grid.lmax, 5 if quick else 9
    ds = _winds(grid, lmax)
    field = ds["u"]
    plain, pair = field.values[None], np.stack([-ds["v"].values, ds["u"].values])
    name = f"T{lmax}, {grid.nlat} x {grid.nlon}, float32"
    options: dict[str, Any] = {"lmax": lmax, "geometry": "CC", "nthreads": THREADS}
    size = {"ntheta": grid.nlat, "nphi": grid.nlon}
    points = 6_000 if quick else 60_000
    rng = np.random.default_rng(0)
    place = np.stack([np.arccos(rng.uniform(-1, 1, points)), rng.uniform(0, 2 * np.pi, points)], 1)

    def split() -> None:
        alm = ducc0.sht.analysis_2d(map=pair, spin=1, **options)
        for part in alm:
            ducc0.sht.synthesis_2d(alm=part[None], spin=0, **options, **size)
            ducc0.sht.synthesis_2d(alm=np.stack([part, 0 * part]), spin=1, **options, **size)

    def slopes() -> None:
        alm = ducc0.sht.analysis_2d(map=plain, spin=0, **options)
        ducc0.sht.synthesis_2d_deriv1(alm=alm, **options, **size)

    def twice() -> None:
        alm = ducc0.sht.analysis_2d(map=plain, spin=0, **options)
        ducc0.sht.synthesis_2d(alm=alm, spin=0, **options, **size)

    def scattered() -> None:
        alm = ducc0.sht.analysis_2d(map=plain, spin=0, **options)
        ducc0.sht.synthesis_general(alm=alm, spin=0, loc=place, epsilon=2e-6, lmax=lmax, nthreads=THREADS)

    lat, lon = 90 - np.degrees(place[:, 0]), np.degrees(place[:, 1])
    calls = {
        "helmholtz": (lambda: ds.atmo.helmholtz(), split),
        "gradient": (lambda: field.atmo.gradient(), slopes),
        "laplacian": (lambda: field.atmo.laplacian(), twice),
        "exponential filter": (lambda: field.atmo.filter("exponential"), twice),
        f"values at {points} points": (lambda: field.atmo.to_points(lat=lat, lon=lon), scattered),
    }
    out = []
    for work, (ours, peer) in calls.items():
        seconds = in_turn(ours, peer, repeats=repeats)
        out.append(Row(f"{work}, {name}", 1e3 * seconds[0], 1e3 * seconds[1], "bare ducc0"))
    return out


if __name__ == "__main__":
    for row in rows():
        print(f"{row.work:60} {row.ours:8.1f} {row.peer:8.1f} {row.unit} {row.ratio:5.2f} x {row.peer_name}")
