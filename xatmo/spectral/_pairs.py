"""Pairs of points by great-circle distance: drawn at random, evenly by area, as many for each distance or range."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.constants import EARTH_RADIUS
from xatmo.grids import Grid
from xatmo.typing import Floats

Indices = NDArray[np.int64]
Range = tuple[float, float]

_ROUNDS = 40
_ALL = 2_000_000
"""So many pairs of scattered points are looked at all; of more points pairs are drawn."""


@dataclass(frozen=True, eq=False)
class Points:
    """Scattered points, or a track: latitude and longitude in degrees, NaN where a place is not known."""

    latitude: Floats
    longitude: Floats

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Points) and (self._bytes == other._bytes)

    def __hash__(self) -> int:
        return hash(self._bytes)

    @cached_property
    def index(self) -> Indices:
        """Points whose place is known."""
        return np.flatnonzero(np.isfinite(self.latitude) & np.isfinite(self.longitude))

    @cached_property
    def known(self) -> Floats:
        """Unit vectors of the points whose place is known, ``(n, 3)``."""
        return unit(self.latitude[self.index], self.longitude[self.index])

    @property
    def _bytes(self) -> bytes:
        return self.latitude.tobytes() + self.longitude.tobytes()


@dataclass(frozen=True)
class Pairs:
    """Indices of both points of every pair into the flattened field, sorted by range of distances.

    Attributes
    ----------
    first, second : array (number of pairs,)
    apart : array (number of pairs,)
        How far in metres.
    counts : array (number of ranges,)
        Pairs in each range.
    distance : array (number of ranges,)
        Mean distance of the pairs in metres; NaN where there is none.
    """

    first: Indices
    second: Indices
    apart: Floats
    counts: Indices
    distance: Floats

    def select(self, ranges: Any) -> Pairs:
        """Keep some of the ranges."""
        kept = np.repeat(ranges, self.counts)
        first, second, apart = self.first[kept], self.second[kept], self.apart[kept]
        return Pairs(first, second, apart, self.counts[ranges], self.distance[ranges])


def default_ranges(where: Grid | Points, count: int) -> tuple[Range, ...]:
    """At most so many ranges side by side: from half the grid's step to the antipodes, or to half the size of a region.

    The ratios of their ends are equal but for the first ones, which are one step of the grid wide: of narrower ranges
    each node finds others in few directions only, or none, and which ones changes with latitude.
    """
    step = spacing(where)
    if isinstance(where, Points):
        low, high, widest = 0.9 * step, _size(where) / 2, 0.0
    else:
        low, high, widest = step / 2, np.pi * EARTH_RADIUS, step
        if not where.is_global:
            lat, lon = where.latitude_bounds, where.longitude_bounds
            corners = unit(lat[[0, -1]], np.array([lon[0], lon[0] + 180 if where.periodic else lon[-1]]))
            high = float(_arc(corners[0], corners[1])) / 2
    edges = [low]
    ratio = max(high / low, 2.0) ** (1 / count)
    while edges[-1] < 0.999 * max(high, 2 * low):
        edges.append(max(edges[-1] * ratio, edges[-1] + widest))
    edges[-1] = min(edges[-1], max(high, edges[-2] + widest / 2))
    return tuple(itertools.pairwise(float(x) for x in edges))


def ranges_about(where: Grid | Points, distances: Any) -> tuple[Range, ...]:
    """Half a step of the grid to either side of each distance (metres), or half the distance where that is less."""
    half = np.minimum(spacing(where), distances) / 2
    return tuple((float(d - h), float(d + h)) for d, h in zip(distances, half, strict=True))


def spacing(where: Grid | Points) -> float:
    """Step of a grid in metres: the longer of that between rows and that along the row nearest to the equator.

    Of points the usual distance of a point to the one nearest to it.
    """
    if isinstance(where, Points):
        from scipy.spatial import KDTree

        chord = KDTree(where.known).query(where.known, k=2)[0][:, 1]
        apart = 2 * EARTH_RADIUS * np.arcsin(np.minimum(chord[chord > 0] / 2, 1))
        return float(np.median(apart)) if apart.size else 1.0
    if len(where.shape) == 1:
        return float(EARTH_RADIUS * np.sqrt(4 * np.pi / where.shape[0]))
    across = np.abs(np.diff(where.latitude)).mean()
    along = np.diff(where.longitude).mean() * np.cos(np.radians(np.abs(where.latitude).min()))
    return float(EARTH_RADIUS * np.radians(max(across, along)))


@lru_cache(maxsize=8)
def draw(where: Grid | Points, ranges: tuple[Range, ...], n_pairs: int, seed: int) -> Pairs:
    """Draw about ``n_pairs`` pairs, the same number in every range of distances (metres).

    On a grid a point is drawn evenly by area and a second one at a random distance and in a random direction; both are
    moved to the nodes of their cells, and the pair counts if the distance between the nodes is in the range. So every
    place counts by its area, whatever the order or origin of rows and columns. Points of a track are taken with points
    farther along, as often near as far.
    """
    rng = np.random.default_rng(seed)
    keep = _Collected(ranges, -(-n_pairs // len(ranges)))
    if isinstance(where, Points):
        _from_points(where, keep, rng)
    else:
        _from_grid(where, keep, rng)
    return keep.pairs()


# ---------------------------------------------------------------------- grids
def _from_grid(grid: Grid, keep: _Collected, rng: Any) -> None:
    nodes, step = _Nodes(grid), spacing(grid)
    for turn in range(_ROUNDS):
        # What has given nothing so far will give nothing.
        missing = np.where((keep.counts == 0) & (turn > 2), 0, keep.missing)
        if not missing.any():
            break
        # Some fall outside the region or the range, so more are drawn, and more each time.
        each = np.where(missing > 0, np.minimum(missing * (5 + 3 * turn) // 4, 4 * keep.wanted) + 64, 0)
        ranges = np.repeat(np.arange(len(each)), each)
        # Moving to the nodes of their cells brings some into the range from outside.
        reach = np.where(keep.high[ranges] > 0, step, 0)
        low, high = np.maximum(keep.low[ranges] - reach, 0), keep.high[ranges] + reach
        arc = np.minimum((low + (high - low) * rng.random(ranges.size)) / EARTH_RADIUS, np.pi)
        sine, lon = nodes.anywhere(rng.random((2, ranges.size)))
        there = _walk(sine, lon, arc, 2 * np.pi * rng.random(ranges.size))
        inside = nodes.contains(*there)
        first, second = nodes.nearest(sine[inside], lon[inside]), nodes.nearest(*(x[inside] for x in there))
        keep.add(first, second, _arc(nodes.unit(first), nodes.unit(second)), ranges[inside], rng)


class _Nodes:
    """Finds the node in whose cell a place lies, on grids that are products of axes or made of rings."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.around = len(grid.shape) == 1 or grid.periodic
        lat = grid.latitude
        self.down = bool(lat[0] > lat[-1])
        bounds = np.sort(grid.latitude_bounds)
        self.rows = np.sin(np.radians(bounds))  # from south to north
        if len(grid.shape) == 1:
            rings: Any = grid
            self.sizes, self.starts, self.order = rings.ring_sizes, rings.ring_starts, rings.ring_order
            self.offsets = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        else:
            self.columns = grid.longitude_bounds
            step = np.diff(self.columns)
            self.step = float(step.mean()) if np.ptp(step) < 1e-6 * step.mean() else None  # found faster

    def anywhere(self, random: Any) -> tuple[Any, Any]:
        """Sine of latitude and longitude in degrees of places evenly by area, from numbers between 0 and 1."""
        sine = self.rows[0] + (self.rows[-1] - self.rows[0]) * random[0]
        if self.around:
            return sine, 360 * random[1]
        west, east = self.columns[[0, -1]]
        return sine, west + (east - west) * random[1]

    def contains(self, sine: Any, lon: Any) -> Any:
        inside = (sine >= self.rows[0]) & (sine <= self.rows[-1])
        if self.around:
            return inside
        west, east = self.columns[[0, -1]]
        return inside & ((lon - west) % 360 <= east - west)

    def nearest(self, sine: Any, lon: Any) -> Indices:
        """Index into the flattened field."""
        row = np.clip(np.searchsorted(self.rows, sine, side="right") - 1, 0, self.rows.size - 2)
        if self.down:
            row = self.rows.size - 2 - row
        if len(self.grid.shape) == 2:
            east = (lon - self.columns[0]) % 360
            if self.step is None:
                column = np.searchsorted(self.columns, east + self.columns[0], side="right") - 1
            else:
                column = (east / self.step).astype(np.int64)
            return np.asarray(row * self.grid.nlon + np.clip(column, 0, self.grid.nlon - 1), dtype=np.int64)
        size = self.sizes[row]
        column = np.rint((lon - self.starts[row]) % 360 * size / 360).astype(np.int64) % size
        index = self.offsets[row] + column
        return np.asarray(index if self.order is None else self.order[index], dtype=np.int64)

    def unit(self, index: Any) -> Floats:
        if len(self.grid.shape) == 2:
            row, column = np.divmod(index, self.grid.nlon)
            return unit(self.grid.latitude[row], self.grid.longitude[column])
        rings: Any = self.grid
        return unit(rings.point_latitude[index], rings.point_longitude[index])


def _walk(sine: Any, lon: Any, arc: Any, bearing: Any) -> tuple[Any, Any]:
    """Where one arrives after ``arc`` radians of a great circle (sine of latitude, longitude in degrees)."""
    cosine = np.sqrt(1 - sine**2)
    there = np.clip(sine * np.cos(arc) + cosine * np.sin(arc) * np.cos(bearing), -1, 1)
    turn = np.arctan2(np.sin(bearing) * np.sin(arc) * cosine, np.cos(arc) - sine * there)
    return there, lon + np.degrees(turn)


# ---------------------------------------------------------------------- scattered points
def _from_points(points: Points, keep: _Collected, rng: Any) -> None:
    where = points.known
    n = len(where)
    every = np.arange(len(keep.low))
    if n * (n - 1) // 2 <= _ALL:
        first, second = np.triu_indices(n)
        distance = _arc(where[first], where[second])
        for i in every:
            near = np.flatnonzero((distance >= keep.low[i]) & (distance <= keep.high[i]))
            keep.add(points.index[first[near]], points.index[second[near]], distance[near], np.full(near.size, i), rng)
        return
    for _ in range(_ROUNDS):
        if not keep.missing.any():
            break
        size = 2 * keep.wanted * len(every)
        lag = np.exp(rng.random(size) * np.log(n)).astype(np.int64) - 1
        lag[::2] = rng.integers(0, n, size)[::2]  # order need not mean nearness
        first = rng.integers(0, n, size)
        second = (first + lag) % n
        distance = _arc(where[first], where[second])
        for i in every[keep.missing > 0]:
            near = np.flatnonzero((distance >= keep.low[i]) & (distance <= keep.high[i]))
            keep.add(points.index[first[near]], points.index[second[near]], distance[near], np.full(near.size, i), rng)


def _size(points: Points) -> float:
    """Distance in metres from the first point to the farthest."""
    where = points.known
    return float(_arc(np.broadcast_to(where[0], where.shape), where).max())


# ---------------------------------------------------------------------- both
class _Collected:
    """Pairs so far, at most ``wanted`` in each range."""

    def __init__(self, ranges: tuple[Range, ...], wanted: int) -> None:
        self.low, self.high = np.array(ranges).T
        self.wanted = wanted
        self.parts: list[tuple[Any, ...]] = []
        self.counts = np.zeros(len(ranges), dtype=np.int64)

    @property
    def missing(self) -> Indices:
        return self.wanted - self.counts

    def add(self, first: Indices, second: Indices, distance: Floats, ranges: Indices, rng: Any) -> None:
        """Keep those of the pairs drawn for a range that lie in it and are missing."""
        # Nodes on a pole are several columns at one place.
        apart = (distance > 1.0) | (self.high[ranges] == 0)
        good = np.flatnonzero(apart & (distance >= self.low[ranges]) & (distance <= self.high[ranges]))
        good = rng.permutation(good)
        good = good[np.argsort(ranges[good], kind="stable")]
        found = np.bincount(ranges[good], minlength=self.counts.size)
        place = np.arange(good.size) - np.repeat(np.cumsum(found) - found, found)
        good = good[place < self.missing[ranges[good]]]
        self.parts.append((first[good], second[good], distance[good], ranges[good]))
        self.counts += np.bincount(ranges[good], minlength=self.counts.size)

    def pairs(self) -> Pairs:
        """All of them, sorted by range."""
        first, second, distance, ranges = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        with np.errstate(invalid="ignore"):
            mean = np.bincount(ranges, distance, self.counts.size) / self.counts
        order = np.argsort(ranges, kind="stable")
        return Pairs(first[order], second[order], distance[order], self.counts, mean)


def unit(latitude: Any, longitude: Any) -> Floats:
    """Make unit vectors, ``(n, 3)``."""
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _arc(first: Floats, second: Floats) -> Floats:
    """Great-circle distance in metres between unit vectors, good at short and at long distances."""
    apart, opposite = np.linalg.norm(first - second, axis=-1), np.linalg.norm(first + second, axis=-1)
    return np.asarray(2 * EARTH_RADIUS * np.arctan2(apart, opposite))
