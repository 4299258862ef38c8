"""Who does the work of the non-spectral methods: the built-in separable weights, or xESMF where ESMF is installed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import optional
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.regrid._kernels import Applier, applier, take_nearest, thread_count
from xatmo.regrid.weights import Weights, weights_between


@dataclass(frozen=True)
class Job:
    """What an engine is asked to do with one field.

    Attributes
    ----------
    source, target : Grid
    source_dims, target_dims : (name, name)
        Latitude and longitude dimension before and after.
    method : str
        ``"conservative"``, ``"bilinear"``, ``"bicubic"`` or ``"nearest"``.
    min_valid : float
        Least valid part of a target cell (conservative).
    threads : int or None
        Threads for arrays in memory; None: all CPUs, or one off the main thread. Under Dask each block gets one.
    sign : float
        -1 for components of horizontal vectors, whose axes turn round where a meridian passes a pole.
    """

    source: Grid
    target: Grid
    source_dims: tuple[Hashable, ...]
    target_dims: tuple[Hashable, ...]
    method: str
    min_valid: float = 0.5
    threads: int | None = None
    sign: float = 1.0


Engine = Callable[[xr.DataArray, Job], xr.DataArray]


def run(field: xr.DataArray, job: Job, engine: str | None = None) -> xr.DataArray:
    """Regrid one field, without coordinates on the new axes, by the engine of that name.

    Raises
    ------
    OptionError
        If there is no such engine, or it lacks the method.
    MissingDependencyError
        If its package is not installed.
    """
    name = "builtin" if engine is None else engine
    if name not in ENGINES:
        message = (
            f"engine {engine!r} came; method {job.method!r} has {', '.join(map(repr, ENGINES))} (None takes 'builtin')"
        )
        raise OptionError(message)
    return ENGINES[name](field, job)


# ---------------------------------------------------------------------- built in
def builtin(field: xr.DataArray, job: Job) -> xr.DataArray:
    """Regrid with separable sparse weights. See `xatmo.regrid.weights`."""
    weights = weights_between(job.source, job.target, job.method)
    return with_weights(field, weights, job)


def with_weights(field: xr.DataArray, weights: Weights, job: Job) -> xr.DataArray:
    """Apply weights lazily, whatever made them."""
    # Off the main thread someone else is already running things side by side: Dask, most often.
    alone = field.chunks is None and threading.current_thread() is threading.main_thread()
    threads = job.threads or (thread_count() if alone else 1)
    if field.chunks is not None:
        threads = 1
    kernel: Callable[[NDArray[Any]], NDArray[Any]]
    if job.method == "nearest":
        gaps = bool((weights.coverage < 0.5).any())
        out_dtype = np.dtype(np.float64) if gaps and field.dtype.kind not in "fc" else field.dtype
        kernel = _Nearest(weights, out_dtype)
    else:
        out_dtype = working_dtype(field.dtype)
        real = np.dtype(np.float32 if out_dtype.itemsize == (8 if out_dtype.kind == "c" else 4) else np.float64)
        kernel = _Linear(applier(weights, real, job.min_valid, job.sign), threads)
    out: xr.DataArray = xr.apply_ufunc(
        kernel,
        field,
        input_core_dims=[list(job.source_dims)],
        output_core_dims=[list(job.target_dims)],
        exclude_dims=set(job.source_dims),
        dask="parallelized",
        output_dtypes=[out_dtype],
        dask_gufunc_kwargs={"output_sizes": dict(zip(job.target_dims, weights.target_shape, strict=True))},
        keep_attrs=True,
    )
    return out


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Float32 and complex64 stay; half precision becomes float32, everything else double."""
    if dtype.kind == "c":
        return np.dtype(np.complex64 if dtype.itemsize <= 8 else np.complex128)
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


@dataclass(frozen=True)
class _Linear:
    applier: Applier
    threads: int

    def __call__(self, block: NDArray[Any]) -> NDArray[Any]:
        if block.dtype.kind != "c":
            return self.applier(block, threads=self.threads)
        real, imaginary = (self.applier(part, threads=self.threads) for part in (block.real, block.imag))
        return np.asarray(real + 1j * imaginary)


@dataclass(frozen=True)
class _Nearest:
    weights: Weights
    dtype: np.dtype[Any]

    def __call__(self, block: NDArray[Any]) -> NDArray[Any]:
        return take_nearest(block, self.weights, self.dtype)


# ---------------------------------------------------------------------- xESMF
_XESMF_METHODS = {"conservative": "conservative", "bilinear": "bilinear", "nearest": "nearest_s2d"}


def xesmf(field: xr.DataArray, job: Job) -> xr.DataArray:
    """Regrid with ``xesmf.Regridder``, given the cell edges of our grids.

    The valid part of a cell (inside the source, and not NaN) decides as in the built-in engine: xESMF's
    ``conservative`` weights sum to the covered part of a cell, and ``skipna`` divides by the valid part.
    """
    if job.method not in _XESMF_METHODS:
        message = f"engine 'xesmf' has no method {job.method!r}; it has {', '.join(map(repr, _XESMF_METHODS))}"
        raise OptionError(message)
    package = optional.require("xesmf", extra="xesmf", why="regrid(engine='xesmf')")
    conserving = job.method == "conservative"
    regridder = package.Regridder(
        _esmf_grid(job.source, bounds=conserving),
        _esmf_grid(job.target, bounds=conserving),
        _XESMF_METHODS[job.method],
        periodic=job.source.periodic and not conserving,  # cells with edges close the circle by themselves
        unmapped_to_nan=True,
    )
    dtype = working_dtype(field.dtype)
    names = dict(zip(job.source_dims, ("lat", "lon"), strict=True))
    bare = field.drop_vars([n for n in field.coords if set(field[n].dims) & set(job.source_dims)])
    bare = bare.transpose(..., *job.source_dims).rename(names).astype(dtype, copy=False)
    options = {"skipna": True, "na_thres": 1 - job.min_valid} if conserving else {}
    out = regridder(bare, keep_attrs=True, **options)
    horizontal = [n for n in out.coords if n in ("lat", "lon") or set(out[n].dims) & {"lat", "lon"}]
    out = out.drop_vars(horizontal).astype(dtype, copy=False)
    result: xr.DataArray = out.rename(dict(zip(("lat", "lon"), job.target_dims, strict=True)))
    return result


def _esmf_grid(grid: Grid, *, bounds: bool) -> xr.Dataset:
    variables = {
        "lat": ("lat", np.asarray(grid.latitude), {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", np.asarray(grid.longitude), {"units": "degrees_east", "standard_name": "longitude"}),
    }
    if bounds:
        variables["lat_b"] = ("lat_b", np.asarray(grid.latitude_bounds), {"units": "degrees_north"})
        variables["lon_b"] = ("lon_b", np.asarray(grid.longitude_bounds), {"units": "degrees_east"})
    return xr.Dataset(coords=variables)


ENGINES: dict[str, Engine] = {"builtin": builtin, "xesmf": xesmf}
"""Engines by name. One more is one more entry: a function of a field and a `Job`."""
