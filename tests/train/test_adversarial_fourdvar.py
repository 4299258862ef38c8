"""Variational networks against a discriminator: what is updated when, what a run leaves, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import same

from xatmo.errors import OptionError
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork
from xatmo.train import AdversarialFourDVar, Batch, FourDVar, OptimizerSettings, TrainSettings, fit

SETTINGS = TrainSettings(max_steps=6, accelerator="cpu", precision="32-true")


class Rough:
    """Rough fields of which a tenth of the cells is seen."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self.fail_at, self.given = fail_at, 0

    def n_batches(self, world_size: int = 1) -> int:
        return 4

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        for k in range(start, 4):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            generator = torch.Generator().manual_seed(10 * epoch + k)
            target = torch.randn(2, 1, 3, 16, 16, generator=generator)
            mask = torch.rand(target.shape, generator=generator) < 0.1
            water = torch.ones_like(target)
            water[..., :4, :] = 0
            parts = [torch.where(mask, target, 0.0), mask.float(), torch.zeros_like(target), water]
            yield Batch(torch.cat(parts, dim=1), torch.where(water > 0, target, torch.nan))


def objective(**kwargs: Any) -> AdversarialFourDVar:
    torch.manual_seed(0)
    config = FourDVarConfig(time_window=3, prior_channels=4, solver_channels=4, n_levels=1, n_steps=2)
    settings = (OptimizerSettings(learning_rate=1e-2), OptimizerSettings("adam", 1e-3, schedule="constant"))
    return AdversarialFourDVar(FourDVarNetwork(config), **{"optimizer": settings, "pretrain_steps": 2, **kwargs})


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def moved(before: list[torch.Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_two_phases_and_their_columns() -> None:
    module = objective(loss={"gradient": 1.0})
    result = fit(module, Rough(), SETTINGS, validation=Rough(), progress=False)
    assert result.steps == 6
    for row in result.history[:2]:
        assert row["discriminator"] != row["discriminator"]
        assert row["loss"] == pytest.approx(row["content"])
    for row in result.history[2:]:
        assert row["loss"] == pytest.approx(row["content"] + 1e-3 * row["adversarial"], rel=1e-5)
        assert 0 <= row["discriminator_accuracy"] <= 1
    assert {"value", "gradient"} <= set(result.history[0])


def test_the_first_phase_is_that_of_the_other_terms() -> None:
    """Its losses are those of `FourDVar`; afterwards the discriminator counts."""
    constant = OptimizerSettings(learning_rate=1e-2, schedule="constant")
    both = (constant, OptimizerSettings("adam", 1e-3, schedule="constant"))
    plain = FourDVar(objective().network, optimizer=constant)  # type: ignore[arg-type]
    expected = [r["loss"] for r in fit(plain, Rough(), SETTINGS, progress=False).history]
    made = objective(optimizer=both, pretrain_steps=3, adversarial=10.0)
    before = weights(made.discriminator)
    found = [r["content"] for r in fit(made, Rough(), SETTINGS, progress=False).history]
    # The fourth step is the first one against the discriminator.
    assert found[:4] == pytest.approx(expected[:4], rel=1e-5)
    assert found[4:] != pytest.approx(expected[4:], rel=1e-5)
    assert moved(before, made.discriminator)


def test_land_is_not_judged() -> None:
    seen: list[torch.Tensor] = []

    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.detach())
            return self.scale * x.flatten(1).mean(1, keepdim=True)

    fit(objective(discriminator=Judge(), pretrain_steps=0), Rough(), replace(SETTINGS, max_steps=1), progress=False)
    for fields in seen:
        assert bool((fields[..., :4, :] == 0).all())
        assert bool((fields[..., 4:, :] != 0).any())


def test_a_resumed_run_and_the_mean_of_the_weights(tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {"average": 0.9, "augmentation": "mirror", "permute": 0.5}
    expected = objective(**kwargs)
    fit(expected, Rough(), SETTINGS, validation=Rough(), progress=False)
    with pytest.raises(KeyboardInterrupt):
        fit(objective(**kwargs), Rough(fail_at=5), SETTINGS, validation=Rough(), run_dir=tmp_path, progress=False)
    again = objective(**kwargs)
    fit(again, Rough(), SETTINGS, validation=Rough(), run_dir=tmp_path, progress=False)
    assert same(again.network, expected.network)
    assert again.average is not None
    assert same(again.network, again.average)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"mode": "held_back"}, "mode='held_back' with adversarial=0.001; wanted 'supervised': real fields"),
        ({"criterion": "magic"}, "criterion='magic'; possible are"),
        ({"adversarial": 0.0}, "adversarial=0.0; wanted a positive number"),
    ],
)
def test_options_without_use(kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        objective(**kwargs)
