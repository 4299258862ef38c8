"""Intervals where nobody said how: along which dimension blocks are drawn, and how long they are."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import _valid_times, cf
from xatmo.errors import CoordinateError, OptionError
from xatmo.metrics._pairs import Dims
from xatmo.metrics.resampling import FEW, Bootstrap, dates_of

_LONG = ("365D", "7D")  # where eight of them fit: a year forgets the one before, a week most weather
_ENOUGH = 8
_DAY = pd.Timedelta("1D")
_TENTH = 10
_FEWEST = 6  # points without dates
_UNDATED = ("init_time", "time")


def automatic_blocks(field: xr.DataArray, *, dim: Dims = None, **settings: Any) -> tuple[dict[str, Any] | None, str]:
    """Choose how scores of a field are resampled: whole weeks of initial times, or of times, or whole days.

    Blocks are of a week where eight or more fit, else of a day, and never shorter than the longest lead time, in whole
    days, nor than a step. Where a step is longer than a week, blocks are of a year if eight or more fit, else of a
    step. Errors remember each other less than that, mostly; where they do not, give longer blocks. Times without
    dates make ten blocks.

    Parameters
    ----------
    field : DataArray
        A prediction, perhaps along ``init_time`` and ``lead_time``.
    dim : str or sequence of str, optional
        What is averaged over; all dimensions unless given.
    **settings
        Of the bootstrap, besides ``dim`` and ``block``: see `xatmo.metrics.verify`.

    Returns
    -------
    dict or None
        For ``bootstrap=``; None where there is nothing to draw from.
    str
        What was chosen, or why nothing was.

    Raises
    ------
    OptionError
        If a setting is unknown or has no usable value.

    Examples
    --------
    >>> times = xr.date_range("2019-01-01", periods=24 * 20, freq="h", use_cftime=False)
    >>> automatic_blocks(xr.DataArray(np.zeros(480), {"time": times}, ["time"]))
    ({'dim': 'time', 'block': '1D'}, '90 % intervals from 1000 resamples of 20 blocks of 1D of time')
    >>> automatic_blocks(xr.DataArray(np.zeros(9), dims="x"))
    (None, 'no intervals: there is no dimension of times to draw from')
    """
    along, longest = _axis(field)
    Bootstrap.of({"dim": along, **settings})
    if along is None:
        return None, "no intervals: there is no dimension of times to draw from"
    over = field.dims if dim is None else tuple(dim) if isinstance(dim, list | tuple) else (dim,)
    if along not in over:
        return None, f"no intervals: {along} is kept, and nothing else is there to draw from"
    size, labels = field.sizes[along], field.indexes.get(along)
    for block, least in _candidates(size, labels, longest):
        options = {"dim": along, **settings, "block": block}
        resampling = Bootstrap.of(options)
        try:
            drawn = resampling.windows(size, labels).drawn
        except OptionError:  # too few
            continue
        if drawn >= least:
            return options, words(resampling, drawn)
    if not isinstance(block, str):
        return None, f"no intervals: {size} points of {along} are too few"
    return None, f"no intervals: {size} points of {along} make fewer than two blocks of {block}"


def words(resampling: Bootstrap, blocks: int) -> str:
    """Say in words where intervals come from.

    Examples
    --------
    >>> words(Bootstrap("time", "7D", n=200), 9)
    '90 % intervals from 200 resamples of 9 blocks of 7D of time'
    """
    told = resampling.stated(blocks)
    rough = f"; with fewer than {FEW} blocks they are rough" if blocks < FEW else ""
    return (
        f"{100 * resampling.level:g} % intervals from {resampling.n} resamples of {blocks} blocks of {told['block']} "
        f"of {resampling.dim}{rough}"
    )


# ---------------------------------------------------------------------- pieces
def _axis(field: xr.DataArray) -> tuple[Hashable | None, pd.Timedelta]:
    """Dimension of initial times, or of times, and the longest lead."""
    none = pd.Timedelta(0)
    try:
        valid = _valid_times.find(field)
    except CoordinateError:
        valid = None
    if valid is not None and valid.start is not None:
        longest = none
        if valid.lead is not None and field[valid.lead].dtype.kind == "m" and field[valid.lead].size:
            longest = pd.Timedelta(field[valid.lead].values.max())
        dims = field[valid.start].dims
        return (dims[0] if len(dims) == 1 and dims[0] in field.dims else None), longest
    if valid is not None and valid.times.ndim == 1 and valid.times.dims[0] in field.dims:
        return valid.times.dims[0], none
    try:
        named = [*field[cf.time(field)].dims]
    except CoordinateError:
        named = []
    return next((d for d in (*named, *_UNDATED) if d in field.dims), None), none


def _candidates(size: int, labels: pd.Index | None, longest: pd.Timedelta) -> list[tuple[Any, int]]:
    """Blocks, and how many of them have to fit, in the order in which they are tried."""
    try:
        steps = np.diff(np.sort(dates_of(labels, Bootstrap("time", "1D"))))
    except OptionError:  # no dates
        return [(max(1, size // _TENTH), _FEWEST)]
    step = pd.Timedelta(int(np.median(steps))) if steps.size else _DAY
    shortest = max(_DAY, step, longest.ceil("D"))
    week, year = pd.Timedelta(_LONG[1]), pd.Timedelta(_LONG[0])
    long = [(name, _ENOUGH) for name in _LONG if pd.Timedelta(name) > shortest]
    if step <= week:
        long = [(name, n) for name, n in long if pd.Timedelta(name) < year]
    # Months are of 28 to 31 days: a point each. Where some steps are far shorter, near points stay together.
    even = bool(steps.size) and 2 * steps.min() >= step.value
    last: Any = 1 if shortest == step and step > _DAY and even else f"{-(-shortest // _DAY)}D"
    return [*long, (last, 2)]
