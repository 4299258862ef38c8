"""Places as a covariance sees them: stretched along two axes and moving with the water.

A covariance of distance becomes anisotropic, and drifts, when the distance is taken in other coordinates. With p the
place on axes that point east and north (and up), t the time and v a constant velocity, the place is seen at

    p' = S (p - v t),    S = exp([[a, b], [b, -a]]),

so that two observations lie |S ((p1 - p2) - v (t1 - t2))| apart. The map is linear: whatever covariance is positive
definite in p' and t is so in p and t. S has determinant 1; the length scale L of the covariance is the geometric mean
of the lengths along the axes of S, L exp(r) and L exp(-r) with r = hypot(a, b). In (a, b) nothing is singular where
both are equal, which an estimate by descent needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xatmo.constants import EARTH_RADIUS

Array = NDArray[np.float64]
Pair = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """Coordinates whose distances a covariance takes.

    Attributes
    ----------
    metric : {"sphere", "degrees"}
        Metres through the sphere, on axes east, north and up at the centre; or degrees of longitude and latitude.
    centre : (float, float)
        Latitude and longitude of the middle of the region. The drift is a constant vector in space, tangent there: ten
        degrees away its length over the ground is off by 1.5 percent.
    shape : (float, float)
        a and b of the stretching; (0, 0) for the same length in all directions.
    drift : (float, float)
        Eastward and northward velocity, in units of the metric per second.

    Examples
    --------
    >>> frame = Frame("degrees", (0.0, 0.0), drift=(0.5, 0.0))
    >>> frame.place(np.array([0.0]), np.array([3.0]), np.array([2.0]))
    array([[2., 0., 0.]])
    """

    metric: str
    centre: Pair
    shape: Pair = (0.0, 0.0)
    drift: Pair = (0.0, 0.0)

    @property
    def plain(self) -> bool:
        """Whether nothing is stretched and nothing moves."""
        return self.shape == (0.0, 0.0) and self.drift == (0.0, 0.0)

    def axes(self, latitude: Array, longitude: Array) -> Array:
        """Coordinates ``(n, 3)`` before stretching and drift: east, north, up; no height in degrees."""
        south, west = self.centre
        east = (np.asarray(longitude, dtype=np.float64) - west + 180) % 360 - 180
        if self.metric == "degrees":
            return np.stack([east, np.asarray(latitude - south, dtype=np.float64), np.zeros_like(east)], axis=-1)
        lat, lon, tilt = np.radians(latitude), np.radians(east), np.radians(south)
        out, up = np.cos(lat) * np.cos(lon), np.sin(lat)
        turned = [np.cos(lat) * np.sin(lon), up * np.cos(tilt) - out * np.sin(tilt),
                  up * np.sin(tilt) + out * np.cos(tilt)]  # fmt: skip
        return EARTH_RADIUS * np.stack(turned, axis=-1)

    def place(self, latitude: Array, longitude: Array, time: Array | float) -> Array:
        """Coordinates ``(n, 3)`` at which points are seen at a time in seconds."""
        return transform(self.axes(latitude, longitude), time, self.shape, self.drift)


def transform(gap: Array, lag: Array | float, shape: Pair, drift: Pair) -> Array:
    """Stretch and shift coordinates, or differences of coordinates, ``(..., 3)`` with their times ``(...)``."""
    (a, b), (u, v) = shape, drift
    radius = float(np.hypot(a, b))
    even, odd = np.cosh(radius), np.sinh(radius) / radius if radius > 0 else 1.0
    east, north = gap[..., 0] - u * lag, gap[..., 1] - v * lag
    out = np.empty(np.broadcast_shapes(np.shape(gap), (*np.shape(lag), 3)))
    out[..., 0] = (even + odd * a) * east + odd * b * north
    out[..., 1] = odd * b * east + (even - odd * a) * north
    out[..., 2] = gap[..., 2]
    return out


def separation(gap: Array, lag: Array, shape: Pair, drift: Pair) -> Array:
    """Lengths of differences of coordinates ``(3, ...)``, component by component, after `transform`.

    Examples
    --------
    >>> float(separation(np.array([3.0, 4.0, 0.0]), np.array(1.0), (0.0, 0.0), (3.0, 1.0)))
    3.0
    """
    (a, b), (u, v) = shape, drift
    radius = float(np.hypot(a, b))
    east, north = gap[0] - u * lag, gap[1] - v * lag
    if radius > 0:
        even, odd = np.cosh(radius), np.sinh(radius) / radius
        east, north = (even + odd * a) * east + odd * b * north, odd * b * east + (even - odd * a) * north
    return np.asarray(np.sqrt(east**2 + north**2 + gap[2] ** 2))


def shape_of(lengths: Pair, angle: float) -> Pair:
    """Give a and b for lengths along two axes, the first ``angle`` degrees anticlockwise from east.

    Examples
    --------
    >>> [round(x, 3) for x in shape_of((4.0, 1.0), 0.0)]
    [-0.693, 0.0]
    """
    half = 0.5 * np.log(lengths[0] / lengths[1])
    twice = 2 * np.radians(angle)
    return float(-half * np.cos(twice)), float(-half * np.sin(twice))


def lengths_of(length_scale: float, shape: Pair) -> tuple[float, float, float]:
    """Give the longer and the shorter length, and the angle of the longer axis in degrees from east, -90 to 90.

    Examples
    --------
    >>> [round(x, 3) for x in lengths_of(2.0, shape_of((1.0, 4.0), 30.0))]
    [4.0, 1.0, -60.0]
    """
    radius = float(np.hypot(*shape))
    angle = float(np.degrees(0.5 * np.arctan2(-shape[1], -shape[0]))) if radius > 0 else 0.0
    return length_scale * float(np.exp(radius)), length_scale * float(np.exp(-radius)), angle
