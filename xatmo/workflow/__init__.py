"""An experiment step by step: extract, preprocess, train, postprocess; each resumable, recorded, and on its own."""

from __future__ import annotations

from xatmo.workflow.extraction import Extracted, extract
from xatmo.workflow.naming import Period, RunName, periods_of
from xatmo.workflow.preparation import Prepared, Preprocessed, open_prepared, preprocess
from xatmo.workflow.splits import Splits

__all__ = [
    "Extracted",
    "Period",
    "Prepared",
    "Preprocessed",
    "RunName",
    "Splits",
    "extract",
    "open_prepared",
    "periods_of",
    "preprocess",
]
