"""How often a prediction misses small scales by more than some amounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import require_finite, require_whole
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import add_up
from xatmo.metrics._compare import Compared, compare
from xatmo.metrics._pairs import Dims
from xatmo.typing import Floats, XarrayObject


def high_pass_exceedance(
    prediction: XarrayObject,
    target: XarrayObject,
    *,
    thresholds: Sequence[float] | float,
    lmin: int | None = None,
    max_wavelength: float | None = None,
    dim: Dims = "time",
) -> xr.Dataset:
    r"""Count, in every cell, how often abs(prediction - target) exceeds thresholds once large scales are taken out.

    On the globe all degrees below ``lmin`` are dropped from the difference (a sharp spectral filter, as
    `xatmo.spectral.filter_scales`). On a box, its cosine transform [1]_ is: the box is taken as a plane at its mean
    latitude and continued by reflection, so that neither a trend nor the edges ring, and waves whose wavenumber
    :math:`\sqrt{k_x^2 + k_y^2}` is below that of the cut-off are dropped. Both are linear: the filtered difference is
    the difference of filtered fields.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, latitude and longitude whole, without gaps.
    thresholds : float or sequence of float
        In the units of the target, none below 0.
    lmin : int, optional
        Lowest degree that is kept; of a box, the wavelength 2 pi a / sqrt(lmin (lmin + 1)).
    max_wavelength : float, optional
        The same in metres: give one of the two.
    dim : str or sequence of str
        Dimensions to count over.

    Returns
    -------
    Dataset
        ``count`` (threshold, ...), ``frequency``, its part of all, and ``rms``, the root mean square of the filtered
        difference. With ``VARIABLE_`` before each name where several variables are compared. Lazy where the input is.

    Raises
    ------
    OptionError
        If none or both of the cut-offs are given, nothing is left, or a threshold is below 0.
    ChunkError
        If latitude or longitude is split into chunks.
    MissingValueError
        When computed, if a field has gaps.
    CoordinateError, DimensionError, GridError, UnitsError, VariableError
        As in `rmse` and `energy_spectrum`.

    References
    ----------
    .. [1] B. Denis, J. Cote, R. Laprise, 2002: Spectral decomposition of two-dimensional atmospheric fields on
       limited-area domains using the discrete cosine transform (DCT). Mon. Wea. Rev. 130, 1812-1829.

    Examples
    --------
    >>> from xatmo import Grid
    >>> grid = Grid.gaussian(16)
    >>> sine = np.sin(np.radians(grid.latitude))[:, None] * np.ones((4, 1, grid.nlon))
    >>> t = xr.DataArray(sine, grid.coords(), ("time", "latitude", "longitude"))
    >>> wrong = t + 3 + t**2  # the constant and degree 1 do not count
    >>> high_pass_exceedance(wrong, t, lmin=2, thresholds=[0.1, 1])["count"].isel(latitude=0, longitude=0).values
    array([4., 0.])
    """
    levels = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if levels.ndim != 1 or not levels.size or not (levels >= 0).all():
        message = f"thresholds={thresholds!r}; wanted numbers from 0 up, in the units of the target"
        raise OptionError(message)
    if (lmin is None) == (max_wavelength is None):
        message = f"lmin={lmin!r} and max_wavelength={max_wavelength!r} came; wanted one of the two, the cut-off"
        raise OptionError(message)

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _exceedance(pair, levels, lmin, max_wavelength, dim)

    call = cf.describe_call(
        "high_pass_exceedance", thresholds=levels.tolist(), lmin=lmin, max_wavelength=max_wavelength, dim=dim
    )
    return compare(prediction, target, one, what="high_pass_exceedance", call=call)


def _exceedance(
    pair: Compared, levels: Floats, lmin: int | None, max_wavelength: float | None, dim: Dims
) -> dict[str, xr.DataArray]:
    dims = pair.dims(dim)
    error = (pair.prediction.astype(np.float64) - pair.target).rename(pair.like.name)
    rough = high_pass(error, lmin=lmin, max_wavelength=max_wavelength)

    def beyond(values: Floats) -> Iterator[Floats]:
        size = np.abs(values)
        for level in levels:
            yield (size > level).astype(np.float64)
        yield values**2

    names = [f"above {level:g}" for level in levels]
    sums = add_up([rough], [*names, "square"], beyond, dims, xr.DataArray(1.0))
    means = sums.means()
    number = pair.target.attrs.get("units")
    axis = xr.Variable(
        "threshold", levels, {"long_name": "threshold", **({} if number is None else {"units": str(number)})}
    )
    out = {}
    for name, found, long in (("count", sums.total, "number of exceedances"), ("frequency", means, "frequency")):
        stacked = xr.concat([found[n] for n in names], dim="threshold").assign_coords(threshold=axis)
        shown = pair.label(stacked, f"{long} of abs(prediction - target) at small scales", "1", dtype=np.float64)
        out[name] = shown.transpose("threshold", ...)
    out["rms"] = pair.label(means["square"] ** 0.5, "root mean square error at small scales")
    return out


def high_pass(field: xr.DataArray, *, lmin: int | None = None, max_wavelength: float | None = None) -> xr.DataArray:
    """Give the small scales of a field: degrees from ``lmin`` on, or wavelengths up to ``max_wavelength``.

    Parameters and errors as in `high_pass_exceedance`.

    Examples
    --------
    >>> x = np.arange(8) + 0.5
    >>> wave = np.cos(2 * np.pi * x / 4) * np.ones((8, 1))  # 4 degrees long
    >>> axes = {"latitude": np.arange(8) - 3.5, "longitude": np.arange(8.0)}
    >>> da = xr.DataArray(3 + wave, axes, ("latitude", "longitude"))
    >>> bool(abs(high_pass(da, max_wavelength=6e5) - wave).max() < 1e-12)
    True
    """
    from xatmo.spectral import filter_scales
    from xatmo.spectral._boxes import bare, box_of, is_global, region

    what = "high_pass_exceedance"
    where = region(field, plane=True)
    if is_global(where):
        bounds: dict[str, Any] = {"lmin": lmin} if lmin is not None else {"max_wavelength": max_wavelength}
        return filter_scales(field, **bounds)
    if lmin is not None:
        if isinstance(lmin, bool) or not isinstance(lmin, int | np.integer) or lmin < 1:
            message = f"lmin={lmin!r}; wanted a degree from 1 up"
            raise OptionError(message)
        max_wavelength = 2 * np.pi * EARTH_RADIUS / float(np.sqrt(lmin * (lmin + 1)))
    assert max_wavelength is not None
    box = box_of(where, what=what)
    dims = where.axes.dims
    if len(dims) != 2 or not set(dims) <= set(field.dims):
        message = f"{what} needs latitude and longitude; {field.dims} came"
        raise DimensionError(message)
    if not max_wavelength > 0:
        message = f"max_wavelength={max_wavelength!r}; wanted metres above 0"
        raise OptionError(message)
    require_whole(field, dims, what=what)
    flat = bare(field, where, what=what)
    # Half a wave over the box is the longest cosine.
    waves = [np.arange(n) / (2 * n * abs(step)) for n, step in zip((box.ny, box.nx), (box.dy, box.dx), strict=True)]
    keep = np.hypot(waves[0][:, None], waves[1]) >= (1 - 1e-12) / max_wavelength
    if not keep.any():
        message = (
            f"max_wavelength={max_wavelength:g}: the box resolves no wave as short; the shortest is "
            f"{1 / np.hypot(waves[0][-1], waves[1][-1]):.4g} m"
        )
        raise OptionError(message)
    found: xr.DataArray = xr.apply_ufunc(
        partial(_without_long_waves, keep=keep),
        flat,
        input_core_dims=[list(dims)],
        output_core_dims=[list(dims)],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    found = found.transpose(*field.dims)
    if not flat[dims[1]].equals(field[dims[1]]):
        found = found.sel({dims[1]: field[dims[1]]})
    return found.assign_attrs(field.attrs)


def _without_long_waves(field: Any, *, keep: Any) -> Floats:
    from scipy.fft import dctn, idctn

    require_finite(field, what="high_pass_exceedance")
    waves = dctn(np.asarray(field, dtype=np.float64), axes=(-2, -1), norm="ortho")
    return np.asarray(idctn(waves * keep, axes=(-2, -1), norm="ortho"))
