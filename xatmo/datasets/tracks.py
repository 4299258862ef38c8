"""Where altimeters look: points along the tracks of one or several missions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.datasets.orbits import Orbit, orbit_of
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.typing import XarrayObject

Region = Mapping[str, tuple[float, float]] | Grid | XarrayObject
_PIECE = 1_000_000  # samples worked on at once


def nadir_tracks(
    mission: str | Orbit | Sequence[str | Orbit] = "jason",
    *,
    start: str | np.datetime64,
    days: float,
    region: Region | None = None,
    sampling: str | pd.Timedelta = "1s",
    node_longitude: float | None = None,
    node_time: str | None = None,
) -> xr.Dataset:
    """Points under one or several altimeters, along real orbits.

    Parameters
    ----------
    mission : str, Orbit, or a sequence of these
        Names in `xatmo.datasets.MISSIONS`, or orbits of one's own.
    start : str or datetime64
        First time.
    days : float
        Length.
    region : mapping, Grid, Dataset or DataArray, optional
        Box to keep: ``{"latitude": (33, 43), "longitude": (-65, -55)}`` (west to east, across the date line if need
        be), or the cells of a grid. The globe unless given.
    sampling : str or timedelta
        Time between points; altimeters deliver one a second, about 6 km apart.
    node_longitude, node_time : optional
        Longitude and time of the first ascending node, instead of the mission's; for a single mission.

    Returns
    -------
    Dataset (time)
        Coordinates ``latitude``, ``longitude`` (from the region's western edge on, or 0 to 360), ``mission`` (a CF
        flag: numbers, with their meanings in the attributes), ``cycle``, ``pass_number`` (odd: northward) and
        ``ascending``. In order of time; missions may share times.

    Raises
    ------
    OptionError
        If a mission is unknown, a time is not positive, the region is not a box, or nodes are given for several
        missions.

    Examples
    --------
    >>> box = {"latitude": (33, 43), "longitude": (-65, -55)}
    >>> tracks = nadir_tracks(["jason", "saral"], start="2012-10-01", days=10, region=box)
    >>> tracks["mission"].attrs["flag_meanings"], tracks.sizes["time"]
    ('jason saral', 2938)
    """
    chosen = [mission] if isinstance(mission, str | Orbit) else list(mission)
    orbits = [orbit_of(m) for m in chosen]
    if not orbits or ((node_longitude is not None or node_time is not None) and len(orbits) > 1):
        message = f"mission={chosen!r} with node_longitude={node_longitude}, node_time={node_time}; wanted one mission"
        raise OptionError(message)
    if node_longitude is not None:
        orbits = [replace(orbits[0], node_longitude=node_longitude)]
    if node_time is not None:
        orbits = [replace(orbits[0], node_time=node_time)]
    step = pd.Timedelta(sampling).value
    if not (step > 0 and days > 0):
        message = f"sampling={sampling!r}, days={days!r}; wanted positive times"
        raise OptionError(message)
    box = _box(region)
    first = np.datetime64(pd.Timestamp(start), "ns")
    count = int(np.ceil(days * 86400e9 / step))
    pieces = [
        _piece(orbit, number, first, step, range(begin, min(begin + _PIECE, count)), box)
        for number, orbit in enumerate(orbits)
        for begin in range(0, count, _PIECE)
    ]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.argsort(columns["time"], kind="stable")
    attrs = {
        "time": {"standard_name": "time", "axis": "T"},
        "latitude": {"standard_name": "latitude", "units": "degrees_north"},
        "longitude": {"standard_name": "longitude", "units": "degrees_east"},
        "mission": {
            "long_name": "mission",
            "flag_values": np.arange(len(orbits), dtype=np.int8),
            "flag_meanings": " ".join(orbit.name for orbit in orbits),
        },
        "cycle": {"long_name": "repeat cycle, from 1 at the first node"},
        "pass_number": {"long_name": "pass within the cycle; odd passes go north"},
        "ascending": {"long_name": "whether the satellite goes north"},
    }
    coords = {name: ("time", values[order], attrs[name]) for name, values in columns.items()}
    out = xr.Dataset(coords=coords, attrs={"Conventions": "CF-1.11", "featureType": "trajectory"})
    names = [orbit.name for orbit in orbits]
    call = cf.describe_call("datasets.nadir_tracks", mission=names, start=str(start), days=days, sampling=sampling)
    return cf.add_history(out, call)


def _piece(
    orbit: Orbit, number: int, first: np.datetime64, step: int, steps: range, box: tuple[float, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    time = first + (np.arange(steps.start, steps.stop, dtype=np.int64) * step).astype("timedelta64[ns]")
    seconds = (time - np.datetime64(pd.Timestamp(orbit.node_time), "ns")) / np.timedelta64(1, "s")
    latitude, longitude = orbit.position(seconds)
    south, north, west, width = box
    longitude = west + (longitude - west) % 360
    inside = (latitude >= south) & (latitude <= north) & (longitude <= west + width)
    cycle, passes = orbit.passes(seconds[inside])
    return {
        "time": time[inside],
        "latitude": latitude[inside],
        "longitude": longitude[inside],
        "mission": np.full(cycle.size, number, dtype=np.int8),
        "cycle": cycle,
        "pass_number": passes,
        "ascending": passes % 2 == 1,
    }


def _box(region: Any) -> tuple[float, float, float, float]:
    """South, north, west and width of a region, in degrees."""
    if region is None:
        return -90.0, 90.0, 0.0, 360.0
    if isinstance(region, Mapping) and not isinstance(region, xr.Dataset):
        try:
            (south, north), (west, east) = region["latitude"], region["longitude"]
        except (KeyError, TypeError, ValueError):
            south, north, west, east = 1.0, 0.0, 0.0, 0.0
        width = 360.0 if east - west == 360 else (east - west) % 360
        if not -90 <= south < north <= 90 or not width > 0:
            message = f"region={dict(region)!r}; wanted {{'latitude': (south, north), 'longitude': (west, east)}}"
            raise OptionError(message)
        return float(south), float(north), float(west), float(width)
    grid = Grid.of(region)
    rows, columns = np.sort(grid.latitude_bounds), grid.longitude_bounds
    width = 360.0 if grid.periodic else float(columns[-1] - columns[0])
    return float(rows[0]), float(rows[-1]), float(columns[0]), width
