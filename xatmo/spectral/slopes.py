"""Power laws fitted to spectra."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import require_whole
from xatmo.errors import DimensionError, MissingValueError, OptionError
from xatmo.spectral._fields import DEGREE
from xatmo.spectral.spectrum import WAVENUMBER, ZONAL
from xatmo.typing import Floats, XarrayObject

AXES = (DEGREE, WAVENUMBER, ZONAL)
_WHAT = "fit_slope"
_ROUNDING = 1e-9  # by which the end of a range may miss a point
_RESULTS = {
    "slope": "exponent of the fitted power law",
    "amplitude": "power at 1 on the axis by the fitted power law",
    "stderr": "standard error of the exponent",
}


def log_weights(x: Floats) -> Floats:
    """Length of the logarithmic axis that each point stands for, ``(n,)``: half the way to either neighbour.

    Examples
    --------
    >>> log_weights(np.array([1.0, 10.0, 100.0])) / np.log(10)
    array([0.5, 1. , 0.5])
    """
    gaps = np.diff(np.log(x))
    return np.asarray((np.append(gaps, 0) + np.append(0, gaps)) / 2)


def power_law(spectrum: Any, x: Floats, *, name: Any = None) -> tuple[Floats, Floats, Floats]:
    """Fit ``log(S) = log(amplitude) + slope log(x)`` along the last axis, equal lengths of log(x) counting alike.

    Parameters
    ----------
    spectrum : array (..., n)
        Positive.
    x : array (n,)
        Positive and increasing, at least three.

    Returns
    -------
    slope, amplitude, stderr : array (...)

    Raises
    ------
    MissingValueError
        If a value is not positive.

    Examples
    --------
    >>> x = np.arange(1.0, 9)
    >>> [round(float(y), 6) for y in power_law(5 * x**-3, x)]
    [-3.0, 5.0, 0.0]
    """
    power = np.asarray(spectrum, dtype=np.float64)
    bad = int((~(power > 0)).sum())
    if bad:
        of = f" of {name!r}" if name is not None else ""
        message = (
            f"{_WHAT} met {bad} values{of} that are zero, negative or missing in the range of the fit; their logarithm "
            "is not known. Choose another range, or average the spectrum first"
        )
        raise MissingValueError(message)
    along, weight = np.log(x), log_weights(x)
    weight = weight / weight.sum()
    off = along - weight @ along
    y = np.log(power)
    middle = y @ weight
    spread = weight @ off**2
    slope = (y @ (weight * off)) / spread
    rest = y - middle[..., None] - slope[..., None] * off
    # Points count by their share of the axis and not by how well they are known, so that the error is asked of the
    # residuals themselves; a point that draws the line towards it has a smaller one than its error.
    leverage = weight * (1 + off**2 / spread)
    variance = (rest / (1 - leverage)) ** 2 @ (weight * off) ** 2 / spread**2
    return np.asarray(slope), np.exp(middle - slope * (weight @ along)), np.sqrt(variance)


def fit_slope(
    spectrum: XarrayObject,
    *,
    degrees: tuple[float, float] | None = None,
    wavelengths: tuple[float, float] | None = None,
    wavenumbers: tuple[float, float] | None = None,
) -> xr.Dataset:
    r"""Fit a power law :math:`S(x) = A x^p` to spectra over a range of scales.

    Least squares of ``log S`` against ``log x``, x being the degree, the wavenumber (cycles per metre), or the zonal
    wavenumber. High degrees lie close together on a logarithmic axis; each point is therefore weighted with the length
    of ``log x`` that it stands for (half the way to either neighbour), so that every octave counts alike and the line
    is the one that the eye sees in a log-log plot. The standard error is worked out from the residuals, which may
    differ in size from degree to degree [1]_; where those of neighbours go together it is too small.

    Parameters
    ----------
    spectrum : DataArray or Dataset
        On ``degree``, ``wavenumber`` or ``zonal_wavenumber``, as `energy_spectrum` gives it; other dimensions are kept,
        each spectrum fitted by itself. Average first (``.mean("time")``) for one slope of all.
    degrees : (float, float), optional
        Range of the fit for spectra by degree, both ends included.
    wavelengths : (float, float), optional
        Range in metres, in either order, for spectra with a ``wavelength``.
    wavenumbers : (float, float), optional
        Range for spectra by wavenumber (cycles per metre) or zonal wavenumber. At most one range may be given; all of
        the axis but its mean (degree or wavenumber 0) is used without, of boxes the whole rings.

    Returns
    -------
    Dataset
        ``slope`` p; ``amplitude`` A, the law's power at x = 1; ``stderr`` of the slope; ``low`` and ``high``, first and
        last x of the fit. Of a Dataset the first three for every variable, with its name before: ``energy_slope``.

    Raises
    ------
    DimensionError
        If there is no spectral axis.
    OptionError
        If several ranges come, one does not suit the axis, or it holds fewer than 3 points.
    ChunkError
        If the axis is split into chunks.
    MissingValueError
        At compute time, if a value in the range is not positive.

    References
    ----------
    .. [1] J. G. MacKinnon and H. White, 1985: Some heteroskedasticity-consistent covariance matrix estimators with
       improved finite sample properties. J. Econometrics 29, 305-325 (the one that is called HC3).

    Examples
    --------
    >>> n = np.arange(64.0)
    >>> s = xr.DataArray(np.append(1.0, 7 * n[1:]**-3), {"degree": n}, dims="degree")
    >>> fit = fit_slope(s, degrees=(10, 40))
    >>> round(fit.slope.item(), 6), round(fit.amplitude.item(), 6), fit.low.item(), fit.high.item()
    (-3.0, 7.0, 10.0, 40.0)
    """
    given: Any = spectrum
    if not isinstance(given, xr.DataArray | xr.Dataset):
        message = f"{_WHAT} got a {type(given).__name__}; wanted a spectrum, as energy_spectrum gives it"
        raise OptionError(message)
    axis = next((d for d in AXES if d in spectrum.dims), None)
    if axis is None:
        message = f"{_WHAT} needs a spectrum on one of {AXES}; {tuple(spectrum.dims)} came. Call energy_spectrum first"
        raise DimensionError(message)
    x, use = _range(spectrum, axis, degrees=degrees, wavelengths=wavelengths, wavenumbers=wavenumbers)
    fields: dict[str, xr.DataArray]
    if isinstance(spectrum, xr.DataArray):
        fields = {"": spectrum}
    else:
        fields = {f"{n}_": v for n, v in spectrum.data_vars.items() if axis in v.dims and v.dtype.kind in "fiu"}
    done: dict[str, Any] = {}
    for prefix, da in fields.items():
        done |= {f"{prefix}{name}": out for name, out in _fit(da, axis, x[use], use).items()}
    axis_attrs = {k: v for k, v in spectrum[axis].attrs.items() if k == "units"}
    for name, value in (("low", x[use[0]]), ("high", x[use[-1]])):
        done[name] = (
            (),
            value,
            {"long_name": f"{'first' if name == 'low' else 'last'} {axis} of the fit", **axis_attrs},
        )
    call = cf.describe_call(_WHAT, degrees=degrees, wavelengths=wavelengths, wavenumbers=wavenumbers)
    return cf.add_history(xr.Dataset(done, attrs={"axis": axis}), call)


def _range(spectrum: XarrayObject, axis: str, **given: Sequence[float] | None) -> tuple[Floats, Any]:
    """Values on the axis, and the positions of those to fit, in increasing order."""
    asked = {name: limits for name, limits in given.items() if limits is not None}
    if len(asked) > 1:
        message = f"{_WHAT}: {' and '.join(asked)} came; wanted one range"
        raise OptionError(message)
    x = np.asarray(spectrum[axis].values, dtype=np.float64)
    use = x > 0
    if not asked:
        use &= x <= spectrum[axis].attrs.get("whole_rings_to", np.inf)
    for name, limits in asked.items():
        values = x
        if name == "wavelengths":
            if "wavelength" not in spectrum.coords or spectrum["wavelength"].dims != (axis,):
                message = (
                    f"{_WHAT}: wavelengths={limits!r} came, but this spectrum has no one wavelength for each {axis}; "
                    "give degrees= or wavenumbers=, or select one latitude first"
                )
                raise OptionError(message)
            values = np.asarray(spectrum["wavelength"].values, dtype=np.float64)
        elif (name == "degrees") != (axis == DEGREE):
            message = f"{_WHAT}: {name}={limits!r} came for a spectrum by {axis}"
            raise OptionError(message)
        try:
            low, high = sorted(float(end) for end in limits)
        except (TypeError, ValueError):
            message = f"{_WHAT}: {name}={limits!r} came; wanted two numbers, the ends of the range"
            raise OptionError(message) from None
        use &= (values >= low * (1 - _ROUNDING)) & (values <= high * (1 + _ROUNDING))
    found = np.flatnonzero(use)
    if found.size < 3:
        shown = ", ".join(f"{name}={limits!r}" for name, limits in asked.items()) or "the whole axis"
        message = (
            f"{_WHAT}: {shown} holds {found.size} points of {axis} ({x.min():g} to {x.max():g}); wanted at least 3"
        )
        raise OptionError(message)
    return x, found[np.argsort(x[found])]


def _fit(da: xr.DataArray, axis: str, x: Floats, use: Any) -> dict[str, xr.DataArray]:
    require_whole(da, [axis], what=_WHAT)
    results: tuple[xr.DataArray, ...] = xr.apply_ufunc(
        partial(power_law, x=x, name=da.name),
        da.drop_vars([c for c in da.coords if axis in da[c].dims]).isel({axis: use}),
        input_core_dims=[[axis]],
        output_core_dims=[[]] * 3,
        dask="parallelized",
        output_dtypes=[np.float64] * 3,
    )
    done = {}
    for (name, text), out in zip(_RESULTS.items(), results, strict=True):
        units = {} if name == "amplitude" else {"units": "1"}
        if name == "amplitude" and "units" in da.attrs and axis != WAVENUMBER:
            units = {"units": str(da.attrs["units"])}
        done[name] = out.rename(None).assign_attrs({"long_name": text, **units})
    return done
