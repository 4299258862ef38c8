"""An observing system's view of a gridded truth: samples with the errors of each sensor, or the challenges' maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo._labels import drop_cyclic
from xatmo.datasets import sampling
from xatmo.datasets.swot import Noise, pass_numbers, swath_errors
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.typing import XarrayObject

_DAY = np.timedelta64(1, "D")


def observe(
    truth: Any,
    tracks: XarrayObject,
    noise: float | Mapping[str, float] | Noise | None = None,
    *,
    noise_std: float | Mapping[str, float] = 0.0,
    seed: int = 0,
    layout: Literal["samples", "challenge"] = "samples",
    like: XarrayObject | None = None,
) -> Any:
    """Sample a gridded truth along tracks and swaths, with the errors of the sensors.

    Linear in time, latitude and longitude.

    Parameters
    ----------
    truth : Dataset or DataArray
        Fields with latitude and longitude and perhaps time, in any order; other dimensions stay. May be lazy.
    tracks : Dataset or DataArray
        Points along one dimension with time, latitude and longitude, as from `nadir_tracks` and `swot_swath`.
    noise : float, mapping or Noise, optional
        Standard deviation of white noise, in the field's units; by mission name if a mapping; or the errors of each
        sensor, those along tracks and across swaths included: points with ``flag`` 1 have the swath's.
    noise_std : float or mapping
        The same as ``noise``, by keyword.
    seed : int
        Of the errors.
    layout : {"samples", "challenge"}
        Samples along the tracks' dimension; or maps as the sea-level mapping challenges give them.
    like : Dataset or DataArray, optional
        Grid and times of these maps: the truth's own unless given, but days (labelled at noon) where the truth has
        several times a day.

    Returns
    -------
    Dataset or DataArray
        Samples: the fields along the track's dimension, with its coordinates. Points outside the truth's rows, columns
        and times are left out; NaN where one of the surrounding values is missing. Lazy where the truth is.

        Maps: ``ssh_obs`` (mean over each cell) and ``ssh_mod`` (the same without errors), NaN where nothing was seen;
        ``lag`` (true time from the label, hours); ``flag`` (0 nadir, 1 swath, -1 nothing); ``track`` (number of the
        pass, -1 nothing); ``noise_std`` (of the white part, divided by the root of the number of samples);
        ``mask`` (latitude, longitude; 1 ocean, 0 land). Where two passes meet, the one with more samples is kept.

    Raises
    ------
    CoordinateError
        If coordinates are missing, or no point lies inside.
    DimensionError
        If the tracks have more than one dimension, or no field has latitude and longitude.
    OptionError
        If the noise is negative, given twice, or for missions that the tracks do not tell apart; or the layout is
        unknown.

    Examples
    --------
    >>> truth = xr.DataArray(np.add.outer(np.arange(5.0), np.arange(9.0)), dims=("lat", "lon"), name="ssh",
    ...                      coords={"lat": np.arange(30.0, 35), "lon": np.arange(9.0)})
    >>> points = xr.Dataset(coords={"time": ("time", [0, 1]), "latitude": ("time", [31.5, 80]),
    ...                             "longitude": ("time", [2.25, 0])})
    >>> observe(truth, points).values
    array([3.75])
    """
    if noise is not None and not (isinstance(noise_std, int | float) and noise_std == 0):
        message = f"noise={noise!r} and noise_std={noise_std!r} came; wanted one of them"
        raise OptionError(message)
    if layout not in ("samples", "challenge"):
        message = f"layout={layout!r} came; wanted 'samples' or 'challenge'"
        raise OptionError(message)
    given = noise_std if noise is None else noise
    if layout == "challenge":
        return _maps(truth, tracks, given, seed, like)
    if not isinstance(given, Noise):
        return sampling.observe(truth, tracks, noise_std=given, seed=seed)
    numbered = _numbered(tracks)
    return _add(sampling.observe(truth, numbered), _errors(numbered, given, seed), f"noise={given!r}, seed={seed}")


def _errors(tracks: XarrayObject, noise: float | Mapping[str, float] | Noise, seed: int) -> xr.Dataset:
    """Error of every point, and the standard deviation of its white part."""
    dim = sampling._track_dim(tracks)
    points = tracks.coords.to_dataset()
    if isinstance(noise, Noise):
        flag = points["flag"].values if "flag" in points.coords else np.zeros(points.sizes[dim])
        std = np.where(flag == 1, noise.swath, noise.nadir)
        shared = swath_errors(points, noise, seed=seed)
        total = sum(shared[n].values for n in shared.data_vars)
    else:
        std = np.broadcast_to(np.asarray(sampling._noise(noise, tracks)), (points.sizes[dim],))
        total = np.zeros(std.size)
    white = np.random.default_rng([seed, 1]).standard_normal(std.size) * std
    return xr.Dataset({"error": (dim, total + white), "noise_std": (dim, std)}, points.coords)


def _add(samples: Any, errors: xr.Dataset, call: str) -> Any:
    """Add errors to samples, which are some of the points."""
    dim = next(iter(errors.dims))
    name = "_point"
    fields = {"": samples} if isinstance(samples, xr.DataArray) else dict(samples.data_vars)
    places = samples[name].values
    noise = errors["error"].values[places]
    noisy = {
        n: f.copy(data=(f.variable + xr.Variable((dim,), noise.astype(f.dtype))).transpose(*f.dims).data)
        for n, f in fields.items()
    }
    out = noisy[""] if isinstance(samples, xr.DataArray) else samples.assign(noisy)
    return cf.add_history(out.drop_vars(name), f"datasets.observe({call})")


def _maps(truth: Any, tracks: XarrayObject, noise: Any, seed: int, like: XarrayObject | None) -> xr.Dataset:
    field = _only_field(truth)
    target = _target(field, like)
    numbered = _numbered(tracks)
    errors = _errors(numbered, noise, seed)
    chosen = _one_pass_by_cell(numbered, target)
    dim = sampling._track_dim(numbered)
    points = numbered.isel({dim: np.flatnonzero(chosen)})
    seen = sampling.observe(field.rename("ssh_mod"), points)
    places = seen["_point"].values
    obs = seen.copy(
        data=(seen.variable + xr.Variable(seen.dims, errors["error"].values[places].astype(seen.dtype))).data
    )
    samples = xr.Dataset({"ssh_obs": obs, "ssh_mod": seen}).drop_vars("_point")
    maps = sampling.grid_tracks(samples, target)
    count = maps["ssh_obs_count"]
    known = count > 0
    out = maps[["ssh_obs", "ssh_mod"]]

    label, hours = _label_lag(seen, target)
    flag = seen["flag"].values if "flag" in seen.coords else np.zeros(seen.size)
    beside = {"lag": hours, "flag": flag, "track": pass_numbers(seen), "noise_std": errors["noise_std"].values[places]}
    bare = xr.Dataset(
        {n: (seen.dims, np.asarray(v, np.float64)) for n, v in beside.items()},
        samples.drop_vars("flag", errors="ignore").coords,
    )
    extra = sampling.grid_tracks(bare, target)
    out["lag"] = (
        extra["lag"].where(known).assign_attrs(long_name="true time of the observation from the label", units="hours")
    )
    for name, meaning in (("flag", "sensor: 0 nadir, 1 swath, -1 none"), ("track", "number of the pass, -1 none")):
        whole = extra[name].where(known, -1).round().astype(np.int32)
        out[name] = whole.assign_attrs(long_name=meaning)
    spread = extra["noise_std"] / np.sqrt(count.where(known))
    out["noise_std"] = spread.assign_attrs(long_name="standard deviation of the white noise", units="m")
    out["mask"] = _water(field, target)
    for name, text in (("ssh_obs", "observed"), ("ssh_mod", "true")):
        out[name].attrs = {**field.attrs, "long_name": f"{text} sea surface height along tracks"}
    if label is not None:  # decoded as numbers of hours, not as a time span
        out["lag"].encoding["dtype"] = "float32"
    return cf.add_history(out, cf.describe_call("datasets.observe", noise=str(noise), seed=seed, layout="challenge"))


def _only_field(truth: Any) -> xr.DataArray:
    if isinstance(truth, xr.DataArray):
        bare = truth
    else:
        names = list(truth.data_vars)
        if len(names) != 1:
            message = f"the truth has the variables {names}; wanted one for layout='challenge': select it, truth['ssh']"
            raise DimensionError(message)
        bare = truth[names[0]]
    return drop_cyclic(bare, cf.horizontal(bare))[0]


def _target(field: xr.DataArray, like: XarrayObject | None) -> XarrayObject:
    if like is not None:
        return like
    time = cf.time(field)
    moments = field[time].values
    if moments.size < 2 or np.diff(moments).min() >= _DAY:
        return field
    days = np.unique(moments.astype("datetime64[D]")).astype("datetime64[ns]") + np.timedelta64(12, "h")
    return field.coords.to_dataset().drop_vars([time]).assign_coords({time: days})


def _numbered(tracks: XarrayObject) -> XarrayObject:
    dim = sampling._track_dim(tracks)
    return tracks.assign_coords(_point=(dim, np.arange(tracks.sizes[dim])))


def _label_lag(points: XarrayObject, target: XarrayObject) -> tuple[Hashable, Any]:
    """Hours from the nearest label to each point."""
    try:
        name = cf.time(target)
    except CoordinateError:
        return None, np.zeros(points["_point"].size)
    labels = np.sort(np.atleast_1d(target[name].values).astype("datetime64[ns]"))
    moments = sampling._along(points, "time").astype("datetime64[ns]")
    middle = labels[:-1] + np.diff(labels) / 2
    nearest = labels[np.searchsorted(middle, moments, side="right")]
    return name, (moments - nearest) / np.timedelta64(1, "h")


def _one_pass_by_cell(points: XarrayObject, target: XarrayObject) -> Any:
    """Tell which points to keep, so that every cell and time holds samples of one pass and one sensor."""
    grid = Grid.of(target)
    west = grid.longitude_bounds[0]
    row = sampling._bins(grid.latitude_bounds, sampling._along(points, "latitude"))
    column = sampling._bins(grid.longitude_bounds, west + (sampling._along(points, "longitude") - west) % 360)
    name, _ = _label_lag(points, target)
    label = np.zeros(row.size, np.int64)
    if name is not None and np.size(target[name]) > 1:
        labels = np.sort(target[name].values.astype("datetime64[ns]"))
        moments = sampling._along(points, "time").astype("datetime64[ns]")
        label = np.searchsorted(labels[:-1] + np.diff(labels) / 2, moments, side="right")
    flag = points["flag"].values if "flag" in points.coords else np.zeros(row.size)
    source = 2 * pass_numbers(points) + (flag == 1)
    good = (row >= 0) & (column >= 0)
    cell = (label * grid.nlat + row) * grid.nlon + column
    table = pd.DataFrame({"cell": cell, "source": source})[good]
    count = table.value_counts().rename("count").reset_index()
    # Most samples first; the earlier number where two have as many.
    best = count.sort_values(["count", "source"], ascending=[False, True]).drop_duplicates("cell")
    winner = best.set_index("cell")["source"]
    keep = np.zeros(row.size, dtype=bool)
    keep[good] = table["source"].to_numpy() == winner.loc[table["cell"]].to_numpy()
    return keep


def _water(field: xr.DataArray, target: XarrayObject) -> xr.DataArray:
    """1 where the truth is ever known at the nearest node, 0 elsewhere."""
    axes, aim = cf.horizontal(field), cf.horizontal(target)
    others = [d for d in field.dims if d not in axes.dims]
    known = field.notnull().any(others).transpose(*axes.dims) if others else field.notnull().transpose(*axes.dims)
    from_grid, to_grid = Grid.of(field), Grid.of(target)
    row = np.abs(to_grid.latitude[:, None] - from_grid.latitude).argmin(axis=1)
    apart = (to_grid.longitude[:, None] - from_grid.longitude + 180) % 360 - 180
    near = known.variable[row][:, np.abs(apart).argmin(axis=1)].astype(np.int8)
    coords = {d: target[d] for d in aim.dims if d in target.coords}
    out = xr.DataArray(near.data[:, : target.sizes[aim.lon_dim]], coords, aim.dims)
    return out.assign_attrs(long_name="1 ocean, 0 land", standard_name="sea_binary_mask", units="1")
