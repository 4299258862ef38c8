"""Training of forecasts with latent variables: losses, schedules, discriminators, resuming, refusals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import same

from xatmo.errors import OptionError
from xatmo.nn import ensemble_losses
from xatmo.nn.video import VideoConfig, VideoNetwork
from xatmo.train import (
    AdversarialForecast,
    Forecast,
    LatentForecast,
    OptimizerSettings,
    TrainSettings,
    VideoBatch,
    fit,
)
from xatmo.train.video_latent import annealed, kl_per_draw

SETTINGS = TrainSettings(max_steps=9, accelerator="cpu", precision="32-true")
SMALL: dict[str, dict[str, Any]] = {
    "savp": {"channels": 4, "posterior_widths": [4, 4, 8], "encoder": [[4, 1]], "decoder": [[4, 0]], "n_latent": 2},
    "vae": {"widths": [6, 6], "n_blocks": 1, "n_latent": 2},
}
BOTH = pytest.mark.parametrize("name", ["savp", "vae"])
SLOW_SAVP = pytest.mark.parametrize("name", [pytest.param("savp", marks=pytest.mark.slow), "vae"])


class Waves:
    """Waves that travel, a function of epoch, place and rank; ``fail_at``: interrupted at this batch."""

    def __init__(self, n: int = 4, *, fail_at: int | None = None, batch: int = 2) -> None:
        self.n, self.fail_at, self.batch, self.given = n, fail_at, batch, 0

    def n_batches(self, world_size: int = 1) -> int:
        return self.n

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[VideoBatch]:
        for k in range(start, self.n):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            drawn = torch.Generator().manual_seed(1000 * epoch + 10 * k + rank)
            phase = 2 * math.pi * torch.rand(self.batch, 1, 1, 1, 1, generator=drawn)
            t, y, x = torch.arange(5.0)[:, None, None], torch.arange(8.0)[:, None], torch.arange(9.0)
            noise = 0.1 * torch.randn(self.batch, 1, 5, 8, 9, generator=drawn)
            yield VideoBatch(torch.sin(0.7 * x + 0.4 * y - 0.6 * t + phase) + noise)


def network(name: str, **settings: Any) -> VideoNetwork:
    torch.manual_seed(0)
    config = VideoConfig(
        name, n_context=2, n_future=3, baseline="persistence", settings={**SMALL[name], **settings}
    )  # fmt: skip
    return VideoNetwork(config)


def objective(name: str, *, adversarial: bool = False, **kwargs: Any) -> Any:
    made = network(name)
    torch.manual_seed(1)
    if not adversarial:
        return LatentForecast(made, **{"optimizer": OptimizerSettings(learning_rate=5e-3), **kwargs})
    kwargs = {"optimizer": OptimizerSettings.pair(learning_rate=(2e-3, 1e-3)), "channels": 2, "clip": 3, **kwargs}
    return AdversarialForecast(made, **kwargs)


def run(given: Any, source: Waves | None = None, settings: TrainSettings = SETTINGS, **kwargs: Any) -> Any:
    return fit(given, source or Waves(), settings, progress=False, **kwargs)


# ---------------------------------------------------------------------- losses
def test_fair_crps_is_that_of_scores() -> None:
    import xarray as xr
    from scores.probability import crps_for_ensemble

    torch.manual_seed(0)
    draws, target = torch.randn(5, 3, 4, 6), torch.randn(3, 4, 6)
    theirs = crps_for_ensemble(
        xr.DataArray(draws.numpy(), dims=("m", "a", "b", "c")), xr.DataArray(target.numpy(), dims=("a", "b", "c")),
        "m", method="fair",
    )  # fmt: skip
    assert float(ensemble_losses.crps(draws, target)) == pytest.approx(float(theirs), rel=1e-5)
    weight, missing = torch.rand(1, 4, 1), target.clone()
    missing[0, 0] = torch.nan
    per_cell = torch.stack([ensemble_losses.crps(draws[:, 1:, k], target[1:, k]) for k in range(4)])
    first = torch.stack([ensemble_losses.crps(draws[:, :1, k], target[:1, k]) for k in range(4)])
    w = weight.flatten()
    wanted = (2 * (w * per_cell).sum() + (w * first)[1:].sum()) / (3 * w.sum() - w[0])
    assert float(ensemble_losses.crps(draws, missing, weight)) == pytest.approx(float(wanted), rel=1e-5)


def test_two_draws_score_what_their_distribution_would() -> None:
    """The mean over pairs of draws from N(0, 1) against 0.7 is the closed form of the normal distribution."""
    torch.manual_seed(0)
    draws, y = torch.randn(2, 400_000), 0.7
    cdf, pdf = 0.5 * (1 + math.erf(y / math.sqrt(2))), math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)
    wanted = y * (2 * cdf - 1) + 2 * pdf - 1 / math.sqrt(math.pi)
    assert float(ensemble_losses.crps(draws, torch.full((400_000,), y))) == pytest.approx(wanted, abs=4e-3)


def test_energy_score_of_one_number_is_its_crps() -> None:
    torch.manual_seed(0)
    draws, target = torch.randn(4, 50, 1, 1, 1), torch.randn(50, 1, 1, 1)
    found = ensemble_losses.energy_score(draws, target)
    assert float(found) == pytest.approx(float(ensemble_losses.crps(draws, target)), rel=1e-4)
    same_draws = torch.ones(3, 2, 2, 2, 2, requires_grad=True)
    ensemble_losses.energy_score(same_draws, torch.zeros(2, 2, 2, 2)).backward()
    assert same_draws.grad is not None
    assert bool(same_draws.grad.isfinite().all())
    for score in (ensemble_losses.crps, ensemble_losses.energy_score):
        with pytest.raises(OptionError, match="1 draw for a score of an ensemble; wanted n_draws of at least 2"):
            score(draws[:1], target)


def test_divergence_is_summed_over_variables_alone() -> None:
    kl = torch.rand(6, 5, 3)
    assert float(kl_per_draw(kl)) == pytest.approx(float(kl.sum() / 30))
    kl.requires_grad_(True)
    kl_per_draw(kl, free_bits=2.0).backward()
    assert kl.grad is not None
    assert not kl.grad.any()


@SLOW_SAVP
def test_the_total_is_the_sum_of_its_parts(name: str) -> None:
    made = objective(name, loss="mae+0.5 mse", members=3.0, kl=0.2, kl_anneal=(0.0, 0.5), reconstruction=7.0)
    history = run(made).history
    assert [row["kl_weight"] for row in history] == pytest.approx([0.2 * min(1, k / 9 / 0.5) for k in range(9)])
    for row in history:
        parts = 7 * (row["reconstruction"] + row.get("mean", 0.0)) + row["kl_weight"] * row["kl"] + 3 * row["crps"]
        assert row["loss"] == pytest.approx(parts, rel=1e-4)
        assert row["reconstruction"] == pytest.approx(row["mae"] + 0.5 * row["mse"], rel=1e-4)


@pytest.mark.slow
@BOTH
def test_each_loss_falls(name: str) -> None:
    made = objective(name, members=100.0, kl=0.0, optimizer=OptimizerSettings(learning_rate=1e-2))
    history = run(made, Waves(8, batch=4), replace(SETTINGS, max_steps=32)).history
    for part in ("reconstruction", "crps", *["mean"] * (name == "vae")):
        values = [row[part] for row in history]
        assert np.mean(values[-8:]) < 0.8 * np.mean(values[:8]), part
    heavy = objective(
        name, kl=50.0, kl_anneal=None, reconstruction=0.0, optimizer=OptimizerSettings(learning_rate=2e-2)
    )
    heavy.network.load_state_dict(made.network.state_dict())
    history = run(heavy, Waves(8, batch=2), replace(SETTINGS, max_steps=24)).history
    assert history[-1]["kl"] < 0.5 * history[0]["kl"]


def test_missing_targets_do_not_count() -> None:
    made = objective("vae", members=1.0)
    batch = next(Waves().batches(0))
    holes = batch.frames.clone()
    holes[0, :, 2:, :4] = torch.nan
    with torch.no_grad():
        torch.manual_seed(0)
        found = made.made(VideoBatch(holes), 0, 1.0)
    assert all(bool(v.isfinite()) for v in (found.total, *found.parts.values()))
    there = holes[:, :, 2:].isfinite()
    error = (found.branches.posterior - holes[:, :, 2:])[there].abs().mean()
    assert float(found.parts["reconstruction"]) == pytest.approx(float(error), rel=1e-5)


def test_validation_is_of_members_where_training_is() -> None:
    found = []
    for members in (0.0, 1.0):
        result = run(objective("vae", members=members), validation=Waves(2))
        assert result.best_validation_loss is not None
        found.append(result.best_validation_loss)
    # Both are about the error of persistence so far; the spread takes something off that of members.
    assert 0 < found[1] < found[0] < 1


# ---------------------------------------------------------------------- discriminators
@SLOW_SAVP
def test_a_step_moves_network_and_discriminators(name: str) -> None:
    made, before = objective(name, adversarial=True, images=True), objective(name, adversarial=True, images=True)
    result = run(made)
    assert result.steps == 9
    assert not same(made.network, before.network)
    for judge in ("posterior_video", "prior_video", "posterior_image", "prior_image"):
        assert not same(made.judges[judge], before.judges[judge])
    for row in result.history:
        deceit = 0.1 * (row["deceit_posterior"] + row["deceit_prior"]) + 10 * row["feature_distance"]
        assert row["loss"] == pytest.approx(row["content"] + deceit, rel=1e-4)


def test_the_network_goes_against_updated_discriminators() -> None:
    """Both are updated from one roll-out, the discriminators first, and only the network by the network's loss."""
    made = objective("vae", adversarial=True)
    order = []
    descend = made.descend

    def watched(which: int, loss: torch.Tensor, *, counted: bool) -> None:
        before = {n: p.detach().clone() for n, p in made.named_parameters()}
        descend(which, loss, counted=counted)
        moved = {n.split(".")[0] for n, p in made.named_parameters() if not torch.equal(p, before[n])}
        order.append((which, counted, moved))

    made.descend = watched
    run(made, settings=replace(SETTINGS, max_steps=2))
    assert order == [(1, False, {"judges"}), (0, True, {"network"})] * 2


class Drifts(Waves):
    """Waves that stay, on a level that goes up and down at random by 0.7 in each step."""

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[VideoBatch]:
        for k in range(start, self.n):
            yield self.drawn(1000 * epoch + k)

    def drawn(self, seed: int) -> VideoBatch:
        random = torch.Generator().manual_seed(seed)
        phase = 2 * math.pi * torch.rand(self.batch, 1, 1, 1, 1, generator=random)
        y, x = torch.arange(16.0)[:, None], torch.arange(16.0)
        level = 0.7 * torch.randn(self.batch, 1, 7, 1, 1, generator=random).cumsum(2)
        return VideoBatch(torch.sin(0.5 * x + 0.3 * y + phase) + level)


@pytest.mark.slow
def test_members_learn_to_differ_where_the_future_is_open() -> None:
    torch.manual_seed(0)
    small = {
        "preset": "small", "coarsen": 1, "encoder": [[8, 1]], "decoder": [[8, 0]], "posterior_widths": [8, 16, 16],
        "n_latent": 4, "posterior_norm": None,
    }  # fmt: skip
    made = VideoNetwork(VideoConfig("savp", n_context=3, n_future=4, baseline="persistence", settings=small))
    learned = LatentForecast(made, "mse", kl=1.0, kl_anneal=None, optimizer=OptimizerSettings(learning_rate=5e-3))
    source = Drifts(150, batch=8)
    run(learned, source, replace(SETTINGS, max_steps=150))
    batch = Drifts(1, batch=64).drawn(-1)
    with torch.no_grad():
        found = made.eval().branches(batch.input(3), batch.frames[:, :, 3:], n_prior=10)
    truth, members = batch.frames[:, :, -4:], found.prior[:, :, :, -4:]
    error = (members.mean(0) - truth).square().mean().sqrt()
    # The divergence of a level known to 0.1 and one that may be anything within 0.7 is about two nats.
    assert float(found.kl.sum(-1).mean()) > 1
    assert float((found.posterior[:, :, -4:] - truth).square().mean().sqrt()) < 0.6 * float(error)
    assert float(members.var(0).mean().sqrt()) > 0.25 * float(error)


@pytest.mark.slow
def test_discriminators_learn_to_tell() -> None:
    made = objective(
        "vae", adversarial=True, gan=1e-9, features=0.0, reconstruction=0.0, kl=0.0,
        optimizer=OptimizerSettings.pair(learning_rate=(1e-9, 1e-2)), channels=4,
    )  # fmt: skip
    with torch.no_grad():  # members that everyone can tell
        made.network.inner.departures.last.weight.mul_(20)
    history = run(made, Waves(8, batch=4), replace(SETTINGS, max_steps=40)).history  # it begins after 20 or 30
    values = [row["discriminator"] for row in history]
    assert np.mean(values[-5:]) < 0.2 * np.mean(values[:5])
    assert np.mean([row["discriminator_accuracy"] for row in history[-5:]]) > 0.9


def test_the_first_phase_has_no_discriminators() -> None:
    result = run(objective("vae", adversarial=True, pretrain_steps=4))
    for row in result.history[:4]:
        assert math.isnan(row["discriminator"])
        assert row["loss"] == pytest.approx(row["content"])
    assert all(not math.isnan(row["discriminator"]) for row in result.history[4:])


# ---------------------------------------------------------------------- resuming
@pytest.mark.parametrize(("name", "adversarial"), [
    pytest.param("savp", True, marks=pytest.mark.slow),
    pytest.param("vae", True, marks=pytest.mark.slow),
    ("vae", False),
])  # fmt: skip
def test_a_resumed_run_is_bit_equal(tmp_path: Path, name: str, adversarial: bool) -> None:
    kept: dict[str, Any] = {
        "members": 1.0, "augmentation": "mirror", "scale": (0.6, 1.6), "scheduled_sampling": {"k": 5}, "seed": 3,
    }  # fmt: skip
    kept |= {"average": 0.9, "images": True, "pretrain_steps": 2} if adversarial else {}
    expected = objective(name, adversarial=adversarial, **kept)
    whole = run(expected)
    with pytest.raises(KeyboardInterrupt):
        run(objective(name, adversarial=adversarial, **kept), Waves(fail_at=7), run_dir=tmp_path)
    stopped = torch.load(tmp_path / "last.ckpt")["global_step"]
    assert 4 <= stopped < 7
    module = objective(name, adversarial=adversarial, **kept)
    resumed = run(module, run_dir=tmp_path)
    assert same(module, expected)
    assert resumed.steps == 9
    for row, wanted in zip(resumed.history, whole.history, strict=True):
        del row["seconds"], wanted["seconds"]
        assert row == pytest.approx(wanted, rel=1e-6, nan_ok=True)


# ---------------------------------------------------------------------- schedules and refusals
def test_a_rate_falls_on_a_line() -> None:
    parts = OptimizerSettings(learning_rate=1.0, schedule="linear", drops=(0.25, 0.75))
    assert [parts.rate(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert OptimizerSettings(learning_rate=1.0, schedule="linear").rate(0.75) == 0.5
    steps = OptimizerSettings(learning_rate=2.0, schedule="linear", drops=(3000, 9000))
    assert [steps.rate(0.0, s) for s in (0, 3000, 6000, 12000)] == [2.0, 2.0, 1.0, 0.0]
    for drops in ((0.5, 0.2), (0.5, 3000), (0.1, 0.2, 0.3), (3000,)):
        with pytest.raises(OptionError, match="schedule='linear'; wanted two parts of the run or two steps"):
            OptimizerSettings(schedule="linear", drops=drops)


def test_annealing_follows_the_run() -> None:
    assert [annealed((0.5, 0.5), p) for p in (0.4, 0.5)] == [0.0, 1.0]
    for bounds in ((0.5, 0.2), (0.1,), (0.5, 1.5)):
        with pytest.raises(OptionError, match="kl_anneal=.*wanted two parts of the run in order"):
            objective("vae", kl_anneal=bounds)


@pytest.mark.parametrize("loss", ["crps", pytest.param("energy_score", marks=pytest.mark.slow)])
def test_any_network_that_draws_learns_from_a_score_of_members(loss: str) -> None:
    made = Forecast(network("vae"), loss, n_draws=3, optimizer=OptimizerSettings(learning_rate=1e-2))
    batch = next(Waves().batches(0))
    with torch.no_grad():
        torch.manual_seed(0)
        found = made._losses(batch, 0.0, training=True)["mae"]
        torch.manual_seed(0)
        draws = torch.stack([made.network(batch.input(2)) for _ in range(3)])
    wanted = ensemble_losses.ENSEMBLE_LOSSES[loss](draws, batch.frames[:, :, 2:])
    assert float(found) == pytest.approx(float(wanted))
    history = run(made, Waves(8, batch=4), replace(SETTINGS, max_steps=24)).history
    values = [row["loss"] for row in history]
    assert np.mean(values[-6:]) < 0.9 * np.mean(values[:6])
    with pytest.raises(OptionError, match=f"loss='{loss}' is a score of members, and 'persistence' draws nothing"):
        Forecast(VideoNetwork(VideoConfig("persistence")), loss)


def test_what_cannot_be_trained_is_refused() -> None:
    simple = VideoNetwork(VideoConfig("persistence"))
    for kind in (LatentForecast, AdversarialForecast):
        with pytest.raises(OptionError, match="'persistence' has no latent variables to train"):
            kind(simple)
    with pytest.raises(OptionError, match="n_draws=1; wanted a whole number of at least 2"):
        objective("vae", n_draws=1)
    with pytest.raises(OptionError, match=r"gan=0\.0; wanted a positive number"):
        objective("vae", adversarial=True, gan=0.0)
