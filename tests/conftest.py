"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import dask
import matplotlib
import pytest

matplotlib.use("Agg")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Path of a real file that lies beside the checkout on some machines; the test skips itself where it does not."""

    def locate(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{name} is not here")
        return path

    return locate


@pytest.fixture
def no_compute() -> Callable[[], AbstractContextManager[None]]:
    """A context in which any Dask computation fails the test: building a graph must compute nothing."""

    def refuse(dsk: Any, keys: Any, **kwargs: Any) -> None:
        pytest.fail("a Dask graph was computed while it was being built")

    @contextmanager
    def context() -> Iterator[None]:
        with dask.config.set(scheduler=refuse):
            yield

    return context
