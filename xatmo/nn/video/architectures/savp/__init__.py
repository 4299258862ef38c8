"""Stochastic adversarial video prediction: a recurrent generator that moves, remembers and composes frames."""

from __future__ import annotations

from xatmo.nn.video.architectures.savp.network import SAVP

__all__ = ["SAVP"]
