"""Train and score forecasts of moving digits and of rain, row after row; rows that are finished are read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import xatmo
from xatmo.benchmarks import keeping
from xatmo.benchmarks.options import Options
from xatmo.benchmarks.rows import chosen
from xatmo.benchmarks.video_cases import VideoCase, digits_case, rain_case
from xatmo.benchmarks.video_rows import DIGITS, RAIN, SMALLEST, VideoRow
from xatmo.benchmarks.video_scores import blocks_of, blurred, held_in, mean_frame, scored
from xatmo.metrics import altimetry

Note = Callable[[str], Any]

_SHOWN = 8  # records, or initial times, whose forecasts are kept
_ENDLESS = 10**6  # steps, where time is the limit


def moving_digits(
    output: str | Path,
    data: str | Path | None = None,
    *,
    rows: Iterable[str] | None = None,
    options: Options | None = None,
    note: Note = print,
    **protocol: Any,
) -> tuple[pd.DataFrame, VideoCase]:
    """Train and score the table for moving digits.

    Parameters
    ----------
    output : path
        Folder for ``table.csv``, ``table.md``, and for each row its model, its scores by lead, and some forecasts.
    data : path, optional
        ``mnist_test_seq.npy``.
    rows : sequence of str, optional
        Names in `DIGITS`; all unless given.
    options : Options, optional
    note : callable
        Takes lines of text.
    **protocol
        See `digits_case`.

    Returns
    -------
    DataFrame, VideoCase
        See `run_videos`; and what the rows were trained and scored on.

    Raises
    ------
    OptionError, DimensionError, ConfigError
        See `digits_case`, `run_videos`.
    """
    wanted, settings = chosen(DIGITS, rows), options or Options()
    case = digits_case(data, seed=settings.seed, **protocol)
    return run_videos(case, wanted, output, settings, note=note), case


def rain(
    output: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    rows: Iterable[str] | None = None,
    options: Options | None = None,
    note: Note = print,
    **protocol: Any,
) -> tuple[pd.DataFrame, VideoCase]:
    """Train and score the table for rain.

    Parameters
    ----------
    output : path
        As of `moving_digits`.
    data : path or several, optional
        Files of a radar; generated rain unless given.
    rows : sequence of str, optional
        Names in `RAIN`; all unless given.
    options : Options, optional
    note : callable
        Takes lines of text.
    **protocol
        See `rain_case`.

    Returns
    -------
    DataFrame, VideoCase
        See `run_videos`; and what the rows were trained and scored on.

    Raises
    ------
    OptionError, CatalogError, ConfigError
        See `rain_case`, `run_videos`.
    """
    wanted, settings = chosen(RAIN, rows), options or Options()
    case = rain_case(data, seed=settings.seed, **protocol)
    return run_videos(case, wanted, output, settings, note=note), case


def run_videos(
    case: VideoCase, rows: Iterable[VideoRow], output: str | Path, options: Options, *, note: Note = print
) -> pd.DataFrame:
    """Train and score rows, and write their table after each.

    Parameters
    ----------
    case : VideoCase
    rows : sequence of VideoRow
    output : path
        Folder; a row whose scores are there, made with the same options, is read back.
    options : Options
    note : callable
        Takes lines of text.

    Returns
    -------
    DataFrame
        By title: the scores of `xatmo.benchmarks.video_scores.scored`; of networks ``steps``, ``train_seconds``,
        ``core_seconds`` (of processors) and ``parameters``; ``forecast_seconds`` and ``published``.

    Raises
    ------
    ConfigError
        If a row was made with other options or data.
    XatmoError
        If a method cannot do with the data or the options.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    asked = tuple(rows)
    wanted = [row for row in asked if case.has(row)]
    for row in asked:
        if row not in wanted:
            note(f"left out: {row.title}, which is for {row.least_size} cells each way and more")
    found = keeping.one_by_one(
        wanted, folder, {**case.identity(), **options.identity()},
        lambda row, place, key: _done(case, row, place, options, key, note),
        lambda some: _write(_table(case, some), case, folder), overwrite=options.overwrite, note=note,
    )  # fmt: skip
    return _table(case, found)


# ---------------------------------------------------------------------- one row
def _done(
    case: VideoCase, row: VideoRow, place: Path, options: Options, key: Mapping[str, Any], note: Note
) -> dict[str, Any]:  # fmt: skip
    keeping.begin(place)
    about: dict[str, Any] = {"name": row.name, "title": row.title}
    task = None
    if row.kind == "network":
        began, spent = time.perf_counter(), time.process_time()
        task = _trained(case, row, place, options)
        about |= {"steps": int(task.history["step"].max()), "train_seconds": time.perf_counter() - began}
        about |= {"core_seconds": time.process_time() - spent}
        about["parameters"] = sum(p.numel() for p in task.model.network.parameters())
    began = time.perf_counter()
    members = None
    if task is not None and row.members:
        drawn = case.test.atmo.forecast(
            task, init_time=case.starts, members=case.members, seed=options.seed, nan=_nan(case)
        )
        members = held_in(case, drawn)
    made = members.mean("member") if members is not None and row.averaged else _forecast(case, row, task)
    about |= scored(case, made, members).compute().pipe(_kept, place)
    about["forecast_seconds"] = time.perf_counter() - began
    _some(case, made, members).to_netcdf(place / "forecasts.nc")
    keeping.keep(place, key, about)
    note("  " + ", ".join(f"{n} {about[n]:.4g}" for n in _names(case) if n in about) + _how(about))
    return about


def _trained(case: VideoCase, row: VideoRow, place: Path, options: Options) -> Any:
    settings = {**case.settings, **row.settings}
    if options.quick:
        settings["network_settings"] = SMALLEST[str(row.settings["architecture"])]
        settings.pop("objective_settings", None)  # of long runs
    task = xatmo.VideoForecaster(n_context=case.n_context, n_future=case.n_future, **settings)
    steps = options.max_steps
    if steps is None:
        steps = row.max_steps if options.max_time is None else _ENDLESS
    gaps = case.name == "rain" and bool(case.train.isnull().any())
    task.fit(
        case.train, batch_size=options.batch_size or row.batch_size, max_steps=steps, max_time=options.max_time,
        patch_size=options.patch_size, valid=0.5 if gaps else None, seed=options.seed, precision=options.precision,
        accelerator=options.accelerator, progress=options.progress, run_dir=place / "run",
        resume=not options.overwrite,
    )  # fmt: skip
    task.save(place / "model")
    return task


def _forecast(case: VideoCase, row: VideoRow, task: Any) -> xr.DataArray:
    """Give the forecasts that are scored: of a network that draws, the one without draws."""
    if task is None:
        task = xatmo.VideoForecaster("persistence", case.n_context, case.n_future).fit(case.train, progress=False)
    made = case.test.atmo.forecast(task, init_time=case.starts, nan=_nan(case))
    if row.kind == "mean":
        made = xr.zeros_like(made) + mean_frame(case)
    elif row.kind == "blurred":
        made = blurred(case, made)
    return held_in(case, made)


def _nan(case: VideoCase) -> str:
    return "mask" if case.name == "rain" else "raise"


def _kept(scores: xr.Dataset, place: Path) -> dict[str, float]:
    """Write scores by lead, and give those of all leads."""
    scores.to_netcdf(place / "scores.nc")
    return {str(n): float(v) for n, v in scores.data_vars.items() if not v.dims}


def _some(case: VideoCase, made: xr.DataArray, members: xr.DataArray | None) -> xr.Dataset:
    """Give a few forecasts and what came, to be looked at."""
    few = {str(d): slice(_SHOWN) for d in made.dims if d in ("sequence", "init_time")}
    shown = made.isel(few)
    out = {"forecast": shown, "truth": xatmo.metrics.at_valid_times(case.test.isel(_in(few, case.test)), shown)}
    if members is not None:
        out["members"] = members.isel(few)
    return xr.Dataset(out).compute().astype(np.float32)


def _in(few: Mapping[str, slice], fields: xr.DataArray) -> dict[str, slice]:
    return {d: part for d, part in few.items() if d in fields.dims}


# ---------------------------------------------------------------------- the table
def _names(case: VideoCase) -> list[str]:
    if case.name == "moving-digits":
        return ["mse", "mae", "crps", "ssim", "psnr"]
    return ["mse", "mae", "crps", *(f"{n}_{t:g}" for n in ("csi", "fss") for t in case.thresholds)]


def _table(case: VideoCase, found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    rows = {str(row["title"]): {k: v for k, v in row.items() if k != "title"} | {"published": False} for row in found}
    rows |= {
        f"{name} (published)": {"mse": mse, "ssim": ssim, "published": True}
        for name, (mse, ssim) in case.published.items()
    }
    scores = [f"{n}{end}" for n in _names(case) for end in ("", "_lower", "_upper")]
    columns = [
        "name", *scores, "steps", "train_seconds", "core_seconds", "forecast_seconds", "parameters", "published",
    ]  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    table.index.name = "method"
    return table


def video_form(table: pd.DataFrame, case: VideoCase) -> pd.DataFrame:
    """Lay a table out for readers, as text: scores, and what they cost."""
    digits = case.name == "moving-digits"
    heads = {"mse": "MSE", "mae": "MAE", "crps": "CRPS", "ssim": "SSIM", "psnr": "PSNR"}
    out = {"Method": [str(t).removesuffix(" (published)") for t in table.index]}
    for name in _names(case):
        head = heads.get(name) or f"{name.split('_')[0].upper()} {name.split('_')[1]}"
        figures = (2 if name in ("mse", "mae", "crps", "psnr") else 3) if digits else 3
        out[head] = [_cell(row, name, figures) for _, row in table.iterrows()]
    out["Notes"] = ["published" if row["published"] else _cost(row) for _, row in table.iterrows()]
    return pd.DataFrame(out)


def _cell(row: Any, name: str, figures: int) -> str:
    """Write one score with its interval."""
    value, *ends = (row.get(f"{name}{end}", np.nan) for end in ("", "_lower", "_upper"))
    if pd.isna(value):
        return "-"
    text = f"{value:.{figures}f}"
    return text if any(pd.isna(end) for end in ends) else f"{text} ({ends[0]:.{figures}f} to {ends[1]:.{figures}f})"


def _cost(row: Any) -> str:
    if "steps" not in row or pd.isna(row["steps"]):
        return f"{row['forecast_seconds']:.0f} s"
    return f"{row['parameters'] / 1e6:.2f} M weights, {int(row['steps'])} steps, {row['core_seconds']:.0f} core-seconds"


def _write(table: pd.DataFrame, case: VideoCase, folder: Path) -> None:
    table.to_csv(folder / "table.csv")
    text = altimetry.markdown(video_form(table, case))
    told = "".join(f"- {t}\n" for t in video_remarks(case))
    (folder / "table.md").write_text(f"{text}\n\n{told}", encoding="utf-8")


def video_remarks(case: VideoCase) -> list[str]:
    """Say what the numbers of a case mean, for readers of its table."""
    frames = f"{case.n_future} frames from {case.n_context}"
    if case.name == "rain":
        first, last = (str(t)[:16] for t in case.test["time"].values[[0, -1]])
        area = (
            ""
            if case.area is None
            else f", y {case.area[0]:g} to {case.area[1]:g}, x {case.area[2]:g} to {case.area[3]:g}"
        )
        out = [
            f"{frames}, {len(case.starts)} initial times from {first} to {last}{area}; means over leads",
            "MSE in (mm h-1)2, MAE and CRPS in mm h-1; CSI and FSS of rates at or above so many mm h-1, FSS in windows "
            f"of {case.window} cells; CRPS of {case.members} members, and of single forecasts the absolute error",
        ]
        starts = xr.DataArray(np.zeros(len(case.starts)), {"init_time": case.starts}, ["init_time"])
        return [*out, f"{blocks_of(starts)[1]}; of CSI and FSS by lead", *["the rain is generated"] * case.generated]
    n_train, n_test = case.train.sizes["sequence"], case.test.sizes["sequence"]
    out = [
        f"{frames}, {case.size} x {case.size}; trained on {n_train} sequences, scored on {n_test} of unseen digits",
        "MSE, MAE and CRPS are summed over the pixels of a frame; SSIM of brightness within 0 and 1, PSNR from the "
        f"mean MSE, both with a peak of 1; CRPS of {case.members} members, and of single forecasts the MAE",
    ]
    out.append(blocks_of(xr.DataArray(np.zeros(n_test), dims="sequence"))[1])
    if not case.generated:
        out.append("the networks learned from the digits of scikit-learn, those of the file are of MNIST")
    if case.published:
        other = "" if not case.generated else "; they are of MNIST's digits, and do not compare with these"
        out.append(f"published rows: OpenSTL, March 2024, the best of three runs{other}")
    return out


def _how(about: Mapping[str, Any]) -> str:
    trained = f"; trained {about['steps']} steps in {about['train_seconds']:.0f} s" if "steps" in about else ""
    return f"{trained}; forecast in {about['forecast_seconds']:.0f} s"
