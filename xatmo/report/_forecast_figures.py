"""Figures of forecasts: scores against lead, differences from the reference, cases, spectra, daily cycle, ensembles."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xatmo.report._figures import Album
from xatmo.report._forecast_measures import Measured
from xatmo.report._forecasts import LEAD

_CASE = {"best": "smallest", "median": "median", "worst": "largest"}
_PANELS, _MAPS = 2, 3  # in a row, so that a telephone shows them large enough to read


def of_forecasts(made: Measured, reference: str) -> Album:
    """All figures of one variable."""
    from xatmo import plot

    album = Album()
    _against_lead(album, made, reference)
    for case, (init, error, fields) in made.cases.items():
        _case(album, case, init, error, fields, " Of ensembles the mean." if "ranks" in made.parts else "")
    if "spectra" in made.parts:
        text = "Mean power over initial times, by lead time; of ensembles that of their first member."
        album.add("Spectra by lead time", text, functools.partial(_spectra, made.parts["spectra"]))
    if "conditional" in made.parts:
        _conditional(album, made.parts["conditional"])
    if "daily" in made.parts:
        text = "Mean over the area and all forecasts by hour of the valid time (UTC), and the error of that mean day."
        album.add("Daily cycle", text, lambda: plot.diurnal_cycle(made.parts["daily"]))
    _ensembles(album, made.parts)
    return album


# ---------------------------------------------------------------------- pieces
def _against_lead(album: Album, made: Measured, reference: str) -> None:
    from xatmo import plot

    lines = {n: ds for n, ds in made.by_lead.items() if LEAD in ds.dims and ds.sizes[LEAD] > 1}
    if not lines:
        return
    runs: dict[str, dict[str, xr.DataArray]] = {}
    differences: dict[str, dict[str, xr.DataArray]] = {}
    for metric, ds in lines.items():
        for run in ds["model"].values:
            one = ds.sel(model=run, drop=True)
            found = runs.setdefault(str(run), {})
            found[metric] = one["score"]
            found |= {f"{metric}_{e}": one[e] for e in ("lower", "upper") if e in one}
        for run in ds["compared"].values if "compared" in ds.dims else ():
            one = ds.sel(compared=run, drop=True)
            found = differences.setdefault(str(run), {})
            found[metric] = one["difference"]
            found |= {f"{metric}_{e}": one[f"difference_{e}"] for e in ("lower", "upper")}
    bands = made.resampled is not None
    text = "Shaded: bounds from resampled initial times." if bands else ""
    tables = {n: xr.Dataset(v).reset_coords(drop=True) for n, v in runs.items()}
    album.add("Scores against lead time", text, lambda: plot.scores(tables, columns=_PANELS))
    if differences:
        text = (
            f"Run minus {reference}, on the same times. Where the shading leaves zero out, the difference is more than "
            "chance, one lead time looked at by itself."
        )
        others = {n: xr.Dataset(v).reset_coords(drop=True) for n, v in differences.items()}
        first = next(iter(others.values()))
        none = xr.zeros_like(first[[m for m in lines if m in first]])
        others = {n: others.get(n, none) for n in tables}  # with the reference: each run keeps its colour
        title = f"Difference from {reference}"
        album.add(title, text, lambda: _with_zero(plot.scores(others, columns=_PANELS)))


def _with_zero(axes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    for ax in axes.ravel():
        ax.autoscale(axis="y")
        ax.axhline(0, color="0.2", lw=0.9)
        ax.margins(y=0.08)
        ax.autoscale_view()
    return axes


def _case(album: Album, case: str, init: Any, error: float, fields: Mapping[str, xr.DataArray], ensembles: str) -> None:
    from xatmo import metrics, plot
    from xatmo.plot.maps import label

    truth = fields["truth"]
    begun = label("", xr.DataArray(init)).strip()  # a date, or the number of a sequence
    lead = label("lead time", truth[LEAD])
    text = (
        f"Initial time {begun}, {lead}: the {_CASE[case]} error over all lead times, {error:.3g} "
        f"{truth.attrs.get('units', '')} root mean square of all runs together.{ensembles}"
    )
    panels = {n: da.reset_coords(drop=True) for n, da in fields.items()}
    album.add(f"The {case} case", text, lambda: plot.maps(panels, robust=True, columns=_MAPS))
    misses = {
        n: metrics.bias(da, panels["truth"], dim=()).assign_attrs(
            long_name="difference", units=truth.attrs.get("units", "")
        )
        for n, da in panels.items() if n != "truth"
    }  # fmt: skip
    text = f"Initial time {begun}, {lead}. Run minus truth.{ensembles}"
    album.add(f"The {case} case: differences", text, lambda: plot.maps(misses, robust=True, columns=_MAPS))


def _spectra(spectra: Mapping[str, Mapping[str, xr.DataArray]]) -> Any:
    import matplotlib.pyplot as plt

    from xatmo import plot

    rows = -(-len(spectra) // _PANELS)
    columns = min(_PANELS, len(spectra))
    _, grid = plt.subplots(rows, columns, figsize=(4.6 * columns, 4.2 * rows), layout="constrained", squeeze=False)
    for ax, (lead, lines) in zip(grid.ravel(), spectra.items(), strict=False):
        plot.spectra(lines, ax=ax, title=f"lead time {lead}")
    for ax in grid.ravel()[len(spectra) :]:
        ax.remove()
    return grid


def _conditional(album: Album, runs: Mapping[str, Mapping[str, xr.Dataset]]) -> None:
    from xatmo import plot

    texts = {
        "forecast": ("truth given forecast", "What came, in bins of what was forecast: on the diagonal if calibrated."),
        "target": (
            "forecast given truth",
            "What was forecast, in bins of what came: steep if cases are told apart.",
        ),
    }
    for by, (words, text) in texts.items():
        for name, cut in runs.items():
            draw = functools.partial(plot.conditional_quantiles, cut[by], columns=_MAPS)
            album.add(f"Conditional quantiles of {name}: {words}", f"{text} Beneath: how often.", draw)


def _ensembles(album: Album, parts: Mapping[str, Any]) -> None:
    from xatmo import plot

    if "ranks" in parts:
        text = "Even ranks are reliable; a valley tells of too little spread."
        album.add("Ranks of the truth among the members", text, lambda: plot.rank_histogram(parts["ranks"]))
    if "spread" in parts:
        text = "Spread of the members (dashed) beside the error of their mean."
        album.add("Spread and error by lead time", text, lambda: plot.spread_skill(parts["spread"]))
