"""What observation operators are for: each makes the analysis better where its assumption holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations
from xatmo.nn.assimilation.priors import SPDEPrior
from xatmo.nn.assimilation.priors.base import Prior
from xatmo.nn.assimilation.problem import Problem
from xatmo.train import Batch, FourDVar, OptimizerSettings, TrainSettings, fit

SHAPE = (2, 10, 12)
N = 240
EQUATION = {"kappa": 0.5, "gamma": 1.0, "tau": 0.9}


def minimum(problem: Problem, channels: int = 1) -> torch.Tensor:
    """The least cost of a quadratic problem, by its Hessian ``(1, channels, time, lat, lon)``."""

    def gradient(flat: torch.Tensor) -> torch.Tensor:
        found = problem.gradient(flat.reshape(1, channels, *SHAPE), differentiable=True)
        return found.sum.flatten()

    zero = torch.zeros(N * channels, dtype=torch.float64, requires_grad=True)
    hessian = torch.autograd.functional.jacobian(gradient, zero.detach().requires_grad_(), vectorize=True)
    return torch.linalg.solve(hessian, -gradient(zero).detach()).reshape(1, channels, *SHAPE)


def draws(n: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Generator]]:
    """Fields of the equation, and slanted tracks ``(1, 1, time, lat, lon)``."""
    prior = SPDEPrior(slice(0, 1), EQUATION).double()

    def residual(flat: torch.Tensor) -> torch.Tensor:
        return prior(flat.reshape(1, 1, *SHAPE)).flatten()

    jacobian = torch.autograd.functional.jacobian(residual, torch.zeros(N, dtype=torch.float64))
    root = torch.linalg.cholesky(torch.linalg.inv(jacobian.T @ jacobian))
    for seed in range(n):
        generator = torch.Generator().manual_seed(seed)
        truth = root @ torch.randn(N, dtype=torch.float64, generator=generator)
        tracks = torch.zeros(1, 1, *SHAPE)
        for number, (frame, first) in enumerate(((0, 1), (0, 7), (1, 4)), start=1):
            for row in range(SHAPE[1]):
                tracks[0, 0, frame, row, min(first + row // 3, SHAPE[2] - 1)] = number
        yield truth.reshape(1, 1, *SHAPE), tracks, generator


def network(prior: Prior | None = None, **settings: Any) -> FourDVarNetwork:
    config = FourDVarConfig(
        time_window=2, prior="spde", spde=EQUATION, solver="gradient", padding="zeros", n_steps=1, learn_weights=False,
        **settings,
    )  # fmt: skip
    return FourDVarNetwork(config, prior=prior).double()


def test_differences_along_tracks_do_not_see_offsets_of_tracks() -> None:
    """With an offset of each track, values say little, and what they say of slopes is right."""
    offset, noise = 1.0, 0.05
    plain, along = network(), network(operator="gradient")
    plain.observation_cost.weights["value"].log.fill_(-torch.tensor(offset**2 + noise**2).log())
    along.observation_cost.weights["value"].log.fill_(-torch.tensor(10 * (offset**2 + noise**2)).log())
    along.observation_cost.weights["difference"].log.fill_(-torch.tensor(2 * noise**2 * 2).log())
    errors: dict[str, list[float]] = {"plain": [], "along": []}
    for truth, tracks, generator in draws(4):
        offsets = torch.cat([torch.zeros(1), offset * torch.randn(3, generator=generator)])[tracks.long()]
        values = truth + offsets + noise * torch.randn(truth.shape, generator=generator)
        obs = Observations.of(values, tracks > 0)
        for name, net in (("plain", plain), ("along", along)):
            made = minimum(net.solve(obs).problem)
            slopes = (made - truth).diff(dim=-2)  # an offset of the analysis does not count
            errors[name].append(float(slopes.square().mean()))
    assert sum(errors["along"]) < 0.8 * sum(errors["plain"])


class FieldAndError(Prior):
    """The equation for the field, and an error of one sensor that is nearly the same everywhere in a frame."""

    maps = False

    def __init__(self, size: float) -> None:
        super().__init__(1)
        self.field, self.size = SPDEPrior(slice(0, 1), EQUATION), size

    def forward(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        error = x[:, 1:]
        east, north = (torch.nn.functional.pad(error.diff(dim=d), p) for d, p in ((-1, (0, 1)), (-2, (0, 0, 0, 1))))
        cells = error[0, 0, 0].numel() ** 0.5
        parts = [self.field(x[:, :1], domain), 50 * east, 50 * north, error / self.size / cells]
        return torch.cat(parts, dim=2)


def test_an_error_of_a_swath_is_told_from_the_field() -> None:
    """Where a nadir altimeter is right about the level, the channel of the error takes the swath's offset."""
    size, noise = 1.0, 0.05
    settings: dict[str, Any] = {"n_observations": 2, "observation_weight": 1 / noise**2}
    plain = network(**settings)
    # The best that can be done without: the swath counts as its whole error says.
    plain.observation_cost.weights["value"].log[1] = -torch.tensor(size**2 + noise**2).log()
    settings["calibrated"] = (1,)
    config = FourDVarConfig(
        time_window=2, solver="gradient", padding="zeros", n_steps=1, learn_weights=False, **settings
    )
    calibrated = FourDVarNetwork(config, prior=FieldAndError(size)).double()
    errors: dict[str, list[float]] = {"plain": [], "calibrated": []}
    for truth, tracks, generator in draws(4):
        offset = size * torch.randn(1, 1, SHAPE[0], 1, 1, generator=generator)
        values = torch.cat([truth, truth + offset], dim=1) + noise * torch.randn(1, 2, *SHAPE, generator=generator)
        swath = torch.zeros(1, 1, *SHAPE, dtype=torch.bool)
        swath[..., 2:9] = True
        obs = Observations.of(values, torch.cat([tracks > 0, swath], dim=1))
        made = minimum(plain.solve(obs).problem)
        errors["plain"].append(float((made - truth).square().mean()))
        made = minimum(calibrated.solve(obs).problem, 2)
        errors["calibrated"].append(float((made[:, :1] - truth).square().mean()))
        found = made[:, 1:][swath].reshape(SHAPE[0], -1).mean(1)
        torch.testing.assert_close(found, offset.flatten().double(), atol=0.15, rtol=0)
    assert sum(errors["calibrated"]) < 0.5 * sum(errors["plain"])


class Pairs:
    """Waves of which little is observed, and another variable that shows minus half of them, if it is there."""

    def __init__(self, *, there: bool) -> None:
        self.there = there

    def n_batches(self, world_size: int = 1) -> int:
        return 20

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        for k in range(start, 20):
            yield self.one(100 * epoch + k)

    def one(self, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        phase, slope = (
            6.28 * torch.rand(4, 1, 1, 2, 1, 1, generator=generator),
            torch.rand(4, 1, 1, 2, 1, 1, generator=generator),
        )
        waves = torch.sin((0.3 + 0.4 * slope[:, :, :, 0]) * x + phase[:, :, :, 0])
        target = waves + torch.sin((0.3 + 0.4 * slope[:, :, :, 1]) * y + phase[:, :, :, 1])
        target = target.reshape(4, 1, 1, 16, 16).expand(4, 1, 2, 16, 16)
        mask = torch.rand(target.shape, generator=generator) < 0.03
        extra = -0.5 * target + 0.1 * torch.randn(target.shape, generator=generator)
        extra = extra if self.there else torch.full_like(extra, torch.nan)
        parts = [torch.where(mask, target, 0.0), mask.float(), torch.zeros_like(target), torch.ones_like(target), extra]
        return Batch(torch.cat(parts, dim=1), target)


@pytest.mark.slow
def test_another_variable_helps_where_it_is_there() -> None:
    """A solver that sees gradients alone learns through the operator what the other variable says."""
    errors = {}
    for there in (True, False):
        torch.manual_seed(0)
        config = FourDVarConfig(
            time_window=2, prior_channels=8, solver="convlstm", solver_channels=16, n_steps=4, n_extra=1,
            operator="multi_sensor",
        )  # fmt: skip
        module = FourDVar(FourDVarNetwork(config), optimizer=OptimizerSettings(learning_rate=5e-3))
        settings = TrainSettings(200, accelerator="cpu", precision="32-true")
        fit(module, Pairs(there=there), settings, progress=False)
        errors[there] = float(module.validation_step(Pairs(there=there).one(10**6), 0).detach())
    assert errors[True] < 0.6 * errors[False]
