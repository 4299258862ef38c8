"""Training of forecasters that is cut off goes on to the same weights, history, choice and forecasts, to the bit."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from tests.support.training import same
from tests.tasks.test_forecast import weather
from xatmo.errors import ConfigError
from xatmo.train import AdversarialForecast, Forecast, LatentForecast

OBJECTIVES: dict[str, Any] = {"convlstm": Forecast, "vae": LatentForecast, "savp": AdversarialForecast}
NETWORKS: dict[str, dict[str, Any]] = {
    "convlstm": {"network_settings": {"channels": 4, "dropout": 0.1}},
    "vae": {"network_settings": {"widths": [4, 4], "n_blocks": 1}},
    "savp": {
        "network_settings": {"channels": 4, "posterior_widths": [4, 4, 8], "encoder": [[4, 1]], "decoder": [[4, 0]]},
        "objective_settings": {"channels": 2, "members": 1.0, "pretrain": 0.4, "average": 0.9, "images": True},
    },
}
STEPS = 70  # 57 are three epochs, after which there is a save
ALL: dict[str, Any] = {"scheduled_sampling": {"k": 20}, "augmentation": "mirror", "scale": (0.6, 1.6)}


@functools.cache
def fields() -> xr.Dataset:
    return weather(110)[["t2m"]]


def fit(name: str, *, validation: bool = True, steps: int = STEPS, **options: Any) -> xatmo.VideoForecaster:
    ds = fields()
    held_out = ds.isel(time=slice(80, None)) if validation else None
    return xatmo.VideoForecaster(name, 3, 3, **ALL, **NETWORKS[name]).fit(
        ds.isel(time=slice(80)), validation=held_out, max_steps=steps, batch_size=4, accelerator="cpu", progress=False,
        seed=3, **options,
    )  # fmt: skip


def watched(name: str, where: str, at: int, do: Callable[[], Any], **options: Any) -> None:
    """Train, and do something in a step of training, or in a batch of validation."""
    kind, done = OBJECTIVES[name], 0
    usual = getattr(kind, where)

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        nonlocal done
        if at == (self.global_step if where == "training_step" else done):
            do()
        done += 1
        return usual(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, where, step)
        fit(name, **options)


def require_same(one: xatmo.VideoForecaster, other: xatmo.VideoForecaster) -> None:
    assert same(one.model.network, other.model.network)
    assert one.history.drop(columns="seconds").equals(other.history.drop(columns="seconds"))
    assert one.model.config["scores"] == other.model.config["scores"]
    members = {} if one.config["architecture"] == "convlstm" else {"members": 2}
    starts = fields().time.values[90:93]
    made, expected = (fields().atmo.forecast(task, init_time=starts, **members).t2m for task in (one, other))
    np.testing.assert_array_equal(made, expected)


@functools.cache
def whole(name: str, validation: bool = True, steps: int = STEPS) -> xatmo.VideoForecaster:
    return fit(name, validation=validation, steps=steps)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("name", ["convlstm", "vae", pytest.param("savp", marks=pytest.mark.slow)])
def test_ctrl_c_in_training_and_in_validation(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 24, "run_dir": tmp_path}
    for where, at, left in (("training_step", 7, 8), ("validation_step", 1, 19)):
        with pytest.raises(KeyboardInterrupt):
            watched(name, where, at, ctrl_c, **options)
        assert torch.load(tmp_path / "last.ckpt")["global_step"] == left
    require_same(fit(name, **options), whole(name, steps=24))


# ---------------------------------------------------------------------- other runs are refused
def test_other_settings_and_other_data_are_refused(tmp_path: Path) -> None:
    ds = fields()
    train, held_out = ds.isel(time=slice(48)), ds.isel(time=slice(48, 72))
    options: dict[str, Any] = {
        "batch_size": 4, "max_steps": 2, "accelerator": "cpu", "progress": False, "run_dir": tmp_path,
    }  # fmt: skip

    def again(
        train: xr.Dataset = train, held_out: xr.Dataset = held_out, *, options: dict[str, Any] = options, **task: Any
    ) -> xatmo.VideoForecaster:
        made = xatmo.VideoForecaster("convlstm", 3, 3, **NETWORKS["convlstm"], baseline="persistence", **task)
        return made.fit(train, validation=held_out, **options)

    first = again()
    assert same(again(train.chunk(time=7), held_out.chunk(time=5)).model.network, first.model.network)  # only read
    other = train.copy(deep=True)
    other.t2m[:24], other.t2m[24:] = train.t2m.values[24:], train.t2m.values[:24]  # of the same mean and deviation
    for changed, message in (
        ({"learning_rate": 1e-3}, r"learning_rate was .* and is 0\.001"),
        ({"train": other}, r"data\.values\.t2m was \['.*'\] and is"),
        ({"train": ds.isel(time=slice(12, 60))}, r"data\.period was '2019-02-27T00:00 to .* and is '2019-02-27T12"),
        ({"train": train.assign_coords(latitude=ds.latitude - 1)}, r"data\.points was \['56', .* and is \['55'"),
        ({"held_out": ds.isel(time=slice(60, 84))}, r"validation_data\.period was .* and is"),
        ({"held_out": held_out + 1}, r"validation_data\.values\.t2m was .* and is"),
        ({"held_out": None}, r"validation was True and is False; validation_data was {.*} and is None"),
        ({"options": {**options, "initial": first}}, "initial was None and is '"),
        ({"options": {**options, "seed": 1}}, "seed was 0 and is 1"),
        ({"options": {**options, "batch_size": 5}}, "batch_size was 4 and is 5"),
    ):
        given: Any = changed
        if given.get("held_out") is not None:
            given["held_out"].t2m.attrs = ds.t2m.attrs
        with pytest.raises(ConfigError, match=f"with other settings: .*{message}") as refused:
            again(**given)
        assert "\n" not in str(refused.value)


# ---------------------------------------------------------------------- processes that are killed
def end(name: str, validation: str, folder: str, where: str, at: str, number: str) -> None:
    """Train in a process of its own until a signal ends it."""
    watched(
        name, where, int(at), lambda: os.kill(os.getpid(), int(number)), validation=validation == "True",
        run_dir=folder,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("validation", [True, False], ids=["validated", "not_validated"])
@pytest.mark.parametrize("name", NETWORKS)
def test_killed_processes(name: str, validation: bool, tmp_path: Path) -> None:
    moments: list[tuple[str, int, signal.Signals, int]] = [
        ("training_step", 10, signal.SIGKILL, 0),  # the step after which there is a save: none yet
        ("training_step", 30, signal.SIGINT, 31),
        ("training_step", 64, signal.SIGKILL, 57),  # in the phase of discriminators
        ("training_step", 60, signal.SIGTERM, 61),
    ]
    if validation:
        moments[2] = ("validation_step", 4, signal.SIGKILL, 57)  # the last
    for where, at, number, left in moments:
        words = [name, str(validation), str(tmp_path), where, str(at), str(int(number))]
        script = f"from tests.tasks.test_forecast_resumed import end; end(*{words!r})"
        made = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()),
                 "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        status = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}
        assert made.returncode == status[number], made.stderr
        last = tmp_path / "last.ckpt"
        assert (torch.load(last)["global_step"] if last.exists() else 0) == left, made.stderr
    require_same(fit(name, validation=validation, run_dir=tmp_path), whole(name, validation))
