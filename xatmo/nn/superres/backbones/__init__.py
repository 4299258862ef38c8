"""Backbones: ``Backbone(n_inputs, channels, n_blocks)`` maps coarse input channels to coarse features.

Each has ``halo``, the number of cells at an edge that it needs, and ``channels``, the number of features that it gives.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from xatmo.nn.superres.backbones.residual import ResidualBackbone

BACKBONES: dict[str, Callable[[int, int, int], nn.Module]] = {"residual": ResidualBackbone}
