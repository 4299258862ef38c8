"""Grids from a word of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from xatmo.errors import OptionError
from xatmo.grids import Grid

HELP: Final = (
    "dh1280 (Driscoll-Healy, 1280 x 2560), f320 (Gaussian, 640 x 1280), 721x1440 (equal steps with poles), 0.25 (the "
    "same, by step in degrees), healpix64, o320 or n320 (reduced Gaussian), or a file whose grid to take"
)


def grid_of(text: str) -> Grid:
    """Make the grid that a word names.

    Parameters
    ----------
    text : str
        ``dh1280``: `Grid.driscoll_healy`; ``f320``: ``Grid.gaussian(640)``; ``721x1440`` and ``0.25``: `Grid.regular`;
        ``healpix64``: `Grid.healpix`; ``o320`` and ``n320``: `Grid.reduced_gaussian`; a path: the grid of that file.

    Raises
    ------
    OptionError
        If it names none.

    Examples
    --------
    >>> grid_of("0.25") == grid_of("721x1440"), grid_of("F320").shape
    (True, (640, 1280))
    """
    word = text.strip().lower()
    if found := re.fullmatch(r"(\d+)x(\d+)", word):
        return Grid.regular(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"(dh|f|healpix)(\d+)", word):
        number = int(found[2])
        if found[1] == "dh":
            return Grid.driscoll_healy(number)
        return Grid.gaussian(2 * number) if found[1] == "f" else Grid.healpix(number)
    if re.fullmatch(r"[on]\d+", word):
        return Grid.reduced_gaussian(word.upper())
    if re.fullmatch(r"\d*\.?\d+", word) and 0 < (step := float(word)) <= 60:
        rows = 180 / step
        if abs(rows - round(rows)) < 1e-6 * rows:
            return Grid.regular(round(rows) + 1, round(2 * rows))
    if Path(text).exists():
        from xatmo.cli import files

        return Grid.of(files.open_fields(Path(text)))
    message = f"--grid {text} names no grid; wanted {HELP}"
    raise OptionError(message)
