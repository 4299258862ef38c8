"""Grid: where the points of a field lie, what area each stands for, and which degrees they resolve."""

from __future__ import annotations

import operator
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import xarray as xr

from xatmo import _quadrature
from xatmo._axes import ROUNDING_DEGREES, checked_axis, edges_between, goes_around, kind_of
from xatmo._axes import repeats_first_column as repeats_first_column
from xatmo._axes import unwrap_longitude as unwrap_longitude
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, OptionError
from xatmo.typing import Floats, GridKind, XarrayObject

if TYPE_CHECKING:
    from xatmo.cf import Horizontal


@dataclass(frozen=True, eq=False)
class Grid:
    """A horizontal grid whose nodes are the product of latitudes and longitudes.

    Make one with `Grid.regular`, `Grid.gaussian`, `Grid.driscoll_healy`, `Grid.from_latlon` or `Grid.of`. Points on
    rings that hold different numbers of them (`Grid.healpix`, `Grid.reduced_gaussian`, `Grid.from_points`) are an
    `xatmo.rings.RingGrid`.

    Attributes
    ----------
    kind : {"gaussian", "regular", "driscoll_healy", "rectilinear", "regional"}
        ``"regular"``: global, equal steps, rows at both poles or half a step away from them. ``"gaussian"``: global,
        rows at the Gauss-Legendre nodes. ``"driscoll_healy"``: global, equal steps, a row on one pole (in files either)
        and none on the other. ``"rectilinear"``: global, any other rows (both pole rows missing, for instance).
        ``"regional"``: less than the globe.
    latitude : array (nlat,)
        Degrees north, in the caller's order.
    longitude : array (nlon,)
        Degrees east, increasing; starts wherever the caller's data start. A repeated cyclic column is not part of it.

    Examples
    --------
    >>> grid = Grid.regular(721, 1440)
    >>> grid.kind, grid.poles, grid.lmax
    ('regular', True, 719)
    >>> Grid.gaussian(96)
    <Grid gaussian 96 x 192, lat 88.57 to -88.57, lon 0 to 358.1, lmax 95>
    """

    kind: GridKind
    latitude: Floats
    longitude: Floats

    # Classes of grids that are no product of two axes, by kind: they stand above this one, and make themselves known.
    _classes: ClassVar[dict[str, type[Grid]]] = {}

    def __init_subclass__(cls, *, kinds: tuple[str, ...] = (), **options: Any) -> None:
        """Take the class for the constructors of these kinds."""
        super().__init_subclass__(**options)
        Grid._classes.update(dict.fromkeys(kinds, cls))

    # ------------------------------------------------------------------ constructors
    @classmethod
    def regular(cls, nlat: int, nlon: int, *, poles: bool = True) -> Grid:
        """Make a global grid with equal steps in latitude and longitude, north to south, from 0 degrees east.

        Parameters
        ----------
        nlat, nlon : int
            Rows and columns.
        poles : bool
            Whether the first and last row lie on the poles (ERA5: 721 x 1440), or half a step away from them.

        Raises
        ------
        OptionError
            If there are fewer than 3 rows or 4 columns, or they are no whole numbers.
        """
        nlat, nlon = _check_size(nlat, nlon)
        latitude = np.linspace(90.0, -90.0, nlat) if poles else 90 - (np.arange(nlat) + 0.5) * 180 / nlat
        return cls("regular", _readonly(latitude), _readonly(np.arange(nlon) * 360 / nlon))

    @classmethod
    def gaussian(cls, nlat: int, nlon: int | None = None) -> Grid:
        """Make a global Gaussian grid, north to south, from 0 degrees east; ``nlon`` is twice ``nlat`` unless given.

        ECMWF's F48 is ``Grid.gaussian(96)``: the number in F48 counts rows between pole and equator.
        """
        nlat, nlon = _check_size(nlat, 2 * nlat if nlon is None else nlon)
        colatitude, _ = _quadrature.gauss_legendre(nlat)
        latitude = 90 - np.degrees(colatitude)
        return cls("gaussian", _readonly(latitude), _readonly(np.arange(nlon) * 360 / nlon))

    @classmethod
    def driscoll_healy(cls, n: int, nlon: int | None = None) -> Grid:
        """Make the grid of Driscoll and Healy: equal steps from the north pole to one step before the south pole.

        The rows are those of ``Grid.regular(n + 1, nlon)`` without the last; ``nlon`` is ``2 * n`` unless given. It is
        pyshtools' "DH2" grid (``extend=False``). Driscoll and Healy's weights (those of `weights`) recover degrees up
        to ``n / 2 - 1`` [1]_. The missing row, however, follows from the others for any field of degree up to ``n - 1``
        (its zonal mean; for a vector the wave number 1), so that analysis here is exact up to `lmax` ``n - 1``.

        Parameters
        ----------
        n : int
            Rows. AtmoDist's fields of T639 have 1280 x 2560 points.
        nlon : int, optional

        Raises
        ------
        OptionError
            If there are fewer than 3 rows or 4 columns, or they are no whole numbers.

        References
        ----------
        .. [1] J. R. Driscoll and D. M. Healy, 1994: Computing Fourier transforms and convolutions on the 2-sphere.
           Adv. Appl. Math. 15, 202-250.

        Examples
        --------
        >>> Grid.driscoll_healy(1280)
        <Grid driscoll_healy 1280 x 2560, lat 90 to -89.86, lon 0 to 359.9, lmax 1279>
        """
        nlat, columns = _check_size(n, 2 * n if nlon is None else nlon)
        latitude = np.linspace(90.0, -90.0, nlat + 1)[:-1]
        return cls("driscoll_healy", _readonly(latitude), _readonly(np.arange(columns) * 360 / columns))

    @classmethod
    def healpix(cls, nside: int, *, nest: bool = False) -> Grid:
        """Make a HEALPix grid of ``12 * nside**2`` cells of equal area, on rings; see `xatmo.rings.RingGrid.healpix`.

        Examples
        --------
        >>> Grid.healpix(16)
        <RingGrid healpix nside 16, 3072 points on 63 rings, lmax 32>
        """
        return cls._classes["healpix"].healpix(nside, nest=nest)

    @classmethod
    def reduced_gaussian(cls, points: str | Any) -> Grid:
        """Make a reduced Gaussian grid from ``"O640"``, ``"N160"`` or the sizes of its rings.

        See `xatmo.rings.RingGrid.reduced_gaussian`.
        """
        return cls._classes["reduced"].reduced_gaussian(points)

    @classmethod
    def from_points(cls, latitude: Any, longitude: Any) -> Grid:
        """Make a grid from the latitude and longitude of every point, ``(npoints,)`` each, which lie on rings.

        See `xatmo.rings.RingGrid.from_points`.
        """
        return cls._classes["reduced"].from_points(latitude, longitude)

    @classmethod
    def from_latlon(cls, latitude: Any, longitude: Any) -> Grid:
        """Make a grid from its axes, recognising its kind.

        Parameters
        ----------
        latitude : array-like (nlat,)
            Degrees north, increasing or decreasing.
        longitude : array-like (nlon,)
            Degrees east, increasing apart from one jump of 360. A last column that repeats the first is dropped.

        Raises
        ------
        CoordinateError
            If an axis is not one-dimensional, not finite, not monotonic, or out of range.
        """
        lat, lon = np.asarray(latitude), np.asarray(longitude)
        if all(axis.ndim == 1 and axis.dtype.kind in "fiu" for axis in (lat, lon)):
            return _recognised(lat.tobytes(), lat.dtype, lon.tobytes(), lon.dtype)
        return _recognise(lat, lon)

    @classmethod
    def of(cls, obj: XarrayObject | Grid) -> Grid:
        """Take the grid of an xarray object from its CF coordinates (or give a Grid back as it is).

        Raises
        ------
        CoordinateError
            If latitude or longitude cannot be found or used.
        GridError
            If the grid is rotated or curvilinear, or its points lie on one dimension and form no rings.
        OptionError
            If ``obj`` is something else.
        """
        if isinstance(obj, Grid):
            return obj
        from xatmo import cf

        other: Any = obj
        if not isinstance(other, xr.Dataset | xr.DataArray):
            message = f"a {type(obj).__name__} came as grid; wanted a Grid, or a Dataset or DataArray with coordinates"
            raise OptionError(message)
        return cls.on(obj, cf.horizontal(obj, rings=True))

    @classmethod
    def on(cls, obj: XarrayObject, axes: Horizontal) -> Grid:
        """Take the grid of an object whose axes have been found: a `RingGrid` where both lie on one dimension.

        What a grid can do depends on where its points lie, so that coordinates that are Dask arrays are read here. They
        often are for points on rings: ``chunk`` splits every coordinate that is no index.
        """
        lat, lon = (coordinate_values(obj.coords.variables[name]) for name in (axes.lat, axes.lon))
        if axes.lat_dim == axes.lon_dim:
            return cls.from_points(lat, lon)
        return cls.from_latlon(lat, lon)

    # ------------------------------------------------------------------ size and kind
    @property
    def nlat(self) -> int:
        """Number of rows."""
        return int(self.latitude.size)

    @property
    def nlon(self) -> int:
        """Number of columns, without a repeated one."""
        return int(self.longitude.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(nlat, nlon)``; ``(npoints,)`` of a `RingGrid`."""
        return self.nlat, self.nlon

    @property
    def npoints(self) -> int:
        """Number of points."""
        return self.nlat * self.nlon

    @property
    def north_to_south(self) -> bool:
        """Whether the first row is the northernmost."""
        return bool(self.latitude[0] > self.latitude[-1])

    @cached_property
    def periodic(self) -> bool:
        """Whether the columns go once around the Earth."""
        return goes_around(self.longitude)

    @property
    def is_global(self) -> bool:
        """Whether the grid covers the sphere."""
        return self.kind != "regional"

    @cached_property
    def poles(self) -> bool:
        """Whether the first and last rows lie on the poles."""
        return bool(np.abs(np.abs(self.latitude[[0, -1]]) - 90).max() < ROUNDING_DEGREES)

    @property
    def missing_pole(self) -> str | None:
        """``"north"`` or ``"south"``: the pole without a row of a ``"driscoll_healy"`` grid; None for other kinds."""
        if self.kind != "driscoll_healy":
            return None
        return "south" if np.max(self.latitude) > -np.min(self.latitude) else "north"

    # ------------------------------------------------------------------ geometry
    @cached_property
    def colatitude(self) -> Floats:
        """Colatitudes in radians in the grid's row order, free of the rounding that files bring."""
        if self.kind == "gaussian":
            colatitude = _quadrature.gauss_legendre(self.nlat)[0]
        elif self.kind == "regular":
            rule = _quadrature.clenshaw_curtis if self.poles else _quadrature.fejer1
            colatitude = rule(self.nlat)[0]
        elif self.kind == "driscoll_healy":
            colatitude = _quadrature.driscoll_healy(self.nlat)[0]
            if self.missing_pole == "north":
                colatitude = np.pi - colatitude[::-1]
        else:
            return _readonly(np.radians(90 - self.latitude))
        return colatitude if self.north_to_south else _readonly(colatitude[::-1])

    @property
    def point_latitude(self) -> Floats:
        """Degrees north of every point, ``(npoints,)``, row by row."""
        return _readonly(np.repeat(self.latitude, self.nlon))

    @property
    def point_longitude(self) -> Floats:
        """Degrees east of every point, ``(npoints,)``, row by row."""
        return _readonly(np.tile(self.longitude, self.nlat))

    @cached_property
    def latitude_bounds(self) -> Floats:
        """Edges of the rows in degrees, ``(nlat + 1,)``: midway between rows, and the poles of a globe."""
        edges = edges_between(self.latitude)
        if self.is_global:
            edges[[0, -1]] = [90, -90] if self.north_to_south else [-90, 90]
        return _readonly(np.clip(edges, -90, 90))

    @cached_property
    def longitude_bounds(self) -> Floats:
        """Edges of the columns in degrees, ``(nlon + 1,)``: midway between columns."""
        edges = edges_between(self.longitude)
        if self.periodic:
            middle = (self.longitude[0] + self.longitude[-1] - 360) / 2
            edges[0], edges[-1] = middle, middle + 360
        return _readonly(edges)

    @cached_property
    def areas(self) -> Floats:
        """Area of every cell in m2, ``(nlat, nlon)``, between the edges of `latitude_bounds` and `longitude_bounds`."""
        height = np.abs(np.diff(np.sin(np.radians(self.latitude_bounds))))
        width = np.radians(np.diff(self.longitude_bounds))
        return _readonly(EARTH_RADIUS**2 * height[:, None] * width)

    @cached_property
    def _rule(self) -> tuple[Floats, int]:
        """Quadrature weights in row order, and the highest degree that they allow to analyse exactly."""
        height = np.abs(np.diff(np.sin(np.radians(self.latitude_bounds))))
        height = height / height.sum()
        weights: Floats
        if self.kind == "gaussian":
            weights, degree = _quadrature.gauss_legendre(self.nlat)[1], self.nlat - 1
        elif self.kind == "regular" and self.poles:
            # With the cosine series extended to twice the rows, analysis is exact up to degree nlat - 2.
            weights, degree = _quadrature.clenshaw_curtis(self.nlat)[1], self.nlat - 2
        elif self.kind == "regular":
            weights, degree = _quadrature.fejer1(self.nlat)[1], self.nlat - 1
        elif self.kind == "driscoll_healy":
            # With the missing row worked out from the others: that of nlat + 1 rows with poles.
            weights, degree = _quadrature.driscoll_healy(self.nlat)[1], self.nlat - 1
            if (self.missing_pole == "south") != self.north_to_south:
                weights = weights[::-1]
        elif self.kind == "rectilinear":
            weights, exact = _quadrature.interpolatory(np.asarray(self.colatitude, dtype=np.float64), height)
            degree = exact // 2
        else:
            weights, degree = height, -1
        return _readonly(weights), degree

    @cached_property
    def weights(self) -> Floats:
        """Quadrature weights by row, ``(nlat,)``; they sum to 1. On a regional grid: relative areas of the rows."""
        return self._rule[0]

    @cached_property
    def lmax(self) -> int:
        """Highest degree (inclusive) that analysis on this grid recovers exactly.

        Raises
        ------
        GridError
            On a regional grid, which has no spherical harmonics.
        """
        self.require_global("lmax")
        return min(self._rule[1], (self.nlon - 1) // 2)

    def require_global(self, what: str) -> None:
        """Raise unless the grid covers the sphere with equally spaced columns.

        Raises
        ------
        GridError
            Naming ``what`` cannot be done, and why.
        """
        if self.is_global:
            return
        south, north = sorted((self.latitude[0], self.latitude[-1]))
        message = (
            f"{what} needs a global grid; this one is regional: latitude {south:g} to {north:g}, "
            f"longitude {self.longitude[0]:g} to {self.longitude[-1]:g}. For a box use "
            "energy_spectrum(kind='isotropic') or regrid(method='conservative', 'bilinear', 'bicubic' or 'nearest')"
        )
        raise GridError(message)

    # ------------------------------------------------------------------ in and out
    def coords(self, *, lat: str = "latitude", lon: str = "longitude") -> dict[str, xr.DataArray]:
        """Coordinates with CF attributes, under the given dimension names."""
        north = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"}
        east = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}
        return {
            lat: xr.DataArray(np.array(self.latitude), dims=lat, attrs=north),
            lon: xr.DataArray(np.array(self.longitude), dims=lon, attrs=east),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings from which `from_dict` makes the same grid; short for the known kinds."""
        lat: Any = [float(x) for x in self.latitude]
        lon: Any = [float(x) for x in self.longitude]
        if self.kind in ("regular", "gaussian", "driscoll_healy") and np.array_equal(self.latitude, _nodes(self)):
            lat = {"n": self.nlat, "poles": self.poles, "north_to_south": self.north_to_south}
            if self.missing_pole == "north":
                lat["missing_pole"] = "north"
        even = self.longitude[0] + np.arange(self.nlon) * 360 / self.nlon
        if self.periodic and np.array_equal(self.longitude, even):
            lon = {"n": self.nlon, "first": float(self.longitude[0])}
        return {"kind": self.kind, "latitude": lat, "longitude": lon}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Grid:
        """Make the grid that `to_dict` described.

        Examples
        --------
        >>> Grid.from_dict(Grid.regular(19, 36).to_dict()) == Grid.regular(19, 36)
        True
        """
        kind = cast(GridKind, state["kind"])
        if kind in cls._classes:
            return cls._classes[kind].from_dict(state)
        lat, lon = state["latitude"], state["longitude"]
        if isinstance(lat, dict):
            poles, missing = bool(lat["poles"]), lat.get("missing_pole")
            lat = _named_rows(kind, int(lat["n"]), poles=poles, down=bool(lat["north_to_south"]), missing=missing)
        if isinstance(lon, dict):
            lon = float(lon["first"]) + np.arange(int(lon["n"])) * 360 / int(lon["n"])
        rows, columns = _readonly(np.asarray(lat, dtype=float)), _readonly(np.asarray(lon, dtype=float))
        if kind == "rectilinear":  # kinds that were not told apart before have a name now
            kind = kind_of(rows, columns)
        return cls(kind, rows, columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return (
            type(self) is type(other)
            and self.kind == other.kind
            and np.array_equal(self.latitude, other.latitude)
            and np.array_equal(self.longitude, other.longitude)
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.latitude.tobytes(), self.longitude.tobytes()))

    def __repr__(self) -> str:
        lat, lon = self.latitude, self.longitude
        text = f"<Grid {self.kind} {self.nlat} x {self.nlon}, "
        text += f"lat {lat[0]:.4g} to {lat[-1]:.4g}, lon {lon[0]:.4g} to {lon[-1]:.4g}"
        return text + (f", lmax {self.lmax}>" if self.is_global else ">")


def coordinate_values(coord: xr.Variable) -> Any:
    """Give the numbers of a coordinate, read at once if it is a Dask array, without any cluster where there is none."""
    if coord.chunks is None:
        return coord.values
    data: Any = coord.data
    if "distributed" in sys.modules:
        try:
            sys.modules["distributed"].default_client()
        except ValueError:  # no cluster
            pass
        else:  # the coordinate may live there
            return data.compute()
    return data.compute(scheduler="synchronous")


@lru_cache(maxsize=64)
def _recognised(lat: bytes, lat_type: Any, lon: bytes, lon_type: Any) -> Grid:
    """Recognise axes once: every call on a field asks again, and grids do not change."""
    return _recognise(np.frombuffer(lat, lat_type), np.frombuffer(lon, lon_type))


def _recognise(latitude: Any, longitude: Any) -> Grid:
    lat = checked_axis("latitude", latitude)
    lon = unwrap_longitude(longitude)
    if np.max(np.abs(lat)) > 90 + ROUNDING_DEGREES:
        message = f"latitude runs from {lat[0]:g} to {lat[-1]:g}; wanted degrees between -90 and 90"
        raise CoordinateError(message)
    lat = np.clip(lat, -90, 90)
    if repeats_first_column(lon):
        lon = lon[:-1]
    return Grid(kind_of(lat, lon), _readonly(lat), _readonly(lon))


def _nodes(grid: Grid) -> Floats:
    """Latitudes that the named constructors would give for this kind, in the grid's row order."""
    missing = "north" if grid.missing_pole == "north" else None
    return _named_rows(grid.kind, grid.nlat, poles=grid.poles, down=grid.north_to_south, missing=missing)


def _named_rows(kind: str, n: int, *, poles: bool, down: bool, missing: str | None = None) -> Floats:
    if kind == "gaussian":
        rows = Grid.gaussian(n).latitude
    elif kind == "driscoll_healy":
        rows = Grid.driscoll_healy(n).latitude
        rows = -rows[::-1] if missing == "north" else rows
    else:
        rows = Grid.regular(n, 4, poles=poles).latitude
    return rows if down else rows[::-1]


def _readonly(array: Any) -> Floats:
    array = np.array(array, dtype=np.float64)
    array.flags.writeable = False
    return cast(Floats, array)


def _check_size(nlat: Any, nlon: Any) -> tuple[int, int]:
    try:
        rows, columns = operator.index(nlat), operator.index(nlon)
    except TypeError:
        message = f"a global grid of {nlat!r} x {nlon!r} points came; wanted whole numbers"
        raise OptionError(message) from None
    if rows < 3 or columns < 4:
        message = f"a global grid of {rows} x {columns} points came; wanted at least 3 rows and 4 columns"
        raise OptionError(message)
    return rows, columns
