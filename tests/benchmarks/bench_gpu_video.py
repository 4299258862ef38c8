"""Training of forecasts on a GPU: samples per second, memory, and the part of the card's arithmetic rate.

``python tests/benchmarks/bench_gpu_video.py`` on a machine with CUDA prints the rows of a Markdown table: training
steps (forward, backward, optimizer; of SAVP with its discriminators) of every architecture with its default settings,
12 frames from 12, at 56 x 92, the grid of the published comparisons of European temperature, and at 256 x 256, in
float32, with TF32 products and in bfloat16. A batch that does not fit into the memory is halved. With ``--device cpu
--quick`` it runs anywhere.

Operations are those that torch counts in matrix products and convolutions of one step. The card's rate is that of one
large product of matrices in the same precision, measured first. Memory is the most that torch holds within a step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
import on_gpu
from bench_gpu_training import PRECISIONS
from timing import Row

from xatmo.nn.video import VideoConfig, VideoNetwork
from xatmo.train import AdversarialForecast, LatentForecast, Objective
from xatmo.train.video import Forecast, VideoBatch

ARCHITECTURES: dict[str, type[Objective]] = {
    "simvp": Forecast,
    "convlstm": Forecast,
    "stacked_convlstm": Forecast,
    "vae": LatentForecast,
    "savp": AdversarialForecast,
}
SIZES = {(56, 92): 32, (256, 256): 8}
"""Rows and columns, and how many samples a step has."""
HOURS = 12


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    shape: tuple[int, int]
    batch: int
    precision: str
    seconds: float
    operations: float
    rate: float
    memory: float

    def markdown(self) -> str:
        """A row of the table."""
        made = self.operations / self.seconds
        memory = f"{self.memory / 2**30:.2f}" if self.memory else "-"
        cells = (
            self.name, f"{self.shape[0]} x {self.shape[1]}", self.batch, self.precision, f"{1e3 * self.seconds:.1f}",
            f"{self.batch / self.seconds:.3g}", memory, f"{made / 1e12:.3g}", f"{made / self.rate:.1%}",
        )  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


COLUMNS = ("training step", "grid", "batch", "precision", "ms", "samples/s", "GiB", "Tflop/s", "of a matrix product")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def training(
    name: str, shape: tuple[int, int], batch: int, device: torch.device, *, quick: bool = False
) -> Callable[[str], Callable[[], object]]:
    """Give a step on noise in a precision, as the objective takes it without a trainer around."""
    torch.manual_seed(0)
    hours = 4 if quick else HOURS
    config = VideoConfig(name, n_context=hours, n_future=hours, cycle=True, baseline="diurnal")
    network = VideoNetwork(config).to(device).train()
    objective = ARCHITECTURES[name](network).to(device)
    made = objective.configure_optimizers()
    optimizers = list(made) if isinstance(made, list | tuple) else [made]
    frames = torch.randn(batch, 1, 2 * hours, *shape, device=device)
    samples = VideoBatch(frames, torch.randn_like(frames))

    def descend(which: int, loss: torch.Tensor, *, counted: bool) -> None:
        optimizers[which].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[which].step()

    alone = len(optimizers) == 1
    objective.key = lambda batch_idx: (0, batch_idx, 0)  # type: ignore[method-assign]
    if not alone:
        objective.descend = descend  # type: ignore[assignment]

    def of(precision: str) -> Callable[[], object]:
        def step() -> None:
            with on_gpu.autocast(device, precision):
                loss = objective.training_step(samples, 0)["loss"]
            if alone:
                descend(0, loss, counted=True)

        return step

    return of


def results(device: torch.device, *, quick: bool = False) -> Iterator[Result]:
    """Measure every architecture at both sizes in every precision."""
    precisions = PRECISIONS if device.type == "cuda" else ("float32", "bfloat16")
    rates = {precision: on_gpu.rate(device, precision, 256 if quick else 8192) for precision in precisions}
    for shape, most in {(16, 24): 2}.items() if quick else SIZES.items():
        for name in ARCHITECTURES:
            for precision in precisions:
                on_gpu.use_tf32(precision == "TF32")
                yield _fitting(name, shape, most, device, precision, rates[precision], quick=quick)
    on_gpu.use_tf32(False)


def _fitting(
    name: str, shape: tuple[int, int], batch: int, device: torch.device, precision: str, rate: float, *, quick: bool
) -> Result:
    """Measure with the largest batch, of those halved again and again, that fits."""
    while True:
        try:
            step = training(name, shape, batch, device, quick=quick)(precision)
            with FlopCounterMode(display=False) as counter:
                step()
            on_gpu.count_anew(device)
            seconds = on_gpu.median(step, device, 2 if quick else 10, warm_ups=3)
            memory = on_gpu.most_bytes(device)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            if batch == 1:
                raise
            batch //= 2
        else:
            return Result(name, shape, batch, precision, seconds, counter.get_total_flops(), rate, memory)


def rows(quick: bool = False) -> list[Row]:
    """Steps in bfloat16 against those in float32; nothing without CUDA."""
    if not torch.cuda.is_available():
        return []
    found = list(results(torch.device("cuda"), quick=quick))
    rate = {(r.name, r.shape, r.precision): r.seconds / r.batch for r in found}
    return [
        Row(f"train step, {name}, {shape[0]} x {shape[1]}, a sample, bfloat16", 1e3 * seconds,
            1e3 * rate[name, shape, "float32"], "float32", "ms")
        for (name, shape, precision), seconds in rate.items() if precision == "bfloat16"
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    return on_gpu.table(arguments, __doc__, HEADER, results)


if __name__ == "__main__":
    sys.exit(main())
