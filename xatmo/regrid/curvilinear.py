"""Weights from and to points that are no product of two axes: curvilinear, rotated, reduced and unstructured grids.

All geometry is done with unit vectors, so neither the poles nor the date line are special.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, OptionError
from xatmo.grids import Grid
from xatmo.regrid import weights as axes
from xatmo.regrid.sparse_weights import SparseWeights, clean, row_products
from xatmo.typing import Floats

Ints = NDArray[np.intp]

POINT_METHODS = ("bilinear", "bicubic", "nearest")

# Columns or rows that follow one another around a grid lie at most this many of its own steps apart.
_NEXT = 1.6
# Points nearer to a cell's edge than this angle lie on it: rounding of float32 coordinates gives no neighbour a weight.
_ON_EDGE = np.radians(2e-5)
# The nearest point serves targets within this many half-diagonals of the cells around it.
_REACH = 1.05
_CANDIDATES = (8, 32, 128)
_TARGETS_AT_ONCE = 1 << 18  # some hundred megabytes


@dataclass(frozen=True, eq=False)
class Mesh:
    """Points on the sphere with two-dimensional coordinates (curvilinear), or as a list (unstructured).

    Attributes
    ----------
    latitude, longitude : array (ny, nx) or (n,)
        Degrees. A point with a coordinate that is not finite is not there.
    periodic : bool or None
        Whether the last column lies next to the first; None finds out.
    corners : (array (ny + 1, nx + 1), array (ny + 1, nx + 1)) or None
        Latitude and longitude of cell corners, where a file gives them.

    Examples
    --------
    >>> lat, lon = np.meshgrid(np.arange(-80, 81, 20.0), np.arange(0, 360, 30.0), indexing="ij")
    >>> Mesh(lat, lon).wraps
    True
    """

    latitude: Floats
    longitude: Floats
    periodic: bool | None = None
    corners: tuple[Floats, Floats] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        lat, lon = (np.asarray(a, dtype=np.float64) for a in (self.latitude, self.longitude))
        if lat.shape != lon.shape or lat.ndim not in (1, 2) or lat.size < 3:
            message = f"latitude {lat.shape} and longitude {lon.shape} came; wanted the same one or two dimensions"
            raise CoordinateError(message)
        there = np.isfinite(lat) & np.isfinite(lon)
        if there.sum() < 3:
            message = f"{there.sum()} of {lat.size} points have finite coordinates; wanted at least 3"
            raise CoordinateError(message)
        if np.abs(lat[there]).max(initial=0) > 90.01:
            message = f"latitude reaches {np.abs(lat[there]).max():g}; wanted degrees between -90 and 90"
            raise CoordinateError(message)
        object.__setattr__(self, "latitude", np.where(there, np.clip(lat, -90, 90), np.nan))
        object.__setattr__(self, "longitude", np.where(there, lon, np.nan))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coordinates."""
        return self.latitude.shape

    def __repr__(self) -> str:
        lat, lon = self.latitude, self.longitude
        kind = "curvilinear" if lat.ndim == 2 else "points"
        return (
            f"<Mesh {kind} {' x '.join(map(str, self.shape))}, lat {np.nanmin(lat):.4g} to {np.nanmax(lat):.4g}, "
            f"lon {np.nanmin(lon):.4g} to {np.nanmax(lon):.4g}>"
        )

    @cached_property
    def xyz(self) -> Floats:
        """Unit vectors, ``(n, 3)``."""
        return unit_vectors(self.latitude.ravel(), self.longitude.ravel())

    @cached_property
    def wraps(self) -> bool:
        """Whether the last column lies next to the first, without repeating it."""
        if self.latitude.ndim == 1:
            return False
        if self.periodic is not None:
            return self.periodic
        at = self.xyz.reshape(*self.shape, 3)
        # Ratios row by row: steps shrink towards a pole.
        steps, gap = _chord(at[:, 1:], at[:, :-1]), _chord(at[:, -1], at[:, 0])
        rows = np.flatnonzero(np.isfinite(gap) & np.isfinite(steps).any(axis=1))
        step = np.nanmedian(steps[rows], axis=1)
        ratio = gap[rows][step > 0] / step[step > 0]
        return bool(ratio.size and 0.1 < np.median(ratio) < _NEXT)

    @cached_property
    def cells(self) -> tuple[NDArray[np.intp], sparse.csr_array]:
        """Quadrilaterals between nodes ``(n_cells, 4)``, corners in order around, and the nodes from the points.

        Nodes are the points, and for each pole within a ring of points one more: the mean of that ring.
        """
        n = self.latitude.size
        if self.latitude.ndim == 1:
            return _triangles(self.xyz), sparse.eye_array(n, format="csr")
        ny, nx = self.shape
        index = np.arange(n).reshape(ny, nx)
        wide = np.concatenate([index, index[:, :1]], axis=1) if self.wraps else index
        quads = [_between(wide[:-1], wide[1:])]
        rings: list[Ints] = []
        if self.wraps or self._closed:
            for row, inner in ((wide[0], wide[1]), (wide[-1], wide[-2])):
                if (fold := self._fold(row, inner)) is not None:
                    quads.append(_between(row, fold))
                elif self._circles_pole(row, inner):
                    pole = np.full(row.size, n + len(rings))
                    quads.append(_between(row, pole))
                    rings.append(np.unique(row))
        nodes = sparse.eye_array(n, format="csr")
        if rings:
            means = [sparse.csr_array((np.full(r.size, 1 / r.size), (np.zeros(r.size, int), r)), shape=(1, n))
                     for r in rings]  # fmt: skip
            nodes = sparse.csr_array(sparse.vstack([nodes, *means], format="csr"))
        return np.concatenate(quads), nodes

    @cached_property
    def _closed(self) -> bool:
        """Whether columns repeat at the end, as the overlap of an ocean grid does."""
        at = self.xyz.reshape(*self.shape, 3)
        far = [_chord(at[:, -1], at[:, k]) for k in range(min(3, self.shape[1] - 1))]
        return (
            bool(min(np.nanmedian(d) for d in far if np.isfinite(d).any()) < 1e-6) if np.isfinite(far).any() else False
        )

    def _fold(self, row: Ints, inner: Ints) -> Ints | None:
        """Points of an outermost row that lie opposite each other where the grid is folded; None if it is not."""
        at = self.xyz[row]
        steps = _chord(at, self.xyz[inner])
        step = float(np.median(steps[np.isfinite(steps)])) if np.isfinite(steps).any() else 0.0
        size = row.size
        if step == 0:
            return None
        for offset in range(-3, 4):
            partner = (size - 1 + offset - np.arange(size)) % size
            gap = _chord(at, at[partner])
            if np.isfinite(gap).mean() > 0.5 and 0.05 * step < np.nanmedian(gap) < _NEXT * step:
                return row[partner]
        return None

    def _circles_pole(self, row: Ints, inner: Ints) -> bool:
        lat = self.latitude.ravel()
        outer, within = lat[row], lat[inner]
        if not (np.isfinite(outer).all() and np.isfinite(within).all()) or (outer > 0).all() == (outer < 0).all():
            return False
        gap, step = 90 - np.abs(outer).min(), np.abs(outer - within).max()
        return bool(0 < gap < 1.25 * step)

    @cached_property
    def reach(self) -> Floats:
        """Chord within which each point may serve as nearest, ``(n,)``: to the corners of the cells around it."""
        from scipy.spatial import cKDTree

        if self.latitude.ndim == 1:
            there = np.flatnonzero(np.isfinite(self.xyz).all(axis=1))
            near, _ = cKDTree(self.xyz[there]).query(self.xyz[there], k=min(5, there.size))
            out = np.zeros(self.latitude.size)
            out[there] = near[:, -1]
            return out
        quads, _ = self.cells
        n = self.latitude.size
        quads = quads[(quads < n).all(axis=1)]
        out = np.zeros(n)
        for a, c in ((0, 2), (1, 3)):
            length = _chord(self.xyz[quads[:, a]], self.xyz[quads[:, c]])
            length = np.where(np.isfinite(length), length, 0)
            for k in (a, c):
                np.maximum.at(out, quads[:, k], length / 2)
        return out * _REACH

    def corner_coordinates(self) -> tuple[Floats, Floats]:
        """Latitude and longitude of the corners of cells, ``(ny + 1, nx + 1)``, in degrees.

        Those of the file where it has any; otherwise the middle of four points, and at the borders as far outside as
        the next corner lies inside.

        Raises
        ------
        GridError
            If the points have no rows and columns, or some are missing.
        """
        if self.corners is not None:
            return self.corners
        if self.latitude.ndim == 1:
            message = "cells of unstructured points have no corners; wanted latitude and longitude with two dimensions"
            raise GridError(message)
        if not np.isfinite(self.xyz).all():
            message = "some points of this curvilinear grid have no coordinates; their cells have no corners"
            raise GridError(message)
        at = self.xyz.reshape(*self.shape, 3)
        if self.wraps:
            at = np.concatenate([at[:, -1:], at, at[:, :1]], axis=1)
        else:
            at = np.concatenate([2 * at[:, :1] - at[:, 1:2], at, 2 * at[:, -1:] - at[:, -2:-1]], axis=1)
        at = np.concatenate([2 * at[:1] - at[1:2], at, 2 * at[-1:] - at[-2:-1]], axis=0)
        middle = at[:-1, :-1] + at[1:, :-1] + at[:-1, 1:] + at[1:, 1:]
        middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
        lat = np.degrees(np.arcsin(np.clip(middle[..., 2], -1, 1)))
        lon = np.degrees(np.arctan2(middle[..., 1], middle[..., 0]))
        return lat, lon


# ---------------------------------------------------------------------- weights
def mesh_weights(source: Any, target: Any, method: str, *, max_distance: float | None = None) -> SparseWeights:
    """Weights between grids of which at least one is no product of two axes.

    Parameters
    ----------
    source, target : Grid, RingGrid or Mesh
    method : {"bilinear", "bicubic", "nearest"}
        From a mesh, bilinear inverts the bilinear map of the quadrilateral around each target, seen from the target
        (gnomonic projection); from a list of points, it is linear on the Delaunay triangles of the sphere; from rings,
        linear along the two rings around and then between them. Bicubic needs a source that is a product of two axes.
    max_distance : float, optional
        Nearest only: metres beyond which a point serves no target. Without it, the corners of the cells around the
        point, or its fourth neighbour where there are no cells.

    Raises
    ------
    GridError
        If the method needs cells (conservative and its kin) or axes that these grids do not have.
    """
    if method not in POINT_METHODS:
        message = (
            f"method {method!r} came for {_kind(source)} to {_kind(target)}; built in are 'bilinear' and 'nearest' "
            "there. For conservative weights use engine='xesmf', or a weight file of ESMF or CDO: Regridder.from_file"
        )
        raise GridError(message)
    if max_distance is not None and method != "nearest":
        message = f"max_distance={max_distance} came with method {method!r}; only method 'nearest' takes it"
        raise OptionError(message)
    lat, lon = points_of(target)
    shape = tuple(target.shape)
    if _is_rectilinear(source):
        return _from_axes(source, lat, lon, shape, method, max_distance)
    if method == "bicubic":
        message = f"method 'bicubic' came for a source that is {_kind(source)}; wanted 'bilinear' or 'nearest'"
        raise GridError(message)
    if method == "nearest":
        return _from_nearest(source, lat, lon, shape, max_distance)
    if isinstance(source, Mesh):
        return _from_cells(source, lat, lon, shape)
    return _from_rings(source, lat, lon, shape)


def points_of(grid: Any) -> tuple[Floats, Floats]:
    """Latitude and longitude of every point of a Grid, RingGrid or Mesh, flattened."""
    if isinstance(grid, Mesh):
        return grid.latitude.ravel(), grid.longitude.ravel()
    return np.asarray(grid.point_latitude), np.asarray(grid.point_longitude)


def _is_rectilinear(grid: Any) -> bool:
    return isinstance(grid, Grid) and not hasattr(grid, "ring_sizes")


def _kind(grid: Any) -> str:
    if isinstance(grid, Mesh):
        return "curvilinear" if grid.latitude.ndim == 2 else "a list of points"
    return str(grid.kind)


def unit_vectors(lat: Floats, lon: Floats) -> Floats:
    """Turn points in degrees into unit vectors, ``(n, 3)``."""
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _chord(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.linalg.norm(a - b, axis=-1))


def _between(first: Ints, second: Ints) -> NDArray[np.intp]:
    """Quadrilaterals between rows of node indices, ``(..., nx)`` each, as ``(n, 4)``."""
    corners = first[..., :-1], first[..., 1:], second[..., 1:], second[..., :-1]
    return np.stack([c.ravel() for c in corners], axis=1).astype(np.intp)


def _triangles(xyz: Floats) -> NDArray[np.intp]:
    """Delaunay triangles of the sphere: facets of the convex hull that face away from its middle."""
    from scipy.spatial import ConvexHull, QhullError

    there = np.flatnonzero(np.isfinite(xyz).all(axis=1))
    try:
        hull = ConvexHull(xyz[there], qhull_options="QJ Pp")
    except QhullError:
        message = f"{there.size} points came that span no triangles on the sphere; use method 'nearest'"
        raise GridError(message) from None
    # A facet towards the centre of the sphere closes the hull of a region.
    outward = hull.simplices[hull.equations[:, 3] < -1e-9]
    triangle = there[outward]
    return np.concatenate([triangle, triangle[:, 2:]], axis=1).astype(np.intp)


# ---------------------------------------------------------------------- from a product of two axes
def _from_axes(
    source: Grid, lat: Floats, lon: Floats, shape: tuple[int, ...], method: str, max_distance: float | None
) -> SparseWeights:
    there = np.isfinite(lat) & np.isfinite(lon)
    lat, lon = np.where(there, lat, 0), np.where(there, lon, 0)
    across = None
    if method == "nearest":
        if max_distance is not None:
            return _from_nearest(source, np.where(there, lat, np.nan), lon, shape, max_distance)
        everywhere = source.is_global
        rows = axes._pick(source.latitude, lat, source.latitude_bounds, everywhere=everywhere, upper=True)
        nodes, index = axes._around(source)
        wanted = axes._into(lon, source.longitude_bounds[0])
        picked = axes._pick(nodes, wanted, source.longitude_bounds, everywhere=source.periodic, upper=False)
        columns = sparse.csr_array(picked.matrix @ axes._selection(index, source.nlon))
        matrix, coverage = row_products(rows.matrix, columns), rows.coverage * picked.coverage
    else:
        cubic = method == "bicubic"
        nodes, row, far = axes._over_poles(source)
        whole = axes._stencil(nodes, lat, cubic=cubic)
        here, beyond = (clean(whole.matrix @ axes._selection(row, source.nlat, k)) for k in (~far, far))
        along = axes._longitudes(source, lon, cubic=cubic)
        matrix, coverage = row_products(here, along.matrix), whole.coverage * along.coverage
        if beyond.nnz:
            turned = axes._longitudes(source, lon + 180, cubic=cubic)
            across = row_products(beyond, turned.matrix)
    coverage = np.where(there, coverage, 0)
    return SparseWeights(matrix, source.shape, shape, method, coverage, across)


# ---------------------------------------------------------------------- nearest
def _from_nearest(
    source: Any, lat: Floats, lon: Floats, shape: tuple[int, ...], max_distance: float | None
) -> SparseWeights:
    from scipy.spatial import cKDTree

    at = source.xyz if isinstance(source, Mesh) else unit_vectors(*points_of(source))
    there = np.flatnonzero(np.isfinite(at).all(axis=1))
    wanted = unit_vectors(lat, lon)
    asked = np.flatnonzero(np.isfinite(wanted).all(axis=1))
    if max_distance is not None:
        if not max_distance > 0:
            message = f"max_distance={max_distance} came; wanted metres, more than 0"
            raise OptionError(message)
        reach = np.full(there.size, 2 * np.sin(min(max_distance / EARTH_RADIUS, np.pi) / 2))
    elif isinstance(source, Mesh):
        reach = source.reach[there]
    else:
        reach = np.full(there.size, 2.0)  # rings go around the whole Earth
    # Without a bound, targets far from a regional source take a hundred times as long.
    bound = float(reach.max(initial=0)) * (1 + 1e-9)
    distance, index = cKDTree(at[there]).query(wanted[asked], distance_upper_bound=bound)
    index = np.minimum(index, there.size - 1)  # what found nothing is infinitely far
    inside = distance <= reach[index]
    index = there[index]
    rows, columns = asked[inside], index[inside]
    return SparseWeights.from_links(
        rows, columns, np.ones(rows.size), source_shape=tuple(source.shape), target_shape=shape, method="nearest"
    )


# ---------------------------------------------------------------------- bilinear in cells
def _from_cells(source: Mesh, lat: Floats, lon: Floats, shape: tuple[int, ...]) -> SparseWeights:
    from scipy.spatial import cKDTree

    quads, nodes = source.cells
    at = np.concatenate([source.xyz, np.zeros((nodes.shape[0] - source.latitude.size, 3))])
    for extra in range(source.latitude.size, nodes.shape[0]):
        ring = nodes.indices[nodes.indptr[extra] : nodes.indptr[extra + 1]]
        at[extra] = [0, 0, np.sign(np.mean(at[ring, 2]))]
    corners = at[quads]
    centre = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centre[:, None], axis=-1).max(axis=1)
    good = np.isfinite(radius) & (radius > 0)
    quads, corners, centre, radius = quads[good], corners[good], centre[good], radius[good]
    wanted = unit_vectors(lat, lon)
    there = np.flatnonzero(np.isfinite(wanted).all(axis=1))
    found: list[tuple[Ints, Ints, Floats]] = []
    if quads.size:
        tree = cKDTree(centre)
        for start in range(0, there.size, _TARGETS_AT_ONCE):
            _find_cells(tree, quads, corners, radius, wanted, there[start : start + _TARGETS_AT_ONCE], found)
    none = np.zeros(0, dtype=np.intp)
    rows, columns, values = (
        (np.concatenate(p) for p in zip(*found, strict=True)) if found else (none, none, np.zeros(0))
    )
    n, m = int(np.prod(shape)), nodes.shape[0]
    matrix = clean(sparse.csr_array((values, (rows, columns)), shape=(n, m)) @ nodes)
    return SparseWeights(matrix, source.shape, shape, "bilinear")


def _find_cells(
    tree: Any,
    quads: Ints,
    corners: Floats,
    radius: Floats,
    wanted: Floats,
    open_: Ints,
    found: list[tuple[Ints, Ints, Floats]],
) -> None:
    """Append targets, corners and weights of the cells that hold these targets, looked for among the nearest."""
    for k in _CANDIDATES:
        if open_.size == 0:
            return
        k_here = min(k, quads.shape[0])
        distance, near = tree.query(wanted[open_], k=k_here, distance_upper_bound=float(radius.max()) * 1.01)
        distance, near = distance.reshape(open_.size, -1), near.reshape(open_.size, -1)
        done = np.zeros(open_.size, dtype=bool)
        for rank in range(k_here):
            left = np.flatnonzero(~done & np.isfinite(distance[:, rank]))
            left = left[distance[left, rank] <= radius[near[left, rank]] * 1.01]
            if left.size == 0:
                continue
            cell = near[left, rank]
            weights, inside = _inverse_bilinear(wanted[open_[left]], corners[cell])
            hit = left[inside]
            found.append((np.repeat(open_[hit], 4), quads[cell[inside]].ravel(), weights[inside].ravel()))
            done[hit] = True
        if k_here == quads.shape[0]:
            return
        # Only where the last candidate was still near enough may further ones hold the target.
        open_ = open_[~done & np.isfinite(distance[:, -1])]


def _inverse_bilinear(wanted: Floats, corners: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Weights ``(n, 4)`` of the corners ``(n, 4, 3)`` for points ``(n, 3)``, and whether each lies inside.

    Seen from the point, with great circles as straight lines (gnomonic projection), the point is the origin of a plane
    in which ``(1 - s)(1 - t) a + s (1 - t) b + s t c + (1 - s) t d = 0`` is solved for s and t.
    """
    helper = np.where(np.abs(wanted[:, 2:]) < 0.7, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    east = np.cross(helper, wanted)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    north = np.cross(wanted, east)
    depth = np.einsum("nkx,nx->nk", corners, wanted)
    facing = (depth > 0.05).all(axis=1)
    depth = np.where(depth > 0.05, depth, 1)
    plane = np.stack([np.einsum("nkx,nx->nk", corners, axis) / depth for axis in (east, north)], axis=-1)
    a, b, c, d = (plane[:, k] for k in range(4))
    e, f, g = b - a, d - a, a - b + c - d
    # Of the two roots of k2 t^2 + k1 t + k0, one lies in [0, 1] in a cell that holds the origin.
    k2, k1, k0 = _cross(g, f), _cross(e, f) - _cross(a, g), -_cross(a, e)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(k1**2 - 4 * k2 * k0, 0))
        q = -(k1 + np.where(k1 >= 0, root, -root)) / 2
        candidates = [np.where(q != 0, k0 / q, np.nan), np.where(np.abs(k2) > 0, q / k2, np.nan)]
        best = None
        for t in candidates:
            along = e + g * t[:, None]
            off = -(a + f * t[:, None])
            length = np.einsum("nx,nx->n", along, along)
            s = np.where(length > 0, np.einsum("nx,nx->n", off, along) / length, 0.5)
            slack_s = _ON_EDGE / np.sqrt(np.maximum(length, 1e-30))
            slack_t = _ON_EDGE / np.maximum(np.linalg.norm(f + g * s[:, None], axis=1), 1e-15)
            s, t = _snap(s, slack_s), _snap(t, slack_t)
            # Where two corners are one, the other root stands for that corner, whatever s.
            off = a + e * s[:, None] + f * t[:, None] + g * (s * t)[:, None]
            ok = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1) & facing & (np.linalg.norm(off, axis=1) <= 4 * _ON_EDGE)
            if best is None:
                best = [s, t, ok]
            else:
                use = ok & ~best[2]
                best = [np.where(use, s, best[0]), np.where(use, t, best[1]), best[2] | ok]
    s, t, inside = best  # type: ignore[misc]
    weights = np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=1)
    return np.where(inside[:, None], weights, 0), inside


def _snap(x: Floats, slack: Floats) -> Floats:
    slack = np.minimum(slack, 0.25)
    return np.asarray(np.where(np.abs(x) <= slack, 0.0, np.where(np.abs(1 - x) <= slack, 1.0, x)))


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


# ---------------------------------------------------------------------- bilinear between rings
def _from_rings(source: Any, lat: Floats, lon: Floats, shape: tuple[int, ...]) -> SparseWeights:
    """Linear in longitude on the rings north and south of a target, then in latitude; beyond the last ring, the pole.

    The value at a pole is the mean of the ring next to it.
    """
    down = np.asarray(source.latitude, dtype=np.float64)
    sizes, starts = np.asarray(source.ring_sizes), np.asarray(source.ring_starts, dtype=np.float64)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    there = np.isfinite(lat) & np.isfinite(lon)
    at = np.flatnonzero(there)
    wanted = np.clip(lat[at], -90, 90)
    # Rings between which each target lies, counted from north; -1 and n are the poles.
    north = np.searchsorted(-down, -wanted, side="right") - 1
    edges = np.concatenate([[90.0], down, [-90.0]])
    upper, lower = edges[north + 1], edges[north + 2]
    step = np.maximum(upper - lower, 1e-12)
    t = np.clip((upper - wanted) / step, 0, 1)
    t = np.where(t * step < np.degrees(_ON_EDGE), 0, np.where((1 - t) * step < np.degrees(_ON_EDGE), 1, t))
    parts = [_on_rings(at, lon[at], ring, weight, sizes, starts, first)
             for ring, weight in ((north, 1 - t), (north + 1, t))]  # fmt: skip
    rows, columns, values = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = getattr(source, "ring_order", None)
    if order is not None:  # where the points of the data lie, in the order of the rings
        columns = np.asarray(order)[columns]
    matrix = sparse.csr_array((values, (rows, columns)), shape=(lat.size, int(sizes.sum())))
    return SparseWeights(clean(matrix), tuple(source.shape), shape, "bilinear", there.astype(np.float64))


def _on_rings(
    at: Ints, lon: Floats, ring: Ints, weight: Floats, sizes: Any, starts: Floats, first: Any
) -> tuple[Ints, Ints, Floats]:
    pole = (ring < 0) | (ring >= sizes.size)
    k = np.clip(ring, 0, sizes.size - 1)
    step = 360.0 / sizes[k]
    x = ((lon - starts[k]) / step) % sizes[k]
    left = np.floor(x).astype(np.intp)
    s = x - left
    near = np.degrees(_ON_EDGE) / step
    s = np.where(s < near, 0, np.where(1 - s < near, 1, s))
    on = np.flatnonzero(~pole)
    rows, columns, values = [at[on], at[on]], [], [(weight * (1 - s))[on], (weight * s)[on]]
    columns = [(first[k] + left % sizes[k])[on], (first[k] + (left + 1) % sizes[k])[on]]
    over = np.flatnonzero(pole & (weight > 0))
    count = sizes[k[over]]
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows.append(np.repeat(at[over], count))
    columns.append(np.repeat(first[k[over]], count) + offset)
    values.append(np.repeat(weight[over] / np.maximum(count, 1), count))
    return np.concatenate(rows).astype(np.intp), np.concatenate(columns).astype(np.intp), np.concatenate(values)
