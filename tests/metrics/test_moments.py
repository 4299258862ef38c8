from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from metric_fields import pair

from xatmo import Grid, metrics
from xatmo.errors import OptionError


def test_moments_agree_with_scipy():
    p, t = pair(n=20)
    p = (p + p**2).assign_attrs(t.attrs)
    found = metrics.moments(p, t)
    for name, field in (("prediction", p), ("target", t)):
        np.testing.assert_allclose(found[f"{name}_mean"], field.mean("time"), atol=1e-12)
        np.testing.assert_allclose(found[f"{name}_std"], field.std("time"), rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}_skewness"], scipy.stats.skew(field, axis=0), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(
            found[f"{name}_kurtosis"], scipy.stats.kurtosis(field, axis=0), rtol=1e-9, atol=1e-10
        )
    gap = found.prediction_mean - found.target_mean
    np.testing.assert_allclose(found.mean_difference, gap, atol=1e-15)
    assert found.mean_difference_sum_of_squares.item() == pytest.approx(float((gap**2).sum()))
    areas = Grid.of(t).areas
    assert found.mean_difference_rms.item() == pytest.approx(float(np.sqrt(np.average(gap**2, weights=areas))))
    assert found.mean_difference_sum_of_squares.attrs["units"] == "K2"
    assert found.std_difference.attrs["long_name"] == (
        "difference of the standard deviation, prediction - target, of temperature"
    )


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_small_departures_from_a_large_mean_keep_their_digits(chunk):
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, size=64)
    t = xr.DataArray(1e9 + x, dims="time").chunk(time=chunk)
    found = metrics.moments(t, t)
    assert found.target_std.compute().item() == pytest.approx(x.std(), rel=1e-6)
    assert found.target_skewness.compute().item() == pytest.approx(scipy.stats.skew(x), rel=1e-5)
    assert found.target_kurtosis.compute().item() == pytest.approx(scipy.stats.kurtosis(x), rel=1e-5)


def test_moments_over_the_globe_are_by_area():
    p, t = pair(n=3)
    areas = np.broadcast_to(Grid.of(t).areas, t.shape)
    mean = np.average(t, weights=areas)
    found = metrics.moments(p, t, dim=None)
    assert found.target_mean.item() == pytest.approx(mean)
    assert found.target_std.item() == pytest.approx(np.sqrt(np.average((t - mean) ** 2, weights=areas)))
    assert "mean_difference_rms" not in found


def test_what_is_missing_in_one_is_left_out_of_both():
    p, t = pair(n=9)
    found = metrics.moments(p, t.where(t > 0), order=1)
    assert list(found) == [
        "prediction_mean", "target_mean", "mean_difference", "mean_difference_sum_of_squares", "mean_difference_rms"
    ]  # fmt: skip
    np.testing.assert_allclose(found.prediction_mean, p.where(t > 0).mean("time"))
    empty = metrics.moments(p, t * np.nan)
    assert np.isnan(empty.target_kurtosis).all()


def test_constants_have_no_shape():
    t = xr.DataArray(np.full(5, 300.1), dims="time")
    found = metrics.moments(t, t)
    assert found.target_std.item() == pytest.approx(0, abs=1e-9)
    assert np.isnan(found.target_kurtosis)
    assert np.isnan(found.target_skewness)


def test_order_is_checked():
    p, t = pair(n=2)
    with pytest.raises(OptionError, match=r"order=5; wanted 1 \(mean\) to 4"):
        metrics.moments(p, t, order=5)


def test_large_blocks_are_worked_on_in_parts(monkeypatch):
    from xatmo.metrics import _central

    p, t = pair(n=7)
    gap = t.where(t > -1)
    whole, everywhere = metrics.moments(p, gap), metrics.moments(p, gap, dim=None)
    monkeypatch.setattr(_central, "_AT_ONCE", 50)
    xr.testing.assert_allclose(metrics.moments(p, gap), whole, rtol=1e-10)
    xr.testing.assert_allclose(metrics.moments(p, gap, dim=None), everywhere, rtol=1e-10)
