"""The scale down to which a prediction is right, from spectra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import in_one_chunk
from xatmo.metrics._metric import Means, Metric, Pair, evaluate, themselves
from xatmo.metrics._pairs import Dims
from xatmo.typing import Floats, SpectrumKind, T, XarrayObject

Criterion = Literal["skill", "power", "coherence"]
_CRITERIA = ("skill", "power", "coherence")
_AXES = ("degree", "wavenumber")


def checked(pair: Pair, what: str = "effective_resolution") -> tuple[xr.DataArray, xr.DataArray, dict[str, Any]]:
    """Give prediction, target with the prediction's places, and keywords for their spectra.

    Raises
    ------
    DimensionError
        If latitude or longitude is not averaged over.
    OptionError
        If the kind of spectrum is unknown.
    """
    from xatmo.spectral._boxes import region

    dims = region(pair.prediction, plane=True).axes.dims
    if not set(dims) <= set(pair.dims):
        message = (
            f"{what} averages over latitude and longitude, {dims}, but dim has {pair.dims} only; add "
            "them, or leave dim out"
        )
        raise DimensionError(message)
    kind = pair.options.get("kind", "auto")
    if kind not in ("auto", "spherical", "isotropic"):
        message = f"{what}: kind={kind!r}; wanted 'auto', 'spherical' or 'isotropic'"
        raise OptionError(message)
    places = {n: c for n, c in pair.prediction.coords.items() if set(c.dims) & set(dims)}
    return pair.prediction, pair.target.assign_coords(places), {"kind": kind, "lmax": pair.options.get("lmax")}


def _spectra(pair: Pair) -> list[xr.DataArray]:
    from xatmo import spectral

    prediction, target, settings = checked(pair)
    first = prediction.rename("prediction")
    if pair.options.get("criterion", "skill") == "skill":
        first = (first.astype(np.float64) - target).rename("error")
    fields = (first, target.rename("target"))
    return [spectral.energy_spectrum(field, **settings) for field in fields]


def _cross_spectra(pair: Pair) -> list[xr.DataArray]:
    from xatmo import spectral

    prediction, target, settings = checked(pair)
    out = spectral.cross_spectrum(prediction.astype(np.float64), target.astype(np.float64), **settings)
    quadrature = out["quadrature"] if "quadrature" in out else xr.zeros_like(out["cross"])
    return [out["cross"], quadrature, out["power"], out["power_other"]]


def crossing(curve: Floats, wavelength: Floats, threshold: float, start: Any = 0) -> Any:
    """Wavelength at which a curve falls below a threshold next to where one starts.

    From the start towards short waves, the first wave that fails; where the start fails itself, towards long waves, the
    first that passes.

    Parameters
    ----------
    curve : array (..., n)
        From long to short waves.
    wavelength : array (n,)
        In metres, falling.
    threshold : float
    start : int array (...)
        Index at which to start; the longest wave unless given.

    Returns
    -------
    array (...)
        Interpolated linearly in the logarithm of the wavelength. Infinite where no wave from the longest to the start
        passes; the shortest wavelength where none fails from the start on; NaN where the curve has a NaN before it
        crosses.

    Examples
    --------
    >>> crossing(np.array([1.0, 0.75, 0.25]), np.array([4e6, 2e6, 1e6]), 0.5)
    array(1414213.56)
    >>> crossing(np.array([0.0, 0.75, 0.25]), np.array([4e6, 2e6, 1e6]), 0.5, start=1)
    array(1414213.56)
    """
    n = curve.shape[-1]
    start = np.broadcast_to(start, curve.shape[:-1])
    below = ~(curve >= threshold)  # a NaN counts as below, and shows in the result
    later = below & (np.arange(n) >= start[..., None])
    longer = ~below & (np.arange(n) < start[..., None])
    fails = np.take_along_axis(below, start[..., None], -1)[..., 0]
    crossed = fails | later.any(-1)
    upward = np.where(longer.any(-1), n - longer[..., ::-1].argmax(-1), 0)  # the wave after the last that passes
    after = np.where(fails, upward, np.where(crossed, later.argmax(-1), n - 1))
    before = np.maximum(after - 1, 0)
    pick = [np.take_along_axis(curve, i[..., None], -1)[..., 0] for i in (before, after)]
    scale = np.log(wavelength)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(crossed, (pick[0] - threshold) / (pick[0] - pick[1]), 0.0)
        found = np.exp(scale[before] + part * (scale[after] - scale[before]))
    found = np.where(after == 0, np.where(np.isnan(pick[1]), np.nan, np.inf), found)
    return np.where(crossed, found, wavelength[-1])


def _skill(error: Floats, target: Floats) -> Floats:
    return np.asarray(1 - error / target)


def _power(prediction: Floats, target: Floats) -> Floats:
    return np.asarray(prediction / target)


def _coherence(cross: Floats, quadrature: Floats, power: Floats, target: Floats) -> Floats:
    return np.asarray((cross**2 + quadrature**2) / (power * target))


_CURVES: dict[str, Callable[..., Floats]] = {"skill": _skill, "power": _power, "coherence": _coherence}


def _score(means: Means, pair: Pair) -> xr.DataArray:
    axis = next(d for d in _AXES if d in means["target"].dims)
    wavelength = np.asarray(means["target"]["wavelength"].values, dtype=np.float64)
    whole = means["target"][axis] <= means["target"][axis].attrs.get("whole_rings_to", np.inf)
    use = np.flatnonzero(np.isfinite(wavelength) & whole.values)  # not the mean, nor the corners of a plane
    use = use[np.argsort(-wavelength[use])]
    curve = _CURVES[pair.options.get("criterion", "skill")]
    threshold = float(pair.options.get("threshold", 0.5))

    def from_peak(*spectra: Floats) -> Any:
        chosen = [x[..., use] for x in spectra]
        with np.errstate(invalid="ignore", divide="ignore"):
            by_scale = curve(*chosen)
        return crossing(by_scale, wavelength[use], threshold, chosen[-1].argmax(-1))

    found: xr.DataArray = xr.apply_ufunc(
        from_peak,
        *[in_one_chunk(mean, axis) for mean in means.values()],
        input_core_dims=[[axis]] * len(means),
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


EFFECTIVE_RESOLUTION = Metric(
    "effective_resolution", "effective resolution", ("first", "target"), themselves, _score, "m", fields=_spectra,
    stated={"criterion": "skill", "threshold": 0.5},
)  # fmt: skip
_BY_COHERENCE = replace(EFFECTIVE_RESOLUTION, means=("cross", "quadrature", "power", "target"), fields=_cross_spectra)


def effective_resolution(
    prediction: T,
    target: XarrayObject,
    *,
    criterion: Criterion = "skill",
    threshold: float = 0.5,
    kind: SpectrumKind = "auto",
    lmax: int | None = None,
    dim: Dims = None,
) -> T:
    """Wavelength in metres down to which a prediction is right.

    From the wave that holds most of the target's power (the mean, degree 0, aside) to shorter ones, the first
    wavelength at which the criterion falls below the threshold. Longer waves than that peak are not judged: degree 1 of
    relative vorticity or of wind, for instance, holds next to nothing, so that any error there is larger. Only where
    the peak itself fails are they, from the peak on, until one passes. Spectra are averaged over the other dimensions
    of ``dim`` before the ratio is taken and the peak is looked for; the ratio is interpolated linearly in the logarithm
    of the wavelength.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, without gaps, with latitude and longitude (or x and y of a map projection) whole.
    criterion : {"skill", "power", "coherence"}
        ``"skill"``: 1 - S(p - t) / S(t), which asks for the right waves in the right place and of the right size.
        ``"power"``: S(p) / S(t), which only asks for enough variance. ``"coherence"``: the squared coherence of the two
        (see `xatmo.spectral.cross_spectrum`), which asks for the right waves of whatever size, as mapping of altimetry
        is often judged; it tells something where many orders, waves of a ring, or times are averaged.
    threshold : float
        Between 0 and 1.
    kind : {"auto", "spherical", "isotropic"}
        Spectrum, as in `xatmo.spectral.energy_spectrum`: by degree on a globe, by wavenumber on a box.
    lmax : int, optional
        Highest degree.
    dim : str or sequence of str, optional
        Has to hold latitude and longitude; all dimensions that the two share unless given.

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is. Infinite where the peak and every longer wave fail; the shortest
        wavelength of the spectrum (of boxes, of its whole rings) where the peak and every shorter wave pass; NaN where
        the target has no power at a wave between the peak and the crossing, or none at all.

    Raises
    ------
    DimensionError
        If ``dim`` leaves out latitude or longitude.
    CoordinateError, GridError
        If they cannot be found or used.
    OptionError
        If the criterion or the kind is unknown, or the threshold is not between 0 and 1.
    MissingValueError
        When computed, if a field has gaps.

    Examples
    --------
    >>> import xatmo
    >>> grid = xatmo.Grid.gaussian(32)
    >>> noise = np.random.default_rng(0).normal(size=grid.shape)
    >>> t = xr.DataArray(noise, grid.coords(), dims=("latitude", "longitude")).atmo.truncate(31)
    >>> metres = effective_resolution(t.atmo.truncate(10), t)
    >>> round(metres.item() / 1e3), metres.attrs["units"]  # between degrees 10 and 11
    (3647, 'm')
    """
    if not 0 < threshold < 1:
        message = f"threshold={threshold!r}; wanted a number between 0 and 1"
        raise OptionError(message)
    if criterion not in _CRITERIA:
        message = f"criterion={criterion!r}; wanted one of {_CRITERIA}"
        raise OptionError(message)
    options = {"criterion": criterion, "threshold": threshold, "kind": kind, "lmax": lmax}
    metric = _BY_COHERENCE if criterion == "coherence" else EFFECTIVE_RESOLUTION
    return evaluate(metric, prediction, target, dim=dim, weights=None, options=options)
