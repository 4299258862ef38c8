"""Representation learning: encoders, the network that tells lags, and the distance that it defines."""

from __future__ import annotations

from xatmo.nn.representation.config import ENCODERS, STEMS, RepresentationConfig
from xatmo.nn.representation.content import ContentLoss, Conversion, least_squares_scale
from xatmo.nn.representation.encoder import Encoder
from xatmo.nn.representation.network import PairClassifier, PairHead, build

__all__ = [
    "ENCODERS",
    "STEMS",
    "ContentLoss",
    "Conversion",
    "Encoder",
    "PairClassifier",
    "PairHead",
    "RepresentationConfig",
    "build",
    "least_squares_scale",
]
