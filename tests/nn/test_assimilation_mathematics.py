"""What variational networks solve: dense solutions, closed forms of gradients, what they do not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xatmo.assimilation import AdvectionDiffusion, anisotropic
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork, Observations
from xatmo.nn.assimilation.priors import ModulePrior, SPDEPrior
from xatmo.nn.assimilation.priors.spde import of_diffusion
from xatmo.nn.assimilation.problem import Problem

SHAPE = (3, 6, 5)
N = 3 * 6 * 5


class Linear(nn.Module):
    """Any linear map of the whole state."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) @ self.matrix.T).reshape(x.shape)


def observations(density: float = 0.3, batch: int = 1, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Observations:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, 1, *shape, generator=generator)
    return Observations.of(values, torch.rand(batch, 1, *shape, generator=generator) < density)


def network(given: nn.Module | None = None, **settings: Any) -> FourDVarNetwork:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "time_window": 3, "prior_channels": 4, "solver_channels": 4, "n_levels": 1, "padding": "zeros",
    }  # fmt: skip
    return FourDVarNetwork(FourDVarConfig(**{**small, **settings}), prior=given)


def dense(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Hessian and minus the gradient at zero of a quadratic cost, from its value alone."""

    def cost(flat: torch.Tensor) -> torch.Tensor:
        return problem.cost(flat.reshape(1, 1, *SHAPE)).sum.sum()

    zero = torch.zeros(N)
    return (
        torch.autograd.functional.hessian(cost, zero).double(),
        -torch.autograd.functional.jacobian(cost, zero).double(),
    )


@pytest.mark.parametrize("state", ["raw", "anomaly"])
def test_gradient_steps_come_to_the_dense_least_squares_solution(state: str) -> None:
    torch.manual_seed(1)
    matrix = 0.05 * torch.randn(N, N)
    obs, background = observations(), torch.randn(1, 1, *SHAPE)
    weight, held = 4.0, 1.5
    common: dict[str, Any] = {
        "solver": "gradient", "n_steps": 800, "observation_weight": weight, "prior_weight": held,
        "learn_weights": False, "state": state,
    }  # fmt: skip
    a = torch.eye(N) - matrix
    mask = obs.mask.flatten().double()
    if state == "raw":
        net = network(Linear(matrix), step_size=0.15, **common)
        q = held * (a.T @ a).double()
        expected = torch.linalg.solve(q + weight * torch.diag(mask), weight * obs.values.flatten().double())
        # The same as optimal interpolation with the covariance that the prior implies.
        covariance = torch.linalg.inv(q)
        h = torch.eye(N, dtype=torch.float64)[mask.bool()]
        gain = covariance @ h.T @ torch.linalg.inv(h @ covariance @ h.T + torch.eye(len(h)) / weight)
        torch.testing.assert_close(gain @ obs.values.flatten().double()[mask.bool()], expected)
    else:

        class Anomaly(nn.Module):  # the copy of the background is whatever it is
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.cat([x[:, :1], Linear(matrix)(x[:, 1:])], dim=1)

        net = network(Anomaly(), step_size=0.15, **common)
        b = background.flatten().double()
        q = held * (a.T @ a).double()
        innovation = mask * (obs.values.flatten().double() - b)
        expected = b + torch.linalg.solve(q + weight * torch.diag(mask), weight * innovation)
    made = net(obs, background).flatten().double()
    torch.testing.assert_close(made, expected, atol=2e-4, rtol=1e-4)


def test_the_spde_prior_comes_to_the_solution_of_its_precision() -> None:
    settings = {"kappa": 0.9, "gamma": 0.3, "plus": 0.4, "cross": -0.3, "m_x": 0.2, "tau": 1.2, "dt": 0.5}
    net = network(
        solver="gradient", n_steps=1500, prior="spde", spde=settings, step_size=0.02, observation_weight=5.0,
        learn_weights=False,
    )  # fmt: skip
    obs = observations()
    solution = net.solve(obs)
    hessian, right = dense(solution.problem)
    expected = torch.linalg.solve(hessian, right)
    torch.testing.assert_close(solution.analysis.flatten().double(), expected, atol=1e-3, rtol=1e-3)


def test_gradients_are_those_of_the_closed_form() -> None:
    torch.manual_seed(2)
    matrix, x = 0.1 * torch.randn(N, N), torch.randn(2, 1, *SHAPE)
    obs = observations(batch=2)
    problem = network(Linear(matrix), observation_weight=3.0, prior_weight=0.5).solve(obs).problem
    found = problem.gradient(x, differentiable=False)
    a = torch.eye(N) - matrix
    torch.testing.assert_close(found.prior.flatten(1), 0.5 * x.flatten(1) @ a.T @ a, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.observation, 3.0 * obs.mask * (x - obs.values))
    cost = problem.cost(x)
    torch.testing.assert_close(cost.observation, 1.5 * (obs.mask * (x - obs.values)).square().flatten(1).sum(1))


# ---------------------------------------------------------------------- the equation
def equation(
    shape: tuple[int, ...], given: dict[str, torch.Tensor] | None = None, **settings: float
) -> tuple[SPDEPrior, torch.Tensor]:
    """The prior, and its precision matrix."""
    prior = SPDEPrior(slice(0, 1), settings, given=given).double()
    n = int(torch.tensor(shape).prod())

    def residual(flat: torch.Tensor) -> torch.Tensor:
        return prior(flat.reshape(1, 1, *shape)).flatten()

    jacobian = torch.autograd.functional.jacobian(residual, torch.zeros(n, dtype=torch.float64))
    return prior, jacobian.T @ jacobian


@pytest.mark.parametrize("transport", ["inside", "outside"])
@pytest.mark.parametrize("scheme", ["upwind", "centred"])
def test_the_precision_is_that_of_the_sparse_matrices(scheme: str, transport: str) -> None:
    """Coefficients of every kind that vary in space, some in time, cells that are no squares, land."""
    random, shape = np.random.default_rng(0), (3, 5, 6)

    def draw(low: float, high: float, frames: int = 1) -> np.ndarray:
        return random.uniform(low, high, (frames, *shape[1:]))

    kappa, tau, velocity = draw(0.4, 0.9, 3), draw(0.5, 1.5), (draw(-0.3, 0.3), draw(-0.3, 0.3, 3))
    h = anisotropic(draw(0.3, 0.8), draw(0, 1.5), draw(-1, 1), draw(-1, 1))
    water = np.ones(shape[1:], bool)
    water[2:4, 3] = False
    sparse = AdvectionDiffusion.on_plane(
        shape, (0.7, 1.3, 0.8), kappa=kappa, diffusion=h, velocity=velocity, tau=tau, scheme=scheme,
        transport=transport, initial="symmetric", domain=water,
    )  # fmt: skip
    names = {"kappa": kappa, "tau": tau, "m_x": velocity[0], "m_y": velocity[1]}
    given = {name: torch.from_numpy(v)[None, None] for name, v in names.items()}
    given |= of_diffusion(*(torch.from_numpy(v)[None, None] for v in h))
    settings = {"dt": 0.7, "dy": 1.3, "dx": 0.8, "scheme": scheme, "transport": transport}
    domain, wet = torch.from_numpy(water)[None, None, None], np.tile(water.ravel(), 3)

    def precision(prior: SPDEPrior, domain: torch.Tensor) -> torch.Tensor:
        def residual(flat: torch.Tensor) -> torch.Tensor:
            return prior(torch.where(domain, flat.reshape(1, 1, *shape), 0), domain).flatten()

        jacobian = torch.autograd.functional.jacobian(residual, torch.zeros(90, dtype=torch.float64))
        return jacobian.T @ jacobian

    prior = SPDEPrior(slice(0, 1), settings, given=given).double()
    found = precision(prior, domain).numpy()[np.ix_(wet, wet)]
    expected = sparse.precision().toarray()[np.ix_(wet, wet)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    # Rows that go south: the same field upside down.
    upside = {name: v.flip(-2) for name, v in given.items()}
    down = SPDEPrior(slice(0, 1), {**settings, "dy": -1.3}, given=upside).double()
    order = torch.arange(90).reshape(shape).flip(-2).flatten()
    turned = precision(down, domain.flip(-2))[order][:, order].numpy()[np.ix_(wet, wet)]
    np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_log_determinant_of_the_local_symbol() -> None:
    """Near that of the matrix, as coefficients vary from cell to cell, and at edges; its slope, too."""
    n, settings = 9, {"kappa": 0.7, "tau": 0.6, "dt": 0.7, "m_x": 0.2}
    random = torch.Generator().manual_seed(0)
    rough = 0.4 * torch.randn(3, 1, 1, 1, n, n, generator=random, dtype=torch.float64)
    smooth = torch.nn.functional.avg_pool2d(rough.reshape(3, 1, n, n), 3, 1, 1).reshape(3, 1, 1, 1, n, n)
    totals = []
    for wide in (1.0, 1.3):
        given = {"gamma": wide * smooth[0].exp(), "plus": smooth[1] + 0.3, "cross": smooth[2]}
        prior, precision = equation((3, n, n), given, **settings)
        found = float(prior.log_determinant(torch.zeros(1, 1, 3, n, n, dtype=torch.float64)))
        totals.append((found, float(torch.linalg.slogdet(precision).logabsdet)))
    for found, exact in totals:
        assert found == pytest.approx(exact, rel=0.02)
    assert totals[1][0] - totals[0][0] == pytest.approx(totals[1][1] - totals[0][1], rel=0.03)


@pytest.mark.parametrize("name", ["tau", "gamma", "plus"])
def test_estimated_coefficients_are_likeliest_where_fields_were_drawn(name: str) -> None:
    """With the log-determinant; without it a field would be likelier the larger tau is."""
    truth = {"tau": 1.0, "gamma": 0.5, "plus": 0.0, "kappa": 0.7}
    drawn = {**truth, name: {"tau": 2.0, "gamma": 1.5, "plus": 0.6}[name]}
    _, precision = equation((4, 10, 10), **drawn)
    torch.manual_seed(0)
    root = torch.linalg.cholesky(torch.linalg.inv(precision))
    draws = (root @ torch.randn(400, 12, dtype=torch.float64)).T.reshape(12, 1, 4, 10, 10)
    settings = {**truth, "parameter_weight": 0.0, "estimate": [name]}
    prior = SPDEPrior(slice(0, 1), settings, estimated=True).double()
    offsets = torch.linspace(-1, 2, 61, dtype=torch.float64)
    costs = []
    for offset in offsets:
        state = torch.cat([draws, torch.full_like(draws, float(offset))], dim=1)
        costs.append(float(prior(state).square().sum() / 2 + prior.normalisation(state).sum()))
        assert costs[-1] == pytest.approx(float(prior.likelihood(draws, state).sum()))
    best = float(offsets[torch.tensor(costs).argmin()])
    wanted = drawn[name] - truth[name] if name == "plus" else float(np.log(drawn[name] / truth[name]))
    assert best == pytest.approx(wanted, abs=0.12)


def test_coefficients_that_are_the_same_in_all_frames() -> None:
    settings = {"estimate": ["gamma", "cross"], "steady": True}
    prior = SPDEPrior(slice(0, 1), settings, estimated=True)
    state = torch.randn(2, 3, 4, 6, 6)
    mean = torch.cat([state[:, :1], state[:, 1:].mean(2, keepdim=True).expand(-1, -1, 4, -1, -1)], dim=1)
    torch.testing.assert_close(prior(state), prior(mean))
    assert bool(prior(100 * state).isfinite().all())
    assert prior.coefficients(state).cross.shape == (2, 1, 1, 6, 6)
    assert bool((prior.coefficients(state).plus == 0).all())


# ---------------------------------------------------------------------- what nothing depends on
@pytest.mark.parametrize("solver", ["convlstm", "cnn", "unet", "gradient", "fixed_point"])
@pytest.mark.parametrize("scale", ["sample", "none"])
def test_a_patch_of_copies_has_copies_of_the_analysis(solver: str, scale: str) -> None:
    """Four mirrored copies: sums are four times as large, observations are four times as many, steps are the same."""
    net = network(solver=solver, gradient_scale=scale, n_steps=3, padding="reflect", prior="bilinear", prior_scale=1)
    for p in net.parameters():
        p.data.add_(0.02 * torch.randn_like(p))
    obs = observations(0.1, shape=(3, 40, 40))
    wide = Observations(_mirrored(obs.values), _mirrored(obs.mask))
    one, four = net.solve(obs), net.solve(wide)
    g1 = one.problem.gradient(torch.zeros(1, 1, 3, 40, 40), differentiable=False)
    g4 = four.problem.gradient(torch.zeros(1, 1, 3, 80, 80), differentiable=False)
    torch.testing.assert_close(one.problem.size(g1), four.problem.size(g4), rtol=0.03, atol=0)
    # Far from edges and seams, where the two patches have the same surroundings.
    away = min(14, net.halo)
    inner = (..., slice(away, 40 - away), slice(away, 40 - away))
    torch.testing.assert_close(four.analysis[inner], one.analysis[inner], atol=0.02, rtol=0)


def _mirrored(x: torch.Tensor) -> torch.Tensor:
    x = torch.cat([x, x.flip(-1)], dim=-1)
    return torch.cat([x, x.flip(-2)], dim=-2)


@pytest.mark.parametrize("solver", ["convlstm", "cnn", "unet"])
def test_samples_of_a_batch_are_independent(solver: str) -> None:
    net = network(solver=solver, gradient_scale="sample", n_steps=2)
    few, many = observations(0.02, shape=(3, 16, 16)), observations(0.6, shape=(3, 16, 16), seed=1)
    both = Observations(torch.cat([few.values, 10 * many.values]), torch.cat([few.mask, many.mask]))
    torch.testing.assert_close(net(both)[:1], net(few), atol=1e-5, rtol=1e-5)


def test_the_size_of_the_gradient_does_not_depend_on_how_many_observations_there_are() -> None:
    sizes = []
    for density in (0.02, 0.2, 1.0):
        problem = network(Linear(torch.eye(3 * 40 * 40))).solve(observations(density, shape=(3, 40, 40))).problem
        sizes.append(float(problem.size(problem.gradient(torch.zeros(1, 1, 3, 40, 40), differentiable=False))))
    assert max(sizes) < 1.15 * min(sizes)


def test_observations_far_away_change_nothing() -> None:
    net = network(n_steps=1)
    for p in net.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    size = net.halo + 30
    size += -size % net.alignment
    obs = observations(0.1, shape=(3, 16, size))
    more = Observations(obs.values.clone(), obs.mask.clone())
    more.values[..., 0], more.mask[..., 0] = 5.0, True
    changed = (net(obs) - net(more)).abs().amax((0, 1, 2, 3)) > 1e-7
    assert not bool(changed[net.halo + 1 :].any())
    assert bool(changed[: net.halo // 2].any())


# ---------------------------------------------------------------------- training and evaluation
@pytest.mark.parametrize("solver", ["unet", "convlstm", "cnn", "gradient", "fixed_point"])
def test_what_is_trained_is_what_is_evaluated(solver: str) -> None:
    net = network(solver=solver, n_steps=3, n_cascades=2)
    obs = observations(shape=(3, 16, 18))
    trained = net.train().solve(obs)
    net.eval()
    with torch.no_grad():
        still = net(obs)
    with torch.inference_mode():
        fixed = net(Observations(obs.values.clone(), obs.mask.clone()))
    torch.testing.assert_close(trained.analysis, still)
    torch.testing.assert_close(trained.analysis, fixed)
    torch.testing.assert_close(trained.iterates[-1], trained.analysis)
    assert len(trained.iterates) == 6
    assert not still.requires_grad
    assert not fixed.requires_grad


def test_the_last_steps_alone_are_differentiated() -> None:
    obs = observations(shape=(3, 16, 16))
    whole, short = network(solver="convlstm", n_steps=4), network(solver="convlstm", n_steps=4, truncated=1)
    a, b = whole.solve(obs), short.solve(obs)
    torch.testing.assert_close(a.analysis, b.analysis)
    assert [x.requires_grad for x in b.iterates] == [False, False, False, True]
    b.analysis.square().sum().backward()
    a.analysis.square().sum().backward()
    weight = whole.solver.last.weight.grad, short.solver.last.weight.grad  # type: ignore[union-attr]
    assert float(weight[1].abs().max()) > 0  # type: ignore[union-attr]
    assert not torch.allclose(*weight)  # type: ignore[arg-type]


def test_gradients_of_the_weights_are_those_of_differences() -> None:
    """Through the gradient of the cost and all steps."""
    net = network(solver="convlstm", n_steps=2, step_size=0.3, gradient_scale="none").double()
    obs = observations(shape=(3, 16, 16))
    obs = Observations(obs.values.double(), obs.mask)

    def loss() -> torch.Tensor:
        return net(obs).square().sum()

    for parameter in (net.prior.first.weight, net.observation_cost.weights["value"].log):  # type: ignore[union-attr]
        net.zero_grad()
        loss().backward()
        assert parameter.grad is not None
        first = (0,) * parameter.ndim
        slope = float(parameter.grad[first])
        step = 1e-5
        values = []
        for sign in (1, -1):
            parameter.data[first] += sign * step
            values.append(float(loss().detach()))
            parameter.data[first] -= sign * step
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-6)


def test_module_priors_are_wrapped() -> None:
    assert isinstance(network(Linear(torch.eye(N))).prior, ModulePrior)
