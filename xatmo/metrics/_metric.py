"""What a score is made of: a statistic at every point, its weighted mean, and a formula over such means."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import restore_cyclic, restore_order
from xatmo.errors import OptionError, UnitsError
from xatmo.metrics._aggregate import Summand, Sums, Weights, add_up, add_up_together, resolve_weights
from xatmo.metrics._pairs import Dims, axes_of, climatology_for, fields, match, reduced_dims
from xatmo.typing import Floats, T, XarrayObject
from xatmo.units import conversion

Means = Mapping[str, xr.DataArray]
UnitsRule = Literal["same", "squared", "dB", "m", "1"]


@dataclass(frozen=True)
class Pair:
    """A prediction and its target on the same labels and in the same units.

    Attributes
    ----------
    prediction, target : DataArray
    climatology : DataArray or None
        On the same labels.
    dims : tuple of str
        Dimensions that the score averages over.
    options : mapping
        The metric's own keywords.
    weights : DataArray
        Of the points, over some of ``dims``.
    weighting : "area", DataArray or None
        What the weights were made from.
    """

    prediction: xr.DataArray
    target: xr.DataArray
    climatology: xr.DataArray | None
    dims: tuple[Hashable, ...]
    options: Mapping[str, Any]
    weights: xr.DataArray
    weighting: Weights = "area"

    def fields(self) -> list[xr.DataArray]:
        """Prediction, target, and the climatology if there is one."""
        return [self.prediction, self.target] + ([] if self.climatology is None else [self.climatology])


@dataclass(frozen=True)
class Metric:
    """One score in three steps.

    Attributes
    ----------
    name : str
        By which `verify` knows it.
    long_name : str
        Goes into the result's attributes.
    means : tuple of str
        Names of the statistics whose weighted means the formula needs.
    statistics : callable
        ``(*arrays) -> arrays``: values of the statistics at every point, in the order of ``means``, from values of the
        fields.
    score : callable
        ``(means, Pair) -> DataArray``. Roots and ratios belong here, after averaging.
    units : {"same", "squared", "dB", "m", "1"}
        Units of the score, from those of the field.
    climatology : {"none", "optional", "required"}
        Whether the score uses a climatology.
    fields : callable
        ``Pair -> DataArrays`` that the statistics are taken of, for scores that look at more than one point at a time.
    samples : bool
        Whether the score is of all values along ``dim`` together and no mean over them, so that parts cannot be added.
    stated : mapping
        Keywords without which a number cannot be read, with their defaults: they go into the result's attributes. A
        callable gives the value from all keywords.
    """

    name: str
    long_name: str
    means: tuple[str, ...]
    statistics: Callable[..., Iterable[Floats]]
    score: Callable[[Means, Pair], xr.DataArray]
    units: UnitsRule = "same"
    climatology: Literal["none", "optional", "required"] = "none"
    fields: Callable[[Pair], Sequence[xr.DataArray]] = Pair.fields
    samples: bool = False
    stated: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A pair ready to be scored, with what is needed to label the result."""

    pair: Pair
    weights: xr.DataArray
    like: xr.DataArray
    cyclic: bool
    dtype: np.dtype[Any]
    known: Sums | None = None

    def sums(self, metric: Metric, keep: tuple[Hashable, ...] = ()) -> Sums:
        """Weighted sums over the reduced dimensions except those to keep; of sums that are known, what is left."""
        dims = tuple(d for d in self.pair.dims if d not in keep)
        if self.known is not None:
            return self.known.over(dims)
        return add_up(metric.fields(self.pair), metric.means, metric.statistics, dims, self.weights)

    def finish(self, metric: Metric, means: Means) -> xr.DataArray:
        """Apply the formula and label the result."""
        units = score_units(self.pair.target.attrs.get("units"), metric.units)
        score = metric.score(means, self.pair)
        long_name = long_name_of(metric.long_name, self.like)
        out = labelled(score, self.like, self.cyclic, long_name=long_name, units=units, dtype=self.dtype)
        return out.assign_attrs(stated(metric, self.pair.options))


def sums_together(ready: Sequence[tuple[Metric, Prepared]], *, keep: Hashable | None = None) -> list[Prepared]:
    """Give pairs with their sums, added up together where scores are made of the fields themselves.

    Parameters
    ----------
    ready : sequence of (Metric, Prepared)
        Of one pair of fields, with the same dimensions to average over and the same weights.
    keep : str, optional
        Dimension by which sums are kept, all in one chunk.
    """
    out = [found for _, found in ready]
    alike: dict[frozenset[Hashable], list[int]] = {}
    for k, (metric, found) in enumerate(ready):
        if metric.fields is Pair.fields and not metric.samples:
            alike.setdefault(frozenset(d for f in found.pair.fields() for d in f.dims), []).append(k)
    for some in alike.values():
        summands = [Summand(ready[k][1].pair.fields(), ready[k][0].means, ready[k][0].statistics) for k in some]
        first = ready[some[0]][1]
        dims = tuple(d for d in first.pair.dims if d != keep)
        for k, sums in zip(some, add_up_together(summands, dims, first.weights, whole=keep), strict=True):
            out[k] = replace(out[k], known=sums)
    return out


def prepare(
    metric: Metric,
    prediction: xr.DataArray,
    target: xr.DataArray,
    *,
    dim: Dims,
    weights: Weights,
    climatology: XarrayObject | None = None,
    options: Mapping[str, Any] | None = None,
    what: str,
    known: Prepared | None = None,
) -> Prepared:
    """Align, convert and weigh one pair; lazy. ``known`` was prepared for another score of the same points."""
    if metric.climatology == "required" and climatology is None:
        message = f"{what} compares with a climatology; pass climatology=, a mean over other years on the same grid"
        raise OptionError(message)
    if known is None:
        dtype = np.result_type(prediction.dtype, target.dtype)
        dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
        aligned, matched, cyclic = match(prediction, target, what=what)
        dims = reduced_dims(aligned, matched, dim, what=what)
        by = resolve_weights(aligned, dims, weights, what=what)
        known = Prepared(Pair(aligned, matched, None, dims, {}, by, weights), by, prediction, cyclic, dtype)
    base = None
    if climatology is not None and metric.climatology != "none":
        base = known.pair.climatology
        if base is None:
            base = climatology_for(climatology, known.pair.prediction, known.pair.target, what=what)
    return replace(known, pair=replace(known.pair, climatology=base, options=options or {}))


def evaluate(
    metric: Metric,
    prediction: T,
    target: XarrayObject,
    *,
    dim: Dims,
    weights: Weights,
    climatology: XarrayObject | None = None,
    options: Mapping[str, Any] | None = None,
) -> T:
    """Score a DataArray, or every variable that two Datasets share."""
    scores: dict[Hashable, xr.DataArray] = {}
    for name, first, second in fields(prediction, target, what=metric.name):
        ready = prepare(
            metric, first, second, dim=dim, weights=weights, climatology=climatology, options=options, what=metric.name
        )
        scores[name] = ready.finish(metric, ready.sums(metric).means()).rename(name)
    shown = weights if not isinstance(weights, xr.DataArray) else "given"
    call = cf.describe_call(f"metrics.{metric.name}", dim=dim, weights=shown, **(options or {}))
    if isinstance(prediction, xr.DataArray):
        (out,) = scores.values()
        return cf.add_history(out, call)
    return cf.add_history(xr.Dataset(scores), call)


def score_units(units: Any, rule: UnitsRule) -> str | None:
    """Units of a score of a field in ``units``; differences of degC are in K.

    Examples
    --------
    >>> score_units("degC", "same"), score_units("m s-1", "squared"), score_units("K", "1")
    ('K', 'm2 s-2', '1')
    """
    if rule not in ("same", "squared"):
        return rule
    if units is None:
        return None
    try:
        scale, offset = conversion(str(units), "K")
        units = "K" if offset and scale == 1 else units
    except UnitsError:
        pass
    if rule == "same":
        return str(units)
    try:
        from cf_xarray.units import units as registry

        return str(format(registry.Unit(str(units)) ** 2, "~cf"))
    except Exception:  # units that pint cannot read can still be squared by name
        return f"({units})2"


def themselves(*values: Floats) -> tuple[Floats, ...]:
    """Statistics that are the fields themselves."""
    return values


def stated(metric: Metric, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keywords that a score states, as attributes of files can hold them; several values are a coordinate.

    Examples
    --------
    >>> peak = Metric("psnr", "", (), themselves, only_mean, stated={"data_range": "target", "centred": False})
    >>> stated(peak, {"data_range": 40}), stated(peak, {})
    ({'data_range': 40, 'centred': 'false'}, {'data_range': 'target', 'centred': 'false'})
    """
    found = {
        n: default(options) if callable(default) else options.get(n, default) for n, default in metric.stated.items()
    }
    return {
        n: str(v).lower() if isinstance(v, bool) else v for n, v in found.items() if v is not None and np.ndim(v) == 0
    }


def only_mean(means: Means, _: Pair) -> xr.DataArray:
    """Score that is the mean of the only statistic."""
    (mean,) = means.values()
    return mean


def long_name_of(what: str, field: xr.DataArray) -> str:
    """Long name of a statistic of a field."""
    of = field.attrs.get("long_name") or field.attrs.get("standard_name") or field.name
    return f"{what} of {of}" if of else what


def labelled(
    out: xr.DataArray, like: xr.DataArray, cyclic: bool, *, long_name: str, units: str | None, dtype: Any = None
) -> xr.DataArray:
    """Give a result the dimension order, cyclic column and coordinates of the field that it came from."""
    if dtype is not None:
        out = out.astype(dtype)
    axes = axes_of(like)
    if cyclic and axes is not None and axes.lon_dim in out.dims:
        out = restore_cyclic(out, like, axes)
    out = restore_order(out, like)
    # Arithmetic and ufuncs may lose what the coordinates say of themselves.
    described = {c: out[c].assign_attrs(like[c].attrs) for c in out.coords if c in like.coords}
    out = out.assign_coords(described)
    out.attrs = {"long_name": long_name} | ({} if units is None else {"units": units})
    return out
