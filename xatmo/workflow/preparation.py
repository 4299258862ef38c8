"""Preprocessing: splits, statistics and climatology of the training part, beside a reference to the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import metrics
from xatmo.errors import CheckpointError, ConfigError, OptionError, XatmoError
from xatmo.normalize import Normalizer
from xatmo.typing import NormalizeMethod
from xatmo.workflow.records import Record, appearing, fingerprint, read, remove, replace
from xatmo.workflow.selection import take_variables
from xatmo.workflow.sources import Source, open_source
from xatmo.workflow.splits import Splits

RECORD: Final = "preprocess.json"
SPLITS, STATISTICS, CLIMATOLOGY = "splits.csv", "statistics.nc", "climatology.nc"


@dataclass(frozen=True)
class Prepared:
    """A prepared experiment: what `preprocess` wrote, opened.

    Attributes
    ----------
    path : Path
    data : Dataset
        All times, lazily.
    splits : DataFrame
        ``part``, ``first``, ``last``, ``frames``, ``windows`` of each stretch.
    normalizer : Normalizer
    climatology : Dataset or None
        Both of the training part alone.
    settings : dict
    """

    path: Path
    data: xr.Dataset
    splits: pd.DataFrame
    normalizer: Normalizer
    climatology: xr.Dataset | None
    settings: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(dict.fromkeys(self.splits["part"]))

    def part(self, name: str) -> xr.Dataset:
        """Fields of one part, lazily.

        Raises
        ------
        OptionError
            If there is no such part.
        """
        rows = self.splits[self.splits["part"] == name]
        if rows.empty:
            message = f"part {name!r} came; {self.path} has {', '.join(self.names)}"
            raise OptionError(message)
        times = self.data["time"].values
        place = np.zeros(times.size, dtype=bool)
        for first, last in zip(rows["first"], rows["last"], strict=True):
            place |= (times >= np.datetime64(first, "ns")) & (times <= np.datetime64(last, "ns"))
        at = np.flatnonzero(place)
        whole = at.size == at[-1] - at[0] + 1
        return self.data.isel(time=slice(int(at[0]), int(at[-1]) + 1) if whole else at)


@dataclass(frozen=True)
class Preprocessed:
    """What `preprocess` leaves.

    Attributes
    ----------
    path : Path
    splits : DataFrame
    already : bool
        Whether all was there.
    """

    path: Path
    splits: pd.DataFrame
    already: bool = False


def preprocess(
    input: Source,
    output: str | Path,
    *,
    splits: Mapping[str, Any],
    n_context: int = 12,
    n_future: int = 12,
    gap: int | str = 0,
    variables: Sequence[str] | None = None,
    normalization: NormalizeMethod = "standard",
    climatology: Sequence[str] | str | None = ("month", "hour"),
    overwrite: bool = False,
    note: Callable[[str], Any] | None = None,
) -> Preprocessed:
    """Divide data into training, validation and test, and work out what is learned from the training part alone.

    Nothing is copied: the output refers to the input, and knows it again by its fingerprint. The same call continues an
    interrupted one, and does nothing where all is there.

    Parameters
    ----------
    input : path, glob, list or mapping
        What xatmo extract wrote, or any other source that it reads.
    output : path
        Folder for splits.csv, statistics.nc, climatology.nc and preprocess.json.
    splits : mapping
        {train: {years: 2008to2017}, validation: {years: 2018}, test: {years: 2019}}; a part is given by years, months
        and dates ([first, last], or a list of such pairs). Or {rotation: 2} for cross-validation: the last years test
        in rotation 1, years before them in further ones. Parts that share times are refused.
    n_context, n_future : int
        Frames that a forecast reads and makes. Samples lie wholly within a part, across the ends of months and years,
        never across a gap in time.
    gap : int or str
        Frames, or a span of time as 2D, that training leaves out next to the other parts, and validation next to the
        test.
    variables : sequence of str, optional
        Null takes all.
    normalization : {"standard", "minmax", "robust", "log1p"}
        Statistics to compute.
    climatology : sequence of str, optional
        Means by some of month, season, dayofyear, hour; null: none.
    overwrite : bool
        Replace an output of other settings, once the new one is complete.
    note : callable, optional
        Takes one line of text.

    Returns
    -------
    Preprocessed

    Raises
    ------
    ConfigError
        If the output was made or begun with other settings, parts share times, or one is too short.
    OptionError, VariableError
        If something is asked for that is not there.
    FileNotFoundError
        If there is no such input.

    Examples
    --------
    >>> import tempfile
    >>> time = pd.date_range("2001-01-01", periods=240, freq="h")
    >>> ds = xr.Dataset({"2t": ("time", np.arange(240.0), {"units": "K"})}, {"time": time})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ds.to_netcdf(f"{folder}/a.nc")
    ...     days = {"train": {"dates": ["2001-01-01", "2001-01-07"]}, "test": {"dates": ["2001-01-08", "2001-01-10"]}}
    ...     made = preprocess(f"{folder}/a.nc", f"{folder}/prepared", splits=days)
    ...     prepared = open_prepared(made.path)
    ...     prepared.normalizer, prepared.part("test").sizes["time"]
    (<Normalizer standard: 2t (K) mean 83.5 std 48.5>, 72)
    """
    say = note if note is not None else _silent
    path = Path(output)
    by = None if climatology is None else ([climatology] if isinstance(climatology, str) else list(climatology))
    for name, value in (("n_context", n_context), ("n_future", n_future)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            message = f"{name}={value!r} came; wanted a number of frames, 1 or more"
            raise OptionError(message)
    ds = take_variables(open_source(input)[0], variables)
    _check_input(ds, input)
    settings = {
        "splits": splits, "n_context": n_context, "n_future": n_future, "gap": gap, "variables": variables,
        "normalization": normalization, "climatology": by,
    }  # fmt: skip
    record = Record(
        "preprocess", path / RECORD, settings=settings, input={"fingerprint": fingerprint(ds), "sizes": dict(ds.sizes)}
    )
    begun = path.with_name(f".{path.name}.partial")
    started = read(begun / RECORD)
    if record.compare(output=path, overwrite=overwrite):
        remove(begun)
        say(f"{path} is there, made with the same settings")
        return Preprocessed(path, _read_splits(path), already=True)
    work = Record("preprocess", begun / RECORD, settings=settings, input=record.input)
    if started is None or started.get("digest") != record.digest:
        if started is not None and not overwrite:
            message = (
                f"{path} was begun with other settings: {'; '.join(work.differences(started))}. Choose another output, "
                "or pass --overwrite (in Python overwrite=True) to replace it"
            )
            raise ConfigError(message)
        remove(begun)
        begun.mkdir(parents=True)
        work.mark()
    else:
        say(f"continuing {path}")
    try:
        divided = Splits.make(ds["time"], splits, n_window=n_context + n_future, gap=gap)
        table = divided.table()
        train = ds.isel(time=divided.parts["train"])
        _keep(begun / SPLITS, lambda file: table.to_csv(file, index=False, date_format="%Y-%m-%dT%H:%M:%S.%f"))
        varying = train[[n for n, da in train.data_vars.items() if "time" in da.dims]]
        _keep(begun / STATISTICS, lambda file: Normalizer.fit(varying, method=normalization).save(file))
        if by is not None:
            _climatology(varying, by, begun)
    except XatmoError:  # these settings cannot be had: nothing was begun that others could not replace
        remove(begun)
        raise
    data = Path(str(input)) if isinstance(input, str | Path) and Path(str(input)).exists() else None
    work.finish(
        data={"input": input, "relative": None if data is None else os.path.relpath(data, path)},
        parts={name: {"frames": int(divided.parts[name].size), "windows": divided.windows(name)}
               for name in divided.parts},
    )  # fmt: skip
    replace(begun, path)
    return Preprocessed(path, table)


def open_prepared(path: str | Path) -> Prepared:
    """Open what `preprocess` wrote.

    Parameters
    ----------
    path : path
        The folder.

    Raises
    ------
    CheckpointError
        If it is not such a folder, or the data that it refers to have changed.
    FileNotFoundError
        If they are gone.
    """
    folder = Path(path)
    record = read(folder / RECORD)
    if record is None or record.get("step") != "preprocess" or "finished" not in record:
        message = f"{folder} is no prepared experiment; wanted a folder that xatmo preprocess wrote"
        raise CheckpointError(message)
    where = record["data"]
    relative = None if where["relative"] is None else folder / where["relative"]
    source = str(relative) if relative is not None and relative.exists() else where["input"]
    ds = take_variables(open_source(source)[0], record["settings"]["variables"])
    if fingerprint(ds) != record["input"]["fingerprint"]:
        message = (
            f"{source} has changed since {folder} was made from it; run xatmo preprocess again, with --overwrite or "
            "another output"
        )
        raise CheckpointError(message)
    base = None
    if (folder / CLIMATOLOGY).exists():
        base = xr.load_dataset(folder / CLIMATOLOGY)
    return Prepared(folder, ds, _read_splits(folder), Normalizer.load(folder / STATISTICS), base, record["settings"])


def is_prepared(path: Any) -> bool:
    """Tell whether a path is a folder that `preprocess` wrote.

    Examples
    --------
    >>> is_prepared(".")
    False
    """
    return isinstance(path, str | Path) and (Path(path) / RECORD).is_file()


def _climatology(train: xr.Dataset, by: Sequence[str], folder: Path) -> None:
    """Compute means piece by piece of the year, each kept on disk once it is there."""
    if (folder / CLIMATOLOGY).exists():
        return
    group = next((g for g in by if g in ("month", "season")), None)
    if group is None:
        _keep(folder / CLIMATOLOGY, partial(_write_climatology, train, by))
        return
    labels = getattr(train["time"].dt, group).values
    pieces = []
    for label in np.unique(labels):
        piece = folder / f"climatology_{label}.nc"
        _keep(piece, partial(_write_climatology, train.isel(time=np.flatnonzero(labels == label)), by))
        pieces.append(piece)
    opened = [xr.load_dataset(piece) for piece in pieces]
    whole = xr.concat(opened, group, join="outer", combine_attrs="override", data_vars="minimal")
    if "count" in whole.coords:  # hours that a month does not have
        whole = whole.assign_coords(count=whole["count"].fillna(0).astype(np.int64))
    _keep(folder / CLIMATOLOGY, whole.to_netcdf)
    for piece in pieces:
        remove(piece)


def _write_climatology(train: xr.Dataset, by: Sequence[str], path: Path) -> None:
    metrics.climatology(train, by=by).compute().to_netcdf(path)


def _keep(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file unless it is there."""
    if not path.exists():
        with appearing(path) as part:
            write(part)


def _check_input(ds: xr.Dataset, input: Any) -> None:
    if "time" not in ds.dims or ds["time"].dtype.kind != "M":
        message = f"{input} has dimensions {tuple(map(str, ds.dims))}; wanted fields along time, with dates"
        raise ConfigError(message)
    steps = np.diff(ds["time"].values)
    if ds.sizes["time"] < 2 or (steps <= np.timedelta64(0, "ns")).any():
        message = f"{input} has {ds.sizes['time']} times; wanted two or more that increase. xatmo extract sorts them"
        raise ConfigError(message)


def _read_splits(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / SPLITS, parse_dates=["first", "last"])


def _silent(_: str) -> None:
    return None
