"""FourDVarNet: what it learns from, what it keeps, and that data which say the same train the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from tests.support.sea import QUICK, SMALL, globe, sea, track_of
from xatmo.nn.assimilation.priors import SPDEPrior
from xatmo.tasks import FourDVarNet


def task(**settings: Any) -> FourDVarNet:
    return FourDVarNet(**{"time_window": 3, "background": "zero", "network_settings": SMALL, **settings})


def losses(ds: xr.Dataset, *, settings: dict[str, Any] | None = None, **options: Any) -> np.ndarray:
    made = task(error=False, **(settings or {}))
    return made.fit(ds, **{"obs": "seen", "target": "ssh", "max_steps": 2, **QUICK, **options}).history["loss"].values


@pytest.fixture(scope="module")
def fitted() -> FourDVarNet:
    return task().fit(sea(), obs="seen", target="ssh", max_steps=2, **QUICK)


def rmse(one: xr.DataArray, other: xr.DataArray) -> float:
    return float(np.sqrt(((one - other) ** 2).mean()))


# ---------------------------------------------------------------------- what it learns
def test_it_learns_a_sea_and_beats_its_background() -> None:
    """A few steps on one record, mapped from observations that were not among those of the training."""
    ds = sea(n_time=6, part=0.2)
    made = FourDVarNet(time_window=3, background="linear", n_steps=2, error=False, redraw=0.2, learning_rate=1e-2,
                       network_settings={"prior_channels": 8, "solver_channels": 16, "n_levels": 1})  # fmt: skip
    made.fit(ds, obs="seen", target="ssh", max_steps=30, **QUICK)
    new = sea(n_time=6, part=0.2, seed=5)
    background = xatmo.assimilation.linear_interp(new, "seen").seen
    mapped = new.atmo.fourdvar_interp("seen", model=made, device="cpu").seen
    assert rmse(mapped, new.ssh) < 0.9 * rmse(background, new.ssh)
    first, last = made.history["loss"].iloc[:5].mean(), made.history["loss"].iloc[-5:].mean()
    assert last < 0.7 * first


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "held_back"),
        ({"background": "linear"}, "held_back"),
        ({"objective": "variational"}, "variational"),
    ],
)
def test_observations_alone_train(settings: dict[str, Any], mode: str) -> None:
    ds = sea().drop_vars("ssh")
    made = task(**settings).fit(ds, obs="seen", max_steps=2, **QUICK)
    model = made.model
    assert model.config["training"]["objective"] == mode
    assert model.network.config.learn_weights == (mode != "variational")
    assert np.isfinite(made.history["loss"]).all()
    out = ds.atmo.fourdvar_interp("seen", model=made, device="cpu")
    assert out.seen.notnull().all()
    assert model.outputs[0].name == "seen"


def test_what_is_held_back_is_in_no_background() -> None:
    """The background of a sample is that of the tracks that were kept, and the target what was held back."""
    from xatmo.tasks.fourdvar import _batches, _data, _packing, _redraw

    ds = sea(part=0.05)
    fields = _data.gather(ds, "seen", what="train")
    channels = _packing.Channels.of(fields, (0,), 1)
    normalizer = _packing.normalizer(fields, channels)

    class Flat:
        """A background that is the number of observations everywhere."""

        def of_window(self, values: np.ndarray, mask: np.ndarray, *nodes: np.ndarray, late: None) -> np.ndarray:
            assert late is None
            return np.full(values.shape[-3:], float(mask.sum()))

    made = _redraw.Made((), (Flat(),))  # type: ignore[arg-type]
    source = _batches.WindowBatches(
        fields, channels, normalizer, {"time": 3, "lat": 16, "lon": 16}, made, batch_size=2, seed=0,
        drawing=_batches.Drawing(held_back=0.3),
    )  # fmt: skip
    given, target = next(iter(source.batches(0)))
    obs, mask, background, water = given.split(1, dim=1)
    held = torch.isfinite(target)
    assert not (held & (mask > 0)).any()
    assert held.any()
    assert (water == 1).all()
    scale = float(normalizer.scaling("seen")[1])
    counts = background[:, 0, 0, 0, 0] * scale + float(normalizer.scaling("seen")[0])
    np.testing.assert_allclose(counts, mask.flatten(1).sum(1), atol=1e-3)
    assert (obs[mask == 0] == 0).all()


def test_what_is_held_back_has_its_true_times() -> None:
    """Backgrounds without some tracks are told when the others were seen: here the hours are the values themselves."""
    from xatmo.tasks.fourdvar import _batches, _data, _packing, _redraw

    ds = sea(part=0.05)
    hours = xr.DataArray(np.arange(ds.seen.size, dtype=float).reshape(ds.seen.shape), ds.seen.coords, ds.seen.dims)
    ds = ds.assign(seen=hours.where(ds.seen.notnull()), lag=hours.assign_attrs(units="hours"))
    fields = _data.gather(ds, "seen", lag="lag", what="train")
    channels = _packing.Channels.of(fields, (0,), 1)
    calls = []

    class Told:
        def of_window(
            self, values: np.ndarray, mask: np.ndarray, *nodes: np.ndarray, late: np.ndarray
        ) -> np.ndarray:  # fmt: skip
            calls.append(int(mask.sum()))
            np.testing.assert_allclose(late[mask[0]] / 3600, values[0][mask[0]], rtol=1e-5)
            return np.zeros(values.shape[-3:])

    source = _batches.WindowBatches(
        fields, channels, _packing.normalizer(fields, channels), {"time": 3, "lat": 16, "lon": 16},
        _redraw.Made((), (Told(),)), batch_size=2, seed=0, drawing=_batches.Drawing(held_back=0.3),  # type: ignore[arg-type]
    )  # fmt: skip
    next(iter(source.batches(0)))
    assert min(calls) > 0


def test_redrawn_samples_are_observed_as_another_time_was() -> None:
    """Every mask is one of the record, at its place, and values are those of the target where they are."""
    from xatmo.tasks.fourdvar import _batches, _data, _packing, _redraw

    ds = sea(n_time=9, part=0.05)
    fields = _data.gather(ds, "seen", target="ssh", what="train")
    channels = _packing.Channels.of(fields, (0,), 1)
    normalizer = _packing.normalizer(fields, channels)
    size = {"time": 3, "lat": 16, "lon": 20}
    there = np.isfinite(ds.seen.values)
    masks = {there[k : k + 3].tobytes(): k for k in range(7)}
    for part, noise in ((1.0, 0.0), (0.0, 0.0), (1.0, 0.1)):
        source = _batches.WindowBatches(
            fields, channels, normalizer, size, _redraw.Made(), batch_size=7, seed=0,
            drawing=_batches.Drawing(redraw=part, noise_std=(noise,)),
        )  # fmt: skip
        given, target = next(iter(source.batches(0)))
        same = []
        for mask, values, truth in zip(given[:, 1].numpy() > 0, given[:, 0].numpy(), target[:, 0].numpy(), strict=True):
            found = masks[mask.tobytes()]
            own = float(normalizer.scaling("ssh")[0]) + float(normalizer.scaling("ssh")[1]) * truth
            start = next(k for k in range(7) if np.allclose(own, ds.ssh.values[k : k + 3], atol=1e-5))
            same.append(found == start)
            error = (values - truth)[mask]
            assert abs(error.std() - noise) < 0.02
        assert not any(same) if part else all(same)


def test_noise_is_estimated_from_where_observations_and_target_meet() -> None:
    ds = sea(part=0.3)
    noise = np.random.default_rng(0).normal(0, 0.2, ds.ssh.shape).astype("f4")
    made = task().fit(
        ds.assign(seen=ds.seen.copy(data=ds.seen + noise)), obs="seen", target="ssh", max_steps=1, **QUICK
    )
    told = made.model.config["training"]["noise_std"][0] * float(made.model.normalizer.scaling("ssh")[1])
    assert told == pytest.approx(0.2, rel=0.1)
    made = task(noise_std=0.5).fit(ds, obs="seen", target="ssh", max_steps=1, **QUICK)
    told = made.model.config["training"]["noise_std"][0] * float(made.model.normalizer.scaling("ssh")[1])
    assert told == pytest.approx(0.5, rel=1e-3)


def test_several_sensors_predictors_and_land() -> None:
    ds = globe()
    made = task().fit(ds, obs=["nadir", "swath"], target="ssh", predictors=["sst"], max_steps=2, **QUICK)
    model = made.model
    names = ["nadir", "swath", "nadir_mask", "swath_mask", "ssh_background", "domain", "sst"]
    assert [c.name for c in model.inputs] == names
    assert [c.units for c in model.inputs][:2] == ["m", "m"]
    assert model.normalizer.scaling("swath")[1] == model.normalizer.scaling("ssh")[1]
    given = model.config["training"]
    assert (given["redraw"], given["noise_std"]) == (0.5, [0.0, pytest.approx(0, abs=1e-6)])
    out = ds.atmo.fourdvar_interp(["nadir", "swath"], model=made, domain="water", device="cpu").nadir
    assert (out.notnull() == ds.water).all()
    warm = ds.assign(sst=(ds.sst - 273.15).assign_attrs(units="degC"))
    again = warm.atmo.fourdvar_interp(["nadir", "swath"], model=made, domain="water", device="cpu").nadir
    np.testing.assert_allclose(again, out, atol=1e-5)


def test_tracks_train_as_their_cells_do() -> None:
    ds = sea()
    expected = losses(ds)
    along = track_of(ds.seen).rename("seen")
    np.testing.assert_allclose(losses(ds.drop_vars("seen"), obs=along), expected, atol=1e-5)
    # A target of tracks alone is incomplete: nothing is redrawn, and no cell is taken for land.
    made = task().fit(ds.drop_vars("seen"), obs=along, target=along.rename("other"), max_steps=1, **QUICK)
    assert made.model.config["training"]["redraw"] == 0
    assert "not complete" in made.model.config["training"]["notes"][0]


def test_a_background_of_the_callers() -> None:
    ds = sea().assign(guess=sea().ssh * 0.5)
    made = task(background="guess").fit(ds, obs="seen", target="ssh", max_steps=1, **QUICK)
    assert "background came as it is" in made.model.config["training"]["notes"][0]
    one = ds.atmo.fourdvar_interp("seen", model=made, background="guess", device="cpu").seen
    other = ds.atmo.fourdvar_interp("seen", model=made, background=ds.ssh, device="cpu").seen
    assert rmse(one, other) > 0.1  # nearly untrained, it stays close to its background
    with pytest.raises(xatmo.errors.OptionError, match="background 'guess' of the caller's; pass background="):
        ds.atmo.fourdvar_interp("seen", model=made)


# ---------------------------------------------------------------------- the same data, the same training
def test_training_does_not_depend_on_how_data_lie() -> None:
    ds = globe()
    options: dict[str, Any] = {"obs": ["nadir", "swath"], "predictors": ["sst"]}
    expected = losses(ds, **options)
    rolled = ds.roll(lon=7, roll_coords=True)
    rolled = rolled.assign_coords(lon=((rolled.lon + 180) % 360 - 180).assign_attrs(ds.lon.attrs)).sortby("lon")
    first = ds.isel(lon=[0]).assign_coords(lon=[360.0])
    for other in (
        ds.isel(lat=slice(None, None, -1)),
        rolled,
        ds.transpose("lon", "lat", "time"),
        xr.concat([ds, first], "lon", data_vars="minimal"),
        ds.chunk(time=2, lat=7),
    ):
        assert losses(other, **options).tolist() == expected.tolist()


def test_training_does_not_depend_on_units() -> None:
    ds = sea()
    about = {"units": "cm", "standard_name": "sea_surface_height_above_geoid"}
    other = ds.map(lambda a: (100 * a + 700).assign_attrs(about))
    np.testing.assert_allclose(losses(other), losses(ds), rtol=1e-4)


def test_other_dimensions_are_samples() -> None:
    ds = sea()
    two = xr.concat([ds, -ds], "member", coords="minimal", compat="override", combine_attrs="override")
    made = task().fit(two.transpose("lat", "time", "member", "lon"), obs="seen", target="ssh", max_steps=2, **QUICK)
    assert made.model.config["training"]["data_sizes"] == {"member": 2, "time": 8, "lat": 16, "lon": 20}
    out = two.atmo.fourdvar_interp("seen", model=made, device="cpu").seen
    one = ds.atmo.fourdvar_interp("seen", model=made, device="cpu").seen
    assert out.dims == two.seen.dims
    np.testing.assert_allclose(out.isel(member=0), one, atol=1e-5)


# ---------------------------------------------------------------------- what it keeps
def test_saved_and_loaded(fitted: FourDVarNet, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m")
    again = xatmo.load(tmp_path / "m")
    assert isinstance(again, FourDVarNet)
    assert again.config == fitted.config
    assert repr(again) == repr(fitted)
    ds = sea(seed=3)
    one, other = (ds.atmo.fourdvar_interp("seen", model=m, device="cpu") for m in (fitted, tmp_path / "m"))
    xr.testing.assert_identical(one, other)
    assert "FourDVarNet" in one.attrs["history"]


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = losses(sea(), max_steps=6)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path)
    resumed = losses(sea(), max_steps=6, run_dir=tmp_path)
    assert resumed.tolist() == whole.tolist()
    with pytest.raises(xatmo.errors.ConfigError, match="redraw was 0.5 and is 0.25"):
        losses(sea(), settings={"redraw": 0.25}, max_steps=6, run_dir=tmp_path)


def _interrupted(folder: Path) -> None:
    """Stop after three steps, as Ctrl-C does."""
    import os
    import signal

    from xatmo.train import FourDVar

    usual = FourDVar.training_step

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FourDVar, "training_step", step)
        losses(sea(), max_steps=6, run_dir=folder)


def test_validation_keeps_the_best_weights_and_names_are_looked_up_there() -> None:
    ds = sea(n_time=12)
    made = task().fit(ds.isel(time=slice(0, 8)), obs="seen", target="ssh", validation=ds.isel(time=slice(8, 12)),
                      max_steps=6, **QUICK)  # fmt: skip
    scores = made.model.config["scores"]
    assert "validation_loss" in scores
    assert scores["validation_loss_of_background"] > 0
    with pytest.raises(xatmo.errors.VariableError, match=r"validation lacks \['seen'\] for obs="):
        task().fit(ds, obs="seen", target="ssh", validation=ds.drop_vars("seen"), max_steps=1, **QUICK)


def test_a_network_that_is_no_better_than_its_background_gives_the_background(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A learning rate that throws the weights away: what is mapped is the background, also once it is read back."""
    ds = sea(part=0.2)
    settings = {"background": "linear", "learning_rate": 0.1, "error": False}
    data: dict[str, Any] = {"obs": "seen", "target": "ssh", "max_steps": 3, **QUICK}
    made = task(**settings).fit(ds, validation=ds, **data)
    scores = made.model.config["scores"]
    assert scores["validation_loss_of_analysis"] >= scores["validation_loss_of_background"]
    assert "training did not improve on the background" in caplog.text
    assert any("did not improve" in note for note in made.model.config["training"]["notes"])
    made.save(tmp_path / "model")
    linear = xatmo.assimilation.linear_interp(ds, "seen").seen
    for one in (made, xatmo.load(tmp_path / "model")):
        mapped = ds.atmo.fourdvar_interp("seen", model=one, device="cpu").seen
        np.testing.assert_allclose(mapped, linear.transpose(*mapped.dims), atol=1e-5)
    without = task(**settings).fit(ds, **data)  # nothing says so here
    assert rmse(ds.atmo.fourdvar_interp("seen", model=without, device="cpu").seen, linear) > 0.02
    # The loss of the background is its mean square error over the windows, in units of the standard deviation.
    part = ds.isel(time=slice(0, 3), lon=slice(0, 16))  # one window
    again = task(**settings).fit(ds, validation=part, **data).model.config["scores"]
    guess = xatmo.assimilation.linear_interp(part, "seen").seen
    std = float(made.model.normalizer.scaling("ssh")[1])
    assert again["validation_loss_of_background"] == pytest.approx((rmse(guess, part.ssh) / std) ** 2, rel=0.02)


def test_a_network_that_is_better_than_its_background_is_kept() -> None:
    ds = sea(n_time=6, part=0.2)
    made = FourDVarNet(time_window=3, background="linear", n_steps=2, error=False, redraw=0.2, learning_rate=1e-2,
                       network_settings={"prior_channels": 8, "solver_channels": 16, "n_levels": 1})  # fmt: skip
    made.fit(ds, obs="seen", target="ssh", validation=ds, max_steps=30, **QUICK)
    scores = made.model.config["scores"]
    assert scores["validation_loss_of_analysis"] < scores["validation_loss_of_background"]
    assert scores["validation_loss_of_analysis"] == pytest.approx(scores["validation_loss"], rel=1e-4)
    assert not made.model.network.config.keeps_background


def test_a_fitted_task_to_start_from(fitted: FourDVarNet) -> None:
    ds = sea(seed=9).map(lambda a: (2 * a).assign_attrs(units="m"))
    made = task(learning_rate=1e-9).fit(ds, obs="seen", target="ssh", initial=fitted, max_steps=1, **QUICK)
    assert made.model.normalizer.scaling("ssh") == fitted.model.normalizer.scaling("ssh")
    for name, weight in fitted.model.network.state_dict().items():
        torch.testing.assert_close(made.model.network.state_dict()[name], weight, atol=1e-5, rtol=0)
    with pytest.raises(xatmo.errors.OptionError, match="the weights of initial do not fit"):
        task(n_steps=2, network_settings={"prior_channels": 3, "solver_channels": 4}).fit(
            ds, obs="seen", target="ssh", initial=fitted, max_steps=1, **QUICK
        )
    with pytest.raises(xatmo.errors.OptionError, match="initial reads .* Wanted the same names"):
        task().fit(ds, obs="ssh", target="seen", initial=fitted, max_steps=1, **QUICK)


# ---------------------------------------------------------------------- modules of the caller's
class Net(torch.nn.Module):
    """The background and something of what is observed."""

    def __init__(self, n_inputs: int = 4) -> None:
        super().__init__()
        self.read = torch.nn.Conv3d(n_inputs, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert torch.isfinite(x).all()
        return self.read(x) + x[:, 2:3]


class Step(torch.nn.Module):
    """A prior on three frames as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(x[:, 0])[:, None]


def test_a_network_of_the_callers(tmp_path: Path) -> None:
    ds = sea()
    ds["sst"] = ds.ssh.where(ds.ssh > 0).assign_attrs(units="K")
    made = FourDVarNet.from_module(Net(5), time_window=3, background="linear", loss={"value": 1.0, "gradient": 1.0})
    made.fit(ds, obs="seen", target="ssh", predictors="sst", max_steps=2, **QUICK)
    assert repr(made).startswith("<FourDVarNet module=Net, background='linear'")
    made.save(tmp_path / "m")
    with pytest.raises(xatmo.errors.CheckpointError, match=r"pass the network: xatmo.load\(path, module=net\)"):
        xatmo.load(tmp_path / "m")
    again = xatmo.load(tmp_path / "m", module=Net(5))
    one, other = (ds.atmo.fourdvar_interp("seen", model=m, device="cpu") for m in (made, again))
    xr.testing.assert_identical(one, other)


def test_a_prior_of_the_callers(tmp_path: Path) -> None:
    ds = sea()
    made = task(prior=Step(), solver="gradient").fit(ds, obs="seen", target="ssh", max_steps=2, **QUICK)
    assert repr(made).startswith("<FourDVarNet prior=Step, solver='gradient'")
    made.save(tmp_path / "m")
    with pytest.raises(xatmo.errors.CheckpointError, match="the network has a prior of your own; pass it"):
        xatmo.load(tmp_path / "m")
    again = xatmo.load(tmp_path / "m", module=Step())
    one, other = (ds.atmo.fourdvar_interp("seen", model=m, device="cpu") for m in (made, again))
    xr.testing.assert_identical(one, other)
    more = again.fit(ds, obs="seen", target="ssh", max_steps=1, **QUICK)
    assert repr(more).startswith("<FourDVarNet prior=Step")


def test_an_equation_of_ones_own_takes_steps_that_do_not_run_away() -> None:
    prior = SPDEPrior(slice(0, 1), {"tau": 5.0})
    task = FourDVarNet(prior, solver="gradient", n_steps=4, time_window=3, background="zero", error=False)
    assert task.config["network_settings"]["gradient_scale"] == "prior"
    ds = sea()
    task.fit(ds, obs="seen", target="ssh", max_steps=2, **QUICK)
    made = ds.atmo.fourdvar_interp("seen", model=task, device="cpu").seen
    before, after = (float(((f - ds.ssh) ** 2).mean() ** 0.5) for f in (0 * ds.ssh, made))
    assert after < 0.95 * before
