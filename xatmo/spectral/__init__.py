"""Spherical harmonics of labelled fields: transforms, truncation, wind, spectra and spectral regridding.

Degrees are counted from 0 (the area mean) to ``lmax`` inclusive. `layouts` converts coefficients for other software.
"""

from __future__ import annotations

from xatmo.spectral._threads import set_threads
from xatmo.spectral.advection import advection
from xatmo.spectral.cross import cross_spectrum
from xatmo.spectral.equatorial import equatorial_wave
from xatmo.spectral.filters import degree_weights, filter_scales
from xatmo.spectral.flux import spectral_flux
from xatmo.spectral.helmholtz import absolute_vorticity, helmholtz
from xatmo.spectral.interchange import from_layout, from_pyshtools, to_layout, to_pyshtools
from xatmo.spectral.operators import gradient, inverse_laplacian, laplacian
from xatmo.spectral.packed import to_packed
from xatmo.spectral.points import to_points
from xatmo.spectral.poles import fill_poles
from xatmo.spectral.semivariogram import semivariogram
from xatmo.spectral.slopes import fit_slope
from xatmo.spectral.spectrum import energy_spectrum
from xatmo.spectral.transform import regrid, to_grid, to_spectral
from xatmo.spectral.truncation import taper_weights, truncate
from xatmo.spectral.wavenumber_frequency import wavenumber_frequency
from xatmo.spectral.wheeler_kiladis import wk_background
from xatmo.spectral.wind import vorticity_divergence, wind

__all__ = [
    "absolute_vorticity",
    "advection",
    "cross_spectrum",
    "degree_weights",
    "energy_spectrum",
    "equatorial_wave",
    "fill_poles",
    "filter_scales",
    "fit_slope",
    "from_layout",
    "from_pyshtools",
    "gradient",
    "helmholtz",
    "inverse_laplacian",
    "laplacian",
    "regrid",
    "semivariogram",
    "set_threads",
    "spectral_flux",
    "taper_weights",
    "to_grid",
    "to_layout",
    "to_packed",
    "to_points",
    "to_pyshtools",
    "to_spectral",
    "truncate",
    "vorticity_divergence",
    "wavenumber_frequency",
    "wind",
    "wk_background",
]
