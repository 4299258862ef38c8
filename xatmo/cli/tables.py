"""Tables on the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xatmo.catalog import open_catalog, shipped_catalogs
from xatmo.metrics import altimetry
from xatmo.workflow import ALL_LEADS

_SURE = 0.05


def scores(ds: xr.Dataset) -> None:
    """Print scores: one row for each variable or coordinate, one column for each score, with its interval.

    Where the intervals come from, or why there are none, stands below.

    Examples
    --------
    >>> scores(xr.Dataset({"rmse": 0.5}))  # doctest: +SKIP
    """
    names = [str(n) for n in ds.data_vars if not _is_bound(ds, str(n))]
    console = Console()
    if ds.dims:
        frame = ds.reset_coords(drop=True).to_dataframe()
        table = Table(*[str(n or "") for n in frame.index.names], *names)
        for index, row in frame.iterrows():
            labels = index if isinstance(index, tuple) else (index,)
            table.add_row(*[_label(label) for label in labels], *[_with_bounds(row, n) for n in names])
    else:
        numbers = {str(n): float(v) for n, v in ds.data_vars.items()}
        table = Table("score", "value")
        for name in names:
            table.add_row(name, _with_bounds(numbers, name))
    console.print(table)
    units = {n: str(ds[n].attrs["units"]) for n in names if ds[n].attrs.get("units") not in (None, "1")}
    if units:
        console.print("units: " + ", ".join(f"{n} {u}" for n, u in units.items()), markup=False, highlight=False)
    if ds.attrs.get("intervals"):
        console.print(str(ds.attrs["intervals"]), markup=False, highlight=False, soft_wrap=True)


def forecasts(ds: xr.Dataset, name: str) -> None:
    """Print one score of some forecasts, with intervals: over all lead times, then for each of them.

    Parameters
    ----------
    ds : Dataset
        As `xatmo.workflow.postprocess` gives scores.
    name : str
        Of the score.
    """
    table = Table("lead time", *map(str, ds["forecast"].values))
    leads = [(_label(lead), name, {"lead_time": k}) for k, lead in enumerate(ds.indexes["lead_time"])]
    for label, head, at in [("all", f"{name}_{ALL_LEADS}", {}), *leads]:
        known = {end: ds[head + end].isel(at).values for end in ("", "_lower", "_upper") if head + end in ds}
        cells = [{f"score{end}": x[k] for end, x in known.items()} for k in range(ds.sizes["forecast"])]
        table.add_row(label, *[_with_bounds(cell, "score") for cell in cells])
    Console().print(table)


def _is_bound(ds: xr.Dataset, name: str) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in ds for end in ("_lower", "_upper"))


def _with_bounds(row: Any, name: str) -> str:
    text = f"{row[name]:.5g}"
    ends = [f"{name}_{end}" for end in ("lower", "upper")]
    return f"{text} ({row[ends[0]]:.4g} to {row[ends[1]]:.4g})" if all(e in row for e in ends) else text


def _label(value: Any) -> str:
    """Write a coordinate: lead times in hours."""
    return f"{value / pd.Timedelta('1h'):g} h" if isinstance(value, pd.Timedelta) else str(value)


def catalog(name: str | None, entry: str | None) -> None:
    """Print the catalogs, the entries of one, or one entry."""
    console = Console()
    if name is None:
        for shipped in shipped_catalogs():
            opened = open_catalog(shipped)
            console.print(f"[bold]{shipped}[/bold]  {escape(opened.description)} ({len(opened.names)} entries)")
        return
    opened = open_catalog(name)
    if entry is None:
        table = Table(title=escape(opened.description))
        table.add_column("entry", no_wrap=True)
        for column in ("access", "size", "holds"):
            table.add_column(column, overflow="fold")
        for each in opened.names:
            about = opened.describe(each)
            table.add_row(each, about["access"], escape(str(about["size"])), escape(about["description"]))
        console.print(table)
        return
    about = opened.describe(entry)
    table = Table(show_header=False, title=f"{name}: {entry}")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key in ("description", "access", "licence", "size", "chunks", "url", "driver", "documentation"):
        if about[key]:
            table.add_row(key, escape(str(about[key])))
    for parameter in about["parameters"].values():
        default = "has to be given" if parameter.default is None else f"default {parameter.default!r}"
        text = f"{parameter.description}: {parameter.possible}; {default}"
        table.add_row(f"{parameter.name}=", escape(text))
    console.print(table)
    given = "".join(f", {p.name}=..." for p in about["parameters"].values() if p.default is None)
    console.print(f'xatmo.open_catalog("{name}").open("{entry}"{given})', markup=False)


def compared(scores: pd.DataFrame) -> None:
    """Print what `xatmo.report.compare` found: one row for each score, one column for each run, with intervals."""
    console = Console()
    remarks: dict[str, None] = {}
    for variable, part in scores.groupby("variable", sort=False):
        runs = list(dict.fromkeys(part["run"]))
        table = Table("score", title=escape(str(variable)))
        for name in runs:
            table.add_column(escape(str(name)), justify="right")
        for score, rows in part.groupby("score", sort=False):
            units = rows["units"].iloc[0]
            text = f"{score} ({units})" if units not in ("", "1") else str(score)
            found = {row["run"]: _compared_cell(row) for _, row in rows.iterrows()}
            table.add_row(escape(text), *[found.get(name, "") for name in runs])
        console.print(table)
    if "p_adjusted" in scores and bool((scores["p_adjusted"] <= _SURE).any()):
        against = scores.attrs.get("reference") or "the reference"
        remarks[f"*: differs from {against} by more than chance, at 5 % for all runs together"] = None
    if scores.attrs.get("intervals"):
        remarks[str(scores.attrs["intervals"])] = None
    for remark in remarks:
        console.print(remark, markup=False, highlight=False, soft_wrap=True)


def _compared_cell(row: Any) -> str:
    """Write one score with its interval, marked where it differs from the reference; ``-`` where there is none."""
    if pd.isna(row["value"]):
        return "-"
    text = f"{row['value']:.4g}" + "*" * bool(row.get("p_adjusted", np.nan) <= _SURE)
    ends = [row.get(end, np.nan) for end in ("lower", "upper")]
    return text if any(pd.isna(end) for end in ends) else f"{text} ({ends[0]:.4g} to {ends[1]:.4g})"


def challenge(table: pd.DataFrame, others: pd.DataFrame | None, *, title: str) -> None:
    """Print scores in a challenge's form, and below a line what others published."""
    name = table.attrs["challenge"]
    form = altimetry.challenge_table(table, challenge=name)
    if others is None:
        text(form, title=title)
        return
    lower = altimetry.challenge_table(others, challenge=name)
    text(pd.concat([form, lower]), title=title, line_after=len(form))


def regimes(table: pd.DataFrame) -> None:
    """Print scores by regime: one row for each map and regime."""
    form = table.reset_index()
    for column in [c for c in form.columns if form[c].dtype.kind == "f"]:
        form[column] = [f"{x:.3g}" if pd.notna(x) else "-" for x in form[column]]
    text(form.astype(str), title="by regime")


def text(form: pd.DataFrame, *, title: str, line_after: int | None = None) -> None:
    """Print a table of text, its numbers to the right."""
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE)
    for column in form.columns:
        words = column in ("Method", "Notes", "name", "regime")
        # No word is broken in two.
        longest = max(len(w) for x in (column, *form[column]) for w in [*str(x).split(), ""])
        table.add_column(escape(str(column)), justify="left" if words else "right", overflow="fold", min_width=longest)
    for i, cells in enumerate(form.itertuples(index=False), start=1):
        table.add_row(*[escape(str(x)) for x in cells], end_section=i == line_after)
    Console().print(table)
