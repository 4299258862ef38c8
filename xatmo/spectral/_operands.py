"""Fields and winds, on a grid or as coefficients: what a spectrum is made of, in one form for all of them.

An `Operand` holds the labelled arrays of one field or of one wind, and the function that turns blocks of them into
spectral components: coefficients on the sphere, Fourier coefficients in a box. `combine` applies a function to the
components of one or several operands, lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import require_finite, require_whole
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._boxes import Region, bare
from xatmo.spectral._fields import DEGREE, ORDER, Source
from xatmo.spectral._planar import Box
from xatmo.spectral._results import holds_coefficients, unit_scale
from xatmo.spectral._vectors import components
from xatmo.spectral.wind import _DIVERGENCE, _DIVERGENCE_NAMES, _VORTICITY, _VORTICITY_NAMES, _find
from xatmo.typing import Complexes, SpectralEngine

Components = tuple[Complexes, ...]


@dataclass(frozen=True)
class Operand:
    """One field or one wind, and how blocks of it become spectral components.

    Attributes
    ----------
    arrays : tuple of DataArray
        One for a scalar; two for a wind.
    core : tuple of str
        Dimensions that the transform takes, whole.
    transform : callable
        ``(*blocks) -> components``, ``(..., degree, order)`` on the sphere.
    """

    arrays: tuple[xr.DataArray, ...]
    core: tuple[Hashable, ...]
    transform: Callable[..., Components]


# ---------------------------------------------------------------------- blocks
def _checked(block: Any, what: str, name: Any) -> Any:
    require_finite(block, what=what, name=name)
    return block


def _scaled(array: Any, scale: float) -> Any:
    return array if scale == 1 else array * np.asarray(scale, array.real.dtype)


def _field_on_grid(field: Any, *, grid: Grid, lmax: int, engine: Any, what: str, name: Any) -> Components:
    field = _checked(_kernels.as_float(field), what, name)
    return (_kernels.analysis(field, grid, lmax, engine),)


def _wind_on_grid(
    u: Any, v: Any, *, grid: Grid, lmax: int, engine: Any, scale: tuple[float, ...], what: str, name: Any
) -> Components:
    pair = [_scaled(_checked(_kernels.as_float(x), what, name), s) for x, s in zip((u, v), scale, strict=True)]
    return _kernels.analysis_vector(pair[0], pair[1], grid, lmax, engine)


def _given(coefficients: Any, lmax: int, what: str, name: Any) -> Complexes:
    """Coefficients up to ``lmax``, in a square, with zeros where order > degree."""
    array = _checked(_fields.square(_kernels.as_complex(coefficients)), what, name)
    return np.tril(array[..., : lmax + 1, : lmax + 1])


def _vorticity_on_grid(
    vorticity: Any,
    divergence: Any,
    *,
    grid: Grid,
    lmax: int,
    engine: Any,
    radius: float,
    scale: Any,
    what: str,
    name: Any,
) -> Components:
    fields = [
        _scaled(_checked(_kernels.as_float(x), what, name), s)
        for x, s in zip((vorticity, divergence), scale, strict=True)
    ]
    first, second = (_of_velocity(_kernels.analysis(x, grid, lmax, engine), radius) for x in fields)
    return first, second


def _of_velocity(coefficients: Complexes, radius: float) -> Complexes:
    """Coefficients of the wind's part that has a vorticity, or divergence, of these coefficients."""
    factor = _kernels.derivative_factor(coefficients.shape[-1] - 1, radius)
    factor[0] = np.inf  # no wind has vorticity or divergence in its global mean
    return coefficients * (1 / factor)[:, None].astype(coefficients.real.dtype)


def _given_field(coefficients: Any, *, lmax: int, what: str, name: Any) -> Components:
    return (_given(coefficients, lmax, what, name),)


def _given_wind(
    vorticity: Any, divergence: Any, *, lmax: int, radius: float, scale: tuple[float, ...], what: str, name: Any
) -> Components:
    pair = [_scaled(_given(x, lmax, what, name), s) for x, s in zip((vorticity, divergence), scale, strict=True)]
    first, second = (_of_velocity(x, radius) for x in pair)
    return first, second


def _in_box(*fields: Any, box: Box, scale: Sequence[float], what: str, name: Any) -> Components:
    checked = [_checked(_kernels.as_float(x), what, name) for x in fields]
    return tuple(box.transform(x) * s for x, s in zip(checked, scale, strict=True))


# ---------------------------------------------------------------------- operands
def unpacked(obj: Any) -> Any:
    """Give coefficients on ``degree`` and ``order`` for those on one axis, as GRIB has them; anything else as it is."""
    from xatmo.spectral import packed

    return packed.unpacked(obj)


def coefficient_names(ds: xr.Dataset) -> list[Hashable]:
    """Names of the variables that are coefficients."""
    return [n for n, v in ds.data_vars.items() if _fields.is_spectral(v)]


def given_degree(da: xr.DataArray, lmax: int | None, *, what: str) -> int:
    """Highest degree to use of given coefficients.

    Raises
    ------
    OptionError
        If ``lmax`` is no degree, or above the highest given.
    """
    top = _fields.require_convention(da, what=what)
    if lmax is None:
        return top
    wanted = _kernels.check_degree(lmax)
    if wanted > top:
        message = f"{what}: lmax={lmax} came, but the coefficients of {da.name!r} end at degree {top}"
        raise OptionError(message)
    return wanted


def field_on_grid(da: xr.DataArray, source: Source, lmax: int, engine: SpectralEngine | None, *, what: str) -> Operand:
    """Operand of a scalar field on a global grid: its coefficients.

    Raises
    ------
    DimensionError
        If it is on no grid.
    """
    _require_dims([da], source, what)
    block = partial(
        _field_on_grid, grid=source.grid, lmax=lmax, engine=_kernels.choose_engine(engine), what=what, name=da.name
    )
    return Operand((_fields.bare(da, source, what=what),), source.axes.dims, block)


def _require_dims(arrays: Sequence[xr.DataArray], source: Region, what: str) -> None:
    for da in arrays:
        missing = [d for d in source.axes.dims if d not in da.dims]
        if missing:
            message = f"{what}: {da.name!r} has dimensions {da.dims}; wanted {missing[0]!r} among them"
            raise DimensionError(message)


def wind_on_grid(
    pair: tuple[xr.DataArray, xr.DataArray], source: Source, lmax: int, engine: SpectralEngine | None, *, what: str
) -> Operand:
    """Operand of a wind on a global grid: its rotational and divergent coefficients, in m s-1."""
    block = partial(
        _wind_on_grid,
        grid=source.grid,
        lmax=lmax,
        engine=_kernels.choose_engine(engine),
        scale=tuple(unit_scale(x, "m s-1") for x in pair),
        what=what,
        name=tuple(x.name for x in pair),
    )
    return Operand(tuple(_fields.bare(x, source, what=what) for x in pair), source.axes.dims, block)


def given_field(da: xr.DataArray, lmax: int, *, what: str) -> Operand:
    """Operand of a scalar given as coefficients."""
    return Operand((da,), (DEGREE, ORDER), partial(_given_field, lmax=lmax, what=what, name=da.name))


def given_wind_pair(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Coefficients of vorticity and of divergence, if a Dataset has both."""
    return _vorticity_pair(ds[coefficient_names(ds)], alone=False)


def _vorticity_pair(ds: xr.Dataset, *, alone: bool) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Vorticity and divergence among the variables; with ``alone``, one of them and zeros will do."""
    names = [_find(ds, None, *known) for known in ((_VORTICITY, _VORTICITY_NAMES), (_DIVERGENCE, _DIVERGENCE_NAMES))]
    found = [ds[n] for n in names if n is not None]
    if len(found) < (1 if alone else 2):
        return None
    first, second = (xr.zeros_like(found[0]) if n is None else ds[n] for n in names)
    return first, second


def given_wind(
    pair: tuple[xr.DataArray, xr.DataArray], lmax: int, *, radius: float = EARTH_RADIUS, what: str
) -> Operand:
    """Operand of a wind given as coefficients of vorticity and divergence."""
    block = partial(
        _given_wind,
        lmax=lmax,
        radius=radius,
        scale=tuple(unit_scale(x, "s-1") for x in pair),
        what=what,
        name=tuple(x.name for x in pair),
    )
    return Operand(pair, (DEGREE, ORDER), block)


def any_wind(
    ds: xr.Dataset,
    u: Hashable | None,
    v: Hashable | None,
    lmax: int | None,
    *,
    radius: float,
    engine: SpectralEngine | None,
    what: str,
) -> tuple[Operand, int]:
    """Operand of the wind of a Dataset: from components, or from vorticity and divergence, also as coefficients.

    Raises
    ------
    VariableError
        If there is neither.
    OptionError
        If names of components come with coefficients.
    """
    ds = unpacked(ds)
    if holds_coefficients(ds):
        if u is not None or v is not None:
            message = f"{what}: u={u!r}, v={v!r} came with coefficients; wanted those of vorticity and divergence"
            raise OptionError(message)
        given = _vorticity_pair(ds[coefficient_names(ds)], alone=True)
        if given is None:
            message = (
                f"{what} needs coefficients of vorticity and divergence (vo, d); "
                f"{sorted(map(str, coefficient_names(ds)))} came"
            )
            raise VariableError(message)
        top = min(given_degree(x, lmax, what=what) for x in given)
        return given_wind(given, top, radius=radius, what=what), top
    source = Source.of(ds)
    top = _kernels.resolve_lmax(source.grid, lmax, what=what)
    if u is None and v is None and cf.wind_pair(ds, required=False) is None:
        fields = [n for n, x in ds.data_vars.items() if set(source.axes.dims) <= set(x.dims)]
        rates = _vorticity_pair(ds[fields], alone=True)
        if rates is not None:
            return _rates_on_grid(rates, source, top, radius, engine, what=what), top
    pair = components(ds, u, v, source.axes.dims)
    return wind_on_grid(pair, source, top, engine, what=what), top


def _rates_on_grid(
    pair: tuple[xr.DataArray, xr.DataArray],
    source: Source,
    lmax: int,
    radius: float,
    engine: SpectralEngine | None,
    *,
    what: str,
) -> Operand:
    """Operand of the wind that has the vorticity and divergence given on a global grid."""
    block = partial(
        _vorticity_on_grid,
        grid=source.grid,
        lmax=lmax,
        engine=_kernels.choose_engine(engine),
        radius=radius,
        scale=tuple(unit_scale(x, "s-1") for x in pair),
        what=what,
        name=tuple(x.name for x in pair),
    )
    return Operand(tuple(_fields.bare(x, source, what=what) for x in pair), source.axes.dims, block)


def in_box(fields: Sequence[xr.DataArray], source: Region, box: Box, scale: Sequence[float], *, what: str) -> Operand:
    """Operand of a field or wind in a plane box: Fourier coefficients of the detrended, tapered fields.

    Raises
    ------
    DimensionError
        If one is on no grid.
    """
    _require_dims(fields, source, what)
    names = tuple(x.name for x in fields)
    block = partial(_in_box, box=box, scale=tuple(scale), what=what, name=names if len(names) > 1 else names[0])
    return Operand(tuple(bare(x, source, what=what) for x in fields), source.axes.dims, block)


# ---------------------------------------------------------------------- application
def _block(*blocks: Any, function: Callable[..., Any], counts: tuple[int, ...], transforms: Any, dtype: Any) -> Any:
    parts, start = [], 0
    for count, transform in zip(counts, transforms, strict=True):
        parts.append(transform(*blocks[start : start + count]))
        start += count
    # Where one operand lacks a dimension of the other, so do its own powers.
    results = np.broadcast_arrays(*function(*parts))
    return tuple(r.astype(dtype) for r in results)


def combine(
    operands: Sequence[Operand],
    function: Callable[..., Sequence[Any]],
    output: Mapping[Hashable, int],
    *,
    count: int,
    what: str,
) -> tuple[xr.DataArray, ...]:
    """Apply ``function`` to the components of all operands, lazily if any array is.

    Parameters
    ----------
    operands : sequence of Operand
    function : callable
        ``(components, ...) -> arrays``, one argument for each operand; gives ``count`` arrays on ``output``.
    output : mapping
        New dimension to its size.

    Returns
    -------
    tuple of DataArray
        float32 if all arrays are in single precision, else float64; no attributes.
    """
    arrays = [a for op in operands for a in op.arrays]
    for op in operands:
        for da in op.arrays:
            require_whole(da, op.core, what=what)
    single = all(_fields.is_single(a) if a.dtype.kind == "c" else _fields.float_type(a) == np.float32 for a in arrays)
    dtype = np.dtype(np.float32 if single else np.float64)
    cores = [op.core for op in operands for _ in op.arrays]
    every = {d for core in cores for d in core}
    lead = len({d for a in arrays for d in a.dims} - every)
    meta = tuple(np.empty((0,) * (lead + len(output)), dtype) for _ in range(count))
    block = partial(
        _block,
        function=function,
        counts=tuple(len(op.arrays) for op in operands),
        transforms=tuple(op.transform for op in operands),
        dtype=dtype,
    )
    if count == 1:
        block = partial(_only, block=block)
    result = xr.apply_ufunc(
        block,
        *arrays,
        input_core_dims=[list(core) for core in cores],
        output_core_dims=[list(output)] * count,
        exclude_dims=every,
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": dict(output), "meta": meta if count > 1 else meta[0]},
        join="exact",
        keep_attrs=False,
    )
    return result if isinstance(result, tuple) else (result,)


def _only(*blocks: Any, block: Callable[..., Any]) -> Any:
    return block(*blocks)[0]
