"""Open an archive of any of the kinds that extraction reads: AMBS's GRIB tree, files, globs, Zarr, catalogs."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import xarray as xr

from xatmo.catalog import open_catalog
from xatmo.cli.files import open_fields
from xatmo.errors import OptionError
from xatmo.workflow.model_levels import short
from xatmo.workflow.records import files_fingerprint, fingerprint

Source = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""A path, a glob, several of these, or ``{"catalog": ..., "entry": ..., PARAMETER: ...}``."""

_TREE: Final = ("[0-9][0-9][0-9][0-9]/[01][0-9]/*_sf.grb", "[0-9][0-9][0-9][0-9]/[01][0-9]/*_ml.grb")


def open_source(source: Source, variables: Sequence[str] | None = None) -> tuple[xr.Dataset, dict[str, Any]]:
    """Open an archive lazily.

    Parameters
    ----------
    source : path, glob, list or mapping
        The folder of a tree of GRIB files as AMBS keeps them, ``YEAR/MONTH/*_ml.grb`` and ``*_sf.grb``; a Zarr store; a
        netCDF or GRIB file; a glob or a list of files, which follow each other in time or hold different variables; or
        an entry of a catalog, ``{"catalog": "era5", "entry": "arco"}`` with its parameters.
    variables : sequence of str, optional
        Of a GRIB tree: only these are read, as ``"2t"`` or ``"t@850"``.

    Returns
    -------
    Dataset
    dict
        What tells this input from others: where it is, and a fingerprint.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    OptionError
        If it is none of these.
    CatalogError, OSError
        If it cannot be opened.
    """
    if isinstance(source, Mapping):
        return _entry(source)
    if isinstance(source, str | Path) and Path(source).is_dir():
        folder = Path(source)
        tree = [path for pattern in _TREE for path in folder.glob(pattern)]
        if tree:
            from xatmo import datasets

            names = None if variables is None else [short(name) for name in variables]
            ds = datasets.open_ambs_tree(folder, variables=names, missing="skip")
            return ds, {"ambs_tree": folder.name, "files": files_fingerprint(tree)}
        ds = open_fields(folder)
        ds = ds[sorted(map(str, ds.data_vars))]  # a folder is listed in any order
        return ds, {"zarr": folder.name, "values": fingerprint(ds)}
    paths = _paths(source)
    told = {"files": files_fingerprint(paths), "first": paths[0].name, "number": len(paths)}
    return (open_fields(paths[0]) if len(paths) == 1 else _together(paths)), told


def _entry(source: Mapping[str, Any]) -> tuple[xr.Dataset, dict[str, Any]]:
    parameters = dict(source)
    if not {"catalog", "entry"} <= set(parameters):
        message = f"input {parameters} came; wanted a path, a glob, or a mapping with 'catalog' and 'entry'"
        raise OptionError(message)
    name, entry = str(parameters.pop("catalog")), str(parameters.pop("entry"))
    # Such stores have very many chunks, of which a small part is taken: no Dask graph of all of them.
    ds = open_catalog(name).open(entry, chunks=None, **parameters)
    return ds, {"catalog": name, "entry": entry, **parameters}


def _paths(source: str | Path | Sequence[str | Path]) -> list[Path]:
    words = [source] if isinstance(source, str | Path) else list(source)
    found: list[Path] = []
    for word in words:
        here = [Path(text) for text in sorted(glob.glob(str(word), recursive=True))]
        if not here:
            raise FileNotFoundError(2, "no such file or folder", str(word))
        found += here
    if not found:
        message = "input is an empty list; wanted one path or more"
        raise OptionError(message)
    return list(dict.fromkeys(found))


def _together(paths: Sequence[Path]) -> xr.Dataset:
    """Open files that follow each other in time, or hold different variables of the same times."""
    parts = [_with_an_axis_of_time(open_fields(path)) for path in paths]
    try:
        found = xr.combine_by_coords(
            [part.drop_vars([c for c in part.coords if not part[c].dims]) for part in parts],
            combine_attrs="override", coords="minimal", compat="override", data_vars="minimal", join="outer",
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        message = (
            f"{paths[0]} and {len(paths) - 1} more cannot be put together ({reason}); wanted files on one grid that "
            "follow each other in time or hold different variables"
        )
        raise OptionError(message) from error
    return found if isinstance(found, xr.Dataset) else found.to_dataset()


def _with_an_axis_of_time(ds: xr.Dataset) -> xr.Dataset:
    """Give fields of a single time, as GRIB files of an hour hold, a dimension of length one."""
    single = [n for n in ("valid_time", "time") if n in ds.coords and not ds[n].dims and ds[n].dtype.kind == "M"]
    if "time" in ds.dims or not single:
        return ds
    stamp = ds[single[0]]
    return ds.drop_vars([*single, "time"], errors="ignore").expand_dims(time=[stamp.values])
