from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from metric_fields import globe, pair

from xatmo import Grid, metrics
from xatmo.errors import CoordinateError, DimensionError, OptionError


def test_wasserstein_agrees_with_scipy():
    p, t = pair(n=30)
    found = metrics.wasserstein(p, t)
    assert found.dims == ("latitude", "longitude")
    for at in ({"latitude": 0, "longitude": 3}, {"latitude": 7, "longitude": 20}):
        expected = scipy.stats.wasserstein_distance(p.isel(at), t.isel(at))
        assert found.isel(at).item() == pytest.approx(expected, rel=1e-12)


def test_pooled_over_the_globe_counts_by_area():
    p, t = pair(n=3)
    areas = np.broadcast_to(Grid.of(t).areas, t.shape).ravel()
    expected = scipy.stats.wasserstein_distance(p.values.ravel(), t.values.ravel(), areas, areas)
    assert metrics.wasserstein(p, t, dim=None).item() == pytest.approx(expected, rel=1e-12)
    plain = scipy.stats.wasserstein_distance(p.values.ravel(), t.values.ravel())
    assert metrics.wasserstein(p, t, dim=None, weights=None).item() == pytest.approx(plain, rel=1e-12)
    scores = metrics.verify(p, t, metrics="wasserstein", weights=None)
    assert scores["wasserstein"].item() == pytest.approx(plain, rel=1e-12)


def test_shift_of_gaussians_and_order_in_time_do_not_matter():
    t = globe(n=50)
    rng = np.random.default_rng(0)
    shuffled = t.isel(time=rng.permutation(50)).assign_coords(time=t.time)
    np.testing.assert_allclose(metrics.wasserstein((shuffled + 3).assign_attrs(t.attrs), t), 3.0, rtol=1e-12)


def test_missing_values_are_left_out_in_pairs():
    p, t = pair(n=8)
    gap = t.where(t < 0.9)
    found = metrics.wasserstein(p, gap)
    at = {"latitude": 4, "longitude": 4}
    known = np.isfinite(gap.isel(at).values)
    expected = scipy.stats.wasserstein_distance(p.isel(at).values[known], t.isel(at).values[known])
    assert found.isel(at).item() == pytest.approx(expected, rel=1e-12)
    assert np.isnan(metrics.wasserstein(p, t * np.nan)).all()


def test_samples_of_other_times_and_sizes():
    p, t = globe(0, n=9), globe(1, n=5)
    p = p.assign_coords(time=p.time + np.timedelta64(900, "D"))
    found = metrics.wasserstein(p, t, paired=False)
    at = {"latitude": 5, "longitude": 9}
    assert found.isel(at).item() == pytest.approx(scipy.stats.wasserstein_distance(p.isel(at), t.isel(at)), rel=1e-12)
    assert found.attrs["units"] == "K"
    areas = Grid.of(t).areas
    pooled = metrics.wasserstein(p, t, dim=None, paired=False)
    weights = [np.broadcast_to(areas, x.shape).ravel() for x in (p, t)]
    expected = scipy.stats.wasserstein_distance(p.values.ravel(), t.values.ravel(), *weights)
    assert pooled.item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(CoordinateError, match="9 points in the prediction"):
        metrics.wasserstein(p, t)


def test_wasserstein_refuses():
    p, t = pair(n=4)
    with pytest.raises(DimensionError, match="of which both fields have"):
        metrics.wasserstein(p.expand_dims(level=[1, 2]), t, dim=["time", "level"])
    with pytest.raises(DimensionError, match="not both fields have 'level'"):
        metrics.wasserstein(p.expand_dims(level=[1, 2]), t, dim=["time", "level"], paired=False)
    with pytest.raises(DimensionError, match="weights vary along 'longitude'"):
        metrics.wasserstein(p, t, weights=xr.DataArray(np.ones(24), dims="longitude"))
    with pytest.raises(OptionError, match="call it by itself"):
        metrics.verify(p, t, metrics=partial(metrics.wasserstein, paired=False))


def test_percentiles_are_numpys(no_compute):
    t = globe(n=20)
    found = metrics.percentiles(t)
    assert found.dims == ("latitude", "longitude", "percentile")
    np.testing.assert_allclose(found, np.moveaxis(np.percentile(t, metrics.PERCENTILES, axis=0), 0, -1), rtol=1e-12)
    with no_compute():
        lazy = metrics.percentiles(t.chunk(time=3, latitude=4))
    xr.testing.assert_allclose(lazy, found)
    assert found.attrs["units"] == "K"
    gap = t.where(t > -0.5)
    np.testing.assert_allclose(
        metrics.percentiles(gap).sel(percentile=50), np.nanmedian(gap, axis=0), rtol=1e-12
    )  # fmt: skip
    ds = metrics.percentiles(xr.Dataset({"a": t, "b": 2 * t, "still": t.isel(time=0)}), q=[50])
    assert list(ds) == ["a", "b"]


def test_percentiles_by_area():
    grid = Grid.regular(91, 180)
    lat = xr.DataArray(np.abs(grid.latitude)[:, None] * np.ones(180), grid.coords(), ("latitude", "longitude"))
    # Half of the globe's area lies within 30 degrees of the equator.
    assert metrics.percentiles(lat, q=[50], dim=None).item() == pytest.approx(30, abs=1)
    assert metrics.percentiles(lat, q=[50], dim=None, weights=None).item() == pytest.approx(45, abs=1)


def test_percentiles_refuse():
    t = globe(n=4)
    with pytest.raises(OptionError, match=r"q=\[101\]; wanted percentiles between 0 and 100"):
        metrics.percentiles(t, q=[101])
    with pytest.raises(DimensionError, match="no numeric variable with dimension"):
        metrics.percentiles(xr.Dataset({"a": t.isel(time=0, drop=True)}))
    with pytest.raises(DimensionError, match="dim has 'level'"):
        metrics.percentiles(t, dim="level")


@pytest.mark.parametrize("bins", [7, [-2.0, -0.5, 0.0, 3.0]])
def test_histogram_is_numpys(bins, no_compute):
    t = globe(n=6)
    count, edges = np.histogram(t, bins)
    with no_compute():
        lazy = metrics.histogram(t.chunk(time=2, latitude=5), bins=bins)
    for found in (lazy, metrics.histogram(t, bins=bins)):
        np.testing.assert_array_equal(found["count"], count)
        np.testing.assert_allclose(found["left"], edges[:-1])
        np.testing.assert_allclose(found["right"], edges[1:])
    by_row = metrics.histogram(t, bins=bins, dim=["time", "longitude"])["count"]
    assert by_row.dims == ("latitude", "bin")
    np.testing.assert_array_equal(by_row.sum("latitude"), count)


def test_histogram_of_a_constant_by_area_and_refused():
    t = globe(n=2)
    flat = metrics.histogram(xr.full_like(t, 5.0), bins=4)
    np.testing.assert_array_equal(flat["count"], [t.size, 0, 0, 0])
    weighed = metrics.histogram(t, bins=[-100, 100], weights="area")["count"]
    assert weighed.item() == pytest.approx(t.size)
    for bins in (0, 2.5, [1.0], [1.0, 1.0]):
        with pytest.raises(OptionError, match="wanted how many, from 1 up, or rising edges"):
            metrics.histogram(t, bins=bins)
