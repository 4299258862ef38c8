"""Make batches ahead of their use, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from xatmo.patches._schedule import Pool


class Ahead:
    """Run an iterator in a thread, a few items ahead; errors come up where the items would."""

    _END = object()

    def __init__(self, items: Iterator[Any], ahead: int) -> None:
        self._items, self._queue = items, queue.Queue[Any](ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xatmo-batches", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: Any = self._END
        try:
            for item in self._items:
                if not self._put(item):
                    return
                del item
        except BaseException as error:  # handed to the consumer, whatever it is
            last = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        self._put(last)

    def _put(self, item: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Any]:
        while True:
            item = self._queue.get()
            if item is self._END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            del item

    def close(self) -> None:
        self._stopped.set()
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._thread.join()


def placed_from(pools: Iterator[Pool], done: int, end: int) -> Iterator[tuple[Pool, int, int]]:
    """Pools with the part of them that is to be drawn, leaving out what was delivered before."""
    begin = 0
    for pool in pools:
        first, last = max(done - begin, 0), min(end - begin, pool.windows.size)
        begin += pool.windows.size
        if first < last:
            yield pool, first, last
