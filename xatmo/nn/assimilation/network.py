"""The whole network: observations and a background in, an analysis out."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.costs import ObservationCost, PriorCost
from xatmo.nn.assimilation.descent import best_change
from xatmo.nn.assimilation.error import ErrorHead
from xatmo.nn.assimilation.estimator import CoefficientHead
from xatmo.nn.assimilation.observations import Observations, pooled_where
from xatmo.nn.assimilation.operators import (
    AlongTrackGradient,
    ModuleOperator,
    MultiSensor,
    ObservationOperator,
)
from xatmo.nn.assimilation.priors import ModulePrior, Prior, SPDEPrior, make_prior
from xatmo.nn.assimilation.priors.base import enlarged
from xatmo.nn.assimilation.priors.spde import estimated_names
from xatmo.nn.assimilation.problem import Problem, Terms
from xatmo.nn.assimilation.solvers import Memory, Moment, Solver, make_solver
from xatmo.nn.assimilation.state import StateLayout


@dataclass(frozen=True)
class Given:
    """What a network is asked: the parts of a packed input."""

    obs: Observations
    background: torch.Tensor
    domain: torch.Tensor
    extra: torch.Tensor | None = None


@dataclass(frozen=True)
class Solution:
    """What a network finds.

    Attributes
    ----------
    analysis : Tensor (batch, n_outputs, time, lat, lon)
        NaN outside of the domain.
    iterates : tuple of Tensor
        The analysis after each step, the last one as it is in ``analysis``, but 0 outside of the domain. Those
        before the differentiated steps have no gradient.
    state : Tensor (batch, channels, time, lat, lon)
        The last state, on the cells that the problem is solved on.
    problem : Problem
        With cost and gradient of any state.
    log_std : Tensor (batch, n_outputs, time, lat, lon), optional
        Logarithm of the standard error of the analysis, of a network that gives it.
    """

    analysis: torch.Tensor
    iterates: tuple[torch.Tensor, ...]
    state: torch.Tensor
    problem: Problem
    log_std: torch.Tensor | None = None

    @property
    def answer(self) -> torch.Tensor:
        """The analysis and, behind it, its standard error where there is one; NaN outside of the domain."""
        if self.log_std is None:
            return self.analysis
        std = torch.where(self.analysis.isfinite(), self.log_std.exp(), self.analysis.new_full((), math.nan))
        return torch.cat([self.analysis, std], dim=1)


class FourDVarNetwork(nn.Module):
    r"""The minimum of a variational cost that is learned, by a solver that is learned.

    .. math::
        J(x) = \tfrac12 \sum_{obs} w\, |H(x) - y|^2 + \tfrac12 \sum_{cells} v\, |x - \Phi(x)|^2, \qquad
        x_{k+1} = x_k + S(\nabla J(x_k), \dots)

    What is trained is what is evaluated: nothing is done to the last iterate but the reading of the analysis.

    Parameters
    ----------
    config : FourDVarConfig
    prior : Prior or torch.nn.Module, optional
        Instead of the one that the configuration names: a `Prior`, or any module from state to state.
    operator : ObservationOperator or torch.nn.Module, optional
        An operator, or any module from fields to the observed variables.
    solver : Solver, optional

    Attributes
    ----------
    halo : int
        Cells around that one step sees. What reaches farther, from step to step, is small.
    alignment : int
        Windows agree only where they begin a multiple of so many cells apart.
    n_inputs : int
        Channels of the packed input.
    stochastic : bool
        False: the same input has the same analysis.

    Notes
    -----
    Fablet et al. 2021, JAMES 13, e2021MS002572; Beauchamp et al. 2023, GMD 16, 2119.

    Examples
    --------
    >>> net = FourDVarNetwork(FourDVarConfig(time_window=3, prior_channels=4, solver_channels=4, n_levels=1))
    >>> obs = Observations.of(torch.where(torch.rand(1, 1, 3, 16, 20) < 0.1, 1.0, torch.nan))
    >>> with torch.inference_mode():
    ...     analysis = net(obs, torch.zeros(1, 1, 3, 16, 20))
    >>> analysis.shape
    torch.Size([1, 1, 3, 16, 20])
    """

    stochastic = False
    factor = 1
    n_static = 0
    local = True

    def __init__(
        self,
        config: FourDVarConfig,
        *,
        prior: nn.Module | None = None,
        operator: nn.Module | None = None,
        solver: Solver | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        n_coefficients = len(estimated_names(config.spde)) if config.prior == "spde_estimated" else 0
        self.layout = StateLayout(config.state, config.n_outputs, len(config.calibrated), n_coefficients)
        self.prior = self._make_prior(prior)
        if config.gradient_scale == "prior" and not isinstance(self.prior, SPDEPrior):
            message = (
                f"gradient_scale='prior' with {type(self.prior).__name__} as prior; wanted an SPDEPrior, whose "
                "covariance is known. Set gradient_scale='sample'"
            )
            raise OptionError(message)
        self.operator = self._make_operator(operator)
        terms = dict(self.operator.terms)
        if config.state != "raw":
            terms["background"] = config.n_outputs
        self.solver = make_solver(config, self.layout, self.prior) if solver is None else solver
        # A solver that does not look at the cost cannot teach its weights.
        learn = config.learn_weights and self.solver.needs_gradient
        self.observation_cost = ObservationCost(terms, config.observation_weight, learn=learn, norm=config.norm)
        # The equation's own noise says how much it counts.
        learn_prior = learn and not isinstance(self.prior, SPDEPrior)
        self.prior_cost = PriorCost(self.prior.n_residuals, config.prior_weight, learn=learn_prior)
        self.n_inputs = config.n_inputs
        self.estimator = self._make_estimator(n_coefficients)
        self.error = ErrorHead(config) if config.error else None
        # The gradient reads residuals around, and residuals read cells around.
        of_gradient = 2 * max(self.prior.halo, self.operator.halo)
        self.halo = config.resize_factor * (of_gradient + self.solver.halo + (config.resize_factor > 1))
        self.alignment = config.resize_factor * math.lcm(self.prior.scale, self.solver.scale)
        if self.estimator is not None:
            self.halo += config.resize_factor * self.estimator.halo
        if self.error is not None:
            self.halo = max(self.halo, self.error.halo)
            self.alignment = math.lcm(self.alignment, self.error.scale)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # ------------------------------------------------------------------ what is called
    def forward(
        self,
        obs: Observations | torch.Tensor,
        background: torch.Tensor | None = None,
        domain: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Give the analysis, and its standard error behind it where the configuration says so.

        Parameters
        ----------
        obs : Observations or Tensor
            Or the whole of it packed as `pack` does, and nothing else.
        background : Tensor (batch, n_outputs, time, lat, lon), optional
            First guess; None: 0, the mean in normalized units. NaN: no water.
        domain : Tensor (batch, 1, 1, lat, lon), optional
            Where there is water. None: everywhere. A batch of 1 serves all samples.
        extra : Tensor (batch, n_extra, time, lat, lon), optional
            Other fields, NaN where they are missing.

        Returns
        -------
        Tensor (batch, n_outputs, time, lat, lon)
            NaN outside of the domain. With ``error``, twice as many channels.

        Raises
        ------
        DimensionError
            If tensors of another shape come than the configuration says.
        """
        return self.solve(obs, background, domain, extra).answer

    def solve(
        self,
        obs: Observations | torch.Tensor,
        background: torch.Tensor | None = None,
        domain: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> Solution:
        """Give the analysis with all iterates and the problem that they solve; parameters are those of `forward`."""
        # Gradients of the cost are needed where those of the weights are not, and inference mode allows neither.
        outside = torch.is_inference_mode_enabled()
        with (
            torch.inference_mode(False) if outside else nullcontext(),
            torch.set_grad_enabled(torch.is_grad_enabled() and not outside),
        ):
            given = self._given(obs, background, domain, extra, copied=outside)
            return self._solve(given)

    def pose(self, given: Given) -> Problem:
        """Make the variational problem, on the cells on which it is solved."""
        factor = self.config.resize_factor
        domain, background = given.domain, given.background
        extra = extra_mask = None
        if given.extra is not None:
            extra_mask = given.extra.isfinite()
            extra = torch.where(extra_mask, given.extra, torch.zeros_like(given.extra))
        obs = given.obs.within(domain)
        if factor > 1:
            coarse = pooled_where(torch.ones_like(background[:, :1, :1]), domain, factor) > 0
            background = pooled_where(background, domain, factor)
            obs = obs.coarsened(factor)
            if extra is not None and extra_mask is not None:
                made = Observations(extra, extra_mask).coarsened(factor)
                extra, extra_mask = made.values, made.mask
            domain = coarse
        # Without land there is nothing to mask.
        inner = None if bool(domain.all()) else domain
        return Problem(
            self.layout, self.operator, self.observation_cost, self.prior, self.prior_cost, obs, background, inner,
            extra, extra_mask,
        )  # fmt: skip

    # ------------------------------------------------------------------ packed inputs
    def pack(
        self,
        obs: Observations,
        background: torch.Tensor | None = None,
        domain: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Join all inputs to one tensor ``(batch, n_inputs, time, lat, lon)``.

        Channels: observed values, their masks (1 or 0), background, domain (1 or 0), other fields. Values that are not
        finite are not observed; where the background is not finite, there is no water.
        """
        given = self._given(obs, background, domain, extra)
        like = given.obs.values
        parts = [like, given.obs.mask.to(like.dtype), given.background]
        parts.append(given.domain.to(like.dtype).expand(len(like), 1, *like.shape[2:]))
        return torch.cat([*parts, *([] if given.extra is None else [given.extra])], dim=1)

    def unpack(self, x: torch.Tensor) -> Given:
        """Take a packed input apart.

        Raises
        ------
        DimensionError
            If it has another number of channels.
        """
        n, config = self.config.n_observations, self.config
        if x.ndim != 5 or x.shape[1] != self.n_inputs:
            message = (
                f"an input of shape {tuple(x.shape)} came; wanted (batch, {self.n_inputs}, time, lat, lon): observed "
                "values, their masks, background, domain, other fields. FourDVarNetwork.pack joins them"
            )
            raise DimensionError(message)
        values, mask, background, water, extra = torch.split(x, [n, n, config.n_outputs, 1, config.n_extra], dim=1)
        there = background.isfinite().all(dim=1, keepdim=True).all(dim=2, keepdim=True)
        # What is missing in the domain's own channel is land, too.
        domain = there & (water[:, :, :1] > 0.5)
        filled = torch.where(background.isfinite(), background, torch.zeros_like(background))
        return Given(Observations.of(values, mask), filled, domain, extra if config.n_extra else None)

    # ------------------------------------------------------------------ inside
    def _solve(self, given: Given) -> Solution:
        config = self.config
        problem = self.pose(given)
        x = problem.inside(self.layout.begin(problem.background))
        learning = torch.is_grad_enabled()
        skipped = max(config.n_steps - (config.truncated or config.n_steps), 0) if learning else 0
        memory: Memory = ()
        iterates = [given.background] if config.keeps_background else []
        for cascade in range(0 if config.keeps_background else config.n_cascades):
            if cascade:
                x, memory = x.detach(), tuple(m.detach() for m in memory)
            scale = last = None
            for step in range(config.n_steps):
                with torch.set_grad_enabled(learning and step >= skipped):
                    before = x
                    x, memory, scale = self._step(problem, x, memory, scale, step, last)
                    last = x - before
                    iterates.append(self._restored(problem, given, x))
        analysis = iterates[-1]
        log_std = None
        if self.error is not None:
            before = iterates[-2] if len(iterates) > 1 else given.background
            water = None if bool(given.domain.all()) else given.domain
            log_std = self.error(analysis, analysis - before, given.background, given.obs.within(given.domain), water)
        analysis = torch.where(given.domain, analysis, analysis.new_full((), math.nan))
        return Solution(analysis, tuple(iterates), x, problem, log_std)

    def _step(
        self,
        problem: Problem,
        x: torch.Tensor,
        memory: Memory,
        scale: torch.Tensor | None,
        step: int,
        last: torch.Tensor | None,
    ) -> tuple[torch.Tensor, Memory, torch.Tensor]:
        """Go one step, and give the scale of the first gradient of a cascade."""
        gradient = Terms(x, x)
        if self.solver.needs_gradient:
            gradient = problem.gradient(x, differentiable=torch.is_grad_enabled())
        if self.config.gradient_scale == "prior":
            down = -best_change(problem, x, gradient.sum, last)
            gradient, scale = Terms(down, torch.zeros_like(down)), x.new_ones(())
        if scale is None:
            scale = problem.size(gradient) if self.config.gradient_scale == "sample" else x.new_ones(())
        change, memory = self.solver(Moment(problem, x, gradient.sum, scale, step, self.config.n_steps), memory)
        x = x + problem.inside(_wide(change))
        if self.estimator is not None:
            fields = x[:, : x.shape[1] - self.layout.n_coefficients]
            x = torch.cat([fields, problem.inside(self.estimator(problem, x))], dim=1)
        return x, memory, scale

    def _restored(self, problem: Problem, given: Given, x: torch.Tensor) -> torch.Tensor:
        """Read the analysis on the cells that were given."""
        made = self.layout.analysis(x)
        factor = self.config.resize_factor
        if factor == 1:
            return made
        added = made - problem.background
        fine = torch.unflatten(enlarged(added.flatten(1, 2), factor, given.background), 1, added.shape[1:3])
        if problem.domain is not None:  # what land has does not count
            water = problem.domain[:, 0].to(fine.dtype)
            share = enlarged(water, factor, given.background).unsqueeze(1)
            fine = torch.where(given.domain, fine / share.clamp_min(1e-6), fine.new_zeros(()))
        return given.background + fine

    def _given(
        self,
        obs: Observations | torch.Tensor,
        background: torch.Tensor | None,
        domain: torch.Tensor | None,
        extra: torch.Tensor | None,
        *,
        copied: bool = False,
    ) -> Given:
        """Check what came, and fill in what did not."""
        if isinstance(obs, torch.Tensor):
            given = self.unpack(obs.clone() if copied else obs)
            self._check("observations", given.obs.values, self.config.n_observations, given.obs.values)
            return given
        values = _wide(obs.values)
        self._check("observations", values, self.config.n_observations, values)
        outputs = (len(values), self.config.n_outputs, *values.shape[2:])
        background = values.new_zeros(outputs) if background is None else _wide(background)
        self._check("background", background, self.config.n_outputs, values)
        if domain is None:
            domain = torch.ones_like(values[:1, :1, :1], dtype=torch.bool)
        elif domain.shape not in ((len(values), 1, 1, *values.shape[3:]), (1, 1, 1, *values.shape[3:])):
            message = f"domain has shape {tuple(domain.shape)}; wanted (batch, 1, 1, lat, lon) of the observations"
            raise DimensionError(message)
        if (extra is None) != (not self.config.n_extra):
            message = (
                f"extra is {'missing' if extra is None else 'given'}; the network has n_extra={self.config.n_extra}"
            )
            raise DimensionError(message)
        if extra is not None:
            self._check("extra", extra, self.config.n_extra, values)
            extra = _wide(extra)
        # Where the background is missing there is no water.
        domain = domain.bool() & background.isfinite().all(dim=1, keepdim=True).all(dim=2, keepdim=True)
        background = torch.where(domain, background, background.new_zeros(()))
        parts = (values, obs.mask, background, domain, extra)
        if copied:
            parts = tuple(None if p is None else p.clone() for p in parts)  # type: ignore[assignment]
        values, mask, background, domain, extra = parts
        return Given(Observations.of(values, mask), background, domain, extra)

    def _check(self, name: str, tensor: torch.Tensor, channels: int, like: torch.Tensor) -> None:
        wanted = (len(like), channels, self.config.time_window, *like.shape[3:])
        if tuple(tensor.shape) != wanted:
            message = f"{name} have shape {tuple(tensor.shape)}; wanted {wanted} (batch, variable, time, lat, lon)"
            raise DimensionError(message)
        least = 8 * self.config.resize_factor * self.prior.scale
        if self.config.padding == "reflect" and min(tensor.shape[-2:]) < least:
            message = (
                f"patches of {tensor.shape[-2]} by {tensor.shape[-1]} cells came; wanted at least {least} each way, to "
                "be reflected at the edges. Take larger patches or padding='zeros'"
            )
            raise DimensionError(message)

    def _make_prior(self, given: nn.Module | None) -> Prior:
        if given is None:
            return make_prior(self.config, self.layout)
        return given if isinstance(given, Prior) else ModulePrior(given, self.layout.channels)

    def _make_estimator(self, n_coefficients: int) -> CoefficientHead | None:
        config = self.config
        if not n_coefficients or config.estimator != "head":
            return None
        steady = isinstance(self.prior, SPDEPrior) and self.prior.steady
        width = max(config.solver_channels, 16)
        return CoefficientHead(
            n_coefficients, config.n_outputs, config.n_observations, config.n_extra, width, steady=steady
        )

    def _make_operator(self, given: nn.Module | None) -> ObservationOperator:
        config = self.config
        observed = config.observed or ()
        if isinstance(given, ObservationOperator):
            return given
        if given is not None:
            if config.calibrated:
                message = (
                    f"calibrated={config.calibrated!r} with a module as operator; let the module add errors itself"
                )
                raise OptionError(message)
            return ModuleOperator(given, config.n_observations)
        if config.operator == "gradient":
            return AlongTrackGradient(observed, config.calibrated)
        if config.operator == "multi_sensor":
            return MultiSensor(
                observed, config.calibrated, frames=config.time_window, n_outputs=config.n_outputs,
                n_extra=config.n_extra, channels=config.operator_channels,
            )  # fmt: skip
        return ObservationOperator(observed, config.calibrated)


def _wide(x: torch.Tensor) -> torch.Tensor:
    """Give at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
