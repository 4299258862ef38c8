"""What happens between steps: schedule and budget, checkpoints, validation, progress."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from xatmo.errors import MissingValueError
from xatmo.train.batches import n_samples
from xatmo.train.history import History, completes_step, loss_of
from xatmo.train.settings import TrainSettings

if TYPE_CHECKING:
    from xatmo.train.objectives import Objective


def quiet_loggers() -> None:
    """Let Lightning's loggers pass errors only."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Interrupt:
    """Ctrl-C asks the run to stop after the step at hand; a second one raises at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over SIGINT, in the main thread only (elsewhere Python does not allow it); put it back afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def handle(number: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


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


class Keeper(Callback):
    """Keep ``last.ckpt`` every ``every`` steps, at the end and on interruption; validate; keep ``best.ckpt``.

    Files are written beside their place and renamed, so that a checkpoint is whole or absent.
    """

    def __init__(self, folder: Path, *, every: int, history: History, patience: int | None, stop: Interrupt) -> None:
        self.folder, self.every, self.history, self.patience, self.stop = folder, every, history, patience, stop
        self.best, self.waited, self.finished, self.phase = math.inf, 0, False, 0
        self._sum, self._n = 0.0, 0
        self._saved = -1
        self._whole = True  # no gradients wait for the other batches of their step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time; stop when asked; both between two steps."""
        self._whole = completes_step(trainer, batch_idx)
        if not self._whole:
            return
        if self.stop.asked:
            raise KeyboardInterrupt
        if trainer.global_step % self.every == 0:
            self._save(trainer, "last.ckpt")
        if trainer.global_step == trainer.max_steps:
            trainer.val_check_batch = 1  # the last weights are validated too, wherever in an epoch the run ends

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the loss, weighted by the number of samples."""
        self._sum += float(outputs) * n_samples(batch)
        self._n += n_samples(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with the best so far of the phase."""
        objective = cast("Objective", pl_module)
        totals = torch.tensor([self._sum, float(self._n)], device=pl_module.device)
        self._sum, self._n = 0.0, 0
        total, n = trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        loss = total / n if n else math.nan
        self.history.validated(trainer, loss)
        phase, _, end = objective.phase(trainer.global_step - 1, trainer.max_steps)  # of the step that was done last
        if phase != self.phase:
            self.best, self.waited, self.phase = math.inf, 0, phase
        if not objective.keeps_best:
            self.best = loss
        elif loss < self.best:
            self.best, self.waited = loss, 0
            self._save(trainer, "best.ckpt")
        else:
            self.waited += 1
            # Only the last phase can end the run early: what an earlier one leaves is not what was asked for.
            if self.patience is not None and self.waited >= self.patience and end == trainer.max_steps:
                trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run, marked as such."""
        self.finished = True
        self._save(trainer, "last.ckpt")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a run that can be resumed. In a distributed run the others may be gone: then the last save counts."""
        asked = isinstance(exception, (KeyboardInterrupt, SystemExit))  # Ctrl-C, or SIGTERM between two steps
        between = self._whole and not cast("Objective", pl_module).stepping
        if asked and between and trainer.world_size == 1 and trainer.global_step > self._saved:
            self._save(trainer, "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """Best loss so far of the phase, and whether the run is finished."""
        return {"best": self.best, "waited": self.waited, "finished": self.finished, "phase": self.phase}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best, self.waited = float(state_dict["best"]), int(state_dict["waited"])
        self.phase = int(state_dict["phase"])

    def _save(self, trainer: Trainer, name: str) -> None:
        place = self.folder / f".{name}.part"
        trainer.save_checkpoint(place, weights_only=False)
        if trainer.is_global_zero:
            os.replace(place, self.folder / name)
        trainer.strategy.barrier()
        if name == "last.ckpt":
            self._saved = trainer.global_step


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
