"""Scores of structure: SSIM, computed by scikit-image image by image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xatmo._labels import require_whole
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._aggregate import Weights
from xatmo.metrics._metric import Metric, Pair, evaluate, only_mean, themselves
from xatmo.metrics._pairs import Dims, axes_of
from xatmo.metrics.pointwise import target_range
from xatmo.typing import Floats, T, XarrayObject

# Where scikit-image cuts its Gaussian window, in standard deviations.
_TRUNCATE = 3.5


def ssim_map(
    prediction: Floats, target: Floats, data_range: float, *, window: int, sigma: float | None, periodic: bool
) -> Floats:
    """SSIM at every point of one image; NaN where its window leaves the image or holds a missing value.

    Parameters
    ----------
    prediction, target : array (nlat, nlon)
    data_range : float
    window : int
        Odd width of the uniform window, or of the support of the Gaussian one.
    sigma : float or None
        Standard deviation of a Gaussian window in cells; None for a uniform window.
    periodic : bool
        Whether windows go around in longitude.
    """
    from scipy.ndimage import uniform_filter
    from skimage.metrics import structural_similarity

    reach = window // 2
    prediction, target = (np.asarray(x, dtype=np.float64) for x in (prediction, target))
    if not np.isfinite(data_range):
        return np.full(prediction.shape, np.nan)
    missing = ~(np.isfinite(prediction) & np.isfinite(target))
    images = [prediction, target]
    if missing.any():
        if missing.all():
            return np.full(prediction.shape, np.nan)
        # The filters would spread a NaN along whole rows; windows that touch the filled points are taken out below.
        images = [np.where(missing, target[~missing].mean(), image) for image in images]
    if periodic:
        images = [np.pad(image, ((0, 0), (reach, reach)), mode="wrap") for image in images]
        missing = np.pad(missing, ((0, 0), (reach, reach)), mode="wrap")
    kind: dict[str, Any] = {"win_size": window}
    if sigma is not None:
        kind = {"gaussian_weights": True, "sigma": sigma, "use_sample_covariance": False}
    similarity: Any = structural_similarity
    _, values = similarity(*images, data_range=float(data_range), full=True, **kind)
    if missing.any():
        touched = uniform_filter(missing.astype(np.float64), size=window, mode="constant") > 0.5 / window**2
        values = np.where(touched, np.nan, values)
    inner: Floats = np.full_like(values, np.nan)
    inner[reach:-reach, reach:-reach] = values[reach:-reach, reach:-reach]
    return inner[:, reach:-reach] if periodic else inner


def _window(options: Mapping[str, Any]) -> int:
    """Width of the window, of a Gaussian one that of its support."""
    sigma = options.get("sigma")
    return int(options.get("window", 7)) if sigma is None else 2 * int(_TRUNCATE * sigma + 0.5) + 1


def _maps(pair: Pair) -> list[xr.DataArray]:
    lat, lon, periodic = _image_dims(pair)
    sigma = pair.options.get("sigma")
    window = _window(pair.options)
    sizes = pair.target.sizes
    if window % 2 == 0 or window < 3 or window > min(sizes[lat], sizes[lon] if not periodic else window):
        message = (
            f"ssim: a window of {window} points does not suit images of {sizes[lat]} x {sizes[lon]}; wanted an odd "
            "number from 3 to the smaller side"
        )
        raise OptionError(message)
    for field in (pair.prediction, pair.target):
        require_whole(field, (lat, lon), what="ssim")
    values: xr.DataArray = xr.apply_ufunc(
        ssim_map,
        pair.prediction,
        pair.target,
        target_range(pair, also=(lat, lon)),
        kwargs={"window": window, "sigma": sigma, "periodic": periodic},
        input_core_dims=[[lat, lon], [lat, lon], []],
        output_core_dims=[[lat, lon]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return [values]


def _image_dims(pair: Pair, what: str = "ssim") -> tuple[Hashable, Hashable, bool]:
    field = pair.target
    given: Sequence[Hashable] | None = pair.options.get("image_dims")
    if given is not None:
        if len(given) != 2 or not set(given) <= set(field.dims):
            message = f"{what}: image_dims={tuple(given)!r}; wanted two of the dimensions {field.dims}"
            raise DimensionError(message)
        return given[0], given[1], False
    axes = axes_of(pair.prediction)
    if axes is None:
        message = (
            f"{what} needs images, but latitude and longitude were not found on {field.dims}; name the two dimensions: "
            "image_dims=('y', 'x')"
        )
        raise DimensionError(message)
    return axes.lat_dim, axes.lon_dim, Grid.of(pair.prediction).periodic


SSIM = Metric(
    "ssim", "structural similarity", ("ssim",), themselves, only_mean, "1", fields=_maps,
    stated={"data_range": "target", "window": _window, "sigma": None},
)  # fmt: skip


def ssim(
    prediction: T,
    target: XarrayObject,
    *,
    data_range: float | str = "target",
    window: int = 7,
    gaussian: bool | float = False,
    image_dims: Sequence[Hashable] | None = None,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    """Structural similarity (SSIM), by scikit-image.

    The mean over the image of (2 mp mt + c1)(2 spt + c2) / ((mp^2 + mt^2 + c1)(sp^2 + st^2 + c2)), where means m,
    variances s^2 and the covariance spt are taken in a moving window, c1 = (0.01 range)^2 and c2 = (0.03 range)^2.
    Points whose window leaves the image are not counted, nor are those whose window holds a missing value; in longitude
    the windows of a global field go around. On a box, with ``weights=None`` and no gaps, the value is scikit-image's.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels. Latitude and longitude have to be whole (one chunk).
    data_range : float or "target"
        Range of values that is taken as full contrast, in the units of the field; or the largest minus the smallest
        value of the target over ``dim``.
    window : int
        Odd width of the uniform window.
    gaussian : bool or float
        Whether to weigh the window by a Gaussian instead (11 points wide, standard deviation 1.5), or its standard
        deviation in cells.
    image_dims : pair of str, optional
        Rows and columns of the images, where there are no latitude and longitude.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `xatmo.metrics.rmse`.

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is. Maps where ``dim`` leaves rows and columns.

    Raises
    ------
    ChunkError
        If an image is split into chunks.
    DimensionError
        If there are no images.
    OptionError
        If the window does not fit, or the range is not positive.

    References
    ----------
    Wang et al. (2004), IEEE Transactions on Image Processing 13, 600-612.

    Examples
    --------
    >>> t = xr.DataArray(np.random.default_rng(0).normal(size=(16, 16)), dims=("y", "x"))
    >>> ssim(t, t, image_dims=("y", "x")).item()
    1.0
    """
    sigma = None if gaussian is False else 1.5 if gaussian is True else float(gaussian)
    options = {"data_range": data_range, "window": window, "sigma": sigma, "image_dims": image_dims}
    return evaluate(SSIM, prediction, target, dim=dim, weights=weights, options=options)
