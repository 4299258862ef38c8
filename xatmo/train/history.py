"""History of a run: one row per interval, kept in a file so that it survives interruptions and other processes."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

COLUMNS = ("step", "epoch", "loss", "validation_loss", "learning_rate", "seconds")


class History(Callback):
    """Append to a CSV file: mean loss over ``every`` steps, and the validation loss where there is one.

    Parameters
    ----------
    path : Path
        The file. Rows after step ``first`` (written by a run that was cut off) are dropped.
    steps_per_epoch, every, first : int
    parts : sequence of str
        Names of further losses that a training step gives beside ``loss``; NaN where a step has none.
    """

    def __init__(self, path: Path, *, steps_per_epoch: int, every: int, first: int, parts: Sequence[str] = ()) -> None:
        self.columns, self.parts = (*COLUMNS, *parts), ("loss", *parts)
        self.path, self.steps_per_epoch, self.every = path, steps_per_epoch, every
        self.seconds = math.nan  # of training so far; the schedule's clock sets it
        self._losses: list[dict[str, torch.Tensor]] = []
        rows = [row for row in read(path) if row["step"] <= first]
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, path)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring what a checkpoint held to the device."""
        self._losses = [{name: loss.to(pl_module.device) for name, loss in one.items()} for one in self._losses]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the loss; write when the interval is full."""
        self._losses.append(
            {**{name: outputs[name].detach() for name in self.parts}, "loss": loss_of(trainer, outputs)}
        )
        if not completes_step(trainer, batch_idx):
            return
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            self._write(trainer, **self._means(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Losses of the interval that has begun."""
        return {"losses": self._losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the interval."""
        self._losses = list(state_dict["losses"])

    def validated(self, trainer: Trainer, loss: float) -> None:
        """Write the validation loss into a row of its step."""
        self._write(trainer, **self._means(trainer), validation_loss=loss)

    def _means(self, trainer: Trainer) -> dict[str, float]:
        if not self._losses:
            return dict.fromkeys(self.parts, math.nan)
        every = torch.stack([torch.stack([one[n] for n in self.parts]) for one in self._losses]).float()
        means = every.nanmean(dim=0)  # over the steps that have the loss
        self._losses = []
        return dict(zip(self.parts, trainer.strategy.reduce(means, reduce_op="mean").tolist(), strict=True))

    def _write(self, trainer: Trainer, **values: float) -> None:
        if not trainer.is_global_zero:
            return
        row = {
            "step": trainer.global_step,
            "epoch": (trainer.global_step - 1) // self.steps_per_epoch,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": self.seconds,
            **values,
        }
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)


def loss_of(trainer: Trainer, outputs: Any) -> torch.Tensor:
    """Give the loss of a batch, of which Lightning hands on its part of the step."""
    loss: torch.Tensor = outputs["loss"].detach()
    return loss * trainer.accumulate_grad_batches


def completes_step(trainer: Trainer, batch_idx: int) -> bool:
    """Tell whether the optimiser stepped after this batch: the last of those whose gradients are accumulated."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a history file, rows of one step merged; nothing where there is no file."""
    if not path.exists():
        return []
    merged: dict[int, dict[str, Any]] = {}
    text = path.read_text()
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())  # without a row that was cut off
    columns = tuple(reader.fieldnames or COLUMNS)
    for raw in reader:
        values = {k: float(v) for k, v in raw.items() if v not in ("", None, "nan")}
        step = int(values.pop("step"))
        row = merged.setdefault(step, {"step": step, **dict.fromkeys(columns[2:], math.nan)})
        row.update(values)
        row["epoch"] = int(row["epoch"])
    return [{c: row[c] for c in columns} for _, row in sorted(merged.items())]
