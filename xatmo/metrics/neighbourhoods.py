"""Whether events come about where they are forecast: fractions of events in windows of growing size."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo._labels import require_whole
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.metrics._aggregate import Weights
from xatmo.metrics._metric import Means, Metric, Pair, evaluate
from xatmo.metrics._pairs import Dims, axes_of
from xatmo.metrics.probabilistic import exceeds, thresholds_of
from xatmo.metrics.structural import _image_dims
from xatmo.typing import Floats, T, XarrayObject


def _box_sums(field: Any, window: tuple[int, int], periodic: bool) -> Floats:
    """Add up over windows around every point; NaN where the window leaves the image."""
    rows, columns = window
    above, left = (rows - 1) // 2, (columns - 1) // 2
    if periodic:
        field = np.concatenate([field[..., field.shape[-1] - left :], field, field[..., : columns - 1 - left]], axis=-1)
    total = np.pad(field, [(0, 0)] * (field.ndim - 2) + [(1, 0), (1, 0)]).cumsum(-2).cumsum(-1)
    inner = (
        total[..., rows:, columns:]
        - total[..., :-rows, columns:]
        - total[..., rows:, :-columns]
        + total[..., :-rows, :-columns]
    )
    edge = [(0, 0)] * (field.ndim - 2) + [(above, rows - 1 - above)]
    edge += [(0, 0)] if periodic else [(left, columns - 1 - left)]
    return np.asarray(np.pad(inner, edge, constant_values=np.nan))


def fractions(event: Any, area: Any, windows: Sequence[int], *, periodic: bool) -> Floats:
    """Part of the area of windows around every point where an event is.

    Parameters
    ----------
    event : array (..., nlat, nlon)
        1 and 0; NaN where unknown.
    area : array (nlat, nlon)
        What each cell counts.
    windows : sequence of int
        Widths, in cells.
    periodic : bool
        Whether windows go around in longitude.

    Returns
    -------
    array (..., window, nlat, nlon)
        NaN where a window leaves the image or holds an unknown value.

    Examples
    --------
    >>> fractions(np.eye(3), np.ones((3, 3)), [3], periodic=False)[0, 1, 1].round(4).item()
    0.3333
    """
    event = np.asarray(event, dtype=np.float64)
    unknown = np.isnan(event)
    filled = np.where(unknown, 0.0, event)
    out = []
    for size in windows:
        window = (int(size), int(size))
        whole = _box_sums(np.asarray(area, dtype=np.float64), window, periodic)
        part = _box_sums(filled * area, window, periodic) / whole
        # Running sums leave rounding behind: fractions are between 0 and 1.
        part = np.clip(part, 0.0, 1.0)
        if unknown.any():
            part = np.where(_box_sums(unknown.astype(np.float64), window, periodic) > 0.5, np.nan, part)
        out.append(part)
    return np.stack(out, axis=-3)


def _fractions(pair: Pair) -> list[xr.DataArray]:
    lat, lon, periodic = _image_dims(pair, what="fss")
    levels = thresholds_of(pair.options.get("threshold"), pair.target.attrs.get("units"), what="fss")
    sizes = _windows(pair.options.get("window"), pair.prediction, lat, lon, periodic)
    many = bool(np.shape(np.asarray(pair.options.get("window"))))
    area = np.ones((pair.prediction.sizes[lat], pair.prediction.sizes[lon]))
    equal = pair.weighting is None or pair.options.get("image_dims") is not None
    if not equal and axes_of(pair.prediction) is not None:
        area = Grid.of(pair.prediction).areas / Grid.of(pair.prediction).areas.mean()
    axis = xr.Variable("window", np.asarray(sizes), {"long_name": "width of the window in cells", "units": "1"})
    out = []
    for field in (pair.prediction, pair.target):
        require_whole(field, (lat, lon), what="fss")
        found: xr.DataArray = xr.apply_ufunc(
            partial(_of_thresholds, area=area, windows=tuple(sizes), periodic=periodic),
            field,
            levels,
            input_core_dims=[[lat, lon], []],
            output_core_dims=[["window", lat, lon]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {"window": len(sizes)}},
            output_dtypes=[np.float64],
            join="override",
        )
        out.append(found.assign_coords(window=axis) if many else found.isel(window=0))
    return out


def _of_thresholds(field: Any, level: Any, *, area: Floats, windows: tuple[int, ...], periodic: bool) -> Floats:
    return fractions(exceeds(field, np.asarray(level)[..., None, None]), area, windows, periodic=periodic)


def _windows(given: Any, field: xr.DataArray, lat: Hashable, lon: Hashable, periodic: bool) -> list[int]:
    sizes = np.atleast_1d(np.asarray(0 if given is None else given))
    most = min(field.sizes[lat], field.sizes[lon])
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not sizes.size or sizes.min() < 1 or sizes.max() > most:
        message = f"fss: window={given!r}; wanted a width in cells, or several, from 1 to {most}"
        raise OptionError(message)
    return [int(n) for n in sizes]


def _parts(p: Floats, t: Floats) -> tuple[Floats, ...]:
    return (p - t) ** 2, p * p + t * t


def _fss(m: Means, _: Pair) -> xr.DataArray:
    return 1 - m["difference"] / m["both"].where(m["both"] > 0)


FSS = Metric(
    "fss", "fractions skill score", ("difference", "both"), _parts, _fss, "1", fields=_fractions,
    stated={"threshold": None, "window": None},
)  # fmt: skip


def fss(
    prediction: T,
    target: XarrayObject,
    *,
    threshold: float | Sequence[float],
    window: int | Sequence[int],
    image_dims: Sequence[Hashable] | None = None,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    r"""Fractions skill score: whether events fill the right part of windows, if not the right cells.

    .. math:: FSS = 1 - \frac{\overline{(f_p - f_t)^2}}{\overline{f_p^2} + \overline{f_t^2}}

    with the fractions f of the area of a window in which the event comes. 1 is perfect, 0 the worst; it grows with the
    window, for an unbiased forecast towards 1. Windows count where they lie within the image wholly and hold no missing
    value; around the globe they go on in longitude. Means over ``dim`` are taken before the ratio. On a box, with
    ``weights=None``, the value is that of ``scores.spatial.fss_2d`` [2]_ for events at or above the threshold; that
    neither weighs cells, nor goes around, nor leaves out gaps.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels. Latitude and longitude have to be whole (one chunk).
    threshold : float or sequence of float
        Events are values at or above it, in the units of the target; several make a dimension ``threshold``.
    window : int or sequence of int
        Widths of square windows in cells; several make a dimension ``window``.
    image_dims : pair of str, optional
        Rows and columns, where there are no latitude and longitude.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`. With None cells of a window count alike, too.

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is; NaN where neither has an event.

    Raises
    ------
    OptionError
        If a threshold or window is not possible.
    ChunkError
        If an image is split into chunks.
    CoordinateError, DimensionError, GridError, UnitsError, VariableError
        As in `rmse`.

    References
    ----------
    .. [1] N. Roberts, H. Lean, 2008: Scale-selective verification of rainfall accumulations from high-resolution
       forecasts of convective events. Mon. Wea. Rev. 136, 78-97.
    .. [2] N. Faggian et al., 2015: Fast calculation of the fractions skill score. Mausam 66, 457-466.

    Examples
    --------
    A cell beside the right one is wrong cell by cell, and nearly right in windows of five:

    >>> p, t = np.zeros((11, 11)), np.zeros((11, 11))
    >>> t[5, 5], p[5, 6] = 1, 1
    >>> p, t = (xr.DataArray(x, dims=("y", "x")) for x in (p, t))
    >>> fss(p, t, threshold=0.5, window=[1, 5], image_dims=("y", "x")).values.round(2)
    array([0. , 0.8])
    """
    options = {"threshold": threshold, "window": window, "image_dims": image_dims}
    return evaluate(FSS, prediction, target, dim=dim, weights=weights, options=options)
