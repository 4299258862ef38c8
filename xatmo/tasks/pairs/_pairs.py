"""Bring what a super-resolution is trained on into one form: coarse inputs and fine outputs, north to south."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NoReturn

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, _valid_times, cf, units
from xatmo._axes import nearest, step_of
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, UnitsError, VariableError
from xatmo.grids import Grid
from xatmo.regrid import Coarsening, blocks, coarsen, coarsening
from xatmo.tasks.pairs import _alignment, _windows
from xatmo.typing import XarrayObject

# Nodes of two files are the same when they are this near, in steps of the grid.
_SAME = 0.05
# Coarse steps may differ by this ratio from blocks of the target: a network accepts the same when it is used.
_STEP_RATIO = 1.3
# Coarse fields up to this size are computed once and kept; larger ones stay lazy.
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Pairs:
    """Coarse inputs and fine outputs that belong together.

    Attributes
    ----------
    coarse : Dataset
        Fields, then predictors, then covariates, then static fields; rows north to south.
    fine : Dataset
        Fields to be learned, on the same points ``factor`` times finer.
    static : Dataset or None
        The static fields on the whole coarse grid that they were given on.
    found : Coarsening
    axes : Horizontal
        Names of the horizontal coordinates, those of the coarse fields.
    fine_static : Dataset or None
        The static fields on the points of ``fine``, where they were given on the fine grid.
    breaks : tuple of int
        Frames with which another series begins: the next forecast of a hindcast. No window over time spans them.
    notes : tuple of str
        What was left out, and why.
    """

    coarse: xr.Dataset
    fine: xr.Dataset
    static: xr.Dataset | None
    found: Coarsening
    axes: cf.Horizontal
    fine_static: xr.Dataset | None = None
    breaks: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[Hashable, int]:
        """Points of the coarse fields, without a partial last row or column: it has no full block of fine points."""
        return {**dict(_first(self.coarse).sizes), **self.whole_cells}

    @property
    def whole_cells(self) -> dict[Hashable, int]:
        """Coarse rows and columns that have all their fine points."""
        fine, factor = self.found.fine, self.found.factor
        return {self.axes.lat_dim: fine.nlat // factor, self.axes.lon_dim: fine.nlon // factor}

    @property
    def periodic(self) -> list[Hashable]:
        """The longitude dimension, where the pair goes around the Earth without a partial last cell."""
        whole = self.found.fine.nlon % self.found.factor == 0 and self.found.fine.periodic
        return [self.axes.lon_dim] if whole else []

    @property
    def time_dim(self) -> Hashable:
        """Dimension of time.

        Raises
        ------
        DimensionError
            If the fields have none.
        """
        first = _first(self.coarse)
        try:
            dims = self.coarse[cf.time(self.coarse)].dims
        except CoordinateError:
            dims = ()
        if len(dims) != 1 or dims[0] not in first.dims:
            message = (
                f"a time window needs fields along time; train has dimensions {first.dims} and no time coordinate on "
                "them. Give it one, or leave time_window out"
            )
            raise DimensionError(message)
        return dims[0]

    @property
    def runs(self) -> tuple[_windows.Run, ...]:
        """First frame and end of each stretch of time at regular steps."""
        self.time_dim  # noqa: B018 - raises where there is none
        return _windows.runs(self.coarse[cf.time(self.coarse)].values, self.breaks)


def make(
    train: XarrayObject,
    factor: int,
    *,
    target: XarrayObject | None = None,
    predictors: XarrayObject | None = None,
    static: XarrayObject | None = None,
    covariates: Sequence[str] = (),
    regrid_inputs: str | None = "auto",
    what: str = "train",
) -> Pairs:
    """Pair coarse and fine fields.

    Coarse fields of another product are matched with the fine ones in place (`xatmo.regrid.onto_blocks`) and in time
    (`xatmo.tasks.pairs._alignment.align`): hindcasts by valid time, every member with the same target. Fields of one
    quantity belong together by name, else by standard name. What finds no partner is in ``notes``, and logged.

    Parameters
    ----------
    train : Dataset or DataArray
        Fine fields; with ``target`` the coarse ones.
    factor : int
    target, predictors, static : Dataset or DataArray, optional
        As in `SuperResolver.fit`.
    covariates : sequence of str
        Among `xatmo.covariates.COVARIATES`: channels that follow from time and place.
    regrid_inputs : str or None
        How coarse fields that do not lie on the blocks of ``target`` go there: a method of `xatmo.regrid.onto_blocks`.
        ``"auto"`` also refuses steps that differ by more than 1.3 from ``factor`` steps of ``target``. None: not at
        all.
    what : str
        What messages call ``train``.

    Raises
    ------
    GridError
        If ``train`` and ``target`` are not ``factor`` apart, or an extra field is on neither grid.
    CoordinateError
        If they do not lie on the same points or times.
    DimensionError
        If fields differ in their dimensions.
    VariableError
        If a name comes twice.
    UnitsError
        If a variable of both has units that cannot be converted, or has units in one of them only.
    """
    breaks: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    for extra, called in ((predictors, "predictors"), (static, "static")):
        if extra is not None:
            as_dataset(extra, called)
    if target is None:
        fine = _fields(train, what)
        coarse = _kept(coarsen(_chunked(fine), factor))
        found = coarsening(Grid.of(fine), factor)
    else:
        fine = _fields(target, "target")
        coarse = _named_as(_fields(train, what), fine)
        _require_units(coarse, fine, what)
        own = list(coarse.data_vars)
        if predictors is not None and _same_step(predictors, coarse):  # of the same product: they go the same way
            coarse = _beside(coarse, _placed(_oriented(as_dataset(predictors)), coarse, "predictors"))
            predictors = None
        coarse = _onto_blocks(coarse, fine, factor, regrid_inputs, what)
        aligned = _alignment.align(_with_bounds(coarse, train), _with_bounds(fine, target), what=what)
        fine, breaks, notes = aligned.fine[list(fine.data_vars)], aligned.breaks, aligned.notes
        coarse = _in_units_of(aligned.coarse[list(coarse.data_vars)], fine)
        found = _check_pair(coarse[own], fine, factor)
        if alone := [str(n) for n in fine.data_vars if n not in coarse]:
            notes += (f"{alone} of target are no fields of {what} by name or standard name: they have no baseline",)
        for note in notes:
            logging.getLogger(__name__).warning(note)
    axes = cf.horizontal(coarse)
    if predictors is not None:
        coarse = _beside(coarse, _extra(predictors, coarse, found, "predictors"))
    if covariates:
        coarse = _with_covariates(coarse, covariates)
    kept, exact = None, None
    if static is not None:
        extra = _extra(static, coarse, found, "static")
        timed = [n for n, v in extra.data_vars.items() if set(v.dims) != set(axes.dims)]
        if timed:
            message = f"static field {timed[0]!r} has dimensions {extra[timed[0]].dims}; wanted {axes.dims} only"
            raise DimensionError(message)
        coarse = _beside(coarse, extra)
        kept, exact = _on_coarse(static, found).compute(), _on_fine(static, fine, found)
    return Pairs(coarse, fine, kept, found, axes, exact, breaks, notes)


def as_dataset(obj: XarrayObject, what: str = "the input") -> xr.Dataset:
    """Give a DataArray as a Dataset; without a name it is called ``field``."""
    given: object = obj
    if not isinstance(given, xr.Dataset | xr.DataArray):
        message = f"{what} is {type(given).__name__}; wanted a Dataset or DataArray"
        raise OptionError(message)
    return obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name="field" if obj.name is None else obj.name)


def like(pairs: Pairs, first: Pairs, *, what: str) -> Pairs:
    """Give pairs with the variables of others, in their order and units: that is what a network reads.

    Raises
    ------
    GridError
        If they are on another grid: steps of another size, or rows that lie otherwise in coarse cells.
    VariableError
        If one is missing.
    UnitsError
        If units cannot be converted, or are missing.
    """
    ours, theirs = (
        [abs(step_of(a)) for a in (f.coarse.latitude, f.coarse.longitude)] for f in (pairs.found, first.found)
    )
    if any(not 1 / _STEP_RATIO < a / b < _STEP_RATIO for a, b in zip(ours, theirs, strict=True)):
        message = (
            f"{what} has coarse steps of {ours[0]:.4g} x {ours[1]:.4g} degrees, and training has {theirs[0]:.4g} x "
            f"{theirs[1]:.4g}; wanted the same resolution. Regrid it first"
        )
        raise GridError(message)
    if pairs.found.row_offset != first.found.row_offset:
        where = ["start on the pole" if p.found.row_offset else "lie in blocks" for p in (pairs, first)]
        message = (
            f"the fine rows of {what} {where[0]}, those of training {where[1]}: they lie half a row apart in their "
            "coarse cells. Wanted the same: select rows likewise"
        )
        raise GridError(message)
    made = []
    for have, want in ((pairs.coarse, first.coarse), (pairs.fine, first.fine)):
        names = list(want.data_vars)
        if missing := [n for n in names if n not in have]:
            message = (
                f"{what} lacks {sorted(map(str, missing))}; it has {sorted(map(str, have.data_vars))}, "
                f"and training uses {list(map(str, names))}"
            )
            raise VariableError(message)
        if bare := [n for n in names if "units" in want[n].attrs and "units" not in have[n].attrs]:
            message = (
                f"variable {bare[0]!r} of {what} has no units, in training it has {want[bare[0]].attrs['units']!r}; "
                "set attrs['units']"
            )
            raise UnitsError(message)
        made.append(_in_units_of(have[names], want))
    return replace(pairs, coarse=made[0], fine=made[1])


def period(pairs: Pairs) -> str | None:
    """Tell from when to when fields are; None where they have no time."""
    try:
        times = pairs.coarse[cf.time(pairs.coarse)]
    except CoordinateError:
        return None
    if times.ndim != 1 or not times.size:
        return None
    first, last = (str(t)[:16] for t in (times.values.min(), times.values.max()))
    return f"{first} to {last}, {times.size} times"


def check_patch_size(patch_size: int | Mapping[Any, int] | None, pairs: Pairs, default: int) -> dict[Hashable, int]:
    """Patch in coarse cells by dimension, from a number, or from ``lat``, ``lon`` or the dimensions' own names."""
    axes, sizes = pairs.axes, pairs.whole_cells
    if patch_size is None:
        return {d: min(default, sizes[d]) for d in axes.dims}
    if not isinstance(patch_size, Mapping):
        patch_size = dict.fromkeys(axes.dims, patch_size)
    names: dict[Any, Hashable] = {"lat": axes.lat_dim, "lon": axes.lon_dim, axes.lat_dim: axes.lat_dim,
                                  axes.lon_dim: axes.lon_dim}  # fmt: skip
    found: dict[Hashable, int] = {}
    given: Mapping[Any, Any] = patch_size
    for key, n in given.items():
        if key not in names:
            message = f"patch_size has {key!r}; wanted sizes in coarse cells for 'lat' and 'lon'"
            raise OptionError(message)
        if isinstance(n, bool) or not isinstance(n, Integral) or not 2 <= int(n) <= sizes[names[key]]:
            message = (
                f"patch_size {n!r} along {key!r}; wanted a whole number of coarse cells from 2 to the "
                f"{sizes[names[key]]} that there are"
            )
            raise OptionError(message)
        found[names[key]] = int(n)
    return {d: found.get(d, min(default, sizes[d])) for d in axes.dims}


# ---------------------------------------------------------------------- fields
def _fields(obj: XarrayObject, what: str) -> xr.Dataset:
    """Numeric fields, without a repeated column, rows north to south, all with the same dimensions."""
    ds = _oriented(as_dataset(obj, what))
    axes = cf.horizontal(ds)
    names = cf.variables_with(ds, axes.dims, what=what)
    dims = {frozenset(ds[n].dims) for n in names}
    if len(dims) > 1:
        shown = {str(n): ds[n].dims for n in names}
        message = (
            f"{what} has fields with different dimensions: {shown}; wanted the same for all. Pass fields without time "
            "as static=, fields that are only read as predictors="
        )
        raise DimensionError(message)
    # The order of dimensions decides that of windows: with one order, the same fields give the same training.
    return ds[names].transpose(..., *axes.dims)


def _chunked(ds: xr.Dataset) -> xr.Dataset:
    """Let fields of a file that was opened without Dask be coarsened piece by piece instead of loaded whole."""
    lazy = [n for n, v in ds.data_vars.items() if v.chunks is None and not getattr(v.variable, "_in_memory", True)]
    if not lazy:
        return ds
    whole = dict.fromkeys(cf.horizontal(ds).dims, -1)
    return ds.chunk({d: whole.get(d, "auto") for d in ds[lazy].dims})


def _oriented(ds: xr.Dataset) -> xr.Dataset:
    axes = cf.horizontal(ds)
    ds, _ = _labels.drop_cyclic(ds, axes)
    return ds if Grid.of(ds).north_to_south else ds.isel({axes.lat_dim: slice(None, None, -1)})


def _named_as(coarse: xr.Dataset, fine: xr.Dataset) -> xr.Dataset:
    """Give coarse fields the names of fine ones of the same quantity, told by the standard name."""
    standard = {n: v.attrs.get("standard_name") for ds in (coarse, fine) for n, v in ds.data_vars.items()}
    lacking = [n for n in fine.data_vars if n not in coarse and standard[n]]
    served = {n: [m for m in coarse.data_vars if m not in fine and standard[m] == standard[n]] for n in lacking}
    again = [standard[n] for n in fine.data_vars]
    return coarse.rename({m[0]: n for n, m in served.items() if len(m) == 1 and again.count(standard[n]) == 1})


def _require_units(coarse: xr.Dataset, fine: xr.Dataset, what: str) -> None:
    for n in (n for n in coarse.data_vars if n in fine):
        have = {called: ds[n].attrs.get("units") for called, ds in ((what, coarse), ("target", fine))}
        bare = [called for called, unit in have.items() if unit is None]
        if len(bare) == 1:
            known = next(unit for unit in have.values() if unit is not None)
            message = (
                f"variable {n!r} of {bare[0]} has no units, of the other of train and target {known!r}; set "
                "attrs['units']"
            )
            raise UnitsError(message)


def _in_units_of(coarse: xr.Dataset, fine: xr.Dataset) -> xr.Dataset:
    """Convert fields to the units of others of the same name."""
    both = [n for n in coarse.data_vars if n in fine and "units" in fine[n].attrs and "units" in coarse[n].attrs]
    converted = {}
    for n in both:
        try:
            converted[n] = units.convert(coarse[n], str(fine[n].attrs["units"]))
        except UnitsError as error:
            message = f"variable {n!r}: {error}"
            raise UnitsError(message) from error
    return coarse.assign(converted)


def _kept(coarse: xr.Dataset) -> xr.Dataset:
    return coarse.compute() if coarse.nbytes <= _KEPT_BYTES else coarse


def _with_bounds(ds: xr.Dataset, given: XarrayObject) -> xr.Dataset:
    """Take the bounds of times along, which are no fields."""
    if not isinstance(given, xr.Dataset):
        return ds
    named = {str(c.attrs.get("bounds") or c.encoding.get("bounds")) for c in ds.coords.values()}
    there = [n for n in given.variables if str(n) in named and _valid_times.is_time(given[n])]
    return ds.assign_coords({n: given[n].variable for n in there})


def _onto_blocks(coarse: xr.Dataset, fine: xr.Dataset, factor: int, method: str | None, what: str) -> xr.Dataset:
    """Bring coarse fields onto the blocks of fine ones, unless they are there."""
    ours, found = Grid.of(coarse), coarsening(Grid.of(fine), factor)
    at = blocks.points(coarse, found.coarse) if ours.shape == found.coarse.shape else None
    if method is None or (at is not None and all((np.diff(index) == 1).all() for index in at)):
        return coarse
    if at is not None:  # the same cells, stored from another longitude
        return blocks.onto_blocks(coarse, found.fine, factor)
    apart = blocks.ratio(ours, found)
    if method == "auto" and not 1 / _STEP_RATIO < apart < _STEP_RATIO:
        return coarse  # which is refused, saying both steps
    if not blocks.covers(ours, found):
        _refuse_area(ours, found, what)
    return blocks.onto_blocks(_chunked(coarse), found.fine, factor, method=method)


def _refuse_area(ours: Grid, found: Coarsening, what: str) -> NoReturn:
    message = (
        f"{what} and target do not cover the same area: the cells of {what} are centred on latitude "
        f"{ours.latitude[0]:g} to {ours.latitude[-1]:g} and longitude {ours.longitude[0]:g} to "
        f"{ours.longitude[-1]:g}; blocks of target on {found.coarse.latitude[0]:g} to "
        f"{found.coarse.latitude[-1]:g} and {found.coarse.longitude[0]:g} to {found.coarse.longitude[-1]:g}. "
        "Select the same area from both"
    )
    raise CoordinateError(message)


def _check_pair(coarse: xr.Dataset, fine: xr.Dataset, factor: int) -> Coarsening:
    ours, theirs = Grid.of(coarse), Grid.of(fine)
    found = coarsening(theirs, factor)
    if ours.shape != found.coarse.shape:
        ratio = (theirs.nlat / ours.nlat, theirs.nlon / ours.nlon)
        message = (
            f"train has {ours.nlat} x {ours.nlon} points and target {theirs.nlat} x {theirs.nlon}, {ratio[0]:.4g} and "
            f"{ratio[1]:.4g} times as many; wanted factor {factor}, that is {found.coarse.nlat} x {found.coarse.nlon}"
        )
        raise GridError(message)
    lat = np.abs(ours.latitude - found.coarse.latitude)
    lon = np.abs((ours.longitude - found.coarse.longitude + 180) % 360 - 180)
    steps = [abs(float(np.diff(a).mean())) for a in (ours.latitude, ours.longitude)]
    if lat.max() > 0.25 * steps[0] or lon.max() > 0.25 * steps[1]:
        _refuse_area(ours, found, "train")
    a, b = cf.horizontal(coarse), cf.horizontal(fine)
    others = [{d: ds.sizes[d] for d in _first(ds).dims if d not in x.dims} for ds, x in ((coarse, a), (fine, b))]
    others[0] = _alignment.without_members(coarse, *others)
    if others[0] != others[1]:
        message = f"train has {others[0]} besides latitude and longitude, target {others[1]}; select the same from both"
        raise DimensionError(message)
    for d in others[0]:
        if d in coarse.coords and d in fine.coords and not np.array_equal(coarse[d].values, fine[d].values):
            message = f"train and target have different values of {d!r}; select the same, in the same order"
            raise CoordinateError(message)
    return found


def _first(ds: xr.Dataset) -> xr.DataArray:
    return ds[next(iter(ds.data_vars))]


# ---------------------------------------------------------------------- predictors, covariates, static fields
def _beside(coarse: xr.Dataset, extra: xr.Dataset) -> xr.Dataset:
    if twice := sorted(map(str, set(extra.data_vars) & set(coarse.data_vars))):
        message = f"variables {twice} come twice, as fields and as predictors or static fields; rename or drop one"
        raise VariableError(message)
    return coarse.assign({n: extra[n] for n in extra.data_vars})


def _with_covariates(coarse: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    from xatmo.covariates import add_covariates, covariate_channels

    if twice := sorted(set(covariate_channels(names)) & set(map(str, coarse.data_vars))):
        message = f"variables {twice} come twice, as fields and as covariates; rename or drop one"
        raise VariableError(message)
    return add_covariates(coarse, names)


def _on_fine(obj: XarrayObject, fine: xr.Dataset, found: Coarsening) -> xr.Dataset | None:
    """Give static fields at the points of the fine fields; None where they are on the coarse grid."""
    ds = _oriented(as_dataset(obj))
    have, want = cf.horizontal(ds), cf.horizontal(fine)
    if abs(step_of(ds[have.lat].values) / step_of(found.fine.latitude) - 1) >= _SAME:
        return None
    ds = ds[cf.variables_with(ds, have.dims, what="static")]
    rows = _matching(ds[have.lat].values, fine[want.lat].values)
    columns = _matching(ds[have.lon].values, fine[want.lon].values, period=360.0)
    if rows is None or columns is None:
        message = (
            f"static {sorted(map(str, ds.data_vars))} do not cover the fine points of train: latitude "
            f"{float(ds[have.lat][0]):g} to {float(ds[have.lat][-1]):g}, longitude {float(ds[have.lon][0]):g} to "
            f"{float(ds[have.lon][-1]):g}. Select or regrid them to the same points"
        )
        raise CoordinateError(message)
    at = ds.isel({have.lat_dim: rows, have.lon_dim: columns}).transpose(*have.dims).compute()
    coords = {n: fine[n].variable for n in (want.lat, want.lon)}
    return xr.Dataset({n: (want.dims, v.values, v.attrs) for n, v in at.data_vars.items()}, coords)


def _on_coarse(obj: XarrayObject, found: Coarsening) -> xr.Dataset:
    """Give an extra field on the coarse grid: as it is, or coarsened if it is on the fine one."""
    ds = _oriented(as_dataset(obj))
    axes = cf.horizontal(ds)
    ds = ds[cf.variables_with(ds, axes.dims, what="predictors or static")]
    step = step_of(ds[axes.lat].values)
    coarse = step_of(found.coarse.latitude)
    if abs(step / coarse - 1) < _SAME:
        return ds
    if abs(step * found.factor / coarse - 1) < _SAME:
        return coarsen(ds, found.factor)
    message = (
        f"{sorted(map(str, ds.data_vars))} have a latitude step of {step:.4g} degrees; wanted the coarse grid's "
        f"{coarse:.4g} or the fine grid's {coarse / found.factor:.4g}. Regrid them first"
    )
    raise GridError(message)


def _extra(obj: XarrayObject, coarse: xr.Dataset, found: Coarsening, what: str) -> xr.Dataset:
    """Give an extra field at the coarse fields' points (and times)."""
    return _placed(_on_coarse(obj, found), coarse, what)


def _same_step(obj: XarrayObject, coarse: xr.Dataset) -> bool:
    steps = [step_of(ds[cf.horizontal(ds).lat].values) for ds in (obj, coarse)]
    return abs(steps[0] / steps[1] - 1) < _SAME


def _placed(ds: xr.Dataset, coarse: xr.Dataset, what: str) -> xr.Dataset:
    """Select the points (and times) of the coarse fields, under their names."""
    have, want = cf.horizontal(ds), cf.horizontal(coarse)
    ds = ds[cf.variables_with(ds, have.dims, what=what)]
    rows = _matching(ds[have.lat].values, coarse[want.lat].values)
    columns = _matching(ds[have.lon].values, coarse[want.lon].values, period=360.0)
    if rows is None or columns is None:
        message = (
            f"{what} {sorted(map(str, ds.data_vars))} do not cover the points of train: latitude "
            f"{float(ds[have.lat][0]):g} to {float(ds[have.lat][-1]):g}, longitude {float(ds[have.lon][0]):g} to "
            f"{float(ds[have.lon][-1]):g}, in other places. Select or regrid them to the same points"
        )
        raise CoordinateError(message)
    ds = ds.isel({have.lat_dim: rows, have.lon_dim: columns})
    ds = ds.rename({a: b for a, b in zip(have.dims, want.dims, strict=True) if a != b})
    ds = ds.drop_vars([c for c in ds.coords if set(ds[c].dims) & set(want.dims)])
    for d in [d for d in ds.dims if d not in want.dims]:
        if d not in coarse.dims:
            message = f"{what} have a dimension {d!r}, which train has not; select one value, or make it variables"
            raise DimensionError(message)
        if d in coarse.coords and d in ds.coords:
            try:
                ds = ds.sel({d: coarse[d].values})
            except KeyError as error:
                message = f"{what} lack values of {d!r} that train has ({error})"
                raise CoordinateError(message) from error
        elif ds.sizes[d] != coarse.sizes[d]:
            message = f"{what} have {ds.sizes[d]} points along {d!r}, train {coarse.sizes[d]}"
            raise DimensionError(message)
    return ds.assign_coords({d: coarse[d] for d in want.dims if d in coarse.coords})


def _matching(have: NDArray[Any], want: NDArray[Any], *, period: float | None = None) -> NDArray[np.intp] | None:
    """Index of the nearest of ``have`` for each of ``want``; None if one is too far."""
    return nearest(have, want, _SAME * step_of(want), period=period)
