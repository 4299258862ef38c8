"""Extraction: from an archive to one Zarr store with the region, variables and times of an experiment."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import cf, streaming
from xatmo.errors import ConfigError, CoordinateError, OptionError
from xatmo.workflow import model_levels, selection
from xatmo.workflow.model_levels import Columns
from xatmo.workflow.naming import RunName
from xatmo.workflow.records import Record, fingerprint, plain, read
from xatmo.workflow.selection import Numbers
from xatmo.workflow.sources import Source, open_source

_CHUNK_BYTES: Final = 4_000_000
_SHOWN: Final = 5
_KEPT: Final = 1000


@dataclass(frozen=True)
class Extracted:
    """What `extract` leaves.

    Attributes
    ----------
    path : Path
        The Zarr store; its record is ``NAME.json`` beside it.
    missing : list of [first, last]
        Stretches of time that were asked for and are not in the archive.
    continued, already : bool
        Whether an interrupted extraction was continued; whether all was there.
    """

    path: Path
    missing: list[list[str]]
    continued: bool = False
    already: bool = False


def extract(
    input: Source,
    output: str | Path,
    *,
    region: Mapping[str, Any] | None = None,
    variables: Sequence[str] | Mapping[str, str] | None = None,
    years: Numbers | None = None,
    months: Numbers | None = None,
    hours: Numbers | None = None,
    dates: Sequence[Any] | None = None,
    static: Source | None = None,
    surface_pressure: Source | None = None,
    coefficients: Any = None,
    overwrite: bool = False,
    progress: bool = True,
    note: Callable[[str], Any] | None = None,
) -> Extracted:
    """Write the part of an archive that an experiment needs to one Zarr store, about a month at a time.

    The same call continues an interrupted extraction, and does nothing where all is there. Hours that are missing in
    the archive are told and recorded, not filled.

    Parameters
    ----------
    input : path, glob, list or mapping
        Folder of a GRIB tree YEAR/MONTH/*_ml.grb and *_sf.grb, a Zarr store, netCDF or GRIB files or a glob of them, or
        a catalog entry: {catalog: era5, entry: arco}.
    output : path
        The Zarr store to write. {name} in it is replaced by the name of the run, such as
        Y2007to2019M01to12-92_56-38.40N00.00E-2t_t850_tcc.
    region : mapping, optional
        {latitude: [38.4, 54.9], longitude: [0, 27.3]}, or {sw_corner: [38.4, 0.0], nx: 92, ny: 56}, latitude first;
        longitude from -180 or from 0. Null takes all.
    variables : sequence or mapping, optional
        Names, with a pressure in hPa as t@850, which is called t850, or the number of a model's level as t@ml96; or a
        mapping {new name: name in the archive}. What lies on levels of a model is brought to pressures. Null takes all.
    years, months, hours : int, list or range, optional
        As 2015, [2008, 2010] or 2008to2017, both ends included.
    dates : pair or list of pairs, optional
        First and last, as [2008-03, 2008-05-15]; a month stands for all of it.
    static : path, glob, list or mapping, optional
        Where fields without time lie that the archive itself does not hold, such as orography on the same grid.
    surface_pressure : path, glob, list or mapping, optional
        Where sp or lnsp lies, for variables on levels of a model, in case the input has none of its own.
    coefficients : str or pair of lists, optional
        Of the half levels of a model, where the input does not tell them: L137 for ERA5, or [[a, ...], [b, ...]] in Pa
        and 1.
    overwrite : bool
        Replace an output of other settings, once the new one is complete.
    progress : bool
        Show a bar.
    note : callable, optional
        Takes one line of text.

    Returns
    -------
    Extracted

    Raises
    ------
    ConfigError
        If the output was made or begun with other settings.
    OptionError, VariableError, CoordinateError
        If the archive has not what is asked for.
    FileNotFoundError
        If there is no such input.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> times = pd.date_range("2001-01-01", periods=48, freq="h")
    >>> coords = {"time": times, "latitude": [50.0, 40.0], "longitude": [0.0, 10.0, 350.0]}
    >>> dims = ("time", "latitude", "longitude")
    >>> archive = xr.Dataset({"2t": (dims, np.ones((48, 2, 3), "f4"), {"units": "K"})}, coords)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     archive.drop_isel(time=5).to_netcdf(f"{folder}/archive.nc")
    ...     region = {"sw_corner": [40, -10], "nx": 2, "ny": 2}
    ...     made = extract(f"{folder}/archive.nc", folder + "/{name}.zarr", region=region)
    ...     made.path.name, made.missing
    ('Y2001M01-2_2-40.00N10.00W-2t.zarr', [['2001-01-01T05:00', '2001-01-01T05:00']])
    """
    say = note if note is not None else _silent
    variables = selection.names_in(variables)
    names = list(variables.values()) if isinstance(variables, Mapping) else variables
    whole, told = open_source(input, names)
    chosen = {"years": years, "months": months, "hours": hours, "dates": dates}
    if surface_pressure is not None:
        ground, told_ground = open_source(surface_pressure)
        told = {**told, "surface_pressure": told_ground}
    else:
        ground = None
    ds, missing = _chosen(whole, region, variables, chosen, ground, coefficients)
    if static is not None:
        more, told_static = open_source(static)
        told = {**told, "static": told_static}
        ds = ds.merge(_static(more, ds, region), join="exact", combine_attrs="override", compat="override")
    path = Path(str(output).replace("{name}", str(RunName.of(ds)) if "{name}" in str(output) else ""))
    if unknown := re.search(r"\{.*?\}", str(path)):
        message = f"output {output} has {unknown[0]}; the only part that is filled in is {{name}}"
        raise OptionError(message)
    if path.suffix != ".zarr":
        message = f"output {path} came; wanted a name that ends in .zarr, which can be written piece by piece"
        raise OptionError(message)
    settings = {"region": region, "variables": variables, **chosen, **_given(coefficients=coefficients)}
    record = Record("extract", path.with_suffix(".json"), settings=settings, input=told)
    _tell_missing(missing, say)
    if record.compare(output=path, overwrite=overwrite):
        say(f"{path} is there, made with the same settings")
        return Extracted(path, missing, already=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    continued = record.continued
    record.begin()
    by, chunks = _pieces(ds)
    ds = cf.add_history(ds, cf.describe_call("extract", **{k: v for k, v in settings.items() if v is not None}))
    ds.attrs["settings_digest"] = record.digest
    # Killed after the store took its name and before the record was written: all that is missing is the record.
    if not _has_digest(path, record.digest):
        streaming.write_zarr(
            _lazy(ds, chunks["time"]), path, by=by, chunks=chunks, key={"digest": record.digest},
            overwrite=path.exists(), resume=continued, progress=progress, note=say,
        )  # fmt: skip
    written = xr.open_zarr(path)
    record.finish(
        output={"path": path.name, "fingerprint": fingerprint(written), "sizes": dict(written.sizes)},
        missing=missing[:_KEPT],
    )
    return Extracted(path, missing, continued=continued)


def find_extracted(output: str | Path, settings: Mapping[str, Any]) -> Path:
    """Find the store that `extract` wrote, where its name was left to what the data are.

    Parameters
    ----------
    output : path
        As it was given to `extract`, perhaps with ``{name}`` in it.
    settings : mapping
        Keywords that were given to `extract`.

    Returns
    -------
    path

    Raises
    ------
    ConfigError
        If there is none, or several.

    Examples
    --------
    >>> find_extracted("data/europe.zarr", {})
    PosixPath('data/europe.zarr')
    """
    if "{name}" not in str(output):
        return Path(output)
    pattern = Path(str(output).replace("{name}", "Y*M*-*_*-*-*"))
    known = ("region", "variables", "years", "months", "hours", "dates")
    wanted = {k: plain(settings.get(k)) for k in known}
    wanted |= {k: plain(v) for k, v in _given(coefficients=settings.get("coefficients")).items()}
    found = []
    for store in sorted(pattern.parent.glob(pattern.name)):
        record = read(store.with_suffix(".json")) if store.suffix == ".zarr" else None
        if record is not None and record.get("step") == "extract" and record.get("settings") == wanted:
            found.append(store)
    if len(found) != 1:
        message = (
            f"{output}: {len(found)} stores there were extracted with these settings; run xatmo extract first, or name "
            "the store that is meant"
        )
        raise ConfigError(message)
    return found[0]


def _chosen(
    whole: xr.Dataset,
    region: Mapping[str, Any] | None,
    variables: Any,
    chosen: Mapping[str, Any],
    ground: xr.Dataset | None,
    coefficients: Any,
) -> tuple[xr.Dataset, list[list[str]]]:
    """Select, bring to pressures what lies on levels of a model, and find which times are missing."""
    fields = selection.at_pressures(whole, variables)
    if not fields:
        if ground is not None or coefficients is not None:
            message = (
                "surface_pressure or coefficients came, and no variable on levels of a model is asked for at a "
                "pressure, as t@850; leave them out"
            )
            raise OptionError(message)
        return _cut(selection.take_variables(whole, variables), region, chosen)
    columns = Columns.of(whole, fields, elsewhere=ground is not None)
    # The region and times first: what is brought to pressures is what is wanted, lazily, and no more.
    cut, missing = _cut(columns.ds, region, chosen)
    surface = None
    if ground is not None:
        field = model_levels.surface_pressure_of(ground).to_dataset(name="surface_pressure")
        there = model_levels.at_times(selection.take_region(field, region), cut["time"])
        surface = _on_the_grid(there, cut, "surface_pressure")["surface_pressure"]
    found = columns.at_pressures(cut, surface, coefficients)
    order = selection.new_names(variables)
    others = {new: text for new, text in order.items() if new not in fields}
    if others:
        beside, _ = _cut(selection.take_variables(whole, others), region, chosen)
        found = beside.merge(found, join="exact", combine_attrs="override", compat="override")
    return found[list(order)], missing


def _cut(
    ds: xr.Dataset, region: Mapping[str, Any] | None, chosen: Mapping[str, Any]
) -> tuple[xr.Dataset, list[list[str]]]:
    """Take a region and times, and find which times are missing."""
    ds = selection.take_region(ds, region)
    time = cf.time(ds)
    if ds[time].ndim != 1:
        message = f"the input has one time and no axis of it; wanted a dimension {time!r}"
        raise CoordinateError(message)
    ds, time = _indexed(ds, time)
    index = ds.indexes[time]
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        message = f"time {twice} comes twice in the input; give files that do not overlap"
        raise CoordinateError(message)
    if not index.is_monotonic_increasing:
        ds = ds.sortby(time)
    if time != "time":
        ds = ds.rename({time: "time"})
    times = ds["time"]
    place = selection.is_in(times, **chosen)
    if not place.any():
        given = ", ".join(f"{k} {v}" for k, v in chosen.items() if v is not None)
        message = f"no time of the input is in {given}; it runs from {times.values[0]} to {times.values[-1]}"
        raise CoordinateError(message)
    ds = ds.isel(time=np.flatnonzero(place)) if not place.all() else ds
    if times.dtype.kind != "M" or times.size < 2:
        return ds, []
    steps, counts = np.unique(np.diff(times.values), return_counts=True)
    step = steps[counts.argmax()]
    lost = selection.missing_times(ds["time"], step, **chosen)
    return ds, selection.in_ranges(lost, step)


def _indexed(ds: xr.Dataset, time: Hashable) -> tuple[xr.Dataset, Hashable]:
    """Label frames by the time at which they are valid, where GRIB has that beside the time of the analysis."""
    (dim,) = ds[time].dims
    if dim == time:
        return ds, time
    valid = ds[time].variable
    ds = ds.drop_vars([n for n in (time, dim) if n in ds.coords])
    return ds.assign_coords({dim: (dim, valid.values, valid.attrs)}), dim


def _static(more: xr.Dataset, ds: xr.Dataset, region: Mapping[str, Any] | None) -> xr.Dataset:
    """Cut fields without time to the region, on the grid of the others."""
    fields = more.drop_vars([n for n, da in more.data_vars.items() if "time" in da.dims and da.sizes["time"] > 1])
    fields = fields.squeeze(drop=True)
    fields = _on_the_grid(selection.take_region(fields, region), ds, "static fields")
    return fields[[n for n in fields.data_vars if n not in ds.data_vars]]


def _on_the_grid(fields: xr.Dataset, ds: xr.Dataset, what: str) -> xr.Dataset:
    """Give fields the coordinates of others that lie on the same points, perhaps in another order of rows."""
    axes, own = cf.horizontal(ds), cf.horizontal(fields)
    fields = fields.rename({a: b for a, b in ((own.lat, axes.lat), (own.lon, axes.lon)) if a != b})
    if fields.sizes[axes.lat_dim] == ds.sizes[axes.lat_dim] and np.allclose(
        np.sort(fields[axes.lat]), np.sort(ds[axes.lat]), atol=1e-4
    ):
        fields = fields.sel({axes.lat: ds[axes.lat].values}, method="nearest")
    same = all(
        fields.sizes[d] == ds.sizes[d] and np.allclose(fields[c], ds[c], atol=1e-4)
        for d, c in ((axes.lat_dim, axes.lat), (axes.lon_dim, axes.lon))
    )
    if not same:
        message = f"{what} lie on {dict(fields.sizes)} points, the others on {dict(ds.sizes)}; wanted one grid"
        raise CoordinateError(message)
    return fields.assign_coords({c: ds[c] for c in (axes.lat, axes.lon)})


def _tell_missing(missing: list[list[str]], say: Callable[[str], Any]) -> None:
    if missing:
        shown = ", ".join(a if a == b else f"{a} to {b}" for a, b in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more stretches" if len(missing) > _SHOWN else ""
        say(f"missing in the archive, and left out: {shown}{more}")


def _pieces(ds: xr.Dataset) -> tuple[dict[Any, int | str], dict[Any, int]]:
    """Choose regions of about a month, whole months where they share a chunk, and the stored chunks along time."""
    fields = [da for da in ds.data_vars.values() if "time" in da.dims]
    frame = max((da.dtype.itemsize * math.prod(n for d, n in da.sizes.items() if d != "time") for da in fields),
                default=1)  # fmt: skip
    wanted = int(min(max(1, _CHUNK_BYTES // frame), 168))
    months = ds["time"].dt.year.values * 12 + ds["time"].dt.month.values
    edges = np.flatnonzero(np.diff(months)) + 1
    shared = math.gcd(*(int(e) for e in edges)) if edges.size else ds.sizes["time"]
    divisor = max((k for k in range(1, wanted + 1) if shared % k == 0), default=1)
    whole = {d: -1 for da in fields for d in da.dims if d != "time"}
    if 4 * divisor >= wanted:
        return {"time": "1MS"}, {"time": divisor, **whole}
    usual = int(np.median(np.diff([0, *edges, ds.sizes["time"]])))
    return {"time": wanted * max(1, usual // wanted)}, {"time": wanted, **whole}


def _lazy(ds: xr.Dataset, frames: int) -> xr.Dataset:
    """Put what varies in time on Dask, so that it is written by regions; fields without time are read now."""
    varying = {n: da for n, da in ds.data_vars.items() if "time" in da.dims}
    pieces = {n: da.chunk(time=frames) if da.chunks is None else da for n, da in varying.items()}
    return ds.assign(pieces | {n: da.compute() for n, da in ds.data_vars.items() if n not in varying})


def _has_digest(path: Path, digest: str) -> bool:
    return path.exists() and xr.open_zarr(path).attrs.get("settings_digest") == digest


def _given(**settings: Any) -> dict[str, Any]:
    """Leave out what is not given: so the records of stores from before this could be given say the same."""
    return {k: v for k, v in settings.items() if v is not None}


def _silent(_: str) -> None:
    return None
