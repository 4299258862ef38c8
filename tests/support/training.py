"""A source of batches that says how often it was asked, and comparisons of networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class NoisePairs:
    """Coarse and fine noise, a function of epoch, place and rank; ``joined``: what several ranks get, in one batch."""

    def __init__(self, n: int = 4, *, fail_at: int | None = None, joined: int = 1, bad_from: int | None = None) -> None:
        self.n, self.fail_at, self.joined, self.bad_from, self.given = n, fail_at, joined, bad_from, 0

    def n_batches(self, world_size: int = 1) -> int:
        return self.n

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        for k in range(start, self.n):
            self.given += 1
            if self.given == self.fail_at:
                raise KeyboardInterrupt
            parts = [self.one(epoch, k, rank * self.joined + r) for r in range(self.joined)]
            coarse, fine = (torch.cat(p) for p in zip(*parts, strict=True))
            if self.bad_from is not None and epoch * self.n + k >= self.bad_from:
                fine = fine * 1e38
            yield coarse, fine

    @staticmethod
    def one(epoch: int, k: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * epoch + 10 * k + rank)
        fine = torch.randn(2, 1, 8, 8, generator=generator)
        return nn.functional.avg_pool2d(fine, 2), fine


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks have the same weights to the bit."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def close(a: nn.Module, b: nn.Module, **kwargs: float) -> None:
    """Fail unless two networks have the same weights to a tolerance."""
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], **kwargs)
