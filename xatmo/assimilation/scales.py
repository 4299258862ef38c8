"""Scales of labelled observations by maximum likelihood."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.dense._optimal import CovarianceProblem
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels._arguments import lengths, scales_of, velocity
from xatmo.assimilation.spde._variational import VariationalProblem, longitude_step_of, steps_of
from xatmo.errors import DimensionError, OptionError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def estimate_scales(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None = None,
    *,
    covariance: str = "gaussian",
    metric: str = "sphere",
    length_scale: float | None = None,
    time_scale: np.timedelta64 | str | None = None,
    noise_std: float | None = None,
    signal_std: float | None = None,
    background: Hashable | xr.DataArray | None = None,
    angle: float | str = 0.0,
    drift: tuple[float, float] | str | None = None,
    lag: Hashable | xr.DataArray | None = None,
) -> Scales:
    """Estimate by maximum likelihood what `optimal_interp` and `fourdvar_interp` estimate where they are not told.

    Reads the observations, which have to be one slab (time, lat, lon).

    Parameters
    ----------
    ds, obs, mask, background, metric, length_scale, time_scale, noise_std, signal_std, angle, drift, lag
        See `optimal_interp`. Scales that are given stay as they are.
    covariance : {"gaussian", "matern", "spde"}

    Returns
    -------
    Scales
        ``length_scale`` (metres or degrees), ``time_scale`` (seconds), ``noise_std``, ``signal_std``; ``drift`` (metres
        or degrees a second) and ``shape``, which `xatmo.assimilation.covariance.frame.lengths_of` reads.

    Raises
    ------
    DimensionError
        If the observations have other dimensions than time, latitude and longitude.
    OptionError, VariableError, CoordinateError, MissingValueError
        See `optimal_interp`.
    """
    if covariance not in ("gaussian", "matern", "spde"):
        message = f"covariance={covariance!r} came; wanted 'gaussian', 'matern' or 'spde'"
        raise OptionError(message)
    if covariance == "spde" and (angle != 0.0 or drift is not None or lag is not None):
        message = f"angle={angle!r}, drift={drift!r}, lag= came with covariance='spde'; wanted 'gaussian' or 'matern'"
        raise OptionError(message)
    length, shape = lengths(length_scale, angle)
    scales = replace(scales_of(length, time_scale, noise_std, signal_std), shape=shape, drift=velocity(drift, metric))
    about = {} if lag is None else {"lag": lag}
    got, _ = observations.gather(ds, obs, mask, background, None, what="the estimation of scales", about=about)
    extra = [d for d in got.field.dims if d not in got.core]
    if extra:
        message = (
            f"observations with dimensions {got.field.dims} came; wanted {got.core} only: select one of each of {extra}"
        )
        raise DimensionError(message)
    found: list[Scales] = []

    def keep(
        values: Array, observed: Bools, first: Array | None, domain: Bools, lag: Array | None = None
    ) -> tuple[Array, Array]:
        problem: CovarianceProblem | VariationalProblem
        if covariance == "spde":
            step, place = steps_of(got.nodes.time)
            width = longitude_step_of(got.nodes.longitude)
            problem = VariationalProblem(got.nodes, scales, False, False, longitude_step=width, step=step, place=place)
        else:
            problem = CovarianceProblem(got.nodes, scales, False, False, kind=covariance, metric=metric)
        index, seen, _ = problem.innovations(values, observed, first)
        if isinstance(problem, CovarianceProblem) and lag is not None:
            found.append(problem.fitted(index, seen, got.nodes.time[index[0]] + np.nan_to_num(lag[index])))
        else:
            found.append(problem.fitted(index, seen))
        return values, values

    got.loaded().solve(keep)
    return found[0]
