"""Latitude and longitude axes as plain arrays: checked, unwrapped, and recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo import _quadrature
from xatmo.errors import CoordinateError
from xatmo.typing import Floats, GridKind

# Latitudes in files are rounded to float32, to GRIB's 0.001 degree, or to as few as two decimals.
ROUNDING_DEGREES = 5e-3
_ROUNDING_STEPS = 0.04


def unwrap_longitude(longitude: Any) -> Floats:
    """Undo the jump from 360 to 0 or from 180 to -180, so that longitude increases.

    Examples
    --------
    >>> unwrap_longitude([90, 180, -90, 0])
    array([ 90., 180., 270., 360.])

    Raises
    ------
    CoordinateError
        If longitude decreases, repeats a value, or goes around more than once.
    """
    lon = checked_axis("longitude", longitude, monotonic=False)
    lon = np.asarray(lon + 360.0 * np.concatenate([[0], np.cumsum(np.diff(lon) < -180)]), dtype=np.float64)
    step = np.diff(lon)
    if step.size and step.min() <= 0:
        where = int(np.argmin(step))
        message = (
            f"longitude has to increase; it goes from {lon[where]:g} to {lon[where + 1]:g} at index {where}. "
            "Sort it first: ds.sortby('longitude')"
        )
        raise CoordinateError(message)
    span = lon[-1] - lon[0]
    if span > 360 + 1e-2 * (step.min() if step.size else 1):
        message = f"longitude spans {span:g} degrees, from {lon[0]:g} to {lon[-1]:g}; wanted at most once around (360)"
        raise CoordinateError(message)
    return lon


def repeats_first_column(longitude: Floats) -> bool:
    """Tell whether the last column of unwrapped longitudes lies 360 degrees after the first."""
    if longitude.size < 3:
        return False
    step = (longitude[-1] - longitude[0]) / (longitude.size - 1)
    return bool(abs(longitude[-1] - longitude[0] - 360) < 0.02 * step)


def checked_axis(name: str, values: Any, *, monotonic: bool = True) -> Floats:
    axis = np.array(values, dtype=np.float64)
    if axis.ndim != 1 or axis.size < 2:
        message = f"{name} has shape {axis.shape}; wanted one dimension with at least 2 points"
        raise CoordinateError(message)
    if not np.isfinite(axis).all():
        message = f"{name} holds {int((~np.isfinite(axis)).sum())} values that are not finite; wanted numbers only"
        raise CoordinateError(message)
    step = np.diff(axis)
    if monotonic and not ((step > 0).all() or (step < 0).all()):
        message = f"{name} neither increases nor decreases throughout; sort it first: ds.sortby('{name}')"
        raise CoordinateError(message)
    return axis


def goes_around(lon: Floats) -> bool:
    step = (lon[-1] - lon[0]) / (lon.size - 1)
    return bool(abs(lon[-1] - lon[0] + step - 360) < 0.5 * step and lon.size >= 4)


def _even(axis: Floats) -> bool:
    step = (axis[-1] - axis[0]) / (axis.size - 1)
    ideal = axis[0] + step * np.arange(axis.size)
    return bool(np.max(np.abs(axis - ideal)) < max(_ROUNDING_STEPS * abs(step), 1e-5))


def kind_of(lat: Floats, lon: Floats) -> GridKind:
    down = lat if lat[0] > lat[-1] else lat[::-1]
    n = down.size
    if not (goes_around(lon) and n >= 3):
        return "regional"
    step = 180 / n
    tolerance = min(ROUNDING_DEGREES, _ROUNDING_STEPS * step)
    even_columns = _even(lon)
    if np.max(np.abs(down - (90 - np.degrees(_quadrature.gauss_legendre(n)[0])))) < tolerance and even_columns:
        return "gaussian"
    for nodes in (np.linspace(90, -90, n), 90 - (np.arange(n) + 0.5) * step):
        if np.max(np.abs(down - nodes)) < max(_ROUNDING_STEPS * step, 1e-5) and even_columns:
            return "regular"
    rows_with_one_pole = np.linspace(90, -90, n + 1)
    for nodes in (rows_with_one_pole[:-1], rows_with_one_pole[1:]):
        if np.max(np.abs(down - nodes)) < max(_ROUNDING_STEPS * step, 1e-5) and even_columns:
            return "driscoll_healy"
    # A global field may lack the rows on the poles, or have rows of any other spacing up to about there.
    gaps = 90 - down[0], down[-1] + 90
    rows = down[0] - down[1], down[-2] - down[-1]
    if even_columns and all(gap < 1.25 * row for gap, row in zip(gaps, rows, strict=True)):
        return "rectilinear"
    return "regional"


def edges_between(axis: Floats) -> Floats:
    middle = (axis[:-1] + axis[1:]) / 2
    return np.concatenate([[axis[0] - (axis[1] - axis[0]) / 2], middle, [axis[-1] + (axis[-1] - axis[-2]) / 2]])


def step_of(axis: Any) -> float:
    """Give the usual step between neighbours, positive; 0 for a single point.

    Examples
    --------
    >>> step_of([60.0, 57.5, 55.0])
    2.5
    """
    steps = np.abs(np.diff(np.asarray(axis, dtype=np.float64)))
    return float(np.median(steps)) if steps.size else 0.0


def nearest(have: Any, want: Any, tolerance: float, *, period: float | None = None) -> NDArray[np.intp] | None:
    """Give the index of the nearest of ``have``, in any order, for each of ``want``; None if one is too far.

    Parameters
    ----------
    have, want : array (n,), (m,)
    tolerance : float
        How far one may be.
    period : float, optional
        360 where longitudes that far apart are the same.

    Examples
    --------
    >>> nearest([0.0, 90, 180, 270], [-90.01, 0], 0.1, period=360.0)
    array([3, 0])
    """
    nodes, wanted = np.asarray(have, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if period is not None:
        nodes, wanted = nodes % period, wanted % period
    order = np.argsort(nodes, kind="stable")
    ranked = nodes[order]
    if period is not None:  # the last comes before the first, and the first after the last
        order = np.concatenate([order[-1:], order, order[:1]])
        ranked = np.concatenate([ranked[-1:] - period, ranked, ranked[:1] + period])
    after = np.minimum(np.searchsorted(ranked, wanted), ranked.size - 1)
    before = np.maximum(after - 1, 0)
    found = np.where(np.abs(wanted - ranked[before]) <= np.abs(ranked[after] - wanted), before, after)
    far = np.abs(ranked[found] - wanted).max()
    return order[found] if far <= tolerance else None
