"""RingGrid: points on circles of latitude that hold different numbers of them (reduced Gaussian grids, HEALPix)."""

from __future__ import annotations

import hashlib
import operator
import threading
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import xarray as xr

from xatmo import _quadrature
from xatmo._ring_points import (
    ROUNDING_DEGREES,
    Indices,
    checked_points,
    named_sizes,
    nested_to_ring,
    ring_starts,
    sorted_into_rings,
    unstructured,
)
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import GridError, OptionError
from xatmo.grids import Grid
from xatmo.typing import Floats, GridKind

# Recognising millions of points takes seconds, and every labelled call asks again.
_recognised: dict[tuple[bytes, ...], RingGrid] = {}
_lock = threading.Lock()


class RingGrid(Grid, kinds=("healpix", "reduced")):
    """A global grid of points on rings: circles of latitude, each with equally spaced points of its own number.

    Make one with `Grid.healpix`, `Grid.reduced_gaussian`, `RingGrid.from_points`, or `Grid.of` on a field whose
    latitude and longitude lie on one dimension.

    Attributes
    ----------
    kind : {"healpix", "reduced"}
    latitude : array (nlat,)
        Of the rings, degrees north, from north to south.
    ring_sizes : array (nlat,)
        Number of points on each ring.
    ring_starts : array (nlat,)
        Degrees east of the first point of each ring, in [0, 360).
    ring_order : array (npoints,) or None
        Where the points of the caller's data lie if those are not in ring order (from north to south, eastward on each
        ring): ``field[..., ring_order]`` is in ring order. None if ``field`` is.

    Examples
    --------
    >>> Grid.healpix(16)
    <RingGrid healpix nside 16, 3072 points on 63 rings, lmax 32>
    >>> Grid.reduced_gaussian("O48")
    <RingGrid reduced, 10944 points on 96 rings, lat 88.57 to -88.57, lmax 79>
    """

    ring_sizes: Indices
    ring_starts: Floats
    ring_order: Indices | None

    def __init__(
        self, kind: GridKind, latitude: Any, ring_sizes: Any, ring_starts: Any, ring_order: Any = None
    ) -> None:
        order = None if ring_order is None else np.asarray(ring_order, dtype=np.int64)
        if order is not None and np.array_equal(order, np.arange(order.size)):
            order = None
        values = {
            "kind": kind,
            "latitude": _frozen(latitude, np.float64),
            "ring_sizes": _frozen(ring_sizes, np.int64),
            "ring_starts": _frozen(ring_starts, np.float64),
            "ring_order": None if order is None else _frozen(order, np.int64),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    # ------------------------------------------------------------------ constructors
    @classmethod
    def healpix(cls, nside: int, *, nest: bool = False) -> RingGrid:
        """Make the HEALPix grid of ``12 * nside**2`` cells of equal area [1]_.

        Parameters
        ----------
        nside : int
            Cells along the side of each of the 12 base cells.
        nest : bool
            Whether fields come in the nested order; by default in ring order.

        Raises
        ------
        OptionError
            If ``nside`` is no whole number from 1 up, or no power of 2 with the nested order.

        References
        ----------
        .. [1] K. M. Gorski et al., 2005: HEALPix: a framework for high-resolution discretization and fast analysis of
           data distributed on the sphere. Astrophys. J. 622, 759-771.

        Examples
        --------
        >>> grid = Grid.healpix(2)
        >>> grid.npoints, grid.ring_sizes
        (48, array([4, 8, 8, 8, 8, 8, 4]))
        """
        try:
            side = operator.index(nside)
        except TypeError:
            side = 0
        if side < 1 or (nest and side & (side - 1)):
            wanted = "a power of 2 for the nested order" if nest else "a whole number from 1 up"
            message = f"nside={nside!r} came; wanted {wanted}"
            raise OptionError(message)
        ring = np.arange(1, 4 * side)
        polar = np.minimum(np.minimum(ring, 4 * side - ring), side)
        # In the caps z = 1 - ring^2 / (3 nside^2): from the half angle, which keeps its digits at the poles.
        cap = np.degrees(2 * np.arcsin(polar / (side * np.sqrt(6.0))))
        belt = np.degrees(np.arcsin(np.clip((4 * side - 2 * ring) / (3.0 * side), -1, 1)))
        latitude = np.where(ring < side, 90 - cap, np.where(ring > 3 * side, cap - 90, belt))
        sizes = 4 * polar
        shifted = (polar < side) | ((ring - side) % 2 == 0)
        order = _inverse(nested_to_ring(side)) if nest else None
        return cls("healpix", latitude, sizes, np.where(shifted, 180 / sizes, 0.0), order)

    @classmethod
    def reduced_gaussian(cls, points: Any) -> RingGrid:
        """Make a reduced Gaussian grid: Gauss-Legendre latitudes with fewer points on the rings near the poles.

        Parameters
        ----------
        points : str or array-like of int (nlat,)
            ``"O640"``: ECMWF's octahedral grid, 640 rings between pole and equator with 20, 24, 28, ... points.
            ``"N160"``: ECMWF's original reduced grid, from the tables inside ecCodes. Or the number of points on each
            ring from north to south, GRIB's ``pl``. The first point of every ring lies at 0 degrees east.

        Raises
        ------
        OptionError
            If the name is unknown, or the numbers are not at least 3 whole numbers from 3 up.
        MissingDependencyError
            If an N grid is asked for by name without ecCodes.

        Examples
        --------
        >>> Grid.reduced_gaussian("O32").ring_sizes[:4]
        array([20, 24, 28, 32])
        """
        sizes = named_sizes(points) if isinstance(points, str) else np.atleast_1d(np.asarray(points))
        whole = sizes.ndim == 1 and sizes.dtype.kind in "iuf" and bool((sizes == np.floor(sizes)).all())
        if not whole or sizes.size < 3 or sizes.min() < 3:
            came = np.ravel(sizes)[:8].tolist()
            message = (
                f"ring sizes {came} came; wanted whole numbers from 3 up for at least 3 rings, from north to south "
                "(GRIB's pl), or a name such as 'O640' or 'N160'"
            )
            raise OptionError(message)
        latitude = 90 - np.degrees(_quadrature.gauss_legendre(sizes.size)[0])
        return cls("reduced", latitude, sizes, np.zeros(sizes.size))

    @classmethod
    def from_points(cls, latitude: Any, longitude: Any) -> RingGrid:
        """Make a grid from its points, which may come in any order, recognising HEALPix and reduced Gaussian grids.

        Parameters
        ----------
        latitude, longitude : array-like (npoints,)
            Degrees north and degrees east; rounding as in GRIB or float32 files does no harm.

        Raises
        ------
        CoordinateError
            If the coordinates have different lengths, are not finite, or out of range.
        GridError
            If the points are unstructured: not on rings of equally spaced points that cover the globe.
        """
        lat, lon = checked_points(latitude, longitude)
        key = tuple(hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16).digest() for x in (lat, lon))
        found = _recognised.get(key)
        if found is None:
            found = cls._recognise(lat, lon)
            with _lock:
                while len(_recognised) > 7:
                    _recognised.pop(next(iter(_recognised)))
                _recognised[key] = found
        return found

    @classmethod
    def _recognise(cls, lat: Floats, lon: Floats) -> RingGrid:
        spacing = np.degrees(np.sqrt(4 * np.pi / lat.size))
        tolerance = min(ROUNDING_DEGREES, 0.1 * spacing)
        turned = (lon + tolerance) % 360 - tolerance
        ring, order = sorted_into_rings(lat, turned, tolerance)
        sizes = np.bincount(ring)
        if sizes.size < 3 or sizes[1:-1].min() < 3:
            why = f"{lat.size} points on one dimension, with {sizes.size} latitudes"
            raise unstructured(why)
        rows = np.bincount(ring, lat[order]) / sizes
        starts = ring_starts(turned[order], ring, sizes, rows, tolerance)
        if lat.size == 3 * (sizes.size + 1) ** 2 // 4 and (sizes.size + 1) % 4 == 0:
            exact = cls.healpix((sizes.size + 1) // 4)
            if exact._agrees(rows, sizes, starts, tolerance):
                return cls("healpix", exact.latitude, exact.ring_sizes, exact.ring_starts, order)
        gauss = 90 - np.degrees(_quadrature.gauss_legendre(sizes.size)[0])
        if np.max(np.abs(rows - gauss)) < tolerance:
            rows = gauss
        made = cls("reduced", rows, sizes, starts, order)
        if not made._rows.is_global:
            south, north = rows[-1], rows[0]
            message = f"rings between latitudes {south:g} and {north:g} came; wanted rings that cover the globe"
            raise GridError(message)
        return made

    def _agrees(self, rows: Floats, sizes: Indices, starts: Floats, tolerance: float) -> bool:
        if not np.array_equal(sizes, self.ring_sizes):
            return False
        return bool(np.max(np.abs(rows - self.latitude)) < tolerance) and bool(
            np.max(np.abs(starts - self.ring_starts)) < max(tolerance, 1e-5)
        )

    # ------------------------------------------------------------------ size and kind
    @property
    def npoints(self) -> int:
        """Number of points."""
        return int(self.ring_sizes.sum())

    @property
    def shape(self) -> tuple[int, ...]:
        """``(npoints,)``."""
        return (self.npoints,)

    @property
    def dim(self) -> str:
        """Name of the points' dimension on results: ``"cell"`` for HEALPix, ``"values"`` (as cfgrib) otherwise."""
        return "cell" if self.kind == "healpix" else "values"

    @property
    def nside(self) -> int | None:
        """HEALPix's resolution parameter; None for other kinds."""
        return (self.nlat + 1) // 4 if self.kind == "healpix" else None

    @property
    def north_to_south(self) -> bool:
        """Rings are always counted from the north."""
        return True

    @cached_property
    def periodic(self) -> bool:
        """Rings go once around the Earth."""
        return True

    def _no_columns(self, what: str) -> NoReturn:
        message = (
            f"{what} needs the columns of a grid that is the product of latitudes and longitudes; {self!r} has none. "
            "Go to such a grid first: .atmo.regrid(xatmo.Grid.gaussian(...), method='spectral')"
        )
        raise GridError(message)

    @property
    def longitude(self) -> Floats:
        """There is none for all rings (`GridError`); see `point_longitude`."""
        self._no_columns("Grid.longitude")

    @property
    def nlon(self) -> int:
        """Number of points on the longest ring; the others have `ring_sizes`."""
        return int(self.ring_sizes.max())

    @property
    def longitude_bounds(self) -> Floats:
        """There are none for all rings (`GridError`)."""
        self._no_columns("Grid.longitude_bounds")

    # ------------------------------------------------------------------ geometry
    @cached_property
    def _rows(self) -> Grid:
        """The rings' latitudes as rows of a plain grid, which knows their quadrature."""
        return Grid.from_latlon(self.latitude, [0.0, 90.0, 180.0, 270.0])

    @cached_property
    def colatitude(self) -> Floats:
        """Colatitudes of the rings in radians."""
        if self.kind == "healpix":
            return _floats(np.radians(90 - self.latitude))
        return self._rows.colatitude

    @cached_property
    def latitude_bounds(self) -> Floats:
        """Edges between the rings in degrees, ``(nlat + 1,)``: midway, and the poles."""
        middle = (self.latitude[:-1] + self.latitude[1:]) / 2
        return _floats(np.concatenate([[90.0], middle, [-90.0]]))

    def _in_ring_order(self, by_ring: Any) -> Floats:
        """Give every point the value of its ring, in the caller's order."""
        return self._as_given(np.repeat(by_ring, self.ring_sizes))

    def _as_given(self, values: Any) -> Floats:
        out = np.empty(self.npoints)
        out[slice(None) if self.ring_order is None else self.ring_order] = values
        return _floats(out)

    @cached_property
    def point_latitude(self) -> Floats:
        """Degrees north of every point, ``(npoints,)``, in the caller's order."""
        return self._in_ring_order(self.latitude)

    @cached_property
    def point_longitude(self) -> Floats:
        """Degrees east of every point in [0, 360), ``(npoints,)``, in the caller's order."""
        first = np.repeat(np.cumsum(self.ring_sizes) - self.ring_sizes, self.ring_sizes)
        step = np.repeat(360 / self.ring_sizes, self.ring_sizes)
        return self._as_given(np.repeat(self.ring_starts, self.ring_sizes) + step * (np.arange(self.npoints) - first))

    @cached_property
    def areas(self) -> Floats:
        """Area of every point's cell in m2, ``(npoints,)``.

        The same for all points of HEALPix; otherwise the zone between the ring's `latitude_bounds`, shared equally.
        """
        if self.kind == "healpix":
            return self._in_ring_order(np.full(self.nlat, 4 * np.pi * EARTH_RADIUS**2 / self.npoints))
        height = np.abs(np.diff(np.sin(np.radians(self.latitude_bounds))))
        return self._in_ring_order(2 * np.pi * EARTH_RADIUS**2 * height / self.ring_sizes)

    @cached_property
    def _rule(self) -> tuple[Floats, int]:
        if self.kind == "healpix":
            return _floats(self.ring_sizes / self.npoints), 2 * int(self.nside or 0)
        rows = self._rows
        degree = self.nlat - 1 if rows.kind == "gaussian" else (self.nlat - 1) // 2
        sine = np.sin(self.colatitude)
        away = sine > 1e-9
        finest = (self.ring_sizes[away] - 1) / (2 * sine[away])
        # To rounding, so that a ring on the equator with 2 n + 1 points resolves the order n.
        return rows.weights, min(degree, int(np.floor(finest.min() + 1e-9)))

    @cached_property
    def lmax(self) -> int:
        """Highest degree (inclusive) that analysis on this grid recovers.

        One weighted sum is exact on no such grid, so analysis is the least-squares fit of degrees up to this one, by
        conjugate gradients. A field without higher degrees comes back to rounding (1e-12) in ten steps or less.

        HEALPix: ``2 * nside``. Reduced grids: the highest degree for which every ring has two points or more to the
        shortest wave, ``(size - 1) / 2 >= lmax cos(latitude)``, at most ``nlat - 1``: 319 for N160 (a linear grid), 229
        for O160 (between a quadratic and a cubic one).
        """
        return self._rule[1]

    def positions_in(self, other: RingGrid) -> Indices | None:
        """Where this grid's points come in the order of another grid, ``(npoints,)``; None if the points differ.

        Examples
        --------
        >>> Grid.healpix(2).positions_in(Grid.healpix(2, nest=True))[:6]
        array([ 3,  7, 11, 15,  2,  1])
        """
        alike = np.array_equal(self.ring_sizes, other.ring_sizes) and self._agrees(
            other.latitude, other.ring_sizes, other.ring_starts, ROUNDING_DEGREES
        )
        if not alike:
            return None
        rank = np.arange(self.npoints) if self.ring_order is None else _inverse(self.ring_order)
        return rank if other.ring_order is None else other.ring_order[rank]

    # ------------------------------------------------------------------ in and out
    def coords(
        self, *, lat: str = "latitude", lon: str = "longitude", dim: str | None = None
    ) -> dict[str, xr.DataArray]:
        """Latitude and longitude of the points with CF attributes, on the dimension ``dim`` (by default `dim`)."""
        name = self.dim if dim is None else dim
        north = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"}
        east = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"}
        return {
            lat: xr.DataArray(np.array(self.point_latitude), dims=name, attrs=north),
            lon: xr.DataArray(np.array(self.point_longitude), dims=name, attrs=east),
        }

    @cached_property
    def _nested(self) -> bool:
        side = self.nside
        if side is None or side & (side - 1) or self.ring_order is None:
            return False
        return np.array_equal(self.ring_order, _inverse(nested_to_ring(side)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings from which `from_dict` makes the same grid."""
        order: Any = None if self.ring_order is None else self.ring_order.tolist()
        if self.kind == "healpix":
            return {"kind": self.kind, "nside": self.nside, "order": "nest" if self._nested else order}
        gauss = np.array_equal(self.latitude, 90 - np.degrees(_quadrature.gauss_legendre(self.nlat)[0]))
        return {
            "kind": self.kind,
            "points": self.ring_sizes.tolist(),
            "latitude": "gaussian" if gauss else self.latitude.tolist(),
            "starts": self.ring_starts.tolist() if self.ring_starts.any() else 0.0,
            "order": order,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> RingGrid:
        """Make the grid that `to_dict` described.

        Examples
        --------
        >>> RingGrid.from_dict(Grid.healpix(4, nest=True).to_dict()) == Grid.healpix(4, nest=True)
        True
        """
        order = state["order"]
        if state["kind"] == "healpix":
            made = cls.healpix(int(state["nside"]), nest=order == "nest")
            if order is None or order == "nest":
                return made
            return cls("healpix", made.latitude, made.ring_sizes, made.ring_starts, order)
        made = cls.reduced_gaussian(state["points"])
        latitude = made.latitude if state["latitude"] == "gaussian" else state["latitude"]
        starts = state["starts"] if isinstance(state["starts"], list) else made.ring_starts
        return cls("reduced", latitude, made.ring_sizes, starts, order)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        if not isinstance(other, RingGrid) or self.kind != other.kind:
            return False
        return (
            np.array_equal(self.ring_sizes, other.ring_sizes)
            and np.array_equal(self.latitude, other.latitude)
            and np.array_equal(self.ring_starts, other.ring_starts)
            and (self.ring_order is None) == (other.ring_order is None)
            and (
                self.ring_order is None or other.ring_order is None or np.array_equal(self.ring_order, other.ring_order)
            )
        )

    @cached_property
    def _hash(self) -> int:
        order = b"" if self.ring_order is None else self.ring_order.tobytes()
        return hash((self.kind, self.latitude.tobytes(), self.ring_sizes.tobytes(), self.ring_starts.tobytes(), order))

    def __hash__(self) -> int:
        return self._hash

    def __dask_tokenize__(self) -> object:
        return type(self).__name__, self.kind, self.latitude, self.ring_sizes, self.ring_starts, self.ring_order

    def __getstate__(self) -> dict[str, Any]:
        if self._nested:  # an order of millions of points need not travel
            return {"nside": self.nside}
        return {n: getattr(self, n) for n in ("kind", "latitude", "ring_sizes", "ring_starts", "ring_order")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "nside" in state:
            made = self.healpix(state["nside"], nest=True)
            state = {n: getattr(made, n) for n in ("kind", "latitude", "ring_sizes", "ring_starts", "ring_order")}
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        lat = self.latitude
        where = f" nside {self.nside}" if self.kind == "healpix" else ""
        how = "" if self.ring_order is None else ", nested" if self._nested else ", in an order of its own"
        text = f"<RingGrid {self.kind}{where}{how}, {self.npoints} points on {self.nlat} rings"
        if self.kind != "healpix":
            text += f", lat {lat[0]:.4g} to {lat[-1]:.4g}"
        return text + f", lmax {self.lmax}>"


def _frozen(array: Any, dtype: Any) -> Any:
    out = np.array(array, dtype=dtype)
    out.flags.writeable = False
    return out


def _inverse(order: Indices) -> Indices:
    out = np.empty(order.size, dtype=np.int64)
    out[order] = np.arange(order.size)
    return out


def _floats(array: Any) -> Floats:
    out: Floats = _frozen(array, np.float64)
    return out
