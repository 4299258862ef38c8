"""Every combination of backbone, upsampling, time and static fields, at every factor, on a rectangle."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch

from xatmo.nn.superres import SuperResolution, SuperResolutionConfig, build

FACTORS = (2, 3, 4, 5, 8)
UPSAMPLINGS = ("interpolation", "subpixel", "resize", "deconvolution")
WINDOWS = (None, 3)
DIFFERENT = [  # window, backbone, upsampling
    *itertools.product(WINDOWS, ("plain", "residual", "dense"), UPSAMPLINGS),
    *itertools.product([None], ["convnext"], UPSAMPLINGS),
    (None, "unet", "interpolation"),
]


def make(factor: int, window: int | None, backbone: str, upsampling: str, **settings: Any) -> SuperResolution:
    """A small network with weights that let everything through."""
    torch.manual_seed(0)
    config = SuperResolutionConfig(
        factor, backbone=backbone, upsampling=upsampling, time_window=window,
        **{"channels": 4, "n_blocks": 1, "n_inputs": 2, "fine_channels": 3, **settings},
    )  # fmt: skip
    net = SuperResolution(config)
    for p in net.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=1 / math.sqrt(p[0].numel()))
    return net


def batch(net: SuperResolution, rows: int, columns: int, n: int = 2) -> tuple[torch.Tensor, ...]:
    """An input, and static fields if the network takes them."""
    config = net.config
    frames = () if config.time_window is None else (config.time_window,)
    x = torch.randn(n, config.n_inputs, *frames, rows, columns)
    if not config.n_static:
        return (x,)
    return x, torch.randn(n, config.n_static, rows * config.factor, columns * config.factor)


@pytest.mark.parametrize("compat", [None, "dl4ds"])
@pytest.mark.parametrize("n_static", [0, 2])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("window", "backbone", "upsampling"), DIFFERENT)
def test_every_combination_answers_learns_and_is_rebuilt(
    window: int | None, backbone: str, upsampling: str, factor: int, n_static: int, compat: str | None
) -> None:
    net = make(factor, window, backbone, upsampling, n_static=n_static, compat=compat)
    given = batch(net, 4, 6, n=1)
    y = net(*given)
    frames = () if window is None else (window,)
    assert y.shape == (1, 1, *frames, 4 * factor, 6 * factor)
    assert y.dtype == torch.float32
    (y * torch.randn_like(y)).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert bool(p.grad.isfinite().all()), name
        assert p.grad.abs().max() > 0 or "squeeze" in name or "excite" in name, name
    again = build(json.loads(json.dumps(net.config.to_dict())))
    assert again.config == net.config
    again.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(*given), net.eval()(*given))


@pytest.mark.parametrize("settings", [{}, {"n_static": 1}, {"attention": True}, {"norm": "batch"}, {"compat": "dl4ds"}])
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize(("window", "backbone", "upsampling"), DIFFERENT)
def test_nothing_beyond_the_halo_counts(
    window: int | None, backbone: str, upsampling: str, factor: int, settings: dict[str, Any]
) -> None:
    net = make(factor, window, backbone, upsampling, **settings).eval()
    if not net.local:
        for name, p in net.named_parameters():
            if "excite" in name:  # an attention that weights everything alike
                torch.nn.init.zeros_(p)
    size, halo = 2 * net.halo + 4, net.halo
    given = batch(net, 2, size, n=1)
    x, static = given[0], given[1:]
    with torch.no_grad():
        y = net(*given)
        for column in (0, 1):  # on both sides of what a U-Net pools together
            moved = x.clone()
            moved[..., column] += 3.0
            changed = (net(moved, *static) - y).abs().flatten(0, -2).amax(0)
            assert changed[: factor * (column + 1)].max() > 1e-6
            assert changed[factor * (column + halo + 1) :].max() <= 1e-5 * changed.max(), halo
        for field in static:
            moved = field.clone()
            moved[..., :factor] += 3.0
            changed = (net(x, moved) - y).abs().flatten(0, -2).amax(0)
            assert changed[:factor].max() > 1e-6
            assert changed[factor * (halo + 1) :].max() <= 1e-5 * changed.max(), halo


@pytest.mark.parametrize("column", range(4))
def test_halo_of_a_deep_u_net(column: int) -> None:
    net = make(2, None, "unet", "interpolation", n_blocks=2).eval()
    (x,) = batch(net, 2, 2 * net.halo + 8)
    moved = x.clone()
    moved[..., column] += 3.0
    with torch.no_grad():
        changed = (net(moved) - net(x)).abs().flatten(0, -2).amax(0)
    assert changed[2 * (column + net.halo + 1) :].max() <= 1e-5 * changed.max()


@pytest.mark.parametrize(("window", "backbone", "upsampling"), DIFFERENT)
def test_bfloat16_changes_little(window: int | None, backbone: str, upsampling: str) -> None:
    net = make(2, window, backbone, upsampling, n_static=1).eval()
    given = batch(net, 5, 6)
    with torch.no_grad():
        y = net(*given)
        with torch.autocast("cpu", torch.bfloat16):
            low = net(*given)
    assert low.dtype == torch.float32
    assert (low - y).abs().max() < 0.05 * y.abs().max()
    net.train()
    with torch.autocast("cpu", torch.bfloat16):
        net(*given).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize(("window", "backbone", "upsampling"), DIFFERENT)
def test_memory_layout_does_not_matter(window: int | None, backbone: str, upsampling: str) -> None:
    net = make(3, window, backbone, upsampling, n_static=1).eval()
    given = batch(net, 5, 6)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.ndim == 4)
    with torch.no_grad():
        y = net(*given)
        strange = [g.transpose(-1, -2).contiguous().transpose(-1, -2) for g in given]
        torch.testing.assert_close(net(*strange), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compat", [None, "dl4ds"])
@pytest.mark.parametrize(("window", "backbone", "upsampling"), DIFFERENT)
def test_samples_do_not_mix(window: int | None, backbone: str, upsampling: str, compat: str | None) -> None:
    net = make(2, window, backbone, upsampling, n_static=1, compat=compat).eval()
    x, static = batch(net, 4, 5, n=3)
    with torch.no_grad():
        y = net(x, static)
        for i in range(3):
            torch.testing.assert_close(net(x[i : i + 1], static[i : i + 1]), y[i : i + 1], rtol=1e-5, atol=1e-5)
        shared = net(x, static[:1])
        torch.testing.assert_close(shared, net(x, static[:1].expand_as(static)))


@pytest.mark.parametrize("backbone", ["plain", "residual", "dense"])
@pytest.mark.parametrize("compat", [None, "dl4ds"])
def test_a_frame_is_answered_from_itself_and_those_before(backbone: str, compat: str | None) -> None:
    net = make(2, 3, backbone, "subpixel", compat=compat).eval()
    (x,) = batch(net, 4, 5)
    moved = x.clone()
    moved[:, :, 1] += 1.0
    with torch.no_grad():
        changed = (net(moved) - net(x)).abs().amax(dim=(0, 1, 3, 4))
        torch.testing.assert_close(net(x[:, :, :2]), net(x)[:, :, :2], rtol=1e-5, atol=1e-5)
    assert changed[0] < 1e-6
    assert (changed[1:] > 1e-4).all()
