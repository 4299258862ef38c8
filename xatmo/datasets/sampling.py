"""What an observing system sees of a gridded truth, and its samples on a grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import drop_cyclic
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.typing import Floats, T, XarrayObject


def observe(truth: T, tracks: XarrayObject, *, noise_std: float | Mapping[str, float] = 0.0, seed: int = 0) -> T:
    """Sample a gridded truth along tracks: linear in time, latitude and longitude, plus white noise.

    Parameters
    ----------
    truth : Dataset or DataArray
        Fields with latitude and longitude and perhaps time, in any order; other dimensions stay. May be lazy.
    tracks : Dataset or DataArray
        Points along one dimension with time, latitude and longitude, as from `nadir_tracks`.
    noise_std : float or mapping
        Standard deviation of the noise in the field's units; by mission name if a mapping.
    seed : int
        Of the noise.

    Returns
    -------
    Dataset or DataArray
        The fields along the track's dimension, with its coordinates. Points outside the truth's rows, columns and times
        are left out; NaN where one of the surrounding values is missing. Lazy where the truth is.

    Raises
    ------
    CoordinateError
        If coordinates are missing, or no point lies inside.
    DimensionError
        If the tracks have more than one dimension, or no field has latitude and longitude.
    OptionError
        If the noise is negative, or given for missions that the tracks do not tell apart.

    Examples
    --------
    >>> truth = xr.DataArray(np.add.outer(np.arange(5.0), np.arange(9.0)), dims=("lat", "lon"), name="ssh",
    ...                      coords={"lat": np.arange(30.0, 35), "lon": np.arange(9.0)})
    >>> points = xr.Dataset(coords={"time": ("time", [0, 1]), "latitude": ("time", [31.5, 80]),
    ...                             "longitude": ("time", [2.25, 0])})
    >>> observe(truth, points).values
    array([3.75])
    """
    along = _track_dim(tracks)
    scale = _noise(noise_std, tracks)
    axes = cf.horizontal(truth)
    bare, _ = drop_cyclic(truth, axes)
    fields = {"": bare} if isinstance(bare, xr.DataArray) else dict(bare.data_vars)
    chosen = {n: f for n, f in fields.items() if set(axes.dims) <= set(f.dims) and f.dtype.kind in "fiub"}
    if not chosen:
        message = f"observe needs a field with dimensions {axes.dims}; came {[f.dims for f in fields.values()]}"
        raise DimensionError(message)
    try:
        time: Hashable = cf.time(bare)
    except CoordinateError:
        time = None
    if time is not None and bare[time].dims != (time,):
        time = None
    brackets, inside = _brackets(bare, axes, time, tracks)
    points = tracks.isel({along: np.flatnonzero(inside)})
    if not points.sizes[along]:
        message = (
            f"none of the {tracks.sizes[along]} points lies within the truth: {Grid.of(bare)!r}"
            + ("" if time is None else f", {bare[time].values[0]} to {bare[time].values[-1]}")
            + ". Compare their times and longitudes"
        )
        raise CoordinateError(message)
    noise = np.random.default_rng(seed).normal(size=inside.size)[inside] * (
        scale[inside] if isinstance(scale, np.ndarray) else scale
    )
    coords = {n: c for n, c in points.coords.items() if c.dims == (along,)}
    out = {name: _sample(field, brackets, along, coords, noise) for name, field in chosen.items()}
    spoken = dict(noise_std) if isinstance(noise_std, Mapping) else noise_std
    call = cf.describe_call("datasets.observe", noise_std=spoken, seed=seed)
    if isinstance(truth, xr.DataArray):
        return cf.add_history(out[""].rename(truth.name), call)
    return cf.add_history(xr.Dataset(out, attrs=truth.attrs), call)


def _track_dim(tracks: XarrayObject) -> Hashable:
    if len(tracks.dims) != 1:
        message = f"tracks have dimensions {tuple(tracks.dims)}; wanted one, with time, latitude and longitude along it"
        raise DimensionError(message)
    return next(iter(tracks.dims))


def _along(tracks: XarrayObject, kind: str) -> np.ndarray[Any, Any]:
    """Take the times, latitudes or longitudes of the points."""
    if kind == "time":
        return np.asarray(tracks[cf.time(tracks)].values)
    names = [n for n in tracks.coords if tracks[n].attrs.get("standard_name") == kind] or [
        n for n in (kind, kind[:3]) if n in tracks.coords
    ]
    if not names:
        message = f"tracks have coordinates {sorted(map(str, tracks.coords))}; wanted one with standard_name {kind!r}"
        raise CoordinateError(message)
    return np.asarray(tracks[names[0]].values, dtype=np.float64)


def _noise(noise_std: Any, tracks: XarrayObject) -> Any:
    if isinstance(noise_std, Mapping):
        meanings = str(tracks["mission"].attrs.get("flag_meanings", "")).split() if "mission" in tracks.coords else []
        missing = [name for name in meanings if name not in noise_std]
        if not meanings or missing:
            message = f"noise_std={dict(noise_std)!r}; wanted a number for each mission of the tracks: {meanings}"
            raise OptionError(message)
        scale = np.array([float(noise_std[name]) for name in meanings])[tracks["mission"].values]
    else:
        scale = np.asarray(float(noise_std))
    if not (scale >= 0).all():
        message = f"noise_std={noise_std!r}; wanted no number below 0"
        raise OptionError(message)
    return scale if scale.ndim else float(scale)


def _brackets(
    truth: XarrayObject, axes: cf.Horizontal, time: Hashable, tracks: XarrayObject
) -> tuple[dict[Hashable, tuple[Any, Any, Floats]], np.ndarray[Any, Any]]:
    """For each dimension, the two neighbours of every inner point and the weight of the second; and which are inner."""
    grid = Grid.of(truth)
    longitude = grid.longitude[0] + (_along(tracks, "longitude") - grid.longitude[0]) % 360
    found = {
        axes.lat_dim: _bracket(grid.latitude, _along(tracks, "latitude")),
        axes.lon_dim: _bracket(grid.longitude, longitude, period=360.0 if grid.periodic else None),
    }
    if time is not None:
        moments = truth[time].values
        origin = moments[0]
        numbers = [(x - origin) / np.timedelta64(1, "s") for x in (moments, _along(tracks, "time"))]
        found[time] = _bracket(*numbers)
    inside = np.logical_and.reduce([known for *_, known in found.values()])
    return {d: (low[inside], high[inside], part[inside]) for d, (low, high, part, _) in found.items()}, inside


def _bracket(axis: Any, points: Any, *, period: float | None = None) -> tuple[Any, Any, Floats, Any]:
    """Lower and upper neighbour, weight of the upper one, and whether the point lies between two."""
    axis, size = np.asarray(axis, dtype=np.float64), len(axis)
    order = np.arange(size) if size < 2 or axis[-1] > axis[0] else np.arange(size)[::-1]
    rising = axis[order]
    if period is not None:
        order, rising = np.append(order, order[0]), np.append(rising, rising[0] + period)
    low = np.clip(np.searchsorted(rising, points, side="right") - 1, 0, max(rising.size - 2, 0))
    high = np.minimum(low + 1, rising.size - 1)
    width = np.where(high > low, rising[high] - rising[low], 1.0)
    part = (points - rising[low]) / width
    return order[low], order[high], part, (part >= 0) & (part <= 1) & np.isfinite(part)


def _sample(
    field: xr.DataArray,
    brackets: Mapping[Hashable, tuple[Any, Any, Floats]],
    along: Hashable,
    coords: Mapping[Hashable, Any],
    noise: Floats,
) -> xr.DataArray:
    dtype = field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)
    used = {d: b for d, b in brackets.items() if d in field.dims}
    total: Any = 0.0
    for corner in product((0, 1), repeat=len(used)):
        weight = np.prod([b[2] if c else 1 - b[2] for c, b in zip(corner, used.values(), strict=True)], axis=0)
        index = {d: xr.Variable((along,), b[c]) for c, (d, b) in zip(corner, used.items(), strict=True)}
        value = field.variable.isel(index)
        # A missing neighbour with no weight does no harm; with some, the sample is missing.
        part = xr.DataArray(value * xr.Variable((along,), weight.astype(dtype)))
        total = total + part.where(xr.DataArray(weight > 0, dims=[along]), 0).variable
    total = total + xr.Variable((along,), noise.astype(dtype))
    order = [d for d in total.dims if d != along] + [along]
    out = xr.DataArray(total.transpose(*order), coords=coords, attrs=field.attrs)
    kept = {d: field[d] for d in out.dims if d != along and d in field.coords}
    return out.assign_coords(kept)


def grid_tracks(obs: XarrayObject, like: XarrayObject) -> xr.Dataset:
    """Bin samples along tracks onto a grid: mean and number of samples in every cell.

    Parameters
    ----------
    obs : Dataset or DataArray
        Samples along one dimension, as from `observe`; other dimensions stay. Bare tracks are counted.
    like : Dataset or DataArray
        Whose latitudes, longitudes and times the cells surround: edges lie midway between the labels, so a sample goes
        to the nearest. Without times, or with one, all samples fall together.

    Returns
    -------
    Dataset
        The mean of every variable, NaN where there is no sample, and ``NAME_count`` (``count`` for bare tracks). Lazy
        where the samples are. Ready for ``.atmo.fourdvar_interp(NAME)``.

    Raises
    ------
    CoordinateError
        If coordinates are missing.
    DimensionError
        If no variable lies along the tracks.

    Examples
    --------
    >>> like = xr.Dataset(coords={"lat": [0.0, 1.0], "lon": [10.0, 11.0, 12.0]})
    >>> samples = xr.DataArray([1.0, 3.0, 5.0], {"lat": ("time", [0.1, -0.2, 1.2]), "lon": ("time", [10.4, 9.6, 12.0]),
    ...                        "time": [0, 1, 2]}, "time", name="ssh")
    >>> grid_tracks(samples, like)["ssh"].values
    array([[ 2., nan, nan],
           [nan, nan,  5.]])
    """
    axes = cf.horizontal(like)
    grid = Grid.of(like)
    names = [n for n in obs.coords if obs[n].attrs.get("standard_name") == "latitude" or n in ("latitude", "lat")]
    if not names or obs[names[0]].ndim != 1:
        message = f"samples have coordinates {sorted(map(str, obs.coords))}; wanted a latitude along the track"
        raise CoordinateError(message)
    along = obs[names[0]].dims[0]
    west = grid.longitude_bounds[0]
    longitude = west + (_along(obs, "longitude") - west) % 360
    bins = [
        _bins(grid.latitude_bounds, _along(obs, "latitude")),
        _bins(grid.longitude_bounds, longitude),
    ]
    dims, shape = [axes.lat_dim, axes.lon_dim], [grid.nlat, grid.nlon]
    time = _grid_time(like)
    if time is not None:
        moments = like[time].values
        numbers = (moments - moments[0]) / np.timedelta64(1, "s")
        edges = np.concatenate([[1.5 * numbers[0] - 0.5 * numbers[1]], (numbers[1:] + numbers[:-1]) / 2,
                                [1.5 * numbers[-1] - 0.5 * numbers[-2]]])  # fmt: skip
        seconds = (_along(obs, "time") - moments[0]) / np.timedelta64(1, "s")
        bins, dims, shape = [_bins(edges, seconds), *bins], [time, *dims], [moments.size, *shape]
    inside = np.logical_and.reduce([b >= 0 for b in bins])
    cell = np.where(inside, np.ravel_multi_index([np.where(inside, b, 0) for b in bins], shape), -1)

    coords = {n: c for n, c in like.coords.items() if set(c.dims) <= set(dims) and c.ndim}
    if grid.nlon != like.sizes[axes.lon_dim]:  # a repeated cyclic column
        coords = {n: c.isel({axes.lon_dim: slice(0, grid.nlon)}, missing_dims="ignore") for n, c in coords.items()}
    if isinstance(obs, xr.DataArray):
        fields: dict[Hashable, xr.DataArray] = {obs.name if obs.name is not None else "obs": obs}
    else:
        fields = {n: v for n, v in obs.data_vars.items() if along in v.dims and v.dtype.kind in "fiu"}
    data: dict[Hashable, xr.DataArray] = {}
    for name, field in fields.items():
        mean, count = _bin(field, along, cell, dims, shape)
        data[name] = mean.assign_attrs({**field.attrs, "cell_methods": "area: time: mean"})
        data[f"{name}_count"] = count.assign_attrs(long_name=f"number of samples of {name}", units="1")
    if not fields:
        if isinstance(obs, xr.Dataset) and obs.data_vars:
            message = f"no numeric variable lies along {along!r}: { ({n: v.dims for n, v in obs.data_vars.items()}) }"
            raise DimensionError(message)
        ones = xr.DataArray(np.ones(cell.size, np.float32), dims=[along])
        data["count"] = _bin(ones, along, cell, dims, shape)[1].assign_attrs(long_name="number of samples", units="1")
    out = xr.Dataset(data, attrs=obs.attrs if isinstance(obs, xr.Dataset) else {}).assign_coords(coords)
    return cf.add_history(out, "datasets.grid_tracks()")


def _grid_time(like: XarrayObject) -> Hashable:
    try:
        time = cf.time(like)
    except CoordinateError:
        return None
    return time if like[time].dims == (time,) and like[time].size > 1 else None


def _bins(edges: Any, points: Any) -> np.ndarray[Any, Any]:
    """Cell of each point, -1 outside; edges rise or fall."""
    edges = np.asarray(edges, dtype=np.float64)
    rising = edges if edges[-1] > edges[0] else edges[::-1]
    cell = np.searchsorted(rising, points, side="right") - 1
    cell = np.where(points == rising[-1], rising.size - 2, cell)
    cell = np.where((cell < 0) | (cell > rising.size - 2) | ~np.isfinite(points), -1, cell)
    return cell if edges[-1] > edges[0] else np.where(cell < 0, -1, rising.size - 2 - cell)


def _bin(
    field: xr.DataArray, along: Hashable, cell: np.ndarray[Any, Any], dims: list[Hashable], shape: list[int]
) -> tuple[xr.DataArray, xr.DataArray]:
    dtype = field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)
    size = int(np.prod(shape))

    def kernel(values: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        mean = np.full((*values.shape[:-1], size), np.nan, dtype)
        count = np.zeros((*values.shape[:-1], size), np.int32)
        for index in np.ndindex(*values.shape[:-1]):
            known = (cell >= 0) & np.isfinite(values[index])
            total = np.bincount(cell[known], values[index][known].astype(np.float64), minlength=size)
            count[index] = np.bincount(cell[known], minlength=size)
            filled = count[index] > 0
            mean[index][filled] = total[filled] / count[index][filled]
        full = (*values.shape[:-1], *shape)
        return mean.reshape(full), count.reshape(full)

    if field.chunks is not None:
        field = field.chunk({along: -1})  # a line of samples is small beside the fields that it was taken from
    # The grid's time may bear the name of the track's dimension: work under names that nothing else has.
    fresh = {d: f"_grid_{d}" for d in dims}
    mean, count = xr.apply_ufunc(
        kernel,
        field.drop_vars([c for c in field.coords if along in field[c].dims]),
        input_core_dims=[[along]],
        output_core_dims=[list(fresh.values())] * 2,
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": dict(zip(fresh.values(), shape, strict=True))},
        output_dtypes=[dtype, np.int32],
    )
    back = {new: old for old, new in fresh.items()}
    return mean.rename(back), count.rename(back)
