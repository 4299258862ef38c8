"""Steps along the gradient spread by an equation's covariance, and coefficients read from local structure."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from xatmo.errors import OptionError
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations
from xatmo.nn.assimilation.estimator import CoefficientHead, described, structure
from xatmo.nn.assimilation.priors import SPDEPrior
from xatmo.nn.assimilation.priors.covariance import N_REGIONS, regions
from xatmo.nn.assimilation.priors.equation import Coefficients

ROWS, COLUMNS, FRAMES = 9, 10, 2


def precision(prior: SPDEPrior, shape: tuple[int, ...]) -> torch.Tensor:
    """Dense, from the residuals of unit vectors."""
    n = math.prod(shape)
    residuals = prior(torch.eye(n, dtype=torch.float64).reshape(n, 1, *shape)).flatten(1)
    square: torch.Tensor = residuals @ residuals.T
    return square


def observed(shape: tuple[int, ...], weight: float = 50.0) -> tuple[Observations, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(1, 1, *shape, generator=generator) < 0.2
    return Observations.of(torch.randn(1, 1, *shape, generator=generator), mask), weight * mask


@pytest.mark.parametrize("settings", [{}, {"gamma": 2.0, "plus": 0.5, "cross": -0.4}, {"m_x": 0.4, "m_y": -0.3}])
def test_spread_is_the_covariance_far_from_edges(settings: dict[str, float]) -> None:
    """Of constant coefficients, in units of the variance there."""
    shape = (3, 15, 15)
    prior = SPDEPrior(slice(0, 1), {"kappa": 1.2, "gamma": 0.5, **settings}).double()
    covariance = torch.linalg.inv(precision(prior, shape)).reshape(*shape, *shape)[..., 2, 7, 7]
    middle = torch.zeros(1, 1, *shape, dtype=torch.float64)
    middle[..., 2, 7, 7] = 1
    error = (prior.spread(middle)[0, 0] - covariance)[:, 4:-4, 4:-4].abs().max()
    assert error < 0.03 * covariance[2, 7, 7]


def test_spread_is_symmetric_and_positive_where_coefficients_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    given = {"gamma": torch.linspace(1, 6, 12)[None, None, None, :, None] * torch.ones(1, 1, 1, 12, 13)}
    prior = SPDEPrior(slice(0, 1), given=given).double()
    a, b = torch.randn(2, 1, 1, 3, 12, 13, dtype=torch.float64, generator=generator)
    assert torch.allclose((a * prior.spread(b)).sum(), (b * prior.spread(a)).sum())
    assert (a * prior.spread(a)).sum() > 0


def test_new_coefficients_make_a_new_covariance() -> None:
    one, x = SPDEPrior(slice(0, 1)), torch.ones(1, 1, 2, 8, 8)
    before = one.spread(x)
    one.load_state_dict(SPDEPrior(slice(0, 1), {"tau": 2.0}).state_dict())
    torch.testing.assert_close(one.spread(x), 4 * before)


def test_regions_share_out_all_cells_and_keep_constants() -> None:
    ones = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    gamma = torch.linspace(1, 4, 40, dtype=torch.float64).reshape(1, 1, 1, 5, 8)
    means, shares = regions(Coefficients(ones, ones, gamma, 0 * ones, 0 * ones, 0 * ones, 0 * ones), (5, 8))
    assert shares.shape == (N_REGIONS, 1, 5, 8)
    torch.testing.assert_close(shares.sum(0), torch.ones_like(shares[0]))
    torch.testing.assert_close(means.kappa, torch.ones_like(means.kappa))
    assert means.gamma.min() > 1
    assert means.gamma.max() < 4
    means, shares = regions(Coefficients(ones, ones, 3 * ones, 0 * ones, 0 * ones, 0 * ones, 0 * ones), (5, 8))
    assert shares.shape == (1, 1, 5, 8)
    assert means.gamma.item() == pytest.approx(3)


@pytest.mark.parametrize(("n_steps", "tolerance"), [(25, 0.1), (60, 1e-3)])
def test_gradient_steps_are_conjugate_gradients(n_steps: int, tolerance: float) -> None:
    """They come to the minimum of a cost whose eigenvalues are far apart, without a step size."""
    shape = (FRAMES, ROWS, COLUMNS)
    config = FourDVarConfig(
        time_window=FRAMES, prior="spde", spde={"gamma": 6.0, "plus": 1.0}, solver="gradient", n_steps=n_steps,
        observation_weight=50.0, learn_weights=False, padding="zeros",
    )  # fmt: skip
    net = FourDVarNetwork(config).double()
    obs, weight = observed(shape)
    assert isinstance(net.prior, SPDEPrior)
    q = precision(net.prior, shape)
    dense = torch.linalg.solve(q + torch.diag(weight.flatten().double()), (weight * obs.values).flatten().double())
    assert torch.linalg.cond(q + torch.diag(weight.flatten().double())) > 1e4
    with torch.no_grad():
        made = net(Observations.of(obs.values.double(), obs.mask)).flatten()
    assert (made - dense).norm() < tolerance * dense.norm()


@pytest.mark.parametrize("settings", [{"norm": "huber"}, {"state": "anomaly"}, {"prior": "spde_estimated"}])
def test_every_step_brings_the_cost_down(settings: dict[str, str]) -> None:
    """With a coast, too."""
    shape = (FRAMES, 16, 18)
    common = {"prior": "spde", "solver": "gradient", "padding": "zeros", "estimator": "head"}
    config = FourDVarConfig(time_window=FRAMES, observation_weight=50.0, **{**common, **settings})  # type: ignore[arg-type]
    domain = torch.ones(1, 1, 1, 16, 18, dtype=torch.bool)
    domain[..., :5, :6] = False
    obs, _ = observed(shape)
    costs = []
    for n_steps in (1, 2, 4, 8):
        net = FourDVarNetwork(replace(config, n_steps=n_steps))
        with torch.no_grad():
            solution = net.solve(obs, None, domain)
            costs.append(solution.problem.cost(solution.state).sum.item())
    assert all(b < a for a, b in itertools.pairwise(costs))


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 4, 2.0])
def test_structure_tells_the_direction_of_waves(angle: float) -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    wave = torch.sin(0.2 * (math.cos(angle) * x + math.sin(angle) * y)).expand(1, 1, 2, 40, 40)
    products, amounts = structure(wave, torch.ones_like(wave))
    # Logarithms of value, gradient, change; direction; amount: each of three widths.
    found = described(products.sum(4), amounts.sum(4), 2)[0, :, 20, 20].reshape(6, 3)
    assert found[3, -1].item() == pytest.approx(math.cos(2 * angle), abs=0.03)
    assert found[4, -1].item() == pytest.approx(math.sin(2 * angle), abs=0.03)
    assert found[1, -1].item() - found[0, -1].item() == pytest.approx(2 * math.log(0.2), abs=0.1)
    assert found[2, -1].exp().item() == pytest.approx(1e-4, rel=1e-3)  # nothing changes in time
    torch.testing.assert_close(found[5], torch.full((3,), 4.0))


def test_structure_does_not_see_what_is_not_observed() -> None:
    generator = torch.Generator().manual_seed(1)
    x, mask = torch.randn(1, 1, 2, 12, 12, generator=generator), torch.rand(1, 1, 2, 12, 12, generator=generator) < 0.6
    one, other = (structure(torch.where(mask, x, hidden), mask.float()) for hidden in (0.0, 99.0))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("steady", [True, False])
def test_head_gives_coefficients_from_the_first_step_on(steady: bool) -> None:
    """At first the first guess; the gradient of a likelihood reaches it."""
    torch.manual_seed(0)
    spde = {"steady": steady, "estimate": ["gamma", "plus", "cross"]}
    config = FourDVarConfig(time_window=FRAMES, prior="spde_estimated", spde=spde, solver_channels=4, n_levels=1,
                            n_steps=2, n_extra=1, padding="zeros")  # fmt: skip
    net = FourDVarNetwork(config)
    obs, _ = observed((FRAMES, 16, 16))
    extra = torch.rand(1, 1, FRAMES, 16, 16)
    assert not bool(net.solve(obs, extra=extra).state[:, 1:].any())
    solution = net.solve(obs, extra=extra)
    assert isinstance(net.prior, SPDEPrior)
    torch.autograd.backward(net.prior.likelihood(torch.randn(1, 1, FRAMES, 16, 16), solution.state).sum())
    assert isinstance(net.estimator, CoefficientHead)
    last = net.estimator.layers[-1].weight
    assert isinstance(last, torch.Tensor)
    assert last.grad is not None
    assert float(last.grad.abs().max()) > 0
    with torch.no_grad():
        last.normal_()
        state = net.solve(obs, extra=extra).state[:, 1:]
    assert float(state.abs().max()) > 0
    assert bool((state[:, :, 0] == state[:, :, 1]).all()) == steady


def test_settings_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="estimator='guess' is not available"):
        FourDVarConfig(estimator="guess")
    with pytest.raises(OptionError, match="gradient_scale='prior' with BilinearPrior as prior; wanted an SPDEPrior"):
        FourDVarNetwork(FourDVarConfig(gradient_scale="prior"))


def test_a_module_has_no_covariance() -> None:
    config = FourDVarConfig(time_window=FRAMES, prior="spde")
    with pytest.raises(OptionError, match="wanted an SPDEPrior, whose covariance is known"):
        FourDVarNetwork(config, prior=torch.nn.Identity())


def test_defaults_of_steps_follow_the_prior() -> None:
    found = {p: FourDVarConfig(prior=p) for p in ("bilinear", "spde", "spde_estimated")}
    assert [(c.gradient_scale, c.step_size) for c in found.values()] == [("none", 0.1), ("prior", 1), ("prior", 1)]
