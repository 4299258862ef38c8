"""Random waves that travel and change, as a function of absolute time and place: kernels of the generated weather.

Any instant can be evaluated by itself: amplitudes are splines through random numbers that belong to fixed knots of the
time axis, so two requests that overlap agree, and a long period can be made piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from xatmo.typing import Floats

_KNOTS: Final = 64  # of a block, drawn together
_ORIGIN: Final = 2**31  # number of the block at the epoch, so that none is negative
_DEGREE: Final = 111.2  # km
_LATITUDE: Final = 46.5  # where degrees of longitude have their width

Names = tuple[int, ...]
"""Numbers that seed a stream of random numbers."""


def spline_noise(hours: Floats, spacing: float, n: int, name: Names) -> Floats:
    """Independent smooth random series of unit variance, ``(time, n)``.

    Cubic B-splines through normal numbers at the multiples of ``spacing``, divided by their standard deviation at each
    time. The correlation falls to a half within about 1.2 spacings, and is zero after four.

    Parameters
    ----------
    hours : array (time)
        Since the epoch.
    spacing : float
        Hours between knots.
    n : int
        Series.
    name : tuple of int
        Of the stream: seed and what it is for.
    """
    at = np.asarray(hours, dtype=np.float64) / spacing
    knot = np.floor(at).astype(np.int64)
    x = at - knot
    weight = np.stack([(1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, -3 * x**3 + 3 * x**2 + 3 * x + 1, x**3], -1)
    weight /= np.sqrt((weight**2).sum(-1, keepdims=True))
    first, last = (knot.min() - 1) // _KNOTS, (knot.max() + 2) // _KNOTS
    drawn = np.concatenate(
        [
            np.random.default_rng([*name, block + _ORIGIN]).standard_normal((_KNOTS, n))
            for block in range(first, last + 1)
        ]
    )
    row = knot - first * _KNOTS
    out = np.zeros((at.size, n))
    for k in range(4):
        out += weight[:, k, None] * drawn[row + (k - 1)]
    return out


@dataclass(frozen=True)
class Band:
    """Waves of like length: a Gaussian field of unit variance that is carried along and slowly changes.

    Attributes
    ----------
    shortest, longest : float
        Wavelengths in km.
    slope : float
        Spectrum of the variance by wavenumber is ``k^slope``.
    memory : float
        Hours between the knots of the amplitudes, see `spline_noise`.
    n_waves : int
    name : tuple of int
        Of its random numbers.
    """

    shortest: float
    longest: float
    slope: float
    memory: float
    n_waves: int
    name: Names

    def waves(self) -> tuple[Floats, Floats, Floats]:
        """Wave vectors ``(wave, 2)`` in rad km-1 (eastward, northward), amplitudes, and phase speed over the mean."""
        rng = np.random.default_rng([*self.name, 0])
        share = (np.arange(self.n_waves) + rng.uniform(size=self.n_waves)) / self.n_waves
        length = (
            self.longest * (self.shortest / self.longest) ** share
        )  # evenly by the logarithm, in shuffled directions
        number = 2 * np.pi / length
        # Few directions would show as stripes: they go round in golden sections.
        heading = np.pi * (rng.uniform() + np.arange(self.n_waves) * 0.6180339887498949 * 2)
        vector = number[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        variance = number ** (self.slope + 1)  # of a logarithmic interval
        speed = 1 + 0.25 * rng.standard_normal(self.n_waves)
        return vector, np.sqrt(variance / variance.sum()), speed

    def basis(self, lat: Floats, lon: Floats) -> Floats:
        """Cosines and sines of the waves at the points, ``(2 wave, lat lon)``, with their amplitudes."""
        vector, amplitude, _ = self.waves()
        x, y = place(lat, lon)
        phase = vector[:, 0, None, None] * x + vector[:, 1, None, None] * y[:, None]
        both = np.concatenate([np.cos(phase), np.sin(phase)]) * np.tile(amplitude, 2)[:, None, None]
        return both.reshape(2 * self.n_waves, -1).astype(np.float32)

    def field(self, hours: Floats, carried: Floats, mean_wind: Floats, basis: Floats) -> Floats:
        """Values ``(time, lat lon)``.

        Parameters
        ----------
        hours : array (time)
            Since the epoch.
        carried : array (time, 2)
            How far changes of the wind have carried everything, km.
        mean_wind : array (2)
            km per hour; each wave moves a little faster or slower than it.
        basis : array (2 wave, lat lon)
        """
        vector, _, speed = self.waves()
        phase = np.outer(hours, speed * (vector @ mean_wind)) + carried @ vector.T
        a, b = np.split(spline_noise(hours, self.memory, 2 * self.n_waves, (*self.name, 1)), 2, axis=1)
        cosine, sine = np.cos(phase), np.sin(phase)
        amplitudes = np.concatenate([a * cosine - b * sine, a * sine + b * cosine], axis=1)
        return np.asarray(amplitudes.astype(np.float32) @ basis)


def place(lat: Floats, lon: Floats) -> tuple[Floats, Floats]:
    """Eastward and northward position in km on a plane, longitudes from -180 to 180."""
    east = (np.asarray(lon, dtype=np.float64) + 180) % 360 - 180
    return east * (_DEGREE * np.cos(np.deg2rad(_LATITUDE))), np.asarray(lat, dtype=np.float64) * _DEGREE


# ---------------------------------------------------------------------- the sun
def declination(day: Floats) -> Floats:
    """Declination of the sun in radians, by the day of the year (0 is the start of 1 January)."""
    return np.asarray(-np.deg2rad(23.44) * np.cos(2 * np.pi * (day + 10) / 365.25))


def insolation_harmonics(lat: Floats, declined: Floats, n: int = 4) -> Floats:
    """Fourier coefficients of the sun's height by the hour angle h, closed forms, ``(n + 1, time, lat)``.

    ``max(sin(lat) sin(d) + cos(lat) cos(d) cos(h), 0) = c_0 + sum c_k cos(k h)``.

    Parameters
    ----------
    lat : array (lat)
        Degrees north.
    declined : array (time)
        Declination d, radians.
    n : int
        Highest harmonic.
    """
    phi, delta = np.deg2rad(lat)[None, :], declined[:, None]
    a, b = np.sin(phi) * np.sin(delta), np.cos(phi) * np.cos(delta)
    half = np.arccos(np.clip(-a / np.maximum(b, 1e-12), -1, 1))  # half of the day
    out = [(a * half + b * np.sin(half)) / np.pi]
    out.append(2 / np.pi * (a * np.sin(half) + b * (half / 2 + np.sin(2 * half) / 4)))
    for k in range(2, n + 1):
        edges = np.sin((k - 1) * half) / (k - 1) + np.sin((k + 1) * half) / (k + 1)
        out.append(2 / np.pi * (a * np.sin(k * half) / k + b / 2 * edges))
    return np.stack(out)


def daily_response(
    hours_of_day: Floats, lat: Floats, lon: Floats, declined: Floats, relaxation: float, n: int = 4
) -> Floats:
    """Departure from the day's mean of what the sun heats and what relaxes within ``relaxation`` hours.

    Solves ``dT/dt = (s(h) - T) / relaxation`` for the sun's height s, harmonic by harmonic; the mean is left out.

    Parameters
    ----------
    hours_of_day : array (time)
        UTC; local solar time is that plus longitude / 15 degrees.
    lat, lon : array
    declined : array (time)
    relaxation : float
        Hours.
    n : int
        Highest harmonic.

    Returns
    -------
    array (time, lat, lon), float32
    """
    coefficient = insolation_harmonics(lat, declined, n)
    angle = 2 * np.pi * ((hours_of_day[:, None] - 12) / 24 + lon[None, :] / 360)  # (time, lon)
    out = np.zeros((declined.size, lat.size, lon.size), np.float32)
    for k in range(1, n + 1):
        answer = np.exp(1j * k * angle) / (1 + 1j * k * 2 * np.pi / 24 * relaxation)
        out += coefficient[k][:, :, None].astype(np.float32) * answer.real[:, None, :].astype(np.float32)
    return out
