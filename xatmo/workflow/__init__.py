"""An experiment step by step: extract, preprocess, train, postprocess; each resumable, recorded, and on its own."""

from __future__ import annotations

from xatmo.workflow.extraction import Extracted, extract
from xatmo.workflow.naming import Period, RunName, periods_of

__all__ = ["Extracted", "Period", "RunName", "extract", "periods_of"]
