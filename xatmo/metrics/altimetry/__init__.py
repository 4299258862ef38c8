"""Scores of sea-level maps as the data challenges OSSE 2020a and OSE 2021a define them.

`leaderboard` gives mu, sigma, lambda_x and lambda_t of several maps in a table; the other functions are its steps, and
what says more: maps of scores, regimes, bounds. Sources: the data challenges "SSH Mapping" 2020a
(doi 10.24400/527896/a01-2020.002) and 2021a (doi 10.24400/527896/a01-2021.005).
"""

from __future__ import annotations

from xatmo.metrics.altimetry.areas import AREAS, PERIODS, covers
from xatmo.metrics.altimetry.board import leaderboard
from xatmo.metrics.altimetry.form import challenge_table, markdown
from xatmo.metrics.altimetry.gridded import daily_means, daily_scores, mu_sigma, on_truth, score_map
from xatmo.metrics.altimetry.intervals import scale_bounds, wavelength_bounds
from xatmo.metrics.altimetry.products import as_product, write_product
from xatmo.metrics.altimetry.records import published
from xatmo.metrics.altimetry.scales import contours, isotropic_scale, power_spectra, psd_score, resolved_scales
from xatmo.metrics.altimetry.tracks import along_track, resolved_wavelength, track_psd, track_scores
from xatmo.metrics.altimetry.zones import by_regime, distance_to_coast, regimes, track_by_regime

__all__ = [
    "AREAS",
    "PERIODS",
    "along_track",
    "as_product",
    "by_regime",
    "challenge_table",
    "contours",
    "covers",
    "daily_means",
    "daily_scores",
    "distance_to_coast",
    "isotropic_scale",
    "leaderboard",
    "markdown",
    "mu_sigma",
    "on_truth",
    "power_spectra",
    "psd_score",
    "published",
    "regimes",
    "resolved_scales",
    "resolved_wavelength",
    "scale_bounds",
    "score_map",
    "track_by_regime",
    "track_psd",
    "track_scores",
    "wavelength_bounds",
    "write_product",
]
