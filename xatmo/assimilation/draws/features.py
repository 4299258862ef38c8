r"""Random fields whose covariance is given, from random Fourier features: functions of place, time, seed and member.

.. math::
    s(x, t) = \sigma \sqrt{2 / M} \sum_{m=1}^M \cos(k_m \cdot x + \omega_m t + \varphi_m)

with phases drawn evenly and frequencies from the spectral density of the covariance (Bochner's theorem; Rahimi and
Recht 2007, NIPS 20). The mean over draws of :math:`s(x, t)\, s(x', t')` is the covariance, exactly, for any number M of
features; many of them make it Gaussian. There is no grid: tiles, tracks and windows of the same draw agree. On the
sphere x are the three coordinates of the chord, drift and anisotropy: see `xatmo.assimilation.covariance.frame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Frame, transform
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.covariance.matern import matern_scale

Array = NDArray[np.float64]

N_FEATURES = 1000
"""Features of a draw unless given."""
_BLOCK = 2_000_000  # phases that are held at once
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Features:
    """One draw.

    Attributes
    ----------
    wavenumber : array (feature, 3)
        Radians by unit of length, along the axes of the frame before it stretches and moves.
    frequency : array (feature,)
        Radians a second.
    phase : array (feature,)
    std : float
    frame : Frame

    Examples
    --------
    >>> frame = Frame("degrees", (0.0, 0.0))
    >>> draws = [Features.draw(Gaussian(2.0, 86400.0), frame, member=m, n_features=100) for m in range(1000)]
    >>> lat, lon, time = np.zeros(2), np.array([0.0, 2.0]), np.zeros(2)
    >>> made = np.array([draw.at(time, lat, lon) for draw in draws])
    >>> bool(np.abs(made.T @ made / 1000 - np.exp([[0, -1], [-1, 0]])).max() < 0.1)
    True
    """

    wavenumber: Array
    frequency: Array
    phase: Array
    std: float
    frame: Frame

    @classmethod
    def draw(
        cls,
        covariance: Gaussian | Matern,
        frame: Frame,
        *,
        seed: int = 0,
        member: int = 0,
        sample: Sequence[int] = (),
        n_features: int = N_FEATURES,
    ) -> Features:
        """Draw frequencies and phases.

        Parameters
        ----------
        covariance : Gaussian or Matern
        frame : Frame
            In which the covariance takes distances.
        seed, member : int
        sample : sequence of int
            Of a record of several independent ones. Each seed, member and sample gives another field.
        n_features : int
        """
        random = np.random.default_rng([0x5EA, seed, member, *sample])
        n = n_features
        normal = random.standard_normal((n, 3))
        if isinstance(covariance, Gaussian):
            wavenumber = normal * (np.sqrt(2) / covariance.length_scale)
            frequency = random.standard_normal(n) * (np.sqrt(2) / covariance.time_scale)
        else:  # a Student distribution of 2 nu degrees of freedom, and Cauchy's
            nu = covariance.nu
            scale = matern_scale(nu) / covariance.length_scale
            wavenumber = normal * (scale / np.sqrt(random.chisquare(2 * nu, n)))[:, None]
            frequency = random.standard_cauchy(n) / covariance.time_scale
        # k . S (p - v t) = (S k) . p - (S k . v) t, for S is symmetric.
        stretched = transform(wavenumber, 0.0, frame.shape, (0.0, 0.0))
        east, north = frame.drift
        frequency = frequency - stretched[:, 0] * east - stretched[:, 1] * north
        phase = random.uniform(0, 2 * np.pi, n)
        return cls(stretched, frequency, phase, covariance.signal_std, Frame(frame.metric, frame.centre))

    def __call__(self, time: Array, latitude: Array, longitude: Array) -> NDArray[np.float32]:
        """Give the field on nodes, ``(time, lat, lon)``; seconds, of one origin in all calls, and degrees."""
        lat, lon = (a.ravel() for a in np.meshgrid(latitude, longitude, indexing="ij"))
        angle = self.frequency * time[:, None] + self.phase
        factor = self.std * np.sqrt(2 / self.phase.size)
        # cos(a + b) = cos a cos b - sin a sin b: two products of matrices.
        in_time = (factor * np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)).astype(np.float32)
        out = np.empty((time.size, lat.size), dtype=np.float32)
        block = max(_BLOCK // self.phase.size, 1)
        for start in range(0, lat.size, block):
            part = slice(start, start + block)
            phase = self.wavenumber @ self.frame.axes(lat[part], lon[part]).T
            phase %= 2 * np.pi  # in double precision: a metre is a small part of the Earth
            small = phase.astype(np.float32)
            np.matmul(in_time, np.concatenate([np.cos(small), np.sin(small)]), out=out[:, part])
        return out.reshape(time.size, np.size(latitude), np.size(longitude))

    def at(self, time: Array, latitude: Array, longitude: Array) -> Array:
        """Give the field at points ``(n,)``, each with a time of its own."""
        out = np.empty(time.size)
        factor = self.std * np.sqrt(2 / self.phase.size)
        block = max(_BLOCK // self.phase.size, 1)
        for start in range(0, time.size, block):
            part = slice(start, start + block)
            place = self.frame.axes(latitude[part], longitude[part])
            angle = place @ self.wavenumber.T + time[part, None] * self.frequency + self.phase
            out[part] = factor * np.cos(angle).sum(axis=1)
        return out


def white_noise(
    time: Array, latitude: Array, longitude: Array, *, seed: int = 0, member: int = 0, sample: Sequence[int] = ()
) -> Array:
    """Give independent standard normal numbers that are functions of place, time and the other arguments.

    A hash of the coordinates (SplitMix64; to a millisecond and a hundred thousandth of a degree, longitudes going
    around), turned normal by Box and Muller's method. Arrays broadcast.

    Examples
    --------
    >>> one = white_noise(np.zeros(1), np.arange(40.0)[:, None], np.arange(50.0))
    >>> two = white_noise(np.zeros(1), np.arange(40.0)[3:5, None], np.arange(50.0) - 360)
    >>> bool((one[3:5] == two).all()), bool(abs(one.std() - 1) < 0.1)
    (True, True)
    """
    numbers: list[Any] = [np.asarray(x) for x in (seed, member, *sample)]
    numbers += [np.rint(np.asarray(time) * 1e3), np.rint(np.asarray(latitude) * 1e5)]
    numbers.append(np.rint(np.asarray(longitude) * 1e5) % 36_000_000)
    key = np.zeros(1, dtype=np.uint64)
    for number in numbers:
        key = _mix(key * _GOLDEN + np.atleast_1d(number).astype(np.int64).astype(np.uint64))
    first = ((key >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    second = (_mix(key + _GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.asarray(np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give well-mixed 64-bit numbers, different ones for different ones."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
