"""Harmonic sums at any points: fields and winds along a satellite's track, at stations, or on any other geometry."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields, require_finite, require_whole
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels, _results, _scattered, packed
from xatmo.spectral._fields import DEGREE, ORDER, Source
from xatmo.spectral._vectors import map_with_winds
from xatmo.typing import Complexes, Floats, SpectralEngine, T, XarrayObject

WHAT = "to_points"


# ---------------------------------------------------------------------- blocks
def _analysis(field: Any, *, grid: Grid, lmax: int, engine: Any, name: Any) -> Complexes:
    field = _kernels.as_float(field)
    require_finite(field, what=WHAT, name=name)
    return _kernels.analysis(field, grid, lmax, engine)


def _analysis_vector(u: Any, v: Any, *, grid: Grid, lmax: int, engine: Any, name: Any) -> tuple[Complexes, Complexes]:
    u, v = _kernels.as_float(u), _kernels.as_float(v)
    for component in (u, v):
        require_finite(component, what=WHAT, name=name)
    return _kernels.analysis_vector(u, v, grid, lmax, engine)


def _at(coefficients: Any, lat: Any, lon: Any, *, engine: Any, name: Any) -> Floats:
    array = _fields.square(_kernels.as_complex(coefficients))
    require_finite(array, what=WHAT, name=name)
    return _scattered.synthesis(array, *_checked(lat, lon), engine)


def _at_vector(rotational: Any, divergent: Any, lat: Any, lon: Any, *, engine: Any) -> tuple[Floats, Floats]:
    return _scattered.synthesis_vector(rotational, divergent, *_checked(lat, lon), engine)


def _checked(lat: Any, lon: Any) -> tuple[Floats, Floats]:
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    with np.errstate(invalid="ignore"):
        bad = np.abs(lat) > 90 + 1e-3
    if bad.any():
        message = f"a point at latitude {lat[bad][0]:g} came; wanted degrees between -90 and 90"
        raise CoordinateError(message)
    return lat, lon


# ---------------------------------------------------------------------- points
@dataclass(frozen=True)
class _Points:
    """Where to evaluate: latitude and longitude on the same dimensions, and what is known of the points."""

    lat: xr.DataArray
    lon: xr.DataArray
    coords: dict[Hashable, xr.DataArray]

    @classmethod
    def of(cls, points: XarrayObject | None, lat: Any, lon: Any) -> _Points:
        """Take them from an object with coordinates, or from two arrays."""
        if points is None:
            if lat is None or lon is None:
                message = (
                    "to_points came without points; wanted an object with latitude and longitude, or lat= and lon="
                )
                raise OptionError(message)
            north, east = _array(lat, "latitude"), _array(lon, "longitude")
            known: dict[Hashable, xr.DataArray] = {}
        else:
            other: Any = points
            if not isinstance(other, xr.Dataset | xr.DataArray):
                message = (
                    f"a {type(points).__name__} came as points; wanted a Dataset or DataArray with latitude and "
                    "longitude, or lat= and lon= instead"
                )
                raise OptionError(message)
            north, east = (_in(points, given, kind) for given, kind in ((lat, "latitude"), (lon, "longitude")))
            known = dict(points.coords)
        for da in (north, east):
            if str(da.attrs.get("units", "")).lower() in ("radian", "radians", "rad"):
                message = f"{da.name!r} is in {da.attrs['units']}; wanted degrees: numpy.degrees"
                raise CoordinateError(message)
        first, second = (xr.DataArray(x.variable) for x in (north, east))
        unlike = [d for d in first.dims if first.sizes[d] != second.sizes.get(d, first.sizes[d])]
        if unlike:
            message = (
                f"{first.sizes[unlike[0]]} latitudes and {second.sizes[unlike[0]]} longitudes came on {unlike[0]!r}; "
                "wanted one of each for every point"
            )
            raise CoordinateError(message)
        first, second = xr.broadcast(first, second)
        for da in (north, east):
            known |= dict(da.coords)
            known[da.name] = da
        return cls(first, second, {n: c for n, c in known.items() if set(c.dims) <= set(first.dims)})

    @property
    def shape(self) -> str:
        """Their dimensions, for the history."""
        return "(" + ", ".join(f"{d}: {n}" for d, n in self.lat.sizes.items()) + ")"

    def require_same(self, da: xr.DataArray, name: Hashable) -> None:
        """Raise if a field shares a dimension with the points, but not its size and coordinate."""
        for dim in (d for d in self.lat.dims if d in da.dims):
            ours, theirs = self.coords.get(dim), da.coords.get(dim)
            same = self.lat.sizes[dim] == da.sizes[dim]
            if same and (ours is None or theirs is None or np.array_equal(ours.values, theirs.values)):
                continue
            message = (
                f"points and field {name!r} share the dimension {dim!r}, but not its {da.sizes[dim]} values; wanted "
                f"the same {dim!r} in both, or another name for the points': .rename({dim}='point'). Nothing is "
                "interpolated along it"
            )
            raise CoordinateError(message)


def _array(given: Any, name: str) -> xr.DataArray:
    """Latitudes or longitudes as a DataArray with a name: the points of a list lie on dimension ``point``."""
    default = {"standard_name": name, "units": {"latitude": "degrees_north", "longitude": "degrees_east"}[name]}
    if isinstance(given, xr.DataArray):
        da = given.rename(name if given.name is None else given.name)
        return da if da.attrs.get("units") else da.assign_attrs({**default, **da.attrs})
    values = given if hasattr(given, "ndim") else np.asarray(given)
    if values.ndim > 1 or values.dtype.kind not in "fiu":
        message = (
            f"{name}s of shape {values.shape} and type {values.dtype} came; wanted numbers, one-dimensional or as a "
            "DataArray with dimensions"
        )
        raise DimensionError(message)
    return xr.DataArray(values, dims=("point",)[: values.ndim], name=name, attrs=default)


def _in(points: XarrayObject, given: Any, kind: str) -> xr.DataArray:
    """Latitude or longitude of an object: by name, by CF metadata, or from a variable that says that it is one."""
    if given is not None and not isinstance(given, str):
        return _array(given, kind)
    everything = points if isinstance(points, xr.DataArray) else points.set_coords(list(points.data_vars))
    if given is not None:
        if given not in everything.coords:
            message = f"no variable {given!r} among the points; they have {sorted(map(str, everything.coords))}"
            raise CoordinateError(message)
        return _array(everything[given], kind)
    found = cf._candidates(points, kind) or cf._candidates(everything, kind)
    found = [n for n in found if everything[n].dims] or found
    if len(found) != 1:
        short = kind[:3]
        came = f"several ({', '.join(map(str, found))})" if found else f"none among {sorted(map(str, points.coords))}"
        message = f"{kind} of the points: {came}; wanted one with standard_name {kind!r}, or its name as {short}="
        raise CoordinateError(message)
    return _array(everything[found[0]], kind)


# ---------------------------------------------------------------------- labelled
def to_points(
    obj: T,
    points: XarrayObject | None = None,
    *,
    lat: Any = None,
    lon: Any = None,
    lmax: int | None = None,
    engine: SpectralEngine | None = None,
) -> T:
    """Evaluate fields at any points through their spherical harmonics: exact for the degrees kept, no interpolation.

    The value at a point is the harmonic sum itself. A CF wind pair in a Dataset is a vector (spin 1): eastward and
    northward are those at the point, also next to a pole.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid, latitude and longitude whole; or coefficients on ``degree`` and ``order``.
    points : Dataset or DataArray, optional
        Has latitude and longitude as coordinates or variables, on any dimensions: a track, a swath, stations, drifters.
        A point whose position is NaN gets NaN.
    lat, lon : str, array-like or DataArray, optional
        Instead of ``points``: degrees, on the dimension ``point`` where they have none; both together are broadcast by
        dimension. With ``points``: the names of its latitude and longitude, where there are several.
    lmax : int, optional
        Highest degree kept; all that there are by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed: values to 1e-12 of the largest in float64, to 2e-6 in float32.

    Returns
    -------
    Dataset or DataArray
        On the fields' other dimensions and those of the points (last), with the points' coordinates: latitude,
        longitude, and time where they have it. Dask in either gives Dask; each chunk of points is a task.

    Raises
    ------
    OptionError
        If there are no points, they are no object with coordinates, or ``lmax`` is more than the grid resolves.
    CoordinateError
        If latitude or longitude is missing, ambiguous, in radians or out of range; or points and fields share a
        dimension with different values.
    DimensionError
        If latitudes or longitudes come as an array of two or more dimensions without names, or not as numbers.
    GridError, ChunkError, MissingValueError
        As in `to_spectral`.

    Notes
    -----
    Other dimensions are broadcast: 10 levels at 1000 points are 10 x 1000 values. A dimension that fields and points
    share (``time``, for drifters with a position at each time of the fields) is matched, value by value. There is no
    interpolation in time: a track whose dimension ``time`` is another one than the fields' is refused. Rename it
    (``track.rename(time="sample")``) to get every field along the whole track, or select the field.

    Examples
    --------
    >>> grid = Grid.regular(19, 36)
    >>> north = np.sin(np.radians(grid.coords()["latitude"])).expand_dims(longitude=grid.longitude, axis=1)
    >>> field = north.assign_coords(grid.coords())
    >>> to_points(field, lat=[30.0, -90.0], lon=[1.234, 0.0]).values
    array([ 0.5, -1. ])
    >>> track = xr.Dataset(coords={"lat": ("time", [0.0, 30.0]), "lon": ("time", [359.0, 1.0]), "time": [0, 1]})
    >>> along = to_points(field, track)
    >>> along.dims, sorted(along.coords)
    (('time',), ['lat', 'lon', 'time'])
    """
    obj = packed.unpacked(obj)
    place = _Points.of(points, lat, lon)
    chosen = _kernels.choose_engine(engine)
    call = cf.describe_call("to_points", points=place.shape, lmax=lmax, engine=engine)
    if _results.holds_coefficients(obj):
        top = None if lmax is None else _kernels.check_degree(lmax)

        def from_coefficients(da: xr.DataArray) -> xr.DataArray:
            _fields.require_convention(da, what=WHAT)
            kept = da if top is None else da.isel({DEGREE: slice(top + 1), ORDER: slice(top + 1)})
            out = _evaluate(place, [kept], partial(_at, engine=chosen, name=da.name), da.name)[0]
            return _finished(out, da, place, _fields.field_attrs(da))

        return cf.add_history(map_fields(obj, from_coefficients, dims=(DEGREE, ORDER), what=WHAT), call)
    source = Source.of(obj)
    dims, top = source.axes.dims, _kernels.resolve_lmax(source.grid, lmax, what=WHAT)
    options: dict[str, Any] = {"grid": source.grid, "lmax": top, "engine": chosen}
    size: dict[Hashable, int] = {DEGREE: top + 1, ORDER: top + 1}

    def attrs_of(da: xr.DataArray) -> dict[str, Any]:
        return {k: v for k, v in _fields.coefficient_attrs(da, top).items() if k in da.attrs}

    def scalar(da: xr.DataArray) -> xr.DataArray:
        field = _fields.bare(da, source, what=WHAT)
        block = partial(_analysis, name=da.name, **options)
        types = [_fields.complex_type(field)]
        parts = _fields.apply(block, [field], dims, outputs=[size], dtypes=types, what=WHAT)
        out = _evaluate(place, parts, partial(_at, engine=chosen, name=da.name), da.name)[0]
        return _finished(out, da, place, attrs_of(da))

    def wind(u: xr.DataArray, v: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        pair = [_fields.bare(x, source, what=WHAT) for x in (u, v)]
        block = partial(_analysis_vector, name=(u.name, v.name), **options)
        types = [_fields.complex_type(*pair)] * 2
        parts = _fields.apply(block, pair, dims, outputs=[size] * 2, dtypes=types, what=WHAT)
        east, north = _evaluate(place, parts, partial(_at_vector, engine=chosen), u.name)
        return _finished(east, u, place, attrs_of(u)), _finished(north, v, place, attrs_of(v))

    return cf.add_history(map_with_winds(obj, scalar, wind, dims=dims, what=WHAT), call)


def _evaluate(place: _Points, parts: Any, block: Any, name: Hashable) -> tuple[xr.DataArray, ...]:
    """Apply a block to coefficients and points, whose dimensions are looped over, so that chunks of them are tasks."""
    place.require_same(parts[0], name)
    for da in parts:
        require_whole(da, (DEGREE, ORDER), what=WHAT)
    parts = [
        da.drop_vars([n for n in da.coords if n in place.lat.dims or {DEGREE, ORDER} & set(da[n].dims)]) for da in parts
    ]
    lead = (set(parts[0].dims) - {DEGREE, ORDER}) | set(place.lat.dims)
    real = np.dtype(np.float32 if _fields.is_single(parts[0]) else np.float64)
    meta = tuple(np.empty((0,) * len(lead), real) for _ in parts)
    out = xr.apply_ufunc(
        block,
        *parts,
        place.lat,
        place.lon,
        input_core_dims=[[DEGREE, ORDER]] * len(parts) + [[], []],
        output_core_dims=[[]] * len(parts),
        dask="parallelized",
        dask_gufunc_kwargs={"meta": meta if len(meta) > 1 else meta[0]},
        join="exact",
        keep_attrs=False,
    )
    return out if isinstance(out, tuple) else (out,)


def _finished(out: xr.DataArray, da: xr.DataArray, place: _Points, attrs: dict[str, Any]) -> xr.DataArray:
    """Dimensions, coordinates and attributes of a result."""
    rest = [d for d in da.dims if d in out.dims and d not in place.lat.dims]
    out = out.transpose(*rest, *place.lat.dims)
    shared = {d: da[d] for d in place.lat.dims if d in da.coords}
    out = out.drop_vars([n for n in out.coords if n in place.coords]).assign_coords({**shared, **place.coords})
    out.attrs = attrs
    return changed_values(out, da, reshaped=True)
