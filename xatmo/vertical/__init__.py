"""Fields on a model's hybrid levels, and from there on levels of pressure."""

from __future__ import annotations

from xatmo.vertical._known import coefficient_names, hybrid_dimension
from xatmo.vertical.levels import HybridLevels
from xatmo.vertical.pressure import Below, is_height, to_pressure

__all__ = ["Below", "HybridLevels", "coefficient_names", "hybrid_dimension", "is_height", "to_pressure"]
