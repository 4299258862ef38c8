"""Symmetries of a square patch, drawn per batch: the same for inputs, targets and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from xatmo.train.batches import Batch

Augmentation = Literal["none", "mirror", "symmetries"]
AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "mirror", "symmetries")


def augment(batch: Batch, kind: Augmentation, seed: Sequence[int]) -> Batch:
    """Apply one random symmetry to all tensors of a batch.

    Parameters
    ----------
    batch : tuple of Tensor (batch, channel, lat, lon)
    kind : {"none", "mirror", "symmetries"}
        ``"mirror"``: east and west change places in half of the batches. ``"symmetries"``: one of the eight symmetries
        of the square (four, without a transpose, where a patch is not square). For scalars; the components of a vector
        would have to change sign and place.
    seed : sequence of int
        Decides the draw.

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
    square = all(t.shape[-1] == t.shape[-2] for t in batch)
    out = tuple(t.flip(dims) if dims else t for t in batch)
    return tuple(t.transpose(-1, -2) for t in out) if turn and square and kind == "symmetries" else out
