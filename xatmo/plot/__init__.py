"""Maps, spectra and comparisons: xarray in, matplotlib Axes out. Drawing computes what is lazy."""

from __future__ import annotations

from xatmo.plot.accessor import PlotAccessor
from xatmo.plot.analyses import interpolation, tracks
from xatmo.plot.animation import Animation, animation
from xatmo.plot.curves import scores
from xatmo.plot.ensembles import members, rank_histogram, spread_skill
from xatmo.plot.error_bars import calibration, section
from xatmo.plot.evaluation import exceedances, moments, temporal_error
from xatmo.plot.exchange import coherence, flux
from xatmo.plot.lags import accuracy_by_lag, accuracy_map, confusion, distance_by_lag, embedding
from xatmo.plot.learning import learning_curve
from xatmo.plot.maps import map, maps
from xatmo.plot.places import cities, city_table
from xatmo.plot.ratios import power_ratio
from xatmo.plot.resolved import leaderboard, psd_score, score_map, track_score
from xatmo.plot.semivariogram import semivariogram
from xatmo.plot.spectra import spectra, spectrum
from xatmo.plot.verification import conditional_quantiles, diurnal_cycle, reliability, score_by_lead, skill_boxes
from xatmo.plot.waves import wavenumber_frequency

__all__ = [
    "Animation",
    "PlotAccessor",
    "accuracy_by_lag",
    "accuracy_map",
    "animation",
    "calibration",
    "cities",
    "city_table",
    "coherence",
    "conditional_quantiles",
    "confusion",
    "distance_by_lag",
    "diurnal_cycle",
    "embedding",
    "exceedances",
    "flux",
    "interpolation",
    "leaderboard",
    "learning_curve",
    "map",
    "maps",
    "members",
    "moments",
    "power_ratio",
    "psd_score",
    "rank_histogram",
    "reliability",
    "score_by_lead",
    "score_map",
    "scores",
    "section",
    "semivariogram",
    "skill_boxes",
    "spectra",
    "spectrum",
    "spread_skill",
    "temporal_error",
    "track_score",
    "tracks",
    "wavenumber_frequency",
]
