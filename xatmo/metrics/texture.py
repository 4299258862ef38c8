"""How much fine structure a prediction has: the mean length of its gradient over that of the target."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo._labels import require_whole
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.metrics._aggregate import Weights
from xatmo.metrics._metric import Means, Metric, Pair, evaluate, themselves
from xatmo.metrics._pairs import Dims, axes_of
from xatmo.metrics.structural import _image_dims
from xatmo.metrics.temporal import Spacing, gradient_size
from xatmo.typing import Floats, T, XarrayObject

Differences = Literal["neighbours", "central"]


def central_size(field: Any, north: Floats, east: Floats, *, periodic: bool) -> Floats:
    """Length of the gradient from central differences, one-sided ones at edges.

    Parameters
    ----------
    field : array (..., nlat, nlon)
    north : array (nlat - 1,)
        Steps between rows.
    east : array (nlat,)
        Steps between columns; 0 where a row is a pole.
    periodic : bool
        Whether the first column follows on the last.

    Returns
    -------
    array (..., nlat, nlon)
        float64.

    Examples
    --------
    >>> slope = 3.0 * np.arange(4)[:, None] + 4.0 * np.arange(5)
    >>> central_size(slope, np.ones(3), np.ones(4), periodic=False)[1, :2]
    array([5., 5.])
    """
    field = np.asarray(field, dtype=np.float64)
    rows = np.gradient(field, np.concatenate([[0.0], np.cumsum(north)]), axis=-2)
    wide = np.concatenate([field[..., -1:], field, field[..., :1]], axis=-1) if periodic else field
    columns = np.gradient(wide, axis=-1)[..., 1:-1] if periodic else np.gradient(wide, axis=-1)
    columns = np.where(east[:, None] > 0, columns, 0.0) / np.where(east > 0, east, 1.0)[:, None]
    return np.asarray(np.hypot(rows, columns))


def _steps(pair: Pair) -> tuple[tuple[Hashable, Hashable], Floats, Floats, bool]:
    """Rows and columns of the images, the steps between them, and whether columns go around."""
    spacing = pair.options.get("spacing", "sphere")
    if spacing not in ("sphere", "cells"):
        message = f"gradient_ratio: spacing={spacing!r}; wanted 'sphere' (metres) or 'cells'"
        raise OptionError(message)
    lat, lon, periodic = _image_dims(pair, what="gradient_ratio")
    sizes = pair.prediction.sizes
    if min(sizes[lat], sizes[lon]) < 2:
        message = f"gradient_ratio needs 2 rows and 2 columns or more; {dict(sizes)} came"
        raise DimensionError(message)
    north, east = np.ones(sizes[lat] - 1), np.ones(sizes[lat])
    if spacing == "sphere" and pair.options.get("image_dims") is None and axes_of(pair.prediction) is not None:
        grid = Grid.of(pair.prediction)
        north = EARTH_RADIUS * np.radians(np.abs(np.diff(grid.latitude)))
        cosine = np.cos(np.radians(grid.latitude))
        east = EARTH_RADIUS * np.radians(np.diff(grid.longitude).mean()) * np.where(cosine > 1e-6, cosine, 0.0)
    return (lat, lon), north, east, periodic


def _sizes(pair: Pair) -> list[xr.DataArray]:
    dims, north, east, periodic = _steps(pair)
    differences = pair.options.get("differences", "neighbours")
    if differences not in ("neighbours", "central"):
        message = f"gradient_ratio: differences={differences!r}; wanted 'neighbours' or 'central'"
        raise OptionError(message)
    kernel: Any = gradient_size if differences == "neighbours" else central_size
    out = []
    for field in (pair.prediction, pair.target):
        require_whole(field, dims, what="gradient_ratio")
        found: xr.DataArray = xr.apply_ufunc(
            partial(kernel, north=north, east=east, periodic=periodic),
            field,
            input_core_dims=[list(dims)],
            output_core_dims=[list(dims)],
            dask="parallelized",
            output_dtypes=[np.float64],
        )
        out.append(found)
    return out


def _ratio(m: Means, _: Pair) -> xr.DataArray:
    return m["prediction"] / m["target"].where(m["target"] > 0)


GRADIENT_RATIO = Metric(
    "gradient_ratio", "ratio of gradients, prediction to target,", ("prediction", "target"), themselves, _ratio, "1",
    fields=_sizes, stated={"spacing": "sphere", "differences": "neighbours"},
)  # fmt: skip


def gradient_ratio(
    prediction: T,
    target: XarrayObject,
    *,
    spacing: Spacing = "sphere",
    differences: Differences = "neighbours",
    image_dims: Sequence[Hashable] | None = None,
    dim: Dims = None,
    weights: Weights = "area",
) -> T:
    r"""Texture: the mean length of the gradient of the prediction over that of the target.

    .. math:: r_G = \overline{|\nabla p|} \,/\, \overline{|\nabla t|}, \qquad
              |\nabla x|^2 = \left(\frac{1}{a \cos\varphi} \frac{\partial x}{\partial\lambda}\right)^2
              + \left(\frac{1}{a} \frac{\partial x}{\partial\varphi}\right)^2

    1 where the prediction is as rough as the target, below where it is blurred. It does not ask whether structures are
    at the right place. Ratios are taken of means over ``dim``; with ``dim`` latitude and longitude alone there is one
    for each map, whose mean is another number.

    Parameters
    ----------
    prediction, target : Dataset or DataArray
        On the same labels. Latitude and longitude have to be whole (one chunk).
    spacing : {"sphere", "cells"}
        Differences over metres on the sphere, or from cell to cell.
    differences : {"neighbours", "central"}
        Between neighbours, the mean over the four choices of one to the north or south and one to the east or west as
        in `total_variation`; or central ones over two steps, which do not see waves of two steps, as published texture
        scores have them.
    image_dims : pair of str, optional
        Rows and columns, where there are no latitude and longitude.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given.
    weights : "area", DataArray or None
        As in `rmse`. Points beside a missing value are left out.

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is.

    Raises
    ------
    OptionError
        If ``spacing`` or ``differences`` is unknown.
    DimensionError
        If there are no images, or fewer than 2 rows or columns.
    ChunkError
        If an image is split into chunks.
    CoordinateError, GridError, UnitsError, VariableError
        As in `rmse`.

    Examples
    --------
    >>> t = xr.DataArray(np.random.default_rng(0).normal(size=(8, 8)), dims=("y", "x"))
    >>> gradient_ratio(0.5 * t + 3, t, image_dims=("y", "x")).item()
    0.5
    """
    options = {"spacing": spacing, "differences": differences, "image_dims": image_dims}
    return evaluate(GRADIENT_RATIO, prediction, target, dim=dim, weights=weights, options=options)
