"""Multiply every degree of fields or coefficients by its own factor: filters, Laplacians and their inverses."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields, on_same_grid, require_finite, require_whole, true_attrs
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._fields import DEGREE, ORDER, Source
from xatmo.spectral._results import by_degree, grid_sizes
from xatmo.spectral._vectors import map_with_winds
from xatmo.typing import Floats, T


def weigh_fields(obj: T, weights: Floats, source: Source, *, engine: str, what: str, call: str) -> T:
    """Multiply the degrees of fields by ``weights`` (lmax + 1,); higher degrees are dropped. Winds are vectors."""
    options: dict[str, Any] = {"grid": source.grid, "weights": weights, "engine": engine, "what": what}
    dims, output = source.axes.dims, grid_sizes(source)

    def finish(out: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
        out = _fields.same_coords(out, da, source.axes)
        out.attrs = true_attrs(da)
        return out

    def scalar(da: xr.DataArray) -> xr.DataArray:
        _fields.require_real(da, what=what)
        block = partial(_scalar, name=da.name, **options)

        def on_columns(field: xr.DataArray) -> xr.DataArray:
            types = [_fields.float_type(field)]
            out = _fields.apply(block, [field], dims, outputs=[output], dtypes=types, what=what)[0]
            return finish(out, field)

        return changed_values(on_same_grid(da, on_columns, source.axes), da)

    def wind(u: xr.DataArray, v: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        block = partial(_vector, name=(u.name, v.name), **options)
        pair = [_fields.bare(x, source, what=what) for x in (u, v)]
        types = [_fields.float_type(*pair)] * 2
        out = _fields.apply(block, pair, dims, outputs=[output] * 2, dtypes=types, what=what)
        first, second = (
            changed_values(on_same_grid(da, partial(finish, weighted), source.axes), da)
            for weighted, da in zip(out, (u, v), strict=True)
        )
        return first, second

    return cf.add_history(map_with_winds(obj, scalar, wind, dims=dims, what=what), call)


def weigh_coefficients(obj: T, weights: Floats, *, what: str, call: str) -> T:
    """Multiply coefficients on ``degree``, ``order`` by ``weights``; degrees without a weight become zero."""

    def one(da: xr.DataArray) -> xr.DataArray:
        lmax = _fields.require_convention(da, what=what)
        require_whole(da, (DEGREE, ORDER), what=what)
        row = np.zeros(lmax + 1)
        row[: weights.size] = weights[: lmax + 1]
        (out,) = _fields.apply(
            partial(_coefficients, weights=row, what=what, name=da.name),
            [da],
            (DEGREE, ORDER),
            outputs=[{DEGREE: lmax + 1, ORDER: da.sizes[ORDER]}],
            dtypes=[np.dtype(np.complex64 if _fields.is_single(da) else np.complex128)],
            what=what,
        )
        out = out.assign_coords({n: c for n, c in da.coords.items() if set(c.dims) & {DEGREE, ORDER}})
        out = out.transpose(*da.dims)
        out.attrs = true_attrs(da)
        return changed_values(out, da)

    return cf.add_history(map_fields(obj, one, dims=(DEGREE, ORDER), what=what), call)


def top_degree(obj: xr.Dataset | xr.DataArray) -> int:
    """Highest degree of the coefficients in an object."""
    return int(obj.sizes[DEGREE]) - 1


# ---------------------------------------------------------------------- blocks
def _scalar(field: Any, *, grid: Grid, weights: Floats, engine: Any, what: str, name: Any) -> Floats:
    field = _kernels.as_float(field)
    require_finite(field, what=what, name=name)
    return _kernels.synthesis(
        _weighted(_kernels.analysis(field, grid, weights.size - 1, engine), weights), grid, engine
    )


def _vector(u: Any, v: Any, *, grid: Grid, weights: Floats, engine: Any, what: str, name: Any) -> tuple[Floats, Floats]:
    u, v = _kernels.as_float(u), _kernels.as_float(v)
    for component in (u, v):
        require_finite(component, what=what, name=name)
    rotational, divergent = _kernels.analysis_vector(u, v, grid, weights.size - 1, engine)
    return _kernels.synthesis_vector(_weighted(rotational, weights), _weighted(divergent, weights), grid, engine)


def _coefficients(array: Any, *, weights: Floats, what: str, name: Any) -> Any:
    array = _kernels.as_complex(array)
    require_finite(array, what=what, name=name)
    return by_degree(weights, array)


def _weighted(coefficients: Any, weights: Floats) -> Any:
    return coefficients if (weights == 1).all() else by_degree(weights, coefficients)
