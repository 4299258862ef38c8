"""Fields to spherical-harmonic coefficients, back, and from one grid to another through them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields, require_finite, restore_order, true_attrs
from xatmo.errors import DimensionError
from xatmo.grids import Grid
from xatmo.rings import RingGrid
from xatmo.spectral import _fields, _kernels, packed
from xatmo.spectral._fields import DEGREE, ORDER, Nodes, Source, Target
from xatmo.spectral._results import holds_coefficients
from xatmo.spectral._vectors import map_with_winds
from xatmo.typing import Complexes, Floats, SpectralEngine, T, XarrayObject


# ---------------------------------------------------------------------- blocks: plain arrays, run by Dask's workers
def _to_spectral(field: Any, *, grid: Grid, lmax: int, engine: Any, name: Any) -> Complexes:
    field = _kernels.as_float(field)
    out = _kernels.analysis(field, grid, lmax, engine)
    # A NaN or infinity in any row makes all of order 0 NaN, and these are far fewer than the field's own values.
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.isfinite(out[..., 0].sum())
    if not fine:
        require_finite(field, what="to_spectral", name=name)
    return out


def _to_grid(coefficients: Any, *, nodes: Nodes, engine: Any, name: Any) -> Floats:
    array = _fields.square(_kernels.as_complex(coefficients))
    # Every coefficient enters every value near the equator. Towards the poles engines leave high orders out.
    row = None if isinstance(nodes.grid, RingGrid) else int(np.argmin(np.abs(nodes.grid.latitude)))
    telling = row is not None and nodes.grid.is_global and abs(nodes.grid.latitude[row]) < 5
    out = _kernels.synthesis(array, nodes.grid, engine) if telling else None
    with np.errstate(over="ignore", invalid="ignore"):
        fine = out is not None and np.isfinite(out[..., row, :].sum())
    if not fine:
        require_finite(array.view(array.real.dtype) if array.flags.c_contiguous else array, what="to_grid", name=name)
    return nodes.close(_kernels.synthesis(array, nodes.grid, engine) if out is None else out)


def _regrid(field: Any, *, grid: Grid, nodes: Nodes, lmax: int, engine: Any, name: Any) -> Floats:
    field = _kernels.as_float(field)
    require_finite(field, what="spectral regrid", name=name)
    return nodes.close(_kernels.synthesis(_kernels.analysis(field, grid, lmax, engine), nodes.grid, engine))


def _regrid_wind(
    u: Any, v: Any, *, grid: Grid, nodes: Nodes, lmax: int, engine: Any, name: Any
) -> tuple[Floats, Floats]:
    u, v = _kernels.as_float(u), _kernels.as_float(v)
    for component in (u, v):
        require_finite(component, what="spectral regrid", name=name)
    pair = _kernels.synthesis_vector(*_kernels.analysis_vector(u, v, grid, lmax, engine), nodes.grid, engine)
    return nodes.close(pair[0]), nodes.close(pair[1])


# ---------------------------------------------------------------------- labelled
def to_spectral(obj: T, *, lmax: int | None = None, engine: SpectralEngine | None = None) -> T:
    """Compute spherical-harmonic coefficients of scalar fields.

    A field is the sum over degrees n <= lmax and orders m = -n..n of ``X(n, m) P(n, m) exp(i m lon)``, where
    ``X(n, -m) = conj(X(n, m))`` and half the integral of ``P(n, m)**2`` over mu = sin(lat) is 1, without the
    Condon-Shortley phase: ECMWF's convention [1]_, also "complex 4-pi, csphase 1" in pyshtools. So ``X(0, 0)`` is the
    area mean, and the area-mean square is the sum over n of ``abs(X(n, 0))**2 + 2 sum_m abs(X(n, m))**2``.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid with latitude and longitude whole (one Dask chunk each), or on the rings of a
        `xatmo.rings.RingGrid` (reduced Gaussian, HEALPix) with their one dimension whole. Each variable is transformed
        by itself, as a scalar; for winds see `vorticity_divergence`.
        Coefficients are given back, up to ``lmax``; those on GRIB's or ARCO-ERA5's ``values`` axis are unpacked.
    lmax : int, optional
        Highest degree, inclusive; the highest that the grid resolves exactly (`Grid.lmax`) by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        Complex coefficients on ``degree`` and ``order`` (m >= 0; zero where order > degree) instead of latitude and
        longitude, in the field's units; complex64 from float32, complex128 otherwise. Coordinate ``wavelength`` is
        ``2 pi a / sqrt(n (n + 1))`` in metres. Attributes ``norm``, ``csphase``, ``lmax`` and ``truncation`` state the
        convention.

    Raises
    ------
    GridError
        On a regional, rotated or curvilinear grid, or scattered points.
    OptionError
        If ``lmax`` is more than the grid resolves, or the engine unknown.
    ChunkError
        If latitude or longitude is split into chunks.
    MissingValueError
        At compute time, if a value is NaN or infinite.

    Notes
    -----
    Zarr stores complex numbers, netCDF does not: write `to_packed` of the coefficients there (read back as they stand
    by every method), or ``to_layout(..., "pyshtools")``.

    References
    ----------
    .. [1] ECMWF, IFS documentation, part III (dynamics and numerical procedures), spectral transform.

    Examples
    --------
    >>> grid = Grid.gaussian(16)
    >>> field = xr.DataArray(np.ones(grid.shape), grid.coords(), ("latitude", "longitude"), attrs={"units": "K"})
    >>> coefficients = to_spectral(field, lmax=10)
    >>> dict(coefficients.sizes), complex(coefficients[0, 0])
    ({'degree': 11, 'order': 11}, (1+0j))
    """
    stored = packed.stored_coefficients(obj, lmax=lmax)
    if stored is not None:
        return cf.add_history(stored, cf.describe_call("to_spectral", lmax=lmax))
    source = Source.of(obj)
    top = _kernels.resolve_lmax(source.grid, lmax, what="to_spectral")
    chosen = _kernels.choose_engine(engine)
    call = cf.describe_call("to_spectral", lmax=top, engine=engine)
    size = top + 1

    def one(da: xr.DataArray) -> xr.DataArray:
        field = _fields.bare(da, source, what="to_spectral")
        block = partial(_to_spectral, grid=source.grid, lmax=top, engine=chosen, name=da.name)
        (out,) = _fields.apply(
            block,
            [field],
            source.axes.dims,
            outputs=[{DEGREE: size, ORDER: size}],
            dtypes=[_fields.complex_type(field)],
            what="to_spectral",
        )
        out = _fields.placed(out, _fields.own(_fields.spectral_coords(top)))
        out.attrs = _fields.coefficient_attrs(da, top)
        out = restore_order(out, da)
        return changed_values(out, da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=source.axes.dims, what="to_spectral"), call)


def to_grid(obj: T, grid: Grid | XarrayObject, *, engine: SpectralEngine | None = None) -> T:
    """Compute fields from spherical-harmonic coefficients: the inverse of `to_spectral`.

    The harmonic sum is evaluated at the nodes of ``grid``, whatever their number: degrees above what the grid resolves
    are not cut (their values are exact, but cannot be analysed again). Cut them with ``.isel(degree=slice(lmax + 1))``.

    Parameters
    ----------
    obj : Dataset or DataArray
        Coefficients on ``degree`` and ``order``, whole, in the convention of `to_spectral`. Fewer degrees or orders
        than there were are fine.
        Those on the ``values`` axis of a spectral GRIB message or an ARCO-ERA5 store are taken as they stand.
    grid : Grid, Dataset or DataArray
        Where to evaluate: global or regional, or rings of points. From an object its coordinates are taken as they are,
        names, direction, order of points and repeated cyclic column included.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        float32 from complex64, float64 from complex128; latitude and longitude stand where degree and order stood. On a
        ring grid they lie on one dimension: ``cell`` for HEALPix, ``values`` for reduced grids, or as the target has
        it.

    Raises
    ------
    DimensionError
        If no variable has dimensions ``degree`` and ``order``.
    CoordinateError
        If degrees or orders do not run 0, 1, 2, ...
    OptionError
        If the attributes state another convention, or ``grid`` is no grid.
    ChunkError
        If degree or order is split into chunks.
    MissingValueError
        At compute time, if a coefficient is NaN or infinite.

    Examples
    --------
    >>> coefficients = xr.DataArray(np.array([[1, 0], [2, 0]], complex), dims=("degree", "order"))
    >>> to_grid(coefficients, Grid.regular(3, 4)).isel(longitude=0).values  # 1 + 2 sqrt(3) sin(lat)
    array([ 4.46410162,  1.        , -2.46410162])
    """
    obj = packed.unpacked(obj)
    _require_coefficients(obj)
    target = Target.of(grid)
    chosen = _kernels.choose_engine(engine)
    call = cf.describe_call("to_grid", grid=target.grid, engine=engine)

    def one(da: xr.DataArray) -> xr.DataArray:
        _fields.require_convention(da, what="to_grid")
        block = partial(_to_grid, nodes=target.nodes, engine=chosen, name=da.name)
        single = _fields.is_single(da)
        (out,) = _fields.apply(
            block,
            [da],
            (DEGREE, ORDER),
            outputs=[target.sizes],
            dtypes=[np.dtype(np.float32 if single else np.float64)],
            what="to_grid",
        )
        out = _fields.placed(out, target.coords)
        out.attrs = _fields.field_attrs(da)
        out = _fields.replace_dims(out, da, _fields.renamed((DEGREE, ORDER), target.dims))
        return changed_values(out, da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=(DEGREE, ORDER), what="to_grid"), call)


def _require_coefficients(obj: XarrayObject) -> None:
    if holds_coefficients(obj):
        return
    shown = {str(n): v.dims for n, v in obj.data_vars.items()} if isinstance(obj, xr.Dataset) else obj.dims
    message = (
        f"to_grid needs coefficients, with dimensions ('degree', 'order'); {shown} came. Fields go to another grid by "
        ".atmo.regrid(grid); coefficients in other layouts first by xatmo.spectral.from_layout"
    )
    raise DimensionError(message)


def regrid(obj: T, target: Grid | XarrayObject, *, lmax: int | None = None, engine: SpectralEngine | None = None) -> T:
    """Evaluate fields on another grid through their spherical harmonics: exact for the degrees kept.

    A CF wind pair in a Dataset is transformed as a vector, so that nothing happens to it at the poles.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid, latitude and longitude whole.
    target : Grid, Dataset or DataArray
        Global or regional grid, or an object with coordinates, which are taken as they are.
    lmax : int, optional
        Highest degree kept; by default the highest that both grids resolve (the source alone, for a regional target).
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        In the input's dtype (integers become float64) and dimension order, attributes kept.

    Raises
    ------
    GridError, OptionError, ChunkError, MissingValueError
        As in `to_spectral`.

    Examples
    --------
    >>> fine, coarse = Grid.regular(37, 72), Grid.gaussian(12)
    >>> lat = fine.coords()["latitude"]
    >>> field = np.sin(np.radians(lat)).expand_dims(longitude=fine.longitude, axis=1)
    >>> out = regrid(field.assign_coords(fine.coords()), coarse)
    >>> bool(abs(out - np.sin(np.radians(out.latitude))).max() < 1e-12)
    True
    """
    source = Source.of(obj)
    goal = Target.of(target, like=source.axes)
    top = _kernels.resolve_lmax(source.grid, lmax, what="spectral regrid")
    if lmax is None and goal.grid.is_global:
        top = min(top, goal.grid.lmax)
    chosen = _kernels.choose_engine(engine)
    call = cf.describe_call("regrid", target=goal.grid, method="spectral", lmax=top, engine=engine)
    output = goal.sizes
    names = _fields.renamed(source.axes.dims, goal.dims)

    def finish(out: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
        out = _fields.placed(out, goal.coords)
        out.attrs = true_attrs(da, off_grid=True)
        out = _fields.replace_dims(out, da, names)
        return changed_values(out, da, reshaped=True)

    def scalar(da: xr.DataArray) -> xr.DataArray:
        field = _fields.bare(da, source, what="spectral regrid")
        block = partial(_regrid, grid=source.grid, nodes=goal.nodes, lmax=top, engine=chosen, name=da.name)
        types = [_fields.float_type(field)]
        (out,) = _fields.apply(block, [field], source.axes.dims, outputs=[output], dtypes=types, what="spectral regrid")
        return finish(out, da)

    def wind(u: xr.DataArray, v: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        pair = [_fields.bare(x, source, what="spectral regrid") for x in (u, v)]
        block = partial(
            _regrid_wind, grid=source.grid, nodes=goal.nodes, lmax=top, engine=chosen, name=(u.name, v.name)
        )
        types = [_fields.float_type(*pair)] * 2
        out = _fields.apply(block, pair, source.axes.dims, outputs=[output] * 2, dtypes=types, what="spectral regrid")
        return finish(out[0], u), finish(out[1], v)

    return cf.add_history(map_with_winds(obj, scalar, wind, dims=source.axes.dims, what="spectral regrid"), call)
