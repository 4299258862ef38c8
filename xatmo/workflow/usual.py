"""What is usual at the times of a test part: by month and hour as it was learned, by hour alone where months lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import metrics
from xatmo.climatology import COUNT
from xatmo.errors import CoordinateError

_OF_YEAR: Final = ("month", "season", "dayofyear")


def covering(climatology: xr.Dataset, times: xr.DataArray) -> tuple[xr.Dataset, str | None]:
    """Give a climatology that has an entry for each time: as it is, or the mean day over all its months.

    Parameters
    ----------
    climatology : Dataset
        As `xatmo.metrics.climatology` gives it, by hour and perhaps by month, season or day of the year.
    times : DataArray of dates

    Returns
    -------
    Dataset
        With the dimension ``hour`` alone in place of both where an entry lacks: the mean over months, each weighted
        with its number of times, which is the mean over all times.
    str or None
        What was done, if something was.

    Raises
    ------
    CoordinateError
        If hours lack, too, or the climatology has none.

    Examples
    --------
    >>> time = xr.date_range("2001-01-01", periods=48, freq="h")
    >>> ds = xr.Dataset({"t": ("time", np.arange(48.0))}, {"time": time})
    >>> day, note = covering(metrics.climatology(ds), ds.time + np.timedelta64(31, "D"))
    >>> day.t.values[:3], note
    (array([12., 13., 14.]), 'the training part has nothing of month 2; its mean day is taken instead')
    """
    one = climatology.isel({d: 0 for d in climatology.dims if d not in (*_OF_YEAR, "hour")})
    try:
        metrics.climatology_at(one, times)
    except CoordinateError:
        group = next((g for g in _OF_YEAR if g in climatology.dims), None)
        if group is None or "hour" not in climatology.dims:
            raise
        day = _mean_day(climatology, group)
        metrics.climatology_at(day.isel({d: 0 for d in day.dims if d != "hour"}), times)
        return (
            day,
            f"the training part has nothing of {_lacking(climatology, group, times)}; its mean day is taken instead",
        )
    return climatology, None


def mean_day_forecast(train: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    """Forecast the mean day of the training part, in the form of other forecasts. Lazy.

    Parameters
    ----------
    train : Dataset
        Along ``time``; the mean is computed here.
    like : Dataset
        Forecasts along ``init_time`` and ``lead_time`` with ``valid_time``, perhaps with members.

    Raises
    ------
    CoordinateError
        If the training part lacks an hour.
    """
    day = metrics.climatology(train[list(like.data_vars)], by="hour").compute()
    when = like["valid_time"].reset_coords(drop=True)
    made = metrics.climatology_at(day, when, chunks={"init_time": 1})
    fields = {}
    for name, da in like.data_vars.items():
        fields[name] = made[name].transpose(*(d for d in da.dims if d != "member")).astype(da.dtype)
        fields[name].attrs = dict(da.attrs)
    coords = {n: c for n, c in like.coords.items() if "member" not in c.dims}
    return xr.Dataset(fields).drop_vars("valid_time", errors="ignore").assign_coords(coords)


def _mean_day(climatology: xr.Dataset, group: str) -> xr.Dataset:
    if COUNT not in climatology.coords:
        return climatology.mean(group, keep_attrs=True)
    number = climatology[COUNT].fillna(0)
    varying: Sequence[Any] = [n for n, da in climatology.data_vars.items() if group in da.dims]
    means = climatology[varying].weighted(number).mean(group, keep_attrs=True)
    kept = climatology.drop_vars([*varying, group, COUNT])
    return kept.assign({n: means[n].astype(climatology[n].dtype) for n in varying})


def _lacking(climatology: xr.Dataset, group: str, times: xr.DataArray) -> str:
    lacking = np.setdiff1d(np.unique(getattr(times.dt, group).values), climatology[group].values)
    shown = ", ".join(map(str, lacking[:12])) + (" ..." if lacking.size > 12 else "")
    return f"{group} {shown}" if lacking.size else f"some hours of some {group}"
