"""Where the points of an object lie, whatever its kind of grid, and whether another object lies on the same ones."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr

from xatmo import _labels, cf
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError
from xatmo.grids import Grid, coordinate_values
from xatmo.regrid.curvilinear import Mesh, unit_vectors
from xatmo.typing import Floats, XarrayObject

_ROTATED = "rotated_latitude_longitude"
# Coordinates of one grid may differ by this part of its steps (float32, GRIB's 0.001 degree), and by this angle.
_SAME_STEPS, _SAME_ANGLE = 0.02, 2e-6


@dataclass(frozen=True)
class Site:
    """A grid of any kind, with the names and coordinates that fields have on it.

    Attributes
    ----------
    grid : Grid, RingGrid, Mesh or None
        None where a weight file tells a shape only.
    dims : tuple
        Horizontal dimensions, slowest first.
    shape : tuple of int
        Without a repeated cyclic column.
    coords : dict
        Coordinates on these dimensions.
    axes : Horizontal or None
        For grids with one latitude and one longitude coordinate.
    cyclic : DataArray or None
        The object's own longitudes, if the last repeats the first.
    grid_mapping : str or None
        Name of the coordinate that describes a projection.
    """

    grid: Any
    dims: tuple[Hashable, ...]
    shape: tuple[int, ...]
    coords: dict[Hashable, xr.DataArray]
    axes: cf.Horizontal | None = None
    cyclic: xr.DataArray | None = None
    grid_mapping: str | None = None

    @property
    def rectilinear(self) -> bool:
        """Whether the grid is a product of latitudes and longitudes."""
        return isinstance(self.grid, Grid) and len(self.grid.shape) == 2


def needs_points(obj: XarrayObject, target: Any) -> bool:
    """Tell whether regridding between these needs weights between points rather than between axes."""
    return not _two_axes(obj) or not _two_axes(target)


def _two_axes(obj: Any) -> bool:
    if isinstance(obj, Grid):
        return len(obj.shape) == 2
    if isinstance(obj, Mesh):
        return False
    if not isinstance(obj, xr.Dataset | xr.DataArray):
        return True  # refused elsewhere, in words of its own
    try:
        return not cf.horizontal(obj, rings=True).rings
    except GridError:
        return not mesh_names(obj) and not _rotated_pole(obj)
    except CoordinateError:
        return True


# ---------------------------------------------------------------------- finding
def site_of(obj: Any, names: cf.Horizontal | None = None) -> Site:
    """Find the grid of an object, or put a grid under the names of another object's axes.

    Raises
    ------
    CoordinateError, GridError
        If there is no usable grid.
    OptionError
        If this is no grid and no xarray object.
    """
    if isinstance(obj, Grid | Mesh):
        return site_for(obj, names)
    if not isinstance(obj, xr.Dataset | xr.DataArray):
        message = (
            f"a {type(obj).__name__} came as grid; wanted a Grid, a Mesh, or a Dataset or DataArray with coordinates"
        )
        raise OptionError(message)
    try:
        axes = cf.horizontal(obj, rings=True)
    except GridError:
        found = _mesh_site(obj)
        if found is None:
            raise
        return found
    if axes.rings:
        grid: Any
        try:
            grid = Grid.on(obj, axes)
        except GridError:
            grid = Mesh(*(coordinate_values(obj[n].variable) for n in (axes.lat, axes.lon)))
        return Site(grid, axes.dims, tuple(grid.shape), _coords_on(obj, axes.dims), axes)
    bare, cyclic = _labels.drop_cyclic(_only(obj, (axes.lat, axes.lon)), axes)
    grid = Grid.from_latlon(bare[axes.lat].values, bare[axes.lon].values)
    whole = _bare(obj[axes.lon]).rename(axes.lon) if cyclic else None
    if whole is not None:
        whole = whole.assign_coords({axes.lon: whole.variable})
    return Site(grid, axes.dims, grid.shape, _coords_on(bare, axes.dims), axes, whole)


def site_for(grid: Any, names: cf.Horizontal | None = None) -> Site:
    """Coordinates for a grid by itself: under the names given, or ``latitude`` and ``longitude``."""
    if isinstance(grid, Mesh):
        dims: tuple[Hashable, ...] = ("y", "x") if grid.latitude.ndim == 2 else ("points",)
        like = Grid.regular(3, 4).coords()
        coords: dict[Hashable, xr.DataArray] = {
            name: xr.DataArray(values, dims=dims, attrs={k: v for k, v in like[name].attrs.items() if k != "axis"})
            for name, values in (("latitude", grid.latitude), ("longitude", grid.longitude))
        }
        return Site(grid, dims, grid.shape, coords)
    if len(grid.shape) == 1:
        lat, lon = (str(n) for n in ((names.lat, names.lon) if names else ("latitude", "longitude")))
        made = dict(grid.coords(lat=lat, lon=lon))
        dims = made[lat].dims
        return Site(grid, dims, grid.shape, made, cf.Horizontal(lat, lon, dims[0], dims[0]))
    if names is None or names.rings:
        names = cf.Horizontal("latitude", "longitude", "latitude", "longitude")
    made = grid.coords(lat="lat", lon="lon")
    coords = {
        names.lat: xr.DataArray(made["lat"].values, dims=(names.lat_dim,), attrs=made["lat"].attrs),
        names.lon: xr.DataArray(made["lon"].values, dims=(names.lon_dim,), attrs=made["lon"].attrs),
    }
    return Site(grid, names.dims, grid.shape, coords, names)


def mesh_names(obj: XarrayObject) -> tuple[Hashable, Hashable] | None:
    """Names of two-dimensional latitude and longitude on the same dimensions."""
    pairs = [[n for n in cf._candidates(obj, kind) if obj[n].ndim == 2] for kind in ("latitude", "longitude")]
    for lat in pairs[0]:
        for lon in pairs[1]:
            if set(obj[lat].dims) == set(obj[lon].dims):
                return lat, lon
    return None


def _mesh_site(obj: XarrayObject) -> Site | None:
    names = mesh_names(obj)
    mapping = _rotated_pole(obj)
    if names is not None:
        lat, lon = obj[names[0]], obj[names[1]]
        dims = tuple(lat.dims)
        degrees = [_in_degrees(c.transpose(*dims)) for c in (lat, lon)]
        mesh = Mesh(degrees[0], degrees[1], corners=_corners(obj, names, dims))
    elif mapping is not None:
        y, x, pole = mapping
        dims = (obj[y].dims[0], obj[x].dims[0])
        mesh = Mesh(*unrotated(obj[y].values, obj[x].values, pole))
    else:
        return None
    coords = _coords_on(obj, dims)
    if names is None:
        made = site_for(mesh).coords
        coords |= {n: xr.DataArray(c.values, dims=dims, attrs=c.attrs) for n, c in made.items() if n not in coords}
    described = _mapping_name(obj)
    if described is not None and described in obj.variables:
        kept = obj[described].reset_coords(drop=True)
        if kept.ndim == 0:
            coords[described] = kept
    else:
        described = None
    return Site(mesh, dims, mesh.shape, coords, grid_mapping=None if described is None else str(described))


def _in_degrees(coord: xr.DataArray) -> Floats:
    units = str(coord.attrs.get("units", "")).lower()
    values = np.asarray(coordinate_values(coord.variable), dtype=np.float64)
    return np.degrees(values) if units.startswith("rad") else values


def _rotated_pole(obj: XarrayObject) -> tuple[Hashable, Hashable, dict[str, float]] | None:
    """Find the rotated axes, and where the pole is; None if this is no rotated grid, or it does not say."""
    name = _mapping_name(obj)
    if name is None or obj[name].attrs.get("grid_mapping_name") != _ROTATED:
        return None
    axes = []
    for standard, usual in (("grid_latitude", "rlat"), ("grid_longitude", "rlon")):
        found = [n for n in obj.coords if obj[n].attrs.get("standard_name") == standard and obj[n].ndim == 1]
        found = found or [n for n in obj.coords if n == usual and obj[n].ndim == 1]
        if not found:
            return None
        axes.append(found[0])
    keys = ("grid_north_pole_latitude", "grid_north_pole_longitude", "north_pole_grid_longitude")
    pole = {k: float(obj[name].attrs.get(k, 0.0)) for k in keys}
    return axes[0], axes[1], pole


def _mapping_name(obj: XarrayObject) -> Hashable | None:
    variables: Any = obj.variables if isinstance(obj, xr.Dataset) else obj.coords
    for name in variables:
        if "grid_mapping_name" in obj[name].attrs:
            return cast(Hashable, name)
    return None


def unrotated(rlat: Floats, rlon: Floats, pole: dict[str, float]) -> tuple[Floats, Floats]:
    """Work out true latitude and longitude, ``(nlat, nlon)`` in degrees, of the points of rotated axes.

    The north pole of the rotated grid lies at ``grid_north_pole_latitude`` and ``grid_north_pole_longitude`` (CF
    conventions, appendix F).

    Examples
    --------
    >>> lat, lon = unrotated(np.array([90.0, 0]), np.array([0.0]), {"grid_north_pole_latitude": 39.25,
    ...     "grid_north_pole_longitude": -162.0, "north_pole_grid_longitude": 0.0})
    >>> lat.ravel(), lon.ravel()
    (array([39.25, 50.75]), array([-162.,   18.]))
    """
    phi, lam = np.meshgrid(np.radians(np.asarray(rlat, dtype=np.float64)), np.asarray(rlon, np.float64), indexing="ij")
    lam = np.radians(lam - pole.get("north_pole_grid_longitude", 0.0))
    tilt = np.radians(pole["grid_north_pole_latitude"])
    sine = np.sin(phi) * np.sin(tilt) + np.cos(phi) * np.cos(lam) * np.cos(tilt)
    along = np.cos(phi) * np.sin(lam)
    towards = np.cos(tilt) * np.sin(phi) - np.sin(tilt) * np.cos(phi) * np.cos(lam)
    lat = np.degrees(np.arcsin(np.clip(sine, -1, 1)))
    lon = pole["grid_north_pole_longitude"] - np.degrees(np.arctan2(along, towards))
    return lat, (lon + 180) % 360 - 180


def _corners(obj: XarrayObject, names: Any, dims: tuple[Hashable, ...]) -> tuple[Floats, Floats] | None:
    """Corners of cells from CF bounds, if they are there and each is shared by the cells around it."""
    out = []
    for name in names:
        bounds = obj[name].attrs.get("bounds")
        if not isinstance(obj, xr.Dataset) or bounds is None or bounds not in obj.variables:
            return None
        values = obj[bounds]
        last = [d for d in values.dims if d not in dims]
        if len(last) != 1 or values.sizes[last[0]] != 4:
            return None
        numbers = coordinate_values(values.transpose(*dims, last[0]).variable)
        out.append(np.asarray(numbers, dtype=np.float64))
    for turn in ((0, 1, 2, 3), (0, 3, 2, 1)):
        for start in range(4):
            order = [turn[(start + k) % 4] for k in range(4)]
            lat, lon = (b[..., order] for b in out)
            at = unit_vectors(lat, lon)
            # Corners in order (y, x), (y, x + 1), (y + 1, x + 1), (y + 1, x) agree with the neighbours'.
            if not all(np.isfinite(a).all() for a in (lat, lon)):
                return None
            along = np.abs(at[:, :-1, 1] - at[:, 1:, 0]).max(), np.abs(at[:-1, :, 3] - at[1:, :, 0]).max()
            if max(along) < 1e-5:
                return _joined(lat), _joined(lon)
    return None


def _joined(corners: Floats) -> Floats:
    top = np.concatenate([corners[..., 0], corners[:, -1:, 1]], axis=1)
    last = np.concatenate([corners[-1:, :, 3], corners[-1:, -1:, 2]], axis=1)
    return np.concatenate([top, last], axis=0)


def _coords_on(obj: XarrayObject, dims: tuple[Hashable, ...]) -> dict[Hashable, xr.DataArray]:
    return {n: _bare(c) for n, c in obj.coords.items() if c.dims and set(c.dims) <= set(dims)}


def _bare(coord: xr.DataArray) -> xr.DataArray:
    """Drop other coordinates, and the name of bounds that do not come along."""
    attrs = {k: v for k, v in coord.attrs.items() if k != "bounds"}
    return xr.DataArray(coordinate_values(coord.variable), dims=coord.dims, attrs=attrs)


def _only(obj: XarrayObject, names: tuple[Hashable, ...]) -> xr.Dataset:
    return xr.Dataset(coords={n: obj[n].variable for n in names})


# ---------------------------------------------------------------------- the same points
def selection(site: Site, other: Site, *, what: str) -> dict[Hashable, Any]:
    """Find the indices that put fields on ``other`` into the order of ``site``; none if they are in it.

    Raises
    ------
    CoordinateError
        If the points are not the same.
    """
    found = _selection(site, other)
    if found is None:
        message = (
            f"the object lies on {_shown(other)}, the {what} is for {_shown(site)}; make one for this grid "
            "(xatmo.regrid.Regridder), or bring the object to that one"
        )
        raise CoordinateError(message)
    return found


def _shown(site: Site) -> str:
    return repr(site.grid) if site.grid is not None else f"a grid of {' x '.join(map(str, site.shape))} points"


def _selection(site: Site, other: Site) -> dict[Hashable, Any] | None:
    if site.grid is None or other.grid is None:
        return {} if site.shape == other.shape else None
    if site.rectilinear and other.rectilinear:
        return _same_axes(site.grid, other.grid, other.dims)
    if site.shape != other.shape and site.shape != other.shape[::-1]:
        return None
    ours, theirs = (_vectors(s) for s in (site, other))
    if len(site.shape) == 1:
        return _same_list(site.grid, other.grid, ours, theirs, other.dims[0])
    limit = max(_SAME_ANGLE, _SAME_STEPS * float(np.nanmedian(np.linalg.norm(np.diff(ours, axis=1), axis=-1))))
    both: tuple[slice, ...] = (slice(None), slice(None, None, -1))
    for rows in both:
        for columns in both:
            turned = theirs[rows, columns]
            if turned.shape == ours.shape and _close(turned, ours, limit):
                picked = {other.dims[0]: rows, other.dims[1]: columns}
                return {d: s for d, s in picked.items() if s.step is not None}
    return None


def _vectors(site: Site) -> Floats:
    from xatmo.regrid.curvilinear import points_of

    lat, lon = points_of(site.grid)
    return unit_vectors(lat, lon).reshape(*site.shape, 3)


def _close(a: Floats, b: Floats, limit: float) -> bool:
    gap = np.abs(a - b)
    there = np.isfinite(gap)
    return bool((np.isfinite(a) == np.isfinite(b)).all() and gap[there].max(initial=0) < limit)


def _same_list(ours: Any, theirs: Any, at: Floats, there: Floats, dim: Hashable) -> dict[Hashable, Any] | None:
    limit = max(_SAME_ANGLE, _SAME_STEPS / np.sqrt(at.shape[0]))
    if _close(there, at, limit):
        return {}
    if not hasattr(ours, "ring_order") or not hasattr(theirs, "ring_order"):
        return None
    plain = np.arange(at.shape[0])
    index = np.empty_like(plain)
    index[plain if ours.ring_order is None else ours.ring_order] = (
        plain if theirs.ring_order is None else theirs.ring_order
    )
    return {dim: index} if _close(there[index], at, limit) else None


def _same_axes(ours: Grid, theirs: Grid, dims: tuple[Hashable, ...]) -> dict[Hashable, Any] | None:
    if ours.shape != theirs.shape:
        return None
    out: dict[Hashable, Any] = {}
    limit = max(1e-6, _SAME_STEPS * float(np.abs(np.diff(ours.latitude)).min()))
    if np.abs(ours.latitude - theirs.latitude).max() >= limit:
        if np.abs(ours.latitude - theirs.latitude[::-1]).max() >= limit:
            return None
        out[dims[0]] = slice(None, None, -1)
    limit = max(1e-6, _SAME_STEPS * float(np.diff(ours.longitude).min()))
    apart = np.abs((theirs.longitude - ours.longitude[0] + 180) % 360 - 180)
    first = int(np.argmin(apart))
    order = (np.arange(ours.nlon) + first) % ours.nlon
    if first and not ours.periodic:
        return None
    if np.abs((theirs.longitude[order] - ours.longitude + 180) % 360 - 180).max() >= limit:
        return None
    if first:
        out[dims[1]] = order
    return out


def reordered(obj: Any, site: Site, *, what: str) -> tuple[Any, Site]:
    """Put an object into the point order of ``site``, without a repeated cyclic column; give its own site too.

    Raises
    ------
    CoordinateError
        If it lies on other points.
    DimensionError
        If it has no horizontal dimensions of that shape.
    """
    if site.grid is None:
        own = _by_shape(obj, site.shape)
    else:
        own = _by_axes(obj, site) or site_of(obj)
        if not own.rectilinear and len(own.shape) == 2 and own.shape != site.shape and own.shape[::-1] == site.shape:
            own = _transposed(own)
    chosen = selection(site, own, what=what)
    if own.cyclic is not None and own.axes is not None:
        obj, _ = _labels.drop_cyclic(obj, own.axes)
    return (obj.isel(chosen) if chosen else obj), own


def _by_axes(obj: XarrayObject, site: Site) -> Site | None:
    """Recognise a grid by its own axes where an object lacks the rest, as one field of a rotated Dataset may do."""
    if len(site.shape) != 2 or site.rectilinear or mesh_names(obj) is not None or _rotated_pole(obj) is not None:
        return None
    for dim in site.dims:
        if dim not in obj.coords or dim not in site.coords or obj[dim].shape != site.coords[dim].shape:
            return None
        if not np.allclose(obj[dim].values, site.coords[dim].values, rtol=1e-6, atol=1e-9):
            return None
    return site


def _transposed(site: Site) -> Site:
    mesh = site.grid
    turned = Mesh(mesh.latitude.T, mesh.longitude.T, mesh.periodic)
    return Site(turned, site.dims[::-1], site.shape[::-1], site.coords, grid_mapping=site.grid_mapping)


def _by_shape(obj: XarrayObject, shape: tuple[int, ...]) -> Site:
    """Take the horizontal dimensions of an object by what is known of them: their coordinates, or their sizes."""
    try:
        own = site_of(obj)
        if own.shape == shape:
            return own
    except (GridError, CoordinateError):
        pass
    arrays = [obj] if isinstance(obj, xr.DataArray) else list(obj.data_vars.values())
    for da in arrays:
        if da.shape[-len(shape) :] == shape:
            return Site(None, da.dims[-len(shape) :], shape, {})
    message = (
        f"nothing here has {' x '.join(map(str, shape))} points on its last dimensions, as the weights want; "
        f"{dict(obj.sizes)} came"
    )
    raise DimensionError(message)
