"""Interpolation of sparse observations without training: optimal interpolation and sparse Gaussian priors.

`optimal_interp` takes a covariance, `fourdvar_interp` minimises a cost with the sparse precision of `SPDE`; both give
the posterior standard deviation. `Gaussian`, `Matern` and `Diffusion` are the covariances.

`AdvectionDiffusion` is a prior whose scales, directions and velocities vary in space and time: `simulate` and `sample`
draw from it, `SparsePosterior` takes observations, `estimate` finds parameters of maximum likelihood, and
`advected_interp` interpolates labelled data with it.
"""

from xatmo.assimilation.advected import advected_interp
from xatmo.assimilation.advection._coefficients import anisotropic, stationary_std
from xatmo.assimilation.advection.likelihood import Estimate, estimate, log_density, log_likelihood
from xatmo.assimilation.advection.prior import AdvectionDiffusion
from xatmo.assimilation.advection.simulation import sample, simulate
from xatmo.assimilation.advection.sparse_analysis import SparsePosterior
from xatmo.assimilation.covariance.functions import Diffusion, Gaussian, Matern
from xatmo.assimilation.linear import linear_interp
from xatmo.assimilation.optimal import optimal_interp
from xatmo.assimilation.scales import estimate_scales
from xatmo.assimilation.spde.prior import SPDE
from xatmo.assimilation.variational import fourdvar_interp

__all__ = [
    "SPDE",
    "AdvectionDiffusion",
    "Diffusion",
    "Estimate",
    "Gaussian",
    "Matern",
    "SparsePosterior",
    "advected_interp",
    "anisotropic",
    "estimate",
    "estimate_scales",
    "fourdvar_interp",
    "linear_interp",
    "log_density",
    "log_likelihood",
    "optimal_interp",
    "sample",
    "simulate",
    "stationary_std",
]
