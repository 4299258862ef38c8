"""Spectra of plane boxes and of latitude circles, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.typing import Floats


def detrend(field: Any) -> Any:
    """Subtract the least-squares plane from the last two axes.

    Examples
    --------
    >>> y, x = np.mgrid[0:4, 0:5]
    >>> bool(abs(detrend(2.0 + 3 * y - x)).max() < 1e-12)
    True
    """
    ny, nx = field.shape[-2:]
    y, x = np.arange(ny) - (ny - 1) / 2, np.arange(nx) - (nx - 1) / 2
    mean = field.mean(axis=(-2, -1), keepdims=True)
    slope_y = np.tensordot(field.mean(axis=-1), y, axes=(-1, 0))[..., None, None] / (y**2).sum()
    slope_x = np.tensordot(field.mean(axis=-2), x, axes=(-1, 0))[..., None, None] / (x**2).sum()
    return field - (mean + slope_y * y[:, None] + slope_x * x)


@dataclass(frozen=True)
class Box:
    """A plane box of ``(ny, nx)`` points, ``dy`` and ``dx`` metres apart, and its rings of wavenumbers.

    Steps may be negative, where rows run southward.

    Wavenumbers are cycles per metre; ring j holds those whose length rounds to j times `step`, the coarser of the two
    axes' resolutions, so that no ring is empty.
    """

    ny: int
    nx: int
    dy: float
    dx: float

    @property
    def step(self) -> float:
        """Width of a ring, in cycles per metre."""
        return max(1 / (self.ny * abs(self.dy)), 1 / (self.nx * abs(self.dx)))

    @cached_property
    def _waves(self) -> tuple[Floats, Floats]:
        ky = np.fft.fftfreq(self.ny, self.dy)
        if self.ny % 2 == 0:  # the shortest wave runs either way: the same one for rows in either order
            ky[self.ny // 2] = -abs(ky[self.ny // 2])
        return ky[:, None], np.fft.rfftfreq(self.nx, self.dx)[None, :]

    @cached_property
    def _ring(self) -> NDArray[np.intp]:
        return np.rint(np.hypot(*self._waves) / self.step).astype(np.intp)

    @cached_property
    def size(self) -> int:
        """Number of rings, to the corners of the wavenumber plane."""
        return int(self._ring.max()) + 1

    @property
    def wavenumber(self) -> Floats:
        """Middle of every ring in cycles per metre."""
        return np.asarray(np.arange(self.size) * self.step)

    @property
    def whole(self) -> float:
        """Shortest wave's wavenumber, on the axis of the wider step: beyond it rings hold corners of the plane only."""
        return min(0.5 / abs(self.dy), 0.5 / abs(self.dx))

    @cached_property
    def window(self) -> Floats:
        """Hann window over both axes, ``(ny, nx)``, without its zero ends."""
        y, x = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (self.ny, self.nx))
        return np.asarray(np.outer(y, x))

    def transform(self, field: Any) -> Any:
        """Fourier coefficients of the detrended, tapered field; their squares sum to its weighted mean square."""
        scale = 1 / (self.ny * self.nx * np.sqrt(np.mean(self.window**2)))
        return np.fft.rfft2(detrend(np.asarray(field, dtype=np.float64)) * self.window) * scale

    def by_ring(self, square: Any) -> Floats:
        """Sum squares over rings, ``(..., ny, nx // 2 + 1)`` to ``(..., size)``."""
        twice = np.full(square.shape[-1], 2.0)  # the half of the plane that is not held
        twice[0] = 1
        if self.nx % 2 == 0:
            twice[-1] = 1
        flat = (square * twice).reshape(-1, self._ring.size)
        rings = self._ring.ravel()
        out: Floats = np.empty((len(flat), self.size))
        for index, row in enumerate(flat):
            out[index] = np.bincount(rings, row, self.size)
        return out.reshape(*square.shape[:-2], self.size)

    def power(self, field: Any) -> Floats:
        """Power by ring, ``(..., size)``: sums to ``sum(window**2 * f**2) / sum(window**2)`` of the detrended f."""
        return self.by_ring(np.abs(self.transform(field)) ** 2)

    def kinetic(self, u: Any, v: Any) -> tuple[Floats, Floats, Floats]:
        """Kinetic energy by ring, and its rotational and divergent parts (wind across and along the wavenumber)."""
        east, north = self.transform(u), self.transform(v)
        energy = self.by_ring((np.abs(east) ** 2 + np.abs(north) ** 2) / 2)
        across, along = (self.by_ring(np.abs(part) ** 2 / 2) for part in self.split(east, north))
        return energy, across, along

    def split(self, east: Any, north: Any) -> tuple[Any, Any]:
        """Parts of the Fourier coefficients of a wind across (rotational) and along (divergent) the wavenumber."""
        ky, kx = self._waves
        length = np.hypot(ky, kx)
        length[0, 0] = np.inf  # a uniform wind belongs to neither
        return (kx * north - ky * east) / length, (kx * east + ky * north) / length


def zonal_power(field: Any) -> Floats:
    """Power by zonal wavenumber, ``(..., nlon // 2 + 1)``: sums to the mean square of every latitude circle.

    Examples
    --------
    >>> zonal_power(2 * np.cos(np.arange(8) * np.pi / 4))
    array([0., 2., 0., 0., 0.])
    """
    n = field.shape[-1]
    power = np.abs(np.fft.rfft(np.asarray(field, dtype=np.float64), norm="forward")) ** 2
    power[..., 1 : (n + 1) // 2] *= 2
    return np.asarray(power)
