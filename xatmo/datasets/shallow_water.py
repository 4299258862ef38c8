"""A generated nature run with divergence: forced and dissipated shallow water on the rotating sphere."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION, GRAVITY
from xatmo.datasets._shallow_water import (
    DIVERGENT,
    HEIGHT,
    ROTATIONAL,
    LayerDamping,
    Relaxation,
    ShallowWaterEquations,
)
from xatmo.datasets._time_step import time_step_of
from xatmo.datasets._vorticity import Damping, Forcing
from xatmo.errors import CoordinateError, OptionError
from xatmo.grids import Grid
from xatmo.spectral import _kernels
from xatmo.typing import Complexes, Floats, SpectralEngine, XarrayObject

_ALIASES: Final = {
    "vorticity": "vo", "divergence": "d", "geopotential": "z", "depth": "h", "streamfunction": "psi",
    "velocity_potential": "chi",
}  # fmt: skip
_ATTRS: Final = {
    "vo": {"standard_name": "atmosphere_relative_vorticity", "long_name": "relative vorticity", "units": "s-1"},
    "d": {"standard_name": "divergence_of_wind", "long_name": "divergence", "units": "s-1"},
    "u": {"standard_name": "eastward_wind", "long_name": "eastward wind", "units": "m s-1"},
    "v": {"standard_name": "northward_wind", "long_name": "northward wind", "units": "m s-1"},
    "z": {"standard_name": "geopotential", "long_name": "geopotential of the free surface", "units": "m2 s-2"},
    "h": {"long_name": "depth of the layer", "units": "m"},
    "psi": {
        "standard_name": "atmosphere_horizontal_streamfunction", "long_name": "streamfunction", "units": "m2 s-1"
    },
    "chi": {
        "standard_name": "atmosphere_horizontal_velocity_potential", "long_name": "velocity potential",
        "units": "m2 s-1",
    },
}  # fmt: skip

# Wind in m s-1 that the default step is safe for, and the largest k U dt that it allows.
_SAFE_WIND: Final = 90.0
_SAFE_COURANT: Final = 2.5
_START_SPEED: Final = 10.0
_DEPTH: Final = 5000.0


def shallow_water(
    truncation: int = 63,
    *,
    days: float = 90,
    output_every: str | pd.Timedelta = "3h",
    time_step: str | pd.Timedelta | None = None,
    spin_up: float = 30,
    depth: float | None = None,
    forcing: Forcing | None = Forcing((8, 14), 3e-5, 21600.0),  # noqa: B008 (frozen)
    heating: Forcing | None = Forcing((6, 30), 1.2e-5, 86400.0),  # noqa: B008
    relaxation: Relaxation | None = Relaxation(),  # noqa: B008
    damping: Damping | None = LayerDamping(),  # noqa: B008
    orography: xr.DataArray | None = None,
    initial: xr.Dataset | None = None,
    seed: int = 0,
    start: str | np.datetime64 = "2000-01-01",
    grid: Grid | XarrayObject | None = None,
    variables: Sequence[str] = ("vo", "d", "u", "v", "z"),
    dtype: Any = "float32",
    rotation: float = EARTH_ROTATION,
    radius: float = EARTH_RADIUS,
    gravity: float = GRAVITY,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Run the shallow-water equations on the sphere and return the fields: weather with divergence.

    ::

        d zeta/dt  = -div((zeta + f) V)                                            + stirring - damping
        d delta/dt = curl((zeta + f) V) - laplacian(g h + g orography + V^2 / 2)               - damping
        d (g h)/dt = -div(g h V)                                    + heating + relaxation     - damping

    with spherical harmonics to ``truncation``, dealiased, by exponential Runge-Kutta of fourth order, in which gravity
    waves about the mean depth and the damping are exact. Two jets that the depth is drawn towards break into waves and
    vortices; heating whose pattern changes within a day drives divergence. Half of the variance of divergence lies
    below degree 22, of vorticity below degree 15 (T42); divergence is a tenth of vorticity, and correlates with itself
    by 0.6 three hours later, 0.5 after six and 0.3 after twelve, where vorticity does by 0.9, 0.8 and 0.5. The mean
    depth stays to rounding.

    Computed at once, not lazily: on one core with ducc0 5 to 10 days a second at T42 and 2 to 3 at T63, several times
    slower with the torch engine. The same seed gives the same fields; chaos magnifies rounding, so other processors or
    engines give other weather of the same climate after some weeks.

    Parameters
    ----------
    truncation : int
        Highest degree: 42 to 213 are usual.
    days : float
        Length of what is returned.
    output_every : str or timedelta
        Time between fields.
    time_step : str or timedelta, optional
        Has to divide ``output_every``; by default the longest safe one.
    spin_up : float
        Days that are run before the first field that is returned.
    depth : float, optional
        Mean depth in m, 5000 by default (long gravity waves go at 221 m s-1); not beside an initial ``z``.
    forcing : Forcing or None
        Stirring of the vorticity.
    heating : Forcing or None
        Sources and sinks of mass at random; the rate is that of the energy that gravity waves take up. Degrees beyond
        the truncation are left out, with their share of it, so that a finer run is driven alike.
    relaxation : Relaxation or None
        Pull of the depth towards that of two jets.
    damping : LayerDamping, Damping or None
        Drag, hyperdiffusion, and decay of the divergence. Without it and the three above energy and potential
        enstrophy are conserved.
    orography : DataArray (lat, lon), optional
        Height of the ground in m, on any global grid; smoothed to the truncation.
    initial : Dataset (lat, lon), optional
        Winds in m s-1, and the geopotential of the free surface ``z`` in m2 s-2, on any global grid. Without ``z`` the
        depth is in balance with the wind. Drawn at random unless given. The last field of a run continues it, but for
        the patterns of stirring and heating, which are drawn anew.
    seed : int
        Of the initial state, the stirring and the heating.
    start : str or datetime64
        Time of the first field.
    grid : Grid or Dataset or DataArray, optional
        Where to give the fields, global or not: the harmonic sum at these points. By default the Gaussian grid of the
        computation (T63: 96 x 192).
    variables : sequence of str
        Among ``"vo"``, ``"d"``, ``"u"``, ``"v"``, ``"z"``, ``"h"`` (depth), ``"psi"``, ``"chi"``, or these in words
        (``"vorticity"``, ``"divergence"``, ``"geopotential"``, ...).
    dtype : dtype
        Of the fields; the computation runs in float64.
    rotation, radius, gravity : float
        Of the planet, s-1, m and m s-2.
    engine : {"ducc0", "torch"}, optional
        Spherical harmonics; ducc0 where it is installed.

    Returns
    -------
    Dataset (time, latitude, longitude)
        With CF names and units.

    Raises
    ------
    OptionError
        If a setting is out of range, ``time_step`` does not divide ``output_every``, the run becomes unstable, or the
        layer runs dry.
    CoordinateError, VariableError
        If ``initial`` holds no pair of winds, or they lie on different grids.

    Examples
    --------
    >>> ds = shallow_water(21, days=1, spin_up=2, output_every="6h")
    >>> dict(ds.sizes), ds["d"].attrs["units"]
    ({'time': 4, 'latitude': 32, 'longitude': 64}, 's-1')
    """
    names = _check_variables(variables)
    every = pd.Timedelta(output_every).total_seconds()
    _check_settings(truncation, days=days, every=every, spin_up=spin_up, depth=depth, bands=(forcing, heating))
    step = time_step_of(time_step, every, truncation, radius, courant=_SAFE_COURANT, wind=_SAFE_WIND)
    surface = None
    if orography is not None:
        surface = gravity * _coefficients(orography, truncation, units="m", what="orography", engine=engine)
    given = None
    if initial is not None:
        given = _from_fields(initial, truncation, engine)
    mean = _mean_depth(depth, given, surface, gravity)
    equations = ShallowWaterEquations(
        truncation, step, mean, forcing, heating, relaxation, damping, surface, rotation, radius, engine
    )
    generator = np.random.default_rng(seed)
    state = equations.start(generator, _START_SPEED) if given is None else _state(equations, *given)
    target = equations.grid if grid is None else Grid.of(grid)

    steps = round(every / step)
    _check_sound(equations, state)
    state, patterns = equations.run(state, round(spin_up * 86400 / step), generator)
    count = max(round(days * 86400 / every), 1)
    arrays = {name: np.empty((count, *target.shape), dtype) for name in names}
    for k in range(count):
        if k:
            state, patterns = equations.run(state, steps, generator, patterns)
        _check_sound(equations, state)
        for name, values in _fields(equations, state, target, names, gravity).items():
            arrays[name][k] = values

    time = np.datetime64(pd.Timestamp(start), "ns") + (np.arange(count) * every * 1e9).astype("timedelta64[ns]")
    coords = {"time": ("time", time, {"standard_name": "time", "axis": "T"}), **target.coords()}
    data = {name: (("time", "latitude", "longitude"), arrays[name], _ATTRS[name]) for name in names}
    attrs = {
        "Conventions": "CF-1.11",
        "title": f"Shallow water on the sphere, T{truncation}",
        "source": "generated: shallow-water equations",
        "time_step": f"{step:g} s",
        "mean_depth": f"{mean / gravity:.6g} m",
    }
    for name, part in (("forcing", forcing), ("heating", heating), ("relaxation", relaxation), ("damping", damping)):
        attrs[name] = "none" if part is None else str(asdict(part))
    call = cf.describe_call("datasets.shallow_water", truncation=truncation, days=days, spin_up=spin_up, seed=seed)
    return cf.add_history(xr.Dataset(data, coords, attrs), call)


# ---------------------------------------------------------------------- fields out
def _fields(
    equations: ShallowWaterEquations, state: Complexes, grid: Grid, names: Sequence[str], gravity: float
) -> dict[str, Floats]:
    out: dict[str, Floats] = {}
    engine = equations.engine
    if "vo" in names:
        out["vo"] = equations.vorticity(state, grid)
    if "d" in names:
        out["d"] = equations.divergence(state, grid)
    if "u" in names or "v" in names:
        u, v = equations.winds(state, grid)
        out |= {name: values for name, values in (("u", u), ("v", v)) if name in names}
    if "h" in names:
        out["h"] = equations.thickness(state, grid) / gravity
    if "z" in names:
        ground = 0.0 if equations.surface is None else equations.surface
        coefficients = equations.wave_speed * state[HEIGHT] + ground
        out["z"] = equations.depth + _kernels.synthesis(coefficients, grid, engine)
    for name, part in (("psi", ROTATIONAL), ("chi", DIVERGENT)):
        if name in names:
            out[name] = _kernels.synthesis(-state[part] * equations.inverse_scale, grid, engine)
    return out


# ---------------------------------------------------------------------- fields in
def _coefficients(
    field: xr.DataArray, truncation: int, *, units: str, what: str, engine: SpectralEngine | None
) -> Complexes:
    values, source = _values(field, units=units, what=what)
    lmax = min(source.lmax, truncation)
    return _padded(_kernels.analysis(values, source, lmax, engine), truncation)


def _values(field: xr.DataArray, *, units: str, what: str) -> tuple[Floats, Grid]:
    from xatmo._labels import drop_cyclic, require_finite
    from xatmo.units import convert

    axes = cf.horizontal(field)
    if set(field.dims) != set(axes.dims):
        message = f"{what} has dimensions {field.dims}; wanted {axes.dims} only. Select one time: .isel(time=0)"
        raise OptionError(message)
    cut, _ = drop_cyclic(convert(field, units) if "units" in field.attrs else field, axes)
    values = cut.transpose(*axes.dims).to_numpy().astype(np.float64)
    require_finite(values, what="shallow_water", name=field.name)
    return values, Grid.of(cut)


def _padded(found: Complexes, truncation: int) -> Complexes:
    out = np.zeros((truncation + 1,) * 2, dtype=np.complex128, order="F")
    out[: found.shape[0], : found.shape[1]] = found
    return out


def _from_fields(
    initial: xr.Dataset | xr.DataArray, truncation: int, engine: SpectralEngine | None
) -> tuple[Complexes, Complexes, Complexes | None]:
    """Rotational and divergent wind and, where there is one, the geopotential of the free surface."""
    if isinstance(initial, xr.DataArray):
        message = f"initial is a {type(initial).__name__}; wanted a Dataset with the winds u and v, and z if known"
        raise OptionError(message)
    pair = cast("tuple[Hashable, Hashable]", cf.wind_pair(initial))
    (u, grid), (v, other) = (_values(initial[name], units="m s-1", what=f"initial {name!r}") for name in pair)
    if grid != other:
        message = f"initial {pair[0]!r} lies on {grid!r} and {pair[1]!r} on {other!r}; wanted one grid"
        raise CoordinateError(message)
    lmax = min(grid.lmax, truncation)
    rotational, divergent = (_padded(x, truncation) for x in _kernels.analysis_vector(u, v, grid, lmax, engine))
    name = _geopotential(initial)
    if name is None:
        return rotational, divergent, None
    height = _coefficients(initial[name], truncation, units="m2 s-2", what=f"initial {name!r}", engine=engine)
    return rotational, divergent, height


def _geopotential(ds: xr.Dataset) -> Hashable | None:
    named = [n for n, da in ds.data_vars.items() if da.attrs.get("standard_name") == "geopotential"]
    return named[0] if named else "z" if "z" in ds.data_vars else None


def _mean_depth(depth: float | None, given: Any, surface: Complexes | None, gravity: float) -> float:
    """Mean geopotential of the depth."""
    if given is None or given[2] is None:
        return gravity * (_DEPTH if depth is None else depth)
    if depth is not None:
        message = f"depth={depth!r} came beside an initial geopotential, whose mean tells the depth; give one of them"
        raise OptionError(message)
    mean = float(given[2][0, 0].real) - (0.0 if surface is None else float(surface[0, 0].real))
    if not mean > 0:
        message = f"the initial geopotential leaves a mean depth of {mean / gravity:g} m; wanted a positive one"
        raise OptionError(message)
    return mean


def _state(
    equations: ShallowWaterEquations, rotational: Complexes, divergent: Complexes, height: Complexes | None
) -> Complexes:
    if height is None:
        state = equations.balanced(rotational)
    else:
        state = equations.zeros()
        state[ROTATIONAL] = rotational
        state[HEIGHT] = (height - (0 if equations.surface is None else equations.surface)) / equations.wave_speed
        state[HEIGHT, 0, 0] = 0
    state[DIVERGENT] = divergent
    return state


# ---------------------------------------------------------------------- checks
def _check_variables(variables: Sequence[str]) -> list[str]:
    given = [variables] if isinstance(variables, str) else list(variables)
    names = [_ALIASES.get(name, name) for name in given]
    if not names or any(name not in _ATTRS for name in names):
        message = f"variables={given!r}; wanted some of {sorted(_ATTRS)}"
        raise OptionError(message)
    return names


def _check_settings(
    truncation: int, *, days: float, every: float, spin_up: float, depth: float | None,
    bands: Sequence[Forcing | None],
) -> None:  # fmt: skip
    if not 5 <= truncation <= 2000:
        message = f"truncation={truncation!r}; wanted a whole number from 5, such as 63"
        raise OptionError(message)
    if not (days > 0 and every > 0 and spin_up >= 0):
        message = f"days={days!r}, spin_up={spin_up!r}, output_every={every:g} s; wanted positive times"
        raise OptionError(message)
    if depth is not None and not depth > 0:
        message = f"depth={depth!r}; wanted a positive mean depth in metres, such as {_DEPTH:g}"
        raise OptionError(message)
    for name, band in zip(("forcing", "heating"), bands, strict=True):
        if band is not None and not 1 <= band.degrees[0] <= min(band.degrees[1], truncation):
            message = f"{name}.degrees={band.degrees}; wanted two degrees from 1 to the truncation, {truncation}"
            raise OptionError(message)


def _check_sound(equations: ShallowWaterEquations, state: Complexes) -> None:
    finite = bool(np.isfinite(state).all())
    lowest = float(equations.thickness(state).min()) if finite else np.nan
    if not lowest > -10 * equations.depth:
        step = f"{equations.time_step:g} s"
        message = f"the run became unstable with time_step {step}; give a shorter one, or weaker forcing"
        raise OptionError(message)
    if lowest <= 0:
        message = (
            f"the layer ran dry: a depth of {lowest / equations.depth:.2g} times the mean came, wanted positive ones; "
            "give a greater depth=, lower orography, or weaker jets and forcing"
        )
        raise OptionError(message)
