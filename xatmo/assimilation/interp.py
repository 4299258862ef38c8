"""Interpolate sparse observations on labelled data: by covariance, or by minimising a cost with a sparse prior."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.assimilation import _analysis, _kernels, observations
from xatmo.assimilation._optimal import CovarianceProblem, Problem, extents, lengths, track_error_of, velocity
from xatmo.assimilation.covariance import make
from xatmo.assimilation.likelihood import Scales, estimate
from xatmo.assimilation.spde import SPDE, Index, Memory
from xatmo.errors import CoordinateError, DimensionError, OptionError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_DAY = 86400.0

PRESETS: dict[str, dict[str, Any]] = {
    "osse2020a": {
        "length_scale": 1.0, "time_scale": "7D", "noise_std": 0.05, "signal_std": 1.0, "metric": "degrees",
        "covariance": "gaussian", "window": {"time": "28D"},
    },
}  # fmt: skip
"""Named configurations of `optimal_interp`. ``"osse2020a"``: the baseline of the 2020a sea-level mapping challenge."""


@dataclass(frozen=True)
class _Variational(Problem):
    """The minimum of the variational cost on one slab."""

    alpha: int
    substeps: int
    memory: Memory
    longitude_step: float
    step: float
    place: NDArray[np.intp]  # of every time on the equally spaced times of the prior

    def fitted(self, index: Index, seen: Array) -> Scales:
        """Give the scales, those missing by maximum likelihood."""
        if not self.scales.missing():
            return self.scales
        nodes = self.nodes
        where = _kernels.points(nodes.latitude[index[1]], nodes.longitude[index[2]], "sphere")
        extent, spacing = extents(nodes, degrees=False)

        def distance(one: Any, other: Any) -> Array:
            return _kernels.pair_distances(where[one], where[other])

        def covariance(length: float, time: float, signal: float) -> Any:
            if self.memory == "uniform":
                return make(
                    "matern", length_scale=length, time_scale=time, signal_std=signal, nu=self.alpha / 2 - 1
                )  # fmt: skip
            return make(
                "spde", length_scale=length, time_scale=time, signal_std=signal, time_step=self.step,
                alpha=self.alpha, substeps=self.substeps,
            )  # fmt: skip

        when = np.asarray(self.place[index[0]] * self.step, dtype=np.float64)
        return estimate(covariance, distance, where, when, seen, self.scales, extent=extent, spacing=spacing)

    def __call__(self, values: Array, observed: Bools, background: Array | None, domain: Bools) -> tuple[Array, Array]:
        index, seen, background = self.innovations(values, observed, background)
        scales = self.fitted(index, seen)
        prior = self.prior(scales)
        on_prior = (self.place[index[0]], index[1], index[2])
        found = _analysis.analyse(prior, on_prior, seen, cast(float, scales.noise_std), uncertainty=self.uncertainty)
        mean = found.mean[self.place] + background
        return mean, found.std[self.place] if found.std is not None else np.full(mean.shape, np.nan)

    def prior(self, scales: Scales) -> SPDE:
        nodes = self.nodes
        return SPDE.on_sphere(
            nodes.latitude, self.longitude_step, nodes.longitude.size, int(self.place.max()) + 1, self.step,
            length_scale=cast(float, scales.length_scale), time_scale=cast(float, scales.time_scale),
            signal_std=cast(float, scales.signal_std), alpha=self.alpha, substeps=self.substeps,
            memory=self.memory, periodic=nodes.periodic,
        )  # fmt: skip


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
) -> xr.Dataset:
    """Interpolate sparse observations with a space-time covariance.

    The analysis is ``x = b + K_xo (K_oo + noise_std^2 I)^-1 (y - b_o)``, its error variance
    ``signal_std^2 - diag(K_xo (K_oo + noise_std^2 I)^-1 K_ox)``, with dense matrices and no approximation other than
    the windows asked for. Scales that neither a keyword nor the preset gives are estimated by maximum likelihood from
    the observations of each slab (see `xatmo.assimilation.likelihood.estimate`).

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
        degrees: the covariance is that of the field seen by who moves along. See `xatmo.assimilation.frame`.
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

    Returns
    -------
    Dataset
        The analysis under the name of the observations and, with ``uncertainty``, NAME ``_error``. Where no observation
        is near, the background with the prior's error. Lazy where the observations are; time, latitude and longitude
        have to be whole, other dimensions are independent.

    Raises
    ------
    VariableError
        If a name is not in the Dataset.
    DimensionError, CoordinateError
        If mask, background or domain do not fit the observations, or coordinates cannot be used.
    OptionError
        If a keyword has an impossible value, or there are too many observations for one dense system.
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
    scales = _scales(
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
    widths = _window(given.get("window") if window is None else window)
    got, cyclic = observations.gather(
        ds, obs, mask, background, domain, what="optimal interpolation",
        about={k: v for k, v in about.items() if v is not None},
    )  # fmt: skip
    observations.require_reach(scales.length_scale, got.nodes.latitude, metric=metric)
    if got.nodes.time.size == 1 and lag is None:
        scales = replace(scales, time_scale=_DAY, drift=(0.0, 0.0))  # of no effect
    problem = CovarianceProblem(got.nodes, scales, uncertainty, preset is not None, covariance, metric, widths, along)
    results = got.solve(problem)
    call = cf.describe_call(
        "optimal_interp", obs=_name(obs), mask=_name(mask), length_scale=length_scale, time_scale=time_scale,
        noise_std=_name(noise_std), signal_std=signal_std, preset=preset, covariance=covariance, metric=metric,
        angle=angle, drift=drift, lag=_name(lag), track_error=track_error, passes=_name(passes),
        window=dict(window) if window else None, background=_name(background), domain=_name(domain),
        uncertainty=uncertainty,
    )  # fmt: skip
    return observations.dataset(
        ds,
        got,
        results,
        _original(ds, obs, got.field),
        cyclic=cyclic,
        uncertainty=uncertainty,
        call=call,
        how="posterior standard deviation, exact for the covariance and windows used",
    )


def fourdvar_interp(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None = None,
    *,
    model: Any = None,
    background: Hashable | xr.DataArray | None = None,
    prior: str = "spde",
    length_scale: float | None = None,
    time_scale: np.timedelta64 | str | None = None,
    noise_std: float | None = None,
    signal_std: float | None = None,
    domain: Hashable | xr.DataArray | None = None,
    uncertainty: bool = False,
    alpha: int = 4,
    substeps: int = 1,
    memory: Memory = "diffusive",
) -> xr.Dataset:
    """Interpolate sparse observations by minimising a variational cost.

    The analysis is the minimum of ``J(x) = ||(y - H x) / noise_std||^2 + (x - b)^T Q (x - b)``, where Q is the sparse
    precision matrix of a stochastic partial differential equation, `xatmo.assimilation.SPDE`: diffusion and damping
    of the power alpha/2 in space, implicit Euler steps in time, stationary from the start, on cells with their true
    areas, with enough padding around a regional grid and a closed ring on a periodic one. The minimum is that of a
    dense solve with the covariance Q^-1 on the same nodes, to 1e-5 and better: up to 3000 observations the system in
    the space of the observations is factorised, above it is solved by preconditioned conjugate gradients to a relative
    residual of 1e-9. Land does not stop the diffusion; ``domain`` only says where the analysis is wanted.

    Parameters
    ----------
    ds, obs, mask, background, domain
        See `optimal_interp`. Longitudes have to be equally spaced; times multiples of their smallest step.
    model
        A trained prior and solver; not available yet.
    prior : {"spde", "gaussian", "matern"}
        ``"gaussian"`` and ``"matern"`` stand for a separable covariance: the same as `optimal_interp`.
    length_scale : float, optional
        Metres; where the correlation in space falls to about 1/e (exactly so for short time steps on a fine grid).
    time_scale : timedelta or str, optional
        Where the correlation in time at one point falls to about 1/e. Large scales live longer, small ones shorter.
    noise_std, signal_std : float, optional
        Standard deviations of the observation error and of the deviations from the background, in the units of ``obs``.
        What is not given is estimated by maximum likelihood from the observations of each slab.
    uncertainty : bool
        Whether to give the posterior standard deviation too. It is exact up to 3000 observations if their number
        squared times the nodes is at most 1e11. Above, every tile of 4 times and 10 x 10 nodes uses the nearest 500
        observations within three length scales and four time scales: an upper bound, on simulated altimeter tracks too
        large by less than 0.1 percent on average and 1 percent at most. For grids whose covariances do
        not fit 2 GB it comes from 64 conditional samples: 9 percent sampling error.
    alpha : int
        Even, at least 4.
    substeps : int
        Implicit Euler steps between two times.
    memory : {"diffusive", "uniform"}
        Whether small scales are forgotten sooner, or all scales at one rate, which makes the covariance separable:
        Matern in space, exponential in time. See `SPDE`.

    Returns
    -------
    Dataset
        The analysis under the name of the observations and, with ``uncertainty``, NAME ``_error``. Lazy where the
        observations are; time, latitude and longitude have to be whole, other dimensions are independent.

    Raises
    ------
    VariableError, DimensionError, CoordinateError, OptionError, MissingValueError
        See `optimal_interp`.

    References
    ----------
    Lindgren, Rue and Lindstrom 2011, J. R. Stat. Soc. B 73, 423-498, doi:10.1111/j.1467-9868.2011.00777.x.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> field = xr.DataArray(rng.standard_normal((6, 8, 10)), dims=("time", "lat", "lon"), name="ssh", coords={
    ...     "time": np.arange(6).astype("M8[D]").astype("M8[ns]"), "lat": 33 + 0.2 * np.arange(8.0),
    ...     "lon": -60 + 0.2 * np.arange(10.0)})
    >>> seen = field.where(rng.random(field.shape) < 0.05)
    >>> out = fourdvar_interp(seen.to_dataset(), "ssh", length_scale=50e3, time_scale="5D", noise_std=0.1,
    ...                       signal_std=1.0, uncertainty=True)
    >>> out["ssh_error"].min().item() < 0.1, out["ssh_error"].max().item() <= 1
    (True, True)
    """
    if model is not None:
        message = (
            f"model={model!r} came, but interpolation with a trained model is not available; "
            "leave it out to use the prior given by prior="
        )
        raise OptionError(message)
    if prior in ("gaussian", "matern"):
        return optimal_interp(
            ds, obs, mask, length_scale=length_scale, time_scale=time_scale, noise_std=noise_std,
            signal_std=signal_std, covariance=prior, background=background, domain=domain, uncertainty=uncertainty,
        )  # fmt: skip
    if prior != "spde":
        message = f"prior={prior!r} came; wanted 'spde', 'gaussian' or 'matern'"
        raise OptionError(message)
    scales = _scales(length_scale, time_scale, noise_std, signal_std)
    got, cyclic = observations.gather(ds, obs, mask, background, domain, what="variational interpolation")
    observations.require_reach(scales.length_scale, got.nodes.latitude, metric="sphere")
    if got.nodes.time.size == 1:
        scales = replace(scales, time_scale=_DAY)  # of no effect
    step, place = _steps(got.nodes.time)
    problem = _Variational(
        got.nodes,
        scales,
        uncertainty,
        False,
        alpha,
        substeps,
        memory,
        _longitude_step(got.nodes.longitude),
        step,
        place,
    )
    if scales.length_scale is not None and scales.time_scale is not None:  # a wrong option is an error at once
        problem.prior(replace(scales, noise_std=1.0, signal_std=1.0))
    results = got.solve(problem)
    call = cf.describe_call(
        "fourdvar_interp", obs=_name(obs), mask=_name(mask), prior=prior, length_scale=length_scale,
        time_scale=time_scale, noise_std=noise_std, signal_std=signal_std, background=_name(background),
        domain=_name(domain), uncertainty=uncertainty, alpha=alpha, substeps=substeps, memory=memory,
    )  # fmt: skip
    return observations.dataset(
        ds,
        got,
        results,
        _original(ds, obs, got.field),
        cyclic=cyclic,
        uncertainty=uncertainty,
        call=call,
        how=_analysis.HOW_ERRORS,
    )


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
        or degrees a second) and ``shape``, which `xatmo.assimilation.frame.lengths_of` reads.

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
    scales = replace(_scales(length, time_scale, noise_std, signal_std), shape=shape, drift=velocity(drift, metric))
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
        problem: CovarianceProblem | _Variational
        if covariance == "spde":
            step, place = _steps(got.nodes.time)
            width = _longitude_step(got.nodes.longitude)
            problem = _Variational(got.nodes, scales, False, False, 4, 1, "diffusive", width, step, place)
        else:
            problem = CovarianceProblem(got.nodes, scales, False, False, covariance, metric, {})
        index, seen, _ = problem.innovations(values, observed, first)
        if isinstance(problem, CovarianceProblem) and lag is not None:
            found.append(problem.fitted(index, seen, got.nodes.time[index[0]] + np.nan_to_num(lag[index])))
        else:
            found.append(problem.fitted(index, seen))
        return values, values

    got.loaded().solve(keep)
    return found[0]


# ---------------------------------------------------------------------- small parts
def _scales(length: Any, time: Any, noise: Any, signal: Any) -> Scales:
    return Scales(
        observations.positive("length_scale", length),
        observations.duration("time_scale", time),
        observations.positive("noise_std", noise),
        observations.positive("signal_std", signal),
    )


def _window(window: Mapping[str, Any] | None) -> dict[str, float]:
    widths: dict[str, float] = {}
    for key, value in (window or {}).items():
        if key not in ("time", "lat", "lon"):
            message = f"window has the key {key!r}; wanted 'time' (a time span), 'lat' and 'lon' (degrees)"
            raise OptionError(message)
        name = f"window[{key!r}]"
        read = observations.duration(name, value) if key == "time" else observations.positive(name, value)
        widths[key] = cast(float, read)
    return widths


def _name(given: Any) -> Any:
    return given.name if isinstance(given, xr.DataArray) else given


def _original(ds: xr.Dataset, obs: Any, field: xr.DataArray) -> xr.DataArray:
    """Take the observations as they came, for encoding and a cyclic column; the binned field for tracks."""
    original = observations.pick(ds, obs, "obs")
    return field if observations.is_track(original) else original


def _steps(time: Array) -> tuple[float, NDArray[np.intp]]:
    """Find the time step, and the place of each time on equally spaced times.

    Raises
    ------
    CoordinateError
        If times are not multiples of the smallest step.
    """
    if time.size == 1:  # so short a step that the field at one time is that of the continuous equation
        return 1.0, np.zeros(1, dtype=np.intp)
    step = float(np.diff(np.sort(time)).min())
    exact = time / step
    place = np.rint(exact)
    if np.abs(exact - place).max() > 0.01:
        message = (
            f"times are not equally spaced: the smallest step is {step:g} s, and the others are not multiples of it. "
            "Put them on regular times first, for instance ds.resample(time='1D').mean()"
        )
        raise CoordinateError(message)
    return step, place.astype(np.intp)


def _longitude_step(longitude: Array) -> float:
    step = float((longitude[-1] - longitude[0]) / (longitude.size - 1))
    if np.abs(np.diff(longitude) - step).max() > 0.04 * step:
        message = (
            f"longitudes are not equally spaced: steps from {np.diff(longitude).min():g} to "
            f"{np.diff(longitude).max():g} degrees. Regrid to equal steps first, or use optimal_interp"
        )
        raise CoordinateError(message)
    return step
