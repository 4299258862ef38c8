"""Transforms on rings and on Driscoll-Healy rows against the iterative solver of ducc0, healpy and pyshtools, float64.

Run alone: ``python tests/benchmarks/bench_rings.py``.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
from timing import Row, in_turn

from xatmo import Grid
from xatmo.spectral import _kernels, set_threads

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _field(grid: Grid, lmax: int) -> Any:
    rng = np.random.default_rng(0)
    out = np.tril(rng.standard_normal((lmax + 1, lmax + 1)) + 1j * rng.standard_normal((lmax + 1, lmax + 1)))
    out[:, 0].imag = 0
    return _kernels.synthesis(out, grid)


def rows(quick: bool = False) -> list[Row]:
    """Measure ours and the peers' in turn; nothing where ducc0 is not installed."""
    if find_spec("ducc0") is None:
        return []
    import ducc0

    repeats = 3 if quick else 9
    out = []
    set_threads(THREADS)
    for grid in (Grid.healpix(32 if quick else 256), Grid.reduced_gaussian("O32" if quick else "O320")):
        lmax = grid.lmax
        field = _field(grid, lmax)
        rings = {
            "theta": np.asarray(grid.colatitude),
            "nphi": grid.ring_sizes.astype(np.uint64),
            "phi0": np.radians(grid.ring_starts),
            "ringstart": (np.cumsum(grid.ring_sizes) - grid.ring_sizes).astype(np.uint64),
        }

        def solver(field: Any = field, lmax: int = lmax, rings: dict[str, Any] = rings) -> Any:
            return ducc0.sht.pseudo_analysis(
                map=field[None], spin=0, lmax=lmax, nthreads=THREADS, maxiter=100, epsilon=1e-13, **rings
            )

        ours, peer = in_turn(lambda f=field, g=grid: _kernels.analysis(f, g), solver, repeats=repeats)  # type: ignore[misc]
        name = f"analysis to 1e-12, T{lmax}, {grid.kind} of {grid.npoints} points"
        out.append(Row(name, 1e3 * ours, 1e3 * peer, "ducc0 pseudo_analysis (4e-10)"))
        if grid.kind == "healpix" and find_spec("healpy") is not None:
            import healpy

            ours, peer = in_turn(
                lambda f=field, g=grid: _kernels.analysis(f, g),  # type: ignore[misc]
                lambda f=field, n=lmax: healpy.map2alm(f, lmax=n, iter=3),  # type: ignore[misc]
                repeats=repeats,
            )
            out.append(Row(name, 1e3 * ours, 1e3 * peer, "healpy, 3 iterations (1e-4)"))
    out += _driscoll_healy(quick, repeats)
    set_threads(None)
    return out


def _driscoll_healy(quick: bool, repeats: int) -> list[Row]:
    if find_spec("pyshtools") is None:
        return []
    from pyshtools import backends

    n = 180 if quick else 1280
    backends.select_preferred_backend("ducc", nthreads=THREADS)
    grid, lmax = Grid.driscoll_healy(n), n // 2 - 1
    field = _field(grid, lmax)
    ours, peer = in_turn(
        lambda: _kernels.analysis(field, grid, lmax),
        lambda: backends.backend_module().SHExpandDH(field, sampling=2, norm=1, csphase=1),
        repeats=repeats,
    )
    return [Row(f"analysis, T{lmax}, {n} x {2 * n} Driscoll-Healy", 1e3 * ours, 1e3 * peer, "pyshtools (ducc)")]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.work:62s} {row.ours:9.2f} {row.peer:9.2f} {row.unit}  {row.ratio:6.2f}  {row.peer_name}")
