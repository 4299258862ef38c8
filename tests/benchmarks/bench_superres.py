"""A training step and a prediction of the recommended network against a network of the usual kind and size.

The peer is a plain residual network with widths that grow to 128 channels and two sub-pixel stages, 128 -> 512 each, as
widely used for downscaling; 16 patches of 128 x 128 fine cells, factor 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timing import Row, in_turn
from torch import nn

from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.train.settings import cpu_has_bfloat16

FACTOR, FILTERS, BLOCKS = 4, 32, 4


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.b(torch.relu(self.a(x))) + self.skip(x))


class UsualNetwork(nn.Module):
    """Residual blocks of 32, 64, 96, 128 filters; one sub-pixel convolution used twice; 1,257,363 weights."""

    def __init__(self) -> None:
        super().__init__()
        f, wide = FILTERS, FILTERS * BLOCKS
        self.stem = nn.Conv2d(1, f, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(f * max(i, 1), f * (i + 1)) for i in range(BLOCKS)))
        self.tail, self.long_skip = nn.Conv2d(wide, wide, 3, padding=1), nn.Conv2d(f, wide, 1)
        self.up = nn.Conv2d(wide, 4 * wide, 3, padding=1)
        self.narrow = nn.Conv2d(wide, f, 1)
        self.fine = nn.Sequential(nn.Conv2d(f, f, 3, padding=1), nn.ReLU(), nn.Conv2d(f, f, 3, padding=1))
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(f, f // 4, 1), nn.ReLU(), nn.Conv2d(f // 4, f, 1), nn.Sigmoid()
        )
        self.last = nn.Sequential(nn.Conv2d(f, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        y = torch.relu(self.tail(self.blocks(y))) + self.long_skip(y)
        for _ in range(2):
            y = nn.functional.pixel_shuffle(self.up(y), 2)
        y = self.fine(torch.relu(self.narrow(y)))
        out: torch.Tensor = self.last(y * self.attention(y))
        return out


def _step(net: nn.Module, x: torch.Tensor, target: torch.Tensor, *, low: bool) -> Callable[[], None]:
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    x = x.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = (net(x).float() - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _predict(net: nn.Module, x: torch.Tensor, *, low: bool) -> Callable[[], None]:
    x = x.contiguous(memory_format=torch.channels_last)

    def predict() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            net(x)

    return predict


def rows(quick: bool = False) -> list[Row]:
    """Measure in turn; times in milliseconds."""
    torch.manual_seed(0)
    batch, coarse, repeats = (4, 8, 2) if quick else (16, 32, 5)
    x = torch.randn(batch, 1, coarse, coarse)
    target = torch.randn(batch, 1, coarse * FACTOR, coarse * FACTOR)
    ours, usual = SuperResolution(SuperResolutionConfig(FACTOR)), UsualNetwork()
    low = cpu_has_bfloat16()
    size = f"{batch} x {coarse * FACTOR} x {coarse * FACTOR}, x{FACTOR}"
    name = "usual residual network, float32"

    def row(work: str, a: Callable[[], None], b: Callable[[], None], peer: str, wanted: str = "") -> Row:
        mine, theirs = in_turn(a, b, repeats=repeats)
        return Row(f"{work}, {size}", 1e3 * mine, 1e3 * theirs, peer, wanted=wanted)

    found = [
        row(
            f"train step, recommended network, {'bfloat16' if low else 'float32'}",
            _step(ours, x, target, low=low), _step(usual, x, target, low=False), name, "<= 0.333",
        ),
        row(
            "train step, recommended network, float32",
            _step(ours, x, target, low=False), _step(usual, x, target, low=False), name, "<= 0.333",
        ),
        row("predict, recommended network, float32", _predict(ours, x, low=False), _predict(usual, x, low=False), name),
    ]  # fmt: skip
    if low:
        found += [
            row(
                "train step, usual network, bfloat16",
                _step(usual, x, target, low=True), _step(usual, x, target, low=False), name, "<= 0.6",
            ),
            row(
                "train step, recommended network, bfloat16",
                _step(ours, x, target, low=True), _step(ours, x, target, low=False), "the same in float32",
            ),
        ]  # fmt: skip
    return found
