"""Scores of ensembles: CRPS, energy score, Brier score, spread and skill. Of their calibration: `calibration`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import Weights, add_up, resolve_weights
from xatmo.metrics._compare import Compared, compare, gathered
from xatmo.metrics._documents import document
from xatmo.metrics._members import crps_of, energy_of, estimator_of, member_dim, spread_of
from xatmo.metrics._metric import Means, Metric, Pair, evaluate, only_mean, themselves
from xatmo.metrics._pairs import Dims, axes_of
from xatmo.typing import Floats, T, XarrayObject

Estimator = Literal["fair", "ensemble"]


def over_members(
    function: Callable[..., Floats], prediction: xr.DataArray, *others: xr.DataArray, member: Hashable, last: int = 0
) -> xr.DataArray:
    """Apply a kernel ``(members (..., M), *others) -> (..., [last])`` point by point; lazy."""
    extra: dict[str, Any] = {}
    if last:
        extra = {
            "output_core_dims": [["_part"]],
            "dask_gufunc_kwargs": {"output_sizes": {"_part": last}},
        }
    found: xr.DataArray = xr.apply_ufunc(
        function,
        gathered(prediction, [member]),
        *others,
        input_core_dims=[[member], *[[] for _ in others]],
        dask="parallelized",
        output_dtypes=[np.float64],
        join="override",
        **extra,
    )
    return found


def _member_kept(pair: Pair, *, what: str, least: int) -> Hashable:
    member = member_dim(pair.prediction, what=what, least=least)
    if member in pair.dims or member in pair.target.dims:
        message = f"{what}: {member!r} holds the members of the prediction; leave it out of dim, and of the target"
        raise DimensionError(message)
    return member


# ---------------------------------------------------------------------- CRPS
def _crps(pair: Pair) -> list[xr.DataArray]:
    fair = estimator_of(pair.options.get("estimator", "fair"), what="crps")
    member = _member_kept(pair, what="crps", least=2 if fair else 1)
    return [over_members(partial(crps_of, fair=fair), pair.prediction, pair.target, member=member)]


CRPS = Metric(
    "crps", "continuous ranked probability score", ("crps",), themselves, only_mean, "same", fields=_crps,
    stated={"estimator": "fair"},
)  # fmt: skip

_MEMBERS = """
    Parameters
    ----------
    prediction : Dataset or DataArray
        With the members of an ensemble along the dimension whose coordinate has the standard_name ``realization``, or
        that is named ``member``, ``realization``, ``ensemble`` or ``number``; they may be in any chunks.
    target : Dataset or DataArray
        On the same labels, without members.{extra}
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`.

    Returns
    -------
    {returns}
        Lazy where the input is. A point of which a member or the target is missing is left out.

    Raises
    ------
    DimensionError
        If there are no members, too few, or the target has them too.
    OptionError
        If {option}
    CoordinateError, UnitsError, VariableError
        As in `rmse`.
    """


def crps(
    prediction: T,
    target: XarrayObject,
    *,
    dim: Dims = None,
    weights: Weights = "area",
    estimator: Estimator = "fair",
) -> T:
    r"""Continuous ranked probability score of an ensemble, in the units of the field; 0 is perfect.

    .. math:: \frac1M \sum_i |x_i - y| - \frac{1}{2 M (M - 1)} \sum_{i,j} |x_i - x_j|

    the integral of the squared difference between the forecast's distribution and the step at what came. It is the
    absolute error of a single forecast. The fair score [1]_ expects what the distribution from which members are
    drawn would get, so that ensembles of different sizes compare; ``estimator="ensemble"`` takes the members for the
    whole distribution, with :math:`M^2` instead of :math:`M (M - 1)`.

    References
    ----------
    .. [1] C. Ferro, 2014: Fair scores for ensemble forecasts. Quart. J. R. Meteorol. Soc. 140, 1917-1923.

    Examples
    --------
    >>> t = xr.DataArray([1.0, 4.0], dims="time")
    >>> p = xr.DataArray([[0.0, 2.0], [4.0, 4.0]], dims=("time", "member"))
    >>> crps(p, t, dim=()).values, crps(p, t, dim=(), estimator="ensemble").values
    (array([0., 0.]), array([0.5, 0. ]))
    """
    return evaluate(CRPS, prediction, target, dim=dim, weights=weights, options={"estimator": estimator})


# ---------------------------------------------------------------------- energy score
def _energy(pair: Pair) -> list[xr.DataArray]:
    what = "energy_score"
    fair = estimator_of(pair.options.get("estimator", "fair"), what=what)
    member = _member_kept(pair, what=what, least=2 if fair else 1)
    given = pair.options.get("over")
    if given is None:
        axes = axes_of(pair.prediction)
        given = () if axes is None else axes.dims
    over = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    both = set(pair.prediction.dims) & set(pair.target.dims)
    if not over or not set(over) <= both:
        message = (
            f"{what}: over={tuple(over)}; wanted dimensions of the vectors, of those that both fields have: "
            f"{tuple(d for d in pair.prediction.dims if d in both)}"
        )
        raise OptionError(message)
    by = resolve_weights(pair.prediction, tuple(over), pair.weighting, what=what)
    by = by if set(by.dims) <= set(over) else xr.DataArray(1.0)
    whole = xr.DataArray(np.ones([pair.prediction.sizes[d] for d in over]), dims=over)
    norm = np.asarray((whole * by.drop_vars(list(by.coords))).transpose(*over).values).ravel()
    found: xr.DataArray = xr.apply_ufunc(
        partial(_energy_block, weights=norm / norm.sum(), dims=len(over), fair=fair),
        gathered(pair.prediction, [*over, member]),
        gathered(pair.target, over),
        input_core_dims=[[*over, member], over],
        dask="parallelized",
        output_dtypes=[np.float64],
        join="override",
    )
    return [found]


def _energy_block(members: Any, target: Any, *, weights: Any, dims: int, fair: bool) -> Floats:
    x = members.reshape(*members.shape[: members.ndim - dims - 1], -1, members.shape[-1])
    return energy_of(x, target.reshape(*target.shape[: target.ndim - dims], -1), weights, fair=fair)


ENERGY_SCORE = Metric(
    "energy_score", "energy score", ("score",), themselves, only_mean, "same", fields=_energy,
    stated={"estimator": "fair"},
)  # fmt: skip


def energy_score(
    prediction: T,
    target: XarrayObject,
    *,
    over: Hashable | Sequence[Hashable] | None = None,
    dim: Dims = None,
    weights: Weights = "area",
    estimator: Estimator = "fair",
) -> T:
    r"""Energy score of an ensemble of vectors or maps, in the units of the field; 0 is perfect.

    .. math:: \frac1M \sum_i \|x_i - y\| - \frac{1}{2 M (M - 1)} \sum_{i,j} \|x_i - x_j\|

    the CRPS with the norm of whole vectors instead of absolute values, so that it also asks whether values go together
    as they should. The norm is the weighted root mean square over the vector: a perfect spread of maps scores alike on
    any grid.

    References
    ----------
    .. [1] T. Gneiting, A. Raftery, 2007: Strictly proper scoring rules, prediction, and estimation. J. Am. Stat. Assoc.
       102, 359-378.

    Examples
    --------
    >>> t = xr.DataArray([[0.0, 0.0]], dims=("time", "x"))
    >>> p = xr.DataArray([[[1.0, 7.0], [3.0, 3.0]], [[1.0, 1.0]] * 2], dims=("member", "x", "time"))[..., :1]
    >>> round(energy_score(p, t, over="x", estimator="ensemble").item(), 4)  # norms sqrt(5), 1; sqrt(2) apart
    1.2645
    """
    options = {"over": over, "estimator": estimator}
    return evaluate(ENERGY_SCORE, prediction, target, dim=dim, weights=weights, options=options)


# ---------------------------------------------------------------------- Brier score
def thresholds_of(given: Any, units: Any, *, what: str) -> xr.DataArray:
    """Thresholds as a DataArray: a scalar, or along a new dimension ``threshold``.

    Raises
    ------
    OptionError
        If none, or no finite numbers, came.
    """
    try:
        levels = np.asarray(np.nan if given is None else given, dtype=np.float64)
    except (TypeError, ValueError):
        levels = np.asarray(np.nan)
    if levels.ndim > 1 or not levels.size or not np.isfinite(levels).all():
        message = f"{what}: threshold={given!r}; wanted a number, or several, in the units of the target"
        raise OptionError(message)
    attrs = {"long_name": "threshold"} | ({} if units is None else {"units": str(units)})
    if levels.ndim == 0:
        return xr.DataArray(levels)
    return xr.DataArray(levels, {"threshold": ("threshold", levels, attrs)}, ("threshold",))


def exceeds(values: Any, level: Any) -> Floats:
    """Give 1 where a value is at or above the threshold; NaN where it is missing.

    The threshold is rounded as the values are: 0.7 in single precision is at 0.7, though below it in double precision.

    Examples
    --------
    >>> exceeds(np.array([0.6, 0.7, np.nan], dtype=np.float32), 0.7)
    array([ 0.,  1., nan])
    """
    values = np.asarray(values)
    level = np.asarray(level, dtype=values.dtype if values.dtype.kind == "f" else np.float64)
    return np.where(np.isnan(values), np.nan, values >= level)


def event_probability(members: Any, threshold: Any) -> Floats:
    """Part of the members at or above a threshold; NaN where one is missing."""
    return np.asarray(exceeds(members, np.asarray(threshold)[..., None]).mean(-1))


def _brier_block(members: Any, target: Any, threshold: Any, *, fair: bool) -> Floats:
    probability = event_probability(members, threshold)
    score = (probability - exceeds(target, threshold)) ** 2
    return score - probability * (1 - probability) / (members.shape[-1] - 1) if fair else score


def _brier(pair: Pair) -> list[xr.DataArray]:
    fair = estimator_of(pair.options.get("estimator", "fair"), what="brier_score")
    member = _member_kept(pair, what="brier_score", least=2 if fair else 1)
    levels = thresholds_of(pair.options.get("threshold"), pair.target.attrs.get("units"), what="brier_score")
    return [over_members(partial(_brier_block, fair=fair), pair.prediction, pair.target, levels, member=member)]


BRIER_SCORE = Metric(
    "brier_score", "Brier score", ("score",), themselves, only_mean, "1", fields=_brier,
    stated={"threshold": None, "estimator": "fair"},
)  # fmt: skip


def brier_score(
    prediction: T,
    target: XarrayObject,
    *,
    threshold: float | Sequence[float],
    dim: Dims = None,
    weights: Weights = "area",
    estimator: Estimator = "fair",
) -> T:
    """Brier score of an ensemble: mean squared error of the probability of an event; 0 is perfect.

    Events are values at or above the threshold, as in `pod` and `fss`; the probability is the part k / M of the members
    that have it. The fair score takes off
    k (M - k) / (M^2 (M - 1)), what so few members cost on average; ``estimator="ensemble"`` does not. Its integral over
    all thresholds is the `crps`. By name in `verify`, fix the threshold first:
    ``functools.partial(brier_score, threshold=280)``.

    Examples
    --------
    >>> t = xr.DataArray([1.0, 4.0], dims="time")
    >>> p = xr.DataArray([[0.0, 2.0], [4.0, 5.0]], dims=("time", "member"))
    >>> brier_score(p, t, threshold=[0.5, 3], estimator="ensemble").values
    array([0.125, 0.   ])
    """
    options = {"threshold": threshold, "estimator": estimator}
    return evaluate(BRIER_SCORE, prediction, target, dim=dim, weights=weights, options=options)


# ---------------------------------------------------------------------- spread and skill
def _spread_fields(pair: Pair) -> list[xr.DataArray]:
    member = _member_kept(pair, what="spread_skill", least=2)
    found = over_members(spread_of, pair.prediction, member=member, last=2)
    return [found.isel(_part=0), found.isel(_part=1), pair.target]


def _spread_error(variance: Floats, mean: Floats, target: Floats) -> tuple[Floats, Floats]:
    return variance, (mean - target) ** 2


def _corrected(means: Means, members: int) -> tuple[xr.DataArray, xr.DataArray]:
    spread = (means["variance"] * ((members + 1) / members)) ** 0.5
    return spread, means["error"] ** 0.5


def _ratio(means: Means, pair: Pair) -> xr.DataArray:
    if pair.options.get("bins") is not None:
        message = "spread_skill: bins sort points by their spread; call it by itself, not in verify"
        raise OptionError(message)
    members = pair.prediction.sizes[member_dim(pair.prediction, what="spread_skill")]
    spread, error = _corrected(means, members)
    return spread / error.where(error > 0)


SPREAD_SKILL = Metric(
    "spread_skill", "ratio of ensemble spread to error of its mean", ("variance", "error"), _spread_error, _ratio, "1",
    fields=_spread_fields,
)  # fmt: skip


def spread_skill(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    dim: Dims = None,
    weights: Weights = "area",
    bins: Sequence[float] | None = None,
) -> xr.Dataset:
    r"""Spread of an ensemble beside the error of its mean.

    .. math:: \text{spread} = \sqrt{\frac{M + 1}{M} \, \overline{s^2}}, \qquad
              \text{error} = \sqrt{\overline{(\bar x - y)^2}}

    with the unbiased variance :math:`s^2` of the M members. Where the truth is as one more member, the two are equal
    [1]_: a ratio below 1 tells an ensemble too sure of itself. Roots are taken after averaging, and the factor makes up
    for the mean of few members being no exact mean. `verify` gives the ratio under the name ``spread_skill``.

    References
    ----------
    .. [1] V. Fortin et al., 2014: Why should ensemble spread match the RMSE of the ensemble mean? J. Hydrometeorol. 15,
       1708-1713.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = xr.DataArray(rng.normal(size=(4, 20000)), dims=("member", "time"))
    >>> found = spread_skill(p, xr.DataArray(rng.normal(size=20000), dims="time"))
    >>> found["ratio"].item(), found["error"].item()  # 1, and sqrt(1 + 1 / 4)
    (1.0, 1.1)
    """
    edges = None
    if bins is not None:
        edges = np.asarray(bins, dtype=np.float64)
        if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
            message = f"spread_skill: bins={bins!r}; wanted rising edges of the spread, in the units of the target"
            raise OptionError(message)

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _spread_skill(pair, dim, weights, edges)

    call = cf.describe_call("spread_skill", dim=dim, bins=None if edges is None else edges.tolist())
    return compare(prediction, target, one, what="spread_skill", call=call)


def _spread_skill(pair: Compared, dim: Dims, weights: Weights, edges: Floats | None) -> dict[str, xr.DataArray]:
    dims = pair.dims(dim)
    by = pair.weights(dims, weights)
    given = Pair(pair.prediction, pair.target, None, dims, {}, by)
    fields = _spread_fields(given)
    members = pair.prediction.sizes[member_dim(pair.prediction, what="spread_skill")]
    counts = None
    if edges is None:
        means = add_up(fields, SPREAD_SKILL.means, _spread_error, dims, by).means()
    else:
        binned = []
        for low, high in pairwise(edges):
            # The spread as it is reported: with the factor for few members.
            size = (fields[0] * ((members + 1) / members)) ** 0.5
            inside = fields[0].where((size >= low) & (size < high))
            binned.append(add_up([inside, *fields[1:]], SPREAD_SKILL.means, _spread_error, dims, by))
        means = {n: xr.concat([sums.means()[n] for sums in binned], dim="bin") for n in SPREAD_SKILL.means}
        counts = xr.concat([sums.weight for sums in binned], dim="bin")
    spread, error = _corrected(means, members)
    out = {
        "spread": pair.label(spread, "ensemble spread"),
        "error": pair.label(error, "root mean square error of the ensemble mean"),
        "ratio": pair.label(spread / error.where(error > 0), "ratio of ensemble spread to error of its mean", "1"),
    }
    if counts is not None and edges is not None:
        out["weight"] = pair.label(counts, "weight of the points in each bin", "1")
        for name, values in (("left", edges[:-1]), ("right", edges[1:])):
            out[name] = pair.label(xr.DataArray(values, dims="bin"), f"{name} edge of the bin of spread", dtype=None)
    return out


_ESTIMATOR = """
    estimator : {"fair", "ensemble"}
        Whether members are a sample of the forecast's distribution, or are it."""
_NO_ESTIMATOR = "the estimator is neither 'fair' nor 'ensemble'."
_SHARED: dict[str, Any] = {"shared": _MEMBERS, "returns": "Dataset or DataArray"}
document(crps, extra=_ESTIMATOR, option=_NO_ESTIMATOR, **_SHARED)
document(
    energy_score,
    extra="""
    over : str or sequence of str, optional
        Dimensions of the vectors; latitude and longitude unless given. They are gathered, with the members."""
    + _ESTIMATOR,
    option="``over`` is not among the common dimensions, or " + _NO_ESTIMATOR,
    **_SHARED,
)
document(
    brier_score,
    extra="""
    threshold : float or sequence of float
        In the units of the target; several lie along a new dimension ``threshold``."""
    + _ESTIMATOR,
    option="a threshold is no number, or " + _NO_ESTIMATOR,
    **_SHARED,
)
document(
    spread_skill,
    extra="""
    bins : sequence of float, optional
        Edges of the spread: points are sorted by their own spread into a dimension ``bin``, with its ``weight`` and
        edges ``left`` and ``right``. Of a calibrated ensemble the error grows with the spread, one for one.""",
    shared=_MEMBERS,
    returns="Dataset of ``spread``, ``error``, ``ratio``",
    option="the edges do not rise.",
)
