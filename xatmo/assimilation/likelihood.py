"""Scales of a covariance by maximum likelihood from the observations.

The likelihood is a product of conditional densities: of each observation, given its nearest ones among those before it
in a random order (Vecchia 1988). The first in that order have only distant neighbours, the last close ones, so that
long lags count as well as short ones. Its gradient and its information come from the same small solves; scoring
(Guinness 2021) then needs about ten of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance import Covariance
from xatmo.errors import MissingValueError

Array = NDArray[np.float64]
Make = Callable[[float, float, float], Covariance]
Distance = Callable[[NDArray[np.intp], NDArray[np.intp]], Array]

TARGETS = 1200
"""Most conditional densities used."""
FIRST = 0.25
"""Part of them that are the first in the order, with distant neighbours; the rest is spread evenly over the others."""
NEIGHBOURS = 30
"""Observations that each of them is conditioned on."""
_GROWTH = 1.25  # the neighbours of a rank are sought among the ranks below it divided by at most this
_SCORINGS = 25
_STEP = 1e-3  # of the logarithm of a scale, for the derivative of a covariance


@dataclass(frozen=True)
class Scales:
    """What a covariance and the noise need; None where it is to be estimated."""

    length_scale: float | None = None
    time_scale: float | None = None
    noise_std: float | None = None
    signal_std: float | None = None

    def missing(self) -> tuple[str, ...]:
        """Names of the scales that are None."""
        return tuple(k for k, v in vars(self).items() if v is None)


@dataclass(frozen=True)
class Conditionals:
    """Conditional densities of some observations, each given its neighbours."""

    distance: Array  # (target, pair): pairs of a target and its neighbours, the target last
    lag: Array
    known: NDArray[np.bool_] | None  # (target, pair), where some neighbours do not exist
    values: Array  # (target, neighbour + 1), zero for a neighbour that does not exist
    square: NDArray[np.intp]  # pair at each place of the square matrix; past the pairs for the diagonal

    @classmethod
    def of(
        cls, distance: Distance, time: Array, values: Array, target: NDArray[np.intp], near: NDArray[np.intp]
    ) -> Conditionals:
        """Prepare the densities of observations ``target`` (n,) given ``near`` (n, m); -1 stands for no neighbour."""
        full = np.concatenate([near, target[:, None]], axis=1)
        there = full >= 0
        full = np.where(there, full, target[:, None])
        row, column = np.tril_indices(full.shape[1], -1)
        one, other = full[:, row], full[:, column]
        square = np.full((full.shape[1], full.shape[1]), row.size)
        square[row, column] = square[column, row] = np.arange(row.size)
        known = None if there.all() else there[:, row] & there[:, column]
        return cls(distance(one, other), time[one] - time[other], known, np.where(there, values[full], 0.0), square)

    def thinned(self, step: int) -> Conditionals:
        """Every ``step``-th."""
        known = None if self.known is None else self.known[::step]
        return Conditionals(self.distance[::step], self.lag[::step], known, self.values[::step], self.square)

    def matrices(self, covariance: Covariance, diagonal: float) -> Array:
        """Covariance matrices (target, neighbour + 1, neighbour + 1)."""
        n, pairs = self.distance.shape
        entries = np.empty((n, pairs + 1))
        entries[:, :-1] = covariance(self.distance, self.lag)
        if self.known is not None:
            entries[:, :-1] *= self.known
        entries[:, -1] = diagonal
        return np.take(entries, self.square, axis=1)

    def solve(self, covariance: Covariance, noise_variance: float) -> Solved | None:
        """Give means and variances; None where rounding makes a matrix indefinite."""
        matrix = self.matrices(covariance, covariance.signal_std**2 + noise_variance)
        cross = matrix[:, :-1, -1]
        try:
            both = np.linalg.solve(matrix[:, :-1, :-1], np.stack([cross, self.values[:, :-1]], axis=-1))
        except np.linalg.LinAlgError:
            return None
        explained = np.einsum("nm,nmk->nk", cross, both)
        variance = matrix[:, -1, -1] - explained[:, 0]
        # Beside the noise nothing may be lost: less is the sign of a matrix that is not a covariance.
        if not (variance > 0.5 * noise_variance).all():
            return None
        residual = self.values[:, -1] - explained[:, 1]
        cost = 0.5 * float(np.sum(np.log(2 * np.pi * variance) + residual**2 / variance))
        weight = np.concatenate([-both[:, :, 0], np.ones((len(both), 1))], axis=1)
        return Solved(cost, matrix, variance, residual, weight, np.asarray(both[:, :, 1], dtype=np.float64))


@dataclass(frozen=True)
class Solved:
    """Conditional densities at one choice of the scales."""

    cost: float  # minus the logarithm of their product
    matrix: Array  # (target, neighbour + 1, neighbour + 1): covariances of the observations
    variance: Array
    residual: Array
    weight: Array  # (target, neighbour + 1): the residual is their product with the values
    dual: Array  # (target, neighbour): inverse covariance of the neighbours times their values

    def derivatives(self, change: Array) -> tuple[Array, Array]:
        """Derive variance and residual, given the derivative of the matrices."""
        moved = np.matmul(change, self.weight[..., None])[..., 0]
        return np.einsum("nm,nm->n", self.weight, moved), -np.einsum("nm,nm->n", moved[:, :-1], self.dual)


def neighbours(points: Array, rank: NDArray[np.intp], count: int, growth: float = _GROWTH) -> NDArray[np.intp]:
    """Nearest points among those well before each rank, ``(rank, count)``; -1 where there are fewer."""
    from scipy.spatial import cKDTree

    out = np.full((rank.size, count), -1, dtype=np.intp)
    start = 1
    while start < len(points):
        stop = max(start + 1, int(start * growth))
        here = np.flatnonzero((rank >= start) & (rank < stop))
        if here.size:
            asked = min(count, start)
            out[here, :asked] = cKDTree(points[:start]).query(points[rank[here]], k=[*range(1, asked + 1)])[1]
        start = stop
    return out


def estimate(
    make: Make,
    distance: Distance,
    points: Array,
    time: Array,
    values: Array,
    given: Scales,
    *,
    extent: tuple[float, float],
    spacing: tuple[float, float],
) -> Scales:
    """Find the scales that are missing.

    The best of a lattice of scales is improved by Fisher scoring on at most `TARGETS` conditional densities, whose
    neighbours are the nearest by the scales found so far. The order is random with a fixed seed, after sorting by time
    and place: the same answer for the same observations in any order, at a cost that hardly grows with them.

    Parameters
    ----------
    make : callable
        Gives the covariance of a length scale, a time scale and a signal's standard deviation.
    distance : callable
        Distances between observations given by two arrays of indices of one shape.
    points : array (n_obs, 2 or 3)
        Places, in the unit of the length scale; two columns are degrees of latitude and longitude.
    time, values : arrays (n_obs,)
        Seconds; deviations from the background.
    given : Scales
    extent : (length, time)
        The largest scales worth considering: those of the box and the period.
    spacing : (length, time)
        The smallest: those of the grid.

    Raises
    ------
    MissingValueError
        If there are fewer than 10 observations.

    References
    ----------
    Vecchia 1988, J. R. Stat. Soc. B 50, 297-312. Guinness 2021, Stat. Comput. 31, 25, doi:10.1007/s11222-020-09999-1.
    """
    names = given.missing()
    if not names:
        return given
    if values.size < 10:
        message = (
            f"{values.size} observations came; wanted at least 10 to estimate {', '.join(names)} by maximum "
            "likelihood. Give these scales as keywords"
        )
        raise MissingValueError(message)
    total = float(np.sqrt(np.mean(values**2))) or 1.0
    bounds = {
        "length_scale": (spacing[0] / 2, 2 * extent[0]),
        "time_scale": (spacing[1] / 4, 4 * extent[1]),
        "noise_std": (1e-3 * total, 2 * total),
        "signal_std": (0.05 * total, 20 * total),
    }
    order = _order(points, time)
    chosen = _targets(values.size)

    def prepare(length: float, span: float) -> Conditionals:
        places = np.concatenate([_in_space(points[order]) / length, time[order, None] / span], axis=1)
        places += 1e-3 * np.random.default_rng(1).random(places.shape)  # none equally far, on a regular grid
        near = neighbours(places, chosen, NEIGHBOURS)
        near = np.where(near >= 0, order[near], -1)
        return Conditionals.of(distance, time, values, order[chosen], near)

    search = _Search(make, given, names, np.log([bounds[n] for n in names]))
    rough = {"length_scale": extent[0] / 8, "time_scale": extent[1] / 6}
    rough |= {k: v for k, v in vars(given).items() if k in rough and v is not None}
    lattice = {
        "length_scale": np.geomspace(max(1.5 * spacing[0], extent[0] / 40), max(extent[0] / 2, 3 * spacing[0]), 5),
        "time_scale": np.geomspace(max(1.5 * spacing[1], extent[1] / 40), max(2 * extent[1], 3 * spacing[1]), 5),
        "noise_std": total * np.array([0.06, 0.3]),
        "signal_std": np.array([total]),
    }
    data = prepare(rough["length_scale"], rough["time_scale"])
    few = data.thinned(max(chosen.size // 300, 1))
    starts = np.log([*product(*(lattice[n] for n in names))])
    x = starts[int(np.argmin([search.cost(few, s) for s in starts]))]
    x = search.improve(few, x, 6)
    found = search.scales(x)
    data = prepare(found["length_scale"], found["time_scale"])
    return Scales(**search.scales(search.improve(data, x, _SCORINGS)))


def _order(points: Array, time: Array) -> NDArray[np.intp]:
    """Draw a random order that does not depend on that of the observations."""
    if points.shape[1] == 2:
        keys = [np.round(points[:, 1] % 360, 6), np.round(points[:, 0], 6)]
    else:
        keys = [np.round(p) for p in points.T]
    return np.lexsort([*keys, time])[np.random.default_rng(0).permutation(time.size)]


def _targets(n: int) -> NDArray[np.intp]:
    """Ranks whose conditional densities are used."""
    if n <= TARGETS:
        return np.arange(n)
    first = int(TARGETS * FIRST)
    return np.concatenate([np.arange(first), np.linspace(first, n - 1, TARGETS - first).astype(np.intp)])


def _in_space(points: Array) -> Array:
    """Places whose straight distances tell which are near; the same wherever a row of longitudes begins."""
    if points.shape[1] != 2:
        return points
    east = np.radians(points[:, 1])
    return np.stack([points[:, 0], np.degrees(np.cos(east)), np.degrees(np.sin(east))], axis=1)


@dataclass(frozen=True)
class _Search:
    """Minimisation over the logarithms of the scales that are missing."""

    make: Make
    given: Scales
    names: tuple[str, ...]
    bounds: Array  # (name, 2), logarithms

    def scales(self, x: Array) -> dict[str, float]:
        out = {k: v for k, v in vars(self.given).items() if v is not None}
        return out | {k: float(v) for k, v in zip(self.names, np.exp(x), strict=True)}

    def solve(self, data: Conditionals, x: Array) -> Solved | None:
        s = self.scales(x)
        return data.solve(self.make(s["length_scale"], s["time_scale"], s["signal_std"]), s["noise_std"] ** 2)

    def cost(self, data: Conditionals, x: Array) -> float:
        solved = self.solve(data, x)
        return np.inf if solved is None else solved.cost

    def scoring(self, data: Conditionals, x: Array, solved: Solved) -> tuple[Array, Array]:
        """Gradient of the cost, and the information."""
        s = self.scales(x)
        squares, products = (solved.weight**2).sum(axis=1), (solved.weight[:, :-1] * solved.dual).sum(axis=1)
        by_noise = 2 * s["noise_std"] ** 2 * np.stack([squares, -products])  # only the diagonal changes
        changes = []
        for name in self.names:
            if name == "noise_std":
                changes.append(by_noise)
            elif name == "signal_std":
                changes.append(2 * np.stack(solved.derivatives(solved.matrix)) - by_noise)
            else:
                moved = s | {name: s[name] * np.exp(_STEP)}
                there = self.make(moved["length_scale"], moved["time_scale"], moved["signal_std"])
                change = (data.matrices(there, float(solved.matrix[0, 0, 0])) - solved.matrix) / _STEP
                changes.append(np.stack(solved.derivatives(change)))
        spread = np.array([c[0] for c in changes]) / solved.variance
        shift = np.array([c[1] for c in changes]) / np.sqrt(solved.variance)
        normal = solved.residual / np.sqrt(solved.variance)
        gradient = 0.5 * spread @ (1 - normal**2) + shift @ normal
        return gradient, 0.5 * spread @ spread.T + shift @ shift.T

    def improve(self, data: Conditionals, x: Array, most: int) -> Array:
        """Fisher scoring with halved steps, held within the bounds."""
        low, high = self.bounds.T
        x = np.clip(x, low, high)
        solved = self.solve(data, x)
        for _ in range(most):
            if solved is None:
                break
            gradient, information = self.scoring(data, x, solved)
            free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
            if not free.any():
                break
            matrix = information[np.ix_(free, free)]
            step = np.zeros_like(x)
            step[free] = -np.linalg.solve(matrix + np.diag(1e-3 * np.diag(matrix) + 1e-6), gradient[free])
            step *= min(1.0, 1.2 / max(float(np.abs(step).max()), 1e-12))
            for _ in range(8):
                there = np.clip(x + step, low, high)
                tried = self.solve(data, there)
                if tried is not None and tried.cost < solved.cost:
                    break
                step = step / 3
            else:
                break
            gain = solved.cost - tried.cost
            x, solved = there, tried
            if gain < 5e-3:
                break
        return x
