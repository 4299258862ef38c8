"""The networks of DL4DS (https://github.com/carlos-gg/dl4ds), layer by layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from xatmo.nn.blocks import ConvolutionBlock, LayerStyle, LocalisedLayer, RecurrentBlock, is_stochastic
from xatmo.nn.superres.backbones.unet import UNetBackbone
from xatmo.nn.superres.compat.blocks import (
    HalvedDenseBlock,
    PostActivatedResidualBlock,
    ReducedTransition,
    UnscaledConvNeXtBlock,
)
from xatmo.nn.superres.compat.upsampling import ResizedConvolution, SubpixelStages, WideDeconvolution
from xatmo.nn.superres.upsampling.stages import cells_across

if TYPE_CHECKING:
    from xatmo.nn.superres.config import SuperResolutionConfig

UPSAMPLINGS: dict[str, type[SubpixelStages | ResizedConvolution | WideDeconvolution]] = {
    "deconvolution": WideDeconvolution,
    "resize": ResizedConvolution,
    "subpixel": SubpixelStages,
}


class DL4DSNetwork(nn.Module):
    """Body, upsampling and tail with the sizes of DL4DS 1.8.

    Spatial bodies: a 3 x 3 convolution to ``f`` filters; block number ``i`` has ``f * i`` of them; a convolution to
    ``f * n_blocks`` with activation and dropout; then (plain) that, (residual) the sum with the first convolution's
    output brought to that width, (dense) the two side by side brought to it. Recurrent bodies: ``1 + n_blocks`` blocks
    of ``f`` filters, the last alone, added to or beside the first. Tail: localised maps and static fields beside the
    features, a 1 x 1 convolution to ``f`` filters (half the channels in recurrent networks), two convolutions with
    attention over the whole window, and two to the outputs.

    Notes
    -----
    Where it differs on purpose: deconvolution gives the right size for every factor, with a kernel of its own in every
    stage; resize-convolution works for every size; gates of the recurrent cells are logistic; the dense block has no
    first normalization at all (DL4DS computes one and drops it); the last two convolutions have none either (over one
    channel it would erase the field); the U-Net pads instead of losing levels on small grids; ConvNeXt keeps one width,
    as its sums need, and always normalizes; windows of any size are taken, and every frame is answered.

    The numbers of weights are those of DL4DS for residual networks with sub-pixel convolution.
    """

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        style = replace(config.style, attention_reach=None)
        self.n_frames = config.time_window
        first, f = config.interpolates_first, config.channels
        self.body: UNetBackbone | _ConvNeXtBody | _SpatialBody | _RecurrentBody
        if config.time_window is None:
            self.body = _body(config.backbone, config.n_inputs, f, config.n_blocks, style)
        else:
            self.body = _RecurrentBody(config.backbone, config.n_inputs, f, config.n_blocks, style, config.time_window)
        width = self.body.channels
        self.upsampling = None if first else UPSAMPLINGS[config.upsampling](width, config.factor)
        self.tail = _Tail(width, config, style)
        _initialise(self)
        if self.upsampling is None:
            self.halo = cells_across(self.body.halo + self.tail.halo, config.factor)
        else:
            reach = self.upsampling.reach(self.tail.halo)
            self.halo = max(self.body.halo + reach, cells_across(self.tail.static_halo, config.factor))
        self.stochastic = is_stochastic(self)

    def forward(self, x: torch.Tensor, n_frames: int, static: torch.Tensor | None) -> torch.Tensor:
        """Refine maps ``(frame * batch, n_inputs, lat, lon)`` with static fields ``(batch, n_static, lat, lon)``."""
        recurrent = self.n_frames is not None
        x = self.body(torch.unflatten(x, 0, (n_frames, -1))).flatten(0, 1) if recurrent else self.body(x)
        out: torch.Tensor = self.tail(x, n_frames, static, self.upsampling)
        return out


class _SpatialBody(nn.Module):
    def __init__(self, backbone: str, n_inputs: int, f: int, n_blocks: int, style: LayerStyle) -> None:
        super().__init__()
        self.backbone = backbone
        self.stem = nn.Conv2d(n_inputs, f, 3, padding=1)
        blocks: list[nn.Module] = []
        n = f
        for i in range(1, n_blocks + 1):
            if backbone == "plain":
                blocks.append(ConvolutionBlock(n, f * i, style))
            elif backbone == "residual":
                blocks.append(PostActivatedResidualBlock(n, f * i, style, projection=i > 1))
            else:
                blocks.append(HalvedDenseBlock(n, f * i, style))
            n = int(getattr(blocks[-1], "channels", f * i))
        self.blocks = nn.Sequential(*blocks)
        self.channels = f * max(n_blocks, 1)
        self.last = nn.Conv2d(n, self.channels, 3, padding=1)
        self.activation, self.dropout = style.make_activation(), style.make_dropout()
        beside = {"residual": f, "dense": f + self.channels}.get(backbone)
        self.transition = None if beside is None else ReducedTransition(beside, self.channels, style)
        self.halo = 2 + sum(int(getattr(block, "halo", 0)) for block in blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y: torch.Tensor = self.dropout(self.activation(self.last(self.blocks(x))))
        if self.transition is None:
            return y
        z: torch.Tensor = self.transition(x if self.backbone == "residual" else torch.cat([x, y], dim=1))
        return y + z if self.backbone == "residual" else z


class _ConvNeXtBody(nn.Module):
    def __init__(self, n_inputs: int, f: int, n_blocks: int, style: LayerStyle) -> None:
        super().__init__()
        self.channels, self.halo = f, 6 + 3 * n_blocks
        self.stem = nn.Conv2d(n_inputs, f, 7, padding=3)
        self.blocks = nn.Sequential(*(UnscaledConvNeXtBlock(f, style) for _ in range(n_blocks)))
        self.last = nn.Conv2d(f, f, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y: torch.Tensor = x + self.last(self.blocks(x))
        return y


def _body(
    backbone: str, n_inputs: int, f: int, n_blocks: int, style: LayerStyle
) -> UNetBackbone | _ConvNeXtBody | _SpatialBody:
    if backbone == "unet":
        return UNetBackbone(n_inputs, f, n_blocks, style)
    if backbone == "convnext":
        return _ConvNeXtBody(n_inputs, f, n_blocks, style)
    return _SpatialBody(backbone, n_inputs, f, n_blocks, style)


class _RecurrentBody(nn.Module):
    def __init__(self, backbone: str, n_inputs: int, f: int, n_blocks: int, style: LayerStyle, n_frames: int) -> None:
        super().__init__()
        style = replace(style, attention=False)
        self.backbone = backbone
        self.first = RecurrentBlock(n_inputs, f, style)
        self.blocks = nn.Sequential(*(RecurrentBlock(f, f, style) for _ in range(n_blocks)))
        self.channels = 2 * f if backbone == "dense" else f
        self.halo = 3 * (1 + n_blocks) + (n_frames - 1) * RecurrentBlock.state_halo

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y: torch.Tensor = self.blocks(x)
        if self.backbone == "residual":
            y = x + y
        elif self.backbone == "dense":
            y = torch.unflatten(torch.cat([x.flatten(0, 1), y.flatten(0, 1)], dim=1), 0, x.shape[:2])
        return y


class _Tail(nn.Module):
    """From fine features to outputs; reads the upsampling so that its linear layer can be taken into that one's."""

    def __init__(self, width: int, config: SuperResolutionConfig, style: LayerStyle) -> None:
        super().__init__()
        f, recurrent = config.channels, config.time_window is not None
        plain = replace(style, attention=False)
        self.static = ConvolutionBlock(config.n_static, width, plain) if config.n_static else None
        self.narrow: ReducedTransition | None = None
        self.local: LocalisedLayer | None = None
        total = width * (2 if config.n_static else 1)
        if config.localised and config.shape is not None:
            self.narrow = ReducedTransition(width, 2, style)
            self.local = LocalisedLayer(2, 2, config.shape)
            total += 2
        reduced = max(1, total // 2) if recurrent else f
        keeps = recurrent and config.interpolates_first
        self.transition = None if keeps else ReducedTransition(total, reduced, style)
        attended = replace(style, activation="linear", attention=True)
        self.fine = ConvolutionBlock(total if keeps else reduced, f, attended)
        last = LayerStyle(activation="linear", separable=style.separable)
        self.last = ConvolutionBlock(f, config.n_outputs, last)
        self.width, self.halo = width, 4
        self.static_halo = 6 if config.n_static else 0

    def forward(
        self,
        x: torch.Tensor,
        n_frames: int,
        static: torch.Tensor | None,
        upsampling: SubpixelStages | ResizedConvolution | WideDeconvolution | None,
    ) -> torch.Tensor:
        beside: list[torch.Tensor] = []
        if static is not None and self.static is not None:
            beside.append(self.static(static).repeat(n_frames, 1, 1, 1))
        transition = self.transition
        if transition is None or transition.norm is not None or self.local is not None:
            x = x if upsampling is None else upsampling(x)
            if self.narrow is not None and self.local is not None:
                beside.insert(0, self.local(self.narrow(x)))
            x = torch.cat([x, *beside], dim=1) if beside else x
            x = x if transition is None else transition(x)
        else:
            # The 1 x 1 convolution of concatenated maps is the sum of those of its parts.
            weight = transition.convolution.weight
            own = weight[:, : self.width]
            bias = transition.convolution.bias
            x = nn.functional.conv2d(x, own, bias) if upsampling is None else upsampling(x, own.flatten(1), bias)
            for part in beside:
                x = x + nn.functional.conv2d(part, weight[:, self.width :])
            x = transition.activation(x)
        out: torch.Tensor = self.last(self.fine(x))
        return out


def _initialise(network: nn.Module) -> None:
    """Keras's start: kernels uniform after Glorot, biases zero but those that keep a memory."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None and not bool((module.bias == 1).any()):
                nn.init.zeros_(module.bias)
