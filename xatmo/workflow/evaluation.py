"""Postprocessing: forecasts of a test period, simple forecasts beside them, scores by lead time, figures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

import xatmo
from xatmo import streaming
from xatmo.climatology import climatology
from xatmo.errors import ConfigError, OptionError, XatmoError
from xatmo.workflow import scoring
from xatmo.workflow.preparation import Prepared, open_prepared
from xatmo.workflow.records import Record, appearing, read, remove, replace, write_text
from xatmo.workflow.selection import Numbers, is_in
from xatmo.workflow.usual import covering, mean_day_forecast

if TYPE_CHECKING:
    from xatmo.tasks import Task

RECORD: Final = "run.json"
FORECASTS, SCORES, AVERAGES = "forecasts.zarr", "scores.nc", "scores.json"
BASELINES: Final = ("persistence", "yesterday", "diurnal", "climatology")
REGION_BYTES: Final = 64_000_000  # written at a time
_MOVING: Final = "moving.json"


@dataclass(frozen=True)
class _Told:
    """By name of a baseline or score: what was done otherwise than asked, and why something is not there."""

    remarks: dict[str, str]
    left_out: dict[str, str]

    def tell(self, say: Callable[[str], Any]) -> None:
        for name, text in self.remarks.items():
            say(f"{name}: {text}")
        for name, text in self.left_out.items():
            say(f"left out: {name}, {text}")


@dataclass(frozen=True)
class Postprocessed:
    """What `postprocess` leaves.

    Attributes
    ----------
    path : Path
        Folder of the run.
    scores : Dataset
        By ``forecast`` (the model and the simple ones) and ``lead_time``, and over all lead times, with bounds.
    already : bool
        Whether all was there.
    """

    path: Path
    scores: xr.Dataset
    already: bool = False


def postprocess(
    model: str | Path | Task,
    data: str | Path | Prepared,
    output: str | Path,
    *,
    part: str = "test",
    every: int = 1,
    hours: Numbers | None = None,
    baselines: Sequence[str] = BASELINES,
    metrics: Sequence[str] = ("rmse", "mae", "bias", "acc"),
    bootstrap: Mapping[str, Any] | None = scoring.BOOTSTRAP,
    compat: str | None = None,
    members: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    figures: bool = True,
    netcdf: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    note: Callable[[str], Any] | None = None,
) -> Postprocessed:
    """Forecast every initial time of the test part, score by lead time with intervals, and draw.

    The folder of the run then holds forecasts.zarr, baselines/NAME.zarr, scores.nc, scores.json, figures/ and run.json;
    xatmo compare reads it. The same call continues an interrupted one, region by region of the forecasts; nothing in
    the folder is replaced before all is there.

    Parameters
    ----------
    model : path or task
        Folder of the trained task.
    data : path
        What xatmo preprocess wrote.
    output : path
        Folder of the run.
    part : {"test", "validation", "train"}
        Which part to forecast.
    every : int
        Take every so many initial times.
    hours : int, list or range, optional
        Initial times at these hours only, UTC.
    baselines : sequence of {"persistence", "yesterday", "diurnal", "climatology"}
        Simple forecasts, fitted on the training part, for the same initial times. One that cannot be had is left out,
        which is told and recorded.
    metrics : sequence of str
        Scores, over the domain and all initial times, for each lead time and over all of them; acc takes the
        climatology of the training part, by hour alone where the test has months that the training has not.
    bootstrap : mapping, optional
        Blocks of initial times to resample, {block: 7D, n: 1000, level: 0.9, seed: 0}; block: auto takes weeks where
        there are eight, else days; null: no intervals.
    compat : {None, "ambs"}
        ambs: scores as AMBS defines them.
    members : int, optional
        Of a model that draws.
    seed : int
        Of the draws.
    batch_size : int, optional
        Forecasts at a time.
    device : str
        auto, cpu, cuda ...
    figures : bool
        Draw scores by lead, examples from the best to the worst forecast, and conditional quantiles.
    netcdf : bool
        Write one netCDF file for each initial time, too.
    overwrite : bool
        Replace results of other settings, once the new ones are complete.
    progress : bool
        Show a bar.
    note : callable, optional
        Takes one line of text.

    Returns
    -------
    Postprocessed

    Raises
    ------
    ConfigError
        If the folder holds results of other settings, or no forecast fits into the part.
    OptionError
        If a baseline, part or metric is unknown.
    CheckpointError
        If model or data cannot be read, or the data have changed.
    """
    say = note if note is not None else _silent
    path = Path(output)
    prepared = data if isinstance(data, Prepared) else open_prepared(data)
    task = xatmo.load(model) if isinstance(model, str | Path) else model
    baselines, metrics = ([given] if isinstance(given, str) else given for given in (baselines, metrics))
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        message = f"baseline {unknown[0]!r} came; wanted some of {', '.join(BASELINES)}"
        raise OptionError(message)
    settings = {
        "part": part, "every": every, "hours": hours, "baselines": list(baselines), "metrics": list(metrics),
        "bootstrap": bootstrap, "compat": compat, "members": members, "seed": seed, "figures": figures,
        "netcdf": netcdf,
    }  # fmt: skip
    told = read(prepared.path / "preprocess.json") or {}
    record = Record(
        "postprocess", path / RECORD, settings=settings,
        input={"model": task.model.fingerprint, "data": told.get("input", {}).get("fingerprint"),
               "splits": prepared.settings["splits"], "gap": prepared.settings["gap"]},
    )  # fmt: skip
    work = path / ".postprocess.partial"
    if not (work / _MOVING).exists() and record.compare(output=path / FORECASTS, overwrite=overwrite):
        say(f"{path} is there, made with the same settings")
        return Postprocessed(path, xr.load_dataset(path / SCORES), already=True)
    truth = _in_chunks(prepared.part(part))
    inits = initial_times(prepared, task, part, every=every, hours=hours, baselines=baselines)
    usual, remark = scoring.climatology_for(prepared.climatology, truth, metrics)
    targets = [str(channel.name) for channel in task.model.outputs]
    future = int(task.config["n_future"])
    run = truth.sel(time=slice(inits[0], None)).isel(time=slice(0, future + 3))
    if not (work / SCORES).exists() and run.sizes["time"] == future + 3 and len(set(np.diff(run["time"].values))) == 1:
        scoring.try_out(targets, run, usual, future, metrics=metrics, bootstrap=bootstrap, compat=compat)
    # Lazy: what it refuses, it refuses before anything is written.
    made = truth.atmo.forecast(
        task, init_time=inits, members=members, seed=seed, batch_size=batch_size, device=device
    )  # fmt: skip
    _begin(work, record, path, overwrite, say)
    if not (work / _MOVING).exists():
        say(f"{inits.size} initial times from {str(inits[0])[:16]} to {str(inits[-1])[:16]}")
        key = {"digest": record.digest}
        _write(made, work / FORECASTS, key, progress, say)
        told_of = _Told({} if remark is None else {"acc": remark}, {})
        forecasts = {"model": xr.open_zarr(work / FORECASTS)}
        for name in baselines:
            where = work / "baselines" / f"{name}.zarr"
            try:
                simple = _simple_forecast(name, task, prepared, work, truth, inits, told_of.remarks)
            except XatmoError as error:  # the mean day where a day is one frame, say
                told_of.left_out[name] = str(error)
                continue
            _write(simple, where, key, progress, say)
            forecasts[name] = xr.open_zarr(where)
        told_of.tell(say)
        if not (work / SCORES).exists():
            say("scoring")
            scores = scoring.score(forecasts, truth, usual, metrics=metrics, bootstrap=bootstrap, compat=compat)
            with appearing(work / SCORES) as file:
                scores.to_netcdf(file)
        scores = xr.load_dataset(work / SCORES)
        write_text(work / AVERAGES, json.dumps(scoring.averages(scores), indent=1) + "\n")
        if figures:
            from xatmo.workflow import drawing

            say("drawing")
            drawing.draw(forecasts, truth, scores, work / "figures")
        if netcdf:
            _each_initial_time(forecasts["model"], work / "netcdf")
        write_text(work / _MOVING, json.dumps({"remarks": told_of.remarks, "left_out": told_of.left_out}))
    scores = _move(work, path, record, prepared, part)
    return Postprocessed(path, scores)


def initial_times(
    prepared: Prepared,
    task: Task,
    part: str = "test",
    *,
    every: int = 1,
    hours: Numbers | None = None,
    baselines: Sequence[str] = (),
) -> Any:
    """Find initial times whose context and truth lie within a part, in one stretch without gaps.

    Parameters
    ----------
    prepared : Prepared
    task : Task
        With ``n_context`` and ``n_future``.
    part : str
    every : int
        Take every so many.
    hours : int, list or range, optional
        At these hours only.
    baselines : sequence of str
        Same hour yesterday reads a day.

    Returns
    -------
    array of datetime64

    Raises
    ------
    ConfigError
        If there is none.
    OptionError
        If ``every`` is no positive number.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        message = f"every={every!r} came; wanted 1 or more"
        raise OptionError(message)
    times = prepared.part(part)["time"].values
    step = np.sort(np.diff(times))[(times.size - 2) // 2]
    context, future = _frames(task, step, baselines)
    breaks = np.flatnonzero(np.diff(times) > 1.5 * step) + 1
    found = [run[context - 1 : run.size - future] for run in np.split(times, breaks) if run.size >= context + future]
    inits = np.concatenate([*found, times[:0]])
    inits = inits[is_in(xr.DataArray(inits, dims="time", coords={"time": inits}), hours=hours)][::every]
    if not inits.size:
        message = (
            f"{part} of {prepared.path} has no stretch of {context} and {future} frames"
            + ("" if hours is None else f" with an initial time at hours {hours}")
            + "; give it more time, or fewer baselines"
        )
        raise ConfigError(message)
    return inits


def _frames(task: Task, step: Any, baselines: Sequence[str]) -> tuple[int, int]:
    context, future = int(task.config["n_context"]), int(task.config["n_future"])
    day = int(np.timedelta64(1, "D") // step)
    return (max(context, day) if "yesterday" in baselines else context), future


def _simple_forecast(
    name: str, task: Task, prepared: Prepared, work: Path, truth: xr.Dataset, inits: Any, remarks: dict[str, str]
) -> xr.Dataset:
    """Forecast by a simple method; a climatology by month without the month of the test is one of hours."""
    model = xr.open_zarr(work / FORECASTS)
    if name == "climatology":
        train = prepared.part("train")
        times = train["time"]
        frames = xr.Dataset({"n": ("time", np.zeros(times.size))}, {"time": times})
        _, remark = covering(climatology(frames, by=("month", "hour")), model["valid_time"])
        if remark is not None:
            remarks[name] = remark
            return mean_day_forecast(train, model)
    forecast: xr.Dataset = truth.atmo.forecast(_simple(name, task, prepared, work), init_time=inits)
    return forecast


def _simple(name: str, task: Task, prepared: Prepared, work: Path) -> Task:
    """Fit a simple forecast on the training part, for the targets of the model."""
    train_part = prepared.part("train")
    step = np.sort(np.diff(train_part["time"].values))[(train_part.sizes["time"] - 2) // 2]
    context, future = _frames(task, step, [name])
    targets = [str(channel.name) for channel in task.model.outputs]
    folder = work / "baselines" / f"{name}.model"
    if (folder / "config.json").exists():
        return xatmo.load(folder)
    made = xatmo.VideoForecaster(name, n_context=context, n_future=future)
    fitted: Task = made.fit(train_part[targets], progress=False)
    folder.parent.mkdir(exist_ok=True)
    fitted.save(folder)
    return fitted


def _in_chunks(ds: xr.Dataset) -> xr.Dataset:
    """Cut what a catalog opened without Dask along time, so that forecasts of it are lazy."""
    if any(da.chunks is not None for da in ds.data_vars.values()):
        return ds
    frame = sum(da.nbytes for da in ds.data_vars.values()) // max(1, ds.sizes["time"])
    return ds.chunk(time=max(1, REGION_BYTES // max(1, frame)))


def _write(ds: xr.Dataset, path: Path, key: Mapping[str, Any], progress: bool, say: Callable[[str], Any]) -> None:
    """Write forecasts by regions of initial times, unless they are there."""
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    one = sum(da.nbytes for da in ds.data_vars.values()) // max(1, ds.sizes["init_time"])
    together = max(1, REGION_BYTES // max(1, one))
    streaming.write_zarr(ds, path, by={"init_time": together}, key=key, progress=progress, note=say)


def _each_initial_time(forecast: xr.Dataset, folder: Path) -> None:
    """Write a netCDF file for each initial time, named by its hour, or by minutes and seconds where there are such."""
    folder.mkdir(exist_ok=True)
    inits = forecast["init_time"].values
    units: tuple[Literal["h", "m", "s", "ns"], ...] = ("h", "m", "s", "ns")
    unit = next(u for u in units if (inits.astype(f"M8[{u}]") == inits).all())
    for k, init in enumerate(inits):
        name = re.sub("[-:.]", "", np.datetime_as_string(init, unit)).replace("T", "_")
        file = folder / f"forecast_{name}.nc"
        if not file.exists():
            with appearing(file) as part:
                forecast.isel(init_time=k).load().to_netcdf(part)


def _begin(work: Path, record: Record, path: Path, overwrite: bool, say: Callable[[str], Any]) -> None:
    started = read(work / RECORD)
    mark = Record("postprocess", work / RECORD, settings=record.settings, input=record.input)
    if started is not None and started.get("digest") == record.digest:
        record.began = str(started.get("began", record.began))
        say(f"continuing {path}")
        return
    if started is not None and not overwrite:
        message = (
            f"{path} was begun with other settings: {'; '.join(mark.differences(started))}. Choose another output, or "
            "pass --overwrite (in Python overwrite=True) to replace it"
        )
        raise ConfigError(message)
    remove(work)
    work.mkdir(parents=True)
    mark.mark()


def _move(work: Path, path: Path, record: Record, prepared: Prepared, part: str) -> xr.Dataset:
    """Put what is complete in place of what was there; may be interrupted and continued at any moment."""
    (path / RECORD).unlink(missing_ok=True)
    for item in sorted(os.listdir(work)):
        if item not in (_MOVING, RECORD):
            replace(work / item, path / item)
    scores = xr.load_dataset(path / SCORES)
    about = read(work / _MOVING) or {}
    sizes = xr.open_zarr(path / FORECASTS).sizes
    where = {"path": str(prepared.path.resolve()), "relative": os.path.relpath(prepared.path, path), "part": part}
    record.finish(forecasts=dict(sizes), model=record.input["model"], prepared=where, **about)
    remove(work)
    return scores


def _silent(_: str) -> None:
    return None
