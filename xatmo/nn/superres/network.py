"""The whole network: coarse fields in, fine fields out, as a correction of the interpolated ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from xatmo.errors import DimensionError
from xatmo.nn.blocks import ChannelAttention, is_stochastic, make_activation, without_dropout
from xatmo.nn.superres import noise as noises
from xatmo.nn.superres.backbones import BACKBONES, RECURRENT_BACKBONES
from xatmo.nn.superres.compat import DL4DSNetwork
from xatmo.nn.superres.config import SuperResolutionConfig
from xatmo.nn.superres.head import FineHead
from xatmo.nn.superres.interpolation import Interpolation
from xatmo.nn.superres.upsampling import UPSAMPLINGS
from xatmo.nn.superres.upsampling.base import Upsampling
from xatmo.nn.superres.upsampling.stages import cells_across

__all__ = ["SuperResolution", "SuperResolutionConfig", "build"]


class Refinement(nn.Module):
    """Backbone, upsampling and head: maps to fine fields, without baseline.

    Parameters
    ----------
    config : SuperResolutionConfig
    """

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        style = config.style
        first = config.interpolates_first
        n_inputs = config.n_inputs + (config.n_static if first else 0)
        if config.time_window is None:
            self.backbone = BACKBONES[config.backbone](n_inputs, config.channels, config.n_blocks, style)
        else:
            self.backbone = RECURRENT_BACKBONES[config.backbone](
                n_inputs, config.channels, config.n_blocks, style, n_frames=config.time_window
            )
        make = UPSAMPLINGS[config.upsampling]
        width = config.channels
        if make is None:
            self.upsampling: nn.Module = nn.Identity()
        else:
            width = max(8, 2 * config.n_outputs) if config.fine_channels is None else config.fine_channels
            self.upsampling = make(config.channels, config.factor, width=width, activation=config.activation)
        self.head = FineHead(
            width,
            config.n_outputs,
            n_static=0 if first else config.n_static,
            shape=config.shape if config.localised else None,
            style=style,
        )
        self.first, self.recurrent = first, config.time_window is not None
        own = int(getattr(self.backbone, "halo", 0))
        if isinstance(self.upsampling, Upsampling):
            features = own + self.upsampling.reach(self.head.halo)
            self.halo = max(features, cells_across(self.head.static_halo, config.factor))
        else:
            self.halo = cells_across(own + self.head.halo, config.factor)

    def forward(self, x: torch.Tensor, n_frames: int, static: torch.Tensor | None) -> torch.Tensor:
        """Refine maps ``(frame * batch, n_inputs, lat, lon)`` with static fields ``(batch, n_static, lat, lon)``."""
        if static is not None:
            static = self.head.encode(static)
            static = static.repeat(n_frames, 1, 1, 1)
            if self.first:
                x, static = torch.cat([x, static], dim=1), None
        x = self.backbone(torch.unflatten(x, 0, (n_frames, -1))).flatten(0, 1) if self.recurrent else self.backbone(x)
        out: torch.Tensor = self.head(self.upsampling(x), static)
        return out


class SuperResolution(nn.Module):
    """``baseline(x) + refinement(x, static)``, for normalized fields of any size.

    Parameters
    ----------
    config : SuperResolutionConfig

    Attributes
    ----------
    factor : int
    halo : int
        Coarse cells at an edge that it needs for a full view.
    local : bool
        Whether nothing beyond ``halo`` counts. Only DL4DS's attention over the whole window makes it False.
    stochastic : bool
        Whether evaluation draws random numbers, from torch's default generator.
    n_static, n_noise : int
        Static fields and fields of noise that it takes.

    Raises
    ------
    DimensionError
        If tensors of another kind come than the configuration says.

    Notes
    -----
    Convolutions pad with zeros, the mean in normalized units. The caller gives ``halo`` cells more at an edge where
    there are data beyond it (as tiled inference does). Weights and activations lie channels last, which is the faster
    layout on CPU and GPU. The sum is done in float32.

    With a time window every frame of it is answered, from that frame and those before it. Maps of all frames are put
    through the layers at once, ``frame * batch`` of them.

    Examples
    --------
    An untrained network is its baseline:

    >>> net = SuperResolution(SuperResolutionConfig(factor=3, channels=8, n_blocks=1))
    >>> x = torch.randn(2, 1, 5, 7)
    >>> net(x).shape, bool(torch.equal(net(x), Interpolation(3)(x)))
    (torch.Size([2, 1, 15, 21]), True)

    With a time window and orography:

    >>> net = SuperResolution(SuperResolutionConfig(factor=2, channels=4, n_blocks=1, time_window=3, n_static=1))
    >>> net(torch.randn(2, 1, 3, 5, 7), torch.randn(2, 1, 10, 14)).shape
    torch.Size([2, 1, 3, 10, 14])

    With noise, drawn unless it is given:

    >>> net = SuperResolution(SuperResolutionConfig(factor=2, channels=4, n_blocks=1, n_noise=2))
    >>> net(x, noise=torch.randn(2, 2, 10, 14)).shape, net.stochastic
    (torch.Size([2, 1, 10, 14]), True)
    """

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        self.config = config
        self.factor, self.n_static, self.n_noise = config.factor, config.n_static, config.n_noise
        drawn = noises.n_channels(config.n_noise, config.factor, fine=config.interpolates_first)
        inner = replace(config, n_inputs=config.n_inputs + drawn, n_noise=0)
        self.refinement: nn.Module = Refinement(inner) if config.compat is None else DL4DSNetwork(inner)
        self.interpolation: Interpolation | None = None
        halo = int(self.refinement.halo)
        if config.baseline is not None or config.interpolates_first:
            self.interpolation = Interpolation(
                config.factor,
                config.baseline or "bilinear",
                row_offset=config.row_offset,
                column_offset=config.column_offset,
            )
            reach = self.interpolation.halo
            halo = halo + reach if config.interpolates_first else max(halo, reach)
        self.halo = halo
        self.output_activation = make_activation(config.output_activation)
        self.local = all(m.local for m in self.modules() if isinstance(m, ChannelAttention))
        self.stochastic = config.n_noise > 0 or is_stochastic(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def mean(self) -> Callable[..., torch.Tensor]:
        """``mean(x, static=None)``, the answer with every dropout off: only for networks that draw nothing else."""
        if self.n_noise or not self.stochastic:
            message = "a network without dropout in evaluation, or with noise, has no mean"
            raise AttributeError(message)
        return self._without_dropout

    def _without_dropout(self, x: torch.Tensor, static: torch.Tensor | None = None) -> torch.Tensor:
        with without_dropout():
            return self.forward(x, static)

    def forward(
        self, x: torch.Tensor, static: torch.Tensor | None = None, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Refine.

        Parameters
        ----------
        x : Tensor (batch, n_inputs, [time,] lat, lon)
        static : Tensor (batch, n_static, lat * factor, lon * factor), optional
            Where the network takes static fields. A batch of 1 serves every sample.
        noise : Tensor (batch, n_noise, [time,] lat * factor, lon * factor), optional
            Standard normal numbers, where the network takes noise; None: it draws its own from torch's default
            generator.

        Returns
        -------
        Tensor (batch, n_outputs, [time,] lat * factor, lon * factor)
            In float32.
        """
        self._require(x, static)
        n_frames = x.shape[2] if self.config.time_window is not None else 1
        maps = self._maps(x)
        drawn: torch.Tensor | None = None
        if self.n_noise:
            drawn = self._maps(noises.noise_like(x, self.n_noise, self.factor, noise))
        elif noise is not None:
            message = f"noise {tuple(noise.shape)} came; this network takes none: it was made with n_noise=0"
            raise DimensionError(message)
        if static is not None:
            static = static.expand(x.shape[0], *static.shape[1:]).contiguous(memory_format=torch.channels_last)
        out = self._refine(maps, n_frames, static, drawn)
        if self.config.time_window is not None:
            out = torch.unflatten(out, 0, (n_frames, -1)).movedim(0, 2)
        return out

    def _maps(self, x: torch.Tensor) -> torch.Tensor:
        """Time first: maps of one frame lie together, as a recurrence needs them."""
        maps = x.movedim(2, 0).flatten(0, 1) if self.config.time_window is not None else x
        return maps.contiguous(memory_format=torch.channels_last)

    def _refine(
        self, maps: torch.Tensor, n_frames: int, static: torch.Tensor | None, noise: torch.Tensor | None
    ) -> torch.Tensor:
        config = self.config
        sources = config.baseline_channels if config.baseline is not None else ()
        with_baseline = [i for i, c in enumerate(sources) if c >= 0]
        read = [sources[i] for i in with_baseline]
        baseline: torch.Tensor | None = None
        if config.interpolates_first and self.interpolation is not None:
            maps = self.interpolation(maps).contiguous(memory_format=torch.channels_last)
            baseline = maps[:, read]
        elif read and self.interpolation is not None:
            baseline = self.interpolation(maps[:, read])
        if noise is not None:
            noise = noise if config.interpolates_first else noises.to_coarse(noise, self.factor)
            maps = torch.cat([maps, noise], dim=1).contiguous(memory_format=torch.channels_last)
        out: torch.Tensor = self.refinement(maps, n_frames, static).float()
        if baseline is not None and with_baseline:
            if len(with_baseline) == len(sources):
                out = out + baseline
            else:
                full = torch.zeros_like(out)
                full[:, with_baseline] = baseline
                out = out + full
        activated: torch.Tensor = self.output_activation(out)
        return activated

    def _require(self, x: torch.Tensor, static: torch.Tensor | None) -> None:
        """Raise unless the tensors are of the kind that the configuration says."""
        config = self.config
        frames = "" if config.time_window is None else f", time of at most {config.time_window}"
        wanted = f"(batch, {config.n_inputs} channels{frames}, lat, lon)"
        if x.ndim != (4 if config.time_window is None else 5) or x.shape[1] != config.n_inputs:
            message = f"the network got {tuple(x.shape)}; wanted {wanted}"
            raise DimensionError(message)
        if config.time_window is not None and x.shape[2] > config.time_window:
            message = (
                f"the network got {x.shape[2]} frames; it was made for a time window of {config.time_window}, and its "
                "halo holds for no more: give shorter windows"
            )
            raise DimensionError(message)
        fine = (x.shape[-2] * config.factor, x.shape[-1] * config.factor)
        if static is None:
            if config.n_static:
                message = (
                    f"the network takes {config.n_static} static fields and got none; call it as network(x, static) "
                    f"with static (batch, {config.n_static}, {fine[0]}, {fine[1]})"
                )
                raise DimensionError(message)
        elif static.shape[1:] != (config.n_static, *fine) or static.shape[0] not in (1, x.shape[0]):
            message = (
                f"static fields are {tuple(static.shape)}; wanted "
                f"({x.shape[0]} or 1, {config.n_static}, {fine[0]}, {fine[1]})"
            )
            raise DimensionError(message)


def build(config: Mapping[str, Any]) -> SuperResolution:
    """Build a network from what `SuperResolutionConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    return SuperResolution(SuperResolutionConfig.from_dict(config))
