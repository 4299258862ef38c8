"""The one entry through which everything is trained."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from xatmo import errors
from xatmo.errors import CheckpointError, ConfigError, OptionError, ProcessError
from xatmo.train.batches import Batches, Endless, OnePass
from xatmo.train.callbacks import Draws, Finite, Progress, Schedule
from xatmo.train.checkpoints import NEVER, Interrupt, Keeper
from xatmo.train.history import History, read
from xatmo.train.settings import TrainSettings

if TYPE_CHECKING:
    from xatmo.train.objectives import Objective

RUN, LAST, BEST, HISTORY = "run.json", "last.ckpt", "best.ckpt", "history.csv"
_SECONDS_TO_END: Final = 5.0  # that a process of the training has when the training is over


@dataclass(frozen=True)
class FitResult:
    """What a run leaves.

    Attributes
    ----------
    history : list of dict
        ``step``, ``epoch``, ``loss``, ``validation_loss``, ``learning_rate``, ``seconds``, and what the objective adds.
    steps : int
        Optimiser steps done, over all resumed runs.
    seconds : float
        Time spent training.
    best_validation_loss : float or None
        The loss of the weights that were kept, lowest or last, where there was a validation set.
    precision : str
    """

    history: list[dict[str, Any]]
    steps: int
    seconds: float
    best_validation_loss: float | None
    precision: str


def fit(
    objective: Objective,
    train: Batches,
    settings: TrainSettings,
    *,
    validation: Batches | None = None,
    run_dir: str | Path | None = None,
    resume: bool = True,
    identity: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> FitResult:
    """Train ``objective`` in place.

    Parameters
    ----------
    objective : Objective
        Such as `Supervised` or `Adversarial`.
    train, validation : Batches
        With a validation source the weights of the lowest validation loss are kept, otherwise, or where the objective
        says so, the last ones. It is read once per epoch, and at the end.
    settings : TrainSettings
    run_dir : str or Path, optional
        Where checkpoints (``last.ckpt``, ``best.ckpt``), ``history.csv`` and ``run.json`` go. None: a temporary
        directory that is removed.
    resume : bool
        Go on from ``last.ckpt`` in ``run_dir``, where there is one; the result is that of an uninterrupted run. A
        finished run is only read. False: start anew.
    identity : mapping, optional
        What else makes the run what it is (JSON); a resumed run has to have the same.
    progress : bool
        Show a progress bar.

    Returns
    -------
    FitResult

    Raises
    ------
    ConfigError
        If ``run_dir`` holds a run with other settings.
    CheckpointError
        If its checkpoint cannot be read.
    OptionError
        If the machine has no such devices.
    MissingValueError
        If the loss is no longer a finite number.
    ProcessError
        If one of several processes was killed.
    KeyboardInterrupt
        After Ctrl-C, once the step at hand is done and saved.
    SystemExit
        After SIGTERM, likewise; the status is 143. Of several processes, one may get either signal, or that which
        started them.
    """
    folder = Path(tempfile.mkdtemp(prefix="xatmo-")) if run_dir is None else Path(run_dir)
    try:
        return _fit(objective, train, settings, validation, folder, resume, dict(identity or {}), progress)
    finally:
        if run_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _fit(
    objective: Objective,
    train: Batches,
    settings: TrainSettings,
    validation: Batches | None,
    folder: Path,
    resume: bool,
    identity: dict[str, Any],
    progress: bool,
) -> FitResult:
    objective.prepare(settings)
    same = {**identity, **objective.identity(), **asdict(settings)}
    same["validation"] = validation is not None
    del same["accelerator"]  # a run may move to another machine
    if settings.accumulate == 1:
        del same["accumulate"]  # as runs were described that knew nothing else
    before = _open_run(folder, same, resume=resume)
    first = 0 if before is None else int(before["global_step"])
    precision = settings.resolved_precision()
    if before is None or not _keeper_state(before).get("finished", False):
        # Optimiser steps, the last of which may reach into the next epoch.
        per_epoch = math.ceil(train.n_batches(settings.devices) / settings.accumulate)
        history = History(
            folder / HISTORY, steps_per_epoch=per_epoch, first=first, every=max(1, min(50, settings.max_steps // 200)),
            parts=objective.loss_names,
        )  # fmt: skip
        stop = Interrupt()
        every = per_epoch * max(1, math.ceil(50 / per_epoch))  # whole epochs, and at least fifty steps
        watched = None if validation is None else per_epoch
        callbacks: list[pl.Callback] = [
            Draws(settings.seed),
            Schedule(
                settings,
                history,
                steps_per_epoch=per_epoch,
                plateau=any(s.schedule == "plateau" for s in objective.all_optimizer_settings),
            ),
            history,
            Finite(every=every, tolerated=50 if precision == "16-mixed" else 0),
            Keeper(folder, every=every, validate_every=watched, history=history, patience=settings.patience, stop=stop),
        ]
        if progress:
            callbacks.append(Progress(total=settings.max_steps, first=first))
        manual = not objective.automatic_optimization
        nodes = nodes_of(settings.devices)
        trainer: Any = None
        spawned = partial(_processes, lambda: trainer)
        with _quiet(), stop.listening(spawned if _spawns(settings.devices) else None), _own_draws():
            try:
                trainer = pl.Trainer(
                    accelerator=settings.accelerator, devices=settings.devices // nodes, num_nodes=nodes,
                    strategy=_strategy(settings.devices, part_by_part=manual),
                    precision=cast(Any, precision), max_steps=settings.max_steps, max_epochs=-1, logger=False,
                    callbacks=callbacks, accumulate_grad_batches=settings.accumulate,
                    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                    gradient_clip_val=None if manual else settings.gradient_clip or None, use_distributed_sampler=False,
                    default_root_dir=folder, num_sanity_val_steps=0,
                    val_check_interval=None if validation is None else NEVER, check_val_every_n_epoch=None,
                    limit_val_batches=0 if validation is None else 1.0,
                )  # fmt: skip
            except MisconfigurationException as error:
                message = (
                    f"accelerator={settings.accelerator!r}, devices={settings.devices} cannot be had here ({error}); "
                    "wanted what this machine has: accelerator='auto' takes it, with devices=1"
                )
                raise OptionError(message) from error
            loaders = (Endless(train, first * settings.accumulate), None if validation is None else OnePass(validation))
            objective.train()
            try:
                trainer.fit(
                    objective,
                    *loaders,
                    ckpt_path=None if before is None else folder / LAST,
                    weights_only=None if before is None else True,
                )
            except (SystemExit, ProcessExitedException, ProcessRaisedException) as error:
                _raise_as_meant(error, stop, folder, first, spawned())
                raise
            finally:
                _end(spawned())
            if stop.asked:  # while the end was being saved
                _stopped(stop.asked)
    end = _read_checkpoint(folder / LAST)
    _tell_phases(objective, settings, end)
    best = validation is not None and objective.keeps_best and (folder / BEST).exists()
    objective.load_state_dict((_read_checkpoint(folder / BEST) if best else end)["state_dict"])
    objective.finish()
    objective.eval()
    return FitResult(
        history=read(folder / HISTORY),
        steps=int(end["global_step"]),
        seconds=float(end["callbacks"]["Schedule"]["seconds"]),
        best_validation_loss=float(_keeper_state(end)["best"]) if validation is not None else None,
        precision=precision,
    )


def _tell_phases(objective: Objective, settings: TrainSettings, end: Mapping[str, Any]) -> None:
    """Let the objective know where its phases ended, also in another process, and warn where the last never began."""
    ended = end["callbacks"]["Schedule"].get("ended")
    if ended is not None:
        objective.end_phase(int(ended))
    steps = int(end["global_step"])
    _, _, last = objective.phase(max(steps - 1, 0), settings.max_steps)
    if last < settings.max_steps:
        logging.getLogger(__name__).warning(
            "max_time=%r was over after %d steps, before the second phase began; give more time", settings.max_time,
            steps,
        )  # fmt: skip


def _open_run(folder: Path, same: dict[str, Any], *, resume: bool) -> dict[str, Any] | None:
    """Compare with what the directory holds; give the checkpoint to go on from, if any."""
    if folder.exists() and not folder.is_dir():
        message = f"run_dir={str(folder)!r} is a file; wanted a directory, which may be new"
        raise ConfigError(message)
    folder.mkdir(parents=True, exist_ok=True)
    same = json.loads(json.dumps(same))
    if resume and (folder / RUN).exists():
        try:
            had = json.loads((folder / RUN).read_text())
        except ValueError as error:
            message = f"{str(folder / RUN)!r} is truncated; pass resume=False to start anew, or another run_dir"
            raise CheckpointError(message) from error
        differ = list(_differences(had, same))
        if differ:
            shown = "; ".join(f"{name} was {before!r} and is {now!r}" for name, before, now in differ)
            message = (
                f"the run in {str(folder)!r} was started with other settings: {shown}. Use the same settings to go on, "
                "resume=False to start anew, or another run_dir"
            )
            raise ConfigError(message)
        return _read_checkpoint(folder / LAST) if (folder / LAST).exists() else None
    for name in (LAST, BEST, HISTORY):
        (folder / name).unlink(missing_ok=True)
    part = folder / f".{RUN}.part"
    part.write_text(json.dumps(same, indent=1))
    os.replace(part, folder / RUN)
    return None


def _differences(had: Mapping[str, Any], has: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name what differs, inside mappings by the path to it."""
    for name in sorted({*had, *has}):
        before, now = had.get(name), has.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from ((f"{name}.{inner}", a, b) for inner, a, b in _differences(before, now))
        elif before != now:
            yield name, before, now


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and file errors of many types
        message = f"the checkpoint {str(path)!r} cannot be read ({(str(error).splitlines() or [''])[0][:150]}); "
        message += "pass resume=False to start anew"
        raise CheckpointError(message) from error
    return found


def _keeper_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint["callbacks"]["Keeper"]
    return state


def _strategy(devices: int, *, part_by_part: bool) -> str:
    """Name the strategy; ``part_by_part``: a backward pass reaches some of the weights only."""
    if devices == 1:
        return "auto"
    # Under torchrun or SLURM the processes are there; elsewhere they are spawned, which works from a function.
    name = "ddp" if "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ else "ddp_spawn"
    return f"{name}_find_unused_parameters_true" if part_by_part else name


def nodes_of(devices: int) -> int:
    """Tell on how many nodes the processes of a SLURM job step run, one for each device; 1 elsewhere.

    Parameters
    ----------
    devices : int
        On all nodes together.

    Raises
    ------
    OptionError
        If they are not the same number on each node.

    Examples
    --------
    >>> nodes_of(1)
    1
    """
    nodes, tasks = (int(os.environ.get(f"SLURM_{name}", 1)) for name in ("NNODES", "NTASKS"))
    if devices == 1 or nodes == 1 or "SLURM_PROCID" not in os.environ or tasks != devices:
        return 1
    if devices % nodes:
        message = f"devices={devices} on {nodes} nodes of a SLURM job; wanted the same number on each node"
        raise OptionError(message)
    return nodes


# ---------------------------------------------------------------------- how a run ends that does not end well
def _spawns(devices: int) -> bool:
    """Whether other processes train, which this one starts."""
    return _strategy(devices, part_by_part=False) == "ddp_spawn"


def _processes(trainer: Callable[[], Any]) -> list[Any]:
    """Give the processes that a trainer has started."""
    launcher = None if trainer() is None else trainer().strategy.launcher
    return list(getattr(launcher, "procs", []))


def _end(processes: Sequence[Any]) -> None:
    """Leave no process behind."""
    for process in processes:
        process.join(_SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join()


def _raise_as_meant(error: BaseException, stop: Interrupt, folder: Path, first: int, processes: Sequence[Any]) -> None:
    """Raise what the end of a process, or of several, means for who called."""
    state = _read_checkpoint(folder / LAST) if (folder / LAST).exists() else None
    saved = 0 if state is None else int(state["global_step"])
    # Where the processes agreed to stop, they saved how; else it is an older save.
    told = 0 if state is None or saved <= first else int(_keeper_state(state).get("interrupted", 0))
    if stop.asked or told:
        _stopped(stop.asked or told)
    if isinstance(error, SystemExit):  # Lightning exits after Ctrl-C, and at SIGTERM
        _stopped(signal.SIGINT if isinstance(error.__context__, KeyboardInterrupt) else signal.SIGTERM)
    _reraise_ours(error)
    killed = [-p.exitcode for p in processes if p.exitcode is not None and p.exitcode < 0]
    if killed:
        # What the others raise when one is gone says nothing; neither does that they were ended then, by SIGTERM.
        number = next((n for n in killed if n != signal.SIGTERM), signal.SIGTERM)
        message = (
            f"one of the {len(processes)} processes of the training was ended by {signal.Signals(number).name} (as the "
            f"system does where memory runs out); with a run_dir, the same call goes on from step {saved}"
        )
        raise ProcessError(message) from None


def _stopped(number: int) -> NoReturn:
    """Raise what a signal means: 143 is not the 0 of a run that is done."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt from None
    raise SystemExit(128 + signal.SIGTERM) from None


def _reraise_ours(error: BaseException) -> None:
    """Raise an error of ours that ended a spawned process as what it was there."""
    found = re.findall(r"^xatmo\.errors\.(\w+): (.*)$", str(error), flags=re.MULTILINE)
    kind = getattr(errors, found[-1][0], None) if found else None
    if isinstance(kind, type) and issubclass(kind, errors.XatmoError):
        raise kind(found[-1][1]) from error


@contextmanager
def _own_draws() -> Iterator[None]:
    """Leave the caller's random numbers as they would be without the run."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's hints on devices and loaders to itself, and torch's on processes that it ends."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning", "torch.multiprocessing.spawn")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", module=r"torch\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
