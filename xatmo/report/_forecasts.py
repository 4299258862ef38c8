"""Forecasts of several runs and the truth on the same initial times, leads, labels and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf, metrics
from xatmo.errors import CoordinateError, OptionError, XatmoError
from xatmo.report._runs import Run, named
from xatmo.typing import T
from xatmo.units import convert

INIT, LEAD, MEMBER = "init_time", "lead_time", "member"
SEQUENCE = "sequence"  # independent ones, as of moving digits
_PIECE = 32 * 2**20  # bytes of a field in memory that is cut for Dask, so that what is made of it stays small
_JOINED = _PIECE // 8  # bytes up to which neighbouring chunks of Dask are put together
_SAME = 1e-3  # of the spacing, by which labels of the same grid may differ


@dataclass(frozen=True)
class Aligned:
    """Forecasts that can be compared.

    Attributes
    ----------
    forecasts : dict of DataArray
        By run: ``init_time``, ``lead_time``, perhaps ``member``, and the horizontal dimensions. Lazy.
    truth : DataArray
        At their valid times; without members. Lazy where forecasts or truth are.
    notes : list of str
        What was left out to have the same times.
    """

    forecasts: dict[str, xr.DataArray]
    truth: xr.DataArray
    notes: list[str] = field(default_factory=list)

    @property
    def horizontal(self) -> list[Any]:
        """Horizontal dimensions; all others than times and members where there is no latitude."""
        return [d for d in self.truth.dims if d not in (INIT, LEAD)]

    @property
    def ensembles(self) -> dict[str, xr.DataArray]:
        """Runs with members."""
        return {n: da for n, da in self.forecasts.items() if MEMBER in da.dims}

    def means(self) -> dict[str, xr.DataArray]:
        """Give all runs, ensembles by their mean."""
        return {n: da.mean(MEMBER, keep_attrs=True) if MEMBER in da.dims else da for n, da in self.forecasts.items()}


def are_forecasts(runs: Sequence[Run]) -> bool:
    """Tell whether predictions are forecasts along initial and lead time.

    Raises
    ------
    OptionError
        If some are and others are not.
    """
    made = {run.name: run.prediction is not None and {INIT, LEAD} <= set(_named(run.prediction).dims) for run in runs}
    if any(made.values()) and not all(made.values()):
        odd = sorted(n for n, is_one in made.items() if not is_one)
        message = (
            f"{odd} have no {INIT} and {LEAD}, which the other runs have; wanted forecasts alone, or none: compare "
            "them on pages of their own"
        )
        raise OptionError(message)
    return any(made.values())


def align(forecasts: Mapping[str, xr.DataArray], truth: xr.DataArray) -> Aligned:
    """Bring forecasts onto the initial times and leads that all have, and the truth onto their valid times.

    Raises
    ------
    CoordinateError
        If they have no time in common with each other or with the truth, or lie on other grids.
    UnitsError
        If units cannot be converted.
    """
    notes: list[str] = []
    units = truth.attrs.get("units")
    truth = _named(truth)
    runs = {n: _in_pieces(_named(_in_units(da, units, n))) for n, da in forecasts.items()}
    first_name, first = next(iter(runs.items()))
    for dim in (INIT, LEAD):
        shared = first.indexes[dim]
        for da in runs.values():
            shared = shared.intersection(da.indexes[dim]).sort_values()
        if not len(shared):
            message = f"the runs have no {dim} in common; wanted forecasts of the same times"
            raise CoordinateError(message)
        lost = {n: da.sizes[dim] - len(shared) for n, da in runs.items() if len(shared) < da.sizes[dim]}
        if lost:
            told = ", ".join(f"{count} of {name}" for name, count in lost.items())
            notes.append(f"only the {len(shared)} {dim}s that all runs have are compared; left out: {told}")
        runs = {n: da if da.indexes[dim].equals(shared) else da.sel({dim: shared}) for n, da in runs.items()}
    runs = {n: da if n == first_name else _on_grid(da, runs[first_name], n) for n, da in runs.items()}
    runs = {n: da.drop_vars("valid_time", errors="ignore") for n, da in runs.items()}
    laid = truth
    if INIT not in truth.dims:
        whole = next(iter(runs.values()))
        there = _inside(whole, truth)
        if not there.any():
            message = "the truth has no valid time of the forecasts; wanted a target of the forecasts' period"
            raise CoordinateError(message)
        if not there.all():
            notes.append(f"the truth lacks valid times of {int((~there).sum())} of {there.size} initial times")
            runs = {n: da.isel({INIT: np.flatnonzero(there)}) for n, da in runs.items()}
        laid = metrics.at_valid_times(truth, next(iter(runs.values())))
    else:
        like = next(iter(runs.values()))
        laid = truth.sel({INIT: like.indexes[INIT], LEAD: like.indexes[LEAD]})
    laid = _on_grid(laid, next(iter(runs.values())), "the truth")
    made = {n: da.rename(truth.name).assign_attrs(truth.attrs) for n, da in runs.items()}
    return Aligned(made, laid, notes)


# ---------------------------------------------------------------------- pieces
def _named(obj: T) -> T:
    """Give forecasts of independent sequences, one each, the dimension of initial times."""
    dims = set(obj.dims)
    if INIT in dims or not {SEQUENCE, LEAD} <= dims:
        return obj
    made = obj.drop_vars(INIT, errors="ignore").rename({SEQUENCE: INIT})
    return made if INIT in made.coords else made.assign_coords({INIT: np.arange(made.sizes[INIT])})


def _in_units(da: xr.DataArray, units: str | None, name: str) -> xr.DataArray:
    try:
        return da if units is None else convert(da, str(units))
    except XatmoError as error:
        raise named(error, name) from error


def _in_pieces(da: xr.DataArray) -> xr.DataArray:
    if da.chunks is None:
        return da if da.nbytes < 2 * _PIECE else da.chunk({INIT: max(1, int(da.sizes[INIT] * _PIECE // da.nbytes))})
    return da.chunk({INIT: _joined(da)})


def _joined(da: xr.DataArray) -> tuple[int, ...]:
    """Chunks of few initial times put together: each costs some tasks in each of the passes, whatever it holds."""
    each = max(1, da.nbytes // da.sizes[INIT])
    sizes: list[int] = []
    for size in da.chunksizes[INIT]:
        if sizes and (sizes[-1] + size) * each <= _JOINED:
            sizes[-1] += size
        else:
            sizes.append(size)
    return tuple(sizes)


def _inside(forecast: xr.DataArray, truth: xr.DataArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which initial times have all their valid times in the truth."""
    time = cf.time(truth)
    have = pd.Index(truth[time].values)
    valid = forecast[INIT].values[:, None] + forecast[LEAD].values[None, :]
    found = have.get_indexer(valid.ravel()).reshape(valid.shape)
    return np.asarray((found >= 0).all(axis=1))


def _horizontal(field: xr.DataArray) -> cf.Horizontal | None:
    try:
        return cf.horizontal(field)
    except XatmoError:
        return None


def _on_grid(da: xr.DataArray, like: xr.DataArray, name: str) -> xr.DataArray:
    """Rows and columns in the order of another, by their labels."""
    axes = _horizontal(like)
    for dim in like.dims:
        if dim in (INIT, LEAD, MEMBER) or dim not in da.dims or dim not in like.indexes or dim not in da.indexes:
            continue
        ours, theirs = da.indexes[dim], like.indexes[dim]
        if ours.equals(theirs):
            continue
        period = np.inf if axes is None or dim != axes.lon_dim else 360.0
        step = float(np.abs(np.diff(theirs.to_numpy(float))).min()) if len(theirs) > 1 else 1.0
        # Longitudes from -180 and from 0 are the same, cut at half a step west of the first run's.
        west = theirs.to_numpy(float).min() - step / 2
        here, there = ((x.to_numpy(float) - west) % period for x in (ours, theirs))
        order = np.argsort(here)
        found = pd.Index(here[order]).get_indexer(there, method="nearest", tolerance=_SAME * step)
        if (found < 0).any() or len(ours) != len(theirs):
            message = (
                f"{name} lies on other labels of {dim!r} than the first run ({len(ours)} and {len(theirs)}); wanted "
                "one grid: regrid or select"
            )
            raise CoordinateError(message)
        da = da.isel({dim: order[found]}).assign_coords({dim: like[dim]})
    return da
