"""Training of forecasts on a GPU: samples per second, memory, and the part of the card's arithmetic rate.

``python tests/benchmarks/bench_gpu_video.py`` on a machine with CUDA prints the rows of a Markdown table: training
steps (forward, backward, optimizer; of SAVP with its discriminators) of every architecture with its default settings,
12 frames from 12, at 56 x 92, the grid of the published comparisons of European temperature, and at 256 x 256, in
float32, with TF32 products and in bfloat16. A batch that does not fit into the memory is halved. ``--tiny`` shows
anywhere that it runs.

Operations are those that torch counts in matrix products and convolutions of one step. The card's rate is that of one
large product of matrices in the same precision, measured first. Memory is the most that torch holds within a step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
from bench_gpu_training import PRECISIONS, _autocast, _median, _rate, _set_tf32
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
    name: str, shape: tuple[int, int], batch: int, device: torch.device, *, tiny: bool = False
) -> Callable[[str], Callable[[], object]]:
    """Give a step on noise in a precision, as the objective takes it without a trainer around."""
    torch.manual_seed(0)
    hours = 4 if tiny else HOURS
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
            with _autocast(device, precision):
                loss = objective.training_step(samples, 0)["loss"]
            if alone:
                descend(0, loss, counted=True)

        return step

    return of


def results(device: torch.device, *, tiny: bool = False) -> Iterator[Result]:
    """Measure every architecture at both sizes in every precision."""
    precisions = PRECISIONS if device.type == "cuda" else ("float32", "bfloat16")
    rates = {precision: _rate(device, precision, 256 if tiny else 8192) for precision in precisions}
    for shape, most in {(16, 24): 2}.items() if tiny else SIZES.items():
        for name in ARCHITECTURES:
            for precision in precisions:
                _set_tf32(precision == "TF32")
                yield _fitting(name, shape, most, device, precision, rates[precision], tiny=tiny)
    _set_tf32(False)


def _fitting(
    name: str, shape: tuple[int, int], batch: int, device: torch.device, precision: str, rate: float, *, tiny: bool
) -> Result:
    """Measure with the largest batch, of those halved again and again, that fits."""
    while True:
        try:
            step = training(name, shape, batch, device, tiny=tiny)(precision)
            with FlopCounterMode(display=False) as counter:
                step()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = _median(step, device, 2 if tiny else 10)
            memory = float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0
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
    found = list(results(torch.device("cuda"), tiny=quick))
    rate = {(r.name, r.shape, r.precision): r.seconds / r.batch for r in found}
    return [
        Row(f"train step, {name}, {shape[0]} x {shape[1]}, a sample, bfloat16", 1e3 * seconds,
            1e3 * rate[name, shape, "float32"], "float32", "ms")
        for (name, shape, precision), seconds in rate.items() if precision == "bfloat16"
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu")
    parser.add_argument("--tiny", action="store_true", help="small sizes, on the CPU where there is no GPU")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        if not chosen.tiny:
            print("no CUDA device here; --tiny shows that the benchmark runs")
            return 1
        chosen.device = "cpu"
    device = torch.device(chosen.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}\n\n{HEADER}")
    for one in results(device, tiny=chosen.tiny):
        print(one.markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
