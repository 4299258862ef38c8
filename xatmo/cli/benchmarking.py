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

TABLES = {"osse": benchmarks.OSSE, "gp": benchmarks.GP}


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
    batch_size : int
    patch_size : int or None
    seed : int
    scenario : str
    train, test : str or None
        ``FIRST,LAST``.
    size, n_time : int
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
    batch_size: int = 4
    patch_size: int | None = None
    seed: int = 0
    scenario: str = "both"
    train: str | None = None
    test: str | None = None
    size: int = 50
    n_time: int = 300
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
        As of `xatmo.benchmarks.osse` and `xatmo.benchmarks.gp`.
    """
    if wanted.table not in TABLES:
        message = f"no table {wanted.table!r}; wanted {' or '.join(TABLES)}"
        raise OptionError(message)
    if wanted.rows == "list":
        for row in TABLES[wanted.table]:
            note(f"{row.name:24}{row.title}")
        return []
    options = benchmarks.Options(
        max_steps=wanted.max_steps, max_time=wanted.max_time, batch_size=wanted.batch_size,
        patch_size=wanted.patch_size, seed=wanted.seed, quick=wanted.quick, precision=wanted.precision,
        accelerator=wanted.device, overwrite=wanted.overwrite,
    )  # fmt: skip
    given: dict[str, Any] = {"rows": mapping.names(wanted.rows), "options": options, "note": note}
    if wanted.table == "osse":
        train, test = _days(wanted.train, "--train"), _days(wanted.test, "--test")
        found, case = benchmarks.osse(
            wanted.output, wanted.data, scenario=wanted.scenario, train=train, test=test, **given
        )
    else:
        found, case = benchmarks.gp(wanted.output, wanted.data, size=wanted.size, n_time=wanted.n_time, **given)
    _show(found, case, note)
    return [wanted.output / "table.csv", wanted.output / "table.md"]


def _show(found: pd.DataFrame, case: benchmarks.Case, note: Callable[[str], Any]) -> None:
    tables.text(benchmarks.form(found, case), title=case.name, line_after=int((~found["published"].astype(bool)).sum()))
    for line in benchmarks.remarks(case):
        note(line)


def _days(text: str | None, option: str) -> tuple[str, str] | None:
    days = mapping.names(text)
    if days is None:
        return None
    if len(days) != 2:
        message = f"{option} {text}; wanted two days, as 2012-10-01,2012-12-20"
        raise OptionError(message)
    return days[0], days[1]
