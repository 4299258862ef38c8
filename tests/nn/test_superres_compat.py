"""DL4DS's layout: numbers of weights, arithmetic, and what is better on purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.compat.upsampling import ResizedConvolution, SubpixelStages, WideDeconvolution, shuffle_blocks


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({"channels": 32, "n_blocks": 4}, 1_257_363),
        ({}, 204_405),
        ({"channels": 32, "time_window": 4}, 1_346_979),
    ],
)
def test_numbers_of_weights(settings: dict[str, Any], weights: int) -> None:
    net = SuperResolution(SuperResolutionConfig.dl4ds(4, **settings))
    assert sum(p.numel() for p in net.parameters()) == weights


def test_defaults() -> None:
    assert SuperResolutionConfig.dl4ds(2).n_blocks == 6
    assert SuperResolutionConfig.dl4ds(2, time_window=3).n_blocks == 4
    assert SuperResolutionConfig.dl4ds(2, time_window=3, upsampling="interpolation").n_blocks == 6
    assert SuperResolutionConfig.dl4ds(2, n_blocks=1).n_blocks == 1


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8, 10, 20])
def test_subpixel_stages_and_what_follows_them(factor: int) -> None:
    torch.manual_seed(0)
    up = SubpixelStages(6, factor)
    for p in up.parameters():
        nn.init.normal_(p, std=0.2)
    x = torch.randn(2, 6, 3, 4)
    expected = x
    for stage in up.stages:
        expected = nn.functional.pixel_shuffle(up.kernels[str(stage)](expected), stage)
    torch.testing.assert_close(up(x), expected, rtol=1e-4, atol=1e-4)
    then, bias = torch.randn(3, 6), torch.randn(3)
    mixed = nn.functional.conv2d(expected, then[..., None, None], bias)
    torch.testing.assert_close(up(x, then, bias), mixed, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("upsampling", ["subpixel", "resize", "deconvolution"])
def test_gradients_are_those_of_the_layers_one_after_another(upsampling: str) -> None:
    torch.manual_seed(0)
    kinds = {"subpixel": SubpixelStages, "resize": ResizedConvolution, "deconvolution": WideDeconvolution}
    up = kinds[upsampling](4, 4).double()
    then = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)
    parameters = [*up.parameters(), then, bias]
    up(x, then, bias).sin().sum().backward()
    fused = [p.grad.clone() for p in parameters]
    for p in parameters:
        p.grad = None
    nn.functional.conv2d(up(x), then[..., None, None], bias).sin().sum().backward()
    for a, p in zip(fused, parameters, strict=True):
        torch.testing.assert_close(a, p.grad)


def test_shuffle_of_blocks_is_a_pixel_shuffle_of_other_channels() -> None:
    x = torch.randn(2, 5 * 9, 3, 4)
    by_cell = x.unflatten(1, (5, 9)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(shuffle_blocks(by_cell, 3), nn.functional.pixel_shuffle(x, 3))
    last = by_cell.contiguous(memory_format=torch.channels_last)
    assert shuffle_blocks(last, 3).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("n_static", [0, 2])
@pytest.mark.parametrize("localised", [False, True])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_tail_is_the_same_with_and_without_the_shortcut(n_static: int, localised: bool, norm: str | None) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"n_static": n_static, "localised": localised, "norm": norm, "shape": (8, 12)}
    net = SuperResolution(SuperResolutionConfig.dl4ds(2, channels=4, n_blocks=2, **settings)).eval()
    x, static = torch.randn(2, 1, 4, 6), torch.randn(2, n_static, 8, 12) if n_static else None
    tail, up = net.refinement.tail, net.refinement.upsampling
    with torch.no_grad():
        y = net(x, static)
        fine = up(net.refinement.body(x))
        parts = [fine]
        if localised:
            parts.append(tail.local(tail.narrow(fine)))
        if n_static:
            parts.append(tail.static(static))
        expected = tail.last(tail.fine(tail.transition(torch.cat(parts, 1))))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 8, 11])
def test_deconvolution_has_the_right_size(factor: int) -> None:
    up = WideDeconvolution(2, factor)
    assert up(torch.ones(1, 2, 3, 4)).shape == (1, 2, 3 * factor, 4 * factor)
    assert all(stage.bias is None for stage in up.stages)


def test_keras_start() -> None:
    net = SuperResolution(SuperResolutionConfig.dl4ds(2, channels=32, n_blocks=2, time_window=2))
    cell = net.refinement.body.first.first
    assert cell.input.bias.tolist() == [0.0] * 32 + [1.0] * 32 + [0.0] * 64
    kernel = net.refinement.upsampling.kernels["2"].weight
    limit = (6 / (9 * (32 + 128))) ** 0.5
    assert kernel.abs().max() <= limit
    assert kernel.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
