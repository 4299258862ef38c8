"""Variational networks on a GPU: training steps of large patches, their memory, and the time to map an ocean.

``python tests/benchmarks/bench_gpu_fourdvar.py`` on a machine with CUDA prints a training step (forward, backward,
optimizer) of the recommended network and of the ConvLSTM with ten steps, of 15 and 29 times 240 x 240 cells, batches
of 1, 2, 4 and 8, in float32 and bfloat16, with the most memory that it takes; and the mapping of a year of the North
Atlantic, 365 x 761 x 1721 cells, from the rate of a batch of windows, and from that of thirty days of it by
``.atmo.fourdvar_interp``. ``--device cpu --quick`` shows anywhere that it runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
import on_gpu
from timing import Row

import xatmo  # noqa: F401 - the accessor
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork
from xatmo.patches import plan
from xatmo.train import Batch, FourDVar

YEAR = (365, 761, 1721)
"""Times, rows and columns of the North Atlantic at 1/20 degree."""
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Result:
    """One line of the table of training steps."""

    name: str
    shape: tuple[int, int, int]
    batch: int
    precision: str
    seconds: float
    memory: float

    def markdown(self) -> str:
        """A row of the table."""
        size = " x ".join(map(str, self.shape))
        rate = f"{self.batch / self.seconds:.3g}"
        memory = f"{self.memory / 2**30:.2f}" if self.memory else "-"
        return (
            f"| {self.name} | {size} | {self.batch} | {self.precision} | {1e3 * self.seconds:.1f} | {rate} | {memory} |"
        )


COLUMNS = ("training step", "patch", "batch", "precision", "ms", "patches/s", "GiB")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def networks(frames: int) -> Iterator[tuple[str, FourDVarNetwork]]:
    """Give the recommended network, and one as published."""
    torch.manual_seed(0)
    yield "recommended", FourDVarNetwork(FourDVarConfig(time_window=frames))
    published = FourDVarConfig(time_window=frames, solver="convlstm", n_steps=10, dropout=0.1)
    yield "bilinear prior, ConvLSTM, 10 steps", FourDVarNetwork(published)


def inputs(net: FourDVarNetwork, shape: tuple[int, int, int], batch: int, device: torch.device) -> Batch:
    """Noise of which 1.5 % are observed."""
    target = torch.randn(batch, 1, *shape, device=device)
    mask = torch.rand_like(target) < 0.015
    parts = [torch.where(mask, target, 0.0), mask.float(), torch.zeros_like(target), torch.ones_like(target)]
    return Batch(torch.cat(parts, dim=1), target)


def steps(device: torch.device, *, quick: bool = False) -> Iterator[Result]:
    """Measure training steps; a batch that does not fit into the memory ends those of its network and patch."""
    cells = 32 if quick else 240
    for frames in (3, 5) if quick else (15, 29):
        for name, net in networks(frames):
            net.to(device).train()
            objective = FourDVar(net)
            optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
            for precision in PRECISIONS:
                for batch in (1, 2) if quick else (1, 2, 4, 8):
                    shape = (frames, cells, cells)
                    try:
                        data = inputs(net, shape, batch, device)
                        call = _step(objective, optimizer, data, device, precision)
                        seconds, memory = _measured(call, device, 1 if quick else 5)
                    except torch.cuda.OutOfMemoryError:
                        torch.cuda.empty_cache()
                        break
                    yield Result(name, shape, batch, precision, seconds, memory)


def _step(
    objective: FourDVar, optimizer: torch.optim.Optimizer, data: Batch, device: torch.device, precision: str
) -> Callable[[], None]:
    random = np.random.default_rng(0)

    def step() -> None:
        with on_gpu.autocast(device, precision):
            loss, _ = objective.losses(data, random, training=True)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.network.parameters(), 1.0)
        optimizer.step()

    return step


def _measured(call: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Median seconds, and the most bytes on the card."""
    call()
    on_gpu.count_anew(device)
    seconds = on_gpu.median(call, device, repeats, warm_ups=0 if repeats == 1 else 2)
    return seconds, on_gpu.most_bytes(device)


def mapping(device: torch.device, *, quick: bool = False) -> tuple[float, float, int]:
    """Seconds for a year of the North Atlantic: of the network alone, of all around it, and the number of windows.

    The network alone: a batch of windows of 15 x 240 x 240, times their number with half of each new in time and 40
    cells of overlap. With all around it: thirty days of it by ``.atmo.fourdvar_interp``, from memory, in proportion.
    """
    frames, cells, overlap, batch = (3, 32, 8, 2) if quick else (15, 240, 40, 8)
    days, rows, columns = (9, 64, 80) if quick else YEAR
    part = min(2 * frames, days)
    net = next(networks(frames))[1].to(device).eval()
    data = inputs(net, (frames, cells, cells), batch, device)

    def call() -> None:
        with torch.inference_mode():
            net(data.input)

    seconds, _ = _measured(call, device, 1 if quick else 5)
    size = {"time": frames, "lat": cells, "lon": cells}
    less = {"time": frames // 2, "lat": overlap, "lon": overlap}
    n = len(plan({"time": days, "lat": rows, "lon": columns}, size, overlap=less))
    coords = {
        "time": np.datetime64("2012-10-01", "ns") + np.arange(part) * np.timedelta64(1, "D"),
        "lat": 27 + 0.05 * np.arange(rows), "lon": -79 + 0.05 * np.arange(columns),
    }  # fmt: skip
    random = np.random.default_rng(0)
    field = random.standard_normal((part, rows, columns), dtype=np.float32)
    seen = np.where(random.random(field.shape) < 0.015, field, np.float32("nan"))
    ds = xr.Dataset({"ssh": (tuple(coords), seen), "background": (tuple(coords), 0 * field)}, coords)
    start = time.perf_counter()
    ds.atmo.fourdvar_interp(
        "ssh", model=net, background="background", patch_size=_in_space(size), overlap=_in_space(less),
        batch_size=batch, device=device.type,
    )  # fmt: skip
    whole = (time.perf_counter() - start) * days / part
    return seconds / batch * n, whole, n


def _in_space(sizes: dict[str, int]) -> dict[str, int]:
    """Leave out time: windows overlap by half."""
    return {d: n for d, n in sizes.items() if d != "time"}


def rows(quick: bool = False) -> list[Row]:
    """Steps in bfloat16 against those in float32; nothing without CUDA."""
    if not torch.cuda.is_available():
        return []
    found = {(r.name, r.shape, r.batch, r.precision): r.seconds for r in steps(torch.device("cuda"), quick=quick)}
    return [
        Row(f"train step, {name}, {' x '.join(map(str, shape))}, batch {n}, bfloat16", 1e3 * seconds,
            1e3 * found[name, shape, n, "float32"], "float32", "ms")
        for (name, shape, n, precision), seconds in found.items()
        if precision == "bfloat16" and (name, shape, n, "float32") in found
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    torch.backends.cudnn.benchmark = True
    return on_gpu.table(arguments, __doc__, HEADER, steps, _year)


def _year(device: torch.device, *, quick: bool) -> str:
    """Tell what a year of maps costs."""
    alone, whole, n = mapping(device, quick=quick)
    return f"\na year, {n} windows: {alone:.4g} s of the network alone, {whole:.4g} s with all around it"


if __name__ == "__main__":
    sys.exit(main())
