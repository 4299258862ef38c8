"""The mean day of a prediction against that of the truth: by hour, and in amplitude and phase."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import _valid_times, cf
from xatmo.climatology import _label, _shown
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import Weights, add_up
from xatmo.metrics._compare import Compared, compare
from xatmo.metrics._metric import long_name_of
from xatmo.metrics._pairs import Dims
from xatmo.typing import Floats, XarrayObject

_DAY = 86400


def diurnal_error(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    dim: Dims = None,
    weights: Weights = "area",
    harmonic: bool = True,
) -> xr.Dataset:
    r"""Error of the mean daily cycle.

    At each point the prediction and the target are averaged by UTC hour of the (valid) time, over the same times. The
    mean days that this gives, P and T, are compared hour by hour, and by their first harmonics

    .. math:: \frac{2}{n} \sum_h P_h \, e^{2 \pi i h / 24} = A \, e^{2 \pi i \varphi / 24}

    whose amplitude A is half the range of a sinusoidal day, and whose phase :math:`\varphi` is the hour of its maximum.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, or a forecast and a truth along time.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given. One of time at least. With time alone there
        are maps. With ``lead_time`` left out, each lead has a mean day of its own, made of the starts at all hours.
    weights : "area", DataArray or None
        Of the points in space; as in `rmse`. Times count alike.
    harmonic : bool
        Whether to compare amplitudes and phases, for which the hours have to divide the day evenly.

    Returns
    -------
    Dataset
        By ``hour`` (UTC): ``prediction_cycle``, ``target_cycle``, ``bias`` (P - T), ``rmse`` (of P - T over the points
        in space). Then ``cycle_rmse``, over all hours; ``prediction_amplitude``, ``target_amplitude``,
        ``amplitude_error`` (prediction - target); ``prediction_phase``, ``target_phase``, ``phase_error`` in hours,
        positive where the prediction is late, between -12 and 12. Amplitude and phase of a region are those of its mean
        day (the mean of the harmonics of its points): around the globe, where it is noon somewhere at every hour, they
        mean little, so take maps there. With ``VARIABLE_`` before each name where several variables are compared. Lazy
        where the input is; NaN where an hour has no time.

    Raises
    ------
    DimensionError
        If no dimension of time is averaged over.
    OptionError
        If the hours do not divide the day evenly, and ``harmonic``.
    CoordinateError, UnitsError, VariableError
        As in `rmse`.

    Examples
    --------
    >>> time = np.datetime64("2020-01-01", "ns") + np.arange(48) * np.timedelta64(1, "h")
    >>> hour = np.arange(48) % 24
    >>> t = xr.DataArray(5 * np.cos(2 * np.pi * (hour - 14) / 24), {"time": time}, ["time"])
    >>> p = xr.DataArray(4 * np.cos(2 * np.pi * (hour - 16) / 24), {"time": time}, ["time"])
    >>> found = diurnal_error(p, t)
    >>> found["amplitude_error"].item(), found["phase_error"].item(), found["target_phase"].item()
    (-1.0, 2.0, 14.0)
    """

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _diurnal(pair, dim, weights, harmonic)

    call = cf.describe_call("diurnal_error", dim=dim, harmonic=harmonic)
    return compare(prediction, target, one, what="diurnal_error", call=call)


def _diurnal(pair: Compared, dim: Dims, weights: Weights, harmonic: bool) -> dict[str, xr.DataArray]:
    dims = pair.dims(dim)
    times = _valid_times.find(pair.prediction).times
    along = tuple(d for d in times.dims if d in dims)
    if not along:
        message = f"diurnal_error averages over days, but dim={tuple(dims)} has none of {times.dims}; add one"
        raise DimensionError(message)
    seconds = xr.DataArray(_label(times, "hour").astype(np.float64), dims=times.dims)
    present = np.unique(seconds.values)
    step = _DAY / present.size
    even = np.allclose(np.diff(present), step) and present.size >= 3
    if harmonic and not even:
        shown = ", ".join(f"{s / 3600:g}" for s in present[:6]) + (" ..." if present.size > 6 else "")
        message = (
            f"diurnal_error: the times lie at hours {shown}; wanted hours that divide the day evenly, 3 or more, or "
            "harmonic=False"
        )
        raise OptionError(message)
    p, t = _mean_days(pair, seconds, present, along)
    space = tuple(d for d in dims if d not in along)
    by = pair.weights(dims, weights)
    means = add_up([p, t], ["p", "t", "d", "dd"], _by_hour, space, by).means()
    labels = _shown("hour", present.astype(np.int64))
    axis = xr.Variable("hour", labels, {"long_name": "time of day, UTC", "units": "hours"})
    means = {n: m.assign_coords(hour=axis).transpose(..., "hour") for n, m in means.items()}
    # Every hour counts alike; where one is missing there is no mean day.
    whole = means["dd"].mean("hour", skipna=False) ** 0.5
    out = {
        "prediction_cycle": pair.label(means["p"], "mean day of the prediction", dtype=np.float64),
        "target_cycle": pair.label(means["t"], "mean day of the target", dtype=np.float64),
        "bias": pair.label(means["d"], "error of the mean day"),
        "rmse": pair.label(means["dd"] ** 0.5, "root mean square error of the mean day"),
        "cycle_rmse": pair.label(whole, "root mean square error of the mean day, all hours,"),
    }
    for name in ("prediction_cycle", "target_cycle"):
        if pair.target.attrs.get("units") is not None:  # values, no differences: degC stays degC
            out[name].attrs["units"] = str(pair.target.attrs["units"])
    return out | (_harmonics(pair, means, present) if harmonic else {})


def _mean_days(
    pair: Compared, seconds: xr.DataArray, present: Any, along: tuple[Hashable, ...]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Means by hour of both at every point, over times at which both are known."""

    def sort(p: Floats, t: Floats, when: Floats) -> Iterator[Floats]:
        for hour in present:
            here = (when == hour).astype(np.float64)
            yield here * p
            yield here * t
            yield here

    names = [f"{kind} {k}" for k in range(present.size) for kind in "ptn"]
    if set(seconds.dims) <= set(along) and set(pair.prediction.dims) == set(pair.target.dims):
        total: Mapping[str, xr.DataArray] = _sorted_sums(pair, seconds, present, along, names)
    else:
        total = add_up([pair.prediction, pair.target, seconds], names, sort, along, xr.DataArray(1.0)).total
    days = []
    for kind in "pt":
        each = [total[f"{kind} {k}"] / total[f"n {k}"].where(total[f"n {k}"] > 0) for k in range(present.size)]
        days.append(xr.concat(each, dim="hour"))
    return days[0], days[1]


def _sorted_sums(
    pair: Compared, seconds: xr.DataArray, present: Any, along: tuple[Hashable, ...], names: list[str]
) -> dict[str, xr.DataArray]:
    """Add up hour by hour in one pass: the hour is the same for all points of a time, so that times can be sorted."""
    rest = [d for d in pair.prediction.dims if d not in along]
    axes = [*along, *rest]
    p, t = (field.transpose(*axes) for field in (pair.prediction, pair.target))
    when = seconds.expand_dims([d for d in along if d not in seconds.dims]).transpose(*along)
    when = when.broadcast_like(xr.DataArray(np.empty([p.sizes[d] for d in along]), dims=along))
    kernel = partial(_block_of_hours, present=present, times=len(along))
    if p.chunks is None and t.chunks is None:
        sums: Any = kernel(p.to_numpy(), t.to_numpy(), when.to_numpy())
    else:
        import dask.array

        blockwise: Any = dask.array.blockwise
        every, last = tuple(range(len(axes))), len(axes)
        sums = blockwise(
            kernel, (*every, last), p.data, every, t.data, every, when.data, every[: len(along)],
            new_axes={last: len(names)}, adjust_chunks=dict.fromkeys(every[: len(along)], 1), dtype=np.float64,
            meta=np.empty((0,) * (last + 1)),
        )  # fmt: skip
    sums = sums.sum(axis=tuple(range(len(along))))
    coords = {n: c for n, c in p.coords.items() if set(c.dims) <= set(rest)}
    return {name: xr.DataArray(sums[..., k], coords, rest) for k, name in enumerate(names)}


def _block_of_hours(p: Any, t: Any, when: Any, *, present: Any, times: int) -> Floats:
    """Add up both and where both are known, hour by hour; the axes of time keep length 1."""
    rest = p.shape[times:]
    p, t = (np.asarray(x).reshape(-1, *rest) for x in (p, t))
    codes = np.searchsorted(present, np.asarray(when).ravel())
    out = np.zeros((present.size, 3, *rest))
    for k in np.unique(codes):
        here = codes == k
        first, second = (x[here].astype(np.float64, copy=False) for x in (p, t))
        missing = np.isnan(first) | np.isnan(second)
        out[k, 2] = here.sum()
        if missing.any():
            first, second = (np.where(missing, 0.0, x) for x in (first, second))
            out[k, 2] = (~missing).sum(0)
        out[k, 0], out[k, 1] = first.sum(0), second.sum(0)
    flat = out.reshape(3 * present.size, *rest)
    return np.moveaxis(flat, 0, -1).reshape((*[1] * times, *rest, 3 * present.size))


def _by_hour(p: Floats, t: Floats) -> tuple[Floats, ...]:
    return p, t, p - t, (p - t) ** 2


def _harmonics(pair: Compared, means: dict[str, xr.DataArray], present: Any) -> dict[str, xr.DataArray]:
    angle = 2 * np.pi * present / _DAY
    out: dict[str, xr.DataArray] = {}
    phases, sizes = {}, {}
    for name, kind in (("prediction", "p"), ("target", "t")):
        waves = [
            (means[kind] * xr.DataArray(f(angle), dims="hour")).sum("hour", skipna=False) * (2 / present.size)
            for f in (np.cos, np.sin)
        ]
        sizes[name] = (waves[0] ** 2 + waves[1] ** 2) ** 0.5
        phases[name] = _ufunc(_hour_of, waves[1], waves[0])
        out[f"{name}_amplitude"] = pair.label(sizes[name], f"amplitude of the mean day of the {name}")
        out[f"{name}_phase"] = _hours(pair, phases[name], f"hour of the maximum of the mean day of the {name}, UTC,")
    out["amplitude_error"] = pair.label(sizes["prediction"] - sizes["target"], "error of the amplitude of the mean day")
    late = _ufunc(_around, phases["prediction"] - phases["target"])
    out["phase_error"] = _hours(pair, late, "delay of the mean day")
    return out


def _hours(pair: Compared, field: xr.DataArray, what: str) -> xr.DataArray:
    out = pair.label(field, what, "1")
    return out.assign_attrs(units="hours", long_name=long_name_of(what, pair.like))


def _ufunc(function: Any, *fields: xr.DataArray) -> xr.DataArray:
    out: xr.DataArray = xr.apply_ufunc(function, *fields, dask="parallelized", output_dtypes=[np.float64])
    return out


def _hour_of(sine: Any, cosine: Any) -> Floats:
    # No amplitude, no phase: what rounding leaves has one at random.
    some = np.hypot(sine, cosine) > 0
    return np.where(some, np.mod(np.arctan2(sine, cosine) * 12 / np.pi, 24), np.nan)


def _around(hours: Any) -> Floats:
    return np.asarray(np.mod(hours + 12, 24) - 12)
