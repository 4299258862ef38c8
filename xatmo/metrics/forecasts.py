"""Lay a truth along time at the valid times of forecasts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import _valid_times, cf
from xatmo.cf import chunks_of
from xatmo.climatology import _pick, _taken
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.typing import T, XarrayObject


def at_valid_times(truth: T, forecast: XarrayObject, *, missing: Literal["raise", "nan"] = "raise") -> T:
    """Give a truth with a time axis the shape of forecasts: its values at ``init_time + lead_time``.

    Scores do this by themselves where a forecast meets a target with a plain time axis.

    Parameters
    ----------
    truth : Dataset or DataArray
        Along time, each time once, in any order. Variables without time pass through.
    forecast : Dataset or DataArray
        Whose valid times are wanted: along ``init_time`` and ``lead_time``, or one of them. Stored ``valid_time`` or
        the sum of both, of datetime64 or any CF calendar.
    missing : {"raise", "nan"}
        Where the truth lacks a valid time (as those after its end): an error, or NaN, which scores leave out. Longer
        leads are then scored on fewer starts than short ones.

    Returns
    -------
    Dataset or DataArray
        With ``init_time`` and ``lead_time`` (whatever they are called in the forecast) before the other dimensions,
        and the coordinate ``valid_time``. Lazy where the truth or the forecast is, in the forecast's chunks.

    Raises
    ------
    CoordinateError
        If the truth lacks a valid time, repeats one, or there are no times.
    DimensionError
        If the two are no forecast and no truth along time.
    OptionError
        If ``missing`` is unknown.

    Examples
    --------
    >>> time = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(1, "h")
    >>> truth = xr.DataArray(np.arange(5.0), {"time": time}, ["time"])
    >>> axes = {"init_time": time[:3], "lead_time": np.array([1, 2], "m8[h]").astype("m8[ns]")}
    >>> at_valid_times(truth, xr.DataArray(np.zeros((3, 2)), axes, ["init_time", "lead_time"])).values
    array([[1., 2.],
           [2., 3.],
           [3., 4.]])
    """
    if missing not in ("raise", "nan"):
        message = f"missing={missing!r}; wanted 'raise' or 'nan'"
        raise OptionError(message)
    valid = _valid_times.find(forecast)
    time = cf.time(truth)
    (along,) = truth[time].dims
    when: xr.DataArray = valid.times
    clash = [d for d in when.dims if d in truth.dims and d != along]
    if not when.dims or clash:
        message = (
            f"valid times of the forecast lie on {tuple(map(str, when.dims))}, and the truth has "
            f"{tuple(map(str, truth.dims))}; wanted a forecast along init_time or lead_time, and a truth along time"
        )
        raise DimensionError(message)
    at = _positions(truth[time], when)
    if missing == "raise" and (at < 0).any():
        raise CoordinateError(_lacks(truth[time], when, at, valid))
    axes: dict[Hashable, Any] = {d: forecast[d] for d in when.dims if d in forecast.coords}
    axes["valid_time"] = when.assign_attrs(standard_name="time", long_name="valid time")
    sizes = chunks_of(forecast)
    pieces = {k: sizes[d] for k, d in enumerate(when.dims) if d in sizes}

    def one(field: xr.DataArray) -> xr.DataArray:
        rest: list[Hashable] = [d for d in field.dims if d != along]
        values = _laid(field.variable.transpose(along, *rest).data, at, pieces)
        coords = {n: c for n, c in field.coords.items() if along not in c.dims and n not in when.dims}
        coords = {n: c for n, c in coords.items() if n != "valid_time"}
        out = xr.DataArray(values, coords, (*when.dims, *rest), name=field.name, attrs=dict(field.attrs))
        return out.assign_coords(axes)

    if isinstance(truth, xr.DataArray):
        return one(truth)
    done = {n: one(v) if along in v.dims else v for n, v in truth.data_vars.items()}
    return xr.Dataset(done, attrs=truth.attrs)


def is_forecast_of(prediction: xr.DataArray, target: xr.DataArray) -> bool:
    """Tell whether a prediction lies along starts and leads, and the target along time instead.

    Examples
    --------
    >>> axes = {"init_time": np.array(["2020-01-01"], "M8[ns]"), "lead_time": np.array([1], "m8[ns]")}
    >>> p = xr.DataArray([[0.0]], axes, ["init_time", "lead_time"])
    >>> t = xr.DataArray([0.0], {"time": axes["init_time"]}, ["time"])
    >>> is_forecast_of(p, t), is_forecast_of(p, p), is_forecast_of(t, t)
    (True, False, False)
    """
    lead = _valid_times._named(prediction, _valid_times._LEADS, "forecast_period")
    if lead is None or _valid_times._named(target, _valid_times._LEADS, "forecast_period") is not None:
        return False
    try:
        valid = _valid_times.find(prediction)
        (along,) = target[cf.time(target)].dims
    except CoordinateError:
        return False
    # A truth that already lies on the starts or leads has been laid there, unless its axis of time is theirs by name.
    return bool(valid.times.dims) and valid.start is not None and along in target.dims and not (
        set(valid.times.dims) & set(target.dims) - {along}
    ) and (along not in prediction.dims or (along == valid.start and lead in prediction.dims))  # fmt: skip


# ---------------------------------------------------------------------- pieces
def _rounded(times: xr.DataArray) -> pd.Index:
    """Round times to seconds: float hours in files leave microseconds."""
    out: pd.Index = pd.Index(np.asarray(times.dt.round("s").values).reshape(-1))
    return out


def _positions(time: xr.DataArray, when: xr.DataArray) -> np.ndarray[Any, Any]:
    if not _valid_times.is_time(time):
        message = f"the time of the truth, {time.name!r}, holds {time.dtype} values; wanted dates"
        raise CoordinateError(message)
    have, wanted = _rounded(time), _rounded(when)
    if not have.is_unique:
        twice = have[have.duplicated()][0]
        message = f"the truth has time {twice} more than once; wanted each time once: truth.drop_duplicates('time')"
        raise CoordinateError(message)
    try:
        found = have.get_indexer(cast(Any, wanted))
    except (TypeError, ValueError):  # dates of two calendars have no order
        found = np.full(len(wanted), -1)
    return np.asarray(found).reshape(when.shape)


def _lacks(time: xr.DataArray, when: xr.DataArray, at: Any, valid: _valid_times.Valid) -> str:
    absent = (at < 0).sum()
    first = str(when.values.reshape(-1)[np.flatnonzero(at.reshape(-1) < 0)[0]])[:19]
    begin, end = (str(time.values[k])[:19] for k in (0, -1))
    text = f"the truth ({begin} to {end}) has no field at {absent} of {at.size} valid times, such as {first}; "
    start = valid.start
    if start is not None and start in when.dims:
        axis = when.get_axis_num(start)
        whole = (at >= 0).all(axis=tuple(k for k in range(at.ndim) if k != axis))
        text += f"{int(whole.sum())} of {whole.size} starts have all: forecast.isel({start}=...) keeps them; "
    return text + "at_valid_times(truth, forecast, missing='nan') leaves out what is missing"


def _laid(values: Any, at: Any, pieces: Mapping[int, Any]) -> Any:
    """Take ``values[at]`` along the first axis, chunk by chunk of the result; NaN where ``at`` is -1."""
    if isinstance(values, np.ndarray):
        if (at < 0).any() or pieces:
            return _taken(values, at, 1, pieces)
        return values[at]
    if values.numblocks[0] == 1:
        return _taken(values, at, 1, pieces or {0: _sizes(at.shape, values.shape[0])})
    # A start's leads are read from the few chunks that hold them; the whole record is never one chunk.
    sizes = pieces.get(0) or _sizes(at.shape, int(values.chunks[0][0]))
    return _gathered(values, at, (sizes, *(pieces.get(k) or (at.shape[k],) for k in range(1, at.ndim))))


def _gathered(values: Any, at: Any, chunks: tuple[tuple[int, ...], ...]) -> Any:
    """Take ``values[at]`` with one task for each chunk of the result: it reads the chunks in which its fields lie."""
    import dask.array
    from dask._task_spec import List, Task, TaskRef
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    name = f"xatmo-valid-times-{tokenize(values.name, at, chunks)}"
    starts = np.cumsum([0, *values.chunks[0]])
    edges = [np.cumsum([0, *sizes]) for sizes in chunks]
    layer: dict[Any, Any] = {}
    for place in np.ndindex(*map(len, chunks)):
        part = at[tuple(slice(e[k], e[k + 1]) for e, k in zip(edges, place, strict=True))]
        wanted, inverse = np.unique(part, return_inverse=True)
        lacks = int((wanted[:1] < 0).any())  # of no starts there is none
        wanted = wanted[lacks:]
        where = inverse.reshape(part.shape) - lacks
        blocks = np.searchsorted(starts, wanted, side="right") - 1
        sources = [int(k) for k in np.unique(blocks)] or [0]
        cuts = [wanted[blocks == k] - starts[k] for k in sources]
        for rest in np.ndindex(*values.numblocks[1:]):
            key = (name, *place, *rest)
            read = List(*(TaskRef((values.name, k, *rest)) for k in sources))
            layer[key] = Task(key, _gather, read, cuts, where, dtype)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[values])
    made: Any = dask.array.Array
    rest_of = (*chunks, *values.chunks[1:])
    return made(graph, name, rest_of, meta=np.empty((0,) * len(rest_of), dtype))


def _gather(blocks: list[Any], cuts: list[Any], where: Any, dtype: np.dtype[Any]) -> Any:
    table = np.concatenate([block[cut] for block, cut in zip(blocks, cuts, strict=True)]).astype(dtype, copy=False)
    if not len(table):
        return np.full((*where.shape, *table.shape[1:]), np.nan, dtype)
    return _pick(where, table, groups=1)


def _sizes(shape: tuple[int, ...], chunk: int) -> tuple[int, ...]:
    """Count starts to a chunk: with their leads about as much as a chunk of the truth."""
    size = max(1, chunk // max(1, int(np.prod(shape[1:]))))
    whole, left = divmod(shape[0], size)
    return (size,) * whole + ((left,) if left else ()) or (0,)
