"""Optimal interpolation of labelled data: sparse observations and a covariance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.assimilation.dense._optimal import CovarianceProblem
from xatmo.assimilation.draws._conditional import draw
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels._arguments import (
    DAY,
    in_words,
    lengths,
    name_of,
    record_of,
    require_reach,
    scales_of,
    track_error_of,
    velocity,
    window_of,
)
from xatmo.assimilation.tiling._tile_graph import solve, too_large
from xatmo.assimilation.tiling._tiling import sizes_of
from xatmo.errors import OptionError

PRESETS: dict[str, dict[str, Any]] = {
    "osse2020a": {
        "length_scale": 1.0, "time_scale": "7D", "noise_std": 0.05, "signal_std": 1.0, "metric": "degrees",
        "covariance": "gaussian", "window": {"time": "28D"},
    },
}  # fmt: skip
"""Named configurations of `optimal_interp`. ``"osse2020a"``: the baseline of the 2020a sea-level mapping challenge."""

IN_TILES = 1e-7
"""Largest error of covariances in the variances of tiles, far below what their reach leaves out."""


def optimal_interp(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None = None,
    *,
    length_scale: float | tuple[float, float] | None = None,
    time_scale: np.timedelta64 | str | None = None,
    noise_std: float | Hashable | xr.DataArray | None = None,
    signal_std: float | None = None,
    preset: str | None = None,
    covariance: str = "gaussian",
    metric: str = "sphere",
    angle: float | str = 0.0,
    drift: tuple[float, float] | str | None = None,
    lag: Hashable | xr.DataArray | None = None,
    track_error: tuple[float, str | np.timedelta64 | float] | None = None,
    passes: Hashable | xr.DataArray | None = None,
    window: Mapping[str, Any] | None = None,
    background: Hashable | xr.DataArray | None = None,
    domain: Hashable | xr.DataArray | None = None,
    uncertainty: bool = False,
    tiles: Mapping[str, int] | str | None = None,
    members: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Interpolate sparse observations with a space-time covariance.

    The analysis is ``x = b + K_xo (K_oo + noise_std^2 I)^-1 (y - b_o)``, its error variance
    ``signal_std^2 - diag(K_xo (K_oo + noise_std^2 I)^-1 K_ox)``, with dense matrices and no approximation other than
    the windows and tiles asked for. Scales that neither a keyword nor the preset gives are estimated by maximum
    likelihood from the observations of each slab (see `xatmo.assimilation.covariance.likelihood.estimate`).

    Parameters
    ----------
    ds : Dataset
        With latitude and longitude, perhaps time, under any name, in any order.
    obs : name or DataArray
        Observations on the grid of ``ds``, NaN where there are none; or along a track (one dimension with latitude,
        longitude and time): these are averaged over the cells and times of the grid first.
    mask : name or DataArray, optional
        Where there are observations (not zero). What counts as observed is ``mask & isfinite(obs)``.
    length_scale : float or (float, float), optional
        Distance at which the correlation is 1/e: metres, along the chord through the sphere, or degrees on the plane
        of longitude and latitude with ``metric="degrees"``. Two: along two axes at right angles, see ``angle``.
    time_scale : timedelta or str, optional
        Time at which the correlation is 1/e, for instance ``"7D"``. Without a time dimension it is not used.
    noise_std, signal_std : float, optional
        Standard deviations of the observation error and of the deviations from the background, in the units of ``obs``.
        The first may also be a name or a DataArray: of every observation, as sensors differ.
    preset : {"osse2020a"}, optional
        Values for all that is not given, and the metric. ``"osse2020a"``: 1 degree, 7 days, noise 0.05, unit variance,
        Gaussian, planar degrees, observations within two time scales (``window={"time": "28D"}``), and no mean removed.
    covariance : {"gaussian", "matern"}
        ``exp(-(d/L)^2 - (t/T)^2)``; or Matern of smoothness 1 in space, exponential in time.
    metric : {"sphere", "degrees"}
        How distances are measured.
    angle : float or "estimate"
        Of the first of two length scales, in degrees anticlockwise from east; or find it and both lengths.
    drift : (float, float) or "estimate", optional
        Eastward and northward velocity at which the field moves as a whole, in m s-1, or degrees a day on the plane of
        degrees: the covariance is that of the field seen by who moves along. See `xatmo.assimilation.covariance.frame`.
        What is estimated is zero unless the observations tell it from zero, at a level of 1 percent.
    lag : name or DataArray, optional
        True time of every observation from its label, in hours unless the units say otherwise.
    track_error : (float, timedelta), optional
        Standard deviation and memory of the errors that observations of one pass share, beside ``noise_std``; infinite
        memory for one bias for each pass.
    passes : name or DataArray, optional
        Number of the pass of every observation; needed with ``track_error``.
    window : dict, optional
        Whole widths of local windows: ``{"time": "28D"}`` uses for each analysis time the observations at most 14 days
        away; ``"lat"`` and ``"lon"`` (degrees) cut the grid into tiles of half this size, each of which uses the
        observations at most half a width away. All observations at once unless given.
    background : name or DataArray, optional
        First guess; what is interpolated is the deviation from it. The mean of the observations unless given.
    domain : name or DataArray, optional
        Where an analysis is wanted (not zero), for instance a sea mask; NaN elsewhere.
    uncertainty : bool
        Whether to give the posterior standard deviation too.
    tiles : dict or "auto", optional
        Analyse overlapping tiles of the grid, each from the observations in its reach, and blend them with weights that
        add up to 1: for a basin or the globe, for years, and for data on Dask in chunks of any shape, of which a tile
        reads only what it needs. ``{"time": 30, "lat": 40, "lon": 40}`` gives the nodes of a tile; an axis left out is
        not cut. ``"auto"``: 3 length scales and 2 time scales, as wide over the ground at all latitudes; an axis that a
        tile in its middle would see from end to end is not cut. A tile reaches 2 scales beyond its edges with
        ``"gaussian"``, 3 with ``"matern"``, or half a ``window``, and is divided where more than 3000 observations are
        in its reach. The standard deviations of large tiles are those of dense matrices to about 1e-6 ``signal_std``
        with ``"gaussian"``, which is several times faster there (see `xatmo.assimilation.dense._skeleton`). Scales that
        are missing are estimated once, from all observations; on Dask they have to be given. Above 20 000 observations
        at once, ``"auto"`` is the default.
    members : int, optional
        Give so many draws of the posterior, along ``member``, instead of the analysis: conditional simulation, see
        `xatmo.assimilation.draws.members`. Their mean is the analysis, their spread the posterior standard deviation;
        both to sampling error, and to that of random Fourier features. All scales have to be given.
    seed : int
        Of the members; more of them leave the others as they are.

    Returns
    -------
    Dataset
        The analysis under the name of the observations and, with ``uncertainty``, NAME ``_error``. Where no observation
        is near, the background with the prior's error. Lazy where the observations are; time, latitude and longitude
        have to be whole unless there are tiles, other dimensions are independent. Blended errors are square roots of
        blended variances: an upper bound of the error of the blended analysis, if the covariance is true.

    Raises
    ------
    VariableError
        If a name is not in the Dataset.
    DimensionError, CoordinateError
        If mask, background or domain do not fit the observations, or coordinates cannot be used.
    OptionError
        If a keyword has an impossible value, or there are too many observations for one dense system even in tiles.
    MissingValueError
        If there are no observations and no background, or too few to estimate the scales.

    References
    ----------
    Bretherton, Davis and Fandry 1976, Deep-Sea Res. 23, 559-582, doi:10.1016/0011-7471(76)90001-2.

    Examples
    --------
    >>> field = xr.DataArray(np.full((1, 3, 4), np.nan), dims=("time", "lat", "lon"), name="ssh", coords={
    ...     "time": np.array(["2013-01-01"], "M8[ns]"), "lat": [30.0, 31, 32], "lon": [0.0, 1, 2, 3]})
    >>> field[0, 1, 1] = 1.0
    >>> out = optimal_interp(field.to_dataset(), "ssh", length_scale=1.0, time_scale="7D", noise_std=0.1,
    ...     signal_std=1.0, metric="degrees", background=0 * field.fillna(0), uncertainty=True)
    >>> out["ssh"].values[0, 1].round(3).tolist(), out["ssh_error"].values[0, 1].round(3).tolist()
    ([0.364, 0.99, 0.364, 0.018], [0.931, 0.1, 0.931, 1.0])
    """
    given: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS:
            message = f"preset={preset!r} came; wanted one of {sorted(PRESETS)}"
            raise OptionError(message)
        given = PRESETS[preset]
        metric = given["metric"]
        if covariance == "gaussian":  # by default; another one was asked for
            covariance = given["covariance"]
    if covariance not in ("gaussian", "matern"):
        message = f"covariance={covariance!r} came; wanted 'gaussian' or 'matern'"
        raise OptionError(message)
    if metric not in ("sphere", "degrees"):
        message = f"metric={metric!r} came; wanted 'sphere' or 'degrees'"
        raise OptionError(message)
    length, shape = lengths(given.get("length_scale") if length_scale is None else length_scale, angle)
    single = noise_std is None or isinstance(noise_std, int | float | np.number)
    scales = scales_of(
        length,
        given.get("time_scale") if time_scale is None else time_scale,
        (given.get("noise_std") if noise_std is None else noise_std) if single else None,
        given.get("signal_std") if signal_std is None else signal_std,
    )
    scales = replace(scales, shape=shape, drift=velocity(drift, metric))
    about = {"noise_std": None if single else noise_std, "lag": lag, "passes": passes}
    if not single:
        scales = replace(scales, noise_std=0.0)  # nothing beside what is given
    along = track_error_of(track_error, passes)
    widths = window_of(given.get("window") if window is None else window)
    got, cyclic = observations.gather(
        ds, obs, mask, background, domain, what="optimal interpolation",
        about={k: v for k, v in about.items() if v is not None}, whole=tiles is None,
    )  # fmt: skip
    require_reach(scales.length_scale, got.nodes.latitude, metric=metric)
    if got.nodes.time.size == 1 and lag is None:
        scales = replace(scales, time_scale=DAY, drift=(0.0, 0.0))  # of no effect
    problem = CovarianceProblem(
        got.nodes, scales, uncertainty, preset is not None, kind=covariance, metric=metric, window=widths,
        track_error=along, record=record_of(got),
    )  # fmt: skip
    if tiles is not None:
        sizes_of(tiles)
    elif too_large(got, problem):
        tiles = "auto"
    if tiles is not None:
        problem = replace(problem, tolerance=IN_TILES)
    results = solve(got, problem, tiles)
    if members is not None:
        results[0] = draw(got, problem, tiles, results[0], members, seed)
    call = cf.describe_call(
        "optimal_interp", obs=name_of(obs), mask=name_of(mask), length_scale=length_scale, time_scale=time_scale,
        noise_std=name_of(noise_std), signal_std=signal_std, preset=preset, covariance=covariance, metric=metric,
        angle=angle, drift=drift, lag=name_of(lag), track_error=track_error, passes=name_of(passes),
        window=dict(window) if window else None, background=name_of(background), domain=name_of(domain),
        uncertainty=uncertainty, tiles=tiles, members=members, seed=seed if members else None,
    )  # fmt: skip
    return observations.dataset(
        ds,
        got,
        results,
        observations.original(ds, obs, got.field),
        cyclic=cyclic,
        uncertainty=uncertainty,
        call=call,
        scales=in_words(problem.record or (), got.attrs.get("units"), metric),
        how="posterior standard deviation, exact for the covariance and windows used"
        if tiles is None
        else "posterior standard deviation: square root of variances blended over tiles, each exact for the covariance "
        "and the observations in the tile's reach",
    )
