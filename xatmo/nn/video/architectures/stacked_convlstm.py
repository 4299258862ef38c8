"""Several layers of convolutional LSTM at a coarser resolution, between a strided encoder and a decoder."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from xatmo.nn.blocks import ConvLSTM, StridedLayer, doubling, halving, start_at_zero
from xatmo.nn.settings import odd, whole
from xatmo.nn.video.architectures.convlstm import Recurrent
from xatmo.nn.video.config import VideoConfig

STATES: Final = 3.0
"""How many times weaker, about, states of untrained cells are than what they read."""


class StackedConvLSTM(Recurrent):
    """Convolutions halve each frame, layers of cells remember, convolutions bring back its size, beside a skip.

    Large kernels and several layers become affordable, for cells see maps ``4**n_levels`` times smaller. The skip adds
    the first features of the frame that was read last, so that small scales need not pass the cells.

    Parameters
    ----------
    config : VideoConfig
    channels : int
        Of the state of a layer.
    width : int, optional
        Of encoder and decoder; default half of ``channels``.
    size : int
        Odd width of the kernels of the cells.
    n_layers : int
    n_levels : int
        How often the maps are halved.
    forecaster : bool
        Whether the future has cells of its own, which start from the memory of those that read the past: the
        encoding-forecasting structure of Shi et al. 2015. False: the same cells go on.
    norm : {"layer", "batch", None}
        Of encoder and decoder. None leaves to features how strong a change is, which few data need: weights then start
        such that each layer passes on as much as came.
    dropout : float
        Share of the maps of the last layer's state that is dropped.
    mc_dropout : bool
        Whether this goes on in forecasts, which then have members.
    wrap : int
        Columns of the other end that are laid at each end, where longitudes go around.
    origin : {"map", "cell", "none"}
        What the past is shown relative to, where the reference goes on: `xatmo.nn.video.references.origin`.
    read_cycle : bool
        Whether the cycle is an input too.

    Raises
    ------
    OptionError
        If a setting has no usable value.

    Examples
    --------
    >>> from xatmo.nn.video import VideoInput
    >>> network = StackedConvLSTM(VideoConfig("stacked_convlstm", n_context=4), channels=8)
    >>> network(VideoInput(torch.randn(2, 1, 4, 9, 11)), torch.zeros(2, 1, 3, 9, 11)).shape
    torch.Size([2, 1, 3, 9, 11])
    """

    def __init__(
        self,
        config: VideoConfig,
        *,
        channels: int = 64,
        width: int | None = None,
        size: int = 5,
        n_layers: int = 2,
        n_levels: int = 1,
        forecaster: bool = False,
        norm: str | None = "layer",
        dropout: float = 0.0,
        mc_dropout: bool = False,
        wrap: int = 0,
        origin: str = "map",
        read_cycle: bool = True,
    ) -> None:
        super().__init__(
            config, dropout, mc_dropout=mc_dropout, wrap=whole("wrap", wrap, 0), origin=origin, read_cycle=read_cycle
        )
        channels, n_levels = whole("channels", channels), whole("n_levels", n_levels, 0)
        width = max(1, channels // 2) if width is None else whole("width", width)
        self.factor: int = 2**n_levels
        self.encoder = nn.ModuleList(
            StridedLayer(width if k else self.n_in, width, stride, norm) for k, stride in enumerate(halving(n_levels))
        )
        widths = [width, *[channels] * (whole("n_layers", n_layers) - 1)]
        for cells in (self.cells, *([self.ahead] if forecaster else [])):
            cells.extend(ConvLSTM(n_in, channels, odd("size", size)) for n_in in widths)
        up = doubling(n_levels)
        self.decoder = nn.ModuleList(
            StridedLayer(width if k else channels, width, stride, norm) for k, stride in enumerate(up)
        )
        self.joined = StridedLayer(width, width, 1, norm)
        self.head = nn.Conv2d(width, config.n_state, 1)
        start_at_zero(self.head)
        if norm is None:
            self._keep_strength()
        self.halo = None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _keep_strength(self) -> None:
        """Let what was read reach the last layer, which could not learn from it otherwise."""
        for k, layer in enumerate([*self.encoder, *self.decoder, self.joined]):
            assert isinstance(layer, StridedLayer)
            layer.keep_strength(STATES if k == len(self.encoder) else 1.0)
        for cells in (self.cells, self.ahead):
            for k, cell in enumerate(cells):
                assert isinstance(cell, ConvLSTM)
                gain = STATES if k else 1.0
                nn.init.normal_(cell.input.weight, std=gain * cell.input.weight[0].numel() ** -0.5)

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Halve a frame; its first features are kept aside."""
        maps = []
        for layer in self.encoder:
            x = layer(x)
            maps.append(x)
        return [maps[0], maps[-1]]

    def decode(self, hidden: torch.Tensor, aside: list[torch.Tensor]) -> torch.Tensor:
        """Give a frame from the state of the last layer and what was kept aside."""
        for layer in self.decoder:
            hidden = layer(hidden)
        out: torch.Tensor = self.head(self.joined(hidden + aside[0]))
        return out
