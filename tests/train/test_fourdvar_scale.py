"""Variational networks at scale: processes, batches in parts, bfloat16, memory of truncated and large problems."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from training import close

from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations
from xatmo.nn.assimilation.costs import PositiveWeights
from xatmo.train import Batch, FourDVar, FourDVarLoss, OptimizerSettings, TrainSettings, fit

SETTINGS = TrainSettings(max_steps=4, accelerator="cpu", precision="32-true")


def network(**settings: Any) -> FourDVarNetwork:
    torch.manual_seed(0)
    small: dict[str, Any] = {"time_window": 3, "prior_channels": 4, "solver_channels": 4, "n_levels": 1, "n_steps": 2}
    return FourDVarNetwork(FourDVarConfig(**{**small, **settings}))


class Waves:
    """Waves seen in columns; ``joined``: what several ranks, or batches, get in one."""

    def __init__(self, n: int = 8, *, joined: int = 1) -> None:
        self.n, self.joined = n, joined

    def n_batches(self, world_size: int = 1) -> int:
        return self.n // world_size

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        for k in range(start, self.n_batches(world_size)):
            first = (epoch * self.n_batches(world_size) + k) * world_size * self.joined + rank
            parts = [self.one(first + i) for i in range(self.joined)]
            yield Batch(*(torch.cat([getattr(p, name) for p in parts]) for name in ("input", "target")))

    @staticmethod
    def one(seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        t, _, x = torch.meshgrid(torch.arange(3.0), torch.arange(16.0), torch.arange(16.0), indexing="ij")
        target = torch.sin(0.4 * x + 0.3 * t + 6.28 * torch.rand(1, 1, 1, 1, 1, generator=generator))
        mask = (torch.rand(1, 1, 3, 1, 16, generator=generator) < 0.25).expand(1, 1, 3, 16, 16)
        parts = [torch.where(mask, target, 0.0), mask.float(), torch.zeros_like(target), torch.ones_like(target)]
        return Batch(torch.cat(parts, dim=1), target)


def trained(source: Waves, settings: TrainSettings, **kwargs: Any) -> FourDVarNetwork:
    objective = FourDVar(
        network(**kwargs), FourDVarLoss(gradient=1.0), optimizer=OptimizerSettings("sgd", 0.1, momentum=0.0),
    )  # fmt: skip
    fit(objective, source, settings, progress=False)
    return objective.network


def test_batches_in_parts_are_the_large_batch() -> None:
    large = trained(Waves(joined=2), SETTINGS)
    parts = trained(Waves(16), replace(SETTINGS, accumulate=2))
    close(parts, large, atol=1e-6, rtol=1e-4)
    assert not all(torch.equal(a, b) for a, b in zip(parts.parameters(), network().parameters(), strict=True))


@pytest.mark.slow
def test_two_processes_are_one_with_the_batch_of_both() -> None:
    both = trained(Waves(16), replace(SETTINGS, devices=2))
    close(both, trained(Waves(joined=2), SETTINGS), atol=1e-6, rtol=1e-4)


def test_bfloat16_learns() -> None:
    module = FourDVar(network(), optimizer=OptimizerSettings(learning_rate=1e-2))
    before = float(module.validation_step(Waves.one(99), 0).detach())
    result = fit(module, Waves(), replace(SETTINGS, max_steps=40, precision="bf16-mixed"), progress=False)
    assert result.precision == "bf16-mixed"
    assert all(p.dtype == torch.float32 for p in module.network.parameters())
    assert float(module.validation_step(Waves.one(99), 0).detach()) < before


@pytest.mark.parametrize("solver", ["gradient", "convlstm"])
def test_learned_weights_of_the_cost_stay_positive(solver: str) -> None:
    """However large the steps of the optimiser are."""
    net = network(solver=solver, observation_weight=0.01)
    first = [m().detach().clone() for m in net.modules() if isinstance(m, PositiveWeights)]
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    for sign in (1, -1, 1):
        optimizer.zero_grad()
        (sign * 10 * net(Waves.one(3).input).square().sum()).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimizer.step()
    weights = [m().detach() for m in net.modules() if isinstance(m, PositiveWeights)]
    assert any(not torch.equal(a, b) for a, b in zip(first, weights, strict=True))
    assert all(bool((w > 0).all()) for w in weights)
    assert all(float(net.solver.sizes(k).detach()) > 0 for k in range(2))  # type: ignore[operator, union-attr]


# ---------------------------------------------------------------------- memory
class Kept:
    """A tensor that the graph of a gradient keeps."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x


def kept_for_backward(net: FourDVarNetwork) -> int:
    """Bytes of different tensors that are kept, when a solve is over, for the gradient of the weights."""
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(x: torch.Tensor) -> Kept:
        one = Kept(x)
        kept.add(one)
        return one

    values = torch.randn(1, 1, 3, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.x):
        solution = net.solve(Observations.of(values, values > 1))
    gc.collect()
    storages = {one.x.untyped_storage().data_ptr(): one.x.untyped_storage().nbytes() for one in kept}
    assert solution.analysis.requires_grad
    return sum(storages.values())


def test_truncated_steps_bound_the_memory() -> None:
    whole = {n: kept_for_backward(network(solver="convlstm", n_steps=n)) for n in (4, 12)}
    short = {n: kept_for_backward(network(solver="convlstm", n_steps=n, truncated=2)) for n in (4, 12)}
    assert whole[12] > 2.5 * whole[4]
    assert short[12] < 1.2 * short[4]
    assert short[4] < 0.7 * whole[4]


STEP = """
import resource, sys, time, torch
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork
from xatmo.train import Batch, FourDVar
import numpy as np
frames = int(sys.argv[1])
net = FourDVarNetwork(FourDVarConfig(time_window=frames))
target = torch.randn(1, 1, frames, 240, 240)
mask = torch.rand_like(target) < 0.015
parts = [torch.where(mask, target, 0.0), mask.float(), torch.zeros_like(target), torch.ones_like(target)]
batch = Batch(torch.cat(parts, dim=1), target)
start = time.process_time()
with torch.autocast("cpu", torch.bfloat16):
    loss, _ = FourDVar(net).losses(batch, np.random.default_rng(0), training=True)
loss.backward()
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, float(loss))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "most"), [(15, 8.0), (29, 12.0)])
def test_large_patches_fit(frames: int, most: float) -> None:
    """One step on 240 x 240 cells: peak memory of a process of its own, in GiB."""
    run = subprocess.run([sys.executable, "-c", STEP, str(frames)], capture_output=True, text=True, check=True)
    seconds, memory, loss = map(float, run.stdout.split())
    print(f"{frames} x 240 x 240: {seconds:.1f} core-seconds, {memory:.2f} GiB")
    assert memory < most
    assert loss == loss
