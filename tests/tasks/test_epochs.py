"""Weights of every epoch: kept, scored, chosen; also by a run that was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.errors import CheckpointError, OptionError
from xatmo.tasks import AtmoDist
from xatmo.tasks.representation import _lagged

SETTINGS: dict[str, Any] = {"encoder": "tiny", "head_channels": 8}
OPTIONS: dict[str, Any] = {
    "patch_size": 8, "batch_size": 4, "n_patches": 1, "epochs": 3, "accelerator": "cpu", "progress": False,
    "precision": "32-true", "save_epochs": True, "keep": "last",
}  # fmt: skip


def waves(n_time: int = 12, seed: int = 0) -> xr.Dataset:
    grid = xatmo.Grid.regular(12, 24, poles=False)
    rng = np.random.default_rng(seed)
    lon, t = np.radians(grid.longitude), np.arange(n_time)[:, None, None]
    total = sum(np.cos(k * (lon - 0.1 * t) + rng.uniform(0, 6)) * rng.normal(size=(12, 1)) for k in range(1, 5))
    time = np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(3, "h")
    data = {"vo": (("time", "latitude", "longitude"), (1e-5 * total).astype("f4"), {"units": "s-1"})}
    return xr.Dataset(data, coords={**grid.coords(), "time": time})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[AtmoDist, Path]:
    folder = tmp_path_factory.mktemp("run")
    return AtmoDist(3, **SETTINGS).fit(waves(), **OPTIONS, run_dir=folder), folder


def test_every_epoch_is_scored_on_the_same_pairs(run: tuple[AtmoDist, Path]) -> None:
    task, _ = run
    fingerprint = task.model.fingerprint
    scores = task.evaluate_epochs(waves(seed=1), device="cpu")
    assert scores.epoch.values.tolist() == [1, 2, 3]
    assert scores.confusion.dims == ("epoch", "lag", "predicted_lag")
    assert task.model.fingerprint == fingerprint
    xr.testing.assert_allclose(
        scores.sel(epoch=3, drop=True), task.evaluate(waves(seed=1), device="cpu"), rtol=1e-6
    )  # the last epoch's weights are the task's
    assert np.ptp(scores.cross_entropy.values) > 0
    (only,) = task.evaluate_epochs(waves(), epochs=[2], device="cpu").epoch.values
    assert only == 2


def test_an_epoch_is_chosen_and_saved(run: tuple[AtmoDist, Path], tmp_path: Path) -> None:
    task, folder = run
    scores = task.evaluate_epochs(waves(seed=1), device="cpu")
    task.save(tmp_path / "last")
    again = xatmo.load(tmp_path / "last")
    assert isinstance(again, AtmoDist)
    with pytest.raises(OptionError, match="no weights by epoch: the task does not know its run_dir"):
        again.use_epoch(1)
    again.use_epoch(1, run_dir=folder)
    assert again.model.config["training"]["keep"] == 1
    assert again.model.config["content_scale"] == {}
    found = again.evaluate(waves(seed=1), device="cpu")
    xr.testing.assert_allclose(found, scores.sel(epoch=1, drop=True), rtol=1e-6)
    again.use_epoch(2, waves(), run_dir=folder)
    assert set(again.model.config["content_scale"]) == {"stage4"}
    again.save(tmp_path / "chosen")
    assert xatmo.load(tmp_path / "chosen").model.fingerprint == again.model.fingerprint


def test_an_interrupted_run_keeps_the_epochs_of_an_uninterrupted_one(
    run: tuple[AtmoDist, Path], tmp_path: Path
) -> None:
    count = 0
    original = _lagged.LaggedBatches.tensors

    def tensors(self: Any, windows: Any, pairs: Any) -> Any:
        nonlocal count
        count += 1
        if count == 5:  # in the third epoch
            raise KeyboardInterrupt
        return original(self, windows, pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lagged.LaggedBatches, "tensors", tensors)
        with pytest.raises(KeyboardInterrupt):
            AtmoDist(3, **SETTINGS).fit(waves(), **OPTIONS, run_dir=tmp_path)
    resumed = AtmoDist(3, **SETTINGS).fit(waves(), **OPTIONS, run_dir=tmp_path)
    wanted = run[0].evaluate_epochs(waves(seed=1), device="cpu")
    xr.testing.assert_allclose(resumed.evaluate_epochs(waves(seed=1), device="cpu"), wanted, rtol=1e-4)


def test_what_is_refused(run: tuple[AtmoDist, Path], tmp_path: Path) -> None:
    task, folder = run
    with pytest.raises(OptionError, match=r"epoch=4 was not kept; there are \[1, 2, 3\]"):
        task.use_epoch(4)
    with pytest.raises(OptionError, match="no weights by epoch: nothing is in"):
        task.evaluate_epochs(waves(), run_dir=tmp_path)
    with pytest.raises(OptionError, match="save_epochs=True came without run_dir"):
        AtmoDist(3, **SETTINGS).fit(waves(), **OPTIONS)
    other = AtmoDist(3, encoder="tiny", head_channels=4)
    other.fit(waves(), **{**OPTIONS, "save_epochs": False, "epochs": 1})
    with pytest.raises(CheckpointError, match="the weights of epoch 1 in .* cannot be used"):
        other.use_epoch(1, run_dir=folder)
