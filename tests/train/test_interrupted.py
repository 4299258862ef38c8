"""Runs that are cut off at every kind of moment: weights, history and choice are those of an uninterrupted run."""

from __future__ import annotations

import math
import pickle
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException

from tests.support.training import same
from tests.train.test_fit import SETTINGS, Numbers
from xatmo.errors import ProcessError
from xatmo.train import FitResult, OptimizerSettings, Supervised, fit
from xatmo.train.checkpoints import Interrupt
from xatmo.train.fit import _raise_as_meant
from xatmo.train.history import read

PER_EPOCH = 6
LONG = replace(SETTINGS, max_steps=70)  # a save is after 54 steps, whole epochs
# Validation losses by step: the best is that of the step that is saved, and the last one is worse than it.
SCRIPT = {step: 1.0 + 0.01 * step for step in range(6, 71)} | {54: 0.5}


class Killed(Exception):
    """Stands for SIGKILL: nothing is saved."""


class Watched(Supervised):
    """Does something in a step of training or validation; validation losses may be given."""

    def __init__(self, what: Mapping[tuple[str, int], Callable[[], Any]], script: Mapping[int, float] | None) -> None:
        torch.manual_seed(0)
        optimizer = OptimizerSettings(learning_rate=0.1)
        super().__init__(nn.Conv2d(1, 1, 1), optimizer=optimizer, augmentation="symmetries")
        self.what, self.script, self.validated = dict(what), script, 0

    def _do(self, where: str, at: int) -> None:
        self.what.pop((where, at), lambda: None)()

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        self._do("step", self.global_step)
        return super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._do("update", self.global_step)

    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self._do("validation", self.validated)
        self.validated += 1
        made = super().validation_step(batch, batch_idx)
        return made if self.script is None else torch.tensor(self.script[self.global_step])


def killed() -> None:
    raise Killed


def interrupted() -> None:
    raise KeyboardInterrupt


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def run(
    what: Mapping[tuple[str, int], Callable[[], Any]] | None = None, *, validation: int = 3, settings: Any = SETTINGS,
    script: Mapping[int, float] | None = None, **options: Any,
) -> tuple[FitResult, Watched]:  # fmt: skip
    module = Watched(what or {}, script)
    held_out = Numbers(validation) if validation else None
    return fit(module, Numbers(PER_EPOCH), settings, validation=held_out, progress=False, **options), module


def stop(what: Mapping[tuple[str, int], Callable[[], Any]], folder: Path, **options: Any) -> int:
    """Run into it; give the step from which the run will go on."""
    with pytest.raises((Killed, KeyboardInterrupt)):
        run(what, run_dir=folder, **options)
    last = folder / "last.ckpt"
    return int(torch.load(last)["global_step"]) if last.exists() else 0


def rows(result: FitResult) -> list[dict[str, Any]]:
    """History without times; an absent number is equal to an absent one."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items() if k != "seconds"}
        for row in result.history
    ]


def require_same(resumed: tuple[FitResult, Watched], whole: tuple[FitResult, Watched]) -> None:
    assert same(resumed[1], whole[1])
    assert rows(resumed[0]) == rows(whole[0])
    assert resumed[0].best_validation_loss == whole[0].best_validation_loss


@pytest.mark.parametrize(
    ("what", "goes_on_from"),
    [
        ({("step", 8): ctrl_c}, 9),
        ({("step", 11): ctrl_c}, 12),  # validated first
        ({("step", 12): ctrl_c}, 13),  # the last one
        ({("step", 6): interrupted}, 6),
        ({("step", 8): interrupted}, 8),  # as a second Ctrl-C does
        ({("update", 8): interrupted}, 0),  # weights may be changed in part
        ({("validation", 1): ctrl_c}, 6),
        ({("validation", 5): ctrl_c}, 12),
        ({("validation", 1): interrupted}, 0),  # half a validation is none
        ({("validation", 8): killed}, 0),
    ],
)
def test_at_any_moment(what: Any, goes_on_from: int, tmp_path: Path) -> None:
    assert stop(what, tmp_path) == goes_on_from
    require_same(run(run_dir=tmp_path), run())


@pytest.mark.parametrize("step", [55, 61, 69])
def test_the_best_of_before_is_not_forgotten(step: int, tmp_path: Path) -> None:
    assert stop({("step", step): killed}, tmp_path, settings=LONG, script=SCRIPT) == 54
    resumed = run(run_dir=tmp_path, settings=LONG, script=SCRIPT)
    assert resumed[0].best_validation_loss == 0.5
    assert torch.load(tmp_path / "best.ckpt")["global_step"] == 54
    require_same(resumed, run(settings=LONG, script=SCRIPT))


def test_a_validation_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    """Killed in that of step 54, and again in that of step 60, after the save of 54."""
    for at in (8 * 3 + 1, 9 * 3 + 1):
        assert stop({("validation", at): killed}, tmp_path / str(at), settings=LONG) == (54 if at == 28 else 0)
        require_same(run(run_dir=tmp_path / str(at), settings=LONG), run(settings=LONG))


def test_patience_counts_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=48, patience=3)
    script = {step: float(step) for step in range(6, 49)}
    whole = run(settings=settings, script=script)
    assert whole[0].steps == 24
    for step, expected in ((13, 14), (23, 24)):  # the second in the step that ends the run
        folder = tmp_path / str(step)
        assert stop({("step", step): ctrl_c}, folder, settings=settings, script=script) == expected
        require_same(run(run_dir=folder, settings=settings, script=script), whole)


def test_interrupted_twice_with_several_batches_a_step(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=9, accumulate=2)
    assert stop({("step", 4): interrupted}, tmp_path, settings=settings) == 4
    assert stop({("step", 6): ctrl_c}, tmp_path, settings=settings) == 7
    require_same(run(run_dir=tmp_path, settings=settings), run(settings=settings))


def test_means_over_several_steps_are_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=600)  # a row for each three steps
    whole = run(settings=settings, validation=0)
    assert len(whole[0].history) == 200
    assert stop({("step", 100): ctrl_c}, tmp_path, settings=settings, validation=0) == 101
    assert stop({("step", 105): killed}, tmp_path, settings=settings, validation=0) == 101
    require_same(run(run_dir=tmp_path, settings=settings, validation=0), whole)


def test_a_row_that_was_cut_off_is_no_row(tmp_path: Path) -> None:
    stop({("step", 8): ctrl_c}, tmp_path)
    with (tmp_path / "history.csv").open("a") as file:
        file.write("1")
    assert [row["step"] for row in read(tmp_path / "history.csv")] == list(range(1, 10))
    require_same(run(run_dir=tmp_path), run())


def test_ctrl_c_while_the_end_is_saved_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo.train.checkpoints import Keeper

    usual = Keeper.on_train_end

    def on_train_end(self: Any, *given: Any) -> None:
        ctrl_c()
        usual(self, *given)

    monkeypatch.setattr(Keeper, "on_train_end", on_train_end)
    assert stop({}, tmp_path) == 13
    monkeypatch.undo()
    resumed, module = run(run_dir=tmp_path)
    assert module.validated == 0  # only read
    assert rows(resumed) == rows(run()[0])


# ---------------------------------------------------------------------- several processes
def test_how_processes_ended_is_what_is_raised(tmp_path: Path) -> None:
    error = ProcessExitedException("process 1 terminated", error_index=1, error_pid=1, exit_code=-9)
    killed, ended = SimpleNamespace(exitcode=-signal.SIGKILL), SimpleNamespace(exitcode=-signal.SIGTERM)
    with pytest.raises(ProcessError, match=r"one of the 2 processes .* ended by SIGKILL .* goes on from step 0"):
        _raise_as_meant(error, Interrupt(), tmp_path, 0, [ended, killed])
    with pytest.raises(ProcessError, match="ended by SIGTERM"):
        _raise_as_meant(error, Interrupt(), tmp_path, 0, [ended, SimpleNamespace(exitcode=1)])
    _raise_as_meant(error, Interrupt(), tmp_path, 0, [SimpleNamespace(exitcode=1)])  # nothing that is known
    for step, number, kind in ((8, signal.SIGINT, KeyboardInterrupt), (8, signal.SIGTERM, SystemExit)):
        state = {"global_step": step, "callbacks": {"Keeper": {"interrupted": int(number)}}}
        torch.save(state, tmp_path / "last.ckpt")
        with pytest.raises(kind):
            _raise_as_meant(error, Interrupt(), tmp_path, 0, [ended, killed])
        with pytest.raises(ProcessError, match="from step 8"):  # of the run before
            _raise_as_meant(error, Interrupt(), tmp_path, 8, [ended, killed])


def test_signals_in_a_process_that_was_started_to_train() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = pickle.loads(pickle.dumps(Interrupt()))
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGTERM
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGINT)
        assert ended.value.code == 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_signals_are_passed_on_to_processes() -> None:
    told: list[str] = []
    process = SimpleNamespace(terminate=lambda: told.append("terminate"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = Interrupt()
    with stop.listening(lambda: [process, process]):
        signal.raise_signal(signal.SIGTERM)
        assert (stop.asked, told) == (signal.SIGTERM, ["terminate"] * 2)
    assert {number: signal.getsignal(number) for number in before} == before
