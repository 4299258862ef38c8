"""What is computed of each run: scores with bounds, spectra, moments, errors in time, places and one map."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf, metrics
from xatmo.errors import CoordinateError, GridError, MissingValueError, XatmoError
from xatmo.report._together import together

METRICS = ("rmse", "mae", "bias", "correlation", "std_ratio", "ssim", "effective_resolution")
OF_MEMBERS = ("crps", "spread_skill")
# Which value of a score is best: the lowest, the highest, or the nearest to a number.
BEST: Mapping[str, str | float] = {
    **dict.fromkeys(("rmse", "mse", "mae", "crps", "effective_resolution", "wasserstein", "energy_score"), "low"),
    **dict.fromkeys(("correlation", "acc", "skill", "psnr", "ssim", "crps_skill"), "high"),
    "bias": 0.0, "std_ratio": 1.0, "spread_skill": 1.0, "gradient_ratio": 1.0,
}  # fmt: skip
_OF_IMAGES = {"gradient_ratio", "ssim", "ms_ssim", "fss"}
_OF_SPACING = "effective_resolution"
_RESAMPLES = 500


@dataclass
class Measured:
    """Results of one run for one variable; what could not be had is told in ``notes``."""

    scores: xr.Dataset = field(default_factory=xr.Dataset)
    parts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def time_of(da: xr.DataArray) -> Hashable | None:
    """Dimension of time, or None."""
    try:
        dim: Hashable = da[cf.time(da)].dims[0]
    except (CoordinateError, IndexError):
        return "time" if "time" in da.dims else None  # frames without a clock
    return dim


def member_of(da: xr.DataArray) -> Hashable | None:
    """Dimension of members, or None."""
    from xatmo.plot.ensembles import member_dim

    return member_dim(da)


def resampling(da: xr.DataArray, given: Mapping[str, Any] | str | None) -> tuple[dict[str, Any] | None, str]:
    """How to find bounds, and why there are none: as given, or ``"auto"``, as `xatmo.metrics.automatic_blocks` does."""
    if not isinstance(given, str):
        return (None if given is None else dict(given)), ""
    found, words = metrics.automatic_blocks(da, n=_RESAMPLES)
    return found, words if found is None else ""


def whole(da: xr.DataArray) -> xr.DataArray:
    """Lazy fields with latitude and longitude in one chunk each, which spectra need."""
    if da.chunks is None:
        return da
    return da.chunk(dict.fromkeys(cf.across(da), -1))


def plane_of(da: xr.DataArray) -> tuple[Hashable, Hashable] | None:
    """Rows and columns of fields without axes of latitude and longitude (images, radar); None of others.

    Examples
    --------
    >>> plane_of(xr.DataArray([[[0.0] * 3] * 2], dims=("time", "y", "x")))
    ('y', 'x')
    """
    try:
        cf.horizontal(da, rings=True)
    except (CoordinateError, GridError):
        return cf.rows_and_columns(da)
    return None


def of_images(entry: Any, dims: Sequence[Hashable]) -> Any:
    """Name rows and columns to a score that looks at neighbours; give others as they are."""
    known = entry.func if isinstance(entry, partial) else entry
    name = known if isinstance(known, str) else getattr(known, "__name__", "")
    if name not in _OF_IMAGES or (callable(known) and known is not getattr(metrics, name)):
        return entry
    named = partial(getattr(metrics, name) if isinstance(entry, str) else entry)
    return partial(named, **{"image_dims": list(dims), **named.keywords})


def on_plane(target: xr.DataArray, names: Sequence[Any]) -> tuple[list[Any], bool, list[str]]:
    """Scores that fields without latitude can have, whether their spectra can be had, and what to tell of them."""
    dims = plane_of(target)
    if dims is None:
        return list(names), True, []
    notes = [
        "there are no axes of latitude and longitude: all cells count alike, and errors by time and places are left out"
    ]
    spaced = _has_spacing(target.isel({d: 0 for d in target.dims if d not in dims}))
    if not spaced:
        y, x = map(str, dims)
        notes.append(
            f"spectra and effective resolution are left out: the spacing of {y!r} and {x!r} is not known; give y and x "
            "coordinates in units of length, such as m"
        )
    return [of_images(n, dims) for n in names if spaced or n != _OF_SPACING], spaced, notes


def _has_spacing(field: xr.DataArray) -> bool:
    from xatmo import spectral

    try:
        spectral.energy_spectrum(field)
    except MissingValueError:
        return True
    except XatmoError:
        return False
    return True


def choose(da: xr.DataArray, time: Any) -> xr.DataArray:
    """One field for maps: at a label or a position in time, the first along other dimensions.

    Raises
    ------
    CoordinateError
        If there is no such time.
    """
    across = cf.across(da)
    dim = time_of(da)
    if dim is not None and dim in da.dims:
        try:
            if isinstance(time, int | np.integer):
                da = da.isel({dim: int(time)})
            else:  # a string may name a whole day
                da = da.sel({dim: time}) if isinstance(time, str) else da.sel({dim: time}, method="nearest")
                da = da.isel({dim: 0}) if dim in da.dims else da
        except (IndexError, KeyError, ValueError, TypeError) as error:
            ends = f" from {da[dim].values[0]} to {da[dim].values[-1]}" if dim in da.coords and da.sizes[dim] else ""
            message = f"time={time!r} is not there; wanted one of {da.sizes[dim]} positions or labels{ends}"
            raise CoordinateError(message) from error
    return da.isel({d: 0 for d in da.dims if d not in across})


def mean_spectrum(da: xr.DataArray) -> xr.DataArray:
    """Power by degree or wavenumber, the mean over all else."""
    from xatmo import spectral

    found = spectral.energy_spectrum(da)
    dim = next(d for d in ("degree", "wavenumber") if d in found.dims)
    return found.mean([d for d in found.dims if d != dim], keep_attrs=True)


def measure(
    prediction: xr.DataArray | None,
    target: xr.DataArray,
    *,
    names: Sequence[Any],
    bootstrap: Mapping[str, Any] | None,
    time: Any,
    places: Any,
    only_scores: bool = False,
    spectra: bool = True,
) -> Measured:
    """Compute all of one run in one pass over its data; ``None``: of the target itself.

    What fails is left out, with a note that says why; scores that fail are an error.
    """
    wanted: dict[str, Callable[[], Any]] = {}
    member = None if prediction is None else member_of(prediction)
    members = member is not None
    field_ = whole(target if prediction is None else prediction)
    mean = field_ if member is None else field_.mean([member], keep_attrs=True)
    made = Measured()
    dim = time_of(target)
    if prediction is not None:
        options: dict[str, Any] = {"bootstrap": bootstrap}
        options |= {} if plane_of(target) is None else {"weights": None}
        scored = metrics.verify(mean, target, metrics=list(names), **options)
        known = [n for n in OF_MEMBERS if n in metrics.METRICS]
        if members and known:
            scored = scored.merge(metrics.verify(field_, target, metrics=known, **options))
        made.scores = scored
        if only_scores:
            return _computed(made)
        if dim is not None and target.sizes[dim] > 1:
            wanted["moments"] = lambda: metrics.moments(mean, target, dim=dim, order=2)
            if plane_of(target) is None:  # lengths of gradients by time are those on a sphere
                wanted["temporal"] = lambda: metrics.temporal_error(mean, target, window=_window(target, dim))
        if members:
            wanted["ranks"] = lambda: metrics.rank_histogram(field_, target)
            wanted["spread"] = lambda: metrics.spread_skill(field_, target, dim=list(cf.across(target)))
    if spectra:
        wanted["spectrum"] = lambda: mean_spectrum(field_)
    wanted["map"] = lambda: choose(field_, time)
    if places is not None:
        wanted["places"] = lambda: places(field_.isel({member: 0}) if members else field_)
    for part, make in wanted.items():
        try:
            made.parts[part] = make()
        except XatmoError as error:
            made.notes.append(f"{part}: {error}")
    return _computed(made)


def _computed(made: Measured) -> Measured:
    """One pass over the data; where a part cannot be computed, each for itself."""
    try:
        done = together({"scores": made.scores, "parts": made.parts})
        return Measured(done["scores"], done["parts"], made.notes)
    except XatmoError:
        parts, notes = {}, list(made.notes)
        for key, part in made.parts.items():
            try:
                parts[key] = together(part)
            except XatmoError as error:
                notes.append(f"{key}: {error}")
        scores, told = _computed_scores(made.scores)
        return Measured(scores, parts, [*notes, *told])


def _computed_scores(lazy: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Scores that can be computed, and why others cannot; an error where none can."""
    names = list(lazy.data_vars)
    try:
        return lazy.compute(), []
    except XatmoError as error:
        first = error
    done, notes = [], []
    for name in names:
        try:
            done.append(lazy[[name]].compute())
        except XatmoError as error:
            notes.append(f"{name}: {error}")
    if not done:
        raise first
    return xr.merge(done, combine_attrs="override"), notes


def _window(target: xr.DataArray, dim: Hashable) -> str | None:
    """Choose 30 days where the record is long enough, else over a tenth of it, else none."""
    index = target.indexes.get(dim)
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 12:
        return None
    steps = np.diff(index.values).astype("timedelta64[s]").astype(float)
    if not steps.size or np.ptp(steps) > 1e-3 * steps[0] or steps[0] <= 0:
        return None
    seconds = min(30 * 86400.0, max(3 * float(steps[0]), 0.1 * float(steps.sum())))
    return f"{round(seconds)}s"


def rows_of(scores: xr.Dataset, run: str, variable: str) -> list[dict[str, Any]]:
    """Scores as rows of a table: run, variable, score, value, lower, upper, units."""
    rows = []
    for name, value in scores.data_vars.items():
        text = str(name)
        if value.ndim or any(text.endswith(e) and text.removesuffix(e) in scores for e in ("_lower", "_upper")):
            continue
        bounds = {e: float(scores[f"{text}_{e}"]) if f"{text}_{e}" in scores else np.nan for e in ("lower", "upper")}
        rows.append({"variable": variable, "run": run, "score": text, "value": float(value), **bounds,
                     "units": str(value.attrs.get("units", ""))})  # fmt: skip
    return rows


def best(score: str, values: Mapping[str, float]) -> set[str]:
    """Find the runs with the best value of a score; none where nobody knows which is better, or all are alike.

    Examples
    --------
    >>> best("rmse", {"a": 1.0, "b": 0.5}), best("bias", {"a": -0.1, "b": 0.5}), best("beauty", {"a": 1.0})
    ({'b'}, {'a'}, set())
    """
    rule = BEST.get(score)
    known = {n: v for n, v in values.items() if np.isfinite(v)}
    if rule is None or len(known) < 2:
        return set()
    sign = {"low": 1.0, "high": -1.0}
    off = {n: sign[rule] * v if isinstance(rule, str) else abs(v - rule) for n, v in known.items()}
    lowest = min(off.values())
    found = {n for n, v in off.items() if np.isclose(v, lowest, rtol=1e-9, atol=0)}
    return found if len(found) < len(known) else set()
