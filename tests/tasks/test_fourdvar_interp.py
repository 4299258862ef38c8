"""A trained mapping on data of any size and form: the same numbers, right labels, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from tests.support.sea import QUICK, SMALL, globe, sea, track_of
from xatmo.errors import (
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.tasks import FourDVarNet
from xatmo.tasks.fourdvar._background import Background

OI: dict[str, Any] = {
    "length_scale": 60e3, "time_scale": "4D", "noise_std": 0.05, "signal_std": 1.0, "drift": (0.0, 0.0)
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> FourDVarNet:
    """With a window of three frames, patches of 16 cells, standard errors."""
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL, learning_rate=1e-2)
    return made.fit(sea(), obs="seen", target="ssh", max_steps=10, **QUICK)


@pytest.fixture(scope="module")
def with_oi() -> FourDVarNet:
    made = FourDVarNet(time_window=3, background="oi", oi=OI, error=False, network_settings=SMALL)
    return made.fit(sea(), obs="seen", target="ssh", max_steps=1, **QUICK)


def mapped(ds: xr.Dataset, model: FourDVarNet, **options: Any) -> xr.DataArray:
    return ds.atmo.fourdvar_interp(**{"obs": "seen", "model": model, "device": "cpu", **options}).seen


# ---------------------------------------------------------------------- the same numbers
def test_the_form_of_the_data_does_not_matter(fitted: FourDVarNet) -> None:
    ds = sea(rows=22, columns=30)
    expected = mapped(ds, fitted)
    south_up = mapped(ds.isel(lat=slice(None, None, -1)), fitted)
    assert south_up.lat[0] < south_up.lat[-1]
    np.testing.assert_array_equal(south_up.sortby("lat", ascending=False), expected)
    east = mapped(ds.assign_coords(lon=(ds.lon + 360).assign_attrs(ds.lon.attrs)), fitted)
    np.testing.assert_array_equal(east, expected)
    turned = mapped(ds.transpose("lon", "time", "lat"), fitted)
    assert turned.dims == ("lon", "time", "lat")
    np.testing.assert_array_equal(turned.transpose(*expected.dims), expected)
    there = ds.seen.notnull()
    masked = mapped(ds.assign(seen=ds.ssh), fitted, mask=there)
    np.testing.assert_array_equal(masked, expected)
    masked = mapped(ds.assign(seen=ds.ssh, m=there.astype("i1")), fitted, mask="m")
    np.testing.assert_array_equal(masked, expected)
    named = ds.seen.rename("sla").to_dataset().atmo.fourdvar_interp("sla", model=fitted, device="cpu")
    np.testing.assert_array_equal(named.sla, expected)


def test_a_globe_wraps_wherever_its_file_begins() -> None:
    ds = globe()
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL, error=False)
    made.fit(ds, obs="nadir", target="ssh", max_steps=1, **QUICK)

    def of(other: xr.Dataset) -> xr.DataArray:
        return other.atmo.fourdvar_interp("nadir", model=made, domain="water", device="cpu").nadir

    expected = of(ds)
    rolled = ds.roll(lon=11, roll_coords=True)
    rolled = rolled.assign_coords(lon=((rolled.lon + 180) % 360 - 180).assign_attrs(ds.lon.attrs)).sortby("lon")
    again = of(rolled)
    np.testing.assert_array_equal(again.assign_coords(lon=again.lon % 360).sortby("lon"), expected)
    closed = of(xr.concat([ds, ds.isel(lon=[0]).assign_coords(lon=[360.0])], "lon", data_vars="minimal"))
    assert (closed.sizes["lon"], float(closed.lon[-1])) == (37, 360)
    np.testing.assert_array_equal(closed.isel(lon=slice(0, -1)), expected)
    np.testing.assert_array_equal(closed.isel(lon=-1), expected.isel(lon=0))


def test_chunks_do_not_matter_and_nothing_is_computed_early(
    fitted: FourDVarNet, with_oi: FourDVarNet, no_compute: Callable[[], AbstractContextManager[None]]
) -> None:
    ds = sea(rows=22, columns=30)
    for model in (fitted, with_oi):
        expected = mapped(ds, model)
        for chunks in ({"time": 1}, {"time": 5, "lat": 9, "lon": 11}, {}):
            with no_compute():
                out = mapped(ds.chunk(chunks), model)
            assert out.chunks is not None
            np.testing.assert_array_equal(out.compute(scheduler="sync"), expected)


def test_many_windows_give_what_one_gives() -> None:
    """With overlaps of two halos no window leaves a trace."""

    class Near(torch.nn.Module):
        halo, alignment = 1, 1

        def __init__(self) -> None:
            super().__init__()
            self.read = torch.nn.Conv3d(4, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.read(x)

    ds = sea(n_time=3, rows=40, columns=36)
    made = FourDVarNet.from_module(Near(), time_window=3, background="zero")
    made.fit(ds, obs="seen", target="ssh", max_steps=1, **QUICK)
    whole = mapped(ds, made, patch_size={"lat": 40, "lon": 36})
    for overlap in ({"lat": 2, "lon": 2}, {"lat": 5, "lon": 3}):
        parts = mapped(ds, made, patch_size={"lat": 16, "lon": 11}, overlap=overlap)
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_windows_in_time_are_blended() -> None:
    """Each frame is the mean of what windows say, weighed towards their middle."""

    class Place(torch.nn.Module):
        """The number of the frame in its window."""

        halo, alignment = 0, 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(len(x), 1, 4, *x.shape[3:])

    ds = sea(n_time=8)
    model = FourDVarNet.from_module(Place(), time_window=4, background="zero")
    net = model._module
    assert net is not None
    net.config = type("Config", (), {"time_window": 4, "n_outputs": 1, "observed": (0,)})  # type: ignore[assignment]
    out = mapped(ds, net).isel(lat=3, lon=3)  # type: ignore[arg-type]
    weights = xatmo.patches.window(4, "hann", 2)
    total, norm = np.zeros(8), np.zeros(8)
    for start in (0, 2, 4):
        total[start : start + 4] += weights * np.arange(4)
        norm[start : start + 4] += weights
    np.testing.assert_allclose(out, total / norm, atol=1e-6)


def test_tracks_lie_in_their_cells(fitted: FourDVarNet) -> None:
    ds = sea()
    along = track_of(ds.seen).rename("seen")
    out = mapped(ds.drop_vars("seen"), fitted, obs=along)
    np.testing.assert_allclose(out, mapped(ds, fitted), atol=1e-6)
    lazily = mapped(ds, fitted, obs=along.chunk(n=50))
    assert lazily.chunks is not None
    np.testing.assert_allclose(lazily, out, atol=1e-6)


def test_tracks_elsewhere_are_told(fitted: FourDVarNet, caplog: pytest.LogCaptureFixture) -> None:
    """All of them: an error. One of two sensors: a warning, and the other one serves."""
    from xatmo.tasks.fourdvar import _data

    ds = sea()
    along = track_of(ds.seen).rename("seen")
    away = along.assign_coords(time=("n", along.time.values + np.timedelta64(1000, "D")))
    with pytest.raises(xatmo.errors.CoordinateError, match="no observation lies on the grid: 'seen' has latitude"):
        mapped(ds.drop_vars("seen"), fitted, obs=away)
    grid = ds.drop_vars("seen")
    found = _data.gather(grid, [along, away.rename("other")], what="train")
    assert "no observation of this track lies on the grid: 'other' has latitude" in caplog.text
    assert found.obs[0].notnull().any()
    assert not found.obs[1].notnull().any()


# ---------------------------------------------------------------------- time
def test_every_length_of_record_and_gaps(fitted: FourDVarNet) -> None:
    ds = sea(n_time=9)
    for n in (1, 2, 4):
        out = mapped(ds.isel(time=slice(0, n)), fitted)
        assert out.sizes["time"] == n
        np.testing.assert_array_equal(out.time, ds.time[:n])
        assert out.notnull().all()
    parts = [ds.isel(time=slice(0, 4)), ds.isel(time=slice(6, 9))]
    out = mapped(xr.concat(parts, "time"), fitted)
    np.testing.assert_array_equal(out.isel(time=slice(0, 4)), mapped(parts[0], fitted))
    np.testing.assert_array_equal(out.isel(time=slice(4, 7)), mapped(parts[1], fitted))


def test_frames_added_to_a_short_record_have_no_observations(
    fitted: FourDVarNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []
    from xatmo.nn.assimilation.foreign import Answering

    usual = Answering.forward

    def keep(self: Answering, x: torch.Tensor) -> torch.Tensor:
        given.append(x.clone())
        return usual(self, x)

    monkeypatch.setattr(Answering, "forward", keep)
    ds = sea(n_time=1)
    mapped(ds, fitted)
    counts = given[0][:, 1].sum(dim=(0, 2, 3)).tolist()
    assert counts == [0, int(ds.seen.count()), 0]


def test_without_any_observation_it_is_the_background(fitted: FourDVarNet) -> None:
    ds = sea(n_time=3)
    out = mapped(ds.assign(seen=ds.seen.where(False).assign_attrs(units="m")), fitted)
    np.testing.assert_allclose(out, float(fitted.model.normalizer.scaling("ssh")[0]), atol=1e-6)
    guess = (ds.ssh * 0.3).assign_attrs(units="m")
    out = mapped(ds.assign(seen=ds.seen.where(False).assign_attrs(units="m")), fitted, background=guess)
    np.testing.assert_allclose(out, guess, atol=1e-6)


def test_a_sample_without_any_observation_has_the_mean_of_the_training() -> None:
    ds = sea()
    ds = ds.assign(ssh=(ds.ssh + 280).assign_attrs(units="K"), seen=(ds.seen + 280).assign_attrs(units="K"))
    both = xr.concat([ds, ds.assign(seen=ds.seen.where(False).assign_attrs(units="K"))], "sample")
    made = FourDVarNet(time_window=3, background="linear", network_settings=SMALL, error=False)
    made.fit(both, obs="seen", target="ssh", max_steps=1, **QUICK)
    out = mapped(both, made)
    np.testing.assert_array_equal(out.isel(sample=0), mapped(ds, made))
    np.testing.assert_allclose(out.isel(sample=1), ds.ssh.mean(), atol=1e-3)


def test_an_output_that_nothing_observes_begins_at_its_mean() -> None:
    ds = sea()
    ds["sst"] = (280 + ds.ssh).assign_attrs(units="K")
    made = FourDVarNet(time_window=3, background="linear", network_settings=SMALL, redraw=0.0, error=False)
    made.fit(ds, obs="seen", target=["ssh", "sst"], max_steps=1, **QUICK)
    from xatmo.tasks.fourdvar import _fit
    from xatmo.tasks.fourdvar._batches import Drawing
    from xatmo.tasks.fourdvar._packing import Channels, Scaling

    model = made.model
    channels = Channels.of_model(model.inputs, model.outputs, model.config["observed"])
    fields = _fit.Data(ds, "seen", target=["ssh", "sst"]).fields()
    assert model.normalizer is not None
    guess = (Background("linear"), None)
    kept = _fit._made(guess, channels, fields, Drawing(), Scaling(model.normalizer))
    np.testing.assert_allclose(kept.fields[1], ds.sst.mean(), atol=1e-3)


def test_backgrounds_with_gaps_in_time_are_refused(fitted: FourDVarNet) -> None:
    ds = sea()
    gaps = ds.ssh.where((ds.time != ds.time[3]) | (ds.lon < -58)).assign_attrs(units="m")
    for guess in (gaps, gaps.chunk(time=2)):
        with pytest.raises(MissingValueError, match="background 'ssh' is missing or infinite at some times at 160 of"):
            mapped(ds, fitted, background=guess).compute()
    with pytest.raises(MissingValueError, match="at some times"):
        mapped(ds, fitted, background=ds.ssh.where(ds.ssh < 1, np.inf).assign_attrs(units="m"))
    sides = ds.isel(time=0, drop=True).lon < -58
    out = mapped(ds, fitted, background=gaps, domain=xr.ones_like(ds.ssh.isel(time=0, drop=True)) * sides)
    assert out.where(sides, drop=True).notnull().all()


def test_sensors_of_several_outputs_are_tied_by_their_settings() -> None:
    ds = sea()
    ds["sst"] = (280 + ds.ssh).assign_attrs(units="K")
    ds["ship"] = (ds.seen + 6.85).assign_attrs(units="degC")
    made = FourDVarNet(time_window=3, background="zero", network_settings={**SMALL, "observed": (0, 1)})
    made.fit(ds, obs=["seen", "ship"], target=["ssh", "sst"], max_steps=1, **QUICK)
    out = ds.atmo.fourdvar_interp(["seen", "ship"], model=made, device="cpu")
    assert {n: out[n].attrs["units"] for n in out.data_vars} == {"ssh": "m", "sst": "degC"}
    alone = FourDVarNet(time_window=3, background="zero", network_settings={**SMALL, "observed": (0, 1)})
    alone.fit(ds, obs=["seen", "ship"], max_steps=1, **QUICK)
    assert [c.name for c in alone.model.outputs] == ["seen", "ship"]


# ---------------------------------------------------------------------- labels
def test_units_names_and_history(fitted: FourDVarNet) -> None:
    ds = sea().assign_attrs(title="sea")
    expected = mapped(ds, fitted)
    cm = ds.assign(seen=(100 * ds.seen).assign_attrs(units="cm", long_name="level"))
    out = cm.atmo.fourdvar_interp("seen", model=fitted, uncertainty=True, device="cpu")
    np.testing.assert_allclose(out.seen, 100 * expected, atol=1e-3)
    assert list(out.data_vars) == ["seen", "seen_error"]
    assert out.seen.attrs == {**cm.seen.attrs, "ancillary_variables": "seen_error"}
    assert (out.seen_error.attrs["units"], out.attrs["title"]) == ("cm", "sea")
    assert "fourdvar_interp(model='FourDVarNet'" in out.attrs["history"]
    metres = ds.atmo.fourdvar_interp("seen", model=fitted, uncertainty=True, device="cpu").seen_error
    assert (metres > 0).all()
    np.testing.assert_allclose(out.seen_error, 100 * metres, rtol=1e-4)
    assert ds.seen.attrs == sea().seen.attrs  # nothing of the caller's was changed


def test_land_is_missing_and_nothing_leaks_out_of_it(fitted: FourDVarNet, with_oi: FourDVarNet) -> None:
    ds = sea()
    water = xr.ones_like(ds.ssh.isel(time=0, drop=True), dtype=bool)
    water[4:9, 5:12] = False
    out = mapped(ds, fitted, domain=water)
    assert (out.notnull() == water).all()
    wild = ds.assign(seen=ds.seen.where(water, 1e3).assign_attrs(units="m"))
    np.testing.assert_array_equal(mapped(wild, fitted, domain=water), out)
    np.testing.assert_array_equal(mapped(wild, with_oi, domain=water), mapped(ds, with_oi, domain=water))
    # What a background lacks is land, too.
    guess = (0.0 * ds.ssh).where(water).assign_attrs(units="m")
    assert (mapped(ds, fitted, background=guess).notnull() == water).all()


def test_true_times_are_read_once_whatever_their_unit(with_oi: FourDVarNet) -> None:
    ds = sea()
    hours = xr.full_like(ds.seen, 10.0).assign_attrs(units="hours")
    seconds = (3600 * hours).assign_attrs(units="seconds")
    expected = mapped(ds, with_oi, lag=seconds)
    for lag in (hours, hours.drop_attrs(), xr.full_like(ds.seen, np.timedelta64(10, "h"), dtype="timedelta64[ns]")):
        np.testing.assert_array_equal(mapped(ds, with_oi, lag=lag), expected)
    assert 1e-3 < float(abs(expected - mapped(ds, with_oi)).mean()) < 0.5 * float(expected.std())


def test_members_and_their_spread(with_oi: FourDVarNet) -> None:
    ds = sea(n_time=4)
    three = mapped(ds, with_oi, members=3, seed=1)
    assert three.dims == ("member", "time", "lat", "lon")
    np.testing.assert_allclose(mapped(ds, with_oi, members=1, seed=1).isel(member=0), three.isel(member=0), atol=1e-5)
    assert float(abs(three.isel(member=0) - three.isel(member=1)).max()) > 0.1
    lazily = mapped(ds.chunk(time=2, lat=7), with_oi, members=3, seed=1)
    np.testing.assert_allclose(lazily, three, atol=1e-5)
    out = ds.atmo.fourdvar_interp("seen", model=with_oi, members=3, seed=1, uncertainty=True, device="cpu")
    assert "spread of 3 members" in out.seen_error.attrs["comment"]
    spread = np.sqrt(((three - mapped(ds, with_oi)) ** 2).mean("member"))
    np.testing.assert_allclose(out.seen_error, spread, atol=1e-5)


# ---------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda ds: ds, {"obs": "sst"}, VariableError, "no variable 'sst' for obs="),
        (lambda ds: ds, {"obs": ["seen", "ssh"]}, OptionError, "2 fields came for obs=.* wanted as many"),
        (lambda ds: ds, {"mask": ["ssh", "ssh"]}, OptionError, "2 masks came for 1 observed fields"),
        (lambda ds: ds, {"mask": sea().ssh.astype(str)}, VariableError, "mask 'ssh' has dtype <U32; wanted bool"),
        (lambda ds: ds, {"domain": sea().ssh.astype(str)}, VariableError, "domain 'ssh' has dtype <U32; wanted bool"),
        (lambda ds: ds, {"members": 2, "seed": -1}, OptionError, "seed=-1 came; wanted a whole number of at least 0"),
        (lambda ds: ds.expand_dims(member=2), {"members": 2}, OptionError, "wanted none called 'member': rename it"),
        (lambda ds: ds, {"prior": "spde"}, OptionError, "prior='spde' came with model="),
        (lambda ds: ds, {"noise_std": 0.1}, OptionError, "noise_std=0.1 came with model="),
        (lambda ds: ds, {"model": None, "window": "uniform"}, OptionError, "window='uniform' came without model="),
        (lambda ds: ds, {"model": None, "patch_size": {"lat": 3}}, OptionError, "patch_size=.* came without model="),
        (lambda ds: ds, {"patch_size": 16}, OptionError, "patch_size=16 came; wanted points by dimension"),
        (lambda ds: ds, {"overlap": 3}, OptionError, "overlap=3 came; wanted points by dimension"),
        (lambda ds: ds, {"patch_size": {"time": 2}}, OptionError, "made for its own number of frames"),
        (lambda ds: ds, {"members": 2}, OptionError, "wanted a task trained with background='oi'"),
        (lambda ds: ds, {"model": 3}, OptionError, "model is int; wanted a fitted task"),
        (lambda ds: ds.assign_coords(time=ds.time.where(ds.time != ds.time[2])), {}, CoordinateError, "missing .NaT"),
        (lambda ds: ds.isel(time=[0, 1, 3, 2]), {}, CoordinateError, "time does not increase"),
        (lambda ds: ds.isel(time=slice(None, None, 2)), {}, CoordinateError, "are 2 days apart, and 1 day in the"),
        (lambda ds: ds.assign_coords(lat=1.2 * ds.lat), {}, GridError, "a latitude step of 0.24 degrees"),
        (lambda ds: ds.drop_vars("time"), {}, DimensionError, "no coordinate of time along them"),
        (lambda ds: ds.isel(time=0), {}, DimensionError, "no coordinate of time along them"),
        (lambda ds: ds.assign(seen=ds.seen.assign_attrs(units="K")), {}, UnitsError, "units 'K' came, 'm' wanted"),
        (lambda ds: ds.assign(seen=ds.seen.drop_attrs()), {}, UnitsError, "'seen' has no units, and 'seen' is in 'm'"),
        (lambda ds: ds.assign(seen=ds.seen > 0), {}, VariableError, "has dtype bool; wanted real numbers"),
    ],
)  # fmt: skip
def test_refused(
    fitted: FourDVarNet, change: Callable[[xr.Dataset], xr.Dataset], options: dict[str, Any], error: type[Exception],
    message: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=message):
        change(sea()).atmo.fourdvar_interp(**{"obs": "seen", "model": fitted, **options})


def test_irregular_times_and_missing_predictors_are_refused() -> None:
    ds = globe()
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL, error=False)
    made.fit(ds, obs="nadir", target="ssh", predictors="sst", max_steps=1, **QUICK)
    with pytest.raises(VariableError, match="needs the variables .*'sst'.* is missing"):
        ds.drop_vars("sst").atmo.fourdvar_interp("nadir", model=made)
    with pytest.raises(UnitsError, match="'m' came, 'K' wanted"):
        ds.assign(sst=ds.sst.assign_attrs(units="m")).atmo.fourdvar_interp("nadir", model=made)
    hours = np.array([0, 24, 31, 55, 79]).astype("m8[h]")
    with pytest.raises(CoordinateError, match="times are irregular"):
        ds.assign_coords(time=ds.time.values[0] + hours).atmo.fourdvar_interp("nadir", model=made)


def test_models_of_other_tasks_are_refused() -> None:
    other = xatmo.SuperResolver.from_module(torch.nn.Upsample(scale_factor=2), factor=2, inputs=["seen"])
    with pytest.raises(OptionError, match="of the task SuperResolver, which does not map observations"):
        sea().atmo.fourdvar_interp("seen", model=other)


def test_a_bare_module_takes_physical_units() -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x[:, :1]

    ds = sea()
    out = ds.atmo.fourdvar_interp("seen", model=Twice(), device="cpu").seen
    np.testing.assert_allclose(out, (2 * ds.seen).fillna(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "all"}, "objective='all' is not available; possible are"),
        ({"background": 3}, "background=3; wanted 'oi', 'linear', 'zero' or the name"),
        ({"redraw": 1.5}, "redraw=1.5; wanted a part, from 0 to 1"),
        ({"error": "yes"}, "error='yes'; wanted True or False"),
        ({"oi": 3}, "oi=3; wanted a mapping from setting to value"),
        ({"oi": {"length_scale": -1}}, "length_scale=-1 came; wanted a positive number"),
        ({"oi": {"lenght_scale": 1}}, r"oi has the keys \['lenght_scale'\]; wanted keywords of optimal_interp"),
        ({"network_settings": {"depth": 3}}, r"network_settings has \['depth'\]; possible are"),
        ({"network_settings": {"n_steps": 3}}, r"network_settings has \['n_steps'\]; possible are"),
        ({"optimizer_settings": {"speed": 3}}, r"optimizer_settings has \['speed'\]; possible are"),
        ({"augmentation": "turn"}, "augmentation='turn'; possible are"),
        ({"loss": {"values": 1.0}}, r"unknown terms \['values'\] of the loss"),
        ({"prior": 3}, "prior=3; wanted a name or a torch.nn.Module"),
        ({"prior": "gauss"}, "prior='gauss' is not available; possible are"),
        ({"time_window": 0}, "time_window=0"),
    ],
)
def test_settings_are_refused_before_data_are_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        FourDVarNet(**options)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {"obs": []}, "obs=.* came; wanted the name of what was observed"),
        ({"objective": "supervised"}, {"target": None}, "objective='supervised' without a target"),
        ({"objective": "held_back"}, {}, "objective='held_back' with target=, which it does not look at"),
        ({"oi": OI}, {}, "came with background='zero'; wanted background='oi'"),
        ({"time_window": 99}, {}, "the longest stretch of regular steps has 8 frames"),
        ({}, {"patch_size": 99}, "patch_size 99 along 'lat'; wanted a whole number of cells from 2 to the 16"),
        ({}, {"patch_size": {"depth": 9}}, "patch_size has 'depth'; wanted cells for 'lat' and 'lon'"),
        ({}, {"mask": xr.zeros_like(sea().ssh)}, "none of .* windows .* has observations, water and a target"),
        ({"network_settings": {"calibrated": (4,)}}, {}, "speaks of 5 sensors in observed= or calibrated=, and 1 came"),
        ({"network_settings": {"n_outputs": 2}}, {}, "n_outputs=2 with 1 targets; leave it out"),
        ({"network_settings": {"n_outputs": 2}}, {"target": None}, r"nothing observes the outputs \[1\]"),
    ],
)
def test_data_that_cannot_train_are_refused(settings: dict[str, Any], options: dict[str, Any], message: str) -> None:
    made = FourDVarNet(**{"time_window": 3, "background": "zero", "network_settings": SMALL, **settings})
    with pytest.raises(OptionError, match=message):
        made.fit(sea(), **{"obs": "seen", "target": "ssh", "max_steps": 1, **QUICK, **options})


class _First(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda ds: ds.isel(time=[0, 1]), OptionError, "the longest stretch of regular steps has 2 frames"),
        (lambda ds: ds.isel(time=slice(None, None, 2)), CoordinateError, "frames of validation are 2 days apart"),
        (lambda ds: ds.assign_coords(lon=2 * ds.lon), GridError, "validation has a longitude step of 0.4"),
    ],
)
def test_validation_that_is_another_record_is_refused(
    change: Callable[[xr.Dataset], xr.Dataset], error: type[Exception], message: str
) -> None:
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL)
    with pytest.raises(error, match=message):
        made.fit(sea(), obs="seen", target="ssh", validation=change(sea()), max_steps=1, **QUICK)


def test_what_is_no_dataset_is_refused() -> None:
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL)
    wrong: Any = "sea.nc"
    with pytest.raises(VariableError, match="train is str; wanted a Dataset or DataArray: open a file with"):
        made.fit(wrong, obs="seen", target="ssh", max_steps=1, **QUICK)
    with pytest.raises(VariableError, match="validation is str; wanted a Dataset or DataArray"):
        made.fit(sea(), obs="seen", target="ssh", validation=wrong, max_steps=1, **QUICK)


def test_a_target_without_numbers_is_named() -> None:
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL)
    with pytest.raises(MissingValueError, match="'ssh' holds only missing values"):
        made.fit(sea().assign(ssh=sea().ssh * np.nan), obs="seen", target="ssh", max_steps=1, **QUICK)


def test_modules_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="module is str; wanted a torch.nn.Module"):
        FourDVarNet.from_module("net")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"\['n_steps'\] describe a network of ours"):
        FourDVarNet.from_module(torch.nn.Identity(), n_steps=3)
    with pytest.raises(OptionError, match="which has no cost"):
        FourDVarNet.from_module(torch.nn.Identity(), objective="variational")
    made = FourDVarNet.from_module(torch.nn.Identity(), time_window=3, background="zero")
    with pytest.raises(OptionError, match=r"the module turned \(1, 4, 3, 16, 16\) into \(1, 4, 3, 16, 16\); wanted"):
        made.fit(sea(), obs="seen", target="ssh", max_steps=1, **QUICK)
    made = FourDVarNet.from_module(_First(), time_window=3, background="zero")
    with pytest.raises(OptionError, match="_First has no weights to train"):
        made.fit(sea(), obs="seen", target="ssh", max_steps=1, **QUICK)
    first = torch.nn.Conv3d(4, 1, 1)
    made = FourDVarNet.from_module(first, time_window=3, background="zero", loss={"prior": 1.0})
    with pytest.raises(OptionError, match="a module of your own has no variational cost"):
        made.fit(sea(), obs="seen", target="ssh", max_steps=1, **QUICK)


def test_one_name_for_two_inputs_is_refused() -> None:
    ds = sea()
    made = FourDVarNet(time_window=3, background="zero", network_settings=SMALL)
    with pytest.raises(VariableError, match=r"obs has the names \['seen', 'seen'\]; wanted each once"):
        made.fit(ds, obs=["seen", ds.ssh.rename("seen")], max_steps=1, **QUICK)
    with pytest.raises(VariableError, match=r"some of them twice: \['seen'\]"):
        made.fit(ds, obs="seen", predictors=ds.ssh.rename("seen"), max_steps=1, **QUICK)
    with pytest.raises(DimensionError, match="'time' is missing"):
        made.fit(ds, obs=ds.seen.isel(time=0, drop=True), target="ssh", max_steps=1, **QUICK)
