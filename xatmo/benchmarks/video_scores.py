"""Scores of forecasts of moving digits and of rain, and the simple forecasts that they are compared with."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from xatmo import metrics
from xatmo.benchmarks.video_cases import VideoCase

_WIDTHS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
_LEARNED_FROM = 60  # initial times from which widths are chosen
_IMAGE = ("y", "x")
_FEWEST = 5  # sequences


def held_in(case: VideoCase, fields: xr.DataArray) -> xr.DataArray:
    """Keep rates of rain from being negative; brightness is scored as it was forecast."""
    return fields.clip(min=case.floor) if case.name == "rain" else fields


def scored(case: VideoCase, made: xr.DataArray, members: xr.DataArray | None = None) -> xr.Dataset:
    """Score forecasts, lazily.

    Parameters
    ----------
    case : VideoCase
    made : DataArray (init_time, lead_time, [sequence], y, x)
        One forecast of each record.
    members : DataArray (..., member, ...), optional
        Draws, for the CRPS; without them it is the mean absolute error.

    Returns
    -------
    Dataset
        ``mse``, ``mae``, ``crps``; of digits, where these are summed over pixels, ``ssim`` and ``psnr``; of rain
        ``csi_T`` and ``fss_T`` of each threshold T: means over leads. The same names with ``_by_lead``. With ``_lower``
        and ``_upper`` the bounds of intervals (of ``csi_T`` and ``fss_T`` by lead alone), where `blocks_of` has blocks;
        the attribute ``intervals`` tells of them.
    """
    made = case.scored(made)
    truth = case.scored(metrics.at_valid_times(case.test, made))
    every = [d for d in made.dims if d != "lead_time"]
    draws = None if members is None else case.scored(members)
    out: dict[str, xr.DataArray] = {}
    for end, dims in (("", list(made.dims)), ("_by_lead", every)):
        for name, score in _scores(case, made, truth, draws, dims).items():
            base, side = _parts(name)
            out[f"{base}{end}{side}"] = score
    for level in case.thresholds:
        for name in (f"csi_{level:g}", f"fss_{level:g}"):
            out[name] = out[f"{name}_by_lead"].mean("lead_time")
    return xr.Dataset({n: v.reset_coords(drop=True) for n, v in out.items()}, attrs={"intervals": blocks_of(made)[1]})


def blocks_of(made: xr.DataArray) -> tuple[dict[str, Any] | None, str]:
    """How scores are resampled: sequences one by one, which know nothing of each other, or blocks of initial times.

    Parameters
    ----------
    made : DataArray
        Forecasts.

    Returns
    -------
    dict or None
        For ``bootstrap=``.
    str
        The same in words, or why there is none.
    """
    if "sequence" not in made.dims:
        return metrics.automatic_blocks(made, dim="init_time")
    size = made.sizes["sequence"]
    if size < _FEWEST:
        return None, f"no intervals: {size} sequences are too few"
    return {"dim": "sequence", "block": 1, "n": 1000}, f"90 % intervals from 1000 resamples of {size} sequences"


def _parts(name: str) -> tuple[str, str]:
    side = next((side for side in ("_lower", "_upper") if name.endswith(side)), "")
    return name.removesuffix(side), side


def _scores(
    case: VideoCase, made: xr.DataArray, truth: xr.DataArray, draws: xr.DataArray | None, dims: list[Hashable]
) -> dict[str, xr.DataArray]:
    settings: dict[str, Any] = {"dim": dims, "weights": None, "bootstrap": blocks_of(made)[0]}

    def verify(forecast: xr.DataArray, *wanted: Any) -> dict[str, xr.DataArray]:
        return {str(n): v for n, v in metrics.verify(forecast, truth, metrics=wanted, **settings).data_vars.items()}

    out = verify(made, "mse", "mae")
    out |= (
        {name.replace("mae", "crps"): v for name, v in out.items() if name.startswith("mae")}
        if draws is None
        else verify(draws, "crps")
    )
    if case.name == "moving-digits":
        pixels = made.sizes["y"] * made.sizes["x"]
        out = {name: score * pixels for name, score in out.items()}
        out |= verify(made, partial(metrics.psnr, data_range=1.0))
        return out | verify(made.clip(0, 1), partial(metrics.ssim, data_range=1.0, image_dims=_IMAGE))
    if len(dims) == made.ndim:  # means over leads take their place
        return out
    for level in case.thresholds:
        events = partial(metrics.csi, threshold=level)
        areas = partial(metrics.fss, threshold=level, window=case.window, image_dims=_IMAGE)
        for name, score in verify(made, events, areas).items():
            base, side = _parts(name)
            out[f"{base}_{level:g}{side}"] = score
    return out


def mean_frame(case: VideoCase) -> xr.DataArray:
    """Give the mean of all frames of the training."""
    return case.train.mean([d for d in case.train.dims if d not in _IMAGE]).compute().drop_vars("time", errors="ignore")


def blurred(case: VideoCase, last: xr.DataArray) -> xr.DataArray:
    """Blur the last frame, more with every lead, as the training has it best.

    Parameters
    ----------
    case : VideoCase
    last : DataArray (init_time, lead_time, y, x)
        The last frame at every lead.
    """
    train = case.train.transpose("time", *_IMAGE)
    starts = np.unique(np.linspace(0, train.sizes["time"] - case.n_future - 1, _LEARNED_FROM).astype(int))
    fields = np.nan_to_num(train.isel(time=starts).values)
    errors = np.empty((len(_WIDTHS), case.n_future))
    for k, width in enumerate(_WIDTHS):
        smooth = _blur(fields, width)
        for lead in range(case.n_future):
            errors[k, lead] = np.nanmean((smooth - train.isel(time=starts + lead + 1).values) ** 2)
    widths = [_WIDTHS[k] for k in errors.argmin(0)]
    last = last.transpose("init_time", "lead_time", *_IMAGE).compute()
    parts = [last.isel(lead_time=[k]).copy(data=_blur(last.values[:, [k]], width)) for k, width in enumerate(widths)]
    return xr.concat(parts, "lead_time").assign_attrs(last.attrs)


def _blur(fields: Any, width: float) -> Any:
    """Filter maps; what is missing stays so, and counts as dry."""
    if width == 0:
        return fields
    smooth = gaussian_filter(np.nan_to_num(fields), (0,) * (fields.ndim - 2) + (width, width), mode="nearest")
    return np.where(np.isnan(fields), np.nan, smooth)
