"""The SRGAN generator: both published shapes, sizes, the start without checkerboard, the reach, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import ConfigError, DimensionError, OptionError
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig, build


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_of_the_published_networks() -> None:
    body, join = 16 * 2 * (64 * 64 * 9 + 64), 64 * 64 * 9 + 64
    ends = (2 * 64 * 81 + 64) + (64 * 2 * 81 + 2)
    atmodist = SRGAN(SRGANConfig.atmodist(n_inputs=2, n_outputs=2))
    assert n_parameters(atmodist) == ends + body + join + 2 * (64 * 256 * 9 + 256) == 1_534_850  # 1.53 M
    ends = (2 * 64 * 9 + 64) + (64 * 2 * 9 + 2)
    phire = SRGAN(SRGANConfig.phire((2, 5), n_inputs=2, n_outputs=2))
    assert n_parameters(phire) == ends + body + join + (64 * 256 * 9 + 256) + (64 * 1600 * 9 + 1600)


@pytest.mark.parametrize("factors", [(2, 5), (5,), (2, 2), (3,), (2, 2, 2), (2, 3)])
@pytest.mark.parametrize("kind", ["phire", "atmodist"])
def test_any_factors_channels_and_rectangle(factors: tuple[int, ...], kind: str) -> None:
    config = getattr(SRGANConfig, kind)(factors, n_inputs=3, n_outputs=2, channels=4, n_blocks=1)
    network, factor = SRGAN(config), config.factor
    assert network(torch.randn(2, 3, 4, 7)).shape == (2, 2, 4 * factor, 7 * factor)
    assert (network.factor, network.stochastic, network.n_static) == (factor, False, 0)


def test_each_frame_of_a_window_is_refined_by_itself() -> None:
    torch.manual_seed(0)
    network = SRGAN(SRGANConfig((3,), n_inputs=2, n_static=2, channels=4, n_blocks=1)).eval()
    x, static = torch.randn(2, 2, 5, 4, 6), torch.randn(2, 2, 12, 18)
    y = network(x, static)
    assert y.shape == (2, 1, 5, 12, 18)
    for t in range(5):
        torch.testing.assert_close(y[:, :, t], network(x[:, :, t], static))
    assert not torch.allclose(y, network(x, torch.zeros_like(static)))


def test_a_stage_starts_without_a_checkerboard() -> None:
    torch.manual_seed(0)
    network = SRGAN(SRGANConfig((5,), channels=4, n_blocks=0))
    fine = network.stages(torch.randn(1, 4, 3, 3))
    blocks = fine.reshape(1, 4, 3, 5, 3, 5)
    torch.testing.assert_close(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))


@pytest.mark.parametrize(
    "config", [SRGANConfig((2,), kernel=5), SRGANConfig((2, 3), kernel=9), SRGANConfig.phire((5,))]
)
def test_halo_is_the_reach_of_the_network(config: SRGANConfig) -> None:
    torch.manual_seed(0)
    config = SRGANConfig(config.factors, channels=3, n_blocks=1, kernel=config.kernel, padding=config.padding)
    network = SRGAN(config).double()
    for p in network.parameters():
        nn.init.normal_(p, std=0.3)
    size = 2 * network.halo + 9
    x = torch.randn(1, 1, size, size, dtype=torch.float64)
    moved = x.clone()
    moved[..., 0] += 10.0
    changed = ((network(x) - network(moved)).abs().amax(dim=(0, 1, 2)) > 0).nonzero().max().item()
    factor = network.factor
    assert changed < factor * (network.halo + 1)
    assert changed >= factor * (network.halo - 1)  # and not needlessly large


def test_mirrored_ends_are_those_of_a_padded_transposed_convolution() -> None:
    """Padding by 3 mirrored cells, a transposed 3 x 3 convolution, cropping by 3: what PhIRE does at both ends."""
    torch.manual_seed(0)
    network = SRGAN(SRGANConfig.phire((2,), n_inputs=2, channels=4))
    x = torch.randn(1, 2, 6, 7)
    kernel = network.stem.weight.flip(-1, -2).transpose(0, 1)
    padded = nn.functional.pad(x, (3, 3, 3, 3), mode="reflect")
    published = nn.functional.conv_transpose2d(padded, kernel, network.stem.bias, padding=1)[..., 3:-3, 3:-3]
    torch.testing.assert_close(network.stem(x), published)


def test_configuration_round_trip() -> None:
    config = SRGANConfig.phire((2, 5), n_inputs=2, n_outputs=2, channels=4, n_blocks=1)
    stored = json.loads(json.dumps(config.to_dict()))
    assert stored["kind"] == "srgan"
    assert build(stored).config == config
    with pytest.raises(ConfigError, match=r"unknown settings \['colour'\] of an SRGAN generator"):
        build({**stored, "colour": 1})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"factors": ()}, r"factors=\(\); wanted whole numbers of at least 2"),
        ({"factors": (2, 1)}, r"factors=\(2, 1\)"),
        ({"factors": (2.5,)}, r"factors=\(2.5,\)"),
        ({"channels": 0}, "channels=0; wanted a whole number of at least 1"),
        ({"n_static": -1}, "n_static=-1; wanted a whole number of at least 0"),
        ({"kernel": 4}, "kernel=4; wanted an odd width"),
        ({"padding": "wrap"}, "padding='wrap' is not available"),
        ({"activation": "magic"}, "activation='magic' is not available"),
    ],
)
def test_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SRGANConfig(**change)


def test_fields_that_do_not_fit_are_refused() -> None:
    network = SRGAN(SRGANConfig.phire((2,), channels=4, n_blocks=0, n_static=1))
    with pytest.raises(DimensionError, match="0 static fields came; this network wants 1"):
        network(torch.zeros(1, 1, 4, 4))
    with pytest.raises(DimensionError, match="1 x 4 cells cannot be mirrored; wanted at least 2"):
        network(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 2, 8))
