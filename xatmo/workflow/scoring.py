"""Scores of forecasts by lead time, with intervals from resampled initial times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import metrics as scores_of
from xatmo.errors import CoordinateError, OptionError
from xatmo.workflow.usual import covering

BOOTSTRAP: Final = {"block": "7D", "n": 1000, "level": 0.9, "seed": 0}
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
    """Score forecasts by lead time.

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
        Settings other than the dimension, which is ``init_time``. A block longer than half of the initial times is
        shortened to a tenth of them, which the attribute ``bootstrap`` tells.
    compat : {None, "ambs"}

    Returns
    -------
    Dataset
        ``METRIC``, ``METRIC_lower``, ``METRIC_upper`` (``VARIABLE_METRIC`` of several variables) along ``forecast`` and
        ``lead_time``.

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
        own = None if climatology is None else climatology[names]
        resampled = None if bootstrap is None else {"dim": "init_time", **_block(bootstrap, forecast["init_time"])}
        mean = forecast.mean("member", keep_attrs=True) if "member" in forecast.dims else forecast
        if compat is not None:
            made = _as_ambs(mean, truth[names], own, metrics, resampled)
        else:
            made = scores_of.verify(
                mean, truth[names], metrics=list(metrics), dim=dims, climatology=own, bootstrap=resampled
            ).compute()
        made.attrs["bootstrap"] = str(resampled)
        found.append(made)
    out = xr.concat(found, "forecast", combine_attrs="drop_conflicts", join="exact")
    return out.assign_coords(forecast=list(forecasts))


def _as_ambs(
    forecast: xr.Dataset, truth: xr.Dataset, climatology: xr.Dataset | None, wanted: Sequence[str], resampled: Any
) -> xr.Dataset:
    """Average AMBS's scores of each forecast over initial times, with bounds from these."""
    each = scores_of.ambs(forecast, truth, climatology)
    chosen = [str(n) for n in each.data_vars if any(n == m or str(n).endswith(f"_{m}") for m in wanted)]
    unknown = [m for m in wanted if not any(n == m or n.endswith(f"_{m}") for n in chosen)]
    if unknown:
        message = f"metric {unknown[0]!r} with compat='ambs'; wanted some of {', '.join(map(str, each.data_vars))}"
        raise OptionError(message)
    out: dict[str, xr.DataArray] = {}
    for name in chosen:
        if resampled is None:
            out[name] = each[name].mean("init_time", keep_attrs=True)
            continue
        drawn = scores_of.block_bootstrap(each[name], **resampled)
        out |= {name: drawn["mean"], f"{name}_lower": drawn["lower"], f"{name}_upper": drawn["upper"]}
    return xr.Dataset(out).compute()


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


def _block(bootstrap: Mapping[str, Any], inits: xr.DataArray) -> dict[str, Any]:
    """Shorten blocks of which fewer than two would fit."""
    import pandas as pd

    options = dict(bootstrap)
    block = options.get("block", "7D")
    if isinstance(block, str):
        span = inits.values[-1] - inits.values[0]
        if pd.Timedelta(block).to_timedelta64() * 2 > span:
            options["block"] = max(1, inits.size // 10)
    elif 2 * int(block) > inits.size:
        options["block"] = max(1, inits.size // 10)
    return options


def averages(scores: xr.Dataset) -> dict[str, Any]:
    """Give means over lead times of each score, and its values by lead, as JSON can hold them.

    Examples
    --------
    >>> lead = np.array([1, 2], "m8[h]").astype("m8[ns]")
    >>> rmse = xr.DataArray([[1.0, 2.0]], dims=("forecast", "lead_time"))
    >>> averages(xr.Dataset({"rmse": rmse}, {"forecast": ["model"], "lead_time": lead}))
    {'lead_hours': [1.0, 2.0], 'model': {'rmse': {'mean': 1.5, 'by_lead': [1.0, 2.0]}}}
    """
    hours = scores["lead_time"].values / np.timedelta64(1, "h")
    found: dict[str, Any] = {"lead_hours": [float(h) for h in hours]}
    for name in scores["forecast"].values:
        own = scores.sel(forecast=name)
        found[str(name)] = {
            str(metric): {
                "mean": _number(da.mean().item()),
                "by_lead": [_number(v) for v in da.values.ravel().tolist()],
            }
            for metric, da in own.data_vars.items()
            if da.dims == ("lead_time",)
        }
    return found


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if np.isfinite(value) else None
