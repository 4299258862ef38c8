from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import Grid, metrics
from xatmo.errors import DimensionError, OptionError


@pytest.fixture
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(0)
    grid = Grid.regular(13, 24)
    coords = {"time": np.arange(30), **grid.coords()}
    t = xr.DataArray(rng.normal(size=(30, 13, 24)), coords, ("time", "latitude", "longitude"), name="t",
                     attrs={"units": "K"})  # fmt: skip
    return (t + 0.5 * rng.normal(size=t.shape)).assign_attrs(t.attrs), t


def test_each_score_is_that_of_its_function(pair):
    p, t = pair
    # Those that need a climatology, a threshold, whole spectra, an ensemble, or larger images have tests of their own.
    others = ("acc", "effective_resolution", "ms_ssim", "crps", "energy_score", "brier_score", "spread_skill")
    others += ("fss", "pod", "far", "csi", "frequency_bias")
    names = [n for n in metrics.METRICS if n not in others]
    scores = metrics.verify(p, t, metrics=names, dim=("latitude", "longitude"))
    assert list(scores) == names
    for name in names:
        alone = getattr(metrics, name)(p, t, dim=("latitude", "longitude"))
        np.testing.assert_array_equal(scores[name], alone)
        assert scores[name].attrs == {k: v for k, v in alone.attrs.items() if k != "history"}
    assert "verify(metrics=['rmse'" in scores.attrs["history"]


def test_functions_and_their_keywords(pair):
    p, t = pair
    peak = functools.partial(metrics.psnr, data_range=100.0)
    wide = functools.partial(metrics.ssim, gaussian=True, data_range=4.0)
    plain = functools.partial(metrics.rmse, weights=None)

    def largest(prediction, target, *, dim=None):
        return abs(prediction - target).max(dim)

    scores = metrics.verify(p, t, metrics=[peak, wide, plain, largest])
    assert scores["psnr"].item() == metrics.psnr(p, t, data_range=100.0).item()
    assert scores["ssim"].item() == metrics.ssim(p, t, gaussian=True, data_range=4.0).item()
    assert scores["rmse"].item() == metrics.rmse(p, t, weights=None).item()
    assert scores["largest"].item() == float(abs(p - t).max())


def test_datasets_name_scores_by_variable(pair):
    p, t = pair
    two = metrics.verify(p.to_dataset().assign(q=p), t.to_dataset().assign(q=t), metrics=["rmse", "bias"])
    assert list(two) == ["t_rmse", "t_bias", "q_rmse", "q_bias"]
    assert list(metrics.verify(p.to_dataset(), t.to_dataset(), metrics="rmse")) == ["rmse"]


def test_climatology_is_passed_to_those_who_use_it(pair):
    p, t = pair
    base = t.mean("time").assign_attrs(t.attrs)
    scores = metrics.verify(p, t, metrics=["rmse", "skill", "acc"], climatology=base)
    assert scores["skill"].item() == metrics.skill(p, t, climatology=base).item()
    assert scores["acc"].item() == metrics.acc(p, t, climatology=base).item()
    assert scores["rmse"].item() == metrics.rmse(p, t).item()


@pytest.mark.parametrize("name", ["rmse", "bias", "correlation", "skill", "ssim", "std_ratio"])
def test_bootstrap_equals_resampling_the_data(pair, name):
    p, t = pair
    options = {"dim": "time", "block": 4, "n": 40, "seed": 3, "level": 0.8, "student": False}
    fixed = functools.partial(metrics.ssim, data_range=4.0) if name == "ssim" else name
    scores = metrics.verify(p, t, metrics=fixed, bootstrap=options)
    rng = np.random.default_rng(3)
    starts = rng.integers(7, size=(40, 7))  # 30 = 6 x 4 + 6: the last block is longer
    samples = []
    for row in starts:
        at = np.concatenate([np.arange(24, 30) if b == 6 else np.arange(4 * b, 4 * b + 4) for b in row])
        drawn = [x.isel(time=at).drop_vars("time") for x in (p, t)]
        samples.append(metrics.verify(*drawn, metrics=fixed)[name].item())
    low, high = np.quantile(samples, [0.1, 0.9])
    assert scores[f"{name}_lower"].item() == pytest.approx(low, rel=1e-9)
    assert scores[f"{name}_upper"].item() == pytest.approx(high, rel=1e-9)
    assert scores[name].item() == pytest.approx(metrics.verify(p, t, metrics=fixed)[name].item(), rel=1e-12)
    assert scores[f"{name}_lower"].attrs["long_name"].startswith("lower 0.8 bound of")


def test_bootstrap_covers_the_truth():
    rng = np.random.default_rng(0)
    p = xr.DataArray(rng.normal(1.0, 1.0, size=(200, 100)), dims=("sample", "time"))
    scores = metrics.verify(p, 0 * p, metrics="bias", dim="time", bootstrap={"dim": "time", "n": 400})
    covered = (scores["bias_lower"] < 1) & (scores["bias_upper"] > 1)
    assert 0.83 < float(covered.mean()) < 0.95


def test_lazy_in_one_graph(pair, no_compute):
    p, t = pair
    options = {"dim": "time", "block": 4, "n": 20}
    names = ["rmse", "correlation", "ssim", "psnr"]
    with no_compute():
        lazy = metrics.verify(p.chunk(time=7), t.chunk(time=7), metrics=names, bootstrap=options)
    assert all(v.chunks is not None for v in lazy.values())
    xr.testing.assert_allclose(lazy, metrics.verify(p, t, metrics=names, bootstrap=options), rtol=1e-10)


def test_through_the_accessor(pair):
    p, t = pair
    scores = p.atmo.verify(t, metrics="rmse")
    assert scores["rmse"].item() == metrics.rmse(p, t).item()


def test_clear_errors(pair):
    p, t = pair
    with pytest.raises(OptionError, match=r"unknown metric 'rms'; wanted some of \['acc', 'bias'"):
        metrics.verify(p, t, metrics="rms")
    with pytest.raises(OptionError, match="neither a name nor a function"):
        metrics.verify(p, t, metrics=[3])
    with pytest.raises(OptionError, match="no metrics given"):
        metrics.verify(p, t, metrics=[])
    with pytest.raises(OptionError, match="wanted {'dim': NAME}"):
        metrics.verify(p, t, metrics="rmse", bootstrap={"block": 3})
    with pytest.raises(OptionError, match="level between 0 and 1"):
        metrics.verify(p, t, metrics="rmse", bootstrap={"dim": "time", "level": 90})
    with pytest.raises(OptionError, match="make 1 blocks of 20; wanted at least 2"):
        metrics.verify(p, t, metrics="rmse", bootstrap={"dim": "time", "block": 20})
    with pytest.raises(DimensionError, match="'time' is not averaged over"):
        metrics.verify(p, t, metrics="rmse", dim="latitude", bootstrap={"dim": "time"})


def test_scores_state_what_their_numbers_depend_on(pair):
    p, t = pair
    box = {"latitude": slice(2, 11), "longitude": slice(0, 12)}
    p, t = p.isel(box), t.isel(box)
    partial = functools.partial
    clim = t.mean("time")
    wanted = {
        "psnr": ("psnr", {"data_range": "target"}),
        "psnr of 40 K": (partial(metrics.psnr, data_range=40.0), {"data_range": 40.0}),
        "ssim": (partial(metrics.ssim, data_range=8.0, window=5), {"data_range": 8.0, "window": 5}),
        "gaussian": (partial(metrics.ssim, gaussian=0.8), {"data_range": "target", "window": 7, "sigma": 0.8}),
        "acc": (partial(metrics.acc, centred=True, climatology=clim), {"centred": "true"}),
        "fss": (partial(metrics.fss, threshold=0.5, window=[1, 3]), {"threshold": 0.5}),
        "csi": (partial(metrics.csi, threshold=[0.0, 1.0]), {}),
        "nrmse": ("nrmse", {"by": "std"}),
        "gradient_ratio": ("gradient_ratio", {"spacing": "sphere", "differences": "neighbours"}),
        "rmse": ("rmse", {}),
    }
    for name, (metric, stated) in wanted.items():
        (score,) = metrics.verify(p, t, metrics=metric).data_vars.values()
        assert score.attrs.keys() == {"long_name", "units", *stated}, name
        assert {k: score.attrs[k] for k in stated} == stated, name


def gappy_forecasts(n: int = 30) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Forecasts, a truth along time and an hourly climatology, each with gaps of its own."""
    rng = np.random.default_rng(3)
    init = pd.date_range("2019-01-01", periods=n, freq="h")
    lead = np.arange(1, 5).astype("m8[h]").astype("m8[ns]")
    space = {
        "latitude": ("latitude", np.linspace(40, 50, 6), {"units": "degrees_north"}),
        "longitude": ("longitude", np.linspace(0, 10, 7), {"units": "degrees_east"}),
    }

    def field(shape: tuple[int, ...], coords: dict[str, Any]) -> xr.DataArray:
        values = 280 + rng.normal(size=(*shape, 6, 7))
        values[rng.random(values.shape) < 0.03] = np.nan
        return xr.DataArray(values, coords | space, [*coords, *space], name="t2m", attrs={"units": "K"})

    times = pd.date_range("2019-01-01", periods=n + 5, freq="h")
    forecast = field((n, 4), {"init_time": init, "lead_time": lead})
    return forecast, field((n + 5,), {"time": times}), field((24,), {"hour": np.arange(24)})


@pytest.mark.parametrize("dim", [None, ["init_time", "latitude", "longitude"], ["latitude", "longitude"]])
def test_scores_that_are_added_up_together_are_those_of_one_by_one(dim: Any, no_compute: Any) -> None:
    forecast, truth, usual = gappy_forecasts()
    wide = functools.partial(metrics.rmse, weights=None)
    chosen: list[Any] = ["rmse", "mse", "acc", "correlation", "bias", "skill", "psnr"]
    expected = {
        name: getattr(metrics, name)(
            forecast, truth, dim=dim, **({"climatology": usual} if name in ("acc", "skill") else {})
        )
        for name in chosen
    }
    with no_compute():
        lazy = metrics.verify(
            forecast.chunk(init_time=4), truth.chunk(time=9), metrics=chosen, dim=dim, climatology=usual
        )
    for found in (metrics.verify(forecast, truth, metrics=chosen, dim=dim, climatology=usual), lazy):
        for name in chosen:
            xr.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
            assert found[name].attrs == {k: v for k, v in expected[name].attrs.items() if k != "history"}
    others = metrics.verify(forecast, truth, metrics=[wide, "mae"], dim=dim)  # weights of one's own, and of all
    xr.testing.assert_allclose(others["rmse"], metrics.rmse(forecast, truth, dim=dim, weights=None))
    xr.testing.assert_allclose(others["mae"], metrics.mae(forecast, truth, dim=dim))


@pytest.mark.parametrize("bootstrap", [None, {"dim": "init_time", "block": "10h", "n": 20}])
def test_more_scores_are_no_more_tasks_for_a_chunk(bootstrap: Any) -> None:
    def tasks(n: int, names: list[str]) -> int:
        forecast, truth, _ = gappy_forecasts(n)
        lazy = forecast.chunk(init_time=1), truth.chunk(time=12)
        over = ["init_time", "latitude", "longitude"]
        scores = metrics.verify(*lazy, metrics=names, dim=over, bootstrap=bootstrap)
        return len(dict(scores.__dask_graph__()))

    some, many = ["rmse"], ["rmse", "mae", "bias", "correlation", "std_ratio"]
    one, several = (tasks(120, names) - tasks(40, names) for names in (some, many))
    assert several <= one + 20  # some more levels of the tree of sums
    assert one <= 5 * 80  # forecast, truth, truth at valid times, sums
