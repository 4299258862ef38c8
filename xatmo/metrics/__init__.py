"""Scores of a prediction against a target: lazy, weighted by cell areas, exact for any chunking.

Each is a function of labelled fields; `verify` gives several at once, with bounds from a block bootstrap.
"""

from __future__ import annotations

from xatmo.climatology import climatology, climatology_at
from xatmo.metrics import altimetry
from xatmo.metrics._registry import METRICS
from xatmo.metrics.ambs import ambs
from xatmo.metrics.blocks import automatic_blocks
from xatmo.metrics.calibration import rank_histogram, reliability
from xatmo.metrics.conditional import conditional_quantiles
from xatmo.metrics.distributions import PERCENTILES, histogram, percentiles, wasserstein
from xatmo.metrics.diurnal import diurnal_error
from xatmo.metrics.embeddings import earth_movers_distance, frechet_distance, project, rv_coefficient
from xatmo.metrics.error_bars import error_calibration
from xatmo.metrics.events import csi, far, frequency_bias, pod
from xatmo.metrics.exceedance import high_pass_exceedance
from xatmo.metrics.forecasts import at_valid_times
from xatmo.metrics.moments import moments
from xatmo.metrics.multiscale import ms_ssim
from xatmo.metrics.neighbourhoods import fss
from xatmo.metrics.places import cities, city_table
from xatmo.metrics.pointwise import acc, bias, correlation, mae, mse, psnr, rmse, skill, std_ratio
from xatmo.metrics.power import log_spectral_distance, normalized_spectral_error, power_ratio, semivariogram_ratio
from xatmo.metrics.probabilistic import brier_score, crps, energy_score, spread_skill
from xatmo.metrics.reference import skill_score
from xatmo.metrics.relative import normalized_bias, nrmse, spearman
from xatmo.metrics.resampling import Bootstrap, block_bootstrap
from xatmo.metrics.significance import compare_models, holm
from xatmo.metrics.spectral import effective_resolution
from xatmo.metrics.structural import ssim
from xatmo.metrics.sums import ScoreSums, adds_up, score_sums
from xatmo.metrics.temporal import temporal_error, total_variation
from xatmo.metrics.texture import gradient_ratio
from xatmo.metrics.verification import verify

__all__ = [
    "METRICS",
    "PERCENTILES",
    "Bootstrap",
    "ScoreSums",
    "acc",
    "adds_up",
    "altimetry",
    "ambs",
    "at_valid_times",
    "automatic_blocks",
    "bias",
    "block_bootstrap",
    "brier_score",
    "cities",
    "city_table",
    "climatology",
    "climatology_at",
    "compare_models",
    "conditional_quantiles",
    "correlation",
    "crps",
    "csi",
    "diurnal_error",
    "earth_movers_distance",
    "effective_resolution",
    "energy_score",
    "error_calibration",
    "far",
    "frechet_distance",
    "frequency_bias",
    "fss",
    "gradient_ratio",
    "high_pass_exceedance",
    "histogram",
    "holm",
    "log_spectral_distance",
    "mae",
    "moments",
    "ms_ssim",
    "mse",
    "normalized_bias",
    "normalized_spectral_error",
    "nrmse",
    "percentiles",
    "pod",
    "power_ratio",
    "project",
    "psnr",
    "rank_histogram",
    "reliability",
    "rmse",
    "rv_coefficient",
    "score_sums",
    "semivariogram_ratio",
    "skill",
    "skill_score",
    "spearman",
    "spread_skill",
    "ssim",
    "std_ratio",
    "temporal_error",
    "total_variation",
    "verify",
    "wasserstein",
]
