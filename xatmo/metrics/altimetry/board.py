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
from xatmo.metrics.altimetry.intervals import BANDS, Blocks, chosen_blocks, scale_bounds, wavelength_bounds
from xatmo.metrics.altimetry.records import COLUMNS, LAMBDA_X, known_challenge
from xatmo.metrics.altimetry.records import published as published_rows
from xatmo.metrics.altimetry.scales import psd_score, resolved_scales
from xatmo.metrics.altimetry.tracks import SPACING, along_track, resolved_wavelength, track_psd, track_scores
from xatmo.typing import XarrayObject

BOUNDS = tuple(f"{name}_{side}" for name in COLUMNS for side in ("lower", "upper"))
"""Columns of bounds."""


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
    bootstrap: Blocks = None,
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
    bootstrap : "auto", int or mapping, optional
        Bounds of all scores. Of mu and sigma by resampling blocks of days: so many, with the settings of a mapping
        (``block``, ``n``, ``seed``, ``level``), or as `xatmo.metrics.automatic_blocks` chooses them. Of lambda_x and
        lambda_t by resampling bands of latitude (`scale_bounds`), along a track all segments of such blocks of days
        (`wavelength_bounds`).

    Returns
    -------
    DataFrame
        Indexed by name: ``mu``, ``sigma``, ``lambda_x`` (OSSE 2020a: degrees of longitude; OSE 2021a: km along the
        track), ``lambda_t`` (days; NaN for tracks). Both are NaN where land lies in every row of the truth, as in the
        North Atlantic. With a bootstrap also ``mu_lower``, ``mu_upper`` and so on of each, after these; NaN where
        there is nothing to draw from. Its ``attrs`` tell challenge, area, period, units, and where ``intervals`` come
        from.

    Raises
    ------
    OptionError
        If there is no map, names are published ones, an option is unknown, or fewer than two blocks fit.
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
    told: dict[str, None] = {}
    rows: dict[str, dict[str, float]] = {}
    if is_track:
        for n, m in maps.items():
            rows[n], why = _by_track(m, target, area, period, spacing, cutting, rounded, bootstrap)
            told[why] = None
    else:
        truth = select(daily_means(only_field(target, what="the target")), area, period, what="the target").compute()
        blocks, why = chosen_blocks(bootstrap, truth)
        told[why] = None
        rows = {n: _by_truth(m, truth, weights, paths, rounded, blocks) for n, m in maps.items()}
    columns = [*COLUMNS, *(BOUNDS if bootstrap is not None else ())]
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
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
    if bootstrap is not None:
        table.attrs["intervals"] = "; ".join(told)
        if not is_track and any(table[n].notna().any() for n in BOUNDS[4:]):
            table.attrs["intervals"] += f"; lambda_x, lambda_t: of {BANDS} bands of latitude"
    return table


def _by_truth(
    mapped: XarrayObject, truth: xr.DataArray, weights: Any, paths: Any, rounded: bool, blocks: dict[str, Any] | None
) -> dict[str, float]:
    made = on_truth(mapped, truth).compute()
    if "units" not in truth.attrs:
        made.attrs.pop("units", None)
    found = mu_sigma(made, truth, weights=weights, bootstrap=blocks)
    free = truth.notnull().all([truth.dims[0], truth.dims[2]])
    if free.any():
        found = found.merge(resolved_scales(psd_score(made, truth), paths=paths).drop_vars("n_paths"))
        if blocks is not None:
            found = found.merge(scale_bounds(made, truth, bootstrap=blocks, paths=paths))
    numbers = {str(n): float(x) for n, x in found.items()}
    return {n: round(x, 2) for n, x in numbers.items()} if rounded else numbers


def _by_track(
    mapped: XarrayObject, track: XarrayObject, area: Area, period: Period, spacing: float, cutting: Any, rounded: bool,
    bootstrap: Blocks,
) -> tuple[dict[str, float], str]:  # fmt: skip
    pair = along_track(mapped, track, area=area, period=period).compute()
    size = track_scores(pair)
    blocks, why = chosen_blocks(bootstrap, size["score"].dropna("time"))
    if blocks is not None:
        size = track_scores(pair, bootstrap=blocks)
    found = size.drop_vars(["score", "count"])
    found["lambda_x"] = resolved_wavelength(track_psd(pair, spacing=spacing, cutting=cutting))
    if blocks is not None:
        try:
            found = found.merge(wavelength_bounds(pair, bootstrap=blocks, spacing=spacing, cutting=cutting))
        except OptionError:  # the blocks served for mu: long segments lie in fewer than two of them
            why += "; lambda_x: none, its segments lie in fewer than two blocks"
    numbers = {str(n): float(x) for n, x in found.items()}
    if rounded:
        whole = {n: float(np.floor(x)) for n, x in numbers.items() if n.startswith("lambda_x")}
        numbers = {n: whole.get(n, round(x, 2)) for n, x in numbers.items()}
    return numbers, why
