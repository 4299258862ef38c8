"""An experiment step by step: extract, preprocess, train, postprocess; each resumable, recorded, and on its own."""

from __future__ import annotations

from xatmo.workflow.evaluation import BASELINES, Postprocessed, initial_times, postprocess
from xatmo.workflow.extraction import Extracted, extract, find_extracted
from xatmo.workflow.naming import Period, RunName, periods_of
from xatmo.workflow.preparation import Prepared, Preprocessed, is_prepared, open_prepared, preprocess
from xatmo.workflow.scoring import ALL_LEADS, metrics_in
from xatmo.workflow.splits import Splits
from xatmo.workflow.training import train
from xatmo.workflow.truth import disagreements, truth_of
from xatmo.workflow.usual import covering

__all__ = [
    "ALL_LEADS",
    "BASELINES",
    "Extracted",
    "Period",
    "Postprocessed",
    "Prepared",
    "Preprocessed",
    "RunName",
    "Splits",
    "covering",
    "disagreements",
    "extract",
    "find_extracted",
    "initial_times",
    "is_prepared",
    "metrics_in",
    "open_prepared",
    "periods_of",
    "postprocess",
    "preprocess",
    "train",
    "truth_of",
]
