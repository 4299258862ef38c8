"""AMBS's scores against plain loops over its definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from forecast_fields import record
from skimage.metrics import structural_similarity

from xatmo import metrics
from xatmo.errors import DimensionError, OptionError


@pytest.fixture
def pair() -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Forecast, truth along time, and climatology, on a box whose rows and columns have other spacings."""
    truth = record(60)
    truth = truth.interp(lat=50 - 0.5 * np.arange(9), lon=0.8 * np.arange(10))
    for name, unit in (("lat", "degrees_north"), ("lon", "degrees_east")):
        truth[name].attrs["units"] = unit
    truth.attrs["units"] = "K"
    starts = truth.time.values[25:45:4]
    lead = np.arange(1, 5).astype("m8[h]").astype("m8[ns]")
    laid = metrics.at_valid_times(truth, xr.Dataset(coords={"init_time": starts, "lead_time": lead}))
    noise = np.random.default_rng(3).normal(size=laid.shape)
    return (laid + 0.6 * noise).assign_attrs(units="K"), truth, metrics.climatology(truth)


def loops(forecast: xr.DataArray, truth: xr.DataArray, clim: xr.DataArray) -> dict[str, np.ndarray]:
    """Scores of each start and lead as AMBS's code computes them."""
    lat, lon = np.deg2rad(truth.lat.values), np.deg2rad(truth.lon.values)
    dphi, dlambda = lat[1] - lat[0], lon[1] - lon[0]

    def roughness(field):
        # The spacing in radians is converted to radians again.
        east = np.gradient(field, truth.lon.values, axis=1) / (6371e3 * np.cos(lat)[:, None] * np.deg2rad(dlambda))
        north = np.gradient(field, truth.lat.values, axis=0) / (6371e3 * np.deg2rad(dphi))
        return np.sqrt(east**2 + north**2).mean()

    out = {name: np.full(forecast.shape[:2], np.nan) for name in ("mse", "psnr", "ssim", "acc", "texture")}
    for i, init in enumerate(forecast.init_time.values):
        for j in range(forecast.sizes["lead_time"]):
            f, o = forecast.values[i, j], truth.sel(time=init + np.timedelta64(j + 1, "h")).values
            mse = np.mean((f - o) ** 2)
            out["mse"][i, j] = mse
            out["psnr"][i, j] = 20 * np.log10(1 / np.sqrt(mse))
            out["ssim"][i, j] = structural_similarity(f, o, data_range=2, win_size=7)
            when = pd.Timestamp(init) + pd.Timedelta(hours=j)  # one hour before the frame
            c = clim.sel(month=when.month, hour=when.hour).values
            out["acc"][i, j] = ((f - c) * (o - c)).sum() / np.sqrt(((f - c) ** 2).sum() * ((o - c) ** 2).sum())
            out["texture"][i, j] = roughness(f) / roughness(o)
    return out


def test_definitions(pair, no_compute):
    forecast, truth, clim = pair
    found = metrics.ambs(forecast, truth, clim)
    expected = loops(forecast, truth, clim)
    assert list(found) == ["mse", "psnr", "ssim", "acc", "texture"]
    for name, values in expected.items():
        assert found[name].dims == ("init_time", "lead_time")
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)
        assert found[name].attrs["definition"].startswith("AMBS: ")
    assert {n: v.attrs["units"] for n, v in found.items()} == {
        "mse": "K2", "psnr": "dB", "ssim": "1", "acc": "1", "texture": "1"
    }  # fmt: skip
    with no_compute():
        lazy = metrics.ambs(forecast.chunk(init_time=2), truth.chunk(time=8), clim, reference="yesterday")
    xr.testing.assert_allclose(lazy[list(expected)].compute(), found, rtol=1e-9)
    celsius = (forecast - 273.15).assign_attrs(units="degC")
    warm = metrics.ambs(celsius, (truth - 273.15).assign_attrs(units="degC"), clim)
    xr.testing.assert_allclose(warm, found, rtol=1e-6)


def test_it_is_not_what_the_right_scores_give(pair):
    forecast, truth, clim = pair
    found = metrics.ambs(forecast, truth, clim)
    right = metrics.acc(forecast, truth, climatology=clim, dim=["lat", "lon"], weights=None)
    assert abs(found["acc"] - right).max() > 0.05
    texture = metrics.gradient_ratio(forecast, truth, differences="central", dim=["lat", "lon"], weights=None)
    assert abs(found["texture"] - texture).max() > 0.01


def test_skill_scores_against_the_day_before(pair):
    forecast, truth, clim = pair
    found = metrics.ambs(forecast, truth, clim, reference="yesterday")
    before = forecast.copy()
    for i, j in np.ndindex(forecast.shape[:2]):
        when = forecast.valid_time.values[i, j] - np.timedelta64(24, "h")
        before[i, j] = truth.sel(time=when).values
    ours, theirs = loops(forecast, truth, clim), loops(before, truth, clim)
    for name in ours:
        s, r, best = ours[name].mean(0), theirs[name].mean(0), 0.0 if name == "mse" else 1.0
        np.testing.assert_allclose(found[f"{name}_skill"], (s - r) / (best - r), rtol=1e-8, err_msg=name)
        assert found[f"{name}_skill"].dims == ("lead_time",)
    given = metrics.ambs(forecast, truth, clim, reference=before)
    np.testing.assert_allclose(given["mse_skill"], found["mse_skill"], rtol=1e-12)


def test_through_verify(pair):
    forecast, truth, clim = pair
    whole = metrics.ambs(forecast, truth, clim)
    found = metrics.verify(
        forecast, truth, metrics=["mse", "acc", "gradient_ratio"], dim="init_time", climatology=clim, compat="ambs"
    )
    assert list(found) == ["mse", "acc", "texture"]
    xr.testing.assert_allclose(found["mse"], whole["mse"].mean("init_time"))
    assert metrics.verify(forecast, truth, metrics="mse", compat="ambs")["mse"].ndim == 0
    both = [x.to_dataset(name="t2m").assign(t850=x) for x in (forecast, truth)]
    assert sorted(metrics.ambs(*both)) == sorted(f"{v}_{s}" for v in ("t2m", "t850") for s in whole if s != "acc")
    assert sorted(metrics.verify(*both, metrics="mse", compat="ambs")) == ["t2m_mse", "t850_mse"]


def test_bounds_are_of_means_of_scores(pair):
    forecast, truth, clim = pair
    settings = {"metrics": ["mse", "acc"], "dim": ["init_time", "lead_time"], "climatology": clim, "compat": "ambs"}
    blocks = {"dim": "init_time", "block": 2, "n": 50}
    found = metrics.verify(forecast, truth, **settings, bootstrap=blocks)
    each = metrics.ambs(forecast, truth, clim)["acc"].mean("lead_time")
    drawn = metrics.block_bootstrap(each, **blocks)
    xr.testing.assert_allclose(found["acc_lower"], drawn["lower"].rename("acc_lower"))
    xr.testing.assert_allclose(found["acc"], drawn["mean"].rename("acc"))
    assert found["acc_upper"].attrs["definition"] == "AMBS: climatology one lead step early"
    assert "blocks of 2 points of init_time" in found.attrs["intervals"]
    plain = metrics.verify(forecast, truth, **{**settings, "dim": "lead_time"}, bootstrap="auto")
    assert list(plain) == ["mse", "acc"]
    assert "init_time is kept" in plain.attrs["intervals"]


def test_clear_errors(pair):
    forecast, truth, clim = pair
    with pytest.raises(OptionError, match="compat='wb2'; wanted 'ambs' or None"):
        metrics.verify(forecast, truth, metrics="mse", compat="wb2")
    with pytest.raises(OptionError, match="compat='ambs' with metrics=.*'crps'.*; wanted some of"):
        metrics.verify(forecast, truth, metrics="crps", compat="ambs")
    with pytest.raises(DimensionError, match="bootstrap: 'init_time' is not averaged over"):
        metrics.verify(forecast, truth, metrics="mse", dim="lead_time", compat="ambs", bootstrap={"dim": "init_time"})
    with pytest.raises(OptionError, match="acc compares with a climatology"):
        metrics.verify(forecast, truth, metrics="acc", compat="ambs")
    with pytest.raises(OptionError, match="reference='persistence'; wanted 'yesterday' or another forecast"):
        metrics.ambs(forecast, truth, clim, reference="persistence")
    with pytest.raises(DimensionError, match="wanted init_time, lead_time and latitude, longitude"):
        metrics.ambs(truth, truth, clim)
