"""Inpainter: trained, scored against smooth surfaces, saved; its features; what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from xatmo.errors import ConfigError, OptionError
from xatmo.tasks import AtmoDist, Inpainter
from xatmo.tasks.representation import _holes

QUICK: dict[str, Any] = {
    "max_steps": 2, "patch_size": 16, "batch_size": 4, "accelerator": "cpu", "progress": False, "precision": "32-true",
}  # fmt: skip


def waves(n_time: int = 6, seed: int = 0) -> xr.Dataset:
    """Two fields of waves, the second twice the first and in other units."""
    grid = xatmo.Grid.regular(24, 48, poles=False)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    rng = np.random.default_rng(seed)
    total = np.zeros((n_time, 24, 48))
    for k in range(3, 7):
        total += np.cos(k * lon + rng.uniform(0, 6, (n_time, 1, 1)) + lat * rng.integers(-3, 4, (n_time, 1, 1)))
    time = np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(6, "h")
    dims = ("time", "latitude", "longitude")
    data = {
        "vo": (dims, (1e-5 * total).astype("f4"), {"units": "s-1"}),
        "t": (dims, (280 + 2 * total).astype("f4"), {"units": "K"}),
    }
    return xr.Dataset(data, coords={**grid.coords(), "time": time})


@pytest.fixture(scope="module")
def fitted() -> Inpainter:
    return Inpainter(encoder="tiny").fit(waves(), **QUICK)


def test_fit_save_load_and_features(fitted: Inpainter, tmp_path: Path) -> None:
    ds = waves(2)
    fitted.save(tmp_path / "m")
    again = xatmo.load(tmp_path / "m")
    assert isinstance(again, Inpainter)
    assert again.model.fingerprint == fitted.model.fingerprint
    features = ds.atmo.embed(again, device="cpu")
    assert (features.attrs["layer"], features.sizes["feature"]) == ("stage3", 64 * 4 * 4)
    far = ds.isel(time=0, drop=True).atmo.distance(ds.isel(time=1, drop=True), fitted, device="cpu")
    assert (far > 0).all()
    xr.testing.assert_allclose(again.evaluate(ds, device="cpu"), fitted.evaluate(ds, device="cpu"))


def test_errors_are_in_physical_units(fitted: Inpainter) -> None:
    ds = waves()
    scores = fitted.evaluate(ds, n_patches=8, device="cpu")
    assert scores.filler.values.tolist() == ["network", "smooth", "mean"]
    assert (scores.t.attrs["units"], scores.vo.attrs["units"]) == ("K", "s-1")
    assert scores.attrs["n_patches"] == 6 * 8
    smooth, mean = scores.sel(filler="smooth"), scores.sel(filler="mean")
    np.testing.assert_allclose(smooth.t / smooth.vo, 2e5, rtol=1e-3)  # the same shape in both
    np.testing.assert_allclose(mean.t, ds.t.std(), rtol=0.3)
    other = ds.assign(t=(ds.t - 273.15).assign_attrs(units="degC"))
    np.testing.assert_allclose(fitted.evaluate(other, n_patches=8, device="cpu").t, scores.t, rtol=1e-3)


def test_smooth_surfaces_are_harmonic() -> None:
    """x^2 - y^2 solves the five-point equation exactly; a bump inside does not count."""
    y, x = np.mgrid[-4:5, -5:6].astype(float)
    saddle = x**2 - y**2
    hole = slice(3, 6), slice(2, 8)
    broken = saddle.copy()
    broken[hole] += 7
    np.testing.assert_allclose(_holes.smooth(broken, hole), saddle[hole], atol=1e-10)


def test_the_batches_hide_what_is_in_the_middle(fitted: Inpainter) -> None:
    seen = []
    original = _holes.HoledBatches.tensors

    def tensors(self: Any, windows: Any, pairs: Any) -> Any:
        seen.append(original(self, windows, pairs))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_holes.HoledBatches, "tensors", tensors)
        fitted.evaluate(waves(), device="cpu")
    around, whole = (torch.cat(part) for part in zip(*seen, strict=True))
    assert float(around[..., 6:10, 6:10].abs().max()) == 0
    around[..., 6:10, 6:10] = whole[..., 6:10, 6:10]
    assert torch.equal(around, whole)


def test_with_a_learned_loss(tmp_path: Path) -> None:
    """The loss of the comparison: a distance in AtmoDist's features and a little of the mean squared error."""
    ds = waves()
    lags = AtmoDist(2, encoder="tiny", head_channels=8).fit(ds, **QUICK)
    lags.metric_by_lag(ds, layer="stage3", n_pairs=50, device="cpu")
    lags.save(tmp_path / "ad")
    loss = f"0.9 atmodist:{tmp_path / 'ad'}@stage3 + 0.1 mse"
    task = Inpainter(encoder="tiny", loss=loss).fit(ds, validation=waves(seed=1), **QUICK)
    (name,) = (c for c in task.history if c.startswith("atmodist"))
    np.testing.assert_allclose(task.history.loss, 0.9 * task.history[name] + 0.1 * task.history.mse, rtol=1e-4)


def test_a_module_of_the_callers() -> None:
    class Blur(torch.nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(2, 2, 5, padding=2)

    task = Inpainter.from_module(Blur(), hole=0.5).fit(waves(), **QUICK)
    assert task.evaluate(waves(), device="cpu").sizes["filler"] == 3
    with pytest.raises(OptionError, match="Blur has no encoder with named layers"):
        waves().atmo.embed(task)
    with pytest.raises(OptionError, match=r"the module cannot read patches \(1, 1, 16, 16\)"):
        Inpainter.from_module(Blur()).fit(waves(), variables=["vo"], **QUICK)
    with pytest.raises(OptionError, match=r"the module turned \(1, 2, 16, 16\) into \(1, 2, 12, 12\)"):
        Inpainter.from_module(torch.nn.Conv2d(2, 2, 5)).fit(waves(), **QUICK)
    with pytest.raises(OptionError, match="module is str; wanted"):
        Inpainter.from_module("net")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"\['encoder'\] describe a network of ours"):
        Inpainter.from_module(Blur(), encoder="tiny")


@pytest.mark.slow
def test_waves_are_filled_better_than_by_a_smooth_surface() -> None:
    task = Inpainter(encoder="tiny", hole=0.5, learning_rate=3e-3, normalization="standard")
    task.fit(waves(200), **{**QUICK, "max_steps": 300, "batch_size": 16})
    scores = task.evaluate(waves(40, seed=1), device="cpu").vo
    assert float(scores.sel(filler="network")) < 0.6 * float(scores.sel(filler="smooth"))


def test_what_is_refused(fitted: Inpainter) -> None:
    with pytest.raises(OptionError, match="hole=1.5; wanted a part of the patch's side"):
        Inpainter(hole=1.5)
    with pytest.raises(OptionError, match="normalization='log' is not available"):
        Inpainter(normalization="log")
    with pytest.raises(OptionError, match="encoder='vgg' is not available"):
        Inpainter(encoder="vgg")
    from dataclasses import replace

    broken = replace(fitted.model, config={**fitted.model.config, "settings": {"holes": 3}})
    with pytest.raises(ConfigError, match="settings that Inpainter does not know"):
        Inpainter.of_model(broken)
