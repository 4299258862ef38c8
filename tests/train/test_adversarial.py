"""Adversarial training: what a step is, phases, resuming, several processes, stability, refusals."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import NoisePairs as Pairs
from training import close, same

from xatmo.errors import MissingValueError, OptionError
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.discriminators import make
from xatmo.train import GATE, Adversarial, Batch, OptimizerSettings, TrainSettings, fit
from xatmo.train._criteria import CRITERIA

SETTINGS = TrainSettings(max_steps=9, accelerator="cpu", precision="32-true")


def objective(**kwargs: Any) -> Adversarial:
    torch.manual_seed(0)
    network = SuperResolution(SuperResolutionConfig(2, channels=4, n_blocks=1))
    discriminator = make("conditional", factor=2, channels=4, n_blocks=1, dense=4, **kwargs.pop("judge", {}))
    kwargs = {"optimizer": OptimizerSettings.pair(learning_rate=(1e-2, 2e-2)), "augmentation": "symmetries", **kwargs}
    return Adversarial(network, discriminator, **kwargs)


def run(
    source: Pairs | None = None, settings: TrainSettings = SETTINGS, given: Adversarial | None = None,
    make: dict[str, Any] | None = None, **kwargs: Any,
) -> tuple[Any, Adversarial]:  # fmt: skip
    module = objective(**(make or {})) if given is None else given
    return fit(module, source or Pairs(), settings, progress=False, **kwargs), module


# ---------------------------------------------------------------------- steps and history
def test_a_step_is_one_batch_and_both_networks_move() -> None:
    before = objective()
    source = Pairs()
    result, module = run(source)
    assert result.steps == 9
    assert [row["step"] for row in result.history] == list(range(1, 10))
    assert [row["epoch"] for row in result.history] == [0] * 4 + [1] * 4 + [2]
    assert 9 <= source.given <= 11
    assert not same(module.network, before.network)
    assert not same(module.discriminator, before.discriminator)
    row = result.history[-1]
    assert {"loss", "content", "adversarial", "discriminator", "discriminator_accuracy"} <= set(row)
    assert row["loss"] == pytest.approx(row["content"] + 1e-3 * row["adversarial"], rel=1e-5)
    assert row["true_positive"] + row["false_negative"] == pytest.approx(1)
    assert row["true_negative"] + row["false_positive"] == pytest.approx(1)
    assert row["discriminator_accuracy"] == pytest.approx((row["true_positive"] + row["true_negative"]) / 2)
    assert (row["learning_rate"], row["discriminator_learning_rate"]) == pytest.approx((1e-2, 2e-2))


def test_pretraining_minimises_the_content_alone() -> None:
    kept = {"pretrain_steps": 5, "loss": "mae+0.5 gradient"}
    result, module = run(make=kept)
    first, second = result.history[:5], result.history[5:]
    for row in first:
        assert math.isnan(row["discriminator"])
        assert math.isnan(row["adversarial"])
        assert row["loss"] == pytest.approx(row["content"]) == pytest.approx(row["mae"] + 0.5 * row["gradient"])
    assert all(not math.isnan(row["discriminator"]) for row in second)
    # The discriminator was not touched before: four updates from the start give its optimizer's count.
    shorter, _ = run(settings=replace(SETTINGS, max_steps=6), make=kept)
    assert shorter.history[4]["loss"] == pytest.approx(result.history[4]["loss"])
    assert module.average is None


def test_the_gate_gives_the_weaker_one_more_updates_that_are_no_steps() -> None:
    for gate, extra, other in (
        ((10.0, 20.0), "extra_generator", "extra_discriminator"),
        ((0.0, 0.0), "extra_discriminator", "extra_generator"),
    ):
        result, module = run(make={"gate": gate})
        assert result.steps == 9
        assert [row[extra] for row in result.history] == [1.0] * 9
        assert [row[other] for row in result.history] == [0.0] * 9
        plain, without = run()
        generator = extra == "extra_generator"
        assert same(module.network, without.network) is False
        assert plain.history[0]["discriminator"] == pytest.approx(result.history[0]["discriminator"])
        assert (plain.history[1]["content"] == pytest.approx(result.history[1]["content"])) is not generator
    result, _ = run(make={"gate": GATE})
    assert all(row["extra_generator"] == (row["discriminator"] < GATE[0]) for row in result.history)
    assert all(row["extra_discriminator"] == (row["discriminator"] > GATE[1]) for row in result.history)


def test_updates_are_counted_by_the_optimizers(tmp_path: Path) -> None:
    run(run_dir=tmp_path, make={"pretrain_steps": 3, "gate": (0.0, 0.0)})
    states = torch.load(tmp_path / "last.ckpt")["optimizer_states"]
    counts = [{int(s["step"]) for s in state["state"].values()} for state in states]
    assert counts == [{9}, {2 * 6}]


# ---------------------------------------------------------------------- resuming
@pytest.mark.parametrize("at", [3, 7])
def test_a_resumed_run_is_bit_equal_from_either_phase(tmp_path: Path, at: int) -> None:
    kept = {"pretrain_steps": 4, "average": 0.9, "gate": GATE, "penalty": 1.0, "judge": {"spectral_norm": True}}
    whole, expected = run(make=kept)  # the discriminator has dropout, too
    with pytest.raises(KeyboardInterrupt):
        run(Pairs(fail_at=at), run_dir=tmp_path, make=kept)
    stopped = torch.load(tmp_path / "last.ckpt")["global_step"]
    assert at - 3 <= stopped < at
    source = Pairs()
    resumed, module = run(source, run_dir=tmp_path, make=kept)
    assert source.given <= 9 - stopped + 2  # it did not start anew; some are made ahead
    assert same(module, expected)
    assert resumed.steps == 9
    for row, wanted in zip(resumed.history, whole.history, strict=True):
        del row["seconds"], wanted["seconds"]
        assert row == pytest.approx(wanted, rel=1e-6, nan_ok=True)


def test_changed_settings_are_refused_by_name(tmp_path: Path) -> None:
    from xatmo.errors import ConfigError

    run(run_dir=tmp_path)
    json.loads((tmp_path / "run.json").read_text())
    with pytest.raises(ConfigError, match="criterion was 'cross_entropy' and is 'hinge'; penalty was 0.0 and is 2.0"):
        run(run_dir=tmp_path, make={"criterion": "hinge", "penalty": 2.0})


def test_adversarial_training_goes_on_from_a_trained_generator() -> None:
    _, first = run(make={"pretrain_steps": 8})
    module = objective()
    module.network.load_state_dict(first.network.state_dict())
    result, _ = run(given=module)
    assert not math.isnan(result.history[0]["adversarial"])


def test_an_update_that_was_cut_off_is_not_saved(tmp_path: Path) -> None:
    """Between the discriminator's update and the generator's, weights belong to no step."""
    module = objective()

    def interrupt(*args: Any) -> None:
        if module.global_step == 5 and module.stepping and not module.discriminator.joint.first.weight.requires_grad:
            raise KeyboardInterrupt

    module.discriminator.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(run_dir=tmp_path, given=module)
    assert not (tmp_path / "last.ckpt").exists()


# ---------------------------------------------------------------------- precision, processes
def test_bfloat16() -> None:
    kept = {"average": 0.9, "penalty": 1.0, "pretrain_steps": 2}
    result, module = run(settings=replace(SETTINGS, precision="bf16-mixed"), make=kept)
    exact, _ = run(make=kept)
    assert result.precision == "bf16-mixed"
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in module.parameters())
    assert result.history[-1]["content"] == pytest.approx(exact.history[-1]["content"], rel=0.05)


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    kept = {"pretrain_steps": 3, "gate": (0.5, 0.69), "penalty": 1.0, "average": 0.9, "augmentation": "none"}
    kept["judge"] = {"dropout": 0.0}
    one, alone = run(Pairs(joined=2), make=kept, validation=Pairs(joined=2))
    settings = replace(SETTINGS, devices=2)
    two, module = run(Pairs(), settings, make=kept, validation=Pairs(), run_dir=tmp_path)
    assert two.steps == 9
    close(module, alone, rtol=1e-3, atol=1e-4)
    for name in ("loss", "discriminator", "discriminator_accuracy", "extra_discriminator", "validation_loss"):
        values = [[row[name] for row in r.history] for r in (two, one)]
        assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-4, nan_ok=True)


@pytest.mark.slow
def test_two_processes_end_together_when_the_loss_is_no_number() -> None:
    with pytest.raises(MissingValueError, match="no finite loss at step"):
        run(Pairs(bad_from=4), replace(SETTINGS, devices=2), make={"loss": "mse"})


# ---------------------------------------------------------------------- stability
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=120)
    with pytest.raises(MissingValueError, match=r"no finite loss at step 61 \(content inf.*adversarial.*lower|Lower"):
        run(Pairs(bad_from=60), settings, make={"loss": "mse"}, run_dir=tmp_path)
    saved = torch.load(tmp_path / "last.ckpt")
    assert saved["global_step"] == 52
    assert all(v.isfinite().all() for v in saved["state_dict"].values())


def test_gradients_are_clipped_by_network() -> None:
    norms: list[float] = []

    class Watched(Adversarial):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            super().on_before_optimizer_step(optimizer)
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norms.append(float(torch.stack([g.norm() for g in grads]).norm()))

    plain = objective()
    run(given=Watched(plain.network, plain.discriminator), settings=replace(SETTINGS, gradient_clip=0.01))
    assert len(norms) == 18
    assert max(norms) <= 0.01 * (1 + 1e-4)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_the_penalty_is_the_squared_gradient() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.arange(64.0).reshape(8, 8))

        def forward(self, fine: torch.Tensor, coarse: Any = None, static: Any = None) -> torch.Tensor:
            return (fine * self.weight).sum(dim=(1, 2, 3)).unsqueeze(1)

    discriminator = Linear()
    module = Adversarial(objective().network, discriminator, penalty=1.0)
    coarse, fine = Pairs.one(0, 0, 0)
    size = module._gradient_at(fine, Batch(coarse, fine))
    assert size.item() == pytest.approx(discriminator.weight.square().sum().item(), rel=1e-6)
    size.backward()
    torch.testing.assert_close(discriminator.weight.grad, 2 * discriminator.weight.detach())


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_criteria(criterion: str) -> None:
    found = CRITERIA[criterion]
    sure, wrong = torch.full((4, 1), 5.0), torch.full((4, 1), -5.0)
    level = torch.zeros(4, 1)
    assert found.discriminator(sure, wrong) < 0.01 < found.discriminator(wrong, sure)
    assert found.generator(wrong, sure) < found.generator(sure, wrong)
    chance = {"cross_entropy": math.log(2), "hinge": 1.0, "relativistic": math.log(2)}[criterion]
    assert float(found.discriminator(level, level)) == pytest.approx(chance)
    logits = torch.randn(4, 1, requires_grad=True)
    found.generator(level + 0.3, logits).backward()
    assert logits.grad is not None
    assert (logits.grad < 0).all()  # the generator raises the logits of what it makes
    result, _ = run(make={"criterion": criterion})
    assert math.isfinite(result.history[-1]["loss"])


def test_cross_entropy_is_that_of_the_joined_batch() -> None:
    real, made = torch.randn(5, 1), torch.randn(5, 1)
    labels = torch.cat([torch.ones(5, 1), torch.zeros(5, 1)])
    expected = nn.functional.binary_cross_entropy_with_logits(torch.cat([real, made]), labels)
    torch.testing.assert_close(CRITERIA["cross_entropy"].discriminator(real, made), expected)


def test_the_mean_of_the_weights_is_left() -> None:
    weights: list[dict[str, torch.Tensor]] = []

    class Watched(Adversarial):
        def update_average(self, n: int) -> None:
            weights.append(copy.deepcopy(self.network.state_dict()))
            super().update_average(n)

    plain = objective()
    module = Watched(plain.network, plain.discriminator, average=0.5, pretrain_steps=4)
    run(given=module)
    assert len(weights) == 5
    mean = weights[0]
    for n, one in enumerate(weights[1:], start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        mean = {k: decay * mean[k] + (1 - decay) * one[k] for k in mean}
    for name, value in module.network.state_dict().items():
        torch.testing.assert_close(value, mean[name])


# ---------------------------------------------------------------------- validation
def test_the_last_weights_are_kept_and_training_is_not_stopped() -> None:
    settings = replace(SETTINGS, patience=1)
    result, module = run(settings=settings, validation=Pairs(2), make={"adversarial_weight": 1.0})
    _, without = run(settings=settings, make={"adversarial_weight": 1.0})
    assert result.steps == 9
    assert same(module.network, without.network)
    losses = [r["validation_loss"] for r in result.history if not math.isnan(r["validation_loss"])]
    assert len(losses) == 3
    assert result.best_validation_loss == pytest.approx(losses[-1])


def test_the_best_of_the_adversarial_phase_on_request(tmp_path: Path) -> None:
    kept = {"keep": "best", "pretrain_steps": 8, "adversarial_weight": 100.0, "validation_loss": "mse"}
    settings = replace(SETTINGS, max_steps=80, patience=2)
    result, _ = run(settings=settings, validation=Pairs(2), make=kept, run_dir=tmp_path)
    losses = {r["step"]: r["validation_loss"] for r in result.history if not math.isnan(r["validation_loss"])}
    later = {step: loss for step, loss in losses.items() if step > 8}
    assert result.steps < 80  # patience
    assert result.best_validation_loss == pytest.approx(min(later.values()))
    best = torch.load(tmp_path / "best.ckpt")["global_step"]
    assert best == min(later, key=lambda step: later[step]) > 8


# ---------------------------------------------------------------------- batches of every kind
class Windows(Pairs):
    """Windows of three frames with areas and a static field; a part of the target is missing."""

    def batches(self, epoch: int, **kwargs: Any) -> Iterator[Any]:
        for k in range(kwargs.get("start", 0), self.n):
            generator = torch.Generator().manual_seed(10 * epoch + k)
            fine = torch.randn(2, 1, 3, 8, 8, generator=generator)
            coarse = nn.functional.avg_pool3d(fine, (1, 2, 2))
            fine[:, :, 1, :2] = math.nan
            coarse[:, :, 0, 0] = math.nan
            area = torch.rand(2, 1, 8, 8, generator=generator) + 0.5
            yield {"input": coarse, "target": fine, "weight": area, "static": area}


class Framewise(nn.Module):
    """A generator of windows that takes a static field."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv3d(2, 1, 1)

    def forward(self, x: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
        up = nn.functional.interpolate(x, scale_factor=(1, 2, 2))
        out: torch.Tensor = self.scale(torch.cat([up, static.unsqueeze(2).expand_as(up)], dim=1))
        return out


@pytest.mark.parametrize("kind", ["conditional", "srgan"])
def test_windows_static_fields_weights_and_gaps(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "conditional":
        discriminator = make(kind, factor=2, n_static=1, time_window=3, channels=4, n_blocks=1)
    else:
        discriminator = make(kind, factor=2, widths=(4, 8), strides=(1, 2), dense=8)
    module = Adversarial(
        Framewise(), discriminator, optimizer=OptimizerSettings.pair(learning_rate=0.05), augmentation="symmetries",
        penalty=0.1, gate=GATE,
    )  # fmt: skip
    result, _ = run(Windows(), replace(SETTINGS, max_steps=30), given=module, validation=Windows(2))
    assert all(p.isfinite().all() for p in module.parameters())
    assert result.history[-1]["content"] < result.history[0]["content"]


def test_missing_targets_are_the_same_in_both_fields() -> None:
    seen: list[torch.Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, fine: torch.Tensor, coarse: Any = None, static: Any = None) -> torch.Tensor:
            seen.append(fine.detach())
            return self.weight * fine.mean(dim=(1, 2, 3, 4)).unsqueeze(1)

    run(Windows(), replace(SETTINGS, max_steps=1), given=Adversarial(Framewise(), Spy()))
    assert all((fine[:, :, 1, :2] == 0).all() and fine.isfinite().all() for fine in seen)


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"criterion": "magic"}, "criterion='magic'; possible are"),
        ({"keep": "none"}, "keep='none'; possible are"),
        ({"content_weight": -1.0}, "content_weight=-1.0"),
        ({"adversarial_weight": 0.0}, "adversarial_weight=0.0; wanted a positive number"),
        ({"penalty": -1.0}, "penalty=-1.0"),
        ({"pretrain_steps": -1}, "pretrain_steps=-1; wanted a whole number of at least 0"),
        ({"gate": (0.6, 0.4)}, r"gate=\(0.6, 0.4\); wanted two losses in rising order"),
        ({"average": 1.0}, "average=1.0; wanted a decay"),
        ({"optimizer": (OptimizerSettings(),)}, "1 optimizers came; wanted a pair"),
    ],
)
def test_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        objective(**change)


def test_some_steps_have_to_be_adversarial() -> None:
    with pytest.raises(OptionError, match="pretrain_steps=9 of max_steps=9; wanted some left"):
        run(make={"pretrain_steps": 9})


# ---------------------------------------------------------------------- every generator
@pytest.mark.slow
@pytest.mark.parametrize("upsampling", ["interpolation", "subpixel", "resize", "deconvolution"])
@pytest.mark.parametrize("backbone", ["plain", "residual", "dense"])
@pytest.mark.parametrize("time_window", [None, 3])
def test_every_generator_trains(backbone: str, upsampling: str, time_window: int | None) -> None:
    """Factor 3, a rectangle, two variables of three inputs, a static field."""

    class Source(Pairs):
        def batches(self, epoch: int, *, start: int = 0, **kwargs: Any) -> Iterator[Any]:
            time = () if time_window is None else (time_window,)
            for k in range(start, self.n):
                generator = torch.Generator().manual_seed(k)
                shapes = ((3, *time, 4, 5), (2, *time, 12, 15), (1, 12, 15))
                coarse, fine, static = (torch.randn(2, *shape, generator=generator) for shape in shapes)
                yield Batch(coarse, fine, None, static)

    torch.manual_seed(0)
    common: dict[str, Any] = {"n_inputs": 3, "n_outputs": 2, "n_static": 1, "time_window": time_window}
    common |= {"upsampling": upsampling, "channels": 4, "n_blocks": 1}
    network = SuperResolution(SuperResolutionConfig(3, backbone=backbone, baseline_channels=(0, 1), **common))
    module = Adversarial(
        network, make("conditional", factor=3, **common), "mae+gradient", pretrain_steps=1, augmentation="mirror",
        optimizer=OptimizerSettings.pair(learning_rate=1e-2),
    )  # fmt: skip
    before = copy.deepcopy(network)
    result, _ = run(Source(), replace(SETTINGS, max_steps=3), given=module)
    assert result.steps == 3
    assert all(p.isfinite().all() for p in module.parameters())
    assert not same(network, before)


def test_the_generator_of_srgan_trains() -> None:
    from xatmo.nn.superres.srgan import SRGAN, SRGANConfig

    torch.manual_seed(0)
    network = SRGAN(SRGANConfig.atmodist((2,), channels=4, n_blocks=1))
    judge = make("srgan", factor=2, widths=(4, 8), strides=(1, 2), dense=8)
    result, _ = run(given=Adversarial(network, judge, "mse", pretrain_steps=3, gate=GATE))
    assert math.isfinite(result.history[-1]["discriminator"])
