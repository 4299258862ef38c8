"""Events and neighbourhoods against the library `scores` and closed forms."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import xarray as xr
from metric_fields import box, moved, pair
from scores.categorical import BasicContingencyManager, ThresholdEventOperator
from scores.spatial import fss_2d

from xatmo import Grid, metrics
from xatmo.errors import ChunkError, DimensionError, OptionError

HORIZONTAL = ["lat", "lon"]


def boxes() -> tuple[xr.DataArray, xr.DataArray]:
    t = box(0)
    return (0.7 * t + 0.6 * box(1)).assign_attrs(t.attrs).rename("t"), t


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("pod", "probability_of_detection"),
        ("far", "false_alarm_ratio"),
        ("csi", "critical_success_index"),
        ("frequency_bias", "frequency_bias"),
    ],
)
def test_contingency_scores_are_those_of_scores(name, theirs):
    p, t = boxes()
    table = ThresholdEventOperator(default_event_threshold=0.5).make_contingency_manager(p, t)
    expected = getattr(table.transform(preserve_dims=["time"]), theirs)()
    found = getattr(metrics, name)(p, t, threshold=0.5, dim=HORIZONTAL, weights=None)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    several = getattr(metrics, name)(p, t, threshold=[0.0, 0.5], dim=HORIZONTAL, weights=None)
    np.testing.assert_allclose(several.sel(threshold=0.5), expected, rtol=1e-12)
    assert several.threshold.attrs["units"] == "K"
    assert isinstance(table.transform(), BasicContingencyManager)


def test_area_weights_and_gaps_of_events():
    p, t = pair()
    weights = xr.DataArray(Grid.of(t).areas, dims=("latitude", "longitude"))
    p = p.where(p < 2)
    event, came = p >= 0.5, t >= 0.5
    known = p.notnull()
    hits = (event & came & known).weighted(weights).sum()
    misses = (~event & came & known).weighted(weights).sum()
    false = (event & ~came & known).weighted(weights).sum()
    assert metrics.csi(p, t, threshold=0.5).item() == pytest.approx((hits / (hits + misses + false)).item())
    assert metrics.pod(p, t, threshold=0.5).item() == pytest.approx((hits / (hits + misses)).item())
    assert np.isnan(metrics.pod(p, t, threshold=99.0).item())


@pytest.mark.parametrize("window", [1, 3, 4, 9])
def test_fractions_skill_is_that_of_scores_on_a_box(window):
    p, t = boxes()
    expected = fss_2d(
        p, t, event_threshold=0.4, window_size=(window, window), spatial_dims=("lat", "lon"), preserve_dims=["time"],
        threshold_operator=np.greater_equal,
    )  # fmt: skip
    found = metrics.fss(p, t, threshold=0.4, window=window, dim=HORIZONTAL, weights=None)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    whole = fss_2d(
        p, t, event_threshold=0.4, window_size=(window, window), spatial_dims=("lat", "lon"),
        threshold_operator=np.greater_equal,
    )  # fmt: skip
    assert metrics.fss(p, t, threshold=0.4, window=window, weights=None).item() == pytest.approx(float(whole))


def test_around_the_globe_windows_go_on():
    p, t = pair(n=2)
    found = metrics.fss(p, t, threshold=0.3, window=[1, 5], dim=["latitude", "longitude"])
    turned = [x.roll(longitude=11, roll_coords=True) for x in (p, t)]
    np.testing.assert_allclose(metrics.fss(*turned, threshold=0.3, window=[1, 5], dim=["latitude", "longitude"]), found)
    np.testing.assert_allclose(
        metrics.fss(moved(p), moved(t), threshold=0.3, window=[1, 5], dim=["latitude", "longitude"]), found, rtol=1e-10
    )
    # A loop over all windows, with cell areas inside and outside.
    areas = Grid.of(t).areas
    top = bottom = 0.0
    for row in range(2, 11):
        for column in range(24):
            rows, columns = np.arange(row - 2, row + 3), np.arange(column - 2, column + 3) % 24
            area = areas[np.ix_(rows, columns)]
            f, o = (((x.values[0][np.ix_(rows, columns)] >= 0.3) * area).sum() / area.sum() for x in (p, t))
            top += areas[row, column] * (f - o) ** 2
            bottom += areas[row, column] * (f**2 + o**2)
    assert found.sel(window=5)[0].item() == pytest.approx(1 - top / bottom, rel=1e-10)


def test_windows_with_gaps_do_not_count():
    p, t = boxes()
    gap = t.where((t.lat != t.lat[8]) | (t.lon != t.lon[9]))
    found = metrics.fss(p, gap, threshold=0.4, window=3, weights=None, dim=HORIZONTAL)
    f, o = (np.lib.stride_tricks.sliding_window_view(x.values[0], (3, 3)) for x in (p, gap))
    keep = ~np.isnan(o).any((-2, -1))
    f, o = ((x >= 0.4).mean((-2, -1))[keep] for x in (f, o))
    assert keep.sum() == keep.size - 9
    assert found[0].item() == pytest.approx(1 - ((f - o) ** 2).sum() / (f**2 + o**2).sum())


@pytest.mark.parametrize("name", ["fss", "csi", "pod", "far", "frequency_bias"])
def test_lazy_bootstrapped_and_labelled(name, no_compute):
    p, t = boxes()
    score = partial(getattr(metrics, name), threshold=[0.0, 0.5])
    if name == "fss":
        score = partial(score, window=[3, 5])
    whole = score(p, t)
    cut = {"time": 1} if name == "fss" else {"time": 3, "lat": 5}
    with no_compute():
        lazy = score(p.chunk(cut), t.chunk(cut))
        bounds = metrics.verify(p.chunk(cut), t.chunk(cut), metrics=score, bootstrap={"dim": "time", "n": 20})
    np.testing.assert_allclose(lazy, whole, rtol=1e-10)
    np.testing.assert_allclose(bounds[name], whole, rtol=1e-10)
    assert (bounds[f"{name}_lower"] <= bounds[f"{name}_upper"]).all()
    assert whole.attrs["units"] == "1"
    assert lazy.chunks is not None


def test_images_without_degrees_and_clear_errors():
    rng = np.random.default_rng(0)
    p, t = (xr.DataArray(rng.random((2, 9, 9)), dims=("sequence", "y", "x")) for _ in range(2))
    found = metrics.fss(p, t, threshold=0.5, window=3, image_dims=("y", "x"), dim=("y", "x"))
    expected = fss_2d(p, t, event_threshold=0.5, window_size=(3, 3), spatial_dims=("y", "x"), preserve_dims="sequence")
    np.testing.assert_allclose(found, expected)
    with pytest.raises(OptionError, match=r"fss: window=12; wanted a width in cells, or several, from 1 to 9"):
        metrics.fss(p, t, threshold=0.5, window=12, image_dims=("y", "x"))
    with pytest.raises(OptionError, match="threshold=None; wanted a number"):
        metrics.verify(p, t, metrics="csi")
    with pytest.raises(DimensionError, match="fss needs images"):
        metrics.fss(p, t, threshold=0.5, window=3)
    with pytest.raises(ChunkError, match="fss needs 'y' and 'x' whole"):
        metrics.fss(p.chunk(y=3), t, threshold=0.5, window=3, image_dims=("y", "x"))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_at_the_threshold_are_events_in_every_score(dtype):
    level = 0.7  # single precision rounds it down
    t = xr.DataArray(np.full((1, 4, 4), level, dtype), dims=("time", "y", "x"))
    p = t.expand_dims(member=2)
    assert metrics.pod(t, t, threshold=level).item() == 1
    assert metrics.csi(t, t - 0.1, threshold=level).item() == 0
    assert metrics.fss(t, t, threshold=level, window=3, image_dims=("y", "x")).item() == 1
    assert metrics.brier_score(p, t, threshold=level).item() == 0
    assert metrics.brier_score(p, t - np.array(0.1, dtype), threshold=level).item() == 1
    found = metrics.reliability(p, t, threshold=level)
    assert (found["observed_frequency"][-1].item(), found["weight"][-1].item()) == (1, 1)


def test_windows_are_not_wider_than_the_globe():
    p = xr.DataArray(np.zeros((19, 8)), Grid.regular(19, 8).coords(), ("latitude", "longitude"))
    with pytest.raises(OptionError, match=r"fss: window=19; wanted a width in cells, or several, from 1 to 8"):
        metrics.fss(p, p, threshold=0.5, window=19)
