"""Labelled coefficients to and from the layouts of other software, lazily: see `layouts` for the plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import cf, optional
from xatmo._labels import changed_values, map_fields
from xatmo.errors import DimensionError, OptionError
from xatmo.spectral import _fields, _kernels, layouts, packed
from xatmo.spectral._fields import DEGREE, ORDER
from xatmo.typing import T

PART, COEFFICIENT = "part", "coefficient"
LAYOUTS: Final = ("pyshtools", "triangular", "ecmwf", "complex")
_DIMS: Final[dict[str, tuple[Hashable, ...]]] = {
    "pyshtools": (PART, DEGREE, ORDER),
    "triangular": (COEFFICIENT,),
    "ecmwf": (packed.VALUES,),
    "complex": (DEGREE, ORDER),
}


def _check(layout: str, norm: str, csphase: int) -> None:
    if layout not in LAYOUTS:
        message = f"layout={layout!r} came; wanted one of {LAYOUTS}"
        raise OptionError(message)
    if layout in ("triangular", "ecmwf") and (norm, csphase) != ("4pi", 1):
        message = f"norm={norm!r}, csphase={csphase!r} came with layout={layout!r}, which has its own; leave them out"
        raise OptionError(message)
    layouts.to_norm(np.zeros((1, 1)), norm=norm, csphase=csphase)  # refuses what is unknown


# ---------------------------------------------------------------------- blocks
def _outward(coefficients: Any, *, layout: str, options: dict[str, Any]) -> Any:
    array = _fields.square(_kernels.as_complex(coefficients))
    functions: dict[str, Callable[..., Any]] = {
        "pyshtools": layouts.to_pyshtools,
        "triangular": layouts.to_triangular,
        "complex": layouts.to_norm,
    }
    return functions[layout](array, **options)


def _inward(array: Any, *, layout: str, options: dict[str, Any]) -> Any:
    functions: dict[str, Callable[..., Any]] = {
        "pyshtools": layouts.from_pyshtools,
        "triangular": layouts.from_triangular,
        "complex": layouts.from_norm,
    }
    return functions[layout](array, **options)


# ---------------------------------------------------------------------- labelled
def to_layout(obj: T, layout: str, *, norm: str = "4pi", csphase: int = 1) -> T:
    """Give coefficients in the layout of other software.

    Parameters
    ----------
    obj : Dataset or DataArray
        Coefficients on ``degree`` and ``order``, whole, as `to_spectral` gives them, or packed on ``values``.
    layout : {"pyshtools", "triangular", "ecmwf", "complex"}
        ``"pyshtools"``: real cosine and sine coefficients on ``part`` (2), ``degree``, ``order``. ``"triangular"``:
        ducc0's and healpy's a(l, m) on ``coefficient``, all degrees of order 0 first. ``"ecmwf"``: GRIB's ``values``,
        see `to_packed`. ``"complex"``: as they are, in another norm.
    norm : {"4pi", "ortho", "schmidt", "unnorm"}
        Of the harmonics, as in pyshtools (``"pyshtools"`` and ``"complex"`` only): see `layouts`.
    csphase : {1, -1}
        -1 with the Condon-Shortley phase (the same two only).

    Returns
    -------
    Dataset or DataArray
        Lazy if the input was; in its precision. Attributes ``layout``, ``norm`` and ``csphase`` say what it is.

    Raises
    ------
    DimensionError
        If no variable holds coefficients.
    OptionError
        If layout, norm or phase are unknown or do not go together.
    CoordinateError, ChunkError
        As in `to_grid`.

    Examples
    --------
    >>> coefficients = xr.DataArray([[1, 0], [2, 3 + 4j]], dims=("degree", "order"))
    >>> to_layout(coefficients, "pyshtools", norm="schmidt").sel(degree=1).values / np.sqrt(3)
    array([[ 2.        ,  4.24264069], [ 0.        , -5.65685425]])
    """
    _check(layout, norm, csphase)
    obj = packed.unpacked(obj)
    if layout == "ecmwf":
        return packed.to_packed(obj)
    call = cf.describe_call("to_layout", layout=layout, norm=norm, csphase=csphase)
    options: dict[str, Any] = {} if layout == "triangular" else {"norm": norm, "csphase": csphase}
    said = {"norm": "ortho", "csphase": -1} if layout == "triangular" else options

    def one(da: xr.DataArray) -> xr.DataArray:
        lmax = _fields.require_convention(da, what="to_layout")
        single = _fields.is_single(da)
        sizes: dict[Hashable, int] = {
            PART: 2,
            DEGREE: lmax + 1,
            ORDER: lmax + 1,
            COEFFICIENT: layouts.triangular_size(lmax),
        }
        kinds = (np.float32, np.float64) if layout == "pyshtools" else (np.complex64, np.complex128)
        (out,) = _fields.apply(
            partial(_outward, layout=layout, options=options),
            [da],
            (DEGREE, ORDER),
            outputs=[{d: sizes[d] for d in _DIMS[layout]}],
            dtypes=[np.dtype(kinds[0] if single else kinds[1])],
            what="to_layout",
        )
        if layout != "triangular":
            out = _fields.placed(out, _fields.own(_fields.spectral_coords(lmax)))
        out.attrs = {**da.attrs, **said, "lmax": lmax, "layout": layout}
        return changed_values(out, da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=(DEGREE, ORDER), what="to_layout"), call)


def from_layout(obj: T, layout: str, *, norm: str = "4pi", csphase: int = 1) -> T:
    """Give coefficients as `to_spectral` does from those in the layout of other software: inverse of `to_layout`.

    Parameters
    ----------
    obj : Dataset or DataArray
        With the dimensions that `to_layout` gives, whole.
    layout, norm, csphase
        As in `to_layout`.

    Returns
    -------
    Dataset or DataArray
        Complex coefficients on ``degree`` and ``order``, with ``wavelength`` in metres.

    Raises
    ------
    DimensionError
        If no variable has the dimensions of the layout, or their sizes do not fit it.
    OptionError
        If layout, norm or phase are unknown or do not go together.
    ChunkError
        If one of these dimensions is split into chunks.

    Examples
    --------
    >>> alm = xr.DataArray(np.sqrt(4 * np.pi) * np.array([1, 2, -3 - 4j]), dims="coefficient")
    >>> from_layout(alm, "triangular").values.round(12)
    array([[1.+0.j, 0.+0.j], [2.+0.j, 3.+4.j]])
    """
    _check(layout, norm, csphase)
    dims = _DIMS[layout]
    call = cf.describe_call("from_layout", layout=layout, norm=norm, csphase=csphase)
    options: dict[str, Any] = {} if layout == "triangular" else {"norm": norm, "csphase": csphase}

    def one(da: xr.DataArray) -> xr.DataArray:
        if layout == "ecmwf":
            return packed.unpacked(da.assign_attrs(GRIB_gridType="sh"))
        lmax = layouts.triangular_lmax(da.sizes[COEFFICIENT]) if layout == "triangular" else da.sizes[DEGREE] - 1
        single = da.dtype.newbyteorder("=") in (np.float32, np.complex64)
        (out,) = _fields.apply(
            partial(_inward, layout=layout, options=options),
            [da],
            dims,
            outputs=[{DEGREE: lmax + 1, ORDER: lmax + 1}],
            dtypes=[np.dtype(np.complex64 if single else np.complex128)],
            what="from_layout",
        )
        out = _fields.placed(out, _fields.own(_fields.spectral_coords(lmax)))
        out.attrs = {k: v for k, v in _fields.coefficient_attrs(da, lmax).items() if k != "layout"}
        return changed_values(out, da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=dims, what="from_layout"), call)


# ---------------------------------------------------------------------- pyshtools' own objects
def to_pyshtools(da: xr.DataArray, *, norm: str = "4pi", csphase: int = 1) -> Any:
    """Make a `pyshtools.SHCoeffs` of one field's coefficients. This computes them.

    Parameters
    ----------
    da : DataArray
        Coefficients on ``degree`` and ``order``, or packed on ``values``, and no other dimension.
    norm, csphase
        As in `to_layout`.

    Returns
    -------
    pyshtools.SHCoeffs
        Real, with name and units.

    Raises
    ------
    DimensionError
        If there are other dimensions: select one index, or use ``to_layout(..., "pyshtools")``.
    OptionError
        If norm or phase are unknown.
    MissingDependencyError
        If pyshtools is not installed.
    """
    pyshtools = optional.require("pyshtools", extra="test", why="to_pyshtools")
    real = to_layout(da, "pyshtools", norm=norm, csphase=csphase)
    if real.ndim != 3:
        more = [d for d in real.dims if d not in _DIMS["pyshtools"]]
        message = (
            f"coefficients with the dimensions {tuple(map(str, more))} beside degree and order came; wanted one field. "
            f"Select one, da.isel({more[0]}=0), or take arrays: spectral.to_layout(da, 'pyshtools')"
        )
        raise DimensionError(message)
    values = np.ascontiguousarray(real.transpose(*_DIMS["pyshtools"]).values, dtype=np.float64)
    name, units = da.name if da.name is None else str(da.name), da.attrs.get("units")
    return pyshtools.SHCoeffs.from_array(
        values, normalization=norm, csphase=csphase, name=name, units=units, copy=False
    )


def from_pyshtools(coefficients: Any, *, norm: str | None = None, csphase: int | None = None) -> xr.DataArray:
    """Give coefficients as `to_spectral` does from a `pyshtools.SHCoeffs`, or from an array like its own.

    Parameters
    ----------
    coefficients : SHCoeffs or array (2, lmax + 1, lmax + 1)
        Of a real field. Complex `SHCoeffs` of real fields are converted.
    norm, csphase
        As in `to_layout`; an `SHCoeffs` knows its own. 4-pi without phase for an array, unless given.

    Returns
    -------
    DataArray
        On ``degree`` and ``order``.

    Raises
    ------
    OptionError
        If norm or phase contradict the object's, or are unknown.
    DimensionError
        If the array has another shape.

    Examples
    --------
    >>> from_pyshtools(np.array([[[1.0, 0], [2, 0]], [[0, 0], [0, 0]]])).values.real
    array([[1., 0.], [2., 0.]])
    """
    attrs: dict[str, Any] = {}
    name = None
    if hasattr(coefficients, "normalization"):
        own = (coefficients.normalization, coefficients.csphase)
        if (norm or own[0], csphase or own[1]) != own:
            message = f"norm={norm!r}, csphase={csphase!r} came, but the coefficients have {own}; leave them out"
            raise OptionError(message)
        norm, csphase = own
        real = coefficients.convert(kind="real", check=True) if coefficients.kind == "complex" else coefficients
        name, units = real.name, real.units
        attrs = {} if units is None else {"units": units}
        coefficients = real.to_array()
    values = layouts.from_pyshtools(coefficients, norm=norm or "4pi", csphase=1 if csphase is None else csphase)
    if values.ndim != 2:
        message = f"an array of shape {np.shape(coefficients)} came; wanted (2, lmax + 1, lmax + 1): one field"
        raise DimensionError(message)
    lmax = values.shape[-1] - 1
    out = xr.DataArray(values, _fields.own(_fields.spectral_coords(lmax)), (DEGREE, ORDER), name=name, attrs=attrs)
    out.attrs = _fields.coefficient_attrs(out, lmax)
    return cf.add_history(out, cf.describe_call("from_pyshtools", norm=norm, csphase=csphase))
