"""Residual diffusion: preconditioning, samplers against closed forms, reach, windows that agree, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import ConfigError, DimensionError, OptionError
from xatmo.nn.diffusion import DiffusionConfig, ResidualDiffusion, build, heun, multistep, noise_levels
from xatmo.nn.diffusion.precondition import precondition
from xatmo.nn.diffusion.unet import DenoiserUNet
from xatmo.nn.superres import SuperResolutionConfig

SMALL = {"channels": 4, "n_blocks": 1, "n_coarse_blocks": 1, "n_steps": 4}


def network(factor: int = 2, mean: dict[str, Any] | None = None, *, live: bool = True, **kwargs: Any) -> Any:
    """A small network; ``live``: with random weights where it would start at zero."""
    torch.manual_seed(0)
    config = SuperResolutionConfig(factor, **{"channels": 4, "n_blocks": 1, **(mean or {})})
    net = ResidualDiffusion(DiffusionConfig(config, **{**SMALL, **kwargs}))
    if live:
        for parameter in net.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return net.eval()


# ---------------------------------------------------------------------- preconditioning
def test_what_the_network_reads_and_what_it_is_to_give_have_variance_one() -> None:
    sigma = torch.logspace(-3, 3, 13, dtype=torch.float64)
    c = precondition(sigma)
    torch.testing.assert_close(c.into.square() * (1 + sigma**2), torch.ones_like(sigma))
    # The target (r - skip (r + sigma n)) / out, r and n of variance 1 and independent:
    target = ((1 - c.skip) ** 2 + (c.skip * sigma) ** 2) / c.out**2
    torch.testing.assert_close(target, torch.ones_like(sigma))
    torch.testing.assert_close(c.weight * c.out**2, torch.ones_like(sigma))
    torch.testing.assert_close(c.noise, sigma.log() / 4)


def test_without_noise_the_denoiser_leaves_its_input_alone() -> None:
    net = network()
    noisy, condition = torch.randn(2, 1, 8, 8), torch.randn(2, 2, 8, 8)
    for sigma in (1e-3, 1e-5):
        made = net.denoise(noisy, torch.full((2,), sigma), condition)
        assert float((made - noisy).detach().abs().max()) < 10 * sigma
    far = precondition(torch.tensor(1e4))
    assert (far.skip, far.out) == (pytest.approx(0, abs=1e-7), pytest.approx(1))


# ---------------------------------------------------------------------- samplers
SAMPLERS = pytest.mark.parametrize("sample", [heun, multistep])
Sampler = Callable[..., torch.Tensor]


@SAMPLERS
def test_gaussian_data_are_sampled_with_their_mean_and_covariance(sample: Sampler) -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    covariance, mean = root @ root.T, torch.arange(5, dtype=torch.float64)
    identity = torch.eye(5, dtype=torch.float64)

    def denoise(y: torch.Tensor, sigma: float) -> torch.Tensor:  # the mean given y, in closed form
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * identity)
        return mean + (y - mean) @ gain.T

    levels = noise_levels(160, 1e-3, 1000.0)
    at_zero = sample(denoise, torch.zeros(1, 5, dtype=torch.float64), levels)[0]
    linear = sample(denoise, identity, levels) - at_zero  # the sampler is linear here: its matrix, transposed
    torch.testing.assert_close(at_zero, mean, rtol=0, atol=0.01)
    torch.testing.assert_close(linear.T @ linear, covariance, rtol=0.01, atol=0.01)


@SAMPLERS
def test_the_error_falls_with_the_square_of_the_number_of_steps(sample: Sampler) -> None:
    variance = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    low, high = 0.05, 20.0
    exact = high * ((variance + low**2) / (variance + high**2)).sqrt() * variance / (variance + low**2)

    def error(n: int) -> torch.Tensor:
        made = sample(
            lambda y, s: variance / (variance + s**2) * y, torch.ones_like(variance), noise_levels(n, low, high)
        )
        return (made - exact).abs()

    coarse, fine, finest = error(65), error(129), error(257)
    assert ((fine / finest > 3.5) & (fine / finest < 4.5)).all()
    assert ((coarse / fine > 3.2) & (coarse / fine < 4.8)).all()


def test_at_equal_cost_the_multistep_sampler_is_the_more_accurate() -> None:
    variance = torch.logspace(-2, 2, 9, dtype=torch.float64)

    def worst(sample: Sampler, n: int) -> float:
        calls = []

        def denoise(y: torch.Tensor, sigma: float) -> torch.Tensor:
            calls.append(sigma)
            return variance / (variance + sigma**2) * y

        made = sample(denoise, torch.ones_like(variance), noise_levels(n, 0.01, 40.0)) / variance.sqrt()
        assert len(calls) == (2 * n - 1 if sample is heun else n)
        return float((made - 1).abs().max())

    config = DiffusionConfig(SuperResolutionConfig(2))
    assert (config.sampler, config.sigma_min, config.sigma_max) == ("multistep", 0.01, 40.0)
    assert worst(multistep, config.n_steps) < 0.1  # the default
    assert worst(multistep, 13) < 0.2 * worst(heun, 7)
    assert worst(heun, 18) < 0.1


def test_levels() -> None:
    levels = noise_levels(18, 0.002, 80.0)
    assert levels[0] == 80.0
    assert levels[-2:] == pytest.approx([0.002, 0.0])
    assert all(a > b for a, b in pairwise(levels))
    with pytest.raises(OptionError, match="n_steps=1.*wanted at least 2 steps"):
        noise_levels(1, 0.1, 1.0)


class Analytic(nn.Module):
    """The network whose denoiser is that of residuals of another variance, each cell for itself."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.variance = variance

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        sigma = (4 * noise).exp()
        c = precondition(sigma)
        skip, out, into = (part[:, None, None, None] for part in (c.skip, c.out, c.into))
        noisy = x[:, :1] / into
        gain = self.variance / (self.variance + sigma[:, None, None, None] ** 2)
        return (gain - skip) * noisy / out


@pytest.mark.parametrize(("sampler", "n_steps"), [("heun", 60), ("multistep", 60)])
def test_the_whole_network_with_the_right_denoiser_gives_the_right_spread(sampler: str, n_steps: int) -> None:
    net = network(2, sampler=sampler, n_steps=n_steps)
    net.unet = Analytic(4.0)
    net.sigma_data.fill_(0.3)
    x, noise = torch.randn(1, 1, 6, 7), torch.randn(1, 1, 12, 14)
    with torch.inference_mode():
        drawn = net(x, noise=noise) - net.mean(x)
    torch.testing.assert_close(drawn, 0.3 * 2.0 * noise, rtol=0.02, atol=1e-4)  # every cell its own noise, scaled


# ---------------------------------------------------------------------- shapes
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 6])
def test_any_factor_and_any_rectangle(factor: int) -> None:
    net = network(factor, n_blocks=0)
    x = torch.randn(2, 1, 3, 5)
    with torch.inference_mode():
        made = net(x)
    assert made.shape == net.mean(x).shape == (2, 1, 3 * factor, 5 * factor)
    assert made.dtype == torch.float32
    assert made.isfinite().all()
    assert (net.factor, net.n_noise, net.stochastic) == (factor, 1, True)


def test_channels_static_fields_and_offsets() -> None:
    mean = {"n_inputs": 3, "n_outputs": 2, "baseline_channels": (0, -1), "n_static": 2, "row_offset": -0.5}
    net = network(2, mean)
    x, static, noise = torch.randn(2, 3, 4, 5), torch.randn(1, 2, 8, 10), torch.randn(2, 2, 8, 10)
    with torch.inference_mode():
        made = net(x, static, noise)
        assert (net.n_static, net.n_noise, made.shape) == (2, 2, (2, 2, 8, 10))
        torch.testing.assert_close(made, net(x, static.expand(2, -1, -1, -1), noise))
        other = static.clone()
        other[0, 1, 4, 5] += 1
        assert not torch.equal(made, net(x, other, noise))
        net.sigma_data.copy_(torch.tensor([0.0, 1.0]))
        torch.testing.assert_close(net(x, static, noise)[:, 0], net.mean(x, static)[:, 0])
    with pytest.raises(DimensionError, match="takes 2 static fields and got none"):
        net(x)


@pytest.mark.parametrize("window", [None, 3])
def test_frames_of_a_window_are_drawn_each_by_itself(window: int | None) -> None:
    net = network(2, {"time_window": window, "n_static": 1})
    x, static, noise = torch.randn(2, 1, 3, 4, 5), torch.randn(2, 1, 8, 10), torch.randn(2, 1, 3, 8, 10)
    with torch.inference_mode():
        made, mean = net(x, static, noise), net.mean(x, static)
        assert made.shape == mean.shape == (2, 1, 3, 8, 10)
        assert (net.mean_network(x, static) if window else net.mean(x[:, :, 1], static)).ndim == (5 if window else 4)
        if window is None:
            torch.testing.assert_close(made[:, :, 1], net(x[:, :, 1], static, noise[:, :, 1]), rtol=1e-4, atol=1e-5)
        other = noise.clone()
        other[:, :, 1] = 0
        again = net(x, static, other)
    torch.testing.assert_close(again[:, :, ::2], made[:, :, ::2])  # noise of one frame is that frame's only
    assert not torch.equal(again[:, :, 1], made[:, :, 1])


def test_noise_decides() -> None:
    net = network()
    x = torch.randn(2, 1, 4, 4)
    with torch.inference_mode():
        torch.manual_seed(3)
        first = net(x)
        torch.manual_seed(3)
        assert torch.equal(first, net(x))
        torch.manual_seed(3)
        noise = torch.randn(2, 1, 8, 8)
        torch.testing.assert_close(net(x[:1], noise=noise[:1]), first[:1], rtol=1e-4, atol=1e-5)
        assert not torch.equal(first, net(x))
    with pytest.raises(DimensionError, match=r"noise is \(2, 1, 4, 4\); wanted \(2, 1, 8, 8\)"):
        net(x, noise=torch.randn(2, 1, 4, 4))


# ---------------------------------------------------------------------- reach and windows
@pytest.mark.parametrize(("factor", "blocks", "coarse"), [(1, 1, 2), (2, 1, 1), (4, 1, 2), (5, 1, 1), (6, 2, 1)])
def test_one_evaluation_reads_no_farther_than_it_says(factor: int, blocks: int, coarse: int) -> None:
    net = DenoiserUNet(2, 1, factor, channels=4, n_blocks=blocks, n_coarse_blocks=coarse)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    middle = net.halo + 2
    x = torch.randn(1, 2, *2 * [(2 * middle + 1) * factor], requires_grad=True)
    farthest = 0
    for place in {0, factor // 2, factor - 1}:
        out = net(x, torch.zeros(1))[0, 0, middle * factor + place, middle * factor + place]
        (slope,) = torch.autograd.grad(out, x)
        cells = slope.abs().sum((0, 1)).nonzero() // factor
        farthest = max(farthest, int((cells - middle).abs().max()))
    assert farthest == net.halo


@pytest.mark.parametrize(("margin", "tolerance"), [(1, 0.1), (2, 2e-3)])
def test_windows_agree_with_the_whole_field(margin: int, tolerance: float) -> None:
    """Wherever in coarse cells a window begins; noise is that of the place. Random weights forget an edge slowly."""
    net = network(4, n_coarse_blocks=1, n_steps=8)
    edge = margin * net.halo
    rows = 2 * edge + 4
    x, noise = torch.randn(1, 1, rows + 5, rows + 7), torch.randn(1, 1, 4 * (rows + 5), 4 * (rows + 7))
    top, left = 3, 5
    with torch.inference_mode():
        whole, mean = net(x, noise=noise), net.mean(x)
        window = net(
            x[..., top : top + rows, left : left + rows],
            noise=noise[..., 4 * top : 4 * (top + rows), 4 * left : 4 * (left + rows)],
        )
    fine = slice(4 * edge, -4 * edge)
    here = (..., slice(4 * top, 4 * (top + rows)), slice(4 * left, 4 * (left + rows)))
    there, around = (f[here][..., fine, fine] for f in (whole, mean))
    spread = float((there - around).std())
    assert spread > 0.5
    assert float((window[..., fine, fine] - there).abs().max()) < tolerance * spread


# ---------------------------------------------------------------------- precision, settings
def test_bfloat16_inside_float32_outside() -> None:
    net = network(2, n_steps=8)
    x, noise = torch.randn(1, 1, 6, 6), torch.randn(1, 1, 12, 12)
    with torch.inference_mode():
        exact = net(x, noise=noise)
        with torch.autocast("cpu", torch.bfloat16):
            made = net(x, noise=noise)
    assert made.dtype == torch.float32
    assert 0 < float((made - exact).abs().max()) < 0.1 * float(exact.std())


def test_settings_survive_json() -> None:
    net = network(3, {"n_static": 1, "time_window": 4, "backbone": "plain"}, sampler="heun", sigma_max=20.0)
    config = json.loads(json.dumps(net.config.to_dict()))
    again = build(config)
    assert config["kind"] == "diffusion"
    assert again.config == net.config
    again.load_state_dict(net.state_dict())
    assert set(DiffusionConfig.settings()) == set(config) - {"kind", "mean"}
    with pytest.raises(ConfigError, match=r"unknown settings \['magic'\] of a diffusion network"):
        build({**config, "magic": 1})
    with pytest.raises(ConfigError, match="mean=None; wanted the settings of the mean network"):
        build({"kind": "diffusion"})


def test_the_default_is_small() -> None:
    net = ResidualDiffusion(DiffusionConfig(SuperResolutionConfig(4)))
    assert 1e6 < sum(p.numel() for p in net.parameters()) < 3e6
    assert "sigma_data" in net.state_dict()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": 1}, "channels=1; wanted a whole number of at least 2"),
        ({"n_steps": True}, "n_steps=True; wanted a whole number of at least 2"),
        ({"n_blocks": -1}, "n_blocks=-1"),
        ({"sampler": "euler"}, "sampler='euler' is not available; possible are"),
        ({"sigma_min": 0.0}, "sigma_min=0.0; wanted a positive number"),
        ({"rho": math.inf}, "rho=inf; wanted a positive number"),
        ({"sigma_min": 50.0}, r"sigma_min=50.0, sigma_max=40.0; wanted the first below the second"),
        ({"mean": None}, "mean is NoneType; wanted a SuperResolutionConfig"),
        (
            {"mean": SuperResolutionConfig(2, dropout=0.1, mc_dropout=True)},
            "mc_dropout=True and n_noise=0",
        ),
        ({"mean": SuperResolutionConfig(2, n_noise=1)}, "n_noise=1, so it draws itself; wanted one without"),
    ],
)
def test_refusals(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        replace(DiffusionConfig(SuperResolutionConfig(2)), **change)
