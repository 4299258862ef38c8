"""One training run of a task: its keywords, its length, and what is told of it afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from xatmo.errors import OptionError

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model
    from xatmo.normalize import Normalizer
    from xatmo.train import FitResult, TrainSettings


@dataclass(frozen=True)
class RunOptions:
    """Keywords that every task's ``fit`` has besides its data; see `SuperResolver.fit` for each.

    Numbers of things are whole numbers of Python's, whatever came.

    Raises
    ------
    OptionError
        If one of them is no whole number, or too small.
    """

    patch_size: int | Mapping[str, int] | None
    batch_size: int
    epochs: int
    max_steps: int | None
    max_time: str | None
    patience: int | None
    accumulate: int
    accelerator: str
    devices: int
    precision: str | None
    seed: int
    run_dir: str | Path | None
    resume: bool
    progress: bool
    valid: float | None = None
    memory: int = 256 << 20

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        from xatmo.train import whole

        for name, least in (
            ("batch_size", 1), ("epochs", 1), ("accumulate", 1), ("devices", 1), ("seed", 0), ("memory", 1)
        ):  # fmt: skip
            object.__setattr__(self, name, whole(name, getattr(self, name), least))

    @classmethod
    def among(cls, keywords: Mapping[str, Any]) -> Self:
        """Take from all keywords of a ``fit`` those that are meant here."""
        return cls(**{f.name: keywords[f.name] for f in fields(cls) if f.name in keywords})

    def settings(self, batches: int, *, before: int = 0, **others: Any) -> TrainSettings:
        """Give length and place of the run.

        Parameters
        ----------
        batches : int
            Of one epoch.
        before : int
            Steps of a phase that comes first and counts no epoch.
        **others
            Of `TrainSettings`.
        """
        from xatmo.train import TrainSettings

        steps = before + math.ceil(self.epochs * batches / self.accumulate)
        return TrainSettings(
            steps if self.max_steps is None else self.max_steps, accelerator=self.accelerator, devices=self.devices,
            precision=self.precision, seed=self.seed, max_time=self.max_time, patience=self.patience,
            accumulate=self.accumulate, **others,
        )  # fmt: skip

    def run(
        self,
        objective: Any,
        source: Any,
        settings: TrainSettings,
        *,
        validation: Any,
        identity: Mapping[str, Any],
        initial: Model | None = None,
    ) -> FitResult:
        """Train.

        Parameters
        ----------
        objective, source, settings, validation
            See `xatmo.train.fit`.
        identity : mapping
            By which a run that is resumed is known as the same.
        initial : Model, optional
            Whose weights it starts from: part of the identity.
        """
        from xatmo.train import fit

        begun = {} if initial is None else {"initial": initial.fingerprint}
        return fit(
            objective, source, settings, validation=validation, run_dir=self.run_dir, resume=self.resume,
            progress=self.progress, identity={**identity, **begun},
        )  # fmt: skip

    def told(self, result: FitResult, initial: Model | None = None) -> dict[str, Any]:
        """Give what a model keeps of the run that made it."""
        begun = {} if initial is None else {"initial": initial.fingerprint}
        return {
            "steps": result.steps, "seconds": round(result.seconds, 1), "precision": result.precision,
            "seed": self.seed, "devices": self.devices, "accumulate": self.accumulate, **begun,
        }  # fmt: skip


def scores(result: FitResult) -> dict[str, float]:
    """Give the last training loss and the least validation loss, where there are such."""
    found = {"training_loss": float(result.history[-1]["loss"])} if result.history else {}
    if result.best_validation_loss is not None:
        found["validation_loss"] = result.best_validation_loss
    return found


def rounded(*normalizers: Normalizer) -> dict[str, list[float]]:
    """Give statistics that tell data from others, and do not depend on the order in which they were summed."""
    return {n: [float(f"{float(a):.5g}") for a in one.scaling(n)] for one in normalizers for n in one.names}


def start_from(network: torch.nn.Module, initial: torch.nn.Module) -> None:
    """Give a network the weights of a fitted one.

    Raises
    ------
    OptionError
        If they do not fit.
    """
    own, theirs = network.state_dict(), initial.state_dict()
    differ = [n for n in {**own, **theirs} if n not in own or n not in theirs or own[n].shape != theirs[n].shape]
    if differ:
        shapes = (tuple(w[differ[0]].shape) if differ[0] in w else None for w in (theirs, own))
        have, want = ("nothing" if shape is None else str(shape) for shape in shapes)
        message = (
            f"the weights of initial do not fit: {len(differ)} of {len(own)} differ, the first {differ[0]!r} has "
            f"{have} there and {want} here. Give the task the network settings of initial: xatmo.load(initial).config"
        )
        raise OptionError(message)
    network.load_state_dict(theirs)
