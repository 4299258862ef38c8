"""Optimal interpolation of labelled records as of windows: each tile a plane, its analysis by tables and transforms.

`xatmo.assimilation.optimal_interp` is exact on the sphere and reaches far; this is for backgrounds, which have to be
made quickly, in training and in use alike.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.dense import gridded
from xatmo.assimilation.dense._optimal import METRES, CovarianceProblem
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels._arguments import name_of
from xatmo.assimilation.tiling._tile_graph import solve
from xatmo.assimilation.tiling._tiling import Reach

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

REACH = 0.6, 1.5
"""Time scales and length scales beyond a tile within which observations are used."""
TILE = 1.2, 4.0
"""Time scales and length scales of a tile, unless the record is hardly longer."""


@dataclass(frozen=True)
class FlatProblem(CovarianceProblem):
    """Optimal interpolation of one tile by `xatmo.assimilation.dense.gridded`, where that can be done."""

    most: ClassVar[int | None] = 4 * gridded.MOST
    """Above, a tile is divided; what it holds up to there is cut as that of a window."""

    def reach(self) -> Reach:
        """Give how far away observations are used by a tile."""
        if self.window:
            return super().reach()
        s = self.scales
        shape, drift = s.shape or (0.0, 0.0), s.drift or (0.0, 0.0)
        seconds = REACH[0] * cast(float, s.time_scale)
        distance = REACH[1] * cast(float, s.length_scale) * float(np.exp(np.hypot(*shape)))
        return Reach(seconds, distance + float(np.hypot(*drift)) * seconds, self.metric)

    def tile_lengths(self) -> tuple[float, float]:
        """Give the lengths of tiles in time scales and length scales."""
        return TILE

    def __call__(
        self, values: Array, observed: Bools, background: Array | None, domain: Bools, lag: Array | None = None,
        noise_std: Array | None = None, passes: Array | None = None,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Analyse one tile; true times are rounded as `xatmo.assimilation.dense.gridded.interpolate` says."""
        if self.window or any(a is not None for a in (noise_std, passes)):
            return super().__call__(values, observed, background, domain, lag, noise_std, passes)
        _, _, first = self.innovations(values, observed, background)
        setting = gridded.Setting.of(self.scales, self.kind, self.metric)
        n = self.nodes
        axes = n.time, n.latitude, n.longitude
        mean, std = gridded.interpolate(setting, values - first, observed, axes, late=lag, uncertainty=self.uncertainty)
        error = np.full(mean.shape, np.nan) if std is None else std
        return (mean + first)[self.wanted], error[self.wanted]


def flat_interp(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    scales: Scales,
    *,
    kind: str = "matern",
    metric: str = "sphere",
    mean: float = 0.0,
    window: Mapping[str, float] | None = None,
    lag: Hashable | xr.DataArray | None = None,
    domain: Hashable | xr.DataArray | None = None,
    uncertainty: bool = False,
) -> xr.Dataset:
    """Interpolate sparse observations, tile by tile, with scales that are known.

    A record of up to `TILE` and its reach on both sides is one tile. The result does not depend on chunks.

    Parameters
    ----------
    ds, obs, lag, domain, uncertainty
        See `xatmo.assimilation.optimal_interp`.
    scales : Scales
        None of them missing.
    kind, metric
        The covariance, and how it takes distances.
    mean : float
        What is interpolated is the deviation from it.
    window : dict
        Whole widths of local windows, in seconds and degrees: see
        `xatmo.assimilation.dense._windows.interpolate_windows`.

    Returns
    -------
    Dataset
        The analysis under the name of the observations and, with ``uncertainty``, NAME ``_error``.

    Examples
    --------
    >>> field = xr.DataArray(np.full((2, 3), np.nan), dims=("lat", "lon"), name="ssh",
    ...     coords={"lat": [0.0, 1], "lon": [0.0, 1, 2]})
    >>> field[0, 0] = 1.0
    >>> made = flat_interp(field.to_dataset(), "ssh", Scales(2.0, 1.0, 0.1, 1.0), kind="gaussian", metric="degrees")
    >>> made["ssh"].values.round(2)
    array([[0.99, 0.77, 0.36],
           [0.77, 0.6 , 0.28]])
    """
    about = {} if lag is None else {"lag": lag}
    got, cyclic = observations.gather(ds, obs, None, None, domain, what="a background", about=about, whole=False)
    background = xr.full_like(got.field, mean, dtype=np.float64)
    got = replace(got, background=background)
    nodes = got.nodes
    problem = FlatProblem(
        nodes, scales, uncertainty, zero_mean=True, kind=kind, metric=metric, window=dict(window or {})
    )
    results = solve(got, problem, _tiles(problem))
    call = cf.describe_call("flat_interp", obs=name_of(obs), domain=name_of(domain), uncertainty=uncertainty)
    like = observations.original(ds, obs, got.field)
    how = "posterior standard deviation for the covariance and the observations in the reach of a tile"
    return observations.dataset(ds, got, results, like, cyclic=cyclic, uncertainty=uncertainty, call=call, how=how)


def _tiles(problem: FlatProblem) -> Any:
    """Take a small record as one tile."""
    nodes, s = problem.nodes, problem.scales
    unit = METRES if problem.metric == "sphere" else 1.0
    spans = np.ptp(nodes.time) / cast(float, s.time_scale), max(
        float(np.ptp(nodes.latitude)), float(np.ptp(nodes.longitude))
    ) * unit / cast(float, s.length_scale)  # fmt: skip
    if spans[0] <= TILE[0] + 2 * REACH[0] and spans[1] <= 2 * (TILE[1] + 2 * REACH[1]) and not problem.window:
        sizes = {"time": nodes.time.size, "lat": nodes.latitude.size, "lon": nodes.longitude.size}
        return {k: n for k, n in sizes.items() if n > 1}
    return "auto"
