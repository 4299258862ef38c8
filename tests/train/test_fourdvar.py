"""Training of variational networks: what each term and mode counts, what is drawn, what is refused; whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import same

from xatmo.errors import OptionError
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations
from xatmo.train import Batch, FourDVar, FourDVarLoss, OptimizerSettings, TrainSettings, fit
from xatmo.train.fourdvar import coarse_error, neighbour_error, patch_weight, tracks_kept, value_error

SETTINGS = TrainSettings(max_steps=6, accelerator="cpu", precision="32-true")
SHAPE = (3, 16, 16)
ONE = torch.ones(1, 1, 1, 1, 1)


def network(**settings: Any) -> FourDVarNetwork:
    torch.manual_seed(0)
    small: dict[str, Any] = {"time_window": 3, "prior_channels": 4, "solver_channels": 4, "n_levels": 1, "n_steps": 2}
    return FourDVarNetwork(FourDVarConfig(**{**small, **settings}))


class Waves:
    """Smooth fields observed along columns: packed inputs and targets; ``bare``: without targets."""

    def __init__(self, n: int = 4, *, bare: bool = False, fail_at: int | None = None) -> None:
        self.n, self.bare, self.fail_at, self.given = n, bare, fail_at, 0

    def n_batches(self, world_size: int = 1) -> int:
        return self.n

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        for k in range(start, self.n):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            yield self.one(1000 * epoch + 10 * k + rank)

    def one(self, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        t, y, x = torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE), indexing="ij")
        phase = 6.28 * torch.rand(2, 2, 1, 1, 1, 1, generator=generator)
        target = torch.sin(0.4 * x + 0.3 * t + phase[0]) + torch.cos(0.5 * y + phase[1])
        columns = torch.rand(2, 1, 3, 1, 16, generator=generator) < 0.25
        mask = columns.expand(2, 1, *SHAPE)
        values = torch.where(mask, target, 0.0)
        packed = torch.cat([values, mask.float(), torch.zeros_like(target), torch.ones_like(target)], dim=1)
        return Batch(packed, torch.full_like(target, torch.nan) if self.bare else target)


def objective(mode: str = "supervised", net: dict[str, Any] | None = None, **kwargs: Any) -> FourDVar:
    settings = OptimizerSettings(learning_rate=1e-2)
    return FourDVar(network(**(net or {})), mode=mode, **{"optimizer": settings, **kwargs})  # type: ignore[arg-type]


def random() -> np.random.Generator:
    return np.random.default_rng(0)


# ---------------------------------------------------------------------- terms
def test_errors_are_those_of_loops() -> None:
    torch.manual_seed(0)
    made, target = torch.randn(1, 1, 2, 5, 6), torch.randn(1, 1, 2, 5, 6)
    target[0, 0, 0, 1, 2] = target[0, 0, 1, 4, 5] = torch.nan
    weight = torch.rand(1, 1, 2, 1, 1)
    error, w = (made - target)[0, 0].numpy(), weight.flatten().numpy()
    total = norm = squares = number = 0.0
    for t in range(2):
        for i in range(5):
            for j in range(6):
                if np.isnan(error[t, i, j]):
                    continue
                squares, number = squares + w[t] * error[t, i, j] ** 2, number + w[t]
                for di, dj in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    if i + di < 5 and 0 <= j + dj < 6 and not np.isnan(error[t, i + di, j + dj]):
                        share = w[t] / (di**2 + dj**2)
                        total += share * (error[t, i + di, j + dj] - error[t, i, j]) ** 2
                        norm += share
    assert float(value_error(made, target, weight)) == pytest.approx(squares / number, rel=1e-5)
    assert float(neighbour_error(made, target, weight)) == pytest.approx(total / norm, rel=1e-5)


def test_coarse_errors_see_means_where_the_target_is() -> None:
    target = torch.zeros(1, 1, 1, 4, 4)
    target[..., 0, 0] = torch.nan
    made = torch.zeros_like(target)
    made[..., 0, 1] = 3.0
    made[..., 0, 0] = 100.0
    # One of four blocks is off by 1, three cells of which count.
    assert float(coarse_error(made, target, ONE, 2)) == pytest.approx((3 / 4) * 1 / (15 / 4))


@pytest.mark.parametrize("kind", ["flat", "triangular", "hann"])
def test_weights_of_patches(kind: str) -> None:
    weight = patch_weight(torch.zeros(1, 1, 5, 8, 9), kind, 2)
    assert weight.shape == (1, 1, 5, 8, 9)
    assert int((weight[0, 0, 2] > 0).sum()) == 4 * 5
    along = weight[0, 0, :, 4, 4]
    torch.testing.assert_close(along, along.flip(0))
    assert float(along.min()) > 0
    assert float(along[2]) == pytest.approx(1)
    with pytest.raises(OptionError, match="border=4 of patches of 8 by 9 cells; wanted less than half"):
        patch_weight(torch.zeros(1, 1, 5, 8, 9), kind, 4)


def test_all_iterates_count_and_validation_looks_at_the_last() -> None:
    batch = Waves().one(0)
    module = objective(loss=FourDVarLoss(earlier=0.5))
    iterates = module.network.solve(batch.input).iterates
    errors = [float(value_error(x.detach(), batch.target, ONE)) for x in iterates]
    total, _ = module.losses(batch, random(), training=True)
    assert float(total.detach()) == pytest.approx((0.5 * errors[0] + errors[1]) / 1.5, rel=1e-5)
    assert float(module.validation_step(batch, 0).detach()) == pytest.approx(errors[1], rel=1e-5)
    last, _ = objective(loss={"earlier": 0.0}).losses(batch, random(), training=True)
    assert float(last.detach()) == pytest.approx(errors[1], rel=1e-5)


def test_the_prior_counts_for_analysis_and_target() -> None:
    batch = Waves().one(0)
    module = objective(loss={"value": 0.0, "prior": 1.0})
    net = module.network
    solution = net.solve(batch.input)
    expected = net.prior(solution.state).square().mean() + net.prior(batch.target).square().mean()
    total, _ = module.losses(batch, random(), training=True)
    torch.testing.assert_close(total, expected)
    target = batch.target.clone()
    target[0, 0, 0, 0, 0] = torch.nan
    total, _ = module.losses(batch._replace(target=target), random(), training=True)
    torch.testing.assert_close(total, net.prior(solution.state).square().mean())


def test_the_cost_itself_is_per_observation_and_cell() -> None:
    batch = Waves().one(0)
    module = objective("variational", {"learn_weights": False})
    total, _ = module.losses(batch._replace(target=torch.full_like(batch.target, torch.nan)), random(), training=True)
    twice = Batch(*(torch.cat([p, p]) for p in (batch.input, batch.target)))
    torch.testing.assert_close(module.losses(twice, random(), training=True)[0], total)
    solution = module.network.solve(batch.input)
    misfit = solution.problem.innovation(solution.state)
    numbers = solution.problem.obs.count
    q = module.network.prior(solution.state)
    expected = (misfit.square().flatten(1).sum(1) / numbers + q.square().flatten(1).mean(1)).mean() / 2
    torch.testing.assert_close(total, expected)


def test_the_density_of_the_target_is_that_of_the_prior() -> None:
    """Of complete targets alone, per cell, with the coefficients of the last state."""
    batch = Waves().one(0)
    settings = {"prior": "spde_estimated", "step_size": 1e-4, "spde": {"estimate": ["gamma", "tau"]}}
    module = objective(net=settings, loss={"value": 0.0, "likelihood": 1.0})
    total, _ = module.losses(batch, random(), training=True)
    solution = module.network.solve(batch.input)
    state = torch.cat([batch.target, solution.state[:, 1:]], dim=1)
    prior = module.network.prior
    expected = (prior(state).square().flatten(1).sum(1) - prior.log_determinant(state)) / 2  # type: ignore[operator]
    torch.testing.assert_close(total, expected.mean() / batch.target[0].numel())
    total.backward()
    assert any(p.grad is not None and bool((p.grad != 0).any()) for p in module.network.estimator.parameters())
    target = batch.target.clone()
    target[0, 0, 0, 0, 0] = torch.nan
    total, _ = module.losses(batch._replace(target=target), random(), training=True)
    torch.testing.assert_close(total, expected[1] / target[0].numel())
    with pytest.raises(OptionError, match="the term 'likelihood' with mode='supervised', prior='bilinear'"):
        objective(loss={"likelihood": 1.0})


# ---------------------------------------------------------------------- what is drawn
def test_tracks_are_held_back_whole() -> None:
    mask = np.zeros((1, 2, 3, 20, 20), bool)
    tracks = []
    for v in range(2):
        for t in range(3):
            for first in (1, 11):
                one = np.zeros_like(mask)
                for i in range(20):
                    one[0, v, t, i, first + i // 3] = True
                tracks.append(one)
                mask |= one
    kept = tracks_kept(mask, 0.5, random())
    held = [bool((one & ~kept).any()) for one in tracks]
    assert 0 < sum(held) < len(held)
    for one, gone in zip(tracks, held, strict=True):
        assert bool((~kept[one]).all()) is gone
    assert bool(kept[~mask].all())
    for part in (0.0, 1.0):  # at least one each way
        kept = tracks_kept(mask, part, random())
        assert 0 < int((mask & ~kept).sum()) < int(mask.sum())


def test_what_is_held_back_is_not_read() -> None:
    batch = Waves(bare=True).one(0)
    module = objective("held_back", held_back=0.5)
    seen: list[Observations] = []
    solve = module.network.solve

    def watched(obs: Any, *args: Any) -> Any:
        seen.append(obs)
        return solve(obs, *args)

    module.network.solve = watched  # type: ignore[method-assign]
    total, _ = module.losses(batch, random(), training=True)
    assert bool(total.isfinite())
    mask = module.network.unpack(batch.input).obs.mask
    assert 0 < int(seen[0].mask.sum()) < int(mask.sum())
    # The loss is of those that are not read.
    held = mask & ~seen[0].mask
    target = torch.where(held, batch.input[:, :1], torch.nan)
    iterates = solve(seen[0], torch.zeros(2, 1, *SHAPE)).iterates
    expected = torch.stack([value_error(x, target, ONE) for x in iterates]).mean()
    torch.testing.assert_close(total, expected)


def test_masks_are_permuted_and_backgrounds_rebuilt() -> None:
    batch = Waves().one(0)
    calls: list[tuple[Observations, torch.Tensor]] = []

    def rebuild(obs: Observations, domain: torch.Tensor) -> torch.Tensor:
        calls.append((obs, domain))
        return torch.zeros(2, 1, *SHAPE)

    module = objective(permute=1.0, noise_std=0.1, rebuild=rebuild)
    old = module.network.unpack(batch.input).obs.mask
    for seed in range(8):
        module.losses(batch, np.random.default_rng(seed), training=True)
    swapped = [torch.equal(obs.mask, old.flip(0)) for obs, _ in calls]
    assert any(swapped)
    assert all(s or torch.equal(obs.mask, old) for s, (obs, _) in zip(swapped, calls, strict=True))
    error = torch.cat([(obs.values - batch.target)[obs.mask] for obs, _ in calls])
    assert float(error.std()) == pytest.approx(0.1, rel=0.1)
    module.losses(batch, random(), training=False)  # never in validation
    assert len(calls) == 8


# ---------------------------------------------------------------------- runs
@pytest.mark.parametrize(
    ("mode", "net", "kwargs"),
    [
        ("supervised", {}, {"loss": {"gradient": 5.0, "prior": 0.1, "coarse": 0.5}, "permute": 0.5}),
        ("supervised", {"truncated": 1, "solver": "convlstm", "n_cascades": 2}, {}),
        ("supervised", {"state": "augmented"}, {"time_weight": "hann", "border": 2}),
        ("variational", {"learn_weights": False}, {}),
        ("held_back", {}, {"augmentation": "symmetries"}),
    ],
)
def test_every_mode_learns(mode: str, net: dict[str, Any], kwargs: dict[str, Any]) -> None:
    module = objective(mode, net, **kwargs)
    batch = Waves().one(77)
    before = float(module.validation_step(batch, 0).detach())
    source = Waves(bare=mode != "supervised")
    result = fit(module, source, replace(SETTINGS, max_steps=40), progress=False)
    assert result.steps == 40
    assert set(module.loss_names) <= set(result.history[0])
    assert float(module.validation_step(batch, 0).detach()) < before


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """Drawn permutations, noise and symmetries belong to the step."""

    def run(source: Waves, **where: Any) -> FourDVar:
        module = objective(permute=0.5, noise_std=0.1, augmentation="mirror")
        fit(module, source, SETTINGS, progress=False, **where)
        return module

    expected = run(Waves())
    with pytest.raises(KeyboardInterrupt):
        run(Waves(fail_at=4), run_dir=tmp_path)
    assert same(run(Waves(), run_dir=tmp_path).network, expected.network)


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"mode": "magic"}, "mode='magic' is not available"),
        ({"time_weight": "square"}, "time_weight='square' is not available"),
        ({"mode": "variational"}, "mode='variational' with learn_weights=True; wanted fixed weights"),
        ({"mode": "held_back", "permute": 0.5}, "permute=0.5 with mode='held_back'; wanted targets"),
        ({"permute": 2.0}, "permute=2.0; wanted a part, from 0 to 1"),
        ({"border": -1}, "border=-1; wanted a whole number of at least 0"),
        ({"loss": {"colour": 1.0}}, r"unknown terms \['colour'\] of the loss"),
        ({"loss": {"variational": 1.0}}, "the term 'variational' with mode='supervised'"),
        ({"loss": {"value": 0.0}}, "all terms of the loss have weight 0"),
        ({"loss": {"earlier": 2.0}}, "earlier=2.0; wanted a number from 0 to 1"),
        ({"loss": {"coarse_factor": 1}}, "coarse_factor=1; wanted a whole number of at least 2"),
    ],
)
def test_options_without_use(kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        objective(**kwargs)
    if kwargs == {"mode": "variational"}:
        with pytest.raises(OptionError, match="wanted 'variational' alone: there is no target"):
            objective("variational", {"learn_weights": False}, loss={"value": 1.0})
