"""Gradient and Laplacian of scalar fields on the sphere, exact for every degree that the grid resolves."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import require_finite
from xatmo.errors import OptionError, VariableError
from xatmo.grids import Grid
from xatmo.spectral import _degrees, _fields, _kernels, _results, packed
from xatmo.spectral._fields import DEGREE, ORDER, Nodes, Source, Target
from xatmo.spectral._results import Label
from xatmo.spectral._vectors import wind_pairs
from xatmo.typing import Floats, SpectralEngine, T, XarrayObject
from xatmo.units import times


# ---------------------------------------------------------------------- blocks
def _slopes(coefficients: Any, grid: Grid, radius: float, engine: Any) -> tuple[Floats, Floats]:
    """Gradient from coefficients: a wind whose velocity potential is the field."""
    factor = _kernels.derivative_factor(coefficients.shape[-1] - 1, radius)
    divergent = _results.by_degree(-factor, coefficients)
    return _kernels.synthesis_divergent(divergent, grid, engine)


def _of_field(field: Any, *, grid: Grid, lmax: int, radius: float, engine: Any, name: Any) -> tuple[Floats, Floats]:
    field = _kernels.as_float(field)
    require_finite(field, what="gradient", name=name)
    return _slopes(_kernels.analysis(field, grid, lmax, engine), grid, radius, engine)


def _of_coefficients(array: Any, *, nodes: Nodes, radius: float, engine: Any, name: Any) -> tuple[Floats, Floats]:
    array = _fields.square(_kernels.as_complex(array))
    require_finite(array, what="gradient", name=name)
    east, north = _slopes(array, nodes.grid, radius, engine)
    return nodes.close(east), nodes.close(north)


# ---------------------------------------------------------------------- gradient
def gradient(
    obj: T,
    *,
    grid: Grid | XarrayObject | None = None,
    lmax: int | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Compute the eastward and northward derivative of scalar fields, by spherical harmonics (no trouble at the poles).

    ``dx = 1 / (a cos(lat)) d/dlon`` and ``dy = 1 / a d/dlat``, with the radius a and angles in radians. On a pole they
    are those along the meridian of each longitude, as components of a wind are.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid, latitude and longitude whole; or coefficients on ``degree`` and ``order``, which need
        ``grid``. Components of a CF wind pair in a Dataset are no scalars, and are left out: see
        `vorticity_divergence`.
    grid : Grid, Dataset or DataArray, optional
        Where to evaluate coefficients; needed with them, and not allowed with gridded input, which keeps its grid.
    lmax : int, optional
        Highest degree kept; what the grid resolves by default.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset
        ``d{name}_dx`` and ``d{name}_dy`` for every field, ``dx`` and ``dy`` for one without a name, in the field's
        units per metre (without ``units`` where the field has none). float32 from float32.

    Raises
    ------
    OptionError
        If ``grid`` is missing for coefficients or given with fields, ``lmax`` is more than the grid resolves, or the
        radius is not positive.
    VariableError
        If a Dataset holds nothing but components of winds.
    DimensionError
        If no variable lies on the grid, or one is complex.
    GridError, ChunkError, MissingValueError
        As in `to_spectral`.

    Examples
    --------
    >>> from xatmo.constants import EARTH_RADIUS
    >>> grid = Grid.regular(19, 36)
    >>> lat = np.radians(grid.coords()["latitude"])
    >>> z = (EARTH_RADIUS * np.sin(lat)).expand_dims(longitude=grid.longitude, axis=1).assign_coords(grid.coords())
    >>> slopes = gradient(z.rename("z").assign_attrs(units="m2 s-2"))
    >>> slopes["dz_dy"].isel(latitude=6, longitude=0).item(), slopes["dz_dy"].attrs["units"]  # cos(30 degrees)
    (0.866025, 'm s-2')
    """
    a = _results.check_radius(radius)
    chosen = _kernels.choose_engine(engine)
    target = None if grid is None else Target.of(grid)
    call = cf.describe_call("gradient", grid=target and target.grid, lmax=lmax, radius=radius, engine=engine)
    obj = packed.unpacked(obj)
    if _results.holds_coefficients(obj):
        return cf.add_history(_gradient_of_coefficients(obj, target, lmax, a, chosen), call)
    if target is not None:
        message = "grid= came with gridded fields; wanted it with coefficients only. Use regrid after"
        raise OptionError(message)
    source = Source.of(obj)
    top = _kernels.resolve_lmax(source.grid, lmax, what="gradient")
    done: dict[Hashable, xr.DataArray] = {}
    for da in _scalars(obj, source):
        block = partial(_of_field, grid=source.grid, lmax=top, radius=a, engine=chosen, name=da.name)
        field = _fields.bare(da, source, what="gradient")
        types = [_fields.float_type(field)] * 2
        sizes = [_results.grid_sizes(source)] * 2
        pair = _fields.apply(block, [field], source.axes.dims, outputs=sizes, dtypes=types, what="gradient")
        for array, label in zip(pair, _labels(da), strict=True):
            done[label.name] = _results.on_grid(array, label, da, source)
    return cf.add_history(xr.Dataset(done, attrs=_dataset_attrs(obj)), call)


def _gradient_of_coefficients(
    obj: XarrayObject, target: Target | None, lmax: int | None, radius: float, engine: Any
) -> xr.Dataset:
    if target is None:
        message = (
            "gradient of coefficients needs grid=, for instance ds.atmo.gradient(grid=xatmo.Grid.regular(181, 360))"
        )
        raise OptionError(message)
    swap = _fields.renamed((DEGREE, ORDER), target.dims)
    one = [obj] if isinstance(obj, xr.DataArray) else [da for da in obj.data_vars.values() if _fields.is_spectral(da)]
    done: dict[Hashable, xr.DataArray] = {}
    for da in one:
        _fields.require_convention(da, what="gradient")
        kept = da if lmax is None else _up_to(da, _kernels.check_degree(lmax))
        block = partial(_of_coefficients, nodes=target.nodes, radius=radius, engine=engine, name=da.name)
        types = [np.dtype(np.float32 if _fields.is_single(da) else np.float64)] * 2
        pair = _fields.apply(block, [kept], (DEGREE, ORDER), outputs=[target.sizes] * 2, dtypes=types, what="gradient")
        for array, label in zip(pair, _labels(da), strict=True):
            out = _fields.replace_dims(_fields.placed(array, target.coords), da, swap)
            out.attrs = label.attrs
            done[label.name] = out.rename(label.name)
    return xr.Dataset(done, attrs=_dataset_attrs(obj))


def _up_to(da: xr.DataArray, lmax: int) -> xr.DataArray:
    return da.isel({DEGREE: slice(lmax + 1), ORDER: slice(lmax + 1)})


def _scalars(obj: XarrayObject, source: Source) -> list[xr.DataArray]:
    """Fields on the grid that are no components of a wind."""
    if isinstance(obj, xr.DataArray):
        return [obj]
    names = cf.variables_with(obj, source.axes.dims, what="gradient")
    winds = {name for pair in wind_pairs(obj, source.axes.dims) for name in pair}
    kept = [obj[name] for name in names if name not in winds]
    if not kept:
        message = (
            f"nothing but winds came ({', '.join(map(repr, names))}), whose components are no scalars on the sphere; "
            "wanted scalar fields. See vorticity_divergence and helmholtz, or pass one: ds['u'].atmo.gradient()"
        )
        raise VariableError(message)
    return kept


def _labels(da: xr.DataArray) -> tuple[Label, Label]:
    units = da.attrs.get("units")
    per_metre = None if units is None else times(str(units), "m-1")
    stem = "" if da.name is None else str(da.name)
    names = (f"d{stem}_dx", f"d{stem}_dy") if stem else ("dx", "dy")
    words = _results.title(da)
    return (
        Label(names[0], f"eastward derivative of {words}", per_metre),
        Label(names[1], f"northward derivative of {words}", per_metre),
    )


def _dataset_attrs(obj: XarrayObject) -> dict[Any, Any]:
    """Attributes of a Dataset made from ``obj``: those of a Dataset, and nothing but the history of a DataArray."""
    if isinstance(obj, xr.Dataset):
        return obj.attrs
    return {"history": obj.attrs["history"]} if "history" in obj.attrs else {}


# ---------------------------------------------------------------------- Laplacian
def laplacian(
    obj: T, *, lmax: int | None = None, radius: float | None = None, engine: SpectralEngine | None = None
) -> T:
    """Compute the horizontal Laplacian: every degree n is multiplied by ``-n (n + 1) / a**2``.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scalar fields on a global grid, latitude and longitude whole; or coefficients on ``degree`` and ``order``. A CF
        wind pair in a Dataset is a vector: its result is the wind whose vorticity and divergence are the Laplacians of
        those of the input.
    lmax : int, optional
        Highest degree kept; what the grid resolves by default.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        Under the same names, in the input's units per square metre; coefficients from coefficients.

    Raises
    ------
    OptionError
        If ``lmax`` is more than the grid resolves, or the radius is not positive.
    GridError, ChunkError, MissingValueError
        As in `to_spectral`.

    Notes
    -----
    High degrees gain, and with them the rounding of the input (single precision, packing into 16 bits): keep with
    ``lmax`` the degrees that are meant.

    Examples
    --------
    >>> coefficients = xr.DataArray(np.array([[5, 0], [1, 0]], complex), dims=("degree", "order"))
    >>> laplacian(coefficients, radius=1.0).values.real[:, 0]
    array([ 0., -2.])
    """
    return _second(obj, "laplacian", lmax, radius, engine)


def inverse_laplacian(
    obj: T, *, lmax: int | None = None, radius: float | None = None, engine: SpectralEngine | None = None
) -> T:
    """Solve Poisson's equation: find the fields with zero mean whose Laplacian is given.

    Every degree n above 0 is multiplied by ``-a**2 / (n (n + 1))``. The mean of the input is ignored: no field on the
    sphere has a Laplacian with a mean.

    Parameters
    ----------
    obj : Dataset or DataArray
        As in `laplacian`: the vorticity, for instance, gives the streamfunction.
    lmax : int, optional
        Highest degree kept; what the grid resolves by default.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        Under the same names, in the input's units times square metres; coefficients from coefficients.

    Raises
    ------
    OptionError, GridError, ChunkError, MissingValueError
        As in `laplacian`.

    Examples
    --------
    >>> coefficients = xr.DataArray(np.array([[5, 0], [1, 0]], complex), dims=("degree", "order"))
    >>> inverse_laplacian(coefficients, radius=1.0).values.real[:, 0]
    array([ 0. , -0.5])
    """
    return _second(obj, "inverse_laplacian", lmax, radius, engine)


def _second(obj: T, what: str, lmax: int | None, radius: float | None, engine: SpectralEngine | None) -> T:
    """Apply a Laplacian (or its inverse), and name what comes out."""
    a = _results.check_radius(radius)
    obj = packed.unpacked(obj)
    spectral = _results.holds_coefficients(obj)
    source = None if spectral else Source.of(obj)
    if source is None:
        top = _degrees.top_degree(obj) if lmax is None else _kernels.check_degree(lmax)
    else:
        top = _kernels.resolve_lmax(source.grid, lmax, what=what)
    inverse = what == "inverse_laplacian"
    factor = _results.inverse_factor(top, a) if inverse else _kernels.derivative_factor(top, a)
    weights, call = 0.0 - factor**2, cf.describe_call(what, lmax=lmax, radius=radius, engine=engine)
    chosen = _kernels.choose_engine(engine)
    if source is None:
        out = _degrees.weigh_coefficients(obj, weights, what=what, call=call)
    else:
        out = _degrees.weigh_fields(obj, weights, source, engine=chosen, what=what, call=call)
    words, power = ("inverse Laplacian", "m2") if inverse else ("Laplacian", "m-2")

    def named(da: xr.DataArray) -> xr.DataArray:
        keep = ("cell_methods", "grid_mapping", "history", *_fields.CONVENTION, "lmax", "truncation")
        units = da.attrs.get("units")
        label = Label("", f"{words} of {_results.title(da)}", None if units is None else times(str(units), power))
        new: xr.DataArray = da.copy(deep=False)
        new.encoding = {}  # another quantity: digits and fill values of the field say nothing of it
        new.attrs = {**{k: v for k, v in da.attrs.items() if k in keep}, **label.attrs}
        return new

    dims = (DEGREE, ORDER) if source is None else source.axes.dims
    if isinstance(out, xr.DataArray):
        return named(out)
    return out.assign({name: named(out[name]) for name in cf.variables_with(out, dims, what=what)})
