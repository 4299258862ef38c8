"""Lazy results of a report computed at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

_VALUES = "values of the only one"


def together(made: Any) -> Any:
    """Compute all that is in nested mappings at once, as plain Dask arrays: what they share is computed once."""
    import dask.base

    compute: Any = dask.base.compute
    found: list[Any] = []

    def collect(one: Any) -> None:
        if isinstance(one, xr.Dataset):
            found.extend(v.data for v in one.variables.values() if v.chunks is not None)
        elif isinstance(one, xr.DataArray):
            collect(one.to_dataset(name=_VALUES))
        elif isinstance(one, Mapping):
            for value in one.values():
                collect(value)

    collect(made)
    values = iter(compute(*found))

    def fill(one: Any) -> Any:
        if isinstance(one, xr.Dataset):
            known = {n: v.copy(data=next(values)) for n, v in one.variables.items() if v.chunks is not None}
            return one.assign_coords({n: v for n, v in known.items() if n in one.coords}).assign(
                {n: v for n, v in known.items() if n not in one.coords}
            )
        if isinstance(one, xr.DataArray):
            return fill(one.to_dataset(name=_VALUES))[_VALUES].rename(one.name)
        if isinstance(one, Mapping):
            return {key: fill(value) for key, value in one.items()}
        return one

    return fill(made)
