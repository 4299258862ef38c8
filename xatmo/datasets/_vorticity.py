"""The barotropic vorticity equation in spectral space: plain arrays, no labels.

The state is the vorticity's coefficients, ``(truncation + 1, truncation + 1)``, axes (degree, order), in the convention
of `xatmo.spectral`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION
from xatmo.grids import Grid
from xatmo.spectral import _kernels
from xatmo.typing import Complexes, Floats, SpectralEngine


@dataclass(frozen=True)
class Forcing:
    """Stirring at random in a band of degrees, at a steady mean rate.

    Attributes
    ----------
    degrees : (int, int)
        First and last degree that are stirred; every order alike.
    rate : float
        Energy that enters per mass and time, m2 s-3.
    memory : float
        Time over which a stirring pattern is forgotten, in seconds (Ornstein-Uhlenbeck); 0 for white noise.
    """

    degrees: tuple[int, int] = (8, 14)
    rate: float = 1e-4
    memory: float = 21600.0


@dataclass(frozen=True)
class Damping:
    """Drag on the largest waves, which stops their growth, and hyperdiffusion of the smallest.

    Drag on every degree, or hyperdiffusion that reaches far up the spectrum, steepens it: the enstrophy that the
    stirring brings has to pass unhindered to the smallest scales for a slope near -3.

    Attributes
    ----------
    drag_degree : int
        Highest degree that feels the drag.
    drag_time : float
        In which drag takes a wave to 1/e of its amplitude, in seconds.
    diffusion_time : float
        The same for hyperdiffusion at the truncation.
    diffusion_order : int
        Power of the Laplacian.
    """

    drag_degree: int = 7
    drag_time: float = 864000.0
    diffusion_time: float = 10800.0
    diffusion_order: int = 8


@dataclass(frozen=True)
class VorticityEquation:
    """d zeta/dt = -div(V zeta) - beta v + forcing - damping, on a sphere, dealiased.

    Products are formed on a Gaussian grid that resolves three times the truncation in longitude, so that nothing folds
    back. The linear terms (Rossby waves, damping) are integrated exactly, the advection by fourth-order Runge-Kutta.

    Attributes
    ----------
    truncation : int
        Highest degree and order.
    time_step : float
        In seconds.
    forcing, damping : Forcing or None, Damping or None
    rotation, radius : float
        Angular velocity in s-1 and radius in m.
    engine : {"ducc0", "torch"}, optional
    """

    truncation: int
    time_step: float
    forcing: Forcing | None = field(default_factory=Forcing)
    damping: Damping | None = field(default_factory=Damping)
    rotation: float = EARTH_ROTATION
    radius: float = EARTH_RADIUS
    engine: SpectralEngine | None = None

    # ------------------------------------------------------------------ constants
    @cached_property
    def grid(self) -> Grid:
        """Grid on which products are formed."""
        return product_grid(self.truncation)

    @cached_property
    def scale(self) -> Floats:
        """sqrt(n (n + 1)) / radius as a column; infinite for degree 0, whose vorticity is always 0."""
        scale = np.array(_kernels.derivative_factor(self.truncation, self.radius))
        scale[0] = np.inf
        return scale[:, None]

    @cached_property
    def triangle(self) -> Floats:
        """1 where order <= degree and degree > 0."""
        ones = np.tril(np.ones((self.truncation + 1, self.truncation + 1)))
        ones[0] = 0
        return np.asfortranarray(ones)

    @cached_property
    def rates(self) -> Complexes:
        """Growth of each coefficient by the linear terms, s-1."""
        n = np.arange(self.truncation + 1.0)[:, None]
        m = np.arange(self.truncation + 1.0)[None, :]
        laplacian = np.maximum(n * (n + 1), 1)
        rates = 2j * self.rotation * m / laplacian
        if self.damping is not None:
            top = self.truncation * (self.truncation + 1)
            rates = rates - (laplacian / top) ** self.damping.diffusion_order / self.damping.diffusion_time
            rates = rates - np.where(n <= self.damping.drag_degree, 1 / self.damping.drag_time, 0)
        return np.asfortranarray(rates * self.triangle)

    @cached_property
    def _factors(self) -> tuple[Complexes, Complexes]:
        return np.exp(self.rates * self.time_step), np.exp(self.rates * self.time_step / 2)

    @cached_property
    def _amplitude(self) -> float:
        """Size of the vorticity noise that brings in energy at the wanted rate."""
        if self.forcing is None:
            return 0.0
        first, last = self.forcing.degrees
        n = np.arange(first, last + 1)
        # Each degree has 2 n + 1 real components of unit variance; energy is half the square over n (n + 1) / a^2.
        per_unit = 0.5 * np.sum((2 * n + 1) / self.scale[n, 0] ** 2)
        return float(np.sqrt(self.forcing.rate / per_unit))

    # ------------------------------------------------------------------ dynamics
    def winds(self, state: Complexes, grid: Grid | None = None) -> tuple[Floats, Floats]:
        """Eastward and northward wind in m s-1, on the equation's own grid unless another is given."""
        rotational = state / self.scale
        return _kernels.synthesis_vector(rotational, np.zeros_like(rotational), grid or self.grid, self.engine)

    def tendency(self, state: Complexes) -> Complexes:
        """Advection of relative vorticity, -div(V zeta), in s-2."""
        vorticity = _kernels.synthesis(state, self.grid, self.engine)
        u, v = self.winds(state)
        u *= vorticity
        v *= vorticity
        _, divergent = _kernels.analysis_vector(u, v, self.grid, self.truncation, self.engine)
        return np.asarray(-divergent[: self.truncation + 1] * np.where(np.isinf(self.scale), 0, self.scale))

    def advance(self, state: Complexes) -> Complexes:
        """One step without forcing: Runge-Kutta in the frame that moves with the linear solution."""
        h, (whole, half) = self.time_step, self._factors
        k1 = self.tendency(state)
        middle = half * state
        k2 = self.tendency(middle + (h / 2) * half * k1)
        k3 = self.tendency(middle + (h / 2) * k2)
        k4 = self.tendency(whole * state + h * half * k3)
        return np.asarray(whole * (state + (h / 6) * k1) + (h / 3) * half * (k2 + k3) + (h / 6) * k4)

    def noise(self, generator: np.random.Generator, degrees: tuple[int, int]) -> Complexes:
        """Draw coefficients of unit mean square in a band; the same ones for every truncation."""
        return noise(self.truncation, generator, degrees)

    def run(self, state: Complexes, steps: int, generator: np.random.Generator, stirring: Complexes | None) -> Any:
        """Take some steps; returns the new state and the new stirring pattern."""
        h = self.time_step
        for _ in range(steps):
            state = self.advance(state)
            if self.forcing is None:
                continue
            fresh = self.noise(generator, self.forcing.degrees)
            if self.forcing.memory:
                # The pattern's integral over time has the spread of white noise of the same rate.
                keep = np.exp(-h / self.forcing.memory)
                stirring = fresh if stirring is None else keep * stirring + np.sqrt(1 - keep**2) * fresh
                state = state + self._amplitude * h / np.sqrt(2 * self.forcing.memory) * stirring
            else:
                state = state + self._amplitude * np.sqrt(h) * fresh
        return state, stirring

    def start(self, generator: np.random.Generator, speed: float) -> Complexes:
        """Draw a state with about the spectrum that the flow keeps: flat to degree 7, then falling as n^-4."""
        n = np.arange(self.truncation + 1.0)
        energy = np.where(n > 0, 1 / (1 + (n / 8) ** 4), 0)
        energy *= 0.5 * speed**2 / energy.sum()
        draw = self.noise(generator, (1, self.truncation))
        size = np.sqrt(2 * energy / (2 * n + 1))[:, None] * np.where(np.isinf(self.scale), 0, self.scale)
        return np.asfortranarray(draw * size)

    # ------------------------------------------------------------------ diagnostics
    def energy_spectrum(self, state: Complexes) -> Floats:
        """Kinetic energy by degree, m2 s-2; sums to the area mean of (u^2 + v^2) / 2."""
        return 0.5 * _kernels.power(state / self.scale)

    def enstrophy(self, state: Complexes) -> float:
        """Area mean of zeta^2 / 2, s-2."""
        return float(0.5 * _kernels.power(state).sum())


def noise(truncation: int, generator: np.random.Generator, degrees: tuple[int, int]) -> Complexes:
    """Draw coefficients of unit mean square in a band of degrees; the same ones for every truncation."""
    first, last = degrees
    out = np.zeros((truncation + 1, truncation + 1), dtype=np.complex128, order="F")
    for n in range(first, last + 1):
        draw = generator.normal(size=(2, n + 1)) * np.sqrt(0.5)
        values = draw[0] + 1j * draw[1]
        values[0] = draw[0, 0] * np.sqrt(2)
        if n <= truncation:
            out[n, : n + 1] = values
    return out


def product_grid(truncation: int) -> Grid:
    """Gaussian grid on which products of two fields of this truncation are formed without folding back."""
    nlat = next(n for n in range((3 * truncation + 2) // 2, 10**6) if _smooth(2 * n))
    return Grid.gaussian(nlat)


def _smooth(n: int) -> bool:
    """Whether a length has no prime factor above 5: quick to transform."""
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1
