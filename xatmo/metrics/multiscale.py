"""Multi-scale structural similarity of images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo._labels import require_whole
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._aggregate import Weights, resolve_weights
from xatmo.metrics._metric import Metric, Pair, evaluate, only_mean, themselves
from xatmo.metrics._pairs import Dims, axes_of
from xatmo.metrics.pointwise import target_range
from xatmo.metrics.structural import _image_dims
from xatmo.typing import Floats, T, XarrayObject

# Of the scales, from the finest: Wang et al. (2003).
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5


def _smooth(image: Floats, periodic: bool) -> Floats:
    """Gaussian mean over windows that lie in the image; around it in longitude where that is periodic."""
    from scipy.ndimage import correlate1d

    offset = np.arange(_WINDOW) - _WINDOW // 2
    kernel = np.exp(-(offset**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    reach = _WINDOW // 2
    out = correlate1d(image, kernel, axis=-2, mode="nearest")[..., reach:-reach, :]
    out = correlate1d(out, kernel, axis=-1, mode="wrap" if periodic else "nearest")
    return np.asarray(out if periodic else out[..., reach:-reach])


def _halved(image: Floats) -> Floats:
    """Means over blocks of 2 x 2; a last odd row or column is dropped."""
    rows, columns = (n // 2 * 2 for n in image.shape[-2:])
    x = image[..., :rows, :columns]
    return np.asarray((x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4)


def ms_ssim_of(
    prediction: Any,
    target: Any,
    data_range: Any,
    areas: Any,
    *,
    weights: tuple[float, ...],
    periodic: bool,
    flip: bool,
    first: int,
) -> Floats:
    r"""MS-SSIM of images ``(..., nlat, nlon)``: :math:`l_S^{w_S} \prod_s cs_s^{w_s}`.

    Parameters
    ----------
    prediction, target : array (..., nlat, nlon)
    data_range : array (...)
    areas : array (nlat, nlon)
        Weights of the points.
    weights : tuple of float
        Of the scales, from the finest.
    periodic : bool
        Whether images go around.
    flip : bool
        Whether rows run northward: blocks are counted from the north.
    first : int
        Column from which blocks are counted.
    """
    p: Floats
    t: Floats
    w: Floats
    p, t, w = (np.asarray(x, dtype=np.float64) for x in (prediction, target, areas))
    w = np.broadcast_to(w, p.shape[-2:])
    if flip:
        p, t, w = (x[..., ::-1, :] for x in (p, t, w))
    rolled: list[Floats] = [np.roll(x, -first, axis=-1) for x in (p, t, w)]
    span = np.asarray(data_range, dtype=np.float64)[..., None, None]
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    reach = _WINDOW // 2
    p, t, w = rolled
    out: Any = 1.0
    for scale, power in enumerate(weights):
        if scale:
            p, t, w = _halved(p), _halved(t), _halved(w)
        mp, mt = _smooth(p, periodic), _smooth(t, periodic)
        # Variances of departures from the image's mean: no digits are lost to large values.
        a, b = p - p.mean((-2, -1), keepdims=True), t - t.mean((-2, -1), keepdims=True)
        ma, mb = _smooth(a, periodic), _smooth(b, periodic)
        pp, tt, pt = (_smooth(x, periodic) for x in (a * a, b * b, a * b))
        pp, tt, pt = pp - ma * ma, tt - mb * mb, pt - ma * mb
        value = (2 * pt + c2) / (pp + tt + c2)
        if scale == len(weights) - 1:
            value = value * (2 * mp * mt + c1) / (mp * mp + mt * mt + c1)
        inner = w[reach:-reach] if periodic else w[reach:-reach, reach:-reach]
        mean = (value * inner).sum((-2, -1)) / inner.sum()
        # Opposite structure scores 0: a negative number has no such power.
        out = out * np.maximum(mean, 0.0) ** power
    return np.asarray(np.where(np.isnan(span[..., 0, 0]), np.nan, out))


def _scales(pair: Pair, sizes: tuple[int, int]) -> tuple[float, ...]:
    given = pair.options.get("scale_weights")
    weights = np.asarray(WEIGHTS if given is None else given, dtype=np.float64)
    if weights.ndim != 1 or not weights.size or not (weights > 0).all():
        message = f"ms_ssim: scale_weights={given!r}; wanted numbers above 0, from the finest scale on"
        raise OptionError(message)
    most = 0
    while min(sizes) // 2**most >= _WINDOW:
        most += 1
    if given is None and most:
        weights = weights[:most]
    if weights.size > most:
        least = _WINDOW * 2 ** (weights.size - 1)
        message = (
            f"ms_ssim: images of {sizes[0]} x {sizes[1]} points for {weights.size} scales; wanted {least} at least "
            "along each side. Give fewer scale_weights"
        )
        raise OptionError(message)
    return tuple((weights / weights.sum()).tolist())


def _values(pair: Pair) -> list[xr.DataArray]:
    lat, lon, periodic = _image_dims(pair, "ms_ssim")
    if not {lat, lon} <= set(pair.dims):
        message = f"ms_ssim scores whole images, ({lat!r}, {lon!r}), but dim has {pair.dims} only; add them"
        raise DimensionError(message)
    for field in (pair.prediction, pair.target):
        require_whole(field, (lat, lon), what="ms_ssim")
    scales = _scales(pair, (pair.target.sizes[lat], pair.target.sizes[lon]))
    by = resolve_weights(pair.prediction, (lat, lon), pair.weighting, what="ms_ssim")
    by = by if set(by.dims) <= {lat, lon} else xr.DataArray(1.0)
    sizes = [pair.target.sizes[d] for d in (lat, lon)]
    areas = by.drop_vars(list(by.coords)) * xr.DataArray(np.ones(sizes), dims=(lat, lon))
    flip, first = False, 0
    if axes_of(pair.prediction) is not None and pair.options.get("image_dims") is None:
        grid = Grid.of(pair.prediction)
        flip = not grid.north_to_south
        first = int(np.argmin(np.round(grid.longitude, 6) % 360)) if periodic else 0
    values: xr.DataArray = xr.apply_ufunc(
        partial(ms_ssim_of, weights=scales, periodic=periodic, flip=flip, first=first),
        pair.prediction,
        pair.target,
        target_range(pair, also=(lat, lon)),
        areas.transpose(lat, lon),
        input_core_dims=[[lat, lon], [lat, lon], [], [lat, lon]],
        dask="parallelized",
        output_dtypes=[np.float64],
        join="override",
    )
    return [values]


MS_SSIM = Metric(
    "ms_ssim", "multi-scale structural similarity", ("ms_ssim",), themselves, only_mean, "1", fields=_values,
    stated={"data_range": "target"},
)  # fmt: skip


def ms_ssim(
    prediction: T,
    target: XarrayObject,
    *,
    data_range: float | str = "target",
    scale_weights: Sequence[float] | None = None,
    image_dims: Sequence[Hashable] | None = None,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    r"""Multi-scale structural similarity (MS-SSIM): how alike contrast and structure are, from fine to coarse.

    .. math:: l_S^{w_S} \prod_{s=1}^{S} cs_s^{w_s}

    with the means over the image of the luminance term l and of the contrast and structure term cs of `ssim`, in
    Gaussian windows of 11 x 11 points (standard deviation 1.5), after s - 1 times taking means over 2 x 2 points. A
    negative mean counts as 0. Windows of a global field go around in longitude; blocks of 2 x 2 are counted from the
    north and from 0 degrees, and a last odd row or column is dropped.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels, latitude and longitude whole. An image with a missing value is left out.
    data_range : float or "target"
        As in `ssim`.
    scale_weights : sequence of float, optional
        Exponents from the finest scale on, made 1 in sum: those of the paper (0.0448, 0.2856, 0.3001, 0.2363, 0.1333),
        as many of them, from the first, as the image has room for.
    image_dims : pair of str, optional
        Rows and columns, where there are no latitude and longitude.
    dim : str or sequence of str, optional
        Has to hold rows and columns; all dimensions that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`; inside images too.

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is.

    Raises
    ------
    OptionError
        If images are too small (11 points at the coarsest scale), or a weight or the range is not positive.
    DimensionError
        If there are no images, or ``dim`` leaves out rows or columns.
    ChunkError
        If an image is split into chunks.
    CoordinateError, UnitsError, VariableError
        As in `rmse`.

    References
    ----------
    .. [1] Z. Wang, E. Simoncelli, A. Bovik, 2003: Multiscale structural similarity for image quality assessment.
       Asilomar Conference on Signals, Systems and Computers, 1398-1402.

    Examples
    --------
    >>> t = xr.DataArray(np.random.default_rng(0).normal(size=(32, 32)), dims=("y", "x"))
    >>> ms_ssim(t, t, image_dims=("y", "x")).item()
    1.0
    """
    options = {"data_range": data_range, "scale_weights": scale_weights, "image_dims": image_dims}
    return evaluate(MS_SSIM, prediction, target, dim=dim, weights=weights, options=options)
