"""Several maps in one table, with what others reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import Weights
from xatmo.metrics.altimetry.areas import Area, Period, select
from xatmo.metrics.altimetry.gridded import daily_means, mu_sigma, on_truth, only_field
from xatmo.metrics.altimetry.records import COLUMNS, LAMBDA_X, known_challenge
from xatmo.metrics.altimetry.records import published as published_rows
from xatmo.metrics.altimetry.scales import psd_score, resolved_scales
from xatmo.metrics.altimetry.tracks import SPACING, along_track, resolved_wavelength, track_psd, track_scores
from xatmo.typing import XarrayObject


def leaderboard(
    maps: Mapping[str, XarrayObject],
    target: XarrayObject,
    *,
    area: Area = None,
    period: Period = None,
    challenge: str | None = None,
    published: bool | str = False,
    weights: Weights = None,
    paths: Any = "first",
    spacing: float = SPACING,
    cutting: Any = "challenge",
    rounded: bool = False,
) -> pd.DataFrame:
    """Score maps of sea level as the data challenges do. Computes.

    Parameters
    ----------
    maps : mapping of str to Dataset or DataArray (time, latitude, longitude)
        By name. They may lie on any grid and times that span the target's.
    target : Dataset or DataArray
        For OSSE 2020a the gridded truth, (time, latitude, longitude); several times a day are averaged by day. For OSE
        2021a the track of an altimeter that the maps have not seen: see `along_track`.
    area : str or mapping, optional
        ``"gulf_stream"`` (the challenges'), ``"osmosis"``, ``"north_atlantic"``, or ``{"latitude": (south, north),
        "longitude": (west, east)}``; all of the target unless given.
    period : str, slice or (first, last), optional
        ``"osse2020a"`` or ``"ose2021a"`` for the challenges' days, or one's own; all of the target's unless given.
    challenge : {"osse2020a", "ose2021a"}, optional
        Which scores; the one that the target is made for unless given.
    published : bool or str
        Whether to add what others reached, or with which observing system: see `published`. Comparable only on the
        challenge's own area, days and target.
    weights : "area", DataArray or None
        Of points in mu and sigma of OSSE 2020a. All alike unless given, as in the challenge.
    paths : {"first", "all", "longest"}
        See `resolved_scales`.
    spacing : float
        Kilometres between points of the track: see `track_psd`.
    cutting : {"challenge", "whole"}
        See `track_psd`.
    rounded : bool
        Whether to round as in the published tables: two decimals; lambda_x of tracks cut to whole kilometres.

    Returns
    -------
    DataFrame
        Indexed by name: ``mu``, ``sigma``, ``lambda_x`` (OSSE 2020a: degrees of longitude; OSE 2021a: km along the
        track), ``lambda_t`` (days; NaN for tracks). Both are NaN where land lies in every row of the truth, as in the
        North Atlantic. Its ``attrs`` tell challenge, area, period and units.

    Raises
    ------
    OptionError
        If there is no map, names are published ones, or an option is unknown.
    DimensionError
        If the target is none of the challenge's.
    CoordinateError, UnitsError, VariableError, MissingValueError
        See `on_truth`, `power_spectra`, `along_track`, `track_psd`.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=20, start="2012-10-22")["ssh"]
    >>> coarse = truth.rolling(longitude=9, center=True, min_periods=1).mean()
    >>> table = leaderboard({"too flat": 0.9 * truth, "smooth": coarse}, truth, published="4 nadirs")
    >>> float(table.loc["too flat", "mu"].round(6)), list(table.columns), len(table)
    (0.9, ['mu', 'sigma', 'lambda_x', 'lambda_t'], 10)
    """
    if not isinstance(maps, Mapping) or not maps:
        came = f"{len(maps)} maps" if isinstance(maps, Mapping) else f"a {type(maps).__name__}"
        message = f"leaderboard got {came}; wanted {{'NAME': map, ...}}"
        raise OptionError(message)
    is_track = len(target.dims) == 1
    name = known_challenge(("ose2021a" if is_track else "osse2020a") if challenge is None else challenge)
    if is_track != (name == "ose2021a"):
        message = (
            f"challenge {name!r} wants {'a track' if name == 'ose2021a' else 'a gridded truth'}; came a target over "
            f"{tuple(target.dims)}. Leave challenge out, or give {'ose2021a' if is_track else 'osse2020a'!r}"
        )
        raise DimensionError(message)
    others = published_rows(name, published if isinstance(published, str) else None) if published else None
    taken = [n for n in maps if others is not None and n in others.index]
    if taken:
        message = f"maps are named {taken}, as published ones are; wanted other names"
        raise OptionError(message)
    if is_track:
        rows = {n: _by_track(m, target, area, period, spacing, cutting, rounded) for n, m in maps.items()}
    else:
        truth = select(daily_means(only_field(target, what="the target")), area, period, what="the target").compute()
        rows = {n: _by_truth(m, truth, weights, paths, rounded) for n, m in maps.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    if others is not None:
        table = pd.concat([table, others])
    table.index.name = "name"
    table.attrs = {
        "challenge": name,
        "area": area if area is None or isinstance(area, str) else dict(area),
        "period": str(period) if isinstance(period, slice) else period,
        "lambda_x units": LAMBDA_X[name],
        "lambda_t units": "day",
    }
    return table


def _by_truth(mapped: XarrayObject, truth: xr.DataArray, weights: Any, paths: Any, rounded: bool) -> list[float]:
    made = on_truth(mapped, truth).compute()
    if "units" not in truth.attrs:
        made.attrs.pop("units", None)
    size = mu_sigma(made, truth, weights=weights)
    free = truth.notnull().all([truth.dims[0], truth.dims[2]])
    scales = resolved_scales(psd_score(made, truth), paths=paths) if free.any() else None
    waves = [scales["lambda_x"], scales["lambda_t"]] if scales is not None else [np.nan, np.nan]
    found = [float(x) for x in (size["mu"], size["sigma"], *waves)]
    return [round(x, 2) for x in found] if rounded else found


def _by_track(
    mapped: XarrayObject, track: XarrayObject, area: Area, period: Period, spacing: float, cutting: Any, rounded: bool
) -> list[float]:
    pair = along_track(mapped, track, area=area, period=period).compute()
    size = track_scores(pair)
    wave = float(resolved_wavelength(track_psd(pair, spacing=spacing, cutting=cutting)))
    found = [float(size["mu"]), float(size["sigma"])]
    if rounded:
        return [*(round(x, 2) for x in found), float(np.floor(wave)), float("nan")]
    return [*found, wave, float("nan")]
