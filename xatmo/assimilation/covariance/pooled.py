"""Scales of a covariance from several windows at once: one noisy window does not decide."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Deviations, make
from xatmo.assimilation.covariance.likelihood import Scales, estimate
from xatmo.assimilation.covariance.together import Box, beside, mean_of_boxes
from xatmo.assimilation.dense import _kernels
from xatmo.assimilation.dense._optimal import extents
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels.observations import lag_seconds

Array = NDArray[np.float64]

TARGETS = 6000
"""Most conditional densities used. No observation is left out: each of these is conditioned on its nearest."""
NEIGHBOURS = 16
"""Observations that each of them is conditioned on."""
_BOX = 10.0  # degrees: the largest box of a window
_FEWEST = 24  # cells of a box, at least
_DRAWS = 5  # boxes that are looked at, until there are observations in one
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
    beside : float
        How densely they lie: see `xatmo.assimilation.covariance.together.beside`.
    """

    latitude: Array
    longitude: Array
    time: Array
    values: Array
    extent: tuple[float, float]
    spacing: tuple[float, float]
    beside: float = 0.0


def estimate_pooled(
    windows: Sequence[Seen],
    given: Scales,
    *,
    covariance: str = "matern",
    metric: str = "sphere",
    period: float | None = None,
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
    period : float, optional
        Seconds over which the mean at each place was taken off the values: see
        `xatmo.assimilation.covariance.functions.Deviations`. The scales are those of the whole signal.
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
    when = np.concatenate([*times, []])

    def distance(one: Any, other: Any) -> Array:
        return _kernels.pair_distances(where[one], where[other])

    def covariances(length: float, time: float, signal: float) -> Any:
        whole = make(covariance, length_scale=length, time_scale=time, signal_std=signal)
        return whole if period is None else Deviations(cast(Any, whole), period)

    return estimate(
        covariances, distance, where, when, np.concatenate([*values, []]), given, extent=(extent[0], extent[1]),
        spacing=(spacing[0], spacing[1]), frame=Frame(metric, (0.0, 0.0)) if moving else None, targets=targets,
        count=count,
    )  # fmt: skip


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
    box: Box = (1, 1),
) -> list[Seen]:
    """Read the observations of some windows, at times spread evenly, drawn over places and samples.

    Windows do not overlap: no observation counts twice.

    Parameters
    ----------
    field : DataArray
        NaN where nothing was observed; dimensions beside time, latitude and longitude are independent samples.
    lag : DataArray, optional
        Of true times from the labels: see `xatmo.assimilation.optimal_interp`.
    n_frames, n_windows : int
        Frames of a window; windows, fewer where the record has no more that are apart.
    metric : {"sphere", "degrees"}
        Unit of the extents.
    seed : int
    box : (rows, columns)
        Cells of which one observation is made: see `xatmo.assimilation.covariance.together`.
    """
    like = xr.DataArray(np.broadcast_to(0.0, field.shape), field.coords, field.dims)  # what is not drawn is not read
    got, _ = observations.gather(like.to_dataset(name="obs"), "obs", None, None, None, what="the estimation of scales")
    nodes, random = got.nodes, np.random.default_rng(seed)
    *first, lat_dim, lon_dim = got.core
    frames = min(n_frames, nodes.time.size)
    lengths = _edge(nodes.latitude), _edge(nodes.longitude)
    latest = lag_seconds(lag) if lag is not None else None
    corners = [*product(*(_starts(axis.size, length) for axis, length in zip(
        (nodes.latitude, nodes.longitude), lengths, strict=True
    )))]  # fmt: skip
    moments = [
        (moment, random.permutation(len(corners)).tolist()) for moment in _moments(got, frames, n_windows, random)
    ]
    out: list[Seen] = []
    for turn in range(len(moments) * len(corners)):
        (start, sample), left = moments[turn % len(moments)]
        if len(out) == n_windows or not any(boxes for _, boxes in moments):
            break
        values = None
        for _ in range(min(_DRAWS, len(left))):
            at: dict[Hashable, Any] = {**sample, **{d: slice(start, start + frames) for d in first}}
            corner = corners[left.pop()]
            at |= {d: slice(c, c + n) for d, c, n in zip((lat_dim, lon_dim), corner, lengths, strict=True)}
            drawn = field.isel(at).transpose(*got.core)
            values = drawn.values.astype(np.float64).reshape(frames, *lengths)
            if np.isfinite(values).sum() >= _ENOUGH:
                break
        if values is None or (turn >= len(moments) and np.isfinite(values).sum() < _ENOUGH):
            continue
        seen = np.isfinite(values)
        values = mean_of_boxes(values, box)
        index = np.nonzero(np.isfinite(values))
        here = replace(nodes, time=nodes.time[start : start + frames], latitude=nodes.latitude[at[lat_dim]],
                       longitude=nodes.longitude[at[lon_dim]], periodic=False)  # fmt: skip
        time = here.time[index[0]]
        if latest is not None:
            late = latest.isel({d: i for d, i in at.items() if d in latest.dims}).broadcast_like(drawn)
            late = late.transpose(*got.core)
            offsets = np.where(seen, np.nan_to_num(late.values.reshape(values.shape)), np.nan)
            time = time + mean_of_boxes(offsets, box)[index]
        extent, spacing = extents(here, degrees=metric == "degrees")
        out.append(Seen(here.latitude[index[1]], here.longitude[index[2]], time, values[index], extent, spacing,
                        beside(seen)))  # fmt: skip
    return out


def _moments(
    got: observations.Gathered, frames: int, n_windows: int, random: np.random.Generator
) -> list[tuple[int, dict[Hashable, int]]]:
    """First frames of windows, with a sample each: times spread evenly that do not overlap, no pair twice."""
    extra = [d for d in got.field.dims if d not in got.core]
    samples = [*np.ndindex(*(got.field.sizes[d] for d in extra))]
    n_starts = n_windows if len(samples) >= n_windows else -(-n_windows // len(samples))
    starts = _starts(got.nodes.time.size, frames, n_starts)
    order = random.permutation(len(samples))
    number = min(n_windows, len(samples) * len(starts))
    turns = ((k // len(samples), k % len(samples)) for k in range(number))
    pairs = [(starts[(turn + one) % len(starts)], samples[order[one]]) for turn, one in turns]
    return [(start, dict(zip(extra, sample, strict=True))) for start, sample in pairs]


def _starts(size: int, length: int, most: int | None = None) -> list[int]:
    """Give where pieces of an axis begin: as many as there is room for, or ``most``, spread evenly.

    Examples
    --------
    >>> _starts(10, 4), _starts(10, 4, 1), _starts(128, 80)
    ([0, 6], [3], [24])
    """
    number = max(size // length, 1)
    number = number if most is None else min(number, most)
    last = size - length
    return [last // 2] if number == 1 else [round(x) for x in np.linspace(0, last, number)]


def _edge(axis: Array) -> int:
    """Cells of a box along an axis: a whole number of boxes fills it, unless they became too small."""
    step = abs(float(axis[-1] - axis[0])) / max(axis.size - 1, 1)
    most = int(min(axis.size, max(_FEWEST, np.ceil(_BOX / step) if step else 1)))
    filling = axis.size // -(-axis.size // most)
    return filling if filling >= _FEWEST else most
