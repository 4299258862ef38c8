"""Physical constants, in SI units, used wherever a caller does not give another value."""

from __future__ import annotations

from typing import Final

EARTH_RADIUS: Final = 6371229.0
"""Radius of the sphere in metres: the value of ECMWF's spectral models and of GRIB's shape-of-the-earth code 6."""

EARTH_ROTATION: Final = 7.2921159e-5
"""Angular velocity of the Earth in s-1."""

GRAVITY: Final = 9.80665
"""Standard acceleration of gravity in m s-2."""

DRY_AIR_CONSTANT: Final = 287.0597
"""Gas constant of dry air in J kg-1 K-1, as in ECMWF's models."""

LAPSE_RATE: Final = 0.0065
"""Fall of temperature with height in the troposphere of the standard atmosphere, in K m-1."""
