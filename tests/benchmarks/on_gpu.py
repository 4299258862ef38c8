"""What every benchmark of a GPU needs: the device, median times there, its best rate, and a table of lines."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch


class Line(Protocol):
    """A result that can be printed."""

    def markdown(self) -> str: ...


def wait(device: torch.device) -> None:
    """Let what was asked of the device end."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median(call: Callable[[], object], device: torch.device, repeats: int, *, warm_ups: int = 1) -> float:
    """Seconds of a call, its work on the device included."""
    for _ in range(warm_ups):
        call()
    times = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in bfloat16 where that is the precision."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def use_tf32(allowed: bool) -> None:
    """Let float32 be multiplied in TF32, or not; and let convolutions choose what is fastest."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def rate(device: torch.device, precision: str, n: int) -> float:
    """Operations per second of a product of two matrices, ``(n, n)`` each."""
    use_tf32(precision == "TF32")
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    c = torch.empty_like(a)
    return 2 * n**3 / median(lambda: torch.mm(a, b, out=c), device, 10, warm_ups=3)


def most_bytes(device: torch.device) -> float:
    """Most bytes on the card since they were last counted anew."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0


def count_anew(device: torch.device) -> None:
    """Forget the most bytes on the card so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def table(
    arguments: list[str] | None, about: str | None, header: str,
    results: Callable[..., Iterator[Line]], after: Callable[..., str] | None = None,
) -> int:  # fmt: skip
    """Read the words of a command line, and print the results on the device that it names.

    Parameters
    ----------
    arguments : list of str, optional
    about : str
        What the benchmark is.
    header : str
    results, after : callable
        ``(device, quick=)`` to lines, and to what follows the table.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu to see that it runs")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; --device cpu --quick shows that the benchmark runs")
        return 1
    device = torch.device(chosen.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}\n\n{header}")
    for one in results(device, quick=chosen.quick):
        print(one.markdown(), flush=True)
    if after is not None:
        print(after(device, quick=chosen.quick))
    return 0
