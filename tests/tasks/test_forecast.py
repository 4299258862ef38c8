"""Forecasts: what they read, what they are made of, and that nothing of the future goes in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from xatmo.errors import (
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)

HOUR = np.timedelta64(1, "h")
SMALL: dict[str, Any] = {"network_settings": {"channels": 4}}
QUICK: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "accelerator": "cpu", "progress": False}


def weather(n: int = 96, lat: int = 6, lon: int = 8, seed: int = 0) -> xr.Dataset:
    """Temperature with a daily cycle that differs from place to place, wind, and orography."""
    random = np.random.default_rng(seed)
    time = np.datetime64("2019-02-27", "ns") + np.arange(n) * HOUR
    shape = (n, lat, lon)
    amplitude = 2 + random.random((lat, lon))
    day = np.sin(2 * np.pi * np.arange(n) / 24)[:, None, None] * amplitude
    warm = 280 + day + 0.3 * random.standard_normal(shape).cumsum(0)
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {"t2m": (dims, warm.astype("f4"), {"units": "K", "standard_name": "air_temperature", "long_name": "2 m"}),
         "u": (dims, random.standard_normal(shape).astype("f4"), {"units": "m s-1"}),
         "z": (dims[1:], 500 * random.random(shape[1:]), {"units": "m"})},
        {"time": time, "latitude": 56 - 0.5 * np.arange(lat), "longitude": 0.5 * np.arange(lon)},
    )  # fmt: skip


def network(**settings: Any) -> xatmo.VideoForecaster:
    return xatmo.VideoForecaster("convlstm", 4, 3, **{**SMALL, **settings})


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return weather()


@pytest.fixture(scope="module")
def trained(ds: xr.Dataset) -> xatmo.VideoForecaster:
    """A network with all there is: cycle, covariates, static fields, a variable that is only read."""
    task = network(covariates=["hour", "latitude"])
    return task.fit(ds, target="t2m", static="z", **{**QUICK, "max_steps": 6})


# ---------------------------------------------------------------------- what simple forecasts are
def test_persistence_is_the_last_frame(ds: xr.Dataset) -> None:
    out = ds.atmo.forecast(xatmo.VideoForecaster("persistence", 2, 3).fit(ds))
    assert out.t2m.dims == ("init_time", "lead_time", "latitude", "longitude")
    for lead in range(3):
        np.testing.assert_array_equal(out.t2m.values[:, lead], ds.t2m.values[1:])
    assert set(out.data_vars) == {"t2m", "u"}


def test_yesterday_is_the_same_hour_of_the_last_day(ds: xr.Dataset) -> None:
    out = ds[["t2m"]].atmo.forecast(xatmo.VideoForecaster("yesterday", n_future=5).fit(ds[["t2m"]]))
    assert out.sizes["init_time"] == 96 - 23  # the context became a day
    for lead in range(5):
        np.testing.assert_array_equal(out.t2m.values[:, lead], ds.t2m.values[lead : 96 - 23 + lead])


def test_diurnal_and_climatology_are_what_their_words_say(ds: xr.Dataset) -> None:
    t = ds[["t2m"]]
    hours = t.t2m.astype("f8").groupby("time.hour").mean()
    out = t.atmo.forecast(xatmo.VideoForecaster("diurnal", 1, 30).fit(t), init_time="2019-02-28T05:00").t2m[0]
    usual = hours.sel(hour=out.valid_time.dt.hour)
    last = t.t2m.sel(time="2019-02-28T05:00")
    np.testing.assert_allclose(out, usual + (last - hours.sel(hour=5)), rtol=1e-6)
    groups = t.t2m.astype("f8").groupby(t.time.dt.strftime("%m-%H")).mean()
    out = t.atmo.forecast(xatmo.VideoForecaster("climatology", 1, 30).fit(t), init_time="2019-02-28T05:00").t2m[0]
    np.testing.assert_allclose(out, groups.sel(strftime=out.valid_time.dt.strftime("%m-%H")), rtol=1e-6)


def test_an_untrained_network_gives_its_baseline(ds: xr.Dataset) -> None:
    t = ds[["t2m"]]
    simple = t.atmo.forecast(xatmo.VideoForecaster("diurnal", 4, 3).fit(t))
    task = network(learning_rate=1e-12, weight_decay=0.0).fit(t, **QUICK)
    assert task.model.config["training"]["baseline"] == "diurnal"
    np.testing.assert_allclose(t.atmo.forecast(task).t2m, simple.t2m, rtol=2e-6)


# ---------------------------------------------------------------------- labels
def test_labels(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    out = ds.atmo.forecast(trained)
    assert list(out.data_vars) == ["t2m"]
    assert (out.sizes["init_time"], out.sizes["lead_time"]) == (93, 3)
    np.testing.assert_array_equal(out.init_time, ds.time[3:])
    np.testing.assert_array_equal(out.lead_time, np.arange(1, 4) * HOUR)
    assert out.lead_time.dtype == "m8[ns]"
    np.testing.assert_array_equal(out.valid_time, out.init_time.values[:, None] + out.lead_time.values)
    assert out.init_time.attrs["standard_name"] == "forecast_reference_time"
    assert out.lead_time.attrs["standard_name"] == "forecast_period"
    assert out.valid_time.attrs["standard_name"] == "time"
    for name in ("units", "standard_name", "long_name"):
        assert out.t2m.attrs[name] == ds.t2m.attrs[name]
    assert trained.model.fingerprint in out.attrs["history"]
    xr.testing.assert_identical(out.latitude, ds.latitude)


def test_a_data_array_comes_back_as_one(ds: xr.Dataset) -> None:
    t = ds.t2m.rename("warm")
    out = t.atmo.forecast(xatmo.VideoForecaster("persistence", 1, 2).fit(ds.t2m))
    assert isinstance(out, xr.DataArray)
    assert out.name == "warm"
    with pytest.raises(OptionError, match="pass a Dataset"):
        ds.t2m.atmo.forecast(xatmo.VideoForecaster("persistence", 1, 2).fit(ds))


def test_units_are_converted_and_names_kept(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    celsius = ds.rename(t2m="warm")
    celsius["warm"] = (celsius.warm - np.float32(273.15)).assign_attrs(ds.t2m.attrs, units="degC")
    out, same = celsius.atmo.forecast(trained).warm, ds.atmo.forecast(trained).t2m
    assert out.attrs["units"] == "K"
    np.testing.assert_allclose(out, same, rtol=1e-5)
    with pytest.raises(UnitsError, match="cannot serve"):
        ds.assign(u=ds.u.assign_attrs(units="K")).atmo.forecast(trained)
    with pytest.raises(VariableError, match="needs the variables"):
        ds[["t2m"]].atmo.forecast(trained)


def test_the_same_field_stored_otherwise_gives_the_same_answer(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    out = ds.atmo.forecast(trained, init_time=slice("2019-03-01", None))
    turned = ds.isel(latitude=slice(None, None, -1)).transpose("longitude", "time", "latitude")
    other = turned.atmo.forecast(trained, init_time=slice("2019-03-01", None))
    assert other.t2m.dims == ("init_time", "lead_time", "longitude", "latitude")
    xr.testing.assert_allclose(other.t2m.transpose(*out.t2m.dims).sortby("latitude", ascending=False), out.t2m)


# ---------------------------------------------------------------------- initial times
def test_initial_times_that_are_asked_for(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    whole = ds.atmo.forecast(trained)
    times = ds.time.values
    for asked, wanted in [
        ("2019-02-28T07:00", times[[31]]),
        (times[40], times[[40]]),
        ([times[50], times[20], times[33]], times[[50, 20, 33]]),
        (ds.time[10:16:2], times[10:16:2]),
        (slice("2019-02-27T00", "2019-02-27T06"), times[3:7]),
        ("2019-02-28", times[24:48]),
    ]:
        out = ds.atmo.forecast(trained, init_time=asked)
        np.testing.assert_array_equal(out.init_time, wanted)
        xr.testing.assert_allclose(out.t2m, whole.t2m.sel(init_time=wanted), rtol=1e-6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("2019-02-27T01:00", r"2019-02-27T01:00:00: without 4 frames.*from 2019-02-27T03:00:00 to 2019-03-02T23"),
        ("2025-01-01", "2025-01-01: not in the record"),
        (["2019-02-28T07:00", "2019-02-28T07:30"], "2019-02-28T07:30: not in the record"),
        (slice("2019-02-27T00", "2019-02-27T02"), "holds no possible initial time"),
    ],
)
def test_initial_times_that_cannot_be_had(
    ds: xr.Dataset, trained: xatmo.VideoForecaster, asked: Any, message: str
) -> None:
    with pytest.raises(CoordinateError, match=message):
        ds.atmo.forecast(trained, init_time=asked)


def test_nothing_chosen_and_no_labels(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    with pytest.raises(OptionError, match="holds nothing"):
        ds.atmo.forecast(trained, init_time=[])
    with pytest.raises(OptionError, match="wanted a slice of times"):
        ds.atmo.forecast(trained, init_time=slice("never", None))
    with pytest.raises(DimensionError, match="reads 4 frames in a row, and the longest"):
        ds.isel(time=slice(3)).atmo.forecast(trained)


def test_gaps_are_never_crossed(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    kept = np.r_[0:30, 40:42, 50:96]
    out, whole = ds.isel(time=kept).atmo.forecast(trained), ds.atmo.forecast(trained)
    np.testing.assert_array_equal(out.init_time, ds.time[np.r_[3:30, 53:96]])
    xr.testing.assert_allclose(out.t2m, whole.t2m.sel(init_time=out.init_time), rtol=1e-6)
    with pytest.raises(CoordinateError, match="without 4 frames"):
        ds.isel(time=kept).atmo.forecast(trained, init_time=ds.time.values[41])


# ---------------------------------------------------------------------- the future stays unread
@pytest.mark.parametrize("name", ["network", "persistence", "yesterday", "diurnal", "climatology"])
@pytest.mark.parametrize("lazy", [False, True])
def test_nothing_after_the_initial_time_is_read(
    ds: xr.Dataset, trained: xatmo.VideoForecaster, name: str, lazy: bool
) -> None:
    task = trained if name == "network" else xatmo.VideoForecaster(name, 2, 3).fit(ds)
    at = 40
    before = ds.atmo.forecast(task, init_time=ds.time.values[at])
    for future in (np.nan, 1e30):
        changed = ds.copy(deep=True)
        for v in ("t2m", "u"):
            changed[v].values[at + 1 :] = future
        changed = changed.chunk(time=7) if lazy else changed
        after = changed.atmo.forecast(task, init_time=ds.time.values[at])
        np.testing.assert_array_equal(after.t2m.values, before.t2m.values)
        cut = changed.isel(time=slice(at + 1)).atmo.forecast(task, init_time=ds.time.values[at])
        np.testing.assert_array_equal(cut.t2m.values, before.t2m.values)


def test_a_changed_past_changes_the_forecast(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    changed = ds.copy(deep=True)
    changed.t2m.values[37:41] += 5
    one, other = (d.atmo.forecast(trained, init_time=ds.time.values[40]).t2m for d in (ds, changed))
    assert float(abs(one - other).min()) > 1


# ---------------------------------------------------------------------- lazily
@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 25, "latitude": 4}, {"longitude": 3}, {"time": -1}])
def test_any_chunks_give_the_same(
    ds: xr.Dataset,
    trained: xatmo.VideoForecaster,
    chunks: dict[str, int],
    no_compute: Callable[[], AbstractContextManager[None]],
) -> None:
    part = ds.isel(time=slice(0, 60))
    with no_compute():
        lazy = part.chunk(chunks).atmo.forecast(trained)
    assert lazy.t2m.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), part.atmo.forecast(trained), rtol=1e-6)


def test_the_graph_grows_with_chunks_and_not_with_frames(trained: xatmo.VideoForecaster) -> None:
    def tasks(n: int, chunk: int) -> int:
        return len(weather(n).chunk(time=chunk).atmo.forecast(trained).t2m.__dask_graph__())

    def with_context(n_context: int) -> int:
        task = xatmo.VideoForecaster("diurnal", n_context, 3).fit(weather(96))
        return len(weather(96).chunk(time=24).atmo.forecast(task).t2m.__dask_graph__())

    assert with_context(20) < 1.5 * with_context(2)  # blocks are read once, not once for each frame of a context
    assert tasks(96, 24) == tasks(384, 96)
    assert tasks(192, 24) < 2.2 * tasks(96, 24)


def test_few_tasks_for_a_chunk(trained: xatmo.VideoForecaster) -> None:
    def tasks(task: xatmo.VideoForecaster, names: list[str]) -> float:
        (made,) = dask.optimize(weather(240)[names].chunk(time=24).atmo.forecast(task))
        return len(made.t2m.__dask_graph__()) / len(made.t2m.chunks[0])

    alone = xatmo.VideoForecaster("diurnal", 4, 12).fit(weather()[["t2m"]])
    assert tasks(alone, ["t2m"]) <= 9  # leads are no tasks of their own
    assert tasks(trained, ["t2m", "u", "z"]) <= 24  # another variable, its cycle, and covariates


@pytest.mark.parametrize("chunk", [None, 24], ids=["numpy", "dask"])
def test_a_frame_is_normalized_once(
    trained: xatmo.VideoForecaster, monkeypatch: pytest.MonkeyPatch, chunk: int | None
) -> None:
    from xatmo._channels import Scaling

    sizes: list[int] = []
    once = Scaling.normalize

    def counted(self: Scaling, x: Any, ranges: Any) -> Any:
        sizes.append(x.size)
        return once(self, x, ranges)

    ds = weather(96)
    given = ds if chunk is None else ds.chunk(time=chunk)
    monkeypatch.setattr(Scaling, "normalize", counted)
    with dask.config.set(scheduler="synchronous"):
        given.atmo.forecast(trained).compute()
    n_chunks = 1 if chunk is None else 4
    config: Any = trained.model.network.network.config
    assert max(sizes) <= 48 * (96 // n_chunks + 4 + 3)  # and not four times as many, by frames of context
    assert len(sizes) == n_chunks * (2 * config.n_state + config.n_known + config.n_static)


@pytest.mark.parametrize("chunk", [None, 40, 120], ids=["numpy", "chunks", "one chunk"])
def test_what_lies_between_initial_times_is_not_read(trained: xatmo.VideoForecaster, chunk: int | None) -> None:
    ds = weather(120)
    holes = ds.copy(deep=True)
    holes.t2m.values[[31, 60, 95]] = np.nan
    given = holes if chunk is None else holes.chunk(time=chunk)
    at = ds.time.values[[29, 30, 35, 99]]  # contexts of four frames begin at 26, 27, 32 and 96
    xr.testing.assert_equal(given.atmo.forecast(trained, init_time=at).compute().drop_attrs(),
                            ds.atmo.forecast(trained, init_time=at).drop_attrs())  # fmt: skip


# ---------------------------------------------------------------------- missing values
def test_missing_values_of_the_past(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    holes = ds.copy(deep=True)
    holes.t2m.values[40, 2, 3] = np.nan
    with pytest.raises(MissingValueError, match="missing or infinite"):
        holes.atmo.forecast(trained, init_time=ds.time.values[41])
    out = holes.atmo.forecast(trained, nan="mask").t2m
    lost = out.isnull()
    assert set(np.flatnonzero(lost.any(["lead_time", "latitude", "longitude"]))) == {37, 38, 39, 40}
    assert int(lost.sum()) == 4 * 3  # one cell, at all leads, and no more
    assert bool(lost.isel(latitude=2, longitude=3, init_time=slice(37, 41)).all())
    with pytest.raises(OptionError, match="wanted 'raise' or 'mask'"):
        ds.atmo.forecast(trained, nan="keep")


def test_training_with_gaps(ds: xr.Dataset) -> None:
    holes = ds[["t2m"]].where(ds.latitude < 55.9)
    with pytest.raises(MissingValueError, match="valid="):
        network().fit(holes, **QUICK)
    task = network().fit(holes, valid=0.5, **QUICK)
    assert np.isfinite(task.history["loss"]).all()
    out = holes.atmo.forecast(task, nan="mask").t2m
    assert bool((out.isnull().any(["init_time", "lead_time", "longitude"]).values == [True] + [False] * 5).all())


# ---------------------------------------------------------------------- longer, drawn, saved
def test_longer_than_trained(ds: xr.Dataset) -> None:
    for name, settings in (("convlstm", {"channels": 4}), ("simvp", {})):
        task = xatmo.VideoForecaster(name, 4, 3, network_settings=settings).fit(ds, **QUICK)
        at = "2019-03-01T06:00"
        with torch.no_grad():  # what it adds to the reference has to matter
            for weight in task.model.network.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        own, longer = ds.atmo.forecast(task, init_time=at), ds.atmo.forecast(task, init_time=at, n_future=8)
        assert longer.sizes["lead_time"] == 8
        np.testing.assert_allclose(longer.t2m[:, :3], own.t2m, rtol=1e-6)
        short = ds.atmo.forecast(task, init_time=at, n_future=2)
        np.testing.assert_array_equal(short.t2m, own.t2m[:, :2])
    task = xatmo.VideoForecaster("simvp", 4, 3).fit(ds, target="t2m", **QUICK)
    with pytest.raises(OptionError, match="forecasts 1 of the 2 variables"):
        ds.atmo.forecast(task, n_future=4)
    with pytest.raises(OptionError, match="n_future=0 came"):
        ds.atmo.forecast(task, n_future=0)


def test_members_are_functions_of_seed_member_and_initial_time(ds: xr.Dataset) -> None:
    settings = {"channels": 4, "dropout": 0.5, "mc_dropout": True}
    task = network(network_settings=settings).fit(ds, **{**QUICK, "max_steps": 8})
    few = ds.atmo.forecast(task, members=2, seed=3)
    assert few.t2m.dims[:3] == ("init_time", "lead_time", "member")
    more = ds.atmo.forecast(task, members=3, seed=3, init_time=ds.time.values[30:34])
    xr.testing.assert_allclose(more.t2m.isel(member=[0, 1]), few.t2m.sel(init_time=more.init_time), rtol=1e-6)
    assert float(few.t2m.std("member").max()) > 0
    other = ds.atmo.forecast(task, members=2, seed=4)
    assert float(abs(other.t2m - few.t2m).max()) > 0
    with pytest.raises(OptionError, match="members=2 came, but the forecaster, 'persistence', gives one answer to one"):
        ds.atmo.forecast(xatmo.VideoForecaster("persistence", 2, 2).fit(ds), members=2)


def test_saved_and_loaded(ds: xr.Dataset, trained: xatmo.VideoForecaster, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    loaded = xatmo.load(tmp_path / "model")
    assert isinstance(loaded, xatmo.VideoForecaster)
    assert loaded.config == trained.config
    assert loaded.model.fingerprint == trained.model.fingerprint
    xr.testing.assert_identical(loaded.model.cycle, trained.model.cycle)
    assert loaded.model.cycle is not None
    xr.testing.assert_identical(ds.atmo.forecast(str(tmp_path / "model")), ds.atmo.forecast(trained))
    assert len(loaded.history) == 6
    assert "ds.atmo.forecast(model)" in (tmp_path / "model" / "README.md").read_text()
    changed = loaded.model.cycle + 1
    assert xatmo.tasks.Model(**{**vars(loaded.model), "cycle": changed}).fingerprint != loaded.model.fingerprint


class Last(torch.nn.Module):
    """Corrects the baseline by a number that it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.bias + 0 * x[:, :1, -1:]).expand(-1, -1, 3, -1, -1)


def test_a_module_of_the_callers(ds: xr.Dataset, tmp_path: Path) -> None:
    task = xatmo.VideoForecaster.from_module(Last(), n_context=4, n_future=3, baseline="persistence")
    task.fit(ds, target="t2m", **QUICK)
    task.save(tmp_path / "own")
    out = ds.atmo.forecast(task)
    xr.testing.assert_identical(ds.atmo.forecast(xatmo.load(tmp_path / "own", module=Last())), out)
    with pytest.raises(xatmo.errors.CheckpointError, match="module=net"):
        xatmo.load(tmp_path / "own")
    with pytest.raises(OptionError, match="describe a network of ours"):
        xatmo.VideoForecaster.from_module(Last(), architecture="simvp")
    with pytest.raises(OptionError, match="wanted a torch.nn.Module"):
        xatmo.VideoForecaster.from_module("net")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"the module turned .* wanted \(1, 2, 3, 6, 8\)"):
        xatmo.VideoForecaster.from_module(Last(), n_context=4, n_future=3).fit(ds, **QUICK)
    with pytest.raises(OptionError, match="covariates and 0 static fields came with a module"):
        xatmo.VideoForecaster.from_module(Last(), n_context=4, n_future=3, covariates="hour").fit(
            ds, target="t2m", **QUICK
        )


# ---------------------------------------------------------------------- other regions, grids, steps
def test_a_cycle_belongs_to_its_region(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    away = ds.assign_coords(longitude=ds.longitude + 40)
    with pytest.raises(GridError, match=r"cycle of the hours for latitude 53.5 to 56 .* go beyond"):
        away.drop_vars("z").atmo.forecast(trained)
    part = ds.isel(latitude=slice(1, 5), longitude=slice(2, 8))
    assert part.atmo.forecast(trained).sizes["latitude"] == 4
    free = network(baseline="persistence").fit(ds[["t2m"]], **QUICK)
    assert away.atmo.forecast(free).sizes["init_time"] == 93


def test_other_steps_are_refused(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    with pytest.raises(CoordinateError, match="3 hours apart, and 1 hour in the training"):
        ds.isel(time=slice(None, None, 3)).atmo.forecast(trained)
    with pytest.raises(GridError, match="latitude step of 1 degrees"):
        ds.isel(latitude=slice(None, None, 2)).atmo.forecast(trained)
    uneven = ds.assign_coords(time=ds.time + (np.arange(96) % 2) * np.timedelta64(6, "m"))
    with pytest.raises(CoordinateError, match="even steps"):
        uneven.atmo.forecast(trained)
    afternoon = ds.sel(time=ds.time.dt.hour > 12)
    only = xatmo.VideoForecaster("diurnal", 2, 8).fit(afternoon)
    with pytest.raises(CoordinateError, match="no entry for a time"):
        ds.atmo.forecast(only)


def test_what_does_not_forecast(ds: xr.Dataset, trained: xatmo.VideoForecaster) -> None:
    with pytest.raises(OptionError, match="does not forecast"):
        ds.atmo.forecast(torch.nn.Identity())
    with pytest.raises(OptionError, match=r"use .atmo.forecast\(model\)"):
        ds.atmo.apply(trained)
    with pytest.raises(xatmo.errors.NotFittedError):
        ds.atmo.forecast(network())
