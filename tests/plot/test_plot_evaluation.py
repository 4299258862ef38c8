"""Drawings of evaluations: members, places, moments, errors in time, exceedances, power ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from scipy.stats import gaussian_kde

import xatmo
from xatmo import metrics, plot
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.plot import style


def drawn(axes: Any) -> Axes:
    ax: Axes = axes.ravel()[0] if isinstance(axes, np.ndarray) else axes
    ax.figure.canvas.draw()  # warnings are errors
    return ax


@pytest.fixture(scope="module")
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    """Truth and a smoother prediction of eight days."""
    grid = xatmo.Grid.regular(12, 24, poles=False)
    coords = {"time": pd.date_range("2001-01-01", periods=8), **grid.coords()}
    values = np.random.default_rng(0).normal(size=(8, *grid.shape))
    truth = xr.DataArray(values, coords, ("time", "latitude", "longitude"), "t2m", {"units": "K", "long_name": "t"})
    return (0.5 * truth + 1).assign_attrs(truth.attrs), truth


# ---------------------------------------------------------------------- members
def test_rank_histograms_of_any_size_are_even_at_one() -> None:
    few = xr.DataArray([10, 10, 10], dims="rank")
    many = xr.DataArray([[20, 0, 5, 5, 10]] * 2, dims=("time", "rank"))
    bars = drawn(plot.rank_histogram(few))
    assert [p.get_height() for p in bars.patches] == [1, 1, 1]
    assert bars.get_xlabel() == "rank of the truth among 2 members"
    both = drawn(plot.rank_histogram({"few": few, "many": many}))
    steps = [p.get_data() for p in both.patches]
    np.testing.assert_allclose(steps[1].values, np.array([20, 0, 5, 5, 10]) * 5 / 40)
    np.testing.assert_allclose(steps[0].edges, np.linspace(0, 1, 4))
    with pytest.raises(DimensionError, match=r"ranks of 'x' have dimensions \('time',\); wanted 'rank' among them"):
        plot.rank_histogram({"x": xr.DataArray([1], dims="time")})
    with pytest.raises(OptionError, match="rank_histogram got nothing to draw"):
        plot.rank_histogram({})


def test_what_the_metrics_of_members_give_can_be_drawn(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    prediction, truth = pair
    rng = np.random.default_rng(1)
    members = xr.concat([prediction + rng.normal(size=truth.shape) for _ in range(4)], "member")
    members.attrs = truth.attrs
    drawn(metrics.rank_histogram(members, truth).atmo.plot.rank_histogram())
    one = drawn(plot.spread_skill({"a": metrics.spread_skill(members, truth)}))
    assert one.get_xlabel() == "spread of the members (K)"
    lines = drawn(plot.spread_skill(metrics.spread_skill(members, truth, dim=["latitude", "longitude"])))
    assert [line.get_label() for line in lines.lines] == ["error of the mean", "spread"]


def test_members_are_lines_or_maps(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    prediction, truth = pair
    members = xr.concat([prediction, truth, prediction - 2], "member").assign_attrs(truth.attrs)
    ax = drawn(plot.members(members.isel(latitude=3, longitude=4), truth.isel(latitude=3, longitude=4)))
    assert ax.get_ylabel() == "t (K)"
    black = next(line for line in ax.lines if line.get_label() == "truth")
    np.testing.assert_allclose(black.get_ydata(), truth.isel(latitude=3, longitude=4))
    axes = members.isel(time=0).rename(member="number").atmo.plot.members(truth=truth.isel(time=0), n=2)
    drawn(axes)
    assert [a.get_title() for a in axes] == [
        "truth", "mean of the members", "member 0", "member 1", "spread of the members",
    ]  # fmt: skip
    limits = [a.collections[0].get_clim() for a in axes]
    assert limits[0] == limits[1] == limits[2]
    assert limits[4][0] >= 0
    with pytest.raises(DimensionError, match="Ask a model for them with members="):
        plot.members(truth)


def test_spread_skill_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(OptionError, match="spread_skill got nothing to draw"):
        plot.spread_skill({})
    with pytest.raises(OptionError, match=r"spread_skill of 'a' got \['crps'\]; wanted a spread and an error"):
        plot.spread_skill({"a": xr.Dataset({"crps": 1.0})})
    two = xr.Dataset({n: (("x", "y"), np.ones((2, 2))) for n in ("spread", "rmse")})
    with pytest.raises(DimensionError, match="wanted one at most"):
        plot.spread_skill(two)
    with pytest.raises(OptionError, match="spread_skill: a DataArray came"):
        xr.DataArray(1.0).atmo.plot.spread_skill()


# ---------------------------------------------------------------------- maps and lines
def test_moments_have_three_columns_and_two_ranges(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    found = metrics.moments(*pair, order=2)
    axes = plot.moments({"a": found})
    drawn(axes)
    assert axes.size == 6
    assert [a.get_title() for a in axes[:3]] == ["truth, mean (a)", "a, mean", "difference, mean (a)"]
    limits = [a.collections[0].get_clim() for a in axes]
    assert limits[0] == limits[1] != limits[3] == limits[4]
    assert limits[2] != limits[5]
    assert limits[2][0] == -limits[2][1]
    assert found.atmo.plot.moments(orders=["std"]).size == 3
    with pytest.raises(VariableError, match="no 'target_skewness'; there are"):
        plot.moments(found, orders=["skewness"])
    with pytest.raises(OptionError, match="moments got nothing to draw"):
        plot.moments({})


def test_exceedances_share_a_range_by_threshold(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    found = metrics.high_pass_exceedance(*pair, lmin=3, thresholds=[0.2, 0.5])
    axes = plot.exceedances({"a": found, "b": found})
    drawn(axes)
    assert [a.get_title() for a in axes[:2]] == ["a\nerror above 0.2 K", "a\nerror above 0.5 K"]
    shown = axes[0].collections[0].get_array()
    np.testing.assert_allclose(np.sort(shown.ravel()), np.sort(100 * found.frequency[0].values.ravel()))
    assert len(found.atmo.plot.exceedances(quantity="rms")) == 1
    with pytest.raises(OptionError, match="exceedances got nothing to draw"):
        plot.exceedances({})
    with pytest.raises(VariableError, match="no 'beauty'"):
        plot.exceedances(found, quantity="beauty")


def test_temporal_errors_are_pale_and_their_running_means_bold(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    found = metrics.temporal_error(*pair, window="3D")
    axes = plot.temporal_error({"a": found})
    drawn(axes)
    assert axes.shape == (2, 2)
    assert axes[0, 0].get_ylabel() == "mean square error (K²)"
    pale, bold = axes[0, 0].lines
    assert pale.get_alpha() < 1 < bold.get_linewidth()
    np.testing.assert_allclose(pale.get_ydata(), found.mse)
    single = found.atmo.plot.temporal_error(quantities=["mse"], distribution=False, title="one")
    assert single.shape == (1, 1)
    with pytest.raises(OptionError, match="temporal_error got nothing to draw"):
        plot.temporal_error({})
    with pytest.raises(OptionError, match="'mse' of 'a' has dimensions"):
        plot.temporal_error({"a": found.expand_dims(level=2)})


def test_power_ratios_stand_between_their_lines(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    ratio = metrics.power_ratio(*pair)
    ax = drawn(plot.power_ratio({"half": ratio}))
    line = next(x for x in ax.lines if x.get_label() == "half")
    np.testing.assert_allclose(line.get_ydata(), 0.25, rtol=1e-6)
    levels = sorted(float(x.get_ydata()[0]) for x in ax.lines if x is not line)
    np.testing.assert_allclose(levels, [1 / 1.5, 1, 1.5])
    assert ax.get_yscale() == "log"
    drawn(ratio.atmo.plot.power_ratio(factor=2))
    with pytest.raises(OptionError, match="factor=1; wanted a number above 1"):
        plot.power_ratio(ratio, factor=1)
    with pytest.raises(OptionError, match="power_ratio got nothing to draw"):
        plot.power_ratio({})
    with pytest.raises(OptionError, match=r"ratios by \['degree', 'wavenumber'\] came"):
        plot.power_ratio({"a": ratio, "b": ratio.rename(degree="wavenumber")})


# ---------------------------------------------------------------------- places
def places() -> dict[str, xr.DataArray]:
    coords = {"place": ["Lima", "Oslo", "Suva"], "latitude": ("place", [-12.0, 60, -18]),
              "longitude": ("place", [283.0, 11, 178])}  # fmt: skip
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[0, 1] = np.nan
    truth = xr.DataArray(values, coords, ("time", "place"), "t2m", {"units": "degC"})
    return {"truth": truth, "model": (truth + 1).assign_attrs(truth.attrs)}


def test_boxes_show_quartiles_and_whiskers_at_9_and_91() -> None:
    ax = drawn(plot.cities(places(), places=["Oslo"]))
    sample = places()["truth"].sel(place="Oslo").dropna("time").values
    box = ax.patches[0].get_path().vertices[:, 1]
    np.testing.assert_allclose([box.min(), box.max()], np.percentile(sample, [25, 75]))
    ends = np.concatenate([np.atleast_1d(x.get_ydata()) for x in ax.lines[:2]])
    np.testing.assert_allclose([ends.min(), ends.max()], np.percentile(sample, [9, 91]))
    assert ax.get_ylabel() == "t2m (°C)"
    assert ax.patches[0].get_facecolor()[:3] == (0, 0, 0)  # the truth is black


def test_densities_integrate_to_one_and_places_have_a_map() -> None:
    axes = plot.cities(places(), kind="density", places=[0, "Suva"])
    drawn(axes)
    assert [a.get_title() for a in axes] == ["Lima", "Suva"]
    x, y = axes[0].lines[0].get_data()
    np.testing.assert_allclose(y, gaussian_kde(places()["truth"][:, 0])(x), rtol=0.02, atol=1e-3)
    assert np.trapezoid(y, x) == pytest.approx(1, abs=0.02)
    ax = drawn(places()["truth"].atmo.plot.cities(kind="map"))
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 0], [-77, 11, 178])
    near = places()["truth"].isel(place=[0]).assign_coords(longitude=("place", [-77.0]))
    drawn(plot.cities(near, kind="map"))
    drawn(plot.cities(places()["truth"] * 0, kind="density"))


def test_places_are_refused_by_name() -> None:
    with pytest.raises(VariableError, match="no place 'Rome'; there are 3: Lima, Oslo, Suva"):
        plot.cities(places(), places=["Rome"])
    with pytest.raises(DimensionError, match="Select them: metrics.cities"):
        plot.cities(xr.DataArray([1.0], dims="time"))
    with pytest.raises(OptionError, match="wanted some, and 'box', 'density' or 'map'"):
        plot.cities(places(), kind="pie")
    with pytest.raises(VariableError, match="places along 'place' have no latitude"):
        plot.cities(places()["truth"].drop_vars("latitude"), kind="map")


def test_selected_places_and_their_table(pair: tuple[xr.DataArray, xr.DataArray]) -> None:
    prediction, truth = pair
    at = {n: metrics.cities(da, n=5) for n, da in {"truth": truth, "a": prediction, "b": truth + 9}.items()}
    drawn(plot.cities(at))
    table = metrics.city_table({n: at[n] for n in ("a", "b")}, at["truth"])
    ax = drawn(plot.city_table(table, title="places"))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a against b"]  # and not its mirror image
    assert [t.get_text() for t in ax.texts] == ["5"]
    assert ax.patches[0].get_facecolor() != ax.patches[2].get_facecolor()
    with pytest.raises(VariableError, match=r"wanted \['better', 'equal', 'worse'\]"):
        plot.city_table(pd.DataFrame({"better": [1]}))
    with pytest.raises(OptionError, match="the table has no row"):
        plot.city_table(table.iloc[:0])


# ---------------------------------------------------------------------- learning curves
def histories() -> dict[str, pd.DataFrame]:
    plain = pd.DataFrame({"step": [1, 2, 3, 4], "epoch": 0, "loss": [4.0, 3, 2, 1], "learning_rate": 1e-3})
    plain["validation_loss"] = [np.nan, 3, np.nan, 2]
    late = plain.assign(content=plain.loss, adversarial=[np.nan, np.nan, 0.7, 0.6], true_positive=0.5, top1=0.9)
    return {"plain": plain, "srgan": late}


def test_one_run_shows_parts_and_shades_its_adversarial_phase() -> None:
    ax = drawn(plot.learning_curve(histories()["srgan"]))
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts == ["loss", "validation loss", "content", "adversarial", "adversarial phase"]
    (shade,) = ax.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (2, 4)
    ring = next(x for x in ax.lines if x.get_markersize() == 9)
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (4, 2)


def test_several_runs_have_a_colour_each() -> None:
    ax = drawn(plot.learning_curve(histories()))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["plain", "srgan"]
    assert {x.get_color() for x in ax.lines} == set(style.COLOURS[:2])
    assert sum(x.get_linestyle() == ":" for x in ax.lines) == 1  # where the adversarial phase begins
    chosen = plot.learning_curve(histories(), losses=["adversarial"])
    assert sum(len(x.get_xdata()) == 2 for x in chosen.lines) == 2
    with pytest.raises(OptionError, match=r"wanted \['beauty'\]; fit the task first"):
        plot.learning_curve(histories(), losses=["beauty"])
