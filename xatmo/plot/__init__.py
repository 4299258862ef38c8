"""Maps, spectra and comparisons: xarray in, matplotlib Axes out. Drawing computes what is lazy."""

from __future__ import annotations

from xatmo.plot.accessor import PlotAccessor
from xatmo.plot.curves import learning_curve, scores
from xatmo.plot.maps import interpolation, map, maps
from xatmo.plot.spectra import spectra, spectrum

__all__ = ["PlotAccessor", "interpolation", "learning_curve", "map", "maps", "scores", "spectra", "spectrum"]
