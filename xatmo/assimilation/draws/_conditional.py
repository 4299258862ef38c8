"""Members around an analysis without training: draws from the posterior of a covariance or of an SPDE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import make
from xatmo.assimilation.dense._optimal import CovarianceProblem
from xatmo.assimilation.draws.members import Truths, check_number, conditional_members, joined
from xatmo.assimilation.labels.observations import Gathered
from xatmo.assimilation.spde._variational import VariationalProblem
from xatmo.assimilation.tiling._tile_graph import solve
from xatmo.errors import OptionError

Array = NDArray[np.float64]


def draw(
    got: Gathered, problem: CovarianceProblem | VariationalProblem, tiles: Any, analysis: xr.DataArray, members: int,
    seed: int,
) -> xr.DataArray:  # fmt: skip
    """Draw members of the posterior: analysis + (s - analysis of the observations of s), s drawn from the prior.

    Parameters
    ----------
    got, problem, tiles
        What the analysis was made of.
    analysis : DataArray
    members, seed : int

    Returns
    -------
    DataArray
        With a first dimension ``member``.

    Raises
    ------
    OptionError
        If the number of members is none, scales are not given, or errors are not one standard deviation for all.
    """
    check_number(members, analysis.dims, seed)
    missing = problem.scales.missing()
    if missing:
        message = (
            f"members={members} came without {', '.join(missing)}; wanted all scales, for instance those that "
            "xatmo.assimilation.estimate_scales finds"
        )
        raise OptionError(message)
    if isinstance(problem, CovarianceProblem) and (problem.track_error is not None or "noise_std" in got.about):
        message = f"members={members} came with errors by observation or by pass; wanted one noise_std for all"
        raise OptionError(message)
    noise = cast(float, problem.scales.noise_std)
    analysis = analysis.assign_coords(got.field.coords).rename(got.name)
    seen = got.field if got.mask is None else got.field.where(got.mask.notnull() & (got.mask != 0))
    plain = replace(problem, uncertainty=False)

    def mapping(observed: list[xr.DataArray]) -> xr.DataArray:
        field = observed[0].transpose(*got.field.dims)
        zero = xr.zeros_like(field, dtype=np.float64)
        made = solve(replace(got, field=field, mask=None, background=zero), plain, tiles)[0]
        return made.assign_coords(got.field.coords)

    if isinstance(problem, CovarianceProblem):
        return conditional_members(
            mapping, analysis, [seen], _truths(problem), members=members, noise_std=noise, lag=_lag(got), seed=seed
        )
    made = []
    for member in range(members):
        random = np.random.default_rng([seed, member])
        truth = _from_prior(got, problem, random).transpose(*analysis.dims)
        error = truth.copy(data=noise * random.standard_normal(truth.shape))
        made.append(analysis + (truth - mapping([(truth + error).where(seen.notnull())])))
    return joined(made, analysis)


def _truths(problem: CovarianceProblem) -> Truths:
    s, nodes = problem.scales, problem.nodes
    middle = [float(a.min() + a.max()) / 2 for a in (nodes.latitude, nodes.longitude)]
    frame = problem.frame(s) or Frame(problem.metric, (middle[0], middle[1]))
    kernel = make(problem.kind, length_scale=s.length_scale, time_scale=s.time_scale, signal_std=s.signal_std)
    return Truths(cast(Any, kernel), frame)


def _lag(got: Gathered) -> xr.DataArray | None:
    lag = got.about.get("lag")
    return None if lag is None else lag.fillna(0).assign_attrs(units="seconds")


def _from_prior(got: Gathered, problem: VariationalProblem, random: np.random.Generator) -> xr.DataArray:
    """One draw of the prior for every slab, on the nodes of the observations."""
    prior = problem.prior(problem.scales)
    lead = [d for d in got.field.dims if d not in got.core]
    shape = [got.field.sizes[d] for d in lead]
    slabs = np.stack([prior.sample(random)[problem.place] for _ in range(int(np.prod(shape)))])
    full = slabs.reshape(*shape, *(got.field.sizes[d] for d in got.core))
    return xr.DataArray(full, got.field.coords, (*lead, *got.core))
