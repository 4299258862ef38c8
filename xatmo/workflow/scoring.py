"""Scores of forecasts by lead time, with intervals from resampled initial times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import metrics as scores_of
from xatmo.errors import CoordinateError, OptionError
from xatmo.workflow.usual import covering

BOOTSTRAP: Final = {"block": "auto", "n": 1000, "level": 0.9, "seed": 0}
ALL_LEADS: Final = "all_leads"
"""Ends the names of scores over all lead times."""
_BY_CLIMATOLOGY: Final = ("acc", "skill")


def score(
    forecasts: Mapping[str, xr.Dataset],
    truth: xr.Dataset,
    climatology: xr.Dataset | None,
    *,
    metrics: Sequence[str],
    bootstrap: Mapping[str, Any] | None = BOOTSTRAP,
    compat: str | None = None,
) -> xr.Dataset:
    """Score forecasts, by lead time and over all of them.

    Parameters
    ----------
    forecasts : mapping
        Names to forecasts along ``init_time`` and ``lead_time``.
    truth : Dataset
        Along ``time``.
    climatology : Dataset, optional
        For ``acc``; by hour alone where it has no entry for a month.
    metrics : sequence of str
        See `xatmo.metrics.verify`.
    bootstrap : mapping, optional
        Settings other than the dimension, which is ``init_time``. Blocks are chosen as
        `xatmo.metrics.automatic_blocks` does where ``block`` is ``"auto"`` or longer than half of the initial times;
        the attribute ``intervals`` tells which they are, or why there are none.
    compat : {None, "ambs"}

    Returns
    -------
    Dataset
        ``METRIC``, ``METRIC_lower``, ``METRIC_upper`` (``VARIABLE_METRIC`` of several variables) along ``forecast`` and
        ``lead_time``, and ``METRIC_all_leads``, ``METRIC_all_leads_lower``, ``METRIC_all_leads_upper`` along
        ``forecast``.

    Raises
    ------
    OptionError
        If a metric is unknown, or needs a climatology that is not there.
    """
    if compat not in (None, "ambs"):
        message = f"compat={compat!r} came; wanted 'ambs' or null"
        raise OptionError(message)
    climatology, _ = climatology_for(climatology, truth, metrics)
    found = []
    for forecast in forecasts.values():
        names = list(forecast.data_vars)
        dims = [d for d in forecast[names[0]].dims if d not in ("lead_time", "member")]
        mean = forecast.mean("member", keep_attrs=True) if "member" in forecast.dims else forecast
        resampled, why = resampling(bootstrap, mean[names[0]])
        options: dict[str, Any] = {"climatology": None if climatology is None else climatology[names]}
        options |= {"metrics": list(metrics), "bootstrap": resampled, "compat": compat}
        by_lead = scores_of.verify(mean, truth[names], dim=dims, **options)
        every = scores_of.verify(mean, truth[names], dim=[*dims, "lead_time"], **options)
        # Of both together, so that the forecasts are read once.
        made = by_lead.merge(every.rename({n: _of_all(str(n)) for n in every.data_vars})).compute()
        made.attrs = {"history": by_lead.attrs.get("history", ""), "intervals": by_lead.attrs.get("intervals", why)}
        found.append(made)
    out = xr.concat(found, "forecast", combine_attrs="drop_conflicts", join="exact")
    return out.assign_coords(forecast=list(forecasts))


def _of_all(name: str) -> str:
    """Name a score of all lead times, or its bound.

    Examples
    --------
    >>> _of_all("t2m_rmse"), _of_all("rmse_lower")
    ('t2m_rmse_all_leads', 'rmse_all_leads_lower')
    """
    end = next((end for end in ("_lower", "_upper") if name.endswith(end)), "")
    return f"{name.removesuffix(end)}_{ALL_LEADS}{end}"


def resampling(bootstrap: Mapping[str, Any] | None, forecast: xr.DataArray) -> tuple[dict[str, Any] | None, str]:
    """How scores of forecasts are resampled along ``init_time``, and that in words, or why they are not.

    Raises
    ------
    OptionError
        If a setting is unknown or has no usable value.
    """
    if bootstrap is None:
        return None, "no intervals: bootstrap is null"
    given = {"dim": "init_time", **bootstrap}
    if given.get("block", "auto") != "auto":
        wanted = scores_of.Bootstrap.of(given)
        try:
            wanted.windows(forecast.sizes["init_time"], forecast.indexes.get("init_time"))
        except OptionError:  # too long
            pass
        else:
            return given, ""
    rest = {k: v for k, v in given.items() if k not in ("dim", "block")}
    return scores_of.automatic_blocks(forecast, dim="init_time", **rest)


def try_out(
    names: Sequence[str], truth: xr.Dataset, climatology: xr.Dataset | None, n_future: int, **options: Any
) -> None:
    """Score the persistence of a few frames, so that what cannot be scored is refused before the forecasts.

    Raises
    ------
    OptionError
        As `score` does.
    """
    few = truth[list(names)].isel(time=slice(0, n_future + 3)).compute()
    inits = few["time"].values[:3]
    leads = few["time"].values[1 : n_future + 1] - few["time"].values[0]
    last = few.isel(time=slice(0, 3)).rename(time="init_time").expand_dims(lead_time=leads, axis=1)
    made = last.assign_coords(valid_time=(("init_time", "lead_time"), inits[:, None] + leads[None]))
    score({"persistence": made}, few, climatology, **options)


def climatology_for(
    climatology: xr.Dataset | None, truth: xr.Dataset, metrics: Sequence[str]
) -> tuple[xr.Dataset | None, str | None]:
    """Give the climatology for scores that need one: at all times of the truth, by hour alone where months lack.

    Returns
    -------
    Dataset or None
    str or None
        What was done about times that the climatology has no entry for.

    Raises
    ------
    OptionError
        If a score needs one, and there is none, or its hours lack.
    """
    needing = [name for name in metrics if name in _BY_CLIMATOLOGY]
    if not needing:
        return climatology, None
    if climatology is None:
        message = f"metric {needing[0]!r} needs a climatology; prepare the data with climatology: [month, hour]"
        raise OptionError(message)
    try:
        return covering(climatology, truth["time"])
    except CoordinateError as error:
        message = (
            f"metric {needing[0]!r} needs a climatology of every time ({error}); leave it out, or prepare the data "
            "with a longer training part or with climatology: [hour]"
        )
        raise OptionError(message) from error


def averages(scores: xr.Dataset) -> dict[str, Any]:
    """Give each score over all lead times and by lead, with intervals, as JSON can hold them.

    Examples
    --------
    >>> lead = np.array([1, 2], "m8[h]").astype("m8[ns]")
    >>> rmse = {"rmse": (("forecast", "lead_time"), [[1.0, 2.0]]), "rmse_all_leads": ("forecast", [1.5])}
    >>> averages(xr.Dataset(rmse, {"forecast": ["model"], "lead_time": lead}, {"intervals": "none"}))
    {'lead_hours': [1.0, 2.0], 'intervals': 'none', 'model': {'rmse': {'all_leads': 1.5, 'by_lead': [1.0, 2.0]}}}
    """
    hours = scores["lead_time"].values / np.timedelta64(1, "h")
    found: dict[str, Any] = {
        "lead_hours": [float(h) for h in hours],
        "intervals": str(scores.attrs.get("intervals", "")),
    }
    for name in scores["forecast"].values:
        own = scores.sel(forecast=name)
        found[str(name)] = {metric: _listed(own, metric) for metric in metrics_in(scores)}
    return found


def metrics_in(scores: xr.Dataset) -> list[str]:
    """Names of the scores by lead time, without their bounds."""
    names = [str(n) for n, da in scores.data_vars.items() if "lead_time" in da.dims]
    return [n for n in names if not any(n.endswith(e) and n.removesuffix(e) in names for e in ("_lower", "_upper"))]


def _listed(scores: xr.Dataset, metric: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for end in ("", "_lower", "_upper"):
        for head, name in ((ALL_LEADS, f"{metric}_{ALL_LEADS}{end}"), ("by_lead", f"{metric}{end}")):
            if name in scores:
                values = scores[name].values
                out[head + end] = [_number(v) for v in values.tolist()] if values.ndim else _number(values.item())
    return out


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if np.isfinite(value) else None
