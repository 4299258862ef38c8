"""What a result that is written by regions will be: its empty form, its stored chunks, and what it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo._regions import Part, fitting_chunk
from xatmo.cf import chunks_of
from xatmo.errors import CoordinateError, DimensionError, OptionError

_KEPT_ENCODING: Final = ("units", "calendar", "_FillValue")
_VERSION: Final = 1

Function = Callable[[xr.Dataset], xr.Dataset]


def applied(function: Function, block: xr.Dataset, dims: Iterable[Hashable]) -> xr.Dataset:
    """Apply a user's function to a region.

    Raises
    ------
    OptionError
        If it does not give a Dataset.
    DimensionError
        If one of ``dims`` is no longer as long as it was.
    """
    out: Any = function(block)
    if not isinstance(out, xr.Dataset):
        message = f"function gave a {type(out).__name__}; wanted a Dataset"
        raise OptionError(message)
    changed = [d for d in dims if d in out.sizes and out.sizes[d] != block.sizes[d]]
    if changed:
        message = f"function changed the size of {changed[0]!r}, which by= names; wanted it as it was"
        raise DimensionError(message)
    return out


def template_of(
    ds: xr.Dataset, edges: Mapping[Hashable, list[int]], function: Function | None
) -> tuple[xr.Dataset, list[Hashable], xr.Dataset]:
    """Give the whole result with its streamed variables empty, their names, and what regions are taken from."""
    if function is None:
        whole = ds
    else:
        if any(e[-1] == 0 for e in edges.values()):
            message = f"there is nothing to write: sizes {dict(ds.sizes)} came"
            raise DimensionError(message)
        first = applied(function, ds.isel({d: slice(0, 1) for d in edges}), edges)
        whole = _grown(first, ds, edges)
    streamed = [n for n, v in whole.data_vars.items() if _is_lazy(v.variable)]
    return whole, streamed, ds


def _grown(first: xr.Dataset, ds: xr.Dataset, edges: Mapping[Hashable, list[int]]) -> xr.Dataset:
    """Give the result of a function for the whole of ``ds``, empty, from its result for one index."""
    import dask.array

    data: dict[Hashable, Any] = {}
    coords: dict[Hashable, Any] = {}
    for name, da in first.variables.items():
        if not set(da.dims) & set(edges):
            (coords if name in first.coords else data)[name] = da
        elif name in first.coords:
            if name not in ds.coords or ds[name].dims != da.dims:
                message = (
                    f"function made the coordinate {name!r} on {da.dims}, of which by= names some; wanted it in the "
                    "input, or made a variable with .reset_coords()"
                )
                raise CoordinateError(message)
            coords[name] = ds[name].variable
        else:
            shape = tuple(edges[d][-1] if d in edges else n for d, n in da.sizes.items())
            inner = dict(zip(da.dims, getattr(da, "chunks", None) or [(n,) for n in da.shape], strict=True))
            blocks = tuple((n,) if d in edges else inner[d] for d, n in zip(da.dims, shape, strict=True))
            data[name] = xr.Variable(
                da.dims, dask.array.zeros(shape, chunks=blocks, dtype=da.dtype), da.attrs, da.encoding
            )
    return xr.Dataset(data, coords, first.attrs)


def _is_lazy(variable: xr.Variable) -> bool:
    return variable.ndim > 0 and (variable.chunks is not None or not variable._in_memory)


def stored_chunks(
    template: xr.Dataset,
    streamed: Sequence[Hashable],
    edges: Mapping[Hashable, list[int]],
    source: xr.Dataset,
    wanted: dict[Hashable, int],
) -> dict[Hashable, int]:
    """Choose the sizes of stored chunks by dimension, so that no two regions share one."""
    natural = {**chunks_of(template[list(streamed)]), **chunks_of(source)}
    sizes: dict[Hashable, int] = {}
    for name in streamed:
        for dim, size in template[name].sizes.items():
            default = max(natural.get(dim, (size,)))
            if dim in edges:
                sizes[dim] = fitting_chunk(dim, edges[dim], wanted.get(dim), default)
            else:
                asked = wanted.get(dim, default)
                sizes[dim] = max(1, size if asked == -1 else asked)
    unknown = sorted(str(d) for d in wanted if d not in sizes)
    if unknown:
        message = f"chunks name {unknown[0]!r}, which no lazy variable has; there are {sorted(map(str, sizes))}"
        raise DimensionError(message)
    return sizes


def create(
    template: xr.Dataset,
    streamed: Sequence[Hashable],
    sizes: Mapping[Hashable, int],
    store: Path,
    encoding: Mapping[Hashable, Mapping[str, Any]] | None,
) -> None:
    """Make the store: attributes, coordinates, what is in memory, and empty arrays for the rest."""
    import dask.array

    out = template.copy()
    for name in out.variables:
        variable = out.variables[name]
        if name in streamed:
            empty = dask.array.zeros(variable.shape, chunks=variable.shape, dtype=variable.dtype)
            fresh = xr.Variable(variable.dims, empty, variable.attrs)
        else:
            fresh = variable.compute()
        # Chunks and filters of the input do not fit the output.
        fresh.encoding = {k: v for k, v in variable.encoding.items() if k in _KEPT_ENCODING}
        if name in streamed:
            fresh.encoding["chunks"] = tuple(min(sizes[d], max(n, 1)) for d, n in variable.sizes.items())
        if name not in out.indexes:
            out[name] = fresh
        else:
            out.variables[name].encoding = fresh.encoding
    given = {name: {**out[name].encoding, **dict(own)} for name, own in (encoding or {}).items()}
    out.to_zarr(store, mode="w", compute=False, consolidated=False, encoding=given)


def header_of(
    ds: xr.Dataset,
    template: xr.Dataset,
    streamed: Sequence[Hashable],
    sizes: Mapping[Hashable, int],
    todo: Sequence[Part],
    encoding: Mapping[Hashable, Mapping[str, Any]] | None,
    function: Function | None,
    key: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Say what the result depends on, in a form that JSON gives back as it was."""
    header = {
        "version": _VERSION,
        "input": dict(key) if key is not None else tokens(ds, template, streamed, function),
        "variables": {
            str(n): [list(map(str, v.dims)), list(v.shape), str(v.dtype), str(v.attrs.get("units"))]
            for n, v in template.data_vars.items()
        },
        "coordinates": {str(n): _digest(v.variable) for n, v in template.coords.items()},
        "chunks": {str(d): n for d, n in sizes.items()},
        "encoding": {str(n): repr(sorted(e.items())) for n, e in (encoding or {}).items()},
        "regions": [len(todo), hashlib.sha256("\n".join(p.label for p in todo).encode()).hexdigest()],
    }
    done: dict[str, Any] = json.loads(json.dumps(header))
    return done


def tokens(
    ds: xr.Dataset, template: xr.Dataset, streamed: Sequence[Hashable], function: Function | None
) -> dict[str, str]:
    """Name the lazy arrays as the Dask graph does: the names follow from what they are computed from."""
    from dask.base import tokenize

    found = {}
    for name, da in (template[list(streamed)] if function is None else ds).data_vars.items():
        if da.chunks is not None:
            found[str(name)] = str(da.data.name)
        else:
            found[str(name)] = f"{da.encoding.get('source', '')} {da.shape}"
    if function is not None:
        found["function"] = tokenize(function)
    return found


def _digest(variable: xr.Variable) -> str:
    values = np.ascontiguousarray(variable.values)
    content = values.tobytes() if values.dtype.kind in "biufcmM" else repr(values.tolist()).encode()
    return hashlib.sha256(str(values.shape).encode() + content).hexdigest()[:16]
