"""What the trainer asks of a source of batches, and the endless sequence that it makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

Batch = tuple[torch.Tensor, ...]


class Batches(Protocol):
    """A source of batches: a function of epoch, place in the epoch, rank and number of ranks, and of nothing else.

    That makes a resumed run see exactly the batches that the interrupted one had not seen.
    """

    def n_batches(self, world_size: int = 1) -> int:
        """Batches that each rank gets in an epoch."""
        ...

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Batches of this epoch and rank, from number ``start`` on."""
        ...


class Endless:
    """The batches of all epochs, one after another, from optimiser step ``first`` on.

    It has no length: one training run is one epoch for Lightning, and our epochs are counted from the step.
    """

    def __init__(self, source: Batches, first: int = 0) -> None:
        self.source, self.first = source, first

    def __iter__(self) -> Iterator[Batch]:
        rank, world_size = rank_and_world()
        n = self.source.n_batches(world_size)
        epoch, start = divmod(self.first, n)
        while True:
            yield from self.source.batches(epoch, start=start, rank=rank, world_size=world_size)
            epoch, start = epoch + 1, 0


class OnePass:
    """The batches of epoch 0, every time it is iterated: for validation."""

    def __init__(self, source: Batches) -> None:
        self.source = source

    def __len__(self) -> int:
        return self.source.n_batches(rank_and_world()[1])

    def __iter__(self) -> Iterator[Batch]:
        rank, world_size = rank_and_world()
        return self.source.batches(0, rank=rank, world_size=world_size)


def rank_and_world() -> tuple[int, int]:
    """Rank of this process and number of processes of the run; ``(0, 1)`` outside of a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
