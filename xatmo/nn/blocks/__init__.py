"""Building blocks that several networks share."""

from __future__ import annotations

from xatmo.nn.blocks.residual import ResidualBlock

__all__ = ["ResidualBlock"]
