"""Power of fields on (time, longitude) by frequency and signed zonal wavenumber, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.typing import Floats

DETRENDS = ("linear", "mean", None)
YEAR = 365.2425
"""Days in a year of the Gregorian calendar."""


def taper_window(length: int, fraction: float) -> Floats:
    """Ones with a cosine bell at either end, ``(length,)``, positive everywhere: a Tukey window.

    ``fraction`` is the part of the points that is tapered, both ends together: 0 leaves all, 1 makes a Hann window.

    Examples
    --------
    >>> taper_window(8, 0.5)
    array([0.14644661, 0.85355339, 1. , 1. , 1. , 1. , 0.85355339, 0.14644661])
    """
    end = fraction * length / 2
    if end == 0:
        return np.ones(length)
    near = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.asarray((1 - np.cos(np.pi * np.minimum(near / end, 1))) / 2)


def segment_starts(count: int, length: int, overlap: int) -> tuple[int, ...]:
    """First index of each segment; the last one is shifted back to end with the series, so that no time is lost.

    Examples
    --------
    >>> segment_starts(10, 4, 2), segment_starts(11, 4, 2)
    ((0, 2, 4, 6), (0, 2, 4, 6, 7))
    """
    starts = list(range(0, count - length + 1, length - overlap))
    if starts[-1] + length < count:
        starts.append(count - length)
    return tuple(starts)


@dataclass(frozen=True)
class SpaceTime:
    """How a series of rows becomes power by frequency and wavenumber; all a block has to know.

    Attributes
    ----------
    nlon : int
        Points along longitude.
    length : int
        Times in a segment.
    step : float
        Days between times.
    starts : tuple of int
        First time of each segment.
    taper : float
        Part of a segment that is tapered in time.
    detrend : {"linear", "mean", None}
        What is removed from each segment at each point.
    harmonics : int
        Harmonics of the year removed from the whole series at each point.
    periodic : bool
        Whether rows are whole circles; others are tapered with a Hann window along longitude.
    """

    nlon: int
    length: int
    step: float
    starts: tuple[int, ...]
    taper: float
    detrend: str | None
    harmonics: int
    periodic: bool

    @property
    def frequency(self) -> Floats:
        """Cycles per day from 0, ``(length // 2 + 1,)``."""
        return np.asarray(np.fft.rfftfreq(self.length, self.step))

    @property
    def number(self) -> NDArray[np.signedinteger[Any]]:
        """Waves along the row, positive eastward, from ``-(nlon // 2)`` to ``nlon // 2``."""
        return np.arange(-(self.nlon // 2), self.nlon // 2 + 1)

    @cached_property
    def _window(self) -> Floats:
        in_time = taper_window(self.length, self.taper)
        along = np.ones(self.nlon) if self.periodic else taper_window(self.nlon, 1.0)
        return np.asarray(np.outer(in_time, along))

    def power(self, field: Any) -> Floats:
        """Power of ``field`` (..., time, nlon), averaged over segments: (..., frequency, number).

        Sums to the mean square of what is left after removing harmonics and trend, weighted with the squared window.
        A wave ``cos(k lon - omega t)``, which travels east, stands at ``number = k``. With an even number of points
        the shortest wave along longitude has no direction: its power is halved between both ends.
        """
        out: Floats = np.zeros((*field.shape[:-2], self.frequency.size, self.number.size))
        for index in np.ndindex(*field.shape[:-2]):
            series = np.asarray(field[index], dtype=np.float64)
            if self.harmonics:
                series = self._without_year(series)
            for start in self.starts:
                out[index] += self._one(series[start : start + self.length])
        return out / len(self.starts)

    def _one(self, segment: Any) -> Floats:
        scale = 1 / (self.length * self.nlon * np.sqrt(np.mean(self._window**2)))
        # The transform over time is the conjugate of the one that waves travelling east need, so wavenumbers change
        # their sign.
        spectrum = np.fft.fft(np.fft.rfft(_detrended(segment, self.detrend) * self._window, axis=0), axis=1) * scale
        square = spectrum.real**2 + spectrum.imag**2
        square[1 : (self.length + 1) // 2] *= 2  # negative frequencies, which are not held
        power = square[:, -self.number % self.nlon]
        if self.nlon % 2 == 0:
            power[:, [0, -1]] /= 2
        return np.asarray(power)

    def _without_year(self, series: Any) -> Any:
        """Subtract the first harmonics of the year, fitted together with mean and trend."""
        time = np.arange(len(series)) * self.step
        phase = 2 * np.pi * np.outer(time, np.arange(1, self.harmonics + 1)) / YEAR
        waves = np.hstack([np.cos(phase), np.sin(phase)])
        design = np.column_stack([np.ones(len(time)), time / time[-1] - 0.5, waves])
        fit = np.linalg.lstsq(design, series, rcond=None)[0]
        return series - waves @ fit[2:]


def _detrended(segment: Any, detrend: str | None) -> Any:
    if detrend is None:
        return segment
    segment = segment - segment.mean(axis=0)
    if detrend == "mean":
        return segment
    time = np.arange(len(segment)) - (len(segment) - 1) / 2
    return segment - np.outer(time, time @ segment) / (time @ time)


def smooth121(array: Any, axis: int, passes: int) -> Any:
    """Average neighbours with weights 1/4, 1/2, 1/4, again and again; ends count themselves as their neighbour.

    The sum along ``axis`` stays.

    Examples
    --------
    >>> smooth121(np.array([0.0, 0, 4, 0, 0]), 0, 1), smooth121(np.array([4.0, 0, 0]), 0, 1)
    (array([0., 1., 2., 1., 0.]), array([3., 1., 0.]))
    """
    array = np.moveaxis(np.asarray(array), axis, -1)
    for _ in range(passes):
        before = np.concatenate([array[..., :1], array[..., :-1]], axis=-1)
        after = np.concatenate([array[..., 1:], array[..., -1:]], axis=-1)
        array = (before + 2 * array + after) / 4
    return np.moveaxis(array, -1, axis)
