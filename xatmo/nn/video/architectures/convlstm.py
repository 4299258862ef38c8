"""Convolutional LSTM that reads a record frame by frame, and goes on from what it gave."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.blocks import ConvLSTM, Memory, is_stochastic, make_dropout, start_at_zero, without_dropout
from xatmo.nn.settings import odd, whole
from xatmo.nn.video.base import Architecture, VideoInput
from xatmo.nn.video.conditions import conditions, n_conditions
from xatmo.nn.video.config import VideoConfig
from xatmo.nn.video.margins import enlarge, reduced
from xatmo.nn.video.references import GOES_ON


class Recurrent(Architecture):
    r"""Base of recurrent networks: layers of `xatmo.nn.blocks.ConvLSTM` between an encoder and a decoder of frames.

    The context is read as it is. From the initial time on, with the reference :math:`r`, what is known beforehand
    :math:`k`, and what does not change :math:`s`,

    .. math::
        h_t &= \mathrm{cells}(\mathrm{encode}(x_t, k_{t+1}, s), h_{t-1}) \\
        x_{t+1} &= x_t + (r_{t+1} - r_t) + \mathrm{decode}(h_t)

    where the reference goes on from the past: a network then corrects what goes wrong in one step, which is little.
    The first step starts from the reference itself, and so does every step where it does not go on
    (``"climatology"``, ``"none"``): :math:`x_{t+1} = r_{t+1} + \mathrm{decode}(h_t)`. The last layer of the decoder
    starts at zero: an untrained network gives the reference. Cells of the future are those of the past, or others,
    ``ahead``, that take over their memory. Where the reference goes on, all is relative to an origin
    (`xatmo.nn.video.references.origin`), so that a shift of the whole past shifts the forecast.

    In training, each sample of each frame is the truth instead of :math:`x_t` with a given probability (scheduled
    sampling, Bengio et al. 2015, arXiv:1506.03099).
    """

    whole_state = True
    any_length = True

    def __init__(
        self, config: VideoConfig, dropout: float, *, mc_dropout: bool, wrap: int, origin: str, read_cycle: bool
    ) -> None:
        super().__init__(config)
        self.be_shown(origin, read_cycle=read_cycle)
        self.n_in = config.n_state + sum(n_conditions(config, cycle=read_cycle))
        self.cells, self.ahead = nn.ModuleList(), nn.ModuleList()
        self.dropout = make_dropout("spatial", dropout, mc=mc_dropout)
        self.stochastic = is_stochastic(self.dropout)
        self.factor, self.wrap = 1, wrap
        self.stepwise = config.baseline in GOES_ON

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Give maps of a frame ``(batch, n_in, lat, lon)``: last what the cells read, before it what is kept aside."""
        raise NotImplementedError

    def decode(self, hidden: torch.Tensor, aside: list[torch.Tensor]) -> torch.Tensor:
        """Give a frame ``(batch, n_state, lat, lon)``."""
        raise NotImplementedError

    def next(self, reference: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """Give the next frame of reference and decoded frame."""
        return reference + made

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
        with without_dropout() if mean else nullcontext():
            return self._roll(x, reference, truth, truth_probability)

    def _roll(
        self, x: VideoInput, reference: torch.Tensor, truth: torch.Tensor | None, probability: float
    ) -> torch.Tensor:
        batch, _, n_context, lat, lon = x.frames.shape
        n_future = reference.shape[2]
        moving, fixed = conditions(x, n_context + n_future, self.config.n_context + self.config.n_future)
        seen = torch.cat([x.frames, moving[:, :, 1 : n_context + 1], _at_all(fixed, n_context)], 1)
        maps = self.encode(enlarge(seen.transpose(1, 2).flatten(0, 1), self.factor, self.wrap))
        hidden = torch.unflatten(maps[-1], 0, (batch, n_context)).transpose(0, 1)
        memories: list[Memory] = []
        for cell in self.cells:
            assert isinstance(cell, ConvLSTM)
            hidden, memory = cell.read(hidden)
            memories.append(memory)
        aside = [torch.unflatten(m, 0, (batch, n_context))[:, -1] for m in maps[:-1]]
        out: list[torch.Tensor] = []
        for k in range(n_future):
            base = reference[:, :, k]
            if k:
                frame = self._given(out[-1], truth, k - 1, probability)
                if self.stepwise:
                    base = frame + base - reference[:, :, k - 1]
                given = torch.cat([frame, moving[:, :, n_context + k], fixed], 1)
                *aside, top = self.encode(enlarge(given, self.factor, self.wrap))
                for which, cell in enumerate(self.ahead or self.cells):
                    assert isinstance(cell, ConvLSTM)
                    memories[which] = cell.step(top, memories[which])
                    top = memories[which].hidden
            made = self.decode(self.dropout(memories[-1].hidden), aside)
            out.append(self.next(base, reduced(made, lat, lon, self.wrap)))
        return torch.stack(out, dim=2)

    @staticmethod
    def _given(own: torch.Tensor, truth: torch.Tensor | None, k: int, probability: float) -> torch.Tensor:
        if truth is None or probability <= 0:
            return own
        chosen = torch.rand(len(own), 1, 1, 1, device=own.device) < probability
        return torch.where(chosen, truth[:, :, k].to(own.dtype), own)


class ConvLSTMForecaster(Recurrent):
    """One or more layers of the width of AMBS's, and a convolution of 1 x 1 back to the state.

    Parameters
    ----------
    config : VideoConfig
    channels : int
        Of the state of a layer.
    size : int
        Odd width of the kernels.
    n_layers : int
    factor : int
        Cells read squares of so many cells a side, as channels (space to depth): a 5 x 5 kernel then costs
        ``factor**2`` times less, and reaches ``factor`` times further.
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
    compat : {None, "ambs"}
        ``"ambs"``: the network of AMBS as it runs, on data between 0 and 1 without baseline, cycle or further fields:
        a sigmoid before the gates, see `xatmo.nn.blocks.ConvLSTM`, and one at the end.

    Raises
    ------
    OptionError
        If a setting has no usable value.

    Notes
    -----
    A ConvLSTM of Shi et al. 2015, arXiv:1506.04214. AMBS (Gong et al. 2022, doi:10.5194/gmd-15-8931-2022) has 64
    channels, 5 x 5: 429,251 weights with three variables.

    Examples
    --------
    >>> network = ConvLSTMForecaster(VideoConfig("convlstm", n_out=1, n_state=3), compat="ambs")
    >>> sum(p.numel() for p in network.parameters())
    429251
    """

    def __init__(
        self,
        config: VideoConfig,
        *,
        channels: int = 64,
        size: int = 5,
        n_layers: int = 1,
        factor: int = 1,
        dropout: float = 0.0,
        mc_dropout: bool = False,
        wrap: int = 0,
        origin: str = "map",
        read_cycle: bool = True,
        compat: Literal["ambs"] | None = None,
    ) -> None:
        super().__init__(
            config, dropout, mc_dropout=mc_dropout, wrap=whole("wrap", wrap, 0), origin=origin, read_cycle=read_cycle
        )
        if compat not in (None, "ambs"):
            message = f"compat={compat!r}; wanted None or 'ambs'"
            raise OptionError(message)
        if compat and (config.baseline != "none" or config.cycle or config.n_known or config.n_static):
            message = (
                f"compat='ambs' with baseline={config.baseline!r}, cycle={config.cycle}, {config.n_known} known and "
                f"{config.n_static} static fields; wanted baseline 'none' and the state alone, or compat=None"
            )
            raise OptionError(message)
        self.factor, self.compat = whole("factor", factor), compat
        widths = [self.n_in * self.factor**2, *[whole("channels", channels)] * whole("n_layers", n_layers)]
        self.cells.extend(
            ConvLSTM(n_in, channels, odd("size", size), squashed=compat is not None) for n_in in widths[:-1]
        )
        self.head = nn.Conv2d(channels, config.n_state * self.factor**2, 1)
        if compat is None:
            start_at_zero(self.head)
        # Squares of cells lie where the window begins, and a mean is that of the window: then no halo makes two agree.
        steps = config.n_context - 1 + n_layers * config.n_future
        self.halo = size // 2 * steps if self.factor == 1 and self.origin != "map" else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Lay squares of cells along the channels."""
        return [nn.functional.pixel_unshuffle(x, self.factor)]

    def decode(self, hidden: torch.Tensor, aside: list[torch.Tensor]) -> torch.Tensor:
        """Give a frame from the state of the last layer."""
        return nn.functional.pixel_shuffle(self.head(hidden), self.factor)

    def next(self, reference: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """Correct the reference; AMBS's network gives the frame itself."""
        return reference + made if self.compat is None else torch.sigmoid(made).to(reference.dtype)


def _at_all(fixed: torch.Tensor, n_frames: int) -> torch.Tensor:
    return fixed.unsqueeze(2).expand(-1, -1, n_frames, -1, -1)
