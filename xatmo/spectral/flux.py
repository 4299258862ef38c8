"""Spectral fluxes: what the advection of the wind by itself carries from large to small scales, by degree."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import restore_order
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels, _operands
from xatmo.spectral._fields import DEGREE
from xatmo.spectral._results import check_radius
from xatmo.typing import Complexes, Floats, FluxWind, SpectralEngine

WINDS = ("rotational", "full")

_RESULTS = (
    ("energy_flux", "flux of kinetic energy to degrees above", "m2 s-3"),
    ("enstrophy_flux", "flux of enstrophy to degrees above", "s-3"),
    ("energy_transfer", "transfer of kinetic energy into the degree", "m2 s-3"),
    ("enstrophy_transfer", "transfer of enstrophy into the degree", "s-3"),
)


# ---------------------------------------------------------------------- plain arrays
@lru_cache(maxsize=8)
def product_grid(lmax: int) -> Grid:
    """Gaussian grid on which products of two fields up to ``lmax`` are analysed up to ``lmax`` without aliasing.

    The integral of three such fields is a polynomial of degree ``3 lmax``: exact from ``(3 lmax + 1) / 2`` rows and
    ``3 lmax + 1`` columns on.

    Examples
    --------
    >>> product_grid(42)
    <Grid gaussian 64 x 128, lat 87.86 to -87.86, lon 0 to 357.2, lmax 63>
    """
    least = max((3 * lmax + 2) // 2, 3)
    return Grid.gaussian(next(n for n in range(least, 10**6) if _smooth(n)))


def _smooth(n: int) -> bool:
    """Whether a length has no prime factor above 5: quick to transform."""
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def inner(first: Complexes, second: Complexes) -> Floats:
    """Area mean of the product of two real fields by degree, ``(..., lmax + 1)``, from their coefficients.

    ``Re(X(n, 0) conj(Y(n, 0)) + 2 sum_m X(n, m) conj(Y(n, m)))``; entries with order > degree have to be zero. Summed
    as in `_kernels.power`, of which this is the general case.

    Examples
    --------
    >>> inner(np.array([[3.0 + 0j, 0], [1, 2j]]), np.array([[2.0 + 0j, 0], [1, 1 + 1j]]))
    array([6., 5.])
    """
    first, second = np.broadcast_arrays(first, second)
    lead, degrees = first.shape[:-2], first.shape[-2]
    out = np.empty((*lead, degrees))
    for index in np.ndindex(*lead):
        pair = [np.ascontiguousarray(x[index].T) for x in (first, second)]
        x, y = (z.view(z.real.dtype) for z in pair)  # (order, degree and real/imaginary)
        total = np.zeros(2 * degrees)
        for start in range(0, len(x), 32):  # short sums in the arrays' own precision, long ones in float64
            some = slice(start, start + 32), slice(2 * start, None)  # degrees below the order are zero
            total[2 * start :] += np.einsum("mn,mn->n", x[some], y[some])
        total = 2 * total - x[0].astype(np.float64) * y[0]
        out[index] = total.reshape(-1, 2).sum(axis=1)
    return out


def rotational_transfer(rotational: Complexes, radius: float, engine: Any = None) -> tuple[Floats, Floats]:
    """Transfer of energy and enstrophy by degree of one nondivergent flow: see `spectral_flux`.

    Parameters
    ----------
    rotational : array (lmax + 1, lmax + 1)
        Coefficients of the rotational wind, as `_kernels.analysis_vector` gives them, complex128.
    radius : float
    engine : {"ducc0", "torch"}, optional

    Returns
    -------
    energy, enstrophy : array (lmax + 1,)
        m2 s-3 and s-3.
    """
    lmax = rotational.shape[-1] - 1
    grid, slope = product_grid(lmax), _kernels.derivative_factor(lmax, radius)
    u, v = _kernels.synthesis_vector(rotational, np.zeros_like(rotational), grid, engine)
    vorticity = _kernels.synthesis(rotational * slope[:, None], grid, engine)
    # The tendency of the vorticity is -div(u vorticity), the coefficients of which are those of the divergent part of
    # the vector times the slope; over the slope again it is the tendency of the rotational wind.
    _, outflow = _kernels.analysis_vector(u * vorticity, v * vorticity, grid, lmax, engine)
    energy = -inner(rotational, outflow)
    return energy, energy * slope**2


def full_transfer(
    rotational: Complexes, divergent: Complexes, radius: float, engine: Any = None
) -> tuple[Floats, Floats]:
    """Transfer of energy and enstrophy by degree of one flow that may diverge: see `spectral_flux`.

    Parameters and results as in `rotational_transfer`.
    """
    lmax = rotational.shape[-1] - 1
    grid, slope = product_grid(lmax), _kernels.derivative_factor(lmax, radius)
    column = slope[:, None]
    u, v = _kernels.synthesis_vector(rotational, divergent, grid, engine)
    vorticity = _kernels.synthesis(rotational * column, grid, engine)
    half = _kernels.synthesis(divergent * column, grid, engine) / 2
    along, outflow = _kernels.analysis_vector(u * vorticity, v * vorticity, grid, lmax, engine)
    stretched = _kernels.analysis_vector(u * half, v * half, grid, lmax, engine)
    kinetic = _kernels.analysis((u**2 + v**2) / 2, grid, lmax, engine)
    # (u . grad) u = vorticity k x u + grad(kinetic). Turning a vector by a right angle makes its divergent part
    # rotational, and its rotational part minus the divergent; the gradient's divergent part is -slope times its field.
    energy = inner(rotational, outflow + stretched[0])
    energy += inner(divergent, stretched[1] - along - kinetic * column)
    source = _kernels.analysis(vorticity * half, grid, lmax, engine)
    enstrophy = inner(rotational * column, outflow * column - source)
    return -energy, -enstrophy


def _transfers(
    wind: tuple[Complexes, Complexes], *, radius: float, engine: Any, full: bool
) -> tuple[Floats, Floats, Floats, Floats]:
    """Fluxes and transfers of a stack of flows, one after the other: each needs a grid 9 / 4 times as large."""
    rotational, divergent = np.broadcast_arrays(*wind)
    *lead, degrees, _ = rotational.shape
    out = np.zeros((2, *lead, degrees))
    for index in np.ndindex(*lead):
        one = rotational[index].astype(np.complex128)
        if degrees < 2:  # no wind
            continue
        if full:
            out[(slice(None), *index)] = full_transfer(one, divergent[index].astype(np.complex128), radius, engine)
        else:
            out[(slice(None), *index)] = rotational_transfer(one, radius, engine)
    flux = -np.cumsum(out, axis=-1)
    return flux[0], flux[1], out[0], out[1]


# ---------------------------------------------------------------------- labelled
def spectral_flux(
    ds: xr.Dataset,
    *,
    u: Hashable | None = None,
    v: Hashable | None = None,
    wind: FluxWind = "rotational",
    lmax: int | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    r"""Compute how much kinetic energy and enstrophy the flow carries through each degree to smaller scales.

    The transfer into degree n is the rate at which nonlinear advection changes its energy
    ``E(n) = 1/2 sum_m abs(V(n, m))**2`` or enstrophy ``Z(n) = 1/2 sum_m abs(zeta(n, m))**2``, and the flux through n is
    what leaves degrees 0 to n for those above: ``flux(n) = -sum_{l <= n} transfer(l)``. A positive flux goes downscale.

    ``wind="rotational"`` is two-dimensional nondivergent flow [1]_: the rotational wind ``V`` advects its vorticity
    ``zeta``, and

    .. math:: T_Z(n) = -\langle \zeta_n, \nabla \cdot (V \zeta) \rangle,
              \qquad T_E(n) = \frac{a^2}{n (n + 1)} T_Z(n).

    Planetary vorticity moves nothing between degrees. ``wind="full"`` is the horizontal advection of the whole wind,
    in the form that conserves [2]_:

    .. math:: T_E(n) = -\langle V_n, (V \cdot \nabla) V + \tfrac12 V \, \nabla \cdot V \rangle,
              \qquad T_Z(n) = -\langle \zeta_n, V \cdot \nabla \zeta + \tfrac12 \zeta \, \nabla \cdot V \rangle.

    What divergence itself makes and destroys, and vertical advection, are not in it. For a nondivergent wind the two
    agree. Brackets are area means of the part at degree n.

    Products are formed on a Gaussian grid fine enough that nothing aliases, in float64, so that the transfers of all
    degrees sum to zero to rounding: the flux through ``lmax`` is zero. Exchange with degrees above ``lmax`` is not
    seen, so that what comes near it says little.

    Parameters
    ----------
    ds : Dataset
        A wind pair on a global grid; without one, vorticity and divergence (``vo``, ``d``; the vorticity alone will do)
        on a global grid, or as coefficients on ``degree`` and ``order`` or on GRIB's ``values``.
    u, v : str, optional
        Names of eastward and northward wind, where CF attributes and usual names do not tell.
    wind : {"rotational", "full"}
        Which wind advects.
    lmax : int, optional
        Highest degree of the wind; `Grid.lmax` by default.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset
        ``energy_flux`` and ``energy_transfer`` in m2 s-3 (the same as W kg-1), ``enstrophy_flux`` and
        ``enstrophy_transfer`` in s-3, by ``degree``, with ``wavelength`` in metres. Fluxes of several times or levels
        may be averaged as they are.

    Raises
    ------
    OptionError
        If ``wind`` is unknown, ``lmax`` too large, or names of components come with coefficients.
    VariableError
        If no wind is found.
    UnitsError
        If wind components are no velocities.
    GridError
        If the grid is regional.
    ChunkError
        If a transformed dimension is split into chunks.
    MissingValueError
        At compute time, if a value is NaN or infinite.

    References
    ----------
    .. [1] G. J. Boer and T. G. Shepherd, 1983: Large-scale two-dimensional turbulence in the atmosphere.
       J. Atmos. Sci. 40, 164-184.
    .. [2] P. Augier and E. Lindborg, 2013: A new formulation of the spectral energy budget of the atmosphere, with
       application to two high-resolution general circulation models. J. Atmos. Sci. 70, 2293-2308; without the
       vertical terms. For analyses: B. H. Burgess, A. R. Erler and T. G. Shepherd, 2013: The troposphere-to-
       stratosphere transition in kinetic energy spectra and nonlinear spectral fluxes as seen in ECMWF analyses.
       J. Atmos. Sci. 70, 669-687.

    Examples
    --------
    >>> from xatmo import datasets
    >>> ds = datasets.barotropic(21, days=1, spin_up=2, output_every="6h")
    >>> flux = spectral_flux(ds)
    >>> sorted(flux.data_vars), flux.energy_flux.dims, flux.energy_flux.attrs["units"]
    (['energy_flux', 'energy_transfer', 'enstrophy_flux', 'enstrophy_transfer'], ('time', 'degree'), 'm2 s-3')
    >>> left = abs(flux.energy_flux.isel(degree=-1)).max() / abs(flux.energy_flux).max()  # nothing leaves
    >>> bool(left < 1e-5)
    True
    """
    if wind not in WINDS:
        message = f"wind={wind!r} came; wanted one of {WINDS}"
        raise OptionError(message)
    a = check_radius(radius)
    operand, top = _operands.any_wind(ds, u, v, lmax, radius=a, engine=engine, what="spectral_flux")
    function = partial(_transfers, radius=a, engine=_kernels.choose_engine(engine), full=wind == "full")
    results = _operands.combine([operand], function, {DEGREE: top + 1}, count=len(_RESULTS), what="spectral_flux")
    done = {}
    for (name, text, units), out in zip(_RESULTS, results, strict=True):
        labelled = _fields.placed(out, _fields.own(_fields.degree_coords(top, a)))
        labelled.attrs = {"long_name": f"{text}, by the {wind} wind", "units": units}
        done[name] = restore_order(labelled, operand.arrays[0])
    call = cf.describe_call("spectral_flux", u=u, v=v, wind=wind, lmax=top, radius=radius, engine=engine)
    return cf.add_history(xr.Dataset(done, attrs=ds.attrs), call)
