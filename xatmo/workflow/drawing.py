"""Figures of a run: scores by lead time, forecasts from the best to the worst, conditional quantiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import metrics
from xatmo.workflow.records import appearing

EXAMPLES: Final = 11
"""Best, worst, and every tenth in between."""


def draw(forecasts: Mapping[str, xr.Dataset], truth: xr.Dataset, scores: xr.Dataset, folder: Path) -> list[Path]:
    """Draw the figures of a run, those that are not there.

    Parameters
    ----------
    forecasts : mapping
        Names to forecasts, of which ``"model"`` is shown in maps.
    truth : Dataset
        Along ``time``.
    scores : Dataset
        As `xatmo.workflow.scoring.score` gives them.
    folder : path

    Returns
    -------
    list of path
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = [_figure(folder / "scores_by_lead.png", lambda: _by_lead(scores))]
    model = forecasts["model"]
    for name in map(str, model.data_vars):
        forecast = model[name].mean("member", keep_attrs=True) if "member" in model[name].dims else model[name]
        if not {"latitude", "longitude"} & {str(d) for d in forecast.dims} and forecast.ndim < 4:
            continue
        made.append(_figure(folder / f"{name}_examples.png", _Examples(forecast, truth[name])))
        made.append(_figure(folder / f"{name}_conditional_quantiles.png", _Quantiles(forecast, truth[name])))
    return made


def examples(forecast: xr.DataArray, truth: xr.DataArray, n: int = EXAMPLES) -> xr.DataArray:
    """Choose initial times by the quantiles of their error: the best, the worst, and evenly in between.

    Parameters
    ----------
    forecast : DataArray (init_time, lead_time, ...)
    truth : DataArray (time, ...)
    n : int

    Returns
    -------
    DataArray (quantile,)
        Root mean squared error over leads and domain, with the coordinates ``quantile`` and ``init_time``; fewer where
        there are fewer initial times.
    """
    aligned = metrics.at_valid_times(truth, forecast)
    dims = [d for d in forecast.dims if d != "init_time"]
    error = metrics.rmse(forecast, aligned, dim=dims).compute()
    order = np.argsort(error.values, kind="stable")
    at = np.unique(np.round(np.linspace(0, order.size - 1, min(n, order.size))).astype(int))
    chosen = error.isel(init_time=order[at])
    share = at / max(order.size - 1, 1)
    return chosen.assign_coords(quantile=("init_time", share)).swap_dims(init_time="quantile")


class _Examples:
    """Forecast, truth and difference at the last lead, one row an example."""

    def __init__(self, forecast: xr.DataArray, truth: xr.DataArray) -> None:
        self.forecast, self.truth = forecast, truth

    def __call__(self) -> Any:
        from xatmo import plot

        chosen = examples(self.forecast, self.truth)
        last = self.forecast.isel(lead_time=-1)
        hours = float(last["lead_time"].values / np.timedelta64(1, "h"))
        fields: dict[str, xr.DataArray] = {}
        groups: dict[str, str] = {}
        for error in chosen:
            init = error["init_time"].values
            made = last.sel(init_time=init).compute()
            real = self.truth.sel(time=made["valid_time"].values).compute()
            label = f"{np.datetime_as_string(init, 'h')}Z + {hours:g} h"
            place = f"{100 * float(error['quantile']):.0f} %"
            drop = [c for c in made.coords if not made[c].dims]
            real = real.drop_vars([c for c in real.coords if not real[c].dims])
            made = made.drop_vars(drop)
            named = {
                f"forecast, {label}": made,
                f"truth, {place}": real,
                f"error, {place}: {float(error):.3g} {self.forecast.attrs.get('units', '')}": (made - real)
                .assign_attrs(units=str(self.forecast.attrs.get("units", "1")), long_name="difference from the truth"),
            }  # fmt: skip
            fields |= named
            groups |= {title: "error" if title.startswith("error") else "field" for title in named}
        return plot.maps(fields, columns=3, groups=groups, robust=True)


class _Quantiles:
    """Conditional quantiles, one panel a lead."""

    def __init__(self, forecast: xr.DataArray, truth: xr.DataArray) -> None:
        self.forecast, self.truth = forecast, truth

    def __call__(self) -> Any:
        from xatmo import plot

        leads = self.forecast.sizes["lead_time"]
        at = np.unique(np.round(np.linspace(0, leads - 1, min(4, leads))).astype(int))
        chosen = self.forecast.isel(lead_time=at)
        dims = [d for d in chosen.dims if d != "lead_time"]
        low, high = (float(v) for v in (chosen.min().compute(), chosen.max().compute()))
        edges = np.linspace(low, high if high > low else low + 1, 25)
        found = metrics.conditional_quantiles(
            chosen, self.truth, bins=edges.tolist(), dim=dims, method="histogram"
        ).compute()
        return plot.conditional_quantiles(found)


def _by_lead(scores: xr.Dataset) -> Any:
    from xatmo import plot

    by_lead = scores[[n for n in scores.data_vars if "lead_time" in scores[n].dims]]
    named = {str(n): by_lead.sel(forecast=n, drop=True) for n in scores["forecast"].values}
    return plot.score_by_lead(named)


def _figure(path: Path, make: Callable[[], Any]) -> Path:
    """Draw and save a figure, unless it is there."""
    if not path.exists():
        import matplotlib

        matplotlib.use("Agg")  # files only: works without a display
        import matplotlib.pyplot as plt

        axes = np.ravel(make())
        figure = axes[0].figure
        with appearing(path) as part:
            figure.savefig(part, dpi=120, format="png")
        plt.close(figure)
    return path
