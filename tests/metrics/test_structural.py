from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from skimage.metrics import structural_similarity

from xatmo import Grid, metrics
from xatmo.errors import ChunkError, DimensionError, OptionError


def pair(grid: Grid) -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(0)
    t = xr.DataArray(rng.normal(size=(3, *grid.shape)), grid.coords(), ("time", "latitude", "longitude"))
    return (t + 0.4 * rng.normal(size=t.shape)).rename("a"), t.rename("a")


@pytest.fixture
def box() -> tuple[xr.DataArray, xr.DataArray]:
    return pair(Grid.from_latlon(np.linspace(50, 40, 21), np.linspace(0, 14, 29)))


@pytest.mark.parametrize("gaussian", [False, True, 1.0])
def test_equals_scikit_image_on_a_box(box, gaussian):
    p, t = box
    score = metrics.ssim(p, t, dim=("latitude", "longitude"), weights=None, data_range=4.0, gaussian=gaussian)
    kind = {"gaussian_weights": True, "sigma": 1.5 if gaussian is True else gaussian, "use_sample_covariance": False}
    expected = [
        structural_similarity(a, b, data_range=4.0, **(kind if gaussian else {}))
        for a, b in zip(p.values, t.values, strict=True)
    ]
    np.testing.assert_allclose(score, expected, rtol=1e-12)
    assert metrics.ssim(t, t).item() == pytest.approx(1)


def test_range_of_the_target(box):
    p, t = box
    span = float(t.max() - t.min())
    assert metrics.ssim(p, t).item() == pytest.approx(metrics.ssim(p, t, data_range=span).item())
    spans = t.max(["latitude", "longitude"]) - t.min(["latitude", "longitude"])
    each = metrics.ssim(p, t, dim=("latitude", "longitude"))
    assert each[1].item() == pytest.approx(metrics.ssim(p[1], t[1], data_range=float(spans[1])).item())


def test_gaps_touch_their_windows_only(box):
    p, t = box
    holed = t.copy()
    holed[0, 10, 12] = np.nan
    with_gap = metrics.ssim(p, holed, dim=(), data_range=4.0)
    without = metrics.ssim(p, t, dim=(), data_range=4.0)
    lost = np.argwhere(np.isnan(with_gap.values[0]) & np.isfinite(without.values[0]))
    assert lost.min(0).tolist() == [7, 9]
    assert lost.max(0).tolist() == [13, 15]
    assert len(lost) == 49
    kept = np.isfinite(with_gap.values)
    np.testing.assert_allclose(with_gap.values[kept], without.values[kept], rtol=1e-6)
    assert np.isnan(metrics.ssim(p, xr.full_like(t, np.nan)).item())


def test_windows_go_around_the_globe():
    p, t = pair(Grid.regular(19, 36))
    score = metrics.ssim(p, t, data_range=4.0).item()
    rolled = [x.roll(longitude=7, roll_coords=True) for x in (p, t)]
    assert metrics.ssim(*rolled, data_range=4.0).item() == pytest.approx(score, rel=1e-12)
    assert metrics.ssim(p, rolled[1], data_range=4.0).item() == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 2}])
def test_lazy(box, chunks, no_compute):
    p, t = box
    with no_compute():
        lazy = metrics.ssim(p.chunk(chunks), t.chunk(chunks))
    xr.testing.assert_allclose(lazy, metrics.ssim(p, t), rtol=1e-12)


def test_clear_errors(box):
    p, t = box
    with pytest.raises(ChunkError, match=r"call .chunk\(\{'longitude': -1\}\) first"):
        metrics.ssim(p.chunk(longitude=5), t)
    with pytest.raises(OptionError, match="a window of 8 points does not suit images of 21 x 29"):
        metrics.ssim(p, t, window=8)
    with pytest.raises(OptionError, match="a window of 23"):
        metrics.ssim(p, t, window=23)
    bare = [x.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x") for x in (p, t)]
    with pytest.raises(DimensionError, match=r"image_dims=\('y', 'x'\)"):
        metrics.ssim(*bare)
    with pytest.raises(DimensionError, match="wanted two of the dimensions"):
        metrics.ssim(*bare, image_dims=("y", "z"))
    assert metrics.ssim(*bare, image_dims=("y", "x")).item() == pytest.approx(metrics.ssim(p, t, weights=None).item())
