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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests out, one of them runs all that need the cluster (--dist loadgroup)."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if "cluster" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def _two_processes() -> Iterator[str]:
    """Address of a cluster of two processes of one thread each, started once for all tests of this run."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def cluster(_two_processes: str) -> Iterator[Any]:
    """A client of two worker processes: whatever the test computes is computed there."""
    from distributed import Client

    with Client(_two_processes) as client:
        yield client


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
