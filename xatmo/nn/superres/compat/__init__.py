"""Networks laid out as those of other packages, for who must reproduce their numbers."""

from __future__ import annotations

from xatmo.nn.superres.compat.dl4ds import DL4DSNetwork

__all__ = ["DL4DSNetwork"]
