"""What a Dataset tells of its hybrid levels: which dimension they are, and the coefficients of those that are there."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import units
from xatmo.errors import CoordinateError, DimensionError, VariableError
from xatmo.typing import Floats
from xatmo.vertical.levels import HybridLevels

_STANDARD: Final = ("atmosphere_hybrid_sigma_pressure_coordinate", "hybrid_sigma_pressure")
_NAMES: Final = ("hybrid", "hybridLevel", "model_level")
_LONG: Final = re.compile(r"hybrid|model[ _]level", re.IGNORECASE)  # as in "model_level_number" of ECMWF's netCDF
_GENERAL: Final = ("level", "lev", "nlev", "mlev")  # may be any levels, where nothing else is said of them
_LOWEST: Final = 0.97  # of the pressure at the ground: the lowest level of a model lies below that
_FULL: Final = (("ap", "b"), ("hyam", "hybm"))
_HALF: Final = (("hyai", "hybi"), ("ap_bnds", "b_bnds"))


@dataclass(frozen=True)
class Known:
    """Coefficients of the levels of a dimension, in its order: ``p = a + b * surface_pressure``.

    Attributes
    ----------
    a, b : array (level,)
        In Pa, and 1.
    to_ground : bool
        Whether the lowest of them is the lowest of the model.
    """

    a: Floats
    b: Floats
    to_ground: bool


def hybrid_dimension(obj: xr.Dataset | xr.DataArray) -> Hashable | None:
    """Find the dimension of hybrid levels; None where there is none.

    It is known by the standard name of its coordinate, by a name such as ``"hybrid"`` or ``"model_level"``, or as
    ``"level"`` by what its long name or GRIB says of it.

    Raises
    ------
    DimensionError
        If there are several.

    Examples
    --------
    >>> level = ("level", [136, 137], {"long_name": "model_level_number"})
    >>> hybrid_dimension(xr.Dataset({"t": ("level", [280.0, 281.0])}, {"level": level}))
    'level'
    """
    told = [d for d in obj.dims if d in obj.coords and obj[d].attrs.get("standard_name") in _STANDARD]
    found = told or [d for d in obj.dims if d in _NAMES] or [d for d in obj.dims if d in _GENERAL and _said(obj, d)]
    if len(found) > 1:
        message = f"dimensions {', '.join(map(repr, found))} are hybrid levels; wanted one: say dim="
        raise DimensionError(message)
    return found[0] if found else None


def _said(obj: xr.Dataset | xr.DataArray, dim: Hashable) -> bool:
    about = str(obj[dim].attrs.get("long_name", "")) if dim in obj.coords else ""
    fields = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    kinds = {field.attrs.get("GRIB_typeOfLevel") for field in fields if dim in field.dims}
    return bool(_LONG.search(about)) or kinds == {"hybrid"}


def known_levels(obj: xr.Dataset | xr.DataArray, dim: Hashable, given: Any = None) -> Known:
    """Find the coefficients of the levels of a dimension.

    Parameters
    ----------
    obj : Dataset or DataArray
    dim : str
    given : optional
        What `HybridLevels.of` takes, in place of what ``obj`` says.

    Raises
    ------
    VariableError
        If none are known.
    DimensionError, CoordinateError, OptionError, UnitsError
        If they are of no use.
    """
    if obj.sizes[dim] < 2:
        message = f"{dim!r} has {obj.sizes[dim]} level; wanted two or more to interpolate between"
        raise DimensionError(message)
    if given is None:
        told = _of_these(obj, dim)
        if told is not None:
            return told
        given = _of_all(obj, dim)
    known = HybridLevels.of(given)
    numbers = _numbers(obj, dim, known)
    return Known(*known.full(numbers), to_ground=bool(numbers.max() == known.n_levels))


def coefficient_names(obj: xr.Dataset, dim: Hashable) -> list[Hashable]:
    """Name the variables that tell the coefficients of a dimension, and the surface pressure that belongs to them."""
    terms = set(_terms(obj, dim).values()) | {name for pair in (*_FULL, *_HALF) for name in pair} | {"P0"}
    bounds = obj[dim].attrs.get("bounds") if dim in obj.coords else None
    if bounds in obj.variables:
        terms |= {str(bounds), *_terms(obj, dim, str(bounds)).values()}
    return [name for name in obj.variables if name in terms]


def surface_term(obj: xr.Dataset | xr.DataArray, dim: Hashable) -> str | None:
    """Name of the surface pressure that the coordinate of levels names itself, as CF has it."""
    return _terms(obj, dim).get("ps")


def _terms(obj: xr.Dataset | xr.DataArray, dim: Hashable, of: str | None = None) -> dict[str, str]:
    """Read CF's ``formula_terms``: ``"ap: ap b: b ps: ps"``."""
    name = dim if of is None else of
    text = str(obj[name].attrs.get("formula_terms", "")) if name in obj.coords or name in obj else ""
    return dict(re.findall(r"(\w+):\s*(\w+)", text))


# ---------------------------------------------------------------------- coefficients
def _of_these(obj: xr.Dataset | xr.DataArray, dim: Hashable) -> Known | None:
    """Coefficients of the levels themselves, as CMIP's files and CDO's have them."""
    if not isinstance(obj, xr.Dataset):
        return None
    terms = _terms(obj, dim)
    pairs = [(terms[first], terms["b"]) for first in ("ap", "a") if {first, "b"} <= set(terms)]
    for names in (*pairs, *_FULL):
        if all(name in obj.variables and obj[name].dims == (dim,) for name in names):
            a, b = _pascals(obj, names[0], terms.get("p0", "P0")), obj[names[1]].values.astype(np.float64)
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                message = f"{names[0]!r} and {names[1]!r} of {dim!r} hold missing values; wanted a and b of each level"
                raise CoordinateError(message)
            pressure = a + b * 1e5
            if np.unique(pressure).size < pressure.size:
                message = f"{dim!r} holds a level twice; wanted each once"
                raise CoordinateError(message)
            return Known(a, b, to_ground=bool(pressure.max() > _LOWEST * 1e5))
    return None


def _of_all(obj: xr.Dataset | xr.DataArray, dim: Hashable) -> Any:
    """Coefficients of all half levels of the model."""
    fields = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    for field in fields:
        if dim in field.dims and "GRIB_pv" in field.attrs:
            return field.attrs["GRIB_pv"]
    if isinstance(obj, xr.Dataset) and {"hyai", "hybi"} <= set(obj.variables):
        return _pascals(obj, "hyai", "P0"), obj["hybi"].values
    message = (
        f"no coefficients of {dim!r} came: neither GRIB_pv (cfgrib with read_keys=['pv']), hyai and hybi, nor ap and b "
        "on the levels; give coefficients=(a, b) of the half levels, or 'L137' for ERA5"
    )
    raise VariableError(message)


def _pascals(obj: xr.Dataset, name: str, reference: str) -> Floats:
    a = obj[name]
    if reference in obj.variables and a.attrs.get("units", "1") == "1":  # as CESM writes them
        a = (a * units.convert(obj[reference], "Pa")).assign_attrs(units="Pa")
    found: Floats = units.convert(a, "Pa").values.astype(np.float64)
    return found


def _numbers(obj: xr.Dataset | xr.DataArray, dim: Hashable, known: HybridLevels) -> Floats:
    if dim in obj.coords:
        if obj[dim].dtype.kind not in "fiu":
            message = f"{dim!r} has labels of type {obj[dim].dtype}; wanted the numbers of levels, from 1, the highest"
            raise CoordinateError(message)
        numbers = obj[dim].values.astype(np.float64)
    elif obj.sizes[dim] == known.n_levels:
        numbers = np.arange(1.0, known.n_levels + 1)
    else:
        message = (
            f"{dim!r} has no coordinate, and {obj.sizes[dim]} levels where the coefficients have {known.n_levels}; "
            "wanted the numbers of levels as its coordinate"
        )
        raise CoordinateError(message)
    if np.unique(numbers).size < numbers.size:
        message = f"{dim!r} holds a level twice; wanted each once"
        raise CoordinateError(message)
    known.full(numbers)
    return numbers
