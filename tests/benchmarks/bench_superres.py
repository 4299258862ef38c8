"""Training steps, predictions and errors of the recommended network and of DL4DS's ``resnet_spc``.

``resnet_spc`` is ours with ``compat="dl4ds"``: 32 filters in the first of 4 blocks, whose widths grow to 128 channels,
and two sub-pixel stages, 128 -> 512 each. The peer is the same network written down plainly in torch, as
widely used for downscaling; 16 patches of 128 x 128 fine cells, factor 4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from timing import Row, in_turn
from torch import nn

from xatmo.nn.superres import Interpolation, SuperResolution, SuperResolutionConfig
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


def resnet_spc() -> SuperResolution:
    """Ours with DL4DS's layers and sizes: as many weights as the peer."""
    return SuperResolution(
        SuperResolutionConfig.dl4ds(
            FACTOR, backbone="residual", upsampling="subpixel", channels=FILTERS, n_blocks=BLOCKS
        )
    )


def recommended() -> SuperResolution:
    """What `SuperResolver` trains unless told otherwise."""
    return SuperResolution(SuperResolutionConfig(FACTOR))


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
    ours, usual, same = recommended(), UsualNetwork(), resnet_spc()
    low = cpu_has_bfloat16()
    size = f"{batch} x {coarse * FACTOR} x {coarse * FACTOR}, x{FACTOR}"
    plain, theirs = "usual residual network, float32", "resnet_spc, float32"

    def row(
        work: str, do: Callable[..., Callable[[], None]], net: nn.Module, peer: nn.Module, name: str, wanted: str = "",
        *, low: bool = False,
    ) -> Row:  # fmt: skip
        more = (target,) if do is _step else ()
        mine, other = in_turn(do(net, x, *more, low=low), do(peer, x, *more, low=False), repeats=repeats)
        kind = "bfloat16" if low else "float32"
        return Row(f"{work}, {kind}, {size}", 1e3 * mine, 1e3 * other, name, wanted=wanted)

    found = [
        row("train step, resnet_spc", _step, same, usual, plain, "<= 1.1"),
        row("train step, recommended network", _step, ours, same, theirs, "<= 0.333"),
        row("train step, recommended network", _step, ours, usual, plain, "<= 0.333"),
        row("predict, resnet_spc", _predict, same, usual, plain, "<= 1.1"),
        row("predict, recommended network", _predict, ours, same, theirs, "<= 0.333"),
    ]
    if low:
        found += [
            row("train step, resnet_spc", _step, same, usual, plain, "<= 0.6", low=True),
            row("train step, recommended network", _step, ours, same, theirs, "<= 0.333", low=True),
            row("train step, recommended network", _step, ours, ours, "the same in float32", low=True),
            row("predict, resnet_spc", _predict, same, usual, plain, low=True),
            row("predict, recommended network", _predict, ours, same, theirs, low=True),
        ]
    steps = 4 if quick else STEPS
    errors = [held_out_error(make, steps) for make in (recommended, resnet_spc)]
    work = f"error of days held out, as a part of bicubic's, after {steps} steps of 8 x 64 x 64"
    return [*found, Row(work, *errors, "resnet_spc", unit="", wanted="" if quick else "<= 1")]


# ---------------------------------------------------------------------- how well they learn
STEPS = 300


@lru_cache(maxsize=1)
def _flow() -> torch.Tensor:
    """Vorticity of a turbulent flow, normalized, ``(time, 1, 128, 256)``."""
    import xatmo

    flow = xatmo.datasets.barotropic(63, days=30, spin_up=10, output_every="12h", variables=["vo"], seed=1)
    field = flow["vo"].atmo.regrid(xatmo.Grid.regular(128, 256, poles=False)).values
    return torch.from_numpy((field / field.std()).astype(np.float32))[:, None]


def held_out_error(make: Callable[[], nn.Module], steps: int) -> float:
    """Root-mean-square error on the last ten days over that of bicubic interpolation, after so many equal steps.

    Adam with one cycle up to 1e-3, as `SuperResolver` has it; the mean absolute error; the same patches for all.
    """
    fields = _flow()
    past, future = fields[:36], fields[40:]
    torch.manual_seed(0)
    net = make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    draw = np.random.default_rng(0)
    for _ in range(steps):
        at = zip(
            draw.integers(len(past), size=8), *(draw.integers(n // 4 - 15, size=8) for n in (128, 256)), strict=True
        )
        target = torch.stack([past[t, :, 4 * i : 4 * i + 64, 4 * j : 4 * j + 64] for t, i, j in at])
        loss = (net(nn.functional.avg_pool2d(target, FACTOR)) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    coarse = nn.functional.avg_pool2d(future, FACTOR)
    bicubic = Interpolation(FACTOR)(coarse)
    net.eval()
    with torch.no_grad():
        made = torch.cat([net(part) for part in coarse.split(4)])
    inner = (..., slice(16, -16), slice(16, -16))  # neither wraps around
    return float((made - future)[inner].square().mean().sqrt() / (bicubic - future)[inner].square().mean().sqrt())
