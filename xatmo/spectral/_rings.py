"""Spherical harmonics on rings of different sizes: exact sums by ring, and least-squares analysis.

Synthesis evaluates the harmonic sum at the points, also of orders beyond what a ring resolves. Its adjoint with
quadrature weights recovers coefficients only approximately on such grids: HEALPix has no exact weights, and near the
poles of a reduced grid high orders alias. So analysis solves the weighted least-squares problem up to the grid's own
``lmax`` by conjugate gradients (CGLS), starting from the quadrature. What is left of a field after that holds no
degrees up to ``lmax``, and the coefficients kept do not depend on how many of them are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from xatmo.rings import RingGrid
from xatmo.spectral import _threads
from xatmo.typing import Complexes, Floats

_ROOT = float(np.sqrt(4 * np.pi))
_STEPS = 60
_TOLERANCE = {"float32": 1e-8, "float64": 1e-13}
"""Size of the gradient, relative to the coefficients, at which a fit of numbers of this type is done."""


class _Sums(Protocol):
    """Synthesis at the points in ring order, and its adjoint with quadrature weights.

    Coefficients are (component, order, degree); component and sign of spin 1 as `_ducc._pair` has them.
    """

    def values(self, coefficients: Complexes, spin: int) -> Floats: ...

    def project(self, values: Floats, spin: int, lmax: int) -> Complexes: ...


# ---------------------------------------------------------------------- ducc0
@lru_cache(maxsize=32)
def _description(grid: RingGrid) -> dict[str, Any]:
    sizes = grid.ring_sizes.astype(np.uint64)
    return {
        "theta": np.asarray(grid.colatitude, dtype=np.float64),
        "nphi": sizes,
        "phi0": np.radians(grid.ring_starts) + np.pi,  # half a turn: the sign (-1)^m, see _ducc
        "ringstart": (np.cumsum(sizes) - sizes).astype(np.uint64),
    }


class _Ducc:
    def __init__(self, grid: RingGrid, threads: int) -> None:
        self.grid, self.threads = grid, threads

    def _call(self, spin: int, lmax: int, factor: Any) -> dict[str, Any]:
        from xatmo.spectral._ducc import _layout

        common = {"spin": spin, "nthreads": self.threads, **_layout(lmax, lmax), **_description(self.grid)}
        return {**common, "ringfactor": np.broadcast_to((1 - 2 * spin) * _ROOT * factor, (self.grid.nlat,)).copy()}

    def values(self, coefficients: Complexes, spin: int) -> Floats:
        import ducc0

        flat = coefficients.reshape(coefficients.shape[0], -1)
        call = self._call(spin, coefficients.shape[-1] - 1, 1.0)
        return np.asarray(ducc0.sht.synthesis(alm=flat, **call))

    def project(self, values: Floats, spin: int, lmax: int) -> Complexes:
        import ducc0

        out = np.zeros((values.shape[0], lmax + 1, lmax + 1), np.result_type(values, np.complex64))
        call = self._call(spin, lmax, self.grid.weights / self.grid.ring_sizes)
        ducc0.sht.adjoint_synthesis(map=values, alm=out.reshape(values.shape[0], -1), **call)
        out[:, 0].imag = 0
        return out


# ---------------------------------------------------------------------- the torch engine's Legendre sums
@lru_cache(maxsize=32)
def _alike(grid: RingGrid) -> tuple[tuple[int, np.ndarray[Any, Any]], ...]:
    """Rings by size."""
    return tuple((int(n), np.flatnonzero(grid.ring_sizes == n)) for n in np.unique(grid.ring_sizes))


def ring_values(waves: Complexes, grid: RingGrid) -> Floats:
    """Fourier sums on each ring from coefficients ``(..., nlat, lmax + 1)`` of orders m >= 0: ``(..., npoints)``.

    Orders beyond what a ring resolves are added to those that look the same at its points, as in the sum itself.

    Examples
    --------
    >>> from xatmo.grids import Grid
    >>> grid = Grid.healpix(1)
    >>> waves = np.zeros((3, 4), complex)
    >>> waves[:, 3] = 0.5  # cos(3 lon): four points a ring cannot tell it from cos(lon)
    >>> np.allclose(ring_values(waves, grid), np.cos(3 * np.radians(grid.point_longitude)))
    True
    """
    lmax = waves.shape[-1] - 1
    order = np.arange(lmax + 1)
    first = np.cumsum(grid.ring_sizes) - grid.ring_sizes
    out = np.empty((*waves.shape[:-2], grid.npoints), waves.real.dtype)
    for n, rings in _alike(grid):
        turn = np.exp(1j * np.outer(np.radians(grid.ring_starts[rings]), order))
        some = (waves[..., rings, :] * turn).astype(waves.dtype, copy=False)
        some = np.concatenate([np.conj(some[..., :0:-1]), some], axis=-1)  # orders -lmax to lmax
        before = -lmax % n
        after = -(before + 2 * lmax + 1) % n
        padded = np.pad(some, [(0, 0)] * (some.ndim - 1) + [(before, after)])
        bins = padded.reshape(*some.shape[:-1], -1, n).sum(axis=-2)
        # The first entry is of the order -lmax - before, a multiple of n.
        values = np.fft.ifft(bins, norm="forward").real
        out[..., first[rings][:, None] + np.arange(n)] = values
    return out


def ring_waves(values: Floats, grid: RingGrid, lmax: int) -> Complexes:
    """Mean of ``values * exp(-i m lon)`` over each ring for orders 0 to ``lmax``: ``(..., nlat, lmax + 1)``."""
    order = np.arange(lmax + 1)
    first = np.cumsum(grid.ring_sizes) - grid.ring_sizes
    out = np.empty((*values.shape[:-1], grid.nlat, lmax + 1), np.result_type(values, np.complex64))
    for n, rings in _alike(grid):
        waves = np.fft.fft(values[..., first[rings][:, None] + np.arange(n)], norm="forward")
        turn = np.exp(-1j * np.outer(np.radians(grid.ring_starts[rings]), order))
        out[..., rings, :] = waves[..., order % n] * turn
    return out


class _Tables:
    """Full rings, on which the torch engine works, from and to these rings by Fourier coefficients."""

    def __init__(self, grid: RingGrid) -> None:
        self.grid = grid

    def _full(self, waves: Complexes) -> Floats:
        lmax = waves.shape[-1] - 1
        waves = waves.copy()
        waves[..., 0].imag = 0
        rows: Floats = np.fft.irfft(waves, n=2 * lmax + 4, norm="forward")
        return rows.astype(waves.real.dtype, copy=False)

    def values(self, coefficients: Complexes, spin: int) -> Floats:
        from xatmo.spectral import _torch

        by_degree = np.swapaxes(coefficients, -1, -2)
        if spin:
            u, v = _torch.synthesis_vector(by_degree[1], by_degree[0], self.grid)
            rows = np.stack([-v, u])
        else:
            rows = _torch.synthesis(by_degree, self.grid)
        lmax = coefficients.shape[-1] - 1
        waves = np.fft.rfft(rows, norm="forward")[..., : lmax + 1]
        return ring_values(waves.astype(coefficients.dtype, copy=False), self.grid)

    def project(self, values: Floats, spin: int, lmax: int) -> Complexes:
        from xatmo.spectral import _torch

        rows = self._full(ring_waves(values, self.grid, lmax))
        if spin:
            rotational, divergent = _torch.analysis_vector(rows[1], -rows[0], self.grid, lmax)
            out = np.stack([divergent, rotational])
        else:
            out = _torch.analysis(rows, self.grid, lmax)
        out = np.ascontiguousarray(np.swapaxes(out, -1, -2))
        out[:, 0].imag = 0
        return out


@contextmanager
def _sums(grid: RingGrid, engine: str) -> Iterator[_Sums]:
    if engine == "ducc0":
        with _threads.share() as threads:
            yield _Ducc(grid, threads)
    else:
        yield _Tables(grid)


# ---------------------------------------------------------------------- least squares
def _square(coefficients: Complexes) -> float:
    """Sum of squares over all orders, those below 0 too."""
    parts = coefficients.view(np.float64)
    # Not by the BLAS: its threads would go on spinning beside those of the transforms.
    return float(2 * np.einsum("cmk,cmk->", parts, parts) - np.einsum("ck,ck->", parts[:, 0], parts[:, 0]))


def _fit(sums: _Sums, values: Floats, grid: RingGrid, spin: int, tolerance: float) -> Complexes:
    """Coefficients up to ``grid.lmax`` whose values are nearest, (component, order, degree)."""
    lmax = grid.lmax
    weights = np.repeat(grid.weights / grid.ring_sizes, grid.ring_sizes)
    found = sums.project(values, spin, lmax)
    rest = values - sums.values(found, spin)
    slope = sums.project(rest, spin, lmax)
    along, size = slope, _square(slope)
    for _ in range(_STEPS):
        if not size > tolerance**2 * _square(found):  # also if the field holds a NaN
            break
        change = sums.values(along, spin)
        step = size / float(np.einsum("cp,cp,p->", change, change, weights))
        found += step * along
        change *= step
        rest -= change
        slope = sums.project(rest, spin, lmax)
        before, size = size, _square(slope)
        if size >= before:  # rounding
            break
        along *= size / before
        along += slope
    return found


def _analyse(fields: tuple[Floats, ...], grid: RingGrid, lmax: int, engine: str) -> Complexes:
    """Coefficients (..., component, degree, order) of a scalar or of the pair (southward, eastward)."""
    lead, dtype = fields[0].shape[:-1], fields[0].dtype
    out = np.zeros((*lead, len(fields), lmax + 1, lmax + 1), np.result_type(dtype, np.complex64))
    order = slice(None) if grid.ring_order is None else grid.ring_order
    with _sums(grid, engine) as sums:
        for index in np.ndindex(*lead):
            values = np.stack([x[index][order] for x in fields]).astype(np.float64, copy=False)
            fit = _fit(sums, values, grid, len(fields) - 1, _TOLERANCE[str(dtype)])
            out[index] = fit[:, : lmax + 1, : lmax + 1]
    return np.swapaxes(out, -1, -2)


def _synthesise(components: tuple[Complexes, ...], grid: RingGrid, engine: str) -> Floats:
    """Values (component, ..., npoints) from coefficients (..., degree, order) of each component."""
    lead, dtype = components[0].shape[:-2], components[0].real.dtype
    out = np.empty((len(components), *lead, grid.npoints), dtype)
    order = slice(None) if grid.ring_order is None else grid.ring_order
    with _sums(grid, engine) as sums:
        for index in np.ndindex(*lead):
            one = np.stack([np.swapaxes(x[index], -1, -2) for x in components])
            out[(slice(None), *index, order)] = sums.values(np.ascontiguousarray(one), len(components) - 1)
    return out


def analysis(field: Floats, grid: RingGrid, lmax: int, engine: str) -> Complexes:
    """See `xatmo.spectral._kernels.analysis`."""
    out: Complexes = _analyse((field,), grid, lmax, engine)[..., 0, :, :]
    return out


def synthesis(coefficients: Complexes, grid: RingGrid, engine: str) -> Floats:
    """See `xatmo.spectral._kernels.synthesis`."""
    out: Floats = _synthesise((coefficients,), grid, engine)[0]
    return out


def analysis_vector(u: Floats, v: Floats, grid: RingGrid, lmax: int, engine: str) -> tuple[Complexes, Complexes]:
    """See `xatmo.spectral._kernels.analysis_vector`."""
    both = _analyse((-v, u), grid, lmax, engine)
    return both[..., 1, :, :], both[..., 0, :, :]


def synthesis_vector(rotational: Complexes, divergent: Complexes, grid: RingGrid, engine: str) -> tuple[Floats, Floats]:
    """See `xatmo.spectral._kernels.synthesis_vector`."""
    if rotational.shape[-1] == 1:  # a constant is no vector
        zero = np.zeros((*rotational.shape[:-2], grid.npoints), rotational.real.dtype)
        return zero, zero.copy()
    south, east = _synthesise((divergent, rotational), grid, engine)
    return east, -south
