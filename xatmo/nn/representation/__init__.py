"""Representation learning: encoders, the network that tells lags, and the distance that it defines."""

from __future__ import annotations

from xatmo.nn.representation.config import ENCODERS, HEADS, STEMS, RepresentationConfig
from xatmo.nn.representation.content import ContentLoss, Conversion, least_squares_scale
from xatmo.nn.representation.encoder import Encoder
from xatmo.nn.representation.heads import PairHead, PyramidHead
from xatmo.nn.representation.inpainting import Inpainting, InpaintingConfig, build_inpainting
from xatmo.nn.representation.network import PairClassifier, build

__all__ = [
    "ENCODERS",
    "HEADS",
    "STEMS",
    "ContentLoss",
    "Conversion",
    "Encoder",
    "Inpainting",
    "InpaintingConfig",
    "PairClassifier",
    "PairHead",
    "PyramidHead",
    "RepresentationConfig",
    "build",
    "build_inpainting",
    "least_squares_scale",
]
