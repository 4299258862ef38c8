"""Variational mapping that is learned: a cost of observations and prior, and a solver that brings it down.

Fablet et al. 2021, JAMES 13, e2021MS002572 (4DVarNet).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.network import FourDVarNetwork, Given, Solution
from xatmo.nn.assimilation.observations import Observations

__all__ = ["FourDVarConfig", "FourDVarNetwork", "Given", "Observations", "Solution", "build"]


def build(config: Mapping[str, Any]) -> FourDVarNetwork:
    """Build a network from what `FourDVarConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.

    Examples
    --------
    >>> config = FourDVarConfig(time_window=3, prior_channels=4, solver_channels=4)
    >>> build(config.to_dict()).config == config
    True
    """
    return FourDVarNetwork(FourDVarConfig.from_dict(config))
