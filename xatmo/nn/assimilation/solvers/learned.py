"""Solvers that learn how to step from gradients alone: a ConvLSTM, and a CNN."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.assimilation.priors.base import convolution
from xatmo.nn.assimilation.solvers.base import Memory, Moment, Solver, StepSizes
from xatmo.nn.blocks import start_at_zero


class ConvLSTMSolver(Solver):
    r"""A long short-term memory of gradients.

    .. math::
        x \leftarrow x - \frac{W * \mathrm{LSTM}(g / s)}{k + 1} - a_k \frac{k + 1}{K}\, g

    with the gradient :math:`g`, its scale :math:`s`, step :math:`k = 0 .. K - 1`. The learned part rules the first
    steps, the gradient the last ones.

    Parameters
    ----------
    channels : int
        Of state times frames.
    width : int
    n_steps : int
    step_size : float
    learn : bool
    dropout : float
    padding : {"reflect", "zeros"}

    Notes
    -----
    Fablet et al. 2021, JAMES 13, e2021MS002572.
    """

    halo = 2

    def __init__(
        self, channels: int, width: int, n_steps: int, step_size: float, *, learn: bool = True, dropout: float = 0.0,
        padding: str = "reflect",
    ) -> None:  # fmt: skip
        super().__init__()
        self.gates = convolution(channels + width, 4 * width, 3, padding)
        self.last = convolution(width, channels, 3, padding, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.sizes = StepSizes(n_steps, step_size, learn=learn)
        self.width = width

    def forward(self, moment: Moment, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Give the change; the memory is hidden and cell state ``(batch, width, lat, lon)``."""
        g = self.dropout((moment.gradient / moment.scale).flatten(1, 2))
        if memory:
            hidden, cell = memory
            i, f, o, c = self.gates(torch.cat([g, hidden], dim=1)).chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(c)
        else:  # nothing is remembered yet, so that its part of the gates has nothing to add
            weight = self.gates.weight[:, : g.shape[1]]
            i, f, o, c = self.gates._conv_forward(g, weight, self.gates.bias).chunk(4, dim=1)
            cell = torch.sigmoid(i) * torch.tanh(c)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        learned = torch.unflatten(self.last(hidden), 1, moment.x.shape[1:3]) / (moment.step + 1)
        part = (moment.step + 1) / moment.n_steps
        return -learned - part * self.sizes(moment.step) * moment.gradient, (hidden, cell)


class CNNSolver(Solver):
    r"""Three convolutions of this gradient and the last one.

    .. math::
        x \leftarrow x - a_k\, L \arctan\left(\frac{g / s + N(g / s,\ g_{-1} / s)}{L}\right), \qquad L = 5

    so that no step is wild.

    Parameters
    ----------
    channels : int
        Of state times frames.
    n_steps : int
    step_size : float
    learn : bool
    dropout : float
    padding : {"reflect", "zeros"}

    Notes
    -----
    After Fablet et al. 2020 (DinAE, gradient-based CNN solver).
    """

    halo = 3

    def __init__(
        self, channels: int, n_steps: int, step_size: float, *, learn: bool = True, dropout: float = 0.0,
        padding: str = "reflect",
    ) -> None:  # fmt: skip
        super().__init__()
        widths = (2 * channels, 8 * channels, 16 * channels)
        self.layers = nn.Sequential(
            convolution(widths[0], widths[1], 3, padding), nn.ReLU(), convolution(widths[1], widths[2], 3, padding),
            nn.ReLU(), convolution(widths[2], channels, 3, padding),
        )  # fmt: skip
        start_at_zero(self.layers[-1])
        self.dropout = nn.Dropout(dropout)
        self.sizes = StepSizes(n_steps, step_size, learn=learn)

    def forward(self, moment: Moment, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Give the change; the memory is the last gradient."""
        g = (moment.gradient / moment.scale).flatten(1, 2)
        (before,) = memory or (torch.zeros_like(g),)
        made = g + self.layers(self.dropout(torch.cat([g, before], dim=1)))
        change = 5 * torch.atan(made / 5)
        return -self.sizes(moment.step) * torch.unflatten(change, 1, moment.x.shape[1:3]), (g,)
