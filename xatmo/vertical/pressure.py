"""Labelled fields from hybrid levels to pressures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from xatmo import cf, units
from xatmo._labels import changed_values, map_fields, require_whole, true_attrs
from xatmo.constants import DRY_AIR_CONSTANT, GRAVITY, LAPSE_RATE
from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.typing import Floats, T
from xatmo.vertical._kernels import Rule, first_needed, interpolate
from xatmo.vertical._known import coefficient_names, hybrid_dimension, known_levels, surface_term

Below = Literal["extrapolate", "nearest", "nan"]

LAPSE_EXPONENT: Final = LAPSE_RATE * DRY_AIR_CONSTANT / GRAVITY
"""Of the ratio of pressures, to which temperature is proportional where it falls by 6.5 K per kilometre: 0.19."""

DIM: Final = "pressure_level"
_HIGHEST: Final = 1200.0  # hPa: what is asked for beyond was meant in Pa
_SURFACE: Final = ("sp", "surface_pressure", "lnsp", "logarithm_of_surface_pressure", "ps")
_GROUND: Final = ("air_temperature", "t", "temperature")
_HEIGHTS: Final = ("geopotential", "geopotential_height", "z", "gh")
_OF_LEVELS: Final = ("GRIB_pv", "GRIB_NV", "GRIB_typeOfLevel", "GRIB_level")


def to_pressure(
    obj: T,
    levels: float | Sequence[float],
    *,
    surface_pressure: Hashable | xr.DataArray | None = None,
    coefficients: Any = None,
    dim: Hashable | None = None,
    method: Literal["log", "linear"] = "log",
    below: Below = "extrapolate",
    outside: Literal["raise", "nan"] = "raise",
) -> T:
    r"""Bring fields from hybrid levels of a model to levels of pressure.

    With the pressures :math:`p_k = a_k + b_k p_s` of a column (`HybridLevels`), between the levels around :math:`p`

    .. math::
        f(p) = (1 - w) f_k + w f_{k+1}, \qquad w = \frac{\ln p - \ln p_k}{\ln p_{k+1} - \ln p_k}

    as is usual for temperature and wind; ``method="linear"`` takes pressures instead of their logarithms. Below the
    lowest level n temperature goes on as where it falls by 6.5 K per kilometre, in hydrostatic balance and in kelvin,

    .. math:: T(p) = T_n \left(\frac{p}{p_n}\right)^{R \Gamma / g}, \qquad R \Gamma / g = 0.190,

    which is what ECMWF does where the ground lies lower than 2000 m; other fields keep the value of that level.

    Parameters
    ----------
    obj : Dataset or DataArray
        With a dimension of hybrid levels, whose coordinate holds their numbers from 1, the highest: all, or some, in
        any order. Variables without it pass through.
    levels : float or sequence of float
        Pressures in hPa.
    surface_pressure : str or DataArray, optional
        Of the same columns, or its logarithm (``lnsp``). Unless given, found in the Dataset by name.
    coefficients : HybridLevels, "L137", pair of arrays, or array, optional
        Of the half levels, see `HybridLevels.of`: ``"L137"`` for ERA5. Unless given, ``pv`` of GRIB
        (``xarray.open_dataset(..., engine="cfgrib", backend_kwargs={"read_keys": ["pv"]})``), or ``hyai`` and ``hybi``
        in the Dataset, or coefficients of the levels themselves as CF's ``formula_terms`` name them (CMIP's ``ap`` and
        ``b``).
    dim : str, optional
        The dimension of levels, where its metadata do not tell.
    method : {"log", "linear"}
    below : {"extrapolate", "nearest", "nan"}
        Below the lowest level of the model: as above; the value of that level for temperature, too; or NaN. Between
        that level and the ground the same.
    outside : {"raise", "nan"}
        Where a pressure has no level on one side, since only some levels are there, or it is above the highest.

    Returns
    -------
    Dataset or DataArray
        With ``pressure_level`` in hPa, in the order that was asked for, in place of the levels; a single number gives
        no dimension. float32 stays float32. Lazy where the input is, a task for a chunk. Missing values spread no
        further than to pressures next to their level.

    Raises
    ------
    DimensionError
        If there is no dimension of levels, or fewer than two of them.
    CoordinateError
        If levels have no such numbers, the surface pressure is of another place or time, or (when computed) a pressure
        lies outside the levels.
    VariableError
        If there is no surface pressure, or no coefficients are known.
    UnitsError
        If the surface pressure is not one, or temperature that goes on below has no units.
    ChunkError
        If the levels lie in several chunks.
    OptionError
        If another setting has no usable value.

    Notes
    -----
    Geopotential cannot go on below the ground as other fields do: for it ``below`` has to be ``"nan"``.

    Examples
    --------
    >>> from xatmo.vertical import HybridLevels
    >>> levels = HybridLevels.of("L137")
    >>> pressure = levels.pressure(np.array([101325.0, 80000.0]))  # two columns, one on a mountain
    >>> t = xr.DataArray(
    ...     288.15 * (pressure / 101325) ** LAPSE_EXPONENT, {"hybrid": np.arange(1, 138)}, ["x", "hybrid"], name="t",
    ...     attrs={"units": "K"},
    ... )
    >>> surface = xr.DataArray([101325.0, 80000.0], dims="x", attrs={"units": "Pa"})
    >>> to_pressure(t, [850, 500], surface_pressure=surface, coefficients="L137").round(2).values
    array([[278.68, 251.92],
           [278.68, 251.92]])
    """
    if method not in ("log", "linear") or below not in ("extrapolate", "nearest", "nan"):
        message = (
            f"method={method!r}, below={below!r} came; wanted 'log' or 'linear', and 'extrapolate', 'nearest' or 'nan'"
        )
        raise OptionError(message)
    if outside not in ("raise", "nan"):
        message = f"outside={outside!r}; wanted 'raise' or 'nan'"
        raise OptionError(message)
    targets = _targets(levels)
    where = _dimension(obj, dim)
    known = known_levels(obj, where, coefficients)
    surface = _surface(obj, surface_pressure, where)
    # From the top down, whatever the order of the file; and of the levels those alone that can count.
    order = np.argsort(known.a + known.b * 1e5)
    order = order[first_needed(known.a[order], known.b[order], 100 * float(targets.min())) :]
    a, b = known.a[order], known.b[order]
    rule = Rule(logarithmic=method == "log", to_ground=known.to_ground, mask_outside=outside == "nan")

    def one(whole: xr.DataArray) -> xr.DataArray:
        field = whole.isel({where: _slice(order)})
        require_whole(field, [where], what="to_pressure")
        mine = _surface_of(field, surface, where)
        power = _power(field, below)
        kernel = partial(
            _columns, a=a, b=b, targets=100 * targets, rule=replace(rule, exponent=power),
            what=f"to_pressure of {field.name!r}",
        )  # fmt: skip
        read = units.convert(field, "K") if power else field  # degrees Celsius are no multiple of anything
        out: xr.DataArray = xr.apply_ufunc(
            kernel, read.drop_vars([where], errors="ignore"), mine, input_core_dims=[[where], []],
            output_core_dims=[[DIM]], exclude_dims={where}, dask="parallelized", output_dtypes=[_float_of(field)],
            dask_gufunc_kwargs={"output_sizes": {DIM: targets.size}}, keep_attrs=False, join="exact",
        )  # fmt: skip
        if read is not field:
            out = units.convert(out.assign_attrs(units="K"), str(field.attrs["units"]))
        out.attrs = {k: v for k, v in true_attrs(field).items() if k not in _OF_LEVELS}
        out = out.transpose(*(DIM if d == where else d for d in field.dims))
        axis = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
        kept = {n: c for n, c in field.coords.items() if where not in c.dims and n != where}
        out = changed_values(out.assign_coords(kept | {DIM: (DIM, targets, axis)}), field, reshaped=True)
        return out if np.ndim(levels) else out.isel({DIM: 0})

    done = map_fields(_fields_of(obj, where), one, dims=[where], what="to_pressure", kinds="fiu")
    call = cf.describe_call("to_pressure", levels=np.asarray(levels).tolist(), method=method, below=below)
    return cf.add_history(done, call)


def is_height(field: xr.DataArray) -> bool:
    """Whether a field is geopotential or its height, of which there is none below the ground."""
    return _called(field, _HEIGHTS)


def _targets(levels: Any) -> Floats:
    try:
        targets = np.atleast_1d(np.asarray(levels, np.float64))
    except (TypeError, ValueError):
        targets = np.empty(0)
    if targets.ndim != 1 or not targets.size or not ((targets > 0) & (targets <= _HIGHEST)).all():
        message = f"levels={levels!r} came; wanted pressures in hPa, above 0 and up to {_HIGHEST:g}"
        raise OptionError(message)
    return targets


def _columns(field: Floats, surface: Floats, **settings: Any) -> Floats:
    return interpolate(field.astype(np.float64) if field.dtype.kind != "f" else field, surface, **settings)


def _slice(order: Any) -> Any:
    """Give levels that follow each other as a slice, which copies nothing."""
    step = int(order[1] - order[0])
    if abs(step) != 1 or not (np.diff(order) == step).all():
        return order
    end = int(order[-1]) + step
    return slice(int(order[0]), end if end >= 0 else None, step)


def _float_of(field: xr.DataArray) -> np.dtype[Any]:
    return field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)


def _called(field: xr.DataArray, names: Sequence[str]) -> bool:
    known = (field.attrs.get("standard_name"), field.attrs.get("GRIB_shortName"), field.name)
    return next((str(name) in names for name in known if name is not None), False)


def _power(field: xr.DataArray, below: Below) -> float | None:
    """Exponent of the ratio of pressures below the lowest level."""
    if below == "nan":
        return None
    if is_height(field):
        message = f"below={below!r} for {field.name!r}, a height, which no level's value goes on for; wanted 'nan'"
        raise OptionError(message)
    return LAPSE_EXPONENT if below == "extrapolate" and _called(field, _GROUND) else 0.0


def _dimension(obj: xr.Dataset | xr.DataArray, dim: Hashable | None) -> Hashable:
    if dim is not None:
        if dim not in obj.dims:
            message = f"dim={dim!r}: dimensions are {tuple(map(str, obj.dims))}; wanted one of them"
            raise DimensionError(message)
        return dim
    found = hybrid_dimension(obj)
    if found is None:
        message = (
            f"dimensions {tuple(map(str, obj.dims))} came; wanted one of hybrid levels, known by its standard_name or "
            "by a name such as 'hybrid': say dim="
        )
        raise DimensionError(message)
    return found


# ---------------------------------------------------------------------- surface pressure
def _surface(obj: xr.Dataset | xr.DataArray, given: Any, dim: Hashable) -> xr.DataArray:
    """Surface pressure in Pa, without the dimension of levels."""
    if isinstance(given, xr.DataArray):
        found = given
    else:
        if not isinstance(given, Hashable):
            message = f"surface_pressure came as {type(given).__name__}; wanted a DataArray, or its name in the Dataset"
            raise OptionError(message)
        fields = obj.data_vars if isinstance(obj, xr.Dataset) else {}
        told = [n for n, v in fields.items() if v.attrs.get("standard_name") == "surface_air_pressure"]
        named = [n for n in (surface_term(obj, dim),) if n in fields]
        names = [given] if given is not None else [*named, *told, *(n for n in _SURFACE if n in fields)]
        if not names or names[0] not in fields:
            asked = f"surface_pressure={given!r}" if given is not None else "no surface pressure"
            message = f"{asked} among {list(map(str, fields))}; wanted sp or lnsp: give surface_pressure="
            raise VariableError(message)
        found = fields[names[0]]
    if dim in found.dims:  # GRIB has the logarithm on level 1
        highest = int(np.argmin(found[dim].values)) if dim in found.coords else 0
        if _is_logarithm(found) and dim in found.coords and found[dim].values[highest] != 1:
            message = (
                f"{found.name!r} lies on level 1, and level {found[dim].values[highest]:g} is the highest here; give "
                "surface_pressure= from before levels were selected"
            )
            raise CoordinateError(message)
        found = found.isel({dim: highest})
    found = found.drop_vars([dim], errors="ignore")
    if _is_logarithm(found):
        pressure: xr.DataArray = xr.apply_ufunc(np.exp, found.astype(np.float64), dask="allowed")
        return pressure.assign_attrs(units="Pa")
    return units.convert(found.astype(np.float64), "Pa")


def _is_logarithm(field: xr.DataArray) -> bool:
    names = {str(n).lower() for n in (field.name, field.attrs.get("GRIB_shortName")) if n is not None}
    return bool(names & {"lnsp", "logarithm_of_surface_pressure"})


def _fields_of(obj: T, dim: Hashable) -> T:
    """Leave out what is no field on the levels: coefficients, and the logarithm of surface pressure on one of them."""
    if isinstance(obj, xr.DataArray):
        return obj
    known = coefficient_names(obj, dim)
    lies = {n: v for n, v in obj.data_vars.items() if dim in v.dims}
    return obj.drop_vars([n for n, v in lies.items() if n in known or _is_logarithm(v)])


def _surface_of(field: xr.DataArray, surface: xr.DataArray, dim: Hashable) -> xr.DataArray:
    strange = [d for d in surface.dims if d not in field.dims]
    if strange:
        message = f"the surface pressure has {strange[0]!r}, which {field.name!r} has not; wanted {field.dims}"
        raise DimensionError(message)
    for d in surface.dims:
        if field.sizes[d] != surface.sizes[d]:
            message = f"surface pressure has {surface.sizes[d]} of {d!r}; wanted {field.sizes[d]}"
            raise CoordinateError(message)
        if d in field.coords and d in surface.coords and not _same(field[d].values, surface[d].values):
            message = f"surface pressure and {field.name!r} differ in {d!r}; wanted the same columns: select them first"
            raise CoordinateError(message)
    single = [c for c in surface.coords if not surface[c].dims and c in field.coords and field[c].ndim < 2]
    for c in single:
        here = np.unique(field[c].values)
        if here.size and not _same(here, surface[c].values.reshape(1)):
            message = (
                f"the surface pressure is of {c} {surface[c].values}, {field.name!r} of {here[0]}"
                + (f" to {here[-1]}" if here.size > 1 else "")
                + f"; wanted the same, or a surface pressure for all: .drop_vars({c!r})"
            )
            raise CoordinateError(message)
    # Dimensions in the order of the field's, so that blocks fit one another; coordinates are the field's.
    ordered = surface.transpose(*(d for d in field.dims if d in surface.dims))
    return ordered.drop_vars(list(ordered.coords))


def _same(one: Any, other: Any) -> bool:
    if one.dtype.kind == other.dtype.kind == "f" and one.shape == other.shape:
        return bool(np.allclose(one, other, rtol=0, atol=1e-4))  # degrees in float32
    return bool(np.array_equal(one, other))
