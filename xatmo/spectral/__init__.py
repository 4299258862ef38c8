"""Spherical harmonics of labelled fields: transforms, truncation, wind, spectra and spectral regridding."""

from __future__ import annotations
