"""Spectral fields as GRIB readers give them, packed on one ``values`` axis: to ``degree``, ``order``, and back.

cfgrib, and the ARCO-ERA5 stores ``co/model-level-wind`` and ``co/single-level-surface`` that were made with it, keep
the (T + 1) (T + 2) real numbers of a triangular truncation T as they stand in the message: real and imaginary part in
turn, all degrees of order 0 first [1]_. T639 gives 410240 of them. The harmonics are ours already, so unpacking moves
numbers and changes none.

References
----------
.. [1] WMO, Manual on Codes, GRIB 2: grid definition template 3.50, spherical harmonic coefficients.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields
from xatmo.errors import DimensionError, GridError, OptionError
from xatmo.spectral import _fields, _kernels, layouts
from xatmo.spectral._fields import DEGREE, ORDER
from xatmo.typing import Complexes, Floats, T, XarrayObject

VALUES: Final = "values"
_RESOLUTION: Final = ("J", "K", "M")
_PREFIXES: Final = ("GRIB_", "GRIB_pentagonalResolutionParameter")
_GRID_TYPES: Final = ("GRIB_gridType", "gridType")
_FALSE_ONCE_UNPACKED: Final = tuple(p + k for p in _PREFIXES for k in _RESOLUTION)


# ---------------------------------------------------------------------- recognising
def _resolution(da: xr.DataArray) -> tuple[int, ...] | None:
    """Read the pentagonal resolution parameters J, K, M, if the attributes give any."""
    found = [da.attrs[p + k] for k in _RESOLUTION for p in _PREFIXES if p + k in da.attrs]
    return tuple(int(x) for x in found) or None


def packed_dim(da: xr.DataArray) -> Hashable | None:
    """Dimension on which the coefficients of a spectral field are packed, or None if the field is no such thing.

    A field is one if its attributes say so (``GRIB_gridType`` is ``"sh"``, or J, K, M are given) and it has a
    dimension ``values``, or one as long as they say. Without such attributes, which get lost in computations, it is one
    if ``values`` carries no coordinates and has (T + 1) (T + 2) numbers.

    Examples
    --------
    >>> packed_dim(xr.DataArray(np.zeros((3, 6)), dims=("time", "values"), attrs={"GRIB_gridType": "sh"}))
    'values'
    """
    told = next((str(da.attrs[k]) for k in _GRID_TYPES if k in da.attrs), None)
    resolution = _resolution(da)
    if _fields.is_spectral(da) or da.dtype.kind not in "fiu" or (told or "sh") != "sh":
        return None
    if (told, resolution) == (None, None):
        return VALUES if cf.packs_harmonics(da) else None
    if VALUES in da.dims:
        return VALUES
    if resolution is None:
        return None
    size = 2 * layouts.triangular_size(max(resolution))
    return next((d for d in reversed(da.dims) if da.sizes[d] == size), None)


def is_packed(obj: XarrayObject) -> bool:
    """Tell whether a field, or a variable of a Dataset, holds packed coefficients.

    Examples
    --------
    >>> is_packed(xr.DataArray(np.zeros(6), dims="values", attrs={"GRIB_gridType": "reduced_gg"}))
    False
    """
    arrays = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    return any(packed_dim(da) is not None for da in arrays)


def stored_lmax(da: xr.DataArray, dim: Hashable = VALUES) -> int:
    """Give the truncation T of a packed field.

    Raises
    ------
    GridError
        If the truncation is not triangular.
    DimensionError
        If the number of values is not that of the truncation.
    """
    resolution = _resolution(da)
    size = da.sizes[dim]
    if resolution is None:
        return layouts.triangular_lmax(size // 2 if size % 2 == 0 else 0)
    if len(set(resolution)) > 1:
        given = ", ".join(f"{k}={x}" for k, x in zip(_RESOLUTION, resolution, strict=False))
        message = f"variable {da.name!r} has a truncation that is not triangular ({given}); wanted J = K = M"
        raise GridError(message)
    lmax = resolution[0]
    if size != 2 * layouts.triangular_size(lmax):
        message = (
            f"variable {da.name!r} has {size} numbers on {dim!r}, but its attributes say T{lmax}; wanted all "
            f"{2 * layouts.triangular_size(lmax)}, (T + 1) (T + 2). Cut degrees with to_spectral(lmax=) instead"
        )
        raise DimensionError(message)
    return lmax


# ---------------------------------------------------------------------- blocks
def _unpack(values: Any, *, lmax: int) -> Complexes:
    return layouts.from_ecmwf(values, lmax=lmax)


def _pack(coefficients: Any) -> Floats:
    return layouts.to_ecmwf(_fields.square(_kernels.as_complex(coefficients)))


# ---------------------------------------------------------------------- labelled
def unpacked(obj: T, *, lmax: int | None = None) -> T:
    """Give coefficients on ``degree`` and ``order`` from those on a packed axis; anything else is given back untouched.

    Every spectral function that takes coefficients calls this first, so that an opened GRIB message or ARCO-ERA5
    store can be used as it stands.

    Parameters
    ----------
    obj : Dataset or DataArray
        In a Dataset every spectral variable is unpacked, also one that lost its attributes in a computation but lies
        on the same axis. Others stay as they are.
    lmax : int, optional
        Highest degree to keep; all by default.

    Returns
    -------
    Dataset or DataArray
        complex64 from float32, complex128 otherwise; degree and order stand where the packed axis stood, with
        ``wavelength`` in metres. Attributes are kept, those of GRIB too, but for what describes the packed axis.

    Raises
    ------
    GridError
        If a truncation is not triangular.
    DimensionError
        If the number of values is not that of the truncation.
    OptionError
        If ``lmax`` is more than there is.
    ChunkError
        If the packed axis is split into chunks.

    Examples
    --------
    >>> message = xr.DataArray([1.0, 0, 2, 0, 3, 4], dims="values", attrs={"GRIB_gridType": "sh", "units": "K"})
    >>> unpacked(message).values
    array([[1.+0.j, 0.+0.j], [2.+0.j, 3.+4.j]])
    """
    if not is_packed(obj):
        return obj
    if isinstance(obj, xr.DataArray):
        return _one(obj, packed_dim(obj), lmax)
    found = {d for da in obj.data_vars.values() if (d := packed_dim(da)) is not None}
    done: dict[Hashable, xr.DataArray] = {}
    for name, da in obj.data_vars.items():
        shared = found & set(da.dims)
        bare = da.dtype.kind in "fiu" and not any(k in da.attrs for k in _GRID_TYPES)  # lost its attributes on the way
        dim = packed_dim(da) or (shared.pop() if shared and bare else None)
        if dim is not None:
            done[name] = _one(da, dim, lmax)
    kept = {n: da for n, da in obj.data_vars.items() if n not in done and not found & set(da.dims)}
    return xr.Dataset({n: done.get(n, kept.get(n)) for n in obj.data_vars if n in done or n in kept}, attrs=obj.attrs)


def _one(da: xr.DataArray, dim: Any, lmax: int | None) -> xr.DataArray:
    stored = stored_lmax(da, dim)
    top = _check_lmax(lmax, stored)
    (out,) = _fields.apply(
        partial(_unpack, lmax=top),
        [da],
        (dim,),
        outputs=[{DEGREE: top + 1, ORDER: top + 1}],
        dtypes=[_fields.complex_type(da)],
        what="unpacking coefficients",
    )
    out = _fields.placed(out, _fields.own(_fields.spectral_coords(top)))
    out.attrs = {k: v for k, v in _fields.coefficient_attrs(da, top).items() if k not in _FALSE_ONCE_UNPACKED}
    order = [d for old in da.dims for d in ((DEGREE, ORDER) if old == dim else (old,))]
    out = out if order == list(out.dims) else out.transpose(*order)
    return changed_values(out, da, reshaped=True).rename(da.name)


def _check_lmax(lmax: int | None, stored: int) -> int:
    top = stored if lmax is None else _kernels.check_degree(lmax)
    if top > stored:
        message = f"lmax={top} came, but the coefficients end at degree {stored}; wanted lmax <= {stored}"
        raise OptionError(message)
    return top


def stored_coefficients(obj: T, *, lmax: int | None = None) -> T | None:
    """Give what `to_spectral` makes of an object that holds coefficients already, packed or not; None if it does not.

    Raises
    ------
    OptionError
        If ``lmax`` is more than there is.
    """
    if is_packed(obj):
        return unpacked(obj, lmax=lmax)
    if DEGREE not in obj.dims or ORDER not in obj.dims:
        return None
    if lmax is None:
        return obj
    cut = slice(_check_lmax(lmax, obj.sizes[DEGREE] - 1) + 1)

    def one(da: xr.DataArray) -> xr.DataArray:
        return da.isel({DEGREE: cut, ORDER: cut}).assign_attrs(lmax=cut.stop - 1)

    return map_fields(obj, one, dims=(DEGREE, ORDER), what="to_spectral")


def to_packed(obj: T) -> T:
    """Pack coefficients on one ``values`` axis, as GRIB readers and the ARCO-ERA5 stores have them.

    Parameters
    ----------
    obj : Dataset or DataArray
        Coefficients on ``degree`` and ``order``, whole, as `to_spectral` gives them.

    Returns
    -------
    Dataset or DataArray
        Real numbers on ``values``, ``(lmax + 1) (lmax + 2)`` of them: float32 from complex64, float64 from complex128.
        Attributes ``GRIB_gridType``, ``GRIB_J``, ``GRIB_K``, ``GRIB_M`` and ``GRIB_numberOfPoints`` describe them.

    Raises
    ------
    DimensionError
        If no variable has dimensions ``degree`` and ``order``.
    CoordinateError
        If degrees or orders do not run 0, 1, 2, ...
    OptionError
        If the attributes state another convention.
    ChunkError
        If degree or order is split into chunks.

    Examples
    --------
    >>> packed = to_packed(xr.DataArray([[1, 0], [2, 3 + 4j]], dims=("degree", "order")))
    >>> packed.values, packed.attrs["GRIB_J"]
    (array([1., 0., 2., 0., 3., 4.]), 1)
    """

    def one(da: xr.DataArray) -> xr.DataArray:
        lmax = _fields.require_convention(da, what="to_packed")
        size = 2 * layouts.triangular_size(lmax)
        single = _fields.is_single(da)
        (out,) = _fields.apply(
            _pack,
            [da],
            (DEGREE, ORDER),
            outputs=[{VALUES: size}],
            dtypes=[np.dtype(np.float32 if single else np.float64)],
            what="to_packed",
        )
        resolution = dict.fromkeys(("GRIB_J", "GRIB_K", "GRIB_M"), lmax)
        named = {"GRIB_gridDefinitionDescription": "Spherical harmonic coefficients", "GRIB_gridType": "sh"}
        out.attrs = {**_fields.field_attrs(da), **resolution, **named, "GRIB_numberOfPoints": size}
        out = _fields.replace_dims(out, da, {DEGREE: VALUES})
        return changed_values(out, da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=(DEGREE, ORDER), what="to_packed"), cf.describe_call("to_packed"))
