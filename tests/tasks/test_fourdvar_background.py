"""Backgrounds: fitted to observations, made of records and of windows alike, in labels, options, errors."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation import linear_interp, optimal_interp
from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Matern
from xatmo.assimilation.draws.features import Features
from xatmo.errors import MissingValueError, OptionError, VariableError
from xatmo.tasks.fourdvar._background import Background

DAY = 86400.0
LAT, LON = 36 + 0.25 * np.arange(16), 10 + 0.25 * np.arange(18)
KNOWN = {
    "covariance": "matern", "metric": "sphere", "length_scale": 1e5, "time_scale": 5 * DAY, "noise_std": 0.1,
    "signal_std": 0.8, "drift": [-0.1, 0.05], "mean": 0.3,
}  # fmt: skip


def observed(samples=1, times=9, fraction=0.1, seed=0, dtype=np.float64):
    """Fields with a known covariance, drift and mean, observed here and there."""
    frame = Frame("sphere", (38.0, 12.0), drift=(-0.1, 0.05))
    time = DAY * np.arange(times)
    rng = np.random.default_rng(seed)
    truth = np.stack([0.3 + Features.draw(Matern(1e5, 5 * DAY, 0.8), frame, seed=seed, member=k)(time, LAT, LON)
                      for k in range(samples)])  # fmt: skip
    seen = np.where(rng.random(truth.shape) < fraction, truth + 0.1 * rng.standard_normal(truth.shape), np.nan)
    coords = {
        "time": np.datetime64("2013-01-01", "ns") + np.arange(times) * np.timedelta64(1, "D"),
        "lat": LAT,
        "lon": LON,
    }
    return xr.Dataset(
        {"ssh": (("sample", "time", "lat", "lon"), seen.astype(dtype), {"units": "m"}),
         "truth": (("sample", "time", "lat", "lon"), truth)}, coords,
    )  # fmt: skip


def nodes(ds):
    return ds["lat"].values, ds["lon"].values, DAY * np.arange(ds.sizes["time"])


def test_a_fit_finds_the_covariance_and_plain_settings():
    ds = observed(samples=8)
    made = Background.fit("oi", ds, "ssh", time_window=9, oi={"noise_std": 0.1})
    s = made.settings
    assert json.loads(json.dumps(s)) == s
    assert s["covariance"] == "matern"
    assert s["noise_std"] == 0.1
    assert s["length_scale"] == pytest.approx(1e5, rel=0.4)
    assert s["signal_std"] == pytest.approx(0.8, rel=0.3)
    assert s["mean"] == pytest.approx(0.3, abs=0.3)
    np.testing.assert_allclose(s["drift"], [-0.1, 0.05], atol=0.06)
    again = Background(made.kind, json.loads(json.dumps(s)))
    window = ds["ssh"].values[0]
    np.testing.assert_array_equal(again.of_window(window, None, *nodes(ds)), made.of_window(window, None, *nodes(ds)))
    truth = Background("oi", KNOWN).make(ds, "ssh")["ssh"]
    found = made.make(ds, "ssh")["ssh"]
    best, rmse = (float(np.sqrt(((x - ds["truth"]) ** 2).mean())) for x in (truth, found))
    assert rmse < 1.1 * best
    assert best < 0.8 * float(ds["truth"].std())


def test_windows_records_and_optimal_interpolation_agree(no_compute):
    ds = observed(samples=2)
    background = Background("oi", KNOWN)
    record = background.make(ds, "ssh", uncertainty=True)
    assert set(record) == {"ssh", "ssh_error"}
    assert record["ssh"].dims == ds["ssh"].dims
    assert record["ssh"].attrs["units"] == "m"
    exact = optimal_interp(
        ds, "ssh", length_scale=1e5, time_scale="5D", noise_std=0.1, signal_std=0.8, covariance="matern",
        drift=(-0.1, 0.05), background=xr.full_like(ds["ssh"], 0.3), uncertainty=True,
    )  # fmt: skip
    for name in ("ssh", "ssh_error"):
        assert float(np.sqrt(((record[name] - exact[name]) ** 2).mean())) < 0.02 * float(exact["ssh_error"].mean())
    for k in range(2):
        mean, std = background.of_window(ds["ssh"].values[k], None, *nodes(ds), uncertainty=True)
        np.testing.assert_allclose(mean, record["ssh"][k], atol=1e-5)
        np.testing.assert_allclose(std, record["ssh_error"][k], atol=1e-4)
    standard = (record["ssh"] - ds["truth"]) / record["ssh_error"]
    assert 0.7 < float((standard**2).mean()) < 1.4
    with no_compute():
        lazy = background.make(ds.chunk(sample=1, time=4, lat=8), "ssh", uncertainty=True)
    xr.testing.assert_allclose(lazy.compute(), record)


def test_a_long_record_is_made_in_tiles_whatever_its_chunks(no_compute):
    ds = observed(times=40, fraction=0.05)
    background = Background("oi", {**KNOWN, "length_scale": 4e4})
    whole = background.make(ds, "ssh")["ssh"]
    with no_compute():
        lazy = background.make(ds.chunk(time=7, lon=9), "ssh")["ssh"]
    np.testing.assert_allclose(lazy.compute(), whole, atol=1e-9)
    middle = slice(10, 30)  # of which tiles see nearly all that counts
    exact, _ = background.of_window(ds["ssh"].values[0], None, *nodes(ds), uncertainty=True)
    away = (whole[0] - exact)[middle]
    assert float(np.sqrt((away**2).mean())) < 0.1 * 0.8


def test_zero_linear_and_a_variable():
    ds = observed()
    ds["sea"] = (("lat", "lon"), np.ones((16, 18)))
    ds["sea"][:4] = 0
    zero = Background.fit("zero", ds, "ssh")
    made = zero.make(ds, "ssh", domain="sea")["ssh"]
    assert bool((made.isel(lat=slice(4, None)) == 0).all())
    assert bool(made.isel(lat=slice(4)).isnull().all())
    assert (zero.of_window(ds["ssh"].values[0], None, *nodes(ds)) == 0).all()
    straight = Background.fit("linear", ds, "ssh")
    expected = linear_interp(ds, "ssh")["ssh"]
    np.testing.assert_array_equal(straight.make(ds, "ssh")["ssh"], expected)
    np.testing.assert_allclose(straight.make(ds.chunk(time=3), "ssh")["ssh"], expected)
    np.testing.assert_allclose(straight.of_window(ds["ssh"].values[0], None, *nodes(ds)), expected[0])
    other = Background.fit("truth", ds, "ssh")
    np.testing.assert_array_equal(other.make(ds, "ssh")["ssh"], ds["truth"])
    with pytest.raises(VariableError, match="no variable 'nothing' for background="):
        Background("nothing").make(ds, "ssh")


def test_several_sensors_masks_and_true_times():
    ds = observed(samples=4)
    first = ds["ssh"].where(ds["lon"] < 12)
    ds = ds.assign(one=first, two=ds["ssh"].where(ds["lon"] > 11), use=ds["lat"] < 39)
    background = Background("oi", KNOWN)
    made = background.make(ds, ["one", "two"])["one"]
    np.testing.assert_allclose(made, background.make(ds, "ssh")["ssh"], atol=1e-9)
    both = np.stack([ds["one"].values[0], ds["two"].values[0]])
    np.testing.assert_allclose(background.of_window(both, None, *nodes(ds)), made[0], atol=1e-5)
    mask = np.broadcast_to(ds["use"].values[:, None], both.shape)
    seen = background.make(ds, ["one", "two"], "use")["one"]
    np.testing.assert_allclose(background.of_window(both, mask, *nodes(ds)), seen[0], atol=1e-5)
    assert float(np.abs(seen - made).max()) > 0.05
    late = background.make(ds, "ssh", lag=xr.full_like(ds["ssh"], 12.0).assign_attrs(units="hours"))["ssh"]
    assert 0.01 < float(np.abs(late - made).max()) < 2
    with pytest.raises(OptionError, match="2 masks came for 1 observed variables"):
        background.make(ds, "one", ["use", "use"])


def test_without_observations_a_window_has_the_mean():
    ds = observed()
    empty = np.full(ds["ssh"].shape[1:], np.nan)
    mean, std = Background("oi", KNOWN).of_window(empty, None, *nodes(ds), uncertainty=True)
    assert (mean == 0.3).all()
    assert (std == 0.8).all()
    with pytest.raises(MissingValueError, match="no observations in 1 windows of 15 frames; check obs= and mask="):
        Background.fit("oi", ds.where(False), "ssh")


def test_presets_and_given_scales_need_no_fit():
    ds = observed()
    preset = Background.fit("oi", ds, "ssh", oi={"preset": "osse2020a"})
    s = preset.settings
    assert (s["covariance"], s["metric"], s["length_scale"], s["mean"]) == ("gaussian", "degrees", 1.0, 0.0)
    exact = optimal_interp(ds, "ssh", preset="osse2020a")["ssh"]
    np.testing.assert_allclose(preset.make(ds, "ssh")["ssh"], exact, atol=1e-5)
    pair = Background.fit("oi", ds, "ssh", oi={
        "length_scale": (2e5, 1e5), "angle": 90, "time_scale": "5D", "noise_std": 0.1, "signal_std": 1.0, "drift": None,
    })  # fmt: skip
    assert pair.settings["length_scale"] == pytest.approx(np.sqrt(2) * 1e5)
    assert pair.settings["drift"] == [0.0, 0.0]
    assert pair.settings["shape"][0] > 0.3  # longer northward


@pytest.mark.parametrize(
    ("oi", "text"),
    [
        ({"scale": 1}, r"oi has the keys \['scale'\]; wanted keywords of optimal_interp among"),
        ({"covariance": "spde"}, "covariance='spde' came; wanted one of"),
        ({"preset": "mine"}, r"preset='mine' came; wanted one of \['osse2020a'\]"),
        ({"metric": "miles"}, "metric='miles' came"),
        ({"noise_std": -1.0}, "noise_std=-1.0 came; wanted a positive number"),
        ({"window": {"times": "3D"}}, "window has the key 'times'"),
        ({"anomalies": "yes"}, "anomalies='yes' came; wanted True or False"),
        ({"anomalies": True, "drift": "estimate"}, "wanted a drift that is known, or none"),
    ],
)
def test_options_that_cannot_be_used_are_refused(oi, text):
    with pytest.raises(OptionError, match=text):
        Background.fit("oi", observed(), "ssh", oi=oi)


def test_anomalies_have_the_scales_of_the_whole_and_no_mean():
    ds = observed(samples=4, times=10)
    about = ds.assign(ssh=ds["ssh"] - ds["truth"].mean("time"))
    blind, told = (
        Background.fit("oi", about, "ssh", oi={"noise_std": 0.1, "drift": None, **more}).settings
        for more in ({}, {"anomalies": True})
    )
    assert blind["signal_std"] < told["signal_std"]
    assert blind["time_scale"] < told["time_scale"]
    assert (told["mean"], told["drift"]) == (0.0, [0.0, 0.0])
    assert "anomalies" not in told


def test_what_a_kind_cannot_do_is_refused():
    ds = observed()
    with pytest.raises(OptionError, match="came with background='linear'; wanted background='oi', or no oi="):
        Background.fit("linear", ds, "ssh", oi={"noise_std": 1.0})
    with pytest.raises(OptionError, match="background='truth' of a window; wanted"):
        Background("truth").of_window(ds["ssh"].values[0], None, *nodes(ds))
    with pytest.raises(OptionError, match="background='linear' of a window with uncertainty; wanted 'oi'"):
        Background("linear").of_window(ds["ssh"].values[0], None, *nodes(ds), uncertainty=True)
    with pytest.raises(OptionError, match="the uncertainty of background='zero' was asked for; wanted 'oi'"):
        Background("zero").make(ds, "ssh", uncertainty=True)


def test_a_flat_likelihood_is_told(caplog):
    ds = observed(samples=2, times=3)
    steady = ds.assign(ssh=ds["ssh"].isel(time=0, drop=True).expand_dims(time=ds["time"]).transpose(*ds["ssh"].dims))
    with caplog.at_level(logging.WARNING):
        made = Background.fit("oi", steady, "ssh", time_window=3, oi={"noise_std": 0.1, "drift": None})
    assert "do not tell time_scale: the likelihood is largest at the end of the range" in caplog.text
    assert np.isfinite(made.of_window(steady["ssh"].values[0], None, *nodes(steady))).all()
