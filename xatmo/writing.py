"""Computations that write into files: when one fails, all that it had begun has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def writer() -> Iterator[Callable[..., Any]]:
    """Give `dask.compute`, on threads that end with the block.

    Where a task fails or a user interrupts, Dask's own threads go on with the tasks that they have, and write into
    files that whoever called has removed by then. Here what waits is dropped and what runs is waited for. Workers of
    a cluster, other processes and a pool of the user's own are left as they are.

    Yields
    ------
    callable
        Takes what `dask.compute` takes.
    """
    from dask import config, threaded
    from dask.base import compute, get_scheduler

    if get_scheduler() not in (None, threaded.get) or config.get("pool", None) is not None:  # type: ignore[no-untyped-call]
        yield compute
        return
    pool = _pool(config.get("num_workers", None))
    try:
        yield lambda *lazy: compute(*lazy, pool=pool)  # type: ignore[no-untyped-call]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int | None) -> Any:
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    from dask.system import CPU_COUNT

    class Pool(ThreadPoolExecutor):
        """Tasks see the context variables of whoever asks for them, as on Dask's own threads."""

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return super().submit(copy_context().run, fn, *args, **kwargs)

    return Pool(workers or CPU_COUNT, thread_name_prefix="xatmo-writing")
