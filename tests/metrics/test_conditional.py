"""Conditional quantiles against loops over samples, and the mean day against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from forecast_fields import forecast_of, loop, record
from metric_fields import pair
from scipy import stats

from xatmo import Grid, metrics
from xatmo.errors import DimensionError, OptionError

SPACE = ["init_time", "lat", "lon"]


# ---------------------------------------------------------------------- conditional quantiles
@pytest.mark.parametrize("by", ["forecast", "target"])
def test_quantiles_by_lead_are_those_of_the_samples(by):
    truth = record()
    forecast = forecast_of(truth)
    laid = loop(truth, forecast)
    found = metrics.conditional_quantiles(forecast, truth, by=by, bin_width=1.0, dim=SPACE, weights=None)
    first, second = (forecast, laid) if by == "forecast" else (laid, forecast)
    assert found["quantiles"].dims == ("lead_time", "bin", "quantile")
    left, right = found["left"].values, found["right"].values
    np.testing.assert_allclose(right - left, 1)
    np.testing.assert_array_equal(left % 1, 0)
    for j in range(4):
        x, y = first.values[:, j].ravel(), second.values[:, j].ravel()
        for k in range(left.size):
            inside = (x >= left[k]) & (x < right[k])
            assert found["count"].values[j, k] == inside.sum()
            assert found["frequency"].values[j, k] == pytest.approx(inside.mean())
            expected = np.quantile(y[inside], [0.05, 0.5, 0.95]) if inside.any() else np.full(3, np.nan)
            np.testing.assert_allclose(found["quantiles"].values[j, k], expected)
    assert found["quantiles"].attrs["units"] == "K"
    assert found.attrs["conditioned_on"] == by
    assert ("calibration" in found.attrs["factorization"]) == (by == "forecast")


def test_weights_and_gaps():
    p, t = pair(n=5)
    p = p.where(p < 2)
    areas = np.broadcast_to(Grid.of(t).areas, t.shape)
    found = metrics.conditional_quantiles(p, t, bins=[-1.0, 0.0, 1.0], quantiles=[0.3])
    known = p.notnull().values
    for k, (low, high) in enumerate([(-1, 0), (0, 1)]):
        inside = known & (p.values >= low) & ((p.values < high) | (p.values == 1) & (high == 1))
        assert found["frequency"].values[k] == pytest.approx(areas[inside].sum() / areas[known].sum())
        order = np.argsort(t.values[inside])
        rising = np.cumsum(areas[inside][order]) / areas[inside].sum()
        expected = t.values[inside][order][np.searchsorted(rising, 0.3)]
        assert found["quantiles"].values[k, 0] == pytest.approx(expected)


@pytest.mark.parametrize("bins", [7, [278.0, 280.0, 281.5, 285.0]])
def test_lazy_and_the_same_for_any_chunks(bins, no_compute):
    truth = record()
    forecast = forecast_of(truth)
    chunks = [({"init_time": 3, "lat": 2}, {"time": 7}), ({"lead_time": 1, "lon": 4}, {"time": 20, "lat": 3})]
    for method in ("exact", "histogram"):
        whole = metrics.conditional_quantiles(forecast, truth, bins=bins, dim=SPACE, method=method)
        for ours, theirs in chunks:
            with no_compute():
                lazy = metrics.conditional_quantiles(
                    forecast.chunk(ours), truth.chunk(theirs), bins=bins, dim=SPACE, method=method
                )
            assert lazy["quantiles"].chunks is not None
            xr.testing.assert_allclose(lazy.compute(), whole, rtol=1e-9)
            assert lazy["quantiles"].attrs == whole["quantiles"].attrs


def test_valid_times_in_other_chunks_than_the_fields():
    """As of a stored forecast, whose two-dimensional coordinate is cut otherwise than its fields."""
    truth = record()
    forecast = forecast_of(truth)
    valid = (forecast["init_time"] + forecast["lead_time"]).transpose("init_time", "lead_time")
    whole = metrics.conditional_quantiles(forecast, truth, bins=7, dim=SPACE, method="histogram")
    stored = forecast.chunk(init_time=3).assign_coords(valid_time=valid.chunk(init_time=2))
    lazy = metrics.conditional_quantiles(stored, truth, bins=7, dim=SPACE, method="histogram")
    xr.testing.assert_allclose(lazy["quantiles"].compute(), whole["quantiles"], rtol=1e-9)


def test_counting_is_exact_to_a_fine_bin():
    rng = np.random.default_rng(0)
    truth = xr.DataArray(rng.uniform(0, 10, size=(2, 60_000)), dims=("lead", "x"))
    forecast = truth + rng.uniform(-1, 1, size=truth.shape)
    options = {"bins": np.arange(1.0, 10), "dim": "x", "quantiles": [0.1, 0.5, 0.9]}
    exact = metrics.conditional_quantiles(forecast, truth, **options)
    counted = metrics.conditional_quantiles(forecast, truth, method="histogram", resolution=200, **options)
    xr.testing.assert_allclose(counted.drop_vars("quantiles"), exact.drop_vars("quantiles"))
    assert float(abs(counted["quantiles"] - exact["quantiles"]).max()) < 10 / 200
    rough = metrics.conditional_quantiles(forecast, truth, method="histogram", resolution=4, **options)
    assert float(abs(rough["quantiles"] - exact["quantiles"]).max()) > 10 / 200


def test_a_calibrated_forecast_lies_on_the_diagonal():
    """Of o = f + e the quantiles given f are f + those of e; of a Gaussian pair those given o regress to the mean."""
    rng = np.random.default_rng(0)
    f = xr.DataArray(rng.normal(size=400_000), dims="x")
    o = f + 0.5 * rng.normal(size=f.size)
    edges = np.arange(-1.05, 1.1, 0.1)
    found = metrics.conditional_quantiles(f, o, bins=edges, quantiles=[0.05, 0.5])
    middle = (edges[:-1] + edges[1:]) / 2
    np.testing.assert_allclose(found["quantiles"][:, 1], middle, atol=0.03)
    np.testing.assert_allclose(found["quantiles"][:, 0], middle + 0.5 * stats.norm.ppf(0.05), atol=0.05)
    back = metrics.conditional_quantiles(f, o, by="target", bins=edges, quantiles=[0.5])
    np.testing.assert_allclose(back["quantiles"][:, 0], middle / 1.25, atol=0.03)
    np.testing.assert_allclose(back["frequency"], np.diff(stats.norm.cdf(edges, scale=1.25**0.5)), atol=2e-3)


def test_clear_errors_of_quantiles():
    p, t = pair(n=2)
    with pytest.raises(OptionError, match="wanted numbers from 0 to 1"):
        metrics.conditional_quantiles(p, t, quantiles=[5, 50])
    with pytest.raises(OptionError, match="by='truth', method='exact'; wanted by"):
        metrics.conditional_quantiles(p, t, by="truth")
    with pytest.raises(OptionError, match="resolution=1; wanted how many"):
        metrics.conditional_quantiles(p, t, method="histogram", resolution=1)
    with pytest.raises(OptionError, match="bins=0; wanted how many"):
        metrics.conditional_quantiles(p, t, bins=0)
    with pytest.raises(OptionError, match=r"bins=\[1, 0\]; wanted how many, from 1 up, or rising edges"):
        metrics.conditional_quantiles(p, t, bins=[1, 0])
    with pytest.raises(OptionError, match="bin_width=-1; wanted a number above 0"):
        metrics.conditional_quantiles(p, t, bin_width=-1)
    with pytest.raises(OptionError, match="lazy fields do not tell; give edges"):
        metrics.conditional_quantiles(p.chunk(), t, bin_width=1.0)
    with pytest.raises(OptionError, match="weights vary along 'latitude'"):
        metrics.conditional_quantiles(p, t, dim="time", weights=xr.ones_like(t[0]))


# ---------------------------------------------------------------------- the mean day
def days(amplitude: float, peak: float, mean: float = 280.0, *, n: int = 5, step: int = 1, noise: int | None = None):
    time = pd.date_range("2020-06-01", periods=n * 24 // step, freq=f"{step}h")
    cycle = mean + amplitude * np.cos(2 * np.pi * (time.hour.to_numpy() - peak) / 24)
    coords = {
        "time": time,
        "lat": ("lat", 50.0 - 2 * np.arange(3), {"units": "degrees_north"}),
        "lon": ("lon", 2.0 * np.arange(4), {"units": "degrees_east"}),
    }
    values = cycle[:, None, None] + np.zeros((3, 4))
    if noise is not None:
        values = values + np.random.default_rng(noise).normal(size=values.shape)
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name="t2m", attrs={"units": "K"})


@pytest.mark.parametrize("step", [1, 3, 6])
def test_amplitude_and_phase_of_cosines(step):
    found = metrics.diurnal_error(days(4, 16.5, 281, step=step), days(5, 14, step=step))
    assert found["prediction_amplitude"].item() == pytest.approx(4)
    assert found["target_amplitude"].item() == pytest.approx(5)
    assert found["amplitude_error"].item() == pytest.approx(-1)
    assert found["phase_error"].item() == pytest.approx(2.5)
    assert found["target_phase"].item() == pytest.approx(14)
    assert found.hour.values.tolist() == list(range(0, 24, step))
    # Bias and half the square of what is left of the two waves.
    wave = 4**2 + 5**2 - 2 * 4 * 5 * np.cos(2 * np.pi * 2.5 / 24)
    assert found["cycle_rmse"].item() == pytest.approx(np.sqrt(1 + wave / 2))
    early = metrics.diurnal_error(days(4, 23, step=step), days(4, 1, step=step))
    assert early["phase_error"].item() == pytest.approx(-2)
    assert {n: v.attrs["units"] for n, v in found.items() if n.endswith(("phase", "phase_error"))} == dict.fromkeys(
        ["prediction_phase", "target_phase", "phase_error"], "hours"
    )
    assert found["rmse"].attrs["units"] == "K"


def test_by_hour_is_a_loop_over_days(no_compute):
    p, t = days(4, 16, noise=1), days(5, 14, noise=2)
    p = p.where(p < 285)
    areas = Grid.of(t).areas
    found = metrics.diurnal_error(p, t)
    both = p.notnull().values
    assert not both.all()
    for h in range(24):
        at = t.time.dt.hour.values == h
        ours, theirs = (np.nanmean(np.where(both[at], x.values[at], np.nan), axis=0) for x in (p, t))
        known = np.isfinite(ours)
        w = areas * known
        difference = np.where(known, ours - theirs, 0.0)
        assert found["bias"].values[h] == pytest.approx((w * difference).sum() / w.sum())
        assert found["rmse"].values[h] == pytest.approx(np.sqrt((w * difference**2).sum() / w.sum()))
    maps = metrics.diurnal_error(p, t, dim="time")
    assert maps["rmse"].dims == ("lat", "lon", "hour")
    assert maps["phase_error"].dims == ("lat", "lon")
    np.testing.assert_allclose(maps["rmse"], abs(maps["bias"]))
    with no_compute():
        lazy = metrics.diurnal_error(p.chunk(time=7, lat=2), t.chunk(time=10))
    xr.testing.assert_allclose(lazy.compute(), found, rtol=1e-9)


def test_forecasts_have_a_mean_day_by_lead():
    truth = days(5, 14, n=6)
    starts = truth.time.values[2:98]
    lead = np.arange(1, 4).astype("m8[h]").astype("m8[ns]")
    laid = metrics.at_valid_times(truth, xr.Dataset(coords={"init_time": starts, "lead_time": lead}))
    late = metrics.at_valid_times(
        truth, xr.Dataset(coords={"init_time": starts - np.timedelta64(1, "h"), "lead_time": lead})
    )  # a forecast one hour late
    late = late.assign_coords(init_time=starts, valid_time=laid.valid_time)
    found = metrics.diurnal_error(late, truth, dim=["init_time", "lat", "lon"])
    assert found["phase_error"].dims == ("lead_time",)
    np.testing.assert_allclose(found["phase_error"], 1.0, atol=1e-9)
    whole = metrics.diurnal_error(late, truth)
    assert whole["phase_error"].item() == pytest.approx(1.0)


def test_clear_errors_of_the_mean_day():
    p = t = days(4, 16)
    with pytest.raises(DimensionError, match="has none of"):
        metrics.diurnal_error(p, t, dim=["lat", "lon"])
    some = t.sel(time=t.time.dt.hour.isin([0, 1, 5, 9]))
    with pytest.raises(OptionError, match="the times lie at hours 0, 1, 5, 9; wanted hours that divide the day"):
        metrics.diurnal_error(some, some)
    found = metrics.diurnal_error(some, some, harmonic=False)
    assert "phase_error" not in found
    assert found["rmse"].sizes["hour"] == 4


def test_mean_days_are_means_of_the_times_of_each_hour() -> None:
    rng = np.random.default_rng(0)
    time = np.datetime64("2020-01-01", "ns") + np.arange(9) * np.timedelta64(6, "h")
    lead = (np.arange(1, 4) * np.timedelta64(6, "h")).astype("m8[ns]")
    t = rng.normal(size=(9, 3, 2))
    p = t + rng.normal(size=t.shape)
    p[rng.random(p.shape) < 0.2] = np.nan
    axes = {"init_time": time, "lead_time": lead}
    fields = [xr.DataArray(x, axes, ["init_time", "lead_time", "x"]) for x in (p, t)]
    hour = (np.arange(9)[:, None] + np.arange(1, 4)) % 4 * 6
    for pieces in ({}, {"init_time": 4}, {"init_time": 2, "lead_time": 1, "x": 1}):
        given = [f.chunk(pieces) if pieces else f for f in fields]
        found = metrics.diurnal_error(given[0].transpose("x", ...), given[1], dim=["init_time", "lead_time"])
        for k, h in enumerate(found["hour"].values):
            for name, values in (("prediction_cycle", p), ("target_cycle", t)):
                expected = np.nanmean(np.where(((hour == h)[..., None]) & ~np.isnan(p), values, np.nan), (0, 1))
                np.testing.assert_allclose(found[name].transpose("hour", "x").values[k], expected)


def test_known_limits_save_a_pass() -> None:
    rng = np.random.default_rng(0)
    first, second = (
        xr.DataArray(rng.normal(size=(40, 3, 5)), dims=("init_time", "lead_time", "x")).chunk(init_time=4)
        for _ in range(2)
    )
    ends = {n: (float(da.min()), float(da.max())) for n, da in {"f": first, "t": second}.items()}
    options: dict[str, Any] = {"dim": ["init_time", "x"], "method": "histogram"}
    known = metrics.conditional_quantiles(first, second, bins=np.linspace(*ends["f"], 11), limits=ends["t"], **options)
    asked = metrics.conditional_quantiles(first, second, bins=10, **options)
    xr.testing.assert_allclose(known.drop_attrs(), asked.drop_attrs())
    assert len(known.__dask_graph__()) < len(asked.__dask_graph__())
    for wrong in ({"limits": (1.0, 0.0)}, {"limits": (0.0, 1.0), "method": "exact"}, {"limits": 3.0}):
        with pytest.raises(OptionError, match="wanted two rising numbers"):
            metrics.conditional_quantiles(first, second, **{**options, **wrong})
