"""Discriminators: sizes, what they see, limited weights, refusals."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import ConfigError, DimensionError, OptionError
from xatmo.nn.superres.discriminators import (
    ConditionalDiscriminator,
    ConditionalDiscriminatorConfig,
    SRGANDiscriminator,
    SRGANDiscriminatorConfig,
    build,
    make,
)
from xatmo.nn.superres.discriminators.layers import Convolution, SpectralNorm, coarsening

UPSAMPLINGS = ("interpolation", "subpixel", "resize", "deconvolution")


def test_parameter_count_of_the_published_head() -> None:
    judge = SRGANDiscriminator(SRGANDiscriminatorConfig(n_outputs=2, shape=(96, 96)))
    assert sum(p.numel() for p in judge.parameters()) == 10_611_201  # 10.6 M, of which the dense layer has 9.4 M
    assert judge(torch.zeros(1, 2, 96, 96)).shape == (1, 1)
    with pytest.raises(DimensionError, match=r"80 x 96 cells came; .* made for \(96, 96\)\. .*shape=None"):
        judge(torch.zeros(1, 2, 80, 96))


@pytest.mark.parametrize("size", [(16, 16), (33, 70), (7, 90)])
def test_the_mean_head_judges_any_size(size: tuple[int, int]) -> None:
    judge = SRGANDiscriminator(SRGANDiscriminatorConfig(n_outputs=3, widths=(4, 8), strides=(1, 2), dense=8))
    assert judge(torch.randn(2, 3, *size), torch.randn(2, 5, 1, 1)).shape == (2, 1)
    window = torch.randn(2, 3, 4, *size)
    frames = torch.stack([judge(window[:, :, t]) for t in range(4)]).mean(dim=0)
    torch.testing.assert_close(judge(window), frames)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("time_window", [None, 3])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_conditional_any_factor_window_and_upsampling(factor: int, time_window: int | None, upsampling: str) -> None:
    judge = make(
        "conditional", factor=factor, n_inputs=3, n_outputs=2, n_static=1, time_window=time_window,
        upsampling=upsampling, channels=4, n_blocks=1, dense=4,
    )  # fmt: skip
    time = () if time_window is None else (time_window,)
    coarse, fine = torch.randn(2, 3, *time, 4, 5), torch.randn(2, 2, *time, 4 * factor, 5 * factor)
    static = torch.randn(2, 1, 4 * factor, 5 * factor)
    logits = judge(fine, coarse, static)
    assert logits.shape == (2, 1)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in judge.parameters())


@pytest.mark.parametrize("meet", ["coarse", "fine"])
def test_every_field_matters(meet: Any) -> None:
    torch.manual_seed(0)
    config = ConditionalDiscriminatorConfig(2, n_static=1, channels=8, n_blocks=1, time_window=3, meet=meet)
    judge = ConditionalDiscriminator(config).eval()
    coarse, fine, static = torch.randn(2, 1, 3, 6, 6), torch.randn(2, 1, 3, 12, 12), torch.randn(2, 1, 12, 12)
    logits = judge(fine, coarse, static)
    assert not torch.allclose(logits, judge(fine.flip(0), coarse, static))
    assert not torch.allclose(logits, judge(fine, coarse.flip(0), static))
    assert not torch.allclose(logits, judge(fine, coarse, static.flip(0)))
    torch.testing.assert_close(judge(fine.flip(0), coarse.flip(0), static.flip(0)), logits.flip(0))


@pytest.mark.parametrize("meet", ["coarse", "fine"])
def test_the_order_of_frames_matters(meet: Any) -> None:
    torch.manual_seed(0)
    judge = ConditionalDiscriminator(ConditionalDiscriminatorConfig(2, channels=8, time_window=3, meet=meet)).eval()
    coarse, fine = torch.randn(2, 1, 3, 6, 6), torch.randn(2, 1, 3, 12, 12)
    assert not torch.allclose(judge(fine, coarse), judge(fine.flip(2), coarse.flip(2)))


def test_they_learn_to_tell() -> None:
    """Smooth and rough fields are told apart after some steps, by both kinds."""
    torch.manual_seed(0)
    judges: list[nn.Module] = [
        SRGANDiscriminator(SRGANDiscriminatorConfig(widths=(8, 8), strides=(1, 2), dense=16)),
        ConditionalDiscriminator(ConditionalDiscriminatorConfig(2, channels=8, n_blocks=1, dropout=0.0)),
    ]
    for judge in judges:
        optimizer = torch.optim.Adam(judge.parameters(), 5e-3)
        for _ in range(60):
            rough, coarse = torch.randn(8, 1, 12, 12), torch.randn(8, 1, 6, 6)
            smooth = nn.functional.avg_pool2d(rough, 3, 1, 1) * 3
            loss = nn.functional.softplus(-judge(rough, coarse)) + nn.functional.softplus(judge(smooth, coarse))
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
        assert loss.mean() < 0.7  # 1.39 is guessing


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6, 8])
def test_strided_convolutions_lose_no_cell(factor: int) -> None:
    down = coarsening(2, factor)
    x = torch.zeros(1, 2, 3 * factor, 4 * factor, requires_grad=True)
    y = down(x)
    assert y.shape == (1, 2, 3, 4)
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=1) > 0).all()


def test_spectral_norm_is_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 3, 3)
    norm = SpectralNorm(weight, steps=200)
    expected = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
    torch.testing.assert_close(norm(weight), weight / expected, rtol=1e-4, atol=1e-5)
    before = norm.left.clone()
    norm.eval()(weight * 2)
    assert torch.equal(norm.left, before)  # it moves in training only


@pytest.mark.parametrize("kind", ["conditional", "srgan"])
def test_spectral_norm_everywhere_and_picklable(kind: str) -> None:
    settings: dict[str, Any] = (
        {"channels": 4, "n_blocks": 1} if kind == "conditional" else {"widths": (4,), "strides": (2,)}
    )
    judge = make(kind, factor=2, spectral_norm=True, **settings)
    assert all(isinstance(m.norm, SpectralNorm) for m in judge.modules() if isinstance(m, Convolution))
    fine, coarse = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 4, 4)
    judge(fine, coarse).sum().backward()
    again = pickle.loads(pickle.dumps(copy.deepcopy(judge)))
    torch.testing.assert_close(again.eval()(fine, coarse), judge.eval()(fine, coarse))


def test_the_sigmoid_of_compat() -> None:
    config = ConditionalDiscriminatorConfig(2, channels=4, n_blocks=0, compat="dl4ds")
    assert any(isinstance(m, nn.Sigmoid) for m in ConditionalDiscriminator(config).modules())


@pytest.mark.parametrize(
    "config",
    [
        SRGANDiscriminatorConfig(2, widths=(4, 4), strides=(1, 2), shape=(8, 12)),
        SRGANDiscriminatorConfig(),
        ConditionalDiscriminatorConfig(3, n_inputs=2, time_window=4, channels=4, n_blocks=1, meet="fine"),
    ],
)
def test_configuration_round_trip(config: Any) -> None:
    stored = json.loads(json.dumps(config.to_dict()))
    assert build(stored).config == config
    with pytest.raises(ConfigError, match=r"unknown settings \['colour'\] of the discriminator"):
        build({**stored, "colour": 1})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(OptionError, match=r"discriminator='magic' is not available; possible are \['conditional'"):
        make("magic", factor=2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"widths": (4,), "strides": (1, 2)}, "1 widths and 2 strides came"),
        ({"widths": (), "strides": ()}, "0 widths"),
        ({"dense": 0}, "wanted whole numbers of at least 1"),
        ({"shape": (8,)}, r"shape=\(8,\); wanted two numbers"),
    ],
)
def test_srgan_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SRGANDiscriminatorConfig(**change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"factor": 0}, "factor=0; wanted a whole number of at least 1"),
        ({"time_window": 0}, "time_window=0"),
        ({"meet": "half-way"}, "meet='half-way' is not available"),
        ({"compat": "old"}, "compat='old' is not available"),
        ({"dropout": 1.0}, "dropout=1.0; wanted a number of at least 0 and below 1"),
    ],
)
def test_conditional_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        ConditionalDiscriminatorConfig(**{"factor": 2, **change})


def test_fields_that_do_not_fit_are_refused() -> None:
    judge = make("conditional", factor=2, channels=4, n_blocks=0)
    fine, coarse = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)
    with pytest.raises(DimensionError, match="no coarse field came"):
        judge(fine)
    for wrong in (torch.zeros(1, 1, 4, 5), torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 3, 4, 4)):
        with pytest.raises(DimensionError, match="and 2 times the cells for the fine field"):
            judge(fine, wrong)
    with pytest.raises(DimensionError, match="a field of 5 axes came; this discriminator is made for single fields"):
        judge(fine[:, :, None], coarse[:, :, None])
    with pytest.raises(DimensionError, match="1 static fields came; this discriminator wants 0"):
        judge(fine, coarse, fine)


def test_all_combinations_that_a_generator_can_have() -> None:
    kinds = list(itertools.product(UPSAMPLINGS, (None, 4)))
    assert {make("conditional", factor=2, upsampling=u, time_window=t, channels=2).config.meet for u, t in kinds} == {
        "coarse", "fine",
    }  # fmt: skip
