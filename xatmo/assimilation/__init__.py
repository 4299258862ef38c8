"""Interpolation of sparse observations without training: optimal interpolation and sparse Gaussian priors.

`optimal_interp` takes a covariance, `fourdvar_interp` minimises a cost with the sparse precision of `SPDE`; both give
the posterior standard deviation. `Gaussian`, `Matern` and `Diffusion` are the covariances.
"""

from xatmo.assimilation.covariance import Diffusion, Gaussian, Matern
from xatmo.assimilation.interp import estimate_scales, fourdvar_interp, optimal_interp
from xatmo.assimilation.spde import SPDE

__all__ = ["SPDE", "Diffusion", "Gaussian", "Matern", "estimate_scales", "fourdvar_interp", "optimal_interp"]
