"""Vorticity and divergence of the wind, and the wind from them, on the sphere (spin 1)."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import require_finite
from xatmo.errors import CoordinateError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels, packed
from xatmo.spectral._fields import DEGREE, ORDER, Nodes, Source, Target
from xatmo.spectral._results import (
    Label,
    by_degree,
    check_radius,
    grid_sizes,
    inverse_factor,
    on_grid_together,
    scaled,
    unit_scale,
)
from xatmo.spectral._vectors import components
from xatmo.typing import Complexes, Floats, SpectralEngine, XarrayObject

__all__ = ["check_radius", "unit_scale", "vorticity_divergence", "wind"]

_VORTICITY = ("atmosphere_relative_vorticity", "ocean_relative_vorticity", "relative_vorticity")
_DIVERGENCE = ("divergence_of_wind", "divergence_of_sea_water_velocity")
_VORTICITY_NAMES = ("vo", "vrt", "vorticity", "relative_vorticity", "zeta")
_DIVERGENCE_NAMES = ("d", "div", "divergence", "delta")


# ---------------------------------------------------------------------- blocks
def _derivatives(
    u: Any, v: Any, *, grid: Grid, lmax: int, radius: float, scale: tuple[float, float], engine: Any, name: Any
) -> tuple[Floats, Floats]:
    u, v = scaled(u, scale[0]), scaled(v, scale[1])
    for component in (u, v):
        require_finite(component, what="vorticity_divergence", name=name)
    factor = _kernels.derivative_factor(lmax, radius)
    first, second = (
        _kernels.synthesis(by_degree(factor, part), grid, engine)
        for part in _kernels.analysis_vector(u, v, grid, lmax, engine)
    )
    return first, second


def _velocity(
    vorticity: Complexes, divergence: Complexes, grid: Grid, radius: float, engine: Any
) -> tuple[Floats, Floats]:
    inverse = inverse_factor(vorticity.shape[-1] - 1, radius)
    return _kernels.synthesis_vector(by_degree(inverse, vorticity), by_degree(inverse, divergence), grid, engine)


def _wind_from_fields(
    vorticity: Any, divergence: Any, *, grid: Grid, lmax: int, radius: float, scale: Any, engine: Any, name: Any
) -> tuple[Floats, Floats]:
    pair = scaled(vorticity, scale[0]), scaled(divergence, scale[1])
    for field in pair:
        require_finite(field, what="wind", name=name)
    first, second = (_kernels.analysis(x, grid, lmax, engine) for x in pair)
    return _velocity(first, second, grid, radius, engine)


def _wind_from_coefficients(
    vorticity: Any, divergence: Any, *, nodes: Nodes, radius: float, scale: Any, engine: Any, name: Any
) -> tuple[Floats, Floats]:
    pair = []
    for array, factor in zip((vorticity, divergence), scale, strict=True):
        square = _fields.square(_kernels.as_complex(array))
        require_finite(square, what="wind", name=name)
        pair.append(square if factor == 1 else square * np.asarray(factor, square.real.dtype))
    u, v = _velocity(pair[0], pair[1], nodes.grid, radius, engine)
    return nodes.close(u), nodes.close(v)


# ---------------------------------------------------------------------- labelled
def vorticity_divergence(
    ds: xr.Dataset,
    *,
    u: Hashable | None = None,
    v: Hashable | None = None,
    lmax: int | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Compute relative vorticity and divergence of the wind, by vector spherical harmonics (no trouble at the poles).

    ``vo = (dv/dlon - d(u cos(lat))/dlat) / (a cos(lat))`` and ``d = (du/dlon + d(v cos(lat))/dlat) / (a cos(lat))``.

    Parameters
    ----------
    ds : Dataset
        With the components on one global grid, latitude and longitude whole.
    u, v : str, optional
        Names of eastward and northward wind, where CF attributes and usual names do not tell.
    lmax : int, optional
        Highest degree kept; `Grid.lmax` by default.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset
        ``vo`` and ``d`` in s-1 on the same grid. Winds in other units are converted; those without are taken to be
        in m s-1.

    Raises
    ------
    VariableError
        If the wind components are not found.
    UnitsError
        If their units are not those of a velocity.
    GridError, OptionError, ChunkError, MissingValueError
        As in `to_spectral`.

    Examples
    --------
    Solid-body rotation with 10 m s-1 at the equator has the vorticity 2 (10 / a) sin(lat):

    >>> from xatmo.constants import EARTH_RADIUS
    >>> grid = Grid.regular(19, 36)
    >>> speed = 10 * np.cos(np.radians(grid.latitude))[:, None] * np.ones(grid.nlon)
    >>> u = xr.DataArray(speed, grid.coords(), ("latitude", "longitude"))
    >>> out = vorticity_divergence(xr.Dataset({"u": u, "v": 0 * u}))
    >>> north_pole = out.vo.isel(latitude=0, longitude=0)
    >>> round(float(north_pole) * EARTH_RADIUS, 6), out.vo.attrs["units"]
    (20.0, 's-1')
    """
    source = Source.of(ds)
    east, north = components(ds, u, v, source.axes.dims)
    a = check_radius(radius)
    top = _kernels.resolve_lmax(source.grid, lmax, what="vorticity_divergence")
    pair = [_fields.bare(x, source, what="vorticity_divergence") for x in (east, north)]
    block = partial(
        _derivatives,
        grid=source.grid,
        lmax=top,
        radius=a,
        scale=(unit_scale(east, "m s-1"), unit_scale(north, "m s-1")),
        engine=_kernels.choose_engine(engine),
        name=(east.name, north.name),
    )
    out = _fields.apply(
        block,
        pair,
        source.axes.dims,
        outputs=[grid_sizes(source)] * 2,
        dtypes=[_fields.float_type(*pair)] * 2,
        what="vorticity_divergence",
    )
    call = cf.describe_call("vorticity_divergence", u=u, v=v, lmax=top, radius=radius, engine=engine)
    ocean = "sea_water" in str(east.attrs.get("standard_name", ""))
    names = ("ocean_relative_vorticity", None) if ocean else ("atmosphere_relative_vorticity", "divergence_of_wind")
    labels = Label("vo", "relative vorticity", "s-1", names[0]), Label("d", "divergence", "s-1", names[1])
    return on_grid_together(out, labels, east, source, call, ds.attrs)


def _find(
    ds: xr.Dataset, name: Hashable | None, standard_names: tuple[str, ...], names: tuple[str, ...]
) -> Hashable | None:
    if name is not None:
        if name not in ds.data_vars:
            message = f"no variable {name!r} in this Dataset; it has {sorted(map(str, ds.data_vars))}"
            raise VariableError(message)
        return name
    standard = {str(ds[n].attrs.get("standard_name", "")): n for n in ds.data_vars}
    for candidate in standard_names:
        if candidate in standard:
            return standard[candidate]
    for candidate in names:
        # The oceanographers' vo is a velocity.
        if candidate in ds.data_vars and "velocity" not in str(ds[candidate].attrs.get("standard_name", "")):
            return candidate
    return None


def wind(
    ds: xr.Dataset,
    *,
    vorticity: Hashable | None = None,
    divergence: Hashable | None = None,
    grid: Grid | XarrayObject | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Compute the wind from vorticity and divergence: the inverse of `vorticity_divergence`.

    Parameters
    ----------
    ds : Dataset
        With both on one global grid, or both as coefficients on ``degree`` and ``order`` (see `to_spectral`) or on the
        ``values`` axis of spectral GRIB messages and ARCO-ERA5's model levels.
    vorticity, divergence : str, optional
        Names, where CF attributes and usual names (``vo``, ``d``) do not tell. If only one of the two is there, the
        other is taken to be zero.
    grid : Grid, Dataset or DataArray, optional
        Where to evaluate coefficients; needed with them, and not allowed with gridded input, which keeps its grid.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset
        ``u`` and ``v`` in m s-1. Input in other units is converted; without units it is taken to be in s-1. The global
        means of vorticity and divergence, which vanish for any wind, are ignored.

    Raises
    ------
    VariableError
        If neither vorticity nor divergence is found.
    OptionError
        If ``grid`` is missing for coefficients, or given with gridded fields.
    UnitsError
        If the units are not an inverse time.
    GridError, ChunkError, MissingValueError
        As in `to_spectral`.

    Examples
    --------
    >>> from xatmo.constants import EARTH_RADIUS
    >>> vo = np.zeros((2, 2), complex)
    >>> vo[1, 0] = 2 * 10 / EARTH_RADIUS / np.sqrt(3)  # 2 (10 / a) sin(lat)
    >>> coefficients = xr.Dataset({"vo": (("degree", "order"), vo)})
    >>> wind(coefficients, grid=Grid.regular(5, 4)).u.isel(longitude=0).values.round(6)
    array([ 0.      ,  7.071068, 10.      ,  7.071068,  0.      ])
    """
    ds = packed.unpacked(ds)
    a = check_radius(radius)
    names = _find(ds, vorticity, _VORTICITY, _VORTICITY_NAMES), _find(ds, divergence, _DIVERGENCE, _DIVERGENCE_NAMES)
    if names == (None, None):
        message = (
            f"neither vorticity nor divergence among {sorted(map(str, ds.data_vars))}; wanted variables with "
            "standard_name 'atmosphere_relative_vorticity' and 'divergence_of_wind', or pass vorticity= and divergence="
        )
        raise VariableError(message)
    given = [ds[n] for n in names if n is not None]
    first, second = (xr.zeros_like(given[0]) if n is None else ds[n] for n in names)
    scale = unit_scale(first, "s-1"), unit_scale(second, "s-1")
    chosen = _kernels.choose_engine(engine)
    target = None if grid is None else Target.of(grid)
    call = cf.describe_call(
        "wind", vorticity=vorticity, divergence=divergence, grid=target and target.grid, radius=radius, engine=engine
    )
    ocean = any("ocean" in str(x.attrs.get("standard_name", "")) for x in (first, second))
    what, flow = ("current", "sea_water_velocity") if ocean else ("wind", "wind")
    labels = [Label(n, f"{way} {what}", "m s-1", f"{way}_{flow}") for n, way in (("u", "eastward"), ("v", "northward"))]
    spectral = [_fields.is_spectral(x) for x in given]
    if any(spectral) != all(spectral):
        message = f"{names[0]!r} and {names[1]!r} came, one on a grid and one as coefficients; wanted both alike"
        raise CoordinateError(message)
    if all(spectral):
        if target is None:
            message = "wind from coefficients needs grid=, for instance ds.atmo.wind(grid=xatmo.Grid.regular(181, 360))"
            raise OptionError(message)
        for x in given:
            _fields.require_convention(x, what="wind")
        single = all(_fields.is_single(x) for x in given)
        block: Any = partial(
            _wind_from_coefficients, nodes=target.nodes, radius=a, scale=scale, engine=chosen, name=names
        )
        output = target.sizes
        types = [np.dtype(np.float32 if single else np.float64)] * 2
        arrays = _fields.apply(block, [first, second], (DEGREE, ORDER), outputs=[output] * 2, dtypes=types, what="wind")
        swap = _fields.renamed((DEGREE, ORDER), target.dims)
        done = {}
        for array, label in zip(arrays, labels, strict=True):
            done[label.name] = _fields.replace_dims(array.assign_coords(target.coords), given[0], swap)
            done[label.name].attrs = label.attrs
        return cf.add_history(xr.Dataset(done, attrs=ds.attrs), call)
    if target is not None:
        message = "grid= came with gridded vorticity or divergence; wanted it with coefficients only. Use regrid after"
        raise OptionError(message)
    source = Source.of(ds)
    pair = [_fields.bare(x, source, what="wind") for x in (first, second)]
    top = _kernels.resolve_lmax(source.grid, None, what="wind")
    block = partial(_wind_from_fields, grid=source.grid, lmax=top, radius=a, scale=scale, engine=chosen, name=names)
    types = [_fields.float_type(*pair)] * 2
    arrays = _fields.apply(block, pair, source.axes.dims, outputs=[grid_sizes(source)] * 2, dtypes=types, what="wind")
    return on_grid_together(arrays, labels, given[0], source, call, ds.attrs)
