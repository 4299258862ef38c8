"""Regridders as netCDF files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse

from xatmo import cf
from xatmo.errors import CheckpointError
from xatmo.grids import Grid
from xatmo.regrid._geometry import Site
from xatmo.regrid.curvilinear import Mesh
from xatmo.regrid.separable import Edges
from xatmo.regrid.sparse_weights import SparseWeights
from xatmo.regrid.weight_files import write_netcdf

_KIND, _VERSION = "xatmo_regridder", 1
_OPTIONS = ("method", "engine", "min_valid", "skipna", "limiter", "threads", "_names_follow")
_ARRAYS = ("coverage", "source_fraction", "source_area", "target_area", "source_mask", "target_mask")


def write(parts: Mapping[str, Any], path: Path) -> None:
    """Write the attributes of a regridder; the file appears under its name only when complete."""
    variables: dict[str, Any] = {}
    state: dict[str, Any] = {"options": {k: parts[k] for k in _OPTIONS}}
    for side in ("source", "target"):
        state[side] = _site_state(side, parts[side], variables)
    for name in ("mask", "target_mask"):
        if (values := parts[name]) is not None:
            _put(variables, f"given_{name}", values.astype(np.int8))
    for name in ("source_edges", "target_edges"):
        if (edges := parts[name]) is not None:
            _put(variables, f"{name}_latitude", edges.latitude)
            _put(variables, f"{name}_longitude", edges.longitude)
    if parts["sparse"] is not None:
        state["sparse"] = _sparse_state(parts["sparse"], variables)
    attrs = {_KIND: _VERSION, "state": json.dumps(state)}
    write_netcdf(xr.Dataset(variables, attrs=attrs), path)


def read(path: Path) -> dict[str, Any]:
    """Read the attributes that `write` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, or something else.
    """
    if not path.is_file():
        message = f"there is no regridder at {str(path)!r}; make one and save it: Regridder(source, target).save(path)"
        raise CheckpointError(message)
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_cf=False) as opened:
            ds = opened.load()
    except Exception as error:  # HDF5 and netCDF raise many types for damaged files
        message = (
            f"{str(path)!r} cannot be read ({type(error).__name__}); it may be truncated. Save the regridder again"
        )
        raise CheckpointError(message) from error
    if _KIND not in ds.attrs:
        message = (
            f"{str(path)!r} is not a saved Regridder; wanted what Regridder.save writes. For weight files of other "
            "programs use Regridder.from_file"
        )
        raise CheckpointError(message)
    if int(ds.attrs[_KIND]) > _VERSION:
        message = f"{str(path)!r} was written by a newer xatmo (format {ds.attrs[_KIND]}); update xatmo"
        raise CheckpointError(message)
    try:
        return _attributes(ds)
    except (KeyError, ValueError, TypeError) as error:
        message = f"{str(path)!r} is an incomplete Regridder ({error}); save it again"
        raise CheckpointError(message) from error


def _attributes(ds: xr.Dataset) -> dict[str, Any]:
    state = json.loads(ds.attrs["state"])
    parts: dict[str, Any] = {name: state["options"][name] for name in _OPTIONS}
    for side in ("source", "target"):
        parts[side] = _site(side, state[side], ds)
    for name in ("mask", "target_mask"):
        parts[name] = ds[f"given_{name}"].values.astype(bool) if f"given_{name}" in ds else None
    for name in ("source_edges", "target_edges"):
        there = f"{name}_latitude" in ds
        parts[name] = Edges(ds[f"{name}_latitude"].values, ds[f"{name}_longitude"].values) if there else None
    parts["sparse"] = _sparse(state["sparse"], ds) if "sparse" in state else None
    return parts


# ---------------------------------------------------------------------- matrices
def _put(variables: dict[str, Any], name: str, values: Any, attrs: dict[str, Any] | None = None) -> None:
    array = np.asarray(values)
    if array.dtype.kind == "b":
        array = array.astype(np.int8)
    variables[name] = (tuple(f"{name}_{k}" for k in range(array.ndim)), array, attrs or {})


def _sparse_state(weights: SparseWeights, variables: dict[str, Any]) -> dict[str, Any]:
    for name, matrix in (("matrix", weights.matrix), ("across", weights.across)):
        if matrix is not None:
            for part in ("data", "indices", "indptr"):
                _put(variables, f"{name}_{part}", getattr(matrix, part))
    for name in _ARRAYS:
        if (values := getattr(weights, name)) is not None:
            _put(variables, f"weights_{name}", values)
    return {"method": weights.method, "source_shape": weights.source_shape, "target_shape": weights.target_shape}


def _sparse(state: dict[str, Any], ds: xr.Dataset) -> SparseWeights:
    shapes = {k: tuple(int(n) for n in state[k]) for k in ("source_shape", "target_shape")}
    shape = int(np.prod(shapes["target_shape"])), int(np.prod(shapes["source_shape"]))

    def matrix(name: str) -> sparse.csr_array | None:
        if f"{name}_data" not in ds and f"{name}_indptr" not in ds:
            return None
        parts = tuple(ds[f"{name}_{part}"].values for part in ("data", "indices", "indptr"))
        return sparse.csr_array(parts, shape=shape)

    arrays: dict[str, Any] = {n: ds[f"weights_{n}"].values for n in _ARRAYS if f"weights_{n}" in ds}
    for name in ("source_mask", "target_mask"):
        if name in arrays:
            arrays[name] = arrays[name].astype(bool)
    whole: Any = matrix("matrix")
    return SparseWeights(
        whole, shapes["source_shape"], shapes["target_shape"], state["method"], across=matrix("across"), **arrays
    )


# ---------------------------------------------------------------------- grids and coordinates
def _site_state(side: str, site: Site, variables: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {
        "dims": [str(d) for d in site.dims], "shape": list(site.shape), "grid_mapping": site.grid_mapping,
        "axes": None if site.axes is None else [str(n) for n in (
            site.axes.lat, site.axes.lon, site.axes.lat_dim, site.axes.lon_dim)],
        "coords": [], "grid": None,
    }  # fmt: skip
    if isinstance(site.grid, Mesh):
        state["grid"] = {"kind": "mesh", "periodic": site.grid.periodic}
        _put(variables, f"{side}_latitude", site.grid.latitude)
        _put(variables, f"{side}_longitude", site.grid.longitude)
    elif site.grid is not None:
        state["grid"] = site.grid.to_dict()
    named = [*site.coords.items(), *([] if site.cyclic is None else [("", site.cyclic)])]
    for k, (name, coord) in enumerate(named):
        if coord.dtype.kind not in "fiubUS":
            continue
        _put(variables, f"{side}_coord_{k}", coord.values)
        attrs = {str(key): _plain(value) for key, value in coord.attrs.items()}
        dims = [str(d) for d in coord.dims]
        told = {"variable": f"{side}_coord_{k}", "name": str(name), "dims": dims, "attrs": attrs}
        state["coords"].append(told | {"dtype": coord.dtype.str})
    return state


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _site(side: str, state: dict[str, Any], ds: xr.Dataset) -> Site:
    grid: Any = state["grid"]
    if grid is not None and grid["kind"] == "mesh":
        grid = Mesh(ds[f"{side}_latitude"].values, ds[f"{side}_longitude"].values, grid["periodic"])
    elif grid is not None:
        grid = Grid.from_dict(grid)
    coords: dict[Any, xr.DataArray] = {}
    for one in state["coords"]:
        values = ds[one["variable"]].values.astype(np.dtype(one["dtype"]))
        coords[one["name"]] = xr.DataArray(values, dims=one["dims"], attrs=one["attrs"])
    cyclic = coords.pop("", None)
    axes = None if state["axes"] is None else cf.Horizontal(*state["axes"])
    if cyclic is not None and axes is not None:
        cyclic = cyclic.rename(axes.lon).assign_coords({axes.lon: cyclic.variable})
    shape = tuple(int(n) for n in state["shape"])
    return Site(grid, tuple(state["dims"]), shape, coords, axes, cyclic, state["grid_mapping"])
