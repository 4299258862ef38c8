"""Where the patches lie: windows along each dimension, whose product covers every point."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xatmo.errors import DimensionError, OptionError

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """Windows over an array, as the product of windows along its dimensions. Make one with `plan`.

    Windows are numbered in C order: the last dimension varies fastest. Nothing is stored per window, so that millions
    of them cost nothing.

    Attributes
    ----------
    sizes : dict
        Dimension to number of points, in the order of the array's dimensions.
    patch_size : dict
        Dimension to points of a window; dimensions that are not cut have their whole size.
    overlap : dict
        Dimension to points that neighbouring windows share at least.
    periodic : frozenset
        Dimensions on which the first point follows the last.
    starts : dict
        Dimension to the first points of its windows, an integer array. On a periodic dimension a window may run past
        the end, and continues at index 0.

    Examples
    --------
    >>> sizes = {"time": 2, "lat": 10, "lon": 16}
    >>> p = plan(sizes, {"time": 1, "lat": 4, "lon": 8}, overlap={"lon": 2}, periodic=["lon"])
    >>> p.shape, len(p)
    ((2, 3, 3), 18)
    >>> p.starts["lat"], p.starts["lon"]
    (array([0, 4, 6]), array([ 0,  6, 12]))
    >>> p.start(17)
    {'time': 1, 'lat': 6, 'lon': 12}
    """

    sizes: dict[Hashable, int]
    patch_size: dict[Hashable, int]
    overlap: dict[Hashable, int]
    periodic: frozenset[Hashable]
    starts: dict[Hashable, Integers]

    # ------------------------------------------------------------------ size
    @property
    def dims(self) -> tuple[Hashable, ...]:
        """Dimensions, in the array's order."""
        return tuple(self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of windows along each dimension."""
        return tuple(int(self.starts[d].size) for d in self.sizes)

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Points of a window along each dimension."""
        return tuple(self.patch_size[d] for d in self.sizes)

    def __len__(self) -> int:
        return math.prod(self.shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (
            list(self.sizes.items()) == list(other.sizes.items())
            and (self.patch_size, self.overlap, self.periodic) == (other.patch_size, other.overlap, other.periodic)
            and all(np.array_equal(self.starts[d], other.starts[d]) for d in self.sizes)
        )

    def __hash__(self) -> int:
        return hash((tuple(self.sizes.items()), tuple(a.tobytes() for a in self.starts.values())))

    # ------------------------------------------------------------------ one window
    def index(self, i: int) -> tuple[int, ...]:
        """Locate window ``i``: its number along each dimension. Negative numbers count from the end.

        Raises
        ------
        IndexError
            If there is no window ``i``.
        """
        n = len(self)
        if not -n <= i < n:
            message = f"window {i} asked of a plan of {n} windows"
            raise IndexError(message)
        return tuple(int(k) for k in np.unravel_index(i % n, self.shape))

    def start(self, i: int) -> dict[Hashable, int]:
        """First point of window ``i`` along each dimension."""
        return {d: int(self.starts[d][k]) for d, k in zip(self.sizes, self.index(i), strict=True)}

    def indexers(self, i: int) -> dict[Hashable, slice | Integers]:
        """Give what ``isel`` needs to cut window ``i``: slices, or index arrays where the window wraps around."""
        found: dict[Hashable, slice | Integers] = {}
        for d, first in self.start(i).items():
            last, n = first + self.patch_size[d], self.sizes[d]
            found[d] = slice(first, last) if last <= n else np.arange(first, last) % n
        return found

    # ------------------------------------------------------------------ many windows
    def starts_of(self, windows: ArrayLike) -> Integers:
        """First points of several windows, ``(n, ndim)``."""
        along = np.unravel_index(np.asarray(windows, dtype=np.int64), self.shape)
        return np.stack([self.starts[d][k] for d, k in zip(self.sizes, along, strict=True)], axis=-1)

    def starts_array(self) -> Integers:
        """First points of all windows, ``(n, ndim)``."""
        out = np.empty((*self.shape, len(self.sizes)), dtype=np.int64)
        for axis, d in enumerate(self.sizes):
            shape = [1] * len(self.sizes)
            shape[axis] = -1
            out[..., axis] = self.starts[d].reshape(shape)
        return out.reshape(-1, len(self.sizes))

    def __iter__(self) -> Iterator[dict[Hashable, int]]:
        """First points of one window after another."""
        for k in np.ndindex(self.shape):
            yield {d: int(self.starts[d][j]) for d, j in zip(self.sizes, k, strict=True)}

    # ------------------------------------------------------------------ along one dimension
    def along(self, dim: Hashable) -> Integers:
        """First point and end of every window along ``dim``, ``(windows, 2)``.

        An end beyond the size of a periodic dimension means that the window continues at index 0.

        Raises
        ------
        DimensionError
            If the plan has no such dimension.
        """
        first = self.starts[self._known(dim)]
        return np.stack([first, first + self.patch_size[dim]], axis=1)

    def windows_covering(self, dim: Hashable, start: int, stop: int) -> Integers:
        """Find the windows along ``dim`` that hold a point of ``start <= index < stop``.

        On a periodic dimension the interval may run past either end, too.

        Raises
        ------
        DimensionError
            If the plan has no such dimension.

        Examples
        --------
        >>> p = plan({"lon": 16}, {"lon": 8}, overlap={"lon": 2}, periodic=["lon"])
        >>> p.along("lon")[:, 0], p.windows_covering("lon", 0, 4), p.windows_covering("lon", -1, 1)
        (array([ 0,  6, 12]), array([0, 2]), array([0, 2]))
        """
        first, length, n = self.starts[self._known(dim)], self.patch_size[dim], self.sizes[dim]
        if stop <= start:
            return np.empty(0, dtype=np.int64)
        if dim in self.periodic:
            touches = ((first - start) % n < stop - start) | ((start - first) % n < length)
        else:
            touches = (first < stop) & (first + length > start)
        return np.flatnonzero(touches)

    def _known(self, dim: Hashable) -> Hashable:
        if dim not in self.sizes:
            message = f"the plan has no dimension {dim!r}; it has {tuple(self.sizes)}"
            raise DimensionError(message)
        return dim

    def __repr__(self) -> str:
        cuts = ", ".join(
            f"{d}: {n} x {p} of {s}{' around' if d in self.periodic else ''}"
            for (d, s), p, n in zip(self.sizes.items(), self.patch_shape, self.shape, strict=True)
        )
        return f"<Plan {len(self)} windows ({cuts})>"


def plan(
    sizes: Mapping[Hashable, int],
    patch_size: Mapping[Hashable, int],
    *,
    overlap: Mapping[Hashable, int] | None = None,
    periodic: Collection[Hashable] = (),
    origin: Mapping[Hashable, int] | None = None,
    backward: Collection[Hashable] = (),
) -> Plan:
    """Lay windows that cover every point.

    Windows follow each other every ``patch_size - overlap`` points. The last one shifts inward to end at the last
    point; on a periodic dimension it runs past the end instead and wraps, and overlaps the first by at least
    ``overlap``.

    Parameters
    ----------
    sizes : mapping
        Dimension to number of points.
    patch_size : mapping
        Dimension to points of a window. Dimensions that are not named stay whole.
    overlap : mapping, optional
        Dimension to points shared by neighbours, less than the patch; 0 where not named.
    periodic : collection
        Dimensions on which the first point follows the last.
    origin : mapping, optional
        Periodic dimension to the index at which its first window starts. With the column nearest to 0 degrees here,
        windows do not depend on where a file starts.
    backward : collection
        Dimensions on which windows are laid (and numbered) from the last point to the first, so that a field and its
        mirror image get the same windows.

    Returns
    -------
    Plan

    Raises
    ------
    DimensionError
        If a dimension is unknown, or smaller than its patch.
    OptionError
        If a patch or an overlap is not a usable number.

    Examples
    --------
    >>> plan({"lat": 721, "lon": 1440}, {"lat": 128, "lon": 128}, overlap={"lat": 32, "lon": 32}, periodic=["lon"])
    <Plan 120 windows (lat: 8 x 128 of 721, lon: 15 x 128 of 1440 around)>
    """
    overlap, origin = dict(overlap or {}), dict(origin or {})
    for what, named in (("patch size", patch_size), ("overlap", overlap), ("periodic", periodic)):
        unknown = [d for d in named if d not in sizes]
        if unknown:
            message = f"{what} names dimension {unknown[0]!r}, which is not among {tuple(sizes)}"
            raise DimensionError(message)
    lengths, shared, starts = {}, {}, {}
    for d, size in sizes.items():
        n, p, o = int(size), _whole("patch size", d, patch_size.get(d, size)), _whole("overlap", d, overlap.get(d, 0))
        if n < 1:
            message = f"dimension {d!r} has no points; wanted at least 1"
            raise DimensionError(message)
        if p < 1:
            message = f"patch size {p} came for {d!r}; wanted 1 to {n}"
            raise OptionError(message)
        if p > n:
            message = f"a patch of {p} points does not fit into dimension {d!r} of {n}; use {n} or fewer"
            raise DimensionError(message)
        if not 0 <= o < p:
            message = f"overlap {o} came for {d!r} with patches of {p} points; wanted 0 to {p - 1}"
            raise OptionError(message)
        first = _around(n, p, o) if d in periodic else _inside(n, p, o)
        if d in backward:
            first = n - p - first
        starts[d] = _readonly((first + origin.get(d, 0)) % n if d in periodic else first)
        lengths[d], shared[d] = p, o
    return Plan({d: int(n) for d, n in sizes.items()}, lengths, shared, frozenset(periodic), starts)


def _inside(n: int, p: int, o: int) -> Integers:
    first = np.arange(0, n - p + 1, p - o, dtype=np.int64)
    return first if first[-1] == n - p else np.append(first, n - p)


def _around(n: int, p: int, o: int) -> Integers:
    if p == n and o == 0:
        return np.zeros(1, dtype=np.int64)
    return np.arange(0, n, p - o, dtype=np.int64)


def _whole(what: str, dim: Hashable, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or number != value:
        message = f"{what} {value!r} came for {dim!r}; wanted a whole number of points"
        raise OptionError(message)
    return number


def _readonly(array: Integers) -> Integers:
    array = np.array(array, dtype=np.int64)
    array.flags.writeable = False
    return array
