"""Who does the work of the non-spectral methods: the built-in separable weights, or xESMF where ESMF is installed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import optional
from xatmo.errors import GridError, OptionError
from xatmo.grids import Grid
from xatmo.regrid._appliers import applier
from xatmo.regrid._kernels import Applier, take_nearest, thread_count
from xatmo.regrid.curvilinear import Mesh, points_of
from xatmo.regrid.separable import Edges, Weights
from xatmo.regrid.sparse_weights import MEANS, SparseWeights, scaled_rows, threads_for
from xatmo.regrid.statistics import METHODS as STATISTICS
from xatmo.regrid.statistics import Statistic, result_dtype
from xatmo.regrid.weights import weights_between


@dataclass(frozen=True)
class Job:
    """What an engine is asked to do with one field.

    Attributes
    ----------
    source, target : Grid
    source_dims, target_dims : (name, name)
        Latitude and longitude dimension before and after.
    method : str
        One of `xatmo.regrid.weights.METHODS`.
    min_valid : float
        Least valid part of a target cell (methods of cells).
    threads : int or None
        Threads for arrays in memory; None: all CPUs, or one off the main thread. Under Dask each block gets one.
    sign : float
        -1 for components of horizontal vectors, whose axes turn round where a meridian passes a pole.
    skipna : bool
        Methods of cells: whether missing values are left out, or make the target missing.
    limiter : bool
        Limited slopes (``"conservative2"``).
    source_edges, target_edges : Edges or None
        Edges of the cells where they do not lie midway between points.
    """

    source: Grid
    target: Grid
    source_dims: tuple[Hashable, ...]
    target_dims: tuple[Hashable, ...]
    method: str
    min_valid: float = 0.5
    threads: int | None = None
    sign: float = 1.0
    skipna: bool = True
    limiter: bool = False
    source_edges: Edges | None = None
    target_edges: Edges | None = None


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
    edges = {"source_edges": job.source_edges, "target_edges": job.target_edges}
    weights = weights_between(job.source, job.target, job.method, **edges, limiter=job.limiter)
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
    elif job.method in STATISTICS:
        out_dtype = result_dtype(field.dtype, weights, job.min_valid)
        kernel = Statistic(weights, out_dtype, job.min_valid, job.skipna)
    else:
        out_dtype = working_dtype(field.dtype)
        real = np.dtype(np.float32 if out_dtype.itemsize == (8 if out_dtype.kind == "c" else 4) else np.float64)
        kernel = _Linear(applier(weights, real, job.min_valid, job.sign, job.skipna), threads)
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
_XESMF_METHODS = {
    "conservative": "conservative", "conservative_normed": "conservative", "bilinear": "bilinear", "patch": "patch",
    "nearest": "nearest_s2d", "nearest_s2d": "nearest_s2d", "nearest_d2s": "nearest_d2s",
}  # fmt: skip
_OURS = {"conservative_normed": "conservative", "nearest_s2d": "nearest"}


def xesmf(field: xr.DataArray, job: Job) -> xr.DataArray:
    """Regrid with weights of ``xesmf.Regridder``, applied as all others: see `xesmf_weights`."""
    if len(job.source.shape) != 2 or len(job.target.shape) != 2:
        message = f"engine 'xesmf' came for {job.source!r} to {job.target!r}; use xatmo.regrid.Regridder for points"
        raise GridError(message)
    cells = (job.source_edges, job.target_edges) if job.method in MEANS else (None, None)
    weights = _kept_xesmf_weights(job.source, job.target, job.method, *cells)
    return weights.regrid(
        field, job.source_dims, job.target_dims, min_valid=job.min_valid, skipna=job.skipna,
        sign=job.sign, threads=threads_for(field, job.threads),
    )  # fmt: skip


def xesmf_weights(
    source: Any,
    target: Any,
    method: str,
    *,
    mask: NDArray[np.bool_] | None = None,
    target_mask: NDArray[np.bool_] | None = None,
    source_edges: Edges | None = None,
    target_edges: Edges | None = None,
    **options: Any,
) -> SparseWeights:
    """Weights that xESMF has ESMF work out.

    Parameters
    ----------
    source, target : Grid, RingGrid or Mesh
    method : {"conservative", "bilinear", "patch", "nearest", "nearest_d2s"}
        xESMF's own names are taken too. ESMF's conservative weights sum to the covered part of a target cell; they are
        divided by it, and it is kept as ``coverage``. So ``"conservative_normed"`` is the same here.
    mask, target_mask : array of bool, optional
        Points that count. ESMF makes the weights without the others; lists of locations come to it without them.
    source_edges, target_edges : Edges, optional
        Edges of the cells of grids with two axes, where they do not lie midway between the points.
    **options
        Of ``xesmf.Regridder``: ``ignore_degenerate``, ``extrap_method`` ...

    Notes
    -----
    Cells of grids with two axes end at the edges given, or else at `Grid.latitude_bounds` and `Grid.longitude_bounds`;
    those of curvilinear grids at the corners in the file (CF bounds) or midway between points. ESMF closes the circle
    of longitudes for the point methods if ``periodic`` is set. Cells that are given by their edges, of which there is
    one more than there are cells, close it by themselves: conservative weights are made without it. Rings and
    unstructured points are lists of locations to ESMF, from which it has only the nearest-neighbour methods. Its
    nearest point serves every target, however far.

    Raises
    ------
    OptionError
        If there is no such method or option.
    GridError
        If ESMF has the method not for points without cells, a point has no coordinates, or xESMF or ESMF fails.
    MissingDependencyError
        If xESMF or ESMF is not installed.
    """
    if method not in _XESMF_METHODS:
        message = f"engine 'xesmf' has no method {method!r}; it has {', '.join(map(repr, _XESMF_METHODS))}"
        raise OptionError(message)
    theirs = _XESMF_METHODS[method]
    lists = [len(grid.shape) == 1 for grid in (source, target)]
    allowed = ("nearest_s2d", "nearest_d2s") if lists[0] else ("bilinear", "patch", "nearest_s2d", "nearest_d2s")
    if any(lists) and theirs not in allowed:
        message = (
            f"method {method!r} came for {source!r} to {target!r}; between points without cells ESMF has "
            f"{', '.join(map(repr, allowed))}"
        )
        raise GridError(message)
    unknown = set(options) - set(_XESMF_OPTIONS)
    if unknown:
        message = f"{sorted(unknown)} came for engine 'xesmf'; wanted options among {', '.join(_XESMF_OPTIONS)}"
        raise OptionError(message)
    if options.get("extrap_method") not in _EXTRAPOLATION:
        message = (
            f"extrap_method={options['extrap_method']!r} came for engine 'xesmf'; wanted one of "
            f"{', '.join(map(repr, _EXTRAPOLATION))}"
        )
        raise OptionError(message)
    package = optional.require("xesmf", extra="xesmf", why="regrid(engine='xesmf')")
    conserving = theirs == "conservative"
    around = source.wraps if isinstance(source, Mesh) else bool(source.periodic)
    if lists[1]:  # xESMF shares out the rows and columns of a target
        options = {k: v for k, v in options.items() if k != "parallel"}
    parts = _PARTS if options.get("parallel") else 1
    grids = [
        _esmf_list(grid, kept) if bare else _esmf_grid(grid, bounds=conserving, edges=edges, mask=kept, parts=n)
        for grid, bare, kept, edges, n in (
            (source, lists[0], mask, source_edges, 1), (target, lists[1], target_mask, target_edges, parts))
    ]  # fmt: skip
    try:
        regridder = package.Regridder(
            *grids,
            theirs,
            locstream_in=lists[0],
            locstream_out=lists[1],
            periodic=around and not conserving and not lists[0],
            unmapped_to_nan=False,  # uncovered targets are told by their empty rows
            **options,
        )
    except Exception as error:  # ESMF tells its reasons in many types
        message = (
            f"xESMF could not make weights of method {method!r} for {source!r} to {target!r} "
            f"({type(error).__name__}: {error}); for cells with less than three corners give ignore_degenerate=True"
        )
        raise GridError(message) from error
    numbers = [ds["number"].values if bare else None for ds, bare in zip(grids, lists, strict=True)]
    return _from_coo(regridder.weights.data, source, target, _OURS.get(method, method), *numbers)


_EXTRAPOLATION = (None, "inverse_dist", "nearest_s2d")
_XESMF_OPTIONS = (
    "ignore_degenerate", "extrap_method", "extrap_dist_exponent", "extrap_num_src_pnts", "parallel",
    "post_mask_source", "filename", "reuse_weights",
)  # fmt: skip
_PARTS = 4


@lru_cache(maxsize=8)
def _kept_xesmf_weights(
    source: Grid, target: Grid, method: str, source_edges: Edges | None, target_edges: Edges | None
) -> SparseWeights:
    return xesmf_weights(source, target, method, source_edges=source_edges, target_edges=target_edges)


def _from_coo(coo: Any, source: Any, target: Any, method: str, from_: Any = None, to: Any = None) -> SparseWeights:
    """Take over weights; ``from_`` and ``to`` are the numbers of the points of lists that came without the others."""
    rows, columns = (np.asarray(c) for c in coo.coords)
    values = np.asarray(coo.data, dtype=np.float64)
    there = np.isfinite(values)  # with a target mask, xESMF marks masked targets by a NaN
    rows, columns, values = rows[there], columns[there], values[there]
    made = SparseWeights.from_links(
        rows if to is None else to[rows], columns if from_ is None else from_[columns], values,
        source_shape=tuple(source.shape), target_shape=tuple(target.shape), method=method,
    )  # fmt: skip
    if method not in MEANS:
        return made
    covered = np.asarray(made.matrix.sum(axis=1))
    covered = np.where(np.abs(covered - 1) < 1e-5, 1.0, covered)
    return replace(made, matrix=scaled_rows(made.matrix), coverage=covered)


_NORTH, _EAST = ({"units": f"degrees_{way}", "standard_name": name}
                 for way, name in (("north", "latitude"), ("east", "longitude")))  # fmt: skip


def _esmf_grid(grid: Any, *, bounds: bool, edges: Edges | None = None, mask: Any = None, parts: int = 1) -> xr.Dataset:
    """Coordinates under the names that xESMF looks for: ``lat``, ``lon``, ``lat_b``, ``lon_b`` and ``mask``."""
    names: tuple[tuple[str, ...], ...]
    edge_names: tuple[tuple[str, ...], ...]
    if isinstance(grid, Mesh):
        if not np.isfinite(grid.xyz).all():
            message = f"some points of {grid!r} have no coordinates, which ESMF wants; use the built-in engine"
            raise GridError(message)
        dims, names, edge_names = ("y", "x"), (("y", "x"),) * 2, (("y_b", "x_b"),) * 2
        cells = grid.corner_coordinates() if bounds else None
    else:
        dims, names, edge_names = ("lat", "lon"), (("lat",), ("lon",)), (("lat_b",), ("lon_b",))
        edges = edges or Edges.of(grid)
        cells = (edges.latitude, edges.longitude) if bounds else None
    coords: dict[str, Any] = {
        name: (on, np.array(values, order="C"), attrs)
        for name, on, values, attrs in zip(
            ("lat", "lon"), names, (grid.latitude, grid.longitude), (_NORTH, _EAST), strict=True)
    }  # fmt: skip
    if cells is not None:  # without units, by which cf-xarray would take them for more latitudes and longitudes
        coords |= {
            name: (on, np.array(values, order="C"))
            for name, on, values in zip(("lat_b", "lon_b"), edge_names, cells, strict=True)
        }
    out = xr.Dataset(coords=coords)
    if mask is not None or parts > 1:
        kept = np.ones(grid.shape, dtype=np.int32) if mask is None else np.asarray(mask, dtype=np.int32)
        out["mask"] = (dims, kept.reshape(grid.shape))
    if parts > 1:  # xESMF works the weights of each chunk of the target out in a process of its own
        out["mask"] = out["mask"].chunk({dims[0]: -(-grid.shape[0] // parts), dims[1]: -1})
    return out


def _esmf_list(grid: Any, mask: Any) -> xr.Dataset:
    """Locations that are there and count, and their numbers: ESMF takes no masks of lists."""
    lat, lon = points_of(grid)
    kept = np.isfinite(lat) & np.isfinite(lon)
    number = np.flatnonzero(kept if mask is None else kept & np.asarray(mask, dtype=bool).ravel())
    coords = {
        "lat": ("locations", lat[number], _NORTH), "lon": ("locations", lon[number], _EAST),
        "number": ("locations", number),
    }  # fmt: skip
    return xr.Dataset(coords=coords)


ENGINES: dict[str, Engine] = {"builtin": builtin, "xesmf": xesmf}
"""Engines by name. One more is one more entry: a function of a field and a `Job`."""
