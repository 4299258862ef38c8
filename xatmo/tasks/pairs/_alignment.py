"""Match coarse and fine fields in time: forecasts by their valid times, days and months by date, in any calendar."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _valid_times
from xatmo.errors import CoordinateError, DimensionError

TIME = "time"
START, LEAD = "init_time", "lead_time"

# Kinds of series by their usual step in days, up to which: how finely their times are compared.
_KINDS = (("moment", 0.9), ("day", 27.0), ("month", 300.0), ("year", np.inf))
_PER = {"moment": "sub-daily", "day": "daily", "month": "monthly", "year": "yearly"}
# Statistics over a step that GRIB stamps at its end.
_OVER_A_STEP = ("accum", "avg", "max", "min")
# Fine fields in memory are repeated by copying up to this size, lazily beyond.
_COPIED_BYTES = 256 << 20


@dataclass(frozen=True)
class Aligned:
    """Coarse and fine fields of the same times.

    Attributes
    ----------
    coarse, fine : Dataset
    breaks : tuple of int
        Times with which another forecast begins.
    notes : tuple of str
        Which times have no partner.
    """

    coarse: xr.Dataset
    fine: xr.Dataset
    breaks: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def align(coarse: xr.Dataset, fine: xr.Dataset, *, what: str = "train") -> Aligned:
    """Give the fine fields of the valid times of the coarse ones.

    Forecasts, with a start and a lead, become one series along ``time``, forecast after forecast, with ``init_time``
    and ``lead_time`` beside it; dimensions of members stay. Then:

    - two series in one calendar that share times are left as they are: their caller selects;
    - otherwise sub-daily times are matched exactly, daily ones by date, monthly ones by month, yearly ones by year, so
      that stamps at 00 and 12 UTC, or at the start and in the middle of the month, fall together. A time with CF
      bounds counts as the middle of them; a daily or longer statistic of GRIB as the middle of the step that it ends.
      Dates that one calendar lacks (29 February, 30 February) have no partner and are left out, which is noted.

    Raises
    ------
    CoordinateError
        If no time has a partner, a time has several, or one series is daily and the other monthly, say.
    DimensionError
        If the fine fields have starts and leads.
    """
    try:
        valid, theirs = _valid_times.find(coarse), _valid_times.find(fine)
    except CoordinateError:
        return Aligned(coarse, fine)
    forecasts = valid.times.ndim == 2 or (valid.times.ndim == 1 and valid.lead in valid.times.dims)
    forecasts = forecasts and set(valid.times.dims) <= set(coarse.dims)
    if not valid.times.ndim or not theirs.times.ndim or not set(valid.times.dims) <= set(coarse.dims):
        return Aligned(coarse, fine)
    if theirs.times.ndim == 2:
        message = (
            f"target has starts {theirs.start!r} and leads {theirs.lead!r}; wanted one series of times, such as a "
            "reanalysis"
        )
        raise DimensionError(message)
    dim = theirs.times.dims[0]
    if not forecasts and _same_clock(valid.times.values, theirs.times.values):
        # One of them may call its times otherwise (valid_time, time).
        own = valid.times.dims[0]
        return Aligned(coarse, fine.rename({dim: own}) if dim != own and own not in fine.dims else fine)
    step = _usual_step(valid.times)
    steps = {what: step, "target": _usual_step(theirs.times)}
    kinds = {n: _kind(s) for n, s in steps.items() if s is not None}
    kind = kinds.get("target") or kinds.get(what) or "moment"
    if kinds.get(what, kind) != kind:
        message = (
            f"{what} is {_PER[kinds[what]]} and target {_PER[kind]}; wanted the same: average one of them first, with "
            ".resample(time='1D').mean() or the like"
        )
        raise CoordinateError(message)
    ours = _centres(coarse, valid, step, kind)
    series = _one_series(coarse, valid) if forecasts else coarse
    ours = series[TIME].copy(data=np.ravel(ours.values)) if forecasts else ours
    target = _centres(fine, theirs, steps["target"], kind)
    have, want = _keys(target, kind), _keys(ours, kind)
    order = np.argsort(have, kind="stable")
    _require_single(have[order], target.values[order], "target", kind)
    starts = series[START].values if START in series.coords else np.zeros(want.size)
    _require_single_within(want, starts, ours.values, what, kind)
    at = np.searchsorted(have[order], want)
    there = (at < have.size) & (have[order][np.minimum(at, have.size - 1)] == want)
    if not there.any():
        message = (
            f"no time of {what} is one of target: {what} is valid {_span(ours.values)}, target {_span(target.values)} "
            f"(compared by {kind})"
        )
        raise CoordinateError(message)
    kept = np.flatnonzero(there)
    notes = _notes(ours.values, there, what, kind)
    if not forecasts:
        inside = (have >= want[there].min()) & (have <= want[there].max()) & ~np.isin(have, want)
        notes += _notes(target.values, ~inside, "target", kind)
    along = TIME if forecasts else valid.times.dims[0]
    series = series.isel({along: _run(kept)})
    found = _selected(fine, dim, order[at[there]])
    lying = [c for c in found.coords if dim in found[c].dims]
    found = found.drop_vars(lying)
    found = found.rename({dim: along}) if dim != along else found
    if along in series.coords:
        found = found.assign_coords({along: series[along]})
    breaks: tuple[int, ...] = ()
    if forecasts and START in series.coords:
        begun = series[START].values
        breaks = tuple(int(i) + 1 for i in np.flatnonzero(begun[1:] != begun[:-1]))
    return Aligned(series, found, breaks, notes)


def _one_series(ds: xr.Dataset, valid: _valid_times.Valid) -> xr.Dataset:
    """Lay forecasts one behind the other along ``time``."""
    dims = valid.times.dims
    beside: dict[str, xr.Variable] = {}
    for name, source in ((START, valid.start), (LEAD, valid.lead)):
        if source is not None and set(ds[source].dims) <= set(dims):
            bare = xr.DataArray(ds[source].values, dims=ds[source].dims, attrs=ds[source].attrs)
            beside[name] = bare.broadcast_like(valid.times).transpose(*dims).variable
    lazy = [n for n, v in ds.data_vars.items() if v.chunks is None and not getattr(v.variable, "_in_memory", True)]
    if lazy:  # a reshape would load them
        ds = ds.chunk({d: 1 if d in dims else -1 for d in ds.dims})
    ds = ds.drop_vars([c for c in ds.coords if set(ds[c].dims) & set(dims) or c in (TIME, START, LEAD)])
    ds = ds.assign_coords({f"_{n}": (dims, v.values, v.attrs) for n, v in beside.items()}).assign_coords(
        {"_valid": (dims, valid.times.values)}
    )
    out = ds.stack({"_series": dims}, create_index=False) if len(dims) == 2 else ds.rename({dims[0]: "_series"})
    out = out.transpose("_series", ..., missing_dims="ignore").rename({"_series": TIME})
    attrs = {"standard_name": "time", "long_name": "valid time"}
    out = out.assign_coords({TIME: (TIME, out["_valid"].values, attrs)})
    out = out.assign_coords({n: (TIME, out[f"_{n}"].values, out[f"_{n}"].attrs) for n in beside})
    return out.drop_vars(["_valid", *(f"_{n}" for n in beside)])


# ---------------------------------------------------------------------- times
def _same_clock(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two series are in one calendar and share times."""
    if _calendar(a) != _calendar(b):
        return False
    return bool(np.isin(a, b).any())


def _calendar(times: NDArray[Any]) -> str:
    return "datetime64" if times.dtype.kind == "M" else str(times.flat[0].calendar)


def _usual_step(times: xr.DataArray) -> float | None:
    """Median step in days: along the lead where there are several, else between all; None for a single time."""
    values = times.values if times.ndim == 1 else times.values[0]
    if times.ndim == 2 and values.size < 2:
        return None  # the distance of starts says nothing about that of times
    values = np.unique(values)
    if values.size < 2:
        return None
    steps = np.diff(values)
    if steps.dtype.kind == "m":
        return float(np.median(steps / np.timedelta64(1, "D")))
    return float(np.median([s.total_seconds() for s in steps])) / 86400


def _kind(step: float) -> str:
    return next(name for name, most in _KINDS if step < most)


def _centres(ds: xr.Dataset, valid: _valid_times.Valid, step: float | None, kind: str) -> xr.DataArray:
    """Give the times that stand for means: the middle of bounds, or of the step that a statistic of GRIB ends."""
    times = valid.times
    if kind == "moment" or (valid.lead is not None and str(valid.lead).lower() in _valid_times.MONTHS):
        return times
    for name in (c for c in ds.coords if ds[c].dims == times.dims):
        bounds = ds[name].attrs.get("bounds") or ds[name].encoding.get("bounds")
        if bounds in ds.variables and _valid_times.is_time(ds[bounds]) and ds[bounds].shape == (*times.shape, 2):
            edges = ds[bounds].values
            return times.copy(data=edges[..., 0] + (edges[..., 1] - edges[..., 0]) / 2)
    if any(v.attrs.get("GRIB_stepType") in _OVER_A_STEP for v in ds.data_vars.values()) and step is not None:
        half = np.timedelta64(round(step * 43200), "s")
        return times - (half if times.dtype.kind == "M" else half.astype(object))
    return times


def _keys(times: xr.DataArray, kind: str) -> NDArray[np.int64]:
    """Give whole numbers that are the same for the same moment, day, month or year of any calendar."""
    t = times.dt
    key = t.year.values.astype(np.int64)
    if kind == "year":
        return np.asarray(key)
    key = key * 12 + t.month.values - 1
    if kind == "month":
        return np.asarray(key)
    key = key * 31 + t.day.values - 1
    if kind == "day":
        return np.asarray(key)
    return np.asarray(key * 86400 + t.hour.values * 3600 + t.minute.values * 60 + t.second.values)


def _require_single(keys: NDArray[np.int64], times: NDArray[Any], what: str, kind: str) -> None:
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if twice.size:
        a, b = (str(times[int(twice[0]) + i])[:19] for i in (0, 1))
        message = (
            f"{what} has several times in one {kind}: {a} and {b}; wanted one. Average them, or leave one out, first"
        )
        raise CoordinateError(message)


def _require_single_within(
    keys: NDArray[np.int64], starts: NDArray[Any], times: NDArray[Any], what: str, kind: str
) -> None:
    """Raise if one forecast has two times that belong to the same target."""
    _, forecast = np.unique(starts, return_inverse=True)
    order = np.lexsort((keys, forecast))
    pairs = forecast[order] * (int(keys.max() - keys.min()) + 2) + keys[order] - keys.min()
    _require_single(pairs, times[order], what, kind)


def _notes(times: NDArray[Any], there: NDArray[np.bool_], what: str, kind: str) -> tuple[str, ...]:
    lost = times[~there]
    if not lost.size:
        return ()
    length = {"moment": 16, "day": 10, "month": 7, "year": 4}[kind]
    dates = list(dict.fromkeys(str(t)[:length] for t in lost))
    shown = ", ".join(dates[:4]) + (f" ... {dates[-1]}" if len(dates) > 4 else "")
    other = "target" if what != "target" else "the coarse fields"
    return (f"{lost.size} of {times.size} times of {what} have no partner in {other}, left out: {shown}",)


def _span(times: NDArray[Any]) -> str:
    return f"{str(times.min())[:16]} to {str(times.max())[:16]}"


# ---------------------------------------------------------------------- fields
def _selected(fine: xr.Dataset, dim: Hashable, index: NDArray[np.intp]) -> xr.Dataset:
    run = _run(index)
    held = [v for v in fine.data_vars.values() if getattr(v.variable, "_in_memory", False) and dim in v.dims]
    size = sum(v.nbytes // v.sizes[dim] * index.size for v in held)
    if held and not isinstance(run, slice) and size > _COPIED_BYTES:
        fine = fine.chunk({dim: max(1, fine.sizes[dim] // 64)})
    return fine.isel({dim: run})


def _run(index: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Give a slice where indices follow each other."""
    if index.size and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def without_members(coarse: xr.Dataset, dims: dict[Hashable, int], others: dict[Hashable, int]) -> dict[Hashable, int]:
    """Leave out the dimensions of members that only the coarse fields have: each member has the same target."""
    members = _valid_times.member_dims(coarse, dims)
    return {d: n for d, n in dims.items() if d in others or d not in members}
