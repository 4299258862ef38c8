"""What the labelled spectral functions share: grids of objects, targets, coefficient axes, lazy application."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import drop_cyclic, require_whole, true_attrs
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid, repeats_first_column, unwrap_longitude
from xatmo.rings import RingGrid
from xatmo.typing import Complexes, XarrayObject

DEGREE, ORDER = "degree", "order"
CONVENTION = {"norm": "4pi", "csphase": 1}
"""Attributes of coefficients: half the integral of P^2 over mu is 1, no Condon-Shortley phase."""


# ---------------------------------------------------------------------- grids
@lru_cache(maxsize=64)
def interned(grid: Grid) -> Grid:
    """Give the same object for equal grids, so that what a grid has worked out is not worked out again."""
    return grid


@dataclass(frozen=True)
class Source:
    """The grid of an object and where it lies on its dimensions."""

    axes: cf.Horizontal
    grid: Grid

    @classmethod
    def of(cls, obj: XarrayObject) -> Source:
        """Find it by CF metadata; points on rings are found too, on their one dimension."""
        axes = cf.horizontal(obj, rings=True)
        return cls(axes, interned(Grid.on(obj, axes)))


@dataclass(frozen=True)
class Nodes:
    """A grid to synthesise on, and whether the first column is to be repeated at the end: what a block has to know."""

    grid: Grid
    cyclic: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of the result, a repeated column included; number of points on a ring grid."""
        return (*self.grid.shape[:-1], self.grid.shape[-1] + self.cyclic)

    def close(self, field: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Append the repeated column where there is to be one."""
        return np.concatenate([field, field[..., :1]], axis=-1) if self.cyclic else field


@dataclass(frozen=True)
class Target:
    """Nodes to synthesise on, with the dimensions and coordinates of the result."""

    nodes: Nodes
    dims: tuple[Hashable, ...]
    coords: Mapping[Any, xr.DataArray]

    @classmethod
    def of(cls, target: Grid | XarrayObject, like: cf.Horizontal | None = None) -> Target:
        """Take a Grid (with the coordinate names of ``like``) or the axes of an object as they are.

        Raises
        ------
        OptionError
            If it is neither.
        """
        if isinstance(target, Grid):
            axes = _names_for(target, like)
            return cls(Nodes(interned(target)), axes.dims, own(_grid_coords(target, axes)))
        other: Any = target
        if not isinstance(other, xr.Dataset | xr.DataArray):
            message = f"a {type(target).__name__} came as target grid; wanted a Grid, or an object with coordinates"
            raise OptionError(message)
        source = Source.of(target)
        axes = source.axes
        cyclic = not axes.rings and repeats_first_column(unwrap_longitude(target[axes.lon].values))
        coords = {name: target[name].reset_coords(drop=True) for name in (axes.lat, axes.lon)}
        return cls(Nodes(source.grid, cyclic), axes.dims, coords)

    @property
    def grid(self) -> Grid:
        """The grid, without a repeated column."""
        return self.nodes.grid

    @property
    def sizes(self) -> dict[Hashable, int]:
        """Sizes of the new dimensions."""
        return dict(zip(self.dims, self.nodes.shape, strict=True))


def _names_for(grid: Grid, like: cf.Horizontal | None) -> cf.Horizontal:
    """Names for the coordinates of a grid: those of ``like``, on dimensions that suit the grid."""
    lat, lon = ("latitude", "longitude") if like is None else (like.lat, like.lon)
    if isinstance(grid, RingGrid):
        dim = like.lat_dim if like is not None and like.rings else grid.dim
        return cf.Horizontal(lat, lon, dim, dim)
    if like is None or like.rings:
        return cf.Horizontal(lat, lon, lat, lon)
    return like


@lru_cache(maxsize=16)
def _grid_coords(grid: Grid, axes: cf.Horizontal) -> xr.Coordinates:
    """Coordinates of a grid under the names of ``axes``, with the indexes made once."""
    lat, lon = grid.coords().values()
    return xr.Coordinates(
        {
            axes.lat: xr.Variable(axes.lat_dim, lat.values, lat.attrs),
            axes.lon: xr.Variable(axes.lon_dim, lon.values, lon.attrs),
        }
    )


def require_real(da: xr.DataArray, *, what: str) -> None:
    """Raise for complex numbers.

    Raises
    ------
    DimensionError
        If the field is complex.
    """
    if da.dtype.kind == "c":
        message = f"{what} needs real fields; variable {da.name!r} is {da.dtype}. Pass .real and .imag separately"
        raise DimensionError(message)


def float_type(*arrays: xr.DataArray) -> np.dtype[Any]:
    """float32 if all are float32 (or shorter floats), else float64."""
    single = all(a.dtype.kind == "f" and a.dtype.itemsize <= 4 for a in arrays)
    return np.dtype(np.float32 if single else np.float64)


def is_single(da: xr.DataArray) -> bool:
    """Tell whether coefficients are in single precision, of either byte order."""
    return da.dtype.newbyteorder("=") in (np.complex64, np.float32)


def complex_type(*arrays: xr.DataArray) -> np.dtype[Any]:
    """complex64 beside float32, else complex128."""
    return np.dtype(np.complex64 if float_type(*arrays) == np.float32 else np.complex128)


# ---------------------------------------------------------------------- application
def apply(
    function: Callable[..., Any],
    arrays: Sequence[xr.DataArray],
    core: Sequence[Hashable],
    *,
    outputs: Sequence[Mapping[Hashable, int]],
    dtypes: Sequence[np.dtype[Any]],
    what: str,
) -> tuple[xr.DataArray, ...]:
    """Apply a block function over ``core`` dimensions, lazily if any array is; results carry no attributes.

    ``outputs`` gives the new core dimensions with their sizes for each result.
    """
    for da in arrays:
        require_whole(da, core, what=what)
    sizes = {d: n for out in outputs for d, n in out.items()}
    lead = len({d for da in arrays for d in da.dims} - set(core))
    # With meta in hand Dask neither runs the function on empty arrays nor casts complex meta to real.
    meta = tuple(np.empty((0,) * (lead + len(out)), dtype) for out, dtype in zip(outputs, dtypes, strict=True))
    result = xr.apply_ufunc(
        function,
        *arrays,
        input_core_dims=[list(core)] * len(arrays),
        output_core_dims=[list(out) for out in outputs],
        exclude_dims=set(core),
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": sizes, "meta": meta if len(meta) > 1 else meta[0]},
        join="exact",
        keep_attrs=False,
    )
    return result if isinstance(result, tuple) else (result,)


def bare(da: xr.DataArray, source: Source, *, what: str) -> xr.DataArray:
    """Field without a repeated column, checked to be real and whole."""
    require_real(da, what=what)
    if da.sizes[source.axes.lon_dim] == source.grid.shape[-1]:
        return da
    return drop_cyclic(da, source.axes)[0]


def placed(out: xr.DataArray, coords: Mapping[Any, Any]) -> xr.DataArray:
    """Give a result its new coordinates; where it has none of its own, nothing needs aligning, which takes longer."""
    if out.coords:
        return out.assign_coords(coords)
    return xr.DataArray(out.variable, coords=coords, name=out.name)


# ---------------------------------------------------------------------- coefficients
def wavelength(lmax: int, radius: float = EARTH_RADIUS) -> np.ndarray[Any, Any]:
    """``2 pi a / sqrt(n (n + 1))`` in metres by degree; infinite at degree 0.

    Examples
    --------
    >>> wavelength(2, radius=1.0)
    array([      inf, 4.44288294, 2.56509966])
    """
    degree = np.arange(lmax + 1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(2 * np.pi * radius / np.sqrt(degree * (degree + 1)))


@lru_cache(maxsize=16)
def degree_coords(lmax: int, radius: float = EARTH_RADIUS) -> xr.Coordinates:
    """Coordinates ``degree`` and ``wavelength`` for degrees 0 to ``lmax``, made once: see `own`."""
    degree = xr.Variable(DEGREE, np.arange(lmax + 1), {"long_name": "degree of the spherical harmonic", "units": "1"})
    attrs = {"long_name": "wavelength, 2 pi a / sqrt(n (n + 1))", "units": "m", "radius": radius}
    return xr.Coordinates({DEGREE: degree, "wavelength": xr.Variable(DEGREE, wavelength(lmax, radius), attrs)})


@lru_cache(maxsize=16)
def spectral_coords(lmax: int) -> xr.Coordinates:
    """Coordinates ``degree``, ``wavelength`` and ``order`` for degrees and orders 0 to ``lmax``."""
    attrs = {"long_name": "order of the spherical harmonic (zonal wavenumber)", "units": "1"}
    order = xr.Coordinates({ORDER: xr.Variable(ORDER, np.arange(lmax + 1), attrs)})
    both: xr.Coordinates = degree_coords(lmax).merge(order).coords
    return both


def own(coords: xr.Coordinates) -> xr.Coordinates:
    """Copy coordinates that are made once, so that no result can spoil the next."""
    # Indexes cannot be changed in place, so only the rest needs numbers of its own.
    fresh = {
        name: variable.copy(deep=False, data=None if name in coords.xindexes else variable.values.copy())
        for name, variable in coords.variables.items()
    }
    return xr.Coordinates(fresh, indexes=coords.xindexes)


def coefficient_attrs(da: xr.DataArray, lmax: int) -> dict[str, Any]:
    """Attributes of the coefficients of a field: its own that stay true, and the convention."""
    kept = {k: v for k, v in true_attrs(da, off_grid=True).items() if k != "grid_mapping"}
    return {**kept, **CONVENTION, "lmax": lmax, "truncation": "triangular"}


def field_attrs(da: xr.DataArray) -> dict[str, Any]:
    """Attributes of the field that coefficients belong to: without those that describe coefficients."""
    dropped = (*CONVENTION, "lmax", "truncation")
    return {k: v for k, v in da.attrs.items() if k not in dropped}


def is_spectral(da: xr.DataArray) -> bool:
    """Tell whether a DataArray holds coefficients on degree and order."""
    return DEGREE in da.dims and ORDER in da.dims


def require_convention(da: xr.DataArray, *, what: str) -> int:
    """Check coefficients and give their highest degree.

    Raises
    ------
    CoordinateError
        If degrees or orders are not 0, 1, 2, ...
    OptionError
        If the attributes name another normalisation, phase or layout.
    """
    for dim in (DEGREE, ORDER):
        if dim in da.coords and not np.array_equal(da[dim].values, np.arange(da.sizes[dim])):
            message = (
                f"{what} needs {dim} 0, 1, 2, ... up to the highest; {dim} of {da.name!r} has gaps or starts later"
            )
            raise CoordinateError(message)
    if "normalization" in da.attrs:
        message = (
            f"{what} got real coefficients as pyshtools writes them to netCDF, with the sine terms above the diagonal; "
            "wanted complex ones. Read them by xatmo.spectral.from_pyshtools(pyshtools.SHCoeffs.from_netcdf(path))"
        )
        raise OptionError(message)
    layout = da.attrs.get("layout", "pyshtools" if da.sizes.get("part") == 2 else "complex")
    said = [f"layout={layout!r}"] if layout != "complex" else []
    said += [f"{key}={da.attrs[key]!r}" for key, wanted in CONVENTION.items() if da.attrs.get(key, wanted) != wanted]
    if said:
        message = (
            f"{what} got coefficients with {', '.join(said)}; wanted complex ones with norm='4pi' and csphase=1. "
            f"Convert them: xatmo.spectral.from_layout(obj, {layout!r}, norm=..., csphase=...)"
        )
        raise OptionError(message)
    return int(da.sizes[DEGREE]) - 1


def square(coefficients: Complexes) -> Complexes:
    """Give as many orders as degrees: drop orders that have none, add zeros where the orders were cut."""
    degrees, orders = coefficients.shape[-2:]
    if orders == degrees:
        return coefficients
    if orders > degrees:
        return coefficients[..., :degrees]
    missing = np.zeros((*coefficients.shape[:-1], degrees - orders), coefficients.dtype)
    return np.concatenate([coefficients, missing], axis=-1)


def same_coords(out: xr.DataArray, field: xr.DataArray, axes: cf.Horizontal) -> xr.DataArray:
    """Give back the coordinates along latitude and longitude that a transform on the same grid has dropped."""
    return out.assign_coords({n: c for n, c in field.coords.items() if set(c.dims) & set(axes.dims)})


def renamed(old: Sequence[Hashable], new: Sequence[Hashable]) -> dict[Hashable, tuple[Hashable, ...]]:
    """Say which dimensions stand where the old ones stood, for `replace_dims`; there may be fewer or more of them.

    Examples
    --------
    >>> renamed(("degree", "order"), ("values",)), renamed(("values",), ("lat", "lon"))
    ({'degree': ('values',), 'order': ()}, {'values': ('lat', 'lon')})
    """
    if len(old) == len(new):
        return {a: (b,) for a, b in zip(old, new, strict=True)}
    return {a: tuple(new) if a == old[0] else () for a in old}


def replace_dims(
    result: xr.DataArray, like: xr.DataArray, new: Mapping[Hashable, Hashable | tuple[Hashable, ...]]
) -> xr.DataArray:
    """Order the dimensions as in ``like``, with those named in ``new`` (see `renamed`) standing for the old ones."""
    order: list[Hashable] = []
    for d in like.dims:
        there = new.get(d, d)
        order += there if isinstance(there, tuple) else [there]
    wanted = tuple(d for d in order if d in result.dims)
    return result if wanted == result.dims else result.transpose(*wanted)
