"""Pictures of verification: what is drawn is what was given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from forecast_fields import forecast_of, record

from xatmo import metrics, plot
from xatmo.errors import DimensionError, OptionError, VariableError

SPACE = ["init_time", "lat", "lon"]


@pytest.fixture(scope="module")
def two() -> dict[str, xr.Dataset]:
    truth = record()
    options = {"metrics": ["rmse", "bias"], "dim": SPACE, "bootstrap": {"dim": "init_time", "n": 20, "block": 4}}
    return {n: metrics.verify(forecast_of(truth, seed=k), truth, **options) for k, n in enumerate(["one", "other"])}


def test_scores_by_lead(two):
    axes = plot.score_by_lead(two, title="both")
    assert [ax.get_ylabel() for ax in axes] == ["RMSE (K)", "bias (K)"]
    lines = [line for line in axes[0].lines if line.get_label() in two]
    for line, ds in zip(lines, two.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), ds["rmse"])
    bands = axes[0].collections
    assert len(bands) == 2
    low = bands[0].get_paths()[0].vertices[:, 1].min()
    assert low == pytest.approx(float(two["one"]["rmse_lower"].min()))
    assert len({line.get_color() for line in lines}) == 2
    many = {f"model {k}": two["one"][["rmse"]] for k in range(9)}
    lines = plot.score_by_lead(many, ["rmse"])[0].lines
    assert len({(x.get_color(), x.get_linestyle()) for x in lines if x.get_label() in many}) == 9
    texts = plt.gcf().legends[0].get_texts()
    assert [t.get_text() for t in texts] == list(many)


def test_errors_of_scores_by_lead(two):
    with pytest.raises(OptionError, match=r"scores \['crps'\] of \['rmse', 'bias'\]"):
        plot.score_by_lead(two, ["crps"])
    with pytest.raises(DimensionError, match="wanted the lead alone"):
        plot.score_by_lead(two["one"].mean("lead_time"))


def test_conditional_quantile_panels():
    truth = record()
    found = metrics.conditional_quantiles(forecast_of(truth), truth, bin_width=2.0, dim=SPACE)
    axes = plot.conditional_quantiles(found, columns=2)
    assert axes.shape == (4, 2)
    assert [ax.get_title() for ax in axes[:, 0]] == [f"lead {k} h" for k in range(1, 5)]
    upper, lower = axes[1]
    median = next(line for line in upper.lines if line.get_label() == "median")
    shown = np.where(found["count"][1] < 10, np.nan, found["quantiles"][1, :, 1])
    np.testing.assert_array_equal(median.get_ydata(), shown)
    np.testing.assert_array_equal(median.get_xdata(), (found["left"] + found["right"]) / 2)
    heights = [bar.get_height() for bar in lower.patches]
    np.testing.assert_allclose(heights, 100 * found["frequency"][1])
    assert axes[0, 0].get_ylabel() == "target (K)"
    assert axes[2, 1].get_xlabel() == "forecast (K)"
    limits = {tuple(ax.get_ylim()) for ax in axes[:, 0]}
    assert len(limits) == 1
    back = metrics.conditional_quantiles(forecast_of(truth), truth, by="target", bins=4)
    assert plot.conditional_quantiles(back)[0, 1].get_xlabel() == "target (K)"
    assert len(plot.conditional_quantiles(found, leads=[0, 3])) == 2
    with pytest.raises(VariableError, match="no 'quantiles'"):
        plot.conditional_quantiles(found[["frequency"]])
    with pytest.raises(DimensionError, match="wanted bin, quantile and one more"):
        plot.conditional_quantiles(found.expand_dims(member=2))
    with pytest.raises(DimensionError, match="draws 30 panels"):
        plot.conditional_quantiles(found, leads=[0] * 30)


def test_mean_days():
    truth = record(72)
    late = truth.assign_coords(time=truth.time + np.timedelta64(2, "h"))[:-2]
    late = late.sel(time=late.time[:48])
    found = metrics.diurnal_error(late, truth.sel(time=late.time))
    axes = plot.diurnal_cycle({"late": found}, title="days")
    lines = {line.get_label(): line for line in axes[0].lines}
    assert list(lines) == ["truth", f"late, {found['phase_error'].item():+.1f} h"]
    np.testing.assert_array_equal(lines["truth"].get_ydata()[:24], found["target_cycle"])
    assert lines["truth"].get_ydata()[24] == found["target_cycle"][0]
    assert axes[1].get_ylabel() == "RMSE of the mean day (K)"
    with pytest.raises(OptionError, match="nothing to draw"):
        plot.diurnal_cycle({})
    with pytest.raises(VariableError, match="no 'rmse' of 'late'"):
        plot.diurnal_cycle({"late": found.drop_vars("rmse")})
    with pytest.raises(DimensionError, match="wanted hour alone"):
        plot.diurnal_cycle(found.expand_dims(lat=2))


def test_boxes_of_skill():
    truth = record()
    forecasts = {n: forecast_of(truth, seed=k) for k, n in enumerate(["one", "other"])}
    usual = metrics.climatology(truth, by="hour")
    skills = {n: metrics.skill_score(x, truth, reference=usual, dim=["lat", "lon"]) for n, x in forecasts.items()}
    ax = plot.skill_boxes(skills, title="skill")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    boxes = [p for p in ax.patches if hasattr(p, "get_path")]
    assert len(boxes) == 8
    quartiles = np.quantile(skills["one"].values[:, 0], [0.25, 0.75])
    y = boxes[0].get_path().vertices[:, 1]
    np.testing.assert_allclose([y.min(), y.max()], quartiles)
    assert len(plot.skill_boxes(skills["one"], leads=[0, 3]).get_xticks()) == 2
    with pytest.raises(OptionError, match="nothing to draw"):
        plot.skill_boxes({})
    with pytest.raises(DimensionError, match="wanted a lead and one more"):
        plot.skill_boxes({"one": skills["one"].mean("init_time")})


def test_reliability_diagrams():
    rng = np.random.default_rng(0)
    truth = xr.DataArray(rng.normal(size=600), dims="time")
    members = xr.DataArray(rng.normal(size=(5, 600)), dims=("member", "time"))
    found = {n: metrics.reliability(s * members, truth, threshold=0.4) for n, s in (("wide", 2.0), ("narrow", 0.5))}
    ax = plot.reliability(found, title="above 0.4")
    points = ax.collections[0].get_offsets()
    shown = np.column_stack([found["wide"][v] for v in ("forecast_probability", "observed_frequency")])
    np.testing.assert_allclose(np.ma.filled(points, np.nan), shown)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["wide", "narrow"]
    base = float((truth > 0.4).mean())
    assert base in [pytest.approx(line.get_ydata()[0]) for line in ax.lines if line.get_linestyle() == ":"]
    with pytest.raises(OptionError, match="nothing to draw"):
        plot.reliability({})
    with pytest.raises(VariableError, match="no 'weight'"):
        plot.reliability(found["wide"].drop_vars("weight"))
    with pytest.raises(DimensionError, match="wanted bin alone"):
        plot.reliability(found["wide"].expand_dims(lat=2))
