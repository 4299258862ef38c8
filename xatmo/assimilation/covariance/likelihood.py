"""Scales of a covariance by maximum likelihood from the observations.

The likelihood is a product of conditional densities: of each observation, given its nearest ones among those before it
in a random order (Vecchia 1988). The first in that order have only distant neighbours, the last close ones, so that
long lags count as well as short ones. Its gradient and its information come from the same small solves; scoring
(Guinness 2021) then needs about ten of them. Drift and anisotropy are estimated with the scales: they move the places
at which a covariance sees the observations, see `xatmo.assimilation.covariance.frame`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Frame, Pair, separation, transform
from xatmo.assimilation.covariance.functions import Covariance
from xatmo.assimilation.covariance.noise import Errors
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
_CONVERGED = 5e-3  # gain of log-likelihood by a step: the scales are known to a tenth of their errors
_FEW = 300  # densities that tell a rough answer
_STARTS = 3
_STEP = 1e-3  # of the logarithm of a scale, for the derivative of a covariance
_SCALES = ("length_scale", "time_scale", "noise_std", "signal_std")
_FREE = {"drift": ("drift_east", "drift_north"), "shape": ("shape_a", "shape_b")}
_FASTEST = 4.0  # largest drift along an axis, in length scales by time scale of the first guess
_TOLD = 0.5 * 9.21  # gain of log-likelihood above which a drift is not chance: 1 percent of chi squared, 2 parameters
_FLATTEST = 1.5  # largest a or b of the shape: lengths that differ by a factor of 20


@dataclass(frozen=True)
class Scales:
    """What a covariance and the noise need; None where it is to be estimated.

    Attributes
    ----------
    length_scale, time_scale, noise_std, signal_std : float, optional
    shape, drift : (float, float), optional
        Of the `Frame` in which distances are taken: anisotropy, and eastward and northward velocity. None where they
        are to be estimated.
    """

    length_scale: float | None = None
    time_scale: float | None = None
    noise_std: float | None = None
    signal_std: float | None = None
    shape: Pair | None = (0.0, 0.0)
    drift: Pair | None = (0.0, 0.0)

    def missing(self) -> tuple[str, ...]:
        """Names of what is None."""
        return tuple(k for k, v in vars(self).items() if v is None)


@dataclass(frozen=True)
class Conditionals:
    """Conditional densities of some observations, each given its neighbours."""

    distance: Array  # (target, pair): pairs of a target and its neighbours, the target last
    lag: Array
    known: NDArray[np.bool_] | None  # (target, pair), where some neighbours do not exist
    values: Array  # (target, neighbour + 1), zero for a neighbour that does not exist
    square: NDArray[np.intp]  # pair at each place of the square matrix; past the pairs for the diagonal
    gap: Array | None = None  # (3, target, pair): differences of the coordinates, where the frame is to be found
    variance: Array | None = None  # (target, neighbour + 1): of errors that are known
    shared: Array | None = None  # (target, pair): covariance of errors that are known

    @classmethod
    def of(
        cls,
        distance: Distance,
        time: Array,
        values: Array,
        target: NDArray[np.intp],
        near: NDArray[np.intp],
        axes: Array | None = None,
        errors: Errors | None = None,
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
        lag, gap, variance, shared = time[one] - time[other], None, None, None
        if axes is not None:
            gap = np.stack([a[one] - a[other] for a in axes.T])
        if errors is not None:
            variance = errors.variance[full]
            if errors.track is not None and errors.passes is not None:
                shared = errors.track.covariance(errors.passes[one], errors.passes[other], lag)
                variance = variance + errors.track.std**2
        seen = np.where(there, values[full], 0.0)
        return cls(distance(one, other), lag, known, seen, square, gap, variance, shared)

    def thinned(self, step: int) -> Conditionals:
        """Every ``step``-th."""
        parts = {
            k: getattr(self, k)[::step]
            for k in ("distance", "lag", "known", "values", "variance", "shared")
            if getattr(self, k) is not None
        }
        return replace(self, **parts, gap=None if self.gap is None else self.gap[:, ::step])

    def seen(self, shape: Pair, drift: Pair) -> Conditionals:
        """Give the same with the distances of another frame."""
        if self.gap is None:
            return self
        return replace(self, distance=separation(self.gap, self.lag, shape, drift))

    def matrices(self, covariance: Covariance, diagonal: float) -> Array:
        """Covariance matrices (target, neighbour + 1, neighbour + 1)."""
        n, pairs = self.distance.shape
        entries = np.empty((n, pairs + 1))
        entries[:, :-1] = covariance(self.distance, self.lag)
        if self.shared is not None:
            entries[:, :-1] += self.shared
        if self.known is not None:
            entries[:, :-1] *= self.known
        entries[:, -1] = diagonal
        out = np.take(entries, self.square, axis=1)
        if self.variance is not None:
            place = np.arange(out.shape[1])
            out[:, place, place] += self.variance
        return out

    def without_errors(self) -> Conditionals:
        """Give the same for observations whose known errors are left out."""
        return replace(self, variance=None, shared=None)

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
        floor = noise_variance if self.shared is not None or self.variance is None else (
            noise_variance + self.variance[:, -1]
        )  # fmt: skip
        if not (variance > np.maximum(0.5 * floor, 0)).all():
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
    frame: Frame | None = None,
    errors: Errors | None = None,
    targets: int = TARGETS,
    count: int = NEIGHBOURS,
) -> Scales:
    """Find the scales that are missing, and drift and anisotropy where they are asked for.

    The best of a lattice of scales are improved by Fisher scoring on at most ``targets`` conditional densities, whose
    neighbours are the nearest by the scales found so far. The order is random with a fixed seed, after sorting by time
    and place: the same answer for the same observations in any order, at a cost that hardly grows with them. A drift is
    zero unless the ratio of likelihoods with and without it is beyond chance, at a level of 1 percent.

    Parameters
    ----------
    make : callable
        Gives the covariance of a length scale, a time scale and a signal's standard deviation.
    distance : callable
        Distances between observations given by two arrays of indices of one shape.
    points : array (n_obs, 2 or 3)
        Places, in the unit of the length scale; two columns are degrees of latitude and longitude. With a frame, its
        axes (n_obs, 3).
    time, values : arrays (n_obs,)
        Seconds; deviations from the background.
    given : Scales
    extent : (length, time)
        The largest scales worth considering: those of the box and the period.
    spacing : (length, time)
        The smallest: those of the grid.
    frame : Frame, optional
        In which distances are taken, unless ``given`` says otherwise; needed to estimate its drift or shape.
    errors : Errors, optional
        What is known of the observations' errors, beside ``noise_std``.
    targets, count : int
        Most conditional densities used, and the observations that each is conditioned on.

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
        "length_scale": np.log([spacing[0] / 2, 2 * extent[0]]),
        "time_scale": np.log([spacing[1] / 4, 4 * extent[1]]),
        "noise_std": np.log([1e-3 * total, 2 * total]),
        "signal_std": np.log([0.05 * total, 20 * total]),
        **dict.fromkeys(_FREE["drift"], np.array([-_FASTEST, _FASTEST])),
        **dict.fromkeys(_FREE["shape"], np.array([-_FLATTEST, _FLATTEST])),
    }
    order = _order(points, time)
    chosen = _targets(values.size, targets)

    def prepare(near_by: Scales) -> Conditionals:
        length, span = cast(float, near_by.length_scale), cast(float, near_by.time_scale)
        seen = points if frame is None else transform(points, time, near_by.shape or _NONE, near_by.drift or _NONE)
        places = np.concatenate([_in_space(seen[order]) / length, time[order, None] / span], axis=1)
        places += 1e-3 * np.random.default_rng(1).random(places.shape)  # none equally far, on a regular grid
        near = neighbours(places, chosen, count)
        near = np.where(near >= 0, order[near], -1)
        axes = None if frame is None else points
        return Conditionals.of(distance, time, values, order[chosen], near, axes, errors)

    rough = {"length_scale": extent[0] / 8, "time_scale": extent[1] / 6}
    rough |= {k: v for k, v in vars(given).items() if k in rough and v is not None}
    unit = rough["length_scale"] / rough["time_scale"]
    free = tuple(n for name in names for n in _FREE.get(name, (name,)))
    search = _Search(make, given, free, np.array([bounds[n] for n in free]), unit)
    lattice = {
        "length_scale": np.log(
            np.geomspace(max(1.5 * spacing[0], extent[0] / 40), max(extent[0] / 2, 3 * spacing[0]), 5)
        ),
        "time_scale": np.log(
            np.geomspace(max(1.5 * spacing[1], extent[1] / 40), max(2 * extent[1], 3 * spacing[1]), 5)
        ),
        "noise_std": np.log(total * np.array([0.06, 0.3])),
        "signal_std": np.log([total]),
    }
    data = prepare(replace(given, length_scale=rough["length_scale"], time_scale=rough["time_scale"]))
    few = data.thinned(max(chosen.size // _FEW, 1))
    starts = np.array([*product(*(lattice.get(n, np.zeros(1)) for n in free))])
    best = starts[np.argsort([search.cost(few, s) for s in starts], kind="stable")[:_STARTS]]
    x = min((search.improve(few, s, 6) for s in best), key=lambda s: search.cost(few, s))
    if "drift" in names:
        x = search.improve(few, search.fastest(few, x), 6)
    data = prepare(search.scales(x))
    x = search.improve(data, x, _SCORINGS)
    if "drift" not in names:
        return search.scales(x)
    data = prepare(search.scales(x))  # other neighbours are near where the water is seen to move
    x = search.improve(data, x, _SCORINGS)
    still, at_rest = search.without_drift(x)
    at_rest = still.improve(data, at_rest, _SCORINGS)
    if still.cost(data, at_rest) - search.cost(data, x) > _TOLD:
        return search.scales(x)
    return still.scales(still.improve(prepare(still.scales(at_rest)), at_rest, _SCORINGS))


_NONE = (0.0, 0.0)


def _order(points: Array, time: Array) -> NDArray[np.intp]:
    """Draw a random order that does not depend on that of the observations."""
    if points.shape[1] == 2:
        keys = [np.round(points[:, 1] % 360, 6), np.round(points[:, 0], 6)]
    else:
        keys = [np.round(p) for p in points.T]
    return np.lexsort([*keys, time])[np.random.default_rng(0).permutation(time.size)]


def _targets(n: int, most: int) -> NDArray[np.intp]:
    """Ranks whose conditional densities are used."""
    if n <= most:
        return np.arange(n)
    first = int(most * FIRST)
    return np.concatenate([np.arange(first), np.linspace(first, n - 1, most - first).astype(np.intp)])


def _in_space(points: Array) -> Array:
    """Places whose straight distances tell which are near; the same wherever a row of longitudes begins."""
    if points.shape[1] != 2:
        return points
    east = np.radians(points[:, 1])
    return np.stack([points[:, 0], np.degrees(np.cos(east)), np.degrees(np.sin(east))], axis=1)


@dataclass(frozen=True)
class _Search:
    """Minimisation over the logarithms of the scales that are missing, and over drift and shape."""

    make: Make
    given: Scales
    names: tuple[str, ...]
    bounds: Array  # (name, 2): of logarithms, of drifts by ``unit``, of shapes
    unit: float = 1.0

    def scales(self, x: Array) -> Scales:
        """Give what ``x`` stands for."""
        at = dict(zip(self.names, x, strict=True))
        found: dict[str, float | Pair] = {k: float(np.exp(at[k])) for k in _SCALES if k in at}
        for name, (one, other) in _FREE.items():
            if one in at:
                factor = self.unit if name == "drift" else 1.0
                found[name] = float(at[one] * factor), float(at[other] * factor)
        return replace(self.given, **found)  # type: ignore[arg-type]

    def covariance(self, s: Scales) -> Covariance:
        return self.make(cast(float, s.length_scale), cast(float, s.time_scale), cast(float, s.signal_std))

    def solve(self, data: Conditionals, x: Array) -> Solved | None:
        s = self.scales(x)
        return data.seen(s.shape or _NONE, s.drift or _NONE).solve(self.covariance(s), cast(float, s.noise_std) ** 2)

    def cost(self, data: Conditionals, x: Array) -> float:
        solved = self.solve(data, x)
        return np.inf if solved is None else solved.cost

    def scoring(self, data: Conditionals, x: Array, solved: Solved) -> tuple[Array, Array]:
        """Gradient of the cost, and the information."""
        s = self.scales(x)
        noise, signal = cast(float, s.noise_std), cast(float, s.signal_std)
        squares, products = (solved.weight**2).sum(axis=1), (solved.weight[:, :-1] * solved.dual).sum(axis=1)
        by_noise = 2 * noise**2 * np.stack([squares, -products])  # only the diagonal changes
        here = data.seen(s.shape or _NONE, s.drift or _NONE)
        changes = []
        for place, name in enumerate(self.names):
            if name == "noise_std":
                changes.append(by_noise)
            elif name == "signal_std" and data.variance is None and data.shared is None:
                changes.append(2 * np.stack(solved.derivatives(solved.matrix)) - by_noise)
            elif name == "signal_std":
                only = here.without_errors().matrices(self.covariance(s), signal**2)
                changes.append(2 * np.stack(solved.derivatives(only)))
            else:
                moved = self.scales(x + _STEP * np.eye(x.size)[place])
                there = here if name in _SCALES else data.seen(moved.shape or _NONE, moved.drift or _NONE)
                covariance = self.covariance(moved)
                matrix = there.matrices(covariance, covariance.signal_std**2 + noise**2)
                changes.append(np.stack(solved.derivatives((matrix - solved.matrix) / _STEP)))
        spread = np.array([c[0] for c in changes]) / solved.variance
        shift = np.array([c[1] for c in changes]) / np.sqrt(solved.variance)
        normal = solved.residual / np.sqrt(solved.variance)
        gradient = 0.5 * spread @ (1 - normal**2) + shift @ normal
        return gradient, 0.5 * spread @ spread.T + shift @ shift.T

    def without_drift(self, x: Array) -> tuple[_Search, Array]:
        """Give the search in which nothing drifts, and where in it the other scales are those of ``x``."""
        keep = [place for place, name in enumerate(self.names) if name not in _FREE["drift"]]
        names = tuple(self.names[place] for place in keep)
        return replace(self, given=replace(self.given, drift=_NONE), names=names, bounds=self.bounds[keep]), x[keep]

    def fastest(self, data: Conditionals, x: Array) -> Array:
        """Look for the best drift around: a field that moves seems to be forgotten soon, until its drift is known."""
        east, north = (self.names.index(n) for n in _FREE["drift"])
        best, least = x, self.cost(data, x)
        for speed in (0.25, 0.6, 1.4):
            for angle in np.arange(8) * np.pi / 4:
                for longer in (0.0, 0.7):
                    tried = x.copy()
                    tried[[east, north]] = speed * np.cos(angle), speed * np.sin(angle)
                    if "time_scale" in self.names:
                        tried[self.names.index("time_scale")] += longer
                    elif longer:
                        continue
                    cost = self.cost(data, np.clip(tried, *self.bounds.T))
                    if cost < least:
                        best, least = np.clip(tried, *self.bounds.T), cost
        return best

    def improve(self, data: Conditionals, x: Array, most: int) -> Array:
        """Fisher scoring with halved steps, held within the bounds."""
        low, high = self.bounds.T
        x = np.clip(x, low, high)
        solved = self.solve(data, x)
        if solved is None:
            logging.getLogger(__name__).warning("scales: the matrices of the first guess are indefinite to rounding")
            return x
        for _ in range(most if x.size else 0):
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
            if gain < _CONVERGED:
                break
        else:
            if most == _SCORINGS and x.size:
                note = "scales: the likelihood still rises after %d steps, by %.2g in the last"
                logging.getLogger(__name__).warning(note, most, gain)
        return x
