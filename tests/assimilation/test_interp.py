"""Both interpolations against dense formulas, in labels, laziness, errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.assimilation import SPDE, fourdvar_interp, optimal_interp
from xatmo.assimilation.spde import _analysis
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import (
    ChunkError,
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)

_spec = importlib.util.spec_from_file_location("assimilation_fields", Path(__file__).with_name("strategies.py"))
fields = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fields)
observed, sparse = fields.observed, fields.sparse

SCALES = {"length_scale": 60e3, "time_scale": "3D", "noise_std": 0.1, "signal_std": 0.8}
BOTH = pytest.mark.parametrize("interp", [optimal_interp, fourdvar_interp])
DAY = 86400.0


def prior_of(ds, scales):
    lat, lon = ds["lat"].values, ds["lon"].values
    return SPDE.on_sphere(
        lat, lon[1] - lon[0], lon.size, ds.sizes["time"], DAY, length_scale=scales["length_scale"],
        time_scale=3 * DAY, signal_std=scales["signal_std"],
    )  # fmt: skip


def dense_solution(covariance, seen, noise):
    """Textbook Gaussian conditioning on all nodes."""
    y = seen.ravel()
    at = np.flatnonzero(np.isfinite(y))
    mean = y[at].mean()
    system = covariance[np.ix_(at, at)] + noise**2 * np.eye(at.size)
    gain = covariance[:, at] @ np.linalg.inv(system)
    posterior = covariance - gain @ covariance[at]
    return (mean + gain @ (y[at] - mean)).reshape(seen.shape), np.sqrt(np.diag(posterior)).reshape(seen.shape)


# ---------------------------------------------------------------------- numbers
@pytest.mark.parametrize("kind", ["gaussian", "matern"])
@pytest.mark.parametrize("metric", ["sphere", "degrees"])
def test_optimal_interp_is_the_dense_formula(kind, metric):
    ds = sparse()
    scales = {**SCALES, "length_scale": 0.5 if metric == "degrees" else 60e3}
    out = optimal_interp(ds, "ssh", **scales, covariance=kind, metric=metric, uncertainty=True)
    t, lat, lon = np.meshgrid(np.arange(5.0), ds["lat"], ds["lon"], indexing="ij")
    t, lat, lon = t.ravel(), lat.ravel(), lon.ravel()
    if metric == "degrees":
        apart = np.hypot(lat[:, None] - lat, lon[:, None] - lon)
    else:
        phi, lam = np.radians(lat), np.radians(lon)
        xyz = EARTH_RADIUS * np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], -1)
        apart = np.sqrt(((xyz[:, None] - xyz) ** 2).sum(-1))
    lag = np.abs(t[:, None] - t)
    x = apart / scales["length_scale"]
    if kind == "gaussian":
        correlation = np.exp(-(x**2) - (lag / 3) ** 2)
    else:
        from scipy.special import k1

        x = np.maximum(1.6580761997 * x, 1e-10)
        correlation = x * k1(x) * np.exp(-lag / 3)
    mean, std = dense_solution(0.64 * correlation, ds["ssh"].values, 0.1)
    assert np.allclose(out["ssh"], mean, atol=1e-6)
    assert np.allclose(out["ssh_error"], std, atol=1e-6)


@pytest.mark.parametrize("dense", [True, False])
def test_fourdvar_is_the_dense_solve_with_the_inverse_precision(dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(_analysis, "DENSE", 0)
    ds = sparse(shape=(3, 5, 6), fraction=0.2)
    out = fourdvar_interp(ds, "ssh", **SCALES, uncertainty=True)["ssh"]
    prior = prior_of(ds, SCALES)
    q = prior.precision()
    index = np.arange(q.shape[0]).reshape(prior.padded_shape)[:, prior.rows, prior.columns].ravel()
    covariance = np.linalg.inv(q.toarray())[np.ix_(index, index)]
    mean, std = dense_solution(covariance, ds["ssh"].values, 0.1)
    assert np.abs(out.values - mean).max() < 1e-7
    if dense:
        error = fourdvar_interp(ds, "ssh", **SCALES, uncertainty=True)["ssh_error"]
        assert np.allclose(error, std, atol=1e-7)


def test_gradient_of_the_cost_vanishes_at_the_analysis():
    """On all nodes, padding included: R^-1 H^T (H x - y) + Q x = 0, where x solves the sparse normal equations."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    ds = sparse(shape=(4, 6, 7), fraction=0.15, seed=3)
    out = fourdvar_interp(ds, "ssh", **SCALES)["ssh"].values
    prior = prior_of(ds, SCALES)
    y = np.full(prior.padded_shape, np.nan)
    y[:, prior.rows, prior.columns] = ds["ssh"].values
    seen = np.isfinite(y).ravel()
    mean = np.nanmean(ds["ssh"].values)
    right = np.where(seen, np.nan_to_num(y.ravel() - mean), 0) / 0.1**2
    q = prior.precision()
    x = splu((q + diags(seen / 0.1**2)).tocsc()).solve(right)
    inside = x.reshape(prior.padded_shape)[:, prior.rows, prior.columns] + mean
    assert np.abs(inside - out).max() < 1e-7
    gradient = np.where(seen, x, 0) / 0.1**2 - right + q @ x
    assert np.abs(gradient).max() < 1e-8 * np.abs(right).max()


def test_one_observation_has_a_closed_form():
    ds = sparse(shape=(3, 4, 5), fraction=0)
    ds["ssh"][1, 2, 3] = 2.0
    zero = xr.zeros_like(ds["ssh"]).fillna(0) * 0
    for interp in (optimal_interp, fourdvar_interp):
        out = interp(ds, "ssh", **SCALES, background=zero, uncertainty=True)
        gain = 0.64 / (0.64 + 0.01)
        assert out["ssh"][1, 2, 3].item() == pytest.approx(2 * gain)
        assert out["ssh_error"][1, 2, 3].item() == pytest.approx(0.8 * np.sqrt(1 - gain))


def test_conjugate_gradients_local_errors_and_samples_agree_with_exact_ones(monkeypatch):
    prior = SPDE.on_plane((12, 24, 24), (1.0, 1.0, 1.0), length_scale=4.0, time_scale=4.0)
    rng = np.random.default_rng(0)
    truth = prior.sample(rng)
    index = np.nonzero(rng.random(prior.shape) < 0.05)
    values = truth[index] + 0.1 * rng.standard_normal(index[0].size)
    exact = _analysis.analyse(prior, index, values, 0.1, uncertainty=True)
    assert exact.error_method == "exact"
    monkeypatch.setattr(_analysis, "DENSE", 10)
    local = _analysis.analyse(prior, index, values, 0.1, uncertainty=True)
    assert 0 < local.iterations < 60
    assert np.abs(local.mean - exact.mean).max() < 1e-7
    assert (local.std / exact.std).min() > 1 - 1e-6  # an upper bound
    assert (local.std / exact.std - 1).mean() < 0.01
    monkeypatch.setattr(_analysis, "_TABLE_BYTES", 0)
    drawn = _analysis.analyse(prior, index, values, 0.1, uncertainty=True, members=64)
    assert "64 conditional samples: sampling error 9 percent" in drawn.error_method
    assert np.abs(drawn.mean - exact.mean).max() < 1e-7
    ratio = drawn.std / exact.std
    assert abs(ratio.mean() - 1) < 0.03
    assert ratio.std() == pytest.approx(1 / np.sqrt(128), rel=0.3)


def test_errors_are_calibrated():
    """Standardised errors of analyses of simulated truths have unit variance."""
    scores = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        ds = sparse(shape=(8, 16, 16), fraction=0)
        prior = prior_of(ds, SCALES)
        truth = prior.sample(rng)
        noisy = truth + 0.1 * rng.standard_normal(truth.shape)
        ds["ssh"] = ds["ssh"].copy(data=np.where(rng.random(truth.shape) < 0.06, noisy, np.nan))
        zero = ds["ssh"].fillna(0) * 0
        out = fourdvar_interp(ds, "ssh", **SCALES, background=zero, uncertainty=True)
        scores.append((((out["ssh"] - truth) / out["ssh_error"]) ** 2).mean().item())
    assert np.mean(scores) == pytest.approx(1, abs=0.1)


def test_windows_in_time_use_only_what_is_inside():
    ds = sparse(shape=(9, 5, 6), fraction=0.2, seed=2)
    mean = float(np.nanmean(ds["ssh"]))
    first = xr.full_like(ds["ssh"], mean)
    out = optimal_interp(ds, "ssh", **SCALES, window={"time": "4D"}, uncertainty=True)
    part = ds.isel(time=slice(2, 7))
    alone = optimal_interp(part, "ssh", **SCALES, background=first.isel(time=slice(2, 7)), uncertainty=True)
    for name in ("ssh", "ssh_error"):
        assert np.allclose(out[name][4], alone[name][2], atol=1e-10)
    whole = optimal_interp(ds, "ssh", **SCALES, uncertainty=True)
    wide = optimal_interp(ds, "ssh", **SCALES, window={"time": "90D", "lat": 20, "lon": 20}, uncertainty=True)
    assert np.allclose(whole["ssh"], wide["ssh"], atol=1e-10)
    near = optimal_interp(ds, "ssh", **SCALES, window={"lat": 0.8, "lon": 0.8}, uncertainty=True)
    assert (near["ssh_error"] >= whole["ssh_error"] - 1e-10).all()
    assert not np.allclose(near["ssh"], whole["ssh"], atol=1e-3)


def test_preset_is_the_challenge_baseline():
    ds = sparse(shape=(40, 4, 5), fraction=0.05, seed=5)
    out = optimal_interp(ds, "ssh", preset="osse2020a", uncertainty=True)
    y = ds["ssh"].values
    t, i, j = np.nonzero(np.isfinite(y))
    day = 20
    near = np.abs(t - day) <= 14
    t, i, j = t[near], i[near], j[near]

    def k(a, b):
        return np.exp(-sum(((p[:, None] - q) / s) ** 2 for p, q, s in zip(a, b, (7, 5, 5), strict=True)))

    obs = t, i, j
    grid = np.full(20, day), *(a.ravel() for a in np.indices((4, 5)))
    gain = k(grid, obs) @ np.linalg.inv(k(obs, obs) + 0.05**2 * np.eye(t.size))
    assert np.allclose(out["ssh"][day].values.ravel(), gain @ y[t, i, j], atol=1e-8)
    other = optimal_interp(ds, "ssh", preset="osse2020a", noise_std=0.5)
    assert not np.allclose(other["ssh"], out["ssh"])


@BOTH
def test_scales_are_recovered_by_maximum_likelihood(interp):
    rng = np.random.default_rng(1)
    ds = sparse(shape=(20, 24, 24), fraction=0)
    kind = {"covariance": "matern"} if interp is optimal_interp else {}
    prior = prior_of(ds, SCALES)
    truth = prior.sample(rng)
    noisy = truth + 0.1 * rng.standard_normal(truth.shape)
    ds["ssh"] = ds["ssh"].copy(data=np.where(rng.random(truth.shape) < 0.05, noisy, np.nan))
    found = xatmo.assimilation.estimate_scales(ds, "ssh", covariance=kind.get("covariance", "spde"))
    if interp is fourdvar_interp:
        assert found.length_scale == pytest.approx(60e3, rel=0.25)
        assert found.time_scale == pytest.approx(3 * DAY, rel=0.5)
        assert found.noise_std == pytest.approx(0.1, rel=0.5)
        assert found.signal_std == pytest.approx(0.8, rel=0.25)
    given = interp(ds, "ssh", **SCALES, **kind)["ssh"]
    estimated = interp(ds, "ssh", **kind)["ssh"]
    rms = [float(np.sqrt(((a - truth) ** 2).mean())) for a in (given, estimated)]
    assert rms[1] < 1.05 * rms[0]
    again = interp(ds, "ssh", **kind)["ssh"]
    assert np.array_equal(again, estimated)  # deterministic
    turned = ds.isel(lat=slice(None, None, -1)).assign_coords(lon=ds["lon"] - 360)
    other = interp(turned, "ssh", **kind)["ssh"].isel(lat=slice(None, None, -1))
    assert np.allclose(other, estimated, atol=1e-6)


@BOTH
def test_scales_take_few_covariances_and_no_large_matrix(interp, monkeypatch):
    rng = np.random.default_rng(5)
    ds = sparse(shape=(10, 30, 30), fraction=0)
    truth = prior_of(ds, SCALES).sample(rng)
    values = truth + 0.1 * rng.standard_normal(truth.shape)
    ds["ssh"] = ds["ssh"].copy(data=np.where(rng.random(truth.shape) < 0.15, values, np.nan))
    made, sizes = [], []
    make, solve = xatmo.assimilation.spde._variational.make, np.linalg.solve

    def counted(kind, **scales):
        made.append(scales)
        return make(kind, **scales)

    def measured(a, b):
        sizes.append(a.shape)
        return solve(a, b)

    monkeypatch.setattr(xatmo.assimilation.spde._variational, "make", counted)
    monkeypatch.setattr(xatmo.assimilation.dense._optimal, "make", counted)
    monkeypatch.setattr(np.linalg, "solve", measured)
    out = interp(ds, "ssh", uncertainty=True)
    assert len(made) < 200
    assert max(n for *_, n in sizes) <= 40
    assert max(count for count, *_ in (s for s in sizes if len(s) == 3)) <= 1200 < np.isfinite(ds["ssh"]).sum()
    off = ((out["ssh"] - truth) / out["ssh_error"]).values
    assert 0.8 < np.sqrt((off**2).mean()) < 1.3


# ---------------------------------------------------------------------- labels
@BOTH
def test_orders_directions_names_and_longitudes_give_the_same_numbers(interp):
    ds = sparse(lon=np.arange(9) * 0.2 - 1.0)
    expected = interp(ds, "ssh", **SCALES, uncertainty=True)
    flipped = interp(ds.isel(lat=slice(None, None, -1)), "ssh", **SCALES, uncertainty=True)
    xr.testing.assert_allclose(flipped.isel(lat=slice(None, None, -1)), expected)
    turned = interp(ds.transpose("lon", "time", "lat"), "ssh", **SCALES, uncertainty=True)
    assert turned["ssh"].dims == ("lon", "time", "lat")
    xr.testing.assert_allclose(turned.transpose("time", "lat", "lon"), expected)
    renamed = interp(ds.rename(lat="y", lon="x", time="when"), "ssh", **SCALES, uncertainty=True)
    assert np.allclose(renamed["ssh"], expected["ssh"])
    jump = ds.assign_coords(lon=("lon", ds["lon"].values % 360, ds["lon"].attrs))
    assert np.allclose(interp(jump, "ssh", **SCALES)["ssh"], expected["ssh"], atol=1e-8)


@BOTH
def test_result_says_what_it_is(interp):
    ds = sparse()
    out = interp(ds, "ssh", **SCALES, uncertainty=True)
    assert isinstance(out, xr.Dataset)
    assert set(out.data_vars) == {"ssh", "ssh_error"}
    assert out["ssh"].attrs["units"] == out["ssh_error"].attrs["units"] == "m"
    assert out["ssh_error"].attrs["standard_name"] == "sea_surface_height standard_error"
    assert out.attrs["title"] == "twin"
    assert f"{interp.__name__}(obs='ssh'" in out.attrs["history"]
    assert "posterior standard deviation" in out["ssh_error"].attrs["comment"]
    assert out["lat"].attrs == ds["lat"].attrs
    assert "history" not in ds.attrs
    assert set(interp(ds, "ssh", **SCALES).data_vars) == {"ssh"}
    accessor = getattr(ds.atmo, interp.__name__)("ssh", **SCALES, uncertainty=True)
    xr.testing.assert_identical(accessor, out)


@BOTH
def test_mask_and_finite_values_say_what_was_observed(interp):
    ds = sparse(fraction=0.3)
    mask = np.random.default_rng(9).random(ds["ssh"].shape) < 0.5
    ds["seen"] = (("time", "lat", "lon"), mask.astype("i1"))
    by_mask = interp(ds, "ssh", "seen", **SCALES)
    by_nan = interp(ds.assign(ssh=ds["ssh"].where(mask)), "ssh", **SCALES)
    assert np.allclose(by_mask["ssh"], by_nan["ssh"])
    flat = xr.DataArray(mask[0], dims=("lat", "lon"))
    assert np.allclose(interp(ds, "ssh", flat, **SCALES)["ssh"], interp(ds, ds["ssh"].where(flat), **SCALES)["ssh"])


@BOTH
def test_land_is_nan_and_changes_nothing_else(interp):
    ds = sparse()
    land = np.zeros((7, 9))
    land[:2, :3] = 1
    ds["sea"] = (("lat", "lon"), 1 - land)
    out = interp(ds, "ssh", **SCALES, domain="sea", uncertainty=True)
    whole = interp(ds, "ssh", **SCALES, uncertainty=True)
    for name in ("ssh", "ssh_error"):
        assert np.array_equal(np.isnan(out[name].values), np.broadcast_to(land == 1, out[name].shape))
        assert np.allclose(out[name].where(ds["sea"] == 1), whole[name].where(ds["sea"] == 1), equal_nan=True)


@BOTH
def test_background_is_the_first_guess_in_any_units(interp):
    ds = sparse()
    ds["first"] = xr.full_like(ds["ssh"], 3.0)
    shifted = interp(ds.assign(ssh=ds["ssh"] + 3), "ssh", **SCALES, background="first")
    zero = interp(ds, "ssh", **SCALES, background=xr.zeros_like(ds["ssh"]).fillna(0) * 0)
    assert np.allclose(shifted["ssh"], zero["ssh"] + 3)
    in_cm = (ds["first"] * 100).assign_attrs(units="cm")
    from_cm = interp(ds.assign(ssh=(ds["ssh"] + 3).assign_attrs(ds["ssh"].attrs)), "ssh", **SCALES, background=in_cm)
    assert np.allclose(from_cm["ssh"], shifted["ssh"])
    empty = ds.assign(ssh=ds["ssh"] * np.nan)
    out = interp(empty, "ssh", **SCALES, background="first", uncertainty=True)
    assert np.allclose(out["ssh"], 3)
    assert np.allclose(out["ssh_error"], 0.8)


@BOTH
def test_lazy_and_eager_agree_with_extra_dimensions(interp, no_compute):
    ds = xr.concat([sparse(seed=s) for s in range(3)], dim="member").transpose("time", "member", "lat", "lon")
    ds["ssh"].attrs = {"units": "m"}
    eager = interp(ds, "ssh", **SCALES, uncertainty=True)
    assert eager["ssh"].dims == ds["ssh"].dims
    lazy = ds.chunk({"member": 1})
    with no_compute():
        built = interp(lazy, "ssh", **SCALES, uncertainty=True)
    assert built["ssh"].chunksizes["member"] == (1, 1, 1)
    xr.testing.assert_allclose(built.compute(), eager)
    for m in range(3):
        one = interp(ds.isel(member=m), "ssh", **SCALES)["ssh"]
        assert np.allclose(one, eager["ssh"].isel(member=m))
    single = interp(ds.astype("f4"), "ssh", **SCALES, uncertainty=True)
    assert single["ssh"].dtype == single["ssh_error"].dtype == np.float32
    assert np.allclose(single["ssh"], eager["ssh"], atol=1e-5)


@BOTH
def test_without_time_and_on_a_ring(interp):
    ds = sparse(shape=(1, 6, 36), fraction=0.3, lat=np.arange(-50, 70, 20), lon=np.arange(0, 360, 10))
    scales = {**SCALES, "length_scale": 2e6}
    flat = interp(ds.isel(time=0, drop=True), "ssh", **scales, uncertainty=True)
    assert flat["ssh"].dims == ("lat", "lon")
    timed = interp(ds, "ssh", **scales, uncertainty=True)
    assert np.allclose(flat["ssh"], timed["ssh"][0])
    rolled = ds.roll(lon=7, roll_coords=True)
    turned = interp(rolled.assign_coords(lon=(rolled["lon"] + 180) % 360 - 180).sortby("lon"), "ssh", **scales)
    back = turned.assign_coords(lon=turned["lon"] % 360).sortby("lon")
    assert np.allclose(back["ssh"], timed["ssh"], atol=1e-8)
    cyclic = xr.concat([ds, ds.isel(lon=[0]).assign_coords(lon=[360.0])], dim="lon")
    out = interp(cyclic, "ssh", **scales)
    assert out.sizes["lon"] == 37
    assert np.allclose(out["ssh"][..., :36], timed["ssh"], atol=1e-8)
    assert np.allclose(out["ssh"][..., 36], out["ssh"][..., 0])


def test_fourdvar_fills_missing_days():
    ds = sparse(shape=(6, 5, 6), fraction=0.2)
    holes = ds.isel(time=[0, 1, 3, 5])
    full = ds.copy()
    full["ssh"] = ds["ssh"].where(ds["time"].isin(holes["time"]))
    expected = fourdvar_interp(full, "ssh", **SCALES)["ssh"].sel(time=holes["time"])
    assert np.allclose(fourdvar_interp(holes, "ssh", **SCALES)["ssh"], expected)


def test_fourdvar_with_a_covariance_is_optimal_interpolation():
    ds = sparse()
    for kind in ("gaussian", "matern"):
        one = fourdvar_interp(ds, "ssh", prior=kind, **SCALES, uncertainty=True)
        other = optimal_interp(ds, "ssh", covariance=kind, **SCALES, uncertainty=True)
        assert np.array_equal(one["ssh"], other["ssh"])


@BOTH
def test_tracks_are_averaged_over_cells(interp, no_compute):
    ds = sparse(shape=(4, 6, 8), fraction=0)
    rng = np.random.default_rng(0)
    n = 60
    when, row, column = rng.integers(0, 4, n), rng.integers(0, 6, n), rng.integers(0, 8, n)
    jitter = rng.uniform(-0.09, 0.09, (2, n))
    track = xr.DataArray(
        rng.standard_normal(n), dims="num", name="sla", attrs={"units": "m"},
        coords={
            "time": ("num", ds["time"].values[when] + rng.integers(-11, 11, n) * np.timedelta64(1, "h")),
            "latitude": ("num", ds["lat"].values[row] + jitter[0], {"units": "degrees_north"}),
            "longitude": ("num", ds["lon"].values[column] + jitter[1] - 360, {"units": "degrees_east"}),
        },
    )  # fmt: skip
    total, count = np.zeros((4, 6, 8)), np.zeros((4, 6, 8))
    np.add.at(total, (when, row, column), track.values)
    np.add.at(count, (when, row, column), 1)
    ds["sla"] = (("time", "lat", "lon"), np.where(count > 0, total / np.maximum(count, 1), np.nan))
    expected = interp(ds, "sla", **SCALES)["sla"]
    got = interp(ds.drop_vars("sla"), track, **SCALES)["sla"]
    assert got.dims == ("time", "lat", "lon")
    assert np.allclose(got, expected)
    with no_compute():
        lazy = interp(ds.drop_vars("sla"), track.chunk(), **SCALES)["sla"]
    assert np.allclose(lazy, expected)
    by_time = track.swap_dims(num="time")  # as altimeter products are: the dimension has the grid's name
    again = interp(ds.drop_vars("sla"), by_time, **SCALES)["sla"]
    assert again.dims == ("time", "lat", "lon")
    assert np.allclose(again, expected)
    with pytest.raises(CoordinateError, match="has no time coordinate"):
        interp(ds, track.drop_vars("time"), **SCALES)
    early = track.assign_coords(time=("num", track["time"].values - np.timedelta64(100, "D")))
    south = track.assign_coords(latitude=("num", track["latitude"].values - 40, track["latitude"].attrs))
    background = xr.zeros_like(ds["sla"])
    for outside in (early, south):
        with pytest.raises(CoordinateError, match=r"no observation lies on the grid: 'sla' has latitude .* on "):
            interp(ds.drop_vars("sla"), outside, **SCALES, background=background)
    latitude = np.where(np.arange(n) > 0, track["latitude"], np.nan)
    broken = track.assign_coords(latitude=("num", latitude, track["latitude"].attrs))
    with pytest.raises(CoordinateError, match="not finite; drop those observations"):
        interp(ds, broken, **SCALES)


# ---------------------------------------------------------------------- errors
@BOTH
@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"length_scale": -1.0}, OptionError, "length_scale=-1.0 came; wanted a positive number"),
        ({"noise_std": 0}, OptionError, "noise_std=0 came; wanted a positive"),
        ({"signal_std": "much"}, OptionError, "signal_std='much' came"),
        ({"time_scale": 7}, OptionError, "time_scale=7 came; wanted a positive time span such as '7D'"),
        ({"time_scale": "-3D"}, OptionError, "wanted a positive time span"),
        ({"time_scale": "soon"}, OptionError, "time_scale='soon' came"),
        ({"obs": "sst"}, VariableError, r"no variable 'sst' for obs= in this Dataset; it has \['ssh'\]"),
        ({"mask": "nothing"}, VariableError, "no variable 'nothing' for mask="),
        ({"domain": "nothing"}, VariableError, "for domain="),
        ({"background": "nothing"}, VariableError, "for background="),
    ],
)
def test_wrong_keywords(interp, change, error, text):
    with pytest.raises(error, match=text):
        interp(sparse(), **{"obs": "ssh", **SCALES, **change})


@pytest.mark.parametrize(
    ("interp", "change", "text"),
    [
        (optimal_interp, {"preset": "best"}, r"preset='best' came; wanted one of \['osse2020a'\]"),
        (optimal_interp, {"covariance": "spherical"}, "covariance='spherical' came"),
        (optimal_interp, {"metric": "miles"}, "metric='miles' came; wanted 'sphere' or 'degrees'"),
        (optimal_interp, {"window": {"depth": 3}}, "window has the key 'depth'"),
        (optimal_interp, {"window": {"time": 3}}, r"window\['time'\]=3 came"),
        (optimal_interp, {"window": {"lat": -3}}, r"window\['lat'\]=-3 came"),
        (fourdvar_interp, {"prior": "flat"}, "prior='flat' came; wanted 'spde', 'gaussian' or 'matern'"),
        (fourdvar_interp, {"alpha": 3}, "alpha=3 came"),
    ],
)
def test_wrong_options(interp, change, text):
    with pytest.raises(OptionError, match=text):
        interp(sparse(), "ssh", **{**SCALES, **change})


@BOTH
def test_wrong_data(interp):
    ds = sparse()
    with pytest.raises(DimensionError, match="mask does not fit: 'lat' has 6 points for 7"):
        interp(ds, "ssh", (ds["ssh"] > 0).isel(lat=slice(1, None)).drop_vars("lat"), **SCALES)
    with pytest.raises(CoordinateError, match="mask has other values of 'lat'"):
        interp(ds, "ssh", ds["ssh"].assign_coords(lat=ds["lat"] + 1), **SCALES)
    with pytest.raises(DimensionError, match="domain has dimensions"):
        interp(ds, "ssh", domain=xr.DataArray(np.ones(7), dims="lat"), **SCALES)
    nothing = ds.assign(ssh=ds["ssh"] * np.nan)
    with pytest.raises(MissingValueError, match="no observations at all"):
        interp(nothing, "ssh", **SCALES)
    nothing["ssh"][0, 0, :3] = 1.0
    with pytest.raises(MissingValueError, match="3 observations came; wanted at least 10 to estimate length_scale"):
        interp(nothing, "ssh")
    bad = ds["lat"].values.copy()
    bad[3] = np.nan
    with pytest.raises(CoordinateError, match="latitude holds 1 values that are not finite"):
        interp(ds.assign_coords(lat=("lat", bad, ds["lat"].attrs)), "ssh", **SCALES)
    when = ds["time"].values.copy()
    when[2] = np.datetime64("NaT")
    with pytest.raises(CoordinateError, match="1 times are missing"):
        interp(ds.assign_coords(time=when), "ssh", **SCALES)
    when[2] = when[1]
    with pytest.raises(CoordinateError, match="holds a date twice"):
        interp(ds.assign_coords(time=when), "ssh", **SCALES)
    with pytest.raises(CoordinateError, match="wanted dates"):
        interp(ds.assign_coords(time=("time", np.arange(5.0), {"standard_name": "time"})), "ssh", **SCALES)
    with pytest.raises(MissingValueError, match="the background is missing at"):
        interp(ds, "ssh", background=ds["ssh"].where(ds["lat"] > 33.5), **SCALES)
    with pytest.raises(UnitsError, match="measure different things"):
        interp(ds, "ssh", background=ds["ssh"].assign_attrs(units="K"), **SCALES)
    with pytest.raises(VariableError, match="wanted real numbers"):
        interp(ds.assign(flag=ds["ssh"] > 0), "flag", **SCALES)
    with pytest.raises(ChunkError, match="'time' in 5 chunks"):
        interp(ds.chunk({"time": 1}), "ssh", **SCALES)
    curved = xr.DataArray(np.zeros((3, 4)), dims=("j", "i"), coords={
        "lat": (("j", "i"), np.zeros((3, 4)), {"units": "degrees_north"}),
        "lon": (("j", "i"), np.zeros((3, 4)), {"units": "degrees_east"})})  # fmt: skip
    with pytest.raises(GridError, match="curvilinear"):
        interp(curved.to_dataset(name="ssh"), "ssh", **SCALES)


def test_fourdvar_needs_equal_steps():
    ds = sparse()
    lon = ds["lon"].values.copy()
    lon[4] += 0.05
    with pytest.raises(CoordinateError, match="longitudes are not equally spaced"):
        fourdvar_interp(ds.assign_coords(lon=("lon", lon, ds["lon"].attrs)), "ssh", **SCALES)
    when = ds["time"].values.copy()
    when[4] += np.timedelta64(7, "h")
    with pytest.raises(CoordinateError, match="times are not equally spaced"):
        fourdvar_interp(ds.assign_coords(time=when), "ssh", **SCALES)


def test_too_many_observations_at_once(monkeypatch):
    monkeypatch.setattr(xatmo.assimilation.dense._kernels, "MOST_AT_ONCE", 20)
    with pytest.raises(OptionError, match="observations at once came; at most 20"):
        optimal_interp(sparse(fraction=0.5), "ssh", **SCALES)


@BOTH
def test_too_little_noise_is_named(interp, monkeypatch):
    ds = sparse(shape=(1, 20, 20), fraction=0.9)
    scales = {**SCALES, "length_scale": 5e6 if interp is optimal_interp else 5e5, "noise_std": 1e-12}
    if interp is optimal_interp:
        with pytest.raises(OptionError, match=r"not positive definite to rounding: noise_std is too small"):
            interp(ds, "ssh", **scales)
    else:
        monkeypatch.setattr(_analysis, "DENSE", 0)
        monkeypatch.setattr(_analysis, "_MOST_STEPS", 1)
        with pytest.raises(OptionError, match="did not converge in 1 steps"):
            interp(ds, "ssh", **scales)


def test_too_large_grids_are_refused(monkeypatch):
    from xatmo.assimilation.spde import prior as spde

    monkeypatch.setattr(spde, "_MOST_BYTES", 1000)
    monkeypatch.setattr(_analysis, "_TABLE_BYTES", 0)
    with pytest.raises(OptionError, match="too large for the exact prior; select a smaller box, or coarsen"):
        fourdvar_interp(sparse(), "ssh", **SCALES)


def test_scales_refuse_other_dimensions_and_names():
    ds = sparse()
    with pytest.raises(DimensionError, match="select one of each of"):
        xatmo.assimilation.estimate_scales(ds.expand_dims(member=2), "ssh")
    with pytest.raises(OptionError, match="covariance='cubic' came; wanted 'gaussian', 'matern' or 'spde'"):
        xatmo.assimilation.estimate_scales(ds, "ssh", covariance="cubic")
    given = xatmo.assimilation.estimate_scales(ds, "ssh", **SCALES)
    assert (given.length_scale, given.time_scale) == (60e3, 3 * DAY)


@pytest.mark.slow
def test_real_sea_level_from_few_observations(shared_data):
    """Daily maps of the Mediterranean, 3 percent of the sea observed: beats the mean; errors are of the right size."""
    with xr.open_dataset(shared_data("duacs_adt_med_daily_0p125deg_2005-04_05.nc")) as opened:
        truth = opened["adt"].isel(time=slice(0, 10)).sel(latitude=slice(32, 37), longitude=slice(17, 27)).load()
    sea = truth.notnull().all("time")
    rng = np.random.default_rng(0)
    noisy = truth + 0.02 * rng.standard_normal(truth.shape)
    seen = noisy.where(xr.zeros_like(truth, dtype=bool) | (rng.random(truth.shape) < 0.03))
    out = fourdvar_interp(seen.rename("adt").to_dataset(), "adt", domain=sea, noise_std=0.02, uncertainty=True)
    assert out["adt"].notnull().equals(sea.broadcast_like(truth).transpose(*truth.dims))
    wrong = out["adt"] - truth
    rms = float(np.sqrt((wrong**2).mean()))
    assert rms < 0.4 * float(truth.std())
    assert 0.5 < float(np.sqrt(((wrong / out["adt_error"]) ** 2).mean())) < 2
