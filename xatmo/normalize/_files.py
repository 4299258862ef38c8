"""A normalizer as a Dataset and as a netCDF file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from xatmo.errors import CheckpointError

_KIND, _VERSION = "xatmo_normalizer", 1


def described(method: str, state: xr.Dataset) -> xr.Dataset:
    """Add what is needed to recognise the statistics again."""
    return state.copy().assign_attrs({_KIND: _VERSION, "method": method})


def understood(ds: xr.Dataset, statistics: Mapping[str, Sequence[str]], what: str) -> tuple[str, xr.Dataset]:
    """Check a Dataset and take method and state out of it.

    Raises
    ------
    CheckpointError
        If the Dataset does not describe a normalizer.
    """
    if _KIND not in ds.attrs:
        message = f"{what} is not a saved normalizer; wanted what Normalizer.save writes"
        raise CheckpointError(message)
    if int(ds.attrs[_KIND]) > _VERSION:
        message = f"{what} was written by a newer xatmo (format {ds.attrs[_KIND]}); update xatmo"
        raise CheckpointError(message)
    method = str(ds.attrs.get("method"))
    kept: dict[str, set[str]] = {}
    for variable in ds.data_vars.values():
        name, statistic = variable.attrs.get("variable"), variable.attrs.get("statistic")
        kept.setdefault(str(name), set()).add(str(statistic))
    if method not in statistics or not kept or any(of != set(statistics[method]) for of in kept.values()):
        message = f"{what} is an incomplete normalizer: method {method!r} with {kept}; fit and save it again"
        raise CheckpointError(message)
    state = ds.copy()
    state.attrs = {k: v for k, v in ds.attrs.items() if k not in (_KIND, "method")}
    return method, state


def write(ds: xr.Dataset, path: Path) -> None:
    """Write beside the final name and rename, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        ds.to_netcdf(name, engine="netcdf4")
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def read(path: Path) -> xr.Dataset:
    """Read the whole file.

    Raises
    ------
    CheckpointError
        If there is no such file, or netCDF cannot read it.
    """
    if not path.is_file():
        message = f"there is no normalizer at {str(path)!r}; fit one and save it: Normalizer.fit(ds).save(path)"
        raise CheckpointError(message)
    try:
        return xr.load_dataset(path, engine="netcdf4")
    except Exception as error:  # HDF5 and netCDF raise many types for damaged files
        line = str(error).strip().splitlines()
        message = f"{str(path)!r} cannot be read ({line[0] if line else type(error).__name__}); it may be truncated. "
        message += "Copy or save the normalizer again"
        raise CheckpointError(message) from error
