"""Variational networks: every combination, land, missing values, packed inputs, resizing, configuration, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from xatmo.errors import ConfigError, DimensionError, OptionError
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations, build
from xatmo.nn.assimilation.operators import ModuleOperator, ObservationOperator
from xatmo.nn.assimilation.priors import BilinearPrior, SPDEPrior, StepPrior

SMALL: dict[str, Any] = {"time_window": 3, "prior_channels": 4, "solver_channels": 4, "n_levels": 1, "n_steps": 2}
SIZE = (33, 34)


def network(**settings: Any) -> FourDVarNetwork:
    torch.manual_seed(0)
    return FourDVarNetwork(FourDVarConfig(**{**SMALL, **settings}))


def observations(n: int = 1, batch: int = 2, size: tuple[int, int] = SIZE) -> Observations:
    values = torch.randn(batch, n, 3, *size)
    return Observations.of(values, torch.rand_like(values) < 0.1)


def land(size: tuple[int, int] = SIZE) -> torch.Tensor:
    domain = torch.ones(2, 1, 1, *size, dtype=torch.bool)
    domain[..., :5] = False
    domain[1, ..., 8:13, 10:14] = False
    return domain


SOLVERS = ("unet", "convlstm", "cnn", "gradient", "fixed_point")
PRIORS = ("bilinear", "genn", "unet", "multi", "fixed_point", "spde", "spde_estimated")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prior", PRIORS)
def test_every_solver_with_every_prior_and_state(prior: str, solver: str) -> None:
    spde = prior.startswith("spde")
    if spde and solver == "fixed_point":
        pytest.skip("the equation maps nothing")
    for state in ("raw", "anomaly") if spde else ("raw", "anomaly", "augmented"):
        net = network(solver=solver, prior=prior, state=state, calibrated=() if spde else (0,))
        domain = land()
        obs, background = observations(), torch.randn(2, 1, 3, *SIZE)
        solution = net.solve(obs, torch.where(domain, background, torch.nan), domain)
        assert solution.analysis.shape == (2, 1, 3, *SIZE)
        assert torch.equal(solution.analysis.isfinite(), domain.expand_as(solution.analysis))
        torch.stack([x.square().mean() for x in solution.iterates]).sum().backward()
        missing = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []
        assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)
        again = build(json.loads(json.dumps(net.config.to_dict())))
        assert again.config == net.config
        again.load_state_dict(net.state_dict())
        with torch.inference_mode():
            torch.testing.assert_close(again(obs, background, domain), solution.analysis, equal_nan=True)


def test_the_recommended_network_is_the_default() -> None:
    config = FourDVarConfig()
    assert (config.solver, config.prior, config.n_steps, config.gradient_scale) == ("unet", "bilinear", 2, "none")


@pytest.mark.parametrize("operator", ["identity", "gradient", "multi_sensor"])
def test_operators_and_several_variables(operator: str) -> None:
    net = network(
        operator=operator, n_outputs=2, n_observations=3, observed=(0, 0, 1), n_extra=2, calibrated=(1,), norm="huber"
    )
    obs, extra = observations(3), torch.randn(2, 2, 3, *SIZE)
    extra[0, 0] = torch.nan
    analysis = net(obs, torch.zeros(2, 2, 3, *SIZE), None, extra)
    assert analysis.shape == (2, 2, 3, *SIZE)
    analysis.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_what_land_holds_does_not_count() -> None:
    net = network(n_extra=1, operator="multi_sensor")
    for p in net.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    domain, obs = land(), observations()
    background, extra = torch.randn(2, 1, 3, *SIZE), torch.where(land(), torch.randn(2, 1, 3, *SIZE), torch.nan)
    first = net(obs, background, domain, extra)
    other = torch.where(domain, obs.values, 7 + obs.values)
    second = net(Observations(other, obs.mask | ~domain), torch.where(domain, background, torch.nan), domain, extra)
    torch.testing.assert_close(first, second, equal_nan=True)
    # A missing background is land, too, without a domain.
    third = net(obs, torch.where(domain, background, torch.nan), None, extra)
    torch.testing.assert_close(first, third, equal_nan=True)


def test_packed_inputs_are_the_same_question() -> None:
    net = network(n_extra=1, n_observations=2)
    domain, obs, background = land(), observations(2), torch.randn(2, 1, 3, *SIZE)
    extra = torch.where(torch.rand(2, 1, 3, *SIZE) < 0.2, torch.nan, torch.randn(2, 1, 3, *SIZE))
    packed = net.pack(obs, background, domain, extra)
    assert packed.shape == (2, net.n_inputs, 3, *SIZE)
    expected = net(obs, background, domain, extra)
    torch.testing.assert_close(net(packed), expected, equal_nan=True)
    with torch.inference_mode():
        torch.testing.assert_close(net(packed.clone()), expected, equal_nan=True)
    given = net.unpack(packed)
    assert torch.equal(given.obs.mask, obs.mask)
    assert torch.equal(given.domain, domain)
    holes = packed.clone()
    holes[:, :2][~obs.mask] = torch.nan
    torch.testing.assert_close(net(holes), expected, equal_nan=True)


def test_a_network_at_its_start_leaves_a_background_that_fits() -> None:
    """Without gradient steps the recommended solver starts at the background itself."""
    net = network(step_size=1e-12)
    background = torch.randn(2, 1, 3, *SIZE)
    torch.testing.assert_close(net(observations(), background), background, atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [2, 3])
def test_resized_problems_correct_the_fine_background(factor: int) -> None:
    net = network(resize_factor=factor, step_size=0.2, prior_scale=1, solver="gradient")
    domain, background = land((50, 53)), torch.randn(2, 1, 3, 50, 53)
    obs = observations(size=(50, 53))
    solution = net.solve(obs, background, domain)
    assert solution.state.shape[-2:] == (-(-50 // factor), -(-53 // factor))
    added = torch.where(domain, solution.analysis - background, 0.0)
    assert float(added.detach().abs().max()) > 0
    # A constant increment comes back as that constant, at coasts too.
    problem = solution.problem
    constant = problem.inside(problem.background + 3.0)
    fine = net._restored(problem, net._given(obs, background, domain, None), constant)
    torch.testing.assert_close(torch.where(domain, fine - background, 3.0), torch.full_like(fine, 3.0))


def test_autocast_keeps_the_state_in_float32() -> None:
    net = network(solver="convlstm")
    obs = observations()
    with torch.autocast("cpu", torch.bfloat16):
        analysis = net(obs)
    assert analysis.dtype == torch.float32
    analysis.square().mean().backward()
    torch.testing.assert_close(analysis, net(obs), atol=0.05, rtol=0.05)


# ---------------------------------------------------------------------- other modules
def test_any_prior_operator_and_model_of_time() -> None:
    class Shift(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.roll(1, -1)

    config = FourDVarConfig(**{**SMALL, "n_observations": 2})
    prior, operator = StepPrior(Shift(), 1, halo=1), nn.Conv3d(1, 2, 1)
    net = FourDVarNetwork(config, prior=prior, operator=operator)
    assert isinstance(net.operator, ModuleOperator)
    net(observations(2)).square().mean().backward()
    assert operator.weight.grad is not None
    same = FourDVarNetwork(FourDVarConfig(**SMALL), operator=ObservationOperator([0]), prior=BilinearPrior(1, 3, 4))
    assert same(observations()).shape == (2, 1, 3, *SIZE)
    moving = torch.randn(1, 1, 1, 8, 8)
    frames = torch.cat([moving.roll(k, -1) for k in range(3)], dim=2)
    assert float(prior(frames).detach().abs().max()) == 0


def test_known_coefficients_of_the_equation() -> None:
    gamma = torch.rand(1, 1, 1, 6, 7) + 0.5
    prior = SPDEPrior(slice(0, 1), {"kappa": 0.5}, given={"gamma": gamma})
    x = torch.randn(1, 1, 3, 6, 7)
    torch.testing.assert_close(prior.coefficients(x).gamma, gamma)
    assert prior(x).shape == (1, 1, 4, 6, 7)
    constant = SPDEPrior(slice(0, 1), {"kappa": 0.5}, given={"gamma": torch.ones(1, 1, 1, 6, 7)})
    torch.testing.assert_close(constant(x), SPDEPrior(slice(0, 1), {"kappa": 0.5})(x))


def test_calibration_takes_an_error_off() -> None:
    """An offset of one sensor that the prior does not hold goes into the error, not into the field."""

    class Smooth(nn.Module):  # free errors, fields held to zero
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], dim=1)

    config = FourDVarConfig(
        **{**SMALL, "solver": "gradient", "n_steps": 200, "n_observations": 2, "calibrated": (1,), "step_size": 0.3,
           "learn_weights": False, "prior_weight": 0.01}
    )  # fmt: skip
    truth = torch.randn(1, 1, 3, 16, 16)
    obs = Observations.of(torch.cat([truth, truth + 5], dim=1))
    solution = FourDVarNetwork(config, prior=Smooth()).solve(obs)
    torch.testing.assert_close(solution.analysis, truth, atol=0.05, rtol=0.02)
    error = solution.problem.layout.errors(solution.state)
    torch.testing.assert_close(error, torch.full_like(error, 5.0), atol=0.05, rtol=0)


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"prior": "magic"}, r"prior='magic' is not available; possible are \['bilinear', "),
        ({"state": "wet"}, "state='wet' is not available"),
        ({"n_steps": 0}, "n_steps=0; wanted a whole number of at least 1"),
        ({"truncated": 0}, "truncated=0; wanted a whole number of at least 1"),
        ({"n_extra": -1}, "n_extra=-1; wanted a whole number of at least 0"),
        ({"step_size": 0.0}, "step_size=0.0; wanted a positive number"),
        ({"step_size": "big"}, "step_size='big'; wanted a positive number"),
        ({"dropout": -0.1}, "dropout=-0.1; wanted a non-negative number"),
        ({"dropout": 1.0}, "dropout=1.0; wanted a number from 0 to below 1"),
        ({"observed": (0, 1)}, r"observed=\(0, 1\); wanted one of the 1 outputs for each of the 1 observed"),
        ({"calibrated": (1,)}, r"calibrated=\(1,\); wanted numbers of observed variables below 1"),
        ({"operator": "multi_sensor"}, "operator='multi_sensor' with n_extra=0; wanted other fields"),
        ({"solver": "fixed_point", "prior": "spde"}, "wanted a prior that maps a state to a state"),
        ({"prior": "spde", "state": "augmented"}, "the equation says nothing of other channels"),
        ({"prior": "spde", "calibrated": (0,)}, "the equation says nothing of other channels"),
    ],
)
def test_settings_that_cannot_be_built(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        FourDVarConfig(**change)


def test_unknown_settings() -> None:
    with pytest.raises(ConfigError, match=r"unknown settings \['colour'\] of a variational network; known are"):
        build({**FourDVarConfig().to_dict(), "colour": 1})
    with pytest.raises(OptionError, match=r"unknown settings \['speed'\] of an SPDE prior"):
        network(prior="spde", spde={"speed": 1.0})
    with pytest.raises(OptionError, match=r"kappa=-1.0 of an SPDE prior; wanted a positive number"):
        network(prior="spde", spde={"kappa": -1.0})
    with pytest.raises(OptionError, match=r"alpha=2 of an SPDE prior; possible are \[4, 8\]"):
        network(prior="spde", spde={"alpha": 2})
    with pytest.raises(OptionError, match=r"estimate=\['colour'\] of an SPDE prior has 'colour'; possible are"):
        network(prior="spde_estimated", spde={"estimate": ["colour"]})


def test_tensors_of_other_shapes() -> None:
    net, obs = network(), observations()
    with pytest.raises(DimensionError, match=r"background have shape .*; wanted \(2, 1, 3, 33, 34\)"):
        net(obs, torch.zeros(2, 1, 3, 4, 4))
    with pytest.raises(DimensionError, match=r"observations have shape .*; wanted \(2, 1, 3, 33, 34\)"):
        net(observations(2))
    with pytest.raises(DimensionError, match=r"domain has shape .*; wanted \(batch, 1, 1, lat, lon\)"):
        net(obs, None, torch.ones(2, 3, 33, 34, dtype=torch.bool))
    with pytest.raises(DimensionError, match="extra is given; the network has n_extra=0"):
        net(obs, extra=torch.zeros(2, 1, 3, *SIZE))
    with pytest.raises(DimensionError, match="extra is missing; the network has n_extra=1"):
        network(n_extra=1)(obs)
    with pytest.raises(DimensionError, match=r"an input of shape .* came; wanted \(batch, 4, time, lat, lon\)"):
        net(torch.zeros(2, 3, 3, *SIZE))
    with pytest.raises(DimensionError, match="patches of 8 by 34 cells came; wanted at least 16 each way"):
        net(observations(size=(8, 34)))
    with pytest.raises(DimensionError, match="wanted one shape"):
        Observations(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 1, 3, 4, 5, dtype=torch.bool))
    with pytest.raises(DimensionError, match="wanted the same shape. Let the operator give one field for each"):
        FourDVarNetwork(FourDVarConfig(**SMALL), operator=nn.Conv3d(1, 2, 1))(obs)
    with pytest.raises(OptionError, match=r"calibrated=\(0,\) with a module as operator"):
        FourDVarNetwork(FourDVarConfig(**SMALL, calibrated=(0,)), operator=nn.Identity())
    multi = network(operator="multi_sensor", n_extra=1).operator
    with pytest.raises(DimensionError, match="no other fields came; wanted extra"):
        multi(torch.zeros(2, 1, 3, *SIZE), obs)
