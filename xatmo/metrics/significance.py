"""Is one model better than another? Differences of scores on the same times, with intervals and p-values."""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.metrics._aggregate import Weights, in_one_chunk
from xatmo.metrics._pairs import Dims, _reorder, axes_of, fields, reduced_dims
from xatmo.metrics._registry import MetricLike
from xatmo.metrics.blocks import words
from xatmo.metrics.forecasts import at_valid_times, is_forecast_of
from xatmo.metrics.resampling import Bootstrap
from xatmo.metrics.verification import resampled
from xatmo.typing import Floats, XarrayObject

MODEL = "model"
TESTS = ("bootstrap", "diebold_mariano")
_LEADS = ("lead_time", "lead", "step", "prediction_timedelta")


def compare_models(
    models: Mapping[str, XarrayObject] | XarrayObject,
    *others: XarrayObject,
    metric: MetricLike = "rmse",
    dim: Dims = None,
    bootstrap: Mapping[str, Any] | None = None,
    reference: str | None = None,
    test: Literal["bootstrap", "diebold_mariano"] = "bootstrap",
    horizon: int | None = None,
    correction: Literal["holm"] | None = "holm",
    climatology: XarrayObject | None = None,
    weights: Weights = "area",
) -> xr.Dataset:
    r"""Compare the scores of models with that of a reference, on the same points and times.

    The test asks whether the difference of two scores could have come about by the choice of times. ``"bootstrap"``
    draws the same blocks of times for all models and scores each drawing; the p-value is that of both sides,

    .. math:: p = \frac{1 + \#\{\,|d^*_i - d| \ge |d|\,\}}{n + 1}

    with the difference d and its resamples d*: how often chance alone takes a difference as far from its mean as zero
    is. For few blocks it is made larger, as Student's t has it: see `Bootstrap`. It needs no sum and takes any metric.
    ``"diebold_mariano"`` [1]_ takes the difference of the scores of each time
    as a series, whose autocovariance gives the variance of its mean, in the form of Hering and Genton [2]_ with
    Student's t, by the library ``scores``. The scores shown are then means of the scores of each time: of ``rmse``, of
    roots.

    Parameters
    ----------
    models : mapping, or a Dataset or DataArray
        Names to predictions; then the target. Or two predictions, then the target: ``compare_models(a, b, truth)``
        gives the score of a minus that of b.
    *others : Dataset or DataArray
        The target, or the second prediction and the target.
    metric : str or callable
        One score, as in `xatmo.metrics.verify`.
    dim : str or sequence of str, optional
        Dimensions to average over, among them that of the times; ``dim=["init_time", "latitude", "longitude"]`` gives
        a test at each lead time.
    bootstrap : mapping, optional
        As in `xatmo.metrics.verify`; needed by ``test="bootstrap"``. For Diebold and Mariano's test only ``dim`` and
        ``level`` count.
    reference : str, optional
        Which of the models the others are compared with; the last one unless given.
    test : {"bootstrap", "diebold_mariano"}
    horizon : int, optional
        Of Diebold and Mariano's test: of how many steps the errors overlap. By default the lead time in steps of the
        initial times, at least 1.
    correction : "holm" or None
        ``p_adjusted``: p-values of several models at one label are corrected for there being several.
    climatology, weights
        As in `xatmo.metrics.verify`.

    Returns
    -------
    Dataset
        ``score`` (of all models, dimension ``model``; with a bootstrap also ``score_lower``, ``score_upper``), and of
        those that are not the reference, along ``compared``:
        ``difference`` (score minus that of the reference), ``difference_lower``, ``difference_upper``, ``p_value``,
        ``p_adjusted``. Of two predictions without names ``compared`` has been dropped. ``VARIABLE_`` comes before the
        names where several variables are compared. Lazy where the input is.

    Raises
    ------
    OptionError
        If there are fewer than two models, the reference is none of them, or a setting has no usable value.
    CoordinateError
        If the models have not the same labels: a comparison never joins inner.
    DimensionError
        If the times are not averaged over.

    Notes
    -----
    A point that is missing in one model is left out of all. Bounds and p-values of a bootstrap are good where there are
    many blocks; with fewer than ten (attribute ``blocks``) they are rough, though Student's t widens them.

    References
    ----------
    .. [1] F. Diebold and R. Mariano, 1995: Comparing predictive accuracy. J. Business and Economic Statistics 13,
       253-263.
    .. [2] A. Hering and M. Genton, 2011: Comparing spatial predictions. Technometrics 53, 414-425.
    .. [3] S. Holm, 1979: A simple sequentially rejective multiple test procedure. Scandinavian J. Statistics 6, 65-70.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = xr.DataArray(rng.normal(size=400), dims="time")
    >>> good, poor = (truth + size * rng.normal(size=400) for size in (0.5, 1.0))
    >>> found = compare_models({"good": good, "poor": poor}, truth, bootstrap={"dim": "time", "block": 5})
    >>> found["difference"].sel(compared="good").item() < 0, found["p_value"].sel(compared="good").item() < 0.01
    (True, True)
    """
    named, target, single = _named(models, others)
    last = list(named)[-1] if reference is None else reference
    if last not in named:
        message = f"compare_models: reference={reference!r} is none of the models; wanted one of {list(named)}"
        raise OptionError(message)
    if test not in TESTS or correction not in ("holm", None):
        message = f"compare_models: test={test!r}, correction={correction!r}; wanted one of {TESTS}, and 'holm' or None"
        raise OptionError(message)
    if bootstrap is None:
        message = (
            "compare_models needs to know along which dimension chance draws; wanted bootstrap={'dim': 'init_time', "
            "'block': '7D'} or the like"
        )
        raise OptionError(message)
    resampling = Bootstrap.of(bootstrap)
    settings = {"dim": dim, "weights": weights, "climatology": climatology}
    pairs = {name: list(fields(model, target, what="compare_models")) for name, model in named.items()}
    shared = [v for v, _, _ in pairs[last] if all(any(w == v for w, _, _ in found) for found in pairs.values())]
    if single or all(len(found) == 1 for found in pairs.values()):
        shared = [pairs[last][0][0]]
    out: dict[Hashable, xr.DataArray] = {}
    for variable in shared:
        chosen = {
            name: next((f, t) for w, f, t in found if w == variable or len(found) == 1) for name, found in pairs.items()
        }
        truth = chosen[last][1]
        if is_forecast_of(chosen[last][0], truth):
            truth = at_valid_times(truth, chosen[last][0])
        predictions = on_common_points({name: f for name, (f, _) in chosen.items()}, truth.dims)
        if test == "bootstrap":
            name, scores = _scores(predictions, truth, metric, resampling, settings)
            made = compared(name, scores, last, resampling, correction)
        else:
            made = _by_diebold_mariano(predictions, truth, metric, last, resampling, settings, horizon)
            made |= _adjusted(made, correction)
        out |= {n if len(shared) == 1 else f"{variable}_{n}": da for n, da in made.items()}
    result = xr.Dataset(out)
    if single:
        result = result.isel(compared=0, drop=True)
    call = cf.describe_call("metrics.compare_models", dim=dim, bootstrap=bootstrap, test=test, reference=last)
    told = {"reference": last, "test": test}
    if test == "bootstrap":
        lower = next(da for n, da in result.data_vars.items() if str(n).endswith("score_lower"))
        told["intervals"] = words(resampling, lower.attrs["blocks"])
    return cf.add_history(result.assign_attrs(told), call)


def holm(p_values: xr.DataArray, *, dim: Hashable) -> xr.DataArray:
    """Correct p-values along a dimension for their number, after Holm: the chance of any false alarm stays below p.

    Parameters
    ----------
    p_values : DataArray
        NaN are not counted.
    dim : str

    Returns
    -------
    DataArray
        The k-th smallest of m times (m - k + 1), never below a smaller one, at most 1; lazy where the input is.

    Raises
    ------
    DimensionError
        If there is no such dimension.

    Examples
    --------
    >>> holm(xr.DataArray([0.01, 0.04, 0.03], dims="model"), dim="model").values
    array([0.03, 0.06, 0.06])
    """
    if dim not in p_values.dims:
        message = f"holm: {dim!r} is not in {p_values.dims}; wanted one of these"
        raise DimensionError(message)
    found: xr.DataArray = xr.apply_ufunc(
        _holm, in_one_chunk(p_values, dim), input_core_dims=[[dim]], output_core_dims=[[dim]], dask="parallelized",
        output_dtypes=[np.float64], keep_attrs=True,
    )  # fmt: skip
    return found.transpose(*p_values.dims)


# ---------------------------------------------------------------------- pieces
def _named(models: Any, others: tuple[Any, ...]) -> tuple[dict[str, XarrayObject], XarrayObject, bool]:
    if isinstance(models, Mapping) and not isinstance(models, xr.Dataset):
        named, targets = dict(models), others
    else:
        named, targets = {"first": models, **({"second": others[0]} if others else {})}, others[1:]
    if len(named) < 2 or len(targets) != 1:
        message = (
            f"compare_models got {len(named)} models and {len(targets)} targets; wanted a mapping of names to two "
            "models or more and one target, or two models and one target"
        )
        raise OptionError(message)
    return named, targets[0], not (isinstance(models, Mapping) and not isinstance(models, xr.Dataset))


def on_common_points(predictions: Mapping[str, xr.DataArray], dims: tuple[Hashable, ...]) -> dict[str, xr.DataArray]:
    """Leave out of all models what one of them lacks, after a look at their labels along ``dims`` of the truth."""
    (first_name, first), *rest = predictions.items()
    predictions = {first_name: first, **{n: _in_order(first, other, dims, (first_name, n)) for n, other in rest}}
    # Of members all have to be there: other models may have other members, or none.
    present = [p.notnull().all([d for d in p.dims if d not in dims]) for p in predictions.values()]
    known = functools.reduce(operator.and_, present)
    if known.chunks is None and bool(known.all()):
        return dict(predictions)
    return {name: p.where(known).transpose(*p.dims).assign_attrs(p.attrs) for name, p in predictions.items()}


def _in_order(
    first: xr.DataArray, other: xr.DataArray, dims: tuple[Hashable, ...], names: tuple[str, str]
) -> xr.DataArray:
    """Bring rows, columns and times of a model into the order of the first one."""
    axes = axes_of(first)
    for dim in (d for d in first.dims if d in dims and d in other.dims):
        period = 360.0 if axes is not None and dim == axes.lon_dim else None
        try:
            other = _reorder(first, other, dim, dim, period=period, what="compare_models")
        except CoordinateError as error:
            message = (
                f"compare_models: {names[0]!r} and {names[1]!r} have not the same labels along {dim!r} "
                f"({first.sizes[dim]} and {other.sizes[dim]}); align on purpose: xr.align(a, b, join='inner')"
            )
            raise CoordinateError(message) from error
    return other


def _scores(
    predictions: Mapping[str, xr.DataArray], truth: xr.DataArray, metric: MetricLike, resampling: Bootstrap | None,
    settings: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    found, name = {}, ""
    for model, prediction in predictions.items():
        name, found[model] = resampled(metric, prediction, truth, resampling=resampling, **settings)
    return name, found


def _joined(parts: Mapping[str, xr.DataArray], dim: str) -> xr.DataArray:
    labels = pd.Index([str(n) for n in parts], name=dim)
    return xr.concat(
        list(parts.values()), labels, coords="minimal", compat="override", join="override", combine_attrs="override"
    )


def _adjusted(made: Mapping[str, xr.DataArray], correction: str | None) -> dict[str, xr.DataArray]:
    if correction is None or "p_value" not in made:
        return {}
    p = holm(made["p_value"], dim="compared")
    return {"p_adjusted": p.assign_attrs(long_name="p-value, corrected for several models after Holm", units="1")}


def compared(
    name: str, found: Mapping[str, Any], reference: str, resampling: Bootstrap | None, correction: str | None
) -> dict[str, xr.DataArray]:
    """Scores of models and of their resamples beside each other, and beside those of the reference.

    Parameters
    ----------
    name : str
        Of the score.
    found : mapping of Resampled
        By model.
    reference : str
        Nothing is compared where it is not among them, or alone.
    resampling : Bootstrap or None
    correction : "holm" or None
    """
    base = found.get(reference)
    if resampling is None:
        return {"score": _joined({n: one.best for n, one in found.items()}, MODEL)}
    differences, lower, upper, p_values = {}, {}, {}, {}
    for model, one in found.items():
        if model == reference or base is None:
            continue
        # In double precision, so that exchanging the models changes nothing but the sign.
        d = one.best.astype(np.float64) - base.best.astype(np.float64)
        drawn = one.samples - base.samples
        differences[model] = d
        lower[model], upper[model] = resampling.bounds(drawn, base.blocks)
        p_values[model] = resampling.p_value(drawn, d, base.blocks)
    made = {"difference": differences, "difference_lower": lower, "difference_upper": upper, "p_value": p_values}
    about = resampling.stated(next(iter(found.values())).blocks)
    out = _described(name, found, made if differences else {}, reference, about)
    ends = [one.bounds(resampling) for one in found.values()]
    for side, word in enumerate(("lower", "upper")):
        bound = _joined(dict(zip(found, (pair[side] for pair in ends), strict=True)), MODEL)
        attrs = {**out["score"].attrs, "long_name": f"{word} bound of the score", **about}
        out[f"score_{word}"] = bound.astype(out["score"].dtype).transpose(*out["score"].dims).assign_attrs(attrs)
    return out | _adjusted(out, correction)


def _by_diebold_mariano(
    predictions: Mapping[str, xr.DataArray], truth: xr.DataArray, metric: MetricLike, reference: str,
    resampling: Bootstrap, settings: Mapping[str, Any], horizon: int | None,
) -> dict[str, xr.DataArray]:  # fmt: skip
    along = resampling.dim
    dims = reduced_dims(predictions[reference], truth, settings["dim"], what="compare_models")
    if along not in dims:
        message = f"compare_models: {along!r} is not averaged over; dim has {dims}. Wanted one of these"
        raise DimensionError(message)
    over = tuple(d for d in dims if d != along)
    name, found = _scores(predictions, truth, metric, None, {**settings, "dim": over})
    series = {model: in_one_chunk(one.best.astype(np.float64), along) for model, one in found.items()}
    steps = _horizon(series[reference], along, horizon)
    results = {
        model: xr.apply_ufunc(
            functools.partial(_diebold_mariano, level=resampling.level), s - series[reference], steps,
            input_core_dims=[[along], []], output_core_dims=[["_part"]], vectorize=True, dask="parallelized",
            output_dtypes=[np.float64], dask_gufunc_kwargs={"output_sizes": {"_part": 4}}, join="override",
        )
        for model, s in series.items() if model != reference
    }  # fmt: skip
    names = ("difference", "difference_lower", "difference_upper", "p_value")
    made = {n: {m: r.isel(_part=k) for m, r in results.items()} for k, n in enumerate(names)}
    best = {m: s.mean([along], keep_attrs=True) for m, s in series.items()}
    return _described(name, best, made, reference, {"level": resampling.level})


def _described(
    name: str, found: Mapping[str, Any], made: Mapping[str, Mapping[str, xr.DataArray]], reference: str,
    about: Mapping[str, Any],
) -> dict[str, xr.DataArray]:  # fmt: skip
    scores = {m: one if isinstance(one, xr.DataArray) else one.best for m, one in found.items()}
    attrs = dict(next(iter(scores.values())).attrs)
    units = {"units": attrs["units"]} if "units" in attrs else {}
    words = {
        "difference": f"{name} minus that of {reference}", "difference_lower": "lower bound of the difference",
        "difference_upper": "upper bound of the difference", "p_value": "p-value of no difference, both sides",
    }  # fmt: skip
    out = {"score": _joined(scores, MODEL).assign_attrs(attrs)}
    for key, parts in made.items():
        more = {"units": "1"} if key == "p_value" else units
        out[key] = _joined(parts, "compared").assign_attrs({"long_name": words[key], **more, **about})
    return out


def _horizon(series: xr.DataArray, along: Hashable, given: int | None) -> xr.DataArray:
    """Give the steps of the series by which errors overlap: the lead time over the distance of initial times."""
    if given is not None:
        if given < 1:
            message = f"compare_models: horizon={given}; wanted a whole number of steps, at least 1"
            raise OptionError(message)
        return xr.DataArray(given)
    lead = next((n for n in _LEADS if n in series.coords and n != along), None)
    times = series.indexes.get(along)
    if lead is None or series[lead].dtype.kind != "m" or not isinstance(times, pd.DatetimeIndex) or len(times) < 2:
        return xr.DataArray(1)
    step = np.median(np.diff(times.values).astype("timedelta64[ns]").astype(np.int64))
    after = series[lead].reset_coords(drop=True)
    steps = np.ceil(after.values.astype("timedelta64[ns]").astype(np.int64) / max(step, 1))
    return after.copy(data=np.maximum(steps, 1).astype(int))


def _diebold_mariano(differences: Floats, steps: int, *, level: float) -> Floats:
    """Mean, bounds and p-value of one series of differences."""
    from scores.stats.statistical_tests import diebold_mariano

    known = differences[np.isfinite(differences)]
    if known.size <= max(2, steps):
        return np.full(4, np.nan)
    mean = float(known.mean())
    if np.ptp(known) == 0:  # no spread: alike, or always better by as much
        return np.array([mean, mean, mean, 1.0 if mean == 0 else 0.0])
    series = xr.DataArray(known[None], {"h": ("of", [int(steps)])}, ("of", "time"))
    found = diebold_mariano(series, "of", "h", method="HG", confidence_level=level, statistic_distribution="t")
    above = float(found["confidence_gt_0"][0])
    return np.array([mean, float(found["ci_lower"][0]), float(found["ci_upper"][0]), 2 * min(above, 1 - above)])


def _holm(p: Floats) -> Floats:
    order = np.argsort(p, axis=-1)  # NaN last
    ranked = np.take_along_axis(p, order, -1)
    number = np.isfinite(p).sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled = ranked * np.maximum(number - np.arange(p.shape[-1]), 1)
        grown = np.minimum(np.fmax.accumulate(scaled, axis=-1), 1)
    grown = np.where(np.isnan(ranked), np.nan, grown)
    out = np.empty_like(grown, dtype=np.float64)
    np.put_along_axis(out, order, grown, -1)
    return out
