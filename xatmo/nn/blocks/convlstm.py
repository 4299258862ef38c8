"""Convolutional long short-term memory: a state map that each frame of a sequence updates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from xatmo.nn.blocks.style import LayerStyle


class Memory(NamedTuple):
    """What a `ConvLSTM` keeps from frame to frame: two maps ``(batch, channels, lat, lon)``."""

    hidden: torch.Tensor
    cell: torch.Tensor


class ConvLSTM(nn.Module):
    r"""One layer over a sequence of maps.

    .. math::
        (i, f, o, g) &= W_x * x_t + W_h * h_{t-1} + b \\
        c_t &= \sigma(f)\, c_{t-1} + \sigma(i) \tanh(g), \qquad h_t = \sigma(o) \tanh(c_t)

    Shi et al. 2015, arXiv:1506.04214, without peepholes. The state starts at zero, the bias of :math:`f` at 1
    (Jozefowicz et al. 2015), so that memory is kept until learned otherwise.

    Parameters
    ----------
    n_in, channels : int
        Channels of the frames and of the state.
    size : int
        Odd width of both kernels.
    squashed : bool
        Whether a sigmoid precedes the non-linearities of the gates, and 1 is added to :math:`f` after it, as in the
        ConvLSTM of AMBS: then :math:`0.73 < \sigma(f) < 0.88`, and the state is never negative.

    Notes
    -----
    ``halo`` is for the frame itself; each further frame of the past adds ``state_halo`` cells. Sequences lie time
    first, ``(time, batch, ...)``, so that the convolution of all frames is one call and each frame is contiguous.
    The cell state stays in float32 under autocast.

    Examples
    --------
    >>> ConvLSTM(2, 4, 3)(torch.ones(5, 1, 2, 6, 7)).shape
    torch.Size([5, 1, 4, 6, 7])
    """

    def __init__(self, n_in: int, channels: int, size: int = 3, *, squashed: bool = False) -> None:
        super().__init__()
        self.channels, self.squashed = channels, squashed
        self.halo = self.state_halo = size // 2
        self.input = nn.Conv2d(n_in, 4 * channels, size, padding=size // 2)
        self.state = nn.Conv2d(channels, 4 * channels, size, padding=size // 2, bias=False)
        if self.input.bias is not None:
            nn.init.zeros_(self.input.bias)
            if not squashed:
                nn.init.ones_(self.input.bias.data[channels : 2 * channels])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(time, batch, n_in, lat, lon)`` -> ``(time, batch, channels, lat, lon)``."""
        return self.read(x)[0]

    def read(self, x: torch.Tensor, memory: Memory | None = None) -> tuple[torch.Tensor, Memory]:
        """Read frames ``(time, batch, n_in, lat, lon)``: the states after each, and what to go on from."""
        out = []
        for frame in self.input(x.flatten(0, 1)).split(x.shape[1]):
            memory = self.remember(frame, memory)
            out.append(memory.hidden)
        assert memory is not None  # there is a frame at least
        # Joined as maps, not stacked as sequences: that keeps channels last in memory.
        return torch.unflatten(torch.cat(out), 0, x.shape[:2]), memory

    def step(self, x: torch.Tensor, memory: Memory | None = None) -> Memory:
        """Read one frame ``(batch, n_in, lat, lon)``, where the next one is not known yet."""
        return self.remember(self.input(x), memory)

    def remember(self, gates: torch.Tensor, memory: Memory | None) -> Memory:
        """Read the convolution of a frame, ``(batch, 4 * channels, lat, lon)``; without memory the state is zero."""
        gates = gates if memory is None else gates + self.state(memory.hidden)
        i, f, o, g = (torch.sigmoid(gates) if self.squashed else gates).chunk(4, dim=1)
        wide = torch.promote_types(gates.dtype, torch.float32)
        cell = torch.sigmoid(i).to(wide) * torch.tanh(g)
        if memory is not None:
            cell = torch.sigmoid(f + 1 if self.squashed else f) * memory.cell + cell
        return Memory(torch.sigmoid(o) * torch.tanh(cell).to(o.dtype), cell)


class RecurrentBlock(nn.Module):
    """Two `ConvLSTM`, 5 x 5 and 3 x 3, each with normalization and activation; sequences in and out.

    Parameters
    ----------
    n_in, channels : int
        Channels in and out.
    style : LayerStyle
        Its separable convolutions do not reach into the cells.

    Examples
    --------
    >>> RecurrentBlock(2, 4)(torch.ones(3, 1, 2, 6, 7)).shape
    torch.Size([3, 1, 4, 6, 7])
    """

    state_halo = 2

    def __init__(self, n_in: int, channels: int, style: LayerStyle | None = None) -> None:
        super().__init__()
        style = LayerStyle() if style is None else style
        self.halo = 3 + style.attention_halo
        self.first, self.second = ConvLSTM(n_in, channels, 5), ConvLSTM(channels, channels, 3)
        self.first_norm, self.second_norm = style.make_norm(channels), style.make_norm(channels)
        self.activation, self.dropout = style.make_activation(), style.make_dropout()
        self.attention = style.make_attention(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(time, batch, n_in, lat, lon)`` -> ``(time, batch, channels, lat, lon)``."""
        shape = x.shape[:2]
        y = self.activation(self.first_norm(self.first(x).flatten(0, 1)))
        y = self.second(torch.unflatten(self.dropout(y), 0, shape)).flatten(0, 1)
        y = self.attention(self.activation(self.second_norm(y)))
        return torch.unflatten(y, 0, shape)
