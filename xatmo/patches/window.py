"""How much each point of a patch counts where patches overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import OptionError

Floats = NDArray[np.float64]
WindowKind: TypeAlias = Literal["hann", "triangular", "uniform", "boxcar"]


def window(shape: int | Sequence[int], kind: str = "hann", overlap: int | Sequence[int] | None = None) -> Floats:
    """Strictly positive weights over a patch, the product of one profile per dimension.

    With ``t_i = (i + 1/2) / m`` the taper at point ``i`` from either edge, over the first ``m`` points, is

    - ``"hann"``: ``sin(pi t_i / 2)^2``, a Hann window without its zero ends,
    - ``"triangular"``: ``t_i``,
    - ``"uniform"`` (also ``"boxcar"``): 1.

    Parameters
    ----------
    shape : int or sequence of int
        Points of the patch along each dimension.
    kind : {"hann", "triangular", "uniform", "boxcar"}
    overlap : int or sequence of int, optional
        Points over which a profile rises at either edge (``m``); it is flat between. Neighbours that share exactly
        so many points then add up to 1. Default: half the patch, so that there is no flat part.

    Returns
    -------
    array of ``shape``, float64

    Raises
    ------
    OptionError
        If the kind is unknown, or an overlap is negative or larger than the patch.

    Examples
    --------
    >>> window(4, "triangular")
    array([0.25, 0.75, 0.75, 0.25])
    >>> window(6, "triangular", overlap=2)
    array([0.25, 0.75, 1.  , 1.  , 0.75, 0.25])
    >>> window((8, 8)).shape, bool(window((8, 8)).min() > 0)
    ((8, 8), True)
    """
    points = (shape,) if isinstance(shape, int) else tuple(shape)
    tapers: tuple[int | None, ...]
    tapers = (overlap,) * len(points) if overlap is None or isinstance(overlap, int) else tuple(overlap)
    out = np.ones(())
    for n, taper in zip(points, tapers, strict=True):
        out = out[..., None] * profile(n, kind, taper)
    return out


def profile(n: int, kind: str = "hann", overlap: int | None = None) -> Floats:
    """Weights along one dimension, ``(n,)``: see `window`."""
    if kind not in ("hann", "triangular", "uniform", "boxcar"):
        message = f"window {kind!r} came; wanted 'hann', 'triangular' or 'uniform'"
        raise OptionError(message)
    if overlap is not None and not 0 <= overlap <= n:
        message = f"a window of {n} points cannot rise over {overlap}; wanted 0 to {n}"
        raise OptionError(message)
    if kind in ("uniform", "boxcar") or overlap == 0:
        return np.ones(n)
    rise = n / 2 if overlap is None else float(overlap)
    t = np.minimum((np.arange(n) + 0.5) / rise, 1.0)
    edge = np.sin(math.pi / 2 * t) ** 2 if kind == "hann" else t
    return np.asarray(np.minimum(edge, edge[::-1]), dtype=np.float64)
