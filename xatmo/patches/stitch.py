"""Put patches back together: overlap-add with weights that sum to 1 at every point."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import DimensionError, OptionError
from xatmo.patches.plan import Plan
from xatmo.patches.window import profile

Array = NDArray[Any]


def blending_weights(
    plan: Plan, window: str = "hann", factor: int | Mapping[Hashable, int] | None = None
) -> dict[Hashable, NDArray[np.float64]]:
    r"""Weights of every window along each dimension, which sum to 1 at every point.

    Plan and window are both separable, so the overlap-add of a plan is one partition of unity per dimension:

    .. math:: \bar w_k(x) = w(x - s_k) \Big/ \sum_j w(x - s_j)

    and a patch counts with the product over dimensions. Nothing has to be divided afterwards, so a part of the result
    can be stitched from the windows that touch it.

    Parameters
    ----------
    plan : Plan
    window : {"hann", "triangular", "uniform"}
        Profile over the whole patch: where windows share few points, they blend over those few.
    factor : int or mapping, optional
        How many times finer the patches are than the plan: one number for all dimensions, or by dimension.

    Returns
    -------
    dict
        Dimension to ``(windows, patch_size * factor)``, float64.

    Examples
    --------
    >>> from xatmo.patches.plan import plan
    >>> blending_weights(plan({"x": 6}, {"x": 4}, overlap={"x": 2}), "triangular")["x"]
    array([[1.  , 1.  , 0.75, 0.25],
           [0.25, 0.75, 1.  , 1.  ]])
    """
    weights = {}
    for d, scale in _factors(plan, factor).items():
        n, length = plan.sizes[d] * scale, plan.patch_size[d] * scale
        points = (plan.starts[d][:, None] * scale + np.arange(length)) % n
        one = np.broadcast_to(profile(length, window), points.shape)
        total = np.bincount(points.ravel(), weights=one.ravel(), minlength=n)
        weights[d] = one / total[points]
    return weights


def stitch(
    arrays: Any,
    plan: Plan,
    *,
    window: str = "hann",
    factor: int | Mapping[Hashable, int] | None = None,
) -> Array:
    """Blend patches into one array.

    Parameters
    ----------
    arrays : array (windows, ..., *patch) or iterable of arrays (..., *patch)
        Patches in the order of the plan. An iterable is consumed one patch at a time. Axes before the patch's own
        (channels, members) are kept.
    plan : Plan
        The windows that the patches fill.
    window : {"hann", "triangular", "uniform"}
        How patches are weighted where they overlap.
    factor : int or mapping, optional
        How many times finer the patches are than the plan. A number holds for the dimensions along which patches come
        enlarged; a mapping says it by dimension.

    Returns
    -------
    array (..., *sizes * factor)
        In the patches' floating type (integers become float64). Patches cut from an array give it back to rounding. A
        point is NaN where any patch that covers it is NaN.

    Raises
    ------
    DimensionError
        If the number or the shape of the patches is not that of the plan.
    OptionError
        If the window is unknown.

    Examples
    --------
    >>> from xatmo.patches.plan import plan
    >>> p = plan({"x": 7}, {"x": 4}, overlap={"x": 1})
    >>> field = np.arange(7.0)
    >>> stitch([field[s : s + 4] for s in p.starts["x"]], p)
    array([0., 1., 2., 3., 4., 5., 6.])
    """
    ndim = len(plan.sizes)
    out: Array | None = None
    weights: list[Array] = []
    scales: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    count = 0
    for count, (patch, at) in enumerate(_with_windows(arrays, plan), start=1):
        if out is None:
            scales = _scales(patch.shape, plan, factor)
            shape = patch.shape
            out = np.zeros(
                (*patch.shape[: patch.ndim - ndim], *(n * f for n, f in zip(plan.sizes.values(), scales, strict=True))),
                dtype=floating(patch.dtype),
            )
            by_dim = blending_weights(plan, window, dict(zip(plan.sizes, scales, strict=True)))
            weights = [by_dim[d].astype(out.real.dtype) for d in plan.sizes]
        elif patch.shape != shape:
            message = f"patch {count - 1} has shape {patch.shape}, the first one {shape}; wanted all alike"
            raise DimensionError(message)
        add_patch(out, patch, plan, at, weights, scales)
    if out is None or count < len(plan):
        message = f"{count} patches came; the plan has {len(plan)} windows"
        raise DimensionError(message)
    return out


def add_patch(
    out: Array, patch: Array, plan: Plan, at: tuple[int, ...], weights: list[Array], scales: tuple[int, ...]
) -> None:
    """Add one weighted patch to ``out``, in place; where it runs past the end of a periodic dimension, in parts."""
    weighted = patch
    for axis, (k, w) in enumerate(zip(at, weights, strict=True)):
        row = w[k]
        if not (row == 1).all():
            weighted = weighted * row.reshape(-1, *[1] * (len(at) - 1 - axis))
    parts: list[list[tuple[slice, slice]]] = []
    for d, k, scale in zip(plan.sizes, at, scales, strict=True):
        first, length, n = int(plan.starts[d][k]) * scale, plan.patch_size[d] * scale, plan.sizes[d] * scale
        inside = min(length, n - first)
        cut = [(slice(first, first + inside), slice(0, inside))]
        if inside < length:
            cut.append((slice(0, length - inside), slice(inside, length)))
        parts.append(cut)
    for index in np.ndindex(*(len(cut) for cut in parts)):
        pair = [cut[i] for cut, i in zip(parts, index, strict=True)]
        out[(..., *(p[0] for p in pair))] += weighted[(..., *(p[1] for p in pair))]


def _with_windows(arrays: Any, plan: Plan) -> Iterable[tuple[Array, tuple[int, ...]]]:
    if hasattr(arrays, "__len__") and len(arrays) != len(plan):
        message = f"{len(arrays)} patches came; the plan has {len(plan)} windows"
        raise DimensionError(message)
    windows = np.ndindex(plan.shape)
    for number, patch in enumerate(arrays):
        if number >= len(plan):
            message = f"more than {number} patches came; the plan has {len(plan)} windows"
            raise DimensionError(message)
        yield _plain(patch), next(windows)


def _plain(patch: Any) -> Array:
    """Turn a patch into a NumPy array; tensors that carry gradients or lie on a device are brought over."""
    if hasattr(patch, "detach"):
        patch = patch.detach().cpu()
        if str(patch.dtype) == "torch.bfloat16":  # NumPy has no such type
            patch = patch.float()
    return np.asarray(patch)


def floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the sum of patches of ``dtype``."""
    if dtype.kind not in "fc":
        return np.dtype(np.float64)
    return np.promote_types(dtype, np.float32)  # half precision cannot hold sums


def _factors(plan: Plan, factor: int | Mapping[Hashable, int] | None) -> dict[Hashable, int]:
    by_dim = (
        {d: 1 if factor is None else factor for d in plan.sizes}
        if factor is None or isinstance(factor, int)
        else dict(factor)
    )
    unknown = [d for d in by_dim if d not in plan.sizes]
    if unknown:
        message = f"factor names dimension {unknown[0]!r}; the plan has {tuple(plan.sizes)}"
        raise DimensionError(message)
    scales = {d: int(by_dim.get(d, 1)) for d in plan.sizes}
    if any(f < 1 for f in scales.values()):
        message = f"factor {factor!r} came; wanted whole numbers of at least 1"
        raise OptionError(message)
    return scales


def _scales(shape: tuple[int, ...], plan: Plan, factor: int | Mapping[Hashable, int] | None) -> tuple[int, ...]:
    """Enlargement of patches of ``shape`` along each dimension, checked."""
    wanted = plan.patch_shape
    came = shape[max(len(shape) - len(wanted), 0) :]
    scales = tuple(_factors(plan, factor).values())
    if isinstance(factor, int) and len(came) == len(wanted):  # one number: along the dimensions that came enlarged
        scales = tuple(1 if c == w else factor for c, w in zip(came, wanted, strict=True))
    expected = tuple(w * f for w, f in zip(wanted, scales, strict=True))
    if came != expected:
        message = (
            f"patches of shape {shape} came; wanted (..., {', '.join(map(str, expected))}) for {tuple(plan.sizes)}"
        )
        raise DimensionError(message)
    return scales
