"""Maps, spectra and comparisons: xarray in, matplotlib Axes out. Drawing computes what is lazy."""

from __future__ import annotations

from xatmo.plot.accessor import PlotAccessor
from xatmo.plot.animation import Animation, animation
from xatmo.plot.curves import scores
from xatmo.plot.ensembles import members, rank_histogram, spread_skill
from xatmo.plot.evaluation import exceedances, moments, temporal_error
from xatmo.plot.exchange import coherence, flux
from xatmo.plot.lags import accuracy_by_lag, accuracy_map, confusion, distance_by_lag, embedding
from xatmo.plot.learning import learning_curve
from xatmo.plot.maps import interpolation, map, maps
from xatmo.plot.places import cities, city_table
from xatmo.plot.ratios import power_ratio
from xatmo.plot.semivariogram import semivariogram
from xatmo.plot.spectra import spectra, spectrum
from xatmo.plot.waves import wavenumber_frequency

__all__ = [
    "Animation",
    "PlotAccessor",
    "accuracy_by_lag",
    "accuracy_map",
    "animation",
    "cities",
    "city_table",
    "coherence",
    "confusion",
    "distance_by_lag",
    "embedding",
    "exceedances",
    "flux",
    "interpolation",
    "learning_curve",
    "map",
    "maps",
    "members",
    "moments",
    "power_ratio",
    "rank_histogram",
    "scores",
    "semivariogram",
    "spectra",
    "spectrum",
    "spread_skill",
    "temporal_error",
    "wavenumber_frequency",
]
