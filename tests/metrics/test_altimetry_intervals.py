"""Bounds of sigma and of resolved scales: against draws made here one by one, and on seas whose scales are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo.errors import OptionError
from xatmo.metrics import altimetry
from xatmo.metrics.altimetry import _kernels

NT, NY, NX = 42, 40, 40
STEP = 0.25


def on_sea(values: np.ndarray) -> xr.DataArray:
    nt, ny, nx = values.shape
    coords = {
        "time": np.datetime64("2012-10-22", "ns") + np.arange(nt) * np.timedelta64(1, "D"),
        "lat": ("lat", 33 + STEP * np.arange(ny), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", -65 + STEP * np.arange(nx), {"standard_name": "longitude", "units": "degrees_east"}),
    }
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "ssh", {"units": "m"})


def simulated(seed: int, memory: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Draw an error and a sea ``(time, lat, lon)`` of known spectra; both remember so many degrees of latitude."""
    rng = np.random.default_rng(seed)
    w, k = np.fft.fftfreq(2 * NT)[:, None], np.fft.fftfreq(2 * NX, STEP)
    power = (1 + (k / 0.15) ** 2 + (w / 0.03) ** 2) ** -2.0
    share = np.minimum((k / 0.55) ** 2 + (w / 0.12) ** 2, 3)  # of the error: one half on an ellipse
    rows = np.exp(-((2 * np.pi * np.fft.fftfreq(4 * NY, STEP) * memory) ** 2) / 2)
    out = []
    for spectrum in (power * share, power):
        waves = np.fft.fftn(rng.normal(size=(4 * NY, 2 * NT, 2 * NX)))
        field = np.fft.ifftn(waves * rows[:, None, None] * np.sqrt(spectrum)).real
        out.append(field[:NY, :NT, :NX].transpose(1, 0, 2))
    return out[0], out[1]


@pytest.fixture(scope="module")
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    error, truth = simulated(0)
    return on_sea(truth + error), on_sea(truth)


@pytest.fixture(scope="module")
def passes() -> xr.Dataset:
    """Three passes a day for twelve days, of 300 points each, with errors at short waves."""
    rng = np.random.default_rng(1)
    each = np.arange(300) * np.timedelta64(943_400_000, "ns")
    starts = np.datetime64("2017-01-01", "ns") + np.arange(36) * np.timedelta64(8, "h")
    sea = rng.normal(size=(36, 300)).cumsum(1)
    sea -= sea.mean(1, keepdims=True)
    kernel = np.ones(9) / 9
    seen = np.stack([np.convolve(row, kernel, mode="same") for row in sea])
    times = (starts[:, None] + each).ravel()
    return xr.Dataset({"ssh": ("time", sea.ravel()), "ssh_map": ("time", seen.ravel())}, {"time": times})


def test_bounds_of_sigma_are_those_of_drawn_days(pair: Any, passes: xr.Dataset) -> None:
    made, truth = pair
    settings = {"block": 6, "n": 60, "seed": 2, "student": False}
    found = altimetry.mu_sigma(made, truth, weights=None, bootstrap=settings)
    daily = altimetry.daily_scores(made, truth, weights=None).values.reshape(7, 6)
    drawn = np.random.default_rng(2).integers(7, size=(60, 7))
    ends = np.quantile([daily[row].std() for row in drawn], [0.05, 0.95])
    np.testing.assert_allclose([found["sigma_lower"], found["sigma_upper"]], ends, rtol=1e-10)
    wide = altimetry.mu_sigma(made, truth, weights=None, bootstrap={**settings, "student": True})
    assert 0 < wide["sigma_lower"] < found["sigma_lower"] < found["sigma_upper"] < wide["sigma_upper"]
    assert wide["sigma_upper"].attrs["blocks"] == 7

    tracked = altimetry.track_scores(passes, bootstrap={"block": 3, "n": 60, "seed": 2, "student": False})
    days = tracked["score"].values.reshape(4, 3)
    drawn = np.random.default_rng(2).integers(4, size=(60, 4))
    ends = np.quantile([days[row].std() for row in drawn], [0.05, 0.95])
    np.testing.assert_allclose([tracked["sigma_lower"], tracked["sigma_upper"]], ends, rtol=1e-10)


def test_bounds_of_scales_are_those_of_drawn_bands(pair: Any) -> None:
    made, truth = pair
    found = altimetry.scale_bounds(made, truth, bootstrap={"n": 30, "seed": 5, "student": False})
    steps = (1.0, STEP)
    error, signal = (
        _kernels.quadrant(_kernels.plane_power(x.transpose("lat", "time", "lon").values, steps), "westward")
        for x in (made - truth, truth)
    )
    k, w = np.fft.fftfreq(NX, STEP)[1:20], np.fft.fftfreq(NT)[1:21]
    samples = []
    for row in np.random.default_rng(5).integers(5, size=(30, 5)):
        at = np.concatenate([np.arange(8 * b, 8 * b + 8) for b in row])
        score = 1 - error[at].mean(0) / signal[at].mean(0)
        samples.append(_kernels.contours(1 / k, 1 / w, score, 0.5)[0].min(0))
    ends = np.quantile(samples, [0.05, 0.95], axis=0, method="inverted_cdf")
    for name, column in (("lambda_x", 0), ("lambda_t", 1)):
        np.testing.assert_allclose([found[f"{name}_lower"], found[f"{name}_upper"]], ends[:, column], rtol=1e-9)
    assert found["lambda_t_lower"].attrs["units"] == "day"
    assert found["lambda_x_upper"].attrs["blocks"] == 5
    halves = altimetry.scale_bounds(made, truth.where(truth.lat < 36), bootstrap={"n": 9}, bands=3)
    assert halves["lambda_x_lower"].attrs["block"] == "4 points"  # of the 12 rows without land
    none = altimetry.scale_bounds(made, truth.where(truth.lat < 33.1), bootstrap={"n": 9})
    assert all(np.isnan(x) for x in none.values())
    with pytest.raises(OptionError, match=r"scale_bounds\(bands=1\); wanted two or more"):
        altimetry.scale_bounds(made, truth, bands=1)


def test_bounds_along_a_track_are_those_of_the_segments_of_drawn_days(passes: xr.Dataset) -> None:
    cutting: dict[str, Any] = {"spacing": 6.4, "cutting": "whole"}
    settings = {"block": 2, "n": 40, "seed": 7, "student": False}
    found = altimetry.wavelength_bounds(passes, bootstrap=settings, **cutting)
    samples = []
    day = (passes["time"].values - passes["time"].values[0]) // np.timedelta64(1, "D")
    each = [altimetry.track_psd(passes.isel(time=np.flatnonzero(day // 2 == b)), **cutting) for b in range(6)]
    for row in np.random.default_rng(7).integers(6, size=(40, 6)):
        spectra = [each[b] for b in row]
        total = {n: sum(s[n] * s.attrs["segments"] for s in spectra) for n in ("psd_error", "psd_ref")}
        score = (1 - total["psd_error"] / total["psd_ref"]).assign_coords(wavelength=spectra[0]["wavelength"])
        samples.append(float(altimetry.resolved_wavelength(score)))
    ends = np.quantile(samples, [0.05, 0.95], method="inverted_cdf")
    np.testing.assert_allclose([found["lambda_x_lower"], found["lambda_x_upper"]], ends, rtol=1e-9)
    assert found["lambda_x_lower"].attrs["units"] == "km"


def test_tables_have_bounds_where_they_are_asked_for(pair: Any) -> None:
    made, truth = pair
    four = ["mu", "sigma", "lambda_x", "lambda_t"]
    plain = altimetry.leaderboard({"map": made}, truth)
    assert list(plain) == four
    assert "intervals" not in plain.attrs
    told = altimetry.leaderboard({"map": made}, truth, bootstrap={"block": 7, "n": 50}, published="4 nadirs")
    assert list(told) == four + [f"{n}_{end}" for n in four for end in ("lower", "upper")]
    pd.testing.assert_frame_equal(told.loc[["map"], four], plain)
    row = told.loc["map"]
    for name in ("mu", "lambda_x", "lambda_t"):
        assert row[f"{name}_lower"] <= row[name] <= row[f"{name}_upper"]
    assert told.drop(index="map").filter(like="_lower").isna().all(axis=None)
    assert told.attrs["intervals"] == (
        "90 % intervals from 50 resamples of 6 blocks of 7 points of time; lambda_x, lambda_t: of 5 bands of latitude"
    )
    assert "42 blocks of 1D" in altimetry.leaderboard({"map": made}, truth, bootstrap="auto").attrs["intervals"]
    few = altimetry.leaderboard({"map": made}, truth[:6], bootstrap="auto", paths="all")
    assert list(few) == list(told)
    with pytest.raises(OptionError, match="bootstrap='week'; wanted 'auto', a number of days, or a mapping"):
        altimetry.leaderboard({"map": made}, truth, bootstrap="week")
    with pytest.raises(OptionError, match="wanted at least 2"):
        altimetry.leaderboard({"map": made}, truth, bootstrap=NT)


def test_too_few_segments_for_blocks_leave_the_other_bounds(pair: Any) -> None:
    """Passes of all days tell mu; those of a resolved wavelength are long, and come on the first three days alone."""
    made, truth = pair
    counts = np.where(np.arange(NT) < 3, 180, 30)
    day, within = np.repeat(np.arange(NT), counts), np.concatenate([np.arange(n) for n in counts])
    row = within * (NY - 1) // 180
    sea = truth.values[day, row, 5]
    track = xr.Dataset(
        {"ssh": ("time", sea, {"units": "m"})},
        {
            "time": truth["time"].values[day] + (within * 943.4).astype("timedelta64[ms]"),
            "latitude": ("time", truth["lat"].values[row]),
            "longitude": ("time", truth["lon"].values[5] + 0.001 * within),
        },
    )
    table = altimetry.leaderboard({"map": made}, track, challenge="ose2021a", bootstrap=7)
    found = table.loc["map"]
    assert found["mu_lower"] < found["mu"] < found["mu_upper"]
    assert found["lambda_x"] > 0
    assert found[["lambda_x_lower", "lambda_x_upper"]].isna().all()
    assert table.attrs["intervals"].endswith("lambda_x: none, its segments lie in fewer than two blocks")


def test_scales_that_may_be_infinite_have_bounds() -> None:
    error, truth = simulated(3)
    nothing = altimetry.scale_bounds(on_sea(truth + 9 * error + 9 * simulated(4)[1]), on_sea(truth), bootstrap={"n": 9})
    assert np.isinf([float(x) for x in nothing.values()]).all()


@pytest.mark.slow
def test_bounds_of_scales_hold_those_that_are_known() -> None:
    held: list[list[bool]] = []
    total = xr.Dataset()
    found = []
    for seed in range(60):
        error, truth = simulated(seed)
        made, sea = on_sea(truth + error), on_sea(truth)
        spectra = altimetry.power_spectra(made, sea)
        total = total + spectra if seed else spectra
        found.append(altimetry.scale_bounds(made, sea, bootstrap={"n": 100, "seed": seed}))
    known = altimetry.resolved_scales(1 - total["psd_error"] / total["psd_truth"])
    for one in found:
        numbers = {n: float(x) for n, x in one.merge(known).items()}
        held.append([numbers[f"{n}_lower"] <= numbers[n] <= numbers[f"{n}_upper"] for n in ("lambda_x", "lambda_t")])
    # Three standard errors of 60 drawings at 0.88 are 0.13.
    assert (np.mean(held, axis=0) > 0.75).all()
    assert (np.mean(held, axis=0) < 1).all()
