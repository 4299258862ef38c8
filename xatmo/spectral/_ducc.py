"""The ducc0 engine. Sign, scale and layout are folded into arguments of ducc0's own calls, so that they cost nothing.

ducc0's a(l, m) = (-1)^m sqrt(4 pi) X(l, m). The sign is what a shift of the first longitude by half a turn does, the
scale is a factor on every ring, and ``mstart`` lets ducc0 read and write dense (order, degree) arrays in place.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xatmo.grids import Grid
from xatmo.spectral import _threads
from xatmo.typing import Complexes, Floats

_ROOT = float(np.sqrt(4 * np.pi))
_GEOMETRY = {"gaussian": "GL", "regular": "CC"}


def _geometry(grid: Grid) -> str | None:
    if grid.kind == "regular" and not grid.poles:
        return "F1"
    return _GEOMETRY.get(grid.kind)


@lru_cache(maxsize=32)
def _mstart(lmax: int, *, order_stride: int, degree_stride: int) -> np.ndarray[Any, Any]:
    return (np.arange(lmax + 1) * order_stride).astype(np.uint64)


def _layout(lmax: int) -> dict[str, Any]:
    """Dense (order, degree) in memory."""
    return {"lmax": lmax, "mstart": _mstart(lmax, order_stride=lmax + 1, degree_stride=1), "lstride": 1}


def _phi0(grid: Grid) -> float:
    return float(np.radians(grid.longitude[0])) + np.pi


@lru_cache(maxsize=64)
def _rings(grid: Grid) -> dict[str, Any]:
    """Describe the rings of any global grid, north to south, for ducc0's general transforms."""
    colatitude = np.asarray(grid.colatitude if grid.north_to_south else grid.colatitude[::-1], dtype=np.float64)
    return {
        "theta": colatitude,
        "nphi": np.full(grid.nlat, grid.nlon, dtype=np.uint64),
        "phi0": np.full(grid.nlat, _phi0(grid)),
        "ringstart": (np.arange(grid.nlat) * grid.nlon).astype(np.uint64),
    }


def _down(field: Floats, grid: Grid) -> Floats:
    return field if grid.north_to_south else field[..., ::-1, :]


def _analyse(maps: Floats, grid: Grid, lmax: int, spin: int, out: Complexes, threads: int) -> None:
    """One map (spin 0) or pair (spin 1), rows north to south, into ``out`` (components, (lmax + 1)^2)."""
    import ducc0

    geometry = _geometry(grid)
    sign = 1 - 2 * spin  # see _pair
    common = {"spin": spin, "nthreads": threads, "alm": out, **_layout(lmax)}
    if geometry is not None:
        factor = np.full(grid.nlat, sign / _ROOT)
        ducc0.sht.analysis_2d(map=maps, geometry=geometry, phi0=_phi0(grid), ringfactor=factor, **common)
        return
    weights = grid.weights if grid.north_to_south else grid.weights[::-1]
    factor = sign * _ROOT / grid.nlon * np.asarray(weights, dtype=np.float64)
    flat = np.ascontiguousarray(maps).reshape(maps.shape[0], -1)
    ducc0.sht.adjoint_synthesis(map=flat, ringfactor=factor, **_rings(grid), **common)


def _synthesise(
    coefficients: Complexes, lmax: int, grid: Grid, spin: int, layout: dict[str, Any], threads: int
) -> Floats:
    """Rows north to south, (components, nlat, nlon), from (components, (lmax + 1)^2)."""
    import ducc0

    geometry = _geometry(grid)
    sign = 1 - 2 * spin
    common = {"alm": coefficients, "spin": spin, "nthreads": threads, **layout}
    if geometry is not None:
        factor = np.full(grid.nlat, sign * _ROOT)
        out = ducc0.sht.synthesis_2d(
            geometry=geometry, ntheta=grid.nlat, nphi=grid.nlon, phi0=_phi0(grid), ringfactor=factor, **common
        )
    elif grid.is_global:
        factor = np.full(grid.nlat, sign * _ROOT)
        out = ducc0.sht.synthesis(ringfactor=factor, **_rings(grid), **common).reshape(-1, *grid.shape)
    else:
        out = _synthesise_box(coefficients, lmax, grid, spin, layout, threads)
    return np.asarray(out)


def _synthesise_box(
    coefficients: Complexes, lmax: int, grid: Grid, spin: int, layout: dict[str, Any], threads: int
) -> Floats:
    """Legendre sums by ducc0, then the Fourier sum at longitudes that need not go around."""
    import ducc0

    colatitude = np.asarray(grid.colatitude if grid.north_to_south else grid.colatitude[::-1], dtype=np.float64)
    order = np.arange(lmax + 1)
    mval = order.astype(np.uint64)
    rows = ducc0.sht.alm2leg(alm=coefficients, spin=spin, theta=colatitude, mval=mval, nthreads=threads, **layout)
    waves = np.exp(1j * np.outer(order, np.radians(grid.longitude) + np.pi)) * ((1 - 2 * spin) * _ROOT)
    waves[1:] *= 2
    real = coefficients.real.dtype
    out: Floats = rows.real @ waves.real.astype(real) - rows.imag @ waves.imag.astype(real)
    return out


def _flat(coefficients: Complexes) -> tuple[Complexes, dict[str, Any]]:
    """View coefficients as (..., (lmax + 1)^2), whichever axis is the faster, and tell ducc0 how to read them."""
    lmax = coefficients.shape[-1] - 1
    lead = coefficients.shape[:-2]
    if coefficients.flags.c_contiguous and lmax:
        layout = {
            "lmax": lmax,
            "mstart": _mstart(lmax, order_stride=1, degree_stride=lmax + 1),
            "lstride": lmax + 1,
        }
        return coefficients.reshape(*lead, -1), layout
    by_order = np.ascontiguousarray(np.swapaxes(coefficients, -1, -2))
    return by_order.reshape(*lead, -1), _layout(lmax)


def analysis(field: Floats, grid: Grid, lmax: int) -> Complexes:
    """See `xatmo.spectral._kernels.analysis`."""
    lead = field.shape[:-2]
    out = np.zeros((*lead, lmax + 1, lmax + 1), dtype=np.complex64 if field.dtype == np.float32 else np.complex128)
    field = _down(field, grid)
    flat = out.reshape(*lead, -1)
    with _threads.share() as threads:
        for index in np.ndindex(*lead):
            _analyse(field[index][None], grid, lmax, 0, flat[index][None], threads)
    out[..., 0, :].imag = 0  # real fields; ducc0 leaves rounding here
    return np.swapaxes(out, -1, -2)


def synthesis(coefficients: Complexes, grid: Grid) -> Floats:
    """See `xatmo.spectral._kernels.synthesis`."""
    lead, lmax = coefficients.shape[:-2], coefficients.shape[-1] - 1
    flat, layout = _flat(coefficients)
    with _threads.share() as threads:
        fields = [_synthesise(flat[index][None], lmax, grid, 0, layout, threads)[0] for index in np.ndindex(*lead)]
    return _stack(fields, lead, grid, coefficients.real.dtype)


def _stack(fields: list[Floats], lead: tuple[int, ...], grid: Grid, dtype: Any) -> Floats:
    if not fields:
        return np.empty((*lead, *grid.shape), dtype)
    out = fields[0] if not lead else np.stack(fields).reshape(*lead, *grid.shape)
    return out if grid.north_to_south else out[..., ::-1, :]


def _pair(u: Floats, v: Floats) -> Floats:
    """Stack the components as ducc0 wants them, southward and eastward.

    Its first ("gradient") coefficient is then minus the divergent one, its second ("curl") minus the rotational one.
    """
    pair = np.empty((2, *u.shape), dtype=u.dtype)
    np.negative(v, out=pair[0])
    pair[1] = u
    return pair


def analysis_vector(u: Floats, v: Floats, grid: Grid, lmax: int) -> tuple[Complexes, Complexes]:
    """See `xatmo.spectral._kernels.analysis_vector`."""
    lead = u.shape[:-2]
    dtype = np.complex64 if u.dtype == np.float32 else np.complex128
    out = np.zeros((*lead, 2, lmax + 1, lmax + 1), dtype=dtype)
    u, v = _down(u, grid), _down(v, grid)
    flat = out.reshape(*lead, 2, -1)
    if lmax:
        with _threads.share() as threads:
            for index in np.ndindex(*lead):
                _analyse(_pair(u[index], v[index]), grid, lmax, 1, flat[index], threads)
    out[..., 0, :].imag = 0
    out = np.swapaxes(out, -1, -2)
    return out[..., 1, :, :], out[..., 0, :, :]


def synthesis_vector(rotational: Complexes, divergent: Complexes, grid: Grid) -> tuple[Floats, Floats]:
    """See `xatmo.spectral._kernels.synthesis_vector`."""
    lead, lmax = rotational.shape[:-2], rotational.shape[-1] - 1
    if not lmax:
        zero = np.zeros((*lead, *grid.shape), rotational.real.dtype)
        return zero, zero.copy()
    flat_rotational, layout = _flat(rotational)
    flat_divergent, other = _flat(divergent)
    if other["lstride"] != layout["lstride"]:
        flat_divergent = _flat(np.ascontiguousarray(divergent))[0]
        flat_rotational, layout = _flat(np.ascontiguousarray(rotational))
    us, vs = [], []
    with _threads.share() as threads:
        for index in np.ndindex(*lead):
            both = np.stack([flat_divergent[index], flat_rotational[index]])
            south, east = _synthesise(both, lmax, grid, 1, layout, threads)
            us.append(east)
            vs.append(np.negative(south, out=south))
    dtype = rotational.real.dtype
    return _stack(us, lead, grid, dtype), _stack(vs, lead, grid, dtype)
