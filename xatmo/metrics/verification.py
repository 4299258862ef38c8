"""Several scores at once, with confidence bounds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError
from xatmo.metrics._aggregate import Sums, Weights
from xatmo.metrics._metric import Metric, Prepared, prepare, sums_together
from xatmo.metrics._pairs import Dims, fields, reduced_dims
from xatmo.metrics._registry import FUNCTIONS, METRICS, MetricLike, Score, resolve
from xatmo.metrics._resampled import Resampled, lookup, not_averaged, of_fields, of_sums
from xatmo.metrics.ambs import verify_as
from xatmo.metrics.blocks import automatic_blocks, words
from xatmo.metrics.forecasts import at_valid_times, is_forecast_of
from xatmo.metrics.regions import Regions, by_region
from xatmo.metrics.resampling import Bootstrap
from xatmo.typing import XarrayObject

_COSTLY = 100  # resamples of scores that are no sums: each is the whole work again


def verify(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    metrics: MetricLike | Sequence[MetricLike],
    dim: Dims = None,
    climatology: XarrayObject | None = None,
    bootstrap: Mapping[str, Any] | Literal["auto"] | None = None,
    weights: Weights = "area",
    regions: Regions | None = None,
    compat: Literal["ambs"] | None = None,
) -> xr.Dataset:
    """Score a prediction against a target.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        Variables are paired by name, labels by value, units converted.
    metrics : str, callable, or a sequence of these
        Names among `METRICS`; functions of this package, perhaps with keywords fixed by `functools.partial`; or any
        ``f(prediction, target, dim=...) -> DataArray``.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given.
    climatology : Dataset or DataArray, optional
        For ``acc`` (needed) and ``skill`` (its reference).
    bootstrap : mapping or "auto", optional
        ``"auto"``: blocks as `xatmo.metrics.automatic_blocks` chooses them, where it can. Or
        ``{"dim": "time", "block": "7D", "n": 1000, "seed": 0, "level": 0.9}``: bounds from resampling blocks of
        neighbours along a dimension that is averaged over, with the settings of
        `xatmo.metrics.resampling.Bootstrap`. Each resample draws as many blocks as there are and scores their sums:
        roots and ratios are taken of resampled means, not averaged. Of scores that are no sums (``wasserstein``, a
        function of the caller's) the drawn fields themselves are scored: ``n`` times the work of the score, so give a
        smaller ``n`` there; a lazy block then holds all that is averaged over. A range taken from the target (psnr,
        ssim) is that of the whole sample.
    weights : "area", DataArray or None
        As in `rmse`.
    regions : mapping, DataArray or str, optional
        Scores get a dimension ``region``: names to boxes (``{"alps": {"latitude": (44, 48), "longitude": (5, 16)}}``,
        west to east) or to masks on the fields' points; a map of numbers, words or CF flags; or the name of such a
        coordinate. Structure (ssim, fss) is worked out on whole images and averaged inside; a range taken from the
        target is that of all.
    compat : "ambs", optional
        Scores ``mse``, ``psnr``, ``ssim``, ``acc``, ``texture`` of forecasts by their definitions in AMBS instead: see
        `xatmo.metrics.ambs`. ``dim`` is averaged over then, of ``init_time`` and ``lead_time``.

    Returns
    -------
    Dataset
        One variable for each score, named as the metric; ``VARIABLE_metric`` where several variables are scored. With
        a bootstrap also ``..._lower`` and ``..._upper``, whose attributes tell level and blocks, and the attribute
        ``intervals``, which says it in words, or why there are none. Lazy where the input is.

    Raises
    ------
    OptionError
        If a metric is unknown or takes a climatology that is not given, or the bootstrap cannot be done.
    CoordinateError, DimensionError, UnitsError, VariableError
        As in `rmse`.

    Examples
    --------
    >>> import numpy as np
    >>> t = xr.DataArray(np.sin(np.arange(40.0)), dims="time", name="t2m", attrs={"units": "K"})
    >>> p = (t + 0.5).assign_attrs(t.attrs)
    >>> scores = verify(p, t, metrics=["rmse", "bias"], bootstrap={"dim": "time", "block": 5, "n": 50})
    >>> sorted(scores)
    ['bias', 'bias_lower', 'bias_upper', 'rmse', 'rmse_lower', 'rmse_upper']
    >>> scores["rmse"].item(), scores["rmse"].attrs["units"]
    (0.5, 'K')
    """
    chosen = [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics)
    if not chosen:
        message = f"no metrics given; wanted some of {sorted(METRICS)}"
        raise OptionError(message)
    if compat is not None:
        return verify_as(compat, prediction, target, chosen, dim, climatology, bootstrap)
    if regions is not None:

        def inside(by: xr.DataArray) -> xr.Dataset:
            some: dict[str, Any] = {"metrics": chosen, "dim": dim, "climatology": climatology, "bootstrap": bootstrap}
            return verify(prediction, target, weights=by, **some)

        return by_region(inside, prediction, regions, weights)
    pairs = list(fields(prediction, target, what="verify"))
    scores: dict[Hashable, xr.DataArray] = {}
    told: dict[str, None] = {}
    for variable, first, target_of in pairs:
        # Laid at the valid times once for all scores.
        second = at_valid_times(target_of, first) if is_forecast_of(first, target_of) else target_of
        how = [_resampling(bootstrap, entry, first, second, dim) for entry in chosen]
        settings: dict[str, Any] = {"dim": dim, "weights": weights, "climatology": climatology}
        prepared = _in_one_pass(chosen, first, second, [resampling for resampling, _ in how], **settings)
        for entry, (resampling, why), ready in zip(chosen, how, prepared, strict=True):
            name, found = resampled(entry, first, second, resampling=resampling, ready=ready, **settings)
            scores |= found.with_bounds(name if len(pairs) == 1 else f"{variable}_{name}", resampling)
            told[why if resampling is None else words(resampling, found.blocks)] = None
    out = xr.Dataset({name: score.rename(name) for name, score in scores.items()})
    if bootstrap is not None:
        out.attrs["intervals"] = "; ".join(told)
    names = [resolve(entry)[0] for entry in chosen]
    return cf.add_history(out, cf.describe_call("verify", metrics=names, dim=dim, bootstrap=bootstrap))


def _resampling(
    bootstrap: Any, entry: MetricLike, first: xr.DataArray, second: xr.DataArray, dim: Dims
) -> tuple[Bootstrap | None, str]:
    """How one score is resampled, and why it is not."""
    if not isinstance(bootstrap, str):
        return (None if bootstrap is None else Bootstrap.of(bootstrap)), ""
    if bootstrap != "auto":
        message = f"bootstrap={bootstrap!r}; wanted 'auto', None, or a mapping such as {{'dim': 'time', 'block': '7D'}}"
        raise OptionError(message)
    _, metric, options = resolve(entry)
    along, why = automatic_blocks(first, dim=options.get("dim", dim))
    if along is None:
        return None, why
    if along["dim"] not in second.dims:
        return None, f"no intervals: the target has no {along['dim']}"
    summed = metric is not None and not metric.samples
    return Bootstrap.of(along if summed else {**along, "n": _COSTLY}), ""


def _in_one_pass(
    entries: Sequence[MetricLike], first: xr.DataArray, second: xr.DataArray,
    resamplings: Sequence[Bootstrap | None], **settings: Any,
) -> list[Prepared | None]:  # fmt: skip
    """Prepare scores of a pair: those of the same points are matched once, and added up in one task for each chunk."""
    alike: dict[Any, Prepared] = {}
    passes: dict[Any, list[tuple[int, Metric]]] = {}
    out: list[Prepared | None] = []
    for entry, resampling in zip(entries, resamplings, strict=True):
        name, metric, own = _own(entry, **settings)
        if metric is None:
            out.append(None)
            continue
        points = (repr(own["dim"]), id(own["weights"]), id(own["climatology"]))
        ready = prepare(metric, first, second, what=name, known=alike.get(points), **own)
        if points not in alike or ready.pair.climatology is not None:
            alike[points] = ready
        keep = None if resampling is None else resampling.dim
        if keep is None or keep in ready.pair.dims:
            passes.setdefault((*points, keep), []).append((len(out), metric))
        out.append(ready)
    for (*_, keep), scores in passes.items():
        added = sums_together([(metric, cast(Prepared, out[k])) for k, metric in scores], keep=keep)
        for (k, _), ready in zip(scores, added, strict=True):
            out[k] = ready
    return out


def _own(
    entry: MetricLike, *, dim: Dims, weights: Weights, climatology: XarrayObject | None
) -> tuple[str, Metric | None, dict[str, Any]]:
    """Name of a score, what it is made of, and with which keywords: its own go before those of all."""
    name, metric, options = resolve(entry)
    if metric is not None and metric.name == "wasserstein" and not options.pop("paired", True):
        message = "wasserstein(paired=False) joins no labels; call it by itself, not in verify"
        raise OptionError(message)
    common = {"dim": dim, "weights": weights, "climatology": climatology}
    return name, metric, {n: options.pop(n, given) for n, given in common.items()} | {"options": options}


def resampled(
    entry: MetricLike,
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    dim: Dims,
    weights: Weights,
    climatology: XarrayObject | None,
    resampling: Bootstrap | None,
    known: Sums | None = None,
    ready: Prepared | None = None,
) -> tuple[str, Resampled]:
    """Name of one score, its value, and its values of resamples; from what is known of it where something is.

    Parameters
    ----------
    entry, first, second, dim, weights, climatology, resampling
        As of `verify`, of one score of one pair of fields.
    known : Sums, optional
        Sums of a pair that is prepared here, in which anomalies already are.
    ready : Prepared, optional
        The pair, prepared for this score.
    """
    name, metric, own = _own(entry, dim=dim, weights=weights, climatology=climatology)
    if metric is None:
        if is_forecast_of(first, second):  # functions of the caller's know of labels alone
            second = at_valid_times(second, first)
        best = cast(Score, entry)(first, second, dim=dim)
        if resampling is None:
            return name, Resampled(best)
        over = reduced_dims(first, second, dim, what=name)
        return name, of_fields(
            cast(Score, entry), best, first, second, dim=dim, over=over, resampling=resampling, what=name
        )
    base = own["climatology"]
    if ready is None:
        whole = metric if known is None else replace(metric, climatology="none")
        ready = prepare(whole, first, second, what=name, **own)
    if known is not None:
        # Anomalies are in the sums: what matters is that there was a climatology.
        told = base is not None and metric.climatology != "none"
        ready = replace(ready, known=known, pair=replace(ready.pair, climatology=ready.pair.target if told else None))
    if resampling is None:
        return name, Resampled(ready.finish(metric, ready.sums(metric).means()))
    if resampling.dim not in ready.pair.dims:
        raise not_averaged(resampling.dim, ready.pair.dims)
    if not metric.samples:
        return name, of_sums(metric, ready, resampling)
    best = ready.finish(metric, ready.sums(metric).means())
    more = {} if metric.climatology == "none" or base is None else {"climatology": base}
    function = lookup(FUNCTIONS, metric.name, {**own["options"], **more}, weights=own["weights"])
    dims = ready.pair.dims
    return name, of_fields(function, best, first, second, dim=dims, over=dims, resampling=resampling, what=name)
