"""Training on a GPU: samples per second, and the part of the card's arithmetic rate that they make.

``python tests/benchmarks/bench_gpu_training.py`` on a machine with CUDA prints the rows of a Markdown table: a training
step (forward, backward, optimizer) of DL4DS's ``resnet_spc``, of the recommended super-resolution network, of SRGAN
against its discriminator at 96 x 96, and of AtmoDist at 160 x 160, in float32, with TF32 products and in bfloat16.
``--device cpu --quick`` shows anywhere that it runs.

Operations are those that torch counts in matrix products and convolutions of one step. The card's rate is that of one
large product of matrices in the same precision, measured first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
import on_gpu
from bench_superres import FACTOR, recommended, resnet_spc
from timing import Row

from xatmo.nn.representation import RepresentationConfig
from xatmo.nn.representation.network import PairClassifier
from xatmo.nn.superres import discriminators
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig

PRECISIONS = ("float32", "TF32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """A step to be measured: ``step()`` trains once on ``batch`` samples."""

    name: str
    batch: int
    step: Callable[[], object]


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    batch: int
    precision: str
    seconds: float
    operations: float
    rate: float

    @property
    def fraction(self) -> float:
        """Part of the rate of a large matrix product."""
        return self.operations / self.seconds / self.rate

    def markdown(self) -> str:
        """A row of the table."""
        work = f"{self.operations / self.seconds / 1e12:.3g} | {self.rate / 1e12:.3g} | {self.fraction:.1%}"
        return (
            f"| {self.name} | {self.precision} | {1e3 * self.seconds:.1f} | {self.batch / self.seconds:.0f} | {work} |"
        )


COLUMNS = ("training step", "precision", "ms", "samples/s", "Tflop/s", "matrix product, Tflop/s", "fraction")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def cases(device: torch.device, *, quick: bool) -> Iterator[Case]:
    """Build one after another, so that only one is in memory."""
    torch.manual_seed(0)
    batch = 2 if quick else 256
    coarse = 8 if quick else 32
    for name, network in (("resnet_spc, 32 filters, 4 blocks", resnet_spc()), ("recommended network", recommended())):
        yield _supervised(f"{name}, {coarse * FACTOR} x {coarse * FACTOR}", network.to(device), batch, coarse, device)
    yield _adversarial(2 if quick else 64, 24 if quick else 96, device)
    yield _lags(2 if quick else 128, 64 if quick else 160, device)


def _supervised(name: str, network: nn.Module, batch: int, cells: int, device: torch.device) -> Case:
    x = torch.randn(batch, 1, cells, cells, device=device)
    y = torch.randn(batch, 1, cells * FACTOR, cells * FACTOR, device=device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        loss = (network(x).float() - y).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Case(name, batch, step)


def _adversarial(batch: int, fine: int, device: torch.device) -> Case:
    """SRGAN as AtmoDist uses it: two channels, factor 4; one update of each network."""
    generator = SRGAN(SRGANConfig.atmodist(n_inputs=2, n_outputs=2)).to(device)
    judge = discriminators.make("srgan", factor=4, n_inputs=2, n_outputs=2, shape=(fine, fine)).to(device)
    x = torch.randn(batch, 2, fine // 4, fine // 4, device=device)
    y = torch.randn(batch, 2, fine, fine, device=device)
    first, second = (torch.optim.Adam(n.parameters(), lr=1e-4) for n in (generator, judge))
    softplus = nn.functional.softplus

    def step() -> None:
        made = generator(x)
        real, false = judge(torch.cat([y, made.detach().float()])).float().chunk(2)
        second.zero_grad()
        (softplus(-real).mean() + softplus(false).mean()).backward()
        second.step()
        loss = (made.float() - y).square().mean() + 1e-3 * softplus(-judge(made).float()).mean()
        first.zero_grad()
        loss.backward()
        first.step()

    return Case(f"SRGAN and its discriminator, {fine} x {fine}", batch, step)


def _lags(batch: int, cells: int, device: torch.device) -> Case:
    config = RepresentationConfig(n_inputs=2, n_classes=23, patch_size=(cells, cells), head="stacked")
    network = PairClassifier(config).to(device)
    pair = torch.randn(batch, 2, 2, cells, cells, device=device)
    lag = torch.randint(23, (batch,), device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        loss = nn.functional.cross_entropy(network(pair).float(), lag)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Case(f"AtmoDist, small encoder, {cells} x {cells}", batch, step)


def results(device: torch.device, *, quick: bool = False) -> Iterator[Result]:
    """Measure every case in every precision."""
    names = PRECISIONS if device.type == "cuda" else ("float32", "bfloat16")
    n = 256 if quick else 8192
    rates = {precision: on_gpu.rate(device, precision, n) for precision in names}
    for case in cases(device, quick=quick):
        with FlopCounterMode(display=False) as counter:
            case.step()
        for precision in names:
            on_gpu.use_tf32(precision == "TF32")
            with on_gpu.autocast(device, precision):
                seconds = on_gpu.median(case.step, device, 2 if quick else 10, warm_ups=3)
            yield Result(case.name, case.batch, precision, seconds, counter.get_total_flops(), rates[precision])
    on_gpu.use_tf32(False)


def rows(quick: bool = False) -> list[Row]:
    """Time of a step against that of as many operations in a large matrix product; nothing without CUDA."""
    if not torch.cuda.is_available():
        return []
    return [
        Row(f"train step, {one.name}, {one.precision}", 1e3 * one.seconds, 1e3 * one.operations / one.rate,
            "as many operations in one matrix product", "ms")
        for one in results(torch.device("cuda"), quick=quick)
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    return on_gpu.table(arguments, __doc__, HEADER, results)


if __name__ == "__main__":
    sys.exit(main())
