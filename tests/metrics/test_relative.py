from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from metric_fields import globe, moved, pair

from xatmo import Grid, metrics
from xatmo.errors import ChunkError, DimensionError, OptionError
from xatmo.metrics.multiscale import WEIGHTS


@pytest.mark.parametrize("by", ["std", "mean", "range"])
def test_errors_in_proportion_to_the_target(by):
    p, t = pair()
    p, t = ((x + 3).assign_attrs(units="K") for x in (p, t))
    areas = Grid.of(t).areas
    mean = np.average(t, weights=np.broadcast_to(areas, t.shape))
    size = {
        "std": np.sqrt(np.average((t - mean) ** 2, weights=np.broadcast_to(areas, t.shape))),
        "mean": mean,
        "range": float(t.max() - t.min()),
    }[by]
    assert metrics.nrmse(p, t, by=by).item() == pytest.approx(metrics.rmse(p, t).item() / size, rel=1e-10)
    assert metrics.normalized_bias(p, t, by=by).item() == pytest.approx(metrics.bias(p, t).item() / size, rel=1e-10)
    with pytest.raises(OptionError, match="nrmse: by='median'; wanted 'std', 'mean' or 'range'"):
        metrics.nrmse(p, t, by="median")


def test_cells_that_are_zero_in_truth_stay():
    t = globe(n=5).clip(min=0)
    found = metrics.nrmse((t + 1).assign_attrs(t.attrs), t, dim="time", by="range")
    assert found.notnull().mean() > 0.9
    assert np.isnan(metrics.normalized_bias(t, 0 * t))
    low = (t - 300).assign_attrs(t.attrs)
    assert metrics.normalized_bias((low + 1).assign_attrs(t.attrs), low) > 0  # too high, though the mean is negative


def test_spearman_agrees_with_scipy():
    p, t = pair(n=15)
    p, t = p.round(1), t.round(1)  # with ties
    maps = metrics.spearman(p, t, dim="time")
    for at in ({"latitude": 0, "longitude": 0}, {"latitude": 6, "longitude": 11}):
        assert maps.isel(at).item() == pytest.approx(scipy.stats.spearmanr(p.isel(at), t.isel(at)).statistic)
    by_time = metrics.spearman(p, t, dim=["latitude", "longitude"], weights=None)
    expected = scipy.stats.spearmanr(p[3].values.ravel(), t[3].values.ravel()).statistic
    assert by_time[3].item() == pytest.approx(expected)
    gap = t.where(t > -0.5)
    known = gap.notnull().isel(at).values
    expected = scipy.stats.spearmanr(p.isel(at)[known], t.isel(at)[known]).statistic
    assert metrics.spearman(p, gap, dim="time").isel(at).item() == pytest.approx(expected)


def images(seed: int = 0, size: tuple[int, int] = (96, 88)) -> tuple[xr.DataArray, xr.DataArray]:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    t = gaussian_filter(rng.normal(size=(2, *size)), (0, 2, 2)) * 5
    p = t + 0.2 * rng.normal(size=t.shape)
    return tuple(xr.DataArray(x, dims=("time", "y", "x"), name="t") for x in (p, t))


@pytest.mark.slow  # importing torchmetrics takes longest
def test_ms_ssim_agrees_with_torchmetrics():
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as theirs

    p, t = images(size=(192, 180))
    found = metrics.ms_ssim(p, t, data_range=6.0, dim=["y", "x"], image_dims=("y", "x"), weights=None)
    tensors = [torch.from_numpy(np.asarray(x))[:, None] for x in (p, t)]
    expected = theirs(*tensors, data_range=6.0, reduction="none", betas=WEIGHTS, gaussian_kernel=True, kernel_size=11)
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-3)


def test_ms_ssim_of_one_scale_is_ssim():
    p, t = images()
    one = metrics.ms_ssim(p, t, data_range=6.0, image_dims=("y", "x"), scale_weights=[1.0], weights=None)
    same = metrics.ssim(p, t, data_range=6.0, image_dims=("y", "x"), gaussian=True, weights=None)
    assert one.item() == pytest.approx(same.item(), rel=1e-6)
    assert metrics.ms_ssim(t, t, image_dims=("y", "x")).item() == pytest.approx(1)


def test_ms_ssim_of_odd_rows_does_not_mind_their_order():
    p, t = (globe(s, n=2, nlat=47, nlon=64) for s in (0, 1))
    p = (0.7 * t + 0.3 * p).assign_attrs(t.attrs)
    first = metrics.ms_ssim(p, t, data_range=5.0)
    assert metrics.ms_ssim(moved(p), moved(t), data_range=5.0).item() == pytest.approx(first.item(), rel=1e-10)
    gap = p.copy()
    gap[0, 3, 3] = np.nan
    left = metrics.ms_ssim(gap, t, data_range=5.0)
    assert left.item() == pytest.approx(metrics.ms_ssim(p[1:], t[1:], data_range=5.0).item())


def test_ms_ssim_refuses():
    p, t = pair(n=2, nlat=25, nlon=48)
    with pytest.raises(DimensionError, match="ms_ssim scores whole images"):
        metrics.ms_ssim(p, t, dim="time")
    with pytest.raises(OptionError, match="images of 25 x 48 points for 3 scales; wanted 44 at least"):
        metrics.ms_ssim(p, t, scale_weights=[1, 1, 1])
    with pytest.raises(OptionError, match="images of 9 x 24 points for 5 scales"):
        metrics.ms_ssim(*pair(n=2, nlat=9, nlon=24))
    with pytest.raises(OptionError, match=r"scale_weights=\[0\]; wanted numbers above 0"):
        metrics.ms_ssim(p, t, scale_weights=[0])
    with pytest.raises(ChunkError, match="ms_ssim needs 'latitude' and 'longitude' whole"):
        metrics.ms_ssim(p.chunk(latitude=5), t)
    with pytest.raises(DimensionError, match="ms_ssim needs images"):
        metrics.ms_ssim(*images())
