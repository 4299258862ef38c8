"""How the rows of a table are trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """How rows are trained.

    Attributes
    ----------
    max_steps : int, optional
        Optimiser steps of each network; those of its row where there is no ``max_time`` either.
    max_time : str, optional
        ``"HH:MM:SS"`` of training for each network.
    batch_size : int, optional
        Windows at a time; unless given, that of the row, or 4 of maps.
    patch_size : int, optional
        Cells each way that a network sees at a time.
    seed : int
    quick : bool
        Networks of the least size: they show that everything runs.
    accelerator : str
    precision : str, optional
    progress : bool
    overwrite : bool
        Do finished rows anew.
    """

    max_steps: int | None = None
    max_time: str | None = None
    batch_size: int | None = None
    patch_size: int | None = None
    seed: int = 0
    quick: bool = False
    accelerator: str = "auto"
    precision: str | None = None
    progress: bool = True
    overwrite: bool = False

    def identity(self) -> dict[str, Any]:
        """Give what the numbers depend on."""
        left_out = ("progress", "overwrite", "accelerator")
        return {k: v for k, v in asdict(self).items() if k not in left_out}
