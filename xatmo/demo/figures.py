"""The figures of the demonstration, written as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import xarray as xr

matplotlib.use("Agg")  # files only: works without a display

from matplotlib import pyplot as plt

from xatmo import plot

DPI = 130


def maps(fields: Mapping[str, xr.DataArray], path: Path, *, title: str) -> Path:
    """Truth, coarse, bicubic and super-resolved fields side by side."""
    axes = plot.maps(fields, robust=True, title=title)
    return _saved(axes[0].figure, path)


def spectra(
    lines: Mapping[str, xr.DataArray], effective_resolution: Mapping[str, float], path: Path, *, title: str
) -> Path:
    """Draw the spectra of all, with the wavelength down to which each is right."""
    ax = plot.spectra(lines, effective_resolution=effective_resolution, title=title)
    return _saved(ax.figure, path)


def interpolation(
    obs: xr.DataArray, analysis: xr.DataArray, error: xr.DataArray, truth: xr.DataArray, path: Path, *, title: str
) -> Path:
    """Observations, analysis, error bars and truth."""
    axes = plot.interpolation(obs, analysis, error, truth, title=title)
    return _saved(axes[0].figure, path)


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path
