"""A module of the caller's in the place of an architecture."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.blocks import is_stochastic
from xatmo.nn.video.base import Architecture, VideoInput
from xatmo.nn.video.config import VideoConfig


class Foreign(Architecture):
    """A module that maps the past to the future: its answer corrects the reference.

    Parameters
    ----------
    config : VideoConfig
    module : torch.nn.Module
        ``(batch, n_state, n_context, lat, lon) -> (batch, n_out, n_future, lat, lon)``, departures from the cycle.

    Examples
    --------
    >>> network = Foreign(VideoConfig("module", n_context=2, n_future=1), nn.AvgPool3d((2, 1, 1)))
    >>> network(VideoInput(torch.ones(1, 1, 2, 3, 3)), torch.zeros(1, 1, 1, 3, 3)).shape
    torch.Size([1, 1, 1, 3, 3])
    """

    def __init__(self, config: VideoConfig, module: nn.Module) -> None:
        super().__init__(config)
        self.module = module
        told = getattr(module, "halo", None)
        self.halo = None if told is None else int(told)
        self.stochastic = bool(getattr(module, "stochastic", False))
        self.shared_draws = self.stochastic and not is_stochastic(module)

    def forward(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        *,
        truth: torch.Tensor | None = None,
        truth_probability: float = 0.0,
        mean: bool = False,
    ) -> torch.Tensor:
        """See `xatmo.nn.video.Architecture.forward`."""
        call = getattr(self.module, "mean", None) if mean and self.stochastic else None
        made: torch.Tensor = (self.module if call is None else call)(x.frames)
        return made + reference[:, : self.config.n_out, : made.shape[2]]
