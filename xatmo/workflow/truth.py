"""What the forecasts of runs are compared with, and whether several runs mean the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from xatmo.workflow.preparation import open_prepared
from xatmo.workflow.records import read

_SAMPLED = 8


def truth_of(run: str | Path) -> tuple[xr.Dataset, xr.Dataset | None] | None:
    """Give what the forecasts of a run are to be compared with, and the climatology of its training part.

    Parameters
    ----------
    run : path
        Folder that `postprocess` wrote.

    Returns
    -------
    (Dataset, Dataset or None), or None
        None where the folder is no such one.

    Raises
    ------
    CheckpointError
        If the prepared data are gone, or have changed.

    Examples
    --------
    >>> truth_of(".") is None
    True
    """
    folder = Path(run)
    record = read(folder / "run.json")
    if record is None or record.get("step") != "postprocess" or "prepared" not in record:
        return None
    where = record["prepared"]
    relative = folder / where["relative"]
    prepared = open_prepared(relative if relative.exists() else where["path"])
    truth = prepared.part(where["part"])
    return truth[[n for n, da in truth.data_vars.items() if "time" in da.dims]], prepared.climatology


def disagreements(truth: xr.Dataset, other: xr.Dataset) -> list[str]:
    """Tell in what two truths are not the same, in the variables that both have and at some of their times.

    Parameters
    ----------
    truth, other : Dataset
        Along ``time``.

    Returns
    -------
    list of str
        About ``other``; empty where they agree.

    Examples
    --------
    >>> time = xr.date_range("2001-01-01", periods=4)
    >>> ds = xr.Dataset({"t": ("time", np.arange(4.0), {"units": "K"})}, {"time": time})
    >>> disagreements(ds, ds.isel(time=slice(1, None)))
    ['it goes from 2001-01-02T00 to 2001-01-04T00, not from 2001-01-01T00 to 2001-01-04T00']
    >>> disagreements(ds, ds.assign(t=("time", np.arange(4.0) + 1)))
    ['units of t are None, not K', 't differs by up to 1']
    """
    found: list[str] = []
    mine, theirs = truth.indexes["time"], other.indexes["time"]
    if not mine.equals(theirs):
        spans = [" to ".join(np.datetime_as_string(i.values[[0, -1]], "h")) for i in (theirs, mine)]
        found.append(
            f"it goes from {spans[0]}, not from {spans[1]}"
            if spans[0] != spans[1]
            else f"it has {len(theirs)} times from {spans[0]}, not {len(mine)}"
        )
    shared = mine.intersection(theirs)
    at = shared[np.unique(np.linspace(0, len(shared) - 1, _SAMPLED).astype(int))] if len(shared) else shared
    names = [str(n) for n in truth.data_vars if n in other.data_vars]
    if not names:
        found.append(f"it has {sorted(map(str, other.data_vars))}, not {sorted(map(str, truth.data_vars))}")
    for name in names:
        a, b = truth[name], other[name]
        if a.attrs.get("units") != b.attrs.get("units"):
            found.append(f"units of {name} are {b.attrs.get('units')}, not {a.attrs.get('units')}")
        places = [d for d in a.dims if d != "time"]
        if set(a.dims) != set(b.dims) or not all(a.indexes[d].equals(b.indexes[d]) for d in places if d in a.indexes):
            found.append(f"{name} lies on another grid, {dict(b.sizes)}")
        elif len(at):
            apart = float(abs(a.sel(time=at) - b.sel(time=at)).max().compute())
            if apart > 0:
                found.append(f"{name} differs by up to {apart:.3g}")
    return found
