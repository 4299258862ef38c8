"""Columns of numbers from the levels of a model to pressures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xatmo.errors import CoordinateError, UnitsError
from xatmo.typing import Floats

EARTHLY = (2e4, 1.15e5)
"""Pa, between which the highest pressure at the ground lies wherever one looks."""


@dataclass(frozen=True)
class Rule:
    """How a column is read at a pressure.

    Attributes
    ----------
    logarithmic : bool
        Linear in the logarithm of pressure between two levels, else in pressure.
    exponent : float or None
        Below the lowest level of the model: that level's value times the ratio of pressures to this power; None: NaN.
    to_ground : bool
        Whether the lowest level given is the lowest of the model.
    mask_outside : bool
        Whether pressures with no level on one side give NaN instead of an error.
    """

    logarithmic: bool = True
    exponent: float | None = 0.0
    to_ground: bool = True
    mask_outside: bool = False


def first_needed(a: Floats, b: Floats, target: float) -> int:
    """Find the first of the levels, from the top down, that can lie around a pressure or below, over any ground.

    Parameters
    ----------
    a, b : array (level,)
        In Pa, and 1.
    target : float
        In Pa.
    """
    above = int((a + b * EARTHLY[1] <= target).sum())
    return min(max(above - 1, 0), a.size - 2)


def interpolate(
    field: Floats, surface: Floats, a: Floats, b: Floats, targets: Floats, rule: Rule, what: str = "to_pressure"
) -> Floats:
    """Read columns at pressures; levels have :math:`p_k = a_k + b_k p_s`, from the top down.

    Only the two levels around a pressure count: what is missing at others changes nothing. Where the surface pressure
    is missing, so is the result.

    Parameters
    ----------
    field : array (..., level)
    surface : array (...,)
        Surface pressure in Pa.
    a, b : array (level,)
        In Pa, and 1.
    targets : array (target,)
        In Pa.
    rule : Rule
    what : str
        Begins the error message.

    Returns
    -------
    array (..., target)
        Of the type of ``field``.

    Raises
    ------
    CoordinateError
        If a pressure lies outside the levels in some column.
    UnitsError
        If the surface pressure cannot be one in Pa.
    """
    surface = np.broadcast_to(np.asarray(surface, np.float64), field.shape[:-1])
    most = np.max(surface, initial=-np.inf, where=np.isfinite(surface))
    if np.isfinite(most) and not EARTHLY[0] < most < EARTHLY[1]:
        message = (
            f"{what}: the surface pressure reaches {most:g} Pa; wanted what the ground of the Earth has: see to its "
            "units"
        )
        raise UnitsError(message)
    out = np.empty((*field.shape[:-1], targets.size), field.dtype)
    for k, target in enumerate(targets):
        above = np.zeros(surface.shape, np.intp)  # levels that lie above it; pressures grow along the levels
        for from_a, from_b in zip(a, b, strict=True):
            above += from_a + from_b * surface <= target
        upper = np.clip(above - 1, 0, a.size - 2)
        values = [_taken(field, upper + i) for i in (0, 1)]
        pressures = [a[upper + i] + b[upper + i] * surface for i in (0, 1)]
        if rule.logarithmic:
            weight = np.log(target / pressures[0]) / np.log(pressures[1] / pressures[0])
        else:
            weight = (target - pressures[0]) / (pressures[1] - pressures[0])
        # Not first + weight * difference: a missing neighbour of no weight takes no part at the other level.
        found = (1 - weight) * values[0] + weight * values[1]
        found = np.where(weight == 0, values[0], np.where(weight == 1, values[1], found))
        below, outside = (above == a.size) & (pressures[1] < target), (above == 0) & np.isfinite(surface)
        if rule.to_ground:
            power = np.nan if rule.exponent is None else (target / pressures[1]) ** rule.exponent
            found = np.where(below, values[1] * power, found)
        else:
            outside |= below
        if outside.any() and not rule.mask_outside:
            ends = [float((a[i] + b[i] * surface[outside]).mean()) / 100 for i in (0, -1)]
            message = (
                f"{what}: {target / 100:g} hPa lies outside the levels in {int(outside.sum())} of {outside.size} "
                f"columns, where these lie at {ends[0]:.4g} to {ends[1]:.4g} hPa; open more levels, or outside='nan'"
            )
            raise CoordinateError(message)
        out[..., k] = np.where(outside, np.nan, found)
    return out


def _taken(field: Floats, index: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Floats:
    return np.take_along_axis(field, index[..., None], axis=-1)[..., 0].astype(np.float64)
