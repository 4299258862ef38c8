"""SuperResolver: from labelled data to a saved model, and everything that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from xatmo import tasks
from xatmo.errors import (
    ConfigError,
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    NotFittedError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.model import Channel, Model
from xatmo.normalize import Normalizer
from xatmo.tasks import SuperResolver
from xatmo.tasks.pairs import _pairs

TINY: dict[str, Any] = {"channels": 4, "n_blocks": 1}
QUICK: dict[str, Any] = {"max_steps": 3, "patch_size": 6, "batch_size": 2, "accelerator": "cpu", "progress": False}


def fields(nlat: int = 24, nlon: int = 36, n_time: int = 3, *, poles: bool = False) -> xr.Dataset:
    """Two smooth fields on a global grid."""
    grid = xatmo.Grid.regular(nlat, nlon, poles=poles)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    shape = ("time", "latitude", "longitude")
    t = np.arange(n_time)[:, None, None]
    a = 280 + 10 * np.cos(lat) * np.cos(3 * lon + t) + np.sin(11 * lat)
    b = 5 * np.sin(2 * lon - t) * np.cos(lat)
    coords = {**grid.coords(), "time": np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(1, "D")}
    return xr.Dataset(
        {
            "t2m": (shape, a.astype("float32"), {"units": "K", "long_name": "2 m temperature"}),
            "gust": (shape, b.astype("float32"), {"units": "m s-1"}),
        },
        coords=coords,
    )


def weights(task: tasks.Task) -> dict[str, torch.Tensor]:
    return task.model.network.state_dict()


def same(a: tasks.Task, b: tasks.Task) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


# ---------------------------------------------------------------------- the whole way
def test_fit_save_load(tmp_path: Path) -> None:
    task = SuperResolver(factor=2, **TINY)
    assert not task.is_fitted
    assert task.fit(fields(), **QUICK) is task
    assert task.history["step"].tolist() == [1, 2, 3]
    assert np.isfinite(task.history["loss"]).all()
    model = task.model
    assert [c.name for c in model.inputs] == [c.name for c in model.outputs] == ["t2m", "gust"]
    assert model.inputs[0].units == "K"
    assert model.patch_size == {"lat": 6, "lon": 6}
    assert model.factor == 2
    task.save(tmp_path / "sr")
    again = xatmo.load(tmp_path / "sr")
    assert isinstance(again, SuperResolver)
    assert again.config == task.config
    assert again.model.fingerprint == model.fingerprint
    assert again.history.equals(task.history)
    assert "fitted" in repr(again)


def test_the_history_has_each_loss(tmp_path: Path) -> None:
    ds = fields()
    options = {**QUICK, "validation": ds, "run_dir": tmp_path / "run"}
    task = SuperResolver(factor=2, **TINY, loss={"mae": 2.0, "gradient": 0.5}).fit(ds, **options)
    assert list(task.history)[-2:] == ["mae", "gradient"]
    np.testing.assert_allclose(task.history.loss, 2 * task.history.mae + 0.5 * task.history.gradient, rtol=1e-5)
    task.save(tmp_path / "m")
    assert xatmo.load(tmp_path / "m").history.equals(task.history)


def test_superresolve_gives_the_original_grid() -> None:
    ds = fields()
    task = SuperResolver(factor=2, **TINY).fit(ds, **QUICK)
    out = ds.atmo.coarsen(2).atmo.superresolve(task)
    assert dict(out.sizes) == dict(ds.sizes)
    np.testing.assert_allclose(out.latitude, ds.latitude)
    assert out["t2m"].attrs["units"] == "K"
    assert float(abs(out["t2m"] - ds["t2m"]).mean()) < 3


def test_training_is_the_same_whatever_the_layout() -> None:
    ds = fields()
    one = SuperResolver(factor=2, **TINY).fit(ds, **QUICK)
    for other in (
        ds.isel(latitude=slice(None, None, -1)),
        ds.transpose("longitude", "time", "latitude"),
        ds.chunk(),
        ds.pad(longitude=(0, 1), mode="wrap").assign_coords(longitude=np.append(ds.longitude.values, 360.0)),
    ):
        two = SuperResolver(factor=2, **TINY).fit(other, **QUICK)
        for x, y in zip(weights(one).values(), weights(two).values(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


def test_the_seed_decides() -> None:
    ds = fields()
    a, b, c = (SuperResolver(factor=2, **TINY).fit(ds, **QUICK, seed=s) for s in (1, 1, 2))
    assert same(a, b)
    assert not same(a, c)


def test_the_random_state_of_the_caller_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SuperResolver(factor=2, **TINY).fit(fields(), **QUICK)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("nlat", "poles", "factor", "offset"), [(25, True, 2, -0.5), (25, True, 5, 0.0), (26, False, 4, 0)]
)
def test_grids_that_the_factor_does_not_divide(nlat: int, poles: bool, factor: int, offset: float) -> None:
    ds = fields(nlat, 40, poles=poles)[["t2m"]]
    task = SuperResolver(factor=factor, **TINY).fit(ds, **{**QUICK, "patch_size": 4})
    assert task.model.grid["row_offset"] == offset
    out = ds.atmo.coarsen(factor).atmo.superresolve(task)
    assert out.sizes == ds.sizes


def test_a_dataarray_without_a_name() -> None:
    da = fields()["t2m"].rename(None)
    task = SuperResolver(factor=3, **TINY).fit(da, **QUICK)
    assert task.model.inputs[0].name == "field"
    assert da.atmo.coarsen(3).atmo.superresolve(task).shape == da.shape


def test_one_field_without_time() -> None:
    ds = fields().isel(time=0, drop=True)
    assert SuperResolver(factor=2, **TINY).fit(ds, **QUICK).model.patch_size == {"lat": 6, "lon": 6}


def test_the_default_patch_shrinks_to_what_there_is() -> None:
    task = SuperResolver(factor=2, **TINY).fit(fields(), **{**QUICK, "patch_size": None})
    assert task.model.patch_size == {"lat": 12, "lon": 18}
    task = SuperResolver(factor=2, **TINY).fit(fields(), **{**QUICK, "patch_size": {"lat": 5, "longitude": 7}})
    assert task.model.patch_size == {"lat": 5, "lon": 7}


def test_epochs_count_patches() -> None:
    ds = fields()
    task = SuperResolver(factor=2, **TINY).fit(ds, **{**QUICK, "max_steps": None}, epochs=2)
    pairs = _pairs.make(ds, 2)
    per_epoch = task.history["step"].max() // 2
    assert per_epoch * 2 == task.history["step"].max()
    assert task.history["epoch"].max() == 1
    # Half overlap: 12 rows in windows of 6 start at 0, 3, 6; 18 columns, around the globe, at 0, 3 ... 15.
    assert pairs.sizes == {"time": 3, "latitude": 12, "longitude": 18}
    assert per_epoch == -(-3 * 3 * 6 // 2)


# ---------------------------------------------------------------------- pairs, predictors, static fields
def test_explicit_pairs_are_like_made_ones() -> None:
    fine = fields()
    coarse = fine.atmo.coarsen(2)
    a = SuperResolver(factor=2, **TINY).fit(fine, **QUICK)
    b = SuperResolver(factor=2, **TINY).fit(coarse, target=fine, **QUICK)
    assert same(a, b)
    celsius = coarse.assign(t2m=(coarse["t2m"] - 273.15).assign_attrs(units="degC"))
    c = SuperResolver(factor=2, **TINY).fit(celsius, target=fine, **QUICK)
    assert c.model.inputs[0].units == "K"


def test_pairs_of_different_variables_have_their_own_normalizers() -> None:
    fine = fields()
    task = SuperResolver(factor=2, **TINY).fit(fine[["gust"]].atmo.coarsen(2), target=fine[["t2m"]], **QUICK)
    model = task.model
    assert model.output_normalizer is not model.normalizer
    assert model.network.config.baseline_channels == (-1,)
    out = fine[["gust"]].atmo.coarsen(2).atmo.superresolve(task)
    assert list(out.data_vars) == ["t2m"]
    assert 250 < float(out["t2m"].mean()) < 310


def test_pairs_that_do_not_belong_together() -> None:
    fine = fields()
    coarse = fine.atmo.coarsen(2)
    task = SuperResolver(factor=2, **TINY)
    with pytest.raises(
        GridError, match=r"train has 8 x 12 points and target 24 x 36, 3 and 3 times as many; wanted factor 2"
    ):
        task.fit(fine.atmo.coarsen(3), target=fine, **QUICK)
    with pytest.raises(CoordinateError, match="do not cover the same area"):
        task.fit(coarse.isel(latitude=slice(0, 6)), target=fine.isel(latitude=slice(12, 24)), **QUICK)
    with pytest.raises(DimensionError, match=r"train has {'time': 2}.*target {'time': 3}"):
        task.fit(coarse.isel(time=slice(2)), target=fine, **QUICK)
    with pytest.raises(CoordinateError, match="different values of 'time'"):
        task.fit(coarse.isel(time=[1, 0, 2]), target=fine, **QUICK)
    metres = coarse.assign(t2m=coarse["t2m"].assign_attrs(units="m"))
    with pytest.raises(UnitsError, match="'m' came, 'K' wanted"):
        task.fit(metres, target=fine, **QUICK)


def test_predictors_and_static_fields(tmp_path: Path) -> None:
    ds = fields()
    fine_static = ds["t2m"].isel(time=0, drop=True).rename("orography").assign_attrs(units="m")
    task = SuperResolver(factor=2, **TINY).fit(
        ds[["t2m"]], predictors=ds[["gust"]], static=fine_static, **QUICK, validation=ds[["t2m"]].isel(time=[1])
    )
    model = task.model
    assert [c.name for c in model.inputs] == ["t2m", "gust", "orography"]
    assert [c.name for c in model.outputs] == ["t2m"]
    assert model.static is not None
    task.save(tmp_path / "m")
    coarse = ds.atmo.coarsen(2)
    out = coarse.atmo.superresolve(xatmo.load(tmp_path / "m"))
    assert out["t2m"].shape == ds["t2m"].shape
    other = SuperResolver(factor=2, **TINY).fit(
        ds[["t2m"]], predictors=coarse[["gust"]], static=fine_static.atmo.coarsen(2), **QUICK
    )
    assert [c.name for c in other.model.inputs] == ["t2m", "gust", "orography"]


def test_extra_fields_that_do_not_fit() -> None:
    ds = fields()
    one = ds[["t2m"]]
    static = ds["gust"].isel(time=0, drop=True)
    task = SuperResolver(factor=2, **TINY)
    with pytest.raises(VariableError, match=r"variables \['t2m'\] come twice"):
        task.fit(one, predictors=one, **QUICK)
    with pytest.raises(DimensionError, match=r"static field 'gust' has dimensions .*time"):
        task.fit(one, static=ds[["gust"]], **QUICK)
    with pytest.raises(GridError, match="latitude step of .* wanted the coarse grid's"):
        task.fit(one, static=static.atmo.coarsen(4), **QUICK)
    with pytest.raises(CoordinateError, match="do not cover the points of train"):
        task.fit(one, static=static.isel(latitude=slice(0, 12)), **QUICK)
    with pytest.raises(CoordinateError, match="lack values of 'time'"):
        task.fit(one, predictors=ds[["gust"]].isel(time=[0, 1]), **QUICK)
    with pytest.raises(DimensionError, match="have a dimension 'level', which train has not"):
        task.fit(one, predictors=ds[["gust"]].expand_dims(level=[1, 2]), **QUICK)
    no_time = one.drop_vars("time")
    with pytest.raises(DimensionError, match="have 2 points along 'time', train 3"):
        task.fit(no_time, predictors=ds[["gust"]].drop_vars("time").isel(time=slice(2)), **QUICK)
    with pytest.raises(DimensionError, match="fields with different dimensions"):
        task.fit(one.assign(lsm=static), **QUICK)


# ---------------------------------------------------------------------- training
def test_an_interrupted_task_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo.train import Supervised

    ds, step = fields(), Supervised.training_step
    whole = SuperResolver(factor=2, **TINY).fit(ds, **{**QUICK, "max_steps": 6})

    def interrupted(self: Supervised, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 4:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Supervised, "training_step", interrupted)
    task = SuperResolver(factor=2, **TINY)
    with pytest.raises(KeyboardInterrupt):
        task.fit(ds, **{**QUICK, "max_steps": 6}, run_dir=tmp_path)
    assert not task.is_fitted
    monkeypatch.undo()
    task.fit(ds, **{**QUICK, "max_steps": 6}, run_dir=tmp_path)
    assert same(task, whole)
    with pytest.raises(ConfigError, match="channels was 4 and is 8"):
        SuperResolver(factor=2, channels=8, n_blocks=1).fit(ds, **{**QUICK, "max_steps": 6}, run_dir=tmp_path)


@pytest.mark.slow
def test_two_processes_train_one_task(tmp_path: Path) -> None:
    ds = fields()
    ds.to_netcdf(tmp_path / "fine.nc")
    options = {**QUICK, "max_steps": 40, "devices": 2}
    with xr.open_dataset(tmp_path / "fine.nc") as lazy:
        task = SuperResolver(factor=2, scale_learning_rate=True, **TINY).fit(lazy, **options, validation=ds)
    assert task.history["step"].max() == 40
    assert task.history["learning_rate"].max() == pytest.approx(2e-3, rel=0.2)
    assert ds.atmo.coarsen(2).atmo.superresolve(task)["t2m"].shape == ds["t2m"].shape


def test_validation_needs_its_kind() -> None:
    ds = fields()
    coarse = ds.atmo.coarsen(2)
    task = SuperResolver(factor=2, **TINY)
    with pytest.raises(OptionError, match=r"validation is Dataset; with target= wanted a pair"):
        task.fit(coarse, target=ds, validation=ds, **QUICK)
    task.fit(coarse, target=ds, validation=(coarse, ds), **{**QUICK, "max_steps": 40})
    assert "validation_loss" in task.model.config["scores"]


def test_validation_is_matched_by_name_and_units() -> None:
    ds = fields()
    celsius = ds["t2m"] - 273.15
    other = ds.assign(t2m=celsius.assign_attrs(units="degC"), more=ds["t2m"])[["more", "gust", "t2m"]]

    def loss(validation: Any) -> float:
        task = SuperResolver(factor=2, **TINY).fit(ds, **QUICK, validation=validation)
        assert task.model.config["training"]["period"] == "2020-01-01T00:00 to 2020-01-03T00:00, 3 times"
        return float(task.model.config["scores"]["validation_loss"])

    assert loss(other) == pytest.approx(loss(ds), rel=1e-3)
    with pytest.raises(VariableError, match=r"validation lacks \['gust'\]; it has \['t2m'\]"):
        loss(ds[["t2m"]])
    with pytest.raises(UnitsError, match="t2m"):
        loss(ds.assign(t2m=ds["t2m"].assign_attrs(units="Pa")))
    with pytest.raises(OptionError, match=r"validation is tuple; .*without it the fine fields"):
        loss((ds.atmo.coarsen(2), ds))


@pytest.mark.parametrize("given", ["fine.nc", np.zeros((4, 6))])
def test_what_is_no_field_is_one_line(given: Any) -> None:
    with pytest.raises(OptionError, match=rf"train is {type(given).__name__}; wanted a Dataset or DataArray"):
        SuperResolver(factor=2, **TINY).fit(given, **QUICK)


def test_missing_values_are_an_error_unless_allowed() -> None:
    ds = fields()
    ds["t2m"][:, :6, :8] = np.nan
    with pytest.raises(MissingValueError, match="missing"):
        SuperResolver(factor=2, **TINY).fit(ds, **{**QUICK, "max_steps": 20})
    task = SuperResolver(factor=2, **TINY).fit(ds, **{**QUICK, "max_steps": 20}, valid=0.2)
    assert all(torch.isfinite(w).all() for w in weights(task).values())


def test_vectors_are_not_mirrored() -> None:
    ds = fields()
    wind = ds[["gust"]].rename(gust="u10")
    task = SuperResolver(factor=2, **TINY)
    assert task.fit(ds, **QUICK).model.config["training"]["augmentation"] == "symmetries"
    assert task.fit(wind, **QUICK).model.config["training"]["augmentation"] == "none"
    named = ds[["gust"]].assign(gust=ds["gust"].assign_attrs(standard_name="eastward_wind"))
    assert task.fit(named, **QUICK).model.config["training"]["augmentation"] == "none"
    chosen = SuperResolver(factor=2, augmentation="mirror", **TINY).fit(wind, **QUICK)
    assert chosen.model.config["training"]["augmentation"] == "mirror"


@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
def test_other_normalizations(method: str) -> None:
    task = SuperResolver(factor=2, normalization=method, **TINY).fit(fields(), **QUICK)
    assert task.model.normalizer is not None
    assert task.model.normalizer.method == method


# ---------------------------------------------------------------------- a module of one's own
def test_a_module_of_ones_own_is_trained_and_saved(tmp_path: Path) -> None:
    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), torch.nn.Conv2d(2, 2, 3, padding=1))

    ds = fields()
    task = SuperResolver.from_module(network(), factor=2).fit(ds, **QUICK)
    task.save(tmp_path / "mine")
    again = xatmo.load(tmp_path / "mine", module=network())
    coarse = ds.atmo.coarsen(2)
    xr.testing.assert_equal(coarse.atmo.superresolve(again), coarse.atmo.superresolve(task))


def test_a_trained_module_is_used_as_it_is() -> None:
    net = torch.nn.Upsample(scale_factor=2)
    task = SuperResolver.from_module(net, factor=2, inputs=["t2m"], patch_size=8)
    coarse = fields()[["t2m"]].atmo.coarsen(2)
    out = coarse.atmo.superresolve(task)
    np.testing.assert_allclose(out["t2m"].values[:, ::2, ::2], coarse["t2m"].values, rtol=1e-5)
    scaled = SuperResolver.from_module(
        net, factor=2, inputs=[Channel("t2m", "K")], outputs=["warm"], patch_size={"lat": 4, "lon": 4},
        normalizer=Normalizer.from_statistics(mean={"t2m": 280.0, "warm": 0.0}, std={"t2m": 10.0, "warm": 1.0}),
    )  # fmt: skip
    assert [c.name for c in scaled.model.outputs] == ["warm"]
    with pytest.raises(OptionError, match=r"\['channels'\] describe a network of ours"):
        SuperResolver.from_module(net, factor=2, channels=3)


def test_a_module_that_does_not_fit_is_one_line() -> None:
    def fit(net: torch.nn.Module, factor: int = 2, **kwargs: Any) -> None:
        SuperResolver.from_module(net, factor=factor).fit(fields(), **QUICK, **kwargs)

    with pytest.raises(OptionError, match=r"cannot read 2 channels \['t2m', 'gust'\] on 6 x 6 cells"):
        fit(torch.nn.Conv2d(3, 2, 1))
    with pytest.raises(OptionError, match=r"turned \(1, 2, 6, 6\) into \(1, 2, 18, 18\); wanted \(1, 2, 12, 12\)"):
        fit(torch.nn.Upsample(scale_factor=3))
    with pytest.raises(OptionError, match=r"module is str; wanted a torch.nn.Module"):
        SuperResolver.from_module("net", factor=2)  # type: ignore[arg-type]


def test_a_module_shows_itself() -> None:
    task = SuperResolver.from_module(torch.nn.Upsample(scale_factor=2), factor=2, inputs="t2m", patch_size=np.int64(4))
    assert [c.name for c in task.model.inputs] == ["t2m"]
    assert task.model.patch_size == {"lat": 4, "lon": 4}
    assert repr(task).startswith("<SuperResolver module=Upsample, factor=2, loss='mae'")
    assert "n_blocks" not in repr(task)


# ---------------------------------------------------------------------- what a run is
def test_a_run_is_not_continued_with_other_data_or_another_network(tmp_path: Path) -> None:
    ds = fields()
    SuperResolver(factor=2, **TINY).fit(ds, **QUICK, run_dir=tmp_path / "a")
    with pytest.raises(ConfigError, match=r"statistics.t2m was .* and is"):
        SuperResolver(factor=2, **TINY).fit(ds + 1, **QUICK, run_dir=tmp_path / "a")
    SuperResolver(factor=2, **TINY).fit(ds.chunk(time=1), **QUICK, run_dir=tmp_path / "a")

    def net(width: int) -> torch.nn.Module:
        layers = torch.nn.Conv2d(2, width, 1), torch.nn.Conv2d(width, 2, 1)
        return torch.nn.Sequential(*layers, torch.nn.Upsample(scale_factor=2))

    SuperResolver.from_module(net(3), factor=2).fit(ds, **QUICK, run_dir=tmp_path / "b")
    with pytest.raises(ConfigError, match="network was 'Sequential with 17 parameters' and is 'Sequential with 22"):
        SuperResolver.from_module(net(4), factor=2).fit(ds, **QUICK, run_dir=tmp_path / "b")


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    task = SuperResolver(
        np.int64(2), channels=np.int32(4), n_blocks=np.int64(1), learning_rate=np.float64(1e-3),
        loss={"mae": np.float64(0.5)},
    )  # fmt: skip
    whole = {"max_steps": np.int64(3), "patch_size": np.int64(6), "batch_size": np.int64(2), "seed": np.int64(0)}
    task.fit(fields(), **{**QUICK, **whole})
    task.save(tmp_path / "m")
    assert xatmo.load(tmp_path / "m").config == task.config
    plain = SuperResolver(2, **TINY, loss={"mae": 0.5}).fit(fields(), **QUICK)
    assert same(task, plain)


# ---------------------------------------------------------------------- weights of the loss
def test_cells_can_count_by_area() -> None:
    from xatmo.normalize import Normalizer
    from xatmo.tasks.pairs._batches import PairBatches

    ds = fields(25, 40, poles=True).isel(latitude=slice(None, None, -1))
    pairs = _pairs.make(ds, 2)
    scaling = Normalizer.fit(pairs.coarse)
    source = PairBatches(pairs, {"latitude": 12, "longitude": 20}, scaling, scaling, batch_size=1, seed=0,
                         training=False, area=True)  # fmt: skip
    _, fine, weight = next(iter(source.batches(0)))
    assert weight.shape == (1, 1, *fine.shape[2:])
    areas = xatmo.Grid.of(ds).areas[::-1][:24, :40]
    np.testing.assert_allclose(weight[0, 0], areas[:, : weight.shape[-1]] / xatmo.Grid.of(ds).areas.mean(), rtol=1e-5)
    one, two = (SuperResolver(2, **TINY, loss_weights=w).fit(ds, **QUICK, validation=ds) for w in (None, "area"))
    assert not same(one, two)
    assert two.model.config["training"]["loss_weights"] == "area"


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"factor": 1}, "factor=1; wanted a whole number of at least 2"),
        ({"factor": 2.0}, "factor=2.0"),
        ({"backbone": "magic"}, r"backbone='magic' is not available; possible are \['convnext', 'dense', 'plain', "),
        ({"upsampling": "magic"}, r"upsampling='magic' is not available; possible are \['deconvolution', 'interpol"),
        ({"adversarial": None}, r"adversarial=None is not available; possible are \[False, True\]"),
        ({"time_window": 1}, "time_window=1; wanted a whole number of at least 2"),
        ({"constraint": "hard"}, r"constraint='hard' is not available; possible are \[None, 'additive', 'multiplic"),
        ({"loss": "psnr"}, "loss 'psnr' is not available"),
        ({"loss_weights": "latitude"}, r"loss_weights='latitude' is not available; possible are \[None, 'area'\]"),
        ({"normalization": "zscore"}, "normalization='zscore' is not available"),
        ({"augmentation": "cutout"}, "augmentation='cutout' is not available"),
        ({"optimizer": "lion"}, "optimizer='lion'; possible are"),
        ({"learning_rate": 0.0}, "learning_rate=0.0; wanted a positive number"),
        ({"channels": 0}, "channels=0"),
    ],
)
def test_settings_are_checked_at_once(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SuperResolver(**{"factor": 2, **change})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"patch_size": 100}, "patch_size 100 along .* from 2 to the 12"),
        ({"patch_size": {"level": 3}}, "patch_size has 'level'; wanted sizes in coarse cells for 'lat' and 'lon'"),
        ({"max_steps": None, "epochs": 0}, "epochs=0"),
        ({"precision": "8"}, "precision='8'"),
    ],
)
def test_training_keywords_are_checked(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SuperResolver(factor=2, **TINY).fit(fields(), **{**QUICK, **change})


def test_nothing_works_before_fit(tmp_path: Path) -> None:
    task = SuperResolver(factor=2)
    for call in (lambda: task.model, lambda: task.history, lambda: task.save(tmp_path / "x")):
        with pytest.raises(NotFittedError, match=r"not fitted; call .fit\(train\)"):
            call()
    assert "not fitted" in repr(task)


def test_what_can_stand_for_a_model(tmp_path: Path) -> None:
    task = SuperResolver(factor=2, **TINY).fit(fields(), **QUICK)
    task.save(tmp_path / "m")
    assert tasks.as_model(task) is task.model
    assert tasks.as_model(task.model) is task.model
    assert tasks.as_model(tmp_path / "m").fingerprint == tasks.as_model(str(tmp_path / "m")).fingerprint
    assert tasks.as_model(torch.nn.Identity()).inputs == ()
    with pytest.raises(OptionError, match="model is int; wanted a fitted task"):
        tasks.as_model(3)
    assert tasks.Model is Model
    with pytest.raises(AttributeError, match="no attribute 'Oracle'"):
        tasks.Oracle  # noqa: B018


def test_a_file_opened_lazily_trains_like_its_numbers(tmp_path: Path) -> None:
    ds = fields()
    ds.to_netcdf(tmp_path / "fine.nc")
    expected = SuperResolver(factor=2, **TINY).fit(ds, **QUICK)
    with xr.open_dataset(tmp_path / "fine.nc") as lazy:
        task = SuperResolver(factor=2, **TINY).fit(lazy, **QUICK)
        assert not lazy["t2m"].variable._in_memory
    for x, y in zip(weights(task).values(), weights(expected).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)
