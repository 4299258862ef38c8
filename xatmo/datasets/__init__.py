"""Generated fields and observing systems, seeded and labelled: no download, the same for everybody."""

from __future__ import annotations

from xatmo.datasets._shallow_water import LayerDamping, Relaxation
from xatmo.datasets._vorticity import Damping, Forcing
from xatmo.datasets.ambs_files import write_ambs_tree
from xatmo.datasets.ambs_tree import open_ambs_tree
from xatmo.datasets.atmodist_layout import open_atmodist
from xatmo.datasets.challenge import write_challenge
from xatmo.datasets.challenge_files import challenge_fields, open_challenge, open_reference
from xatmo.datasets.digits import moving_digits
from xatmo.datasets.diurnal import diurnal_temperature
from xatmo.datasets.flow import barotropic
from xatmo.datasets.gp import gp_prior, spde_gp, spde_oi
from xatmo.datasets.jet import jet_latitude
from xatmo.datasets.moving_mnist import open_moving_mnist
from xatmo.datasets.observing import observe
from xatmo.datasets.ocean import sea_level
from xatmo.datasets.orbits import MISSIONS, Orbit
from xatmo.datasets.radar import open_radar
from xatmo.datasets.rain import rain_fields
from xatmo.datasets.sampling import grid_tracks
from xatmo.datasets.seasonal import Seasonal, seasonal
from xatmo.datasets.shallow_water import shallow_water
from xatmo.datasets.swot import SWOT_NOISE, Noise, swath_errors, swot_swath
from xatmo.datasets.tracks import nadir_tracks

__all__ = [
    "MISSIONS",
    "SWOT_NOISE",
    "Damping",
    "Forcing",
    "LayerDamping",
    "Noise",
    "Orbit",
    "Relaxation",
    "Seasonal",
    "barotropic",
    "challenge_fields",
    "diurnal_temperature",
    "gp_prior",
    "grid_tracks",
    "jet_latitude",
    "moving_digits",
    "nadir_tracks",
    "observe",
    "open_ambs_tree",
    "open_atmodist",
    "open_challenge",
    "open_moving_mnist",
    "open_radar",
    "open_reference",
    "rain_fields",
    "sea_level",
    "seasonal",
    "shallow_water",
    "spde_gp",
    "spde_oi",
    "swath_errors",
    "swot_swath",
    "write_ambs_tree",
    "write_challenge",
]
