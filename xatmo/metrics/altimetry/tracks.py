"""Maps against an altimeter that was kept out of them: the scores of the challenge OSE 2021a."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError, VariableError
from xatmo.metrics.altimetry import _kernels
from xatmo.metrics.altimetry.areas import Area, Period, box_of, days_of, inside, moments
from xatmo.metrics.altimetry.gridded import bounds_over_times, only_field
from xatmo.metrics.resampling import Bootstrap
from xatmo.typing import XarrayObject

SPACING = 0.9434 * 6.77
"""Kilometres between the points of the challenge's altimeter: seconds times kilometres per second."""

_SSH = {"sla_unfiltered": 1.0, "mdt": 1.0, "lwe": -1.0}


def _reference(track: XarrayObject) -> xr.DataArray:
    """Sea surface height along a track: of a DataArray itself, ``sla_unfiltered + mdt - lwe``, or the one variable."""
    if isinstance(track, xr.DataArray):
        return track
    if set(_SSH) <= set(track.data_vars):
        out: Any = sum(sign * track[name] for name, sign in _SSH.items())
        attrs = {"long_name": "sea surface height", **{k: track["sla_unfiltered"].attrs[k] for k in ("units",)
                                                      if k in track["sla_unfiltered"].attrs}}  # fmt: skip
        made: xr.DataArray = out.assign_attrs(attrs)
        return made
    names = [n for n, v in track.data_vars.items() if v.ndim == 1 and v.dtype.kind == "f"]
    if "ssh" in names:
        names = ["ssh"]
    if len(names) != 1:
        message = (
            f"the track has variables {sorted(map(str, track.data_vars))}; wanted one, or 'ssh', or all of "
            f"{sorted(_SSH)}: pass track['NAME']"
        )
        raise VariableError(message)
    return track[names[0]]


def _along(track: xr.DataArray, kind: str) -> Any:
    names = [n for n in track.coords if track[n].attrs.get("standard_name") == kind] or [
        n for n in (kind, kind[:3]) if n in track.coords
    ]
    if not names or track[names[0]].dims != track.dims:
        message = f"the track has coordinates {sorted(map(str, track.coords))}; wanted {kind!r} along it"
        raise CoordinateError(message)
    return np.asarray(track[names[0]].values, np.float64)


def along_track(
    mapped: XarrayObject,
    track: XarrayObject,
    *,
    area: Area = None,
    period: Period = None,
    border: float = 0.25,
) -> xr.Dataset:
    """Interpolate a map linearly in longitude, latitude and time to the points of an altimeter's track.

    Parameters
    ----------
    mapped : Dataset or DataArray (time, latitude, longitude)
        Of a Dataset, its one field. May be lazy.
    track : Dataset or DataArray
        Sea surface height along one dimension, with time, latitude and longitude. Of a Dataset: ``sla_unfiltered + mdt
        - lwe`` where it has these, as in the challenge, otherwise ``ssh`` or its one variable.
    area : str or mapping, optional
        Box: a name in `AREAS`, or edges by ``"latitude"`` and ``"longitude"``. The map's points unless given.
    period : str, slice or (first, last), optional
        A name in `PERIODS`, or days.
    border : float
        Points nearer to the box's edge than this, in degrees, are left out.

    Returns
    -------
    Dataset
        ``ssh`` of the track and ``ssh_map`` along the track's dimension, in order of time, in the track's units. The
        map is NaN next to its gaps. Lazy where the map is.

    Raises
    ------
    CoordinateError
        If coordinates are missing, or no point lies within the map, the box and the period.
    DimensionError
        If the track has several dimensions.
    VariableError
        If it is not clear which variable is meant.
    UnitsError
        If units cannot be converted, or only one of the two has any.

    Examples
    --------
    >>> import xatmo
    >>> sea = xatmo.datasets.sea_level(days=5)["ssh"]
    >>> tracks = xatmo.datasets.nadir_tracks("saral", start="2012-10-01", days=4, region=sea)
    >>> pair = along_track(sea, xatmo.datasets.observe(sea, tracks))
    >>> bool(abs(pair["ssh_map"] - pair["ssh"]).max() < 1e-6)
    True
    """
    from xatmo.metrics._pairs import _same_units

    reference = _reference(track)
    if reference.ndim != 1:
        message = f"the track has dimensions {reference.dims}; wanted one, with time, latitude and longitude along it"
        raise DimensionError(message)
    field = _same_units(only_field(mapped, what="the map"), reference, what="along_track")
    axes = cf.horizontal(field)
    name, values = moments(field, what="the map")
    (along,) = reference.dims
    when = cf.time(reference)
    if reference[when].dtype.kind != "M":
        message = f"the track's times are {reference[when].dtype}; wanted datetime64"
        raise CoordinateError(message)
    reference = reference.isel({along: np.argsort(reference[when].values, kind="stable")})
    times, lat, lon = reference[when].values, _along(reference, "latitude"), _along(reference, "longitude")

    rows = np.asarray(field[axes.lat].values, np.float64)
    order, columns = _kernels.longitude_axis(field[axes.lon].values)
    field = field.isel({axes.lon_dim: order})
    box = box_of(area)
    if box is None:
        box = float(rows.min()), float(rows.max()), float(columns[0]), float(columns[-1] - columns[0])
    keep = inside(lon, lat, box, border)
    first, last = days_of(period)
    keep &= (times >= first if first is not None else True) & (times <= last if last is not None else True)
    seconds = [(x - values[0]) / np.timedelta64(1, "s") for x in (values, times)]
    brackets = {
        field[name].dims[0]: _kernels.bracket(*seconds),
        axes.lat_dim: _kernels.bracket(rows, lat),
        axes.lon_dim: _kernels.bracket(columns, _kernels.onto_axis(lon, columns)),
    }
    keep &= np.logical_and.reduce([known for *_, known in brackets.values()])
    if not keep.any():
        message = (
            f"none of the {keep.size} points of the track lies within the map ({values[0]} to {values[-1]}, latitudes "
            f"{rows.min():g} to {rows.max():g}, longitudes {columns[0]:g} to {columns[-1]:g}), area={area!r} and "
            f"period={period!r}, {border:g} degrees from the edge. Compare their times and longitudes"
        )
        raise CoordinateError(message)
    at = np.flatnonzero(keep)
    total: Any = 0.0
    for corner in np.ndindex(2, 2, 2):
        index, weight = {}, np.ones(at.size)
        for side, (dim, (low, high, part, _)) in zip(corner, brackets.items(), strict=True):
            index[dim] = xr.Variable((along,), (high if side else low)[at])
            weight = weight * (part[at] if side else 1 - part[at])
        share = xr.Variable((along,), weight)
        value: Any = field.variable.astype(np.float64).isel(index)
        total = total + value.where(share > 0, 0.0) * share
    chosen = reference.isel({along: at})
    attrs = {k: v for k, v in field.attrs.items() if k not in cf.RANGES}
    out = xr.Dataset({"ssh": chosen.astype(np.float64), "ssh_map": ((along,), total.data, attrs)})
    return cf.add_history(out, cf.describe_call("metrics.altimetry.along_track", border=border))


def _arrays(pair: xr.Dataset) -> tuple[Any, Any, Any]:
    """Take times, track and map where both are known."""
    if not {"ssh", "ssh_map"} <= set(pair.data_vars):
        message = f"got variables {sorted(map(str, pair.data_vars))}; wanted 'ssh' and 'ssh_map', from along_track"
        raise VariableError(message)
    time, seen, made = (pair[n].values for n in (cf.time(pair), "ssh", "ssh_map"))
    known = np.isfinite(seen) & np.isfinite(made)
    if not known.any():
        message = "no point of the track has both an observation and a value of the map; wanted some"
        raise MissingValueError(message)
    return time[known], seen[known], made[known]


def track_scores(pair: xr.Dataset, *, least: int = 10, bootstrap: int | dict[str, Any] | None = None) -> xr.Dataset:
    """Size of a map's errors along a track, day by day, as the challenge OSE 2021a defines it.

    Parameters
    ----------
    pair : Dataset
        From `along_track`; computed.
    least : int
        Days with fewer points do not count.
    bootstrap : int or mapping, optional
        Bounds of mu and sigma by resampling blocks of this many days that count, or a mapping with ``block``, ``n``,
        ``seed`` and ``level``.

    Returns
    -------
    Dataset
        ``score`` (time): 1 - RMSE / RMS of each day, NaN where it does not count; ``count`` (time); ``mu`` and
        ``sigma``, its mean and standard deviation over days; with a bootstrap ``mu_lower``, ``mu_upper``,
        ``sigma_lower`` and ``sigma_upper``. Unlike in OSSE 2020a, mu is a mean of daily scores.

    Raises
    ------
    VariableError
        If the Dataset is none from `along_track`.
    MissingValueError
        If no point has both values, or no day enough of them.
    OptionError
        If the bootstrap is of another kind, or fewer than two blocks fit.

    Examples
    --------
    >>> times = np.datetime64("2017-01-01", "ns") + np.arange(20) * np.timedelta64(1, "h")
    >>> pair = xr.Dataset({"ssh": ("time", np.ones(20)), "ssh_map": ("time", np.full(20, 0.75))}, {"time": times})
    >>> scores = track_scores(pair)
    >>> scores["mu"].item(), scores["count"].values
    (0.75, array([20]))
    """
    time, seen, made = _arrays(pair)
    days, at = np.unique(time.astype("datetime64[D]"), return_inverse=True)
    count = np.bincount(at)
    error, power = (np.bincount(at, x**2) / count for x in (made - seen, seen))
    score = np.full(days.size, np.nan)
    good = (count >= least) & (power > 0)
    score[good] = 1 - np.sqrt(error[good] / power[good])
    if not good.any():
        message = f"no day has {least} points or more; the fullest has {count.max()}. Wanted some, or a lower `least`"
        raise MissingValueError(message)
    out = xr.Dataset(
        {
            "score": ("time", score, {"long_name": "1 - RMSE / RMS of the track, by day", "units": "1"}),
            "count": ("time", count, {"long_name": "points of the day", "units": "1"}),
            "mu": ((), np.nanmean(score), {"long_name": "mean of daily scores", "units": "1"}),
            "sigma": ((), np.nanstd(score), {"long_name": "standard deviation of daily scores", "units": "1"}),
        },
        {"time": days.astype("datetime64[ns]")},
    )
    if bootstrap is not None:
        given = {"block": bootstrap} if isinstance(bootstrap, int) else dict(bootstrap)
        settings = Bootstrap.of({"dim": "time", **given})
        days_of_score = out["score"].isel(time=np.flatnonzero(good))
        out = out.merge(bounds_over_times(days_of_score, settings, what="days"))
    return out


def track_psd(
    pair: xr.Dataset,
    *,
    spacing: float = SPACING,
    length: float = 1000.0,
    gap: str | np.timedelta64 = "4s",
    cutting: Literal["challenge", "whole"] = "challenge",
) -> xr.Dataset:
    """Power of the error and of the sea along a track, as the challenge OSE 2021a computes them.

    The track is cut at gaps in time and into segments of ``length``, each a quarter of it after the one before. Of each
    the mean is removed, a Hann window laid on, and the powers are averaged.

    Parameters
    ----------
    pair : Dataset
        From `along_track`; computed.
    spacing : float
        Kilometres between neighbouring points; the challenge's altimeter's unless given.
    length : float
        Of segments, in km.
    gap : str or timedelta64
        Longer ones cut the track.
    cutting : {"challenge", "whole"}
        The challenge's cutting starts every piece one point early, at the last point before the gap, and leaves out the
        last piece and last segments. ``"whole"`` uses all that lies within a piece, and nothing else.

    Returns
    -------
    Dataset (wavenumber)
        ``psd_ref`` (track), ``psd_map``, ``psd_error`` (squared units per cycle km-1), ``score`` = 1 - psd_error /
        psd_ref, and coordinate ``wavelength`` (km). Without wavenumber 0. Attribute ``segments``: their number.

    Raises
    ------
    OptionError
        If the cutting is unknown, or spacing and length make fewer than 8 points.
    MissingValueError
        If no piece is long enough.

    Examples
    --------
    >>> seconds = (np.arange(500) * 0.9434e9).astype("timedelta64[ns]")
    >>> sea = np.random.default_rng(0).normal(size=500)
    >>> pair = xr.Dataset({"ssh": ("time", sea), "ssh_map": ("time", 0.5 * sea)},
    ...                   {"time": np.datetime64("2017-01-01", "ns") + seconds})
    >>> spectra = track_psd(pair, cutting="whole")
    >>> spectra.attrs["segments"], spectra["score"].values[:3].round(6)
    (9, array([0.75, 0.75, 0.75]))
    """
    from xatmo.spectral.spectrum import squared_units

    spectra = segment_spectra(pair, spacing=spacing, length=length, gap=gap, cutting=cutting)
    wavenumber = spectra["wavenumber"].values[1:]
    long_names = {"ref": "power of the track", "map": "power of the map", "error": "power of the error"}
    units = {"units": f"{squared_units(pair['ssh'].attrs['units'])} km"} if "units" in pair["ssh"].attrs else {}
    found = {
        f"psd_{name}": ("wavenumber", spectra[name].mean("segment").values[1:], {"long_name": long_name, **units})
        for name, long_name in long_names.items()
    }
    out = xr.Dataset(found, {"wavenumber": wavenumber, "wavelength": ("wavenumber", 1 / wavenumber)})
    out["wavenumber"].attrs = {"long_name": "wavenumber along the track", "units": "km-1"}
    out["wavelength"].attrs = {"long_name": "wavelength along the track", "units": "km"}
    out["score"] = 1 - out["psd_error"] / out["psd_ref"].where(out["psd_ref"] > 0)
    out["score"].attrs = {"long_name": "1 - power of the error / power of the track", "units": "1"}
    return out.assign_attrs(segments=spectra.sizes["segment"], cutting=cutting)


def segment_spectra(
    pair: xr.Dataset,
    *,
    spacing: float = SPACING,
    length: float = 1000.0,
    gap: str | np.timedelta64 = "4s",
    cutting: Literal["challenge", "whole"] = "challenge",
) -> xr.Dataset:
    """Power in every segment of a track: what `track_psd` averages.

    Returns
    -------
    Dataset (segment, wavenumber)
        ``ref``, ``map``, ``error``, wavenumber 0 among them; ``time`` (segment) of their first points.
    """
    import pandas as pd

    size = int(length / spacing) if spacing > 0 else 0
    if cutting not in ("challenge", "whole") or size < 8:
        message = (
            f"cutting={cutting!r}, spacing={spacing}, length={length}; wanted 'challenge' or 'whole', and segments of "
            "8 points or more"
        )
        raise OptionError(message)
    time, seen, made = _arrays(pair)
    starts = _kernels.segments(
        time, size, pd.Timedelta(gap).to_timedelta64(), max(int(size * 0.25), 1), cutting == "whole"
    )
    if not starts.size:
        message = (
            f"no piece of the track's {time.size} points has the {size} in a row that make {length:g} km; wanted a "
            "larger area, a shorter length, or a longer gap"
        )
        raise MissingValueError(message)
    at = starts[:, None] + np.arange(size)
    found = {}
    for name, series in (("ref", seen), ("map", made), ("error", made - seen)):
        wavenumber, power = _kernels.segment_power(series[at], spacing)
        found[name] = (("segment", "wavenumber"), power)
    return xr.Dataset(found, {"wavenumber": wavenumber, "time": ("segment", time[starts])})


def resolved_wavelength(
    spectra: xr.Dataset | xr.DataArray, *, level: float = 0.5, rule: Literal["challenge", "first"] = "challenge"
) -> xr.DataArray:
    """Wavelength along a track at which half of the power is right, in km.

    Parameters
    ----------
    spectra : Dataset or DataArray
        From `track_psd`, or its ``score``.
    level : float
        Of the score.
    rule : {"challenge", "first"}
        The challenge interpolates the wavelength as a function of the sorted score, which is ambiguous where the score
        goes up and down. ``"first"`` goes from long waves to short ones, to the first that falls below the level.

    Returns
    -------
    DataArray
        Not truncated to whole kilometres. Infinite if no wave is resolved, the shortest wavelength if all are.

    Raises
    ------
    OptionError
        If the rule is unknown.
    DimensionError
        If there is no score by wavelength.
    MissingValueError
        If it holds no number.

    Examples
    --------
    >>> score = xr.DataArray([1.0, 0.75, 0.25], dims="wavenumber", coords={"wavelength": ("wavenumber", [9.0, 5, 1])})
    >>> resolved_wavelength(score).item(), resolved_wavelength(score, rule="first").item()
    (3.0, 3.0)
    """
    if rule not in ("challenge", "first"):
        message = f"rule={rule!r}; wanted 'challenge' or 'first'"
        raise OptionError(message)
    score = spectra["score"] if isinstance(spectra, xr.Dataset) and "score" in spectra else spectra
    if not isinstance(score, xr.DataArray) or "wavelength" not in score.coords or score.ndim != 1:
        message = "resolved_wavelength wants the score of track_psd, with its wavelengths"
        raise DimensionError(message)
    values, waves = (np.asarray(x.values, np.float64) for x in (score, score["wavelength"]))
    found = wavelength_at(values, waves, level, rule)
    attrs = {"long_name": "shortest resolved wavelength along the track", "units": "km"}
    return xr.DataArray(float(found), name="lambda_x", attrs=attrs)


def wavelength_at(values: Any, waves: Any, level: float, rule: str) -> float:
    """Wavelength at which a score by wavelength crosses a level: see `resolved_wavelength`."""
    known = np.isfinite(values) & np.isfinite(waves)
    values, waves = values[known], waves[known]
    if not values.size:
        message = "the score is NaN at every wavelength; wanted a track with some power"
        raise MissingValueError(message)
    if (values >= level).all():
        found = waves.min()
    elif (values < level).all():
        found = np.inf
    elif rule == "challenge":
        order = np.argsort(values, kind="mergesort")
        found = np.interp(level, values[order], waves[order])
    else:
        order = np.argsort(-waves)
        values, waves = values[order], waves[order]
        after = int(np.argmax(values < level))
        if after == 0:
            found = np.inf
        else:
            part = (values[after - 1] - level) / (values[after - 1] - values[after])
            found = waves[after - 1] + part * (waves[after] - waves[after - 1])
    return float(found)
