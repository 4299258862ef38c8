"""Interpolation, filling, spectra and contours of sea-level scores, on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.typing import Floats

# Points that lie outside an axis by less than this part of its spacing are on its edge: float32 labels.
_ROUNDING = 1e-3


def bracket(axis: Any, points: Any) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats, NDArray[np.bool_]]:
    """Find the neighbours of points on an axis.

    Parameters
    ----------
    axis : array (n,)
        Rising or falling.
    points : array (m,)

    Returns
    -------
    low, high : int array (m,)
        Neighbours on either side, as positions on the axis.
    part : array (m,)
        Weight of the second, from 0 to 1.
    inside : bool array (m,)
        Whether the point lies between the ends of the axis.

    Examples
    --------
    >>> low, high, part, inside = bracket([0.0, 1.0, 3.0], [0.5, 2.5, 4.0])
    >>> low, high, part, inside
    (array([0, 1, 1]), array([1, 2, 2]), array([0.5 , 0.75, 1.  ]), array([ True,  True, False]))
    """
    axis, points = np.asarray(axis, np.float64), np.asarray(points, np.float64)
    order = np.arange(axis.size) if axis.size < 2 or axis[-1] > axis[0] else np.arange(axis.size)[::-1]
    rising = axis[order]
    low = np.clip(np.searchsorted(rising, points, side="right") - 1, 0, max(axis.size - 2, 0))
    high = np.minimum(low + 1, axis.size - 1)
    width = np.where(high > low, rising[high] - rising[low], 1.0)
    part = (points - rising[low]) / width
    inside = (part >= -_ROUNDING) & (part <= 1 + _ROUNDING if axis.size > 1 else part <= _ROUNDING)
    return order[low], order[high], np.clip(part, 0, 1), inside


def longitude_axis(longitude: Any) -> tuple[NDArray[np.intp], Floats]:
    """Order columns from west to east, across any border of the range; a globe's first column is repeated at its end.

    Parameters
    ----------
    longitude : array (n,)
        In degrees, in any range and order.

    Returns
    -------
    order : int array (n,) or (n + 1,)
        Positions of the columns.
    axis : array, the same shape
        Rising longitudes.

    Examples
    --------
    >>> longitude_axis([0.0, 1.0, 358.0, 359.0])
    (array([2, 3, 0, 1]), array([358., 359., 360., 361.]))
    """
    east = np.asarray(longitude, np.float64) % 360
    order = np.argsort(east, kind="stable")
    rising = east[order]
    steps = np.append(np.diff(rising), rising[0] + 360 - rising[-1])
    first = (int(np.argmax(steps)) + 1) % rising.size
    globe = rising.size > 2 and steps.max() < 1.5 * np.median(steps)
    if globe:
        first = 0
    order = np.roll(order, -first)
    axis = np.roll(rising, -first)
    axis[axis < axis[0]] += 360
    if globe:
        order, axis = np.append(order, order[0]), np.append(axis, axis[0] + 360)
    return order, axis


def onto_axis(longitude: Any, axis: Floats) -> Floats:
    """Longitudes in the range of an axis from `longitude_axis`; those just west of its start stay there."""
    return np.asarray((np.asarray(longitude, np.float64) - axis[0] + 1e-6) % 360 - 1e-6 + axis[0])


def between(values: Any, axis: int, low: Any, high: Any, part: Any) -> Any:
    """Interpolate linearly along one axis; a missing neighbour without weight does no harm."""
    shape = [1] * values.ndim
    shape[axis] = len(part)
    second = np.reshape(part, shape)
    ends = (np.take(values, low, axis), 1 - second), (np.take(values, high, axis), second)
    return sum(np.where(weight > 0, value, 0) * weight for value, weight in ends)


def onto_points(values: Floats, rows: Any, columns: Any, fill: bool) -> Floats:
    """Interpolate slices ``(..., nlat, nlon)`` bilinearly onto other rows and columns, and fill what is missing.

    Parameters
    ----------
    values : array (..., nlat, nlon)
    rows, columns : tuple
        As from `bracket`: neighbours, weight, and whether the point lies inside.
    fill : bool
        Whether to fill what is outside or next to a gap with `fill_slice`.

    Returns
    -------
    array (..., rows, columns)
    """
    out = np.asarray(values, np.float64)
    for axis, (low, high, part, inside) in ((-2, rows), (-1, columns)):
        out = between(out, axis % out.ndim, low, high, np.where(inside, part, 0.0))
    out = np.where(rows[3][:, None] & columns[3], out, np.nan)
    if not fill:
        return np.asarray(out)
    flat = out.reshape(-1, *out.shape[-2:])
    for gaps, at in _equal_gaps(np.isnan(flat)):
        flat[at] = fill_slice(flat[at], gaps)
    return np.asarray(flat.reshape(out.shape))


def _equal_gaps(missing: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], list[int]]]:
    """Group slices that lack the same cells; those that lack none, or all, are left out."""
    groups: dict[bytes, tuple[NDArray[np.bool_], list[int]]] = {}
    for k, gaps in enumerate(missing):
        if gaps.any() and not gaps.all():
            groups.setdefault(np.packbits(gaps).tobytes(), (gaps, []))[1].append(k)
    return list(groups.values())


def fill_slice(values: Floats, gaps: NDArray[np.bool_]) -> Floats:
    """Fill gaps by Laplace's equation between known cells.

    Every missing cell becomes the mean of its four neighbours; beyond an edge stands the cell on its inner side. This
    is what Gauss-Seidel relaxation converges to, solved at once.

    Parameters
    ----------
    values : array (slice, nlat, nlon)
    gaps : bool array (nlat, nlon)
        What is missing in every slice; some cell has to be known.

    Returns
    -------
    array (slice, nlat, nlon)

    Examples
    --------
    >>> row = np.array([[[0.0, np.nan, np.nan, 3.0]]])
    >>> fill_slice(row, np.isnan(row[0]))
    array([[[0., 1., 2., 3.]]])
    """
    from scipy.sparse import coo_matrix, identity
    from scipy.sparse.linalg import splu

    rows, columns = gaps.shape
    number = np.full(gaps.shape, -1)
    number[gaps] = np.arange(gaps.sum())
    i, j = np.nonzero(gaps)
    unknown = len(i)
    at, to = [], []
    known = np.zeros((len(values), unknown))
    for steps, size, place in ((((-1, 0), (1, 0)), rows, i), (((0, -1), (0, 1)), columns, j)):
        if size == 1:  # no neighbour that way
            continue
        for di, dj in steps:
            moved = place + di + dj
            moved = np.where(moved < 0, 1, np.where(moved >= size, size - 2, moved))
            y, x = (moved, j) if place is i else (i, moved)
            free = gaps[y, x]
            at.append(np.flatnonzero(free))
            to.append(number[y, x][free])
            known[:, ~free] += values[:, y[~free], x[~free]]
    neighbours = 2 * ((rows > 1) + (columns > 1))
    share = np.full(sum(map(len, at)), -1.0)
    system = coo_matrix((share, (np.concatenate(at), np.concatenate(to))), shape=(unknown, unknown))
    solved = splu((system + neighbours * identity(unknown)).tocsc()).solve(known.T)
    out = np.array(values)
    out[:, gaps] = solved.T
    return out


def plane_power(values: Floats, steps: tuple[float, float]) -> Floats:
    """Power of fields over time and longitude, without the mean, under periodic Hann windows.

    Parameters
    ----------
    values : array (..., time, lon)
    steps : (float, float)
        Spacing in time and longitude.

    Returns
    -------
    array (..., frequency, wavenumber)
        Density on `numpy.fft.fftfreq`'s frequencies: its integral is the mean square of the windowed field over the
        mean square of the window. NaN where the field has one.
    """
    nt, nx = values.shape[-2:]
    window = hann(nt)[:, None] * hann(nx)
    anomaly = values - values.mean((-2, -1), keepdims=True)
    scale = steps[0] * steps[1] / (window**2).sum()
    return np.asarray(np.abs(np.fft.fft2(anomaly * window)) ** 2 * scale)


def hann(n: int) -> Floats:
    """Periodic Hann window: a full period of the cosine is n points, as spectra want it."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n))


def quadrant(power: Floats, direction: str) -> Floats:
    """Keep positive frequencies and wavenumbers of one direction of travel.

    A wave cos(k x + w t) travels west and has its power where the signs of k and w agree; one that travels east, where
    they differ.

    Parameters
    ----------
    power : array (..., frequency, wavenumber)
        Of a real field, as from `plane_power`.
    direction : {"westward", "eastward", "both"}

    Returns
    -------
    array (..., (ntime - 1) // 2, (nlon - 1) // 2)
    """
    nt, nx = ((n - 1) // 2 for n in power.shape[-2:])
    west = power[..., 1 : nt + 1, 1 : nx + 1]
    east = power[..., 1 : nt + 1, : -nx - 1 : -1]
    return {"westward": west, "eastward": east, "both": west + east}[direction]


def contours(x: Floats, y: Floats, score: Floats, level: float) -> list[Floats]:
    """Paths along which a score on (y, x) equals a level, in the order in which marching squares finds them.

    Returns
    -------
    list of array (n, 2)
        Of x and y; linear between neighbouring values.
    """
    from contourpy import contour_generator

    # The algorithm of matplotlib, on which the order of paths, and so "the first", depends.
    generator = contour_generator(x, y, np.ma.masked_invalid(score), name="mpl2014", corner_mask=True)
    return [np.asarray(path) for path in generator.lines(level)[0]]


def segments(time: NDArray[Any], size: int, gap: Any, step: int, whole: bool) -> NDArray[np.intp]:
    """First points of segments along a track that is cut at gaps in time.

    Parameters
    ----------
    time : array (n,)
        Sorted.
    size : int
        Points to a segment.
    gap : timedelta64
        Longer ones cut the track.
    step : int
        Points between the starts of two segments.
    whole : bool
        Whether every segment that lies within one piece of the track counts. The challenge's cutting instead starts
        each piece at the last point before its gap, drops its last segment if that ends on its last point, and the last
        piece altogether.

    Returns
    -------
    int array (segment,)

    Examples
    --------
    >>> seconds = np.array([0, 1, 2, 3, 4, 50, 51, 52, 53, 54, 99]).astype("timedelta64[s]")
    >>> segments(seconds, 3, np.timedelta64(4, "s"), 1, whole=True)
    array([0, 1, 2, 5, 6, 7])
    >>> segments(seconds, 3, np.timedelta64(4, "s"), 1, whole=False)
    array([0, 4, 5])
    """
    last = np.flatnonzero(np.diff(time) > gap)
    if whole:
        begin, end = np.append(0, last + 1), np.append(last + 1, len(time))
        starts = [np.arange(b, e - size + 1, step) for b, e in zip(begin, end, strict=True)]
    else:
        begin = np.append(0, last)[: len(last)]
        starts = [np.arange(b, e - size, step) for b, e in zip(begin, last, strict=True) if e - b >= size]
    return np.concatenate([np.zeros(0, np.intp), *starts]).astype(np.intp)


def segment_power(values: Floats, spacing: float) -> tuple[Floats, Floats]:
    """Periodogram of each segment without its mean under a periodic Hann window; Welch's, without overlap, is its mean.

    Parameters
    ----------
    values : array (segment, n)
    spacing : float

    Returns
    -------
    wavenumber : array (n // 2 + 1,)
        Cycles per unit of the spacing.
    power : array (segment, n // 2 + 1)
        One-sided density.
    """
    n = values.shape[1]
    window = hann(n)
    waves = np.fft.rfft((values - values.mean(1, keepdims=True)) * window)
    power = np.abs(waves) ** 2 * spacing / (window**2).sum()
    power[:, 1 : (n + 1) // 2] *= 2
    return np.fft.rfftfreq(n, spacing), np.asarray(power)
