"""Networks that continue a record of fields: architectures, the simple forecasts that they correct, and their frame."""

from __future__ import annotations

from xatmo.nn.video.base import Architecture, VideoInput
from xatmo.nn.video.config import VideoConfig
from xatmo.nn.video.network import VideoNetwork
from xatmo.nn.video.packing import PackedVideo, build, pack, unpack

__all__ = [
    "Architecture",
    "PackedVideo",
    "VideoConfig",
    "VideoInput",
    "VideoNetwork",
    "build",
    "pack",
    "unpack",
]
