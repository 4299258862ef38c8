"""Training of forecasters: which windows, in which units, from which data; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from tests.tasks.test_forecast import QUICK, SMALL, network, weather
from xatmo.errors import ConfigError, CoordinateError, DimensionError, GridError, OptionError, UnitsError, VariableError
from xatmo.tasks.forecast import _cycle, _data, _settings
from xatmo.tasks.forecast._batches import WindowBatches
from xatmo.tasks.forecast._record import even_step, record


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return weather()


def batches(data: _data.Data, n_context: int = 3, n_future: int = 2, covariates: Any = (), **options: Any) -> Any:
    """Windows in the units of the data, with the mean day beside."""
    found = data.gathered()
    whole = found.whole
    state = found.state.assign_coords({whole.time_dim: whole.times})
    cycle = _cycle.learn(state, "diurnal", whole.time_dim, whole.axes.dims)
    both = found.state if found.static is None else found.state.assign(found.static)
    names = list(both.data_vars)
    unit = xatmo.Normalizer.from_statistics(mean=dict.fromkeys(names, 0.0), std=dict.fromkeys(names, 1.0))
    cells = _data.check_patch(options.pop("patch_size", None), whole, 128)
    return WindowBatches(
        found.fields(cycle, covariates), unit, n_context, n_future, cells, batch_size=4, seed=0, **options
    )


# ---------------------------------------------------------------------- windows
def test_windows_hold_frames_in_a_row_and_what_is_usual_at_their_hours(ds: xr.Dataset) -> None:
    n = ds.sizes["time"]
    numbered = ds[["u"]].copy(deep=True)
    numbered["u"].values[:] = np.arange(n)[:, None, None]
    kept = np.r_[0:40, 47:n]
    source = batches(_data.Data(numbered.isel(time=kept)), covariates=["hour"])
    clock = ds.time.dt.hour.values
    usual = {h: np.mean([k for k in kept if clock[k] == h]) for h in range(24)}
    seen = []
    for batch in source.batches(0):
        frames = batch.frames.numpy()
        assert frames.shape[1:] == (1, 5, 6, 8)
        first = frames[:, 0, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(frames[:, 0, :, 2, 3], first[:, None] + np.arange(5))
        for b, k in enumerate(first):
            np.testing.assert_allclose(batch.cycle[b, 0, :, 1, 1], [usual[clock[k + j]] for j in range(5)], rtol=1e-6)
            angle = 2 * np.pi * (clock[k : k + 5] / 24 + float(ds.longitude[3]) / 360)
            np.testing.assert_allclose(batch.known[b, 0, :, 0, 3], np.sin(angle), atol=1e-5)
        seen += first.tolist()
    assert sorted(seen) == [*range(36), *range(47, n - 4)]


def test_patches_statics_and_samples() -> None:
    ds = weather(20, 10, 12).expand_dims(sequence=3)
    ds["z"] = ds.z.isel(sequence=0)
    source = batches(_data.Data(ds, static="z"), patch_size={"lat": 4, "lon": 6})
    assert len(source.plan) == 3 * 16 * 4 * 3
    batch = next(iter(source.batches(0)))
    assert batch.frames.shape == (4, 2, 5, 4, 6)
    assert batch.static.shape == (4, 1, 4, 6)
    told = source.describe()
    assert told["patch_size"] == {"latitude": 4, "longitude": 6}
    assert (told["static"], told["state"]) == (["z"], ["t2m", "u"])


def test_rows_go_from_north_to_south_whatever_the_file(ds: xr.Dataset) -> None:
    one = next(iter(batches(_data.Data(ds[["t2m"]])).batches(0))).frames
    turned = ds[["t2m"]].isel(latitude=slice(None, None, -1)).transpose("longitude", "latitude", "time")
    np.testing.assert_array_equal(next(iter(batches(_data.Data(turned)).batches(0))).frames, one)


def test_validation_windows_lie_side_by_side(ds: xr.Dataset) -> None:
    source = batches(_data.Data(ds), training=False)
    assert source.plan.starts["time"].tolist() == [*range(0, 91, 5), 91]


# ---------------------------------------------------------------------- roles of variables
def test_roles_of_variables(ds: xr.Dataset) -> None:
    def state(**roles: Any) -> tuple[list[str], int]:
        found = _data.Data(ds, **roles).gathered()
        return [str(n) for n in found.names], found.n_out

    assert state() == (["t2m", "u"], 2)
    assert state(target="u") == (["u", "t2m"], 1)
    assert state(target="u", predictors="u") == (["u"], 1)
    assert state(target="t2m", predictors=["u"]) == (["t2m", "u"], 1)
    assert state(predictors="u") == (["u"], 1)
    other = (2 * ds.u).rename("double")
    found = _data.Data(ds[["t2m"]], target="t2m", predictors=other).gathered()
    assert found.names == ("t2m", "double")
    assert _data.Data(ds.t2m, static=ds[["z"]]).gathered().static is not None


@pytest.mark.parametrize(
    ("roles", "kind", "message"),
    [
        ({"target": "rain"}, VariableError, "target='rain' is no variable"),
        ({"target": "z"}, DimensionError, "'z' has dimensions .* 'time' is missing"),
        ({"target": ["t2m", "t2m"]}, OptionError, "several different ones"),
        ({"static": "u"}, DimensionError, "static field 'u' has dimensions"),
        ({"static": "land"}, VariableError, "static='land' is no variable"),
        ({"predictors": xr.DataArray(np.zeros(5), dims="time", name="few", coords={"time": np.arange(5)})},
         CoordinateError, "do not lie on the points and times"),
    ],
)  # fmt: skip
def test_roles_that_do_not_fit(ds: xr.Dataset, roles: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        _data.Data(ds, **roles).gathered()


def test_data_that_cannot_be_trained_on(ds: xr.Dataset) -> None:
    task = xatmo.VideoForecaster("persistence", 2, 2)
    with pytest.raises(VariableError, match="train is ndarray"):
        task.fit(np.zeros((4, 4, 4)))  # type: ignore[arg-type]
    with pytest.raises(CoordinateError, match="no axis of time"):
        task.fit(ds[["z"]])
    with pytest.raises(DimensionError, match="train has no times"):
        task.fit(ds.isel(time=slice(0)))
    with pytest.raises(CoordinateError, match="holds <U1; wanted dates or numbers"):
        task.fit(ds.isel(time=slice(2)).assign_coords(time=["a", "b"]))
    with pytest.raises(VariableError, match="no variable of numbers over time"):
        task.fit(ds[["z"]].assign_coords(time=ds.time))
    with pytest.raises(CoordinateError, match="no latitude coordinate"):
        task.fit(xr.DataArray(np.zeros((9, 4)), dims=("time", "station")))
    with pytest.raises(OptionError, match="need 100 frames in a row; the longest stretch at even steps has 96"):
        xatmo.VideoForecaster("convlstm", 50, 50, **SMALL).fit(ds, **QUICK)
    for patch, message in (({"time": 3}, "patch_size has 'time'"), (99, "from 2 to the 6 that there are")):
        with pytest.raises(OptionError, match=message):
            network().fit(ds, patch_size=patch, **QUICK)
    monthly = ds.isel(time=slice(12)).assign_coords(
        time=np.arange("2000-01", "2001-01", dtype="M8[M]").astype("M8[ns]")
    )
    with pytest.raises(CoordinateError, match="29 days to 31 days apart"):
        task.fit(monthly)


# ---------------------------------------------------------------------- statistics and validation
def test_statistics_are_those_of_the_training(ds: xr.Dataset) -> None:
    train, rest = ds[["t2m"]].isel(time=slice(0, 72)), ds[["t2m"]].isel(time=slice(72, None)) + 1000
    rest.t2m.attrs = ds.t2m.attrs
    task = network().fit(train, validation=rest, **{**QUICK, "max_steps": 3})
    mean, std = (float(s) for s in task.model.normalizer.scaling("t2m"))
    np.testing.assert_allclose((mean, std), (float(train.t2m.mean("time").mean()), float(train.t2m.std())), rtol=1e-4)
    usual = train.t2m.astype("f8").groupby("time.hour").mean()
    np.testing.assert_allclose(task.model.cycle.t2m, usual, rtol=1e-6)
    assert np.isfinite(task.history.validation_loss.iloc[-1])
    assert task.model.config["scores"]["validation_loss"] == pytest.approx(task.history.validation_loss.min())


def test_validation_has_to_be_of_the_same_kind(ds: xr.Dataset) -> None:
    t = ds[["t2m"]]

    def fit(validation: xr.Dataset) -> None:
        network().fit(t, validation=validation, **QUICK)

    with pytest.raises(VariableError, match="needs the variables"):
        fit(ds[["u"]])
    with pytest.raises(UnitsError, match="cannot serve"):
        fit(t.assign(t2m=t.t2m.assign_attrs(units="m")))
    with pytest.raises(CoordinateError, match="frames of validation are 2 hours apart"):
        fit(t.isel(time=slice(None, None, 2)))
    with pytest.raises(GridError, match="latitude step"):
        fit(t.isel(latitude=slice(None, None, 2)))
    with pytest.raises(GridError, match="validation has no latitude and longitude"):
        fit(t.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x"))
    celsius = (t - np.float32(273.15)).assign_coords(t.coords)
    celsius.t2m.attrs = {**t.t2m.attrs, "units": "degC"}
    found = _data.Data(t, celsius).held_out(_data.Data(t).gathered(), network().fit(t, **QUICK).model.inputs)
    assert found is not None
    np.testing.assert_allclose(found.state.t2m, _data.Data(t).gathered().state.t2m, rtol=1e-5)


# ---------------------------------------------------------------------- without latitude and longitude
def test_digits_train_and_forecast() -> None:
    digits = xatmo.datasets.moving_digits(6, n_frames=10, size=16, seed=0)
    task = xatmo.VideoForecaster("simvp", 4, 3, baseline=None).fit(digits, **QUICK)
    training = task.model.config["training"]
    assert training["plane"]
    assert training["baseline"] == "none"
    out = digits.atmo.forecast(task)
    assert dict(out.sizes) == {"init_time": 7, "lead_time": 3, "sequence": 6, "y": 16, "x": 16}
    xr.testing.assert_identical(out.y, digits.y)
    assert "plane_row" not in out.coords
    other = xatmo.datasets.moving_digits(2, n_frames=4, size=24, seed=1)  # of another size, and with no more to see
    assert dict(other.atmo.forecast(task).sizes) == {
        "init_time": 1, "lead_time": 3, "sequence": 2, "y": 24, "x": 24
    }  # fmt: skip


def test_images_without_any_coordinates_and_on_projections() -> None:
    random = np.random.default_rng(0)
    plain = xr.DataArray(random.random((9, 5, 6), "f4"), dims=("time", "y", "x"), name="rain")
    task = xatmo.VideoForecaster("persistence", 2, 2).fit(plain)
    out = plain.atmo.forecast(task)
    assert out.init_time.values.tolist() == list(range(1, 9))
    assert out.valid_time.values[0].tolist() == [2, 3]
    assert out.lead_time.values.tolist() == [1, 2]
    np.testing.assert_array_equal(out[:, 1], plain[1:])
    curved = plain.assign_coords(lat=(("y", "x"), random.random((5, 6))), lon=(("y", "x"), random.random((5, 6))))
    made = curved.atmo.forecast(task, init_time=[3])
    xr.testing.assert_identical(made.lat, curved.lat)
    with pytest.raises(CoordinateError, match="functions of time and place"):
        network(covariates="hour").fit(plain, **QUICK)
    with pytest.raises(OptionError, match="'diurnal' needs dates"):
        xatmo.VideoForecaster("diurnal").fit(plain)
    with pytest.raises(GridError, match="has latitude and longitude, and the training had none"):
        weather(9)[["u"]].rename(u="rain").drop_attrs().atmo.forecast(task)


def test_other_calendars(ds: xr.Dataset) -> None:
    times = xr.date_range("2001-02-27", periods=96, freq="h", calendar="noleap", use_cftime=True)
    other = ds[["t2m"]].assign_coords(time=times)
    task = network(covariates=["hour"]).fit(other, **QUICK)
    assert task.model.config["training"]["baseline"] == "diurnal"
    out = other.atmo.forecast(task, init_time="2001-02-28T23")
    assert str(out.valid_time.values[0, 0]) == "2001-03-01 00:00:00"  # no 29 February
    assert out.lead_time.dtype == "m8[ns]"
    lazy = other.chunk(time=30).atmo.forecast(task, init_time="2001-02-28T23")
    xr.testing.assert_allclose(lazy.compute(), out)


def test_levels_have_cycles_of_their_own(ds: xr.Dataset) -> None:
    both = xr.concat([ds.t2m, ds.t2m * 2], xr.DataArray([500, 850], dims="level", name="level"))
    task = xatmo.VideoForecaster("climatology", 1, 2).fit(both)
    turned = both.isel(level=[1, 0]).atmo.forecast(task)
    np.testing.assert_allclose(turned.sel(level=850), 2 * turned.sel(level=500), rtol=1e-6)
    with pytest.raises(CoordinateError, match="a cycle for each 'level'"):
        both.assign_coords(level=[500, 700]).atmo.forecast(task)


def test_around_the_globe() -> None:
    random = np.random.default_rng(0)
    grid = xatmo.Grid.regular(12, 24, poles=False)
    time = np.datetime64("2019-03-01", "ns") + np.arange(12) * np.timedelta64(6, "h")
    t = xr.DataArray(random.random((12, 12, 24), "f4"), {"time": time, **grid.coords()},
                     ("time", "latitude", "longitude"), name="t")  # fmt: skip
    task = xatmo.VideoForecaster("simvp", 3, 2, baseline="persistence").fit(t, **{**QUICK, "max_steps": 8})
    assert task.model.config["network"]["settings"]["wrap"] == 8
    out = t.atmo.forecast(task)
    moved = t.roll(longitude=7, roll_coords=True)  # the file begins elsewhere
    xr.testing.assert_allclose(moved.atmo.forecast(task).sel(longitude=t.longitude), out, rtol=1e-5)
    closed = xr.concat([t, t[..., :1].assign_coords(longitude=t.longitude[:1] + 360)], "longitude")
    with_repeated = closed.atmo.forecast(task)
    np.testing.assert_array_equal(with_repeated[..., -1], with_repeated[..., 0])
    with pytest.raises(GridError, match="looks over the end of them"):
        t[..., :12].atmo.forecast(task)


# ---------------------------------------------------------------------- runs and settings
def test_a_run_goes_on_and_refuses_other_settings(ds: xr.Dataset, tmp_path: Path) -> None:
    t = ds[["t2m"]]
    options = {**QUICK, "run_dir": tmp_path / "run"}
    first = network().fit(t, **options)
    again = network().fit(t, **options)
    assert first.model.fingerprint == again.model.fingerprint
    with pytest.raises(ConfigError, match="n_future was 3 and is 2"):
        xatmo.VideoForecaster("convlstm", 4, 2, **SMALL).fit(t, **options)
    other = network().fit(t, **{**options, "resume": False, "seed": 5})
    assert other.model.fingerprint != first.model.fingerprint
    with pytest.raises(ConfigError, match="initial"):  # whose weights the run did not begin with
        network().fit(t, **{**options, "seed": 5}, initial=first)


def test_starting_from_a_fitted_one(ds: xr.Dataset) -> None:
    t = ds[["t2m"]]
    first = network().fit(t, **QUICK)
    after = network(learning_rate=1e-12, weight_decay=0.0).fit(t.isel(time=slice(48)), initial=first, **QUICK)
    xr.testing.assert_identical(after.model.cycle, first.model.cycle)
    assert after.model.normalizer == first.model.normalizer
    xr.testing.assert_allclose(t.atmo.forecast(after), t.atmo.forecast(first), rtol=1e-5)
    with pytest.raises(UnitsError, match="initial reads"):
        network().fit(ds, initial=first, **QUICK)
    with pytest.raises(OptionError, match="weights of initial do not fit"):
        network(network_settings={"channels": 6}).fit(t, initial=first, **QUICK)
    with pytest.raises(OptionError, match="initial has no normalizer"):
        network().fit(t, initial=xatmo.VideoForecaster("diurnal", 4, 3).fit(t), **QUICK)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "wavelets"}, "architecture='wavelets'; wanted one of"),
        ({"n_context": 0}, "n_context=0; wanted a whole number"),
        ({"n_future": 2.5}, "n_future=2.5"),
        ({"baseline": "last"}, "baseline='last'; wanted 'auto'"),
        ({"covariates": "moon"}, "covariate 'moon'"),
        ({"network_settings": 3}, "network_settings=3; wanted a mapping"),
        ({"network_settings": {"depth": 3}}, "of 'simvp'"),
        ({"architecture": "diurnal", "network_settings": {"channels": 3}}, "which has none"),
        ({"normalization": "rank"}, "normalization='rank'"),
        ({"augmentation": "noise"}, "augmentation='noise'"),
        ({"scale": "large"}, "scale='large'; wanted 'auto'"),
        ({"scale": (2.0, 1.0)}, "the lower first"),
        ({"scale_learning_rate": "yes"}, "scale_learning_rate='yes'"),
        ({"optimizer_settings": {"speed": 1}}, r"optimizer_settings has \['speed'\]"),
        ({"objective_settings": {"speed": 1}}, "objective_settings={'speed': 1} do not fit Forecast"),
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"learning_rate": (1e-3, 1e-3)}, "wanted one number"),
        ({"scheduled_sampling": {"q": 1}}, "scheduled_sampling="),
        ({"auxiliary": -1}, "auxiliary=-1"),
        ({"loss": "distance"}, "distance"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        xatmo.VideoForecaster(**settings)


def test_the_simple_forecast_that_is_chosen() -> None:
    def auto(step: float | None, n: int, dated: bool = True, **config: Any) -> str:
        return _settings.baseline({"architecture": "simvp", "baseline": "auto", **config}, step, n, dated=dated)

    assert auto(3600, 18 * 24) == "diurnal"
    assert auto(3600, 48) == "persistence"
    assert auto(86400, 1000) == "persistence"
    assert auto(5 * 3600, 1000) == "persistence"
    assert auto(1.0, 100, dated=False) == "none"
    assert auto(3600, 500, baseline=None) == "none"
    assert auto(None, 1) == "persistence"
    with pytest.raises(OptionError, match="the same hours of each day, and their step is 18000 s"):
        auto(5 * 3600, 1000, baseline="diurnal")


def test_settings_are_kept_and_shown() -> None:
    task = xatmo.VideoForecaster("simvp", 5, 6, scale=(0.5, 2.0), covariates="hour")
    assert task.config["scale"] == [0.5, 2.0]
    assert task.config["covariates"] == ["hour"]
    again = xatmo.VideoForecaster(**task.config)
    assert again.config == task.config
    assert "architecture='simvp'" in repr(task)
    assert "not fitted" in repr(task)


def test_steps_and_records(ds: xr.Dataset) -> None:
    assert even_step(ds.time.values) == 3600.0
    assert even_step(ds.time.values[:1]) is None
    assert record(ds, what="it").step == 3600.0
    assert record(ds, what="it").complete() == ["t2m", "u"]


@pytest.mark.slow
def test_two_processes(ds: xr.Dataset) -> None:
    task = network().fit(ds, devices=2, **QUICK)
    assert task.history.step.tolist() == [1, 2]
    assert task.model.config["training"]["devices"] == 2
