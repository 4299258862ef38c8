"""Upsamplings: ``Upsampling(channels, n_outputs, factor)`` maps coarse features to fine fields.

Each has ``halo``, the number of coarse cells at an edge that it needs, and starts with an output of zero.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from xatmo.nn.superres.upsampling.subpixel import SubpixelUpsampling

UPSAMPLINGS: dict[str, Callable[[int, int, int], nn.Module]] = {"subpixel": SubpixelUpsampling}
