from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scores.probability
import xarray as xr
from metric_fields import ensemble

from xatmo import Grid, metrics
from xatmo.errors import DimensionError, OptionError


@pytest.mark.parametrize(("estimator", "theirs"), [("fair", "fair"), ("ensemble", "ecdf")])
def test_crps_agrees_with_scores(estimator, theirs):
    p, t = ensemble()
    found = metrics.crps(p, t, dim="time", estimator=estimator)
    expected = scores.probability.crps_for_ensemble(p, t, "member", method=theirs, reduce_dims=["time"])
    np.testing.assert_allclose(found, expected.transpose(*found.dims), rtol=1e-10)
    areas = xr.DataArray(Grid.of(t).areas, dims=("latitude", "longitude"))
    whole = metrics.crps(p, t, estimator=estimator).item()
    assert whole == pytest.approx(float(expected.weighted(areas).mean()))
    assert found.attrs == {"long_name": "continuous ranked probability score of temperature", "units": "K",
                           "estimator": estimator, "history": found.attrs["history"]}  # fmt: skip


def test_crps_of_one_member_is_the_absolute_error():
    p, t = ensemble(members=1)
    found = metrics.crps(p, t, estimator="ensemble")
    assert found.item() == pytest.approx(metrics.mae(p.isel(member=0), t).item())


def test_crps_of_a_gaussian_ensemble():
    rng = np.random.default_rng(0)
    p = xr.DataArray(rng.normal(size=(4, 200_000)), dims=("member", "time"))
    t = xr.DataArray(rng.normal(size=200_000), dims="time")
    # Expected, of truth and members from one Gaussian: 1 / sqrt(pi).
    assert metrics.crps(p, t).item() == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)


def test_large_values_keep_their_digits():
    p, t = ensemble(n=2)
    high = metrics.crps((p + 1e8).assign_attrs(p.attrs), (t + 1e8).assign_attrs(t.attrs))
    assert high.item() == pytest.approx(metrics.crps(p, t).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["number", "realization", "m"])
def test_members_are_found(name):
    p, t = ensemble(n=2)
    other = p.rename(member=name)
    if name == "m":
        other = other.assign_coords(m=("m", np.arange(5), {"standard_name": "realization"}))
    assert metrics.crps(other, t).item() == pytest.approx(metrics.crps(p, t).item())


def test_members_are_missing():
    p, t = ensemble(n=2)
    with pytest.raises(DimensionError, match=r"crps needs an ensemble; the prediction has dimensions"):
        metrics.crps(t, t)
    with pytest.raises(DimensionError, match="crps needs 2 members or more; 1 came along 'member'"):
        metrics.crps(p.isel(member=[0]), t)
    with pytest.raises(DimensionError, match="spread_skill needs 2 members or more"):
        metrics.spread_skill(p.isel(member=[0]), t)
    with pytest.raises(DimensionError, match="'member' holds the members of the prediction; leave it out of dim"):
        metrics.crps(p, t, dim="member")
    with pytest.raises(DimensionError, match="rank_histogram: the target has 'member' too"):
        metrics.rank_histogram(p, p)
    with pytest.raises(OptionError, match="crps: estimator='best'; wanted 'fair' or 'ensemble'"):
        metrics.crps(p, t, estimator="best")


@pytest.mark.parametrize("fair", [True, False])
def test_brier_agrees_with_scores(fair):
    import operator

    p, t = ensemble()
    levels = [-0.5, 0.0, 1.2]
    estimator = "fair" if fair else "ensemble"
    found = metrics.brier_score(p, t, threshold=levels, dim="time", estimator=estimator)
    expected = scores.probability.brier_score_for_ensemble(
        p, t, "member", levels, reduce_dims=["time"], fair_correction=fair, event_threshold_operator=operator.ge
    )
    np.testing.assert_allclose(found, expected.transpose(*found.dims), rtol=1e-10, atol=1e-14)
    assert found.threshold.attrs["units"] == "K"


def test_integral_of_brier_over_thresholds_is_crps():
    p, t = ensemble(n=2)
    levels = np.arange(-8, 8, 0.02)
    by_level = metrics.brier_score(p, t, threshold=levels)
    assert (by_level.sum() * 0.02).item() == pytest.approx(metrics.crps(p, t).item(), rel=2e-3)


def test_brier_needs_a_threshold():
    p, t = ensemble(n=2)
    with pytest.raises(OptionError, match="brier_score: threshold=None; wanted a number"):
        metrics.verify(p, t, metrics="brier_score")
    with pytest.raises(OptionError, match="threshold='high'; wanted a number"):
        metrics.brier_score(p, t, threshold="high")
    found = metrics.verify(p, t, metrics=partial(metrics.brier_score, threshold=0.3))
    assert found["brier_score"].item() == metrics.brier_score(p, t, threshold=0.3).item()


def test_energy_score_of_single_values_is_crps():
    p, t = ensemble(n=3)
    single = metrics.energy_score(p.expand_dims(part=1), t.expand_dims(part=1), over="part")
    assert single.item() == pytest.approx(metrics.crps(p, t).item(), rel=1e-12)


@pytest.mark.parametrize("estimator", ["fair", "ensemble"])
def test_energy_score_by_hand(estimator):
    p, t = ensemble(n=2, members=4)
    areas = Grid.of(t).areas
    w = areas / areas.sum()
    x, y = p.transpose("member", ...).values, t.values
    near = np.sqrt((w * (x - y) ** 2).sum((-2, -1))).mean(0)
    apart = np.sqrt((w * (x[:, None] - x[None]) ** 2).sum((-2, -1))).sum((0, 1))
    expected = near - apart / (2 * (4 * 3 if estimator == "fair" else 16))
    found = metrics.energy_score(p, t, dim="time", estimator=estimator)
    assert found.item() == pytest.approx(expected.mean(), rel=1e-10)
    plain = metrics.verify(p, t, metrics=partial(metrics.energy_score, estimator=estimator), weights=None)
    near = np.sqrt(((x - y) ** 2).mean((-2, -1))).mean(0)
    apart = np.sqrt(((x[:, None] - x[None]) ** 2).mean((-2, -1))).sum((0, 1))
    expected = near - apart / (2 * (4 * 3 if estimator == "fair" else 16))
    assert plain["energy_score"].item() == pytest.approx(expected.mean(), rel=1e-10)


def test_energy_score_refuses():
    p, t = ensemble(n=2)
    with pytest.raises(OptionError, match=r"energy_score: over=\('level',\); wanted dimensions of the vectors"):
        metrics.energy_score(p, t, over="level")


def test_spread_of_a_calibrated_ensemble_matches_its_error():
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.5, 3.0, size=100_000)
    p = xr.DataArray(scale * rng.normal(size=(5, scale.size)), dims=("member", "time"), attrs={"units": "K"})
    t = xr.DataArray(scale * rng.normal(size=scale.size), dims="time", attrs={"units": "K"})
    found = metrics.spread_skill(p, t)
    assert found["ratio"].item() == pytest.approx(1, abs=0.01)
    assert found["error"].item() == pytest.approx(np.sqrt((scale**2).mean() * 1.2), rel=0.01)
    assert metrics.verify(p, t, metrics="spread_skill")["spread_skill"].item() == pytest.approx(found["ratio"].item())
    edges = [0.5, 1.0, 2.0, 4.0]
    binned = metrics.spread_skill(p, t, bins=edges)
    spread = np.sqrt(p.var("member", ddof=1) * 1.2).values
    for k in range(3):
        inside = (spread >= edges[k]) & (spread < edges[k + 1])
        assert binned["weight"].values[k] == inside.sum()
        assert binned["spread"].values[k] == pytest.approx(np.sqrt((spread[inside] ** 2).mean()))
        error = (p.mean("member") - t).values[inside]
        assert binned["error"].values[k] == pytest.approx(np.sqrt((error**2).mean()))
    np.testing.assert_array_equal(binned["right"], edges[1:])
    with pytest.raises(OptionError, match="bins sort points by their spread; call it by itself"):
        p.atmo.verify(t, metrics=partial(metrics.spread_skill, bins=edges))
    with pytest.raises(OptionError, match="wanted rising edges of the spread"):
        metrics.spread_skill(p, t, bins=[1.0, 0.0])


def test_roots_are_taken_after_averaging():
    p, t = ensemble(n=4)
    spread = np.sqrt(6 / 5 * p.var("member", ddof=1).mean("time"))
    np.testing.assert_allclose(metrics.spread_skill(p, t, dim="time")["spread"], spread, rtol=1e-10)


def test_ensemble_scores_with_a_bootstrap():
    p, t = ensemble(n=12)
    names = ["crps", "spread_skill", "energy_score"]
    found = metrics.verify(p, t, metrics=names, bootstrap={"dim": "time", "block": 2, "n": 50})
    for name in names:
        assert found[f"{name}_lower"] < found[name] < found[f"{name}_upper"]


def test_rank_histogram_agrees_with_scores():
    p, t = ensemble()
    found = metrics.rank_histogram(p, t, weights=None)
    theirs = scores.probability.rank_histogram(p, t, "member")
    np.testing.assert_allclose(found["frequency"], theirs, rtol=1e-12)
    np.testing.assert_allclose(found["count"], theirs * t.size, rtol=1e-12)
    weighed = metrics.rank_histogram(p, t)
    ranks = (p < t).sum("member").values
    areas = np.broadcast_to(Grid.of(t).areas, t.shape)
    for k in range(6):
        assert weighed["frequency"].values[k] == pytest.approx(areas[ranks == k].sum() / areas.sum())


def test_ranks_of_one_more_member_are_uniform_and_others_not():
    import scipy.stats

    rng = np.random.default_rng(5)
    x = xr.DataArray(rng.normal(size=(5, 4000)), dims=("member", "time"))
    truth = x.isel(member=0)
    found = metrics.rank_histogram(x.isel(member=slice(1, None)), truth)
    expected = scipy.stats.chisquare(found["count"].values)
    assert found["chi_square"].item() == pytest.approx(expected.statistic)
    assert found["p_value"].item() == pytest.approx(expected.pvalue)
    assert found["p_value"] > 0.01
    narrow = metrics.rank_histogram(x.isel(member=slice(1, None)) / 2, truth)
    assert narrow["p_value"] < 1e-6
    assert narrow["frequency"].values[[0, -1]].min() > 0.25


def test_ties_are_drawn_by_the_seed():
    p, t = ensemble(n=60)
    p, t = p.clip(min=0.5), t.clip(min=0.5)  # as of rain: most are equal
    first, again, other = (metrics.rank_histogram(p, t, weights=None, seed=s)["count"] for s in (0, 0, 1))
    xr.testing.assert_equal(first, again)
    assert (first != other).any()
    dry = xr.full_like(p, 0.5), xr.full_like(t, 0.5)
    even = metrics.rank_histogram(*dry, weights=None)
    assert even["p_value"] > 1e-3
    assert even["count"].sum() == t.size


def test_reliability_and_the_parts_of_the_brier_score():
    p, t = ensemble(n=20)
    found = metrics.reliability(p, t, threshold=0.4)
    brier = metrics.brier_score(p, t, threshold=0.4, estimator="ensemble").item()
    parts = found["reliability"] - found["resolution"] + found["uncertainty"]
    assert parts.item() == pytest.approx(brier, rel=1e-10)
    np.testing.assert_allclose(found["forecast_probability"], np.arange(6) / 5)
    probability = (p > 0.4).mean("member")
    areas = xr.DataArray(Grid.of(t).areas, dims=("latitude", "longitude")).broadcast_like(t)
    some = (abs(probability - 0.4) < 1e-9).transpose(*t.dims).values
    expected = np.average((t > 0.4).values[some], weights=areas.transpose(*t.dims).values[some])
    assert found["observed_frequency"].values[2] == pytest.approx(expected)
    assert found["weight"].sum().item() == pytest.approx(1)
    coarse = metrics.reliability(p, t, threshold=0.4, bins=2)
    assert coarse.sizes["bin"] == 2
    with pytest.raises(OptionError, match="bins=0; wanted how many"):
        metrics.reliability(p, t, threshold=0.4, bins=0)
    with pytest.raises(OptionError, match="wanted one number"):
        metrics.reliability(p, t, threshold=[0.4, 1.0])


def test_a_missing_member_leaves_the_point_out():
    p, t = ensemble(n=3)
    values = p.values.copy()
    values[0, :, :, 0] = np.nan
    gap = p.copy(data=values)
    kept = {"time": slice(1, None)}
    assert metrics.crps(gap, t).item() == pytest.approx(metrics.crps(p.isel(kept), t.isel(kept)).item())
    for name in ("rank_histogram", "spread_skill"):
        a, b = getattr(metrics, name)(gap, t), getattr(metrics, name)(p.isel(kept), t.isel(kept))
        xr.testing.assert_allclose(a, b)
