"""Maps against a gridded truth: interpolation onto it, and the scores of errors' size."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo._labels import drop_cyclic
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, VariableError
from xatmo.metrics._aggregate import Weights, resolve_weights
from xatmo.metrics._pairs import _same_units
from xatmo.metrics.altimetry import _kernels
from xatmo.metrics.altimetry.areas import moments
from xatmo.metrics.resampling import Bootstrap
from xatmo.typing import Floats, XarrayObject


def only_field(obj: XarrayObject, *, what: str) -> xr.DataArray:
    """Take the one field of a Dataset over time, latitude and longitude, with these in this order.

    Raises
    ------
    VariableError
        If a Dataset has none, or several.
    DimensionError
        If the field has other dimensions, or lacks one.
    """
    axes, time = cf.horizontal(obj), cf.time(obj)
    if isinstance(obj, xr.Dataset):
        names = cf.variables_with(obj, axes.dims, what=what, kinds="fiu")
        names = [name for name in names if time in obj[name].dims]
        if len(names) != 1:
            message = (
                f"{what} is a Dataset in which {names or 'no variable'} lie over {(time, *axes.dims)}; wanted one: "
                "pass ds['NAME']"
            )
            raise VariableError(message)
        obj = obj[names[0]]
    wanted = (time, *axes.dims)
    if set(obj.dims) != set(wanted):
        message = f"{what} has dimensions {obj.dims}; wanted {wanted}"
        raise DimensionError(message)
    bare, _ = drop_cyclic(obj.transpose(*wanted), axes)
    return bare


def on_truth(mapped: XarrayObject, truth: XarrayObject, *, fill: bool = True) -> xr.DataArray:
    """Interpolate a map linearly in longitude, latitude and time onto the points of the truth.

    What is then missing, at the border or a coast, is filled by Laplace's equation between the cells that are there,
    day by day: what Gauss-Seidel relaxation converges to.

    Parameters
    ----------
    mapped : Dataset or DataArray (time, latitude, longitude)
        Under any names, in any order of rows and range of longitudes; of a Dataset, its one field. May be lazy: chunks
        of latitude and longitude are brought together.
    truth : Dataset or DataArray (time, latitude, longitude)
    fill : bool
        Whether to fill, or leave NaN.

    Returns
    -------
    DataArray (time, latitude, longitude)
        float64, in the truth's units, on its coordinates; lazy where the map is.

    Raises
    ------
    CoordinateError
        If the map does not span the truth's times.
    DimensionError, VariableError
        If one of the two has no field over time, latitude and longitude, or several.
    UnitsError
        If units cannot be converted, or only one of the two has any.
    MissingValueError
        When computed, if a whole day is missing.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=3)["ssh"]
    >>> coarse = truth[:, ::2, ::2]
    >>> on_truth(coarse, truth).shape, bool(on_truth(coarse, truth).isnull().any())
    ((3, 50, 50), False)
    """
    source, target = only_field(mapped, what="the map"), only_field(truth, what="the truth")
    source = _same_units(source, target, what="on_truth")
    ours, theirs = cf.horizontal(source), cf.horizontal(target)
    time, values = moments(source, what="the map")
    _, wanted = moments(target, what="the truth")
    seconds = [(x - values[0]) / np.timedelta64(1, "s") for x in (values, wanted)]
    low, high, part, known = _kernels.bracket(*seconds)
    if not known.all():
        message = (
            f"the map goes from {values[0]} to {values[-1]}, the truth from {wanted[0]} to {wanted[-1]}; wanted a map "
            "that spans the truth's times. Choose a period: truth.sel(time=slice(FIRST, LAST))"
        )
        raise CoordinateError(message)
    order, axis = _kernels.longitude_axis(source[ours.lon].values)
    source = source.isel({ours.lon_dim: order})

    field = source.variable.astype(np.float64)
    dim = source[time].dims[0]
    out: Any = 0.0
    for at, weight in ((low, 1 - part), (high, part)):
        if (weight > 0).any():
            share = xr.Variable((dim,), weight)
            part_of: Any = field.isel({dim: at})
            out = out + part_of.where(share > 0, 0.0) * share
    lazy = xr.DataArray(out)
    if lazy.chunks is not None:
        lazy = lazy.chunk({ours.lat_dim: -1, ours.lon_dim: -1})
    rows = _kernels.bracket(source[ours.lat].values, target[theirs.lat].values)
    columns = _kernels.bracket(axis, _kernels.onto_axis(target[theirs.lon].values, axis))

    def kernel(block: Floats) -> Floats:
        made = _kernels.onto_points(block, rows, columns, fill)
        if fill and block.size and np.isnan(made).any():
            message = "the map has a day without any value in the truth's box; wanted some on every day"
            raise MissingValueError(message)
        return made

    fresh = ["_row", "_column"]
    sizes = dict(zip(fresh, (len(rows[0]), len(columns[0])), strict=True))
    done = xr.apply_ufunc(
        kernel, lazy, input_core_dims=[list(ours.dims)], output_core_dims=[fresh], dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": sizes}, output_dtypes=[np.float64],
    )  # fmt: skip
    made = xr.DataArray(done.variable.data, dims=target.dims, name=source.name)
    keep = {n: c for n, c in target.coords.items() if c.dims and set(c.dims) <= set(target.dims)}
    attrs = {k: v for k, v in source.attrs.items() if k not in cf.RANGES}
    return made.assign_coords(keep).assign_attrs(attrs)


def paired(mapped: XarrayObject, truth: XarrayObject) -> tuple[xr.DataArray, xr.DataArray]:
    """Give the map on the truth's points, and the truth, in float64; NaN in the map where the truth has one."""
    target = only_field(truth, what="the truth").astype(np.float64)
    return on_truth(mapped, target).where(target.notnull()), target


def _squares(mapped: XarrayObject, truth: XarrayObject) -> tuple[xr.DataArray, xr.DataArray, Hashable, list[Hashable]]:
    made, target = paired(mapped, truth)
    time = cf.time(target)
    dims = [d for d in target.dims if d != target[time].dims[0]]
    return (made - target) ** 2, target**2, target[time].dims[0], dims


def _sums(squares: xr.DataArray, weights: xr.DataArray, dims: list[Hashable]) -> xr.DataArray:
    return (squares * weights).sum(dims)


def _ratio(error: xr.DataArray, signal: xr.DataArray) -> xr.DataArray:
    return 1 - (error / signal.where(signal > 0)) ** 0.5


_ATTRS = {
    "mu": {"long_name": "1 - RMSE / RMS of the truth, over all points and times", "units": "1"},
    "sigma": {"long_name": "standard deviation over time of 1 - RMSE / RMS of the truth", "units": "1"},
}


def daily_scores(mapped: XarrayObject, truth: XarrayObject, *, weights: Weights = "area") -> xr.DataArray:
    """1 - RMSE / RMS of the truth, at every time of the truth.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`. The truth's mean is not removed; its gaps (land) are left out.
    weights : "area", DataArray or None
        Of the points: cell areas, one's own, or all alike, as in the challenges.

    Returns
    -------
    DataArray (time)
        Lazy where a field is.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=3)["ssh"]
    >>> daily_scores(0.9 * truth, truth).values.round(6)
    array([0.9, 0.9, 0.9])
    """
    error, signal, _, dims = _squares(mapped, truth)
    of_points = resolve_weights(signal, tuple(dims), weights, what="daily_scores")
    out = _ratio(_sums(error, of_points, dims), _sums(signal, of_points, dims))
    return out.rename("score").assign_attrs(long_name="1 - RMSE / RMS of the truth", units="1")


def mu_sigma(
    mapped: XarrayObject,
    truth: XarrayObject,
    *,
    weights: Weights = "area",
    bootstrap: int | dict[str, Any] | None = None,
) -> xr.Dataset:
    r"""Size of a map's errors, and how steady it is, as the challenge OSSE 2020a defines them.

    .. math::

        \mu = 1 - \sqrt{\overline{(s - r)^2} \,/\, \overline{r^2}}, \qquad
        \sigma = \mathrm{std}_t \left( 1 - \mathrm{RMSE}(t) / \mathrm{RMS}_r(t) \right)

    :math:`\mu` is one ratio over all times and points, not the mean of daily scores; the truth keeps its mean.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`. Gaps of the truth (land) are left out.
    weights : "area", DataArray or None
        Of the points: cell areas; one's own; or None, all alike, as in the challenge.
    bootstrap : int or mapping, optional
        Bounds of mu and sigma by resampling blocks of this many times of the truth (longer than its errors remember),
        or a mapping with ``block``, ``n``, ``seed`` and ``level``.

    Returns
    -------
    Dataset
        ``mu``, ``sigma`` (over times, divided by their number); with a bootstrap ``mu_lower``, ``mu_upper``,
        ``sigma_lower`` and ``sigma_upper``. Lazy where a field is.

    Raises
    ------
    OptionError
        If weights or the bootstrap are of another kind, or fewer than two blocks fit.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=10)["ssh"]
    >>> scores = mu_sigma(0.8 * truth, truth, bootstrap=2)
    >>> round(scores["mu"].item(), 6), abs(round(scores["sigma"].item(), 6)), round(scores["mu_lower"].item(), 6)
    (0.8, 0.0, 0.8)
    """
    error, signal, time, dims = _squares(mapped, truth)
    of_points = resolve_weights(signal, tuple(dims), weights, what="mu_sigma")
    errors, signals = _sums(error, of_points, dims), _sums(signal, of_points, dims)
    out = xr.Dataset({"mu": _ratio(errors.sum(), signals.sum()), "sigma": _ratio(errors, signals).std(ddof=0)})
    if bootstrap is not None:
        given = {"block": bootstrap} if isinstance(bootstrap, int) else dict(bootstrap)
        settings = Bootstrap.of({"dim": time, **given})
        mu = _ratio(*(settings.add(_bare(x), errors.indexes.get(time)) for x in (errors, signals)))
        out = out.merge(bounds_over_times(_ratio(errors, signals), settings, what="times", mu=mu))
    for name, attrs in _ATTRS.items():
        out[name].attrs = attrs
    return out


def bounds_over_times(
    scores: xr.DataArray, settings: Bootstrap, *, what: str, mu: xr.DataArray | None = None
) -> xr.Dataset:
    """Bounds of the mean of daily scores, and of their standard deviation, from the same blocks of times.

    Parameters
    ----------
    scores : DataArray (time)
        NaN is left out.
    settings : Bootstrap
    what : str
        What blocks are of, for the attributes.
    mu : DataArray (resample), optional
        Resampled mu where that is no mean of daily scores.
    """
    size, labels = scores.sizes[settings.dim], scores.indexes.get(settings.dim)
    blocks = settings.windows(size, labels).drawn
    known = _bare(scores.notnull().astype(np.float64))
    middle = scores.mean()
    away = _bare((scores - middle).fillna(0.0))  # small numbers, whose squares differ by more than rounding
    weight = settings.add(known, labels)
    mean, square = (settings.add(x, labels) / weight.where(weight > 0) for x in (away, away**2))
    samples = {"mu": middle + mean if mu is None else mu, "sigma": (square - mean**2).clip(min=0.0) ** 0.5}
    limits = {"mu": (-np.inf, 1.0), "sigma": (0.0, np.inf)}
    out = xr.Dataset()
    for name, drawn in samples.items():
        for side, bound in zip(("lower", "upper"), settings.bounds(drawn, blocks, within=limits[name]), strict=True):
            told = {"long_name": f"{side} {settings.level:g} bound of {name}, by blocks of {what}", "units": "1"}
            out[f"{name}_{side}"] = bound.assign_attrs(told | settings.stated(blocks))
    return out


def _bare(field: xr.DataArray) -> xr.DataArray:
    return field.drop_vars(list(field.coords))


def score_map(mapped: XarrayObject, truth: XarrayObject) -> xr.Dataset:
    """Scores over time at every point of the truth.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`.

    Returns
    -------
    Dataset (latitude, longitude)
        ``rmse`` in the truth's units, ``bias``, ``score`` (1 - RMSE / RMS of the truth) and ``explained_variance``
        (1 - variance of the error over that of the truth); NaN on land. Lazy where a field is.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=5)["ssh"]
    >>> maps = score_map(0.5 * truth, truth)
    >>> float(maps["score"].min().round(6)), float(maps["explained_variance"].max().round(6))
    (0.5, 0.75)
    """
    made, target = paired(mapped, truth)
    time = [target[cf.time(target)].dims[0]]
    error = made - target
    power, spread = (target**2).mean(time), target.var(time)
    out = xr.Dataset(
        {
            "rmse": (error**2).mean(time) ** 0.5,
            "bias": error.mean(time),
            "score": _ratio((error**2).mean(time), power),
            "explained_variance": 1 - error.var(time) / spread.where(spread > 0),
        }
    )
    units = {"units": target.attrs["units"]} if "units" in target.attrs else {}
    out["rmse"].attrs = {"long_name": "root mean square error over time", **units}
    out["bias"].attrs = {"long_name": "mean error over time", **units}
    out["score"].attrs = {"long_name": "1 - RMSE / RMS of the truth", "units": "1"}
    out["explained_variance"].attrs = {"long_name": "1 - variance of the error / of the truth", "units": "1"}
    return cf.add_history(out, "metrics.altimetry.score_map()")


def daily_means(truth: xr.DataArray) -> xr.DataArray:
    """Mean by calendar day, at 00:00, where a truth has several times a day; as it stands otherwise."""
    name, values = moments(truth, what="the truth")
    if values.size < 2 or np.median(np.diff(values)) >= np.timedelta64(1, "D"):
        return truth
    days = xr.DataArray(pd.DatetimeIndex(values).floor("D").to_numpy(), dims=truth[name].dims, name="_day")
    out = truth.groupby(days).mean(keep_attrs=True).rename({"_day": name})
    return out.transpose(*truth.dims)
