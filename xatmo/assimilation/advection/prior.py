"""Advection and anisotropic diffusion as prior: coefficients that vary in space and time, sparse precision.

The field obeys, with white noise w in space and time::

    dx/dt + (kappa^2 + m . grad - div(H grad))^(alpha/2) x = tau w

Conservative finite volumes in space (see `xatmo.assimilation.stencils`), implicit Euler steps in time. After
Clarotto et al. (2024), "The SPDE approach for spatio-temporal datasets with advection and diffusion", with stencils
and scalings of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xatmo.assimilation.advection._cells import Cells
from xatmo.assimilation.advection._coefficients import (
    coefficient,
    matrix,
    require_alpha,
    require_dense,
    stationary_covariance,
    stationary_std,
)
from xatmo.assimilation.advection._dissection import FrontFactor
from xatmo.assimilation.advection._factors import factor_of_one, factorise
from xatmo.assimilation.advection._sparse import step_factor
from xatmo.assimilation.stencils import stencil
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Scheme: TypeAlias = Literal["upwind", "centred"]
Transport: TypeAlias = Literal["inside", "outside"]
Initial: TypeAlias = Literal["stationary", "symmetric"]


@dataclass(frozen=True, eq=False)
class AdvectionDiffusion:
    """Gaussian prior whose scales, directions and velocities vary in space and time.

    Make one with `AdvectionDiffusion.on_plane` or `AdvectionDiffusion.on_sphere`. Nodes are (time, row, column).

    Attributes
    ----------
    n_time : int
    time_step : float
        Time between two nodes: one implicit Euler step.
    cells : Cells
        Sizes of the cells and their open faces.
    kappa, tau : array (1 or n_time, row, column)
    diffusion : three arrays like these
        H11, H12, H22 (east, north), of positive definite tensors; length2 per time when alpha is 2, in general
        kappa^alpha is a rate.
    velocity : two arrays like these, or None
    alpha : int
        Even, at least 4: the white-driven field would have infinite variance below.
    scheme : {"upwind", "centred"}
        Of the advection: first-order, or second-order without diffusion of its own.
    transport : {"inside", "outside"}
        ``"inside"``: the equation above. Where m is large for kappa and H, a power of that operator amplifies some
        waves; `variance` and the stationary start then refuse. ``"outside"``:
        ``dx/dt + m . grad x + (kappa^2 - div(H grad))^(alpha/2) x = tau w``, where m is the velocity that carries the
        field and everything is stable.
    initial : {"stationary", "symmetric"}
        Covariance of the first time. ``"stationary"`` solves the discrete Lyapunov equation
        ``M P M^T = P + N`` of the first step: in closed, sparse form if nothing moves and tau is constant, with dense
        matrices of at most 5000 cells otherwise. ``"symmetric"``: the sparse one without advection, scaled by tau.
    spin_up : int
        Steps with the first coefficients before the first time: with ``"symmetric"`` a start as near to stationary as
        wanted, and sparse. Their nodes stand first in `precision`.

    Examples
    --------
    >>> prior = AdvectionDiffusion.on_plane((3, 6, 8), (1.0, 1.0, 1.0), kappa=0.5, diffusion=(2.0, 0.5, 1.0))
    >>> Q = prior.precision().toarray()
    >>> bool(np.isclose(np.linalg.slogdet(Q)[1], prior.log_determinant()))
    True
    """

    n_time: int
    time_step: float
    cells: Cells
    kappa: Array
    tau: Array
    diffusion: tuple[Array, Array, Array]
    velocity: tuple[Array, Array] | None = None
    alpha: int = 4
    scheme: Scheme = "upwind"
    transport: Transport = "inside"
    initial: Initial = "stationary"
    spin_up: int = 0

    def __post_init__(self) -> None:
        require_alpha(self.alpha)
        for name, known in (
            ("scheme", ("upwind", "centred")),
            ("transport", ("inside", "outside")),
            ("initial", ("stationary", "symmetric")),
        ):
            if getattr(self, name) not in known:
                message = f"{name}={getattr(self, name)!r} came; wanted {known[0]!r} or {known[1]!r}"
                raise OptionError(message)
        if self.n_time < 1 or self.spin_up < 0 or not (np.isfinite(self.time_step) and self.time_step > 0):
            message = (
                f"n_time={self.n_time!r}, spin_up={self.spin_up!r}, time_step={self.time_step!r} came; wanted at least "
                "1, at least 0, and a positive number"
            )
            raise OptionError(message)

    # ------------------------------------------------------------------ constructors
    @classmethod
    def on_plane(
        cls,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        *,
        kappa: ArrayLike,
        diffusion: Sequence[ArrayLike] = (1.0, 0.0, 1.0),
        velocity: Sequence[ArrayLike] | None = None,
        tau: ArrayLike | None = None,
        signal_std: ArrayLike = 1.0,
        domain: ArrayLike | None = None,
        periodic: tuple[bool, bool] = (False, False),
        **options: Any,
    ) -> AdvectionDiffusion:
        """Make a prior on a plane of equal cells; columns go along x, rows along y.

        Parameters
        ----------
        shape : (n_time, n_row, n_column)
        spacing : (time, y, x)
            Distances between nodes.
        kappa : array_like
            Every coefficient is a number, or an array (row, column), or (time, row, column).
        diffusion : three array_like
            H11, H12, H22; `anisotropic` makes them.
        velocity : two array_like, optional
            Along x and y.
        tau : array_like, optional
            Noise; by default what gives ``signal_std`` by `stationary_std`.
        signal_std : array_like
            Standard deviation, as far as it can be set beforehand.
        domain : array_like (row, column) of bool, optional
            Cells that exchange with their neighbours (water); the faces of the others are closed.
        periodic : (rows, columns)
            Whether they go around; otherwise the edges are closed.
        **options
            ``alpha``, ``scheme``, ``transport``, ``initial``, ``spin_up``: see `AdvectionDiffusion`.

        Raises
        ------
        OptionError, MissingValueError
            If a coefficient has another shape, is out of range, or is not finite.
        """
        n_time, n_row, n_column = shape
        step, dy, dx = spacing
        cells = Cells.on_plane(n_row, n_column, dy, dx, domain=domain, periodic=periodic)
        return cls._make(n_time, step, cells, kappa, diffusion, velocity, tau, signal_std, options)

    @classmethod
    def on_sphere(
        cls,
        latitude: ArrayLike,
        longitude_step: float,
        n_longitude: int,
        n_time: int,
        time_step: float,
        *,
        kappa: ArrayLike,
        diffusion: Sequence[ArrayLike],
        velocity: Sequence[ArrayLike] | None = None,
        tau: ArrayLike | None = None,
        signal_std: ArrayLike = 1.0,
        domain: ArrayLike | None = None,
        periodic: bool = False,
        radius: float = EARTH_RADIUS,
        **options: Any,
    ) -> AdvectionDiffusion:
        """Make a prior on rows of latitude; cells and faces have their true areas and lengths.

        Parameters
        ----------
        latitude : array_like (row,)
            Degrees, increasing or decreasing. Components to the north are to the north in either case.
        longitude_step : float
            Degrees between columns.
        n_longitude, n_time : int
        time_step : float
        kappa, tau, signal_std, domain, options
            See `on_plane`.
        diffusion : three array_like
            H11, H12, H22 along east and north, in m2 where kappa is a number without unit: kappa / sqrt(H) is m-1.
        velocity : two array_like, optional
            Eastward and northward, m per unit of time (times kappa^(2 - alpha) of the equation when inside).
        periodic : bool
            Whether the columns go around the globe.
        radius : float
            Metres.

        Raises
        ------
        CoordinateError
            If there are fewer than 2 rows, or latitude is not monotonic.
        OptionError, MissingValueError
            See `on_plane`.
        """
        cells, down = Cells.on_sphere(
            np.asarray(latitude, dtype=np.float64), longitude_step, n_longitude, radius, domain, periodic=periodic
        )
        if down:  # rows go south: so does the second axis of the stencils
            diffusion = diffusion[0], -np.asarray(diffusion[1], dtype=np.float64), diffusion[2]
            velocity = None if velocity is None else (velocity[0], -np.asarray(velocity[1], dtype=np.float64))
        return cls._make(n_time, time_step, cells, kappa, diffusion, velocity, tau, signal_std, options)

    @classmethod
    def _make(
        cls, n_time: int, step: float, cells: Cells, kappa: Any, diffusion: Any, velocity: Any, tau: Any, std: Any,
        options: dict[str, Any],
    ) -> AdvectionDiffusion:  # fmt: skip
        def field(name: str, value: Any, *, positive: bool = False) -> Array:
            return coefficient(name, value, (n_time, *cells.shape), positive=positive)

        k = field("kappa", kappa, positive=True)
        if len(diffusion) != 3 or (velocity is not None and len(velocity) != 2):
            message = (
                f"{len(diffusion)} components of diffusion and {2 if velocity is None else len(velocity)} of velocity "
                "came; wanted H11, H12, H22, and two"
            )
            raise OptionError(message)
        h11, h22 = (
            field("diffusion[0]", diffusion[0], positive=True),
            field("diffusion[2]", diffusion[2], positive=True),
        )
        h12 = field("diffusion[1]", diffusion[1])
        if not (h11 * h22 > h12**2).all():
            worst = float((h11 * h22 - h12**2).min())
            message = f"diffusion tensors with determinants down to {worst:.3g} came; wanted positive definite ones"
            raise OptionError(message)
        m = None if velocity is None else (field("velocity[0]", velocity[0]), field("velocity[1]", velocity[1]))
        if tau is None:
            wanted = field("signal_std", std, positive=True)
            tau = wanted / stationary_std(k, 1.0, (h11, h12, h22), options.get("alpha", 4), step)
        return cls(n_time, step, cells, k, field("tau", tau, positive=True), (h11, h12, h22), m, **options)

    # ------------------------------------------------------------------ matrices of one step
    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes: ``(n_time, rows, columns)``."""
        return (self.n_time, *self.cells.shape)

    @property
    def n_cell(self) -> int:
        """Cells of one time."""
        return self.cells.shape[0] * self.cells.shape[1]

    @property
    def steps(self) -> int:
        """Times in `precision`: those of the spin-up come first."""
        return self.spin_up + self.n_time

    @cached_property
    def constant(self) -> bool:
        """Whether the operator stays the same in time."""
        fields = (self.kappa, *self.diffusion, *(self.velocity or ()))
        return all(len(f) == 1 for f in fields)

    def _at(self, field: Array, time: int) -> Array:
        return np.asarray(field[min(time, len(field) - 1)])

    def stencil(self, time: int = 0, *, moving: bool = True) -> Array:
        """Weights (9, row, column) of ``kappa^2 + m . grad - div(H grad)`` at a time; without m on request."""
        moves = moving and self.velocity is not None
        m = tuple(self._at(v, time) for v in self.velocity or ()) if moves else None
        h = tuple(self._at(f, time) for f in self.diffusion)
        upwind = self.scheme == "upwind"
        return np.asarray(stencil(self._at(self.kappa, time), h, m, self.cells, upwind=upwind))  # type: ignore[arg-type]

    def operator(self, time: int = 0, *, moving: bool = True) -> Any:
        """Sparse ``kappa^2 + m . grad - div(H grad)`` of a time on the cells in C order."""
        return matrix(self.stencil(time, moving=moving))

    def step_matrix(self, time: int = 0, *, moving: bool = True) -> Any:
        """Sparse M of the step that ends at a time: ``M x(t) = x(t - 1) + noise``."""
        import scipy.sparse as sp

        inside = self.transport == "inside" and moving
        base = self.operator(time, moving=inside)
        rate = base
        for _ in range(self.alpha // 2 - 1):
            rate = rate @ base
        if self.transport == "outside" and moving and self.velocity is not None:
            rate = rate + self.operator(time) - self.operator(time, moving=False)
        return (sp.eye_array(self.n_cell) + self.time_step * rate).tocsc()

    def noise_variance(self, time: int = 0) -> Array:
        """Variance (cell,) of the noise of a step: ``tau^2 dt / area``."""
        return np.asarray(self._at(self.tau, time) ** 2 * self.time_step / self.cells.area).ravel()

    @cached_property
    def _first_step(self) -> Any:
        return self.step_matrix(0)

    def step_of(self, step: int) -> Any:
        """M of a step, counted from the beginning of the spin-up; made once where nothing varies in time."""
        time = max(step - self.spin_up, 0)
        return self._first_step if time == 0 or self.constant else self.step_matrix(time)

    def noise_of(self, step: int) -> Array:
        """Variances of the noise of a step, counted likewise."""
        return self.noise_variance(max(step - self.spin_up, 0))

    # ------------------------------------------------------------------ the first time
    @cached_property
    def first_covariance(self) -> Array:
        """Dense covariance (cell, cell) of the first time in the precision.

        Raises
        ------
        OptionError
            If there are more than 5000 cells.
        """
        if self._sparse_start:
            require_dense(self.n_cell)
            return np.asarray(np.linalg.inv(self.first_precision.toarray()))
        return stationary_covariance(self._first_step, self.noise_variance(0))

    @property
    def _sparse_start(self) -> bool:
        return self.initial == "symmetric" or (self.velocity is None and bool(np.ptp(self.tau[0]) == 0))

    @cached_property
    def first_precision(self) -> Any:
        """Precision of the first time: with T = diag(tau), W areas, ``T^-1 W (M M - I) T^-1 / dt`` where that is it."""
        import scipy.sparse as sp

        if not self._sparse_start:
            inverse = np.linalg.inv(self.first_covariance)
            return sp.csc_array((inverse + inverse.T) / 2)
        m = self.step_matrix(0, moving=False)
        root = sp.diags_array(1 / self.tau[0].ravel())
        weight = sp.diags_array(np.asarray(self.cells.area / self.time_step).ravel())
        full = root @ (weight @ (m @ m - sp.eye_array(self.n_cell))) @ root
        return sp.csc_array((full + full.T) / 2)

    # ------------------------------------------------------------------ all times
    def blocks(self) -> tuple[list[Any], list[Any]]:
        """Blocks of the precision, sparse: on the diagonal, and below it.

        With S = noise precision: ``P0^-1 + S_1``, then ``M_k^T S_k M_k + S_(k+1)``, without the last term at the end;
        ``-M_k^T S_k`` below, ``-S_k M_k`` above the diagonal.
        """
        import scipy.sparse as sp

        own, below = [self.first_precision], []
        for k in range(1, self.steps):
            m, s = self.step_of(k), sp.diags_array(1 / self.noise_of(k))
            weighted = s @ m
            square = m.T @ weighted
            own[-1] = (own[-1] + s).tocsc()
            own.append(((square + square.T) / 2).tocsc())
            below.append((-weighted.T).tocsc())
        return own, below

    def precision(self) -> Any:
        """Sparse symmetric positive definite precision on (step, row, column) in C order, spin-up included.

        Returns
        -------
        scipy.sparse.csc_array
        """
        import scipy.sparse as sp

        own, below = self.blocks()
        grid: list[list[Any]] = [[None] * len(own) for _ in own]
        for k, block in enumerate(own):
            grid[k][k] = block
        for k, block in enumerate(below):
            grid[k + 1][k], grid[k][k + 1] = block, block.T
        return sp.csc_array(sp.block_array(grid, format="csc"))

    @cached_property
    def _determinant(self) -> float:
        total = self.first_factor.log_determinant()
        known: dict[int, float] = {}
        for k, factor in enumerate(self.step_factors, 1):
            if id(factor) not in known:
                known[id(factor)] = float(np.log(np.abs(factor.U.diagonal())).sum())
            total += 2 * known[id(factor)] - float(np.log(self.noise_of(k)).sum())
        return total

    @cached_property
    def first_factor(self) -> FrontFactor:
        """Cholesky factor of the precision of the first time."""
        reach = self.reach
        return factor_of_one(self.first_precision, self.cells.shape, reach, self.cells.periodic)

    @cached_property
    def step_factors(self) -> list[Any]:
        """LU factors of the steps after the first time; the same object where nothing varies."""
        out: list[Any] = []
        matrix = None
        for k in range(1, self.steps):
            now = self.step_of(k)
            out.append(out[-1] if now is matrix else step_factor(now))
            matrix = now
        return out

    @property
    def reach(self) -> int | None:
        """Rows and columns across which `precision` joins cells; None if all of the first time are joined."""
        return self.alpha if self._sparse_start else None

    def log_determinant(self) -> float:
        """Logarithm of the determinant of `precision`, from the factors of single steps."""
        return self._determinant

    def variance(self) -> Array:
        """Exact variance (n_time, row, column) of the prior.

        Raises
        ------
        OptionError
            If there are too many cells and times for an exact factor, or none.
        """
        full = factorise(self).inverse_diagonal()
        return full.reshape(self.steps, *self.cells.shape)[self.spin_up :]

    def with_times(self, start: int, stop: int) -> AdvectionDiffusion:
        """Prior for the times ``start`` to ``stop`` (excluded), stationary at the first of them.

        Raises
        ------
        OptionError
            If they are not among the times.
        """
        if not 0 <= start < stop <= self.n_time:
            message = f"times {start} to {stop} came; wanted some among the {self.n_time} times"
            raise OptionError(message)

        def cut(field: Array) -> Array:
            return field if len(field) == 1 else field[start:stop]

        h11, h12, h22 = (cut(f) for f in self.diffusion)
        m = None if self.velocity is None else (cut(self.velocity[0]), cut(self.velocity[1]))
        return replace(
            self, n_time=stop - start, kappa=cut(self.kappa), tau=cut(self.tau), diffusion=(h11, h12, h22), velocity=m
        )
