"""The supervised objective of forecasts: what counts, what is drawn, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training import same

from xatmo.errors import ConfigError, OptionError
from xatmo.nn.video import VideoConfig, VideoInput, VideoNetwork
from xatmo.train import Forecast, OptimizerSettings, TrainSettings, VideoBatch, fit
from xatmo.train.video import truth_probability

SETTINGS = TrainSettings(max_steps=6, accelerator="cpu", precision="32-true")
PARTS = ("frames", "cycle", "known", "static")


def network(architecture: str = "convlstm", **config: Any) -> VideoNetwork:
    torch.manual_seed(0)
    small = {"channels": 4, "size": 3} if architecture == "convlstm" else {}
    return VideoNetwork(
        VideoConfig(architecture, n_out=1, n_state=2, n_context=3, n_future=2, n_known=1, n_static=1, cycle=True,
                    baseline="diurnal" if architecture == "convlstm" else "none", settings=small) if not config
        else VideoConfig(architecture, settings=small, **config)
    )  # fmt: skip


class Frames:
    """Noise, a function of the number of the batch; ``late``: added to all after the context."""

    def __init__(self, n: int = 4, *, fail_at: int | None = None) -> None:
        self.n, self.fail_at, self.given = n, fail_at, 0

    def n_batches(self, world_size: int = 1) -> int:
        return self.n

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[VideoBatch]:
        for k in range(start, self.n):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            yield batch(10 * epoch + k)


def batch(seed: int = 0) -> VideoBatch:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 2, 5), (2, 2, 5), (2, 1, 5), (2, 1))
    return VideoBatch(*(torch.randn(*s, 6, 7, generator=generator) for s in shapes))


def objective(**settings: Any) -> Forecast:
    return Forecast(network(), optimizer=OptimizerSettings(learning_rate=0.01), **settings)


def errors(net: VideoNetwork, b: VideoBatch) -> torch.Tensor:
    x = VideoInput(b.frames[:, :, :3], b.cycle, b.known, b.static)
    return (net.state(x) - b.frames[:, :, 3:]).square()


def test_loss_is_that_of_the_targets() -> None:
    b = batch()
    wanted = errors(network(), b)[:, :1].mean()
    torch.testing.assert_close(objective().validation_step(b, 0), wanted)
    torch.testing.assert_close(objective().validation_step(b._asdict(), 0), wanted)
    torch.testing.assert_close(objective(loss="2 mse").validation_step(tuple(b), 0), 2 * wanted)


def losses(made: Forecast, b: VideoBatch, *, training: bool = True) -> torch.Tensor:
    return made.loss.total(made._losses(b, 0.0, training=training))


def test_variables_leads_and_areas_count_as_they_are_told() -> None:
    b = batch()
    square = errors(network(), b)
    own, other = square[:, 0].mean(), square[:, 1].mean()
    torch.testing.assert_close(losses(objective(auxiliary=0.5), b), (own + 0.5 * other) / 1.5)
    torch.testing.assert_close(losses(objective(channel_weights=[1.0, 3.0]), b), (own + 3 * other) / 4)
    # In validation the variables to forecast are what matters.
    torch.testing.assert_close(losses(objective(auxiliary=0.5), b, training=False), own)
    torch.testing.assert_close(losses(objective(lead_weights=[0.0, 2.0]), b), square[:, 0, 1].mean())
    area = torch.zeros(2, 1, 1, 6, 7)
    area[..., 2:4] = 3.0
    torch.testing.assert_close(losses(objective(), b._replace(weight=area)), square[:, 0, ..., 2:4].mean())


def test_missing_values_of_the_future_do_not_count_and_those_of_the_past_are_usual() -> None:
    b = batch()
    future = b.frames.clone()
    future[:, :, 3:, :, :2] = torch.nan
    square = errors(network(), b)
    torch.testing.assert_close(losses(objective(), b._replace(frames=future)), square[:, 0, :, :, 2:].mean())
    past = b.frames.clone()
    past[:, :, :3, 0] = torch.nan
    assert b.cycle is not None
    usual = torch.where(past.isnan(), b.cycle, past)
    made = objective()
    torch.testing.assert_close(losses(made, b._replace(frames=past)), losses(made, b._replace(frames=usual)))


def test_truth_is_read_only_while_it_is_offered() -> None:
    b, made = batch(), objective(scheduled_sampling={"steps": 100})
    with torch.no_grad():
        made.network.inner.head.weight.normal_()  # type: ignore[union-attr, operator]
    moved = b.frames.clone()
    moved[:, :, 3] += 1.0  # all but the first frame of the future stay the same
    first, second = (made._losses(b._replace(frames=f), 1.0, training=True)["mse"] for f in (b.frames, moved))
    square = [errors(made.network, b._replace(frames=f))[:, 0, 1].mean() for f in (b.frames, moved)]
    torch.testing.assert_close(*square)
    assert not torch.allclose(first, second)


def test_one_factor_by_sample_for_past_and_future() -> None:
    import numpy as np

    from xatmo.train.video import scaled

    b = batch()
    made = scaled(b, (0.5, 2.0), np.random.default_rng(0))
    assert b.cycle is not None
    ratio = ((made.frames - b.cycle) / (b.frames - b.cycle)).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert bool(((ratio[:, 0] > 0.5) & (ratio[:, 0] < 2)).all())
    assert not torch.isclose(ratio[0, 0], ratio[1, 0])
    assert made.cycle is b.cycle
    torch.testing.assert_close(
        scaled(b._replace(cycle=None), (3.0, 3.0), np.random.default_rng(0)).frames, 3 * b.frames
    )


def test_schedules() -> None:
    for sampling, wanted in (
        (None, [0, 0, 0]), ({"steps": 10}, [1, 0.5, 0]), ({"first": 0.4, "steps": 10}, [0.4, 0.2, 0]),
    ):  # fmt: skip
        assert [truth_probability(sampling, step) for step in (0, 5, 50)] == pytest.approx(wanted)
    # SAVP: one half at about 6.1 thousand steps, nothing from about 12.3 thousand on.
    assert truth_probability({"k": 900}, 6122) == pytest.approx(0.5, abs=1e-3)
    assert truth_probability({"k": 900}, 12_300) > 0
    assert truth_probability({"k": 900}, 12_400) == 0
    assert truth_probability({"k": 1}, 10**6) == 0


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "scheduled_sampling": {"first": 0.5, "steps": 100}, "augmentation": "mirror", "scale": (0.6, 1.6),
        "auxiliary": 0.1,
    }  # fmt: skip
    whole = objective(**settings)
    result = fit(whole, Frames(), SETTINGS, validation=Frames(1), progress=False)
    assert result.steps == 6
    assert result.best_validation_loss is not None
    parts = objective(**settings)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, Frames(fail_at=6), SETTINGS, validation=Frames(1), run_dir=tmp_path, progress=False)
    parts = objective(**settings)
    fit(parts, Frames(), SETTINGS, validation=Frames(1), run_dir=tmp_path, progress=False)
    assert same(whole.network, parts.network)
    with pytest.raises(ConfigError, match="scale"):
        fit(objective(**{**settings, "scale": None}), Frames(), SETTINGS, validation=Frames(1), run_dir=tmp_path)
    other = objective(**settings, seed=1)
    fit(other, Frames(), SETTINGS, validation=Frames(1), progress=False)
    assert not same(whole.network, other.network)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": (1.6, 0.6)}, "scale=(1.6, 0.6); wanted two positive numbers, the lower first"),
        ({"scale": 2.0}, "scale=2.0; wanted two positive numbers"),
        ({"scale": (0.0, 1.0)}, "scale=0.0; wanted a positive number"),
        ({"scheduled_sampling": {"k": 0}}, "scheduled_sampling['k']=0; wanted a positive number"),
        ({"scheduled_sampling": {"kind": 1}}, "scheduled_sampling={'kind': 1}; wanted {'k': 900}"),
        ({"scheduled_sampling": {"first": 2, "steps": 9}}, "with a first probability of at most 1"),
        ({"lead_weights": [1.0]}, "lead_weights=[1.0]; wanted 2 numbers, one above 0"),
        ({"channel_weights": [0, 1]}, "channel_weights=[0, 1]; wanted 2 numbers, one of the first 1 above 0"),
        ({"auxiliary": -1}, "auxiliary=-1; wanted a number that is not negative"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        objective(**settings)
    assert message in str(caught.value)
