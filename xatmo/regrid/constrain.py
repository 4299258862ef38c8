"""Fine fields whose means over coarse cells are given ones, exactly: hard constraints for refined fields."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf, units
from xatmo._axes import step_of
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.regrid import _shares
from xatmo.regrid.coarse import _FACTOR, _check_factor, coarsening
from xatmo.typing import T, XarrayObject

ConstraintKind = Literal["additive", "multiplicative", "softmax"]
KINDS = _shares.KINDS

# Coarse nodes may lie this many fine steps away from the middle of their cells: those of a part of a grid with rows on
# the poles lie half a step away.
_OFF = 0.6


def constrain(fine: T, coarse: XarrayObject, *, kind: ConstraintKind | str, factor: int | None = None) -> T:
    r"""Change fine fields so that coarsening them gives the coarse ones exactly.

    With :math:`A` the area-weighted mean over coarse cells, :math:`y` the fine and :math:`x` the coarse field, and a
    coarse value spread over its cell in products and sums:

    ``"additive"``
        :math:`y + (x - A y)`.
    ``"multiplicative"``
        :math:`y\, x / A y`, for what is never negative: rain, humidity, concentrations.
    ``"softmax"``
        :math:`x\, e^{y / x} / A e^{y / x}`, never negative. The exponent is in units of the coarse
        value, so that the result is the same in any units, and close to :math:`y` where :math:`y` varies little.

    Parameters
    ----------
    fine : Dataset or DataArray
        Refined fields, with any further dimensions (``member``, ``time``, level ...), in any chunks.
    coarse : Dataset or DataArray
        The means to have. Variables are matched by name (two DataArrays whatever their names), units converted, further
        dimensions by coordinate; those that only ``fine`` has, such as ``member``, share one coarse field. Latitude may
        run the other way, longitude begin elsewhere, and the grid may be larger.
    kind : {"additive", "multiplicative", "softmax"}
    factor : int, optional
        Fine cells per coarse cell, along each axis. Default: that by which ``coarse`` was coarsened, or the ratio of
        the steps.

    Returns
    -------
    Dataset or DataArray
        Like ``fine``: its type, names, order, chunks. ``coarsen(result, factor)`` is ``coarse``, to rounding. Variables
        that ``coarse`` lacks are left as they are.

    Raises
    ------
    OptionError
        If ``kind`` is unknown, or the factor is not a whole number of at least 2.
    VariableError
        If no variable is in both.
    GridError
        If the points of ``coarse`` do not lie in the cells that `coarsen` makes of the fine grid.
    DimensionError, CoordinateError
        If ``coarse`` has a dimension that ``fine`` lacks, or lacks some of its coordinates.
    UnitsError
        If the units of the two measure different things.

    Notes
    -----
    The cells are those of `xatmo.regrid.coarsen`, partial ones at the edges included; sums are done in float64.

    *Missing values* stay missing, and the mean is that over the valid part, as in `coarsen`. Where the coarse value is
    missing the fine ones stay as they are.

    *Signs.* Multiplicative and softmax results have the sign of their coarse value, and are zero where that is zero.
    For the multiplicative one, fine values of the other sign count as zero; where nothing remains (a mean below a
    millionth of the coarse value), the cell gets the coarse value throughout.

    *Rows in two cells.* On a grid with rows on the poles (721 rows by a factor of 4), the edges of coarse cells run
    through fine rows. There :math:`y + P (x - A y)` takes the mean of both corrections in the shared row, and what each
    cell then still lacks in the rows that are its own, so that :math:`A P = 1`. The other two give the shared row the
    mean of the two cells' values, but no more than leaves half of what is due to either cell's own rows, which so stay
    positive. Nothing is iterated, and a value depends on its own and the neighbouring cells only.

    The three are those of [1]_, on grids where no row is shared.

    References
    ----------
    .. [1] P. Harder et al., 2023: Hard-constrained deep learning for climate downscaling. J. Mach. Learn. Res. 24.
       arXiv:2208.05424

    Examples
    --------
    >>> from xatmo.regrid import coarsen
    >>> grid = Grid.regular(73, 144)
    >>> rain = xr.DataArray(np.random.default_rng(0).gamma(0.5, size=grid.shape), grid.coords(),
    ...                     ("latitude", "longitude"), "tp", {"units": "mm"})
    >>> coarse = 2 * coarsen(rain, 4)
    >>> made = constrain(rain, coarse, kind="multiplicative")
    >>> bool(abs(coarsen(made, 4) - coarse).max() < 1e-12), bool(made.min() >= 0)
    (True, True)
    """
    if kind not in KINDS:
        message = f"kind={kind!r} came; wanted one of {', '.join(map(repr, KINDS))}"
        raise OptionError(message)
    for what, obj in (("fine", fine), ("coarse", coarse)):
        given: object = obj
        if not isinstance(given, xr.Dataset | xr.DataArray):
            message = f"{what} is {type(obj).__name__}; wanted a Dataset or DataArray with latitude and longitude"
            raise OptionError(message)
    axes = cf.horizontal(fine)
    matched = _matched(fine, coarse, axes)
    place = _placed(fine, coarse, axes, factor)

    def one(da: xr.DataArray) -> xr.DataArray:
        other = matched.get(da.name, matched.get(None))
        return da if other is None else _field(da, other, axes, place, kind)

    out = _labels.map_fields(fine, one, dims=axes.dims, what="constrain", kinds="fiub")
    return cf.add_history(out, cf.describe_call("constrain", kind=kind, factor=place.factor))


def constrain_field(fine: xr.DataArray, coarse: xr.DataArray, *, kind: str, factor: int | None = None) -> xr.DataArray:
    """Do what `constrain` does to one field, without a line of history."""
    axes = cf.horizontal(fine)
    return _field(fine, coarse, axes, _placed(fine, coarse, axes, factor), kind)


def _matched(fine: XarrayObject, coarse: XarrayObject, axes: cf.Horizontal) -> dict[Hashable, xr.DataArray]:
    """Coarse field of each fine one, by the fine one's name; under None that of all."""
    there = cf.horizontal(coarse)
    if isinstance(coarse, xr.DataArray):
        if isinstance(fine, xr.DataArray):
            return {None: coarse}
        found = {coarse.name: coarse}
    else:
        found = {n: v for n, v in coarse.data_vars.items() if set(there.dims) <= set(v.dims)}
    have = [fine.name] if isinstance(fine, xr.DataArray) else list(fine.data_vars)
    both = {n: v for n, v in found.items() if n in have}
    if not both:
        message = (
            f"fine has {sorted(map(str, have))}, coarse {sorted(map(str, found))}: no variable is in both. Rename one"
        )
        raise VariableError(message)
    return both


# ---------------------------------------------------------------------- where the coarse points lie
@dataclass(frozen=True, eq=False)
class _Place:
    """How coarse fields lie against the cells of the fine grid."""

    factor: int
    cells: _shares.Cells
    axes: cf.Horizontal  # of the coarse fields
    rows: NDArray[np.intp]  # index of the coarse row for each row of cells
    columns: NDArray[np.intp]
    shift: int  # columns by which the fine field has to be rolled west, so that it begins with a cell


def _placed(fine: XarrayObject, coarse: XarrayObject, axes: cf.Horizontal, factor: int | None) -> _Place:
    there = cf.horizontal(coarse)
    bare, _ = _labels.drop_cyclic(fine[axes.lon], axes)
    grid = Grid.from_latlon(fine[axes.lat].values, bare.values)
    lat, lon = grid.latitude, grid.longitude
    other, _ = _labels.drop_cyclic(coarse[there.lon], there)
    coarse_lat, coarse_lon = np.asarray(coarse[there.lat].values, np.float64), np.asarray(other.values, np.float64)
    if factor is None:
        told = coarse[there.lat].attrs.get(_FACTOR)
        steps = ((step_of(coarse_lat), step_of(lat)), (step_of(coarse_lon), step_of(lon)))  # 0 of a single point
        of_steps = next((round(wide / narrow) for wide, narrow in steps if wide and narrow), 1)
        factor = int(told) if told is not None else max(1, of_steps)
    factor = _check_factor(factor)
    shifts = range(factor) if grid.periodic and grid.nlon % factor == 0 else range(1)
    found = coarsening(grid, factor)
    for shift in shifts:
        if shift:
            found = coarsening(Grid.from_latlon(lat, np.append(lon[shift:], lon[:shift] + 360.0)), factor)
        # coarsening() takes rows north to south
        nodes = found.coarse.latitude if grid.north_to_south else found.coarse.latitude[::-1]
        rows = _nearest(nodes, coarse_lat, step_of(lat))
        columns = _nearest(found.coarse.longitude, coarse_lon, step_of(lon), around=True)
        if rows is None or (columns is None and not grid.periodic):
            break
        if columns is not None:
            cells = _cells(found, grid.north_to_south)
            return _Place(factor, cells, there, rows, columns, shift)
    message = (
        f"the coarse points ({coarse_lat.size} x {coarse_lon.size}, from {coarse_lat[0]:.4g} N, {coarse_lon[0]:.4g} E) "
        f"are not those of {factor} x {factor} cells of the fine grid ({lat.size} x {lon.size}, from {lat[0]:.4g} N, "
        f"{lon[0]:.4g} E), which gives {found.coarse!r}; wanted the field that was refined, or pass factor="
    )
    raise GridError(message)


@lru_cache(maxsize=16)
def _cells(found: Any, down: bool) -> _shares.Cells:
    height = np.abs(np.diff(np.sin(np.radians(found.latitude_edges))))
    width = np.abs(np.diff(found.longitude_edges))
    return _shares.Cells.of(found.weights(north_to_south=down), height if down else height[::-1], width)


def _nearest(
    wanted: NDArray[Any], nodes: NDArray[Any], step: float, *, around: bool = False
) -> NDArray[np.intp] | None:
    """Index of the node that stands for each of those wanted; None if they are others."""
    off = nodes - wanted[:, None]
    if around:
        off = (off + 180) % 360 - 180
    index = np.abs(off).argmin(axis=1)
    off = np.abs(off[np.arange(wanted.size), index])
    # Nodes of outermost cells, which may be partial, or end on a pole, need not lie in their middle.
    if np.unique(index).size < index.size or np.median(off) > _OFF * step or off.max() > _OFF * step_of(wanted):
        return None
    return np.asarray(index, dtype=np.intp)


# ---------------------------------------------------------------------- one field
def _field(fine: xr.DataArray, coarse: xr.DataArray, axes: cf.Horizontal, place: _Place, kind: str) -> xr.DataArray:
    given = _aligned(fine, coarse, axes, place)
    out = _labels.on_same_grid(fine, lambda da: _values(da, given, axes, place, kind), axes)
    chunks = cf.chunks_of(fine)
    return out.chunk(chunks) if chunks and cf.chunks_of(out) != chunks else out


def _aligned(fine: xr.DataArray, coarse: xr.DataArray, axes: cf.Horizontal, place: _Place) -> xr.DataArray:
    """Coarse field in the units, the order and at the coordinates of the fine one."""
    there = place.axes
    bare = coarse.isel({there.lat_dim: place.rows, there.lon_dim: place.columns})
    if "units" in fine.attrs and "units" in coarse.attrs:
        bare = units.convert(bare, str(fine.attrs["units"]))
    extras = [d for d in bare.dims if d not in there.dims]
    unknown = [d for d in extras if d not in fine.dims]
    if unknown:
        message = (
            f"coarse {coarse.name!r} has the dimension {unknown[0]!r}, which the fine field {fine.dims} lacks; select "
            "one entry of it"
        )
        raise DimensionError(message)
    for d in extras:
        if d in fine.coords and d in bare.coords:
            at = bare.get_index(d).get_indexer(fine.get_index(d))
            if (at < 0).any():
                lacking = ", ".join(map(str, fine[d].values[at < 0][:3]))
                message = f"coarse {coarse.name!r} has no {d!r} {lacking}; wanted all that the fine field has"
                raise CoordinateError(message)
            if not np.array_equal(at, np.arange(bare.sizes[d])):
                bare = bare.isel({d: at})
        elif bare.sizes[d] != fine.sizes[d]:
            message = f"{d!r} has {bare.sizes[d]} entries in coarse, {fine.sizes[d]} in fine; wanted the same"
            raise DimensionError(message)
    order = [d for d in fine.dims if d in extras]
    return cast(xr.DataArray, bare.variable.transpose(*order, *there.dims))


def _values(fine: xr.DataArray, coarse: Any, axes: cf.Horizontal, place: _Place, kind: str) -> xr.DataArray:
    last = fine.transpose(..., *axes.dims)
    extras = last.dims[:-2]
    # Broadcast by name: a dimension that coarse lacks has size 1.
    index: tuple[Any, ...] = tuple(slice(None) if d in coarse.dims else None for d in extras)
    data: Any = last.data
    if place.shift:
        rolled: Any = last.variable.roll({axes.lon_dim: -place.shift})  # type: ignore[no-untyped-call]
        chunks = last.variable.chunksizes.get(axes.lon_dim)
        data = rolled.data
    given = coarse.data[(*index, slice(None), slice(None))] if index else coarse.data
    if _is_dask(data) or _is_dask(given):
        data = _lazily(data, given, place.cells, kind)
    else:
        data = _shares.constrain(np.asarray(data), np.asarray(given), place.cells, kind)
    out = last.copy(data=data)
    if place.shift:
        back: Any = out.variable.roll({axes.lon_dim: place.shift})  # type: ignore[no-untyped-call]
        out = last.copy(data=back.data)
        if chunks is not None:
            out = out.chunk({axes.lon_dim: chunks})
    out.attrs = _labels.true_attrs(fine)
    return _labels.changed_values(out.transpose(*fine.dims), fine)


def _is_dask(data: Any) -> bool:
    return hasattr(data, "__dask_graph__")


def _lazily(fine: Any, coarse: Any, cells: _shares.Cells, kind: str) -> Any:
    """One task for each chunk of ``fine``, which reads the whole cells that decide it, and the coarse ones there."""
    import dask.array as da

    array: Any = da
    if not _is_dask(fine):
        fine = array.from_array(fine, chunks=-1)
    if not _is_dask(coarse):
        coarse = array.from_array(coarse, chunks=-1)
    n_extras = fine.ndim - 2
    chunks = tuple(fine.chunks[k] if coarse.shape[k] > 1 else (1,) for k in range(n_extras))
    coarse = coarse.rechunk((*chunks, -1, -1))
    dtype = fine.dtype if fine.dtype.kind == "f" else np.dtype(np.float64)
    edges = [[0, *accumulate(c)] for c in fine.chunks[-2:]]
    names = tuple(f"extra{k}" for k in range(n_extras))
    bands = []
    for top, bottom in pairwise(edges[0]):
        band = []
        for left, right in pairwise(edges[1]):
            own, rows, columns, coarse_rows, coarse_columns = cells.around(slice(top, bottom), slice(left, right))
            around = fine[..., rows, columns].rechunk({n_extras: -1, n_extras + 1: -1})
            given = coarse[..., coarse_rows, coarse_columns].rechunk({n_extras: -1, n_extras + 1: -1})
            cut = slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start)
            band.append(
                array.blockwise(
                    _Piece(own, kind, cut), (*names, "y", "x"), around, (*names, "Y", "X"),
                    given, (*names, "I", "J"), new_axes={"y": bottom - top, "x": right - left}, concatenate=True,
                    align_arrays=False, dtype=dtype, meta=np.empty((0,) * fine.ndim, dtype),
                )
            )  # fmt: skip
        bands.append(band)
    if len(bands) == 1 and len(bands[0]) == 1:
        return bands[0][0]
    return array.block(bands)


@dataclass(frozen=True, eq=False)
class _Piece:
    cells: _shares.Cells
    kind: str
    cut: tuple[slice, slice]

    def __call__(self, fine: NDArray[Any], coarse: NDArray[Any]) -> NDArray[Any]:
        return _shares.constrain(fine, coarse, self.cells, self.kind, cut=self.cut)
