"""Which wavelengths and periods a map resolves: the spectral scores of the challenge OSSE 2020a."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError
from xatmo.metrics.altimetry import _kernels
from xatmo.metrics.altimetry.areas import moments
from xatmo.metrics.altimetry.gridded import paired
from xatmo.typing import Floats, XarrayObject

Direction = Literal["westward", "eastward", "both"]
_DIRECTIONS = ("westward", "eastward", "both")
_PLANE = ("freq_time", "freq_lon")


def _even_step(values: Any, *, what: str) -> float:
    steps = np.abs(np.diff(np.asarray(values, np.float64)))
    if steps.size < 2 or np.ptp(steps) > 1e-2 * steps.mean():
        came = "fewer than 3 values" if steps.size < 2 else f"steps from {steps.min():g} to {steps.max():g}"
        message = f"{what}: {came}; wanted 3 or more at even steps, for a Fourier transform"
        raise CoordinateError(message)
    return float(steps.mean())


def power_spectra(
    mapped: XarrayObject,
    truth: XarrayObject,
    *,
    direction: Direction = "westward",
    distance: Literal["degrees", "metres"] = "degrees",
) -> xr.Dataset:
    """Power of the error and of the truth by period and zonal wavelength, averaged over rows.

    In every row the mean over time and longitude is removed, a periodic Hann window is laid over both, and the power of
    the Fourier transform is kept where frequency and wavenumber are positive. That quarter of the plane holds only
    waves that travel **west**, cos(k x + w t): an error in what travels east leaves the challenge's score as it is.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`; evenly spaced times and longitudes. Rows with gaps in the truth are left out.
    direction : {"westward", "eastward", "both"}
        Of travel; the challenge's is westward.
    distance : {"degrees", "metres"}
        Of wavenumbers: degrees of longitude, as in the challenge, or metres at the middle row, whose numbers do not
        compare with it.

    Returns
    -------
    Dataset (freq_time, freq_lon)
        ``psd_error``, ``psd_truth`` (squared units per cycle day-1 and per cycle degree-1 or m-1), with coordinates
        ``period`` (days) and ``wavelength``. Lazy where a field is.

    Raises
    ------
    CoordinateError
        If times or longitudes are not evenly spaced.
    OptionError
        If the direction or the distance is unknown.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=20)["ssh"]
    >>> spectra = power_spectra(0.5 * truth, truth)
    >>> dict(spectra.sizes), round(float((spectra["psd_error"] / spectra["psd_truth"]).mean()), 6)
    ({'freq_time': 9, 'freq_lon': 24}, 0.25)
    """
    spectra = row_spectra(mapped, truth, direction=direction, distance=distance)
    return spectra.mean([cf.horizontal(truth).lat_dim], keep_attrs=True)


def row_spectra(
    mapped: XarrayObject,
    truth: XarrayObject,
    *,
    direction: Direction = "westward",
    distance: Literal["degrees", "metres"] = "degrees",
) -> xr.Dataset:
    """Power of the error and of the truth in every row: what `power_spectra` averages; NaN in rows with gaps."""
    if direction not in _DIRECTIONS or distance not in ("degrees", "metres"):
        message = (
            f"direction={direction!r}, distance={distance!r}; wanted one of {_DIRECTIONS}, and 'degrees' or 'metres'"
        )
        raise OptionError(message)
    made, target = paired(mapped, truth)
    axes = cf.horizontal(target)
    time, values = moments(target, what="the truth")
    along = target[time].dims[0]
    dt = _even_step((values - values[0]) / np.timedelta64(1, "D"), what="times of the truth")
    west = np.asarray(target[axes.lon].values, np.float64)
    dx = _even_step(np.unwrap(west, period=360), what="longitudes of the truth")
    if distance == "metres":
        dx *= np.radians(EARTH_RADIUS * np.cos(np.radians(float(target[axes.lat].mean()))))
    nt, nx = target.sizes[along], target.sizes[axes.lon_dim]
    frequency, wavenumber = (np.fft.fftfreq(n, d)[1 : (n - 1) // 2 + 1] for n, d in ((nt, dt), (nx, dx)))

    def kernel(error: Floats, signal: Floats) -> tuple[Floats, Floats]:
        with np.errstate(invalid="ignore"):
            found = [_kernels.quadrant(_kernels.plane_power(x, (dt, dx)), direction) for x in (error, signal)]
        return found[0], found[1]

    fields = [made - target, target]
    fields = [x.drop_vars(list(x.coords)) for x in fields]
    fields = [x.chunk({along: -1, axes.lon_dim: -1}) if x.chunks is not None else x for x in fields]
    spectra = xr.apply_ufunc(
        kernel, *fields, input_core_dims=[[along, axes.lon_dim]] * 2, output_core_dims=[list(_PLANE)] * 2,
        exclude_dims={along, axes.lon_dim}, dask="parallelized", output_dtypes=[np.float64] * 2,
        dask_gufunc_kwargs={"output_sizes": dict(zip(_PLANE, (len(frequency), len(wavenumber)), strict=True))},
    )  # fmt: skip
    unit = "degree" if distance == "degrees" else "m"
    out = xr.Dataset(dict(zip(("psd_error", "psd_truth"), spectra, strict=True)))
    out = out.assign_coords(
        freq_time=("freq_time", frequency, {"long_name": "frequency", "units": "day-1"}),
        freq_lon=("freq_lon", wavenumber, {"long_name": "zonal wavenumber", "units": f"{unit}-1"}),
        period=("freq_time", 1 / frequency, {"long_name": "period", "units": "day"}),
        wavelength=("freq_lon", 1 / wavenumber, {"long_name": "zonal wavelength", "units": unit}),
    )
    for name, of in (("psd_error", "the map's error"), ("psd_truth", "the truth")):
        out[name].attrs = {"long_name": f"power spectral density of {of}"}
        if "units" in target.attrs:
            out[name].attrs["units"] = f"({target.attrs['units']})2 day {unit}"
    return out.assign_attrs(direction=direction, distance=distance)


def psd_score(
    mapped: XarrayObject,
    truth: XarrayObject,
    *,
    direction: Direction = "westward",
    distance: Literal["degrees", "metres"] = "degrees",
) -> xr.DataArray:
    """1 - power of the error / power of the truth, by period and zonal wavelength.

    Parameters
    ----------
    mapped, truth, direction, distance
        See `power_spectra`: by default all as in the challenge OSSE 2020a.

    Returns
    -------
    DataArray (freq_time, freq_lon)
        1 where the map is perfect, 0 where it is no better than nothing; lazy where a field is.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=20)["ssh"]
    >>> float(psd_score(0.5 * truth, truth).min().round(6))
    0.75
    """
    spectra = power_spectra(mapped, truth, direction=direction, distance=distance)
    signal = spectra["psd_truth"]
    out = (1 - spectra["psd_error"] / signal.where(signal > 0)).rename("psd_score")
    name = "1 - power of the error / power of the truth"
    note = {"long_name": name, "units": "1", "direction": direction}
    if distance == "metres" or direction != "westward":
        note["comment"] = "not comparable with the published values of the challenge"
    return out.assign_attrs(note)


def contours(score: xr.DataArray, *, level: float = 0.5) -> list[xr.DataArray]:
    """Paths of wavelength and period along which a score equals a level.

    Parameters
    ----------
    score : DataArray (freq_time, freq_lon)
        From `psd_score`; computed.
    level : float

    Returns
    -------
    list of DataArray (point, axis)
        In the order in which marching squares finds them; ``axis`` is ``"wavelength"``, ``"period"``.

    Raises
    ------
    DimensionError
        If the score is not one of `psd_score`.
    MissingValueError
        If it holds no number.

    Examples
    --------
    >>> plane = xr.DataArray([[1.0, 0.0], [1.0, 0.0]], dims=("freq_time", "freq_lon"),
    ...                      coords={"wavelength": ("freq_lon", [2.0, 1.0]), "period": ("freq_time", [20.0, 10.0])})
    >>> contours(plane)[0].values.tolist()
    [[1.5, 20.0], [1.5, 10.0]]
    """
    plane, x, y = _plane(score)
    return [
        xr.DataArray(path, dims=("point", "axis"), coords={"axis": ["wavelength", "period"]})
        for path in _kernels.contours(x, y, plane, level)
    ]


def _plane(score: xr.DataArray) -> tuple[Floats, Floats, Floats]:
    """Values of a score by period and wavelength, wavelengths and periods."""
    if set(score.dims) != set(_PLANE) or not {"wavelength", "period"} <= set(score.coords):
        message = f"contours got a score over {score.dims}; wanted one from psd_score, over {_PLANE}"
        raise DimensionError(message)
    plane = np.asarray(score.transpose(*_PLANE).values, np.float64)
    if not np.isfinite(plane).any():
        message = (
            "the score is NaN everywhere; wanted a truth with some power, and with some row that has no gap: choose an "
            "area where a row is free of land"
        )
        raise MissingValueError(message)
    x, y = (np.asarray(score[n].values, np.float64) for n in ("wavelength", "period"))
    if min(plane.shape) < 2:
        message = f"the score has {plane.shape} periods and wavelengths; wanted 2 of each at least: more days or points"
        raise DimensionError(message)
    return plane, x, y


def resolved(plane: Floats, waves: Floats, periods: Floats, level: float, paths: str) -> tuple[float, float, int]:
    """Shortest wavelength and period on the contour of a score ``(period, wavelength)``, and its number of pieces."""
    found = _kernels.contours(waves, periods, plane, level)
    if found:
        chosen = {"first": found[:1], "all": found, "longest": [max(found, key=len)]}[paths]
        x, t = np.concatenate(chosen).min(0)
    elif float(np.nanmean(plane)) >= level:
        x, t = waves.min(), periods.min()
    else:
        x = t = np.inf
    return float(x), float(t), len(found)


def resolved_scales(
    score: xr.DataArray, *, level: float = 0.5, paths: Literal["first", "all", "longest"] = "first"
) -> xr.Dataset:
    """Shortest wavelength and period on the contour where half of the power is right.

    The two are minima of the contour's coordinates, each by itself: no wave need have both. Where the contour is in
    pieces, the challenge takes the first that marching squares finds, which may be a small one; ``n_paths`` tells.

    Parameters
    ----------
    score : DataArray (freq_time, freq_lon)
        From `psd_score`; computed.
    level : float
        Of the score.
    paths : {"first", "all", "longest"}
        Which pieces of the contour count: the first, as in the challenge; all; or the one with most points.

    Returns
    -------
    Dataset
        ``lambda_x`` in the wavelength's units, ``lambda_t`` in days, and ``n_paths``. Where there is no contour: the
        shortest wavelength and period of the score if it is above the level everywhere, infinite if below.

    Raises
    ------
    OptionError
        If the choice of paths is unknown, or the level is not below 1.
    DimensionError, MissingValueError
        See `contours`.

    Examples
    --------
    >>> plane = xr.DataArray([[1.0, 0.0], [1.0, 0.0]], dims=("freq_time", "freq_lon"),
    ...                      coords={"wavelength": ("freq_lon", [2.0, 1.0]), "period": ("freq_time", [20.0, 10.0])})
    >>> scales = resolved_scales(plane)
    >>> scales["lambda_x"].item(), scales["lambda_t"].item(), scales["n_paths"].item()
    (1.5, 10.0, 1)
    """
    if paths not in ("first", "all", "longest") or not level < 1:
        message = f"paths={paths!r}, level={level!r}; wanted 'first', 'all' or 'longest', and a level below 1"
        raise OptionError(message)
    plane, waves, periods = _plane(score)
    x, t, number = resolved(plane, waves, periods, level, paths)
    out = xr.Dataset({"lambda_x": x, "lambda_t": t, "n_paths": number})
    unit = score["wavelength"].attrs.get("units", "degree")
    out["lambda_x"].attrs = {"long_name": "shortest resolved wavelength", "units": unit}
    out["lambda_t"].attrs = {"long_name": "shortest resolved period", "units": "day"}
    out["n_paths"].attrs = {"long_name": "pieces of the contour", "units": "1"}
    return out


def isotropic_scale(mapped: XarrayObject, truth: XarrayObject) -> xr.DataArray:
    """Shortest resolved wavelength in metres, from radially averaged spectra of single days.

    `xatmo.metrics.effective_resolution` of the map on the truth's points: true distances, all directions, no time. Its
    numbers **do not compare** with the lambda_x of the challenges.

    Parameters
    ----------
    mapped, truth : Dataset or DataArray (time, latitude, longitude)
        See `on_truth`; a truth without gaps.

    Returns
    -------
    DataArray
        One number in m; lazy where a field is.

    Examples
    --------
    >>> import xatmo
    >>> truth = xatmo.datasets.sea_level(days=3)["ssh"]
    >>> bool(isotropic_scale(truth[..., ::8, ::8], truth) > isotropic_scale(truth[..., ::2, ::2], truth))
    True
    """
    from xatmo.metrics.spectral import effective_resolution

    made, target = paired(mapped, truth)
    out = effective_resolution(made, target, kind="isotropic")
    return out.rename("isotropic_scale").assign_attrs(comment="not comparable with lambda_x of the challenges")
