"""How sure the scores of sea-level maps are: bounds of resolved scales, and how blocks are chosen for a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError
from xatmo.metrics.altimetry.scales import resolved, row_spectra
from xatmo.metrics.altimetry.tracks import segment_spectra, wavelength_at
from xatmo.metrics.blocks import automatic_blocks, words
from xatmo.metrics.resampling import Bootstrap, widening
from xatmo.typing import Floats, XarrayObject

Blocks = int | str | Mapping[str, Any] | None
BANDS = 5
"""Of neighbouring rows: in the challenges' box two degrees each, twice what errors of maps remember, about."""
_RESAMPLES = 200  # contours are slow, and bounds from two hundred steady enough


def scale_bounds(
    mapped: XarrayObject,
    truth: XarrayObject,
    *,
    bootstrap: Mapping[str, Any] | None = None,
    bands: int = BANDS,
    level: float = 0.5,
    paths: Literal["first", "all", "longest"] = "first",
) -> xr.Dataset:
    """Bounds of the resolved wavelength and period, from resampling bands of latitude.

    The spectral score is a ratio of powers that are means over rows, each of all times and longitudes. So it is rows
    that are drawn, in bands, for neighbouring ones err alike: the contour is found anew in each resample. Days cannot
    be drawn, since a period needs all of them in order. The bounds say within what the scales would lie on other seas
    of the same kind over as many days, and nothing of other seasons.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`; computed.
    bootstrap : mapping, optional
        ``n`` (200), ``seed``, ``level`` (0.9), ``student`` and ``kind``; the rest is ignored.
    bands : int
        Into which the rows without gaps are cut. They should be wider than errors remember, and few are rough.
    level, paths
        See `resolved_scales`.

    Returns
    -------
    Dataset
        ``lambda_x_lower``, ``lambda_x_upper``, ``lambda_t_lower``, ``lambda_t_upper``; NaN where fewer than two rows
        are free of land. Infinite where a resample in twenty or more resolves nothing.

    Raises
    ------
    OptionError
        If a setting has no usable value.

    Notes
    -----
    On simulated seas of 42 days and 10 by 10 degrees whose error is known by wavelength and period, bounds of 90 % held
    the true wavelength and period in 88 and 88 % with five bands where errors remembered 0.7 degrees of latitude, and
    in 88 and 75 % with ten, which are too narrow for that; in 92 and 92 % with ten where they remembered 0.3, each of
    60 seas. With ``paths="all"`` small pieces of the contour at short waves pull the scales down, by chance, in
    the resamples more than in the score: such bounds held the truth in a third to three quarters.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=20, step=0.25)["ssh"]
    >>> blurred = truth.rolling(longitude=9, center=True, min_periods=1).mean()
    >>> found = scale_bounds(blurred, truth, bootstrap={"n": 40})
    >>> bool(found["lambda_x_lower"] < found["lambda_x_upper"]), found["lambda_x_lower"].attrs["blocks"]
    (True, 5)
    """
    spectra = row_spectra(mapped, truth).compute()
    rows = cf.horizontal(truth).lat_dim
    if bands < 2:
        message = f"scale_bounds(bands={bands}); wanted two or more"
        raise OptionError(message)
    known = spectra["psd_truth"].notnull().all([d for d in spectra["psd_truth"].dims if d != rows])
    spectra = spectra.isel({rows: np.flatnonzero(known.values)})
    height = max(1, spectra.sizes[rows] // bands)
    number = spectra.sizes[rows] // height
    resampling = _of_spectra(bootstrap, rows, height)
    ends = np.full((2, 2), np.nan)
    if number >= resampling.least:
        error, signal = (resampling.add(spectra[n]).values for n in ("psd_error", "psd_truth"))
        score = 1 - error / np.where(signal > 0, signal, np.nan)
        x, t = (np.asarray(spectra[n].values, np.float64) for n in ("wavelength", "period"))
        score = np.moveaxis(score, -1, 0)
        samples = np.array([resolved(plane, x, t, level, paths)[:2] for plane in score])
        ends = np.stack([quantiles(column, resampling, number) for column in samples.T])
    units = {"lambda_x": spectra["wavelength"].attrs["units"], "lambda_t": "day"}
    names = {"lambda_x": "shortest resolved wavelength", "lambda_t": "shortest resolved period"}
    out = xr.Dataset()
    for (name, long_name), pair in zip(names.items(), ends, strict=True):
        for side, value in zip(("lower", "upper"), pair, strict=True):
            told = {"long_name": f"{side} {resampling.level:g} bound of the {long_name}", "units": units[name]}
            out[f"{name}_{side}"] = ((), float(value), told | resampling.stated(number))
    return out


def wavelength_bounds(
    pair: xr.Dataset, *, bootstrap: Mapping[str, Any], level: float = 0.5,
    rule: Literal["challenge", "first"] = "challenge", **cutting: Any,
) -> xr.Dataset:  # fmt: skip
    """Bounds of the wavelength resolved along a track, from resampling the segments of blocks of days.

    Segments overlap, and those of one day see the same sea: all of a block of days are drawn together.

    Parameters
    ----------
    pair : Dataset
        From `along_track`; computed.
    bootstrap : mapping
        As of `track_scores`: ``block`` (days, or a span such as ``"7D"``), ``n``, ``seed``, ``level``.
    level, rule
        See `resolved_wavelength`.
    **cutting
        ``spacing``, ``length``, ``gap``, ``cutting``: see `track_psd`.

    Returns
    -------
    Dataset
        ``lambda_x_lower`` and ``lambda_x_upper`` in km.

    Raises
    ------
    OptionError
        If the bootstrap has no usable value, or segments lie in fewer than two blocks.
    MissingValueError
        See `track_psd`.

    Notes
    -----
    Of 100 simulated records of 30 days with two passes a day, alike by half of their variance, whose error is known by
    wavelength, bounds of 90 % from blocks of a day held the true wavelength in 96.

    Examples
    --------
    >>> times = np.datetime64("2017-01-01", "ns") + np.arange(12) * np.timedelta64(12, "h")
    >>> seconds = np.arange(300) * np.timedelta64(943_400_000, "ns")
    >>> sea = np.random.default_rng(0).normal(size=(12, 300)).cumsum(1)
    >>> blurred = (sea + np.roll(sea, 5, axis=1) + np.roll(sea, -5, axis=1)) / 3
    >>> pair = xr.Dataset({"ssh": ("time", sea.ravel()), "ssh_map": ("time", blurred.ravel())},
    ...                   {"time": (times[:, None] + seconds).ravel()})
    >>> found = wavelength_bounds(pair, bootstrap={"block": 1, "n": 50}, cutting="whole")
    >>> bool(0 < found["lambda_x_lower"] < found["lambda_x_upper"]), found["lambda_x_upper"].attrs["blocks"]
    (True, 6)
    """
    found = segment_spectra(pair, **cutting)
    given = dict(bootstrap)
    if isinstance(given.get("block"), int):
        given["block"] = f"{given['block']}D"
    resampling = Bootstrap.of({"n": _RESAMPLES, **given, "dim": "segment"})
    labels = pd.DatetimeIndex(found["time"].values).floor("D")  # the days that mu is a mean of
    error, signal = (resampling.add(found[n], labels).transpose("resample", ...).values for n in ("error", "ref"))
    waves = np.asarray(1 / found["wavenumber"].values[1:], np.float64)
    score = 1 - error[:, 1:] / np.where(signal[:, 1:] > 0, signal[:, 1:], np.nan)
    number = resampling.windows(labels.size, labels).drawn
    ends = quantiles(np.array([wavelength_at(row, waves, level, rule) for row in score]), resampling, number)
    out = xr.Dataset()
    for side, value in zip(("lower", "upper"), ends, strict=True):
        told = {"long_name": f"{side} {resampling.level:g} bound of the shortest resolved wavelength", "units": "km"}
        out[f"lambda_x_{side}"] = ((), float(value), told | resampling.stated(number))
    return out


def chosen_blocks(bootstrap: Blocks, field: xr.DataArray) -> tuple[dict[str, Any] | None, str]:
    """Give settings of a bootstrap along the times of a field, and words for them; None where times are too few.

    Raises
    ------
    OptionError
        If it is none of ``"auto"``, a number of times, a mapping.
    """
    time = field[cf.time(field)].dims[0]
    if bootstrap is None:
        return None, ""
    if isinstance(bootstrap, str):
        if bootstrap != "auto":
            message = (
                f"bootstrap={bootstrap!r}; wanted 'auto', a number of days, or a mapping such as {{'block': '7D'}}"
            )
            raise OptionError(message)
        return automatic_blocks(field, dim=time)
    given = {"block": bootstrap} if isinstance(bootstrap, int) else dict(bootstrap)
    settings = {"dim": time, **given}
    resampling = Bootstrap.of(settings)
    return settings, words(resampling, resampling.windows(field.sizes[time], field.indexes.get(time)).drawn)


def quantiles(samples: Floats, resampling: Bootstrap, blocks: int) -> Floats:
    """Lower and upper bound of scales, which may be infinite, wider for few blocks.

    Examples
    --------
    >>> some = np.append(np.arange(1.0, 99.0), [np.inf, np.inf])
    >>> quantiles(some, Bootstrap("row", level=0.9, student=False), 5)
    array([ 5., 95.])
    >>> quantiles(some, Bootstrap("row", level=0.98, student=False), 5)
    array([ 1., inf])
    """
    tail = (1 - resampling.level) / 2
    lower, middle, upper = np.quantile(samples, [tail, 0.5, 1 - tail], method="inverted_cdf")
    if resampling.student and np.isfinite(middle):
        wider = widening(blocks, resampling.level)
        lower, upper = max(middle + wider * (lower - middle), 0.0), middle + wider * (upper - middle)
    return np.array([lower, upper])


# ---------------------------------------------------------------------- pieces
def _of_spectra(bootstrap: Mapping[str, Any] | None, dim: Any, block: int) -> Bootstrap:
    given = {k: v for k, v in (bootstrap or {}).items() if k not in ("dim", "block", "least", "remainder", "compat")}
    return Bootstrap.of({"n": _RESAMPLES, **given, "dim": dim, "block": block})
