"""Interpolation of labelled data with a prior that a flow carries along: currents, anisotropy, coasts."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xatmo import cf, units
from xatmo.assimilation.advection._advected import SAMPLES, AdvectedProblem, Settings
from xatmo.assimilation.advection.prior import Scheme
from xatmo.assimilation.advection.sparse_analysis import Method
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels._arguments import (
    DAY,
    duration,
    in_words,
    name_of,
    positive,
    record_of,
    require_reach,
    scales_of,
    velocity,
)
from xatmo.assimilation.spde._variational import longitude_step_of, steps_of
from xatmo.errors import OptionError, UnitsError

Component: TypeAlias = float | Hashable | xr.DataArray


def advected_interp(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None = None,
    *,
    flow: tuple[Component, Component] | str | None = None,
    length_scale: float | None = None,
    time_scale: np.timedelta64 | str | None = None,
    noise_std: float | Hashable | xr.DataArray | None = None,
    signal_std: float | None = None,
    stretch: float = 1.0,
    background: Hashable | xr.DataArray | None = None,
    domain: Hashable | xr.DataArray | None = None,
    uncertainty: bool = False,
    members: int | None = None,
    seed: int = 0,
    window: np.timedelta64 | str | None = None,
    padding: float = 1.5,
    alpha: int = 4,
    substeps: int = 1,
    scheme: Scheme = "centred",
    method: Method = "direct",
) -> xr.Dataset:
    """Interpolate sparse observations of a field that is carried by a flow, damped, diffused, and driven by noise.

    The prior is ``dx/dt + m . grad x + (kappa^2 - div(H grad))^(alpha/2) x = tau w``, see
    `xatmo.assimilation.AdvectionDiffusion`, on cells with their true sizes on the sphere, with closed coasts, implicit
    Euler steps, padding beyond open borders, and noise that is weaker beside what is closed, so that the variance is
    the one asked for (exactly at the first time, within some percent later). The analysis is the exact posterior mean,
    from a Cholesky factor by nested dissection.

    Parameters
    ----------
    ds, obs, mask, background
        See `optimal_interp`. Longitudes have to be equally spaced; times multiples of their smallest step.
    flow : (east, north), optional
        Velocity m in m s-1: numbers; or names or DataArrays, of (lat, lon) or with time (NaN counts as still).
        ``"estimate"`` for one drift of the whole.
    length_scale, time_scale : float, timedelta or str, optional
        Where the correlation in space, and that in time of what moves along, fall to about 1/e: metres, and a time
        span. With p = alpha/2, they give kappa and H as `SPDE` says.
    noise_std : float, name or DataArray, optional
        Standard deviation of the errors of all observations, or of each.
    signal_std : float, optional
        That of the deviations from the background. Scales and drift that are not given are estimated by maximum
        likelihood from the observations of each slab, with the mean of ``flow`` as drift.
    stretch : float
        How much longer the correlation is along the flow than across, where the flow is fastest:
        ``H = L^2 (I + (stretch^2 - 1) m m^T / max |m|^2)`` but for a factor.
    domain : name or DataArray, optional
        Water (not zero): nothing crosses its coast, and the result is NaN elsewhere. A time dimension only says where a
        result is wanted; the coast is that of all times together.
    uncertainty : bool
        Whether to give the posterior standard deviation too, exact with ``method="direct"``.
    members : int, optional
        Draws from the posterior instead of its mean, along ``member``.
    seed : int
        Of the members.
    window : timedelta or str, optional
        Times that are analysed at once, beside three time scales on either side: for records whose factor would be too
        large. The analysis then differs from that of all at once, the default, by less than 1 percent of the signal.
    padding : float
        Length scales that are added beyond open borders, which the prior takes as closed.
    alpha, substeps
        See `SPDE`. Steps are to be so short that the flow does not cross many cells, or what is small is damped.
    scheme : {"centred", "upwind"}
        Of the advection.
    method : {"direct", "cg"}
        Exact factor; or conjugate gradients, for which the error comes from 64 draws (sampling error 9 percent).

    Returns
    -------
    Dataset
        The analysis (or members) under the name of the observations and, with ``uncertainty``, NAME ``_error``. Lazy
        where the observations are; time, latitude and longitude have to be whole, others are independent.

    Raises
    ------
    VariableError, DimensionError, CoordinateError, OptionError, MissingValueError
        See `optimal_interp`; and if the factor would be too large, with what to do.

    References
    ----------
    Clarotto, Allard, Romary and Desassis 2024, Spatial Statistics 62, 100847; Lindgren, Rue and Lindstrom 2011,
    J. R. Stat. Soc. B 73, 423-498.

    Examples
    --------
    >>> field = xr.DataArray(np.full((5, 6, 9), np.nan), dims=("time", "lat", "lon"), name="ssh", coords={
    ...     "time": np.arange(5).astype("M8[D]").astype("M8[ns]"), "lat": 0.2 * np.arange(6.0),
    ...     "lon": 0.2 * np.arange(9.0)})
    >>> field[0, 2, 2] = 1.0
    >>> out = advected_interp(field.to_dataset(), "ssh", flow=(0.25, 0.0), length_scale=50e3, time_scale="20D",
    ...     noise_std=0.1, signal_std=1.0, background=0 * field.fillna(0), substeps=6)
    >>> out["ssh"][2].argmax(...)["lon"].item()  # 43 km, or two cells, further east
    4
    """
    number = noise_std is None or isinstance(noise_std, int | float | np.number)
    scales = scales_of(length_scale, time_scale, noise_std if number else None, signal_std)
    about: dict[str, Any] = {}
    if not number:
        scales = replace(scales, noise_std=0.0)  # nothing beside what is given
        about["noise_std"] = noise_std
    moving = _flow(ds, flow)
    if moving is None:
        scales = replace(scales, shape=(0.0, 0.0), drift=velocity(flow, "sphere"))
    else:
        scales = replace(scales, shape=(0.0, 0.0), drift=(0.0, 0.0))
        about |= moving
    _require(stretch=stretch, padding=padding, members=members)
    got, cyclic = observations.gather(ds, obs, mask, background, domain, what="interpolation along a flow", about=about)
    require_reach(scales.length_scale, got.nodes.latitude, metric="sphere")
    if got.nodes.time.size == 1:
        scales = replace(scales, time_scale=DAY)  # of no effect
    step, place = steps_of(got.nodes.time)
    settings = Settings(
        alpha, substeps, float(stretch), scheme, float(padding), duration("window", window), method, members or 0, seed
    )
    problem = AdvectedProblem(
        got.nodes, scales, uncertainty, False, settings=settings, step=step, place=place,
        longitude_step=longitude_step_of(got.nodes.longitude), record=record_of(got),
    )  # fmt: skip
    if scales.length_scale is not None and scales.time_scale is not None:  # a wrong option is an error at once
        problem.prior(replace(scales, noise_std=1.0, signal_std=1.0, drift=scales.drift or (0.0, 0.0)), None, None)
    if members:
        number_of = xr.DataArray(np.arange(members), dims="member", name="member")
        got = replace(got, field=got.field.expand_dims(member=members), about=got.about | {"member": number_of})
    results = got.solve(problem)
    if members:
        results[1] = results[1].isel(member=0)
    call = cf.describe_call(
        "advected_interp", obs=name_of(obs), mask=name_of(mask), flow=_told(flow), length_scale=length_scale,
        time_scale=time_scale, noise_std=name_of(noise_std), signal_std=signal_std, stretch=stretch,
        background=name_of(background), domain=name_of(domain), uncertainty=uncertainty, members=members, seed=seed,
        window=window, padding=padding, alpha=alpha, substeps=substeps, scheme=scheme, method=method,
    )  # fmt: skip
    exact = "exact for the prior on its nodes" + ("" if window is None else " and windows")
    sampled = f"from {max(members or 0, SAMPLES)} draws: sampling error 1 / sqrt(2 n)"
    return observations.dataset(
        ds, got, results, observations.original(ds, obs, got.field), cyclic=cyclic, uncertainty=uncertainty, call=call,
        scales=in_words(problem.record or (), got.attrs.get("units")),
        how=f"posterior standard deviation, {exact if method == 'direct' else sampled}",
    )  # fmt: skip


def _flow(ds: xr.Dataset, flow: Any) -> dict[str, xr.DataArray] | None:
    """Read a velocity of nodes, in m s-1; None where it is one drift of the whole, or none."""
    if not isinstance(flow, tuple | list) or len(flow) != 2:
        return None
    if all(isinstance(f, int | float | np.number) for f in flow):
        return None
    out = {}
    for role, given in zip(("east", "north"), flow, strict=True):
        if isinstance(given, int | float | np.number):
            message = f"flow={_told(flow)!r} came; wanted two numbers, or two names or DataArrays"
            raise OptionError(message)
        component = observations.pick(ds, given, role)
        try:
            out[role] = units.convert(component, "m s-1") if "units" in component.attrs else component
        except UnitsError as error:
            message = f"flow to the {role}, {component.name!r}: {error}"
            raise UnitsError(message) from error
    return out


def _require(*, stretch: float, padding: float, members: int | None) -> None:
    if not (np.isfinite(stretch) and stretch >= 1) or not (np.isfinite(padding) and padding >= 0):
        message = f"stretch={stretch!r}, padding={padding!r} came; wanted at least 1, and at least 0"
        raise OptionError(message)
    if members is not None and positive("members", members) != int(members):
        message = f"members={members!r} came; wanted a whole number, at least 1"
        raise OptionError(message)


def _told(flow: Any) -> Any:
    return tuple(name_of(f) for f in flow) if isinstance(flow, tuple | list) else flow
