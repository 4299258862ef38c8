"""Standard errors of variational networks: what the head reads, what learns from it, whether they are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xatmo.errors import OptionError
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations
from xatmo.train import Batch, FourDVar, FourDVarLoss

SMALL: dict[str, Any] = {
    "time_window": 3, "prior_channels": 4, "solver_channels": 16, "n_levels": 1, "n_steps": 2, "padding": "zeros",
}  # fmt: skip


def network(**settings: Any) -> FourDVarNetwork:
    torch.manual_seed(0)
    net = FourDVarNetwork(FourDVarConfig(**{**SMALL, "error": True, **settings}))
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return net


def batch(net: FourDVarNetwork, size: tuple[int, int] = (16, 20), n: int = 2) -> Batch:
    torch.manual_seed(2)
    config = net.config
    target = torch.randn(n, config.n_outputs, 3, *size)
    values = torch.where(
        torch.rand(n, config.n_observations, 3, *size) < 0.2, target[:, list(config.observed or ())], torch.nan
    )
    domain = torch.ones(1, 1, 1, *size, dtype=torch.bool)
    domain[..., :4, :5] = False
    return Batch(net.pack(Observations.of(values), torch.zeros_like(target), domain), target)


@pytest.mark.parametrize(
    "settings",
    [{}, {"n_outputs": 2, "n_observations": 3}, {"resize_factor": 2}, {"state": "augmented"}, {"solver": "cnn"}],
)
def test_errors_stand_behind_the_analysis_and_are_positive_in_the_domain(settings: dict[str, Any]) -> None:
    net = network(**settings)
    given = batch(net).input
    with torch.inference_mode():
        made = net(given)
        alone = net.solve(given).analysis
    n = net.config.n_outputs
    assert made.shape == (2, 2 * n, 3, 16, 20)
    torch.testing.assert_close(made[:, :n], alone, equal_nan=True)
    land = torch.zeros(16, 20, dtype=torch.bool)
    land[:4, :5] = True
    assert bool(made[..., land].isnan().all())
    std = made[:, n:, ..., ~land]
    assert bool((std > 0).all())
    assert float(std.std()) > 0  # it depends on what is read


def test_the_analysis_does_not_feel_the_head() -> None:
    plain, with_error = network(error=False), network()
    with_error.load_state_dict(plain.state_dict(), strict=False)
    given = batch(plain)
    total, parts = FourDVar(plain).losses(given, np.random.default_rng(0), training=True)
    total.backward()  # type: ignore[no-untyped-call]
    module = FourDVar(with_error, FourDVarLoss(error=7.0))
    both, told = module.losses(given, np.random.default_rng(0), training=True)
    both.backward()  # type: ignore[no-untyped-call]
    assert module.loss_names == ("value", "error")
    assert set(parts) == {"value"}
    assert float(told["value"].detach()) == pytest.approx(float(parts["value"].detach()), rel=1e-6)
    for name, p in plain.named_parameters():
        torch.testing.assert_close(with_error.get_parameter(name).grad, p.grad)
    heads = [p.grad for n, p in with_error.named_parameters() if n.startswith("error.")]
    assert heads
    assert all(g is not None and float(g.abs().max()) > 0 for g in heads)


def test_modes_that_tell_errors() -> None:
    net = network(n_observations=2)
    given = batch(net)
    held = FourDVar(net, mode="held_back", held_back=0.5)
    assert held.tells_error
    assert np.isfinite(float(held.losses(given, np.random.default_rng(0), training=True)[1]["error"].detach()))
    assert not FourDVar(net, FourDVarLoss(error=0.0)).tells_error
    fixed = network(learn_weights=False)
    assert not FourDVar(fixed, mode="variational").tells_error
    assert not FourDVar(network(error=False)).tells_error


def test_an_error_that_is_no_bool_is_refused() -> None:
    with pytest.raises(OptionError, match="error='yes'; wanted True or False"):
        FourDVarConfig(error="yes")  # type: ignore[arg-type]


def test_the_head_is_local() -> None:
    net = network()
    head = net.error
    assert head is not None
    assert head.halo <= net.halo
    torch.manual_seed(3)
    fields = [torch.randn(1, 1, 3, 8, 96) for _ in range(3)]
    obs = Observations.of(torch.where(torch.rand(1, 1, 3, 8, 96) < 0.2, fields[0], torch.nan))
    moved = fields[2].clone()
    moved[..., 48] += 1
    with torch.inference_mode():
        change = head(*fields, obs, None) - head(fields[0], fields[1], moved, obs, None)
    seen = change.abs().amax(dim=(0, 1, 2, 3)) > 0
    assert bool(seen[48])
    assert not bool(seen[: 48 - head.halo].any())
    assert not bool(seen[48 + head.halo + 1 :].any())


def waves(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random fields seen along columns, at one end of the window more than at the other."""
    generator = torch.Generator().manual_seed(seed)
    t, y, x = torch.meshgrid(*(torch.arange(float(m)) for m in (3, 16, 16)), indexing="ij")
    k = 0.5 * torch.randn(3, n, 1, 12, 1, 1, 1, generator=generator)
    phase = 6.28 * torch.rand(n, 1, 12, 1, 1, 1, generator=generator)
    target = (k[0] * x + k[1] * y + 0.5 * k[2] * t + phase).cos().sum(2) / 6**0.5
    often = torch.tensor([0.05, 0.1, 0.3]).reshape(3, 1, 1)
    columns = torch.rand(n, 1, 3, 1, 16, generator=generator) < often
    return target, torch.where(columns, target + 0.05 * torch.randn(target.shape, generator=generator), torch.nan)


@pytest.mark.slow
def test_errors_are_calibrated_on_fields_that_were_not_trained_on() -> None:
    torch.manual_seed(0)
    net = FourDVarNetwork(FourDVarConfig(**{**SMALL, "error": True}))
    module = FourDVar(net)
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    steps, draws = 500, np.random.default_rng(0)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 3e-3 * (1 + np.cos(np.pi * step / steps)) / 2
        target, seen = waves(8, step)
        total, _ = module.losses(Batch(net.pack(Observations.of(seen)), target), draws, training=True)
        adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        adam.step()
    target, seen = waves(200, 10_000)
    with torch.inference_mode():
        analysis, std = net(net.pack(Observations.of(seen))).chunk(2, dim=1)
    error = analysis - target
    assert float(error.std()) < 0.8 * float(target.std())
    standard = (error / std).square()
    assert 0.8 < float(standard.mean()) < 1.25
    assert 0.8 < float(standard[:, :, 0].mean()) < 1.25  # seldom observed
    assert 0.8 < float(standard[:, :, 2].mean()) < 1.25
    sure = std < std.median()  # it tells where errors are small
    assert float(error[sure].std()) < 0.8 * float(error[~sure].std())
    assert 0.75 < float(standard[sure].mean()) < 1.33
