"""Super-resolution networks: a backbone on the coarse grid, one upsampling, an interpolated baseline.

A variant is one small file that declares a class, and one line in `BACKBONES` or `UPSAMPLINGS`.
"""

from __future__ import annotations

from xatmo.nn.superres.backbones import BACKBONES, RECURRENT_BACKBONES
from xatmo.nn.superres.config import SuperResolutionConfig
from xatmo.nn.superres.interpolation import Interpolation
from xatmo.nn.superres.network import SuperResolution, build
from xatmo.nn.superres.upsampling import UPSAMPLINGS

__all__ = [
    "BACKBONES",
    "RECURRENT_BACKBONES",
    "UPSAMPLINGS",
    "Interpolation",
    "SuperResolution",
    "SuperResolutionConfig",
    "build",
]
