"""Building blocks that several networks share."""

from __future__ import annotations

from xatmo.nn.blocks.activation import ACTIVATIONS, make_activation
from xatmo.nn.blocks.attention import ChannelAttention
from xatmo.nn.blocks.convlstm import ConvLSTM, Memory, RecurrentBlock
from xatmo.nn.blocks.convnext import ConvNeXtBlock
from xatmo.nn.blocks.convolution import ConvolutionBlock
from xatmo.nn.blocks.dense import DenseLayer, Transition
from xatmo.nn.blocks.dropout import DROPOUTS, is_stochastic, make_dropout, without_dropout
from xatmo.nn.blocks.gated import GatedAttention, GatedBlock
from xatmo.nn.blocks.localised import LocalisedLayer
from xatmo.nn.blocks.norm import NORMS, ChannelLayerNorm, make_norm
from xatmo.nn.blocks.residual import ResidualBlock
from xatmo.nn.blocks.separable import SeparableConvolution
from xatmo.nn.blocks.strided import StridedLayer, doubling, halving
from xatmo.nn.blocks.style import LayerStyle, start_at_zero

__all__ = [
    "ACTIVATIONS",
    "DROPOUTS",
    "NORMS",
    "ChannelAttention",
    "ChannelLayerNorm",
    "ConvLSTM",
    "ConvNeXtBlock",
    "ConvolutionBlock",
    "DenseLayer",
    "GatedAttention",
    "GatedBlock",
    "LayerStyle",
    "LocalisedLayer",
    "Memory",
    "RecurrentBlock",
    "ResidualBlock",
    "SeparableConvolution",
    "StridedLayer",
    "Transition",
    "doubling",
    "halving",
    "is_stochastic",
    "make_activation",
    "make_dropout",
    "make_norm",
    "start_at_zero",
    "without_dropout",
]
