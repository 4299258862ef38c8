"""``xatmo evaluate`` of one prediction against its target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from xatmo.cli import files, tables
from xatmo.errors import OptionError


def refuse(challenge_options: Sequence[str], words: Sequence[str], output: Sequence[Path]) -> None:
    """Refuse what goes with ``--challenge`` only.

    Raises
    ------
    OptionError
        If there is such an option, or not one prediction and one target.

    Examples
    --------
    >>> refuse([], ["a.nc", "b.nc"], [])
    """
    if challenge_options:
        message = f"{challenge_options[0]} goes with --challenge osse2020a or ose2021a, which is missing"
        raise OptionError(message)
    if len(words) != 2 or len(output) > 1:
        came = f"{len(words)} files" if len(words) != 2 else f"{len(output)} outputs"
        message = (
            f"{came} came; wanted PREDICTION and TARGET and one output at most, or --challenge with any number of maps"
        )
        raise OptionError(message)


def read_bootstrap(text: str) -> dict[str, Any] | Literal["auto"] | None:
    """Read ``auto``, ``none``, ``DIM`` or ``DIM:BLOCK``, the block in points or as a span of time.

    Raises
    ------
    OptionError
        If there is no dimension.

    Examples
    --------
    >>> read_bootstrap("init_time:7D"), read_bootstrap("time:168"), read_bootstrap("time")
    ({'dim': 'init_time', 'block': '7D'}, {'dim': 'time', 'block': 168}, {'dim': 'time'})
    >>> read_bootstrap("auto"), read_bootstrap("none")
    ('auto', None)
    """
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    dim, _, block = (part.strip() for part in text.partition(":"))
    if not dim:
        message = f"--bootstrap {text!r} names no dimension; wanted auto, none, DIM or DIM:BLOCK (init_time:7D)"
        raise OptionError(message)
    return {"dim": dim, **({} if not block else {"block": int(block) if block.isdigit() else block})}


def evaluate(
    prediction: Path,
    target: Path,
    *,
    metrics: str,
    dim: str | None,
    variable: str | None,
    output: Sequence[Path],
    overwrite: bool,
    bootstrap: str = "auto",
) -> list[Path]:
    """Score, print, and write the scores; give what was written."""
    resampling = read_bootstrap(bootstrap)
    pair = [files.open_fields(path) for path in (prediction, target)]
    if variable is not None:
        pair = [
            files.one_variable(ds, variable, path).to_dataset(name=variable)
            for ds, path in zip(pair, (prediction, target), strict=True)
        ]
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    dims = [name.strip() for name in dim.split(",")] if dim else None
    scores = pair[0].atmo.verify(pair[1], metrics=names, dim=dims, bootstrap=resampling).compute()
    tables.scores(scores)
    for path in output:
        files.write_scores(scores, path, overwrite=overwrite)
    return list(output)
