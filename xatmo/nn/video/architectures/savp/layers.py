"""Layers of the recurrent generator: instance normalization, a normalized memory, steps down and up in resolution."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WEIGHT_STD = 0.02
"""Of initial weights, drawn from a normal distribution cut off at two deviations."""

LATENT_STD = 1.0
"""Of those of latent variables: what follows is small at first, and draws differ from the start."""


def start(module: nn.Module) -> None:
    """Give convolutions and dense layers their first weights, and biases of zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=WEIGHT_STD, a=-2 * WEIGHT_STD, b=2 * WEIGHT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if isinstance(layer, Modulated):
            nn.init.normal_(layer.latent.weight, std=LATENT_STD)


class InstanceNorm(nn.Module):
    """Normalization of each map of each sample over its cells, with a scale and a shift by channel.

    Ulyanov et al. 2016, arXiv:1607.08022.

    Parameters
    ----------
    channels : int

    Examples
    --------
    >>> y = InstanceNorm(2)(torch.randn(3, 2, 8, 9) * 5 + 1)
    >>> bool(y.mean((-2, -1)).abs().max() < 1e-5), bool((y.std((-2, -1)) - 1).abs().max() < 0.01)
    (True, True)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels, channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape; more than one cell."""
        y: torch.Tensor = self.norm(x)
        return y


class Modulated(nn.Module):
    r"""Instance normalization whose scale and shift depend on the latent variables z.

    .. math::
        y = (1 + \gamma(z))\, N(x) + \beta(z)

    Latent variables that were laid over all cells before a convolution would be taken off again by the normalization
    after it, as every constant is, but for the cells near the edges.

    Parameters
    ----------
    channels, n_latent : int

    Examples
    --------
    >>> Modulated(4, 2)(torch.randn(1, 4, 6, 7), torch.ones(1, 2)).shape
    torch.Size([1, 4, 6, 7])
    """

    def __init__(self, channels: int, n_latent: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels)
        self.latent = nn.Linear(n_latent, 2 * channels, bias=False)

    def forward(self, x: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` and ``(batch, n_latent)`` -> ``(batch, channels, lat, lon)``."""
        scale, shift = self.latent(latent).chunk(2, dim=1)
        inner = self.norm.norm
        weight, bias = inner.weight * (1 + scale), inner.bias * (1 + scale) + shift
        # Each map of each sample is a group of its own, so that one call normalizes, scales and shifts them all.
        maps = x.reshape(1, -1, *x.shape[-2:])
        y = functional.group_norm(maps, maps.shape[1], weight.flatten(), bias.flatten(), inner.eps)
        return y.reshape(x.shape)


State = tuple[torch.Tensor, torch.Tensor]


class NormedConvLSTM(nn.Module):
    r"""A convolutional memory, whose gates and cell are normalized.

    .. math::
        (i, g, f, o) &= W * [x, h] \\
        c' &= N(\sigma(M(f) + 1)\, c + \sigma(M(i)) \tanh(M(g))), \qquad h' = \sigma(M(o)) \tanh(c')

    with instance normalizations :math:`N` and `Modulated` ones :math:`M`, each with weights of its own.

    Parameters
    ----------
    channels, n_latent, size : int

    Examples
    --------
    >>> y, state = NormedConvLSTM(4, 2)(torch.randn(1, 4, 6, 7), torch.zeros(1, 2), None)
    >>> y.shape
    torch.Size([1, 4, 6, 7])
    """

    def __init__(self, channels: int, n_latent: int, size: int = 5) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(2 * channels, 4 * channels, size, padding=size // 2)
        self.norm = Modulated(4 * channels, n_latent)
        self.cell_norm = InstanceNorm(channels)

    def forward(self, x: torch.Tensor, latent: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        """One frame ``(batch, channels, lat, lon)``; without state it is zero."""
        if state is None:
            state = (torch.zeros_like(x), torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32)))
        hidden, cell = state
        gates = self.gates(torch.cat([x, hidden.to(x.dtype)], dim=1))
        i, g, f, o = self.norm(gates, latent).chunk(4, dim=1)
        cell = self.cell_norm(cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(g))
        hidden = torch.tanh(cell) * torch.sigmoid(o)
        return hidden, (hidden, cell)


class Level(nn.Module):
    """One step down or up in resolution: convolution, normalization, activation and, on request, a memory.

    Parameters
    ----------
    n_in, channels, size, n_latent : int
    recurrent : bool
    up : bool
        Twice as many cells along each axis, by bilinear interpolation before the convolution; otherwise half as many,
        by means after it.

    Examples
    --------
    >>> down = Level(3, 4, 5, 2, recurrent=True, up=False)
    >>> down(torch.ones(1, 3, 8, 8), torch.zeros(1, 2), None)[0].shape
    torch.Size([1, 4, 4, 4])
    """

    def __init__(self, n_in: int, channels: int, size: int, n_latent: int, *, recurrent: bool, up: bool) -> None:
        super().__init__()
        self.up = up
        self.convolution = nn.Conv2d(n_in, channels, size, padding=size // 2)
        self.norm = Modulated(channels, n_latent)
        self.memory = NormedConvLSTM(channels, n_latent) if recurrent else None

    def forward(self, x: torch.Tensor, latent: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State | None]:
        """``(batch, n_in, lat, lon)`` -> ``(batch, channels, lat / 2 or lat * 2, ...)``, and the memory's state."""
        if self.up:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = self.convolution(x)
        x = torch.relu(self.norm(x if self.up else functional.avg_pool2d(x, 2), latent))
        return (x, None) if self.memory is None else self.memory(x, latent, state)


def head(n_in: int, channels: int, n_out: int) -> nn.Sequential:
    """Two convolutions, the first normalized: what is read off the last features."""
    return nn.Sequential(
        nn.Conv2d(n_in, channels, 3, padding=1), InstanceNorm(channels), nn.ReLU(),
        nn.Conv2d(channels, n_out, 3, padding=1),
    )  # fmt: skip


class Change(nn.Module):
    """What is added to a frame: two convolutions, the latent variables after the normalization of the first.

    Parameters
    ----------
    n_in, n_latent, n_out : int

    Examples
    --------
    >>> Change(4, 2, 1)(torch.randn(3, 4, 6, 7), torch.ones(3, 2)).shape
    torch.Size([3, 1, 6, 7])
    """

    def __init__(self, n_in: int, n_latent: int, n_out: int) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(n_in, n, 3, padding=1) for n in (n_in, n_out))
        self.norm = Modulated(n_in, n_latent)

    def forward(self, x: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """``(batch, n_in, lat, lon)`` and ``(batch, n_latent)`` -> ``(batch, n_out, lat, lon)``."""
        y: torch.Tensor = self.last(torch.relu(self.norm(self.first(x), latent)))
        return y
