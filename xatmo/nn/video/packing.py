"""All frames of a forecast as channels of one map, so that any engine for maps can ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from xatmo.nn.video.base import VideoInput
from xatmo.nn.video.config import VideoConfig
from xatmo.nn.video.network import VideoNetwork


def n_channels(config: VideoConfig) -> int:
    """Channels of a packed input.

    Examples
    --------
    >>> n_channels(VideoConfig("persistence", n_context=3, n_future=2, n_known=1))
    8
    """
    both = config.n_context + config.n_future
    frames = config.n_state * (config.n_context + (both if config.cycle else 0))
    return frames + config.n_known * both + config.n_static


def pack(x: VideoInput) -> torch.Tensor:
    """Lay frames, cycle, known and static fields, each variable with its times together, along one axis.

    Returns
    -------
    Tensor (batch, channel, lat, lon)
    """
    given = (x.frames, x.cycle, x.known, x.static)
    return torch.cat([part.flatten(1, -3) for part in given if part is not None], dim=1)


def unpack(packed: torch.Tensor, config: VideoConfig) -> VideoInput:
    """Take apart what `pack` laid together.

    Examples
    --------
    >>> config = VideoConfig("persistence", n_context=3, n_future=2, n_known=1)
    >>> x = VideoInput(torch.randn(2, 1, 3, 4, 4), known=torch.randn(2, 1, 5, 4, 4))
    >>> bool(torch.equal(unpack(pack(x), config).known, x.known))
    True
    """
    both = config.n_context + config.n_future
    wanted = [
        (config.n_state, config.n_context), (config.n_state if config.cycle else 0, both), (config.n_known, both),
    ]  # fmt: skip
    parts = torch.split(packed, [*(n * k for n, k in wanted), config.n_static], dim=1)
    frames, cycle, known = (
        torch.unflatten(part, 1, sizes) if part.shape[1] else None for part, sizes in zip(parts, wanted, strict=False)
    )
    assert frames is not None  # there is one variable and one frame at least
    return VideoInput(frames, cycle, known, parts[-1] if config.n_static else None)


class PackedVideo(nn.Module):
    """A forecasting network that takes ``(batch, channel, lat, lon)``, and gives variables by leads in the same way.

    Parameters
    ----------
    network : VideoNetwork

    Examples
    --------
    >>> network = PackedVideo(VideoNetwork(VideoConfig("persistence", n_context=3, n_future=2)))
    >>> network(torch.zeros(1, 3, 4, 5)).shape
    torch.Size([1, 2, 4, 5])
    """

    def __init__(self, network: VideoNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def halo(self) -> int | None:
        """Cells from which an output is reached; None: from everywhere."""
        return self.network.halo

    @property
    def stochastic(self) -> bool:
        """Whether the network draws."""
        return self.network.stochastic

    @property
    def shared_draws(self) -> bool:
        """Whether it draws by itself, the same for all windows of a map."""
        return bool(getattr(self.network.inner, "shared_draws", False))

    @property
    def n_latent(self) -> int:
        """Standard normal numbers that each forecast takes."""
        return self.network.n_latent

    @property
    def n_noise(self) -> int:
        """Fields of standard normal numbers that each forecast takes."""
        return self.network.n_noise

    def forward(
        self, packed: torch.Tensor, *, latent: torch.Tensor | None = None, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Forecast, with draws of the caller's where they come.

        Parameters
        ----------
        packed : Tensor (batch, channel, lat, lon)
        latent : Tensor (batch, n_latent), optional
        noise : Tensor (batch, n_noise, lat, lon), optional

        Returns
        -------
        Tensor (batch, n_out * n_future, lat, lon)
        """
        x = unpack(packed, self.network.config)._replace(latent=latent, noise=noise)
        out: torch.Tensor = self.network(x)
        return out.flatten(1, 2)

    def mean(self, packed: torch.Tensor) -> torch.Tensor:
        """Forecast without drawing."""
        return self.network.mean(unpack(packed, self.network.config)).flatten(1, 2)


def build(config: Mapping[str, Any], *, module: nn.Module | None = None) -> nn.Module:
    """Build the network that a saved configuration describes, taking packed inputs.

    Parameters
    ----------
    config : mapping
    module : torch.nn.Module, optional
        Of the caller's: see `xatmo.nn.video.foreign.Foreign`.
    """
    from xatmo.nn.video.foreign import Foreign

    described = VideoConfig.from_dict(config)
    return PackedVideo(VideoNetwork(described, None if module is None else Foreign(described, module)))
