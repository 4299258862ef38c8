"""What happens between steps: random draws, a watch on the loss, schedule and budget, progress."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from xatmo.errors import MissingValueError
from xatmo.train.history import History, completes_step, loss_of
from xatmo.train.settings import TrainSettings

if TYPE_CHECKING:
    from xatmo.train.objectives import Objective


def quiet_loggers() -> None:
    """Let Lightning's loggers pass errors only."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Draws(Callback):
    """Seed torch's generators before each step, so that dropout and noise follow from seed, step and rank.

    A resumed run then draws what the uninterrupted one would have drawn; validation draws the same each time.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed for a step."""
        place = batch_idx % trainer.accumulate_grad_batches
        self._seed(pl_module.device, trainer.global_step, trainer.global_rank, 0, *([place] if place else []))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed for a batch of validation."""
        self._seed(pl_module.device, batch_idx, trainer.global_rank, 1)

    def _seed(self, device: torch.device, *numbers: int) -> None:
        seed = int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.default_generator.manual_seed(seed)
        # Not torch.manual_seed, which writes down a traceback, in milliseconds, wherever CUDA has not been used yet.
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)


class Finite(Callback):
    """End a run whose loss is no longer a number, before its weights are saved.

    On a CPU every step is looked at; elsewhere that would wait for the device, so now and then, and before a save.

    Parameters
    ----------
    every : int
        Steps between saves.
    tolerated : int
        Steps without a number, one after another, that are let pass: float16 skips those that overflow.
    """

    def __init__(self, *, every: int, tolerated: int = 0) -> None:
        self.every, self.tolerated = every, tolerated
        self._bad: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count steps without a number, and look at the count.

        Raises
        ------
        MissingValueError
            If there are too many.
        """
        loss = outputs["loss"].detach()
        bad = torch.zeros_like(loss) if self._bad is None else self._bad
        kept = torch.where(loss.isfinite(), torch.zeros_like(bad), bad) if self.tolerated else bad
        self._bad = kept + (~loss.isfinite()).to(kept.dtype)
        if not completes_step(trainer, batch_idx):
            return
        step = trainer.global_step
        look = loss.device.type == "cpu" or step % self.every == 0 or step % 50 == 0 or step == trainer.max_steps
        if not look or float(self._bad) <= self.tolerated:
            return
        parts = ", ".join(f"{name} {float(value):.4g}" for name, value in outputs.items())
        message = (
            f"training gave no finite loss at step {step} ({parts}); wanted a number. Lower learning_rate, look for "
            "extreme values in the data, or use precision='32-true'. What was saved before is kept"
        )
        raise MissingValueError(message)


class Schedule(Callback):
    """Set the learning rates before each step; stop when the time budget is spent.

    Progress is the larger of the part of the steps and the part of the time: either way the rate ends low. Each phase
    of an objective has a course of its own, and of the time the part that it has of the steps: what is used up first
    ends it.
    """

    def __init__(self, settings: TrainSettings, history: History, *, steps_per_epoch: int, plateau: bool) -> None:
        self.history, self.steps_per_epoch, self.plateau = history, steps_per_epoch, plateau
        self.budget, self.max_steps = settings.seconds, settings.max_steps
        self._before, self._start = 0.0, math.nan
        self._phase, self._phase_seconds = 0, 0.0
        self._ended: int | None = None  # step before which the time of the first phase was spent
        self._epochs: list[float] = []  # mean loss of each epoch of the phase
        self._sum: Any = 0.0
        self._n = 0

    def seconds(self) -> float:
        """Seconds of training so far, over all resumed runs."""
        return self._before + (0.0 if math.isnan(self._start) else time.monotonic() - self._start)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Keep Lightning's hints to itself in a spawned process too: this is the first thing that happens there."""
        self.__dict__.update(state)
        quiet_loggers()
        warnings.filterwarnings("ignore", module=r"lightning\..*")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        if self._ended is not None:
            cast("Objective", pl_module).end_phase(self._ended)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rates."""
        objective = cast("Objective", pl_module)
        self.history.seconds = seconds = self.seconds()
        phase, begin, end = objective.phase(trainer.global_step, self.max_steps)
        if phase != self._phase:
            self._phase, self._phase_seconds = phase, seconds
            self._epochs, self._sum, self._n = [], 0.0, 0
        step = trainer.global_step - begin
        time_left = max(self._time(end) - self._phase_seconds, 1e-9)
        progress = max(step / (end - begin), (seconds - self._phase_seconds) / time_left)
        objective.progress = max(trainer.global_step / self.max_steps, seconds / self.budget)
        for optimizer, settings in zip(trainer.optimizers, objective.all_optimizer_settings, strict=True):
            n = n_plateaus(self._epochs, settings.plateau_patience, settings.plateau_delta) if self.plateau else 0
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(progress, step, n)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the mean loss of an epoch; stop all ranks together when the time is spent."""
        if self.plateau:
            self._sum, self._n = self._sum + loss_of(trainer, outputs).double(), self._n + 1
            if completes_step(trainer, batch_idx) and trainer.global_step % self.steps_per_epoch == 0:
                mean = torch.as_tensor(self._sum / self._n, device=pl_module.device)
                self._epochs.append(float(trainer.strategy.reduce(mean, reduce_op="mean")))
                self._sum, self._n = 0.0, 0
        if self.budget < math.inf and completes_step(trainer, batch_idx):
            objective = cast("Objective", pl_module)
            _, _, end = objective.phase(trainer.global_step - 1, self.max_steps)  # of the step that was done last
            seconds = self.seconds()
            used = [float(seconds >= self.budget), float(end > trainer.global_step and seconds >= self._time(end))]
            spent = torch.tensor(used, device=pl_module.device)
            over, phase_over = trainer.strategy.reduce(spent, reduce_op="sum").tolist()
            if over > 0:
                trainer.should_stop = True
            elif phase_over > 0:
                self._ended = trainer.global_step
                objective.end_phase(self._ended)

    def _time(self, end: int) -> float:
        """Seconds of the run after which a phase that ends with a step shall end."""
        return self.budget * end / self.max_steps

    def state_dict(self) -> dict[str, Any]:
        """Seconds so far, and where in its phase the run is."""
        return {
            "seconds": self.seconds(), "phase": self._phase, "phase_seconds": self._phase_seconds,
            "epochs": list(self._epochs), "sum": float(self._sum), "n": self._n, "ended": self._ended,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._before = float(state_dict["seconds"])
        self._phase, self._phase_seconds = int(state_dict["phase"]), float(state_dict["phase_seconds"])
        self._epochs, self._sum, self._n = list(state_dict["epochs"]), state_dict["sum"], int(state_dict["n"])
        self._ended = state_dict.get("ended")


def n_plateaus(values: Sequence[float], patience: int, delta: float) -> int:
    """Count how often ``patience`` values in succession were not below the least before them by more than ``delta``.

    Examples
    --------
    >>> n_plateaus([3.0, 2.0, 2.0, 2.0, 2.0, 1.0], patience=2, delta=0.0)
    1
    >>> n_plateaus([3.0, 2.9, 2.8, 2.7], patience=2, delta=0.5)
    1
    """
    best, waited, found = math.inf, 0, 0
    for value in values:
        if value < best - delta:
            best, waited = value, 0
        else:
            waited += 1
            if waited == patience:
                found, waited = found + 1, 0
    return found


class Progress(Callback):
    """A progress bar on the terminal: step, loss, speed, time left."""

    def __init__(self, *, total: int, first: int) -> None:
        self.total, self.first = total, first
        self._bar: Any = None
        self._task: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if not trainer.is_global_zero:
            return
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("training"), progress.BarColumn(), progress.MofNCompleteColumn(),
            progress.TextColumn("loss {task.fields[loss]}"), progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=self.total, completed=self.first, loss="-")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar; reading the loss waits for the device, so only now and then."""
        if self._bar is not None and completes_step(trainer, batch_idx):
            shown = {"loss": f"{float(loss_of(trainer, outputs)):.4g}"} if trainer.global_step % 10 == 0 else {}
            self._bar.update(self._task, completed=trainer.global_step, **shown)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the bar behind: processes that are spawned make their own."""
        return {**self.__dict__, "_bar": None, "_task": None}
