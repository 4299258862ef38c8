"""Read fields from files; write results so that nothing half done looks finished and an interruption costs little."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import xarray as xr

from xatmo import cf, optional
from xatmo.errors import OptionError, VariableError, XatmoError
from xatmo.writing import writer

NETCDF: Final = (".nc", ".nc4", ".cdf", ".h5", ".hdf5")
GRIB: Final = (".grib", ".grib1", ".grib2", ".grb", ".grb2")
_PIECE_BYTES: Final = 64e6
JOINED: Final = 4e6  # bytes of forecasts that a task reads
JOINED_TRUTH: Final = 5e5  # a time of a truth is in several forecasts


# ---------------------------------------------------------------------- reading
def open_fields(path: Path, *, joined: float = 0) -> xr.Dataset:
    """Open a netCDF file, a Zarr store or a GRIB file, lazily on Dask.

    ``joined``: bytes up to which one task reads several small stored chunks, for what passes over all of a long record.
    A store of a chunk for each of 8760 times would else be as many tasks in each pass. Reading then is a first task,
    which no other one precedes: Dask's threads go on with what the last task has set free, and where all reading
    follows the opening of a file, they read all of it before they begin with the next one.

    Raises
    ------
    FileNotFoundError
        If nothing is at ``path``.
    OSError
        If what is there cannot be read.
    MissingDependencyError
        If it is GRIB, or compressed by a filter, and the package that reads it is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(2, "no such file or folder", str(path))
    options: dict[str, Any] = {"chunks": {}, "inline_array": joined > 0}
    if path.suffix in GRIB:
        optional.require("cfgrib", extra="grib", why=f"reading {path}")
        # pv: coefficients of a model's levels, where there are such
        options |= {"engine": "cfgrib", "backend_kwargs": {"indexpath": "", "read_keys": ["pv"]}}
    elif path.is_dir():
        options |= {"engine": "zarr", "consolidated": False}  # listing a local folder costs nothing
    try:
        ds = xr.open_dataset(path, **options)
        pieces = _pieces_of_unchunked(ds) or (_pieces_of_small_chunks(ds, joined) if joined else {})
        return xr.open_dataset(path, **{**options, "chunks": pieces}) if pieces else ds
    except XatmoError:
        raise
    except Exception as error:  # each engine raises its own kinds
        if "filter" in str(error).lower() and path.suffix in NETCDF:
            optional.require("hdf5plugin", extra="hdf5", why=f"{path}, compressed by an HDF5 filter of its own,")
            return xr.open_dataset(path, chunks={}, engine="h5netcdf")
        reason = " ".join(str(error).split()) or type(error).__name__
        if "did not find a match" in reason:  # xarray goes on about engines
            reason = "the file is cut off, or of another kind" if path.stat().st_size else "the file is empty"
        kind = "GRIB" if path.suffix in GRIB else "Zarr" if path.is_dir() else "netCDF"
        message = f"{path} cannot be read as {kind}: {reason[:300]}"
        raise OSError(message) from error


def _pieces_of_unchunked(ds: xr.Dataset) -> dict[Hashable, int]:
    """Find how to read a file that stores each field in a row, of more than fits in memory with ease.

    Dask takes that as one chunk. What is stored as a single chunk of its own, as compressed fields may be, stays one:
    each part of it costs reading the whole.
    """
    large = [da for da in ds.data_vars.values() if da.nbytes > 2 * _PIECE_BYTES]
    if not large or any(da.ndim < 3 or max(da.data.numblocks) > 1 or _is_chunked(da) for da in large):
        return {}
    first = large[0].dims[0]
    if any(da.dims[0] != first for da in large):
        return {}
    return {first: max(1, int(_PIECE_BYTES // max(da.nbytes // da.sizes[first] for da in large)))}


def _is_chunked(da: xr.DataArray) -> bool:
    return bool(da.encoding.get("preferred_chunks"))


def _pieces_of_small_chunks(ds: xr.Dataset, joined: float) -> dict[Hashable, int]:
    """Find how many labels of the first dimension to read at a time, where chunks of few are stored: whole chunks."""
    found: dict[Hashable, int] = {}
    for da in ds.data_vars.values():
        if da.chunks is None or da.ndim < 3 or len(da.chunks[0]) < 2:
            continue
        dim, stored = da.dims[0], da.chunks[0][0]
        one = da.dtype.itemsize * stored * math.prod(da.shape[1:])
        many = stored * min(max(1, int(joined // one)), len(da.chunks[0]))
        found[dim] = min(many, found.get(dim, many))
    return found


def one_variable(ds: xr.Dataset, name: str | None, path: Path) -> xr.DataArray:
    """Take the variable ``name``, or the only one on a horizontal grid; NAME ``_error`` goes with NAME.

    Raises
    ------
    VariableError
        If there is no such variable, or several and none is named.
    """
    if name is not None:
        if name not in ds.data_vars:
            message = f"no variable {name!r} in {path}; it has {sorted(map(str, ds.data_vars))}"
            raise VariableError(message)
        return ds[name]
    names = cf.variables_with(ds, cf.horizontal(ds).dims, what=str(path))
    names = [name for name in names if not (str(name).endswith("_error") and str(name).removesuffix("_error") in names)]
    if len(names) > 1:
        message = f"{path} has several fields, {sorted(map(str, names))}; name one with --variable"
        raise VariableError(message)
    return ds[names[0]]


def in_pieces(ds: xr.Dataset) -> xr.Dataset:
    """Chunk the dimensions other than those of a map, so that one field at a time fits in memory with ease."""
    horizontal = cf.across(ds)
    fields = [ds[n] for n in cf.variables_with(ds, horizontal, what="applying a model")]
    plane = max(da.dtype.itemsize * math.prod(da.sizes[d] for d in horizontal) for da in fields)
    left = max(1, int(_PIECE_BYTES // plane))
    chunks: dict[Hashable, int] = {}
    for dim in [d for d in reversed(fields[0].dims) if d not in horizontal]:
        chunks[dim] = min(left, ds.sizes[dim])
        left = max(1, left // ds.sizes[dim])
    stored = {d: c[0] for d, c in cf.chunks_of(ds).items()}
    # Chunks smaller than that, as stored, stay: joining them would read more for each piece.
    return ds.chunk({d: min(c, stored.get(d, c)) for d, c in chunks.items()})


def identity(path: Path) -> dict[str, Any]:
    """Tell one input from another, and from itself after a change."""
    parts = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    newest = max((p.stat().st_mtime_ns for p in parts), default=0)
    return {"path": str(path.resolve()), "bytes": sum(p.stat().st_size for p in parts), "changed": newest}


# ---------------------------------------------------------------------- writing
def write(
    ds: xr.Dataset, path: Path, *, key: Mapping[str, Any], overwrite: bool = False, note: Callable[[str], Any] = print
) -> None:
    """Write a lazy result to Zarr, region by region, or to netCDF, whole or not at all.

    Parameters
    ----------
    ds : Dataset
    path : path
        ``.zarr``: an interrupted call is continued by the same call. ``.nc``: appears when it is complete.
    key : mapping
        What JSON can hold and the result depends on: a store that was begun with another is not continued.
    overwrite : bool
        Replace what is there.
    note : callable
        Takes one line of text, for the user.

    Raises
    ------
    OptionError
        If the name ends otherwise.
    FileExistsError
        If something complete is there already.
    ConfigError
        If something begun with another ``key`` is there.
    """
    if path.suffix not in (".zarr", *NETCDF):
        message = f"cannot tell the format of {path}; wanted a name that ends in .zarr or .nc"
        raise OptionError(message)
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such file or folder", str(path.parent))
    for variable in ds.variables.values():  # chunks and filters of the input do not fit the output
        variable.encoding = {k: v for k, v in variable.encoding.items() if k in ("units", "calendar", "_FillValue")}
    if path.suffix == ".zarr":
        from xatmo import streaming

        with said_for_the_command_line(path):
            streaming.write_zarr(ds, path, key=key, overwrite=overwrite, note=note)
    else:
        _refuse_existing(path, overwrite)
        _write_netcdf(ds, path)


@contextmanager
def said_for_the_command_line(path: Path) -> Iterator[None]:
    """Name the option, where the library names its keyword.

    Raises
    ------
    FileExistsError
        If what is done inside raised it.
    """
    try:
        yield
    except FileExistsError:
        _refuse_existing(path, overwrite=False)


def write_scores(scores: xr.Dataset, path: Path, *, overwrite: bool = False) -> None:
    """Write scores to netCDF or CSV.

    Raises
    ------
    OptionError
        If the name ends otherwise.
    FileExistsError
        If something is there already and may not be replaced.
    """
    if path.suffix not in (".csv", *NETCDF):
        message = f"cannot tell the format of {path}; wanted a name that ends in .csv or .nc"
        raise OptionError(message)
    _refuse_existing(path, overwrite)
    if path.suffix == ".csv":
        (scores if scores.dims else scores.expand_dims("scores")).to_dataframe().to_csv(path)
    else:
        _write_netcdf(scores, path)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        message = f"{path} exists; pass --overwrite to replace it"
        raise FileExistsError(message)


def _write_netcdf(ds: xr.Dataset, path: Path) -> None:
    handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}-", dir=path.parent)
    os.close(handle)
    try:
        with watch_tasks(f"writing {path.name}"), writer() as compute:
            compute(ds.to_netcdf(name, engine="netcdf4", compute=False))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def watch_tasks(what: str) -> Iterator[None]:
    """Show the progress of the Dask tasks that run inside."""
    from dask.callbacks import Callback
    from rich.progress import Progress

    with Progress(disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def started(_: Any, state: Mapping[str, Any]) -> None:
            bar.update(task, total=sum(len(state[kind]) for kind in ("ready", "waiting")), completed=0)

        def finished(*_: Any) -> None:
            bar.advance(task)

        with Callback(start_state=started, posttask=finished):  # type: ignore[no-untyped-call]
            yield


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
