"""Analyses tile by tile: at once for a slab in memory, as one Dask task for each row of tiles otherwise.

A row of tiles lies at one range of times and one band of latitude, all around in longitude. It is analysed where it is
needed once, from the observations in its reach, and hands on sums of analyses and of error variances times weights.
Only tiles and scales decide what is computed, not the chunks that the observations come in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.dense._optimal import NOTHING, CovarianceProblem, most_together
from xatmo.assimilation.labels.observations import Nodes
from xatmo.assimilation.spde._variational import VariationalProblem
from xatmo.assimilation.tiling._tiling import Box, Cuts, Tiling
from xatmo.errors import MissingValueError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Part: TypeAlias = slice | NDArray[np.intp]
P = TypeVar("P", CovarianceProblem, VariationalProblem)


@dataclass(frozen=True)
class Slab:
    """What is known of some nodes, arrays (time, lat, lon)."""

    values: Array
    observed: Bools
    background: Array | None
    domain: Bools
    about: dict[str, Array]

    def take(self, time: Part, row: Part, column: Part) -> Slab:
        """Give the part on some nodes."""

        def part(a: Any) -> Any:
            return a[time][:, row][:, :, column]

        return Slab(
            part(self.values), part(self.observed), None if self.background is None else part(self.background),
            part(self.domain), {k: part(v) for k, v in self.about.items()},
        )  # fmt: skip


@dataclass(frozen=True)
class Tiles(Generic[P]):
    """A problem cut into tiles."""

    problem: P
    tiling: Tiling

    @classmethod
    def of(cls, problem: P, tiles: Any) -> Tiles[P]:
        """Cut a problem whose scales are known, on nodes in increasing order."""
        s = problem.scales
        scales = cast(float, s.time_scale), cast(float, s.length_scale)
        tiling = Tiling.of(
            problem.nodes, tiles, problem.reach(), scales, problem.tile_lengths(), timeless=problem.timeless
        )
        return cls(problem, tiling)

    def row(self, i: int, j: int, slab: Slab, mean: float) -> tuple[Array, Array]:
        """Analyse one row of tiles.

        Parameters
        ----------
        i, j : int
            Which of the times and of the bands.
        slab : Slab
            On the times and rows of ``tiling.region(i, j)``, and all columns.
        mean : float
            Background where there is none; NaN where there are no observations at all.

        Returns
        -------
        mean, variance : arrays (times of the tile, rows of the tile, n_lon)
            NaN outside the domain.
        """
        tiling: Tiling = self.tiling
        n = tiling.nodes.longitude.size
        times, rows = tiling.region(i, j)
        t, r = int(tiling.times.starts[i]), int(tiling.bands.starts[j])
        size: tuple[int, int] = (tiling.times.size, tiling.bands.size)
        out, variance = np.zeros((*size, n)), np.zeros((*size, n))
        inside = slice(t - times.start, t - times.start + size[0]), slice(r - rows.start, r - rows.start + size[1])
        wet = slab.domain[inside]
        columns = tiling.columns[j]
        for k in range(columns.count):
            at = columns.index(k)
            if not wet[:, :, at].any():
                continue
            c = int(columns.starts[k])
            box = t, t + size[0], r, r + size[1], c, c + columns.size
            one, spread = self.tile(box, slab, (times.start, rows.start), mean)
            weights = columns.weights(k)
            out[:, :, at] += weights * one
            variance[:, :, at] += weights * spread
        out[~wet] = np.nan
        variance[~wet] = np.nan
        return out, variance

    def tile(self, box: Box, slab: Slab, first: tuple[int, int], mean: float) -> tuple[Array, Array]:
        """Analyse the nodes of a box; in halves where too many observations are in reach."""
        tiling, n = self.tiling, self.tiling.nodes.longitude.size
        times, rows, c0, c1 = tiling.near(box)
        column = np.arange(c0, c1)
        part = slab.take(
            slice(times.start - first[0], times.stop - first[0]), slice(rows.start - first[1], rows.stop - first[1]),
            column % n,
        )  # fmt: skip
        if isinstance(self.problem, CovarianceProblem) and not self.problem.window:
            part = replace(part, observed=part.observed & tiling.within(box, times, rows, column))
        most = self.problem.most
        if most is not None and self._together(part, times, box) > most:
            halves = tiling.halves(box)
            if halves is not None:
                return self._in_halves(box, halves, slab, first, mean)
        wanted = (
            slice(box[0] - times.start, box[1] - times.start),
            slice(box[2] - rows.start, box[3] - rows.start),
            slice(box[4] - c0, box[5] - c0),
        )
        ring = tiling.nodes.periodic and c1 - c0 == n
        problem = self.problem.on(times, rows, column, wanted, ring=ring)
        background = part.background
        if background is None:
            if np.isnan(mean):
                raise MissingValueError(NOTHING)
            background = np.full(part.values.shape, mean)
        found, std = problem(part.values, part.observed, background, part.domain, **part.about)
        return found, std**2

    def _together(self, part: Slab, times: slice, box: Box) -> int:
        """Most observations that one dense system would hold."""
        if self.problem.timeless and isinstance(self.problem, CovarianceProblem):
            when = self.tiling.nodes.time
            each = part.observed.sum(axis=(1, 2))
            return most_together(each, when[times], when[box[0] : box[1]], self.problem.window["time"])
        return int(part.observed.sum())

    def _in_halves(
        self, box: Box, halves: tuple[int, Cuts], slab: Slab, first: tuple[int, int], mean: float
    ) -> tuple[Array, Array]:
        axis, cuts = halves
        shape = box[1] - box[0], box[3] - box[2], box[5] - box[4]
        out, variance = np.zeros(shape), np.zeros(shape)
        for k in range(cuts.count):
            start = int(cuts.starts[k])
            smaller = list(box)
            smaller[2 * axis : 2 * axis + 2] = box[2 * axis] + start, box[2 * axis] + start + cuts.size
            one, spread = self.tile(cast(Box, tuple(smaller)), slab, first, mean)
            place = tuple(slice(start, start + cuts.size) if a == axis else slice(None) for a in range(3))
            weights = cuts.weights(k).reshape([-1 if a == axis else 1 for a in range(3)])
            out[place] += weights * one
            variance[place] += weights * spread
        return out, variance

    def block(self, times: tuple[int, int], rows: tuple[int, int], parts: dict[tuple[int, int], Any]) -> Array:
        """Add up the rows of tiles ``(i, j)`` that touch a block: analysis and standard deviation, stacked first.

        Leading dimensions of the rows are kept.
        """
        tiling: Tiling = self.tiling
        lead: tuple[int, ...] = next(iter(parts.values()))[0].shape[:-3]
        out: Array = np.zeros((2, *lead, times[1] - times[0], rows[1] - rows[0], tiling.nodes.longitude.size))
        for (i, j), (one, variance) in parts.items():
            (t, at, w_time), (r, row, w_row) = (
                _shared(cuts, k, low, high)
                for cuts, k, (low, high) in ((tiling.times, i, times), (tiling.bands, j, rows))
            )
            weight = w_time[:, None, None] * w_row[:, None]
            out[0][..., at, row, :] += weight * one[..., t, r, :]
            out[1][..., at, row, :] += weight * variance[..., t, r, :]
        out[1] = np.sqrt(out[1])
        return out


def _shared(cuts: Cuts, k: int, low: int, high: int) -> tuple[slice, slice, Array]:
    """Tell what a piece and a range have in common: where in the piece, where in the range, and the weights there."""
    start = int(cuts.starts[k])
    a, b = max(low, start), min(high, start + cuts.size)
    return slice(a - start, b - start), slice(a - low, b - low), cuts.weights(k)[a - start : b - start]


@dataclass(frozen=True)
class Tiled(Generic[P]):
    """A slab analysed whole where that can be done, in tiles where asked or where it cannot; pickles to workers.

    Attributes
    ----------
    problem : Problem
    tiles : dict, "auto" or None
        None: whole, unless there are too many observations for one dense system, or nodes for one prior.
    """

    problem: P
    tiles: Any = None

    def __call__(
        self, values: Array, observed: Bools, background: Array | None, domain: Bools, **about: Array
    ) -> tuple[Array, Array]:
        slab = Slab(values, observed, background, domain, about)
        if self.tiles is None and not self.problem.too_large(observed.sum(axis=(1, 2))):
            return self.problem(values, observed, background, domain, **about)
        order, back = orders(self.problem.nodes)
        problem, slab = self.problem.reordered(order), slab.take(*order)
        problem = problem.with_scales(slab.values, slab.observed, slab.background, **slab.about)
        cut = Tiles.of(problem, "auto" if self.tiles is None else self.tiles)
        mean = 0.0
        if background is None and not problem.zero_mean:
            mean = float(values[observed].mean()) if observed.any() else np.nan
        out, std = np.empty(values.shape), np.empty(values.shape)
        done: dict[tuple[int, int], tuple[Array, Array]] = {}
        tiling = cut.tiling
        for t0, t1 in zip(tiling.times.edges[:-1], tiling.times.edges[1:], strict=True):
            used = tiling.times.touching(t0, t1)
            done = {k: v for k, v in done.items() if k[0] in used}
            for r0, r1 in zip(tiling.bands.edges[:-1], tiling.bands.edges[1:], strict=True):
                parts = {}
                for i in used:
                    for j in tiling.bands.touching(r0, r1):
                        if (i, j) not in done:
                            done[i, j] = cut.row(i, j, slab.take(*tiling.region(i, j), slice(None)), mean)
                        parts[i, j] = done[i, j]
                out[t0:t1, r0:r1], std[t0:t1, r0:r1] = cut.block((t0, t1), (r0, r1), parts)
        return out[back[0]][:, back[1]][:, :, back[2]], std[back[0]][:, back[1]][:, :, back[2]]


def orders(nodes: Nodes) -> tuple[tuple[Part, Part, Part], tuple[Part, Part, Part]]:
    """Find the order in which times and latitudes increase and a ring begins at 0 degrees; and the way back.

    Tiles are laid in this order, so that neither the direction nor the beginning of a file decides where they lie.
    """
    east = nodes.longitude
    wanted = nodes.time, nodes.latitude, np.round(east % 360, 6) if nodes.periodic else east
    order = [np.argsort(a, kind="stable") for a in wanted]
    return cast(Any, tuple(order)), cast(Any, tuple(np.argsort(o) for o in order))
