"""Generated fields and observing systems, seeded and labelled: no download, the same for everybody."""

from __future__ import annotations

from xatmo.datasets._shallow_water import LayerDamping, Relaxation
from xatmo.datasets._vorticity import Damping, Forcing
from xatmo.datasets.atmodist_layout import open_atmodist
from xatmo.datasets.flow import barotropic
from xatmo.datasets.jet import jet_latitude
from xatmo.datasets.ocean import sea_level
from xatmo.datasets.orbits import MISSIONS, Orbit
from xatmo.datasets.sampling import grid_tracks, observe
from xatmo.datasets.seasonal import Seasonal, seasonal
from xatmo.datasets.shallow_water import shallow_water
from xatmo.datasets.tracks import nadir_tracks

__all__ = [
    "MISSIONS",
    "Damping",
    "Forcing",
    "LayerDamping",
    "Orbit",
    "Relaxation",
    "Seasonal",
    "barotropic",
    "grid_tracks",
    "jet_latitude",
    "nadir_tracks",
    "observe",
    "open_atmodist",
    "sea_level",
    "seasonal",
    "shallow_water",
]
