"""The shallow-water equations on the sphere in spectral space: plain arrays, no labels.

The state is ``(3, truncation + 1, truncation + 1)``: the rotational and the divergent wind, as coefficients in m s-1
(`xatmo.spectral._kernels.analysis_vector`), and the departure of the depth's geopotential from its mean, divided by the
speed of long gravity waves ``c = sqrt(g H)``. In these units half the sum of squares is the energy of linear waves, and
gravity waves are a plain turning of the last two by the angle ``c sqrt(n (n + 1)) / a`` per time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION
from xatmo.datasets._vorticity import Damping, Forcing, noise, product_grid
from xatmo.grids import Grid
from xatmo.spectral import _kernels
from xatmo.typing import Complexes, Floats, SpectralEngine

ROTATIONAL, DIVERGENT, HEIGHT = range(3)


@dataclass(frozen=True)
class Relaxation:
    """Pull of the depth towards that of two steady jets, as radiation pulls the atmosphere's temperature.

    The jets blow with ``speed * sin(2 latitude)**2``, in balance with the depth.

    Attributes
    ----------
    speed : float
        Wind of the jets at 45 degrees, m s-1.
    time : float
        In which a departure falls to 1/e, in seconds.
    """

    speed: float = 35.0
    time: float = 345600.0


@dataclass(frozen=True)
class LayerDamping(Damping):
    """Drag on the largest waves' wind, hyperdiffusion of the smallest, and decay of the divergence at every scale.

    The attributes of `Damping`, and:

    Attributes
    ----------
    drag_time : float
        Half of what it is there, since jets are driven all the time here.
    divergence_time : float or None
        In which the divergent wind decays to 1/e, in seconds; it bounds what gravity waves take up.
    """

    drag_time: float = 432000.0
    divergence_time: float | None = 21600.0


@dataclass(frozen=True)
class ShallowWaterEquations:
    """Vorticity, divergence and depth of one layer of fluid on the sphere, dealiased.

    ::

        d zeta/dt  = -div((zeta + f) V)
        d delta/dt = curl((zeta + f) V) - laplacian(phi + phi_surface + (u^2 + v^2) / 2)
        d phi/dt   = -div(phi V)

    with ``phi = g h``, and forcing and damping. Products are formed on a Gaussian grid that resolves three times the
    truncation in longitude. Time goes by exponential Runge-Kutta of fourth order [1]_: what is linear (gravity waves
    about the mean depth, damping) is exact, whatever the step, so gravity waves neither limit the step nor are slowed
    down by it, and a steady flow stays as it is. There is one time level, and no time filter.

    Attributes
    ----------
    truncation : int
        Highest degree and order.
    time_step : float
        In seconds.
    depth : float
        Mean geopotential of the depth, g H, in m2 s-2.
    forcing : Forcing or None
        Stirring of the vorticity, as energy of the wind.
    heating : Forcing or None
        Sources and sinks of mass, as energy of the depth; they raise gravity waves and divergence.
    relaxation, damping : Relaxation or None, Damping or None
    surface : array (truncation + 1, truncation + 1), optional
        Coefficients of the ground's geopotential in m2 s-2.
    rotation, radius : float
        Angular velocity in s-1 and radius in m.
    engine : {"ducc0", "torch"}, optional

    References
    ----------
    .. [1] S. M. Cox and P. C. Matthews, 2002: Exponential time differencing for stiff systems. J. Comput. Phys. 176,
       430-455.
    """

    truncation: int
    time_step: float
    depth: float
    forcing: Forcing | None = None
    heating: Forcing | None = None
    relaxation: Relaxation | None = None
    damping: Damping | None = None
    surface: Complexes | None = None
    rotation: float = EARTH_ROTATION
    radius: float = EARTH_RADIUS
    engine: SpectralEngine | None = None

    # ------------------------------------------------------------------ constants
    @cached_property
    def grid(self) -> Grid:
        """Grid on which products are formed."""
        return product_grid(self.truncation)

    @cached_property
    def wave_speed(self) -> float:
        """Speed of long gravity waves, m s-1."""
        return float(np.sqrt(self.depth))

    @cached_property
    def scale(self) -> Floats:
        """sqrt(n (n + 1)) / radius as a column: from wind to vorticity and divergence."""
        return np.array(_kernels.derivative_factor(self.truncation, self.radius))[:, None]

    @cached_property
    def inverse_scale(self) -> Floats:
        """1 / scale, and 0 for degree 0."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    @cached_property
    def coriolis(self) -> Floats:
        """2 Omega sin(latitude) as a column."""
        return np.asarray(2 * self.rotation * np.sin(np.radians(self.grid.latitude)))[:, None]

    @cached_property
    def linear(self) -> Floats:
        """What the linear terms do to (rotational, divergent, height) of each degree: (truncation + 1, 3, 3), s-1."""
        n = np.arange(self.truncation + 1.0)
        out = np.zeros((self.truncation + 1, 3, 3))
        turn = self.wave_speed * self.scale[:, 0]
        out[:, DIVERGENT, HEIGHT], out[:, HEIGHT, DIVERGENT] = turn, -turn
        decay = np.zeros((self.truncation + 1, 3))
        if self.damping is not None:
            reach = n * (n + 1) / (self.truncation * (self.truncation + 1))
            decay += (reach**self.damping.diffusion_order / self.damping.diffusion_time)[:, None]
            decay[:, :HEIGHT] += np.where(n <= self.damping.drag_degree, 1 / self.damping.drag_time, 0)[:, None]
            if isinstance(self.damping, LayerDamping) and self.damping.divergence_time is not None:
                decay[:, DIVERGENT] += 1 / self.damping.divergence_time
        if self.relaxation is not None:
            decay[:, HEIGHT] += 1 / self.relaxation.time
        decay[0] = 0  # mass and the (absent) degree 0 of the wind stay
        out[:, range(3), range(3)] -= decay
        return out

    @cached_property
    def _factors(self) -> tuple[Floats, ...]:
        """Matrices of the scheme: exp and its integral for half a step, then exp and the three weights of a step."""
        h = self.time_step
        half = _exponentials(self.linear * h / 2, 1)
        e, one, two, three = _exponentials(self.linear * h, 3)
        weights = (h * (one - 3 * two + 4 * three), h * (2 * two - 4 * three), h * (4 * three - two))
        return (half[0], h / 2 * half[1], e, *weights)

    @cached_property
    def _source(self) -> Floats:
        """Constant tendency of the height by relaxation, (truncation + 1,), order 0 only."""
        out = np.zeros(self.truncation + 1)
        if self.relaxation is not None:
            out += self.jets(self.relaxation.speed)[HEIGHT, :, 0].real / self.relaxation.time
            out[0] = 0
        return out

    # ------------------------------------------------------------------ dynamics
    def zeros(self) -> Complexes:
        """State of rest, degrees next to each other in memory, as the transforms like it."""
        return np.zeros((3, self.truncation + 1, self.truncation + 1), complex).transpose(0, 2, 1)

    def winds(self, state: Complexes, grid: Grid | None = None) -> tuple[Floats, Floats]:
        """Eastward and northward wind in m s-1, on the equation's own grid unless another is given."""
        return _kernels.synthesis_vector(state[ROTATIONAL], state[DIVERGENT], grid or self.grid, self.engine)

    def vorticity(self, state: Complexes, grid: Grid | None = None) -> Floats:
        """Relative vorticity in s-1."""
        return _kernels.synthesis(state[ROTATIONAL] * self.scale, grid or self.grid, self.engine)

    def divergence(self, state: Complexes, grid: Grid | None = None) -> Floats:
        """Divergence in s-1."""
        return _kernels.synthesis(state[DIVERGENT] * self.scale, grid or self.grid, self.engine)

    def thickness(self, state: Complexes, grid: Grid | None = None) -> Floats:
        """Geopotential of the depth, g h, in m2 s-2."""
        return self.depth + self.wave_speed * _kernels.synthesis(state[HEIGHT], grid or self.grid, self.engine)

    def tendency(self, state: Complexes, push: Complexes | None = None) -> Complexes:
        """All but the linear terms: advection, Coriolis force, kinetic energy, ground, relaxation, and ``push``."""
        u, v = self.winds(state)
        absolute = self.vorticity(state) + self.coriolis
        departure = _kernels.synthesis(state[HEIGHT], self.grid, self.engine)
        top = self.truncation
        rotational, divergent = _kernels.analysis_vector(absolute * u, absolute * v, self.grid, top, self.engine)
        _, flux = _kernels.analysis_vector(departure * u, departure * v, self.grid, top, self.engine)
        energy = _kernels.analysis(0.5 * (u * u + v * v), self.grid, top, self.engine)
        if self.surface is not None:
            energy = energy + self.surface
        out = self.zeros() if push is None else push.copy(order="K")
        out[ROTATIONAL] -= divergent
        out[DIVERGENT] += rotational + self.scale * energy
        out[HEIGHT] -= self.scale * flux
        out[HEIGHT, :, 0] += self._source
        return out

    def advance(self, state: Complexes, push: Complexes | None = None) -> Complexes:
        """One step, under a tendency ``push`` that stays as it is meanwhile."""
        half, integral, whole, first, middle, last = self._factors
        start = self.tendency(state, push)
        carried = _apply(half, state)
        a = carried + _apply(integral, start)
        tendency_a = self.tendency(a, push)
        b = carried + _apply(integral, tendency_a)
        tendency_b = self.tendency(b, push)
        c = _apply(half, a) + _apply(integral, 2 * tendency_b - start)
        out = _apply(whole, state) + _apply(first, start) + _apply(middle, tendency_a + tendency_b)
        out += _apply(last, self.tendency(c, push))
        return out

    def run(self, state: Complexes, steps: int, generator: np.random.Generator | None, patterns: Any = None) -> Any:
        """Take some steps; returns the new state and the new patterns of stirring and heating.

        A pattern with memory is held through each step: kicks, once a step, would ring the gravity waves whose period
        is the step.
        """
        patterns = dict(patterns or {})
        generator = generator or np.random.default_rng(0)  # without stirring nothing is drawn
        stirred: list[tuple[int, Forcing, Floats]] = [
            (where, forcing, self._amplitude(where, forcing))
            for where, forcing in ((ROTATIONAL, self.forcing), (HEIGHT, self.heating))
            if forcing is not None
        ]
        for _ in range(steps):
            push = self.zeros()
            kicks = []
            for where, forcing, amplitude in stirred:
                fresh = noise(self.truncation, generator, forcing.degrees)
                if not forcing.memory:
                    kicks.append((where, np.sqrt(self.time_step) * amplitude * fresh))
                    continue
                # The pattern's integral over time has the spread of white noise of the same rate.
                keep = np.exp(-self.time_step / forcing.memory)
                before = patterns.get(where)
                patterns[where] = fresh if before is None else keep * before + np.sqrt(1 - keep**2) * fresh
                push[where] = amplitude / np.sqrt(2 * forcing.memory) * patterns[where]
            state = self.advance(state, push)
            for where, kick in kicks:
                state[where] += kick
        return state, patterns

    def _amplitude(self, where: int, forcing: Forcing) -> Floats:
        """Size of the noise by degree that brings in energy at the wanted rate: white in vorticity, or in height.

        A gravity wave of frequency w takes up 1 / (1 + (w memory)^2) of what a wind that only turns takes up.
        """
        first, last = forcing.degrees
        n = np.arange(max(self.truncation, last) + 1)
        scale = _kernels.derivative_factor(n[-1], self.radius)
        shape, taken = 1 / np.maximum(scale, scale[1]), np.ones(n.size)
        if where == HEIGHT:
            shape, taken = np.ones(n.size), 1 / (1 + (self.wave_speed * scale * forcing.memory) ** 2)
        per_unit = 0.5 * np.sum(((2 * n + 1) * taken * shape**2)[first : last + 1])
        return np.asarray(shape * np.sqrt(forcing.rate / per_unit))[: self.truncation + 1, None]

    # ------------------------------------------------------------------ states
    def balanced(self, rotational: Complexes) -> Complexes:
        """Add to a rotational wind the height whose divergence does not change at first: gradient-wind balance."""
        state = self.zeros()
        state[ROTATIONAL] = rotational
        pushed = self.tendency(state)[DIVERGENT]
        state[HEIGHT] = -pushed * self.inverse_scale / self.wave_speed
        return state

    def jets(self, speed: float) -> Complexes:
        """Two steady zonal jets, speed * sin(2 latitude)^2, and their height."""
        free = ShallowWaterEquations(
            self.truncation, self.time_step, self.depth, rotation=self.rotation, radius=self.radius, engine=self.engine
        )
        wind = speed * np.sin(2 * np.radians(self.grid.latitude)) ** 2
        u = np.repeat(wind[:, None], self.grid.nlon, axis=1)
        rotational, _ = _kernels.analysis_vector(u, np.zeros_like(u), self.grid, self.truncation, self.engine)
        return free.balanced(rotational)

    def start(self, generator: np.random.Generator, speed: float) -> Complexes:
        """Draw balanced weather of about this speed upon the jets."""
        n = np.arange(self.truncation + 1.0)
        energy = np.where(n > 0, 1 / (1 + (n / 8) ** 4), 0)
        energy *= 0.5 * speed**2 / energy.sum()
        eddies = noise(self.truncation, generator, (1, self.truncation)) * np.sqrt(2 * energy / (2 * n + 1))[:, None]
        if self.relaxation is not None:
            eddies = eddies + self.jets(self.relaxation.speed)[ROTATIONAL]
        return self.balanced(eddies)

    # ------------------------------------------------------------------ diagnostics
    def mean(self, values: Floats) -> float:
        """Area mean of a field on the equation's grid."""
        return float(self.grid.weights @ values.mean(axis=1))

    def energy(self, state: Complexes) -> float:
        """Kinetic and potential energy per area over density, times g: area mean of phi (K + phi / 2 + surface)."""
        u, v = self.winds(state)
        phi = self.thickness(state)
        ground = 0.0 if self.surface is None else _kernels.synthesis(self.surface, self.grid, self.engine)
        return self.mean(phi * (0.5 * (u * u + v * v) + 0.5 * phi + ground))

    def potential_enstrophy(self, state: Complexes) -> float:
        """Area mean of (zeta + f)^2 / (2 phi)."""
        absolute = self.vorticity(state) + self.coriolis
        return self.mean(0.5 * absolute**2 / self.thickness(state))


def _exponentials(matrices: Floats, count: int) -> list[Floats]:
    """Give exp(A) and the first ``count`` of phi_k(A) = (phi_{k-1}(A) - 1 / (k - 1)!) / A, each like ``matrices``.

    They stand in the first rows of one exponential, that of A with the identity above the diagonal, which stays exact
    where A is singular or small.
    """
    from scipy.linalg import expm

    *lead, size, _ = matrices.shape
    whole = np.zeros((*lead, (count + 1) * size, (count + 1) * size))
    whole[..., :size, :size] = matrices
    for k in range(count):
        block = slice(k * size, (k + 1) * size), slice((k + 1) * size, (k + 2) * size)
        whole[(..., *block)] = np.eye(size)
    result = expm(whole)
    return [np.ascontiguousarray(result[..., :size, k * size : (k + 1) * size]) for k in range(count + 1)]


def _apply(matrices: Floats, state: Complexes) -> Complexes:
    """Multiply the three values of each coefficient by its degree's matrix; the wind's rotation stands by itself."""
    m = matrices.transpose(1, 2, 0)[..., None]
    out = np.empty_like(state)
    out[ROTATIONAL] = m[0, 0] * state[ROTATIONAL]
    out[DIVERGENT] = m[1, 1] * state[DIVERGENT] + m[1, 2] * state[HEIGHT]
    out[HEIGHT] = m[2, 1] * state[DIVERGENT] + m[2, 2] * state[HEIGHT]
    return out
