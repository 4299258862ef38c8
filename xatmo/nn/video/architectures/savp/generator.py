"""One step of the recurrent generator: from a frame to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.video.architectures.savp import transforms
from xatmo.nn.video.architectures.savp.layers import Change, Level, State, head

Levels = tuple[tuple[int, bool], ...]

# Of the logits of masks: forecasts begin near the last frame, and a change of it has a gradient from the start.
_STARTS = {"first": -2.0, "scratch": -2.0, "changed": 2.0}


class Memory(NamedTuple):
    """What a step leaves for the next one.

    Attributes
    ----------
    levels : tuple
        State of each level with a memory; None elsewhere.
    latent : (Tensor, Tensor), optional
        State of the memory of the latent variables.
    """

    levels: tuple[State | None, ...]
    latent: State | None


def default_levels(channels: int, smallest: int) -> tuple[Levels, Levels]:
    """Widths of encoder and decoder, and whether there is a memory, for grids with so many cells along one axis.

    Examples
    --------
    >>> default_levels(32, 56)
    (((32, True), (64, True)), ((32, True), (32, False)))
    >>> [len(default_levels(32, n)[0]) for n in (16, 64, 128, 256)]
    [2, 3, 4, 5]
    """
    c = channels
    if smallest < 64:
        return ((c, True), (2 * c, True)), ((c, True), (c, False))
    if smallest < 128:
        return ((c, True), (2 * c, True), (4 * c, True)), ((2 * c, True), (c, True), (c, False))
    encoder: Levels = ((c, False), (2 * c, True), (4 * c, True), (8 * c, True))
    decoder: Levels = ((8 * c, True), (4 * c, True), (2 * c, False), (c, False))
    if smallest < 256:
        return encoder, decoder
    return (*encoder, (8 * c, True)), ((8 * c, True), *decoder)


class Generator(nn.Module):
    r"""Make the next frame as a weighted mean of candidates.

    .. math::
        x_{t+1} = \sum_k m_k\, \tilde x_k, \qquad m = \mathrm{softmax}(\mathrm{conv}[\phi, \tilde x])

    The candidates :math:`\tilde x_k` are the last frame moved by several transforms, the last frame, the first one, a
    frame made from scratch and, on request, a simple forecast and the last frame with a change; :math:`\phi` are
    features of all frames so far and of the latent variables. Lee et al. 2018, *Stochastic Adversarial Video
    Prediction*, arXiv:1804.01523.

    Parameters
    ----------
    n_state : int
        Channels of a frame.
    n_beside : int
        Channels of what comes beside it.
    n_latent : int
    encoder, decoder : sequence of (int, bool)
        Width of each level, and whether it has a memory.
    transform : {"cdna", "dna", "flow"}
    n_transforms, kernel_size : int
    scratch : {"linear", "sigmoid"}
        Sigmoid: fields lie between 0 and 1.
    reference : bool
        Whether a simple forecast is a candidate.
    change : bool
        Whether the last frame with something added is a candidate. Moved frames have no value that the last one had
        not, and warm or cool nowhere.
    grid : (int, int), optional
        Makes the kernels of ``"cdna"`` belong to fields of this size.
    """

    def __init__(
        self,
        n_state: int,
        n_beside: int,
        n_latent: int,
        *,
        encoder: Sequence[Sequence[int]],
        decoder: Sequence[Sequence[int]],
        transform: str = "cdna",
        n_transforms: int = 4,
        kernel_size: int = 5,
        scratch: str = "linear",
        reference: bool = True,
        change: bool = False,
        grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(encoder) != len(decoder) or not encoder:
            message = f"an encoder of {len(encoder)} levels and a decoder of {len(decoder)}; wanted as many, at least 1"
            raise OptionError(message)
        if scratch not in ("linear", "sigmoid"):
            message = f"scratch={scratch!r}; wanted one of ['linear', 'sigmoid']"
            raise OptionError(message)
        self.scratch_kind, self.reference = scratch, reference
        down, width = [], 2 * n_state + n_beside
        for k, (channels, recurrent) in enumerate(encoder):
            down.append(Level(width, channels, 3 if k else 5, n_latent, recurrent=bool(recurrent), up=False))
            width = channels
        up = []
        for k, (channels, recurrent) in enumerate(decoder):
            width += encoder[-1 - k][0] if k else 0
            up.append(Level(width, channels, 3, n_latent, recurrent=bool(recurrent), up=True))
            width = channels
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.n_remembering = max((k + 1 for k, (_, recurrent) in enumerate(decoder) if recurrent), default=0)
        deep_grid = None if grid is None else tuple(-(-n // 2 ** len(encoder)) for n in grid)
        self.transform = transforms.make(
            transform, encoder[-1][0], width, n_transforms, kernel_size, deep_grid=deep_grid
        )
        self.scratch = head(width, width, n_state)
        self.change = Change(width, n_latent, n_state) if change else None
        self.names = (
            *["moved"] * n_transforms, "last", "first", "scratch", *["reference"] * reference, *["changed"] * change
        )  # fmt: skip
        self.mask_features = nn.Sequential(*list(head(width, width, 1))[:3])
        self.masks = nn.Conv2d(width + len(self.names) * n_state, len(self.names), 3, padding=1)
        self.latent_memory = nn.LSTMCell(n_latent, n_latent)

    def start(self) -> None:
        """Let forecasts begin near the last frame."""
        with torch.no_grad():
            assert self.masks.bias is not None
            self.masks.bias.copy_(torch.tensor([_STARTS.get(name, 0.0) for name in self.names]))

    def forward(
        self,
        frame: torch.Tensor,
        first: torch.Tensor,
        beside: Sequence[torch.Tensor],
        reference: torch.Tensor,
        latent: torch.Tensor,
        memory: Memory | None = None,
        *,
        compose: bool = True,
    ) -> tuple[torch.Tensor | None, Memory]:
        """Make one step.

        Parameters
        ----------
        frame, first : Tensor (batch, n_state, lat, lon)
            The last frame and the first one.
        beside : sequence of Tensor (batch, n, lat, lon)
        reference : Tensor (batch, n_state, lat, lon)
            Simple forecast of the next frame.
        latent : Tensor (batch, n_latent)
        memory : Memory, optional
            None at the first step.
        compose : bool
            Whether the next frame is wanted.

        Returns
        -------
        Tensor (batch, n_state, lat, lon) or None, and Memory
        """
        n = len(self.down)
        states = (None,) * 2 * n if memory is None else memory.levels
        inner = self.latent_memory(latent, None if memory is None else memory.latent)
        z = inner[0]
        x, coarser, after = torch.cat([frame, first, *beside], dim=1), [], []
        for level, state in zip(self.down, states[:n], strict=True):
            x, state = level(x, z, state)
            coarser.append(x)
            after.append(state)
        for k, (level, state) in enumerate(zip(self.up, states[n:], strict=True)):
            if k >= self.n_remembering and not compose:
                after.append(None)  # these have nothing to remember, and their maps would go nowhere
                continue
            x, state = level(torch.cat([x, coarser[-1 - k]], dim=1) if k else x, z, state)
            after.append(state)
        made = self._compose(frame, first, reference, coarser[-1], x, z) if compose else None
        return made, Memory(tuple(after), inner)

    def _compose(
        self,
        frame: torch.Tensor,
        first: torch.Tensor,
        reference: torch.Tensor,
        deep: torch.Tensor,
        fine: torch.Tensor,
        latent: torch.Tensor,
    ) -> torch.Tensor:
        scratch = self.scratch(fine).float()
        if self.scratch_kind == "sigmoid":
            scratch = torch.sigmoid(scratch)
        moved = self.transform(frame, deep, fine)
        others = [frame, first, scratch, *[reference] * self.reference]
        if self.change is not None:
            others.append(frame + self.change(fine, latent).float())
        candidates = torch.cat([moved, torch.stack(others, dim=1)], dim=1)
        seen = torch.cat([self.mask_features(fine), candidates.flatten(1, 2).to(fine.dtype)], dim=1)
        masks = self.masks(seen).float().softmax(dim=1)
        made: torch.Tensor = (masks[:, :, None] * candidates).sum(dim=1)
        return made
