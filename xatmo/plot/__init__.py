"""Maps, spectra and comparisons: xarray in, matplotlib Axes out. Drawing computes what is lazy."""

from __future__ import annotations

from xatmo.plot.accessor import PlotAccessor
from xatmo.plot.curves import learning_curve, scores
from xatmo.plot.exchange import coherence, flux
from xatmo.plot.maps import interpolation, map, maps
from xatmo.plot.semivariogram import semivariogram
from xatmo.plot.spectra import spectra, spectrum
from xatmo.plot.waves import wavenumber_frequency

__all__ = [
    "PlotAccessor",
    "coherence",
    "flux",
    "interpolation",
    "learning_curve",
    "map",
    "maps",
    "scores",
    "semivariogram",
    "spectra",
    "spectrum",
    "wavenumber_frequency",
]
