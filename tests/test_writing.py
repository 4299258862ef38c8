"""Computations that write into files have ended, whole, when they fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

from xatmo import streaming
from xatmo.cli import files
from xatmo.writing import writer

SEEN_BY: ContextVar[str] = ContextVar("SEEN_BY", default="nobody")


def failing() -> tuple[xr.Dataset, list[int], list[int]]:
    """Ten chunks, of which the second fails while the first is still being made, and which were begun and ended."""
    begun: list[int] = []
    ended: list[int] = []
    first_runs = threading.Event()

    def block(block_info: Any = None) -> np.ndarray:
        (k, _), _ = block_info[None]["array-location"]
        if k == 1:
            assert first_runs.wait(60)
            raise RuntimeError("power cut")
        begun.append(k)
        first_runs.set()
        time.sleep(0.5)
        ended.append(k)
        return np.zeros((1, 3), "f4")

    lazy = dask.array.map_blocks(block, chunks=((1,) * 10, (3,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    return xr.Dataset({"t": (("time", "x"), lazy)}), begun, ended


@pytest.mark.parametrize("name", ["o.zarr", "o.nc"])
def test_what_was_begun_has_ended(name: str, tmp_path: Path) -> None:
    ds, begun, ended = failing()
    path = tmp_path / name

    def write() -> None:
        if name == "o.zarr":
            streaming.write_zarr(ds, path, by={"time": -1}, key={})
        else:
            files.write(ds, path, key={})

    with dask.config.set(num_workers=2), pytest.raises(RuntimeError, match="power cut"):
        write()
    assert sorted(begun) == sorted(ended) != []
    assert len(begun) < 9  # what had not begun was dropped
    there = sorted(tmp_path.rglob("*"))
    time.sleep(0.7)
    assert sorted(tmp_path.rglob("*")) == there
    assert not path.exists()


def test_schedulers_of_the_user_stay() -> None:
    seen: list[str] = []

    def value() -> int:
        seen.append(threading.current_thread().name)
        return 1

    task = dask.delayed(value)()
    with writer() as compute:
        assert compute(task) == (1,)
    with dask.config.set(scheduler="synchronous"), writer() as compute:
        assert compute(task) == (1,)
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool, dask.config.set(pool=pool):
        with writer() as compute:
            assert compute(task) == (1,)
        assert pool.submit(value).result() == 1  # not shut down
    assert [name.split("_")[0] for name in seen] == ["xatmo-writing", "MainThread", "mine", "mine"]


def test_tasks_see_the_context() -> None:
    token = SEEN_BY.set("the one who asked")
    try:
        with writer() as compute:
            assert compute(dask.delayed(SEEN_BY.get)()) == ("the one who asked",)
    finally:
        SEEN_BY.reset(token)
