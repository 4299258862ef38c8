"""Batches: named parts, old and new ways to give them, symmetries of all parts together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.train import Batch, OptimizerSettings, Supervised, TrainSettings, fit
from xatmo.train.augment import augment
from xatmo.train.batches import n_samples
from xatmo.train.objectives import broadcastable

FACTOR = 2


def parts(time: tuple[int, ...] = ()) -> Batch:
    fine = torch.randn(2, 1, *time, 8, 8)
    coarse = fine[..., ::FACTOR, ::FACTOR] + fine[..., 1::FACTOR, 1::FACTOR]
    return Batch(coarse, fine, fine[:, :, 0] ** 2 if time else fine**2, fine[:, :, 0] * 3 if time else fine * 3)


def test_all_ways_to_give_a_batch() -> None:
    x, y, w, s = parts()
    assert Batch.of((x, y)).weight is None
    assert Batch.of((x, y, w)).weight is w
    assert Batch.of((x, y, None, s)).static is s
    assert Batch.of({"input": x, "target": y, "static": s}) == Batch(x, y, None, s)
    batch = Batch(x, y, w, s)
    assert Batch.of(batch) is batch
    assert n_samples(batch) == n_samples({"weight": None, "input": x}) == 2


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((torch.zeros(1),), "a batch of 1 parts came; wanted input, target and"),
        ((torch.zeros(1),) * 5, "a batch of 5 parts"),
        ({"input": torch.zeros(1)}, r"a batch of parts \['input'\] came"),
        ({"input": torch.zeros(1), "target": torch.zeros(1), "colour": torch.zeros(1)}, "'colour'"),
    ],
)
def test_other_batches_are_refused(given: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Batch.of(given)


@pytest.mark.parametrize("time", [(), (3,)])
@pytest.mark.parametrize("kind", ["mirror", "symmetries"])
def test_all_parts_turn_together(kind: Any, time: tuple[int, ...]) -> None:
    batch = parts(time)
    seen = set()
    for seed in range(40):
        turned = augment(batch, kind, (seed,))
        assert isinstance(turned, Batch)
        fine = turned.target
        first = fine[:, :, 0] if time else fine
        torch.testing.assert_close(turned.weight, first**2)
        torch.testing.assert_close(turned.static, first * 3)
        coarse = fine[..., ::FACTOR, ::FACTOR] + fine[..., 1::FACTOR, 1::FACTOR]
        other = fine[..., 1::FACTOR, ::FACTOR] + fine[..., ::FACTOR, 1::FACTOR]
        torch.testing.assert_close(turned.input.sum(), batch.input.sum())
        assert any(torch.allclose(turned.input, c) for c in (coarse, other))
        seen.add(tuple(first[0, 0, 0, :3].tolist()))
    assert len(seen) == {"mirror": 2, "symmetries": 8}[kind]


def test_absent_parts_and_mappings_stay_so() -> None:
    x, y, _, s = parts()
    turned = augment(Batch(x, y, None, s), "symmetries", (3,))
    assert turned.weight is None
    mapped = augment({"input": x, "target": y, "weight": None, "static": s}, "symmetries", (3,))
    for name, value in mapped.items():
        one = getattr(turned, name)
        assert value is None if one is None else torch.equal(value, one)


def test_rectangles_are_not_transposed() -> None:
    x = torch.randn(1, 1, 4, 6)
    for seed in range(20):
        assert augment((x,), "symmetries", (seed,))[0].shape == x.shape


def test_weights_get_an_axis_of_time() -> None:
    batch = parts((3,))
    weight = broadcastable(batch)
    assert weight is not None
    assert weight.shape == (2, 1, 1, 8, 8)
    assert broadcastable(parts()).shape == (2, 1, 8, 8)  # type: ignore[union-attr]
    assert broadcastable(Batch(batch.input, batch.target)) is None


class Guided(nn.Module):
    """Adds a multiple of a static field."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
        up = nn.functional.interpolate(x, scale_factor=(1, 2, 2))
        return 0 * up + self.scale * static.unsqueeze(2)


class Source:
    """Windows whose target is three times the static field; half of the cells do not count and are wrong."""

    def n_batches(self, world_size: int = 1) -> int:
        return 4

    def batches(self, epoch: int, *, start: int = 0, **kwargs: Any) -> Iterator[Any]:
        for k in range(start, 4):
            generator = torch.Generator().manual_seed(100 * epoch + k)
            static = torch.randn(2, 1, 8, 8, generator=generator)
            target = (3 * static).unsqueeze(2).repeat(1, 1, 3, 1, 1)
            weight = torch.ones(2, 1, 8, 8)
            weight[..., :4] = 0
            target[..., :4] = 100.0
            target[:, :, 1, 0] = math.nan
            yield Batch(torch.full((2, 1, 3, 4, 4), math.nan), target, weight, static)


def test_static_fields_and_weights_of_windows_reach_network_and_loss() -> None:
    module = Supervised(Guided(), "mse", optimizer=OptimizerSettings(learning_rate=0.3), augmentation="symmetries")
    settings = TrainSettings(max_steps=60, accelerator="cpu", precision="32-true")
    result = fit(module, Source(), settings, validation=Source(), progress=False)
    assert float(module.network.scale.detach()) == pytest.approx(3, abs=0.05)
    assert result.best_validation_loss is not None
    assert result.best_validation_loss < 0.01
