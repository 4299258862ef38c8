"""Scores by name, and what a name, or a function with some keywords fixed, is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from xatmo.errors import OptionError
from xatmo.metrics import (
    distributions,
    events,
    multiscale,
    neighbourhoods,
    pointwise,
    power,
    probabilistic,
    relative,
    spectral,
    structural,
    texture,
)  # fmt: skip
from xatmo.metrics._metric import Metric

Score = Callable[..., xr.DataArray]
MetricLike = str | Score
Made = tuple[str, Metric | None, dict[str, Any]]

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        pointwise.RMSE, pointwise.MSE, pointwise.MAE, pointwise.BIAS, pointwise.CORRELATION, pointwise.ACC,
        pointwise.STD_RATIO, pointwise.SKILL, pointwise.PSNR, relative.NRMSE, relative.NORMALIZED_BIAS,
        relative.SPEARMAN, structural.SSIM, multiscale.MS_SSIM, spectral.EFFECTIVE_RESOLUTION, power.POWER_RATIO,
        power.NORMALIZED_SPECTRAL_ERROR, power.LOG_SPECTRAL_DISTANCE, power.SEMIVARIOGRAM_RATIO,
        distributions.WASSERSTEIN, probabilistic.CRPS, probabilistic.ENERGY_SCORE, probabilistic.BRIER_SCORE,
        probabilistic.SPREAD_SKILL, texture.GRADIENT_RATIO, neighbourhoods.FSS, events.POD, events.FAR, events.CSI,
        events.FREQUENCY_BIAS,
    )
}  # fmt: skip
"""Scores that `verify` knows by name."""

_ROOMS = (
    pointwise, relative, structural, multiscale, spectral, power, distributions, probabilistic, texture,
    neighbourhoods, events,
)  # fmt: skip
FUNCTIONS = {name: getattr(room, name) for name in METRICS for room in _ROOMS if hasattr(room, name)}
_OF_OTHERS: dict[Callable[..., Any], Callable[[dict[str, Any]], Made]] = {}


def of_others(function: Callable[..., Any], make: Callable[[dict[str, Any]], Made]) -> None:
    """Make a score of other scores known: what it is made of follows from its keywords, which ``make`` takes.

    Such scores look others up here, so that they cannot be in the table themselves.
    """
    _OF_OTHERS[function] = make


def resolve(entry: Any, more: Mapping[str, Any] | None = None) -> Made:
    """Name of a score, how it is made up if that is known, and its own options."""
    if isinstance(entry, str):
        if entry not in METRICS:
            message = f"unknown metric {entry!r}; wanted some of {sorted(METRICS)}, or a function"
            raise OptionError(message)
        return entry, METRICS[entry], {}
    if not callable(entry):
        message = f"metric {entry!r} is neither a name nor a function; wanted some of {sorted(METRICS)}, or a function"
        raise OptionError(message)
    options: dict[str, Any] = {}
    function: Any = entry
    while isinstance(function, functools.partial):
        options = {**function.keywords, **options}
        function = function.func
    options |= more or {}
    if function in _OF_OTHERS:
        return _OF_OTHERS[function](options)
    for name, known in FUNCTIONS.items():
        if function is known:
            if name == "ssim" and options.get("gaussian"):
                options["sigma"] = 1.5 if options["gaussian"] is True else float(options["gaussian"])
            options.pop("gaussian", None)
            if name == "effective_resolution" and options.get("criterion") == "coherence":
                return name, spectral._BY_COHERENCE, options
            return name, METRICS[name], options
    return getattr(function, "__name__", type(function).__name__), None, options
