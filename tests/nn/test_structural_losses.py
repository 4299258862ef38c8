"""Structural losses: agreement with scikit-image, scales by their definition, missing targets, weights, frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn.functional import avg_pool2d

from xatmo.nn import losses
from xatmo.nn.structural_losses import SCALE_WEIGHTS, _Maps, dssim, ms_dssim


def pair(*shape: int, noise: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    target = torch.randn(*shape, generator=rng)
    return target + noise * torch.randn(*shape, generator=rng), target


def test_it_is_that_of_scikit_image() -> None:
    prediction, target = pair(1, 1, 30, 40)
    maps = _Maps.of(prediction, target, None)
    luminance, contrast = maps.factors()
    a, b = (np.asarray(x[0, 0] - target.min(), dtype=np.float64) for x in (prediction, target))
    _, expected = structural_similarity(
        a, b, data_range=b.max() - b.min(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    inside = slice(5, -5)
    np.testing.assert_allclose((luminance * contrast)[0, 0, inside, inside], expected[inside, inside], atol=1e-5)


def test_several_scales_by_their_definition() -> None:
    prediction, target = pair(1, 1, 40, 36)
    expected, exponents = 1.0, np.array(SCALE_WEIGHTS) / sum(SCALE_WEIGHTS)
    p, t = prediction, target
    for j, exponent in enumerate(exponents):
        maps = _Maps.of(p, t, None)
        maps = _Maps(p - target.min(), t - target.min(), maps.there, maps.weight, float(target.max() - target.min()))
        luminance, contrast = maps.factors()
        expected *= float((contrast * luminance if j == 3 else contrast).mean()) ** exponent
        p, t = avg_pool2d(p, 2), avg_pool2d(t, 2)
    assert float(ms_dssim(prediction, target)) == pytest.approx((1 - expected) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", [dssim, ms_dssim])
def test_properties(loss: losses.Loss) -> None:
    prediction, target = pair(2, 3, 4, 16, 20)
    value = loss(prediction, target, None)
    assert 0 < value < 1
    assert loss(target, target, None) == pytest.approx(0, abs=1e-6)
    # A window of time is its frames, one by one; origin and unit do not matter.
    frames = (x.transpose(1, 2).flatten(0, 1) for x in (prediction, target))
    torch.testing.assert_close(loss(*frames, None), value)
    torch.testing.assert_close(loss(3 * prediction + 5, 3 * target + 5, None), value, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(prediction, target, None), value)
    weight = torch.ones(1, 1, 1, 16, 20)
    torch.testing.assert_close(loss(prediction, target, weight), value)
    weight[..., 8:, :] = 1e-6
    assert loss(prediction, target, weight) != value
    torch.testing.assert_close(loss(prediction, torch.zeros_like(target), None).isfinite(), torch.tensor(True))


@pytest.mark.parametrize("loss", [dssim, ms_dssim])
def test_missing_targets(loss: losses.Loss) -> None:
    prediction, target = pair(2, 1, 16, 16)
    target[0, :, 3:5, 2:9] = math.nan
    target[1] = math.nan
    prediction.requires_grad_(True)
    value = loss(prediction, target, None)
    value.backward()
    assert torch.isfinite(value)
    assert prediction.grad is not None
    assert bool((prediction.grad[target.isnan()] == 0).all())
    assert bool((prediction.grad[0, 0, 8:] != 0).all())
    # A field whose other half is missing is that half alone.
    half = target.clone()
    half[:, :, :, 8:] = math.nan
    torch.testing.assert_close(
        dssim(prediction[:1], half[:1], None), dssim(prediction[:1, :, :, :8], half[:1, :, :, :8], None)
    )
    assert loss(prediction, torch.full_like(target, math.nan), None) == 0


def test_it_is_minimised_by_the_target() -> None:
    _, target = pair(1, 1, 16, 16)
    guess = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([guess], 0.2)
    for _ in range(40):
        optimizer.zero_grad()
        ms_dssim(guess, target).backward()
        optimizer.step()
    assert float(np.corrcoef(guess.detach().flatten(), target.flatten())[0, 1]) > 0.9


def test_mixes_as_those_of_dl4ds() -> None:
    prediction, target = pair(1, 1, 16, 16)
    mix = losses.build("0.8 dssim + 0.2 mae")
    expected = 0.8 * dssim(prediction, target) + 0.2 * losses.mae(prediction, target)
    torch.testing.assert_close(mix(prediction, target, None), expected)
    assert set(losses.build("0.6 ms_dssim + 0.2 mae + 0.2 mse").values(prediction, target)) == {
        "ms_dssim",
        "mae",
        "mse",
    }
