"""Variational mapping that is learned: a cost of observations and prior, and a solver that brings it down.

Fablet et al. 2021, JAMES 13, e2021MS002572 (4DVarNet).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from xatmo.errors import CheckpointError
from xatmo.nn.assimilation.config import FourDVarConfig
from xatmo.nn.assimilation.network import FourDVarNetwork, Given, Solution
from xatmo.nn.assimilation.observations import Observations

__all__ = ["FourDVarConfig", "FourDVarNetwork", "Given", "Observations", "Solution", "build"]


def build(config: Mapping[str, Any], *, module: nn.Module | None = None) -> FourDVarNetwork:
    """Build a network from what `FourDVarConfig.to_dict` gave.

    Parameters
    ----------
    config : mapping
        ``own_parts``, where it is there, names the modules of the caller's: ``prior``, ``operator``, ``solver``.
    module : torch.nn.Module, optional
        That one; of several a `torch.nn.ModuleDict` by these names.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    CheckpointError
        If a module of the caller's is wanted and not given.

    Examples
    --------
    >>> config = FourDVarConfig(time_window=3, prior_channels=4, solver_channels=4)
    >>> build(config.to_dict()).config == config
    True
    """
    settings = {k: v for k, v in config.items() if k != "own_parts"}
    own = list(config.get("own_parts", ()))
    parts: dict[str, Any] = {}
    if own:
        several = isinstance(module, nn.ModuleDict) and set(module) == set(own)
        if module is None or (len(own) > 1 and not several):
            wanted = "it" if len(own) == 1 else f"torch.nn.ModuleDict({{name: module for each of {own}}})"
            message = (
                f"the network has a {' and a '.join(own)} of your own; pass {wanted}: xatmo.load(path, module=net)"
            )
            raise CheckpointError(message)
        parts = dict(module.items()) if several else {own[0]: module}  # type: ignore[operator]
    return FourDVarNetwork(FourDVarConfig.from_dict(settings), **parts)
