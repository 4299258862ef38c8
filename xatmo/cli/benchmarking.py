"""``xatmo benchmark``: a table's words, read; the table, printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xatmo import benchmarks
from xatmo.cli import mapping, tables
from xatmo.errors import OptionError

TABLES: dict[str, tuple[benchmarks.Row, ...] | tuple[benchmarks.VideoRow, ...]] = {
    "osse": benchmarks.OSSE, "gp": benchmarks.GP, "moving-digits": benchmarks.DIGITS, "rain": benchmarks.RAIN,
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """The words of the command.

    Attributes
    ----------
    table : str
    output : Path
    data : Path or None
    rows : str or None
        Names joined by commas, or ``list``.
    max_time : str or None
    max_steps : int or None
    batch_size : int or None
    patch_size : int or None
    seed : int
    scenario : str
    train, test : str or None
        ``FIRST,LAST``.
    size : int or None
    n_time : int or None
    digits : int
    sequences, unseen : int or None
    n_context, n_future : int or None
    thresholds : str or None
        Numbers joined by commas.
    area : str or None
        Four numbers joined by commas.
    quick : bool
    precision : str or None
    device : str
    overwrite : bool
    """

    table: str
    output: Path
    data: Path | None = None
    rows: str | None = None
    max_time: str | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    patch_size: int | None = None
    seed: int = 0
    scenario: str = "both"
    train: str | None = None
    test: str | None = None
    size: int | None = None
    n_time: int | None = None
    digits: int = 2
    sequences: int | None = None
    unseen: int | None = None
    n_context: int | None = None
    n_future: int | None = None
    thresholds: str | None = None
    area: str | None = None
    quick: bool = False
    precision: str | None = None
    device: str = "auto"
    overwrite: bool = False


def run(wanted: Wanted, *, note: Callable[[str], Any]) -> list[Path]:
    """Train and score the rows, and print the table; give what was written.

    Raises
    ------
    OptionError
        If there is no such table or row, or a word has no usable value.
    XatmoError
        As of `xatmo.benchmarks.osse`, `gp`, `moving_digits` and `rain`.
    """
    if wanted.table not in TABLES:
        message = f"no table {wanted.table!r}; wanted {' or '.join(TABLES)}"
        raise OptionError(message)
    if wanted.rows == "list":
        for row in TABLES[wanted.table]:
            note(f"{row.name:24}{row.title}")
        return []
    made: dict[str, Any] = {
        "max_steps": wanted.max_steps, "max_time": wanted.max_time, "patch_size": wanted.patch_size,
        "seed": wanted.seed, "quick": wanted.quick, "precision": wanted.precision, "accelerator": wanted.device,
        "overwrite": wanted.overwrite, "batch_size": wanted.batch_size,
    }  # fmt: skip
    options = benchmarks.Options(**made)
    given: dict[str, Any] = {"rows": mapping.names(wanted.rows), "note": note, "options": options}
    (_maps if wanted.table in ("osse", "gp") else _videos)(wanted, given, note)
    return [wanted.output / "table.csv", wanted.output / "table.md"]


def _maps(wanted: Wanted, given: dict[str, Any], note: Callable[[str], Any]) -> None:
    if wanted.table == "osse":
        train, test = _days(wanted.train, "--train"), _days(wanted.test, "--test")
        found, case = benchmarks.osse(
            wanted.output, wanted.data, scenario=wanted.scenario, train=train, test=test, **given
        )
    else:
        sizes = _some(size=wanted.size, n_time=wanted.n_time)
        found, case = benchmarks.gp(wanted.output, wanted.data, **sizes, **given)
    _show(benchmarks.form(found, case), found, case.name, benchmarks.remarks(case), note)


def _videos(wanted: Wanted, given: dict[str, Any], note: Callable[[str], Any]) -> None:
    given |= _some(size=wanted.size, n_context=wanted.n_context, n_future=wanted.n_future)
    if wanted.table == "moving-digits":
        given |= _some(n_digits=wanted.digits, n_train=wanted.sequences, n_test=wanted.unseen)
        found, case = benchmarks.moving_digits(wanted.output, wanted.data, **given)
    else:
        given |= _some(n_time=wanted.n_time, thresholds=_numbers(wanted.thresholds, "--thresholds"))
        given |= _some(area=_numbers(wanted.area, "--area"))
        data = sorted(wanted.data.glob("*")) if wanted.data is not None and wanted.data.is_dir() else wanted.data
        found, case = benchmarks.rain(wanted.output, data, **given)
    _show(benchmarks.video_form(found, case), found, case.name, benchmarks.video_remarks(case), note)


def _some(**words: Any) -> dict[str, Any]:
    """Leave out what was not said."""
    return {name: value for name, value in words.items() if value is not None}


def _show(
    form: pd.DataFrame, found: pd.DataFrame, title: str, remarks: list[str], note: Callable[[str], Any]
) -> None:  # fmt: skip
    tables.text(form, title=title, line_after=int((~found["published"].astype(bool)).sum()))
    for line in remarks:
        note(line)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    found = mapping.names(text)
    if found is None:
        return None
    try:
        return tuple(float(word) for word in found)
    except ValueError as error:
        message = f"{option} {text}; wanted numbers joined by commas"
        raise OptionError(message) from error


def _days(text: str | None, option: str) -> tuple[str, str] | None:
    days = mapping.names(text)
    if days is None:
        return None
    if len(days) != 2:
        message = f"{option} {text}; wanted two days, as 2012-10-01,2012-12-20"
        raise OptionError(message)
    return days[0], days[1]
