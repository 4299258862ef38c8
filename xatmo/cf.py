"""Find coordinates and wind components by CF metadata, and write CF attributes and history."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xatmo.errors import CoordinateError, DimensionError, GridError, VariableError
from xatmo.typing import T, XarrayObject

# Pairs of standard names (eastward, northward), then pairs of variable names in the order in which they are tried.
WIND_STANDARD_NAMES = (
    ("eastward_wind", "northward_wind"),
    ("eastward_sea_water_velocity", "northward_sea_water_velocity"),
    (
        "surface_geostrophic_eastward_sea_water_velocity",
        "surface_geostrophic_northward_sea_water_velocity",
    ),
    ("geostrophic_eastward_wind", "geostrophic_northward_wind"),
)
WIND_NAMES = (("u", "v"), ("ua", "va"), ("uo", "vo"), ("u10", "v10"), ("10u", "10v"), ("ugos", "vgos"), ("uas", "vas"),
              ("uwnd", "vwnd"), ("U", "V"))  # fmt: skip


# Attributes that give the range of a field's values: false once the values change.
RANGES = ("valid_min", "valid_max", "valid_range", "actual_range")


# What is never the place of a value on a plane, by the names of dimensions and by the standard names of their labels.
_NO_PLACE = {
    "time", "t", "frame", "frames", "init_time", "lead_time", "valid_time", "member", "members", "number",
    "realization", "ensemble", "forecast_reference_time", "forecast_period",
}  # fmt: skip


@dataclass(frozen=True)
class Horizontal:
    """Names of the horizontal coordinates and of the dimensions that they lie on."""

    lat: Hashable
    lon: Hashable
    lat_dim: Hashable
    lon_dim: Hashable

    @property
    def dims(self) -> tuple[Hashable, ...]:
        """Latitude and longitude dimension, in this order; the one dimension of points on rings."""
        return (self.lat_dim,) if self.rings else (self.lat_dim, self.lon_dim)

    @property
    def rings(self) -> bool:
        """Whether latitude and longitude lie on one dimension: see `horizontal`."""
        return self.lat_dim == self.lon_dim


def _candidates(obj: XarrayObject, kind: str) -> list[Hashable]:
    """Names of the coordinates of a CF kind ("latitude", "longitude", "time" ...), by attributes, then by name."""
    from cf_xarray.criteria import coordinate_criteria

    # Asked of .cf, the same attributes are looked through for every kind there is, ten times as long.
    told = [
        name
        for name, variable in obj.coords.variables.items()
        if any(variable.attrs.get(key) in values for key, values in coordinate_criteria[kind].items())
    ]
    if told:
        return sorted(told, key=lambda name: (not isinstance(name, str), str(name)))
    # A guess takes tens of milliseconds, and the same coordinates are asked for again and again.
    key = (kind, *((name, v.dims, v.dtype.str, repr(v.attrs)) for name, v in obj.coords.variables.items()))
    known = _guesses.get(key)
    if known is None:
        known = tuple(_guess(obj, kind))
        if len(_guesses) >= _KEPT_GUESSES:
            _guesses.clear()
        # Dates of another calendar are objects, which only their values tell.
        if not any(v.dtype.kind == "O" for v in obj.coords.variables.values()):
            _guesses[key] = known
    return list(known)


_guesses: dict[tuple[Hashable, ...], tuple[Hashable, ...]] = {}
_KEPT_GUESSES = 512


def _guess(obj: XarrayObject, kind: str) -> list[Hashable]:
    """Find what looks like a coordinate of a kind by name, type, and what cf-xarray knows of both."""
    coords = obj.coords.to_dataset()
    found = list(coords.cf.coordinates.get(kind, []))
    if not found:
        axis = {"latitude": "Y", "longitude": "X", "vertical": "Z", "time": "T"}[kind]
        guessed = coords.cf.guess_coord_axis()
        found = list(guessed.cf.coordinates.get(kind, []))
        if not found and kind in ("vertical", "time"):
            found = list(guessed.cf.axes.get(axis, []))
    return found


def horizontal(obj: XarrayObject, *, rings: bool = False) -> Horizontal:
    """Find latitude and longitude.

    Parameters
    ----------
    obj : Dataset or DataArray
        With one-dimensional latitude and longitude coordinates on two different dimensions, under any name.
    rings : bool
        Whether they may also lie on one dimension, as those of reduced Gaussian and HEALPix fields do.

    Returns
    -------
    Horizontal

    Raises
    ------
    CoordinateError
        If a coordinate is missing, there are several, or it is in radians.
    GridError
        If the grid is rotated or curvilinear; without ``rings``, also if it is reduced.

    Examples
    --------
    >>> da = xr.DataArray([[0.0] * 3] * 2, coords={"nav_lat": ("y", [10, 20], {"units": "degrees_north"}),
    ...                   "nav_lon": ("x", [0, 1, 2], {"units": "degrees_east"})}, dims=("y", "x"))
    >>> horizontal(da).dims
    ('y', 'x')
    """
    lat, lon = (_one(obj, kind) for kind in ("latitude", "longitude"))
    for name in (lat, lon):
        units = str(obj[name].attrs.get("units", ""))
        if units.lower() in ("radian", "radians", "rad"):
            message = f"{name!r} is in {units}; wanted degrees: obj.assign_coords({name}=numpy.degrees(obj[{name!r}]))"
            raise CoordinateError(message)
    lat_dims, lon_dims = (obj.coords.variables[name].dims for name in (lat, lon))
    if len(lat_dims) == 2 or len(lon_dims) == 2:
        rotated = _rotated_axes(obj)
        kind = f"rotated-pole (axes {', '.join(map(str, rotated))})" if rotated else "curvilinear"
        message = (
            f"this is a {kind} grid: {lat!r} has dimensions {lat_dims}. Wanted one-dimensional latitude and longitude; "
            "regrid to a regular grid first: .atmo.regrid(target, method='bilinear')"
        )
        raise GridError(message)
    if lat_dims == lon_dims and not rings:
        message = (
            f"this is a reduced or unstructured grid: {lat!r} and {lon!r} both lie on dimension {lat_dims[0]!r}. "
            "Wanted a grid that is the product of latitudes and longitudes. Where the points lie on rings (reduced "
            "Gaussian, HEALPix), go to one first: .atmo.regrid(xatmo.Grid.gaussian(...), method='spectral'), or "
            "'bilinear' where values are missing"
        )
        raise GridError(message)
    return Horizontal(lat, lon, lat_dims[0], lon_dims[0])


def rows_and_columns(da: xr.DataArray, *, apart: Iterable[Hashable] = ()) -> tuple[Hashable, Hashable] | None:
    """Find the plane of a field without axes of latitude and longitude: an image, or a radar's on a projection.

    The last two dimensions that are not of time, start, lead or member are its rows and columns.

    Parameters
    ----------
    da : DataArray
    apart : iterable of hashable
        Other dimensions that are no place.

    Returns
    -------
    (hashable, hashable) or None
        None where there are not two of 2 points or more, one has degrees of latitude or longitude, or the field holds
        spherical harmonics, HEALPix cells or GRIB's packed points.

    Examples
    --------
    >>> rows_and_columns(xr.DataArray([[[0.0] * 3] * 2] * 4, dims=("time", "y", "x")))
    ('y', 'x')
    """
    places = [d for d in da.dims if not (d in set(apart) or _is_no_place(da, d))][-2:]
    if len(places) < 2 or min(da.sizes[d] for d in places) < 2:
        return None
    degrees = {d for kind in ("latitude", "longitude") for n in _candidates(da, kind) for d in _line(da, n)}
    if degrees & set(places) or _harmonics(da) or _healpix_cells(da) or _is_packed(da):
        return None
    return places[0], places[1]


def _is_no_place(da: xr.DataArray, dim: Hashable) -> bool:
    if str(dim).lower() in _NO_PLACE:
        return True
    labels = da.coords.variables.get(dim)
    return labels is not None and (labels.attrs.get("standard_name") in _NO_PLACE or labels.dtype.kind in "mM")


def _line(da: xr.DataArray, name: Hashable) -> tuple[Hashable, ...]:
    dims = da.coords.variables[name].dims
    return dims if len(dims) == 1 else ()


def across(obj: XarrayObject) -> tuple[Hashable, ...]:
    """Find the dimensions of a map: those of latitude and longitude (one of points on rings), else rows and columns.

    Raises
    ------
    CoordinateError, GridError
        Those of `horizontal`, where there is neither; of a Dataset also where its variables lie on different planes.

    Examples
    --------
    >>> across(xr.DataArray([[[0.0] * 3] * 2] * 4, dims=("y", "x", "member")))
    ('y', 'x')
    """
    try:
        return horizontal(obj, rings=True).dims
    except (CoordinateError, GridError):
        fields = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
        found = {pair for da in fields if (pair := rows_and_columns(da)) is not None}
        if len(found) != 1:
            raise
        return found.pop()


def _one(obj: XarrayObject, kind: str) -> Hashable:
    variables = obj.coords.variables
    names = [name for name in _candidates(obj, kind) if variables[name].ndim > 0]
    on_data = [n for n in names if isinstance(obj, xr.Dataset) or set(variables[n].dims) <= set(obj.dims)]
    if len(on_data) > 1:
        flat = [n for n in on_data if variables[n].ndim == 1]
        own_axis = [n for n in flat if n in obj.dims]
        on_data = own_axis or flat or on_data
    if len(on_data) == 1:
        return on_data[0]
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}[kind]
    if not on_data:
        rotated = _rotated_axes(obj)
        if rotated:
            message = (
                f"this is a rotated-pole grid (axes {', '.join(map(str, rotated))}); wanted true latitude and "
                "longitude axes; regrid to a regular grid first: .atmo.regrid(target, method='bilinear')"
            )
            raise GridError(message)
        harmonics = _harmonics(obj)
        if harmonics is not None:
            message = (
                f"these are spherical-harmonic coefficients, on {harmonics}, and lie on no grid; call "
                ".atmo.to_grid(grid) first, for instance with xatmo.Grid.regular(181, 360)"
            )
            raise GridError(message)
        cells = _healpix_cells(obj)
        if cells is not None:
            message = (
                f"no {kind} coordinate found, but HEALPix cells on {cells[0]!r}. Give them their places first: "
                f"obj.assign_coords(xatmo.Grid.healpix({cells[1]}).coords(dim={cells[0]!r})), all cells in their order"
            )
            raise CoordinateError(message)
        if _is_packed(obj):
            message = (
                "the points of this field lie on one 'values' axis, as those of reduced grids in GRIB, but it has no "
                f"{kind} on it; wanted both coordinates: xatmo.Grid.reduced_gaussian(...).coords()"
            )
            raise GridError(message)
        single = [name for name in _candidates(obj, kind) if obj[name].ndim == 0]
        if single:
            message = (
                f"{kind} {single[0]!r} is a single value ({obj[single[0]].values}); wanted an axis of at least 2 "
                "points: select a range instead of one point"
            )
            raise CoordinateError(message)
        message = (
            f"no {kind} coordinate found among {sorted(map(str, obj.coords))} (dimensions {tuple(obj.dims)}); "
            f"wanted one with standard_name {kind!r}, units {units!r} or an obvious name. "
            f"Set obj['NAME'].attrs['standard_name'] = {kind!r}; points without degrees need some: "
            f"obj.rename(DIM={kind!r}).assign_coords({kind}=...)"
        )
        raise CoordinateError(message)
    message = f"several {kind} coordinates found: {sorted(map(str, on_data))}; select variables that share one grid"
    raise CoordinateError(message)


def _rotated_axes(obj: XarrayObject) -> list[Hashable]:
    names = ("grid_latitude", "grid_longitude")
    return [n for n in obj.coords if obj[n].attrs.get("standard_name") in names or n in ("rlat", "rlon")]


def _harmonics(obj: XarrayObject) -> str | None:
    """Name the axes of spherical-harmonic coefficients, if an object holds any."""
    variables: Iterable[xr.DataArray] = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    for v in variables:
        if {"degree", "order"} <= set(v.dims):
            return "'degree' and 'order'"
        if "values" in v.dims and (v.attrs.get("GRIB_gridType") == "sh" or packs_harmonics(v)):
            return "GRIB's 'values' axis"
    return None


def packs_harmonics(da: xr.DataArray) -> bool:
    """Tell whether the ``values`` axis looks like GRIB's of spherical harmonics, without asking the attributes.

    Those get lost in computations. The points of a reduced grid bring coordinates; coefficients have none on their
    axis, and (T + 1) (T + 2) numbers for some T.

    Examples
    --------
    >>> packs_harmonics(xr.DataArray([0.0] * 6, dims="values")), packs_harmonics(xr.DataArray([0.0] * 7, dims="values"))
    (True, False)
    """
    if "values" not in da.dims or any("values" in c.dims for c in da.coords.values()):
        return False
    size = da.sizes["values"]
    side = math.isqrt(size)
    return side > 1 and side * (side + 1) == size


def _healpix_cells(obj: XarrayObject) -> tuple[Hashable, str] | None:
    """Dimension and, as arguments of `Grid.healpix`, resolution and order of HEALPix cells without coordinates."""
    described = [obj.attrs, *(v.attrs for v in obj.coords.values())]
    if isinstance(obj, xr.Dataset):
        described += [v.attrs for v in obj.data_vars.values()]
    said: dict[Any, Any] = {}
    for attrs in described:
        if any(str(k).startswith("healpix") or str(v).lower() == "healpix" for k, v in attrs.items()):
            said |= attrs
    for dim in obj.dims:
        side = math.isqrt(obj.sizes[dim] // 12)
        if side and 12 * side**2 == obj.sizes[dim] and (said or str(dim) in ("cell", "cells", "cell_ids", "healpix")):
            scheme = next((said[k] for k in ("indexing_scheme", "healpix_order", "nest") if k in said), "ring")
            nested = scheme is True or str(scheme).lower().startswith("nest")
            return dim, f"{side}, nest=True" if nested else str(side)
    return None


def _is_packed(obj: XarrayObject) -> bool:
    variables: Iterable[xr.DataArray] = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    return any(v.dims[-1:] == ("values",) for v in variables)


def chunks_of(obj: XarrayObject) -> dict[Hashable, tuple[int, ...]]:
    """Give chunks by dimension, of a Dataset those of the first variable that has any.

    Unlike xarray's ``chunksizes``, does not mind coordinates, or other variables, in other chunks.

    Examples
    --------
    >>> ds = xr.Dataset({"a": ("x", [1, 2, 3])}).chunk(x=2)
    >>> chunks_of(ds.assign(b=ds.a.chunk(x=3)))
    {'x': (2, 1)}
    """
    if isinstance(obj, xr.DataArray):
        return dict(obj.variable.chunksizes)
    found: dict[Hashable, tuple[int, ...]] = {}
    for da in obj.data_vars.values():
        found |= {d: c for d, c in da.variable.chunksizes.items() if d not in found}
    return found


def time(obj: XarrayObject) -> Hashable:
    """Name of the one-dimensional time coordinate.

    Raises
    ------
    CoordinateError
        If there is none, or more than one.
    """
    names = [n for n in _candidates(obj, "time") if obj[n].ndim == 1]
    if len(names) > 1:
        own_axis = [n for n in names if n in obj.dims]
        names = own_axis or names
    if len(names) != 1:
        came = f"several ({', '.join(map(str, names))})" if names else f"none among {sorted(map(str, obj.coords))}"
        message = f"time coordinate: {came}; wanted exactly one with standard_name 'time' or datetime values"
        single = [n for n in _candidates(obj, "time") if obj[n].ndim == 0]
        if single and not names:
            message = (
                f"time coordinate: {single[0]!r} is a single value; wanted an axis, be it of one time: "
                f"obj.expand_dims({single[0]!r})"
            )
        raise CoordinateError(message)
    return names[0]


def wind_pair(
    ds: xr.Dataset, *, u: Hashable | None = None, v: Hashable | None = None, required: bool = True
) -> tuple[Hashable, Hashable] | None:
    """Find the eastward and northward components of a vector field.

    Parameters
    ----------
    ds : Dataset
    u, v : str, optional
        Names, where CF attributes do not say which variables they are. Give both or neither.
    required : bool
        Whether to raise, or return None, when there is no pair.

    Raises
    ------
    VariableError
        If a given name is missing, both are the same, or no pair is found and one is required.

    Examples
    --------
    >>> wind_pair(xr.Dataset({"a": ("x", [0.0], {"standard_name": "northward_wind"}),
    ...                       "b": ("x", [0.0], {"standard_name": "eastward_wind"})}))
    ('b', 'a')
    """
    if (u is None) != (v is None):
        message = f"u={u!r} and v={v!r} came; give both components or neither"
        raise VariableError(message)
    if u is not None and v is not None:
        if u == v:
            message = f"u={u!r} and v={v!r} came, one variable twice; wanted the eastward and the northward component"
            raise VariableError(message)
        missing = [name for name in (u, v) if name not in ds]
        if missing:
            message = f"no variable {missing[0]!r} in this Dataset; it has {sorted(map(str, ds.data_vars))}"
            raise VariableError(message)
        return u, v
    standard = {str(ds.variables[n].attrs.get("standard_name", "")): n for n in ds.data_vars}
    for east, north in WIND_STANDARD_NAMES:
        if east in standard and north in standard:
            return standard[east], standard[north]
    for east, north in WIND_NAMES:
        if east in ds.data_vars and north in ds.data_vars and not _other_quantity(ds, east, north):
            return east, north
    if not required:
        return None
    message = (
        f"no wind pair among {sorted(map(str, ds.data_vars))}; wanted variables with standard_name 'eastward_wind' "
        "and 'northward_wind', or pass u= and v="
    )
    raise VariableError(message)


def _other_quantity(ds: xr.Dataset, east: str, north: str) -> bool:
    """Tell whether names that look like a pair carry standard names of something else (vo: vorticity at ECMWF)."""
    names = (str(ds.variables[n].attrs.get("standard_name", "")) for n in (east, north))
    wanted = (("eastward", "x_"), ("northward", "y_"))
    return any(n and not any(w in n for w in words) for n, words in zip(names, wanted, strict=True))


def variables_with(obj: xr.Dataset, dims: Iterable[Hashable], *, what: str, kinds: str = "fiubc") -> list[Hashable]:
    """Names of the numeric variables, or those whose types are of other ``kinds``, that have all of ``dims``.

    Raises
    ------
    DimensionError
        If none qualifies.
    """
    dims = tuple(dims)
    names = [n for n, v in obj.data_vars.items() if set(dims) <= set(v.dims) and v.dtype.kind in kinds]
    if not names:
        shown = {str(n): v.dims for n, v in obj.data_vars.items()}
        message = f"{what} needs a numeric variable with dimensions {dims}; {shown} came"
        raise DimensionError(message)
    return names


def auxiliary(ds: xr.Dataset) -> set[Hashable]:
    """Names of the variables that describe others: bounds of coordinates, and grid mappings.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("x", [0.0], {"grid_mapping": "crs"}), "crs": 0, "edges": (("x", "two"), [[0, 1]])},
    ...                 coords={"x": ("x", [0.5], {"bounds": "edges"})})
    >>> sorted(auxiliary(ds))
    ['crs', 'edges']
    """
    found: set[Hashable] = {n for n, v in ds.variables.items() if "grid_mapping_name" in v.attrs}
    for variable in ds.variables.values():
        for key in ("bounds", "climatology", "grid_mapping"):
            named = str(variable.attrs.get(key) or variable.encoding.get(key) or "")
            found |= {word.rstrip(":") for word in named.split()} & set(ds.data_vars)
    return found


def add_history(obj: T, call: str) -> T:
    """Append one line to the ``history`` attribute (on a copy): the function, its arguments and the version."""
    from xatmo import __version__

    line = f"xatmo {__version__}: {call}"
    before = obj.attrs.get("history")
    return obj.assign_attrs(history=f"{before}\n{line}" if before else line)


def describe_call(function: str, **arguments: Any) -> str:
    """Write a call for ``history``, leaving out what is None.

    Examples
    --------
    >>> describe_call("truncate", lmax=63, taper=None)
    'truncate(lmax=63)'
    """
    shown = ", ".join(f"{k}={v!r}" for k, v in arguments.items() if v is not None)
    return f"{function}({shown})"
