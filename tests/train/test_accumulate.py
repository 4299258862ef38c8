"""Gradients of several batches for one optimiser step: the same as one large batch, in steps, history and resuming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import close, same

from xatmo.errors import OptionError
from xatmo.train import Adversarial, OptimizerSettings, Supervised, TrainSettings, fit

SETTINGS = TrainSettings(max_steps=6, accelerator="cpu", precision="32-true", accumulate=3)


class Parts:
    """y = 3 x + 1 in batches of 2, or, ``joined``, several of them in one; a function of the number of the batch."""

    def __init__(self, n: int = 5, *, joined: int = 1, fail_at: int | None = None) -> None:
        self.n, self.joined, self.fail_at, self.given = n, joined, fail_at, 0

    def n_batches(self, world_size: int = 1) -> int:
        return self.n

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        for k in range(start, self.n):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            number = (epoch * self.n + k) * self.joined
            x = torch.cat([self.one(number + i) for i in range(self.joined)])
            yield x, 3 * x + 1

    @staticmethod
    def one(number: int) -> torch.Tensor:
        return torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(number))


def trained(source: Parts, settings: TrainSettings = SETTINGS, **kwargs: Any) -> tuple[Any, nn.Module]:
    torch.manual_seed(0)
    module = Supervised(nn.Conv2d(1, 1, 3, padding=1), "mse", optimizer=OptimizerSettings(learning_rate=0.1))
    result = fit(module, source, settings, progress=False, **kwargs)
    return result, module.network


def test_it_is_the_large_batch() -> None:
    source = Parts()
    parts, network = trained(source)
    whole, large = trained(Parts(joined=3), replace(SETTINGS, accumulate=1))
    close(network, large, atol=1e-6, rtol=1e-5)
    assert parts.steps == whole.steps == 6
    assert 18 <= source.given <= 19  # what is read ahead
    assert [r["step"] for r in parts.history] == list(range(1, 7))
    assert [r["epoch"] for r in parts.history] == [0, 0, 1, 1, 2, 2]
    # The loss of a step is the mean of its batches.
    assert [r["loss"] for r in parts.history] == pytest.approx([r["loss"] for r in whole.history], rel=1e-5)


def test_an_interrupted_run_goes_on_with_whole_steps(tmp_path: Path) -> None:
    expected = trained(Parts())[1]
    source = Parts(fail_at=11)

    class Stopped(Parts):
        """Ctrl-C in the middle of a step: heard at its end."""

        def batches(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            import signal

            for batch in source.batches(*args, **kwargs):
                if source.given == 8:
                    signal.raise_signal(signal.SIGINT)
                yield batch

    with pytest.raises(KeyboardInterrupt):
        trained(Stopped(), run_dir=tmp_path)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    rest = Parts()
    result, network = trained(rest, run_dir=tmp_path)
    assert same(network, expected)
    assert [r["step"] for r in result.history] == list(range(1, 7))
    assert rest.given <= 10
    with pytest.raises(Exception, match="accumulate was 3 and is 2"):
        trained(Parts(), replace(SETTINGS, accumulate=2), run_dir=tmp_path)


def test_validation_comes_between_steps() -> None:
    result, _ = trained(Parts(), validation=Parts(1))
    assert [r["step"] for r in result.history if r["validation_loss"] == r["validation_loss"]] == [2, 4, 6]


def test_draws_differ_within_a_step() -> None:
    """Dropout of the batches of a step is not the same."""
    seen: list[torch.Tensor] = []

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.rand(()))
            return self.scale * x

    module = Supervised(Noisy(), "mse", optimizer=OptimizerSettings(learning_rate=0.1))
    fit(module, Parts(), replace(SETTINGS, max_steps=2), progress=False)
    assert len({float(s) for s in seen}) == 6


def test_two_networks_in_turn_refuse() -> None:
    module = Adversarial(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    with pytest.raises(OptionError, match="accumulate=3 with two networks that are trained in turn.*wanted 1"):
        fit(module, Parts(), SETTINGS, progress=False)
    with pytest.raises(OptionError, match="accumulate=0; wanted a whole number of at least 1"):
        TrainSettings(max_steps=1, accumulate=0)
