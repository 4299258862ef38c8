"""Building blocks: each against its equation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.blocks import (
    ACTIVATIONS,
    ChannelAttention,
    ChannelLayerNorm,
    ConvLSTM,
    ConvNeXtBlock,
    ConvolutionBlock,
    DenseLayer,
    LayerStyle,
    LocalisedLayer,
    RecurrentBlock,
    ResidualBlock,
    SeparableConvolution,
    make_activation,
    make_dropout,
    make_norm,
)
from xatmo.nn.blocks.attention import local_mean
from xatmo.nn.blocks.dropout import Dropout, DropPath


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_by_name(name: str) -> None:
    x = torch.linspace(-3, 3, 25)
    y = make_activation(name)(x)
    if name == "linear":
        expected = x
    elif name == "leaky_relu":
        expected = torch.where(x > 0, x, 0.2 * x)
    else:
        expected = getattr(nn.functional, name, getattr(torch, name, None))(x)
    torch.testing.assert_close(y, expected)


def test_layer_norm_over_channels() -> None:
    x = torch.randn(2, 6, 3, 5)
    norm = ChannelLayerNorm(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    z = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    expected = z * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)
    last = x.contiguous(memory_format=torch.channels_last)
    assert norm(last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["vanilla", "gaussian", "spatial", "path"])
@pytest.mark.parametrize("mc", [False, True])
def test_dropout_keeps_the_mean_and_is_off_in_evaluation_unless_told(kind: str, mc: bool) -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25, mc=mc) if kind == "path" else make_dropout(kind, 0.25, mc=mc)
    assert isinstance(layer, Dropout)
    x = torch.ones(400, 8, 6, 6)
    for training in (True, False):
        y = layer.train(training)(x)
        if training or mc:
            assert y.mean().item() == pytest.approx(1, abs=0.1)
            assert y.var().item() == pytest.approx(1 / 3, rel=0.2)  # rate / (1 - rate)
        else:
            assert y is x
    assert layer.stochastic == mc
    low = layer.train()(x.bfloat16())
    assert low.dtype == torch.bfloat16


def test_spatial_dropout_takes_whole_maps() -> None:
    y = make_dropout("spatial", 0.5)(torch.ones(5, 20, 4, 4))
    assert bool((y.flatten(2) == y[:, :, 0, 0, None]).all())
    assert set(y.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("reach", [None, 0, 1, 3])
def test_channel_attention(reach: int | None) -> None:
    x = torch.randn(2, 8, 6, 9)
    layer = ChannelAttention(8, reach=reach)
    y = layer(x)
    at = (1, 4, 7)
    rows, columns = (slice(None),) * 2
    if reach is not None:
        rows, columns = slice(max(0, 4 - reach), 5 + reach), slice(max(0, 7 - reach), 8 + reach)
    mean = x[1, :, rows, columns].mean((-2, -1))
    w1, b1 = layer.squeeze.weight[:, :, 0, 0], layer.squeeze.bias
    w2, b2 = layer.excite.weight[:, :, 0, 0], layer.excite.bias
    gate = torch.sigmoid(w2 @ torch.relu(w1 @ mean + b1) + b2)
    torch.testing.assert_close(y[at[0], :, at[1], at[2]], x[at[0], :, at[1], at[2]] * gate)
    assert layer.squeeze.out_channels == 2


def test_local_mean_counts_cells_that_exist() -> None:
    x = torch.randn(1, 2, 5, 4)
    y = local_mean(x, 2)
    for i in range(5):
        for j in range(4):
            around = x[0, :, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3].mean((-2, -1))
            torch.testing.assert_close(y[0, :, i, j], around)


def test_convlstm_is_its_recurrence() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(2, 3, 3)
    x = torch.randn(4, 2, 2, 5, 6)
    h = c = torch.zeros(2, 3, 5, 6)
    for t, frame in enumerate(x):
        both = nn.functional.conv2d(
            torch.cat([frame, h], 1),
            torch.cat([layer.input.weight, layer.state.weight], 1),
            layer.input.bias,
            padding=1,
        )
        i, f, o, g = both.split(3, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(layer(x)[t], h)
    assert layer.input.bias is not None
    assert layer.input.bias.tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6


def test_gradients_of_convlstm() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(1, 2, 3).double()
    x = torch.randn(3, 1, 1, 3, 2, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return layer(x)

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


def test_convlstm_under_bfloat16() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(2, 4, 3)
    x = torch.randn(6, 2, 2, 5, 6)
    grads = []
    for low in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            y = layer(x)
        y.float().square().sum().backward()
        grads.append([p.grad.clone() for p in layer.parameters()])
    for a, b in zip(*grads, strict=True):
        assert (a - b).abs().max() < 0.05 * a.abs().max()


def test_convlstm_can_remember() -> None:
    layer = ConvLSTM(1, 1, 3)
    for p in layer.parameters():
        nn.init.zeros_(p)
    with torch.no_grad():
        layer.input.bias += torch.tensor([10.0, 10.0, 10.0, 0.0])  # all gates open
        layer.input.weight[3, 0, 1, 1] = 10.0
    x = torch.zeros(5, 1, 1, 3, 3)
    x[0] = 1.0
    torch.testing.assert_close(layer(x)[-1], torch.full((1, 1, 3, 3), 1.0).tanh(), rtol=1e-3, atol=1e-3)


def test_localised_layer_has_weights_by_cell() -> None:
    layer = LocalisedLayer(3, 2, (4, 5))
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(layer(x)[1, :, 2, 3], layer.weight[:, :, 2, 3] @ x[1, :, 2, 3] + layer.bias[:, 2, 3])


def test_separable_convolution_is_an_ordinary_one_of_rank_one() -> None:
    layer = SeparableConvolution(3, 4)
    x = torch.randn(1, 3, 5, 6)
    kernel = layer.pointwise.weight * layer.depthwise.weight[:, 0][None]
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, kernel, layer.pointwise.bias, padding=1))


def test_dense_layer_activates_before_it_convolves() -> None:
    layer = DenseLayer(4, 2, style=LayerStyle(norm="layer", activation="relu"))
    nn.init.constant_(layer.first_norm.bias, -100.0)  # nothing passes the first activation
    x = torch.randn(1, 4, 5, 5)
    y = layer(x)
    assert torch.equal(y[:, :4], x)
    torch.testing.assert_close(y[:, 4:], layer(torch.randn(1, 4, 5, 5))[:, 4:])


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("separable", [False, True])
def test_residual_block_starts_as_the_identity(norm: str | None, separable: bool) -> None:
    x = torch.randn(2, 4, 5, 6)
    block = ResidualBlock(4, LayerStyle(norm=norm, separable=separable))
    torch.testing.assert_close(block(x), x)
    block(x).sum().backward()


def test_bias_only_without_normalization() -> None:
    for norm, bias in ((None, True), ("batch", False), ("layer", False)):
        convolutions = [m for m in ConvolutionBlock(2, 4, LayerStyle(norm=norm)).modules() if isinstance(m, nn.Conv2d)]
        assert [c.bias is not None for c in convolutions] == [bias, bias]


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("make", [ResidualBlock, ConvNeXtBlock, lambda n, s: ConvolutionBlock(n, n, s)])
def test_halo_of_blocks(make: Any, attention: bool) -> None:
    torch.manual_seed(0)
    block = make(16, LayerStyle(attention=attention)).eval()
    for p in block.parameters():
        nn.init.normal_(p, std=0.2)
    x = torch.randn(1, 16, 3, 30)
    moved = x.clone()
    moved[..., 0] += 5
    changed = (block(x) - block(moved)).abs().amax((0, 1, 2))
    assert changed[block.halo + 1 :].max() < 1e-6
    assert changed[block.halo] > 1e-6


def test_recurrent_block_keeps_channels_last() -> None:
    x = torch.randn(3 * 2, 2, 5, 6).contiguous(memory_format=torch.channels_last)
    block = RecurrentBlock(2, 4).to(memory_format=torch.channels_last)
    y = block(torch.unflatten(x, 0, (3, 2)))
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: make_activation("swish"), "activation='swish' is not available; possible are"),
        (lambda: make_norm("group", 4), r"norm='group' is not available; possible are \['batch', 'layer'\] or None"),
        (lambda: make_dropout("block", 0.1), "dropout_kind='block' is not available"),
        (lambda: make_dropout("vanilla", -0.1), "dropout=-0.1; wanted a number of at least 0 and below 1"),
        (lambda: ChannelAttention(4, reach=-1), "reach=-1; wanted a number of cells, or None"),
        (lambda: LocalisedLayer(1, 1, (0, 3)), r"shape=\(0, 3\); wanted the numbers of rows and columns"),
    ],
)
def test_refusals(make: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        make()
