"""Optimal interpolation with two lengths, drift, true times, noise by observation and errors along tracks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation import estimate_scales, fourdvar_interp, optimal_interp
from xatmo.assimilation.covariance.frame import Frame, lengths_of, shape_of, transform
from xatmo.assimilation.covariance.noise import Errors, TrackError
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, MissingValueError, OptionError, UnitsError

_spec = importlib.util.spec_from_file_location("assimilation_fields", Path(__file__).with_name("strategies.py"))
fields = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fields)
observed, sparse = fields.observed, fields.sparse

DAY = 86400.0
PLANE = {"length_scale": 0.6, "time_scale": "3D", "noise_std": 0.2, "signal_std": 0.8, "metric": "degrees"}


def test_frame_on_the_sphere_keeps_chords():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-80, 80, 30), rng.uniform(0, 360, 30)
    at = Frame("sphere", (40.0, 200.0)).place(lat, lon, 0.0)
    assert np.allclose(np.linalg.norm(at, axis=1), EARTH_RADIUS)
    apart = np.radians(np.array([[10.0, 0.0], [20.0, 0.0]]))
    two = Frame("sphere", (3.0, 7.0)).place(*np.degrees(apart.T), 0.0)
    assert np.linalg.norm(two[0] - two[1]) == pytest.approx(2 * EARTH_RADIUS * np.sin(np.radians(5)))
    here = Frame("sphere", (40.0, 200.0)).axes(np.array([40.0, 40.001]), np.array([200.0, 200.0]))
    assert np.allclose(here[0], [0, 0, EARTH_RADIUS])
    assert np.allclose(here[1, :2], [0, np.radians(0.001) * EARTH_RADIUS], atol=1e-3)


def test_lengths_lie_along_their_axes():
    shape = shape_of((4.0, 1.0), 30.0)
    along = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6), 0.0])
    across = np.array([-np.sin(np.pi / 6), np.cos(np.pi / 6), 0.0])
    # the distance in units of the geometric mean, 2: 4 along the first axis and 1 along the other are one length each
    assert np.linalg.norm(transform(4 * along, 0.0, shape, (0.0, 0.0))) == pytest.approx(2)
    assert np.linalg.norm(transform(across, 0.0, shape, (0.0, 0.0))) == pytest.approx(2)
    assert lengths_of(2.0, shape) == pytest.approx((4, 1, 30))
    assert lengths_of(2.0, (0.0, 0.0)) == (2.0, 2.0, 0.0)


def dense(ds, *, lengths, angle, drift, lag, noise, track, kind):
    """The textbook formula with explicit loops over components."""
    y = ds["ssh"].values
    t, i, j = np.nonzero(np.isfinite(y))
    lat, lon, days = ds["lat"].values, ds["lon"].values, np.arange(y.shape[0])
    when = days[t] + lag[t, i, j] / 24
    turn = np.radians(angle)

    def covariance(a, b):
        (x1, y1, t1), (x2, y2, t2) = a, b
        dt = t1[:, None] - t2
        dx, dy = x1[:, None] - x2 - drift[0] * dt, y1[:, None] - y2 - drift[1] * dt
        first, second = np.cos(turn) * dx + np.sin(turn) * dy, -np.sin(turn) * dx + np.cos(turn) * dy
        d = np.hypot(first / lengths[0], second / lengths[1])
        if kind == "gaussian":
            return 0.64 * np.exp(-(d**2) - (dt / 3) ** 2)
        from xatmo.assimilation import Matern

        return Matern(1.0, 3.0, 0.8)(d, dt)

    obs = lon[j], lat[i], when
    error = np.diag(noise[t, i, j] ** 2)
    if track is not None:
        passes = track[t, i, j]
        gap = np.abs(when[:, None] - when) * DAY
        error += np.where(passes[:, None] == passes, 0.3**2 * np.exp(-gap / 7200), 0)
    tt, ii, jj = (a.ravel() for a in np.indices(y.shape))
    cross = covariance((lon[jj], lat[ii], days[tt].astype(float)), obs)
    gain = cross @ np.linalg.inv(covariance(obs, obs) + error)
    return (gain @ y[t, i, j]).reshape(y.shape), np.sqrt(0.64 - np.einsum("ij,ij->i", gain, cross)).reshape(y.shape)


@pytest.mark.parametrize("kind", ["gaussian", "matern"])
@pytest.mark.parametrize("with_track", [False, True])
def test_agrees_with_a_dense_solve(kind, with_track):
    rng = np.random.default_rng(2)
    ds = sparse(shape=(5, 6, 7), fraction=0.25)
    shape = ds["ssh"].shape
    lag, noise = rng.uniform(-12, 12, shape), rng.uniform(0.1, 0.4, shape)
    track = rng.integers(0, 6, shape)
    for name, values in (("lag", lag), ("noise", noise), ("track", track)):
        ds[name] = (("time", "lat", "lon"), values)
    also = {"track_error": (0.3, "2h"), "passes": "track"} if with_track else {}
    out = optimal_interp(
        ds, "ssh", covariance=kind, metric="degrees", length_scale=(0.9, 0.4), angle=25.0, drift=(-0.1, 0.05),
        time_scale="3D", noise_std="noise", signal_std=0.8, lag="lag", background=0 * ds["ssh"].fillna(0),
        uncertainty=True, **also,
    )  # fmt: skip
    mean, std = dense(
        ds, lengths=(0.9, 0.4), angle=25.0, drift=(-0.1, 0.05), lag=lag, noise=noise,
        track=track if with_track else None, kind=kind,
    )  # fmt: skip
    np.testing.assert_allclose(out["ssh"], mean, atol=1e-9)
    np.testing.assert_allclose(out["ssh_error"], std, atol=1e-7)


def test_a_moving_observation_is_found_where_the_water_took_it():
    ds = observed(np.full((4, 1 + 4, 11), np.nan))
    ds["ssh"][0, 2, 1] = 1.0
    out = optimal_interp(
        ds, "ssh", **PLANE | {"time_scale": "1000D"}, drift=(0.4, 0.0), background=0 * ds.ssh.fillna(0)
    )
    # two cells of 0.2 degrees a day
    assert [int(out["ssh"].values[t, 2].argmax()) for t in range(4)] == [1, 3, 5, 7]
    closed = 0.64 / (0.64 + 0.04) * np.exp(-((3 / 1000) ** 2))
    assert out["ssh"][3, 2, 7].item() == pytest.approx(closed, rel=1e-6)
    metres = 0.4 * np.radians(EARTH_RADIUS) * np.cos(np.radians(33.4)) / DAY
    ball = optimal_interp(
        ds, "ssh", length_scale=60e3, time_scale="1000D", noise_std=0.2, signal_std=0.8, drift=(metres, 0.0),
        background=0 * ds.ssh.fillna(0),
    )  # fmt: skip
    assert [int(ball["ssh"].values[t, 2].argmax()) for t in range(4)] == [1, 3, 5, 7]


def test_nothing_given_changes_nothing():
    ds = sparse()
    plain = optimal_interp(ds, "ssh", preset="osse2020a", uncertainty=True)
    zero = xr.zeros_like(ds["ssh"].fillna(0)).drop_attrs()
    same = optimal_interp(
        ds, "ssh", preset="osse2020a", uncertainty=True, length_scale=(1.0, 1.0), angle=77.0, drift=(0.0, 0.0), lag=zero
    )
    noise = optimal_interp(ds, "ssh", preset="osse2020a", uncertainty=True, noise_std=zero + 0.05)
    for other in (same, noise):
        np.testing.assert_allclose(other["ssh"], plain["ssh"], atol=1e-10)
        np.testing.assert_allclose(other["ssh_error"], plain["ssh_error"], atol=1e-8)


def test_bias_of_a_pass_is_taken_from_its_mean():
    # one pass sees a constant bias, another none: with endless memory only differences within the first one count
    values = np.full((1, 3, 12), np.nan)
    values[0, 0], values[0, 2, ::2] = 5.0, 0.0
    ds = observed(values)
    ds["track"] = (("time", "lat", "lon"), np.broadcast_to(np.arange(3)[:, None], values.shape))
    wide = {"length_scale": 50.0, "signal_std": 1.0, "noise_std": 0.05, "metric": "degrees", "time_scale": "1D"}
    zero = 0 * ds["ssh"].fillna(0)
    naive = optimal_interp(ds, "ssh", **wide, background=zero)
    aware = optimal_interp(ds, "ssh", **wide, background=zero, track_error=(100.0, np.inf), passes="track")
    # the second pass has as large an error of its own: both means are worth nothing, and zero is kept
    assert abs(naive["ssh"]).mean() > 1
    assert abs(aware["ssh"]).max() < 0.02


def test_errors_add_by_pass():
    errors = Errors(np.array([0.1, 0.2, 0.3]), TrackError(2.0, 10.0), np.array([7, 3, 7]))
    matrix = np.zeros((3, 3))
    errors.add_to(matrix, np.array([0.0, 1.0, 5.0]))
    shared = 4 * np.exp(-0.5)
    assert np.allclose(matrix, [[4.1, 0, shared], [0, 4.2, 0], [shared, 0, 4.3]])
    assert errors.take(np.array([True, False, True])).passes.tolist() == [7, 7]


def moving_field(rng, shape, *, length, time, drift, lengths=None):
    """A Gaussian field on a grid of 0.2 degrees, by a factor of its dense covariance."""
    t, i, j = (a.ravel().astype(float) for a in np.indices(shape))
    place = np.stack([0.2 * j, 0.2 * i, 0 * i], axis=1)
    at = transform(place, t, shape_of(lengths, 0.0) if lengths else (0.0, 0.0), drift)
    d = np.linalg.norm(at[:, None] - at, axis=-1)
    matrix = np.exp(-d / length - np.abs(t[:, None] - t) / time) + 1e-9 * np.eye(t.size)
    return (np.linalg.cholesky(matrix) @ rng.standard_normal(t.size)).reshape(shape)


def test_drift_and_lengths_are_found_from_observations():
    rng = np.random.default_rng(0)
    truth = moving_field(rng, (10, 10, 14), length=1.0, time=20.0, drift=(-0.3, 0.1), lengths=(1.6, 0.8))
    seen = np.where(rng.random(truth.shape) < 0.35, truth + 0.1 * rng.standard_normal(truth.shape), np.nan)
    ds = observed(seen)
    options = {"covariance": "matern", "metric": "degrees"}
    found = estimate_scales(ds, "ssh", **options, drift="estimate", angle="estimate")
    assert np.array(found.drift) * DAY == pytest.approx([-0.3, 0.1], abs=0.06)
    longer, shorter, angle = lengths_of(found.length_scale, found.shape)
    assert longer / shorter == pytest.approx(2.0, rel=0.35)
    assert abs(angle) < 15
    still = estimate_scales(ds, "ssh", **options)
    assert still.drift == (0.0, 0.0)
    assert found.time_scale > 2 * still.time_scale
    moved, kept = (
        optimal_interp(
            ds, "ssh", **options, length_scale=length, time_scale=f"{s.time_scale:.0f}s", noise_std=s.noise_std,
            signal_std=s.signal_std, angle=angle if s is found else 0.0, drift=tuple(DAY * v for v in s.drift),
        )["ssh"]
        for s, length in ((found, (longer, shorter)), (still, still.length_scale))
    )  # fmt: skip
    rms = [float(np.sqrt(((a - truth) ** 2).mean())) for a in (moved, kept)]
    assert rms[0] < 0.9 * rms[1]


def test_scales_beside_known_errors():
    rng = np.random.default_rng(1)
    truth = moving_field(rng, (8, 10, 14), length=1.0, time=5.0, drift=(0.0, 0.0))
    noise = rng.uniform(0.05, 0.6, truth.shape)
    passes = np.broadcast_to(rng.integers(0, 10, (8, 10, 1)), truth.shape) + 100 * np.arange(8)[:, None, None]
    bias = rng.normal(0, 0.5, 2000)[passes]
    keep = rng.random(truth.shape) < 0.4
    ds = observed(np.where(keep, truth + noise * rng.standard_normal(truth.shape) + bias, np.nan))
    ds["noise"], ds["pass"] = (("time", "lat", "lon"), noise), (("time", "lat", "lon"), passes)
    common = {"covariance": "matern", "metric": "degrees", "noise_std": "noise", "background": 0 * ds.ssh.fillna(0)}
    aware = optimal_interp(ds, "ssh", **common, track_error=(0.5, np.inf), passes="pass")["ssh"]
    unaware = optimal_interp(ds, "ssh", **common)["ssh"]
    rms = [float(np.sqrt(((a - truth) ** 2).mean())) for a in (aware, unaware)]
    assert rms[0] < 0.93 * rms[1]
    given = optimal_interp(
        ds, "ssh", **common, length_scale=1.0, time_scale="5D", signal_std=1.0, track_error=(0.5, np.inf), passes="pass"
    )["ssh"]
    assert rms[0] < 1.1 * float(np.sqrt(((given - truth) ** 2).mean()))


def test_true_times_in_any_unit():
    ds = sparse(shape=(5, 5, 6), fraction=0.3)
    hours = xr.full_like(ds["ssh"], 6.0).drop_attrs()
    expected = optimal_interp(ds, "ssh", **PLANE, lag=hours)
    spans = (hours * 3600e9).astype("timedelta64[ns]")
    for lag in (spans, (hours / 24).assign_attrs(units="days"), (60 * hours).assign_attrs(units="minutes")):
        np.testing.assert_allclose(optimal_interp(ds, "ssh", **PLANE, lag=lag)["ssh"], expected["ssh"], rtol=1e-12)
    assert not np.allclose(expected["ssh"], optimal_interp(ds, "ssh", **PLANE)["ssh"])
    found = estimate_scales(ds, "ssh", covariance="matern", metric="degrees", lag=hours)
    assert found.length_scale > 0


def test_lazy_is_the_same():
    ds = sparse(fraction=0.3)
    ds["noise"] = xr.full_like(ds["ssh"], 0.2)
    options = PLANE | {"noise_std": "noise", "drift": (0.1, 0.0)}
    lazy = optimal_interp(ds.chunk(), "ssh", **options)
    assert lazy["ssh"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), optimal_interp(ds, "ssh", **options))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"length_scale": (1.0, 2.0, 3.0)}, OptionError, "wanted one length or two, and the angle"),
        ({"length_scale": (1.0, 2.0), "angle": "north"}, OptionError, "wanted one length or two, and the angle"),
        ({"length_scale": (1.0, 2.0), "angle": "estimate"}, OptionError, "wanted their geometric mean, or None"),
        ({"length_scale": (1.0, -2.0)}, OptionError, "length_scale=-2.0 came"),
        ({"drift": "west"}, OptionError, "drift='west' came; wanted .eastward, northward. in m s-1"),
        ({"drift": (1.0, np.nan)}, OptionError, "or 'estimate'"),
        ({"track_error": (0.1, "60s")}, OptionError, "and passes=, the number of the pass"),
        ({"track_error": 0.1, "passes": "few"}, OptionError, "wanted a standard deviation and a time span"),
        ({"track_error": (0.1, "x"), "passes": "few"}, OptionError, "track_error='x' came"),
        ({"track_error": (0.1, "60s"), "passes": "few"}, MissingValueError, "passes is missing at 24 of 24"),
        ({"noise_std": "few"}, MissingValueError, "noise_std is missing at 24 of 24 observed nodes"),
        ({"noise_std": "none"}, OptionError, "noise_std is -?0 at an observed node; wanted positive numbers"),
        ({"noise_std": "flat"}, DimensionError, "noise_std has dimensions"),
        ({"lag": "pressure"}, UnitsError, "lag has units 'hPa'; wanted 'seconds', 'minutes', 'hours' or 'days'"),
    ],
)
def test_wrong_options(change, error, message):
    ds = sparse()
    ds["few"], ds["none"], ds["flat"] = ds["ssh"] * np.nan, 0 * ds["ssh"].fillna(1), ("lat", np.ones(7))
    ds["pressure"] = xr.zeros_like(ds["none"]).assign_attrs(units="hPa")
    with pytest.raises(error, match=message):
        optimal_interp(ds, "ssh", **PLANE | change)


def test_prior_of_the_equation_has_no_drift():
    with pytest.raises(OptionError, match="came with covariance='spde'; wanted 'gaussian' or 'matern'"):
        estimate_scales(sparse(), "ssh", covariance="spde", drift="estimate")
    assert fourdvar_interp is not None


@pytest.mark.slow
def test_order_of_methods_on_a_sea_that_drifts():
    """From tracks alone: a Matern covariance beats a Gaussian one, and one that drifts beats both."""
    score: dict[str, list[float]] = {}
    for seed in range(2):
        rng = np.random.default_rng(seed)
        truth = sum(_layer(rng, *parts) for parts in ((1.2, 0.8, -0.07), (0.7, 0.5, -0.11), (0.4, 0.25, 0.06)))
        mask = np.zeros(truth.shape, bool)
        rows = np.arange(truth.shape[1])
        for t in range(truth.shape[0]):
            for _ in range(2):
                at = np.round(rng.uniform(-20, 68) + rng.choice([-1, 1]) * rng.uniform(0.35, 0.5) * rows).astype(int)
                good = (at >= 0) & (at < truth.shape[2])
                mask[t, rows[good], at[good]] = True
        ds = observed(np.where(mask, truth + 0.02 * rng.standard_normal(truth.shape), np.nan),
                      lat=33 + 0.1 * np.arange(48), lon=295 + 0.1 * np.arange(48))  # fmt: skip
        for name, options in {
            "gaussian": {"covariance": "gaussian"},
            "matern": {"covariance": "matern"},
            "drifting": {"covariance": "matern", "drift": "estimate"},
        }.items():
            out = optimal_interp(ds, "ssh", metric="degrees", background=0 * ds.ssh.fillna(0), **options)["ssh"]
            score.setdefault(name, []).append(float(((out - truth) ** 2).mean()))
    rms = {name: np.sqrt(np.mean(values)) for name, values in score.items()}
    assert rms["drifting"] < 0.98 * rms["matern"] < 0.98**2 * rms["gaussian"]


def _layer(rng, length, weight, east, days=15, size=48, big=160):
    """One part of the field: flat, then steep in its spectrum, moved at its own speed, renewed over 20 days."""
    y, x = np.fft.fftfreq(big, 0.1)[:, None], np.fft.rfftfreq(big, 0.1)[None, :]
    amplitude = 1 / (1 + (2 * np.pi * length) ** 2 * (x**2 + y**2))
    amplitude[0, 0] = 0

    def fresh():
        z = np.fft.irfft2(amplitude * np.fft.rfft2(rng.standard_normal((big, big))), s=(big, big))
        return z / z.std()

    out, now, north, keep = [], fresh(), rng.normal(0, 0.025), np.exp(-1 / 20)
    for _ in range(days):
        out.append(weight * now[:size, :size])
        shifted = np.fft.irfft2(np.fft.rfft2(now) * np.exp(-2j * np.pi * (x * east + y * north)), s=(big, big))
        now = keep * shifted + np.sqrt(1 - keep**2) * fresh()
    return np.array(out)


def test_the_challenge_baseline_with_land_is_a_dense_solve():
    """Every day from the observations at most 14 days away, planar degrees, unit variance, no mean removed."""
    rng = np.random.default_rng(8)
    lat, lon, n_time = 33 + 0.5 * np.arange(9), 295 + 0.5 * np.arange(10), 34
    sea = np.hypot(lat[:, None] - 33, lon - 295) > 1.8
    y = np.where((rng.random((n_time, 9, 10)) < 0.05) & sea, 0.3 * rng.standard_normal((n_time, 9, 10)), np.nan)
    dates = np.datetime64("2012-10-22", "ns") + np.arange(n_time) * np.timedelta64(1, "D")
    ds = xr.Dataset({"ssh": (("time", "lat", "lon"), y), "sea": (("lat", "lon"), sea)},
                    {"time": dates, "lat": lat, "lon": lon})  # fmt: skip
    out = optimal_interp(ds, "ssh", preset="osse2020a", domain="sea", uncertainty=True)
    tiled = optimal_interp(ds.chunk(time=9, lat=4), "ssh", preset="osse2020a", domain="sea", uncertainty=True,
                           tiles={"time": 11}).compute(scheduler="synchronous")  # fmt: skip
    t, i, j = np.nonzero(np.isfinite(y))
    north, east = np.nonzero(sea)
    for day in range(n_time):
        near = np.abs(t - day) <= 14
        when, where, seen = t[near], np.stack([lat[i[near]], lon[j[near]]]), y[t[near], i[near], j[near]]
        among = sum((p[:, None] - p) ** 2 for p in where)
        across = sum((p[:, None] - q) ** 2 for p, q in zip((lat[north], lon[east]), where, strict=True))
        covariance = np.exp(-among - ((when[:, None] - when) / 7) ** 2) + 0.05**2 * np.eye(when.size)
        to_sea = np.exp(-across - ((day - when) / 7) ** 2)
        gain = np.linalg.solve(covariance, to_sea.T).T
        for found in (out, tiled):
            assert np.isnan(found["ssh"].values[day][~sea]).all()
            np.testing.assert_allclose(found["ssh"].values[day][sea], gain @ seen, rtol=0, atol=1e-10)
            variance = 1 - np.einsum("ij,ij->i", gain, to_sea)
            np.testing.assert_allclose(found["ssh_error"].values[day][sea] ** 2, variance, rtol=0, atol=1e-10)
