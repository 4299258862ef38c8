"""The page itself: everything inside, nothing fetched."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo.report._figures import Album, Figure
from xatmo.report._measures import best
from xatmo.report._runs import Run, differing

_SIGNIFICANT = 0.05
_NAMES = {"rmse": "RMSE", "mae": "MAE", "mse": "MSE", "psnr": "PSNR", "ssim": "SSIM", "crps": "CRPS", "acc": "ACC"}


@dataclass(frozen=True)
class Section:
    """What the page shows of one variable.

    Attributes
    ----------
    variable, long_name : str
    rows : list of dict
        The scores; see `xatmo.report._measures.rows_of`.
    figures : list of Figure
    notes : list of str
    resampled : dict or None
        How the bounds came about.
    reference : str
        Of forecasts: the run with which the others are compared.
    blocks : int
        Of forecasts: blocks to a resample.
    intervals : str
        In words, where the intervals come from.
    times : str
        Of forecasts: which are compared.
    """

    variable: str
    long_name: str
    rows: list[dict[str, Any]]
    figures: list[Figure]
    notes: list[str] = field(default_factory=list)
    resampled: Mapping[str, Any] | None = None
    reference: str = ""
    blocks: int = 0
    intervals: str = ""
    times: str = ""


def render(
    title: str,
    runs: Sequence[Run],
    truth: xr.Dataset | None,
    sections: Sequence[Section],
    trained: Album,
    scores: pd.DataFrame,
    settings: pd.DataFrame,
) -> str:
    """Write the page."""
    import jinja2

    from xatmo import __version__

    source = resources.files("xatmo.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    known = [run for run in runs if run.settings]
    different = differing(list(runs)) if len(known) > 1 else {}
    return environment.from_string(source).render(
        title=title,
        version=__version__,
        written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=runs,
        truth=None if truth is None else _described(truth),
        sections=[(section, table(section.rows, section.reference)) for section in sections],
        trained=trained,
        known=[run.name for run in known],
        different={n: [_shown(v) for v in values] for n, values in different.items()},
        settings=[(n, [_shown(v) for v in row]) for n, row in zip(settings.index, settings.values, strict=True)],
        scores_csv=_data_uri(scores.to_csv(index=False)) if len(scores) else "",
        settings_csv=_data_uri(settings.to_csv()) if len(settings) else "",
    )


def table(rows: Sequence[Mapping[str, Any]], reference: str = "") -> dict[str, Any]:
    """Columns and cells of a table of scores: one row for each run, the best of each column marked.

    Where runs are compared with a reference, cells tell the difference and its p-value after correction, and
    ``verdict`` whether the run is ``better`` or ``worse`` at 5 %.

    Examples
    --------
    >>> rows = [{"run": r, "score": "rmse", "value": v, "lower": np.nan, "upper": np.nan, "units": "K"}
    ...         for r, v in (("a", 2.0), ("b", 1.0))]
    >>> made = table(rows)
    >>> made["columns"], [[cell["text"] for cell in row["cells"]] for row in made["rows"]]
    (['RMSE (K)'], [['2'], ['1']])
    >>> [row["cells"][0]["best"] for row in made["rows"]]
    [False, True]
    """
    names = list(dict.fromkeys(row["run"] for row in rows))
    found = list(dict.fromkeys(row["score"] for row in rows))
    at = {(row["run"], row["score"]): row for row in rows}
    columns, winners, factors = [], {}, {}
    for score in found:
        having = [at[n, score] for n in names if (n, score) in at]
        units = having[0]["units"]
        factors[score], units = (1e-3, "km") if units == "m" and "resolution" in score else (1.0, units)
        columns.append(_with_units(_NAMES.get(score, score.replace("_", " ")), units))
        winners[score] = best(score, {row["run"]: row["value"] for row in having})
    body = []
    for name in names:
        cells = []
        for score in found:
            row = at.get((name, score))
            if row is None:
                cells.append({"text": "", "bounds": "", "sort": "", "best": False, "test": "", "verdict": ""})
                continue
            value, low, high = (factors[score] * row[k] for k in ("value", "lower", "upper"))
            bounds = f"{_number(low, 3)} to {_number(high, 3)}" if np.isfinite(low) and np.isfinite(high) else ""
            text = _number(value, 4) if np.isfinite(value) else "none"
            test, verdict = _tested(row, factors[score]) if reference and name != reference else ("", "")
            cells.append({"text": text, "bounds": bounds, "sort": value, "best": name in winners[score],
                          "test": test, "verdict": verdict})  # fmt: skip
        body.append({"name": name, "cells": cells, "reference": bool(reference) and name == reference})
    return {"columns": columns, "rows": body}


def _tested(row: Mapping[str, Any], factor: float) -> tuple[str, str]:
    """Difference and p-value, and which of the two is better where that is more than chance.

    Examples
    --------
    >>> row = {"score": "rmse", "value": 1.0, "difference": -0.5, "p_adjusted": 0.002, "p_value": 0.001}
    >>> _tested(row, 1.0)
    ('-0.5, p 0.002', 'better')
    """
    difference, p = row.get("difference", np.nan), row.get("p_adjusted", np.nan)
    p = row.get("p_value", np.nan) if not np.isfinite(p) else p
    if not (np.isfinite(difference) and np.isfinite(p)):
        return "", ""
    text = f"{factor * difference:+.2g}, p {p:.1g}" if p >= 0.001 else f"{factor * difference:+.2g}, p < 0.001"
    if p > _SIGNIFICANT:
        return text, ""
    of_both = {"run": row["value"], "reference": row["value"] - difference}
    return text, {"run": "better", "reference": "worse"}.get(next(iter(best(row["score"], of_both)), ""), "")


def _number(value: float, digits: int) -> str:
    """Write a number with some digits, and thousands without an exponent.

    Examples
    --------
    >>> _number(2221.4, 3), _number(0.92345, 3), _number(7.7e-6, 3)
    ('2221', '0.923', '7.7e-06')
    """
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.{digits}g}"


def _with_units(text: str, units: str) -> str:
    from xatmo.plot.style import with_units

    return with_units(text, units)


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _described(truth: xr.Dataset) -> str:
    from xatmo.plot.maps import label

    parts = [f"{d} {n}" for d, n in truth.sizes.items()]
    times = next((truth[c] for c in truth.coords if truth[c].dtype.kind == "M" and truth[c].ndim == 1), None)
    if times is not None and times.size:
        parts.append(f"{label('time', times[0])} to {label('time', times[-1])}")
    return ", ".join(parts)


def _data_uri(text: str) -> str:
    return "data:text/csv;base64," + base64.b64encode(text.encode()).decode()
