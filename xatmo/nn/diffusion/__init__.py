"""Residual diffusion: a mean network, and members that differ from it as real fields do.

A network for super-resolution gives the mean of the fine fields that are possible; a denoiser learns what a real field
has beyond that mean, and makes as many members as are asked for (Mardani et al. 2023, *CorrDiff*, arXiv:2309.15214).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xatmo.nn.diffusion.config import DiffusionConfig
from xatmo.nn.diffusion.network import ResidualDiffusion
from xatmo.nn.diffusion.sampler import heun, multistep, noise_levels

__all__ = ["DiffusionConfig", "ResidualDiffusion", "build", "heun", "multistep", "noise_levels"]


def build(config: Mapping[str, Any]) -> ResidualDiffusion:
    """Build a network from what `DiffusionConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.

    Examples
    --------
    >>> from xatmo.nn.superres import SuperResolutionConfig
    >>> config = DiffusionConfig(SuperResolutionConfig(2, channels=8, n_blocks=1), channels=8)
    >>> build(config.to_dict()).config == config
    True
    """
    return ResidualDiffusion(DiffusionConfig.from_dict(config))
