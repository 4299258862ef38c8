"""Comparison of models: equal to a plain loop, antisymmetric, of the right size under the null, and with power."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scores.stats.statistical_tests import diebold_mariano

from xatmo import metrics
from xatmo.errors import CoordinateError, DimensionError, OptionError

HOURLY = {"dim": "init_time", "block": "1D", "n": 100, "seed": 5}


def forecasts(n: int = 24 * 12, leads: int = 3, seed: int = 0) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """Three models of growing error along initial and lead time, and the truth at their valid times."""
    rng = np.random.default_rng(seed)
    coords = {
        "init_time": pd.date_range("2019-01-01", periods=n, freq="h"),
        "lead_time": pd.to_timedelta(np.arange(1, leads + 1), "h"),
    }
    truth = xr.DataArray(rng.normal(size=(n, leads)), coords, ("init_time", "lead_time"), "t2m", {"units": "K"})
    models = {
        name: (truth + size * rng.normal(size=truth.shape)).assign_attrs(units="K")
        for name, size in (("good", 0.5), ("fair", 0.55), ("poor", 1.0))
    }
    return models, truth


def remembering(runs: int, n: int, seed: int, memory: float = 0.7) -> xr.DataArray:
    """AR(1) errors, ``(run, init_time)``."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(runs, n))
    for k in range(1, n):
        noise[:, k] = memory * noise[:, k - 1] + np.sqrt(1 - memory**2) * noise[:, k]
    times = pd.date_range("2019-01-01", periods=n, freq="h")
    return xr.DataArray(noise, {"init_time": times}, ("run", "init_time"))


def test_equal_to_a_plain_loop() -> None:
    models, truth = forecasts()
    found = metrics.compare_models(
        models, truth, metric="rmse", dim="init_time", reference="poor", bootstrap=HOURLY | {"student": False}
    )
    assert found["score"].dims == ("model", "lead_time")
    assert found["compared"].values.tolist() == ["good", "fair"]
    drawn = np.random.default_rng(5).integers(12, size=(100, 12))
    at = (24 * drawn[..., None] + np.arange(24)).reshape(100, -1)

    def rmse(model: str, rows: Any) -> np.ndarray:
        return np.sqrt(((models[model].values[rows] - truth.values[rows]) ** 2).mean(-2))

    for name in ("good", "fair"):
        d = rmse(name, slice(None)) - rmse("poor", slice(None))
        drawings = np.stack([rmse(name, rows) - rmse("poor", rows) for rows in at])
        p = (1 + (abs(drawings - d) >= abs(d)).sum(0)) / 101
        one = found.sel(compared=name)
        np.testing.assert_allclose(one["difference"], d, rtol=1e-12)
        np.testing.assert_allclose(one["difference_lower"], np.quantile(drawings, 0.05, axis=0), rtol=1e-9)
        np.testing.assert_allclose(one["difference_upper"], np.quantile(drawings, 0.95, axis=0), rtol=1e-9)
        np.testing.assert_allclose(one["p_value"], p)
    assert found["difference"].attrs["units"] == "K"
    assert found["difference"].attrs["blocks"] == 12
    expected = np.minimum(np.maximum.accumulate(np.sort(found["p_value"], 0) * [[2], [1]], 0), 1)
    np.testing.assert_allclose(np.sort(found["p_adjusted"], 0), expected)


@pytest.mark.parametrize("test", ["bootstrap", "diebold_mariano"])
def test_the_other_way_round_only_the_sign_changes(test: Any) -> None:
    models, truth = forecasts()
    settings = {"dim": "init_time", "bootstrap": HOURLY, "test": test}
    there = metrics.compare_models(models["good"], models["fair"], truth, **settings)
    back = metrics.compare_models(models["fair"], models["good"], truth, **settings)
    np.testing.assert_allclose(there["difference"], -back["difference"], rtol=1e-12)
    np.testing.assert_allclose(there["difference_lower"], -back["difference_upper"], rtol=1e-9)
    np.testing.assert_allclose(there["p_value"], back["p_value"], rtol=1e-9)
    assert "compared" not in there.dims
    alike = metrics.compare_models(models["good"], models["good"], truth, **settings)
    assert (alike["difference"] == 0).all()
    assert (alike["p_value"] == 1).all()


@pytest.mark.parametrize(("test", "runs"), [("bootstrap", 400), ("diebold_mariano", 150)])
def test_size_under_the_null_and_power(test: Any, runs: int) -> None:
    a, b = remembering(runs, 600, 1), remembering(runs, 600, 2)
    settings = {"metric": "mse", "dim": "init_time", "test": test, "horizon": 12}
    settings["bootstrap"] = {"dim": "init_time", "block": "20h", "n": 199}
    null = metrics.compare_models(a, b, 0 * a, **settings)
    rejected = float((null["p_value"] <= 0.05).mean())
    # At 0.05 the share of 400 (150) has a standard error of 0.011 (0.018); of 30 blocks a test is a little too eager.
    assert 0.015 < rejected < 0.11
    worse = metrics.compare_models((1.5 * a), b, 0 * a, **settings)
    assert float((worse["p_value"] <= 0.05).mean()) > 0.95


def test_pairing_finds_what_lies_in_the_shared_weather() -> None:
    shared = remembering(1, 600, 3)[0]
    small = 0.1 * remembering(1, 600, 4)[0]
    a, b = 3 * shared + small + 0.25, 3 * shared + small
    resampling = {"dim": "init_time", "block": "20h", "n": 199}
    found = metrics.compare_models(a, b, 0 * a, metric="bias", bootstrap=resampling)
    apart = [metrics.verify(x, 0 * a, metrics="bias", bootstrap=resampling) for x in (a, b)]
    assert found["p_value"].item() < 0.01
    plain = metrics.compare_models(a, b, 0 * a, metric="bias", bootstrap=resampling | {"student": False})
    assert plain["p_value"].item() == 1 / 200
    assert apart[0]["bias_lower"].item() < apart[1]["bias_upper"].item()  # the intervals overlap


def test_diebold_mariano_is_that_of_scores_at_each_lead() -> None:
    models, truth = forecasts(n=120)
    two = {k: models[k] for k in ("good", "fair")}
    found = metrics.compare_models(
        two, truth, metric="mse", dim="init_time", test="diebold_mariano", bootstrap={"dim": "init_time", "level": 0.95}
    )
    loss = {k: (m - truth) ** 2 for k, m in two.items()}
    series = (loss["good"] - loss["fair"]).T.assign_coords(h=("lead_time", [1, 2, 3]))  # hourly: h is the lead in hours
    expected = diebold_mariano(series, "lead_time", "h", statistic_distribution="t")
    one = found.sel(compared="good")
    np.testing.assert_allclose(one["difference"], expected["mean"], rtol=1e-6)
    np.testing.assert_allclose(one["difference_lower"], expected["ci_lower"], rtol=1e-5)
    above = expected["confidence_gt_0"].values
    np.testing.assert_allclose(one["p_value"], 2 * np.minimum(above, 1 - above), rtol=1e-4)


def test_lazy_and_the_same_for_any_chunks(no_compute: Any) -> None:
    models, truth = forecasts(n=96)
    for test in ("bootstrap", "diebold_mariano"):
        settings: dict[str, Any] = {"dim": "init_time", "bootstrap": HOURLY, "test": test}
        whole = metrics.compare_models(models, truth, **settings)
        pieces = {k: m.chunk(init_time=50, lead_time=1) for k, m in models.items()}
        with no_compute():
            lazy = metrics.compare_models(pieces, truth.chunk(init_time=70), **settings)
        xr.testing.assert_allclose(lazy, whole, rtol=1e-9)


def test_a_point_that_one_model_lacks_is_left_out_of_all() -> None:
    models, truth = forecasts(n=48)
    holed = models | {"good": models["good"].where(models["good"].init_time.dt.day == 1)}
    resampling = {"dim": "init_time", "block": 6, "n": 20}
    found = metrics.compare_models(holed, truth, bootstrap=resampling)
    first_day = {k: m[:24] for k, m in models.items()}
    expected = metrics.compare_models(first_day, truth[:24], bootstrap={**resampling})
    np.testing.assert_allclose(found["score"], expected["score"])


def test_truth_along_time_and_members_of_one_model() -> None:
    rng = np.random.default_rng(0)
    time = pd.date_range("2019-01-01", periods=60, freq="h")
    truth = xr.DataArray(rng.normal(size=60), {"time": time}, ("time",), "t2m")
    models, _ = forecasts(n=48)
    a = xr.concat([models["good"], models["fair"]], "member").rename("t2m")
    b = xr.concat([models["good"], models["fair"], models["poor"]], "member").rename("t2m")
    for da in (a, b, truth):
        da.attrs = {"units": "K"}
    resampling = {"dim": "init_time", "block": "12h", "n": 9}
    found = metrics.compare_models({"two": a, "three": b}, truth, metric="crps", dim="init_time", bootstrap=resampling)
    np.testing.assert_allclose(found["score"].sel(model="two"), metrics.crps(a, truth, dim="init_time"))
    assert found["difference"].dims == ("compared", "lead_time")


def test_variables_are_compared_one_by_one() -> None:
    models, truth = forecasts(n=48)
    both = {k: xr.Dataset({"t2m": m, "tcc": 2 * m}) for k, m in models.items()}
    target = xr.Dataset({"t2m": truth, "tcc": 2 * truth})
    found = metrics.compare_models(both, target, metric="mae", bootstrap={"dim": "init_time", "block": 12, "n": 9})
    np.testing.assert_allclose(found["tcc_difference"], 2 * found["t2m_difference"], rtol=1e-6)
    assert found.attrs["reference"] == "poor"


def test_holm_leaves_missing_values_out() -> None:
    p = xr.DataArray([[0.04, np.nan, 0.01], [0.5, 0.6, np.nan]], dims=("lead", "model"))
    found = metrics.holm(p, dim="model")
    np.testing.assert_allclose(found, [[0.04, np.nan, 0.02], [1.0, 1.0, np.nan]])
    with pytest.raises(DimensionError, match="holm: 'x' is not in"):
        metrics.holm(p, dim="x")


def test_what_cannot_be_compared_is_said() -> None:
    models, truth = forecasts(n=48)
    good, fair = models["good"], models["fair"]
    with pytest.raises(OptionError, match="got 1 models and 1 targets; wanted a mapping"):
        metrics.compare_models({"good": good}, truth, bootstrap=HOURLY)
    with pytest.raises(OptionError, match="got 2 models and 0 targets"):
        metrics.compare_models(good, fair, bootstrap=HOURLY)
    with pytest.raises(OptionError, match=r"reference='best' is none of the models; wanted one of \['good'"):
        metrics.compare_models(models, truth, bootstrap=HOURLY, reference="best")
    with pytest.raises(OptionError, match="test='t', correction='holm'; wanted one of"):
        metrics.compare_models(good, fair, truth, bootstrap=HOURLY, test="t")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="needs to know along which dimension chance draws"):
        metrics.compare_models(good, fair, truth)
    with pytest.raises(OptionError, match="horizon=0; wanted a whole number of steps"):
        metrics.compare_models(good, fair, truth, bootstrap=HOURLY, test="diebold_mariano", horizon=0)
    with pytest.raises(CoordinateError, match="'first' and 'second' have not the same labels along 'init_time'"):
        metrics.compare_models(good, fair[1:], truth, bootstrap=HOURLY)
    with pytest.raises(DimensionError, match="'init_time' is not averaged over"):
        metrics.compare_models(good, fair, truth, bootstrap=HOURLY, dim="lead_time", test="diebold_mariano")
    with pytest.raises(DimensionError, match="'init_time' is not averaged over"):
        metrics.compare_models(good, fair, truth, bootstrap=HOURLY, dim="lead_time")


def test_models_are_matched_by_their_labels() -> None:
    models, truth = forecasts(n=48)
    settings: dict[str, Any] = {"dim": "init_time", "bootstrap": HOURLY | {"block": 6}}
    turned = models | {"fair": models["fair"].isel(init_time=slice(None, None, -1), lead_time=[2, 0, 1]).transpose()}
    xr.testing.assert_allclose(
        metrics.compare_models(turned, truth, **settings), metrics.compare_models(models, truth, **settings)
    )
