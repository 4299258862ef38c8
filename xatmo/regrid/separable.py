"""Weights that are a product of two axes: what they are, and what the cells of two axes share.

A target value is ``out[i, j] = sum_kl lat[i, k] lon[j, l] field[k, l]``. Latitude and longitude never mix, except over
a pole, where the far side is reached by going on along the meridian: that is a second, tiny product of two matrices.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from xatmo.grids import Grid
from xatmo.typing import Floats

METHODS = ("conservative", "conservative2", "bilinear", "bicubic", "nearest", "most_common", "min", "max")
# Those that look at cells, not at points.
CELL_METHODS = ("conservative", "conservative2", "most_common", "min", "max")

# Overlaps below this part of the target cell are rounding.
_SLIVER = 1e-9

Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Sparse matrix that takes one axis to another.

    Attributes
    ----------
    matrix : sparse array (n_target, n_source)
        Float64 CSR without stored zeros. The rows of covered targets sum to 1.
    coverage : array (n_target,)
        Part of each target cell, or for the point methods 1 or 0 for each point, that lies inside the source.
    """

    matrix: sparse.csr_array
    coverage: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_target, n_source)``."""
        rows, columns = self.matrix.shape
        return int(rows), int(columns)

    @cached_property
    def nearest_index(self) -> Ints:
        """Source index of the first weight by target, ``(n_target,)``; 0 where nothing is covered."""
        index = np.zeros(self.shape[0], dtype=np.intp)
        filled = np.flatnonzero(np.diff(self.matrix.indptr))  # the nearest method has one weight in each such row
        index[filled] = self.matrix.indices[self.matrix.indptr[filled]]
        return index


@dataclass(frozen=True, eq=False)
class Weights:
    """All that is needed to take fields from one grid to another: small, picklable, independent of any field.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    lat, lon : AxisWeights
        The two factors.
    across : (AxisWeights, AxisWeights) or None
        The two factors of the contribution of rows beyond a pole (bilinear and bicubic only).
    """

    method: str
    lat: AxisWeights
    lon: AxisWeights
    across: tuple[AxisWeights, AxisWeights] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "coverage"}  # a whole field, quickly made again

    @property
    def source_shape(self) -> tuple[int, int]:
        """``(nlat, nlon)`` of the fields that come in."""
        return self.lat.shape[1], self.lon.shape[1]

    @property
    def target_shape(self) -> tuple[int, int]:
        """``(nlat, nlon)`` of the fields that come out."""
        return self.lat.shape[0], self.lon.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every number in here."""
        digest = hashlib.sha256(self.method.encode())
        for axis in (self.lat, self.lon, *(self.across or ())):
            for part in (axis.shape, axis.matrix.indptr, axis.matrix.indices, axis.matrix.data, axis.coverage):
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @cached_property
    def coverage(self) -> Floats:
        """Part of each target cell inside the source, ``(nlat, nlon)``."""
        return np.asarray(self.lat.coverage[:, None] * self.lon.coverage)


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of the cells of a grid in degrees, where they do not lie midway between the points.

    Attributes
    ----------
    latitude, longitude : array (nlat + 1,), (nlon + 1,)
        In the order of the grid's points.
    """

    latitude: Floats
    longitude: Floats

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edges) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[bytes, bytes]:
        return self.latitude.tobytes(), self.longitude.tobytes()

    @classmethod
    def of(cls, grid: Grid) -> Edges:
        """Edges midway between the points of a grid."""
        return cls(grid.latitude_bounds, grid.longitude_bounds)


# ---------------------------------------------------------------------- what cells share
def turns(source_lon: Floats, target_lon: Floats, *, periodic: bool = True) -> Floats:
    """Whole turns by which the source is moved to meet the target.

    Those between the two origins are taken out first, so that at most a neighbouring turn remains.
    """
    origin = 360.0 * np.round((target_lon[0] - source_lon[0]) / 360)
    return np.asarray(origin + (360.0 * np.arange(-2, 3) if periodic else np.zeros(1)))


@dataclass(frozen=True, eq=False)
class Overlaps:
    """What the intervals of two axes share, one entry for each piece.

    Attributes
    ----------
    target, source : int array (pieces,)
    length : array (pieces,)
    offset : array (pieces,)
        Where the middle of the piece lies relative to the middle of its source interval.
    n_target, n_source : int
    width : array (n_target,)
        Extent of each target interval.
    """

    target: Ints
    source: Ints
    length: Floats
    offset: Floats
    n_target: int
    n_source: int
    width: Floats

    def matrix(self, values: Floats) -> sparse.csr_array:
        """Put values, one for each piece, into a matrix; pieces of the same two intervals are added."""
        return sparse.csr_array((values, (self.target, self.source)), shape=(self.n_target, self.n_source))

    @cached_property
    def covered(self) -> Floats:
        """Extent of each target interval that is inside the source."""
        return np.asarray(self.matrix(self.length).sum(axis=1))

    @cached_property
    def weights(self) -> AxisWeights:
        """Shared lengths divided by the covered part of each target interval."""
        part = self.covered / self.width
        coverage = np.where(np.abs(part - 1) < 10 * _SLIVER, 1, part)
        return AxisWeights(scaled(self.matrix(self.length), self.covered), coverage)


def overlaps(source: Floats, target: Floats, shifts: Floats | None = None) -> Overlaps:
    """Find what intervals, given by their edges in either direction, share with others, moved by ``shifts``."""
    columns, rows = np.arange(source.size - 1), np.arange(target.size - 1)
    if source[0] > source[-1]:
        source, columns = source[::-1], columns[::-1]
    if target[0] > target[-1]:
        target, rows = target[::-1], rows[::-1]
    width = np.diff(target)
    found: list[tuple[Ints, Ints, Floats, Floats]] = []
    for shift in (0.0,) if shifts is None else shifts:
        edges = source + shift
        cuts = np.union1d(edges, target)
        cuts = cuts[(cuts >= max(edges[0], target[0])) & (cuts <= min(edges[-1], target[-1]))]
        if cuts.size < 2:
            continue
        middle, length = (cuts[:-1] + cuts[1:]) / 2, np.diff(cuts)
        i = np.searchsorted(target, middle, side="right") - 1
        k = np.searchsorted(edges, middle, side="right") - 1
        offset = middle - (edges[k] + edges[k + 1]) / 2
        keep = length > _SLIVER * width[i]
        found.append((rows[i[keep]], columns[k[keep]], length[keep], offset[keep]))
    nothing = (np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0), np.zeros(0))
    i, k, length, offset = (np.concatenate(part) for part in zip(*found, strict=True)) if found else nothing
    return Overlaps(i, k, length, offset, rows.size, columns.size, width[np.argsort(rows)])


def scaled(matrix: sparse.csr_array, sums: Floats) -> sparse.csr_array:
    """Divide each row by its sum, twice, so that the sums are 1 to the last bit or two."""
    for _ in range(2):
        repeated = np.repeat(sums, np.diff(matrix.indptr))
        matrix = sparse.csr_array((matrix.data / repeated, matrix.indices, matrix.indptr), shape=matrix.shape)
        sums = np.asarray(matrix.sum(axis=1))
    return matrix


def clean(matrix: Any) -> sparse.csr_array:
    """Drop stored zeros, and sort."""
    out = sparse.csr_array(matrix)
    out.eliminate_zeros()
    out.sort_indices()
    return out
