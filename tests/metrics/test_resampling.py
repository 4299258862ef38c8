"""Block bootstrap: blocks in points and in time, coverage on errors that remember, and scores that are no sums."""

from __future__ import annotations

import datetime
import functools
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import metrics
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics import Bootstrap, resampling


def autoregressive(n: int, *, memory: float, repeats: int, seed: int = 0) -> np.ndarray:
    """AR(1) series of variance 1, ``(repeats, n)``."""
    rng = np.random.default_rng(seed)
    out = np.empty((repeats, n))
    out[:, 0] = rng.normal(size=repeats)
    for k in range(1, n):
        out[:, k] = memory * out[:, k - 1] + np.sqrt(1 - memory**2) * rng.normal(size=repeats)
    return out


def covered(block: Any, kind: str = "separate") -> float:
    """Share of 300 simulated records whose 90 % bounds hold the mean square error, which is 1."""
    times = pd.date_range("2019-01-01", periods=1200, freq="h")
    errors = xr.DataArray(autoregressive(1200, memory=0.8, repeats=300), {"time": times}, ("run", "time"))
    resampling = {"dim": "time", "block": block, "n": 200, "kind": kind}
    found = metrics.verify(errors, 0 * errors, metrics="mse", dim="time", bootstrap=resampling)
    return float(((found["mse_lower"] < 1) & (found["mse_upper"] > 1)).mean())


@pytest.mark.parametrize("kind", ["separate", "moving", "circular"])
def test_blocks_longer_than_the_memory_cover_and_single_points_do_not(kind: str) -> None:
    # Three standard errors of 300 drawings at 0.9 are 0.05; 40 blocks are few, and bounds a little narrow.
    assert 0.83 < covered("30h", kind) < 0.95
    assert covered(1, kind) < 0.75  # the squares of this series remember 4 steps and more


def test_points_and_time_are_the_same_on_a_whole_axis() -> None:
    times = pd.date_range("2019-01-01", periods=24 * 20, freq="h")
    for kind in ("separate", "moving", "circular"):
        spans = (48, "2D", np.timedelta64(48, "h"), datetime.timedelta(days=2))
        by = [Bootstrap.of({"dim": "time", "block": b, "n": 5, "kind": kind}) for b in spans]
        first, *rest = [b.counts(times.size, times) for b in by]
        for other in rest:
            xr.testing.assert_identical(first, other)
        assert (first.sum("time") == times.size).all()


def test_blocks_in_time_know_of_gaps_and_of_order() -> None:
    days = pd.date_range("2019-01-01", periods=40)
    there = days[(days < "2019-01-11") | (days >= "2019-01-25")]  # ten days, two weeks of nothing, sixteen days
    blocks = Bootstrap.of({"dim": "time", "block": "5D", "n": 50})
    windows = blocks.windows(there.size, there)
    assert (windows.last - windows.first).tolist() == [5, 5, 1, 5, 5, 5]  # none reaches over the gap
    counts = blocks.counts(there.size, there)
    assert (counts.isel(time=slice(0, 5)).std("time") == 0).all()
    mixed = np.random.default_rng(0).permutation(there.size)
    shuffled = blocks.counts(there.size, there[mixed])
    np.testing.assert_array_equal(shuffled, counts.isel(time=mixed))
    in_points = Bootstrap.of({"dim": "time", "block": 5, "n": 50}).counts(there.size)
    assert not np.array_equal(in_points, counts)
    twice = days[:20].append(days[:20])  # two forecasts of each day stay in one block
    both = Bootstrap.of({"dim": "time", "block": "4D", "n": 9}).counts(40, twice)
    np.testing.assert_array_equal(both[:, :20], both[:, 20:])


@pytest.mark.parametrize("kind", ["moving", "circular"])
def test_blocks_that_begin_anywhere_begin_in_no_gap(kind: str) -> None:
    """Summers of four years: as many blocks as there are weeks of summer, not of years, and each with points."""
    summers = pd.date_range("2010-01-01", "2013-12-31", freq="6h")
    summers = summers[summers.month.isin([6, 7, 8])]
    blocks = Bootstrap.of({"dim": "time", "block": "7D", "n": 200, "kind": kind})
    windows = blocks.windows(summers.size, summers)
    assert (windows.last > windows.first).all()
    assert windows.drawn in (54, 55, 56)  # 52.6 whole weeks, and blocks at the ends of summers that are shorter
    sizes = blocks.counts(summers.size, summers).sum("time")
    assert abs(float(sizes.mean()) / summers.size - 1) < 0.02
    assert float(sizes.min()) > 0.8 * summers.size


def test_other_calendars_have_blocks_in_time() -> None:
    years = xr.date_range("2001-01-01", periods=720, calendar="360_day", use_cftime=True)
    windows = Bootstrap.of({"dim": "time", "block": "30D"}).windows(720, years)
    assert (windows.last - windows.first).tolist() == [30] * 24


def test_positions_are_those_that_are_counted() -> None:
    times = pd.date_range("2019-01-01", periods=50, freq="6h").delete(slice(20, 27))
    for kind in ("separate", "moving", "circular"):
        blocks = Bootstrap.of({"dim": "time", "block": "2D", "n": 7, "kind": kind})
        counts = blocks.counts(times.size, times).values
        for row, at in zip(counts, blocks.positions(times.size, times), strict=True):
            np.testing.assert_array_equal(row, np.bincount(at, minlength=times.size))


@pytest.mark.parametrize("kind", ["separate", "moving", "circular"])
@pytest.mark.parametrize("block", [1, 7, "2D"])
def test_sums_of_resamples_are_those_of_the_counted_points(kind: str, block: Any) -> None:
    times = pd.date_range("2019-01-01", periods=60, freq="6h").delete(slice(20, 27))
    mixed = times[np.random.default_rng(1).permutation(times.size)]
    values = xr.DataArray(np.random.default_rng(0).normal(1e3, 1, size=(2, 3, times.size)), dims=("a", "b", "time"))
    blocks = Bootstrap.of({"dim": "time", "block": block, "n": 11, "kind": kind})
    wanted = values.values @ blocks.counts(times.size, mixed).values.T
    found = blocks.add(values, mixed)
    assert found.dims == ("a", "b", "resample")
    np.testing.assert_allclose(found, wanted, rtol=1e-13)
    np.testing.assert_array_equal(blocks.add(values.chunk(a=1, time=9), mixed), found)


@pytest.mark.parametrize("settings", [{"kind": "separate"}, {"kind": "moving"}, {"compat": "ambs", "block": 3}])
def test_draws_do_not_depend_on_how_many_are_made_at_a_time(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Bootstrap.of({"dim": "time", "n": 31, "block": 2, **settings})
    windows = blocks.windows(45)
    (whole,) = blocks.draws(windows)
    counts, positions = blocks.counts(45), list(blocks.positions(45))
    monkeypatch.setattr(resampling, "_AT_ONCE", 7 * windows.drawn + 1)
    some = list(blocks.draws(windows))
    assert len(some) > 4
    np.testing.assert_array_equal(np.concatenate(some), whole)
    xr.testing.assert_identical(blocks.counts(45), counts)
    for at, before in zip(blocks.positions(45), positions, strict=True):
        np.testing.assert_array_equal(at, before)


@pytest.mark.parametrize("kind", ["separate", "moving"])
def test_memory_of_resamples_does_not_grow_with_points_times_resamples(kind: str) -> None:
    values = xr.DataArray(np.random.default_rng(0).normal(size=60_000), dims="time")
    blocks = Bootstrap.of({"dim": "time", "block": 6, "n": 400, "kind": kind})
    blocks.add(values[:100])  # what is imported on the way
    tracemalloc.start()
    blocks.add(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # how often each point is drawn would be 192 MB, the draws of 10,000 blocks 32 MB a copy


@pytest.mark.parametrize("blocks", [4, 8])
def test_bounds_from_few_blocks_are_as_wide_as_students_t_has_them(blocks: int) -> None:
    errors = xr.DataArray(autoregressive(24 * blocks, memory=0.8, repeats=600, seed=1), dims=("run", "time"))
    shares, sizes = [], []
    for student in (True, False):
        resampling = {"dim": "time", "block": 24, "n": 400, "student": student}
        found = metrics.verify(errors, 0 * errors, metrics="bias", dim="time", bootstrap=resampling)
        shares.append(float(((found["bias_lower"] <= 0) & (found["bias_upper"] >= 0)).mean()))
        tested = metrics.compare_models(errors, 0 * errors, 0 * errors, metric="bias", dim="time", bootstrap=resampling)
        sizes.append(float((tested["p_value"] <= 0.05).mean()))
    # Three standard errors of 600 drawings at 0.88 are 0.04.
    assert 0.82 < shares[0] < 0.94
    assert shares[1] < shares[0] - 0.05
    assert sizes[0] < 0.1 < sizes[1]


def test_bounds_are_students_of_block_means_where_these_are_normal() -> None:
    from scipy.stats import norm, t

    means = np.random.default_rng(0).normal(size=6)
    values = xr.DataArray(np.repeat(means, 5), dims="time")
    found = metrics.block_bootstrap(values, dim="time", block=5, n=20000)
    plain = metrics.block_bootstrap(values, dim="time", block=5, n=20000, student=False)
    factor = np.sqrt(6 / 5) * t.ppf(0.95, 5) / norm.ppf(0.95)
    wide, narrow = (float(x["upper"] - x["lower"]) for x in (found, plain))
    assert wide == pytest.approx(factor * narrow, rel=1e-12)
    assert wide == pytest.approx(2 * t.ppf(0.95, 5) * means.std(ddof=1) / np.sqrt(6), rel=0.05)
    assert found["lower"].attrs["blocks"] == 6


def test_bounds_keep_within_what_a_score_can_be() -> None:
    x = xr.DataArray(np.arange(40.0), dims="time")
    noisy = x + np.random.default_rng(0).normal(size=40)
    resampling = {"dim": "time", "block": 10, "n": 200}
    found = metrics.verify(noisy, x, metrics=["correlation", "rmse"], bootstrap=resampling)
    assert found["correlation"] < found["correlation_upper"] <= 1
    assert found["rmse_lower"] >= 0


def test_ambs_is_reproduced_to_its_draws() -> None:
    n = 168 * 11 + 30
    times = pd.date_range("2019-01-01", periods=n, freq="h", name="init_time")
    mse = xr.DataArray(
        np.random.default_rng(1).gamma(2.0, size=(n, 2)), {"init_time": times}, ("init_time", "lead_time")
    )
    found = metrics.block_bootstrap(mse, dim="init_time", compat="ambs")
    means = np.stack([mse.values[168 * b : 168 * (b + 1)].mean(0) for b in range(11)])
    drawn = np.random.RandomState(42).randint(11, size=(1000, 11))
    low, high = np.quantile(means[drawn].mean(1), [0.05, 0.95], axis=0)
    np.testing.assert_allclose(found["lower"], low, rtol=1e-12)
    np.testing.assert_allclose(found["upper"], high, rtol=1e-12)
    np.testing.assert_allclose(found["mean"], mse.mean("init_time"))
    with pytest.raises(OptionError, match="make 9 blocks of 168; wanted at least 10"):
        metrics.block_bootstrap(mse[: 168 * 10 - 1], dim="init_time", compat="ambs")
    fewer = metrics.block_bootstrap(mse, dim="init_time", compat="ambs", least=2, block="3D")
    assert (fewer["lower"] < fewer["upper"]).all()


def test_missing_values_of_given_scores_are_left_out() -> None:
    values = xr.DataArray([1.0, np.nan, *6 * [3.0]], dims="time", attrs={"units": "K2"})
    found = metrics.block_bootstrap(values, dim="time", n=400, student=False)
    assert found["mean"].item() == pytest.approx(19 / 7)
    assert 1.0 < found["lower"].item() < found["upper"].item() == 3.0
    assert found["upper"].attrs["units"] == "K2"


def pair() -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(0)
    times = pd.date_range("2019-01-01", periods=30)
    coords = {"time": times, "lead_time": [1, 2, 3], "latitude": [10.0, 20.0], "longitude": [0.0, 10.0, 20.0]}
    t = xr.DataArray(rng.normal(size=(30, 3, 2, 3)), coords, list(coords), name="t", attrs={"units": "K"})
    return (t + 0.5 * rng.normal(size=t.shape)).assign_attrs(t.attrs), t


def largest(prediction: xr.DataArray, target: xr.DataArray, *, dim: Any = None) -> xr.DataArray:
    return abs(prediction - target).max(dim)


@pytest.mark.parametrize("metric", ["wasserstein", largest])
def test_scores_that_are_no_sums_are_those_of_drawn_fields(metric: Any, no_compute: Any) -> None:
    p, t = pair()
    dim, options = (
        ("time", "latitude", "longitude"),
        {"dim": "time", "block": "5D", "n": 12, "seed": 3, "student": False},
    )
    name = metric if isinstance(metric, str) else "largest"
    function = metrics.wasserstein if name == "wasserstein" else largest
    found = metrics.verify(p, t, metrics=metric, dim=dim, bootstrap=options)
    drawn = np.random.default_rng(3).integers(6, size=(12, 6))
    samples = []
    for row in drawn:
        at = np.concatenate([np.arange(5 * b, 5 * b + 5) for b in row])
        samples.append(function(p.isel(time=at), t.isel(time=at), dim=dim).values)
    low, high = np.quantile(samples, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(found[f"{name}_lower"], low, rtol=1e-6)
    np.testing.assert_allclose(found[f"{name}_upper"], high, rtol=1e-6)
    assert found[f"{name}_lower"].dims == ("lead_time",)
    with no_compute():
        lazy = metrics.verify(p.chunk(time=7, lead_time=1), t.chunk(time=9), metrics=metric, dim=dim, bootstrap=options)
    assert all(v.chunks is not None for v in lazy.values())
    xr.testing.assert_allclose(lazy, found, rtol=1e-6)


def test_partial_functions_keep_their_keywords_when_resampled() -> None:
    p, t = pair()
    halves = functools.partial(metrics.wasserstein, weights=None)
    found = metrics.verify(p, t, metrics=halves, dim=None, bootstrap={"dim": "time", "n": 8})
    assert found["wasserstein"].item() == metrics.wasserstein(p, t, dim=None, weights=None).item()
    assert found["wasserstein_lower"] <= found["wasserstein_upper"]


def test_what_is_wrong_with_blocks_is_said() -> None:
    p, t = pair()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"block": 0}, "block=0; wanted block of at least 1: a number of points, or a time such as '7D'"),
        ({"block": "week"}, "block='week'; wanted block of at least 1"),
        ({"block": "-1D"}, "wanted block of at least 1"),
        ({"block": None}, "block=None; wanted"),
        ({"kind": "stationary"}, "kind='stationary', remainder='keep'; wanted"),
        ({"compat": "wb2"}, "compat='wb2'; wanted 'ambs' or None"),
        ({"least": 1}, "least of at least 2"),
        ({"block": "20D"}, "30 points of 'time' make 1 blocks of 20D; wanted at least 2"),
        ({"compat": "ambs"}, "make 0 blocks of 168; wanted at least 10"),
    ]
    for options, text in wrong:
        with pytest.raises(OptionError, match=text):
            metrics.verify(p, t, metrics="mse", bootstrap={"dim": "time", **options})
    with pytest.raises(OptionError, match="'lead_time' has labels of type int64; wanted dates along it, or a block in"):
        metrics.verify(p, t, metrics="mse", bootstrap={"dim": "lead_time", "block": "1D"})
    far = pd.DatetimeIndex(["2019-01-01T00", "2019-01-01T01", "2019-01-25T00"])
    with pytest.raises(OptionError, match="3 points of 'time' lie in 2 blocks of 10D; wanted at least 3"):
        Bootstrap.of({"dim": "time", "block": "10D", "least": 3}).windows(3, far)
    with pytest.raises(DimensionError, match="'init' is not in"):
        metrics.block_bootstrap(p, dim="init")
    with pytest.raises(DimensionError, match="'time' is not averaged over"):
        metrics.verify(p, t, metrics=largest, dim="latitude", bootstrap={"dim": "time"})
