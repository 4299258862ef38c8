"""A stochastic partial differential equation as prior: sparse precision, exact covariance, samples, log-determinant.

The field obeys, with white noise w in space and time::

    dx/dt + (1/theta) [(kappa^2 - laplacian) / kappa^2]^(alpha/2) x = tau w

In space it is discretised in flux form on cells with their true areas, in time by implicit Euler steps. The operator is
diagonalised exactly: Fourier modes along longitude, and for each of them the eigenvectors of one symmetric tridiagonal
matrix along latitude. So covariances, samples and determinants are exact for the discrete equation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance.matern import evolution_scale, matern_scale
from xatmo.assimilation.spde._modes import Modes, eigen, multiplicity, rows_stiffness
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, OptionError

Array = NDArray[np.float64]
Memory: TypeAlias = Literal["diffusive", "uniform"]
Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

# Correlation with images beyond the boundary falls below 1e-3 when they are five length scales away.
_PADDING_SCALES = 2.5
_MOST_BYTES = 2e9


@dataclass(frozen=True, eq=False)
class SPDE:
    """Gaussian space-time prior with a sparse precision matrix.

    Make one with `SPDE.on_sphere` or `SPDE.on_plane`. Nodes are (time, row, column); columns are equally spaced and
    periodic, with padding columns between the last and the first unless the grid itself goes around; rows are padded at
    both ends and closed (no flux).

    Attributes
    ----------
    n_time : int
        Number of times.
    time_step : float
        Seconds between them (any unit, the same as ``time_scale``).
    width, height : array (n_row,)
        Mean width of the cells of each row, and their height, in metres, padding rows included.
    face_width, gap : array (n_row - 1,)
        Width of the face between two rows, and the distance between their centres, in metres.
    n_column : int
        Columns, padding included.
    rows, columns : slice
        Where the caller's nodes lie within the padded ones.
    length_scale : float
        Metres. Correlation in space falls to about 1/e here: kappa = x / length_scale where the Matern correlation of
        smoothness nu = alpha/2 - 1 at x is 1/e (x = 1.658 for alpha = 4).
    time_scale : float
        Correlation in time at one point falls to about 1/e here: theta = time_scale / s, with s such that
        (1/nu-normalised) integral of u^(-alpha/2) exp(-s u^(alpha/2)) over u > 1 is 1/e (s = 0.234 for alpha = 4).
        Large scales live longer, small scales shorter.
    signal_std : float
        Standard deviation at every node, exactly.
    alpha : int
        Even, at least 4: the white-driven field would have infinite variance below.
    substeps : int
        Implicit Euler steps between two times. More make the small scales those of the continuous equation.
    memory : {"diffusive", "uniform"}
        How fast scales are forgotten. ``"diffusive"``: the equation above, small scales first. ``"uniform"``: all at
        the rate 1/time_scale, driven by noise that is Matern in space: a separable covariance, Matern in space (of
        smoothness alpha/2 - 1) times exp(-lag / time_scale), with a precision as sparse.

    Examples
    --------
    >>> prior = SPDE.on_plane((5, 8, 10), (1.0, 1e4, 1e4), length_scale=3e4, time_scale=4.0, signal_std=0.5)
    >>> Q = prior.precision()
    >>> covariance = np.linalg.inv(Q.toarray())
    >>> bool(np.allclose(np.sqrt(np.diag(covariance)), 0.5))
    True
    """

    n_time: int
    time_step: float
    width: Array
    height: Array
    face_width: Array
    gap: Array
    n_column: int
    rows: slice
    columns: slice
    length_scale: float
    time_scale: float
    signal_std: float = 1.0
    alpha: int = 4
    substeps: int = 1
    memory: Memory = "diffusive"

    def __post_init__(self) -> None:
        for name in ("length_scale", "time_scale", "signal_std", "time_step"):
            _require_positive(name, getattr(self, name))
        if self.alpha % 2 or self.alpha < 4:
            message = (
                f"alpha={self.alpha!r} came; wanted an even number, at least 4 (white noise drives the equation, so "
                "that the variance would be infinite below)"
            )
            raise OptionError(message)
        if self.memory not in ("diffusive", "uniform"):
            message = f"memory={self.memory!r} came; wanted 'diffusive' or 'uniform'"
            raise OptionError(message)
        if self.substeps < 1 or self.n_time < 1:
            message = f"substeps={self.substeps!r}, n_time={self.n_time!r} came; wanted at least 1"
            raise OptionError(message)

    # ------------------------------------------------------------------ constructors
    @classmethod
    def on_plane(
        cls,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        *,
        length_scale: float,
        time_scale: float,
        signal_std: float = 1.0,
        alpha: int = 4,
        substeps: int = 1,
        memory: Memory = "diffusive",
        padding: tuple[int, int] | None = None,
        periodic: bool = False,
    ) -> SPDE:
        """Make a prior on a plane with equal cells.

        Parameters
        ----------
        shape : (n_time, n_row, n_column)
        spacing : (time, row, column)
            Distances between nodes, in the units of ``time_scale`` and ``length_scale``.
        length_scale, time_scale, signal_std, alpha, substeps, memory
            See `SPDE`.
        padding : (rows at each end, columns in all), optional
            Chosen from the length scale unless given.
        periodic : bool
            Whether the columns themselves go around; then none is added.
        """
        n_time, n_row, n_column = shape
        step, dy, dx = spacing
        pad_row, pad_column = _padding(length_scale, dy, dx, padding, periodic=periodic)
        n = n_row + 2 * pad_row
        return cls(
            n_time, step, np.full(n, dx), np.full(n, dy), np.full(n - 1, dx), np.full(n - 1, dy),
            n_column + pad_column, slice(pad_row, pad_row + n_row), slice(0, n_column),
            length_scale, time_scale, signal_std, alpha, substeps, memory,
        )  # fmt: skip

    @classmethod
    def on_sphere(
        cls,
        latitude: Array,
        longitude_step: float,
        n_longitude: int,
        n_time: int,
        time_step: float,
        *,
        length_scale: float,
        time_scale: float,
        signal_std: float = 1.0,
        alpha: int = 4,
        substeps: int = 1,
        memory: Memory = "diffusive",
        padding: tuple[int, int] | None = None,
        periodic: bool = False,
        radius: float = EARTH_RADIUS,
    ) -> SPDE:
        """Make a prior on rows of latitude with equally spaced columns; cells have their true areas.

        Parameters
        ----------
        latitude : array (n_latitude,)
            Degrees, monotonic, any spacing.
        longitude_step : float
            Degrees between columns.
        n_longitude, n_time : int
        time_step : float
            In the unit of ``time_scale``.
        length_scale : float
            Metres.
        time_scale, signal_std, alpha, substeps, memory, padding, periodic
            See `SPDE.on_plane`.
        radius : float
            Metres.

        Raises
        ------
        CoordinateError
            If there are fewer than 2 rows, or latitude is not monotonic.
        """
        lat = np.asarray(latitude, dtype=np.float64)
        down = lat.size > 1 and bool(lat[0] > lat[-1])
        lat = -lat if down else lat  # the sphere is symmetric: rows that go up
        if lat.size < 2 or not (np.diff(lat) > 0).all():
            message = f"latitude with {lat.size} rows came; wanted at least 2, increasing or decreasing throughout"
            raise CoordinateError(message)
        dy = np.radians(np.abs(np.diff(lat)).mean()) * radius
        dx = np.radians(longitude_step) * radius * max(float(np.cos(np.radians(lat)).min()), 0.05)
        pad_row, pad_column = _padding(length_scale, dy, dx, padding, periodic=periodic)
        if not periodic:  # padding may not go further than around
            pad_column = min(pad_column, max(int(360 / longitude_step) - n_longitude, 0))
        first, last = lat[1] - lat[0], lat[-1] - lat[-2]
        below = lat[0] - first * np.arange(pad_row, 0, -1)
        above = lat[-1] + last * np.arange(1, pad_row + 1)
        below, above = below[below > -90 + first / 4], above[above < 90 - last / 4]
        rows = np.concatenate([below, lat, above])
        middle = (rows[1:] + rows[:-1]) / 2
        ends = rows[0] - (rows[1] - rows[0]) / 2, rows[-1] + (rows[-1] - rows[-2]) / 2
        edges = np.radians(np.clip(np.concatenate([[ends[0]], middle, [ends[1]]]), -90, 90))
        height = np.diff(edges) * radius
        area = np.radians(longitude_step) * radius**2 * np.diff(np.sin(edges))
        face = np.radians(longitude_step) * radius * np.cos(np.radians(middle))
        return cls(
            n_time, time_step, area / height, height, face, np.radians(np.diff(rows)) * radius,
            n_longitude + pad_column, slice(below.size, below.size + lat.size), slice(0, n_longitude),
            length_scale, time_scale, signal_std, alpha, substeps, memory,
        )  # fmt: skip

    # ------------------------------------------------------------------ derived numbers
    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes without padding: ``(n_time, rows, columns)``."""
        return self.n_time, self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        """Nodes with padding."""
        return self.n_time, self.width.size, self.n_column

    @property
    def too_large(self) -> bool:
        """Whether the modes would take more than 2 GB."""
        return 8 * (self.n_column // 2 + 1) * self.width.size**2 > _MOST_BYTES

    @property
    def kappa(self) -> float:
        """Inverse length in m-1."""
        return matern_scale(self.alpha / 2 - 1) / self.length_scale

    @property
    def damping(self) -> float:
        """1/theta: the rate at which the largest scales are forgotten."""
        return evolution_scale(self.alpha) / self.time_scale

    @property
    def _uniform_decay(self) -> float:
        return float(np.exp(-self.time_step / self.substeps / self.time_scale))

    # ------------------------------------------------------------------ sparse matrices
    def operator(self) -> Any:
        """Sparse ``(kappa^2 - laplacian) / kappa^2`` on the padded (row, column) nodes, of one time.

        Multiplied by the areas from the left it is symmetric.
        """
        import scipy.sparse as sp

        n_column = self.n_column
        along = sp.diags([np.full(n_column, 2.0)], [0], format="lil")
        for i in range(n_column):  # += also where a ring of two or of one closes on itself
            along[i, (i + 1) % n_column] -= 1.0
            along[i, i - 1] -= 1.0
        stiffness = sp.kron(sp.diags(self.height / self.width), along.tocsr()) + sp.kron(
            rows_stiffness(self.face_width, self.gap), sp.eye(n_column)
        )
        area = np.repeat(self.width * self.height, n_column)
        return (sp.eye(area.size) + sp.diags(1 / (area * self.kappa**2)) @ stiffness).tocsr()

    def precision(self) -> Any:
        """Sparse precision matrix Q on all padded nodes of (time and substeps, row, column), in C order.

        With the step matrix M = I + dt/theta operator^(alpha/2) and the areas W: blocks W M M + W on the diagonal
        (W M M for the first and the last time, so that the field is stationary from the start: P0^-1 = W (M M - I)
        solves the discrete Lyapunov equation), -W M beside it. With uniform memory: the precision of a first-order
        autoregression in time times W operator^(alpha/2). Scaled by rows to a variance of ``signal_std ** 2``.

        Returns
        -------
        scipy.sparse.csc_array
            Symmetric positive definite, of order ``(n_time - 1) * substeps + 1`` times rows times columns.
        """
        import scipy.sparse as sp

        n_row, n_column = self.padded_shape[1:]
        steps = (self.n_time - 1) * self.substeps + 1
        base = self.operator()
        power = base
        for _ in range(self.alpha // 2 - 1):
            power = power @ base
        area = sp.diags(np.repeat(self.width * self.height, n_column))
        neighbour = sp.eye(steps, k=1) + sp.eye(steps, k=-1) if steps > 1 else None
        inside = np.ones(steps)
        inside[[0, -1]] = 0
        if self.memory == "uniform":
            decay = self._uniform_decay
            in_time = sp.diags(1 + decay**2 * inside)
            if neighbour is not None:
                in_time = (in_time - decay * neighbour) / (1 - decay**2)
            full = sp.kron(in_time, area @ power)
        else:
            step = sp.eye(n_row * n_column) + (self.time_step / self.substeps * self.damping) * power
            beside = area @ step
            own = step.T @ beside
            if neighbour is None:  # one time: the stationary covariance alone
                full = own - area
            else:
                full = sp.kron(sp.eye(steps), own) + sp.kron(sp.diags(inside), area) - sp.kron(neighbour, beside)
        # Here the noise is W^-1/2 z in space, as in the modes: `scale` turns that field into the one wanted.
        factor = self._modes.scale * np.sqrt(self.width * self.height)
        inverse = sp.diags(np.tile(np.repeat(1 / factor, n_column), steps))
        full = inverse @ full @ inverse
        return sp.csc_array((full + full.T) / 2)

    def log_determinant(self) -> float:
        """Logarithm of the determinant of `precision`."""
        m = self._step_modes
        n_column, steps = self.n_column, (self.n_time - 1) * self.substeps + 1
        times = multiplicity(n_column)
        covariance = times[:, None] * (np.log(m.variance) + (steps - 1) * np.log(m.variance * (1 - m.decay**2)))
        return float(-covariance.sum() - 2 * steps * n_column * np.log(m.scale).sum())

    # ------------------------------------------------------------------ modes
    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        n = self.n_column
        if self.too_large:
            message = (
                f"a grid of {self.width.size} x {n} nodes (padding included) is too large for the exact prior; select "
                "a smaller box, or coarsen it first, for instance with .atmo.coarsen"
            )
            raise OptionError(message)
        return eigen(self.width, self.height, self.face_width, self.gap, n, self.kappa)

    def _recursion(self, substeps: int) -> Modes:
        values, vectors = self._eigen
        if self.memory == "uniform":
            decay = np.full(values.shape, self._uniform_decay)
            variance = values ** -(self.alpha // 2)
        else:
            rate = self.time_step / self.substeps * self.damping * values ** (self.alpha // 2)
            decay = 1 / (1 + rate)
            variance = 1 / (rate * (2 + rate))
        marginal = np.einsum("k,krm,km->r", multiplicity(self.n_column), vectors**2, variance) / self.n_column
        scale = self.signal_std / np.sqrt(marginal)
        return Modes(vectors, decay**substeps, variance, scale, self.n_column)

    @cached_property
    def _modes(self) -> Modes:
        return self._recursion(self.substeps)

    @cached_property
    def _step_modes(self) -> Modes:
        return self._recursion(1)

    def apply_covariance(self, field: Array) -> Array:
        """Multiply a field on the nodes without padding by their covariance: Q^-1, padding marginalised.

        Parameters
        ----------
        field : array (n_time, rows, columns)

        Returns
        -------
        array (n_time, rows, columns)
        """
        m, rows = self._modes, self.rows
        scale = m.scale[rows][:, None]
        c = m.analyse(field * scale, rows)
        decay = m.decay[:, :]
        forward, backward = c.copy(), c.copy()
        for t in range(1, self.n_time):
            forward[:, t] += decay * forward[:, t - 1]
            backward[:, -1 - t] += decay * backward[:, -t]
        out = m.synthesise((forward + backward - c) * m.variance[:, None], rows)
        return out[:, :, self.columns] * scale

    def sample(self, rng: np.random.Generator | int | None = None, *, padded: bool = False) -> Array:
        """Draw a field from the prior.

        Parameters
        ----------
        rng : numpy.random.Generator or seed
        padded : bool
            Whether to keep the padding.

        Returns
        -------
        array (n_time, rows, columns)
        """
        rng = np.random.default_rng(rng)
        m = self._modes
        noise = m.analyse(rng.standard_normal(self.padded_shape), slice(None)) * np.sqrt(m.variance)[:, None]
        innovation = np.sqrt(1 - m.decay**2)
        for t in range(1, self.n_time):
            noise[:, t] = m.decay * noise[:, t - 1] + innovation * noise[:, t]
        field = m.synthesise(noise, slice(None)) * m.scale[:, None]
        return field if padded else field[:, self.rows, self.columns]

    @cached_property
    def covariance_table(self) -> Array:
        """Exact covariances of the nodes without padding: (lag, columns apart, row, other row).

        Raises
        ------
        OptionError
            If the table would take more than 2 GB.
        """
        lags, n_row, apart = self.table_shape
        if 8 * lags * n_row**2 * apart > _MOST_BYTES:
            message = (
                f"a table of covariances for {lags} times, {n_row} rows and {apart} columns is too large; "
                "select a smaller box or period"
            )
            raise OptionError(message)
        m, rows = self._modes, self.rows
        vectors = m.vectors[:, rows] * m.scale[rows][:, None]
        wavenumber = np.arange(m.variance.shape[0])
        count = multiplicity(self.n_column) / self.n_column
        cosine = count * np.cos(2 * np.pi / self.n_column * np.outer(np.arange(apart), wavenumber))
        table = np.empty((lags, apart, n_row, n_row))
        weight = m.variance.copy()
        for lag in range(lags):
            between = (vectors * weight[:, None]) @ vectors.transpose(0, 2, 1)
            table[lag] = (cosine @ between.reshape(len(wavenumber), -1)).reshape(apart, n_row, n_row)
            weight *= m.decay
        return table

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Lags, rows and column distances of `covariance_table`."""
        n_time, n_row, n_column = self.shape
        return n_time, n_row, min(n_column, self.n_column // 2 + 1)

    def covariance(self, one: Index, other: Index) -> Array:
        """Covariance between nodes given by their (time, row, column) indices; the arrays broadcast.

        Examples
        --------
        >>> prior = SPDE.on_plane((3, 4, 6), (1.0, 1.0, 1.0), length_scale=2.0, time_scale=4.0)
        >>> here = (np.array(0), np.array(2), np.array(1))
        >>> prior.covariance(here, here).item()
        1.0
        """
        apart = np.abs(one[2] - other[2])
        if self.table_shape[2] < self.shape[2]:
            apart = np.minimum(apart, self.n_column - apart)
        _, n_row, n_apart = self.table_shape
        flat = ((np.abs(one[0] - other[0]) * n_apart + apart) * n_row + one[1]) * n_row + other[1]
        return np.asarray(self.covariance_table.reshape(-1)[flat])


def _padding(
    length: float, dy: float, dx: float, padding: tuple[int, int] | None, *, periodic: bool
) -> tuple[int, int]:
    _require_positive("length_scale", length)
    if padding is None:
        padding = int(np.ceil(_PADDING_SCALES * length / dy)), int(np.ceil(2 * _PADDING_SCALES * length / dx))
    if min(padding) < 0:
        message = f"padding={padding!r} came; wanted numbers of rows and columns, not negative"
        raise OptionError(message)
    return padding[0], 0 if periodic else padding[1]


def _require_positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        message = f"{name}={value!r} came; wanted a positive number"
        raise OptionError(message)
