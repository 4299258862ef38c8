"""Spherical harmonics in torch on a GPU, against what its arithmetic and its memory allow.

``python tests/benchmarks/bench_gpu.py`` on a machine with CUDA prints the rows of a Markdown table: round trips of 1 to
128 fields on 721 x 1440 and 1280 x 2560 points, in float32 and with TF32 products, as they are and as a CUDA graph, and
torch-harmonics where it is installed. ``--device cpu --quick`` shows anywhere that it runs.

The limit is the longer of two times: the operations at the rate of a large matrix product, and the bytes that have to
move at the rate of a large copy, both measured on the device first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
import on_gpu
from timing import Row

from xatmo.nn.sphere import SphericalHarmonics

BATCHES = (1, 8, 32, 128)


@dataclass(frozen=True)
class Rates:
    """What the device does in large calls."""

    gemm: float  # operations per second
    copy: float  # bytes read and written per second


@dataclass(frozen=True)
class Result:
    """One line: times are seconds for a field's round trip."""

    grid: str
    batch: int
    precision: str
    who: str
    seconds: float
    limit: float
    limited_by: str
    error: float

    def markdown(self) -> str:
        """A row of the table."""
        ratio = f"{self.seconds / self.limit:.1f}" if self.limit else ""
        limit = f"{1e3 * self.limit:.4f} ({self.limited_by})" if self.limit else ""
        numbers = f"{1e3 * self.seconds:.4f} | {limit} | {ratio} | {self.error:.1e}"
        return f"| {self.grid} | {self.batch} | {self.precision} | {self.who} | {numbers} |"


COLUMNS = ("grid", "fields", "precision", "engine", "ms per field", "limit, ms", "ratio", "error")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def operations(transform: SphericalHarmonics) -> float:
    """Operations in the matrix products of one field's round trip: the functions twice, the quadrature once.

    Each number of a table meets a real and an imaginary part, with a multiplication and an addition each.
    """
    plan = transform._plan
    functions = sum(t.numel() for b in plan.blocks for t in b.tables)
    quadrature = 0
    if plan.weights is not None and plan.weights.ndim == 4:
        for b in plan.blocks:
            kept = b.rows.stop - b.rows.start
            quadrature += sum(b.tables[0].shape[0] * kept * plan.rows for t in b.tables if t.shape[1])
    return 4.0 * (2 * functions + quadrature)


def traffic(transform: SphericalHarmonics, batch: int) -> float:
    """Bytes that a field's round trip must move at least: tables shared by the batch, all else written or read once.

    Each direction reads the tables and passes fields, waves (written and read) and coefficients once.
    """
    item = transform.colatitude.element_size()
    size = transform.lmax + 1
    waves = 2 * transform.nlat * size
    once = transform.nlat * transform.nlon + 2 * waves + 2 * size * size
    return 2.0 * (transform.table_bytes / batch + item * once)


def rates(device: torch.device, *, tf32: bool, n: int) -> Rates:
    """Measure a product of two matrices, (n, n) each, and a copy of as many numbers four times over."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(n, n, device=device) for _ in range(2))
    c = torch.empty_like(a)
    gemm = 2 * n**3 / on_gpu.median(lambda: torch.mm(a, b, out=c), device, 10)
    source = torch.randn(4, n, n, device=device)
    target = torch.empty_like(source)
    copy = 2 * source.numel() * 4 / on_gpu.median(lambda: target.copy_(source), device, 10)
    return Rates(gemm, copy)


def results(device: torch.device, *, quick: bool = False) -> Iterator[Result]:
    """Measure everything, in order of size."""
    sizes = [(37, 72, True), (32, 64, False)] if quick else [(721, 1440, True), (1280, 2560, False)]
    batches = (1, 3) if quick else BATCHES
    precisions = ("float32", "TF32") if device.type == "cuda" else ("float32",)
    repeats = 2 if quick else 10
    measured = {p: rates(device, tf32=p == "TF32", n=128 if quick else 8192) for p in precisions}
    for nlat, nlon, poles in sizes:
        lmax = nlat - 2 if poles else nlat - 1
        if poles:
            transform = SphericalHarmonics.regular(nlat, nlon, lmax).to(device)
        else:
            transform = SphericalHarmonics.gaussian(nlat, nlon, lmax).to(device)
        other = _torch_harmonics(nlat, nlon, lmax, device, equiangular=poles)
        for batch in batches:
            x = _field(transform, batch)
            for precision in precisions:
                torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
                rate = measured[precision]
                times = {
                    "matrix products": operations(transform) / rate.gemm,
                    "memory": traffic(transform, batch) / rate.copy,
                }
                by = max(times, key=lambda key: times[key])
                sides: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
                    ("xatmo", lambda f, t=transform: t.synthesis(t.analysis(f)))  # type: ignore[misc]
                ]
                if device.type == "cuda":
                    sides.append(("xatmo, CUDA graph", _graph(sides[0][1], x)))
                if other is not None:
                    sides.append(("torch-harmonics", other))
                for who, side in sides:
                    with torch.inference_mode():
                        error = ((side(x) - x).square().mean() / x.square().mean()).sqrt().item()
                        seconds = on_gpu.median(lambda s=side, f=x: s(f), device, repeats) / batch  # type: ignore[misc]
                    yield Result(f"{nlat} x {nlon}", batch, precision, who, seconds, times[by], by, error)
        del transform, other
    torch.backends.cuda.matmul.allow_tf32 = False


def _field(transform: SphericalHarmonics, batch: int) -> torch.Tensor:
    """Band-limited fields with a steep spectrum."""
    size = transform.lmax + 1
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, size, size, dtype=torch.complex64, generator=generator).tril()
    slope = torch.arange(1, size + 1)[:, None] ** -1.5
    with torch.inference_mode():
        return transform.synthesis((x * slope).to(transform.device)).clone()


def _graph(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Record a call once; then one launch replays it (on the same input)."""
    with torch.inference_mode():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                call(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = call(x)

    def replay(_: torch.Tensor) -> torch.Tensor:
        graph.replay()
        return out

    return replay


def _torch_harmonics(
    nlat: int, nlon: int, lmax: int, device: torch.device, *, equiangular: bool
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Give its round trip, with tables in float32; on equiangular rows it is exact to half the degree only."""
    if find_spec("torch_harmonics") is None:
        return None
    import torch_harmonics as th

    options: dict[str, Any] = {
        "lmax": lmax + 1,
        "mmax": lmax + 1,
        "grid": "equiangular" if equiangular else "legendre-gauss",
    }
    forward = th.RealSHT(nlat, nlon, **options).to(device).float()
    backward = th.InverseRealSHT(nlat, nlon, **options).to(device).float()
    return lambda f: backward(forward(f))


def rows(quick: bool = False) -> list[Row]:
    """Ours against the limit; nothing without CUDA."""
    if not torch.cuda.is_available():
        return []
    out = []
    for one in results(torch.device("cuda"), quick=quick):
        wanted = "<= 2" if one.batch == BATCHES[-1] and one.who == "xatmo" and not quick else ""
        work = f"{one.who}, {one.batch} fields, {one.grid}, {one.precision}"
        out.append(Row(work, 1e3 * one.seconds, 1e3 * one.limit, f"limit: {one.limited_by}", "ms per field", wanted))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    return on_gpu.table(arguments, __doc__, HEADER, results)


if __name__ == "__main__":
    sys.exit(main())
