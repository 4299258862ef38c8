"""Open data in AtmoDist's layout: HDF5, channel x time x row x column, one file a year behind a virtual one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

from xatmo import cf, optional
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.typing import XarrayObject

_ATTRS: Final = {
    "d": {"standard_name": "divergence_of_wind", "long_name": "divergence", "units": "s-1"},
    "vo": {"standard_name": "atmosphere_relative_vorticity", "long_name": "relative vorticity", "units": "s-1"},
}
_YEAR: Final = re.compile(r"(?<!\d)(?:1[6-9]|2[01])\d\d(?!\d)")
_DIMS: Final = ("channel", "time", "latitude", "longitude")

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def open_atmodist(
    path: Paths,
    *,
    dataset: str = "data",
    channels: Sequence[str] = ("d", "vo"),
    start: str | np.datetime64 | None = None,
    step: str | pd.Timedelta = "3h",
    grid: Grid | XarrayObject | None = None,
    chunks: int | Mapping[Any, Any] | None = {"time": 8},
) -> xr.Dataset:
    """Open AtmoDist's data lazily, with names, times and coordinates that the files do not hold.

    The files hold one array, channel x time x row x column, of divergence and vorticity on the grid of Driscoll and
    Healy (1280 x 2560), compressed by a filter of hdf5plugin; one file a year, and a virtual dataset that strings them
    together. Times are worked out from the year in each file's name: the first of January at 0 UTC, and on in steps.

    Parameters
    ----------
    path : path, or a sequence of paths
        The virtual file; or one year's; or several years', which are strung together here.
    dataset : str
        Name of the array in the file.
    channels : sequence of str
        Name of each channel in order. ``"d"`` and ``"vo"`` get their CF attributes.
    start : str or datetime64, optional
        Time of the first field, instead of those from the names; fields then follow without a gap. With one path only.
    step : str or timedelta
        Time between fields.
    grid : Grid or Dataset or DataArray, optional
        Where the rows and columns lie; ``Grid.driscoll_healy(rows, columns)`` unless given.
    chunks : int, mapping or None
        Dask chunks, as for `xarray.Dataset.chunk`; eight global fields a chunk unless given. None is lazy without Dask
        (for one path only).

    Returns
    -------
    Dataset (time, latitude, longitude)
        One variable for each channel. Nothing of the fields has been read.

    Raises
    ------
    MissingDependencyError
        Without h5py or hdf5plugin.
    OptionError
        If there is no such file or array, the year of a file cannot be told, or a virtual dataset lacks files or times.
    DimensionError
        If the array does not have four dimensions, or not as many channels as names, or the grid is of another size.

    Examples
    --------
    >>> open_atmodist("no/such/file.h5")
    Traceback (most recent call last):
        ...
    xatmo.errors.OptionError: no file at no/such/file.h5; wanted an HDF5 file in AtmoDist's layout, ...
    """
    paths = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(p) for p in path]
    every = pd.Timedelta(step)
    if not paths or not every > pd.Timedelta(0):
        message = f"paths {[*map(str, paths)]}, step={step!r}; wanted one path or more and a positive step"
        raise OptionError(message)
    if len(paths) > 1 and (start is not None or chunks is None):
        message = (
            f"start={start!r}, chunks={chunks!r} came with {len(paths)} paths; wanted one path, or neither of them"
        )
        raise OptionError(message)
    for one in paths:
        if not one.is_file():
            message = f"no file at {one}; wanted an HDF5 file in AtmoDist's layout, with channel, time, row, column"
            raise OptionError(message)
    for module in ("h5py", "hdf5plugin"):
        optional.require(module, extra="hdf5", why=f"opening {paths[0]}")
    pieces = [_open_one(p, dataset, list(channels), start, every, grid, chunks) for p in paths]
    ds = pieces[0] if len(pieces) == 1 else _strung(pieces)
    return cf.add_history(ds, cf.describe_call("datasets.open_atmodist", path=[p.name for p in paths], step=str(step)))


def _open_one(
    path: Path,
    dataset: str,
    names: list[str],
    start: str | np.datetime64 | None,
    step: pd.Timedelta,
    grid: Grid | XarrayObject | None,
    chunks: int | Mapping[Any, Any] | None,
) -> xr.Dataset:
    array = _StoredArray(path.resolve(), dataset)
    if len(array.shape) != 4 or array.shape[0] != len(names):
        message = (
            f"{path}: /{dataset} has the shape {array.shape}; wanted ({len(names)}, times, rows, columns), one channel "
            f"for each of channels={names}"
        )
        raise DimensionError(message)
    where = Grid.driscoll_healy(*array.shape[2:]) if grid is None else Grid.of(grid)
    if where.shape != array.shape[2:]:
        message = f"{path}: /{dataset} has {array.shape[2:]} rows and columns; {where!r} came as grid="
        raise DimensionError(message)
    count = array.shape[1]
    parts = [(0, count, path.name)] if array.sources is None else _parts(array.sources, path, count)
    if start is not None:
        times = _times(pd.Timestamp(start), count, step)
    else:
        times = np.concatenate([_year_times(name, stop - first, step) for first, stop, name in parts])
    if np.any(np.diff(times) <= np.timedelta64(0)):
        message = f"{path}: the years of {[p[2] for p in parts]} do not follow each other; give start="
        raise OptionError(message)
    whole = xr.Variable(_DIMS, indexing.LazilyIndexedArray(array))
    data = {name: whole.isel(channel=k)._replace(attrs=dict(_ATTRS.get(name, {}))) for k, name in enumerate(names)}
    coords = {"time": ("time", times, {"standard_name": "time", "axis": "T"}), **where.coords()}
    ds = xr.Dataset(data, coords, {"Conventions": "CF-1.11", "source": f"{path.name}, in AtmoDist's layout"})
    if chunks is None:
        return ds
    from dask.base import tokenize

    about = path.stat()
    token = tokenize(str(path.resolve()), about.st_mtime_ns, about.st_size, dataset)
    return ds.chunk(chunks, token=token, name_prefix="atmodist-", inline_array=True)


def _strung(pieces: list[xr.Dataset]) -> xr.Dataset:
    ds = xr.concat(pieces, "time", join="exact", data_vars="minimal", coords="minimal", compat="override",
                   combine_attrs="override")  # fmt: skip
    if np.any(np.diff(ds["time"].values) <= np.timedelta64(0)):
        message = f"the times of the files overlap or go back at {_step_back(ds)}; wanted files in order of time"
        raise OptionError(message)
    return ds.assign_attrs(source=f"{len(pieces)} files in AtmoDist's layout")


def _step_back(ds: xr.Dataset) -> Any:
    times = ds["time"].values
    return times[1:][np.diff(times) <= np.timedelta64(0)][0]


# ---------------------------------------------------------------------- times
def _times(first: pd.Timestamp, count: int, step: pd.Timedelta) -> Any:
    nanoseconds = np.arange(count, dtype=np.int64) * step.value
    return np.datetime64(first, "ns") + nanoseconds.astype("timedelta64[ns]")


def _year_times(name: str, count: int, step: pd.Timedelta) -> Any:
    """Work out times of a year's fields from the year in the file's name."""
    found = set(_YEAR.findall(Path(name).name))
    if len(found) != 1:
        came = "no year" if not found else f"several years, {sorted(found)},"
        message = f"{came} stand in the name of {name!r}; wanted one such as 1979, or give start= of the first field"
        raise OptionError(message.replace("no year stand", "no year stands"))
    times = _times(pd.Timestamp(f"{found.pop()}-01-01"), count, step)
    if times[-1].astype("datetime64[Y]") != times[0].astype("datetime64[Y]"):
        message = (
            f"{count} fields in {name!r}, every {step}, reach into the next year, {times[-1]}; give the right step="
        )
        raise OptionError(message)
    return times


def _parts(sources: Sequence[tuple[int, int, str]], path: Path, count: int) -> list[tuple[int, int, str]]:
    """First and last time of each file behind a virtual dataset, in order; every file has to be there.

    HDF5 itself gives zeros for what is missing, without a word.
    """
    parts = sorted(set(sources))
    missing = [name for _, _, name in parts if not _there(name, path)]
    if missing:
        message = (
            f"{path} is a virtual dataset, and {len(missing)} of its {len(parts)} files are missing: {missing[0]}"
            f"{' and others' if len(missing) > 1 else ''}; put them where it looks for them, or make it anew"
        )
        raise OptionError(message)
    spans: list[tuple[int, int, str]] = []
    for first, stop, name in parts:  # several channels of one year may lie in several files
        if not spans or (first, stop) != spans[-1][:2]:
            spans.append((first, stop, name))
    edges = [0, *(stop for _, stop, _ in spans)]
    if [first for first, _, _ in spans] != edges[:-1] or edges[-1] != count:
        covered = [(first, stop) for first, stop, _ in spans]
        message = f"{path}: the files behind the virtual dataset fill the times {covered} of {count}; wanted all, once"
        raise OptionError(message)
    return spans


def _there(name: str, path: Path) -> bool:
    """Whether HDF5 finds a source file: at its path, beside the virtual file, or there by its bare name."""
    prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(path.parent))
    tried = [Path(name), path.parent / name, path.parent / Path(name).name]
    tried += [Path(prefix) / name] if prefix else []
    return name == "." or any(p.is_file() for p in tried)


# ---------------------------------------------------------------------- reading
def _open_file(path: str, mode: str = "r") -> Any:
    """Open with the filters of hdf5plugin registered, in whichever process this runs."""
    optional.require("hdf5plugin", extra="hdf5", why=f"reading {path}")
    return optional.require("h5py", extra="hdf5", why=f"reading {path}").File(path, mode)


class _StoredArray(BackendArray):
    """An HDF5 array that is read by slices, from any thread or process.

    Attributes
    ----------
    sources : list of (int, int, str) or None
        For a virtual dataset, the span of time that each file fills.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = str(path), name
        self.manager = CachingFileManager(_open_file, self.path, mode="r")
        try:
            file = self.manager.acquire()
        except OSError as error:
            message = f"{path} cannot be read as HDF5: {' '.join(str(error).split())}"
            raise OptionError(message) from error
        stored = file.get(name)
        if stored is None or not hasattr(stored, "shape"):
            message = f"{path} has no array {name!r}; it has {sorted(file)}: name one with dataset="
            raise OptionError(message)
        self.shape: tuple[int, ...] = tuple(stored.shape)
        self.dtype = np.dtype(stored.dtype)
        self.sources: list[tuple[int, int, str]] | None = None
        if stored.is_virtual and len(self.shape) == 4:
            self.sources = []
            for source in stored.virtual_sources():
                low, high = source.vspace.get_select_bounds()
                self.sources.append((int(low[1]), int(high[1]) + 1, str(source.file_name)))

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        return self.manager.acquire()[self.name][key]
