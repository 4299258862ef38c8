"""Fields on a model's hybrid levels, and from there on levels of pressure."""

from __future__ import annotations

from xatmo.vertical.levels import HybridLevels
from xatmo.vertical.pressure import to_pressure

__all__ = ["HybridLevels", "to_pressure"]
