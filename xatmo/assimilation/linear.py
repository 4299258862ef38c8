"""Piecewise linear interpolation of sparse observations in space and time: no covariance, one ratio of scales.

Observations are the corners of tetrahedra (Delaunay) in degrees of latitude, degrees of longitude as long as those of
latitude at the middle of the box, and time in units of `TIME_SCALE`. Outside of their convex hull the nearest counts.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels._arguments import DAY, duration, name_of
from xatmo.errors import MissingValueError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

TIME_SCALE = "4D"
"""Time that counts as much as a degree of latitude, unless given: about the ratio of the scales of ocean eddies."""
_JITTER = 1e-4  # of a step: nodes of a grid have many triangulations, this takes one
_NARROWEST = 0.05  # cosine of the latitude at which degrees of longitude are no longer shortened
_BEYOND = 0.5  # of a circle: so much of it is repeated on both sides where longitudes go around


def interpolate(
    values: NDArray[Any],
    observed: Bools,
    nodes: tuple[Array, Array, Array],
    time_scale: float = 4 * DAY,
    *,
    periodic: bool = False,
) -> Array:
    """Interpolate one window of plain arrays.

    Parameters
    ----------
    values : array (time, lat, lon)
        Read where ``observed``.
    observed : bool array (time, lat, lon)
    nodes : times (n_time,) in seconds, latitudes (n_lat,), longitudes (n_lon,) in degrees
    time_scale : float
        Seconds that count as much as a degree of latitude.
    periodic : bool
        Whether longitudes go around the globe.

    Returns
    -------
    array (time, lat, lon)
        Zero where nothing was observed at all.

    Examples
    --------
    >>> values, observed = np.zeros((1, 3, 3)), np.zeros((1, 3, 3), bool)
    >>> observed[0, ::2, ::2], values[0, ::2, ::2] = True, [[0, 2], [2, 4]]
    >>> interpolate(values, observed, (np.zeros(1), np.arange(3.0), np.arange(3.0)))[0].round(2)
    array([[0., 1., 2.],
           [1., 2., 3.],
           [2., 3., 4.]])
    """
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError, cKDTree

    index = np.nonzero(observed)
    seen = values[index].astype(np.float64)
    if seen.size == 0:
        return np.zeros(values.shape)
    narrow = max(float(np.cos(np.radians((nodes[1].min() + nodes[1].max()) / 2))), _NARROWEST)
    # Counted from the first column, or on one circle, so that the same places have the same numbers in any file.
    columns = np.round(nodes[2] % 360 if periodic else nodes[2] - nodes[2].min(), 9)
    axes = [(nodes[0] - nodes[0].min()) / time_scale, nodes[1], columns * narrow]
    at = np.stack([a[i] for a, i in zip(axes, index, strict=True)], axis=-1)
    if periodic:
        at, seen = _around(at, seen, 360 * narrow, float(axes[2].min() + axes[2].max()) / 2)
    order = np.lexsort(at.T[::-1])  # in any order of rows, the same triangulation
    at, seen = at[order], seen[order]
    used = [k for k, a in enumerate(axes) if a.size > 1]
    if not used:
        return np.full(values.shape, seen.mean())
    at, axes = at[:, used], [axes[k] for k in used]
    everywhere = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=-1)
    if len(used) == 1:
        order = np.argsort(at[:, 0], kind="stable")
        return np.asarray(np.interp(everywhere[:, 0], at[order, 0], seen[order])).reshape(values.shape)
    step = np.array([np.ptp(a) / (a.size - 1) for a in axes])
    moved = at + _JITTER * step * np.random.default_rng(0).uniform(-1, 1, at.shape)
    # A little towards the middle, or nodes between observations at an edge of the box would often lie outside.
    half = np.array([np.ptp(a) / 2 for a in axes])
    middle = np.array([(a.min() + a.max()) / 2 for a in axes])
    inner = everywhere - (everywhere - middle) * (3 * _JITTER * step / half)
    try:
        made = LinearNDInterpolator(moved, seen)(inner)
    except QhullError:  # too few for a tetrahedron
        made = np.full(len(everywhere), np.nan)
    outside = ~np.isfinite(made)
    if outside.any():
        made[outside] = seen[cKDTree(moved).query(everywhere[outside])[1]]
    return cast(Array, made.reshape(values.shape))


def _around(at: Array, seen: Array, circle: float, middle: float) -> tuple[Array, Array]:
    """Repeat observations beyond both ends of a row that goes around."""
    parts, values = [at], [seen]
    for turn in (-circle, circle):
        moved = at + np.array([0.0, 0.0, turn])
        near = np.abs(moved[:, 2] - middle) <= (0.5 + _BEYOND) * circle
        parts.append(moved[near])
        values.append(seen[near])
    return np.concatenate(parts), np.concatenate(values)


@dataclass(frozen=True)
class _Slab:
    """Interpolation of one slab; a class, so that it pickles to workers."""

    nodes: observations.Nodes
    time_scale: float
    empty: float | None = None

    def __call__(self, values: Array, observed: Bools, background: Array | None, domain: Bools) -> tuple[Array, Array]:
        if not observed.any() and self.empty is not None:
            return np.full(values.shape, self.empty), np.full(values.shape, np.nan)
        if not observed.any():
            message = "no observations at all: mask & isfinite(obs) is False everywhere; check the mask"
            raise MissingValueError(message)
        n = self.nodes
        axes = (n.time, n.latitude, n.longitude)
        made = interpolate(values, observed, axes, self.time_scale, periodic=n.periodic)
        return made, np.full_like(made, np.nan)


def linear_interp(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None = None,
    *,
    time_scale: np.timedelta64 | str = TIME_SCALE,
    domain: Hashable | xr.DataArray | None = None,
    empty: float | None = None,
) -> xr.Dataset:
    """Interpolate sparse observations linearly between those around, in space and time.

    The baseline of scores: it passes through the observations, noise included, and is the nearest observation outside
    of their convex hull.

    Parameters
    ----------
    ds : Dataset
        With latitude and longitude, perhaps time, under any name, in any order.
    obs : name or DataArray
        Observations on the grid of ``ds``, NaN where there are none; or along a track, see `optimal_interp`.
    mask : name or DataArray, optional
        Where there are observations (not zero). What counts as observed is ``mask & isfinite(obs)``.
    time_scale : timedelta or str
        Time that counts as much as a degree of latitude.
    domain : name or DataArray, optional
        Where the result is wanted (not zero); NaN elsewhere.
    empty : float, optional
        What a sample without any observation gets. Such a one is refused unless this is given.

    Returns
    -------
    Dataset
        The result under the name of the observations, lazy where these are; time, latitude and longitude have to be
        whole, other dimensions are independent.

    Raises
    ------
    VariableError
        If a name is not in the Dataset.
    DimensionError, CoordinateError
        If mask or domain do not fit the observations, or coordinates cannot be used.
    OptionError
        If ``time_scale`` is no positive time span.
    MissingValueError
        If there are no observations.

    Examples
    --------
    >>> field = xr.DataArray(np.full((3, 3), np.nan), dims=("lat", "lon"), name="ssh",
    ...     coords={"lat": [-1.0, 0, 1], "lon": [0.0, 1, 2]})
    >>> field[::2, ::2] = [[0.0, 2.0], [2.0, 4.0]]
    >>> linear_interp(field.to_dataset(), "ssh")["ssh"].values.round(2)
    array([[0., 1., 2.],
           [1., 2., 3.],
           [2., 3., 4.]])
    """
    span = cast(float, duration("time_scale", time_scale))
    got, cyclic = observations.gather(ds, obs, mask, None, domain, what="linear interpolation")
    results = got.solve(_Slab(got.nodes, span, empty))
    call = cf.describe_call(
        "linear_interp", obs=name_of(obs), mask=name_of(mask), time_scale=time_scale, domain=name_of(domain)
    )
    like = observations.original(ds, obs, got.field)
    return observations.dataset(ds, got, results, like, cyclic=cyclic, uncertainty=False, call=call, how="")
