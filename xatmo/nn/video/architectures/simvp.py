"""SimVP: convolutions see space, a translator sees all frames at once, and all leads come together."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import (
    GatedBlock,
    LayerStyle,
    StridedLayer,
    doubling,
    halving,
    is_stochastic,
    make_dropout,
    start_at_zero,
    without_dropout,
)
from xatmo.nn.settings import whole
from xatmo.nn.video.base import Architecture, VideoInput
from xatmo.nn.video.conditions import conditions, n_conditions
from xatmo.nn.video.config import VideoConfig
from xatmo.nn.video.margins import enlarge, reduced

SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": 32, "hidden": 96, "n_levels": 1, "n_blocks": 3, "expansion": 2, "joint": True},
    "moving-mnist": {"channels": 64, "hidden": 512, "n_levels": 2, "n_blocks": 8, "expansion": 8, "joint": False},
}
"""Settings by name: one that learns on a few cores, and the published one for Moving MNIST (10 frames of 64 x 64)."""


class SimVP(Architecture):
    r"""Encoder, translator of gated attention, decoder with a skip.

    .. math::
        e_t = \mathrm{enc}(x_t), \quad z = \mathrm{gSTA}(e_1 \dots e_n), \quad
        y_k = r_k + \mathrm{dec}(z_k + \mathrm{skip}_k)

    Encoder and decoder work on each frame alone and share their weights over the frames, as published, or, ``joint``,
    on all frames as channels, at a fraction of the cost. Fields known beforehand enter the encoder beside the frames;
    those of the future the translator too, as means over its cells. The last convolution starts at zero: an untrained
    network gives the reference r.

    Parameters
    ----------
    config : VideoConfig
    preset : {"small", "moving-mnist"}
        See `SIZES`; what is given beside goes before.
    channels, hidden : int
        Of encoder and decoder (of each frame, or of all), and of the translator.
    n_levels : int
        How often the maps are halved.
    n_blocks : int
        `xatmo.nn.blocks.GatedBlock` of the translator.
    expansion : int
        See there.
    joint : bool
        Whether all frames pass encoder and decoder together.
    norm : {"layer", "batch", None}
    dropout : float
        Share of the values in the translator, and of whole maps of features before the last two layers, the same of all
        leads, that are dropped.
    drop_path : float
        Rate in the translator.
    mc_dropout : bool
        Whether dropout goes on in forecasts, which then have members. That of whole maps makes nearly all of their
        spread: blocks of the translator begin as corrections of one part in a hundred. A score of members as a loss
        (``"crps"``) teaches how far to spread; a squared error, to spread as little as can be.
    wrap : int
        Columns of the other end that are laid at each end, where longitudes go around.
    origin : {"map", "cell", "none"}
        What the past is shown relative to, where the reference goes on: `xatmo.nn.video.references.origin`.
    read_cycle : bool
        Whether the cycle is an input too. From days of data it is a name of places and hours, to learn them by heart.

    Raises
    ------
    OptionError
        If a setting has no usable value.

    Notes
    -----
    Tan et al. 2022, arXiv:2211.12509, with normalization of the channels of each cell instead of groups and batches:
    small batches and single maps then give the same. A skip of future frames is a mixture of the past ones, which
    starts as the last one.

    Examples
    --------
    >>> config = VideoConfig("simvp", n_context=4, n_future=3)
    >>> SimVP(config)(VideoInput(torch.randn(2, 1, 4, 9, 11)), torch.zeros(2, 1, 3, 9, 11)).shape
    torch.Size([2, 1, 3, 9, 11])
    """

    def __init__(
        self,
        config: VideoConfig,
        *,
        preset: str = "small",
        channels: int | None = None,
        hidden: int | None = None,
        n_levels: int | None = None,
        n_blocks: int | None = None,
        expansion: int | None = None,
        joint: bool | None = None,
        norm: str | None = "layer",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        mc_dropout: bool = False,
        wrap: int = 0,
        origin: str = "map",
        read_cycle: bool = True,
    ) -> None:
        super().__init__(config)
        self.be_shown(origin, read_cycle=read_cycle)
        if preset not in SIZES:
            message = f"preset={preset!r}; wanted one of {sorted(SIZES)}"
            raise OptionError(message)
        given = {
            "channels": channels, "hidden": hidden, "n_levels": n_levels, "n_blocks": n_blocks, "expansion": expansion,
            "joint": joint,
        }  # fmt: skip
        chosen = SIZES[preset] | {name: value for name, value in given.items() if value is not None}
        sizes = {n: whole(n, v, 0 if n == "n_levels" else 1) for n, v in chosen.items() if n != "joint"}
        width, self.joint, self.wrap = sizes["channels"], bool(chosen["joint"]), whole("wrap", wrap, 0)
        self.factor: int = 2 ** sizes["n_levels"]
        style = LayerStyle(norm=norm, dropout=dropout, mc_dropout=mc_dropout)
        n_moving, n_fixed = n_conditions(config, cycle=read_cycle)
        both, n_context, n_future = config.n_context + config.n_future, config.n_context, config.n_future
        if self.joint:
            n_in, n_out, seen, made = config.n_state * n_context + n_moving * both + n_fixed, n_future, 1, 1
        else:
            n_in, n_out, seen, made = config.n_state + n_moving + n_fixed, 1, n_context, n_future
        self.encoder = nn.ModuleList(
            StridedLayer(n_in if k == 0 else width, width, stride, norm)
            for k, stride in enumerate(halving(sizes["n_levels"]))
        )
        wide = [width * seen + n_moving * n_future, *[sizes["hidden"]] * (sizes["n_blocks"] - 1), width * made]
        self.translator = nn.Sequential(
            *(
                GatedBlock(a, b, sizes["expansion"], style, drop_path * k / max(1, sizes["n_blocks"] - 1))
                for k, (a, b) in enumerate(itertools.pairwise(wide))
            )
        )
        self.n_maps = made
        self.skip: nn.Parameter | None = None
        if not self.joint:
            self.skip = nn.Parameter(torch.zeros(made, seen))
            nn.init.ones_(self.skip.data[:, -1])
        self.dropout = make_dropout("spatial", dropout, mc=mc_dropout)
        self.decoder = nn.ModuleList(StridedLayer(width, width, k, norm) for k in doubling(sizes["n_levels"]))
        self.head = nn.Conv2d(width, config.n_out * n_out, 1)
        start_at_zero(self.head)
        self.stochastic = is_stochastic(self)

    def forward(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        *,
        truth: torch.Tensor | None = None,
        truth_probability: float = 0.0,
        mean: bool = False,
    ) -> torch.Tensor:
        """See `xatmo.nn.video.Architecture.forward`; all leads come at once, and no truth is read.

        Raises
        ------
        DimensionError
            If the context has another length, or more frames are wanted, than those it was made for.
        """
        n_context, n_future = x.frames.shape[2], reference.shape[2]
        if n_context != self.config.n_context or n_future > self.config.n_future:
            message = (
                f"{n_context} frames of context and {n_future} of the future; this network was made for "
                f"{self.config.n_context} and at most {self.config.n_future}. Train one for these, or a recurrent one"
            )
            raise DimensionError(message)
        with without_dropout() if mean else nullcontext():
            made = self._made(x)
        return reference[:, : self.config.n_out] + made[:, :, :n_future]

    def _made(self, x: VideoInput) -> torch.Tensor:
        batch, _, n_context, lat, lon = x.frames.shape
        n_future = self.config.n_future
        moving, fixed = conditions(x, n_context + n_future)
        if self.joint:
            y = torch.cat([x.frames.flatten(1, 2), moving.flatten(1, 2), fixed], 1)
        else:
            still = fixed.unsqueeze(2).expand(-1, -1, n_context, -1, -1)
            y = torch.cat([x.frames, moving[:, :, :n_context], still], 1).transpose(1, 2).flatten(0, 1)
        y = enlarge(y, self.factor, self.wrap)
        kept: torch.Tensor | None = None
        for layer in self.encoder:
            y = layer(y)
            kept = y if kept is None else kept
        assert kept is not None  # there is one layer at least
        z = y.reshape(batch, -1, *y.shape[2:])
        if moving.shape[1]:
            ahead = enlarge(moving[:, :, n_context:].flatten(1, 2), self.factor, self.wrap)
            z = torch.cat([z, nn.functional.avg_pool2d(ahead, self.factor).to(z.dtype)], 1)
        z = self.translator(z)
        z = z.reshape(batch * self.n_maps, -1, *z.shape[2:])
        for layer in self.decoder[:-1]:
            z = layer(z)
        if self.skip is not None:
            past = torch.unflatten(kept, 0, (batch, -1))
            kept = torch.einsum("kt,btchw->bkchw", self.skip.to(kept.dtype), past).flatten(0, 1)
        z = self.head(self.decoder[-1](self._dropped(z + kept)))
        z = reduced(z, lat, lon, self.wrap)
        if self.joint:
            return torch.unflatten(z, 1, (self.config.n_out, n_future))
        return torch.unflatten(z, 0, (batch, n_future)).transpose(1, 2)

    def _dropped(self, z: torch.Tensor) -> torch.Tensor:
        """Drop maps, of all leads of a sample the same."""
        together = torch.unflatten(z, 0, (-1, self.n_maps)).transpose(1, 2).flatten(2, 3)
        dropped = torch.unflatten(self.dropout(together), 2, (self.n_maps, -1))
        return dropped.transpose(1, 2).flatten(0, 1)
