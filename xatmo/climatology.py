"""What is usual at a time of the year and of the day: means by month, day of year and hour, and these at any time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xatmo import _valid_times, cf
from xatmo._labels import map_fields, true_attrs
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.typing import Floats, T, XarrayObject

Missing: TypeAlias = Literal["raise", "nan", "nearest"]

GROUPS = ("season", "month", "dayofyear", "hour")
"""Dimensions that a climatology may have, in the order in which days go before hours."""

COUNT = "count"
_DAYS = {"noleap": 365, "365_day": 365, "360_day": 360}
_ATTRS = {
    "season": {"long_name": "season"},
    "month": {"long_name": "month of the year", "units": "1"},
    "dayofyear": {"long_name": "day of the year", "units": "1"},
    "hour": {"long_name": "time of day, UTC", "units": "hours"},
}
# How far apart two labels are on the circle of their group.
_CIRCLES = {"month": 12.0, "dayofyear": 366.0, "hour": 24.0}


def climatology(
    obj: T, *, by: str | Sequence[str] = ("month", "hour"), dim: Hashable = "time", smoothing: int | None = None
) -> T:
    r"""Mean of fields by time of the year and of the day.

    .. math:: c_{m h}(x) = \frac{1}{n_{m h}(x)} \sum_{t \in (m, h)} f(t, x)

    over all times of month m and time of day h at which the field is known. Hours are those of the time coordinate,
    UTC by convention; where steps are shorter than an hour or off the hour, times of day are (a quarter past six is
    6.25). Times are rounded to seconds before, so that 05:59:59.999 belongs to six.

    Parameters
    ----------
    obj : Dataset or DataArray
        Along ``dim``, in any CF calendar, in any chunks. Variables without ``dim`` pass through.
    by : str or sequence of str
        Some of ``"month"``, ``"hour"``, ``"dayofyear"``, ``"season"``.
    dim : str
        Dimension of time.
    smoothing : int, optional
        With ``"dayofyear"``: days of a centred window, odd, that goes around the end of the year. Each day then is the
        mean of all values in its window (a sum over a number of values, not a mean of means).

    Returns
    -------
    Dataset or DataArray
        With the dimensions ``by`` before the others, whose labels are those that the times have. The coordinate
        ``count`` tells how many times belong to each combination; where it is 0 (hours missing in some month, say) the
        field is NaN. float32 stays float32, sums are in float64. Lazy where the input is: one pass over the chunks, of
        which each adds only to the times that it holds.

    Raises
    ------
    OptionError
        If ``by`` or ``smoothing`` cannot be had.
    DimensionError
        If nothing has ``dim``.
    CoordinateError
        If ``dim`` has no dates.

    Examples
    --------
    >>> time = np.datetime64("2020-01-01", "ns") + np.arange(8) * np.timedelta64(6, "h")
    >>> t = xr.DataArray(np.arange(8.0), {"time": time}, ["time"])
    >>> climatology(t).sel(month=1).values, climatology(t, by="hour").hour.values
    (array([2., 3., 4., 5.]), array([ 0,  6, 12, 18]))
    """
    groups: tuple[str, ...] = _groups(by)
    half = _half_window(smoothing, groups)
    if dim not in obj.dims or dim not in obj.coords:
        named = [d for d in obj.dims if d in obj.coords and _valid_times.is_time(obj[d])]
        message = (
            f"climatology(dim={dim!r}): dimensions with dates are {tuple(map(str, named))}; name one of them: dim="
        )
        raise DimensionError(message)
    times = obj[dim]
    if not _valid_times.is_time(times):
        message = (
            f"climatology: {dim!r} holds {times.dtype} values; wanted dates. Open the file with decode_times=True, or "
            "decode it with xarray.decode_cf"
        )
        raise CoordinateError(message)
    labels, codes = [], []
    for group in groups:
        found, code = np.unique(_label(times, group), return_inverse=True)
        labels.append(found)
        codes.append(code.reshape(-1))
    shape = tuple(len(found) for found in labels)
    flat = np.ravel_multi_index(tuple(codes), shape)
    count = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    axes = {g: xr.Variable(g, _shown(g, found), _ATTRS[g]) for g, found in zip(groups, labels, strict=True)}
    tally = xr.Variable(groups, count, {"long_name": "number of times", "units": "1"})
    window = None
    if half is not None:
        year = _DAYS.get(str(times.dt.calendar), 366)
        apart = np.abs(labels[groups.index("dayofyear")][:, None] - labels[groups.index("dayofyear")])
        window = (np.minimum(apart, year - apart) <= half).astype(np.float64)
    kernel = partial(_mean_of, shape=shape, window=window, axis=groups.index("dayofyear") if half is not None else 0)

    def one(field: xr.DataArray) -> xr.DataArray:
        rest: list[Hashable] = [d for d in field.dims if d != dim]
        values = field.variable.transpose(dim, *rest).data
        dtype = field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)
        means = _reduced(values, flat, kernel, shape, dtype)
        coords = {n: c for n, c in field.coords.items() if dim not in c.dims and n not in groups}
        out = xr.DataArray(means, coords, (*groups, *rest), attrs=true_attrs(field))
        before = field.attrs.get("cell_methods")
        out.attrs["cell_methods"] = f"{before} {dim}: mean".strip() if before else f"{dim}: mean"
        return out.assign_coords({**axes, COUNT: tally})

    done = map_fields(obj, one, dims=[dim], what="climatology", kinds="fiub")
    return cf.add_history(done, cf.describe_call("climatology", by=list(groups), dim=dim, smoothing=smoothing))


def climatology_at(
    clim: T, times: Any, *, missing: Missing = "raise", chunks: Mapping[Hashable, Any] | None = None
) -> T:
    """Values of a climatology at times: the entry of the month, day of year, season or time of day of each.

    Parameters
    ----------
    clim : Dataset or DataArray
        With some of the dimensions ``month``, ``dayofyear``, ``season``, ``hour``, as `climatology` gives it, or from
        elsewhere. Variables without any pass through.
    times : DataArray, Dataset, or array of dates
        Dates of any shape (those of forecasts along ``init_time`` and ``lead_time``, say), in any CF calendar; or
        fields, whose valid times are taken (init_time + lead_time of forecasts).
    missing : {"raise", "nan", "nearest"}
        Where the climatology has no entry for a time: an error; NaN; or the entry that is nearest on the circle of
        hours and, of these, nearest in the year.
    chunks : mapping, optional
        Of the dimensions of ``times``: the result is lazy then. Taken from ``times`` where these are lazy fields.

    Returns
    -------
    Dataset or DataArray
        With the dimensions of ``times`` before the others; lazy where the climatology or ``times`` is.

    Raises
    ------
    CoordinateError
        If a time has no entry, or there are no dates.
    DimensionError
        If the climatology has none of its dimensions.
    OptionError
        If ``missing`` is unknown.

    Examples
    --------
    >>> clim = xr.DataArray(np.arange(24.0) + 100 * np.arange(1, 13)[:, None], dims=("month", "hour"),
    ...                     coords={"month": np.arange(1, 13), "hour": np.arange(24)})
    >>> climatology_at(clim, np.array(["2020-03-07T06", "2021-12-31T23"], "M8[ns]")).values
    array([ 306., 1223.])
    """
    if missing not in ("raise", "nan", "nearest"):
        message = f"missing={missing!r}; wanted 'raise', 'nan' or 'nearest'"
        raise OptionError(message)
    found = _times(times)
    when: xr.DataArray = found[0]
    labels, own = found[1:]
    pieces = dict(own if chunks is None else chunks)
    groups: tuple[str, ...] = tuple(g for g in GROUPS if g in clim.dims)
    if not groups:
        message = f"the climatology has dimensions {tuple(map(str, clim.dims))}; wanted some of {GROUPS}"
        raise DimensionError(message)
    clash = [d for d in clim.dims if d in when.dims]
    if clash:
        message = f"the climatology and the times both have {clash[0]!r}; wanted a climatology by {GROUPS} alone"
        raise DimensionError(message)
    at = _positions(clim, groups, when, missing)
    lazy = {when.get_axis_num(d): c for d, c in pieces.items() if d in when.dims}

    def one(field: xr.DataArray) -> xr.DataArray:
        mine: tuple[str, ...] = tuple(g for g in groups if g in field.dims)
        rest: list[Hashable] = [d for d in field.dims if d not in groups]
        values = field.variable.transpose(*mine, *rest).data
        sizes = [field.sizes[g] for g in mine]
        known = np.logical_and.reduce([at[g] >= 0 for g in mine])
        flat = np.where(known, np.ravel_multi_index([np.maximum(at[g], 0) for g in mine], sizes), -1)
        taken = _taken(values, flat, len(mine), lazy)
        gone = {*mine, COUNT}
        coords = {n: c for n, c in field.coords.items() if n not in gone and not set(c.dims) & set(groups)}
        out = xr.DataArray(taken, coords, (*when.dims, *rest), attrs=dict(field.attrs))
        return out.assign_coords(labels)

    # Fields without any of the dimensions pass; the others need not have all.
    if isinstance(clim, xr.DataArray):
        return one(clim).rename(clim.name)
    done = {n: one(v) if set(v.dims) & set(groups) else v for n, v in clim.data_vars.items()}
    return xr.Dataset({n: v.drop_vars([COUNT], errors="ignore") for n, v in done.items()}, attrs=clim.attrs)


# ---------------------------------------------------------------------- labels of times
def _groups(by: str | Sequence[str]) -> tuple[str, ...]:
    groups = (by,) if isinstance(by, str) else tuple(by)
    yearly = [g for g in groups if g != "hour"]
    if not groups or len(set(groups)) != len(groups) or not set(groups) <= set(GROUPS) or len(yearly) > 1:
        message = f"by={by!r}; wanted 'hour', one of 'month', 'dayofyear' and 'season', or such a one and 'hour'"
        raise OptionError(message)
    return groups


def _half_window(smoothing: int | None, groups: tuple[str, ...]) -> int | None:
    if smoothing is None:
        return None
    whole = isinstance(smoothing, int | np.integer) and not isinstance(smoothing, bool)
    if not whole or smoothing < 1 or smoothing % 2 == 0 or "dayofyear" not in groups:
        message = f"smoothing={smoothing!r} with by={groups}; wanted an odd number of days, and 'dayofyear' in by"
        raise OptionError(message)
    return int(smoothing) // 2


def _label(times: xr.DataArray, group: str) -> np.ndarray[Any, Any]:
    """Month, day of year or season of each time; seconds of the day for hours."""
    if bool(times.isnull().any()):
        message = f"{int(times.isnull().sum())} of {times.size} times are missing (NaT); drop them first"
        raise CoordinateError(message)
    near = times.dt.round("s")
    if group != "hour":
        return np.asarray(getattr(near.dt, group).values)
    return np.asarray(near.dt.hour.values * 3600 + near.dt.minute.values * 60 + near.dt.second.values, dtype=np.int64)


def _shown(group: str, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Labels as users see them: whole hours as integers, other times of day as decimals."""
    if group != "hour":
        return labels
    return labels // 3600 if not (labels % 3600).any() else labels / 3600


def _stored(group: str, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn what users see back into what times are compared with."""
    if group == "season":
        return np.asarray(labels).astype(str)
    scale = 3600 if group == "hour" else 1
    return np.rint(np.asarray(labels, dtype=np.float64) * scale).astype(np.int64)


def _times(times: Any) -> tuple[xr.DataArray, dict[Hashable, Any], dict[Hashable, Any]]:
    """Give times without coordinates, the coordinates to give to the result, and chunks along their dimensions."""
    if not isinstance(times, xr.DataArray | xr.Dataset):
        values = np.asarray(times)
        if values.ndim > 1:
            message = f"times of shape {values.shape} came without names; wanted a DataArray with named dimensions"
            raise DimensionError(message)
        dims = ["time"] * values.ndim
        times = xr.DataArray(values, {"time": (dims, values)} if dims else {}, dims)
    if isinstance(times, xr.DataArray) and _valid_times.is_time(times):
        when = xr.DataArray(times.values, dims=times.dims)
        return when, {n: c for n, c in times.coords.items() if set(c.dims) <= set(when.dims)}, {}
    if isinstance(times, xr.DataArray) and not times.coords:
        message = f"times are of type {times.dtype}; wanted dates (datetime64 or cftime), or fields with valid times"
        raise CoordinateError(message)
    when = _valid_times.find(times).times
    coords: dict[Hashable, Any] = {d: times[d] for d in when.dims if d in times.coords}
    if "time" not in coords or not when.dims:
        coords["valid_time"] = when
    sizes = times.variable.chunksizes if isinstance(times, xr.DataArray) else times.chunksizes
    return when, coords, {d: sizes[d] for d in when.dims if d in sizes}


def _positions(
    clim: XarrayObject, groups: tuple[str, ...], when: xr.DataArray, missing: Missing
) -> dict[str, np.ndarray[Any, Any]]:
    """Position along each dimension of the climatology for each time; -1 for none."""
    labels = []
    for group in groups:
        if group not in clim.coords:
            message = f"the climatology has no labels on {group!r}; assign them: clim.assign_coords({group}=...)"
            raise CoordinateError(message)
        labels.append(_stored(group, clim[group].values))
    sizes = tuple(len(x) for x in labels)
    there = np.ones(sizes, dtype=bool)
    if COUNT in clim.coords and set(clim[COUNT].dims) == set(groups):
        there = np.asarray(clim[COUNT].transpose(*groups).values) > 0
    wanted = [_label(when, g).reshape(-1) for g in groups]
    pairs, inverse = np.unique(np.rec.fromarrays(wanted), return_inverse=True)
    found = np.full((len(pairs), len(groups)), -1)
    for k, pair in enumerate(pairs):
        hits = [np.flatnonzero(x == value) for x, value in zip(labels, pair, strict=True)]
        exact = tuple(int(h[0]) if h.size else -1 for h in hits)
        if min(exact) >= 0 and there[exact]:
            found[k] = exact
        elif missing == "nearest":
            found[k] = _nearest(groups, labels, there, pair)
        elif missing == "raise":
            raise CoordinateError(_lacks(groups, labels, pair, exact))
    at = found[inverse.reshape(-1)].reshape(*when.shape, len(groups))
    return {g: at[..., k] for k, g in enumerate(groups)}


def _nearest(groups: tuple[str, ...], labels: Sequence[Any], there: Any, pair: Any) -> tuple[int, ...]:
    cost = np.where(there, 0.0, np.inf)
    for axis, (group, values, value) in enumerate(zip(groups, labels, pair, strict=True)):
        if group == "season":
            apart = (values != value).astype(np.float64)
        else:
            circle = _CIRCLES[group] * (3600 if group == "hour" else 1)
            apart = np.abs(values - value) % circle
            apart = np.minimum(apart, circle - apart)
        # The day's cycle is the larger one: the right hour goes before the right season.
        cost = cost + (1e6 if group == "hour" else 1.0) * apart.reshape(
            [-1 if k == axis else 1 for k in range(cost.ndim)]
        )
    return tuple(int(k) for k in np.unravel_index(int(np.argmin(cost)), cost.shape))


def _lacks(groups: tuple[str, ...], labels: Sequence[Any], pair: Any, exact: tuple[int, ...]) -> str:
    asked = ", ".join(f"{g} {_shown(g, np.asarray([v]))[0]}" for g, v in zip(groups, pair, strict=True))
    remedy = "give it more data, or ask for missing='nearest' or 'nan' in climatology_at"
    for group, values, place in zip(groups, labels, exact, strict=True):
        if place < 0:
            shown = _shown(group, values)
            have = f"{shown[0]} to {shown[-1]} ({len(shown)} of them)" if len(shown) > 1 else f"{shown[0]} alone"
            return f"the climatology has no {group} for {asked}; its {group} goes from {have}: {remedy}"
    return f"the climatology was made from no time of {asked}; wanted an entry for every time: {remedy}"


# ---------------------------------------------------------------------- numbers
def _parts_of(block: Any, codes: Any) -> tuple[Any, Floats, Floats]:
    """Find the groups that a block holds, and for each the sum and the number of known values."""
    found, inverse = np.unique(codes, return_inverse=True)
    total = np.zeros((found.size, *block.shape[1:]))
    known = np.zeros_like(total)
    for k in range(found.size):
        part = np.asarray(block[inverse == k], dtype=np.float64)
        there = ~np.isnan(part)
        total[k], known[k] = np.where(there, part, 0.0).sum(0), there.sum(0)
    return found, total, known


def _merged(parts: Sequence[tuple[Any, Floats, Floats]]) -> tuple[Any, Floats, Floats]:
    """Add up the parts of several blocks."""
    found = np.unique(np.concatenate([p[0] for p in parts]))
    total = np.zeros((found.size, *parts[0][1].shape[1:]))
    known = np.zeros_like(total)
    for groups, sums, numbers in parts:
        at = np.searchsorted(found, groups)
        total[at] += sums
        known[at] += numbers
    return found, total, known


def _mean_of(part: tuple[Any, Floats, Floats], *, shape: tuple[int, ...], window: Floats | None, axis: int) -> Floats:
    """Lay sums on all groups, smooth them over days, and divide by the number of values."""
    found, sums, numbers = part
    number = int(np.prod(shape))
    both = []
    for x in (sums, numbers):
        full = np.zeros((number, *x.shape[1:]))
        full[found] = x
        full = full.reshape(*shape, *x.shape[1:])
        if window is not None:
            full = np.moveaxis(np.tensordot(window, full, axes=(1, axis)), 0, axis)
        both.append(full.reshape(number, *x.shape[1:]))
    total, known = both
    return np.where(known > 0, total / np.where(known > 0, known, 1.0), np.nan)


def _reduced(values: Any, codes: Any, kernel: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    rest = values.shape[1:]
    if isinstance(values, np.ndarray):
        return kernel(_parts_of(values, codes)).astype(dtype).reshape(*shape, *rest)
    import dask.array

    number = int(np.prod(shape))
    reduction: Any = dask.array.reduction
    sums = reduction(
        values,
        chunk=_chunk,
        combine=_combine,
        aggregate=partial(_aggregate, kernel=kernel, dtype=dtype),
        axis=0,
        keepdims=True,
        concatenate=False,
        output_size=number,
        dtype=dtype,
        meta=np.empty((0,) * values.ndim, dtype=dtype),
        weights=np.asarray(codes).reshape(-1, *[1] * len(rest)),
    )
    return sums.reshape(*shape, *rest)


def _chunk(block: Any, codes: Any, axis: Any, keepdims: bool) -> Any:
    return _parts_of(block, codes[(slice(None), *[0] * (codes.ndim - 1))])


def _combine(parts: Any, axis: Any, keepdims: bool) -> Any:
    return _merged(parts if isinstance(parts, list) else [parts])


def _aggregate(parts: Any, axis: Any, keepdims: bool, *, kernel: Any, dtype: Any) -> Any:
    return kernel(_combine(parts, axis, keepdims)).astype(dtype)


def _pick(flat: Any, table: Any, *, groups: int) -> Any:
    """Take entries of a table by position; -1 gives NaN."""
    rows = table.reshape(-1, *table.shape[groups:])
    out = rows[flat]
    return np.where((flat >= 0).reshape(flat.shape + (1,) * (out.ndim - flat.ndim)), out, np.nan).astype(table.dtype)


def _taken(values: Any, flat: Any, groups: int, lazy: Mapping[int, Any]) -> Any:
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    if isinstance(values, np.ndarray) and not lazy:
        return _pick(flat, values.astype(dtype, copy=False), groups=groups)
    import dask.array

    blockwise: Any = dask.array.blockwise
    from_array: Any = dask.array.from_array
    pieces = tuple(lazy.get(k, -1) for k in range(flat.ndim))
    where = from_array(flat, chunks=pieces) if flat.ndim else from_array(flat)
    table = (from_array(values, chunks=-1) if isinstance(values, np.ndarray) else values).astype(dtype)
    table = table.rechunk({k: -1 for k in range(groups)})
    when = tuple(range(flat.ndim))
    rest = tuple(range(100, 100 + values.ndim - groups))
    return blockwise(
        partial(_pick, groups=groups),
        (*when, *rest),
        where,
        when,
        table,
        (*range(200, 200 + groups), *rest),
        concatenate=True,
        dtype=dtype,
        meta=np.empty((0,) * (len(when) + len(rest)), dtype=dtype),
    )
