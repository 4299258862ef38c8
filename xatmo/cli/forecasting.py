"""Configurations of trainings of forecasts: variables by name, from one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import xarray as xr

ROLES: Final = {
    "target": "names of the variables to forecast; null: the predictors, and without them every variable",
    "predictors": "names of the variables whose past is read, besides the targets; null takes every variable",
    "static": "names of variables of the input without time, as orography; or a file or catalog entry of such",
    "validation": "what to watch during the training: a selection of the input as above, a file or a catalog entry",
}


def forecasts(settings: Mapping[str, Any]) -> bool:
    """Whether a task, by the names of its settings, continues records."""
    return "n_future" in settings


def given(key: str, value: str | list[str], whole: xr.Dataset) -> xr.Dataset | list[str]:
    """Turn names of variables of the input into what ``fit`` takes for a role."""
    names = [value] if isinstance(value, str) else list(value)
    # Of static fields the choice of variables may have left some out.
    return whole[names] if key == "static" else names
