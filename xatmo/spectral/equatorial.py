"""Dispersion of waves on the equator, after Matsuno: the curves in wavenumber-frequency diagrams."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION, GRAVITY
from xatmo.errors import OptionError
from xatmo.typing import Floats

WAVES = ("kelvin", "rossby", "mixed", "inertia_gravity")


def equatorial_wave(
    wave: str,
    zonal_wavenumber: Any,
    depth: float,
    *,
    n: int | None = None,
    radius: float = EARTH_RADIUS,
    omega: float = EARTH_ROTATION,
) -> Floats:
    r"""Frequency of a free wave of shallow water on the equatorial beta plane.

    With c = sqrt(g h), beta = 2 omega / a and the wavenumber k = s / a (positive eastward), the free waves of a fluid
    of depth h at rest [1]_ have the frequencies sigma > 0 that solve

    - Kelvin: ``sigma = c k``;
    - mixed Rossby-gravity, n = 0: ``sigma**2 - c k sigma - c beta = 0``, for k > 0 also called eastward
      inertia-gravity n = 0;
    - Rossby and inertia-gravity, n >= 1: ``sigma**3 - (c**2 k**2 + (2 n + 1) c beta) sigma - c**2 beta k = 0``, the
      smallest and the largest positive root.

    Of a wave with odd n the pressure and the zonal wind are symmetric about the equator, as those of the Kelvin wave;
    with even n they are antisymmetric.

    Parameters
    ----------
    wave : {"kelvin", "rossby", "mixed", "inertia_gravity"}
    zonal_wavenumber : array-like
        Waves around the Earth, positive eastward.
    depth : float
        Equivalent depth in metres: 12 to 50 for waves coupled with convection.
    n : int, optional
        Meridional mode from 1 up, of Rossby and inertia-gravity waves; 1 by default.
    radius : float
        In metres.
    omega : float
        Angular velocity in s-1.

    Returns
    -------
    array
        Cycles per day; NaN where there is no such wave (a Kelvin wave travelling west, a Rossby wave travelling east).

    Raises
    ------
    OptionError
        If the wave is unknown, ``depth`` not positive, or ``n`` out of place.

    References
    ----------
    .. [1] T. Matsuno, 1966: Quasi-geostrophic motions in the equatorial area. J. Meteor. Soc. Japan 44, 25-43.

    Examples
    --------
    A Kelvin wave of depth 25 m goes once around the Earth in 29.6 days:

    >>> 1 / equatorial_wave("kelvin", [1, -1], 25)
    array([29.59, nan])
    """
    n = _check(wave, depth, n)
    k = np.asarray(zonal_wavenumber, dtype=np.float64) / radius
    speed, beta = np.sqrt(GRAVITY * depth), 2 * omega / radius
    if wave == "kelvin":
        sigma = np.where(k >= 0, speed * k, np.nan)
    elif wave == "mixed":
        sigma = speed * k / 2 + np.sqrt((speed * k / 2) ** 2 + speed * beta)
    else:
        sigma = _cubic(wave, k, speed, beta, n)
    return np.asarray(sigma * 86400 / (2 * np.pi))


def _cubic(wave: str, k: Floats, speed: float, beta: float, n: int) -> Floats:
    """Roots of sigma**3 - p sigma - q, real because 4 p**3 > 27 q**2, by cosines."""
    p, q = (speed * k) ** 2 + (2 * n + 1) * speed * beta, speed**2 * beta * k
    size = 2 * np.sqrt(p / 3)
    angle = np.arccos(np.clip(3 * q / (p * size), -1, 1)) / 3
    if wave == "inertia_gravity":
        return np.asarray(size * np.cos(angle))
    # Of the other two roots one is negative; the middle one is a Rossby wave, which has k < 0.
    middle = size * np.cos(angle - 2 * np.pi / 3)
    return np.where(k < 0, middle, np.nan)


def _check(wave: str, depth: float, n: int | None) -> int:
    if wave not in WAVES:
        message = f"wave={wave!r} came; wanted one of {WAVES}"
        raise OptionError(message)
    if not depth > 0 or not np.isfinite(depth):
        message = f"depth={depth!r} came; wanted an equivalent depth in metres above 0, such as 25"
        raise OptionError(message)
    if n is None:
        return 1
    try:
        mode = operator.index(n)
    except TypeError:
        mode = 0
    if wave in ("kelvin", "mixed") or mode < 1:
        message = f"wave={wave!r}, n={n!r} came; wanted n = 1, 2, ... with 'rossby' or 'inertia_gravity', else none"
        raise OptionError(message)
    return mode
