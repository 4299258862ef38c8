"""Rows of a table on disk: what is finished is read back, if it was made in the same way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from xatmo.errors import ConfigError

_FILE = "row.json"


class Titled(Protocol):
    """A row of any table."""

    @property
    def name(self) -> str:
        """For files and options."""

    @property
    def title(self) -> str:
        """For readers."""


R = TypeVar("R", bound=Titled)


def one_by_one(
    rows: Sequence[R],
    folder: Path,
    told: Mapping[str, Any],
    do: Callable[[R, Path, dict[str, Any]], dict[str, Any]],
    write: Callable[[list[dict[str, Any]]], None],
    *,
    overwrite: bool,
    note: Callable[[str], Any],
) -> list[dict[str, Any]]:
    """Do the rows of a table, or read them back, and write the table after each.

    Parameters
    ----------
    rows : sequence
        Dataclasses.
    folder : Path
        Of the table; a row has its own in it.
    told : mapping
        All that the numbers depend on, besides the row itself.
    do : callable
        ``(row, place, key)`` to what is told of it, which it keeps.
    write : callable
        Takes what is told of the rows so far.
    overwrite : bool
        Do finished rows anew.
    note : callable
        Takes lines of text.

    Raises
    ------
    ConfigError
        If a row was made with other settings.
    """
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        place, key = folder / "rows" / row.name, plain({**told, "row": asdict(cast(Any, row))})
        before = finished(place, key, overwrite=overwrite)
        note(f"[{number}/{len(rows)}] {row.title}" + ("" if before is None else f": read back from {place}"))
        found.append(do(row, place, key) if before is None else before)
        write(found)
    return found


def plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """Give what JSON makes of settings, so that they compare with those that were kept.

    Examples
    --------
    >>> plain({"size": (3, 4)})
    {'size': [3, 4]}
    """
    out: dict[str, Any] = json.loads(json.dumps(key))
    return out


def finished(place: Path, key: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """Give what is told of a row that was made with the same settings; None where there is none.

    Parameters
    ----------
    place : Path
        Folder of the row.
    key : mapping
        All that its numbers depend on, as `plain` gives it.
    overwrite : bool
        Take none.

    Raises
    ------
    ConfigError
        If it was made with others.
    """
    file = place / _FILE
    if overwrite or not file.exists():
        return None
    there: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if there["key"] != key:
        differing = sorted(k for k in {**there["key"], **key} if there["key"].get(k) != key.get(k))
        message = (
            f"{place} was made with other {', '.join(differing)}; take another --output, or --overwrite, which does it "
            "anew (overwrite=True)"
        )
        raise ConfigError(message)
    row: dict[str, Any] = there["row"]
    return row


def begin(place: Path) -> None:
    """Make the folder of a row that is not finished."""
    place.mkdir(parents=True, exist_ok=True)
    (place / _FILE).unlink(missing_ok=True)


def keep(place: Path, key: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """Write what is told of a finished row."""
    (place / _FILE).write_text(json.dumps({"key": key, "row": row}, indent=1), encoding="utf-8")
