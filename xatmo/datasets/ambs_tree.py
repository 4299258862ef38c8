"""Trees of hourly GRIB files as AMBS extracts from: ``YEAR/MONTH/YYYYMMDDHH_sf.grb`` and ``..._ml.grb``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.datasets._grib_fields import Inventory, Wanted, inventory, read
from xatmo.datasets._grib_levels import Columns
from xatmo.errors import CatalogError, CoordinateError, GridError, OptionError, VariableError
from xatmo.typing import Floats

_FILE: Final = re.compile(r"(\d{10})_(sf|ml)\.grb")
_HOUR: Final = np.timedelta64(1, "h")
_NAMED: Final = 3  # missing hours that a message names

Missing = Literal["raise", "skip", "nan"]
Region = Mapping[str, Any]


def open_ambs_tree(
    folder: str | PathLike[str],
    *,
    years: int | Iterable[int] | None = None,
    months: int | Iterable[int] | None = None,
    variables: Sequence[str] | None = None,
    region: Region | None = None,
    missing: Missing = "raise",
    chunks: int = 24,
) -> xr.Dataset:
    """Open a tree of hourly GRIB files lazily, a region of it and some of its fields.

    Only names of files are listed, and the first file of each kind is looked into. A chunk of the Dask graph reads its
    hours file by file, and closes each: no index is written and no file stays open, however long the period.

    Parameters
    ----------
    folder : path
        Holds ``2019/01/2019010100_sf.grb`` (surface), ``2019/01/2019010100_ml.grb`` (levels), and so on.
    years, months : int or several, optional
        Whole months that are wanted. Unless given, what the tree holds, from the first to the last hour.
    variables : sequence of str, optional
        Such as ``"t2m"`` (or ``"2t"``), ``"tcc"``, ``"t850"`` (temperature at 850 hPa, from ``_ml`` files); all at the
        surface and on pressure levels unless given. From levels of the model, as ERA5's are, a field at a pressure is
        interpolated with the coefficients in the file and the surface pressure, ``sp`` of ``_sf`` or ``lnsp`` of
        ``_ml`` files: linear in the logarithm of pressure, and below the lowest level as `xatmo.vertical.to_pressure`.
    region : mapping, optional
        ``latitude`` and ``longitude``: a pair of bounds, in either order for latitudes and from west to east for
        longitudes; or a number or an array of other than two, whose nearest points are taken. Longitudes may run from
        -180 or from 0, cross the file's seam, and come back as they were asked for.
    missing : {"raise", "skip", "nan"}
        What becomes of hours that have no file: an error that counts and names them, a gap in ``time``, or NaN.
    chunks : int
        Hours to a chunk.

    Returns
    -------
    Dataset (time, latitude, longitude)
        float32, in the order of the files' rows. The attribute ``missing_hours`` tells what was left out.

    Raises
    ------
    CatalogError
        If there are no such files, hours are missing (by default), or a file is empty, cut off (when computed), or of
        another time than its name.
    VariableError
        If a variable is not in the files, or fields on levels of a model come without surface pressure or coefficients.
    CoordinateError
        If the region lies outside the grid, or (when computed) a pressure outside the levels that are there.
    GridError
        If files are not on one grid of rows and columns.
    OptionError
        If another setting cannot be.
    MissingDependencyError
        If the extra ``grib`` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from xatmo.datasets import diurnal_temperature, write_ambs_tree
    >>> weather = diurnal_temperature("2019-07-01", 1, nlat=8, nlon=10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_ambs_tree(weather, folder)
    ...     here = open_ambs_tree(folder, variables=["t2m"], region={"latitude": 39.2, "longitude": -359}).load()
    >>> dict(here.sizes), float(here.latitude), float(here.longitude)
    ({'time': 24}, 39.3, -359.1)
    >>> bool(abs(here.t2m - weather.t2m.sel(latitude=39.3, longitude=0.9)).max() < 0.001)
    True
    """
    root = Path(folder)
    _check(missing, chunks)
    wanted_months = _months(years, months)
    files = _list_files(root, wanted_months)
    layers = _choose(root, files, variables)
    kinds = dict.fromkeys(kind for layer in layers for kind in layer.kinds)
    times, there, lacking = _times({kind: files[kind] for kind in kinds}, wanted_months, root, missing)
    look, *others = (about for layer in layers for about in layer.abouts)
    for other in others:
        if not (np.array_equal(other.lat, look.lat) and np.array_equal(other.lon, look.lon)):
            message = f"{root}: _sf and _ml files lie on two grids; wanted one"
            raise GridError(message)
    rows, lat = _select(look.lat, (region or {}).get("latitude"), "latitude")
    columns, lon = _select(look.lon, (region or {}).get("longitude"), "longitude")
    unknown = set(region or {}) - {"latitude", "longitude"}
    if unknown:
        message = f"region with {sorted(unknown)} came; wanted 'latitude' and 'longitude'"
        raise OptionError(message)
    arrays = {}
    for layer in layers:
        present = np.all([there[kind] for kind in layer.kinds], axis=0)
        stack = _stack(root, layer, times, present, rows, columns, chunks)
        for i, one in enumerate(layer.wanted):
            arrays[one.name] = (("time", "latitude", "longitude"), stack[i], layer.attributes(one))
    order = [Wanted.of(name).name for name in variables] if variables is not None else list(arrays)
    ds = xr.Dataset(
        {name: arrays[name] for name in order},
        {
            "time": ("time", times, {"standard_name": "time", "axis": "T"}),
            "latitude": ("latitude", lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
            "longitude": ("longitude", lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
        },
        {"Conventions": "CF-1.11", "source": f"GRIB files of {root.name}"},
    )
    if lacking:
        ds.attrs["missing_hours"] = lacking
    one_point = [d for d in ("latitude", "longitude") if np.ndim((region or {}).get(d, [0])) == 0]
    call = cf.describe_call(
        "datasets.open_ambs_tree", folder=str(root), variables=tuple(order), region=_told(region), missing=missing
    )
    return cf.add_history(ds.squeeze(one_point) if one_point else ds, call)


def _check(missing: str, chunks: int) -> None:
    if missing not in ("raise", "skip", "nan"):
        message = f"missing={missing!r} came; wanted 'raise', 'skip' or 'nan'"
        raise OptionError(message)
    if chunks < 1:
        message = f"chunks={chunks} came; wanted 1 hour or more"
        raise OptionError(message)


def _told(region: Region | None) -> dict[str, Any] | None:
    return None if region is None else {k: np.asarray(v).tolist() for k, v in region.items()}


# ---------------------------------------------------------------------- files and hours
def _months(years: int | Iterable[int] | None, months: int | Iterable[int] | None) -> list[str] | None:
    """Months asked for, ``"2019-01"``; None for whatever there is. Months without years are cut out of it later."""
    if years is None and months is None:
        return None
    which = list(range(1, 13)) if months is None else [months] if isinstance(months, int) else list(months)
    if not which or any(not 1 <= m <= 12 for m in which):
        message = f"months={months!r} came; wanted numbers from 1 to 12"
        raise OptionError(message)
    if years is None:
        message = f"months={months!r} came without years; give years= too"
        raise OptionError(message)
    of = [years] if isinstance(years, int) else list(years)
    if not of:
        message = "years=[] came; wanted one year or more"
        raise OptionError(message)
    return [f"{y:04d}-{m:02d}" for y in sorted(set(of)) for m in sorted(set(which))]


def _list_files(root: Path, wanted: list[str] | None) -> dict[str, Any]:
    """Sorted hours that have a file, by kind."""
    if not root.is_dir():
        message = f"no folder at {root}; wanted one with YEAR/MONTH/YYYYMMDDHH_sf.grb and _ml.grb in it"
        raise CatalogError(message)
    if wanted is None:
        found_months = sorted(root.glob("[0-9][0-9][0-9][0-9]/[01][0-9]"))
    else:
        found_months = [path for month in wanted if (path := root / month[:4] / month[5:]).is_dir()]
    hours: dict[str, list[str]] = {"sf": [], "ml": []}
    for path in found_months:
        with os.scandir(path) as entries:
            inside = [(entry, found) for entry in entries if (found := _FILE.fullmatch(entry.name))]
        for entry, found in inside:
            if entry.stat().st_size == 0:
                message = f"{entry.path} is empty; fetch or write it again"
                raise CatalogError(message)
            if found[1][:6] != path.parent.name + path.name:
                message = f"{entry.path} lies in the folder of another month; move it to where its name says"
                raise CatalogError(message)
            hours[found[2]].append(found[1])
    if not any(hours.values()):
        period = f"of {wanted[0]} to {wanted[-1]} " if wanted else ""
        message = f"no file {period}under {root}; wanted YEAR/MONTH/YYYYMMDDHH_sf.grb and _ml.grb"
        raise CatalogError(message)
    return {kind: np.array(sorted(map(_hour, stamps)), "M8[h]") for kind, stamps in hours.items() if stamps}


def _hour(stamp: str) -> str:
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[8:]}"


def _path(root: Path, time: np.datetime64, kind: str) -> Path:
    stamp = pd.Timestamp(time)
    return root / f"{stamp:%Y}" / f"{stamp:%m}" / f"{stamp:%Y%m%d%H}_{kind}.grb"


@dataclass(frozen=True)
class _Layer:
    """What one Dask array reads: fields of one kind of file as they are, or at pressures, with those of another."""

    kinds: tuple[str, ...]
    abouts: tuple[Inventory, ...]
    wanted: list[Wanted]
    columns: Columns | None = None

    def attributes(self, one: Wanted) -> dict[str, str]:
        """Attributes of a field."""
        about = self.abouts[0]
        if self.columns is None:
            return about.fields[one.name]
        attrs = about.fields[f"{one.short_name}@{self.columns.numbers[one.short_name][0]}"]
        return attrs | {"pressure_level": f"{one.level} hPa"}

    def read(self, root: Path, time: Any, rows: Any, columns: Any) -> Floats:
        """Fields of an hour, ``(field, row, column)``."""
        paths = [_path(root, time, kind) for kind in self.kinds]
        if self.columns is None:
            return read(paths[0], self.wanted, time, self.abouts[0].grid, rows, columns)
        return self.columns.read(paths[0], paths[-1], time, self.abouts[0].grid, rows, columns)


def _choose(root: Path, files: Mapping[str, Any], variables: Sequence[str] | None) -> list[_Layer]:
    """Which fields are read from which kind of file."""
    looks = {kind: (path := _path(root, hours[0], kind), inventory(path)) for kind, hours in files.items()}
    held = [field for _, about in looks.values() for field in about.fields if "@" not in field]
    levels = {short: kind for kind, (_, about) in looks.items() for short in about.levels if short != "lnsp"}
    if variables is None and not held:
        message = f"{root} holds {', '.join(levels)} on hybrid levels alone; name what is wanted, such as 't850'"
        raise VariableError(message)
    plain: dict[str, list[Wanted]] = {}
    at_pressure: dict[str, list[Wanted]] = {}
    for name in dict.fromkeys(held if variables is None else variables):
        wanted = Wanted.of(name)
        holders = [kind for kind, (_, about) in looks.items() if wanted.name in about.fields]
        if holders:
            plain.setdefault(holders[0], []).append(wanted)
        elif wanted.level is not None and wanted.short_name in levels:
            at_pressure.setdefault(levels[wanted.short_name], []).append(wanted)
        else:
            on = [f"{short} at any pressure, as {short}850" for short in levels]
            message = f"{name!r} is in no file of {root / '*'}; wanted one of {', '.join([*held, *on])}"
            raise VariableError(message)
    if not plain and not at_pressure:
        message = "variables=[] came; wanted one or more"
        raise OptionError(message)
    layers = [_Layer((kind,), (looks[kind][1],), wanted) for kind, wanted in plain.items()]
    for kind, fields in at_pressure.items():
        path, about = looks[kind]
        surface = [(k, w) for w in ("sp", "lnsp@1") for k in looks if w in looks[k][1].fields]
        if not surface:
            message = (
                f"{path} has {fields[0].short_name} on hybrid levels, and no file a surface pressure; wanted sp in _sf "
                "or lnsp in _ml files"
            )
            raise VariableError(message)
        (at, name), *_ = surface
        columns = Columns.of(fields, about, Wanted(name, name.partition("@")[0]), path)
        layers.append(_Layer(tuple(dict.fromkeys((kind, at))), (about, looks[at][1]), fields, columns))
    return layers


def _times(
    files: Mapping[str, Any], wanted: list[str] | None, root: Path, missing: str
) -> tuple[Any, dict[str, Any], str]:
    """Give the time axis, which of it has a file (by kind), and in words what is missing."""
    if wanted is None:
        every = np.arange(min(h[0] for h in files.values()), max(h[-1] for h in files.values()) + _HOUR, _HOUR)
    else:
        month = [np.datetime64(m, "M") for m in wanted]
        every = np.concatenate([np.arange(m.astype("M8[h]"), (m + 1).astype("M8[h]"), _HOUR) for m in month])
    there = {kind: np.isin(every, hours) for kind, hours in files.items()}
    complete = np.all(list(there.values()), axis=0)
    lacking = _describe(every, there)
    if lacking and missing == "raise":
        message = f"{root}: {lacking}; fetch them, or take missing='skip' or missing='nan'"
        raise CatalogError(message)
    if missing == "skip":
        every, there = every[complete], {kind: np.ones(complete.sum(), bool) for kind in there}
        if not every.size:
            message = f"{root}: no hour has files of all kinds ({lacking}); wanted one or more"
            raise CatalogError(message)
    return every.astype("M8[ns]"), there, lacking


def _describe(every: Any, there: Mapping[str, Any]) -> str:
    """Say which hours are missing: ``"2019-03 lacks 2 of 744 _sf files (2019-03-04T05, 2019-03-04T06)"``."""
    told = []
    month = every.astype("M8[M]")
    for kind, present in there.items():
        for one in np.unique(month[~present]):
            gone = every[(month == one) & ~present]
            of = int((month == one).sum())
            if gone.size == of:
                told.append(f"{one} has no _{kind} file")
                continue
            named = ", ".join(str(t) for t in gone[:_NAMED]) + (", ..." if gone.size > _NAMED else "")
            told.append(f"{one} lacks {gone.size} of {of} _{kind} files ({named})")
    return "; ".join(told[:6]) + (f"; and {len(told) - 6} more" if len(told) > 6 else "")


# ---------------------------------------------------------------------- region
def _select(axis: Floats, wanted: Any, name: str) -> tuple[Any, Floats]:
    """Find indices along an axis of the files, and the coordinate in the convention that was asked for."""
    if wanted is None:
        return np.arange(axis.size), axis
    asked = np.asarray(wanted, dtype=np.float64)
    spacing = float(np.median(np.abs(np.diff(axis)))) if axis.size > 1 else 1.0
    if asked.shape == (2,):
        if name == "latitude":
            low, high = asked.min() - 1e-6, asked.max() + 1e-6
            index = np.flatnonzero((axis >= low) & (axis <= high))
            found = axis[index]
        else:
            span = min((asked[1] - asked[0]) % 360 or 360.0 * (asked[1] != asked[0]), 360.0)
            # A shade west of the bound, so that a point on it is not a whole turn to the east.
            east = (axis - asked[0] + 1e-6) % 360 - 1e-6
            index = np.flatnonzero(east <= span + 1e-6)
            index = index[np.argsort(east[index], kind="stable")]
            found = np.round(asked[0] + east[index], 9)
    else:
        points = np.atleast_1d(asked)
        turn = np.zeros((points.size, axis.size))
        if name == "longitude":  # whole turns that bring the file's point nearest to the one asked for
            turn = 360 * np.round((points[:, None] - axis) / 360)
        index = np.abs(points[:, None] - axis - turn).argmin(1)
        found = np.round(axis[index] + turn[np.arange(points.size), index], 9)
        far = np.abs(points - found) > 0.5 * spacing + 1e-6
        index = index[:0] if far.any() else index
    if not index.size:
        message = (
            f"region: {name} {asked.tolist()} came; the files' points run from {axis.min():g} to {axis.max():g}, "
            f"{spacing:g} apart"
        )
        raise CoordinateError(message)
    return index, found


# ---------------------------------------------------------------------- reading
def _stack(
    root: Path, layer: _Layer, times: Any, present: Any, rows: Any, columns: Any, chunks: int
) -> Any:  # fmt: skip
    """Dask array ``(field, time, row, column)``; a block reads the files of its hours, one after the other."""
    import dask.array as da

    lengths = [min(chunks, times.size - at) for at in range(0, times.size, chunks)]
    map_blocks: Any = da.map_blocks
    return map_blocks(
        _read_block, chunks=((len(layer.wanted),), tuple(lengths), (rows.size,), (columns.size,)), dtype=np.float32,
        meta=np.empty((0, 0, 0, 0), np.float32), root=root, layer=layer, times=times, present=present, rows=rows,
        columns=columns,
    )  # fmt: skip


def _read_block(
    block_info: Any, root: Path, layer: _Layer, times: Any, present: Any, rows: Any, columns: Any
) -> Floats:
    start, stop = block_info[None]["array-location"][1]
    out = np.full((len(layer.wanted), stop - start, rows.size, columns.size), np.nan, np.float32)
    for i, (time, is_there) in enumerate(zip(times[start:stop], present[start:stop], strict=True)):
        if is_there:
            out[:, i] = layer.read(root, time, rows, columns)
    return out
