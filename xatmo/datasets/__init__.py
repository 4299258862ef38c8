"""Generated fields and observing systems, seeded and labelled: no download, the same for everybody."""

from __future__ import annotations

from xatmo.datasets._vorticity import Damping, Forcing
from xatmo.datasets.flow import barotropic

__all__ = ["Damping", "Forcing", "barotropic"]
