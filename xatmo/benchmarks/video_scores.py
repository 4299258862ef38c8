"""Scores of forecasts of moving digits and of rain, and the simple forecasts that they are compared with."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from xatmo import metrics
from xatmo.benchmarks.video_cases import VideoCase

_WIDTHS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
_LEARNED_FROM = 60  # initial times from which widths are chosen
_IMAGE = ("y", "x")


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
        ``csi_T`` and ``fss_T`` of each threshold T: means over leads. The same names with ``_by_lead``.
    """
    made = case.scored(made)
    truth = case.scored(metrics.at_valid_times(case.test, made))
    every = [d for d in made.dims if d != "lead_time"]
    names = {d: None for d in (*every, "lead_time")}
    draws = None if members is None else case.scored(members)
    out: dict[str, xr.DataArray] = {}
    for end, dims in (("", list(names)), ("_by_lead", every)):
        for name, score in _scores(case, made, truth, draws, dims).items():
            out[name + end] = score
    for name in [n for n in out if n.startswith(("csi_", "fss_", "ssim")) and not n.endswith("_by_lead")]:
        out[name] = out[f"{name}_by_lead"].mean("lead_time")
    return xr.Dataset({n: v.reset_coords(drop=True) for n, v in out.items()})


def _scores(
    case: VideoCase, made: xr.DataArray, truth: xr.DataArray, draws: xr.DataArray | None, dims: list[Hashable]
) -> dict[str, xr.DataArray]:
    kwargs: dict[str, Any] = {"dim": dims, "weights": None}
    out = {"mse": metrics.mse(made, truth, **kwargs), "mae": metrics.mae(made, truth, **kwargs)}
    out["crps"] = out["mae"] if draws is None else metrics.crps(draws, truth, **kwargs)
    whole = len(dims) == made.ndim
    if case.name == "moving-digits":
        pixels = made.sizes["y"] * made.sizes["x"]
        out = {name: score * pixels for name, score in out.items()}
        out["psnr"] = metrics.psnr(made, truth, data_range=1.0, **kwargs)
        if not whole:
            out["ssim"] = metrics.ssim(made.clip(0, 1), truth, data_range=1.0, image_dims=_IMAGE, **kwargs)
        else:
            out["ssim"] = out["mse"] * np.nan  # the mean over leads takes its place
        return out
    for level in case.thresholds:
        out[f"csi_{level:g}"] = metrics.csi(made, truth, threshold=level, **kwargs)
        fss = out["mse"] * np.nan
        if not whole:
            fss = metrics.fss(made, truth, threshold=level, window=case.window, image_dims=_IMAGE, **kwargs)
        out[f"fss_{level:g}"] = fss
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
