"""What the trainer asks of a source of batches, and the endless sequence that it makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch

from xatmo.errors import OptionError


class Batch(NamedTuple):
    """Samples of one step.

    Attributes
    ----------
    input : Tensor (batch, channel, [time,] lat, lon)
    target : Tensor (batch, channel, [time,] lat * factor, lon * factor)
        NaN where it is missing.
    weight : Tensor, optional
        Positive, with the axes of the target, or without that of time; of size 1 where it is the same.
    static : Tensor (batch, n_static, lat * factor, lon * factor), optional
        Fields without time that the network is given beside the input.
    """

    input: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor | None = None
    static: torch.Tensor | None = None

    @classmethod
    def of(cls, parts: AnyBatch) -> Batch:
        """Name the parts of what a source gave: a tuple in this order, short or with None, or a mapping.

        Raises
        ------
        OptionError
            If there are fewer than two parts, or unknown ones.

        Examples
        --------
        >>> x = torch.zeros(1, 1, 2, 2)
        >>> Batch.of((x, x)).weight is None, Batch.of({"input": x, "target": x, "static": x}).static.shape
        (True, torch.Size([1, 1, 2, 2]))
        """
        if isinstance(parts, cls):
            return parts
        if isinstance(parts, Mapping):
            unknown = sorted(set(parts) - set(cls._fields))
            if not unknown and {"input", "target"} <= set(parts):
                return cls(*(parts.get(name) for name in cls._fields))  # type: ignore[arg-type]
            came = f"parts {sorted(parts)}"
        else:
            given: tuple[Any, ...] = tuple(parts)
            if 2 <= len(given) <= len(cls._fields):
                return cls(*given)
            came = f"{len(given)} parts"
        message = f"a batch of {came} came; wanted input, target and, where there are, weight and static"
        raise OptionError(message)


AnyBatch: TypeAlias = "Batch | tuple[torch.Tensor | None, ...] | Mapping[str, torch.Tensor | None]"


def n_samples(batch: AnyBatch) -> int:
    """Length of the first axis of a batch of any kind.

    Examples
    --------
    >>> n_samples((torch.zeros(3, 1), torch.zeros(3))), n_samples({"input": torch.zeros(2)})
    (3, 2)
    """
    parts = batch.values() if isinstance(batch, Mapping) else batch
    return next(len(part) for part in parts if part is not None)


class Batches(Protocol):
    """A source of batches: a function of epoch, place in the epoch, rank and number of ranks, and of nothing else.

    That makes a resumed run see exactly the batches that the interrupted one had not seen.
    """

    def n_batches(self, world_size: int = 1) -> int:
        """Batches that each rank gets in an epoch."""
        ...

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[AnyBatch]:
        """Batches of this epoch and rank, from number ``start`` on: `Batch`, or what `Batch.of` takes."""
        ...


class Endless:
    """The batches of all epochs, one after another, from number ``first`` on.

    It has no length: one training run is one epoch for Lightning, and our epochs are counted from the batch.
    """

    def __init__(self, source: Batches, first: int = 0) -> None:
        self.source, self.first = source, first

    def __iter__(self) -> Iterator[AnyBatch]:
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

    def __iter__(self) -> Iterator[AnyBatch]:
        rank, world_size = rank_and_world()
        return self.source.batches(0, rank=rank, world_size=world_size)


def rank_and_world() -> tuple[int, int]:
    """Rank of this process and number of processes of the run; ``(0, 1)`` outside of a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
