"""Learning rates: steps, plateaus, phases, pairs; random numbers that follow from the step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import MissingValueError, OptionError
from xatmo.nn.superres.discriminators import make
from xatmo.train import Adversarial, OptimizerSettings, Supervised, TrainSettings, fit
from xatmo.train.callbacks import Finite, n_plateaus

SETTINGS = TrainSettings(max_steps=12, accelerator="cpu", precision="32-true", gradient_clip=0.0)


class Constant:
    """Three batches an epoch, always the same."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self.fail_at, self.given = fail_at, 0

    def n_batches(self, world_size: int = 1) -> int:
        return 3

    def batches(self, epoch: int, *, start: int = 0, **kwargs: Any) -> Iterator[tuple[torch.Tensor, ...]]:
        for _ in range(start, 3):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            yield torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)


class Stuck(Supervised):
    """A loss that falls in the first epoch only."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        found = super().training_step(batch, batch_idx)
        return {**found, "loss": found["loss"] * 0 + (2.0 if self.global_step < 3 else 1.0)}


def rates(optimizer: OptimizerSettings, settings: TrainSettings = SETTINGS, **kwargs: Any) -> list[float]:
    torch.manual_seed(0)
    module = Stuck(nn.Conv2d(1, 1, 1), optimizer=optimizer)
    history = fit(module, kwargs.pop("source", Constant()), settings, progress=False, **kwargs).history
    return [row["learning_rate"] for row in history]


def test_steps_fall_where_they_are_told() -> None:
    found = rates(OptimizerSettings(learning_rate=1.0, schedule="step", drops=(3, 0.75), drop_factor=0.5))
    assert found == [1.0] * 3 + [0.5] * 6 + [0.25] * 3
    lowest = rates(OptimizerSettings(learning_rate=1.0, schedule="step", drops=(3,), lowest_rate=0.3))
    assert lowest == [1.0] * 3 + [0.3] * 9


def test_a_plateau_lowers_the_rate() -> None:
    """The loss is 2 in epoch 0 and 1 afterwards: epoch 1 is an improvement, 2 and 3 are not."""
    settings = OptimizerSettings(learning_rate=1.0, schedule="plateau", plateau_patience=2, drop_factor=0.5)
    found = rates(settings, replace(SETTINGS, max_steps=21))
    assert found == [1.0] * 12 + [0.5] * 6 + [0.25] * 3
    found = rates(replace(settings, plateau_delta=5.0), replace(SETTINGS, max_steps=15))
    assert found == [1.0] * 9 + [0.5] * 6
    assert rates(replace(settings, lowest_rate=0.7), replace(SETTINGS, max_steps=15)) == [1.0] * 12 + [0.7] * 3


@pytest.mark.parametrize("at", [8, 11, 14])
def test_a_resumed_run_remembers_its_plateau(tmp_path: Path, at: int) -> None:
    settings = OptimizerSettings(learning_rate=1.0, schedule="plateau", plateau_patience=2, drop_factor=0.5)
    longer = replace(SETTINGS, max_steps=21)
    with pytest.raises(KeyboardInterrupt):
        rates(settings, longer, source=Constant(fail_at=at), run_dir=tmp_path)
    assert rates(settings, longer, run_dir=tmp_path) == rates(settings, longer)


def test_plateaus_are_counted_from_the_least_loss() -> None:
    nan = math.nan
    assert n_plateaus([], 2, 0.0) == 0
    assert n_plateaus([5.0, 4.0, 3.0], 1, 0.0) == 0
    assert n_plateaus([3.0, 4.0, 2.0, 3.0, 3.0, 3.0, 3.0], 2, 0.0) == 2
    assert n_plateaus([1.0, nan, nan], 2, 0.0) == 1


def test_each_phase_has_its_own_course() -> None:
    torch.manual_seed(0)
    discriminator = make("srgan", factor=1, widths=(2,), strides=(1,), dense=2)
    pair = OptimizerSettings.pair(learning_rate=(1.0, 0.5), schedule="step", drops=(0.5,))
    module = Adversarial(nn.Conv2d(1, 1, 1), discriminator, optimizer=pair, pretrain_steps=4)
    history = fit(module, Constant(), SETTINGS, progress=False).history
    assert [r["learning_rate"] for r in history] == pytest.approx([1.0, 1.0, 0.1, 0.1] + [1.0] * 4 + [0.1] * 4)
    judged = [r["discriminator_learning_rate"] for r in history]
    assert judged == pytest.approx([math.nan] * 4 + [0.5] * 4 + [0.05] * 4, nan_ok=True)


def test_pairs_of_settings() -> None:
    first, second = OptimizerSettings.pair(optimizer=("adam", "sgd"), betas=((0.5, 0.9), (0.0, 0.99)), drops=(3, 4))
    assert (first.optimizer, second.optimizer) == ("adam", "sgd")
    assert (first.betas, second.betas) == ((0.5, 0.9), (0.0, 0.99))
    assert first.drops == second.drops == (3.0, 4.0)
    made = first.make([nn.Parameter(torch.zeros(1))]), second.make([nn.Parameter(torch.zeros(1))])
    assert made[0].param_groups[0]["betas"] == (0.5, 0.9)
    assert made[1].param_groups[0]["momentum"] == 0.9
    with pytest.raises(OptionError, match="learning_rate=.1, 2, 3.; wanted one value, or two"):
        OptimizerSettings.pair(learning_rate=(1, 2, 3))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"betas": (0.5, 1.0)}, r"betas=\(0.5, 1.0\); wanted two decays"),
        ({"momentum": 1.0}, "momentum=1.0; wanted a decay"),
        ({"drops": (-1,)}, "drops=-1; wanted a positive number"),
        ({"drop_factor": 2.0}, "drop_factor=2.0; wanted a number above 0 and below 1"),
        ({"plateau_patience": 0}, "plateau_patience=0"),
        ({"plateau_delta": -1.0}, "plateau_delta=-1.0"),
        ({"lowest_rate": -1.0}, "lowest_rate=-1.0"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        OptimizerSettings(**change)


class Noisy(nn.Module):
    """Random numbers in training and in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.scale(x + torch.randn_like(x))
        return out


def noisy(source: Constant | None = None, **kwargs: Any) -> tuple[Any, Supervised]:
    torch.manual_seed(0)
    module = Supervised(Noisy(), optimizer=OptimizerSettings(learning_rate=0.1))
    settings = kwargs.pop("settings", SETTINGS)
    return fit(module, source or Constant(), settings, progress=False, **kwargs), module


def test_random_numbers_follow_from_the_step(tmp_path: Path) -> None:
    whole, expected = noisy(validation=Constant())
    with pytest.raises(KeyboardInterrupt):
        noisy(Constant(fail_at=8), validation=Constant(), run_dir=tmp_path)
    torch.rand(3)  # what the caller draws in between does not matter
    resumed, module = noisy(validation=Constant(), run_dir=tmp_path)
    assert torch.equal(module.network.scale.weight, expected.network.scale.weight)
    for a, b in zip(resumed.history, whole.history, strict=True):
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], nan_ok=True)
    other, _ = noisy(settings=replace(SETTINGS, seed=1))
    assert other.history[-1]["loss"] != whole.history[-1]["loss"]


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    module = Supervised(nn.Conv2d(1, 1, 1, bias=False))
    torch.manual_seed(5)
    fit(module, Constant(), replace(SETTINGS, max_steps=2), progress=False)
    assert torch.equal(torch.rand(2), expected)


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    class Broken(Stuck):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
            found = super().training_step(batch, batch_idx)
            return {**found, "loss": found["loss"] * (math.nan if self.global_step == 5 else 1.0)}

    with pytest.raises(MissingValueError, match=r"no finite loss at step 6 \(loss nan\); wanted a number. Lower learn"):
        fit(Broken(nn.Conv2d(1, 1, 1)), Constant(), SETTINGS, progress=False)


def test_float16_may_overflow_now_and_then() -> None:
    class Trainer:
        global_step, max_steps, accumulate_grad_batches = 1, 100, 1

    watch = Finite(every=50, tolerated=3)
    good, bad = {"loss": torch.tensor(1.0)}, {"loss": torch.tensor(math.inf)}
    for outputs in [bad, bad, bad, good] * 3 + [bad, bad, bad]:
        watch.on_train_batch_end(Trainer(), None, outputs, None, 0)  # type: ignore[arg-type]
    with pytest.raises(MissingValueError, match="loss inf"):
        watch.on_train_batch_end(Trainer(), None, bad, None, 0)  # type: ignore[arg-type]
