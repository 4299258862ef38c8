"""The trainer: determinism, resuming, refusing, validation, several processes."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xatmo.errors import CheckpointError, ConfigError, OptionError
from xatmo.train import OptimizerSettings, Supervised, TrainSettings, fit


class Numbers:
    """Batches that depend on epoch, place and rank alone: y = 3 x + 1."""

    def __init__(self, n: int = 5, *, fail_at: int | None = None) -> None:
        self.n, self.fail_at, self.given = n, fail_at, 0

    def n_batches(self, world_size: int = 1) -> int:
        return self.n // world_size

    def batches(
        self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        for k in range(start, self.n_batches(world_size)):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            generator = torch.Generator().manual_seed(1000 * epoch + k * world_size + rank)
            x = torch.randn(4, 1, 6, 6, generator=generator)
            yield x, 3 * x + 1


def objective(**kwargs: Any) -> Supervised:
    torch.manual_seed(0)
    return Supervised(
        nn.Conv2d(1, 1, 1), optimizer=OptimizerSettings(learning_rate=0.1), augmentation="symmetries", **kwargs
    )


SETTINGS = TrainSettings(max_steps=13, accelerator="cpu", precision="32-true")


def run(source: Numbers | None = None, settings: TrainSettings = SETTINGS, **kwargs: Any) -> tuple[Any, Any]:
    module = objective()
    result = fit(module, source or Numbers(), settings, progress=False, **kwargs)
    return result, {k: v.clone() for k, v in module.network.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


def test_counts_steps_and_keeps_history() -> None:
    result, _ = run()
    assert result.steps == 13
    assert [row["step"] for row in result.history] == list(range(1, 14))
    assert [row["epoch"] for row in result.history] == [0] * 5 + [1] * 5 + [2] * 3
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    rates = [row["learning_rate"] for row in result.history]
    assert max(rates) <= 0.1
    assert rates[-1] < 0.02


def test_the_seed_decides_everything() -> None:
    assert same(run()[1], run()[1])


def test_an_interrupted_run_goes_on_as_if_nothing_happened(tmp_path: Path) -> None:
    whole, weights = run()
    with pytest.raises(KeyboardInterrupt):
        run(Numbers(fail_at=9), run_dir=tmp_path)
    assert (tmp_path / "last.ckpt").exists()
    source = Numbers()
    resumed, again = run(source, run_dir=tmp_path)
    assert same(weights, again)
    assert resumed.steps == 13
    assert source.given < 13  # it did not start anew
    assert [r["step"] for r in resumed.history] == [r["step"] for r in whole.history]
    assert [r["loss"] for r in resumed.history] == pytest.approx([r["loss"] for r in whole.history], rel=1e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_a_run_that_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    class Signalled(Numbers):
        def batches(self, epoch: int, **kwargs: Any) -> Iterator[tuple[torch.Tensor, ...]]:
            for batch in super().batches(epoch, **kwargs):
                if self.given == 7:
                    os.kill(os.getpid(), number)
                yield batch

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as ended:
        run(Signalled(), run_dir=tmp_path)
    assert number == signal.SIGINT or ended.value.code == 143
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(tmp_path / "last.ckpt")["global_step"] in (5, 6, 7)
    assert same(run(run_dir=tmp_path)[1], run()[1])


def test_a_finished_run_is_only_read(tmp_path: Path) -> None:
    _, weights = run(run_dir=tmp_path)
    source = Numbers()
    result, again = run(source, run_dir=tmp_path)
    assert source.given == 0
    assert result.steps == 13
    assert same(weights, again)


def test_resume_false_starts_anew(tmp_path: Path) -> None:
    run(run_dir=tmp_path)
    source = Numbers()
    run(source, run_dir=tmp_path, resume=False, settings=replace(SETTINGS, max_steps=4))
    assert 4 <= source.given <= 6


def test_changed_settings_are_refused_by_name(tmp_path: Path) -> None:
    run(run_dir=tmp_path, identity={"channels": 8})
    with pytest.raises(ConfigError, match=r"channels was 8 and is 16; max_steps was 13 and is 20.*resume=False"):
        run(run_dir=tmp_path, identity={"channels": 16}, settings=replace(SETTINGS, max_steps=20))


def test_a_run_needs_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(ConfigError, match=r"run_dir=.*a' is a file; wanted a directory"):
        run(run_dir=tmp_path / "a")


def test_a_truncated_checkpoint_is_one_line(tmp_path: Path) -> None:
    run(run_dir=tmp_path)
    data = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"last.ckpt' cannot be read.*resume=False"):
        run(run_dir=tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"run.json' is truncated"):
        run(run_dir=tmp_path)


def test_validation_keeps_the_best_weights(tmp_path: Path) -> None:
    result, _ = run(run_dir=tmp_path, validation=Numbers(3))
    losses = [r["validation_loss"] for r in result.history if r["validation_loss"] == r["validation_loss"]]
    assert len(losses) == 3  # after 5 and 10 of 13 steps, and at the end
    assert result.best_validation_loss == pytest.approx(min(losses))
    assert (tmp_path / "best.ckpt").exists()


def test_a_run_shorter_than_an_epoch_is_validated(tmp_path: Path) -> None:
    result, weights = run(Numbers(30), run_dir=tmp_path, validation=Numbers(3))
    assert result.history[-1]["validation_loss"] == pytest.approx(result.best_validation_loss)
    assert not math.isnan(result.history[-1]["loss"])
    with pytest.raises(KeyboardInterrupt):
        run(Numbers(30, fail_at=9), run_dir=tmp_path / "b", validation=Numbers(3))
    again, resumed = run(Numbers(30), run_dir=tmp_path / "b", validation=Numbers(3))
    assert same(weights, resumed)
    assert again.best_validation_loss == pytest.approx(result.best_validation_loss)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    whole = np.int64(3)
    settings = replace(SETTINGS, max_steps=whole, seed=whole, devices=np.int32(1), patience=whole)
    module = objective()
    module.optimizer_settings = OptimizerSettings(learning_rate=np.float32(0.1), weight_decay=np.float64(0.5))
    assert fit(module, Numbers(), settings, progress=False, run_dir=tmp_path).steps == 3
    assert type(settings.max_steps) is int


def test_patience_stops_early() -> None:
    class Worse(Numbers):
        def batches(self, epoch: int, **kwargs: Any) -> Iterator[tuple[torch.Tensor, ...]]:
            for x, y in super().batches(epoch, **kwargs):
                yield x, -y

    result, _ = run(validation=Worse(2), settings=replace(SETTINGS, max_steps=60, patience=2))
    assert result.steps < 60


def test_the_time_budget_ends_the_run() -> None:
    result, _ = run(settings=replace(SETTINGS, max_steps=10**6, max_time="00:00:01"))
    assert 1 <= result.steps < 10**6
    assert result.seconds < 60


def test_of_nested_settings_only_what_differs_is_told(tmp_path: Path) -> None:
    run(run_dir=tmp_path, identity={"network": {"mean": {"width": 8, "depth": 2}, "steps": 4}})
    with pytest.raises(ConfigError, match=r"with other settings: network.mean.width was 8 and is 16\. Use the same"):
        run(run_dir=tmp_path, identity={"network": {"mean": {"width": 16, "depth": 2}, "steps": 4}})


@pytest.mark.skipif(torch.cuda.is_available(), reason="has what is asked for")
def test_what_the_machine_has_not_is_said() -> None:
    with pytest.raises(OptionError, match="accelerator='cuda', devices=1 cannot be had here .*='auto' takes"):
        run(settings=replace(SETTINGS, accelerator="cuda", precision="32-true"))


def test_missing_targets_do_not_spread() -> None:
    class Holes(Numbers):
        def batches(self, epoch: int, **kwargs: Any) -> Iterator[tuple[torch.Tensor, ...]]:
            for x, y in super().batches(epoch, **kwargs):
                x[:, :, 0, 0] = float("nan")
                y[:, :, 0, 0] = float("nan")
                yield x, y

    _, weights = run(Holes())
    assert all(torch.isfinite(w).all() for w in weights.values())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"max_steps": 0}, "max_steps=0; wanted a whole number"),
        ({"devices": 0}, "devices=0"),
        ({"precision": "64"}, "precision='64'; possible are"),
        ({"accelerator": "abacus"}, "accelerator='abacus'; possible are"),
        ({"max_time": "5 minutes"}, "max_time='5 minutes'; wanted 'HH:MM:SS'"),
        ({"patience": 0}, "patience=0"),
        ({"seed": -1}, "seed=-1; wanted a whole number of at least 0"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text.replace("'", ".")):
        replace(SETTINGS, **change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"optimizer": "magic"}, "optimizer='magic'; possible are"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0; wanted a positive number"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0; wanted a number that is not negative"),
        ({"weight_decay": "much"}, "weight_decay='much'"),
        ({"schedule": "steps"}, "schedule='steps'; possible are"),
        ({"warmup": 1.0}, "warmup=1.0"),
    ],
)
def test_optimizer_settings_are_checked(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        OptimizerSettings(**change)


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    result, weights = run(
        Numbers(10), run_dir=tmp_path, settings=replace(SETTINGS, devices=2, max_steps=150), validation=Numbers(4)
    )
    assert result.steps == 150
    assert abs(float(weights["weight"]) - 3) < 0.5
    assert result.history[-1]["step"] == 150
