"""Conservative regridding 721 x 1440 -> 181 x 360, 32 float32 fields, against dense products; and ``.interp``."""

from __future__ import annotations

import numpy as np
import xarray as xr
from timing import Row, in_turn

from xatmo import Grid
from xatmo.regrid import _compiled, coarsen, regrid, weights_between


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes few fields, which shows that it runs, not how fast."""
    repeats, count = (2, 4) if quick else (9, 32)
    source, target = Grid.regular(721, 1440), Grid.regular(181, 360)
    values = np.random.default_rng(0).standard_normal((count, *source.shape)).astype(np.float32)
    fields = xr.DataArray(values, coords=source.coords(), dims=("time", "latitude", "longitude"), name="t")
    weights = weights_between(source, target, "conservative")
    lat, lon = (w.matrix.toarray().astype(np.float32) for w in (weights.lat, weights.lon))
    lon_t = np.ascontiguousarray(lon.T)

    def rows_first() -> np.ndarray:
        return np.asarray((lat @ values).reshape(-1, source.nlon) @ lon_t)

    def columns_first() -> np.ndarray:
        return np.asarray(lat @ (values.reshape(-1, source.nlon) @ lon_t).reshape(len(values), source.nlat, -1))

    def ours() -> xr.DataArray:
        return regrid(fields, target, method="conservative")

    # The peer is the quicker order of the two dense products.
    taken = {f: in_turn(f, f, repeats=3)[0] for f in (rows_first, columns_first)}
    dense = min(taken, key=taken.__getitem__)
    table = []
    mine, theirs = in_turn(ours, dense, repeats=repeats)
    large = values.size >= _compiled.LEAST_VALUES and _compiled.kernels() is not None
    what = f"regrid conservative, 721 x 1440 -> 181 x 360, {count} fields ({'Numba' if large else 'BLAS'})"
    table.append(Row(what, 1e3 * mine, 1e3 * theirs, "two dense products", wanted="<= 0.2"))
    gaps = fields.where((fields.latitude < 60) | (fields.longitude < 200))
    mine, theirs = in_turn(lambda: regrid(gaps, target, method="conservative"), dense, repeats=repeats)
    table.append(Row(f"the same with gaps, {count} fields", 1e3 * mine, 1e3 * theirs, "two dense products"))
    mine, theirs = in_turn(lambda: regrid(fields, target, method="conservative2"), dense, repeats=repeats)
    table.append(Row(f"the same, second order, {count} fields", 1e3 * mine, 1e3 * theirs, "two dense products"))
    mine, theirs = in_turn(lambda: coarsen(fields, 4), dense, repeats=repeats)
    table.append(
        Row(f"coarsen by 4 (means), 721 x 1440, {count} fields", 1e3 * mine, 1e3 * theirs, "two dense products")
    )
    few = fields[: min(count, 8)]
    where = {"latitude": target.latitude, "longitude": target.longitude}
    mine, theirs = in_turn(lambda: regrid(few, target, method="bilinear"), lambda: few.interp(where), repeats=3)
    table.append(
        Row(f"regrid bilinear, 721 x 1440 -> 181 x 360, {len(few)} fields", 1e3 * mine, 1e3 * theirs, "xarray .interp")
    )
    return table
