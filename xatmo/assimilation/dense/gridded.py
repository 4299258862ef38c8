"""Optimal interpolation where observations lie on nodes of a grid with equal steps: tables and Fourier transforms.

On the plane a covariance of two nodes is a function of how many steps they are apart in time, north and east. All its
values fit a table, whatever the drift and the anisotropy; the analysis, a sum of covariances with the observations, is
a convolution. A window of 15 x 64 x 64 nodes with 900 observations then costs little more than its Cholesky factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.linalg import solve_triangular

from xatmo.assimilation.covariance import together
from xatmo.assimilation.covariance.frame import Frame, Pair, transform
from xatmo.assimilation.covariance.functions import Gaussian, Matern, make
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.dense import _kernels, _windows
from xatmo.constants import EARTH_RADIUS

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

MOST = 2500
"""Observations of one dense system; with more, the window is cut into tiles that overlap."""
BENT = 0.1
"""Largest change of the length of a degree of longitude, in proportion, within what counts as a plane."""
_NARROWEST = 6  # rows of a tile: where even so few are not plane, distances are taken pair by pair
_REACH = 1.5  # overlap of tiles, in length scales; and of a swath, whose neighbours leave others nothing to tell:
_SWATH_REACH, _SWATH_MOST = 0.6, 1500
_BLOCK = 4_000_000
_FINEST = 40  # true times are rounded to this part of a time scale, or
_FINE = 8  # to this part of a step, or coarser where
_TABLE = 2_000_000  # a table had more values


@dataclass(frozen=True)
class Setting:
    """What is known before there are observations.

    Attributes
    ----------
    covariance : Gaussian or Matern
    noise_std : float
    metric : {"sphere", "degrees"}
        Unit of lengths: metres, on the plane that touches the middle of the window or tile; or degrees.
    shape, drift : (float, float)
        See `xatmo.assimilation.covariance.frame`.
    """

    covariance: Gaussian | Matern
    noise_std: float
    metric: str = "sphere"
    shape: Pair = (0.0, 0.0)
    drift: Pair = (0.0, 0.0)

    @classmethod
    def of(cls, scales: Scales, kind: str, metric: str) -> Setting:
        """Take scales none of which is missing, of a ``"gaussian"`` or ``"matern"`` covariance."""
        covariance = make(
            kind, length_scale=scales.length_scale, time_scale=scales.time_scale, signal_std=scales.signal_std
        )
        frame = scales.shape or (0.0, 0.0), scales.drift or (0.0, 0.0)
        return cls(cast("Gaussian | Matern", covariance), cast(float, scales.noise_std), metric, *frame)


def interpolate(
    setting: Setting,
    values: NDArray[Any],
    observed: Bools,
    nodes: tuple[Array, Array, Array],
    *,
    late: Array | None = None,
    uncertainty: bool = False,
) -> tuple[Array, Array | None]:
    """Analyse a window: ``K_xo (K_oo + noise_std^2 I)^-1 y`` at every node, and its posterior standard deviation.

    Parameters
    ----------
    setting : Setting
    values : array (time, lat, lon)
        Deviations from the background; read where ``observed``.
    observed : bool array (time, lat, lon)
    nodes : times (n_time,) in seconds, latitudes (n_lat,), longitudes (n_lon,) in degrees
    late : array (time, lat, lon), optional
        Seconds from the time of its node to the true time of an observation, NaN as 0. They are rounded: to a fortieth
        of the time scale, or an eighth of a step of time if that is more.
    uncertainty : bool

    Returns
    -------
    mean : array (time, lat, lon)
    std : array (time, lat, lon), or None

    Notes
    -----
    On the sphere a tile is flat: `BENT` bounds by how much the length of a degree of longitude varies in it. Steps that
    are not equal, and tiles at the poles, are left to `xatmo.assimilation.dense._windows`, which takes pairs.

    Examples
    --------
    >>> setting = Setting(Gaussian(length_scale=2.0, time_scale=86400.0), 0.1, "degrees")
    >>> values, nodes = np.ones((1, 2, 3)), (np.zeros(1), np.arange(2.0), np.arange(3.0))
    >>> observed = np.zeros((1, 2, 3), bool)
    >>> observed[0, 0, 0] = True
    >>> interpolate(setting, values, observed, nodes)[0].round(2).tolist()
    [[[0.99, 0.77, 0.36], [0.77, 0.6, 0.28]]]
    """
    mean = np.zeros(values.shape)
    std = np.zeros(values.shape) if uncertainty else None
    total = np.zeros(values.shape[1:])
    steps = _equal(nodes[0]), _equal(nodes[1]), _equal(nodes[2])
    for rows, columns in _tiles(setting, observed, nodes, flat=None not in steps):
        window = nodes[0], nodes[1][rows], nodes[2][columns]
        there = observed[:, rows, columns]
        after = None if late is None else np.nan_to_num(late[:, rows, columns])
        if None not in steps and _flat(setting, window[1]) and _short(after, nodes[0]):
            one = _by_table(setting, values[:, rows, columns], there, window, steps, after, uncertainty)  # type: ignore[arg-type]
        else:
            one = _by_pairs(setting, values[:, rows, columns], there, window, after, uncertainty)
        weight = _ramp(rows, values.shape[1])[:, None] * _ramp(columns, values.shape[2])
        total[rows, columns] += weight
        mean[:, rows, columns] += weight * one[0]
        if std is not None and one[1] is not None:
            std[:, rows, columns] += weight * one[1]
    mean /= total
    return mean, None if std is None else std / total


# ---------------------------------------------------------------------- one tile
class Table(NamedTuple):
    """Covariances at all differences of nodes, ``(2 n_time - 1, 2 n_lat - 1, 2 n_lon - 1)``, and their transform."""

    values: Array
    spectrum: NDArray[np.complexfloating[Any, Any]]
    padded: tuple[int, int, int]


@lru_cache(maxsize=24)
def table(
    covariance: Gaussian | Matern, shape: Pair, drift: Pair, steps: tuple[float, float, float], n: tuple[int, int, int]
) -> Table:
    """Tabulate a covariance for ``n`` nodes each way; ``steps`` in seconds and, twice, in the unit of lengths."""
    lag = np.arange(n[0]) * steps[0]
    north, east = (np.arange(1 - m, m) * step for m, step in zip(n[1:], steps[1:], strict=True))
    gap = np.zeros((lag.size, north.size, east.size, 3))
    gap[..., 0], gap[..., 1] = east, north[:, None]
    seen = transform(gap, np.broadcast_to(lag[:, None, None], gap.shape[:-1]), shape, drift)
    half = covariance(np.sqrt(np.einsum("...k,...k->...", seen, seen)), cast(Array, lag[:, None, None]))
    values = np.concatenate([half[:0:-1, ::-1, ::-1], half])
    padded = cast("tuple[int, int, int]", tuple(fft.next_fast_len(m, real=True) for m in values.shape))
    # The difference of zero stands first, negative ones at the end.
    spectrum = fft.rfftn(np.roll(_padded(values, padded), [1 - m for m in n], axis=(0, 1, 2)).astype(np.float32))
    return Table(values, spectrum, padded)


def _padded(values: Array, shape: tuple[int, int, int]) -> Array:
    return np.pad(values, [(0, b - a) for a, b in zip(values.shape, shape, strict=True)])


def _by_table(
    setting: Setting,
    values: NDArray[Any],
    observed: Bools,
    nodes: tuple[Array, Array, Array],
    steps: tuple[float, float, float],
    late: Array | None,
    uncertainty: bool,
) -> tuple[Array, Array | None]:
    found = np.nonzero(observed)
    seen = values[found].astype(np.float64)
    lengths = _lengths(setting, nodes[1], steps)
    index, frames, n_time = found, slice(None), values.shape[0]
    if late is not None and found[0].size:
        parts = _parts(setting, lengths[0], values.shape)
        moment = found[0] * parts + np.rint(late[found] / lengths[0] * parts).astype(np.intp)
        before = max(-int(moment.min()), 0)
        index = (moment + before, *found[1:])
        frames = slice(before, before + (n_time - 1) * parts + 1, parts)
        n_time = max(int(index[0].max()) + 1, frames.stop)
        lengths = (lengths[0] / parts, *lengths[1:])
    n = (n_time, *values.shape[1:])
    known = table(setting.covariance, setting.shape, setting.drift, lengths, n)
    strides = (np.array([known.values[0].size, known.values[0, 0].size, 1])).astype(np.int32)
    place = sum(i.astype(np.int32) * s for i, s in zip(index, strides, strict=True))
    zero = np.int32(sum((m - 1) * int(s) for m, s in zip(n, strides, strict=True)))
    flat = known.values.reshape(-1)
    signal = setting.covariance.signal_std
    if index[0].size == 0:
        return np.zeros(values.shape), np.full(values.shape, signal) if uncertainty else None
    matrix = flat.take(place[:, None] - (place - zero))
    matrix[np.arange(len(matrix)), np.arange(len(matrix))] += setting.noise_std**2
    factor = _kernels.factorise(matrix)
    half = solve_triangular(factor, seen, lower=True, check_finite=False)
    weights = np.zeros(known.padded, dtype=np.float32)
    np.add.at(weights, index, solve_triangular(factor, half, lower=True, trans="T", check_finite=False))
    made = fft.irfftn(fft.rfftn(weights) * known.spectrum, s=known.padded)
    mean = made[frames][: len(values), : n[1], : n[2]].astype(np.float64)
    if not uncertainty:
        return mean, None
    every = np.arange(n[0], dtype=np.int32)[frames], *(np.arange(m, dtype=np.int32) for m in n[1:])
    nodes_at = sum(
        each.reshape([-1 if k == axis else 1 for k in range(3)]) * strides[axis] for axis, each in enumerate(every)
    )
    at = np.asarray(nodes_at).reshape(-1)
    left = np.empty(at.size)
    inverse = solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False).astype(np.float32)
    block = max(_BLOCK // place.size, 1)
    for start in range(0, at.size, block):
        part = slice(start, start + block)
        solved = inverse @ flat.take(at[part] - (place[:, None] - zero)).astype(np.float32)
        left[part] = signal**2 - np.einsum("ij,ij->j", solved, solved)
    return mean, np.sqrt(np.maximum(left, 0.0)).reshape(values.shape)


def _parts(setting: Setting, step: float, shape: tuple[int, ...]) -> int:
    """Give the parts of a step of time to which true times are rounded."""
    size = 2 * shape[0] * (2 * shape[1] - 1) * (2 * shape[2] - 1)
    parts = 1
    while parts < min(_FINEST * abs(step) / setting.covariance.time_scale, _FINE) and 2 * parts * size <= _TABLE:
        parts *= 2
    return parts


def _short(late: Array | None, times: Array) -> bool:
    """Whether true times are no further away than the window is long: a table of their differences is small."""
    return late is None or float(np.abs(late).max(initial=0.0)) <= float(np.ptp(times))


def _by_pairs(
    setting: Setting, values: NDArray[Any], observed: Bools, nodes: tuple[Array, Array, Array], late: Array | None,
    uncertainty: bool,
) -> tuple[Array, Array | None]:  # fmt: skip
    index = np.nonzero(observed)
    plain = setting.shape == (0.0, 0.0) and setting.drift == (0.0, 0.0)
    middle = [float(a.min() + a.max()) / 2 for a in nodes[1:]]
    frame = Frame(setting.metric, (middle[0], middle[1]), setting.shape, setting.drift)
    seen = values[index].astype(np.float64)
    when = nodes[0][index[0]] + (0.0 if late is None else late[index])
    mean, std = _windows.interpolate_windows(
        setting.covariance, (nodes[1][index[1]], nodes[2][index[2]], when, seen), setting.noise_std,
        nodes, {}, setting.metric if plain else frame, uncertainty=uncertainty,
    )  # fmt: skip
    return mean, std if uncertainty else None


# ---------------------------------------------------------------------- geometry
def _equal(axis: Array) -> float | None:
    """Give the step of an axis whose steps are equal, with its sign; None of another."""
    if axis.size < 2:
        return 1.0
    steps = np.diff(axis)
    step = float((axis[-1] - axis[0]) / (axis.size - 1))
    return step if step != 0 and np.abs(steps - step).max() <= 0.02 * abs(step) else None


def _lengths(setting: Setting, latitude: Array, steps: tuple[float, float, float]) -> tuple[float, float, float]:
    """Give steps in the unit of lengths, rounded so that windows of about one latitude share a table."""
    north = east = 1.0
    if setting.metric == "sphere":
        north = float(np.radians(EARTH_RADIUS))
        east = north * round(float(np.cos(np.radians(latitude)).mean()), 3)
    made = (steps[0], steps[1] * north, steps[2] * east)
    return cast("tuple[float, float, float]", tuple(float(f"{x:.9g}") for x in made))


def _flat(setting: Setting, latitude: Array) -> bool:
    if setting.metric == "degrees":
        return True
    east = np.cos(np.radians(latitude))
    return bool(np.ptp(east) <= 2 * BENT * east.mean())


def _tiles(
    setting: Setting, observed: Bools, nodes: tuple[Array, Array, Array], *, flat: bool
) -> list[tuple[slice, slice]]:
    """Lay tiles of one size, overlapping, with at most about `MOST` observations each, flat if that can be."""
    _, n_lat, n_lon = observed.shape
    metres = np.radians(EARTH_RADIUS) if setting.metric == "sphere" else 1.0
    narrow = float(np.cos(np.radians(nodes[1])).mean()) if setting.metric == "sphere" else 1.0
    spacing = [abs(float(a[-1] - a[0])) / max(a.size - 1, 1) * metres or np.inf for a in nodes[1:]]
    spacing[1] *= max(narrow, 0.05)
    swath = together.beside(observed) > together.CROWDED
    reach, most = (_SWATH_REACH, _SWATH_MOST) if swath and observed.sum() > MOST else (_REACH, MOST)
    reach *= setting.covariance.length_scale
    overlap = [max(int(np.ceil(reach / s)), 2) for s in spacing]
    size = [n_lat, n_lon]
    if flat and not _flat(setting, nodes[1]):
        steepest = float(np.tan(np.radians(np.abs(nodes[1]).max().clip(0, 85))))
        rows = int(2 * BENT / max(steepest, 1e-6) / np.radians(spacing[0] / metres))
        if rows >= _NARROWEST:
            size[0] = min(rows, n_lat)
    while max(observed[:, r, c].sum() for r in _pieces(n_lat, size[0], overlap[0])
              for c in _pieces(n_lon, size[1], overlap[1])) > most:  # fmt: skip
        wide = int(np.argmax([size[0] * spacing[0], size[1] * spacing[1]]))
        smaller = int(size[wide] * 0.75)
        if smaller < 8:
            break
        size[wide] = smaller
    return [(r, c) for r in _pieces(n_lat, size[0], overlap[0]) for c in _pieces(n_lon, size[1], overlap[1])]


def _pieces(n: int, size: int, overlap: int) -> list[slice]:
    if size >= n:
        return [slice(0, n)]
    step = max(size - overlap, size // 3, 1)
    starts = np.linspace(0, n - size, -(-(n - size) // step) + 1).round().astype(int)
    return [slice(int(s), int(s) + size) for s in starts]


def _ramp(part: slice, n: int) -> Array:
    """Weights of a tile along one axis, which fall towards edges that are not those of the window."""
    size = part.stop - part.start
    place = np.arange(size) + 1.0
    weight = np.ones(size)
    if part.start > 0:
        weight *= np.sin(np.pi / 2 * np.minimum(place / (size / 2), 1)) ** 2
    if part.stop < n:
        weight *= np.sin(np.pi / 2 * np.minimum(place[::-1] / (size / 2), 1)) ** 2
    return weight
