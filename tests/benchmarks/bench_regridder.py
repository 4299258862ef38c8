"""Sparse weights (any points to any points): applied against SciPy's product, and made against its ``griddata``."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import griddata
from timing import Row, in_turn

from xatmo import Grid
from xatmo.regrid import Mesh, SparseWeights, mesh_weights, weights_between


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes few fields and small grids, which shows that it runs, not how fast."""
    repeats, count = (2, 4) if quick else (7, 32)
    source, target = Grid.regular(721, 1440), Grid.regular(181, 360)
    values = np.random.default_rng(0).standard_normal((count, *source.shape)).astype(np.float32)
    weights = SparseWeights.of(weights_between(source, target, "conservative"))
    matrix = weights.matrix.astype(np.float32)
    where = f"721 x 1440 -> 181 x 360, {count} fields, one thread"

    def product() -> np.ndarray:
        return np.asarray((matrix @ values.reshape(count, -1).T).T)

    table = []
    mine, theirs = in_turn(lambda: weights.apply(values), product, repeats=repeats)
    table.append(Row(f"apply sparse weights, {where}", 1e3 * mine, 1e3 * theirs, "scipy, all fields at once"))
    values[:, 200:300, 100:500] = np.nan
    mine, theirs = in_turn(lambda: weights.apply(values), product, repeats=repeats)
    table.append(Row(f"the same with land missing, {where}", 1e3 * mine, 1e3 * theirs, "scipy, NaN spreading"))

    n, m = (60, 90) if quick else (240, 360)
    lat, lon = np.meshgrid(np.linspace(-40, 40, n), np.linspace(0, 120, m), indexing="ij")
    curved = Mesh(lat + 3 * np.sin(np.radians(3 * lon)), lon + 3 * np.sin(np.radians(3 * lat)))
    points = np.stack([curved.latitude.ravel(), curved.longitude.ravel()], axis=1)
    there = tuple(np.meshgrid(target.latitude, target.longitude, indexing="ij"))
    field = np.sin(np.radians(curved.latitude))
    mine, theirs = in_turn(
        lambda: mesh_weights(Mesh(curved.latitude, curved.longitude), target, "bilinear").apply(field),
        lambda: griddata(points, field.ravel(), there),
        repeats=3,
    )
    table.append(
        Row(f"bilinear from a curvilinear {n} x {m}, weights and one field", 1e3 * mine, 1e3 * theirs, "scipy griddata")
    )
    return table
