"""How far apart two clouds of vectors lie: Frechet distance, earth mover's distance, RV coefficient, projections."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics import _clouds
from xatmo.typing import Floats

Cloud: TypeAlias = xr.DataArray | NDArray[Any]
"""Vectors: a DataArray with the dimension ``feature`` (all others number the vectors), or an array ``(n, ...)``."""

_LARGEST_EXACT = 4_000_000


def frechet_distance(prediction: Cloud, target: Cloud, *, feature: Hashable = "feature") -> xr.DataArray:
    r"""Frechet distance between two clouds of vectors, as if each were Gaussian.

    .. math:: \|\mu_p - \mu_t\|^2 + \mathrm{tr}\left(C_p + C_t - 2 (C_p C_t)^{1/2}\right)

    with means and (unbiased) covariances: the squared Wasserstein-2 distance of Gaussians, by which generated images
    are judged on learned features ("FID"). The last trace is the sum of the singular values of :math:`R_p R_t^T`, where
    :math:`R^T R = C` comes from a QR decomposition of the centred vectors: no covariance is formed and no root of a
    matrix taken, so that fewer vectors than features do no harm. Of few vectors it is too large, the more so the more
    features there are: compare equal numbers.

    Parameters
    ----------
    prediction, target : DataArray or array
        ``(..., feature)``, such as `embed` gives: all other dimensions number the vectors. Or an array ``(n, ...)`` of
        n vectors or patches. Lazy DataArrays may be in any chunks but for ``feature``, which has to be whole; blocks
        are decomposed one by one and put together.
    feature : str
        Name of the dimension of the vectors.

    Returns
    -------
    DataArray
        A scalar, float64; lazy if either is.

    Raises
    ------
    DimensionError
        If there is no dimension ``feature``, or the two have different numbers of features, or fewer than 2 vectors.
    ChunkError
        If ``feature`` is split into chunks.
    MissingValueError
        When computed, if a value is missing.

    References
    ----------
    .. [1] D. Dowson, B. Landau, 1982: The Frechet distance between multivariate normal distributions. J. Multivariate
       Analysis 12, 450-455.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(frechet_distance(x, x + [3.0, 4.0, 0.0]).item(), 9), round(frechet_distance(x, x).item(), 9)
    (25.0, 0.0)
    """
    ours, theirs = _both(prediction, target, feature, "frechet_distance", same=True)
    first, second = ours.factors(), theirs.factors()
    out = _scalar(_clouds.frechet, first, second)
    units = ours.units("squared")
    return _result(out, "Frechet distance", units, cf.describe_call("metrics.frechet_distance"))


def earth_movers_distance(
    prediction: Cloud,
    target: Cloud,
    *,
    metric: str = "euclidean",
    n_projections: int | None = None,
    seed: int = 0,
    feature: Hashable = "feature",
) -> xr.DataArray:
    r"""Earth mover's distance (Wasserstein-1) between two clouds of vectors.

    The least mean distance by which vectors have to be moved to turn one cloud into the other. Exact: of equal numbers
    by the best assignment, of others by a linear programme. With ``n_projections`` the sliced distance instead: the
    mean, over random directions, of the distances of the projections, which takes n log n; it is smaller.

    Parameters
    ----------
    prediction, target : DataArray or array
        As in `frechet_distance`; all vectors are gathered in one block.
    metric : str
        Distance between vectors: ``"euclidean"``, ``"cosine"``, ``"cityblock"`` or another that
        `scipy.spatial.distance.cdist` knows. ``"euclidean"`` for the sliced distance.
    n_projections : int, optional
        Random directions; exact unless given.
    seed : int
        Of the directions.
    feature : str
        Name of the dimension of the vectors.

    Returns
    -------
    DataArray
        A scalar, float64; lazy if either is.

    Raises
    ------
    OptionError
        If the metric is unknown or does not go with projections, their number is none, or there are too many vectors
        for the exact distance (4 million pairs; 200 thousand where the numbers differ).
    DimensionError, ChunkError, MissingValueError
        As in `frechet_distance`.

    References
    ----------
    .. [1] Y. Rubner, C. Tomasi, L. Guibas, 2000: The earth mover's distance as a metric for image retrieval. Int. J.
       Computer Vision 40, 99-121.

    .. [2] N. Bonneel et al., 2015: Sliced and Radon Wasserstein barycenters of measures. J. Math. Imaging Vis. 51,
       22-45.

    Examples
    --------
    >>> x = np.array([[0.0, 0.0], [10.0, 0.0]])
    >>> earth_movers_distance(x, np.array([[10.0, 3.0], [0.0, 1.0]])).item()
    2.0
    """
    ours, theirs = _both(prediction, target, feature, "earth_movers_distance", same=True)
    function: Callable[..., Floats]
    options: dict[str, Any]
    if n_projections is None:
        _known_metric(metric)
        n, m = ours.number, theirs.number
        if n * m > (_LARGEST_EXACT if n == m else _LARGEST_EXACT // 20):
            message = (
                f"earth_movers_distance: {n} and {m} vectors are too many for the exact distance; give n_projections, "
                "such as 200, or fewer vectors"
            )
            raise OptionError(message)
        function, options = _clouds.transport, {"metric": metric}
    else:
        if isinstance(n_projections, bool) or not isinstance(n_projections, int | np.integer) or n_projections < 1:
            message = f"n_projections={n_projections!r}; wanted a whole number from 1 up, or None"
            raise OptionError(message)
        if metric != "euclidean":
            message = f"metric={metric!r} came with n_projections; wanted 'euclidean', or no projections"
            raise OptionError(message)
        function, options = _clouds.sliced, {"number": int(n_projections), "seed": seed}
    out = _scalar(function, ours.vectors(), theirs.vectors(), **options)
    call = cf.describe_call("metrics.earth_movers_distance", metric=metric, n_projections=n_projections)
    units = "1" if metric == "cosine" else ours.units("same")
    return _result(out, "earth mover's distance", units, call)


def rv_coefficient(first: Cloud, second: Cloud, *, feature: Hashable = "feature") -> xr.DataArray:
    r"""RV coefficient: how alike two sets of features of the same samples are, whatever their axes.

    .. math:: RV = \frac{\mathrm{tr}(C_{xy} C_{yx})}{\sqrt{\mathrm{tr}(C_{xx}^2)\, \mathrm{tr}(C_{yy}^2)}}

    Between 0 and 1; 1 where one is the other rotated and scaled. It is the squared correlation of single features.

    Parameters
    ----------
    first, second : DataArray or array
        As in `frechet_distance`, of the same samples in the same order; they may have different numbers of features.
    feature : str

    Returns
    -------
    DataArray
        A scalar, float64; NaN if either does not vary. Lazy if either is.

    Raises
    ------
    DimensionError
        If the numbers of samples differ; and as in `frechet_distance`.
    ChunkError, MissingValueError
        As in `frechet_distance`.

    References
    ----------
    .. [1] P. Robert, Y. Escoufier, 1976: A unifying tool for linear multivariate statistical methods: the RV
       coefficient. J. R. Stat. Soc. C 25, 257-265.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 2))
    >>> round(rv_coefficient(x, 3 * x[:, ::-1]).item(), 9)
    1.0
    """
    ours, theirs = _both(first, second, feature, "rv_coefficient", same=False)
    if ours.number != theirs.number:
        message = f"rv_coefficient: {ours.number} and {theirs.number} samples came; wanted the same ones in both"
        raise DimensionError(message)
    out = _scalar(_clouds.rv, ours.vectors(), theirs.vectors())
    return _result(out, "RV coefficient", "1", cf.describe_call("metrics.rv_coefficient"))


def project(
    obj: Cloud,
    n: int,
    *,
    method: str = "random",
    reference: Cloud | None = None,
    seed: int = 0,
    feature: Hashable = "feature",
) -> xr.DataArray:
    """Project vectors onto few directions.

    Parameters
    ----------
    obj : DataArray or array
        As in `frechet_distance`.
    n : int
        Directions.
    method : {"random", "pca"}
        Orthonormal directions drawn from the seed, which keep distances in proportion on average; or those in which
        the ``reference`` varies most, of which the mean of the reference is taken off first.
    reference : DataArray or array, optional
        ``obj`` itself unless given. Give the truth for both, to compare projections.
    seed : int
    feature : str

    Returns
    -------
    DataArray
        Like ``obj`` with ``n`` features. Lazy where it is (of the reference, at most what its factors need is held).

    Raises
    ------
    OptionError
        If the method is unknown, or ``n`` is not between 1 and the number of features.
    DimensionError, ChunkError, MissingValueError
        As in `frechet_distance`.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 5.0, 1.0]
    >>> project(x, 1, method="pca").shape
    (50, 1)
    """
    cloud = _clouds.Cloud.of(obj, feature, what="project")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= cloud.features:
        message = f"project: n={n!r}; wanted a whole number from 1 to the number of features, {cloud.features}"
        raise OptionError(message)
    if method not in ("random", "pca"):
        message = f"project: method={method!r}; wanted 'random' or 'pca'"
        raise OptionError(message)
    axes: Any
    if method == "random":
        axes = xr.DataArray(_clouds.directions(cloud.features, int(n), seed), dims=("_from", feature))
        middle: Any = xr.DataArray(np.zeros(cloud.features), dims="_from")
    else:
        other = cloud if reference is None else _clouds.Cloud.of(reference, feature, what="project")
        _same_features(cloud, other, "project")
        factors = other.factors()
        found = _array(_clouds.principal, factors, (cloud.features, int(n)), number=int(n))
        axes = xr.DataArray(found, dims=("_from", feature))
        middle = xr.DataArray(_array(_clouds.mean_of, factors, (cloud.features,)), dims="_from")
    bare = cloud.field.drop_vars([c for c in cloud.field.coords if feature in cloud.field[c].dims])
    bare = bare.rename({feature: "_from"})
    out: xr.DataArray = xr.dot(bare.astype(np.float64) - middle, axes, dim="_from").transpose(*cloud.field.dims)
    out.attrs = {"long_name": f"{method} projection of features", "units": cloud.field.attrs.get("units", "1")}
    out = out.rename(cloud.field.name)
    return cf.add_history(out, cf.describe_call("metrics.project", n=int(n), method=method))


# ---------------------------------------------------------------------- inside
def _both(
    prediction: Cloud, target: Cloud, feature: Hashable, what: str, *, same: bool
) -> tuple[_clouds.Cloud, _clouds.Cloud]:
    ours, theirs = (_clouds.Cloud.of(x, feature, what=what) for x in (prediction, target))
    if same:
        _same_features(ours, theirs, what)
    return ours, theirs


def _same_features(ours: _clouds.Cloud, theirs: _clouds.Cloud, what: str) -> None:
    if ours.features != theirs.features:
        message = f"{what}: vectors of {ours.features} and of {theirs.features} features came; wanted as many in both"
        raise DimensionError(message)


def _known_metric(metric: str) -> None:
    from scipy.spatial.distance import cdist

    try:
        cdist(np.eye(3), np.eye(3), metric)
    except (ValueError, TypeError) as error:
        message = f"metric={metric!r}; wanted 'euclidean', 'cosine', 'cityblock' or another of SciPy's cdist"
        raise OptionError(message) from error


def _scalar(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return _array(function, *arguments, (), **options)


def _array(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function of what may be delayed; the last argument is the shape of its result."""
    *given, shape = arguments
    if not any(hasattr(x, "dask") for x in given):
        return function(*given, **options)
    import dask.array
    from dask.delayed import delayed

    from_delayed: Any = dask.array.from_delayed
    return from_delayed(
        delayed(function, pure=True)(*given, **options), shape=shape, dtype=np.float64, meta=np.empty((0,) * len(shape))
    )


def _result(value: Any, long_name: str, units: str | None, call: str) -> xr.DataArray:
    attrs = {"long_name": long_name} | ({} if units is None else {"units": units})
    return cf.add_history(xr.DataArray(value, attrs=attrs), call)
