"""Forecasts longer than those of the training: in one roll-out, or block by block on the forecast itself."""

from __future__ import annotations

from dataclasses import replace

import torch

from xatmo.errors import OptionError
from xatmo.nn.video.base import VideoInput
from xatmo.nn.video.network import VideoNetwork
from xatmo.nn.video.packing import PackedVideo, unpack


class LongerVideo(PackedVideo):
    """A forecasting network asked for ``n_future`` frames, more than it was trained for.

    An architecture that goes frame by frame goes on. Any other is given the last ``n_context`` frames of context and
    forecast together, again and again, which takes a forecast of the whole state.

    Parameters
    ----------
    network : VideoNetwork
    n_future : int

    Raises
    ------
    OptionError
        If the network can do neither.

    Examples
    --------
    >>> from xatmo.nn.video import VideoConfig
    >>> longer = LongerVideo(VideoNetwork(VideoConfig("persistence", n_context=2, n_future=2)), 5)
    >>> longer(torch.tensor([1.0, 7.0]).reshape(1, 2, 1, 1)).flatten().tolist()
    [7.0, 7.0, 7.0, 7.0, 7.0]
    """

    def __init__(self, network: VideoNetwork, n_future: int) -> None:
        super().__init__(network)
        config = network.config
        if not network.any_length and not network.whole_state and config.n_out < config.n_state:
            message = (
                f"n_future={n_future} and a network trained for {config.n_future} frames that forecasts {config.n_out} "
                f"of the {config.n_state} variables that it reads, so that it cannot go on from what it gave; wanted "
                f"at most {config.n_future}, or a network that forecasts all that it reads"
            )
            raise OptionError(message)
        self.config = replace(config, n_future=n_future)

    @property
    def n_latent(self) -> int:
        """Standard normal numbers that each forecast takes, those of all blocks."""
        if self.network.any_length:
            return self.network.latent_size(self.config.n_future)
        return self.network.n_latent * self._n_blocks

    @property
    def n_noise(self) -> int:
        """Fields of standard normal numbers that each forecast takes, those of all blocks."""
        return self.network.n_noise * self._n_blocks

    @property
    def _n_blocks(self) -> int:
        return 1 if self.network.any_length else -(-self.config.n_future // self.network.config.n_future)

    def forward(
        self, packed: torch.Tensor, *, latent: torch.Tensor | None = None, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``(batch, channel, lat, lon)`` -> ``(batch, n_out * n_future, lat, lon)``; see `PackedVideo.forward`."""
        return self._all(unpack(packed, self.config)._replace(latent=latent, noise=noise), mean=False)

    def mean(self, packed: torch.Tensor) -> torch.Tensor:
        """Forecast without drawing."""
        return self._all(unpack(packed, self.config), mean=True)

    def _all(self, x: VideoInput, *, mean: bool) -> torch.Tensor:
        wanted = self.config.n_future
        made = self.network.state(x, n_future=wanted, mean=mean) if self.network.any_length else self._roll(x, mean)
        return made[:, : self.config.n_out, :wanted].flatten(1, 2)

    def _roll(self, x: VideoInput, mean: bool) -> torch.Tensor:
        n_context, block = self.config.n_context, self.network.config.n_future
        film = x.frames
        drawn = [[None] * self._n_blocks if d is None else d.chunk(self._n_blocks, 1) for d in (x.latent, x.noise)]
        for made, (latent, noise) in zip(range(0, self.config.n_future, block), zip(*drawn, strict=True), strict=True):
            cycle, known = (_window(part, made, n_context + block) for part in (x.cycle, x.known))
            given = VideoInput(film[:, :, made : made + n_context], cycle, known, x.static, latent, noise)
            film = torch.cat([film, self.network.state(given, mean=mean)], dim=2)
        return film[:, :, n_context:]


def _window(part: torch.Tensor | None, first: int, length: int) -> torch.Tensor | None:
    """Cut a window out of frames; beyond the last, of which nothing is kept, it is repeated."""
    if part is None:
        return None
    cut = part[:, :, first : first + length]
    lacking = length - cut.shape[2]
    return torch.cat([cut, cut[:, :, -1:].expand(-1, -1, lacking, -1, -1)], dim=2) if lacking else cut
