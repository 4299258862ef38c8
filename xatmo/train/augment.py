"""Symmetries of a square patch, drawn per batch: the same for inputs, targets, weights and static fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch

Augmentation = Literal["none", "mirror", "symmetries"]
AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "mirror", "symmetries")

Parts = TypeVar("Parts", bound="tuple[Any, ...] | Mapping[str, Any]")


def augment(batch: Parts, kind: Augmentation, seed: Sequence[int]) -> Parts:
    """Apply one random symmetry to all tensors of a batch.

    Parameters
    ----------
    batch : tuple, Batch or mapping of Tensor (batch, channel, ..., lat, lon)
        Its last two axes are turned; time, where there is one, runs on. Parts that are None stay so.
    kind : {"none", "mirror", "symmetries"}
        ``"mirror"``: east and west change places in half of the batches. ``"symmetries"``: one of the eight symmetries
        of the square (four, without a transpose, where a patch is not square). For scalars; the components of a vector
        would have to change sign and place.
    seed : sequence of int
        Decides the draw.

    Returns
    -------
    Of the type that came.

    Examples
    --------
    >>> import torch
    >>> x = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> same, = augment((x,), "none", (0, 1))
    >>> bool((same == x).all())
    True
    """
    if kind == "none":
        return batch
    east, north, turn = np.random.default_rng(list(seed)).random(3) < 0.5
    dims = [-1] * bool(east) + [-2] * bool(north and kind == "symmetries")
    parts = list(batch.values()) if isinstance(batch, Mapping) else list(batch)
    square = all(t.shape[-1] == t.shape[-2] for t in parts if t is not None)
    transpose = bool(turn) and square and kind == "symmetries"

    def turned(t: torch.Tensor) -> torch.Tensor:
        t = t.flip(dims) if dims else t
        return t.transpose(-1, -2) if transpose else t

    out: Parts = _each(batch, turned)
    return out


def _each(batch: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(batch, Mapping):
        return {name: None if t is None else function(t) for name, t in batch.items()}
    out = [None if t is None else function(t) for t in batch]
    return type(batch)(*out) if hasattr(batch, "_fields") else tuple(out)
