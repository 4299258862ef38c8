"""The members of an ensemble: where they lie, and kernels of the scores that use them. Members come last."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from xatmo.errors import DimensionError, OptionError
from xatmo.typing import Floats

_NAMES = ("member", "members", "realization", "ensemble", "number", "ens")


def member_dim(field: xr.DataArray, *, what: str, least: int = 1) -> Hashable:
    """Dimension of the members: the one whose coordinate has standard_name ``realization``, or a usual name.

    Parameters
    ----------
    field : DataArray
    what : str
        For messages.
    least : int
        Members that are needed.

    Raises
    ------
    DimensionError
        If there is none, or too few members.

    Examples
    --------
    >>> member_dim(xr.DataArray(np.zeros((2, 3)), dims=("time", "number")), what="crps")
    'number'
    """
    told = [d for d in field.dims if d in field.coords and field[d].attrs.get("standard_name") == "realization"]
    found = told or [d for name in _NAMES for d in field.dims if str(d).lower() == name]
    if not found:
        message = (
            f"{what} needs an ensemble; the prediction has dimensions {field.dims}. Wanted 'member', or a coordinate "
            "with standard_name 'realization'"
        )
        raise DimensionError(message)
    if field.sizes[found[0]] < least:
        message = f"{what} needs {least} members or more; {field.sizes[found[0]]} came along {found[0]!r}"
        raise DimensionError(message)
    return found[0]


def estimator_of(estimator: Any, *, what: str) -> bool:
    """Tell whether an estimator is the fair one.

    Raises
    ------
    OptionError
        If it is neither "fair" nor "ensemble".
    """
    if estimator not in ("fair", "ensemble"):
        message = f"{what}: estimator={estimator!r}; wanted 'fair' or 'ensemble'"
        raise OptionError(message)
    return bool(estimator == "fair")


def crps_of(members: Any, target: Any, *, fair: bool) -> Floats:
    r"""CRPS of an ensemble: :math:`\overline{|x_i - y|} - \frac{1}{2 M (M - 1)} \sum_{ij} |x_i - x_j|`.

    Parameters
    ----------
    members : array (..., M)
    target : array (...)
    fair : bool
        Otherwise M^2 stands for M (M - 1), as the ensemble were the whole distribution.

    Returns
    -------
    array (...)
        float64; NaN where a member or the target is missing.

    Examples
    --------
    >>> members, target = np.array([[0.0, 2.0]]), np.array([1.0])
    >>> crps_of(members, target, fair=False), crps_of(members, target, fair=True)
    (array([0.5]), array([0.]))
    """
    x = np.sort(np.asarray(members, dtype=np.float64), axis=-1)
    m = x.shape[-1]
    y = np.asarray(target, dtype=np.float64)
    # Of sorted members, each pair's distance in terms of ranks: sum_i (2 i - M - 1) x_i = sum_{i<j} |x_i - x_j|.
    rank = 2 * np.arange(1, m + 1) - m - 1
    # About the target, so that large values do not cost digits.
    away = x - y[..., None]
    apart = (away * rank).sum(-1)
    return np.asarray(np.abs(away).mean(-1) - apart / (m * (m - 1) if fair else m * m))


def energy_of(members: Any, target: Any, weights: Any, *, fair: bool) -> Floats:
    r"""Energy score: :math:`\overline{\|x_i - y\|} - \frac{1}{2 M (M - 1)} \sum_{ij} \|x_i - x_j\|`.

    Parameters
    ----------
    members : array (..., D, M)
    target : array (..., D)
    weights : array (D,)
        Of the squares in the norm, 1 in sum.
    fair : bool

    Returns
    -------
    array (...)
    """
    x, y = (np.asarray(a, dtype=np.float64) for a in (members, target))
    m = x.shape[-1]

    def norm(difference: Any) -> Any:
        return np.sqrt(np.einsum("...d,d->...", difference**2, weights))

    near = sum(norm(x[..., i] - y) for i in range(m)) / m
    apart = sum(norm(x[..., i] - x[..., j]) for i in range(m) for j in range(i))
    return np.asarray(near - apart / (m * (m - 1) if fair else m * m))


def spread_of(members: Any) -> Floats:
    """Unbiased variance of the members, and their mean, on a new last axis.

    Examples
    --------
    >>> spread_of(np.array([1.0, 3.0]))
    array([2., 2.])
    """
    x = np.asarray(members, dtype=np.float64)
    return np.stack([x.var(-1, ddof=1), x.mean(-1)], axis=-1)


def rank_of(members: Any, target: Any, *positions: Any, seed: int) -> Floats:
    """Rank of the target among the members, 0 to M; at random among members that equal it.

    Parameters
    ----------
    members : array (..., M)
    target : array (...)
    positions : int arrays
        Broadcast against the target: where in the whole field each point lies. Chance depends on them and the seed
        alone, so that blocks do not matter.
    seed : int

    Returns
    -------
    array (...)
        float64; NaN where a member or the target is missing.

    Examples
    --------
    >>> rank_of(np.array([0.0, 1.0, 5.0]), np.array(2.0), seed=0)
    array(2.)
    """
    x, y = np.asarray(members), np.asarray(target)
    below = (x < y[..., None]).sum(-1)
    ties = (x == y[..., None]).sum(-1)
    if ties.any():
        below = below + np.floor(_chance(seed, y.shape, positions) * (ties + 1)).astype(int)
    missing = np.isnan(x).any(-1) | np.isnan(y)
    return np.where(missing, np.nan, below)


def _chance(seed: int, shape: tuple[int, ...], positions: tuple[Any, ...]) -> Floats:
    """Uniform numbers from 0 to 1 that are functions of the seed and of positions."""
    state = np.full(shape, np.uint64(seed % 2**64))
    for position in positions:
        state = _mixed(state + _mixed(np.asarray(position).astype(np.uint64) + np.uint64(1)))
    return np.asarray((_mixed(state) >> np.uint64(11)).astype(np.float64) / 2.0**53)


def _mixed(x: Any) -> Any:
    """Scramble the bits of whole numbers (splitmix64)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
