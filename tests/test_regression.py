"""Ridge regression on labelled features, and its score in blocks of time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError
from xatmo.regression import Ridge, cross_validate


def data(n: int = 400, noise: float = 0.0, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(seed)
    time = pd.date_range("2000-01-01", periods=n)
    x = xr.DataArray(rng.normal(size=(n, 2, 3)), {"time": time}, ("time", "place", "feature"), name="x")
    y = 3 * x[:, 0, 1] - x[:, 1, 2] + 40 + noise * rng.normal(size=n)
    return x, y.rename("lat").assign_attrs(units="degrees_north", long_name="latitude of the jet")


def test_a_linear_label_is_found_and_labelled() -> None:
    x, y = data()
    model = Ridge.fit(x[:300], y[:300], alphas=[0.0])
    made = model.predict(x[300:])
    np.testing.assert_allclose(made, y[300:], rtol=1e-8)
    assert (made.name, made.attrs["units"], made.dims) == ("lat", "degrees_north", ("time",))
    assert "Ridge.predict(alpha=0.0" in made.attrs["history"]
    np.testing.assert_allclose(model.predict(x.transpose("feature", "time", "place")), model.predict(x))


def test_it_solves_the_penalized_normal_equations() -> None:
    """(Z'Z / n + alpha) w = Z'y / n with Z of unit variance: the closed form, by another way."""
    x, y = data(60, noise=2.0)
    model = Ridge.fit(x, y, alphas=[0.7])
    z = (x.values.reshape(60, 6) - model.mean) @ model.components
    np.testing.assert_allclose(z.T @ z / 60, np.eye(6), atol=1e-10)
    wanted = np.linalg.solve(z.T @ z / 60 + 0.7 * np.eye(6), z.T @ (y.values - y.values.mean()) / 60)
    np.testing.assert_allclose(model.weights, wanted, rtol=1e-8)


def test_the_penalty_follows_the_noise() -> None:
    clear, noisy = (Ridge.fit(*data(60, noise=n)).alpha for n in (0.0, 30.0))
    assert clear < 1e-3 < noisy


def test_features_may_be_lazy(no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    x, y = data()
    model = Ridge.fit(x.chunk(time=50), y)
    with no_compute():
        lazy = model.predict(x.chunk(time=50))
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, model.predict(x))


def test_scores_tell_signal_from_noise() -> None:
    x, y = data(noise=1.0)
    nothing = x.copy(data=np.random.default_rng(9).normal(size=x.shape))
    found = cross_validate({"features": x, "noise": nothing}, y, gap="3D")
    skill = found.skill.to_series()
    assert skill["features"] == pytest.approx(1 - 1 / 11, abs=0.03)  # 1 of 11 parts of the variance is noise
    assert skill["climatology"] == 0
    assert -0.1 < skill["noise"] < 0.02
    assert "persistence" not in skill
    wanted = np.sqrt(((found.prediction - found.target) ** 2).mean("time"))
    np.testing.assert_allclose(found.rmse, wanted)
    assert found.prediction.attrs["units"] == "degrees_north"


def test_a_block_is_predicted_without_its_surroundings() -> None:
    """Labels that drift, and features that only tell the day: nothing carries over a gap."""
    n = 200
    time = pd.date_range("2000-01-01", periods=n)
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=n))
    day = xr.DataArray(np.eye(n), {"time": time}, ("time", "feature"))
    smeared = day.rolling(time=9, center=True, min_periods=1).mean()
    y = xr.DataArray(walk, {"time": time}, ("time",), name="y")
    with_gap = cross_validate(smeared, y, n_blocks=4, gap="10D", n_components=200)
    assert abs(float(with_gap.skill.sel(predictor="features"))) < 0.1


def test_persistence_of_a_first_order_process() -> None:
    rng = np.random.default_rng(0)
    y = np.zeros(3000)
    for k in range(1, y.size):
        y[k] = 0.8 * y[k - 1] + rng.normal()
    time = pd.date_range("2000-01-01", periods=y.size)
    target = xr.DataArray(y, {"time": time}, ("time",), name="y")
    found = cross_validate(target.expand_dims(feature=1), target, lead="2D")
    for name in ("persistence", "features"):  # the same: the only feature is the label two days before
        assert float(found.skill.sel(predictor=name)) == pytest.approx(0.8**4, abs=0.05)
    assert found.time.values[0] == time[2]


def test_what_is_refused() -> None:
    x, y = data(40)
    with pytest.raises(OptionError, match=r"n_components=0, alphas=.* wanted a number from 1"):
        Ridge.fit(x, y, n_components=0)
    with pytest.raises(DimensionError, match="2 times have features and a label; wanted three or more"):
        Ridge.fit(x[:2], y)
    with pytest.raises(DimensionError, match="the target has dimensions"):
        Ridge.fit(x, y.expand_dims(member=2))
    with pytest.raises(DimensionError, match="wanted time and at least one more"):
        Ridge.fit(x[:, 0, 0], y)
    with pytest.raises(MissingValueError, match="features 'x' have missing values"):
        Ridge.fit(x.where(x.place == 0), y)
    with pytest.raises(DimensionError, match="features have .* wanted {'place': 2, 'feature': 3}"):
        Ridge.fit(x, y).predict(x[:, :, :2])
    with pytest.raises(OptionError, match=r"n_blocks=1 for features \['features'\]; wanted two blocks or more"):
        cross_validate(x, y, n_blocks=1)
    with pytest.raises(DimensionError, match="with 5 blocks and gaps of 100 days 00:00:00 a fit would see 0"):
        cross_validate(x, y, gap="100D")
    with pytest.raises(CoordinateError, match="'time' does not increase"):
        cross_validate(x, y[::-1])
