"""Options of super-resolution networks: what each changes, and what is refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import ChannelAttention, ChannelLayerNorm, LocalisedLayer, SeparableConvolution
from xatmo.nn.superres import Interpolation, SuperResolution, SuperResolutionConfig, build
from xatmo.nn.superres.upsampling.deconvolution import TransposedConvolution
from xatmo.nn.superres.upsampling.stages import prime_stages

SMALL: dict[str, Any] = {"factor": 2, "channels": 4, "n_blocks": 1}


def network(**settings: Any) -> SuperResolution:
    torch.manual_seed(0)
    return SuperResolution(SuperResolutionConfig(**{**SMALL, **settings}))


def has(net: torch.nn.Module, kind: type[torch.nn.Module]) -> bool:
    return any(isinstance(m, kind) for m in net.modules())


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "batch"}, {"norm": "layer"}, {"separable": True}, {"attention": True}, {"dropout": 0.2},
        {"dropout": 0.2, "dropout_kind": "spatial"}, {"dropout": 0.2, "dropout_kind": "gaussian", "mc_dropout": True},
        {"activation": "relu", "output_activation": "softplus"}, {"localised": True, "shape": (8, 12)},
        {"localised": True, "shape": (8, 12), "n_static": 1}, {"fine_channels": 5}, {"baseline": None},
        {"norm": "batch", "separable": True, "attention": True, "dropout": 0.1, "n_static": 2},
    ],
)  # fmt: skip
@pytest.mark.parametrize("compat", [None, "dl4ds"])
@pytest.mark.parametrize(
    ("backbone", "window"),
    [*itertools.product(["plain", "residual", "dense"], [None, 2]), ("convnext", None)],
)
def test_every_option_in_every_backbone(
    backbone: str, window: int | None, settings: dict[str, Any], compat: str | None
) -> None:
    net = network(backbone=backbone, time_window=window, compat=compat, **settings)
    frames = () if window is None else (window,)
    given = [torch.randn(2, 1, *frames, 4, 6)]
    if net.n_static:
        given.append(torch.randn(2, net.n_static, 8, 12))
    y = net(*given)
    assert y.shape == (2, 1, *frames, 8, 12)
    y.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    again = build(json.loads(json.dumps(net.config.to_dict())))
    assert again.config == net.config
    again.load_state_dict(net.state_dict())
    torch.manual_seed(1)
    a = net.eval()(*given)
    torch.manual_seed(1)
    assert torch.equal(again.eval()(*given), a)
    assert net.stochastic == bool(settings.get("mc_dropout"))


def test_options_change_the_network() -> None:
    assert has(network(separable=True), SeparableConvolution)
    assert has(network(norm="layer"), ChannelLayerNorm)
    assert has(network(norm="batch"), torch.nn.BatchNorm2d)
    assert has(network(attention=True), ChannelAttention)
    assert has(network(localised=True, shape=(4, 4)), LocalisedLayer)
    assert not has(network(), ChannelAttention)


def test_attention_of_ours_is_local_and_that_of_dl4ds_is_not() -> None:
    assert network(attention=True).local
    assert network(attention=True).halo == network().halo + 8
    assert not network(compat="dl4ds").local


@pytest.mark.parametrize("kind", ["vanilla", "spatial", "gaussian"])
def test_monte_carlo_dropout_draws_members_around_the_mean(kind: str) -> None:
    x = torch.randn(1, 1, 6, 6)
    fixed = network(dropout=0.3, dropout_kind=kind, channels=32)
    for p in fixed.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.1)
    free = network(dropout=0.3, dropout_kind=kind, channels=32, mc_dropout=True)
    free.load_state_dict(fixed.state_dict())
    fixed, free = fixed.eval(), free.eval()
    with torch.no_grad():
        assert torch.equal(fixed(x), fixed(x))
        torch.manual_seed(0)
        first = free(x)
        torch.manual_seed(0)
        assert torch.equal(free(x), first)
        draws = torch.stack([free(x) for _ in range(200)])
        spread = draws.std(0)
    assert spread.mean() > 1e-3
    assert (draws.mean(0) - fixed(x)).abs().mean() < 0.3 * spread.mean()
    assert free.stochastic
    assert not fixed.stochastic


def test_static_fields_act_on_what_the_weather_gives() -> None:
    net = network(n_static=1, channels=8)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x, s = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        both = net(x, s) - net(0 * x, s) - net(x, 0 * s) + net(0 * x, 0 * s)
    assert both.abs().max() > 1e-3  # not a sum of the two


@pytest.mark.parametrize("upsampling", ["interpolation", "subpixel", "resize", "deconvolution"])
@pytest.mark.parametrize("window", [None, 2])
def test_an_untrained_network_is_its_baseline(upsampling: str, window: int | None) -> None:
    net = network(upsampling=upsampling, time_window=window, n_inputs=2, n_outputs=2, baseline_channels=(1, -1))
    x = torch.randn(1, 2, *(() if window is None else (window,)), 4, 5)
    y = net(x)
    frame, answer = (x, y) if window is None else (x[:, :, 1], y[:, :, 1])
    torch.testing.assert_close(answer[:, 0], Interpolation(2)(frame)[:, 1])
    assert bool((y[:, 1] == 0).all())
    absolute = network(upsampling=upsampling, time_window=window, n_inputs=2, baseline=None)
    assert bool((absolute(x) == 0).all())


def test_output_activation_bounds_what_comes_out() -> None:
    y = network(output_activation="softplus")(torch.randn(1, 1, 5, 5) - 2)
    assert (y > 0).all()
    y = network(output_activation="sigmoid", baseline=None)(torch.randn(1, 1, 5, 5))
    assert ((y >= 0) & (y <= 1)).all()


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 7])
def test_transposed_convolutions_fit_and_start_as_interpolation(stride: int) -> None:
    up = TransposedConvolution(1, 1, stride)
    torch.nn.init.zeros_(up.bias)
    up.weight.data *= stride**2 / up.weight.data.sum()
    x = torch.randn(1, 1, 5, 7)
    y = up(x)
    assert y.shape == (1, 1, 5 * stride, 7 * stride)
    if stride > 1:
        inside = (..., slice(stride, -stride), slice(stride, -stride))
        torch.testing.assert_close(y[inside], Interpolation(stride, "bilinear")(x)[inside], rtol=1e-4, atol=1e-5)


def test_stages_multiply_to_the_factor() -> None:
    for factor in range(1, 60):
        product = 1
        for stage in prime_stages(factor):
            product *= stage
        assert product == factor


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"norm": "group"}, r"norm='group' is not available; possible are \[None, 'batch', 'layer'\]"),
        ({"activation": "swish"}, "activation='swish' is not available; possible are"),
        ({"output_activation": "swish"}, "output_activation='swish' is not available"),
        ({"dropout": 1.0}, "dropout=1.0; wanted a number of at least 0 and below 1"),
        ({"dropout_kind": "mc"}, r"dropout_kind='mc' is not available; possible are \['gaussian', 'spatial', 'vani"),
        ({"attention": 1}, "attention=1; wanted True or False"),
        ({"mc_dropout": "yes"}, "mc_dropout='yes'; wanted True or False"),
        ({"compat": "phire"}, r"compat='phire' is not available; possible are \[None, 'dl4ds'\]"),
        ({"time_window": 1}, "time_window=1; wanted a whole number of at least 2"),
        ({"n_static": -1}, "n_static=-1; wanted a whole number of at least 0"),
        ({"fine_channels": 0}, "fine_channels=0"),
        ({"backbone": "unet"}, "backbone='unet' works on the fine grid, and upsampling is 'subpixel'; pass up"),
        ({"backbone": "unet", "upsampling": "interpolation", "time_window": 3},
         r"backbone='unet' sees one frame, and time_window is 3; possible with a time window are \['dense', 'plai"),
        ({"localised": True}, "localised=True with shape=None; wanted the rows and columns of the fine grid"),
        ({"localised": True, "shape": (8, 9)}, r"shape=\(8, 9\).*multiples of the factor 2"),
    ],
)  # fmt: skip
def test_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SuperResolutionConfig(**{"factor": 2, **change})


def test_tensors_of_another_kind_are_refused() -> None:
    x = torch.randn(2, 1, 4, 6)
    with pytest.raises(DimensionError, match=r"got \(2, 1, 4, 6\); wanted \(batch, 2 channels, lat, lon\)"):
        network(n_inputs=2)(x)
    with pytest.raises(DimensionError, match=r"wanted \(batch, 1 channels, time of at most 3, lat, lon\)"):
        network(time_window=3)(x)
    with pytest.raises(DimensionError, match="got 4 frames; it was made for a time window of 3"):
        network(time_window=3)(torch.randn(1, 1, 4, 5, 5))
    with pytest.raises(DimensionError, match=r"takes 1 static fields and got none; call it as network\(x, static\)"):
        network(n_static=1)(x)
    with pytest.raises(DimensionError, match=r"static fields are \(2, 1, 4, 6\); wanted \(2 or 1, 1, 8, 12\)"):
        network(n_static=1)(x, x)
    with pytest.raises(DimensionError, match=r"static fields are .*; wanted \(2 or 1, 0, 8, 12\)"):
        network()(x, x)
    with pytest.raises(DimensionError, match="localised layer of 8 x 8 cells got 8 x 12"):
        network(localised=True, shape=(8, 8))(x)
