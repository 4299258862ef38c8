"""Write lazy results of any length to Zarr, region by region: memory stays bounded, and a killed run goes on.

`write_zarr` writes any Dataset; `synthesize` turns archives of spherical-harmonic coefficients into fields.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import xarray as xr

from xatmo import _store, cf
from xatmo._journal import Journal
from xatmo._regions import Part, borders, parts
from xatmo._store import Function
from xatmo.errors import ConfigError, CoordinateError, DimensionError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.typing import SpectralEngine, XarrayObject
from xatmo.writing import writer

By = Mapping[Hashable, int | str]


# ---------------------------------------------------------------------- writing
def write_zarr(
    ds: xr.Dataset,
    path: str | Path,
    *,
    by: By | None = None,
    function: Function | None = None,
    chunks: Mapping[Hashable, int] | None = None,
    encoding: Mapping[Hashable, Mapping[str, Any]] | None = None,
    key: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = True,
    in_flight: int = 1,
    scheduler: Any = None,
    progress: bool = True,
    note: Callable[[str], Any] | None = None,
) -> Path:
    """Compute a Dataset and write it to a Zarr store on disk, one region after the other.

    Nothing stands at ``path`` until all is there: the store grows in the folder ``.NAME.partial`` beside it, takes its
    name at the end, and only then is replaced what had the name before. A region counts as done once its data are in
    place; so the process may be killed at any moment, and the same call goes on with the regions that are missing.

    Parameters
    ----------
    ds : Dataset
        Lazy variables are written by region; what is in memory already, and coordinates, are written at the start.
    path : path
        Of the store, on a disk that all workers see.
    by : mapping, optional
        What a region is: dimension to number of indices, or to a frequency such as ``"1MS"`` along time.
        ``{"time": "1MS", "hybrid": 1}`` goes month by month and, within, level by level. Dimensions that are not named
        are whole. By default, each Dask chunk is a region.
    function : callable, optional
        Applied to each region of ``ds`` before it is written: ``lambda block: block.atmo.to_grid(grid)``. Beside a
        Dataset that is lazy itself, this builds one region's Dask graph at a time, and so goes on for any length. It
        may change variables and other dimensions; those in ``by`` it has to leave as they are.
    chunks : mapping, optional
        Stored chunks by dimension (-1: whole). By default those of Dask, or what divides the regions. Computation goes
        by the same chunks.
    encoding : mapping, optional
        By variable, as for `xarray.Dataset.to_zarr`.
    key : mapping, optional
        What JSON can hold and identifies the input, in place of the names in the Dask graph (which are the same in
        another process for files and for plain functions, but not for everything).
    overwrite : bool
        Replace a store that is at ``path``, once the new one is complete.
    resume : bool
        Go on with what was begun; False begins anew.
    in_flight : int
        Regions to compute together: more than 1 where a region holds fewer chunks than there are workers.
    scheduler
        Dask's, for instance ``"threads"`` or a ``distributed`` client; the one that is set by default.
    progress : bool
        Show a bar, if standard error is a terminal.
    note : callable, optional
        Takes one line of text when a run goes on.

    Returns
    -------
    path

    Raises
    ------
    FileExistsError
        If there is something at ``path`` and ``overwrite`` is not set.
    ConfigError
        If what was begun there has another input, regions or chunks, or another process is at it.
    DimensionError, OptionError, CoordinateError
        If ``by`` does not fit the Dataset, or ``path`` is no local path.
    ChunkError
        If two regions would share a stored chunk.

    Notes
    -----
    Arrays in memory are a few chunks per thread, whatever the size of a region or of the whole. Beside them the process
    itself may grow by some megabytes over tens of thousands of chunks (Dask keeps the names of tasks).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> times = np.arange("2001-01-01", "2001-03-01", dtype="datetime64[D]")
    >>> ds = xr.Dataset({"t": (("time", "x"), np.ones((59, 4)))}, {"time": times}).chunk(time=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_zarr(ds + 1, f"{folder}/t.zarr", by={"time": "1MS"})
    ...     float(xr.open_zarr(path).t.sum())
    472.0
    """
    where = _local(path)
    if int(in_flight) < 1:
        message = f"in_flight={in_flight!r} came; wanted how many regions to compute together, 1 or more"
        raise OptionError(message)
    if by is None:
        by = {d: max(c) for d, c in cf.chunks_of(ds).items()}
    edges = borders(ds, by)
    template, streamed, source = _store.template_of(ds, edges, function)
    sizes = _store.stored_chunks(template, streamed, edges, source, dict(chunks or {}))
    todo = list(parts({n: template[n].dims for n in streamed}, edges))
    header = _store.header_of(ds, template, streamed, sizes, todo, encoding, function, key)

    journal = Journal(where)
    with journal.alone():
        before = journal.header()
        if journal.only_to_be_tidied and before == header:
            journal.tidy()
            return where
        if where.exists() and not overwrite:
            if before is None:
                journal.tidy()
            message = f"{where} exists; pass overwrite=True to replace it once the new one is complete"
            raise FileExistsError(message)
        if before != header or not resume or not journal.store.exists():
            if before is not None and before != header and resume and not overwrite:
                differing = ", ".join(k for k in header if header[k] != before.get(k))
                message = (
                    f"{where} was begun with another input or configuration (not the same: {differing}). Finish it "
                    "with the call that began it, or begin anew with resume=False (on the command line: --overwrite). "
                    "If nothing has changed, pass key="
                )
                raise ConfigError(message)
            journal.clear()
            _store.create(template, streamed, sizes, journal.store, encoding)
            journal.begin(header)
        elif note is not None:
            note(f"continuing {where}: {len(journal.done)} of {len(todo)} regions are there")
        with nullcontext() if scheduler is None else _scheduled(scheduler):
            _write_parts(source, template, todo, sizes, journal, function, tuple(edges), in_flight, progress)
        _consolidate(journal.store)
        journal.finish()
    return where


def _write_parts(
    source: xr.Dataset,
    template: xr.Dataset,
    todo: Sequence[Part],
    sizes: Mapping[Hashable, int],
    journal: Journal,
    function: Function | None,
    dims: tuple[Hashable, ...],
    in_flight: int,
    progress: bool,
) -> None:
    left = [part for part in todo if part.label not in journal.done]
    batches = [left[i : i + in_flight] for i in range(0, len(left), in_flight)]
    with writer() as compute:
        for batch in _track(batches, f"writing {journal.path.name}", progress):
            writes = []
            for part in batch:
                block = _block(source, template, part, sizes, function, dims)
                region: dict[Any, Any] = {
                    d: part.region.get(d, slice(0, n)) for d, n in template[list(part.names)].sizes.items()
                }
                writes.append(block.to_zarr(journal.store, region=region, compute=False, consolidated=False))
            compute(*writes)
            journal.add([part.label for part in batch])


def _block(
    source: xr.Dataset,
    template: xr.Dataset,
    part: Part,
    sizes: Mapping[Hashable, int],
    function: Function | None,
    dims: tuple[Hashable, ...],
) -> xr.Dataset:
    """Give the variables of a part in its region, lazily, as they are to be stored."""
    names = list(part.names)
    if function is None:
        block = source[names].isel(part.region)
    else:  # along dimensions that the variables of this part do not have, any index will do
        region = {d: part.region.get(d, slice(0, 1)) for d in dims}
        block = _store.applied(function, source.isel(region), dims)[names]
    out = {}
    for name in names:
        da, like = block[name], template[name]
        shape = {
            d: part.region[d].stop - part.region[d].start if d in part.region else n for d, n in like.sizes.items()
        }
        if dict(da.sizes) != shape:
            message = (
                f"function gave {name!r} with sizes {dict(da.sizes)}; wanted {shape}, as its first result had them"
            )
            raise DimensionError(message)
        variable = da.variable.transpose(*like.dims).astype(like.dtype, copy=False)
        variable = variable.chunk({d: min(sizes[d], shape[d]) for d in like.dims})
        out[name] = xr.Variable(variable.dims, variable.data)
    return xr.Dataset(out)


# ---------------------------------------------------------------------- small parts
def _local(path: str | Path) -> Path:
    if "://" in str(path):
        message = f"{path} came; wanted a path on a disk, where a finished store can be renamed. Copy it to there after"
        raise OptionError(message)
    where = Path(os.path.abspath(path))
    if not where.parent.is_dir():
        raise FileNotFoundError(2, "no such file or folder", str(where.parent))
    return Path(path)


def _consolidate(store: Path) -> None:
    import zarr

    for leftover in store.rglob("*.partial"):  # chunks of a process that was killed while it wrote them
        leftover.unlink()
    with warnings.catch_warnings():  # Zarr tells that its format 3 does not specify this; xarray warns if it is missing
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(str(store))


def _scheduled(scheduler: Any) -> Any:
    import dask

    return dask.config.set(scheduler=scheduler)


def _track(items: list[Any], what: str, progress: bool) -> Any:
    from rich.console import Console
    from rich.progress import track

    return track(
        items, what, console=Console(stderr=True), disable=not (progress and sys.stderr.isatty()), transient=True
    )


# ---------------------------------------------------------------------- coefficients to fields
def synthesize(
    ds: xr.Dataset,
    path: str | Path,
    *,
    grid: Grid | XarrayObject,
    variables: Sequence[Hashable] | None = None,
    levels: Sequence[Any] | None = None,
    wind: bool = False,
    lmax: int | None = None,
    by: By | str = "1MS",
    engine: SpectralEngine | None = None,
    **options: Any,
) -> Path:
    """Turn an archive of spherical-harmonic coefficients into fields on a grid, as a Zarr store, piece by piece.

    This is how AtmoDist's training data are made: vorticity and divergence of ERA5's model levels, T639, on the
    1280 x 2560 points of `Grid.driscoll_healy`, one field a chunk.

    Parameters
    ----------
    ds : Dataset
        Coefficients, on ``degree`` and ``order`` or on the ``values`` axis of GRIB messages and ARCO-ERA5 stores,
        lazily opened, with or without Dask.
    path : path
        Of the store: see `write_zarr`.
    grid : Grid, Dataset or DataArray
        Where to evaluate: ``Grid.driscoll_healy(1280)`` for AtmoDist.
    variables : sequence of str, optional
        Which ones; all that hold coefficients by default.
    levels : sequence, optional
        Values of the vertical coordinate; all by default.
    wind : bool
        Write ``u`` and ``v`` computed from vorticity and divergence, instead of the variables themselves.
    lmax : int, optional
        Highest degree to keep; all by default.
    by : str or mapping
        Regions: see `write_zarr`. A frequency alone (calendar months by default) is that of time, beside which each
        level, member ... is a region of its own.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.
    **options
        ``overwrite``, ``resume``, ``key``, ``encoding``, ``chunks``, ``scheduler`` ... of `write_zarr`.

    Returns
    -------
    path

    Raises
    ------
    VariableError
        If a variable is not there, or none holds coefficients.
    CoordinateError
        If a level is not there, or there is no vertical coordinate.
    OptionError, ConfigError, FileExistsError
        As in `write_zarr`, `xatmo.spectral.to_grid` and `xatmo.spectral.wind`.

    Notes
    -----
    A T639 field is 1.6 MB of coefficients and 13.1 MB on 1280 x 2560 points in float32. Dask's threads work on one
    field each; two threads took 0.28 GB in all. A year of hourly vorticity and divergence on one level is 17 520
    fields: 29 GB of coefficients, 230 GB of fields before compression, and about half an hour at 0.12 s a field (two
    cores).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xatmo import spectral
    >>> coefficients = spectral.to_packed(xr.Dataset({"t": (("time", "degree", "order"), np.ones((3, 1, 1), complex))}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = synthesize(coefficients, f"{folder}/t.zarr", grid=Grid.regular(3, 4), by={"time": 2})
    ...     float(xr.open_zarr(out).t.mean())
    1.0
    """
    from xatmo import spectral
    from xatmo.spectral import packed

    def is_wanted(da: xr.DataArray) -> bool:
        return packed.is_packed(da) or {"degree", "order"} <= set(da.dims)

    names = list(variables) if variables is not None else [n for n, da in ds.data_vars.items() if is_wanted(da)]
    missing = [n for n in names if n not in ds.data_vars or not is_wanted(ds[n])]
    if missing or not names:
        came = f"variable {missing[0]!r}" if missing else f"a Dataset of {sorted(map(str, ds.data_vars))}"
        message = (
            f"{came} came; wanted spherical-harmonic coefficients, on 'degree' and 'order' or on GRIB's 'values'. "
            f"There are {sorted(str(n) for n, da in ds.data_vars.items() if is_wanted(da))}"
        )
        raise VariableError(message)
    chosen = ds[names]
    if levels is not None:
        chosen = _select_levels(chosen, list(levels))
    core = {"degree", "order", *(d for da in chosen.data_vars.values() if (d := packed.packed_dim(da)) is not None)}
    single = {d: 1 for da in chosen.data_vars.values() for d in da.dims if d not in core}
    frequency = by if isinstance(by, str) else None
    if frequency is not None:
        by = {d: frequency if _has_times(chosen, d) else 1 for d in single}

    def function(block: xr.Dataset) -> xr.Dataset:
        block = block.chunk({**single, **{d: -1 for d in core if d in block.dims}})
        if lmax is not None:
            block = spectral.to_spectral(block, lmax=lmax)
        return spectral.wind(block, grid=grid, engine=engine) if wind else spectral.to_grid(block, grid, engine=engine)

    if options.get("key") is None:
        # The grid is not among these: its coordinates are compared anyway.
        options["key"] = {
            "arrays": _store.tokens(chosen, chosen, names, None),
            "wind": wind,
            "lmax": lmax,
            "engine": engine,
        }
    chunks = {**single, **dict(options.pop("chunks", None) or {})}
    return write_zarr(chosen, path, by=cast(By, by), function=function, chunks=chunks, **options)


def _has_times(ds: xr.Dataset, dim: Hashable) -> bool:
    index = ds.indexes.get(dim)
    return index is not None and (index.dtype.kind == "M" or hasattr(index, "calendar"))


def _select_levels(ds: xr.Dataset, levels: list[Any]) -> xr.Dataset:
    named = ("hybrid", "level", "isobaricInhPa", "pressure_level", "model_level")
    dim = next((n for n in (*cf._candidates(ds, "vertical"), *named) if n in ds.dims and n in ds.coords), None)
    if dim is None:
        message = f"levels={levels} came, but no vertical coordinate is among {sorted(map(str, ds.coords))}"
        raise CoordinateError(message)
    missing = [x for x in levels if x not in ds[dim].values]
    if missing:
        message = f"level {missing[0]!r} is not on {dim!r}, which runs from {ds[dim].values[0]} to {ds[dim].values[-1]}"
        raise CoordinateError(message)
    return ds.sel({dim: levels})
