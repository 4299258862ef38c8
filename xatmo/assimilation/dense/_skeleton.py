"""Variance that observations explain at all nodes of a grid, from the few nodes between which a covariance is smooth.

``k(x)^T M^-1 k(x)`` at m nodes costs a triangular solve with m right sides, by far the most of an analysis with error
bars. As a function of x along one axis, a Gaussian covariance with any observation is a combination of its values at
a few nodes: a pivoted QR factorisation finds them and the weights (an interpolative decomposition; Cheng et al. 2005,
doi:10.1137/030602678). Along three axes these multiply. The solve then has the nodes of this skeleton only as right
sides, and its result is interpolated. What is found is compared with the covariance itself, and not used where it does
not agree or is not smaller, as with a Matern covariance, which is not smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Axes: TypeAlias = tuple[Ints, Ints, Ints]
Cross: TypeAlias = Callable[[Ints | slice, Axes], Array]
"""Covariances ``(n_obs, n_time, n_lat, n_lon)`` of some observations with the product of some times, rows, columns."""
Solve: TypeAlias = Callable[[Array], Array]
"""Product ``(n, k)`` of the inverse of a lower Cholesky factor and an array ``(n, k)``, which may be overwritten."""

WORTH = 1e9
"""Multiplications from which a skeleton is looked for."""
_GAIN = 1.3  # nodes for each of the skeleton from which it is used
_BLOCK = 2_000_000
_LARGEST = 25_000_000  # numbers in one solved skeleton
_SAMPLE = 160  # observations from which a skeleton is found
_CHECKED = 24  # nodes at which it is compared


def explained_on(solve: Solve, cross: Cross, axes: Axes, n: int, tolerance: float) -> Array:
    """Variance explained by n observations, ``(n_time, n_lat, n_lon)``.

    Parameters
    ----------
    solve, cross
        See `Solve`, `Cross`.
    axes : indices of times, rows and columns
    n : int
    tolerance : float
        Largest error of a covariance, in its own unit; the explained variance is off by about as much times the sum of
        an analysis' weights.
    """
    shape = axes[0].size, axes[1].size, axes[2].size
    size = int(np.prod(shape))
    if float(n) ** 2 * size >= WORTH:
        found = _skeleton(cross, axes, n, tolerance)
        if found is not None:
            nodes, maps = found
            few = cast("tuple[int, int, int]", tuple(a.size for a in nodes))
            if float(n) * float(np.prod(few)) > _LARGEST and max(shape) > 8:
                return _halves(solve, cross, axes, n, tolerance)
            known = cross(slice(None), nodes)
            if _agrees(cross, axes, known, maps, tolerance):
                solved = solve(known.reshape(n, -1)).reshape(n, *few)
                return _squares(solved, maps)
    if n * size > _BLOCK and size > 1:
        return _halves(solve, cross, axes, n, 0.0)
    solved = solve(cross(slice(None), axes).reshape(n, -1))
    return cast(Array, np.einsum("ij,ij->j", solved, solved).reshape(shape))


def _halves(solve: Solve, cross: Cross, axes: Axes, n: int, tolerance: float) -> Array:
    longest = int(np.argmax([a.size for a in axes]))
    middle = axes[longest].size // 2
    parts = []
    for half in (axes[longest][:middle], axes[longest][middle:]):
        one = cast(Axes, tuple(half if k == longest else a for k, a in enumerate(axes)))
        parts.append(explained_on(solve, cross, one, n, tolerance))
    return np.concatenate(parts, axis=longest)


def _skeleton(cross: Cross, axes: Axes, n: int, tolerance: float) -> tuple[Axes, tuple[Array, Array, Array]] | None:
    """Find nodes and, for each axis, the weights ``(all, few)`` that make all from them; None where they are many."""
    if tolerance <= 0:
        return None
    some = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.intp))
    nodes, maps = [], []
    for k, axis in enumerate(axes):
        ends = [a[np.unique([0, a.size // 2, a.size - 1])] if k != other else a for other, a in enumerate(axes)]
        values = np.moveaxis(cross(some, cast(Axes, tuple(ends))), k + 1, -1).reshape(-1, axis.size)
        r, order = qr(values, mode="r", pivoting=True, check_finite=False)
        r = r[: axis.size]
        rank = max(int((np.abs(np.diag(r)) > tolerance).sum()), 1)
        weights = np.zeros((axis.size, rank))
        weights[order[:rank]] = np.eye(rank)
        weights[order[rank:]] = solve_triangular(r[:rank, :rank], r[:rank, rank:]).T
        nodes.append(axis[order[:rank]])
        maps.append(weights)
    if _GAIN * float(np.prod([a.size for a in nodes])) > float(np.prod([a.size for a in axes])):
        return None
    return cast(Axes, tuple(nodes)), cast("tuple[Array, Array, Array]", tuple(maps))


def _agrees(cross: Cross, axes: Axes, known: Array, maps: tuple[Array, Array, Array], tolerance: float) -> bool:
    """Tell whether covariances interpolated at some nodes are those of all observations there."""
    spread = np.array([0.5545497, 0.3086699, 0.8191725])  # steps of irrational ratios: nodes in all corners
    for number in range(_CHECKED):
        place = ((number + 0.5) * spread % 1 * [a.size for a in axes]).astype(np.intp)
        at = cast(Axes, tuple(a[i : i + 1] for a, i in zip(axes, place, strict=True)))
        made = known
        for weights, i in zip(maps[::-1], place[::-1], strict=True):
            made = made @ weights[i]
        if np.abs(made - cross(slice(None), at).reshape(-1)).max() > 10 * tolerance:
            return False
    return True


def _squares(solved: Array, maps: tuple[Array, Array, Array]) -> Array:
    """Sum over observations of the squares of what is interpolated, in blocks of observations."""
    in_time, north, east = maps
    shape = len(in_time), len(north), len(east)
    out = np.zeros((shape[0], shape[1] * shape[2]))
    block = max(_BLOCK // out.size, 1)
    for start in range(0, len(solved), block):
        part = north @ (solved[start : start + block] @ east.T)
        part = in_time @ part.reshape(*part.shape[:2], -1)
        out += np.einsum("btx,btx->tx", part, part)
    return out.reshape(shape)
