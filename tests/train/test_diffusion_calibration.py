"""Members are drawn from the distribution that the training data have: spread, ranks, scores against what is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xatmo.nn.diffusion import DiffusionConfig, ResidualDiffusion
from xatmo.nn.superres import SuperResolutionConfig
from xatmo.train import Diffusion, OptimizerSettings, TrainSettings, fit

STEPS, MEMBERS = 500, 10


def draw(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coarse field, fine field, and the mean and the standard deviation of the fine ones that are possible.

    The noise is smooth, and strong where the coarse field is high.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = nn.functional.avg_pool2d(torch.randn(n, 1, 12, 12, generator=generator), 3, 1) * 3
    coarse = wide[..., 1:-1, 1:-1]
    mean = nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    spread = 0.2 + 0.5 * torch.sigmoid(2 * mean)
    noise = nn.functional.avg_pool2d(torch.randn(n, 1, 18, 18, generator=generator), 3, 1) * 3
    return coarse, mean + spread * noise, mean, spread


class Known:
    def n_batches(self, world_size: int = 1) -> int:
        return 100

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        for k in range(start, 100):
            yield draw(16, 1000 * epoch + k + 10)[:2]


@pytest.mark.slow
def test_members_are_draws_from_the_known_distribution() -> None:
    torch.manual_seed(0)
    mean_config = SuperResolutionConfig(2, channels=8, n_blocks=1)
    network = ResidualDiffusion(DiffusionConfig(mean_config, channels=16, n_coarse_blocks=1))
    rates = OptimizerSettings(learning_rate=5e-3), OptimizerSettings(learning_rate=4e-3)
    objective = Diffusion(network, optimizer=rates, pretrain_steps=STEPS // 3, average=0.99)
    fit(objective, Known(), TrainSettings(STEPS, accelerator="cpu", precision="32-true"), progress=False)

    coarse, fine, mean, spread = draw(24, 1)
    with torch.inference_mode():
        torch.manual_seed(1)
        members = torch.stack([network(coarse) for _ in range(MEMBERS)])
        found = network.mean(coarse)
    assert network.sigma_data.item() == pytest.approx(float(spread.square().mean().sqrt()), rel=0.05)

    # Mean and spread are the known ones, place by place.
    assert float((members.mean(0) - mean).square().mean().sqrt()) < 1.3 * float(
        (spread / math.sqrt(MEMBERS)).square().mean().sqrt()
    )
    std = members.var(0).flatten()
    strong = spread.flatten() > spread.median()
    for part in (strong, ~strong):
        ratio = (std[part].mean() / spread.flatten()[part].square().mean()).sqrt()
        assert float(ratio) == pytest.approx(1, abs=0.15)

    # Scores: the error of the members' mean is as large as their spread says; CRPS as low as that of the truth.
    skill = (members.mean(0) - fine).square().mean().sqrt()
    expected = (members.var(0).mean() * (MEMBERS + 1) / MEMBERS).sqrt()
    assert float(expected / skill) == pytest.approx(1, abs=0.1)
    pairs = (members[:, None] - members[None]).abs().mean((2, 3, 4, 5)).sum() / (MEMBERS * (MEMBERS - 1))
    crps = float((members - fine).abs().mean() - pairs / 2)
    best = float(spread.mean()) / math.sqrt(math.pi)  # of the normal distribution that the truth is drawn from
    mae = float((found - fine).abs().mean())
    assert 0.97 * best < crps < 1.1 * best
    assert crps < 0.8 * mae
    ranks = np.bincount((members < fine).sum(0).flatten().numpy(), minlength=MEMBERS + 1) / fine.numel() * (MEMBERS + 1)
    assert ranks.max() < 1.4
    assert ranks.min() > 0.65

    # Windows with the margin that the network asks for have the members of the whole field.
    wide, noise = draw(9, 2)[0].reshape(3, 3, 8, 8).transpose(1, 2).reshape(1, 1, 24, 24), torch.randn(1, 1, 48, 48)
    edge = network.halo
    with torch.inference_mode():
        whole, window = network(wide, noise=noise), network(wide[..., 2:-1, 1:-1], noise=noise[..., 4:-2, 2:-2])
    inside = slice(2 * edge, -2 * edge)
    apart = window[..., inside, inside] - whole[..., 4:-2, 2:-2][..., inside, inside]
    assert float(apart.abs().max()) < 2e-3 * network.sigma_data.item()

    # Neighbours vary together as they should: the noise is a mean over 3 x 3 cells.
    residual = (members - mean) / spread
    for lag, wanted in ((1, 2 / 3), (2, 1 / 3), (4, 0.0)):
        product = (residual[..., lag:] * residual[..., :-lag]).mean() / residual.square().mean()
        assert float(product) == pytest.approx(wanted, abs=0.1)
