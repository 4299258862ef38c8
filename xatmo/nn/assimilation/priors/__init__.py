"""Priors: what makes a state likely."""

from __future__ import annotations

from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.priors.base import ModulePrior, Prior, StepPrior
from xatmo.nn.assimilation.priors.bilinear import BilinearPrior, GennPrior
from xatmo.nn.assimilation.priors.composed import FixedPointPrior, MultiPrior, UNetPrior
from xatmo.nn.assimilation.priors.spde import SPDEPrior
from xatmo.nn.assimilation.state import StateLayout

__all__ = [
    "BilinearPrior",
    "FixedPointPrior",
    "GennPrior",
    "ModulePrior",
    "MultiPrior",
    "Prior",
    "SPDEPrior",
    "StepPrior",
    "UNetPrior",
    "make_prior",
]


def make_prior(config: FourDVarConfig, layout: StateLayout) -> Prior:
    """Make the prior that a configuration names.

    Examples
    --------
    >>> config = FourDVarConfig(time_window=3, prior="genn", prior_channels=4)
    >>> type(make_prior(config, StateLayout("raw", 1, 0))).__name__
    'GennPrior'
    """
    n, frames, width, padding = layout.channels, config.time_window, config.prior_channels, config.padding
    scale = config.prior_scale or 2
    if config.prior == "genn":
        return GennPrior(n, frames, width, scale, padding)
    if config.prior == "unet":
        return UNetPrior(n, frames, width)
    if config.prior == "multi":
        priors = [BilinearPrior(n, frames, width, scale, padding) for _ in range(config.n_priors)]
        return MultiPrior(priors, padding=padding)
    if config.prior == "fixed_point":
        return FixedPointPrior(BilinearPrior(n, frames, width, scale, padding), config.prior_iterations)
    if config.prior.startswith("spde"):
        estimated = config.prior == "spde_estimated"
        return SPDEPrior(layout.fields, config.spde, estimated=estimated, learn=config.learn_weights)
    return BilinearPrior(n, frames, width, scale, padding)
