"""Overlapping tiles of a grid of times, latitudes and longitudes: where they lie, what they read, how they add up.

Tiles are cut in time and in latitude; each band of latitude is cut in longitude into tiles of about the same width over
the ground, so that those near a pole are as large as others. Weights fall to zero towards the edges of a tile, and are
divided by their sum, along each axis: together they are 1 everywhere. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.labels.observations import Nodes
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Box = tuple[int, int, int, int, int, int]
"""First and last + 1 of times, rows and columns; columns may count on beyond the last of a ring."""

_METRES = float(np.radians(EARTH_RADIUS))  # of one degree of latitude
_AXES = ("time", "lat", "lon")
_LEAST = {"time": 4, "lat": 8, "lon": 8}
"""Nodes of the smallest tile that is chosen."""
_OVERLAP = 0.5  # scales that neighbouring tiles have in common


@dataclass(frozen=True, eq=False)
class Cuts:
    """One axis in overlapping pieces of one length.

    Attributes
    ----------
    starts : array (n_pieces,)
    size : int
        Nodes of each piece.
    points : int
        Nodes of the axis.
    ramp : int
        Nodes over which weights grow from the edge of a piece.
    periodic : bool
        Whether pieces go on from the last node to the first.
    """

    starts: Ints
    size: int
    points: int
    ramp: int
    periodic: bool = False

    @classmethod
    def of(cls, points: int, size: int, overlap: int, *, periodic: bool = False) -> Cuts:
        """Spread as few pieces as overlap enough, evenly; the whole axis is one piece where ``size`` does not fit in.

        Examples
        --------
        >>> Cuts.of(10, 4, 1).starts, Cuts.of(10, 5, 1, periodic=True).starts
        (array([0, 3, 6]), array([0, 3, 6]))
        """
        if size >= points:
            return cls(np.zeros(1, dtype=np.intp), points, points, 0)
        overlap = min(overlap, size // 2)
        stride = max(size - overlap, 1)
        if periodic:
            count = -(-points // stride)
            return cls((np.arange(count) * points / count).astype(np.intp), size, points, overlap, True)
        count = -(-(points - size) // stride) + 1
        return cls(np.rint(np.linspace(0, points - size, count)).astype(np.intp), size, points, overlap)

    @property
    def count(self) -> int:
        """Number of pieces."""
        return int(self.starts.size)

    def index(self, k: int) -> Ints:
        """Nodes of a piece."""
        return np.asarray((self.starts[k] + np.arange(self.size)) % self.points, dtype=np.intp)

    def _raw(self, k: int) -> Array:
        weights = np.ones(self.size)
        if self.ramp:
            rise = np.sin(np.pi / 2 * np.minimum((np.arange(self.size) + 0.5) / self.ramp, 1)) ** 2
            if self.periodic or self.starts[k] > 0:
                weights *= rise
            if self.periodic or self.starts[k] + self.size < self.points:
                weights *= rise[::-1]
        return weights

    @cached_property
    def _total(self) -> Array:
        total = np.zeros(self.points)
        for k in range(self.count):
            total[self.index(k)] += self._raw(k)
        return total

    def weights(self, k: int) -> Array:
        """Weights of a piece ``(size,)``; those of all pieces add up to 1 at every node."""
        return np.asarray(self._raw(k) / self._total[self.index(k)])

    @cached_property
    def edges(self) -> Ints:
        """Where results are cut so that few pieces take part in each: at the middle of what neighbours share."""
        inner = (self.starts[1:] + self.starts[:-1] + self.size) // 2
        return np.unique(np.concatenate([[0], inner, [self.points]])).astype(np.intp)

    def touching(self, low: int, high: int) -> list[int]:
        """Pieces with nodes in ``low .. high - 1``, on an axis that is no ring."""
        return [k for k, start in enumerate(self.starts) if start < high and start + self.size > low]


@dataclass(frozen=True)
class Reach:
    """How far from a tile observations are used.

    Attributes
    ----------
    seconds : float
    distance : float
        Metres, or degrees of the plane.
    metric : {"sphere", "degrees"}
    """

    seconds: float
    distance: float
    metric: str

    @property
    def north(self) -> float:
        """Degrees of latitude."""
        return self.distance if self.metric == "degrees" else self.distance / _METRES

    def east(self, highest: float) -> float:
        """Degrees of longitude that points within reach of a parallel can be away; 180 over a pole."""
        if self.metric == "degrees":
            return min(self.distance, 180.0)
        reach, lat = np.radians(self.north), np.radians(min(highest, 90.0))
        if reach + lat >= np.pi / 2 - 1e-9:
            return 180.0
        return float(np.degrees(np.arcsin(np.sin(reach) / np.cos(lat))))


@dataclass(frozen=True, eq=False)
class Tiling:
    """Tiles of a grid whose times and latitudes increase, and whose longitudes increase from the first column on.

    Attributes
    ----------
    nodes : Nodes
    times, bands : Cuts
    columns : tuple of Cuts
        Of each band.
    reach : Reach
    scales : (seconds, degrees of latitude)
        By which sizes are compared when a tile has to be divided.
    """

    nodes: Nodes
    times: Cuts
    bands: Cuts
    columns: tuple[Cuts, ...]
    reach: Reach
    scales: tuple[float, float]

    @classmethod
    def of(
        cls, nodes: Nodes, tiles: Mapping[str, Any] | str, reach: Reach, scales: tuple[float, float],
        lengths: tuple[float, float], *, timeless: bool = False,
    ) -> Tiling:  # fmt: skip
        """Cut a grid.

        Parameters
        ----------
        nodes : Nodes
            With increasing times and latitudes.
        tiles : dict or "auto"
            Nodes of a tile; see `sizes_of`.
        reach : Reach
        scales : (seconds, metres or degrees)
            Time scale and length scale.
        lengths : (float, float)
            Lengths of tiles in time scales and length scales, where they are not told.
        timeless : bool
            Whether each time is analysed for itself, so that tiles need not overlap in time.
        """
        north = scales[1] if reach.metric == "degrees" else scales[1] / _METRES
        spacing = _spacing(nodes.time), _spacing(nodes.latitude), _spacing(nodes.longitude)
        unit = dict(zip(_AXES, (scales[0], north, north), strict=True))
        step = dict(zip(_AXES, spacing, strict=True))
        wanted = dict(zip(_AXES, (lengths[0], lengths[1], lengths[1]), strict=True))
        points = dict(zip(_AXES, (nodes.time.size, nodes.latitude.size, nodes.longitude.size), strict=True))
        given = sizes_of(tiles)
        sizes, shared = {}, {}
        for axis in _AXES:
            if given is not None:
                sizes[axis] = given.get(axis, points[axis])
                shared[axis] = max(min(sizes[axis] // 4, _nodes(_OVERLAP * unit[axis], step[axis])), 2)
            else:
                sizes[axis] = max(_nodes(wanted[axis] * unit[axis], step[axis]), _LEAST[axis])
                shared[axis] = max(_nodes(_OVERLAP * unit[axis], step[axis]), 2)
                around = 2 * _nodes(reach.seconds if axis == "time" else reach.north, step[axis])
                if sizes[axis] + around >= points[axis] and not (timeless and axis == "time"):
                    sizes[axis] = points[axis]  # a tile in the middle would see all of it anyhow
        times = Cuts.of(points["time"], sizes["time"], 0 if timeless else shared["time"])
        bands = Cuts.of(points["lat"], sizes["lat"], shared["lat"])
        columns = []
        for j in range(bands.count):
            lat = nodes.latitude[bands.index(j)]
            narrow = 1.0
            if given is None and reach.metric == "sphere":
                narrow = max(float(np.cos(np.radians(np.abs(lat.mean())))), 1e-3)
            columns.append(
                Cuts.of(
                    points["lon"],
                    round(sizes["lon"] / narrow),
                    round(shared["lon"] / narrow),
                    periodic=nodes.periodic,
                )
            )
        return cls(nodes, times, bands, tuple(columns), reach, (scales[0], north))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.times.count * sum(c.count for c in self.columns)

    def region(self, i: int, j: int) -> tuple[slice, slice]:
        """Give the times and rows within reach of the tiles at one time and latitude."""
        t, r = int(self.times.starts[i]), int(self.bands.starts[j])
        return self.near((t, t + self.times.size, r, r + self.bands.size, 0, 0))[:2]

    def near(self, box: Box) -> tuple[slice, slice, int, int]:
        """Give times, rows, and first and last + 1 column within reach of a box; columns may be negative on a ring."""
        t0, t1, r0, r1, c0, c1 = box
        nodes, reach = self.nodes, self.reach
        when = _between(nodes.time, nodes.time[t0] - reach.seconds, nodes.time[t1 - 1] + reach.seconds)
        south, north = nodes.latitude[r0], nodes.latitude[r1 - 1]
        rows = _between(nodes.latitude, south - reach.north, north + reach.north)
        if c1 <= c0:
            return when, rows, 0, nodes.longitude.size
        side = _nodes(reach.east(float(max(abs(south), abs(north)))), _spacing(nodes.longitude))
        n = nodes.longitude.size
        if not nodes.periodic:
            return when, rows, max(c0 - side, 0), min(c1 + side, n)
        if c1 - c0 + 2 * side >= n:  # the whole ring, the box in its middle
            first = c0 - (n - (c1 - c0)) // 2
            return when, rows, first, first + n
        return when, rows, c0 - side, c1 + side

    def within(self, box: Box, times: slice, rows: slice, column: Ints) -> NDArray[np.bool_]:
        """Tell which nodes are in reach in space and time together: their distances in units of the reach add squared.

        Distances are those from the edges of the box, east and west along its parallels that are nearest to a pole.
        """
        nodes, reach = self.nodes, self.reach
        gaps = []
        for axis, picked, low, high in (
            (nodes.time, times, box[0], box[1]), (nodes.latitude, rows, box[2], box[3]),
        ):  # fmt: skip
            here = axis[picked]
            gaps.append(np.maximum(np.maximum(axis[low] - here, here - axis[high - 1]), 0))
        steps = np.maximum(np.maximum(box[4] - column, column - (box[5] - 1)), 0)
        if nodes.periodic:  # a ring as wide as all columns comes back from the other side
            n = nodes.longitude.size
            steps = np.minimum(steps, np.maximum(n - (box[5] - box[4]) + 1 - steps, 0))
        highest = float(np.abs(nodes.latitude[[box[2], box[3] - 1]]).max())
        late, north = gaps[0] / max(reach.seconds, 1e-9), gaps[1] / reach.north
        east = steps * _spacing(nodes.longitude) / reach.east(highest)
        return np.asarray(late[:, None, None] ** 2 + north[:, None] ** 2 + east**2 <= 1 + 1e-9)

    def halves(self, box: Box) -> tuple[int, Cuts] | None:
        """Give the axis along which a box is longest in scales, and its halves; None where it is small already."""
        t0, t1, r0, r1, c0, c1 = box
        nodes = self.nodes
        wide = (c1 - c0) * _spacing(nodes.longitude)
        if self.reach.metric == "sphere":
            wide *= float(np.cos(np.radians(nodes.latitude[r0:r1])).max())
        long = (
            (nodes.time[t1 - 1] - nodes.time[t0]) / self.scales[0],
            (nodes.latitude[r1 - 1] - nodes.latitude[r0]) / self.scales[1],
            wide / self.scales[1],
        )
        sizes = t1 - t0, r1 - r0, c1 - c0
        allowed = [axis for axis in range(3) if long[axis] > _OVERLAP and sizes[axis] >= 4]
        if not allowed:
            return None
        axis = max(allowed, key=lambda a: float(long[a]))
        size = sizes[axis]
        return axis, Cuts.of(size, size // 2 + max(size // 8, 1), 2 * max(size // 8, 1))


def sizes_of(tiles: Any) -> dict[str, int] | None:
    """Read nodes of a tile by axis; None for ``"auto"``.

    Raises
    ------
    OptionError
        If it is neither ``"auto"`` nor whole numbers of nodes under ``time``, ``lat`` and ``lon``.
    """
    if isinstance(tiles, str) and tiles == "auto":
        return None
    good = isinstance(tiles, Mapping) and all(
        key in _AXES and isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 2
        for key, n in tiles.items()
    )
    if not good:
        message = (
            f"tiles={tiles!r} came; wanted 'auto', or numbers of nodes, at least 2, such as "
            "{'time': 30, 'lat': 40, 'lon': 40}"
        )
        raise OptionError(message)
    return {key: int(n) for key, n in tiles.items()}


def _spacing(axis: Array) -> float:
    return float(np.ptp(axis)) / (axis.size - 1) if axis.size > 1 else 1.0


def _nodes(length: float, step: float) -> int:
    return int(np.ceil(min(length / step, 1e9)))


def _between(axis: Array, low: float, high: float) -> slice:
    tolerance = 1e-6 * max(_spacing(axis), 1e-12)
    first, last = np.searchsorted(axis, [low - tolerance, high + tolerance])
    return slice(int(first), int(last))
