"""Scores by regime: near the coast, and offshore where the sea varies much or little."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import MissingValueError, OptionError, VariableError
from xatmo.metrics._aggregate import Weights, resolve_weights
from xatmo.metrics.altimetry import _kernels
from xatmo.metrics.altimetry.gridded import _ratio, only_field, paired
from xatmo.metrics.altimetry.tracks import _along, track_scores
from xatmo.typing import Floats, XarrayObject

NAMES = ("coastal", "offshore_high_variability", "offshore_low_variability")
_LAND = -1


def distance_to_coast(land: xr.DataArray) -> xr.DataArray:
    """Distance of every point to the nearest point of land, on the sphere.

    Parameters
    ----------
    land : DataArray (latitude, longitude)
        True on land.

    Returns
    -------
    DataArray (latitude, longitude)
        In m; infinite where the field has no land at all.

    Examples
    --------
    >>> land = xr.DataArray([[True, False, False]], {"lat": [0.0], "lon": [0.0, 1.0, 2.0]}, ("lat", "lon"))
    >>> (distance_to_coast(land) / 1e3).round(1).values
    array([[  0. , 111.2, 222.4]])
    """
    from scipy.spatial import cKDTree

    axes = cf.horizontal(land)
    dry = land.transpose(*axes.dims).values.astype(bool)
    lat, lon = np.meshgrid(*(np.radians(np.asarray(land[n].values, np.float64)) for n in (axes.lat, axes.lon)),
                           indexing="ij")  # fmt: skip
    points: Floats = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    if dry.any():
        chord = cKDTree(points[dry]).query(points.reshape(-1, 3))[0].reshape(dry.shape)
        far: Any = 2 * EARTH_RADIUS * np.arcsin(np.clip(chord / 2, 0, 1))
    else:
        far = np.full(dry.shape, np.inf)
    coords = {n: c for n, c in land.coords.items() if set(c.dims) <= set(axes.dims) and c.dims}
    attrs = {"long_name": "distance to the coast", "units": "m"}
    return xr.DataArray(far, coords, axes.dims, "distance", attrs)


def regimes(
    truth: XarrayObject,
    *,
    land: xr.DataArray | None = None,
    coast: float = 200e3,
    variance: float = 0.02,
) -> xr.DataArray:
    """Sort the points of a sea into regimes. Reads the truth.

    Parameters
    ----------
    truth : Dataset or DataArray (time, latitude, longitude)
        Sea level, or a climatology of maps; NaN on land.
    land : DataArray (latitude, longitude), optional
        True on land; where the truth is never known unless given.
    coast : float
        Points nearer than this to land are coastal, in m.
    variance : float
        Over time, that parts high variability from low, in squared units of the truth: 200 cm2 unless given.

    Returns
    -------
    DataArray (latitude, longitude)
        CF flags: 0 coastal, 1 offshore of high variability, 2 offshore of low variability; -1 on land.

    Raises
    ------
    OptionError
        If a threshold is negative, or the land lies on other points.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=10, step=0.5, land=0.2)["ssh"]
    >>> found = regimes(truth)
    >>> sorted(set(found.values.ravel().tolist()))
    [-1, 0, 1, 2]
    """
    if not (coast >= 0 and variance >= 0):
        message = f"coast={coast}, variance={variance}; wanted numbers of 0 or more, in m and in squared units"
        raise OptionError(message)
    field = only_field(truth, what="the truth")
    axes = cf.horizontal(field)
    time = [field[cf.time(field)].dims[0]]
    known = field.notnull().any(time)
    if land is None:
        dry = ~known
    else:
        dry = land.astype(bool)
        if set(dry.dims) != set(axes.dims) or dict(dry.sizes) != dict(known.sizes):
            message = f"land has {dict(dry.sizes)} points, the truth {dict(known.sizes)}; wanted the same"
            raise OptionError(message)
        dry = dry.transpose(*axes.dims).drop_vars(list(dry.coords)).assign_coords(known.coords)
    dry = dry.compute()
    spread = field.astype(np.float64).var(time).compute()
    near = distance_to_coast(dry) < coast
    flags = np.where(spread.values >= variance, 1, 2)
    flags = np.where(near.values, 0, flags)
    flags = np.where(dry.values | ~np.isfinite(spread.values), _LAND, flags).astype(np.int8)
    attrs = {
        "long_name": "regime of sea level",
        "flag_values": np.arange(len(NAMES), dtype=np.int8),
        "flag_meanings": " ".join(NAMES),
    }
    return spread.copy(data=flags).rename("regime").assign_attrs(attrs)


def by_regime(
    mapped: XarrayObject, truth: XarrayObject, regime: xr.DataArray | None = None, *, weights: Weights = "area"
) -> xr.Dataset:
    """Take mu and sigma of `mu_sigma` for each regime by itself.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`.
    regime : DataArray (latitude, longitude), optional
        CF flags on the truth's points, as from `regimes`, or of one's own making; `regimes` of the truth unless given.
    weights : "area", DataArray or None
        As in `mu_sigma`.

    Returns
    -------
    Dataset (regime)
        ``mu``, ``sigma``, ``rmse``, and ``points``, the number of each regime's points; NaN where there are none. Lazy
        where a field is and the regimes are given.

    Raises
    ------
    OptionError
        If regimes bear no ``flag_values`` and ``flag_meanings``, or lie on other points.
    MissingValueError
        If no point belongs to any regime.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=10, step=0.5, land=0.2)["ssh"]
    >>> scores = by_regime(0.9 * truth, truth)
    >>> scores["mu"].values.round(6), str(scores["regime"].values[0])
    (array([0.9, 0.9, 0.9]), 'coastal')
    """
    made, target = paired(mapped, truth)
    flags = regimes(target) if regime is None else regime
    values, meanings = flags.attrs.get("flag_values"), str(flags.attrs.get("flag_meanings", "")).split()
    dims = target.dims[1:]
    if values is None or len(values) != len(meanings):
        message = f"regimes have attributes {sorted(flags.attrs)}; wanted flag_values and flag_meanings, one for one"
        raise OptionError(message)
    if set(flags.dims) != set(dims) or any(flags.sizes[d] != target.sizes[d] for d in dims):
        message = f"regimes have {dict(flags.sizes)} points, the truth {dict(target.sizes)}; wanted the truth's"
        raise OptionError(message)
    flags = flags.transpose(*dims).drop_vars(list(flags.coords)).assign_coords(
        {n: c for n, c in target.coords.items() if set(c.dims) <= set(dims) and c.dims}
    )  # fmt: skip
    if flags.chunks is None and not np.isin(flags.values, values).any():
        message = f"no point belongs to any of {meanings}; wanted some: see the thresholds of `regimes`"
        raise MissingValueError(message)
    shares = resolve_weights(target, dims, weights, what="by_regime")
    here = xr.concat([flags == value for value in values], "regime").assign_coords(regime=("regime", meanings))
    of_point = here * shares
    errors, signals = (xr.dot((x**2).fillna(0.0), of_point, dim=dims) for x in (made - target, target))
    seen = xr.dot(target.notnull().astype(np.float64), of_point, dim=dims)
    time = [target.dims[0]]
    weight = seen.sum(time)
    out = xr.Dataset(
        {
            "mu": _ratio(errors.sum(time), signals.sum(time)),
            "sigma": _ratio(errors, signals).std(time, ddof=0),
            "rmse": (errors.sum(time) / weight.where(weight > 0)) ** 0.5,
            "points": here.sum(dims),
        }
    )
    out["mu"].attrs = {"long_name": "1 - RMSE / RMS of the truth", "units": "1"}
    out["sigma"].attrs = {"long_name": "standard deviation over time of 1 - RMSE / RMS", "units": "1"}
    out["rmse"].attrs = {"long_name": "root mean square error", **_units(target)}
    out["points"].attrs = {"long_name": "points", "units": "1"}
    return out


def track_by_regime(pair: xr.Dataset, regime: xr.DataArray, *, least: int = 10) -> xr.Dataset:
    """Take mu and sigma of `track_scores` for the points of a track in each regime.

    Parameters
    ----------
    pair : Dataset
        From `along_track`; computed.
    regime : DataArray (latitude, longitude)
        CF flags, as from `regimes`; a point has the regime of the nearest row and column, and none beyond the edge.
    least : int
        Days with fewer points in the regime do not count.

    Returns
    -------
    Dataset (regime)
        ``mu``, ``sigma``, and ``points``; NaN where no day counts.

    Raises
    ------
    OptionError
        If regimes bear no ``flag_values`` and ``flag_meanings``.
    CoordinateError
        If the track has no latitude or longitude.
    VariableError
        If the Dataset is none from `along_track`.

    Examples
    --------
    >>> import xatmo
    >>> sea = xatmo.datasets.sea_level(days=6, step=0.5, land=0.2)["ssh"]
    >>> tracks = xatmo.datasets.nadir_tracks("saral", start="2012-10-01", days=5, region=sea)
    >>> pair = xatmo.metrics.altimetry.along_track(0.8 * sea, xatmo.datasets.observe(sea, tracks))
    >>> track_by_regime(pair, regimes(sea, coast=300e3))["mu"].sel(regime="coastal").round(6).item()
    0.8
    """
    values, meanings = regime.attrs.get("flag_values"), str(regime.attrs.get("flag_meanings", "")).split()
    if values is None or len(values) != len(meanings):
        message = f"regimes have attributes {sorted(regime.attrs)}; wanted flag_values and flag_meanings, one for one"
        raise OptionError(message)
    if not {"ssh", "ssh_map"} <= set(pair.data_vars):
        message = f"got variables {sorted(map(str, pair.data_vars))}; wanted 'ssh' and 'ssh_map', from along_track"
        raise VariableError(message)
    axes = cf.horizontal(regime)
    flags = regime.transpose(*axes.dims).values
    order, east = _kernels.longitude_axis(regime[axes.lon].values)
    rows = _kernels.bracket(regime[axes.lat].values, _along(pair["ssh"], "latitude"))
    columns = _kernels.bracket(east, _kernels.onto_axis(_along(pair["ssh"], "longitude"), east))
    j, i = (np.where(part < 0.5, low, high) for low, high, part, _ in (rows, columns))
    here = np.where(rows[3] & columns[3], flags[j, order[i]], _LAND)
    (along,) = pair["ssh"].dims
    known = np.isfinite(pair["ssh"].values) & np.isfinite(pair["ssh_map"].values)
    found = np.full((2, len(meanings)), np.nan)
    points = np.zeros(len(meanings), int)
    for k, value in enumerate(values):
        at = np.flatnonzero((here == value) & known)
        points[k] = at.size
        # A regime that no day sees often enough has no score; the others keep theirs.
        with contextlib.suppress(MissingValueError):
            scores = track_scores(pair.isel({along: at}), least=least)
            found[:, k] = scores["mu"].item(), scores["sigma"].item()
    return xr.Dataset(
        {
            "mu": ("regime", found[0], {"long_name": "mean of daily scores", "units": "1"}),
            "sigma": ("regime", found[1], {"long_name": "standard deviation of daily scores", "units": "1"}),
            "points": ("regime", points, {"long_name": "points of the track", "units": "1"}),
        },
        {"regime": meanings},
    )


def _units(field: xr.DataArray) -> dict[str, Any]:
    return {"units": field.attrs["units"]} if "units" in field.attrs else {}
