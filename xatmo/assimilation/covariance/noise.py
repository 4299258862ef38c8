"""Errors of observations: each its own, and what those of one pass have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrackError:
    """Error along a track: ``std^2 exp(-|t1 - t2| / memory)`` between observations of one pass, none between passes.

    Stands for what orbits, tides and corrections leave: a satellite crosses 1000 km in about 150 s.

    Attributes
    ----------
    std : float
        Standard deviation, in the unit of the observations.
    memory : float
        Seconds; infinite for one bias for each pass.

    Examples
    --------
    >>> TrackError(0.1, np.inf).covariance(np.array([1, 1]), np.array([1, 2]), np.array([0.0, 9.0])).round(3)
    array([0.01, 0.  ])
    """

    std: float
    memory: float

    def covariance(self, one: NDArray[np.intp], other: NDArray[np.intp], lag: Array) -> Array:
        """Covariance of errors, given the passes of both observations and the time between them; arrays broadcast."""
        return cast(Array, np.where(one == other, self.std**2 * np.exp(-np.abs(lag) / self.memory), 0.0))


@dataclass(frozen=True)
class Errors:
    """Covariance of the observations' errors.

    Attributes
    ----------
    variance : array (n,)
        Of the part that each observation has for itself.
    track : TrackError, optional
    passes : array (n,) of int, optional
        Number of the pass of each observation.
    """

    variance: Array
    track: TrackError | None = None
    passes: NDArray[np.intp] | None = None

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Errors:
        """Give those of some observations."""
        return Errors(self.variance[chosen], self.track, None if self.passes is None else self.passes[chosen])

    def add_to(self, matrix: Array, time: Array) -> None:
        """Add them to a covariance of observations ``(n, n)``, in place."""
        n = self.variance.size
        matrix[np.arange(n), np.arange(n)] += self.variance
        if self.track is None or self.passes is None:
            return
        # By passes: the matrix of all is large, what they share is not.
        order = np.argsort(self.passes, kind="stable")
        starts = np.flatnonzero(np.diff(self.passes[order], prepend=self.passes[order[:1]] - 1))
        for members in np.split(order, starts[1:]):
            lag = time[members, None] - time[members]
            same = np.zeros_like(lag, dtype=np.intp)
            matrix[np.ix_(members, members)] += self.track.covariance(same, same, lag)
