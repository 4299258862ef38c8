"""What a normalizer takes from fields and from given statistics, checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.typing import XarrayObject

# Labels that differ by less than this part of the spacing are the same: float32 files against float64 ones.
_SAME_LABEL = 1e-3

Given = Mapping[Hashable, Any] | xr.Dataset | xr.DataArray | float


# ---------------------------------------------------------------------- variables and dimensions
def numeric(obj: XarrayObject) -> dict[Hashable, xr.DataArray]:
    """Fields that have statistics: numbers, but neither masks, bounds of coordinates, nor grid mappings."""
    if isinstance(obj, xr.DataArray):
        candidates: dict[Hashable, xr.DataArray] = {"field" if obj.name is None else obj.name: obj}
    else:
        others = cf.auxiliary(obj)
        candidates = {n: v for n, v in obj.data_vars.items() if n not in others}
    numeric = {n: v for n, v in candidates.items() if v.dtype.kind in "fiu"}
    if not numeric:
        shown = {str(n): str(v.dtype) for n, v in candidates.items()}
        message = f"no numeric variable to normalize among {shown}; wanted floats or integers"
        raise VariableError(message)
    return numeric


def dims(field: xr.DataArray, dim: Hashable | Sequence[Hashable] | None) -> list[Hashable]:
    if dim is None:
        return list(field.dims)
    return [d for d in several(dim) if d in field.dims]


def several(dim: Hashable | Sequence[Hashable]) -> list[Hashable]:
    return [dim] if isinstance(dim, str) or not isinstance(dim, Sequence) else list(dim)


def check_dims(obj: XarrayObject, dim: Hashable | Sequence[Hashable] | None) -> None:
    missing = [] if dim is None else [d for d in several(dim) if d not in obj.dims]
    if missing:
        message = f"no dimension {missing[0]!r} to reduce; the data have {tuple(map(str, obj.dims))}"
        raise DimensionError(message)


def floating(da: xr.DataArray) -> xr.DataArray:
    if da.dtype.kind == "f" and da.dtype.itemsize >= 4:
        return da.astype(da.dtype.newbyteorder("="), copy=False)
    return da.astype(np.float32 if da.dtype.kind == "f" else np.float64)


def matched(numbers: xr.DataArray, field: xr.DataArray, name: str) -> xr.DataArray:
    """Statistics in the order of the field's own coordinates."""
    for d in numbers.dims:
        if d not in field.dims:
            message = f"the statistics of {name!r} are by {d!r}, which the field {field.dims} does not have"
            raise DimensionError(message)
        if d in numbers.coords and d in field.coords:
            index = _positions(numbers.get_index(d), field.get_index(d))
            if (index < 0).any():
                lacking = field[d].values[index < 0][:3]
                message = (
                    f"the statistics of {name!r} have no {d!r} {', '.join(map(str, lacking))}; fit them on all of {d!r}"
                )
                raise CoordinateError(message)
            numbers = numbers.isel({d: index})
        elif numbers.sizes[d] != field.sizes[d]:
            message = (
                f"the statistics of {name!r} have {numbers.sizes[d]} points along {d!r}, the field {field.sizes[d]}; "
                "wanted the same"
            )
            raise DimensionError(message)
    return numbers.drop_vars(list(numbers.coords))


def _positions(known: pd.Index, wanted: pd.Index) -> NDArray[np.intp]:
    """Position of each label, -1 where there is none; numbers that went through float32 are the same."""
    exact = known.get_indexer(wanted)
    if (exact >= 0).all() or "f" not in known.dtype.kind + wanted.dtype.kind or known.size < 2:
        return exact
    here, there = (np.asarray(i, dtype=np.float64) for i in (known, wanted))
    distance = np.abs(here[:, None] - there)
    nearest = distance.argmin(axis=0)
    step = np.abs(np.diff(np.sort(here))).min()
    return np.where(distance.min(axis=0) <= _SAME_LABEL * step, nearest, -1)


# ---------------------------------------------------------------------- statistics
def units_of(field: xr.DataArray) -> str | None:
    return str(field.attrs["units"]) if "units" in field.attrs else None


def spread(scale: xr.DataArray) -> xr.DataArray:
    """Scale to divide by: 1 where a variable is constant."""
    return scale.where(scale > 0, 1.0)


def state(found: Mapping[Hashable, Mapping[str, xr.DataArray]], known: Mapping[Hashable, str | None]) -> xr.Dataset:
    variables = {}
    for name, of in found.items():
        for statistic, values in of.items():
            unit = "1" if statistic.startswith("log_") else known[name]
            attrs = {"variable": str(name), "statistic": statistic, **({} if unit is None else {"units": unit})}
            variables[f"{name}_{statistic}"] = _with_attrs(values, attrs)
    return xr.Dataset(variables)


def _with_attrs(values: xr.DataArray, attrs: Mapping[str, str]) -> xr.DataArray:
    out = values.astype(np.float64)
    out.attrs = dict(attrs)
    return out


def table(given: Given, name: str) -> dict[Hashable, xr.DataArray]:
    if isinstance(given, xr.DataArray):
        return {name if given.name is None else given.name: given}
    if isinstance(given, xr.Dataset):
        return dict(given.data_vars.items())
    if isinstance(given, Mapping):
        return {n: a if isinstance(a, xr.DataArray) else xr.DataArray(a) for n, a in given.items()}
    return {name: xr.DataArray(given)}


def check_given(name: Hashable, of: Mapping[str, xr.DataArray]) -> None:
    for statistic, values in of.items():
        numbers = np.asarray(values.values, dtype=np.float64)
        if not np.isfinite(numbers).all() or (statistic in ("std", "iqr", "log_std") and (numbers < 0).any()):
            message = f"{statistic} of {name!r} is {numbers.tolist()}; wanted finite numbers, and no negative spread"
            raise OptionError(message)
    if "maximum" in of and bool((of["maximum"] < of["minimum"]).any()):
        message = f"maximum of {name!r} is below its minimum ({of['maximum'].values} < {of['minimum'].values})"
        raise OptionError(message)
