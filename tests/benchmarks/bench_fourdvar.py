"""A training step and an inference of variational networks, 15 x 64 x 64, beside the widely used program for the job.

The peer is CIA-Oceanix/4dvarnet-starter where a checkout of it is named by ``STARTER`` in the environment (of which
``src/models.py`` alone is imported), otherwise a plain network of the same layers written here: a bilinear prior of 32
channels on means of 2 x 2 cells, a ConvLSTM of 48, ten steps, a loss of values, of gradients and of the prior.

    STARTER=CHECKOUT python tests/benchmarks fourdvar --clock cpu
"""

from __future__ import annotations

import os
import sys
import types
from collections import namedtuple
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from timing import Row, in_turn
from torch import nn
from torch.nn import functional as F

from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork
from xatmo.train import Batch, FourDVar, FourDVarLoss

Item = namedtuple("Item", "input tgt")
FRAMES, CELLS, SEEN, STEPS = 15, 64, 0.015, 10


class TwinPrior(nn.Module):
    """Mean of squared differences to an auto-encoder with one product of features."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        sizes = ((frames, width), (width, width), *[(width, width)] * 3, (2 * width, frames))
        self.into, self.more, self.a, self.b, self.c, self.out = (nn.Conv2d(m, n, 3, padding=1) for m, n in sizes)

    def forward_ae(self, x: torch.Tensor) -> torch.Tensor:
        h = self.more(F.relu(self.into(F.avg_pool2d(x, 2))))
        h = self.out(torch.cat([self.a(h), self.b(h) * self.c(h)], dim=1))
        return F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(x, self.forward_ae(x))


class TwinSolver(nn.Module):
    """Steps of a ConvLSTM that reads the gradient of observation and prior cost."""

    def __init__(self, frames: int, width: int, hidden: int, steps: int, rate: float = 100.0) -> None:
        super().__init__()
        self.prior_cost, self.steps, self.rate = TwinPrior(frames, width), steps, rate
        self.gates = nn.Conv2d(frames + hidden, 4 * hidden, 3, padding=1)
        self.out, self.drop = nn.Conv2d(hidden, frames, 3, padding=1), nn.Dropout(0.1)
        self.hidden = hidden

    def forward(self, batch: Any) -> torch.Tensor:
        with torch.enable_grad():
            seen = batch.input.isfinite()
            y = torch.where(seen, batch.input, 0.0)
            x = y.clone().requires_grad_(True)
            h = c = x.new_zeros(len(x), self.hidden, *x.shape[-2:])
            size = None
            for k in range(self.steps):
                cost = self.prior_cost(x) + F.mse_loss(x[seen], y[seen])
                (g,) = torch.autograd.grad(cost, x, create_graph=True)
                size = g.square().mean().sqrt() if size is None else size
                i, f, o, new = self.gates(torch.cat([self.drop(g / size), h], dim=1)).chunk(4, dim=1)
                c = f.sigmoid() * c + i.sigmoid() * new.tanh()
                h = o.sigmoid() * c.tanh()
                x = x - self.out(h) / (k + 1) - self.rate * (k + 1) / self.steps * g
                if not self.training:
                    x = x.detach().requires_grad_(True)
            return x if self.training else self.prior_cost.forward_ae(x)


def sobel(x: torch.Tensor) -> torch.Tensor:
    """Size of the gradient by Sobel's operators, of each frame."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    flat = F.pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    both = F.conv2d(flat, torch.stack([kernel, kernel.T])[:, None])
    return (both.square().sum(1) + 1e-6).sqrt().reshape(x.shape)


def peer_network() -> tuple[nn.Module, str]:
    """The starter's base model, or ours of the same layers; and its name."""
    torch.manual_seed(0)
    checkout = os.environ.get("STARTER")
    if not checkout:
        return TwinSolver(FRAMES, 32, 48, STEPS), "plain torch, same layers"
    try:
        import kornia  # noqa: F401
    except ModuleNotFoundError:  # of which one function is used, and not in what is timed
        package, filters = types.ModuleType("kornia"), types.ModuleType("kornia.filters")
        package.filters, filters.sobel = filters, sobel  # type: ignore[attr-defined]
        sys.modules |= {"kornia": package, "kornia.filters": filters}
    sys.path.insert(0, checkout)
    import src.models as models

    prior = models.BilinAEPriorCost(FRAMES, 32, downsamp=2)
    memory = models.ConvLstmGradModel(FRAMES, 48)
    return models.GradSolver(prior, models.BaseObsCost(), memory, STEPS, 100.0), "4dvarnet-starter"


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth fields ``(1, time, lat, lon)``, and what is seen of them, else NaN."""
    random = np.random.default_rng(seed)
    waves = np.fft.rfft2(random.standard_normal((FRAMES, CELLS, CELLS)))
    number = np.hypot(np.fft.fftfreq(CELLS)[:, None], np.fft.rfftfreq(CELLS))
    field = np.fft.irfft2(waves / (1 + (30 * number) ** 3))
    target = torch.from_numpy((field / field.std()).astype(np.float32))[None]
    seen = torch.from_numpy(random.random(target.shape) < SEEN)
    return torch.where(seen, target, torch.nan), target


def peer_step(net: nn.Module, item: Item) -> Callable[[], object]:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    inside = (..., slice(5, -5), slice(5, -5))

    def step() -> None:
        made = net(item)
        value = F.mse_loss(made[inside], item.tgt[inside])
        slope = F.mse_loss(sobel(made)[inside], sobel(item.tgt)[inside])
        loss = 50 * value + 1000 * slope + net.prior_cost(made)  # type: ignore[operator]
        _descend(net, optimizer, loss)

    return step


def our_step(net: FourDVarNetwork, batch: Batch, loss: FourDVarLoss, precision: str = "32") -> Callable[[], object]:
    objective = FourDVar(net, loss, border=5)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    random = np.random.default_rng(0)

    def step() -> None:
        with _cast(precision):
            total, _ = objective.losses(batch, random, training=True)
        _descend(net, optimizer, total)

    return step


def _cast(precision: str) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def _descend(net: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    optimizer.step()


def ours(kind: str) -> tuple[FourDVarNetwork, FourDVarLoss]:
    """The recommended network, or that of the peer's layers."""
    torch.manual_seed(0)
    if kind == "recommended":
        return FourDVarNetwork(FourDVarConfig(time_window=FRAMES)), FourDVarLoss()
    config = FourDVarConfig(
        time_window=FRAMES, prior="bilinear", prior_channels=32, solver="convlstm", solver_channels=48, n_steps=STEPS,
        dropout=0.1, padding="zeros",
    )  # fmt: skip
    return FourDVarNetwork(config), FourDVarLoss(50.0, 1000.0, 1.0, earlier=0.0)


def rows(quick: bool = False) -> list[Row]:
    """Steps and inferences of both networks beside the peer; the recommended one in bfloat16, too."""
    repeats = 1 if quick else 9
    obs, target = data()
    item = Item(obs, target)
    found = []
    for kind in ("recommended", "same layers"):
        net, loss = ours(kind)
        there = obs[:, None].isfinite()
        parts = [torch.where(there, obs[:, None], 0.0), there.float(), torch.zeros_like(target[:, None])]
        batch = Batch(torch.cat([*parts, torch.ones_like(parts[2])], dim=1), target[:, None])
        peer, name = peer_network()
        for precision in ("32", "bf16") if kind == "recommended" else ("32",):
            what = f"{kind}, {FRAMES} x {CELLS} x {CELLS}, {'float32' if precision == '32' else 'bfloat16'}"
            net.train(), peer.train()
            seconds = in_turn(our_step(net, batch, loss, precision), peer_step(peer, item), repeats=repeats)
            found.append(Row(f"training step, {what}", *(1e3 * s for s in seconds), name, wanted="<= 1.0"))
            net.eval(), peer.eval()

            def map_(net: nn.Module = net, batch: Batch = batch, precision: str = precision) -> None:
                with torch.inference_mode(), _cast(precision):
                    net(batch.input)

            seconds = in_turn(map_, lambda peer=peer: peer(item), repeats=repeats)
            found.append(Row(f"inference, {what}", *(1e3 * s for s in seconds), name, wanted="<= 0.9"))
    return found
