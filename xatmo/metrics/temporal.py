"""Errors as they come and go: mean square error and total variation by time, smoothed over days."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo._labels import drop_cyclic, require_whole
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._aggregate import Weights, add_up, resolve_weights
from xatmo.metrics._compare import Compared, compare
from xatmo.metrics._metric import labelled, long_name_of, score_units, themselves
from xatmo.metrics._pairs import Dims, axes_of, reduced_dims
from xatmo.metrics.distributions import _each
from xatmo.typing import Floats, T, XarrayObject

Spacing = Literal["sphere", "cells"]
_PER_METRE = {"sphere": " m-1", "cells": ""}


def gradient_size(field: Any, north: Floats, east: Floats, *, periodic: bool) -> Floats:
    """Length of the gradient at every point, the mean over its four choices of one neighbour along each axis.

    Parameters
    ----------
    field : array (..., nlat, nlon)
    north : array (nlat - 1,)
        Steps between rows.
    east : array (nlat,)
        Steps between columns; 0 where a row is a point, a pole.
    periodic : bool
        Whether the first column follows on the last. At other edges the neighbour inside serves for that outside.

    Returns
    -------
    array (..., nlat, nlon)
        float64, per unit of the steps; NaN where a neighbour is missing.
    """
    field = np.asarray(field, dtype=np.float64)
    rows = np.diff(field, axis=-2) / north[:, None]
    columns = np.diff(field, axis=-1, append=field[..., :1]) if periodic else np.diff(field, axis=-1)
    # All points of a pole are one: there is no way eastward.
    columns = np.where(east[:, None] > 0, columns, 0.0) / np.where(east > 0, east, 1.0)[:, None]
    up = np.concatenate([rows, rows[..., -1:, :]], axis=-2) ** 2
    down = np.concatenate([rows[..., :1, :], rows], axis=-2) ** 2
    if periodic:
        right, left = columns**2, np.roll(columns, 1, axis=-1) ** 2
    else:
        right = np.concatenate([columns, columns[..., -1:]], axis=-1) ** 2
        left = np.concatenate([columns[..., :1], columns], axis=-1) ** 2
    total = sum(np.sqrt(a + b) for a in (up, down) for b in (right, left))
    return np.asarray(total) / 4


def _sizes(field: xr.DataArray, axes: cf.Horizontal, spacing: str, *, what: str) -> xr.DataArray:
    if spacing not in _PER_METRE:
        message = f"spacing={spacing!r}; wanted 'sphere' (per metre) or 'cells' (per cell)"
        raise OptionError(message)
    if min(field.sizes[d] for d in axes.dims) < 2:
        message = f"{what} needs 2 rows and 2 columns or more; {dict(field.sizes)} came"
        raise DimensionError(message)
    require_whole(field, axes.dims, what=what)
    grid = Grid.of(field)
    north, east = np.ones(grid.nlat - 1), np.ones(grid.nlat)
    if spacing == "sphere":
        north = EARTH_RADIUS * np.radians(np.abs(np.diff(grid.latitude)))
        step = np.radians(np.diff(grid.longitude).mean())
        cosine = np.cos(np.radians(grid.latitude))
        east = EARTH_RADIUS * step * np.where(cosine > 1e-6, cosine, 0.0)
    found: xr.DataArray = xr.apply_ufunc(
        partial(gradient_size, north=north, east=east, periodic=grid.periodic),
        field,
        input_core_dims=[list(axes.dims)],
        output_core_dims=[list(axes.dims)],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def _variation(
    field: xr.DataArray, spacing: str, weights: Weights, dims: tuple[Hashable, ...], *, what: str
) -> xr.DataArray:
    axes = axes_of(field)
    if axes is None:
        cf.horizontal(field)  # raises, by name
        message = f"{what} needs latitude and longitude"
        raise CoordinateError(message)
    if not set(axes.dims) <= set(dims):
        message = f"{what} averages over latitude and longitude, {axes.dims}, but dim has {dims} only; add them"
        raise DimensionError(message)
    sizes = _sizes(field, axes, spacing, what=what)
    by = resolve_weights(field, dims, weights, what=what)
    return add_up([sizes], ["variation"], themselves, dims, by).means()["variation"]


def _variation_units(units: Any, spacing: str) -> str | None:
    same = score_units(units, "same")
    return None if same is None else (same if same != "1" else "" if spacing == "sphere" else "1") + _PER_METRE[spacing]


def total_variation(obj: T, *, spacing: Spacing = "sphere", dim: Dims = None, weights: Weights = "area") -> T:
    r"""Total variation of fields per unit of area: the mean length of their gradient.

    .. math:: TV = \frac{1}{A} \int |\nabla x| \, dA

    High where a field is rough, low where it is smooth, and unlike the mean square of the gradient not ruled by a few
    fronts. Isotropic: lengths of the gradient, not of its components. At every point the length is the mean over the
    four choices of a neighbour to the north or south and one to the east or west, so that neither the order of rows
    nor the direction of columns matters, and waves of two grid steps are seen.

    Parameters
    ----------
    obj : Dataset or DataArray
        With latitude and longitude whole. Around the globe columns go on; at the other edges, the neighbour inside
        serves.
    spacing : {"sphere", "cells"}
        ``"sphere"``: differences over distances in metres, a dlat and a cos(lat) dlon, weighted with areas: the
        integral above, which hardly depends on the grid where that resolves the field. ``"cells"``: differences from
        cell to cell, as image processing has it; with ``weights=None`` the mean over cells, which on a grid of
        latitudes and longitudes counts high latitudes many times.
    dim : str or sequence of str, optional
        Has to hold latitude and longitude, which alone are averaged over unless given.
    weights : "area", DataArray or None
        As in `rmse`. Points beside a missing value are left out.

    Returns
    -------
    Dataset or DataArray
        In the field's units per metre (or per cell); lazy where the input is.

    Raises
    ------
    OptionError
        If the spacing is unknown.
    DimensionError
        If ``dim`` lacks latitude or longitude, or there are fewer than 2 rows or columns.
    CoordinateError, GridError
        If latitude and longitude are not found.
    ChunkError
        If they are split into chunks.

    References
    ----------
    .. [1] L. Rudin, S. Osher, E. Fatemi, 1992: Nonlinear total variation based noise removal algorithms. Physica D 60,
       259-268.

    Examples
    --------
    Of the sine of latitude it is pi / 4 over the Earth's radius:

    >>> grid = Grid.regular(181, 360)
    >>> sine = np.sin(np.radians(grid.latitude))[:, None] * np.ones(grid.nlon)
    >>> da = xr.DataArray(sine, grid.coords(), ("latitude", "longitude"), attrs={"units": "1"})
    >>> round(total_variation(da).item() * 6371229, 4)
    0.7854
    """

    def one(field: xr.DataArray) -> xr.DataArray:
        axes = axes_of(field)
        bare = drop_cyclic(field, axes)[0] if axes is not None else field
        default = None if axes is None else list(axes.dims)
        dims = reduced_dims(bare, bare, default if dim is None else dim, what="total_variation")
        found = _variation(bare, spacing, weights, dims, what="total_variation")
        return labelled(
            found,
            field,
            False,
            long_name=long_name_of("mean length of the gradient", field),
            units=_variation_units(field.attrs.get("units"), spacing),
            dtype=field.dtype if field.dtype.kind == "f" else np.float64,
        ).rename(field.name)

    call = cf.describe_call("metrics.total_variation", spacing=spacing, dim=dim)
    return cf.add_history(_each(obj, one, dim), call)


def temporal_error(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    window: str | pd.Timedelta | None = "30D",
    spacing: Spacing = "sphere",
    dim: Dims = None,
    weights: Weights = "area",
) -> xr.Dataset:
    """Mean square error and difference of total variation at every time, and their running means.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, latitude and longitude whole.
    window : str, timedelta or None
        Of the running mean, centred, such as ``"30D"``: the nearest odd number of time steps, at least 1. Times nearer
        to an end than half a window are NaN there. None for no running means.
    spacing : {"sphere", "cells"}
        As in `total_variation`.
    dim : str or sequence of str, optional
        Dimensions to average over; latitude and longitude unless given.
    weights : "area", DataArray or None
        As in `rmse`.

    Returns
    -------
    Dataset
        ``mse`` and ``total_variation_difference`` (prediction - target: negative where the prediction is too smooth)
        by time and what else is left, and ``mse_running`` and ``total_variation_difference_running``. With
        ``VARIABLE_`` before each name where several variables are compared. Lazy where the input is. Their
        distribution: `histogram`.

    Raises
    ------
    CoordinateError
        If there is no time, its steps are uneven, or a window is wanted of a single time.
    OptionError
        If the window is no span of time, or longer than the record.
    DimensionError, ChunkError, GridError, UnitsError, VariableError
        As in `rmse` and `total_variation`.

    Examples
    --------
    >>> grid = Grid.regular(19, 36)
    >>> time = np.datetime64("2020-01-01", "ns") + np.arange(9) * np.timedelta64(1, "D")
    >>> t = xr.DataArray(np.ones((9, 19, 36)), {"time": time, **grid.coords()}, ("time", "latitude", "longitude"))
    >>> found = temporal_error(t + xr.DataArray(np.arange(9.0), dims="time"), t, window="3D")
    >>> found.mse.values[:3], found.mse_running.values[:3]
    (array([0., 1., 4.]), array([ nan, 1.66666667, 4.66666667]))
    """

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _temporal(pair, window, spacing, dim, weights)

    call = cf.describe_call("temporal_error", window=None if window is None else str(window), spacing=spacing, dim=dim)
    return compare(prediction, target, one, what="temporal_error", call=call)


def _temporal(pair: Compared, window: Any, spacing: str, dim: Dims, weights: Weights) -> dict[str, xr.DataArray]:
    axes = pair.horizontal
    dims = pair.dims(dim if dim is not None or axes is None else list(axes.dims))
    time = cf.time(pair.target)
    (along,) = pair.target[time].dims
    if along in dims:
        message = f"temporal_error tells errors by time, but dim={tuple(dims)} holds {along!r}; leave it out"
        raise DimensionError(message)
    by = pair.weights(dims, weights)
    mse = add_up([pair.prediction, pair.target], ["mse"], _squared, dims, by).means()["mse"]
    # Where either is missing, neither tells how rough it is.
    known = pair.prediction.notnull() & pair.target.notnull()
    ours, theirs = (
        _variation(field.where(known), spacing, weights, dims, what="temporal_error")
        for field in (pair.prediction, pair.target.assign_coords(_places(pair)))
    )
    difference = ours - theirs
    long = "difference of the total variation, prediction - target,"
    out = {
        "mse": pair.label(mse, "mean square error", "squared"),
        "total_variation_difference": pair.label(difference, long),
    }
    units = _variation_units(pair.target.attrs.get("units"), spacing)
    if units is not None:
        out["total_variation_difference"].attrs["units"] = units
    if window is not None:
        steps = _steps(pair.prediction, time, window)
        for name in tuple(out):
            smooth = running_mean(out[name], along, steps)
            smooth.attrs = {**out[name].attrs, "long_name": f"running mean of the {out[name].attrs['long_name']}"}
            out[f"{name}_running"] = smooth.assign_attrs(window_in_steps=steps)
    return out


def _places(pair: Compared) -> dict[Hashable, xr.DataArray]:
    """Latitude and longitude of the prediction, for the target that has been matched with it."""
    axes = pair.horizontal
    return {} if axes is None else {n: pair.prediction[n] for n in (axes.lat, axes.lon)}


def _squared(p: Floats, t: Floats) -> tuple[Floats]:
    return ((p - t) ** 2,)


def _steps(field: xr.DataArray, time: Hashable, window: Any) -> int:
    """Odd number of time steps that comes nearest to a span of time."""
    try:
        span = pd.Timedelta(window) / pd.Timedelta(1, "s")
    except (ValueError, TypeError) as error:
        message = f"window={window!r}; wanted a span of time, such as '30D', or None"
        raise OptionError(message) from error
    times = field.indexes[field[time].dims[0]] if time in field.indexes else pd.Index(field[time].values)
    if len(times) < 2:
        message = f"window={window!r} needs steps of time; {len(times)} time came. Give window=None"
        raise CoordinateError(message)
    if times.dtype.kind in "fiub":
        message = (
            f"window={window!r} needs dates; {time!r} holds {times.dtype} values. Decode them, or give window=None"
        )
        raise CoordinateError(message)
    apart = [pd.Timedelta(b - a).total_seconds() for a, b in pairwise(times)]
    step = float(np.median(apart))
    if not step > 0 or np.abs(np.asarray(apart) - step).max() > 1e-3 * step:
        message = (
            f"window={window!r} needs even steps of rising time; steps of {time!r} go from {min(apart) / 3600:g} to "
            f"{max(apart) / 3600:g} hours. Give window=None, or resample first"
        )
        raise CoordinateError(message)
    steps = 2 * int(np.floor(span / step / 2)) + 1
    if span <= 0 or steps > len(times):
        message = (
            f"window={window!r} makes {max(steps, 0)} steps of {step / 3600:g} hours, of {len(times)}; wanted a "
            "positive span no longer than the record"
        )
        raise OptionError(message)
    return max(steps, 1)


def running_mean(field: xr.DataArray, dim: Hashable, steps: int) -> xr.DataArray:
    """Centred mean over an odd number of steps; NaN where the window leaves the record or meets a missing value.

    Examples
    --------
    >>> running_mean(xr.DataArray([1.0, 2.0, 6.0, 1.0], dims="time"), "time", 3).values
    array([nan, 3., 3., nan])
    """
    if steps == 1:
        return field
    whole = field if field.chunks is None else field.copy(data=field.data.rechunk({field.get_axis_num(dim): -1}))
    found: xr.DataArray = xr.apply_ufunc(
        partial(_moving, steps=steps),
        whole,
        input_core_dims=[[dim]],
        output_core_dims=[[dim]],
        dask="parallelized",
        output_dtypes=[field.dtype],
    )
    return found.transpose(*field.dims)


def _moving(values: Any, *, steps: int) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(values, steps, axis=-1)
    out: Floats = np.full(values.shape, np.nan, dtype=values.dtype)
    half = steps // 2
    out[..., half : values.shape[-1] - half] = windows.mean(-1, dtype=np.float64)
    return out
