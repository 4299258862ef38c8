"""Interpolation of labelled data by minimising a cost with a sparse prior."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.assimilation.advected import advected_interp
from xatmo.assimilation.draws._conditional import draw
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels._arguments import DAY, in_words, name_of, record_of, require_reach, scales_of
from xatmo.assimilation.optimal import optimal_interp
from xatmo.assimilation.spde import _analysis
from xatmo.assimilation.spde._variational import VariationalProblem, longitude_step_of, steps_of
from xatmo.assimilation.spde.prior import Memory
from xatmo.assimilation.tiling._tile_graph import solve, too_large
from xatmo.assimilation.tiling._tiling import sizes_of
from xatmo.errors import OptionError


def fourdvar_interp(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None = None,
    *,
    background: Hashable | xr.DataArray | None = None,
    prior: str = "spde",
    length_scale: float | None = None,
    time_scale: np.timedelta64 | str | None = None,
    noise_std: float | None = None,
    signal_std: float | None = None,
    domain: Hashable | xr.DataArray | None = None,
    uncertainty: bool = False,
    tiles: Mapping[str, int] | str | None = None,
    members: int | None = None,
    seed: int = 0,
    alpha: int = 4,
    substeps: int = 1,
    memory: Memory = "diffusive",
    prior_settings: Mapping[str, Any] | None = None,
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
    prior : {"spde", "gaussian", "matern", "advection_diffusion"}
        ``"gaussian"`` and ``"matern"`` stand for a separable covariance: the same as `optimal_interp`.
        ``"advection_diffusion"`` is carried by a flow and stopped by coasts: the same as `advected_interp`.
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
    tiles : dict or "auto", optional
        As in `optimal_interp`. A tile is the analysis of its nodes and those within 3 length scales and 3 time scales.
        ``"auto"``: 3 to 8 length and time scales, as far as a table of their covariances takes 1 GB. Where the prior of
        the whole grid would not fit 2 GB, ``"auto"`` is the default.
    members, seed : int, optional
        As in `optimal_interp`. The draws are those of the prior on the whole grid, which has to fit 2 GB.
    alpha : int
        Even, at least 4.
    substeps : int
        Implicit Euler steps between two times.
    memory : {"diffusive", "uniform"}
        Whether small scales are forgotten sooner, or all scales at one rate, which makes the covariance separable:
        Matern in space, exponential in time. See `SPDE`.
    prior_settings : mapping, optional
        With ``prior="advection_diffusion"``: further keywords of `advected_interp`, such as ``flow``.

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
    if prior in ("gaussian", "matern"):
        return optimal_interp(
            ds, obs, mask, length_scale=length_scale, time_scale=time_scale, noise_std=noise_std,
            signal_std=signal_std, covariance=prior, background=background, domain=domain, uncertainty=uncertainty,
            tiles=tiles, members=members, seed=seed,
        )  # fmt: skip
    if prior == "advection_diffusion" and tiles is None and members is None:
        return advected_interp(
            ds, obs, mask, length_scale=length_scale, time_scale=time_scale, noise_std=noise_std, signal_std=signal_std,
            background=background, domain=domain, uncertainty=uncertainty, alpha=alpha, substeps=substeps,
            **dict(prior_settings or {}),
        )  # fmt: skip
    if prior != "spde" or prior_settings:
        beside = {"tiles": tiles, "members": members, "prior_settings": prior_settings}
        given = "".join(f", {k}={v!r}" for k, v in beside.items() if v is not None)
        message = (
            f"prior={prior!r}{given} came; wanted 'spde', 'gaussian' or 'matern', or 'advection_diffusion' without "
            "tiles or members, which alone has prior_settings"
        )
        raise OptionError(message)
    scales = scales_of(length_scale, time_scale, noise_std, signal_std)
    got, cyclic = observations.gather(
        ds, obs, mask, background, domain, what="variational interpolation", whole=tiles is None
    )
    require_reach(scales.length_scale, got.nodes.latitude, metric="sphere")
    if got.nodes.time.size == 1:
        scales = replace(scales, time_scale=DAY)  # of no effect
    step, place = steps_of(got.nodes.time)
    problem = VariationalProblem(
        got.nodes, scales, uncertainty, False, alpha=alpha, substeps=substeps, memory=memory,
        longitude_step=longitude_step_of(got.nodes.longitude), step=step, place=place, record=record_of(got),
    )  # fmt: skip
    if scales.length_scale is not None and scales.time_scale is not None:  # a wrong option is an error at once
        problem.prior(replace(scales, noise_std=1.0, signal_std=1.0))
    if tiles is not None:
        sizes_of(tiles)
    elif too_large(got, problem):
        tiles = "auto"
    results = solve(got, problem, tiles)
    if members is not None:
        results[0] = draw(got, problem, tiles, results[0], members, seed)
    call = cf.describe_call(
        "fourdvar_interp", obs=name_of(obs), mask=name_of(mask), prior=prior, length_scale=length_scale,
        time_scale=time_scale, noise_std=noise_std, signal_std=signal_std, background=name_of(background),
        domain=name_of(domain), uncertainty=uncertainty, alpha=alpha, substeps=substeps, memory=memory,
        tiles=tiles, members=members, seed=seed if members else None,
    )  # fmt: skip
    return observations.dataset(
        ds,
        got,
        results,
        observations.original(ds, obs, got.field),
        cyclic=cyclic,
        uncertainty=uncertainty,
        call=call,
        scales=in_words(problem.record or (), got.attrs.get("units")),
        how=_analysis.HOW_ERRORS + ("" if tiles is None else "; variances blended over tiles"),
    )
