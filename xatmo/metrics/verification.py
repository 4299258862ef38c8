"""Several scores at once, with confidence bounds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import restore_order
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics import distributions, multiscale, pointwise, power, probabilistic, relative, spectral, structural
from xatmo.metrics._aggregate import Weights, in_one_chunk
from xatmo.metrics._metric import Metric, Prepared, prepare
from xatmo.metrics._pairs import Dims, fields
from xatmo.typing import XarrayObject

Score = Callable[..., xr.DataArray]
MetricLike = str | Score

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        pointwise.RMSE, pointwise.MSE, pointwise.MAE, pointwise.BIAS, pointwise.CORRELATION, pointwise.ACC,
        pointwise.STD_RATIO, pointwise.SKILL, pointwise.PSNR, relative.NRMSE, relative.NORMALIZED_BIAS,
        relative.SPEARMAN, structural.SSIM, multiscale.MS_SSIM, spectral.EFFECTIVE_RESOLUTION, power.POWER_RATIO,
        power.NORMALIZED_SPECTRAL_ERROR, power.LOG_SPECTRAL_DISTANCE, power.SEMIVARIOGRAM_RATIO,
        distributions.WASSERSTEIN, probabilistic.CRPS, probabilistic.ENERGY_SCORE, probabilistic.BRIER_SCORE,
        probabilistic.SPREAD_SKILL,
    )
}  # fmt: skip
"""Scores that `verify` knows by name."""

_ROOMS = (pointwise, relative, structural, multiscale, spectral, power, distributions, probabilistic)
_FUNCTIONS = {name: getattr(room, name) for name in METRICS for room in _ROOMS if hasattr(room, name)}


@dataclass(frozen=True)
class Bootstrap:
    """How to resample: blocks of neighbours along one dimension, drawn with replacement.

    Attributes
    ----------
    dim : str
        Dimension along which scores are sums, usually time.
    block : int
        Points to a block: longer than the errors remember.
    n : int
        Resamples.
    seed : int
    level : float
        Probability between the bounds.
    """

    dim: Hashable
    block: int = 1
    n: int = 1000
    seed: int = 0
    level: float = 0.9

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Bootstrap:
        """Read and check the ``bootstrap=`` keyword."""
        known = tuple(cls.__dataclass_fields__)
        if not isinstance(options, Mapping) or "dim" not in options or not set(options) <= set(known):
            message = f"bootstrap={options!r}; wanted {{'dim': NAME}} and perhaps {known[1:]}"
            raise OptionError(message)
        made = cls(**options)
        if made.block < 1 or made.n < 2 or not 0 < made.level < 1:
            message = f"{made}; wanted block of at least 1, n of at least 2, level between 0 and 1"
            raise OptionError(message)
        return made

    def counts(self, size: int) -> xr.DataArray:
        """How often each point is drawn, ``(resample, dim)``; the last block takes the remainder."""
        blocks = size // self.block
        if blocks < 2:
            message = (
                f"bootstrap: {size} points of {self.dim!r} make {blocks} blocks of {self.block}; wanted at least 2. "
                "Give a smaller block"
            )
            raise OptionError(message)
        drawn = np.random.default_rng(self.seed).integers(blocks, size=(self.n, blocks))
        per_block = np.zeros((self.n, blocks))
        np.add.at(per_block, (np.arange(self.n)[:, None], drawn), 1)
        of_point = np.minimum(np.arange(size) // self.block, blocks - 1)
        return xr.DataArray(per_block[:, of_point], dims=("resample", self.dim))


def verify(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    metrics: MetricLike | Sequence[MetricLike],
    dim: Dims = None,
    climatology: XarrayObject | None = None,
    bootstrap: Mapping[str, Any] | None = None,
    weights: Weights = "area",
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
    bootstrap : mapping, optional
        ``{"dim": "time", "block": 7, "n": 1000, "seed": 0, "level": 0.9}``: bounds from resampling blocks of neighbours
        along a dimension that is averaged over. Each resample draws as many blocks as there are and scores their sums:
        roots and ratios are taken of resampled means, not averaged. A range taken from the target (psnr, ssim) is that
        of the whole sample.
    weights : "area", DataArray or None
        As in `rmse`.

    Returns
    -------
    Dataset
        One variable for each score, named as the metric; ``VARIABLE_metric`` where several variables are scored. With
        a bootstrap also ``..._lower`` and ``..._upper``. Lazy where the input is.

    Raises
    ------
    OptionError
        If a metric is unknown or takes a climatology that is not given, or the bootstrap cannot be done.
    CoordinateError, DimensionError, UnitsError, VariableError
        As in `rmse`.

    Examples
    --------
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
    resampling = None if bootstrap is None else Bootstrap.of(bootstrap)
    pairs = list(fields(prediction, target, what="verify"))
    scores: dict[Hashable, xr.DataArray] = {}
    for variable, first, second in pairs:
        for entry in chosen:
            name, metric, options = _resolve(entry)
            label = name if len(pairs) == 1 else f"{variable}_{name}"
            if metric is None:
                if resampling is not None:
                    message = (
                        f"bootstrap needs scores that are sums; {name!r} is a function of its own. Score it without "
                        f"bootstrap, or use some of {sorted(METRICS)}"
                    )
                    raise OptionError(message)
                scores[label] = cast(Score, entry)(first, second, dim=dim)
                continue
            if metric.name == "wasserstein" and not options.pop("paired", True):
                message = "wasserstein(paired=False) joins no labels; call it by itself, not in verify"
                raise OptionError(message)
            settings = {"dim": dim, "weights": weights} | {
                k: options.pop(k) for k in ("dim", "weights") if k in options
            }
            base = options.pop("climatology", climatology)
            ready = prepare(metric, first, second, climatology=base, options=options, what=name, **settings)
            scores |= _score(label, metric, ready, resampling)
    out = xr.Dataset({name: score.rename(name) for name, score in scores.items()})
    names = [_resolve(entry)[0] for entry in chosen]
    return cf.add_history(out, cf.describe_call("verify", metrics=names, dim=dim, bootstrap=bootstrap))


def _resolve(entry: Any) -> tuple[str, Metric | None, dict[str, Any]]:
    """Name of a score, how it is made up if that is known, and its own options."""
    if isinstance(entry, str):
        if entry not in METRICS:
            message = f"unknown metric {entry!r}; wanted some of {sorted(METRICS)}, or a function"
            raise OptionError(message)
        return entry, METRICS[entry], {}
    if not callable(entry):
        message = f"metric {entry!r} is neither a name nor a function; wanted some of {sorted(METRICS)}, or a function"
        raise OptionError(message)
    options: dict[str, Any] = {}
    function: Any = entry
    while isinstance(function, functools.partial):
        options = {**function.keywords, **options}
        function = function.func
    for name, known in _FUNCTIONS.items():
        if function is known:
            if name == "ssim" and options.get("gaussian"):
                options["sigma"] = 1.5 if options["gaussian"] is True else float(options["gaussian"])
            options.pop("gaussian", None)
            if name == "effective_resolution" and options.get("criterion") == "coherence":
                return name, spectral._BY_COHERENCE, options
            return name, METRICS[name], options
    return getattr(function, "__name__", type(function).__name__), None, options


def _score(label: str, metric: Metric, ready: Prepared, resampling: Bootstrap | None) -> dict[Hashable, xr.DataArray]:
    if resampling is None:
        return {label: ready.finish(metric, ready.sums(metric).means())}
    along = resampling.dim
    if along not in ready.pair.dims:
        message = f"bootstrap: {along!r} is not averaged over; dim has {ready.pair.dims}. Wanted one of these"
        raise DimensionError(message)
    if metric.samples:
        message = (
            f"bootstrap needs scores that are sums; {metric.name!r} is of all values along {ready.pair.dims} together. "
            "Score it without bootstrap"
        )
        raise OptionError(message)
    sums = ready.sums(metric, keep=(along,))
    size = ready.pair.target.sizes[along] if along in ready.pair.target.dims else ready.pair.prediction.sizes[along]
    whole = sums.resampled(along, xr.DataArray(np.ones((1, size)), dims=("resample", along)))
    drawn = sums.resampled(along, resampling.counts(size))
    tail = (1 - resampling.level) / 2
    samples = in_one_chunk(metric.score(drawn.means(), ready.pair), "resample")
    bounds = samples.quantile([tail, 1 - tail], dim="resample", skipna=False)
    best = ready.finish(metric, {n: m.isel(resample=0, drop=True) for n, m in whole.means().items()})
    out: dict[Hashable, xr.DataArray] = {label: best}
    for side, word in enumerate(("lower", "upper")):
        bound = bounds.isel(quantile=side, drop=True).astype(best.dtype)
        attrs = {**best.attrs, "long_name": f"{word} {resampling.level:g} bound of {best.attrs['long_name']}"}
        out[f"{label}_{word}"] = restore_order(bound, best).assign_attrs(attrs)
    return out
