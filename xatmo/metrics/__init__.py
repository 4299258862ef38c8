"""Scores of a prediction against a target: lazy, weighted by cell areas, exact for any chunking.

Each is a function of labelled fields; `verify` gives several at once, with bounds from a block bootstrap.
"""

from __future__ import annotations

from xatmo.metrics.pointwise import acc, bias, correlation, mae, mse, psnr, rmse, skill, std_ratio
from xatmo.metrics.spectral import effective_resolution
from xatmo.metrics.structural import ssim
from xatmo.metrics.verification import METRICS, verify

__all__ = [
    "METRICS",
    "acc",
    "bias",
    "correlation",
    "effective_resolution",
    "mae",
    "mse",
    "psnr",
    "rmse",
    "skill",
    "ssim",
    "std_ratio",
    "verify",
]
