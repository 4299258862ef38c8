"""Spectra of prediction and target compared: power over power, error power, distance in decibels, semivariograms."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import in_one_chunk
from xatmo.metrics._metric import Means, Metric, Pair, evaluate, labelled, themselves
from xatmo.metrics._pairs import Dims, match, reduced_dims
from xatmo.metrics.spectral import checked
from xatmo.typing import SpectrumKind, T, XarrayObject

_AXES = ("degree", "wavenumber")


# ---------------------------------------------------------------------- what is averaged
def _powers(pair: Pair, what: str) -> list[xr.DataArray]:
    from xatmo import spectral

    prediction, target, settings = checked(pair, what)
    both = (prediction.rename("prediction"), target.rename("target"))
    return [spectral.energy_spectrum(field, **settings) for field in both]


def _ratio_fields(pair: Pair) -> list[xr.DataArray]:
    if pair.options.get("u") is not None or pair.options.get("v") is not None:
        message = "power_ratio: verify takes variables one by one; call it by itself for the kinetic energy of u and v"
        raise OptionError(message)
    return _powers(pair, "power_ratio")


def _distance_fields(pair: Pair) -> list[xr.DataArray]:
    return _powers(pair, "log_spectral_distance")


def _error_fields(pair: Pair) -> list[xr.DataArray]:
    from xatmo import spectral

    prediction, target, settings = checked(pair, "normalized_spectral_error")
    both = ((prediction.astype(np.float64) - target).rename("error"), target.rename("target"))
    return [spectral.energy_spectrum(field, **settings) for field in both]


def _semivariograms(pair: Pair) -> list[xr.DataArray]:
    from xatmo import spectral

    dims = cf.horizontal(pair.prediction, rings=True).dims
    if not set(dims) <= set(pair.dims):
        message = f"semivariogram_ratio pairs points along {dims}, but dim has {pair.dims} only; add them"
        raise DimensionError(message)
    places = {n: c for n, c in pair.prediction.coords.items() if set(c.dims) & set(dims)}
    keys = ("distances", "n_pairs", "seed")
    settings = {k: pair.options[k] for k in keys if pair.options.get(k) is not None}
    # Pairs of points of which either field lacks one are left out of both.
    known = pair.prediction.notnull() & pair.target.notnull()
    both = (pair.prediction, pair.target.assign_coords(places))
    return [
        spectral.semivariogram(field.where(known), **settings).drop_vars(["standard_error", "n_pairs"])
        for field in both
    ]


# ---------------------------------------------------------------------- scores of means
def _over(means: Means, _: Pair) -> xr.DataArray:
    first, target = means.values()
    return first / target.where(target > 0)


def _decibels(means: Means, pair: Pair) -> xr.DataArray:
    first, target = means.values()
    axis = next(d for d in _AXES if d in target.dims)
    first, target = (in_one_chunk(x, axis) for x in (first, target))
    low = 1 if axis == "degree" else 0
    lmin = pair.options.get("lmin")
    if lmin is not None:
        if axis != "degree":
            message = f"log_spectral_distance: lmin={lmin!r} came for a box; wanted it on the globe only"
            raise OptionError(message)
        low = int(lmin)
    number = target[axis]
    use = (number <= number.attrs.get("whole_rings_to", np.inf)) & (number >= low)
    if axis == "wavenumber":
        use = use & (number > 0)
    if not bool(use.any()):
        message = f"log_spectral_distance: lmin={lmin!r} leaves no degree of 0 to {int(number.max())}; give a lower one"
        raise OptionError(message)
    good = use & (target > 0) & (first > 0)
    ratio = xr.apply_ufunc(np.log10, (first / target).where(good), dask="allowed")
    # A scale without any power in one of the two is infinitely far.
    none = use & ((target > 0) != (first > 0))
    square = ((10 * ratio) ** 2).mean(axis) ** 0.5
    return cast(xr.DataArray, square.where(~none.any(axis), np.inf).where(first.notnull().all(axis)))


POWER_RATIO = Metric(
    "power_ratio", "power of the prediction over that of the target", ("prediction", "target"), themselves, _over, "1",
    fields=_ratio_fields,
)  # fmt: skip
NORMALIZED_SPECTRAL_ERROR = Metric(
    "normalized_spectral_error", "power of the error over that of the target", ("error", "target"), themselves, _over,
    "1", fields=_error_fields,
)  # fmt: skip
LOG_SPECTRAL_DISTANCE = Metric(
    "log_spectral_distance", "log spectral distance", ("prediction", "target"), themselves, _decibels, "dB",
    fields=_distance_fields,
)  # fmt: skip
SEMIVARIOGRAM_RATIO = Metric(
    "semivariogram_ratio", "semivariogram of the prediction over that of the target", ("prediction", "target"),
    themselves, _over, "1", fields=_semivariograms,
)  # fmt: skip


# ---------------------------------------------------------------------- functions
def power_ratio(
    prediction: T,
    target: XarrayObject,
    *,
    kind: SpectrumKind = "auto",
    lmax: int | None = None,
    u: Hashable | None = None,
    v: Hashable | None = None,
    dim: Dims = None,
) -> T:
    r"""Power of the prediction over that of the target by scale: :math:`S_p(n) / S_t(n)`.

    1 where the prediction has as much variance as the truth, less where it is too smooth, whether or not its waves are
    in the right places. Spectra are averaged over the other dimensions of ``dim`` before the ratio is taken.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, without gaps, latitude and longitude (or x and y of a map projection) whole.
    kind : {"auto", "spherical", "isotropic"}
        By degree on a globe, by wavenumber on a box: see `xatmo.spectral.energy_spectrum`. Degree n is at n on its
        axis; degree 0 is the square of the mean.
    lmax : int, optional
        Highest degree.
    u, v : str, optional
        Names of wind components where CF attributes and usual names do not tell.
    dim : str or sequence of str, optional
        Has to hold latitude and longitude; all dimensions that the two share unless given.

    Returns
    -------
    Dataset or DataArray
        By ``degree`` or ``wavenumber``, with ``wavelength``; NaN where the target has no power. Where two Datasets
        hold a wind, or vorticity and divergence, that pair gives one variable ``kinetic_energy``, the ratio of kinetic
        energies of the vector (`verify` takes variables one by one). Lazy where the input is.

    Raises
    ------
    DimensionError
        If ``dim`` leaves out latitude or longitude.
    OptionError
        If the kind is unknown, or ``lmax`` too large.
    CoordinateError, GridError, ChunkError, UnitsError, VariableError
        As in `rmse` and `energy_spectrum`.
    MissingValueError
        When computed, if a field has gaps.

    Examples
    --------
    >>> import xatmo
    >>> grid = xatmo.Grid.gaussian(16)
    >>> noise = np.random.default_rng(0).normal(size=grid.shape)
    >>> t = xr.DataArray(noise, grid.coords(), dims=("latitude", "longitude")).atmo.truncate(15)
    >>> power_ratio(t.atmo.truncate(8) / 2, t).sel(degree=[1, 8, 9]).values.round(12)
    array([0.25, 0.25, 0. ])
    """
    options = {"kind": kind, "lmax": lmax}
    if isinstance(prediction, xr.Dataset) and isinstance(target, xr.Dataset):
        wind = _wind(prediction, target, u, v)
        if wind is not None:
            energy = _kinetic(prediction, target, wind, options, dim, named=u is not None)
            rest = [n for n in prediction.data_vars if n not in wind and n in target.data_vars]
            call = cf.describe_call("metrics.power_ratio", kind=kind, lmax=lmax, dim=dim)
            if not rest:
                return cf.add_history(xr.Dataset({"kinetic_energy": energy}), call)
            scalars: Any = evaluate(POWER_RATIO, prediction[rest], target[rest], dim=dim, weights=None, options=options)
            return cast(T, scalars.assign(kinetic_energy=energy))
    elif u is not None or v is not None:
        message = f"u={u!r}, v={v!r} came without two Datasets; wanted prediction and target with both components"
        raise OptionError(message)
    return evaluate(POWER_RATIO, prediction, target, dim=dim, weights=None, options=options)


def _wind(
    prediction: xr.Dataset, target: xr.Dataset, u: Hashable | None, v: Hashable | None
) -> tuple[Hashable, Hashable] | None:
    """Names of wind components, or of vorticity and divergence, that both have."""
    from xatmo.spectral._operands import _vorticity_pair

    pair = cf.wind_pair(prediction, u=u, v=v, required=False)
    if pair is None:
        found = _vorticity_pair(prediction, alone=False)
        pair = None if found is None else (found[0].name, found[1].name)
    if u is not None:
        cf.wind_pair(target, u=u, v=v)  # raises where the target lacks what was named
    return pair if pair is not None and all(n in target.data_vars for n in pair) else None


def _kinetic(
    prediction: xr.Dataset,
    target: xr.Dataset,
    names: tuple[Hashable, Hashable],
    options: dict[str, Any],
    dim: Dims,
    *,
    named: bool,
) -> xr.DataArray:
    from xatmo import spectral

    matched = [match(prediction[n], target[n], what="power_ratio") for n in names]
    pair = None if named else cf.wind_pair(prediction, required=False)
    components = named or pair is not None
    sums: list[xr.DataArray] = []
    settings: dict[str, Any] = {}
    for side in (0, 1):
        parts = []
        for found in matched:
            dims = reduced_dims(found[0], found[1], dim, what="power_ratio")
            given = Pair(found[0], found[1], None, dims, options, xr.DataArray(1.0))
            first, second, settings = checked(given, "power_ratio")
            parts.append(second if side else first)
        if components:
            ds = xr.Dataset({"u": parts[0], "v": parts[1]})
            energy = spectral.energy_spectrum(ds, u="u", v="v", **settings)["energy"]
        else:
            # Energy is a^2 / (2 n (n + 1)) of this sum, which cancels in the ratio; there is none at degree 0.
            powers = [spectral.energy_spectrum(part.rename("rate"), **settings) for part in parts]
            energy = powers[0] + powers[1]
            if "degree" in energy.dims:
                energy = energy.where(energy["degree"] > 0)
        others = [d for d in dims if d in energy.dims]
        sums.append(energy.astype(np.float64).mean(others))
    ratio = sums[0] / sums[1].where(sums[1] > 0)
    like = prediction[names[0]]
    dtype = np.result_type(like.dtype, target[names[0]].dtype)
    long_name = "kinetic energy of the prediction over that of the target"
    return labelled(
        ratio, like, False, long_name=long_name, units="1", dtype=dtype if dtype.kind == "f" else np.float64
    )


def normalized_spectral_error(
    prediction: T,
    target: XarrayObject,
    *,
    kind: SpectrumKind = "auto",
    lmax: int | None = None,
    dim: Dims = None,
) -> T:
    r"""Power of the error over that of the target by scale: :math:`S_{p-t}(n) / S_t(n)`.

    0 where every wave is right, 1 where the prediction has no such waves, 2 where it has as much variance as the truth
    and nothing to do with it. Spectra are averaged over the other
    dimensions of ``dim`` before the ratio is taken. Where this crosses a half lies `effective_resolution`.

    Parameters
    ----------
    prediction, target, kind, lmax, dim
        As in `power_ratio`. Variables are taken one by one.

    Returns
    -------
    Dataset or DataArray
        By ``degree`` or ``wavenumber``; NaN where the target has no power. Lazy where the input is.

    Raises
    ------
    DimensionError, OptionError, MissingValueError, CoordinateError, GridError, ChunkError, UnitsError, VariableError
        As in `power_ratio`.

    Examples
    --------
    >>> import xatmo
    >>> grid = xatmo.Grid.gaussian(16)
    >>> noise = np.random.default_rng(0).normal(size=grid.shape)
    >>> t = xr.DataArray(noise, grid.coords(), dims=("latitude", "longitude")).atmo.truncate(15)
    >>> normalized_spectral_error(t.atmo.truncate(8) / 2, t).sel(degree=[8, 9]).values.round(12)
    array([0.25, 1.  ])
    """
    options = {"kind": kind, "lmax": lmax}
    return evaluate(NORMALIZED_SPECTRAL_ERROR, prediction, target, dim=dim, weights=None, options=options)


def log_spectral_distance(
    prediction: T,
    target: XarrayObject,
    *,
    kind: SpectrumKind = "auto",
    lmin: int | None = None,
    lmax: int | None = None,
    dim: Dims = None,
) -> T:
    r"""Distance of two spectra in decibels: :math:`\sqrt{\overline{(10 \log_{10} S_p(n) / S_t(n))^2}}`.

    The mean is over degrees from ``lmin`` to ``lmax``, each counting alike, or over the whole rings of a box. A
    prediction with half the power at all scales is 3 dB away. Spectra are averaged over the other dimensions of
    ``dim`` first.

    Parameters
    ----------
    prediction, target, kind, lmax, dim
        As in `power_ratio`.
    lmin : int, optional
        Lowest degree that counts, 1 unless given: the mean does not.

    Returns
    -------
    Dataset or DataArray
        In dB. Infinite where only one of the two has power at some scale. Lazy where the input is.

    Raises
    ------
    OptionError
        Also if ``lmin`` leaves no degree, or comes for a box.
    DimensionError, MissingValueError, CoordinateError, GridError, ChunkError, UnitsError, VariableError
        As in `power_ratio`.

    References
    ----------
    .. [1] L. Rabiner, B.-H. Juang, 1993: Fundamentals of speech recognition, section 4.5.

    Examples
    --------
    >>> import xatmo
    >>> grid = xatmo.Grid.gaussian(16)
    >>> t = xr.DataArray(np.random.default_rng(0).normal(size=grid.shape), grid.coords(), ("latitude", "longitude"))
    >>> round(log_spectral_distance(t / 2, t).item(), 4)
    6.0206
    """
    options = {"kind": kind, "lmin": lmin, "lmax": lmax}
    return evaluate(LOG_SPECTRAL_DISTANCE, prediction, target, dim=dim, weights=None, options=options)


def semivariogram_ratio(
    prediction: T,
    target: XarrayObject,
    *,
    distances: Any = None,
    n_pairs: int | None = None,
    seed: int | None = None,
    dim: Dims = None,
) -> T:
    r"""Semivariogram of the prediction over that of the target by distance: :math:`\gamma_p(d) / \gamma_t(d)`.

    Below 1 where points near each other are too alike: a prediction that is too smooth. Both are estimated from the
    same pairs of points (see `xatmo.spectral.semivariogram`) and averaged over the other dimensions of ``dim`` first.
    Unlike spectra they take fields with gaps.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, latitude and longitude whole.
    distances : array-like or int, optional
        Distances in metres, or how many: see `xatmo.spectral.semivariogram`.
    n_pairs : int, optional
        Pairs of all distances together; 200 000 unless given.
    seed : int, optional
        0 unless given.
    dim : str or sequence of str, optional
        Has to hold latitude and longitude; all dimensions that the two share unless given.

    Returns
    -------
    Dataset or DataArray
        By ``distance`` in metres. Lazy where the input is.

    Raises
    ------
    DimensionError
        If ``dim`` leaves out latitude or longitude.
    OptionError, CoordinateError, GridError, ChunkError, UnitsError, VariableError
        As in `rmse` and `semivariogram`.

    Examples
    --------
    >>> from xatmo import Grid
    >>> grid = Grid.regular(19, 36)
    >>> t = xr.DataArray(np.random.default_rng(0).normal(size=grid.shape), grid.coords(), ("latitude", "longitude"))
    >>> semivariogram_ratio(t / 2, t, distances=[2e6, 5e6], n_pairs=1000).values
    array([0.25, 0.25])
    """
    options = {"distances": distances, "n_pairs": n_pairs, "seed": seed}
    given = {k: x for k, x in options.items() if x is not None}
    return evaluate(SEMIVARIOGRAM_RATIO, prediction, target, dim=dim, weights=None, options=given)
