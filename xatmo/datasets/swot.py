"""Where a wide-swath altimeter looks, and the errors that its swath shares.

A SWOT-like interferometer sees two strips beside the nadir track, from 10 to 60 km on each side. The places follow the
orbit's ground track: at every nadir point the heading is that of the track on the ground, and the points of the swath
lie on the great circle at right angles to it.

Errors of an interferometer are not white. With x_c the distance across the track in m (right of it positive) and
h = 891 km the height, the parts drawn by `swath_errors` are

    roll      h_e = (1 + h / a) theta x_c,                    theta the roll angle in radians,
    phase     h_e = (1 + h / a) (lambda / (2 pi B)) phi x_c,  one phi in radians for each side,
    timing    h_e = (c / 2) tau,                              one tau in s for each side,

with a the Earth's radius, B = 10 m the baseline and lambda = 8.4 mm the wavelength. theta, phi and tau are stationary
Gaussian series along the track with the correlation exp(-|s| / L), s the distance along it: simple fields of the right
form and of stated size, not the mission's error budget.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.constants import EARTH_RADIUS
from xatmo.datasets.orbits import Orbit, orbit_of
from xatmo.datasets.tracks import Region, nadir_tracks
from xatmo.errors import OptionError
from xatmo.typing import Floats

_HEIGHT = 891e3  # of SWOT's orbit, m
_BASELINE, _WAVELENGTH = 10.0, 8.4e-3  # m
_LIGHT = 299_792_458.0  # m s-1
_HALF = 0.5  # seconds before and after a point between which the heading is taken


def swot_swath(
    mission: str | Orbit = "swot",
    *,
    start: str | np.datetime64,
    days: float,
    region: Region | None = None,
    sampling: str | pd.Timedelta = "1s",
    spacing: float = 5e3,
    inner: float = 10e3,
    outer: float = 60e3,
    nadir: bool = True,
) -> xr.Dataset:
    """Points of a wide swath and of the nadir altimeter between its halves, along a real orbit.

    Parameters
    ----------
    mission : str or Orbit
        ``"swot"`` (21 days), ``"swot-calval"`` (1 day), or an orbit of one's own.
    start, days, region, sampling
        See `nadir_tracks`. A point is kept where it lies in the region itself; with ``sampling="1s"`` rows of the swath
        are 6 to 7 km apart.
    spacing : float
        Metres between points across the track.
    inner, outer : float
        Edges of each half of the swath, metres from the track.
    nadir : bool
        Whether to give the points right below the satellite too.

    Returns
    -------
    Dataset (point)
        Coordinates ``time``, ``latitude``, ``longitude``, ``mission``, ``cycle``, ``pass_number``, ``ascending`` as
        from `nadir_tracks`; ``across`` (m, right of the track positive, 0 at nadir) and ``flag`` (0 nadir, 1 swath).

    Raises
    ------
    OptionError
        If the swath is empty, or see `nadir_tracks`.

    Examples
    --------
    >>> box = {"latitude": (33, 43), "longitude": (-65, -55)}
    >>> swath = swot_swath(start="2012-10-01", days=3, region=box)
    >>> float(abs(swath["across"]).max()), swath["flag"].attrs["flag_meanings"]
    (60000.0, 'nadir swath')
    """
    if not (0 <= inner < outer < 500e3 and spacing > 0):
        message = f"inner={inner}, outer={outer}, spacing={spacing}; wanted 0 <= inner < outer and a spacing, in metres"
        raise OptionError(message)
    orbit = orbit_of(mission)
    half = inner + spacing * np.arange(int((outer - inner) / spacing + 1e-9) + 1)
    across = np.concatenate([-half[::-1], [0.0] if nadir else [], half])
    margin = float(np.degrees(outer / EARTH_RADIUS))
    wide = _widened(region, margin)
    below = nadir_tracks(orbit, start=start, days=days, region=wide, sampling=sampling)
    seconds = (below["time"].values - np.datetime64(pd.Timestamp(orbit.node_time), "ns")) / np.timedelta64(1, "s")
    before, after = orbit.position(seconds - _HALF), orbit.position(seconds + _HALF)
    heading = _bearing(*before, *after)
    latitude, longitude = _beside(below["latitude"].values, below["longitude"].values, heading, across)
    south, north, west, width = _limits(region)
    longitude = west + (longitude - west) % 360
    inside = (latitude >= south) & (latitude <= north) & (longitude <= west + width)
    row, column = np.nonzero(inside)
    names = {
        "latitude": (latitude[inside], below["latitude"].attrs),
        "longitude": (longitude[inside], below["longitude"].attrs),
        "across": (across[column], {"long_name": "distance from the track, right of it positive", "units": "m"}),
        "flag": (
            (across[column] != 0).astype(np.int8),
            {"long_name": "sensor", "flag_values": np.array([0, 1], np.int8), "flag_meanings": "nadir swath"},
        ),
        **{
            str(n): (below[n].values[row], below[n].attrs)
            for n in ("time", "mission", "cycle", "pass_number", "ascending")
        },
    }
    out = xr.Dataset(
        coords={n: ("point", values, attrs) for n, (values, attrs) in names.items()},
        attrs={"Conventions": "CF-1.11", "featureType": "trajectory"},
    )
    call = cf.describe_call(
        "datasets.swot_swath",
        mission=orbit.name,
        start=str(start),
        days=days,
        spacing=spacing,
        inner=inner,
        outer=outer,
    )
    return cf.add_history(out, call)


def _limits(region: Any) -> tuple[float, float, float, float]:
    from xatmo.datasets.tracks import _box

    return _box(region)


def _widened(region: Any, margin: float) -> Any:
    """Give a box within which the nadir points may lie whose swath reaches into the region."""
    if region is None:
        return None
    south, north, west, width = _limits(region)
    low, high = max(south - margin, -90.0), min(north + margin, 90.0)
    wide = margin / max(float(np.cos(np.radians(max(abs(low), abs(high))))), 0.05)
    if width + 2 * wide >= 359:
        return {"latitude": (low, high), "longitude": (-180.0, 180.0)}
    return {"latitude": (low, high), "longitude": (west - wide, west + width + wide)}


def _bearing(lat1: Floats, lon1: Floats, lat2: Floats, lon2: Floats) -> Floats:
    """Direction from one point to another, radians clockwise from north."""
    a, b, east = np.radians(lat1), np.radians(lat2), np.radians(lon2 - lon1)
    return np.asarray(
        np.arctan2(np.sin(east) * np.cos(b), np.cos(a) * np.sin(b) - np.sin(a) * np.cos(b) * np.cos(east))
    )


def _beside(latitude: Floats, longitude: Floats, heading: Floats, across: Floats) -> tuple[Floats, Floats]:
    """Points (n, k) at distances right of tracks, along great circles at right angles to them."""
    start, angle = np.radians(latitude)[:, None], across[None, :] / EARTH_RADIUS
    to_right = heading[:, None] + np.pi / 2
    sine = np.sin(start) * np.cos(angle) + np.cos(start) * np.sin(angle) * np.cos(to_right)
    east = np.arctan2(np.sin(to_right) * np.sin(angle) * np.cos(start), np.cos(angle) - np.sin(start) * sine)
    return np.degrees(np.arcsin(sine)), np.asarray(longitude)[:, None] + np.degrees(east)


@dataclass(frozen=True)
class Noise:
    """Errors of altimeters.

    Attributes
    ----------
    nadir, swath : float
        Standard deviation of the white noise of a nadir sample and of a sample of the swath, m.
    correlated : float
        Standard deviation of the error along the track of a nadir altimeter, m; it is the same for all that a
        satellite measures at one time.
    memory : float
        Distance along the track over which it is forgotten, m.
    roll, phase : float
        Standard deviations of the roll angle, and of the phase of each side, rad.
    timing : float
        Standard deviation of the delay of each side, s.
    swath_memory : float
        Distance along the track over which these are forgotten, m.

    Examples
    --------
    >>> Noise(nadir=0.03, swath=0.02, roll=1e-7).roll
    1e-07
    """

    nadir: float = 0.0
    swath: float = 0.0
    correlated: float = 0.0
    memory: float = 500e3
    roll: float = 0.0
    phase: float = 0.0
    timing: float = 0.0
    swath_memory: float = 1000e3

    def __post_init__(self) -> None:
        if any(not v >= 0 for v in vars(self).values()) or not min(self.memory, self.swath_memory) > 0:
            message = f"{self!r} came; wanted no number below 0, and distances above 0"
            raise OptionError(message)


SWOT_NOISE = Noise(nadir=0.02, swath=0.015, correlated=0.01, roll=5e-8, phase=2e-4, timing=4e-11)
"""A noise of plausible size: at 60 km from the track some 3 mm by roll, 2 mm by phase, 6 mm by timing."""


def swath_errors(points: xr.Dataset, noise: Noise, *, seed: int = 0) -> xr.Dataset:
    """Draw what neighbouring samples of one satellite's pass share.

    Parameters
    ----------
    points : Dataset
        From `swot_swath` or `nadir_tracks`: one dimension with ``time``, and where it has them ``mission``, ``cycle``,
        ``pass_number``, ``across``. Different passes are independent.
    noise : Noise
    seed : int

    Returns
    -------
    Dataset
        ``correlated``, ``roll``, ``phase`` and ``timing`` in m, along the dimension of the points. The last three are
        zero at nadir.

    Examples
    --------
    >>> swath = swot_swath(start="2012-10-01", days=0.01)
    >>> swath_errors(swath, Noise(roll=1e-7))["roll"].std().item() > 0
    True
    """
    dim = next(iter(points.dims))
    size = points.sizes[dim]
    moment = points["time"].values.astype("datetime64[ns]").astype(np.int64)
    across = points["across"].values if "across" in points.coords else np.zeros(size)
    key = pass_numbers(points)
    # All that one satellite sees at one time makes a row; rows of one pass are linked.
    rows, place = np.unique(np.stack([key, moment]), axis=1, return_inverse=True)
    place = np.reshape(place, -1)
    link = np.diff(rows[1]) / 1e9 * _ground_speed()
    link = np.where(np.diff(rows[0]) == 0, np.maximum(link, 0), np.inf)
    generator = np.random.default_rng(seed)
    side = (across > 0).astype(np.intp)
    bend, seen = 1 + _HEIGHT / EARTH_RADIUS, across != 0
    series = {n: _series(generator, link, noise.swath_memory, 2) for n in ("roll", "phase", "timing")}
    made = {
        "correlated": noise.correlated * _series(generator, link, noise.memory, 1)[place, 0],
        "roll": bend * noise.roll * series["roll"][place, 0] * across,
        "phase": bend * _WAVELENGTH / (2 * np.pi * _BASELINE) * noise.phase * series["phase"][place, side] * across,
        "timing": np.where(seen, 0.5 * _LIGHT * noise.timing * series["timing"][place, side], 0.0),
    }
    attrs: dict[Hashable, dict[str, str]] = {n: {"long_name": f"{n} error", "units": "m"} for n in made}
    coords = {n: c for n, c in points.coords.items() if c.dims == (dim,)}
    return xr.Dataset({n: (dim, v, attrs[n]) for n, v in made.items()}, coords)


def pass_numbers(points: xr.Dataset | xr.DataArray) -> Any:
    """Give every point the number, from 0, of its mission, cycle and pass; one for all where none is told."""
    dim = next(iter(points.dims))
    known = [points[n].values.astype(np.int64) for n in ("mission", "cycle", "pass_number") if n in points.coords]
    if not known:
        return np.zeros(points.sizes[dim], dtype=np.int64)
    return np.reshape(np.unique(np.stack(known), axis=1, return_inverse=True)[1], -1).astype(np.int64)


def _ground_speed() -> float:
    """Speed of the point below a satellite at 891 km over a sphere that does not turn, m s-1."""
    return float(EARTH_RADIUS * np.sqrt(3.986004418e14 / (EARTH_RADIUS + _HEIGHT) ** 3))


def _series(generator: np.random.Generator, link: Floats, memory: float, count: int) -> Floats:
    """Draw stationary series (row, count) of unit variance, correlated by exp(-link / memory) from row to row."""
    fresh = generator.standard_normal((link.size + 1, count))
    keep = np.exp(-link / memory)
    renew = np.sqrt(1 - keep**2)
    out = fresh
    for k in range(link.size):
        if keep[k] > 0:
            out[k + 1] = keep[k] * out[k] + renew[k] * fresh[k + 1]
    return out
