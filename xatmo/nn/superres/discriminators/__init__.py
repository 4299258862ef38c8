"""Discriminators: networks that tell fine fields that are real from those that a generator made.

All are called ``discriminator(fine, coarse, static)`` and give logits ``(batch, 1)``, positive for what they take for
real. ``fine`` is ``(batch, channel, [time,] lat, lon)``; those that judge it by itself ignore the others.
"""

from __future__ import annotations

from xatmo.nn.superres.discriminators.conditional import ConditionalDiscriminator, ConditionalDiscriminatorConfig
from xatmo.nn.superres.discriminators.config import DISCRIMINATORS, build, make
from xatmo.nn.superres.discriminators.unconditional import SRGANDiscriminator, SRGANDiscriminatorConfig

__all__ = [
    "DISCRIMINATORS",
    "ConditionalDiscriminator",
    "ConditionalDiscriminatorConfig",
    "SRGANDiscriminator",
    "SRGANDiscriminatorConfig",
    "build",
    "make",
]
