"""Spherical harmonics of plain arrays: checks, choice of the engine, and the coefficients' memory layout.

Coefficients X(n, m) for m >= 0 follow ECMWF: a field is the sum over n and m = -n..n of X(n, m) P(n, m) exp(i m lon),
with X(n, -m) the conjugate of X(n, m), half the integral of P^2 over mu = sin(latitude) equal to 1, and no
Condon-Shortley phase. So X(0, 0) is the area mean, and the area-mean square of the field is the sum over n of
``abs(X(n, 0))**2 + 2 * sum_m abs(X(n, m))**2``.

Arrays of coefficients have axes (degree, order); in memory the order is the slower one, as both engines work.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from xatmo import optional
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.rings import RingGrid
from xatmo.spectral import _one_pole
from xatmo.typing import Complexes, Floats, SpectralEngine

ENGINES = ("ducc0", "torch")


def choose_engine(engine: SpectralEngine | str | None) -> str:
    """Name of the engine to use: ducc0 where it is installed, the torch engine otherwise.

    Raises
    ------
    OptionError
        If the name is unknown.
    MissingDependencyError
        If ``"ducc0"`` is asked for and not installed.

    Examples
    --------
    >>> choose_engine("torch")
    'torch'
    """
    if engine is None:
        return "ducc0" if optional.available("ducc0") else "torch"
    if engine not in ENGINES:
        message = f"engine={engine!r} came; wanted one of {ENGINES}, or None for ducc0 where it is installed"
        raise OptionError(message)
    if engine == "ducc0":
        optional.require("ducc0", extra="fast", why="engine='ducc0'")
    return engine


def resolve_lmax(grid: Grid, lmax: int | None, *, what: str = "spherical-harmonic analysis") -> int:
    """Highest degree to analyse: ``grid.lmax`` unless a lower one is given.

    Raises
    ------
    OptionError
        If ``lmax`` is no integer, negative, or more than the grid resolves exactly.
    GridError
        If the grid is regional.

    Examples
    --------
    >>> resolve_lmax(Grid.regular(721, 1440), None)
    719
    """
    grid.require_global(what)
    return grid.lmax if lmax is None else check_degree(lmax, top=grid.lmax, grid=grid)


def check_degree(lmax: Any, *, top: int | None = None, grid: Grid | None = None) -> int:
    """Give ``lmax`` as an int.

    Raises
    ------
    OptionError
        If it is no integer, negative, or above ``top``.
    """
    try:
        degree = operator.index(lmax)
    except TypeError:
        degree = -1
    if degree < 0:
        message = f"lmax={lmax!r} came; wanted an integer from 0 up, the highest degree kept"
        raise OptionError(message)
    if top is not None and degree > top:
        message = f"lmax={degree} came, but {grid!r} resolves degrees up to {top} exactly; wanted lmax <= {top}"
        raise OptionError(message)
    return degree


def as_float(field: Any) -> Floats:
    """Give numbers as float32 or float64 of this machine's byte order; what is neither becomes float64."""
    array = np.asarray(field)
    native = array.dtype.newbyteorder("=")
    if native in (np.float32, np.float64):
        return array.astype(native, copy=False)
    return array.astype(np.float32 if array.dtype == np.float16 else np.float64)


def as_complex(coefficients: Any) -> Complexes:
    """Give numbers as complex64 or complex128; float32 becomes complex64."""
    array = np.asarray(coefficients)
    native = array.dtype.newbyteorder("=")
    if native in (np.complex64, np.complex128):
        return array.astype(native, copy=False)
    return array.astype(np.complex64 if native in (np.float32, np.float16) else np.complex128)


def _fields(field: Any, grid: Grid) -> Floats:
    array = as_float(field)
    if array.shape[-len(grid.shape) :] != grid.shape:
        message = f"a field of shape {array.shape} came; wanted (..., {', '.join(map(str, grid.shape))}) for {grid!r}"
        raise DimensionError(message)
    return array


def square_coefficients(coefficients: Any) -> Complexes:
    """Complex coefficients on (..., degree, order), or an error."""
    array = as_complex(coefficients)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        message = f"coefficients of shape {array.shape} came; wanted (..., lmax + 1, lmax + 1): degree, order"
        raise DimensionError(message)
    return array


def _alike(first: Any, second: Any) -> tuple[Any, Any]:
    """Bring two arrays to one shape and type."""
    if first.shape == second.shape and first.dtype == second.dtype:
        return first, second
    dtype = np.result_type(first, second)
    first, second = np.broadcast_arrays(first, second)
    return first.astype(dtype, copy=False), second.astype(dtype, copy=False)


def analysis(field: Any, grid: Grid, lmax: int | None = None, engine: SpectralEngine | None = None) -> Complexes:
    """Coefficients of a scalar field.

    Parameters
    ----------
    field : array (..., nlat, nlon), or (..., npoints) on a ring grid
        In the grid's row and column order, or order of points.
    grid : Grid
        Global.
    lmax : int, optional
        Highest degree; ``grid.lmax`` by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    array (..., lmax + 1, lmax + 1)
        Complex, axes (degree, order), zero where order > degree. complex64 from float32.

    Examples
    --------
    >>> grid = Grid.gaussian(8)
    >>> mu = np.sin(np.radians(grid.latitude))[:, None] + np.zeros(grid.nlon)
    >>> np.round(analysis(mu, grid)[1, 0].real * np.sqrt(3), 6)  # P(1, 0) = sqrt(3) mu
    np.float64(1.0)
    """
    field, lmax = _fields(field, grid), resolve_lmax(grid, lmax)
    if isinstance(grid, RingGrid):
        from xatmo.spectral import _rings

        return _rings.analysis(field, grid, lmax, choose_engine(engine))
    if grid.kind == "driscoll_healy":
        field, grid = _one_pole.complete(field, grid), _one_pole.completed(grid)
    if choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc

        return _ducc.analysis(field, grid, lmax)
    from xatmo.spectral import _torch

    return _torch.analysis(field, grid, lmax)


def synthesis(coefficients: Any, grid: Grid, engine: SpectralEngine | None = None) -> Floats:
    """Field values from coefficients: the harmonic sum at the nodes of the grid, which may be any.

    Parameters
    ----------
    coefficients : array (..., lmax + 1, lmax + 1)
        Axes (degree, order); entries with order > degree are not read.
    grid : Grid
        Any, regional ones included. Degrees that the grid does not resolve alias, as in the sum itself.
    engine : {"ducc0", "torch"}, optional

    Returns
    -------
    array (..., nlat, nlon), or (..., npoints) on a ring grid
        float32 from complex64.
    """
    coefficients = square_coefficients(coefficients)
    if isinstance(grid, RingGrid):
        from xatmo.spectral import _rings

        return _rings.synthesis(coefficients, grid, choose_engine(engine))
    if grid.kind == "driscoll_healy":
        return _one_pole.cut(synthesis(coefficients, _one_pole.completed(grid), engine), grid)
    if choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc

        return _ducc.synthesis(coefficients, grid)
    from xatmo.spectral import _torch

    return _torch.synthesis(coefficients, grid)


def analysis_vector(
    u: Any, v: Any, grid: Grid, lmax: int | None = None, engine: SpectralEngine | None = None
) -> tuple[Complexes, Complexes]:
    """Rotational and divergent coefficients of a vector field on the sphere (spin 1), in the units of the wind.

    With ``s = sqrt(n (n + 1)) / a`` (see `derivative_factor`), the coefficients of the vorticity are ``s * rotational``
    and those of the divergence ``s * divergent``; the streamfunction's are ``-rotational / s`` and the velocity
    potential's ``-divergent / s``. The area mean of ``(u**2 + v**2) / 2`` is half the sum of squares of both, with the
    orders above 0 counted twice.

    Parameters
    ----------
    u, v : array (..., nlat, nlon)
        Eastward and northward component.
    grid, lmax, engine
        As in `analysis`.

    Returns
    -------
    rotational, divergent : array (..., lmax + 1, lmax + 1)
        Degree 0 is zero.

    Examples
    --------
    Solid-body rotation, u = cos(lat), has the vorticity 2 sin(lat) / a:

    >>> grid = Grid.gaussian(8)
    >>> u = np.cos(np.radians(grid.latitude))[:, None] + np.zeros(grid.nlon)
    >>> rotational, divergent = analysis_vector(u, 0 * u, grid)
    >>> vorticity = rotational * derivative_factor(grid.lmax, radius=1)[:, None]
    >>> np.round(vorticity[1, 0].real * np.sqrt(3), 6)
    np.float64(2.0)
    """
    u, v = _alike(_fields(u, grid), _fields(v, grid))
    lmax = resolve_lmax(grid, lmax)
    if isinstance(grid, RingGrid):
        from xatmo.spectral import _rings

        return _rings.analysis_vector(u, v, grid, lmax, choose_engine(engine))
    if grid.kind == "driscoll_healy":
        u, v = (_one_pole.complete(x, grid, wave=1) for x in (u, v))
        grid = _one_pole.completed(grid)
    if choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc

        return _ducc.analysis_vector(u, v, grid, lmax)
    from xatmo.spectral import _torch

    return _torch.analysis_vector(u, v, grid, lmax)


def synthesis_vector(
    rotational: Any, divergent: Any, grid: Grid, engine: SpectralEngine | None = None
) -> tuple[Floats, Floats]:
    """Eastward and northward components from rotational and divergent coefficients: inverse of `analysis_vector`.

    Parameters
    ----------
    rotational, divergent : array (..., lmax + 1, lmax + 1)
        Axes (degree, order), in the units of the wind. Degree 0 is not read.
    grid : Grid
        Any.
    engine : {"ducc0", "torch"}, optional

    Returns
    -------
    u, v : array (..., nlat, nlon)
    """
    rotational, divergent = _alike(square_coefficients(rotational), square_coefficients(divergent))
    if isinstance(grid, RingGrid):
        from xatmo.spectral import _rings

        return _rings.synthesis_vector(rotational, divergent, grid, choose_engine(engine))
    if grid.kind == "driscoll_healy":
        u, v = synthesis_vector(rotational, divergent, _one_pole.completed(grid), engine)
        return _one_pole.cut(u, grid), _one_pole.cut(v, grid)
    if choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc

        return _ducc.synthesis_vector(rotational, divergent, grid)
    from xatmo.spectral import _torch

    return _torch.synthesis_vector(rotational, divergent, grid)


def synthesis_divergent(divergent: Any, grid: Grid, engine: SpectralEngine | None = None) -> tuple[Floats, Floats]:
    """Eastward and northward components from divergent coefficients alone: `synthesis_vector` without rotation.

    Turned by a right angle, (-v, u), they are the components of the rotational wind that has these coefficients.

    Examples
    --------
    >>> coefficients = np.array([[0, 0], [1, 0]], complex)
    >>> east, north = synthesis_divergent(coefficients, Grid.regular(5, 4))
    >>> np.round(north[2] * np.sqrt(2 / 3), 6)  # on the equator, of -sqrt(3 / 2) cos(lat)
    array([-1., -1., -1., -1.])
    """
    divergent = square_coefficients(divergent)
    if choose_engine(engine) != "ducc0" or isinstance(grid, RingGrid) or grid.kind == "driscoll_healy":
        return synthesis_vector(np.zeros_like(divergent), divergent, grid, engine)
    from xatmo.spectral import _ducc

    return _ducc.synthesis_divergent(divergent, grid)


def derivative_factor(lmax: int, radius: float) -> Floats:
    """``sqrt(n (n + 1)) / radius`` by degree, ``(lmax + 1,)``: from wind amplitudes to vorticity and divergence.

    Examples
    --------
    >>> derivative_factor(2, radius=1.0)
    array([0. , 1.41421356, 2.44948974])
    """
    degree = np.arange(lmax + 1, dtype=np.float64)
    return np.asarray(np.sqrt(degree * (degree + 1)) / radius)


def power(coefficients: Complexes) -> Floats:
    """Power by degree, ``(..., lmax + 1)``: ``abs(X(n, 0))**2 + 2 sum_m abs(X(n, m))**2``, summed in float64.

    Entries with order > degree have to be zero.

    Examples
    --------
    >>> power(np.array([[3.0 + 0j, 0], [1, 2j]]))
    array([9., 9.])
    """
    by_order = np.ascontiguousarray(np.swapaxes(coefficients, -1, -2))
    parts = by_order.view(by_order.real.dtype)  # (..., order, degree and real/imaginary)
    *lead, orders, width = parts.shape
    out = np.empty((*lead, width // 2))
    for index in np.ndindex(*lead):
        block = parts[index]
        total = np.zeros(width)
        for start in range(0, orders, 32):  # short float32 sums, long float64 ones
            some = block[start : start + 32, 2 * start :]  # degrees below the order are zero
            total[2 * start :] += np.einsum("mn,mn->n", some, some)
        total = 2 * total - block[0].astype(np.float64) ** 2
        out[index] = total.reshape(-1, 2).sum(axis=1)
    return out.astype(parts.dtype, copy=False)


def field_power(field: Any, grid: Grid, lmax: int | None = None, engine: SpectralEngine | None = None) -> Floats:
    """Power by degree of a scalar field, ``(..., lmax + 1)``: `power` of its `analysis`, without keeping the latter."""
    field, lmax = _fields(field, grid), resolve_lmax(grid, lmax)
    if isinstance(grid, RingGrid):
        return power(analysis(field, grid, lmax, engine))
    if grid.kind == "driscoll_healy":
        field, grid = _one_pole.complete(field, grid), _one_pole.completed(grid)
    if choose_engine(engine) == "ducc0":
        from xatmo.spectral import _ducc

        return _ducc.power(field, grid, lmax, power)
    return power(analysis(field, grid, lmax, "torch"))


def wind_power(
    u: Any, v: Any, grid: Grid, lmax: int | None = None, engine: SpectralEngine | None = None
) -> tuple[Floats, Floats]:
    """Power by degree of the rotational and the divergent wind: `power` of `analysis_vector`."""
    u, v = _alike(_fields(u, grid), _fields(v, grid))
    lmax = resolve_lmax(grid, lmax)
    if grid.kind == "driscoll_healy":
        u, v = (_one_pole.complete(x, grid, wave=1) for x in (u, v))
        grid = _one_pole.completed(grid)
    if choose_engine(engine) == "ducc0" and not isinstance(grid, RingGrid):
        from xatmo.spectral import _ducc

        return _ducc.power_vector(u, v, grid, lmax, power)
    rotational, divergent = analysis_vector(u, v, grid, lmax, engine)
    return power(rotational), power(divergent)
