"""``regrid``: fields on another grid, with its coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import xarray as xr

from xatmo import _labels, cf
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.regrid import _places, engines, masks
from xatmo.regrid._geometry import needs_points
from xatmo.regrid.bounds import cell_edges
from xatmo.regrid.regridder import Regridder
from xatmo.regrid.separable import CELL_METHODS, METHODS
from xatmo.regrid.sparse_weights import check_part
from xatmo.typing import RegridMethod, SpectralEngine, T, XarrayObject

if TYPE_CHECKING:
    from xatmo.regrid.curvilinear import Mesh


def regrid(
    obj: T,
    target: Grid | Mesh | Regridder | XarrayObject,
    *,
    method: RegridMethod = "spectral",
    lmax: int | None = None,
    engine: str | None = None,
    min_valid: float = 0.5,
    skipna: bool = True,
    mask: Any = None,
    target_mask: Any = None,
    limiter: bool = False,
    threads: int | None = None,
) -> T:
    """Fields on another grid.

    Parameters
    ----------
    obj : Dataset or DataArray
        With one-dimensional latitude and longitude, each in one chunk; any other dimensions, anywhere.
    target : Grid, Mesh, Regridder, Dataset or DataArray
        Where the fields are wanted. An xarray object gives its coordinates, under its names; a Grid gets the names of
        ``obj``. A `Regridder` brings its own method and options.
    method : str
        ``"spectral"``, ``"conservative"``, ``"conservative2"``, ``"bilinear"``, ``"bicubic"``, ``"nearest"``,
        ``"most_common"``, ``"min"`` or ``"max"``. ``"spectral"`` goes through spherical harmonics, see
        `xatmo.spectral.regrid`; the rest are below.
    lmax : int, optional
        Highest degree kept (spectral only).
    engine : str, optional
        For ``"spectral"``: ``"ducc0"`` or ``"torch"``. For the rest: ``"builtin"`` (also by default) or ``"xesmf"``.
    min_valid : float
        Methods of cells (conservative, conservative2, most_common, min, max): a target value is that of the valid part
        of its cell (inside the source, not masked and not NaN) if that part is at least this, else NaN. 0 keeps every
        cell that has anything valid, 1 only the complete ones.
    skipna : bool
        Methods of cells: False makes every target NaN whose cell overlaps a missing value. Interpolation (bilinear,
        bicubic, nearest) never leaves a missing value out.
    mask : DataArray, array (nlat, nlon) or str, optional
        Source points that count: True, or neither 0 nor NaN. On the points of ``obj`` (in any order of rows and columns
        if it has coordinates), perhaps with further dimensions of the fields, such as time. A name is looked up in
        ``obj``. The others are missing for every method; whole numbers become float64. A variable of a Dataset that is
        named here is not masked by itself: its result tells which part is valid.
    target_mask : DataArray, array (nlat, nlon) or str, optional
        Points of the target that are wanted; the result is NaN at the others. A name is looked up in ``target``.
    limiter : bool
        ``"conservative2"`` only: no value leaves the range of its source neighbours.
    threads : int, optional
        For NumPy arrays: threads that share the fields out. All the CPUs of this process unless given, or
        ``OMP_NUM_THREADS`` if smaller; one if called from a thread other than the main one. Under Dask one thread works
        on each block.

    Returns
    -------
    Dataset or DataArray
        float32 stays float32, integers become float64 (``"nearest"``, ``"most_common"``, ``"min"`` and ``"max"`` keep
        every type if no point is outside or masked). Dask arrays stay lazy, with the same chunks along other
        dimensions.

    Raises
    ------
    OptionError
        If a keyword has an impossible value.
    ChunkError
        If latitude or longitude is split into chunks.
    CoordinateError, GridError
        If a grid cannot be found or used.
    DimensionError
        If nothing has both horizontal dimensions, or the new names are taken by other dimensions.
    MissingDependencyError
        If the engine's package is not installed.

    Notes
    -----
    Every method but the first is ``out[i, j] = sum_kl A[i, k] B[j, l] field[k, l]`` with one sparse matrix by axis.

    *Conservative*: ``A`` holds overlaps of cells in sin(latitude), ``B`` in longitude, both divided by the extent
    covered, so the area integral is kept where the source has no gaps, and no value leaves the range of the source.
    With gaps it is ``sum_kl A B valid field / sum_kl A B valid``, the mean over the valid part ("fracarea" elsewhere):
    a constant stays one, and ``sum(out * coverage * area)`` is the integral over the valid source, with the part of
    each target cell from `coverage`. Edges are those of CF bounds where ``obj`` or ``target`` has consistent ones (see
    `cell_edges`); otherwise they lie midway between points, and those of a global grid end at the poles.

    *Conservative2*: the same with slopes within each source cell, see `xatmo.regrid.second_order`: also keeps the
    integral, is exact for ``(a + b sin(lat)) (c + d lon)``, and shows less of the source's cells on finer grids. It may
    overshoot near steep gradients unless ``limiter=True``. Next to missing values slopes are zero.

    *Most common, min, max*: the value that fills most of a target cell (of equal areas the smallest value), and the
    smallest and largest of the source cells that it overlaps, see `xatmo.regrid.statistics.Statistic`. For masks,
    classes, and extremes.

    *Bilinear, bicubic*: linear, or cubic with the slopes of parabolas through three neighbours (Catmull-Rom where steps
    are equal), along each axis. Longitude wraps where the columns go around. On such grids the rows go on over each
    pole that they reach: beyond it comes the same row, 180 degrees of longitude away (with the opposite sign for
    horizontal vector components, told by ``standard_name`` or as a wind pair), so a target on the pole depends on
    longitude a little. Elsewhere the outermost slopes are one-sided. Bicubic may overshoot. A NaN makes those targets
    NaN for which it has a weight that is not zero.

    *Nearest*: the nearest row, then the nearest column; ties go to the north, and to the west.

    Points outside a regional source are NaN: outside its outermost points, or its outermost cells for ``"nearest"``.

    Examples
    --------
    >>> import numpy as np
    >>> from xatmo import Grid
    >>> fine = Grid.regular(181, 360)
    >>> height = xr.DataArray(np.full((181, 360), 5.0), coords=fine.coords(), dims=("latitude", "longitude"))
    >>> coarse = regrid(height, Grid.regular(45, 90, poles=False), method="conservative")
    >>> coarse.shape, float(coarse.mean())
    ((45, 90), 5.0)
    """
    kind: Any = type(obj)
    if not issubclass(kind, xr.Dataset | xr.DataArray):
        message = f"a {kind.__name__} came; regrid takes a Dataset or DataArray, with latitude and longitude"
        raise OptionError(message)
    if isinstance(target, Regridder):
        given = {"lmax": lmax, "engine": engine, "mask": mask, "target_mask": target_mask}
        other = [k for k, v in given.items() if v is not None]
        usual = {"method": (method, "spectral"), "min_valid": (min_valid, 0.5), "skipna": (skipna, True),
                 "limiter": (limiter, False)}  # fmt: skip
        other += [k for k, (came, default) in usual.items() if came not in (default, getattr(target, k))]
        if other:
            message = f"{' and '.join(other)} came beside {target!r}, which has its own; leave them out"
            raise OptionError(message)
        return target(obj)
    _check_options(method, lmax=lmax, min_valid=min_valid, threads=threads)
    own = mask if isinstance(mask, str) else None  # tells how much is valid, where it is a variable itself
    mask = masks.resolve(mask, obj, what="mask")
    target_mask = masks.resolve(target_mask, target, what="target_mask")
    if limiter and method != "conservative2":
        message = f"limiter=True came with method {method!r}; only 'conservative2' has slopes to limit: leave it out"
        raise OptionError(message)
    if method == "spectral":
        if mask is not None or target_mask is not None:
            message = "a mask came with method 'spectral', which needs every point; fill gaps, or use another method"
            raise OptionError(message)
        from xatmo import spectral

        through: T = spectral.regrid(obj, cast(Any, target), lmax=lmax, engine=cast("SpectralEngine | None", engine))
        return through
    if needs_points(obj, target):
        obj, mask = masks.masked_in_time(obj, mask)
        return Regridder(
            obj, target, method=method, engine=engine, min_valid=min_valid, threads=threads, skipna=skipna, mask=mask,
            target_mask=target_mask,
        )(obj)  # fmt: skip
    axes = cf.horizontal(obj)
    place = _places.place_of(target, axes)
    vectors = _places.vectors_of(obj)
    valid = masks.valid_points(mask, obj, axes, what="mask")
    wanted = masks.valid_points(target_mask, place.skeleton, place.axes, what="target_mask")
    edges = cell_edges(obj, axes) if method in CELL_METHODS else None

    def one(da: xr.DataArray) -> xr.DataArray:
        sign = -1.0 if da.name in vectors or _places.is_component(da) else 1.0
        return _field(
            da, axes, place, engine=engine, valid=None if da.name == own and own is not None else valid, wanted=wanted,
            method=method, min_valid=min_valid, threads=threads, sign=sign, skipna=skipna, limiter=limiter,
            source_edges=edges, target_edges=place.edges,
        )  # fmt: skip

    kinds = "fiubc" + {"most_common": "mMUS", "min": "mM", "max": "mM"}.get(method, "")
    out = _labels.map_fields(obj, one, dims=axes.dims, what=f"regrid(method={method!r})", kinds=kinds)
    call = cf.describe_call(
        "regrid", target=place.grid, method=method, engine=engine,
        min_valid=min_valid if method in CELL_METHODS else None, skipna=None if skipna else False,
        mask=None if mask is None else getattr(mask, "name", None) or "array",
        target_mask=None if target_mask is None else getattr(target_mask, "name", None) or "array",
        limiter=limiter or None,
    )  # fmt: skip
    return cf.add_history(out, call)


def _check_options(method: str, *, lmax: int | None, min_valid: float, threads: int | None) -> None:
    if method not in ("spectral", *METHODS):
        message = f"method {method!r} came; wanted one of 'spectral', {', '.join(map(repr, METHODS))}"
        raise OptionError(message)
    if lmax is not None and method != "spectral":
        message = f"lmax={lmax} came with method {method!r}; only method 'spectral' truncates: leave lmax out"
        raise OptionError(message)
    check_part(min_valid)
    if threads is not None and threads < 1:
        message = f"threads={threads} came; wanted at least 1, or None for all CPUs"
        raise OptionError(message)


def _field(
    da: xr.DataArray, axes: cf.Horizontal, place: _places.Place, *, engine: str | None, valid: xr.DataArray | None,
    wanted: xr.DataArray | None, **options: Any,
) -> xr.DataArray:  # fmt: skip
    bare, _ = _labels.drop_cyclic(da, axes)
    _labels.require_whole(bare, axes.dims, what=f"regrid(method={options['method']!r})")
    job = engines.Job(Grid.of(bare), place.grid, axes.dims, place.axes.dims, **options)
    _places.check_names(da, job.target_dims, job.source_dims)
    out = engines.run(masks.masked(bare, valid, what="mask"), job, engine)
    return _places.finish(masks.masked(out, wanted, what="target_mask"), da, job, place)
