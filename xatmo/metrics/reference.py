"""How much better a prediction is than a reference forecast, of any score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import xarray as xr

from xatmo.climatology import GROUPS
from xatmo.errors import OptionError
from xatmo.metrics._aggregate import Weights
from xatmo.metrics._metric import Means, Metric, Pair, evaluate
from xatmo.metrics._pairs import Dims, climatology_for, match, only
from xatmo.metrics._registry import METRICS, of_others, resolve
from xatmo.typing import Floats, T, XarrayObject

# What a perfect prediction gets.
_BEST = {
    **dict.fromkeys(("mse", "rmse", "mae", "bias", "nrmse", "normalized_bias", "crps"), 0.0),
    **dict.fromkeys(("energy_score", "brier_score"), 0.0),
    **dict.fromkeys(("normalized_spectral_error", "log_spectral_distance", "far"), 0.0),
    **dict.fromkeys(("acc", "correlation", "spearman", "ssim", "ms_ssim", "skill", "std_ratio", "gradient_ratio"), 1.0),
    **dict.fromkeys(("power_ratio", "semivariogram_ratio", "fss", "pod", "csi", "frequency_bias", "spread_skill"), 1.0),
}  # fmt: skip


def of(base: Metric, best: float | None) -> Metric:
    """Make a score of scores: sums of the prediction and of the reference beside each other.

    Raises
    ------
    OptionError
        If the score is no mean over parts, or nobody says what is best.
    """
    if base.samples:
        message = f"skill_score(metric={base.name!r}): wanted a score that is a mean over parts, such as 'rmse'"
        raise OptionError(message)
    best = _BEST.get(base.name) if best is None else best
    if best is None:
        message = f"skill_score(metric={base.name!r}): what is the score of a perfect prediction? Give best="
        raise OptionError(message)
    top = float(best)
    names = (*(f"p {n}" for n in base.means), *(f"r {n}" for n in base.means))

    def both(pair: Pair) -> list[xr.DataArray]:
        return [*base.fields(pair), *base.fields(_of_reference(pair))]

    def statistics(*arrays: Floats) -> Iterable[Floats]:
        middle = len(arrays) // 2
        yield from base.statistics(*arrays[:middle])
        yield from base.statistics(*arrays[middle:])

    def score(means: Means, pair: Pair) -> xr.DataArray:
        ours = base.score({n: means[f"p {n}"] for n in base.means}, pair)
        theirs = base.score({n: means[f"r {n}"] for n in base.means}, _of_reference(pair))
        room = top - theirs
        return (ours - theirs) / room.where(room != 0)

    return Metric(
        "skill_score", f"skill score of the {base.long_name}", names, statistics, score, "1",
        climatology=base.climatology, fields=both,
    )  # fmt: skip


def _of_reference(pair: Pair) -> Pair:
    """Put the reference in the place of the prediction, on its labels."""
    given = pair.options.get("reference")
    if not isinstance(given, xr.DataArray | xr.Dataset):
        message = f"skill_score: reference is a {type(given).__name__}; wanted a Dataset or DataArray, another forecast"
        raise OptionError(message)
    field = only(given, pair.prediction.name, what="skill_score", of="reference")
    if any(g in field.dims and g not in pair.prediction.dims for g in GROUPS):
        onto = climatology_for(field, pair.prediction, pair.target, what="skill_score")
    else:
        if _shares(field, pair):
            field, _, _ = match(field, pair.target, what="skill_score", words=("reference", "target"))
        words = ("prediction", "reference")
        _, onto, _ = match(pair.prediction, field, what="skill_score", units=False, words=words)
    return replace(pair, prediction=onto.assign_coords(_coordinates(pair, onto)))


def _shares(field: xr.DataArray, pair: Pair) -> bool:
    return bool(set(field.dims) & set(pair.target.dims)) and set(field.dims) <= {
        *pair.target.dims,
        *pair.prediction.dims,
    }


def _coordinates(pair: Pair, field: xr.DataArray) -> dict[Any, Any]:
    """Labels that matching takes off, and scores of images look for."""
    return {n: c for n, c in pair.prediction.coords.items() if c.dims and set(c.dims) <= set(field.dims)}


def skill_score(
    prediction: T,
    target: XarrayObject,
    *,
    reference: XarrayObject,
    metric: str | Callable[..., Any] = "mse",
    best: float | None = None,
    climatology: XarrayObject | None = None,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    r"""Skill of a prediction against a reference forecast, in any score.

    .. math:: SS = \frac{S - S_{ref}}{S_{best} - S_{ref}}

    1 is perfect, 0 as good as the reference, below 0 worse. Both scores are of the same points: what is missing in the
    prediction, the reference or the target is left out of both. In `verify`, give
    ``functools.partial(skill_score, reference=..., metric=...)``: a bootstrap then draws both forecasts together.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
    reference : Dataset or DataArray
        Persistence, a climatology, another model: on the prediction's labels (starts and leads too), along time (as
        truth that is laid at valid times), or by month and hour as `xatmo.metrics.climatology` gives it. With the same
        variables.
    metric : str or callable
        A name among `METRICS` or such a function with keywords fixed by `functools.partial`.
    best : float, optional
        Score of a perfect prediction; known for the scores of this package that have one.
    climatology : Dataset or DataArray, optional
        For ``metric="acc"``.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`.

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is; NaN where the reference is perfect.

    Raises
    ------
    OptionError
        If the metric is unknown or no mean over parts, ``best`` is wanted, or the reference is no labelled field.
    CoordinateError, DimensionError, UnitsError, VariableError
        As in `rmse`.

    Examples
    --------
    >>> t = xr.DataArray([1.0, 2.0, 3.0], dims="x")
    >>> skill_score(t + 1, t, reference=t - 2).item(), skill_score(t + 1, t, reference=t - 2, metric="rmse").item()
    (0.75, 0.5)
    """
    _, made, options = _made({"reference": reference, "metric": metric, "best": best})
    by = options.pop("weights", weights)
    base = options.pop("climatology", climatology)
    return evaluate(
        made, prediction, target, dim=options.pop("dim", dim), weights=by, climatology=base, options=options
    )


def _made(options: dict[str, Any]) -> tuple[str, Metric, dict[str, Any]]:
    """Name, what it is made of, and the keywords that are left, those of the other score among them."""
    rest = {k: v for k, v in options.items() if k not in ("metric", "best")}
    _, base, inner = resolve(options.get("metric", "mse"))
    if base is None:
        message = f"skill_score(metric={options['metric']!r}): wanted some of {sorted(METRICS)}, or such a function"
        raise OptionError(message)
    return "skill_score", of(base, options.get("best")), {**inner, **rest}


of_others(skill_score, _made)
