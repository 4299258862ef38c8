"""What happens between steps: schedule and budget, checkpoints, validation, progress."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from xatmo.train.history import History
from xatmo.train.settings import OptimizerSettings, TrainSettings


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


class Schedule(Callback):
    """Set the learning rate before each step; stop when the time budget is spent.

    Progress is the larger of the part of the steps and the part of the time: either way the rate ends low.
    """

    def __init__(self, optimizer: OptimizerSettings, settings: TrainSettings, history: History) -> None:
        self.history = history
        self.optimizer, self.budget, self.max_steps = optimizer, settings.seconds, settings.max_steps
        self._before, self._start = 0.0, math.nan

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

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate."""
        self.history.seconds = self.seconds()
        progress = max(trainer.global_step / self.max_steps, self.history.seconds / self.budget)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.optimizer.rate(progress)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop all ranks together when the time is spent."""
        if self.budget < math.inf:
            spent = torch.tensor(float(self.seconds() >= self.budget), device=pl_module.device)
            if float(trainer.strategy.reduce(spent, reduce_op="sum")) > 0:
                trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Seconds so far."""
        return {"seconds": self.seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._before = float(state_dict["seconds"])


class Keeper(Callback):
    """Keep ``last.ckpt`` every ``every`` steps, at the end and on interruption; validate; keep ``best.ckpt``.

    Files are written beside their place and renamed, so that a checkpoint is whole or absent.
    """

    def __init__(self, folder: Path, *, every: int, history: History, patience: int | None, stop: Interrupt) -> None:
        self.folder, self.every, self.history, self.patience, self.stop = folder, every, history, patience, stop
        self.best, self.waited, self.finished = math.inf, 0, False
        self._sum, self._n = 0.0, 0
        self._saved = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time; stop when asked."""
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
        self._sum += float(outputs) * len(batch[0])
        self._n += len(batch[0])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with the best so far."""
        totals = torch.tensor([self._sum, float(self._n)], device=pl_module.device)
        self._sum, self._n = 0.0, 0
        total, n = trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        loss = total / n if n else math.nan
        self.history.validated(trainer, loss)
        if loss < self.best:
            self.best, self.waited = loss, 0
            self._save(trainer, "best.ckpt")
        else:
            self.waited += 1
            if self.patience is not None and self.waited >= self.patience:
                trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run, marked as such."""
        self.finished = True
        self._save(trainer, "last.ckpt")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a run that can be resumed. In a distributed run the others may be gone: then the last save counts."""
        asked = isinstance(exception, (KeyboardInterrupt, SystemExit))  # Ctrl-C, or SIGTERM between two steps
        if asked and trainer.world_size == 1 and trainer.global_step > self._saved:
            self._save(trainer, "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """Best loss so far, and whether the run is finished."""
        return {"best": self.best, "waited": self.waited, "finished": self.finished}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best, self.waited = float(state_dict["best"]), int(state_dict["waited"])

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
        if self._bar is not None:
            shown = {"loss": f"{float(outputs['loss']):.4g}"} if trainer.global_step % 10 == 0 else {}
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
