"""A generated nature run: forced and dissipated barotropic flow on the rotating sphere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION
from xatmo.datasets._time_step import time_step_of
from xatmo.datasets._vorticity import Damping, Forcing, VorticityEquation
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.spectral import _kernels
from xatmo.typing import Complexes, Floats, SpectralEngine, XarrayObject

_ALIASES = {"vorticity": "vo", "streamfunction": "psi"}
_ATTRS = {
    "vo": {"standard_name": "atmosphere_relative_vorticity", "long_name": "relative vorticity", "units": "s-1"},
    "u": {"standard_name": "eastward_wind", "long_name": "eastward wind", "units": "m s-1"},
    "v": {"standard_name": "northward_wind", "long_name": "northward wind", "units": "m s-1"},
    "psi": {
        "standard_name": "atmosphere_horizontal_streamfunction", "long_name": "streamfunction", "units": "m2 s-1"
    },
}  # fmt: skip

# Wind in m s-1 that the default step is safe for, and the largest k U dt that it allows (Runge-Kutta: 2.8).
_SAFE_WIND = 75.0
_SAFE_COURANT = 2.5
_START_SPEED = 15.0


def barotropic(
    truncation: int = 63,
    *,
    days: float = 90,
    output_every: str | pd.Timedelta = "3h",
    time_step: str | pd.Timedelta | None = None,
    spin_up: float = 30,
    forcing: Forcing | None = Forcing(),  # noqa: B008 (frozen)
    damping: Damping | None = Damping(),  # noqa: B008
    initial: xr.DataArray | None = None,
    seed: int = 0,
    start: str | np.datetime64 = "2000-01-01",
    grid: Grid | XarrayObject | None = None,
    variables: Sequence[str] = ("vo", "u", "v"),
    dtype: Any = "float32",
    rotation: float = EARTH_ROTATION,
    radius: float = EARTH_RADIUS,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Run the barotropic vorticity equation on the sphere and return the fields.

    d zeta/dt = -div(V (zeta + f)) + stirring - damping, solved with spherical harmonics to ``truncation``, dealiased,
    linear terms exact, advection by fourth-order Runge-Kutta. Waves, vortices and jets of 10 to 60 m s-1 form. Above
    the stirred degrees kinetic energy falls as about n^-4 at T63, n^-3.8 at T85 and n^-3.6 at T127.

    Computed at once, not lazily: with ducc0 a season at T63 takes some ten seconds; with the torch engine, made for
    many fields at a time, several times as long. The same seed gives the same fields; chaos magnifies rounding, so
    other processors or engines give other weather of the same climate after some weeks.

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
    forcing : Forcing or None
        Stirring; none for a free run.
    damping : Damping or None
        Drag and hyperdiffusion; none for a run that conserves energy and enstrophy.
    initial : DataArray (lat, lon), optional
        Vorticity in s-1 to start from, on any global grid. Drawn at random unless given.
    seed : int
        Of the initial state and the stirring.
    start : str or datetime64
        Time of the first field.
    grid : Grid or Dataset or DataArray, optional
        Where to give the fields, global or not: the harmonic sum at these points. By default the Gaussian grid of the
        computation (T63: 96 x 192).
    variables : sequence of str
        Among ``"vo"`` (or ``"vorticity"``), ``"u"``, ``"v"``, ``"psi"`` (or ``"streamfunction"``).
    dtype : dtype
        Of the fields; the computation runs in float64.
    rotation, radius : float
        Of the planet, s-1 and m.
    engine : {"ducc0", "torch"}, optional
        Spherical harmonics; ducc0 where it is installed.

    Returns
    -------
    Dataset (time, latitude, longitude)
        With CF names and units.

    Raises
    ------
    OptionError
        If a setting is out of range, ``time_step`` does not divide ``output_every``, or the run becomes unstable.

    Examples
    --------
    >>> ds = barotropic(21, days=1, spin_up=2, output_every="6h")
    >>> dict(ds.sizes), ds["vo"].attrs["units"]
    ({'time': 4, 'latitude': 32, 'longitude': 64}, 's-1')
    """
    names = _check_variables(variables)
    every = pd.Timedelta(output_every).total_seconds()
    _check_settings(truncation, days=days, every=every, spin_up=spin_up, forcing=forcing)
    step = time_step_of(time_step, every, truncation, radius, courant=_SAFE_COURANT, wind=_SAFE_WIND)
    equation = VorticityEquation(truncation, step, forcing, damping, rotation, radius, engine)
    generator = np.random.default_rng(seed)
    state = equation.start(generator, _START_SPEED) if initial is None else _from_field(initial, equation)
    target = equation.grid if grid is None else Grid.of(grid)

    steps = round(every / step)
    state, stirring = equation.run(state, round(spin_up * 86400 / step), generator, None)
    count = max(round(days * 86400 / every), 1)
    arrays = {name: np.empty((count, *target.shape), dtype) for name in names}
    for k in range(count):
        if k:
            state, stirring = equation.run(state, steps, generator, stirring)
        _check_finite(state, step)
        for name, values in _fields(equation, state, target, names).items():
            arrays[name][k] = values

    time = np.datetime64(pd.Timestamp(start), "ns") + (np.arange(count) * every * 1e9).astype("timedelta64[ns]")
    nodes = target.coords()
    coords = {"time": ("time", time, {"standard_name": "time", "axis": "T"}), **nodes}
    dims = ("time", *dict.fromkeys(d for c in nodes.values() for d in c.dims))  # one for points on rings
    data = {name: (dims, arrays[name], _ATTRS[name]) for name in names}
    attrs = {
        "Conventions": "CF-1.11",
        "title": f"Barotropic flow on the sphere, T{truncation}",
        "source": "generated: barotropic vorticity equation",
        "time_step": f"{step:g} s",
        "forcing": "none" if forcing is None else str(asdict(forcing)),
        "damping": "none" if damping is None else str(asdict(damping)),
    }
    call = cf.describe_call("datasets.barotropic", truncation=truncation, days=days, spin_up=spin_up, seed=seed)
    return cf.add_history(xr.Dataset(data, coords, attrs), call)


def _fields(equation: VorticityEquation, state: Complexes, grid: Grid, names: Sequence[str]) -> dict[str, Floats]:
    out: dict[str, Floats] = {}
    if "vo" in names:
        out["vo"] = _kernels.synthesis(state, grid, equation.engine)
    if "psi" in names:
        out["psi"] = _kernels.synthesis(-state / equation.scale**2, grid, equation.engine)
    if "u" in names or "v" in names:
        u, v = equation.winds(state, grid)
        out |= {name: values for name, values in (("u", u), ("v", v)) if name in names}
    return out


def _from_field(initial: xr.DataArray, equation: VorticityEquation) -> Complexes:
    axes = cf.horizontal(initial)
    if set(initial.dims) != set(axes.dims):
        message = f"initial has dimensions {initial.dims}; wanted {axes.dims} only. Select one time: da.isel(time=0)"
        raise OptionError(message)
    from xatmo._labels import drop_cyclic, require_finite
    from xatmo.units import convert

    field, _ = drop_cyclic(convert(initial, "s-1") if "units" in initial.attrs else initial, axes)
    values = field.transpose(*axes.dims).to_numpy().astype(np.float64)
    require_finite(values, what="barotropic", name=initial.name)
    source = Grid.of(field)
    lmax = min(source.lmax, equation.truncation)
    found = _kernels.analysis(values, source, lmax, equation.engine)
    state = np.zeros((equation.truncation + 1,) * 2, dtype=np.complex128, order="F")
    state[: lmax + 1, : lmax + 1] = found
    return cast(Complexes, state * equation.triangle)


def _check_variables(variables: Sequence[str]) -> list[str]:
    given = [variables] if isinstance(variables, str) else list(variables)
    names = [_ALIASES.get(name, name) for name in given]
    unknown = [name for name in names if name not in _ATTRS]
    if unknown or not names:
        message = f"variables={given!r}; wanted some of {sorted(_ATTRS)}"
        raise OptionError(message)
    return names


def _check_settings(truncation: int, *, days: float, every: float, spin_up: float, forcing: Forcing | None) -> None:
    if not 5 <= truncation <= 2000:
        message = f"truncation={truncation!r}; wanted a whole number from 5, such as 63"
        raise OptionError(message)
    if not (days > 0 and every > 0 and spin_up >= 0):
        message = f"days={days!r}, spin_up={spin_up!r}, output_every={every:g} s; wanted positive times"
        raise OptionError(message)
    if forcing is not None and not 1 <= forcing.degrees[0] <= forcing.degrees[1] <= truncation:
        message = f"forcing.degrees={forcing.degrees}; wanted two degrees from 1 to the truncation, {truncation}"
        raise OptionError(message)


def _check_finite(state: Complexes, step: float) -> None:
    if not np.isfinite(state).all():
        message = f"the run became unstable with time_step {step:g} s; give a shorter one, or weaker forcing"
        raise OptionError(message)
