"""How many threads a transform may use, so that Dask's threads and the engines' own do not multiply."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from xatmo.errors import OptionError

_lock = threading.Lock()
_running = 0
_chosen: int | None = None


def set_threads(number: int | None) -> None:
    """Set how many threads each transform on ducc0 uses in this process; None chooses by itself again.

    Left alone, the transforms that run at the same moment share the cores that the process may use (inside a
    ``distributed`` worker: the threads that this worker was given). One transform alone takes them all. The environment
    variable ``XATMO_THREADS`` does the same as this function and reaches worker processes too. The torch engine has its
    own setting, ``torch.set_num_threads``.

    Parameters
    ----------
    number : int or None

    Raises
    ------
    OptionError
        If the number is less than 1.

    Examples
    --------
    >>> set_threads(2)
    >>> set_threads(None)
    """
    global _chosen
    if number is not None and number < 1:
        message = f"number={number} threads came; wanted 1 or more, or None to choose automatically"
        raise OptionError(message)
    _chosen = number


def _environment() -> int | None:
    text = os.environ.get("XATMO_THREADS")
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        message = f"XATMO_THREADS={text!r} came; wanted a whole number, 1 or more"
        raise OptionError(message)
    return int(text)


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "distributed.worker" in sys.modules:
        try:
            share = int(sys.modules["distributed.worker"].get_worker().state.nthreads)
        except (ValueError, AttributeError):  # not inside a worker
            return cores
        return max(1, min(share, cores))
    return cores


@contextmanager
def share() -> Iterator[int]:
    """Give the number of threads for one transform, while it runs.

    Examples
    --------
    >>> with share() as first, share() as second:
    ...     first >= second >= 1
    True
    """
    global _running
    chosen = _chosen or _environment()
    with _lock:
        _running += 1
        running = _running
    try:
        yield chosen or max(1, _cores() // running)
    finally:
        with _lock:
            _running -= 1
