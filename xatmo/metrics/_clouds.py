"""Clouds of vectors ``(number, feature)``: as they come, in blocks, and what is worked out of them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo._labels import require_finite, require_whole
from xatmo.errors import DimensionError
from xatmo.metrics._metric import UnitsRule, score_units
from xatmo.metrics.distributions import wasserstein_distance
from xatmo.typing import Floats

Factors = tuple[int, Floats, Floats]
"""Number of vectors, their mean, and R of which R^T R is the sum of products of departures from it."""


@dataclass(frozen=True)
class Cloud:
    """Vectors of a labelled field; every dimension but ``feature`` numbers them."""

    field: xr.DataArray
    feature: Hashable
    what: str

    @classmethod
    def of(cls, obj: Any, feature: Hashable, *, what: str) -> Cloud:
        """Take a DataArray, or an array ``(n, ...)`` of n vectors.

        Raises
        ------
        DimensionError
            If there is no dimension ``feature``, or fewer than 2 vectors.
        ChunkError
            If ``feature`` is split.
        """
        if not isinstance(obj, xr.DataArray):
            array = obj if hasattr(obj, "dask") else np.asarray(obj)
            if array.ndim < 2:
                message = f"{what}: an array of shape {array.shape} came; wanted (n, ...), n vectors or patches"
                raise DimensionError(message)
            flat = array.reshape(array.shape[0], -1)
            obj = xr.DataArray(flat, dims=("sample", feature))
        if feature not in obj.dims:
            message = f"{what}: no dimension {feature!r} among {obj.dims}; name that of the vectors: feature="
            raise DimensionError(message)
        require_whole(obj, [feature], what=what)
        made = cls(obj, feature, what)
        if made.number < 2:
            message = f"{what}: {made.number} vectors came; wanted 2 or more"
            raise DimensionError(message)
        return made

    @property
    def number(self) -> int:
        """How many vectors."""
        return int(np.prod([n for d, n in self.field.sizes.items() if d != self.feature], dtype=np.int64))

    @property
    def features(self) -> int:
        """How many numbers to a vector."""
        return int(self.field.sizes[self.feature])

    def units(self, rule: UnitsRule) -> str | None:
        """Units of a distance."""
        return score_units(self.field.attrs.get("units"), rule)

    def _last(self) -> Any:
        return self.field.transpose(..., self.feature).data

    def vectors(self) -> Any:
        """All vectors, ``(number, feature)``: an array, or a delayed one."""
        data = self._last()
        prepare = partial(_vectors, what=self.what)
        if not hasattr(data, "dask"):
            return prepare(data)
        from dask.delayed import delayed

        return delayed(prepare, pure=True)(data)

    def factors(self) -> Any:
        """Work out number, mean and R of all vectors, block by block: `Factors`, or delayed ones."""
        data = self._last()
        prepare = partial(factorize, what=self.what)
        if not hasattr(data, "dask"):
            return prepare(data)
        from dask.delayed import delayed

        one: Any = delayed(prepare, pure=True)
        two: Any = delayed(combine, pure=True)
        level = [one(block) for block in data.to_delayed().ravel()]
        while len(level) > 1:
            level = [two(*level[k : k + 4]) for k in range(0, len(level), 4)]
        return level[0]


def _vectors(block: Any, *, what: str) -> Floats:
    flat: Floats = np.asarray(block).reshape(-1, block.shape[-1])
    require_finite(flat, what=what)
    return flat.astype(np.float64)


def factorize(block: Any, *, what: str) -> Factors:
    """Work out number, mean and R of the vectors of a block."""
    x = _vectors(block, what=what)
    mean = x.mean(0)
    return x.shape[0], mean, np.asarray(np.linalg.qr(x - mean, mode="r"))


def combine(*parts: Factors) -> Factors:
    """Put parts together: R of the whole comes from the parts' and from the distances between their means.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(9, 2))
    >>> n, mean, r = combine(factorize(x[:4], what=""), factorize(x[4:], what=""))
    >>> n, bool(np.allclose(r.T @ r / (n - 1), np.cov(x.T)))
    (9, True)
    """
    number = sum(n for n, _, _ in parts)
    mean = sum(n * m for n, m, _ in parts) / number
    rows = [r for _, _, r in parts] + [np.sqrt(n) * (m - mean)[None] for n, m, _ in parts]
    return number, np.asarray(mean), np.asarray(np.linalg.qr(np.concatenate(rows), mode="r"))


def frechet(first: Factors, second: Factors) -> Floats:
    """Frechet distance of Gaussians from their factors; never below 0."""
    (n, mean, r), (m, other, s) = first, second
    r, s = r / np.sqrt(n - 1), s / np.sqrt(m - 1)
    apart = ((mean - other) ** 2).sum() + (r**2).sum() + (s**2).sum()
    return np.asarray(max(apart - 2 * np.linalg.svd(r @ s.T, compute_uv=False).sum(), 0.0))


def principal(factors: Factors, *, number: int) -> Floats:
    """Directions of most variance, ``(feature, number)``; each has its largest number above 0."""
    _, _, r = factors
    _, _, axes = np.linalg.svd(r, full_matrices=True)
    axes = axes[:number]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return np.asarray((axes * np.sign(largest)).T)


def mean_of(factors: Factors) -> Floats:
    """Mean vector."""
    return factors[1]


def directions(features: int, number: int, seed: int) -> Floats:
    """Random orthonormal directions, ``(feature, number)``."""
    drawn = np.random.default_rng(seed).normal(size=(features, number))
    axes, triangle = np.linalg.qr(drawn)
    return np.asarray(axes * np.sign(np.diag(triangle)))


def transport(first: Floats, second: Floats, *, metric: str) -> Floats:
    """Least mean distance that turns one cloud into the other."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(first, second, metric)
    if len(first) == len(second):
        rows, columns = linear_sum_assignment(cost)
        return np.asarray(cost[rows, columns].mean())
    return np.asarray(_programme(cost))


def _programme(cost: Floats) -> float:
    """Cost of the best plan between equal weights of different numbers of points."""
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    n, m = cost.shape
    # The mass that leaves each point of the first, and reaches each of the second.
    sums = vstack([kron(eye_array(n), np.ones((1, m))), kron(np.ones((1, n)), eye_array(m))])
    mass = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    found = linprog(cost.ravel(), A_eq=sums.tocsc()[:-1], b_eq=mass[:-1], method="highs")
    return float(found.fun)


def sliced(first: Floats, second: Floats, *, number: int, seed: int) -> Floats:
    """Mean Wasserstein-1 distance of projections onto random directions."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for _ in range(number):
        drawn = rng.normal(size=first.shape[1])
        axis = drawn / np.linalg.norm(drawn)
        total += float(wasserstein_distance(first @ axis, second @ axis))
    return np.asarray(total / number)


def rv(first: Floats, second: Floats) -> Floats:
    """RV coefficient; by whichever products are the smaller, of features or of samples."""
    x, y = (a - a.mean(0) for a in (first, second))
    if x.shape[0] < min(x.shape[1], y.shape[1]):
        a, b = x @ x.T, y @ y.T
        products = [a * b, a**2, b**2]
    else:
        products = [(p.T @ q) ** 2 for p, q in ((x, y), (x, x), (y, y))]
    cross, own, other = (float(p.sum()) for p in products)
    size = np.sqrt(own * other)
    return np.asarray(cross / size if size > 0 else np.nan)
