"""What a part of the demonstration gives back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

Step = Callable[[str], AbstractContextManager[None]]
"""Announces what is done inside, and how long it took."""


@dataclass
class Outcome:
    """Scores by method and name, and the files that were written."""

    title: str
    scores: dict[str, dict[str, float]]
    files: dict[str, Path] = field(default_factory=dict)
