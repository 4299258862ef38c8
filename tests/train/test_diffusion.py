"""Training of residual diffusion: phases, the residual's spread, resuming, several processes, missing cells."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import NoisePairs, close, same

from xatmo.errors import ConfigError, MissingValueError, OptionError
from xatmo.nn.diffusion import DiffusionConfig, ResidualDiffusion
from xatmo.nn.superres import SuperResolutionConfig
from xatmo.train import Batch, Diffusion, OptimizerSettings, TrainSettings, fit

SETTINGS = TrainSettings(max_steps=9, accelerator="cpu", precision="32-true")


def objective(mean: dict[str, Any] | None = None, **kwargs: Any) -> Diffusion:
    torch.manual_seed(0)
    config = SuperResolutionConfig(2, **{"channels": 4, "n_blocks": 1, **(mean or {})})
    network = ResidualDiffusion(DiffusionConfig(config, channels=4, n_coarse_blocks=1, n_steps=4))
    pair = (OptimizerSettings(learning_rate=1e-2), OptimizerSettings(learning_rate=2e-2))
    return Diffusion(network, **{"optimizer": pair, "pretrain_steps": 4, "augmentation": "symmetries", **kwargs})


def run(
    source: Any = None, settings: TrainSettings = SETTINGS, given: Diffusion | None = None,
    make: dict[str, Any] | None = None, **kwargs: Any,
) -> tuple[Any, Diffusion]:  # fmt: skip
    module = objective(**(make or {})) if given is None else given
    return fit(module, source or NoisePairs(), settings, progress=False, **kwargs), module


# ---------------------------------------------------------------------- phases
def test_first_the_mean_then_the_denoiser() -> None:
    states: list[tuple[int, dict[str, torch.Tensor]]] = []

    class Watched(Diffusion):
        def on_train_batch_end(self, *args: Any) -> None:
            states.append((self.global_step, copy.deepcopy(self.network.state_dict())))

    module = objective({"norm": "batch", "dropout": 0.2})  # both have to rest when the mean is frozen
    watched = Watched(module.network, optimizer=module.all_optimizer_settings, pretrain_steps=4, loss="mae+gradient")  # type: ignore[arg-type]
    result, _ = run(given=watched)
    assert result.steps == 9
    for (_, before), (step, after) in pairwise(states):
        moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
        if step <= 4:
            assert moved == {"mean_network", "sigma_data"}
        else:
            assert moved <= {"unet", "sigma_data"}
            assert "unet" in moved
    for row in result.history:
        first = row["step"] <= 4
        assert math.isnan(row["denoising"]) is math.isnan(row["denoiser_learning_rate"]) is first
        assert math.isnan(row["mean"]) is math.isnan(row["gradient"]) is not first
        assert row["loss"] == pytest.approx(row["mean"] if first else row["denoising"])
    assert result.history[0]["mean"] == pytest.approx(result.history[0]["mae"] + result.history[0]["gradient"])


def test_the_loss_starts_at_one() -> None:
    """A denoiser that starts at zero makes the error 1 at every level of noise, where the residual's variance is 1."""
    module = objective(pretrain_steps=0)
    rates = tuple(replace(s, learning_rate=1e-9) for s in module.all_optimizer_settings)
    module.all_optimizer_settings = rates
    result, _ = run(NoisePairs(40), replace(SETTINGS, max_steps=40), given=module)
    losses = [row["denoising"] for row in result.history[20:]]
    assert sum(losses) / len(losses) == pytest.approx(1, abs=0.1)


def test_the_spread_of_what_the_mean_leaves_is_measured() -> None:
    result, module = run(NoisePairs(30), replace(SETTINGS, max_steps=32), make={"pretrain_steps": 30})
    expected = math.sqrt(sum(row["mean"] for row in result.history[:30]) / 30)  # squared errors
    assert module.network.sigma_data.item() == pytest.approx(expected, rel=0.02)
    assert int(module.settled) == 30
    _, without = run(NoisePairs(30), replace(SETTINGS, max_steps=22), make={"pretrain_steps": 0})
    assert int(without.settled) == 20  # then it stays
    assert without.network.sigma_data.item() == pytest.approx(expected, rel=0.2)


def test_levels_of_noise_follow_the_distribution() -> None:
    module = objective(noise_mean=-1.0, noise_std=0.5)
    parts = (torch.arange(1000) + 0.5) / 1000
    logs = module._levels(parts).log()
    assert (float(logs.mean()), float(logs.std())) == pytest.approx((-1.0, 0.5), rel=0.01)
    assert module._levels(torch.tensor([0.0, 1.0])).isfinite().all()


def test_the_mean_of_the_denoisers_weights_is_left() -> None:
    weights: list[dict[str, torch.Tensor]] = []

    class Watched(Diffusion):
        def update_average(self, n: int) -> None:
            weights.append(copy.deepcopy(self.network.unet.state_dict()))
            super().update_average(n)

    plain = objective()
    module = Watched(plain.network, average=0.5, pretrain_steps=4)
    run(given=module)
    mean = weights[0]
    for n, one in enumerate(weights[1:], start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        mean = {k: decay * mean[k] + (1 - decay) * one[k] for k in mean}
    for name, value in module.network.unet.state_dict().items():
        torch.testing.assert_close(value, mean[name])


def test_spectra_count_on_request() -> None:
    result, _ = run(make={"spectral_weight": 0.5})
    for row in result.history[4:]:
        assert row["loss"] == pytest.approx(row["denoising"] + 0.5 * row["spectral"])
        assert row["spectral"] > 0
    with pytest.raises(MissingValueError, match="target values are missing"):
        run(Windows(), make={"spectral_weight": 0.5, "mean": {"n_static": 1}})


# ---------------------------------------------------------------------- validation
def test_each_phase_is_validated_by_its_own_loss() -> None:
    result, module = run(validation=NoisePairs(2), make={"validation_loss": "mae", "average": 0.9})
    found = {r["step"]: r["validation_loss"] for r in result.history if not math.isnan(r["validation_loss"])}
    assert sorted(found) == [4, 8, 9]
    module.eval()
    with torch.no_grad():
        pairs = [Batch.of(b) for b in NoisePairs(2).batches(0)]
        mae = [float((module.network.mean(b.input) - b.target).abs().mean()) for b in pairs]
    assert found[4] == pytest.approx(sum(mae) / 2, rel=1e-5)  # the mean has not moved since
    again, _ = run(validation=NoisePairs(2), make={"validation_loss": "mae", "average": 0.9})
    assert again.best_validation_loss == pytest.approx(result.best_validation_loss) == pytest.approx(found[9])


def test_the_best_denoiser_on_request_and_no_stop_before_it(tmp_path: Path) -> None:
    kept = {
        "keep": "best",
        "pretrain_steps": 24,
        "optimizer": OptimizerSettings(learning_rate=0.3, schedule="constant"),
    }
    result, _ = run(
        settings=replace(SETTINGS, max_steps=80, patience=1), validation=NoisePairs(2), make=kept, run_dir=tmp_path
    )
    found = {r["step"]: r["validation_loss"] for r in result.history if not math.isnan(r["validation_loss"])}
    first = [found[s] for s in sorted(found) if s <= 24]
    assert any(b >= a for a, b in pairwise(first))  # patience was at its end, and the run went on
    later = {step: loss for step, loss in found.items() if step > 24}
    assert 24 < result.steps < 80
    assert result.best_validation_loss == pytest.approx(min(later.values()))


# ---------------------------------------------------------------------- resuming
@pytest.mark.parametrize("at", [3, 7])
def test_a_resumed_run_is_bit_equal_from_either_phase(tmp_path: Path, at: int) -> None:
    kept = {"average": 0.9, "mean": {"dropout": 0.2}, "spectral_weight": 0.1}
    whole, expected = run(make=kept)
    with pytest.raises(KeyboardInterrupt):
        run(NoisePairs(fail_at=at), run_dir=tmp_path, make=kept)
    stopped = torch.load(tmp_path / "last.ckpt")["global_step"]
    assert at - 3 <= stopped < at
    resumed, module = run(run_dir=tmp_path, make=kept)
    assert same(module, expected)
    assert resumed.steps == 9
    for row, wanted in zip(resumed.history, whole.history, strict=True):
        del row["seconds"], wanted["seconds"]
        assert row == pytest.approx(wanted, rel=1e-6, nan_ok=True)


def test_changed_settings_are_refused_by_name(tmp_path: Path) -> None:
    run(run_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"noise_mean was -0.5 and is -1.0; spectral_weight was 0.0 and is 1.0"):
        run(run_dir=tmp_path, make={"noise_mean": -1.0, "spectral_weight": 1.0})


# ---------------------------------------------------------------------- precision, processes
def test_bfloat16() -> None:
    result, module = run(settings=replace(SETTINGS, precision="bf16-mixed"))
    exact, _ = run()
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in module.parameters())
    assert result.history[-1]["denoising"] == pytest.approx(exact.history[-1]["denoising"], rel=0.1)


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_and_spread(tmp_path: Path) -> None:
    kept = {"average": 0.9, "augmentation": "none"}
    _, alone = run(NoisePairs(joined=2), make=kept, validation=NoisePairs(joined=2))
    two, module = run(NoisePairs(), replace(SETTINGS, devices=2), make=kept, validation=NoisePairs(), run_dir=tmp_path)
    assert two.steps == 9
    close(module.network.mean_network, alone.network.mean_network, rtol=1e-3, atol=1e-4)
    # Noise differs from rank to rank, so the denoiser of one process with the joined batch is another one.
    torch.testing.assert_close(module.network.sigma_data, alone.network.sigma_data, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- batches of every kind
class Windows(NoisePairs):
    """Windows of three frames with areas and a static field; a part of input and target is missing."""

    frames: int | None = None

    def batches(self, epoch: int, **kwargs: Any) -> Iterator[Any]:
        for k in range(kwargs.get("start", 0), self.n):
            generator = torch.Generator().manual_seed(10 * epoch + k)
            shape = (2, 1, 8, 8) if self.frames is None else (2, 1, self.frames, 8, 8)
            fine = torch.randn(shape, generator=generator)
            pool = nn.functional.avg_pool2d
            coarse = pool(fine, 2) if self.frames is None else nn.functional.avg_pool3d(fine, (1, 2, 2))
            fine[..., :2, :] = math.nan
            coarse[..., 0, :2] = math.nan
            area = torch.rand(2, 1, 8, 8, generator=generator) + 0.5
            yield {"input": coarse, "target": fine, "weight": area, "static": area}


@pytest.mark.parametrize(("frames", "window"), [(None, None), (3, None), (3, 3)])
def test_windows_static_fields_weights_and_gaps(frames: int | None, window: int | None) -> None:
    source = Windows()
    source.frames = frames
    module = objective({"n_static": 1, "time_window": window})
    result, _ = run(source, replace(SETTINGS, max_steps=20), given=module, validation=source)
    assert all(p.isfinite().all() for p in module.parameters())
    assert all(math.isfinite(row["loss"]) for row in result.history)
    assert math.isfinite(float(result.best_validation_loss or math.nan))


def test_missing_cells_and_weights_are_as_if_they_were_not_there() -> None:
    """Cells without weight teach nothing: other values there give the same gradient."""
    module = objective(pretrain_steps=0)
    fine = torch.randn(2, 1, 8, 8)
    coarse = nn.functional.avg_pool2d(fine, 2)
    weight = torch.ones(2, 1, 8, 8)
    missing = fine.clone()
    missing[..., 2] = math.nan
    weight[..., 2] = 0
    filled = torch.nan_to_num(missing, nan=0.0) + (weight == 0) * module.network.mean(coarse).detach()
    found = []
    for batch in (Batch(coarse, missing), Batch(coarse, filled, weight)):
        torch.manual_seed(1)
        mean = module.network.mean(coarse).detach()
        loss, _ = module._denoising(batch, mean, torch.tensor([0.3, 2.0]), module.network.unet)
        found.append(loss)
    torch.testing.assert_close(found[0], found[1])


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"noise_mean": math.nan}, "noise_mean=nan; wanted a finite number"),
        ({"noise_std": 0.0}, "noise_std=0.0; wanted a positive number"),
        ({"spectral_weight": -1}, "spectral_weight=-1; wanted a number that is not negative"),
        ({"average": 0.0}, "average=0.0; wanted a decay"),
        ({"keep": "first"}, "keep='first'; possible are"),
        ({"pretrain_steps": 1.5}, "pretrain_steps=1.5; wanted a whole number of at least 0"),
        ({"optimizer": (OptimizerSettings(),)}, "1 optimizers came; wanted a pair, for mean network, denoiser"),
    ],
)
def test_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        objective(**change)


def test_some_steps_have_to_be_the_denoisers() -> None:
    with pytest.raises(OptionError, match="pretrain_steps=9 of max_steps=9; wanted some left for the denoiser"):
        run(make={"pretrain_steps": 9})
