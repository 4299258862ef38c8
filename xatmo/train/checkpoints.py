"""Checkpoints of a run: between two steps, validated, whole; and how a run is interrupted."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from xatmo.train.batches import n_samples
from xatmo.train.history import History, completes_step

if TYPE_CHECKING:
    from xatmo.train.objectives import Objective

NEVER = 1 << 60
"""Batches between validations, for Lightning: here `Keeper` says when."""

_ASKED_EVERY = 10  # steps after which processes with a GPU each ask one another: that waits for the GPUs


class Interrupt:
    """Ctrl-C asks the run to stop after the step at hand; a second one raises at once.

    Attributes
    ----------
    asked : int
        The signal that came first; 0: none.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._twice = self._spawned = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Listen in a process that was started to train: with the trainer's parts this is what comes there first."""
        self.__dict__.update(state)
        self._spawned = True
        self.take_over()

    @contextmanager
    def listening(self, processes: Callable[[], Iterable[Any]] | None = None) -> Iterator[None]:
        """Take over SIGINT, in the main thread only (elsewhere Python does not allow it); put it back afterwards.

        Parameters
        ----------
        processes : callable, optional
            Gives the processes that train in place of this one. SIGTERM is taken over, too, then, and they are told of
            either: a signal may come to this process alone, or to all of them from a terminal.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT,) if processes is None else (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}

        def handle(number: int, frame: FrameType | None) -> None:
            self._handle(number, frame)
            for process in processes() if processes is not None else ():
                process.terminate()

        for number in numbers:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_over(self) -> None:
        """Hear SIGINT and SIGTERM in one of several processes that train together.

        Lightning, which puts back afterwards what was there before, has SIGTERM wait for the other processes inside of
        the handler, for ever.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._twice and self._spawned:  # where KeyboardInterrupt would pass for a good end
                raise SystemExit(128 + number)
            if self._twice:
                raise KeyboardInterrupt
            self._twice = True
        self.asked = self.asked or number


class Keeper(Callback):
    """Validate at the end of each epoch and of the run; keep ``best.ckpt``; keep ``last.ckpt``, also on interruption.

    A checkpoint is of a moment between two steps, after the validation of the first where there is one: a resumed run
    has nothing to make up for. Files are written beside their place and renamed, so that one is whole or absent.

    Parameters
    ----------
    folder : Path
    every : int
        Steps between saves: whole epochs.
    validate_every : int, optional
        Steps between validations. None: there are no data for it.
    history : History
    patience : int, optional
        Validations without improvement that end the run.
    stop : Interrupt
    """

    def __init__(
        self, folder: Path, *, every: int, validate_every: int | None, history: History, patience: int | None,
        stop: Interrupt,
    ) -> None:  # fmt: skip
        self.folder, self.every, self.validate_every = folder, every, validate_every
        self.history, self.patience, self.stop = history, patience, stop
        self.best, self.waited, self.finished, self.phase = math.inf, 0, False, 0
        self.interrupted = 0
        self._sum, self._n = 0.0, 0
        self._saved = -1
        self._between = True  # no weights are being changed, no gradients and no validation are waited for

    # ------------------------------------------------------------------ when
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once where patience had come to its end."""
        if trainer.world_size > 1:
            self.stop.take_over()
        self._look(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Remember that weights are being changed, from now to the end of the batch."""
        self._between = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, stop when asked; both after the validation of the step, where there is one."""
        step = trainer.global_step
        complete = completes_step(trainer, batch_idx)
        ends = trainer.should_stop or step == trainer.max_steps
        due = complete and self.validate_every is not None and (ends or step % self.validate_every == 0)
        trainer.val_check_batch = 1 if due else NEVER
        self._between = complete and not due
        if self._between:
            self._pause(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with the best so far of the phase."""
        objective = cast("Objective", pl_module)
        totals = torch.tensor([self._sum, float(self._n)], device=pl_module.device)
        self._sum, self._n = 0.0, 0
        total, n = trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        loss = total / n if n else math.nan
        self.history.validated(trainer, loss)
        phase, _, _ = objective.phase(trainer.global_step - 1, trainer.max_steps)  # of the step that was done last
        if phase != self.phase:
            self.best, self.waited, self.phase = math.inf, 0, phase
        if not objective.keeps_best:
            self.best = loss
        elif loss < self.best:
            self.best, self.waited = loss, 0
            self._save(trainer, "best.ckpt")
        else:
            self.waited += 1
            self._look(trainer, pl_module)
        self._between = True
        self._pause(trainer)

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

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run, marked as such."""
        self.finished = True
        self._save(trainer, "last.ckpt")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a run that can be resumed.

        Of several processes the others may be gone: what was saved last counts, be it when all agreed to stop.
        """
        asked = isinstance(exception, (KeyboardInterrupt, SystemExit))  # Ctrl-C, or SIGTERM between two steps
        between = self._between and not cast("Objective", pl_module).stepping
        if asked and between and trainer.world_size == 1 and trainer.global_step > self._saved:
            self._save(trainer, "last.ckpt")

    # ------------------------------------------------------------------ what
    def state_dict(self) -> dict[str, Any]:
        """Best loss so far of the phase, and whether the run is finished, or by which signal it was interrupted."""
        return {
            "best": self.best, "waited": self.waited, "finished": self.finished, "phase": self.phase,
            "interrupted": self.interrupted,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best, self.waited = float(state_dict["best"]), int(state_dict["waited"])
        self.phase = int(state_dict["phase"])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count the batches that are done, for Lightning, which counts those that were cut off as well."""
        done = trainer.global_step * trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(counts, done))

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run where patience is over. Only in the last phase: what an earlier one leaves was not asked for."""
        if self.patience is None or self.waited < self.patience:
            return
        _, _, end = cast("Objective", pl_module).phase(max(trainer.global_step - 1, 0), trainer.max_steps)
        if end == trainer.max_steps:
            trainer.should_stop = True

    def _pause(self, trainer: Trainer) -> None:
        """Do what is done between two steps."""
        if trainer.world_size > 1:
            self.interrupted = self._agreed(trainer)
            if self.interrupted:
                self._save(trainer, "last.ckpt")
                raise SystemExit(128 + self.interrupted)
        elif self.stop.asked:
            raise KeyboardInterrupt
        if trainer.global_step % self.every == 0:
            self._save(trainer, "last.ckpt")

    def _agreed(self, trainer: Trainer) -> int:
        """Give the signal that has come to any of several processes, to all of them after the same step."""
        device = trainer.strategy.root_device
        if device.type != "cpu" and trainer.global_step % _ASKED_EVERY:
            return 0
        numbers = (signal.SIGINT, signal.SIGTERM)
        came = torch.tensor([float(self.stop.asked == number) for number in numbers], device=device)
        total = cast(torch.Tensor, trainer.strategy.reduce(came, reduce_op="sum")).tolist()
        return next((int(number) for number, n in zip(numbers, total, strict=True) if n), 0)

    def _save(self, trainer: Trainer, name: str) -> None:
        place = self.folder / f".{name}.part"
        trainer.save_checkpoint(place, weights_only=False)
        if trainer.is_global_zero:
            os.replace(place, self.folder / name)
        trainer.strategy.barrier()
        if name == "last.ckpt":
            self._saved = trainer.global_step
