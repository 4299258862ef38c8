"""Super-resolution network: the baseline, the start of training, shapes, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xatmo.errors import ConfigError, OptionError
from xatmo.nn.superres import Interpolation, SuperResolution, SuperResolutionConfig, build
from xatmo.nn.superres.upsampling.subpixel import SubpixelUpsampling, icnr_


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
def test_bicubic_is_that_of_torch(factor: int) -> None:
    x = torch.randn(2, 3, 7, 9)
    expected = torch.nn.functional.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)
    torch.testing.assert_close(Interpolation(factor)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_bilinear_is_that_of_torch(factor: int) -> None:
    x = torch.randn(1, 2, 6, 5)
    expected = torch.nn.functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Interpolation(factor, "bilinear")(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("offset", [-0.5, 0.0, 0.5])
def test_offsets_put_fine_nodes_where_the_coarsening_has_them(offset: float) -> None:
    factor, n = 4, 12
    coarse = factor * (torch.arange(n) + 0.5) - 0.5  # position of cell centres, in sub-cells
    fine = torch.arange(n * factor) + offset
    x = coarse[:, None].expand(n, 6)[None, None]
    y = Interpolation(factor, "bilinear", row_offset=offset)(x)[0, 0, :, 0]
    inside = slice(factor, -factor)
    torch.testing.assert_close(y[inside], fine[inside])
    y = Interpolation(factor, "bilinear", column_offset=offset)(x.transpose(-1, -2))[0, 0, 0]
    torch.testing.assert_close(y[inside], fine[inside])


def test_interpolation_stays_in_float32_under_autocast() -> None:
    x = torch.randn(1, 1, 6, 6) * 1e-3 + 1
    with torch.autocast("cpu", torch.bfloat16):
        y = Interpolation(2)(x.bfloat16()), Interpolation(2)(x)
    assert y[0].dtype == y[1].dtype == torch.float32
    torch.testing.assert_close(y[1], Interpolation(2)(x))


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (4, 2), (2, 5)])
def test_any_factor_channels_and_rectangle(factor: int, n_in: int, n_out: int) -> None:
    baseline = tuple(i if i < n_in else -1 for i in range(n_out))
    config = SuperResolutionConfig(
        factor, n_inputs=n_in, n_outputs=n_out, channels=8, n_blocks=1, baseline_channels=baseline
    )
    x = torch.randn(2, n_in, 5, 9)
    y = SuperResolution(config)(x)
    assert y.shape == (2, n_out, 5 * factor, 9 * factor)
    assert y.dtype == torch.float32
    for i, source in enumerate(baseline):
        expected = Interpolation(factor)(x[:, [source]])[:, 0] if source >= 0 else torch.zeros_like(y[:, i])
        torch.testing.assert_close(y[:, i], expected)


def test_icnr_starts_without_a_checkerboard() -> None:
    torch.manual_seed(0)
    up = SubpixelUpsampling(6, 3)
    x = torch.randn(1, 6, 5, 5)
    shuffled = torch.nn.functional.pixel_shuffle(up.expand(x), 3)
    blocks = shuffled.reshape(1, -1, 5, 3, 5, 3)
    assert torch.allclose(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks), atol=1e-6)
    assert icnr_(torch.empty(18, 2, 3, 3), 3).std() > 0


def test_halo_is_the_reach_of_the_network() -> None:
    torch.manual_seed(0)
    config = SuperResolutionConfig(2, channels=4, n_blocks=1)
    net = SuperResolution(config)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    size = 2 * net.halo + 9
    x = torch.randn(1, 1, size, size)
    moved = x.clone()
    moved[..., 0] += 10.0
    changed = (net(x) - net(moved)).abs().amax(dim=(0, 1, 2)) > 1e-7
    assert not changed[2 * (net.halo + 1) :].any()
    assert changed[2 * net.halo - 2 : 2 * (net.halo + 1)].any()  # and not needlessly large


def test_configuration_round_trip_and_unknown_settings() -> None:
    config = SuperResolutionConfig(3, n_inputs=2, channels=4, n_blocks=0, row_offset=-0.5)
    assert build(config.to_dict()).config == config
    with pytest.raises(ConfigError, match=r"unknown settings \['colour'\]"):
        build({**config.to_dict(), "colour": 1})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"backbone": "magic"},
            r"backbone='magic' is not available; possible are \['convnext', 'dense', 'plain', 'residual', 'unet'\]",
        ),
        (
            {"upsampling": "magic"},
            r"upsampling='magic' is not available; possible are \['deconvolution', 'interpolation', 'resize', ",
        ),
        ({"baseline": "nearest"}, r"baseline='nearest' is not available; possible are \[None, 'bicubic', 'bilinear'\]"),
        ({"channels": 0}, "channels=0; wanted a whole number of at least 1"),
        ({"n_blocks": 1.5}, "n_blocks=1.5"),
        ({"baseline_channels": (3,)}, r"baseline_channels=\(3,\)"),
    ],
)
def test_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SuperResolutionConfig(**{"factor": 2, **change})


def test_interpolation_refuses_an_unknown_kind() -> None:
    with pytest.raises(OptionError, match="baseline='spline'; possible are"):
        Interpolation(2, "spline")


def test_weights_of_the_interpolation_sum_to_one() -> None:
    for factor in (2, 3, 7):
        taps = Interpolation(factor, row_offset=-0.5)
        np.testing.assert_allclose(taps.rows.sum(1), 1, rtol=1e-6)
        np.testing.assert_allclose(taps.columns.sum(1), 1, rtol=1e-6)
