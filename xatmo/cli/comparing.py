"""``xatmo compare``: what was asked for, opened; and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import xarray as xr

from xatmo import report, workflow
from xatmo.cli import files, scoring, tables
from xatmo.errors import OptionError, XatmoError

Note = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """The words of the command.

    Attributes
    ----------
    runs : tuple of str
        Paths, perhaps with ``NAME=`` before them.
    html : Path
    target, coarse : Path or None
    metrics, variable : str or None
    time : str
    baseline : str
        ``none`` leaves out the simple forecasts of runs, too.
    cities : str or None
    members : int or None
    bounds, figures : bool
    bootstrap : str
    reference : str or None
    climatology : Path or None
    tables : Path or None
    title : str
    batch_size : int or None
    device : str
    overwrite : bool
    """

    runs: tuple[str, ...]
    html: Path
    target: Path | None = None
    coarse: Path | None = None
    metrics: str | None = None
    variable: str | None = None
    time: str = "-1"
    baseline: str = "bicubic"
    cities: str | None = None
    members: int | None = None
    bounds: bool = True
    figures: bool = True
    tables: Path | None = None
    title: str = "Comparison of runs"
    batch_size: int | None = None
    device: str = "auto"
    overwrite: bool = False
    bootstrap: str = "auto"
    reference: str | None = None
    climatology: Path | None = None


def compare(wanted: Wanted, *, note: Note) -> list[Path]:
    """Compare, print the scores, and write page and tables.

    Raises
    ------
    OptionError
        If two runs have the same name, or a word has no usable value.
    FileNotFoundError, FileExistsError
        If something is not there, or is and may not be replaced.
    XatmoError
        As in `xatmo.report.compare`.
    """
    matplotlib.use("Agg")  # files only: works without a display
    if wanted.html.exists() and not wanted.overwrite:
        message = f"{wanted.html} exists; pass --overwrite to replace it"
        raise FileExistsError(message)
    named = named_runs(wanted.runs)
    truth, usual = _truth(wanted, named, note)
    coarse = _opened(wanted.coarse, None)
    options: dict[str, Any] = {} if wanted.metrics is None else {"metrics": _words(wanted.metrics)}
    if wanted.cities is not None:
        options["cities"] = Path(wanted.cities) if Path(wanted.cities).suffix else wanted.cities
    if wanted.climatology is not None:
        options["climatology"] = files.open_fields(wanted.climatology)
    elif usual is not None:
        options["climatology"] = usual
    bounds = scoring.read_bootstrap(wanted.bootstrap)
    runs: dict[str, Any] = {name: _run(path, wanted, coarse) for name, path in named.items()}
    simple = _simple_forecasts(named) if wanted.baseline != "none" else {}
    told = [n for n, run in runs.items() if not isinstance(run, Path) or (run / "forecasts.zarr").exists()]
    reference = wanted.reference or _reference(told, list(simple))
    runs |= simple
    found = report.compare(
        runs, truth, coarse=coarse, html=wanted.html, variables=None if wanted.variable is None else [wanted.variable],
        bootstrap=bounds if wanted.bounds else None, reference=reference, time=_time(wanted.time),
        baseline=None if wanted.baseline == "none" else wanted.baseline, members=wanted.members,
        figures=wanted.figures, title=wanted.title,
        device=wanted.device, batch_size=wanted.batch_size, step=_step(note), **options,
    )  # fmt: skip
    for text in found.notes:
        note(f"left out: {text}")
    if len(found.scores):
        tables.compared(found.scores)
    return [wanted.html, *(found.save_tables(wanted.tables) if wanted.tables is not None else [])]


def _truth(wanted: Wanted, named: dict[str, Path], note: Note) -> tuple[xr.Dataset | None, xr.Dataset | None]:
    """Open the truth and the climatology: what is named, or what the runs of a workflow were scored with."""
    if wanted.target is not None or wanted.coarse is not None:
        return _opened(wanted.target, wanted.variable, files.JOINED_TRUTH), None
    truths: dict[str, tuple[xr.Dataset, xr.Dataset | None]] = {}
    failed: Exception | None = None
    for name, path in named.items():
        try:
            found = workflow.truth_of(path) if path.is_dir() else None
        except (XatmoError, OSError) as error:  # its data are gone or have changed; those of another run serve
            note(f"{name}: what it was scored with cannot be had, {error}")
            failed = failed or error
            continue
        if found is not None:
            truths[name] = found
    if not truths:
        if failed is not None:
            raise failed
        return None, None
    first, (truth, usual) = next(iter(truths.items()))
    for name, (other, _) in truths.items():
        apart = workflow.disagreements(truth, other)
        if apart:
            note(f"{name} was made from other data than {first}: {'; '.join(apart)}. The truth is that of {first}")
    if usual is not None:
        try:
            usual, remark = workflow.covering(usual, truth["time"])
        except XatmoError as error:
            usual, remark = None, f"left out, {error}"
        if remark is not None:
            note(f"acc: {remark}")
    return files.in_pieces(truth), usual


def _simple_forecasts(named: dict[str, Path]) -> dict[str, Path]:
    """Find the simple forecasts that the runs hold, each kind once; a run of that name goes before."""
    found: dict[str, Path] = {}
    for path in named.values():
        for name in workflow.BASELINES:
            where = path / "baselines" / f"{name}.zarr"
            if name not in found and name not in named and where.is_dir() and (path / "run.json").is_file():
                found[name] = where
    return found


def _reference(runs: list[str], simple: list[str]) -> str | None:
    """Name what the others are tested against: of runs with forecasts the last, of a single one a simple forecast."""
    if len(runs) > 1 or not simple:
        return runs[-1] if simple else None
    return next((name for name in ("diurnal", "persistence") if name in simple), simple[0])


def named_runs(words: tuple[str, ...]) -> dict[str, Path]:
    """Names and paths: ``NAME=PATH``, or the last part of a path, with as many before it as tell the runs apart.

    Raises
    ------
    OptionError
        If two runs have the same name.
    FileNotFoundError
        If nothing is at a path.

    Examples
    --------
    >>> named_runs(("here=.",))
    {'here': PosixPath('.')}
    """
    split = [word.partition("=") if "=" in word and not Path(word).exists() else ("", "", word) for word in words]
    paths = [Path(path) for _, _, path in split]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(2, "no such file or folder", str(path))
    found: dict[str, Path] = {}
    for (given, _, _), path in zip(split, paths, strict=True):
        name = given or _short(path, paths)
        if name in found:
            message = f"two runs are called {name!r}, {found[name]} and {path}; name them: NAME=PATH"
            raise OptionError(message)
        found[name] = path
    return found


def _short(path: Path, paths: list[Path]) -> str:
    parts = path.absolute().parts
    for n in range(1, len(parts)):
        name = "/".join((*parts[-n:-1], path.stem))
        alike = [p for p in paths if "/".join((*p.absolute().parts[-n:-1], p.stem)) == name]
        if len(alike) == 1:
            return name
    return str(path)


def _run(path: Path, wanted: Wanted, coarse: xr.Dataset | None) -> Any:
    """Give a prediction, opened in pieces; or the path of a model or a training, which the report opens itself."""
    if (path.is_dir() and any((path / name).is_file() for name in ("config.json", "run.json", "history.csv"))) or (
        path / "forecasts.zarr"
    ).exists():
        if wanted.target is not None and coarse is None and (path / "config.json").is_file():
            message = f"{path} is a saved model; give the coarse fields that it shall refine: --coarse FILE"
            raise OptionError(message)
        return path
    return _opened(path, wanted.variable)


def _opened(path: Path | None, variable: str | None, joined: float = files.JOINED) -> xr.Dataset | None:
    if path is None:
        return None
    ds = files.open_fields(path, joined=joined)
    if variable is not None:
        ds = files.one_variable(ds, variable, path).to_dataset(name=variable)
    return files.in_pieces(ds)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _time(text: str) -> Any:
    """Give a position as a number; a date stays as it is, whatever the calendar."""
    try:
        return int(text)
    except ValueError:
        return text


def _step(note: Note) -> Callable[[str], Any]:
    """Say what is being done, and show how far it is."""

    @contextmanager
    def doing(text: str) -> Iterator[None]:
        note(text)
        with files.watch_tasks(text):
            yield

    return doing
