"""SuperResolver where it is easily misled: grids, budgets, what came with the data, what was said twice."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from whole_way import JUDGE, QUICK, TINY, regional

import xatmo
from xatmo.errors import OptionError
from xatmo.tasks import SuperResolver
from xatmo.train import Adversarial, TrainSettings


def with_poles() -> xr.DataArray:
    """A smooth field on rows that start on the pole."""
    grid = xatmo.Grid.regular(13, 24)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    values = np.stack([np.sin(lat) + np.cos(lat) * np.cos(lon + k) for k in range(2)])
    time = np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(1, "D")
    dims = ("time", "latitude", "longitude")
    return xr.DataArray(values.astype("f4"), {**grid.coords(), "time": time}, dims, "t", {"units": "K"})


def test_rows_on_the_pole_are_not_turned_upside_down() -> None:
    task = SuperResolver(2, **TINY).fit(with_poles(), **QUICK)
    assert task.model.grid["row_offset"] == -0.5
    assert task.model.config["training"]["augmentation"] == "mirror"
    with pytest.raises(OptionError, match=r"augmentation='symmetries' with 13 rows that start on a pole.*Wanted 'mirr"):
        SuperResolver(2, augmentation="symmetries", **TINY).fit(with_poles(), **QUICK)
    task = SuperResolver(2, **TINY).fit(regional(2)[0], **QUICK)
    assert task.model.config["training"]["augmentation"] == "symmetries"


def test_the_gradient_of_dl4ds_is_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    clips: list[float] = []
    made = TrainSettings.__post_init__

    def noted(self: TrainSettings) -> None:
        clips.append(self.gradient_clip)
        made(self)

    monkeypatch.setattr(TrainSettings, "__post_init__", noted)
    fine = regional(2)[0]
    SuperResolver(2, **TINY).fit(fine, **QUICK)
    SuperResolver(2, compat="dl4ds", **TINY).fit(fine, **QUICK)
    assert clips == [1.0, 0.0]


@pytest.mark.parametrize("kind", [{"adversarial": True, "discriminator": JUDGE}, {"diffusion": True}])
def test_a_budget_of_time_leaves_time_for_the_second_phase(
    kind: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 100)  # three or four looks at it in a step
    monkeypatch.setattr("xatmo.train.callbacks.time", clock)
    settings = {**QUICK, "max_steps": 200, "max_time": "00:00:01", "run_dir": tmp_path}
    task = SuperResolver(2, pretrain=0.5, **TINY, **kind).fit(regional(2)[0], **settings)
    last = int(task.history["step"].max())
    second = task.history["step"][np.isfinite(task.history["adversarial" if "adversarial" in kind else "denoising"])]
    first = task.model.config["training"]["pretrain_steps"]
    assert last < 100, "all of it is less than the first phase has in steps"
    assert 0.4 * last < first < 0.6 * last
    assert (second.min(), second.max()) == (first + 1, last)
    rates = task.history.set_index("step")["learning_rate"]
    assert rates[first] < 0.2 * rates.max()
    assert rates[last] < 0.2 * rates.max()
    again = SuperResolver(2, pretrain=0.5, **TINY, **kind).fit(regional(2)[0], **settings)  # is read
    assert again.model.config["training"]["pretrain_steps"] == first


def test_the_time_of_a_phase_goes_on_with_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr("xatmo.train.callbacks.time", SimpleNamespace(monotonic=lambda: next(ticks) / 100))
    settings = {**QUICK, "max_steps": 200, "max_time": "00:00:01", "run_dir": tmp_path}
    step = Adversarial.training_step

    def interrupted(self: Adversarial, batch: Any, batch_idx: int) -> Any:
        if self.global_step >= self.pretrain_steps + 5:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    def task() -> SuperResolver:
        return SuperResolver(2, pretrain=0.5, adversarial=True, discriminator=JUDGE, **TINY)

    with monkeypatch.context() as inside:
        inside.setattr(Adversarial, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            task().fit(regional(2)[0], **settings)
    done = task().fit(regional(2)[0], **settings)
    first = done.model.config["training"]["pretrain_steps"]
    second = done.history["step"][np.isfinite(done.history["adversarial"])]
    assert 5 < first < 60
    assert second.tolist() == list(range(first + 1, int(done.history["step"].max()) + 1))


def test_a_budget_that_one_step_uses_up_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = count()
    monkeypatch.setattr("xatmo.train.callbacks.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    task = SuperResolver(2, pretrain=0.5, adversarial=True, discriminator=JUDGE, **TINY)
    task.fit(regional(2)[0], **{**QUICK, "max_steps": 9, "max_time": "00:00:01"})
    assert "max_time='00:00:01' was over after 1 steps, before the second phase began" in caplog.text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mc_dropout": True}, "mc_dropout=True with dropout=0.0, which draws nothing; wanted a rate"),
        ({"backbone": "resnet"}, "backbone='resnet' is not available; possible are .*'srgan'"),
        ({"adversarial": True, "discriminator": 3}, "discriminator=3; wanted a kind, such as 'conditional', or a map"),
        ({"optimizer_settings": {"momentum": 0.5}}, "has 'momentum', which optimizer='adamw' does not read; .*'sgd'"),
        ({"optimizer_settings": {"drops": [0.5]}}, "has 'drops', which schedule='one-cycle' does not read; .*'step'"),
        ({"optimizer_settings": {"betas": 0.5}}, "betas=0.5; wanted two decays, 0 to below 1"),
        ({"optimizer_settings": {"betas": ["a", 0.5]}}, "wanted two decays, 0 to below 1"),
        ({"schedule": "step", "optimizer_settings": {"drops": 100}}, "drops=100; wanted parts of the run or steps"),
        ({"optimizer_settings": {"warmup": "long"}}, "warmup='long'; wanted a part of the run"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "weight_decay=0.1, which optimizer='adam' does not read"),
        ({"adversarial": True, "optimizer_settings": {"betas": []}}, "wanted two decays"),
    ],
)
def test_what_would_be_ignored_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SuperResolver(2, **settings)


def test_usual_settings_of_an_optimizer_stay_beside_given_ones() -> None:
    task = SuperResolver(2, compat="dl4ds", optimizer_settings={"betas": (0.8, 0.9)})
    assert task.config["optimizer_settings"] == {"drops": [100000.0], "drop_factor": 0.1, "betas": [0.8, 0.9]}
    task = SuperResolver(2, compat="dl4ds", schedule="constant")
    assert task.config["optimizer_settings"] is None
    again = SuperResolver(**SuperResolver(2, adversarial=True, optimizer="sgd").config)
    assert again.config["optimizer_settings"] is None
