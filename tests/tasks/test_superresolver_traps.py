"""SuperResolver where it is easily misled: grids, budgets, what came with the data, what was said twice."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from whole_way import JUDGE, QUICK, TINY, regional

import xatmo
from xatmo.errors import ConfigError, DimensionError, GridError, OptionError, UnitsError
from xatmo.tasks import SuperResolver
from xatmo.tasks.pairs import _pairs
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
        ({"adversarial": True, "average": "long"}, "average='long'; wanted a decay above 0 and below 1"),
        ({"adversarial": True, "gate": ("low", "high")}, r"gate=\('low', 'high'\); wanted two losses in rising order"),
        ({"backbone": "srgan", "network_settings": {"factors": 2}}, "has factors=2; wanted one for each stage"),
        ({"covariates": 3}, "covariates=3 came; wanted a name, or a sequence of names"),
        ({"loss": ["mae"]}, r"loss=\['mae'\]; wanted a name, several joined with"),
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


def test_a_run_does_not_go_on_with_another_discriminator(tmp_path: Path) -> None:
    fine = regional(2)[0]
    SuperResolver(2, adversarial=True, discriminator=JUDGE, **TINY).fit(fine, run_dir=tmp_path, **QUICK)
    other = SuperResolver(2, adversarial=True, discriminator={**JUDGE, "channels": 3}, **TINY)
    with pytest.raises(ConfigError, match=r"started with other settings: discriminator\.channels was 2 and is 3"):
        other.fit(fine, run_dir=tmp_path, **QUICK)


def test_validation_is_of_the_grid_and_units_of_training() -> None:
    fine = regional(2, rows=8, columns=10)[0]
    task = SuperResolver(2, **TINY)
    with pytest.raises(GridError, match=r"validation has coarse steps of 4 x 4 degrees, and training has 2 x 2; want"):
        task.fit(fine, validation=fine[:, ::2, ::2], **QUICK)
    with pytest.raises(UnitsError, match="variable 't2m' of validation has no units, in training it has 'K'; set att"):
        task.fit(fine, validation=fine.drop_attrs(), **QUICK)
    poles = with_poles()
    blocks = poles.isel(latitude=slice(1, 13))
    with pytest.raises(GridError, match="rows of validation lie in blocks, those of training start on the pole"):
        task.fit(poles, validation=blocks, **QUICK)
    celsius = (fine - 273.15).assign_attrs(units="degC")
    losses = [task.fit(fine, validation=v, **QUICK).model.config["scores"]["validation_loss"] for v in (fine, celsius)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_coarse_fields_stored_from_another_longitude() -> None:
    grid = xatmo.Grid.regular(12, 24, poles=False)
    fine = with_poles().isel(latitude=slice(0, 12)).assign_coords(latitude=grid.latitude)
    coarse = fine.atmo.coarsen(2)
    rolled = coarse.roll(longitude=5, roll_coords=True)
    rolled = rolled.assign_coords(longitude=(rolled["longitude"] + 180) % 360 - 180).sortby("longitude")
    pairs, straight = (_pairs.make(c, 2, target=fine) for c in (rolled, coarse))
    np.testing.assert_array_equal(pairs.coarse["t"], straight.coarse["t"])
    np.testing.assert_allclose(pairs.coarse["longitude"], straight.coarse["longitude"])


@pytest.mark.parametrize(
    ("name", "attrs", "chosen"),
    [
        ("10m_u_component_of_wind", {}, "none"),
        ("a", {"long_name": "10 metre V wind component"}, "none"),
        ("a", {"long_name": "Meridional wind"}, "none"),
        ("wind_speed", {"long_name": "zonal mean of wind speed"}, "symmetries"),
        ("vo", {"standard_name": "atmosphere_relative_vorticity"}, "none"),  # its sign turns in a mirror
        ("t2m", {"standard_name": "air_temperature"}, "symmetries"),
    ],
)
def test_components_of_vectors_are_not_turned(name: str, attrs: dict[str, str], chosen: str) -> None:
    fine = regional(2)[0].rename(name).assign_attrs(attrs)
    task = SuperResolver(2, **TINY).fit(fine, **{**QUICK, "max_steps": 1})
    assert task.model.config["training"]["augmentation"] == chosen
    if chosen == "none" and name == "a":
        with pytest.raises(OptionError, match=r"never negative, and 'a' \(.*\) is a component of a vector"):
            SuperResolver(2, constraint="softmax", **TINY).fit(fine, **QUICK)


def test_a_part_of_the_steps_leaves_one_for_the_second_phase() -> None:
    task = SuperResolver(2, adversarial=True, pretrain=0.9, discriminator=JUDGE, **TINY).fit(regional(2)[0], **QUICK)
    assert task.model.config["training"]["pretrain_steps"] == 1


def test_members_beside_those_of_the_input() -> None:
    fine = regional(2)[0]
    task = SuperResolver(2, mc_dropout=True, dropout=0.2, **TINY).fit(fine, **QUICK)
    ensemble = fine.atmo.coarsen(2).expand_dims(member=[3, 4])
    assert task.model.network.stochastic
    with pytest.raises(DimensionError, match="members=2 came, and the input has a dimension 'member' already; rename"):
        ensemble.atmo.superresolve(task, members=2)
    assert ensemble.rename(member="number").atmo.superresolve(task, members=2).dims[:2] == ("member", "number")


def test_initial_is_normalized_likewise() -> None:
    fine = regional(2)[0]
    initial = SuperResolver(2, normalization="minmax", **TINY).fit(fine, **QUICK)
    with pytest.raises(OptionError, match="normalization='standard' with initial, whose normalizer is .* 'minmax'; wa"):
        SuperResolver(2, **TINY).fit(fine, initial=initial, **QUICK)


def test_pairs_by_standard_name_and_with_units() -> None:
    fine, land = regional(2)
    fine = fine.assign_attrs(standard_name="air_temperature")
    coarse = fine.atmo.coarsen(2).rename("tas")
    pairs = _pairs.make(coarse, 2, target=fine)
    assert list(pairs.coarse.data_vars) == list(pairs.fine.data_vars) == ["t2m"]
    assert pairs.notes == ()
    task = SuperResolver(2, **TINY).fit(coarse, target=fine, **QUICK)
    assert task.model.network.config.baseline_channels == (0,)
    assert coarse.atmo.superresolve(task).name == "tas"
    other = coarse.assign_attrs(standard_name="surface_temperature")
    (note,) = _pairs.make(other, 2, target=fine).notes
    assert note == "['t2m'] of target are no fields of train by name or standard name: they have no baseline"
    with pytest.raises(UnitsError, match="variable 't2m' of train has no units, of the other of train and target 'K'"):
        _pairs.make(coarse.rename("t2m").drop_attrs(), 2, target=fine)
    for extra in ("predictors", "static"):
        with pytest.raises(OptionError, match=f"{extra} is ndarray; wanted a Dataset or DataArray"):
            _pairs.make(fine, 2, **{extra: land.values})


def test_time_windows_run_along_the_leads_of_forecasts() -> None:
    fine = regional(2, n_time=5)[0]
    coarse = fine.atmo.coarsen(2)
    lead = xr.Variable("lead", np.arange(3) * np.timedelta64(6, "h").astype("m8[ns]"))
    runs = [coarse.isel(time=slice(i, i + 3)).drop_vars("time").rename(time="lead") for i in (0, 1, 2)]
    hindcast = xr.concat(runs, "init").assign_coords(init=("init", fine["time"].values[:3]), lead=lead)
    task = SuperResolver(2, time_window=2, covariates="hour", **TINY).fit(hindcast, target=fine, **QUICK)
    out = hindcast.atmo.superresolve(task)
    assert out.dims == ("init", "lead", "latitude", "longitude")
    for i in range(3):
        alone = coarse.isel(time=slice(i, i + 3)).atmo.superresolve(task)
        np.testing.assert_allclose(out[i].values, alone.values, atol=1e-4)
    lazy = hindcast.chunk(init=1, lead=2).atmo.superresolve(task)
    np.testing.assert_allclose(lazy.values, out.values, atol=1e-4)
    single = coarse.isel(time=0)
    with pytest.raises(DimensionError, match=r"one after another in time were wanted; .* \.expand_dims\('time'\)"):
        single.atmo.superresolve(task)
    assert (
        single.expand_dims("time").assign_coords(made=fine["time"].values[1]).atmo.superresolve(task).sizes["time"] == 1
    )


def test_a_module_of_ones_own_is_no_diffusion_model() -> None:
    with pytest.raises(OptionError, match="diffusion=True draws around a network of ours; a module of your own"):
        SuperResolver.from_module(torch.nn.Upsample(scale_factor=2), factor=2, diffusion=True)


def test_localised_networks_serve_their_own_place() -> None:
    fine = with_poles().isel(latitude=slice(0, 12))
    north, south = fine.isel(latitude=slice(0, 6)), fine.isel(latitude=slice(6, 12))
    settings = {**QUICK, "patch_size": None}
    task = SuperResolver(2, localised=True, **TINY).fit(north, **settings)
    for there in (south, north.isel(longitude=slice(0, 12))):
        with pytest.raises(GridError, match="localised, with weights for each"):
            there.atmo.coarsen(2).atmo.superresolve(task)
    with pytest.raises(GridError, match="localised, with weights for each point from 90 to 15 degrees north"):
        south.atmo.coarsen(2).atmo.superresolve(task)
    with pytest.raises(GridError, match="validation lies on other points than train; with localised=True"):
        task.fit(north, validation=south, **settings)
    coarse = north.atmo.coarsen(2)
    rolled = coarse.roll(longitude=3, roll_coords=True)
    rolled = rolled.assign_coords(longitude=(rolled["longitude"] + 180) % 360 - 180).sortby("longitude")
    straight, other = (c.atmo.superresolve(task) for c in (coarse, rolled))
    other = other.assign_coords(longitude=other["longitude"] % 360).sortby("longitude")
    np.testing.assert_allclose(other.values, straight.values, atol=1e-5)


def test_time_windows_over_numbered_frames() -> None:
    fine = regional(2, n_time=5)[0]
    fine = fine.assign_coords(time=("time", np.arange(5), {"standard_name": "time"}))
    task = SuperResolver(2, time_window=2, **TINY).fit(fine, **QUICK)
    assert task.model.config["training"]["stretches_of_time"] == 1
    assert task.model.config["training"]["time_step"] is None
    assert fine.atmo.coarsen(2).atmo.superresolve(task).sizes == fine.sizes
