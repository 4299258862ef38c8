"""Reports: runs side by side against the truth, on one page that needs nothing else."""

from __future__ import annotations

from xatmo.report.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
