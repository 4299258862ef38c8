"""Solvers: how a state becomes one of lower cost."""

from __future__ import annotations

from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.priors import Prior
from xatmo.nn.assimilation.solvers.base import Memory, Moment, Solver, StepSizes
from xatmo.nn.assimilation.solvers.learned import CNNSolver, ConvLSTMSolver
from xatmo.nn.assimilation.solvers.plain import FixedPointSolver, GradientSolver
from xatmo.nn.assimilation.solvers.unet import UNetSolver
from xatmo.nn.assimilation.state import StateLayout

__all__ = [
    "CNNSolver",
    "ConvLSTMSolver",
    "FixedPointSolver",
    "GradientSolver",
    "Memory",
    "Moment",
    "Solver",
    "StepSizes",
    "UNetSolver",
    "make_solver",
]


def make_solver(config: FourDVarConfig, layout: StateLayout, prior: Prior) -> Solver:
    """Make the solver that a configuration names.

    Examples
    --------
    >>> from xatmo.nn.assimilation.priors import make_prior
    >>> config, layout = FourDVarConfig(time_window=3, solver="gradient"), StateLayout("raw", 1, 0)
    >>> type(make_solver(config, layout, make_prior(config, layout))).__name__
    'GradientSolver'
    """
    n, size, learn = layout.channels * config.time_window, config.step_size or 0.1, config.learn_weights
    steps = config.n_steps
    if config.solver == "gradient":
        return GradientSolver(steps, size, learn=learn)
    if config.solver == "fixed_point":
        return FixedPointSolver(prior)
    if config.solver == "cnn":
        return CNNSolver(n, steps, size, learn=learn, dropout=config.dropout, padding=config.padding)
    width = config.solver_channels
    if config.solver == "convlstm":
        return ConvLSTMSolver(n, width, steps, size, learn=learn, dropout=config.dropout, padding=config.padding)
    n_given = UNetSolver.n_given(config.n_observations, config.n_extra, config.time_window)
    return UNetSolver(n, n_given, width, config.n_levels, steps, size, learn=learn)
