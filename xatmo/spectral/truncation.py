"""Low-pass filtering on the sphere: degrees above a limit removed, those below tapered if wanted."""

from __future__ import annotations

import xarray as xr

from xatmo import cf
from xatmo._labels import map_fields
from xatmo.errors import OptionError
from xatmo.spectral import _degrees, _fields, _kernels, _results, packed
from xatmo.spectral._fields import DEGREE, ORDER, Source
from xatmo.spectral.filters import degree_weights
from xatmo.typing import Floats, SpectralEngine, T

TAPERS = ("exponential", "lanczos")


def taper_weights(lmax: int, taper: str | None) -> Floats:
    """Weight of every degree from 0 to ``lmax``, ``(lmax + 1,)``.

    ``None``: 1. ``"exponential"``: ``exp(-ln(10) (n (n + 1) / (lmax (lmax + 1)))**2)``, the filter of Sardeshmukh and
    Hoskins [1]_: 1 at degree 0, 0.1 at ``lmax``, a fourth-order diffusion in between. ``"lanczos"``:
    ``sinc(n / (lmax + 1))``, the sigma factors that suppress Gibbs oscillations. See `degree_weights` for others.

    Raises
    ------
    OptionError
        If the taper is unknown.

    References
    ----------
    .. [1] P. D. Sardeshmukh and B. J. Hoskins, 1984: Spatial smoothing on the sphere. Mon. Wea. Rev. 112, 2524-2529.

    Examples
    --------
    >>> taper_weights(2, "exponential")
    array([1. , 0.77426368, 0.1 ])
    """
    if taper is not None and taper not in TAPERS:
        message = f"taper={taper!r} came; wanted one of {TAPERS}, or None for a sharp cut"
        raise OptionError(message)
    return degree_weights("sharp" if taper is None else taper, lmax)


def truncate(obj: T, lmax: int, *, taper: str | None = None, engine: SpectralEngine | None = None) -> T:
    """Remove the degrees above ``lmax`` (triangular truncation), on the same grid.

    A CF wind pair in a Dataset is filtered as a vector: through its rotational and divergent parts, which is the same
    as truncating vorticity and divergence.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid, latitude and longitude whole; or coefficients on ``degree`` and ``order``.
    lmax : int
        Highest degree kept: 63 for T63.
    taper : {"exponential", "lanczos"}, optional
        Weights that fall towards ``lmax``, so that sharp features do not ring; see `taper_weights`. By default all
        degrees kept have weight 1.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        Like the input: dtype (integers become float64), dimension order, coordinates, attributes. Coefficients lose
        the degrees and orders above ``lmax``.

    Raises
    ------
    GridError, OptionError, ChunkError, MissingValueError
        As in `to_spectral`; `OptionError` also for an unknown taper, or more degrees than there are.

    Examples
    --------
    >>> import numpy as np
    >>> from xatmo import Grid
    >>> grid = Grid.gaussian(16)
    >>> field = xr.DataArray(np.ones(grid.shape), grid.coords(), ("latitude", "longitude"))
    >>> bool(abs(truncate(field, 5, taper="exponential") - field).max() < 1e-12)
    True
    """
    obj = packed.unpacked(obj)
    if _results.holds_coefficients(obj):
        return _cut(obj, _kernels.check_degree(lmax), taper)
    source = Source.of(obj)
    top = _kernels.resolve_lmax(source.grid, _kernels.check_degree(lmax), what="truncate")
    weights = taper_weights(top, taper)
    chosen = _kernels.choose_engine(engine)
    call = cf.describe_call("truncate", lmax=top, taper=taper, engine=engine)
    return _degrees.weigh_fields(obj, weights, source, engine=chosen, what="truncate", call=call)


def _cut(obj: T, top: int, taper: str | None) -> T:
    """Coefficients up to a degree, tapered."""
    have = _degrees.top_degree(obj)
    if top > have:
        message = f"lmax={top} came, but these coefficients end at degree {have}; wanted lmax <= {have}"
        raise OptionError(message)
    weights = taper_weights(top, taper)

    def one(da: xr.DataArray) -> xr.DataArray:
        _fields.require_convention(da, what="truncate")
        kept: xr.DataArray = da.isel({DEGREE: slice(top + 1), ORDER: slice(top + 1)})
        if "lmax" in da.attrs:
            kept.attrs = {**da.attrs, "lmax": top}
        return kept

    cut = map_fields(obj, one, dims=(DEGREE, ORDER), what="truncate")
    call = cf.describe_call("truncate", lmax=top, taper=taper)
    if taper is None:
        return cf.add_history(cut, call)
    return _degrees.weigh_coefficients(cut, weights, what="truncate", call=call)
