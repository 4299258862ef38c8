"""Upsamplings: ``Upsampling(channels, factor, width=, activation=)`` maps coarse features to ``width`` fine ones.

Each has ``channels``, what it gives, and ``reach(fine)``: the coarse cells at an edge that it needs if ``fine`` cells
around each fine cell are wanted. None stands for interpolation of the inputs, before the backbone.
"""

from __future__ import annotations

from xatmo.nn.superres.upsampling.base import Upsampling
from xatmo.nn.superres.upsampling.deconvolution import DeconvolutionUpsampling
from xatmo.nn.superres.upsampling.resize import ResizeUpsampling
from xatmo.nn.superres.upsampling.subpixel import SubpixelUpsampling

UPSAMPLINGS: dict[str, type[Upsampling] | None] = {
    "deconvolution": DeconvolutionUpsampling,
    "interpolation": None,
    "resize": ResizeUpsampling,
    "subpixel": SubpixelUpsampling,
}
