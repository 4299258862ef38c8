"""Time ours against a peer in the same run, turn by turn, and keep the medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done, what it cost us and the peer, and the ratio that is wanted."""

    work: str
    ours: float
    peer: float
    peer_name: str
    unit: str = "ms"
    wanted: str = ""  # for instance "<= 1.15" (ours / peer) or ">= 150" (ours / peer, for rates)

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def met(self) -> bool | None:
        if not self.wanted:
            return None
        sign, bound = self.wanted.split()
        return self.ratio <= float(bound) if sign == "<=" else self.ratio >= float(bound)


SETTLE = 0.15
"""Seconds, and some more, for which a BLAS keeps its threads spinning after a call, and so takes a core from whoever
comes next. OpenBLAS waits for 2^28 ticks of the processor's clock: 0.10 s were measured at 2.6 GHz."""


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]
"""What `in_turn` reads. Seconds of all threads of this process (``"cpu"``) hold on a busy machine, too, but say nothing
of threads that wait for each other, nor of other processes."""


def use_clock(name: str) -> None:
    """Choose what `in_turn` reads, for all that follows."""
    global clock
    clock = CLOCKS[name]


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Let `in_turn` read this clock for a while, whatever was chosen."""
    global clock
    before, clock = clock, CLOCKS[name]
    try:
        yield
    finally:
        clock = before


def in_turn(ours: Callable[[], object], peer: Callable[[], object], *, repeats: int = 7) -> tuple[float, float]:
    """Median seconds of both, run alternately after one warm-up each, so that drift hits both alike.

    Calls shorter than `SETTLE` are repeated untimed for that long before each timed one: what is measured is each in
    its own steady state, not what the other's threads leave behind.
    """
    times: tuple[list[float], list[float]] = ([], [])
    last = []
    for call in (ours, peer):
        call()
        last.append(_seconds(call))
    for _ in range(repeats):
        for i, call in enumerate((ours, peer)):
            start = time.perf_counter()
            while last[i] < SETTLE and time.perf_counter() - start < SETTLE:
                call()
            last[i] = _seconds(call)
            times[i].append(last[i])
    return statistics.median(times[0]), statistics.median(times[1])


def _seconds(call: Callable[[], object]) -> float:
    start = clock()
    call()
    return clock() - start
