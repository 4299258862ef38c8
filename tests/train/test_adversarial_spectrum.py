"""What adversarial training is for: power at small scales, which the mean squared error takes away."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from xatmo.datasets import barotropic
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.discriminators import make
from xatmo.train import Adversarial, Objective, OptimizerSettings, Supervised, TrainSettings, fit

FACTOR, STEPS = 4, 200


class Patches:
    """Patches of 32 x 32 cells at random places, and their means over 4 x 4."""

    def __init__(self, fields: torch.Tensor) -> None:
        self.fields = fields

    def n_batches(self, world_size: int = 1) -> int:
        return 25

    def batches(
        self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        for k in range(start, 25):
            rng, out = np.random.default_rng((epoch, k)), []
            for _ in range(4):
                row, column = 4 * int(rng.integers(5)), int(rng.integers(128))
                one = self.fields[rng.integers(len(self.fields))]
                out.append(torch.roll(one, -column, -1)[:, row : row + 32, :32])
            fine = torch.stack(out)
            yield nn.functional.avg_pool2d(fine, FACTOR), fine


def zonal_power(fields: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft(fields, dim=-1).abs().square().mean(dim=(0, 1, 2))


@pytest.mark.slow
def test_power_at_small_scales_comes_back() -> None:
    flow = barotropic(42, days=20, output_every="12h", spin_up=10, seed=1, variables=("vo",))
    fields = torch.tensor(flow["vo"].values)[:, None, 8:56]
    fields = fields / fields.std()
    train, test = fields[:30], fields[33:]
    settings = TrainSettings(STEPS, accelerator="cpu", precision="32-true")
    truth = zonal_power(test)
    bands = (slice(11, 16), slice(16, 32))  # shorter than three coarse cells; shorter than two, which cells do not hold
    ratios, errors = [], []
    for adversarial in (False, True):
        torch.manual_seed(0)
        network = SuperResolution(SuperResolutionConfig(FACTOR, channels=16, n_blocks=1))
        objective: Objective
        if adversarial:
            judge = make("conditional", factor=FACTOR, channels=12, n_blocks=1, dropout=0.0)
            objective = Adversarial(
                network, judge, "mse", adversarial_weight=0.01, pretrain_steps=STEPS // 2, penalty=0.01, average=0.99,
                optimizer=OptimizerSettings.pair(learning_rate=1e-3, betas=(0.5, 0.99), schedule="one-cycle"),
                augmentation="symmetries",
            )  # fmt: skip
        else:
            optimizer = OptimizerSettings("adam", 2e-3)
            objective = Supervised(network, "mse", optimizer=optimizer, augmentation="symmetries")
        fit(objective, Patches(train), settings, progress=False)
        with torch.no_grad():
            made = network(nn.functional.avg_pool2d(test, FACTOR))
        ratios.append([float(zonal_power(made)[band].sum() / truth[band].sum()) for band in bands])
        errors.append(float((made - test).square().mean().sqrt()))
    for before, after in zip(*ratios, strict=True):
        assert before < 0.9
        assert after > 1.1 * before
        assert abs(after - 1) < abs(before - 1)
    assert errors[0] < errors[1] < 1.3 * errors[0]
