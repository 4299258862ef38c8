"""The whole chain on generated fields, or on your own: what ``xatmo demo`` runs. It uses public names only."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import xarray as xr
from rich.console import Console
from rich.table import Table

from xatmo.demo import interpolation, superresolution
from xatmo.demo.settings import FULL, QUICK

__all__ = ["run"]


def run(output: str | Path, *, quick: bool = False, field: xr.DataArray | None = None) -> dict[str, Path]:
    """Run the chain, print its scores, and write figures, scores and the trained model.

    Open or generate, regrid on the sphere, coarsen, train a super-resolution network, super-resolve, compare spectra
    and scores; then interpolate altimeter tracks with error bars and compare them with what was observed.

    Parameters
    ----------
    output : path
        Folder for ``*.png``, ``scores.json``, ``training.csv`` and ``model/``; made where it is missing.
    quick : bool
        Smaller fields and a shorter training: within a minute on two cores.
    field : DataArray, optional
        Own field with latitude and longitude, perhaps time; a generated barotropic flow unless given.

    Returns
    -------
    dict
        Paths of what was written, by name.

    Raises
    ------
    XatmoError
        If the field cannot be used; the message says why.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    settings = QUICK if quick else FULL
    started = time.perf_counter()

    @contextlib.contextmanager
    def step(what: str) -> Iterator[None]:
        console.print(f"[bold]{what}[/bold] ...", highlight=False)
        begun = time.perf_counter()
        yield
        console.print(f"  {time.perf_counter() - begun:.1f} s", style="dim", highlight=False)

    learned = superresolution.run(settings, field, folder, step)
    mapped = interpolation.run(settings, folder, step)
    files = {**learned.files, **mapped.files, "scores": folder / "scores.json"}
    scores = {"superresolution": learned.scores, "interpolation": mapped.scores}
    files["scores"].write_text(json.dumps(scores, indent=2), encoding="utf-8")
    for title, rows in ((learned.title, learned.scores), (mapped.title, mapped.scores)):
        console.print(_table(title, rows))
    console.print(f"{time.perf_counter() - started:.0f} s in all. Written:", highlight=False)
    for path in files.values():
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)  # whole, to copy
    return files


def _table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    columns = list(next(iter(rows.values())))
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, scores in rows.items():
        table.add_row(name, *["" if math.isnan(scores[c]) else f"{scores[c]:.4g}" for c in columns])
    return table
