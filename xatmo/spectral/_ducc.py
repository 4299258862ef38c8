"""The ducc0 engine. Sign, scale and layout are folded into arguments of ducc0's own calls, so that they cost nothing.

ducc0's a(l, m) = (-1)^m sqrt(4 pi) X(l, m). The sign is what a shift of the first longitude by half a turn does, the
scale is a factor on every ring, and ``mstart`` lets ducc0 read and write dense (order, degree) arrays in place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from xatmo.grids import Grid
from xatmo.spectral import _threads
from xatmo.typing import Complexes, Floats

_ROOT = float(np.sqrt(4 * np.pi))
_SCRATCH_BYTES = 64_000_000
_scratch = threading.local()
_GEOMETRY = {"gaussian": "GL", "regular": "CC"}


def _geometry(grid: Grid) -> str | None:
    if grid.kind == "regular" and not grid.poles:
        return "F1"
    return _GEOMETRY.get(grid.kind)


def _exact_degree(grid: Grid, lmax: int) -> int:
    """Degree to which ducc0 is to analyse for the coefficients up to ``lmax``.

    On equally spaced rows ducc0 first drops from every meridian the waves above the degree asked for, so that its
    coefficients of degree n would depend on ``lmax`` wherever the field is not band-limited. Asked for all that the
    rows hold, it integrates the interpolated field times P(n, m) exactly.
    """
    geometry = _geometry(grid)
    if geometry == "CC":
        return grid.nlat - 2
    return grid.nlat - 1 if geometry == "F1" else lmax


@lru_cache(maxsize=32)
def _mstart(count: int, stride: int) -> np.ndarray[Any, Any]:
    return (np.arange(count) * stride).astype(np.uint64)


def _layout(lmax: int, mmax: int) -> dict[str, Any]:
    """Dense (order, degree) in memory."""
    return {"lmax": lmax, "mmax": mmax, "mstart": _mstart(mmax + 1, lmax + 1), "lstride": 1}


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


def _analyse(maps: Floats, grid: Grid, spin: int, out: Complexes, threads: int) -> None:
    """One map (spin 0) or pair (spin 1), rows north to south, into ``out`` (components, order, degree)."""
    import ducc0

    geometry = _geometry(grid)
    sign = 1 - 2 * spin  # see _pair
    orders, degrees = out.shape[-2:]
    flat = out.reshape(-1, orders * degrees)
    common = {"spin": spin, "nthreads": threads, "alm": flat, **_layout(degrees - 1, orders - 1)}
    if geometry is not None:
        factor = np.full(grid.nlat, sign / _ROOT)
        ducc0.sht.analysis_2d(map=maps, geometry=geometry, phi0=_phi0(grid), ringfactor=factor, **common)
        return
    weights = grid.weights if grid.north_to_south else grid.weights[::-1]
    factor = sign * _ROOT / grid.nlon * np.asarray(weights, dtype=np.float64)
    rows = np.ascontiguousarray(maps).reshape(maps.shape[0], -1)
    ducc0.sht.adjoint_synthesis(map=rows, ringfactor=factor, **_rings(grid), **common)


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
    layout = {key: value for key, value in layout.items() if key != "mmax"}
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
        layout = {"lmax": lmax, "mmax": lmax, "mstart": _mstart(lmax + 1, 1), "lstride": lmax + 1}
        return coefficients.reshape(*lead, (lmax + 1) ** 2), layout
    by_order = np.ascontiguousarray(np.swapaxes(coefficients, -1, -2))
    return by_order.reshape(*lead, (lmax + 1) ** 2), _layout(lmax, lmax)


def analysis(field: Floats, grid: Grid, lmax: int) -> Complexes:
    """See `xatmo.spectral._kernels.analysis`."""
    lead = field.shape[:-2]
    out = _room(lead, grid, lmax, field)
    field = _down(field, grid)
    with _threads.share() as threads:
        for index in np.ndindex(*lead):
            _analyse(field[index][None], grid, 0, out[index], threads)
    return _finish(out, lmax)


def power(field: Floats, grid: Grid, lmax: int, sums: Callable[[Complexes], Floats]) -> Floats:
    """Power by degree of a scalar field, ``(..., lmax + 1)``; the coefficients themselves are not kept."""
    lead = field.shape[:-2]
    out = np.empty((*lead, lmax + 1), field.dtype)
    field = _down(field, grid)
    with _threads.share() as threads:
        for index in np.ndindex(*lead):
            one = _room_again("scalar", *_like(grid, lmax, field))
            _analyse(field[index][None], grid, 0, one, threads)
            out[index] = sums(_finish(one, lmax))
    return out


def power_vector(
    u: Floats, v: Floats, grid: Grid, lmax: int, sums: Callable[[Complexes], Floats]
) -> tuple[Floats, Floats]:
    """Power by degree of the rotational and divergent parts, ``(..., lmax + 1)`` each."""
    lead = u.shape[:-2]
    out = np.zeros((2, *lead, lmax + 1), u.dtype)
    u, v = _down(u, grid), _down(v, grid)
    shape, dtype = _like(grid, lmax, u)
    with _threads.share() as threads:
        for index in np.ndindex(*lead if lmax else (0,)):
            both = _room_again("vector", (2, *shape), dtype)
            _analyse(_pair(u[index], v[index]), grid, 1, both, threads)
            out[(slice(None), *index)] = sums(_finish(both, lmax))
    return out[1], out[0]


def _like(grid: Grid, lmax: int, field: Floats) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Shape (order, degree) and type of coefficients, with the degrees that ducc0 needs on top."""
    return (lmax + 1, _exact_degree(grid, lmax) + 1), np.dtype("c8" if field.dtype == np.float32 else "c16")


def _room(lead: tuple[int, ...], grid: Grid, lmax: int, field: Floats) -> Complexes:
    """Zeros for the coefficients of many fields; see `_like`."""
    shape, dtype = _like(grid, lmax, field)
    return np.zeros((*lead, *shape), dtype=dtype)


def _finish(out: Complexes, lmax: int) -> Complexes:
    out[..., 0, :].imag = 0  # real fields; ducc0 leaves rounding here
    return np.swapaxes(out[..., : lmax + 1], -1, -2)


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


def _room_again(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """Give this thread's array for intermediate numbers, zeros at first: fresh memory is slow to come by."""
    array: np.ndarray[Any, Any] | None = getattr(_scratch, name, None)
    if array is None or array.shape != shape or array.dtype != dtype:
        array = np.zeros(shape, dtype)
        setattr(_scratch, name, array if array.nbytes <= _SCRATCH_BYTES else None)
    return array


def _pair(u: Floats, v: Floats) -> Floats:
    """Stack the components as ducc0 wants them, southward and eastward, in this thread's scratch array.

    Its first ("gradient") coefficient is then minus the divergent one, its second ("curl") minus the rotational one.
    """
    pair: Floats = _room_again("pair", (2, *u.shape), u.dtype)
    np.negative(v, out=pair[0])
    pair[1] = u
    return pair


def analysis_vector(u: Floats, v: Floats, grid: Grid, lmax: int) -> tuple[Complexes, Complexes]:
    """See `xatmo.spectral._kernels.analysis_vector`."""
    lead = u.shape[:-2]
    out = _room((*lead, 2), grid, lmax, u)
    u, v = _down(u, grid), _down(v, grid)
    with _threads.share() as threads:
        for index in np.ndindex(*lead if lmax else (0,)):
            _analyse(_pair(u[index], v[index]), grid, 1, out[index], threads)
    out = _finish(out, lmax)
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
    pairs = (np.stack([flat_divergent[index], flat_rotational[index]]) for index in np.ndindex(*lead))
    return _components(pairs, lead, lmax, grid, layout, rotational.real.dtype)


def synthesis_divergent(divergent: Complexes, grid: Grid) -> tuple[Floats, Floats]:
    """See `xatmo.spectral._kernels.synthesis_divergent`."""
    lead, lmax = divergent.shape[:-2], divergent.shape[-1] - 1
    if not lmax:
        return synthesis_vector(divergent, divergent, grid)
    flat, layout = _flat(divergent)
    parts = (flat[index][None] for index in np.ndindex(*lead))
    return _components(parts, lead, lmax, grid, {**layout, "mode": "GRAD_ONLY"}, divergent.real.dtype)


def _components(
    parts: Iterable[Complexes], lead: tuple[int, ...], lmax: int, grid: Grid, layout: dict[str, Any], dtype: Any
) -> tuple[Floats, Floats]:
    """Eastward and northward fields of many vector fields."""
    us, vs = [], []
    with _threads.share() as threads:
        for part in parts:
            south, east = _synthesise(part, lmax, grid, 1, layout, threads)
            us.append(east)
            vs.append(np.negative(south, out=south))
    return _stack(us, lead, grid, dtype), _stack(vs, lead, grid, dtype)
