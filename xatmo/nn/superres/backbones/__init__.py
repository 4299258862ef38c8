"""Backbones: ``Backbone(n_inputs, channels, n_blocks, style)`` maps input channels to features on the same grid.

Each has ``halo``, the number of cells at an edge that it needs, and ``channels``, the number of features that it gives.
Those of `RECURRENT_BACKBONES` read and write sequences, time first, and take the number of frames as ``n_frames``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from xatmo.nn.superres.backbones.convnext import ConvNeXtBackbone
from xatmo.nn.superres.backbones.dense import DenseBackbone
from xatmo.nn.superres.backbones.plain import PlainBackbone
from xatmo.nn.superres.backbones.recurrent import RecurrentDense, RecurrentPlain, RecurrentResidual
from xatmo.nn.superres.backbones.residual import ResidualBackbone
from xatmo.nn.superres.backbones.unet import UNetBackbone

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "convnext": ConvNeXtBackbone,
    "dense": DenseBackbone,
    "plain": PlainBackbone,
    "residual": ResidualBackbone,
    "unet": UNetBackbone,
}
RECURRENT_BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "dense": RecurrentDense,
    "plain": RecurrentPlain,
    "residual": RecurrentResidual,
}
