"""Filters by degree or by wavelength: which weight every degree of a spherical-harmonic sum gets."""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import Any

import numpy as np

from xatmo import cf
from xatmo.errors import OptionError
from xatmo.spectral import _degrees, _fields, _kernels, _results, packed
from xatmo.spectral._fields import Source
from xatmo.typing import Floats, SpectralEngine, T

KINDS = ("sharp", "exponential", "gaussian", "lanczos")
_WANTED = {"length": "metres", "order": "a number", "damping": "a number between 0 and 1"}


@lru_cache(maxsize=64)
def degree_weights(
    kind: str,
    lmax: int,
    *,
    lmin: int = 0,
    length: float | None = None,
    order: float | None = None,
    damping: float | None = None,
    radius: float | None = None,
) -> Floats:
    """Weight of every degree n from 0 to ``lmax``; degrees below ``lmin`` have weight 0, whatever the kind.

    Parameters
    ----------
    kind : {"sharp", "exponential", "gaussian", "lanczos"}
        - ``"sharp"``: 1. Fields with steps ring (Gibbs).
        - ``"exponential"``: ``damping ** ((n (n + 1) / (lmax (lmax + 1))) ** (order / 2))``, what diffusion
          ``-(-laplacian)**(order / 2)`` leaves after the time that leaves the fraction ``damping`` of degree ``lmax``.
          ``order=4`` and ``damping=0.1``, the defaults, are the filter of Sardeshmukh and Hoskins [1]_.
        - ``"gaussian"``: ``exp(-n (n + 1) (length / radius)**2 / 2)``, the Gaussian of the sphere: diffusion of second
          order [2]_. Its kernel is, for lengths small against the radius, ``exp(-distance**2 / (2 length**2))``.
        - ``"lanczos"``: ``sinc(n / (lmax + 1))`` with ``sinc(x) = sin(pi x) / (pi x)``, the sigma factors that suppress
          Gibbs oscillations.
    lmax : int
        Highest degree.
    lmin : int
        Lowest degree that is kept.
    length : float, optional
        Of the Gaussian, in metres: standard deviation of its kernel along any one direction. The full width at half
        maximum is 2.355 times as long, and the wavelength that is halved 5.34 times.
    order : float, optional
        Of the exponential filter; even numbers are those of diffusion operators.
    damping : float, optional
        Weight of degree ``lmax`` in the exponential filter, between 0 and 1.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.

    Returns
    -------
    array (lmax + 1,)
        Read-only.

    Raises
    ------
    OptionError
        If the kind is unknown, or a number is missing, out of range, or belongs to another kind.

    References
    ----------
    .. [1] P. D. Sardeshmukh and B. J. Hoskins, 1984: Spatial smoothing on the sphere. Mon. Wea. Rev. 112, 2524-2529.

    .. [2] P. H. Roberts and H. D. Ursell, 1960: Random walk on a sphere and on a Riemannian manifold. Phil. Trans. R.
       Soc. A 252, 317-356.

    Examples
    --------
    >>> degree_weights("exponential", 2)
    array([1. , 0.77426368, 0.1 ])
    >>> degree_weights("gaussian", 2, length=0.5, radius=1.0)
    array([1. , 0.77880078, 0.47236655])
    >>> degree_weights("sharp", 3, lmin=2)
    array([0., 0., 1., 1.])
    """
    _check_options(kind, length=length, order=order, damping=damping)
    lmax, lmin = _kernels.check_degree(lmax), _check_lmin(lmin)
    degree = np.arange(lmax + 1, dtype=np.float64)
    square = degree * (degree + 1)
    if kind == "sharp":
        weights = np.ones(lmax + 1)
    elif kind == "exponential":
        power = (4.0 if order is None else float(order)) / 2
        weights = (0.1 if damping is None else float(damping)) ** ((square / max(lmax * (lmax + 1), 1)) ** power)
    elif kind == "gaussian":
        assert length is not None
        weights = np.exp(-square * (length / _results.check_radius(radius)) ** 2 / 2)
    else:
        weights = np.sinc(degree / (lmax + 1))
    weights[:lmin] = 0
    weights.flags.writeable = False
    return weights


def _check_options(kind: str, **given: float | None) -> None:
    """Raise for an unknown kind, and for numbers that it does not use, lacks, or cannot use."""
    if kind not in KINDS:
        message = f"kind={kind!r} came; wanted one of {KINDS}"
        raise OptionError(message)
    used = {"exponential": ("order", "damping"), "gaussian": ("length",)}.get(kind, ())
    for name, value in given.items():
        if value is not None and name not in used:
            owner = "gaussian" if name == "length" else "exponential"
            message = f"{name}={value!r} came with kind={kind!r}; it belongs to kind={owner!r}: leave it out"
            raise OptionError(message)
        if value is not None and _results.positive(name, value, _WANTED[name]) >= 1 and name == "damping":
            message = f"{name}={value!r} came; wanted {_WANTED[name]}"
            raise OptionError(message)
    if kind == "gaussian" and given["length"] is None:
        message = "kind='gaussian' came without length=; wanted the standard deviation of its kernel in metres"
        raise OptionError(message)


def _check_lmin(lmin: Any) -> int:
    try:
        low = operator.index(lmin)
    except TypeError:
        low = -1
    if low < 0:
        message = f"lmin={lmin!r} came; wanted an integer from 0 up, the lowest degree kept"
        raise OptionError(message)
    return low


def degree_band(
    top: int,
    *,
    lmin: int | None = None,
    lmax: int | None = None,
    min_wavelength: float | None = None,
    max_wavelength: float | None = None,
    radius: float | None = None,
) -> tuple[int, int]:
    """Lowest and highest degree between given bounds, of the degrees 0 to ``top``.

    Wavelengths are ``2 pi a / sqrt(n (n + 1))`` in metres; those equal to a bound are kept. Degree 0, the mean, is
    infinitely long.

    Raises
    ------
    OptionError
        If a bound is given both ways, cannot be used, or nothing lies between the bounds.

    Examples
    --------
    >>> degree_band(255, min_wavelength=1e6, max_wavelength=4e6)
    (10, 39)
    """
    for name, bounds in (("lmax", (lmax, min_wavelength)), ("lmin", (lmin, max_wavelength))):
        if None not in bounds:
            other = "min_wavelength" if name == "lmax" else "max_wavelength"
            message = f"{name}={bounds[0]!r} and {other}={bounds[1]!r} came; they bound the same end: give one"
            raise OptionError(message)
    for name, value in (("min_wavelength", min_wavelength), ("max_wavelength", max_wavelength)):
        if value is not None and value != np.inf:
            _results.positive(name, value, "metres")
    wavelength = _fields.wavelength(top, _results.check_radius(radius))
    low, high = 0, top
    if lmin is not None:
        low = _check_lmin(lmin)
    elif max_wavelength is not None:
        low = int(np.count_nonzero(wavelength > max_wavelength * (1 + 1e-12)))
    if lmax is not None:
        high = _kernels.check_degree(lmax)
    elif min_wavelength is not None:
        high = int(np.count_nonzero(wavelength >= min_wavelength * (1 - 1e-12))) - 1
    if low > min(high, top):
        message = f"degrees {low} to {high} are to be kept, of 0 to {top}: none; wanted lmin <= lmax <= {top}"
        raise OptionError(message)
    return low, high


def filter_scales(
    obj: T,
    kind: str = "sharp",
    *,
    lmin: int | None = None,
    lmax: int | None = None,
    min_wavelength: float | None = None,
    max_wavelength: float | None = None,
    length: float | None = None,
    order: float | None = None,
    damping: float | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> T:
    """Damp or remove scales: multiply every degree of the spherical harmonics by its weight, on the same grid.

    A CF wind pair in a Dataset is filtered as a vector, which is the same as filtering vorticity and divergence.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid, latitude and longitude whole; or coefficients on ``degree`` and ``order``, each
        variable by itself.
    kind : {"sharp", "exponential", "gaussian", "lanczos"}
        See `degree_weights` for the equations. ``"exponential"`` and ``"lanczos"`` fall from the mean to ``lmax``.
    lmin, lmax : int, optional
        Lowest and highest degree kept. Both: a band-pass. By default from the mean to what the grid resolves.
    min_wavelength, max_wavelength : float, optional
        The same in metres: wavelengths ``2 pi a / sqrt(n (n + 1))`` between them, ends included, are kept.
    length : float, optional
        Of the Gaussian: standard deviation of its kernel in metres.
    order, damping : float, optional
        Of the exponential filter: 4 and 0.1 by default, so that degree ``lmax`` keeps a tenth of its amplitude.
    radius : float, optional
        Of the sphere in metres, for wavelengths and lengths; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        Like the input: dtype (integers become float64), dimension order, coordinates, attributes, encoding.
        Coefficients stay coefficients with as many degrees, zero where removed.

    Raises
    ------
    OptionError
        If the kind is unknown, an end is bounded twice, no degree is left, a number belongs to another kind, or nothing
        is asked for.
    GridError, ChunkError, MissingValueError
        As in `to_spectral`.

    Examples
    --------
    >>> import xarray as xr
    >>> from xatmo import Grid
    >>> grid = Grid.gaussian(16)
    >>> lat = np.radians(grid.coords()["latitude"])
    >>> field = (1 + np.sin(lat)).expand_dims(longitude=grid.longitude, axis=1).assign_coords(grid.coords())
    >>> anomaly = filter_scales(field, lmin=1)
    >>> bool(abs(anomaly - np.sin(lat)).max() < 1e-12)
    True
    >>> smooth = filter_scales(field, "gaussian", length=1e6)
    >>> round(float((smooth - 1).max() / np.sin(lat).max()), 6)  # exp(-(length / radius)^2)
    0.975666
    """
    obj = packed.unpacked(obj)
    spectral = _results.holds_coefficients(obj)
    source = None if spectral else Source.of(obj)
    limit = _degrees.top_degree(obj) if source is None else _kernels.resolve_lmax(source.grid, None, what="filter")
    bounds = {"lmin": lmin, "lmax": lmax, "min_wavelength": min_wavelength, "max_wavelength": max_wavelength}
    options = {"length": length, "order": order, "damping": damping, "radius": radius}
    if kind == "sharp" and all(x is None for x in bounds.values()):
        message = "filter came without bounds; wanted lmin, lmax, min_wavelength or max_wavelength, or a tapered kind"
        raise OptionError(message)
    low, high = degree_band(
        limit, lmin=lmin, lmax=lmax, min_wavelength=min_wavelength, max_wavelength=max_wavelength, radius=radius
    )
    if source is not None:
        high = _kernels.resolve_lmax(source.grid, high, what="filter")
    weights = degree_weights(kind, high, lmin=low, **options)
    call = cf.describe_call("filter", kind=kind, **bounds, **options, engine=engine)
    if source is None:
        return _degrees.weigh_coefficients(obj, weights, what="filter", call=call)
    chosen = _kernels.choose_engine(engine)
    return _degrees.weigh_fields(obj, weights, source, engine=chosen, what="filter", call=call)
