"""Noise that generators read, and the mean of networks with Monte Carlo dropout."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig, build
from xatmo.nn.superres.noise import to_coarse
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig
from xatmo.nn.superres.srgan import build as build_srgan


def make(**settings: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = {"channels": 4, "n_blocks": 1, "n_inputs": 2, "n_noise": 2, **settings}
    network: torch.nn.Module
    if settings.pop("srgan", False):
        network = SRGAN(SRGANConfig((3,), **settings))
    else:
        network = SuperResolution(SuperResolutionConfig(3, **settings))
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return network.eval()


KINDS: list[dict[str, Any]] = [
    {}, {"upsampling": "interpolation"}, {"time_window": 2}, {"time_window": 2, "upsampling": "interpolation"},
    {"compat": "dl4ds", "baseline": None}, {"srgan": True}, {"n_static": 1}, {"srgan": True, "n_static": 1},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_noise_gives_the_same_answer(kind: dict[str, Any]) -> None:
    network = make(**kind)
    frames = (2,) if "time_window" in kind else ()
    x, noise = torch.randn(2, 2, *frames, 4, 6), torch.randn(2, 2, *frames, 12, 18)
    static = torch.randn(1, 1, 12, 18) if "n_static" in kind else None
    with torch.no_grad():
        y = network(x, static, noise)
        assert y.shape == (2, 1, *frames, 12, 18)
        assert torch.equal(y, network(x, static=static, noise=noise))
        assert not torch.equal(y, network(x, static, -noise))
        torch.manual_seed(1)
        a = network(x, static)
        torch.manual_seed(1)
        expected = torch.randn(2, 2, *frames, 12, 18)
        assert torch.equal(a, network(x, static, expected))
    assert network.stochastic
    assert network.n_noise == 2
    assert not hasattr(network, "mean")
    config = json.loads(json.dumps(network.config.to_dict()))
    assert (build_srgan if kind.get("srgan") else build)(config).config == network.config
    with pytest.raises(DimensionError, match=r"noise is \(1, 2, .*wanted \(2, 2, "):
        network(x, static, noise[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_reaches_no_further_than_the_halo(kind: dict[str, Any]) -> None:
    if "compat" in kind:
        pytest.skip("attention over the whole window")
    network = make(**kind)
    frames = (2,) if "time_window" in kind else ()
    size = network.halo + 4
    x, noise = torch.randn(1, 2, *frames, 3, size), torch.randn(1, 2, *frames, 9, 3 * size)
    static = torch.randn(1, 1, 9, 3 * size) if "n_static" in kind else None
    moved = noise.clone()
    moved[..., :3] += 3.0
    with torch.no_grad():
        changed = (network(x, static, moved) - network(x, static, noise)).abs().flatten(0, -2).amax(0)
    assert changed[:3].max() > 1e-6
    assert changed[3 * (network.halo + 1) :].max() <= 1e-5 * changed.max()


def test_noise_is_brought_to_the_coarse_grid_without_loss() -> None:
    noise = torch.randn(2, 3, 8, 12)
    assert torch.equal(torch.nn.functional.pixel_shuffle(to_coarse(noise, 4), 4), noise)


def test_networks_without_noise_refuse_it() -> None:
    for network in (make(n_noise=0), make(n_noise=0, srgan=True)):
        assert not network.stochastic
        with pytest.raises(DimensionError, match=r"noise \(1, 1, 12, 18\) came; this network takes none"):
            network(torch.zeros(1, 2, 4, 6), noise=torch.zeros(1, 1, 12, 18))
    with pytest.raises(OptionError, match="n_noise=-1; wanted a whole number of at least 0"):
        SuperResolutionConfig(2, n_noise=-1)
    with pytest.raises(OptionError, match="n_noise=-1; wanted a whole number of at least 0"):
        SRGANConfig(n_noise=-1)


def test_the_mean_of_a_network_with_monte_carlo_dropout() -> None:
    network = make(n_noise=0, dropout=0.3, mc_dropout=True)
    plain = make(n_noise=0)
    plain.load_state_dict(network.state_dict())
    x = torch.randn(1, 2, 5, 6)
    with torch.no_grad():
        assert torch.equal(network.mean(x), plain(x))
        assert torch.equal(copy.deepcopy(network).mean(x), plain(x))
        assert not torch.equal(network(x), plain(x))
    assert not hasattr(plain, "mean")
