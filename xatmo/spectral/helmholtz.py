"""The two parts of a wind and their potentials, and absolute vorticity: what one analysis of a vector field gives."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import require_finite
from xatmo.constants import EARTH_ROTATION
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels, _results
from xatmo.spectral._fields import Source
from xatmo.spectral._results import Label, by_degree, scaled, unit_scale
from xatmo.spectral._vectors import components
from xatmo.typing import Complexes, Floats, SpectralEngine


# ---------------------------------------------------------------------- blocks
def _analyse(
    u: Any, v: Any, grid: Grid, lmax: int, scale: tuple[float, float], engine: Any, *, what: str, name: Any
) -> tuple[Complexes, Complexes]:
    pair = scaled(u, scale[0]), scaled(v, scale[1])
    for component in pair:
        require_finite(component, what=what, name=name)
    return _kernels.analysis_vector(*pair, grid, lmax, engine)


def _split(
    u: Any, v: Any, *, grid: Grid, lmax: int, radius: float, scale: tuple[float, float], engine: Any, name: Any
) -> tuple[Floats, ...]:
    rotational, divergent = _analyse(u, v, grid, lmax, scale, engine, what="helmholtz", name=name)
    factor = -_results.inverse_factor(lmax, radius)
    psi, chi = (_kernels.synthesis(by_degree(factor, part), grid, engine) for part in (rotational, divergent))
    along, across = _kernels.synthesis_divergent(rotational, grid, engine)  # turned by a right angle: see there
    return psi, chi, np.negative(across, out=across), along, *_kernels.synthesis_divergent(divergent, grid, engine)


def _absolute(
    u: Any, v: Any, *, grid: Grid, lmax: int, radius: float, scale: Any, omega: float, engine: Any, name: Any
) -> Floats:
    rotational, _ = _analyse(u, v, grid, lmax, scale, engine, what="absolute_vorticity", name=name)
    relative = _kernels.synthesis(by_degree(_kernels.derivative_factor(lmax, radius), rotational), grid, engine)
    planetary = 2 * omega * _results.sine_of_latitude(grid)
    return relative + planetary.astype(relative.dtype)


# ---------------------------------------------------------------------- labelled
def helmholtz(
    ds: xr.Dataset,
    *,
    u: Hashable | None = None,
    v: Hashable | None = None,
    lmax: int | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Split the wind into its rotational and divergent part, with streamfunction psi and velocity potential chi.

    ``u = -dpsi/dy + dchi/dx`` and ``v = dpsi/dx + dchi/dy``, so that the vorticity is the Laplacian of psi and the
    divergence that of chi; x points east, y north, along the sphere. One vector analysis gives all (no trouble at the
    poles).

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
        ``psi`` and ``chi`` in m2 s-1, with zero mean; ``u_rotational``, ``v_rotational``, ``u_divergent`` and
        ``v_divergent`` in m s-1. The two parts sum to the wind up to degree ``lmax``: to the wind itself where the grid
        resolves all that it holds. Winds in other units are converted; those without are taken to be in m s-1.

    Raises
    ------
    VariableError
        If there is no wind pair, or a given name is missing.
    DimensionError
        If a component lacks latitude or longitude, or the two have different dimensions.
    UnitsError
        If the units are not those of a velocity.
    GridError, OptionError, ChunkError, MissingValueError
        As in `to_spectral`.

    Examples
    --------
    Solid-body rotation has no divergent part, and psi = -a 10 sin(lat):

    >>> from xatmo.constants import EARTH_RADIUS
    >>> grid = Grid.regular(19, 36)
    >>> speed = 10 * np.cos(np.radians(grid.latitude))[:, None] * np.ones(grid.nlon)
    >>> east = xr.DataArray(speed, grid.coords(), ("latitude", "longitude"))
    >>> out = helmholtz(xr.Dataset({"u": east, "v": 0 * east}))
    >>> round(float(out.psi.isel(latitude=0, longitude=0)) / EARTH_RADIUS, 6), out.psi.attrs["units"]
    (-10.0, 'm2 s-1')
    >>> bool(abs(out.u_rotational - east).max() < 1e-10), bool(abs(out.u_divergent).max() < 1e-10)
    (True, True)
    """
    source, pair, options = _prepared(ds, u, v, lmax, radius, engine, what="helmholtz")
    out = _fields.apply(
        partial(_split, **options),
        [_fields.bare(x, source, what="helmholtz") for x in pair],
        source.axes.dims,
        outputs=[_results.grid_sizes(source)] * 6,
        dtypes=[_fields.float_type(*pair)] * 6,
        what="helmholtz",
    )
    ocean = _is_ocean(pair[0])
    flow, names = ("current", (None, None)) if ocean else ("wind", _POTENTIALS)
    labels = [
        Label("psi", "streamfunction", "m2 s-1", names[0]),
        Label("chi", "velocity potential", "m2 s-1", names[1]),
        *(
            Label(f"{component}_{part}", f"{way} component of the {part} {flow}", "m s-1")
            for part in ("rotational", "divergent")
            for component, way in (("u", "eastward"), ("v", "northward"))
        ),
    ]
    call = cf.describe_call("helmholtz", u=u, v=v, lmax=options["lmax"], radius=radius, engine=engine)
    return _results.on_grid_together(out, labels, pair[0], source, call, ds.attrs)


_POTENTIALS = ("atmosphere_horizontal_streamfunction", "atmosphere_horizontal_velocity_potential")


def absolute_vorticity(
    ds: xr.Dataset,
    *,
    u: Hashable | None = None,
    v: Hashable | None = None,
    lmax: int | None = None,
    radius: float | None = None,
    omega: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.DataArray:
    """Compute the absolute vorticity of the wind: relative vorticity plus ``f = 2 omega sin(lat)``.

    Parameters
    ----------
    ds : Dataset
        With the components on one global grid, latitude and longitude whole.
    u, v : str, optional
        Names of eastward and northward wind, where CF attributes and usual names do not tell.
    lmax : int, optional
        Highest degree of the relative vorticity; `Grid.lmax` by default.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    omega : float, optional
        Angular velocity of the planet in s-1; 7.2921159e-5 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    DataArray
        ``absolute_vorticity`` in s-1.

    Raises
    ------
    OptionError
        If ``omega`` is not finite; otherwise as in `helmholtz`.
    VariableError, DimensionError, UnitsError, GridError, ChunkError, MissingValueError
        As in `helmholtz`.

    Examples
    --------
    >>> grid = Grid.regular(19, 36)
    >>> rest = xr.DataArray(np.zeros(grid.shape), grid.coords(), ("latitude", "longitude"))
    >>> out = absolute_vorticity(xr.Dataset({"u": rest, "v": rest}))
    >>> print(f"{out.isel(latitude=6, longitude=0).item():.6e}", out.attrs["units"])  # 30 degrees north
    7.292116e-05 s-1
    """
    rotation = EARTH_ROTATION if omega is None else float(omega)
    if not np.isfinite(rotation):
        message = f"omega={omega!r} came; wanted the angular velocity of the planet in s-1"
        raise OptionError(message)
    source, pair, options = _prepared(ds, u, v, lmax, radius, engine, what="absolute_vorticity")
    (out,) = _fields.apply(
        partial(_absolute, omega=rotation, **options),
        [_fields.bare(x, source, what="absolute_vorticity") for x in pair],
        source.axes.dims,
        outputs=[_results.grid_sizes(source)],
        dtypes=[_fields.float_type(*pair)],
        what="absolute_vorticity",
    )
    standard = None if _is_ocean(pair[0]) else "atmosphere_absolute_vorticity"
    label = Label("absolute_vorticity", "absolute vorticity", "s-1", standard)
    call = cf.describe_call(
        "absolute_vorticity", u=u, v=v, lmax=options["lmax"], radius=radius, omega=omega, engine=engine
    )
    done = _results.on_grid(out, label, pair[0], source)
    return cf.add_history(_results.with_history_of(done, ds), call)


def _is_ocean(da: xr.DataArray) -> bool:
    return "sea_water" in str(da.attrs.get("standard_name", ""))


def _prepared(
    ds: xr.Dataset,
    u: Hashable | None,
    v: Hashable | None,
    lmax: int | None,
    radius: float | None,
    engine: SpectralEngine | None,
    *,
    what: str,
) -> tuple[Source, tuple[xr.DataArray, xr.DataArray], dict[str, Any]]:
    """Grid, components, and options of the blocks."""
    source = Source.of(ds)
    east, north = components(ds, u, v, source.axes.dims)
    options = {
        "grid": source.grid,
        "lmax": _kernels.resolve_lmax(source.grid, lmax, what=what),
        "radius": _results.check_radius(radius),
        "scale": (unit_scale(east, "m s-1"), unit_scale(north, "m s-1")),
        "engine": _kernels.choose_engine(engine),
        "name": (east.name, north.name),
    }
    return source, (east, north), options
