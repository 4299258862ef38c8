"""Scales of a covariance from several windows at once: one noisy window does not decide."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import make
from xatmo.assimilation.covariance.likelihood import Scales, estimate
from xatmo.assimilation.dense import _kernels
from xatmo.assimilation.dense._optimal import extents
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels.observations import lag_seconds

Array = NDArray[np.float64]

TARGETS = 6000
"""Most conditional densities used. No observation is left out: each of these is conditioned on its nearest."""
NEIGHBOURS = 16
"""Observations that each of them is conditioned on."""
_STILL = 30.0  # variances of the values that a mean field may have: so many that nothing is known of it
_BOX = 10.0  # degrees: the largest box of a window
_FEWEST = 24  # cells of a box, at least
_DRAWS = 5  # of a box, until there are observations in it
_ENOUGH = 10
_OF_MEAN = 500  # observations of a window that tell its mean
_APART = 1e3  # between windows, in the longest time scale that is sought: their covariance is exp(-1000)


@dataclass(frozen=True)
class Seen:
    """Observations of one window.

    Attributes
    ----------
    latitude, longitude, time, values : arrays (n,)
        Degrees, seconds, deviations from the background.
    extent, spacing : (float, float)
        Largest and smallest scales of the window: length (metres or degrees), and time (seconds).
    """

    latitude: Array
    longitude: Array
    time: Array
    values: Array
    extent: tuple[float, float]
    spacing: tuple[float, float]


def estimate_pooled(
    windows: Sequence[Seen],
    given: Scales,
    *,
    covariance: str = "matern",
    metric: str = "sphere",
    mean_field: bool = False,
    targets: int = TARGETS,
    count: int = NEIGHBOURS,
) -> Scales:
    """Find the scales that are missing by maximum likelihood of all windows, which are independent of one another.

    The windows are laid so far apart in time that nothing correlates them: see
    `xatmo.assimilation.covariance.likelihood.estimate` for the likelihood and its search. East and north are those at
    the middle of each window.

    Parameters
    ----------
    windows : sequence of Seen
    given : Scales
        None where a scale is to be found.
    covariance : {"gaussian", "matern"}
    metric : {"sphere", "degrees"}
    mean_field : bool
        Whether the values are deviations from a mean over time at each place, which took a part of the signal away:
        only differences in time then tell the scales (restricted likelihood). The windows need to be long.
    targets, count : int
        Most conditional densities used, and the observations that each is conditioned on.

    Raises
    ------
    MissingValueError
        If there are fewer than 10 observations in all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> place, when = rng.random((2, 2, 60)), np.zeros(60)
    >>> seen = [Seen(*p, when, rng.standard_normal(60), (1.0, 1.0), (0.1, 1.0)) for p in place]
    >>> found = estimate_pooled(seen, Scales(0.5, 1.0, None, 1e-3), metric="degrees")  # noise alone
    >>> 0.85 < found.noise_std < 1.15
    True
    """
    windows = [w for w in windows if w.values.size]
    extent = tuple(float(max((w.extent[k] for w in windows), default=1.0)) for k in range(2))
    spacing = tuple(float(min((w.spacing[k] for w in windows), default=1.0)) for k in range(2))
    moving = given.drift != (0.0, 0.0) or given.shape != (0.0, 0.0)
    places, times, values = [], [], []
    for number, window in enumerate(windows):
        lat, lon, time, seen = window.latitude, window.longitude, window.time, window.values
        middle = [float(a.min() + a.max()) / 2 for a in (window.latitude, window.longitude)]
        frame = Frame(metric, (middle[0], middle[1]))
        places.append(frame.axes(lat, lon) if moving else _kernels.points(lat, lon, metric))
        times.append(time - window.time.min() + number * _APART * 4 * extent[1])
        values.append(seen)
    where = np.concatenate(places) if places else np.zeros((0, 3))
    when, what = np.concatenate([*times, []]), np.concatenate([*values, []])

    def distance(one: Any, other: Any) -> Array:
        return _kernels.pair_distances(where[one], where[other])

    def covariances(length: float, time: float, signal: float) -> Any:
        return make(covariance, length_scale=length, time_scale=time, signal_std=signal)

    def found(still: Callable[[Array], Array] | None) -> Scales:
        return estimate(
            covariances, distance, where, when, what, given, extent=(extent[0], extent[1]),
            spacing=(spacing[0], spacing[1]), frame=Frame(metric, (0.0, 0.0)) if moving else None, still=still,
            targets=targets, count=count,
        )  # fmt: skip

    first = found(None)
    if not mean_field:
        return first
    field = make(
        covariance, length_scale=first.length_scale, time_scale=1.0, signal_std=float(np.sqrt(_STILL) * np.std(what))
    )
    return found(lambda apart: field(apart, np.zeros(1)))


def at_bounds(found: Scales, extent: tuple[float, float], spacing: tuple[float, float]) -> tuple[str, ...]:
    """Name the scales at which the likelihood had no maximum within the bounds of the search.

    Examples
    --------
    >>> at_bounds(Scales(200.0, 3.0, 0.1, 1.0), (100.0, 10.0), (1.0, 1.0))
    ('length_scale',)
    """
    near = 1.02
    out = []
    if found.length_scale is not None and not spacing[0] / 2 * near < found.length_scale < 2 * extent[0] / near:
        out.append("length_scale")
    if found.time_scale is not None and not spacing[1] / 4 * near < found.time_scale < 4 * extent[1] / near:
        out.append("time_scale")
    return tuple(out)


def pooled_mean(
    windows: Sequence[Seen], scales: Scales, *, covariance: str = "matern", metric: str = "sphere"
) -> tuple[float, float]:
    r"""Mean of the field that the observations are a part of, and its standard error: generalised least squares.

    .. math::
        m = \frac{\sum_w 1^T C_w^{-1} y_w}{\sum_w 1^T C_w^{-1} 1}

    over windows w, so that many observations of one eddy count little more than one.

    Examples
    --------
    >>> one, two = np.zeros(3), np.array([0.0, 0.0, 5.0])  # two at one place, and one far off
    >>> seen = Seen(one, two, one, np.array([1.0, 1.0, 0.0]), (1.0, 1.0), (1.0, 1.0))
    >>> round(pooled_mean([seen], Scales(0.5, 1.0, 0.01, 1.0), covariance="gaussian", metric="degrees")[0], 3)
    0.5
    """
    kernel = make(
        covariance, length_scale=scales.length_scale, time_scale=scales.time_scale, signal_std=scales.signal_std
    )
    noise = cast(float, scales.noise_std)
    above = below = 0.0
    for w in windows:
        step = max(-(-w.values.size // _OF_MEAN), 1)
        lat, lon, time, seen = (a[::step] for a in (w.latitude, w.longitude, w.time, w.values))
        if not seen.size:
            continue
        middle = [float(a.min() + a.max()) / 2 for a in (w.latitude, w.longitude)]
        frame = Frame(metric, (middle[0], middle[1]), scales.shape or (0.0, 0.0), scales.drift or (0.0, 0.0))
        at = _kernels.points(lat, lon, metric) if frame.plain else frame.place(lat, lon, time)
        matrix = kernel(_kernels.distances(at, at), time[:, None] - time)
        matrix[np.arange(seen.size), np.arange(seen.size)] += noise**2
        weight = np.linalg.solve(matrix, np.ones(seen.size))
        above, below = above + float(weight @ seen), below + float(weight.sum())
    return above / below, below**-0.5


def draw_windows(
    field: xr.DataArray,
    lag: xr.DataArray | None = None,
    *,
    n_frames: int = 15,
    n_windows: int = 8,
    metric: str = "sphere",
    seed: int = 0,
) -> list[Seen]:
    """Read the observations of some windows, at times spread evenly, drawn over places and samples.

    Parameters
    ----------
    field : DataArray
        NaN where nothing was observed; dimensions beside time, latitude and longitude are independent samples.
    lag : DataArray, optional
        Of true times from the labels: see `xatmo.assimilation.optimal_interp`.
    n_frames, n_windows : int
        Frames of a window; windows, fewer where the record is short.
    metric : {"sphere", "degrees"}
        Unit of the extents.
    seed : int
    """
    like = xr.DataArray(np.broadcast_to(0.0, field.shape), field.coords, field.dims)  # what is not drawn is not read
    got, _ = observations.gather(like.to_dataset(name="obs"), "obs", None, None, None, what="the estimation of scales")
    nodes, random = got.nodes, np.random.default_rng(seed)
    *first, lat_dim, lon_dim = got.core
    frames = min(n_frames, nodes.time.size)
    lengths = _edge(nodes.latitude), _edge(nodes.longitude)
    latest = lag_seconds(lag) if lag is not None else None
    out = []
    for start, sample in _moments(got, frames, n_windows, random):
        for _ in range(_DRAWS):
            at: dict[Hashable, Any] = {**sample, **{d: slice(start, start + frames) for d in first}}
            for dim, axis, length in zip((lat_dim, lon_dim), (nodes.latitude, nodes.longitude), lengths, strict=True):
                corner = int(random.integers(axis.size - length + 1))
                at[dim] = slice(corner, corner + length)
            drawn = field.isel(at).transpose(*got.core)
            values = drawn.values.astype(np.float64).reshape(frames, *lengths)
            if np.isfinite(values).sum() >= _ENOUGH:
                break
        index = np.nonzero(np.isfinite(values))
        here = replace(nodes, time=nodes.time[start : start + frames], latitude=nodes.latitude[at[lat_dim]],
                       longitude=nodes.longitude[at[lon_dim]], periodic=False)  # fmt: skip
        time = here.time[index[0]]
        if latest is not None:
            late = latest.isel({d: i for d, i in at.items() if d in latest.dims}).broadcast_like(drawn)
            late = late.transpose(*got.core)
            time = time + np.nan_to_num(late.values.reshape(values.shape)[index])
        extent, spacing = extents(here, degrees=metric == "degrees")
        out.append(Seen(here.latitude[index[1]], here.longitude[index[2]], time, values[index], extent, spacing))
    return out


def _moments(
    got: observations.Gathered, frames: int, n_windows: int, random: np.random.Generator
) -> list[tuple[int, dict[Hashable, int]]]:
    """First frames of windows, with a sample each; no pair twice."""
    extra = [d for d in got.field.dims if d not in got.core]
    samples = [*np.ndindex(*(got.field.sizes[d] for d in extra))]
    last = got.nodes.time.size - frames
    n_starts = min(max(n_windows // len(samples), 1) if len(samples) < n_windows else n_windows, last + 1)
    starts = np.linspace(0, last, n_starts).round().astype(int).tolist()
    order = random.permutation(len(samples))
    number = min(n_windows, len(samples) * n_starts)
    turns = ((k // len(samples), k % len(samples)) for k in range(number))
    pairs = [(starts[(turn + one) % n_starts], samples[order[one]]) for turn, one in turns]
    return [(start, dict(zip(extra, sample, strict=True))) for start, sample in pairs]


def _edge(axis: Array) -> int:
    """Cells of a box along an axis."""
    step = abs(float(axis[-1] - axis[0])) / max(axis.size - 1, 1)
    return int(min(axis.size, max(_FEWEST, np.ceil(_BOX / step) if step else 1)))
