"""Covariances of distance and time lag. In each, the correlation is 1/e at the length scale and at the time scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance.matern import evolution_scale, matern, matern_scale
from xatmo.assimilation.spde.prior import SPDE
from xatmo.errors import OptionError

Array = NDArray[np.float64]

_N_DISTANCE, _FARTHEST = 400, 14.0
_N_WAVENUMBER, _SHORTEST = 1600, 120.0


class Covariance(Protocol):
    """What the interpolation asks of a covariance."""

    @property
    def signal_std(self) -> float:
        """Standard deviation."""
        ...

    def __call__(self, distance: Array, lag: Array) -> Array:
        """Covariance at a distance and a time lag, in the units of the scales; the arrays broadcast."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """``signal_std^2 exp(-(distance / length_scale)^2 - (lag / time_scale)^2)``.

    Examples
    --------
    >>> Gaussian(length_scale=1.0, time_scale=7.0)(np.array([0.0, 1.0]), np.array([0.0, 7.0]))
    array([1. , 0.13533528])
    """

    length_scale: float
    time_scale: float
    signal_std: float = 1.0

    def space(self, distance: Array) -> Array:
        """Correlation at a distance and no lag."""
        return cast(Array, np.exp(-((distance / self.length_scale) ** 2)))

    def time(self, lag: Array) -> Array:
        """Correlation at a lag and no distance."""
        return cast(Array, np.exp(-((lag / self.time_scale) ** 2)))

    def __call__(self, distance: Array, lag: Array) -> Array:
        """Covariance; the arrays broadcast."""
        return self.signal_std**2 * self.space(distance) * self.time(lag)


@dataclass(frozen=True)
class Matern:
    """Matern correlation of smoothness ``nu`` in space, exponential in time.

    ``signal_std^2 M_nu(x distance / length_scale) exp(-|lag| / time_scale)`` with
    ``M_nu(x) = x^nu K_nu(x) 2^(1-nu) / Gamma(nu)``, where x (1.658 for nu = 1) is such that the correlation at
    ``length_scale`` is 1/e, as it is in `Gaussian`.

    Examples
    --------
    >>> Matern(length_scale=1e5, time_scale=7.0)(np.array([0.0, 1e5]), np.array([7.0, 7.0]))
    array([0.36787944, 0.13533528])
    """

    length_scale: float
    time_scale: float
    signal_std: float = 1.0
    nu: float = 1.0

    def space(self, distance: Array) -> Array:
        """Correlation at a distance and no lag."""
        return cast(Array, matern(distance * (matern_scale(self.nu) / self.length_scale), self.nu))

    def time(self, lag: Array) -> Array:
        """Correlation at a lag and no distance."""
        return cast(Array, np.exp(-np.abs(lag) / self.time_scale))

    def __call__(self, distance: Array, lag: Array) -> Array:
        """Covariance; the arrays broadcast."""
        return self.signal_std**2 * self.space(distance) * self.time(lag)


@dataclass(frozen=True)
class Deviations:
    r"""Covariance of what is left when the mean over a period has been taken off at each place.

    ``signal_std^2 space(distance) (time(lag) - c)``, c being the variance of the best mean over the period of a field
    of unit variance, ``1 / (1^T K^-1 1)`` with the correlations K of its times; of an exponential correlation and long
    periods P this is ``2 time_scale / (P + 2 time_scale)``. Exact for that mean; of what the plain one takes from the
    time scale it gives back the larger part. A period
    of two time scales takes half of the variance away, and what is left seems to be forgotten sooner. Lags longer than
    the period are those of another one: nothing correlates the two.

    Examples
    --------
    >>> left = Deviations(Matern(1.0, 20.0), 40.0)
    >>> left(np.zeros(2), np.array([0.0, 20.0])).round(2)
    array([ 0.5 , -0.13])
    """

    whole: Gaussian | Matern
    period: float

    @property
    def signal_std(self) -> float:
        """Standard deviation of what is left."""
        return self.whole.signal_std * float(np.sqrt(1 - self._lost))

    @property
    def _lost(self) -> float:
        return _variance_of_mean(isinstance(self.whole, Gaussian), self.period / self.whole.time_scale)

    def __call__(self, distance: Array, lag: Array) -> Array:
        """Covariance; the arrays broadcast."""
        time = np.where(np.abs(lag) <= self.period, self.whole.time(lag) - self._lost, 0.0)
        return self.whole.signal_std**2 * self.whole.space(distance) * time


_N_TIMES, _ROUNDING = 128, 1e-6


@lru_cache(maxsize=256)
def _variance_of_mean(smooth: bool, span: float) -> float:
    """Variance of the best mean over ``span`` time scales."""
    time = np.linspace(0, span, _N_TIMES)
    matrix = (Gaussian if smooth else Matern)(1.0, 1.0).time(time[:, None] - time) + _ROUNDING * np.eye(_N_TIMES)
    return 1 / float(np.linalg.solve(matrix, np.ones(_N_TIMES)).sum())


@dataclass(frozen=True)
class Diffusion:
    """Covariance of `xatmo.assimilation.SPDE` on an unbounded plane, continuous in space: not separable.

    The stationary spectrum of the implicit Euler steps and their decay, transformed by Hankel's integral and kept as a
    table of distances. Lags are counted in ``time_step``.

    Examples
    --------
    >>> smooth = Diffusion(length_scale=1e5, time_scale=7.0, time_step=1.0, substeps=64)
    >>> smooth(np.array([0.0, 1e5, 0.0]), np.array([0.0, 0.0, 7.0])).round(1)
    array([1. , 0.4, 0.4])
    """

    length_scale: float
    time_scale: float
    signal_std: float = 1.0
    time_step: float = 1.0
    alpha: int = 4
    substeps: int = 1

    def __call__(self, distance: Array, lag: Array) -> Array:
        """Covariance; the arrays broadcast; lags are rounded to whole steps."""
        steps = np.rint(np.abs(lag) * (1 / self.time_step)).astype(np.intp)
        scale = matern_scale(self.alpha / 2 - 1) / self.length_scale
        place = np.sqrt(np.asarray(distance) * (scale * (_N_DISTANCE - 1) ** 2 / _FARTHEST))
        below = np.minimum(place.astype(np.intp), _N_DISTANCE - 2)
        part = np.minimum(place - below, 1.0)
        rate = self.time_step / self.substeps * evolution_scale(self.alpha) / self.time_scale
        flat = _diffusion_table(rate, self.alpha, self.substeps, int(steps.max(initial=0))).reshape(-1)
        start = steps * _N_DISTANCE + below
        near = flat[start]
        return cast(Array, self.signal_std**2 * (near + (flat[start + 1] - near) * part))


@lru_cache(maxsize=16)
def _diffusion_table(rate: float, alpha: int, substeps: int, lags: int) -> Array:
    """Correlations (lag, distance) at lags 0 to ``lags``; ``rate`` is the damping over one Euler step."""
    wavenumber, weight, bessel = _hankel()
    rates = rate * (1 + wavenumber**2) ** (alpha // 2)
    density = weight / (rates * (2 + rates))
    weights = np.empty((lags + 1, wavenumber.size))
    weights[0] = density / density.sum()
    decay = (1 + rates) ** -substeps
    for lag in range(1, lags + 1):
        weights[lag] = weights[lag - 1] * decay
    return weights @ bessel.T


@lru_cache(maxsize=1)
def _hankel() -> tuple[Array, Array, Array]:
    """Wavenumbers, quadrature weights (trapezoid, times the wavenumber) and J0 at the distances of the table."""
    from scipy.special import j0

    s = np.linspace(0, 1, _N_WAVENUMBER)
    wavenumber = _SHORTEST * s**2
    weight = np.gradient(wavenumber) * wavenumber
    distance = _FARTHEST * np.linspace(0, 1, _N_DISTANCE) ** 2
    return wavenumber, weight, j0(np.outer(distance, wavenumber))


def radial_covariance(prior: SPDE) -> Covariance:
    """Give the covariance of a prior on an unbounded plane, continuous in space."""
    p = prior
    if p.memory == "uniform":
        return Matern(p.length_scale, p.time_scale, p.signal_std, nu=p.alpha / 2 - 1)
    return Diffusion(p.length_scale, p.time_scale, p.signal_std, p.time_step, p.alpha, p.substeps)


def make(kind: str, **scales: Any) -> Covariance:
    """Make a covariance by name.

    Raises
    ------
    OptionError
        If the name is not known.
    """
    kinds: dict[str, Any] = {"gaussian": Gaussian, "matern": Matern, "spde": Diffusion}
    if kind not in kinds:
        message = f"covariance={kind!r} came; wanted one of {sorted(kinds)}"
        raise OptionError(message)
    return cast(Covariance, kinds[kind](**scales))
