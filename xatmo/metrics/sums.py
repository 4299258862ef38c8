"""Sums of many scores of many models in one pass: scores over all and by lead, and of resamples, follow from them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.climatology import GROUPS, climatology_at
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import Sums, Weights, joined
from xatmo.metrics._members import _NAMES
from xatmo.metrics._metric import Metric, Prepared, prepare
from xatmo.metrics._pairs import match, only
from xatmo.metrics._registry import MetricLike, resolve
from xatmo.metrics.blocks import words
from xatmo.metrics.forecasts import at_valid_times, is_forecast_of
from xatmo.metrics.resampling import Bootstrap
from xatmo.metrics.significance import compared, on_common_points
from xatmo.metrics.verification import resampled
from xatmo.typing import XarrayObject

OF_MEMBERS = ("crps", "brier_score", "energy_score", "spread_skill")
_POINTS = (
    "rmse", "mse", "mae", "bias", "correlation", "acc", "std_ratio", "skill", "psnr", "nrmse", "normalized_bias",
    "ssim", "gradient_ratio", "fss", "pod", "far", "csi", "frequency_bias", *OF_MEMBERS,
)  # fmt: skip
_PIECE = 2**20  # points that are worked on at a time: their statistics fit into the processor's cache, nearly
_JOINED = 2**21  # points of a chunk, below which its neighbours are joined to it
_COLUMN = "_column"


def adds_up(metric: MetricLike) -> bool:
    """Tell whether a score is made of sums by start and lead, so that `score_sums` takes it.

    Scores of all values of a sample, spectra, functions of the caller's, scores by several thresholds, and those that
    look for the range of the target first are not.

    Examples
    --------
    >>> from xatmo import metrics
    >>> from functools import partial
    >>> adds_up("rmse"), adds_up("wasserstein"), adds_up("ssim"), adds_up(partial(metrics.ssim, data_range=2.0))
    (True, False, False, True)
    """
    _, known, options = resolve(metric)
    if known is None or known.name not in _POINTS or known.samples:
        return False
    several = any(np.ndim(options.get(name, 0)) for name in ("threshold", "window"))
    ranged = known.name in ("psnr", "ssim") and isinstance(options.get("data_range", "target"), str)
    other = {"dim", "weights", "climatology"} & set(options)
    return not (several or ranged or other or options.get("by") == "range")


@dataclass(frozen=True)
class ScoreSums:
    """Sums by start and lead of what scores are made of; from `score_sums`.

    Attributes
    ----------
    values : DataArray
        All sums, with a column for each statistic of each score and model; lazy until computed.
    models : dict of DataArray
    target : DataArray
        At the valid times of forecasts.
    entries : dict
        Name of each score to the score.
    columns : dict
        ``(score, model)`` to the columns of its statistics; the last one is the weight of known points.
    settings : dict
        ``weights`` and ``climatology``.
    """

    values: xr.DataArray
    models: Mapping[str, xr.DataArray]
    target: xr.DataArray
    entries: Mapping[str, MetricLike]
    columns: Mapping[tuple[str, str], range]
    settings: Mapping[str, Any]

    def compute(self, values: xr.DataArray | None = None) -> ScoreSums:
        """Give the same with sums in memory: computed, or handed over from elsewhere."""
        return replace(self, values=self.values.compute() if values is None else values)

    def compare(
        self,
        name: str,
        *,
        dim: Sequence[Hashable],
        bootstrap: Mapping[str, Any] | None = None,
        reference: str | None = None,
        correction: Literal["holm"] | None = "holm",
    ) -> xr.Dataset:
        """Score models, and compare them with one of them.

        Parameters
        ----------
        name : str
            Of the score.
        dim : sequence of str
            Dimensions to average over, those of space among them.
        bootstrap, reference, correction
            As in `compare_models`.

        Returns
        -------
        Dataset
            As `compare_models` gives it; without a bootstrap ``score`` alone, of one model scores with bounds.

        Raises
        ------
        OptionError
            If there is no such score or reference.
        DimensionError
            If ``dim`` lacks dimensions of space.
        """
        named = [model for score, model in self.columns if score == name]
        against = next(reversed(named), None) if reference is None else reference
        if name not in self.entries or (reference is not None and reference not in self.models):
            message = (
                f"score {name!r}, reference {reference!r}; wanted one of {list(self.entries)}, one of "
                f"{list(self.models)}"
            )
            raise OptionError(message)
        resampling = None if bootstrap is None else Bootstrap.of(bootstrap)
        found = {model: self._resampled(name, model, dim, resampling) for model in named}
        made = compared(name, found, str(against), resampling, correction)
        call = cf.describe_call("metrics.score_sums", metric=name, dim=list(dim), bootstrap=bootstrap)
        told: dict[str, Any] = {"reference": against, "test": "bootstrap"}
        if resampling is not None:
            told["intervals"] = words(resampling, next(iter(found.values())).blocks)
        return cf.add_history(xr.Dataset(made).assign_attrs(told), call)

    def _resampled(self, name: str, model: str, dim: Sequence[Hashable], resampling: Bootstrap | None) -> Any:
        metric = resolve(self.entries[name])[1]
        assert metric is not None
        kept = [d for d in self.values.dims if d != _COLUMN]
        missing = [d for d in self.target.dims if d not in kept and d not in dim]
        if missing:
            message = f"score_sums: dim={tuple(dim)} lacks {missing[0]!r}, over which sums were taken; add it"
            raise DimensionError(message)
        names = (*metric.means, "weight")
        at = dict(zip(names, self.columns[name, model], strict=True))
        parts = {n: self.values.isel({_COLUMN: k}) for n, k in at.items()}
        known = Sums({n: parts[n] for n in metric.means}, parts["weight"])
        settings = {**self.settings, "dim": list(dim)}
        prediction = _of_kind(self.models[model], metric)
        return resampled(self.entries[name], prediction, self.target, resampling=resampling, known=known, **settings)[1]


def score_sums(
    models: Mapping[str, xr.DataArray],
    target: xr.DataArray,
    *,
    metrics: Sequence[MetricLike],
    keep: Sequence[Hashable] = ("init_time", "lead_time"),
    climatology: XarrayObject | None = None,
    weights: Weights = "area",
) -> ScoreSums:
    """Add up what scores are made of, by start and lead, of several models in one pass over the data.

    The sums are small, and scores over all, by lead or by start, their resamples and tests follow from them without
    another look at the data. Points that are missing in one model are left out of all. Ensembles are scored by the mean
    of their members; ``crps``, ``energy_score``, ``brier_score`` and ``spread_skill`` take members, and forecasts
    without as ensembles of one (``spread_skill`` leaves these out).

    Parameters
    ----------
    models : mapping
        Names to predictions on the same labels.
    target : DataArray
        On the same labels, or along time.
    metrics : sequence
        Scores for which `adds_up` holds.
    keep : sequence of str
        Dimensions by which sums are kept, in any chunks. The others are put together for each chunk of these.
    climatology : Dataset or DataArray, optional
        For ``acc`` and ``skill``.
    weights : "area", DataArray or None
        As in `rmse`; without the dimensions of ``keep``.

    Returns
    -------
    ScoreSums
        Lazy where the input is: one task for each chunk, which holds that of each model, of the target, and statistics
        of about a million points.

    Raises
    ------
    OptionError
        If a score is no sum.
    CoordinateError
        If models lie on different labels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> t = xr.DataArray(rng.normal(size=(40, 2, 9)), dims=("init_time", "lead_time", "x"))
    >>> sums = score_sums({"a": t + 1, "b": t - 2}, t, metrics=["rmse", "bias"])
    >>> sums.compare("rmse", dim=["init_time", "lead_time", "x"])["score"].values
    array([1., 2.])
    >>> found = sums.compare("bias", dim=["init_time", "x"], bootstrap={"dim": "init_time", "block": 4, "n": 20})
    >>> found["difference"].sel(compared="a").values
    array([3., 3.])
    """
    entries: dict[str, MetricLike] = {}
    for entry in metrics:
        if not adds_up(entry):
            message = f"score_sums(metrics={entry!r}): wanted scores that are sums; see adds_up. Use compare_models"
            raise OptionError(message)
        name, metric, _ = resolve(entry)
        if metric is not None and metric.climatology == "required" and climatology is None:
            message = f"{name} compares with a climatology; pass climatology=, a mean over other years on the same grid"
            raise OptionError(message)
        entries[name] = entry
    first = next(iter(models.values()))
    if is_forecast_of(first, target):
        target = at_valid_times(target, first)
    matched: dict[str, xr.DataArray] = {}
    truth = match(first, target, what="score_sums")[1]
    for label, model in models.items():
        prediction = match(model, target, what="score_sums")[0]
        matched[label] = match(next(iter(matched.values())), prediction, what=label)[1] if matched else prediction
    fields = {"truth": _bare(truth), **{f"model {n}": _bare(m) for n, m in matched.items()}}
    if climatology is not None:
        base = only(climatology, target.name, what="the climatology", of="climatology")
        if any(g in base.dims and g not in truth.dims for g in GROUPS):
            base = climatology_at(base, first)
        base = base.drop_vars([c for c in base.coords if c not in base.dims])
        fields["climatology"] = _bare(match(truth, base, what="the climatology")[1])
    kept = [d for d in truth.dims if d in keep]
    plan = [(label, *_known(entry)) for label, entry in entries.items()]
    columns: dict[tuple[str, str], range] = {}
    number = 0
    for label, made, _ in plan:
        for model_name in _scored(matched, made):
            columns[label, model_name] = range(number, number + len(made.means) + 1)
            number += len(made.means) + 1
    options: dict[str, Any] = {"plan": plan, "kept": kept, "weights": weights, "number": number}
    ds = xr.Dataset(fields)
    if all(v.chunks is None for v in ds.data_vars.values()):
        values = _of_block(ds, **options)
    else:
        ds = ds.chunk().unify_chunks().chunk({d: -1 for d in ds.dims if d not in kept})
        if kept:  # labels of a small chunk take as long as a million points
            ds = ds.chunk({kept[0]: joined(ds, kept[0], _JOINED)})
        sizes = {d: ds.sizes[d] for d in kept} | {_COLUMN: number}
        coords = {d: ds[d] for d in kept if d in ds.coords}
        form = xr.DataArray(np.broadcast_to(0.0, tuple(sizes.values())), coords, list(sizes))
        template = form.chunk({d: ds.chunks[d] for d in kept} | {_COLUMN: -1})
        values = xr.map_blocks(_of_block, ds, kwargs=options, template=template)
    return ScoreSums(values, dict(matched), truth, entries, columns, {"weights": weights, "climatology": climatology})


# ---------------------------------------------------------------------- pieces
def _known(entry: MetricLike) -> tuple[Metric, dict[str, Any]]:
    _, metric, options = resolve(entry)
    assert metric is not None
    return metric, options


def _bare(field: xr.DataArray) -> xr.DataArray:
    """Take off the labels that are no dimensions: they are none of the scores' business."""
    return field.drop_vars([c for c in field.coords if c not in field.dims and field[c].ndim != 1])


def _member_of(field: xr.DataArray) -> Hashable | None:
    return next((d for d in field.dims if str(d).lower() in _NAMES), None)


def _scored(models: Mapping[str, xr.DataArray], metric: Metric) -> list[str]:
    """Models that have the score: a spread needs members."""
    return [n for n, m in models.items() if metric.name != "spread_skill" or _member_of(m) is not None]


def _of_kind(model: xr.DataArray, metric: Metric) -> xr.DataArray:
    """Give the members, or their mean, as the score takes it."""
    member = _member_of(model)
    if metric.name in OF_MEMBERS:
        return model if member is not None else model.expand_dims("member", -1)
    return model if member is None else model.mean([member], keep_attrs=True)


def _of_block(
    ds: xr.Dataset, *, plan: Sequence[tuple[str, Metric, dict[str, Any]]], kept: list[Hashable], weights: Any,
    number: int,
) -> xr.DataArray:  # fmt: skip
    """Add up one block, some starts at a time."""
    truth, base = ds["truth"], ds.get("climatology")
    models = {str(n).removeprefix("model "): v for n, v in ds.data_vars.items() if str(n).startswith("model ")}
    if len(models) > 1:
        models = on_common_points(models, truth.dims)
    over = [d for d in truth.dims if d not in kept]
    pieces = list(_pieces(ds, kept))
    out = np.zeros((*(ds.sizes[d] for d in kept), number))
    ready: dict[Any, Prepared] = {}
    column = 0
    for name, metric, options in plan:
        for model in _scored(models, metric):
            # Labels and weights are looked at once for all scores of a kind, which takes longer than adding up.
            kind = (model, metric.name in OF_MEMBERS, metric.climatology != "none")
            if kind not in ready:
                field = _of_kind(models[model], metric)
                about: dict[str, Any] = {"dim": over, "weights": weights, "climatology": base, "what": name}
                ready[kind] = prepare(metric, field, truth, **about)
            for at in pieces:
                sums = _of_piece(ready[kind], options, at).sums(metric)
                where: tuple[Any, ...] = tuple(at[d] for d in kept)
                for k, part in enumerate([*(sums.total[n] for n in metric.means), sums.weight]):
                    out[(*where, column + k)] = part.transpose(*kept).values
            column += len(metric.means) + 1
    return xr.DataArray(out, {d: ds[d] for d in kept if d in ds.coords}, [*kept, _COLUMN])


def _of_piece(ready: Prepared, options: dict[str, Any], at: Mapping[Hashable, slice]) -> Prepared:
    """Take some starts of a pair, for a score with its own options."""

    def cut(field: xr.DataArray) -> xr.DataArray:
        return field.isel({d: s for d, s in at.items() if d in field.dims})

    pair = ready.pair
    base = None if pair.climatology is None else cut(pair.climatology)
    some = replace(pair, prediction=cut(pair.prediction), target=cut(pair.target), climatology=base, options=options)
    return replace(ready, pair=some)


def _pieces(ds: xr.Dataset, kept: list[Hashable]) -> Iterator[dict[Hashable, slice]]:
    """Cut a block along the dimensions that are kept, the first one finest."""
    largest = max(v.size for v in ds.data_vars.values())
    points = functools.reduce(operator.mul, (ds.sizes[d] for d in kept), 1)
    allowed = max(1, _PIECE * points // max(largest, 1))
    steps: dict[Hashable, int] = {}
    for dim in reversed(kept):
        steps[dim] = max(1, min(ds.sizes[dim], allowed))
        allowed = max(1, allowed // max(1, ds.sizes[dim]))
    starts = [range(0, ds.sizes[d], steps[d]) for d in kept]
    for corner in np.ndindex(*[len(s) for s in starts]):
        yield {d: slice(s[k], s[k] + steps[d]) for d, s, k in zip(kept, starts, corner, strict=True)}
