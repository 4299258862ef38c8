"""Generated fields and observing systems, seeded and labelled: no download, the same for everybody."""

from __future__ import annotations

from xatmo.datasets._vorticity import Damping, Forcing
from xatmo.datasets.flow import barotropic
from xatmo.datasets.ocean import sea_level
from xatmo.datasets.orbits import MISSIONS, Orbit
from xatmo.datasets.sampling import grid_tracks, observe
from xatmo.datasets.tracks import nadir_tracks

__all__ = [
    "MISSIONS",
    "Damping",
    "Forcing",
    "Orbit",
    "barotropic",
    "grid_tracks",
    "nadir_tracks",
    "observe",
    "sea_level",
]
